/*
 * clouds: the keys that every cloud has. Those of its plugin: config_options.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_keys.h"
#include "config/rates.h"
#include "util/url.h"

/* ---- devices */

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
	 .max = FG_DEVICE_MAX_BYTES},
	{"exclude", FG_KEY_TEXTS, FG_KEY_AT(struct fg_devices_config, exclude),
	 .count_offset = offsetof(struct fg_devices_config, n_exclude), .min = 1,
	 .max = FG_DEVICE_MAX_BYTES},
	{"rename", FG_KEY_SPECIAL, .min = 1, .max = FG_DEVICE_MAX_BYTES,
	 .help = "mapping of names to names of 1 to 255 bytes", .read = read_renames},
	{0},
};
static const struct fg_section devices_section = {.keys = devices_keys};

/* ---- limits */

static int read_rate_text(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, struct fg_rate *rates, size_t *n)
{
	char what[100];
	int e;

	if (node->type != FG_YAML_TEXT || node->is_null)
		return fg_key_unexpected(r, node, trail,
					 "a rate such as \"20/s\" or \"20:1,600:60\"");
	e = fg_rates_parse(node->text, rates, n);
	switch (e) {
	case 0:
		return 0;
	case -E2BIG:
		return fg_key_mistake(r, &node->place, trail, "more than %d rates", FG_RATES_MAX);
	case -ERANGE:
		snprintf(what, sizeof(what), "1 to %d within 1 to %d seconds", FG_RATE_CAPACITY_MAX,
			 FG_RATE_SECONDS_MAX);
		return fg_key_unexpected(r, node, trail, what);
	default:
		return fg_key_unexpected(r, node, trail,
					 "a rate such as \"20/s\" or \"20:1,600:60\"");
	}
}

static int read_rates(struct fg_reader *r, const struct fg_key *key,
		      const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	struct fg_rate rates[FG_RATES_MAX] = {0};
	size_t n = 0;
	int worst = 0;

	if (node->type != FG_YAML_LIST)
		worst = read_rate_text(r, node, trail, rates, &n);
	else
		for (const struct fg_yaml_node *child = node->first; child; child = child->next) {
			struct fg_trail below = {.parent = trail, .index = child->index};

			if (read_rate_text(r, child, &below, rates, &n) < 0)
				worst = -EINVAL;
		}
	if (worst < 0)
		return worst;
	memcpy((char *)item + key->offset, rates, sizeof(rates));
	memcpy((char *)item + key->count_offset, &n, sizeof(n));
	return 0;
}

#define RATES(limit)                                                                               \
	.offset = offsetof(struct fg_cloud_config, rates[limit]),                                  \
	.count_offset = offsetof(struct fg_cloud_config, n_rates[limit]), .read = read_rates,      \
	.help = "rates"

static const struct fg_key limit_keys[] = {
	{"messages", FG_KEY_SPECIAL, RATES(FG_LIMIT_MESSAGES)},
	{"points", FG_KEY_SPECIAL, RATES(FG_LIMIT_POINTS)},
	{"bytes", FG_KEY_SPECIAL, RATES(FG_LIMIT_BYTES)},
	{0},
};
static const struct fg_section limits_section = {.keys = limit_keys};

/* ---- HTTP while MQTT is blocked */

static int read_base_url(struct fg_reader *r, const struct fg_key *key,
			 const struct fg_yaml_node *node, const struct fg_trail *trail, void *item)
{
	struct fg_fallback_config *fallback = item;
	char *url = NULL;
	size_t size;
	int e = fg_key_text(r, key, node, trail, &url);

	if (e < 0)
		return e;
	e = fg_http_url_check(url);
	if (e == -EPERM) /* what stands before it may be a password: not quoted */
		return fg_key_mistake(r, &node->place, trail, "an URL here has no user name");
	if (e < 0)
		return fg_key_unexpected(r, node, trail, "https://HOST[:PORT][/PATH]");
	for (size = strlen(url); url[size - 1] == '/'; size--)
		url[size - 1] = '\0';
	fallback->url = url;
	return 0;
}

static const struct fg_key fallback_keys[] = {
	{"url", FG_KEY_SPECIAL, FG_KEY_REQUIRED, .min = 1, .max = FG_TEXT_MAX_BYTES,
	 .help = "http:// or https:// url", .read = read_base_url},
	{"after", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_fallback_config, after_ms), .min = 1000,
	 .max = 86400000, .fallback = "1min"},
	{0},
};
static const struct fg_section fallback_section = {.keys = fallback_keys};

/* ---- a cloud */

static const char *const orders[] = {"fifo", "live_first", NULL};

static int cloud_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, void *item)
{
	struct fg_cloud_config *cloud = item;
	const char *fallback = cloud->fallback.url;
	bool has_https = fallback && strncmp(fallback, "https://", 8) == 0;
	int e;

	cloud->place = node->place;
	cloud->options = node;
	e = fg_config_check_tls(r, node, trail, &cloud->url, has_https);
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
	{"tls", FG_KEY_SECTION, FG_KEY_AT(struct fg_cloud_config, tls), .section = &fg_tls_section},
	{"mqtt_version", FG_KEY_CHOICE, FG_KEY_AT(struct fg_cloud_config, mqtt_version),
	 .choices = fg_mqtt_versions, .choice_values = fg_mqtt_version_values, .fallback = "auto"},
	{"keep_alive", FG_KEY_SECONDS, FG_KEY_AT(struct fg_cloud_config, keep_alive_s),
	 .min = 10000, .max = 1200000},
	{"max_reconnect_delay", FG_KEY_MILLISECONDS,
	 FG_KEY_AT(struct fg_cloud_config, max_reconnect_delay_ms), .min = 1000, .max = 600000,
	 .fallback = "60s"},
	{"max_in_flight", FG_KEY_INTEGER, FG_KEY_AT(struct fg_cloud_config, max_in_flight),
	 .min = 1, .max = 1000, .fallback = "16"},
	{"max_in_flight_records", FG_KEY_INTEGER,
	 FG_KEY_AT(struct fg_cloud_config, max_in_flight_records), .min = 100, .max = 1000000,
	 .fallback = "10000"},
	{"ack_timeout", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_cloud_config, ack_timeout_ms),
	 .min = 1000, .max = 600000, .fallback = "30s"},
	{"order", FG_KEY_CHOICE, FG_KEY_AT(struct fg_cloud_config, order), .choices = orders,
	 .fallback = "fifo"},
	{"backlog_share", FG_KEY_INTEGER, FG_KEY_AT(struct fg_cloud_config, backlog_share),
	 .min = 1, .max = 99, .fallback = "20"},
	{"limits", FG_KEY_SECTION, .section = &limits_section},
	{"command_timeout", FG_KEY_MILLISECONDS,
	 FG_KEY_AT(struct fg_cloud_config, command_timeout_ms), .min = 1000,
	 .max = FG_TIMEOUT_MAX_MS, .fallback = "10s"},
	{"max_backlog", FG_KEY_SIZE, FG_KEY_AT(struct fg_cloud_config, max_backlog_bytes),
	 .min = FG_SEGMENT_MIN_BYTES, .max = INT64_C(16) << 40},
	{"max_age", FG_KEY_MILLISECONDS, FG_KEY_AT(struct fg_cloud_config, max_age_ms),
	 .min = FG_AGE_MIN_MS, .max = FG_AGE_MAX_MS},
	{"devices", FG_KEY_SECTION, FG_KEY_AT(struct fg_cloud_config, devices),
	 .section = &devices_section},
	{"fallback", FG_KEY_SECTION, FG_KEY_FILLED, FG_KEY_AT(struct fg_cloud_config, fallback),
	 .section = &fallback_section},
	{0},
};
const struct fg_section fg_cloud_section = {.keys = fg_cloud_keys,
					    .item_size = sizeof(struct fg_cloud_config),
					    .is_open = true,
					    .finish = cloud_finish};
