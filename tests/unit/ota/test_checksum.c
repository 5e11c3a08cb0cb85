#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ota/checksum.h"

static const struct {
	const char *algorithm;
	size_t size;
	const char *text;
} answers[] = {
#include "checksums.inc"
};

static uint8_t data[70000];

static int make_data(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	return 0;
}

/* @piece bytes at a time. */
static void assert_answers(size_t piece)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		enum fg_checksum_algorithm algorithm;
		struct fg_checksum *c = NULL;
		char text[FG_CHECKSUM_TEXT_SIZE];

		assert_int_equal(fg_checksum_parse(answers[i].algorithm, &algorithm), 0);
		assert_int_equal(fg_checksum_new(algorithm, &c), 0);
		for (size_t at = 0; at < answers[i].size; at += piece)
			fg_checksum_update(c, data + at,
					   answers[i].size - at < piece ? answers[i].size - at
									: piece);
		fg_checksum_final(c, text);
		if (strcmp(text, answers[i].text) != 0)
			fail_msg("%s of %zu bytes in pieces of %zu: %s", answers[i].algorithm,
				 answers[i].size, piece, text);
		assert_true(fg_checksum_is_valid(algorithm, text));
		c = fg_checksum_free(c);
		assert_null(c);
	}
}

static void checksums_are_those_of_other_implementations(void **state)
{
	(void)state;
	assert_answers(sizeof(data));
}

static void a_checksum_does_not_depend_on_the_pieces(void **state)
{
	static const size_t pieces[] = {1, 3, 5, 7, 15, 17, 64, 1000};

	(void)state;
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		assert_answers(pieces[i]);
}

static void names_are_read_in_upper_and_lower_case(void **state)
{
	static const char *const none[] = {"", "SHA1", "SHA-256", "SHA256 ", "MURMUR3", "CRC32C"};
	enum fg_checksum_algorithm algorithm = FG_CHECKSUM_MD5;

	(void)state;
	assert_int_equal(fg_checksum_parse("sha256", &algorithm), 0);
	assert_int_equal(algorithm, FG_CHECKSUM_SHA256);
	assert_int_equal(fg_checksum_parse("Murmur3_128", &algorithm), 0);
	assert_int_equal(algorithm, FG_CHECKSUM_MURMUR3_128);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(fg_checksum_parse(none[i], &algorithm), -EINVAL);
	assert_int_equal(algorithm, FG_CHECKSUM_MURMUR3_128); /* written only on success */
	for (unsigned i = 0; i < FG_CHECKSUM_ALGORITHMS; i++) {
		assert_int_equal(fg_checksum_parse(fg_checksum_name(i), &algorithm), 0);
		assert_int_equal(algorithm, i);
	}
}

static void a_text_is_a_checksum_or_not(void **state)
{
	(void)state;
	assert_true(fg_checksum_is_valid(FG_CHECKSUM_CRC32, "0123abCD"));
	assert_false(fg_checksum_is_valid(FG_CHECKSUM_CRC32, "0123abC"));
	assert_false(fg_checksum_is_valid(FG_CHECKSUM_CRC32, "0123abCD0"));
	assert_false(fg_checksum_is_valid(FG_CHECKSUM_CRC32, "0123abCg"));
	assert_false(fg_checksum_is_valid(FG_CHECKSUM_CRC32, ""));
	assert_false(fg_checksum_is_valid(FG_CHECKSUM_MD5, "0123abCD"));
	assert_true(fg_checksum_equal("0123abcd", "0123ABCD"));
	assert_false(fg_checksum_equal("0123abcd", "0123ABCE"));
	assert_false(fg_checksum_equal("0123abcd", "0123ABC"));
	assert_null(fg_checksum_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums_are_those_of_other_implementations),
		cmocka_unit_test(a_checksum_does_not_depend_on_the_pieces),
		cmocka_unit_test(names_are_read_in_upper_and_lower_case),
		cmocka_unit_test(a_text_is_a_checksum_or_not),
	};

	return cmocka_run_group_tests(tests, make_data, NULL);
}
