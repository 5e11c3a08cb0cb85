#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "journal/pass.h"
#include "util/span.h"

#define MAX 1000

static int setup(void **state)
{
	struct bench *b;

	bench_setup(state);
	b = *state;
	b->options.max_left_behind = 20;
	bench_open(b);
	return 0;
}

static struct fg_pass *open_pass(struct fg_cursor *c)
{
	struct fg_pass *p = NULL;

	assert_int_equal(fg_pass_open(c, &p), 0);
	return p;
}

/* All the sequence numbers from the read position on. Returns how many. */
static unsigned read_seqs(struct fg_pass *p, bool (*wants)(void *arg, const struct fg_message *m),
			  void *arg, uint64_t *ret)
{
	struct fg_message m[9];
	unsigned n = 0;
	int r;

	while ((r = fg_pass_read(p, m, 9, wants, arg)) != 0) {
		assert_true(r > 0 || r == -EAGAIN);
		for (int i = 0; i < r; i++) {
			assert_true(n < MAX);
			ret[n++] = m[i].seq;
		}
	}
	return n;
}

static uint64_t append_for(struct bench *b, const char *link, unsigned kind)
{
	struct fg_message msg = {.kind = (enum fg_kind)kind,
				 .device = fg_span_str("dev"),
				 .body = fg_span_str("{}"),
				 .link = fg_span_str(link)};
	uint64_t seq = 0;

	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
	return seq;
}

/* ---- where it is */

static void pass_starts_at_the_lowest_open_record(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 100);
	struct fg_pass *p;

	bench_fill(b, 50);
	fg_cursor_settle(c, 1, 20);
	p = open_pass(c);
	assert_int_equal(fg_pass_position(p), 21);
	fg_pass_close(p);
	fg_cursor_leave_behind(c, 1, 8);
	p = open_pass(c);
	assert_int_equal(fg_pass_position(p), 8);
	assert_null(fg_pass_close(p));
	assert_null(fg_pass_close(NULL));
}

static void position_is_behind_what_was_looked_at(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 100);
	struct fg_pass *p = open_pass(c);
	struct fg_message m[5];

	bench_fill(b, 10);
	assert_int_equal(fg_pass_read(p, m, 5, NULL, NULL), 5);
	assert_int_equal(fg_pass_position(p), 6);
	assert_int_equal(fg_pass_read(p, m, 4, NULL, NULL), 4);
	assert_int_equal(m[0].seq, 6);
	assert_int_equal(fg_pass_position(p), 10);
	/* Reading settles nothing. */
	assert_int_equal(fg_cursor_watermark(c), 0);
	fg_pass_seek(p, 3);
	assert_int_equal(fg_pass_position(p), 3);
	assert_int_equal(fg_pass_read(p, m, 1, NULL, NULL), 1);
	assert_int_equal(m[0].seq, 3);
	fg_pass_seek(p, 0);
	assert_int_equal(fg_pass_position(p), 1);
	fg_pass_seek(p, 5000);
	assert_int_equal(fg_pass_read(p, m, 1, NULL, NULL), 0);
	fg_pass_close(p);
}

static void passes_of_one_cursor_do_not_disturb_each_other(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_pass *p = open_pass(c), *q = open_pass(c);
	struct fg_message m[7], other[7];
	char body[200];

	bench_fill(b, 620);
	fg_pass_seek(q, 400);
	for (uint64_t i = 0; i < 30; i++) {
		int n = fg_pass_read(p, m, 7, NULL, NULL);

		assert_in_range(n, 1, 7);
		assert_in_range(fg_pass_read(q, other, 7, NULL, NULL), 1, 7);
		for (int k = 0; k < n; k++) {
			bench_body(m[k].seq, body, sizeof(body));
			assert_memory_equal(m[k].body.data, body, sizeof(body));
		}
	}
	assert_in_range(fg_pass_position(p), 100, 215);
	assert_in_range(fg_pass_position(q), 500, 615);
	fg_pass_close(p);
	fg_pass_close(q);
}

static void resting_pass_has_no_buffer_and_reads_on_where_it_was(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_pass *p = open_pass(c);
	struct fg_message m[7];

	assert_int_equal(fg_pass_read(p, m, 7, NULL, NULL), 0);
	assert_null(p->reader.data);
	bench_fill(b, 100);
	assert_int_equal(fg_pass_read(p, m, 7, NULL, NULL), 7);
	assert_non_null(p->reader.data);
	fg_pass_rest(p);
	assert_null(p->reader.data);
	assert_int_equal(fg_pass_position(p), 8);
	assert_int_equal(fg_pass_read(p, m, 1, NULL, NULL), 1);
	assert_int_equal(m[0].seq, 8);
	fg_pass_close(p);
}

/* ---- what is settled */

static void settled_records_are_not_returned(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_pass *p = open_pass(c);
	uint64_t seqs[MAX];
	unsigned n;

	bench_fill(b, 100);
	fg_cursor_settle(c, 1, 4);
	fg_cursor_settle(c, 6, 80);
	fg_cursor_settle(c, 82, 95);
	n = read_seqs(p, NULL, NULL, seqs);
	assert_in_range(n, 6, 8);
	assert_int_equal(seqs[0], 5);
	assert_int_equal(seqs[1], 81);
	assert_int_equal(seqs[2], 96);
	/* While it is on its way, too. */
	fg_pass_seek(p, 1);
	fg_cursor_settle(c, 5, 5);
	assert_int_equal(read_seqs(p, NULL, NULL, seqs), n - 1);
	assert_int_equal(seqs[0], 81);
	fg_pass_close(p);
}

static void segments_that_are_settled_are_not_touched(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_pass *p = open_pass(c);
	uint64_t seqs[MAX];
	char path[256];

	bench_fill(b, 600);
	assert_true(bench_count_files(b, "main", ".seg") >= 8);
	fg_cursor_settle(c, 10, 590);
	/* Were they opened, that would fail. */
	for (int i = 1; i < 6; i++) {
		bench_segment(b, "main", 1, path, sizeof(path));
		assert_int_equal(unlink(path), 0);
	}
	assert_in_range(read_seqs(p, NULL, NULL, seqs), 17, 22);
	assert_int_equal(b->n_lost, 0);
	fg_pass_seek(p, 1);
	assert_in_range(read_seqs(p, NULL, NULL, seqs), 17, 22);
	fg_pass_close(p);
}

/* ---- for sessions that were left behind */

struct asked {
	uint64_t lowest, n;
	uint64_t each; /* wants those that are a multiple of this; 0: none */
};

static bool wants(void *arg, const struct fg_message *m)
{
	struct asked *a = arg;

	if (a->lowest == 0)
		a->lowest = m->seq;
	a->n++;
	assert_true(fg_span_is(m->device, "dev"));
	return a->each > 0 && m->seq % a->each == 0;
}

static void records_for_those_behind_are_picked_from_what_is_settled(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct asked a = {.each = 10};
	struct fg_pass *p;
	uint64_t seqs[MAX];
	unsigned n;

	bench_fill(b, 100);
	fg_cursor_leave_behind(c, 7, 25);
	fg_cursor_settle(c, 1, 49);
	fg_cursor_settle(c, 54, 90);
	p = open_pass(c);
	n = read_seqs(p, wants, &a, seqs);
	/* Nobody asks about what is open: all get that. */
	assert_int_equal(a.lowest, 25);
	assert_in_range(a.n, 25 + 37 - 6, 25 + 37);
	assert_int_equal(seqs[0], 30);
	assert_int_equal(seqs[1], 40);
	assert_int_equal(seqs[2], 50);
	assert_int_equal(seqs[3], 51);
	assert_int_equal(seqs[4], 52);
	assert_int_equal(seqs[5], 53);
	assert_int_equal(seqs[6], 60);
	assert_true(n > 10);
	/* When they are all back, nothing of it is left. */
	fg_cursor_rejoin(c, 7);
	a = (struct asked){.each = 1};
	fg_pass_seek(p, 1);
	assert_int_equal(read_seqs(p, wants, &a, seqs), fg_cursor_backlog(c));
	assert_int_equal(a.n, 0);
	fg_pass_close(p);
}

static void one_call_looks_at_so_much_and_no_more(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	struct fg_message m[1];
	struct asked a = {.each = 0};
	struct fg_pass *p;
	uint64_t before = 0;
	unsigned n_calls = 0;
	int r;

	bench_close(b);
	b->options.segment_bytes = 4 << 20;
	b->options.batch_bytes = 65536;
	b->options.max_bytes = 64 << 20;
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	for (int i = 0; i < 300; i++) {
		for (int k = 0; k < 40; k++)
			bench_append(b, k % 4 == 0 ? 1000 : 10);
		bench_flush(b);
	}
	fg_cursor_leave_behind(c, 1, 1);
	fg_cursor_settle(c, 1, UINT64_MAX);
	p = open_pass(c);
	while ((r = fg_pass_read(p, m, 1, wants, &a)) == -EAGAIN) {
		assert_in_range(a.n - before, 1, 4096);
		before = a.n;
		n_calls++;
	}
	assert_int_equal(r, 0);
	assert_int_equal(a.n, 12000);
	/* 12000 records, 3.5 MB */
	assert_in_range(n_calls, 3, 6);
	fg_pass_close(p);
}

/* A place that nobody has been at is walked to: that is work, too. */
static void way_to_an_unknown_place_is_walked_in_steps(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	struct fg_message m[1];
	struct fg_pass *p;
	uint64_t seq[100];
	unsigned n_calls = 0;
	int r;

	bench_close(b);
	b->options.segment_bytes = 8 << 20;
	b->options.batch_bytes = 65536;
	b->options.max_bytes = 64 << 20;
	bench_open(b);
	bench_cursor(b, "a", 1000);
	for (int i = 0; i < 100; i++) {
		seq[i] = bench_append(b, 60000);
		bench_flush(b);
	}
	/* Another segment, so that recovery does not walk this one. */
	bench_close(b);
	bench_open(b);
	bench_cursor(b, "a", 1000);
	bench_append(b, 10);
	bench_flush(b);
	bench_close(b);
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	p = open_pass(c);
	fg_pass_seek(p, seq[94]);
	while ((r = fg_pass_read(p, m, 1, NULL, NULL)) == -EAGAIN)
		n_calls++;
	assert_int_equal(r, 1);
	assert_int_equal(m[0].seq, seq[94]);
	assert_in_range(n_calls, 5, 8);
	fg_pass_close(p);
}

/* ---- what is not for this link */

static void records_for_another_link_are_passed_over(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 10), *d = bench_cursor(b, "d", 10);
	struct fg_pass *p = open_pass(c), *q = open_pass(d);
	uint64_t seqs[MAX], n_before;
	unsigned n;

	bench_fill(b, 3);
	n_before = fg_cursor_end(c) - 1;
	for (int i = 0; i < 12; i++)
		append_for(b, i % 3 == 0 ? "a" : "d", FG_COMMAND_RESPONSE);
	bench_flush(b);
	n = read_seqs(p, NULL, NULL, seqs);
	assert_int_equal(n, 3 + 4);
	assert_int_equal(seqs[3], n_before + 1);
	assert_int_equal(seqs[4], n_before + 4);
	/* What it got is settled one by one, and then all is. */
	for (unsigned i = 0; i < n; i++)
		fg_cursor_settle(c, seqs[i], seqs[i]);
	assert_int_equal(fg_cursor_watermark(c), fg_cursor_end(c) - 1);
	assert_int_equal(fg_cursor_backlog(c), 0);
	/* Nor do they count as what a crash might send twice. */
	assert_true(fg_cursor_may_send(c, 10 - 7 - 1));
	n = read_seqs(q, NULL, NULL, seqs);
	assert_int_equal(n, 3 + 8);
	fg_pass_close(p);
	fg_pass_close(q);
}

static void notes_are_for_who_wants_them(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 10), *d = bench_cursor(b, "desk", 10);
	struct fg_pass *p = open_pass(c), *q = open_pass(d);
	struct fg_message m[9], nothing = {.kind = (enum fg_kind)FG_NOTE_FIRST};
	uint64_t seqs[MAX];

	/* A record has 40 bytes at least: what is looked for behind a damage is told by that. */
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &nothing, &seqs[0]), -EINVAL);
	fg_pass_want_notes(q);
	append_for(b, "", FG_TELEMETRY);
	append_for(b, "", FG_NOTE_FIRST);
	append_for(b, "", FG_NOTE_FIRST + 1);
	/* Whose they are, a note says with the link: that is for who wants notes to judge. */
	append_for(b, "a", FG_NOTE_FIRST);
	append_for(b, "a", FG_COMMAND_RESPONSE);
	bench_flush(b);
	assert_int_equal(read_seqs(p, NULL, NULL, seqs), 2);
	fg_cursor_settle(c, 1, seqs[1]);
	assert_int_equal(fg_cursor_backlog(c), 0);
	assert_int_equal(fg_pass_read(q, m, 9, NULL, NULL), 5);
	assert_int_equal((int)m[1].kind, FG_NOTE_FIRST);
	assert_int_equal((int)m[2].kind, FG_NOTE_FIRST + 1);
	assert_int_equal((int)m[3].kind, FG_NOTE_FIRST);
	assert_true(fg_span_is(m[3].link, "a"));
	assert_int_equal((int)m[4].kind, FG_COMMAND_RESPONSE);
	assert_int_equal(fg_cursor_backlog(d), 5);
	fg_pass_close(p);
	fg_pass_close(q);
}

static void many_that_are_not_for_it_are_no_burden(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 10);
	struct fg_pass *p = open_pass(c);
	struct fg_journal_stats before, after;
	uint64_t seqs[MAX], first;

	first = append_for(b, "a", FG_TELEMETRY);
	for (int i = 0; i < 3000; i++) {
		append_for(b, "other", FG_TELEMETRY);
		if (i % 20 == 0)
			bench_flush(b);
	}
	bench_flush(b);
	fg_journal_get_stats(b->j, &before);
	assert_int_equal(read_seqs(p, NULL, NULL, seqs), 1);
	/* Nothing of it is urgent to save, and it takes one range. */
	assert_int_equal(c->settled.n, 1);
	assert_true(fg_cursor_may_send(c, 9));
	append_for(b, "other", FG_TELEMETRY);
	bench_flush(b);
	fg_journal_get_stats(b->j, &after);
	assert_int_equal(after.cursor_saves, before.cursor_saves);
	fg_cursor_settle(c, first, first);
	assert_int_equal(read_seqs(p, NULL, NULL, seqs), 0);
	assert_int_equal(fg_cursor_watermark(c), fg_cursor_end(c) - 1);
	fg_pass_close(p);
}

/* ---- what is lost */

static void damage_is_told_of_once_by_whichever_pass_finds_it(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_pass *p = open_pass(c), *q = open_pass(c);
	struct asked a = {.each = 1};
	uint64_t seqs[MAX], losses[FG_N_LOSSES], n;
	char path[256];

	bench_fill(b, 300);
	fg_cursor_leave_behind(c, 3, 2);
	bench_segment(b, "main", 1, path, sizeof(path));
	bench_damage(path, 5000, 600, 0x55);
	n = read_seqs(p, NULL, NULL, seqs);
	assert_int_equal(b->n_lost, 1);
	assert_in_range(b->lost, 2, 4);
	assert_string_equal(b->lost_why, "damaged on disk");
	assert_int_equal(n + b->lost, 300);
	fg_cursor_settle(c, 1, UINT64_MAX);
	assert_int_equal(read_seqs(q, wants, &a, seqs), n - 1);
	fg_pass_seek(p, 1);
	read_seqs(p, NULL, NULL, seqs);
	assert_int_equal(b->n_lost, 1);
	fg_cursor_get_losses(c, losses);
	assert_int_equal(losses[FG_LOSS_DAMAGED], b->lost);
	fg_pass_close(p);
	fg_pass_close(q);
}

static void damage_of_what_only_sessions_behind_wanted_is_told_too(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_pass *p = open_pass(c);
	struct asked a = {.each = 1};
	uint64_t seqs[MAX];
	char path[256];
	unsigned n;

	bench_fill(b, 300);
	fg_cursor_leave_behind(c, 3, 2);
	fg_cursor_settle(c, 1, UINT64_MAX);
	bench_segment(b, "main", 1, path, sizeof(path));
	bench_damage(path, 5000, 600, 0x55);
	for (int i = 0; i < 3; i++) {
		fg_pass_seek(p, 1);
		n = read_seqs(p, wants, &a, seqs);
		assert_in_range(n, 294, 297);
		/* Nobody knows whose they were: one for each that is behind. */
		assert_int_equal(b->n_lost, 1);
		assert_int_equal(b->lost, 1);
	}
	/* Nobody is behind any more: nobody lost it. */
	bench_segment(b, "main", 2, path, sizeof(path));
	bench_damage(path, 5000, 600, 0x55);
	fg_cursor_rejoin(c, 3);
	fg_pass_seek(p, 1);
	fg_pass_rest(p);
	assert_int_equal(read_seqs(p, wants, &a, seqs), 0);
	assert_int_equal(b->n_lost, 1);
	fg_pass_close(p);
}

static void what_retention_takes_from_under_a_pass_is_passed_over(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	struct fg_message m[5];
	struct fg_pass *p;
	uint64_t seqs[MAX];
	unsigned n;

	b->options.max_bytes = 100000;
	bench_close(b);
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	p = open_pass(c);
	bench_fill(b, 100);
	assert_int_equal(fg_pass_read(p, m, 5, NULL, NULL), 5);
	bench_fill(b, 600);
	assert_true(b->lost > 100);
	n = read_seqs(p, NULL, NULL, seqs);
	assert_int_equal(seqs[0], fg_cursor_watermark(c) + 1);
	assert_int_equal(n, fg_cursor_backlog(c));
	assert_int_equal(n + b->lost, 700);
	fg_pass_seek(p, 1);
	assert_int_equal(read_seqs(p, NULL, NULL, seqs), n);
	fg_pass_close(p);
}

static void disk_that_gives_nothing_is_an_error_and_no_loss(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c = bench_cursor(b, "a", 1000);
	struct fg_pass *p = open_pass(c);
	struct fg_message m[5];
	char path[256], aside[264];

	bench_fill(b, 100);
	bench_segment(b, "main", 0, path, sizeof(path));
	snprintf(aside, sizeof(aside), "%s~", path);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(fg_pass_read(p, m, 5, NULL, NULL), -EIO);
	assert_int_equal(fg_pass_position(p), 1);
	assert_int_equal(rename(aside, path), 0);
	assert_int_equal(fg_pass_read(p, m, 5, NULL, NULL), 5);
	assert_int_equal(b->n_lost, 0);
	fg_pass_close(p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pass_starts_at_the_lowest_open_record),
		TEST(position_is_behind_what_was_looked_at),
		TEST(passes_of_one_cursor_do_not_disturb_each_other),
		TEST(resting_pass_has_no_buffer_and_reads_on_where_it_was),
		TEST(settled_records_are_not_returned),
		TEST(segments_that_are_settled_are_not_touched),
		TEST(records_for_those_behind_are_picked_from_what_is_settled),
		TEST(one_call_looks_at_so_much_and_no_more),
		TEST(way_to_an_unknown_place_is_walked_in_steps),
		TEST(records_for_another_link_are_passed_over),
		TEST(notes_are_for_who_wants_them),
		TEST(many_that_are_not_for_it_are_no_burden),
		TEST(damage_is_told_of_once_by_whichever_pass_finds_it),
		TEST(damage_of_what_only_sessions_behind_wanted_is_told_too),
		TEST(what_retention_takes_from_under_a_pass_is_passed_over),
		TEST(disk_that_gives_nothing_is_an_error_and_no_loss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
