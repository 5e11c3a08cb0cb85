/*
 * What the journal refuses, how long it gathers, what memory it keeps, and which time it writes: the
 * edges of its options, one by one.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "journal/settled.h"
#include "util/span.h"
#include "util/timekeeper.h"

static void options_that_do_not_go_together_are_refused_in_words(void **state)
{
	struct bench *b = *state;
	const struct fg_journal_options good = b->options;
	static const struct {
		size_t segment_bytes, batch_bytes;
		unsigned max_left_behind;
	} bad[] = {
		{16384, 4096, FG_LEFT_BEHIND_MAX + 1}, /* more than a header can tell of */
		{16384, 1000, 0},
		{((size_t)1 << 30) + 1, 4096, 0},
		{16384, 8193, 0}, /* two batches are more than a segment */
		{16384, 4096, 500},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		b->options = good;
		b->options.segment_bytes = bad[i].segment_bytes;
		b->options.batch_bytes = bad[i].batch_bytes;
		b->options.max_left_behind = bad[i].max_left_behind;
		b->err.text[0] = '\0';
		assert_int_equal(fg_journal_open(&b->options, &b->j, &b->err), -EINVAL);
		assert_true(b->err.text[0] != '\0');
		assert_int_equal(bench_count_files(b, "main", ""), 0);
	}
	b->options = good;
	bench_open(b);
}

static void batch_gathers_for_the_interval_or_until_it_is_half_full(void **state)
{
	struct bench *b = *state;
	uint64_t ticket;

	b->options.commit_interval_ms = 1000;
	bench_open(b);
	bench_append(b, 100);
	ticket = fg_journal_ticket(b->j);
	bench_flush(b);
	assert_true(fg_journal_gathers(b->j, ticket));
	b->now_ms += 999;
	bench_flush(b);
	assert_int_equal(b->n_committed, 0);
	b->now_ms += 1;
	bench_flush(b);
	assert_int_equal(b->committed, ticket);
	assert_false(fg_journal_gathers(b->j, ticket));
	/* The next one has its own thousand, unless it is half full. */
	bench_append(b, 100);
	bench_flush(b);
	assert_int_equal(b->committed, ticket);
	bench_append(b, 2000);
	bench_flush(b);
	assert_int_equal(b->committed, ticket + 1);
}

static void what_there_is_room_for_is_taken(void **state)
{
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	struct bench *b = *state;
	static char body[1500];
	unsigned n_taken = 0;
	uint64_t seq;

	b->options.on_full = FG_ON_FULL_STOP_ACK;
	b->options.max_bytes = 65536;
	bench_open(b);
	bench_cursor(b, "a", 10);
	msg.body = fg_span_of(body, sizeof(body));
	/* Of whatever size: a small one may find room that a large one does not. */
	for (unsigned i = 0; i < 400; i++) {
		msg.body.size = 1 + i * 37 % sizeof(body);
		if (fg_journal_has_room(b->j, msg.device.size + msg.body.size)) {
			assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
			n_taken++;
		}
		if (i % 3 == 0)
			bench_flush(b);
	}
	assert_in_range(n_taken, 20, 200);
	assert_int_equal(b->n_full, 1);
}

static long resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, resident;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
	fclose(f);
	return resident;
}

static void memory_of_a_burst_is_given_back_when_it_is_quiet(void **state)
{
	const long pages = (4 << 20) / sysconf(_SC_PAGESIZE);
	struct bench *b = *state;
	long before;

	b->options.batch_bytes = 8 << 20;
	b->options.segment_bytes = 32 << 20;
	b->options.max_bytes = 256 << 20;
	bench_open(b);
	for (int i = 0; i < 6 * 1024; i++)
		bench_append(b, 1000);
	bench_flush(b);
	before = resident_pages();
	b->now_ms += 4999;
	fg_journal_tick(b->j, b->now_ms);
	assert_true(resident_pages() > before - pages);
	b->now_ms += 1;
	fg_journal_tick(b->j, b->now_ms);
	assert_true(resident_pages() < before - pages);
	/* And it is as if nothing had been. */
	bench_append(b, 1000);
	bench_flush(b);
	assert_true(fg_journal_ticket(b->j) <= b->committed);
}

#define N_QUARANTINED (FG_SETTLES_MAX + 36)

static int count(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	(void)number;
	(void)q;
	++*(unsigned *)arg;
	return 0;
}

static void only_what_is_in_quarantine_is_settled_and_so_much_at_a_time(void **state)
{
	struct fg_quarantined q = {.reason = fg_span_str("no"), .body = fg_span_str("{}")};
	struct bench *b = *state;
	struct fg_cursor *c;
	unsigned n = 0;

	bench_open(b);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_QUARANTINE, "a", 1, &c), -EINVAL);
	assert_int_equal(fg_journal_quarantine_settle(b->j, 1), -ENOENT);
	for (int i = 0; i < N_QUARANTINED; i++) {
		assert_int_equal(fg_journal_quarantine(b->j, &q), 0);
		bench_flush(b);
	}
	assert_int_equal(fg_journal_quarantine_settle(b->j, 0), -ENOENT);
	assert_int_equal(fg_journal_quarantine_settle(b->j, N_QUARANTINED + 1), -ENOENT);
	/* Behind what is appended in their place: they wait for the commit after this one. */
	bench_append(b, 10);
	for (uint64_t i = 1; i <= FG_SETTLES_MAX; i++)
		assert_int_equal(fg_journal_quarantine_settle(b->j, i), 0);
	assert_int_equal(fg_journal_quarantine_settle(b->j, FG_SETTLES_MAX + 1), -EAGAIN);
	assert_int_equal(fg_journal_each_quarantined(b->fs, 0, count, &n, NULL), 0);
	assert_int_equal(n, N_QUARANTINED);
	for (int i = 0; i < 20; i++)
		bench_flush(b);
	n = 0;
	assert_int_equal(fg_journal_each_quarantined(b->fs, 0, count, &n, NULL), 0);
	assert_int_equal(n, N_QUARANTINED - FG_SETTLES_MAX);
	assert_int_equal(fg_journal_quarantine_settle(b->j, FG_SETTLES_MAX + 1), 0);
}

static void texts_that_no_batch_holds_are_refused(void **state)
{
	static char topic[8000];
	struct fg_quarantined q = {.reason = fg_span_str("no")};
	struct bench *b = *state;

	memset(topic, 't', sizeof(topic));
	q.topic = fg_span_of(topic, sizeof(topic));
	bench_open(b);
	assert_int_equal(fg_journal_quarantine(b->j, &q), -EMSGSIZE);
	q.topic.size = 3000;
	assert_int_equal(fg_journal_quarantine(b->j, &q), 0);
}

static void settled_record(struct fg_settled *s, uint64_t number, uint64_t seq)
{
	uint8_t bytes[FG_SETTLED_BYTES];

	fg_settled_encode(number, seq, 0, 0, 0, bytes);
	fg_settled_take(s, seq, bytes, fg_record_claimed_size(bytes));
}

static void quarantine_larger_than_a_window_is_gone_through_in_steps(void **state)
{
	const uint64_t far = 10 + FG_SETTLED_WINDOW;
	struct fg_settled s;

	(void)state;
	assert_int_equal(fg_settled_new(&s, 10), 0);
	assert_false(fg_settled_go_on(&s));
	settled_record(&s, 11, far + 7);
	settled_record(&s, far + 5, far + 8);
	/* Nobody can settle what comes behind, and what is in front is not asked for. */
	settled_record(&s, 20, 19);
	settled_record(&s, 9, far + 9);
	assert_true(fg_settled_is_open(&s, 10));
	assert_false(fg_settled_is_open(&s, 11));
	assert_true(fg_settled_is_open(&s, 20));
	assert_false(fg_settled_is_open(&s, 9));
	assert_false(fg_settled_is_open(&s, far));
	assert_true(fg_settled_go_on(&s));
	assert_int_equal(s.first, far + 7);
	settled_record(&s, far + 9, far + 10);
	assert_true(fg_settled_is_open(&s, far + 8));
	assert_false(fg_settled_is_open(&s, far + 9));
	assert_false(fg_settled_go_on(&s));
	fg_settled_free(&s);
}

/* ---- the time */

static int64_t fake_utc_us, fake_up_us;

static void fake_read(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	(void)arg;
	*ret_utc_us = fake_utc_us;
	*ret_boottime_us = fake_up_us;
}

static void fake_look(void *arg, int64_t utc_us, struct fg_clock_evidence *ret)
{
	(void)arg;
	*ret = (struct fg_clock_evidence){.is_kernel_synchronised = utc_us > FG_TIME_FLOOR_US};
}

static int remember(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	(void)number;
	assert_int_equal(q->moment.size, FG_MOMENT_BYTES);
	memcpy(arg, q->moment.data, FG_MOMENT_BYTES);
	return 0;
}

static void time_that_was_not_known_is_repaired_when_it_is(void **state)
{
	const uint8_t boot_id[16] = {1, 2, 3};
	struct fg_timekeeper_options options = {
		.boot_id = boot_id, .read = fake_read, .look = fake_look};
	struct bench *b = *state;
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	struct fg_quarantined q = {.reason = fg_span_str("no"),
				   .time_quality = FG_TIME_UNSYNCHRONISED};
	uint8_t moment[FG_MOMENT_BYTES] = {0};
	struct fg_clock_news news;
	struct fg_timekeeper *t;
	struct fg_message found;
	struct fg_cursor *c;
	uint64_t seq;

	/* The machine has been up for 5 s, and its clock starts in 1970. */
	fake_up_us = 5000000;
	fake_utc_us = 5000000;
	assert_int_equal(fg_timekeeper_new(&options, &t), 0);
	b->options.timekeeper = t;
	bench_open(b);
	c = bench_cursor(b, "a", 10);
	msg.time_quality = fg_timekeeper_now(t, &msg.time_us);
	assert_int_equal(msg.time_quality, FG_TIME_UNSYNCHRONISED);
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
	assert_int_equal(fg_journal_quarantine(b->j, &q), 0);
	bench_flush(b);
	assert_int_equal(fg_journal_each_quarantined(b->fs, 0, remember, moment, NULL), 0);
	assert_memory_equal(moment, boot_id, sizeof(boot_id));

	/* Ten seconds later it is set, to a time in 2030. */
	fake_up_us += 10000000;
	fake_utc_us = INT64_C(1900000000000000);
	fg_timekeeper_tick(t, &news);
	assert_true(news.is_learnt);
	assert_int_equal(bench_read(b, c, &found, 1), 1);
	assert_int_equal(found.time_quality, FG_TIME_GATEWAY);
	assert_int_equal(found.time_us, INT64_C(1900000000000000) - 10000000);
	bench_close(b);
	fg_timekeeper_free(t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(options_that_do_not_go_together_are_refused_in_words),
		TEST(batch_gathers_for_the_interval_or_until_it_is_half_full),
		TEST(what_there_is_room_for_is_taken),
		TEST(memory_of_a_burst_is_given_back_when_it_is_quiet),
		TEST(only_what_is_in_quarantine_is_settled_and_so_much_at_a_time),
		TEST(texts_that_no_batch_holds_are_refused),
		TEST(quarantine_larger_than_a_window_is_gone_through_in_steps),
		TEST(time_that_was_not_known_is_repaired_when_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
