#pragma once

/*
 * The sub-devices a gateway has heard of, from the field or from IoTDA: what IoTDA calls each, how it
 * stands there, and what IoTDA is told of it, which it keeps on showing whatever happens to the gateway.
 * The table is bounded and forgets nobody; devices beyond it go by the rule (ids.c), and no status of
 * them is told. Memory is allocated once and used as devices come, but for ids that are not by the rule.
 *
 * A device is *untold* while what it is differs from what IoTDA was told in this session.
 *
 * Event \ standing     UNHEARD        WANTED        ASKED          KNOWN      FAILED     DELETED
 * its data             auto_add:      waits, or     waits, or      travels    quarantine quarantine
 *                      WANTED;        quarantine    quarantine
 *                      else travels
 * a request is made    -              ASKED         -              -          -          -
 * named by IoTDA       KNOWN          KNOWN         KNOWN          KNOWN      KNOWN      KNOWN
 * not added by IoTDA   -              -             FAILED         -          FAILED     -
 * not in the answer    -              -             FAILED         -          -          -
 * no answer            -              -             WANTED (1)     -          -          -
 * time to try again    -              -             -              -          WANTED     -
 * deleted in IoTDA     DELETED        DELETED       DELETED        DELETED    DELETED    -
 *   ... and recreated  UNHEARD        WANTED        ASKED          UNHEARD    UNHEARD    -
 * the session ends     -              -             WANTED         -          WANTED (2) -
 *
 * (1) After several times in a row FAILED. (2) Of whom no answer has told; as if nothing had failed.
 *
 * Data waits while nothing has failed: see adding.c and topology.c.
 */
#include <stdbool.h>
#include <stdint.h>

#include "sign_in.h"
#include "util/span.h"

enum hw_status { HW_STATUS_NONE, HW_ONLINE, HW_OFFLINE };

/** How a sub-device stands in IoTDA, as far as is known here. */
enum hw_standing {
	HW_UNHEARD, /* IoTDA has not spoken of it */
	HW_WANTED,  /* it shall be added */
	HW_ASKED,   /* a request to add it is on its way */
	HW_KNOWN,   /* IoTDA has named it */
	HW_FAILED,  /* IoTDA has not taken it, or not answered; it is tried again at retry_s */
	HW_DELETED, /* by somebody in IoTDA */
	HW_N_STANDINGS,
};

#define HW_ERROR_CODE_SIZE 24

/** Who is to be told of, or asked for. A device stands in one queue at most: as long as it is wanted,
 * there is nothing to tell of it. */
enum hw_queue_name { HW_QUEUE_NONE, HW_QUEUE_UNTOLD, HW_QUEUE_WANTED, HW_N_QUEUES };

struct hw_queue {
	uint32_t first, last, n; /* place + 1; 0: none */
};

struct hw_device {
	uint32_t hash_next, id_next; /* place + 1; 0 ends it */
	uint32_t before, after;      /* in its queue; as above */
	uint8_t queue;               /* enum hw_queue_name */
	uint8_t name_size;
	uint8_t is, told; /* enum hw_status; `told` in this session */
	uint8_t standing; /* enum hw_standing */
	bool is_stranger; /* by HTTPS IoTDA has said so, in this session */
	bool is_shown; /* online by IoTDA, as the last run has told it; not heard of in this one */
	uint8_t n_failures;
	uint32_t retry_s;                    /* HW_FAILED: uptime */
	char error_code[HW_ERROR_CODE_SIZE]; /* of the last failure; empty: no answer came */
	char *id;      /* as IoTDA calls it, where that is not by the rule; else NULL */
	uint64_t seq;  /* of the message of the main lane that said last what it is; 0: none */
	uint64_t call; /* encode() call in which what follows has to wait */
	char name[HW_DEVICE_ID_MAX];
};

struct hw_devices {
	struct hw_device *all; /* max; NULL: there is no table */
	uint32_t *buckets;     /* by name; place + 1; 0: none */
	uint32_t *id_buckets;  /* by id, of those that have one */
	uint32_t n_ids;        /* how many have */
	uint32_t bucket_mask;
	uint64_t seed; /* so that nobody can choose names that collide */
	uint32_t n, max;
	struct hw_queue queues[HW_N_QUEUES];
	uint32_t n_standing[HW_N_STANDINGS];
	bool adds; /* only what IoTDA has named has a status */
};

/** Room for @max sub-devices. Returns 0 or -ENOMEM. */
int hw_devices_open(struct hw_devices *devices, uint32_t max, bool adds);
void hw_devices_close(struct hw_devices *devices);

/** The device called @name (at most HW_DEVICE_ID_MAX bytes), or NULL. */
struct hw_device *hw_devices_find(const struct hw_devices *devices, struct fg_span name);

/** The same; it is added when it is not there. NULL when the table is full. */
struct hw_device *hw_devices_get(struct hw_devices *devices, struct fg_span name);

/** The device IoTDA calls @id although that is not by the rule, or NULL. */
struct hw_device *hw_devices_find_id(const struct hw_devices *devices, struct fg_span id);

/** IoTDA calls it @id; empty: as is the rule. When that is another one than before, nothing was told of
 * it. Returns 0 or -ENOMEM. */
int hw_device_set_id(struct hw_devices *devices, struct hw_device *device, struct fg_span id);

void hw_device_enter(struct hw_devices *devices, struct hw_device *device,
		     enum hw_standing standing);

/** The one that has been HW_WANTED for longest, or NULL. */
struct hw_device *hw_devices_wanted(const struct hw_devices *devices);

/** @device is @status, as message @seq says; nothing happens when a later one has spoken. */
void hw_device_is(struct hw_devices *devices, struct hw_device *device, enum hw_status status,
		  uint64_t seq);

/** IoTDA is told so by now. */
void hw_device_told(struct hw_devices *devices, struct hw_device *device);

/** The one that has been untold for longest, or NULL. */
struct hw_device *hw_devices_untold(const struct hw_devices *devices);

/** The session has ended: everything is to be told and asked anew. */
void hw_devices_forget_session(struct hw_devices *devices);

static inline struct fg_span hw_device_name(const struct hw_device *device)
{
	return fg_span_of(device->name, device->name_size);
}
