#pragma once

/*
 * Which field devices are there, and at which broker. A device is there when a status topic says
 * so or when anything comes from it; it has gone when a status topic says so, or when nothing has
 * come for `gateway.inactivity`. What is not known counts as there: a device that only takes
 * commands never says anything.
 *
 * state \ event | message     | said to be up | said to be down | silent too long
 * --------------+-------------+---------------+-----------------+-----------------
 * UNKNOWN       | UP, tell(1) | UP, tell      | DOWN, tell      |        -
 * UP            |  -          |  -            | DOWN, tell      | DOWN, tell
 * DOWN          | UP, tell    | UP, tell      |  -              |        -
 *
 * (1) Only where silence is watched; else whoever hears a device's first message knows as much.
 *
 * Runs on the loop, keeps nothing on disk: after a restart all devices are unknown.
 */
#include "util/span.h"

/* Devices remembered; of more, the one that has been silent for longest is forgotten. */
#define FG_PRESENCE_MAX_DEVICES 100000

struct fg_presence;

struct fg_presence_options {
	int64_t inactivity_ms; /* 0: silence means nothing */
	/*
	 * @device has come or gone. Returns 0, or -EAGAIN when this cannot be taken now: nothing has
	 * changed then, and the same will be told again.
	 */
	int (*changed)(void *arg, struct fg_span device, bool is_up);
	/* @device is heard at a source for the first time, or at another one than before; behind
	 * `changed`. NULL: nobody wants to know. */
	void (*moved)(void *arg, struct fg_span device);
	void *arg;
};

/** On success the caller owns *@ret. Returns 0 or -ENOMEM. */
int fg_presence_new(const struct fg_presence_options *options, struct fg_presence **ret);
struct fg_presence *fg_presence_free(struct fg_presence *p);

/**
 * Something came from @device (1..255 bytes), through @source (lives as long as the daemon, told
 * apart by its address). Allocates for a device that is new. Returns 0 or what `changed` returned.
 */
int fg_presence_heard(struct fg_presence *p, struct fg_span device, const char *source,
		      int64_t now_ms);

/** A status topic says that @device has come or gone. Returns as above. */
int fg_presence_said(struct fg_presence *p, struct fg_span device, const char *source, bool is_up,
		     int64_t now_ms);

/** False only when it is known to have gone. */
bool fg_presence_is_up(const struct fg_presence *p, struct fg_span device);

/** Where it was heard last, or NULL: never. */
const char *fg_presence_source(const struct fg_presence *p, struct fg_span device);

/** Each second: who has been silent for too long? */
void fg_presence_tick(struct fg_presence *p, int64_t now_ms);

struct fg_presence_stats {
	size_t known, up, down;
};

void fg_presence_get_stats(const struct fg_presence *p, struct fg_presence_stats *ret);
