/*
 * What the Huawei plugin keeps of IoTDA's list of sub-devices over a restart, beyond what cases as data
 * (tests/vectors/huawei/topology.json) can show: what else may stand on the disk, and a host without room.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "huawei/huawei.h"
#include "quiet_host.h"

extern const struct fg_plugin fg_plugin;

static const char *stored; /* NULL: nothing */
static char kept[256];
static unsigned n_kept;
static int remember_result;

static int recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	(void)host_ctx;
	if (!stored || strcmp(key, "list") != 0)
		return -ENOENT;
	*ret = fg_span_str(stored);
	return 0;
}

static int remember(void *host_ctx, const char *key, struct fg_span value)
{
	(void)host_ctx;
	assert_string_equal(key, "list");
	snprintf(kept, sizeof(kept), "%.*s", FG_SPAN_ARGS(value));
	n_kept++;
	return remember_result;
}

static int unmute(void *host_ctx, struct fg_span device)
{
	(void)host_ctx;
	(void)device;
	return 0;
}

static struct hw *open_plugin(void)
{
	static struct fg_host host;
	struct fg_value values[32] = {0};
	struct fg_open with = {
		.values = values, .host = &host, .link_name = "x", .gateway_name = "y"};
	struct fg_connack connack = {.mqtt_version = 4};
	const struct fg_option *option = fg_plugin.options;
	char error[256];
	void *ctx = NULL;

	host = quiet_host;
	host.recall = recall;
	host.remember = remember;
	host.unmute = unmute;
	for (size_t i = 0; option[i].name; i++) {
		values[i].string = option[i].type == FG_OPTION_STRING ? option[i].fallback : NULL;
		if (strcmp(option[i].name, "device_id") == 0)
			values[i].string = "gw1";
		else if (strcmp(option[i].name, "secret") == 0)
			values[i].string = "s";
		else if (strcmp(option[i].name, "sync") == 0)
			values[i].number = 1;
		else if (strcmp(option[i].name, "max_devices") == 0)
			values[i].number = 10;
		values[i].is_set = values[i].string != NULL;
	}
	n_warnings = n_kept = 0;
	kept[0] = 0;
	if (fg_plugin.open(&with, &ctx, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	fg_plugin.connected(ctx, "", &connack);
	return ctx;
}

/* IoTDA answers with a list of that version. */
static void list_comes(struct hw *hw, unsigned version)
{
	static char topic[320], payload[65536];
	char text[512];
	struct fg_batch batch = {.now_us = 1};
	struct fg_publish publish = {.topic = topic,
				     .topic_size = sizeof(topic),
				     .payload = payload,
				     .payload_size = sizeof(payload)};
	struct fg_delivery delivery = {.topic = "$oc/devices/gw1/sys/events/down", .qos = 1};

	while (fg_plugin.encode(hw, "", &batch, &publish) == 1)
		;
	snprintf(text, sizeof(text),
		 "{\"services\":[{\"service_id\":\"$sub_device_manager\","
		 "\"event_type\":\"add_sub_device_notify\",\"paras\":{\"devices\":[{"
		 "\"device_id\":\"p1_pump-01\",\"node_id\":\"pump-01\"}],\"version\":%u}}]}",
		 version);
	delivery.payload = fg_span_str(text);
	assert_int_equal(fg_plugin.receive(hw, "", &delivery), 0);
}

static void seconds_pass(struct hw *hw, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fg_plugin.woken(hw, 1);
}

static void what_is_no_version_of_this_gateway_s_list_is_none(void **state)
{
	static const char *const texts[] = {
		"", "8", "8 ", "8 gw2", "gw1", "8 gw1x", "{\"a\":true}", "8\ngw1", "x gw1", " gw1"};
	static char long_text[4096];
	struct hw *hw;

	(void)state;
	memset(long_text, '7', sizeof(long_text) - 1);
	for (size_t i = 0; i <= sizeof(texts) / sizeof(texts[0]); i++) {
		stored = i < sizeof(texts) / sizeof(texts[0]) ? texts[i] : long_text;
		hw = open_plugin();
		list_comes(hw, 9);
		assert_false(hw->topology.is_changes_due);
		seconds_pass(hw, 10);
		assert_string_equal(kept, "9 gw1");
		fg_plugin.close(hw);
	}
	stored = "8 gw1";
	hw = open_plugin();
	list_comes(hw, 9);
	assert_true(hw->topology.is_changes_due);
	fg_plugin.close(hw);
}

static void a_version_is_written_when_it_changes_and_not_with_each_notice(void **state)
{
	struct hw *hw;

	(void)state;
	stored = NULL;
	hw = open_plugin();
	list_comes(hw, 8);
	assert_int_equal(n_kept, 0); /* nothing that a PUBACK would have to wait for */
	seconds_pass(hw, 60);
	list_comes(hw, 8);
	seconds_pass(hw, 60);
	assert_int_equal(n_kept, 1);
	for (unsigned version = 9; version < 50; version++)
		list_comes(hw, version);
	seconds_pass(hw, 60);
	assert_int_equal(n_kept, 2);
	assert_string_equal(kept, "49 gw1");
	fg_plugin.close(hw);
}

static void a_host_that_cannot_keep_a_version_is_asked_once_and_the_operator_told(void **state)
{
	struct hw *hw;

	(void)state;
	stored = NULL;
	remember_result = -EMSGSIZE;
	hw = open_plugin();
	list_comes(hw, 8);
	seconds_pass(hw, 60);
	assert_int_equal(n_kept, 1);
	assert_int_equal(n_warnings, 1);
	remember_result = 0;
	fg_plugin.close(hw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_version_of_this_gateway_s_list_is_none),
		cmocka_unit_test(a_version_is_written_when_it_changes_and_not_with_each_notice),
		cmocka_unit_test(
			a_host_that_cannot_keep_a_version_is_asked_once_and_the_operator_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
