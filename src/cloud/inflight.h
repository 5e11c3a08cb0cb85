#pragma once

/*
 * In-flight window: the QoS 1 publishes a session has sent and its cloud has not acknowledged, in the
 * order sent. PUBACKs may come back in any order, but mostly come in that one. It allocates only in
 * fg_inflight_new().
 */
#include <stddef.h>
#include <stdint.h>

struct fg_inflight;

/** One publish on its way. */
struct fg_inflight_entry {
	int packet_id;
	uint8_t lane;
	uint16_t records; /* the first of those that travel in it (ledger.h); 0: the plugin's own */
	uint32_t n_records; /* how many */
	size_t bytes;       /* of the payload: libmosquitto keeps a copy */
	uint64_t tag;       /* the plugin's */
	int64_t sent_ms;    /* monotonic */
	uint64_t number;    /* of the publish, counted by whoever sends */
};

/**
 * Create a window of at most @limit publishes (1..65535; the Receive Maximum of MQTT 5, 4.9).
 * On success the caller owns *@ret_inflight and releases it with fg_inflight_free().
 *
 * Returns 0, -EINVAL or -ENOMEM.
 */
int fg_inflight_new(unsigned limit, struct fg_inflight **ret_inflight);
struct fg_inflight *fg_inflight_free(struct fg_inflight *w);

/** Returns 0 or -EAGAIN when the window is full. */
int fg_inflight_add(struct fg_inflight *w, const struct fg_inflight_entry *entry);

/**
 * Take a PUBACK (MQTT 3.1.1, 4.3.2) for @packet_id: the publish leaves the window.
 * Returns 0 and the entry, or -ENOENT when @packet_id is not in the window.
 */
int fg_inflight_ack(struct fg_inflight *w, int packet_id, struct fg_inflight_entry *ret_entry);

unsigned fg_inflight_count(const struct fg_inflight *w);

/** Payload bytes on their way. */
size_t fg_inflight_bytes(const struct fg_inflight *w);

/** The entry that was sent first, or NULL; and the same among those that carry records. */
const struct fg_inflight_entry *fg_inflight_oldest(const struct fg_inflight *w);
const struct fg_inflight_entry *fg_inflight_oldest_data(const struct fg_inflight *w);
