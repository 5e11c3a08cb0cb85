/*
 * Whose turn it is. One encode() call makes at most one publish: one of the plugin's own, or what becomes
 * of the offered messages, which it looks at once, in order. A message that is passed over for this
 * publish is never overtaken by a later one of its device: a sub-device without room stays without room,
 * and so does the connected device in a report of sub-devices.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/packet.h"
#include "huawei.h"

void hw_refuse(struct hw_call *call, size_t i, const char *format, ...)
{
	const struct hw *hw = call->hw;
	char reason[256];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	hw->host->refuse(hw->host_ctx, call->batch, i, "%s", reason);
}

void hw_topic(const struct hw *hw, const char *suffix, char *out)
{
	snprintf(out, HW_TOPIC_SIZE, "$oc/devices/%s/sys/%s", hw->with.device_id, suffix);
}

int hw_publish_begin(const struct hw *hw, struct fg_publish *out, const char *suffix, size_t limit,
		     struct fg_text *ret)
{
	char topic[HW_TOPIC_SIZE];
	size_t room;

	out->qos = 1;
	if (hw->carrier == FG_CARRIER_HTTP) {
		room = fg_least_limit(out->max_packet_bytes, out->payload_size);
		*ret = fg_text_begin(out->payload, limit < room ? limit : room);
		return hw_https_begin(hw, suffix, out);
	}
	hw_topic(hw, suffix, topic);
	if (strlen(topic) >= out->topic_size)
		return -EINVAL;
	memcpy(out->topic, topic, strlen(topic) + 1);
	room = fg_payload_limit(out, topic, hw->mqtt_version, hw->session_max_packet_bytes);
	*ret = fg_text_begin(out->payload, limit < room ? limit : room);
	return 0;
}

/*
 * What the plugin itself has to say by MQTT, the most urgent first: each returns 1 when it has made a publish,
 * 0 when it has nothing to say, or -EINVAL.
 */
static int (*const own[])(struct hw_call *call) = {
	hw_publish_time_sync, /* messages may wait for the time */
	hw_publish_note,      /* who asked is waiting */
	hw_publish_sync,      /* what IoTDA calls sub-devices counts for all that follows */
	hw_publish_untold,    /* before data of the same sub-devices */
	hw_publish_add,       hw_publish_ota,
};

static int publish_own(struct hw_call *call)
{
	int r = 0;

	if (call->hw->carrier == FG_CARRIER_HTTP)
		return 0;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && r == 0; i++)
		r = own[i](call);
	return r;
}

void hw_offer_left(struct hw *hw)
{
	if (!hw->has_left)
		return;
	hw->has_left = false;
	hw->host->offer_left(hw->host_ctx, "");
}

bool hw_leave(struct hw_call *call, size_t i)
{
	if (call->n_left == call->batch->max_left)
		return false;
	call->n_left++;
	call->hw->has_left = true;
	call->batch->states[i] = FG_LEFT;
	return true;
}

/* Is message @i one that HTTPS has no path for? */
static bool waits_for_mqtt(struct hw_call *call, size_t i)
{
	enum fg_kind kind = call->batch->messages[i].kind;

	if (call->hw->carrier != FG_CARRIER_HTTP)
		return false;
	if (kind == FG_PRESENCE)
		hw_leave_presence(call, i);
	else if (kind == FG_COMMAND_RESPONSE || kind == FG_REQUEST || kind == FG_EVENT)
		hw_leave(call, i);
	else
		return false;
	return true;
}

static enum hw_step offer(struct hw_call *call, size_t i, int *ret)
{
	const struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];

	if (waits_for_mqtt(call, i))
		return HW_STEP_ON;
	if (m->kind == FG_COMMAND_RESPONSE)
		return hw_take_response(call, i, ret);
	if (hw->with.mode == HW_MODE_DEVICE && hw->with.device &&
	    !fg_span_is(m->device, hw->with.device)) {
		call->batch->states[i] = FG_NOTHING;
		return HW_STEP_ON;
	}
	if (m->kind == FG_PRESENCE)
		return hw_take_presence(call, i, ret);
	if (m->kind == FG_REQUEST && fg_span_is(m->stream, "delete"))
		return hw_take_delete(call, i, ret);
	if (!hw_is_own(hw, m)) {
		const char *fault = hw_device_name_fault(hw, m->device);

		if (fault) {
			hw_refuse(call, i, "%s", fault);
			return HW_STEP_ON;
		}
	}
	if (!hw_is_announced(call, i))
		return HW_STEP_ON;
	if (m->kind == FG_REQUEST)
		return hw_take_request(call, i, ret);
	if (m->kind == FG_EVENT)
		return hw_take_event(call, i, ret);
	if (m->content_type.size > 0)
		return hw_take_text(call, i, ret);
	return hw_take_properties(call, i, ret);
}

int hw_encode(void *ctx, const char *session, struct fg_batch *batch, struct fg_publish *out)
{
	struct hw *hw = ctx;
	struct hw_call call = {.hw = hw, .batch = batch, .out = out};
	enum hw_step step = HW_STEP_ON;
	int r;

	(void)session;
	hw->n_items = 0;
	hw->n_groups = 0;
	hw->scratch_used = 0;
	memset(hw->group_slots, 0, sizeof(hw->group_slots));

	hw->call++;
	hw->carrier = batch->carrier;
	if (hw->carrier == FG_CARRIER_MQTT && hw->bootstrap.is_setup)
		return hw_publish_bootstrap(&call);
	r = publish_own(&call);
	if (r != 0)
		return r;
	for (size_t i = 0; i < batch->count && step == HW_STEP_ON; i++)
		if (batch->states[i] == FG_OFFERED)
			step = offer(&call, i, &r);
	if (step == HW_STEP_PUBLISHED)
		return r;
	/* A message that waits may have given rise to something to be said first. */
	return hw->n_items > 0 ? hw_publish_report(&call) : publish_own(&call);
}
