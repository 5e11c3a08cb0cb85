#pragma once

/*
 * Cursors: what of a lane each link has settled, and what of that is on disk. The set of all of a
 * lane's is what its cursor tables are made from. Reading is pass.h. Runs on the loop.
 *
 * Some sequence numbers are no messages: those of cursor tables, and those that were lost. They count
 * as settled, so that they neither are backlog nor hold a watermark up.
 */
#include "journal/cursor_table.h"
#include "journal/journal.h"
#include "journal/segment.h"

#define FG_CURSOR_TABLES_KNOWN 4096

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
	struct fg_ranges settled; /* above the watermark */
	struct fg_left_behinds left_behind;
	struct fg_ranges damage; /* that was reported */

	/*
	 * A table on disk tells of some of this. `saved` and `saved_from` are its watermark and the
	 * lowest record of a session it leaves behind; `saving_from` is that of the table in the
	 * commit that runs. Records that were settled since, and so may be sent again after a
	 * crash, are n_unsaved; the commit that runs covers n_saving of them.
	 */
	uint64_t saved;
	uint64_t saved_from, saving_from;
	uint64_t n_unsaved, n_saving;
	uint64_t n_changes;      /* of what a table tells, since it was loaded */
	uint64_t changes_saving; /* so many of them are on disk, or on the way */
};

struct fg_cursors {
	struct fg_cursor slots[FG_CURSORS_MAX];
	struct fg_segments *lane;         /* borrowed */
	struct fg_timekeeper *timekeeper; /* borrowed, or NULL */
	unsigned max_left_behind;         /* by all cursors together */
	uint64_t next_id;
	bool must_save; /* someone waits for a save */

	/* The newest sequence numbers that are cursor tables: a ring, the oldest at n_tables -
	 * count. */
	uint64_t tables[FG_CURSOR_TABLES_KNOWN];
	uint64_t n_tables;

	/* For the table: the journal's clock, UTC, and the clock at the newest message. */
	int64_t clock_ms, utc_us, newest_ms;

	uint64_t damaged_records;
	/* Of a lane whose files could not be read: who is new may have been there before, and is told. */
	uint64_t lost_records;
	void (*lost)(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why);
	void *arg;
};

/** What a table in a commit tells of each cursor. */
struct fg_cursor_save {
	bool is_any;
	struct {
		uint64_t id, watermark, from;
		uint64_t n_left_out; /* settled, but there was no room for it */
	} cursors[FG_CURSORS_MAX];
};

/* ---- the set: cursors.c */

/**
 * What the table of @size bytes at @data says becomes cursors that nobody has opened; what it says of
 * records above @newest is ignored. A size of 0: there was none. Returns 0, -EBADMSG when it is no
 * table (nothing has changed then), or -ENOMEM.
 */
int fg_cursors_load(struct fg_cursors *set, const uint8_t *data, size_t size, uint64_t newest);

/** The same of a newer table, which may not be on disk: more gets settled, but does not count as
 * saved. */
int fg_cursors_load_unsynced(struct fg_cursors *set, const uint8_t *data, size_t size,
			     uint64_t newest);

/**
 * All has been loaded, and the tables on disk been added: cursors go past those they stand in front of,
 * as they did when the process lived that wrote them. They had settled all records below @passed_seq, which are
 * gone; 0: nobody knows of such.
 */
void fg_cursors_loaded(struct fg_cursors *set, uint64_t passed_seq);
void fg_cursors_free(struct fg_cursors *set);

/** Sequence number @seq, above all others, is a cursor table; it has been read, or synced. */
void fg_cursors_add_table(struct fg_cursors *set, uint64_t seq);

/** As fg_cursor_open(); a new one starts above @newest. */
int fg_cursors_open(struct fg_cursors *set, const char *name, uint64_t max_unsaved, uint64_t newest,
		    struct fg_cursor **ret);

/** Is there anything to save that is not on disk nor on the way there? */
bool fg_cursors_are_dirty(const struct fg_cursors *set);

/** Should the next commit that carries data anyway take a table along? @is_due: the time for it has
 * come. */
bool fg_cursors_want_save(const struct fg_cursors *set, bool is_due);

/**
 * Write the table of now to @out, at most @room bytes (fg_cursor_table_min() or more, see there),
 * with no watermark above @newest, which will be on disk when the table is. Returns its size. In
 * @ret_save, unless NULL: what to tell fg_cursors_saving() and then fg_cursors_saved().
 */
size_t fg_cursors_encode(const struct fg_cursors *set, uint64_t newest, size_t room, uint8_t *out,
			 struct fg_cursor_save *ret_save);

/** How large the table of now is when nothing has to be left out. */
size_t fg_cursors_table_size(const struct fg_cursors *set);

/** That table goes into a commit now; and now it is on disk. */
void fg_cursors_saving(struct fg_cursors *set, const struct fg_cursor_save *save);
void fg_cursors_saved(struct fg_cursors *set, const struct fg_cursor_save *save);

/**
 * All open cursors have settled all records up to here, for all their sessions: as saved, and as it
 * is; or only as it is. UINT64_MAX when no cursor is open, then nothing may be retired but by the
 * limit.
 */
uint64_t fg_cursors_low(const struct fg_cursors *set, bool is_saved);
bool fg_cursors_any_open(const struct fg_cursors *set);

/** Records up to and including @last are gone, or about to go: tell those who had not settled them.
 */
void fg_cursors_dropped(struct fg_cursors *set, uint64_t last);

/** A message was not taken, for want of room: all open cursors lost it. */
void fg_cursors_refused(struct fg_cursors *set);

/* ---- one cursor: cursor.c */

/** Make @c an empty one in a free slot of @set; and make its slot free. */
void fg_cursor_init(struct fg_cursor *c, struct fg_cursors *set, const char *name,
		    uint64_t watermark);
void fg_cursor_done(struct fg_cursor *c);

/**
 * Records @first..@last are settled. @may_be_sent: they may have been sent, or may still be, so that
 * a crash may have them sent again: not so when there never was a message for this link.
 */
void fg_cursor_mark_settled(struct fg_cursor *c, uint64_t first, uint64_t last, bool may_be_sent);

/** All up to @last was settled, for sessions left behind too, and is gone. */
void fg_cursor_passed(struct fg_cursor *c, uint64_t last);

/** Sequence number @seq is a table's: it joins what is settled in front of it. */
void fg_cursor_join_table(struct fg_cursor *c, uint64_t seq);

/** When @seq is settled: up to which record all are. Else 0. */
uint64_t fg_cursor_settled_to(const struct fg_cursor *c, uint64_t seq);

/** All records up to here are settled, for sessions left behind too. */
uint64_t fg_cursor_low(const struct fg_cursor *c);

/**
 * Numbers @first..@last could not be read. Told of once. Of those that are settled, but may be of a
 * session left behind, one is counted for each such session.
 */
void fg_cursor_lose(struct fg_cursor *c, uint64_t first, uint64_t last, const char *why);

/** @records up to @seq, all in front of the cursor, were lost with the file that said what it had settled
 * of them. */
void fg_cursor_lose_unknown(struct fg_cursor *c, uint64_t records, uint64_t seq);

/**
 * Give up all up to @last, for sessions left behind too; what was in flight of it is not sent again,
 * should it come back. What is lost of sessions left behind cannot be told without reading it: one
 * record is counted for each that was behind.
 */
void fg_cursor_cut(struct fg_cursor *c, uint64_t last, enum fg_loss loss, const char *why);

/**
 * Give up what @c has not settled of all that was appended more than @max_age_ms (0: no limit) of
 * the journal's clock ago, and what is beyond the caps of its own. Other cursors keep it.
 */
void fg_cursor_trim(struct fg_cursor *c, int64_t max_age_ms);

/** How many sequence numbers of @first..@last are known to be tables. */
uint64_t fg_cursors_tables_within(const struct fg_cursors *set, uint64_t first, uint64_t last);
