#pragma once

/*
 * How long to wait before the next connection attempt: exponential with full jitter, so that a
 * thousand gateways that lost the same cloud do not come back together. The count of failures is
 * forgotten only after a session that stayed up for a minute: "connected, then closed within
 * seconds" is a failure too.
 */
#include <stdint.h>

enum fg_backoff_class {
	FG_BACKOFF_TRANSIENT,   /* up to 1 s at first, doubling to the most that was asked for */
	FG_BACKOFF_CREDENTIALS, /* 60 s .. 10 min: nobody mends a wrong password within seconds */
};

#define FG_BACKOFF_STABLE_MS 60000
#define FG_BACKOFF_MAX_MS 60000 /* of a transient fault, where nobody says otherwise */

struct fg_backoff {
	unsigned failures;       /* since the last stable session */
	int64_t connected_at_ms; /* monotonic; 0: not connected */
	uint64_t random;         /* state of the jitter's generator, not 0 */
	int64_t max_ms;          /* of a transient fault */
};

/** @max_ms: the longest delay after a transient fault, 1000 and more. */
void fg_backoff_init(struct fg_backoff *b, uint64_t seed, int64_t max_ms);

/** The session is up. */
void fg_backoff_connected(struct fg_backoff *b, int64_t now_ms);

/** An attempt failed or a session ended: count it. Returns the delay in ms until the next attempt.
 */
int64_t fg_backoff_next(struct fg_backoff *b, enum fg_backoff_class class, int64_t now_ms);
