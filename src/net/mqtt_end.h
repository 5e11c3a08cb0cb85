#pragma once

/*
 * How an MQTT session ends, and how that is said to an operator: what libmosquitto, OpenSSL and the
 * system report, and the reason codes of the standard, as one sentence.
 */
#include <stdbool.h>
#include <stdint.h>

/** How a session ended, or why it never began. */
enum fg_mqtt_end_kind {
	FG_MQTT_END_UNREACHABLE, /* name lookup or TCP connect failed */
	FG_MQTT_END_TLS,         /* handshake or certificate check failed */
	FG_MQTT_END_REFUSED,     /* CONNACK with a reason code */
	FG_MQTT_END_SILENT,      /* no CONNACK in time, or closed before it */
	FG_MQTT_END_DISCONNECT,  /* the peer sent DISCONNECT (MQTT 5, 3.14) */
	FG_MQTT_END_LOST,        /* the connection broke or was closed; PINGRESP missing */
	FG_MQTT_END_PROTOCOL,    /* the peer broke the protocol */
	FG_MQTT_END_OWN,         /* fg_mqtt_client_disconnect() */
};

struct fg_mqtt_end {
	enum fg_mqtt_end_kind kind;
	unsigned reason_code; /* REFUSED: CONNACK code of the version spoken; DISCONNECT: its reason
				 code */
	bool was_connected;
	char text[200]; /* a sentence for the log */
};

/** A call of libmosquitto that has failed, and what else is known of it. */
struct fg_mqtt_failure {
	int rc;                   /* what it has returned, a MOSQ_ERR_… */
	int saved_errno;          /* errno right after it */
	const char *host;         /* the peer … */
	uint16_t port;            /* … as it was looked for */
	bool is_tls;              /* it was to speak TLS */
	bool was_connected;       /* CONNACK had come */
	const char *verify_error; /* of fg_tls_take_verify_error(); NULL: none */
	const char *library_says; /* its last complaint, or empty */
};

/** What that means for the session; all of *@ret is written. */
void fg_mqtt_end_of(const struct fg_mqtt_failure *failure, struct fg_mqtt_end *ret);

/** A CONNACK or DISCONNECT reason code in words. @mqtt_version 4 or 5; static text. */
const char *fg_mqtt_connack_text(unsigned mqtt_version, unsigned code);
const char *fg_mqtt_reason_text(unsigned reason_code);
