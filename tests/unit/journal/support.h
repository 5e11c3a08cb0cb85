#pragma once

/*
 * What the journal's tests share: a journal in a temporary directory, small enough that a few
 * records fill a segment, and a note of all it calls back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "journal/journal.h"

struct bench {
	char dir[64];
	struct fg_fs *fs;
	struct fg_journal_options options;
	struct fg_journal *j;
	struct fg_error err;
	int64_t now_ms;
	int64_t utc_us; /* what the journal takes for UTC */

	/* as called back */
	uint64_t committed;
	unsigned n_committed;
	uint64_t lost;
	uint64_t lost_seq;
	unsigned n_lost;
	char lost_why[64];
	int trouble;
	unsigned n_trouble;
	unsigned n_full, n_room; /* calls of `full`, with true and with false */
};

/** An empty directory and options: batches of 4 KiB, segments of 16 KiB, not threaded. */
void bench_new(struct bench *b);
void bench_free(struct bench *b);

void bench_open(struct bench *b);
void bench_close(struct bench *b);

/** Append a message of device "dev" whose body is @body_size bytes made from its sequence number.
 */
uint64_t bench_append(struct bench *b, size_t body_size);

/** Append @n of 200 bytes and flush after each tenth. Returns the last sequence number. */
uint64_t bench_fill(struct bench *b, unsigned n);

void bench_flush(struct bench *b);

/** The body bench_append() gives record @seq. */
void bench_body(uint64_t seq, char *out, size_t size);

/** Read all from @c's position on, checking bodies, and move the position. Returns how many. */
unsigned bench_read_all(struct fg_cursor *c);

/** How many files in lane @lane have a name that ends with @suffix. */
unsigned bench_count_files(const struct bench *b, const char *lane, const char *suffix);

/** Path of the @i-th segment of @lane, oldest first; negative: from the newest. */
void bench_segment(const struct bench *b, const char *lane, int i, char *out, size_t size);

/** Overwrite @size bytes at @offset of the file at @path with @byte. */
void bench_damage(const char *path, long offset, size_t size, int byte);
