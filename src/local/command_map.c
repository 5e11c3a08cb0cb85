#include "local/command_map.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>

#include "local/command_rules.h"
#include "model/utf8.h"
#include "util/cleanup.h"

#define NAME_MAX_BYTES 255
/* Quoted, a byte becomes six at most. */
#define QUOTED_MAX_BYTES (6 * NAME_MAX_BYTES + 2)
/* What stands around a result (command_answer.h). */
#define BODY_EXTRA_BYTES 64

struct fg_command_map {
	struct fg_command_rules inside;
	struct fg_command_filter *filters;
	size_t n_filters;
	size_t max_message_bytes;

	/* what fill() and answer() hand out */
	char topic[FG_TOPIC_MAX_BYTES + 1];
	char response_topic[FG_TOPIC_MAX_BYTES + 1];
	char *payload; /* max_message_bytes */
	char *body;    /* max_message_bytes + BODY_EXTRA_BYTES */
};

/* ------------------------------------------------------------------ a command goes down */

/* Shell patterns, as with the devices of a cloud. What has a NUL matches none. */
static bool matches_any(char *const *patterns, size_t n, struct fg_span name)
{
	char text[NAME_MAX_BYTES + 1];

	if (n == 0)
		return true;
	if (name.size > NAME_MAX_BYTES || (name.size > 0 && memchr(name.data, '\0', name.size)))
		return false;
	if (name.size > 0)
		memcpy(text, name.data, name.size);
	text[name.size] = '\0';
	for (size_t i = 0; i < n; i++)
		if (fnmatch(patterns[i], text, 0) == 0)
			return true;
	return false;
}

int fg_command_map_find(const struct fg_command_map *m, struct fg_span device, struct fg_span name)
{
	int verdict = -ENODEV;

	for (size_t i = 0; i < m->inside.n_rules; i++) {
		const struct fg_compiled_rule *rule = &m->inside.rules[i];

		if (!matches_any(rule->devices, rule->n_devices, device))
			continue;
		verdict = -ENOENT;
		if (matches_any(rule->names, rule->n_names, name))
			return (int)i;
	}
	return verdict;
}

const struct fg_command_rule *fg_command_map_rule(const struct fg_command_map *m, int rule)
{
	return &m->inside.rules[rule].seen;
}

/*
 * Returns false when what comes out is no topic name. A name must not turn it into one of the
 * broker's own, either.
 */
static bool fill_topic(const struct fg_template *t, const struct fg_span *values,
		       bool is_dollar_topic, char out[FG_TOPIC_MAX_BYTES + 1])
{
	size_t size = fg_template_fill(t, values, out, FG_TOPIC_MAX_BYTES);

	if (size > FG_TOPIC_MAX_BYTES || !fg_topic_name_ok(fg_span_of(out, size)) ||
	    (out[0] == '$') != is_dollar_topic)
		return false;
	out[size] = '\0';
	return true;
}

/* Would the pattern of the answers find @name again where it has {word}? */
static bool fits_answers(const struct fg_command_map *m, const struct fg_compiled_rule *rule,
			 enum fg_command_word word, struct fg_span name)
{
	const struct fg_command_group *g;

	if (rule->seen.group < 0)
		return true;
	g = &m->inside.groups[rule->seen.group];
	return g->captures[word] < 0 || g->takes_levels == (int)word ||
	       fg_command_is_one_level(name);
}

static void quote(struct fg_span text, char *out, size_t size, struct fg_span *ret)
{
	*ret = fg_span_of(out, fg_json_quote(text, out, size));
}

static int fill_payload(struct fg_command_map *m, const struct fg_compiled_rule *rule,
			const struct fg_command_words *words, struct fg_span *ret,
			struct fg_error *err)
{
	char device[QUOTED_MAX_BYTES], name[QUOTED_MAX_BYTES], id[FG_WIRE_ID_MAX + 2];
	struct fg_span values[FG_N_COMMAND_WORDS];
	size_t size;

	quote(words->device, device, sizeof(device), &values[FG_WORD_DEVICE]);
	quote(words->name, name, sizeof(name), &values[FG_WORD_COMMAND]);
	quote(words->id, id, sizeof(id), &values[FG_WORD_ID]);
	values[FG_WORD_PARAMS] = words->params.size > 0 ? words->params : fg_span_str("null");
	size = fg_template_fill(rule->payload, values, m->payload, m->max_message_bytes);
	if (size > m->max_message_bytes)
		return fg_error_set(err, -EMSGSIZE,
				    "makes a message of %zu bytes, at most %zu are "
				    "allowed",
				    size, m->max_message_bytes);
	*ret = fg_span_of(m->payload, size);
	return 0;
}

int fg_command_map_fill(struct fg_command_map *m, int rule_index,
			const struct fg_command_words *words, struct fg_command_output *ret,
			struct fg_error *err)
{
	const struct fg_compiled_rule *rule = &m->inside.rules[rule_index];
	struct fg_span values[] = {words->device, words->name, words->id};
	struct fg_command_output output = {.topic = m->topic};
	int r;

	if (words->name.size > NAME_MAX_BYTES || !fg_utf8_ok(words->name) ||
	    !fits_answers(m, rule, FG_WORD_COMMAND, words->name) ||
	    (fg_template_uses(rule->topic, FG_WORD_COMMAND) &&
	     !fg_command_is_one_level(words->name)))
		return fg_error_set(err, -ENOENT, "the command's name does not fit into its topic");
	if (words->device.size > NAME_MAX_BYTES || !fg_utf8_ok(words->device) ||
	    !fits_answers(m, rule, FG_WORD_DEVICE, words->device) ||
	    !fill_topic(rule->topic, values, rule->is_dollar_topic, m->topic) ||
	    (rule->response &&
	     !fill_topic(rule->response, values, rule->is_dollar_response, m->response_topic)))
		return fg_error_set(err, -ENODEV, "the device's name does not fit into its topic");
	r = fill_payload(m, rule, words, &output.payload, err);
	if (r < 0)
		return r;
	if (rule->response) {
		output.response_topic = m->response_topic;
		output.correlation = words->id;
	}
	*ret = output;
	return 0;
}

/* ------------------------------------------------------------------ an answer comes back */

/* The id where the payload has it, if there is one that could be ours. */
static struct fg_span id_in_payload(const struct fg_command_group *g, struct fg_span payload)
{
	struct fg_json_value root, id;
	struct fg_json_fault fault;

	if (fg_json_check(payload, &root, &fault) < 0 || !fg_json_path_find(g->path, root, &id) ||
	    id.type != FG_JSON_STRING)
		return (struct fg_span){0};
	/* Wire ids have nothing to escape. */
	return fg_span_of(id.text.data + 1, id.text.size - 2);
}

static struct fg_span capture(const struct fg_command_group *g,
			      const struct fg_topic_captures *captures, enum fg_command_word word)
{
	return g->captures[word] < 0 ? (struct fg_span){0} : captures->values[g->captures[word]];
}

static bool group_match(const struct fg_command_group *g, const struct fg_command_arrival *arrival,
			struct fg_command_match *ret)
{
	struct fg_topic_captures captures;

	if (!fg_topic_pattern_match(g->pattern, arrival->topic, &captures))
		return false;
	ret->device = g->device ? fg_span_str(g->device) : capture(g, &captures, FG_WORD_DEVICE);
	ret->name = capture(g, &captures, FG_WORD_COMMAND);
	ret->id = capture(g, &captures, FG_WORD_ID);
	switch (g->correlate) {
	case FG_CORRELATE_NONE:
		return true;
	case FG_CORRELATE_MQTT5:
		if (arrival->correlation.size > 0)
			ret->id = arrival->correlation;
		break;
	case FG_CORRELATE_PAYLOAD:
		ret->id = id_in_payload(g, arrival->payload);
		break;
	case FG_CORRELATE_TOPIC:
		break;
	}
	return ret->id.size > 0;
}

bool fg_command_map_match(const struct fg_command_map *m, const struct fg_command_arrival *arrival,
			  size_t *at, struct fg_command_match *ret)
{
	while (*at < m->inside.n_groups) {
		size_t i = (*at)++;

		ret->group = (int)i;
		if (group_match(&m->inside.groups[i], arrival, ret))
			return true;
	}
	return false;
}

bool fg_command_map_owns(const struct fg_command_map *m, struct fg_span topic)
{
	struct fg_span prefix = fg_span_str(m->inside.own_prefix);

	return topic.size >= prefix.size && memcmp(topic.data, prefix.data, prefix.size) == 0;
}

int fg_command_map_answer(struct fg_command_map *m, int rule, struct fg_span payload,
			  struct fg_span *ret_body, struct fg_error *err)
{
	const struct fg_command_answer_paths paths = {
		.result = m->inside.rules[rule].result,
		.error = m->inside.rules[rule].error,
	};
	size_t size;
	int r;

	r = fg_command_answer_body(&paths, payload, m->body,
				   m->max_message_bytes + BODY_EXTRA_BYTES, &size, err);
	if (r < 0)
		return r;
	*ret_body = fg_span_of(m->body, size);
	return 0;
}

/* ------------------------------------------------------------------ making one */

size_t fg_command_map_max_bytes(const struct fg_command_map *m)
{
	return m->max_message_bytes;
}

size_t fg_command_map_filters(const struct fg_command_map *m,
			      const struct fg_command_filter **ret_filters)
{
	*ret_filters = m->filters;
	return m->n_filters;
}

/* One for each group, of those rules' broker if they agree on one. */
static void add_filter(struct fg_command_map *m, size_t group)
{
	struct fg_command_filter filter = {
		.filter = fg_topic_pattern_filter(m->inside.groups[group].pattern),
		.is_own = m->inside.groups[group].is_own,
	};
	bool is_first = true;

	for (size_t i = 0; i < m->inside.n_rules; i++) {
		const struct fg_command_rule *rule = &m->inside.rules[i].seen;

		if (rule->group != (int)group)
			continue;
		if (is_first)
			filter.broker = rule->broker;
		else if (!filter.broker || !rule->broker ||
			 strcmp(filter.broker, rule->broker) != 0)
			filter.broker = NULL;
		is_first = false;
	}
	for (size_t i = 0; i < m->n_filters; i++)
		if (strcmp(m->filters[i].filter, filter.filter) == 0) {
			if (!filter.broker || !m->filters[i].broker ||
			    strcmp(filter.broker, m->filters[i].broker) != 0)
				m->filters[i].broker = NULL;
			return;
		}
	m->filters[m->n_filters++] = filter;
}

int fg_command_map_new(const struct fg_config *config, struct fg_report *report,
		       struct fg_command_map **ret)
{
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = NULL;
	int r;

	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	r = fg_command_rules_compile(config, report, &m->inside);
	if (r < 0)
		return r;
	/* The system gives memory only for as much of these as is ever used. */
	m->max_message_bytes = config->max_message_bytes;
	m->payload = malloc(m->max_message_bytes + 1);
	m->body = malloc(m->max_message_bytes + BODY_EXTRA_BYTES);
	m->filters = calloc(m->inside.n_groups + 1, sizeof(*m->filters));
	if (!m->payload || !m->body || !m->filters)
		return -ENOMEM;
	for (size_t i = 0; i < m->inside.n_groups; i++)
		add_filter(m, i);
	*ret = m; /* the caller owns it now */
	m = NULL;
	return 0;
}

struct fg_command_map *fg_command_map_free(struct fg_command_map *m)
{
	if (!m)
		return NULL;
	fg_command_rules_release(&m->inside);
	free(m->filters);
	free(m->payload);
	free(m->body);
	free(m);
	return NULL;
}
