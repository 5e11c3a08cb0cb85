#pragma once

/*
 * What an MQTT session is to be, and how libmosquitto is told.
 */
#include <mosquitto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/tls.h"

struct fg_mqtt_params {
	const char *host;
	uint16_t port;
	struct fg_tls *tls;    /* NULL: plain; the client holds its context */
	unsigned mqtt_version; /* 4 or 5 */
	const char *client_id;
	const char *username; /* or NULL */
	const char *password; /* or NULL */
	bool clean_start;
	unsigned keep_alive_s;
	uint32_t session_expiry_s; /* MQTT 5; 0: ends with the connection */
	unsigned receive_maximum;  /* MQTT 5; 0: not sent */
	size_t max_packet_bytes;   /* MQTT 5 Maximum Packet Size to announce; 0: not sent */
	bool holds_writes;
	/* MQTT 5: what this session publishes does not come back to it, but through shared
	 * subscriptions (No Local, 3.8.3.1). */
	bool is_deaf_to_itself;
	int connack_timeout_s; /* from the start of the attempt to CONNACK */
};

/**
 * Copy @params and its strings; `tls` is borrowed. *@ret is to be released also after a failure.
 * Returns 0 or -ENOMEM.
 */
int fg_mqtt_params_copy(const struct fg_mqtt_params *params, struct fg_mqtt_params *ret);

/** Release the strings of a copy; the password is overwritten. */
void fg_mqtt_params_release(struct fg_mqtt_params *params);

/**
 * A libmosquitto session that is set up so; @arg is what it calls back with. It writes nothing
 * before mosquitto_threaded_set(). The caller owns *@ret, after a failure it is NULL.
 * Returns 0, -ENOMEM, or -EINVAL: libmosquitto refuses something of it.
 */
int fg_mqtt_params_make(const struct fg_mqtt_params *params, void *arg, struct mosquitto **ret);

/**
 * mosquitto_connect_bind_v5() with it: looks the name up, connects and begins with TLS, and blocks
 * meanwhile. Returns what that returns, with its errno.
 */
int fg_mqtt_params_connect(const struct fg_mqtt_params *params, struct mosquitto *mosq);
