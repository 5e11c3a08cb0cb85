#pragma once

/*
 * One MQTT session on the loop: libmosquitto driven by libev. One struct for each connection
 * attempt, thrown away when it ends; the library would otherwise re-send a copy of what the owner
 * sends again.
 *
 * Life: new (connecting on a thread) -> connected() -> … -> ended(), exactly once, also after a
 * failed attempt. The owner then releases it; it may do so inside any callback.
 *
 * A client with `holds_writes` writes nothing on its own after CONNECT and SUBSCRIBE: PUBACKs queue
 * up inside the library until fg_mqtt_client_flush(). libmosquitto queues a PUBACK before it calls
 * back with the message, and writes it at once unless mosquitto_threaded_set() says that another
 * thread will (eclipse-mosquitto/mosquitto #118, #2884). tests/e2e guards this with a broker that
 * watches.
 *
 * Any other client writes on its own, except that its owner may call fg_mqtt_client_hold() from
 * message(): the PUBACK of that message, and what is published after it, then waits for
 * fg_mqtt_client_let_go().
 */
#include <ev.h>
#include <mosquitto.h>

#include "net/connector.h"
#include "net/mqtt_end.h"
#include "net/mqtt_params.h"
#include "util/span.h"

struct fg_mqtt_client;

/** CONNACK's properties (MQTT 5, 3.2.2.3), with the standard's defaults where absent. */
struct fg_mqtt_connack {
	bool session_present;
	unsigned receive_maximum;
	size_t max_packet_bytes; /* 0: no limit */
};

/** Something arrived. Borrowed for the call. */
struct fg_mqtt_message {
	const char *topic; /* NUL-terminated; libmosquitto refuses a NUL inside */
	struct fg_span payload;
	unsigned qos;
	bool is_retained;
	const char *response_topic; /* MQTT 5, 3.3.2.3.5; NULL: none */
	struct fg_span correlation; /* Correlation Data (MQTT 5, 3.3.2.3.6), or empty */
};

/** What to send. */
struct fg_mqtt_publish {
	const char *topic;
	struct fg_span payload;
	unsigned qos; /* 0 or 1 */
	bool is_retained;
	/* MQTT 5 only, else ignored; NULL or empty: none */
	const char *content_type;
	const char *response_topic;
	struct fg_span correlation;
	uint32_t expiry_s; /* Message Expiry Interval (MQTT 5, 3.3.2.3.3); 0: none */
};

struct fg_mqtt_ops {
	void (*connected)(void *owner, const struct fg_mqtt_connack *connack);
	void (*message)(void *owner, const struct fg_mqtt_message *message);
	void (*published)(void *owner, int packet_id,
			  unsigned reason_code); /* PUBACK or, at QoS 0, written */
	void (*subscribed)(void *owner, int packet_id,
			   unsigned reason_code); /* first refusal, else granted */
	bool (*may_read)(void *owner);   /* asked before each packet is read; NULL: always */
	void (*after_read)(void *owner); /* all that was there has been read; NULL: nothing to do */
	void (*ended)(void *owner, const struct fg_mqtt_end *end);
};

/**
 * Start an attempt. @params is copied. On success the caller owns *@ret.
 * Returns 0, -ENOMEM, -EINVAL (libmosquitto refuses the parameters), -EAGAIN (connector busy).
 */
int fg_mqtt_client_new(struct ev_loop *loop, struct fg_connector *connector,
		       const struct fg_mqtt_params *params, const struct fg_mqtt_ops *ops,
		       void *owner, struct fg_mqtt_client **ret);

/** Release; the connection, if any, is dropped without DISCONNECT. Safe inside callbacks. Returns
 * NULL. */
struct fg_mqtt_client *fg_mqtt_client_free(struct fg_mqtt_client *c);

/**
 * PUBLISH. libmosquitto copies topic and payload. Returns 0 and the packet id, -ENOTCONN, -EMSGSIZE
 * (above the peer's Maximum Packet Size), -EINVAL (not a topic name), -ENOMEM.
 */
int fg_mqtt_client_publish(struct fg_mqtt_client *c, const struct fg_mqtt_publish *publish,
			   int *ret_packet_id);

/** SUBSCRIBE to @n filters in one packet, all of them shared subscriptions or none. Returns 0 and the
 * packet id, or as above. */
int fg_mqtt_client_subscribe(struct fg_mqtt_client *c, const char *const *filters, size_t n,
			     unsigned qos, int *ret_packet_id);

/** Write what has queued up (holds_writes). */
void fg_mqtt_client_flush(struct fg_mqtt_client *c);

/**
 * From within message(): the PUBACK of this message stays here until fg_mqtt_client_let_go(), and
 * so does all that is written after it. Not for a client with `holds_writes`, where that is the
 * rule.
 */
void fg_mqtt_client_hold(struct fg_mqtt_client *c);
void fg_mqtt_client_let_go(struct fg_mqtt_client *c);

/** Read again after may_read() said no. */
void fg_mqtt_client_resume(struct fg_mqtt_client *c);

/** Send DISCONNECT and end; ended() follows with FG_MQTT_END_OWN once it is written. */
void fg_mqtt_client_disconnect(struct fg_mqtt_client *c);
