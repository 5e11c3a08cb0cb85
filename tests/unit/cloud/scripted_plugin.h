#pragma once

/*
 * A plugin for tests. What it does with a message hangs on the first letter of its device:
 *
 *	n  has nothing to send		r  refuses it, for ever
 *	c  sends a "connect" publish first and holds the device's messages until that is settled
 *	p  cannot go by HTTP, nor while the script leaves it
 *	s  travels alone
 *
 * else: as many of the same device as fit in one publish.
 *
 * Payloads are "1,2,5": the sequence numbers that travel in them.
 */
#include "cloud/outbox.h"

#define SCRIPT_DEVICES 64

enum script_misdeed {
	SCRIPT_HONEST,
	SCRIPT_TAKES_AND_SENDS_NOTHING,
	SCRIPT_INVENTS_A_STATE,
	SCRIPT_TAKES_TOO_MANY,
	SCRIPT_FAILS,
	SCRIPT_WANTS_QOS_2,
	SCRIPT_OVERFLOWS_LENGTH,
	SCRIPT_TOPIC_FOR_MQTT, /* by HTTP */
	SCRIPT_LEAVES_TOO_MANY,
};

struct script {
	unsigned max_batch; /* messages in one publish; 0: as many as there are */
	unsigned qos;
	bool leaves_p;
	bool leaves_tenth; /* of all devices, each tenth record */
	size_t max_left;   /* as told with the last encode() */
	bool has_own;      /* one publish of its own is due */
	bool has_no_plan;  /* `settled` accepts whatever the code */
	enum script_misdeed misdeed;
	struct {
		char name[24];
		bool is_connected;
		uint64_t control_tag; /* 0: none under way */
	} devices[SCRIPT_DEVICES];
	uint64_t tags;
	uint64_t seqs[1024]; /* in the publish made last */
	size_t n_seqs;
	bool is_alarm;                       /* they are of the alarm lane */
	size_t max_packet_bytes, max_points; /* as told with the last encode() */
	unsigned scope;                      /* of all publishes */
	size_t points;                       /* of each message */
	unsigned n_encodes, n_opened, n_closed, n_connects, n_connected, n_disconnected, n_settled,
		n_received;
	struct fg_settlement last_settlement;
	struct fg_connect_request last_request;
	/* for connect() */
	int connect_result;
	const char *address; /* NULL: the link's URL */
	bool is_timed, is_setup;
	unsigned keep_alive_s, told_keep_alive_s; /* of connect(), of open() */
	int receive_result;
	const struct fg_command *command; /* comes with whatever is received; or NULL */
	int command_result;               /* what the host has said of it */
	const struct fg_image *image;     /* begins with whatever is received; or NULL */
	/* does with it what it likes; or NULL */
	void (*receive)(const struct fg_host *host, void *host_ctx, struct fg_span payload);
	bool is_receiving;
	unsigned n_progress, n_nested; /* encode() calls within receive() */
	int64_t renew_after_us;        /* 0: never */
	const char *filter;            /* subscribed to when connected */
	/* by HTTP */
	enum fg_carrier carrier; /* as told with the last encode() */
	bool is_told_alarm;      /* the same */
	bool has_no_sign_in;     /* requests need none */
	int sign_in_result;      /* below 0: instead of a request */
	int64_t renew_ms;
	size_t max_body_bytes;
	unsigned n_sign_ins, n_signed_in;
	struct fg_connect_request last_sign_in;
	int subscribe_result;
	struct fg_outbox *outbox; /* refuses there; NULL: through the host */
	const struct fg_host *host;
	void *host_ctx;
};

/** The script that the next open() takes; the plugin's ctx is the script itself. */
extern struct script *script_next;
extern const struct fg_plugin script_plugin;
/** The same with HTTP: paths are "/data/DEVICE", and "/login" signs in. */
extern const struct fg_plugin script_http_plugin;
/** The same as the first, with a session for each device. */
extern const struct fg_plugin script_sessions_plugin;

/** 200: accepted, 401: sign in, 429: later, 500: retry, any other: poison. */
enum fg_verdict script_http_verdict(unsigned status);

/** 0: accepted, 0x97: later, 0x80: retry, any other from 0x80 on: poison. */
enum fg_verdict script_verdict(unsigned reason_code);
