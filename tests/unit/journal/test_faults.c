/*
 * The journal on a disk that refuses: each changing call fails in turn, once or for good. What
 * counts is that nothing is reported as committed that is not there afterwards, and that all goes
 * on when the disk does.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simdisk.h"
#include "util/bytes.h"
#include "util/span.h"

#define TABLE_BYTES 80 /* of a cursor table's record, with the one cursor that is there */

struct world {
	struct sim_disk *disk;
	struct fg_journal_options options;
	struct fg_journal *j;
	struct fg_cursor *reader; /* its name goes to disk with the first record */
	struct fg_error err;
	int64_t now_ms;
	uint64_t committed;
	int trouble;
	unsigned n_trouble;
	unsigned n_lost;
	uint64_t tickets[4096]; /* by sequence number */
};

static void note_committed(void *arg, uint64_t committed)
{
	((struct world *)arg)->committed = committed;
}

static void note_lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	(void)link;
	(void)records;
	(void)seq;
	(void)why;
	((struct world *)arg)->n_lost++;
}

static void note_trouble(void *arg, int error, const char *what)
{
	struct world *w = arg;

	assert_non_null(what);
	w->trouble = error;
	w->n_trouble++;
}

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->disk = sim_disk_new(7, SIM_HONEST);
	w->now_ms = 1000000;
	w->options = (struct fg_journal_options){
		.fs = sim_disk_fs(w->disk),
		.segment_bytes = 16384,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_quarantine_bytes = 1 << 20,
		.committed = note_committed,
		.lost = note_lost,
		.trouble = note_trouble,
		.arg = w,
	};
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "reader", 1000, &w->reader), 0);
	return w;
}

static void world_free(struct world *w)
{
	fg_journal_free(w->j);
	sim_disk_free(w->disk);
	free(w);
}

static bool append(struct world *w)
{
	char body[200] = {0};
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	uint64_t seq;

	msg.body = fg_span_of(body, sizeof(body));
	if (fg_journal_append(w->j, FG_LANE_MAIN, &msg, &seq) < 0)
		return false;
	assert_true(seq < 4096);
	w->tickets[seq] = fg_journal_ticket(w->j);
	return true;
}

static void fill(struct world *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		append(w);
		if (i % 5 == 4)
			fg_journal_flush(w->j, w->now_ms);
	}
	fg_journal_flush(w->j, w->now_ms);
}

static void retry_until_it_works(struct world *w)
{
	for (int i = 0; i < 20; i++) {
		w->now_ms += 10000;
		fg_journal_tick(w->j, w->now_ms);
		fg_journal_flush(w->j, w->now_ms);
	}
}

static int read_some(struct fg_pass *p, struct fg_message *messages, size_t max)
{
	int n;

	do
		n = fg_pass_read(p, messages, max, NULL, NULL);
	while (n == -EAGAIN);
	return n;
}

/* After a power cut, every record whose ticket was reported must be there. */
static void check_nothing_is_lost(struct world *w)
{
	struct fg_message messages[16];
	bool is_there[4096] = {false};
	struct fg_pass *p;
	int n;

	sim_disk_cut(w->disk);
	w->j = fg_journal_free(w->j);
	sim_disk_fail_at(w->disk, 0, 0, 0);
	sim_disk_power_on(w->disk);
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "reader", 1000, &w->reader), 0);
	assert_int_equal(fg_pass_open(w->reader, &p), 0);
	while ((n = read_some(p, messages, 16)) > 0)
		for (int i = 0; i < n; i++)
			is_there[messages[i].seq] = true;
	assert_int_equal(n, 0);
	fg_pass_close(p);
	for (unsigned seq = 1; seq < 4096; seq++)
		if (w->tickets[seq] != 0 && w->tickets[seq] <= w->committed && !is_there[seq])
			fail_msg("record %u of ticket %d is lost", seq, (int)w->tickets[seq]);
}

static void each_call_that_fails_once_costs_nothing(void **state)
{
	static const int errors[] = {-EIO, -ENOSPC};
	uint64_t calls = 1;

	(void)state;
	for (int e = 0; e < 2; e++)
		for (uint64_t n = 1; n <= calls; n++) {
			struct world *w = world_new();
			uint64_t before = sim_disk_calls(w->disk);

			sim_disk_fail_at(w->disk, n, 0, errors[e]);
			fill(w, 150);
			assert_int_equal(w->trouble, 0);
			retry_until_it_works(w);
			calls = sim_disk_calls(w->disk) - before;
			assert_int_equal(fg_journal_committed(w->j), w->committed);
			assert_true(fg_journal_ticket(w->j) <= w->committed);
			check_nothing_is_lost(w);
			world_free(w);
		}
}

static void disk_that_refuses_for_a_while_stops_the_acknowledgements(void **state)
{
	static const int errors[] = {-EIO, -ENOSPC};

	(void)state;
	for (uint64_t n = 1; n <= 60; n += 3) {
		struct world *w = world_new();
		uint64_t committed;

		fill(w, 20);
		sim_disk_fail_at(w->disk, n, UINT64_MAX, errors[n % 2]);
		fill(w, 200);
		assert_int_equal(w->trouble, errors[n % 2]);
		committed = w->committed;
		/* The gathering batch is full by now, and nothing is taken that cannot be kept. */
		assert_false(append(w));
		retry_until_it_works(w);
		assert_int_equal(w->committed, committed);
		assert_int_equal(w->n_trouble, 1);
		sim_disk_fail_at(w->disk, 0, 0, 0);
		retry_until_it_works(w);
		assert_int_equal(w->trouble, 0);
		assert_int_equal(w->n_trouble, 2);
		assert_true(fg_journal_ticket(w->j) <= w->committed);
		fill(w, 50);
		check_nothing_is_lost(w);
		world_free(w);
	}
}

static bool is_full;
static ssize_t (*honest_write)(void *ctx, int file, const void *data, size_t size, uint64_t offset);

static ssize_t full_write(void *ctx, int file, const void *data, size_t size, uint64_t offset)
{
	return is_full ? -ENOSPC : honest_write(ctx, file, data, size, offset);
}

static int no_allocate(void *ctx, int file, uint64_t size)
{
	(void)ctx;
	(void)file;
	(void)size;
	return -EOPNOTSUPP;
}

static void full_disk_gets_room_from_what_links_have_settled(void **state)
{
	struct world *w = world_new();
	struct fg_journal_stats before, after;
	struct fg_cursor *c;

	(void)state;
	honest_write = w->options.fs->write;
	w->options.fs->write = full_write;
	w->options.fs->allocate = no_allocate;
	fg_cursor_close(w->reader);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "a", 1000, &c), 0);
	fill(w, 200);
	is_full = true;
	fill(w, 20);
	assert_int_equal(w->trouble, -ENOSPC);
	/* The link goes on; what it settles cannot be saved, but must not keep segments any more.
	 */
	fg_journal_get_stats(w->j, &before);
	fg_cursor_settle(c, 1, 190);
	w->now_ms += 20000;
	fg_journal_tick(w->j, w->now_ms);
	fg_journal_get_stats(w->j, &after);
	assert_true(after.bytes_on_disk < before.bytes_on_disk / 2);
	assert_int_equal(w->trouble, -ENOSPC);
	is_full = false;
	w->now_ms += 20000;
	fg_journal_tick(w->j, w->now_ms);
	assert_int_equal(w->trouble, 0);
	/* And the new segment's header says where the link stands. */
	sim_disk_cut(w->disk);
	w->j = fg_journal_free(w->j);
	sim_disk_power_on(w->disk);
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "a", 1000, &c), 0);
	assert_true(fg_cursor_watermark(c) >= 190);
	world_free(w);
}

static int count_mark(void *arg, const char *name)
{
	*(unsigned *)arg += strlen(name) > 7 && strcmp(name + strlen(name) - 7, ".passed") == 0;
	return 0;
}

static unsigned n_marks(struct world *w)
{
	unsigned n = 0;

	w->options.fs->list(w->options.fs->ctx, "main", count_mark, &n);
	return n;
}

static void what_made_room_on_a_full_disk_is_missed_by_nobody_after_a_kill(void **state)
{
	struct world *w = world_new();
	struct fg_message messages[16];
	struct fg_journal_stats stats;
	struct fg_cursor *c = w->reader;
	struct fg_pass *p;

	(void)state;
	honest_write = w->options.fs->write;
	w->options.fs->write = full_write;
	w->options.fs->allocate = no_allocate;
	fill(w, 200);
	is_full = true;
	fill(w, 20);
	for (uint64_t settled = 100; settled <= 190; settled += 90) {
		fg_cursor_settle(c, 1, settled);
		w->now_ms += 20000;
		fg_journal_tick(w->j, w->now_ms);
	}
	assert_int_equal(w->trouble, -ENOSPC);
	/* Twice, as somebody does who thinks that helps. */
	for (int i = 0; i < 2; i++) {
		w->j = fg_journal_free(w->j);
		sim_disk_restart(w->disk);
		assert_int_equal(n_marks(w), 1);
		assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
		assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "reader", 1000, &c), 0);
		fg_journal_get_stats(w->j, &stats);
		assert_true(stats.first_seq > 100);
		assert_true(fg_cursor_watermark(c) >= stats.first_seq - 1);
	}
	assert_int_equal(fg_pass_open(c, &p), 0);
	assert_true(read_some(p, messages, 16) > 0);
	fg_pass_close(p);
	assert_int_equal(w->n_lost, 0);
	is_full = false;
	fill(w, 1);
	assert_int_equal(n_marks(w), 0);
	world_free(w);
}

static void a_mark_beyond_what_is_there_settles_nothing(void **state)
{
	struct world *w = world_new();

	(void)state;
	fill(w, 20);
	sim_disk_put(w->disk, "main/00000000000000ff.passed", 0, "", 0);
	w->j = fg_journal_free(w->j);
	sim_disk_restart(w->disk);
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "reader", 1000, &w->reader), 0);
	assert_int_equal(fg_cursor_watermark(w->reader), 0);
	assert_int_equal(n_marks(w), 0);
	world_free(w);
}

/* The newest segment's, and the oldest one's. */
static void headers(struct world *w, char *newest, char *oldest)
{
	uint64_t size;

	*newest = *oldest = 0;
	for (unsigned seq = 1; seq < 4096; seq++) {
		char path[64];

		snprintf(path, sizeof(path), "main/%016x.seg", seq);
		if (!sim_disk_bytes(w->disk, path, &size))
			continue;
		strcpy(newest, path);
		if (!*oldest)
			strcpy(oldest, path);
	}
	assert_string_not_equal(newest, oldest);
}

static void newest_segment_that_the_disk_does_not_give_is_waited_for(void **state)
{
	struct world *w = world_new();
	char newest[64], oldest[64];

	(void)state;
	fill(w, 200);
	w->j = fg_journal_free(w->j);
	headers(w, newest, oldest);
	for (int part = 0; part < 2; part++) {
		sim_disk_bad_sector(w->disk, newest, part ? 1000 : 0, 16);
		assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), -EIO);
		assert_non_null(strstr(w->err.text, newest));
		assert_non_null(strstr(w->err.text, "Input/output error"));
	}
	sim_disk_bad_sector(w->disk, newest, 0, 0);
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	check_nothing_is_lost(w);
	assert_int_equal(w->n_lost, 0);
	world_free(w);
}

static void older_segment_that_the_disk_does_not_give_stays_where_it_is(void **state)
{
	struct world *w = world_new();
	struct fg_message messages[16];
	char newest[64], oldest[64];
	struct fg_pass *p;
	uint64_t size;

	(void)state;
	fill(w, 200);
	w->j = fg_journal_free(w->j);
	headers(w, newest, oldest);
	sim_disk_bad_sector(w->disk, oldest, 0, 16);
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "reader", 1000, &w->reader), 0);
	assert_int_equal(fg_pass_open(w->reader, &p), 0);
	assert_true(read_some(p, messages, 16) > 0);
	assert_true(messages[0].seq > 1);
	assert_int_equal(w->n_lost, 1);
	fg_pass_close(p);
	assert_non_null(sim_disk_bytes(w->disk, oldest, &size));
	world_free(w);
}

static void shutdown_with_a_dead_disk_returns(void **state)
{
	struct world *w = world_new();

	(void)state;
	fill(w, 20);
	sim_disk_fail_at(w->disk, 1, UINT64_MAX, -EIO);
	fill(w, 20);
	check_nothing_is_lost(w);
	world_free(w);
}

static void file_whose_sync_failed_is_not_written_to_again(void **state)
{
	struct world *w = world_new();
	uint64_t size_before, size_after;

	(void)state;
	fill(w, 5);
	/* The next commit is a write and a sync. */
	sim_disk_fail_at(w->disk, 2, 0, -EIO);
	fill(w, 5);
	assert_int_equal(w->trouble, 0);
	assert_non_null(sim_disk_bytes(w->disk, "main/0000000000000007.seg", &size_after));
	assert_non_null(sim_disk_bytes(w->disk, "main/0000000000000001.seg", &size_before));
	/* Sealed at the last good commit. */
	assert_int_equal(size_before, 4096 + 5 * 240 + TABLE_BYTES);
	check_nothing_is_lost(w);
	world_free(w);
}

static uint64_t next_seq(struct world *w)
{
	struct fg_journal_stats stats;

	fg_journal_get_stats(w->j, &stats);
	return stats.next_seq;
}

/* What a failed sync has not written reads as if it were there, and the next sync says nothing. */
static void what_is_there_after_a_kill_is_there_after_a_power_cut(void **state)
{
	unsigned n_there = 0;

	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct world *w = world_new();
		uint64_t next;

		for (unsigned i = 0; i < seed; i++)
			sim_disk_random(w->disk, 2);
		fill(w, 5);
		/* Killed after the sync has failed, before anything else was done. */
		sim_disk_fail_at(w->disk, 2, UINT64_MAX, -EIO);
		fill(w, 5);
		w->j = fg_journal_free(w->j);
		sim_disk_fail_at(w->disk, 0, 0, 0);
		sim_disk_restart(w->disk);
		assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
		next = next_seq(w);
		n_there += next > 10;
		sim_disk_cut(w->disk);
		w->j = fg_journal_free(w->j);
		sim_disk_power_on(w->disk);
		assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
		assert_int_equal(next_seq(w), next);
		world_free(w);
	}
	/* Now and then even the truncation that was to take it back has failed. */
	assert_true(n_there > 0);
}

static void random_errors_never_make_a_promise_untrue(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct world *w = world_new();

		sim_disk_random(w->disk, i + 1);
		for (unsigned k = 0; k < i; k++)
			sim_disk_random(w->disk, 2);
		sim_disk_fail_one_in(w->disk, 2 + i % 30);
		fill(w, 150);
		retry_until_it_works(w);
		sim_disk_fail_one_in(w->disk, 0);
		check_nothing_is_lost(w);
		world_free(w);
	}
}

static void segments_grow_where_nothing_can_be_preallocated(void **state)
{
	struct world *w = world_new();
	struct fg_journal_stats stats;

	(void)state;
	/* mkdir, sync_dir, open, write, allocate */
	sim_disk_fail_at(w->disk, 5, 0, -EOPNOTSUPP);
	fill(w, 5);
	assert_int_equal(w->n_trouble, 0);
	fg_journal_get_stats(w->j, &stats);
	assert_int_equal(stats.bytes_on_disk, 4096 + 5 * 240 + TABLE_BYTES);
	world_free(w);
}

static void bad_sector_costs_the_records_on_it(void **state)
{
	struct world *w = world_new();
	struct fg_message messages[16];
	struct fg_cursor *c;
	struct fg_pass *p;
	unsigned n_read = 0;
	int n;

	(void)state;
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "a", 1000, &c), 0);
	fill(w, 100);
	sim_disk_bad_sector(w->disk, "main/0000000000000001.seg", 8192, 512);
	assert_int_equal(fg_pass_open(c, &p), 0);
	while ((n = read_some(p, messages, 16)) > 0)
		n_read += (unsigned)n;
	assert_int_equal(n, 0);
	fg_pass_close(p);
	/* Read page by page: 4096 bytes hold 17 records and the edges of two. */
	assert_in_range(n_read, 80, 83);
	assert_int_equal(w->n_lost, 1);
	world_free(w);
}

static void what_cannot_be_read_at_the_start_is_not_cut_off(void **state)
{
	static const char path[] = "main/0000000000000001.seg";
	struct world *w = world_new();
	struct fg_message messages[16];
	uint64_t before, after, seq;
	struct fg_journal_stats stats;
	bool is_there[128] = {false};
	struct fg_pass *p;
	int n;

	(void)state;
	fill(w, 30);
	fg_journal_get_stats(w->j, &stats);
	w->j = fg_journal_free(w->j);
	assert_non_null(sim_disk_bytes(w->disk, path, &before));
	/* Of the last page nothing stands behind that would prove that it was synced. */
	sim_disk_bad_sector(w->disk, path, 8192, 4096);
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "reader", 1000, &w->reader), 0);
	assert_non_null(sim_disk_bytes(w->disk, path, &after));
	assert_int_equal(after, before);
	/* Numbers that may be in it are not used again. */
	assert_true(append(w));
	fg_journal_flush(w->j, w->now_ms);
	w->j = fg_journal_free(w->j);
	/* It was the cable. */
	sim_disk_bad_sector(w->disk, "", 0, 0);
	assert_int_equal(fg_journal_open(&w->options, &w->j, &w->err), 0);
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "reader", 1000, &w->reader), 0);
	assert_int_equal(fg_pass_open(w->reader, &p), 0);
	while ((n = read_some(p, messages, 16)) > 0)
		for (int i = 0; i < n; i++) {
			seq = messages[i].seq;
			if (seq < 128)
				is_there[seq] = true;
		}
	assert_int_equal(n, 0);
	fg_pass_close(p);
	for (seq = 1, n = 0; seq < stats.next_seq; seq++)
		n += is_there[seq];
	assert_int_equal(n, 30);
	world_free(w);
}

static void disk_that_is_gone_is_an_error_and_no_loss(void **state)
{
	struct world *w = world_new();
	struct fg_message messages[16];
	struct fg_cursor *c;
	struct fg_pass *p;

	(void)state;
	assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "a", 1000, &c), 0);
	fill(w, 100);
	sim_disk_bad_sector(w->disk, "main/0000000000000001.seg", 0, UINT32_MAX);
	assert_int_equal(fg_pass_open(c, &p), 0);
	assert_int_equal(read_some(p, messages, 16), -EIO);
	assert_int_equal(w->n_lost, 0);
	sim_disk_bad_sector(w->disk, "", 0, 0);
	assert_int_equal(read_some(p, messages, 16), 16);
	assert_int_equal(messages[0].seq, 1);
	fg_pass_close(p);
	world_free(w);
}

static ssize_t (*honest_read)(void *ctx, int file, void *data, size_t size, uint64_t offset);
static unsigned n_failing;

static ssize_t failing_read(void *ctx, int file, void *data, size_t size, uint64_t offset)
{
	if (n_failing == 0)
		return honest_read(ctx, file, data, size, offset);
	n_failing--;
	return -EIO;
}

static void disk_that_comes_back_in_the_middle_of_reading_costs_nothing(void **state)
{
	(void)state;
	for (unsigned k = 1; k < 12; k++) {
		struct world *w = world_new();
		struct fg_message messages[16];
		struct fg_cursor *c;
		struct fg_pass *p;
		unsigned n_read = 0;
		int n;

		assert_int_equal(fg_cursor_open(w->j, FG_LANE_MAIN, "a", 1000, &c), 0);
		fill(w, 100);
		honest_read = w->options.fs->read;
		w->options.fs->read = failing_read;
		n_failing = k;
		assert_int_equal(fg_pass_open(c, &p), 0);
		while ((n = read_some(p, messages, 16)) != 0) {
			assert_true(n > 0 || n == -EIO);
			n_read += n > 0 ? (unsigned)n : 0;
		}
		assert_int_equal(n_read, 100);
		assert_int_equal(w->n_lost, 0);
		fg_pass_close(p);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_call_that_fails_once_costs_nothing),
		cmocka_unit_test(disk_that_refuses_for_a_while_stops_the_acknowledgements),
		cmocka_unit_test(full_disk_gets_room_from_what_links_have_settled),
		cmocka_unit_test(what_made_room_on_a_full_disk_is_missed_by_nobody_after_a_kill),
		cmocka_unit_test(a_mark_beyond_what_is_there_settles_nothing),
		cmocka_unit_test(newest_segment_that_the_disk_does_not_give_is_waited_for),
		cmocka_unit_test(older_segment_that_the_disk_does_not_give_stays_where_it_is),
		cmocka_unit_test(shutdown_with_a_dead_disk_returns),
		cmocka_unit_test(file_whose_sync_failed_is_not_written_to_again),
		cmocka_unit_test(what_is_there_after_a_kill_is_there_after_a_power_cut),
		cmocka_unit_test(random_errors_never_make_a_promise_untrue),
		cmocka_unit_test(segments_grow_where_nothing_can_be_preallocated),
		cmocka_unit_test(bad_sector_costs_the_records_on_it),
		cmocka_unit_test(what_cannot_be_read_at_the_start_is_not_cut_off),
		cmocka_unit_test(disk_that_is_gone_is_an_error_and_no_loss),
		cmocka_unit_test(disk_that_comes_back_in_the_middle_of_reading_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
