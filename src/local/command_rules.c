#include "local/command_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/cleanup.h"

static const char *const topic_words[] = {"device", "command", "id", NULL};
static const char *const payload_words[] = {"device", "command", "id", "params", NULL};

/* Stand-ins to try a rule with. */
static const struct fg_span dummy_topic_words[] = {{"device", 6}, {"command", 7}, {"id", 2}};
static const struct fg_span dummy_json_words[] = {
	{"\"device\"", 8}, {"\"command\"", 9}, {"\"id\"", 4}, {"{\"a\":[1]}", 9}};

/* What compiling one rule needs. Its functions return 0 or -ENOMEM; a mistake is only noted. */
struct compiler {
	struct fg_command_rules *rules;
	const struct fg_config *all;
	const struct fg_command_config *config;
	struct fg_report *report;
	unsigned index; /* in its own file */
	bool has_mistake;
};

static void mistake(struct compiler *c, const struct fg_place *place, const char *key,
		    const char *value, const char *sentence)
{
	fg_report_add(c->report, place && place->line > 0 ? place : &c->config->place,
		      "commands[%u].%s: \"%s\": %s", c->index, key, value, sentence);
	c->has_mistake = true;
}

/* 0 or -ENOMEM for what a constructor returned; -EINVAL becomes a mistake. */
static int check(struct compiler *c, int r, const struct fg_place *place, const char *key,
		 const char *value, const char *sentence)
{
	if (r != -EINVAL)
		return r;
	mistake(c, place, key, value, sentence);
	return 0;
}

static int copy_text(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int copy_patterns(char *const *patterns, size_t n, char ***ret, size_t *ret_n)
{
	if (n == 0)
		return 0;
	*ret = calloc(n, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		(*ret)[i] = strdup(patterns[i]);
		if (!(*ret)[i])
			return -ENOMEM;
		*ret_n = i + 1;
	}
	return 0;
}

bool fg_command_is_one_level(struct fg_span name)
{
	for (size_t i = 0; i < name.size; i++)
		if (name.data[i] == '/' || name.data[i] == '+' || name.data[i] == '#' ||
		    name.data[i] == '\0')
			return false;
	return name.size > 0;
}

/* ------------------------------------------------------------------ going down */

static int compile_template(struct compiler *c, const char *text, enum fg_template_form form,
			    const struct fg_place *place, const char *key, struct fg_template **ret)
{
	const struct fg_template_names names = {
		.find = fg_template_find_in,
		.arg = form == FG_TEMPLATE_JSON ? payload_words : topic_words,
		.verdict = form == FG_TEMPLATE_JSON
				   ? "is none of {params}, {device}, {command} and {id}"
				   : "is none of {device}, {command} and {id}",
	};
	struct fg_error err = {0};

	return check(c, fg_template_new(fg_span_str(text), form, &names, ret, &err), place, key,
		     text, err.text);
}

/* The text of @t with dummies; the caller frees *@ret. */
static int fill_dummies(const struct fg_template *t, const struct fg_span *values, char **ret,
			size_t *ret_size)
{
	*ret_size = fg_template_fill(t, values, NULL, 0);
	*ret = malloc(*ret_size + 1);
	if (!*ret)
		return -ENOMEM;
	fg_template_fill(t, values, *ret, *ret_size);
	(*ret)[*ret_size] = '\0';
	return 0;
}

static int compile_topic(struct compiler *c, const char *text, const struct fg_place *place,
			 const char *key, struct fg_template **ret)
{
	FG_CLEANUP(fg_free_p) char *example = NULL;
	size_t size;
	int r;

	r = compile_template(c, text, FG_TEMPLATE_TEXT, place, key, ret);
	if (r < 0 || !*ret)
		return r;
	r = fill_dummies(*ret, dummy_topic_words, &example, &size);
	if (r < 0)
		return r;
	if (!fg_topic_name_ok(fg_span_of(example, size)))
		mistake(c, place, key, text, "expected the name of a topic, without wildcards");
	return 0;
}

static int compile_payload(struct compiler *c, struct fg_compiled_rule *rule)
{
	const char *text = c->config->payload ? c->config->payload : "{params}";
	FG_CLEANUP(fg_free_p) char *example = NULL;
	struct fg_json_value value;
	struct fg_json_fault fault;
	struct fg_error err;
	size_t size;
	int r;

	r = compile_template(c, text, FG_TEMPLATE_JSON, &c->config->payload_place, "payload",
			     &rule->payload);
	if (r < 0 || !rule->payload)
		return r;
	r = fill_dummies(rule->payload, dummy_json_words, &example, &size);
	if (r < 0)
		return r;
	if (fg_json_check(fg_span_of(example, size), &value, &fault) < 0) {
		fg_error_set(&err, 0, "does not make JSON (%s), for example %.200s", fault.reason,
			     example);
		mistake(c, &c->config->payload_place, "payload", text, err.text);
	}
	return 0;
}

/* ------------------------------------------------------------------ coming back */

static int compile_path(struct compiler *c, const char *key, const char *text,
			struct fg_json_path **ret)
{
	struct fg_json_fault fault = {0};
	struct fg_error err = {0};
	int r;

	if (!text)
		return 0;
	r = fg_json_path_new(fg_span_str(text), ret, &fault);
	if (r == -EINVAL)
		fg_error_set(&err, r, "%s (character %zu of the path)", fault.reason,
			     fault.offset + 1);
	return check(c, r, &c->config->response_place, key, text, err.text);
}

static bool is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The one device a rule is for, if its patterns say so; else NULL. */
static const char *only_device(const struct fg_command_config *config)
{
	return config->n_devices == 1 && !strpbrk(config->devices[0], "*?[\\") ? config->devices[0]
									       : NULL;
}

/* Is all there that tells one answer from another? */
static void check_correlation(struct compiler *c, const struct fg_command_group *g,
			      const char *text)
{
	const struct fg_compiled_rule *rule = &c->rules->rules[c->rules->n_rules - 1];
	const struct fg_place *place = &c->config->response_place;

	switch (g->correlate) {
	case FG_CORRELATE_NONE:
		if (g->captures[FG_WORD_DEVICE] < 0 && !g->device)
			mistake(c, place, "response.topic", text,
				"without {device}, and without `correlate`, nobody knows whose "
				"answer it is");
		if (g->device && !is_same_text(g->device, only_device(c->config)))
			mistake(c, place, "response.topic", text,
				"another rule takes this for the answers of another device");
		return;
	case FG_CORRELATE_TOPIC:
		if (g->captures[FG_WORD_ID] < 0)
			mistake(c, place, "response.topic", text, "expected {id} in it");
		break;
	case FG_CORRELATE_PAYLOAD:
		break;
	case FG_CORRELATE_MQTT5:
		return;
	}
	if (rule->topic && rule->payload && !fg_template_uses(rule->topic, FG_WORD_ID) &&
	    !fg_template_uses(rule->payload, FG_WORD_ID))
		mistake(c, place, "response.topic", text,
			"{id} stands neither in `topic` nor in `payload`: the device could not "
			"give "
			"it back");
}

static void check_captures(struct compiler *c, struct fg_command_group *g)
{
	char last[16];
	int n = 0;

	g->takes_levels = -1;
	for (int i = 0; topic_words[i]; i++) {
		g->captures[i] = fg_topic_pattern_capture(g->pattern, fg_span_str(topic_words[i]));
		n += g->captures[i] >= 0;
		snprintf(last, sizeof(last), "{%s...}", topic_words[i]);
		if (strstr(g->text, last))
			g->takes_levels = i;
	}
	for (const char *at = g->text; (at = strchr(at, '{')); at++)
		n--; /* a brace begins a name, and no name stands twice */
	if (n < 0)
		mistake(c, &c->config->response_place, "response.topic", g->text,
			"only {device}, {command} and {id} can stand in it");
}

/* The command must not be its own answer. */
static int check_echo(struct compiler *c, const struct fg_command_group *g)
{
	const struct fg_compiled_rule *rule = &c->rules->rules[c->rules->n_rules - 1];
	FG_CLEANUP(fg_free_p) char *example = NULL;
	struct fg_topic_captures captures;
	size_t size;
	int r;

	if (!rule->topic)
		return 0;
	r = fill_dummies(rule->topic, dummy_topic_words, &example, &size);
	if (r < 0)
		return r;
	if (fg_topic_pattern_match(g->pattern, fg_span_of(example, size), &captures))
		mistake(c, &c->config->response_place, "response.topic", g->text,
			"matches the topic of the command itself");
	return 0;
}

static struct fg_command_group *find_group(const struct fg_command_rules *rules, const char *text,
					   enum fg_correlate correlate, const char *path_text)
{
	for (size_t i = 0; i < rules->n_groups; i++) {
		struct fg_command_group *g = &rules->groups[i];

		if (g->correlate == correlate && strcmp(g->text, text) == 0 &&
		    is_same_text(g->path_text, path_text))
			return g;
	}
	return NULL;
}

/* *@ret is NULL when the pattern is a mistake. */
static int add_group(struct compiler *c, const char *text, struct fg_command_group **ret)
{
	const struct fg_command_config *config = c->config;
	struct fg_command_group *g = &c->rules->groups[c->rules->n_groups];
	struct fg_error err = {0};
	int r;

	*ret = NULL;
	c->rules->n_groups++; /* it is released with the others, however far it gets */
	g->correlate = config->correlate;
	g->is_own = !config->response;
	r = copy_text(text, &g->text);
	if (r < 0)
		return r;
	if (config->correlate == FG_CORRELATE_PAYLOAD) {
		r = copy_text(config->correlate_path ? config->correlate_path : "", &g->path_text);
		if (r < 0)
			return r;
		r = compile_path(c, "response.correlate", g->path_text, &g->path);
		if (r < 0)
			return r;
	}
	r = check(c, fg_topic_pattern_new(fg_span_str(text), &g->pattern, &err),
		  &config->response_place, "response.topic", text, err.text);
	if (r < 0 || !g->pattern)
		return r;
	check_captures(c, g);
	if (g->correlate == FG_CORRELATE_NONE && g->captures[FG_WORD_DEVICE] < 0) {
		r = copy_text(only_device(config), &g->device);
		if (r < 0)
			return r;
	}
	*ret = g;
	return 0;
}

static bool is_old(const struct fg_broker_config *broker)
{
	return broker->mqtt_version == FG_MQTT_311;
}

/* No Local keeps from us what we publish: MQTT 5 has it, and not for shared subscriptions (3.8.3.1). */
static bool gives_back(const struct fg_broker_config *broker)
{
	return is_old(broker) || broker->share;
}

/* The first broker like this that the commands may go to, or NULL. */
static const struct fg_broker_config *
find_broker(const struct compiler *c, bool (*is_like_this)(const struct fg_broker_config *broker))
{
	for (size_t i = 0; i < c->all->n_brokers; i++) {
		const struct fg_broker_config *broker = &c->all->brokers[i];

		if (is_like_this(broker) &&
		    (!c->config->broker || strcmp(c->config->broker, broker->name) == 0))
			return broker;
	}
	return NULL;
}

static void check_version(struct compiler *c)
{
	const struct fg_broker_config *broker = find_broker(c, is_old);
	struct fg_error err;

	if (!broker)
		return;
	fg_error_set(&err, 0, "broker \"%s\" is configured to speak 3.1.1 only%s", broker->name,
		     c->config->broker || c->all->n_brokers == 1
			     ? ""
			     : ": name in `broker` the one that it is for");
	mistake(c, &c->config->response_place, "response.correlate", "mqtt5", err.text);
}

/* Would one of our own mappings take the command for a message of a device? */
static int check_mappings(struct compiler *c, const struct fg_template *topic)
{
	const struct fg_broker_config *broker = find_broker(c, gives_back);
	FG_CLEANUP(fg_free_p) char *example = NULL;
	size_t size;
	int r;

	if (!broker || !topic)
		return 0;
	r = fill_dummies(topic, dummy_topic_words, &example, &size);
	for (size_t i = 0; r == 0 && i < c->all->n_mappings; i++) {
		const struct fg_mapping_config *mapping = &c->all->mappings[i];
		struct fg_topic_pattern *pattern = NULL;
		struct fg_topic_captures captures;
		struct fg_error err;

		r = fg_topic_pattern_new(fg_span_str(mapping->topic), &pattern, NULL);
		if (r == -EINVAL) /* has been reported as what it is */
			r = 0;
		if (pattern &&
		    fg_topic_pattern_match(pattern, fg_span_of(example, size), &captures)) {
			fg_error_set(&err, 0,
				     "the mapping rule for \"%.200s\" matches it, and broker "
				     "\"%s\" %s: the command would come back as a message",
				     mapping->topic, broker->name,
				     is_old(broker) ? "is configured to speak 3.1.1 only"
						    : "shares its subscriptions");
			mistake(c, &c->config->topic_place, "topic", c->config->topic, err.text);
			fg_topic_pattern_free(pattern);
			return 0;
		}
		fg_topic_pattern_free(pattern);
	}
	return r;
}

static int compile_response(struct compiler *c, struct fg_compiled_rule *rule)
{
	const struct fg_command_config *config = c->config;
	FG_CLEANUP(fg_free_p) char *own = NULL;
	const char *text = config->response;
	struct fg_command_group *g;
	int r;

	rule->seen.group = -1;
	if (config->correlate == FG_CORRELATE_MQTT5) {
		check_version(c);
		if (!text && asprintf(&own, "%s{id}", c->rules->own_prefix) < 0)
			return -ENOMEM;
		text = text ? text : own;
		rule->is_dollar_response = text[0] == '$';
		r = compile_topic(c, text, &config->response_place, "response.topic",
				  &rule->response);
		if (r < 0)
			return r;
	}
	if (!text)
		return 0;
	g = find_group(c->rules, text, config->correlate, config->correlate_path);
	if (!g) {
		r = add_group(c, text, &g);
		if (r < 0)
			return r;
	}
	if (!g || !g->pattern)
		return 0;
	rule->seen.group = (int)(g - c->rules->groups);
	check_correlation(c, g, text);
	return check_echo(c, g);
}

/* ------------------------------------------------------------------ a rule */

static int compile_rule(struct compiler *c, struct fg_compiled_rule *rule)
{
	const struct fg_command_config *config = c->config;
	int results[9];

	rule->seen = (struct fg_command_rule){
		.qos = config->qos,
		.correlate = config->correlate,
		.offline = config->offline,
		.timeout_ms = config->timeout_ms,
		.max_open = config->correlate == FG_CORRELATE_NONE ? 1 : config->max_open,
		.may_repeat = config->may_repeat,
	};
	rule->is_dollar_topic = config->topic[0] == '$';
	results[0] = copy_text(config->broker, &rule->broker);
	results[1] =
		copy_patterns(config->devices, config->n_devices, &rule->devices, &rule->n_devices);
	results[2] = copy_patterns(config->names, config->n_names, &rule->names, &rule->n_names);
	results[3] = compile_topic(c, config->topic, &config->topic_place, "topic", &rule->topic);
	results[4] = compile_payload(c, rule);
	results[5] = compile_response(c, rule);
	results[6] = compile_path(c, "response.result", config->result_path, &rule->result);
	results[7] = compile_path(c, "response.error", config->error_path, &rule->error);
	rule->seen.broker = rule->broker;
	results[8] = check_mappings(c, rule->topic);
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		if (results[i] < 0)
			return results[i];
	return 0;
}

/* Does the one pattern that matches all, or each of @other's, stand in @patterns? */
static bool covers(char *const *patterns, size_t n, char *const *others, size_t n_others)
{
	if (n == 0)
		return true;
	for (size_t i = 0; i < n; i++)
		if (strcmp(patterns[i], "*") == 0)
			return true;
	for (size_t i = 0; i < n_others; i++) {
		bool is_there = false;

		for (size_t k = 0; k < n && !is_there; k++)
			is_there = strcmp(patterns[k], others[i]) == 0;
		if (!is_there)
			return false;
	}
	return n_others > 0;
}

static void refuse_unreachable(struct compiler *c, const struct fg_command_config *configs)
{
	for (const struct fg_command_config *earlier = configs; earlier < c->config; earlier++) {
		struct fg_error err;

		if (!covers(earlier->devices, earlier->n_devices, c->config->devices,
			    c->config->n_devices) ||
		    !covers(earlier->names, earlier->n_names, c->config->names, c->config->n_names))
			continue;
		fg_error_set(&err, 0,
			     "never reached: the rule for \"%.200s\" at %.200s:%u comes first",
			     earlier->topic, earlier->place.file ? earlier->place.file : "",
			     earlier->place.line);
		mistake(c, &c->config->place, "topic", c->config->topic, err.text);
		return;
	}
}

static unsigned index_in_its_file(const struct fg_config *config, size_t i)
{
	unsigned index = 0;

	for (size_t k = 0; k < i; k++)
		index += is_same_text(config->commands[k].place.file,
				      config->commands[i].place.file);
	return index;
}

static int make_own_prefix(const struct fg_config *config, struct fg_report *report,
			   struct fg_command_rules *rules)
{
	const char *name = config->name ? config->name : "";

	if (asprintf(&rules->own_prefix, "fieldgate/%s/response/", name) < 0) {
		rules->own_prefix = NULL;
		return -ENOMEM;
	}
	if (config->n_commands == 0 ||
	    (fg_command_is_one_level(fg_span_str(name)) && fg_topic_name_ok(fg_span_str(name)) &&
	     !strpbrk(name, "{}")))
		return 0;
	fg_report_add(report, NULL,
		      "gateway.name: \"%s\": cannot stand in a topic, as `commands:` need it to",
		      name);
	return -EINVAL;
}

int fg_command_rules_compile(const struct fg_config *config, struct fg_report *report,
			     struct fg_command_rules *ret)
{
	bool has_mistake;
	int r;

	*ret = (struct fg_command_rules){0};
	ret->rules = calloc(config->n_commands + 1, sizeof(*ret->rules));
	ret->groups = calloc(config->n_commands + 1, sizeof(*ret->groups));
	if (!ret->rules || !ret->groups)
		return -ENOMEM;
	r = make_own_prefix(config, report, ret);
	if (r == -ENOMEM)
		return r;
	has_mistake = r < 0;
	for (size_t i = 0; i < config->n_commands; i++) {
		struct compiler c = {
			.rules = ret,
			.all = config,
			.config = &config->commands[i],
			.report = report,
			.index = index_in_its_file(config, i),
		};

		r = compile_rule(&c, &ret->rules[ret->n_rules++]);
		if (r < 0)
			return r;
		refuse_unreachable(&c, config->commands);
		has_mistake |= c.has_mistake;
	}
	return has_mistake ? -EINVAL : 0;
}

/* ------------------------------------------------------------------ releasing */

static void release_patterns(char **patterns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(patterns[i]);
	free(patterns);
}

void fg_command_rules_release(struct fg_command_rules *rules)
{
	for (size_t i = 0; i < rules->n_rules; i++) {
		struct fg_compiled_rule *rule = &rules->rules[i];

		free(rule->broker);
		release_patterns(rule->devices, rule->n_devices);
		release_patterns(rule->names, rule->n_names);
		fg_template_free(rule->topic);
		fg_template_free(rule->payload);
		fg_template_free(rule->response);
		fg_json_path_free(rule->result);
		fg_json_path_free(rule->error);
	}
	for (size_t i = 0; i < rules->n_groups; i++) {
		struct fg_command_group *g = &rules->groups[i];

		free(g->text);
		fg_topic_pattern_free(g->pattern);
		free(g->path_text);
		fg_json_path_free(g->path);
		free(g->device);
	}
	free(rules->rules);
	free(rules->groups);
	free(rules->own_prefix);
}
