#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * CRC32C (Castagnoli; RFC 3720, appendix B.4) of @size bytes, continuing from @crc (0 to start).
 * Uses the CPU's instruction where there is one.
 */
uint32_t fg_crc32c(uint32_t crc, const void *data, size_t size);

/** The same without the CPU's instruction; the two are compared in the tests. */
uint32_t fg_crc32c_portable(uint32_t crc, const void *data, size_t size);
