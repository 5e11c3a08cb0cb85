#pragma once

/*
 * A link: one configured cloud. It opens the plugin, has its sessions connected, lets the plugin
 * turn records into publishes, gives the plugin what it asks the host for, and brings what comes
 * down to whoever the gateway named. Links share nothing but the journal they read. The states of a
 * session are in cloud_session.h.
 */
#include <ev.h>

#include "cloud/cloud_session.h"
#include "cloud/plugin_host.h"
#include "config/config.h"
#include "journal/journal.h"
#include "net/connector.h"
#include "net/http_client.h"
#include "net/store.h"
#include "util/timekeeper.h"

struct fg_link;

#define FG_LINK_STORES 2

/**
 * Where what comes down goes. Devices are field devices here; what the cloud calls the gateway itself
 * is gateway.name. Everything is borrowed for the call. All may be NULL: it is refused then.
 */
struct fg_link_downlink {
	/** As fg_command_desk_submit(). */
	int (*command)(void *arg, const char *link, const struct fg_command *command,
		       uint64_t *ret_ticket);

	/** As fg_configs_change(). */
	void (*config)(void *arg, const char *link, struct fg_span device, struct fg_span set,
		       struct fg_span unset);

	/** As fg_requests_answer() and fg_requests_is_open(). */
	void (*respond)(void *arg, struct fg_span ref, struct fg_span body);
	bool (*is_awaited)(void *arg, struct fg_span ref);

	/** As the members of struct fg_host with these names; fg_link_image_progress() answers. */
	int (*image_begin)(void *arg, const char *link, const struct fg_image *image,
			   uint64_t *ret_have);
	int (*image_write)(void *arg, const char *link, struct fg_span device,
			   enum fg_image_kind kind, uint64_t offset, struct fg_span data);
	bool (*image_lacks)(void *arg, const char *link, struct fg_span device,
			    enum fg_image_kind kind);
	void (*image_abandon)(void *arg, const char *link, struct fg_span device,
			      enum fg_image_kind kind, const char *why);
	void (*image_tell)(void *arg, const char *link);
	void (*image_told)(void *arg, const char *link, struct fg_span device,
			   enum fg_image_kind kind);
	int (*image_version)(void *arg, struct fg_span device, enum fg_image_kind kind,
			     struct fg_span *ret);
	void *arg;
};

struct fg_link_options {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_http *http; /* or NULL: the plugin gets none */
	struct fg_journal *journal;
	struct fg_timekeeper *timekeeper;     /* or NULL: the wall clock is believed */
	const struct fg_cloud_config *config; /* outlives the link */
	const struct fg_plugin *plugin;       /* outlives the link */
	const struct fg_value *values; /* one for each of the plugin's options; outlive the link */
	const char *gateway_name;
	const char *state_directory; /* for what must not be forgotten, or NULL: nothing is kept */
	struct fg_link_downlink downlink;
	/* What its functions may change: a message of the cloud is acknowledged when that is on disk.
	 * Outlive the link; or NULL. */
	struct fg_store *stores[FG_LINK_STORES];
	uint64_t seed; /* for the jitter */
};

/** What there is to know from outside. */
struct fg_link_stats {
	enum fg_link_state state;         /* of several sessions: the best one's */
	const char *why;                  /* it is not online: how it ended last; or NULL */
	int64_t retry_ms;                 /* FG_LINK_BACKOFF: until the next attempt; else 0 */
	const struct fg_address *address; /* where that one connects to; NULL: nowhere yet */
	unsigned n_sessions_open;         /* … and how many there are, up or not */
	unsigned n_sessions_online;       /* … and of these are up, by MQTT */
	unsigned n_sessions_by_http;      /* … or carried by HTTP instead */
	uint64_t backlog;                 /* synced records not yet settled */
	uint64_t alarm_backlog;           /* the same of the alarm lane */
	uint64_t behind;                  /* sessions that have fallen behind the others */
	uint64_t published;               /* publishes sent */
	uint64_t records_acked;           /* records in acknowledged publishes */
	uint64_t quarantined;
	uint64_t values_dropped;      /* members the cloud has no form for */
	uint64_t stale_requests;      /* not sent, since their device has given up waiting */
	uint64_t sessions;            /* successful CONNECTs */
	uint64_t commands;            /* that came down */
	uint64_t deleted;             /* devices it has deleted: it gets nothing of them */
	uint64_t lost;                /* records it will never get, of both lanes */
	uint64_t losses[FG_N_LOSSES]; /* the same by reason */
};

/**
 * Make a link, open the plugin, load TLS material, open the cursors. Connects nothing yet.
 * On success the caller owns *@ret. Returns 0, -ENOMEM, or -EINVAL with a sentence.
 */
int fg_link_new(const struct fg_link_options *options, struct fg_link **ret, struct fg_error *err);

/**
 * Would fg_link_new() succeed? Opens the plugin and loads TLS material, and releases both again.
 * Only config, plugin, values and gateway_name of @options are used. Returns 0 or -EINVAL with a sentence.
 */
int fg_link_check(const struct fg_link_options *options, struct fg_error *err);

/** Release at once, whatever the state. Takes NULL. */
struct fg_link *fg_link_free(struct fg_link *link);

/** Begin to connect. */
void fg_link_start(struct fg_link *link);

/** Settle what is in flight, disconnect, end in STOPPED; @stopped is called then (maybe at once). */
void fg_link_stop(struct fg_link *link, void (*stopped)(void *arg), void *arg);

/** The journal has committed up to @ticket: there may be something to send. */
void fg_link_committed(struct fg_link *link, uint64_t ticket);

/** Each second: tries again what could not be written. */
void fg_link_tick(struct fg_link *link, int64_t now_ms);

/**
 * The clock was set. What waited for its time goes out. A session whose credentials expire earlier by the new
 * clock is renewed earlier; none that is up ends for it. The last attempt to connect may have failed for the time,
 * when it is known only now (@is_learnt) or the credentials are made of it: the next one is made at once.
 */
void fg_link_clock_set(struct fg_link *link, bool is_learnt);

/** The journal dropped @records up to @seq that this link had not settled. */
void fg_link_lost(struct fg_link *link, uint64_t records, uint64_t seq, const char *why);

/** Has the link nothing left to send up to record @seq of the alarm lane? */
bool fg_link_has_sent(const struct fg_link *link, uint64_t seq);

/** An image has come further; progress->device is the field's. */
void fg_link_image_progress(struct fg_link *link, const struct fg_image_progress *progress);

const char *fg_link_name(const struct fg_link *link);
const char *fg_link_state_name(enum fg_link_state state);
void fg_link_get_stats(const struct fg_link *link, struct fg_link_stats *ret);
