#pragma once

/*
 * The field devices a gateway session knows: what ThingsBoard has been told about each, and what is
 * under way. Bounded: when the table is full, the device that was silent longest and has nothing
 * under way makes room; it is simply announced again when it speaks again. Memory is allocated when
 * a device is seen for the first time, and when its type changes.
 *
 * Event \ state      UNANNOUNCED  CONNECTING     ANNOUNCED      DISCONNECTING  PAUSED       REFUSED
 * its data           connect →    waits          travels        waits          waits        quarantine
 *                    CONNECTING
 * presence up        connect →    waits          connect →      waits          waits        connect →
 *                    CONNECTING                  CONNECTING                                 CONNECTING
 * presence down      disconnect → waits          disconnect →   waits          waits        disconnect →
 *                    DISCONNECTING               DISCONNECTING                              DISCONNECTING
 * accepted           -            ANNOUNCED      -              UNANNOUNCED    -            -
 * refused            -            UNANNOUNCED,   -              UNANNOUNCED    -            -
 *                                 at last
 *                                 REFUSED
 * the server's       -            PAUSED         PAUSED         -              -            -
 *   notice
 * the pause is over  -            -              -              -              UNANNOUNCED  -
 * the session ends   every state: UNANNOUNCED
 */
#include <stdint.h>

#include "util/span.h"

#define TB_NO_ITEM UINT32_MAX

enum tb_device_state {
	TB_UNANNOUNCED,
	TB_CONNECTING, /* a connect is unsettled: everything of this device waits */
	TB_ANNOUNCED,
	TB_DISCONNECTING, /* a disconnect is unsettled: everything of this device waits */
	TB_PAUSED,        /* the server has thrown it out: everything waits a while */
	TB_REFUSED,       /* its connect was refused for good in this session */
};

/** Lines a device may stand in, at most once in each. */
enum tb_line {
	TB_LINE_ANNOUNCE, /* to be connected, or disconnected, for its own sake */
	TB_LINE_ASK,      /* to be asked about, or kept alive */
	TB_LINE_PAUSED,   /* in order of `resume_s` */
	TB_LINE_SPOKEN,   /* announced; in order of `spoke_s` */
	TB_N_LINES,
};

/** The messages of one device in the publish being made, in the order they will have in it. */
struct tb_group {
	uint32_t first, last;
	uint32_t n_items;
	bool is_disordered; /* by time */
};

struct tb_device {
	struct tb_device *hash_next;
	struct tb_device *older, *newer; /* by last use */
	struct {
		struct tb_device *before, *behind;
		bool is_in;
	} lines[TB_N_LINES];
	uint32_t slot;
	uint64_t hash;

	enum tb_device_state state;
	bool is_live;       /* announce it again in the next session */
	bool is_away;       /* its last presence said so: it is announced to be answered for only */
	bool was_announced; /* accepted once: no quota of devices can be in its way */
	bool wants_fetch;   /* in TB_LINE_ASK for its shared attributes, not to be kept alive */
	uint8_t n_unanswered; /* fetches in this session */
	unsigned n_refusals;
	unsigned n_quota_refusals;
	unsigned refusal_code;   /* MQTT 5, 3.4.2.1 */
	bool was_over_quota;     /* not waited for again */
	uint64_t control_serial; /* of the unsettled connect or disconnect */
	uint64_t last_flight;    /* serial of the last data publish it was in */
	uint32_t spoke_s;        /* uptime at its last publish */
	uint32_t resume_s;       /* TB_PAUSED: uptime at which it ends */
	uint64_t newest_seq;     /* of what was sent, and its time: see announce.c */
	int64_t newest_us;
	char *type; /* inside of a JSON string; NULL: the configured one */

	/* the encode() call under way; void unless `call` is its number */
	uint64_t call;
	bool is_blocked; /* what follows waits, so that the order is kept */
	struct tb_group group;
	struct tb_device *next_group;

	size_t quoted_size; /* of the name as a JSON string */
	size_t name_size;
	char name[];
};

struct tb_devices;

/** A table for at most @max devices. The caller releases it. Returns 0 or -ENOMEM. */
int tb_devices_new(uint32_t max, struct tb_devices **ret_devices);
struct tb_devices *tb_devices_free(struct tb_devices *devices);

/** The device called @name, or NULL. Counts as a use. */
struct tb_device *tb_devices_find(struct tb_devices *devices, struct fg_span name);

/**
 * Add @name, which must not be there yet. `spare` says whether a device may make room.
 * Returns 0, -ENOMEM, or -EAGAIN when the table is full and none may.
 */
int tb_devices_add(struct tb_devices *devices, struct fg_span name,
		   bool (*spare)(const void *arg, const struct tb_device *device), const void *arg,
		   struct tb_device **ret_device);

/** Take @device out of the table, and release it. */
void tb_devices_forget(struct tb_devices *devices, struct tb_device *device);

/** The device in @slot, or NULL; slots run from 0 to tb_devices_slots() - 1. */
struct tb_device *tb_devices_at(const struct tb_devices *devices, uint32_t slot);
uint32_t tb_devices_slots(const struct tb_devices *devices);

/** Put @device at the end of @line, also when it stands in it already; or take it out. */
void tb_line_enter(struct tb_devices *devices, enum tb_line line, struct tb_device *device);
void tb_line_leave(struct tb_devices *devices, enum tb_line line, struct tb_device *device);

/** Who stands first in @line, or NULL. */
struct tb_device *tb_line_first(const struct tb_devices *devices, enum tb_line line);

/** Remember @type (the inside of a JSON string), or none when it is empty. Returns 0 or -ENOMEM. */
int tb_device_set_type(struct tb_device *device, struct fg_span type);

static inline struct fg_span tb_device_name(const struct tb_device *device)
{
	return fg_span_of(device->name, device->name_size);
}
