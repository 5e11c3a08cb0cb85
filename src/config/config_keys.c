/*
 * fieldgate.yaml as tables, and the checks that need more than one key.
 */
#include "config/config_keys.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/units.h"

#define TEXT_MAX_BYTES 1024
#define DEFAULT_STATE_DIRECTORY "/var/lib/fieldgate"
#define SEGMENT_MIN_BYTES (4 << 20)
#define AGE_MIN_MS 60000
#define AGE_MAX_MS (INT64_C(3650) * 86400000)
#define PATTERN_MAX_BYTES 255 /* as long as a device's name can be */

/* ---- tls */

static int tls_finish(struct fg_reader *r, const struct fg_yaml_node *node,
		      const struct fg_trail *trail, void *item)
{
	static const char *const needs[][2] = {
		{"certificate", "key"}, {"key", "certificate"}, {"key_password", "key"}};
	int worst = 0;

	(void)item;
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		const struct fg_yaml_node *given = fg_yaml_member(node, needs[i][0]);
		struct fg_trail below = {.parent = trail, .name = needs[i][0]};

		if (given && !fg_yaml_member(node, needs[i][1]))
			worst = fg_key_mistake(r, &given->place, &below, "needs %s beside it",
					       needs[i][1]);
	}
	return worst;
}

static const struct fg_key tls_keys[] = {
	{"ca", FG_KEY_FILES, FG_KEY_AT(struct fg_tls_config, ca)},
	{"certificate", FG_KEY_FILE, FG_KEY_AT(struct fg_tls_config, certificate)},
	{"key", FG_KEY_FILE, FG_KEY_AT(struct fg_tls_config, key)},
	{"key_password", FG_KEY_SECRET, FG_KEY_AT(struct fg_tls_config, key_password)},
	{"server_name", FG_KEY_TEXT, FG_KEY_AT(struct fg_tls_config, server_name), .min = 1,
	 .max = 253},
	{"insecure", FG_KEY_BOOLEAN, FG_KEY_AT(struct fg_tls_config, is_insecure),
	 .fallback = "false"},
	{0},
};
static const struct fg_section tls_section = {.keys = tls_keys, .finish = tls_finish};

/* `tls:` beside an url without TLS would look as if it protected something. */
static int check_tls_url(struct fg_reader *r, const struct fg_yaml_node *node,
			 const struct fg_trail *trail, struct fg_url *url)
{
	const struct fg_yaml_node *tls = fg_yaml_member(node, "tls");
	struct fg_trail below = {.parent = trail, .name = "tls"};

	if (!url->host) {
		url->host = fg_keep(r, "", 0);
		return url->host ? 0 : -ENOMEM;
	}
	if (tls && !url->is_tls)
		return fg_key_mistake(r, &tls->key_place, &below,
				      "only with an url that starts with mqtts://");
	return 0;
}

static const char *const mqtt_versions[] = {"auto", "5", "3.1.1", NULL};
static const unsigned mqtt_version_values[] = {FG_MQTT_AUTO, FG_MQTT_5, FG_MQTT_311};

/* ---- local */

static int broker_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			 const struct fg_trail *trail, void *item)
{
	struct fg_broker_config *broker = item;
	int e;

	broker->place = node->place;
	e = check_tls_url(r, node, trail, &broker->url);
	if (e == -ENOMEM)
		return e;
	return broker->name ? e : -ENODATA;
}

static const struct fg_key broker_keys[] = {
	{"name", FG_KEY_NAME, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_broker_config, name)},
	{"url", FG_KEY_URL, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_broker_config, url)},
	{"tls", FG_KEY_SECTION, FG_KEY_AT(struct fg_broker_config, tls), .section = &tls_section},
	{"mqtt_version", FG_KEY_CHOICE, FG_KEY_AT(struct fg_broker_config, mqtt_version),
	 .choices = mqtt_versions, .choice_values = mqtt_version_values, .fallback = "auto"},
	{"client_id", FG_KEY_TEXT, FG_KEY_AT(struct fg_broker_config, client_id), .min = 1,
	 .max = TEXT_MAX_BYTES},
	{"username", FG_KEY_TEXT, FG_KEY_AT(struct fg_broker_config, username), .min = 1,
	 .max = TEXT_MAX_BYTES},
	{"password", FG_KEY_SECRET, FG_KEY_AT(struct fg_broker_config, password)},
	{"share", FG_KEY_NAME, FG_KEY_AT(struct fg_broker_config, share)},
	{"qos", FG_KEY_INTEGER, FG_KEY_AT(struct fg_broker_config, qos), .min = 0, .max = 1,
	 .fallback = "1"},
	{"keep_alive", FG_KEY_SECONDS, FG_KEY_AT(struct fg_broker_config, keep_alive_s),
	 .min = 5000, .max = 65535000, .fallback = "60s"},
	{"receive_maximum", FG_KEY_INTEGER, FG_KEY_AT(struct fg_broker_config, receive_maximum),
	 .min = 1, .max = 65535, .fallback = "4096"},
	{"session_expiry", FG_KEY_SECONDS, FG_KEY_AT(struct fg_broker_config, session_expiry_s),
	 .min = 1000, .max = INT64_C(3650) * 86400000, .fallback = "7d"},
	{0},
};
static const struct fg_section broker_section = {
	.keys = broker_keys, .item_size = sizeof(struct fg_broker_config), .finish = broker_finish};

static const struct fg_key local_keys[] = {
	{"brokers", FG_KEY_SECTIONS, FG_KEY_AT(struct fg_config, brokers),
	 .count_offset = offsetof(struct fg_config, n_brokers), .max = FG_MAX_BROKERS,
	 .section = &broker_section},
	{0},
};
static const struct fg_section local_section = {.keys = local_keys};

/* ---- mappings */

static const struct fg_key select_keys[] = {
	{"from", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_select_config, from), .min = 1,
	 .max = TEXT_MAX_BYTES},
	{0},
};
static const struct fg_section select_section = {.keys = select_keys};

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

static const char *const time_units[] = {"auto", "s", "ms", "us", "iso8601", NULL};
static const char *const payload_formats[] = {"json", NULL};

static const struct fg_key time_keys[] = {
	{"from", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_mapping_config, time), .min = 1,
	 .max = TEXT_MAX_BYTES, .place_offset = offsetof(struct fg_mapping_config, time_place)},
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

static int mapping_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	struct fg_mapping_config *mapping = item;

	(void)trail;
	mapping->place = node->place;
	if (!mapping->topic)
		return -ENODATA;
	if (!mapping->stream) {
		const char *stream =
			strstr(mapping->topic, "{stream}") || strstr(mapping->topic, "{stream...}")
				? "{stream}"
				: "";

		mapping->stream = fg_keep(r, stream, strlen(stream));
		if (!mapping->stream)
			return -ENOMEM;
	}
	if (!fg_yaml_member(node, "telemetry") && !fg_yaml_member(node, "attributes"))
		mapping->telemetry.is_all = true;
	return 0;
}

static const struct fg_key mapping_keys[] = {
	{"topic", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_mapping_config, topic),
	 .min = 1, .max = 65535},
	{"payload", FG_KEY_CHOICE, FG_KEY_AT(struct fg_mapping_config, payload),
	 .choices = payload_formats, .fallback = "json"},
	{"device", FG_KEY_TEXT, FG_KEY_AT(struct fg_mapping_config, device), .min = 1,
	 .max = TEXT_MAX_BYTES, .fallback = "{device}",
	 .place_offset = offsetof(struct fg_mapping_config, device_place)},
	{"stream", FG_KEY_TEXT, FG_KEY_AT(struct fg_mapping_config, stream), .min = 0,
	 .max = TEXT_MAX_BYTES, .place_offset = offsetof(struct fg_mapping_config, stream_place)},
	{"telemetry", FG_KEY_SPECIAL, FG_KEY_AT(struct fg_mapping_config, telemetry),
	 .section = &select_section, .help = "all, or mapping of names to paths",
	 .read = read_members},
	{"attributes", FG_KEY_SPECIAL, FG_KEY_AT(struct fg_mapping_config, attributes),
	 .section = &select_section, .help = "all, or mapping of names to paths",
	 .read = read_members},
	{"time", FG_KEY_SPECIAL, .section = &time_section, .help = "path, or mapping",
	 .place_offset = offsetof(struct fg_mapping_config, time_place), .read = read_time},
	{0},
};
static const struct fg_section mapping_section = {.keys = mapping_keys,
						  .item_size = sizeof(struct fg_mapping_config),
						  .finish = mapping_finish};

/* ---- clouds */

static int compare_texts(const void *left, const void *right)
{
	const struct fg_yaml_node *a = *(struct fg_yaml_node *const *)left;
	const struct fg_yaml_node *b = *(struct fg_yaml_node *const *)right;
	int r = strcmp(a->text, b->text);

	return r ? r : a->index < b->index ? -1 : 1;
}

/* Two devices under one name: their data would mix, and a command could not be told apart. */
static int check_renames(const struct fg_reader *r, const struct fg_yaml_node **nodes, size_t n,
			 const struct fg_trail *trail)
{
	int worst = 0;

	qsort(nodes, n, sizeof(*nodes), compare_texts);
	for (size_t i = 1; i < n; i++) {
		struct fg_trail below = {.parent = trail, .name = nodes[i]->key};

		if (strcmp(nodes[i]->text, nodes[i - 1]->text) == 0)
			worst = fg_key_mistake(r, &nodes[i]->place, &below,
					       "this is already the new name of %s in line %u",
					       nodes[i - 1]->key, nodes[i - 1]->place.line);
	}
	return worst;
}

static int read_renames(struct fg_reader *r, const struct fg_key *key,
			const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	struct fg_devices_config *devices = item;
	const struct fg_yaml_node **nodes;
	int e, worst = 0;

	if (node->type != FG_YAML_MAPPING)
		return fg_key_unexpected(r, node, trail, "a mapping of names to names");
	devices->rename = fg_keep_room(r, node->n_children * sizeof(*devices->rename));
	nodes = fg_keep_room(r, node->n_children * sizeof(*nodes));
	if (!devices->rename || !nodes)
		return -ENOMEM;
	for (const struct fg_yaml_node *child = node->first; child; child = child->next) {
		struct fg_trail below = {.parent = trail, .name = child->key};
		struct fg_rename *rename = &devices->rename[devices->n_rename];

		rename->from = child->key;
		e = fg_key_text(r, key, child, &below, &rename->to);
		if (e == -ENOMEM)
			return e;
		if (e < 0)
			worst = e;
		else
			nodes[devices->n_rename++] = child;
	}
	e = check_renames(r, nodes, devices->n_rename, trail);
	return e < 0 ? e : worst;
}

static const struct fg_key devices_keys[] = {
	{"include", FG_KEY_TEXTS, FG_KEY_AT(struct fg_devices_config, include),
	 .count_offset = offsetof(struct fg_devices_config, n_include), .min = 1,
	 .max = PATTERN_MAX_BYTES},
	{"exclude", FG_KEY_TEXTS, FG_KEY_AT(struct fg_devices_config, exclude),
	 .count_offset = offsetof(struct fg_devices_config, n_exclude), .min = 1,
	 .max = PATTERN_MAX_BYTES},
	{"rename", FG_KEY_SPECIAL, .min = 1, .max = PATTERN_MAX_BYTES,
	 .help = "mapping of names to names of 1 to 255 bytes", .read = read_renames},
	{0},
};
static const struct fg_section devices_section = {.keys = devices_keys};

static int cloud_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, void *item)
{
	struct fg_cloud_config *cloud = item;
	int e;

	cloud->place = node->place;
	cloud->options = node;
	e = check_tls_url(r, node, trail, &cloud->url);
	if (e == -ENOMEM)
		return e;
	if (!cloud->name)
		cloud->name = fg_keep(r, "", 0);
	if (!cloud->name)
		return -ENOMEM;
	return cloud->plugin ? e : -ENODATA;
}

const struct fg_key fg_cloud_keys[] = {
	{"name", FG_KEY_NAME, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_cloud_config, name)},
	{"plugin", FG_KEY_NAME, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_cloud_config, plugin),
	 .place_offset = offsetof(struct fg_cloud_config, plugin_place)},
	{"url", FG_KEY_URL, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_cloud_config, url),
	 .place_offset = offsetof(struct fg_cloud_config, url_place)},
	{"tls", FG_KEY_SECTION, FG_KEY_AT(struct fg_cloud_config, tls), .section = &tls_section},
	{"mqtt_version", FG_KEY_CHOICE, FG_KEY_AT(struct fg_cloud_config, mqtt_version),
	 .choices = mqtt_versions, .choice_values = mqtt_version_values, .fallback = "auto"},
	{"keep_alive", FG_KEY_SECONDS, FG_KEY_AT(struct fg_cloud_config, keep_alive_s),
	 .min = 10000, .max = 1200000, .fallback = "60s"},
	{"max_in_flight", FG_KEY_INTEGER, FG_KEY_AT(struct fg_cloud_config, max_in_flight),
	 .min = 1, .max = 1000, .fallback = "16"},
	{"max_in_flight_records", FG_KEY_INTEGER,
	 FG_KEY_AT(struct fg_cloud_config, max_in_flight_records), .min = 100, .max = 1000000,
	 .fallback = "10000"},
	{"ack_timeout", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_cloud_config, ack_timeout_ms),
	 .min = 1000, .max = 600000, .fallback = "30s"},
	{"max_backlog", FG_KEY_SIZE, FG_KEY_AT(struct fg_cloud_config, max_backlog_bytes),
	 .min = SEGMENT_MIN_BYTES, .max = INT64_C(16) << 40},
	{"max_age", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_cloud_config, max_age_ms),
	 .min = AGE_MIN_MS, .max = AGE_MAX_MS},
	{"devices", FG_KEY_SECTION, FG_KEY_AT(struct fg_cloud_config, devices),
	 .section = &devices_section},
	{0},
};
static const struct fg_section cloud_section = {.keys = fg_cloud_keys,
						.item_size = sizeof(struct fg_cloud_config),
						.is_open = true,
						.finish = cloud_finish};

/* ---- journal */

#define MIN_SEGMENTS 4

/* Of a key that may be absent: then the other one made them disagree. */
static int check_segments(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, const char *name, uint64_t bytes,
			  uint64_t segment_bytes, unsigned n_segments)
{
	const struct fg_yaml_node *given = fg_yaml_member(node, name);
	struct fg_trail below = {.parent = trail, .name = name};
	char is[FG_UNITS_TEXT_BYTES], one[FG_UNITS_TEXT_BYTES];

	if (!given)
		given = fg_yaml_member(node, "segment_size");
	if (!given || bytes >= n_segments * segment_bytes)
		return 0;
	return fg_key_mistake(r, &given->place, &below,
			      "%s is less than %u segments (segment_size is %s)",
			      fg_size_text((int64_t)bytes, is), n_segments,
			      fg_size_text((int64_t)segment_bytes, one));
}

static int journal_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	const struct fg_journal_config *journal = item;
	int e, worst;

	worst = check_segments(r, node, trail, "max_size", journal->max_bytes,
			       journal->segment_bytes, MIN_SEGMENTS);
	/* One that is written and one that can go. */
	e = check_segments(r, node, trail, "max_quarantine_size", journal->max_quarantine_bytes,
			   journal->segment_bytes, 2);
	return e < 0 ? e : worst;
}

static const char *const on_full[] = {"drop_oldest", "drop_newest", "stop_ack", NULL};

static const struct fg_key journal_keys[] = {
	{"max_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_journal_config, max_bytes),
	 .min = MIN_SEGMENTS * SEGMENT_MIN_BYTES, .max = INT64_C(16) << 40, .fallback = "2GiB"},
	{"max_quarantine_size", FG_KEY_SIZE,
	 FG_KEY_AT(struct fg_journal_config, max_quarantine_bytes), .min = 2 * SEGMENT_MIN_BYTES,
	 .max = INT64_C(1) << 40, .fallback = "64MiB"},
	{"segment_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_journal_config, segment_bytes),
	 .min = SEGMENT_MIN_BYTES, .max = 1 << 30, .fallback = "16MiB"},
	{"commit_interval", FG_KEY_MILLISECONDS,
	 FG_KEY_AT(struct fg_journal_config, commit_interval_ms), .min = 0, .max = 10000,
	 .fallback = "0s"},
	{"max_age", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_journal_config, max_age_ms),
	 .min = AGE_MIN_MS, .max = AGE_MAX_MS},
	{"on_full", FG_KEY_CHOICE, FG_KEY_AT(struct fg_journal_config, on_full), .choices = on_full,
	 .fallback = "drop_oldest"},
	{0},
};
static const struct fg_section journal_section = {.keys = journal_keys, .finish = journal_finish};

/* ---- gateway */

static int default_name(struct fg_reader *r, const struct fg_trail *trail, struct fg_config *config)
{
	static const struct fg_place nowhere = {0};
	struct fg_trail below = {.parent = trail, .name = "name"};
	char host[HOST_NAME_MAX + 1] = "";
	int e = 0;

	if (gethostname(host, sizeof(host) - 1) < 0 || !fg_name_ok(host)) {
		e = fg_key_mistake(r, &nowhere, &below,
				   "required, since the host's name (\"%s\") cannot stand for it",
				   host);
		*host = '\0';
	}
	config->name = fg_keep(r, host, strlen(host));
	return config->name ? e : -ENOMEM;
}

static int gateway_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	struct fg_config *config = item;
	const char *state = getenv("STATE_DIRECTORY");
	int e = 0;

	(void)node;
	if (!config->name)
		e = default_name(r, trail, config);
	if (e == -ENOMEM)
		return e;
	if (!config->plugin_directory) {
		config->plugin_directory =
			fg_keep(r, FG_PLUGIN_DIRECTORY, strlen(FG_PLUGIN_DIRECTORY));
		if (!config->plugin_directory)
			return -ENOMEM;
	}
	if (!config->state_directory) {
		/* The service manager lists them with colons when the unit names several. */
		if (state && *state == '/')
			config->state_directory = fg_keep(r, state, strcspn(state, ":"));
		else
			config->state_directory = fg_keep(r, DEFAULT_STATE_DIRECTORY,
							  strlen(DEFAULT_STATE_DIRECTORY));
	}
	return config->state_directory ? e : -ENOMEM;
}

static const struct fg_key gateway_keys[] = {
	{"name", FG_KEY_NAME, FG_KEY_AT(struct fg_config, name)},
	{"state_directory", FG_KEY_DIRECTORY, FG_KEY_AT(struct fg_config, state_directory)},
	{"plugin_directory", FG_KEY_DIRECTORY, FG_KEY_AT(struct fg_config, plugin_directory)},
	{"max_message_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_config, max_message_bytes),
	 .min = 1 << 10, .max = 1 << 20, .fallback = "1MiB"},
	{"time_wait", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_config, time_wait_ms), .min = 0,
	 .max = 86400000, .fallback = "10min"},
	{0},
};
static const struct fg_section gateway_section = {.keys = gateway_keys, .finish = gateway_finish};

/* ---- all of it */

static int default_client_id(struct fg_reader *r, const struct fg_config *config,
			     struct fg_broker_config *broker)
{
	char id[sizeof("fieldgate--") + 2 * FG_NAME_MAX_BYTES];

	if (broker->client_id)
		return 0;
	snprintf(id, sizeof(id), "fieldgate-%s-%s", config->name, broker->name);
	broker->client_id = fg_keep(r, id, strlen(id));
	return broker->client_id ? 0 : -ENOMEM;
}

/* Each is compared with all before it; a list that is too long is a mistake already. */
static int check_unique(struct fg_reader *r, const struct fg_yaml_node *list, const char *section,
			unsigned max)
{
	const struct fg_trail top = {.name = section};
	int worst = 0;

	if (!list || list->type != FG_YAML_LIST || list->n_children > max)
		return 0;
	for (const struct fg_yaml_node *node = list->first; node; node = node->next) {
		const struct fg_yaml_node *name = fg_yaml_member(node, "name");
		struct fg_trail entry = fg_key_entry_trail(node, &top);
		struct fg_trail below = {.parent = &entry, .name = "name"};

		for (const struct fg_yaml_node *other = list->first; entry.name && other != node;
		     other = other->next) {
			struct fg_trail theirs = fg_key_entry_trail(other, &top);
			const struct fg_yaml_node *first = fg_yaml_member(other, "name");

			if (!theirs.name || strcmp(theirs.name, entry.name) != 0)
				continue;
			worst = fg_key_mistake(
				r, &name->place, &below, "this name is taken already at %s:%u:%u",
				first->place.file, first->place.line, first->place.column);
			break;
		}
	}
	return worst;
}

/* A backlog is given up by whole segments, and never the newest. */
static int check_backlogs(struct fg_reader *r, const struct fg_config *config)
{
	char is[FG_UNITS_TEXT_BYTES], one[FG_UNITS_TEXT_BYTES];
	const struct fg_trail top = {.name = "clouds"};
	int worst = 0;

	for (size_t i = 0; i < config->n_clouds; i++) {
		const struct fg_cloud_config *cloud = &config->clouds[i];
		const struct fg_yaml_node *given = fg_yaml_member(cloud->options, "max_backlog");
		struct fg_trail entry = {.parent = &top, .name = cloud->name};
		struct fg_trail below = {.parent = &entry, .name = "max_backlog"};

		if (!given || cloud->max_backlog_bytes == 0 ||
		    cloud->max_backlog_bytes >= config->journal.segment_bytes)
			continue;
		worst = fg_key_mistake(r, &given->place, &below,
				       "%s is less than one segment (journal.segment_size is %s)",
				       fg_size_text((int64_t)cloud->max_backlog_bytes, is),
				       fg_size_text((int64_t)config->journal.segment_bytes, one));
	}
	return worst;
}

static int root_finish(struct fg_reader *r, const struct fg_yaml_node *node,
		       const struct fg_trail *trail, void *item)
{
	struct fg_config *config = item;
	int e, worst;

	(void)trail;
	for (size_t i = 0; i < config->n_brokers; i++) {
		e = default_client_id(r, config, &config->brokers[i]);
		if (e < 0)
			return e;
	}
	worst = check_unique(r, fg_yaml_member(fg_yaml_member(node, "local"), "brokers"),
			     "local.brokers", FG_MAX_BROKERS);
	e = check_unique(r, fg_yaml_member(node, "clouds"), "clouds", FG_MAX_CLOUDS);
	if (e < 0)
		worst = e;
	e = check_backlogs(r, config);
	return e < 0 ? e : worst;
}

static const struct fg_key root_keys[] = {
	{"gateway", FG_KEY_SECTION, .section = &gateway_section},
	{"local", FG_KEY_SECTION, .section = &local_section},
	{"mappings", FG_KEY_SECTIONS, FG_KEY_AT(struct fg_config, mappings),
	 .count_offset = offsetof(struct fg_config, n_mappings), .max = FG_MAX_MAPPINGS,
	 .section = &mapping_section},
	{"clouds", FG_KEY_SECTIONS, FG_KEY_AT(struct fg_config, clouds),
	 .count_offset = offsetof(struct fg_config, n_clouds), .max = FG_MAX_CLOUDS,
	 .section = &cloud_section},
	{"journal", FG_KEY_SECTION, FG_KEY_AT(struct fg_config, journal),
	 .section = &journal_section},
	{0},
};
const struct fg_section fg_config_section = {.keys = root_keys, .finish = root_finish};

static void each_key(const struct fg_key *keys, const char *above,
		     void (*each)(void *arg, const char *path, const struct fg_key *key), void *arg)
{
	for (; keys->name; keys++) {
		bool is_named = keys->section == &select_section;
		char path[160];

		snprintf(path, sizeof(path), "%s%s%s", above, *above ? "." : "", keys->name);
		each(arg, path, keys);
		if (!keys->section)
			continue;
		if (keys->type == FG_KEY_SECTIONS || is_named)
			strncat(path, is_named ? ".NAME" : "[]", sizeof(path) - strlen(path) - 1);
		each_key(keys->section->keys, path, each, arg);
	}
}

void fg_config_each_key(void (*each)(void *arg, const char *path, const struct fg_key *key),
			void *arg)
{
	each_key(root_keys, "", each, arg);
}
