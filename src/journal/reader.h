#pragma once

/*
 * Walks the records of a lane, in order, through one buffer, verifying each. What cannot be read is
 * passed over and reported as a range. Runs on the loop.
 */
#include "journal/record.h"
#include "journal/segment.h"

#define FG_READER_BUFFER_BYTES ((size_t)128 << 10)

struct fg_reader {
	struct fg_segments *lane; /* borrowed */

	/* The next record that is asked for. */
	uint64_t target;

	/*
	 * Where record `seq` should be, at or in front of the target. A segment of NULL: nowhere
	 * yet. scan_offset is not 0 when there is none, and the next one is looked for: from there
	 * on. is_blank: so far there were only zeros. failed_bytes: of what claimed to be a record
	 * and was none.
	 */
	struct fg_segment *segment;
	size_t index;        /* of the segment in the lane */
	unsigned generation; /* of the lane, when segment and index were set */
	uint64_t seq;
	uint64_t offset;
	uint64_t scan_offset;
	bool is_blank;
	uint64_t failed_bytes;

	/* Bytes that may be looked at before FG_READ_MORE: goes down, and is set by the owner. */
	uint64_t work_left;

	/* Bytes of the segment `data_segment`, from data_offset on; verified up to checked_offset.
	 */
	uint8_t *data;
	size_t capacity;
	size_t size;
	uint64_t data_segment;
	uint64_t data_offset;
	uint64_t data_seq; /* of the record at data_offset */
	uint64_t checked_offset;
	uint64_t unread_end; /* up to here the disk did not give all of that segment; or 0 */

	/* Where the last fg_reader_seek() went, if in the buffer: the next one is often just ahead
	 * of it. */
	uint64_t anchor_seq, anchor_offset; /* offset 0: none */
};

enum fg_read {
	FG_READ_END = 0,    /* nothing synced beyond */
	FG_READ_RECORD = 1, /* one record */
	FG_READ_LOST = 2,   /* records that should be there are not */
	FG_READ_MORE = 3,   /* work_left is used up: call again */
};

struct fg_read_result {
	const uint8_t *data; /* FG_READ_RECORD: valid until a call that may refill */
	size_t size;         /* without padding */
	uint64_t seq;
	uint64_t lost_first, lost_last; /* FG_READ_LOST: both included */
	uint64_t damaged; /* how many of them no reader of this lane had found before */
	bool is_missing;  /* no file holds them */
};

/** With work_left unlimited: FG_READ_MORE does not come. The buffer is allocated when it is needed. */
void fg_reader_init(struct fg_reader *r, struct fg_segments *lane);

/** Give the buffer back. The reader may be used on. */
void fg_reader_free(struct fg_reader *r);

/** The next fg_reader_next() is for record @seq. Cheap when that is in the buffer, or near. */
void fg_reader_seek(struct fg_reader *r, uint64_t seq);

/**
 * Take one step: to the next record, or over a lost range.
 * @may_refill: the buffer may be read anew, which makes earlier results invalid; when false and it
 * would have to be, returns -EAGAIN and nothing has changed. Returns enum fg_read, -EAGAIN, -EIO or
 * -ENOMEM.
 */
int fg_reader_next(struct fg_reader *r, bool may_refill, struct fg_read_result *ret);
