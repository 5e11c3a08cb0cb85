#pragma once

/*
 * What field devices have asked clouds for (attributes, a call, a claim) and wait for: where the
 * answer goes. A request travels up as a message with a reference; the answer that comes down with
 * it is published for the device. One that nobody answers in time is answered here. Not kept over a
 * restart: the device asks again.
 *
 * state \ event | answer         | time is up         | restart
 * --------------+----------------+--------------------+--------
 * OPEN          | publish, close | publish why, close | gone
 * (none)        | dropped        |         -          |    -
 */
#include <stdbool.h>

#include "net/mqtt_client.h"

#define FG_REQUESTS_MAX 1024
/* Of one device, so that it leaves places for the others. */
#define FG_REQUESTS_OF_DEVICE 64
#define FG_REQUEST_REF_MAX 32
/* Of topic and correlation data together. */
#define FG_REQUEST_TEXT_MAX 512

struct fg_requests;

struct fg_requests_options {
	/* Publish on @broker; a request whose answer cannot be sent is over all the same. */
	int (*publish)(void *arg, const char *broker, const struct fg_mqtt_publish *publish);
	void *arg;
};

/** Whose answer goes where. */
struct fg_request {
	struct fg_span device; /* at most 255 bytes */
	const char *broker;    /* lives as long as the daemon */
	struct fg_span response_topic;
	struct fg_span correlation; /* MQTT 5, or empty */
	int64_t timeout_ms;
};

/** On success the caller owns *@ret. Returns 0 or -ENOMEM. */
int fg_requests_new(const struct fg_requests_options *options, struct fg_requests **ret);
struct fg_requests *fg_requests_free(struct fg_requests *r);

/**
 * A device asks. On success its reference is written to @ref (FG_REQUEST_REF_MAX, NUL-terminated).
 * Returns 0, -EINVAL (no topic to answer on, or texts too long), or -EBUSY (FG_REQUESTS_MAX are
 * open, or FG_REQUESTS_OF_DEVICE of this device).
 */
int fg_requests_open(struct fg_requests *r, const struct fg_request *request, int64_t now_ms,
		     char *ref);

/** Forget it: it was not journalled. */
void fg_requests_cancel(struct fg_requests *r, const char *ref);

/** Does anybody still wait for @ref? */
bool fg_requests_is_open(const struct fg_requests *r, struct fg_span ref);

/** The answer: @body as of a FG_COMMAND_RESPONSE. Unknown references are ignored. */
void fg_requests_answer(struct fg_requests *r, struct fg_span ref, struct fg_span body);

/** Now and then: answer what has waited for too long. */
void fg_requests_tick(struct fg_requests *r, int64_t now_ms);
