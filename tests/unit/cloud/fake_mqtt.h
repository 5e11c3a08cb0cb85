#pragma once

/*
 * The MQTT client without a network: it notes what its owner does, and the test says what happens.
 * There is one at a time, unless the test says that there may be several: then `fake_mqtt` tells of the
 * newest, and fake_client_…() of any. Also a clock and the timers of libev, which move only when the test says
 * so.
 */
#include "net/mqtt_client.h"

#define FAKE_PUBLISHES 4096

struct fake_publish {
	int packet_id;
	unsigned qos;
	size_t size;
	char topic[64];
	char payload[64];
};

struct fake_mqtt {
	struct fg_mqtt_client *client; /* NULL: there is none */
	unsigned n_made, n_freed;
	int new_result, publish_result, subscribe_result;
	struct fg_mqtt_params params; /* of the newest; strings are copies */
	char host[64], client_id[128], username[64];
	const struct fg_mqtt_ops *ops;
	void *owner;
	bool is_connected, is_disconnecting, is_paused;
	unsigned n_flushes, n_resumes, n_subscribes;
	char filter[64]; /* first of the newest SUBSCRIBE */
	struct fake_publish publishes[FAKE_PUBLISHES];
	size_t n_publishes; /* of this client */
	int last_packet_id;
	unsigned n_unflushed; /* messages given and not flushed: their PUBACKs */
	unsigned n_held, n_let_go;
	bool is_held;     /* nothing is written */
	bool may_be_many; /* clients */
};

extern struct fake_mqtt fake_mqtt;

void fake_mqtt_reset(void);
void fake_mqtt_connect(unsigned receive_maximum, size_t max_packet_bytes);
/** The session ends; the client is told, as the real one does it. */
void fake_mqtt_end(enum fg_mqtt_end_kind kind, unsigned reason_code);
void fake_mqtt_puback(int packet_id, unsigned reason_code);
/** Deliver if it may be read. Returns whether it was. */
bool fake_mqtt_deliver(const char *topic, const char *payload);
/** What follows when all that was there has been read. */
void fake_mqtt_after_read(void);

/* ---- one of many */

#define FAKE_CLIENTS 64

/** How many there are. */
unsigned fake_clients(void);
/** The one with @client_id, or NULL. */
struct fg_mqtt_client *fake_client(const char *client_id);
void fake_client_connect(struct fg_mqtt_client *c);
void fake_client_end(struct fg_mqtt_client *c, enum fg_mqtt_end_kind kind, unsigned reason_code);
void fake_client_puback(struct fg_mqtt_client *c, int packet_id, unsigned reason_code);
/** Acknowledges all that was published on it; returns how many that were. */
unsigned fake_client_puback_all(struct fg_mqtt_client *c);

/* ---- time */

extern int64_t fake_now_ms;
extern int64_t fake_utc_us;

/** Let @ms pass; timers that become due run in their order. */
void fake_time_pass(int64_t ms);
/** How many timers run. */
unsigned fake_timers(void);
