#include "early.h"

#include <stdlib.h>

#include "huawei.h"

struct hw_early_entry {
	struct hw_early_entry *next;
	size_t size;      /* of it all */
	uint32_t since_s; /* uptime */
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

bool hw_early_keep(struct hw *hw, const char *suffix, const struct fg_delivery *delivery)
{
	struct hw_early_entry *entry = NULL, **end;
	char id_text[HW_DEVICE_ID_MAX];
	struct fg_span id;
	size_t suffix_size = strlen(suffix) + 1;
	size_t size = sizeof(*entry) + suffix_size + delivery->payload.size;

	if (!hw->topology.is_waiting || !read_id(delivery->payload, id_text, &id) ||
	    !is_stranger(hw, id))
		return false;
	if (bytes_kept(hw, &end) + size <= HW_MAX_EARLY_BYTES)
		entry = malloc(size);
	if (!entry) {
		hw->host->warn(hw->host_ctx,
			       "more has come for sub-devices than can be kept until IoTDA says "
			       "which it has: their ids are taken to be by the rule of product_id");
		return false;
	}
	*entry = (struct hw_early_entry){
		.size = size,
		.since_s = hw->uptime_s,
		.now_us = delivery->now_us,
		.id_size = id.size,
		.payload_size = delivery->payload.size,
	};
	memcpy(entry->id, id.data, id.size);
	memcpy(entry->text, suffix, suffix_size);
	memcpy(entry->text + suffix_size, delivery->payload.data, delivery->payload.size);
	*end = entry;
	return true;
}

/* There may be a token in it. */
static void forget(struct hw_early_entry *entry)
{
	explicit_bzero(entry, entry->size);
	free(entry);
}

static void take(struct hw *hw, const struct hw_early_entry *entry)
{
	struct fg_delivery delivery = {
		.topic = entry->text,
		.payload = fg_span_of(entry->text + strlen(entry->text) + 1, entry->payload_size),
		.qos = 1,
		.now_us = entry->now_us,
	};

	hw->early.kept_s = hw->uptime_s - entry->since_s + 1;
	if (hw_take_delivery(hw, entry->text, &delivery) < 0)
		hw->host->warn(hw->host_ctx, "IoTDA has sent something for a sub-device that makes "
					     "no sense here");
	hw->early.kept_s = 0;
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
		if (has_to_wait(hw, entry)) {
			at = &entry->next;
			continue;
		}
		*at = entry->next;
		take(hw, entry);
		forget(entry);
	}
}

void hw_early_close(struct hw *hw)
{
	struct hw_early_entry *entry;

	while ((entry = hw->early.first)) {
		hw->early.first = entry->next;
		forget(entry);
	}
}
