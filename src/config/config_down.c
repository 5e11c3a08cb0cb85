/*
 * configs and images: what a cloud sets and installs on field devices. Templates, patterns and paths
 * are checked to the end here: who uses them meets none that is wrong.
 */
#include <errno.h>
#include <string.h>

#include "config/config_keys.h"
#include "model/json.h"
#include "model/template.h"
#include "model/topic.h"
#include "util/cleanup.h"

static const char *const device_names[] = {"device", NULL};
static const char *const chunk_names[] = {"device", "index", NULL};
#define NAME_DEVICE 0
#define NAME_INDEX 1

/* ---- checks */

/* An entry that is being checked. */
struct entry {
	struct fg_reader *r;
	const struct fg_yaml_node *node;
	const struct fg_trail *trail;
	char *const *devices;
	size_t n_devices;
	int worst; /* 0, -EINVAL or -ENOMEM: what has come of it so far */
};

static void topic_pattern_free_p(struct fg_topic_pattern **pattern)
{
	fg_topic_pattern_free(*pattern);
}

/* About @section.@key, or about @key when @section is NULL. */
static void mistake(struct entry *e, const struct fg_place *place, const char *section,
		    const char *key, const char *sentence)
{
	struct fg_trail above = {.parent = e->trail, .name = section};
	struct fg_trail below = {.parent = section ? &above : e->trail, .name = key};

	fg_key_mistake(e->r, place, &below, "%s", sentence);
	if (e->worst == 0)
		e->worst = -EINVAL;
}

/* True when there is something to go on with. */
static bool went_well(struct entry *e, int r)
{
	if (r == -ENOMEM)
		e->worst = r;
	return r == 0;
}

/* @t as a topic, with 1 for each name; kept. NULL when there is no memory. */
static char *sample(struct entry *e, const struct fg_template *t, size_t *ret_size)
{
	static const struct fg_span values[] = {{"1", 1}, {"1", 1}};
	char *topic;

	*ret_size = fg_template_fill(t, values, NULL, 0);
	topic = fg_keep_room(e->r, *ret_size + 1);
	if (!went_well(e, topic ? 0 : -ENOMEM))
		return NULL;
	fg_template_fill(t, values, topic, *ret_size);
	return topic;
}

/* Compile the template of a topic to publish to; *@ret is left alone when it is wrong or missing. */
static void check_topic(struct entry *e, const struct fg_place *place, const char *key,
			const char *text, const char *const *known, struct fg_template **ret)
{
	struct fg_template_names names = {
		.find = fg_template_find_in,
		.arg = known,
		.verdict = known == device_names ? "is not known here, only {device}"
						 : "is not known here, only {device} and {index}",
	};
	FG_CLEANUP(fg_template_free_p) struct fg_template *t = NULL;
	struct fg_error err = {0};
	char *topic;
	size_t size;
	int r;

	if (!text)
		return;
	r = fg_template_new(fg_span_str(text), FG_TEMPLATE_TEXT, &names, &t, &err);
	if (r == -EINVAL)
		mistake(e, place, NULL, key, err.text);
	if (!went_well(e, r))
		return;
	topic = sample(e, t, &size);
	if (!topic)
		return;
	if (!fg_topic_name_ok(fg_span_of(topic, size))) {
		mistake(e, place, NULL, key, "messages cannot be published to a topic with + or #");
		return;
	}
	if (!fg_template_uses(t, NAME_DEVICE) && !fg_config_is_one(e->devices, e->n_devices))
		mistake(e, place, NULL, key,
			"{device} is missing: all devices would take what is for one");
	*ret = t; /* the caller owns it now */
	t = NULL;
}

/* ---- configs */

static int setting_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			  const struct fg_trail *trail, void *item)
{
	struct fg_config_down_config *setting = item;
	FG_CLEANUP(fg_template_free_p) struct fg_template *topic = NULL;
	struct entry e = {.r = r,
			  .node = node,
			  .trail = trail,
			  .devices = setting->devices,
			  .n_devices = setting->n_devices};

	setting->place = node->place;
	check_topic(&e, &setting->topic_place, "topic", setting->topic, device_names, &topic);
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
static void check_delivery(struct entry *e, const struct fg_image_config *image)
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
	const char *required = image->deliver == FG_DELIVER_CHUNKS ? "chunk_topic" : NULL;
	struct fg_error err;

	/* One that is wrong, and reported, may have been meant to be any. */
	if (!deliver || !deliver->text || strcmp(deliver->text, deliveries[image->deliver]) != 0)
		return;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct fg_yaml_node *given = fg_yaml_member(e->node, keys[i].key);

		if (given && !keys[i].is_for[image->deliver])
			mistake(e, &given->key_place, NULL, keys[i].key, keys[i].sentence);
	}
	if (!required || fg_yaml_member(e->node, required))
		return;
	fg_error_set(&err, 0, "required with deliver: %s, but not given",
		     deliveries[image->deliver]);
	mistake(e, &e->node->place, NULL, required, err.text);
}

/* The path of the word in a report. */
static void check_state(struct entry *e, const struct fg_yaml_node *node)
{
	struct fg_json_path *path = NULL;
	struct fg_json_fault fault = {0};
	struct fg_error err;
	int r;

	if (!node || node->type != FG_YAML_TEXT || node->is_null || !*node->text)
		return;
	r = fg_json_path_new(fg_span_str(node->text), &path, &fault);
	fg_json_path_free(path);
	if (went_well(e, r) || r == -ENOMEM)
		return;
	fg_error_set(&err, 0, "\"%.200s\": %s (character %zu of the path)", node->text,
		     fault.reason, fault.offset + 1);
	mistake(e, &node->place, "status", "state", err.text);
}

/* Compile where a device reports, and see that it is heard, and nobody else. */
static void check_status(struct entry *e, const struct fg_image_config *image,
			 const struct fg_template *const *topics)
{
	FG_CLEANUP(topic_pattern_free_p) struct fg_topic_pattern *status = NULL;
	const struct fg_place *place = &image->status_place;
	struct fg_error err = {0};
	bool has_device;
	int r;

	check_state(e, fg_yaml_member(fg_yaml_member(e->node, "status"), "state"));
	if (!image->status)
		return;
	r = fg_topic_pattern_new(fg_span_str(image->status), &status, &err);
	if (r == -EINVAL)
		mistake(e, place, "status", "topic", err.text);
	if (!went_well(e, r))
		return;
	has_device = fg_topic_pattern_capture(status, fg_span_str("device")) >= 0;
	/* In a pattern that is right, each brace opens a name of its own. */
	if (strchr(image->status, '{') != strrchr(image->status, '{') ||
	    (strchr(image->status, '{') && !has_device))
		mistake(e, place, "status", "topic", "only {device} can stand in it");
	else if (!has_device && !fg_config_is_one(e->devices, e->n_devices))
		mistake(e, place, "status", "topic",
			"{device} is missing: nothing else tells which device reports");
	for (size_t i = 0; i < 2; i++) {
		struct fg_topic_captures captures;
		size_t size = 0;
		char *topic = topics[i] ? sample(e, topics[i], &size) : NULL;

		if (topic && fg_topic_pattern_match(status, fg_span_of(topic, size), &captures))
			mistake(e, place, "status", "topic",
				"a topic of the image matches this too: the gateway would take "
				"what it sends for the report");
	}
}

static int image_finish(struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, void *item)
{
	struct fg_image_config *image = item;
	FG_CLEANUP(fg_template_free_p) struct fg_template *topic = NULL;
	FG_CLEANUP(fg_template_free_p) struct fg_template *chunk_topic = NULL;
	struct entry e = {.r = r,
			  .node = node,
			  .trail = trail,
			  .devices = image->devices,
			  .n_devices = image->n_devices};

	image->place = node->place;
	check_topic(&e, &image->topic_place, "topic", image->topic, device_names, &topic);
	check_topic(&e, &image->chunk_topic_place, "chunk_topic", image->chunk_topic, chunk_names,
		    &chunk_topic);
	if (chunk_topic && !fg_template_uses(chunk_topic, NAME_INDEX))
		mistake(&e, &image->chunk_topic_place, NULL, "chunk_topic",
			"{index} is missing: a device could not tell one chunk from another");
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

static const struct fg_key versions_keys[] = {
	{"firmware", FG_KEY_TEXT, FG_KEY_AT(struct fg_image_config, firmware_member), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .fallback = "fw_version"},
	{"software", FG_KEY_TEXT, FG_KEY_AT(struct fg_image_config, software_member), .min = 1,
	 .max = FG_TEXT_MAX_BYTES, .fallback = "sw_version"},
	{0},
};
static const struct fg_section versions_section = {.keys = versions_keys};

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
	{"versions", FG_KEY_SECTION, FG_KEY_FILLED, .section = &versions_section},
	{"max_size", FG_KEY_SIZE, FG_KEY_AT(struct fg_image_config, max_bytes), .min = 1 << 10,
	 .max = INT64_C(4) << 30, .fallback = "64MiB"},
	{0},
};
const struct fg_section fg_image_section = {
	.keys = image_keys, .item_size = sizeof(struct fg_image_config), .finish = image_finish};
