#include "util/hash.h"

struct state {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void mix(struct state *s, unsigned rounds)
{
	while (rounds--) {
		s->v0 += s->v1;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v2 = rotate(s->v2, 32);
	}
}

static inline void take_word(struct state *s, uint64_t word, unsigned rounds)
{
	s->v3 ^= word;
	mix(s, rounds);
	s->v0 ^= word;
}

/* @rounds after each word, @last_rounds at the end. */
static inline uint64_t siphash(const uint8_t key[16], const void *data, size_t size,
			       unsigned rounds, unsigned last_rounds)
{
	const uint8_t *at = data;
	uint64_t k0 = fg_get_le64(key), k1 = fg_get_le64(key + 8);
	uint64_t last = (uint64_t)size << 56;
	struct state s = {.v0 = k0 ^ 0x736f6d6570736575,
			  .v1 = k1 ^ 0x646f72616e646f6d,
			  .v2 = k0 ^ 0x6c7967656e657261,
			  .v3 = k1 ^ 0x7465646279746573};

	for (; size >= 8; at += 8, size -= 8)
		take_word(&s, fg_get_le64(at), rounds);
	for (size_t i = 0; i < size; i++)
		last |= (uint64_t)at[i] << 8 * i;
	take_word(&s, last, rounds);
	s.v2 ^= 0xff;
	mix(&s, last_rounds);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t fg_siphash_13(const uint8_t key[16], const void *data, size_t size)
{
	return siphash(key, data, size, 1, 3);
}

uint64_t fg_siphash_24(const uint8_t key[16], const void *data, size_t size)
{
	return siphash(key, data, size, 2, 4);
}
