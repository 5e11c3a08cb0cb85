#pragma once

/*
 * What the journal's benchmark and its SQLite counterpart share: the records, the clock, and the
 * counters of the kernel.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fieldgate/plugin.h"

#define MEASURE_BODY_BYTES 200u /* the payload of every record */
#define MEASURE_PRODUCERS 8u
#define MEASURE_BATCH_MAX 10000u /* records in one commit: they fit the journal's batch */

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t measure_now_ns(void);

/** Print "@what: reason" to stderr and exit. @r: a negative errno, or 0 for no reason. */
_Noreturn void measure_fail(const char *what, int r);

/**
 * Record @i: the producers take turns, and no two bodies are alike. Spans are valid until the next
 * call.
 */
struct fg_message measure_message(uint64_t i);

/** What has been written so far, in bytes. */
struct measure_written {
	uint64_t process; /* write_bytes of /proc/self/io: pages dirtied for the disk */
	uint64_t device;  /* by anyone, what the file system writes for itself included; or 0 */
};

/** @directory: on the device in question. */
struct measure_written measure_written(const char *directory);

/** A field of /proc/self/status that is a size, such as "VmRSS:", in KiB. */
uint64_t measure_memory_kib(const char *field);

/** One timed run of appending. */
struct measure_run {
	uint64_t batch;
	uint64_t records, commits;
	uint64_t start_ns, end_ns;
	struct measure_written before, after;
};

void measure_start(struct measure_run *run, uint64_t batch, const char *directory);

/** Is the run to go on? Until @seconds have passed or @max_bytes of payload were written. */
bool measure_goes_on(const struct measure_run *run, double seconds, uint64_t max_bytes);

void measure_stop(struct measure_run *run, const char *directory);

/** Print the members of a JSON object that tell about @run, with no brace around. */
void measure_print(const struct measure_run *run);
