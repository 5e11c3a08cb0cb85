#pragma once

/*
 * One session of a link: connects by MQTT, waits and connects again, renews itself before its
 * credentials expire, and ends in good order. What goes over it is the outbox's business, what it
 * means the plugin's.
 *
 * state \ event | connected | ended            | PUBACK   | back-off over | renewal due | stop
 * --------------+-----------+------------------+----------+---------------+-------------+----------
 * STOPPED       |     -     |        -         |    -     |       -       |      -      |    -
 * CONNECTING    | ONLINE (4)| BACKOFF (1)      |    -     |       -       |      -      | STOPPED
 * ONLINE        |     -     | BACKOFF          | settle(2)|       -       | DRAINING    | DRAINING
 * DRAINING (3)  |     -     | BACKOFF/STOPPED  | settle   |       -       |      -      | to STOPPED
 * BACKOFF       |     -     |        -         |    -     | CONNECTING    |      -      | STOPPED
 *
 * (1) MQTT 5 refused as a protocol version and `mqtt_version: auto`: CONNECTING again, with 3.1.1.
 * (2) Settling asks the plugin for a verdict. FG_LATER and FG_RETRY hold sending back for a while, then
 *     the link reads again from the record at fault; FG_POISON does so with one record a publish, until
 *     the one at fault is found and goes into quarantine. A session that breaks, or an acknowledgement that
 *     does not come, three times with the same record unacknowledged ends the same way.
 * (3) Nothing new is sent; ends when the window is empty, or after FG_LINK_DRAIN_MS. A renewal, or a
 *     plugin that has got other credentials, goes from here to CONNECTING.
 * (4) Where HTTP carries the session meanwhile (http_carrier.h), once that has let go of it: until then
 *     nothing is read.
 *
 * What came down is not acknowledged before what it has brought about is on disk (hold.h), in DRAINING
 * neither; meanwhile the session writes nothing. When that cannot be written, or takes longer than the
 * link's ack_timeout, the session ends instead, and the cloud sends it again.
 */
#include "cloud/address.h"
#include "cloud/hold.h"
#include "cloud/http_carrier.h"
#include "net/http_client.h"
#include "net/mqtt_client.h"
#include "util/backoff.h"
#include "util/complaint.h"

enum fg_link_state {
	FG_LINK_STOPPED,
	FG_LINK_CONNECTING,
	FG_LINK_ONLINE,
	FG_LINK_DRAINING,
	FG_LINK_BACKOFF,
};

/** What all sessions of a link have in common; belongs to the link. */
struct fg_session_common {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_journal *journal;
	struct fg_timekeeper *timekeeper;
	const struct fg_cloud_config *config;
	const struct fg_plugin *plugin;
	void *ctx; /* the plugin's */
	struct fg_tls *tls;
	struct fg_http *http; /* NULL: there is no fallback */
	struct fg_outbox *outbox;
	const struct fg_cursor *cursor;          /* of the main lane, for the log */
	unsigned mqtt_version;                   /* of the next attempt */
	bool is_version_proven;                  /* a session with it has been up */
	uint64_t n_sessions;                     /* successful CONNECTs */
	unsigned n_online;                       /* by MQTT */
	unsigned n_by_http;                      /* … and that HTTP carries */
	struct fg_store *stores[FG_HOLD_STORES]; /* what receive() may change; or NULL */
	struct fg_cloud_session *receiving; /* whose message the plugin looks at now, or NULL */
	struct fg_complaint attempt_complaint, refusal_complaint, takeover_complaint,
		nonsense_complaint, http_complaint;
	/* There may be something to send, or room for it. */
	void (*pump)(void *arg);
	void *arg;
};

struct fg_cloud_session;

/** Make the session of field device @device (empty: the link's only one), and @client_id for a plugin
 * that does not care. On success the caller owns *@ret. Returns 0 or as fg_outbox_session_open(). */
int fg_cloud_session_new(struct fg_session_common *common, struct fg_span device,
			 const char *client_id, uint64_t seed, struct fg_cloud_session **ret);

/** Release at once, whatever the state. Takes NULL. */
struct fg_cloud_session *fg_cloud_session_free(struct fg_cloud_session *s);

/** Begin to connect. */
void fg_cloud_session_start(struct fg_cloud_session *s);

/** Settle what is in flight, disconnect, end in STOPPED; @stopped is called then (maybe at once). */
void fg_cloud_session_stop(struct fg_cloud_session *s, void (*stopped)(void *arg), void *arg);

/** End where it is; nothing is sent or received any more. For a plugin that is broken. */
void fg_cloud_session_halt(struct fg_cloud_session *s);

/** In good order, and connect anew. */
void fg_cloud_session_renew(struct fg_cloud_session *s, const char *why);

/**
 * Send what the outbox made for this session and tell the outbox. Returns false when nothing more can
 * be sent on it now.
 */
bool fg_cloud_session_send(struct fg_cloud_session *s, const struct fg_publish *publish,
			   int64_t now_ms);

/** SUBSCRIBE. Returns 0 or as fg_mqtt_client_subscribe(). */
int fg_cloud_session_subscribe(struct fg_cloud_session *s, const char *filter, unsigned qos);

/** Within the plugin's receive(): the PUBACK waits for the commit @ticket. */
void fg_cloud_session_hold(struct fg_cloud_session *s, uint64_t ticket);

/** Within the plugin's receive(): the PUBACK must not go out; the session ends, so that the cloud
 * sends it again. */
void fg_cloud_session_give_back(struct fg_cloud_session *s, const char *why);

/** The journal has committed up to @ticket. */
void fg_cloud_session_committed(struct fg_cloud_session *s, uint64_t ticket);

/** As fg_link_clock_set(). */
void fg_cloud_session_clock_set(struct fg_cloud_session *s, bool is_learnt);

enum fg_link_state fg_cloud_session_state(const struct fg_cloud_session *s);
const char *fg_cloud_session_name(const struct fg_cloud_session *s);

/** Does the cloud call its device otherwise by now, or not get it any more? It has to be stopped then,
 * and another one takes its place: see fg_outbox_session_is_outdated(). */
bool fg_cloud_session_is_outdated(const struct fg_cloud_session *s);

/** Was it stopped, and has come to its end? */
bool fg_cloud_session_has_stopped(const struct fg_cloud_session *s);
struct fg_span fg_cloud_session_device(const struct fg_cloud_session *s);

/** How its last attempt or session ended, while it is not online; or NULL. *@ret_retry_ms: until the next
 * attempt, in FG_LINK_BACKOFF; else 0. */
const char *fg_cloud_session_why(const struct fg_cloud_session *s, int64_t *ret_retry_ms);

/** Where it connects to, or did last; of no host when it has not yet. */
const struct fg_address *fg_cloud_session_address(const struct fg_cloud_session *s);
