/*
 * ThingsBoard over MQTT: a gateway's token that speaks for many devices (gateway API), or one
 * device's own token (device API). This file holds the configuration, the session and what becomes
 * of each publish; encode.c makes the publishes, values.c the spelling of values, devices.c the
 * table.
 */
#include "thingsboard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/json.h"
#include "util/cleanup.h"

/* MQTT 5, 2.4: the reason codes ThingsBoard puts into a PUBACK, and their neighbours. */
#define REASON_UNSPECIFIED 0x80u
#define REASON_NOT_AUTHORIZED 0x87u
#define REASON_TOPIC_NAME_INVALID 0x90u
#define REASON_QUOTA_EXCEEDED 0x97u
#define REASON_PAYLOAD_FORMAT_INVALID 0x99u
#define REASON_CONNECTION_RATE_EXCEEDED 0x9fu

enum option {
	OPTION_MODE,
	OPTION_ACCESS_TOKEN,
	OPTION_CLIENT_ID,
	OPTION_USERNAME,
	OPTION_PASSWORD,
	OPTION_DEVICE,
	OPTION_DEVICE_TYPE,
	OPTION_TIMESTAMP,
	OPTION_TEXT_NUMBERS,
	OPTION_MAX_PACKET_SIZE,
	OPTION_MAX_DEVICES,
};

static const char *const mode_choices[] = {"gateway", "device", NULL};
static const char *const timestamp_choices[] = {"sample", "server", NULL};
static const char *const text_numbers_choices[] = {"pass", "protect", NULL};

static const struct fg_option options[] = {
	[OPTION_MODE] = {.name = "mode",
			 .type = FG_OPTION_CHOICE,
			 .help = "whose credentials these are: a gateway's, or one device's own",
			 .fallback = "gateway",
			 .choices = mode_choices},
	[OPTION_ACCESS_TOKEN] = {.name = "access_token",
				 .type = FG_OPTION_SECRET,
				 .help = "the access token of the gateway or device"},
	[OPTION_CLIENT_ID] = {.name = "client_id",
			      .type = FG_OPTION_STRING,
			      .help = "MQTT basic credentials: the client id"},
	[OPTION_USERNAME] = {.name = "username",
			     .type = FG_OPTION_STRING,
			     .help = "MQTT basic credentials: the user name"},
	[OPTION_PASSWORD] = {.name = "password",
			     .type = FG_OPTION_SECRET,
			     .help = "MQTT basic credentials: the password"},
	[OPTION_DEVICE] = {.name = "device",
			   .type = FG_OPTION_STRING,
			   .help = "mode device: send only what this device says"},
	[OPTION_DEVICE_TYPE] =
		{.name = "device_type",
		 .type = FG_OPTION_STRING,
		 .help = "mode gateway: device profile of a device whose type nobody told",
		 .fallback = "default"},
	[OPTION_TIMESTAMP] =
		{.name = "timestamp",
		 .type = FG_OPTION_CHOICE,
		 .help = "who stamps a sample that came without a time: the gateway at its "
			 "arrival (sample), or ThingsBoard (server)",
		 .fallback = "sample",
		 .choices = timestamp_choices},
	[OPTION_TEXT_NUMBERS] =
		{.name = "text_numbers",
		 .type = FG_OPTION_CHOICE,
		 .help = "text that looks like a number: let ThingsBoard make a number of "
			 "it (pass), or wrap it so that it stays text (protect)",
		 .fallback = "pass",
		 .choices = text_numbers_choices},
	[OPTION_MAX_PACKET_SIZE] = {.name = "max_packet_size",
				    .type = FG_OPTION_INTEGER,
				    .help = "bytes of the largest MQTT packet the server takes",
				    .fallback = "65536",
				    .min = 1024,
				    .max = 16 * 1024 * 1024},
	[OPTION_MAX_DEVICES] = {.name = "max_devices",
				.type = FG_OPTION_INTEGER,
				.help = "mode gateway: devices held announced at the same time",
				.fallback = "10000",
				.min = 1,
				.max = 1000000},
	{0},
};

/* ------------------------------------------------------------------ opening */

static bool is_given(const struct fg_value *value)
{
	return value->is_set && value->string;
}

static bool is_empty(const struct fg_value *value)
{
	return is_given(value) && !*value->string;
}

/* Returns NULL, or what is wrong with the credentials: exactly one kind must be there, and whole.
 */
static const char *credentials_fault(const struct fg_value *values, bool has_certificate)
{
	const struct fg_value *token = &values[OPTION_ACCESS_TOKEN];
	const struct fg_value *client_id = &values[OPTION_CLIENT_ID];
	const struct fg_value *username = &values[OPTION_USERNAME];
	const struct fg_value *password = &values[OPTION_PASSWORD];
	bool has_basic = is_given(client_id) || is_given(username) || is_given(password);

	if (is_empty(token))
		return "access_token is empty";
	if (is_empty(client_id) || is_empty(username) || is_empty(password))
		return "client_id, username and password may be left out, but not be empty";
	if (has_certificate && (is_given(token) || has_basic))
		return "ThingsBoard looks at nothing but the client certificate when there is one: "
		       "remove "
		       "either the certificate from tls, or the token or name and password";
	if (is_given(token) && has_basic)
		return "access_token excludes client_id, username and password: a ThingsBoard "
		       "device has "
		       "either a token or MQTT basic credentials";
	if (is_given(token) && strcmp(token->string, "provision") == 0)
		return "the access token \"provision\" would open a provisioning session";
	if ((is_given(client_id) && strcmp(client_id->string, "provision") == 0) ||
	    (is_given(username) && strcmp(username->string, "provision") == 0))
		return "the name \"provision\" would open a provisioning session";
	if (is_given(password) && !is_given(username))
		return "password needs username (MQTT 3.1.1, 3.1.2.9)";
	if (!is_given(token) && !has_basic && !has_certificate)
		return "credentials are missing: give access_token, or username and password, or a "
		       "client "
		       "certificate in tls";
	return NULL;
}

static const char *options_fault(const struct fg_value *values, bool has_certificate)
{
	const struct fg_value *device = &values[OPTION_DEVICE];
	const struct fg_value *type = &values[OPTION_DEVICE_TYPE];

	if (is_given(device) && values[OPTION_MODE].number == TB_MODE_GATEWAY)
		return "device is for mode: device; a gateway says which device speaks in each "
		       "message";
	if (is_given(device) && (is_empty(device) || strlen(device->string) > 255))
		return "device: expected a name of 1 to 255 bytes";
	if (is_given(type) && tb_name_fault(fg_span_str(type->string)))
		return "device_type: expected a profile name of 1 to 255 characters without HTML "
		       "or {{";
	return credentials_fault(values, has_certificate);
}

static void tb_close(void *ctx)
{
	struct tb *tb = ctx;

	if (!tb)
		return;
	tb_devices_free(tb->devices);
	free(tb->items);
	free(tb->scratch);
	free(tb->attributes);
	free(tb->attribute_index);
	free(tb);
}

static void tb_closep(struct tb **tb)
{
	tb_close(*tb);
}

static void configure(struct tb *tb, const struct fg_open *with)
{
	const struct fg_value *values = with->values;

	tb->host = with->host;
	tb->host_ctx = with->host_ctx;
	tb->mode = (enum tb_mode)values[OPTION_MODE].number;
	tb->timestamp = (enum tb_timestamp)values[OPTION_TIMESTAMP].number;
	tb->client_id = values[OPTION_CLIENT_ID].string;
	tb->username = is_given(&values[OPTION_ACCESS_TOKEN]) ? values[OPTION_ACCESS_TOKEN].string
							      : values[OPTION_USERNAME].string;
	tb->password = values[OPTION_PASSWORD].string;
	tb->device = values[OPTION_DEVICE].string;
	tb->device_type = values[OPTION_DEVICE_TYPE].string;
	tb->max_packet_bytes = (size_t)values[OPTION_MAX_PACKET_SIZE].number;
	tb->mqtt_version = 4;
	tb->values.host = with->host;
	tb->values.host_ctx = with->host_ctx;
	tb->values.protect_text_numbers = values[OPTION_TEXT_NUMBERS].number == 1;
}

static int tb_open(const struct fg_open *with, void **ret_ctx, char *error, size_t error_size)
{
	FG_CLEANUP(tb_closep) struct tb *tb = NULL;
	const char *fault = options_fault(with->values, with->has_client_certificate);
	int r;

	if (fault) {
		snprintf(error, error_size, "%s", fault);
		return -EINVAL;
	}
	tb = calloc(1, sizeof(*tb));
	if (!tb)
		return -ENOMEM;
	configure(tb, with);
	tb->items = calloc(TB_MAX_ITEMS, sizeof(*tb->items));
	tb->scratch = malloc(tb->max_packet_bytes);
	tb->attributes = calloc(TB_MAX_ATTRIBUTES, sizeof(*tb->attributes));
	tb->attribute_index = calloc(TB_ATTRIBUTE_SLOTS, sizeof(*tb->attribute_index));
	if (!tb->items || !tb->scratch || !tb->attributes || !tb->attribute_index)
		return -ENOMEM;
	if (tb->mode == TB_MODE_GATEWAY) {
		r = tb_devices_new((uint32_t)with->values[OPTION_MAX_DEVICES].number, &tb->devices);
		if (r < 0)
			return r;
	}
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
		.client_id = tb->client_id,
		.username = tb->username,
		.password = tb->password,
		/* The server never stores a session, whatever its CONNACK says. */
		.clean_start = true,
	};
	return 0;
}

/* The largest Remaining Length of a packet of @packet_bytes in all (MQTT 5, 3.2.2.3.6). */
static size_t remaining_length(size_t packet_bytes)
{
	size_t n_length_bytes = 1, largest = 127;

	while (n_length_bytes < 4 && packet_bytes > 1 + n_length_bytes + largest) {
		n_length_bytes++;
		largest = largest << 7 | 127;
	}
	return packet_bytes > 1 + n_length_bytes ? packet_bytes - 1 - n_length_bytes : 1;
}

static void tb_connected(void *ctx, const char *session, const struct fg_connack *connack)
{
	struct tb *tb = ctx;

	(void)session;
	tb->mqtt_version = connack->mqtt_version;
	tb->session_max_packet_bytes =
		connack->max_packet_bytes > 0 ? remaining_length(connack->max_packet_bytes) : 0;
	tb->announce_at = 0;
	tb->has_just_announced = false;
}

/* The server forgets every announcement with the connection that made it. */
static void forget_announcement(struct tb_device *device)
{
	device->state = TB_UNANNOUNCED;
	device->n_refusals = 0;
	device->n_quota_refusals = 0;
	device->control_serial = 0;
	device->is_due = device->is_live;
}

/* To one that is not marked as a gateway the server neither acknowledges nor refuses anything. */
static void warn_if_no_gateway(struct tb *tb)
{
	struct tb_device *device;

	if (!tb->devices || tb->has_accepted)
		return;
	for (uint32_t i = 0; i < tb_devices_slots(tb->devices); i++) {
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

static void tb_disconnected(void *ctx, const char *session)
{
	struct tb *tb = ctx;
	struct tb_device *device;

	(void)session;
	warn_if_no_gateway(tb);
	memset(tb->flights, 0, sizeof(tb->flights));
	tb->session_max_packet_bytes = 0;
	tb->has_device_quota = false;
	tb->has_warned_authorization = false;
	for (uint32_t i = 0; tb->devices && i < tb_devices_slots(tb->devices); i++) {
		device = tb_devices_at(tb->devices, i);
		if (device)
			forget_announcement(device);
	}
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
	if (code < REASON_UNSPECIFIED)
		return FG_ACCEPTED;
	switch (code) {
	case REASON_QUOTA_EXCEEDED:
	case REASON_CONNECTION_RATE_EXCEEDED:
	case REASON_NOT_AUTHORIZED:
		return FG_LATER;
	case REASON_TOPIC_NAME_INVALID:
	case REASON_PAYLOAD_FORMAT_INVALID:
		return FG_POISON;
	default:
		return FG_RETRY;
	}
}

uint64_t tb_tag_make(enum tb_tag what, uint64_t serial, uint32_t slot)
{
	if (what == TB_TAG_DATA)
		return serial;
	return (uint64_t)what << 62 | (serial & 0x3fffffff) << 32 | slot;
}

/* The device whose connect or disconnect @tag is waiting to be settled; NULL when none is. */
static struct tb_device *waiting_device(const struct tb *tb, uint64_t tag)
{
	struct tb_device *device = NULL;

	if (tb->devices)
		device = tb_devices_at(tb->devices, (uint32_t)tag);
	if (!device || device->control_serial == 0 ||
	    (device->control_serial & 0x3fffffff) != (tag >> 32 & 0x3fffffff))
		return NULL;
	return device;
}

static void give_up(struct tb *tb, struct tb_device *device, unsigned code)
{
	device->state = TB_REFUSED;
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
	if (!device->was_announced || !device->is_live)
		return;
	device->is_due = true;
	if (device->slot < tb->announce_at)
		tb->announce_at = device->slot;
}

/*
 * A rate limit passes; the tenant's limit of devices does not, and the code for a device that would
 * be new is the same. What tells them apart: after a rate limit the server closes the connection,
 * so that two refusals in one session are rare. The link pauses for each, and must not for ever.
 */
static bool is_over_device_quota(struct tb *tb, struct tb_device *device, unsigned code)
{
	if (code == REASON_NOT_AUTHORIZED || device->was_announced)
		return false;
	device->n_quota_refusals++;
	return tb->has_device_quota || device->was_over_quota ||
	       device->n_quota_refusals >= TB_MAX_QUOTA_REFUSALS;
}

/* Returns what the link shall do; once a device is given up there is nothing to wait for. */
static enum fg_verdict connect_settled(struct tb *tb, struct tb_device *device, unsigned code,
				       enum fg_verdict verdict)
{
	device->control_serial = 0;
	device->state = TB_UNANNOUNCED;
	switch (verdict) {
	case FG_ACCEPTED:
		device->state = TB_ANNOUNCED;
		device->was_announced = true;
		device->was_over_quota = false;
		device->n_refusals = 0;
		device->n_quota_refusals = 0;
		return FG_ACCEPTED;
	case FG_POISON:
		break;
	case FG_RETRY:
		if (++device->n_refusals >= TB_MAX_REFUSALS)
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

static enum fg_verdict tb_settled(void *ctx, const char *session, const struct fg_settlement *how)
{
	struct tb *tb = ctx;
	enum tb_tag what = (enum tb_tag)(how->tag >> 62);
	enum fg_verdict verdict = verdict_of(how->reason_code);
	struct tb_device *device;

	(void)session;
	if (verdict == FG_ACCEPTED)
		tb->has_accepted = true;
	if (how->reason_code == REASON_NOT_AUTHORIZED && !tb->has_warned_authorization) {
		tb->has_warned_authorization = true;
		tb->host->warn(tb->host_ctx,
			       "the server refuses a publish as not authorized (0x87): "
			       "everything waits until it allows it");
	}
	if (what == TB_TAG_DATA) {
		if (tb->flights[how->tag % TB_MAX_FLIGHTS] == how->tag)
			tb->flights[how->tag % TB_MAX_FLIGHTS] = 0;
		return verdict;
	}
	device = waiting_device(tb, how->tag);
	if (!device)
		return verdict; /* the session or a notice was faster */
	if (what == TB_TAG_CONNECT) {
		verdict = connect_settled(tb, device, how->reason_code, verdict);
	} else {
		device->control_serial = 0;
		device->state = TB_UNANNOUNCED;
	}
	return verdict;
}

bool tb_device_is_quiet(const struct tb *tb, const struct tb_device *device)
{
	return device->last_flight == 0 ||
	       tb->flights[device->last_flight % TB_MAX_FLIGHTS] != device->last_flight;
}

/* ------------------------------------------------------------------ down */

/*
 * The server closed one device's session on its side and tells so without being asked (MQTT 5
 * only):
 * {"device":"pump 4","reason":150}. The device must be announced again before its next message.
 */
static int disconnect_notice(struct tb *tb, struct fg_span payload)
{
	struct fg_json_value notice, name, reason;
	struct fg_json_fault fault;
	struct tb_device *device;
	char unescaped[255 * 6];
	struct fg_span raw;

	if (fg_json_check(payload, &notice, &fault) < 0 || notice.type != FG_JSON_OBJECT ||
	    !fg_json_member(notice, fg_span_str("device"), &name) || name.type != FG_JSON_STRING)
		return -EPROTO;
	if (!fg_json_member(notice, fg_span_str("reason"), &reason))
		reason =
			(struct fg_json_value){.type = FG_JSON_INTEGER, .text = fg_span_str("128")};
	if (reason.type != FG_JSON_INTEGER)
		return -EPROTO;
	raw = fg_span_of(name.text.data + 1, name.text.size - 2);
	if (raw.size == 0 || raw.size > sizeof(unescaped))
		return -EPROTO;
	device = tb_devices_find(tb->devices,
				 fg_span_of(unescaped, fg_json_unescape(raw, unescaped)));
	if (!device || (device->state != TB_ANNOUNCED && device->state != TB_CONNECTING))
		return 0;
	device->state = TB_UNANNOUNCED;
	device->control_serial = 0;
	tb->host->warn(tb->host_ctx,
		       "ThingsBoard closed the session of device \"%.*s\" (%s, reason %.*s): it is "
		       "announced again with its next message",
		       (int)device->name_size, device->name,
		       fg_span_is(reason.text, "150") ? "rate limit" : "on its side",
		       reason.text.size < 12 ? (int)reason.text.size : 12, reason.text.data);
	return 0;
}

static int tb_receive(void *ctx, const char *session, const struct fg_delivery *delivery)
{
	struct tb *tb = ctx;

	(void)session;
	if (tb->mode == TB_MODE_GATEWAY &&
	    strcmp(delivery->topic, TB_TOPIC_GATEWAY_DISCONNECT) == 0)
		return disconnect_notice(tb, delivery->payload);
	return -EPROTO;
}

FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin = {
	.abi = FG_PLUGIN_ABI,
	.size = sizeof(struct fg_plugin),
	.name = "thingsboard",
	.summary = "ThingsBoard: MQTT gateway API (one token, many devices) or device API",
	.options = options,
	.open = tb_open,
	.close = tb_close,
	.connect = tb_connect,
	.connected = tb_connected,
	.disconnected = tb_disconnected,
	.encode = tb_encode,
	.settled = tb_settled,
	.receive = tb_receive,
};
