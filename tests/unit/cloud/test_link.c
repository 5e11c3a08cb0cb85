#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../util/captured.h"
#include "link_frame.h"
#include "util/backoff.h"
#include "util/log.h"

/* What the gateway is asked, and what it says. */
static struct {
	unsigned n_commands;
	char device[64], id[64];
	int64_t timeout_ms;
	int result;
} desk;

static int to_desk(void *arg, const char *link, const struct fg_command *command,
		   uint64_t *ret_ticket)
{
	struct fg_message note = {.kind = FG_NOTE_FIRST, .device = command->device};
	uint64_t seq;

	assert_ptr_equal(arg, &desk);
	assert_string_equal(link, "cloud");
	desk.n_commands++;
	snprintf(desk.device, sizeof(desk.device), "%.*s", (int)command->device.size,
		 command->device.data);
	snprintf(desk.id, sizeof(desk.id), "%.*s", (int)command->id.size, command->id.data);
	desk.timeout_ms = command->timeout_ms;
	if (desk.result < 0)
		return desk.result;
	assert_int_equal(fg_journal_append(&journal, FG_LANE_ALARM, &note, &seq), 0);
	*ret_ticket = fg_journal_ticket(&journal);
	return 0;
}

/* It fails at once, or is there already: the link is told before the plugin knows that it has begun. */
static int to_images(void *arg, const char *link, const struct fg_image *image, uint64_t *ret_have)
{
	const struct fg_image_progress progress = {
		.device = image->device,
		.kind = image->kind,
		.state = FG_IMAGE_FAILED,
		.error = "there is no room",
	};

	assert_ptr_equal(arg, &desk);
	assert_string_equal(link, "cloud");
	fg_link_image_progress(link_, &progress);
	*ret_have = 0;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	link_frame_begin();
	memset(&desk, 0, sizeof(desk));
	options.downlink = (struct fg_link_downlink){
		.command = to_desk, .image_begin = to_images, .arg = &desk};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	link_frame_end();
	return 0;
}

/* As the real client does it: acknowledgements, then after_read. */
static void acked(size_t i, unsigned code)
{
	fake_mqtt_puback(fake_mqtt.publishes[i].packet_id, code);
	fake_mqtt_after_read();
}

static void online(void)
{
	make();
	fg_link_start(link_);
	fake_mqtt_connect(65535, 0);
	assert_state(FG_LINK_ONLINE);
}

static void draining(void)
{
	add("s", 1);
	script.renew_after_us = 10 * 1000000;
	online();
	assert_int_equal(fake_mqtt.n_publishes, 1);
	fake_time_pass(11000);
	assert_state(FG_LINK_DRAINING);
}

static void backing_off(void)
{
	make();
	fg_link_start(link_);
	fake_mqtt_end(FG_MQTT_END_UNREACHABLE, 0);
	assert_state(FG_LINK_BACKOFF);
}

/* ---- STOPPED */

static void a_new_link_is_stopped_and_connects_nothing(void **state)
{
	(void)state;
	add("s", 1);
	make();
	assert_state(FG_LINK_STOPPED);
	new_data("s", 1);
	fake_time_pass(100000);
	assert_state(FG_LINK_STOPPED);
	assert_int_equal(fake_mqtt.n_made, 0);
	assert_string_equal(journal.cursor.name, "cloud");
	assert_int_equal(journal.cursor.max_unsaved, 10000);
	assert_string_equal(fg_link_name(link_), "cloud");
	stop();
	assert_int_equal(n_stopped, 1);
}

static void a_link_that_cannot_be_opened_leaves_nothing_behind(void **state)
{
	struct fg_error err = {0};

	(void)state;
	script_next = NULL;
	assert_int_equal(fg_link_new(&options, &link_, &err), -EINVAL);
	assert_string_equal(err.text, "plugin script: no script");
	assert_int_equal(fg_link_check(&options, &err), -EINVAL);
	script_next = &script;
	assert_int_equal(fg_link_check(&options, &err), 0);
	assert_int_equal(script.n_closed, 1);
	journal.cursor.is_open = true;
	assert_int_equal(fg_link_new(&options, &link_, &err), -EEXIST);
	journal.cursor.is_open = false;
	assert_int_equal(script.n_closed, 2);
	config.url.is_tls = true;
	config.tls.ca = (char *)"/nonexistent/ca.pem";
	assert_int_equal(fg_link_check(&options, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/nonexistent/ca.pem"));
	assert_null(link_);
}

/* ---- CONNECTING */

static void connecting_uses_what_the_plugin_says(void **state)
{
	(void)state;
	make();
	fg_link_start(link_);
	fg_link_start(link_);
	assert_state(FG_LINK_CONNECTING);
	assert_int_equal(fake_mqtt.n_made, 1);
	assert_string_equal(fake_mqtt.host, "cloud.example");
	assert_string_equal(fake_mqtt.client_id, "fieldgate-plant7-cloud");
	assert_string_equal(fake_mqtt.username, "user");
	assert_int_equal(fake_mqtt.params.keep_alive_s, 60);
	assert_int_equal(fake_mqtt.params.mqtt_version, 5);
	assert_true(fake_mqtt.params.clean_start);
	assert_false(fake_mqtt.params.holds_writes);
	assert_int_equal(script.last_request.attempt, 0);
	assert_int_equal(script.last_request.now_us, fake_utc_us);
}

static void an_attempt_goes_where_the_plugin_says(void **state)
{
	struct captured log;

	(void)state;
	make();
	assert_null(stats().address);
	script.address = "other.example:8884";
	fg_link_start(link_);
	assert_string_equal(fake_mqtt.host, "other.example");
	assert_int_equal(fake_mqtt.params.port, 8884);
	fg_log_open(FG_LOG_STDERR, LOG_NOTICE);
	captured_begin(&log);
	fake_mqtt_connect(65535, 0);
	captured_end(&log);
	fg_log_open(FG_LOG_STDERR, LOG_ERR);
	assert_non_null(strstr(log.text, "connected to other.example:8884"));
	assert_string_equal(stats().address->host, "other.example");
	assert_int_equal(stats().address->port, 8884);

	script.address = NULL;
	script.host->reconnect(script.host_ctx, "", "somewhere else");
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_string_equal(fake_mqtt.host, "cloud.example");
	assert_int_equal(fake_mqtt.params.port, 1883);
}

/* What one server speaks says nothing of another one. */
static void an_address_may_speak_another_version_than_the_url(void **state)
{
	(void)state;
	online();
	assert_int_equal(fake_mqtt.params.mqtt_version, 5);
	script.address = "other.example:8884";
	script.host->reconnect(script.host_ctx, "", "somewhere else");
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(fake_mqtt.params.mqtt_version, 5);
	fake_mqtt_end(FG_MQTT_END_SILENT, 0);
	fake_time_pass(60000);
	assert_string_equal(fake_mqtt.host, "other.example");
	assert_int_equal(fake_mqtt.params.mqtt_version, 4);
}

static void an_address_that_is_none_is_a_failed_attempt(void **state)
{
	struct captured log;

	(void)state;
	make();
	script.address = "other.example";
	fg_log_open(FG_LOG_STDERR, LOG_NOTICE);
	captured_begin(&log);
	fg_link_start(link_);
	captured_end(&log);
	fg_log_open(FG_LOG_STDERR, LOG_ERR);
	assert_state(FG_LINK_BACKOFF);
	assert_int_equal(fake_mqtt.n_made, 0);
	assert_non_null(strstr(log.text, "no address to connect to: \"other.example\""));
	script.address = NULL;
	fake_time_pass(1000);
	assert_string_equal(fake_mqtt.host, "cloud.example");
}

static void nothing_is_sent_while_connecting(void **state)
{
	(void)state;
	make();
	fg_link_start(link_);
	new_data("s", 3);
	fake_time_pass(5000);
	assert_state(FG_LINK_CONNECTING);
	assert_int_equal(script.n_encodes, 0);
	fake_mqtt_connect(65535, 0);
	assert_int_equal(fake_mqtt.n_publishes, 3);
}

static void an_attempt_that_fails_is_repeated_after_a_pause(void **state)
{
	(void)state;
	backing_off();
	assert_null(fake_mqtt.client);
	new_data("s", 1);
	assert_state(FG_LINK_BACKOFF);
	fake_time_pass(1000);
	assert_state(FG_LINK_CONNECTING);
	assert_int_equal(fake_mqtt.n_made, 2);
	assert_int_equal(script.last_request.attempt, 1);
	assert_int_equal(script.n_disconnected, 0); /* it never was connected */
}

static void a_plugin_without_credentials_is_asked_again_later(void **state)
{
	(void)state;
	make();
	script.connect_result = -EINVAL;
	fg_link_start(link_);
	assert_state(FG_LINK_BACKOFF);
	assert_int_equal(fake_mqtt.n_made, 0);
	script.connect_result = 0;
	fake_time_pass(1000);
	assert_state(FG_LINK_CONNECTING);
}

static void a_client_that_cannot_be_made_is_tried_again_later(void **state)
{
	(void)state;
	make();
	fake_mqtt.new_result = -EAGAIN;
	fg_link_start(link_);
	assert_state(FG_LINK_BACKOFF);
	fake_mqtt.new_result = 0;
	fake_time_pass(1000);
	assert_state(FG_LINK_CONNECTING);
}

static void wrong_credentials_wait_at_least_a_minute(void **state)
{
	static const struct {
		enum fg_mqtt_version version;
		unsigned code;
		bool is_credentials;
	} table[] = {
		{FG_MQTT_5, 0x86, true},  {FG_MQTT_5, 0x87, true},  {FG_MQTT_5, 0x85, true},
		{FG_MQTT_5, 0x8a, true},  {FG_MQTT_5, 0x8c, true},  {FG_MQTT_5, 0x88, false},
		{FG_MQTT_5, 0x9f, false}, {FG_MQTT_5, 0x84, false}, {FG_MQTT_311, 4, true},
		{FG_MQTT_311, 5, true},   {FG_MQTT_311, 2, true},   {FG_MQTT_311, 3, false},
		{FG_MQTT_311, 1, false},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		config.mqtt_version = table[i].version;
		make();
		fg_link_start(link_);
		fake_mqtt_end(FG_MQTT_END_REFUSED, table[i].code);
		assert_state(FG_LINK_BACKOFF);
		fake_time_pass(59999);
		/* It is tried again, and with the code of a passing fault that has been long ago.
		 */
		assert_int_equal(stats().state != FG_LINK_BACKOFF, !table[i].is_credentials);
		teardown(state);
		setup(state);
	}
	make();
}

static void who_asks_is_told_why_a_link_is_not_online_and_when_it_tries_again(void **state)
{
	(void)state;
	config.mqtt_version = FG_MQTT_311;
	make();
	assert_null(stats().why);
	fg_link_start(link_);
	assert_null(stats().why);
	fake_mqtt_end(FG_MQTT_END_REFUSED, 5);
	assert_string_equal(stats().why, "it ended");
	assert_in_range(stats().retry_ms, 60000, 600000);
	fake_time_pass(59000);
	assert_in_range(stats().retry_ms, 1000, 600000 - 59000);
	fake_time_pass(600000 - 59000);
	assert_state(FG_LINK_CONNECTING);
	assert_string_equal(stats().why, "it ended");
	assert_int_equal(stats().retry_ms, 0);
	fake_mqtt_connect(0, 0);
	assert_state(FG_LINK_ONLINE);
	assert_null(stats().why);
	assert_int_equal(stats().retry_ms, 0);
}

static void credentials_with_a_time_in_them_are_made_anew_at_once_but_only_once(void **state)
{
	static const struct {
		enum fg_mqtt_version version;
		unsigned code;
	} table[] = {{FG_MQTT_311, 4}, {FG_MQTT_5, 0x86}};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		config.mqtt_version = table[i].version;
		script.is_timed = true;
		make();
		fg_link_start(link_);
		fake_utc_us += 3600 * INT64_C(1000000);
		fake_mqtt_end(FG_MQTT_END_REFUSED, table[i].code);
		assert_state(FG_LINK_CONNECTING);
		assert_int_equal(script.n_connects, 2);
		assert_int_equal(script.last_request.now_us, fake_utc_us);
		for (unsigned k = 0; k < 3; k++) {
			fake_mqtt_end(FG_MQTT_END_REFUSED, table[i].code);
			assert_state(FG_LINK_BACKOFF);
			assert_int_equal(script.n_connects, 2 + k);
			fake_time_pass(59999);
			assert_state(FG_LINK_BACKOFF);
			fake_time_pass(600000);
			assert_state(FG_LINK_CONNECTING);
		}
		/* A session in between is a reason to try it again. */
		fake_mqtt_connect(0, 0);
		fake_mqtt_end(FG_MQTT_END_LOST, 0);
		fake_time_pass(60000);
		fake_mqtt_end(FG_MQTT_END_REFUSED, table[i].code);
		assert_state(FG_LINK_CONNECTING);
		teardown(state);
		setup(state);
	}
	make();
}

static void a_clock_that_is_set_is_a_reason_to_try_credentials_of_the_time_at_once(void **state)
{
	(void)state;
	config.mqtt_version = FG_MQTT_311;
	for (unsigned is_timed = 0; is_timed < 2; is_timed++) {
		script.is_timed = is_timed;
		make();
		fg_link_start(link_);
		fake_mqtt_end(FG_MQTT_END_REFUSED, 5);
		assert_state(FG_LINK_BACKOFF);
		fg_link_clock_set(link_, false);
		assert_state(is_timed ? FG_LINK_CONNECTING : FG_LINK_BACKOFF);
		teardown(state);
		setup(state);
		config.mqtt_version = FG_MQTT_311;
	}
	make();
}

static void a_device_that_is_locked_out_or_misnamed_is_not_tried_anew_at_once(void **state)
{
	static const unsigned codes[] = {2, 5};

	config.mqtt_version = FG_MQTT_311;
	script.is_timed = true;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		make();
		fg_link_start(link_);
		fake_mqtt_end(FG_MQTT_END_REFUSED, codes[i]);
		fake_time_pass(59999);
		assert_state(FG_LINK_BACKOFF);
		teardown(state);
		setup(state);
		config.mqtt_version = FG_MQTT_311;
		script.is_timed = true;
	}
	make();
}

static void a_client_id_that_is_refused_is_logged_as_a_fault_of_the_configuration(void **state)
{
	static const struct {
		enum fg_mqtt_version version;
		unsigned code;
		const char *check;
	} table[] = {
		{FG_MQTT_311, 2,
		 "; check its configuration: the client id, or the keep alive, is "},
		{FG_MQTT_5, 0x85,
		 "; check its configuration: the client id, or the keep alive, is "},
		{FG_MQTT_311, 4, "; check its credentials;"},
		{FG_MQTT_5, 0x86, "; check its credentials;"},
	};
	struct captured log;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		config.mqtt_version = table[i].version;
		make();
		captured_begin(&log);
		fg_link_start(link_);
		fake_mqtt_end(FG_MQTT_END_REFUSED, table[i].code);
		captured_end(&log);
		assert_non_null(strstr(log.text, table[i].check));
		teardown(state);
		setup(state);
	}
	make();
}

static void wrong_credentials_are_logged_whatever_failed_before(void **state)
{
	struct captured log;

	(void)state;
	config.mqtt_version = FG_MQTT_311;
	make();
	captured_begin(&log);
	fg_link_start(link_);
	for (unsigned i = 0; i < 3; i++) {
		fake_mqtt_end(FG_MQTT_END_UNREACHABLE, 0);
		fake_time_pass(20000);
		assert_state(FG_LINK_CONNECTING);
	}
	fake_mqtt_end(FG_MQTT_END_REFUSED, 4);
	captured_end(&log);
	assert_non_null(strstr(log.text, "check its credentials"));
}

static void the_keep_alive_is_the_plugins_or_as_configured_or_a_minute(void **state)
{
	static const unsigned table[][3] = {
		/* configured, the plugin's, sent */
		{0, 0, 60},
		{100, 0, 100},
		{0, 120, 120},
		{10, 30, 30},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		config.keep_alive_s = table[i][0];
		script.keep_alive_s = table[i][1];
		make();
		assert_int_equal(script.told_keep_alive_s, table[i][0]);
		fg_link_start(link_);
		assert_int_equal(fake_mqtt.params.keep_alive_s, table[i][2]);
		teardown(state);
		setup(state);
	}
	make();
}

/* ---- the time */

/* A machine that thinks it is 1970, and has nobody who sets its clock. */
static void read_1970(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	(void)arg;
	*ret_utc_us = *ret_boottime_us = 20000000;
}

static void look_in_1970(void *arg, int64_t utc_us, struct fg_clock_evidence *ret)
{
	(void)arg;
	(void)utc_us;
	*ret = (struct fg_clock_evidence){0};
}

static void a_cloud_may_tell_the_time_to_a_machine_that_does_not_know_it(void **state)
{
	static const uint8_t boot_id[16] = {1};
	struct fg_timekeeper_options clock = {
		.boot_id = boot_id, .read = read_1970, .look = look_in_1970};
	struct fg_timekeeper *timekeeper = NULL;
	struct captured log;
	int64_t now_us;

	(void)state;
	assert_int_equal(fg_timekeeper_new(&clock, &timekeeper), 0);
	options.timekeeper = timekeeper;
	make();
	assert_true(script.host->wants_time(script.host_ctx));
	fg_log_open(FG_LOG_STDERR, LOG_NOTICE);
	captured_begin(&log);
	assert_int_equal(script.host->tell_time(script.host_ctx, INT64_MAX), -ERANGE);
	assert_int_equal(script.host->tell_time(script.host_ctx, FG_TIME_FLOOR_US), 0);
	captured_end(&log);
	fg_log_open(FG_LOG_STDERR, LOG_ERR);
	assert_non_null(strstr(log.text, "tells a time that cannot be"));
	assert_int_equal(fg_timekeeper_now(timekeeper, &now_us), FG_TIME_GATEWAY);
	assert_true(now_us == FG_TIME_FLOOR_US + 20000000);
	link_ = fg_link_free(link_);
	fg_timekeeper_free(timekeeper);

	/* Where the wall clock is believed there is nothing to tell. */
	options.timekeeper = NULL;
	make();
	assert_false(script.host->wants_time(script.host_ctx));
	assert_int_equal(script.host->tell_time(script.host_ctx, 1), -EALREADY);
}

/* ---- the version of MQTT */

static void a_server_without_mqtt_5_is_asked_again_with_3_1_1_at_once(void **state)
{
	static const unsigned codes[] = {0x84, 1};

	for (size_t i = 0; i < 2; i++) {
		make();
		fg_link_start(link_);
		assert_int_equal(fake_mqtt.params.mqtt_version, 5);
		fake_mqtt_end(FG_MQTT_END_REFUSED, codes[i]);
		assert_state(FG_LINK_CONNECTING);
		assert_int_equal(fake_mqtt.params.mqtt_version, 4);
		assert_int_equal(script.last_request.mqtt_version, 4);
		/* And if that is refused too there is no circle. */
		fake_mqtt_end(FG_MQTT_END_REFUSED, 1);
		assert_state(FG_LINK_BACKOFF);
		fake_time_pass(60000);
		assert_int_equal(fake_mqtt.params.mqtt_version, 4);
		teardown(state);
		setup(state);
	}
	make();
}

static void silence_makes_the_other_version_tried_without_hurry(void **state)
{
	static const unsigned versions[] = {5, 4, 5, 4};

	(void)state;
	make();
	fg_link_start(link_);
	for (size_t i = 0; i < 4; i++) {
		assert_state(FG_LINK_CONNECTING);
		assert_int_equal(fake_mqtt.params.mqtt_version, versions[i]);
		fake_mqtt_end(i % 2 ? FG_MQTT_END_PROTOCOL : FG_MQTT_END_SILENT, 0);
		assert_state(FG_LINK_BACKOFF);
		fake_time_pass(60000);
	}
}

static void an_unreachable_server_says_nothing_about_its_version(void **state)
{
	static const enum fg_mqtt_end_kind kinds[] = {FG_MQTT_END_UNREACHABLE, FG_MQTT_END_TLS};

	(void)state;
	make();
	fg_link_start(link_);
	for (size_t i = 0; i < 2; i++) {
		fake_mqtt_end(kinds[i], 0);
		fake_time_pass(60000);
		assert_int_equal(fake_mqtt.params.mqtt_version, 5);
	}
}

static void a_version_that_has_worked_is_kept_through_silence(void **state)
{
	(void)state;
	online();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	fake_time_pass(60000);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(fake_mqtt.params.mqtt_version, 5);
		fake_mqtt_end(FG_MQTT_END_SILENT, 0);
		fake_time_pass(60000);
	}
}

static void a_server_that_speaks_5_no_longer_is_believed(void **state)
{
	(void)state;
	online();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	fake_time_pass(60000);
	fake_mqtt_end(FG_MQTT_END_REFUSED, 0x84);
	assert_state(FG_LINK_CONNECTING);
	assert_int_equal(fake_mqtt.params.mqtt_version, 4);
}

static void a_version_that_was_configured_is_never_changed(void **state)
{
	static const enum fg_mqtt_version versions[] = {FG_MQTT_5, FG_MQTT_311};

	for (size_t i = 0; i < 2; i++) {
		config.mqtt_version = versions[i];
		make();
		fg_link_start(link_);
		fake_mqtt_end(FG_MQTT_END_REFUSED, 1);
		assert_state(FG_LINK_BACKOFF);
		fake_time_pass(60000);
		fake_mqtt_end(FG_MQTT_END_SILENT, 0);
		fake_time_pass(60000);
		assert_int_equal(fake_mqtt.params.mqtt_version, (unsigned)versions[i]);
		teardown(state);
		setup(state);
	}
	make();
}

/* ---- ONLINE */

static void online_the_backlog_is_sent_and_new_data_follows(void **state)
{
	(void)state;
	add("a", 3);
	online();
	assert_int_equal(script.n_connected, 1);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1,2,3");
	new_data("b", 1);
	assert_int_equal(fake_mqtt.n_publishes, 2);
	acked(0, 0);
	acked(1, 0);
	assert_watermark(4);
	assert_int_equal(stats().published, 2);
	assert_int_equal(stats().records_acked, 4);
	assert_int_equal(stats().backlog, 0);
	assert_int_equal(stats().sessions, 1);
}

static void acks_make_room_for_more(void **state)
{
	(void)state;
	config.max_in_flight = 2;
	add("s", 4);
	online();
	assert_int_equal(fake_mqtt.n_publishes, 2);
	acked(0, 0);
	assert_int_equal(fake_mqtt.n_publishes, 3);
	acked(1, 0);
	acked(2, 0);
	acked(3, 0);
	assert_watermark(4);
}

static void receive_maximum_of_the_server_is_obeyed(void **state)
{
	(void)state;
	add("s", 4);
	make();
	fg_link_start(link_);
	fake_mqtt_connect(3, 0);
	assert_int_equal(fake_mqtt.n_publishes, 3);
}

static void what_broke_off_is_sent_again_in_the_next_session(void **state)
{
	(void)state;
	add("s", 3);
	online();
	acked(0, 0);
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_state(FG_LINK_BACKOFF);
	assert_int_equal(script.n_disconnected, 1);
	fake_time_pass(1000);
	fake_mqtt_connect(65535, 0);
	assert_int_equal(fake_mqtt.n_publishes, 2);
	assert_string_equal(fake_mqtt.publishes[0].payload, "2");
	assert_watermark(1);
}

static void a_publish_that_fails_is_not_passed_over(void **state)
{
	(void)state;
	online();
	fake_mqtt.publish_result = -ENOTCONN;
	new_data("s1", 1);
	new_data("s2", 1);
	fake_time_pass(3000);
	fake_mqtt_after_read();
	assert_watermark(0);
	fake_mqtt.publish_result = 0;
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	fake_time_pass(1000);
	fake_mqtt_connect(65535, 0);
	assert_int_equal(fake_mqtt.n_publishes, 2);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
}

static void what_the_client_cannot_send_goes_into_quarantine(void **state)
{
	static const int results[] = {-EMSGSIZE, -EINVAL};

	for (size_t i = 0; i < 2; i++) {
		online();
		fake_mqtt.publish_result = results[i];
		new_data("s1", 1);
		fake_mqtt.publish_result = 0;
		assert_state(FG_LINK_ONLINE);
		new_data("s2", 1);
		assert_int_equal(fake_mqtt.n_publishes, 1);
		acked(0, 0);
		fg_link_committed(link_, fake_journal_commit(&journal));
		assert_watermark(2);
		assert_int_equal(stats().quarantined, 1);
		assert_true(fake_journal_has_quarantined(&journal, 1, true));
		teardown(state);
		setup(state);
	}
	make();
}

static void without_memory_for_a_publish_the_session_starts_anew(void **state)
{
	(void)state;
	online();
	fake_mqtt.publish_result = -ENOMEM;
	new_data("s", 1);
	assert_state(FG_LINK_BACKOFF);
	fake_mqtt.publish_result = 0;
	fake_time_pass(1000);
	fake_mqtt_connect(65535, 0);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
}

static void qos_0_is_settled_when_it_is_written(void **state)
{
	(void)state;
	script.qos = 1; /* one more than the QoS: 0 */
	add("s", 3);
	online();
	assert_int_equal(fake_mqtt.n_publishes, 3);
	assert_int_equal(fake_mqtt.publishes[0].qos, 0);
	assert_watermark(3);
}

static void a_rate_limit_is_waited_out_and_sending_goes_on_by_itself(void **state)
{
	(void)state;
	add("s", 1);
	online();
	acked(0, 0x97);
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	fake_time_pass(900);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	fake_time_pass(100);
	assert_int_equal(fake_mqtt.n_publishes, 3);
	acked(1, 0);
	acked(2, 0);
	assert_watermark(2);
	assert_int_equal(stats().quarantined, 0);
}

static void a_journal_that_cannot_be_read_for_a_while_stalls_nothing(void **state)
{
	(void)state;
	online();
	journal.cursor.read_error = -EIO;
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 0);
	journal.cursor.read_error = 0;
	fake_time_pass(2000);
	assert_int_equal(fake_mqtt.n_publishes, 1);
}

static void what_comes_down_is_given_to_the_plugin(void **state)
{
	(void)state;
	script.filter = "down/#";
	online();
	assert_int_equal(script.subscribe_result, 0);
	assert_string_equal(fake_mqtt.filter, "down/#");
	assert_true(fake_mqtt_deliver("down/1", "x"));
	assert_int_equal(script.n_received, 1);
	script.receive_result = -EPROTO;
	fake_mqtt_deliver("down/2", "x");
	assert_state(FG_LINK_ONLINE);
	/* What the plugin has to say after that goes out. */
	script.has_own = true;
	fake_mqtt_deliver("down/3", "x");
	assert_int_equal(fake_mqtt.n_publishes, 1);
	plugin.receive = NULL;
	fake_mqtt_deliver("down/4", "x");
	assert_state(FG_LINK_ONLINE);
}

static void subscribing_without_a_session_fails(void **state)
{
	(void)state;
	make();
	assert_int_equal(script.host->subscribe(script.host_ctx, "", "a", 1), -ENOTCONN);
}

/* ---- acknowledgements that do not come */

static void without_a_puback_the_session_is_given_up(void **state)
{
	(void)state;
	add("s", 1);
	online();
	fake_time_pass(30000);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(1000);
	assert_state(FG_LINK_BACKOFF);
	assert_null(fake_mqtt.client);
	assert_watermark(0);
}

static void an_idle_session_is_not_given_up(void **state)
{
	(void)state;
	online();
	fake_time_pass(3600 * 1000);
	assert_state(FG_LINK_ONLINE);
	assert_int_equal(stats().sessions, 1);
}

static void a_cloud_that_acknowledges_nothing_puts_no_record_into_quarantine(void **state)
{
	(void)state;
	add("s", 2);
	online();
	for (int i = 0; i < 10; i++) {
		fake_time_pass(31000);
		assert_state(FG_LINK_BACKOFF);
		fake_time_pass(60000);
		fake_mqtt_connect(65535, 0);
	}
	assert_int_equal(stats().quarantined, 0);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
}

static void a_record_that_alone_is_never_acknowledged_is_put_aside(void **state)
{
	(void)state;
	add("s1", 1);
	add("s2", 200);
	online();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(journal.n_quarantined, 0);
		assert_string_equal(fake_mqtt.publishes[0].payload, "1");
		for (size_t j = 1; j < fake_mqtt.n_publishes && j < 10; j++)
			acked(j, 0);
		fake_time_pass(31000);
		assert_state(FG_LINK_BACKOFF);
		fake_time_pass(60000);
		fake_mqtt_connect(65535, 0);
	}
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	assert_int_equal(journal.n_quarantined, 1);
	/* What was acknowledged in between is not sent again. */
	assert_string_equal(fake_mqtt.publishes[0].payload, "20");
}

static void three_broken_sessions_put_the_record_aside(void **state)
{
	(void)state;
	add("s", 2);
	online();
	for (int i = 0; i < 3; i++) {
		fake_mqtt_end(FG_MQTT_END_LOST, 0);
		fake_time_pass(60000);
		fake_mqtt_connect(65535, 0);
	}
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	assert_string_equal(fake_mqtt.publishes[0].payload, "2");
}

static void only_ends_that_a_record_can_cause_blame_one(void **state)
{
	static const struct {
		enum fg_mqtt_end_kind kind;
		unsigned code;
		bool blames;
	} table[] = {
		{FG_MQTT_END_LOST, 0, true},           {FG_MQTT_END_DISCONNECT, 0x81, true},
		{FG_MQTT_END_DISCONNECT, 0x95, true},  {FG_MQTT_END_DISCONNECT, 0x99, true},
		{FG_MQTT_END_DISCONNECT, 0x90, true},  {FG_MQTT_END_DISCONNECT, 0x8b, false},
		{FG_MQTT_END_DISCONNECT, 0x8d, false}, {FG_MQTT_END_DISCONNECT, 0x8e, false},
		{FG_MQTT_END_DISCONNECT, 0x96, false}, {FG_MQTT_END_DISCONNECT, 0x97, false},
		{FG_MQTT_END_DISCONNECT, 0x98, false}, {FG_MQTT_END_DISCONNECT, 0x9c, false},
		{FG_MQTT_END_PROTOCOL, 0, false},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		add("s", 1);
		online();
		for (int j = 0; j < 6; j++) {
			fake_mqtt_end(table[i].kind, table[i].code);
			fake_time_pass(60000);
			fake_mqtt_connect(65535, 0);
		}
		assert_int_equal(stats().quarantined > 0, table[i].blames);
		teardown(state);
		setup(state);
	}
	make();
}

/* ---- renewal */

static void a_session_is_renewed_before_its_credentials_expire(void **state)
{
	(void)state;
	script.renew_after_us = 3600 * 1000000ll;
	online();
	fake_time_pass(3599 * 1000);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(2000);
	assert_state(FG_LINK_DRAINING);
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_state(FG_LINK_CONNECTING); /* at once */
	assert_int_equal(script.n_connects, 2);
	fake_mqtt_connect(65535, 0);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(3500 * 1000);
	assert_state(FG_LINK_ONLINE);
}

static void renewal_goes_by_durations_and_not_by_the_clock(void **state)
{
	(void)state;
	script.renew_after_us = 3600 * 1000000ll;
	online();
	fake_utc_us += 20ll * 365 * 86400 * 1000000;
	fake_time_pass(60000);
	assert_state(FG_LINK_ONLINE);
	fake_utc_us -= 40ll * 365 * 86400 * 1000000;
	fake_time_pass(3541 * 1000);
	assert_state(FG_LINK_DRAINING);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
}

static void a_clock_set_while_we_connect_does_not_move_the_renewal(void **state)
{
	(void)state;
	script.renew_after_us = 3600 * 1000000ll;
	make();
	fg_link_start(link_);
	fake_utc_us += 20ll * 365 * 86400 * 1000000;
	fake_mqtt_connect(65535, 0);
	fake_time_pass(3590 * 1000);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(12 * 1000);
	assert_state(FG_LINK_DRAINING);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
}

static void a_clock_that_was_a_little_behind_brings_the_renewal_forward(void **state)
{
	(void)state;
	script.renew_after_us = 3600 * 1000000ll;
	online();
	fake_utc_us += 600ll * 1000000;
	fg_link_clock_set(link_, true);
	fake_time_pass(2999 * 1000);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(2000);
	assert_state(FG_LINK_DRAINING);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
}

static void steps_of_twenty_years_end_no_session(void **state)
{
	static const int years[] = {20, -20, -20, 20};

	(void)state;
	script.renew_after_us = 3600 * 1000000ll;
	add("s", 1);
	online();
	for (size_t i = 0; i < 4; i++) {
		fake_utc_us += years[i] * 365ll * 86400 * 1000000;
		fg_link_clock_set(link_, i == 0);
		fake_time_pass(2000);
		assert_state(FG_LINK_ONLINE);
	}
	acked(0, 0);
	assert_watermark(1);
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 2);
}

static void learning_the_time_ends_a_back_off(void **state)
{
	(void)state;
	backing_off();
	fg_link_clock_set(link_, false);
	assert_state(FG_LINK_BACKOFF);
	fg_link_clock_set(link_, true);
	assert_state(FG_LINK_CONNECTING);
	assert_int_equal(script.n_connects, 2);
	fake_mqtt_connect(65535, 0);
	assert_state(FG_LINK_ONLINE);
}

static void what_is_in_flight_is_settled_before_the_renewal(void **state)
{
	(void)state;
	draining();
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 1); /* nothing new */
	assert_false(fake_mqtt.is_disconnecting);
	acked(0, 0);
	assert_watermark(1);
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_state(FG_LINK_CONNECTING);
	fake_mqtt_connect(65535, 0);
	assert_string_equal(fake_mqtt.publishes[0].payload, "2");
}

static void draining_does_not_wait_for_ever(void **state)
{
	(void)state;
	draining();
	fake_time_pass(FG_LINK_DRAIN_MS);
	assert_state(FG_LINK_CONNECTING);
	assert_watermark(0);
	fake_mqtt_connect(65535, 0);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
	assert_int_equal(stats().quarantined, 0);
}

static void a_session_that_breaks_while_draining_connects_again(void **state)
{
	(void)state;
	draining();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_state(FG_LINK_CONNECTING);
}

/* ---- stopping */

static void stopping_while_connecting_is_immediate(void **state)
{
	(void)state;
	make();
	fg_link_start(link_);
	stop();
	assert_int_equal(n_stopped, 1);
	assert_state(FG_LINK_STOPPED);
	assert_null(fake_mqtt.client);
	fake_time_pass(100000);
	assert_int_equal(n_stopped, 1);
	assert_int_equal(fake_mqtt.n_made, 1);
}

static void stopping_an_idle_session_disconnects_first(void **state)
{
	(void)state;
	online();
	stop();
	assert_state(FG_LINK_DRAINING);
	assert_true(fake_mqtt.is_disconnecting);
	assert_int_equal(n_stopped, 0);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
	assert_state(FG_LINK_STOPPED);
	assert_int_equal(script.n_disconnected, 1);
	fake_time_pass(100000);
	assert_int_equal(n_stopped, 1);
}

static void stopping_settles_what_is_in_flight(void **state)
{
	(void)state;
	add("s", 2);
	online();
	stop();
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 2);
	acked(0, 0);
	assert_false(fake_mqtt.is_disconnecting);
	acked(1, 0);
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
	assert_watermark(2);
}

static void stopping_does_not_wait_for_ever(void **state)
{
	(void)state;
	add("s", 1);
	online();
	stop();
	fake_time_pass(FG_LINK_DRAIN_MS);
	assert_int_equal(n_stopped, 1);
	assert_state(FG_LINK_STOPPED);
	assert_watermark(0);
}

static void a_session_that_breaks_while_stopping_is_the_end(void **state)
{
	(void)state;
	add("s", 1);
	online();
	stop();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_int_equal(n_stopped, 1);
	assert_state(FG_LINK_STOPPED);
	fake_time_pass(100000);
	assert_int_equal(fake_mqtt.n_made, 1);
}

static void stopping_during_a_renewal_does_not_connect_again(void **state)
{
	(void)state;
	draining();
	stop();
	assert_int_equal(n_stopped, 0);
	acked(0, 0);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
	assert_state(FG_LINK_STOPPED);
	assert_int_equal(fake_mqtt.n_made, 1);
}

static void stopping_while_backing_off_is_immediate(void **state)
{
	(void)state;
	backing_off();
	stop();
	assert_int_equal(n_stopped, 1);
	fake_time_pass(100000);
	assert_int_equal(fake_mqtt.n_made, 1);
}

static void whoever_waits_for_the_stop_may_free_the_link(void **state)
{
	(void)state;
	frees_in_stopped = true;
	make();
	stop();
	assert_null(link_);
	teardown(state);
	setup(state);
	frees_in_stopped = true;
	online();
	stop();
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_null(link_);
	teardown(state);
	setup(state);
	frees_in_stopped = true;
	add("s", 1);
	online();
	stop();
	fake_time_pass(FG_LINK_DRAIN_MS);
	assert_null(link_);
	assert_int_equal(n_stopped, 1);
}

static void a_link_can_be_freed_in_every_state(void **state)
{
	make();
	teardown(state);
	setup(state);
	make();
	fg_link_start(link_);
	teardown(state);
	setup(state);
	add("s", 100);
	online();
	teardown(state);
	setup(state);
	draining();
	teardown(state);
	setup(state);
	backing_off();
	teardown(state);
	setup(state);
	assert_null(fg_link_free(NULL));
}

/* ---- faults of the plugin */

static void a_broken_plugin_stops_its_link_and_keeps_the_records(void **state)
{
	(void)state;
	add("s", 2);
	online();
	acked(0, 0);
	script.misdeed = SCRIPT_FAILS;
	new_data("s", 1);
	assert_state(FG_LINK_STOPPED);
	assert_null(fake_mqtt.client);
	assert_watermark(1);
	new_data("s", 1);
	fake_time_pass(1000000);
	assert_state(FG_LINK_STOPPED);
	assert_int_equal(fake_mqtt.n_made, 1);
	stop();
	assert_int_equal(n_stopped, 1);
}

static void a_plugin_may_break_in_every_callback(void **state)
{
	make();
	fg_link_start(link_);
	script.misdeed = SCRIPT_FAILS;
	fake_mqtt_connect(65535, 0);
	assert_state(FG_LINK_STOPPED);
	teardown(state);
	setup(state);
	online();
	script.misdeed = SCRIPT_FAILS;
	fake_mqtt_deliver("a", "b");
	assert_state(FG_LINK_STOPPED);
	teardown(state);
	setup(state);
	add("s", 1);
	online();
	script.misdeed = SCRIPT_FAILS;
	acked(0, 0);
	assert_state(FG_LINK_STOPPED);
	teardown(state);
	setup(state);
	online();
	script.misdeed = SCRIPT_FAILS;
	fake_time_pass(2000);
	assert_state(FG_LINK_STOPPED);
}

/* ---- what is said */

static void sessions_thrown_out_again_and_again_are_recognised(void **state)
{
	struct captured log;

	(void)state;
	captured_begin(&log);
	online();
	for (int i = 0; i < 3; i++) {
		fake_time_pass(100);
		fake_mqtt_end(FG_MQTT_END_LOST, 0);
		fake_time_pass(60000);
		fake_mqtt_connect(65535, 0);
	}
	captured_end(&log);
	assert_non_null(strstr(log.text, "does another client use the same credentials"));
}

static void a_session_taken_over_is_told_at_once(void **state)
{
	struct captured log;

	(void)state;
	captured_begin(&log);
	online();
	fake_time_pass(100000);
	fake_mqtt_end(FG_MQTT_END_DISCONNECT, 0x8e);
	captured_end(&log);
	assert_non_null(strstr(log.text, "thrown out by a new session"));
}

static void long_sessions_that_end_are_no_takeover(void **state)
{
	struct captured log;

	(void)state;
	captured_begin(&log);
	online();
	for (int i = 0; i < 10; i++) {
		fake_time_pass(6000);
		fake_mqtt_end(FG_MQTT_END_LOST, 0);
		fake_time_pass(60000);
		fake_mqtt_connect(65535, 0);
	}
	captured_end(&log);
	assert_null(strstr(log.text, "another client"));
}

static void lost_records_are_counted(void **state)
{
	(void)state;
	make();
	journal.cursor.losses[FG_LOSS_LIMIT] = 5;
	journal.alarm_cursor.losses[FG_LOSS_LIMIT] = 1;
	journal.alarm_cursor.losses[FG_LOSS_AGE] = 2;
	fg_link_lost(link_, 2, 12, "journal limit");
	assert_int_equal(stats().lost, 8);
	assert_int_equal(stats().losses[FG_LOSS_LIMIT], 6);
	assert_int_equal(stats().losses[FG_LOSS_AGE], 2);
}

static void back_off_grows_until_a_session_is_stable(void **state)
{
	(void)state;
	online();
	for (int i = 0; i < 8; i++) {
		fake_mqtt_end(FG_MQTT_END_LOST, 0);
		fake_time_pass(60000);
		fake_mqtt_connect(65535, 0);
	}
	assert_int_equal(script.last_request.attempt, 8);
	fake_time_pass(FG_BACKOFF_STABLE_MS);
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	fake_time_pass(1000); /* as for the first time */
	assert_state(FG_LINK_CONNECTING);
	assert_int_equal(script.last_request.attempt, 1);
}

/* ---- what comes down */

static struct fg_command command_for(const char *device)
{
	return (struct fg_command){
		.device = fg_span_str(device),
		.id = fg_span_str("7"),
		.name = fg_span_str("open"),
	};
}

static void commit(void)
{
	fg_link_committed(link_, fake_journal_commit(&journal));
}

static void the_puback_of_a_command_waits_until_it_is_on_disk(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	online();
	script.command = &command;
	assert_true(fake_mqtt_deliver("down", "x"));
	assert_int_equal(desk.n_commands, 1);
	assert_string_equal(desk.device, "a");
	assert_int_equal(desk.timeout_ms, 10000);
	assert_true(fake_mqtt.is_held);
	/* More of the same commit are waited for together. */
	assert_true(fake_mqtt_deliver("down", "x"));
	commit();
	assert_false(fake_mqtt.is_held);
	assert_int_equal(stats().commands, 2);
	assert_state(FG_LINK_ONLINE);
}

static void commands_that_keep_coming_hold_no_puback_beyond_its_commit(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	online();
	script.command = &command;
	assert_true(fake_mqtt_deliver("down", "x"));
	for (unsigned i = 1; i <= 100; i++) {
		fg_journal_flush(&journal, 0);
		/* It would belong to the next commit, and this one would let nothing go. */
		assert_false(fake_mqtt_deliver("down", "x"));
		assert_true(fake_mqtt.is_held);
		commit();
		assert_int_equal(fake_mqtt.n_let_go, i);
		assert_true(fake_mqtt_deliver("down", "x"));
		fake_time_pass(1000);
	}
	assert_state(FG_LINK_ONLINE);
	assert_int_equal(stats().sessions, 1);
	assert_int_equal(stats().commands, 101);
}

static void a_session_that_is_to_end_waits_for_the_commit_of_its_commands(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	online();
	script.command = &command;
	assert_true(fake_mqtt_deliver("down", "x"));
	stop();
	/* The PUBACK would go out in front of the DISCONNECT. */
	assert_false(fake_mqtt.is_disconnecting);
	commit();
	assert_false(fake_mqtt.is_held);
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
}

static void a_last_acknowledgement_does_not_end_a_session_whose_command_waits(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	add("s", 1);
	online();
	script.command = &command;
	assert_true(fake_mqtt_deliver("down", "x"));
	stop();
	acked(0, 0);
	assert_false(fake_mqtt.is_disconnecting);
	fake_time_pass(FG_LINK_DRAIN_MS);
	assert_int_equal(n_stopped, 1);
	assert_int_equal(fake_mqtt.n_let_go, 0);
}

static void a_command_that_is_no_news_holds_nothing(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	online();
	desk.result = -EINVAL;
	script.command = &command;
	assert_true(fake_mqtt_deliver("down", "x"));
	assert_int_equal(fake_mqtt.n_held, 0);
	assert_state(FG_LINK_ONLINE);
}

static void a_command_without_room_in_the_journal_is_given_back(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	online();
	desk.result = -EAGAIN;
	script.command = &command;
	fake_mqtt_deliver("down", "x");
	assert_int_equal(script.command_result, -EAGAIN);
	assert_int_equal(fake_mqtt.n_held, 1); /* no PUBACK on the way out */
	assert_int_equal(fake_mqtt.n_let_go, 0);
	assert_state(FG_LINK_BACKOFF);
	assert_null(fake_mqtt.client);
	desk.result = 0;
	fake_time_pass(60000);
	fake_mqtt_connect(65535, 0);
	fake_mqtt_deliver("down", "x");
	assert_int_equal(script.command_result, 0);
	commit();
	assert_false(fake_mqtt.is_held);
	assert_state(FG_LINK_ONLINE);
}

/* Nothing of it can be given back: the plugin keeps it. */
static void a_command_that_is_told_of_later_may_find_no_room(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	online();
	desk.result = -EAGAIN;
	assert_int_equal(script.host->command(script.host_ctx, &command), -EAGAIN);
	assert_state(FG_LINK_ONLINE);
	desk.result = -EINVAL; /* it can never be taken */
	assert_int_equal(script.host->command(script.host_ctx, &command), 0);
	desk.result = 0;
	assert_int_equal(script.host->command(script.host_ctx, &command), 0);
	assert_false(fake_mqtt.is_held);
}

static void a_command_that_waits_too_long_for_its_commit_ends_the_session(void **state)
{
	struct fg_command command = command_for("a");

	(void)state;
	online();
	script.command = &command;
	fake_mqtt_deliver("down", "x");
	fake_time_pass(30000);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(2000);
	assert_int_equal(fake_mqtt.n_let_go, 0);
	assert_int_equal(stats().n_sessions_online, 0);
	/* That commit is nothing to the next session. */
	script.command = NULL;
	fake_time_pass(60000);
	fake_mqtt_connect(65535, 0);
	commit();
	assert_int_equal(fake_mqtt.n_let_go, 0);
}

static void what_an_image_brings_about_waits_until_the_plugin_is_through(void **state)
{
	struct fg_image image = {.device = fg_span_str("a"), .title = fg_span_str("fw")};

	(void)state;
	online();
	script.image = &image;
	assert_true(fake_mqtt_deliver("down", "x"));
	assert_int_equal(script.n_progress, 1);
	assert_int_equal(script.n_nested, 0);
	/* What it says to that is not forgotten. */
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_string_equal(fake_mqtt.publishes[0].topic, "own/own");
}

static void a_command_for_nobody_is_for_the_gateway(void **state)
{
	struct fg_command command = command_for("");

	(void)state;
	online();
	command.timeout_ms = 20000;
	script.command = &command;
	fake_mqtt_deliver("down", "x");
	assert_string_equal(desk.device, "plant7");
	assert_int_equal(desk.timeout_ms, 20000);
}

static void a_command_goes_by_the_name_of_the_cloud(void **state)
{
	static struct fg_rename renames[] = {{"pump-2", "Zwei"}};
	struct fg_command command = command_for("Zwei");

	(void)state;
	config.devices.rename = renames;
	config.devices.n_rename = 1;
	online();
	script.command = &command;
	fake_mqtt_deliver("down", "x");
	assert_string_equal(desk.device, "pump-2");
}

static void a_command_for_a_device_the_cloud_does_not_get_never_reaches_it(void **state)
{
	static struct fg_rename renames[] = {{"pump-2", "Zwei"}};
	static char *include[] = {"pump-*"};
	struct fg_command command = command_for("boiler");

	(void)state;
	config.devices.rename = renames;
	config.devices.n_rename = 1;
	config.devices.include = include;
	config.devices.n_include = 1;
	online();
	script.command = &command;
	fake_mqtt_deliver("down", "x");
	assert_int_equal(desk.n_commands, 0);
	assert_int_equal(journal.appended.lane, FG_LANE_ALARM);
	assert_int_equal(journal.appended.kind, FG_COMMAND_RESPONSE);
	assert_string_equal(journal.appended.device, "boiler");
	assert_string_equal(journal.appended.ref, "7");
	assert_string_equal(journal.appended.link, "cloud");
	assert_non_null(strstr(journal.appended.body, "{\"error\":{\"code\":\"unknown_device\""));
	assert_true(fake_mqtt.is_held);
	commit();
	assert_false(fake_mqtt.is_held);

	/* A device by the name it has here: the answer would come from what the cloud calls Zwei. */
	command = command_for("pump-2");
	fake_mqtt_deliver("down", "x");
	command = command_for("boiler");
	command.is_one_way = true;
	fake_mqtt_deliver("down", "x");
	assert_int_equal(desk.n_commands, 0);
	assert_int_equal(journal.n_appended, 1);

	/* And one whose refusal has no room is given back. */
	command.is_one_way = false;
	journal.append_error = -EAGAIN;
	fake_mqtt_deliver("down", "x");
	assert_state(FG_LINK_BACKOFF);
}

/* ---- a session for each device */

static struct fg_mqtt_client *client(const char *device)
{
	char id[128];

	snprintf(id, sizeof(id), "fieldgate-plant7-cloud-%s", device);
	return fake_client(id);
}

static void make_many(void)
{
	plugin = script_sessions_plugin;
	fake_mqtt.may_be_many = true;
	add("a", 2);
	add("b", 2);
	add("d", 2);
	make();
	assert_int_equal(fake_clients(), 0);
	fg_link_start(link_);
	assert_int_equal(fake_clients(), 3);
	assert_int_equal(stats().n_sessions_open, 3);
	assert_state(FG_LINK_CONNECTING);
}

static void all_up(void)
{
	make_many();
	fake_client_connect(client("a"));
	fake_client_connect(client("b"));
	fake_client_connect(client("d"));
	assert_int_equal(stats().n_sessions_online, 3);
	fake_client_puback_all(client("a"));
	fake_client_puback_all(client("b"));
	fake_client_puback_all(client("d"));
	assert_watermark(6);
	assert_int_equal(journal.cursor.now.n_left_behind, 0);
}

static void a_session_is_opened_for_each_device_that_has_something(void **state)
{
	(void)state;
	make_many();
	fake_client_connect(client("b"));
	assert_int_equal(fake_mqtt.last_packet_id, 1);
	assert_int_equal(fake_client_puback_all(client("b")), 1);
	assert_int_equal(stats().records_acked, 2);
	assert_int_equal(stats().behind, 2);
	fake_client_connect(client("a"));
	fake_client_connect(client("d"));
	fake_client_puback_all(client("a"));
	fake_client_puback_all(client("d"));
	assert_watermark(6);
	assert_int_equal(stats().behind, 0);
	new_data("c", 1);
	assert_int_equal(stats().n_sessions_open, 4);
	assert_non_null(client("c"));
}

static void a_session_that_is_down_holds_nobody_up(void **state)
{
	(void)state;
	all_up();
	fake_client_end(client("b"), FG_MQTT_END_LOST, 0);
	assert_null(client("b"));
	assert_int_equal(stats().n_sessions_online, 2);
	for (unsigned i = 0; i < 20; i++) {
		new_data("b", 1);
		new_data("a", 1);
		new_data("d", 1);
		assert_int_equal(fake_client_puback_all(client("a")), 1);
		assert_int_equal(fake_client_puback_all(client("d")), 1);
	}
	assert_watermark(66);
	assert_int_equal(stats().records_acked, 6 + 40);
	assert_int_equal(journal.cursor.now.n_left_behind, 1);

	/* Its own back-off, and its own backlog. */
	fake_time_pass(60000);
	assert_non_null(client("b"));
	fake_client_connect(client("b"));
	while (fake_client_puback_all(client("b")))
		;
	assert_int_equal(stats().records_acked, 66);
	assert_int_equal(journal.cursor.now.n_left_behind, 0);
	assert_int_equal(stats().published, 3 + 40 + 1);
}

static void a_refused_session_waits_alone(void **state)
{
	(void)state;
	all_up();
	fake_client_end(client("b"), FG_MQTT_END_DISCONNECT, 0x8e);
	fake_time_pass(60000);
	fake_client_end(client("b"), FG_MQTT_END_REFUSED, 0x87);
	fake_time_pass(59000);
	assert_null(client("b"));
	assert_int_equal(stats().n_sessions_online, 2);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(120000);
	assert_non_null(client("b"));
}

static void stopping_waits_for_all_sessions(void **state)
{
	(void)state;
	all_up();
	new_data("a", 1);
	new_data("d", 1);
	stop();
	assert_int_equal(n_stopped, 0);
	fake_client_end(client("b"), FG_MQTT_END_OWN, 0); /* it was idle */
	fake_client_puback_all(client("a"));
	fake_client_end(client("a"), FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 0);
	fake_time_pass(FG_LINK_DRAIN_MS + 100); /* that of d never comes */
	assert_int_equal(n_stopped, 1);
	assert_int_equal(fake_clients(), 0);
	assert_state(FG_LINK_STOPPED);
	new_data("e", 1);
	assert_int_equal(fake_clients(), 0);
}

/* Two clients with one id would throw each other out for ever. */
static void sessions_with_long_names_have_client_ids_of_their_own(void **state)
{
	static char l1[151], l2[151];
	static struct fg_rename renames[] = {{(char *)"l1", l1}, {(char *)"l2", l2}};
	char first[128];

	(void)state;
	snprintf(l1, sizeof(l1), "%0149d1", 0);
	snprintf(l2, sizeof(l2), "%0149d2", 0);
	config.devices = (struct fg_devices_config){.rename = renames, .n_rename = 2};
	plugin = script_sessions_plugin;
	fake_mqtt.may_be_many = true;
	make();
	fg_link_start(link_);
	new_data("l1", 1);
	snprintf(first, sizeof(first), "%s", fake_mqtt.client_id);
	new_data("l2", 1);
	assert_int_equal(fake_clients(), 2);
	assert_string_not_equal(fake_mqtt.client_id, first);
}

/*
 * A field device that invents names, and the cloud knows none of them: the journal remembers so many
 * sessions that are behind, and then the others wait a minute, but not for ever.
 */
static void more_sessions_than_can_be_remembered_do_not_stop_the_others(void **state)
{
	static const char *const invented[] = {"b", "d", "e", "f", "g"};

	(void)state;
	plugin = script_sessions_plugin;
	fake_mqtt.may_be_many = true;
	journal.max_left_behind = 2;
	make();
	fg_link_start(link_);
	new_data("a", 1);
	fake_client_connect(client("a"));
	assert_int_equal(fake_client_puback_all(client("a")), 1);
	for (size_t i = 0; i < 5; i++)
		new_data(invented[i], 1);
	new_data("a", 1);
	assert_int_equal(fake_client_puback_all(client("a")), 0);
	fake_time_pass(59000);
	assert_int_equal(journal.n_quarantined, 0);
	fake_time_pass(2000);
	assert_int_equal(fake_client_puback_all(client("a")), 1);
	assert_int_equal(journal.n_quarantined, 3);
	assert_non_null(strstr(journal.quarantined[0].reason, "more sessions are behind"));
	commit();
	assert_watermark(7);
	assert_int_equal(stats().behind, 2);
	/* Now it is known: the next one waits no minute. */
	new_data("g", 1);
	new_data("a", 1);
	assert_int_equal(fake_client_puback_all(client("a")), 1);
	/* There is a place again. */
	fake_client_connect(client("b"));
	fake_client_puback_all(client("b"));
	new_data("g", 1);
	assert_int_equal(journal.n_quarantined, 4);
	assert_int_equal(stats().behind, 2);
}

/* Nobody is held up while nobody is up: whoever waits loses nothing. */
static void while_the_whole_cloud_is_away_nothing_is_put_aside(void **state)
{
	(void)state;
	plugin = script_sessions_plugin;
	fake_mqtt.may_be_many = true;
	journal.max_left_behind = 2;
	make();
	fg_link_start(link_);
	for (unsigned i = 0; i < 10; i++)
		new_data(i % 2 ? "a" : "b", 1);
	for (unsigned i = 0; i < 10; i++)
		new_data(i % 2 ? "d" : "e", 1);
	fake_time_pass(600000);
	new_data("g", 1);
	fake_time_pass(600000);
	assert_int_equal(journal.n_quarantined, 0);
	assert_int_equal(stats().records_acked, 0);
	assert_watermark(10);
}

static void a_broken_plugin_stops_all_its_sessions(void **state)
{
	(void)state;
	all_up();
	script.misdeed = SCRIPT_FAILS;
	new_data("a", 1);
	assert_int_equal(fake_clients(), 0);
	assert_state(FG_LINK_STOPPED);
	assert_int_equal(stats().n_sessions_online, 0);
	script.misdeed = SCRIPT_HONEST;
	new_data("e", 1);
	fake_time_pass(100000);
	assert_int_equal(fake_clients(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_new_link_is_stopped_and_connects_nothing),
		TEST(the_puback_of_a_command_waits_until_it_is_on_disk),
		TEST(commands_that_keep_coming_hold_no_puback_beyond_its_commit),
		TEST(a_session_that_is_to_end_waits_for_the_commit_of_its_commands),
		TEST(a_last_acknowledgement_does_not_end_a_session_whose_command_waits),
		TEST(a_command_that_is_no_news_holds_nothing),
		TEST(a_command_without_room_in_the_journal_is_given_back),
		TEST(a_command_that_is_told_of_later_may_find_no_room),
		TEST(a_command_that_waits_too_long_for_its_commit_ends_the_session),
		TEST(what_an_image_brings_about_waits_until_the_plugin_is_through),
		TEST(a_command_for_nobody_is_for_the_gateway),
		TEST(a_command_goes_by_the_name_of_the_cloud),
		TEST(a_command_for_a_device_the_cloud_does_not_get_never_reaches_it),
		TEST(a_session_is_opened_for_each_device_that_has_something),
		TEST(a_session_that_is_down_holds_nobody_up),
		TEST(a_refused_session_waits_alone),
		TEST(stopping_waits_for_all_sessions),
		TEST(more_sessions_than_can_be_remembered_do_not_stop_the_others),
		TEST(while_the_whole_cloud_is_away_nothing_is_put_aside),
		TEST(sessions_with_long_names_have_client_ids_of_their_own),
		TEST(a_broken_plugin_stops_all_its_sessions),
		TEST(a_link_that_cannot_be_opened_leaves_nothing_behind),
		TEST(connecting_uses_what_the_plugin_says),
		TEST(an_attempt_goes_where_the_plugin_says),
		TEST(an_address_may_speak_another_version_than_the_url),
		TEST(an_address_that_is_none_is_a_failed_attempt),
		TEST(nothing_is_sent_while_connecting),
		TEST(an_attempt_that_fails_is_repeated_after_a_pause),
		TEST(a_plugin_without_credentials_is_asked_again_later),
		TEST(a_client_that_cannot_be_made_is_tried_again_later),
		TEST(wrong_credentials_wait_at_least_a_minute),
		TEST(who_asks_is_told_why_a_link_is_not_online_and_when_it_tries_again),
		TEST(credentials_with_a_time_in_them_are_made_anew_at_once_but_only_once),
		TEST(a_clock_that_is_set_is_a_reason_to_try_credentials_of_the_time_at_once),
		TEST(a_device_that_is_locked_out_or_misnamed_is_not_tried_anew_at_once),
		TEST(a_client_id_that_is_refused_is_logged_as_a_fault_of_the_configuration),
		TEST(wrong_credentials_are_logged_whatever_failed_before),
		TEST(the_keep_alive_is_the_plugins_or_as_configured_or_a_minute),
		TEST(a_cloud_may_tell_the_time_to_a_machine_that_does_not_know_it),
		TEST(a_server_without_mqtt_5_is_asked_again_with_3_1_1_at_once),
		TEST(silence_makes_the_other_version_tried_without_hurry),
		TEST(an_unreachable_server_says_nothing_about_its_version),
		TEST(a_version_that_has_worked_is_kept_through_silence),
		TEST(a_server_that_speaks_5_no_longer_is_believed),
		TEST(a_version_that_was_configured_is_never_changed),
		TEST(online_the_backlog_is_sent_and_new_data_follows),
		TEST(acks_make_room_for_more),
		TEST(receive_maximum_of_the_server_is_obeyed),
		TEST(what_broke_off_is_sent_again_in_the_next_session),
		TEST(a_publish_that_fails_is_not_passed_over),
		TEST(what_the_client_cannot_send_goes_into_quarantine),
		TEST(without_memory_for_a_publish_the_session_starts_anew),
		TEST(qos_0_is_settled_when_it_is_written),
		TEST(a_rate_limit_is_waited_out_and_sending_goes_on_by_itself),
		TEST(a_journal_that_cannot_be_read_for_a_while_stalls_nothing),
		TEST(what_comes_down_is_given_to_the_plugin),
		TEST(subscribing_without_a_session_fails),
		TEST(without_a_puback_the_session_is_given_up),
		TEST(an_idle_session_is_not_given_up),
		TEST(a_cloud_that_acknowledges_nothing_puts_no_record_into_quarantine),
		TEST(a_record_that_alone_is_never_acknowledged_is_put_aside),
		TEST(three_broken_sessions_put_the_record_aside),
		TEST(only_ends_that_a_record_can_cause_blame_one),
		TEST(a_session_is_renewed_before_its_credentials_expire),
		TEST(renewal_goes_by_durations_and_not_by_the_clock),
		TEST(a_clock_set_while_we_connect_does_not_move_the_renewal),
		TEST(a_clock_that_was_a_little_behind_brings_the_renewal_forward),
		TEST(steps_of_twenty_years_end_no_session),
		TEST(learning_the_time_ends_a_back_off),
		TEST(what_is_in_flight_is_settled_before_the_renewal),
		TEST(draining_does_not_wait_for_ever),
		TEST(a_session_that_breaks_while_draining_connects_again),
		TEST(stopping_while_connecting_is_immediate),
		TEST(stopping_an_idle_session_disconnects_first),
		TEST(stopping_settles_what_is_in_flight),
		TEST(stopping_does_not_wait_for_ever),
		TEST(a_session_that_breaks_while_stopping_is_the_end),
		TEST(stopping_during_a_renewal_does_not_connect_again),
		TEST(stopping_while_backing_off_is_immediate),
		TEST(whoever_waits_for_the_stop_may_free_the_link),
		TEST(a_link_can_be_freed_in_every_state),
		TEST(a_broken_plugin_stops_its_link_and_keeps_the_records),
		TEST(a_plugin_may_break_in_every_callback),
		TEST(sessions_thrown_out_again_and_again_are_recognised),
		TEST(a_session_taken_over_is_told_at_once),
		TEST(long_sessions_that_end_are_no_takeover),
		TEST(lost_records_are_counted),
		TEST(back_off_grows_until_a_session_is_stable),
	};

	fg_log_open(FG_LOG_STDERR, LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
