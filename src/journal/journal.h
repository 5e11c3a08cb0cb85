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
	FG_LANE_ALARM,      /* the same, for what overtakes it: alarms, commands, their responses */
	FG_LANE_QUARANTINE, /* what nobody could take; read by fieldgatectl */
	FG_N_LANES,
};

/* The lanes that have cursors come first. */
#define FG_N_CURSOR_LANES 2

#define FG_LEFT_BEHIND_MAX 3000

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
	/* Up to 1 GiB (1 MiB or more outside tests); at least twice batch_bytes, and one batch plus
	 * 7 KiB and twice 16 bytes for each of max_left_behind. */
	size_t segment_bytes;
	/* Bound of what gathers while a commit runs, and of one record; two such buffers exist. */
	size_t batch_bytes;
	/* Cap of the main lane on disk; on_full says what happens when it is reached. */
	uint64_t max_bytes;
	enum fg_on_full on_full;
	/* The same cap for the alarm lane, 0: the same bytes, too. on_full goes for both. */
	uint64_t max_alarm_bytes;
	/* How many sessions all cursors of a lane together may leave behind (at most
	 * FG_LEFT_BEHIND_MAX); 16 bytes each in every cursor table. */
	unsigned max_left_behind;
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
	 * text). From within fg_pass_read() too; do not use that cursor in it.
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
	uint64_t alarm_first_seq, alarm_next_seq, alarm_synced_seq, alarm_bytes;
	uint64_t quarantine_records, quarantine_bytes; /* settled ones included */
	uint64_t commits, bytes_written, cursor_saves;
	uint64_t damaged_records; /* found unreadable since opening */
	uint64_t refused_records; /* not stored, FG_ON_FULL_DROP_NEWEST */
	unsigned unusable_files;  /* found at opening, of all lanes: unreadable, or foreign */
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
 * any lane. When false, wait for the `committed` callback; it comes too when links have made
 * room in a journal at its cap (FG_ON_FULL_STOP_ACK).
 */
bool fg_journal_has_room(const struct fg_journal *j, size_t bytes);

/** Kinds that are no messages but notes of whoever appended them (format.h, section 5): never given to
 * a plugin, and settled by whoever reads past them. */
#define FG_NOTE_FIRST 192

/**
 * Append @msg (its seq is ignored) to the batch that gathers, in one of the lanes that have cursors.
 * Copies; allocates nothing. When @msg has a `link`, the others pass it over.
 * Returns 0 and its sequence number (0: not stored, FG_ON_FULL_DROP_NEWEST), -ENOSPC when the
 * journal is at its cap (FG_ON_FULL_STOP_ACK; nothing was taken), -EAGAIN when the batch is full
 * (nothing was taken), -EMSGSIZE when the record can never fit a batch, -EINVAL when it has no
 * device, is a note without device and body, or is of an unknown kind.
 */
int fg_journal_append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
		      uint64_t *ret_seq);

/** What goes into quarantine, with whom and why. */
struct fg_quarantined {
	struct fg_span link; /* empty: the gateway itself */
	enum fg_lane lane;   /* it was in, or meant for */
	struct fg_span reason;
	struct fg_span topic;  /* as it came, or empty */
	struct fg_span device; /* or empty */
	struct fg_span stream;
	uint8_t kind; /* enum fg_kind, or 0: it never became a message */
	uint8_t time_quality;
	int64_t time_us;
	uint32_t attempts;
	uint64_t whole_size;              /* of the message before it was cut to fit */
	struct fg_span content_type, ref; /* as in struct fg_message */
	/*
	 * When it came by a clock that was not synchronised (format.h, extension 2), or empty. What
	 * never became a message and is FG_TIME_UNSYNCHRONISED gets the moment of the call.
	 */
	struct fg_span moment;
	struct fg_span body;
};

/**
 * Append to the quarantine lane; same rules as fg_journal_append(). What is too long is cut:
 * texts to what their size can tell (the reason to 1 KiB), the body to what is left of an empty
 * batch. Returns 0, -EAGAIN, or -EMSGSIZE when not even the texts fit an empty batch.
 */
int fg_journal_quarantine(struct fg_journal *j, const struct fg_quarantined *q);

/**
 * Quarantined message @number is done with: appended again, or dropped. It is gone for good once this
 * is on disk, which is in a later commit than what was appended before. Returns 0, -ENOENT (there is
 * no such record), or -EAGAIN when too many of these wait to be written.
 */
int fg_journal_quarantine_settle(struct fg_journal *j, uint64_t number);

/** How many of these fit without waiting, once all before them are on disk. */
#define FG_SETTLES_MAX 1000

/** As fg_journal_ticket(), for all that was settled in quarantine up to now, too. */
uint64_t fg_journal_settled_ticket(const struct fg_journal *j);

/**
 * Walk the quarantined messages of the journal in @fs that are not settled, oldest first, from number
 * @from on. Changes nothing, and works whether or not a daemon has the journal open; what has just
 * been appended or settled may not be seen.
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

/* ---- cursors: what of a lane each link has settled */

/*
 * Of a cursor's records these are open, that is, still to be sent: those above its low watermark and
 * in none of its settled ranges; and, of each session that was left behind, all from the record on
 * where that happened. All of this is saved in cursor tables (format.h, section 3).
 */

/**
 * The cursor of @lane (one of the first FG_N_CURSOR_LANES) called @name (1..63 bytes), made at the
 * newest record if the journal has not seen it. Only names that were asked for hold segments back.
 * @max_unsaved bounds what a crash re-sends: see fg_cursor_may_send(). On success the cursor belongs
 * to the journal until fg_cursor_close(). Returns 0, -EEXIST (open already), -EINVAL, -ENOSPC (32
 * cursors are open), -ENOMEM.
 */
int fg_cursor_open(struct fg_journal *j, enum fg_lane lane, const char *name, uint64_t max_unsaved,
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
 * Records @first..@last are settled for this link (those of them that are none, or were lost, go
 * along). When @first is right above the watermark, that moves. Ranges above it are bounded: what
 * cannot be remembered is forgotten, smallest first, and means a record sent again after a restart or
 * a rewind, never one lost. Sessions that were left behind keep their records.
 */
void fg_cursor_settle(struct fg_cursor *c, uint64_t first, uint64_t last);

/** Every record up to and including the watermark is settled. As last set, and as known to be on
 * disk. */
uint64_t fg_cursor_watermark(const struct fg_cursor *c);
uint64_t fg_cursor_saved(const struct fg_cursor *c);

/** One above the newest synced record of the lane: what is appended from now on comes there or
 * later. */
uint64_t fg_cursor_end(const struct fg_cursor *c);

/**
 * May one more record be sent while @n_in_flight that were sent are not settled? False when that
 * could make more than max_unsaved records be sent twice after a crash. The journal then saves the
 * cursor with the next commit and calls `committed`; ask again.
 */
bool fg_cursor_may_send(struct fg_cursor *c, uint64_t n_in_flight);

/**
 * Synced records that are open, not counting those of sessions left behind. Numbers of cursor tables
 * that were written before the last start count too, as long as they have not been read over: at
 * most one for each commit.
 */
uint64_t fg_cursor_backlog(const struct fg_cursor *c);

/* ---- sessions that were left behind */

/**
 * Sessions of one link, told apart by a 64-bit key: of a link with one session for each device, a hash
 * of its name (two that share a key are sent more, never less). 0 is reserved for records whose order
 * matters more than their freshness (attributes, presence), when the newest telemetry goes first.
 */
#define FG_KEY_ORDERED 0

/**
 * A key with this bit set is no session's: the rest of it is the number of one record, which alone is
 * left behind, from its own number on.
 */
#define FG_KEY_RECORD (UINT64_C(1) << 63)

/**
 * From record @from on, the records of @key stay open whatever is settled: what it had before is
 * settled. Again for the same key: moves it, in either direction. Costs 16 bytes, whatever waits.
 * Returns 0, or -ENOSPC when as many as the journal's max_left_behind are left behind; nothing has
 * changed then.
 */
int fg_cursor_leave_behind(struct fg_cursor *c, uint64_t key, uint64_t from);

/**
 * @n records that are settled on disk would be sent again by a crash all the same: they count as unsaved
 * until the cursor is saved once more.
 */
void fg_cursor_may_repeat(struct fg_cursor *c, uint64_t n);

/** It has caught up. */
void fg_cursor_rejoin(struct fg_cursor *c, uint64_t key);

/** From where on @key was left behind, or 0: it is with the others. */
uint64_t fg_cursor_left_behind(const struct fg_cursor *c, uint64_t key);

/** The @i-th of those left behind, in no order: its key and, in *@ret_from, from where on. Returns
 * false when there are no more. */
bool fg_cursor_each_left_behind(const struct fg_cursor *c, size_t i, uint64_t *ret_key,
				uint64_t *ret_from);

/* ---- reading: a cursor may have several read positions */

/** A read position of a cursor, with a buffer of its own while it is used. */
struct fg_pass;

/** On success the caller owns *@ret, at the lowest open record, and closes it before the cursor.
 * Returns 0 or -ENOMEM. */
int fg_pass_open(struct fg_cursor *c, struct fg_pass **ret);

/** Takes NULL; returns NULL. */
struct fg_pass *fg_pass_close(struct fg_pass *p);

/** Give the buffer back until the next read. */
void fg_pass_rest(struct fg_pass *p);

/**
 * The next synced records from the read position on that are not settled for everyone: up to @max of
 * them into @ret_messages. All spans point into the pass's buffer and are valid until its next
 * fg_pass_read(), fg_pass_seek() or fg_pass_rest(). Settled records are not returned unless @wants is
 * given and says yes: it is asked for each record of a settled range from the lowest left-behind one
 * on (the record is borrowed for the call). Records that are damaged or were dropped by retention are
 * passed over and reported by `lost`. Looks at a bounded number of records. The position is then
 * behind the last record looked at. Returns how many, -EAGAIN (there is more to look at: call again,
 * soon), 0 (nothing synced beyond), or -EIO.
 */
int fg_pass_read(struct fg_pass *p, struct fg_message *ret_messages, size_t max,
		 bool (*wants)(void *arg, const struct fg_message *m), void *arg);

/** The next fg_pass_read() starts at @seq, or the first one that exists above. Cheap when near. */
void fg_pass_seek(struct fg_pass *p, uint64_t seq);

/** The lowest sequence number that this pass has not looked at. */
uint64_t fg_pass_position(const struct fg_pass *p);

/** For whoever keeps notes among the messages: have this pass return kinds FG_NOTE_FIRST and above,
 * too, and whatever has a `link`, for all of them. */
void fg_pass_want_notes(struct fg_pass *p);
