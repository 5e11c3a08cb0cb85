#include "scripted_plugin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct script *script_next;

static const struct fg_option no_options[] = {{0}};

static int script_open(const struct fg_open *with, void **ret_ctx, char *error, size_t error_size)
{
	if (!script_next) {
		snprintf(error, error_size, "no script");
		return -EINVAL;
	}
	script_next->host = with->host;
	script_next->host_ctx = with->host_ctx;
	script_next->told_keep_alive_s = with->keep_alive_s;
	script_next->n_opened++;
	*ret_ctx = script_next;
	return 0;
}

static void script_close(void *ctx)
{
	struct script *s = ctx;

	if (s)
		s->n_closed++;
}

static int script_connect(void *ctx, const struct fg_connect_request *request,
			  struct fg_connect *out)
{
	struct script *s = ctx;

	s->n_connects++;
	s->last_request = *request;
	if (s->connect_result < 0)
		return s->connect_result;
	out->username = "user";
	out->address = s->address;
	out->is_timed = s->is_timed;
	out->is_setup = s->is_setup;
	out->keep_alive_s = s->keep_alive_s;
	if (s->renew_after_us)
		out->renew_us = request->now_us + s->renew_after_us;
	return 0;
}

static void forget_devices(struct script *s)
{
	memset(s->devices, 0, sizeof(s->devices));
}

static void script_connected(void *ctx, const char *session, const struct fg_connack *connack)
{
	struct script *s = ctx;

	(void)session;
	(void)connack;
	s->n_connected++;
	forget_devices(s);
	if (s->filter)
		s->subscribe_result = s->host->subscribe(s->host_ctx, "", s->filter, 1);
}

static void script_disconnected(void *ctx, const char *session)
{
	struct script *s = ctx;

	s->n_disconnected++;
	if (!session[0])
		forget_devices(s);
	for (size_t i = 0; i < SCRIPT_DEVICES; i++)
		if (strcmp(s->devices[i].name, session) == 0) {
			s->devices[i].is_connected = false;
			s->devices[i].control_tag = 0;
		}
}

static size_t device_of(struct script *s, struct fg_span name)
{
	size_t i;

	for (i = 0; i < SCRIPT_DEVICES - 1 && s->devices[i].name[0]; i++)
		if (strlen(s->devices[i].name) == name.size &&
		    memcmp(s->devices[i].name, name.data, name.size) == 0)
			return i;
	snprintf(s->devices[i].name, sizeof(s->devices[i].name), "%.*s", (int)name.size, name.data);
	return i;
}

static void fill(struct script *s, struct fg_publish *out, struct fg_span device, const char *what)
{
	static const char *const headers[] = {"token: t0ken", NULL};

	out->headers = s->carrier == FG_CARRIER_HTTP ? headers : NULL;
	snprintf(out->topic, out->topic_size, "%s%s/%.*s",
		 s->carrier == FG_CARRIER_HTTP && s->misdeed != SCRIPT_TOPIC_FOR_MQTT ? "/" : "",
		 what, (int)device.size, device.data);
	out->payload_len = 0;
	for (size_t i = 0; i < s->n_seqs; i++)
		out->payload_len += (size_t)snprintf(out->payload + out->payload_len,
						     out->payload_size - out->payload_len,
						     "%s%" PRIu64, i ? "," : "", s->seqs[i]);
	out->qos = s->qos ? s->qos - 1 : 1;
	out->tag = ++s->tags;
	out->scope = s->scope;
	out->n_points = s->n_seqs * s->points;
	if (s->misdeed == SCRIPT_WANTS_QOS_2)
		out->qos = 2;
	if (s->misdeed == SCRIPT_OVERFLOWS_LENGTH)
		out->payload_len = out->payload_size + 1;
}

static bool is_same_device(const struct fg_message *a, const struct fg_message *b)
{
	return a->device.size == b->device.size &&
	       memcmp(a->device.data, b->device.data, a->device.size) == 0;
}

static void take_from(struct script *s, struct fg_batch *batch, size_t first)
{
	const struct fg_message *m = batch->messages;
	size_t limit = batch->max_take;

	if (s->max_batch && s->max_batch < limit)
		limit = s->max_batch;
	if (m[first].device.data[0] == 's')
		limit = 1;
	if (s->misdeed == SCRIPT_TAKES_TOO_MANY)
		limit = batch->max_take + 1;
	if (s->points && s->points * limit > batch->max_points[s->scope])
		limit = batch->max_points[s->scope] / s->points;
	if (limit == 0)
		limit = 1;
	s->is_alarm = m[first].stream.size > 0;
	for (size_t i = first; i < batch->count && s->n_seqs < limit; i++)
		if (batch->states[i] == FG_OFFERED && is_same_device(&m[i], &m[first]) &&
		    !(s->leaves_tenth && m[i].seq % 10 == 0)) {
			batch->states[i] = FG_TAKEN;
			s->seqs[s->n_seqs++] = m[i].seq;
		}
}

static void refuse(struct script *s, struct fg_batch *batch, size_t i)
{
	static const char reason[] = "the plugin does not like it";

	if (s->outbox)
		fg_outbox_refuse(s->outbox, batch, i, reason);
	else
		s->host->refuse(s->host_ctx, batch, i, "%s", reason);
}

static int script_encode(void *ctx, const char *session, struct fg_batch *batch,
			 struct fg_publish *out)
{
	struct script *s = ctx;
	size_t n_left = 0;

	(void)session;
	s->n_encodes++;
	s->max_left = batch->max_left;
	s->n_nested += s->is_receiving;
	s->n_seqs = 0;
	s->is_alarm = false;
	s->carrier = batch->carrier;
	s->is_told_alarm = batch->is_alarm;
	s->max_packet_bytes = out->max_packet_bytes;
	s->max_points = batch->max_points[s->scope];
	if (s->misdeed == SCRIPT_FAILS)
		return -EINVAL;
	if (s->has_own) {
		s->has_own = false;
		fill(s, out, (struct fg_span){.data = "own", .size = 3}, "own");
		return 1;
	}
	for (size_t i = 0; i < batch->count; i++) {
		const struct fg_message *m = &batch->messages[i];
		size_t d;

		if (batch->states[i] != FG_OFFERED)
			continue;
		if (m->device.data[0] == 'n') {
			batch->states[i] = FG_NOTHING;
			continue;
		}
		if ((m->device.data[0] == 'p' && (s->leaves_p || s->carrier == FG_CARRIER_HTTP)) ||
		    (s->leaves_tenth && m->seq % 10 == 0)) {
			if (n_left < batch->max_left || s->misdeed == SCRIPT_LEAVES_TOO_MANY) {
				batch->states[i] = FG_LEFT;
				n_left++;
			}
			continue;
		}
		if (m->device.data[0] == 'r') {
			refuse(s, batch, i);
			batch->values_dropped++;
			continue;
		}
		if (s->misdeed == SCRIPT_INVENTS_A_STATE) {
			batch->states[i] = 77;
			return 0;
		}
		d = device_of(s, m->device);
		if (m->device.data[0] == 'c' && !s->devices[d].is_connected) {
			if (s->devices[d].control_tag)
				continue;
			fill(s, out, m->device, "connect");
			s->devices[d].control_tag = out->tag;
			return 1;
		}
		take_from(s, batch, i);
		if (s->misdeed == SCRIPT_TAKES_AND_SENDS_NOTHING)
			return 0;
		fill(s, out, m->device, "data");
		return 1;
	}
	return 0;
}

enum fg_verdict script_verdict(unsigned reason_code)
{
	if (reason_code < 0x80)
		return FG_ACCEPTED;
	if (reason_code == 0x97)
		return FG_LATER;
	return reason_code == 0x80 ? FG_RETRY : FG_POISON;
}

enum fg_verdict script_http_verdict(unsigned status)
{
	switch (status) {
	case 200:
		return FG_ACCEPTED;
	case 401:
		return FG_SIGN_IN;
	case 429:
		return FG_LATER;
	case 500:
		return FG_RETRY;
	default:
		return FG_POISON;
	}
}

static enum fg_verdict script_settled(void *ctx, const char *session,
				      const struct fg_settlement *how)
{
	struct script *s = ctx;

	(void)session;
	s->n_settled++;
	s->last_settlement = *how;
	if (how->http_status)
		return script_http_verdict(how->http_status);
	for (size_t i = 0; i < SCRIPT_DEVICES; i++)
		if (s->devices[i].control_tag == how->tag) {
			s->devices[i].control_tag = 0;
			s->devices[i].is_connected = how->reason_code < 0x80;
		}
	return s->has_no_plan ? FG_ACCEPTED : script_verdict(how->reason_code);
}

static int script_receive(void *ctx, const char *session, const struct fg_delivery *delivery)
{
	struct script *s = ctx;
	uint64_t have;

	(void)session;
	(void)delivery;
	s->n_received++;
	s->is_receiving = true;
	if (s->receive)
		s->receive(s->host, s->host_ctx, delivery->payload);
	if (s->command)
		s->command_result = s->host->command(s->host_ctx, s->command);
	if (s->image)
		s->host->image_begin(s->host_ctx, s->image, &have);
	s->is_receiving = false;
	return s->receive_result;
}

static void script_image_progress(void *ctx, const struct fg_image_progress *progress)
{
	struct script *s = ctx;

	(void)progress;
	s->n_progress++;
	s->has_own = true;
}

static bool script_has_device_sessions(void *ctx)
{
	(void)ctx;
	return true;
}

static int script_sign_in(void *ctx, const struct fg_connect_request *request,
			  struct fg_http_call *out)
{
	struct script *s = ctx;

	s->n_sign_ins++;
	s->last_sign_in = *request;
	if (s->sign_in_result < 0)
		return s->sign_in_result;
	if (s->has_no_sign_in)
		return 0;
	out->url = "/login";
	out->body = (struct fg_span){.data = "me", .size = 2};
	return 1;
}

static int script_signed_in(void *ctx, const char *session, const struct fg_http_result *answer,
			    struct fg_http_sign_in *out)
{
	struct script *s = ctx;

	(void)session;
	out->renew_ms = s->renew_ms;
	out->max_body_bytes = s->max_body_bytes;
	switch (answer->status) {
	case 200:
		s->n_signed_in++;
		return 0;
	case 401:
		return -EACCES;
	case 429:
		return -EAGAIN;
	default:
		return -EPROTO;
	}
}

static const struct fg_http_uplink script_uplink = {
	.size = sizeof(struct fg_http_uplink),
	.sign_in = script_sign_in,
	.signed_in = script_signed_in,
};

#define SCRIPT                                                                                     \
	.abi = FG_PLUGIN_ABI, .size = sizeof(struct fg_plugin), .name = "script",                  \
	.summary = "does what a test tells it", .options = no_options, .open = script_open,        \
	.close = script_close, .connect = script_connect, .connected = script_connected,           \
	.disconnected = script_disconnected, .encode = script_encode, .settled = script_settled,   \
	.receive = script_receive, .image_progress = script_image_progress

const struct fg_plugin script_plugin = {SCRIPT};
const struct fg_plugin script_http_plugin = {SCRIPT, .http = &script_uplink};
const struct fg_plugin script_sessions_plugin = {SCRIPT,
						 .has_device_sessions = script_has_device_sessions};
