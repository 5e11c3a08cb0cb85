/*
 * A sub-device that is taken out of service: it, or whoever takes it out, asks for that on a topic of the
 * field (`request: {kind: delete}`), and is told how it ended.
 *
 *	up    delete_sub_device_request   {"devices":["p1_pump-01"]}
 *	down  delete_sub_device_response  {"successful_devices":["p1_pump-01"],
 *	                                  "failed_devices":[{"device_id":"…","error_code":"…"}]}
 *
 * What becomes of it here is the same as when it was deleted in IoTDA. A question that gets no answer in
 * time is forgotten, and so are all when the session ends: the host tells who asks when he has waited for
 * too long, and offers again what was not acknowledged.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "huawei.h"

#define DELETE "delete_sub_device_request"

#define ANSWER_WITHIN_S 30u

/* A free place, or NULL. */
static struct hw_deletion *free_place(struct hw *hw)
{
	for (unsigned i = 0; i < HW_MAX_DELETIONS; i++)
		if (hw->deletions[i].ref_size == 0 || hw->deletions[i].deadline_s <= hw->uptime_s)
			return &hw->deletions[i];
	return NULL;
}

/* Returns 1, 0 when it does not fit into a packet, or -EINVAL. */
static int publish(struct hw_call *call, struct fg_span name)
{
	char number[24];
	struct hw_event_head head = {.service = HW_SERVICE_MANAGER, .type = DELETE, .id = number};
	struct fg_text text;
	int r;

	snprintf(number, sizeof(number), "%" PRIu64, ++call->hw->topology.n_requests);
	r = hw_event_begin(call, &head, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"devices\":[\"");
	hw_put_device_id(call->hw, &text, name);
	fg_put(&text, "\"]}");
	return hw_event_end(call, &text);
}

enum hw_step hw_take_delete(struct hw_call *call, size_t i, int *ret)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct hw_deletion *place = free_place(hw);

	if (hw_is_own(hw, m) || !hw->devices.all)
		return hw_decline(call, i, "bad_params", "only a sub-device can be deleted");
	if (hw_device_name_fault(hw, m->device))
		return hw_decline(call, i, "unknown_device", "IoTDA has no such sub-device");
	if (!place || m->ref.size > sizeof(place->ref))
		return hw_decline(call, i, "busy", "too many sub-devices are being deleted");
	/* Its id may be on the list that is awaited. */
	if (hw->n_items > 0 || call->batch->max_take == 0 || hw_is_awaited(hw, m->device))
		return HW_STEP_ON;
	*ret = publish(call, m->device);
	if (*ret == 0)
		return hw_decline(call, i, "no_room", "the request is too large for a packet");
	if (*ret < 0)
		return HW_STEP_PUBLISHED;
	*place = (struct hw_deletion){
		.deadline_s = hw->uptime_s + ANSWER_WITHIN_S,
		.name_size = m->device.size,
		.ref_size = m->ref.size,
	};
	memcpy(place->name, m->device.data, m->device.size);
	memcpy(place->ref, m->ref.data, m->ref.size);
	call->batch->states[i] = FG_TAKEN;
	return HW_STEP_PUBLISHED;
}

/* ------------------------------------------------------------------ the answer */

/* Tell all who have asked for @name; @error: a code of IoTDA, or empty. */
static void respond(struct hw *hw, struct fg_span name, struct fg_span error)
{
	char text[128];

	snprintf(text, sizeof(text), "IoTDA refuses to delete it (%.*s)", FG_SPAN_ARGS(error));
	for (unsigned i = 0; i < HW_MAX_DELETIONS; i++) {
		struct hw_deletion *d = &hw->deletions[i];
		struct fg_span ref = fg_span_of(d->ref, d->ref_size);

		if (ref.size == 0 || !fg_span_equal(fg_span_of(d->name, d->name_size), name))
			continue;
		d->ref_size = 0;
		if (error.size > 0)
			hw_respond_error(hw, ref, "refused", text);
		else
			hw->host->respond(hw->host_ctx, ref, fg_span_str("{\"result\":{}}"));
	}
}

static int deleted(struct hw *hw, struct fg_json_value entry)
{
	char id_text[HW_DEVICE_ID_MAX];
	struct fg_span id, name;

	if (!hw_read_entry(entry, id_text, &id))
		return -EPROTO;
	if (hw_device_called(hw, id, &name))
		respond(hw, name, (struct fg_span){0});
	return hw_device_deleted(hw, entry);
}

static int refused(struct hw *hw, struct fg_json_value entry)
{
	char id_text[HW_DEVICE_ID_MAX], code_text[HW_ERROR_CODE_SIZE - 1];
	struct fg_span id, name, code;

	if (entry.type != FG_JSON_OBJECT || !hw_read_entry(entry, id_text, &id))
		return -EPROTO;
	if (!hw_read_error_code(entry, code_text, sizeof(code_text), &code))
		code = fg_span_str("no code");
	if (hw_device_called(hw, id, &name))
		respond(hw, name, code);
	return 0;
}

int hw_delete_response(struct hw *hw, const struct hw_event *event)
{
	int done = hw_each(hw, event->paras, "successful_devices", deleted);
	int failed = hw_each(hw, event->paras, "failed_devices", refused);

	return done < 0 || failed < 0 ? -EPROTO : 0;
}

void hw_deletions_forget(struct hw *hw)
{
	for (unsigned i = 0; i < HW_MAX_DELETIONS; i++)
		hw->deletions[i].ref_size = 0;
}
