#pragma once

/*
 * Numbers with a unit, as people write them: "30s", "64MiB". One whole number and one unit, nothing
 * else.
 */
#include <stddef.h>
#include <stdint.h>

#define FG_UNITS_TEXT_BYTES 32 /* enough for any number with its unit */

/** "250ms", "30s", "5min", "2h", "7d" as milliseconds. Returns 0, -EINVAL, or -ERANGE when it does
 * not fit. */
int fg_duration_parse(const char *text, int64_t *ret_ms);

/** "512B", "64KiB", "16MiB", "2GiB", "1TiB" as bytes. Returns 0, -EINVAL, or -ERANGE when it does
 * not fit. */
int fg_size_parse(const char *text, int64_t *ret_bytes);

/** The shortest text with the largest unit that leaves a whole number. @out has
 * FG_UNITS_TEXT_BYTES. */
const char *fg_duration_text(int64_t ms, char *out);
const char *fg_size_text(int64_t bytes, char *out);
