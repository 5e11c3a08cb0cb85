#pragma once

/*
 * The field devices a gateway session knows: what ThingsBoard has been told about each, and what is
 * under way. Bounded: when the table is full, the device that was silent longest and has nothing
 * under way makes room; it is simply announced again when it speaks again. Memory is allocated when
 * a device is seen for the first time, and when its type changes.
 */
#include <stdint.h>

#include "util/span.h"

#define TB_NO_ITEM UINT32_MAX

enum tb_device_state {
	TB_UNANNOUNCED,
	TB_CONNECTING, /* a connect is unsettled: everything of this device waits */
	TB_ANNOUNCED,
	TB_DISCONNECTING, /* a disconnect is unsettled: everything of this device waits */
	TB_REFUSED,       /* its connect was refused for good in this session */
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
	uint32_t slot;
	uint32_t hash;

	enum tb_device_state state;
	bool is_live;       /* announce it again in the next session */
	bool was_announced; /* accepted once: no quota of devices can be in its way */
	bool is_due;        /* it was live in the last session, and was not announced in this one */
	unsigned n_refusals;
	unsigned n_quota_refusals;
	unsigned refusal_code;   /* MQTT 5, 3.4.2.1 */
	bool was_over_quota;     /* not waited for again */
	uint64_t control_serial; /* of the unsettled connect or disconnect */
	uint64_t last_flight;    /* serial of the last data publish it was in */
	uint64_t newest_seq;     /* of what was sent: an older presence message is out of date */
	char *type;              /* inside of a JSON string; NULL: the configured one */

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

/** The device in @slot, or NULL; slots run from 0 to tb_devices_slots() - 1. */
struct tb_device *tb_devices_at(const struct tb_devices *devices, uint32_t slot);
uint32_t tb_devices_slots(const struct tb_devices *devices);

/** Remember @type (the inside of a JSON string), or none when it is empty. Returns 0 or -ENOMEM. */
int tb_device_set_type(struct tb_device *device, struct fg_span type);
