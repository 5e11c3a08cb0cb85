#pragma once

/*
 * What a session waits for before it acknowledges what came down: that all it has brought about is on
 * disk. For a command that is a commit of the journal, for names, configuration, credentials and images
 * the file of a store. Embedded in the session.
 *
 * What keeps coming while it waits is waited for together, up to the commit that was gathering, or the
 * one writing of a file that follows the first. Beyond that nothing may be read, or nothing would ever
 * be let go.
 */
#include "journal/journal.h"
#include "net/store.h"

#define FG_HOLD_STORES 4

struct fg_hold_options {
	struct fg_journal *journal;
	struct fg_store *const *stores; /* FG_HOLD_STORES, each may be NULL */
	/* A store is through: @error is 0, and the hold may be over, or says why what is waited for cannot
	 * be written. May release the session and the stores. */
	void (*stored)(void *arg, int error);
	void *arg;
};

struct fg_hold {
	struct fg_hold_options with;
	uint64_t ticket; /* of the commit; 0: none is waited for */
	struct fg_store_wait waits[FG_HOLD_STORES];
	uint64_t versions[FG_HOLD_STORES]; /* as of fg_hold_note() */
	int64_t since_ms;
};

void fg_hold_init(struct fg_hold *h, const struct fg_hold_options *options);

/** Is anything waited for? */
bool fg_hold_is_on(const struct fg_hold *h);

/** Wait for the commit @ticket. Returns false when it is through already. */
bool fg_hold_for_commit(struct fg_hold *h, uint64_t ticket);

/** The journal has committed up to @ticket. Returns whether the hold is over with it. */
bool fg_hold_committed(struct fg_hold *h, uint64_t ticket);

/** A message is about to be looked at: remember how the stores are … */
void fg_hold_note(struct fg_hold *h);

/** … and wait for what it has changed in them. Returns false when that is nothing. */
bool fg_hold_for_changes(struct fg_hold *h);

/** May more be read? */
bool fg_hold_gathers(const struct fg_hold *h);

/** Wait for nothing any more. */
void fg_hold_drop(struct fg_hold *h);
