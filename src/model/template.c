#include "model/template.h"

#include <errno.h>
#include <stdlib.h>

#include "util/cleanup.h"

struct piece {
	int name;            /* index, or -1: text */
	struct fg_span text; /* or the name itself */
};

struct fg_template {
	char *text; /* the pieces point into it */
	struct piece *pieces;
	size_t n_pieces;
	uint32_t used; /* bit i: the name with index i */
};

_Static_assert(FG_TEMPLATE_MAX_NAMES <= 32, "a bit of fg_template.used for each name");

int fg_template_find_in(const void *arg, struct fg_span name)
{
	const char *const *known = arg;

	for (int i = 0; known[i]; i++)
		if (fg_span_is(name, known[i]))
			return i;
	return -1;
}

static int add_name(struct fg_template *t, struct fg_span name,
		    const struct fg_template_names *names, struct fg_error *err)
{
	int index = names->find(names->arg, name);

	if (index < 0)
		return fg_error_set(err, -EINVAL, "{%.*s} %s",
				    (int)(name.size < 100 ? name.size : 100), name.data,
				    names->verdict);
	t->pieces[t->n_pieces++] = (struct piece){index, name};
	t->used |= UINT32_C(1) << index;
	return 0;
}

static void add_text(struct fg_template *t, const char *from, const char *to)
{
	if (from < to)
		t->pieces[t->n_pieces++] =
			(struct piece){-1, fg_span_of(from, (size_t)(to - from))};
}

static int parse_text(struct fg_template *t, const struct fg_template_names *names,
		      struct fg_error *err)
{
	const char *at = t->text, *brace;

	while ((brace = strpbrk(at, "{}"))) {
		const char *close = strpbrk(brace + 1, "{}");
		int r;

		add_text(t, at, brace);
		if (*brace == '}' || !close || *close == '{')
			return fg_error_set(err, -EINVAL, "a brace without its partner");
		r = add_name(t, fg_span_of(brace + 1, (size_t)(close - brace - 1)), names, err);
		if (r < 0)
			return r;
		at = close + 1;
	}
	add_text(t, at, at + strlen(at));
	return 0;
}

/* The size of a name at @at that a closing brace follows, or 0. */
static size_t name_size(const char *at)
{
	size_t size = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return *at >= 'a' && *at <= 'z' && at[size] == '}' ? size : 0;
}

static int parse_json(struct fg_template *t, const struct fg_template_names *names,
		      struct fg_error *err)
{
	const char *done = t->text, *at = t->text;
	bool in_string = false;

	while (*(at += strcspn(at, "{\"\\"))) {
		size_t size = name_size(at + 1);
		int r;

		if (*at == '"')
			in_string = !in_string;
		if (*at == '\\' && at[1])
			at++; /* what follows is no quote of JSON's */
		if (*at++ != '{' || size == 0)
			continue;
		if (in_string)
			return fg_error_set(err, -EINVAL,
					    "{%.*s} inside quotes: what stands for it is a whole "
					    "JSON value, with quotes of its own",
					    (int)(size < 100 ? size : 100), at);
		add_text(t, done, at - 1);
		r = add_name(t, fg_span_of(at, size), names, err);
		if (r < 0)
			return r;
		at += size + 1;
		done = at;
	}
	add_text(t, done, at);
	return 0;
}

int fg_template_new(struct fg_span text, enum fg_template_form form,
		    const struct fg_template_names *names, struct fg_template **ret,
		    struct fg_error *err)
{
	FG_CLEANUP(fg_template_free_p) struct fg_template *t = NULL;
	size_t n_braces = 0;
	int r;

	if (text.size > 0 && memchr(text.data, '\0', text.size))
		return fg_error_set(err, -EINVAL, "a NUL character");
	for (size_t i = 0; i < text.size; i++)
		n_braces += text.data[i] == '{';
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->text = strndup(text.size > 0 ? text.data : "", text.size);
	/* Each name, the text in front of it, and the text behind the last. */
	t->pieces = calloc(2 * n_braces + 1, sizeof(*t->pieces));
	if (!t->text || !t->pieces)
		return -ENOMEM;
	r = form == FG_TEMPLATE_JSON ? parse_json(t, names, err) : parse_text(t, names, err);
	if (r < 0)
		return r;
	*ret = t; /* the caller owns it now */
	t = NULL;
	return 0;
}

struct fg_template *fg_template_free(struct fg_template *t)
{
	if (!t)
		return NULL;
	free(t->text);
	free(t->pieces);
	free(t);
	return NULL;
}

bool fg_template_uses(const struct fg_template *t, int index)
{
	return t->used >> index & 1;
}

struct fg_span fg_template_name(const struct fg_template *t, int index)
{
	for (size_t i = 0; i < t->n_pieces; i++)
		if (t->pieces[i].name == index)
			return t->pieces[i].text;
	return (struct fg_span){0};
}

size_t fg_template_fixed_bytes(const struct fg_template *t)
{
	size_t size = 0;

	for (size_t i = 0; i < t->n_pieces; i++)
		if (t->pieces[i].name < 0)
			size += t->pieces[i].text.size;
	return size;
}

size_t fg_template_fill(const struct fg_template *t, const struct fg_span *values, char *out,
			size_t out_size)
{
	size_t size = 0;

	for (size_t i = 0; i < t->n_pieces; i++) {
		const struct piece *piece = &t->pieces[i];
		struct fg_span text = piece->name < 0 ? piece->text : values[piece->name];

		if (text.size > 0 && size <= out_size && text.size <= out_size - size)
			memcpy(out + size, text.data, text.size);
		size += text.size;
	}
	return size;
}
