#pragma once

/*
 * A walk over the records of one segment file of a journal that may be damaged, or that a daemon is
 * writing: a record is believed when its CRC is right, what lies between two is told as lost. See
 * scan.h for the walk over a whole lane.
 */
#include "control/scan.h"

struct fg_scan_place {
	const struct fg_scan_file *file; /* NULL: none is open */
	int fd;
	uint64_t offset;
	uint64_t seq;     /* expected at `offset` */
	uint64_t end_seq; /* the walk ends in front of this one */
	int read_error;

	/* Bytes of the file, from data_offset on. */
	uint8_t *data;
	size_t capacity, size;
	uint64_t data_offset;
};

/** Open @file of the directory and stand in front of its first record; the walk ends in front of
 * @end_seq (UINT64_MAX: where no record comes any more). Returns 0 or a negative errno. */
int fg_scan_place_open(struct fg_scan_place *p, int dir_fd, const struct fg_scan_file *file,
		       uint64_t end_seq);

/** Close the file, if one is open; the buffer stays. */
void fg_scan_place_close(struct fg_scan_place *p);

/** Always @size bytes to @data: what the file does not have (it may have been cut meanwhile), or the
 * disk does not give, is zero. */
void fg_scan_place_read(struct fg_scan_place *p, uint8_t *data, size_t size, uint64_t offset);

/** One above the last byte at or behind the place that is not zero, or 0. Returns 0 or -ENOMEM. */
int fg_scan_place_nonblank(struct fg_scan_place *p, uint64_t *ret_end);

/** Returns 1 with a record or a lost range, 0 at the segment's end, -ENOMEM. */
int fg_scan_place_next(struct fg_scan_place *p, uint32_t seed, struct fg_scan_event *ret);
