/*
 * Sections by their tables: from nodes to the members of a struct.
 */
#include "config/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	if ((key->flags & FG_KEY_FILLED) && !node->first)
		return fg_key_mistake(r, &node->place, trail, "expected at least one text");
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

/* "a, b" as the two texts it lists. */
static int default_texts(const struct fg_reader *r, const struct fg_key *key, void *item)
{
	char *rest = fg_keep(r, key->fallback, strlen(key->fallback));
	/* No text is shorter than its comma and space. */
	char **texts = fg_keep_room(r, (strlen(key->fallback) / 2 + 1) * sizeof(*texts));
	size_t n = 0;

	if (!rest || !texts)
		return -ENOMEM;
	while (rest) {
		char *comma = strstr(rest, ", ");

		texts[n++] = rest;
		if (comma)
			*comma = '\0';
		rest = comma ? comma + 2 : NULL;
	}
	memcpy((char *)item + key->offset, &texts, sizeof(texts));
	memcpy((char *)item + key->count_offset, &n, sizeof(n));
	return 0;
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
		if ((key->flags & FG_KEY_FILLED) && node->is_null) {
			e = fg_key_section(r, key->section, NULL, trail,
					   (char *)item + key->offset);
			return e < 0 ? e : fg_key_unexpected(r, node, trail, "a mapping");
		}
		return fg_key_section(r, key->section, node, trail, (char *)item + key->offset);
	case FG_KEY_SECTIONS:
		return read_sections(r, key, node, trail, item);
	case FG_KEY_TEXTS:
		return read_texts(r, key, node, trail, item);
	case FG_KEY_URL:
		return fg_key_url(r, node, trail, (struct fg_url *)((char *)item + key->offset));
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
	if (key->type == FG_KEY_TEXTS)
		return default_texts(r, key, item);
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
