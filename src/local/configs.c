#include "local/configs.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>

#include "model/json_merge.h"
#include "model/template.h"
#include "model/topic.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

#define MAX_BYTES ((size_t)4 << 20)
#define TOPIC_MAX 65536

struct rule {
	const struct fg_config_down_config *config;
	struct fg_template *topic;
};

struct fg_configs {
	struct fg_configs_options with;
	struct rule *rules;
	size_t n_rules;
	struct fg_store *store;
	/* The newest object of the device that changed last: the store tells only what is on disk. */
	char *merged;
	char *topic;
	struct fg_complaint complaint;
};

/* ---- rules */

static const char *const names[] = {"device", NULL};
static const struct fg_template_names template_names = {
	.find = fg_template_find_in,
	.arg = names,
	.verdict = "does not stand for anything here; {device} does",
};

/* Whoever read the configuration has seen to it that the topics are good. */
static int make_rules(const struct fg_config *config, struct fg_configs *c)
{

	c->rules = calloc(config->n_configs + 1, sizeof(c->rules[0]));
	if (!c->rules)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_configs; i++) {
		const struct fg_config_down_config *rule = &config->configs[i];
		int r = fg_template_new(fg_span_str(rule->topic), FG_TEMPLATE_TEXT, &template_names,
					&c->rules[i].topic, NULL);

		if (r < 0)
			return r;
		c->rules[i].config = rule;
		c->n_rules++;
	}
	return 0;
}

static bool is_for(const struct rule *rule, const char *device)
{
	const struct fg_config_down_config *config = rule->config;

	for (size_t i = 0; i < config->n_devices; i++)
		if (fnmatch(config->devices[i], device, 0) == 0)
			return true;
	return config->n_devices == 0;
}

/* ---- publishing */

static void publish(struct fg_configs *c, const struct rule *rule, struct fg_span device,
		    struct fg_span body)
{
	struct fg_mqtt_publish p = {
		.topic = c->topic,
		.payload = body,
		.qos = rule->config->qos,
		.is_retained = rule->config->is_retained,
	};
	size_t size = fg_template_fill(rule->topic, &device, c->topic, TOPIC_MAX);

	if (size >= TOPIC_MAX || !fg_topic_name_ok(fg_span_of(c->topic, size))) {
		fg_complain(&c->complaint, fg_clock_monotonic_ms(), LOG_WARNING,
			    "configs: device %.*s has a name that makes no topic name; its "
			    "configuration is kept, not published",
			    FG_SPAN_ARGS(device));
		return;
	}
	c->topic[size] = '\0';
	/* Of all others a broker or the device that comes makes good. */
	if (c->with.publish(c->with.arg, rule->config->broker, device, &p) == -EMSGSIZE)
		fg_complain(&c->complaint, fg_clock_monotonic_ms(), LOG_WARNING,
			    "configs: the broker takes no message of %zu bytes, which the "
			    "configuration of device %.*s has: allow it larger packets",
			    body.size, FG_SPAN_ARGS(device));
}

static void publish_to_all(struct fg_configs *c, const char *broker, struct fg_span device,
			   struct fg_span body)
{
	char name[256];

	memcpy(name, device.data, device.size);
	name[device.size] = '\0';
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct rule *rule = &c->rules[i];
		const char *its_broker = rule->config->broker;

		/* A broker that is back gets what goes to it, or may. */
		if (broker && its_broker && strcmp(broker, its_broker) != 0)
			continue;
		if (is_for(rule, name))
			publish(c, rule, device, body);
	}
}

static int publish_entry(void *arg, struct fg_span key, struct fg_span value)
{
	struct fg_configs *c = *(struct fg_configs **)arg;
	const char *broker = *((const char **)arg + 1);

	publish_to_all(c, broker, key, value);
	return 0;
}

void fg_configs_broker_up(struct fg_configs *c, const char *broker)
{
	const void *both[] = {c, broker};

	if (c->n_rules > 0)
		fg_store_each(c->store, publish_entry, both);
}

void fg_configs_device_moved(struct fg_configs *c, struct fg_span device)
{
	char name[FG_STORE_KEY_MAX + 1];
	struct fg_span body;

	if (c->n_rules == 0 || device.size > FG_STORE_KEY_MAX ||
	    fg_store_get_newest(c->store, device, &body) < 0)
		return;
	memcpy(name, device.data, device.size);
	name[device.size] = '\0';
	for (size_t i = 0; i < c->n_rules; i++)
		if (!c->rules[i].config->broker && is_for(&c->rules[i], name))
			publish(c, &c->rules[i], device, body);
}

/* ---- changes */

/* A value of @type, or none for an empty text. */
static bool parse(struct fg_span text, enum fg_json_type type, struct fg_json_value *ret)
{
	struct fg_json_fault fault;

	*ret = (struct fg_json_value){.text = {.size = 0}};
	return text.size == 0 || (fg_json_check(text, ret, &fault) == 0 && ret->type == type);
}

void fg_configs_change(struct fg_configs *c, const char *link, struct fg_span device,
		       struct fg_span set, struct fg_span unset, int64_t now_ms)
{
	struct fg_json_value old, set_value, unset_value;
	struct fg_span before;
	size_t size;

	if (device.size == 0 || device.size > FG_STORE_KEY_MAX)
		return;
	if (!parse(set, FG_JSON_OBJECT, &set_value) || !parse(unset, FG_JSON_ARRAY, &unset_value)) {
		fg_complain(&c->complaint, now_ms, LOG_WARNING,
			    "link %s: configuration for device %.*s is not a JSON object, ignored",
			    link, FG_SPAN_ARGS(device));
		return;
	}
	if (fg_store_get_newest(c->store, device, &before) < 0)
		before = (struct fg_span){.size = 0};
	if (!parse(before, FG_JSON_OBJECT, &old))
		old = (struct fg_json_value){.text = {.size = 0}};
	size = fg_json_merge(old, set_value, unset_value, c->merged, FG_STORE_VALUE_MAX);
	if (size > FG_STORE_VALUE_MAX ||
	    fg_store_set(c->store, device, fg_span_of(c->merged, size)) < 0) {
		fg_complain(&c->complaint, now_ms, LOG_WARNING,
			    "link %s: configuration for device %.*s is too large (%zu bytes), "
			    "ignored",
			    link, FG_SPAN_ARGS(device), size);
		return;
	}
	publish_to_all(c, NULL, device, fg_span_of(c->merged, size));
}

struct fg_store *fg_configs_store(const struct fg_configs *c)
{
	return c->store;
}

void fg_configs_tick(struct fg_configs *c, int64_t now_ms)
{
	fg_store_tick(c->store, now_ms);
}

/* ---- life */

static void configs_freep(struct fg_configs **c)
{
	fg_configs_free(*c);
}

int fg_configs_open(const struct fg_configs_options *options, struct fg_configs **ret,
		    struct fg_error *err)
{
	FG_CLEANUP(configs_freep) struct fg_configs *c = calloc(1, sizeof(*c));
	struct fg_store_options store = {
		.connector = options->connector,
		.path = options->path,
		.max_bytes = MAX_BYTES,
	};
	int r;

	if (!c)
		return -ENOMEM;
	c->with = *options;
	r = make_rules(options->config, c);
	if (r < 0)
		return r;
	c->merged = malloc(FG_STORE_VALUE_MAX);
	c->topic = malloc(TOPIC_MAX);
	if (!c->merged || !c->topic)
		return -ENOMEM;
	r = fg_store_open(&store, &c->store, err);
	if (r < 0)
		return r;

	*ret = c; /* the caller owns it now */
	c = NULL;
	return 0;
}

struct fg_configs *fg_configs_free(struct fg_configs *c)
{
	if (!c)
		return NULL;
	fg_store_free(c->store);
	for (size_t i = 0; i < c->n_rules; i++)
		fg_template_free(c->rules[i].topic);
	free(c->rules);
	free(c->merged);
	free(c->topic);
	free(c);
	return NULL;
}
