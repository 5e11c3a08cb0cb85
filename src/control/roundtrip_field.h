#pragma once

/*
 * A client at the field broker for a round trip: publishes as a device would, and listens to what
 * passes between gateway and device. Its functions turn the loop until they are done: for
 * fieldgatectl, which has nothing else to do.
 */
#include <ev.h>

#include "config/config.h"
#include "net/mqtt_client.h"
#include "util/error.h"

struct fg_field;

/** Turn @loop until *@done is true. Returns 0 or -ETIMEDOUT after @ms. */
int fg_patience_wait(struct ev_loop *loop, const bool *done, int64_t ms);

/** Microseconds on a clock that never steps. */
int64_t fg_patience_now_us(void);

/** Called for each message that arrives; it may publish. */
typedef void (*fg_field_arrived)(void *arg, const struct fg_mqtt_message *m);

/**
 * Connect to @broker within @timeout_ms, with the credentials of the configuration and a client id
 * of its own. On success the caller owns *@ret. Returns 0 or a negative errno with a sentence.
 */
int fg_field_open(struct ev_loop *loop, struct fg_connector *connector,
		  const struct fg_broker_config *broker, int64_t timeout_ms,
		  fg_field_arrived arrived, void *arg, struct fg_field **ret, struct fg_error *err);

/** Say goodbye to the broker, and release. Takes NULL. */
struct fg_field *fg_field_free(struct fg_field *f);

/** Returns 0, -EACCES (the broker does not grant it), or another negative errno with a sentence. */
int fg_field_subscribe(struct fg_field *f, const char *filter, int64_t timeout_ms,
		       struct fg_error *err);

/** Publish with QoS 1 and wait for the PUBACK. Returns 0, or a negative errno with a sentence. */
int fg_field_publish(struct fg_field *f, const char *topic, struct fg_span payload,
		     int64_t timeout_ms, struct fg_error *err);

/** Publish with QoS 1 and do not wait; from within `arrived`, too. */
int fg_field_post(struct fg_field *f, const struct fg_mqtt_publish *publish);
