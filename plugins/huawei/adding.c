/*
 * Sub-devices that IoTDA shall have: with `auto_add` one that speaks for the first time is added there,
 * and what it says waits until IoTDA has named it.
 *
 *	up    add_sub_device_request   {"devices":[{"parent_device_id":"gw1","node_id":"pump-01",
 *	                               "name":"pump-01","product_id":"p1"}]}
 *	down  add_sub_device_response  {"successful_devices":[{"device_id":"…","node_id":"…"}],
 *	                               "failed_devices":[{"node_id":"…","error_code":"…"}]}
 *
 * One request at a time. What waits is left in the journal, and that has to be kept for it, so it does not
 * wait long: once IoTDA has not answered, or has said no, what such devices say goes into quarantine, and
 * IoTDA is asked again later and later. The states are in devices.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "huawei.h"

#define ADD "add_sub_device_request"

/* IoTDA: in one request. */
#define MAX_DEVICES 50u

/* A device that was not added is tried again after the first of these, then after twice as long … */
#define RETRY_FIRST_S 60u
#define RETRY_MAX_S 3600u

#define TAIL "]}"

void hw_adding_begin(struct hw *hw)
{
	hw->topology.has_request = false;
	hw->topology.has_answer_deadline = false;
	hw->topology.is_silent = false;
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
	unsigned n = 0;
	int r;

	if (!t->is_on || t->has_request || hw->devices.n_standing[HW_WANTED] == 0)
		return 0;
	snprintf(t->request_id, sizeof(t->request_id), "%" PRId64 "-%" PRIu64,
		 call->batch->now_us / 1000, ++t->n_requests);
	r = hw_event_begin(call, &head, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"devices\":[");
	while (n < MAX_DEVICES && (device = hw_devices_wanted(&hw->devices)) &&
	       put_device(hw, &text, device)) {
		hw_device_enter(&hw->devices, device, HW_ASKED);
		n++;
	}
	fg_put(&text, TAIL);
	t->has_request = true;
	call->out->tag = HW_TAG_ADD;
	return hw_event_end(call, &text) == 1 && n > 0 ? 1 : -EINVAL;
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

/* Those that were asked for and of which IoTDA has not said a word; returns how many. */
static unsigned fail_the_rest(struct hw *hw)
{
	unsigned n = 0;

	for (uint32_t i = 0; hw->devices.n_standing[HW_ASKED] > 0; i++) {
		if (hw->devices.all[i].standing != HW_ASKED)
			continue;
		fail(hw, &hw->devices.all[i], (struct fg_span){0});
		n++;
	}
	hw->topology.has_request = false;
	hw->topology.has_answer_deadline = false;
	return n;
}

static void fall_silent(struct hw *hw, const char *why)
{
	unsigned n = fail_the_rest(hw);

	hw->topology.is_silent = true;
	hw->host->warn(hw->host_ctx,
		       "IoTDA %s a request to add %u sub-devices: what they say goes into "
		       "quarantine, and it is asked again",
		       why, n);
	hw_offer_left(hw);
}

void hw_add_settled(struct hw *hw, bool is_accepted)
{
	struct hw_topology *t = &hw->topology;

	if (!t->has_request)
		return; /* the answer was faster */
	if (!is_accepted) {
		fall_silent(hw, "refuses");
		return;
	}
	t->has_answer_deadline = true;
	t->answer_deadline_s = hw->uptime_s + HW_ANSWER_S;
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
		fall_silent(hw, "has not answered");
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

	t->is_silent = false;
	if (t->has_request && (event->id.size == 0 || fg_span_is(event->id, t->request_id)) &&
	    fail_the_rest(hw) > 0)
		hw->host->warn(hw->host_ctx,
			       "IoTDA's answer to a request to add sub-devices does not name all "
			       "of them: it is asked again for the others");
	return named < 0 || failed < 0 ? -EPROTO : 0;
}
