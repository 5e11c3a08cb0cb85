#pragma once

/*
 * Runs what blocks on a thread of its own and brings the result back to the loop: name lookup and
 * TCP connect inside libmosquitto. One short-lived thread for each attempt, so that a name server
 * that does not answer delays only the one who asked it. At most FG_CONNECTOR_MAX_JOBS at once.
 */
#include <ev.h>
#include <stdbool.h>

#define FG_CONNECTOR_MAX_JOBS 64

struct fg_connector;

/** A job; embedded in whatever it works for, which must stay until done() was called. */
struct fg_connector_job {
	void (*work)(struct fg_connector_job
			     *job); /* on the thread: touches nothing but the job's owner */
	void (*done)(struct fg_connector_job *job); /* on the loop, exactly once, … */
	/* … or this instead, when the connector has gone meanwhile: on any thread, there is no loop
	 */
	void (*orphaned)(struct fg_connector_job *job);
	/* It writes what a clean stop must not lose: fg_connector_free() returns after orphaned(). */
	bool is_awaited;
	struct fg_connector *connector;
	struct fg_connector_job *next;
};

/** The caller owns *@ret and releases it with fg_connector_free(). Returns 0 or -ENOMEM. */
int fg_connector_new(struct ev_loop *loop, struct fg_connector **ret);

/** Release. Jobs that are still at work are told by orphaned() instead of done(); those that are awaited
 * have been when this returns, the others (a name server may be silent for long) later. Returns NULL. */
struct fg_connector *fg_connector_free(struct fg_connector *c);

/** Start @job. Returns 0, -EAGAIN (too many at work: try again later) or another negative errno. */
int fg_connector_run(struct fg_connector *c, struct fg_connector_job *job);
