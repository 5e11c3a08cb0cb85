#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "config/rates.h"

static void rates_are_read_in_either_form(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		struct fg_rate rates[3];
	} cases[] = {
		{"20/s", 1, {{20, 1000}}},
		{"600/min", 1, {{600, 60000}}},
		{"5/h", 1, {{5, 3600000}}},
		{"1/d", 1, {{1, 86400000}}},
		{"20:1", 1, {{20, 1000}}},
		{"20:1,600:60", 2, {{20, 1000}, {600, 60000}}},
		{"20/s, 600:60,  1000/h", 3, {{20, 1000}, {600, 60000}, {1000, 3600000}}},
		{"1000000000:86400", 1, {{1000000000, 86400000}}},
		{"007/s", 1, {{7, 1000}}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_rate rates[FG_RATES_MAX];
		size_t n = 0;

		if (fg_rates_parse(cases[i].text, rates, &n) < 0 || n != cases[i].n)
			fail_msg("%s: %zu rates", cases[i].text, n);
		for (size_t k = 0; k < n; k++) {
			assert_int_equal(rates[k].capacity, cases[i].rates[k].capacity);
			assert_int_equal(rates[k].period_ms, cases[i].rates[k].period_ms);
		}
	}
}

static void what_is_no_rate_is_told_from_one_out_of_bounds(void **state)
{
	static const struct {
		const char *text;
		int result;
	} cases[] = {
		{"", -EINVAL},
		{"20", -EINVAL},
		{"/s", -EINVAL},
		{"20/", -EINVAL},
		{"20/sec", -EINVAL},
		{"20/S", -EINVAL},
		{"20 /s", -EINVAL},
		{"20/s ", -EINVAL},
		{"20/s,", -EINVAL},
		{",20/s", -EINVAL},
		{"20/s;5/h", -EINVAL},
		{"-1/s", -EINVAL},
		{"1.5/s", -EINVAL},
		{"20:", -EINVAL},
		{"20:s", -EINVAL},
		{"20:1/s", -EINVAL},
		{"0/s", -ERANGE},
		{"20:0", -ERANGE},
		{"20:86401", -ERANGE},
		{"1000000001/s", -ERANGE},
		{"4294967296/s", -ERANGE},
		{"99999999999999999999999999/s", -ERANGE},
		{"20/s,0/h", -ERANGE},
		{"1:1,2:2,3:3,4:4,5:5,6:6,7:7,8:8,9:9", -E2BIG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_rate rates[FG_RATES_MAX];
		size_t n = 0;
		int r = fg_rates_parse(cases[i].text, rates, &n);

		if (r != cases[i].result)
			fail_msg("%s: %d", cases[i].text, r);
		assert_true(n <= FG_RATES_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_are_read_in_either_form),
		cmocka_unit_test(what_is_no_rate_is_told_from_one_out_of_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
