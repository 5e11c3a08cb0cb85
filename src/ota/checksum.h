#pragma once

/*
 * The checksums clouds announce for firmware and software, computed piece by piece in constant
 * memory. Text is lower-case hexadecimal as ThingsBoard prints it: CRC32 and the Murmur hashes with
 * the least significant byte first (Guava's HashCode).
 */
#include <stdbool.h>
#include <stddef.h>

enum fg_checksum_algorithm {
	FG_CHECKSUM_MD5,
	FG_CHECKSUM_SHA256,
	FG_CHECKSUM_SHA384,
	FG_CHECKSUM_SHA512,
	FG_CHECKSUM_CRC32,
	FG_CHECKSUM_MURMUR3_32,
	FG_CHECKSUM_MURMUR3_128,
};
#define FG_CHECKSUM_ALGORITHMS 7

#define FG_CHECKSUM_TEXT_SIZE 129 /* of the longest, with its NUL */

struct fg_checksum;

/** "SHA256", in upper or lower case. Returns 0 or -EINVAL. */
int fg_checksum_parse(const char *name, enum fg_checksum_algorithm *ret);
const char *fg_checksum_name(enum fg_checksum_algorithm algorithm);

/** Is @text what this algorithm could have printed (in upper or lower case)? */
bool fg_checksum_is_valid(enum fg_checksum_algorithm algorithm, const char *text);

/**
 * The caller owns *@ret and releases it with fg_checksum_free(). Returns 0, -ENOMEM, or -ENOTSUP
 * when OpenSSL's policy forbids the algorithm.
 */
int fg_checksum_new(enum fg_checksum_algorithm algorithm, struct fg_checksum **ret);
struct fg_checksum *fg_checksum_free(struct fg_checksum *c);

void fg_checksum_update(struct fg_checksum *c, const void *data, size_t size);

/** The text of all that was given; once. Nothing may be added after it. */
void fg_checksum_final(struct fg_checksum *c, char ret[FG_CHECKSUM_TEXT_SIZE]);

/** Do these mean the same, in upper or lower case? In time that does not tell where they differ. */
bool fg_checksum_equal(const char *a, const char *b);
