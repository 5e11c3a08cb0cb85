/*
 * Coming and going of sub-devices: what ThingsBoard is told of them, and what it says to that. The
 * states are in devices.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/packet.h"
#include "model/json.h"
#include "thingsboard.h"

/* A connect that was refused so often, without a word about a quota, is given up for this session.
 */
#define MAX_REFUSALS 3

/* A connect of a new device that was refused so often for a quota is given up for this session. */
#define MAX_QUOTA_REFUSALS 5

/* A device the server has thrown out is announced again after so long. */
#define PAUSE_S 10u

/* ------------------------------------------------------------------ states */

static void device_enter(struct tb *tb, struct tb_device *device, enum tb_device_state state)
{
	struct tb_devices *devices = tb->devices;

	device->state = state;
	tb_line_leave(devices, TB_LINE_PAUSED, device);
	if (state != TB_ANNOUNCED) {
		tb_line_leave(devices, TB_LINE_SPOKEN, device);
		tb_line_leave(devices, TB_LINE_ASK, device);
		device->wants_fetch = false;
	}
	if (state == TB_PAUSED) {
		device->resume_s = tb->uptime_s + PAUSE_S;
		tb_line_enter(devices, TB_LINE_PAUSED, device);
	}
}

void tb_device_spoke(struct tb *tb, struct tb_device *device)
{
	device->spoke_s = tb->uptime_s;
	if (device->state == TB_ANNOUNCED)
		tb_line_enter(tb->devices, TB_LINE_SPOKEN, device);
	if (!device->wants_fetch)
		tb_line_leave(tb->devices, TB_LINE_ASK, device);
}

void tb_device_heard(struct tb_device *device, const struct fg_message *m, int64_t now_us)
{
	int64_t time_us = m->time_us < now_us ? m->time_us : now_us;

	if (m->seq > device->newest_seq)
		device->newest_seq = m->seq;
	if (time_us > device->newest_us)
		device->newest_us = time_us;
	if (m->kind == FG_PRESENCE)
		return;
	device->is_away = false;
	device->is_live = true;
}

/*
 * A link that sends the newest data first offers old comings and goings later. Both the number and
 * the time must say so: numbers of different lanes cannot be compared, and the stamps of devices, or
 * of a clock that was set back, cannot be believed.
 */
static bool is_out_of_date(const struct tb_device *device, const struct fg_message *m,
			   int64_t now_us)
{
	return m->seq < device->newest_seq && m->time_us < device->newest_us &&
	       device->newest_us <= now_us;
}

/* ------------------------------------------------------------------ publishing */

/*
 * {"device":"pump 4","type":"pump"} or {"device":"pump 4"}. Returns 1, 0 when it does not fit into
 * a packet, or -EINVAL.
 */
static int publish_control(struct tb_call *call, struct tb_device *device, enum tb_tag what)
{
	bool is_connect = what == TB_TAG_CONNECT;
	struct tb *tb = call->tb;
	struct fg_publish *out = call->out;
	struct fg_text text;
	int r;

	r = tb_publish_begin(tb, out, is_connect ? TB_GATEWAY_CONNECT : TB_GATEWAY_DISCONNECT, -1,
			     &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"device\":");
	fg_put_quoted(&text, tb_device_name(device));
	if (is_connect) {
		fg_put(&text, ",\"type\":");
		if (device->type) {
			fg_put(&text, "\"");
			fg_put(&text, device->type);
			fg_put(&text, "\"");
		} else {
			fg_put_quoted(&text, fg_span_str(tb->with.device_type));
		}
	}
	fg_put(&text, "}");
	r = tb_publish_end(out, &text, TB_SCOPE_DEVICES);
	if (r <= 0)
		return r;
	device->control_serial = ++tb->serial;
	out->tag = tb_tag_make(what, tb->serial, device->slot);
	device_enter(tb, device, is_connect ? TB_CONNECTING : TB_DISCONNECTING);
	device->is_live = is_connect && !device->is_away;
	tb_line_leave(tb->devices, TB_LINE_ANNOUNCE, device);
	tb_limits_connects(tb);
	return 1;
}

int tb_announce(struct tb_call *call, struct tb_device *device)
{
	int r = publish_control(call, device, TB_TAG_CONNECT);

	if (r == 0) {
		device->is_live = false;
		tb_line_leave(call->tb->devices, TB_LINE_ANNOUNCE, device);
	}
	call->tb->has_run_errand = true;
	return r;
}

/* It was announced for the sake of an answer only: with that it goes again. */
static int disconnect_again(struct tb_call *call, struct tb_device *device)
{
	struct tb *tb = call->tb;

	if (!tb_device_is_quiet(tb, device)) {
		tb_line_enter(tb->devices, TB_LINE_ANNOUNCE, device);
		return 0;
	}
	tb_line_leave(tb->devices, TB_LINE_ANNOUNCE, device);
	return publish_control(call, device, TB_TAG_DISCONNECT);
}

int tb_announce_next(struct tb_call *call)
{
	struct tb *tb = call->tb;
	struct tb_device *device;

	if (!tb->devices || tb->gate != TB_GATE_OPEN || !tb_limits_may_connect(tb))
		return 0;
	while ((device = tb_line_first(tb->devices, TB_LINE_ANNOUNCE))) {
		if (device->state == TB_UNANNOUNCED && device->is_live)
			return tb_announce(call, device);
		if (device->state == TB_ANNOUNCED && device->is_away)
			return disconnect_again(call, device);
		tb_line_leave(tb->devices, TB_LINE_ANNOUNCE, device);
	}
	return 0;
}

/* ------------------------------------------------------------------ messages */

enum tb_step tb_connect_first(struct tb_call *call, size_t i, struct tb_device *device, int *ret)
{
	device->is_blocked = true;
	if (call->tb->n_items > 0 || !tb_limits_may_connect(call->tb))
		return TB_STEP_ON;
	if (device->n_quota_refusals > 0) {
		if (!call->parked)
			call->parked = device;
		return TB_STEP_ON;
	}
	*ret = publish_control(call, device, TB_TAG_CONNECT);
	if (*ret != 0)
		return TB_STEP_PUBLISHED;
	device->is_blocked = false;
	tb_refuse(call, i, "the device's name is too long for one packet");
	return TB_STEP_ON;
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

enum tb_step tb_take_presence(struct tb_call *call, size_t i, struct tb_device *device, int *ret)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	bool was_away = device->is_away;
	struct fg_span type;
	int is_up;

	is_up = read_presence(m->body, &type);
	if (is_up < 0) {
		tb_refuse(call, i, "presence wants a state: \"up\" or \"down\"");
		return TB_STEP_ON;
	}
	if (is_out_of_date(device, m, call->batch->now_us)) {
		call->batch->states[i] = FG_NOTHING;
		return TB_STEP_ON;
	}
	device->is_blocked = true;
	if (device->state == TB_CONNECTING || device->state == TB_DISCONNECTING ||
	    device->state == TB_PAUSED || tb->n_items > 0 || !tb_device_is_quiet(tb, device) ||
	    call->batch->max_take == 0 || !tb_limits_may_connect(tb))
		return TB_STEP_ON;
	if (is_up && device->n_quota_refusals > 0) {
		if (!call->parked)
			call->parked = device;
		return TB_STEP_ON;
	}
	if (is_up && type.size > 0) {
		*ret = tb_device_set_type(device, type);
		if (*ret < 0)
			return TB_STEP_PUBLISHED;
	}
	device->is_away = !is_up;
	*ret = publish_control(call, device, is_up ? TB_TAG_CONNECT : TB_TAG_DISCONNECT);
	if (*ret == 0) {
		device->is_blocked = false;
		tb_refuse(call, i, "the device's name is too long for one packet");
		return TB_STEP_ON;
	}
	if (*ret < 0) {
		device->is_away = was_away;
		return TB_STEP_PUBLISHED;
	}
	call->batch->states[i] = FG_TAKEN;
	tb_device_heard(device, m, call->batch->now_us);
	return TB_STEP_PUBLISHED;
}

/* ------------------------------------------------------------------ what the server says */

/* The device whose connect or disconnect @tag is waiting to be settled; NULL when none is. */
static struct tb_device *waiting_device(const struct tb *tb, uint64_t tag)
{
	struct tb_device *device = NULL;

	if (tb->devices)
		device = tb_devices_at(tb->devices, (uint32_t)tag);
	if (!device || device->control_serial == 0 ||
	    (device->control_serial & TB_TAG_SERIAL) != (tag >> 32 & TB_TAG_SERIAL))
		return NULL;
	return device;
}

static void give_up(struct tb *tb, struct tb_device *device, unsigned code)
{
	device_enter(tb, device, TB_REFUSED);
	device->is_live = false;
	device->refusal_code = code;
	tb->host->warn(
		tb->host_ctx,
		"ThingsBoard refuses to connect device \"%.*s\" (reason code 0x%02x): its messages "
		"go into quarantine until the next session",
		(int)device->name_size, device->name, code);
}

/* A silent device, known to the server, has nothing that would bring it back. */
static void announce_once_more(struct tb *tb, struct tb_device *device)
{
	if (device->was_announced && device->is_live)
		tb_line_enter(tb->devices, TB_LINE_ANNOUNCE, device);
}

/*
 * A rate limit passes; the tenant's limit of devices does not, and the code for a device that would
 * be new is the same. What tells them apart: after a rate limit the server closes the connection,
 * so that two refusals in one session are rare. The link pauses for each, and must not for ever.
 */
static bool is_over_device_quota(struct tb *tb, struct tb_device *device, unsigned code)
{
	if (code == FG_REASON_NOT_AUTHORIZED || device->was_announced)
		return false;
	device->n_quota_refusals++;
	return tb->has_device_quota || device->was_over_quota ||
	       device->n_quota_refusals >= MAX_QUOTA_REFUSALS;
}

static void connect_accepted(struct tb *tb, struct tb_device *device)
{
	device_enter(tb, device, TB_ANNOUNCED);
	device->was_announced = true;
	device->was_over_quota = false;
	device->n_refusals = 0;
	device->n_quota_refusals = 0;
	tb_device_spoke(tb, device);
	tb_attributes_device_connected(tb, device);
}

/* Returns what the link shall do; once a device is given up there is nothing to wait for. */
static enum fg_verdict connect_settled(struct tb *tb, struct tb_device *device, unsigned code,
				       enum fg_verdict verdict)
{
	device_enter(tb, device, TB_UNANNOUNCED);
	switch (verdict) {
	case FG_ACCEPTED:
		connect_accepted(tb, device);
		return FG_ACCEPTED;
	case FG_POISON:
	case FG_SIGN_IN: /* of HTTP only */
		break;
	case FG_RETRY:
		if (++device->n_refusals >= MAX_REFUSALS)
			break;
		announce_once_more(tb, device);
		return FG_RETRY;
	case FG_LATER:
		if (is_over_device_quota(tb, device, code)) {
			tb->has_device_quota = true;
			device->was_over_quota = true;
			break;
		}
		announce_once_more(tb, device);
		return FG_LATER;
	}
	give_up(tb, device, code);
	return FG_POISON;
}

enum fg_verdict tb_announce_settled(struct tb *tb, uint64_t tag, unsigned code,
				    enum fg_verdict verdict)
{
	struct tb_device *device = waiting_device(tb, tag);

	if (!device)
		return verdict; /* the session or a notice was faster */
	device->control_serial = 0;
	if (device->state == TB_CONNECTING)
		return connect_settled(tb, device, code, verdict);
	device_enter(tb, device, TB_UNANNOUNCED);
	return verdict;
}

int tb_disconnect_notice(struct tb *tb, struct fg_span payload)
{
	struct fg_json_value notice, name, reason;
	struct fg_json_fault fault;
	struct tb_device *device;
	char unescaped[TB_NAME_SIZE];
	struct fg_span device_name;

	if (fg_json_check(payload, &notice, &fault) < 0 || notice.type != FG_JSON_OBJECT ||
	    !fg_json_member(notice, fg_span_str("device"), &name) ||
	    !tb_name_read(tb_raw_string(name), unescaped, &device_name))
		return -EPROTO;
	if (!fg_json_member(notice, fg_span_str("reason"), &reason))
		reason =
			(struct fg_json_value){.type = FG_JSON_INTEGER, .text = fg_span_str("128")};
	if (reason.type != FG_JSON_INTEGER)
		return -EPROTO;
	device = tb_devices_find(tb->devices, device_name);
	if (!device || (device->state != TB_ANNOUNCED && device->state != TB_CONNECTING))
		return 0;
	device_enter(tb, device, TB_PAUSED);
	device->control_serial = 0;
	tb->host->warn(tb->host_ctx,
		       "ThingsBoard closed the session of device \"%.*s\" (%s, reason %.*s): it is "
		       "announced again in %u s",
		       (int)device->name_size, device->name,
		       fg_span_is(reason.text, "150") ? "rate limit" : "on its side",
		       reason.text.size < 12 ? (int)reason.text.size : 12, reason.text.data,
		       PAUSE_S);
	return 0;
}

int tb_device_renamed(struct tb *tb, struct fg_span from, struct fg_span to)
{
	struct tb_device *old = tb_devices_find(tb->devices, from), *device;
	bool is_live;
	char *type;
	int r = 0;

	tb_images_device_called(tb, from, to);
	if (!old || fg_span_equal(from, to))
		return 0;
	/* It goes first: then there is room, and it is not the one to make it. */
	is_live = old->is_live;
	type = old->type;
	old->type = NULL;
	tb_devices_forget(tb->devices, old);
	device = tb_devices_find(tb->devices, to);
	if (!device)
		r = tb_devices_add(tb->devices, to, tb_is_spare, tb, &device);
	if (r == 0 && type) {
		free(device->type);
		device->type = type;
		type = NULL;
	}
	if (r == 0 && is_live && device->state == TB_UNANNOUNCED) {
		device->is_live = true;
		tb_line_enter(tb->devices, TB_LINE_ANNOUNCE, device);
	}
	free(type);
	return r;
}

void tb_device_deleted(struct tb *tb, struct fg_span name)
{
	struct tb_device *device = tb_devices_find(tb->devices, name);
	bool is_made_again = tb->with.on_delete == TB_DELETE_RECREATES;

	if (!is_made_again)
		tb_images_device_called(tb, name, (struct fg_span){0});
	if (!device)
		return;
	if (!is_made_again) {
		tb_devices_forget(tb->devices, device);
		return;
	}
	device->was_announced = false;
	if (device->state == TB_ANNOUNCED)
		device_enter(tb, device, TB_UNANNOUNCED);
	if (device->is_live)
		tb_line_enter(tb->devices, TB_LINE_ANNOUNCE, device);
}

/* ------------------------------------------------------------------ time and sessions */

void tb_announce_tick(struct tb *tb)
{
	struct tb_device *device;

	if (!tb->devices)
		return;
	while ((device = tb_line_first(tb->devices, TB_LINE_PAUSED)) &&
	       device->resume_s <= tb->uptime_s) {
		device_enter(tb, device, TB_UNANNOUNCED);
		if (device->is_live)
			tb_line_enter(tb->devices, TB_LINE_ANNOUNCE, device);
	}
	while (tb->with.inactivity_s > 0 && (device = tb_line_first(tb->devices, TB_LINE_SPOKEN)) &&
	       device->spoke_s + tb->with.inactivity_s / 2 <= tb->uptime_s) {
		tb_line_leave(tb->devices, TB_LINE_SPOKEN, device);
		tb_line_enter(tb->devices, TB_LINE_ASK, device);
	}
}

/* To one that is not marked as a gateway the server neither acknowledges nor refuses anything. */
static void warn_if_no_gateway(struct tb *tb)
{
	struct tb_device *device;

	for (uint32_t i = 0; !tb->has_accepted && i < tb_devices_slots(tb->devices); i++) {
		device = tb_devices_at(tb->devices, i);
		if (!device || device->state != TB_CONNECTING)
			continue;
		tb->host->warn(tb->host_ctx,
			       "the session ended without an answer to the first "
			       "announcement of a device: if this goes on, look whether "
			       "\"Is gateway\" is set in ThingsBoard");
		return;
	}
}

void tb_announce_forget(struct tb *tb)
{
	struct tb_device *device;

	if (!tb->devices)
		return;
	warn_if_no_gateway(tb);
	tb->has_device_quota = false;
	for (uint32_t i = 0; i < tb_devices_slots(tb->devices); i++) {
		device = tb_devices_at(tb->devices, i);
		if (!device)
			continue;
		device_enter(tb, device, TB_UNANNOUNCED);
		device->n_refusals = 0;
		device->n_quota_refusals = 0;
		device->n_unanswered = 0;
		device->control_serial = 0;
		tb_line_leave(tb->devices, TB_LINE_ANNOUNCE, device);
		if (device->is_live)
			tb_line_enter(tb->devices, TB_LINE_ANNOUNCE, device);
	}
}
