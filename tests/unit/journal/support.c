#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/span.h"

static void note_committed(void *arg, uint64_t committed)
{
	struct bench *b = arg;

	b->committed = committed;
	b->n_committed++;
}

static void note_lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	struct bench *b = arg;

	(void)link;
	b->lost += records;
	b->lost_seq = seq;
	b->n_lost++;
	snprintf(b->lost_why, sizeof(b->lost_why), "%s", why);
}

static void note_full(void *arg, bool is_full)
{
	struct bench *b = arg;

	b->n_full += is_full;
	b->n_room += !is_full;
}

static int64_t bench_utc_us(void *arg)
{
	struct bench *b = arg;

	return b->utc_us;
}

static void note_trouble(void *arg, int error, const char *what)
{
	struct bench *b = arg;

	assert_non_null(what);
	b->trouble = error;
	b->n_trouble++;
}

void bench_new(struct bench *b)
{
	*b = (struct bench){.now_ms = 1000000, .utc_us = INT64_C(1700000000000000)};
	snprintf(b->dir, sizeof(b->dir), "/tmp/fg-journal-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	assert_int_equal(fg_fs_posix_new(b->dir, &b->fs), 0);
	b->options = (struct fg_journal_options){
		.fs = b->fs,
		.segment_bytes = 16384,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_quarantine_bytes = 1 << 20,
		.committed = note_committed,
		.lost = note_lost,
		.trouble = note_trouble,
		.full = note_full,
		.utc_us = bench_utc_us,
		.arg = b,
	};
}

static void remove_below(const char *dir)
{
	struct dirent *entry;
	char path[512];
	DIR *d = opendir(dir);

	if (!d)
		return;
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (unlink(path) < 0)
			remove_below(path);
	}
	closedir(d);
	rmdir(dir);
}

void bench_free(struct bench *b)
{
	bench_close(b);
	b->fs = fg_fs_posix_free(b->fs);
	remove_below(b->dir);
}

int bench_setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	bench_new(b);
	*state = b;
	return 0;
}

int bench_setup_open(void **state)
{
	bench_setup(state);
	bench_open(*state);
	return 0;
}

int bench_teardown(void **state)
{
	bench_free(*state);
	free(*state);
	return 0;
}

void bench_open(struct bench *b)
{
	int r = fg_journal_open(&b->options, &b->j, &b->err);

	if (r < 0)
		fail_msg("fg_journal_open: %d %s", r, b->err.text);
}

void bench_close(struct bench *b)
{
	for (unsigned i = 0; i < b->n_passes; i++)
		fg_pass_close(b->passes[i]);
	b->n_passes = 0;
	b->j = fg_journal_free(b->j);
}

struct fg_cursor *bench_cursor(struct bench *b, const char *name, uint64_t max_unsaved)
{
	struct fg_cursor *c = NULL;

	assert_int_equal(fg_cursor_open(b->j, FG_LANE_MAIN, name, max_unsaved, &c), 0);
	return c;
}

void bench_body(uint64_t seq, char *out, size_t size)
{
	for (size_t i = 0; i < size; i++)
		out[i] = (char)('a' + (seq * 7 + i) % 26);
}

uint64_t bench_append(struct bench *b, size_t body_size)
{
	return bench_append_to(b, FG_LANE_MAIN, body_size);
}

uint64_t bench_append_to(struct bench *b, enum fg_lane lane, size_t body_size)
{
	struct fg_journal_stats stats;
	char *body = malloc(body_size + 1);
	struct fg_message msg = {.time_us = 5, .kind = FG_TELEMETRY, .device = fg_span_str("dev")};
	uint64_t seq = 0;

	fg_journal_get_stats(b->j, &stats);
	assert_non_null(body);
	bench_body(lane == FG_LANE_MAIN ? stats.next_seq : stats.alarm_next_seq, body, body_size);
	msg.body = fg_span_of(body, body_size);
	assert_int_equal(fg_journal_append(b->j, lane, &msg, &seq), 0);
	free(body);
	return seq;
}

void bench_flush(struct bench *b)
{
	fg_journal_flush(b->j, b->now_ms);
}

uint64_t bench_fill(struct bench *b, unsigned n)
{
	uint64_t seq = 0;

	for (unsigned i = 0; i < n; i++) {
		seq = bench_append(b, 200);
		if (i % 10 == 9 || i + 1 == n)
			bench_flush(b);
	}
	return seq;
}

struct fg_pass *bench_pass(struct bench *b, struct fg_cursor *c)
{
	for (unsigned i = 0; i < b->n_passes; i++)
		if (b->pass_cursors[i] == c)
			return b->passes[i];
	assert_true(b->n_passes < BENCH_PASSES);
	b->pass_cursors[b->n_passes] = c;
	assert_int_equal(fg_pass_open(c, &b->passes[b->n_passes]), 0);
	return b->passes[b->n_passes++];
}

int bench_read(struct bench *b, struct fg_cursor *c, struct fg_message *ret, size_t max)
{
	int r;

	do
		r = fg_pass_read(bench_pass(b, c), ret, max, NULL, NULL);
	while (r == -EAGAIN);
	return r;
}

unsigned bench_read_all(struct bench *b, struct fg_cursor *c)
{
	struct fg_pass *p = bench_pass(b, c);
	struct fg_message messages[7];
	char body[4096];
	unsigned n = 0;
	int r;

	for (;;) {
		uint64_t position = fg_pass_position(p);

		r = bench_read(b, c, messages, 7);
		if (r <= 0)
			break;
		for (int i = 0; i < r; i++) {
			assert_in_range(messages[i].seq, position, fg_pass_position(p) - 1);
			position = messages[i].seq + 1;
			bench_body(messages[i].seq, body, messages[i].body.size);
			assert_memory_equal(messages[i].body.data, body, messages[i].body.size);
			assert_true(fg_span_is(messages[i].device, "dev"));
		}
		n += (unsigned)r;
	}
	assert_int_equal(r, 0);
	return n;
}

void bench_settle(struct fg_cursor *c, uint64_t seq)
{
	fg_cursor_settle(c, 1, seq);
}

static unsigned list(const struct bench *b, const char *lane, const char *suffix, char names[][64],
		     unsigned max)
{
	struct dirent *entry;
	char path[512];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", b->dir, lane);
	d = opendir(path);
	if (!d)
		return 0;
	while ((entry = readdir(d))) {
		size_t size = strlen(entry->d_name);

		if (size < strlen(suffix) ||
		    strcmp(entry->d_name + size - strlen(suffix), suffix) != 0)
			continue;
		if (n < max)
			snprintf(names[n], 64, "%.63s", entry->d_name);
		n++;
	}
	closedir(d);
	return n;
}

unsigned bench_count_files(const struct bench *b, const char *lane, const char *suffix)
{
	return list(b, lane, suffix, NULL, 0);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

void bench_segment(const struct bench *b, const char *lane, int i, char *out, size_t size)
{
	static char names[1024][64];
	unsigned n = list(b, lane, ".seg", names, 1024);

	qsort(names, n, 64, compare_names);
	assert_true(i < (int)n && -i <= (int)n);
	snprintf(out, size, "%s/%s/%s", b->dir, lane, names[i < 0 ? (int)n + i : i]);
}

void bench_damage(const char *path, long offset, size_t size, int byte)
{
	FILE *f = fopen(path, "r+b");

	assert_non_null(f);
	assert_int_equal(fseek(f, offset, SEEK_SET), 0);
	while (size-- > 0)
		fputc(byte, f);
	fclose(f);
}
