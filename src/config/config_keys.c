/*
 * fieldgate.yaml as a table of its sections, with the small ones: gateway and journal.
 */
#include "config/config_keys.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/units.h"

#define DEFAULT_STATE_DIRECTORY "/var/lib/fieldgate"

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
	{"inactivity", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_config, inactivity_ms),
	 .min = 10000, .max = INT64_C(365) * 86400000},
	{"max_commands", FG_KEY_INTEGER, FG_KEY_AT(struct fg_config, max_commands), .min = 1,
	 .max = 100000, .fallback = "10000"},
	{"time_wait", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_config, time_wait_ms), .min = 0,
	 .max = 86400000, .fallback = "10min"},
	{0},
};
static const struct fg_section gateway_section = {.keys = gateway_keys, .finish = gateway_finish};

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
	/* Beside the main lane: one that is written and one that can go. */
	const struct {
		const char *name;
		uint64_t bytes;
		unsigned n_segments;
	} caps[] = {
		{"max_size", journal->max_bytes, MIN_SEGMENTS},
		{"max_alarm_size", journal->max_alarm_bytes, 2},
		{"max_quarantine_size", journal->max_quarantine_bytes, 2},
	};
	int worst = 0;

	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		if (check_segments(r, node, trail, caps[i].name, caps[i].bytes,
				   journal->segment_bytes, caps[i].n_segments) < 0)
			worst = -EINVAL;
	return worst;
}

static const char *const on_full[] = {"drop_oldest", "drop_newest", "stop_ack", NULL};

static const struct fg_key journal_keys[] = {
	{"max_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_journal_config, max_bytes),
	 .min = MIN_SEGMENTS * FG_SEGMENT_MIN_BYTES, .max = INT64_C(16) << 40, .fallback = "2GiB"},
	{"max_alarm_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_journal_config, max_alarm_bytes),
	 .min = 2 * FG_SEGMENT_MIN_BYTES, .max = INT64_C(1) << 40, .fallback = "64MiB"},
	{"max_quarantine_size", FG_KEY_SIZE,
	 FG_KEY_AT(struct fg_journal_config, max_quarantine_bytes), .min = 2 * FG_SEGMENT_MIN_BYTES,
	 .max = INT64_C(1) << 40, .fallback = "64MiB"},
	{"segment_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_journal_config, segment_bytes),
	 .min = FG_SEGMENT_MIN_BYTES, .max = 1 << 30, .fallback = "16MiB"},
	{"commit_interval", FG_KEY_MILLISECONDS,
	 FG_KEY_AT(struct fg_journal_config, commit_interval_ms), .min = 0, .max = 10000,
	 .fallback = "0s"},
	{"max_age", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_journal_config, max_age_ms),
	 .min = FG_AGE_MIN_MS, .max = FG_AGE_MAX_MS},
	{"on_full", FG_KEY_CHOICE, FG_KEY_AT(struct fg_journal_config, on_full), .choices = on_full,
	 .fallback = "drop_oldest"},
	{0},
};
static const struct fg_section journal_section = {.keys = journal_keys, .finish = journal_finish};

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

/* Where images are, beside the journal. */
static int default_directory(struct fg_reader *r, const struct fg_config *config,
			     struct fg_image_config *image)
{
	char path[PATH_MAX];
	int n;

	if (image->directory || image->deliver == FG_DELIVER_CHUNKS)
		return 0;
	n = snprintf(path, sizeof(path), "%s/images", config->state_directory);
	image->directory = fg_keep(r, path, n < PATH_MAX ? (size_t)n : PATH_MAX - 1);
	return image->directory ? 0 : -ENOMEM;
}

static int root_finish(struct fg_reader *r, const struct fg_yaml_node *node,
		       const struct fg_trail *trail, void *item)
{
	struct fg_config *config = item;
	int e = 0;

	(void)trail;
	for (size_t i = 0; e == 0 && i < config->n_brokers; i++)
		e = default_client_id(r, config, &config->brokers[i]);
	for (size_t i = 0; e == 0 && i < config->n_images; i++)
		e = default_directory(r, config, &config->images[i]);
	for (size_t i = 0; i < config->n_mappings && config->n_clouds == 1; i++)
		if (config->mappings[i].request.is_set && !config->mappings[i].request.link)
			config->mappings[i].request.link = config->clouds[0].name;
	return e < 0 ? e : fg_config_check_entries(r, node, config);
}

/* Lists of entries in the root, each with its count. */
#define ENTRIES(member, most, of)                                                                  \
	FG_KEY_SECTIONS, FG_KEY_AT(struct fg_config, member),                                      \
		.count_offset = offsetof(struct fg_config, n_##member), .max = most, .section = of

static const struct fg_key root_keys[] = {
	{"gateway", FG_KEY_SECTION, .section = &gateway_section},
	{"local", FG_KEY_SECTION, .section = &fg_local_section},
	{"mappings", ENTRIES(mappings, FG_MAX_MAPPINGS, &fg_mapping_section)},
	{"commands", ENTRIES(commands, FG_MAX_MAPPINGS, &fg_command_section)},
	{"configs", ENTRIES(configs, FG_MAX_MAPPINGS, &fg_setting_section)},
	{"images", ENTRIES(images, FG_MAX_MAPPINGS, &fg_image_section)},
	{"clouds", ENTRIES(clouds, FG_MAX_CLOUDS, &fg_cloud_section)},
	{"journal", FG_KEY_SECTION, FG_KEY_AT(struct fg_config, journal),
	 .section = &journal_section},
	{0},
};
const struct fg_section fg_config_section = {.keys = root_keys, .finish = root_finish};

static void each_key(const struct fg_key *keys, const char *above,
		     void (*each)(void *arg, const char *path, const struct fg_key *key), void *arg)
{
	for (; keys->name; keys++) {
		bool is_named = keys->section && keys->section->has_names;
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
