#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>

#include "model/topic.h"

/* A literal that may hold NUL. */
#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

static void topic_names_are_judged_as_in_4_7(void **state)
{
	static const struct {
		struct fg_span text;
		bool is_ok;
	} cases[] = {
		{TEXT(""), false},
		{TEXT("a"), true},
		{TEXT("/"), true},
		{TEXT("//"), true},
		{TEXT("a/b"), true},
		{TEXT("/a"), true},
		{TEXT("a/"), true},
		{TEXT(" "), true},
		{TEXT("$SYS/x"), true},
		{TEXT("Accounts payable"), true},
		{TEXT("\xc3\xa9/\xf0\x9f\x98\x80"), true},
		{TEXT("a+"), false},
		{TEXT("a/#"), false},
		{TEXT("a\0b"), false},
		{TEXT("a\xff"), false},
		{TEXT("\xed\xa0\x80"), false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (fg_topic_name_ok(cases[i].text) != cases[i].is_ok)
			fail_msg("%s", cases[i].text.data);
	assert_false(fg_topic_name_ok((struct fg_span){0}));
}

static void a_pattern_without_names_is_judged_as_a_filter_is_in_4_7_1(void **state)
{
	static const struct {
		struct fg_span text;
		bool is_ok;
	} cases[] = {
		{TEXT(""), false},
		{TEXT("#"), true},
		{TEXT("+"), true},
		{TEXT("sport/tennis/#"), true},
		{TEXT("sport/tennis#"), false},
		{TEXT("sport/tennis/#/ranking"), false},
		{TEXT("#/"), false},
		{TEXT("##"), false},
		{TEXT("+/tennis/#"), true},
		{TEXT("sport+"), false},
		{TEXT("+sport"), false},
		{TEXT("sport/+/player1"), true},
		{TEXT("/+"), true},
		{TEXT("+/+"), true},
		{TEXT("++"), false},
		{TEXT("+#"), false},
		{TEXT("$SYS/#"), true},
		{TEXT("/"), true},
		{TEXT("a\0"), false},
		{TEXT("a/\xc0\x80"), false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_topic_pattern *pattern = NULL;
		int r = fg_topic_pattern_new(cases[i].text, &pattern, NULL);

		if (r != (cases[i].is_ok ? 0 : -EINVAL))
			fail_msg("%s: %d", cases[i].text.data, r);
		fg_topic_pattern_free(pattern);
	}
}

static void names_and_filters_may_be_65535_bytes_and_no_more(void **state)
{
	char *text = malloc(65536);
	struct fg_topic_pattern *pattern = NULL;
	struct fg_topic_captures captures;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', 65536);
	assert_true(fg_topic_name_ok(fg_span_of(text, 65535)));
	assert_false(fg_topic_name_ok(fg_span_of(text, 65536)));
	assert_int_equal(fg_topic_pattern_new(fg_span_of(text, 65536), &pattern, NULL), -EINVAL);
	assert_int_equal(fg_topic_pattern_new(fg_span_of(text, 65535), &pattern, NULL), 0);
	assert_true(fg_topic_pattern_match(pattern, fg_span_of(text, 65535), &captures));
	assert_false(fg_topic_pattern_match(pattern, fg_span_of(text, 65534), &captures));
	fg_topic_pattern_free(pattern);

	/* 65536 empty levels */
	memset(text, '/', 65535);
	assert_int_equal(fg_topic_pattern_new(fg_span_of(text, 65535), &pattern, NULL), 0);
	assert_true(fg_topic_pattern_match(pattern, fg_span_of(text, 65535), &captures));
	assert_false(fg_topic_pattern_match(pattern, fg_span_of(text, 65534), &captures));
	fg_topic_pattern_free(pattern);
	assert_int_equal(fg_topic_pattern_new(fg_span_str("/#"), &pattern, NULL), 0);
	assert_true(fg_topic_pattern_match(pattern, fg_span_of(text, 65535), &captures));
	assert_false(fg_topic_pattern_match(pattern, (struct fg_span){0}, &captures));
	fg_topic_pattern_free(pattern);
	free(text);
}

static const struct {
	const char *filter, *topic;
	bool is_match;
} matches[] = {
	/* 4.7.1.2 */
	{"sport/tennis/player1/#", "sport/tennis/player1", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"sport/tennis/player1/#", "sport/tennis/player", false},
	{"sport/tennis/player1/#", "sport/tennis/player10", false},
	{"sport/#", "sport", true},
	{"sport/#", "sport/", true},
	{"#", "sport", true},
	{"#", "/", true},
	{"#", "a/b/c", true},
	/* 4.7.1.3 */
	{"sport/tennis/+", "sport/tennis/player1", true},
	{"sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"sport/+", "sport", false},
	{"sport/+", "sport/", true},
	{"+", "a", true},
	{"+", "a/b", false},
	{"+/tennis/#", "sport/tennis", true},
	{"+/tennis/#", "/tennis/x", true},
	{"sport/+/player1", "sport/tennis/player1", true},
	{"sport/+/player1", "sport//player1", true},
	{"+/+", "/finance", true},
	{"/+", "/finance", true},
	{"+", "/finance", false},
	/* 4.7.2 */
	{"#", "$SYS/monitor/Clients", false},
	{"+/monitor/Clients", "$SYS/monitor/Clients", false},
	{"+", "$SYS", false},
	{"$SYS/#", "$SYS/monitor/Clients", true},
	{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"$SYS/#", "$SYS", true},
	{"a/+", "a/$b", true},
	{"a/#", "a/$b", true},
	/* 4.7.3: case and spaces count, empty levels are levels */
	{"ACCOUNTS", "Accounts", false},
	{"/finance", "finance", false},
	{"finance/", "finance", false},
	{"a//b", "a/b", false},
	{"a//b", "a//b", true},
	{"a/+/b", "a//b", true},
	{"/", "/", true},
	{"/", "//", false},
	{"+/+/+", "//", true},
	{"a/b", "a/b/c", false},
	{"a/b/c", "a/b", false},
	{"a/+/c/#", "a/b/c", true},
	{"a/+/c/#", "a/b", false},
	{"a b", "a b", true},
};

static void a_pattern_without_names_matches_like_the_filter_it_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(matches) / sizeof(matches[0]); i++) {
		struct fg_topic_pattern *pattern = NULL;
		struct fg_topic_captures captures;

		assert_int_equal(
			fg_topic_pattern_new(fg_span_str(matches[i].filter), &pattern, NULL), 0);
		assert_string_equal(fg_topic_pattern_filter(pattern), matches[i].filter);
		if (fg_topic_pattern_match(pattern, fg_span_str(matches[i].topic), &captures) !=
		    matches[i].is_match)
			fail_msg("%s, %s", matches[i].filter, matches[i].topic);
		assert_int_equal(captures.count, 0);
		fg_topic_pattern_free(pattern);
	}
}

static void captures_are_whole_levels_and_the_rest(void **state)
{
	static const struct {
		const char *pattern, *filter, *topic;
		size_t n;
		const char *values[3];
	} cases[] = {
		{"sensors/{device}/climate",
		 "sensors/+/climate",
		 "sensors/p-1/climate",
		 1,
		 {"p-1"}},
		{"sensors/{device}/climate", "sensors/+/climate", "sensors//climate", 1, {""}},
		{"{site}/+/{device}", "+/+/+", "a/b/c", 2, {"a", "c"}},
		{"{device}/{rest...}", "+/#", "a/b/c", 2, {"a", "b/c"}},
		{"{device}/{rest...}", "+/#", "a/b", 2, {"a", "b"}},
		{"{device}/{rest...}", "+/#", "a/", 2, {"a", ""}},
		{"{device}/{rest...}", "+/#", "a//", 2, {"a", "/"}},
		{"{all...}", "#", "a/b", 1, {"a/b"}},
		{"{device}/#", "+/#", "a/b/c", 1, {"a"}},
		{"{device}/#", "+/#", "a", 1, {"a"}},
		{"$x/{a}", "$x/+", "$x/$y", 1, {"$y"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_topic_pattern *pattern = NULL;
		struct fg_topic_captures captures;

		assert_int_equal(
			fg_topic_pattern_new(fg_span_str(cases[i].pattern), &pattern, NULL), 0);
		assert_string_equal(fg_topic_pattern_filter(pattern), cases[i].filter);
		if (!fg_topic_pattern_match(pattern, fg_span_str(cases[i].topic), &captures))
			fail_msg("%s, %s", cases[i].pattern, cases[i].topic);
		assert_int_equal(captures.count, cases[i].n);
		for (size_t k = 0; k < cases[i].n; k++)
			assert_true(fg_span_is(captures.values[k], cases[i].values[k]));
		fg_topic_pattern_free(pattern);
	}
}

static void a_named_rest_wants_at_least_one_level(void **state)
{
	struct fg_topic_pattern *pattern = NULL;
	struct fg_topic_captures captures;

	(void)state;
	assert_int_equal(fg_topic_pattern_new(fg_span_str("{device}/{rest...}"), &pattern, NULL),
			 0);
	assert_false(fg_topic_pattern_match(pattern, fg_span_str("a"), &captures));
	assert_false(fg_topic_pattern_match(pattern, fg_span_str("$SYS/a"), &captures));
	assert_int_equal(fg_topic_pattern_capture(pattern, fg_span_str("device")), 0);
	assert_int_equal(fg_topic_pattern_capture(pattern, fg_span_str("rest")), 1);
	assert_int_equal(fg_topic_pattern_capture(pattern, fg_span_str("res")), -1);
	assert_int_equal(fg_topic_pattern_capture(pattern, fg_span_str("")), -1);
	fg_topic_pattern_free(pattern);
}

static void a_pattern_that_is_not_one_is_refused_with_a_sentence(void **state)
{
	static const struct {
		struct fg_span text;
		const char *sentence;
	} cases[] = {
		{TEXT(""), "the pattern is empty"},
		{TEXT("a\xff"), "the pattern is not UTF-8 text without NUL"},
		{TEXT("a\0"), "the pattern is not UTF-8 text without NUL"},
		{TEXT("a/b+"), "\"b+\": a wildcard (+ or #) must be alone between its slashes"},
		{TEXT("a#"), "\"a#\": a wildcard (+ or #) must be alone between its slashes"},
		{TEXT("#/a"), "\"#\" must be the last level"},
		{TEXT("{a...}/b"), "\"{a...}\" must be the last level"},
		{TEXT("{a}-{b}"), "\"{a}-{b}\": a {name} must be alone between its slashes"},
		{TEXT("x{a}"), "\"x{a}\": a {name} must be alone between its slashes"},
		{TEXT("{a"), "\"{a\": a {name} must be alone between its slashes"},
		{TEXT("a}"), "\"a}\": a {name} must be alone between its slashes"},
		{TEXT("{}"), "\"{}\": a {name} must be alone between its slashes"},
		{TEXT("{{a}}"), "\"{{a}}\": a {name} must be alone between its slashes"},
		{TEXT("{+}"), "\"{+}\": a wildcard (+ or #) must be alone between its slashes"},
		{TEXT("{a/b}"), "\"{a\": a {name} must be alone between its slashes"},
		{TEXT("{A}"), "\"{A}\": the name between the braces must be a lower-case letter "
			      "followed by lower-case letters, digits and _"},
		{TEXT("{...}"),
		 "\"{...}\": the name between the braces must be a lower-case letter "
		 "followed by lower-case letters, digits and _"},
		{TEXT("{a....}"),
		 "\"{a....}\": the name between the braces must be a lower-case letter "
		 "followed by lower-case letters, digits and _"},
		{TEXT("{a}/{b}/{a}"), "{a} stands twice"},
		{TEXT("{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"), "more than 8 names in braces"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_topic_pattern *pattern = NULL;
		struct fg_error err = {0};

		assert_int_equal(fg_topic_pattern_new(cases[i].text, &pattern, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].sentence);
		assert_null(pattern);
	}
	assert_null(fg_topic_pattern_free(NULL));
}

static void a_pattern_covers_another_when_it_takes_every_topic_of_it(void **state)
{
	static const char *const patterns[] = {
		"a",      "a/b",  "{x}",    "a/{x}",    "a/#",   "a/{r...}",     "#",
		"{r...}", "+/b",  "{x}/#",  "+/{r...}", "/",     "a/+/c",        "a/b/#",
		"$s",     "$s/#", "$s/{x}", "a/{x}/#",  "+/+/#", "a/{x}/{r...}",
	};
	static const char *const topics[] = {
		"a", "a/b", "a/b/c", "a/x/c", "a/",     "a/$s",  "b",       "b/b",
		"/", "//",  "$s",    "$s/b",  "$s/b/c", "x/y/z", "a/b/c/d", "q",
	};
	enum {
		N = sizeof(patterns) / sizeof(patterns[0]),
		N_TOPICS = sizeof(topics) / sizeof(topics[0])
	};
	struct fg_topic_pattern *compiled[N] = {NULL};

	(void)state;
	for (size_t i = 0; i < N; i++)
		assert_int_equal(fg_topic_pattern_new(fg_span_str(patterns[i]), &compiled[i], NULL),
				 0);
	for (size_t a = 0; a < N; a++)
		for (size_t b = 0; b < N; b++) {
			bool takes_all = true;

			for (size_t t = 0; t < N_TOPICS; t++) {
				struct fg_topic_captures captures;
				struct fg_span topic = fg_span_str(topics[t]);

				if (fg_topic_pattern_match(compiled[b], topic, &captures) &&
				    !fg_topic_pattern_match(compiled[a], topic, &captures))
					takes_all = false;
			}
			if (fg_topic_pattern_covers(compiled[a], compiled[b]) != takes_all)
				fail_msg("%s, %s", patterns[a], patterns[b]);
		}
	for (size_t i = 0; i < N; i++)
		fg_topic_pattern_free(compiled[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(topic_names_are_judged_as_in_4_7),
		cmocka_unit_test(a_pattern_without_names_is_judged_as_a_filter_is_in_4_7_1),
		cmocka_unit_test(names_and_filters_may_be_65535_bytes_and_no_more),
		cmocka_unit_test(a_pattern_without_names_matches_like_the_filter_it_is),
		cmocka_unit_test(captures_are_whole_levels_and_the_rest),
		cmocka_unit_test(a_named_rest_wants_at_least_one_level),
		cmocka_unit_test(a_pattern_covers_another_when_it_takes_every_topic_of_it),
		cmocka_unit_test(a_pattern_that_is_not_one_is_refused_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
