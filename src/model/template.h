#pragma once

/*
 * Templates: text with names in braces that stand for what is known only later, as in
 * "cmd/{device}/{command}" or '{"id": {id}, "params": {params}}'. Compiled once, with every name
 * resolved to an index; filled without allocating.
 */
#include "util/error.h"
#include "util/span.h"

#define FG_TEMPLATE_MAX_NAMES 32 /* what `find` gives is below this */

enum fg_template_form {
	FG_TEMPLATE_TEXT, /* a brace is always one of a {name} */
	/*
	 * JSON text: only {name} with a lower-case name ([a-z][a-z0-9_]*) is one, and other braces
	 * are JSON's own; what stands for a name is a whole JSON value, so no {name} may stand
	 * inside quotes.
	 */
	FG_TEMPLATE_JSON,
};

/** The names a template may use. */
struct fg_template_names {
	/* The index that stands for @name, or -1: not one of them. */
	int (*find)(const void *arg, struct fg_span name);
	const void *arg;
	const char *verdict; /* on any other name: "{x} " and this, "is not a level of the topic" */
};

struct fg_template;

/**
 * Compile @text. On success the caller owns *@ret, which borrows nothing.
 * Returns 0, -ENOMEM, or -EINVAL with a sentence in @err.
 */
int fg_template_new(struct fg_span text, enum fg_template_form form,
		    const struct fg_template_names *names, struct fg_template **ret,
		    struct fg_error *err);
struct fg_template *fg_template_free(struct fg_template *t);

/** A `find` for a NULL-terminated array of strings as `arg`: the index in it. */
int fg_template_find_in(const void *arg, struct fg_span name);

/** Does the name with this index stand anywhere in it? */
bool fg_template_uses(const struct fg_template *t, int index);

/** The name with this index as it stands there; empty when it does not. */
struct fg_span fg_template_name(const struct fg_template *t, int index);

/** The bytes that are the same whatever stands for the names. */
size_t fg_template_fixed_bytes(const struct fg_template *t);

/**
 * Write the text with values[index] for each name. Returns the size it needs; nothing is written
 * beyond @out_size (compare, as with snprintf; no NUL is added). Allocates nothing.
 */
size_t fg_template_fill(const struct fg_template *t, const struct fg_span *values, char *out,
			size_t out_size);

static inline void fg_template_free_p(struct fg_template **t)
{
	fg_template_free(*t);
}
