/*
 * The options of a plugin against its page in docs/, both ways. The page has a line for one or several of
 * them under "## Options":
 *
 *	**max_rate**: a number from 0 to 10000; default 50
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "fieldgate/plugin.h"
#include "util/span.h"

extern const struct fg_plugin fg_plugin;

static FILE *page;

/* What stands behind the name of @option, to the end of the line; NULL: nothing does. */
static const char *documented_as(char *line, const char *option)
{
	char term[64];
	char *at;

	snprintf(term, sizeof(term), "**%s**", option);
	at = strstr(line, term);
	return at ? at + strlen(term) : NULL;
}

static void expect(const struct fg_option *option, const char *text, const char *wanted)
{
	if (!strstr(text, wanted))
		fail_msg("%s%s: no \"%s\"", option->name, text, wanted);
}

static void compare(const struct fg_option *option, const char *text)
{
	char wanted[128];

	if (option->flags & FG_OPTION_REQUIRED)
		expect(option, text, "needed");
	for (size_t i = 0; option->type == FG_OPTION_CHOICE && option->choices[i]; i++) {
		snprintf(wanted, sizeof(wanted), "*%s*", option->choices[i]);
		expect(option, text, wanted);
	}
	if (option->type == FG_OPTION_INTEGER) {
		snprintf(wanted, sizeof(wanted), "%lld to %lld", (long long)option->min,
			 (long long)option->max);
		expect(option, text, wanted);
	}
	if (!option->fallback)
		return;
	expect(option, text, "default ");
	expect(option, strstr(text, "default "), option->fallback);
}

static void compare_line(char *line, unsigned *n_found)
{
	const struct fg_option *option = fg_plugin.options;

	for (size_t i = 0; option[i].name; i++) {
		const char *text = documented_as(line, option[i].name);

		if (!text)
			continue;
		n_found[i]++;
		compare(&option[i], text);
	}
}

static bool is_option(struct fg_span name)
{
	for (size_t i = 0; fg_plugin.options[i].name; i++)
		if (fg_span_is(name, fg_plugin.options[i].name))
			return true;
	return false;
}

static void each_name_is_an_option(const char *line)
{
	const char *end;

	for (const char *at = line; (at = strstr(at, "**")); at = end + 2) {
		at += 2;
		end = strstr(at, "**");
		assert_non_null(end);
		if (!is_option(fg_span_of(at, (size_t)(end - at))))
			fail_msg("documented, but there is none: %s", line);
	}
}

static void every_option_is_documented_and_every_documented_one_is_there(void **state)
{
	unsigned n_found[128] = {0};
	bool is_in_options = false;
	char line[1024];

	(void)state;
	while (fgets(line, sizeof(line), page)) {
		if (strncmp(line, "## ", 3) == 0)
			is_in_options = strcmp(line, "## Options\n") == 0;
		if (!is_in_options || strncmp(line, "**", 2) != 0)
			continue;
		each_name_is_an_option(line);
		compare_line(line, n_found);
	}
	for (size_t i = 0; fg_plugin.options[i].name; i++)
		if (n_found[i] != 1)
			fail_msg("%s: documented %u times", fg_plugin.options[i].name, n_found[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_option_is_documented_and_every_documented_one_is_there),
	};
	int r;

	if (argc < 2 || !(page = fopen(argv[1], "re")))
		return 1;
	r = cmocka_run_group_tests_name(fg_plugin.name, tests, NULL, NULL);
	fclose(page);
	return r;
}
