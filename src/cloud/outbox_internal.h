#pragma once

/*
 * What the files of the outbox share. outbox.c makes publishes and hands them out, outbox_session.c
 * knows the sessions, outbox_settle.c what becomes of a publish, feed.c, fate.c and sweep.c read.
 */
#include "cloud/feed.h"
#include "cloud/inflight.h"
#include "cloud/outbox.h"
#include "cloud/pacing.h"
#include "util/complaint.h"

/* Most payload bytes in flight while more than one publish is: libmosquitto holds a copy of each.
 */
#define FG_OUTBOX_IN_FLIGHT_BYTES (512 * 1024)

struct fg_outbox_session {
	struct fg_outbox *outbox;
	/* Of one that is expected, since something of it was left behind, nobody knows the device before
	 * the first record was read; the name is that of an open one. Else NULL. */
	char *device; /* as the field calls it */
	char *name;   /* as the cloud called it then */
	uint64_t key;
	bool is_outdated; /* the cloud calls the device otherwise */
	void *owner;
	struct fg_track tracks[FG_N_CURSOR_LANES];
	struct fg_track left[FG_N_CURSOR_LANES]; /* by the plugin, of a session among many */
	uint16_t row;                            /* in the window that was arranged last */

	/* While it is up; NULL when it is not. */
	struct fg_inflight *inflight;
	unsigned limit; /* publishes in flight */
	size_t max_packet_bytes;
	enum fg_carrier carrier;
	bool is_setup, is_draining;
	bool offers_left; /* what the plugin has left is about to be read again */
	bool has_acks;    /* the cloud does acknowledge things */
	/* The plugin may have something of its own to say: it is in the outbox's row of those. */
	bool is_poked;
	struct fg_outbox_session *next_poked;

	uint64_t news;        /* fg_outbox_session_news() */
	uint64_t n_published; /* ever */

	/* trouble */
	int64_t paused_until_ms;
	unsigned n_pauses; /* in a row */
	struct {
		enum fg_lane lane;
		uint64_t seq; /* the record in flight when the session last broke */
		unsigned drops;
	} suspect;
	/* Since the last acknowledgement: records put aside for broken sessions, or for being refused
	 * again and again; and pauses since the last of those. */
	unsigned n_blamed, n_fruitless;
};

/** The publish that was made and is not sent yet. */
struct fg_made {
	struct fg_outbox_session *session; /* NULL: none */
	struct fg_feed *feed;
	struct fg_inflight_entry entry;
	uint64_t amounts[FG_N_LIMITS];
	bool is_handed_out; /* else it waits for the pace */
};

struct fg_outbox {
	struct fg_outbox_options with;
	bool has_sessions; /* the plugin tells them apart */
	struct fg_feed feeds[FG_N_CURSOR_LANES];
	struct fg_pacing pacing;

	/* All sessions, in no order, and a table of them by key: a power of two, at least twice as
	 * many. */
	struct fg_outbox_session **sessions;
	struct fg_outbox_session **table;
	size_t n_sessions, table_size;
	size_t n_up; /* of them */
	struct fg_outbox_session *first_poked, *last_poked;

	struct fg_made made;
	struct fg_publish publish;
	/* Within encode(): what is offered. */
	struct fg_batch *batch;
	struct fg_feed *offering;
	struct fg_window *window;

	int64_t now_ms;
	int64_t again_ms; /* when to ask again, 0: when something happens */
	int64_t pause_ms; /* when the next pause of a session ends, 0: none */
	bool offers_left; /* a session does */
	bool had_no_room; /* in quarantine, for a record that the plugin refuses */
	struct fg_complaint quarantine_complaint, nack_complaint, behind_complaint, read_complaint;
	struct fg_outbox_stats stats;
};

/* ---- sessions: outbox_session.c */

/** The session of field device @device, or NULL when nobody has opened it. *@ret_key: its key. */
struct fg_outbox_session *fg_outbox_session_of(const struct fg_outbox *o, struct fg_span device,
					       uint64_t *ret_key);

/** What the cloud calls @device now. Returns false when it does not get it. */
bool fg_outbox_name_of(const struct fg_outbox *o, struct fg_span device, struct fg_span *ret_name);

/** Does the cloud call no other device @name than @device, whose name it is? */
bool fg_outbox_owns_name(const struct fg_outbox *o, struct fg_span device, struct fg_span name);

/** Sessions of which something was left behind get a place, though nobody knows whose they are. Returns 0
 * or -ENOMEM. */
int fg_outbox_expect_sessions(struct fg_outbox *o);

/** The session of @device, made if need be: nobody has opened it then. NULL: out of memory, or its key is
 * another one's. */
struct fg_outbox_session *fg_outbox_session_place(struct fg_outbox *o, struct fg_span device);

/** It is @device's. Nobody has opened it. */
void fg_outbox_session_met(struct fg_outbox_session *s, struct fg_span device);

/** After names have changed: which sessions are outdated, and who waits that nobody has opened? */
void fg_outbox_review_sessions(struct fg_outbox *o);

/** An expected session has nothing left: it loses its place. */
void fg_outbox_unexpect(struct fg_outbox_session *s);
void fg_outbox_free_sessions(struct fg_outbox *o);

/** Can it take another publish, of the plugin's own; and one with records? */
bool fg_outbox_session_has_room(const struct fg_outbox_session *s);
bool fg_outbox_session_can_take(const struct fg_outbox_session *s);

/** The plugin may have something of its own to say on @s; and the next of those, or NULL. */
void fg_outbox_session_poke(struct fg_outbox_session *s);
struct fg_outbox_session *fg_outbox_next_poked(struct fg_outbox *o);

/** Rises with whatever may make the plugin go on with records of @lane that it held. */
uint64_t fg_outbox_session_news(const struct fg_outbox_session *s, enum fg_lane lane);

/** Is one of its records at fault and not found yet: one record a publish, one publish at a time? */
bool fg_outbox_session_isolates(const struct fg_outbox_session *s);

/* ---- what becomes of records: outbox_settle.c */

/**
 * The record is settled once its copy in quarantine is on disk. @device: as the field calls it. Returns
 * 0, or -EAGAIN when the journal takes nothing now.
 */
int fg_outbox_quarantine(struct fg_feed *f, uint16_t entry, const struct fg_message *m,
			 struct fg_span device, const char *reason, unsigned attempts);

/** The same for one that was found to be at fault before. */
int fg_outbox_remove_poison(struct fg_feed *f, uint16_t entry, const struct fg_message *m,
			    struct fg_span device);

/**
 * What is on disk in quarantine by now is settled. To be called before records are read: otherwise the
 * first one that goes there would do so, for one that was read behind it and would seem to be new.
 */
void fg_outbox_release(struct fg_feed *f);

/** Nothing is in flight on @s any more. @is_suspicious: as in fg_outbox_session_end(). */
void fg_outbox_take_back(struct fg_outbox_session *s, bool is_suspicious);

/** Ask again at @ms. */
void fg_outbox_ask_again(struct fg_outbox *o, int64_t ms);
