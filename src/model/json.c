#include "model/json.h"

#include <errno.h>
#include <stdlib.h>

#include "model/utf8.h"
#include "util/bytes.h"

#define EACH_BYTE(b) (0x0101010101010101u * (uint64_t)(b))
#define HIGH_BITS EACH_BYTE(0x80)

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

static const char *skip_digits(const char *p, const char *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p;
}

static bool starts_with(const char *p, const char *end, const char *word, size_t size)
{
	return (size_t)(end - p) >= size && memcmp(p, word, size) == 0;
}

#define STARTS_WITH(p, end, word) starts_with(p, end, word, sizeof(word) - 1)

/* The high bit of each byte of @v that equals @b; bytes above the lowest such one may be wrong. */
static uint64_t bytes_equal(uint64_t v, uint8_t b)
{
	uint64_t x = v ^ EACH_BYTE(b);

	return (x - EACH_BYTE(1)) & ~x & HIGH_BITS;
}

/* Up to the next quote, backslash, control character or byte above 0x7f: eight bytes at a time. */
static const char *skip_plain(const char *p, const char *end)
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
static const char *skip_to_quote(const char *p, const char *end)
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

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The value of four hexadecimal digits at @p, or -1. */
static int32_t hex_four(const char *p, const char *end)
{
	int32_t code = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);

		if (digit < 0)
			return -1;
		code = code << 4 | digit;
	}
	return code;
}

/* One \uXXXX, or the pair of them that makes one character. @p stands behind the first 'u'. */
enum unicode_escape {
	ESCAPE_OK,
	ESCAPE_BAD_DIGITS,
	ESCAPE_LONE_SURROGATE,
};

static enum unicode_escape unicode_escape(const char **p, const char *end, uint32_t *ret_code)
{
	int32_t high = hex_four(*p, end);
	int32_t low;

	if (high < 0)
		return ESCAPE_BAD_DIGITS;
	*p += 4;
	*ret_code = (uint32_t)high;
	if (high < 0xd800 || high > 0xdfff)
		return ESCAPE_OK;
	if (high >= 0xdc00 || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return ESCAPE_LONE_SURROGATE;
	low = hex_four(*p + 2, end);
	if (low < 0xdc00 || low > 0xdfff)
		return ESCAPE_LONE_SURROGATE;
	*p += 6;
	*ret_code = 0x10000u + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
	return ESCAPE_OK;
}

/* ------------------------------------------------------------------ checking */

/* What a scanner found wrong: it returns NULL, and leaves the place and the reason here. */
struct fault {
	const char *at;
	const char *reason;
};

static const char *refuse(struct fault *fault, const char *at, const char *reason)
{
	fault->at = at;
	fault->reason = reason;
	return NULL;
}

/* @p stands at a backslash. */
static const char *scan_escape(const char *p, const char *end, struct fault *fault)
{
	const char *backslash = p;
	uint32_t code;

	if (end - p < 2)
		return refuse(fault, end, "text ends inside a string");
	p += 2;
	switch (p[-1]) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return p;
	case 'u':
		switch (unicode_escape(&p, end, &code)) {
		case ESCAPE_OK:
			return p;
		case ESCAPE_BAD_DIGITS:
			return refuse(fault, backslash, "\\u wants four hexadecimal digits");
		case ESCAPE_LONE_SURROGATE:
			break;
		}
		return refuse(fault, backslash, "lone surrogate");
	default:
		return refuse(fault, backslash, "unknown escape in a string");
	}
}

/* @p stands behind the opening quote; returns the byte behind the closing one. */
static const char *scan_string(const char *p, const char *end, struct fault *fault)
{
	for (;;) {
		size_t n;

		p = skip_plain(p, end);
		if (p == end)
			return refuse(fault, p, "text ends inside a string");
		if (*p == '"')
			return p + 1;
		if (*p == '\\') {
			p = scan_escape(p, end, fault);
			if (!p)
				return NULL;
			continue;
		}
		if ((unsigned char)*p < 0x20)
			return refuse(fault, p, "control character in a string");
		n = fg_utf8_character(p, end);
		if (n == 0)
			return refuse(fault, p, "ill-formed UTF-8");
		p += n;
	}
}

/* @p stands at a digit or '-'. (RFC 8259, section 6) */
static const char *scan_number(const char *p, const char *end, struct fault *fault,
			       enum fg_json_type *ret_type)
{
	const char *start = p;
	const char *digits;

	if (*p == '-')
		p++;
	if (p < end && *p == 'I' && STARTS_WITH(p, end, "Infinity")) {
		*ret_type = FG_JSON_NONFINITE;
		return p + 8;
	}
	if (p == end || !is_digit(*p))
		return refuse(fault, p, "a number wants a digit here");
	if (*p == '0' && end - p > 1 && is_digit(p[1]))
		return refuse(fault, start, "a number with a leading zero");
	p = skip_digits(p, end);
	*ret_type = FG_JSON_INTEGER;
	if (p < end && *p == '.') {
		digits = ++p;
		p = skip_digits(p, end);
		if (p == digits)
			return refuse(fault, p, "a number wants a digit here");
		*ret_type = FG_JSON_REAL;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		digits = p;
		p = skip_digits(p, end);
		if (p == digits)
			return refuse(fault, p, "a number wants a digit here");
		*ret_type = FG_JSON_REAL;
	}
	return p;
}

static const char *scan_word(const char *p, const char *end, struct fault *fault,
			     enum fg_json_type *ret_type)
{
	static const struct {
		const char *text;
		size_t size;
		enum fg_json_type type;
	} words[] = {
		{"true", 4, FG_JSON_TRUE},          {"false", 5, FG_JSON_FALSE},
		{"null", 4, FG_JSON_NULL},          {"NaN", 3, FG_JSON_NONFINITE},
		{"Infinity", 8, FG_JSON_NONFINITE},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (starts_with(p, end, words[i].text, words[i].size)) {
			*ret_type = words[i].type;
			return p + words[i].size;
		}
	return refuse(fault, p, "a value was expected here");
}

static const char *scan_scalar(const char *p, const char *end, struct fault *fault,
			       enum fg_json_type *ret_type)
{
	if (*p == '"') {
		*ret_type = FG_JSON_STRING;
		return scan_string(p + 1, end, fault);
	}
	if (is_digit(*p) || *p == '-')
		return scan_number(p, end, fault, ret_type);
	return scan_word(p, end, fault, ret_type);
}

/* A member's name and its colon, with white space in front. */
static const char *scan_name(const char *p, const char *end, struct fault *fault)
{
	p = skip_space(p, end);
	if (p == end)
		return refuse(fault, p, "text ends inside an object");
	if (*p != '"')
		return refuse(fault, p, "a member name in double quotes was expected here");
	p = scan_string(p + 1, end, fault);
	if (!p)
		return NULL;
	p = skip_space(p, end);
	if (p == end)
		return refuse(fault, p, "text ends inside an object");
	if (*p != ':')
		return refuse(fault, p, "a colon was expected here");
	return p + 1;
}

/*
 * The containers around the place that is read: bit 0 for the innermost, 1 for an object. That
 * FG_JSON_MAX_DEPTH of them fit one word is why there is no recursion and no allocation.
 */
struct containers {
	uint64_t is_object;
	unsigned depth;
};

_Static_assert(FG_JSON_MAX_DEPTH <= 64, "one bit for each level");

/*
 * A value has ended before @p: closes containers and passes one comma, up to where the next value
 * starts; or up to the end of the outermost value.
 */
static const char *scan_after_value(const char *p, const char *end, struct containers *in,
				    struct fault *fault)
{
	while (in->depth > 0) {
		bool is_object = in->is_object & 1;

		p = skip_space(p, end);
		if (p == end)
			return refuse(fault, p,
				      is_object ? "text ends inside an object"
						: "text ends inside an array");
		if (*p == ',')
			return is_object ? scan_name(p + 1, end, fault) : p + 1;
		if (*p != (is_object ? '}' : ']'))
			return refuse(fault, p,
				      is_object ? "a comma or } was expected here"
						: "a comma or ] was expected here");
		p++;
		in->is_object >>= 1;
		in->depth--;
	}
	return p;
}

/* One value and all that is inside it; @p stands at its first byte. */
static const char *scan_value(const char *p, const char *end, struct fault *fault,
			      enum fg_json_type *ret_type)
{
	struct containers in = {0};
	enum fg_json_type type;

	*ret_type = *p == '{' ? FG_JSON_OBJECT : FG_JSON_ARRAY;
	do {
		p = skip_space(p, end);
		if (p == end)
			return refuse(fault, p, "text ends where a value was expected");
		if (*p == '{' || *p == '[') {
			bool is_object = *p == '{';

			if (in.depth == FG_JSON_MAX_DEPTH)
				return refuse(fault, p, "nested deeper than 64 levels");
			in.is_object = in.is_object << 1 | is_object;
			in.depth++;
			p = skip_space(p + 1, end);
			if (p < end && *p == (is_object ? '}' : ']')) {
				p = scan_after_value(p, end, &in, fault);
			} else if (is_object) {
				p = scan_name(p, end, fault);
			}
		} else {
			p = scan_scalar(p, end, fault, &type);
			if (!p)
				return NULL;
			if (in.depth == 0)
				*ret_type = type;
			p = scan_after_value(p, end, &in, fault);
		}
		if (!p)
			return NULL;
	} while (in.depth > 0);
	return p;
}

int fg_json_check(struct fg_span text, struct fg_json_value *ret, struct fg_json_fault *ret_fault)
{
	struct fault fault = {0};
	enum fg_json_type type;
	const char *start, *stop = NULL, *end;

	if (text.size == 0) {
		ret_fault->offset = 0;
		ret_fault->reason = "text is empty";
		return -EBADMSG;
	}
	end = text.data + text.size;
	start = skip_space(text.data, end);
	if (start < end)
		stop = scan_value(start, end, &fault, &type);
	else
		refuse(&fault, end, "text is empty");
	if (stop && skip_space(stop, end) != end)
		stop = refuse(&fault, skip_space(stop, end), "text goes on after the value");
	if (!stop) {
		ret_fault->offset = (size_t)(fault.at - text.data);
		ret_fault->reason = fault.reason;
		return -EBADMSG;
	}
	ret->type = type;
	ret->text = fg_span_of(start, (size_t)(stop - start));
	return 0;
}

/* ------------------------------------------------------------------ walking checked text */

/* @p stands behind the opening quote; returns the closing one, or NULL. */
static const char *string_end(const char *p, const char *end)
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

/* The byte behind the container that starts at @p, or NULL. */
static const char *container_end(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		switch (*p) {
		case '"':
			p = string_end(p + 1, end);
			if (!p)
				return NULL;
			break;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (--depth == 0)
				return p + 1;
			break;
		default:
			break;
		}
		p++;
	}
	return NULL;
}

static const char *number_end(const char *p, const char *end, enum fg_json_type *ret_type)
{
	*ret_type = FG_JSON_INTEGER;
	p++;
	if (p < end && *p == 'I') {
		*ret_type = FG_JSON_NONFINITE;
		return STARTS_WITH(p, end, "Infinity") ? p + 8 : NULL;
	}
	for (; p < end; p++) {
		if (is_digit(*p))
			continue;
		if (*p != '.' && *p != 'e' && *p != 'E' && *p != '+' && *p != '-')
			break;
		*ret_type = FG_JSON_REAL;
	}
	return p;
}

/* The value that starts at @p; returns the byte behind it, or NULL when there is none. */
static const char *value_at(const char *p, const char *end, struct fg_json_value *ret)
{
	struct fault ignored;
	const char *stop;

	if (p == end)
		return NULL;
	if (*p == '"') {
		ret->type = FG_JSON_STRING;
		stop = string_end(p + 1, end);
		if (stop)
			stop++;
	} else if (*p == '{' || *p == '[') {
		ret->type = *p == '{' ? FG_JSON_OBJECT : FG_JSON_ARRAY;
		stop = container_end(p, end);
	} else if (is_digit(*p) || *p == '-') {
		stop = number_end(p, end, &ret->type);
	} else {
		stop = scan_word(p, end, &ignored, &ret->type);
	}
	if (stop)
		ret->text = fg_span_of(p, (size_t)(stop - p));
	return stop;
}

void fg_json_walk_begin(struct fg_json_walk *walk, struct fg_json_value container)
{
	walk->at = NULL;
	walk->end = NULL;
	walk->in_object = container.type == FG_JSON_OBJECT;
	if ((container.type != FG_JSON_OBJECT && container.type != FG_JSON_ARRAY) ||
	    container.text.size < 2)
		return;
	walk->at = container.text.data + 1;
	walk->end = container.text.data + container.text.size - 1;
}

bool fg_json_walk_next(struct fg_json_walk *walk, struct fg_json_member *ret)
{
	const char *end = walk->end;
	const char *p, *stop;

	p = skip_space(walk->at, end);
	walk->at = end; /* where a walk stays that ends early */
	if (p == end)
		return false;
	ret->name = (struct fg_span){0};
	if (walk->in_object) {
		if (*p != '"')
			return false;
		stop = string_end(++p, end);
		if (!stop)
			return false;
		ret->name = fg_span_of(p, (size_t)(stop - p));
		p = skip_space(stop + 1, end);
		if (p == end || *p != ':')
			return false;
		p = skip_space(p + 1, end);
	}
	p = value_at(p, end, &ret->value);
	if (!p)
		return false;
	p = skip_space(p, end);
	if (p < end && *p == ',')
		p++;
	else if (p < end)
		return false;
	walk->at = p;
	return true;
}

/* One character of a string's inside, unescaped, to @out (4 bytes); returns its size. */
static size_t unescape_one(const char **at, const char *end, char *out)
{
	static const char plain[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	const char *p = *at;
	const char *found;
	uint32_t code;

	if (*p != '\\') {
		*out = *p;
		*at = p + 1;
		return 1;
	}
	if (end - p < 2) { /* only in text that was not checked */
		*at = end;
		return 0;
	}
	p += 2;
	*at = p;
	if (p[-1] == 'u') {
		switch (unicode_escape(at, end, &code)) {
		case ESCAPE_OK:
			return fg_utf8_put(out, code);
		case ESCAPE_LONE_SURROGATE:
			return fg_utf8_put(out, 0xfffd);
		case ESCAPE_BAD_DIGITS:
			break;
		}
	}
	found = memchr(plain, p[-1], sizeof(plain) - 1);
	*out = found ? meant[found - plain] : p[-1];
	return 1;
}

bool fg_json_name_is(struct fg_span raw, struct fg_span name)
{
	const char *p, *end;
	size_t done = 0;

	/* undoing an escape always makes text shorter */
	if (raw.size < name.size)
		return false;
	if (raw.size == name.size)
		return fg_span_equal(raw, name) &&
		       (raw.size == 0 || !memchr(raw.data, '\\', raw.size));
	if (!memchr(raw.data, '\\', raw.size))
		return false;
	p = raw.data;
	end = p + raw.size;
	while (p < end) {
		char character[4];
		size_t n = unescape_one(&p, end, character);

		if (n > name.size - done || (n > 0 && memcmp(name.data + done, character, n) != 0))
			return false;
		done += n;
	}
	return done == name.size;
}

bool fg_json_member(struct fg_json_value object, struct fg_span name, struct fg_json_value *ret)
{
	struct fg_json_walk walk;
	struct fg_json_member member;
	bool is_found = false;

	if (object.type != FG_JSON_OBJECT)
		return false;
	fg_json_walk_begin(&walk, object);
	while (fg_json_walk_next(&walk, &member)) {
		if (!fg_json_name_is(member.name, name))
			continue;
		*ret = member.value;
		is_found = true;
	}
	return is_found;
}

/* ------------------------------------------------------------------ writing */

size_t fg_json_unescape(struct fg_span raw, char *out)
{
	const char *p = raw.data;
	const char *end;
	size_t size = 0;

	if (raw.size == 0)
		return 0;
	end = p + raw.size;
	while (p < end) {
		const char *backslash = memchr(p, '\\', (size_t)(end - p));
		size_t n = (size_t)((backslash ? backslash : end) - p);
		char character[4];

		memmove(out + size, p, n); /* @out may be the string itself */
		size += n;
		if (!backslash)
			break;
		p = backslash;
		n = unescape_one(&p, end, character);
		memcpy(out + size, character, n);
		size += n;
	}
	return size;
}

/* The escape of @c, or 0 when it stands for itself. (RFC 8259, section 7) */
static size_t escape_of(unsigned char c, char out[6])
{
	static const char hex[] = "0123456789abcdef";

	out[0] = '\\';
	switch (c) {
	case '"':
	case '\\':
		out[1] = (char)c;
		return 2;
	case '\b':
		out[1] = 'b';
		return 2;
	case '\f':
		out[1] = 'f';
		return 2;
	case '\n':
		out[1] = 'n';
		return 2;
	case '\r':
		out[1] = 'r';
		return 2;
	case '\t':
		out[1] = 't';
		return 2;
	default:
		if (c >= 0x20)
			return 0;
		memcpy(out + 1, "u00", 3);
		out[4] = hex[c >> 4];
		out[5] = hex[c & 15];
		return 6;
	}
}

/* Append what fits; the caller compares the final size with what there was. */
static size_t put(char *out, size_t out_size, size_t at, const char *bytes, size_t n)
{
	if (at < out_size && n > 0)
		memcpy(out + at, bytes, n < out_size - at ? n : out_size - at);
	return at + n;
}

size_t fg_json_quote(struct fg_span text, char *out, size_t out_size)
{
	const char *p = text.size > 0 ? text.data : "";
	const char *end = p + text.size;
	size_t size = put(out, out_size, 0, "\"", 1);

	while (p < end) {
		const char *stop = skip_plain(p, end);
		char escape[6];
		size_t n;

		while (stop < end && (unsigned char)*stop >= 0x80)
			stop = skip_plain(stop + 1, end);
		size = put(out, out_size, size, p, (size_t)(stop - p));
		if (stop == end)
			break;
		n = escape_of((unsigned char)*stop, escape);
		size = put(out, out_size, size, escape, n);
		p = stop + 1;
	}
	return put(out, out_size, size, "\"", 1);
}

size_t fg_json_compact(struct fg_json_value value, char *out)
{
	const char *p = value.text.data;
	const char *end = p + value.text.size;
	char *to = out;

	while (p < end) {
		const char *stop;
		char c = *p;

		if (c != '"') {
			if (!is_space(c))
				*to++ = c;
			p++;
			continue;
		}
		stop = string_end(p + 1, end);
		stop = stop ? stop + 1 : end;
		memcpy(to, p, (size_t)(stop - p));
		to += stop - p;
		p = stop;
	}
	return (size_t)(to - out);
}

/* ------------------------------------------------------------------ paths */

/* RFC 9535, 2.1: indexes stay within the exact integers of I-JSON. */
#define MAX_INDEX 9007199254740991u

struct step {
	bool is_index;
	uint64_t index;
	struct fg_span name; /* into the path's `names` */
};

struct fg_json_path {
	struct step steps[FG_JSON_PATH_MAX_STEPS];
	size_t n_steps;
	char names[]; /* unescaped, never longer than the text */
};

/* A name after a dot: RFC 9535, 2.5.1.1, member-name-shorthand. */
static bool is_name_first(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (unsigned char)c >= 0x80;
}

static const char many_values[] =
	"this selects more than one value, a path here must name just one";

static const char *parse_dot_name(const char *p, const char *end, struct step *step, char **names,
				  struct fault *fault)
{
	const char *start = p;

	if (p < end && (*p == '.' || *p == '*'))
		return refuse(fault, p, many_values);
	while (p < end && (is_name_first(*p) || (p > start && is_digit(*p))))
		p++;
	if (p < end && *p != '.' && *p != '[' && !is_space(*p))
		return refuse(fault, p,
			      "this character cannot stand in a name after a dot, write ['name']");
	if (p == start)
		return refuse(fault, p, "a member name was expected after the dot");
	step->name = fg_span_of(*names, (size_t)(p - start));
	memcpy(*names, start, step->name.size);
	*names += step->name.size;
	return p;
}

static const char *parse_quoted_name(const char *p, const char *end, struct step *step,
				     char **names, struct fault *fault)
{
	const char *start = p;
	char quote = *p++;
	char *out = *names;

	for (;;) {
		const char *next;

		if (p == end)
			return refuse(fault, start, "the closing quote is missing");
		if (*p == quote)
			break;
		if ((unsigned char)*p < 0x20)
			return refuse(fault, p, "control character in a name");
		if (*p != '\\') {
			*out++ = *p++;
			continue;
		}
		if (end - p >= 2 && p[1] == quote && quote == '\'') {
			*out++ = quote;
			p += 2;
			continue;
		}
		if (end - p >= 2 && p[1] == '"' && quote == '\'')
			return refuse(fault, p, "unknown escape in a name");
		next = scan_escape(p, end, fault);
		if (!next)
			return NULL;
		out += unescape_one(&p, end, out);
		p = next;
	}
	step->name = fg_span_of(*names, (size_t)(out - *names));
	*names = out;
	return p + 1;
}

static const char *parse_index(const char *p, const char *end, struct step *step,
			       struct fault *fault)
{
	const char *start = p;

	step->is_index = true;
	step->index = 0;
	for (; p < end && is_digit(*p); p++) {
		step->index = step->index * 10 + (uint64_t)(*p - '0');
		if (step->index > MAX_INDEX)
			return refuse(fault, start, "the index is too large");
	}
	if (p - start > 1 && *start == '0')
		return refuse(fault, start, "an index with a leading zero");
	return p;
}

static const char *parse_brackets(const char *p, const char *end, struct step *step, char **names,
				  struct fault *fault)
{
	p = skip_space(p, end);
	if (p == end)
		return refuse(fault, p, "the closing bracket is missing");
	if (*p == '\'' || *p == '"')
		p = parse_quoted_name(p, end, step, names, fault);
	else if (is_digit(*p))
		p = parse_index(p, end, step, fault);
	else if (*p == '-')
		return refuse(fault, p, "negative indexes are not offered");
	else if (*p == '*' || *p == '?' || *p == ':')
		return refuse(fault, p, many_values);
	else
		return refuse(fault, p, "an index or a name in quotes was expected here");
	if (!p)
		return NULL;
	p = skip_space(p, end);
	if (p < end && (*p == ',' || *p == ':'))
		return refuse(fault, p, many_values);
	if (p == end || *p != ']')
		return refuse(fault, p, "the closing bracket is missing");
	return p + 1;
}

static const char *parse_path(const char *p, const char *end, struct fg_json_path *path,
			      struct fault *fault)
{
	char *names = path->names;

	if (p == end || *p != '$')
		return refuse(fault, p, "a path starts with $");
	for (p++; p < end;) {
		struct step *step = &path->steps[path->n_steps];

		p = skip_space(p, end);
		if (p == end)
			return refuse(fault, p, "white space at the end of the path");
		if (*p != '.' && *p != '[')
			return refuse(fault, p, ". or [ was expected here");
		if (path->n_steps == FG_JSON_PATH_MAX_STEPS)
			return refuse(fault, p, "more than 16 steps");
		if (*p == '.')
			p = parse_dot_name(p + 1, end, step, &names, fault);
		else
			p = parse_brackets(p + 1, end, step, &names, fault);
		if (!p)
			return NULL;
		path->n_steps++;
	}
	return p;
}

static int path_fault(struct fg_json_fault *ret_fault, size_t offset, const char *reason)
{
	ret_fault->offset = offset;
	ret_fault->reason = reason;
	return -EINVAL;
}

int fg_json_path_new(struct fg_span text, struct fg_json_path **ret,
		     struct fg_json_fault *ret_fault)
{
	struct fault fault = {0};
	struct fg_json_path *path;

	if (text.size == 0)
		return path_fault(ret_fault, 0, "a path starts with $");
	if (!fg_utf8_ok(text))
		return path_fault(ret_fault, 0, "ill-formed UTF-8");
	/* 4 more: an escape at the very end is written as one whole character before it is counted
	 */
	path = calloc(1, sizeof(*path) + text.size + 4);
	if (!path)
		return -ENOMEM;
	if (!parse_path(text.data, text.data + text.size, path, &fault)) {
		free(path);
		return path_fault(ret_fault, (size_t)(fault.at - text.data), fault.reason);
	}
	*ret = path;
	return 0;
}

struct fg_json_path *fg_json_path_free(struct fg_json_path *path)
{
	free(path);
	return NULL;
}

static bool element_at(struct fg_json_value array, uint64_t index, struct fg_json_value *ret)
{
	struct fg_json_walk walk;
	struct fg_json_member element;

	if (array.type != FG_JSON_ARRAY)
		return false;
	fg_json_walk_begin(&walk, array);
	while (fg_json_walk_next(&walk, &element)) {
		if (index-- > 0)
			continue;
		*ret = element.value;
		return true;
	}
	return false;
}

/* Follow the steps from the @i-th on. */
static bool follow(const struct fg_json_path *path, size_t i, struct fg_json_value value,
		   struct fg_json_value *ret)
{
	for (; i < path->n_steps; i++) {
		const struct step *step = &path->steps[i];
		bool is_found = step->is_index ? element_at(value, step->index, &value)
					       : fg_json_member(value, step->name, &value);

		if (!is_found)
			return false;
	}
	*ret = value;
	return true;
}

bool fg_json_path_find(const struct fg_json_path *path, struct fg_json_value root,
		       struct fg_json_value *ret)
{
	return follow(path, 0, root, ret);
}

static bool starts_with_member(const struct fg_json_path *path)
{
	return path->n_steps > 0 && !path->steps[0].is_index;
}

void fg_json_path_find_all(struct fg_json_path *const *paths, size_t n, struct fg_json_value root,
			   struct fg_json_value *ret_values)
{
	struct fg_json_walk walk;
	struct fg_json_member member;

	memset(ret_values, 0, n * sizeof(*ret_values));
	fg_json_walk_begin(&walk, root);
	while (root.type == FG_JSON_OBJECT && fg_json_walk_next(&walk, &member))
		for (size_t i = 0; i < n; i++)
			if (starts_with_member(paths[i]) &&
			    fg_json_name_is(member.name, paths[i]->steps[0].name))
				ret_values[i] = member.value;
	for (size_t i = 0; i < n; i++) {
		bool is_member = starts_with_member(paths[i]);

		if (is_member && !ret_values[i].text.data)
			continue;
		if (!follow(paths[i], is_member, is_member ? ret_values[i] : root, &ret_values[i]))
			ret_values[i].text = (struct fg_span){0};
	}
}

size_t fg_json_path_steps(const struct fg_json_path *path)
{
	return path->n_steps;
}

struct fg_span fg_json_path_only_member(const struct fg_json_path *path)
{
	if (path->n_steps != 1 || path->steps[0].is_index)
		return (struct fg_span){0};
	return path->steps[0].name;
}
