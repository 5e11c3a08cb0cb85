/*
 * Single properties of the Huawei plugin that cases as data (tests/vectors/) cannot show: time zones,
 * what stays in memory, no allocation per message, every allocation failing in turn, many devices.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "huawei/gzip.h"
#include "huawei/sign_in.h"
#include "huawei/text.h"
#include "quiet_host.h"

#define GATEWAY "65f0c1d2e3b4a5968778695a_gw1"
#define REPORT "$oc/devices/" GATEWAY "/sys/gateway/sub_devices/properties/report"
#define N_DEVICES 250
#define PAYLOAD_SIZE (128 * 1024)
#define MAX_PLAIN (256 * 1024)

extern const struct fg_plugin fg_plugin;

/* ------------------------------------------------------------------ allocations */

static unsigned n_allocations;
static long fail_at = -1; /* the allocation that many from now fails, and all behind it; -1: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

static bool may_allocate(void)
{
	n_allocations++;
	return fail_at < 0 || fail_at-- > 0;
}

void *__wrap_malloc(size_t size)
{
	return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

/* ------------------------------------------------------------------ an OpenSSL without SM3 */

static bool has_no_sm3;

EVP_MD *__real_EVP_MD_fetch(OSSL_LIB_CTX *libctx, const char *name, const char *properties);
EVP_MD *__wrap_EVP_MD_fetch(OSSL_LIB_CTX *libctx, const char *name, const char *properties);

EVP_MD *__wrap_EVP_MD_fetch(OSSL_LIB_CTX *libctx, const char *name, const char *properties)
{
	if (has_no_sm3 && strcmp(name, "SM3") == 0)
		return NULL;
	return __real_EVP_MD_fetch(libctx, name, properties);
}

/* ------------------------------------------------------------------ a host */

static unsigned n_commands;

static int command(void *host_ctx, const struct fg_command *c)
{
	struct fg_json_value value;
	struct fg_json_fault fault;

	(void)host_ctx;
	assert_int_equal(fg_json_check(c->params, &value, &fault), 0);
	assert_true(c->id.size > 0 && c->id.size <= FG_COMMAND_ID_MAX && c->key.size <= 64);
	n_commands++;
	return 0;
}

static unsigned n_responses;
static char response[256];

static void respond(void *host_ctx, struct fg_span ref, struct fg_span body)
{
	(void)host_ctx;
	assert_true(ref.size > 0);
	n_responses++;
	snprintf(response, sizeof(response), "%.*s", FG_SPAN_ARGS(body));
}

static bool reports_status; /* the option */
static bool packs;
static enum hw_sign_type sign_type;
static char open_error[256];

static int open_gateway(void **ret_ctx)
{
	static struct fg_host host;
	struct fg_value values[64] = {0};
	struct fg_open with = {
		.values = values, .host = &host, .link_name = "x", .gateway_name = "y"};
	const struct fg_option *option = fg_plugin.options;

	host = quiet_host;
	host.command = command;
	host.respond = respond;
	quiet_secret = "s3cr3t";
	for (size_t i = 0; option[i].name; i++) {
		values[i].is_set = option[i].fallback;
		if (option[i].type == FG_OPTION_STRING)
			values[i].string = option[i].fallback;
		else if (option[i].type == FG_OPTION_INTEGER)
			values[i].number = atoll(option[i].fallback);
		else if (option[i].type == FG_OPTION_DURATION)
			values[i].number = 15000;
		if (strcmp(option[i].name, "report_status") == 0)
			values[i].number = reports_status;
		if (strcmp(option[i].name, "encoding") == 0)
			values[i].number = packs;
		if (strcmp(option[i].name, "sign_type") == 0)
			values[i].number = sign_type;
		if (strcmp(option[i].name, "device_id") == 0)
			values[i] = (struct fg_value){.is_set = true, .string = GATEWAY};
		if (strcmp(option[i].name, "secret") == 0)
			values[i] = (struct fg_value){.is_set = true, .string = "s3cr3t"};
	}
	return fg_plugin.open(&with, ret_ctx, open_error, sizeof(open_error));
}

static void begin_session(void *ctx, struct fg_connect *ret)
{
	struct fg_connect_request request = {.session = "", .mqtt_version = 4};
	struct fg_connack connack = {.mqtt_version = 4};

	assert_int_equal(fg_plugin.connect(ctx, &request, ret), 0);
	fg_plugin.connected(ctx, "", &connack);
}

static char topic[256], payload[PAYLOAD_SIZE];
static struct fg_publish published;
static enum fg_carrier carrier;
static bool is_alarm;

static int encode(void *ctx, const struct fg_message *messages, uint8_t *states, size_t count)
{
	struct fg_batch batch = {.messages = messages,
				 .states = states,
				 .count = count,
				 .max_take = count,
				 .carrier = carrier,
				 .is_alarm = is_alarm,
				 .max_points = {SIZE_MAX, SIZE_MAX}};

	published = (struct fg_publish){.topic = topic,
					.topic_size = sizeof(topic),
					.payload = payload,
					.payload_size = sizeof(payload),
					.qos = 0};
	return fg_plugin.encode(ctx, "", &batch, &published);
}

static struct fg_message telemetry(uint64_t seq, const char *device, const char *body)
{
	return (struct fg_message){
		.seq = seq,
		.time_us = (int64_t)seq * 1000,
		.kind = FG_TELEMETRY,
		.device = fg_span_str(device),
		.stream = fg_span_str("env"),
		.body = fg_span_str(body),
	};
}

static unsigned occurrences(const char *text)
{
	unsigned n = 0;

	payload[published.payload_len] = 0;
	for (const char *at = payload; (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* ------------------------------------------------------------------ signing in */

#define SECONDS(s) ((int64_t)(s)*1000000)
#define AT_095959 SECONDS(1773568799) /* 2026-03-15T09:59:59Z */

static const struct hw_account pump = {
	.id = "65f0c1d2e3b4a5968778695a_pump-01",
	.secret = "s3cr3t-Field-0001",
};

static void the_hour_is_that_of_utc_in_every_time_zone(void **state)
{
	static const char *const zones[] = {"UTC0",    "CST-8",    "NPT-5:45",
					    "PST8PDT", "<+14>-14", "right/Asia/Shanghai"};
	static const struct {
		int64_t s;
		const char *hour, *stamp;
	} times[] = {
		{1773568799, "2026031509", "20260315T095959Z"},
		{1773568800, "2026031510", "20260315T100000Z"},
		/* Around the leap second at the end of 2016, and on the day before. */
		{1483142399, "2016123023", "20161230T235959Z"},
		{1483142400, "2016123100", "20161231T000000Z"},
		{1483228799, "2016123123", "20161231T235959Z"},
		{1483228800, "2017010100", "20170101T000000Z"},
		/* Where a year of 366 days ends; and where some of these zones put their clocks on. */
		{1709251199, "2024022923", "20240229T235959Z"},
		{1773568800 - 7 * 86400, "2026030810", "20260308T100000Z"},
	};
	struct hw_account account = {.id = "gw", .secret = "s", .sign_type = HW_SIGN_SHA256};
	struct hw_sign_in sign_in;
	char stamp[64], wanted[64];
	struct fg_text text;

	(void)state;
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
		setenv("TZ", zones[i], 1);
		tzset();
		for (size_t k = 0; k < sizeof(times) / sizeof(times[0]); k++) {
			assert_int_equal(
				hw_sign_in_make(&account, SECONDS(times[k].s) + 999999, &sign_in),
				0);
			snprintf(wanted, sizeof(wanted), "gw_0_1_%s", times[k].hour);
			assert_string_equal(sign_in.client_id, wanted);
			text = fg_text_begin(stamp, sizeof(stamp));
			assert_true(hw_put_time(&text, SECONDS(times[k].s) + 999999, false));
			assert_memory_equal(stamp, times[k].stamp, 16);
		}
	}
	unsetenv("TZ");
	tzset();
}

static void key_and_message_are_not_swapped(void **state)
{
	struct hw_sign_in sign_in;

	(void)state;
	assert_int_equal(hw_sign_in_make(&pump, AT_095959, &sign_in), 0);
	assert_int_equal(strlen(sign_in.password), 64);
	assert_memory_equal(sign_in.password, "bbf7cefae0bd9081", 16);
	assert_memory_not_equal(sign_in.password, "0625a957e2bd6cca", 16);
}

/* A digest that is copied as a string ends at its first zero byte: some hours of any secret have one. */
static void a_digest_is_bytes_and_none_of_them_ends_it(void **state)
{
	struct hw_sign_in sign_in;
	unsigned n_zero = 0;

	(void)state;
	for (int64_t hour = 0; hour < 1000; hour++) {
		bool has_zero = false;

		assert_int_equal(hw_sign_in_make(&pump, AT_095959 + SECONDS(3600 * hour), &sign_in),
				 0);
		assert_int_equal(strlen(sign_in.password), 64);
		for (size_t i = 0; i < 64; i += 2)
			has_zero |= memcmp(sign_in.password + i, "00", 2) == 0;
		n_zero += has_zero;
	}
	assert_in_range(n_zero, 50, 250);
}

static void a_clock_that_has_no_such_hour_makes_no_password(void **state)
{
	const struct hw_account account = {.id = "gw", .secret = "s"};
	struct hw_sign_in sign_in;

	(void)state;
	assert_int_equal(hw_sign_in_make(&account, INT64_MAX, &sign_in), -EINVAL);
	assert_int_equal(hw_sign_in_make(&account, INT64_MIN, &sign_in), -EINVAL);
	assert_int_equal(hw_sign_in_make(&account, 0, &sign_in), 0);
	assert_string_equal(sign_in.client_id, "gw_0_0_1970010100");
}

static void the_longest_device_id_fits_and_a_longer_one_is_refused(void **state)
{
	char id[HW_DEVICE_ID_MAX + 2];
	const struct hw_account account = {
		.id = id, .secret = "s", .sign_type = HW_SIGN_SM3, .is_bridge = true};
	struct hw_sign_in sign_in;

	(void)state;
	memset(id, 'a', sizeof(id));
	id[HW_DEVICE_ID_MAX + 1] = 0;
	assert_int_equal(hw_sign_in_make(&account, 0, &sign_in), -EINVAL);
	id[HW_DEVICE_ID_MAX] = 0;
	assert_int_equal(hw_sign_in_make(&account, 0, &sign_in), 0);
	assert_string_equal(sign_in.client_id + HW_DEVICE_ID_MAX, "_3_2_1970010100");
}

static void a_sign_type_openssl_has_no_hash_for_is_refused_when_the_plugin_is_opened(void **state)
{
	void *ctx = NULL;

	(void)state;
	sign_type = HW_SIGN_SM3;
	assert_int_equal(open_gateway(&ctx), 0);
	fg_plugin.close(ctx);
	has_no_sm3 = true;
	assert_int_equal(open_gateway(&ctx), -EINVAL);
	assert_non_null(strstr(open_error, "sign_type"));
	has_no_sm3 = false;
	sign_type = HW_SIGN_SHA256_UNCHECKED;
}

static void the_password_is_overwritten_once_the_session_is_up(void **state)
{
	struct fg_connect connect;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(connect.password[i], 0);
	fg_plugin.close(ctx);
}

static bool is_overwritten(const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] != 0)
			return false;
	return true;
}

static void a_sign_in_by_https_is_overwritten_when_it_is_answered_or_mqtt_is_back(void **state)
{
	const struct fg_connect_request request = {.session = "", .now_us = AT_095959};
	struct fg_http_result answer = {.status = 503};
	struct fg_http_sign_in as;
	struct fg_http_call call = {0};
	struct fg_connect connect;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_gateway(&ctx), 0);
	assert_int_equal(fg_plugin.http->sign_in(ctx, &request, &call), 1);
	assert_false(is_overwritten(call.body.data, call.body.size));
	assert_int_equal(fg_plugin.http->signed_in(ctx, "", &answer, &as), -EAGAIN);
	assert_true(is_overwritten(call.body.data, call.body.size));
	/* There is no answer, and then MQTT is back. */
	assert_int_equal(fg_plugin.http->sign_in(ctx, &request, &call), 1);
	begin_session(ctx, &connect);
	assert_true(is_overwritten(call.body.data, call.body.size));
	fg_plugin.close(ctx);
}

static void a_token_is_overwritten_when_its_session_ends(void **state)
{
	const struct fg_connect_request request = {.session = "", .now_us = AT_095959};
	const struct fg_http_result answer = {.status = 200,
					      .body = fg_span_str("{\"access_token\":\"t0k3n\"}")};
	struct fg_message message = telemetry(1, "pump-1", "{\"t\":21.5}");
	uint8_t offer_state = FG_OFFERED;
	struct fg_http_sign_in as = {0};
	struct fg_http_call call = {0};
	const char *token;
	void *ctx = NULL;
	int r;

	(void)state;
	assert_int_equal(open_gateway(&ctx), 0);
	assert_int_equal(fg_plugin.http->sign_in(ctx, &request, &call), 1);
	assert_int_equal(fg_plugin.http->signed_in(ctx, "", &answer, &as), 0);
	carrier = FG_CARRIER_HTTP;
	r = encode(ctx, &message, &offer_state, 1);
	carrier = FG_CARRIER_MQTT;
	assert_int_equal(r, 1);
	token = published.headers[0];
	assert_string_equal(token, "access_token: t0k3n");
	fg_plugin.disconnected(ctx, "");
	assert_true(is_overwritten(token, sizeof("access_token: t0k3n")));
	fg_plugin.close(ctx);
}

/* ------------------------------------------------------------------ up */

static void a_report_names_at_most_100_sub_devices_and_none_is_left(void **state)
{
	static char names[N_DEVICES][32];
	struct fg_message messages[2 * N_DEVICES];
	uint8_t states[2 * N_DEVICES] = {0};
	struct fg_connect connect;
	unsigned n_reports = 0, n_devices = 0, n;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	for (unsigned i = 0; i < 2 * N_DEVICES; i++) {
		snprintf(names[i % N_DEVICES], sizeof(names[0]), "pump-%u", i % N_DEVICES);
		messages[i] = telemetry(i + 1, names[i % N_DEVICES], "{\"t\":21.5}");
	}
	while (encode(ctx, messages, states, 2 * N_DEVICES) == 1) {
		assert_string_equal(topic, REPORT);
		assert_int_equal(published.qos, 1);
		assert_true(published.payload_len <= 65536);
		n = occurrences("\"device_id\"");
		assert_true(n <= 100);
		assert_int_equal(occurrences("\"service_id\""), 2 * n);
		n_devices += n;
		n_reports++;
	}
	assert_int_equal(n_devices, N_DEVICES);
	assert_int_equal(n_reports, 3);
	for (unsigned i = 0; i < 2 * N_DEVICES; i++)
		assert_int_equal(states[i], FG_TAKEN);
	fg_plugin.close(ctx);
}

static void all_sub_devices_are_told_to_be_online_in_each_session(void **state)
{
	static char names[N_DEVICES][32];
	struct fg_message messages[N_DEVICES];
	uint8_t states[N_DEVICES] = {0};
	struct fg_connect connect;
	unsigned n, n_online = 0, before;
	void *ctx = NULL;

	(void)state;
	reports_status = true;
	assert_int_equal(open_gateway(&ctx), 0);
	reports_status = false;
	begin_session(ctx, &connect);
	for (unsigned i = 0; i < N_DEVICES; i++) {
		snprintf(names[i], sizeof(names[0]), "pump-%u", i);
		messages[i] = telemetry(i + 1, names[i], "{\"t\":21.5}");
	}
	for (n = 0; encode(ctx, messages, states, N_DEVICES) == 1; n++)
		n_online += occurrences("\"ONLINE\"");
	assert_int_equal(n, 3 + 3);
	assert_int_equal(n_online, N_DEVICES);
	for (unsigned i = 0; i < N_DEVICES; i++)
		assert_int_equal(states[i], FG_TAKEN);
	before = n_allocations; /* what a device said last takes memory once */
	memset(states, 0, sizeof(states));
	for (unsigned i = 0; i < N_DEVICES; i++)
		messages[i] = telemetry(N_DEVICES + i + 1, names[i], "{\"t\":22.5}");
	for (n = 0; encode(ctx, messages, states, N_DEVICES) == 1; n++)
		assert_int_equal(occurrences("\"ONLINE\""), 0);
	assert_int_equal(n, 3);
	fg_plugin.disconnected(ctx, "");
	begin_session(ctx, &connect);
	for (n = n_online = 0; encode(ctx, NULL, NULL, 0) == 1; n++) {
		assert_true(occurrences("\"ONLINE\"") <= 100);
		n_online += occurrences("\"ONLINE\"");
	}
	assert_int_equal(n, 3);
	assert_int_equal(n_online, N_DEVICES);
	assert_int_equal(n_allocations, before);
	fg_plugin.close(ctx);
}

/* A backlog that is sent after newer messages must not bring back a device that has left. */
static void what_is_older_than_a_departure_does_not_undo_it(void **state)
{
	struct fg_message m[2] = {telemetry(5, "pump-01", "{\"state\":\"down\"}"),
				  telemetry(4, "pump-01", "{\"t\":1}")};
	uint8_t states[2] = {0};
	struct fg_connect connect;
	void *ctx = NULL;

	(void)state;
	m[0].kind = FG_PRESENCE;
	reports_status = true;
	assert_int_equal(open_gateway(&ctx), 0);
	reports_status = false;
	begin_session(ctx, &connect);
	assert_int_equal(encode(ctx, m, states, 1), 1);
	assert_int_equal(occurrences("\"OFFLINE\""), 1);
	assert_int_equal(encode(ctx, m, states, 2), 1);
	assert_string_equal(topic, REPORT);
	assert_int_equal(encode(ctx, m, states, 2), 0);
	m[1].seq = 6;
	states[1] = FG_OFFERED;
	assert_int_equal(encode(ctx, m, states, 2), 1);
	assert_int_equal(occurrences("\"ONLINE\""), 1);
	fg_plugin.close(ctx);
}

static void *open_with_status(void)
{
	struct fg_connect connect;
	void *ctx = NULL;

	reports_status = true;
	assert_int_equal(open_gateway(&ctx), 0);
	reports_status = false;
	begin_session(ctx, &connect);
	return ctx;
}

static struct fg_message presence(uint64_t seq, const char *device, bool is_up)
{
	struct fg_message m =
		telemetry(seq, device, is_up ? "{\"state\":\"up\"}" : "{\"state\":\"down\"}");

	m.kind = FG_PRESENCE;
	return m;
}

static void what_is_no_news_counts_for_what_is_older(void **state)
{
	void *ctx = open_with_status();

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct fg_message m = presence(i == 0 ? 1 : 10 - i, "pump-01", i < 2);
		uint8_t offer = FG_OFFERED;

		assert_int_equal(encode(ctx, &m, &offer, 1), i == 0);
		assert_int_equal(offer, i == 0 ? FG_TAKEN : FG_NOTHING);
	}
	fg_plugin.close(ctx);
}

/* Lanes count apart: a high number in one says nothing of what is older in the other. */
static void what_overtakes_does_not_hide_a_departure_nor_undo_it(void **state)
{
	struct fg_message before = telemetry(300, "pump-01", "{\"t\":1}");
	struct fg_message alarm = telemetry(5000, "pump-01", "{\"t\":2}");
	struct fg_message departure = presence(301, "pump-01", false);
	uint8_t offer = FG_OFFERED;
	void *ctx = open_with_status();

	(void)state;
	assert_int_equal(encode(ctx, &before, &offer, 1), 1); /* it is online */
	assert_int_equal(encode(ctx, &before, &offer, 1), 1);
	offer = FG_OFFERED;
	is_alarm = true;
	assert_int_equal(encode(ctx, &alarm, &offer, 1), 1);
	assert_int_equal(offer, FG_TAKEN);
	offer = FG_OFFERED;
	is_alarm = false;
	assert_int_equal(encode(ctx, &departure, &offer, 1), 1);
	assert_int_equal(occurrences("\"OFFLINE\""), 1);
	offer = FG_OFFERED;
	alarm.seq++;
	is_alarm = true;
	assert_int_equal(encode(ctx, &alarm, &offer, 1), 1);
	is_alarm = false;
	assert_string_equal(topic, REPORT);
	assert_int_equal(offer, FG_TAKEN);
	fg_plugin.close(ctx);
}

static void who_is_heard_of_by_an_alarm_first_is_there(void **state)
{
	struct fg_message alarm = telemetry(5000, "pump-01", "{\"t\":2}");
	uint8_t offer = FG_OFFERED;
	void *ctx = open_with_status();

	(void)state;
	is_alarm = true;
	assert_int_equal(encode(ctx, &alarm, &offer, 1), 1);
	is_alarm = false;
	assert_int_equal(occurrences("\"ONLINE\""), 1);
	fg_plugin.close(ctx);
}

/* Lanes count apart: the same number is another message in another lane. */
static void an_id_stands_for_one_message_whichever_lane_it_was_in(void **state)
{
	struct fg_message text = telemetry(7, "pump-01", "hello");
	struct fg_message event = telemetry(8, "pump-01", "{\"p\":1}");
	void *ctx = NULL;
	struct fg_connect connect;
	uint8_t offer;

	(void)state;
	text.content_type = fg_span_str("text/plain");
	event.kind = FG_EVENT;
	event.ref = fg_span_str("started");
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	for (int i = 0; i < 4; i++) {
		const struct fg_message *m = i < 2 ? &text : &event;

		is_alarm = i % 2 == 1;
		for (int again = 0; again < 2; again++) {
			offer = FG_OFFERED;
			assert_int_equal(encode(ctx, m, &offer, 1), 1);
			assert_int_equal(occurrences("\"id\":\"7\""), i == 0);
			assert_int_equal(occurrences("\"id\":\"a7\""), i == 1);
			assert_int_equal(occurrences("\"event_id\":\"8\""), i == 2);
			assert_int_equal(occurrences("\"event_id\":\"a8\""), i == 3);
		}
	}
	is_alarm = false;
	fg_plugin.close(ctx);
}

static void a_message_costs_no_allocation(void **state)
{
	struct fg_message m = telemetry(1, "pump-01", "{\"t\":21.5,\"s\":\"0001\"}");
	struct fg_connect connect;
	uint8_t offer = FG_OFFERED;
	unsigned before;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1); /* libc reads the time zone once */
	before = n_allocations;
	for (unsigned i = 0; i < 1000; i++) {
		offer = FG_OFFERED;
		assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	}
	assert_int_equal(n_allocations, before);
	fg_plugin.close(ctx);
}

static void every_failing_allocation_of_open_is_reported(void **state)
{
	int r = -ENOMEM;

	(void)state;
	for (long n = 0; r != 0; n++) {
		void *ctx = NULL;

		assert_true(n < 20);
		reports_status = packs = true;
		fail_at = n;
		r = open_gateway(&ctx);
		fail_at = -1;
		reports_status = packs = false;
		assert_true(r == 0 || r == -ENOMEM);
		fg_plugin.close(ctx);
	}
}

/* ------------------------------------------------------------------ down */

static int deliver(void *ctx, const char *request_id, const char *body)
{
	char name[256];
	struct fg_delivery delivery = {.topic = name, .payload = fg_span_str(body), .qos = 1};

	snprintf(name, sizeof(name), "$oc/devices/" GATEWAY "/sys/commands/request_id=%s",
		 request_id);
	return fg_plugin.receive(ctx, "", &delivery);
}

static void of_many_senseless_requests_the_newest_are_answered(void **state)
{
	struct fg_connect connect;
	char id[16], wanted[64];
	unsigned n = 0;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "r%u", i);
		assert_int_equal(deliver(ctx, id, "nonsense"), 0);
	}
	for (; encode(ctx, NULL, NULL, 0) == 1; n++) {
		snprintf(wanted, sizeof(wanted), "/response/request_id=r%u", 68 + n);
		assert_non_null(strstr(topic, wanted));
	}
	assert_int_equal(n, 32);
	assert_int_equal(n_commands, 0);
	fg_plugin.close(ctx);
}

static void an_answer_too_large_for_a_packet_is_an_error(void **state)
{
	static char body[PAYLOAD_SIZE + 64];
	struct fg_message m = telemetry(1, "pump-01", body);
	struct fg_connect connect;
	uint8_t offer = FG_OFFERED;
	void *ctx = NULL;

	(void)state;
	snprintf(body, sizeof(body), "{\"result\":\"%0*d\"}", PAYLOAD_SIZE, 0);
	m.body = fg_span_str(body);
	m.kind = FG_COMMAND_RESPONSE;
	m.ref = fg_span_str("c/r1/START");
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	assert_int_equal(offer, FG_TAKEN);
	assert_int_equal(occurrences("\"result_code\":9"), 1);
	assert_int_equal(occurrences("no_room"), 1);
	fg_plugin.close(ctx);
}

static void an_answer_to_no_request_of_this_cloud_is_refused(void **state)
{
	static const char *const refs[] = {"",     "c",       "c/",      "c//x",    "c/a",
					   "x/a/", "c/a b/x", "c/a/b/c", "g/12/00", "\0/a/b"};
	struct fg_message m = telemetry(1, "pump-01", "{\"result\":1}");
	struct fg_connect connect;
	uint8_t offer;
	void *ctx = NULL;

	(void)state;
	m.kind = FG_COMMAND_RESPONSE;
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
		bool is_good = strcmp(refs[i], "g/12/00") == 0;

		offer = FG_OFFERED;
		m.ref = i + 1 == sizeof(refs) / sizeof(refs[0]) ? fg_span_of("\0/a/b", 5)
								: fg_span_str(refs[i]);
		assert_int_equal(encode(ctx, &m, &offer, 1), is_good);
		assert_int_equal(offer, is_good ? FG_TAKEN : FG_REFUSED);
	}
	fg_plugin.close(ctx);
}

static void of_many_devices_that_ask_for_their_shadow_some_are_told_to_wait(void **state)
{
	struct fg_message m = telemetry(1, "pump-01", "{\"shared\":[\"cfg\"]}");
	struct fg_connect connect;
	uint8_t offer;
	void *ctx = NULL;

	(void)state;
	m.kind = FG_REQUEST;
	m.stream = fg_span_str("attributes");
	m.ref = fg_span_str("r1");
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	n_responses = 0;
	for (unsigned i = 0; i < 32; i++) {
		offer = FG_OFFERED;
		assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	}
	offer = FG_OFFERED;
	assert_int_equal(encode(ctx, &m, &offer, 1), 0);
	assert_int_equal(offer, FG_NOTHING);
	assert_int_equal(n_responses, 1);
	assert_non_null(strstr(response, "busy"));
	for (unsigned s = 0; s < 30; s++)
		fg_plugin.woken(ctx, 0);
	offer = FG_OFFERED;
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	fg_plugin.close(ctx);
}

static void a_shadow_too_large_to_hand_down_is_an_error(void **state)
{
	static char body[128 * 1024];
	struct fg_message m = telemetry(1, "pump-01", "{\"shared\":[\"cfg\"]}");
	char name[256];
	struct fg_delivery delivery = {.topic = name, .qos = 1};
	struct fg_connect connect;
	uint8_t offer = FG_OFFERED;
	void *ctx = NULL;

	(void)state;
	m.kind = FG_REQUEST;
	m.stream = fg_span_str("attributes");
	m.ref = fg_span_str("r1");
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	snprintf(name, sizeof(name), "$oc/devices/" GATEWAY "/sys/shadow/get/response/%s",
		 strstr(topic, "request_id="));
	snprintf(body, sizeof(body),
		 "{\"shadow\":[{\"service_id\":\"cfg\",\"desired\":{\"properties\":{\"a\":\"%0*d\"}"
		 "}}]}",
		 70000, 0);
	delivery.payload = fg_span_str(body);
	assert_int_equal(fg_plugin.receive(ctx, "", &delivery), 0);
	assert_non_null(strstr(response, "no_room"));
	fg_plugin.close(ctx);
}

static void a_message_of_any_bytes_up_to_256_kib_is_handed_down(void **state)
{
	static char body[256 * 1024 + 1];
	struct fg_delivery delivery = {.topic = "$oc/devices/" GATEWAY "/sys/messages/down",
				       .payload = fg_span_of(body, sizeof(body)),
				       .qos = 1};
	struct fg_connect connect;
	static const char fill[] = {(char)0xff, 'x', 1};
	unsigned before_commands, before_warnings;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	for (unsigned i = 0; i < sizeof(fill); i++) {
		before_commands = n_commands;
		before_warnings = n_warnings;
		memset(body, fill[i], sizeof(body));
		delivery.payload.size = sizeof(body) - 1;
		assert_int_equal(fg_plugin.receive(ctx, "", &delivery), 0);
		assert_int_equal(n_commands, before_commands + 1);
		assert_int_equal(n_warnings, before_warnings);
		delivery.payload.size = sizeof(body);
		assert_int_equal(fg_plugin.receive(ctx, "", &delivery), 0);
		assert_int_equal(n_commands, before_commands + 1);
		assert_int_equal(n_warnings, before_warnings + 1);
	}
	fg_plugin.close(ctx);
}

/* What is escaped may be six times what it says: IoTDA's limit is for what is sent. */
static void a_text_that_is_too_large_once_it_is_escaped_is_refused(void **state)
{
	static char large[2 * 1024 * 1024], body[(1024 * 1024 - 100) / 6 + 1];
	struct fg_message m = telemetry(1, "pump-01", "");
	uint8_t taken = FG_OFFERED;
	struct fg_batch batch = {.messages = &m, .states = &taken, .count = 1, .max_take = 1};
	struct fg_publish out = {.topic = topic,
				 .topic_size = sizeof(topic),
				 .payload = large,
				 .payload_size = sizeof(large)};
	struct fg_connect connect;
	void *ctx = NULL;

	(void)state;
	m.content_type = fg_span_str("text/plain");
	m.body = fg_span_of(body, sizeof(body) - 1);
	memset(body, 1, sizeof(body));
	assert_int_equal(open_gateway(&ctx), 0);
	begin_session(ctx, &connect);
	assert_int_equal(fg_plugin.encode(ctx, "", &batch, &out), 1);
	assert_in_range(out.payload_len, 1024 * 1024 - 100, 1024 * 1024);
	taken = FG_OFFERED;
	m.stream = fg_span_str("a stream with a name so long that not even its letters have room "
			       "beside this text, "
			       "nor has anything else");
	assert_int_equal(fg_plugin.encode(ctx, "", &batch, &out), 0);
	assert_int_equal(taken, FG_REFUSED);
	fg_plugin.close(ctx);
}

static void packing_a_report_costs_no_allocation(void **state)
{
	static char body[2000];
	struct fg_message m = telemetry(1, "pump-01", body);
	struct fg_connect connect;
	unsigned before = 0;
	uint8_t offer;
	void *ctx = NULL;

	(void)state;
	snprintf(body, sizeof(body), "{\"text\":\"%01900d\"}", 0);
	m.body = fg_span_str(body);
	packs = true;
	assert_int_equal(open_gateway(&ctx), 0);
	packs = false;
	begin_session(ctx, &connect);
	for (unsigned i = 0; i < 100; i++) {
		offer = FG_OFFERED;
		assert_int_equal(encode(ctx, &m, &offer, 1), 1);
		assert_non_null(strstr(topic, "report?encoding=gzip"));
		assert_true(published.payload_len < 300);
		if (i == 0)
			before = n_allocations;
	}
	assert_int_equal(n_allocations, before);
	fg_plugin.close(ctx);
}

/* Bytes that have nothing in common. */
static void fill_with_noise(char *out, size_t size)
{
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < size; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		out[i] = (char)(x >> 32);
	}
}

static void what_packing_makes_larger_has_no_packed_form(void **state)
{
	struct hw_gzip *gzip = NULL;
	char plain[1000], out[1000], again[1000];
	size_t packed_size, size = 0;

	(void)state;
	assert_int_equal(hw_gzip_open(&gzip), 0);
	fill_with_noise(plain, sizeof(plain));
	assert_int_equal(hw_gzip_pack(gzip, fg_span_of(plain, sizeof(plain)), out, sizeof(out)), 0);
	/* It can be used on after that. */
	memset(plain, 'x', sizeof(plain));
	packed_size = hw_gzip_pack(gzip, fg_span_of(plain, sizeof(plain)), out, sizeof(out));
	assert_in_range(packed_size, 20, 60);
	assert_int_equal(hw_gzip_unpack(fg_span_of(out, packed_size), again, sizeof(again), &size),
			 0);
	assert_int_equal(size, sizeof(plain));
	assert_memory_equal(again, plain, size);
	hw_gzip_close(gzip);
}

static void what_comes_packed_is_bounded_and_whole(void **state)
{
	static char plain[MAX_PLAIN + 1], out[MAX_PLAIN], bomb[8192];
	struct hw_gzip *gzip = NULL;
	size_t packed_size, size = 0;

	(void)state;
	assert_int_equal(hw_gzip_open(&gzip), 0);
	packed_size = hw_gzip_pack(gzip, fg_span_of(plain, sizeof(plain)), bomb, sizeof(bomb));
	assert_true(packed_size > 0);
	assert_int_equal(hw_gzip_unpack(fg_span_of(bomb, packed_size), out, sizeof(out), &size),
			 -EMSGSIZE);
	packed_size = hw_gzip_pack(gzip, fg_span_of(plain, sizeof(out)), bomb, sizeof(bomb));
	assert_int_equal(hw_gzip_unpack(fg_span_of(bomb, packed_size), out, sizeof(out), &size), 0);
	assert_int_equal(size, sizeof(out));
	packed_size = hw_gzip_pack(gzip, fg_span_str("hello"), bomb, sizeof(bomb));
	for (size_t cut = 0; cut < packed_size; cut++)
		assert_int_equal(hw_gzip_unpack(fg_span_of(bomb, cut), out, sizeof(out), &size),
				 -EPROTO);
	/* A bit fell over; something stands behind it; no memory. */
	for (size_t i = 10; i < packed_size; i++) {
		bomb[i] ^= 1;
		assert_int_not_equal(
			hw_gzip_unpack(fg_span_of(bomb, packed_size), out, sizeof(out), &size), 0);
		bomb[i] ^= 1;
	}
	assert_int_equal(hw_gzip_unpack(fg_span_of(bomb, packed_size + 1), out, sizeof(out), &size),
			 -EPROTO);
	fail_at = 0;
	assert_int_equal(hw_gzip_unpack(fg_span_of(bomb, packed_size), out, sizeof(out), &size),
			 -ENOMEM);
	fail_at = -1;
	hw_gzip_close(gzip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hour_is_that_of_utc_in_every_time_zone),
		cmocka_unit_test(key_and_message_are_not_swapped),
		cmocka_unit_test(a_digest_is_bytes_and_none_of_them_ends_it),
		cmocka_unit_test(a_clock_that_has_no_such_hour_makes_no_password),
		cmocka_unit_test(the_longest_device_id_fits_and_a_longer_one_is_refused),
		cmocka_unit_test(
			a_sign_type_openssl_has_no_hash_for_is_refused_when_the_plugin_is_opened),
		cmocka_unit_test(the_password_is_overwritten_once_the_session_is_up),
		cmocka_unit_test(
			a_sign_in_by_https_is_overwritten_when_it_is_answered_or_mqtt_is_back),
		cmocka_unit_test(a_token_is_overwritten_when_its_session_ends),
		cmocka_unit_test(a_report_names_at_most_100_sub_devices_and_none_is_left),
		cmocka_unit_test(all_sub_devices_are_told_to_be_online_in_each_session),
		cmocka_unit_test(what_is_older_than_a_departure_does_not_undo_it),
		cmocka_unit_test(what_is_no_news_counts_for_what_is_older),
		cmocka_unit_test(what_overtakes_does_not_hide_a_departure_nor_undo_it),
		cmocka_unit_test(who_is_heard_of_by_an_alarm_first_is_there),
		cmocka_unit_test(an_id_stands_for_one_message_whichever_lane_it_was_in),
		cmocka_unit_test(a_message_costs_no_allocation),
		cmocka_unit_test(packing_a_report_costs_no_allocation),
		cmocka_unit_test(what_packing_makes_larger_has_no_packed_form),
		cmocka_unit_test(what_comes_packed_is_bounded_and_whole),
		cmocka_unit_test(every_failing_allocation_of_open_is_reported),
		cmocka_unit_test(of_many_senseless_requests_the_newest_are_answered),
		cmocka_unit_test(an_answer_too_large_for_a_packet_is_an_error),
		cmocka_unit_test(an_answer_to_no_request_of_this_cloud_is_refused),
		cmocka_unit_test(of_many_devices_that_ask_for_their_shadow_some_are_told_to_wait),
		cmocka_unit_test(a_shadow_too_large_to_hand_down_is_an_error),
		cmocka_unit_test(a_message_of_any_bytes_up_to_256_kib_is_handed_down),
		cmocka_unit_test(a_text_that_is_too_large_once_it_is_escaped_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
