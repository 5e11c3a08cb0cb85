#pragma once

/*
 * The time as devices write it, into UTC microseconds. Exact: numbers are read as the decimal text
 * they are, so 1700000000.123456 s keeps its last digit. What lies before 1990 or after 2199 is a
 * clock that was never set, and is not taken for a time.
 */
#include "config/config.h"

/** 1990-01-01T00:00:00Z, and 2200-01-01T00:00:00Z, the first that is too late. */
#define FG_TIMESTAMP_FIRST_US 631152000000000
#define FG_TIMESTAMP_END_US 7258118400000000

/**
 * A JSON number. FG_TIME_UNIT_AUTO: below 10^11 it counts seconds (10^11 s is the year 5138), below
 * 10^14 milliseconds (10^11 ms is 1973), else microseconds (10^14 µs is 1973). Digits beyond the
 * microsecond are cut off. Returns false when the result is out of range.
 */
bool fg_timestamp_from_number(struct fg_span number, enum fg_time_unit unit, int64_t *ret_us);

/**
 * ISO 8601, extended form with a date, a time and an offset or Z: 2023-11-14T22:13:20.5+01:00.
 * Seconds may be missing and may have any number of decimals, after a point or comma; a space may
 * stand for the T; the offset may be +01, +0100 or +01:00. A leap second counts as the first second
 * after it. Returns false when @text is anything else or out of range.
 */
bool fg_timestamp_from_text(struct fg_span text, int64_t *ret_us);
