#pragma once

/*
 * The rules of `commands:` as compiled values: the inside of the command map, and where the mistakes
 * of a configuration are found. For command_map.c only; everyone else uses command_map.h.
 */
#include "local/command_map.h"
#include "model/json.h"
#include "model/template.h"
#include "model/topic.h"

/** What a template may use; topics all but the last. Also the index of each among its values. */
enum fg_command_word {
	FG_WORD_DEVICE,
	FG_WORD_COMMAND,
	FG_WORD_ID,
	FG_WORD_PARAMS,
	FG_N_COMMAND_WORDS,
};

/** Answers that come on one pattern and are told apart in one way. */
struct fg_command_group {
	char *text; /* of the pattern */
	struct fg_topic_pattern *pattern;
	enum fg_correlate correlate;
	char *path_text; /* FG_CORRELATE_PAYLOAD: where the id stands; else NULL */
	struct fg_json_path *path;
	int captures[FG_WORD_PARAMS]; /* the pattern's index of each word, or -1 */
	int takes_levels;             /* the word that stands as {word...}, or -1 */
	/* FG_CORRELATE_NONE without {device}: the one device whose answers these are; else NULL */
	char *device;
	bool is_own; /* below the gateway's own prefix */
};

struct fg_compiled_rule {
	struct fg_command_rule seen; /* what others see of it */
	char *broker;
	char **devices, **names; /* shell patterns; none: all */
	size_t n_devices, n_names;
	struct fg_template *topic, *payload;
	struct fg_template *response; /* FG_CORRELATE_MQTT5: where the answer is asked for */
	bool is_dollar_topic, is_dollar_response; /* starts with '$' as configured */
	struct fg_json_path *result, *error;
};

struct fg_command_rules {
	struct fg_compiled_rule *rules;
	size_t n_rules;
	struct fg_command_group *groups;
	size_t n_groups;
	char *own_prefix; /* "fieldgate/NAME/response/" */
};

/**
 * Compile all, so that all mistakes are reported. Returns 0, -ENOMEM, or -EINVAL (reported).
 * Whatever it returns, fg_command_rules_release() @ret.
 */
int fg_command_rules_compile(const struct fg_config *config, struct fg_report *report,
			     struct fg_command_rules *ret);
void fg_command_rules_release(struct fg_command_rules *rules);

/** A name that is one level of a topic: no '/', no wildcard, no NUL. */
bool fg_command_is_one_level(struct fg_span name);
