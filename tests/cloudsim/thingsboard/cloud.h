#pragma once

/*
 * A stand-in for ThingsBoard: a plugin that makes Mosquitto behave as ThingsBoard's MQTT transport does
 * towards a gateway. It decides who may log in, which topics exist, which payloads are taken, and what
 * happens to the rest; and it writes down what it has taken, before the broker acknowledges it. What
 * needs a memory and an answer (commands, attributes, provisioning, firmware) is decided by the core,
 * server.py, which is a client of the same broker. Neither shares code with the daemon.
 *
 * Options (plugin_opt_… in the broker's configuration):
 *   devices   a JSON file: [{"name":…, "gateway":bool, "protobuf":bool, "token":… | "basic":
 *             {"client_id","username","password"} | "certificate_sha256":hex}, …]
 *   record    a file to append to, one JSON object a line:
 *               {"event":"connect","client","device","version","clean","keep_alive"}
 *               {"event":"refused","client","why"}            a login
 *               {"event":"disconnect","client","reason"}
 *               {"event":"subscribe","client","topic","granted"}
 *               {"event":"device","device","type","implicit"} a sub-device was created
 *               {"event":"forgotten","device"}                … deleted, or renamed away
 *               {"event":"publish","n","ms","session","client","topic","payload"}   taken; what came as
 *                                                             protobuf is told as JSON, with
 *                                                             "protobuf":hex beside it
 *               {"event":"rejected","n","ms","session","client","topic","why","answer","payload"}
 *               {"event":"suspect","n","why"}  taken, but the cloud would store something else
 *   core      the client id under which the core logs in
 *
 * What Mosquitto lets a plugin say is less than what ThingsBoard says: a PUBACK of 0x80, 0x83, 0x90 or
 * 0x99 becomes 0x87 here, a missing PUBACK becomes a closed connection. scripted_broker.py does those
 * exactly.
 *
 * One thread calls all of this: the broker's.
 */
#include <json-c/json.h>
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* How a message ends; what the client sees of it is in tb_outcome_answer(). */
enum tb_outcome {
	TB_TAKEN,
	TB_MALFORMED,    /* not JSON, or one device's part is wrong */
	TB_UNUSABLE,     /* JSON, but nothing in it can be used */
	TB_SERVER_ERROR, /* the server trips over it */
	TB_NEVER_ACKED,  /* the server goes silent about it */
	TB_UNKNOWN_TOPIC,
	TB_TOO_LARGE,
	TB_DEVICE_REFUSED, /* no more devices for this tenant, or a name it does not take */
	TB_LIMITED,        /* a rate limit of the gateway API */
	TB_DEVICE_LIMITED, /* a rate limit of the device API */
	TB_DROPPED,        /* the connection breaks before the server has it */
};

/* One login. */
struct tb_session {
	struct tb_session *next;
	struct mosquitto *client;
	char *client_id;            /* as sent; the broker knows the client under its login */
	struct json_object *device; /* an entry of tb_cloud.devices */
	struct json_object
		*subs;  /* sub-devices it speaks for: name → monotonic ms of the last message */
	int64_t number; /* what the core calls it; never used twice in this process */
	int version;    /* 4 or 5 */
	int kick_in;    /* close after so many ticks; 0: stays */
	bool is_gateway, is_provisioning, is_protobuf;
};

/* What can be made to go wrong, by the core's "set". */
struct tb_faults {
	char refuse[32]; /* "credentials", "silent" (no CONNACK) or empty */
	char poison[64]; /* what contains this text is malformed; empty: off */
	int64_t drop_at; /* break the connection at the n-th publish from now, before taking it; 0: off */
	int64_t lose_ack_at; /* … after taking it, so that it will come again; 0: off */
	int64_t slow_ms;     /* hold the broker so long at each publish */
	bool refuse_new_devices;
	bool ack_limited; /* beyond a limit: acknowledge, then close (4.2.1 and later) */
};

struct tb_frame;
struct tb_limits;

struct tb_cloud {
	mosquitto_plugin_id_t *id;
	struct json_object *devices; /* who may log in */
	struct json_object *known;   /* sub-devices that exist: name → type */
	struct tb_session *sessions;
	struct tb_faults faults;
	struct tb_limits *limits;
	int record_fd;
	char *core_id;
	struct mosquitto *core; /* NULL: not logged in yet */
	struct tb_frame *backlog, **backlog_end;
	int64_t inactivity_ms; /* after it a sub-device's session ends, silently */
	int64_t expiry_checked_ms;
	int64_t n_sessions, n_publishes, n_taken, n_rejected, n_suspect, n_connects;
};

/* ---- record.c: what is written down, and small helpers for JSON and time */

int64_t tb_now_ms(void);
int64_t tb_monotonic_ms(void);

/** The text of @object's member @name, NULL if it has none. */
const char *tb_member(struct json_object *object, const char *name);
bool tb_same(const char *a, const char *b);

/** Begin a line of the record; @s may be NULL. */
struct json_object *tb_event(const char *name, const struct tb_session *s);

/** Append a line with one write(), so that it survives a killed broker. Takes @line. */
void tb_record(struct tb_cloud *cloud, struct json_object *line);

/** Record that the message at hand would be stored differently from what it says. */
void tb_suspect(struct tb_cloud *cloud, const char *why);

/** Bytes that may be anything, as JSON text of at most @max characters. */
struct json_object *tb_printable(const char *data, size_t size, size_t max);
struct json_object *tb_hex(const void *data, size_t size);

/* ---- session.c: logins and subscriptions */

struct tb_session *tb_session_find(struct tb_cloud *cloud, const struct mosquitto *client);
struct tb_session *tb_session_by_number(struct tb_cloud *cloud, int64_t number);
void tb_session_drop(struct tb_cloud *cloud, const struct mosquitto *client);

/** The new list of devices, taken. Whoever is not in it any more is thrown out. */
void tb_session_set_devices(struct tb_cloud *cloud, struct json_object *devices);

/** Close those whose time has come. */
void tb_session_kick_due(struct tb_cloud *cloud);

int tb_session_on_login(int event_id, void *event_data, void *userdata);
int tb_session_on_disconnect(int event_id, void *event_data, void *userdata);
int tb_session_on_access(int event_id, void *event_data, void *userdata);

/* ---- subdevice.c: devices behind a gateway */

/**
 * A message names sub-device @name: it exists, or comes into being, and has a session from now on. Only
 * what is not @is_connect counts as activity of the device.
 */
enum tb_outcome tb_subdevice_touch(struct tb_cloud *cloud, struct tb_session *s, const char *name,
				   const char *type, bool is_connect);

/** End a sub-device's session, wherever it is. @why: NULL if nobody is to hear of it. */
void tb_subdevice_close(struct tb_cloud *cloud, struct tb_session *s, const char *name,
			const char *why);

/** It exists no more. */
void tb_subdevice_forget(struct tb_cloud *cloud, const char *name);

/** It exists under another name; sessions go on under the old one. */
void tb_subdevice_rename(struct tb_cloud *cloud, const char *name, const char *to);

/** End the sessions of those that were silent too long. */
void tb_subdevice_expire(struct tb_cloud *cloud);

/** Sub-devices outlive the broker's process: they stand in the record at @path. */
void tb_subdevice_recall(struct tb_cloud *cloud, const char *path);

/* ---- payload.c: what a payload says, and whether the server can read it */

/** Strict JSON, or NULL. The caller owns it. */
struct json_object *tb_payload_parse(const char *data, size_t size);

/** Point out values that the server takes and then stores as something else, or not at all. */
void tb_payload_check_values(struct tb_cloud *cloud, struct json_object *values);

/** One entry of telemetry: stamped, or flat. */
enum tb_outcome tb_payload_check_sample(struct tb_cloud *cloud, struct json_object *sample);

/* ---- topics.c: what each topic takes */

enum tb_topic_kind {
	TB_TOPIC_UNKNOWN,
	TB_TOPIC_TELEMETRY,
	TB_TOPIC_ATTRIBUTES,
	TB_TOPIC_ATTRIBUTES_REQUEST,
	TB_TOPIC_RPC_RESPONSE,
	TB_TOPIC_CLIENT_RPC,
	TB_TOPIC_CLAIM,
	TB_TOPIC_OTA_REQUEST,
	TB_TOPIC_PROVISION,
};

/**
 * Decide about one publish of a device's or gateway's session. *@ret_is_forwarded: the core has to hear of
 * it. *@ret_translated: a payload that was protobuf, as JSON, or NULL; the caller frees it.
 */
enum tb_outcome tb_topics_judge(struct tb_cloud *cloud, struct tb_session *s,
				const struct mosquitto_evt_message *ed, bool *ret_is_forwarded,
				char **ret_translated);

/** Whether @filter may be subscribed to. Filters are compared as strings: "v1/gateway/#" is unknown. */
bool tb_topics_has_filter(const struct tb_session *s, const char *filter);

/* ---- protobuf.c */

/**
 * The JSON that says what a protobuf payload says, NULL if it is malformed; the caller frees it.
 * @gateway_topic: what comes after "v1/gateway/", NULL for a topic of the device API, of @kind.
 */
char *tb_protobuf_to_json(const void *data, size_t size, const char *gateway_topic,
			  enum tb_topic_kind kind);

/* ---- outcome.c */

/** What the client sees of an outcome, as far as a plugin can: the broker's return code. */
int tb_outcome_answer(struct tb_cloud *cloud, struct tb_session *s, enum tb_outcome outcome,
		      const char **ret_words);
const char *tb_outcome_words(enum tb_outcome outcome);

/* ---- limits.c: the tenant profile's rate limits */

int tb_limits_new(struct tb_limits **ret_limits);
void tb_limits_free(struct tb_limits *limits);

/** Set from the body of a getSessionLimits answer, NULL: none. */
void tb_limits_set(struct tb_limits *limits, struct json_object *body);

/**
 * Take what one message costs from @s's limits of the gateway or device API: a telemetry message and
 * @n_points, or a regular message if there are none. False: it is over one of them.
 */
bool tb_limits_take(struct tb_limits *limits, struct tb_session *s, bool is_gateway_api,
		    int64_t n_points);

/** The most bytes a packet may have behind its fixed header. */
size_t tb_limits_max_packet(const struct tb_limits *limits);

/** A limit of its own for the messages of the gateway API; 0: none. */
void tb_limits_set_simple(struct tb_limits *limits, double messages_per_s);
bool tb_limits_take_simple(struct tb_cloud *cloud);

/* ---- core.c: the way to server.py and back */

/** Tell the core. Takes @header. */
void tb_core_tell(struct tb_cloud *cloud, struct json_object *header, const void *body,
		  size_t size);

/** The core has logged in: it hears what it has missed. */
void tb_core_attach(struct tb_cloud *cloud, struct mosquitto *client);

/** Do what the core says. */
void tb_core_obey(struct tb_cloud *cloud, const void *data, size_t size);
void tb_core_forget_backlog(struct tb_cloud *cloud);
