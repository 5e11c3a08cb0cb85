#include "model/topic.h"

#include <errno.h>
#include <stdlib.h>

#include "model/utf8.h"
#include "util/cleanup.h"

static bool is_text_ok(struct fg_span text)
{
	return text.size > 0 && text.size <= FG_TOPIC_MAX_BYTES &&
	       !memchr(text.data, '\0', text.size) && fg_utf8_ok(text);
}

bool fg_topic_name_ok(struct fg_span topic)
{
	return is_text_ok(topic) && !memchr(topic.data, '+', topic.size) &&
	       !memchr(topic.data, '#', topic.size);
}

/* The level that starts at @at: up to the next slash or the end. */
static struct fg_span level_at(const char *at, const char *end)
{
	const char *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;

	return fg_span_of(at, (size_t)((slash ? slash : end) - at));
}

/* Goes to the level behind the one in *@level, or returns false when that was the last. */
static bool next_level(struct fg_span *level, const char *end)
{
	const char *at = level->data + level->size;

	if (at == end)
		return false;
	*level = level_at(at + 1, end);
	return true;
}

static bool has_wildcard(struct fg_span level)
{
	return level.size > 0 &&
	       (memchr(level.data, '+', level.size) || memchr(level.data, '#', level.size));
}

/* ------------------------------------------------------------------ patterns */

enum level_kind {
	LEVEL_LITERAL,
	LEVEL_ONE, /* {name} or + */
	LEVEL_ALL, /* {name...} or # */
};

struct level {
	enum level_kind kind;
	bool is_captured;
	struct fg_span literal; /* into the pattern's filter */
};

struct fg_topic_pattern {
	char *filter;
	struct level *levels;
	size_t n_levels;
	struct fg_span names[FG_TOPIC_MAX_CAPTURES]; /* into `text` */
	size_t n_names;
	char *text;
};

static void pattern_freep(struct fg_topic_pattern **pattern)
{
	fg_topic_pattern_free(*pattern);
}

static bool is_name(struct fg_span name)
{
	if (name.size == 0 || name.data[0] < 'a' || name.data[0] > 'z')
		return false;
	for (size_t i = 0; i < name.size; i++) {
		char c = name.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
			return false;
	}
	return true;
}

static bool ends_with(struct fg_span text, const char *tail)
{
	size_t n = strlen(tail);

	return text.size >= n && memcmp(text.data + text.size - n, tail, n) == 0;
}

/* A level as people quote it: whole, unless it is so long that it would drown the sentence. */
#define QUOTED(span) (int)((span).size < 100 ? (span).size : 100), (span).data

static int parse_capture(struct fg_topic_pattern *pattern, struct fg_span text, struct level *level,
			 struct fg_error *err)
{
	struct fg_span name = fg_span_of(text.data + 1, text.size - 2);

	level->kind = LEVEL_ONE;
	level->is_captured = true;
	if (ends_with(name, "...")) {
		level->kind = LEVEL_ALL;
		name.size -= 3;
	}
	if (!is_name(name))
		return fg_error_set(
			err, -EINVAL,
			"\"%.*s\": the name between the braces must be a lower-case letter "
			"followed by lower-case letters, digits and _",
			QUOTED(text));
	if (fg_topic_pattern_capture(pattern, name) >= 0)
		return fg_error_set(err, -EINVAL, "{%.*s} stands twice", QUOTED(name));
	if (pattern->n_names == FG_TOPIC_MAX_CAPTURES)
		return fg_error_set(err, -EINVAL, "more than %d names in braces",
				    FG_TOPIC_MAX_CAPTURES);
	pattern->names[pattern->n_names++] = name;
	return 0;
}

static int parse_level(struct fg_topic_pattern *pattern, struct fg_span text, struct level *level,
		       struct fg_error *err)
{
	if (fg_span_is(text, "+")) {
		level->kind = LEVEL_ONE;
		return 0;
	}
	if (fg_span_is(text, "#")) {
		level->kind = LEVEL_ALL;
		return 0;
	}
	if (has_wildcard(text))
		return fg_error_set(
			err, -EINVAL,
			"\"%.*s\": a wildcard (+ or #) must be alone between its slashes",
			QUOTED(text));
	if (text.size > 0 &&
	    (memchr(text.data, '{', text.size) || memchr(text.data, '}', text.size))) {
		if (text.size > 2 && text.data[0] == '{' && text.data[text.size - 1] == '}' &&
		    !memchr(text.data + 1, '{', text.size - 1) &&
		    !memchr(text.data, '}', text.size - 1))
			return parse_capture(pattern, text, level, err);
		return fg_error_set(err, -EINVAL,
				    "\"%.*s\": a {name} must be alone between its slashes",
				    QUOTED(text));
	}
	level->kind = LEVEL_LITERAL;
	level->literal = text;
	return 0;
}

/* Write the level as it stands in a filter; it is never longer there than in the pattern. */
static char *put_level(char *at, struct level *level)
{
	switch (level->kind) {
	case LEVEL_ONE:
		*at++ = '+';
		break;
	case LEVEL_ALL:
		*at++ = '#';
		break;
	case LEVEL_LITERAL:
		if (level->literal.size > 0)
			memcpy(at, level->literal.data, level->literal.size);
		level->literal.data = at;
		at += level->literal.size;
		break;
	}
	return at;
}

int fg_topic_pattern_new(struct fg_span text, struct fg_topic_pattern **ret, struct fg_error *err)
{
	FG_CLEANUP(pattern_freep) struct fg_topic_pattern *pattern = NULL;
	struct fg_span part;
	const char *end;
	size_t n_levels = 1;
	char *at;

	if (text.size == 0)
		return fg_error_set(err, -EINVAL, "the pattern is empty");
	if (text.size > FG_TOPIC_MAX_BYTES)
		return fg_error_set(err, -EINVAL, "the pattern is longer than %d bytes",
				    FG_TOPIC_MAX_BYTES);
	if (!is_text_ok(text))
		return fg_error_set(err, -EINVAL, "the pattern is not UTF-8 text without NUL");
	for (size_t i = 0; i < text.size; i++)
		n_levels += text.data[i] == '/';

	pattern = calloc(1, sizeof(*pattern));
	if (!pattern)
		return -ENOMEM;
	pattern->text = strndup(text.data, text.size);
	pattern->filter = calloc(1, text.size + 1);
	pattern->levels = calloc(n_levels, sizeof(*pattern->levels));
	if (!pattern->text || !pattern->filter || !pattern->levels)
		return -ENOMEM;

	end = pattern->text + text.size;
	at = pattern->filter;
	part = level_at(pattern->text, end);
	do {
		struct level *level = &pattern->levels[pattern->n_levels++];
		int r = parse_level(pattern, part, level, err);

		if (r < 0)
			return r;
		if (level->kind == LEVEL_ALL && pattern->n_levels < n_levels)
			return fg_error_set(err, -EINVAL, "\"%.*s\" must be the last level",
					    QUOTED(part));
		if (pattern->n_levels > 1)
			*at++ = '/';
		at = put_level(at, level);
	} while (next_level(&part, end));

	*ret = pattern;
	pattern = NULL;
	return 0;
}

struct fg_topic_pattern *fg_topic_pattern_free(struct fg_topic_pattern *pattern)
{
	if (!pattern)
		return NULL;
	free(pattern->levels);
	free(pattern->filter);
	free(pattern->text);
	free(pattern);
	return NULL;
}

const char *fg_topic_pattern_filter(const struct fg_topic_pattern *pattern)
{
	return pattern->filter;
}

int fg_topic_pattern_capture(const struct fg_topic_pattern *pattern, struct fg_span name)
{
	for (size_t i = 0; i < pattern->n_names; i++)
		if (fg_span_equal(pattern->names[i], name))
			return (int)i;
	return -1;
}

/*
 * Does @pattern match when the topic has no levels from @i on? "a/#" includes the parent, "a"
 * (4.7.1.2); "a/{rest...}" would have nothing to name.
 */
static bool may_end_at(const struct fg_topic_pattern *pattern, size_t i)
{
	return i == pattern->n_levels ||
	       (i > 0 && pattern->levels[i].kind == LEVEL_ALL && !pattern->levels[i].is_captured);
}

bool fg_topic_pattern_match(const struct fg_topic_pattern *pattern, struct fg_span topic,
			    struct fg_topic_captures *ret)
{
	const char *end;
	struct fg_span part;

	ret->count = 0;
	if (topic.size == 0)
		return false;
	/*
	 * What starts with a wildcard does not match "$SYS/...": without this, "#" would send the
	 * broker's own statistics to every cloud. (MQTT 3.1.1, 4.7.2)
	 */
	if (topic.data[0] == '$' && pattern->levels[0].kind != LEVEL_LITERAL)
		return false;
	end = topic.data + topic.size;
	part = level_at(topic.data, end);
	for (size_t i = 0;;) {
		const struct level *level = &pattern->levels[i];

		if (level->kind == LEVEL_ALL)
			part.size = (size_t)(end - part.data);
		else if (level->kind == LEVEL_LITERAL && !fg_span_equal(level->literal, part))
			return false;
		if (level->is_captured)
			ret->values[ret->count++] = part;
		i++;
		if (!next_level(&part, end))
			/* "a/#" includes the parent, "a" (4.7.1.2); "a/{rest...}" has nothing to
			 * name */
			return i == pattern->n_levels || (pattern->levels[i].kind == LEVEL_ALL &&
							  !pattern->levels[i].is_captured);
		if (i == pattern->n_levels)
			return false;
	}
}

bool fg_topic_pattern_covers(const struct fg_topic_pattern *pattern,
			     const struct fg_topic_pattern *other)
{
	const struct level *first = &other->levels[0];

	/* 4.7.2 again: "#" does not cover "$SYS/x" */
	if (pattern->levels[0].kind != LEVEL_LITERAL && first->kind == LEVEL_LITERAL &&
	    first->literal.size > 0 && first->literal.data[0] == '$')
		return false;
	for (size_t i = 0;; i++) {
		const struct level *a = &pattern->levels[i];
		const struct level *b = &other->levels[i];

		if (i == other->n_levels)
			return may_end_at(pattern, i);
		if (i == pattern->n_levels)
			return false;
		if (a->kind == LEVEL_ALL)
			return !may_end_at(other, i) || may_end_at(pattern, i);
		if (b->kind ==
		    LEVEL_ALL) /* "+/#" is the same as "#" where there is a level at all */
			return a->kind == LEVEL_ONE && i + 1 < pattern->n_levels &&
			       may_end_at(pattern, i + 1) && !may_end_at(other, i);
		if (a->kind == LEVEL_LITERAL &&
		    (b->kind != LEVEL_LITERAL || !fg_span_equal(a->literal, b->literal)))
			return false;
	}
}
