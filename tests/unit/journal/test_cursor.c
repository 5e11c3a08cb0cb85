#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/cursor.h"
#include "util/span.h"

static int setup(void **state)
{
	struct bench *b;

	bench_setup(state);
	b = *state;
	b->options.max_left_behind = 20;
	bench_open(b);
	return 0;
}

/* Read all there is. Returns how many records. */
static unsigned read_on(struct fg_pass *p)
{
	struct fg_message m[7];
	unsigned n = 0;
	int r;

	while ((r = fg_pass_read(p, m, 7, NULL, NULL)) != 0) {
		assert_true(r > 0 || r == -EAGAIN);
		n += r > 0 ? (unsigned)r : 0;
	}
	return n;
}

static void restart(struct bench *b)
{
	bench_close(b);
	bench_open(b);
}

static void thirty_two_cursors_and_no_more(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c[33];
	char name[16];

	for (int i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "link%d", i);
		assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, name, 10, &c[i]), 0);
	}
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "one-more", 10, &c[32]), -ENOSPC);
	/* A name that nobody has open makes room, and only then is forgotten. */
	fg_cursor_close(c[5]);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "one-more", 10, &c[32]), 0);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "link5", 10, &c[5]), -ENOSPC);
	bench_fill(b, 10);
	bench_close(b);
	bench_open(b);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "one-more", 10, &c[32]), 0);
	assert_int_equal(fg_cursor_backlog(c[32]), 10);
}

static void closed_cursor_keeps_its_place_but_no_segments(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *away, *here;
	struct fg_pass *pass;
	uint64_t last;

	away = bench_cursor(b, "away", 10);
	here = bench_cursor(b, "here", 10);
	bench_fill(b, 20);
	fg_cursor_settle(away, 1, 7);
	fg_cursor_close(away);
	bench_fill(b, 20);
	away = bench_cursor(b, "away", 10);
	assert_int_equal(fg_cursor_watermark(away), 7);
	assert_int_equal(fg_pass_open(away, &pass), 0);
	assert_int_equal(read_on(pass), 33);
	fg_pass_close(pass);
	fg_cursor_close(away);

	last = bench_fill(b, 300);
	fg_cursor_settle(here, 1, last);
	b->now_ms += 10000;
	fg_journal_tick(b->j, b->now_ms);
	fg_journal_tick(b->j, b->now_ms);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.first_seq > 200);
	/* Back again, it is told what has gone meanwhile. */
	away = bench_cursor(b, "away", 10);
	assert_int_equal(fg_pass_open(away, &pass), 0);
	assert_true(read_on(pass) < 100);
	assert_int_equal(b->n_lost, 1);
	assert_true(b->lost > 200);
	fg_pass_close(pass);
}

static void watermark_never_goes_back_nor_ahead_of_the_disk(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;

	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "a", 10, &c), 0);
	bench_fill(b, 10);
	fg_cursor_settle(c, 1, 6);
	fg_cursor_settle(c, 1, 3);
	assert_int_equal(fg_cursor_watermark(c), 6);
	bench_append(b, 10);
	fg_cursor_settle(c, 1, 1000);
	assert_true(fg_cursor_watermark(c) <= 11);
	bench_flush(b);
	assert_int_equal(fg_cursor_backlog(c), 1);
	assert_int_equal(bench_read_all(b, c), 1);
}

static void saves_keep_a_distance_while_data_flows(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;

	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "a", 1000, &c), 0);
	/* A commit every 10 ms for ten seconds, each acknowledged at once. */
	for (int i = 0; i < 1000; i++) {
		uint64_t seq = bench_append(b, 20);

		bench_flush(b);
		fg_cursor_settle(c, 1, seq);
		b->now_ms += 10;
	}
	fg_journal_get_stats(b->j, &stats);
	assert_in_range(stats.cursor_saves, 9, 12);
	/* With few records allowed to be sent twice, as often as that takes. */
	fg_cursor_close(c);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "a", 10, &c), 0);
	for (int i = 0; i < 100; i++) {
		uint64_t seq = bench_append(b, 20);

		bench_flush(b);
		fg_cursor_settle(c, 1, seq);
	}
	fg_journal_get_stats(b->j, &stats);
	assert_in_range(stats.cursor_saves, 9 + 15, 12 + 25);
}

static void idle_journal_saves_once_and_is_quiet(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats before, after;
	struct fg_cursor *c;

	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "a", 1000, &c), 0);
	bench_fill(b, 10);
	fg_cursor_settle(c, 1, 9);
	fg_journal_get_stats(b->j, &before);
	for (int i = 0; i < 4; i++) {
		b->now_ms += 1000;
		fg_journal_tick(b->j, b->now_ms);
	}
	fg_journal_get_stats(b->j, &after);
	assert_int_equal(after.commits, before.commits);
	for (int i = 0; i < 1000; i++) {
		b->now_ms += 1000;
		fg_journal_tick(b->j, b->now_ms);
	}
	fg_journal_get_stats(b->j, &after);
	assert_int_equal(after.commits, before.commits + 1);
	assert_int_equal(after.cursor_saves, before.cursor_saves + 1);
	assert_int_equal(fg_cursor_saved(c), 9);
	assert_int_equal(fg_cursor_backlog(c), 1);
}

static void large_records_are_read_and_the_buffer_shrinks_again(void **state)
{
	struct bench *b = *state;
	struct fg_message m[4];
	struct fg_cursor *c;
	char *body = malloc(1 << 20);
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	uint64_t seq;

	assert_non_null(body);
	bench_close(b);
	b->options.batch_bytes = (1 << 20) + 65536;
	b->options.segment_bytes = 4 << 20;
	b->options.max_bytes = 64 << 20;
	bench_open(b);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "a", 1000, &c), 0);
	for (int round = 0; round < 3; round++) {
		memset(body, 'a' + round, 1 << 20);
		msg.body = fg_span_of(body, 10);
		assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
		msg.body = fg_span_of(body, 1 << 20);
		assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
		bench_flush(b);
	}
	for (int round = 0; round < 3; round++) {
		assert_int_equal(bench_read(b, c, m, 1), 1);
		assert_int_equal(m[0].body.size, 10);
		fg_pass_seek(bench_pass(b, c), m[0].seq + 1);
		assert_int_equal(bench_read(b, c, m, 1), 1);
		assert_int_equal(m[0].body.size, 1 << 20);
		assert_int_equal(m[0].body.data[(1 << 20) - 1], 'a' + round);
		fg_pass_seek(bench_pass(b, c), m[0].seq + 1);
	}
	free(body);
}

static void any_place_can_be_sought(void **state)
{
	struct bench *b = *state;
	struct fg_message m[5];
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	uint64_t last, at = 1;

	fg_cursor_close(c);
	last = bench_fill(b, 400);
	restart(b);
	c = bench_cursor(b, "a", 1000);
	for (int i = 0; i < 2000; i++) {
		int n;

		at = (at * 6364136223846793005u + 1442695040888963407u) % last + 1;
		fg_pass_seek(bench_pass(b, c), at);
		n = bench_read(b, c, m, 5);
		assert_true(n >= 1);
		/* One of them may be a table's number. */
		assert_in_range(m[0].seq, at, at + 1);
		for (int k = 1; k < n; k++)
			assert_in_range(m[k].seq, m[k - 1].seq + 1, m[k - 1].seq + 2);
	}
	fg_pass_seek(bench_pass(b, c), fg_cursor_end(c));
	assert_int_equal(bench_read(b, c, m, 5), 0);
	assert_int_equal(b->n_lost, 0);
}

static void many_cursors_in_many_segments_share_few_handles(void **state)
{
	struct bench *b = *state;
	struct fg_message m[1];
	struct fg_pass *p[30];
	char name[16];

	bench_fill(b, 1500);
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "link%d", i);
		assert_int_equal(fg_pass_open(bench_cursor(b, name, 10), &p[i]), 0);
	}
	bench_fill(b, 1500);
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < 30; i++) {
			uint64_t seq = (uint64_t)(1600 + i * 44 + round);

			fg_pass_seek(p[i], seq);
			assert_int_equal(fg_pass_read(p[i], m, 1, NULL, NULL), 1);
			assert_int_equal(m[0].seq, seq);
		}
	for (int i = 0; i < 30; i++)
		fg_pass_close(p[i]);
}

/* ---- ranges */

static void watermark_follows_when_the_hole_is_closed(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 100);

	bench_fill(b, 50);
	fg_cursor_settle(c, 3, 5);
	fg_cursor_settle(c, 8, 8);
	fg_cursor_settle(c, 10, 40);
	assert_int_equal(fg_cursor_watermark(c), 0);
	assert_in_range(fg_cursor_backlog(c), 15, 16);
	assert_int_equal(bench_read_all(b, c), fg_cursor_backlog(c));
	fg_cursor_settle(c, 1, 2);
	assert_int_equal(fg_cursor_watermark(c), 5);
	fg_cursor_settle(c, 9, 9);
	assert_int_equal(fg_cursor_watermark(c), 5);
	fg_cursor_settle(c, 6, 7);
	assert_true(fg_cursor_watermark(c) >= 40);
	fg_cursor_settle(c, 41, UINT64_MAX);
	assert_int_equal(fg_cursor_watermark(c), fg_cursor_end(c) - 1);
	assert_int_equal(fg_cursor_backlog(c), 0);
}

/* A live_first link settles what comes, and leaves what waits: each save takes a number, too. */
static void saves_in_between_do_not_make_many_ranges_of_one(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 10);
	uint64_t first = 0, n_read;

	b->options.max_bytes = 8 << 20;
	restart(b);
	c = bench_cursor(b, "a", 10);
	bench_fill(b, 100);
	for (int i = 0; i < 3000; i++) {
		uint64_t seq = bench_append(b, 20);

		first = first > 0 ? first : seq;
		bench_flush(b);
		fg_cursor_settle(c, seq, seq);
		assert_int_equal(c->settled.n, 1);
	}
	assert_int_equal(fg_cursor_watermark(c), 1);
	assert_int_equal(fg_cursor_backlog(c), 100);
	assert_int_equal(fg_cursor_settled_to(c, first), fg_cursor_end(c) - 1);
	restart(b);
	c = bench_cursor(b, "a", 10);
	n_read = bench_read_all(b, c);
	assert_int_equal(n_read, 100);
	/* What was left of the backlog, and all is one. */
	fg_cursor_settle(c, 1, first - 1);
	assert_int_equal(fg_cursor_watermark(c), fg_cursor_end(c) - 1);
}

static void clean_restart_knows_every_record_that_was_settled(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_message m[400];
	unsigned n = 0;

	bench_fill(b, 400);
	for (uint64_t seq = 3; seq < 400; seq += 3)
		fg_cursor_settle(c, seq, seq);
	for (int round = 0; round < 3; round++) {
		int r;

		restart(b);
		c = bench_cursor(b, "a", 1000);
		n = 0;
		while ((r = bench_read(b, c, m + n, 400 - n)) > 0)
			n += (unsigned)r;
		for (unsigned i = 0; i < n; i++)
			assert_true(m[i].seq % 3 != 0 || m[i].seq >= 400);
		assert_in_range(n, 260, 268);
	}
}

/* ---- how much is sent twice after a crash */

static void no_more_is_sent_than_may_be_sent_twice(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 10);
	uint64_t first;

	bench_fill(b, 100);
	first = fg_cursor_watermark(c) + 1;
	assert_true(fg_cursor_may_send(c, 9));
	assert_false(fg_cursor_may_send(c, 10));
	/* What is settled counts on until it is saved, wherever it is. */
	fg_cursor_settle(c, first, first + 1);
	fg_cursor_settle(c, first + 12, first + 14);
	assert_true(fg_cursor_may_send(c, 4));
	assert_false(fg_cursor_may_send(c, 5));
	/* And only once. */
	fg_cursor_settle(c, first + 12, first + 14);
	assert_true(fg_cursor_may_send(c, 4));
	/* The one that was refused has the cursor saved. */
	bench_flush(b);
	assert_true(fg_cursor_may_send(c, 9));
	assert_false(fg_cursor_may_send(c, 10));
	assert_true(fg_cursor_saved(c) >= first + 1);
}

static void full_window_alone_writes_nothing(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats before, after;
	struct fg_cursor *c = bench_cursor(b, "a", 10);

	bench_fill(b, 100);
	fg_journal_get_stats(b->j, &before);
	for (int i = 0; i < 10; i++) {
		assert_false(fg_cursor_may_send(c, 10));
		bench_flush(b);
	}
	fg_journal_get_stats(b->j, &after);
	assert_int_equal(after.commits, before.commits);
}

static void trickle_of_acknowledgements_is_not_written_one_by_one(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats before, after;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);

	bench_fill(b, 300);
	b->now_ms += 100;
	bench_flush(b);
	fg_journal_get_stats(b->j, &before);
	/* Nothing else is written meanwhile: every five seconds is enough. */
	for (uint64_t seq = 1; seq <= 300; seq++) {
		fg_cursor_settle(c, seq, seq);
		b->now_ms += 100;
		fg_journal_tick(b->j, b->now_ms);
	}
	fg_journal_get_stats(b->j, &after);
	assert_in_range(after.cursor_saves - before.cursor_saves, 4, 7);
}

/* ---- sessions left behind */

static void session_left_behind_keeps_its_records(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	uint64_t key, from, last;

	last = bench_fill(b, 300);
	assert_int_equal(fg_cursor_left_behind(c, 77), 0);
	assert_int_equal(fg_cursor_leave_behind(c, 77, 150), 0);
	assert_int_equal(fg_cursor_leave_behind(c, FG_KEY_ORDERED, 250), 0);
	fg_cursor_settle(c, 1, last);
	assert_int_equal(fg_cursor_backlog(c), 0);
	for (int i = 0; i < 3; i++) {
		b->now_ms += 10000;
		fg_journal_tick(b->j, b->now_ms);
	}
	fg_journal_get_stats(b->j, &stats);
	assert_in_range(stats.first_seq, 50, 150);
	restart(b);
	c = bench_cursor(b, "a", 1000);
	assert_int_equal(fg_cursor_left_behind(c, 77), 150);
	assert_int_equal(fg_cursor_left_behind(c, FG_KEY_ORDERED), 250);
	assert_true(fg_cursor_each_left_behind(c, 0, &key, &from));
	assert_int_equal(key, FG_KEY_ORDERED);
	assert_int_equal(from, 250);
	assert_true(fg_cursor_each_left_behind(c, 1, &key, &from));
	assert_int_equal(key, 77);
	assert_false(fg_cursor_each_left_behind(c, 2, &key, &from));
	/* It has caught up with the rest: what only it held back goes. */
	fg_cursor_rejoin(c, 77);
	fg_cursor_rejoin(c, 77);
	assert_int_equal(fg_cursor_left_behind(c, 77), 0);
	for (int i = 0; i < 3; i++) {
		b->now_ms += 10000;
		fg_journal_tick(b->j, b->now_ms);
	}
	fg_journal_get_stats(b->j, &stats);
	assert_in_range(stats.first_seq, 151, 250);
}

/* Until it is on disk that it rejoined, a crash would look for its records again. */
static void what_a_session_needs_goes_only_when_that_is_saved(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	uint64_t last = bench_fill(b, 300);

	fg_cursor_leave_behind(c, 77, 100);
	fg_cursor_settle(c, 1, last);
	b->now_ms += 10000;
	fg_journal_tick(b->j, b->now_ms);
	assert_int_equal(fg_cursors_low(c->set, true), 99);
	fg_cursor_rejoin(c, 77);
	assert_int_equal(fg_cursors_low(c->set, true), 99);
	assert_true(fg_cursors_low(c->set, false) >= last);
	b->now_ms += 10000;
	fg_journal_tick(b->j, b->now_ms);
	assert_true(fg_cursors_low(c->set, true) >= last);
	fg_journal_tick(b->j, b->now_ms);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.first_seq > 200);
}

static void so_many_sessions_are_left_behind_and_no_more(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c, *d;

	b->options.max_left_behind = 5;
	restart(b);
	c = bench_cursor(b, "a", 10);
	d = bench_cursor(b, "d", 10);
	bench_fill(b, 10);
	for (uint64_t key = 1; key <= 3; key++)
		assert_int_equal(fg_cursor_leave_behind(c, key, 4), 0);
	assert_int_equal(fg_cursor_leave_behind(d, 1, 4), 0);
	assert_int_equal(fg_cursor_leave_behind(d, 2, 4), 0);
	assert_int_equal(fg_cursor_leave_behind(d, 3, 4), -ENOSPC);
	assert_int_equal(fg_cursor_left_behind(d, 3), 0);
	/* One that is there may be moved, and one that goes makes room. */
	assert_int_equal(fg_cursor_leave_behind(d, 2, 3), 0);
	fg_cursor_rejoin(c, 3);
	assert_int_equal(fg_cursor_leave_behind(d, 3, 4), 0);
}

/* Fewer are allowed than were left behind before: none of them may be forgotten. */
static void smaller_limit_loses_no_session(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	uint64_t last;

	b->options.segment_bytes = 65536;
	b->options.max_left_behind = 1000;
	restart(b);
	c = bench_cursor(b, "a", 10);
	last = bench_fill(b, 100);
	for (uint64_t key = 1; key <= 1000; key++)
		assert_int_equal(fg_cursor_leave_behind(c, key, 20 + key % 50), 0);
	fg_cursor_settle(c, 1, last);
	b->options.max_left_behind = 1;
	restart(b);
	c = bench_cursor(b, "a", 10);
	for (uint64_t key = 1; key <= 1000; key++)
		assert_int_equal(fg_cursor_left_behind(c, key), 20 + key % 50);
	assert_int_equal(fg_cursor_leave_behind(c, 1001, 20), -ENOSPC);
	/* What does not fit the table is settled for nobody. */
	fg_cursor_rejoin(c, 1000);
	restart(b);
	c = bench_cursor(b, "a", 10);
	assert_true(fg_cursor_watermark(c) <= 19 || fg_cursor_left_behind(c, 50) == 20);
	assert_int_equal(fg_cursor_watermark(c), 19);
}

static void moving_a_session_on_counts_as_unsaved(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 4);
	uint64_t last = bench_fill(b, 50);

	fg_cursor_leave_behind(c, 9, 10);
	fg_cursor_settle(c, 1, last);
	fg_cursor_may_send(c, 0);
	bench_flush(b);
	assert_true(fg_cursor_may_send(c, 3));
	fg_cursor_leave_behind(c, 9, 11);
	fg_cursor_leave_behind(c, 9, 13);
	assert_false(fg_cursor_may_send(c, 2));
	assert_true(fg_cursor_may_send(c, 1));
	/* Back again: that settles nothing. */
	fg_cursor_leave_behind(c, 9, 12);
	assert_true(fg_cursor_may_send(c, 1));
	fg_cursor_rejoin(c, 9);
	assert_false(fg_cursor_may_send(c, 1));
	bench_flush(b);
	assert_true(fg_cursor_may_send(c, 3));
}

static void limit_takes_from_sessions_left_behind_and_says_so(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	uint64_t losses[FG_N_LOSSES], last;

	b->options.max_bytes = 100000;
	restart(b);
	c = bench_cursor(b, "a", 1000);
	last = bench_fill(b, 100);
	fg_cursor_leave_behind(c, 1, 5);
	fg_cursor_leave_behind(c, 2, 90);
	fg_cursor_settle(c, 1, last);
	for (int i = 0; i < 10; i++) {
		last = bench_fill(b, 10);
		fg_cursor_settle(c, 1, last);
	}
	assert_int_equal(b->n_lost, 0);
	while (b->n_lost == 0) {
		last = bench_fill(b, 10);
		fg_cursor_settle(c, 1, last);
		assert_true(last < 1000);
	}
	/* Nobody can tell how many records of it there were: one at least. */
	assert_int_equal(b->lost, 1);
	assert_int_equal(fg_cursor_left_behind(c, 1), b->lost_seq + 1);
	assert_int_equal(fg_cursor_left_behind(c, 2), 90);
	fg_cursor_get_losses(c, losses);
	assert_int_equal(losses[FG_LOSS_LIMIT], 1);
	restart(b);
	c = bench_cursor(b, "a", 1000);
	assert_int_equal(fg_cursor_left_behind(c, 1), b->lost_seq + 1);
}

static void own_cap_counts_what_waits_for_a_session_left_behind(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	uint64_t last;

	fg_cursor_set_caps(c, 40000, 0);
	last = bench_fill(b, 20);
	fg_cursor_leave_behind(c, 1, 5);
	for (int i = 0; i < 60; i++) {
		fg_cursor_settle(c, 1, last);
		last = bench_fill(b, 10);
		b->now_ms += 1000;
		fg_journal_tick(b->j, b->now_ms);
	}
	assert_true(b->n_lost > 0);
	assert_string_equal(b->lost_why, "beyond its max_backlog");
	assert_true(fg_cursor_left_behind(c, 1) > 300);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.bytes_on_disk < 90000);
}

static void own_cap_does_not_count_what_is_settled_above_a_hole(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	uint64_t last;

	fg_cursor_set_caps(c, 60000, 0);
	bench_fill(b, 50);
	for (int i = 0; i < 60; i++) {
		last = bench_fill(b, 10);
		fg_cursor_settle(c, 51, last);
		b->now_ms += 1000;
		fg_journal_tick(b->j, b->now_ms);
	}
	assert_int_equal(b->n_lost, 0);
	assert_int_equal(fg_cursor_backlog(c), 49);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(thirty_two_cursors_and_no_more),
		TEST(closed_cursor_keeps_its_place_but_no_segments),
		TEST(watermark_never_goes_back_nor_ahead_of_the_disk),
		TEST(saves_keep_a_distance_while_data_flows),
		TEST(idle_journal_saves_once_and_is_quiet),
		TEST(large_records_are_read_and_the_buffer_shrinks_again),
		TEST(any_place_can_be_sought),
		TEST(many_cursors_in_many_segments_share_few_handles),
		TEST(watermark_follows_when_the_hole_is_closed),
		TEST(saves_in_between_do_not_make_many_ranges_of_one),
		TEST(clean_restart_knows_every_record_that_was_settled),
		TEST(no_more_is_sent_than_may_be_sent_twice),
		TEST(full_window_alone_writes_nothing),
		TEST(trickle_of_acknowledgements_is_not_written_one_by_one),
		TEST(session_left_behind_keeps_its_records),
		TEST(what_a_session_needs_goes_only_when_that_is_saved),
		TEST(so_many_sessions_are_left_behind_and_no_more),
		TEST(smaller_limit_loses_no_session),
		TEST(moving_a_session_on_counts_as_unsaved),
		TEST(limit_takes_from_sessions_left_behind_and_says_so),
		TEST(own_cap_counts_what_waits_for_a_session_left_behind),
		TEST(own_cap_does_not_count_what_is_settled_above_a_hole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
