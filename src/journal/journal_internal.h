#pragma once

/*
 * What the files of the journal share: journal.c opens, closes and appends, commit.c decides when a
 * batch goes to the writer and what goes along, retention.c what may and must go. For them only.
 */
#include "journal/cursor.h"
#include "journal/journal.h"
#include "journal/record.h"
#include "journal/recovery.h"
#include "journal/segment.h"
#include "journal/writer.h"

#define FG_RETRY_MIN_MS 1000
/* Settled quarantined messages that wait for the next batch. */

/** What a batch knows of a lane that has cursors. */
struct fg_journal_batch_table {
	struct fg_cursor_save save;
	uint64_t seq;  /* of the cursor table in it, its last record, or 0 */
	size_t offset; /* where that is */
	/* When the newest message was appended: in front of this, and with this. */
	int64_t before_ms, newest_ms;
};

struct fg_journal_batch {
	struct fg_commit commit;
	struct fg_journal_batch_table tables[FG_N_CURSOR_LANES];
	int64_t clock_ms; /* the journal's, when it was handed over */
	bool has_data;
};

struct fg_lane_state {
	struct fg_segments segments;
	uint64_t max_bytes;     /* its cap */
	size_t capacity;        /* of a batch */
	size_t table_room;      /* for a cursor table in a record of its own; 0: has no cursors */
	size_t header_max;      /* the largest header of a segment */
	uint64_t next_seq;      /* of the next append */
	uint64_t active_used;   /* bytes of the active segment; 0: there is none */
	int64_t clock_saved_ms; /* the journal's clock in the newest table */
	int64_t last_save_ms, last_data_ms;
};

struct fg_journal {
	struct fg_journal_options options;
	struct fg_lane_state lanes[FG_N_LANES];
	struct fg_cursors cursors[FG_N_CURSOR_LANES];
	struct fg_writer *writer;

	struct fg_journal_batch batches[2];
	struct fg_journal_batch *gather;
	struct fg_journal_batch *in_flight; /* with the writer, or waiting for a retry */
	uint64_t committed;
	uint64_t settles[FG_SETTLES_MAX]; /* quarantined messages, for the batch after this one */
	unsigned n_settles;

	int64_t clock_ms;        /* the journal's (format.h, section 3) */
	int64_t last_now_ms;     /* it has been advanced to; INT64_MIN: not yet */
	int64_t gather_since_ms; /* first flush that saw something in it; INT64_MIN: none yet */
	bool is_full;            /* was told so; see `full` */
	bool is_calling_back;
	bool is_swollen; /* a batch was large: give the memory back when it is quiet */

	int trouble;     /* the negative errno that was reported, or 0 */
	bool is_waiting; /* for the retry of in_flight */
	int64_t retry_ms, retry_at_ms;

	uint64_t commits, bytes_written, cursor_saves, refused_records;
	unsigned unusable_files; /* found at opening */
};

static inline bool fg_lane_has_cursors(int lane)
{
	return lane < FG_N_CURSOR_LANES;
}

/** The most a record with a cursor table takes in lane @s. */
static inline size_t fg_table_record_max(const struct fg_lane_state *s)
{
	return s->table_room > 0 ? FG_RECORD_OVERHEAD_MAX + s->table_room : 0;
}

/* ---- commit.c */

/** Map the memory of both batches. Returns 0 or -ENOMEM. */
int fg_batches_new(struct fg_journal *j);
void fg_batches_free(struct fg_journal *j);

/** Have settled quarantined messages join the batch that gathers, unless it has what they are
 * settled by. */
void fg_batch_take_settles(struct fg_journal *j);

/** The last commit of all. */
void fg_commit_last(struct fg_journal *j);

int64_t fg_journal_utc_us(const struct fg_journal *j);

/* ---- retention.c */

/** Would @lane pass its cap with @more bytes in the batch that gathers? */
bool fg_retention_would_pass_cap(const struct fg_journal *j, int lane, size_t more);

/** Call `full`, whatever it said before. */
void fg_retention_tell_full(struct fg_journal *j, bool is_full);

/** Call `full` when that has changed. */
void fg_retention_update_full(struct fg_journal *j);

/** In front of a commit: cursors give up what is too old, beyond their own caps, or in the oldest
 * segment when that has to go. */
void fg_retention_trim(struct fg_journal *j);

/** Put the segments of @lane that nobody needs any more into @b. */
void fg_retention_retire_passed(struct fg_journal *j, struct fg_journal_batch *b, int lane);

/** Put segments beyond the cap of @lane into the batch that gathers, which may get @more bytes. */
void fg_retention_retire_beyond_cap(struct fg_journal *j, int lane, size_t more);

/** Is there no room in @lane's cap to preallocate a segment? */
bool fg_retention_is_tight(const struct fg_journal *j, int lane);
