#pragma once

/*
 * The calendar of UTC, without the C library's: gmtime_r() takes leap seconds off where the time zone
 * of the process is one of those that count them (TZ=right/Asia/Shanghai), and what is written then is
 * half a minute late. The clock it reads from counts none (POSIX, Seconds Since the Epoch).
 */
#include <stdbool.h>
#include <stdint.h>

struct fg_utc {
	unsigned year, month, day; /* 1000 to 9999, from 1, from 1 */
	unsigned hour, minute, second, microsecond;
};

/**
 * The date and time of @time_us, in microseconds since 1970. Returns false, and writes nothing, for a
 * year that has not four digits.
 */
bool fg_utc_of(int64_t time_us, struct fg_utc *ret);

/** The other way round. Returns false, and writes nothing, when there is no such day or time; the
 * leap second 23:59:60 is the first of the next day. */
bool fg_utc_to(const struct fg_utc *utc, int64_t *ret_us);
