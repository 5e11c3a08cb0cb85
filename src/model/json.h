#pragma once

/*
 * JSON as text: checked once at the door, then walked in place. Numbers stay the digits the device
 * sent, nothing is allocated, nothing is copied. (json-c allocates a node per value; the benchmark
 * `json` compares the two. json-c is the oracle of this module's tests.)
 *
 * Grammar: RFC 8259, well-formed UTF-8 (RFC 3629) with no surrogates, raw or escaped alone; at most
 * FG_JSON_MAX_DEPTH levels. One extension: NaN, Infinity and -Infinity stand for numbers.
 * \u0000 in a string is legal here; duplicate member names are legal and the last one counts.
 */
#include "util/span.h"

#define FG_JSON_MAX_DEPTH 64

enum fg_json_type {
	FG_JSON_OBJECT,
	FG_JSON_ARRAY,
	FG_JSON_STRING,
	FG_JSON_INTEGER,   /* no '.', no exponent; any number of digits */
	FG_JSON_REAL,      /* with '.' or exponent */
	FG_JSON_NONFINITE, /* NaN, Infinity, -Infinity */
	FG_JSON_TRUE,
	FG_JSON_FALSE,
	FG_JSON_NULL,
};

/** One value in place. */
struct fg_json_value {
	enum fg_json_type type;
	struct fg_span text; /* as it stands in the document; a string with its quotes */
};

/** One member of an object, or one element of an array (then `name` is empty). */
struct fg_json_member {
	struct fg_span name; /* between the quotes, escapes as they stand */
	struct fg_json_value value;
};

/** Where and why a text is not acceptable. */
struct fg_json_fault {
	size_t offset;      /* bytes from the start */
	const char *reason; /* static: "nested deeper than 64 levels", "ill-formed UTF-8", … */
};

/**
 * Check a whole text: one value, white space around it, nothing else.
 * Returns 0 and the value in *@ret (without surrounding white space), or -EBADMSG and *@ret_fault.
 * Linear time, constant stack.
 */
int fg_json_check(struct fg_span text, struct fg_json_value *ret, struct fg_json_fault *ret_fault);

/**
 * Walk the members of an object or the elements of an array that passed fg_json_check(). On text
 * that did not, the walk ends early but never leaves the span.
 */
struct fg_json_walk {
	const char *at;
	const char *end;
	bool in_object;
};

void fg_json_walk_begin(struct fg_json_walk *walk, struct fg_json_value container);

/** Returns true and the next member, or false at the end. */
bool fg_json_walk_next(struct fg_json_walk *walk, struct fg_json_member *ret);

/** Is @name what @raw, the inside of a string, says once its escapes are undone? */
bool fg_json_name_is(struct fg_span raw, struct fg_span name);

/** The last member called @name (compared after unescaping). Returns false when there is none. */
bool fg_json_member(struct fg_json_value object, struct fg_span name, struct fg_json_value *ret);

/**
 * Undo the escapes of a string's inside (no quotes) into @out, which must hold @raw.size bytes.
 * Returns the number of bytes written; never more than @raw.size. A lone surrogate becomes U+FFFD.
 * @out may be @raw's own bytes.
 */
size_t fg_json_unescape(struct fg_span raw, char *out);

/**
 * Write @text as a JSON string with its quotes: `"`, `\` and control characters escaped, all else
 * as it is. Returns the size it needs; nothing is written beyond @out_size (compare, as with
 * snprintf; no NUL is added).
 */
size_t fg_json_quote(struct fg_span text, char *out, size_t out_size);

/**
 * Copy a checked value without insignificant white space. @out holds value.text.size bytes.
 * Returns the number of bytes written.
 */
size_t fg_json_compact(struct fg_json_value value, char *out);

/* ---- paths: $.a.b, $['a b'], $.list[0]; what a mapping rule may select (RFC 9535 names these
 *      "singular queries"; negative indexes are not offered) */

#define FG_JSON_PATH_MAX_STEPS 16

struct fg_json_path; /* compiled */

/**
 * Compile @text. The caller owns *@ret and releases it with fg_json_path_free().
 * Returns 0, -ENOMEM, or -EINVAL with *@ret_fault.
 */
int fg_json_path_new(struct fg_span text, struct fg_json_path **ret,
		     struct fg_json_fault *ret_fault);
struct fg_json_path *fg_json_path_free(struct fg_json_path *path);

/** Find the value @path selects in @root. Returns false when there is none. Allocates nothing. */
bool fg_json_path_find(const struct fg_json_path *path, struct fg_json_value root,
		       struct fg_json_value *ret);

/**
 * Find what each of the @n @paths selects, in one walk over the members of @root.
 * ret_values[i].text.data is NULL where paths[i] selects nothing. Allocates nothing.
 */
void fg_json_path_find_all(struct fg_json_path *const *paths, size_t n, struct fg_json_value root,
			   struct fg_json_value *ret_values);

/** The name of the path's only step if it has exactly one and that is a member, else a span of
 * NULL. */
struct fg_span fg_json_path_only_member(const struct fg_json_path *path);
