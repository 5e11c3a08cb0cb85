#pragma once

/*
 * Topic names, topic filters (MQTT 3.1.1, 4.7) and topic patterns: a filter whose wildcards have
 * names, as in "sensors/{device}/{stream}". A capture is one whole level; a last level written
 * {rest...} captures all levels that remain (at least one) with their slashes.
 */
#include "util/error.h"
#include "util/span.h"

#define FG_TOPIC_MAX_BYTES 65535
#define FG_TOPIC_MAX_CAPTURES 8

/** A topic name as MQTT 3.1.1, 4.7.3 wants it: 1..65535 bytes of UTF-8, no NUL, no wildcard. */
bool fg_topic_name_ok(struct fg_span topic);

struct fg_topic_pattern;

/** What a pattern captured. Spans point into the topic. */
struct fg_topic_captures {
	size_t count;
	struct fg_span values[FG_TOPIC_MAX_CAPTURES]; /* in the pattern's order */
};

/**
 * Compile @text. Literal levels, {name} levels ([a-z][a-z0-9_]*, each name once), '+' levels (not
 * captured), and {name...} or '#' as the last level. On success the caller owns *@ret.
 * Returns 0, -ENOMEM, or -EINVAL with a sentence in @err.
 */
int fg_topic_pattern_new(struct fg_span text, struct fg_topic_pattern **ret, struct fg_error *err);
struct fg_topic_pattern *fg_topic_pattern_free(struct fg_topic_pattern *pattern);

/** The topic filter to subscribe; NUL-terminated, lives as long as the pattern. */
const char *fg_topic_pattern_filter(const struct fg_topic_pattern *pattern);

/** The index of capture @name, or -1. */
int fg_topic_pattern_capture(const struct fg_topic_pattern *pattern, struct fg_span name);

/**
 * Match @topic. What starts with a wildcard does not match a topic that starts with '$' (4.7.2), and "a/#"
 * matches "a" (4.7.1.2); but a {rest...} wants a level to capture: the pattern "a/{rest...}" leaves "a"
 * alone, though a broker that is asked for "a/#" sends it.
 * *@ret is meaningful when the result is true. Allocates nothing.
 */
bool fg_topic_pattern_match(const struct fg_topic_pattern *pattern, struct fg_span topic,
			    struct fg_topic_captures *ret);

/**
 * True when every topic that @other matches is matched by @pattern too: a rule with @other that
 * comes later is never reached.
 */
bool fg_topic_pattern_covers(const struct fg_topic_pattern *pattern,
			     const struct fg_topic_pattern *other);
