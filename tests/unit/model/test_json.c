#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <json-c/json.h>

#include "model/json.h"

/* A literal that may hold NUL. */
#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

/* Check a copy of exactly its size, so that a sanitizer sees every byte read beyond the end. */
static int check(const char *text, size_t size, struct fg_json_fault *ret_fault)
{
	struct fg_json_value value;
	char *exact = malloc(size > 0 ? size : 1);
	int r;

	assert_non_null(exact);
	memcpy(exact, text, size);
	r = fg_json_check(fg_span_of(exact, size), &value, ret_fault);
	if (r == 0) {
		assert_true(value.text.data >= exact);
		assert_true(value.text.data + value.text.size <= exact + size);
	}
	free(exact);
	return r;
}

static struct fg_json_value value_of(const char *text)
{
	struct fg_json_value value;
	struct fg_json_fault fault;

	if (fg_json_check(fg_span_str(text), &value, &fault) < 0)
		fail_msg("%s: offset %zu: %s", text, fault.offset, fault.reason);
	return value;
}

static void texts_of_the_grammar_are_accepted(void **state)
{
	static const struct {
		struct fg_span text;
		enum fg_json_type type;
	} cases[] = {
		{TEXT("{}"), FG_JSON_OBJECT},
		{TEXT("[]"), FG_JSON_ARRAY},
		{TEXT(" \t\r\n{ \n} "), FG_JSON_OBJECT},
		{TEXT("[ ]"), FG_JSON_ARRAY},
		{TEXT("\"\""), FG_JSON_STRING},
		{TEXT("\"a\""), FG_JSON_STRING},
		{TEXT("0"), FG_JSON_INTEGER},
		{TEXT("-0"), FG_JSON_INTEGER},
		{TEXT("10"), FG_JSON_INTEGER},
		{TEXT("18446744073709551616000000000000000000000000000"), FG_JSON_INTEGER},
		{TEXT("0.0"), FG_JSON_REAL},
		{TEXT("-0.10"), FG_JSON_REAL},
		{TEXT("0e0"), FG_JSON_REAL},
		{TEXT("1E+2"), FG_JSON_REAL},
		{TEXT("1e-2"), FG_JSON_REAL},
		{TEXT("1.5e99999"), FG_JSON_REAL},
		{TEXT("NaN"), FG_JSON_NONFINITE},
		{TEXT("Infinity"), FG_JSON_NONFINITE},
		{TEXT("-Infinity"), FG_JSON_NONFINITE},
		{TEXT("[NaN,Infinity,-Infinity]"), FG_JSON_ARRAY},
		{TEXT("true"), FG_JSON_TRUE},
		{TEXT("false"), FG_JSON_FALSE},
		{TEXT("null"), FG_JSON_NULL},
		{TEXT("[null, 1, \"1\", {}]"), FG_JSON_ARRAY},
		{TEXT("{\"a\":1,\"a\":2}"), FG_JSON_OBJECT},
		{TEXT("{\"\":0}"), FG_JSON_OBJECT},
		{TEXT("{\"a\" : {\"b\" : [ {\"c\" : [ ] } ] } }"), FG_JSON_OBJECT},
		{TEXT("[[],[[]],{}]"), FG_JSON_ARRAY},
		{TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), FG_JSON_STRING},
		{TEXT("\"\\u0000\""), FG_JSON_STRING},
		{TEXT("\"\\u00e9\\uABCD\""), FG_JSON_STRING},
		{TEXT("\"\\ud83d\\ude00\""), FG_JSON_STRING},
		{TEXT("\"\\uDBFF\\uDFFF\""), FG_JSON_STRING},
		{TEXT("\"\x7f\""), FG_JSON_STRING},
		{TEXT("\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\""), FG_JSON_STRING},
		{TEXT("\"\xef\xbf\xbf \xf4\x8f\xbf\xbf\""), FG_JSON_STRING},
		{TEXT("{\"t\":21.50,\"n\":9007199254740993}"), FG_JSON_OBJECT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_json_value value;
		struct fg_json_fault fault;

		if (check(cases[i].text.data, cases[i].text.size, &fault) < 0)
			fail_msg("%s: offset %zu: %s", cases[i].text.data, fault.offset,
				 fault.reason);
		assert_int_equal(fg_json_check(cases[i].text, &value, &fault), 0);
		if (value.type != cases[i].type)
			fail_msg("%s: type %d", cases[i].text.data, (int)value.type);
	}
}

static void texts_outside_the_grammar_are_refused_at_the_right_place(void **state)
{
	static const struct {
		struct fg_span text;
		size_t offset;
		const char *reason;
	} cases[] = {
		{TEXT(""), 0, "text is empty"},
		{TEXT(" \n"), 2, "text is empty"},
		{TEXT("\xef\xbb\xbf{}"), 0, "a value was expected here"},
		{TEXT("{"), 1, "text ends inside an object"},
		{TEXT("["), 1, "text ends where a value was expected"},
		{TEXT("[1"), 2, "text ends inside an array"},
		{TEXT("[1,"), 3, "text ends where a value was expected"},
		{TEXT("[1,]"), 3, "a value was expected here"},
		{TEXT("[,1]"), 1, "a value was expected here"},
		{TEXT("[1,,2]"), 3, "a value was expected here"},
		{TEXT("[1 2]"), 3, "a comma or ] was expected here"},
		{TEXT("[1}"), 2, "a comma or ] was expected here"},
		{TEXT("{]"), 1, "a member name in double quotes was expected here"},
		{TEXT("{\"a\""), 4, "text ends inside an object"},
		{TEXT("{\"a\":"), 5, "text ends where a value was expected"},
		{TEXT("{\"a\":1"), 6, "text ends inside an object"},
		{TEXT("{\"a\":}"), 5, "a value was expected here"},
		{TEXT("{\"a\" 1}"), 5, "a colon was expected here"},
		{TEXT("{\"a\":1,}"), 7, "a member name in double quotes was expected here"},
		{TEXT("{\"a\":1 \"b\":2}"), 7, "a comma or } was expected here"},
		{TEXT("{\"a\":1]"), 6, "a comma or } was expected here"},
		{TEXT("{a:1}"), 1, "a member name in double quotes was expected here"},
		{TEXT("{'a':1}"), 1, "a member name in double quotes was expected here"},
		{TEXT("{1:1}"), 1, "a member name in double quotes was expected here"},
		{TEXT("{null:1}"), 1, "a member name in double quotes was expected here"},
		{TEXT("{}}"), 2, "text goes on after the value"},
		{TEXT("{} {}"), 3, "text goes on after the value"},
		{TEXT("1 2"), 2, "text goes on after the value"},
		{TEXT("{}\0"), 2, "text goes on after the value"},
		{TEXT("[1]/**/"), 3, "text goes on after the value"},
		{TEXT("// a\n1"), 0, "a value was expected here"},
		{TEXT("]"), 0, "a value was expected here"},
		{TEXT("\0"), 0, "a value was expected here"},
		{TEXT("\f1"), 0, "a value was expected here"},
		{TEXT("\xa0"), 0, "a value was expected here"},
		{TEXT("01"), 0, "a number with a leading zero"},
		{TEXT("-01"), 0, "a number with a leading zero"},
		{TEXT("00"), 0, "a number with a leading zero"},
		{TEXT("-"), 1, "a number wants a digit here"},
		{TEXT("--1"), 1, "a number wants a digit here"},
		{TEXT("+1"), 0, "a value was expected here"},
		{TEXT(".5"), 0, "a value was expected here"},
		{TEXT("1."), 2, "a number wants a digit here"},
		{TEXT("1.e1"), 2, "a number wants a digit here"},
		{TEXT("1e"), 2, "a number wants a digit here"},
		{TEXT("1e+"), 3, "a number wants a digit here"},
		{TEXT("1.5.5"), 3, "text goes on after the value"},
		{TEXT("0x10"), 1, "text goes on after the value"},
		{TEXT("1_000"), 1, "text goes on after the value"},
		{TEXT("-NaN"), 1, "a number wants a digit here"},
		{TEXT("-Inf"), 1, "a number wants a digit here"},
		{TEXT("nan"), 0, "a value was expected here"},
		{TEXT("Inf"), 0, "a value was expected here"},
		{TEXT("True"), 0, "a value was expected here"},
		{TEXT("tru"), 0, "a value was expected here"},
		{TEXT("truex"), 4, "text goes on after the value"},
		{TEXT("nul"), 0, "a value was expected here"},
		{TEXT("\""), 1, "text ends inside a string"},
		{TEXT("\"a"), 2, "text ends inside a string"},
		{TEXT("\"a\\"), 3, "text ends inside a string"},
		{TEXT("\"a\\\""), 4, "text ends inside a string"},
		{TEXT("'a'"), 0, "a value was expected here"},
		{TEXT("\"a\nb\""), 2, "control character in a string"},
		{TEXT("\"a\tb\""), 2, "control character in a string"},
		{TEXT("\"a\0b\""), 2, "control character in a string"},
		{TEXT("\"1234567890\x1f\""), 11, "control character in a string"},
		{TEXT("\"\\x41\""), 1, "unknown escape in a string"},
		{TEXT("\"\\'\""), 1, "unknown escape in a string"},
		{TEXT("\"\\0\""), 1, "unknown escape in a string"},
		{TEXT("\"\\U0041\""), 1, "unknown escape in a string"},
		{TEXT("\"\\u004\""), 1, "\\u wants four hexadecimal digits"},
		{TEXT("\"\\u00g0\""), 1, "\\u wants four hexadecimal digits"},
		{TEXT("\"\\u"), 1, "\\u wants four hexadecimal digits"},
		{TEXT("\"\\ud800\""), 1, "lone surrogate"},
		{TEXT("\"\\ud800\\ud800\""), 1, "lone surrogate"},
		{TEXT("\"\\ud800\\n0000\""), 1, "lone surrogate"},
		{TEXT("\"\\ud800\\u0041\""), 1, "lone surrogate"},
		{TEXT("\"a\\udc00\\ud800\""), 2, "lone surrogate"},
		{TEXT("\"\x80\""), 1, "ill-formed UTF-8"},
		{TEXT("\"12345678\xff\""), 9, "ill-formed UTF-8"},
		{TEXT("\"\xc0\xaf\""), 1, "ill-formed UTF-8"},
		{TEXT("\"\xe0\x80\xaf\""), 1, "ill-formed UTF-8"},
		{TEXT("\"\xed\xa0\x80\""), 1, "ill-formed UTF-8"},
		{TEXT("\"\xf4\x90\x80\x80\""), 1, "ill-formed UTF-8"},
		{TEXT("\"\xe2\x82"), 1, "ill-formed UTF-8"},
		{TEXT("{\"\xff\":1}"), 2, "ill-formed UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_json_fault fault = {0};

		if (check(cases[i].text.data, cases[i].text.size, &fault) != -EBADMSG)
			fail_msg("case %zu, %s: accepted", i, cases[i].text.data);
		if (fault.offset != cases[i].offset || strcmp(fault.reason, cases[i].reason) != 0)
			fail_msg("case %zu, %s: offset %zu: %s", i, cases[i].text.data,
				 fault.offset, fault.reason);
	}
}

static void sixty_four_levels_are_accepted_and_one_more_is_refused(void **state)
{
	char text[4 * 65 + 2];
	struct fg_json_fault fault;
	size_t n = 0;

	(void)state;
	for (int depth = 64; depth <= 65; depth++) {
		memset(text, '[', (size_t)depth);
		memset(text + depth, ']', (size_t)depth);
		assert_int_equal(check(text, (size_t)(2 * depth), &fault),
				 depth == 64 ? 0 : -EBADMSG);
	}
	assert_int_equal(fault.offset, 64);
	assert_string_equal(fault.reason, "nested deeper than 64 levels");
	/* objects and arrays in turn: the bit stack must not mix them up */
	for (int i = 0; i < 32; i++, n += 5)
		memcpy(text + n, "{\"\":[", 5);
	for (int i = 0; i < 32; i++, n += 2)
		memcpy(text + n, "]}", 2);
	assert_int_equal(check(text, n, &fault), 0);
	text[n - 1] = ']';
	assert_int_equal(check(text, n, &fault), -EBADMSG);
	assert_int_equal(fault.offset, n - 1);
}

static void ten_thousand_levels_are_refused_after_reading_the_first_sixty_five(void **state)
{
	struct fg_json_fault fault;
	char *text = malloc(1000000);

	(void)state;
	assert_non_null(text);
	memset(text, '[', 10000);
	assert_int_equal(check(text, 10000, &fault), -EBADMSG);
	assert_int_equal(fault.offset, 64);
	for (int i = 0; i < 10000; i++)
		memcpy(text + 5 * i, "{\"a\":", 5);
	assert_int_equal(check(text, 50000, &fault), -EBADMSG);
	assert_int_equal(fault.offset, 5 * 64);
	free(text);
}

static void a_fault_behind_a_string_is_found_at_every_alignment(void **state)
{
	(void)state;
	for (size_t size = 0; size < 40; size++) {
		struct fg_json_fault fault;
		char text[64];

		text[0] = '"';
		memset(text + 1, 'x', size);
		text[1 + size] = '"';
		assert_int_equal(check(text, size + 2, &fault), 0);
		assert_int_equal(check(text, size + 1, &fault), -EBADMSG);
		assert_int_equal(fault.offset, size + 1);
		text[1 + size] = '\x01';
		assert_int_equal(check(text, size + 2, &fault), -EBADMSG);
		assert_int_equal(fault.offset, size + 1);
	}
}

/* ------------------------------------------------------------------ walking */

static void a_walk_gives_members_in_order_with_their_text_untouched(void **state)
{
	static const char *const expected[][2] = {
		{"a", "1"},
		{"b\\n", "-0.50e+3"},
		{"", "\"x\\\"y\""},
		{"c", "[1, {\"z\":\"]}\"}]"},
		{"d", "{\"e\" : \"}\"}"},
		{"f", "NaN"},
		{"g", "-Infinity"},
		{"h", "true"},
		{"i", "false"},
		{"j", "null"},
	};
	static const enum fg_json_type types[] = {
		FG_JSON_INTEGER,   FG_JSON_REAL,      FG_JSON_STRING, FG_JSON_ARRAY, FG_JSON_OBJECT,
		FG_JSON_NONFINITE, FG_JSON_NONFINITE, FG_JSON_TRUE,   FG_JSON_FALSE, FG_JSON_NULL,
	};
	struct fg_json_walk walk;
	struct fg_json_member member;

	(void)state;
	fg_json_walk_begin(&walk, value_of(" {\"a\" : 1 , \"b\\n\":-0.50e+3,\"\":\"x\\\"y\","
					   "\"c\":[1, {\"z\":\"]}\"}], \"d\":{\"e\" : \"}\"},"
					   "\"f\":NaN,\"g\":-Infinity,\"h\":true,"
					   "\"i\":false,\"j\":null } "));
	for (size_t i = 0; i < 10; i++) {
		assert_true(fg_json_walk_next(&walk, &member));
		assert_true(fg_span_is(member.name, expected[i][0]));
		assert_true(fg_span_is(member.value.text, expected[i][1]));
		assert_int_equal(member.value.type, types[i]);
	}
	assert_false(fg_json_walk_next(&walk, &member));
	assert_false(fg_json_walk_next(&walk, &member));
}

static void a_walk_gives_the_elements_of_an_array_without_names(void **state)
{
	struct fg_json_walk walk;
	struct fg_json_member member;

	(void)state;
	fg_json_walk_begin(&walk, value_of("[ 1 , [2] ,\"3\"]"));
	assert_true(fg_json_walk_next(&walk, &member));
	assert_int_equal(member.name.size, 0);
	assert_true(fg_span_is(member.value.text, "1"));
	assert_true(fg_json_walk_next(&walk, &member));
	assert_true(fg_span_is(member.value.text, "[2]"));
	assert_true(fg_json_walk_next(&walk, &member));
	assert_true(fg_span_is(member.value.text, "\"3\""));
	assert_false(fg_json_walk_next(&walk, &member));
}

static void there_is_nothing_to_walk_in_empty_containers_and_scalars(void **state)
{
	static const char *const texts[] = {"{}", "[]", "{ }", "[ ]", "1", "\"{}\"", "null"};

	(void)state;
	for (size_t i = 0; i < 7; i++) {
		struct fg_json_walk walk;
		struct fg_json_member member;

		fg_json_walk_begin(&walk, value_of(texts[i]));
		assert_false(fg_json_walk_next(&walk, &member));
	}
}

static void a_walk_over_text_that_was_not_checked_ends_early(void **state)
{
	static const char *const texts[] = {
		"{\"a\":1,\"b}",      "{\"a\":1,b}",         "{\"a\":1 \"b\":2}",
		"{\"a\":1,\"b\"}",    "{\"a\":1,\"b\":}",    "{\"a\":1,\"b\":[}",
		"{\"a\":1,\"b\":\"}", "{\"a\":1,\"b\":tru}", "{\"a\":1,\"b\":-I}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct fg_json_value value = {FG_JSON_OBJECT, fg_span_str(texts[i])};
		struct fg_json_walk walk;
		struct fg_json_member member;
		int n = 0;

		fg_json_walk_begin(&walk, value);
		while (fg_json_walk_next(&walk, &member))
			n++;
		assert_true(n <= 1);
	}
}

static void the_last_of_several_members_with_one_name_counts(void **state)
{
	struct fg_json_value value;

	(void)state;
	assert_true(fg_json_member(value_of("{\"a\":1,\"b\":2,\"\\u0061\":3}"), fg_span_str("a"),
				   &value));
	assert_true(fg_span_is(value.text, "3"));
	assert_false(fg_json_member(value_of("{\"a\":1}"), fg_span_str("A"), &value));
	assert_false(fg_json_member(value_of("{\"a\":1}"), fg_span_str(""), &value));
	assert_true(fg_json_member(value_of("{\"\":1}"), fg_span_str(""), &value));
	assert_false(fg_json_member(value_of("[1]"), fg_span_str(""), &value));
}

static void names_are_compared_after_undoing_their_escapes(void **state)
{
	static const struct {
		const char *raw;
		struct fg_span name;
		bool is_equal;
	} cases[] = {
		{"abc", TEXT("abc"), true},
		{"abc", TEXT("ab"), false},
		{"ab", TEXT("abc"), false},
		{"a\\u0062c", TEXT("abc"), true},
		{"\\u0061\\u0062\\u0063", TEXT("abc"), true},
		{"a\\u0000", TEXT("a\0"), true},
		{"a\\/b", TEXT("a/b"), true},
		{"a\\/b", TEXT("a/"), false},
		{"a\\/b", TEXT("a/bc"), false},
		{"\\ud83d\\ude00", TEXT("\xf0\x9f\x98\x80"), true},
		{"a\\n", TEXT("a\\n"), false},
		{"", TEXT(""), true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (fg_json_name_is(fg_span_str(cases[i].raw), cases[i].name) != cases[i].is_equal)
			fail_msg("case %zu: %s", i, cases[i].raw);
}

/* ------------------------------------------------------------------ unescape, quote, compact */

static void escapes_are_undone(void **state)
{
	static const struct {
		const char *raw;
		struct fg_span text;
	} cases[] = {
		{"", TEXT("")},
		{"plain", TEXT("plain")},
		{"\\\"\\\\\\/\\b\\f\\n\\r\\t", TEXT("\"\\/\b\f\n\r\t")},
		{"a\\u0000b", TEXT("a\0b")},
		{"\\u007f\\u0080\\u07ff\\u0800\\uffff",
		 TEXT("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf")},
		{"\\ud800\\udc00\\udbff\\udfff", TEXT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
		/* only in text that was not checked */
		{"\\ud800", TEXT("\xef\xbf\xbd")},
		{"\\udc00x", TEXT("\xef\xbf\xbdx")},
		{"\\ud800\\u0041", TEXT("\xef\xbf\xbd\x41")},
		{"x\\", TEXT("x")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_span raw = fg_span_str(cases[i].raw);
		char *out = malloc(raw.size + 1);
		char in_place[64];
		size_t n;

		assert_non_null(out);
		n = fg_json_unescape(raw, out);
		if (!fg_span_equal(fg_span_of(out, n), cases[i].text))
			fail_msg("case %zu: %s", i, cases[i].raw);
		free(out);
		memcpy(in_place, raw.data, raw.size);
		n = fg_json_unescape(fg_span_of(in_place, raw.size), in_place);
		assert_true(fg_span_equal(fg_span_of(in_place, n), cases[i].text));
	}
}

static void quoting_escapes_what_must_be_escaped_and_nothing_else(void **state)
{
	static const struct {
		struct fg_span text;
		const char *quoted;
	} cases[] = {
		{TEXT(""), "\"\""},
		{TEXT("plain text"), "\"plain text\""},
		{TEXT("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
		{TEXT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
		{TEXT("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\""},
		{TEXT("\xc3\xa9\xe2\x82\xac 12345678\n"), "\"\xc3\xa9\xe2\x82\xac 12345678\\n\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t expected = strlen(cases[i].quoted);
		char back[64];
		size_t n;

		for (size_t room = 0; room <= expected + 1; room++) {
			char out[64];

			memset(out, '#', sizeof(out));
			assert_int_equal(fg_json_quote(cases[i].text, out, room), expected);
			assert_memory_equal(out, cases[i].quoted,
					    room < expected ? room : expected);
			assert_int_equal(out[room < expected ? room : expected], '#');
		}
		n = fg_json_unescape(fg_span_of(cases[i].quoted + 1, expected - 2), back);
		assert_true(fg_span_equal(fg_span_of(back, n), cases[i].text));
		value_of(cases[i].quoted);
	}
	assert_int_equal(fg_json_quote((struct fg_span){0}, NULL, 0), 2);
}

static void compacting_leaves_out_white_space_between_tokens_only(void **state)
{
	static const char *const cases[][2] = {
		{" { \"a b\" : [ 1 , 2.50 , \" \\\" : , \" ] ,\n\t\"c\" :\r null } ",
		 "{\"a b\":[1,2.50,\" \\\" : , \"],\"c\":null}"},
		{"[]", "[]"},
		{" \" x \" ", "\" x \""},
		{"-1E+2", "-1E+2"},
	};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct fg_json_value value = value_of(cases[i][0]);
		char *out = malloc(value.text.size);
		size_t n;

		assert_non_null(out);
		n = fg_json_compact(value, out);
		assert_true(fg_span_is(fg_span_of(out, n), cases[i][1]));
		free(out);
	}
}

/* ------------------------------------------------------------------ paths */

static void paths_select_what_rfc_9535_says(void **state)
{
	static const char document[] =
		"{\"a\":{\"b\":1,\"c\":[10,[20,21],{\"d\":\"x\"}]},\"a b\":2,\"\":3,"
		"\"it's\":4,\"say \\\"x\\\"\":5,\"\xc3\xa9\":6,\"b\\\\c\":7,\"_x1\":8,"
		"\"0\":9,\"n\":null}";
	static const char *const cases[][2] = {
		{"$", document},
		{"$.a.b", "1"},
		{"$['a']['b']", "1"},
		{"$[\"a\"].b", "1"},
		{"$.a.c[0]", "10"},
		{"$.a.c[1][1]", "21"},
		{"$.a.c[2].d", "\"x\""},
		{"$.a.c[3]", NULL},
		{"$.a.c[9007199254740991]", NULL},
		{"$['a b']", "2"},
		{"$['']", "3"},
		{"$['it\\'s']", "4"},
		{"$[\"it's\"]", "4"},
		{"$['say \"x\"']", "5"},
		{"$[\"say \\\"x\\\"\"]", "5"},
		{"$.\xc3\xa9", "6"},
		{"$['\\u00e9']", "6"},
		{"$['b\\\\c']", "7"},
		{"$._x1", "8"},
		{"$['0']", "9"},
		{"$[0]", NULL}, /* an index never selects a member */
		{"$.n", "null"},
		{"$.n.x", NULL},
		{"$.a.b.c", NULL},
		{"$.a.c.d", NULL},
		{"$ .a [ 'b' ]", "1"},
		{"$.missing", NULL},
	};
	struct fg_json_value root = value_of(document);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_json_path *path = NULL;
		struct fg_json_fault fault;
		struct fg_json_value value;
		bool is_found;

		if (fg_json_path_new(fg_span_str(cases[i][0]), &path, &fault) < 0)
			fail_msg("%s: offset %zu: %s", cases[i][0], fault.offset, fault.reason);
		is_found = fg_json_path_find(path, root, &value);
		if (is_found != (cases[i][1] != NULL) ||
		    (is_found && !fg_span_is(value.text, cases[i][1])))
			fail_msg("%s", cases[i][0]);
		fg_json_path_free(path);
	}
}

static void several_paths_are_found_at_once_as_one_by_one(void **state)
{
	static const char *const texts[] = {
		"$",      "$.a",       "$.b.c", "$.b['c d'][1]", "$[0]",
		"$[1].a", "$.missing", "$.a.b", "$['']",         "$.a",
	};
	static const char *const documents[] = {
		"{\"a\":1,\"b\":{\"c\":2,\"c d\":[0,3]},\"\":4}",
		"{\"b\":{\"c\":1},\"b\":{},\"\\u0061\":{\"b\":5}}",
		"[0,{\"a\":6}]",
		"{}",
		"[]",
		"7",
		"\"a\"",
	};
	enum { N = sizeof(texts) / sizeof(texts[0]) };
	struct fg_json_path *paths[N];
	struct fg_json_fault fault;

	(void)state;
	for (size_t i = 0; i < N; i++)
		assert_int_equal(fg_json_path_new(fg_span_str(texts[i]), &paths[i], &fault), 0);
	for (size_t d = 0; d < sizeof(documents) / sizeof(documents[0]); d++) {
		struct fg_json_value root = value_of(documents[d]);
		struct fg_json_value found[N];

		fg_json_path_find_all(paths, N, root, found);
		for (size_t i = 0; i < N; i++) {
			struct fg_json_value value = {0};
			bool is_found = fg_json_path_find(paths[i], root, &value);

			assert_int_equal(is_found, found[i].text.data != NULL);
			if (is_found)
				assert_true(fg_span_equal(value.text, found[i].text) &&
					    value.type == found[i].type);
		}
	}
	for (size_t i = 0; i < N; i++)
		fg_json_path_free(paths[i]);
}

static void a_path_that_is_not_one_is_refused_at_the_right_place(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
		const char *reason;
	} cases[] = {
		{"", 0, "a path starts with $"},
		{"a", 0, "a path starts with $"},
		{"a.b", 0, "a path starts with $"},
		{"$a", 1, ". or [ was expected here"},
		{"$.", 2, "a member name was expected after the dot"},
		{"$.a.", 4, "a member name was expected after the dot"},
		{"$. a", 2, "a member name was expected after the dot"},
		{"$.1a", 2, "this character cannot stand in a name after a dot, write ['name']"},
		{"$.a-b", 3, "this character cannot stand in a name after a dot, write ['name']"},
		{"$.a ", 4, "white space at the end of the path"},
		{"$..a", 2, "this selects more than one value, a path here must name just one"},
		{"$.*", 2, "this selects more than one value, a path here must name just one"},
		{"$[*]", 2, "this selects more than one value, a path here must name just one"},
		{"$[?@.a]", 2, "this selects more than one value, a path here must name just one"},
		{"$[0:2]", 3, "this selects more than one value, a path here must name just one"},
		{"$[0,1]", 3, "this selects more than one value, a path here must name just one"},
		{"$['a','b']", 5,
		 "this selects more than one value, a path here must name just one"},
		{"$[-1]", 2, "negative indexes are not offered"},
		{"$[01]", 2, "an index with a leading zero"},
		{"$[9007199254740999]", 2, "the index is too large"},
		{"$[99999999999999999999999]", 2, "the index is too large"},
		{"$[", 2, "the closing bracket is missing"},
		{"$[0", 3, "the closing bracket is missing"},
		{"$['a'", 5, "the closing bracket is missing"},
		{"$['a", 2, "the closing quote is missing"},
		{"$['a\\", 5, "text ends inside a string"},
		{"$[a]", 2, "an index or a name in quotes was expected here"},
		{"$[]", 2, "an index or a name in quotes was expected here"},
		{"$['\\x']", 3, "unknown escape in a string"},
		{"$['\\\"']", 3, "unknown escape in a name"},
		{"$[\"\\'\"]", 3, "unknown escape in a string"},
		{"$['\\ud800']", 3, "lone surrogate"},
		{"$['a\nb']", 4, "control character in a name"},
		{"$.\xff", 0, "ill-formed UTF-8"},
		{"$[0][1][2][3][4][5][6][7][8][9][0][1][2][3][4][5][6]", 49, "more than 16 steps"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_json_path *path = NULL;
		struct fg_json_fault fault = {0};

		if (fg_json_path_new(fg_span_str(cases[i].text), &path, &fault) != -EINVAL)
			fail_msg("%s: accepted", cases[i].text);
		if (fault.offset != cases[i].offset || strcmp(fault.reason, cases[i].reason) != 0)
			fail_msg("%s: offset %zu: %s", cases[i].text, fault.offset, fault.reason);
		assert_null(path);
	}
	assert_null(fg_json_path_free(NULL));
}

static void a_path_tells_whether_it_is_a_single_member(void **state)
{
	static const struct {
		const char *text, *only_member;
	} cases[] = {
		{"$", ""}, {"$.ts", "ts"}, {"$['t s']", "t s"}, {"$[0]", ""}, {"$.a.b", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_json_path *path = NULL;
		struct fg_json_fault fault;

		assert_int_equal(fg_json_path_new(fg_span_str(cases[i].text), &path, &fault), 0);
		assert_true(fg_span_is(fg_json_path_only_member(path), cases[i].only_member));
		fg_json_path_free(path);
	}
}

/* ------------------------------------------------------------------ json-c as the oracle */

struct random {
	uint64_t x;
};

static uint32_t random_below(struct random *r, uint32_t bound)
{
	r->x ^= r->x << 13;
	r->x ^= r->x >> 7;
	r->x ^= r->x << 17;
	return (uint32_t)(r->x >> 33) % bound;
}

struct writer {
	char text[4096];
	size_t size;
};

static void write_text(struct writer *w, const char *text)
{
	size_t n = strlen(text);

	if (w->size + n > sizeof(w->text))
		return;
	memcpy(w->text + w->size, text, n);
	w->size += n;
}

static void write_space(struct writer *w, struct random *r)
{
	static const char *const spaces[] = {"", "", "", " ", "\n", "\t ", "\r\n"};

	write_text(w, spaces[random_below(r, 7)]);
}

static void write_string(struct writer *w, struct random *r)
{
	static const char *const parts[] = {
		"a",       "temperature", "\\n",          "\\\"",           "\\\\",
		"\\u00e9", "\xc3\xa9",    "\xe2\x82\xac", "\\ud83d\\ude00", "\xf0\x9f\x98\x80",
		" ",       "0123456789",  "\\/",
	};

	write_text(w, "\"");
	for (uint32_t n = random_below(r, 5); n > 0; n--)
		write_text(w, parts[random_below(r, 13)]);
	write_text(w, "\"");
}

static void write_value(struct writer *w, struct random *r, int depth)
{
	static const char *const scalars[] = {
		"0",    "-1",    "21.50", "1e3", "9007199254740993",     "-0.5E-7", "true",
		"null", "false", "1234",  "0.1", "18446744073709551615",
	};
	uint32_t kind = random_below(r, depth > 5 ? 5 : 10);

	write_space(w, r);
	if (kind < 4) {
		write_text(w, scalars[random_below(r, 12)]);
	} else if (kind == 4) {
		write_string(w, r);
	} else {
		bool is_object = kind >= 7;

		write_text(w, is_object ? "{" : "[");
		for (uint32_t n = random_below(r, 4); n > 0; n--) {
			write_space(w, r);
			if (is_object) {
				write_string(w, r);
				write_space(w, r);
				write_text(w, ":");
			}
			write_value(w, r, depth + 1);
			write_text(w, n > 1 ? "," : "");
		}
		write_space(w, r);
		write_text(w, is_object ? "}" : "]");
	}
	write_space(w, r);
}

/* One change that probably breaks the grammar. */
static void mutate(struct writer *w, struct random *r)
{
	static const char bytes[] = "{}[]\",:\\ 0123456789.eE+-tfnaul\x7f\xc3\xe2\x80\xff";
	size_t at = random_below(r, (uint32_t)w->size);

	switch (random_below(r, 4)) {
	case 0:
		w->text[at] = bytes[random_below(r, sizeof(bytes) - 1)];
		break;
	case 1:
		memmove(w->text + at, w->text + at + 1, w->size - at - 1);
		w->size--;
		break;
	case 2:
		if (w->size == sizeof(w->text))
			break;
		memmove(w->text + at + 1, w->text + at, w->size - at);
		w->text[at] = bytes[random_below(r, sizeof(bytes) - 1)];
		w->size++;
		break;
	default:
		w->size = at;
		break;
	}
}

static bool json_c_accepts(struct json_tokener *tokener, const struct writer *w)
{
	struct json_object *object;
	bool is_accepted;

	json_tokener_reset(tokener);
	object = json_tokener_parse_ex(tokener, w->text, (int)w->size);
	/* a number at the very end might go on; a space ends it */
	if (json_tokener_get_error(tokener) == json_tokener_continue)
		object = json_tokener_parse_ex(tokener, " ", 1);
	is_accepted = json_tokener_get_error(tokener) == json_tokener_success;
	json_object_put(object);
	return is_accepted;
}

/*
 * What json-c 0.16 takes even in strict mode and RFC 8259 does not: "1.", "01", "-.5", a surrogate
 * alone (it makes U+FFFD of it) and raw control characters.
 */
static bool is_laxer_in_json_c(const char *reason)
{
	return strcmp(reason, "a number wants a digit here") == 0 ||
	       strcmp(reason, "a number with a leading zero") == 0 ||
	       strcmp(reason, "lone surrogate") == 0 || strcmp(reason, "ill-formed UTF-8") == 0 ||
	       strcmp(reason, "control character in a string") == 0;
}

static void texts_made_at_random_are_judged_as_json_c_judges_them(void **state)
{
	struct random r = {.x = 0x9e3779b97f4a7c15u};
	struct json_tokener *tokener = json_tokener_new_ex(FG_JSON_MAX_DEPTH);
	unsigned n_accepted = 0, n_refused = 0;

	(void)state;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	for (int round = 0; round < 60000; round++) {
		struct writer w = {.size = 0};
		struct fg_json_fault fault = {0};
		bool expected, is_accepted;

		write_value(&w, &r, 0);
		for (uint32_t n = random_below(&r, 3); n > 0 && w.size > 0; n--)
			mutate(&w, &r);
		expected = json_c_accepts(tokener, &w);
		is_accepted = check(w.text, w.size, &fault) == 0;
		if (is_accepted)
			n_accepted++;
		else
			n_refused++;
		if (is_accepted && !expected)
			fail_msg("round %d: json-c refuses: %.*s", round, (int)w.size, w.text);
		if (!is_accepted && expected && !is_laxer_in_json_c(fault.reason))
			fail_msg("round %d: json-c accepts: %.*s (%s)", round, (int)w.size, w.text,
				 fault.reason);
	}
	json_tokener_free(tokener);
	assert_true(n_accepted > 10000);
	assert_true(n_refused > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_of_the_grammar_are_accepted),
		cmocka_unit_test(texts_outside_the_grammar_are_refused_at_the_right_place),
		cmocka_unit_test(sixty_four_levels_are_accepted_and_one_more_is_refused),
		cmocka_unit_test(
			ten_thousand_levels_are_refused_after_reading_the_first_sixty_five),
		cmocka_unit_test(a_fault_behind_a_string_is_found_at_every_alignment),
		cmocka_unit_test(a_walk_gives_members_in_order_with_their_text_untouched),
		cmocka_unit_test(a_walk_gives_the_elements_of_an_array_without_names),
		cmocka_unit_test(there_is_nothing_to_walk_in_empty_containers_and_scalars),
		cmocka_unit_test(a_walk_over_text_that_was_not_checked_ends_early),
		cmocka_unit_test(the_last_of_several_members_with_one_name_counts),
		cmocka_unit_test(names_are_compared_after_undoing_their_escapes),
		cmocka_unit_test(escapes_are_undone),
		cmocka_unit_test(quoting_escapes_what_must_be_escaped_and_nothing_else),
		cmocka_unit_test(compacting_leaves_out_white_space_between_tokens_only),
		cmocka_unit_test(paths_select_what_rfc_9535_says),
		cmocka_unit_test(several_paths_are_found_at_once_as_one_by_one),
		cmocka_unit_test(a_path_that_is_not_one_is_refused_at_the_right_place),
		cmocka_unit_test(a_path_tells_whether_it_is_a_single_member),
		cmocka_unit_test(texts_made_at_random_are_judged_as_json_c_judges_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
