#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/units.h"
#include "util/url.h"

static void durations_and_sizes_are_read_with_their_unit(void **state)
{
	static const struct {
		const char *text;
		int (*parse)(const char *text, int64_t *ret);
		int result;
		int64_t value;
	} cases[] = {
		{"30s", fg_duration_parse, 0, 30000},
		{"250ms", fg_duration_parse, 0, 250},
		{"5min", fg_duration_parse, 0, 300000},
		{"2h", fg_duration_parse, 0, 7200000},
		{"7d", fg_duration_parse, 0, 604800000},
		{"0s", fg_duration_parse, 0, 0},
		{"0", fg_duration_parse, -EINVAL, 0},
		{"60", fg_duration_parse, -EINVAL, 0},
		{"", fg_duration_parse, -EINVAL, 0},
		{"s", fg_duration_parse, -EINVAL, 0},
		{"30 s", fg_duration_parse, -EINVAL, 0},
		{"-30s", fg_duration_parse, -EINVAL, 0},
		{"1.5h", fg_duration_parse, -EINVAL, 0},
		{"1h30min", fg_duration_parse, -EINVAL, 0},
		{"30S", fg_duration_parse, -EINVAL, 0},
		{"30sec", fg_duration_parse, -EINVAL, 0},
		{"9223372036854775807ms", fg_duration_parse, 0, INT64_MAX},
		{"9223372036854775808ms", fg_duration_parse, -ERANGE, 0},
		{"106751991168d", fg_duration_parse, -ERANGE, 0},
		{"64MiB", fg_size_parse, 0, 64 << 20},
		{"2GiB", fg_size_parse, 0, INT64_C(2) << 30},
		{"512B", fg_size_parse, 0, 512},
		{"1KiB", fg_size_parse, 0, 1024},
		{"16TiB", fg_size_parse, 0, INT64_C(16) << 40},
		{"2GB", fg_size_parse, -EINVAL, 0},
		{"2G", fg_size_parse, -EINVAL, 0},
		{"2", fg_size_parse, -EINVAL, 0},
		{"8388608TiB", fg_size_parse, -ERANGE, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t value = 0;
		int r = cases[i].parse(cases[i].text, &value);

		if (r != cases[i].result || value != cases[i].value)
			fail_msg("%s: %d, %lld", cases[i].text, r, (long long)value);
	}
}

static void numbers_are_printed_with_the_largest_unit_that_fits(void **state)
{
	char out[FG_UNITS_TEXT_BYTES];

	(void)state;
	assert_string_equal(fg_duration_text(0, out), "0s");
	assert_string_equal(fg_duration_text(1, out), "1ms");
	assert_string_equal(fg_duration_text(90000, out), "90s");
	assert_string_equal(fg_duration_text(1200000, out), "20min");
	assert_string_equal(fg_duration_text(604800000, out), "7d");
	assert_string_equal(fg_size_text(0, out), "0B");
	assert_string_equal(fg_size_text(1025, out), "1025B");
	assert_string_equal(fg_size_text(INT64_C(2) << 30, out), "2GiB");
	assert_string_equal(fg_size_text(INT64_MAX, out), "9223372036854775807B");
}

static void urls_are_taken_apart(void **state)
{
	static const struct {
		const char *text;
		int result;
		bool is_tls;
		const char *host;
		unsigned port;
	} cases[] = {
		{"mqtt://10.0.0.5", 0, false, "10.0.0.5", 1883},
		{"mqtts://tb.example.com", 0, true, "tb.example.com", 8883},
		{"mqtts://tb.example.com/", 0, true, "tb.example.com", 8883},
		{"mqtts://tb.example.com:443/", 0, true, "tb.example.com", 443},
		{"mqtt://h:1", 0, false, "h", 1},
		{"mqtt://h:65535", 0, false, "h", 65535},
		{"mqtt://[::1]", 0, false, "::1", 1883},
		{"mqtts://[2001:db8::1]:884", 0, true, "2001:db8::1", 884},
		{"mqtt://h:0", -EINVAL, false, "", 0},
		{"mqtt://h:65536", -EINVAL, false, "", 0},
		{"mqtt://h:99999999999999999999", -EINVAL, false, "", 0},
		{"mqtt://h:", -EINVAL, false, "", 0},
		{"mqtt://h:/", -EINVAL, false, "", 0},
		{"mqtt://h:12a", -EINVAL, false, "", 0},
		{"mqtt://h:1883/path", -EINVAL, false, "", 0},
		{"mqtt://h/path", -EINVAL, false, "", 0},
		{"mqtt://h?x", -EINVAL, false, "", 0},
		{"mqtt://", -EINVAL, false, "", 0},
		{"mqtt:///", -EINVAL, false, "", 0},
		{"mqtt://:1883", -EINVAL, false, "", 0},
		{"mqtt://-h", -EINVAL, false, "", 0},
		{"mqtt://h h", -EINVAL, false, "", 0},
		{"mqtt://[::1", -EINVAL, false, "", 0},
		{"mqtt://[::g]", -EINVAL, false, "", 0},
		{"mqtt://[::1]x", -EINVAL, false, "", 0},
		{"mqtt://::1", -EINVAL, false, "", 0},
		{"MQTT://h", -EINVAL, false, "", 0},
		{"http://h", -EINVAL, false, "", 0},
		{"tcp://h:1883", -EINVAL, false, "", 0},
		{"h:1883", -EINVAL, false, "", 0},
		{"", -EINVAL, false, "", 0},
		{"mqtt://user:word@h", -EPERM, false, "", 0},
	};
	char text[300] = "mqtt://";

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_url_parts parts = {0};
		int r = fg_url_parse(cases[i].text, &parts);

		if (r != cases[i].result || parts.is_tls != cases[i].is_tls ||
		    parts.port != cases[i].port || strcmp(parts.host, cases[i].host) != 0)
			fail_msg("%s: %d, %d, %s, %u", cases[i].text, r, parts.is_tls, parts.host,
				 parts.port);
	}
	for (size_t size = 253; size <= 254; size++) {
		struct fg_url_parts parts = {0};

		memset(text + 7, 'h', size);
		assert_int_equal(fg_url_parse(text, &parts), size == 253 ? 0 : -EINVAL);
	}
}

static void an_address_has_a_host_and_a_port_and_nothing_else(void **state)
{
	static const struct {
		const char *text, *host;
		unsigned port;
	} good[] = {
		{"iotda.example.com:8883", "iotda.example.com", 8883},
		{"10.0.0.5:1", "10.0.0.5", 1},
		{"[2001:db8::1]:65535", "2001:db8::1", 65535},
	};
	static const char *const bad[] = {
		"",          "h",
		"h:",        ":8883",
		"h:0",       "h:65536",
		"h:8883/",   "h:88 83",
		"h :8883",   "h:-1",
		"h:+1",      "h:0x1",
		"[::1]",     "[::1",
		"[h]:8883",  "::1",
		"mqtts://h", "mqtts://h:8883",
		"u@h:1",     "-h:1",
		".h:1",      "h\n:8883",
		"h:8883\n",  "h,i:8883",
		"h:1,i:2",   "h/p:1",
		"h?x:1",     "h:99999999999999999999",
	};
	struct fg_url_parts parts;
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(fg_url_parse_address(good[i].text, &parts), 0);
		assert_string_equal(parts.host, good[i].host);
		assert_int_equal(parts.port, good[i].port);
		assert_false(parts.is_tls);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (fg_url_parse_address(bad[i], &parts) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
	for (size_t size = 253; size <= 254; size++) {
		memset(text, 'h', size);
		strcpy(text + size, ":8883");
		assert_int_equal(fg_url_parse_address(text, &parts), size == 253 ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_and_sizes_are_read_with_their_unit),
		cmocka_unit_test(numbers_are_printed_with_the_largest_unit_that_fits),
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(an_address_has_a_host_and_a_port_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
