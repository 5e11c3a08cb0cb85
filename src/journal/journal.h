#pragma once

/*
 * The journal: everything that goes up is written here first, once, and every link reads it with a
 * cursor of its own. Appending gathers a batch in memory; a writer thread writes and syncs it while
 * the next one gathers (group commit without a timer). format.h is the on-disk specification.
 *
 * All functions belong to the loop's thread. The writer thread touches only the batch it was
 * handed, and reports through the `notify` callback, upon which the loop calls
 * fg_journal_collect().
 */
#include "fieldgate/plugin.h"
#include "journal/fs.h"
#include "util/error.h"
#include "util/timekeeper.h"

struct fg_journal;
struct fg_cursor;

enum fg_lane {
	FG_LANE_MAIN,       /* what links read */
	FG_LANE_QUARANTINE, /* what nobody could take; read by fieldgatectl */
	FG_N_LANES,
};

/** What happens to a new record when the main lane is at its cap. */
enum fg_on_full {
	FG_ON_FULL_DROP_OLDEST, /* the oldest segment goes */
	FG_ON_FULL_DROP_NEWEST, /* it is not stored, though acknowledged to whoever sent it */
	FG_ON_FULL_STOP_ACK,    /* it is not taken until links have made room */
};

/** Why a link did not get a record. */
enum fg_loss {
	FG_LOSS_LIMIT,     /* max_bytes, with FG_ON_FULL_DROP_OLDEST */
	FG_LOSS_AGE,       /* max_age_ms, the journal's or the link's own */
	FG_LOSS_OWN_LIMIT, /* the link's own cap */
	FG_LOSS_FULL,      /* FG_ON_FULL_DROP_NEWEST */
	FG_LOSS_DAMAGED,   /* unreadable, or missing */
	FG_N_LOSSES,
};

struct fg_journal_options {
	struct fg_fs *fs; /* borrowed */
	/*
	 * Borrowed, or NULL. A message that is appended as FG_TIME_UNSYNCHRONISED is then written
	 * with its moment beside it (format.h, extension 2), and read with the best time there is
	 * for that by then.
	 */
	struct fg_timekeeper *timekeeper;
	/* Up to 1 GiB (1 MiB or more outside tests); at least twice batch_bytes, plus 6 KiB. */
	size_t segment_bytes;
	/* Bound of what gathers while a commit runs, and of one record; two such buffers exist. */
	size_t batch_bytes;
	/* Cap of the main lane on disk; on_full says what happens when it is reached. */
	uint64_t max_bytes;
	enum fg_on_full on_full;
	/*
	 * What was appended longer ago than this is given up by all cursors; 0: no limit. A segment
	 * goes as a whole, by its newest record. Measured by the journal's clock, which advances
	 * with @now_ms while the journal is open and, between two runs, by what UTC makes plausible
	 * (format.h, section 3): no step of a clock makes anything look older.
	 */
	int64_t max_age_ms;
	int64_t (*utc_us)(void *arg);  /* NULL: fg_clock_utc_us() */
	uint64_t max_quarantine_bytes; /* the same for the quarantine lane */
	/*
	 * A batch gathers at least so long, counted from the first flush that saw it, unless it is
	 * half full or a cursor waits to be saved; 0: commit as soon as the disk is free. Whoever
	 * sets it calls fg_journal_flush() when it has passed.
	 */
	int64_t commit_interval_ms;
	/* false: fg_journal_flush() commits before it returns (tests, tools). */
	bool is_threaded;
	/* From the writer thread: have fg_journal_collect() called on the loop. */
	void (*notify)(void *arg);
	/* On the loop, from fg_journal_collect(): all up to ticket @committed is on disk. */
	void (*committed)(void *arg, uint64_t committed);
	/*
	 * On the loop: cursor @link lost @records records up to @seq, because of @why (static
	 * text). From within fg_cursor_read() too; do not use that cursor in it.
	 */
	void (*lost)(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why);
	/*
	 * On the loop, when the main lane is at its cap and on_full is not to drop the oldest. With
	 * FG_ON_FULL_STOP_ACK once when it begins; with FG_ON_FULL_DROP_NEWEST for each record that
	 * is dropped (from within fg_journal_append(); each open cursor has lost it). Then once
	 * with @is_full false when there is room for a whole batch again.
	 */
	void (*full)(void *arg, bool is_full);
	/* On the loop: the disk refused (@error < 0, a negative errno) or works again (0). */
	void (*trouble)(void *arg, int error, const char *what);
	void *arg;
};

/** What there is to know from outside, for status, logs and benchmarks. */
struct fg_journal_stats {
	uint64_t first_seq, next_seq, synced_seq; /* main lane; next_seq: of the next append */
	uint64_t bytes_on_disk;                   /* main lane */
	uint64_t quarantine_records, quarantine_bytes;
	uint64_t commits, bytes_written, cursor_saves;
	uint64_t damaged_records; /* found unreadable since opening */
	uint64_t refused_records; /* not stored, FG_ON_FULL_DROP_NEWEST */
	bool is_full;
};

/**
 * Open the journal in @options->fs, making it if need be, and recover: the torn tail is cut, damage
 * is counted and left in place. Appending then starts in a new segment. On success the caller owns
 * *@ret_journal. Returns 0 or a negative errno with a sentence in @err.
 */
int fg_journal_open(const struct fg_journal_options *options, struct fg_journal **ret_journal,
		    struct fg_error *err);

/**
 * Commit what has gathered, save the cursors, stop the thread, release everything. Takes NULL.
 * What cannot be written now was never acknowledged.
 */
struct fg_journal *fg_journal_free(struct fg_journal *j);

/* ---- appending */

/**
 * True when a record with parts of @bytes in all certainly fits the batch that gathers now, in
 * either lane. When false, wait for the `committed` callback; it comes too when links have made
 * room in a journal at its cap (FG_ON_FULL_STOP_ACK).
 */
bool fg_journal_has_room(const struct fg_journal *j, size_t bytes);

/**
 * Append @msg (its seq is ignored) to the batch that gathers. Copies; allocates nothing.
 * Returns 0 and its sequence number (0: not stored, FG_ON_FULL_DROP_NEWEST), -ENOSPC when the
 * journal is at its cap (FG_ON_FULL_STOP_ACK; nothing was taken), -EAGAIN when the batch is full
 * (nothing was taken), -EMSGSIZE when the record can never fit a batch, -EINVAL when it has no
 * device or an unknown kind.
 */
int fg_journal_append(struct fg_journal *j, const struct fg_message *msg, uint64_t *ret_seq);

/** What goes into quarantine, with whom and why. */
struct fg_quarantined {
	struct fg_span link; /* empty: the gateway itself */
	struct fg_span reason;
	struct fg_span topic;  /* as it came, or empty */
	struct fg_span device; /* or empty */
	struct fg_span stream;
	uint8_t kind; /* enum fg_kind, or 0: it never became a message */
	uint8_t time_quality;
	int64_t time_us;
	uint32_t attempts;
	uint64_t whole_size; /* of the message before it was cut to fit */
	struct fg_span body;
};

/**
 * Append to the quarantine lane; same rules as fg_journal_append(). What is too long is cut, so the
 * only error is -EAGAIN.
 */
int fg_journal_quarantine(struct fg_journal *j, const struct fg_quarantined *q);

/**
 * Walk the quarantined messages of the journal in @fs, oldest first, from number @from on. Changes
 * nothing, and works whether or not a daemon has the journal open; one that has just been appended
 * may be missing.
 * @each: called with each message's number (they rise, with gaps where the disk was damaged); spans
 * are valid during the call; a non-zero return ends the walk. Returns 0, what @each returned, or a
 * negative errno with a sentence in @err.
 */
int fg_journal_each_quarantined(struct fg_fs *fs, uint64_t from,
				int (*each)(void *arg, uint64_t number,
					    const struct fg_quarantined *q),
				void *arg, struct fg_error *err);

/**
 * The ticket that covers all that was appended up to now. Once `committed` reports it (or a later
 * one), that is on disk and may be acknowledged. When nothing has gathered, this is the ticket of
 * the batch before, which may be on disk already: compare with fg_journal_committed(). Tickets rise
 * by one.
 */
uint64_t fg_journal_ticket(const struct fg_journal *j);

/** Is the batch with @ticket still gathering? False once it was handed over: nothing joins it any
 * more. */
bool fg_journal_gathers(const struct fg_journal *j, uint64_t ticket);

/** The newest ticket that is on disk. */
uint64_t fg_journal_committed(const struct fg_journal *j);

/** Hand the batch over to the writer thread, if there is one and the thread is idle. */
void fg_journal_flush(struct fg_journal *j, int64_t now_ms);

/** After notify(): take what the writer thread has done, call back, hand over the next batch. */
void fg_journal_collect(struct fg_journal *j, int64_t now_ms);

/** Now and then (each second): save cursors that have moved, give up what is too old, retry a disk
 * that refused. */
void fg_journal_tick(struct fg_journal *j, int64_t now_ms);

void fg_journal_get_stats(const struct fg_journal *j, struct fg_journal_stats *ret);

/* ---- reading: one cursor for each link */

/**
 * The cursor called @name (1..63 bytes), made at the newest record if the journal has not seen it.
 * Only names that were asked for hold segments back. @max_unsaved bounds what a crash re-sends: see
 * fg_cursor_may_send(). On success the cursor belongs to the journal until fg_cursor_close().
 * Returns 0, -EEXIST (open already), -EINVAL, -ENOSPC (32 cursors are open), -ENOMEM.
 */
int fg_cursor_open(struct fg_journal *j, const char *name, uint64_t max_unsaved,
		   struct fg_cursor **ret);
void fg_cursor_close(struct fg_cursor *c);

/**
 * Caps of its own, 0: none. When more than @max_bytes of records wait for this cursor, or any
 * waits longer than @max_age_ms (and than the journal's max_age_ms), it gives up the oldest, by
 * whole segments, but for @max_bytes never of the newest; `lost` is called. It then holds nothing
 * back any more; other cursors lose nothing.
 */
void fg_cursor_set_caps(struct fg_cursor *c, uint64_t max_bytes, int64_t max_age_ms);

/** How many records this cursor has lost since the journal was opened, by reason. */
void fg_cursor_get_losses(const struct fg_cursor *c, uint64_t ret[FG_N_LOSSES]);

/**
 * The next synced records from the read position on: up to @max of them into @ret_messages. All
 * spans point into the cursor's buffer and are valid until the next fg_cursor_read() or
 * fg_cursor_seek(). Does not move the read position. Records that are damaged or were dropped by
 * retention are passed over and reported by `lost`. Returns how many (0: nothing synced beyond the
 * read position), or -EIO.
 */
int fg_cursor_read(struct fg_cursor *c, struct fg_message *ret_messages, size_t max);

/** Set the read position: the next fg_cursor_read() starts at @seq (or the first one that exists
 * above). */
void fg_cursor_seek(struct fg_cursor *c, uint64_t seq);
uint64_t fg_cursor_position(const struct fg_cursor *c);

/** Every record up to and including @watermark is settled for this link. Never moves backwards. */
void fg_cursor_ack(struct fg_cursor *c, uint64_t watermark);

/** The watermark as last set, and as known to be on disk. */
uint64_t fg_cursor_watermark(const struct fg_cursor *c);
uint64_t fg_cursor_saved(const struct fg_cursor *c);

/**
 * May record @seq be sent now? False when that could make more than max_unsaved records be sent
 * twice after a crash: the saved watermark is too far behind. The journal then saves it with the
 * next commit and calls `committed`; ask again.
 */
bool fg_cursor_may_send(struct fg_cursor *c, uint64_t seq);

/**
 * Synced records above the watermark. Numbers of cursor tables that were written before the last
 * start count too, as long as they have not been read over: at most one for each commit.
 */
uint64_t fg_cursor_backlog(const struct fg_cursor *c);
