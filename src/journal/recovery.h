#pragma once

/*
 * Start-up: what is in a lane's directory, which of it may be read, and where the last good record
 * ends. Works in two steps, so that a journal that must be left alone is not touched at all. Only
 * the newest segment is read from end to end; of the others only the headers.
 */
#include "journal/cursor_table.h"
#include "journal/segment.h"
#include "util/error.h"

struct fg_recovery;

/** A cursor table as it stands on disk, checked; size 0: none. */
struct fg_table_bytes {
	uint8_t *data;
	size_t size, capacity;
};

/* A record is in front of the next table, or at most this much of the journal's clock behind it. */
#define FG_CLOCK_SAVE_MS 60000

/** What has been found. */
struct fg_recovered {
	uint64_t next_seq; /* for the next append: above all that may ever have been used */
	struct fg_table_bytes table;
	/* The newest one that is known to have been synced: a daemon that was killed while the disk
	 * failed leaves a table that can be read and is not on the disk. */
	struct fg_table_bytes synced_table;
	int64_t clock_ms, utc_us; /* the journal's clock and UTC as last saved; both 0: never */
	uint64_t damaged_records; /* in the newest segment */
	/* No segment can be read, nor a table with it: so many messages are in what there is, as far as
	 * can be told, and who had settled them nobody knows. */
	uint64_t lost_records;
	/* All records below have been settled by all, as a mark says (format.h, section 1); 0: there is
	 * none. */
	uint64_t passed_seq;
	unsigned n_damaged_files;  /* that have been set aside, earlier or now */
	unsigned n_unusable_files; /* found now: unreadable, or of another journal */
};

void fg_recovered_free(struct fg_recovered *r);

/**
 * Look at lane @l, changing nothing on disk: lists the segments, reads their headers and the newest
 * segment, and fills @l (segments, id, end_seq). @table, unless NULL: called for each cursor table
 * record of the newest segment, in order. Returns 0; -EPROTONOSUPPORT with a sentence when a later version wrote
 * a file; another negative errno with one when the directory cannot be read, when a file is out of
 * reach (-EACCES, -EROFS, -EMFILE …: it is whole, for all we know), or when the disk does not give the
 * newest segment (-EIO): what waits for whom would be forgotten. Who starts us may try again. On success the caller owns *@ret, and *@ret_found
 * (fg_recovered_free()).
 */
int fg_recovery_look(struct fg_segments *l, void (*table)(void *arg, uint64_t seq), void *arg,
		     struct fg_recovery **ret, struct fg_recovered *ret_found,
		     struct fg_error *err);

/**
 * Mend what was found: set unreadable files aside, cut the torn tail and sync what is left of it.
 * Errors are not fatal: nothing that this could not change was ever acknowledged.
 */
void fg_recovery_mend(struct fg_recovery *r);

struct fg_recovery *fg_recovery_free(struct fg_recovery *r);
