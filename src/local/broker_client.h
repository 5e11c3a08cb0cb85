#pragma once

/*
 * A broker on the field side that already exists: a persistent session, the mapped filters subscribed at
 * QoS 1, and a PUBACK only after the record it stands for is on disk.
 *
 * One turn: read until the callback count stands still, append, have it committed, and only then let the
 * PUBACKs out. While a commit that holds messages of this broker runs, nothing more is read from it: a
 * PUBACK queued behind would leave with the others. P1 covers the way from that broker to us, not the
 * broker's own memory.
 *
 * state \ event | start      | connected | ended     | committed       | back-off over | stop
 * --------------+------------+-----------+-----------+-----------------+---------------+----------------
 * STOPPED       | CONNECTING |     -     |     -     |        -        |       -       |       -
 * CONNECTING    |     -      | ONLINE    | BACKOFF   |        -        |       -       | STOPPED
 * ONLINE        |     -      |     -     | BACKOFF   | let PUBACKs out |       -       | STOPPING
 * STOPPING      |     -      |     -     | STOPPED   | …and DISCONNECT |       -       |       -
 * BACKOFF       |     -      |     -     |     -     |        -        | CONNECTING    | STOPPED
 */
#include <ev.h>

#include "config/config.h"
#include "local/intake.h"
#include "net/connector.h"

/* With a tag, at one time. */
#define FG_BROKER_PUBLISHES_MAX 1024

struct fg_broker_client;

struct fg_broker_client_options {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_journal *journal;
	struct fg_intake *intake;
	const struct fg_mapping *mapping;         /* what to subscribe */
	const struct fg_command_map *command_map; /* the same, or NULL */
	const struct fg_images *images;           /* the same, or NULL */
	const struct fg_broker_config *config;    /* outlives the client */
	uint64_t seed;                            /* for the back-off's jitter */
	/* The session is up, or over. May be NULL. */
	void (*changed)(void *arg, struct fg_broker_client *b, bool is_online);
	/* The broker has acknowledged the PUBLISH with @tag. May be NULL. */
	void (*published)(void *arg, uint64_t tag, unsigned reason_code);
	void *arg;
};

struct fg_broker_client_stats {
	bool is_online;
	const char *why;      /* it is not online: how its last attempt or session ended; or NULL */
	int64_t retry_ms;     /* until the next attempt; 0: it is under way, or online */
	uint64_t received;    /* PUBLISH packets */
	uint64_t messages;    /* records appended */
	uint64_t answers;     /* to commands */
	uint64_t quarantined; /* payloads that did not fit their rule */
	uint64_t unmapped;    /* no rule matched: acknowledged and dropped */
	uint64_t published;   /* PUBLISH packets the other way */
};

/**
 * Load TLS material; connects nothing yet. On success the caller owns *@ret.
 * Returns 0, -ENOMEM, or -EINVAL with a sentence.
 */
int fg_broker_client_new(const struct fg_broker_client_options *options,
			 struct fg_broker_client **ret, struct fg_error *err);

/** Would its TLS material load? Returns 0, -ENOMEM, or -EINVAL with a sentence. */
int fg_broker_client_check(const struct fg_broker_config *config, struct fg_error *err);

/** Release at once; what was not acknowledged comes again with the next session. Takes NULL. */
struct fg_broker_client *fg_broker_client_free(struct fg_broker_client *b);

void fg_broker_client_start(struct fg_broker_client *b);

/** Read no more, acknowledge what gets committed, disconnect; @stopped is called then (maybe at once). */
void fg_broker_client_stop(struct fg_broker_client *b, void (*stopped)(void *arg), void *arg);

/**
 * PUBLISH to the broker, behind the PUBACKs that wait for a commit. @tag: not 0 when `published` shall
 * tell of its PUBACK; it does not when the session ends before. Returns 0; -ENOTCONN; -EAGAIN (more
 * than FG_BROKER_PUBLISHES_MAX with a tag wait for their PUBACK); -EINVAL (no topic name); -EMSGSIZE;
 * -ENOMEM.
 */
int fg_broker_client_publish(struct fg_broker_client *b, const struct fg_mqtt_publish *publish,
			     uint64_t tag);

bool fg_broker_client_is_online(const struct fg_broker_client *b);

/** The journal has committed up to @ticket. */
void fg_broker_client_committed(struct fg_broker_client *b, uint64_t ticket);

const char *fg_broker_client_name(const struct fg_broker_client *b);
void fg_broker_client_get_stats(const struct fg_broker_client *b,
				struct fg_broker_client_stats *ret);
