#pragma once

/*
 * What the files of a session share. cloud_session.c has its states, session_end.c knows what the end of
 * one says.
 */
#include "cloud/cloud_session.h"

struct fg_cloud_session {
	struct fg_session_common *common;
	struct fg_outbox_session *out;
	enum fg_link_state state;
	struct fg_mqtt_client *client;
	struct fg_address address;      /* of the newest attempt */
	struct fg_http_carrier *http;   /* carries it while MQTT is blocked; or NULL */
	bool is_taking_over;            /* CONNECTING: HTTP lets go of it, then … */
	struct fg_mqtt_connack connack; /* … this counts */
	struct fg_backoff backoff;
	char why[sizeof((struct fg_mqtt_end){0}.text)]; /* not ONLINE: how it ended; or empty */
	int64_t retry_at_ms;                            /* BACKOFF: monotonic */
	char *label;                                    /* for the log: the link's name, and ours */
	char *client_id;                                /* for plugins that do not care */
	ev_timer wait;       /* BACKOFF: until the next attempt; DRAINING: until we stop waiting */
	ev_timer tick;       /* ONLINE, each second: ack timeout, renewal */
	int64_t renew_at_ms; /* monotonic; 0: never */
	int64_t renew_us;    /* UTC, as the plugin said */
	int64_t online_since_ms;
	bool has_acks;           /* since then */
	unsigned short_sessions; /* in a row */
	bool is_setup, is_timed; /* as the plugin said */
	bool has_tried_anew;     /* refused for its credentials; since the last session */
	bool is_renewing;        /* DRAINING: connect again at once */
	bool is_stopping, has_stopped;
	struct fg_hold hold; /* nothing is written before it is over */
	const char
		*given_back; /* why the session has to end, once the plugin is through; or NULL */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* ---- session_end.c */

/** How to wait for the next attempt. */
enum fg_backoff_class fg_session_class(const struct fg_cloud_session *s,
				       const struct fg_mqtt_end *end);

/** Another attempt may be made at once: in another way, it may succeed. */
bool fg_session_may_go_on(struct fg_cloud_session *s, const struct fg_mqtt_end *end);

/** Did the peer end it in a way that a record in flight may have caused? */
bool fg_session_is_suspicious(const struct fg_mqtt_end *end);

/** Can it carry records? A firewall may well let CONNECT and CONNACK pass, and nothing else; and the plugin's
 * own business may be with another server. */
bool fg_session_is_proven(const struct fg_cloud_session *s, int64_t now_ms);

/** Count sessions that end within seconds, which may be two clients that throw each other out. */
void fg_session_note_short(struct fg_cloud_session *s, const struct fg_mqtt_end *end,
			   int64_t now_ms);

/** Say in the log how it ended, and that the next attempt comes in @delay_ms. */
void fg_session_complain(struct fg_cloud_session *s, const struct fg_mqtt_end *end,
			 enum fg_backoff_class class, int64_t delay_ms, unsigned in_flight,
			 int64_t now_ms);
