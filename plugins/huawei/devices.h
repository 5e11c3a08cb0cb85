#pragma once

/*
 * The sub-devices a gateway has heard of, and what IoTDA is told of each: it keeps a sub-device's
 * status as the gateway says, whatever happens to the gateway. The table is bounded and forgets
 * nobody; for devices beyond it no status is told. Memory is allocated once, and used as devices come.
 *
 * A device is *untold* while what it is differs from what IoTDA was told in this session.
 */
#include <stdbool.h>
#include <stdint.h>

#include "sign_in.h"
#include "util/span.h"

enum hw_status { HW_STATUS_NONE, HW_ONLINE, HW_OFFLINE };

struct hw_device {
	uint32_t hash_next; /* place + 1; 0 ends it */
	uint8_t name_size;
	uint8_t is, told; /* enum hw_status; `told` in this session */
	uint64_t seq;     /* of the message that said so last */
	uint64_t call;    /* encode() call in which what follows has to wait */
	char name[HW_DEVICE_ID_MAX];
};

struct hw_devices {
	struct hw_device *all; /* max */
	uint32_t *buckets;     /* place + 1; 0: none */
	uint32_t bucket_mask;
	uint32_t n, max;
	uint32_t n_untold, next_untold; /* how many; where to look first */
};

/** Room for @max sub-devices. Returns 0 or -ENOMEM. */
int hw_devices_open(struct hw_devices *devices, uint32_t max);
void hw_devices_close(struct hw_devices *devices);

/** The device called @name (at most HW_DEVICE_ID_MAX bytes), or NULL when the table is full. */
struct hw_device *hw_devices_get(struct hw_devices *devices, struct fg_span name);

/** @device is @status, as message @seq says; nothing happens when a later one has spoken. */
void hw_device_is(struct hw_devices *devices, struct hw_device *device, enum hw_status status,
		  uint64_t seq);

/** IoTDA is told so by now. */
void hw_device_told(struct hw_devices *devices, struct hw_device *device);

/** One that is untold, or NULL. */
struct hw_device *hw_devices_untold(struct hw_devices *devices);

/** The session has ended: everything is to be told anew. */
void hw_devices_forget_told(struct hw_devices *devices);

static inline struct fg_span hw_device_name(const struct hw_device *device)
{
	return fg_span_of(device->name, device->name_size);
}
