#pragma once

/*
 * The cursor table as it stands in segment headers and in records of kind 128 (format.h, section
 * 3). Decoding trusts no byte and allocates nothing: what is said in numbers stays in the table's
 * bytes and is taken from there one by one.
 */
#include <stdbool.h>

#include "journal/left_behind.h"
#include "journal/ranges.h"

#define FG_CURSORS_MAX 32
#define FG_CURSOR_NAME_MAX 63
#define FG_CURSOR_TABLE_CLOCK_BYTES 24
/* Of all cursors together: so many are written when there is room for them. */
#define FG_CURSOR_TABLE_RANGES 512

/** What a table says of one cursor. */
struct fg_cursor_entry {
	char name[FG_CURSOR_NAME_MAX + 1];
	uint64_t watermark;
	unsigned n_ranges, n_left_behind;
	size_t at; /* of the ranges in the table's bytes; those left behind follow */
};

struct fg_cursor_table {
	struct fg_cursor_entry entries[FG_CURSORS_MAX];
	unsigned n;
	/* The journal's clock and UTC when it was made, and that clock when the newest message in
	 * front of it was appended (format.h, section 3); all 0: not told. */
	int64_t clock_ms, utc_us, newest_ms;
};

/** What shall go into a table about one cursor; all borrowed. */
struct fg_cursor_source {
	const char *name;
	uint64_t watermark;
	const struct fg_ranges *ranges;
	const struct fg_left_behinds *left_behind;
	/* Set by encoding: how many numbers are in ranges that were left out. */
	uint64_t n_left_out;
};

struct fg_cursor_table_source {
	struct fg_cursor_source cursors[FG_CURSORS_MAX];
	unsigned n;
	int64_t clock_ms, utc_us, newest_ms;
};

/** Bytes of a table of 32 cursors that leave @max_left_behind sessions behind, without any range; and
 * with as many as are written at most. */
size_t fg_cursor_table_min(unsigned max_left_behind);
size_t fg_cursor_table_max(unsigned max_left_behind);

/** Bytes of the table of @source with nothing left out. */
size_t fg_cursor_table_size(const struct fg_cursor_table_source *source);

/**
 * Write a table of at most @room bytes (fg_cursor_table_min(0) or more) to @out. The smallest ranges
 * are left out first when there is not room for all. A cursor whose sessions left behind do not fit
 * is written as if it had settled nothing from the lowest of them on: more is sent again then, and
 * nothing is lost. Returns the bytes written.
 */
size_t fg_cursor_table_encode(struct fg_cursor_table_source *source, size_t room, uint8_t *out);

/**
 * Read a table. Names this build cannot hold (empty, longer than 63 bytes, with a NUL, more than 32
 * of them) are left out. Returns 0, or -EBADMSG when the table does not add up.
 */
int fg_cursor_table_decode(const uint8_t *data, size_t size, struct fg_cursor_table *ret);

/**
 * The @i-th range of @e, whose table is at @data. Returns false when it says nothing: it is reversed,
 * or not above the watermark. They may come in any order and overlap.
 */
bool fg_cursor_entry_range(const uint8_t *data, const struct fg_cursor_entry *e, unsigned i,
			   struct fg_range *ret);

/** The @i-th session that @e has left behind. A key may come more than once: the lowest counts. */
struct fg_left_behind fg_cursor_entry_left_behind(const uint8_t *data,
						  const struct fg_cursor_entry *e, unsigned i);
