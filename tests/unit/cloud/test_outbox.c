#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cloud/outbox.h"
#include "fake_journal.h"
#include "scripted_plugin.h"
#include "util/log.h"

#define LATER 0x97u
#define RETRY 0x80u
#define POISON 0x99u

static struct fg_journal journal;
static struct script script;
static char link_name[] = "cloud";
static struct fg_cloud_config config;
static struct fg_outbox *outbox;
static struct fg_outbox_session *session;
static const struct fg_publish *publish;
static int64_t now_ms;
static int last_id;
static bool (*is_awaited)(void *arg, struct fg_span ref);

static void open_outbox(void)
{
	struct fg_outbox_options options = {
		.config = &config,
		.journal = &journal,
		.plugin = &script_plugin,
		.ctx = &script,
		.is_awaited = is_awaited,
	};

	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		assert_int_equal(fg_cursor_open(&journal, lane, config.name,
						config.max_in_flight_records,
						&options.cursors[lane]),
				 0);
	assert_int_equal(fg_outbox_new(&options, &outbox), 0);
	script.outbox = outbox;
	assert_int_equal(fg_outbox_session_open(outbox, fg_span_str(""), &session), 0);
	fg_outbox_session_begin(session, 65535, 0, false);
}

static void make(unsigned max_in_flight, unsigned max_unsaved)
{
	config.max_in_flight = max_in_flight;
	config.max_in_flight_records = max_unsaved;
	open_outbox();
}

static void close_outbox(void)
{
	outbox = fg_outbox_free(outbox);
	fg_cursor_close(&journal.cursor);
	fg_cursor_close(&journal.alarm_cursor);
	assert_int_equal(journal.n_passes, 0);
}

static int setup(void **state)
{
	(void)state;
	fake_journal_init(&journal);
	memset(&script, 0, sizeof(script));
	config = (struct fg_cloud_config){.name = link_name, .backlog_share = 20};
	is_awaited = NULL;
	now_ms = 1000000;
	last_id = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_outbox();
	fake_journal_done(&journal);
	return 0;
}

static void add(const char *device, unsigned n)
{
	while (n--)
		fake_journal_add(&journal, device);
}

static int next(void)
{
	struct fg_outbox_session *on;
	int r = fg_outbox_next(outbox, now_ms, &on, &publish);

	if (r == 1)
		assert_ptr_equal(on, session);
	return r;
}

/* Send one publish; its payload must be @payload. Returns the packet id. */
static int sends(const char *payload)
{
	int r = next();

	if (r != 1)
		fail_msg("fg_outbox_next() gives %d, expected \"%s\"", r, payload);
	if (publish->payload_len != strlen(payload) ||
	    memcmp(publish->payload, payload, publish->payload_len) != 0)
		fail_msg("sends \"%.*s\", expected \"%s\"", (int)publish->payload_len,
			 publish->payload, payload);
	fg_outbox_sent(outbox, ++last_id, now_ms);
	return last_id;
}

static void sends_nothing(void)
{
	assert_int_equal(next(), 0);
}

static void settled(int packet_id, unsigned code)
{
	fg_outbox_settled(session, packet_id, code, now_ms);
}

static void new_session(bool is_suspicious)
{
	fg_outbox_session_end(session, is_suspicious);
	script_plugin.disconnected(&script, "");
	fg_outbox_session_begin(session, 65535, 0, false);
}

static void commit(void)
{
	fg_outbox_committed(outbox, fake_journal_commit(&journal));
}

/* All that is left is sent at once, and taken. */
static void works_up_to(uint64_t watermark)
{
	while (fg_cursor_watermark(&journal.cursor) < watermark) {
		assert_int_equal(next(), 1);
		fg_outbox_sent(outbox, ++last_id, now_ms);
		settled(last_id, 0);
		commit();
	}
}

static void wait_for_pause(void)
{
	int64_t until = fg_outbox_paused_until(outbox);

	assert_true(until > now_ms);
	sends_nothing();
	now_ms = until;
}

#define assert_watermark(expected) assert_int_equal(fg_cursor_watermark(&journal.cursor), expected)

/* ---- the usual */

static void records_are_batched_and_settled_when_acknowledged(void **state)
{
	int a, b;

	(void)state;
	add("a", 2);
	add("b", 1);
	add("a", 1);
	make(16, 10000);
	a = sends("1,2,4");
	b = sends("3");
	sends_nothing();
	assert_watermark(0);
	settled(b, 0);
	assert_watermark(0);
	settled(a, 0);
	assert_watermark(4);
	sends_nothing();
	assert_int_equal(fg_outbox_in_flight(session), 0);
}

static void the_watermark_stays_below_an_interleaved_publish(void **state)
{
	int a, b, c;

	(void)state;
	add("s1", 1);
	add("a", 1);
	add("s2", 1);
	add("a", 1);
	make(16, 10000);
	a = sends("1");
	b = sends("2,4");
	c = sends("3");
	settled(c, 0);
	assert_watermark(0);
	settled(a, 0);
	assert_watermark(1);
	settled(b, 0);
	assert_watermark(4);
}

static void a_puback_counts_once_and_an_unknown_one_not_at_all(void **state)
{
	struct fg_outbox_stats stats;
	int a;

	(void)state;
	add("s1", 1);
	add("s2", 1);
	make(16, 10000);
	a = sends("1");
	sends("2");
	settled(99, 0);
	settled(a, 0);
	settled(a, 0);
	settled(a, POISON);
	assert_watermark(1);
	fg_outbox_get_stats(outbox, &stats);
	assert_int_equal(stats.records_acked, 1);
	assert_int_equal(stats.published, 2);
	assert_int_equal(stats.quarantined, 0);
}

static void the_window_is_bounded_by_receive_maximum(void **state)
{
	int a;

	(void)state;
	add("s", 5);
	make(16, 10000);
	fg_outbox_session_end(session, false);
	sends_nothing(); /* no session */
	fg_outbox_session_begin(session, 2, 0, false);
	a = sends("1");
	sends("2");
	sends_nothing();
	settled(a, 0);
	sends("3");
	sends_nothing();
}

static void what_the_plugin_has_nothing_for_is_settled_at_once(void **state)
{
	(void)state;
	add("n", 700);
	make(16, 10000);
	sends_nothing();
	assert_watermark(700);
}

static void nothings_behind_an_unsettled_record_wait_with_it(void **state)
{
	int a;

	(void)state;
	add("n", 1);
	add("s", 1);
	add("n", 3);
	make(16, 10000);
	a = sends("2");
	sends_nothing();
	assert_watermark(1);
	settled(a, 0);
	assert_watermark(5);
}

static void only_devices_of_this_cloud_are_sent_under_their_name(void **state)
{
	static char *include[] = {"pump-*"};
	static struct fg_rename renames[] = {{"pump-2", "Zwei"}};
	int a;

	(void)state;
	config.devices.include = include;
	config.devices.n_include = 1;
	config.devices.rename = renames;
	config.devices.n_rename = 1;
	add("boiler", 600);
	add("pump-2", 1);
	add("boiler", 600);
	make(16, 10000);
	a = sends("601");
	assert_string_equal(publish->topic, "data/Zwei");
	sends_nothing();
	assert_watermark(600);
	settled(a, 0);
	assert_watermark(1201);
}

static void what_was_read_before_a_device_was_renamed_goes_out_under_the_new_name(void **state)
{
	static struct fg_rename renames[] = {{"s-2", "sZwei"}};
	static char *exclude[] = {"s-3"};
	int a;

	(void)state;
	add("s-1", 1);
	add("s-2", 1);
	add("s-3", 1);
	add("s-4", 1);
	make(1, 10000);
	a = sends("1");
	config.devices.rename = renames;
	config.devices.n_rename = 1;
	config.devices.exclude = exclude;
	config.devices.n_exclude = 1;
	fg_outbox_names_changed(outbox);
	settled(a, 0);
	a = sends("2");
	assert_string_equal(publish->topic, "data/sZwei");
	settled(a, 0);
	settled(sends("4"), 0);
	assert_watermark(4);
}

static void what_is_sent_again_after_its_device_was_excluded_is_not(void **state)
{
	static char *exclude[] = {"s-1"};

	(void)state;
	add("s-1", 1);
	add("s-2", 1);
	make(16, 10000);
	sends("1");
	sends("2");
	config.devices.exclude = exclude;
	config.devices.n_exclude = 1;
	fg_outbox_names_changed(outbox);
	new_session(false);
	settled(sends("2"), 0);
	sends_nothing();
	assert_watermark(2);
}

static bool nobody_waits(void *arg, struct fg_span ref)
{
	(void)arg;
	(void)ref;
	return false;
}

static void a_request_nobody_waits_for_is_not_sent(void **state)
{
	struct fg_outbox_stats stats;

	(void)state;
	add("s-1", 2);
	journal.records[0].kind = FG_REQUEST;
	is_awaited = nobody_waits;
	make(16, 10000);
	settled(sends("2"), 0);
	assert_watermark(2);
	fg_outbox_get_stats(outbox, &stats);
	assert_int_equal(stats.stale_requests, 1);
}

static void a_request_that_is_sent_again_may_have_become_stale(void **state)
{
	struct fg_outbox_stats stats;

	(void)state;
	add("s-1", 2);
	journal.records[0].kind = FG_REQUEST;
	make(16, 10000);
	sends("1");
	is_awaited = nobody_waits;
	close_outbox();
	open_outbox();
	settled(sends("2"), 0);
	sends_nothing();
	assert_watermark(2);
	fg_outbox_get_stats(outbox, &stats);
	assert_int_equal(stats.stale_requests, 1);
}

static void an_answer_goes_out_even_of_a_device_the_cloud_does_not_get(void **state)
{
	static char *include[] = {"pump-*"};
	static struct fg_rename renames[] = {{"pump-2", "Zwei"}};
	int a;

	(void)state;
	config.devices.include = include;
	config.devices.n_include = 1;
	config.devices.rename = renames;
	config.devices.n_rename = 1;
	fake_journal_add_alarm(&journal, "boiler"); /* an alarm */
	fake_journal_add_alarm(&journal, "boiler");
	fake_journal_add_alarm(&journal, "pump-2");
	fake_journal_add_alarm(&journal, "plant7"); /* the gateway's own name */
	for (unsigned i = 1; i < 4; i++)
		journal.alarms[i].kind = FG_COMMAND_RESPONSE;
	make(16, 10000);
	a = sends("2");
	assert_string_equal(publish->topic, "data/boiler");
	assert_true(script.is_told_alarm);
	settled(a, 0);
	a = sends("3");
	assert_string_equal(publish->topic, "data/Zwei");
	settled(a, 0);
	a = sends("4");
	assert_string_equal(publish->topic, "data/plant7");
	settled(a, 0);
	sends_nothing();
	assert_int_equal(fg_cursor_watermark(&journal.alarm_cursor), 4);
}

static void data_points_are_limited_though_another_scope_is_not(void **state)
{
	static const struct fg_rate rate = {.capacity = 10, .period_ms = 1000};

	(void)state;
	add("a", 50);
	script.points = 1;
	make(16, 10000);
	fg_outbox_limit(outbox, 0, FG_LIMIT_POINTS, &rate, 1);
	sends("1,2,3,4,5,6,7,8,9,10");
	sends_nothing();
}

static void quarantine_knows_the_device_by_its_own_name(void **state)
{
	static struct fg_rename renames[] = {{"r-1", "rEins"}};

	(void)state;
	config.devices.rename = renames;
	config.devices.n_rename = 1;
	add("r-1", 1);
	make(16, 10000);
	sends_nothing();
	assert_string_equal(journal.quarantined[0].device, "r-1");
}

static void messages_held_for_a_control_publish_follow_it(void **state)
{
	int control, data;

	(void)state;
	add("c1", 2);
	add("s", 1);
	make(16, 10000);
	control = sends("");
	assert_string_equal(publish->topic, "connect/c1");
	sends("3");
	sends_nothing();
	settled(control, 0);
	assert_watermark(0);
	data = sends("1,2");
	settled(data, 0);
	assert_watermark(2);
}

static void messages_held_survive_the_session_they_were_held_in(void **state)
{
	int control;

	(void)state;
	add("c1", 2);
	make(16, 10000);
	control = sends("");
	new_session(false);
	settled(control, 0); /* of the session before: unknown now */
	assert_watermark(0);
	control = sends("");
	settled(control, 0);
	settled(sends("1,2"), 0);
	assert_watermark(2);
}

static void the_plugins_own_publish_goes_out_without_records(void **state)
{
	int own;

	(void)state;
	make(16, 10000);
	script.has_own = true;
	own = sends("");
	assert_string_equal(publish->topic, "own/own");
	sends_nothing();
	settled(own, 0);
	assert_int_equal(script.last_settlement.n_messages, 0);
	assert_watermark(0);
}

static void what_was_in_flight_is_sent_again_in_the_next_session(void **state)
{
	int a;

	(void)state;
	add("s", 3);
	make(16, 10000);
	a = sends("1");
	sends("2");
	sends("3");
	settled(a, 0);
	new_session(false);
	assert_watermark(1);
	sends("2");
	sends("3");
	sends_nothing();
}

static void records_that_retention_dropped_are_passed_over(void **state)
{
	(void)state;
	add("s", 4);
	journal.records[1].is_gone = true;
	journal.records[2].is_gone = true;
	make(16, 10000);
	settled(sends("1"), 0);
	settled(sends("4"), 0);
	assert_watermark(4);
}

/* ---- between next() and sent() */

static void a_publish_that_could_not_be_sent_holds_the_watermark(void **state)
{
	int a;

	(void)state;
	add("s1", 1);
	add("s2", 1);
	add("s3", 1);
	make(16, 10000);
	a = sends("1");
	assert_int_equal(next(), 1); /* 2: the client is gone */
	/* Before the end of the session is told, other things still happen. */
	settled(a, 0);
	assert_watermark(1);
	sends_nothing();
	commit();
	sends_nothing();
	assert_watermark(1);
	new_session(false);
	sends("2");
	sends("3");
}

/* ---- limits from crash safety */

static void sending_stops_at_the_bound_of_a_crash_and_goes_on_after_a_save(void **state)
{
	uint64_t n = 0;

	(void)state;
	add("s", 400);
	journal.cursor.is_saving_by_itself = false;
	make(1000, 100);
	while (next() == 1) {
		fg_outbox_sent(outbox, ++last_id, now_ms);
		n++;
	}
	assert_true(n <= 100);
	assert_true(n >= 75);
	for (int id = 1; id <= last_id; id++)
		settled(id, 0);
	assert_watermark(n);
	sends_nothing(); /* acknowledged, but the disk does not know */
	assert_true(journal.cursor.must_save);
	commit();
	n = 0;
	while (next() == 1) {
		fg_outbox_sent(outbox, ++last_id, now_ms);
		n++;
	}
	assert_true(n >= 75);
}

static void a_gap_however_wide_holds_nothing_up(void **state)
{
	(void)state;
	add("s", 1200);
	for (size_t i = 2; i < 1100; i++)
		journal.records[i].is_gone = true; /* a damaged segment */
	make(16, 100);
	sends("1");
	sends("2");
	settled(sends("1101"), 0);
	settled(sends("1102"), 0);
}

static void the_window_may_be_larger_than_what_is_unsaved(void **state)
{
	uint64_t n = 0;

	(void)state;
	add("s", 3000);
	journal.cursor.is_saving_by_itself = false;
	make(1000, 2);
	while (n < 3000) {
		struct fg_outbox_session *on;
		int r = fg_outbox_next(outbox, now_ms, &on, &publish);

		if (r == 1) {
			fg_outbox_sent(outbox, ++last_id, now_ms);
			settled(last_id, 0);
			n++;
		} else {
			assert_int_equal(r, 0);
			assert_true(journal.cursor.must_save);
			commit();
		}
	}
	assert_watermark(3000);
}

static void a_stop_of_may_send_is_not_for_ever(void **state)
{
	(void)state;
	add("s", 2);
	make(16, 10000);
	journal.cursor.is_held = true;
	sends_nothing();
	sends_nothing();
	journal.cursor.is_held = false;
	sends("1");
	journal.cursor.is_held = true;
	sends_nothing();
	journal.cursor.is_held = false;
	sends("2");
}

static void an_unreadable_journal_is_tried_again(void **state)
{
	(void)state;
	add("s", 1);
	make(16, 10000);
	journal.cursor.read_error = -EIO;
	sends_nothing();
	assert_watermark(0);
	journal.cursor.read_error = 0;
	sends("1");
}

/* ---- quarantine */

static void a_refused_record_is_settled_once_its_quarantine_is_on_disk(void **state)
{
	(void)state;
	add("n", 1);
	add("r", 1);
	add("n", 1);
	make(16, 10000);
	sends_nothing();
	assert_watermark(1);
	assert_int_equal(journal.n_quarantined, 1);
	assert_string_equal(journal.quarantined[0].reason, "the plugin does not like it");
	assert_string_equal(journal.quarantined[0].link, "cloud");
	fg_outbox_committed(outbox, journal.committed); /* an older commit */
	assert_watermark(1);
	commit();
	assert_watermark(3);
	assert_true(fake_journal_has_quarantined(&journal, 2, true));
}

static void a_later_quarantine_does_not_release_an_earlier_one(void **state)
{
	uint64_t first;

	(void)state;
	add("r", 1);
	make(16, 10000);
	sends_nothing();
	fg_journal_flush(&journal, 0); /* its commit runs */
	add("r", 1);
	sends_nothing(); /* the second one gathers */
	assert_int_equal(journal.n_quarantined, 2);
	first = fake_journal_commit(&journal);
	fg_outbox_committed(outbox, first);
	assert_true(fg_cursor_watermark(&journal.cursor) < 2);
	commit();
	assert_watermark(2);
}

static void without_room_in_quarantine_a_record_waits_and_the_others_too(void **state)
{
	(void)state;
	add("r", 1);
	add("s", 1);
	make(16, 10000);
	journal.quarantine_error = -EAGAIN;
	sends("2");
	settled(last_id, 0);
	sends_nothing();
	assert_watermark(0);
	assert_int_equal(journal.n_quarantined, 0);
	journal.quarantine_error = 0;
	sends_nothing();
	commit();
	assert_watermark(2);
	assert_int_equal(journal.n_quarantined, 1);
}

static void a_single_record_the_cloud_refuses_goes_into_quarantine(void **state)
{
	int a, b;

	(void)state;
	add("s1", 1);
	add("s2", 1);
	make(16, 10000);
	a = sends("1");
	b = sends("2");
	settled(a, POISON);
	settled(b, 0);
	sends_nothing();
	assert_watermark(0);
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	assert_non_null(strstr(journal.quarantined[0].reason, "0x99"));
	commit();
	assert_watermark(2);
	sends_nothing();
}

static void without_room_in_quarantine_a_known_poison_waits_and_is_not_sent_again(void **state)
{
	(void)state;
	add("s", 2);
	make(1, 10000);
	journal.quarantine_error = -EAGAIN;
	settled(sends("1"), POISON);
	settled(sends("2"), 0);
	sends_nothing();
	sends_nothing();
	assert_watermark(0);
	journal.quarantine_error = 0;
	sends_nothing();
	commit();
	assert_watermark(2);
	assert_int_equal(journal.n_quarantined, 1);
}

static void in_a_batch_exactly_the_poison_is_found(void **state)
{
	static const unsigned at_fault = 4;

	(void)state;
	add("a", 6);
	make(16, 10000);
	settled(sends("1,2,3,4,5,6"), POISON);
	assert_watermark(0);
	for (unsigned seq = 1; seq <= 6; seq++) {
		char one[8];
		int id;

		snprintf(one, sizeof(one), "%u", seq);
		id = sends(one);
		sends_nothing(); /* one at a time */
		settled(id, seq == at_fault ? POISON : 0);
	}
	commit();
	assert_watermark(6);
	assert_int_equal(journal.n_quarantined, 1);
	assert_true(fake_journal_has_quarantined(&journal, at_fault, true));
	add("a", 2); /* and from then on in batches again */
	sends("7,8");
}

static void a_poison_no_longer_at_hand_is_found_all_the_same(void **state)
{
	int poison;

	(void)state;
	add("s1", 1);
	add("s2", 700);
	make(1000, 10000);
	poison = sends("1");
	for (int i = 2; i <= 600; i++) {
		char one[8];

		snprintf(one, sizeof(one), "%d", i);
		settled(sends(one), 0);
	}
	settled(poison, POISON);
	assert_watermark(0);
	settled(sends("601"), 0);
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	commit();
	assert_watermark(601);
	assert_int_equal(journal.n_quarantined, 1);
}

static void the_plugins_own_refused_publish_is_the_plugins_business(void **state)
{
	(void)state;
	add("s", 1);
	make(16, 10000);
	script.has_own = true;
	settled(sends(""), POISON);
	settled(sends("1"), 0);
	assert_watermark(1);
	assert_int_equal(journal.n_quarantined, 0);
}

/* ---- pauses */

static void a_rate_limit_pauses_and_the_record_is_sent_again(void **state)
{
	(void)state;
	add("s", 1);
	make(16, 10000);
	for (int i = 0; i < 20; i++) {
		settled(sends("1"), LATER);
		assert_watermark(0);
		assert_in_range(fg_outbox_paused_until(outbox), now_ms + 1000, now_ms + 60000);
		wait_for_pause();
	}
	settled(sends("1"), 0);
	assert_watermark(1);
	assert_int_equal(journal.n_quarantined, 0);
}

static void one_burst_of_refusals_is_one_pause(void **state)
{
	int first;

	(void)state;
	add("s", 10);
	make(10, 10000);
	first = sends("1");
	for (int i = 2; i <= 10; i++) {
		char one[8];

		snprintf(one, sizeof(one), "%d", i);
		sends(one);
	}
	for (int id = first; id < first + 10; id++)
		settled(id, LATER);
	assert_int_equal(fg_outbox_paused_until(outbox), now_ms + 1000);
	wait_for_pause();
	sends("1");
}

static void a_batch_is_sent_again_after_a_rate_limit(void **state)
{
	(void)state;
	add("a", 3);
	make(16, 10000);
	settled(sends("1,2,3"), LATER);
	wait_for_pause();
	settled(sends("1,2,3"), 0);
	assert_watermark(3);
}

static void going_back_does_not_forget_what_is_held_below(void **state)
{
	int control;

	(void)state;
	add("c1", 1);
	add("s", 1);
	make(16, 10000);
	control = sends("");
	settled(sends("2"), LATER); /* 1 still waits for its device */
	settled(control, LATER);
	wait_for_pause();
	settled(sends("2"), 0);
	settled(sends(""), 0);
	assert_watermark(0);
	settled(sends("1"), 0);
	assert_watermark(2);
}

static void what_comes_back_goes_first_and_nothing_else_is_sent_again(void **state)
{
	int a, b;

	(void)state;
	add("s1", 1);
	add("s2", 1);
	make(2, 10000);
	a = sends("1");
	b = sends("2");
	settled(a, LATER);
	wait_for_pause();
	add("s3", 1);
	a = sends("1");
	settled(b, 0);
	assert_watermark(0);
	sends("3");
	settled(a, 0);
	assert_watermark(2);
	settled(last_id, 0);
	assert_watermark(3);
	sends_nothing();
}

static void a_passing_fault_is_tried_a_few_times_then_it_is_poison(void **state)
{
	(void)state;
	add("s", 2);
	make(1, 10000);
	for (int i = 0; i < 3; i++) {
		settled(sends("1"), RETRY);
		wait_for_pause();
	}
	assert_int_equal(journal.n_quarantined, 0);
	settled(sends("1"), RETRY);
	settled(sends("2"), 0);
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	commit();
	assert_watermark(2);
}

/* A server whose inside is out of order says so to whatever comes. */
static void a_cloud_that_fails_all_day_empties_no_journal(void **state)
{
	int64_t end_ms = now_ms + 24 * 3600 * INT64_C(1000);

	(void)state;
	add("s", 1000);
	make(16, 10000);
	while (now_ms < end_ms) {
		int first_id = last_id + 1;

		while (next() == 1)
			fg_outbox_sent(outbox, ++last_id, now_ms);
		for (int id = first_id; id <= last_id; id++)
			settled(id, RETRY);
		if (fg_outbox_paused_until(outbox) > now_ms)
			wait_for_pause();
		else
			now_ms += 1000;
		commit();
	}
	assert_in_range(journal.n_quarantined, 1, 25);
	works_up_to(1000);
}

static void records_at_fault_are_found_while_others_are_taken(void **state)
{
	unsigned n_refused = 0;

	(void)state;
	add("s", 40);
	make(4, 10000);
	while (fg_cursor_watermark(&journal.cursor) < 40) {
		while (next() == 1) {
			bool is_at_fault = script.seqs[0] % 8 == 0;

			fg_outbox_sent(outbox, ++last_id, now_ms);
			settled(last_id, is_at_fault ? RETRY : 0);
			n_refused += is_at_fault;
		}
		if (fg_outbox_paused_until(outbox) > now_ms)
			wait_for_pause();
		commit();
	}
	assert_int_equal(journal.n_quarantined, 5);
	assert_int_equal(n_refused, 5 * 4);
}

static void two_records_with_passing_faults_do_not_hide_behind_each_other(void **state)
{
	unsigned turns = 0;

	(void)state;
	add("s1", 1);
	add("s2", 1);
	add("s3", 1);
	make(16, 10000);
	/* The first two never work. */
	while (fg_cursor_watermark(&journal.cursor) < 3) {
		int first = last_id + 1;

		assert_true(++turns < 100);
		now_ms += 100000;
		while (next() == 1) {
			fg_outbox_sent(outbox, ++last_id, now_ms);
			if (publish->payload[0] == '3')
				settled(last_id, 0);
		}
		while (first <= last_id)
			settled(first++, RETRY);
		commit();
	}
	assert_int_equal(journal.n_quarantined, 2);
	assert_true(fake_journal_has_quarantined(&journal, 1, true));
	assert_true(fake_journal_has_quarantined(&journal, 2, true));
}

static void a_batch_that_keeps_failing_is_taken_apart(void **state)
{
	(void)state;
	add("a", 3);
	make(16, 10000);
	for (int i = 0; i < 3; i++) {
		settled(sends("1,2,3"), RETRY);
		wait_for_pause();
	}
	settled(sends("1,2,3"), RETRY);
	settled(sends("1"), 0);
	for (int i = 0; i < 3; i++) {
		settled(sends("2"), RETRY);
		wait_for_pause();
	}
	settled(sends("2"), RETRY);
	settled(sends("3"), 0);
	sends_nothing();
	commit();
	assert_watermark(3);
	assert_int_equal(journal.n_quarantined, 1);
	assert_true(fake_journal_has_quarantined(&journal, 2, true));
}

/* ---- sessions that break */

static void a_record_on_which_three_sessions_broke_is_put_aside(void **state)
{
	(void)state;
	add("s1", 1);
	add("s2", 1);
	make(16, 10000);
	sends("1");
	new_session(true);
	sends("1");
	new_session(true);
	sends("1");
	sends_nothing(); /* on its own now */
	new_session(true);
	settled(sends("2"), 0);
	assert_int_equal(journal.n_quarantined, 1);
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	assert_non_null(strstr(journal.quarantined[0].reason, "3 times"));
	assert_int_equal(journal.quarantined[0].attempts, 3);
	commit();
	assert_watermark(2);
}

static void a_cloud_that_always_breaks_off_empties_no_journal(void **state)
{
	(void)state;
	add("s", 100);
	make(16, 10000);
	for (int i = 0; i < 1000; i++) {
		while (next() == 1)
			fg_outbox_sent(outbox, ++last_id, now_ms);
		new_session(true);
		commit();
	}
	assert_in_range(journal.n_quarantined, 1, 20);
	works_up_to(100);
}

static void records_that_break_sessions_one_after_the_other_are_all_found(void **state)
{
	unsigned turns = 0;

	(void)state;
	add("s", 6);
	make(16, 10000);
	while (fg_cursor_watermark(&journal.cursor) < 6) {
		assert_true(++turns < 200);
		while (next() == 1) {
			fg_outbox_sent(outbox, ++last_id, now_ms);
			if (script.seqs[0] >= 2 && script.seqs[0] <= 4) {
				new_session(true);
				break;
			}
			settled(last_id, 0);
		}
		commit();
	}
	assert_int_equal(journal.n_quarantined, 3);
	for (uint64_t seq = 2; seq <= 4; seq++)
		assert_true(fake_journal_has_quarantined(&journal, seq, true));
}

static void in_a_batch_on_which_sessions_break_exactly_one_is_put_aside(void **state)
{
	unsigned breaks = 0;

	(void)state;
	add("a", 5);
	make(16, 10000);
	while (fg_cursor_watermark(&journal.cursor) < 5) {
		assert_true(breaks < 20);
		if (next() != 1) {
			commit();
			continue;
		}
		fg_outbox_sent(outbox, ++last_id, now_ms);
		for (size_t i = 0; i < script.n_seqs; i++)
			if (script.seqs[i] == 3) {
				new_session(true);
				breaks++;
				goto broken;
			}
		settled(last_id, 0);
	broken:
		continue;
	}
	assert_int_equal(journal.n_quarantined, 1);
	assert_true(fake_journal_has_quarantined(&journal, 3, true));
}

static void sessions_that_end_without_suspicion_blame_nobody(void **state)
{
	(void)state;
	add("s", 1);
	make(16, 10000);
	for (int i = 0; i < 20; i++) {
		sends("1");
		new_session(false);
	}
	assert_int_equal(journal.n_quarantined, 0);
	sends("1");
}

static void progress_between_breaks_clears_the_suspect(void **state)
{
	(void)state;
	add("s", 12);
	make(1, 10000);
	for (int i = 1; i <= 12; i++) {
		char one[8];

		snprintf(one, sizeof(one), "%d", i);
		sends(one);
		new_session(true);
		sends(one);
		new_session(true);
		settled(sends(one), 0);
	}
	assert_watermark(12);
	assert_int_equal(journal.n_quarantined, 0);
}

static void a_break_while_only_the_plugins_own_publish_is_out_blames_nobody(void **state)
{
	(void)state;
	add("c1", 1);
	make(16, 10000);
	for (int i = 0; i < 10; i++) {
		sends("");
		new_session(true);
	}
	assert_int_equal(journal.n_quarantined, 0);
}

static void a_quarantine_under_way_when_the_session_ends_is_not_forgotten(void **state)
{
	(void)state;
	add("s1", 1);
	add("s2", 1);
	make(16, 10000);
	settled(sends("1"), POISON);
	new_session(false);
	assert_watermark(0);
	/* Not sent again; but its copy is not on disk, and the record is not settled without one.
	 */
	settled(sends("2"), 0);
	assert_watermark(0);
	commit();
	assert_watermark(2);
}

/* A server that answers with an error code and closes: each record behind it would see another
 * session end. */
static void a_quarantined_record_above_the_watermark_is_not_sent_again(void **state)
{
	(void)state;
	add("s1", 1);
	add("s2", 1);
	add("s3", 1);
	make(16, 10000);
	sends("1");
	settled(sends("2"), POISON);
	sends("3");
	commit();
	assert_watermark(0);
	new_session(false);
	settled(sends("1"), 0);
	assert_watermark(2);
	settled(sends("3"), 0);
	assert_watermark(3);
}

/* ---- plugins that break the contract */

static void a_plugin_that_breaks_the_contract_stops_and_loses_nothing(void **state)
{
	static const enum script_misdeed misdeeds[] = {
		SCRIPT_TAKES_AND_SENDS_NOTHING,
		SCRIPT_INVENTS_A_STATE,
		SCRIPT_FAILS,
		SCRIPT_WANTS_QOS_2,
		SCRIPT_OVERFLOWS_LENGTH,
	};

	(void)state;
	add("a", 3);
	make(16, 10000);
	for (size_t i = 0; i < sizeof(misdeeds) / sizeof(misdeeds[0]); i++) {
		script.misdeed = misdeeds[i];
		assert_int_equal(next(), -EINVAL);
		assert_watermark(0);
		new_session(false);
		assert_watermark(0);
	}
	script.misdeed = SCRIPT_HONEST;
	sends("1,2,3");
}

static void a_plugin_that_takes_more_than_it_may_is_stopped(void **state)
{
	(void)state;
	add("a", 3);
	make(16, 10000);
	settled(sends("1,2,3"), POISON);
	script.misdeed = SCRIPT_TAKES_TOO_MANY;
	assert_int_equal(next(), -EINVAL);
	assert_watermark(0);
}

/* ---- what the plugin leaves */

static void add_left(const char *devices)
{
	script.leaves_p = true;
	for (; *devices; devices++)
		add(*devices == 'p' ? "p" : "s", 1);
}

/* By turns: each holds up nothing, and goes in front of what it was left for. */
static void what_is_left_holds_nothing_up_and_goes_first_when_it_is_offered(void **state)
{
	static const enum fg_drain_order orders[] = {FG_DRAIN_FIFO, FG_DRAIN_LIVE_FIRST};
	int first, second;

	for (size_t i = 0; i < 2; i++) {
		config.order = orders[i];
		script.max_batch = 1;
		make(3, 1000);
		add_left("pspss");
		first = sends("2");
		second = sends("4");
		settled(second, 0);
		settled(first, 0);
		sends("5");
		sends_nothing();
		/* Whoever leaves it still is asked, and nothing else is different. */
		fg_outbox_offer_left(outbox, "");
		sends_nothing();
		add("p", 1);
		sends_nothing();
		script.leaves_p = false;
		sends_nothing();
		fg_outbox_offer_left(outbox, "");
		add("p", 1);
		first = sends("1");
		sends("3"); /* of the three in flight one is 5 */
		sends_nothing();
		settled(first, 0);
		settled(sends("6"), 0);
		sends("7");
		teardown(state);
		setup(state);
	}
	make(3, 1000);
}

static void of_a_lane_256_may_be_left_and_what_is_behind_the_next_one_waits(void **state)
{
	(void)state;
	make(16, 10000);
	script.leaves_p = true;
	add("p", 300);
	fake_journal_add_alarm(&journal, "p");
	fake_journal_add_alarm(&journal, "s");
	sends("2"); /* of the other lane */
	sends_nothing();
	add("s", 1);
	sends_nothing();
	assert_int_equal(script.max_left, 0);
	script.leaves_p = false;
	script.max_batch = 1000;
	fg_outbox_offer_left(outbox, "");
	assert_int_equal(next(), 1);
	assert_int_equal(script.n_seqs, 1); /* the alarm */
	fg_outbox_sent(outbox, ++last_id, now_ms);
	assert_int_equal(next(), 1);
	assert_int_equal(script.n_seqs, 300);
	fg_outbox_sent(outbox, ++last_id, now_ms);
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(script.seqs[i], i + 1);
	sends("301");
}

static void what_was_left_is_offered_anew_after_a_crash(void **state)
{
	(void)state;
	make(16, 1000);
	add_left("psps");
	settled(sends("2"), 0);
	settled(sends("4"), 0);
	journal.cursor.must_save = true;
	commit();
	close_outbox();
	fake_journal_crash(&journal);
	script.leaves_p = false;
	open_outbox();
	sends("1,3");
	sends_nothing();
}

/* It is settled behind what is left, but no crash sends it twice. */
static void what_was_never_sent_does_not_count_as_at_risk(void **state)
{
	(void)state;
	config.order = FG_DRAIN_LIVE_FIRST;
	add("s", 1);
	make(16, 4); /* here begins what the behind pass has to itself */
	add_left("p");
	add("n", 2);
	add("r", 1);
	add("n", 1);
	for (unsigned i = 1; i < 6; i++)
		journal.records[i].kind = FG_PRESENCE;
	settled(sends("1"), 0);
	commit();
	sends_nothing();
	commit();
	script.leaves_p = false;
	fg_outbox_offer_left(outbox, "");
	settled(sends("2"), 0);
	commit();
	assert_watermark(6);
}

static void a_plugin_that_leaves_more_than_it_may_is_stopped(void **state)
{
	(void)state;
	make(16, 10000);
	script.leaves_p = true;
	script.misdeed = SCRIPT_LEAVES_TOO_MANY;
	add("p", 257);
	assert_int_equal(next(), -EINVAL);
}

static void the_largest_packet_leaves_room_for_its_header(void **state)
{
	(void)state;
	add("s", 1);
	make(16, 10000);
	fg_outbox_session_end(session, false);
	fg_outbox_session_begin(session, 10, 1000, false);
	sends("1");
	/* plugin.h: a bound for the Remaining Length. The fixed header is up to five bytes more. */
	assert_int_equal(script.max_packet_bytes, 995);
}

static void packet_ids_that_come_round_again_are_not_mistaken(void **state)
{
	int stuck;

	(void)state;
	make(16, 1000000);
	add("s1", 1);
	stuck = sends("1");
	for (int i = 0; i < 70000; i++) {
		if (journal.n_records == FAKE_RECORDS)
			journal.n_records = 1; /* the same again */
		script.has_own = true;
		if (next() != 1)
			break;
		last_id = last_id % 65535 + 1;
		assert_int_not_equal(last_id, stuck);
		fg_outbox_sent(outbox, last_id, now_ms);
		settled(last_id, 0);
	}
	assert_watermark(0);
	settled(stuck, 0);
	assert_watermark(1);
	script.has_own = true;
	assert_int_equal(next(), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(records_are_batched_and_settled_when_acknowledged),
		TEST(the_watermark_stays_below_an_interleaved_publish),
		TEST(a_puback_counts_once_and_an_unknown_one_not_at_all),
		TEST(the_window_is_bounded_by_receive_maximum),
		TEST(what_the_plugin_has_nothing_for_is_settled_at_once),
		TEST(nothings_behind_an_unsettled_record_wait_with_it),
		TEST(only_devices_of_this_cloud_are_sent_under_their_name),
		TEST(what_was_read_before_a_device_was_renamed_goes_out_under_the_new_name),
		TEST(what_is_sent_again_after_its_device_was_excluded_is_not),
		TEST(a_request_nobody_waits_for_is_not_sent),
		TEST(a_request_that_is_sent_again_may_have_become_stale),
		TEST(an_answer_goes_out_even_of_a_device_the_cloud_does_not_get),
		TEST(data_points_are_limited_though_another_scope_is_not),
		TEST(quarantine_knows_the_device_by_its_own_name),
		TEST(messages_held_for_a_control_publish_follow_it),
		TEST(messages_held_survive_the_session_they_were_held_in),
		TEST(the_plugins_own_publish_goes_out_without_records),
		TEST(what_was_in_flight_is_sent_again_in_the_next_session),
		TEST(records_that_retention_dropped_are_passed_over),
		TEST(a_publish_that_could_not_be_sent_holds_the_watermark),
		TEST(sending_stops_at_the_bound_of_a_crash_and_goes_on_after_a_save),
		TEST(a_gap_however_wide_holds_nothing_up),
		TEST(the_window_may_be_larger_than_what_is_unsaved),
		TEST(a_stop_of_may_send_is_not_for_ever),
		TEST(an_unreadable_journal_is_tried_again),
		TEST(a_refused_record_is_settled_once_its_quarantine_is_on_disk),
		TEST(a_later_quarantine_does_not_release_an_earlier_one),
		TEST(without_room_in_quarantine_a_record_waits_and_the_others_too),
		TEST(a_single_record_the_cloud_refuses_goes_into_quarantine),
		TEST(without_room_in_quarantine_a_known_poison_waits_and_is_not_sent_again),
		TEST(in_a_batch_exactly_the_poison_is_found),
		TEST(a_poison_no_longer_at_hand_is_found_all_the_same),
		TEST(the_plugins_own_refused_publish_is_the_plugins_business),
		TEST(a_rate_limit_pauses_and_the_record_is_sent_again),
		TEST(one_burst_of_refusals_is_one_pause),
		TEST(a_batch_is_sent_again_after_a_rate_limit),
		TEST(going_back_does_not_forget_what_is_held_below),
		TEST(what_comes_back_goes_first_and_nothing_else_is_sent_again),
		TEST(a_passing_fault_is_tried_a_few_times_then_it_is_poison),
		TEST(a_cloud_that_fails_all_day_empties_no_journal),
		TEST(records_at_fault_are_found_while_others_are_taken),
		TEST(two_records_with_passing_faults_do_not_hide_behind_each_other),
		TEST(a_batch_that_keeps_failing_is_taken_apart),
		TEST(a_record_on_which_three_sessions_broke_is_put_aside),
		TEST(a_cloud_that_always_breaks_off_empties_no_journal),
		TEST(records_that_break_sessions_one_after_the_other_are_all_found),
		TEST(in_a_batch_on_which_sessions_break_exactly_one_is_put_aside),
		TEST(sessions_that_end_without_suspicion_blame_nobody),
		TEST(progress_between_breaks_clears_the_suspect),
		TEST(a_break_while_only_the_plugins_own_publish_is_out_blames_nobody),
		TEST(a_quarantine_under_way_when_the_session_ends_is_not_forgotten),
		TEST(a_quarantined_record_above_the_watermark_is_not_sent_again),
		TEST(a_plugin_that_breaks_the_contract_stops_and_loses_nothing),
		TEST(a_plugin_that_takes_more_than_it_may_is_stopped),
		TEST(what_is_left_holds_nothing_up_and_goes_first_when_it_is_offered),
		TEST(of_a_lane_256_may_be_left_and_what_is_behind_the_next_one_waits),
		TEST(what_was_left_is_offered_anew_after_a_crash),
		TEST(what_was_never_sent_does_not_count_as_at_risk),
		TEST(a_plugin_that_leaves_more_than_it_may_is_stopped),
		TEST(the_largest_packet_leaves_room_for_its_header),
		TEST(packet_ids_that_come_round_again_are_not_mistaken),
	};

	fg_log_open(FG_LOG_STDERR, LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
