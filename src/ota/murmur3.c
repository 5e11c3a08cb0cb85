#include "ota/murmur3.h"

#include "util/bytes.h"

#define C32_1 0xcc9e2d51u
#define C32_2 0x1b873593u
#define C128_1 UINT64_C(0x87c37b91114253d5)
#define C128_2 UINT64_C(0x4cf5ad432745937f)

static uint32_t rotate32(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

static uint64_t rotate64(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static uint32_t scramble32(uint32_t k)
{
	return rotate32(k * C32_1, 15) * C32_2;
}

static void block32(struct fg_murmur3_32 *m, const uint8_t *block)
{
	m->h ^= scramble32(fg_get_le32(block));
	m->h = rotate32(m->h, 13) * 5 + 0xe6546b64u;
}

void fg_murmur3_32_update(struct fg_murmur3_32 *m, const void *data, size_t size)
{
	const uint8_t *at = data, *end = at + size;

	for (; at < end && m->size % 4 != 0; m->size++) {
		m->tail[m->size % 4] = *at++;
		if (m->size % 4 == 3)
			block32(m, m->tail);
	}
	for (; end - at >= 4; at += 4, m->size += 4)
		block32(m, at);
	for (; at < end; m->size++)
		m->tail[m->size % 4] = *at++;
}

uint32_t fg_murmur3_32_final(const struct fg_murmur3_32 *m)
{
	uint8_t last[4] = {0};
	uint32_t h = m->h;

	memcpy(last, m->tail, m->size % 4);
	h ^= scramble32(fg_get_le32(last));
	h ^= (uint32_t)m->size;
	h = (h ^ h >> 16) * 0x85ebca6bu;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	return h ^ h >> 16;
}

static uint64_t scramble1(uint64_t k)
{
	return rotate64(k * C128_1, 31) * C128_2;
}

static uint64_t scramble2(uint64_t k)
{
	return rotate64(k * C128_2, 33) * C128_1;
}

static void block128(struct fg_murmur3_128 *m, const uint8_t *block)
{
	m->h1 ^= scramble1(fg_get_le64(block));
	m->h1 = (rotate64(m->h1, 27) + m->h2) * 5 + 0x52dce729u;
	m->h2 ^= scramble2(fg_get_le64(block + 8));
	m->h2 = (rotate64(m->h2, 31) + m->h1) * 5 + 0x38495ab5u;
}

void fg_murmur3_128_update(struct fg_murmur3_128 *m, const void *data, size_t size)
{
	const uint8_t *at = data, *end = at + size;

	for (; at < end && m->size % 16 != 0; m->size++) {
		m->tail[m->size % 16] = *at++;
		if (m->size % 16 == 15)
			block128(m, m->tail);
	}
	for (; end - at >= 16; at += 16, m->size += 16)
		block128(m, at);
	for (; at < end; m->size++)
		m->tail[m->size % 16] = *at++;
}

static uint64_t mix64(uint64_t h)
{
	h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
	h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 33;
}

void fg_murmur3_128_final(const struct fg_murmur3_128 *m, uint64_t ret[2])
{
	uint8_t last[16] = {0};
	uint64_t h1 = m->h1, h2 = m->h2;

	memcpy(last, m->tail, m->size % 16);
	h1 ^= scramble1(fg_get_le64(last)) ^ m->size;
	h2 ^= scramble2(fg_get_le64(last + 8)) ^ m->size;
	h1 += h2;
	h2 += h1;
	h1 = mix64(h1);
	h2 = mix64(h2);
	h1 += h2;
	h2 += h1;
	ret[0] = h1;
	ret[1] = h2;
}
