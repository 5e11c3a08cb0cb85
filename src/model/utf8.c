#include "model/utf8.h"

#include "util/bytes.h"

#define HIGH_BITS 0x8080808080808080u

static bool is_continuation(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

size_t fg_utf8_character(const char *at, const char *end)
{
	const unsigned char *p = (const unsigned char *)at;
	size_t left = (size_t)(end - at);

	if (left == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2) /* a continuation byte, or an overlong form of ASCII */
		return 0;
	if (p[0] < 0xe0)
		return left >= 2 && is_continuation(p[1]) ? 2 : 0;
	if (p[0] < 0xf0) {
		if (left < 3 || !is_continuation(p[1]) || !is_continuation(p[2]))
			return 0;
		if (p[0] == 0xe0 && p[1] < 0xa0) /* overlong */
			return 0;
		if (p[0] == 0xed && p[1] >= 0xa0) /* U+D800..U+DFFF */
			return 0;
		return 3;
	}
	if (p[0] > 0xf4 || left < 4 || !is_continuation(p[1]) || !is_continuation(p[2]) ||
	    !is_continuation(p[3]))
		return 0;
	if (p[0] == 0xf0 && p[1] < 0x90) /* overlong */
		return 0;
	if (p[0] == 0xf4 && p[1] >= 0x90) /* above U+10FFFF */
		return 0;
	return 4;
}

bool fg_utf8_ok(struct fg_span text)
{
	const char *p = text.size > 0 ? text.data : "";
	const char *end = p + text.size;

	while (p < end) {
		size_t n;

		if (end - p >= 8 && (fg_get_le64(p) & HIGH_BITS) == 0) {
			p += 8;
			continue;
		}
		n = fg_utf8_character(p, end);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

size_t fg_utf8_put(char *out, uint32_t code)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}
