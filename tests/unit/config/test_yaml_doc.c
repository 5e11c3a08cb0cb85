#include "expect.h"

#include <errno.h>
#include <stdlib.h>

#include "config/yaml_doc.h"

static struct fg_yaml_node *parse(const char *text, struct fg_report *report, int expected)
{
	struct fg_yaml_node *root = NULL;
	int r = fg_yaml_parse(fg_span_str(text), "f", report, &root);

	if (r != expected)
		fail_msg("%s: returned %d", text, r);
	return root;
}

static void nodes_know_where_they_stand(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_yaml_free_p) struct fg_yaml_node *root = NULL;
	const struct fg_yaml_node *node;

	(void)state;
	root = parse("# first\n"
		     "a: {b: 1}\n"
		     "ä: [x,\n"
		     "    \"y\"]\n"
		     "n:\n",
		     report, 0);
	expect_report(report, "places", "");
	assert_int_equal(root->type, FG_YAML_MAPPING);
	assert_int_equal(root->n_children, 3);
	node = fg_yaml_member(fg_yaml_member(root, "a"), "b");
	assert_non_null(node);
	assert_string_equal(node->text, "1");
	assert_string_equal(node->place.file, "f");
	assert_int_equal(node->place.line, 2);
	assert_int_equal(node->place.column, 8);
	assert_int_equal(node->key_place.column, 5);
	node = fg_yaml_member(root, "ä");
	assert_int_equal(node->type, FG_YAML_LIST);
	assert_true(node->is_flow);
	assert_int_equal(node->place.column, 4);
	assert_string_equal(node->last->text, "y");
	assert_int_equal(node->last->index, 1);
	assert_int_equal(node->last->place.line, 4);
	assert_int_equal(node->last->place.column, 5);
	assert_true(fg_yaml_member(root, "n")->is_null);
	assert_null(fg_yaml_member(root, "x"));
	assert_null(fg_yaml_member(node, "x"));
	assert_null(fg_yaml_member(NULL, "x"));
}

static void quotes_make_a_text_of_what_would_be_nothing(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_yaml_free_p) struct fg_yaml_node *root = NULL;
	static const bool is_null[] = {true, true, true, false, false, false, false};
	size_t i = 0;

	(void)state;
	root = parse("[~, null, NULL, '', \"null\", !!str null, nil]", report, 0);
	expect_report(report, "nulls", "");
	for (const struct fg_yaml_node *node = root->first; node; node = node->next)
		assert_int_equal(node->is_null, is_null[i++]);
	assert_int_equal(i, 7);
}

static void what_is_not_plain_yaml_is_reported_with_its_place(void **state)
{
	static const struct {
		const char *text;
		const char *report;
	} cases[] = {
		{"a: &x 1\nb: *x\n",
		 "f:1:4: anchors (&) are not supported; a text that starts with & needs quotes\n"
		 "f:2:4: aliases (*) are not supported; a text that starts with * needs quotes"},
		{"? *x\n: 1\n",
		 "f:1:3: aliases (*) are not supported; a text that starts with * needs quotes"},
		{"a: !secret x\nb: !!int 1\nc: !!map {}\nd: !!seq []\n",
		 "f:1:4: tags (!) are not supported; a text that starts with ! needs quotes\n"
		 "f:2:4: tags (!) are not supported; a text that starts with ! needs quotes"},
		{"a: 1\nb: 2\na: 3\n", "f:3:1: this key is given already in line 1"},
		{"x: {a: 1, \"a\": 2}\n", "f:1:11: this key is given already in line 1"},
		{"a: 1\n---\nb: 1\n", "f:2:1: a second document starts here; a file holds one"},
		{"{a: 1}: 2\n", "f:1:1: expected a text as key; a text with { or [ needs quotes"},
		{"a: \"x\\0y\"\n", "f:1:4: a text must not contain a NUL character"},
		{"\"a\\0\": 1\n", "f:1:1: a text must not contain a NUL character"},
		{"a:\n\tb: 1\n", "f:2:1: a tab character cannot stand here; indent with spaces"},
		{"ä:\n  - ü\t\n  - \"ü\": 1\n\ty: 1\n",
		 "f:4:1: a tab character cannot stand here; indent with spaces"},
		{"a: \"x\n",
		 "f:2:1: not YAML: found unexpected end of stream (while scanning a quoted scalar "
		 "that starts in line 1)"},
		{"a: 1\n b: 2\n",
		 "f:2:3: not YAML: mapping values are not allowed in this context"},
		{"a: [1, 2\nb: 3\n",
		 "f:2:2: not YAML: did not find expected ',' or ']' (while parsing a flow sequence "
		 "that starts in line 1)"},
		{"a: @x\n",
		 "f:1:4: not YAML: found character that cannot start any token (while scanning for "
		 "the next token that starts in line 1)"},
		{"a: b\nüü\xff: 1\n", "f:2:3: not UTF-8 text"},
		{"a: \xed\xa0\x80\n", "f:1:4: not UTF-8 text"},
		{"\xff\xfe"
		 "a\n",
		 "f:1:1: not UTF-8 text"},
		{"a: \x01\n", "f:1:4: control characters are not allowed"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();

		fg_yaml_free(parse(cases[i].text, report, -EINVAL));
		expect_report(report, cases[i].text, cases[i].report);
	}
}

static void nothing_but_comments_is_no_document(void **state)
{
	static const char *const texts[] = {"",      "\n",  "# nothing\n",
					    "---\n", "~\n", "\xef\xbb\xbf"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();

		assert_null(parse(texts[i], report, 0));
		expect_report(report, texts[i], "");
	}
}

static void depth_ends_at_its_bound(void **state)
{
	(void)state;
	for (size_t depth = FG_YAML_MAX_DEPTH; depth <= FG_YAML_MAX_DEPTH + 1; depth++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
		char text[2 * FG_YAML_MAX_DEPTH + 3] = "";
		bool is_ok = depth == FG_YAML_MAX_DEPTH;

		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		fg_yaml_free(parse(text, report, is_ok ? 0 : -EINVAL));
		expect_report(report, text, is_ok ? "" : "f:1:33: nested deeper than 32 levels");
	}
}

static void a_hundred_thousand_keys_are_compared_in_no_time(void **state)
{
	enum { N_KEYS = 100000, KEY_BYTES = 10 };
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_free_p) char *text = malloc(N_KEYS * KEY_BYTES + 1);
	FG_CLEANUP(fg_yaml_free_p) struct fg_yaml_node *root = NULL;

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < N_KEYS; i++)
		snprintf(text + i * KEY_BYTES, KEY_BYTES + 1, "k%06d: \n", i == 77777 ? 3 : i);
	root = parse(text, report, -EINVAL);
	expect_report(report, "many keys", "f:77778:1: this key is given already in line 4");
	assert_int_equal(root->n_children, N_KEYS);
}

static void merging_appends_lists_and_refuses_what_is_given_twice(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_yaml_free_p) struct fg_yaml_node *into = NULL;
	struct fg_yaml_node *from = NULL;

	(void)state;
	into = parse("l: [1, 2]\n"
		     "m: {a: 1, b: 2, l: [1]}\n"
		     "n:\n"
		     "o: {a: 1}\n"
		     "t: x\n",
		     report, 0);
	assert_int_equal(fg_yaml_parse(fg_span_str("l: [3]\n"
						   "m: {b: 3, c: 4, l: [2]}\n"
						   "n: [7]\n"
						   "o:\n"
						   "t: [1]\n"
						   "u: 1\n"),
				       "g", report, &from),
			 0);
	assert_int_equal(fg_yaml_merge(into, from, report), -EINVAL);
	expect_report(report, "merge",
		      "g:2:5: m.b: given already at f:2:11\n"
		      "g:5:1: t: given already at f:5:1");
	assert_int_equal(fg_yaml_member(into, "l")->n_children, 3);
	assert_string_equal(fg_yaml_member(into, "l")->last->place.file, "g");
	assert_string_equal(fg_yaml_member(fg_yaml_member(into, "m"), "b")->text, "2");
	assert_string_equal(fg_yaml_member(fg_yaml_member(into, "m"), "c")->text, "4");
	assert_int_equal(fg_yaml_member(fg_yaml_member(into, "m"), "l")->n_children, 2);
	assert_int_equal(fg_yaml_member(into, "n")->n_children, 1);
	assert_int_equal(fg_yaml_member(into, "o")->n_children, 1);
	assert_non_null(fg_yaml_member(into, "u"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_know_where_they_stand),
		cmocka_unit_test(quotes_make_a_text_of_what_would_be_nothing),
		cmocka_unit_test(what_is_not_plain_yaml_is_reported_with_its_place),
		cmocka_unit_test(nothing_but_comments_is_no_document),
		cmocka_unit_test(depth_ends_at_its_bound),
		cmocka_unit_test(a_hundred_thousand_keys_are_compared_in_no_time),
		cmocka_unit_test(merging_appends_lists_and_refuses_what_is_given_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
