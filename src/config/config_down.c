/*
 * configs and images: what a cloud sets and installs on field devices.
 */
#include <errno.h>
#include <string.h>

#include "config/entry_checks.h"
#include "util/cleanup.h"

static const char *const device_names[] = {"device", NULL};
static const char *const chunk_names[] = {"device", "index", NULL};
#define NAME_DEVICE 0
#define NAME_INDEX 1

/* Compile the topic @key of an entry for @devices and see that each of them has one of its own. */
static void check_topic(struct fg_entry *e, const struct fg_place *place, const char *key,
			const char *text, const char *const *known, char *const *devices,
			size_t n_devices, struct fg_template **ret)
{
	fg_entry_topic(e, place, NULL, key, text, known, ret);
	if (*ret && !fg_template_uses(*ret, NAME_DEVICE) && !fg_entry_is_one(devices, n_devices))
		fg_entry_mistake(e, place, NULL, key,
				 "{device} is missing: all devices would take what is for one");
}

/* ---- configs */

static int setting_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	struct fg_config_down_config *setting = item;
	FG_CLEANUP(fg_template_free_p) struct fg_template *topic = NULL;
	struct fg_entry e = {.r = r, .node = node, .trail = trail};

	setting->place = node->place;
	check_topic(&e, &setting->topic_place, "topic", setting->topic, device_names,
		    setting->devices, setting->n_devices, &topic);
	if (e.worst == -ENOMEM)
		return e.worst;
	return setting->topic ? e.worst : -ENODATA;
}

static const struct fg_key setting_keys[] = {
	{"devices", FG_KEY_TEXTS, FG_KEY_AT(struct fg_config_down_config, devices),
	 .count_offset = offsetof(struct fg_config_down_config, n_devices), .min = 1,
	 .max = FG_DEVICE_MAX_BYTES},
	{"broker", FG_KEY_NAME, FG_KEY_AT(struct fg_config_down_config, broker)},
	{"topic", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_config_down_config, topic),
	 .min = 1, .max = FG_TOPIC_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_config_down_config, topic_place)},
	{"retain", FG_KEY_BOOLEAN, FG_KEY_AT(struct fg_config_down_config, is_retained),
	 .fallback = "true"},
	{"qos", FG_KEY_INTEGER, FG_KEY_AT(struct fg_config_down_config, qos), .min = 0, .max = 1,
	 .fallback = "1"},
	{0},
};
const struct fg_section fg_setting_section = {.keys = setting_keys,
					      .item_size = sizeof(struct fg_config_down_config),
					      .finish = setting_finish};

/* ---- images */

static const char *const deliveries[] = {"file", "url", "chunks", NULL};

/* A directory: the name of a file is added to it as it is. */
static bool is_base_url(const char *url)
{
	static const char *const schemes[] = {"http://", "https://"};
	size_t size = strlen(url);
	const char *host = NULL;

	for (size_t i = 0; i < 2; i++)
		if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
			host = url + strlen(schemes[i]);
	if (!host || !*host || *host == '/' || url[size - 1] != '/')
		return false;
	for (const char *c = host; *c; c++)
		if (*c <= ' ' || *c > '~' || strchr("?#\"<>\\^`{|}", *c))
			return false;
	return true;
}

static int read_url(struct fg_reader *r, const struct fg_key *key, const struct fg_yaml_node *node,
		    const struct fg_trail *trail, void *item)
{
	struct fg_image_config *image = item;
	char *url = NULL;
	int e;

	e = fg_key_text(r, key, node, trail, &url);
	if (e < 0)
		return e;
	if (!is_base_url(url))
		return fg_key_unexpected(r, node, trail,
					 "http://HOST/… or https://HOST/… with a slash at its end");
	image->url = url;
	return 0;
}

/* What belongs to one way of delivery means nothing in another. */
static void check_delivery(struct fg_entry *e, const struct fg_image_config *image)
{
	static const struct {
		const char *key;
		bool is_for[3];
		const char *sentence;
	} keys[] = {
		{"directory", {true, true, false}, "not with deliver: chunks"},
		{"url", {false, true, false}, "only with deliver: url"},
		{"chunk_topic", {false, false, true}, "only with deliver: chunks"},
		{"chunk_size", {false, false, true}, "only with deliver: chunks"},
	};
	const struct fg_yaml_node *deliver = fg_yaml_member(e->node, "deliver");
	const char *required = image->deliver == FG_DELIVER_URL      ? "url"
			       : image->deliver == FG_DELIVER_CHUNKS ? "chunk_topic"
								     : NULL;
	struct fg_error err;

	/* One that is wrong, and reported, may have been meant to be any. */
	if (!deliver || !deliver->text || strcmp(deliver->text, deliveries[image->deliver]) != 0)
		return;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct fg_yaml_node *given = fg_yaml_member(e->node, keys[i].key);

		if (given && !keys[i].is_for[image->deliver])
			fg_entry_mistake(e, &given->key_place, NULL, keys[i].key, keys[i].sentence);
	}
	if (!required || fg_yaml_member(e->node, required))
		return;
	fg_error_set(&err, 0, "required with deliver: %s, but not given",
		     deliveries[image->deliver]);
	fg_entry_mistake(e, &e->node->place, NULL, required, err.text);
}

static void check_status(struct fg_entry *e, const struct fg_image_config *image,
			 const struct fg_template *const *topics)
{
	FG_CLEANUP(fg_topic_pattern_free_p) struct fg_topic_pattern *status = NULL;
	const struct fg_place *place = &image->status_place;

	fg_entry_path(e, "status", "state");
	fg_entry_pattern(e, place, "status", image->status, device_names, &status);
	if (!status)
		return;
	if (fg_topic_pattern_capture(status, fg_span_str("device")) < 0 &&
	    !fg_entry_is_one(image->devices, image->n_devices))
		fg_entry_mistake(e, place, "status", "topic",
				 "{device} is missing: nothing else tells which device reports");
	for (size_t i = 0; i < 2; i++)
		fg_entry_not_heard(e, place, "status", status, topics[i],
				   "a topic of the image matches this too: the gateway would take "
				   "what it sends for the report");
}

static int image_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, void *item)
{
	struct fg_image_config *image = item;
	FG_CLEANUP(fg_template_free_p) struct fg_template *topic = NULL;
	FG_CLEANUP(fg_template_free_p) struct fg_template *chunk_topic = NULL;
	struct fg_entry e = {.r = r, .node = node, .trail = trail};

	image->place = node->place;
	check_topic(&e, &image->topic_place, "topic", image->topic, device_names, image->devices,
		    image->n_devices, &topic);
	check_topic(&e, &image->chunk_topic_place, "chunk_topic", image->chunk_topic, chunk_names,
		    image->devices, image->n_devices, &chunk_topic);
	if (chunk_topic && !fg_template_uses(chunk_topic, NAME_INDEX))
		fg_entry_mistake(&e, &image->chunk_topic_place, NULL, "chunk_topic",
				 "{index} is missing: a device could not tell one chunk from "
				 "another");
	check_delivery(&e, image);
	check_status(&e, image, (const struct fg_template *[]){topic, chunk_topic});
	if (e.worst == -ENOMEM)
		return e.worst;
	return image->topic ? e.worst : -ENODATA;
}

static const struct fg_key status_keys[] = {
	{"topic", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_image_config, status), .min = 1,
	 .max = FG_TOPIC_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_image_config, status_place)},
	{"state", FG_KEY_TEXT, FG_KEY_AT(struct fg_image_config, status_path), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .fallback = "$.state"},
	{0},
};
static const struct fg_section status_section = {.keys = status_keys};

static const struct fg_key image_keys[] = {
	{"devices", FG_KEY_TEXTS, FG_KEY_AT(struct fg_image_config, devices),
	 .count_offset = offsetof(struct fg_image_config, n_devices), .min = 1,
	 .max = FG_DEVICE_MAX_BYTES},
	{"broker", FG_KEY_NAME, FG_KEY_AT(struct fg_image_config, broker)},
	{"deliver", FG_KEY_CHOICE, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_image_config, deliver),
	 .choices = deliveries},
	{"directory", FG_KEY_DIRECTORY, FG_KEY_AT(struct fg_image_config, directory)},
	{"url", FG_KEY_SPECIAL, .min = 1, .max = FG_TEXT_MAX_BYTES,
	 .help = "http:// or https:// url with a slash at its end", .read = read_url},
	{"topic", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct fg_image_config, topic), .min = 1,
	 .max = FG_TOPIC_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_image_config, topic_place)},
	{"chunk_topic", FG_KEY_TEXT, FG_KEY_AT(struct fg_image_config, chunk_topic), .min = 1,
	 .max = FG_TOPIC_TEXT_MAX_BYTES,
	 .place_offset = offsetof(struct fg_image_config, chunk_topic_place)},
	{"chunk_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_image_config, chunk_bytes), .min = 128,
	 .max = 256 << 10, .fallback = "4KiB"},
	{"status", FG_KEY_SECTION, FG_KEY_FILLED, .section = &status_section},
	{"max_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_image_config, max_bytes), .min = 1 << 10,
	 .max = INT64_C(4) << 30, .fallback = "64MiB"},
	{0},
};
const struct fg_section fg_image_section = {
	.keys = image_keys, .item_size = sizeof(struct fg_image_config), .finish = image_finish};
