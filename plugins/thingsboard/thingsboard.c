/*
 * ThingsBoard over MQTT: a gateway's token that speaks for many devices (gateway API), or one
 * device's own token (device API). This file holds the plugin's table: opening, the session, what
 * becomes of each publish, what comes down.
 */
#include "thingsboard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/packet.h"
#include "rest.h"
#include "util/cleanup.h"

#define TICK_MS 1000

/* ------------------------------------------------------------------ opening */

static void tb_close(void *ctx)
{
	struct tb *tb = ctx;

	if (!tb)
		return;
	for (unsigned i = 0; i < TB_MAX_QUESTIONS; i++)
		if (tb->questions.slots[i])
			tb_question_free(tb, tb->questions.slots[i]);
	free(tb->shared_keys);
	tb_devices_free(tb->devices);
	tb_images_close(tb);
	tb_protobuf_close(&tb->protobuf);
	free(tb->items);
	free(tb->scratch);
	free(tb->event);
	free(tb->attributes);
	free(tb->attribute_index);
	free(tb);
}

static void tb_closep(struct tb **tb)
{
	tb_close(*tb);
}

static int tb_open(const struct fg_open *with, void **ret_ctx, char *error, size_t error_size)
{
	FG_CLEANUP(tb_closep) struct tb *tb = NULL;
	struct tb_options options;
	const char *fault = tb_options_read(with, &options);
	int r;

	if (fault) {
		snprintf(error, error_size, "%s", fault);
		return -EINVAL;
	}
	tb = calloc(1, sizeof(*tb));
	if (!tb)
		return -ENOMEM;
	tb->host = with->host;
	tb->host_ctx = with->host_ctx;
	tb->with = options;
	tb->mqtt_version = 4;
	tb->values.host = with->host;
	tb->values.host_ctx = with->host_ctx;
	tb->values.protect_text_numbers = options.protect_text_numbers;
	/* A device's own message becomes JSON on the server, where spelling counts again. */
	tb->values.is_typed = options.is_protobuf && options.mode == TB_MODE_GATEWAY;
	tb->items = calloc(TB_MAX_ITEMS, sizeof(*tb->items));
	tb->scratch = malloc(options.max_packet_bytes);
	tb->event = malloc(options.max_packet_bytes);
	tb->attributes = calloc(TB_MAX_ATTRIBUTES, sizeof(*tb->attributes));
	tb->attribute_index = calloc(TB_ATTRIBUTE_SLOTS, sizeof(*tb->attribute_index));
	if (!tb->items || !tb->scratch || !tb->event || !tb->attributes || !tb->attribute_index)
		return -ENOMEM;
	tb->limits.max_message_points = SIZE_MAX;
	r = tb_attributes_read_option(tb);
	if (r < 0)
		return r;
	if (options.is_protobuf) {
		r = tb_protobuf_open(&tb->protobuf, options.max_packet_bytes);
		if (r < 0)
			return r;
		if (options.schema.data)
			fault = tb_protobuf_use(&tb->protobuf, options.schema, options.messages);
		if (fault) {
			snprintf(error, error_size, "%s", fault);
			return -EINVAL;
		}
	}
	if (options.mode == TB_MODE_GATEWAY) {
		r = tb_devices_new(options.max_devices, &tb->devices);
		if (r < 0)
			return r;
	}
	tb_provision_open(tb);
	*ret_ctx = tb;
	tb = NULL;
	return 0;
}

/* ------------------------------------------------------------------ the session */

static int tb_connect(void *ctx, const struct fg_connect_request *request, struct fg_connect *out)
{
	struct tb *tb = ctx;

	tb->mqtt_version = request->mqtt_version;
	*out = (struct fg_connect){
		.client_id = tb->with.client_id,
		.username = tb->with.username,
		.password = tb->with.password,
		/* The server never stores a session, whatever its CONNACK says. */
		.clean_start = true,
	};
	if (tb->provision.state != TB_PROVISION_OFF)
		return tb_provision_connect(tb, request->now_us, out);
	return 0;
}

static void subscribe(struct tb *tb, enum tb_topic topic)
{
	char filter[TB_TOPIC_SIZE];

	tb_topic_filter(topic, tb->with.has_short_topics, filter);
	if (tb->host->subscribe(tb->host_ctx, "", filter, 1) < 0)
		tb->host->warn(tb->host_ctx,
			       "cannot subscribe to %s: what it carries will not "
			       "arrive in this session",
			       filter);
}

static void subscribe_all(struct tb *tb)
{
	if (tb->with.mode == TB_MODE_GATEWAY) {
		subscribe(tb, TB_GATEWAY_ATTRIBUTES);
		subscribe(tb, TB_GATEWAY_ATTRIBUTES_RESPONSE);
		subscribe(tb, TB_GATEWAY_RPC);
	}
	subscribe(tb, TB_RPC_REQUEST);
	subscribe(tb, TB_RPC_RESPONSE);
	subscribe(tb, TB_ATTRIBUTES);
	subscribe(tb, TB_ATTRIBUTES_RESPONSE);
}

static void tb_connected(void *ctx, const char *session, const struct fg_connack *connack)
{
	struct tb *tb = ctx;

	(void)session;
	tb->is_up = true;
	tb->mqtt_version = connack->mqtt_version;
	tb->session_max_packet_bytes = fg_remaining_length(connack->max_packet_bytes);
	tb->has_run_errand = false;
	tb->host->wake(tb->host_ctx, TICK_MS);
	if (tb->is_setup) {
		subscribe(tb, TB_PROVISION_RESPONSE);
		return;
	}
	tb_provision_connected(tb);
	tb_limits_begin(tb);
	tb_attributes_begin(tb);
	tb_images_begin(tb);
	subscribe_all(tb);
}

static void tb_disconnected(void *ctx, const char *session)
{
	struct tb *tb = ctx;

	(void)session;
	tb->is_up = false;
	memset(tb->flights, 0, sizeof(tb->flights));
	tb->session_max_packet_bytes = 0;
	tb->has_warned_authorization = false;
	tb->n_notes = 0;
	tb_questions_forget(tb);
	tb_images_forget(tb);
	tb_announce_forget(tb);
	tb->host->wake(tb->host_ctx, tb->provision.is_unsaved ? TICK_MS : -1);
}

static void tb_woken(void *ctx, int64_t now_us)
{
	struct tb *tb = ctx;

	tb->uptime_s += tb->is_up ? TICK_MS / 1000 : 0;
	tb_provision_tick(tb, now_us);
	if (!tb->is_up)
		return;
	tb_limits_tick(tb);
	tb_announce_tick(tb);
	tb_questions_tick(tb);
	tb_chunks_tick(tb);
	tb->host->wake(tb->host_ctx, TICK_MS);
}

static void tb_remembered(void *ctx, const char *key, int error)
{
	tb_provision_remembered(ctx, key, error);
}

/* ------------------------------------------------------------------ how a publish ended */

/*
 * ThingsBoard's codes: 0x99 and 0x90 stand for a message it will never take, 0x80 and 0x83 for a
 * fault that may pass, 0x97 for a limit. 0x87 it does not send itself; a proxy in front of it may,
 * and then it is about the account and the topic, not about one message: nothing is thrown out for
 * it.
 */
static enum fg_verdict verdict_of(unsigned code)
{
	if (code < FG_REASON_UNSPECIFIED)
		return FG_ACCEPTED;
	switch (code) {
	case FG_REASON_QUOTA_EXCEEDED:
	case FG_REASON_CONNECTION_RATE_EXCEEDED:
	case FG_REASON_NOT_AUTHORIZED:
		return FG_LATER;
	case FG_REASON_TOPIC_NAME_INVALID:
	case FG_REASON_PAYLOAD_FORMAT_INVALID:
		return FG_POISON;
	default:
		return FG_RETRY;
	}
}

uint64_t tb_tag_make(enum tb_tag what, uint64_t serial, uint32_t slot)
{
	if (what == TB_TAG_DATA)
		return serial;
	return (uint64_t)what << TB_TAG_SHIFT | (serial & TB_TAG_SERIAL) << 32 | slot;
}

static enum fg_verdict tb_settled(void *ctx, const char *session, const struct fg_settlement *how)
{
	struct tb *tb = ctx;
	enum fg_verdict verdict = verdict_of(how->reason_code);

	(void)session;
	if (verdict == FG_ACCEPTED)
		tb->has_accepted = true;
	if (how->reason_code == FG_REASON_NOT_AUTHORIZED && !tb->has_warned_authorization) {
		tb->has_warned_authorization = true;
		tb->host->warn(tb->host_ctx,
			       "the server refuses a publish as not authorized (0x87): "
			       "everything waits until it allows it");
	}
	if (tb->is_setup)
		return tb_provision_settled(tb, verdict, how->now_us);
	switch ((enum tb_tag)(how->tag >> TB_TAG_SHIFT)) {
	case TB_TAG_CONNECT:
	case TB_TAG_DISCONNECT:
		return tb_announce_settled(tb, how->tag, how->reason_code, verdict);
	case TB_TAG_QUESTION:
		return tb_question_settled(tb, how->tag, verdict);
	case TB_TAG_IMAGE:
		return tb_images_settled(tb, how->tag, verdict);
	case TB_TAG_DATA:
		break;
	}
	if (tb->flights[how->tag % TB_MAX_FLIGHTS] == how->tag)
		tb->flights[how->tag % TB_MAX_FLIGHTS] = 0;
	return verdict;
}

bool tb_device_is_quiet(const struct tb *tb, const struct tb_device *device)
{
	return device->last_flight == 0 ||
	       tb->flights[device->last_flight % TB_MAX_FLIGHTS] != device->last_flight;
}

/* ------------------------------------------------------------------ down */

/* What has come down, and is being told. */
struct news {
	struct tb *tb;
	enum tb_topic topic;
	uint32_t number;
	int64_t now_us;
};

static int tell(void *arg, struct fg_span payload)
{
	const struct news *news = arg;
	struct tb *tb = news->tb;
	bool is_gateway = tb->with.mode == TB_MODE_GATEWAY;
	uint32_t number = news->number;

	switch (news->topic) {
	case TB_RPC_REQUEST:
		return tb_command_for_self(tb, number, payload);
	case TB_RPC_RESPONSE:
		return tb_rpc_answered(tb, number, payload);
	case TB_ATTRIBUTES:
		return tb_attributes_of_self(tb, payload);
	case TB_ATTRIBUTES_RESPONSE:
		return tb_attributes_answered(tb, number, payload);
	case TB_PROVISION_RESPONSE:
		return tb_provision_answered(tb, payload, news->now_us);
	case TB_GATEWAY_RPC:
		return is_gateway ? tb_command_for_device(tb, payload) : -EPROTO;
	case TB_GATEWAY_ATTRIBUTES:
		return is_gateway ? tb_attributes_of_device(tb, payload) : -EPROTO;
	case TB_GATEWAY_ATTRIBUTES_RESPONSE:
		return is_gateway ? tb_gateway_attributes_answered(tb, payload) : -EPROTO;
	case TB_GATEWAY_DISCONNECT:
		return is_gateway ? tb_disconnect_notice(tb, payload) : -EPROTO;
	default:
		return -EPROTO;
	}
}

static int tb_receive(void *ctx, const char *session, const struct fg_delivery *delivery)
{
	struct tb *tb = ctx;
	struct news news = {.tb = tb, .now_us = delivery->now_us};

	(void)session;
	if (!tb->is_setup && tb_chunks_received(tb, delivery))
		return 0;
	if (!tb_topic_parse(delivery->topic, &news.topic, &news.number) ||
	    tb->is_setup != (news.topic == TB_PROVISION_RESPONSE))
		return -EPROTO;
	if (tb->with.is_protobuf)
		return tb_protobuf_down(&tb->protobuf, news.topic, delivery->payload, tell, &news);
	return tell(&news, delivery->payload);
}

FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin = {
	.abi = FG_PLUGIN_ABI,
	.size = sizeof(struct fg_plugin),
	.name = "thingsboard",
	.summary = "ThingsBoard: MQTT gateway API (one token, many devices) or device API",
	.options = tb_option_table,
	.open = tb_open,
	.close = tb_close,
	.connect = tb_connect,
	.connected = tb_connected,
	.disconnected = tb_disconnected,
	.encode = tb_encode,
	.settled = tb_settled,
	.receive = tb_receive,
	.woken = tb_woken,
	.remembered = tb_remembered,
	.rest = &tb_rest,
	.image_progress = tb_image_progress,
};
