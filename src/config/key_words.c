/*
 * What people read: mistakes with their place, what a misspelled key may have meant, and the
 * reference's words for type and range.
 */
#include "config/keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/units.h"

#define TRAIL_BYTES 400 /* a longer trail is cut */
#define SHOWN_BYTES 60  /* of a value, in a message */

/* ---- texts under construction: bounded, cut when full */

struct text {
	char *out;
	size_t room, used;
};

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->out + t->used, t->room - t->used, format, args);
	va_end(args);
	if (n > 0)
		t->used = t->used + (size_t)n < t->room ? t->used + (size_t)n : t->room - 1;
}

static void put_trail(struct text *t, const struct fg_trail *trail)
{
	if (!trail)
		return;
	put_trail(t, trail->parent);
	if (trail->name)
		put(t, "%s%s", trail->parent ? "." : "", trail->name);
	else
		put(t, "[%u]", trail->index);
}

static void put_choices(struct text *t, const char *const *choices)
{
	for (size_t i = 0; choices[i]; i++)
		put(t, "%s%s", i == 0 ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
}

static void put_range(struct text *t, const struct fg_key *key)
{
	char low[FG_UNITS_TEXT_BYTES], high[FG_UNITS_TEXT_BYTES];

	switch (key->type) {
	case FG_KEY_INTEGER:
		if (key->max == key->min + 1)
			put(t, "%lld or %lld", (long long)key->min, (long long)key->max);
		else
			put(t, "a number from %lld to %lld", (long long)key->min,
			    (long long)key->max);
		return;
	case FG_KEY_SIZE:
		put(t, "a size from %s to %s", fg_size_text(key->min, low),
		    fg_size_text(key->max, high));
		return;
	default:
		put(t, "a duration from %s to %s", fg_duration_text(key->min, low),
		    fg_duration_text(key->max, high));
	}
}

void fg_key_range(const struct fg_key *key, char *out, size_t out_size)
{
	struct text t = {out, out_size, 0};

	*out = '\0';
	put_range(&t, key);
}

void fg_key_choices(const struct fg_key *key, char *out, size_t out_size)
{
	struct text t = {out, out_size, 0};

	*out = '\0';
	put_choices(&t, key->choices);
}

/* ---- messages */

int fg_key_mistake(const struct fg_reader *r, const struct fg_place *place,
		   const struct fg_trail *trail, const char *format, ...)
{
	char path[TRAIL_BYTES] = "", what[TRAIL_BYTES];
	struct text t = {path, sizeof(path), 0};
	va_list args;

	put_trail(&t, trail);
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	fg_report_add(r->report, place, "%s%s%s", path, trail ? ": " : "", what);
	return -EINVAL;
}

int fg_key_unexpected(const struct fg_reader *r, const struct fg_yaml_node *node,
		      const struct fg_trail *trail, const char *what)
{
	size_t size;

	switch (node->type) {
	case FG_YAML_BROKEN:
		return -EINVAL;
	case FG_YAML_LIST:
		return fg_key_mistake(r, &node->place, trail, "expected %s, got a list%s", what,
				      node->is_flow ? " (a text with [ needs quotes)" : "");
	case FG_YAML_MAPPING:
		return fg_key_mistake(r, &node->place, trail, "expected %s, got a mapping%s", what,
				      node->is_flow ? " (a text with { needs quotes)" : "");
	case FG_YAML_TEXT:
		break;
	}
	if (node->is_null)
		return fg_key_mistake(r, &node->place, trail, "expected %s, got nothing", what);
	size = strlen(node->text);
	if (size <= SHOWN_BYTES)
		return fg_key_mistake(r, &node->place, trail, "expected %s, got \"%s\"", what,
				      node->text);
	size = SHOWN_BYTES;
	while (size > 0 && ((unsigned char)node->text[size] & 0xc0) == 0x80)
		size--;
	return fg_key_mistake(r, &node->place, trail, "expected %s, got \"%.*s…\"", what, (int)size,
			      node->text);
}

int fg_key_unknown(const struct fg_reader *r, const struct fg_yaml_node *node,
		   const struct fg_trail *trail, const char *nearest)
{
	struct fg_trail below = {.parent = trail, .name = node->key};

	if (nearest)
		return fg_key_mistake(r, &node->key_place, &below,
				      "unknown key (did you mean \"%s\"?)", nearest);
	return fg_key_mistake(r, &node->key_place, &below, "unknown key");
}

/* ---- what was meant */

#define NEAR_BYTES 40

/* Letters and digits of @text in lower case: maxInFlight and max-in-flight are max_in_flight. */
static size_t fold(const char *text, char *out)
{
	size_t size = 0;

	for (; *text; text++) {
		if (*text == '_' || *text == '-')
			continue;
		if (size == NEAR_BYTES)
			return SIZE_MAX;
		out[size++] = *text >= 'A' && *text <= 'Z' ? (char)(*text + 'a' - 'A') : *text;
	}
	return size;
}

/* Edits (insert, delete, replace, swap of neighbours) that make one the other. */
static size_t distance(const char *found, const char *known)
{
	size_t rows[3][NEAR_BYTES + 1];
	char a[NEAR_BYTES], b[NEAR_BYTES];
	size_t n = fold(found, a), m = fold(known, b);

	if (n == SIZE_MAX || m == SIZE_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
			if (above[j] + 1 < row[j])
				row[j] = above[j] + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    above2[j - 2] + 1 < row[j])
				row[j] = above2[j - 2] + 1;
		}
	}
	return rows[n % 3][m];
}

const char *fg_key_nearest(const char *found, const char *best, const char *known)
{
	size_t d = distance(found, known);

	/* Two edits turn any short word into any other: at most half of it may differ. */
	if (d > 2 || 2 * d > strlen(known))
		return best;
	return best && distance(found, best) <= d ? best : known;
}

/* ---- words for the reference */

void fg_key_describe(const struct fg_key *key, char *out, size_t out_size)
{
	struct text t = {out, out_size, 0};

	*out = '\0';
	switch (key->type) {
	case FG_KEY_TEXT:
		put(&t, "text of %lld to %lld bytes", (long long)key->min, (long long)key->max);
		break;
	case FG_KEY_NAME:
		put(&t, "name");
		break;
	case FG_KEY_DIRECTORY:
		put(&t, "absolute path of a directory");
		break;
	case FG_KEY_FILE:
		put(&t, "path of a readable file");
		break;
	case FG_KEY_FILES:
		put(&t, "path of a readable file or directory");
		break;
	case FG_KEY_SECRET:
		put(&t, "secret");
		break;
	case FG_KEY_URL:
		put(&t, "url");
		break;
	case FG_KEY_BOOLEAN:
		put(&t, "true or false");
		break;
	case FG_KEY_CHOICE:
		put_choices(&t, key->choices);
		break;
	case FG_KEY_TEXTS:
		put(&t, "list of texts of %lld to %lld bytes", (long long)key->min,
		    (long long)key->max);
		break;
	case FG_KEY_SECTION:
		put(&t, "mapping");
		break;
	case FG_KEY_SECTIONS:
		put(&t, "list of up to %lld mappings", (long long)key->max);
		break;
	case FG_KEY_SPECIAL:
		put(&t, "%s", key->help);
		break;
	default:
		put_range(&t, key);
	}
	if (key->flags & FG_KEY_REQUIRED)
		put(&t, "; required");
	if (key->fallback)
		put(&t, "; default %s", key->fallback);
}
