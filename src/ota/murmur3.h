#pragma once

/*
 * MurmurHash3 (Austin Appleby, public domain algorithm), seed 0, fed piece by piece: the variants
 * ThingsBoard offers for packages. Finds accidents, not enemies.
 */
#include <stddef.h>
#include <stdint.h>

struct fg_murmur3_32 {
	uint32_t h;
	uint64_t size;
	uint8_t tail[4]; /* size % 4 bytes that do not fill a block yet */
};

/* The variant for 64-bit machines. */
struct fg_murmur3_128 {
	uint64_t h1, h2;
	uint64_t size;
	uint8_t tail[16]; /* size % 16 bytes */
};

/* Start with {0}. */
void fg_murmur3_32_update(struct fg_murmur3_32 *m, const void *data, size_t size);
uint32_t fg_murmur3_32_final(const struct fg_murmur3_32 *m);

/* Start with {0}. */
void fg_murmur3_128_update(struct fg_murmur3_128 *m, const void *data, size_t size);
void fg_murmur3_128_final(const struct fg_murmur3_128 *m, uint64_t ret[2]);
