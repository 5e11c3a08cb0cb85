#pragma once

/*
 * What the files of the command desk share: command_desk.c takes what comes from outside,
 * command_course.c leads a command through its states, command_record.c writes to the journal,
 * command_recovery.c reads what it holds after a restart. For them only.
 */
#include "local/command_table.h"
#include "util/complaint.h"

struct fg_command_desk {
	struct fg_command_desk_options with;
	struct fg_command_table table;
	struct fg_cursor *cursor;
	struct fg_pass *pass;
	struct fg_desk_queue commits; /* NEW and GOING_OUT, by ticket */
	struct fg_desk_queue owed;    /* OWED */
	struct fg_desk_queue unsent;  /* ended, their answer is on its way to the cloud */
	struct fg_desk_queue sent;    /* ended, and nothing is on its way; by forget_ms */
	size_t n_unsent, n_sent;
	size_t open_bytes; /* of payloads */
	size_t n_undated;
	int64_t newest_foreign_us; /* UTC of the newest note of another boot, or INT64_MIN */
	uint64_t random;
	uint64_t lost_seq;
	uint64_t
		copies_ticket; /* until that is on disk, notes that were written again are needed */
	bool is_stalled;       /* something waits for room in the journal */
	bool is_stopped;
	struct fg_command_stats stats;
	struct fg_complaint reused_complaint, unanswerable_complaint;
	char *note; /* where bodies of notes are built: the largest message and FG_COMMAND_NOTE_EXTRA */
};

/* ---- command_record.c; what writes returns 0, or changes nothing and returns what
 *      fg_journal_append() does, -ENOBUFS when that has dropped the record */

/** The note of its arrival, or, when it has a number already, a copy of it with all that is known by
 * now. @error: it is refused at once, with that. */
int fg_desk_write_command(struct fg_command_desk *d, struct fg_desk_command *c,
			  const enum fg_command_error *error, int64_t now_ms);

/** A note that its state is another one; struct fg_command_note's words. */
int fg_desk_write_mark(struct fg_command_desk *d, struct fg_desk_command *c, bool is_going_out);
int fg_desk_write_clock(struct fg_command_desk *d, struct fg_desk_command *c, int64_t deadline_us);

/** The end: a response with @body or, when nobody can be told, a note. */
int fg_desk_write_end(struct fg_command_desk *d, struct fg_desk_command *c, struct fg_span body);

/** Its response once more. -ENOENT: the journal has it no more. */
int fg_desk_write_again(struct fg_command_desk *d, struct fg_desk_command *c);

/** UTC at the deadline, or 0 while UTC is not known. */
int64_t fg_desk_deadline_us(const struct fg_command_desk *d, const struct fg_desk_command *c,
			    int64_t now_ms);

/** What nobody needs any more is settled for the desk's cursor. */
void fg_desk_settle(struct fg_command_desk *d);

/** Copy notes that the journal is about to drop. Returns as above. */
int fg_desk_write_copies(struct fg_command_desk *d, int64_t now_ms);

/* ---- command_course.c */

void fg_desk_enter(struct fg_command_desk *d, struct fg_desk_command *c,
		   enum fg_command_state state, int64_t now_ms);

/** The rule of @c. NULL: the configuration has none for it any more. */
const struct fg_command_rule *fg_desk_rule(const struct fg_command_desk *d,
					   const struct fg_desk_command *c);

/** How can @device be reached by a command of @rule? */
enum fg_command_reach fg_desk_reach(const struct fg_command_desk *d,
				    const struct fg_command_rule *rule, struct fg_span device);

/** May a command of @rule start at @device (NULL: one that has none)? */
bool fg_desk_has_turn(const struct fg_command_desk *d, const struct fg_desk_device *device,
		      const struct fg_command_rule *rule);

/** The device has answered. Returns 0, or -EAGAIN: nothing was taken. */
int fg_desk_answer(struct fg_command_desk *d, struct fg_desk_command *c, struct fg_span payload,
		   int64_t now_ms);

/** We answer it; OWED when the journal has no room. @why: static. */
void fg_desk_refuse(struct fg_command_desk *d, struct fg_desk_command *c,
		    enum fg_command_error verdict, const char *why, int64_t now_ms);

/** Its answer (again) waits to be sent to its cloud. */
void fg_desk_await_sending(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms);

/** Nothing is on its way to its cloud any more. */
void fg_desk_remember(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms);

/** It is not remembered any more. */
void fg_desk_forget(struct fg_command_desk *d, struct fg_desk_command *c);

/** Its note is on disk. */
void fg_desk_command_committed(struct fg_command_desk *d, struct fg_desk_command *c,
			       int64_t now_ms);

/** The broker has acknowledged it, with this reason code. */
void fg_desk_published(struct fg_command_desk *d, struct fg_desk_command *c, unsigned reason_code,
		       int64_t now_ms);

/** SILENT no more. */
void fg_desk_silence_over(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms);

/** Its time has come. */
void fg_desk_due(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms);

/** Start what may start at @device. */
void fg_desk_pump(struct fg_command_desk *d, struct fg_desk_device *device, int64_t now_ms);

/** What waited for room in the journal. */
void fg_desk_catch_up(struct fg_command_desk *d, int64_t now_ms);

/* ---- command_recovery.c */

/** Rebuild the table from the journal. Returns 0, -ENOMEM or -EIO. */
int fg_desk_recover(struct fg_command_desk *d, int64_t now_ms);

/** A command of another boot whose deadline could not be judged yet: is the time known by now? */
void fg_desk_date(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms);

/* ---- */

static inline bool fg_desk_is_open(const struct fg_desk_command *c)
{
	return c->state < FG_COMMAND_SILENT;
}

/** How long it still has is known, or does not matter any more. */
static inline void fg_desk_dated(struct fg_command_desk *d, struct fg_desk_command *c)
{
	d->n_undated -= c->is_undated;
	c->is_undated = false;
}

/** At its device, so that an answer to it may come. */
static inline bool fg_desk_is_out(const struct fg_desk_command *c)
{
	return c->state == FG_COMMAND_SENT || c->state == FG_COMMAND_DELIVERED;
}

/** Without correlation: it can only be told from others by being alone. */
static inline bool fg_desk_is_mute(const struct fg_command_rule *rule)
{
	return rule && rule->correlate == FG_CORRELATE_NONE && rule->group >= 0;
}

void fg_desk_wire_id(const struct fg_desk_command *c, char out[FG_WIRE_ID_MAX + 1]);
void fg_desk_view(const struct fg_desk_command *c, struct fg_command_view *ret);
