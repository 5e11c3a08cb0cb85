/*
 * mappings: what becomes of a message from the field. Patterns, templates and paths are checked
 * where they are compiled, in local/mapping_rules.c.
 */
#include <errno.h>
#include <string.h>

#include "config/config_keys.h"

/* ---- telemetry and attributes */

static const struct fg_key select_keys[] = {
	{"from", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_select_config, from), .min = 1,
	 .max = FG_TEXT_MAX_BYTES},
	{0},
};
static const struct fg_section select_section = {.keys = select_keys, .has_names = true};

static int read_select(struct fg_reader *r, const struct fg_yaml_node *node,
		       const struct fg_trail *trail, struct fg_select_config *ret)
{
	const struct fg_yaml_node *from = fg_yaml_member(node, "from");

	*ret = (struct fg_select_config){.name = node->key, .place = node->place};
	if (from)
		ret->place = from->place;
	if (node->type == FG_YAML_MAPPING)
		return fg_key_section(r, &select_section, node, trail, ret);
	if (node->type == FG_YAML_TEXT && !node->is_null)
		return fg_key_text(r, &select_keys[0], node, trail, &ret->from);
	return fg_key_unexpected(r, node, trail, "a path such as $.t, or {from: PATH}");
}

static int read_members(struct fg_reader *r, const struct fg_key *key,
			const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	struct fg_members_config members = {0};
	int e, worst = 0;

	if (node->type == FG_YAML_TEXT && strcmp(node->text, "all") == 0)
		members.is_all = true;
	else if (node->type != FG_YAML_MAPPING || !node->first)
		return fg_key_unexpected(r, node, trail, "all, or at least one NAME: PATH");
	members.select = fg_keep_room(r, node->n_children * sizeof(*members.select));
	if (!members.select)
		return -ENOMEM;
	for (const struct fg_yaml_node *child = node->first; child; child = child->next) {
		struct fg_trail below = {.parent = trail, .name = child->key};

		e = read_select(r, child, &below, &members.select[members.n_select]);
		if (e == -ENOMEM)
			return e;
		if (e < 0)
			worst = e;
		if (members.select[members.n_select].from)
			members.n_select++;
	}
	memcpy((char *)item + key->offset, &members, sizeof(members));
	return worst;
}

/* ---- time */

static const char *const time_units[] = {"auto", "s", "ms", "us", "iso8601", NULL};

static const struct fg_key time_keys[] = {
	{"from", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_mapping_config, time), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .place_offset = offsetof(struct fg_mapping_config, time_place)},
	{"unit", FG_KEY_CHOICE, FG_KEY_AT(struct fg_mapping_config, time_unit),
	 .choices = time_units, .fallback = "auto"},
	{0},
};
static const struct fg_section time_section = {.keys = time_keys};

static int read_time(struct fg_reader *r, const struct fg_key *key, const struct fg_yaml_node *node,
		     const struct fg_trail *trail, void *item)
{
	struct fg_mapping_config *mapping = item;

	(void)key;
	if (node->type == FG_YAML_MAPPING)
		return fg_key_section(r, &time_section, node, trail, item);
	if (node->type == FG_YAML_TEXT && !node->is_null)
		return fg_key_text(r, &time_keys[0], node, trail, &mapping->time);
	return fg_key_unexpected(r, node, trail,
				 "a path such as $.ts, or {from: PATH, unit: UNIT}");
}

/* ---- presence */

static int presence_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			   const struct fg_trail *trail, void *item)
{
	const struct fg_presence_config *presence = item;
	const struct fg_yaml_node *up = fg_yaml_member(node, "up");
	const struct fg_yaml_node *down = fg_yaml_member(node, "down");
	struct fg_trail below = {.parent = trail, .name = down ? "down" : "up"};
	int worst = 0;

	if (!up && !down)
		return 0;
	for (size_t i = 0; i < presence->n_up; i++)
		for (size_t k = 0; k < presence->n_down; k++)
			if (strcmp(presence->up[i], presence->down[k]) == 0)
				worst = fg_key_mistake(
					r, &(down ? down : up)->place, &below,
					"\"%s\" cannot mean up and down%s", presence->up[i],
					up && down ? "" : " (as it does by default)");
	return worst;
}

static const struct fg_key presence_keys[] = {
	{"from", FG_KEY_TEXT, FG_KEY_AT(struct fg_presence_config, from), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .place_offset = offsetof(struct fg_presence_config, from_place)},
	{"up", FG_KEY_TEXTS, FG_KEY_FILLED, FG_KEY_AT(struct fg_presence_config, up),
	 .count_offset = offsetof(struct fg_presence_config, n_up), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .fallback = "online, up, 1, true"},
	{"down", FG_KEY_TEXTS, FG_KEY_FILLED, FG_KEY_AT(struct fg_presence_config, down),
	 .count_offset = offsetof(struct fg_presence_config, n_down), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .fallback = "offline, down, 0, false"},
	{0},
};
static const struct fg_section presence_section = {.keys = presence_keys,
						   .finish = presence_finish};

/* ---- request */

static const char *const request_kinds[] = {"attributes", "rpc", "claim", "delete", NULL};

static const struct fg_key request_keys[] = {
	{"kind", FG_KEY_CHOICE, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_request_config, kind),
	 .choices = request_kinds},
	{"cloud", FG_KEY_NAME, FG_KEY_AT(struct fg_request_config, link)},
	{"response", FG_KEY_TEXT, FG_KEY_AT(struct fg_request_config, response), .min = 1,
	 .max = FG_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_request_config, response_place)},
	{"timeout", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_request_config, timeout_ms),
	 .min = 1000, .max = 600000, .fallback = "10s"},
	{0},
};
static const struct fg_section request_section = {.keys = request_keys};

/* ---- a rule */

/* @name means nothing beside @beside, and who wrote it expects something of it. */
static int refuse_beside(struct fg_reader *r, const struct fg_yaml_node *mapping,
			 const struct fg_trail *trail, const char *name, const char *beside)
{
	const struct fg_yaml_node *given = fg_yaml_member(mapping, name);
	struct fg_trail below = {.parent = trail, .name = name};

	if (!given || given->type == FG_YAML_BROKEN)
		return 0;
	return fg_key_mistake(r, &given->key_place, &below, "not beside %s", beside);
}

/* A payload that is text has no members. */
static int check_text(struct fg_reader *r, const struct fg_yaml_node *node,
		      const struct fg_trail *trail, const struct fg_mapping_config *mapping)
{
	static const char *const others[] = {"time", "request", "event"};
	const char *const members[] = {"telemetry", "attributes"};
	const struct fg_yaml_node *from = fg_yaml_member(fg_yaml_member(node, "presence"), "from");
	struct fg_trail presence = {.parent = trail, .name = "presence"};
	struct fg_trail below = {.parent = &presence, .name = "from"};
	int worst = 0;

	if (mapping->payload != FG_PAYLOAD_TEXT)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		const struct fg_yaml_node *given = fg_yaml_member(node, members[i]);
		struct fg_trail kind = {.parent = trail, .name = members[i]};

		if (given && given->type == FG_YAML_MAPPING)
			worst = fg_key_mistake(r, &given->place, &kind,
					       "only `all` with payload: text, whose value has the "
					       "name that `key` tells");
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (refuse_beside(r, node, trail, others[i], "payload: text") < 0)
			worst = -EINVAL;
	if (from)
		worst = fg_key_mistake(r, &from->key_place, &below, "not beside payload: text");
	return worst;
}

/* Nothing is looked for in a payload that nobody looks into; it is telemetry. */
static int check_opaque(struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, const struct fg_mapping_config *mapping)
{
	static const char *const others[] = {"telemetry", "attributes", "time", "key",
					     "presence",  "request",    "event"};
	int worst = 0;

	if (mapping->payload != FG_PAYLOAD_OPAQUE)
		return 0;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (refuse_beside(r, node, trail, others[i], "payload: opaque") < 0)
			worst = -EINVAL;
	return worst;
}

/* Only a text needs a name. */
static int check_key(struct fg_reader *r, const struct fg_yaml_node *node,
		     const struct fg_trail *trail, const struct fg_mapping_config *mapping)
{
	const struct fg_yaml_node *payload = fg_yaml_member(node, "payload");
	/* A format with a mistake may have been meant to be text. */
	bool is_json = mapping->payload == FG_PAYLOAD_JSON &&
		       (!payload || (payload->text && strcmp(payload->text, "json") == 0));

	return is_json ? refuse_beside(r, node, trail, "key", "payload: json") : 0;
}

static int check_kind(struct fg_reader *r, const struct fg_yaml_node *node,
		      const struct fg_trail *trail, const struct fg_mapping_config *mapping)
{
	static const char *const others[] = {"telemetry", "attributes", "stream", "key"};
	static const char *const of_request[] = {"time", "lane"};
	bool has_stream = !mapping->presence.is_set && !mapping->request.is_set;
	const char *kind = mapping->presence.is_set  ? "presence"
			   : mapping->request.is_set ? "request"
						     : "event";
	int worst = 0;

	if (has_stream && !mapping->event)
		return check_key(r, node, trail, mapping);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!(has_stream && strcmp(others[i], "stream") == 0) &&
		    refuse_beside(r, node, trail, others[i], kind) < 0)
			worst = -EINVAL;
	if (!has_stream && refuse_beside(r, node, trail, "event", kind) < 0)
		worst = -EINVAL;
	if (mapping->presence.is_set && refuse_beside(r, node, trail, "request", kind) < 0)
		worst = -EINVAL;
	for (size_t i = 0; mapping->request.is_set && i < 2; i++)
		if (refuse_beside(r, node, trail, of_request[i], "request") < 0)
			worst = -EINVAL;
	if (mapping->presence.is_set && !mapping->request.is_set && !mapping->presence.from &&
	    refuse_beside(r, node, trail, "time", "presence without from") < 0)
		worst = -EINVAL;
	return worst;
}

/* What is said nowhere. */
static int complete(struct fg_reader *r, const struct fg_yaml_node *node,
		    struct fg_mapping_config *mapping)
{
	bool is_other = mapping->presence.is_set || mapping->request.is_set;

	if (!mapping->stream) {
		bool has_stream =
			strstr(mapping->topic, "{stream}") || strstr(mapping->topic, "{stream...}");
		const char *stream = has_stream && !is_other ? "{stream}" : "";

		mapping->stream = fg_keep(r, stream, strlen(stream));
		if (!mapping->stream)
			return -ENOMEM;
	}
	if (mapping->payload == FG_PAYLOAD_TEXT && !mapping->key && !is_other) {
		mapping->key = fg_keep(r, "{key}", strlen("{key}"));
		if (!mapping->key)
			return -ENOMEM;
	}
	if (!is_other && !fg_yaml_member(node, "telemetry") && !fg_yaml_member(node, "attributes"))
		mapping->telemetry.is_all = true;
	if (mapping->request.is_set)
		mapping->is_alarm = true;
	return 0;
}

static int mapping_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	struct fg_mapping_config *mapping = item;
	int e, worst;

	mapping->place = node->place;
	mapping->presence.is_set = fg_yaml_member(node, "presence") != NULL;
	mapping->request.is_set = fg_yaml_member(node, "request") != NULL;
	worst = check_text(r, node, trail, mapping);
	e = check_opaque(r, node, trail, mapping);
	if (e < 0)
		worst = e;
	e = check_kind(r, node, trail, mapping);
	if (e < 0)
		worst = e;
	if (!mapping->topic)
		return -ENODATA;
	e = complete(r, node, mapping);
	return e < 0 ? e : worst;
}

static const char *const payload_formats[] = {"json", "text", "opaque", NULL};
static const char *const lanes[] = {"main", "alarm", NULL};

static const struct fg_key mapping_keys[] = {
	{"topic", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_mapping_config, topic),
	 .min = 1, .max = FG_TOPIC_TEXT_MAX_BYTES},
	{"payload", FG_KEY_CHOICE, FG_KEY_AT(struct fg_mapping_config, payload),
	 .choices = payload_formats, .fallback = "json"},
	{"device", FG_KEY_TEXT, FG_KEY_AT(struct fg_mapping_config, device), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .fallback = "{device}",
	 .place_offset = offsetof(struct fg_mapping_config, device_place)},
	{"stream", FG_KEY_TEXT, FG_KEY_AT(struct fg_mapping_config, stream), .min = 0,
	 .max = FG_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_mapping_config, stream_place)},
	{"key", FG_KEY_TEXT, FG_KEY_AT(struct fg_mapping_config, key), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .place_offset = offsetof(struct fg_mapping_config, key_place)},
	{"telemetry", FG_KEY_SPECIAL, FG_KEY_AT(struct fg_mapping_config, telemetry),
	 .section = &select_section, .help = "all, or mapping of names to paths",
	 .read = read_members},
	{"attributes", FG_KEY_SPECIAL, FG_KEY_AT(struct fg_mapping_config, attributes),
	 .section = &select_section, .help = "all, or mapping of names to paths",
	 .read = read_members},
	{"presence", FG_KEY_SECTION, FG_KEY_AT(struct fg_mapping_config, presence),
	 .section = &presence_section},
	{"request", FG_KEY_SECTION, FG_KEY_FILLED, FG_KEY_AT(struct fg_mapping_config, request),
	 .section = &request_section},
	{"event", FG_KEY_TEXT, FG_KEY_AT(struct fg_mapping_config, event), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .place_offset = offsetof(struct fg_mapping_config, event_place)},
	{"lane", FG_KEY_CHOICE, FG_KEY_AT(struct fg_mapping_config, is_alarm), .choices = lanes,
	 .fallback = "main"},
	{"time", FG_KEY_SPECIAL, .section = &time_section, .help = "path, or mapping",
	 .place_offset = offsetof(struct fg_mapping_config, time_place), .read = read_time},
	{0},
};
const struct fg_section fg_mapping_section = {.keys = mapping_keys,
					      .item_size = sizeof(struct fg_mapping_config),
					      .finish = mapping_finish};
