#pragma once

/*
 * SipHash (Aumasson and Bernstein, 2012): who does not know the key cannot choose names that collide, and
 * most names come from field devices and clouds.
 */
#include "util/bytes.h"
#include "util/span.h"

/** SipHash-1-3, for tables in memory: no slower than FNV-1a, and faster from ten bytes on. */
uint64_t fg_siphash_13(const uint8_t key[16], const void *data, size_t size);

/** SipHash-2-4, for what stands on disk. */
uint64_t fg_siphash_24(const uint8_t key[16], const void *data, size_t size);

/**
 * Of @text, for a table in memory; all bits are as good. @seed is fg_random() where somebody might aim, or
 * the hash of what comes before @text. (Ids of commands carry such a hash, too, and are on disk: see
 * plugins/thingsboard/commands.c.)
 */
static inline uint64_t fg_hash(uint64_t seed, struct fg_span text)
{
	uint8_t key[16];

	fg_put_le64(key, seed);
	fg_put_le64(key + 8, ~seed);
	return fg_siphash_13(key, text.data, text.size);
}
