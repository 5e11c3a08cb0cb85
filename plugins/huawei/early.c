#include "early.h"

#include <stdlib.h>

#include "huawei.h"

struct hw_early_entry {
	struct hw_early_entry *next;
	size_t size;      /* of it all */
	uint32_t since_s; /* uptime */
	int64_t now_us;   /* as the delivery has it */
	size_t payload_size;
	char text[]; /* the suffix, NUL, and the payload */
};

static bool is_request(const char *suffix)
{
	return strstr(suffix, "request_id=") != NULL;
}

/* Has IoTDA yet to say which device @payload is for? */
static bool is_for_stranger(const struct hw *hw, struct fg_span payload)
{
	char raw[HW_RAW(HW_DEVICE_ID_MAX)];
	const struct hw_device *device;
	struct fg_json_value object, value;
	struct fg_json_fault fault;
	struct fg_span id, name;

	if (fg_json_check(payload, &object, &fault) < 0 || object.type != FG_JSON_OBJECT ||
	    !hw_member(object, "object_device_id", &value) ||
	    !hw_string_read(value, raw, sizeof(raw), &id) || !hw_is_id(id.data, id.size) ||
	    fg_span_is(id, hw->with.device_id))
		return false;
	if (!hw_device_called(hw, id, &name))
		return true;
	device = hw_devices_find(&hw->devices, name);
	return !device || device->standing != HW_KNOWN;
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
	size_t suffix_size = strlen(suffix) + 1;
	size_t size = sizeof(*entry) + suffix_size + delivery->payload.size;

	if (!hw->topology.is_waiting || !is_for_stranger(hw, delivery->payload))
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
		.payload_size = delivery->payload.size,
	};
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

void hw_early_take(struct hw *hw)
{
	bool is_over = hw->topology.is_on && !hw->topology.is_waiting;
	struct hw_early_entry **at = &hw->early.first, *entry;

	while ((entry = *at)) {
		if (!is_over &&
		    !(is_request(entry->text) && hw->uptime_s - entry->since_s >= HW_EARLY_S)) {
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
