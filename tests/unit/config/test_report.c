#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "util/cleanup.h"

static void lines_come_in_order_of_file_line_and_column(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	static const struct fg_place places[] = {
		{"b.yaml", 1, 1},  {"a.yaml", 10, 2}, {"a.yaml", 10, 2},
		{"a.yaml", 9, 30}, {"a.yaml", 9, 4},  {"a.yaml", 0, 0},
	};
	static const char *const expected[] = {
		"nowhere",
		"a.yaml: text 5",
		"a.yaml:9:4: text 4",
		"a.yaml:9:30: text 3",
		"a.yaml:10:2: text 1",
		"a.yaml:10:2: text 2",
		"b.yaml:1:1: text 0",
	};

	(void)state;
	assert_non_null(report);
	assert_int_equal(fg_report_count(report), 0);
	for (size_t i = 0; i < 6; i++)
		fg_report_add(report, &places[i], "text %zu", i);
	fg_report_add(report, NULL, "nowhere");
	assert_int_equal(fg_report_count(report), 7);
	for (size_t i = 0; i < 7; i++)
		assert_string_equal(fg_report_line(report, i), expected[i]);
}

static void a_line_break_in_a_text_does_not_forge_a_line(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	struct fg_place place = {"a.yaml", 1, 2};

	(void)state;
	assert_non_null(report);
	fg_report_add(report, &place, "got \"%s\"", "x\nb.yaml:1:1: \033[31mgone\177");
	assert_string_equal(fg_report_line(report, 0),
			    "a.yaml:1:2: got \"x?b.yaml:1:1: ?[31mgone?\"");
}

static void a_line_that_is_too_long_is_cut(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	char text[3000];
	struct fg_place place = {text, 1, 2};

	(void)state;
	assert_non_null(report);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	fg_report_add(report, NULL, "%s", text);
	fg_report_add(report, &place, "%s", text);
	assert_int_equal(strlen(fg_report_line(report, 0)), 1023);
	assert_int_equal(strlen(fg_report_line(report, 1)), 1023);
}

static void mistakes_beyond_the_bound_are_counted(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	struct fg_place place = {"a.yaml", 1, 1};

	(void)state;
	assert_non_null(report);
	for (int i = 0; i < 1234; i++)
		fg_report_add(report, &place, "text");
	assert_int_equal(fg_report_count(report), 1001);
	assert_string_equal(fg_report_line(report, 999), "a.yaml:1:1: text");
	assert_string_equal(fg_report_line(report, 1000), "234 more mistakes are not shown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_come_in_order_of_file_line_and_column),
		cmocka_unit_test(a_line_break_in_a_text_does_not_forge_a_line),
		cmocka_unit_test(a_line_that_is_too_long_is_cut),
		cmocka_unit_test(mistakes_beyond_the_bound_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
