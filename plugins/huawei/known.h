#pragma once

/*
 * What sub-devices said last: for each property of each service the value that went to IoTDA in a report.
 * IoTDA asks a gateway for properties, and a device that sleeps, or that nobody can ask, has an answer all
 * the same.
 *
 * Later is what the journal numbered higher, whatever order messages are sent in and whatever clock stamped
 * them. What was in the lane that overtakes has no number to compare: it is the last one so far. Memory is bounded, grows with what is kept, and is not asked for while values keep their size: a
 * service beyond its bound is not kept, nor is a property beyond HW_KNOWN_SERVICE_MAX of its service. It
 * is memory alone: after a restart a value is known once it is reported anew.
 */
#include "common/text.h"
#include "model/json.h"

/* Of one service: bytes. */
#define HW_KNOWN_SERVICE_MAX ((size_t)16 << 10)

struct hw_known;

/** At most @max bytes are kept, names included. The caller owns *@ret, and releases it with
 * hw_known_close(). Returns 0 or -ENOMEM. */
int hw_known_open(size_t max, struct hw_known **ret);

/** Takes NULL. */
void hw_known_close(struct hw_known *known);

/** Message @seq (0: without a number), stamped @time_us (UTC), reports @properties, a checked object, of @service of @device. NaN
 * and Infinity are no values. */
void hw_known_note(struct hw_known *known, struct fg_span device, struct fg_span service,
		   uint64_t seq, int64_t time_us, struct fg_json_value properties);

/**
 * The services of @device, or @service alone unless that is empty, as elements of an array:
 * {"service_id":"env","properties":{"t":21.5},"event_time":"20260315T092653Z"}. A service's time is that of
 * its latest message. What does not fit is left out.
 */
void hw_known_put(const struct hw_known *known, struct fg_span device, struct fg_span service,
		  bool has_milliseconds, struct fg_text *text);

/** Is something not kept for lack of room? */
bool hw_known_is_full(const struct hw_known *known);
