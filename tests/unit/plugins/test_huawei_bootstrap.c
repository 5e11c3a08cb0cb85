/*
 * What cases as data (tests/vectors/huawei/bootstrap.json) cannot show of a bootstrap: secrets with any
 * bytes in them, what stays in memory, and a configuration that is another one after a restart.
 */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "huawei/huawei.h"

#define DEVICE "edge-gw-0042"
#define GROUP_SECRET "Z3JvdXAtc2VjcmV0LWRlbW8tMDE="
#define DERIVED "285196b30d7c96825d8c587bc4bc486d77af9c62dca1c98fd0c6d5987b26c32e"
#define ADDRESS "iotda.example.com:8883"

extern const struct fg_plugin fg_plugin;

/* ------------------------------------------------------------------ what is left in memory */

static const char *sought; /* in what is freed; NULL: nothing */
static unsigned n_found;

void __real_free(void *memory);
void __wrap_free(void *memory);

void __wrap_free(void *memory)
{
	if (sought && memory && memmem(memory, malloc_usable_size(memory), sought, strlen(sought)))
		n_found++;
	__real_free(memory);
}

/* ------------------------------------------------------------------ a host */

static char wanted[4096], remembered[4096];
static size_t wanted_size, remembered_size;
static unsigned n_reconnects, n_warnings;

static void warn(void *host_ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(void *host_ctx, const char *format, ...)
{
	(void)host_ctx;
	(void)format;
	n_warnings++;
}

static int subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	(void)host_ctx;
	(void)session;
	(void)filter;
	(void)qos;
	return 0;
}

static void wake(void *host_ctx, int64_t in_ms)
{
	(void)host_ctx;
	(void)in_ms;
}

static void reconnect(void *host_ctx, const char *session, const char *why)
{
	(void)host_ctx;
	assert_string_equal(session, "");
	assert_non_null(why);
	n_reconnects++;
}

static void limit(void *host_ctx, unsigned scope, enum fg_limit what, const struct fg_rate *rates,
		  size_t n)
{
	(void)host_ctx;
	(void)scope;
	(void)what;
	(void)rates;
	(void)n;
}

static int remember_result;

static int remember(void *host_ctx, const char *key, struct fg_span value)
{
	(void)host_ctx;
	assert_string_equal(key, "bootstrap");
	assert_true(value.size <= sizeof(wanted));
	if (remember_result < 0)
		return remember_result;
	memcpy(wanted, value.data, value.size);
	wanted_size = value.size;
	return 0;
}

static void is_on_disk(void *ctx)
{
	memcpy(remembered, wanted, wanted_size);
	remembered_size = wanted_size;
	fg_plugin.remembered(ctx, "bootstrap", 0);
}

static int recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	(void)host_ctx;
	(void)key;
	if (remembered_size == 0)
		return -ENOENT;
	*ret = fg_span_of(remembered, remembered_size);
	return 0;
}

static const struct fg_host host = {
	.size = sizeof(struct fg_host),
	.warn = warn,
	.subscribe = subscribe,
	.wake = wake,
	.reconnect = reconnect,
	.limit = limit,
	.remember = remember,
	.recall = recall,
};

static int setup(void **state)
{
	(void)state;
	remembered_size = 0;
	n_reconnects = n_warnings = n_found = 0;
	remember_result = 0;
	return 0;
}

/* ------------------------------------------------------------------ the plugin */

struct config {
	const char *device_id, *secret, *scope_id, *group_secret, *host_name;
	bool has_certificate;
};

static const struct config of_group = {
	.device_id = DEVICE,
	.scope_id = "9c41d07be2aa",
	.group_secret = GROUP_SECRET,
	.host_name = "iot-bs.example.com",
};

static void *opened(const struct config *c)
{
	struct fg_value values[64] = {0};
	const struct fg_open with = {.values = values,
				     .host = &host,
				     .link_name = "x",
				     .gateway_name = "y",
				     .has_client_certificate = c->has_certificate,
				     .host_name = c->host_name};
	const struct {
		const char *name, *string;
	} given[] = {
		{"device_id", c->device_id},
		{"secret", c->secret},
		{"scope_id", c->scope_id},
		{"group_secret", c->group_secret},
	};
	const struct fg_option *option = fg_plugin.options;
	char error[256] = "";
	void *ctx = NULL;

	for (size_t i = 0; option[i].name; i++) {
		if (option[i].type == FG_OPTION_STRING)
			values[i].string = option[i].fallback;
		else if (option[i].type == FG_OPTION_INTEGER ||
			 option[i].type == FG_OPTION_DURATION)
			values[i].number = 5000;
		if (strcmp(option[i].name, "bootstrap") == 0)
			values[i].number = 1;
		for (size_t k = 0; k < sizeof(given) / sizeof(given[0]); k++)
			if (strcmp(option[i].name, given[k].name) == 0)
				values[i].string = given[k].string;
	}
	if (fg_plugin.open(&with, &ctx, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return ctx;
}

static struct fg_connect connect_of(void *ctx)
{
	const struct fg_connect_request request = {
		.session = "", .now_us = INT64_C(1782909000000000), .mqtt_version = 4};
	struct fg_connect connect = {0};

	assert_int_equal(fg_plugin.connect(ctx, &request, &connect), 0);
	return connect;
}

static int deliver(void *ctx, const char *topic, const char *payload)
{
	const struct fg_delivery delivery = {.topic = topic, .payload = fg_span_str(payload)};

	return fg_plugin.receive(ctx, "", &delivery);
}

static int answer(void *ctx, const char *payload)
{
	return deliver(ctx, "$oc/devices/" DEVICE "/sys/bootstrap/down", payload);
}

/* Connects and asks. */
static void ask(void *ctx)
{
	const struct fg_connack connack = {.mqtt_version = 4};
	char topic[256], payload[256];
	struct fg_batch batch = {.max_take = 1};
	struct fg_publish out = {.topic = topic,
				 .topic_size = sizeof(topic),
				 .payload = payload,
				 .payload_size = sizeof(payload)};

	assert_true(connect_of(ctx).is_setup);
	fg_plugin.connected(ctx, "", &connack);
	assert_int_equal(fg_plugin.encode(ctx, "", &batch, &out), 1);
	assert_string_equal(topic, "$oc/devices/" DEVICE "/sys/bootstrap/up");
}

static void bootstrap(const struct config *c, const char *payload)
{
	void *ctx = opened(c);

	ask(ctx);
	assert_int_equal(answer(ctx, payload), 0);
	is_on_disk(ctx);
	assert_int_equal(n_reconnects, 1);
	assert_string_equal(connect_of(ctx).address, ADDRESS);
	fg_plugin.close(ctx);
}

/* ------------------------------------------------------------------ a group's secret */

static void a_secret_is_derived_from_the_bytes_and_not_from_their_base64(void **state)
{
	char derived[HW_HMAC_SIZE];

	(void)state;
	assert_int_equal(hw_group_derive(DEVICE, GROUP_SECRET, derived), 0);
	assert_string_equal(derived, DERIVED);
}

static void the_bytes_of_a_secret_may_be_any(void **state)
{
	static const struct {
		const char *base64, *bytes;
		size_t size;
	} cases[] = {
		/* RFC 4648, 10 */
		{"Zg==", "f", 1},
		{"Zm8=", "fo", 2},
		{"Zm9v", "foo", 3},
		{"Zm9vYg==", "foob", 4},
		{"Zm9vYmE=", "fooba", 5},
		{"Zm9vYmFy", "foobar", 6},
		{"AA==", "\0", 1},
		{"AAAA", "\0\0\0", 3},
		{"/////w==", "\xff\xff\xff\xff", 4},
		{"+/8AZQ==", "\xfb\xff\0e", 4},
	};
	char derived[HW_HMAC_SIZE], expected[HW_HMAC_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(hw_group_derive(DEVICE, cases[i].base64, derived), 0);
		assert_int_equal(hw_hmac("SHA256", fg_span_str(DEVICE),
					 fg_span_of(cases[i].bytes, cases[i].size), expected),
				 0);
		assert_string_equal(derived, expected);
	}
}

static void what_is_no_base64_is_refused(void **state)
{
	static const char *const bad[] = {
		"",       "Z",        "Zg",       "Zg=",      "Zg===",   "Zh==",  "Zm9=",
		"Z===",   "====",     "Zg==Zg==", "Zm8=Zm9v", "Zm 9v",   " Zm9v", "Zm9v ",
		"Zm9v\n", "Zm9v\r\n", "Zm9-",     "Zm9_",     "Zm9\xc3", "=g==",  "Z=g=",
	};
	char derived[HW_HMAC_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (hw_group_derive(DEVICE, bad[i], derived) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
}

static void a_secret_has_at_most_256_bytes(void **state)
{
	char text[4 * 87 + 1], derived[HW_HMAC_SIZE];

	(void)state;
	memset(text, 'A', sizeof(text) - 1);
	text[4 * 86] = 0;
	assert_int_equal(hw_group_derive(DEVICE, text, derived), -EINVAL); /* 258 */
	memcpy(text + 4 * 85, "AAA=", 4);
	assert_int_equal(hw_group_derive(DEVICE, text, derived), -EINVAL); /* 257 */
	memcpy(text + 4 * 85, "AA==", 4);
	assert_int_equal(hw_group_derive(DEVICE, text, derived), 0);
	memset(text, 'A', sizeof(text) - 1);
	text[4 * 87] = 0;
	assert_int_equal(hw_group_derive(DEVICE, text, derived), -EINVAL);
}

/* ------------------------------------------------------------------ what is remembered */

static void what_is_remembered_holds_for_the_configuration_it_was_got_with(void **state)
{
	struct config others[] = {of_group, of_group, of_group, of_group, of_group, of_group};
	void *ctx;

	(void)state;
	bootstrap(&of_group, "{\"address\":\"" ADDRESS "\"}");
	others[0].host_name = "iot-bs.example.org";
	others[1].device_id = "edge-gw-0043";
	others[2].scope_id = "9c41d07be2ab";
	others[3].group_secret = "YW5vdGhlciBzZWNyZXQ=";
	others[4].group_secret = NULL;
	others[4].has_certificate = true;
	others[5].scope_id = others[5].group_secret = NULL;
	others[5].secret = GROUP_SECRET;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		ctx = opened(&others[i]);
		if (!connect_of(ctx).is_setup)
			fail_msg("configuration %zu uses what another one has got", i);
		fg_plugin.close(ctx);
	}
	ctx = opened(&of_group);
	assert_string_equal(connect_of(ctx).address, ADDRESS);
	fg_plugin.close(ctx);
}

static void a_file_that_says_something_else_is_none(void **state)
{
	static const char *const texts[] = {"",
					    "{",
					    "[]",
					    "{}",
					    "{\"for\":\"x\",\"address\":\"" ADDRESS
					    "\",\"secret\":\"\"}",
					    "{\"address\":\"" ADDRESS "\",\"secret\":\"\"}"};
	void *ctx;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		remembered_size = strlen(texts[i]);
		memcpy(remembered, texts[i], remembered_size);
		ctx = opened(&of_group);
		assert_true(connect_of(ctx).is_setup);
		fg_plugin.close(ctx);
	}
}

static void another_value_on_disk_is_none_of_its_business(void **state)
{
	void *ctx = opened(&of_group);

	(void)state;
	ask(ctx);
	assert_int_equal(answer(ctx, "{\"address\":\"" ADDRESS "\"}"), 0);
	fg_plugin.remembered(ctx, "topology", 0);
	assert_int_equal(n_reconnects, 0);
	is_on_disk(ctx);
	assert_int_equal(n_reconnects, 1);
	fg_plugin.close(ctx);
}

static void the_same_answer_as_before_is_on_disk_already(void **state)
{
	void *ctx;

	(void)state;
	bootstrap(&of_group, "{\"address\":\"" ADDRESS "\"}");
	ctx = opened(&of_group);
	for (unsigned i = 0; i < 10; i++)
		assert_false(connect_of(ctx).is_setup);
	ask(ctx);
	n_reconnects = 0;
	assert_int_equal(answer(ctx, "{\"address\":\"" ADDRESS "\"}"), 0);
	assert_int_equal(n_reconnects, 1);
	assert_string_equal(connect_of(ctx).address, ADDRESS);
	fg_plugin.close(ctx);
}

/* IoTDA's wish for another bootstrap is still being written when the answer has come. */
static void an_answer_counts_when_it_is_on_disk_and_not_when_what_was_before_it_is(void **state)
{
	const struct fg_connack connack = {.mqtt_version = 4};
	char wish[sizeof(wanted)];
	size_t wish_size;
	void *ctx;

	(void)state;
	bootstrap(&of_group, "{\"address\":\"" ADDRESS "\"}");
	ctx = opened(&of_group);
	connect_of(ctx);
	fg_plugin.connected(ctx, "", &connack);
	assert_int_equal(deliver(ctx, "$oc/devices/" DEVICE "/sys/messages/down",
				 "{\"content\":\"BootstrapRequestTrigger\"}"),
			 0);
	fg_plugin.disconnected(ctx, "");
	n_reconnects = 0;
	memcpy(wish, wanted, wanted_size);
	wish_size = wanted_size;
	ask(ctx);
	assert_int_equal(answer(ctx, "{\"address\":\"another.example.com:8883\"}"), 0);
	assert_true(wanted_size != wish_size || memcmp(wanted, wish, wanted_size) != 0);

	memcpy(remembered, wish, wish_size);
	remembered_size = wish_size;
	fg_plugin.remembered(ctx, "bootstrap", 0);
	assert_int_equal(n_reconnects, 0);
	is_on_disk(ctx);
	assert_int_equal(n_reconnects, 1);
	assert_string_equal(connect_of(ctx).address, "another.example.com:8883");
	fg_plugin.close(ctx);
}

static void what_the_host_cannot_keep_is_not_used(void **state)
{
	void *ctx = opened(&of_group);

	(void)state;
	ask(ctx);
	remember_result = -EMSGSIZE;
	assert_int_equal(answer(ctx, "{\"address\":\"" ADDRESS "\"}"), 0);
	assert_int_equal(n_warnings, 1);
	remember_result = 0;
	assert_true(connect_of(ctx).is_setup);
	fg_plugin.close(ctx);
}

/* ------------------------------------------------------------------ what stays in memory */

static void no_secret_is_left_behind(void **state)
{
	static const char *const secrets[] = {DERIVED, "given-s3cr3t-01"};

	(void)state;
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		sought = secrets[i];
		n_reconnects = n_found = 0;
		remembered_size = 0;
		bootstrap(&of_group, i == 0 ? "{\"address\":\"" ADDRESS "\"}"
					    : "{\"address\":\"" ADDRESS
					      "\",\"deviceSecret\":\"given-s3cr3t-01\"}");
		sought = NULL;
		assert_non_null(
			memmem(remembered, remembered_size, secrets[i], strlen(secrets[i])));
		assert_int_equal(n_found, 0);
	}
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_secret_is_derived_from_the_bytes_and_not_from_their_base64),
		TEST(the_bytes_of_a_secret_may_be_any),
		TEST(what_is_no_base64_is_refused),
		TEST(a_secret_has_at_most_256_bytes),
		TEST(what_is_remembered_holds_for_the_configuration_it_was_got_with),
		TEST(a_file_that_says_something_else_is_none),
		TEST(another_value_on_disk_is_none_of_its_business),
		TEST(the_same_answer_as_before_is_on_disk_already),
		TEST(an_answer_counts_when_it_is_on_disk_and_not_when_what_was_before_it_is),
		TEST(what_the_host_cannot_keep_is_not_used),
		TEST(no_secret_is_left_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
