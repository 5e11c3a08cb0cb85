#include "early.h"

#include <errno.h>
#include <stdlib.h>

#include "huawei.h"
#include "util/cleanup.h"

#define STORE_KEY "early"

struct hw_early_entry {
	struct hw_early_entry *next;
	size_t size;      /* of it all */
	uint32_t since_s; /* uptime */
	bool is_taken;    /* since then; it is about to be forgotten */
	int64_t now_us;   /* as the delivery has it */
	size_t id_size, payload_size;
	char id[HW_DEVICE_ID_MAX]; /* whom it is for */
	char text[];               /* the suffix, NUL, and the payload */
};

static bool is_request(const char *suffix)
{
	return strstr(suffix, "request_id=") != NULL;
}

/* May IoTDA say any moment which device that is? */
static bool is_stranger(const struct hw *hw, struct fg_span id)
{
	struct fg_span name;

	if (!hw->topology.is_waiting || fg_span_is(id, hw->with.device_id))
		return false;
	return !hw_device_called(hw, id, &name) || hw_is_awaited(hw, name);
}

/* Whom @payload is for, in @out of HW_DEVICE_ID_MAX bytes. */
static bool read_id(struct fg_span payload, char *out, struct fg_span *ret)
{
	struct fg_json_value object;
	struct fg_json_fault fault;

	return fg_json_check(payload, &object, &fault) == 0 &&
	       hw_read_id(object, "object_device_id", out, ret);
}

/* How many bytes are kept; *@ret_end is where the next entry belongs. */
static size_t bytes_kept(struct hw *hw, struct hw_early_entry ***ret_end)
{
	struct hw_early_entry **at = &hw->early.first;
	size_t n = 0;

	for (; *at; at = &(*at)->next)
		n += (*at)->size;
	*ret_end = at;
	return n;
}

/* Returns the entry, or NULL without memory. */
static struct hw_early_entry *make(struct fg_span id, struct fg_span suffix, struct fg_span payload)
{
	size_t size = sizeof(struct hw_early_entry) + suffix.size + 1 + payload.size;
	struct hw_early_entry *entry = malloc(size);

	if (!entry)
		return NULL;
	*entry = (struct hw_early_entry){
		.size = size,
		.id_size = id.size,
		.payload_size = payload.size,
	};
	memcpy(entry->id, id.data, id.size);
	memcpy(entry->text, suffix.data, suffix.size);
	entry->text[suffix.size] = 0;
	if (payload.size > 0)
		memcpy(entry->text + suffix.size + 1, payload.data, payload.size);
	return entry;
}

static struct fg_span payload_of(const struct hw_early_entry *entry)
{
	return fg_span_of(entry->text + strlen(entry->text) + 1, entry->payload_size);
}

/* There may be a token in it. */
static void forget(struct hw_early_entry *entry)
{
	explicit_bzero(entry, entry->size);
	free(entry);
}

/* ------------------------------------------------------------------ on disk */

/* [{"at":1718000000000000,"device":"x-1","topic":"messages/down","payload":"{…}"}] */
static void put_entry(struct fg_text *text, const struct hw_early_entry *entry)
{
	fg_put(text, "{\"at\":");
	fg_put_number(text, entry->now_us);
	fg_put(text, ",\"device\":");
	fg_put_quoted(text, fg_span_of(entry->id, entry->id_size));
	fg_put(text, ",\"topic\":");
	fg_put_quoted(text, fg_span_str(entry->text));
	fg_put(text, ",\"payload\":");
	fg_put_quoted(text, payload_of(entry));
	fg_put(text, "}");
}

/* What there is no room for stays in memory. */
static void store(struct hw *hw)
{
	FG_CLEANUP(fg_free_p) char *bytes = malloc(HW_EARLY_STORED_MAX);
	struct fg_text text = fg_text_begin(bytes, bytes ? HW_EARLY_STORED_MAX - 1 : 0), before;
	size_t n = 0;

	fg_put(&text, "[");
	for (const struct hw_early_entry *e = hw->early.first; e && bytes; e = e->next) {
		if (is_request(e->text))
			continue;
		before = text;
		fg_put(&text, n > 0 ? "," : "");
		put_entry(&text, e);
		if (text.is_full)
			text = before;
		else
			n++;
	}
	text.end++;
	fg_put(&text, "]");
	if (n == 0)
		text = fg_text_begin(bytes, 0);
	if (!bytes || hw->host->remember(hw->host_ctx, STORE_KEY, fg_text_span(&text)) < 0)
		hw->host->warn(hw->host_ctx, "what has come for sub-devices that IoTDA has yet to "
					     "name cannot be kept on disk");
	if (bytes)
		explicit_bzero(bytes, HW_EARLY_STORED_MAX);
}

/* The entry that @object tells of, or NULL. */
static struct hw_early_entry *read_entry(struct fg_json_value object)
{
	char id_text[HW_DEVICE_ID_MAX], topic_text[HW_TOPIC_SIZE], at_text[24];
	FG_CLEANUP(fg_free_p) char *payload = malloc(HW_EARLY_STORED_MAX);
	struct fg_json_value id, topic, body, at;
	struct fg_span id_span, topic_span, body_span;
	struct hw_early_entry *entry;

	if (!payload || object.type != FG_JSON_OBJECT ||
	    !fg_json_member(object, fg_span_str("device"), &id) ||
	    !hw_string_read(id, id_text, sizeof(id_text), &id_span) ||
	    !fg_json_member(object, fg_span_str("topic"), &topic) ||
	    !hw_string_read(topic, topic_text, sizeof(topic_text), &topic_span) ||
	    !fg_json_member(object, fg_span_str("payload"), &body) ||
	    !hw_string_read(body, payload, HW_EARLY_STORED_MAX, &body_span) ||
	    !fg_json_member(object, fg_span_str("at"), &at) || at.type != FG_JSON_INTEGER ||
	    at.text.size >= sizeof(at_text))
		return NULL;
	entry = make(id_span, topic_span, body_span);
	explicit_bzero(payload, body_span.size);
	if (!entry)
		return NULL;
	memcpy(at_text, at.text.data, at.text.size);
	at_text[at.text.size] = 0;
	entry->now_us = strtoll(at_text, NULL, 10);
	return entry;
}

void hw_early_open(struct hw *hw)
{
	struct hw_early_entry **end = &hw->early.first;
	struct fg_json_member element;
	struct fg_json_value root;
	struct fg_json_fault fault;
	struct fg_json_walk walk;
	struct fg_span stored;

	if (hw->host->recall(hw->host_ctx, STORE_KEY, &stored) < 0 ||
	    fg_json_check(stored, &root, &fault) < 0 || root.type != FG_JSON_ARRAY)
		return;
	fg_json_walk_begin(&walk, root);
	while (fg_json_walk_next(&walk, &element))
		if ((*end = read_entry(element.value)))
			end = &(*end)->next;
}

/* ------------------------------------------------------------------ keeping */

bool hw_early_keep(struct hw *hw, const char *suffix, const struct fg_delivery *delivery)
{
	struct hw_early_entry *entry = NULL, **end;
	char id_text[HW_DEVICE_ID_MAX];
	struct fg_span id;

	if (!hw->topology.is_waiting || !read_id(delivery->payload, id_text, &id) ||
	    !is_stranger(hw, id))
		return false;
	if (bytes_kept(hw, &end) + delivery->payload.size <= HW_MAX_EARLY_BYTES)
		entry = make(id, fg_span_str(suffix), delivery->payload);
	if (!entry) {
		hw->host->warn(hw->host_ctx,
			       "more has come for sub-devices than can be kept until IoTDA says "
			       "which it has: their ids are taken to be by the rule of product_id");
		return false;
	}
	entry->since_s = hw->uptime_s;
	entry->now_us = delivery->now_us;
	*end = entry;
	if (!is_request(suffix))
		store(hw);
	return true;
}

/* ------------------------------------------------------------------ taking */

/* Returns false when the disk has no room for it. */
static bool take(struct hw *hw, const struct hw_early_entry *entry)
{
	struct fg_delivery delivery = {
		.topic = entry->text,
		.payload = payload_of(entry),
		.qos = 1,
		.now_us = entry->now_us,
	};
	int r;

	hw->early.kept_s = hw->uptime_s - entry->since_s + 1;
	r = hw_take_delivery(hw, entry->text, &delivery);
	hw->early.kept_s = 0;
	if (r < 0 && r != -EAGAIN)
		hw->host->warn(hw->host_ctx, "IoTDA has sent something for a sub-device that makes "
					     "no sense here");
	return r != -EAGAIN;
}

static bool has_to_wait(const struct hw *hw, const struct hw_early_entry *entry)
{
	if (hw->topology.is_on && !is_stranger(hw, fg_span_of(entry->id, entry->id_size)))
		return false;
	return !is_request(entry->text) || hw->uptime_s - entry->since_s < HW_EARLY_S;
}

void hw_early_take(struct hw *hw)
{
	struct hw_early_entry **at = &hw->early.first, *entry;

	while ((entry = *at)) {
		if (entry->is_taken || has_to_wait(hw, entry)) {
			at = &entry->next;
			continue;
		}
		entry->is_taken = true; /* what it says may have us called again */
		if (!take(hw, entry) && !is_request(entry->text)) {
			entry->is_taken = false;
			return; /* again in a second, and in this order */
		}
		if (is_request(entry->text)) {
			*at = entry->next;
			forget(entry);
			continue;
		}
		entry->since_s = hw->uptime_s;
		at = &entry->next;
	}
}

void hw_early_tick(struct hw *hw)
{
	struct hw_early_entry **at = &hw->early.first, *entry;
	bool has_forgotten = false;

	hw_early_take(hw);
	while ((entry = *at)) {
		if (!entry->is_taken || hw->uptime_s - entry->since_s < HW_EARLY_FORGET_S) {
			at = &entry->next;
			continue;
		}
		*at = entry->next;
		forget(entry);
		has_forgotten = true;
	}
	if (has_forgotten)
		store(hw);
}

void hw_early_close(struct hw *hw)
{
	struct hw_early_entry *entry;

	while ((entry = hw->early.first)) {
		hw->early.first = entry->next;
		forget(entry);
	}
}
