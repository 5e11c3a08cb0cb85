#pragma once

/*
 * Cursors: where each link stands in the main lane, and what of that is on disk. The set of all of
 * them is what a cursor table is made from. Runs on the loop.
 *
 * Some sequence numbers are not messages: those of cursor tables, and those that were lost. A
 * watermark in front of one steps over it, so that neither counts as backlog nor holds anything up.
 */
#include "journal/cursor_table.h"
#include "journal/journal.h"
#include "journal/reader.h"

#define FG_CURSOR_GAPS 32
#define FG_CURSOR_TABLES_KNOWN 4096

/** Sequence numbers @first..@last are no messages for this cursor. */
struct fg_gap {
	uint64_t first, last;
};

struct fg_cursor {
	struct fg_cursors *set; /* NULL: the slot is free */
	char name[FG_CURSOR_NAME_MAX + 1];
	uint64_t id; /* tells users of the same slot apart */
	bool is_open;
	bool is_unsaved; /* its name has never been on disk */
	uint64_t max_unsaved;
	uint64_t max_bytes; /* its own cap of what waits for it, 0: none */
	int64_t max_age_ms; /* its own cap of how long, 0: none */
	uint64_t floor;     /* all up to here was given up, though it may be on disk still */
	uint64_t losses[FG_N_LOSSES];
	uint64_t watermark;
	uint64_t saved;  /* watermark known to be on disk */
	uint64_t saving; /* the one in the commit that runs */
	uint64_t next;   /* read position */
	struct fg_reader reader;
	struct fg_gap gaps[FG_CURSOR_GAPS]; /* above the watermark, sorted */
	unsigned n_gaps;
};

struct fg_cursors {
	struct fg_cursor slots[FG_CURSORS_MAX];
	struct fg_segments *lane;         /* borrowed */
	struct fg_timekeeper *timekeeper; /* borrowed, or NULL */
	uint64_t next_id;
	bool must_save; /* someone waits for a save */

	/* The newest sequence numbers that are cursor tables: a ring, the oldest at n_tables -
	 * count. */
	uint64_t tables[FG_CURSOR_TABLES_KNOWN];
	uint64_t n_tables;

	/* For the table: the journal's clock, UTC, and the clock at the newest message. */
	int64_t clock_ms, utc_us, newest_ms;

	uint64_t damaged_records;
	void (*lost)(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why);
	void *arg;
};

/** The watermarks that went into a commit. */
struct fg_cursor_save {
	bool is_any;
	uint64_t ids[FG_CURSORS_MAX];
	uint64_t watermarks[FG_CURSORS_MAX];
};

/** Names and watermarks found on disk, none above @newest, become cursors that nobody has opened.
 */
void fg_cursors_load(struct fg_cursors *set, const struct fg_cursor_table *table, uint64_t newest);

/** The same of a table that may not be on disk: watermarks move, what counts as saved does not. */
void fg_cursors_load_unsynced(struct fg_cursors *set, const struct fg_cursor_table *table,
			      uint64_t newest);
void fg_cursors_free(struct fg_cursors *set);

/** Sequence number @seq, above all others, is a cursor table; it has been read, or synced. */
void fg_cursors_add_table(struct fg_cursors *set, uint64_t seq);

/** As fg_cursor_open(); a new one starts above @newest. */
int fg_cursors_open(struct fg_cursors *set, const char *name, uint64_t max_unsaved, uint64_t newest,
		    struct fg_cursor **ret);

/** Has any watermark moved that is not on disk nor on the way there? */
bool fg_cursors_are_dirty(const struct fg_cursors *set);

/** Should the next commit that carries data anyway take a table along? @is_due: the time for it has
 * come. */
bool fg_cursors_want_save(const struct fg_cursors *set, bool is_due);

/**
 * Write the table of now to @out (FG_CURSOR_TABLE_MAX), no watermark above @newest, which will be
 * on disk when the table is. Returns its size.
 */
size_t fg_cursors_encode(const struct fg_cursors *set, uint64_t newest, uint8_t *out);

/** That table goes into a commit now; and now it is on disk. */
void fg_cursors_saving(struct fg_cursors *set, struct fg_cursor_save *ret);
void fg_cursors_saved(struct fg_cursors *set, const struct fg_cursor_save *save);

/**
 * The lowest watermark of all open cursors: as saved, or as it is. UINT64_MAX when no cursor is
 * open, then nothing may be retired but by the limit.
 */
uint64_t fg_cursors_low(const struct fg_cursors *set, bool is_saved);
bool fg_cursors_any_open(const struct fg_cursors *set);

/** Records up to and including @last are gone, or about to go: tell those who had not settled them.
 */
void fg_cursors_dropped(struct fg_cursors *set, uint64_t last);

/**
 * Give up what @c has not settled of all that was appended more than @max_age_ms (0: no limit) of
 * the journal's clock ago, and what is beyond the caps of its own. Other cursors keep it.
 */
void fg_cursor_trim(struct fg_cursor *c, int64_t max_age_ms);

/** A message was not taken, for want of room: all open cursors lost it. */
void fg_cursors_refused(struct fg_cursors *set);
