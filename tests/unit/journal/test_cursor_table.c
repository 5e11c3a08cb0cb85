#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "journal/cursor_table.h"
#include "util/bytes.h"

#define ROOM 65536

static const struct fg_left_behinds nobody = {.lowest = UINT64_MAX};
static const struct fg_ranges nothing;

/* Two cursors: one with ranges and sessions, one with neither. */
struct sample {
	struct fg_ranges ranges;
	struct fg_left_behinds left_behind;
	struct fg_cursor_table_source source;
	uint8_t bytes[ROOM];
	size_t size;
};

static int setup(void **state)
{
	static struct sample s;

	s = (struct sample){.size = 0};
	fg_ranges_init(&s.ranges, 4096);
	fg_left_behinds_init(&s.left_behind);
	fg_ranges_add(&s.ranges, 12, 19);
	fg_ranges_add(&s.ranges, 30, 30);
	fg_ranges_add(&s.ranges, 40, 99);
	fg_left_behinds_put(&s.left_behind, 5, 8);
	fg_left_behinds_put(&s.left_behind, UINT64_MAX, 25);
	s.source.cursors[0] = (struct fg_cursor_source){.name = "azure",
							.watermark = 10,
							.ranges = &s.ranges,
							.left_behind = &s.left_behind};
	s.source.cursors[1] = (struct fg_cursor_source){
		.name = "b", .watermark = 77, .ranges = &nothing, .left_behind = &nobody};
	s.source.n = 2;
	s.source.clock_ms = 1000;
	s.source.utc_us = -5;
	s.source.newest_ms = 900;
	*state = &s;
	return 0;
}

static int teardown(void **state)
{
	struct sample *s = *state;

	fg_ranges_free(&s->ranges);
	fg_left_behinds_free(&s->left_behind);
	return 0;
}

static void table_comes_back_as_it_was(void **state)
{
	struct sample *s = *state;
	struct fg_cursor_table t;
	struct fg_left_behind b;
	struct fg_range r;

	s->size = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	assert_int_equal(s->size, 2 + (13 + 5 + 3 * 16 + 2 * 16) + (13 + 1) + 24);
	assert_int_equal(fg_cursor_table_decode(s->bytes, s->size, &t), 0);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.clock_ms, 1000);
	assert_int_equal(t.utc_us, -5);
	assert_int_equal(t.newest_ms, 900);
	assert_string_equal(t.entries[0].name, "azure");
	assert_int_equal(t.entries[0].watermark, 10);
	assert_int_equal(t.entries[0].n_ranges, 3);
	assert_int_equal(t.entries[0].n_left_behind, 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(fg_cursor_entry_range(s->bytes, &t.entries[0], i, &r));
		assert_memory_equal(&r, &s->ranges.items[i], sizeof(r));
	}
	b = fg_cursor_entry_left_behind(s->bytes, &t.entries[0], 0);
	assert_int_equal(b.key, 5);
	assert_int_equal(b.from, 8);
	b = fg_cursor_entry_left_behind(s->bytes, &t.entries[0], 1);
	assert_int_equal(b.key, UINT64_MAX);
	assert_int_equal(b.from, 25);
	assert_string_equal(t.entries[1].name, "b");
	assert_int_equal(t.entries[1].watermark, 77);
	assert_int_equal(t.entries[1].n_ranges, 0);
	assert_int_equal(t.entries[1].n_left_behind, 0);
	assert_int_equal(s->source.cursors[0].n_left_out, 0);
}

static void short_room_leaves_the_smallest_ranges_out(void **state)
{
	struct sample *s = *state;
	size_t whole = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	struct fg_cursor_table t;
	struct fg_range r;

	assert_int_equal(fg_cursor_table_encode(&s->source, whole - 1, s->bytes), whole - 16);
	assert_int_equal(s->source.cursors[0].n_left_out, 1);
	assert_int_equal(fg_cursor_table_decode(s->bytes, whole - 16, &t), 0);
	assert_int_equal(t.entries[0].n_ranges, 2);
	assert_true(fg_cursor_entry_range(s->bytes, &t.entries[0], 0, &r));
	assert_int_equal(r.first, 12);
	assert_true(fg_cursor_entry_range(s->bytes, &t.entries[0], 1, &r));
	assert_int_equal(r.first, 40);
	assert_int_equal(fg_cursor_table_encode(&s->source, whole - 32, s->bytes), whole - 32);
	assert_int_equal(s->source.cursors[0].n_left_out, 9);
	assert_int_equal(fg_cursor_table_encode(&s->source, whole - 48, s->bytes), whole - 48);
	assert_int_equal(s->source.cursors[0].n_left_out, 69);
	assert_int_equal(fg_cursor_table_decode(s->bytes, whole - 48, &t), 0);
	assert_int_equal(t.entries[0].n_left_behind, 2);
}

static void of_equal_ranges_as_many_as_fit_are_written(void **state)
{
	struct sample *s = *state;
	struct fg_cursor_table t;
	size_t size;

	for (uint64_t i = 0; i < 1000; i++)
		fg_ranges_add(&s->ranges, 1000 + 2 * i, 1000 + 2 * i);
	/* No more than FG_CURSOR_TABLE_RANGES, whatever room there is. */
	size = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
	assert_int_equal(t.entries[0].n_ranges, FG_CURSOR_TABLE_RANGES);
	assert_int_equal(s->source.cursors[0].n_left_out, 1003 - FG_CURSOR_TABLE_RANGES);
	size = fg_cursor_table_encode(&s->source, size - 100 * 16, s->bytes);
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
	assert_int_equal(t.entries[0].n_ranges, FG_CURSOR_TABLE_RANGES - 100);
}

static void who_was_left_behind_is_never_forgotten(void **state)
{
	struct sample *s = *state;
	size_t whole = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	struct fg_cursor_table t;
	size_t size;

	/* Not even the sessions fit: then it is as if nothing were settled from there on. */
	size = fg_cursor_table_encode(&s->source, whole - 49, s->bytes);
	assert_int_equal(size, whole - 5 * 16);
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.entries[0].watermark, 7);
	assert_int_equal(t.entries[0].n_ranges, 0);
	assert_int_equal(t.entries[0].n_left_behind, 0);
	assert_int_equal(t.entries[1].watermark, 77);
}

static void the_largest_table_fits_what_is_told(void **state)
{
	struct sample *s = *state;
	static char names[FG_CURSORS_MAX][FG_CURSOR_NAME_MAX + 1];
	struct fg_cursor_table t;
	size_t size;

	for (uint64_t i = 0; i < 2000; i++) {
		fg_ranges_add(&s->ranges, 1000 + 2 * i, 1000 + 2 * i);
		if (i < 98)
			fg_left_behinds_put(&s->left_behind, 1000 + i, 500);
	}
	s->source.n = FG_CURSORS_MAX;
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		memset(names[i], 'a' + (int)i % 26, FG_CURSOR_NAME_MAX);
		s->source.cursors[i] = s->source.cursors[i == 0 ? 0 : 1];
		s->source.cursors[i].name = names[i];
	}
	assert_int_equal(fg_cursor_table_encode(&s->source, ROOM, s->bytes),
			 fg_cursor_table_max(100));
	size = fg_cursor_table_encode(&s->source, fg_cursor_table_min(100), s->bytes);
	assert_int_equal(size, fg_cursor_table_min(100));
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
	assert_int_equal(t.n, FG_CURSORS_MAX);
	assert_int_equal(t.entries[0].n_left_behind, 100);
	assert_int_equal(t.entries[0].n_ranges, 0);
}

static void no_cut_table_is_read_beyond_its_end(void **state)
{
	struct sample *s = *state;
	size_t size = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	struct fg_cursor_table t;

	for (size_t i = 0; i < size; i++) {
		uint8_t part[1024];

		/* At the very end of its array, where a sanitizer sees what reads on. */
		memcpy(part + sizeof(part) - i, s->bytes, i);
		/* Without its clock it is whole. */
		assert_int_equal(fg_cursor_table_decode(part + sizeof(part) - i, i, &t),
				 i == size - 24 ? 0 : -EBADMSG);
	}
	/* What follows is ignored. */
	s->bytes[size] = 9;
	assert_int_equal(fg_cursor_table_decode(s->bytes, size + 1, &t), 0);
	assert_int_equal(t.clock_ms, 1000);
}

static void absurd_counts_are_refused(void **state)
{
	struct sample *s = *state;
	size_t size = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	/* Of entries; of ranges and of sessions of the first. */
	static const size_t counts[] = {0, 2 + 1 + 5 + 8, 2 + 1 + 5 + 8 + 2};
	struct fg_cursor_table t;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint8_t good[2];

		memcpy(good, s->bytes + counts[i], 2);
		fg_put_le16(s->bytes + counts[i], 0xffff);
		assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), -EBADMSG);
		memcpy(s->bytes + counts[i], good, 2);
	}
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
}

static void names_that_cannot_be_are_left_out(void **state)
{
	static const struct {
		uint8_t size;
		const char *name;
		unsigned n;
	} rows[] = {{0, "", 0}, {3, "a\0b", 0}, {1, "a", 1}, {64, NULL, 0}, {63, NULL, 1}};
	char longest[64];
	uint8_t bytes[128];
	struct fg_cursor_table t;

	(void)state;
	memset(longest, 'n', sizeof(longest));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(bytes, 0, sizeof(bytes));
		bytes[0] = 1;
		bytes[2] = rows[i].size;
		memcpy(bytes + 3, rows[i].name ? rows[i].name : longest, rows[i].size);
		assert_int_equal(fg_cursor_table_decode(bytes, 2u + 13 + rows[i].size, &t), 0);
		assert_int_equal(t.n, rows[i].n);
	}
}

static void ranges_that_make_no_sense_say_nothing(void **state)
{
	static const struct {
		uint64_t first, last;
		bool is_range;
		uint64_t cut_first;
	} rows[] = {
		{11, 11, true, 11},        {11, 10, false, 0},
		{5, 10, false, 0},         {5, 11, true, 11},
		{0, UINT64_MAX, true, 11}, {UINT64_MAX, 0, false, 0},
		{10, 10, false, 0},        {0, 0, false, 0},
		{500, 499, false, 0},      {UINT64_MAX, UINT64_MAX, true, UINT64_MAX},
	};
	struct sample *s = *state;
	size_t size = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	struct fg_cursor_table t;
	struct fg_range r;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
		fg_put_le64(s->bytes + t.entries[0].at, rows[i].first);
		fg_put_le64(s->bytes + t.entries[0].at + 8, rows[i].last);
		assert_int_equal(fg_cursor_entry_range(s->bytes, &t.entries[0], 0, &r),
				 rows[i].is_range);
		if (!rows[i].is_range)
			continue;
		assert_int_equal(r.first, rows[i].cut_first);
		assert_int_equal(r.last, rows[i].last);
	}
}

static void clock_that_cannot_be_is_not_told(void **state)
{
	struct sample *s = *state;
	size_t size = fg_cursor_table_encode(&s->source, ROOM, s->bytes);
	struct fg_cursor_table t;

	fg_put_le64(s->bytes + size - 24, UINT64_MAX);
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
	assert_int_equal(t.clock_ms, 0);
	/* The newest message came after the table was made. */
	fg_put_le64(s->bytes + size - 24, 100);
	fg_put_le64(s->bytes + size - 8, 101);
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
	assert_int_equal(t.clock_ms, 0);
	fg_put_le64(s->bytes + size - 8, 100);
	assert_int_equal(fg_cursor_table_decode(s->bytes, size, &t), 0);
	assert_int_equal(t.clock_ms, 100);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(table_comes_back_as_it_was),
		TEST(short_room_leaves_the_smallest_ranges_out),
		TEST(of_equal_ranges_as_many_as_fit_are_written),
		TEST(who_was_left_behind_is_never_forgotten),
		TEST(the_largest_table_fits_what_is_told),
		TEST(no_cut_table_is_read_beyond_its_end),
		TEST(absurd_counts_are_refused),
		TEST(names_that_cannot_be_are_left_out),
		TEST(ranges_that_make_no_sense_say_nothing),
		TEST(clock_that_cannot_be_is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
