#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/span.h"

/* bench_fill(): 200 bytes of body, 3 of device, 32 of header make 240 with padding; ten are a
 * commit. */
#define RECORD_BYTES 240
#define AT(n) (4096 + (n)*RECORD_BYTES)

/*
 * A segment with nothing in it that the test does not put there: cursor "a", which has settled
 * nothing, stands in its header. Its first record is FIRST; in front of it is one in another segment.
 */
#define FIRST 3

static void begin_segment(struct bench *b)
{
	bench_cursor(b, "a", 1000);
	bench_fill(b, 1);
	bench_close(b);
	bench_open(b);
}

/* How many records cursor "a" finds after a restart. */
static unsigned reopen_and_read(struct bench *b)
{
	bench_open(b);
	return bench_read_all(b, bench_cursor(b, "a", 1000));
}

/* A file of zeros behind the last record, as preallocation leaves it. */
static void grow(const char *path, long size)
{
	assert_int_equal(truncate(path, size), 0);
}

static void torn_last_commit_is_cut_off(void **state)
{
	struct bench *b = *state;
	struct stat st;
	char path[256];

	begin_segment(b);
	bench_fill(b, 30);
	bench_close(b);
	bench_segment(b, "main", 1, path, sizeof(path));
	grow(path, 16384);
	bench_damage(path, AT(25) + 50, 4, 0xee);
	assert_int_equal(reopen_and_read(b), 1 + 25);
	assert_int_equal(b->n_lost, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, AT(25));
	/* Numbers of records that nobody was promised are used again. */
	assert_int_equal(bench_append(b, 10), FIRST + 25);
}

static void damage_that_later_commits_prove_is_passed_over(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *late;
	char path[256];

	begin_segment(b);
	bench_fill(b, 30);
	bench_close(b);
	bench_segment(b, "main", 1, path, sizeof(path));
	bench_damage(path, AT(4) + 4, 4, 0xee); /* a size: the next one must be searched for */
	bench_damage(path, AT(15) + 40, 300, 0);
	bench_open(b);
	fg_journal_get_stats(b->j, &stats);
	assert_int_equal(stats.damaged_records, 3);
	/* One that is new has nothing to do with it. */
	late = bench_cursor(b, "late", 1000);
	assert_int_equal(fg_cursor_watermark(late), FIRST + 29);
	assert_int_equal(bench_read_all(b, late), 0);
	assert_int_equal(b->n_lost, 0);
	assert_int_equal(bench_read_all(b, bench_cursor(b, "a", 1000)), 1 + 27);
	assert_int_equal(b->lost, 3);
}

static void cursor_is_told_what_damage_cost_it(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	char path[256];

	c = bench_cursor(b, "a", 1000);
	bench_fill(b, 200);
	bench_close(b);
	bench_segment(b, "main", 1, path, sizeof(path));
	bench_damage(path, AT(3) + 100, 1, 0);
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	/* A table went with the first commit, since the name was new. */
	assert_in_range(fg_cursor_backlog(c), 200, 201);
	assert_int_equal(bench_read_all(b, c), 199);
	assert_int_equal(fg_cursor_backlog(c), 199);
	assert_int_equal(b->n_lost, 1);
	assert_int_equal(b->lost, 1);
	assert_string_equal(b->lost_why, "damaged on disk");
	fg_pass_seek(bench_pass(b, c), 1);
	assert_int_equal(bench_read_all(b, c), 199);
	assert_int_equal(b->n_lost, 1);
	/* The watermark steps over it, and it does not hold up what follows. */
	bench_settle(c, b->lost_seq - 1);
	assert_int_equal(fg_cursor_watermark(c), b->lost_seq);
	assert_int_equal(fg_cursor_backlog(c), 201 - b->lost_seq);
}

static void damaged_segment_is_set_aside_once_all_have_passed(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	uint64_t last;
	char path[256];

	c = bench_cursor(b, "a", 1000);
	last = bench_fill(b, 200);
	bench_segment(b, "main", 0, path, sizeof(path));
	bench_damage(path, AT(3) + 100, 1, 0);
	assert_int_equal(bench_read_all(b, c), 199);
	bench_settle(c, last);
	b->now_ms += 10000;
	fg_journal_tick(b->j, b->now_ms);
	fg_journal_tick(b->j, b->now_ms);
	assert_int_equal(bench_count_files(b, "main", ".seg"), 1);
	assert_int_equal(bench_count_files(b, "main", ".damaged"), 1);
	/* And its name does not disturb the next start. */
	bench_close(b);
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	assert_int_equal(fg_cursor_backlog(c), 0);
}

static void missing_segment_in_the_middle_is_reported(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	char path[256];
	unsigned n;

	c = bench_cursor(b, "a", 1000);
	bench_fill(b, 200);
	bench_close(b);
	bench_segment(b, "main", 1, path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	n = bench_read_all(b, c);
	assert_true(n < 200);
	assert_int_equal(b->lost + n, 200);
	assert_int_equal(b->n_lost, 1);
}

static void unreadable_header_is_set_aside_and_numbers_go_on(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	uint64_t next;
	char path[256];
	unsigned n;

	c = bench_cursor(b, "a", 1000);
	bench_fill(b, 200);
	bench_close(b);
	bench_segment(b, "main", -1, path, sizeof(path));
	bench_damage(path, 30, 1, 0x77);
	bench_open(b);
	assert_int_equal(bench_count_files(b, "main", ".damaged"), 1);
	/* Numbers that were in it are not given out again, and the cursor sees what comes next. */
	next = bench_append(b, 20);
	assert_true(next > 200);
	bench_flush(b);
	c = bench_cursor(b, "a", 1000);
	n = bench_read_all(b, c);
	assert_true(n > 100 && n < 201);
	assert_int_equal(b->n_lost, 1);
	bench_close(b);
	bench_open(b);
	assert_true(bench_append(b, 20) > next);
}

static void journal_whose_only_segment_is_unreadable_starts_and_tells(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;
	char path[256];

	bench_fill(b, 20);
	bench_close(b);
	bench_segment(b, "main", 0, path, sizeof(path));
	grow(path, 100);
	bench_open(b);
	fg_journal_get_stats(b->j, &stats);
	assert_int_equal(stats.unusable_files, 1);
	c = bench_cursor(b, "a", 1000);
	bench_fill(b, 20);
	assert_int_equal(bench_read_all(b, c), 20);
	bench_close(b);
	bench_segment(b, "main", 0, path, sizeof(path));
	bench_damage(path, 0, 4096, 0);
	bench_open(b);
	assert_int_equal(bench_count_files(b, "main", ".damaged"), 2);
	bench_close(b);
	/* What was set aside earlier has been told. */
	bench_open(b);
	fg_journal_get_stats(b->j, &stats);
	assert_int_equal(stats.unusable_files, 0);
}

static void what_is_in_an_only_segment_that_is_unreadable_counts_as_lost(void **state)
{
	struct bench *b = *state;
	uint64_t losses[FG_N_LOSSES];
	struct fg_cursor *c;
	char path[256];

	bench_cursor(b, "a", 1000);
	bench_fill(b, 20);
	bench_close(b);
	bench_segment(b, "main", 0, path, sizeof(path));
	bench_damage(path, 30, 1, 0x77);
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	assert_int_equal(b->n_lost, 1);
	assert_int_equal(b->lost, 20);
	fg_cursor_get_losses(c, losses);
	assert_int_equal(losses[FG_LOSS_DAMAGED], 20);
	bench_fill(b, 20);
	assert_int_equal(bench_read_all(b, c), 20);
	/* The file that was set aside has been told of. */
	bench_close(b);
	bench_open(b);
	bench_cursor(b, "a", 1000);
	bench_cursor(b, "b", 1000);
	assert_int_equal(b->n_lost, 1);
}

static void file_of_another_journal_is_ignored(void **state)
{
	struct bench *b = *state;
	struct bench other;
	char path[256], to[256];

	bench_new(&other);
	bench_open(&other);
	bench_fill(&other, 3);
	bench_close(&other);
	bench_segment(&other, "main", 0, path, sizeof(path));

	bench_cursor(b, "a", 1000);
	bench_fill(b, 200);
	bench_close(b);
	snprintf(to, sizeof(to), "%s/main/0000000000000005.seg", b->dir);
	assert_int_equal(rename(path, to), 0);
	/* Its header says 1, so it is unreadable under this name; with the right name it is
	 * foreign. */
	assert_int_equal(reopen_and_read(b), 200);
	assert_int_equal(bench_count_files(b, "main", ".damaged"), 1);
	bench_free(&other);
}

static void leftovers_of_a_crash_are_harmless(void **state)
{
	struct bench *b = *state;
	char path[256];
	int fd;

	bench_cursor(b, "a", 1000);
	bench_fill(b, 30);
	bench_close(b);
	snprintf(path, sizeof(path), "%s/main/next.tmp", b->dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/main/README", b->dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(reopen_and_read(b), 30);
	bench_fill(b, 5);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(bench_count_files(b, "main", "next.tmp"), 0);
}

static void bytes_that_look_like_a_record_are_not_taken_for_one(void **state)
{
	struct bench *b = *state;
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	struct bench other;
	char path[256], bytes[4096 + 3 * RECORD_BYTES];
	uint64_t seq;
	FILE *f;

	/* Take a record of another journal, as an attacker can make one with his own copy of us. */
	bench_new(&other);
	bench_open(&other);
	bench_fill(&other, 3);
	bench_close(&other);
	bench_segment(&other, "main", 0, path, sizeof(path));
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(bytes, 1, sizeof(bytes), f), sizeof(bytes));
	fclose(f);
	bench_free(&other);

	begin_segment(b);
	/* It travels as the body of our first record, and a torn write shows it at a multiple of 8. */
	msg.device = fg_span_str("12345678");
	msg.body = fg_span_of(bytes + AT(1), 2 * RECORD_BYTES);
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
	bench_flush(b);
	bench_close(b);
	bench_segment(b, "main", 1, path, sizeof(path));
	bench_damage(path, 4096, 32, 0xee);
	assert_int_equal(reopen_and_read(b), 1);
}

struct seen {
	unsigned n;
	uint64_t last;
	char reason[64];
};

static int see(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct seen *s = arg;

	s->n++;
	s->last = number;
	snprintf(s->reason, sizeof(s->reason), "%.*s", FG_SPAN_ARGS(q->reason));
	return number == 99 ? 7 : 0;
}

static void quarantine_can_be_read_while_the_journal_is_open(void **state)
{
	struct bench *b = *state;
	struct fg_quarantined q = {.reason = fg_span_str("too hot"), .body = fg_span_str("{}")};
	struct fg_journal_stats stats;
	struct seen seen = {0};

	assert_int_equal(fg_journal_each_quarantined(b->fs, 0, see, &seen, &b->err), 0);
	assert_int_equal(seen.n, 0);
	for (int i = 0; i < 120; i++) {
		assert_int_equal(fg_journal_quarantine(b->j, &q), 0);
		if (i % 30 == 29)
			bench_flush(b);
	}
	fg_journal_get_stats(b->j, &stats);
	assert_int_equal(stats.quarantine_records, 120);
	assert_int_equal(fg_journal_each_quarantined(b->fs, 100, see, &seen, &b->err), 0);
	assert_int_equal(seen.n, 21);
	assert_int_equal(seen.last, 120);
	assert_string_equal(seen.reason, "too hot");
	assert_int_equal(fg_journal_each_quarantined(b->fs, 90, see, &seen, &b->err), 7);
	assert_int_equal(seen.last, 99);
}

static void quarantined_message_that_is_too_large_is_cut(void **state)
{
	static char body[100000];
	struct bench *b = *state;
	struct fg_quarantined q = {.reason = fg_span_str("too large")};
	struct seen seen = {0};

	q.body = fg_span_of(body, sizeof(body));
	assert_int_equal(fg_journal_quarantine(b->j, &q), 0);
	assert_int_equal(fg_journal_quarantine(b->j, &q), -EAGAIN);
	bench_flush(b);
	assert_int_equal(fg_journal_quarantine(b->j, &q), 0);
	bench_flush(b);
	assert_int_equal(fg_journal_each_quarantined(b->fs, 0, see, &seen, &b->err), 0);
	assert_int_equal(seen.n, 2);
}

static void quarantine_has_a_limit_of_its_own(void **state)
{
	static char body[3000];
	struct bench *b = *state;
	struct fg_quarantined q = {.reason = fg_span_str("r")};
	struct fg_journal_stats stats;
	struct seen seen = {0};

	bench_close(b);
	b->options.max_quarantine_bytes = 65536;
	bench_open(b);
	q.body = fg_span_of(body, sizeof(body));
	for (int i = 0; i < 90; i++) {
		assert_int_equal(fg_journal_quarantine(b->j, &q), 0);
		bench_flush(b);
	}
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.quarantine_bytes <= 65536);
	assert_int_equal(fg_journal_each_quarantined(b->fs, 0, see, &seen, &b->err), 0);
	assert_int_equal(seen.n, stats.quarantine_records);
	assert_int_equal(seen.last, 90);
	assert_int_equal(b->n_lost, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup_open, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(torn_last_commit_is_cut_off),
		TEST(damage_that_later_commits_prove_is_passed_over),
		TEST(cursor_is_told_what_damage_cost_it),
		TEST(damaged_segment_is_set_aside_once_all_have_passed),
		TEST(missing_segment_in_the_middle_is_reported),
		TEST(unreadable_header_is_set_aside_and_numbers_go_on),
		TEST(what_is_in_an_only_segment_that_is_unreadable_counts_as_lost),
		TEST(journal_whose_only_segment_is_unreadable_starts_and_tells),
		TEST(file_of_another_journal_is_ignored),
		TEST(leftovers_of_a_crash_are_harmless),
		TEST(bytes_that_look_like_a_record_are_not_taken_for_one),
		TEST(quarantine_can_be_read_while_the_journal_is_open),
		TEST(quarantined_message_that_is_too_large_is_cut),
		TEST(quarantine_has_a_limit_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
