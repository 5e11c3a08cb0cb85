/*
 * Sub-devices that IoTDA shall have: with `auto_add` one that speaks for the first time is added there,
 * and what it says waits until IoTDA has named it.
 *
 *	up    add_sub_device_request   {"devices":[{"parent_device_id":"gw1","node_id":"pump-01",
 *	                               "name":"pump-01","product_id":"p1"}]}
 *	down  add_sub_device_response  {"successful_devices":[{"device_id":"…","node_id":"…"}],
 *	                               "failed_devices":[{"node_id":"…","error_code":"…"}]}
 *
 * One request at a time. IoTDA answers within 30 s; if it does not, it is asked again, and in the next
 * session, too. What waits is left in the journal, and others do not wait for it; but the host bears so much
 * of that only. When there is more, everybody waits for HW_ANSWER_S, which is plenty for an answer as a
 * rule; from then on what there is no room for goes into quarantine. So does all that such devices say
 * once IoTDA has said no, or nothing TRIES times in a row; then it is asked later and later. The states are
 * in devices.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "huawei.h"

#define ADD "add_sub_device_request"

/* IoTDA says that its answer comes within this. */
#define ANSWER_WITHIN_S 30u

/* So often it is asked until what is to be added does not wait any more. */
#define TRIES 3u

/* A device that was not added is tried again after the first of these, then after twice as long … */
#define RETRY_FIRST_S 60u
#define RETRY_MAX_S 3600u

#define TAIL "]}"

void hw_adding_begin(struct hw *hw)
{
	hw->topology.has_request = false;
	hw->topology.has_answer_deadline = false;
	hw->topology.n_silent = 0;
}

/* Has the answer been missing for so little that others may wait for it? */
static bool is_brisk(const struct hw *hw)
{
	const struct hw_topology *t = &hw->topology;

	return t->n_silent == 0 &&
	       (!t->has_answer_deadline ||
		hw->uptime_s + ANSWER_WITHIN_S < t->answer_deadline_s + HW_ANSWER_S);
}

enum hw_gate hw_adding_gate(const struct hw *hw, const struct hw_device *device)
{
	if (device->n_failures > 0 || hw->topology.n_silent >= TRIES)
		return HW_GATE_SHUT;
	return is_brisk(hw) && hw->carrier == FG_CARRIER_MQTT ? HW_GATE_WAIT : HW_GATE_ASIDE;
}

/* ------------------------------------------------------------------ asking */

/* Returns false when there is no room for it. */
static bool put_device(struct hw *hw, struct fg_text *text, const struct hw_device *device)
{
	struct fg_text before = *text, tail;

	fg_put(text, text->at[-1] == '[' ? "{" : ",{");
	fg_put(text, "\"parent_device_id\":\"");
	fg_put(text, hw->with.device_id);
	fg_put(text, "\",\"node_id\":\"");
	fg_put_span(text, hw_device_name(device));
	fg_put(text, "\",\"name\":\"");
	fg_put_span(text, hw_device_name(device));
	fg_put(text, "\",\"product_id\":\"");
	fg_put(text, hw->with.product_id);
	fg_put(text, "\"}");
	tail = *text;
	fg_put(&tail, TAIL HW_EVENT_TAIL);
	if (tail.is_full)
		*text = before;
	return !tail.is_full;
}

int hw_publish_add(struct hw_call *call)
{
	struct hw *hw = call->hw;
	struct hw_topology *t = &hw->topology;
	struct hw_event_head head = {
		.service = HW_SERVICE_MANAGER, .type = ADD, .id = t->request_id};
	struct hw_device *device;
	struct fg_text text;
	int r;

	if (!t->is_on || t->has_request || !hw_devices_wanted(&hw->devices))
		return 0;
	snprintf(t->request_id, sizeof(t->request_id), "%" PRId64 "-%" PRIu64,
		 call->batch->now_us / 1000, ++t->n_requests);
	r = hw_event_begin(call, &head, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"devices\":[");
	t->n_asked = 0;
	while (t->n_asked < HW_MAX_ADDED && (device = hw_devices_wanted(&hw->devices)) &&
	       put_device(hw, &text, device)) {
		hw_device_enter(&hw->devices, device, HW_ASKED);
		t->asked[t->n_asked++] = (uint32_t)(device - hw->devices.all);
	}
	fg_put(&text, TAIL);
	t->has_request = true;
	call->out->tag = HW_TAG_ADD;
	return hw_event_end(call, &text) == 1 && t->n_asked > 0 ? 1 : -EINVAL;
}

/* ------------------------------------------------------------------ what becomes of it */

static void fail(struct hw *hw, struct hw_device *device, struct fg_span code)
{
	struct hw_topology *t = &hw->topology;
	uint32_t pause_s = RETRY_FIRST_S << device->n_failures;

	if (pause_s < RETRY_MAX_S)
		device->n_failures++;
	else
		pause_s = RETRY_MAX_S;
	snprintf(device->error_code, sizeof(device->error_code), "%.*s", FG_SPAN_ARGS(code));
	device->retry_s = hw->uptime_s + pause_s;
	if (hw->devices.n_standing[HW_FAILED] == 0 || device->retry_s < t->retry_s)
		t->retry_s = device->retry_s;
	hw_device_enter(&hw->devices, device, HW_FAILED);
}

/* The request is over. Of those IoTDA has not said a word about nothing will come of it now, or they are
 * to be asked for @again; returns how many. */
static unsigned end_request(struct hw *hw, bool again)
{
	struct hw_topology *t = &hw->topology;
	unsigned n = 0;

	for (unsigned i = 0; i < t->n_asked; i++) {
		struct hw_device *device = &hw->devices.all[t->asked[i]];

		if (device->standing != HW_ASKED)
			continue;
		if (again)
			hw_device_enter(&hw->devices, device, HW_WANTED);
		else
			fail(hw, device, (struct fg_span){0});
		n++;
	}
	t->has_request = false;
	t->has_answer_deadline = false;
	return n;
}

static void fall_silent(struct hw *hw)
{
	bool again = ++hw->topology.n_silent < TRIES;
	unsigned n = end_request(hw, again);

	hw->host->warn(hw->host_ctx,
		       "IoTDA has not answered a request to add %u sub-devices within %u s: it is "
		       "asked again%s",
		       n, ANSWER_WITHIN_S,
		       again ? "" : ", and what they say goes into quarantine meanwhile");
	if (!again)
		hw_offer_left(hw);
}

void hw_add_settled(struct hw *hw, bool is_accepted)
{
	struct hw_topology *t = &hw->topology;

	if (!t->has_request)
		return; /* the answer was faster */
	if (!is_accepted)
		hw->host->warn(hw->host_ctx,
			       "IoTDA refuses a request to add %u sub-devices: it is asked again",
			       t->n_asked);
	t->has_answer_deadline = true;
	t->answer_deadline_s = hw->uptime_s + ANSWER_WITHIN_S;
}

static void try_again(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;

	t->retry_s = UINT32_MAX;
	for (uint32_t i = 0; i < hw->devices.n; i++) {
		struct hw_device *device = &hw->devices.all[i];

		if (device->standing != HW_FAILED)
			continue;
		if (device->retry_s <= hw->uptime_s)
			hw_device_enter(&hw->devices, device, HW_WANTED);
		else if (device->retry_s < t->retry_s)
			t->retry_s = device->retry_s;
	}
}

void hw_adding_tick(struct hw *hw)
{
	struct hw_topology *t = &hw->topology;

	if (t->has_answer_deadline && hw->uptime_s >= t->answer_deadline_s)
		fall_silent(hw);
	if (hw->devices.n_standing[HW_FAILED] > 0 && hw->uptime_s >= t->retry_s)
		try_again(hw);
}

/* ------------------------------------------------------------------ the answer */

bool hw_read_error_code(struct fg_json_value entry, char *out, size_t size, struct fg_span *ret)
{
	struct fg_json_value value;

	if (!fg_json_member(entry, fg_span_str("error_code"), &value) ||
	    !hw_string_read(value, out, size, ret))
		return false;
	for (size_t i = 0; i < ret->size; i++)
		if (ret->data[i] != '.' && !hw_is_id(ret->data + i, 1))
			return false;
	return true;
}

static int device_failed(struct hw *hw, struct fg_json_value entry)
{
	char name_text[HW_DEVICE_ID_MAX], code_text[HW_ERROR_CODE_SIZE - 1];
	struct hw_device *device;
	struct fg_span name, code;

	if (!hw_read_id(entry, "node_id", name_text, &name))
		return -EPROTO;
	if (!hw_read_error_code(entry, code_text, sizeof(code_text), &code))
		code = fg_span_str("no code");
	device = hw_devices_find(&hw->devices, name);
	/* A late answer does not count for what has been named, or not been asked for, since. */
	if (!device || (device->standing != HW_ASKED && device->standing != HW_FAILED))
		return 0;
	fail(hw, device, code);
	hw->host->warn(hw->host_ctx,
		       "IoTDA has not added sub-device \"%.*s\" (%s): what it says goes into "
		       "quarantine, and IoTDA is asked again in %" PRIu32 " s",
		       FG_SPAN_ARGS(name), device->error_code, device->retry_s - hw->uptime_s);
	return 0;
}

int hw_add_response(struct hw *hw, const struct hw_event *event)
{
	struct hw_topology *t = &hw->topology;
	int named = hw_each(hw, event->paras, "successful_devices", hw_device_named);
	int failed = hw_each(hw, event->paras, "failed_devices", device_failed);

	t->n_silent = 0;
	hw_topology_has_grown(hw);
	if (t->has_request && (event->id.size == 0 || fg_span_is(event->id, t->request_id)) &&
	    end_request(hw, false) > 0)
		hw->host->warn(hw->host_ctx,
			       "IoTDA's answer to a request to add sub-devices does not name all "
			       "of them: it is asked again for the others");
	return named < 0 || failed < 0 ? -EPROTO : 0;
}
