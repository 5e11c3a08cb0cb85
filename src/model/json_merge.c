#include "model/json_merge.h"

/* Longer names are compared as they stand: two spellings of one of them count as two names. */
#define NAME_MAX_BYTES 1024

struct output {
	char *data;
	size_t size, room;
};

static void put(struct output *o, const char *data, size_t size)
{
	if (o->size + size <= o->room && size > 0)
		memcpy(o->data + o->size, data, size);
	o->size += size;
}

static bool is_same_name(struct fg_span raw, struct fg_span other_raw)
{
	char name[NAME_MAX_BYTES];

	if (raw.size > sizeof(name))
		return fg_span_equal(raw, other_raw);
	return fg_json_name_is(other_raw, fg_span_of(name, fg_json_unescape(raw, name)));
}

static bool has_member(struct fg_json_walk rest, struct fg_span name)
{
	struct fg_json_member m;

	while (fg_json_walk_next(&rest, &m))
		if (is_same_name(m.name, name))
			return true;
	return false;
}

static bool has_element(struct fg_json_value array, struct fg_span name)
{
	struct fg_json_walk walk;
	struct fg_json_member m;

	if (array.text.size == 0)
		return false;
	fg_json_walk_begin(&walk, array);
	while (fg_json_walk_next(&walk, &m)) {
		struct fg_span inside = {.data = m.value.text.data + 1,
					 .size = m.value.text.size - 2};

		if (m.value.type == FG_JSON_STRING && is_same_name(inside, name))
			return true;
	}
	return false;
}

static void put_member(struct output *o, const struct fg_json_member *m)
{
	bool has_room;

	if (o->size > 1)
		put(o, ",", 1);
	put(o, "\"", 1);
	put(o, m->name.data, m->name.size);
	put(o, "\":", 2);
	has_room = o->size + m->value.text.size <= o->room;
	o->size += has_room ? fg_json_compact(m->value, o->data + o->size) : m->value.text.size;
}

size_t fg_json_merge(struct fg_json_value object, struct fg_json_value set,
		     struct fg_json_value unset, char *out, size_t out_size)
{
	struct output o = {.data = out, .room = out_size};
	struct fg_json_walk walk, added = {.at = NULL};
	struct fg_json_member m;

	put(&o, "{", 1);
	if (set.text.size > 0)
		fg_json_walk_begin(&added, set);
	if (object.text.size > 0) {
		fg_json_walk_begin(&walk, object);
		while (fg_json_walk_next(&walk, &m))
			if (!has_member(walk, m.name) && !has_element(unset, m.name) &&
			    !(added.at && has_member(added, m.name)))
				put_member(&o, &m);
	}
	while (added.at && fg_json_walk_next(&added, &m))
		if (!has_member(added, m.name))
			put_member(&o, &m);
	put(&o, "}", 1);
	return o.size;
}
