#pragma once

/*
 * Segment files (format.h, section 1) and the sorted list of those of one lane, as the loop knows
 * them: which sequence numbers are where, how much of each file may be read, and a few open
 * handles.
 */
#include <stdbool.h>

#include "journal/format.h"
#include "journal/fs.h"

#define FG_SEGMENT_PATH_MAX 64
#define FG_SEGMENT_TMP "next.tmp"
#define FG_SEGMENT_DAMAGED_SUFFIX ".damaged"
#define FG_PASSED_SUFFIX ".passed"
#define FG_SEGMENT_MARKS 64
#define FG_SEGMENTS_OPEN_MAX 16
/* No record is smaller: a header, and a device of one byte or a cursor table of two. */
#define FG_RECORD_MIN_BYTES 40

/* ---- header */

struct fg_segment_header {
	uint64_t first_seq;
	int64_t made_us;
	uint8_t id[16];
	const uint8_t *table; /* decoded: points into the header's bytes; size 0: none */
	size_t table_size;
	size_t size;           /* of the header; set by decoding */
	uint32_t incompatible; /* feature bits; always 0 when made here */
	uint16_t version;      /* likewise 1 */
};

/** The size of a header with a table of @table_size bytes, at most FG_SEGMENT_TABLE_MAX. */
size_t fg_segment_header_size(size_t table_size);

/**
 * Write @h to @out, fg_segment_header_size() bytes. The table may stand where it belongs already, at
 * FG_SEGMENT_TABLE_AT of @out. Returns the size.
 */
size_t fg_segment_header_encode(const struct fg_segment_header *h, uint8_t *out);

/**
 * The size of the header that starts with these FG_SEGMENT_HEADER_BYTES at @data, as it claims: so
 * much fg_segment_header_decode() wants to see. 0: it is none.
 */
size_t fg_segment_header_claimed_size(const uint8_t *data);

/**
 * Read a header of @size bytes at @data. Returns 0, -EBADMSG (not a header of that size), or
 * -EPROTONOSUPPORT (a later version wrote it; version and feature bits are set).
 */
int fg_segment_header_decode(const uint8_t *data, size_t size, struct fg_segment_header *ret);

/** "<dir>/<sixteen digits>.seg<suffix>" to @out of FG_SEGMENT_PATH_MAX. */
void fg_segment_path(const char *dir, uint64_t first_seq, const char *suffix, char *out);

/** "<dir>/<sixteen digits>.passed" to @out of FG_SEGMENT_PATH_MAX. */
void fg_passed_path(const char *dir, uint64_t seq, char *out);

enum fg_segment_name {
	FG_SEGMENT_NAME_OTHER,
	FG_SEGMENT_NAME_SEGMENT,
	FG_SEGMENT_NAME_DAMAGED,
	FG_SEGMENT_NAME_PASSED,
};

/** What kind of name @name, of 20 bytes at least, is; sets *@ret_first_seq, the number in it, unless it is
 * another one. */
enum fg_segment_name fg_segment_name_parse(const char *name, uint64_t *ret_first_seq);

/* ---- list */

/** A place in a segment where a record starts. offset 0: not known. */
struct fg_segment_mark {
	uint32_t offset;
	uint32_t seq; /* above the segment's first */
};

struct fg_segment {
	uint64_t first_seq;
	uint64_t header_bytes; /* the first record is behind them */
	uint64_t used;         /* records may be read up to this offset */
	uint64_t on_disk;      /* bytes the file takes */
	uint64_t last_use;
	int64_t newest_ms;   /* the journal's clock when its newest record was appended; or later */
	uint64_t damaged_to; /* damage up to this sequence number has been counted */
	int file;            /* read handle, or -1 */
	bool is_damaged;
	struct fg_segment_mark
		marks[FG_SEGMENT_MARKS]; /* one for each part of the file, as they get known */
};

/** All segments of a lane, by rising first_seq. */
struct fg_segments {
	struct fg_fs *fs; /* borrowed */
	char dir[16];
	uint8_t id[16];
	uint32_t seed; /* of the records' CRC, from the id */
	uint64_t segment_bytes;
	struct fg_segment **items;
	size_t n, capacity;
	struct fg_segment *spare; /* so that a segment that was made can always be added */
	uint64_t end_seq;         /* one above the newest synced record */
	uint64_t use_clock;
	unsigned n_open;
	unsigned generation; /* changes whenever a segment goes */
};

void fg_segments_init(struct fg_segments *l, struct fg_fs *fs, const char *dir,
		      uint64_t segment_bytes);
void fg_segments_free(struct fg_segments *l);

/** Make sure that one fg_segments_add() succeeds. Returns 0 or -ENOMEM. */
int fg_segments_reserve(struct fg_segments *l);

/**
 * Add a segment behind all others; one that has the same first_seq is replaced. Needs a
 * fg_segments_reserve() before.
 */
struct fg_segment *fg_segments_add(struct fg_segments *l, uint64_t first_seq, uint64_t header_bytes,
				   uint64_t used, uint64_t on_disk);

/** Forget the oldest segment. */
void fg_segments_drop_oldest(struct fg_segments *l);

/** Index of the newest segment with first_seq <= @seq, or -1. */
int64_t fg_segments_find(const struct fg_segments *l, uint64_t seq);

/** One above the last sequence number that belongs to segment @i. */
uint64_t fg_segments_end_seq(const struct fg_segments *l, size_t i);

/** Bytes all files take. */
uint64_t fg_segments_bytes(const struct fg_segments *l);

/** A handle to read @s with, valid until the next call. Returns it or a negative errno. */
int fg_segments_file(struct fg_segments *l, struct fg_segment *s);

/** A record with sequence number @seq starts at @offset. */
void fg_segment_mark_set(const struct fg_segments *l, struct fg_segment *s, uint64_t offset,
			 uint64_t seq);

/** The closest known place at or before @seq, which is not below first_seq. */
void fg_segment_mark_find(const struct fg_segment *s, uint64_t seq, uint64_t *ret_offset,
			  uint64_t *ret_seq);
