#include "local/mapping_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/utf8.h"
#include "util/cleanup.h"
#include "util/span.h"

/* What compiling one rule needs: where mistakes go, and how the rule is called in them. */
struct compiler {
	struct fg_report *report;
	const struct fg_mapping_config *config;
	unsigned index;         /* in its own file */
	const char *only_cloud; /* for requests that name none */
};

static int mistake(const struct compiler *c, const struct fg_place *place, const char *key,
		   const char *value, const char *sentence)
{
	fg_report_add(c->report, place && place->line > 0 ? place : &c->config->place,
		      "mappings[%u].%s: \"%s\": %s", c->index, key, value, sentence);
	return -EINVAL;
}

/* The index of a level of the topic. */
static int find_capture(const void *arg, struct fg_span name)
{
	return fg_topic_pattern_capture(arg, name);
}

/* Compile a template with the levels of the topic; one that alone makes more than @max is a mistake. */
static int compile_template(const struct compiler *c, const char *text,
			    const struct fg_place *place, const char *key,
			    const struct fg_topic_pattern *pattern, size_t max,
			    struct fg_template **ret)
{
	struct fg_template_names names = {find_capture, pattern, "is not a level of the topic"};
	struct fg_error err = {0};
	int r;

	if (!fg_utf8_ok(fg_span_str(text)) || fg_mapping_has_control(fg_span_str(text)))
		return mistake(c, place, key, text, "expected UTF-8 without control characters");
	r = fg_template_new(fg_span_str(text), FG_TEMPLATE_TEXT, &names, ret, &err);
	if (r == -EINVAL)
		return mistake(c, place, key, text, err.text);
	if (r == 0 && fg_template_fixed_bytes(*ret) > max) {
		fg_error_set(&err, 0, "longer than %zu bytes", max);
		return mistake(c, place, key, text, err.text);
	}
	return r;
}

static int compile_path(const struct compiler *c, const struct fg_place *place, const char *key,
			const char *text, struct fg_json_path **ret)
{
	struct fg_json_fault fault = {0};
	struct fg_error err;
	int r;

	r = fg_json_path_new(fg_span_str(text), ret, &fault);
	if (r != -EINVAL)
		return r;
	fg_error_set(&err, r, "%s (character %zu of the path)", fault.reason, fault.offset + 1);
	return mistake(c, place, key, text, err.text);
}

static int compile_select(const struct compiler *c, const char *kind,
			  const struct fg_select_config *config, struct fg_mapping_select *select,
			  struct fg_json_path **ret_path)
{
	struct fg_span name = fg_span_str(config->name);
	char key[300];
	size_t size;

	snprintf(key, sizeof(key), "%s.%s", kind, config->name);
	if (!fg_utf8_ok(name))
		return mistake(c, &config->place, kind, "name", "expected UTF-8");
	size = fg_json_quote(name, NULL, 0);
	select->name = malloc(size + 1);
	if (!select->name)
		return -ENOMEM;
	fg_json_quote(name, select->name, size);
	select->name[size] = ':';
	select->name_size = size + 1;
	return compile_path(c, &config->place, key, config->from, ret_path);
}

static int compile_members(const struct compiler *c, const char *kind,
			   const struct fg_members_config *config,
			   struct fg_mapping_members *members)
{
	int worst = 0;

	members->is_all = config->is_all;
	if (config->is_all || config->n_select == 0)
		return 0;
	members->select = calloc(config->n_select, sizeof(*members->select));
	members->paths = calloc(config->n_select, sizeof(struct fg_json_path *));
	if (!members->select || !members->paths)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_select; i++) {
		const struct fg_select_config *member = &config->select[i];
		struct fg_mapping_select *select = &members->select[members->n_select++];
		int r;

		for (size_t k = 0; k < i; k++)
			if (strcmp(config->select[k].name, member->name) == 0) {
				worst = mistake(c, &member->place, kind, member->name,
						"selected twice");
				break;
			}
		r = compile_select(c, kind, member, select, &members->paths[i]);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			worst = r;
		members->names_bytes += select->name_size + 1;
	}
	return worst;
}

static int compile_time(const struct compiler *c, struct fg_mapping_rule *rule)
{
	rule->time_unit = c->config->time_unit;
	if (!c->config->time)
		return 0;
	rule->time_text = strdup(c->config->time);
	if (!rule->time_text)
		return -ENOMEM;
	return compile_path(c, &c->config->time_place, "time", c->config->time, &rule->time);
}

static int worse(int a, int b)
{
	return a == -ENOMEM || b == 0 ? a : b;
}

static int compile_names(const struct compiler *c, struct fg_mapping_rule *rule)
{
	const struct fg_mapping_config *config = c->config;
	const char *device = config->device ? config->device : "{device}";
	const char *stream = config->stream;
	int worst;

	if (!stream)
		stream = fg_topic_pattern_capture(rule->pattern, fg_span_str("stream")) >= 0
				 ? "{stream}"
				 : "";
	worst = compile_template(c, device, &config->device_place, "device", rule->pattern,
				 FG_MAPPING_NAME_MAX, &rule->device);
	if (!*device)
		worst = worse(worst, mistake(c, &config->device_place, "device", device,
					     "the device needs a name"));
	worst = worse(worst, compile_template(c, stream, &config->stream_place, "stream",
					      rule->pattern, FG_MAPPING_NAME_MAX, &rule->stream));
	if (config->event)
		worst = worse(worst,
			      compile_template(c, config->event, &config->event_place, "event",
					       rule->pattern, FG_MAPPING_NAME_MAX, &rule->event));
	if (config->payload == FG_PAYLOAD_TEXT && !config->presence.is_set) {
		const char *key = config->key ? config->key : "{key}";

		worst = worse(worst,
			      compile_template(c, key, &config->key_place, "key", rule->pattern,
					       FG_MAPPING_NAME_MAX, &rule->key));
	}
	return worst;
}

/* ---- presence and requests */

static int copy_texts(char *const *texts, size_t n, struct fg_mapping_texts *ret)
{
	ret->texts = calloc(n + 1, sizeof(*ret->texts));
	if (!ret->texts)
		return -ENOMEM;
	for (; ret->n < n; ret->n++) {
		ret->texts[ret->n] = strdup(texts[ret->n]);
		if (!ret->texts[ret->n])
			return -ENOMEM;
	}
	return 0;
}

static int compile_presence(const struct compiler *c, struct fg_mapping_rule *rule)
{
	const struct fg_presence_config *config = &c->config->presence;

	if (!config->is_set)
		return 0;
	if (copy_texts(config->up, config->n_up, &rule->up) < 0 ||
	    copy_texts(config->down, config->n_down, &rule->down) < 0)
		return -ENOMEM;
	if (!config->from)
		return 0;
	rule->state_text = strdup(config->from);
	if (!rule->state_text)
		return -ENOMEM;
	return compile_path(c, &config->from_place, "presence.from", config->from, &rule->state);
}

/* The topic of the answer, if there is one for all: a topic, and not the one that is asked on. */
static int compile_response(const struct compiler *c, struct fg_mapping_rule *rule)
{
	const struct fg_request_config *config = &c->config->request;
	struct fg_span values[FG_TOPIC_MAX_CAPTURES];
	char example[FG_MAPPING_RESPONSE_MAX];
	struct fg_topic_captures captures;
	struct fg_span topic;
	int r;

	if (!config->response || !rule->pattern)
		return 0;
	r = compile_template(c, config->response, &config->response_place, "request.response",
			     rule->pattern, sizeof(example) - FG_TOPIC_MAX_CAPTURES,
			     &rule->response);
	if (r < 0)
		return r;
	for (size_t i = 0; i < FG_TOPIC_MAX_CAPTURES; i++)
		values[i] = fg_span_str("x");
	topic = fg_span_of(example,
			   fg_template_fill(rule->response, values, example, sizeof(example)));
	if (topic.size > sizeof(example) || !fg_topic_name_ok(topic))
		return mistake(c, &config->response_place, "request.response", config->response,
			       "expected the name of a topic, without wildcards");
	if (fg_topic_pattern_match(rule->pattern, topic, &captures))
		return mistake(c, &config->response_place, "request.response", config->response,
			       "the answer would be taken for a request: the rule's own topic "
			       "matches it");
	return 0;
}

static int compile_request(const struct compiler *c, struct fg_mapping_rule *rule)
{
	const struct fg_request_config *config = &c->config->request;
	const char *link = config->link ? config->link : c->only_cloud;

	if (!config->is_set)
		return 0;
	rule->is_request = true;
	rule->request = config->kind;
	rule->timeout_ms = config->timeout_ms;
	rule->link = strdup(link);
	if (!rule->link)
		return -ENOMEM;
	return compile_response(c, rule);
}

/* ---- a rule */

static fg_mapping_read reader_of(const struct fg_mapping_config *config)
{
	if (config->presence.is_set)
		return fg_mapping_read_presence;
	if (config->request.is_set)
		return fg_mapping_read_request;
	if (config->event)
		return fg_mapping_read_event;
	if (config->payload == FG_PAYLOAD_OPAQUE)
		return fg_mapping_read_opaque;
	return config->payload == FG_PAYLOAD_TEXT ? fg_mapping_read_text : fg_mapping_read_json;
}

/*
 * Compile all of a rule, so that all its mistakes are reported. Templates are left out when the
 * pattern, whose names they use, is itself wrong.
 */
static int rule_compile(const struct compiler *c, struct fg_mapping_rule *rule)
{
	const struct fg_mapping_config *config = c->config;
	struct fg_error err = {0};
	int worst;

	rule->read = reader_of(config);
	rule->lane = config->is_alarm ? FG_LANE_ALARM : FG_LANE_MAIN;
	worst = fg_topic_pattern_new(fg_span_str(config->topic), &rule->pattern, &err);
	if (worst == -EINVAL)
		mistake(c, &config->place, "topic", config->topic, err.text);
	if (worst == 0)
		worst = compile_names(c, rule);
	worst = worse(worst, compile_members(c, "telemetry", &config->telemetry, &rule->telemetry));
	worst = worse(worst,
		      compile_members(c, "attributes", &config->attributes, &rule->attributes));
	worst = worse(worst, compile_time(c, rule));
	worst = worse(worst, compile_presence(c, rule));
	worst = worse(worst, compile_request(c, rule));
	/* neither kind is asked for: all is telemetry */
	if (!config->telemetry.is_all && config->telemetry.n_select == 0 &&
	    !config->attributes.is_all && config->attributes.n_select == 0)
		rule->telemetry.is_all = true;
	return worst;
}

/* How a rule is found by a human: the line, and the file when it is another one. */
static int refuse_unreachable(const struct compiler *c, const struct fg_config *config,
			      const struct fg_mapping *m, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		const struct fg_mapping_config *earlier = &config->mappings[k];
		const char *file = earlier->place.file ? earlier->place.file : "";
		struct fg_error err;

		if (!m->rules[k].pattern || !m->rules[i].pattern ||
		    !fg_topic_pattern_covers(m->rules[k].pattern, m->rules[i].pattern))
			continue;
		if (c->config->place.file && strcmp(file, c->config->place.file) == 0)
			fg_error_set(
				&err, 0,
				"never reached: the rule for \"%.200s\" in line %u comes first",
				earlier->topic, earlier->place.line);
		else
			fg_error_set(
				&err, 0,
				"never reached: the rule for \"%.200s\" at %.200s:%u comes first",
				earlier->topic, file, earlier->place.line);
		return mistake(c, &c->config->place, "topic", c->config->topic, err.text);
	}
	return 0;
}

static unsigned index_in_its_file(const struct fg_config *config, size_t i)
{
	const char *file = config->mappings[i].place.file;
	unsigned index = 0;

	for (size_t k = 0; k < i; k++) {
		const char *other = config->mappings[k].place.file;

		if (other == file || (other && file && strcmp(other, file) == 0))
			index++;
	}
	return index;
}

static void add_filter(struct fg_mapping *m, const char *filter)
{
	for (size_t i = 0; i < m->n_filters; i++)
		if (strcmp(m->filters[i], filter) == 0)
			return;
	m->filters[m->n_filters++] = filter;
}

static size_t max_of(size_t a, size_t b)
{
	return a > b ? a : b;
}

static void count_room(struct fg_mapping *m, const struct fg_mapping_rule *rule)
{
	const struct fg_mapping_members *kinds[] = {&rule->telemetry, &rule->attributes};
	size_t n_messages = 0;

	for (size_t i = 0; i < FG_MAPPING_KINDS; i++) {
		n_messages += kinds[i]->is_all || kinds[i]->n_select > 0;
		m->max_values = max_of(m->max_values, kinds[i]->n_select);
		m->max_names_bytes = max_of(m->max_names_bytes, kinds[i]->names_bytes);
	}
	m->max_messages = max_of(m->max_messages, n_messages);
	if (rule->key) {
		m->max_values = max_of(m->max_values, FG_MAPPING_QUOTED_MAX);
		m->max_names_bytes = max_of(m->max_names_bytes, FG_MAPPING_KEY_QUOTED_MAX + 1);
	}
	if (rule->read == fg_mapping_read_presence)
		m->max_names_bytes = max_of(m->max_names_bytes, strlen("{\"state\":\"down\"}"));
	if (rule->event)
		m->max_ref_bytes = max_of(m->max_ref_bytes, FG_MAPPING_NAME_MAX);
	if (rule->is_request && rule->link)
		m->max_link_bytes = max_of(m->max_link_bytes, strlen(rule->link));
}

static void mapping_freep(struct fg_mapping **m)
{
	fg_mapping_free(*m);
}

int fg_mapping_new(const struct fg_config *config, struct fg_report *report,
		   struct fg_mapping **ret)
{
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	int worst = 0;

	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->max_message_bytes = config->max_message_bytes;
	m->max_messages = 1;
	m->max_values = 1;
	m->rules = calloc(config->n_mappings + 1, sizeof(*m->rules));
	m->filters = calloc(config->n_mappings + 1, sizeof(*m->filters));
	if (!m->rules || !m->filters)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_mappings; i++) {
		struct compiler c = {
			.report = report,
			.config = &config->mappings[i],
			.index = index_in_its_file(config, i),
			.only_cloud = config->n_clouds > 0 ? config->clouds[0].name : "",
		};
		struct fg_mapping_rule *rule = &m->rules[m->n_rules++];
		int r;

		r = rule_compile(&c, rule);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			worst = r;
		r = refuse_unreachable(&c, config, m, i);
		if (r < 0)
			worst = r;
		if (rule->pattern)
			add_filter(m, fg_topic_pattern_filter(rule->pattern));
		count_room(m, rule);
	}
	if (worst < 0)
		return worst;

	/*
	 * All members of a payload, with the names of those selected and two braces. Not touched
	 * here: the system gives memory only for as much as the largest payload has ever needed.
	 */
	m->scratch_bytes = m->max_message_bytes + m->max_names_bytes + 2;
	m->scratch = malloc(2 * m->scratch_bytes);
	m->found = calloc(m->max_values, sizeof(*m->found));
	if (!m->scratch || !m->found)
		return -ENOMEM;
	*ret = m;
	m = NULL;
	return 0;
}

static void members_release(struct fg_mapping_members *members)
{
	for (size_t i = 0; i < members->n_select; i++) {
		free(members->select[i].name);
		fg_json_path_free(members->paths[i]);
	}
	free(members->select);
	free(members->paths);
}

static void texts_release(struct fg_mapping_texts *texts)
{
	for (size_t i = 0; i < texts->n; i++)
		free(texts->texts[i]);
	free(texts->texts);
}

struct fg_mapping *fg_mapping_free(struct fg_mapping *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->n_rules; i++) {
		struct fg_mapping_rule *rule = &m->rules[i];

		fg_topic_pattern_free(rule->pattern);
		fg_template_free(rule->device);
		fg_template_free(rule->stream);
		fg_template_free(rule->key);
		fg_template_free(rule->event);
		fg_template_free(rule->response);
		members_release(&rule->telemetry);
		members_release(&rule->attributes);
		fg_json_path_free(rule->time);
		free(rule->time_text);
		fg_json_path_free(rule->state);
		free(rule->state_text);
		texts_release(&rule->up);
		texts_release(&rule->down);
		free(rule->link);
	}
	free(m->rules);
	free(m->filters);
	free(m->scratch);
	free(m->found);
	free(m);
	return NULL;
}
