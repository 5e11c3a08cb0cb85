#pragma once

/*
 * How long a call takes: the best of several runs, since everything that disturbs one makes it
 * slower.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define STOPWATCH_RUNS 7

static inline double stopwatch_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/** Call @fn @n times in each run, and print nanoseconds per call. */
static inline void stopwatch_measure(const char *what, unsigned n, void (*fn)(void *arg), void *arg)
{
	double best = 0;

	for (int run = 0; run < STOPWATCH_RUNS; run++) {
		double start = stopwatch_now_ns();
		double took;

		for (unsigned i = 0; i < n; i++)
			fn(arg);
		took = (stopwatch_now_ns() - start) / n;
		if (run == 0 || took < best)
			best = took;
	}
	printf("%-52s %9.1f ns\n", what, best);
}
