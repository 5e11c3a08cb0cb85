/*
 * What devices say, on its way up. Telemetry and attributes are properties of a service, which is the
 * message's stream. Own:
 *
 *	{"services":[{"service_id":"env","properties":{"t":21.5},"event_time":"20260315T092653Z"}]}
 *
 * and of sub-devices, each of which a report names once:
 *
 *	{"devices":[{"device_id":"p1_pump-01","services":[…]}]}
 */
#include <errno.h>
#include <stdio.h>

#include "huawei.h"
#include "model/utf8.h"
#include "util/hash.h"

#define OWN_HEAD "{\"services\":["
#define REPORT_HEAD "{\"devices\":["
#define REPORT_TAIL "]}"
#define GROUP_HEAD "{\"device_id\":\""
#define GROUP_MIDDLE "\",\"services\":["

#define MAX_SERVICE_ID 64

/* Of a report; what is smaller is not worth packing. */
#define MIN_PACKED 256

static size_t length(const char *text)
{
	return strlen(text);
}

/* ------------------------------------------------------------------ devices */

/* The group of @device, or where a new one is to be noted: *@ret_slot. */
static struct hw_group *find_group(struct hw *hw, struct fg_span device, uint8_t **ret_slot)
{
	struct hw_group *group;

	for (uint64_t at = fg_hash(hw->devices.seed, device);; at++) {
		*ret_slot = &hw->group_slots[at % HW_GROUP_SLOTS];
		if (!**ret_slot)
			return NULL;
		group = &hw->groups[**ret_slot - 1];
		if (fg_span_equal(group->device, device))
			return group;
	}
}

/* ------------------------------------------------------------------ one message's text */

struct outcome {
	struct fg_json_value object; /* what the message said, … */
	size_t size;                 /* … and what became of it */
	unsigned n_members, n_dropped;
};

/* The members of @object that JSON has a form for. */
static void put_properties(struct fg_text *text, struct fg_json_value object, struct outcome *ret)
{
	struct fg_json_member member;
	struct fg_json_walk walk;

	fg_put(text, "{");
	fg_json_walk_begin(&walk, object);
	while (fg_json_walk_next(&walk, &member)) {
		if (!fg_is_finite(member.value)) {
			ret->n_dropped++;
			continue;
		}
		fg_put(text, ret->n_members++ > 0 ? ",\"" : "\"");
		fg_put_span(text, member.name);
		fg_put(text, "\":");
		fg_put_finite(text, member.value);
	}
	fg_put(text, "}");
}

static struct fg_span service_of(const struct hw *hw, const struct fg_message *m)
{
	return m->stream.size > 0 ? m->stream : fg_span_str(hw->with.service_id);
}

/*
 * Write the entry of message @i behind what the scratch buffer holds. Returns 0;
 * -EMSGSIZE when it does not fit; -ENOENT when there is none, and the message is done with or refused.
 */
static int write_item(struct hw_call *call, size_t i, struct outcome *ret)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct fg_json_fault fault;
	struct fg_text text =
		fg_text_begin(hw->scratch + hw->scratch_used, HW_MAX_REPORT - hw->scratch_used);

	if (fg_json_check(m->body, &ret->object, &fault) < 0 ||
	    ret->object.type != FG_JSON_OBJECT) {
		hw_refuse(call, i, "properties of IoTDA are a JSON object");
		return -ENOENT;
	}
	if (m->stream.size > MAX_SERVICE_ID) {
		hw_refuse(call, i, "a service id of IoTDA has at most %d bytes, and the stream %zu",
			  MAX_SERVICE_ID, m->stream.size);
		return -ENOENT;
	}
	fg_put(&text, "{\"service_id\":");
	fg_put_quoted(&text, service_of(hw, m));
	fg_put(&text, ",\"properties\":");
	put_properties(&text, ret->object, ret);
	if (ret->n_members == 0) {
		call->batch->states[i] = FG_NOTHING;
		call->batch->values_dropped += ret->n_dropped;
		return -ENOENT;
	}
	fg_put(&text, ",\"event_time\":\"");
	if (!hw_put_time(&text, m->time_us, hw->with.has_milliseconds)) {
		hw_refuse(call, i, "its time has no year of four digits");
		return -ENOENT;
	}
	fg_put(&text, "\"}");
	if (text.is_full)
		return -EMSGSIZE;
	ret->size = fg_text_size(&text);
	return 0;
}

/* ------------------------------------------------------------------ taking messages */

/* Returns false when the report under way is of the other sort. 0, or -EINVAL in *@ret. */
static bool begin_report(struct hw_call *call, bool is_own, int *ret)
{
	struct fg_text text;

	if (call->hw->n_items > 0)
		return call->is_own == is_own;
	*ret = hw_publish_begin(call->hw, call->out,
				is_own ? "properties/report"
				       : "gateway/sub_devices/properties/report",
				HW_MAX_REPORT, &text);
	call->is_own = is_own;
	call->payload_limit = (size_t)(text.end - text.start);
	call->payload_size = length(is_own ? OWN_HEAD : REPORT_HEAD) + length(REPORT_TAIL);
	return true;
}

/* Bytes that @size more in @group (NULL: a new one, of @device) make. */
static size_t size_with(const struct hw_call *call, const struct hw_group *group,
			struct fg_span device, size_t size)
{
	bool is_first = call->hw->n_items == 0;

	if (call->is_own || group)
		return size + !is_first;
	return size + !is_first + length(GROUP_HEAD) + hw_device_id_size(call->hw, device) +
	       length(GROUP_MIDDLE) + length(REPORT_TAIL);
}

static void append(struct hw *hw, struct hw_group *group, uint8_t *slot, struct fg_span device,
		   size_t size)
{
	uint32_t place = hw->n_items++;

	hw->items[place] =
		(struct hw_item){.offset = hw->scratch_used, .size = size, .next = HW_NO_ITEM};
	hw->scratch_used += size;
	if (group) {
		hw->items[group->last].next = place;
		group->last = place;
		return;
	}
	hw->groups[hw->n_groups++] =
		(struct hw_group){.device = device, .first = place, .last = place};
	*slot = (uint8_t)hw->n_groups;
}

/* For when IoTDA asks. */
static void remember(const struct hw_call *call, struct fg_span device, const struct fg_message *m,
		     struct fg_json_value properties)
{
	struct hw *hw = call->hw;

	if (hw->with.last_values_bytes == 0)
		return;
	hw_known_note(hw->known, device, service_of(hw, m), call->batch->is_alarm ? 0 : m->seq,
		      m->time_us, properties);
	if (!hw_known_is_full(hw->known) || hw->has_warned_unkept)
		return;
	hw->has_warned_unkept = true;
	hw->host->warn(hw->host_ctx,
		       "not all that devices said last is kept (at most 16 KiB of a service, and "
		       "last_values in all): when IoTDA asks for such properties, only the device "
		       "can answer");
}

static unsigned max_groups(const struct hw *hw)
{
	return hw->carrier == FG_CARRIER_HTTP ? HW_HTTPS_MAX_GROUPS : HW_MAX_GROUPS;
}

enum hw_step hw_take_properties(struct hw_call *call, size_t i, int *ret)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct fg_span device = hw_said_by(hw, m);
	struct outcome outcome = {0};
	struct hw_group *group;
	size_t more;
	uint8_t *slot;
	int r;

	if (hw->n_items == HW_MAX_ITEMS || hw->n_items >= call->batch->max_take)
		return HW_STEP_ENOUGH;
	if (!begin_report(call, hw_is_own(hw, m), ret))
		return HW_STEP_ON;
	if (*ret < 0)
		return HW_STEP_PUBLISHED;
	group = find_group(hw, device, &slot);
	if (!group && hw->n_groups == max_groups(hw))
		return HW_STEP_ON;
	r = write_item(call, i, &outcome);
	if (r == -ENOENT)
		return HW_STEP_ON;
	more = size_with(call, group, device, outcome.size);
	if (r < 0 || call->payload_size + more > call->payload_limit) {
		if (hw->n_items > 0)
			return HW_STEP_ENOUGH;
		hw_refuse(call, i, "too large for one report: %zu bytes of JSON, where it has %zu",
			  m->body.size, call->payload_limit);
		return HW_STEP_ON;
	}
	append(hw, group, slot, device, outcome.size);
	call->payload_size += more;
	call->batch->values_dropped += outcome.n_dropped;
	call->batch->states[i] = FG_TAKEN;
	remember(call, device, m, outcome.object);
	return HW_STEP_ON;
}

/* ------------------------------------------------------------------ writing the publish */

static void put_items(const struct hw *hw, const struct hw_group *group, struct fg_text *text)
{
	for (uint32_t i = group->first; i != HW_NO_ITEM; i = hw->items[i].next) {
		if (i != group->first)
			fg_put(text, ",");
		fg_put_span(text, fg_span_of(hw->scratch + hw->items[i].offset, hw->items[i].size));
	}
}

/* Pack the payload if that makes it smaller, the mark in the topic included: so it has room anyway. */
static void pack(struct hw_call *call)
{
	struct fg_publish *out = call->out;
	size_t topic_size = strlen(out->topic), size;

	if (out->payload_len < MIN_PACKED || topic_size + sizeof(HW_GZIP_MARK) > out->topic_size)
		return;
	/* The entries in the scratch buffer are in the payload by now. */
	size = hw_gzip_pack(call->hw->gzip, fg_span_of(out->payload, out->payload_len),
			    call->hw->scratch, out->payload_len - sizeof(HW_GZIP_MARK));
	if (size == 0)
		return;
	memcpy(out->payload, call->hw->scratch, size);
	out->payload_len = size;
	memcpy(out->topic + topic_size, HW_GZIP_MARK, sizeof(HW_GZIP_MARK));
}

int hw_publish_report(struct hw_call *call)
{
	const struct hw *hw = call->hw;
	struct fg_text text = fg_text_begin(call->out->payload, call->payload_limit);

	if (call->is_own) {
		fg_put(&text, OWN_HEAD);
		put_items(hw, &hw->groups[0], &text);
	} else {
		fg_put(&text, REPORT_HEAD);
		for (unsigned i = 0; i < hw->n_groups; i++) {
			fg_put(&text, i > 0 ? "," GROUP_HEAD : GROUP_HEAD);
			hw_put_device_id(hw, &text, hw->groups[i].device);
			fg_put(&text, GROUP_MIDDLE);
			put_items(hw, &hw->groups[i], &text);
			fg_put(&text, REPORT_TAIL);
		}
	}
	fg_put(&text, REPORT_TAIL);
	call->out->payload_len = fg_text_size(&text);
	if (text.is_full)
		return -EINVAL;
	if (hw->gzip && hw->carrier == FG_CARRIER_MQTT)
		pack(call);
	if (!call->is_own && hw->n_groups == 1 && hw->carrier == FG_CARRIER_HTTP)
		call->out->tag = hw_https_tag(hw, hw->groups[0].device);
	return 1;
}

/* ------------------------------------------------------------------ texts and events */

/* An id of message @i that no other one has, and that it keeps however often it is sent: its number in the
 * journal, of which each lane has its own. */
static void put_id(const struct hw_call *call, struct fg_text *text, size_t i)
{
	fg_put(text, call->batch->is_alarm ? "a" : "");
	fg_put_number(text, (int64_t)call->batch->messages[i].seq);
}

/* The member that says whose message @m is. */
static void put_object_device(const struct hw *hw, struct fg_text *text, const struct fg_message *m)
{
	fg_put(text, "{\"object_device_id\":\"");
	if (hw_is_own(hw, m))
		fg_put(text, hw->with.device_id);
	else
		hw_put_device_id(hw, text, m->device);
	fg_put(text, "\",");
}

enum hw_step hw_take_event(struct hw_call *call, size_t i, int *ret)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct outcome outcome = {0};
	struct fg_json_value object;
	struct fg_json_fault fault;
	struct fg_text text;

	if (fg_json_check(m->body, &object, &fault) < 0 || object.type != FG_JSON_OBJECT) {
		hw_refuse(call, i, "paras of an event of IoTDA are a JSON object");
		return HW_STEP_ON;
	}
	if (hw->n_items > 0)
		return HW_STEP_ENOUGH;
	*ret = hw_publish_begin(hw, call->out, "events/up", HW_MAX_REPORT, &text);
	if (*ret < 0)
		return HW_STEP_PUBLISHED;
	put_object_device(hw, &text, m);
	fg_put(&text, "\"services\":[{\"service_id\":");
	fg_put_quoted(&text, service_of(hw, m));
	fg_put(&text, ",\"event_type\":");
	fg_put_quoted(&text, m->ref);
	fg_put(&text, ",\"event_time\":\"");
	if (!hw_put_time(&text, m->time_us, hw->with.has_milliseconds)) {
		hw_refuse(call, i, "its time has no year of four digits");
		return HW_STEP_ON;
	}
	fg_put(&text, "\",\"event_id\":\"");
	put_id(call, &text, i);
	fg_put(&text, "\",\"paras\":");
	put_properties(&text, object, &outcome);
	fg_put(&text, HW_EVENT_TAIL);
	if (text.is_full) {
		hw_refuse(call, i, "too large for one event: %zu bytes of JSON", m->body.size);
		return HW_STEP_ON;
	}
	call->out->payload_len = fg_text_size(&text);
	call->batch->values_dropped += outcome.n_dropped;
	call->batch->states[i] = FG_TAKEN;
	*ret = 1;
	return HW_STEP_PUBLISHED;
}

enum hw_step hw_take_text(struct hw_call *call, size_t i, int *ret)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct fg_text text;

	if (!fg_utf8_ok(m->body)) {
		hw_refuse(call, i, "a message of IoTDA is text, and this is not UTF-8");
		return HW_STEP_ON;
	}
	if (hw->n_items > 0)
		return HW_STEP_ENOUGH;
	*ret = hw_publish_begin(hw, call->out, "messages/up", HW_MAX_MESSAGE, &text);
	if (*ret < 0)
		return HW_STEP_PUBLISHED;
	put_object_device(hw, &text, m);
	fg_put(&text, "\"name\":");
	fg_put_quoted(&text, m->stream);
	fg_put(&text, ",\"id\":\"");
	put_id(call, &text, i);
	fg_put(&text, "\",\"content\":");
	fg_put_quoted(&text, m->body);
	fg_put(&text, "}");
	if (text.is_full || m->body.size > HW_MAX_CONTENT) {
		hw_refuse(call, i, "too large for one message: %zu bytes of text", m->body.size);
		return HW_STEP_ON;
	}
	call->out->payload_len = fg_text_size(&text);
	call->batch->states[i] = FG_TAKEN;
	*ret = 1;
	return HW_STEP_PUBLISHED;
}
