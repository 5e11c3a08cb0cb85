/*
 * The plugin's own keys of a cloud, by the plugin's table.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_keys.h"
#include "config/read_file.h"

static const enum fg_key_type key_types[] = {
	[FG_OPTION_STRING] = FG_KEY_TEXT,     [FG_OPTION_SECRET] = FG_KEY_SECRET,
	[FG_OPTION_INTEGER] = FG_KEY_INTEGER, [FG_OPTION_BOOLEAN] = FG_KEY_BOOLEAN,
	[FG_OPTION_CHOICE] = FG_KEY_CHOICE,   [FG_OPTION_DURATION] = FG_KEY_MILLISECONDS,
	[FG_OPTION_FILE] = FG_KEY_FILE,
};
#define STRING_MAX_BYTES 65535 /* no string in an MQTT packet is longer */

#define FILE_MAX_BYTES 65536

/* @value->string is the path of a file: what is in it takes its place. */
static int read_content(const struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, struct fg_value *value)
{
	char *data = NULL;
	int e = fg_read_file(value->string, FILE_MAX_BYTES, &data, &value->size);

	if (e == -ENOMEM)
		return e;
	if (e < 0)
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", value->string,
				      e == -EFBIG ? "larger than 64KiB" : fg_read_file_error(e));
	value->string = fg_keep(r, data, value->size);
	free(data);
	return value->string ? 0 : -ENOMEM;
}

static int read_option(const struct fg_reader *r, const struct fg_option *option,
		       const struct fg_yaml_node *node, const struct fg_trail *trail,
		       struct fg_value *ret)
{
	struct fg_key key = {.name = option->name,
			     .type = key_types[option->type],
			     .min = option->min,
			     .max = option->max,
			     .choices = option->choices};
	bool is_text = option->type == FG_OPTION_STRING || option->type == FG_OPTION_SECRET ||
		       option->type == FG_OPTION_FILE;
	struct fg_value value = {.is_set = true};
	char *text = NULL;
	int e;

	if (option->type == FG_OPTION_STRING) {
		key.min = 1;
		key.max = STRING_MAX_BYTES;
	}
	e = is_text ? fg_key_text(r, &key, node, trail, &text)
		    : fg_key_number(r, &key, node, trail, &value.number);
	if (e < 0)
		return e;
	value.string = text;
	if (option->type == FG_OPTION_FILE) {
		e = read_content(r, node, trail, &value);
		if (e < 0)
			return e;
	}
	*ret = value;
	return 0;
}

static int read_fallback(const struct fg_reader *r, const struct fg_option *option,
			 const struct fg_place *place, const struct fg_trail *trail,
			 struct fg_value *ret)
{
	struct fg_yaml_node node = {.type = FG_YAML_TEXT, .place = *place};

	/* A copy: the table may go with its plugin before the configuration does. */
	node.text = fg_keep(r, option->fallback, strlen(option->fallback));
	if (!node.text)
		return -ENOMEM;
	/* An empty text is a usual fallback, and no mistake there. */
	if (option->type == FG_OPTION_STRING && !*node.text) {
		*ret = (struct fg_value){.is_set = true, .string = node.text};
		return 0;
	}
	return read_option(r, option, &node, trail, ret);
}

static int check_unknown(const struct fg_reader *r, const struct fg_options_at *at,
			 const struct fg_option *table)
{
	int worst = 0;

	for (const struct fg_yaml_node *node = at->node->first; node; node = node->next) {
		const struct fg_option *option = table;
		const char *nearest = NULL;

		if (fg_key_find(at->others, node->key))
			continue;
		for (; option->name && strcmp(option->name, node->key) != 0; option++)
			nearest = fg_key_nearest(node->key, nearest, option->name);
		if (option->name)
			continue;
		for (const struct fg_key *key = at->others; key->name; key++)
			nearest = fg_key_nearest(node->key, nearest, key->name);
		worst = fg_key_unknown(r, node, at->trail, nearest);
	}
	return worst;
}

int fg_options_read(const struct fg_reader *r, const struct fg_options_at *at,
		    const struct fg_option *table, struct fg_value *ret_values)
{
	int e, worst = 0;

	for (const struct fg_option *option = table; option->name; option++, ret_values++) {
		const struct fg_yaml_node *node = fg_yaml_member(at->node, option->name);
		struct fg_trail below = {.parent = at->trail, .name = option->name};

		*ret_values = (struct fg_value){0};
		if (fg_key_find(at->others, option->name))
			e = fg_key_mistake(r, at->plugin_place, &below,
					   "plugin %s wants a key that belongs to the gateway",
					   at->plugin);
		else if (node)
			e = read_option(r, option, node, &below, ret_values);
		else if (option->flags & FG_OPTION_REQUIRED)
			e = fg_key_mistake(r, at->place, &below, "required by plugin %s",
					   at->plugin);
		else if (option->fallback)
			e = read_fallback(r, option, at->place, &below, ret_values);
		else
			e = 0;
		if (e == -ENOMEM)
			return e;
		if (e < 0)
			worst = e;
	}
	return check_unknown(r, at, table) < 0 ? -EINVAL : worst;
}

int fg_config_options(struct fg_config *config, const struct fg_cloud_config *cloud,
		      const struct fg_option *table, struct fg_report *report,
		      struct fg_value *ret_values)
{
	struct fg_reader r = {.report = report,
			      .kept = &config->store->kept,
			      .directory = config->store->directory};
	const struct fg_trail clouds = {.name = "clouds"};
	const struct fg_trail trail = fg_key_entry_trail(cloud->options, &clouds);
	const struct fg_options_at at = {.node = cloud->options,
					 .place = &cloud->place,
					 .trail = &trail,
					 .others = fg_cloud_keys,
					 .plugin = cloud->plugin,
					 .plugin_place = &cloud->plugin_place};

	return fg_options_read(&r, &at, table, ret_values);
}
