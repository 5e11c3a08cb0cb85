/*
 * The status of sub-devices. IoTDA shows what the gateway says, and shows it on when the gateway is
 * gone: so after each connect all that is known is told, and a device that speaks is told to be there
 * before what it says goes out.
 *
 *	{"services":[{"service_id":"$sub_device_manager","event_type":"sub_device_update_status",
 *	"event_time":"…","paras":{"device_statuses":[{"device_id":"p1_pump-01","status":"ONLINE"}]}}]}
 *
 * Order: a device's `down` goes out behind what it said before, and nothing of it overtakes a message
 * that waits.
 */
#include <errno.h>
#include <stdio.h>

#include "huawei.h"

#define UPDATE "sub_device_update_status"
#define ENTRY_HEAD "{\"device_id\":\""
#define ENTRY_MIDDLE "\",\"status\":\""
#define ENTRY_TAIL "\"}"
#define TAIL "]}"

/* ------------------------------------------------------------------ writing the event */

/* Begin the event. Returns 0 or -EINVAL. */
static int begin_event(const struct hw_call *call, struct fg_text *text)
{
	static const struct hw_event_head head = {.service = HW_SERVICE_MANAGER, .type = UPDATE};
	int r = hw_event_begin(call, &head, text);

	if (r < 0)
		return r;
	fg_put(text, "{\"device_statuses\":[");
	return 0;
}

/* Add @device, which is told so then. Returns false when it does not fit. */
static bool add_device(struct hw *hw, struct fg_text *text, struct hw_device *device)
{
	const char *status = device->is == HW_ONLINE ? "ONLINE" : "OFFLINE";
	struct fg_text before = *text;
	struct fg_text tail;

	if (text->is_full)
		return false;
	fg_put(text, text->at[-1] == '[' ? ENTRY_HEAD : "," ENTRY_HEAD);
	hw_put_device_id(hw, text, hw_device_name(device));
	fg_put(text, ENTRY_MIDDLE);
	fg_put(text, status);
	fg_put(text, ENTRY_TAIL);
	tail = *text;
	fg_put(&tail, TAIL HW_EVENT_TAIL);
	if (tail.is_full) {
		*text = before;
		return false;
	}
	hw_device_told(&hw->devices, device);
	return true;
}

static int end_event(const struct hw_call *call, struct fg_text *text)
{
	fg_put(text, TAIL);
	call->out->tag = HW_TAG_STATUS;
	return hw_event_end(call, text) == 1 ? 1 : -EINVAL;
}

int hw_publish_untold(struct hw_call *call)
{
	struct hw *hw = call->hw;
	struct hw_device *device;
	struct fg_text text;
	unsigned n = 0;
	int r;

	if (!hw_devices_untold(&hw->devices))
		return 0;
	r = begin_event(call, &text);
	if (r < 0)
		return r;
	while (n < HW_MAX_GROUPS && (device = hw_devices_untold(&hw->devices)) &&
	       add_device(hw, &text, device))
		n++;
	return n > 0 ? end_event(call, &text) : 0;
}

/* ------------------------------------------------------------------ what messages say */

void hw_warn_full(struct hw *hw)
{
	if (!hw->has_warned_full)
		hw->host->warn(
			hw->host_ctx,
			"there are more sub-devices than max_devices: of those beyond, IoTDA "
			"is not told the status, and their ids are made by the rule of "
			"product_id");
	hw->has_warned_full = true;
}

/* The sub-device message @i is of; NULL: it is not in the table. */
static struct hw_device *device_of(struct hw_call *call, size_t i)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct hw_device *device;

	if (!hw->devices.all || hw_is_own(hw, m) || hw_device_name_fault(hw, m->device))
		return NULL;
	device = hw_devices_get(&hw->devices, m->device);
	if (!device)
		hw_warn_full(hw);
	return device;
}

/* Is its device there in IoTDA? If not, message @i waits or is refused. */
static bool may_speak(struct hw_call *call, size_t i, struct hw_device *device)
{
	switch (hw_gate(call->hw, device)) {
	case HW_GATE_OPEN:
		return true;
	case HW_GATE_WAIT:
		hw_leave(call, i);
		return false;
	case HW_GATE_ASIDE:
		if (!hw_leave(call, i))
			hw_refuse_shut(call, i, device);
		return false;
	case HW_GATE_SHUT:
		hw_refuse_shut(call, i, device);
		return false;
	}
	return false;
}

bool hw_is_announced(struct hw_call *call, size_t i)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct hw_device *device;

	if (hw_is_own(hw, m))
		return true;
	device = device_of(call, i);
	if (!may_speak(call, i, device))
		return false;
	if (device && device->call == hw->call)
		return false;
	if (!device || !hw->tells_status)
		return true;
	/*
	 * What was said before it went away does not bring it back. Alarms and requests have numbers of
	 * their own: they count as long as nothing else was heard.
	 */
	hw_device_is(&hw->devices, device, HW_ONLINE, call->batch->is_alarm ? 0 : m->seq);
	if (device->is == HW_OFFLINE || device->told == HW_ONLINE)
		return true;
	device->call = hw->call;
	return false;
}

/* {"state":"up"} or {"state":"down"} */
static enum hw_status read_presence(struct fg_span body)
{
	struct fg_json_value object, state;
	struct fg_json_fault fault;

	if (fg_json_check(body, &object, &fault) < 0 || object.type != FG_JSON_OBJECT ||
	    !fg_json_member(object, fg_span_str("state"), &state))
		return HW_STATUS_NONE;
	if (fg_span_is(state.text, "\"up\""))
		return HW_ONLINE;
	return fg_span_is(state.text, "\"down\"") ? HW_OFFLINE : HW_STATUS_NONE;
}

/*
 * Is there nothing to be told of a device that is @status by message @i? Of one that IoTDA does not have
 * there is not, but it is kept in mind for when it does; and nobody is added there to be told to be away.
 */
static bool is_presence_idle(struct hw_call *call, size_t i, struct hw_device *device,
			     enum hw_status status)
{
	struct hw *hw = call->hw;
	uint64_t seq = call->batch->messages[i].seq;
	enum hw_gate gate;

	if (!hw->tells_status || status == HW_STATUS_NONE || seq < device->seq)
		return true;
	if (device->is == (uint8_t)status && device->told == device->is) {
		hw_device_is(&hw->devices, device, status, seq);
		return true;
	}
	if (device->standing == HW_UNHEARD && hw->with.adds && status == HW_OFFLINE &&
	    !hw->topology.is_waiting) {
		hw_device_is(&hw->devices, device, status, seq);
		return true;
	}
	gate = hw_gate(hw, device);
	if (gate == HW_GATE_OPEN)
		return false;
	if (gate != HW_GATE_SHUT && (hw_leave(call, i) || gate == HW_GATE_WAIT)) {
		device->call = hw->call;
		return false;
	}
	hw_device_is(&hw->devices, device, status, seq);
	return true;
}

/* Take presence message @i into the event. Returns false when there is no room for it. */
static bool add_presence(struct hw_call *call, size_t i, struct fg_text *text)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	enum hw_status status = read_presence(m->body);
	struct hw_device *device = device_of(call, i);

	if (device && device->call == hw->call)
		return true;
	if (!device || is_presence_idle(call, i, device, status)) {
		call->batch->states[i] = FG_NOTHING;
		return true;
	}
	if (device->call == hw->call)
		return true;
	hw_device_is(&hw->devices, device, status, m->seq);
	if (!add_device(hw, text, device))
		return false;
	device->call = hw->call;
	call->batch->states[i] = FG_TAKEN;
	call->n_statuses++;
	return true;
}

enum hw_step hw_take_presence(struct hw_call *call, size_t i, int *ret)
{
	struct hw *hw = call->hw;
	struct fg_batch *batch = call->batch;
	size_t most = batch->max_take < HW_MAX_GROUPS ? batch->max_take : HW_MAX_GROUPS;
	struct hw_device *device = device_of(call, i);
	struct fg_text text;

	if (!device) {
		batch->states[i] = FG_NOTHING;
		return HW_STEP_ON;
	}
	if (hw->n_items > 0 || batch->max_take == 0) {
		device->call = hw->call;
		return HW_STEP_ON;
	}
	*ret = begin_event(call, &text);
	if (*ret < 0)
		return HW_STEP_PUBLISHED;
	if (!add_presence(call, i, &text) || call->n_statuses == 0)
		return HW_STEP_ON;
	for (i++; i < batch->count && call->n_statuses < most; i++) {
		if (batch->states[i] != FG_OFFERED)
			continue;
		if (batch->messages[i].kind != FG_PRESENCE) {
			device = device_of(call, i);
			if (device)
				device->call = hw->call;
		} else if (!add_presence(call, i, &text)) {
			break;
		}
	}
	*ret = end_event(call, &text);
	return HW_STEP_PUBLISHED;
}

/* Of presence, only what is newest of a device counts. What is not left the table has to remember; it is
 * told when MQTT is back. */
void hw_leave_presence(struct hw_call *call, size_t i)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	enum hw_status status = read_presence(m->body);
	struct hw_device *device = hw->with.reports_status ? device_of(call, i) : NULL;
	bool counts = device && status != HW_STATUS_NONE && m->seq >= device->seq;

	if (counts)
		hw_device_is(&hw->devices, device, status, m->seq);
	if (!counts || !hw_leave(call, i))
		call->batch->states[i] = FG_NOTHING;
}

/* ------------------------------------------------------------------ what the last run has told */

void hw_shown_online(struct hw *hw, struct hw_device *device)
{
	if (device->is != HW_STATUS_NONE)
		return;
	device->is_shown = true;
	hw->topology.has_shown = true;
	hw->topology.shown_until_s = hw->uptime_s + hw->with.offline_after_s;
}

void hw_tell_silent(struct hw *hw)
{
	for (uint32_t i = 0; i < hw->devices.n; i++) {
		struct hw_device *device = &hw->devices.all[i];

		if (device->is_shown && device->is == HW_STATUS_NONE)
			hw_device_is(&hw->devices, device, HW_OFFLINE, 0);
		device->is_shown = false;
	}
	hw->topology.has_shown = false;
}

/* ------------------------------------------------------------------ what IoTDA says to it */

/* {"failed_devices":[{"device_id":"p1_pump-01","error_code":"IOTDA.014000"}]} */
void hw_status_response(struct hw *hw, struct fg_json_value paras)
{
	struct fg_json_value failed, id = {0};
	struct fg_json_member member;
	struct fg_json_walk walk;
	char raw[HW_DEVICE_ID_MAX];
	struct fg_span name = {0};
	unsigned n = 0;

	if (!fg_json_member(paras, fg_span_str("failed_devices"), &failed) ||
	    failed.type != FG_JSON_ARRAY)
		return;
	fg_json_walk_begin(&walk, failed);
	while (fg_json_walk_next(&walk, &member)) {
		if (n++ == 0 && member.value.type == FG_JSON_OBJECT &&
		    fg_json_member(member.value, fg_span_str("device_id"), &id) &&
		    (!hw_string_read(id, raw, sizeof(raw), &name) ||
		     !hw_is_id(name.data, name.size)))
			name.size = 0;
	}
	if (n > 0)
		hw->host->warn(hw->host_ctx,
			       "IoTDA does not take the status of %u sub-devices, the first is "
			       "\"%.*s\": are they registered as sub-devices of this gateway?",
			       n, FG_SPAN_ARGS(name));
}
