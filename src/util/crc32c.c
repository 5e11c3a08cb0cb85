#include "util/crc32c.h"

#include <string.h>

#if defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "util/bytes.h"

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, bits reversed */

/* table[k][b]: the remainder of byte b followed by k zero bytes; eight bytes are folded at a time.
 */
static uint32_t table[8][256];

__attribute__((constructor)) static void table_fill(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) ? POLYNOMIAL : 0);
		table[0][b] = crc;
	}
	for (int k = 1; k < 8; k++)
		for (int b = 0; b < 256; b++)
			table[k][b] = table[0][table[k - 1][b] & 0xff] ^ (table[k - 1][b] >> 8);
}

uint32_t fg_crc32c_portable(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *p = data;

	crc = ~crc;
	for (; size >= 8; size -= 8, p += 8) {
		uint32_t low = crc ^ fg_get_le32(p);
		uint32_t high = fg_get_le32(p + 4);

		crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^
		      table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^ table[3][high & 0xff] ^
		      table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^
		      table[0][high >> 24];
	}
	for (; size > 0; size--, p++)
		crc = table[0][(crc ^ *p) & 0xff] ^ (crc >> 8);
	return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_cpu(uint32_t crc, const void *data,
							     size_t size)
{
	const uint8_t *p = data;
	uint64_t wide = ~crc;

	for (; size >= 8; size -= 8, p += 8)
		wide = __builtin_ia32_crc32di(wide, fg_get_le64(p));
	crc = (uint32_t)wide;
	for (; size > 0; size--, p++)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return ~crc;
}

static int cpu_has_crc32c(void)
{
	return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__)

__attribute__((target("+crc"))) static uint32_t crc32c_cpu(uint32_t crc, const void *data,
							   size_t size)
{
	const uint8_t *p = data;

	crc = ~crc;
	for (; size >= 8; size -= 8, p += 8)
		crc = __crc32cd(crc, fg_get_le64(p));
	for (; size > 0; size--, p++)
		crc = __crc32cb(crc, *p);
	return ~crc;
}

static int cpu_has_crc32c(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

#else

static uint32_t crc32c_cpu(uint32_t crc, const void *data, size_t size)
{
	return fg_crc32c_portable(crc, data, size);
}

static int cpu_has_crc32c(void)
{
	return 0;
}

#endif

uint32_t fg_crc32c(uint32_t crc, const void *data, size_t size)
{
	return cpu_has_crc32c() ? crc32c_cpu(crc, data, size) : fg_crc32c_portable(crc, data, size);
}
