#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "util/crc32c.h"

static void the_vectors_of_rfc_3720_come_out(void **state)
{
	static const unsigned char scsi_read[48] = {
		0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, 0x28, [40] = 0x02,
	};
	unsigned char bytes[32];

	(void)state;
	memset(bytes, 0, 32);
	assert_int_equal(fg_crc32c_portable(0, bytes, 32), 0x8a9136aa);
	assert_int_equal(fg_crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	assert_int_equal(fg_crc32c_portable(0, bytes, 32), 0x62a8ab43);
	assert_int_equal(fg_crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned char i = 0; i < 32; i++)
		bytes[i] = i;
	assert_int_equal(fg_crc32c_portable(0, bytes, 32), 0x46dd794e);
	assert_int_equal(fg_crc32c(0, bytes, 32), 0x46dd794e);
	for (unsigned char i = 0; i < 32; i++)
		bytes[i] = (unsigned char)(31 - i);
	assert_int_equal(fg_crc32c_portable(0, bytes, 32), 0x113fdb5c);
	assert_int_equal(fg_crc32c(0, bytes, 32), 0x113fdb5c);
	assert_int_equal(fg_crc32c_portable(0, scsi_read, 48), 0xd9963a56);
	assert_int_equal(fg_crc32c(0, scsi_read, 48), 0xd9963a56);
	assert_int_equal(fg_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(fg_crc32c(0, "", 0), 0);
	assert_int_equal(fg_crc32c_portable(0, "", 0), 0);
}

static void both_ways_agree_at_every_size_and_alignment(void **state)
{
	unsigned char bytes[400];
	uint32_t x = 12345;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (unsigned char)(x >> 24);
	}
	for (size_t at = 0; at < 9; at++)
		for (size_t size = 0; size < 300; size++)
			assert_int_equal(fg_crc32c((uint32_t)size, bytes + at, size),
					 fg_crc32c_portable((uint32_t)size, bytes + at, size));
}

static void a_sum_can_be_continued_at_any_place(void **state)
{
	static const char text[] = "the record's header, then its parts, then its body";
	size_t size = sizeof(text) - 1;

	(void)state;
	for (size_t at = 0; at <= size; at++) {
		uint32_t crc = fg_crc32c(0, text, at);

		assert_int_equal(fg_crc32c(crc, text + at, size - at), fg_crc32c(0, text, size));
		assert_int_equal(fg_crc32c_portable(crc, text + at, size - at),
				 fg_crc32c(0, text, size));
	}
}

static void one_flipped_bit_is_always_seen(void **state)
{
	unsigned char bytes[64] = {0};
	uint32_t whole = fg_crc32c(0, bytes, sizeof(bytes));

	(void)state;
	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_not_equal(fg_crc32c(0, bytes, sizeof(bytes)), whole);
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_rfc_3720_come_out),
		cmocka_unit_test(both_ways_agree_at_every_size_and_alignment),
		cmocka_unit_test(a_sum_can_be_continued_at_any_place),
		cmocka_unit_test(one_flipped_bit_is_always_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
