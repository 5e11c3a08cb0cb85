#pragma once

/*
 * Rates as people write them: "20/s" is at most 20 within any second, "600/min" and "5/h" likewise,
 * and "20:1" is capacity:seconds, as ThingsBoard's own settings have it. Several, with commas
 * between them, apply all at once: "20:1,600:60".
 */
#include "config/config.h"

#define FG_RATE_CAPACITY_MAX 1000000000
#define FG_RATE_SECONDS_MAX 86400

/**
 * Read @text and append its rates to @rates, of which *@n are there and FG_RATES_MAX have room.
 * Returns 0, -EINVAL (not the form), -ERANGE (a number is 0 or beyond the bounds above), or -E2BIG.
 */
int fg_rates_parse(const char *text, struct fg_rate *rates, size_t *n);
