/*
 * The way of a record whose time is not known, through the real journal and a real outbox; only the
 * clocks are made up. Payloads are the records' stamps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cloud/outbox.h"
#include "journal/fs.h"
#include "journal/journal.h"
#include "util/span.h"
#include "util/timekeeper.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define YEARS(n) ((n)*365 * 24 * 60 * MINUTE)
#define NOON (FG_TIME_FLOOR_US + YEARS(2))
#define WAIT (10 * MINUTE)

static char dir[64], clock_path[96];
static uint8_t boot_id[16];
static int64_t start_us,
	up_us; /* what the wall clock said at the start of the machine; its running time */
static struct fg_timekeeper *timekeeper;
static struct fg_fs *fs;
static struct fg_journal *journal;
static struct fg_cursor *cursor;
static struct fg_cursor *alarms;
static struct fg_outbox_session *session;
static struct fg_outbox *outbox;
static enum fg_time_quality sent_quality;
static int packet_id;

static void fake_read(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	(void)arg;
	*ret_utc_us = start_us + up_us;
	*ret_boottime_us = up_us;
}

static void fake_look(void *arg, int64_t utc_us, struct fg_clock_evidence *ret)
{
	(void)arg;
	(void)utc_us;
	*ret = (struct fg_clock_evidence){.is_service_working = true};
}

static int encode(void *ctx, const char *name, struct fg_batch *batch, struct fg_publish *out)
{
	(void)ctx;
	(void)name;
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->states[i] != FG_OFFERED)
			continue;
		batch->states[i] = FG_TAKEN;
		out->topic[0] = 't';
		out->topic[1] = '\0';
		out->payload_len = (size_t)snprintf(out->payload, out->payload_size, "%lld",
						    (long long)batch->messages[i].time_us);
		sent_quality = batch->messages[i].time_quality;
		return 1;
	}
	return 0;
}

static const struct fg_plugin plugin = {
	.abi = FG_PLUGIN_ABI, .size = sizeof(plugin), .name = "stamps", .encode = encode};

static void start(void)
{
	struct fg_timekeeper_options clock = {
		.path = clock_path,
		.boot_id = boot_id,
		.wait_us = WAIT,
		.read = fake_read,
		.look = fake_look,
	};
	struct fg_journal_options options = {
		.segment_bytes = 64 * 1024,
		.batch_bytes = 4096,
		.max_bytes = 1024 * 1024,
		.max_alarm_bytes = 1024 * 1024,
		.max_quarantine_bytes = 1024 * 1024,
	};
	static const struct fg_cloud_config config = {
		.name = (char *)"cloud", .max_in_flight = 4, .max_in_flight_records = 1000};
	struct fg_outbox_options out = {.config = &config, .plugin = &plugin};
	struct fg_error err = {0};

	assert_int_equal(fg_timekeeper_new(&clock, &timekeeper), 0);
	assert_int_equal(fg_fs_posix_new(dir, &fs), 0);
	options.fs = fs;
	options.timekeeper = timekeeper;
	assert_int_equal(fg_journal_open(&options, &journal, &err), 0);
	assert_int_equal(fg_cursor_open(journal, FG_LANE_MAIN, "cloud", 1000, &cursor), 0);
	out.journal = journal;
	assert_int_equal(fg_cursor_open(journal, FG_LANE_ALARM, "cloud", 1000, &alarms), 0);
	out.cursors[FG_LANE_MAIN] = cursor;
	out.cursors[FG_LANE_ALARM] = alarms;
	out.timekeeper = timekeeper;
	assert_int_equal(fg_outbox_new(&out, &outbox), 0);
	assert_int_equal(fg_outbox_session_open(outbox, fg_span_str(""), &session), 0);
	fg_outbox_session_begin(session, 65535, 0, false);
}

static void stop(void)
{
	outbox = fg_outbox_free(outbox);
	fg_cursor_close(cursor);
	fg_cursor_close(alarms);
	journal = fg_journal_free(journal);
	fg_fs_posix_free(fs);
	timekeeper = fg_timekeeper_free(timekeeper);
}

static void boot(uint8_t number)
{
	memset(boot_id, number, sizeof(boot_id));
	start_us = 0;
	up_us = 20 * SECOND;
	start();
}

static void clock_is_set(int64_t utc_us)
{
	struct fg_clock_news news;

	start_us = utc_us - up_us;
	fg_timekeeper_tick(timekeeper, &news);
}

/* A message without a time of its own comes and is committed. */
static void arrives(void)
{
	struct fg_message msg = {
		.kind = FG_TELEMETRY, .device = fg_span_str("d"), .body = fg_span_str("{}")};
	uint64_t seq;

	msg.time_quality = fg_timekeeper_now(timekeeper, &msg.time_us);
	assert_int_equal(fg_journal_append(journal, FG_LANE_MAIN, &msg, &seq), 0);
	fg_journal_flush(journal, 0);
}

static void arrives_with_a_time(int64_t time_us)
{
	struct fg_message msg = {.kind = FG_TELEMETRY,
				 .time_us = time_us,
				 .time_quality = FG_TIME_DEVICE,
				 .device = fg_span_str("d"),
				 .body = fg_span_str("{}")};
	uint64_t seq;

	assert_int_equal(fg_journal_append(journal, FG_LANE_MAIN, &msg, &seq), 0);
	fg_journal_flush(journal, 0);
}

static int64_t sends(enum fg_time_quality quality)
{
	struct fg_outbox_session *its;
	const struct fg_publish *p;
	char text[32];

	assert_int_equal(fg_outbox_next(outbox, 1, &its, &p), 1);
	fg_outbox_sent(outbox, ++packet_id, 1);
	assert_int_equal(sent_quality, quality);
	snprintf(text, sizeof(text), "%.*s", (int)p->payload_len, p->payload);
	return strtoll(text, NULL, 10);
}

static void sends_nothing(void)
{
	struct fg_outbox_session *its;
	const struct fg_publish *p;

	assert_int_equal(fg_outbox_next(outbox, 1, &its, &p), 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/fieldgate-time-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(clock_path, sizeof(clock_path), "%s.clock", dir);
	boot(1);
	return 0;
}

static int teardown(void **state)
{
	char command[200];

	(void)state;
	stop();
	snprintf(command, sizeof(command), "rm -rf %s %s", dir, clock_path);
	return system(command);
}

#define assert_us(a, b) assert_true((a) == (b))

static void a_record_waits_for_its_time_and_those_behind_it_too(void **state)
{
	(void)state;
	arrives_with_a_time(77);
	arrives();
	arrives_with_a_time(78);
	assert_us(sends(FG_TIME_DEVICE), 77);
	sends_nothing();
	up_us += MINUTE;
	clock_is_set(NOON);
	assert_us(sends(FG_TIME_GATEWAY), NOON - MINUTE);
	assert_us(sends(FG_TIME_DEVICE), 78);
	sends_nothing();
	fg_outbox_settled(session, packet_id, 0, 1);
	assert_int_equal(fg_cursor_watermark(cursor), 0);
	fg_outbox_settled(session, packet_id - 1, 0, 1);
	fg_outbox_settled(session, packet_id - 2, 0, 1);
	assert_int_equal(fg_cursor_backlog(cursor), 0);
}

static void a_device_that_says_1970_is_not_corrected(void **state)
{
	(void)state;
	arrives_with_a_time(5);
	assert_us(sends(FG_TIME_DEVICE), 5);
	clock_is_set(NOON);
	arrives_with_a_time(6);
	assert_us(sends(FG_TIME_DEVICE), 6);
}

static void after_the_wait_records_go_out_as_not_synchronised(void **state)
{
	(void)state;
	arrives();
	up_us += WAIT - 1;
	sends_nothing();
	up_us += 1;
	assert_us(sends(FG_TIME_UNSYNCHRONISED), FG_TIME_FLOOR_US + 20 * SECOND);
	/* Not acknowledged, and sent again when the time is known. */
	clock_is_set(NOON);
	fg_outbox_session_end(session, false);
	fg_outbox_session_begin(session, 65535, 0, false);
	assert_us(sends(FG_TIME_GATEWAY), NOON - WAIT);
}

static void records_that_waited_through_broken_sessions_go_out_once(void **state)
{
	(void)state;
	arrives();
	for (int i = 0; i < 5; i++) {
		sends_nothing();
		fg_outbox_session_end(session, true);
		fg_outbox_session_begin(session, 65535, 0, false);
	}
	clock_is_set(NOON);
	assert_us(sends(FG_TIME_GATEWAY), NOON);
	sends_nothing();
}

static void a_restart_between_arrival_and_sending_loses_no_time(void **state)
{
	(void)state;
	arrives();
	stop();
	up_us += MINUTE;
	start();
	sends_nothing();
	up_us += MINUTE;
	clock_is_set(NOON);
	stop();
	start();
	assert_us(sends(FG_TIME_GATEWAY), NOON - 2 * MINUTE);
}

static void a_reboot_after_the_time_was_learnt_loses_nothing(void **state)
{
	(void)state;
	arrives();
	up_us += MINUTE;
	clock_is_set(NOON);
	stop();
	boot(2);
	assert_us(sends(FG_TIME_GATEWAY), NOON - MINUTE);
}

static void a_boot_that_never_knew_is_put_before_the_one_that_does(void **state)
{
	int64_t first, second;

	(void)state;
	arrives();
	up_us += 5 * SECOND;
	arrives();
	stop();
	boot(2);
	arrives();
	clock_is_set(NOON);
	first = sends(FG_TIME_UNSYNCHRONISED);
	second = sends(FG_TIME_UNSYNCHRONISED);
	assert_us(second - first, 5 * SECOND);
	assert_us(second, NOON - 20 * SECOND);
	assert_us(sends(FG_TIME_GATEWAY), NOON);
}

static void steps_of_twenty_years_at_any_point_leave_stamps_and_flow_alone(void **state)
{
	static const int64_t steps[] = {YEARS(20), -YEARS(20), -YEARS(20), YEARS(20)};
	int64_t now = NOON;

	(void)state;
	arrives();
	clock_is_set(now);
	assert_us(sends(FG_TIME_GATEWAY), NOON);
	fg_outbox_settled(session, packet_id, 0, 1);
	for (size_t i = 0; i < 4; i++) {
		/* in flight, waiting to be read, and after it */
		up_us += SECOND;
		arrives();
		sends(FG_TIME_GATEWAY);
		arrives();
		now += steps[i] + SECOND;
		clock_is_set(now);
		arrives();
		/* 2007 is not followed, and so there is nothing to come back from */
		assert_us(sends(FG_TIME_GATEWAY), i == 3 ? now : now - steps[i]);
		assert_us(sends(FG_TIME_GATEWAY), i == 2 ? now + YEARS(20) : now);
		sends_nothing();
		for (int back = 2; back >= 0; back--)
			fg_outbox_settled(session, packet_id - back, 0, 1);
		assert_int_equal(fg_outbox_in_flight(session), 0);
		assert_int_equal(fg_cursor_backlog(cursor), 0);
	}
	assert_us(now, NOON + 4 * SECOND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_record_waits_for_its_time_and_those_behind_it_too),
		T(a_device_that_says_1970_is_not_corrected),
		T(after_the_wait_records_go_out_as_not_synchronised),
		T(records_that_waited_through_broken_sessions_go_out_once),
		T(a_restart_between_arrival_and_sending_loses_no_time),
		T(a_reboot_after_the_time_was_learnt_loses_nothing),
		T(a_boot_that_never_knew_is_put_before_the_one_that_does),
		T(steps_of_twenty_years_at_any_point_leave_stamps_and_flow_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
