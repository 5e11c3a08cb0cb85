#pragma once

/*
 * What the files of the JSON module share: bytes in front of @end, skipped or looked at, and the
 * escapes of strings. Not for others; see json.h.
 *
 *	json_check.c  the grammar, at the door      json_text.c  strings: escapes, names, quoting
 *	json_walk.c   members of what was checked   json_path.c  the paths of the mapping rules
 */
#include <string.h>

#include "model/json.h"
#include "util/bytes.h"

#define EACH_BYTE(b) (0x0101010101010101u * (uint64_t)(b))
#define HIGH_BITS EACH_BYTE(0x80)

static inline bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline const char *skip_space(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

static inline const char *skip_digits(const char *p, const char *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p;
}

static inline bool starts_with(const char *p, const char *end, const char *word, size_t size)
{
	return (size_t)(end - p) >= size && memcmp(p, word, size) == 0;
}

#define STARTS_WITH(p, end, word) starts_with(p, end, word, sizeof(word) - 1)

/* The high bit of each byte of @v that equals @b; bytes above the lowest such one may be wrong. */
static inline uint64_t bytes_equal(uint64_t v, uint8_t b)
{
	uint64_t x = v ^ EACH_BYTE(b);

	return (x - EACH_BYTE(1)) & ~x & HIGH_BITS;
}

/* Up to the next quote, backslash, control character or byte above 0x7f: eight bytes at a time. */
static inline const char *skip_plain(const char *p, const char *end)
{
	while (end - p >= 8) {
		uint64_t v = fg_get_le64(p);
		uint64_t stop = bytes_equal(v, '"') | bytes_equal(v, '\\') |
				((v - EACH_BYTE(0x20)) & ~v & HIGH_BITS) | (v & HIGH_BITS);

		if (stop)
			return p + (__builtin_ctzll(stop) >> 3);
		p += 8;
	}
	while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20 &&
	       (unsigned char)*p < 0x80)
		p++;
	return p;
}

/* Up to the next quote or backslash, in text that was checked before. */
static inline const char *skip_to_quote(const char *p, const char *end)
{
	while (end - p >= 8) {
		uint64_t v = fg_get_le64(p);
		uint64_t stop = bytes_equal(v, '"') | bytes_equal(v, '\\');

		if (stop)
			return p + (__builtin_ctzll(stop) >> 3);
		p += 8;
	}
	while (p < end && *p != '"' && *p != '\\')
		p++;
	return p;
}

/* @p stands behind the opening quote; returns the closing one, or NULL. */
static inline const char *string_end(const char *p, const char *end)
{
	for (;;) {
		p = skip_to_quote(p, end);
		if (p == end)
			return NULL;
		if (*p == '"')
			return p;
		if (end - p < 2)
			return NULL;
		p += 2;
	}
}

/* ------------------------------------------------------------------ what is wrong */

/* What a scanner found wrong: it returns NULL, and leaves the place and the reason here. */
struct fg_json_scan_fault {
	const char *at;
	const char *reason;
};

static inline const char *fg_json_refuse(struct fg_json_scan_fault *fault, const char *at,
					 const char *reason)
{
	fault->at = at;
	fault->reason = reason;
	return NULL;
}

/* ------------------------------------------------------------------ json_check.c */

/** The escape at @p, a backslash; returns the byte behind it, or NULL and *@fault. */
const char *fg_json_scan_escape(const char *p, const char *end, struct fg_json_scan_fault *fault);

/** The word at @p: true, false, null, NaN, Infinity; the byte behind it, or NULL and *@fault. */
const char *fg_json_scan_word(const char *p, const char *end, struct fg_json_scan_fault *fault,
			      enum fg_json_type *ret_type);

/* ------------------------------------------------------------------ json_text.c */

enum fg_json_escape {
	FG_JSON_ESCAPE_OK,
	FG_JSON_ESCAPE_BAD_DIGITS,
	FG_JSON_ESCAPE_LONE_SURROGATE,
};

/** One \uXXXX, or the pair of them that makes one character. *@p stands behind the first 'u', and
 * then behind all that was read. */
enum fg_json_escape fg_json_unicode_escape(const char **p, const char *end, uint32_t *ret_code);

/** One character of a string's inside, unescaped, to @out (4 bytes); returns its size. */
size_t fg_json_unescape_one(const char **at, const char *end, char *out);
