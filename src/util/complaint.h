#pragma once

/*
 * A complaint that can repeat: said once, then after 10 s, 1 min, 10 min and every hour, each time
 * with how often it happened in between, and once more when it is over. One struct for each thing
 * that can go wrong, by value in its owner.
 */
#include <stdbool.h>
#include <stdint.h>

struct fg_complaint {
	uint64_t total;      /* since start-up */
	uint64_t unreported; /* since the last line */
	int64_t next_ms;     /* monotonic: no line before this */
	unsigned step;       /* which interval comes next */
};

/**
 * Count one occurrence, and write a line when it is time. When occurrences were held back, their
 * number is added to the line. Returns true when a line was written.
 */
bool fg_complain(struct fg_complaint *c, int64_t now_ms, int level, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/** It is over: write @format with the number of occurrences, if any line was ever written. */
void fg_complain_over(struct fg_complaint *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
