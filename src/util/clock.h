#pragma once

/*
 * The two clocks. Durations, timers and deadlines use the monotonic one; only stamps that leave the
 * gateway use UTC. Everything that can be tested takes the time as an argument instead.
 */
#include <stdint.h>

/** Microseconds since 1970, UTC. May step in either direction. */
int64_t fg_clock_utc_us(void);

/** Milliseconds since some fixed moment (CLOCK_MONOTONIC). Never steps. */
int64_t fg_clock_monotonic_ms(void);
