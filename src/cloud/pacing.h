#pragma once

/*
 * How fast a link may send: rates for publishes, data points and bytes, several of each at once (20 in
 * 1 s and 600 in 60 s). Each is a token bucket as clouds keep them: what was not used gathers up to the
 * capacity, and comes back evenly over the period. Integers on the monotonic clock, so nothing drifts,
 * and no step of @now_ms can give more than one capacity.
 *
 * The rates of the configuration count every publish. Those that the plugin learns from its cloud are
 * kept by scope, and count only its publishes.
 */
#include "config/config.h"

#define FG_PACING_SETS (FG_SCOPES + 1)

struct fg_bucket {
	struct fg_rate rate;
	/* Of capacity × period_ms; each ms takes `capacity` off, each unit sent adds period_ms. */
	uint64_t used;
};

struct fg_pacing {
	struct fg_bucket buckets[FG_PACING_SETS][FG_N_LIMITS][FG_RATES_MAX];
	unsigned n[FG_PACING_SETS][FG_N_LIMITS];
	int64_t now_ms;
};

/** All buckets of @config->rates are full. */
void fg_pacing_init(struct fg_pacing *p, const struct fg_cloud_config *config);

/**
 * The rates of @scope, instead of those it had; one that was there before keeps its level. At most
 * FG_RATES_MAX; a rate with a 0 in it says nothing.
 */
void fg_pacing_limit(struct fg_pacing *p, unsigned scope, enum fg_limit what,
		     const struct fg_rate *rates, size_t n);

/** It is @now_ms. */
void fg_pacing_advance(struct fg_pacing *p, int64_t now_ms);

/**
 * How long until a publish of this size may go, in ms; 0: now. One that is larger than a capacity may
 * when that bucket is full, and what comes after it waits the longer.
 */
int64_t fg_pacing_wait(const struct fg_pacing *p, unsigned scope,
		       const uint64_t amounts[FG_N_LIMITS]);

/** How long until there is any use in making a publish, whatever its scope: with data points for it,
 * an eighth of what fits or what comes back in a second, not one at a time. */
int64_t fg_pacing_wait_for_any(const struct fg_pacing *p);

/** How long until no bucket of data points holds more than it does then: 0 when all are full. */
int64_t fg_pacing_wait_for_points(const struct fg_pacing *p);

/** The most data points that may go now in a publish of @scope; SIZE_MAX: no limit. */
size_t fg_pacing_max_points(const struct fg_pacing *p, unsigned scope);

/** A publish of this size goes. */
void fg_pacing_take(struct fg_pacing *p, unsigned scope, const uint64_t amounts[FG_N_LIMITS]);
