#pragma once

/*
 * The records of one lane that somebody deals with: offered to the plugin, in flight, on their way to
 * quarantine, or to be read again. What nobody deals with has no entry: the cursor knows whether it is
 * settled. Bounded; memory grows by doubling, outside the way of each message.
 *
 * A track is a row of records that fall behind together: those of one session, or those whose order
 * matters. While a track is behind, its records stay open in the cursor from one record on
 * (fg_cursor_leave_behind()), so what of it is settled out of order has to be remembered here; and
 * before already, since a crash in that state would send it again: it counts as at risk.
 *
 * What the plugin has left of a session's records (FG_LEFT) goes over to a track of its own, that never
 * falls out: on disk each has a key of its own (FG_KEY_RECORD), so it holds up nothing behind it.
 *
 * state of a track \ event | fall_out | the behind pass has reached | what it had then is settled
 *                          |          | the live one: join()        |
 * -------------------------+----------+-----------------------------+----------------------------
 * WITH: the live pass      | BEHIND   |              -              |             -
 * BEHIND: the behind pass  |    -     | JOINING, or WITH (1)        |             -
 * JOINING: the live pass   | BEHIND   |              -              | WITH
 *
 * (1) When nothing of it is unsettled.
 */
#include "journal/journal.h"

#define FG_LEDGER_MAX 8192u

enum fg_entry_state {
	FG_ENTRY_OFFERED,     /* in a window */
	FG_ENTRY_SENT,        /* in flight, or about to be */
	FG_ENTRY_QUARANTINED, /* its copy is not on disk yet */
	FG_ENTRY_AGAIN,       /* has to be read again */
	FG_ENTRY_LEFT,        /* the same, once the plugin says so, or this session has ended */
	FG_ENTRY_DONE,        /* settled, but its track has older ones that are not */
	FG_N_ENTRY_STATES,
};

enum fg_track_state {
	FG_TRACK_WITH,
	FG_TRACK_BEHIND,
	FG_TRACK_JOINING,
};

struct fg_track {
	uint64_t key;
	void *owner; /* of whoever made it */
	enum fg_track_state state;
	uint64_t from;        /* not WITH: from here on its records are kept open */
	uint64_t read_to;     /* BEHIND: of its records below, those not settled have entries */
	uint64_t left_to;     /* it has been read up to here, and the record here was left; or 0 */
	uint64_t joined;      /* JOINING: from here on the live pass has read them */
	uint16_t first, last; /* its entries; by rising seq, but for a track that is never behind */
	unsigned n;
	unsigned n_again;
	unsigned n_done;
	bool may_fall_out; /* so that while WITH, too, it is remembered what is settled out of order */
	unsigned n_alone;
	/* For the behind pass (sweep.c): it carries this track along; or where it would have to. */
	bool rides;
	bool rode;       /* when the behind pass read last, … */
	uint64_t off_at; /* … and it got off there */
	uint64_t resume;
	uint64_t asleep; /* the plugin holds its records; it had heard of so much news by then */
};

struct fg_entry {
	uint64_t seq;
	struct fg_track *track;
	uint16_t before, after; /* in its track */
	uint16_t chain; /* the next of the same publish, or of the same commit of quarantine */
	uint16_t same_hash, same_order;
	uint8_t order_hash;
	bool is_ordered;
	uint8_t state;   /* enum fg_entry_state; changed by fg_ledger_set() */
	uint8_t pass;    /* of OFFERED: whose window it is in */
	bool was_sent;   /* DONE: so a crash may have it sent again */
	bool is_left;    /* it has a key of its own in the cursor, until it is settled */
	bool is_alone;   /* one of them is at fault: one record a publish; fg_ledger_isolate() */
	uint8_t n_tries; /* that failed */
	uint16_t poison; /* not 0: to be put into quarantine, because of this */
};

struct fg_ledger {
	struct fg_cursor *cursor;
	/* From 1 on: 0 stands for none. */
	struct fg_entry *entries;
	uint16_t *hash;
	unsigned size, n_used;
	uint16_t free;
	unsigned n[FG_N_ENTRY_STATES];
	unsigned n_done_sent; /* of those DONE */
	unsigned n_left;      /* that have a key of their own */
	unsigned n_ordered;
	uint64_t order_news;   /* rises when one of those may let others pass */
	uint64_t track_news;   /* rises when a track that is behind may have a place again */
	uint16_t ordered[256]; /* those whose order matters, by a hash of their device */
};

void fg_ledger_init(struct fg_ledger *l, struct fg_cursor *cursor);
void fg_ledger_done(struct fg_ledger *l);

/** Make room for @n more entries, if need be and possible. Returns for how many there is, up to @n. */
unsigned fg_ledger_reserve(struct fg_ledger *l, unsigned n);

/** When it is empty: give the memory back. */
void fg_ledger_rest(struct fg_ledger *l);

static inline struct fg_entry *fg_ledger_at(const struct fg_ledger *l, uint16_t e)
{
	return &l->entries[e];
}

/** The entry of record @seq, or 0. */
uint16_t fg_ledger_find(const struct fg_ledger *l, uint64_t seq);

/** A new entry, FG_ENTRY_OFFERED, for @m of field device @device, which has none. There must be room. */
uint16_t fg_ledger_add(struct fg_ledger *l, struct fg_track *track, const struct fg_message *m,
		       struct fg_span device, unsigned pass);

void fg_ledger_set(struct fg_ledger *l, uint16_t e, enum fg_entry_state state);

/**
 * The plugin has left it. It goes over to @heir, when there is one and it is not there already. Returns 0,
 * or -ENOSPC: the cursor has no place for its key, it stays where it is and holds up what follows.
 */
int fg_ledger_leave(struct fg_ledger *l, uint16_t e, struct fg_track *heir);

/** It has to travel alone from now on. */
void fg_ledger_isolate(struct fg_ledger *l, uint16_t e);

/** Nobody deals with it any more, and it is not settled. */
void fg_ledger_forget(struct fg_ledger *l, uint16_t e);

/** @e and what is chained to it is settled. */
void fg_ledger_settle(struct fg_ledger *l, uint16_t e);

/**
 * The lowest record that holds up those behind it of the same device as @e, whose order matters: it is
 * neither settled, nor left, nor in the same window. 0: there is none. (Devices that share a hash wait, too.)
 */
uint64_t fg_ledger_holding_up(const struct fg_ledger *l, uint16_t e);

/** How many records a crash would have sent twice that the cursor does not know of. */
uint64_t fg_ledger_at_risk(const struct fg_ledger *l);

/* ---- tracks */

/** Attributes and presence: the last one counts. */
static inline bool fg_kind_is_ordered(enum fg_kind kind)
{
	return kind == FG_ATTRIBUTES || kind == FG_PRESENCE;
}

void fg_track_init(struct fg_track *t, struct fg_ledger *l, uint64_t key, void *owner);

/**
 * From its oldest entry on, or from @seq if that is lower, its records are kept open for the behind
 * pass. @seq: the lowest that has not been read. Returns 0, or -ENOSPC: too many are behind.
 */
int fg_track_fall_out(struct fg_track *t, struct fg_ledger *l, uint64_t seq);

/** All records of it below @live are settled, or have entries. */
void fg_track_join(struct fg_track *t, struct fg_ledger *l, uint64_t live);

/** All its entries that were offered or left, and those @sent, have to be read again. */
void fg_track_recall(struct fg_track *t, struct fg_ledger *l, bool sent);

/** Forget entries that only say that the record has to be read again: all of a track that is WITH; of
 * another one the newest, as long as nothing that must be remembered is behind them. */
void fg_track_trim(struct fg_track *t, struct fg_ledger *l);

/** When it is WITH the others, the entries it still has go over to @heir, which is too: else it would fall
 * out from the first of these on, with all that is settled behind. */
void fg_track_dissolve(struct fg_track *t, struct fg_ledger *l, struct fg_track *heir);

/** Nobody wants what is left of it: all is settled, and it is not behind any more. Comes before
 * fg_track_forget(). */
void fg_track_abandon(struct fg_track *t, struct fg_ledger *l);

/** Forget all of it; what is on its way to quarantine goes over to @heir, which is WITH. */
void fg_track_forget(struct fg_track *t, struct fg_ledger *l, struct fg_track *heir);

/** What has to be read again of it from @from on and below @to was not found any more: it is lost, and
 * told of by the journal. */
void fg_track_give_up(struct fg_track *t, struct fg_ledger *l, uint64_t from, uint64_t to);

/** Has anything of it below @seq to be read again? */
bool fg_track_must_go_back(const struct fg_track *t, const struct fg_ledger *l, uint64_t seq);

/** The lowest record of it that the behind pass has to read; 0: none. */
uint64_t fg_track_resume(const struct fg_track *t, const struct fg_ledger *l);
