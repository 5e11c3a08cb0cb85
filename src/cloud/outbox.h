#pragma once

/*
 * What a link has to send, and what became of it. Reads records with the link's cursors, one for each
 * lane, has the plugin make publishes of them, keeps the in-flight windows and the pace, and settles
 * records as acknowledgements arrive. Knows nothing of sockets: the link sends what fg_outbox_next()
 * gives it and reports back.
 *
 * A record is settled when its publish was acknowledged, when the plugin has nothing to send for it,
 * when the link does not get its device, or when it is in quarantine and on disk there. What is
 * settled is not sent again while the process lives, with one exception: where every device has a
 * session of its own and one is down, what it had settled behind a record that was not may be sent
 * again, when there is so much of that that it would stop the others. What else a crash may send
 * again of a lane, of all sessions together, is bounded by max_in_flight_records (fg_cursor_may_send()).
 * What such a session has settled behind a record that was not is part of that: so it may go ahead of
 * that record by its share only.
 *
 * The alarm lane goes first. Of each lane the newest records and those further back are read
 * separately (feed.h): `order: live_first` sends both side by side after an outage, and where every
 * device has a session of its own, one that is down falls behind alone and catches up alone.
 *
 * What the plugin leaves (FG_LEFT) holds up nothing behind it, but for attributes and presence that
 * `order: live_first` catches up with: so many of these may wait behind one that was left. It is read
 * again when the plugin says so, with all that follows it and was not sent, and by the next session. So
 * many of a lane may be left that a cursor on disk can tell of them. Where devices have sessions, one
 * that was left before a crash may be sent once more than promised, and before an older one.
 *
 * How many sessions may be behind the journal bounds. When there is no place for another one, the rest
 * waits for a minute at most; then records of those without a place go into quarantine, unless nobody
 * is up.
 *
 * A record whose time is not known, and all behind it, wait while fg_timekeeper_is_waiting(): they
 * are not even read, since the journal gives each record the best time there is when it is read.
 */
#include "config/config.h"
#include "journal/journal.h"
#include "util/timekeeper.h"

struct fg_names;
struct fg_outbox;

/**
 * One session of the link, by MQTT or HTTP: of a plugin without sessions for devices the only one,
 * called "". Else it belongs to a field device and has the cloud's name for that, which may change; on
 * disk only the device counts.
 */
struct fg_outbox_session;

struct fg_outbox_options {
	const struct fg_cloud_config
		*config; /* outlives the outbox: name, devices, windows, order, rates */
	struct fg_journal *journal;
	struct fg_cursor *cursors[FG_N_CURSOR_LANES]; /* open; closed after fg_outbox_free() */
	const struct fg_names *names;     /* outlives the outbox; or NULL: as @config says */
	struct fg_timekeeper *timekeeper; /* or NULL: nothing waits for the time */
	const struct fg_plugin *plugin;
	void *ctx;                /* the plugin's */
	bool has_device_sessions; /* as the plugin says */
	/*
	 * There is something to send for field device @device, and nobody has opened its session. It
	 * may be opened right here. Comes again with the next record for it. NULL for plugins without
	 * such sessions.
	 */
	void (*wanted)(void *arg, struct fg_span device);
	/* Does anybody still wait for the answer to request @ref? One that nobody waits for is not
	 * sent. NULL: somebody does. */
	bool (*is_awaited)(void *arg, struct fg_span ref);
	void *arg;
};

struct fg_outbox_stats {
	uint64_t published, records_acked, quarantined, values_dropped;
	uint64_t stale_requests; /* not sent, since their device has given up waiting */
	uint64_t behind; /* sessions that others did not wait for, and that have not caught up */
};

/** The caller owns *@ret and releases it with fg_outbox_free(). Returns 0 or -ENOMEM. */
int fg_outbox_new(const struct fg_outbox_options *options, struct fg_outbox **ret);

/** Releases its sessions, too. Takes NULL; returns NULL. */
struct fg_outbox *fg_outbox_free(struct fg_outbox *o);

/* ---- sessions */

/**
 * The link will try to have the session of field device @device up; the only one's is empty. It is not up
 * yet. The outbox owns *@ret until fg_outbox_session_close(). Returns 0, -EEXIST, -ENOMEM, or -EINVAL:
 * the cloud does not get this device, or calls another one so.
 */
int fg_outbox_session_open(struct fg_outbox *o, struct fg_span device,
			   struct fg_outbox_session **ret);

/**
 * The link does not care for this session any more. What it has to send stays in the journal, unless the
 * cloud does not get its device any more: then that is settled. Takes NULL; returns NULL.
 */
struct fg_outbox_session *fg_outbox_session_close(struct fg_outbox_session *s);

/** As it was when it was opened. */
const char *fg_outbox_session_name(const struct fg_outbox_session *s);
struct fg_span fg_outbox_session_device(const struct fg_outbox_session *s);

/** Does the cloud call its device otherwise by now, or not get it any more? Then nothing new is sent on
 * it: it has to be closed, and may be opened again under the other name. */
bool fg_outbox_session_is_outdated(const struct fg_outbox_session *s);

/** For the link's own use: what was set last, NULL at first. */
void fg_outbox_session_set_owner(struct fg_outbox_session *s, void *owner);
void *fg_outbox_session_owner(const struct fg_outbox_session *s);

/**
 * The session is up. @receive_maximum publishes and @max_packet_bytes (0: no limit) are what the
 * cloud takes. @is_setup: only the plugin's own publishes go out.
 */
void fg_outbox_session_begin(struct fg_outbox_session *s, unsigned receive_maximum,
			     size_t max_packet_bytes, bool is_setup);

/** The same for a session that HTTP carries: one request at a time, of at most @max_body_bytes. */
void fg_outbox_session_begin_http(struct fg_outbox_session *s, size_t max_body_bytes);

/** It is about to end: what is in flight is waited for, and nothing new is sent on it. */
void fg_outbox_session_drain(struct fg_outbox_session *s);

/**
 * It is over, or was not up at all; what was in flight is sent again later. @is_suspicious: the peer
 * ended it, or went silent, so that the oldest record in flight may be the cause.
 */
void fg_outbox_session_end(struct fg_outbox_session *s, bool is_suspicious);

/** The plugin may have something to say on @s, or on any session when NULL: something has come down, a
 * timer has fired. */
void fg_outbox_poke(struct fg_outbox *o, struct fg_outbox_session *s);

/* ---- sending */

/**
 * The next publish, if there is one and it may be sent now, and the session to send it on. It must be
 * followed by fg_outbox_sent() or by fg_outbox_session_end() of that session; until then there is no
 * other. Borrowed until the next call. Returns 1, 0 (nothing now), or -EINVAL/-ENOMEM: the plugin is
 * broken.
 */
int fg_outbox_next(struct fg_outbox *o, int64_t now_ms, struct fg_outbox_session **ret_session,
		   const struct fg_publish **ret);

/** The publish from fg_outbox_next() is on its way as @packet_id. */
void fg_outbox_sent(struct fg_outbox *o, int packet_id, int64_t now_ms);

/** PUBACK. Unknown packet ids are ignored: ThingsBoard before 4.2.1 sends several for one publish.
 */
void fg_outbox_settled(struct fg_outbox_session *s, int packet_id, unsigned reason_code,
		       int64_t now_ms);

/**
 * The answer to a request that carried a publish. @retry_after_ms: how long the cloud asks to be left
 * alone, or negative. Returns the plugin's verdict; with FG_SIGN_IN the session has to end, and the records
 * are sent again by the next one.
 */
enum fg_verdict fg_outbox_answered(struct fg_outbox_session *s, int packet_id, unsigned http_status,
				   struct fg_span http_body, int64_t retry_after_ms,
				   int64_t now_ms);

/**
 * Within the plugin's encode(): message @i of @batch can never be sent, for @reason. What
 * fg_host.refuse() comes to; out of place it does nothing.
 */
void fg_outbox_refuse(struct fg_outbox *o, struct fg_batch *batch, size_t i, const char *reason);

/** The plugin wants what it has left of session @name to be offered again. What fg_host.offer_left() comes
 * to. */
void fg_outbox_offer_left(struct fg_outbox *o, const char *name);

/** The cloud's limits of @scope (below FG_SCOPES), instead of those it had; the configured ones apply
 * beside them. What fg_host.limit() comes to. */
void fg_outbox_limit(struct fg_outbox *o, unsigned scope, enum fg_limit what,
		     const struct fg_rate *rates, size_t n);

/** The journal has committed up to @ticket. */
void fg_outbox_committed(struct fg_outbox *o, uint64_t ticket);

/** Monotonic ms at which fg_outbox_next() shall be called again though nothing has happened, or 0. May
 * be in the past: soon, then. */
int64_t fg_outbox_paused_until(const struct fg_outbox *o);

/**
 * What the cloud calls devices, or which of them it gets, has changed; or a session of a name that another
 * one waits for was closed. Sessions may be outdated now. Not within encode().
 */
void fg_outbox_names_changed(struct fg_outbox *o);

/* ---- asking */

/** When the oldest publish in flight was sent (monotonic ms), or 0. */
int64_t fg_outbox_oldest_sent(const struct fg_outbox_session *s);

/**
 * Can the oldest record in flight be to blame when its acknowledgement does not come? Only where
 * the cloud acknowledges other things, or when it did so while this record was not, twice, and it
 * is alone by now.
 */
bool fg_outbox_may_blame(const struct fg_outbox_session *s);

/** Publishes in flight. */
unsigned fg_outbox_in_flight(const struct fg_outbox_session *s);
void fg_outbox_get_stats(const struct fg_outbox *o, struct fg_outbox_stats *ret);
