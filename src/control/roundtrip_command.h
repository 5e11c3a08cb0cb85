#pragma once

/*
 * The command of a round trip as the field broker sees it: on which topic the gateway publishes it
 * to the device, how the device's answer is recognised, and, where no device is there yet, what one
 * would answer. All of it from the rules of `commands:`.
 */
#include "config/config.h"
#include "local/command_map.h"
#include "net/mqtt_client.h"
#include "util/error.h"

struct fg_expected;

#define FG_EXPECTED_TOPIC_MAX 4096
#define FG_EXPECTED_PAYLOAD_MAX 16384

/** What a device would publish. */
struct fg_expected_answer {
	char topic[FG_EXPECTED_TOPIC_MAX];
	char payload[FG_EXPECTED_PAYLOAD_MAX];
	struct fg_span correlation; /* points into the command's message */
};

/**
 * For @method of @device. @map is borrowed. On success the caller owns *@ret.
 * Returns 0, -ENOMEM, or -ENOENT with a sentence: no rule takes this command.
 */
int fg_expected_new(const struct fg_config *config, struct fg_command_map *map, const char *device,
		    const char *method, struct fg_expected **ret, struct fg_error *err);
struct fg_expected *fg_expected_free(struct fg_expected *e);

/** The broker that its rule names, or NULL: any. */
const char *fg_expected_broker(const struct fg_expected *e);

/** The topic filters on which the command and its answer pass; the second is NULL when the device is
 * not asked for an answer. */
const char *fg_expected_command_filter(const struct fg_expected *e);
const char *fg_expected_answer_filter(const struct fg_expected *e);

/** Is @m the command? From then on only its own answer is one. */
bool fg_expected_is_command(struct fg_expected *e, const struct fg_mqtt_message *m);

/** Is @m the answer to the command that was seen? */
bool fg_expected_is_answer(const struct fg_expected *e, const struct fg_mqtt_message *m);

/**
 * What a device would answer to the command @m, with @result, a JSON object, in it. Returns 0, or
 * -EINVAL with a sentence: only the real device can answer this.
 */
int fg_expected_answer(const struct fg_expected *e, const struct fg_mqtt_message *m,
		       const char *result, struct fg_expected_answer *ret, struct fg_error *err);

static inline void fg_expected_free_p(struct fg_expected **e)
{
	fg_expected_free(*e);
}
