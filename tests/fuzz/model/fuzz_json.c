/*
 * Input: a path up to the first line feed, then a JSON text. What is checked: that nothing is read
 * outside the text, and that check, walk, unescape, quote and compact agree with each other.
 */
#include <stdlib.h>

#include "../fuzz.h"
#include "model/json.h"
#include "model/utf8.h"

static bool is_inside(struct fg_span part, struct fg_span whole)
{
	return part.size == 0 ||
	       (part.data >= whole.data && part.data + part.size <= whole.data + whole.size);
}

/* What is between the quotes, undone and redone. */
static void exercise_string(struct fg_span raw, bool is_checked)
{
	char *text = malloc(raw.size + 1);
	char *quoted = malloc(6 * raw.size + 2);
	struct fg_span undone;
	struct fg_json_value value;
	struct fg_json_fault fault;
	size_t n;

	REQUIRE(text && quoted);
	n = fg_json_unescape(raw, text);
	REQUIRE(n <= raw.size);
	undone = fg_span_of(text, n);
	if (is_checked) {
		REQUIRE(fg_utf8_ok(undone));
		REQUIRE(fg_json_name_is(raw, undone));
		n = fg_json_quote(undone, quoted, 6 * raw.size + 2);
		REQUIRE(n <= 6 * raw.size + 2);
		REQUIRE(fg_json_check(fg_span_of(quoted, n), &value, &fault) == 0);
		REQUIRE(value.type == FG_JSON_STRING);
		REQUIRE(fg_json_name_is(fg_span_of(quoted + 1, n - 2), undone));
	}
	free(text);
	free(quoted);
}

/* Every value of a checked text is itself a text that passes, with the same type. */
static void exercise_checked(struct fg_json_value value, int depth)
{
	struct fg_json_walk walk;
	struct fg_json_member member;
	struct fg_json_value again;
	struct fg_json_fault fault;

	REQUIRE(fg_json_check(value.text, &again, &fault) == 0);
	REQUIRE(again.type == value.type && again.text.data == value.text.data &&
		again.text.size == value.text.size);
	if (value.type == FG_JSON_STRING)
		exercise_string(fg_span_of(value.text.data + 1, value.text.size - 2), true);
	fg_json_walk_begin(&walk, value);
	while (fg_json_walk_next(&walk, &member)) {
		REQUIRE(is_inside(member.name, value.text));
		REQUIRE(is_inside(member.value.text, value.text));
		if (value.type == FG_JSON_OBJECT)
			exercise_string(member.name, true);
		/* each level is checked again: not too deep, or this takes for ever */
		if (depth < 8)
			exercise_checked(member.value, depth + 1);
	}
}

/* A walk over text that nobody checked stays inside. */
static void exercise_unchecked(struct fg_span text, enum fg_json_type type)
{
	struct fg_json_value value = {type, text};
	struct fg_json_walk walk;
	struct fg_json_member member;

	fg_json_walk_begin(&walk, value);
	while (fg_json_walk_next(&walk, &member)) {
		REQUIRE(is_inside(member.name, text));
		REQUIRE(is_inside(member.value.text, text));
		exercise_string(member.name, false);
	}
	fg_json_member(value, fg_span_str("a"), &value);
}

static size_t count(struct fg_json_value value)
{
	struct fg_json_walk walk;
	struct fg_json_member member;
	size_t n = 0;

	fg_json_walk_begin(&walk, value);
	while (fg_json_walk_next(&walk, &member))
		n++;
	return n;
}

static void exercise_compact(struct fg_json_value value)
{
	char *out = malloc(value.text.size);
	char *again = malloc(value.text.size);
	struct fg_json_value compact;
	struct fg_json_fault fault;
	size_t n;

	REQUIRE(out && again);
	n = fg_json_compact(value, out);
	REQUIRE(n > 0 && n <= value.text.size);
	REQUIRE(fg_json_check(fg_span_of(out, n), &compact, &fault) == 0);
	REQUIRE(compact.type == value.type && compact.text.size == n);
	REQUIRE(count(compact) == count(value));
	REQUIRE(fg_json_compact(compact, again) == n && memcmp(out, again, n) == 0);
	free(out);
	free(again);
}

static void exercise_path(struct fg_json_path *path, struct fg_json_value root)
{
	struct fg_json_value found = {0}, again;
	bool is_found = fg_json_path_find(path, root, &found);

	REQUIRE(!is_found || is_inside(found.text, root.text));
	fg_json_path_find_all(&path, 1, root, &again);
	REQUIRE(is_found == (again.text.data != NULL));
	REQUIRE(!is_found || fg_span_equal(found.text, again.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *line_feed = size > 0 ? memchr(text, '\n', size) : NULL;
	struct fg_span path_text = {text, line_feed ? (size_t)(line_feed - text) : 0};
	struct fg_json_path *path = NULL;
	struct fg_json_value value;
	struct fg_json_fault fault = {0};

	if (line_feed) {
		text = line_feed + 1;
		size -= path_text.size + 1;
	}
	if (fg_json_path_new(path_text, &path, &fault) < 0)
		REQUIRE(fault.reason && fault.offset <= path_text.size);
	if (fg_json_check(fg_span_of(text, size), &value, &fault) == 0) {
		REQUIRE(is_inside(value.text, fg_span_of(text, size)) && value.text.size > 0);
		exercise_checked(value, 0);
		exercise_compact(value);
		if (path)
			exercise_path(path, value);
	} else {
		REQUIRE(fault.reason && fault.offset <= size);
	}
	exercise_unchecked(fg_span_of(text, size), FG_JSON_OBJECT);
	exercise_unchecked(fg_span_of(text, size), FG_JSON_ARRAY);
	fg_json_path_free(path);
	return 0;
}
