#include "support.h"

#include <errno.h>
#include <string.h>

#include "journal/segment.h"
#include "util/bytes.h"
#include "util/crc32c.h"

static void header_comes_back_as_it_was(void **state)
{
	struct fg_segment_header out, in = {
					      .first_seq = 0x1234,
					      .made_us = 99,
					      .id = {1, 2, 3},
					      .table = (const uint8_t *)"\0\0",
					      .table_size = 2,
				      };
	uint8_t bytes[FG_SEGMENT_HEADER_BYTES];

	(void)state;
	assert_int_equal(fg_segment_header_encode(&in, bytes), sizeof(bytes));
	assert_int_equal(fg_segment_header_claimed_size(bytes), sizeof(bytes));
	assert_int_equal(fg_segment_header_decode(bytes, sizeof(bytes), &out), 0);
	assert_int_equal(out.first_seq, 0x1234);
	assert_int_equal(out.made_us, 99);
	assert_memory_equal(out.id, in.id, 16);
	assert_int_equal(out.table_size, 2);
	for (size_t i = 0; i < sizeof(bytes); i += 3) {
		bytes[i] ^= 0x40;
		assert_int_equal(fg_segment_header_decode(bytes, sizeof(bytes), &out), -EBADMSG);
		bytes[i] ^= 0x40;
	}
	assert_int_equal(fg_segment_header_decode(bytes, sizeof(bytes) - 1, &out), -EBADMSG);
}

static void header_is_as_large_as_its_table(void **state)
{
	static uint8_t table[FG_SEGMENT_TABLE_MAX], bytes[FG_SEGMENT_HEADER_MAX];
	static const struct {
		size_t table_size, size;
	} cases[] = {{0, 4096},
		     {4032, 4096},
		     {4033, 8192},
		     {FG_SEGMENT_TABLE_MAX - 4096, FG_SEGMENT_HEADER_MAX - 4096},
		     {FG_SEGMENT_TABLE_MAX, FG_SEGMENT_HEADER_MAX}};

	(void)state;
	memset(table, 0xab, sizeof(table));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_segment_header out, in = {.first_seq = 7, .table = table};
		size_t size;

		in.table_size = cases[i].table_size;
		memset(bytes, 0xee, sizeof(bytes));
		size = fg_segment_header_encode(&in, bytes);
		assert_int_equal(size, cases[i].size);
		assert_int_equal(fg_segment_header_claimed_size(bytes), size);
		assert_int_equal(fg_segment_header_decode(bytes, size, &out), 0);
		assert_int_equal(out.size, size);
		assert_int_equal(out.table_size, in.table_size);
		if (out.table_size > 0)
			assert_memory_equal(out.table, table, out.table_size);
		/* Made in place, it comes out the same; and a byte more would not fit. */
		in.table = bytes + FG_SEGMENT_TABLE_AT;
		assert_int_equal(fg_segment_header_encode(&in, bytes), size);
		assert_int_equal(fg_segment_header_decode(bytes, size, &out), 0);
		bytes[size - 1] ^= 1;
		assert_int_equal(fg_segment_header_decode(bytes, size, &out), -EBADMSG);
	}
}

static void wild_header_sizes_are_refused(void **state)
{
	static const uint16_t sizes[] = {0, 1, 64, 4095, 4097, 65535};
	struct fg_segment_header in = {.first_seq = 7};
	uint8_t bytes[FG_SEGMENT_HEADER_BYTES];

	(void)state;
	fg_segment_header_encode(&in, bytes);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		fg_put_le16(bytes + 14, sizes[i]);
		assert_int_equal(fg_segment_header_claimed_size(bytes), 0);
	}
}

static void header_that_says_the_impossible_is_refused(void **state)
{
	struct fg_segment_header in = {.first_seq = 7}, out;
	uint8_t bytes[FG_SEGMENT_HEADER_BYTES];

	(void)state;
	/* The CRC is right each time. */
	fg_segment_header_encode(&in, bytes);
	fg_put_le32(bytes + 56, FG_SEGMENT_HEADER_BYTES - FG_SEGMENT_TABLE_AT + 1);
	fg_put_le32(bytes + 8, fg_crc32c(0, bytes + 12, sizeof(bytes) - 12));
	assert_int_equal(fg_segment_header_decode(bytes, sizeof(bytes), &out), -EBADMSG);
	in.first_seq = 0;
	fg_segment_header_encode(&in, bytes);
	assert_int_equal(fg_segment_header_decode(bytes, sizeof(bytes), &out), -EBADMSG);
}

static void names_are_told_apart(void **state)
{
	static const struct {
		const char *name;
		enum fg_segment_name kind;
	} table[] = {
		{"000000000000002a.seg", FG_SEGMENT_NAME_SEGMENT},
		{"000000000000002a.seg.damaged", FG_SEGMENT_NAME_DAMAGED},
		{"000000000000002a.seg.damaged2", FG_SEGMENT_NAME_DAMAGED},
		{"000000000000002a.passed", FG_SEGMENT_NAME_PASSED},
		{"000000000000002a.passed2", FG_SEGMENT_NAME_OTHER},
		{"000000000000002A.seg", FG_SEGMENT_NAME_OTHER},
		{"000000000000002a.seg~", FG_SEGMENT_NAME_OTHER},
		{"000000000000002a.tmp", FG_SEGMENT_NAME_OTHER},
		{"00000000000002a.seg", FG_SEGMENT_NAME_OTHER},
		{"next.tmp", FG_SEGMENT_NAME_OTHER},
		{"", FG_SEGMENT_NAME_OTHER},
	};
	uint64_t seq;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		seq = 0;
		assert_int_equal(fg_segment_name_parse(table[i].name, &seq), table[i].kind);
		if (table[i].kind != FG_SEGMENT_NAME_OTHER)
			assert_int_equal(seq, 42);
	}
}

static void segment_is_found_by_sequence_number(void **state)
{
	struct fg_segments l;

	(void)state;
	fg_segments_init(&l, NULL, "main", 1 << 20);
	assert_int_equal(fg_segments_find(&l, 5), -1);
	for (uint64_t i = 1; i <= 100; i++) {
		assert_int_equal(fg_segments_reserve(&l), 0);
		fg_segments_add(&l, i * 10, 4096, 4096, 5000);
	}
	l.end_seq = 1005;
	assert_int_equal(fg_segments_find(&l, 9), -1);
	assert_int_equal(fg_segments_find(&l, 10), 0);
	assert_int_equal(fg_segments_find(&l, 19), 0);
	assert_int_equal(fg_segments_find(&l, 20), 1);
	assert_int_equal(fg_segments_find(&l, 99999), 99);
	assert_int_equal(fg_segments_end_seq(&l, 0), 20);
	assert_int_equal(fg_segments_end_seq(&l, 99), 1005);
	assert_int_equal(fg_segments_bytes(&l), 500000);
	fg_segments_drop_oldest(&l);
	assert_int_equal(fg_segments_find(&l, 20), 0);
	/* An empty segment is replaced by the one that is made in its place. */
	assert_int_equal(fg_segments_reserve(&l), 0);
	fg_segments_add(&l, 1000, 8192, 8192, 9000);
	assert_int_equal(l.n, 99);
	assert_int_equal(l.items[98]->header_bytes, 8192);
	fg_segments_free(&l);
}

static void closest_mark_before_is_found(void **state)
{
	struct fg_segments l;
	struct fg_segment s = {.first_seq = 100, .header_bytes = 8192};
	uint64_t offset, seq;

	(void)state;
	fg_segments_init(&l, NULL, "main", 64 * 1000);
	fg_segment_mark_find(&s, 150, &offset, &seq);
	assert_int_equal(offset, 8192);
	assert_int_equal(seq, 100);
	fg_segment_mark_set(&l, &s, 9000, 120);
	fg_segment_mark_set(&l, &s, 9500, 130); /* same part: the first one counts */
	fg_segment_mark_set(&l, &s, 16000, 180);
	fg_segment_mark_set(&l, &s, 70000, 900); /* beyond the last part */
	fg_segment_mark_find(&s, 150, &offset, &seq);
	assert_int_equal(offset, 9000);
	assert_int_equal(seq, 120);
	fg_segment_mark_find(&s, 1000, &offset, &seq);
	assert_int_equal(seq, 180);
	fg_segment_mark_find(&s, 119, &offset, &seq);
	assert_int_equal(seq, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_comes_back_as_it_was),
		cmocka_unit_test(header_is_as_large_as_its_table),
		cmocka_unit_test(wild_header_sizes_are_refused),
		cmocka_unit_test(header_that_says_the_impossible_is_refused),
		cmocka_unit_test(names_are_told_apart),
		cmocka_unit_test(segment_is_found_by_sequence_number),
		cmocka_unit_test(closest_mark_before_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
