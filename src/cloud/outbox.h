#pragma once

/*
 * What a link has to send, and what became of it. Reads records with the link's cursor, has the
 * plugin make publishes of them, keeps the in-flight window, and moves the cursor's watermark
 * behind the lowest record that is not settled. Knows nothing of sockets: the link sends what
 * fg_outbox_next() gives it and reports back.
 *
 * A record is settled when its publish was acknowledged, when the plugin has nothing to send for
 * it, when the link does not get its device, or when it is in quarantine and on disk there.
 *
 * A record whose time is not known, and all behind it, wait while fg_timekeeper_is_waiting(): they
 * are not even read, since the journal gives each record the best time there is when it is read.
 */
#include "cloud/inflight.h"
#include "config/config.h"
#include "journal/journal.h"
#include "util/complaint.h"
#include "util/timekeeper.h"

struct fg_outbox;

struct fg_outbox_options {
	const char *link_name;
	struct fg_journal *journal;
	struct fg_cursor *cursor;
	struct fg_timekeeper *timekeeper; /* or NULL: nothing waits for the time */
	const struct fg_plugin *plugin;
	void *ctx; /* the plugin's */
	const struct fg_devices_config *devices;
	unsigned max_in_flight; /* publishes */
	unsigned max_unsaved;   /* as given to fg_cursor_open() */
};

struct fg_outbox_stats {
	uint64_t published, records_acked, quarantined, values_dropped;
};

/** The caller owns *@ret and releases it with fg_outbox_free(). Returns 0 or -ENOMEM. */
int fg_outbox_new(const struct fg_outbox_options *options, struct fg_outbox **ret);
struct fg_outbox *fg_outbox_free(struct fg_outbox *o);

/**
 * A session begins: @receive_maximum publishes and @max_packet_bytes (0: no limit) are what the
 * cloud takes.
 */
void fg_outbox_session_begin(struct fg_outbox *o, unsigned receive_maximum,
			     size_t max_packet_bytes);

/**
 * The session is over; what was in flight will be read again. @is_suspicious: the peer ended it, or
 * went silent, so that the oldest record in flight may be the cause.
 */
void fg_outbox_session_end(struct fg_outbox *o, bool is_suspicious);

/**
 * The next publish, if there is one and it may be sent now. It must be followed by fg_outbox_sent()
 * or by fg_outbox_session_end(). Borrowed until the next call. Returns 1, 0 (nothing now), or
 * -EINVAL/-ENOMEM: the plugin is broken.
 */
int fg_outbox_next(struct fg_outbox *o, int64_t now_ms, const struct fg_publish **ret);

/** The publish from fg_outbox_next() is on its way as @packet_id. */
void fg_outbox_sent(struct fg_outbox *o, int packet_id, int64_t now_ms);

/** PUBACK. Unknown packet ids are ignored: ThingsBoard before 4.2.1 sends several for one publish.
 */
void fg_outbox_settled(struct fg_outbox *o, int packet_id, unsigned reason_code, int64_t now_ms);

/** The journal has committed up to @ticket. */
void fg_outbox_committed(struct fg_outbox *o, uint64_t ticket);

/** Monotonic ms at which a pause ends, or 0: call fg_outbox_next() again then. */
int64_t fg_outbox_paused_until(const struct fg_outbox *o);

/** When the oldest publish in flight was sent (monotonic ms), or 0. */
int64_t fg_outbox_oldest_sent(const struct fg_outbox *o);

/**
 * Can the oldest record in flight be to blame when its acknowledgement does not come? Only where
 * the cloud acknowledges other things, or when it did so while this record was not, twice, and it
 * is alone by now.
 */
bool fg_outbox_may_blame(const struct fg_outbox *o);
unsigned fg_outbox_in_flight(const struct fg_outbox *o);
void fg_outbox_get_stats(const struct fg_outbox *o, struct fg_outbox_stats *ret);
