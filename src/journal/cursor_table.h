#pragma once

/*
 * The cursor table as it stands in segment headers and in records of kind 128 (format.h, section
 * 3).
 */
#include <stddef.h>
#include <stdint.h>

#define FG_CURSORS_MAX 32
#define FG_CURSOR_NAME_MAX 63
#define FG_CURSOR_TABLE_CLOCK_BYTES 24
#define FG_CURSOR_TABLE_MAX                                                                        \
	(2 + FG_CURSORS_MAX * (1 + FG_CURSOR_NAME_MAX + 8 + 2) + FG_CURSOR_TABLE_CLOCK_BYTES)

struct fg_cursor_entry {
	char name[FG_CURSOR_NAME_MAX + 1];
	uint64_t watermark;
};

struct fg_cursor_table {
	struct fg_cursor_entry entries[FG_CURSORS_MAX];
	unsigned n;
	/* The journal's clock and UTC when it was made, and that clock when the newest message in
	 * front of it was appended (format.h, section 3); all 0: not told. */
	int64_t clock_ms, utc_us, newest_ms;
};

/** Write @table to @out, which has room for FG_CURSOR_TABLE_MAX bytes. Returns the bytes written.
 */
size_t fg_cursor_table_encode(const struct fg_cursor_table *table, uint8_t *out);

/**
 * Read a table. Names this build cannot hold (empty, longer than 63 bytes, with a NUL, more than 32
 * of them) are left out; acknowledged ranges that touch the watermark are folded into it, others
 * are dropped: those records are sent again. Returns 0, or -EBADMSG when the table does not add up.
 */
int fg_cursor_table_decode(const uint8_t *data, size_t size, struct fg_cursor_table *ret);
