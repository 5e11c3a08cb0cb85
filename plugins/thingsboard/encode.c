/*
 * Making publishes. One encode() call looks at the offered messages once, in order, and makes of
 * them either one announcement (connect, disconnect), or one publish of telemetry, or one of
 * attributes, as large as the limits allow.
 *
 * Order: a device's telemetry goes out in the order it came, and so do its attributes. A presence
 * message is a barrier: what the device said before it is settled before a disconnect goes out, and
 * what it says after it waits until ThingsBoard has acknowledged the announcement.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "model/json.h"
#include "thingsboard.h"

/* PUBLISH at QoS 1: length of the topic, packet id (MQTT 3.1.1, 3.3.2). */
#define PUBLISH_OVERHEAD 4u

/* MQTT 5, 3.3.2.3.1: the Property Length of no properties. */
#define PROPERTIES_OVERHEAD 1u

/* {"ts":-9223372036854775,"values":} with room to spare. */
#define STAMP_SIZE 48

/* One encode() call. */
struct call {
	struct tb *tb;
	struct fg_batch *batch;
	struct fg_publish *out;
	enum fg_kind kind;    /* of the messages taken; 0: none yet */
	size_t payload_limit; /* for `kind` */
	size_t payload_size;  /* of what was taken, brackets included */
	unsigned n_attributes;
	unsigned n_refused, n_put_off;
	bool refuse_all;
	bool has_mixed_reasons;
	bool is_table_full; /* of devices that have something under way */
	struct tb_device
		*parked; /* refused for a quota before: only when there is nothing else to do */
};

/* What to do with the next message. */
enum step { STEP_ON, STEP_ENOUGH, STEP_PUBLISHED };

/* ------------------------------------------------------------------ sizes */

/* Bytes a payload on @topic may have; 0 when not even the topic fits. */
static size_t payload_limit(const struct tb *tb, const struct fg_publish *out, const char *topic)
{
	size_t limit = tb->max_packet_bytes;
	size_t overhead = PUBLISH_OVERHEAD + strlen(topic);

	if (tb->mqtt_version >= 5)
		overhead += PROPERTIES_OVERHEAD;
	if (tb->session_max_packet_bytes > 0 && tb->session_max_packet_bytes < limit)
		limit = tb->session_max_packet_bytes;
	if (out->max_packet_bytes > 0 && out->max_packet_bytes < limit)
		limit = out->max_packet_bytes;
	limit = limit > overhead ? limit - overhead : 0;
	return limit < out->payload_size ? limit : out->payload_size;
}

static const char *data_topic(const struct tb *tb, enum fg_kind kind)
{
	if (tb->mode == TB_MODE_DEVICE)
		return kind == FG_TELEMETRY ? TB_TOPIC_TELEMETRY : TB_TOPIC_ATTRIBUTES;
	return kind == FG_TELEMETRY ? TB_TOPIC_GATEWAY_TELEMETRY : TB_TOPIC_GATEWAY_ATTRIBUTES;
}

/* ------------------------------------------------------------------ refusing */

/*
 * A batch has room for one reason. So only one message is refused in a call, and the others stay
 * for the next one; unless there will be no next one because nothing is published.
 */
__attribute__((format(printf, 3, 4))) static void refuse(struct call *call, size_t i,
							 const char *format, ...)
{
	struct fg_batch *batch = call->batch;
	char reason[sizeof(batch->reason) - 40];
	va_list args;

	if (call->n_refused > 0 && !call->refuse_all) {
		call->n_put_off++;
		return;
	}
	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	if (call->n_refused > 0 && strcmp(reason, batch->reason) != 0)
		call->has_mixed_reasons = true;
	snprintf(batch->reason, sizeof(batch->reason), "%s%s",
		 call->has_mixed_reasons ? "one of several refused together: " : "", reason);
	batch->states[i] = FG_REFUSED;
	call->n_refused++;
}

/* ------------------------------------------------------------------ one message's text */

static char *put_number(char *at, int64_t value)
{
	uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
	char digits[20];
	size_t n = 0;

	if (value < 0)
		*at++ = '-';
	do {
		digits[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	while (n > 0)
		*at++ = digits[--n];
	return at;
}

/* ThingsBoard reads whole milliseconds; before 1970, too, a stamp is cut to the earlier one. */
static int64_t milliseconds(int64_t us)
{
	return us / 1000 - (us % 1000 < 0);
}

static size_t put_stamp(char *out, int64_t time_us)
{
	char *at = out;

	memcpy(at, "{\"ts\":", 6);
	at = put_number(at + 6, milliseconds(time_us));
	memcpy(at, ",\"values\":", 10);
	return (size_t)(at + 10 - out);
}

static bool wants_stamp(const struct tb *tb, const struct fg_message *m)
{
	if (m->kind != FG_TELEMETRY)
		return false;
	return tb->timestamp == TB_TIMESTAMP_SAMPLE || m->time_quality == FG_TIME_DEVICE;
}

/*
 * Write what @m becomes behind what the scratch buffer holds. Returns 0, -EMSGSIZE when it is
 * larger than @limit (or the buffer's rest), or -EBADMSG.
 */
static int write_item(struct tb *tb, const struct fg_message *m, size_t limit,
		      struct tb_item *ret_item, struct tb_outcome *ret)
{
	char *start = tb->scratch + tb->scratch_used;
	size_t room = tb->max_packet_bytes - tb->scratch_used;
	bool is_stamped = wants_stamp(tb, m);
	size_t head = 0;
	int r;

	room = room < limit ? room : limit;
	for (;;) {
		if (is_stamped) {
			if (room < STAMP_SIZE)
				return -EMSGSIZE;
			head = put_stamp(start, m->time_us);
			room -= head + 1;
		}
		r = tb_values_write(&tb->values, m->body, start + head, room, ret);
		if (r < 0)
			return r;
		if (is_stamped || m->kind != FG_TELEMETRY || !ret->looks_stamped)
			break;
		is_stamped = true; /* else its own "ts" and "values" would be taken for a stamp */
	}
	if (is_stamped)
		start[head + ret->size] = '}';
	*ret_item = (struct tb_item){
		.time_us = m->time_us,
		.offset = tb->scratch_used,
		.size = head + ret->size + is_stamped,
		.next = TB_NO_ITEM,
	};
	return 0;
}

/* ------------------------------------------------------------------ announcements */

static bool put_text(struct fg_publish *out, size_t *used, size_t limit, struct fg_span text)
{
	if (text.size > limit - *used)
		return false;
	memcpy(out->payload + *used, text.data, text.size);
	*used += text.size;
	return true;
}

static bool put_quoted(struct fg_publish *out, size_t *used, size_t limit, struct fg_span text)
{
	size_t n = fg_json_quote(text, out->payload + *used, limit - *used);

	if (n > limit - *used)
		return false;
	*used += n;
	return true;
}

static int set_topic(struct fg_publish *out, const char *topic)
{
	if (strlen(topic) >= out->topic_size)
		return -EINVAL;
	memcpy(out->topic, topic, strlen(topic) + 1);
	out->qos = 1; /* the server stumbles over QoS 0 on gateway topics */
	return 0;
}

/*
 * {"device":"pump 4","type":"pump"} or {"device":"pump 4"}. Returns 1, 0 when it does not fit into
 * a packet, or -EINVAL.
 */
static int publish_control(struct call *call, struct tb_device *device, enum tb_tag what)
{
	struct tb *tb = call->tb;
	struct fg_publish *out = call->out;
	const char *topic =
		what == TB_TAG_CONNECT ? TB_TOPIC_GATEWAY_CONNECT : TB_TOPIC_GATEWAY_DISCONNECT;
	size_t limit = payload_limit(tb, out, topic), used = 0;
	bool fits;
	int r;

	fits = put_text(out, &used, limit, fg_span_str("{\"device\":")) &&
	       put_quoted(out, &used, limit, fg_span_of(device->name, device->name_size));
	if (fits && what == TB_TAG_CONNECT) {
		fits = put_text(out, &used, limit, fg_span_str(",\"type\":"));
		if (fits && device->type)
			fits = put_text(out, &used, limit, fg_span_str("\"")) &&
			       put_text(out, &used, limit, fg_span_str(device->type)) &&
			       put_text(out, &used, limit, fg_span_str("\""));
		else if (fits)
			fits = put_quoted(out, &used, limit, fg_span_str(tb->device_type));
	}
	if (!fits || !put_text(out, &used, limit, fg_span_str("}")))
		return 0;
	r = set_topic(out, topic);
	if (r < 0)
		return r;
	out->payload_len = used;
	device->control_serial = ++tb->serial;
	out->tag = tb_tag_make(what, tb->serial, device->slot);
	device->state = what == TB_TAG_CONNECT ? TB_CONNECTING : TB_DISCONNECTING;
	device->is_live = what == TB_TAG_CONNECT;
	device->is_due = false;
	return 1;
}

/* The next device that was live when the last session ended, and was not announced since. */
static struct tb_device *next_to_announce(struct tb *tb)
{
	struct tb_device *device;

	if (!tb->devices)
		return NULL;
	for (; tb->announce_at < tb_devices_slots(tb->devices); tb->announce_at++) {
		device = tb_devices_at(tb->devices, tb->announce_at);
		if (device && device->is_due)
			return device;
	}
	return NULL;
}

/* Announce @device for its own sake. Returns 1, 0 when it cannot be, or -EINVAL. */
static int announce(struct call *call, struct tb_device *device)
{
	int r = publish_control(call, device, TB_TAG_CONNECT);

	if (r == 0)
		device->is_live = device->is_due = false;
	call->tb->has_just_announced = true;
	return r;
}

/* ------------------------------------------------------------------ devices */

/* May @device make room? Not while something of it is under way, here or in ThingsBoard. */
static bool is_spare(const void *arg, const struct tb_device *device)
{
	const struct tb *tb = arg;

	if (device->state == TB_CONNECTING || device->state == TB_DISCONNECTING)
		return false;
	if (device->call == tb->call && (device->is_blocked || device->group.n_items > 0))
		return false;
	return tb_device_is_quiet(tb, device);
}

/*
 * The device @m is of, ready for this call. Returns 0; -EINVAL when it can never be one (and is
 * refused); -EAGAIN when there is no room for it yet; -ENOMEM.
 */
static int find_device(struct call *call, size_t i, struct tb_device **ret)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	struct tb_device *device = tb_devices_find(tb->devices, m->device);
	const char *fault;
	int r;

	if (!device) {
		if (call->is_table_full)
			return -EAGAIN;
		fault = tb_name_fault(m->device);
		if (fault) {
			refuse(call, i, "the device's name %s", fault);
			return -EINVAL;
		}
		r = tb_devices_add(tb->devices, m->device, is_spare, tb, &device);
		if (r < 0) {
			call->is_table_full = r == -EAGAIN;
			return r;
		}
	}
	if (device->call != tb->call) {
		device->call = tb->call;
		device->is_blocked = false;
		device->group = (struct tb_group){.first = TB_NO_ITEM, .last = TB_NO_ITEM};
	}
	*ret = device;
	return 0;
}

/* ------------------------------------------------------------------ taking messages */

static bool begin_kind(struct call *call, enum fg_kind kind)
{
	if (call->tb->n_items > 0)
		return call->kind == kind;
	if (call->kind != kind)
		call->payload_limit =
			payload_limit(call->tb, call->out, data_topic(call->tb, kind));
	call->kind = kind;
	call->payload_size = 0;
	return true;
}

/* Bytes around an item of @size, if @group (of @device, NULL in device mode) takes it too. */
static size_t size_with(const struct call *call, const struct tb_device *device,
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

static void append(struct call *call, struct tb_device *device, struct tb_group *group,
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

/* Take message @i if there is room. @device is NULL in device mode. */
static enum step take(struct call *call, size_t i, struct tb_device *device, struct tb_group *group)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	struct tb_outcome outcome = {0};
	struct tb_item item;
	size_t total;
	int r;

	if (!begin_kind(call, m->kind))
		return STEP_ON;
	if (tb->n_items == TB_MAX_ITEMS || tb->n_items >= call->batch->max_take)
		return STEP_ENOUGH;
	r = write_item(tb, m, call->payload_limit, &item, &outcome);
	if (r == -EBADMSG) {
		refuse(call, i, "ThingsBoard takes JSON objects only");
		return STEP_ON;
	}
	if (r == 0 && outcome.n_members == 0) {
		call->batch->states[i] = FG_NOTHING;
		call->batch->values_dropped += outcome.n_dropped;
		return STEP_ON;
	}
	total = r == 0 ? size_with(call, device, group, item.size) : SIZE_MAX;
	if (total > call->payload_limit ||
	    (m->kind == FG_ATTRIBUTES &&
	     call->n_attributes + outcome.n_members > TB_MAX_ATTRIBUTES)) {
		if (tb->n_items > 0)
			return STEP_ENOUGH;
		if (total > call->payload_limit) {
			refuse(call, i,
			       "too large for one publish: %zu bytes of JSON, where the packet has "
			       "room "
			       "for %zu with the device's name",
			       m->body.size, call->payload_limit);
			return STEP_ON;
		}
	}
	append(call, device, group, &item);
	call->payload_size = total;
	call->n_attributes += outcome.n_members;
	call->batch->values_dropped += outcome.n_dropped;
	call->batch->states[i] = FG_TAKEN;
	if (device && m->seq > device->newest_seq)
		device->newest_seq = m->seq;
	return STEP_ON;
}

/* ------------------------------------------------------------------ gateway mode */

/* Data of a device that ThingsBoard has not been told of: the connect goes first, if it may. */
static enum step connect_first(struct call *call, size_t i, struct tb_device *device, int *ret)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	struct tb_outcome outcome = {0};
	struct tb_item item;
	size_t limit = payload_limit(tb, call->out, data_topic(tb, m->kind));
	int r;

	if (tb->n_items > 0) {
		device->is_blocked = true;
		return STEP_ON;
	}
	/* No device is made in ThingsBoard for the sake of a message that will not follow. */
	r = write_item(tb, m, limit, &item, &outcome);
	if (r == 0 && outcome.n_members == 0) {
		call->batch->states[i] = FG_NOTHING;
		call->batch->values_dropped += outcome.n_dropped;
		return STEP_ON;
	}
	if (r < 0) {
		refuse(call, i,
		       r == -EBADMSG ? "ThingsBoard takes JSON objects only"
				     : "too large for one publish");
		return STEP_ON;
	}
	device->is_blocked = true;
	if (device->n_quota_refusals > 0) {
		if (!call->parked)
			call->parked = device;
		return STEP_ON;
	}
	*ret = publish_control(call, device, TB_TAG_CONNECT);
	if (*ret != 0)
		return STEP_PUBLISHED;
	device->is_blocked = false;
	refuse(call, i, "the device's name is too long for one packet");
	return STEP_ON;
}

static enum step take_data(struct call *call, size_t i, struct tb_device *device, int *ret)
{
	switch (device->state) {
	case TB_UNANNOUNCED:
		return connect_first(call, i, device, ret);
	case TB_ANNOUNCED:
		return take(call, i, device, &device->group);
	case TB_REFUSED:
		refuse(call, i, "ThingsBoard refused to connect the device (reason code 0x%02x)",
		       device->refusal_code);
		return STEP_ON;
	case TB_CONNECTING:
	case TB_DISCONNECTING:
		break;
	}
	device->is_blocked = true;
	return STEP_ON;
}

/* Reads {"state":"up","type":"pump"}. Returns 1 for up, 0 for down, -EBADMSG. */
static int read_presence(struct fg_span body, struct fg_span *ret_type)
{
	struct fg_json_value object, state, type;
	struct fg_json_fault fault;

	*ret_type = (struct fg_span){0};
	if (fg_json_check(body, &object, &fault) < 0 || object.type != FG_JSON_OBJECT ||
	    !fg_json_member(object, fg_span_str("state"), &state))
		return -EBADMSG;
	if (fg_span_is(state.text, "\"down\""))
		return 0;
	if (!fg_span_is(state.text, "\"up\""))
		return -EBADMSG;
	if (fg_json_member(object, fg_span_str("type"), &type) && type.type == FG_JSON_STRING) {
		*ret_type = fg_span_of(type.text.data + 1, type.text.size - 2);
		if (tb_raw_name_fault(*ret_type))
			*ret_type = (struct fg_span){0};
	}
	return 1;
}

static enum step take_presence(struct call *call, size_t i, struct tb_device *device, int *ret)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	struct fg_span type;
	int is_up;

	is_up = read_presence(m->body, &type);
	if (is_up < 0) {
		refuse(call, i, "presence wants a state: \"up\" or \"down\"");
		return STEP_ON;
	}
	/* A link that sends the newest data first offers old comings and goings later. */
	if (m->seq < device->newest_seq) {
		call->batch->states[i] = FG_NOTHING;
		return STEP_ON;
	}
	device->is_blocked = true;
	if (device->state == TB_CONNECTING || device->state == TB_DISCONNECTING ||
	    tb->n_items > 0 || !tb_device_is_quiet(tb, device) || call->batch->max_take == 0)
		return STEP_ON;
	if (is_up && device->n_quota_refusals > 0) {
		if (!call->parked)
			call->parked = device;
		return STEP_ON;
	}
	if (is_up && type.size > 0) {
		*ret = tb_device_set_type(device, type);
		if (*ret < 0)
			return STEP_PUBLISHED;
	}
	*ret = publish_control(call, device, is_up ? TB_TAG_CONNECT : TB_TAG_DISCONNECT);
	if (*ret == 0) {
		device->is_blocked = false;
		refuse(call, i, "the device's name is too long for one packet");
		return STEP_ON;
	}
	if (*ret > 0) {
		call->batch->states[i] = FG_TAKEN;
		device->newest_seq = m->seq;
	}
	return STEP_PUBLISHED;
}

static bool is_data(const struct fg_message *m)
{
	return m->kind == FG_TELEMETRY || m->kind == FG_ATTRIBUTES;
}

static bool check_form(struct call *call, size_t i)
{
	const struct fg_message *m = &call->batch->messages[i];

	if (!is_data(m) && m->kind != FG_PRESENCE)
		refuse(call, i,
		       m->kind == FG_EVENT
			       ? "ThingsBoard has no events; map them as telemetry"
			       : "this version sends no command responses to ThingsBoard");
	else if (m->content_type.size > 0)
		refuse(call, i, "ThingsBoard takes JSON objects only");
	else
		return true;
	return false;
}

static enum step offer_to_gateway(struct call *call, size_t i, int *ret)
{
	const struct fg_message *m = &call->batch->messages[i];
	struct tb_device *device;
	int r;

	r = find_device(call, i, &device);
	if (r == -ENOMEM) {
		*ret = r;
		return STEP_PUBLISHED;
	}
	if (r < 0 || device->is_blocked)
		return STEP_ON;
	return is_data(m) ? take_data(call, i, device, ret) : take_presence(call, i, device, ret);
}

/* ------------------------------------------------------------------ device mode */

static enum step offer_to_device(struct call *call, size_t i)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];

	/* In ThingsBoard's eyes the device is there as long as this session is. */
	if ((tb->device && !fg_span_is(m->device, tb->device)) || m->kind == FG_PRESENCE) {
		call->batch->states[i] = FG_NOTHING;
		return STEP_ON;
	}
	return take(call, i, NULL, &tb->group);
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
	uint32_t hash = 2166136261u; /* FNV-1a */
	uint64_t *slot;
	const struct tb_attribute *other;

	for (size_t i = 0; i < name.size; i++)
		hash = (hash ^ (unsigned char)name.data[i]) * 16777619u;
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

static char *put_group(struct call *call, struct tb_group *group, char *at, bool is_array)
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

static int publish_data(struct call *call)
{
	struct tb *tb = call->tb;
	struct fg_publish *out = call->out;
	char *at = out->payload;
	int r;

	r = set_topic(out, data_topic(tb, call->kind));
	if (r < 0)
		return r;
	tb->serial++;
	if (tb->mode == TB_MODE_DEVICE) {
		at = put_group(call, &tb->group, at, tb->group.n_items > 1);
	} else {
		for (struct tb_device *d = tb->first_group; d; d = d->next_group) {
			*at++ = d == tb->first_group ? '{' : ',';
			at += fg_json_quote(fg_span_of(d->name, d->name_size), at, d->quoted_size);
			*at++ = ':';
			at = put_group(call, &d->group, at, true);
			d->last_flight = tb->serial;
		}
		*at++ = '}';
	}
	out->payload_len = (size_t)(at - out->payload);
	out->tag = tb_tag_make(TB_TAG_DATA, tb->serial, 0);
	tb->flights[tb->serial % TB_MAX_FLIGHTS] = tb->serial;
	return 1;
}

/* ------------------------------------------------------------------ encode */

/* Look at all messages once. Returns 1 when @out is filled, 0, or a negative errno. */
static int look_through(struct call *call)
{
	struct fg_batch *batch = call->batch;
	enum step step = STEP_ON;
	int r = 0;

	for (size_t i = 0; i < batch->count && step == STEP_ON; i++) {
		if (batch->states[i] != FG_OFFERED || !check_form(call, i))
			continue;
		step = call->tb->mode == TB_MODE_DEVICE ? offer_to_device(call, i)
							: offer_to_gateway(call, i, &r);
	}
	if (step == STEP_PUBLISHED)
		return r;
	if (call->tb->n_items > 0)
		return publish_data(call);
	return call->parked ? announce(call, call->parked) : 0;
}

static void begin(struct call *call)
{
	struct tb *tb = call->tb;

	tb->call++;
	tb->n_items = 0;
	tb->scratch_used = 0;
	tb->group = (struct tb_group){.first = TB_NO_ITEM, .last = TB_NO_ITEM};
	tb->first_group = tb->last_group = NULL;
	call->kind = 0;
	call->n_put_off = 0;
	call->parked = NULL;
	call->is_table_full = false;
}

int tb_encode(void *ctx, const char *session, struct fg_batch *batch, struct fg_publish *out)
{
	struct tb *tb = ctx;
	struct call call = {.tb = tb, .batch = batch, .out = out};
	struct tb_device *device;
	int r = 0;

	(void)session;
	begin(&call);
	/* Silent devices and those with data take turns: neither waits for the whole of the other.
	 */
	device = next_to_announce(tb);
	if (device && !tb->has_just_announced)
		r = announce(&call, device);
	if (r == 0) {
		tb->has_just_announced = false;
		r = look_through(&call);
	}
	if (r == 0 && call.n_put_off > 0) {
		begin(&call);
		call.refuse_all = true;
		r = look_through(&call);
	}
	device = r == 0 ? next_to_announce(tb) : NULL;
	return device ? announce(&call, device) : r;
}
