#include "local/images_rules.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "model/json.h"
#include "model/template.h"
#include "model/topic.h"
#include "util/cleanup.h"

static const char *const topic_names[] = {"device", "index", NULL};

/* ---- compiling */

static int compile_topic(const char *text, struct fg_template **ret, struct fg_error *err)
{
	static const struct fg_template_names names = {
		.find = fg_template_find_in,
		.arg = topic_names,
		.verdict = "does not stand for anything here",
	};

	return text ? fg_template_new(fg_span_str(text), FG_TEMPLATE_TEXT, &names, ret, err) : 0;
}

static int compile_rule(struct fg_images_rule *rule, struct fg_error *err)
{
	const struct fg_image_config *config = rule->config;
	struct fg_json_fault fault = {0};
	int r = compile_topic(config->topic, &rule->topic, err);

	if (r == 0)
		r = compile_topic(config->chunk_topic, &rule->chunk_topic, err);
	if (r == 0 && config->status)
		r = fg_topic_pattern_new(fg_span_str(config->status), &rule->status, err);
	if (r == 0 && config->status)
		r = fg_json_path_new(fg_span_str(config->status_path), &rule->state, &fault);
	if (r == -EINVAL && fault.reason)
		fg_error_set(err, r, "images: status.state: %s", fault.reason);
	return r;
}

/* Those that share a directory share its store, which allows what the most generous of them does. */
static int open_store(struct fg_images_rules *rules, size_t i, const struct fg_images_options *with,
		      struct fg_error *err)
{
	struct fg_images_rule *rule = &rules->rules[i];
	struct fg_image_store_options options = {
		.directory = rule->directory,
		.keep_free_bytes = FG_IMAGES_KEEP_FREE_BYTES,
	};

	for (size_t k = 0; k < i; k++)
		if (strcmp(rules->rules[k].directory, rule->directory) == 0) {
			rule->store = rules->rules[k].store;
			return 0;
		}
	for (size_t k = i; k < rules->n; k++)
		if (strcmp(rules->rules[k].directory, rule->directory) == 0 &&
		    rules->rules[k].config->max_bytes > options.max_image_bytes)
			options.max_image_bytes = rules->rules[k].config->max_bytes;
	options.max_total_bytes = FG_IMAGES_MAX_TOTAL * options.max_image_bytes;
	return fg_image_store_open(with->loop, with->connector, &options, &rule->store, err);
}

int fg_images_rules_open(struct fg_images_rules *rules, const struct fg_images_options *with,
			 struct fg_error *err)
{
	const struct fg_config *config = with->config;
	int r = 0;

	if (asprintf(&rules->directory, "%s/images", config->state_directory) < 0) {
		rules->directory = NULL;
		return -ENOMEM;
	}
	rules->rules = calloc(config->n_images + 1, sizeof(rules->rules[0]));
	rules->filters = calloc(config->n_images + 1, sizeof(rules->filters[0]));
	if (!rules->rules || !rules->filters)
		return -ENOMEM;
	rules->n = config->n_images;
	for (size_t i = 0; r == 0 && i < rules->n; i++) {
		struct fg_images_rule *rule = &rules->rules[i];

		rule->config = &config->images[i];
		rule->directory =
			rule->config->directory ? rule->config->directory : rules->directory;
		r = compile_rule(rule, err);
		if (r == 0 && rule->status)
			rules->filters[rules->n_filters++] = (struct fg_images_filter){
				.broker = rule->config->broker,
				.filter = fg_topic_pattern_filter(rule->status),
			};
		if (rule->chunk_topic && rule->config->chunk_bytes > rules->max_chunk_bytes)
			rules->max_chunk_bytes = rule->config->chunk_bytes;
	}
	for (size_t i = 0; r == 0 && i < rules->n; i++)
		r = open_store(rules, i, with, err);
	return r;
}

void fg_images_rules_clear(struct fg_images_rules *rules)
{
	for (size_t i = 0; i < rules->n; i++) {
		struct fg_images_rule *rule = &rules->rules[i];
		bool is_shared = false;

		for (size_t k = 0; k < i; k++)
			is_shared = is_shared || rules->rules[k].store == rule->store;
		if (!is_shared)
			fg_image_store_free(rule->store);
	}
	for (size_t i = 0; i < rules->n; i++) {
		fg_template_free(rules->rules[i].topic);
		fg_template_free(rules->rules[i].chunk_topic);
		fg_topic_pattern_free(rules->rules[i].status);
		fg_json_path_free(rules->rules[i].state);
	}
	free(rules->rules);
	free(rules->filters);
	free(rules->directory);
	*rules = (struct fg_images_rules){.n = 0};
}

/* ---- finding */

const struct fg_images_rule *fg_images_rules_find(const struct fg_images_rules *rules,
						  const char *device)
{
	for (size_t i = 0; i < rules->n; i++) {
		const struct fg_image_config *config = rules->rules[i].config;

		if (config->n_devices == 0)
			return &rules->rules[i];
		for (size_t k = 0; k < config->n_devices; k++)
			if (fnmatch(config->devices[k], device, 0) == 0)
				return &rules->rules[i];
	}
	return NULL;
}

char *fg_images_rule_topic(const struct fg_images_rule *rule, enum fg_images_topic what,
			   const char *device, uint64_t index)
{
	const struct fg_template *t = what == FG_IMAGES_CHUNK ? rule->chunk_topic : rule->topic;
	char digits[24];
	struct fg_span values[2] = {fg_span_str(device)};
	size_t size;
	char *topic;

	snprintf(digits, sizeof(digits), "%" PRIu64, index);
	values[1] = fg_span_str(digits);
	size = fg_template_fill(t, values, NULL, 0);
	topic = malloc(size + 1);
	if (!topic)
		return NULL;
	fg_template_fill(t, values, topic, size);
	topic[size] = '\0';
	if (!fg_topic_name_ok(fg_span_of(topic, size))) {
		free(topic);
		return NULL;
	}
	return topic;
}

/* ---- reports */

/* The device @topic of @rule tells of. */
static bool read_device(const struct fg_images_rule *rule, struct fg_span topic, char ret[256])
{
	struct fg_topic_captures captures;
	struct fg_span device;

	if (!rule->status || !fg_topic_pattern_match(rule->status, topic, &captures))
		return false;
	device = captures.count > 0 ? captures.values[0] : fg_span_str(rule->config->devices[0]);
	if (device.size == 0 || device.size > 255)
		return false;
	memcpy(ret, device.data, device.size);
	ret[device.size] = '\0';
	return true;
}

/* A string member; one that is longer than a report needs is left out. */
static void read_text(struct fg_json_value root, const char *name, char ret[256])
{
	struct fg_json_value value;
	size_t size;

	ret[0] = '\0';
	if (root.type != FG_JSON_OBJECT || !fg_json_member(root, fg_span_str(name), &value) ||
	    value.type != FG_JSON_STRING || value.text.size - 2 > 255)
		return;
	size = fg_json_unescape(fg_span_of(value.text.data + 1, value.text.size - 2), ret);
	ret[size] = '\0';
}

static enum fg_images_word read_state(struct fg_json_value value)
{
	static const struct {
		const char *word;
		enum fg_images_word state;
	} words[] = {
		{"\"UPDATING\"", FG_REPORT_UPDATING},
		{"\"UPDATED\"", FG_REPORT_UPDATED},
		{"\"FAILED\"", FG_REPORT_FAILED},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (value.text.size == strlen(words[i].word) &&
		    strncasecmp(value.text.data, words[i].word, value.text.size) == 0)
			return words[i].state;
	return FG_REPORT_OTHER;
}

/* A whole number below 2^53. */
static bool read_chunk(struct fg_json_value root, uint64_t *ret)
{
	struct fg_json_value value;

	if (root.type != FG_JSON_OBJECT || !fg_json_member(root, fg_span_str("chunk"), &value) ||
	    value.type != FG_JSON_INTEGER || value.text.size > 15 || value.text.data[0] == '-')
		return false;
	*ret = 0;
	for (size_t i = 0; i < value.text.size; i++)
		*ret = *ret * 10 + (uint64_t)(value.text.data[i] - '0');
	return true;
}

int fg_images_rules_read(const struct fg_images_rules *rules, const char *broker,
			 const struct fg_mqtt_message *message, struct fg_images_report *ret)
{
	const struct fg_images_rule *rule = NULL;
	struct fg_span topic;
	struct fg_json_value root, word;
	struct fg_json_fault fault;

	if (rules->n_filters == 0)
		return -ENOENT;
	topic = fg_span_str(message->topic);
	for (size_t i = 0; !rule && i < rules->n; i++) {
		const struct fg_images_rule *each = &rules->rules[i];

		if (each->config->broker && strcmp(each->config->broker, broker) != 0)
			continue;
		if (read_device(each, topic, ret->device) &&
		    fg_images_rules_find(rules, ret->device) == each)
			rule = each;
	}
	if (!rule)
		return -ENOENT;
	if (fg_json_check(message->payload, &root, &fault) < 0)
		return -EBADMSG;
	ret->wants_chunk = read_chunk(root, &ret->chunk);
	ret->state = FG_REPORT_OTHER;
	if (fg_json_path_find(rule->state, root, &word))
		ret->state = read_state(word);
	else if (!ret->wants_chunk)
		return -EBADMSG;
	read_text(root, "version", ret->version);
	read_text(root, "error", ret->error);
	return 0;
}
