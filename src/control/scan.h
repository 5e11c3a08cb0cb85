#pragma once

/*
 * Reads a lane of the journal from its files alone, front to back, for people who look at it from
 * outside: nothing is ever written, no file is opened for writing, and a daemon may have the
 * journal open meanwhile. Every byte is distrusted, every record's CRC is checked, and what does
 * not read is told with the exact range of sequence numbers. Memory does not grow with the journal:
 * one buffer, as large as the largest record.
 *
 * A scan sees the lane as it was when the scan was opened: what a daemon appends later is not
 * looked at.
 */
#include "journal/cursor_table.h"
#include "journal/segment.h"
#include "util/error.h"

struct fg_scan;

enum fg_scan_state {
	FG_SCAN_FILE_GOOD,
	FG_SCAN_FILE_UNREADABLE, /* its header: not part of the journal as the daemon sees it */
	FG_SCAN_FILE_LATER,      /* a later version wrote it: the daemon leaves the journal alone */
	FG_SCAN_FILE_FOREIGN,    /* of another journal: ignored */
	FG_SCAN_FILE_SET_ASIDE,  /* "*.damaged": not part of the journal any more */
};

/** One file of the lane, as it was when the scan was opened. */
struct fg_scan_file {
	char name[FG_SEGMENT_PATH_MAX];
	uint64_t first_seq; /* by its name */
	uint64_t size_bytes;
	uint64_t header_bytes; /* records start behind it */
	int64_t made_us;
	uint8_t id[16];
	uint32_t incompatible;
	uint16_t version;
	enum fg_scan_state state;
	char why[80]; /* FG_SCAN_FILE_UNREADABLE: what is wrong with it */
};

enum fg_scan_type {
	FG_SCAN_END = 0,
	FG_SCAN_SEGMENT,     /* one begins */
	FG_SCAN_RECORD,      /* `data` of `size_bytes`, valid until the next step */
	FG_SCAN_DAMAGED,     /* records first_seq..last_seq were there and do not read */
	FG_SCAN_MISSING,     /* records first_seq..last_seq are in no file */
	FG_SCAN_TORN,        /* behind record last_seq: a commit that was never finished */
	FG_SCAN_GONE,        /* the file has gone since the scan was opened */
	FG_SCAN_SEGMENT_END, /* `read_error`: not 0 when the disk did not give some of it */
};

struct fg_scan_event {
	enum fg_scan_type type;
	const struct fg_scan_file *file;
	uint64_t first_seq, last_seq;
	uint64_t offset; /* in the file */
	uint64_t size_bytes;
	const uint8_t *data;
	int read_error; /* negative errno */
};

/**
 * List the lane in directory @dir_fd (borrowed; must stay open), read all headers, and read the
 * newest segment to find where it ends. On success the caller owns *@ret and releases it with
 * fg_scan_free(). Returns 0, -ENOMEM, or another negative errno with a sentence in @err.
 */
int fg_scan_open(int dir_fd, struct fg_scan **ret, struct fg_error *err);
struct fg_scan *fg_scan_free(struct fg_scan *s);

/** All files with a segment's name, by rising first_seq; and how many. */
const struct fg_scan_file *fg_scan_files(const struct fg_scan *s, size_t *ret_n);

/** The newest readable segment, or NULL. A daemon may append to it. */
const struct fg_scan_file *fg_scan_newest(const struct fg_scan *s);

/** The cursors as the daemon would find them, or false. *@ret_data are the table's bytes, valid as long
 * as @s. */
bool fg_scan_cursors(const struct fg_scan *s, struct fg_cursor_table *ret,
		     const uint8_t **ret_data);

/** Skip what is in segments that end before @seq. To be called before the first step. */
void fg_scan_skip_to(struct fg_scan *s, uint64_t seq);

/** Take the next step. Returns 1 and an event, 0 at the end, or -ENOMEM. */
int fg_scan_next(struct fg_scan *s, struct fg_scan_event *ret);

/** Bytes read through and bytes there are, to show how far it is. */
void fg_scan_progress(const struct fg_scan *s, uint64_t *ret_done, uint64_t *ret_all);
