#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <regex.h>

#include "captured.h"
#include "util/error.h"
#include "util/log.h"

static void a_line_says_when_and_how_urgent_in_words(void **state)
{
	static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
	struct captured c;
	const char *line;

	(void)state;
	fg_log_open(FG_LOG_STDERR, LOG_DEBUG);
	captured_begin(&c);
	fg_error_log("link %s: no", "azure");
	fg_warning("link %s: no", "azure");
	fg_notice("link %s: no", "azure");
	fg_info("link %s: no", "azure");
	fg_debug("link %s: no", "azure");
	captured_end(&c);
	assert_int_equal(captured_lines(&c), 5);
	line = strtok(c.text, "\n");
	for (int i = 0; i < 5; i++, line = strtok(NULL, "\n")) {
		char pattern[200];
		regex_t regex;

		snprintf(pattern, sizeof(pattern),
			 "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z %s "
			 "link azure: no$",
			 levels[i]);
		assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
		if (regexec(&regex, line, 0, NULL, 0) != 0)
			fail_msg("%s", line);
		regfree(&regex);
	}
}

static void a_text_with_control_characters_cannot_forge_a_line(void **state)
{
	struct captured c;

	(void)state;
	fg_log_open(FG_LOG_STDERR, LOG_INFO);
	captured_begin(&c);
	fg_notice("device \"%s\" is new",
		  "x\n2026-01-01T00:00:00.000Z error gateway: forged\r\x1b[2J\x7f\t\x01");
	captured_end(&c);
	assert_int_equal(captured_lines(&c), 1);
	assert_non_null(strstr(c.text, "device \"x?2026-01-01T00:00:00.000Z error gateway: "
				       "forged??[2J???\" is new\n"));
}

static void a_line_is_cut_at_1023_bytes(void **state)
{
	char long_text[3000];
	struct captured c;
	const char *start;

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	fg_log_open(FG_LOG_STDERR, LOG_INFO);
	captured_begin(&c);
	fg_notice("%s", long_text);
	captured_end(&c);
	assert_int_equal(captured_lines(&c), 1);
	start = strstr(c.text, "notice ");
	assert_non_null(start);
	assert_int_equal(strlen(start + strlen("notice ")), 1023 + 1);
}

static void less_urgent_lines_are_dropped(void **state)
{
	struct captured c;

	(void)state;
	fg_log_open(FG_LOG_STDERR, LOG_NOTICE);
	assert_true(fg_log_wants(LOG_ERR));
	assert_true(fg_log_wants(LOG_NOTICE));
	assert_false(fg_log_wants(LOG_INFO));
	captured_begin(&c);
	fg_info("dropped");
	fg_notice("kept");
	captured_end(&c);
	assert_int_equal(captured_lines(&c), 1);
	assert_null(strstr(c.text, "dropped"));
}

static void an_error_keeps_its_sentence_and_gives_its_code_back(void **state)
{
	struct fg_error err;
	char long_text[1000];

	(void)state;
	assert_int_equal(fg_error_set(&err, -EINVAL, "%s is %d", "x", 3), -EINVAL);
	assert_string_equal(err.text, "x is 3");
	assert_int_equal(fg_error_set(NULL, -EIO, "lost"), -EIO);
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	fg_error_set(&err, 0, "%s", long_text);
	assert_int_equal(strlen(err.text), 511);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_says_when_and_how_urgent_in_words),
		cmocka_unit_test(a_text_with_control_characters_cannot_forge_a_line),
		cmocka_unit_test(a_line_is_cut_at_1023_bytes),
		cmocka_unit_test(less_urgent_lines_are_dropped),
		cmocka_unit_test(an_error_keeps_its_sentence_and_gives_its_code_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
