#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/reader.h"
#include "journal/record.h"
#include "journal/recovery.h"
#include "util/bytes.h"
#include "util/span.h"

#define BODY_BYTES ((size_t)200 << 10)
#define FILE_BYTES ((size_t)2 << 20)
#define DEVICE "device-1" /* bodies start at a multiple of 8, as records do */
#define SMALL_RECORD 48   /* bytes that one with a body of two takes */

/* Everything that is read is counted; and the most at once. */
static uint64_t n_read, most_read;
static ssize_t (*real_read)(void *ctx, int file, void *data, size_t size, uint64_t offset);

static ssize_t counted_read(void *ctx, int file, void *data, size_t size, uint64_t offset)
{
	n_read += size;
	most_read = size > most_read ? size : most_read;
	return real_read(ctx, file, data, size, offset);
}

struct lane {
	struct bench b;
	struct fg_segments segments;
	struct fg_reader reader;
};

static int setup(void **state)
{
	struct lane *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	bench_new(&l->b);
	l->b.options.segment_bytes = FILE_BYTES;
	l->b.options.batch_bytes = 512 << 10;
	l->b.options.max_bytes = 64 << 20;
	bench_open(&l->b);
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	struct lane *l = *state;

	fg_reader_free(&l->reader);
	fg_segments_free(&l->segments);
	bench_free(&l->b);
	free(l);
	return 0;
}

/* Close the journal, and walk the lane as a tool would. */
static void look(struct lane *l)
{
	struct fg_recovery *recovery;
	struct fg_recovered found;

	bench_close(&l->b);
	fg_segments_init(&l->segments, l->b.fs, "main", FILE_BYTES);
	assert_int_equal(fg_recovery_look(&l->segments, NULL, NULL, &recovery, &found, &l->b.err),
			 0);
	fg_recovered_free(&found);
	fg_recovery_free(recovery);
	/* As if all had just been written: the walk of recovery leaves marks. */
	for (size_t i = 0; i < l->segments.n; i++) {
		memset(l->segments.items[i]->marks, 0, sizeof(l->segments.items[i]->marks));
		l->segments.items[i]->damaged_to = 0;
	}
	fg_reader_init(&l->reader, &l->segments);
	real_read = l->b.fs->read;
	l->b.fs->read = counted_read;
	n_read = most_read = 0;
}

static uint64_t append(struct lane *l, const void *body, size_t size)
{
	struct fg_message msg = {.kind = FG_TELEMETRY,
				 .device = fg_span_str(DEVICE),
				 .body = fg_span_of(body, size)};
	uint64_t seq = 0;

	assert_int_equal(fg_journal_append(l->b.j, FG_LANE_MAIN, &msg, &seq), 0);
	bench_flush(&l->b);
	return seq;
}

/* A message full of what looks like the header of the record with number @seq, and claims @size. */
static uint64_t append_fakes(struct lane *l, uint64_t seq, uint32_t size)
{
	uint8_t *body = malloc(BODY_BYTES);

	assert_non_null(body);
	for (size_t i = 0; i + 16 <= BODY_BYTES; i += 16) {
		fg_put_le32(body + i, 0x12345678);
		fg_put_le32(body + i + 4, size);
		fg_put_le64(body + i + 8, seq);
	}
	seq = append(l, body, BODY_BYTES);
	free(body);
	return seq;
}

/* Overwrite @size bytes at @offset of the second record. */
static void damage_second(struct lane *l, long offset, size_t size, const char *bytes)
{
	char path[256];

	bench_segment(&l->b, "main", 0, path, sizeof(path));
	for (size_t i = 0; i < size; i++)
		bench_damage(path, FG_SEGMENT_HEADER_BYTES + SMALL_RECORD + offset + (long)i, 1,
			     bytes[i]);
}

static void append_blank(struct lane *l, unsigned n, size_t size)
{
	uint8_t *body = calloc(1, size);

	assert_non_null(body);
	while (n-- > 0)
		append(l, body, size);
	free(body);
}

/* Large commits bring cursor tables along. */
static bool is_message(int r, const struct fg_read_result *found)
{
	return r == FG_READ_RECORD && found->data[28] != FG_RECORD_KIND_CURSORS;
}

/* Of all there is, from the first on: how many messages are read, how many numbers are lost. */
static void walk(struct lane *l, uint64_t *ret_records, uint64_t *ret_lost)
{
	struct fg_read_result found;
	int r;

	*ret_records = *ret_lost = 0;
	while ((r = fg_reader_next(&l->reader, true, &found)) != FG_READ_END) {
		assert_true(r == FG_READ_RECORD || r == FG_READ_LOST);
		*ret_records += is_message(r, &found);
		if (r == FG_READ_LOST)
			*ret_lost += found.lost_last - found.lost_first + 1;
	}
}

/* ---- what claims to be a record */

static void false_claims_cost_no_more_than_a_few_looks_at_the_file(void **state)
{
	static const uint32_t sizes[] = {FILE_BYTES / 4, 100000, 16384, 5000, 40};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct lane *l = *state;
		uint64_t n_records, n_lost;

		append(l, "{}", 2);
		append_fakes(l, 3, sizes[i]);
		append(l, "{}", 2);
		append_blank(l, 40, 30000);
		look(l);
		/* Its header is gone: all of it is searched. */
		damage_second(l, 0, 16, "0123456789abcdef");
		walk(l, &n_records, &n_lost);
		assert_int_equal(n_lost, 1);
		assert_int_equal(n_records, 42);
		/* Not one look at the rest of the file for each of 12800 claims. */
		assert_true(UINT64_MAX - l->reader.work_left <
			    12800 * (uint64_t)16384 + 8 * FILE_BYTES);
		teardown(state);
		setup(state);
	}
}

/* Where only its bytes are damaged, nobody searches it, and what is behind it is found. */
static void damaged_record_tells_where_the_next_one_is(void **state)
{
	struct lane *l = *state;
	uint64_t n_records, n_lost;

	append(l, "{}", 2);
	append_fakes(l, 3, FILE_BYTES / 4);
	append_blank(l, 40, 30000);
	look(l);
	damage_second(l, 100, 4, "oops");
	walk(l, &n_records, &n_lost);
	assert_int_equal(n_lost, 1);
	assert_int_equal(n_records, 41);
	assert_true(n_read < 2 * FILE_BYTES);
}

/* Among them the next in the chain, as far as its header tells. */
static void no_buffer_is_made_for_what_only_claims_to_be_large(void **state)
{
	struct lane *l = *state;
	uint64_t n_records, n_lost;

	append(l, "{}", 2);
	append_fakes(l, 3, 1 << 20);
	append_blank(l, 120, 10000);
	look(l);
	damage_second(l, 4, 4, "\0\0\x10\0");
	walk(l, &n_records, &n_lost);
	assert_int_equal(n_lost, 1);
	assert_int_equal(n_records, 121);
	assert_int_equal(most_read, FG_READER_BUFFER_BYTES);
}

static void large_record_behind_damage_is_found(void **state)
{
	struct lane *l = *state;
	uint64_t n_records, n_lost;

	append(l, "{}", 2);
	append(l, "{}", 2);
	append_blank(l, 2, BODY_BYTES);
	look(l);
	damage_second(l, 0, 16, "0123456789abcdef");
	walk(l, &n_records, &n_lost);
	assert_int_equal(n_lost, 1);
	assert_int_equal(n_records, 3);
	assert_true(most_read > FG_READER_BUFFER_BYTES);
}

/* ---- a bound on the work of one call */

static void walk_in_steps_finds_the_same(void **state)
{
	struct lane *l = *state;
	struct fg_read_result found;
	uint64_t n_records = 0, n_lost = 0, whole_records, whole_lost;
	unsigned n_more = 0;
	int r;

	append(l, "{}", 2);
	append_fakes(l, 3, 5000);
	for (int k = 0; k < 300; k++)
		append(l, "{\"a\":1}", 7);
	look(l);
	damage_second(l, 0, 16, "0123456789abcdef");
	walk(l, &whole_records, &whole_lost);
	fg_reader_free(&l->reader);
	fg_reader_init(&l->reader, &l->segments);
	for (;;) {
		l->reader.work_left = 10000;
		r = fg_reader_next(&l->reader, true, &found);
		if (r == FG_READ_END)
			break;
		n_more += r == FG_READ_MORE;
		n_records += is_message(r, &found);
		n_lost += r == FG_READ_LOST;
	}
	assert_int_equal(n_records, whole_records);
	assert_int_equal(n_lost, 1);
	assert_int_equal(whole_lost, 1);
	assert_true(n_more > 10);
}

static void place_sought_is_reached_in_steps_from_wherever(void **state)
{
	struct lane *l = *state;
	struct fg_read_result found;
	uint64_t last = 0, at = 1;

	for (int k = 0; k < 3000; k++)
		last = append(l, "{\"a\":1}", 7);
	look(l);
	for (int i = 0; i < 500; i++) {
		int r;

		at = (at * 6364136223846793005u + 1442695040888963407u) % last + 1;
		fg_reader_seek(&l->reader, at);
		do {
			l->reader.work_left = 3000;
			r = fg_reader_next(&l->reader, true, &found);
		} while (r == FG_READ_MORE);
		assert_int_equal(r, FG_READ_RECORD);
		assert_int_equal(found.seq, at);
	}
}

/* Whoever asks again and again for a place behind damage gets there. */
static void place_behind_a_long_search_is_reached(void **state)
{
	struct lane *l = *state;
	struct fg_read_result found;
	unsigned n_calls = 0;
	int r;

	append(l, "{}", 2);
	append_fakes(l, 3, 5000);
	append_blank(l, 50, 10000);
	look(l);
	damage_second(l, 0, 16, "0123456789abcdef");
	do {
		fg_reader_seek(&l->reader, 40);
		l->reader.work_left = 100000;
		r = fg_reader_next(&l->reader, true, &found);
		assert_true(++n_calls < 2000);
	} while (r == FG_READ_MORE);
	assert_int_equal(r, FG_READ_RECORD);
	assert_int_equal(found.seq, 40);
	assert_true(n_calls > 20);
}

static void freed_buffer_is_made_again(void **state)
{
	struct lane *l = *state;
	struct fg_read_result found;

	append(l, "{}", 2);
	append(l, "{}", 2);
	look(l);
	assert_null(l->reader.data);
	assert_int_equal(fg_reader_next(&l->reader, true, &found), FG_READ_RECORD);
	fg_reader_free(&l->reader);
	assert_null(l->reader.data);
	/* Not without being allowed to. */
	assert_int_equal(fg_reader_next(&l->reader, false, &found), -EAGAIN);
	assert_int_equal(fg_reader_next(&l->reader, true, &found), FG_READ_RECORD);
	assert_int_equal(found.seq, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(false_claims_cost_no_more_than_a_few_looks_at_the_file),
		TEST(damaged_record_tells_where_the_next_one_is),
		TEST(no_buffer_is_made_for_what_only_claims_to_be_large),
		TEST(large_record_behind_damage_is_found),
		TEST(walk_in_steps_finds_the_same),
		TEST(place_sought_is_reached_in_steps_from_wherever),
		TEST(place_behind_a_long_search_is_reached),
		TEST(freed_buffer_is_made_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
