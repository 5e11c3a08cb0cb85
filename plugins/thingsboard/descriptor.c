#include "descriptor.h"

#include <errno.h>
#include <stdlib.h>

#include "util/cleanup.h"

#define MAX_NESTING 16
#define MAX_NAME 255
#define NOT_COMPILED "the schema is no compiled one (protoc --descriptor_set_out)"

/* Numbers of the fields in descriptor.proto. */
enum { SET_FILE = 1 };
enum { FILE_PACKAGE = 2, FILE_MESSAGE = 4, FILE_ENUM = 5 };
enum { MESSAGE_NAME = 1, MESSAGE_FIELD, MESSAGE_MESSAGE, MESSAGE_ENUM, MESSAGE_OPTIONS = 7 };
enum { FIELD_NAME = 1, FIELD_NUMBER = 3, FIELD_LABEL, FIELD_TYPE, FIELD_TYPE_NAME };
enum { ENUM_NAME = 1, ENUM_VALUE };
enum { VALUE_NAME = 1, VALUE_NUMBER };
enum { LABEL_REPEATED = 3, OPTION_MAP_ENTRY = 7 };

/* A message or an enum. */
struct type {
	struct tb_schema schema;
	char name[MAX_NAME + 1]; /* with its package: "plant.Reading" */
	struct fg_span body;
	bool is_enum, is_map;
};

struct tb_descriptors {
	size_t n_types, n_fields;
	const char *fault;
	size_t names_used, names_size;
	char *names;
	struct type types[TB_MAX_TYPES];
	struct tb_schema_field fields[TB_MAX_FIELDS];
};

static int broken(struct tb_descriptors *d, const char *fault)
{
	d->fault = fault;
	return -EINVAL;
}

/* The last field @number of @message; zero, or nothing, when there is none. */
static struct tb_wire_field member(struct fg_span message, uint32_t number)
{
	struct tb_wire_field field, found = {0};

	while (tb_wire_next(&message, &field) > 0)
		if (field.number == number)
			found = field;
	return found;
}

static const char *keep_name(struct tb_descriptors *d, struct fg_span name)
{
	char *kept = d->names + d->names_used;

	/* All names are parts of the file, so there is room for them and their NULs. */
	if (name.size == 0 || name.size >= d->names_size - d->names_used ||
	    memchr(name.data, '\0', name.size))
		return NULL;
	memcpy(kept, name.data, name.size);
	kept[name.size] = '\0';
	d->names_used += name.size + 1;
	return kept;
}

/* ------------------------------------------------------------------ which types there are */

/* @scope.@name of a message or enum. */
static int add_type(struct tb_descriptors *d, struct fg_span body, struct fg_span scope,
		    bool is_enum, struct type **ret)
{
	struct fg_span name = member(body, MESSAGE_NAME).bytes; /* an enum's has the same number */
	struct type *t = &d->types[d->n_types];
	struct fg_text text = fg_text_begin(t->name, MAX_NAME);

	if (d->n_types == TB_MAX_TYPES)
		return broken(d, "the schema has more than 512 messages and enums");
	if (scope.size > 0) {
		fg_put_span(&text, scope);
		fg_put(&text, ".");
	}
	fg_put_span(&text, name);
	if (text.is_full || name.size == 0)
		return broken(d, "the schema has a message without a name, or with one too long");
	*text.at = '\0';
	t->body = body;
	t->is_enum = is_enum;
	t->is_map =
		member(member(body, MESSAGE_OPTIONS).bytes, OPTION_MAP_ENTRY).bits != 0 && !is_enum;
	t->schema.name = t->name;
	d->n_types++;
	*ret = t;
	return 0;
}

/* The messages in fields @message of @outer, what is inside them, and the enums in fields @number. */
static int add_types(struct tb_descriptors *d, struct fg_span outer, struct fg_span scope,
		     uint32_t message, uint32_t number, unsigned depth)
{
	struct tb_wire_field field;
	struct type *t;
	int r;

	if (depth > MAX_NESTING)
		return broken(d, "the schema nests messages too deep");
	while ((r = tb_wire_next(&outer, &field)) > 0) {
		if (field.type != TB_WIRE_BYTES ||
		    (field.number != message && field.number != number))
			continue;
		r = add_type(d, field.bytes, scope, field.number == number, &t);
		if (r == 0 && !t->is_enum)
			r = add_types(d, t->body, fg_span_str(t->name), MESSAGE_MESSAGE,
				      MESSAGE_ENUM, depth + 1);
		if (r < 0)
			return r;
	}
	return r < 0 ? broken(d, NOT_COMPILED) : 0;
}

/* ------------------------------------------------------------------ what is in them */

/* ".plant.Reading" */
static struct type *find_type(struct tb_descriptors *d, struct fg_span name)
{
	if (name.size == 0 || name.data[0] != '.')
		return NULL;
	name.data++;
	name.size--;
	for (size_t i = 0; i < d->n_types; i++)
		if (fg_span_is(name, d->types[i].name))
			return &d->types[i];
	return NULL;
}

static bool is_known(uint64_t type)
{
	return type >= TB_FIELD_DOUBLE && type <= TB_FIELD_SINT64 && type != 10 /* group */ &&
	       type != 12 /* bytes */;
}

static int add_field(struct tb_descriptors *d, const struct type *of, struct fg_span body)
{
	struct tb_schema_field *f = &d->fields[d->n_fields];
	uint64_t type = member(body, FIELD_TYPE).bits;
	struct type *inner;

	if (d->n_fields == TB_MAX_FIELDS)
		return broken(d, "the schema has more than 4096 fields");
	f->name = keep_name(d, member(body, FIELD_NAME).bytes);
	if (!f->name)
		return broken(d, "the schema has a field without a name");
	if (of->is_enum) {
		f->number = (uint32_t)member(body, VALUE_NUMBER).bits;
		d->n_fields++;
		return 0;
	}
	f->number = (uint32_t)member(body, FIELD_NUMBER).bits;
	if (!is_known(type) || f->number == 0)
		return broken(
			d, "the schema has a field of a type that JSON cannot fill (bytes, group)");
	f->type = (uint8_t)type;
	f->is_repeated = member(body, FIELD_LABEL).bits == LABEL_REPEATED;
	if (type == TB_FIELD_MESSAGE || type == TB_FIELD_ENUM) {
		inner = find_type(d, member(body, FIELD_TYPE_NAME).bytes);
		if (!inner || inner->is_enum != (type == TB_FIELD_ENUM))
			return broken(
				d, "the schema misses a type it uses (protoc --include_imports)");
		if (inner->is_map)
			return broken(d, "the schema has a map, which is not supported");
		f->message = &inner->schema;
	}
	d->n_fields++;
	return 0;
}

static int add_fields(struct tb_descriptors *d, struct type *t)
{
	uint32_t number = t->is_enum ? ENUM_VALUE : MESSAGE_FIELD;
	struct fg_span rest = t->body;
	struct tb_wire_field field;
	int r;

	t->schema.fields = &d->fields[d->n_fields];
	while (tb_wire_next(&rest, &field) > 0) {
		if (field.number != number || field.type != TB_WIRE_BYTES)
			continue;
		r = add_field(d, t, field.bytes);
		if (r < 0)
			return r;
		t->schema.n_fields++;
	}
	return 0;
}

/* ------------------------------------------------------------------ the whole */

static int read_file(struct tb_descriptors *d, struct fg_span set)
{
	struct tb_wire_field file;
	int r = 0;

	while (r == 0 && (r = tb_wire_next(&set, &file)) > 0) {
		if (file.number != SET_FILE || file.type != TB_WIRE_BYTES)
			return broken(d, NOT_COMPILED);
		r = add_types(d, file.bytes, member(file.bytes, FILE_PACKAGE).bytes, FILE_MESSAGE,
			      FILE_ENUM, 0);
	}
	if (r < 0)
		return d->fault ? r : broken(d, NOT_COMPILED);
	for (size_t i = 0; i < d->n_types && r == 0; i++)
		if (!d->types[i].is_map)
			r = add_fields(d, &d->types[i]);
	return r;
}

static void descriptors_freep(struct tb_descriptors **d)
{
	tb_descriptors_free(*d);
}

int tb_descriptors_new(struct fg_span file, struct tb_descriptors **ret, const char **ret_fault)
{
	FG_CLEANUP(descriptors_freep) struct tb_descriptors *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	/* A field of a name takes two bytes at least beside it: room for its NUL, too. */
	d->names_size = file.size + 1;
	d->names = malloc(d->names_size);
	if (!d->names)
		return -ENOMEM;
	r = read_file(d, file);
	if (r < 0) {
		*ret_fault = d->fault;
		return r;
	}
	*ret = d; /* the caller owns it now */
	d = NULL;
	return 0;
}

struct tb_descriptors *tb_descriptors_free(struct tb_descriptors *d)
{
	if (d)
		free(d->names);
	free(d);
	return NULL;
}

const struct tb_schema *tb_descriptors_find(const struct tb_descriptors *d, const char *name)
{
	for (size_t i = 0; i < d->n_types; i++) {
		const char *dot = strrchr(d->types[i].name, '.');

		if (!d->types[i].is_enum && !d->types[i].is_map &&
		    (strcmp(d->types[i].name, name) == 0 || (dot && strcmp(dot + 1, name) == 0)))
			return &d->types[i].schema;
	}
	return NULL;
}

void tb_descriptors_hold_json(struct tb_descriptors *d, const struct tb_schema *schema,
			      const char *name)
{
	struct tb_schema_field *field = d->fields;

	/* A schema that is none of ours is a table, and says so already. */
	for (size_t t = 0; t < d->n_types; field += d->types[t++].schema.n_fields)
		for (size_t i = 0; &d->types[t].schema == schema && i < schema->n_fields; i++)
			if (field[i].type == TB_FIELD_STRING && strcmp(field[i].name, name) == 0)
				field[i].type = TB_FIELD_JSON;
}
