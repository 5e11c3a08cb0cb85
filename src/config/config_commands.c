/*
 * commands: how commands reach field devices, and how their answers are found. Templates, patterns
 * and paths are checked where they are compiled, in local/command_rules.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/config_keys.h"

static int read_correlate(struct fg_reader *r, const struct fg_key *key,
			  const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	static const struct {
		const char *word;
		enum fg_correlate value;
	} words[] = {{"none", FG_CORRELATE_NONE},
		     {"topic", FG_CORRELATE_TOPIC},
		     {"mqtt5", FG_CORRELATE_MQTT5}};
	struct fg_command_config *command = item;
	int e;

	if (node->type == FG_YAML_TEXT && *node->text == '$') {
		e = fg_key_text(r, key, node, trail, &command->correlate_path);
		if (e == 0)
			command->correlate = FG_CORRELATE_PAYLOAD;
		return e;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (node->type == FG_YAML_TEXT && strcmp(node->text, words[i].word) == 0) {
			command->correlate = words[i].value;
			return 0;
		}
	return fg_key_unexpected(r, node, trail, "none, topic, mqtt5 or a path such as $.id");
}

/* Does {name}, or {name...}, stand in a template or pattern? One with half a brace counts, since that is
 * a mistake of its own. */
static bool has_name(const char *text, const char *name)
{
	char brace[16];

	snprintf(brace, sizeof(brace), "{%s", name);
	return strstr(text, brace) != NULL;
}

static int check_device(struct fg_reader *r, const struct fg_trail *trail,
			const struct fg_command_config *command)
{
	struct fg_trail below = {.parent = trail, .name = "topic"};

	if (!command->topic || has_name(command->topic, "device") ||
	    has_name(command->payload, "device") ||
	    fg_config_is_one(command->devices, command->n_devices))
		return 0;
	return fg_key_mistake(r, &command->topic_place, &below,
			      "{device} is missing, in the payload too: nothing tells which device "
			      "it is for");
}

static int check_response(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, const struct fg_command_config *command)
{
	const struct fg_yaml_node *response = fg_yaml_member(node, "response");
	const struct fg_yaml_node *correlate = fg_yaml_member(response, "correlate");
	const struct fg_yaml_node *max_open = fg_yaml_member(node, "max_open");
	struct fg_trail response_trail = {.parent = trail, .name = "response"};
	struct fg_trail topic_trail = {.parent = &response_trail, .name = "topic"};
	struct fg_trail max_open_trail = {.parent = trail, .name = "max_open"};
	bool is_none = command->correlate == FG_CORRELATE_NONE;
	int worst = 0;

	if (!response || response->type != FG_YAML_MAPPING)
		return 0;
	/* What was wrong and reported is FG_CORRELATE_NONE now, and nothing follows from that. */
	if (is_none && correlate && (!correlate->text || strcmp(correlate->text, "none") != 0))
		return 0;
	if (!fg_yaml_member(response, "topic") && command->correlate != FG_CORRELATE_MQTT5)
		worst = fg_key_mistake(r, &response->place, &topic_trail,
				       "required, but not given (unless with correlate: mqtt5)");
	if (command->response && has_name(command->response, "id") &&
	    (is_none || command->correlate == FG_CORRELATE_PAYLOAD))
		worst = fg_key_mistake(r, &command->response_place, &topic_trail,
				       "{id} needs correlate: topic");
	if (is_none && max_open && command->max_open > 1)
		worst = fg_key_mistake(r, &max_open->place, &max_open_trail,
				       "only 1 with correlate: none, where nothing tells which "
				       "command an answer is for");
	return worst;
}

static int command_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	struct fg_command_config *command = item;
	int e, worst;

	command->place = node->place;
	worst = check_device(r, trail, command);
	e = check_response(r, node, trail, command);
	if (e < 0)
		worst = e;
	return command->topic ? worst : -ENODATA;
}

static const struct fg_key response_keys[] = {
	{"topic", FG_KEY_TEXT, FG_KEY_AT(struct fg_command_config, response), .min = 1,
	 .max = FG_TOPIC_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_command_config, response_place)},
	{"correlate", FG_KEY_SPECIAL, .min = 1, .max = FG_TEXT_MAX_BYTES,
	 .help = "none, topic, mqtt5 or path; default none", .read = read_correlate},
	{"result", FG_KEY_TEXT, FG_KEY_AT(struct fg_command_config, result_path), .min = 1,
	 .max = FG_TEXT_MAX_BYTES},
	{"error", FG_KEY_TEXT, FG_KEY_AT(struct fg_command_config, error_path), .min = 1,
	 .max = FG_TEXT_MAX_BYTES},
	{0},
};
static const struct fg_section response_section = {.keys = response_keys};

static const char *const offline[] = {"refuse", "wait", NULL};

static const struct fg_key command_keys[] = {
	{"devices", FG_KEY_TEXTS, FG_KEY_AT(struct fg_command_config, devices),
	 .count_offset = offsetof(struct fg_command_config, n_devices), .min = 1,
	 .max = FG_DEVICE_MAX_BYTES},
	{"commands", FG_KEY_TEXTS, FG_KEY_AT(struct fg_command_config, names),
	 .count_offset = offsetof(struct fg_command_config, n_names), .min = 1,
	 .max = FG_DEVICE_MAX_BYTES},
	{"broker", FG_KEY_NAME, FG_KEY_AT(struct fg_command_config, broker)},
	{"topic", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_command_config, topic),
	 .min = 1, .max = FG_TOPIC_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_command_config, topic_place)},
	{"payload", FG_KEY_TEXT, FG_KEY_AT(struct fg_command_config, payload), .min = 1,
	 .max = FG_TOPIC_TEXT_MAX_BYTES, .fallback = "{params}",
	 .place_offset = offsetof(struct fg_command_config, payload_place)},
	{"qos", FG_KEY_INTEGER, FG_KEY_AT(struct fg_command_config, qos), .min = 0, .max = 1,
	 .fallback = "1"},
	{"response", FG_KEY_SECTION, FG_KEY_FILLED, .section = &response_section},
	{"offline", FG_KEY_CHOICE, FG_KEY_AT(struct fg_command_config, offline), .choices = offline,
	 .fallback = "refuse"},
	{"timeout", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_command_config, timeout_ms),
	 .min = 1000, .max = FG_TIMEOUT_MAX_MS, .fallback = "30s"},
	{"max_open", FG_KEY_INTEGER, FG_KEY_AT(struct fg_command_config, max_open), .min = 1,
	 .max = 100, .fallback = "1"},
	{"repeat", FG_KEY_BOOLEAN, FG_KEY_AT(struct fg_command_config, may_repeat),
	 .fallback = "false"},
	{0},
};
const struct fg_section fg_command_section = {.keys = command_keys,
					      .item_size = sizeof(struct fg_command_config),
					      .finish = command_finish};
