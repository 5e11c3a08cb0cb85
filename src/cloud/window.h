#pragma once

/*
 * Records that were read and are offered to the plugin: a row for each session, in journal order. The
 * messages point into the buffer of the pass that read them, so a window is worked off before the pass
 * goes on. It allocates only in fg_window_new().
 */
#include "fieldgate/plugin.h"

/* Beyond enum fg_offer, ours. */
#define FG_OFFER_SENT 5
#define FG_OFFER_WITHHELD 6 /* an older one of the same device is on its way */
#define FG_OFFER_NO_ROOM 7  /* refused, and quarantine takes nothing now */

struct fg_outbox_session;

/** The records of one session: those from @first up to @end. None before @first is open. */
struct fg_row {
	struct fg_outbox_session *session;
	unsigned first, end;
	uint64_t asleep; /* the plugin holds what is open; it had heard of so much news by then */
};

struct fg_window {
	unsigned size, n;
	unsigned n_rows, row; /* the row that is served */
	struct fg_message *messages;
	struct fg_span *devices; /* as the field calls them; messages have the cloud's names */
	struct fg_outbox_session **sessions;
	uint16_t *entries; /* in the ledger */
	uint16_t *places;  /* scratch */
	uint8_t *states;
	struct fg_row *rows;
};

/** A window of @size records of at most @max_rows sessions. Returns 0 or -ENOMEM. */
int fg_window_new(unsigned size, unsigned max_rows, struct fg_window **ret);
struct fg_window *fg_window_free(struct fg_window *w);

/** Nothing is in it. */
void fg_window_clear(struct fg_window *w);

/** The @n first records are in it, FG_OFFERED, in journal order: make rows of them. */
void fg_window_arrange(struct fg_window *w, unsigned n);

/** Is the plugin not done with @state? */
static inline bool fg_offer_is_open(uint8_t state)
{
	return state == FG_OFFERED || state == FG_OFFER_WITHHELD;
}

/** Has @row anything open? Moves its beginning there. */
bool fg_row_is_open(const struct fg_window *w, struct fg_row *row);

/** Has any row? The one that is served next is one of them. */
bool fg_window_is_open(struct fg_window *w);
