#pragma once

/*
 * How commands reach field devices and how their answers are found: the rules of `commands:`,
 * compiled. Knows nothing of time, state or journal: given a command it says what to publish, given
 * a PUBLISH it says whose answer it can be.
 *
 * The id that goes down is never the cloud's (that may have any bytes, and clouds share devices) but
 * the *wire id*, which the command desk makes: 9..24 of [0-9a-f], safe in a topic, unique as long as
 * the journal lives and over all gateways but for 1 in 2^32.
 *
 * Topic templates take {device} {command} {id} as they are. A name that would change the shape of
 * the topic is refused before anything is published: wildcards, NUL, a '/' in a {command}, a '/' in
 * a {device} whose answers would then not match the response pattern, a '$' in front that the
 * template did not have. Payload templates take {params} {id} {command} {device} as JSON values.
 *
 * With FG_CORRELATE_MQTT5 and without a `response.topic` answers are asked for on
 * "fieldgate/<gateway name>/response/<wire id>": one filter for all of them, below a prefix that no
 * other gateway has.
 */
#include "config/config.h"
#include "local/command_answer.h"
#include "util/error.h"

struct fg_command_map;

#define FG_WIRE_ID_MAX 24

/** What the desk needs to know of a rule; lives as long as the map. */
struct fg_command_rule {
	const char *broker; /* or NULL: the gateway decides */
	unsigned qos;
	enum fg_correlate correlate;
	/*
	 * Answers of rules with the same group come on the same topics and are told apart in the
	 * same way. -1: there are no answers, the command is done when the broker has it.
	 */
	int group;
	enum fg_offline offline;
	int64_t timeout_ms;
	unsigned max_open; /* 1 with FG_CORRELATE_NONE */
	bool may_repeat;
};

/** A topic filter on which answers come. */
struct fg_command_filter {
	const char *filter;
	const char *broker; /* the only one to subscribe it at, or NULL: all */
	bool is_own; /* below this gateway's own prefix: whoever shares subscriptions must not share
			this */
};

/**
 * Compile the rules; config->max_message_bytes bounds what is published and what is taken as an
 * answer. On success the caller owns *@ret, which keeps nothing of @config.
 * Returns 0, -ENOMEM, or -EINVAL: mistakes that only show here, all of them, are added to @report
 * with their place. Among them are a rule that is never reached, a payload that is not JSON, an
 * answer that could not be told from another one, and a command that would arrive as its own answer.
 */
int fg_command_map_new(const struct fg_config *config, struct fg_report *report,
		       struct fg_command_map **ret);
struct fg_command_map *fg_command_map_free(struct fg_command_map *m);

/** The topic filters to subscribe (QoS 1), each once; they live as long as @m. Never through a shared
 * subscription: the answer has to come to the gateway that sent the command. */
size_t fg_command_map_filters(const struct fg_command_map *m,
			      const struct fg_command_filter **ret_filters);

/** The index of the first rule for @name of @device; -ENODEV (none for the device), or -ENOENT (some
 * for the device, none for this command). */
int fg_command_map_find(const struct fg_command_map *m, struct fg_span device, struct fg_span name);

const struct fg_command_rule *fg_command_map_rule(const struct fg_command_map *m, int rule);

/** A command in the words of the field. */
struct fg_command_words {
	struct fg_span device, name;
	struct fg_span id;     /* the wire id */
	struct fg_span params; /* one checked JSON value, or empty: null */
};

/** What to publish for it; in buffers of the map until its next fill, and in the words. */
struct fg_command_output {
	const char *topic; /* NUL-terminated, as is the next */
	struct fg_span payload;
	const char *response_topic; /* MQTT 5, 3.3.2.3.5; NULL: none */
	struct fg_span correlation; /* MQTT 5, 3.3.2.3.6, or empty */
};

/**
 * Fill @rule's templates. Allocates nothing.
 * Returns 0; -ENODEV (the device's name does not fit the topics), -ENOENT (the command's name does
 * not), -EMSGSIZE (larger than a message may be) with a sentence.
 */
int fg_command_map_fill(struct fg_command_map *m, int rule, const struct fg_command_words *words,
			struct fg_command_output *ret, struct fg_error *err);

/** What arrived from a field broker. */
struct fg_command_arrival {
	struct fg_span topic;
	struct fg_span payload;
	struct fg_span correlation; /* MQTT 5 Correlation Data, or empty */
	/* From the broker's store, for a new subscription: older than any command, so no answer. */
	bool is_retained;
};

/** Whose answer an arrival can be. Spans point into the arrival or the map. */
struct fg_command_match {
	int group;
	struct fg_span device, name, id; /* as far as the topic or the payload tell; else empty */
};

/**
 * The next group from *@at on (0 to start) whose answers look like this; *@at moves behind it.
 * Allocates nothing. Returns false when there is none.
 */
bool fg_command_map_match(const struct fg_command_map *m, const struct fg_command_arrival *arrival,
			  size_t *at, struct fg_command_match *ret);

/** Is @topic below this gateway's own prefix, where nothing but answers to commands comes? */
bool fg_command_map_owns(const struct fg_command_map *m, struct fg_span topic);

/**
 * The body of the response for the answer @payload to a command of @rule, in a buffer of the map
 * until the next one. Returns 0, or -EMSGSIZE or -EBADMSG with a sentence (command_answer.h).
 */
int fg_command_map_answer(struct fg_command_map *m, int rule, struct fg_span payload,
			  struct fg_span *ret_body, struct fg_error *err);

/** What bounds a message in either direction. */
size_t fg_command_map_max_bytes(const struct fg_command_map *m);

static inline void fg_command_map_free_p(struct fg_command_map **m)
{
	fg_command_map_free(*m);
}
