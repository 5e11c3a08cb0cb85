#pragma once

/*
 * The fieldgate plugin ABI: everything a cloud plugin sees, and the only header that is installed.
 *
 * A plugin knows one cloud's topics, payloads, credentials and rules. It owns no socket, thread,
 * file or clock: given messages it says which bytes go out, given bytes it says what they mean,
 * given a time it says which credentials to use. The host does the rest. So a plugin can be tested,
 * fuzzed and dry-run without a network.
 *
 * A plugin is a shared object that exports one symbol:
 *
 *	FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin = { .abi = FG_PLUGIN_ABI, ... };
 *
 * All calls, in both directions, come from one thread, and none of them may block. State hangs off
 * the `ctx` that open() returns; one plugin may be opened several times, once for each configured
 * cloud. Nothing here takes ownership of a pointer it is handed: who gets one borrows it for the call
 * unless it says otherwise, and who wants to keep what it points to makes a copy. A span is never
 * NUL-terminated; other strings are. Errors are negative errno values.
 *
 * Words: a link is one configured cloud, with the ctx that was opened for it. A session is one
 * connection to it; most links have only the one called "", see fg_plugin.has_device_sessions().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Changes when a member above `size` or the meaning of any member changes. */
#define FG_PLUGIN_ABI 1u

#define FG_PLUGIN_EXPORT __attribute__((visibility("default")))

/** Bytes that belong to somebody else. `data` may be NULL when `size` is 0. */
struct fg_span {
	const char *data;
	size_t size;
};

/* ------------------------------------------------------------------ the canonical message */

/** What a message is. The numbers are also those of the journal's records. */
enum fg_kind {
	FG_TELEMETRY = 1,
	FG_ATTRIBUTES = 2,
	FG_PRESENCE = 3, /* body {"state":"up","type":"…"} (type optional) or {"state":"down"} */
	FG_COMMAND_RESPONSE = 4,
	FG_EVENT = 5,   /* something has happened; `ref` says what, the body with which values */
	FG_REQUEST = 6, /* a field device asks the cloud; `stream` says for what (see respond()) */
};

/** Where a message's time comes from. */
enum fg_time_quality {
	FG_TIME_DEVICE = 0,         /* the device said so in its payload */
	FG_TIME_GATEWAY = 1,        /* the gateway's clock at arrival */
	FG_TIME_UNSYNCHRONISED = 2, /* the gateway's clock at arrival, before it was set */
};

/**
 * One message on its way up. The journal holds it; everyone else borrows it for one call.
 *
 * A body with an empty content type is one JSON object, checked at the door: RFC 8259 grammar,
 * well-formed UTF-8, no lone surrogate, at most 64 levels deep. Numbers are the text the device
 * sent. One extension: NaN, Infinity and -Infinity may stand as values, because devices do send
 * them; a plugin leaves such a member out unless its cloud has a form for it.
 */
struct fg_message {
	uint64_t seq;    /* journal sequence number, from 1, never reused in its lane */
	int64_t time_us; /* UTC, microseconds since 1970 */
	enum fg_kind kind;
	enum fg_time_quality time_quality;
	struct fg_span device; /* UTF-8, 1..255 bytes; towards a plugin: the cloud's name for it */
	struct fg_span stream; /* stream inside the device, 0..255 bytes */
	/* Empty: the body is a JSON object; else a media type, and the body is opaque. */
	struct fg_span content_type;
	/* FG_COMMAND_RESPONSE: id of the command it answers; FG_REQUEST: what respond() wants;
	 * FG_EVENT: its type, 1..255 bytes of UTF-8. */
	struct fg_span ref;
	struct fg_span link; /* the only cloud it is for, or empty: all. Of no use to a plugin */
	struct fg_span body;
};

/* ------------------------------------------------------------------ options */

enum fg_option_type {
	FG_OPTION_STRING,
	FG_OPTION_SECRET, /* a string; {file:}, {credential:} and {env:} are resolved by the host */
	FG_OPTION_INTEGER, /* within min..max */
	FG_OPTION_BOOLEAN,
	FG_OPTION_CHOICE,   /* one of `choices`; the value is its index */
	FG_OPTION_DURATION, /* "30s", "5min"; the value is milliseconds, within min..max */
	FG_OPTION_FILE,     /* the path of a file of at most 64 KiB; the value is what is in it */
};

#define FG_OPTION_REQUIRED 1u

/**
 * One key a plugin understands in its cloud's section of the configuration. A table ends with {0} and
 * lives as long as the plugin is loaded.
 */
struct fg_option {
	const char *name;
	enum fg_option_type type;
	unsigned flags;   /* FG_OPTION_REQUIRED or 0 */
	const char *help; /* one line, for the reference */
	/* The value when the key is absent, as it would be written; NULL: then it is not set. */
	const char *fallback;
	const char *const *choices; /* FG_OPTION_CHOICE: NULL-terminated; else NULL */
	int64_t min,
		max; /* FG_OPTION_INTEGER; FG_OPTION_DURATION, in milliseconds; both included */
};

/** The value of the option at the same place in the table. Strings live as long as the ctx. */
struct fg_value {
	bool is_set;        /* given in the file, or by `fallback` */
	const char *string; /* STRING, SECRET, FILE: NUL-terminated; else NULL */
	size_t size;        /* FILE: how many bytes `string` has, which may be any */
	int64_t number;     /* INTEGER, DURATION (ms), BOOLEAN (0, 1), CHOICE (index) */
};

/* ------------------------------------------------------------------ commands */

#define FG_COMMAND_ID_MAX 200

/**
 * A command on its way down. The host writes it to disk before the cloud's PUBLISH is acknowledged,
 * brings it to the device, and sees to exactly one final answer: a message of kind
 * FG_COMMAND_RESPONSE whose `ref` is `id`, offered to encode() like any other. Its body is
 *
 *	{"result": any JSON value}                      the device has answered, or
 *	{"error": {"code": "…", "text": "…"}}           it has not, or said no; may carry "result" too
 *
 * with one of these codes: unknown_device, unknown_command, bad_params, offline, busy, refused
 * (the device said no), timeout, unknown_outcome (handed to the device, but whether it ran is not
 * known), no_room. Beside refused there may be "number", the device's own for its error: an integer
 * of 64 bits.
 */
struct fg_command {
	struct fg_span device; /* the cloud's name for it; empty: the gateway itself */
	struct fg_span id;     /* 1..FG_COMMAND_ID_MAX bytes; what the plugin needs to answer */
	struct fg_span name;   /* 1..255 bytes; the method */
	struct fg_span params; /* one JSON value, or empty */
	/* Tells a command from all others of its device for as long as its cloud may deliver it again,
	 * 1..64 bytes; empty: the id does. */
	struct fg_span key;
	int64_t timeout_ms; /* until the cloud gives up; 0: as the link is configured */
	bool is_device_time; /* timeout_ms is all the device's: nothing is taken off for the way back */
	bool is_one_way;     /* nobody waits for an answer: there will be none */
};

/* ------------------------------------------------------------------ images */

enum fg_image_kind {
	FG_IMAGE_FIRMWARE,
	FG_IMAGE_SOFTWARE,
};

#define FG_IMAGE_ORDER_MAX 96

/** An image (firmware, software) for a device. Texts come from the cloud and are not trusted. */
struct fg_image {
	struct fg_span device; /* the cloud's name for it; empty: the gateway itself */
	enum fg_image_kind kind;
	struct fg_span title, version, tag;
	uint64_t size; /* bytes; 0: not told (with a URL only) */
	/* MD5, SHA256, SHA384, SHA512, CRC32, MURMUR3_32, MURMUR3_128; or empty: not checked */
	struct fg_span algorithm;
	struct fg_span checksum; /* hexadecimal, or empty */
	struct fg_span url; /* the host downloads it; empty: the plugin does, with image_write() */
	struct fg_span authorization; /* header of that name for the download, or empty */
	/* Tells one order for this image from the next, 1..FG_IMAGE_ORDER_MAX bytes: an image that has
	 * failed is tried again for another one. Empty: it is not, before a restart. */
	struct fg_span order;
	bool unless_there; /* not where the device has told that it runs this version */
};

/** How far an image has come. In this order, though not each is seen; FG_IMAGE_FAILED may follow any. */
enum fg_image_state {
	FG_IMAGE_DOWNLOADING,
	FG_IMAGE_DOWNLOADED, /* all bytes are there */
	FG_IMAGE_VERIFIED,   /* size and checksum are right */
	FG_IMAGE_UPDATING,   /* handed to the device */
	FG_IMAGE_UPDATED,    /* the device says so */
	FG_IMAGE_FAILED,
};

/** Why an image has failed, for clouds that have a code for it. */
enum fg_image_fault {
	FG_IMAGE_FAULT_OTHER,
	FG_IMAGE_FAULT_BUSY,        /* another cloud has one, or too many are under way */
	FG_IMAGE_FAULT_UNSUPPORTED, /* there is no way for it to this device */
	FG_IMAGE_FAULT_NO_ROOM,     /* on the disk, or it is larger than allowed */
	FG_IMAGE_FAULT_DOWNLOAD,    /* it could not be fetched */
	FG_IMAGE_FAULT_WRONG,       /* size or checksum is not what was announced */
	FG_IMAGE_FAULT_REFUSED,     /* the device says so */
};

/** Where an image stands. */
struct fg_image_progress {
	struct fg_span device; /* the cloud's name for it; empty: the gateway itself */
	enum fg_image_kind kind;
	struct fg_span title, version;
	enum fg_image_state state;
	uint64_t have, size;       /* bytes; size 0: not known yet */
	bool only_grown;           /* as told before, but for `have`: it goes on */
	const char *error;         /* FG_IMAGE_FAILED: a sentence; else NULL */
	enum fg_image_fault fault; /* FG_IMAGE_FAILED */
};

/* ------------------------------------------------------------------ HTTP */

/** A request the host makes: fg_host.http(). Everything is copied. */
struct fg_http_call {
	const char *method;         /* "GET", "POST", "PUT", "DELETE" */
	const char *url;            /* http:// or https:// */
	const char *const *headers; /* "Name: value", NULL-terminated; or NULL */
	struct fg_span body;
	int64_t timeout_ms; /* for all of it; 0: 30 s */
	uint64_t tag;       /* the plugin's own; handed back */
};

/** What has become of it. */
struct fg_http_result {
	uint64_t tag;
	int error;       /* 0, or a negative errno when there was no answer, or one above 256 KiB */
	unsigned status; /* of HTTP; 0 after an error */
	struct fg_span body;
};

/* ------------------------------------------------------------------ what the host offers */

/** How much a cloud takes: @capacity within any @period_ms. */
struct fg_rate {
	uint32_t capacity;
	uint32_t period_ms;
};

enum fg_limit {
	FG_LIMIT_MESSAGES, /* publishes */
	FG_LIMIT_POINTS,   /* fg_publish.n_points */
	FG_LIMIT_BYTES,    /* of payload */
	FG_N_LIMITS,
};

/** Independent sets of limits of one link: fg_publish.scope names the one it counts in. */
#define FG_SCOPES 2

struct fg_batch;

/**
 * Calls a plugin may make from within any of its own callbacks but close(). The table outlives the ctx.
 * `device` is the cloud's name for a device; empty: the gateway itself.
 */
struct fg_host {
	uint32_t size; /* of the host's table: members beyond it are not there */

	/**
	 * Tell the operator something the plugin alone can know. The host puts the link's name in
	 * front and holds repetitions of the same @format back. Never a payload, never a secret.
	 */
	void (*warn)(void *host_ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

	/* ---- sessions */

	/**
	 * SUBSCRIBE on @session (MQTT 3.1.1, 3.8), at QoS 0 or 1. What is subscribed to is not kept for
	 * the next session, so connected() is the place for it.
	 * Returns 0, -ENOTCONN, -EINVAL (not a topic filter) or -ENOMEM.
	 */
	int (*subscribe)(void *host_ctx, const char *session, const char *filter, unsigned qos);

	/**
	 * End the session in good order and connect anew: credentials have changed. @why: for the
	 * log, static text.
	 */
	void (*reconnect)(void *host_ctx, const char *session, const char *why);

	/* ---- up */

	/**
	 * Within encode(): message @i of @batch can never be sent, for the reason given. It goes into
	 * quarantine.
	 */
	void (*refuse)(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
		__attribute__((format(printf, 4, 5)));

	/** What was left on @session is offered again, in front of what follows it. */
	void (*offer_left)(void *host_ctx, const char *session);

	/**
	 * The limits of @scope (below FG_SCOPES). @rates: @n of them, all apply at once; 0: no limit.
	 * They replace those of the call before.
	 */
	void (*limit)(void *host_ctx, unsigned scope, enum fg_limit what,
		      const struct fg_rate *rates, size_t n);

	/* ---- the time */

	/**
	 * Call woken() in @in_ms (0: soon; 1000 and more: to half a second); negative: not at all.
	 * There is one timer, and the last call counts.
	 */
	void (*wake)(void *host_ctx, int64_t in_ms);

	/** Has the machine no clock to be believed in, so that the cloud's word for the time is welcome? */
	bool (*wants_time)(void *host_ctx);

	/**
	 * By the cloud's clock it is @offset_us later than the now_us of this call's callback. Stamps follow
	 * that for as long as the machine's own clock is not set. Returns 0, -EALREADY (it is known
	 * better here), or -ERANGE (it cannot be that late, or early).
	 */
	int (*tell_time)(void *host_ctx, int64_t offset_us);

	/* ---- down */

	/**
	 * Take a command; see struct fg_command. What the host cannot take it answers. Returns 0, or
	 * -EAGAIN: the disk has no room for it. Within receive() nothing is left for the plugin to do:
	 * the PUBLISH is acknowledged when the command is on disk, and for -EAGAIN not, so that it comes
	 * again. What is told of later is the plugin's to keep until there is room.
	 */
	int (*command)(void *host_ctx, const struct fg_command *command);

	/**
	 * The cloud has set or deleted configuration of @device, values that it keeps for the device and
	 * the device is to follow: @set is a JSON object, @unset a JSON array of names; either may be
	 * empty. Nothing is told of a device this cloud does not get.
	 */
	void (*config)(void *host_ctx, struct fg_span device, struct fg_span set,
		       struct fg_span unset);

	/**
	 * The answer to a FG_REQUEST, whose ref this is: a body as of a FG_COMMAND_RESPONSE. A request
	 * that is not answered in time is forgotten.
	 */
	void (*respond)(void *host_ctx, struct fg_span ref, struct fg_span body);

	/* ---- devices; not within open(), where these return -EINVAL */

	/** The cloud now calls device @from @to; remembered durably. Returns 0 or -EINVAL. */
	int (*rename)(void *host_ctx, struct fg_span from, struct fg_span to);

	/**
	 * The cloud has deleted @device: it gets nothing of it any more, until unmute() or an operator
	 * says otherwise; remembered durably. Returns 0 or -EINVAL.
	 */
	int (*mute)(void *host_ctx, struct fg_span device);

	/**
	 * The cloud has @device again: it gets what it says from now on. Nothing happens when it was
	 * not mute. Returns 0 or -EINVAL.
	 */
	int (*unmute)(void *host_ctx, struct fg_span device);

	/* ---- memory */

	/**
	 * Keep a small thing (a credential got by provisioning) durably under @key ([a-z0-9_], 1..32);
	 * an empty @value forgets it. remembered() says when it is on disk: use it then, not before; of
	 * what recall() shows already it says nothing. Returns 0, -EINVAL, or -EMSGSIZE (more than
	 * 16 KiB in all).
	 */
	int (*remember)(void *host_ctx, const char *key, struct fg_span value);

	/**
	 * What was remembered, as of the last remembered(), also before a restart; *@ret is valid until
	 * the next remember(). Returns 0 or -ENOENT.
	 */
	int (*recall)(void *host_ctx, const char *key, struct fg_span *ret);

	/* ---- HTTP */

	/**
	 * Make an HTTP request with the link's TLS settings; http_done() follows, exactly once, unless
	 * the ctx is closed before. Returns 0, -EINVAL (the operator has been told why) or -EAGAIN (16
	 * are under way).
	 */
	int (*http)(void *host_ctx, const struct fg_http_call *call);

	/* ---- images */

	/**
	 * Begin, or take up again, to bring @image to its device; one of the same device and kind is
	 * dropped when it is another image. *@ret_have: bytes that are there already; without a URL
	 * the plugin fetches the rest in order, and nothing when that is all of it. image_progress()
	 * tells where it stands, also from within this call. Returns 0; -EAGAIN (the disk is busy with
	 * the one before: begin again in a second); -EEXIST (see unless_there; nothing is told); or
	 * -EINVAL, -ENOSPC, -EIO, with a sentence in image_progress().
	 */
	int (*image_begin)(void *host_ctx, const struct fg_image *image, uint64_t *ret_have);

	/**
	 * The next bytes of it, at @offset. Returns 0, -ENOENT (nobody wants them), -ERANGE (not the
	 * next ones, or beyond its size), -EAGAIN (the disk is behind: the same again in a second),
	 * -ENOSPC or -EIO; of the last two image_progress() has told.
	 */
	int (*image_write)(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			   uint64_t offset, struct fg_span data);

	/** Are bytes missing of an image of this link without a URL? It was begun before a restart, maybe. */
	bool (*image_lacks)(void *host_ctx, struct fg_span device, enum fg_image_kind kind);

	/** It cannot be fetched, or nobody will wait for its device any longer, for the reason @why: it
	 * has failed, image_progress() says so. NULL: the cloud has withdrawn it. */
	void (*image_abandon)(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			      const char *why);

	/**
	 * Have image_progress() tell once more of each image of this link but those whose end was
	 * image_told().
	 */
	void (*image_tell)(void *host_ctx);

	/** The cloud knows how it ended; remembered durably. What failed may be tried again after a restart,
	 * but not before the cloud knows. */
	void (*image_told)(void *host_ctx, struct fg_span device, enum fg_image_kind kind);

	/**
	 * The version that runs on @device, as it has told or confirmed last, also before a restart.
	 * *@ret is valid during the call of the plugin. Returns 0, or -ENOENT: nobody knows.
	 */
	int (*image_version)(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			     struct fg_span *ret);
};

/** What a plugin is opened with. What it points to outlives the ctx. */
struct fg_open {
	const struct fg_value *values; /* one for each entry of the option table, in its order */
	const struct fg_host *host;
	void *host_ctx;              /* first argument of each of its calls */
	const char *link_name;       /* the name of the cloud in the configuration */
	const char *gateway_name;    /* gateway.name */
	bool has_client_certificate; /* the link's `tls:` section carries one */
	const char *host_name;       /* of the link's URL */
	unsigned keep_alive_s;       /* the link's keep_alive; 0: not configured */
	bool has_fallback;           /* while MQTT is blocked, the link shall use HTTP */
};

/* ------------------------------------------------------------------ a session */

/** A CONNECT is about to be sent. */
struct fg_connect_request {
	const char *session;   /* "": the link's only session */
	int64_t now_us;        /* UTC; credentials that carry a time are made from this */
	unsigned attempt;      /* 0 for the first since start-up or since a stable minute */
	unsigned mqtt_version; /* 4 (3.1.1) or 5 */
};

/**
 * What the CONNECT shall say; preset to zero but for clean_start. The strings are the plugin's and
 * stay valid until its next call.
 */
struct fg_connect {
	const char *client_id; /* NULL: the host makes a stable one up */
	const char *username;  /* NULL: none */
	const char *password;  /* NULL: none */
	bool clean_start;      /* preset true */
	unsigned keep_alive_s; /* 0: as configured, else 60 */
	/* They are made from the request's now_us: when they are refused, the host asks for others at once,
	 * one time. */
	bool is_timed;
	int64_t renew_us; /* UTC at which the session must be renewed; 0: never */
	bool is_setup; /* a session for the plugin's own business (provisioning): no messages are offered */
	/* HOST:PORT to connect to, as the cloud has named it, an IPv6 address in brackets; NULL: the
	 * link's URL. With mqtts:// there TLS is spoken here, too, and the certificate must be for
	 * HOST. */
	const char *address;
};

/** The cloud has answered CONNACK 0. */
struct fg_connack {
	bool session_present;
	unsigned mqtt_version;
	size_t max_packet_bytes; /* Maximum Packet Size (MQTT 5, 3.2.2.3.6) or 0: none announced */
};

/** What carries a session: MQTT, or HTTP instead, where a link has a fallback (see fg_plugin.http). */
enum fg_carrier {
	FG_CARRIER_MQTT = 0, /* encode() makes a PUBLISH */
	FG_CARRIER_HTTP = 1, /* encode() makes the POST of an HTTP request; nothing comes down */
};

/* ------------------------------------------------------------------ up: messages to publishes */

/** What has become of a message that was offered to encode(). */
enum fg_offer {
	FG_OFFERED = 0, /* not sent yet: offer it again */
	FG_TAKEN = 1,   /* travels in the publish just made */
	FG_NOTHING = 2, /* has nothing this cloud would take; done */
	FG_REFUSED = 3, /* can never be sent: set by fg_host.refuse(), not by the plugin */
	/* Waits for offer_left(), or for the next session; what follows does not wait. */
	FG_LEFT = 4,
};

/**
 * Messages offered, in journal order. The plugin sets `states[i]` of those it deals with and
 * leaves the others alone; it never looks at one whose state is not FG_OFFERED.
 */
struct fg_batch {
	const struct fg_message *messages;
	uint8_t *states; /* enum fg_offer */
	size_t count; /* may be 0: the host asks whether the plugin itself has something to say */
	size_t max_take; /* at most so many messages in one publish (1 while a refused one is
			     sought) */
	size_t max_left; /* at most so many may be left now: the cursor has to remember each */
	/* At most so many data points in one publish of that scope, as limit() allows now. */
	size_t max_points[FG_SCOPES];
	enum fg_carrier carrier; /* what will carry the publish */
	/* They are of the lane that overtakes the other one: alarms, requests, answers. A lane has numbers
	 * of its own. */
	bool is_alarm;
	int64_t now_us;          /* UTC */
	uint64_t values_dropped; /* add 1 for each member left out (NaN, Infinity, …) */
};

/** One PUBLISH, or one POST. The buffers are the host's. Retain is never set. */
struct fg_publish {
	char *topic; /* NUL-terminated by the plugin; HTTP: path and query, from the first slash */
	size_t topic_size;
	char *payload;
	size_t payload_size;
	size_t payload_len;
	size_t max_packet_bytes;  /* bound for the Remaining Length (MQTT 3.1.1, 2.2.3), HTTP: for
				     the payload; 0: none */
	unsigned qos;             /* 0 or 1; preset 1. Of no use to HTTP */
	const char *content_type; /* MQTT 5, 3.3.2.3.9; NULL: none. Static or the ctx's */
	/* HTTP: "Name: value", NULL-terminated; NULL: none. As long as the session lasts, the ctx's */
	const char *const *headers;
	uint64_t tag;    /* handed back to settled() */
	unsigned scope;  /* of limit(), below FG_SCOPES; preset 0 */
	size_t n_points; /* data points in it, for FG_LIMIT_POINTS; preset 0 */
};

/** How a publish ended. */
struct fg_settlement {
	uint64_t tag;
	unsigned reason_code; /* MQTT 5, 3.4.2.1; 0 for MQTT 3.1.1 and for HTTP */
	size_t n_messages;    /* how many messages travelled in it; 0: the plugin's own publish */
	int64_t now_us;       /* UTC */
	unsigned http_status; /* of the answer; 0: it went by MQTT */
	struct fg_span http_body;
};

/** What the plugin makes of that. */
enum fg_verdict {
	FG_ACCEPTED = 0, /* done */
	/* Not now: send again after a pause; after a few times treat as FG_POISON, after more and more of
	 * them while nothing is accepted in between. */
	FG_RETRY = 1,
	FG_LATER = 2,  /* a rate limit: send again after a pause, as often as it takes */
	FG_POISON = 3, /* never again: find the message at fault and put it into quarantine */
	/* HTTP: we are not who we say (any more). Sign in and send again; the second time in a row that
	 * is a fault of the credentials, and waits for long. */
	FG_SIGN_IN = 4,
};

/* ------------------------------------------------------------------ a session by HTTP */

/** What a sign-in by HTTP has got. */
struct fg_http_sign_in {
	int64_t renew_ms; /* sign in anew after so long; 0: when an answer asks for it (FG_SIGN_IN) */
	size_t max_body_bytes; /* of a request; 0: the host's own limit, 1 MiB */
};

/**
 * A session that HTTP carries: the way up while MQTT is blocked. One request is under way at a time,
 * so the order stays. For such a session encode() gets FG_CARRIER_HTTP, settled() an HTTP status, and
 * disconnected() the end; connect() and connected() are for MQTT alone.
 */
struct fg_http_uplink {
	uint32_t size; /* sizeof(struct fg_http_uplink); members beyond it count as NULL */

	/**
	 * The request that signs in; the url is path and query, from the first slash, and the tag of
	 * no use. request->mqtt_version is 0. Called for each session. Returns 1; 0: there is nothing
	 * to sign in to, the session is up; or -EINVAL: there are no credentials now, ask again later.
	 */
	int (*sign_in)(void *ctx, const struct fg_connect_request *request,
		       struct fg_http_call *out);

	/**
	 * Its answer; @out is zeroed. Returns 0: the session is up; -EACCES: our credentials are not
	 * accepted, which waits for long; -EAGAIN: not now; or -EPROTO: it makes no sense.
	 */
	int (*signed_in)(void *ctx, const char *session, const struct fg_http_result *answer,
			 struct fg_http_sign_in *out);
};

/* ------------------------------------------------------------------ down */

/** A PUBLISH from the cloud. */
struct fg_delivery {
	const char *topic;
	struct fg_span payload;
	unsigned qos;
	int64_t now_us; /* UTC */
};

/* ------------------------------------------------------------------ the cloud's other side */

/*
 * Most clouds have a second interface (REST), for the applications that use what devices send. From
 * there fieldgatectl(1) looks at a gateway with the eyes of its customer: is a reading there, does a
 * command come back answered? The plugin describes requests and reads answers; the tool makes them,
 * with TLS verified. The daemon uses none of this, and has no need of an account for it.
 */

/** What is asked, in this order; each may take several requests. */
enum fg_rest_step {
	FG_REST_LOGIN,   /* show the account, get a token */
	FG_REST_DEVICE,  /* is the device known? What the other two need of it, the ctx remembers */
	FG_REST_READING, /* is this value there? */
	FG_REST_COMMAND, /* send it, and get the device's answer */
};

struct fg_rest_question {
	enum fg_rest_step step;
	int64_t now_us;         /* UTC; for signatures that carry a time */
	struct fg_span device;  /* the cloud's name for it */
	struct fg_span key;     /* READING: name of the value, … */
	struct fg_span value;   /* … as JSON text, as it was sent, … */
	int64_t from_us, to_us; /* … stamped within these, UTC, both included */
	struct fg_span command; /* COMMAND: its name, … */
	struct fg_span params;  /* … one JSON value, … */
	int64_t timeout_ms;     /* … and how long the cloud shall wait for the answer */
};

/** A request to be made. What it points to is the ctx's and valid until its next call. */
struct fg_rest_request {
	const char *method;         /* "GET", "POST", "PUT", "PATCH" or "DELETE" */
	const char *url;            /* whole: https://… */
	const char *const *headers; /* "Name: value", NULL-terminated; or NULL */
	struct fg_span body;
	const char *wanted_header; /* of the answer: name of one that matters; or NULL */
};

/** What came back. Borrowed for the call. */
struct fg_rest_response {
	unsigned status; /* of HTTP */
	struct fg_span body;
	const char *wanted_header; /* its value, or NULL */
};

enum fg_rest_verdict {
	FG_REST_DONE,
	FG_REST_AGAIN,  /* one more request after a pause: it is not there yet, or this was one of
			   several; says why, in case it never comes to an end */
	FG_REST_FAILED, /* and says why */
};

/** What an operator has to look at. */
enum fg_rest_fault {
	FG_REST_FAULT_OTHER,
	FG_REST_FAULT_ACCOUNT,   /* name, password, token or key are not accepted */
	FG_REST_FAULT_FORBIDDEN, /* the account may not do this */
	FG_REST_FAULT_UNKNOWN,   /* the cloud does not know the device */
	FG_REST_FAULT_MISSING,   /* the value is not there */
	FG_REST_FAULT_OFFLINE,   /* to the cloud the device is not there: no command was sent */
	FG_REST_FAULT_SILENT,    /* no answer to the command in time */
	FG_REST_FAULT_REFUSED,   /* the answer to the command is an error */
	FG_REST_FAULT_LIMIT,     /* too many requests */
};

struct fg_rest_result {
	enum fg_rest_fault fault; /* with AGAIN and FAILED */
	char text[256];           /* the same as half a sentence, NUL-terminated; never a secret */
	int64_t time_us;          /* READING, done: the stamp it has in the cloud, UTC */
	struct fg_span answer;    /* COMMAND, done: the answer, JSON, or empty; in the response or
				     the ctx's */
};

/** With what it is opened. What it points to outlives the ctx. */
struct fg_rest_open {
	const struct fg_value *values; /* one for each entry of the option table, in its order */
	const struct fg_value *link;   /* the same of the link's own table, fg_plugin.options */
	const char *url;               /* where the interface is, without a final slash */
};

struct fg_rest {
	uint32_t size; /* sizeof(struct fg_rest); members beyond it count as NULL */
	const struct fg_option *options; /* of the account, as in a cloud's section */

	/** Make a ctx. Returns 0, -EINVAL with a sentence in @error, or -ENOMEM. */
	int (*open)(const struct fg_rest_open *with, void **ret_ctx, char *error,
		    size_t error_size);

	/** Release a ctx; secrets are overwritten. Takes NULL. */
	void (*close)(void *ctx);

	/**
	 * The next request of @question's step. Returns 1 and a request, 0: the step needs none
	 * and is done, or -EINVAL: what is asked cannot be asked this cloud.
	 */
	int (*request)(void *ctx, const struct fg_rest_question *question,
		       struct fg_rest_request *out);

	/** Read what came back for it; @out is zeroed. */
	enum fg_rest_verdict (*answer)(void *ctx, const struct fg_rest_question *question,
				       const struct fg_rest_response *response,
				       struct fg_rest_result *out);
};

/* ------------------------------------------------------------------ the plugin */

struct fg_plugin {
	uint32_t abi;        /* FG_PLUGIN_ABI; read before anything else */
	uint32_t size;       /* sizeof(struct fg_plugin); members beyond it count as NULL */
	const char *name;    /* as in `plugin:` and in the file's name, NAME.so */
	const char *summary; /* one line: which cloud, which interface */
	const struct fg_option *options; /* {0} alone: none */

	/**
	 * Make a ctx. On failure writes a sentence for the operator to @error (NUL-terminated).
	 * Returns 0, -EINVAL (options that contradict each other) or -ENOMEM.
	 */
	int (*open)(const struct fg_open *with, void **ret_ctx, char *error, size_t error_size);

	/** Release a ctx; secrets are overwritten. Takes NULL. */
	void (*close)(void *ctx);

	/**
	 * Say what the CONNECT shall carry; called for each attempt; @out is preset. Returns 0, or -EINVAL:
	 * there are no credentials now, ask again later.
	 */
	int (*connect)(void *ctx, const struct fg_connect_request *request, struct fg_connect *out);

	/** The session is up: subscribe here. May be NULL. */
	void (*connected)(void *ctx, const char *session, const struct fg_connack *connack);

	/** The session is gone, and with it every publish that was not settled. May be NULL. */
	void (*disconnected)(void *ctx, const char *session);

	/**
	 * Make the next publish.
	 *
	 * Returns 1: @out is filled; the messages just marked FG_TAKEN travel in it (none: it is
	 * the plugin's own, and messages may wait for its acknowledgement). Returns 0: nothing to
	 * publish now; every message still FG_OFFERED waits for a settled() call. Returns -EINVAL
	 * or -ENOMEM: the plugin is broken; the link stops and says so.
	 */
	int (*encode)(void *ctx, const char *session, struct fg_batch *batch,
		      struct fg_publish *out);

	/**
	 * A publish has been acknowledged or refused, or its request answered. May be NULL: codes below
	 * 0x80 and 2xx are FG_ACCEPTED, all others FG_POISON.
	 */
	enum fg_verdict (*settled)(void *ctx, const char *session, const struct fg_settlement *how);

	/**
	 * Something came down. May be NULL. Returns 0, or -EPROTO when it makes no sense. encode() is
	 * called soon after, in case there is something to say. It is acknowledged when all that the host
	 * was asked to keep within this call is on disk: what is put off until later is not.
	 */
	int (*receive)(void *ctx, const char *session, const struct fg_delivery *delivery);

	/** The time asked for with wake() has come; @now_us is UTC. encode() is called soon after. May be NULL. */
	void (*woken)(void *ctx, int64_t now_us);

	/**
	 * What remember() was given under @key is on disk (@error 0), or could not be written (a
	 * negative errno). May be NULL.
	 */
	void (*remembered)(void *ctx, const char *key, int error);

	/** An HTTP request has ended. encode() is called soon after. May be NULL. */
	void (*http_done)(void *ctx, const struct fg_http_result *result);

	/** An image has come further. encode() is called soon after. May be NULL. */
	void (*image_progress)(void *ctx, const struct fg_image_progress *progress);

	/**
	 * Has each device a session of its own, called by the cloud's name for the device? Asked once,
	 * after open(). NULL, or false: the link has one session, "".
	 *
	 * Such a session is opened when its device has something to send. One that is down, slow or
	 * refused delays no other: it falls behind, and catches up alone. When the cloud calls its
	 * device otherwise (rename(), or the operator by the configuration), it ends in good order and
	 * a session of the new name sends the rest; when the cloud does not get the device any more
	 * (mute()), it ends, and what waited for it is dropped. A device whose name the cloud uses for
	 * another one gets no session: its messages go into quarantine.
	 */
	bool (*has_device_sessions)(void *ctx);

	/** The cloud's interface for applications, for fieldgatectl. NULL: unknown to this plugin. */
	const struct fg_rest *rest;

	/** The way up by HTTP, while MQTT is blocked. NULL: there is none. */
	const struct fg_http_uplink *http;
};

/** The one symbol a plugin exports. */
extern FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin;

#ifdef __cplusplus
}
#endif
