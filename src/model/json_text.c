#include "model/json_lex.h"
#include "model/utf8.h"

/* ------------------------------------------------------------------ escapes */

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

enum fg_json_escape fg_json_unicode_escape(const char **p, const char *end, uint32_t *ret_code)
{
	int32_t high = hex_four(*p, end);
	int32_t low;

	if (high < 0)
		return FG_JSON_ESCAPE_BAD_DIGITS;
	*p += 4;
	*ret_code = (uint32_t)high;
	if (high < 0xd800 || high > 0xdfff)
		return FG_JSON_ESCAPE_OK;
	if (high >= 0xdc00 || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
		return FG_JSON_ESCAPE_LONE_SURROGATE;
	low = hex_four(*p + 2, end);
	if (low < 0xdc00 || low > 0xdfff)
		return FG_JSON_ESCAPE_LONE_SURROGATE;
	*p += 6;
	*ret_code = 0x10000u + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
	return FG_JSON_ESCAPE_OK;
}

/* One character of a string's inside, unescaped, to @out (4 bytes); returns its size. */
size_t fg_json_unescape_one(const char **at, const char *end, char *out)
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
		switch (fg_json_unicode_escape(at, end, &code)) {
		case FG_JSON_ESCAPE_OK:
			return fg_utf8_put(out, code);
		case FG_JSON_ESCAPE_LONE_SURROGATE:
			return fg_utf8_put(out, 0xfffd);
		case FG_JSON_ESCAPE_BAD_DIGITS:
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
		size_t n = fg_json_unescape_one(&p, end, character);

		if (n > name.size - done || (n > 0 && memcmp(name.data + done, character, n) != 0))
			return false;
		done += n;
	}
	return done == name.size;
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
		n = fg_json_unescape_one(&p, end, character);
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
