#include "support.h"

#include <errno.h>
#include <string.h>

#include "util/span.h"

#define HOUR_MS INT64_C(3600000)
#define HOUR_US (HOUR_MS * 1000)
#define YEARS_20_US (20 * 365 * 24 * HOUR_US)

static uint64_t loss(const struct fg_cursor *c, enum fg_loss why)
{
	uint64_t losses[FG_N_LOSSES];

	fg_cursor_get_losses(c, losses);
	return losses[why];
}

/* Time passes, with a tick now and then as the daemon has it. */
static void pass(struct bench *b, int64_t ms)
{
	for (int i = 0; i < 12; i++) {
		b->now_ms += ms / 12;
		b->utc_us += ms / 12 * 1000;
		fg_journal_tick(b->j, b->now_ms);
	}
}

static void restart_after(struct bench *b, int64_t away_us)
{
	bench_close(b);
	b->utc_us += away_us;
	b->now_ms += 1000; /* another boot: says nothing about how long it was */
	bench_open(b);
}

/* ---- age */

static void what_is_too_old_is_given_up_and_its_segments_go(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;

	b->options.max_age_ms = 24 * HOUR_MS;
	bench_open(b);
	c = bench_cursor(b, "slow", 10);
	bench_fill(b, 200);
	pass(b, 23 * HOUR_MS);
	bench_fill(b, 200);
	assert_int_equal(b->n_lost, 0);
	pass(b, 2 * HOUR_MS);
	assert_true(b->n_lost > 0);
	assert_string_equal(b->lost_why, "older than max_age");
	/* By whole segments: some of the first 200 share one with those that follow. */
	assert_in_range(b->lost, 120, 200);
	assert_int_equal(loss(c, FG_LOSS_AGE), b->lost);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.first_seq > 120);
	assert_int_equal(bench_read_all(b, c) + b->lost, 400);
}

static void old_records_in_the_newest_segment_are_given_up_too(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;

	b->options.max_age_ms = HOUR_MS;
	bench_open(b);
	c = bench_cursor(b, "slow", 10);
	bench_fill(b, 10);
	pass(b, 2 * HOUR_MS);
	assert_int_equal(b->lost, 10);
	assert_int_equal(bench_read_all(b, c), 0);
	assert_int_equal(fg_cursor_backlog(c), 0);
	assert_int_equal(bench_count_files(b, "main", ".seg"), 1);
	bench_fill(b, 3);
	assert_int_equal(bench_read_all(b, c), 3);
	restart_after(b, 0);
	c = bench_cursor(b, "slow", 10);
	assert_int_equal(bench_read_all(b, c), 3);
	assert_int_equal(b->lost, 10);
}

static void session_left_behind_is_given_up_once_and_not_with_each_table(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;
	uint64_t saves;

	b->options.max_age_ms = HOUR_MS;
	b->options.max_left_behind = 1;
	bench_open(b);
	c = bench_cursor(b, "slow", 10);
	bench_fill(b, 10);
	assert_int_equal(fg_cursor_leave_behind(c, 7, 3), 0);
	bench_settle(c, 10);
	pass(b, 2 * HOUR_MS);
	fg_journal_get_stats(b->j, &stats);
	saves = stats.cursor_saves;
	assert_true(fg_cursor_left_behind(c, 7) > 10);
	assert_int_equal(loss(c, FG_LOSS_AGE), 1);
	/* Each table is a number more, and too old from the start. */
	pass(b, 2 * HOUR_MS);
	fg_journal_get_stats(b->j, &stats);
	assert_int_equal(stats.cursor_saves, saves);
}

static void age_counts_on_over_restarts_and_the_time_away(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;

	b->options.max_age_ms = 24 * HOUR_MS;
	bench_open(b);
	c = bench_cursor(b, "slow", 10);
	bench_fill(b, 10);
	for (int i = 0; i < 5; i++) {
		pass(b, 2 * HOUR_MS);
		restart_after(b, 2 * HOUR_US);
		c = bench_cursor(b, "slow", 10);
		bench_fill(b, 1);
	}
	assert_int_equal(b->n_lost, 0);
	pass(b, 5 * HOUR_MS);
	assert_int_equal(loss(c, FG_LOSS_AGE), b->lost);
	assert_in_range(b->lost, 10, 12);
}

static void killed_daemon_has_saved_the_clock_with_the_data(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats before, after;

	bench_open(b);
	bench_cursor(b, "dead", 10);
	bench_fill(b, 1);
	fg_journal_get_stats(b->j, &before);
	pass(b, HOUR_MS);
	bench_fill(b, 1);
	bench_fill(b, 1);
	fg_journal_get_stats(b->j, &after);
	assert_int_equal(after.cursor_saves, before.cursor_saves + 1);
}

static void steps_of_the_clock_make_nothing_older(void **state)
{
	static const int64_t steps_us[] = {YEARS_20_US, -YEARS_20_US, 31 * 24 * HOUR_US};

	for (size_t i = 0; i < sizeof(steps_us) / sizeof(steps_us[0]); i++) {
		struct bench *b = *state;
		struct fg_cursor *c;

		b->options.max_age_ms = 24 * HOUR_MS;
		bench_open(b);
		c = bench_cursor(b, "slow", 10);
		bench_fill(b, 100);
		/* While it runs, and while it does not. */
		b->utc_us += steps_us[i];
		pass(b, HOUR_MS);
		b->utc_us -= steps_us[i];
		bench_fill(b, 1);
		restart_after(b, steps_us[i]);
		c = bench_cursor(b, "slow", 10);
		pass(b, HOUR_MS);
		assert_int_equal(b->n_lost, 0);
		assert_int_equal(bench_read_all(b, c), 101);
		restart_after(b, -steps_us[i]);
		c = bench_cursor(b, "slow", 10);
		pass(b, HOUR_MS);
		assert_int_equal(b->n_lost, 0);
		/* And what does count, counts all the same. */
		pass(b, 24 * HOUR_MS);
		assert_in_range(b->lost, 101, 110);
		bench_free(b);
		bench_new(b);
	}
}

static void without_cursors_old_segments_go_all_the_same(void **state)
{
	struct bench *b = *state;

	b->options.max_age_ms = HOUR_MS;
	bench_open(b);
	bench_fill(b, 300);
	assert_true(bench_count_files(b, "main", ".seg") > 3);
	pass(b, 2 * HOUR_MS);
	assert_int_equal(bench_count_files(b, "main", ".seg"), 1);
}

/* ---- caps of one link */

static void dead_link_beyond_its_own_cap_holds_nothing_and_costs_others_nothing(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *dead, *slow;
	uint64_t n_read = 0;

	bench_open(b);
	dead = bench_cursor(b, "dead", 10);
	slow = bench_cursor(b, "slow", 1000);
	fg_cursor_set_caps(dead, 50000, 0);
	/* The living link is up to 200 records behind, about 60 KB. */
	for (int i = 0; i < 50; i++) {
		struct fg_message messages[20];
		int n;

		bench_fill(b, 20);
		b->now_ms += 500;
		fg_journal_tick(b->j, b->now_ms);
		if (i < 10)
			continue;
		for (int done = 0; done < 20; done += n) {
			n = bench_read(b, slow, messages, (size_t)(20 - done));
			assert_true(n > 0);
			n_read += (uint64_t)n;
			bench_settle(slow, messages[n - 1].seq);
		}
	}
	n_read += bench_read_all(b, slow);
	assert_int_equal(n_read, 1000);
	assert_int_equal(loss(slow, FG_LOSS_LIMIT) + loss(slow, FG_LOSS_OWN_LIMIT), 0);
	assert_int_equal(loss(dead, FG_LOSS_OWN_LIMIT), b->lost);
	assert_string_equal(b->lost_why, "beyond its max_backlog");
	assert_int_equal(bench_read_all(b, dead) + b->lost, 1000);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.bytes_on_disk < 110000);
}

static void link_may_give_up_earlier_by_age_than_the_journal(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *impatient, *patient;

	b->options.max_age_ms = 24 * HOUR_MS;
	bench_open(b);
	impatient = bench_cursor(b, "impatient", 10);
	patient = bench_cursor(b, "patient", 10);
	fg_cursor_set_caps(impatient, 0, HOUR_MS);
	bench_fill(b, 100);
	pass(b, 2 * HOUR_MS);
	assert_int_equal(loss(impatient, FG_LOSS_AGE), 100);
	assert_int_equal(loss(patient, FG_LOSS_AGE), 0);
	/* The records are there for the other, but not sent to the one that was told. */
	fg_pass_seek(bench_pass(b, impatient), 1);
	assert_int_equal(bench_read_all(b, impatient), 0);
	assert_int_equal(bench_read_all(b, patient), 100);
}

static void what_a_link_gave_up_stays_so_after_a_restart(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	uint64_t watermark;

	bench_open(b);
	c = bench_cursor(b, "dead", 10);
	fg_cursor_set_caps(c, 40000, 0);
	bench_fill(b, 1000);
	assert_true(b->lost > 700);
	watermark = fg_cursor_watermark(c);
	restart_after(b, 0);
	c = bench_cursor(b, "dead", 10);
	assert_true(fg_cursor_watermark(c) >= watermark);
	assert_int_equal(bench_read_all(b, c) + b->lost, 1000);
}

/* ---- on_full */

/* Append until the journal does not store any more. Returns how many it did. */
static unsigned fill_up(struct bench *b)
{
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	char body[200];
	unsigned n = 0;

	for (;; n++) {
		struct fg_journal_stats stats;
		uint64_t seq = 0;
		int r;

		fg_journal_get_stats(b->j, &stats);
		assert_true(stats.bytes_on_disk <= b->options.max_bytes);
		bench_body(stats.next_seq, body, sizeof(body));
		msg.body = fg_span_of(body, sizeof(body));
		r = fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq);
		if (r == -EAGAIN) {
			bench_flush(b);
			n--;
			continue;
		}
		if (r == -ENOSPC || seq == 0)
			break;
		assert_int_equal(r, 0);
		assert_true(n < 1000);
	}
	bench_flush(b);
	return n;
}

static void drop_newest_keeps_what_is_there_and_counts_what_comes(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;
	uint64_t seq;
	unsigned n;

	b->options.on_full = FG_ON_FULL_DROP_NEWEST;
	b->options.max_bytes = 100000;
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	n = fill_up(b);
	assert_in_range(n, 200, 400);
	assert_int_equal(b->n_full, 1);
	for (int i = 0; i < 9; i++)
		assert_int_equal(bench_append(b, 200), 0);
	/* Nothing waits for a commit: it may be acknowledged. */
	assert_true(fg_journal_ticket(b->j) <= fg_journal_committed(b->j));
	assert_true(fg_journal_has_room(b->j, 1000));
	fg_journal_get_stats(b->j, &stats);
	assert_int_equal(stats.refused_records, 10);
	assert_int_equal(loss(c, FG_LOSS_FULL), 10);
	assert_int_equal(b->n_full, 10);
	assert_int_equal(b->n_lost, 0);
	assert_int_equal(bench_read_all(b, c), n);
	bench_settle(c, stats.synced_seq);
	pass(b, 12000);
	assert_int_equal(b->n_room, 1);
	seq = bench_append(b, 200);
	assert_true(seq > n);
	bench_flush(b);
	assert_int_equal(bench_read_all(b, c), 1);
}

static void stop_ack_takes_nothing_until_links_have_made_room(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	unsigned n, n_committed;
	struct fg_cursor *c;

	b->options.on_full = FG_ON_FULL_STOP_ACK;
	b->options.max_bytes = 100000;
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	assert_true(fg_journal_has_room(b->j, 1000));
	n = fill_up(b);
	assert_in_range(n, 200, 400);
	assert_false(fg_journal_has_room(b->j, 1000));
	assert_int_equal(b->n_full, 1);
	pass(b, 60000);
	assert_false(fg_journal_has_room(b->j, 1000));
	assert_int_equal(b->n_full, 1);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.is_full);
	assert_int_equal(stats.refused_records, 0);

	/* The callback that wakes readers comes when there is room, not before. */
	assert_int_equal(bench_read_all(b, c), n);
	bench_settle(c, stats.synced_seq);
	n_committed = b->n_committed;
	while (!fg_journal_has_room(b->j, 1000)) {
		n_committed = b->n_committed;
		b->now_ms += 1000;
		fg_journal_tick(b->j, b->now_ms);
		assert_true(b->now_ms < 1000000 + 80000);
	}
	assert_true(b->n_committed > n_committed);
	assert_int_equal(b->n_room, 1);
	assert_int_equal(b->n_lost, 0);
	assert_true(bench_append(b, 200) > n);
}

static void full_journal_saves_cursors_over_many_restarts_below_its_cap(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c, *dead;
	unsigned n;

	b->options.on_full = FG_ON_FULL_STOP_ACK;
	b->options.max_bytes = 100000;
	bench_open(b);
	dead = bench_cursor(b, "dead", 1000);
	c = bench_cursor(b, "a", 1000);
	n = fill_up(b);
	for (uint64_t i = 1; i <= 3; i++) {
		bench_settle(c, i * 50);
		pass(b, 12000);
		restart_after(b, 0);
		dead = bench_cursor(b, "dead", 1000);
		c = bench_cursor(b, "a", 1000);
		assert_true(fg_cursor_watermark(c) >= i * 50);
		fg_journal_get_stats(b->j, &stats);
		assert_true(stats.bytes_on_disk <= b->options.max_bytes);
	}
	fill_up(b);
	assert_int_equal(bench_read_all(b, dead), n);
	assert_int_equal(b->n_lost, 0);
}

/* ---- the shared cap */

static void what_has_to_go_is_given_up_on_disk_before_it_goes(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;

	b->options.max_bytes = 65536;
	bench_open(b);
	c = bench_cursor(b, "slow", 1000);
	for (int i = 0; i < 500; i++) {
		bench_append(b, 200);
		bench_flush(b);
		fg_journal_get_stats(b->j, &stats);
		assert_true(stats.bytes_on_disk <= 65536);
		assert_true(fg_cursor_saved(c) + 1 >= stats.first_seq);
	}
	assert_true(stats.first_seq > 200);
	assert_int_equal(loss(c, FG_LOSS_LIMIT), b->lost);
	assert_int_equal(bench_read_all(b, c) + b->lost, 500);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_too_old_is_given_up_and_its_segments_go),
		TEST(old_records_in_the_newest_segment_are_given_up_too),
		TEST(session_left_behind_is_given_up_once_and_not_with_each_table),
		TEST(age_counts_on_over_restarts_and_the_time_away),
		TEST(killed_daemon_has_saved_the_clock_with_the_data),
		TEST(steps_of_the_clock_make_nothing_older),
		TEST(without_cursors_old_segments_go_all_the_same),
		TEST(dead_link_beyond_its_own_cap_holds_nothing_and_costs_others_nothing),
		TEST(link_may_give_up_earlier_by_age_than_the_journal),
		TEST(what_a_link_gave_up_stays_so_after_a_restart),
		TEST(drop_newest_keeps_what_is_there_and_counts_what_comes),
		TEST(stop_ack_takes_nothing_until_links_have_made_room),
		TEST(full_journal_saves_cursors_over_many_restarts_below_its_cap),
		TEST(what_has_to_go_is_given_up_on_disk_before_it_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
