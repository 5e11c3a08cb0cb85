#include "group.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <string.h>

/* The value of a digit, or -1. */
static int digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/*
 * Four characters at @text to @out. Returns how many bytes they stand for, or -EINVAL. What the last
 * digit says beyond whole bytes has to be zero (RFC 4648, 3.5): a secret with a typing error in it shall
 * not pass for another one.
 */
static int decode_four(const char *text, unsigned char *out)
{
	int n = text[2] == '=' ? 1 : text[3] == '=' ? 2 : 3;
	unsigned bits = 0;

	if (n == 1 && text[3] != '=')
		return -EINVAL;
	for (int i = 0; i < n + 1; i++) {
		int value = digit(text[i]);

		if (value < 0)
			return -EINVAL;
		bits |= (unsigned)value << (18 - 6 * i);
	}
	if (bits & ((1u << (24 - 8 * n)) - 1))
		return -EINVAL;
	for (int i = 0; i < n; i++)
		out[i] = (unsigned char)(bits >> (16 - 8 * i));
	return n;
}

/* Returns how many bytes @text stands for, or -EINVAL. */
static int decode(const char *text, unsigned char *out, size_t out_size)
{
	size_t size = strlen(text), used = 0;

	if (size == 0 || size % 4 != 0 || size / 4 * 3 > out_size)
		return -EINVAL;
	for (size_t i = 0; i < size; i += 4) {
		int n = decode_four(text + i, out + used);

		if (n < 0 || (n < 3 && i + 4 < size))
			return -EINVAL;
		used += (size_t)n;
	}
	return (int)used;
}

int hw_group_derive(const char *device_id, const char *group_secret, char out[HW_HMAC_SIZE])
{
	unsigned char
		secret[HW_GROUP_SECRET_MAX + 2]; /* the last three characters may be padding */
	int n = decode(group_secret, secret, sizeof(secret));
	int r = -EINVAL;

	if (n > 0 && n <= HW_GROUP_SECRET_MAX)
		r = hw_hmac("SHA256", fg_span_str(device_id),
			    fg_span_of((const char *)secret, (size_t)n), out);
	OPENSSL_cleanse(secret, sizeof(secret));
	return r;
}
