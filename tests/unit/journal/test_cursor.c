#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/span.h"

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	bench_new(b);
	bench_open(b);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	bench_free(*state);
	free(*state);
	return 0;
}

static void thirty_two_cursors_and_no_more(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c[33];
	char name[16];

	for (int i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "link%d", i);
		assert_int_equal(fg_cursor_open(b->j, name, 10, &c[i]), 0);
	}
	assert_int_equal(fg_cursor_open(b->j, "one-more", 10, &c[32]), -ENOSPC);
	/* A name that nobody has open makes room, and only then is forgotten. */
	fg_cursor_close(c[5]);
	assert_int_equal(fg_cursor_open(b->j, "one-more", 10, &c[32]), 0);
	assert_int_equal(fg_cursor_open(b->j, "link5", 10, &c[5]), -ENOSPC);
	bench_fill(b, 10);
	bench_close(b);
	bench_open(b);
	assert_int_equal(fg_cursor_open(b->j, "one-more", 10, &c[32]), 0);
	assert_int_equal(fg_cursor_backlog(c[32]), 10);
}

static void closed_cursor_keeps_its_place_but_no_segments(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *away, *here;
	uint64_t last;

	assert_int_equal(fg_cursor_open(b->j, "away", 10, &away), 0);
	assert_int_equal(fg_cursor_open(b->j, "here", 10, &here), 0);
	bench_fill(b, 20);
	fg_cursor_ack(away, 7);
	fg_cursor_close(away);
	last = bench_fill(b, 20);
	assert_int_equal(fg_cursor_open(b->j, "away", 10, &away), 0);
	assert_int_equal(fg_cursor_watermark(away), 7);
	assert_int_equal(bench_read_all(away), 33);
	fg_cursor_close(away);

	last = bench_fill(b, 300);
	fg_cursor_ack(here, last);
	b->now_ms += 10000;
	fg_journal_tick(b->j, b->now_ms);
	fg_journal_tick(b->j, b->now_ms);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.first_seq > 200);
	/* Back again, it is told what has gone meanwhile. */
	assert_int_equal(fg_cursor_open(b->j, "away", 10, &away), 0);
	assert_true(bench_read_all(away) < 100);
	assert_int_equal(b->n_lost, 1);
	assert_true(b->lost > 200);
}

static void watermark_never_goes_back_nor_ahead_of_the_disk(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;

	assert_int_equal(fg_cursor_open(b->j, "a", 10, &c), 0);
	bench_fill(b, 10);
	fg_cursor_ack(c, 6);
	fg_cursor_ack(c, 3);
	assert_int_equal(fg_cursor_watermark(c), 6);
	bench_append(b, 10);
	fg_cursor_ack(c, 1000);
	assert_true(fg_cursor_watermark(c) <= 11);
	bench_flush(b);
	assert_int_equal(fg_cursor_backlog(c), 1);
	assert_int_equal(bench_read_all(c), 11);
}

static void saves_keep_a_distance_while_data_flows(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;

	assert_int_equal(fg_cursor_open(b->j, "a", 1000, &c), 0);
	/* A commit every 10 ms for ten seconds, each acknowledged at once. */
	for (int i = 0; i < 1000; i++) {
		uint64_t seq = bench_append(b, 20);

		bench_flush(b);
		fg_cursor_ack(c, seq);
		b->now_ms += 10;
	}
	fg_journal_get_stats(b->j, &stats);
	assert_in_range(stats.cursor_saves, 9, 12);
	/* With few records allowed to be sent twice, as often as that takes. */
	fg_cursor_close(c);
	assert_int_equal(fg_cursor_open(b->j, "a", 10, &c), 0);
	for (int i = 0; i < 100; i++) {
		uint64_t seq = bench_append(b, 20);

		bench_flush(b);
		fg_cursor_ack(c, seq);
	}
	fg_journal_get_stats(b->j, &stats);
	assert_in_range(stats.cursor_saves, 9 + 15, 12 + 25);
}

static void idle_journal_saves_once_and_is_quiet(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats before, after;
	struct fg_cursor *c;

	assert_int_equal(fg_cursor_open(b->j, "a", 1000, &c), 0);
	bench_fill(b, 10);
	fg_cursor_ack(c, 9);
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
	assert_int_equal(fg_cursor_open(b->j, "a", 1000, &c), 0);
	for (int round = 0; round < 3; round++) {
		memset(body, 'a' + round, 1 << 20);
		msg.body = fg_span_of(body, 10);
		assert_int_equal(fg_journal_append(b->j, &msg, &seq), 0);
		msg.body = fg_span_of(body, 1 << 20);
		assert_int_equal(fg_journal_append(b->j, &msg, &seq), 0);
		bench_flush(b);
	}
	for (int round = 0; round < 3; round++) {
		assert_int_equal(fg_cursor_read(c, m, 1), 1);
		assert_int_equal(m[0].body.size, 10);
		fg_cursor_seek(c, m[0].seq + 1);
		assert_int_equal(fg_cursor_read(c, m, 1), 1);
		assert_int_equal(m[0].body.size, 1 << 20);
		assert_int_equal(m[0].body.data[(1 << 20) - 1], 'a' + round);
		fg_cursor_seek(c, m[0].seq + 1);
	}
	free(body);
}

static void any_place_can_be_sought(void **state)
{
	struct bench *b = *state;
	struct fg_message m[5];
	struct fg_cursor *c;
	uint64_t last, at = 1;

	last = bench_fill(b, 400);
	bench_close(b);
	bench_open(b);
	assert_int_equal(fg_cursor_open(b->j, "a", 1000, &c), 0);
	for (int i = 0; i < 2000; i++) {
		int n;

		at = (at * 6364136223846793005u + 1442695040888963407u) % last + 1;
		fg_cursor_seek(c, at);
		n = fg_cursor_read(c, m, 5);
		assert_true(n >= 1);
		assert_int_equal(m[0].seq, at);
		for (int k = 1; k < n; k++)
			assert_int_equal(m[k].seq, at + (uint64_t)k);
	}
	fg_cursor_seek(c, last + 1);
	assert_int_equal(fg_cursor_read(c, m, 5), 0);
	assert_int_equal(b->n_lost, 0);
}

static void many_cursors_in_many_segments_share_few_handles(void **state)
{
	struct bench *b = *state;
	struct fg_message m[1];
	struct fg_cursor *c[30];
	char name[16];

	bench_fill(b, 1500);
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "link%d", i);
		assert_int_equal(fg_cursor_open(b->j, name, 10, &c[i]), 0);
	}
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < 30; i++) {
			uint64_t seq = (uint64_t)(1 + i * 49 + round);

			fg_cursor_seek(c[i], seq);
			assert_int_equal(fg_cursor_read(c[i], m, 1), 1);
			assert_int_equal(m[0].seq, seq);
		}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
