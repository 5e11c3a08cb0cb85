#include "config/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/read_file.h"
#include "config/secret.h"
#include "config/units.h"
#include "config/url.h"
#include "util/cleanup.h"

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

/* ---- memory */

void *fg_keep_room(const struct fg_reader *r, size_t size)
{
	struct fg_kept *kept = calloc(1, sizeof(*kept) + size);

	if (!kept)
		return NULL;
	kept->size = size;
	kept->next = *r->kept;
	*r->kept = kept;
	return kept->data;
}

char *fg_keep(const struct fg_reader *r, const char *text, size_t size)
{
	char *copy = fg_keep_room(r, size + 1);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

struct fg_kept *fg_kept_free(struct fg_kept *kept)
{
	struct fg_kept *next;

	for (; kept; kept = next) {
		next = kept->next;
		explicit_bzero(kept->data, kept->size);
		free(kept);
	}
	return NULL;
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

/* ---- single values */

bool fg_name_ok(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t size = strlen(text);

	/* It becomes part of file names and of command lines: no ".", no "-" at the start. */
	return size > 0 && size <= FG_NAME_MAX_BYTES && strspn(text, allowed) == size &&
	       !strchr("_.-", *text);
}

static int resolve_file(const struct fg_reader *r, const struct fg_key *key,
			const struct fg_yaml_node *node, const struct fg_trail *trail, char **ret)
{
	FG_CLEANUP(fg_close_p) int fd = -1;
	char path[PATH_MAX];
	struct stat st;
	int n = snprintf(path, sizeof(path), "%s%s", *node->text == '/' ? "" : r->directory,
			 node->text);

	if (n < 0 || (size_t)n >= sizeof(path))
		return fg_key_mistake(r, &node->place, trail, "the path is too long");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", path,
				      fg_read_file_error(-errno));
	if (S_ISDIR(st.st_mode) && key->type != FG_KEY_FILES)
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", path,
				      fg_read_file_error(-EISDIR));
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", path,
				      fg_read_file_error(-EINVAL));
	*ret = fg_keep(r, path, (size_t)n);
	return *ret ? 0 : -ENOMEM;
}

static int check_length(const struct fg_reader *r, const struct fg_key *key,
			const struct fg_yaml_node *node, const struct fg_trail *trail)
{
	size_t size = strlen(node->text);
	char what[64];

	if (size == 0 && key->min > 0)
		return fg_key_mistake(r, &node->place, trail, "expected a text, got an empty one");
	if (key->max == 0 || (size >= (size_t)key->min && size <= (size_t)key->max))
		return 0;
	snprintf(what, sizeof(what), "a text of %lld to %lld bytes", (long long)key->min,
		 (long long)key->max);
	return fg_key_unexpected(r, node, trail, what);
}

int fg_key_text(const struct fg_reader *r, const struct fg_key *key,
		const struct fg_yaml_node *node, const struct fg_trail *trail, char **ret)
{
	int e;

	if (key->type == FG_KEY_SECRET)
		return fg_secret_read(r, node, trail, ret);
	if (node->type != FG_YAML_TEXT || node->is_null)
		return fg_key_unexpected(r, node, trail, "a text");
	switch (key->type) {
	case FG_KEY_FILE:
	case FG_KEY_FILES:
		if (!*node->text)
			return fg_key_unexpected(r, node, trail, "the path of a file");
		return resolve_file(r, key, node, trail, ret);
	case FG_KEY_NAME:
		if (!fg_name_ok(node->text))
			return fg_key_unexpected(r, node, trail,
						 "a name (1 to 63 of A-Z a-z 0-9 _ . -, starting "
						 "with a letter or digit)");
		break;
	case FG_KEY_DIRECTORY:
		if (*node->text != '/')
			return fg_key_unexpected(r, node, trail, "an absolute path");
		break;
	default:
		e = check_length(r, key, node, trail);
		if (e < 0)
			return e;
	}
	*ret = node->text;
	return 0;
}

/* Returns 0, -EINVAL, or -ERANGE when it is a number but larger than any. */
static int parse_integer(const char *text, int64_t *ret)
{
	bool is_negative = *text == '-';
	const char *digits = text + is_negative;
	int64_t number = 0;

	if (!*digits || strspn(digits, "0123456789") != strlen(digits))
		return -EINVAL;
	/* 010 is eight to some readers of YAML and ten to others. */
	if (digits[0] == '0' && digits[1])
		return -EINVAL;
	for (; *digits; digits++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_sub_overflow(number, *digits - '0', &number))
			return -ERANGE;
	if (!is_negative && number == INT64_MIN)
		return -ERANGE;
	*ret = is_negative ? number : -number;
	return 0;
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

static int choose(const struct fg_reader *r, const struct fg_key *key,
		  const struct fg_yaml_node *node, const struct fg_trail *trail, int64_t *ret)
{
	char what[TRAIL_BYTES] = "";
	struct text t = {what, sizeof(what), 0};

	if (node->type == FG_YAML_TEXT && !node->is_null)
		for (unsigned i = 0; key->choices[i]; i++)
			if (strcmp(node->text, key->choices[i]) == 0) {
				*ret = key->choice_values ? key->choice_values[i] : i;
				return 0;
			}
	put_choices(&t, key->choices);
	return fg_key_unexpected(r, node, trail, what);
}

static int decide(const struct fg_reader *r, const struct fg_yaml_node *node,
		  const struct fg_trail *trail, int64_t *ret)
{
	if (node->type == FG_YAML_TEXT && strcmp(node->text, "true") == 0)
		*ret = 1;
	else if (node->type == FG_YAML_TEXT && strcmp(node->text, "false") == 0)
		*ret = 0;
	else
		return fg_key_unexpected(r, node, trail, "true or false");
	return 0;
}

int fg_key_number(const struct fg_reader *r, const struct fg_key *key,
		  const struct fg_yaml_node *node, const struct fg_trail *trail, int64_t *ret)
{
	const char *form;
	char range[96] = "";
	struct text t = {range, sizeof(range), 0};
	int64_t number = 0;
	int e;

	if (key->type == FG_KEY_CHOICE)
		return choose(r, key, node, trail, ret);
	if (key->type == FG_KEY_BOOLEAN)
		return decide(r, node, trail, ret);
	put_range(&t, key);
	form = key->type == FG_KEY_INTEGER ? range
	       : key->type == FG_KEY_SIZE  ? "a size such as \"64MiB\""
					   : "a duration such as \"30s\"";
	if (node->type != FG_YAML_TEXT || node->is_null)
		return fg_key_unexpected(r, node, trail, form);
	e = key->type == FG_KEY_INTEGER ? parse_integer(node->text, &number)
	    : key->type == FG_KEY_SIZE  ? fg_size_parse(node->text, &number)
					: fg_duration_parse(node->text, &number);
	if (e == -EINVAL)
		return fg_key_unexpected(r, node, trail, form);
	if (e < 0 || number < key->min || number > key->max)
		return fg_key_unexpected(r, node, trail, range);
	if (key->type == FG_KEY_SECONDS && number % 1000 != 0)
		return fg_key_unexpected(r, node, trail, "whole seconds");
	*ret = number;
	return 0;
}

static int read_url(const struct fg_reader *r, const struct fg_yaml_node *node,
		    const struct fg_trail *trail, struct fg_url *ret)
{
	static const char form[] = "mqtt://HOST[:PORT] or mqtts://HOST[:PORT]";
	struct fg_url_parts parts;
	int e;

	if (node->type != FG_YAML_TEXT || node->is_null)
		return fg_key_unexpected(r, node, trail, form);
	e = fg_url_parse(node->text, &parts);
	if (e == -EPERM)
		return fg_key_mistake(r, &node->place, trail,
				      "a user name and password do not belong into the url");
	if (e < 0)
		return fg_key_unexpected(r, node, trail, form);
	ret->host = fg_keep(r, parts.host, strlen(parts.host));
	if (!ret->host)
		return -ENOMEM;
	ret->is_tls = parts.is_tls;
	ret->port = parts.port;
	return 0;
}

/* ---- storing */

static void store(void *at, size_t width, int64_t number)
{
	uint8_t n8 = (uint8_t)number;
	uint16_t n16 = (uint16_t)number;
	uint32_t n32 = (uint32_t)number;

	switch (width) {
	case 1:
		memcpy(at, &n8, 1);
		return;
	case 2:
		memcpy(at, &n16, 2);
		return;
	case 4:
		memcpy(at, &n32, 4);
		return;
	case 8:
		memcpy(at, &number, 8);
		return;
	default:
		return;
	}
}

static int read_number(const struct fg_reader *r, const struct fg_key *key,
		       const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	int64_t number = 0;
	int e;

	e = fg_key_number(r, key, node, trail, &number);
	if (e < 0)
		return e;
	store((char *)item + key->offset, key->width,
	      key->type == FG_KEY_SECONDS ? number / 1000 : number);
	return 0;
}

static int read_texts(const struct fg_reader *r, const struct fg_key *key,
		      const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	size_t n = 0;
	char **texts;
	int e, worst = 0;

	if (node->type != FG_YAML_LIST)
		return fg_key_unexpected(r, node, trail, "a list");
	texts = fg_keep_room(r, node->n_children * sizeof(*texts));
	if (!texts)
		return -ENOMEM;
	for (const struct fg_yaml_node *child = node->first; child; child = child->next) {
		struct fg_trail below = {.parent = trail, .index = child->index};

		e = fg_key_text(r, key, child, &below, &texts[n]);
		if (e == -ENOMEM)
			return e;
		if (e < 0)
			worst = e;
		else
			n++;
	}
	memcpy((char *)item + key->offset, &texts, sizeof(texts));
	memcpy((char *)item + key->count_offset, &n, sizeof(n));
	return worst;
}

struct fg_trail fg_key_entry_trail(const struct fg_yaml_node *node, const struct fg_trail *list)
{
	const struct fg_yaml_node *name = fg_yaml_member(node, "name");
	struct fg_trail trail = {.parent = list, .index = node->index};

	if (name && name->type == FG_YAML_TEXT && !name->is_null && fg_name_ok(name->text))
		trail.name = name->text;
	return trail;
}

static int read_sections(struct fg_reader *r, const struct fg_key *key,
			 const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	size_t n = 0;
	char *entries;
	int e, worst = 0;

	if (node->is_null)
		return 0;
	if (node->type != FG_YAML_LIST)
		return fg_key_unexpected(r, node, trail, "a list");
	if (node->n_children > key->max)
		return fg_key_mistake(r, &node->place, trail,
				      "expected at most %lld entries, got %u", (long long)key->max,
				      node->n_children);
	entries = fg_keep_room(r, node->n_children * key->section->item_size);
	if (!entries)
		return -ENOMEM;
	for (const struct fg_yaml_node *child = node->first; child; child = child->next) {
		struct fg_trail below = fg_key_entry_trail(child, trail);
		void *entry = entries + n * key->section->item_size;

		if (child->type != FG_YAML_MAPPING) {
			worst = fg_key_unexpected(r, child, &below, "a mapping");
			continue;
		}
		/* Entries that turn out unusable leave their values behind. */
		memset(entry, 0, key->section->item_size);
		e = fg_key_section(r, key->section, child, &below, entry);
		if (e == -ENOMEM)
			return e;
		if (e < 0)
			worst = -EINVAL;
		if (e != -ENODATA)
			n++;
	}
	memcpy((char *)item + key->offset, &entries, sizeof(entries));
	memcpy((char *)item + key->count_offset, &n, sizeof(n));
	return worst;
}

static int read_value(struct fg_reader *r, const struct fg_key *key,
		      const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	char *text = NULL;
	int e;

	switch (key->type) {
	case FG_KEY_SPECIAL:
		return key->read(r, key, node, trail, item);
	case FG_KEY_SECTION:
		return fg_key_section(r, key->section, node, trail, (char *)item + key->offset);
	case FG_KEY_SECTIONS:
		return read_sections(r, key, node, trail, item);
	case FG_KEY_TEXTS:
		return read_texts(r, key, node, trail, item);
	case FG_KEY_URL:
		return read_url(r, node, trail, (struct fg_url *)((char *)item + key->offset));
	case FG_KEY_INTEGER:
	case FG_KEY_BOOLEAN:
	case FG_KEY_CHOICE:
	case FG_KEY_SECONDS:
	case FG_KEY_MILLISECONDS:
	case FG_KEY_SIZE:
		return read_number(r, key, node, trail, item);
	default:
		e = fg_key_text(r, key, node, trail, &text);
		if (e == 0)
			memcpy((char *)item + key->offset, &text, sizeof(text));
		return e;
	}
}

/* ---- sections */

static int read_default(struct fg_reader *r, const struct fg_key *key, const struct fg_trail *trail,
			void *item)
{
	struct fg_yaml_node node = {.type = FG_YAML_TEXT};

	if (key->type == FG_KEY_SECTION)
		return fg_key_section(r, key->section, NULL, trail, (char *)item + key->offset);
	if (!key->fallback)
		return 0;
	/* Only texts are kept by pointer, and a fallback lives as long as the table. */
	node.text = (char *)(uintptr_t)key->fallback;
	return read_value(r, key, &node, trail, item);
}

static int read_key(struct fg_reader *r, const struct fg_key *key,
		    const struct fg_yaml_node *section, const struct fg_trail *trail, void *item)
{
	const struct fg_yaml_node *node = fg_yaml_member(section, key->name);
	struct fg_trail below = {.parent = trail, .name = key->name};
	int e = 0;

	/* First, so that it also stands in for a value with a mistake. */
	if (!node || key->type != FG_KEY_SECTION)
		e = read_default(r, key, &below, item);
	if (e < 0)
		return e;
	if (key->place_offset > 0 && section)
		memcpy((char *)item + key->place_offset, node ? &node->place : &section->place,
		       sizeof(struct fg_place));
	if (node)
		return read_value(r, key, node, &below, item);
	if ((key->flags & FG_KEY_REQUIRED) && section)
		return fg_key_mistake(r, &section->place, &below, "required, but not given");
	return 0;
}

const struct fg_key *fg_key_find(const struct fg_key *keys, const char *name)
{
	for (; keys->name; keys++)
		if (strcmp(keys->name, name) == 0)
			return keys;
	return NULL;
}

static int check_unknown(const struct fg_reader *r, const struct fg_section *section,
			 const struct fg_yaml_node *node, const struct fg_trail *trail)
{
	int worst = 0;

	for (const struct fg_yaml_node *child = node->first; child; child = child->next) {
		const char *nearest = NULL;

		if (fg_key_find(section->keys, child->key))
			continue;
		for (const struct fg_key *key = section->keys; key->name; key++)
			nearest = fg_key_nearest(child->key, nearest, key->name);
		worst = fg_key_unknown(r, child, trail, nearest);
	}
	return worst;
}

int fg_key_section(struct fg_reader *r, const struct fg_section *section,
		   const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	int e, worst = 0;

	if (node && node->type != FG_YAML_MAPPING && !node->is_null)
		worst = fg_key_unexpected(r, node, trail, "a mapping");
	if (node && node->type != FG_YAML_MAPPING)
		node = NULL;
	for (const struct fg_key *key = section->keys; key->name; key++) {
		e = read_key(r, key, node, trail, item);
		if (e == -ENOMEM)
			return e;
		if (e < 0)
			worst = -EINVAL;
	}
	if (node && !section->is_open && check_unknown(r, section, node, trail) < 0)
		worst = -EINVAL;
	e = section->finish ? section->finish(r, node, trail, item) : 0;
	return e < 0 ? e : worst;
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
