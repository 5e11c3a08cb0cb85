#pragma once

/*
 * What link.c (the life of a link) and link_host.c (what its plugin may ask for) share.
 */
#include "cloud/link.h"
#include "cloud/names.h"
#include "net/store.h"

#define FG_LINK_WARNINGS 8
#define FG_LINK_HTTP_CALLS 16

struct fg_link_http_call {
	struct fg_link *link;
	struct fg_http_request *request; /* NULL: free */
	uint64_t tag;
};

struct fg_link {
	struct fg_link_options with;
	void *ctx; /* the plugin's */
	struct fg_session_common common;
	struct fg_cloud_session **sessions;
	size_t n_sessions;
	struct fg_cursor *cursors[FG_N_CURSOR_LANES];
	struct fg_outbox *outbox;
	struct fg_names *names;
	struct fg_store *store;   /* or NULL */
	ev_timer resume;          /* a pause of the outbox ends */
	ev_timer wake;            /* the plugin's */
	ev_timer follow;          /* soon: names have changed, or a session has ended for that */
	bool has_device_sessions; /* as the plugin says */
	bool is_started, is_broken, is_stopping;
	bool is_pumping;        /* link_pump() is on the stack */
	unsigned n_image_calls; /* of the plugin that are on the stack */
	size_t n_stopping;      /* sessions that have not stopped yet */
	void (*stopped)(void *arg);
	void *stopped_arg;
	uint64_t commands;
	struct fg_link_http_call calls[FG_LINK_HTTP_CALLS];
	struct fg_complaint lost_complaint, downlink_complaint, time_complaint;
	struct fg_complaint names_complaint, mute_complaint, unmute_complaint;
	struct {
		const char *format; /* literal of the plugin: the pointer identifies it */
		struct fg_complaint complaint;
	} warnings[FG_LINK_WARNINGS];
};

/** What plugins get to call. */
extern const struct fg_host fg_link_host;

/** The session called @name, or NULL. */
struct fg_cloud_session *fg_link_session(const struct fg_link *link, const char *name);

/** The cloud calls a device otherwise, or does not get it any more: sessions follow that. */
void fg_link_names_changed(struct fg_link *link);

/** The plugin may have something to say: ask it. */
void fg_link_poke(struct fg_link *link);

/** fg_store_options.stored */
void fg_link_stored(void *arg, struct fg_span key, int error);

/** The plugin's timer has fired. */
void fg_link_woken(struct ev_loop *loop, ev_timer *w, int events);

/** Give up HTTP requests that are under way. */
void fg_link_drop_calls(struct fg_link *link);
