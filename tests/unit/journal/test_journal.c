#include "support.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/crc32c.h"
#include "util/span.h"

static void first_sequence_number_is_one(void **state)
{
	assert_int_equal(bench_append(*state, 10), 1);
	assert_int_equal(bench_append(*state, 10), 2);
}

static void ticket_is_reported_once_its_batch_is_on_disk(void **state)
{
	struct bench *b = *state;
	uint64_t ticket;

	bench_append(b, 10);
	ticket = fg_journal_ticket(b->j);
	assert_true(fg_journal_committed(b->j) < ticket);
	bench_flush(b);
	assert_int_equal(b->committed, ticket);
	assert_int_equal(fg_journal_committed(b->j), ticket);
	assert_int_equal(b->n_committed, 1);
}

static void ticket_of_an_empty_batch_is_one_that_is_on_disk(void **state)
{
	struct bench *b = *state;

	assert_true(fg_journal_ticket(b->j) <= fg_journal_committed(b->j));
	bench_append(b, 10);
	bench_flush(b);
	assert_true(fg_journal_ticket(b->j) <= fg_journal_committed(b->j));
}

static void flush_of_nothing_writes_nothing(void **state)
{
	struct bench *b = *state;

	bench_flush(b);
	fg_journal_tick(b->j, b->now_ms + 100000);
	assert_int_equal(b->n_committed, 0);
	assert_int_equal(bench_count_files(b, "main", ""), 0);
}

static void all_fields_come_back(void **state)
{
	struct bench *b = *state;
	struct fg_message in = {
		.time_us = -42,
		.kind = FG_COMMAND_RESPONSE,
		.time_quality = FG_TIME_UNSYNCHRONISED,
		.device = fg_span_str("pump-01"),
		.stream = fg_span_str("alerts"),
		.content_type = fg_span_str("application/cbor"),
		.ref = fg_span_str("cmd-77"),
		.body = fg_span_of("\0\1\2", 3),
	};
	struct fg_message out;
	struct fg_cursor *c;
	uint64_t seq;

	c = bench_cursor(b, "a", 10);
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &in, &seq), 0);
	assert_int_equal(bench_read(b, c, &out, 1), 0);
	bench_flush(b);
	assert_int_equal(bench_read(b, c, &out, 1), 1);
	assert_int_equal(out.seq, seq);
	assert_int_equal(out.time_us, -42);
	assert_int_equal(out.kind, FG_COMMAND_RESPONSE);
	assert_int_equal(out.time_quality, FG_TIME_UNSYNCHRONISED);
	assert_true(fg_span_equal(out.device, in.device));
	assert_true(fg_span_equal(out.stream, in.stream));
	assert_true(fg_span_equal(out.content_type, in.content_type));
	assert_true(fg_span_equal(out.ref, in.ref));
	assert_true(fg_span_equal(out.body, in.body));
}

static void every_kind_of_message_comes_back(void **state)
{
	struct bench *b = *state;
	struct fg_message in = {.device = fg_span_str("pump-01"), .body = fg_span_str("{}")};
	struct fg_cursor *c = bench_cursor(b, "a", 10);
	struct fg_message out[FG_REQUEST];
	uint64_t seq;

	for (in.kind = FG_TELEMETRY; in.kind <= FG_REQUEST; in.kind++)
		assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &in, &seq), 0);
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &in, &seq), -EINVAL);
	bench_flush(b);
	assert_int_equal(bench_read(b, c, out, FG_REQUEST), FG_REQUEST);
	for (size_t i = 0; i < FG_REQUEST; i++)
		assert_int_equal(out[i].kind, i + 1);
}

static void records_are_found_again_after_a_restart(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;

	c = bench_cursor(b, "a", 10);
	bench_fill(b, 300);
	bench_close(b);
	bench_open(b);
	c = bench_cursor(b, "a", 10);
	assert_int_equal(bench_read_all(b, c), 300);
	assert_int_equal(b->n_lost, 0);
	bench_fill(b, 5);
	assert_int_equal(bench_read_all(b, c), 5);
}

static void restarts_without_data_leave_no_files_behind(void **state)
{
	struct bench *b = *state;

	bench_cursor(b, "a", 10);
	bench_fill(b, 3);
	for (int i = 0; i < 10; i++) {
		bench_close(b);
		bench_open(b);
	}
	assert_int_equal(bench_count_files(b, "main", ".seg"), 1);
	assert_int_equal(bench_read_all(b, bench_cursor(b, "a", 10)), 3);
}

static void clean_shutdown_saves_the_cursors(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;
	uint64_t last;

	c = bench_cursor(b, "a", 1000);
	last = bench_fill(b, 30);
	bench_settle(c, last - 2);
	bench_close(b);
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	assert_int_equal(fg_cursor_watermark(c), last - 2);
	/* Nothing proves that the last commit was synced: it counts as saved with the next one. */
	assert_true(fg_cursor_saved(c) <= last - 2);
	assert_int_equal(fg_pass_position(bench_pass(b, c)), last - 1);
	assert_int_equal(fg_cursor_backlog(c), 2);
	assert_int_equal(bench_read_all(b, c), 2);
}

static void cursor_tables_do_not_count_as_backlog(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;
	uint64_t saves;

	c = bench_cursor(b, "a", 10);
	bench_fill(b, 10);
	bench_settle(c, 10);
	for (int i = 0; i < 5; i++) {
		b->now_ms += 10000;
		fg_journal_tick(b->j, b->now_ms);
	}
	assert_int_equal(fg_cursor_backlog(c), 0);
	assert_true(fg_cursor_saved(c) >= 10);
	fg_journal_get_stats(b->j, &stats);
	saves = stats.cursor_saves;
	/* One with the first batch for the new name, one for the acknowledged; then no more. */
	assert_int_equal(saves, 2);
	bench_close(b);
	bench_open(b);
	c = bench_cursor(b, "a", 10);
	assert_int_equal(fg_cursor_backlog(c), 0);
	assert_int_equal(bench_read_all(b, c), 0);
}

/* Or the next commit would write that page once more. */
static void large_commit_fills_its_last_page(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats before, after;
	struct fg_cursor *c;
	uint64_t last;

	bench_close(b);
	b->options.batch_bytes = 64 << 10;
	b->options.segment_bytes = 256 << 10;
	bench_open(b);
	c = bench_cursor(b, "a", 10);
	bench_append(b, 10);
	bench_flush(b);
	fg_journal_get_stats(b->j, &before);
	for (int i = 0; i < 21; i++)
		bench_append(b, 2000);
	bench_flush(b);
	fg_journal_get_stats(b->j, &after);
	assert_int_equal(after.bytes_written % 4096, 0);
	assert_in_range(after.bytes_written - before.bytes_written, 21 * 2040, 21 * 2040 + 4096);
	assert_int_equal(after.cursor_saves, before.cursor_saves + 1);

	/* A small one does not. */
	last = bench_append(b, 2000);
	bench_flush(b);
	fg_journal_get_stats(b->j, &before);
	assert_in_range(before.bytes_written - after.bytes_written, 2000, 2100);
	assert_int_equal(bench_read_all(b, c), 23);
	bench_settle(c, last);
	assert_int_equal(fg_cursor_backlog(c), 0);
	bench_close(b);
	bench_open(b);
	assert_int_equal(fg_cursor_backlog(bench_cursor(b, "a", 10)), 0);
}

static void new_cursor_starts_at_the_newest_record(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;

	bench_fill(b, 10);
	bench_append(b, 10);
	c = bench_cursor(b, "late", 10);
	bench_append(b, 10);
	bench_flush(b);
	assert_int_equal(bench_read_all(b, c), 1);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "late", 10, &c), -EEXIST);
	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, "", 10, &c), -EINVAL);
}

static void sending_waits_for_the_saved_watermark(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *c;

	c = bench_cursor(b, "a", 4);
	bench_fill(b, 10);
	for (uint64_t n_in_flight = 0; n_in_flight < 4; n_in_flight++)
		assert_true(fg_cursor_may_send(c, n_in_flight));
	assert_false(fg_cursor_may_send(c, 4));
	/* Three are settled and one is in flight: all four may be sent again after a crash. */
	bench_settle(c, 3);
	assert_false(fg_cursor_may_send(c, 1));
	bench_flush(b);
	assert_int_equal(fg_cursor_saved(c), 3);
	assert_true(fg_cursor_may_send(c, 3));
	assert_false(fg_cursor_may_send(c, 4));
}

static void segments_go_when_every_cursor_is_past_them(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *one, *two;
	struct fg_journal_stats stats;
	unsigned before;

	one = bench_cursor(b, "one", 10);
	two = bench_cursor(b, "two", 10);
	bench_fill(b, 300);
	before = bench_count_files(b, "main", ".seg");
	assert_true(before > 3);
	bench_settle(one, 300);
	bench_fill(b, 10);
	assert_true(bench_count_files(b, "main", ".seg") >= before);
	bench_settle(two, 150);
	b->now_ms += 2000;
	bench_fill(b, 10);
	fg_journal_tick(b->j, b->now_ms);
	assert_true(bench_count_files(b, "main", ".seg") < before);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.first_seq > 1 && stats.first_seq <= 151);
	fg_pass_seek(bench_pass(b, two), 151);
	assert_true(bench_read_all(b, two) >= 169);
	assert_int_equal(b->n_lost, 0);
}

static void limit_drops_the_oldest_and_says_who_lost_what(void **state)
{
	struct bench *b = *state;
	struct fg_journal_stats stats;
	struct fg_cursor *c;
	unsigned n;

	bench_close(b);
	b->options.max_bytes = 65536;
	bench_open(b);
	c = bench_cursor(b, "slow", 10);
	bench_fill(b, 1000);
	fg_journal_get_stats(b->j, &stats);
	assert_true(stats.bytes_on_disk <= 65536);
	assert_true(b->n_lost > 0);
	assert_string_equal(b->lost_why, "journal limit");
	n = bench_read_all(b, c);
	assert_int_equal(n + b->lost, 1000);
	assert_int_equal(fg_cursor_watermark(c), b->lost_seq);
}

static void full_batch_refuses_and_takes_nothing(void **state)
{
	struct bench *b = *state;
	struct fg_message msg = {.kind = FG_EVENT, .device = fg_span_str("dev")};
	char body[5000] = {0};
	uint64_t seq = 0;

	msg.body = fg_span_of(body, sizeof(body));
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), -EMSGSIZE);
	msg.body = fg_span_of(body, 3000);
	assert_true(fg_journal_has_room(b->j, 3003));
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
	assert_false(fg_journal_has_room(b->j, 3003));
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), -EAGAIN);
	bench_flush(b);
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), 0);
	assert_int_equal(seq, 2);
	msg.device.size = 0;
	assert_int_equal(fg_journal_append(b->j, FG_LANE_MAIN, &msg, &seq), -EINVAL);
}

static void second_daemon_version_is_refused_untouched(void **state)
{
	struct bench *b = *state;
	struct stat before, after;
	struct fg_journal *j;
	char path[256];

	bench_fill(b, 200);
	bench_close(b);
	bench_segment(b, "main", 1, path, sizeof(path));
	{
		/* Version 2 with a right CRC, as a later version would write it. */
		uint8_t header[4096];
		FILE *f = fopen(path, "r+b");
		uint32_t crc;

		assert_int_equal(fread(header, 1, sizeof(header), f), sizeof(header));
		header[12] = 2;
		crc = fg_crc32c(0, header + 12, sizeof(header) - 12);
		for (int i = 0; i < 4; i++)
			header[8 + i] = (uint8_t)(crc >> 8 * i);
		rewind(f);
		fwrite(header, 1, sizeof(header), f);
		fclose(f);
	}
	bench_segment(b, "main", -1, path, sizeof(path));
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(fg_journal_open(&b->options, &j, &b->err), -EPROTONOSUPPORT);
	assert_non_null(strstr(b->err.text, "later version"));
	assert_non_null(strstr(b->err.text, ".seg"));
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

/* ---- with the thread */

static void wake(void *arg)
{
	int *fd = *(int **)arg;

	assert_int_equal(write(fd[1], "", 1), 1);
}

struct threaded {
	int *fd; /* first: wake() looks for it there */
	uint64_t committed;
};

static void note_committed(void *arg, uint64_t committed)
{
	struct threaded *t = arg;

	t->committed = committed;
}

static void threaded_writer_commits_everything(void **state)
{
	struct bench *b = *state;
	struct fg_message messages[64];
	struct fg_cursor *c;
	int fd[2];
	struct threaded t = {fd, 0};
	uint64_t n = 0, n_read = 0;
	int r;

	bench_close(b);
	assert_int_equal(pipe(fd), 0);
	b->options.is_threaded = true;
	b->options.notify = wake;
	b->options.committed = note_committed;
	b->options.lost = NULL;
	b->options.trouble = NULL;
	b->options.arg = &t;
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	while (n_read < 5000) {
		struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")};
		char byte;

		msg.body = fg_span_str("{\"temperature\":21.50}");
		while (n < 5000 && fg_journal_append(b->j, FG_LANE_MAIN, &msg, &(uint64_t){0}) == 0)
			n++;
		fg_journal_flush(b->j, fg_clock_monotonic_ms());
		assert_int_equal(read(fd[0], &byte, 1), 1);
		fg_journal_collect(b->j, fg_clock_monotonic_ms());
		while ((r = bench_read(b, c, messages, 64)) > 0) {
			n_read += (uint64_t)r;
			bench_settle(c, messages[r - 1].seq);
		}
		assert_int_equal(r, 0);
	}
	bench_close(b);
	assert_true(t.committed > 0);
	close(fd[0]);
	close(fd[1]);
	b->options.is_threaded = false;
	b->options.committed = NULL;
	bench_open(b);
	c = bench_cursor(b, "a", 1000);
	assert_int_equal(fg_cursor_backlog(c), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup_open, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_sequence_number_is_one),
		TEST(ticket_is_reported_once_its_batch_is_on_disk),
		TEST(ticket_of_an_empty_batch_is_one_that_is_on_disk),
		TEST(flush_of_nothing_writes_nothing),
		TEST(all_fields_come_back),
		TEST(every_kind_of_message_comes_back),
		TEST(records_are_found_again_after_a_restart),
		TEST(restarts_without_data_leave_no_files_behind),
		TEST(clean_shutdown_saves_the_cursors),
		TEST(cursor_tables_do_not_count_as_backlog),
		TEST(large_commit_fills_its_last_page),
		TEST(new_cursor_starts_at_the_newest_record),
		TEST(sending_waits_for_the_saved_watermark),
		TEST(segments_go_when_every_cursor_is_past_them),
		TEST(limit_drops_the_oldest_and_says_who_lost_what),
		TEST(full_batch_refuses_and_takes_nothing),
		TEST(second_daemon_version_is_refused_untouched),
		TEST(threaded_writer_commits_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
