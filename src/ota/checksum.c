#include "ota/checksum.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include <openssl/evp.h>

#include "ota/murmur3.h"
#include "util/bytes.h"
#include "util/cleanup.h"

static const struct {
	const char *name;
	size_t bytes;
	const EVP_MD *(*digest)(void); /* NULL: ours */
} kinds[FG_CHECKSUM_ALGORITHMS] = {
	[FG_CHECKSUM_MD5] = {"MD5", 16, EVP_md5},
	[FG_CHECKSUM_SHA256] = {"SHA256", 32, EVP_sha256},
	[FG_CHECKSUM_SHA384] = {"SHA384", 48, EVP_sha384},
	[FG_CHECKSUM_SHA512] = {"SHA512", 64, EVP_sha512},
	[FG_CHECKSUM_CRC32] = {"CRC32", 4, NULL},
	[FG_CHECKSUM_MURMUR3_32] = {"MURMUR3_32", 4, NULL},
	[FG_CHECKSUM_MURMUR3_128] = {"MURMUR3_128", 16, NULL},
};

struct fg_checksum {
	enum fg_checksum_algorithm algorithm;
	EVP_MD_CTX *digest;
	union {
		uint32_t crc;
		struct fg_murmur3_32 murmur_32;
		struct fg_murmur3_128 murmur_128;
	};
};

static void checksum_freep(struct fg_checksum **c)
{
	fg_checksum_free(*c);
}

/* CRC-32 of IEEE 802.3, reflected, four bits at a time. */
static uint32_t crc32_update(uint32_t crc, const uint8_t *data, size_t size)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};

	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

int fg_checksum_parse(const char *name, enum fg_checksum_algorithm *ret)
{
	for (unsigned i = 0; i < FG_CHECKSUM_ALGORITHMS; i++) {
		if (strcasecmp(name, kinds[i].name) == 0) {
			*ret = (enum fg_checksum_algorithm)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *fg_checksum_name(enum fg_checksum_algorithm algorithm)
{
	return kinds[algorithm].name;
}

bool fg_checksum_is_valid(enum fg_checksum_algorithm algorithm, const char *text)
{
	size_t n = 0;

	while (isxdigit((unsigned char)text[n]))
		n++;
	return text[n] == '\0' && n == 2 * kinds[algorithm].bytes;
}

int fg_checksum_new(enum fg_checksum_algorithm algorithm, struct fg_checksum **ret)
{
	FG_CLEANUP(checksum_freep) struct fg_checksum *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->algorithm = algorithm;
	if (kinds[algorithm].digest) {
		c->digest = EVP_MD_CTX_new();
		if (!c->digest)
			return -ENOMEM;
		if (EVP_DigestInit_ex(c->digest, kinds[algorithm].digest(), NULL) != 1)
			return -ENOTSUP;
	}

	*ret = c; /* the caller owns it now */
	c = NULL;
	return 0;
}

struct fg_checksum *fg_checksum_free(struct fg_checksum *c)
{
	if (!c)
		return NULL;
	EVP_MD_CTX_free(c->digest);
	free(c);
	return NULL;
}

void fg_checksum_update(struct fg_checksum *c, const void *data, size_t size)
{
	if (c->digest)
		EVP_DigestUpdate(c->digest, data, size);
	else if (c->algorithm == FG_CHECKSUM_CRC32)
		c->crc = crc32_update(c->crc, data, size);
	else if (c->algorithm == FG_CHECKSUM_MURMUR3_32)
		fg_murmur3_32_update(&c->murmur_32, data, size);
	else
		fg_murmur3_128_update(&c->murmur_128, data, size);
}

void fg_checksum_final(struct fg_checksum *c, char ret[FG_CHECKSUM_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[EVP_MAX_MD_SIZE] = {0};
	uint64_t halves[2];
	size_t n = kinds[c->algorithm].bytes;

	if (c->digest) {
		EVP_DigestFinal_ex(c->digest, bytes, NULL);
	} else if (c->algorithm == FG_CHECKSUM_CRC32) {
		fg_put_le32(bytes, c->crc);
	} else if (c->algorithm == FG_CHECKSUM_MURMUR3_32) {
		fg_put_le32(bytes, fg_murmur3_32_final(&c->murmur_32));
	} else {
		fg_murmur3_128_final(&c->murmur_128, halves);
		fg_put_le64(bytes, halves[0]);
		fg_put_le64(bytes + 8, halves[1]);
	}
	for (size_t i = 0; i < n; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret[2 * n] = '\0';
}

bool fg_checksum_equal(const char *a, const char *b)
{
	size_t n = strlen(a);
	int difference = 0;

	if (strlen(b) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		difference |= tolower((unsigned char)a[i]) ^ tolower((unsigned char)b[i]);
	return difference == 0;
}
