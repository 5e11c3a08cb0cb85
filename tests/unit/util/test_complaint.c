#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "captured.h"
#include "util/complaint.h"
#include "util/log.h"

static void a_complaint_is_said_once_and_then_at_growing_intervals(void **state)
{
	/* when it is said, in seconds, if it happens each second for three hours */
	static const int64_t expected[] = {0, 10, 70, 670, 4270, 7870};
	struct fg_complaint c = {0};
	struct captured captured;
	size_t n = 0;

	(void)state;
	fg_log_open(FG_LOG_STDERR, LOG_INFO);
	captured_begin(&captured);
	for (int64_t s = 0; s < 3 * 3600; s++) {
		/* the monotonic clock may start anywhere */
		if (!fg_complain(&c, 5000000 + s * 1000, LOG_WARNING, "broker hall2: %s", "down"))
			continue;
		if (n == 6 || s != expected[n])
			break;
		n++;
	}
	captured_end(&captured);
	assert_int_equal(n, 6);
	assert_int_equal(c.total, 3 * 3600);
	assert_int_equal(captured_lines(&captured), 6);
	assert_non_null(strstr(captured.text, "warning broker hall2: down\n"));
	assert_non_null(strstr(captured.text,
			       "warning broker hall2: down (10 times since the last such line)\n"));
	assert_non_null(
		strstr(captured.text,
		       "warning broker hall2: down (3600 times since the last such line)\n"));
}

static void the_end_is_said_once_with_how_often_it_happened(void **state)
{
	struct fg_complaint c = {0};
	struct captured captured;

	(void)state;
	fg_log_open(FG_LOG_STDERR, LOG_INFO);
	captured_begin(&captured);
	fg_complain_over(&c, "never began");
	for (int i = 0; i < 5; i++)
		fg_complain(&c, i, LOG_WARNING, "down");
	fg_complain_over(&c, "broker hall2: back");
	fg_complain_over(&c, "broker hall2: back");
	captured_end(&captured);
	assert_int_equal(captured_lines(&captured), 2);
	assert_non_null(strstr(captured.text, "notice broker hall2: back (5 times in all)\n"));
	assert_null(strstr(captured.text, "never began"));
}

static void after_its_end_a_complaint_is_said_at_once_again(void **state)
{
	struct fg_complaint c = {0};
	struct captured captured;

	(void)state;
	fg_log_open(FG_LOG_STDERR, LOG_INFO);
	captured_begin(&captured);
	assert_true(fg_complain(&c, 1000, LOG_WARNING, "down"));
	assert_false(fg_complain(&c, 1001, LOG_WARNING, "down"));
	fg_complain_over(&c, "back");
	assert_true(fg_complain(&c, 1002, LOG_WARNING, "down"));
	captured_end(&captured);
	assert_int_equal(c.total, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_complaint_is_said_once_and_then_at_growing_intervals),
		cmocka_unit_test(the_end_is_said_once_with_how_often_it_happened),
		cmocka_unit_test(after_its_end_a_complaint_is_said_at_once_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
