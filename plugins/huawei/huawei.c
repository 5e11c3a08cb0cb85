/*
 * Huawei Cloud IoTDA over MQTT: a gateway that speaks for its sub-devices, or one device. This file
 * holds the plugin's table: opening, the session, what becomes of each publish, what comes down.
 */
#include "huawei.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/packet.h"
#include "rest.h"
#include "util/cleanup.h"

#define TICK_MS 1000

/* ------------------------------------------------------------------ opening */

static void hw_close(void *ctx)
{
	struct hw *hw = ctx;

	if (!hw)
		return;
	hw_sign_in_wipe(&hw->sign_in);
	hw_bootstrap_close(hw);
	hw_https_end(hw);
	hw_devices_close(&hw->devices);
	hw_early_close(hw);
	hw_ota_close(&hw->ota);
	hw_known_close(hw->known);
	free(hw->items);
	free(hw->scratch);
	hw_gzip_close(hw->gzip);
	free(hw);
}

static void hw_closep(struct hw **hw)
{
	hw_close(*hw);
}

static int hw_open(const struct fg_open *with, void **ret_ctx, char *error, size_t error_size)
{
	FG_CLEANUP(hw_closep) struct hw *hw = NULL;
	struct hw_options options;
	const char *fault = hw_options_read(with, &options);

	if (fault) {
		snprintf(error, error_size, "%s", fault);
		return -EINVAL;
	}
	hw = calloc(1, sizeof(*hw));
	if (!hw)
		return -ENOMEM;
	hw->host = with->host;
	hw->host_ctx = with->host_ctx;
	hw->with = options;
	hw->mqtt_version = 4;
	fault = hw_bootstrap_open(hw, with);
	if (fault) {
		snprintf(error, error_size, "%s", fault);
		return -EINVAL;
	}
	hw->items = calloc(HW_MAX_ITEMS, sizeof(*hw->items));
	hw->scratch = malloc(HW_MAX_REPORT);
	if (!hw->items || !hw->scratch || hw_known_open(options.last_values_bytes, &hw->known) < 0)
		return -ENOMEM;
	if (options.mode == HW_MODE_GATEWAY &&
	    (options.reports_status || options.syncs || options.adds) &&
	    hw_devices_open(&hw->devices, options.max_devices, options.adds) < 0)
		return -ENOMEM;
	if (options.packs && hw_gzip_open(&hw->gzip) < 0)
		return -ENOMEM;
	hw_topology_open(hw);
	hw_early_open(hw);
	if (options.is_keep_alive_bent)
		hw->host->warn(hw->host_ctx,
			       "keep_alive is %u s: IoTDA takes 30 s to 20 min; %u s it is",
			       with->keep_alive_s, options.keep_alive_s);
	*ret_ctx = hw;
	hw = NULL;
	return 0;
}

/* ------------------------------------------------------------------ the session */

static int hw_connect(void *ctx, const struct fg_connect_request *request, struct fg_connect *out)
{
	struct hw *hw = ctx;
	struct hw_account account = {
		.id = hw->with.device_id,
		.secret = hw->with.secret,
		.sign_type = hw->with.sign_type,
		.is_bridge = hw->with.is_bridge,
	};
	int r;

	*out = (struct fg_connect){
		.username = hw->with.device_id,
		.clean_start = true,
		.keep_alive_s = hw->with.keep_alive_s,
	};
	r = hw_bootstrap_connect(hw, &account, out);
	if (r < 0)
		return r;
	r = hw_sign_in_make(&account, request->now_us, &hw->sign_in);
	if (r < 0) {
		hw->host->warn(hw->host_ctx, "cannot make a client id and password: %s",
			       r == -EIO ? "OpenSSL makes no such HMAC" : "the clock is not set");
		return -EINVAL;
	}
	hw->mqtt_version = request->mqtt_version;
	out->client_id = hw->sign_in.client_id;
	out->password = account.secret ? hw->sign_in.password : NULL;
	out->is_timed = account.secret;
	return 0;
}

/* IoTDA delivers without a SUBSCRIBE, too, but then at QoS 0 only. */
void hw_subscribe(struct hw *hw, const char *suffix)
{
	char filter[HW_TOPIC_SIZE];

	hw_topic(hw, suffix, filter);
	if (hw->host->subscribe(hw->host_ctx, "", filter, 1) < 0)
		hw->host->warn(hw->host_ctx,
			       "cannot subscribe to %s: what it carries may get lost in this "
			       "session",
			       filter);
}

/*
 * At most @per_s publishes in any second. The host's bucket sends what it holds at once, and what comes
 * back meanwhile: a fifth is held, the rest comes back within the second.
 */
static struct fg_rate rate_of(uint32_t per_s)
{
	uint32_t at_once = per_s < 5 ? 1 : per_s / 5;
	uint32_t rest = per_s > at_once ? per_s - at_once : 1;

	return (struct fg_rate){.capacity = at_once,
				.period_ms = (at_once * 1000 + rest - 1) / rest};
}

/*
 * At most a megabyte in any second: the largest message, a text of 256 KiB, may go at once, and 728 kB
 * come back meanwhile.
 */
static const struct fg_rate bandwidth = {.capacity = 64 * 1024, .period_ms = 90};

void hw_set_limits(struct hw *hw)
{
	const struct fg_rate publishes = rate_of(hw->with.max_rate);

	if (hw->with.max_rate == 0)
		return;
	hw->host->limit(hw->host_ctx, 0, FG_LIMIT_MESSAGES, &publishes, 1);
	hw->host->limit(hw->host_ctx, 0, FG_LIMIT_BYTES, &bandwidth, 1);
}

static void hw_connected(void *ctx, const char *session, const struct fg_connack *connack)
{
	struct hw *hw = ctx;
	bool is_roomy =
		connack->max_packet_bytes == 0 || connack->max_packet_bytes >= HW_MIN_PACKET;

	(void)session;
	hw->host->wake(hw->host_ctx, TICK_MS);
	hw_sign_in_wipe(&hw->sign_in);
	hw_https_end(hw);
	hw->mqtt_version = connack->mqtt_version;
	hw->session_max_packet_bytes = fg_remaining_length(connack->max_packet_bytes);
	if (hw_bootstrap_connected(hw))
		return;
	hw_set_limits(hw);
	hw->has_warned_status = false;
	hw->tells_status = hw->with.reports_status && hw->devices.all && is_roomy;
	hw_topology_begin(hw, is_roomy);
	hw_subscribe(hw, "commands/#");
	hw_subscribe(hw, "properties/set/#");
	hw_subscribe(hw, "properties/get/#");
	hw_subscribe(hw, "shadow/get/response/#");
	hw_subscribe(hw, "messages/down");
	hw_subscribe(hw, "events/down");
	hw_ota_connected(hw);
	hw_time_sync_begin(hw);
}

static void hw_disconnected(void *ctx, const char *session)
{
	struct hw *hw = ctx;

	(void)session;
	hw_bootstrap_disconnected(hw);
	hw_https_end(hw);
	hw->session_max_packet_bytes = 0;
	hw->tells_status = false;
	hw->has_left = false;
	hw_devices_forget_session(&hw->devices);
	hw_topology_end(hw);
	hw_ota_disconnected(hw);
	hw_shadow_forget(hw);
	hw_time_sync_end(hw);
}

/* Each second, with and without a session. */
static void hw_woken(void *ctx, int64_t now_us)
{
	struct hw *hw = ctx;

	(void)now_us;
	hw->uptime_s++;
	hw_topology_tick(hw);
	hw_early_tick(hw);
	hw_ota_tick(hw);
	hw_bootstrap_tick(hw);
	hw->host->wake(hw->host_ctx, TICK_MS);
}

static void hw_remembered(void *ctx, const char *key, int error)
{
	hw_bootstrap_remembered(ctx, key, error);
}

/* ------------------------------------------------------------------ how a publish ended */

static bool is_accepted(const struct fg_settlement *how)
{
	return how->reason_code < FG_REASON_UNSPECIFIED;
}

static void status_settled(struct hw *hw, const struct fg_settlement *how)
{
	if (!is_accepted(how) && !hw->has_warned_status)
		hw->host->warn(hw->host_ctx,
			       "IoTDA refuses the status of sub-devices (reason code 0x%02x): it "
			       "is told again with the next session",
			       how->reason_code);
	hw->has_warned_status |= !is_accepted(how);
}

/*
 * Only an edition with MQTT 5 says more than that a publish has arrived. What is about sub-devices and was
 * refused is said anew sooner or later: it is no reason to hold up, or to throw out, what devices say.
 */
static enum fg_verdict hw_settled(void *ctx, const char *session, const struct fg_settlement *how)
{
	struct hw *hw = ctx;

	(void)session;
	if (how->http_status)
		return hw_https_settled(hw, how);
	switch (hw_tag_of(how)) {
	case HW_TAG_OTA:
		return hw_ota_settled(hw, how);
	case HW_TAG_BOOTSTRAP: /* it is asked again when no answer comes */
	case HW_TAG_CHANGES:   /* it is not waited for by itself */
		return FG_ACCEPTED;
	case HW_TAG_STATUS:
		status_settled(hw, how);
		return FG_ACCEPTED;
	case HW_TAG_SYNC:
		hw_sync_settled(hw, is_accepted(how));
		return FG_ACCEPTED;
	case HW_TAG_ADD:
		hw_add_settled(hw, is_accepted(how));
		return FG_ACCEPTED;
	case HW_TAG_NONE:
	case HW_TAG_DEVICE:
		break;
	}
	if (is_accepted(how))
		return FG_ACCEPTED;
	switch (how->reason_code) {
	case FG_REASON_QUOTA_EXCEEDED:
	case FG_REASON_NOT_AUTHORIZED: /* about the device, not about one message */
		return FG_LATER;
	case FG_REASON_TOPIC_NAME_INVALID:
	case FG_REASON_PACKET_TOO_LARGE:
	case FG_REASON_PAYLOAD_FORMAT_INVALID:
		return FG_POISON;
	default:
		return FG_RETRY;
	}
}

/* ------------------------------------------------------------------ down */

/* Behind @prefix in @topic, or NULL. */
static const char *behind(const char *topic, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(topic, prefix, n) == 0 ? topic + n : NULL;
}

static const struct {
	const char *prefix;
	enum hw_request request;
} requests[] = {
	{"commands/request_id=", HW_COMMAND},
	{"properties/set/request_id=", HW_PROPERTIES_SET},
	{"properties/get/request_id=", HW_PROPERTIES_GET},
};

#define SHADOW_ANSWER "shadow/get/response/request_id="

int hw_take_delivery(struct hw *hw, const char *suffix, const struct fg_delivery *delivery)
{
	const char *id;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		id = behind(suffix, requests[i].prefix);
		if (id)
			return hw_request_received(hw, requests[i].request, fg_span_str(id),
						   delivery->payload);
	}
	if (strcmp(suffix, "events/down") == 0)
		return hw_event_received(hw, delivery);
	id = behind(suffix, SHADOW_ANSWER);
	if (id)
		return hw_shadow_received(hw, id, delivery->payload);
	if (strcmp(suffix, "messages/down") == 0)
		return hw_message_received(hw, delivery);
	return -EPROTO;
}

/*
 * The same, if it is not early. What was, goes first; and whom that is for may be known with this: then it
 * is on disk before this is acknowledged.
 */
static int receive(struct hw *hw, const char *suffix, const struct fg_delivery *delivery)
{
	int r;

	if (strncmp(suffix, SHADOW_ANSWER, strlen(SHADOW_ANSWER)) != 0 &&
	    hw_early_keep(hw, suffix, delivery))
		return 0;
	hw_early_take(hw);
	r = hw_take_delivery(hw, suffix, delivery);
	hw_early_take(hw);
	return r == -EAGAIN ? 0 : r; /* the host has it come again */
}

/* The same, packed; @suffix is without the mark. */
static int receive_packed(struct hw *hw, const char *suffix, const struct fg_delivery *delivery)
{
	FG_CLEANUP(fg_free_p) char *plain = malloc(HW_MAX_CONTENT);
	struct fg_delivery copy = *delivery;
	size_t size = 0;
	int r;

	r = plain ? hw_gzip_unpack(delivery->payload, plain, HW_MAX_CONTENT, &size) : -ENOMEM;
	if (r < 0)
		hw->host->warn(hw->host_ctx, "IoTDA has sent something packed, which %s",
			       r == -EMSGSIZE ? "is larger than 256 KiB without that"
			       : r == -ENOMEM ? "there is no memory for"
					      : "is no gzip");
	/* Whoever waits for an answer gets it: that it is no JSON. */
	if (r < 0 && strcmp(suffix, "messages/down") == 0)
		return 0;
	copy.payload = fg_span_of(plain, size);
	return receive(hw, suffix, &copy);
}

static int hw_receive(void *ctx, const char *session, const struct fg_delivery *delivery)
{
	struct hw *hw = ctx;
	char prefix[HW_TOPIC_SIZE], unmarked[HW_TOPIC_SIZE];
	const char *suffix, *mark;

	(void)session;
	hw_topic(hw, "", prefix);
	suffix = behind(delivery->topic, prefix);
	if (!suffix)
		return -EPROTO;
	if (hw->bootstrap.is_setup)
		return strcmp(suffix, "bootstrap/down") == 0
			       ? hw_bootstrap_answered(hw, delivery->payload)
			       : -EPROTO;
	mark = strchr(suffix, '?');
	if (!mark)
		return receive(hw, suffix, delivery);
	if (strcmp(mark, HW_GZIP_MARK) != 0 || (size_t)(mark - suffix) >= sizeof(unmarked))
		return -EPROTO;
	memcpy(unmarked, suffix, (size_t)(mark - suffix));
	unmarked[mark - suffix] = 0;
	return receive_packed(hw, unmarked, delivery);
}

FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin = {
	.abi = FG_PLUGIN_ABI,
	.size = sizeof(struct fg_plugin),
	.name = "huawei",
	.summary = "Huawei Cloud IoTDA: a gateway with sub-devices, or one device",
	.options = hw_option_table,
	.open = hw_open,
	.close = hw_close,
	.connect = hw_connect,
	.connected = hw_connected,
	.disconnected = hw_disconnected,
	.encode = hw_encode,
	.settled = hw_settled,
	.receive = hw_receive,
	.image_progress = hw_image_progress,
	.woken = hw_woken,
	.remembered = hw_remembered,
	.rest = &hw_rest,
	.http = &hw_http_uplink,
};
