#pragma once

/*
 * The configuration as checked values. Reading is strict: an unknown key, a wrong type, a value out
 * of range, a missing file for a secret are all mistakes, and one run reports all of them with
 * file, line and column. What plugins, mapping rules and commands need on top is checked by them
 * through the same report.
 */
#include "fieldgate/plugin.h"
#include "util/error.h"
#include "util/span.h"

/** Where something stands in the configuration; lines and columns count from 1. */
struct fg_place {
	const char *file; /* owned by the fg_config */
	unsigned line, column;
};

/** All mistakes of one run, in order of place: a thousand, then the number of the others. */
struct fg_report;

struct fg_report *fg_report_new(void);
struct fg_report *fg_report_free(struct fg_report *report);
/** Add "FILE:LINE:COL: TEXT". @place may be NULL. */
void fg_report_add(struct fg_report *report, const struct fg_place *place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
size_t fg_report_count(const struct fg_report *report);
/** The @i-th line, sorted by file, line, column. NUL-terminated, without newline. */
const char *fg_report_line(struct fg_report *report, size_t i);

/** mqtt://host:port or mqtts://host:port; ports default to 1883 and 8883. IPv6 in brackets. */
struct fg_url {
	bool is_tls;
	char *host;
	uint16_t port;
};

/** `tls:` of a broker or cloud. Only with mqtts://. */
struct fg_tls_config {
	char *ca;           /* PEM file or directory; NULL: the system's store */
	char *certificate;  /* PEM file, leaf first; or NULL */
	char *key;          /* PEM file, may be encrypted, may be the certificate's file; or NULL */
	char *key_password; /* resolved; or NULL */
	char *server_name;  /* verify and send this name instead of the URL's host; or NULL */
	bool is_insecure;   /* `insecure: true`: do not verify; warned about at each start */
};

/** `mqtt_version:` */
enum fg_mqtt_version {
	FG_MQTT_AUTO = 0, /* 5, and 3.1.1 when that is refused */
	FG_MQTT_311 = 4,
	FG_MQTT_5 = 5,
};

/** `local.brokers[]`: a broker on the field side that already exists. */
struct fg_broker_config {
	struct fg_place place;
	char *name; /* [A-Za-z0-9][A-Za-z0-9_.-]{0,62}, unique */
	struct fg_url url;
	struct fg_tls_config tls;
	enum fg_mqtt_version mqtt_version;
	char *client_id; /* default "fieldgate-<gateway.name>-<name>" */
	char *username;
	char *password;                 /* resolved; or NULL */
	char *share;                    /* shared subscription group, or NULL */
	unsigned qos;                   /* of the subscriptions, 0 or 1; default 1 */
	unsigned keep_alive_s;          /* 5..65535, default 60 */
	int64_t max_reconnect_delay_ms; /* 1s..10min, default 60s */
	unsigned receive_maximum;       /* MQTT 5, 3.1.2.11.3: 1..65535, default 4096 */
	uint32_t session_expiry_s;      /* MQTT 5, 3.1.2.11.2: default 7 days */
};

enum fg_payload_format {
	FG_PAYLOAD_JSON,
	FG_PAYLOAD_TEXT,   /* one value, as text: becomes {"<key>": value} */
	FG_PAYLOAD_OPAQUE, /* bytes that nobody looks into */
};

/** One selected member: `name: $.path` or `name: {from: $.path}`. */
struct fg_select_config {
	struct fg_place place;
	char *name; /* the member in the canonical body */
	char *from; /* a path for fg_json_path_new() */
};

/** What goes into one kind of message: `all`, or a list of members, or nothing. */
struct fg_members_config {
	bool is_all;
	struct fg_select_config *select;
	size_t n_select;
};

enum fg_time_unit {
	FG_TIME_UNIT_AUTO, /* seconds, ms or µs by magnitude, or ISO 8601 text */
	FG_TIME_UNIT_S,
	FG_TIME_UNIT_MS,
	FG_TIME_UNIT_US,
	FG_TIME_UNIT_ISO8601,
};

/**
 * `presence:` of a mapping: the payload, or the member at `from` of a JSON payload, is compared as
 * text. Anything else is refused.
 */
struct fg_presence_config {
	bool is_set;
	char *from; /* path, or NULL: the whole payload, whatever it is */
	char **up;  /* texts that mean it is there; default "online", "up", "1", "true" */
	size_t n_up;
	char **down;   /* texts that mean it has gone; default "offline", "down", "0", "false" */
	size_t n_down; /* no text is in both */
	struct fg_place from_place;
};

enum fg_request_kind {
	FG_REQUEST_ATTRIBUTES, /* body {"client": [names], "shared": [names]}, one may be missing */
	FG_REQUEST_RPC,        /* body {"method": "…", "params": any} */
	FG_REQUEST_CLAIM,      /* body {"secretKey": "…", "durationMs": n}, both optional */
	FG_REQUEST_DELETE,     /* body {} */
};

/** `request:` of a mapping: a device asks the cloud, and gets the answer on a topic. */
struct fg_request_config {
	bool is_set;
	enum fg_request_kind kind;
	char *link; /* `cloud`: whom it asks; default the only cloud; NULL only after a mistake */
	char *response; /* `response`: topic template with the captures of the mapping's topic; NULL: the
			   PUBLISH's Response Topic (MQTT 5), whose Correlation Data is given back */
	int64_t timeout_ms; /* 1 s..10 min, default 10 s; the device then gets an error */
	struct fg_place response_place;
};

/** `mappings[]` */
struct fg_mapping_config {
	struct fg_place place;
	char *topic; /* a pattern for fg_topic_pattern_new() */
	enum fg_payload_format payload;
	char *device; /* template with {captures}; default "{device}" */
	char *stream; /* template; default "{stream}" if the pattern captures it, else "" */
	char *key;    /* template, FG_PAYLOAD_TEXT only: default "{key}"; else NULL */
	struct fg_members_config telemetry; /* default `all` when no kind is given */
	struct fg_members_config attributes;
	/*
	 * Instead of telemetry and attributes, a rule may say what else arrives on its topic: what a
	 * device's coming and going looks like, what it asks the cloud for, or what has happened. At most
	 * one is set.
	 */
	struct fg_presence_config presence; /* used when is_set */
	struct fg_request_config request;   /* used when is_set */
	char *event; /* template: the type of the event that the payload, an object, tells of; or NULL */
	bool is_alarm; /* `lane: alarm`: overtakes telemetry; true for every request, since it has a
			  timeout and a backlog has none */
	char *time;    /* path of the time member; NULL: time of arrival */
	struct fg_place time_place, device_place, stream_place, key_place, event_place;
	enum fg_time_unit time_unit;
};

struct fg_rename {
	char *from; /* the field identity */
	char *to;   /* the cloud's name for it */
};

/** `devices:` of a cloud: which devices it gets, under which names. */
struct fg_devices_config {
	char **include; /* shell patterns; none: all */
	size_t n_include;
	char **exclude; /* after include */
	size_t n_exclude;
	struct fg_rename *rename;
	size_t n_rename;
};

enum fg_correlate {
	FG_CORRELATE_NONE,    /* one command at a time for each device and response topic */
	FG_CORRELATE_MQTT5,   /* Response Topic and Correlation Data (MQTT 5, 4.10) */
	FG_CORRELATE_PAYLOAD, /* a member of the answer has the id that went down */
	FG_CORRELATE_TOPIC,   /* {id} in the response topic */
};

enum fg_offline {
	FG_OFFLINE_REFUSE, /* answer at once that the device is not there */
	FG_OFFLINE_WAIT,   /* wait for it until the deadline */
};

/** `commands[]`: how commands reach field devices, and how their answers are found. The first entry
 * that matches device and name decides. */
struct fg_command_config {
	struct fg_place place;
	char **devices; /* shell patterns of field devices; none: all */
	size_t n_devices;
	char **names; /* `commands`: shell patterns; none: all */
	size_t n_names;
	char *broker; /* name of the broker to publish to; NULL: where the device was last heard of, or
			  the only one */
	char *topic;   /* template: {device} {command} {id} */
	char *payload; /* template of JSON text: {device} {command} {id} stand for JSON strings,
			  {params} for any JSON value; default "{params}" */
	unsigned qos;  /* 0 or 1, default 1 */
	char *response; /* `response.topic`: pattern; {device} {command} {id} stand for what went down;
			   NULL and MQTT5: the gateway makes a Response Topic up; NULL and not: a
			   one-way command, answered when the device's broker has acknowledged it */
	enum fg_correlate correlate;
	char *correlate_path; /* FG_CORRELATE_PAYLOAD: `response.correlate: $.id` */
	char *result_path; /* `response.result`: what of the answer is the result; NULL: all of it */
	char *error_path;  /* `response.error`: present and neither null nor false: the device said
				 no; NULL: never */
	enum fg_offline offline;
	int64_t timeout_ms; /* at most so long, however long the cloud waits; 1 s..7 d, default 30 s */
	unsigned max_open; /* commands a device works on at once; 1..100, default 1; 1 with NONE */
	bool may_repeat;   /* `repeat`: publish again after a restart when the outcome is unknown */
	struct fg_place topic_place, payload_place, response_place;
};

/** `configs[]`: where configuration (shared attributes) set in a cloud goes. */
struct fg_config_down_config {
	struct fg_place place;
	char **devices; /* shell patterns; none: all */
	size_t n_devices;
	char *broker;     /* as above */
	char *topic;      /* template: {device} */
	bool is_retained; /* default true: a device that comes later finds it */
	unsigned qos;     /* 0 or 1, default 1 */
	struct fg_place topic_place;
};

enum fg_image_delivery {
	FG_DELIVER_FILE,   /* tell the device's topic the path of a file in `directory` */
	FG_DELIVER_URL,    /* tell it `url` + the file's name; without `url`: the cloud's own URL */
	FG_DELIVER_CHUNKS, /* publish the bytes, one chunk after each acknowledgement */
};

/** `images[]`: how firmware and software reach field devices. */
struct fg_image_config {
	struct fg_place place;
	char **devices;
	size_t n_devices;
	char *broker;
	enum fg_image_delivery deliver;
	char *directory; /* FILE, URL: default <state_directory>/images; else NULL */
	char *url;   /* URL: base, http:// or https://, ends with a slash; else NULL, as without */
	char *topic; /* template {device}: announcements (JSON: title, version, size, algorithm,
			    checksum, and file, url or chunk_size) */
	char *chunk_topic; /* CHUNKS: template {device} {index}; the payload is the bytes; else NULL */
	size_t chunk_bytes; /* `chunk_size`: 128 B..256 KiB, default 4 KiB */
	char *status; /* `status.topic`: pattern with {device}: the device reports here; or NULL */
	char *firmware_member,
		*software_member; /* `versions`: attributes that tell which run, default
						    fw_version, sw_version */
	char *status_path;  /* `status.state`: path of the word: UPDATING, UPDATED, FAILED; default
			       $.state */
	uint64_t max_bytes; /* `max_size`: of one image, 1 KiB..4 GiB, default 64 MiB */
	struct fg_place topic_place, chunk_topic_place, status_place;
};

/** `fallback:` of a cloud: HTTP, while MQTT is blocked. */
struct fg_fallback_config {
	char *url;        /* http:// or https://, without a final slash; NULL: there is none */
	int64_t after_ms; /* MQTT is missing for so long: 1 s..1 d, default 1 min */
};

enum fg_drain_order {
	FG_DRAIN_FIFO,
	FG_DRAIN_LIVE_FIRST,
};

/** Rates of one limit, as in rates.h. */
#define FG_RATES_MAX 8

/** `clouds[]` */
struct fg_cloud_config {
	struct fg_place place;
	char *name; /* [A-Za-z0-9][A-Za-z0-9_.-]{0,62}, unique; also the name of its cursor */
	char *plugin;
	struct fg_url url;
	struct fg_place url_place, plugin_place;
	struct fg_tls_config tls;
	enum fg_mqtt_version mqtt_version;
	unsigned keep_alive_s;          /* 10..1200; 0: as the plugin says */
	int64_t max_reconnect_delay_ms; /* 1s..10min, default 60s */
	unsigned max_in_flight;         /* publishes, 1..1000, default 16 */
	unsigned max_in_flight_records; /* P2: the most that a crash sends twice; 100..1000000,
					   default 10000 */
	int64_t ack_timeout_ms;         /* 1s..10min, default 30s */
	enum fg_drain_order order;      /* `order: fifo | live_first`, default fifo */
	unsigned backlog_share; /* percent of the publishes that go to the backlog while there is
				       newer data to send, 1..99, default 20 */
	struct fg_rate rates[FG_N_LIMITS][FG_RATES_MAX]; /* `limits: {messages, points, bytes}` */
	size_t n_rates[FG_N_LIMITS]; /* 0: no limit but what the plugin knows of */
	int64_t command_timeout_ms;  /* `command_timeout`: where the cloud does not say; 1 s..7 d,
					default 10 s */
	uint64_t max_backlog_bytes;  /* `max_backlog`, at least a segment; 0: no cap of its own */
	int64_t max_age_ms;          /* 1min..3650d; 0: no cap of its own */
	struct fg_devices_config devices;
	struct fg_fallback_config fallback;
	/* the entry as written, with the plugin's own keys still unread: see fg_config_options() */
	const struct fg_yaml_node *options;
};

/** `journal.on_full:` what happens at max_size */
enum fg_on_full_config {
	FG_CONFIG_DROP_OLDEST,
	FG_CONFIG_DROP_NEWEST,
	FG_CONFIG_STOP_ACK,
};

/* The least size of a segment: it holds what gathers during a commit, twice. What is configured as
 * caps, in whole segments, would not hold for smaller ones. */
#define FG_SEGMENT_MIN_BYTES (8 << 20)

/** `journal:` */
struct fg_journal_config {
	uint64_t max_bytes;            /* `max_size`, default 2 GiB, at least 4 segments */
	uint64_t max_quarantine_bytes; /* `max_quarantine_size`, default 64 MiB */
	size_t segment_bytes;          /* `segment_size`, 8 MiB..1 GiB, default 16 MiB */
	int64_t max_age_ms;            /* `max_age`, 1min..3650d; 0: no limit */
	int64_t commit_interval_ms;    /* `commit_interval`, 0..10s, default 0 */
	enum fg_on_full_config on_full;
	uint64_t max_alarm_bytes; /* `max_alarm_size`, of the alarm lane; default 64 MiB, at least 2
				     segments */
};

#define FG_MAX_BROKERS 32
#define FG_MAX_MAPPINGS 1000
#define FG_MAX_CLOUDS 32 /* as many cursors as a journal has */

struct fg_config {
	char *name;               /* gateway.name: default the host name */
	char *state_directory;    /* gateway.state_directory: default $STATE_DIRECTORY, else
				     /var/lib/fieldgate */
	char *plugin_directory;   /* gateway.plugin_directory: default as built */
	size_t max_message_bytes; /* gateway.max_message_size: 1 KiB..1 MiB, default 1 MiB */
	int64_t inactivity_ms;    /* gateway.inactivity: a device not heard of for so long has gone;
				  10 s..365 d; 0, the default: never */
	unsigned max_commands;    /* gateway.max_commands: open at once, 1..100000, default 10000 */
	int64_t time_wait_ms;     /* gateway.time_wait: 0..1d, default 10min */
	struct fg_broker_config *brokers; /* at most FG_MAX_BROKERS, and so on */
	size_t n_brokers;
	struct fg_mapping_config *mappings;
	size_t n_mappings;
	struct fg_command_config *commands; /* at most FG_MAX_MAPPINGS each */
	size_t n_commands;
	struct fg_config_down_config *configs;
	size_t n_configs;
	struct fg_image_config *images;
	size_t n_images;
	struct fg_cloud_config *clouds;
	size_t n_clouds;
	struct fg_journal_config journal;
	struct fg_config_store *store; /* documents, names of files: what the above points into */
};

/**
 * Read @path and, if the directory "<directory of path>/conf.d" exists, its *.yaml in order of
 * name, whose lists are appended and whose scalar keys must not be given twice. Reports every
 * mistake. On success the caller owns *@ret; it stays valid until fg_config_free(). On -EINVAL
 * *@ret is still set when enough was readable to check more (plugins, mapping rules), else NULL;
 * @report has at least one line. Then values with a mistake have their default, mappings without
 * topic, clouds without plugin and brokers without name are left out, and other strings that are
 * not said to be NULL are empty. Returns 0, -EINVAL or -ENOMEM (*@ret is NULL).
 */
int fg_config_load(const char *path, struct fg_report *report, struct fg_config **ret);

/** The same for one @text in memory; @path only names it and says where relative paths start. */
int fg_config_load_text(const char *path, struct fg_span text, struct fg_report *report,
			struct fg_config **ret);

/** Release; secrets are overwritten first. Takes NULL. */
struct fg_config *fg_config_free(struct fg_config *config);

static inline void fg_config_free_p(struct fg_config **config)
{
	fg_config_free(*config);
}

static inline void fg_report_free_p(struct fg_report **report)
{
	fg_report_free(*report);
}

/**
 * Check the plugin's own keys of @cloud against @table and resolve them. @ret_values has one entry
 * for each entry of @table; its strings live as long as the fg_config. Unknown keys are reported
 * here, with the nearest among the plugin's keys and those that every cloud has. Returns 0, -EINVAL
 * (reported) or -ENOMEM.
 */
int fg_config_options(struct fg_config *config, const struct fg_cloud_config *cloud,
		      const struct fg_option *table, struct fg_report *report,
		      struct fg_value *ret_values);
