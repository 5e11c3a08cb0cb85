/*
 * A link that goes on by HTTP while MQTT is blocked: each cell of the table in http_carrier.h.
 */
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
#include "fake_http.h"
#include "link_frame.h"
#include "util/log.h"

#include <syslog.h>

#define AFTER_MS 60000

static int setup(void **state)
{
	(void)state;
	link_frame_begin();
	fake_http_reset();
	plugin = script_http_plugin;
	config.fallback.url = (char *)"https://cloud.example";
	config.fallback.after_ms = AFTER_MS;
	options.http = (struct fg_http *)&fake_http; /* nobody looks inside */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	link_frame_end();
	assert_null(fake_http.request);
	return 0;
}

#define assert_by_http(expected) assert_int_equal(stats().n_sessions_by_http, expected)

static void assert_request(const char *url, const char *body)
{
	assert_non_null(fake_http.request);
	assert_string_equal(fake_http.url, url);
	assert_string_equal(fake_http.body, body);
}

#define assert_signing_in() assert_request("https://cloud.example/login", "me")

static void answer(unsigned status)
{
	fake_http_answer(status, "{}", -1);
}

static void mqtt_fails(void)
{
	if (fake_mqtt.client)
		fake_mqtt_end(FG_MQTT_END_UNREACHABLE, 0);
}

/* Time passes, and each attempt by MQTT fails. */
static void blocked_for(int64_t ms)
{
	for (; ms > 0; ms -= 100) {
		mqtt_fails();
		fake_time_pass(ms < 100 ? ms : 100);
	}
	mqtt_fails();
}

/* An attempt by MQTT succeeds. */
static void mqtt_is_back(void)
{
	for (int i = 0; i < 2000 && !fake_mqtt.client; i++)
		fake_time_pass(100);
	assert_non_null(fake_mqtt.client);
	fake_mqtt_connect(65535, 0);
}

static void waiting(void)
{
	make();
	fg_link_start(link_);
	mqtt_fails();
}

static void signing_in(void)
{
	waiting();
	blocked_for(AFTER_MS);
	assert_signing_in();
}

/* … with nothing to send. */
static void up(void)
{
	signing_in();
	answer(200);
	assert_by_http(1);
}

/* … with record 1 of "s" under way, and the next ones waiting. */
static void sending(unsigned n)
{
	add("s", n);
	up();
	assert_request("https://cloud.example/data/s", "1");
}

static void renewing(void)
{
	script.renew_ms = 20000;
	sending(2);
	blocked_for(20000);
	assert_request("https://cloud.example/data/s", "1");
}

static void backing_off(void)
{
	signing_in();
	fake_http_fail(-ECONNREFUSED);
	assert_null(fake_http.request);
}

/* … with record 1 of "s" under way, and record 2 waiting. */
static void draining(void)
{
	sending(2);
	mqtt_is_back();
	assert_int_equal(fake_mqtt.n_publishes, 0);
	assert_by_http(1);
}

/* ---- the configuration */

static void a_plugin_without_http_cannot_have_a_fallback(void **state)
{
	struct fg_error err = {0};

	(void)state;
	plugin = script_plugin;
	assert_int_equal(fg_link_check(&options, &err), -EINVAL);
	assert_string_equal(err.text, "plugin script cannot send by HTTP: take `fallback` away");
}

static void without_a_fallback_nothing_goes_by_http(void **state)
{
	(void)state;
	config.fallback.url = NULL;
	add("s", 1);
	waiting();
	blocked_for(10 * AFTER_MS);
	assert_int_equal(fake_http.n_made, 0);
	assert_int_equal(script.n_sign_ins, 0);
}

/* ---- IDLE */

static void a_link_that_is_online_needs_no_http(void **state)
{
	(void)state;
	make();
	fg_link_start(link_);
	fake_mqtt_connect(65535, 0);
	fake_time_pass(10 * AFTER_MS);
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_int_equal(fake_http.n_made, 0);
	stop();
	fake_mqtt_puback(fake_mqtt.publishes[0].packet_id, 0);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
}

static void the_wait_begins_anew_with_each_outage(void **state)
{
	(void)state;
	waiting();
	blocked_for(1000);
	mqtt_is_back();
	fake_time_pass(AFTER_MS);
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	blocked_for(AFTER_MS - 1000);
	assert_int_equal(fake_http.n_made, 0);
	blocked_for(1000);
	assert_signing_in();
}

static void mqtt_that_connects_and_carries_nothing_does_not_count_as_back(void **state)
{
	(void)state;
	sending(2);
	answer(200);
	mqtt_is_back();
	assert_request("https://cloud.example/data/s", "2");
	answer(200);
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_signing_in(); /* at once */
	answer(200);
	assert_request("https://cloud.example/data/s", "3");
}

static void mqtt_that_acknowledged_something_counts_as_back(void **state)
{
	(void)state;
	up();
	mqtt_is_back();
	new_data("s", 1);
	fake_mqtt_puback(fake_mqtt.publishes[0].packet_id, 0);
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_null(fake_http.request);
	blocked_for(AFTER_MS - 1000);
	assert_null(fake_http.request);
	blocked_for(1000);
	assert_signing_in();
}

static void a_session_of_the_plugin_s_own_does_not_count_as_back(void **state)
{
	(void)state;
	add("s", 1);
	up();
	answer(200);
	script.is_setup = script.has_own = true;
	mqtt_is_back();
	assert_by_http(0);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	fake_mqtt_puback(fake_mqtt.publishes[0].packet_id, 0);
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_signing_in(); /* at once */
}

/* ---- WAITING */

static void http_waits_until_mqtt_has_been_missing_for_long_enough(void **state)
{
	(void)state;
	add("s", 1);
	waiting();
	blocked_for(AFTER_MS - 100);
	assert_int_equal(fake_http.n_made, 0);
	assert_by_http(0);
	blocked_for(100);
	assert_signing_in();
	assert_int_equal(fake_http.method, FG_HTTP_POST);
	assert_int_equal(script.last_sign_in.mqtt_version, 0);
	assert_int_equal(script.n_encodes, 0);
}

static void an_attempt_that_hangs_counts_as_missing(void **state)
{
	(void)state;
	make();
	fg_link_start(link_);
	fake_time_pass(AFTER_MS);
	assert_non_null(fake_mqtt.client);
	assert_signing_in();
}

static void mqtt_in_time_ends_the_wait(void **state)
{
	(void)state;
	add("s", 1);
	waiting();
	mqtt_is_back();
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_int_equal(fake_http.n_made, 0);
}

static void a_refusal_of_the_credentials_is_no_blocked_mqtt(void **state)
{
	(void)state;
	config.mqtt_version = FG_MQTT_311;
	make();
	fg_link_start(link_);
	for (int i = 0; i < 10; i++) {
		fake_mqtt_end(FG_MQTT_END_REFUSED, 4);
		while (!fake_mqtt.client)
			fake_time_pass(1000);
	}
	assert_int_equal(fake_http.n_made, 0);
	/* Later it is blocked indeed. */
	blocked_for(AFTER_MS + 1000);
	assert_signing_in();
}

static void stopping_while_waiting_is_immediate(void **state)
{
	(void)state;
	waiting();
	stop();
	assert_int_equal(n_stopped, 1);
	fake_time_pass(10 * AFTER_MS);
	assert_int_equal(fake_http.n_made, 0);
}

/* ---- SIGNING_IN */

static void a_sign_in_that_is_accepted_begins_to_send(void **state)
{
	(void)state;
	add("s", 1);
	add("a", 3);
	signing_in();
	assert_int_equal(script.n_encodes, 0);
	assert_by_http(0);
	answer(200);
	assert_by_http(1);
	assert_int_equal(stats().n_sessions_online, 0);
	assert_request("https://cloud.example/data/s", "1");
	assert_string_equal(fake_http.headers, "token: t0ken\n");
	assert_int_equal(fake_http.timeout_ms, 30000);
	assert_int_equal(script.carrier, FG_CARRIER_HTTP);
	assert_int_equal(script.max_packet_bytes, FG_HTTP_MAX_BODY_BYTES);
	answer(200);
	assert_request("https://cloud.example/data/a", "2,3,4");
	answer(200);
	assert_watermark(4);
	assert_int_equal(stats().records_acked, 4);
}

static void the_plugin_may_bound_a_request(void **state)
{
	static const struct {
		size_t asked, got;
	} table[] = {{1000, 1000}, {SIZE_MAX, FG_HTTP_MAX_BODY_BYTES}};

	for (size_t i = 0; i < 2; i++) {
		script.max_body_bytes = table[i].asked;
		sending(1);
		assert_int_equal(script.max_packet_bytes, table[i].got);
		teardown(state);
		setup(state);
	}
	make();
}

static void a_plugin_that_needs_no_sign_in_sends_at_once(void **state)
{
	(void)state;
	script.has_no_sign_in = true;
	add("s", 1);
	waiting();
	blocked_for(AFTER_MS);
	assert_request("https://cloud.example/data/s", "1");
	assert_int_equal(script.n_signed_in, 0);
}

static void a_sign_in_that_fails_is_repeated_after_a_pause(void **state)
{
	(void)state;
	signing_in();
	for (unsigned i = 2; i < 6; i++) {
		fake_http_fail(-ETIMEDOUT);
		assert_null(fake_http.request);
		assert_int_equal(script.n_encodes, 0);
		blocked_for(60000);
		assert_signing_in();
		assert_int_equal(script.n_sign_ins, i);
		assert_int_equal(script.last_sign_in.attempt, i - 1);
	}
}

static void a_plugin_without_credentials_is_asked_to_sign_in_later(void **state)
{
	(void)state;
	script.sign_in_result = -EINVAL;
	waiting();
	blocked_for(AFTER_MS);
	assert_int_equal(script.n_sign_ins, 1);
	assert_null(fake_http.request);
	script.sign_in_result = 0;
	blocked_for(1000);
	assert_signing_in();
}

static void a_sign_in_that_cannot_be_made_now_is_made_later(void **state)
{
	(void)state;
	fake_http.new_result = -EAGAIN;
	waiting();
	blocked_for(AFTER_MS);
	assert_int_equal(script.n_sign_ins, 1);
	fake_http.new_result = 0;
	blocked_for(1000);
	assert_signing_in();
}

static void a_refused_sign_in_waits_by_what_it_was_refused_for(void **state)
{
	static const struct {
		unsigned status;
		int64_t retry_after_s, not_before_ms, by_ms;
	} table[] = {
		{401, -1, 60000, 120000}, /* credentials */
		{429, -1, 0, 1000},       /* not now */
		{429, 20, 20000, 21000},  /* … it says when */
		{429, 999999, 0, 1000},   /* … or says nonsense */
		{418, -1, 0, 1000},       /* no sense */
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		signing_in();
		fake_http_answer(table[i].status, "", table[i].retry_after_s);
		assert_null(fake_http.request);
		if (table[i].not_before_ms > 0)
			blocked_for(table[i].not_before_ms - 100);
		if (table[i].not_before_ms > 0)
			assert_null(fake_http.request);
		blocked_for(table[i].by_ms - table[i].not_before_ms + 100);
		assert_signing_in();
		teardown(state);
		setup(state);
	}
	make();
}

static void mqtt_that_is_back_ends_a_sign_in(void **state)
{
	(void)state;
	add("s", 1);
	signing_in();
	mqtt_is_back();
	assert_null(fake_http.request);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_int_equal(script.n_disconnected, 0); /* there was no session */
}

static void stopping_while_signing_in_is_immediate(void **state)
{
	(void)state;
	signing_in();
	stop();
	assert_int_equal(n_stopped, 1);
	assert_null(fake_http.request);
}

/* ---- UP */

static void one_request_is_under_way_at_a_time_and_in_order(void **state)
{
	(void)state;
	sending(5);
	for (unsigned i = 1; i <= 5; i++) {
		char body[8];

		snprintf(body, sizeof(body), "%u", i);
		assert_request("https://cloud.example/data/s", body);
		fg_link_committed(link_, fake_journal_commit(&journal));
		assert_watermark(i - 1);
		answer(200);
	}
	assert_null(fake_http.request);
	assert_watermark(5);
	new_data("s", 1);
	assert_request("https://cloud.example/data/s", "6");
}

static void attempts_by_mqtt_go_on_while_http_carries(void **state)
{
	unsigned n;

	(void)state;
	up();
	n = fake_mqtt.n_made;
	blocked_for(300000);
	assert_true(fake_mqtt.n_made > n + 3);
	assert_by_http(1);
	new_data("s", 1);
	assert_request("https://cloud.example/data/s", "1");
}

static void the_answer_is_judged_by_the_plugin(void **state)
{
	(void)state;
	sending(2);
	fake_http_answer(200, "{\"x\":1}", -1);
	assert_int_equal(script.last_settlement.http_status, 200);
	assert_int_equal(script.last_settlement.n_messages, 1);
	assert_int_equal(script.last_settlement.reason_code, 0);
	answer(500);
	assert_watermark(1);
	assert_null(fake_http.request); /* a pause */
	blocked_for(1000);
	assert_request("https://cloud.example/data/s", "2");
}

static void a_rate_limit_is_waited_for_as_the_cloud_asks(void **state)
{
	static const struct {
		int64_t retry_after_s, pause_ms;
	} table[] = {{-1, 1000}, {0, 1000}, {30, 30000}, {3600, 600000}, {1000000, 1000}};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		sending(1);
		fake_http_answer(429, "", table[i].retry_after_s);
		blocked_for(table[i].pause_ms - 100);
		assert_null(fake_http.request);
		blocked_for(100);
		assert_request("https://cloud.example/data/s", "1");
		teardown(state);
		setup(state);
	}
	make();
}

static void a_refused_record_is_found_and_put_aside(void **state)
{
	(void)state;
	add("a", 3);
	up();
	assert_request("https://cloud.example/data/a", "1,2,3");
	answer(400);
	assert_request("https://cloud.example/data/a", "1");
	answer(200);
	assert_request("https://cloud.example/data/a", "2");
	answer(400);
	assert_request("https://cloud.example/data/a", "3");
	answer(200);
	fg_link_committed(link_, fake_journal_commit(&journal));
	assert_true(fake_journal_has_quarantined(&journal, 2, true));
	assert_int_equal(stats().quarantined, 1);
	assert_string_equal(journal.quarantined[0].reason,
			    "the cloud refused it with HTTP status 400");
	assert_watermark(3);
}

static void what_cannot_be_asked_for_by_http_goes_into_quarantine(void **state)
{
	(void)state;
	up();
	fake_http.new_result = -EINVAL;
	new_data("s", 1);
	fake_http.new_result = 0;
	new_data("s", 1);
	fg_link_committed(link_, fake_journal_commit(&journal));
	assert_request("https://cloud.example/data/s", "2");
	assert_true(fake_journal_has_quarantined(&journal, 1, true));
}

static void a_request_that_there_is_no_room_for_is_made_later(void **state)
{
	(void)state;
	up();
	fake_http.new_result = -EAGAIN;
	new_data("s", 1);
	assert_by_http(0);
	fake_http.new_result = 0;
	blocked_for(1000);
	assert_signing_in();
	answer(200);
	assert_request("https://cloud.example/data/s", "1");
}

static void a_token_that_is_not_accepted_any_more_is_got_anew_once(void **state)
{
	(void)state;
	sending(2);
	answer(401);
	assert_signing_in(); /* at once */
	assert_by_http(0);
	answer(200);
	assert_request("https://cloud.example/data/s", "1");
	answer(200);
	/* After success, the next time is a first one again. */
	answer(401);
	assert_signing_in();
	answer(200);
	assert_request("https://cloud.example/data/s", "2");
	/* The new one is not accepted either. */
	answer(401);
	assert_null(fake_http.request);
	assert_by_http(0);
	blocked_for(59000);
	assert_null(fake_http.request);
	blocked_for(61000);
	assert_signing_in();
	assert_int_equal(stats().quarantined, 0);
}

static void a_request_without_an_answer_is_made_again_after_a_new_sign_in(void **state)
{
	(void)state;
	sending(2);
	fake_http_fail(-ECONNREFUSED);
	assert_null(fake_http.request);
	assert_int_equal(script.n_disconnected, 1);
	assert_by_http(0);
	blocked_for(2000);
	assert_signing_in();
	answer(200);
	assert_request("https://cloud.example/data/s", "1");
}

static void a_record_that_breaks_each_request_is_put_aside(void **state)
{
	(void)state;
	sending(2);
	for (int i = 0; i < 3; i++) {
		assert_request("https://cloud.example/data/s", "1");
		fake_http_fail(-ENOTCONN);
		while (!fake_http.request)
			blocked_for(100);
		assert_signing_in();
		answer(200);
	}
	assert_request("https://cloud.example/data/s", "2");
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
}

/* What is under way is refused for its token, and so it is with the next one. Returns how long it took until
 * there was one more. */
static int64_t no_token_is_good_enough(void)
{
	int64_t waited_ms = 0;

	answer(401);
	assert_signing_in();
	answer(200);
	answer(401);
	for (; !fake_http.request; waited_ms += 1000)
		blocked_for(1000);
	assert_signing_in();
	answer(200);
	return waited_ms;
}

/* What stands in front of a cloud may well answer 403 to one text. */
static void a_record_for_which_no_token_is_good_enough_is_put_aside(void **state)
{
	(void)state;
	sending(2);
	for (int i = 0; i < 3; i++) {
		assert_request("https://cloud.example/data/s", "1");
		assert_int_equal(stats().quarantined, 0);
		no_token_is_good_enough();
	}
	assert_request("https://cloud.example/data/s", "2");
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	assert_int_equal(stats().quarantined, 1);
}

static void a_cloud_that_takes_no_token_at_all_does_not_empty_the_journal(void **state)
{
	int64_t waited_ms = 0;

	(void)state;
	sending(100);
	while (waited_ms < 24 * 3600 * INT64_C(1000))
		waited_ms += no_token_is_good_enough();
	assert_in_range(stats().quarantined, 1, 6);
}

static void a_cloud_that_cannot_be_reached_is_no_fault_of_a_record(void **state)
{
	(void)state;
	sending(1);
	for (int i = 0; i < 10; i++) {
		assert_request("https://cloud.example/data/s", "1");
		fake_http_fail(-ECONNREFUSED);
		while (!fake_http.request)
			blocked_for(100);
		answer(200);
	}
	assert_int_equal(journal.n_quarantined, 0);
}

static void a_token_is_renewed_before_it_expires(void **state)
{
	(void)state;
	script.renew_ms = 20000;
	up();
	blocked_for(19900);
	assert_null(fake_http.request);
	blocked_for(100);
	assert_signing_in();
	assert_int_equal(script.n_disconnected, 1);
	answer(200);
	new_data("s", 1);
	assert_request("https://cloud.example/data/s", "1");
}

static void mqtt_that_is_back_takes_over_from_idle_http_at_once(void **state)
{
	(void)state;
	up();
	mqtt_is_back();
	assert_by_http(0);
	assert_int_equal(script.n_disconnected, 1);
	assert_int_equal(script.n_connected, 1);
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	fake_mqtt_puback(fake_mqtt.publishes[0].packet_id, 0);
	assert_int_equal(script.carrier, FG_CARRIER_MQTT);
	fake_time_pass(10 * AFTER_MS);
	assert_null(fake_http.request);
}

static void stopping_while_up_and_idle_is_immediate(void **state)
{
	(void)state;
	up();
	stop();
	assert_int_equal(n_stopped, 1);
}

static void what_is_no_path_breaks_the_plugin(void **state)
{
	(void)state;
	sending(1);
	answer(200);
	script.misdeed = SCRIPT_TOPIC_FOR_MQTT;
	new_data("s", 1);
	assert_null(fake_http.request);
	assert_by_http(0);
	assert_null(fake_mqtt.client);
	assert_int_equal(fake_timers(), 0);
	assert_watermark(1);
}

/* ---- what HTTP cannot carry */

/* Attributes and presence have an order among themselves. */
static void add_ordered(const char *device)
{
	uint64_t seq = fake_journal_add(&journal, device);

	journal.records[seq - 1].kind = FG_ATTRIBUTES;
}

static void what_waits_for_mqtt_holds_nothing_up(void **state)
{
	static const enum fg_drain_order orders[] = {FG_DRAIN_FIFO, FG_DRAIN_LIVE_FIRST};

	for (size_t i = 0; i < 2; i++) {
		config.order = orders[i];
		config.backlog_share = 20;
		add("s1", 1);
		add_ordered("p");
		up();
		assert_request("https://cloud.example/data/s1", "1");
		answer(200);
		for (unsigned k = 0; k < 250; k++) {
			add_ordered("p"); /* 3, 5, … */
			add_ordered("q"); /* 4, 6, … */
		}
		fg_link_committed(link_, fake_journal_commit(&journal));
		while (fake_http.request) {
			assert_string_equal(fake_http.url, "https://cloud.example/data/q");
			answer(200);
		}
		assert_int_equal(stats().records_acked, 251);
		assert_watermark(1);
		assert_int_equal(stats().backlog, 251);
		/* MQTT is back: in order, and each once. */
		mqtt_is_back();
		for (size_t n = 0; n < fake_mqtt.n_publishes; n++) {
			assert_string_equal(fake_mqtt.publishes[n].topic, "data/p");
			fake_mqtt_puback(fake_mqtt.publishes[n].packet_id, 0);
			fake_mqtt_after_read();
		}
		assert_int_equal(memcmp(fake_mqtt.publishes[0].payload, "2,3,5,7,", 8), 0);
		assert_int_equal(stats().records_acked, 502);
		assert_watermark(502);
		teardown(state);
		setup(state);
	}
	make();
}

static void what_waits_for_mqtt_waits_through_a_renewal_and_a_failure(void **state)
{
	(void)state;
	script.renew_ms = 20000;
	add("p", 1);
	up();
	assert_null(fake_http.request);
	blocked_for(20000);
	answer(200);
	new_data("s", 1);
	assert_request("https://cloud.example/data/s", "2");
	fake_http_fail(-ENOTCONN);
	blocked_for(2000);
	answer(200);
	assert_request("https://cloud.example/data/s", "2");
	answer(200);
	assert_watermark(0);
	mqtt_is_back();
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
}

/* ---- RENEWING */

static void a_request_under_way_is_answered_before_the_renewal(void **state)
{
	(void)state;
	renewing();
	assert_by_http(1);
	answer(200);
	assert_signing_in();
	assert_watermark(1);
	answer(200);
	assert_request("https://cloud.example/data/s", "2");
}

static void no_answer_while_renewing_is_a_failure_like_any(void **state)
{
	(void)state;
	renewing();
	fake_http_fail(-ENOTCONN);
	assert_by_http(0);
	blocked_for(2000);
	assert_signing_in();
	answer(200);
	assert_request("https://cloud.example/data/s", "1");
}

static void mqtt_that_is_back_during_a_renewal_waits_for_the_answer(void **state)
{
	(void)state;
	renewing();
	mqtt_is_back();
	assert_int_equal(fake_mqtt.n_publishes, 0);
	answer(200);
	assert_null(fake_http.request);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_string_equal(fake_mqtt.publishes[0].payload, "2");
}

/* ---- BACKOFF */

static void mqtt_that_is_back_ends_a_pause_of_http(void **state)
{
	(void)state;
	backing_off();
	mqtt_is_back();
	new_data("s", 1);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	fake_mqtt_puback(fake_mqtt.publishes[0].packet_id, 0);
	fake_time_pass(10 * AFTER_MS);
	assert_null(fake_http.request);
}

static void learning_the_time_ends_a_pause_of_http(void **state)
{
	(void)state;
	signing_in();
	answer(401);
	fg_link_clock_set(link_, false);
	assert_null(fake_http.request);
	fg_link_clock_set(link_, true);
	assert_signing_in();
}

static void stopping_while_http_backs_off_is_immediate(void **state)
{
	(void)state;
	backing_off();
	stop();
	assert_int_equal(n_stopped, 1);
}

/* ---- DRAINING */

static void mqtt_takes_over_when_the_last_request_is_answered(void **state)
{
	(void)state;
	draining();
	assert_false(fake_mqtt_deliver("cmd", "{}"));
	assert_int_equal(script.n_received, 0);
	assert_int_equal(script.n_connected, 0);
	answer(200);
	assert_by_http(0);
	assert_int_equal(script.n_connected, 1);
	assert_int_equal(fake_mqtt.n_resumes, 1);
	assert_true(fake_mqtt_deliver("cmd", "{}"));
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_string_equal(fake_mqtt.publishes[0].payload, "2");
	assert_watermark(1);
}

static void mqtt_sends_what_http_had_no_answer_for(void **state)
{
	(void)state;
	draining();
	fake_http_fail(-ENOTCONN);
	assert_int_equal(fake_mqtt.n_publishes, 2);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
	assert_string_equal(fake_mqtt.publishes[1].payload, "2");
}

static void mqtt_sends_what_http_was_refused_for_the_token(void **state)
{
	(void)state;
	draining();
	answer(401);
	assert_null(fake_http.request);
	assert_int_equal(fake_mqtt.n_publishes, 2);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
}

static void mqtt_does_not_wait_for_ever(void **state)
{
	(void)state;
	draining();
	fake_time_pass(2900);
	assert_int_equal(fake_mqtt.n_publishes, 0);
	fake_time_pass(100);
	assert_null(fake_http.request);
	assert_int_equal(fake_mqtt.n_publishes, 2);
	assert_string_equal(fake_mqtt.publishes[0].payload, "1");
}

static void mqtt_that_goes_again_meanwhile_leaves_it_to_http(void **state)
{
	(void)state;
	draining();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_request("https://cloud.example/data/s", "1");
	answer(200);
	assert_signing_in();
	answer(200);
	assert_request("https://cloud.example/data/s", "2");
	assert_int_equal(script.n_connected, 0);
}

static void mqtt_that_comes_and_goes_and_comes_takes_over(void **state)
{
	(void)state;
	draining();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	fg_link_clock_set(link_, true); /* the next attempt is made at once */
	assert_non_null(fake_mqtt.client);
	fake_mqtt_connect(65535, 0);
	assert_int_equal(fake_mqtt.n_publishes, 0);
	answer(200);
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_string_equal(fake_mqtt.publishes[0].payload, "2");
}

static void stopping_settles_the_request_under_way(void **state)
{
	(void)state;
	sending(2);
	stop();
	assert_int_equal(n_stopped, 0);
	blocked_for(1000);
	assert_null(fake_mqtt.client); /* no attempts any more */
	answer(200);
	assert_int_equal(n_stopped, 1);
	assert_null(fake_http.request);
	assert_watermark(1);
}

static void stopping_does_not_wait_for_an_answer_for_ever(void **state)
{
	(void)state;
	sending(2);
	stop();
	fake_time_pass(3000);
	assert_int_equal(n_stopped, 1);
	assert_null(fake_http.request);
	assert_watermark(0);
}

static void stopping_while_mqtt_takes_over_waits_for_the_answer(void **state)
{
	(void)state;
	draining();
	stop();
	assert_null(fake_mqtt.client);
	assert_int_equal(n_stopped, 0);
	frees_in_stopped = true;
	answer(200);
	assert_int_equal(n_stopped, 1);
	assert_null(link_);
}

/* ---- all of them */

static void a_link_can_be_freed_in_every_state_of_http(void **state)
{
	void (*const states[])(void) = {waiting, signing_in, up, renewing, backing_off, draining};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		states[i]();
		teardown(state);
		setup(state);
	}
	make();
}

static void a_plugin_may_break_while_http_carries(void **state)
{
	(void)state;
	sending(2);
	script.misdeed = SCRIPT_FAILS;
	answer(200);
	assert_null(fake_http.request);
	assert_int_equal(fake_timers(), 0);
	assert_watermark(1);
}

static void no_token_is_written_to_the_log(void **state)
{
	struct captured captured;

	(void)state;
	fg_log_open(FG_LOG_STDERR, LOG_DEBUG);
	captured_begin(&captured);
	sending(2);
	answer(401);
	fake_http_answer(200, "{\"access_token\":\"t0ken\"}", -1);
	answer(200);
	fake_http_fail(-ENOTCONN);
	captured_end(&captured);
	fg_log_open(FG_LOG_STDERR, LOG_CRIT);
	assert_null(strstr(captured.text, "t0ken"));
	assert_non_null(strstr(captured.text, "link cloud: MQTT is blocked, sending by HTTP"));
	assert_non_null(strstr(captured.text, "refused with HTTP status 401, signing in anew"));
	assert_non_null(strstr(captured.text, "link cloud: by HTTP: no answer, trying again in"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_plugin_without_http_cannot_have_a_fallback),
		TEST(without_a_fallback_nothing_goes_by_http),
		TEST(a_link_that_is_online_needs_no_http),
		TEST(the_wait_begins_anew_with_each_outage),
		TEST(mqtt_that_connects_and_carries_nothing_does_not_count_as_back),
		TEST(mqtt_that_acknowledged_something_counts_as_back),
		TEST(a_session_of_the_plugin_s_own_does_not_count_as_back),
		TEST(http_waits_until_mqtt_has_been_missing_for_long_enough),
		TEST(an_attempt_that_hangs_counts_as_missing),
		TEST(mqtt_in_time_ends_the_wait),
		TEST(a_refusal_of_the_credentials_is_no_blocked_mqtt),
		TEST(stopping_while_waiting_is_immediate),
		TEST(a_sign_in_that_is_accepted_begins_to_send),
		TEST(the_plugin_may_bound_a_request),
		TEST(a_plugin_that_needs_no_sign_in_sends_at_once),
		TEST(a_sign_in_that_fails_is_repeated_after_a_pause),
		TEST(a_plugin_without_credentials_is_asked_to_sign_in_later),
		TEST(a_sign_in_that_cannot_be_made_now_is_made_later),
		TEST(a_refused_sign_in_waits_by_what_it_was_refused_for),
		TEST(mqtt_that_is_back_ends_a_sign_in),
		TEST(stopping_while_signing_in_is_immediate),
		TEST(one_request_is_under_way_at_a_time_and_in_order),
		TEST(attempts_by_mqtt_go_on_while_http_carries),
		TEST(the_answer_is_judged_by_the_plugin),
		TEST(a_rate_limit_is_waited_for_as_the_cloud_asks),
		TEST(a_refused_record_is_found_and_put_aside),
		TEST(what_cannot_be_asked_for_by_http_goes_into_quarantine),
		TEST(a_request_that_there_is_no_room_for_is_made_later),
		TEST(a_token_that_is_not_accepted_any_more_is_got_anew_once),
		TEST(a_request_without_an_answer_is_made_again_after_a_new_sign_in),
		TEST(a_record_that_breaks_each_request_is_put_aside),
		TEST(a_record_for_which_no_token_is_good_enough_is_put_aside),
		TEST(a_cloud_that_takes_no_token_at_all_does_not_empty_the_journal),
		TEST(a_cloud_that_cannot_be_reached_is_no_fault_of_a_record),
		TEST(a_token_is_renewed_before_it_expires),
		TEST(mqtt_that_is_back_takes_over_from_idle_http_at_once),
		TEST(stopping_while_up_and_idle_is_immediate),
		TEST(what_is_no_path_breaks_the_plugin),
		TEST(what_waits_for_mqtt_holds_nothing_up),
		TEST(what_waits_for_mqtt_waits_through_a_renewal_and_a_failure),
		TEST(a_request_under_way_is_answered_before_the_renewal),
		TEST(no_answer_while_renewing_is_a_failure_like_any),
		TEST(mqtt_that_is_back_during_a_renewal_waits_for_the_answer),
		TEST(mqtt_that_is_back_ends_a_pause_of_http),
		TEST(learning_the_time_ends_a_pause_of_http),
		TEST(stopping_while_http_backs_off_is_immediate),
		TEST(mqtt_takes_over_when_the_last_request_is_answered),
		TEST(mqtt_sends_what_http_had_no_answer_for),
		TEST(mqtt_sends_what_http_was_refused_for_the_token),
		TEST(mqtt_does_not_wait_for_ever),
		TEST(mqtt_that_goes_again_meanwhile_leaves_it_to_http),
		TEST(mqtt_that_comes_and_goes_and_comes_takes_over),
		TEST(stopping_settles_the_request_under_way),
		TEST(stopping_does_not_wait_for_an_answer_for_ever),
		TEST(stopping_while_mqtt_takes_over_waits_for_the_answer),
		TEST(a_link_can_be_freed_in_every_state_of_http),
		TEST(a_plugin_may_break_while_http_carries),
		TEST(no_token_is_written_to_the_log),
	};

	fg_log_open(FG_LOG_STDERR, LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
