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

#define BENCH_PASSES 8

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

	/* Those bench_pass() has opened. */
	struct fg_cursor *pass_cursors[BENCH_PASSES];
	struct fg_pass *passes[BENCH_PASSES];
	unsigned n_passes;
};

/** An empty directory and options: batches of 4 KiB, segments of 16 KiB, not threaded. */
void bench_new(struct bench *b);
void bench_free(struct bench *b);

/** Fixtures of a test: a bench that bench_setup() has not opened and bench_setup_open() has. */
int bench_setup(void **state);
int bench_setup_open(void **state);
int bench_teardown(void **state);

void bench_open(struct bench *b);
void bench_close(struct bench *b);

/** The main lane's cursor @name, opened. */
struct fg_cursor *bench_cursor(struct bench *b, const char *name, uint64_t max_unsaved);

/** Append a message of device "dev" whose body is @body_size bytes made from its sequence number.
 */
uint64_t bench_append(struct bench *b, size_t body_size);
uint64_t bench_append_to(struct bench *b, enum fg_lane lane, size_t body_size);

/** Append @n of 200 bytes and flush after each tenth. Returns the last sequence number. */
uint64_t bench_fill(struct bench *b, unsigned n);

void bench_flush(struct bench *b);

/** The body bench_append() gives record @seq. */
void bench_body(uint64_t seq, char *out, size_t size);

/** The pass @c is read with: opened at its first use, closed with the journal. */
struct fg_pass *bench_pass(struct bench *b, struct fg_cursor *c);

/** Up to @max messages from that pass, however many calls it takes. Returns how many. */
int bench_read(struct bench *b, struct fg_cursor *c, struct fg_message *ret, size_t max);

/** Read all from that pass's position on, checking bodies. Returns how many. */
unsigned bench_read_all(struct bench *b, struct fg_cursor *c);

/** All records up to @seq are settled. */
void bench_settle(struct fg_cursor *c, uint64_t seq);

/** How many files in lane @lane have a name that ends with @suffix. */
unsigned bench_count_files(const struct bench *b, const char *lane, const char *suffix);

/** Path of the @i-th segment of @lane, oldest first; negative: from the newest. */
void bench_segment(const struct bench *b, const char *lane, int i, char *out, size_t size);

/** Overwrite @size bytes at @offset of the file at @path with @byte. */
void bench_damage(const char *path, long offset, size_t size, int byte);
