#pragma once

/*
 * What a link reads of one lane: two passes over its cursor. The live pass only goes forward. The
 * behind pass reads whatever is open below the live one and that nobody deals with: what has to be sent
 * again, what live_first jumped over, and what sessions missed that the others did not wait for.
 *
 * A link with one session. `order: fifo`: with a new session the live pass starts at the lowest open
 * record; what has to be sent again in between goes before what is newer. `order: live_first`: with a
 * new session the live pass jumps to the end, and both share the publishes (backlog_share) until the
 * behind pass has caught up. Records whose order matters then are left to the behind pass
 * (FG_KEY_ORDERED) wherever they are. After FG_FEED_JUMPS the live pass stays where it is, since each
 * jump leaves a range behind that the cursor has to remember.
 *
 * A link with many sessions. A session that is down, or that others would wait for, falls out: its
 * track is behind. When it is up, the behind pass takes it along: it sweeps upward through all that
 * sessions have missed, again and again; a session that rides along gets off when it cannot take more,
 * and has caught up when it rides to where the live pass is. Each is caught up in order: there is no
 * jump, since a session has one place on disk from which on it is behind, not two.
 */
#include "cloud/ledger.h"
#include "cloud/window.h"

#define FG_FEED_JUMPS 16

struct fg_outbox;
struct fg_outbox_session;

enum fg_pass_kind {
	FG_PASS_LIVE,
	FG_PASS_BEHIND,
	FG_N_PASSES,
};

/** One of the passes. */
struct fg_reading {
	enum fg_pass_kind kind;
	struct fg_pass *pass;     /* NULL until it is used */
	struct fg_window *window; /* the same */
	uint64_t position;
	bool waits_for_time; /* the record there does */
	int64_t used_ms;     /* when something was read last */
};

struct fg_feed {
	struct fg_outbox *outbox;
	enum fg_lane lane;
	struct fg_cursor *cursor;
	struct fg_ledger ledger;
	struct fg_reading readings[FG_N_PASSES];
	struct fg_track ordered; /* of a link with one session: FG_KEY_ORDERED */
	uint16_t
		dropped; /* entries that were read again and are not to be sent any more; a chain */
	struct fg_track
		orphans;  /* on their way to quarantine, of sessions that were closed since */
	uint64_t highest; /* where the live pass has ever been, or what was there before us */
	bool is_at_bound; /* of what a crash may repeat: nobody can send, whoever is in a window */
	bool is_behind;   /* there may be something for the behind pass … */
	uint64_t
		strays; /* the next record that was left, and that nobody knows the session of; 0: none */
	uint64_t track_news; /* … and there is, when the ledger has more of them */
	unsigned n_jumps;
	unsigned n_reads;      /* in this sweep */
	int credit;            /* which pass is next */
	int64_t full_since_ms; /* no place for another session that is behind; 0: there is */
	/* On their way to quarantine, by the parity of the commit: two run or gather at most. */
	struct {
		uint64_t ticket;
		uint16_t first;
	} quarantined[2];
};

void fg_feed_init(struct fg_feed *f, struct fg_outbox *o, enum fg_lane lane,
		  struct fg_cursor *cursor);
void fg_feed_done(struct fg_feed *f);

/**
 * Read on into the empty window of @r. Returns 1: there is something in it; 0: nothing to read now;
 * -EAGAIN: nothing yet, call again; -ENOMEM, -EIO: try again later.
 */
int fg_feed_refill(struct fg_feed *f, struct fg_reading *r);

/** What has been read and not been sent goes by other names now, or is not for this cloud. */
void fg_feed_names_changed(struct fg_feed *f);

/** Nobody who is in the window can take more. May others wait for them? Empties it, if not, and
 * returns true. */
bool fg_feed_is_unstuck(struct fg_feed *f, struct fg_reading *r);

/** Forget what only serves to send nothing twice, of sessions that are down: there is no room for it. */
void fg_feed_make_room(struct fg_feed *f);

/** Which pass has the next publish, when both have something. And: it was @kind's, while both had. */
enum fg_pass_kind fg_feed_first(const struct fg_feed *f);
void fg_feed_count(struct fg_feed *f, enum fg_pass_kind kind);

/** One session of many: has so much of @t been settled behind its oldest record that this one has to be
 * settled first? What a crash may repeat is shared with the others. */
bool fg_feed_is_ahead(const struct fg_feed *f, const struct fg_track *t);

/** May @t have another entry? Not when it has so many that its oldest one is stuck. */
bool fg_feed_has_place(const struct fg_feed *f, const struct fg_track *t);

/** Give back what is not used for a while. */
void fg_feed_rest(struct fg_feed *f);

/** Records of @t from @seq on have to be read again. */
void fg_feed_again(struct fg_feed *f, struct fg_track *t, uint64_t seq);

/** What the plugin has left of @s is read again, and all that follows it and was not sent: in that order. */
void fg_feed_offer_left(struct fg_feed *f, struct fg_outbox_session *s);

/** Does record @seq have a key of its own, since the plugin has left it? */
bool fg_feed_is_left(const struct fg_feed *f, uint64_t seq);

/** There may be records that were left, and that nobody knows the session of. */
void fg_feed_look_for_strays(struct fg_feed *f);

/** The link's only session is up, or down; or one of many. */
void fg_feed_session_up(struct fg_feed *f, struct fg_outbox_session *s);
void fg_feed_session_down(struct fg_feed *f, struct fg_outbox_session *s);

/** It is down, and about to be forgotten. What it has not sent is kept, or is settled when nobody wants
 * it any more (not @is_wanted). */
void fg_feed_session_closed(struct fg_feed *f, struct fg_outbox_session *s, bool is_wanted);

/** A session that was asleep, paused or full may not be so any more. */
void fg_feed_look_again(struct fg_feed *f);

/* ---- what becomes of a record: fate.c */

enum fg_fate {
	FG_FATE_TAKE,
	FG_FATE_SETTLE, /* nothing is to be sent, or the track keeps it open */
	FG_FATE_SKIP,   /* somebody else deals with it, or will */
	FG_FATE_STOP,   /* not now: the pass stays in front of it */
};

/**
 * @r has read @m of field device @device; the cloud's name for that replaces m->device. Of a record
 * that is taken: *@ret_entry and *@ret_session.
 */
enum fg_fate fg_feed_decide(struct fg_feed *f, struct fg_reading *r, struct fg_message *m,
			    struct fg_span device, uint16_t *ret_entry,
			    struct fg_outbox_session **ret_session);

/**
 * What the cloud calls @device of @m now. Returns false when it does not get it. An answer it does get,
 * since it asked, even of a device that it should know nothing of: that is what the answer says.
 */
bool fg_feed_map_device(const struct fg_outbox *o, const struct fg_message *m,
			struct fg_span device, struct fg_span *ret_name);

void fg_feed_complain_of_too_many(struct fg_outbox *o);

/* ---- sessions that are behind: sweep.c */

/** Find a place for the behind pass to read. Returns false when there is nothing for it. */
bool fg_sweep_begin(struct fg_feed *f);

/** It has read from its position up to @to: whoever waited there rides along. */
void fg_sweep_read(struct fg_feed *f, uint64_t to);

/** Up to where @t was part of what was read up to @to last; 0: not at all. */
uint64_t fg_sweep_rode_to(const struct fg_track *t, uint64_t to);

/** Does the session of @t ride along at @seq? */
bool fg_sweep_carries(const struct fg_feed *f, const struct fg_track *t, uint64_t seq);

/** @t does not ride on at @seq. */
void fg_sweep_get_off(struct fg_track *t, uint64_t seq);

/** The behind pass is where the live one is. */
void fg_sweep_reached(struct fg_feed *f);

/** Has anything of @s below @seq to be read again? */
bool fg_sweep_must_go_back(const struct fg_feed *f, const struct fg_outbox_session *s,
			   uint64_t seq);

/** Is there a session that could ride and is not stuck in the window of the behind pass? */
bool fg_sweep_is_wanted(struct fg_feed *f);
