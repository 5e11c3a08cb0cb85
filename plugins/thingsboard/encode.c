/*
 * Whose turn it is. One encode() call makes at most one publish: an answer of the plugin's own, an
 * announcement, or what becomes of the offered messages, which it looks at once, in order.
 *
 * Order: a device's telemetry goes out in the order it came, and so do its attributes. A presence
 * message is a barrier: what the device said before it is settled before a disconnect goes out, and
 * what it says after it waits until ThingsBoard has acknowledged the announcement.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/packet.h"
#include "thingsboard.h"

/* ------------------------------------------------------------------ publishes */

size_t tb_payload_limit(const struct tb *tb, const struct fg_publish *out, const char *topic)
{
	size_t overhead = tb->with.is_protobuf ? TB_PROTOBUF_OVERHEAD : 0;
	size_t limit = fg_least_limit(tb->with.max_packet_bytes, tb->session_max_packet_bytes);

	limit = fg_least_limit(limit, tb->limits.max_packet_bytes);
	limit = fg_payload_limit(out, topic, tb->mqtt_version, limit);
	return limit > overhead ? limit - overhead : 0;
}

int tb_set_topic(struct fg_publish *out, const char *topic)
{
	if (strlen(topic) >= out->topic_size)
		return -EINVAL;
	memcpy(out->topic, topic, strlen(topic) + 1);
	out->qos = 1; /* the server stumbles over QoS 0 on gateway topics */
	return 0;
}

int tb_publish_begin(const struct tb *tb, struct fg_publish *out, enum tb_topic topic,
		     int64_t number, struct fg_text *ret)
{
	const char *base = tb_topic_name(topic, tb->with.has_short_topics);
	char name[TB_TOPIC_SIZE];
	int r;

	if (number < 0)
		snprintf(name, sizeof(name), "%s", base);
	else
		snprintf(name, sizeof(name), "%s/%lld", base, (long long)number);
	r = tb_set_topic(out, name);
	if (r < 0)
		return r;
	*ret = fg_text_begin(out->payload, tb_payload_limit(tb, out, name));
	return 0;
}

int tb_publish_end(struct fg_publish *out, const struct fg_text *text, unsigned scope)
{
	if (text->is_full)
		return 0;
	out->payload_len = fg_text_size(text);
	out->scope = scope;
	return 1;
}

void tb_refuse(struct tb_call *call, size_t i, const char *format, ...)
{
	const struct tb *tb = call->tb;
	char reason[256];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	tb->host->refuse(tb->host_ctx, call->batch, i, "%s", reason);
}

/* ------------------------------------------------------------------ devices */

bool tb_is_spare(const void *arg, const struct tb_device *device)
{
	const struct tb *tb = arg;

	if (device->state == TB_CONNECTING || device->state == TB_DISCONNECTING ||
	    device->state == TB_PAUSED)
		return false;
	if (device->call == tb->call && (device->is_blocked || device->group.n_items > 0))
		return false;
	return tb_device_is_quiet(tb, device);
}

/*
 * The device message @i is of, ready for this call. Returns 0; -EINVAL when it can never be one
 * (and is refused); -EAGAIN when there is no room for it yet; -ENOMEM.
 */
static int call_device(struct tb_call *call, size_t i, struct tb_device **ret)
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
			tb_refuse(call, i, "the device's name %s", fault);
			return -EINVAL;
		}
		r = tb_devices_add(tb->devices, m->device, tb_is_spare, tb, &device);
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

bool tb_call_announced(struct tb_call *call, size_t i, struct tb_device **ret_device,
		       enum tb_step *ret_step, int *ret)
{
	struct tb_device *device;
	int r = call_device(call, i, &device);

	*ret_step = TB_STEP_ON;
	if (r == -ENOMEM) {
		*ret = r;
		*ret_step = TB_STEP_PUBLISHED;
	}
	if (r < 0 || device->is_blocked)
		return false;
	switch (device->state) {
	case TB_ANNOUNCED:
		*ret_device = device;
		return true;
	case TB_UNANNOUNCED:
		*ret_step = tb_connect_first(call, i, device, ret);
		return false;
	case TB_REFUSED:
		tb_refuse(call, i, "ThingsBoard refused to connect the device (reason code 0x%02x)",
			  device->refusal_code);
		return false;
	case TB_CONNECTING:
	case TB_DISCONNECTING:
	case TB_PAUSED:
		break;
	}
	device->is_blocked = true;
	return false;
}

/* ------------------------------------------------------------------ gateway mode */

static enum tb_step offer_to_gateway(struct tb_call *call, size_t i, int *ret)
{
	const struct fg_message *m = &call->batch->messages[i];
	struct tb_device *device;
	enum tb_step step;
	int r;

	if (call->tb->gate != TB_GATE_OPEN)
		return TB_STEP_ON;
	r = call_device(call, i, &device);
	if (r == -ENOMEM) {
		*ret = r;
		return TB_STEP_PUBLISHED;
	}
	if (r < 0 || device->is_blocked)
		return TB_STEP_ON;
	if (m->kind == FG_PRESENCE)
		return tb_take_presence(call, i, device, ret);
	if (device->state == TB_UNANNOUNCED) {
		/* No device is made in ThingsBoard for the sake of a message that will not follow. */
		if (call->tb->n_items == 0 && !tb_has_data(call, i))
			return TB_STEP_ON;
		device->is_away = false;
	}
	if (!tb_call_announced(call, i, &device, &step, ret))
		return step;
	return tb_take_data(call, i, device);
}

/* ------------------------------------------------------------------ device mode */

static enum tb_step offer_to_self(struct tb_call *call, size_t i)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];

	/* In ThingsBoard's eyes the device is there as long as this session is. */
	if ((tb->with.device && !fg_span_is(m->device, tb->with.device)) ||
	    m->kind == FG_PRESENCE) {
		call->batch->states[i] = FG_NOTHING;
		return TB_STEP_ON;
	}
	if (tb->gate != TB_GATE_OPEN)
		return TB_STEP_ON;
	return tb_take_data(call, i, NULL);
}

/* ------------------------------------------------------------------ encode */

static enum tb_step offer(struct tb_call *call, size_t i, int *ret)
{
	const struct fg_message *m = &call->batch->messages[i];

	if (m->content_type.size > 0) {
		tb_refuse(call, i, "ThingsBoard takes JSON objects only");
		return TB_STEP_ON;
	}
	switch (m->kind) {
	case FG_TELEMETRY:
	case FG_ATTRIBUTES:
	case FG_EVENT:
	case FG_PRESENCE:
		return call->tb->with.mode == TB_MODE_DEVICE ? offer_to_self(call, i)
							     : offer_to_gateway(call, i, ret);
	case FG_COMMAND_RESPONSE:
		return tb_take_response(call, i, ret);
	case FG_REQUEST:
		return tb_take_request(call, i, ret);
	}
	tb_refuse(call, i, "ThingsBoard knows nothing of this kind");
	return TB_STEP_ON;
}

/* Look at all messages once. Returns 1 when the publish is made, 0, or a negative errno. */
static int look_through(struct tb_call *call)
{
	struct fg_batch *batch = call->batch;
	enum tb_step step = TB_STEP_ON;
	int r = 0;

	for (size_t i = 0; i < batch->count && step == TB_STEP_ON; i++)
		if (batch->states[i] == FG_OFFERED)
			step = offer(call, i, &r);
	if (step == TB_STEP_PUBLISHED)
		return r;
	if (call->tb->n_items > 0)
		return tb_publish_data(call);
	return call->parked ? tb_announce(call, call->parked) : 0;
}

/* What the plugin has to say for its own sake, device by device. */
static int run_errand(struct tb_call *call)
{
	int r = tb_attributes_ask_next(call);

	if (r == 0)
		r = tb_announce_next(call);
	if (r != 0)
		call->tb->has_run_errand = true;
	return r;
}

/* Make the next publish. Returns 1, 0 or a negative errno. */
static int make(struct tb *tb, struct fg_batch *batch, struct fg_publish *out)
{
	struct tb_call call = {.tb = tb, .batch = batch, .out = out};
	bool is_their_turn = tb->has_run_errand;
	int r;

	tb->call++;
	tb->n_items = 0;
	tb->scratch_used = 0;
	tb->group = (struct tb_group){.first = TB_NO_ITEM, .last = TB_NO_ITEM};
	tb->first_group = tb->last_group = NULL;
	tb->has_run_errand = false;

	r = tb_limits_ask(&call);
	if (r == 0)
		r = tb_publish_note(&call);
	if (r == 0)
		r = tb_images_publish(&call);
	/* Errands and the messages offered take turns: neither waits for the whole of the other. */
	if (r == 0 && !is_their_turn)
		r = run_errand(&call);
	if (r == 0)
		r = look_through(&call);
	if (r == 0 && is_their_turn)
		r = run_errand(&call);
	return r;
}

/* ------------------------------------------------------------------ as protobuf */

static void warn_of_schema(struct tb *tb)
{
	if (tb->protobuf.has_warned)
		return;
	tb->protobuf.has_warned = true;
	tb->host->warn(tb->host_ctx,
		       "values that the protobuf message of the device profile has no "
		       "field for, or another type, are left out");
}

/* The data just taken makes no message after all: it is done with, or refused. */
static void take_back(struct tb *tb, struct fg_batch *batch, bool is_too_large)
{
	struct tb_call call = {.tb = tb, .batch = batch};

	tb->flights[tb->serial % TB_MAX_FLIGHTS] = 0;
	for (uint32_t i = 0; i < tb->n_items; i++) {
		size_t index = tb->items[i].index;

		batch->states[index] = is_too_large ? FG_OFFERED : FG_NOTHING;
		if (is_too_large)
			tb_refuse(&call, index,
				  "too large for one publish as protobuf: %zu bytes of JSON",
				  batch->messages[index].body.size);
	}
}

/* Turn what make() has written into protobuf. Returns 1, or 0 when there is nothing to publish. */
static int translate(struct tb *tb, struct fg_batch *batch, struct fg_publish *out)
{
	size_t max = tb_payload_limit(tb, out, out->topic) + TB_PROTOBUF_OVERHEAD;
	unsigned n_dropped = 0;
	enum tb_topic topic;
	uint32_t number;
	int r;

	if (!tb_topic_parse(out->topic, &topic, &number))
		return 1;
	/* How far an image is: no profile has fields for that, but this topic takes JSON always. */
	if (topic == TB_TELEMETRY && tb->n_items == 0) {
		tb_set_topic(out, TB_JSON_TELEMETRY);
		return 1;
	}
	if (max > out->payload_size)
		max = out->payload_size;
	r = tb_protobuf_up(&tb->protobuf, topic, out->payload, &out->payload_len, max, &n_dropped);
	batch->values_dropped += n_dropped;
	if (n_dropped > 0)
		warn_of_schema(tb);
	if (r < 0 && tb->n_items > 0) {
		take_back(tb, batch, r == -EMSGSIZE);
		return 0;
	}
	if (r < 0)
		out->payload_len = 0; /* an answer that its message cannot hold; never silence */
	return 1;
}

int tb_encode(void *ctx, const char *session, struct fg_batch *batch, struct fg_publish *out)
{
	struct tb *tb = ctx;
	int r;

	(void)session;
	if (tb->is_setup)
		return tb_provision_encode(tb, out);
	/* Each turn is done with a message, or is the last. */
	do
		r = make(tb, batch, out);
	while (r == 1 && tb->with.is_protobuf && translate(tb, batch, out) == 0);
	return r;
}
