#pragma once

/*
 * Events: what IoTDA and a gateway tell each other that is neither data nor a command. Both ways they
 * have one form, on events/up and events/down:
 *
 *	{"object_device_id":"…","services":[{"service_id":"$sub_device_manager","event_type":"…",
 *	"event_time":"20260315T092653Z","event_id":"…","paras":{…}}]}
 *
 * events.c reads what comes down and hands each entry to the file its service belongs to.
 */
#include "text.h"

struct hw;
struct hw_call;

/* What stands behind the paras of an event going up. */
#define HW_EVENT_TAIL "}]}"

/* Services, without the '$' that not all who speak IoTDA's language put in front. */
#define HW_SERVICE_MANAGER "sub_device_manager"
#define HW_SERVICE_OTA "ota"
#define HW_SERVICE_TIME_SYNC "time_sync"

/** An event that has come down; borrowed for one call. Nothing in it is to be trusted. */
struct hw_event {
	struct fg_span service; /* without '$' */
	struct fg_span type;
	struct fg_span id;          /* event_id, or empty */
	struct fg_span time;        /* event_time, or empty */
	struct fg_span device;      /* object_device_id, a device id; empty: the connected device */
	struct fg_json_value paras; /* a checked object; an empty one when there is none */
	int64_t now_us;             /* UTC */
};

/** Where an event going up belongs. */
struct hw_event_head {
	const char *service; /* without '$' */
	const char *type;
	const char *device; /* its object_device_id; NULL: the connected device */
	const char *id;     /* event_id; NULL: none */
};

/** Something on events/down. Returns 0, or -EPROTO when an entry makes no sense; others count. */
int hw_event_received(struct hw *hw, const struct fg_delivery *delivery);

/**
 * Begin the publish of an event; the value of "paras" is to be put into *@ret next, then
 * hw_event_end(). Returns 0 or -EINVAL.
 */
int hw_event_begin(const struct hw_call *call, const struct hw_event_head *head,
		   struct fg_text *ret);

/** Returns 1; 0 when it does not fit into a packet. */
int hw_event_end(const struct hw_call *call, struct fg_text *text);
