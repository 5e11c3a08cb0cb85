#include "cloud/session_key.h"

#include "util/bytes.h"

static const uint8_t secret[17] = "fieldgatesession";

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void mix(uint64_t v[4], unsigned rounds)
{
	while (rounds--) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static void take_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	mix(v, 2);
	v[0] ^= word;
}

uint64_t fg_session_key(const char *name, size_t size)
{
	const uint8_t *bytes = (const uint8_t *)name;
	uint64_t k0 = fg_get_le64(secret), k1 = fg_get_le64(secret + 8);
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
			 k1 ^ 0x7465646279746573};
	uint64_t last = (uint64_t)size << 56;
	uint64_t key;
	size_t i;

	for (i = 0; i + 8 <= size; i += 8)
		take_word(v, fg_get_le64(bytes + i));
	for (size_t k = 0; i + k < size; k++)
		last |= (uint64_t)bytes[i + k] << 8 * k;
	take_word(v, last);
	v[2] ^= 0xff;
	mix(v, 4);
	key = v[0] ^ v[1] ^ v[2] ^ v[3];
	return key ? key : 1;
}
