/*
 * What can only be checked when all sections are read: names that must be unique, or must be those of
 * something.
 */
#include <errno.h>
#include <string.h>

#include "config/config_keys.h"
#include "config/units.h"

bool fg_config_is_one(char *const *patterns, size_t n)
{
	return n == 1 && !strpbrk(patterns[0], "*?[\\");
}

/* ---- within a section, or with values alone */

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

int fg_config_check_entries(struct fg_reader *r, const struct fg_yaml_node *root,
			    const struct fg_config *config)
{
	int results[3];

	results[0] = check_unique(r, fg_yaml_member(fg_yaml_member(root, "local"), "brokers"),
				  "local.brokers", FG_MAX_BROKERS);
	results[1] = check_unique(r, fg_yaml_member(root, "clouds"), "clouds", FG_MAX_CLOUDS);
	results[2] = check_backlogs(r, config);
	for (size_t i = 0; i < 3; i++)
		if (results[i] < 0)
			return results[i];
	return 0;
}

/* ---- names of brokers and clouds */

/* The first entry of a list that is one and not too long, or NULL: then it is a mistake already. */
static const struct fg_yaml_node *first_of(const struct fg_yaml_node *list, unsigned max)
{
	return list && list->type == FG_YAML_LIST && list->n_children <= max ? list->first : NULL;
}

/* Report @given when no entry of those from @first on is called so, whatever else is wrong there. */
static void check_name(struct fg_reader *r, const struct fg_yaml_node *first,
		       const struct fg_yaml_node *given, const struct fg_trail *trail,
		       const char *what)
{
	const char *nearest = NULL;

	if (!first || !given || !given->text || !fg_name_ok(given->text))
		return;
	for (const struct fg_yaml_node *entry = first; entry; entry = entry->next) {
		const struct fg_yaml_node *name = fg_yaml_member(entry, "name");

		if (!name || !name->text)
			continue;
		if (strcmp(name->text, given->text) == 0)
			return;
		nearest = fg_key_nearest(given->text, nearest, name->text);
	}
	if (nearest)
		fg_key_mistake(r, &given->place, trail,
			       "no %s is called \"%s\" (did you mean \"%s\"?)", what, given->text,
			       nearest);
	else
		fg_key_mistake(r, &given->place, trail, "no %s is called \"%s\"", what,
			       given->text);
}

/* Is there a broker, and none that speaks MQTT 5? */
static bool is_all_old(const struct fg_yaml_node *first)
{
	for (const struct fg_yaml_node *entry = first; entry; entry = entry->next) {
		const struct fg_yaml_node *version = fg_yaml_member(entry, "mqtt_version");

		if (!version || !version->text || strcmp(version->text, "3.1.1") != 0)
			return false;
	}
	return first != NULL;
}

/* ---- entries that refer to them */

static void check_brokers_of(struct fg_reader *r, const struct fg_yaml_node *root,
			     const char *section, const struct fg_yaml_node *brokers)
{
	const struct fg_yaml_node *entry = first_of(fg_yaml_member(root, section), FG_MAX_MAPPINGS);
	const struct fg_trail top = {.name = section};

	for (; entry; entry = entry->next) {
		struct fg_trail trail = fg_key_entry_trail(entry, &top);
		struct fg_trail below = {.parent = &trail, .name = "broker"};

		check_name(r, brokers, fg_yaml_member(entry, "broker"), &below, "broker");
	}
}

/* Whom a request asks, and how the answer gets to the device. */
static void check_request(struct fg_reader *r, const struct fg_yaml_node *request,
			  const struct fg_trail *trail, const struct fg_yaml_node *clouds,
			  const struct fg_yaml_node *brokers)
{
	const struct fg_yaml_node *cloud = fg_yaml_member(request, "cloud");
	struct fg_trail cloud_trail = {.parent = trail, .name = "cloud"};
	struct fg_trail response_trail = {.parent = trail, .name = "response"};

	check_name(r, clouds, cloud, &cloud_trail, "cloud");
	if (!cloud && clouds && clouds->next)
		fg_key_mistake(r, &request->place, &cloud_trail,
			       "required, since there is more than one cloud");
	if (!fg_yaml_member(request, "response") && is_all_old(brokers))
		fg_key_mistake(r, &request->place, &response_trail,
			       "required, since no broker speaks MQTT 5, which has a "
			       "Response Topic");
}

void fg_config_check_references(struct fg_reader *r, const struct fg_yaml_node *root)
{
	static const char *const sections[] = {"commands", "configs", "images"};
	const struct fg_yaml_node *clouds = first_of(fg_yaml_member(root, "clouds"), FG_MAX_CLOUDS);
	const struct fg_yaml_node *brokers =
		first_of(fg_yaml_member(fg_yaml_member(root, "local"), "brokers"), FG_MAX_BROKERS);
	const struct fg_yaml_node *mapping =
		first_of(fg_yaml_member(root, "mappings"), FG_MAX_MAPPINGS);
	const struct fg_trail top = {.name = "mappings"};

	for (; mapping; mapping = mapping->next) {
		const struct fg_yaml_node *request = fg_yaml_member(mapping, "request");
		struct fg_trail trail = fg_key_entry_trail(mapping, &top);
		struct fg_trail below = {.parent = &trail, .name = "request"};

		if (request && request->type == FG_YAML_MAPPING)
			check_request(r, request, &below, clouds, brokers);
	}
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		check_brokers_of(r, root, sections[i], brokers);
}
