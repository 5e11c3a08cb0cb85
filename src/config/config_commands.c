/*
 * commands: how commands reach field devices, and how their answers are found.
 */
#include <errno.h>
#include <string.h>

#include "config/entry_checks.h"
#include "model/json.h"
#include "util/cleanup.h"

/* What may stand in braces, by index. */
enum name {
	NAME_DEVICE,
	NAME_COMMAND,
	NAME_ID,
	NAME_PARAMS,
};
static const char *const topic_names[] = {"device", "command", "id", NULL};
static const char *const payload_names[] = {"device", "command", "id", "params", NULL};

/* What an entry has been compiled to; NULL: missing, or wrong and reported. */
struct compiled {
	struct fg_template *topic, *payload;
	struct fg_topic_pattern *response;
};

static void compiled_release(struct compiled *is)
{
	fg_template_free(is->topic);
	fg_template_free(is->payload);
	fg_topic_pattern_free(is->response);
}

/* Does the device get it? One of both that is wrong may have been meant to have it. */
static bool sends(const struct compiled *is, enum name name)
{
	return !is->topic || !is->payload || fg_template_uses(is->topic, (int)name) ||
	       fg_template_uses(is->payload, (int)name);
}

static bool answers_with(const struct compiled *is, const char *name)
{
	return fg_topic_pattern_capture(is->response, fg_span_str(name)) >= 0;
}

static void check_payload(struct fg_entry *e, const struct fg_command_config *command,
			  struct fg_template **ret)
{
	/* What stands for a name is a text, but params may be anything: no name of a member. */
	static const struct fg_span values[] = {{"\"\"", 2}, {"\"\"", 2}, {"\"\"", 2}, {"0", 1}};
	FG_CLEANUP(fg_template_free_p) struct fg_template *t = NULL;
	struct fg_json_value value;
	struct fg_json_fault fault;
	struct fg_error err;
	size_t size;
	char *text;

	if (!fg_entry_template(e, &command->payload_place, "payload", command->payload,
			       FG_TEMPLATE_JSON, payload_names, &t))
		return;
	text = fg_entry_sample(e, t, values, &size);
	if (!text)
		return;
	if (fg_json_check(fg_span_of(text, size), &value, &fault) < 0) {
		fg_error_set(&err, 0, "not JSON once the names are filled in: %s", fault.reason);
		fg_entry_mistake(e, &command->payload_place, NULL, "payload", err.text);
		return;
	}
	*ret = t; /* the caller owns it now */
	t = NULL;
}

/* Nothing tells whose answer it is but the topic, and that only one command is open. */
static void check_uncorrelated(struct fg_entry *e, const struct fg_command_config *command,
			       const struct compiled *is)
{
	const struct fg_yaml_node *max_open = fg_yaml_member(e->node, "max_open");

	if (!answers_with(is, "device") && !fg_entry_is_one(command->devices, command->n_devices))
		fg_entry_mistake(e, &command->response_place, "response", "topic",
				 "{device} is missing: with correlate: none nothing else tells "
				 "which device has answered");
	if (max_open && command->max_open > 1)
		fg_entry_mistake(e, &max_open->place, NULL, "max_open",
				 "only 1 with correlate: none, where nothing tells which command "
				 "an answer is for");
}

static void check_correlation(struct fg_entry *e, const struct fg_command_config *command,
			      const struct compiled *is)
{
	const struct fg_place *place = &command->response_place;
	struct fg_template *t = NULL;

	if (command->correlate == FG_CORRELATE_MQTT5) {
		/* The device publishes to it as it is: no wildcards, and no {name...}. */
		fg_entry_topic(e, place, "response", "topic", command->response, topic_names, &t);
		fg_template_free(t);
		return;
	}
	if (command->correlate == FG_CORRELATE_NONE)
		check_uncorrelated(e, command, is);
	if (command->correlate != FG_CORRELATE_TOPIC && answers_with(is, "id"))
		fg_entry_mistake(e, place, "response", "topic", "{id} needs correlate: topic");
	if (command->correlate == FG_CORRELATE_TOPIC && !answers_with(is, "id"))
		fg_entry_mistake(e, place, "response", "topic",
				 "{id} is missing, which correlate: topic looks for");
	if (command->correlate != FG_CORRELATE_NONE && !sends(is, NAME_ID))
		fg_entry_mistake(e, place, "response", "correlate",
				 "neither topic nor payload has {id}: the device cannot give back "
				 "what it never got");
}

static void check_response(struct fg_entry *e, const struct fg_command_config *command,
			   struct compiled *is)
{
	const struct fg_yaml_node *response = fg_yaml_member(e->node, "response");
	const struct fg_yaml_node *correlate = fg_yaml_member(response, "correlate");
	/* What was wrong and reported is FG_CORRELATE_NONE now, and nothing follows from that. */
	bool is_known = !correlate || command->correlate != FG_CORRELATE_NONE ||
			(correlate->text && strcmp(correlate->text, "none") == 0);

	if (!response || response->type != FG_YAML_MAPPING)
		return;
	if (command->correlate == FG_CORRELATE_PAYLOAD)
		fg_entry_path(e, "response", "correlate");
	fg_entry_path(e, "response", "result");
	fg_entry_path(e, "response", "error");
	if (!fg_yaml_member(response, "topic") && is_known &&
	    command->correlate != FG_CORRELATE_MQTT5)
		fg_entry_mistake(e, &response->place, "response", "topic",
				 "required, but not given (unless with correlate: mqtt5)");
	fg_entry_pattern(e, &command->response_place, "response", command->response, topic_names,
			 &is->response);
	if (!is->response)
		return;
	if (is_known)
		check_correlation(e, command, is);
	fg_entry_not_heard(e, &command->response_place, "response", is->response, is->topic,
			   "the command's own topic matches this too: the gateway would take what "
			   "it sends for the answer");
}

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

static int command_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	struct fg_command_config *command = item;
	struct fg_entry e = {.r = r, .node = node, .trail = trail};
	FG_CLEANUP(compiled_release) struct compiled is = {0};

	command->place = node->place;
	fg_entry_topic(&e, &command->topic_place, NULL, "topic", command->topic, topic_names,
		       &is.topic);
	check_payload(&e, command, &is.payload);
	if (!sends(&is, NAME_DEVICE) && !fg_entry_is_one(command->devices, command->n_devices))
		fg_entry_mistake(&e, &command->topic_place, NULL, "topic",
				 "{device} is missing, in the payload too: nothing tells which "
				 "device it is for");
	check_response(&e, command, &is);
	if (e.worst == -ENOMEM)
		return e.worst;
	return command->topic ? e.worst : -ENODATA;
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
