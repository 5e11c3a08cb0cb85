#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "local/timestamp.h"
#include "util/span.h"

#define NONE 0 /* not a time */

static void numbers_become_microseconds_by_unit_and_magnitude(void **state)
{
	static const struct {
		const char *text;
		enum fg_time_unit unit;
		int64_t us;
	} cases[] = {
		{"1700000000", FG_TIME_UNIT_AUTO, 1700000000000000},
		{"1700000000123", FG_TIME_UNIT_AUTO, 1700000000123000},
		{"1700000000123456", FG_TIME_UNIT_AUTO, 1700000000123456},
		{"1700000000123456789", FG_TIME_UNIT_AUTO, NONE}, /* nanoseconds are not offered */
		{"1700000000.5", FG_TIME_UNIT_AUTO, 1700000000500000},
		{"1700000000.123456", FG_TIME_UNIT_AUTO, 1700000000123456},
		{"1700000000.123456999999999999999999", FG_TIME_UNIT_AUTO, 1700000000123456},
		{"1700000000123.456", FG_TIME_UNIT_AUTO, 1700000000123456},
		{"1.7e9", FG_TIME_UNIT_AUTO, 1700000000000000},
		{"1.7E+12", FG_TIME_UNIT_AUTO, 1700000000000000},
		{"17000000000e-1", FG_TIME_UNIT_AUTO, 1700000000000000},
		{"0.0000000017e18", FG_TIME_UNIT_AUTO, 1700000000000000},
		{"1700000000000000000000e-12", FG_TIME_UNIT_S, 1700000000000000},
		/* the borders of magnitude: seconds below 10^11, milliseconds below 10^14 */
		{"99999999999", FG_TIME_UNIT_AUTO, NONE},
		{"100000000000", FG_TIME_UNIT_AUTO, NONE}, /* 1973 in milliseconds */
		{"631152000000", FG_TIME_UNIT_AUTO, 631152000000000},
		{"99999999999999", FG_TIME_UNIT_AUTO, NONE},
		{"100000000000000", FG_TIME_UNIT_AUTO, NONE},
		{"631152000000000", FG_TIME_UNIT_AUTO, 631152000000000},
		/* the first and the last moment */
		{"631151999", FG_TIME_UNIT_AUTO, NONE},
		{"631152000", FG_TIME_UNIT_AUTO, 631152000000000},
		{"7258118399.999999", FG_TIME_UNIT_AUTO, 7258118399999999},
		{"7258118400", FG_TIME_UNIT_AUTO, NONE},
		{"1700000000", FG_TIME_UNIT_S, 1700000000000000},
		{"1700000000", FG_TIME_UNIT_MS, NONE},
		{"1700000000000", FG_TIME_UNIT_S, NONE},
		{"1700000000000", FG_TIME_UNIT_MS, 1700000000000000},
		{"1700000000000000", FG_TIME_UNIT_US, 1700000000000000},
		{"1700000000000", FG_TIME_UNIT_US, NONE},
		{"0", FG_TIME_UNIT_AUTO, NONE},
		{"-0", FG_TIME_UNIT_AUTO, NONE},
		{"0e99999999999999999999", FG_TIME_UNIT_AUTO, NONE},
		{"1e99999999999999999999", FG_TIME_UNIT_AUTO, NONE},
		{"1e-99999999999999999999", FG_TIME_UNIT_AUTO, NONE},
		{"-1700000000", FG_TIME_UNIT_AUTO, NONE},
		{"9999999999999999999999999999", FG_TIME_UNIT_AUTO, NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t us = NONE;
		bool is_time =
			fg_timestamp_from_number(fg_span_str(cases[i].text), cases[i].unit, &us);

		if (is_time != (cases[i].us != NONE) || us != cases[i].us)
			fail_msg("%s: %lld", cases[i].text, (long long)us);
	}
}

static void iso_8601_text_becomes_microseconds(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} cases[] = {
		{"2023-11-14T22:13:20Z", 1700000000000000},
		{"2023-11-14t22:13:20z", 1700000000000000},
		{"2023-11-14 22:13:20Z", 1700000000000000},
		{"2023-11-14T22:13:20.123456Z", 1700000000123456},
		{"2023-11-14T22:13:20.1234569999Z", 1700000000123456},
		{"2023-11-14T22:13:20,5Z", 1700000000500000},
		{"2023-11-14T22:13Z", 1699999980000000},
		{"2023-11-14T23:13:20+01:00", 1700000000000000},
		{"2023-11-14T23:13:20+0100", 1700000000000000},
		{"2023-11-14T23:13:20+01", 1700000000000000},
		{"2023-11-15T03:43:20+05:30", 1700000000000000},
		{"2023-11-14T16:13:20-06:00", 1700000000000000},
		{"2023-11-15T00:13:20+02:00", 1700000000000000},
		{"2016-12-31T23:59:60Z", 1483228800000000}, /* a leap second */
		{"1990-01-01T00:00:00Z", 631152000000000},
		{"1989-12-31T23:59:59.999999Z", NONE},
		{"1990-01-01T00:00:00+01:00", NONE},
		{"2199-12-31T23:59:59.999999Z", 7258118399999999},
		{"2200-01-01T00:00:00Z", NONE},
		{"2024-02-29T00:00:00Z", 1709164800000000},
		{"2023-02-29T00:00:00Z", NONE},
		{"2100-02-29T00:00:00Z", NONE},
		{"2000-02-29T00:00:00Z", 951782400000000},
		{"2023-11-14T22:13:20", NONE}, /* no offset: whose time? */
		{"2023-11-14", NONE},
		{"2023-11-14T22Z", NONE},
		{"2023-00-14T22:13:20Z", NONE},
		{"2023-13-14T22:13:20Z", NONE},
		{"2023-11-00T22:13:20Z", NONE},
		{"2023-11-31T22:13:20Z", NONE},
		{"2023-11-14T24:00:00Z", NONE},
		{"2023-11-14T22:60:20Z", NONE},
		{"2023-11-14T22:13:61Z", NONE},
		{"2023-11-14T22:13:20.Z", NONE},
		{"2023-11-14T22:13:20+1", NONE},
		{"2023-11-14T22:13:20+24:00", NONE},
		{"2023-11-14T22:13:20+01:60", NONE},
		{"2023-11-14T22:13:20+01:", NONE},
		{"2023-11-14T22:13:20Zx", NONE},
		{"2023-11-14T22:13:20Z ", NONE},
		{" 2023-11-14T22:13:20Z", NONE},
		{"20231114T221320Z", NONE},
		{"1700000000", NONE},
		{"0000-01-01T00:00:00Z", NONE},
		{"yesterday", NONE},
		{"", NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t us = NONE;
		bool is_time = fg_timestamp_from_text(fg_span_str(cases[i].text), &us);

		if (is_time != (cases[i].us != NONE) || us != cases[i].us)
			fail_msg("%s: %lld", cases[i].text, (long long)us);
	}
	assert_false(fg_timestamp_from_text((struct fg_span){0}, &(int64_t){0}));
}

static void every_day_of_the_range_agrees_with_the_c_library(void **state)
{
	(void)state;
	for (time_t day = FG_TIMESTAMP_FIRST_US / 1000000; day < FG_TIMESTAMP_END_US / 1000000;
	     day += 86400) {
		time_t second = day + (day / 86400 * 7919) % 86400;
		struct tm utc;
		char text[40];
		int64_t us;
		size_t n;

		gmtime_r(&second, &utc);
		n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
		if (!fg_timestamp_from_text(fg_span_of(text, n), &us) ||
		    us != (int64_t)second * 1000000)
			fail_msg("%s", text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_become_microseconds_by_unit_and_magnitude),
		cmocka_unit_test(iso_8601_text_becomes_microseconds),
		cmocka_unit_test(every_day_of_the_range_agrees_with_the_c_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
