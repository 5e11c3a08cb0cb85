#pragma once

/*
 * What carries a session of a link while MQTT is blocked: signs in by HTTP and sends one publish at a
 * time as a request, so that the order of each device stays. Shares the session of the outbox with
 * MQTT; only one of the two has it at a time. Nothing comes down this way.
 *
 * Each sign-in begins a session of the outbox, and each failure ends it: what was under way is sent
 * again. Only the plugin knows what a sign-in is, and what an answer means.
 *
 * state \ event | need()     | over     | signed in | answer    | no answer | renewal    | stop()
 * --------------+------------+----------+-----------+-----------+-----------+------------+---------
 * IDLE          | WAITING(1) | -        | -         | -         | -         | -          | told (6)
 * WAITING       | -          |SIGNING_IN| -         | -         | -         | -          | IDLE
 * SIGNING_IN    | -          | -        | UP (2)    | -         | BACKOFF   | -          | IDLE
 * UP            | -          | -        | -         | settle (3)| BACKOFF   | RENEWING(4)| DRAINING
 * RENEWING      | -          | -        | -         | SIGNING_IN| BACKOFF   | -          | DRAINING
 * BACKOFF       | -          |SIGNING_IN| -         | -         | -         | -          | IDLE
 * DRAINING      | -          | IDLE (5) | -         | IDLE      | IDLE      | -          | -
 *
 * (1) Until MQTT has been missing for `fallback.after`; SIGNING_IN at once when it has. Back to IDLE
 *     when MQTT turns out not to be blocked: fg_http_carrier_hold_off().
 * (2) BACKOFF when the sign-in is refused: for long, when that is for the credentials.
 * (3) FG_SIGN_IN: SIGNING_IN. When the first answer after that says so again: BACKOFF, for long; it may
 *     be the record's fault, as when sessions break on one.
 * (4) SIGNING_IN at once when nothing is under way, and so does DRAINING go to IDLE.
 * (5) After FG_LINK_DRAIN_MS what is under way is given up.
 * (6) The one who asked to stop is told when the state is IDLE, maybe at once. Nothing is under way then.
 */
#include "cloud/outbox.h"

#define FG_LINK_DRAIN_MS 3000

struct fg_http_carrier;
struct fg_session_common;

/** @label: for the log; outlives the carrier, and so do the others. Returns 0 or -ENOMEM. */
int fg_http_carrier_new(struct fg_session_common *common, struct fg_outbox_session *out,
			const char *label, uint64_t seed, struct fg_http_carrier **ret);

/** Release at once, whatever the state. Takes NULL; returns NULL. All below take NULL, too. */
struct fg_http_carrier *fg_http_carrier_free(struct fg_http_carrier *c);

/** MQTT was there until now. */
void fg_http_carrier_mqtt_lost(struct fg_http_carrier *c);

/** MQTT is not there. */
void fg_http_carrier_need(struct fg_http_carrier *c);

/** MQTT is not blocked, the cloud refuses us there: no reason to begin. */
void fg_http_carrier_hold_off(struct fg_http_carrier *c);

/** Settle what is under way, and end. Returns true when nothing is; else @stopped is called then. */
bool fg_http_carrier_stop(struct fg_http_carrier *c, void (*stopped)(void *arg), void *arg);

/** End where it is: as fg_http_carrier_stop(), but without waiting; nobody is told. */
void fg_http_carrier_halt(struct fg_http_carrier *c);

/** The time is known now: what failed may have failed for it. */
void fg_http_carrier_clock_set(struct fg_http_carrier *c);

/** Is the outbox's session its? */
bool fg_http_carrier_is_up(const struct fg_http_carrier *c);

/** Send what the outbox made and tell the outbox. Returns false when nothing can be sent now. */
bool fg_http_carrier_send(struct fg_http_carrier *c, const struct fg_publish *publish,
			  int64_t now_ms);
