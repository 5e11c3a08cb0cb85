#pragma once

/*
 * A link: one configured cloud. It keeps the session up, lets the plugin turn records into publishes,
 * keeps the in-flight window, and moves its cursor as acknowledgements arrive. Links share nothing but
 * the journal they read.
 *
 * state \ event | connected | ended            | new data | PUBACK   | back-off over | renewal due | stop
 * --------------+-----------+------------------+----------+----------+---------------+-------------+----------
 * STOPPED       |     -     |        -         |    -     |    -     |       -       |      -      |    -
 * CONNECTING    | ONLINE    | BACKOFF (1)      |    -     |    -     |       -       |      -      | STOPPED
 * ONLINE        |     -     | BACKOFF, rewind  | send     | settle(2)|       -       | DRAINING    | DRAINING
 * DRAINING (3)  |     -     | BACKOFF/STOPPED  |    -     | settle   |       -       |      -      | to STOPPED
 * BACKOFF       |     -     |        -         |    -     |    -     | CONNECTING    |      -      | STOPPED
 *
 * (1) MQTT 5 refused as a protocol version and `mqtt_version: auto`: CONNECTING again, with 3.1.1.
 * (2) Settling asks the plugin for a verdict. FG_LATER and FG_RETRY hold sending back for a while, then
 *     the link reads again from the record at fault; FG_POISON does so with one record a publish, until
 *     the one at fault is found and goes into quarantine. A session that breaks, or an acknowledgement that
 *     does not come, three times with the same record unacknowledged ends the same way.
 * (3) Nothing new is sent; ends when the window is empty, or after FG_LINK_DRAIN_MS.
 */
#include <ev.h>

#include "cloud/plugin_host.h"
#include "config/config.h"
#include "journal/journal.h"
#include "net/connector.h"
#include "util/timekeeper.h"

#define FG_LINK_DRAIN_MS 3000

enum fg_link_state {
	FG_LINK_STOPPED,
	FG_LINK_CONNECTING,
	FG_LINK_ONLINE,
	FG_LINK_DRAINING,
	FG_LINK_BACKOFF,
};

struct fg_link;

struct fg_link_options {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_journal *journal;
	struct fg_timekeeper *timekeeper;     /* or NULL: the wall clock is believed */
	const struct fg_cloud_config *config; /* outlives the link */
	const struct fg_plugin *plugin;       /* outlives the link */
	const struct fg_value *values; /* one for each of the plugin's options; outlive the link */
	const char *gateway_name;
	uint64_t seed; /* for the jitter */
};

/** What there is to know from outside. */
struct fg_link_stats {
	enum fg_link_state state;
	uint64_t backlog;       /* synced records not yet settled */
	uint64_t published;     /* publishes sent */
	uint64_t records_acked; /* records in acknowledged publishes */
	uint64_t quarantined;
	uint64_t values_dropped; /* members the cloud has no form for */
	uint64_t sessions;       /* successful CONNECTs */
	uint64_t lost;           /* records dropped by retention or damage before they were sent */
	uint64_t losses[FG_N_LOSSES]; /* the same by reason, and what came to a full journal */
};

/**
 * Make a link, open the plugin, load TLS material, open the cursor. Connects nothing yet.
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

/**
 * The clock was set. What waited for its time goes out. A session whose credentials expire earlier by the new
 * clock is renewed earlier; none that is up ends for it. @is_learnt: the time is known only now, so the last
 * attempt to connect may have failed for the time: the next one is made at once.
 */
void fg_link_clock_set(struct fg_link *link, bool is_learnt);

/** The journal dropped @records up to @seq that this link had not settled. */
void fg_link_lost(struct fg_link *link, uint64_t records, uint64_t seq, const char *why);

const char *fg_link_name(const struct fg_link *link);
const char *fg_link_state_name(enum fg_link_state state);
void fg_link_get_stats(const struct fg_link *link, struct fg_link_stats *ret);
