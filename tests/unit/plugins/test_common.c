/*
 * What the plugins share: text into a buffer of fixed size, what a packet leaves for a payload, the
 * calendar of UTC, what an answer of REST says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/packet.h"
#include "common/rest.h"
#include "common/text.h"
#include "common/utc.h"

static void assert_text(const struct fg_text *text, const char *expected)
{
	assert_false(text->is_full);
	assert_int_equal(fg_text_size(text), strlen(expected));
	assert_true(fg_span_is(fg_text_span(text), expected));
}

static void text_grows_piece_by_piece(void **state)
{
	char buffer[64];
	struct fg_text text = fg_text_begin(buffer, sizeof(buffer));

	(void)state;
	assert_text(&text, "");
	fg_put(&text, "{\"n\":");
	fg_put_number(&text, 42);
	fg_put_span(&text, fg_span_of(",\"t\":+++", 5));
	fg_put_span(&text, fg_span_str(NULL));
	fg_put_quoted(&text, fg_span_str("a\"b\n"));
	fg_put(&text, "}");
	assert_text(&text, "{\"n\":42,\"t\":\"a\\\"b\\n\"}");
}

static void numbers_are_spelled_up_to_both_ends(void **state)
{
	static const struct {
		int64_t number;
		const char *spelled;
	} cases[] = {
		{0, "0"},
		{-1, "-1"},
		{10, "10"},
		{INT64_MAX, "9223372036854775807"},
		{INT64_MIN, "-9223372036854775808"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char buffer[20];
		struct fg_text text = fg_text_begin(buffer, sizeof(buffer));

		fg_put_number(&text, cases[i].number);
		assert_text(&text, cases[i].spelled);
	}
}

static void digits_are_so_many_whatever_the_number(void **state)
{
	char buffer[32];
	struct fg_text text = fg_text_begin(buffer, sizeof(buffer));

	(void)state;
	fg_put_digits(&text, 7, 2);
	fg_put_digits(&text, 0, 1);
	fg_put_digits(&text, 2026, 4);
	fg_put_digits(&text, 123, 2);
	fg_put_digits(&text, UINT32_MAX, 10);
	assert_text(&text, "0702026234294967295");
}

static void nothing_is_written_once_something_did_not_fit(void **state)
{
	char buffer[9] = "--------";
	struct fg_text text = fg_text_begin(buffer, 4);

	(void)state;
	fg_put(&text, "abc");
	fg_put(&text, "de");
	fg_put(&text, "f");
	fg_put_number(&text, 1);
	fg_put_quoted(&text, fg_span_str(""));
	fg_put_json(&text, fg_span_str("1"));
	assert_true(text.is_full);
	assert_true(fg_span_is(fg_text_span(&text), "abc"));
	assert_string_equal(buffer, "abc-----");
}

static void a_quoted_text_fits_exactly_or_not_at_all(void **state)
{
	char buffer[9] = "--------";
	struct fg_text text = fg_text_begin(buffer, 6);

	(void)state;
	fg_put_quoted(&text, fg_span_str("\"\\")); /* six bytes */
	assert_text(&text, "\"\\\"\\\\\"");
	text = fg_text_begin(buffer, 5);
	fg_put_quoted(&text, fg_span_str("\"\\"));
	assert_true(text.is_full);
	assert_int_equal(fg_text_size(&text), 0);
}

static void json_loses_its_white_space_and_nothing_else(void **state)
{
	static const struct {
		const char *json, *written;
		bool is_finite;
	} cases[] = {
		{" { \"a b\" : [ 1 , -2.50e1 ,true\t,\r\n null ] } ",
		 "{\"a b\":[1,-2.50e1,true,null]}", true},
		{"\" NaN \\\" , Infinity\"", "\" NaN \\\" , Infinity\"", true},
		{"{\"a\\\\\" : \"\\\\\" }", "{\"a\\\\\":\"\\\\\"}", true},
		{"NaN", "\"NaN\"", false},
		{"-Infinity", "\"-Infinity\"", false},
		{"-2.50e1", "-2.50e1", true},
		{"[ Infinity,-Infinity , -1]", "[\"Infinity\",\"-Infinity\",-1]", false},
		{"{\"x\":{\"I\":NaN}}", "{\"x\":{\"I\":\"NaN\"}}", false},
		{"", "", true},
		{"  ", "", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char buffer[64];
		struct fg_text text = fg_text_begin(buffer, sizeof(buffer));
		struct fg_json_value value;
		struct fg_json_fault fault;

		fg_put_json(&text, fg_span_str(cases[i].json));
		assert_text(&text, cases[i].written);
		if (fg_json_check(fg_span_str(cases[i].json), &value, &fault) < 0)
			continue;
		assert_int_equal(fg_is_finite(value), cases[i].is_finite);
		if (!cases[i].is_finite)
			continue;
		text = fg_text_begin(buffer, sizeof(buffer));
		fg_put_finite(&text, value);
		assert_text(&text, cases[i].written);
	}
}

/* MQTT 3.1.1, 2.2.3: a byte of the Remaining Length for each 7 bits, four at most. */
static void a_remaining_length_is_the_packet_without_its_header(void **state)
{
	static const struct {
		size_t packet, remaining;
	} cases[] = {
		{0, 0},
		{1, 1},
		{2, 1},
		{3, 1},
		{129, 127},
		{130, 127},
		{131, 128},
		{16386, 16383},
		{16387, 16383},
		{16388, 16384},
		{2097155, 2097151},
		{2097157, 2097152},
		{268435460, 268435455},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(fg_remaining_length(cases[i].packet), cases[i].remaining);
}

static void a_limit_of_zero_is_none(void **state)
{
	(void)state;
	assert_int_equal(fg_least_limit(0, 0), 0);
	assert_int_equal(fg_least_limit(0, 7), 7);
	assert_int_equal(fg_least_limit(7, 0), 7);
	assert_int_equal(fg_least_limit(7, 9), 7);
	assert_int_equal(fg_least_limit(9, 7), 7);
}

static void a_payload_has_what_topic_and_packet_id_leave(void **state)
{
	static const struct {
		size_t payload_size, max_packet_bytes, remaining_length;
		unsigned mqtt_version;
		size_t limit;
	} cases[] = {
		{100, 0, 0, 4, 100},  {100, 107, 0, 4, 100}, {100, 106, 0, 4, 99},
		{100, 106, 0, 5, 98}, {100, 0, 50, 4, 43},   {100, 60, 50, 4, 43},
		{100, 50, 60, 4, 43}, {100, 0, 50, 5, 42},   {100, 0, 8, 4, 1},
		{100, 0, 7, 4, 0},    {100, 0, 1, 5, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct fg_publish out = {
			.payload_size = cases[i].payload_size,
			.max_packet_bytes = cases[i].max_packet_bytes,
		};

		assert_int_equal(fg_payload_limit(&out, "a/b", cases[i].mqtt_version,
						  cases[i].remaining_length),
				 cases[i].limit);
	}
}

/* ------------------------------------------------------------------ the calendar */

#define US_PER_DAY ((int64_t)86400 * 1000000)
#define FIRST_OF_1000 (-354285 * US_PER_DAY)
#define FIRST_OF_10000 (2932897 * US_PER_DAY)

static void assert_utc(int64_t time_us, const char *expected)
{
	struct fg_utc utc;
	char is[96];

	assert_true(fg_utc_of(time_us, &utc));
	snprintf(is, sizeof(is), "%04u-%02u-%02u %02u:%02u:%02u.%06u", utc.year, utc.month, utc.day,
		 utc.hour, utc.minute, utc.second, utc.microsecond);
	assert_string_equal(is, expected);
}

static void hours_days_and_leap_days_begin_where_they_do(void **state)
{
	(void)state;
	assert_utc(0, "1970-01-01 00:00:00.000000");
	assert_utc(-1, "1969-12-31 23:59:59.999999");
	assert_utc(1773568799999999, "2026-03-15 09:59:59.999999");
	assert_utc(1773568800000000, "2026-03-15 10:00:00.000000");
	assert_utc(1709251199000000, "2024-02-29 23:59:59.000000");
	assert_utc(1709251200000000, "2024-03-01 00:00:00.000000");
	assert_utc(951782400000000, "2000-02-29 00:00:00.000000");
	assert_utc(4107542400000000, "2100-03-01 00:00:00.000000");
	/* The leap second between them has no number of its own. */
	assert_utc(1483228799000000, "2016-12-31 23:59:59.000000");
	assert_utc(1483228800000000, "2017-01-01 00:00:00.000000");
}

static void a_year_has_four_digits(void **state)
{
	struct fg_utc utc;

	(void)state;
	assert_utc(FIRST_OF_1000, "1000-01-01 00:00:00.000000");
	assert_utc(FIRST_OF_10000 - 1, "9999-12-31 23:59:59.999999");
	assert_false(fg_utc_of(FIRST_OF_1000 - 1, &utc));
	assert_false(fg_utc_of(FIRST_OF_10000, &utc));
	assert_false(fg_utc_of(INT64_MIN, &utc));
	assert_false(fg_utc_of(INT64_MAX, &utc));
}

static void every_day_of_nine_thousand_years_is_the_one_of_the_c_library(void **state)
{
	struct fg_utc utc;
	time_t seconds;
	struct tm tm;

	(void)state;
	setenv("TZ", "UTC0", 1);
	tzset();
	for (int64_t at = FIRST_OF_1000; at < FIRST_OF_10000; at += US_PER_DAY) {
		seconds = at / 1000000;
		assert_non_null(gmtime_r(&seconds, &tm));
		if (!fg_utc_of(at, &utc) || utc.year != (unsigned)tm.tm_year + 1900 ||
		    utc.month != (unsigned)tm.tm_mon + 1 || utc.day != (unsigned)tm.tm_mday)
			fail_msg("the day that begins at %lld s", (long long)seconds);
	}
	unsetenv("TZ");
	tzset();
}

static void a_date_is_the_moment_it_was_made_of(void **state)
{
	const struct fg_utc leap_second = {2016, 12, 31, 23, 59, 60, 5};
	struct fg_utc utc;
	int64_t back;

	(void)state;
	for (int64_t at = FIRST_OF_1000 + 1234567; at < FIRST_OF_10000;
	     at += US_PER_DAY + 12345678) {
		assert_true(fg_utc_of(at, &utc));
		if (!fg_utc_to(&utc, &back) || back != at)
			fail_msg("%lld us", (long long)at);
	}
	assert_true(fg_utc_to(&leap_second, &back));
	assert_int_equal(back, INT64_C(1483228800000005));
}

static void what_is_no_date_is_refused(void **state)
{
	static const struct fg_utc dates[] = {
		{999, 12, 31, 0, 0, 0, 0},   {10000, 1, 1, 0, 0, 0, 0},
		{2026, 0, 1, 0, 0, 0, 0},    {2026, 13, 1, 0, 0, 0, 0},
		{2026, 1, 0, 0, 0, 0, 0},    {2026, 1, 32, 0, 0, 0, 0},
		{2026, 2, 29, 0, 0, 0, 0},   {2024, 2, 30, 0, 0, 0, 0},
		{2026, 4, 31, 0, 0, 0, 0},   {2026, 1, 1, 24, 0, 0, 0},
		{2026, 1, 1, 0, 60, 0, 0},   {2026, 1, 1, 0, 0, 60, 0},
		{2026, 1, 1, 23, 59, 61, 0}, {2026, 1, 1, 0, 0, 0, 1000000},
	};
	int64_t time_us;

	(void)state;
	for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++)
		if (fg_utc_to(&dates[i], &time_us))
			fail_msg("date %zu", i);
}

/* ------------------------------------------------------------------ answers of REST */

static void what_goes_into_an_url_is_escaped(void **state)
{
	char buffer[64];
	struct fg_text text = fg_text_begin(buffer, sizeof(buffer));

	(void)state;
	fg_put_escaped(&text, fg_span_of("pump 4/\xc3\xa4&x=1%\0~", 16));
	assert_text(&text, "pump%204%2F%C3%A4%26x%3D1%25%00~");
}

static void plain_text_cannot_break_out_of_a_header_or_a_path(void **state)
{
	static const char *const others[] = {"",     "a b", "a\r\nb: c", "a/b",  "..?",     "a#",
					     "a%20", "\"",  "\\",        "\x7f", "\xc3\xa4"};

	(void)state;
	assert_true(fg_is_plain(fg_span_str("784f394c-42b6_x.Y+z=")));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(fg_is_plain(fg_span_str(others[i])));
}

static void a_plain_member_is_a_text_of_an_object(void **state)
{
	static const struct {
		const char *json, *plain; /* NULL: none */
	} cases[] = {
		{"{\"id\":\"x-1\"}", "x-1"},      {"{\"id\":\"\"}", NULL},  {"{\"id\":1}", NULL},
		{"{\"id\":\"a\\u000ab\"}", NULL}, {"{\"di\":\"x\"}", NULL}, {"[\"id\"]", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_span found = {0};
		struct fg_json_value value;
		struct fg_json_fault fault;

		assert_int_equal(fg_json_check(fg_span_str(cases[i].json), &value, &fault), 0);
		assert_int_equal(fg_plain_member(value, "id", &found), cases[i].plain != NULL);
		assert_true(fg_span_is(found, cases[i].plain));
	}
}

static void a_value_is_the_same_however_its_number_is_spelled(void **state)
{
	static const struct {
		const char *sent, *kept;
		bool is_same;
	} cases[] = {
		{"21.50", "21.5", true},  {"1e2", "100", true},      {"true", "true", true},
		{"\"a\"", "\"a\"", true}, {"1", "2", false},         {"1", "\"1\"", false},
		{"true", "1", false},     {"\"a\"", "\"b\"", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_json_value sent, kept;
		struct fg_json_fault fault;

		assert_int_equal(fg_json_check(fg_span_str(cases[i].sent), &sent, &fault), 0);
		assert_int_equal(fg_json_check(fg_span_str(cases[i].kept), &kept, &fault), 0);
		if (fg_is_same_value(sent, kept) != cases[i].is_same)
			fail_msg("%s and %s", cases[i].sent, cases[i].kept);
	}
}

static void what_is_said_is_cut_where_it_is_too_long(void **state)
{
	struct fg_rest_result result = {0};

	(void)state;
	assert_int_equal(
		fg_rest_say(&result, FG_REST_AGAIN, FG_REST_FAULT_LIMIT, "%d: %0400d", 7, 0),
		FG_REST_AGAIN);
	assert_int_equal(result.fault, FG_REST_FAULT_LIMIT);
	assert_int_equal(strlen(result.text), sizeof(result.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_grows_piece_by_piece),
		cmocka_unit_test(numbers_are_spelled_up_to_both_ends),
		cmocka_unit_test(digits_are_so_many_whatever_the_number),
		cmocka_unit_test(nothing_is_written_once_something_did_not_fit),
		cmocka_unit_test(a_quoted_text_fits_exactly_or_not_at_all),
		cmocka_unit_test(json_loses_its_white_space_and_nothing_else),
		cmocka_unit_test(a_remaining_length_is_the_packet_without_its_header),
		cmocka_unit_test(a_limit_of_zero_is_none),
		cmocka_unit_test(a_payload_has_what_topic_and_packet_id_leave),
		cmocka_unit_test(hours_days_and_leap_days_begin_where_they_do),
		cmocka_unit_test(a_year_has_four_digits),
		cmocka_unit_test(every_day_of_nine_thousand_years_is_the_one_of_the_c_library),
		cmocka_unit_test(a_date_is_the_moment_it_was_made_of),
		cmocka_unit_test(what_is_no_date_is_refused),
		cmocka_unit_test(what_goes_into_an_url_is_escaped),
		cmocka_unit_test(plain_text_cannot_break_out_of_a_header_or_a_path),
		cmocka_unit_test(a_plain_member_is_a_text_of_an_object),
		cmocka_unit_test(a_value_is_the_same_however_its_number_is_spelled),
		cmocka_unit_test(what_is_said_is_cut_where_it_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
