/*
 * Telemetry and attributes on their way up: taking messages into a publish as long as the limits
 * allow, and writing it.
 */
#include <errno.h>

#include "model/json.h"
#include "thingsboard.h"
#include "util/hash.h"

/* {"ts":-9223372036854775,"values":} with room to spare. */
#define STAMP_SIZE 48

static const char *data_topic(const struct tb *tb, enum fg_kind kind)
{
	bool is_telemetry = kind == FG_TELEMETRY;

	if (tb->with.mode == TB_MODE_DEVICE)
		return tb_topic_name(is_telemetry ? TB_TELEMETRY : TB_ATTRIBUTES,
				     tb->with.has_short_topics);
	return tb_topic_name(is_telemetry ? TB_GATEWAY_TELEMETRY : TB_GATEWAY_ATTRIBUTES, false);
}

static unsigned data_scope(const struct tb *tb)
{
	return tb->with.mode == TB_MODE_DEVICE ? TB_SCOPE_OWN : TB_SCOPE_DEVICES;
}

/* ------------------------------------------------------------------ one message's text */

/* ThingsBoard reads whole milliseconds; before 1970, too, a stamp is cut to the earlier one. */
static int64_t milliseconds(int64_t us)
{
	return us / 1000 - (us % 1000 < 0);
}

static size_t put_stamp(char *out, int64_t time_us)
{
	struct fg_text text = fg_text_begin(out, STAMP_SIZE);

	fg_put(&text, "{\"ts\":");
	fg_put_number(&text, milliseconds(time_us));
	fg_put(&text, ",\"values\":");
	return fg_text_span(&text).size;
}

/* ThingsBoard has no events: one is a value of that name. */
static enum fg_kind kind_of(const struct fg_message *m)
{
	return m->kind == FG_EVENT ? FG_TELEMETRY : m->kind;
}

/* Returns false when an event is larger than any packet. */
static bool body_of(const struct tb *tb, const struct fg_message *m, struct fg_span *ret)
{
	struct fg_text text;

	*ret = m->body;
	if (m->kind != FG_EVENT)
		return true;
	text = fg_text_begin(tb->event, tb->with.max_packet_bytes);
	fg_put(&text, "{");
	fg_put_quoted(&text, m->ref);
	fg_put(&text, ":");
	fg_put_span(&text, m->body);
	fg_put(&text, "}");
	*ret = fg_text_span(&text);
	return !text.is_full;
}

static bool wants_stamp(const struct tb *tb, const struct fg_message *m)
{
	if (kind_of(m) != FG_TELEMETRY)
		return false;
	return tb->with.timestamp == TB_TIMESTAMP_SAMPLE || m->time_quality == FG_TIME_DEVICE;
}

/*
 * How long a sample took: the server averages that for each connector. It wants all three members;
 * when a sample with a stamp of its own arrived is not known.
 */
static void put_latency(const struct tb *tb, struct fg_text *text, const struct fg_message *m,
			int64_t now_us)
{
	if (!tb->with.has_latency || m->time_quality != FG_TIME_GATEWAY || now_us < m->time_us)
		return;
	fg_put(text, ",\"metadata\":{\"connector\":");
	fg_put_quoted(text, fg_span_str(tb->with.gateway_name));
	fg_put(text, ",\"receivedTs\":");
	fg_put_number(text, milliseconds(m->time_us));
	fg_put(text, ",\"publishedTs\":");
	fg_put_number(text, milliseconds(now_us));
	fg_put(text, "}");
}

/*
 * Write what message @i becomes behind what the scratch buffer holds. Returns 0, -EMSGSIZE when it
 * is larger than @limit (or the buffer's rest), or -EBADMSG.
 */
static int write_item(const struct tb_call *call, size_t i, size_t limit, struct tb_item *ret_item,
		      struct tb_outcome *ret)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	char *start = tb->scratch + tb->scratch_used;
	size_t room = tb->with.max_packet_bytes - tb->scratch_used;
	bool is_stamped = wants_stamp(tb, m);
	struct fg_span body;
	struct fg_text tail;
	size_t head = 0;
	int r;

	if (!body_of(tb, m, &body))
		return -EMSGSIZE;
	room = room < limit ? room : limit;
	for (;;) {
		if (is_stamped && room < STAMP_SIZE)
			return -EMSGSIZE;
		head = is_stamped ? put_stamp(start, m->time_us) : 0;
		r = tb_values_write(&tb->values, body, start + head, room - head, ret);
		if (r < 0)
			return r;
		if (is_stamped || kind_of(m) != FG_TELEMETRY || !ret->looks_stamped)
			break;
		is_stamped = true; /* else its own "ts" and "values" would be taken for a stamp */
	}
	tail = fg_text_begin(start + head + ret->size, room - head - ret->size);
	if (is_stamped) {
		put_latency(tb, &tail, m, call->batch->now_us);
		fg_put(&tail, "}");
	}
	if (tail.is_full)
		return -EMSGSIZE;
	*ret_item = (struct tb_item){
		.index = (uint32_t)i,
		.time_us = m->time_us,
		.offset = tb->scratch_used,
		.size = head + ret->size + fg_text_span(&tail).size,
		.next = TB_NO_ITEM,
	};
	return 0;
}

/* ------------------------------------------------------------------ taking messages */

static bool begin_kind(struct tb_call *call, enum fg_kind kind)
{
	if (call->tb->n_items > 0)
		return call->kind == kind;
	if (call->kind != kind)
		call->payload_limit =
			tb_payload_limit(call->tb, call->out, data_topic(call->tb, kind));
	call->kind = kind;
	call->payload_size = 0;
	return true;
}

/* Bytes around an item of @size, if @group (of @device, NULL in device mode) takes it too. */
static size_t size_with(const struct tb_call *call, const struct tb_device *device,
			const struct tb_group *group, size_t size)
{
	size_t total = call->payload_size + size;

	if (device) {
		if (call->tb->n_items == 0)
			total += 2; /* the outer braces */
		if (group->n_items == 0)
			total += (call->tb->n_items > 0) + device->quoted_size + 1 /* : */ +
				 (call->kind == FG_TELEMETRY ? 2 : 0);
		else
			total += 1; /* the comma */
	} else if (group->n_items > 0) {
		total += 1;
		if (group->n_items == 1 && call->kind == FG_TELEMETRY)
			total += 2; /* one object becomes an array of two */
	}
	return total;
}

static void append(struct tb_call *call, struct tb_device *device, struct tb_group *group,
		   const struct tb_item *item)
{
	struct tb *tb = call->tb;
	uint32_t place = tb->n_items++;

	tb->items[place] = *item;
	tb->scratch_used += item->size;
	if (group->n_items++ > 0) {
		if (tb->items[group->last].time_us > item->time_us)
			group->is_disordered = true;
		tb->items[group->last].next = place;
		group->last = place;
		return;
	}
	group->first = group->last = place;
	if (!device)
		return;
	device->next_group = NULL;
	if (tb->last_group)
		tb->last_group->next_group = device;
	else
		tb->first_group = device;
	tb->last_group = device;
}

/* Done with, unless there is something in it that ThingsBoard takes. */
static bool settle_emptiness(struct tb_call *call, size_t i, const struct tb_outcome *outcome)
{
	if (outcome->n_members > 0)
		return false;
	call->batch->states[i] = FG_NOTHING;
	call->batch->values_dropped += outcome->n_dropped;
	return true;
}

static void refuse_size(struct tb_call *call, size_t i, size_t limit)
{
	tb_refuse(call, i,
		  "too large for one publish: %zu bytes of JSON, where the packet has room for %zu "
		  "with the device's name",
		  call->batch->messages[i].body.size, limit);
}

bool tb_has_data(struct tb_call *call, size_t i)
{
	struct tb *tb = call->tb;
	size_t limit =
		tb_payload_limit(tb, call->out, data_topic(tb, call->batch->messages[i].kind));
	struct tb_outcome outcome = {0};
	struct tb_item item;
	int r = write_item(call, i, limit, &item, &outcome);

	if (r == -EBADMSG)
		tb_refuse(call, i, "ThingsBoard takes JSON objects only");
	else if (r < 0)
		refuse_size(call, i, limit);
	return r == 0 && !settle_emptiness(call, i, &outcome);
}

/* The message of a device's own profile holds one sample. */
static uint32_t most_items(const struct tb *tb)
{
	return tb->with.is_protobuf && tb->with.mode == TB_MODE_DEVICE ? 1 : TB_MAX_ITEMS;
}

/* How large a publish of several messages may become. */
static size_t batch_limit(const struct tb_call *call)
{
	if (!call->tb->with.is_protobuf)
		return call->payload_limit;
	return call->payload_limit / 8 * TB_PROTOBUF_EIGHTHS;
}

enum tb_step tb_take_data(struct tb_call *call, size_t i, struct tb_device *device)
{
	struct tb *tb = call->tb;
	struct tb_group *group = device ? &device->group : &tb->group;
	const struct fg_message *m = &call->batch->messages[i];
	struct tb_outcome outcome = {0};
	size_t total, n_points, n_groups;
	struct tb_item item;
	int r;

	if (!begin_kind(call, kind_of(m)))
		return TB_STEP_ON;
	if (tb->n_items == most_items(tb) || tb->n_items >= call->batch->max_take)
		return TB_STEP_ENOUGH;
	r = write_item(call, i, call->payload_limit, &item, &outcome);
	if (r == -EBADMSG) {
		tb_refuse(call, i, "ThingsBoard takes JSON objects only");
		return TB_STEP_ON;
	}
	if (r == 0 && settle_emptiness(call, i, &outcome))
		return TB_STEP_ON;
	total = r == 0 ? size_with(call, device, group, item.size) : SIZE_MAX;
	if (tb->n_items > 0 && (total > batch_limit(call) ||
				(m->kind == FG_ATTRIBUTES &&
				 call->n_attributes + outcome.n_members > TB_MAX_ATTRIBUTES)))
		return TB_STEP_ENOUGH;
	if (total > call->payload_limit) {
		refuse_size(call, i, call->payload_limit);
		return TB_STEP_ON;
	}
	if (outcome.n_members > tb->limits.max_message_points) {
		tb_refuse(call, i, "%u values, where ThingsBoard takes no more than %zu at a time",
			  outcome.n_members, tb->limits.max_message_points);
		return TB_STEP_ON;
	}
	/* The first one may be more than can go now: then the publish waits. */
	n_points = call->n_points + outcome.n_members;
	n_groups = call->n_groups + (device && group->n_items == 0);
	if (tb->n_items > 0 && tb_limits_cost(&tb->limits, n_groups, n_points) >
				       call->batch->max_points[data_scope(tb)])
		return TB_STEP_ENOUGH;
	call->n_points = n_points;
	call->n_groups = n_groups;
	append(call, device, group, &item);
	call->payload_size = total;
	call->n_attributes += outcome.n_members;
	call->batch->values_dropped += outcome.n_dropped;
	call->batch->states[i] = FG_TAKEN;
	if (device)
		tb_device_heard(device, m, call->batch->now_us);
	return TB_STEP_ON;
}

/* ------------------------------------------------------------------ writing the publish */

/* Two ordered lists into one; what is equal keeps its order. */
static uint32_t merge(struct tb_item *items, uint32_t a, uint32_t b)
{
	uint32_t first = TB_NO_ITEM, *link = &first;

	while (a != TB_NO_ITEM && b != TB_NO_ITEM) {
		uint32_t *from = items[b].time_us < items[a].time_us ? &b : &a;

		*link = *from;
		link = &items[*from].next;
		*from = *link;
	}
	*link = a != TB_NO_ITEM ? a : b;
	return first;
}

/* By time, then by arrival: runs of 1, 2, 4, … items, merged as they come up in pairs. */
static void sort_by_time(struct tb_item *items, struct tb_group *group)
{
	uint32_t runs[32], n_runs = 0;
	uint32_t at = group->first, next;

	for (uint32_t n = 1; at != TB_NO_ITEM; n++, at = next) {
		next = items[at].next;
		items[at].next = TB_NO_ITEM;
		runs[n_runs++] = at;
		for (uint32_t bit = n; !(bit & 1); bit >>= 1, n_runs--)
			runs[n_runs - 2] = merge(items, runs[n_runs - 2], runs[n_runs - 1]);
	}
	for (; n_runs > 1; n_runs--)
		runs[n_runs - 2] = merge(items, runs[n_runs - 2], runs[n_runs - 1]);
	group->first = runs[0];
}

static char *put_samples(struct tb *tb, struct tb_group *group, char *at)
{
	const struct tb_item *item;

	if (group->is_disordered)
		sort_by_time(tb->items, group);
	for (uint32_t i = group->first; i != TB_NO_ITEM; i = item->next) {
		item = &tb->items[i];
		if (i != group->first)
			*at++ = ',';
		memcpy(at, tb->scratch + item->offset, item->size);
		at += item->size;
	}
	return at;
}

/* Note one attribute; an earlier one of the same name gives way. */
static void merge_attribute(struct tb *tb, uint32_t n, struct fg_span name, struct fg_span text)
{
	uint64_t hash = fg_hash(0, name);
	uint64_t *slot;
	const struct tb_attribute *other;

	for (;; hash++) {
		slot = &tb->attribute_index[hash % TB_ATTRIBUTE_SLOTS];
		if (*slot >> 32 != tb->attribute_stamp)
			break;
		other = &tb->attributes[(uint32_t)*slot];
		if (other->text && other->size > name.size + 2 &&
		    other->text[name.size + 1] == '"' &&
		    memcmp(other->text + 1, name.data, name.size) == 0) {
			tb->attributes[(uint32_t)*slot].text = NULL;
			break;
		}
	}
	*slot = (uint64_t)tb->attribute_stamp << 32 | n;
	tb->attributes[n] = (struct tb_attribute){.text = text.data, .size = text.size};
}

/* All attribute messages of one device as one object; the last value of a name counts. */
static char *put_attributes(struct tb *tb, const struct tb_group *group, char *at)
{
	const struct tb_item *item = &tb->items[group->first];
	struct fg_json_member member;
	struct fg_json_walk walk;
	uint32_t n = 0;
	bool is_first = true;

	if (group->n_items == 1) {
		memcpy(at, tb->scratch + item->offset, item->size);
		return at + item->size;
	}
	if (++tb->attribute_stamp == 0) {
		memset(tb->attribute_index, 0, TB_ATTRIBUTE_SLOTS * sizeof(*tb->attribute_index));
		tb->attribute_stamp = 1;
	}
	for (uint32_t i = group->first; i != TB_NO_ITEM; i = tb->items[i].next) {
		item = &tb->items[i];
		fg_json_walk_begin(
			&walk, (struct fg_json_value){
				       .type = FG_JSON_OBJECT,
				       .text = fg_span_of(tb->scratch + item->offset, item->size),
			       });
		while (n < TB_MAX_ATTRIBUTES && fg_json_walk_next(&walk, &member)) {
			const char *start = member.name.data - 1;
			const char *end = member.value.text.data + member.value.text.size;

			merge_attribute(tb, n++, member.name,
					fg_span_of(start, (size_t)(end - start)));
		}
	}
	*at++ = '{';
	for (uint32_t i = 0; i < n; i++) {
		if (!tb->attributes[i].text)
			continue;
		if (!is_first)
			*at++ = ',';
		is_first = false;
		memcpy(at, tb->attributes[i].text, tb->attributes[i].size);
		at += tb->attributes[i].size;
	}
	*at++ = '}';
	return at;
}

static char *put_group(struct tb_call *call, struct tb_group *group, char *at, bool is_array)
{
	if (call->kind == FG_ATTRIBUTES)
		return put_attributes(call->tb, group, at);
	if (is_array)
		*at++ = '[';
	at = put_samples(call->tb, group, at);
	if (is_array)
		*at++ = ']';
	return at;
}

int tb_publish_data(struct tb_call *call)
{
	struct tb *tb = call->tb;
	struct fg_publish *out = call->out;
	char *at = out->payload;
	int r;

	r = tb_set_topic(out, data_topic(tb, call->kind));
	if (r < 0)
		return r;
	tb->serial++;
	if (tb->with.mode == TB_MODE_DEVICE) {
		at = put_group(call, &tb->group, at, tb->group.n_items > 1);
	} else {
		for (struct tb_device *d = tb->first_group; d; d = d->next_group) {
			*at++ = d == tb->first_group ? '{' : ',';
			at += fg_json_quote(tb_device_name(d), at, d->quoted_size);
			*at++ = ':';
			at = put_group(call, &d->group, at, true);
			d->last_flight = tb->serial;
			tb_device_spoke(tb, d);
		}
		*at++ = '}';
	}
	out->payload_len = (size_t)(at - out->payload);
	out->scope = data_scope(tb);
	out->n_points = tb_limits_cost(&tb->limits, call->n_groups, call->n_points);
	out->tag = tb_tag_make(TB_TAG_DATA, tb->serial, 0);
	tb->flights[tb->serial % TB_MAX_FLIGHTS] = tb->serial;
	return 1;
}
