#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/utf8.h"

/* RFC 3629, section 4, taken literally: the oracle. */
static size_t expected_size(const unsigned char *p, size_t n)
{
	static const struct {
		unsigned char size, first[2], second[2];
	} forms[] = {
		{1, {0x00, 0x7f}, {0, 0}},       {2, {0xc2, 0xdf}, {0x80, 0xbf}},
		{3, {0xe0, 0xe0}, {0xa0, 0xbf}}, {3, {0xe1, 0xec}, {0x80, 0xbf}},
		{3, {0xed, 0xed}, {0x80, 0x9f}}, {3, {0xee, 0xef}, {0x80, 0xbf}},
		{4, {0xf0, 0xf0}, {0x90, 0xbf}}, {4, {0xf1, 0xf3}, {0x80, 0xbf}},
		{4, {0xf4, 0xf4}, {0x80, 0x8f}},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t k;

		if (p[0] < forms[i].first[0] || p[0] > forms[i].first[1] || n < forms[i].size)
			continue;
		if (forms[i].size > 1 && (p[1] < forms[i].second[0] || p[1] > forms[i].second[1]))
			continue;
		for (k = 2; k < forms[i].size && p[k] >= 0x80 && p[k] <= 0xbf; k++)
			;
		if (k >= forms[i].size)
			return forms[i].size;
	}
	return 0;
}

static void every_pair_of_leading_bytes_is_judged_as_in_rfc_3629(void **state)
{
	static const unsigned char tails[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
	unsigned char text[4];

	(void)state;
	for (unsigned first = 0; first < 256; first++)
		for (unsigned second = 0; second < 256; second++)
			for (size_t third = 0; third < sizeof(tails); third++)
				for (size_t fourth = 0; fourth < sizeof(tails); fourth++)
					for (size_t size = 1; size <= 4; size++) {
						text[0] = (unsigned char)first;
						text[1] = (unsigned char)second;
						text[2] = tails[third];
						text[3] = tails[fourth];
						if (fg_utf8_character((char *)text,
								      (char *)text + size) !=
						    expected_size(text, size))
							fail_msg("%02x %02x %02x %02x, size %zu",
								 text[0], text[1], text[2], text[3],
								 size);
					}
}

static void every_scalar_value_can_be_written_and_is_well_formed(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0x10ffff; code++) {
		char text[4];
		size_t n;

		if (code >= 0xd800 && code <= 0xdfff)
			continue;
		n = fg_utf8_put(text, code);
		if (fg_utf8_character(text, text + n) != n)
			fail_msg("U+%04X", code);
	}
}

static void a_fault_is_found_wherever_it_stands_in_a_long_text(void **state)
{
	char text[40];

	(void)state;
	for (size_t size = 1; size <= sizeof(text); size++)
		for (size_t at = 0; at < size; at++) {
			char *exact = malloc(size);

			assert_non_null(exact);
			memset(exact, 'a', size);
			assert_true(fg_utf8_ok(fg_span_of(exact, size)));
			exact[at] = (char)0x80;
			assert_false(fg_utf8_ok(fg_span_of(exact, size)));
			free(exact);
		}
}

static void an_empty_text_is_well_formed(void **state)
{
	(void)state;
	assert_true(fg_utf8_ok((struct fg_span){0}));
	assert_true(fg_utf8_ok(fg_span_str("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_of_leading_bytes_is_judged_as_in_rfc_3629),
		cmocka_unit_test(every_scalar_value_can_be_written_and_is_well_formed),
		cmocka_unit_test(a_fault_is_found_wherever_it_stands_in_a_long_text),
		cmocka_unit_test(an_empty_text_is_well_formed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
