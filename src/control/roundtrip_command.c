#include "control/roundtrip_command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/json.h"
#include "model/topic.h"
#include "util/cleanup.h"
#include "util/span.h"

/* Stands for a wildcard of the answers' topic. */
#define FILLER "roundtrip"

/*
 * Where the gateway puts its id and the command's name is found out by having it fill in these. The
 * first has the form of an id.
 */
#define DUMMY_ID "fa5e1dfa5e1dfa5e1dfa5e1d"
#define DUMMY_NAME "fieldgate-dummy-name"

struct fg_expected {
	const struct fg_command_config *config;
	const struct fg_command_rule *rule;
	struct fg_command_map *map;
	int rule_index;
	char *device, *method;
	char *topic;         /* as filled with DUMMY_ID */
	char *shape;         /* the payload, filled with both dummies */
	char *filter;        /* of the command */
	char *answer_filter; /* or NULL */
	bool has_id;         /* topic or payload say it */
	bool is_seen;
	char id[FG_WIRE_ID_MAX + 1]; /* of the command that was seen; "": it says none */
};

struct fg_expected *fg_expected_free(struct fg_expected *e)
{
	if (!e)
		return NULL;
	free(e->device);
	free(e->method);
	free(e->topic);
	free(e->shape);
	free(e->filter);
	free(e->answer_filter);
	free(e);
	return NULL;
}

const char *fg_expected_broker(const struct fg_expected *e)
{
	return e->rule->broker;
}

const char *fg_expected_command_filter(const struct fg_expected *e)
{
	return e->filter;
}

const char *fg_expected_answer_filter(const struct fg_expected *e)
{
	return e->answer_filter;
}

/* ---- topics */

/* @topic with a wildcard for each level that has DUMMY_ID in it, owned by the caller, or NULL. */
static char *to_filter(const char *topic)
{
	char *filter = strdup(topic), *out = filter;

	if (!filter)
		return NULL;
	for (const char *at = topic;; at++) {
		size_t size = strcspn(at, "/");
		const char *id = strstr(at, DUMMY_ID);

		if (id && id < at + size) {
			*out++ = '+';
		} else {
			memcpy(out, at, size);
			out += size;
		}
		at += size;
		*out++ = *at;
		if (!*at)
			return filter;
	}
}

static const char *word_value(const struct fg_expected *e, struct fg_span level)
{
	if (fg_span_is(level, "{device}") || fg_span_is(level, "{device...}"))
		return e->device;
	if (fg_span_is(level, "{command}") || fg_span_is(level, "{command...}"))
		return e->method;
	return NULL;
}

/*
 * Write the pattern of the answers' topic, with values for device and command; and, when @is_name,
 * for all that a topic name cannot have.
 */
static void put_answer_topic(const struct fg_expected *e, FILE *f, bool is_name)
{
	for (const char *at = e->config->response;; at++) {
		struct fg_span level = fg_span_of(at, strcspn(at, "/"));
		const char *value = word_value(e, level);

		if (is_name && (fg_span_is(level, "{id}") || fg_span_is(level, "{id...}")))
			value = e->id;
		if (is_name && (fg_span_is(level, "+") || fg_span_is(level, "#")))
			value = FILLER;
		if (value)
			fputs(value, f);
		else
			fwrite(level.data, 1, level.size, f);
		at += level.size;
		if (!*at)
			break;
		fputc('/', f);
	}
}

static int make_answer_filter(struct fg_expected *e)
{
	FG_CLEANUP(fg_free_p) char *text = NULL;
	struct fg_topic_pattern *pattern = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	int r;

	if (!f)
		return -ENOMEM;
	put_answer_topic(e, f, false);
	if (fclose(f) != 0)
		return -ENOMEM;
	r = fg_topic_pattern_new(fg_span_of(text, size), &pattern, NULL);
	if (r < 0) /* a name with a brace in it */
		r = fg_topic_pattern_new(fg_span_str(e->config->response), &pattern, NULL);
	if (r < 0)
		return r;
	e->answer_filter = strdup(fg_topic_pattern_filter(pattern));
	fg_topic_pattern_free(pattern);
	return e->answer_filter ? 0 : -ENOMEM;
}

static int fill(struct fg_expected *e, const char *name, const char *id,
		struct fg_command_output *ret, struct fg_error *err)
{
	const struct fg_command_words words = {
		.device = fg_span_str(e->device),
		.name = fg_span_str(name),
		.id = fg_span_str(id),
	};

	return fg_command_map_fill(e->map, e->rule_index, &words, ret, err);
}

static int make_filters(struct fg_expected *e, struct fg_error *err)
{
	struct fg_command_output output;
	int r = fill(e, e->method, DUMMY_ID, &output, err);

	if (r < 0)
		return r == -ENOMEM ? r : -ENOENT;
	e->topic = strdup(output.topic);
	e->filter = to_filter(output.topic);
	if (!e->topic || !e->filter)
		return -ENOMEM;
	if (e->rule->group >= 0 && e->config->response) {
		r = make_answer_filter(e);
		if (r < 0)
			return r;
	} else if (output.response_topic) {
		e->answer_filter = to_filter(output.response_topic);
		if (!e->answer_filter)
			return -ENOMEM;
	}
	r = fill(e, DUMMY_NAME, DUMMY_ID, &output, err);
	if (r < 0)
		return r == -ENOMEM ? r : -ENOENT;
	e->shape = strndup(output.payload.data, output.payload.size);
	if (!e->shape)
		return -ENOMEM;
	e->has_id = strstr(e->topic, DUMMY_ID) || strstr(e->shape, DUMMY_ID);
	return 0;
}

int fg_expected_new(const struct fg_config *config, struct fg_command_map *map, const char *device,
		    const char *method, struct fg_expected **ret, struct fg_error *err)
{
	FG_CLEANUP(fg_expected_free_p) struct fg_expected *e = calloc(1, sizeof(*e));
	int index = fg_command_map_find(map, fg_span_str(device), fg_span_str(method));
	int r;

	if (!e)
		return -ENOMEM;
	if (index == -ENODEV)
		return fg_error_set(err, -ENOENT, "no rule of commands is for the device \"%s\"",
				    device);
	if (index < 0)
		return fg_error_set(err, -ENOENT,
				    "no rule of commands takes the command \"%s\" of the device "
				    "\"%s\"",
				    method, device);
	e->config = &config->commands[index];
	e->rule = fg_command_map_rule(map, index);
	e->rule_index = index;
	e->map = map;
	e->device = strdup(device);
	e->method = strdup(method);
	if (!e->device || !e->method)
		return -ENOMEM;
	r = make_filters(e, err);
	if (r < 0)
		return r;

	*ret = e; /* the caller owns it now */
	e = NULL;
	return 0;
}

/* ---- recognising */

/* What stands in @got where @shape has @dummy; false: nowhere, or @got is not built like that. As
 * deep as checked JSON is. */
static bool find_place(struct fg_json_value shape, struct fg_json_value got, const char *dummy,
		       struct fg_json_value *ret)
{
	struct fg_json_member of_shape, of_got;
	struct fg_json_walk in_shape, in_got;

	if (fg_span_is(shape.text, dummy)) {
		*ret = got;
		return true;
	}
	if (shape.type != got.type || (shape.type != FG_JSON_OBJECT && shape.type != FG_JSON_ARRAY))
		return false;
	fg_json_walk_begin(&in_shape, shape);
	fg_json_walk_begin(&in_got, got);
	while (fg_json_walk_next(&in_shape, &of_shape) && fg_json_walk_next(&in_got, &of_got))
		if (fg_span_equal(of_shape.name, of_got.name) &&
		    find_place(of_shape.value, of_got.value, dummy, ret))
			return true;
	return false;
}

static bool find_in_payload(const struct fg_expected *e, struct fg_span payload, const char *dummy,
			    struct fg_json_value *ret)
{
	struct fg_json_value shape, got;
	struct fg_json_fault fault;

	return fg_json_check(fg_span_str(e->shape), &shape, &fault) == 0 &&
	       fg_json_check(payload, &got, &fault) == 0 && find_place(shape, got, dummy, ret);
}

/* Where the topic has its id: as much before it as in the topic with the dummy, and behind it. */
static struct fg_span id_in_topic(const struct fg_expected *e, const char *topic)
{
	const char *dummy = strstr(e->topic, DUMMY_ID);
	size_t before = dummy ? (size_t)(dummy - e->topic) : 0, size = strlen(topic);
	size_t behind = dummy ? strcspn(dummy + strlen(DUMMY_ID), "/") : 0;
	size_t end;

	if (!dummy || size < before || strncmp(topic, e->topic, before) != 0)
		return (struct fg_span){0};
	end = before + strcspn(topic + before, "/");
	if (end < before + behind)
		return (struct fg_span){0};
	return fg_span_of(topic + before, end - before - behind);
}

static struct fg_span id_of(const struct fg_expected *e, const struct fg_mqtt_message *m)
{
	struct fg_json_value value;
	struct fg_span id = m->correlation;

	if (id.size == 0)
		id = id_in_topic(e, m->topic);
	if (id.size == 0 && find_in_payload(e, m->payload, "\"" DUMMY_ID "\"", &value) &&
	    value.type == FG_JSON_STRING)
		id = fg_span_of(value.text.data + 1, value.text.size - 2);
	return id;
}

/* Where the payload has the command's name, it has to be ours. */
static bool is_method(const struct fg_expected *e, struct fg_span payload)
{
	struct fg_json_value name;

	return !find_in_payload(e, payload, "\"" DUMMY_NAME "\"", &name) ||
	       (name.type == FG_JSON_STRING &&
		fg_json_name_is(fg_span_of(name.text.data + 1, name.text.size - 2),
				fg_span_str(e->method)));
}

bool fg_expected_is_command(struct fg_expected *e, const struct fg_mqtt_message *m)
{
	struct fg_span id = id_of(e, m);
	struct fg_command_output output;
	char text[FG_WIRE_ID_MAX + 1];

	if (m->is_retained || id.size > FG_WIRE_ID_MAX || (e->has_id && id.size == 0) ||
	    !is_method(e, m->payload))
		return false;
	snprintf(text, sizeof(text), "%.*s", FG_SPAN_ARGS(id));
	if (fill(e, e->method, text, &output, NULL) < 0 || strcmp(output.topic, m->topic) != 0)
		return false;
	memcpy(e->id, text, sizeof(text));
	e->is_seen = true;
	return true;
}

bool fg_expected_is_answer(const struct fg_expected *e, const struct fg_mqtt_message *m)
{
	const struct fg_command_arrival arrival = {
		.topic = fg_span_str(m->topic),
		.payload = m->payload,
		.correlation = m->correlation,
		.is_retained = m->is_retained,
	};
	struct fg_command_match match;
	size_t at = 0;

	if (!e->is_seen || e->rule->group < 0 || m->is_retained)
		return false;
	while (fg_command_map_match(e->map, &arrival, &at, &match))
		if (match.group == e->rule->group &&
		    (match.device.size == 0 || fg_span_is(match.device, e->device)) &&
		    (match.id.size == 0 || fg_span_is(match.id, e->id)))
			return true;
	return false;
}

/* ---- answering in place of a device */

static int answer_topic(const struct fg_expected *e, const struct fg_mqtt_message *m,
			struct fg_expected_answer *ret, struct fg_error *err)
{
	FILE *f;

	if (e->config->correlate == FG_CORRELATE_MQTT5) {
		if (!m->response_topic || strlen(m->response_topic) >= sizeof(ret->topic))
			return fg_error_set(err, -EINVAL,
					    "the command came without a Response Topic: the field "
					    "broker does not speak MQTT 5");
		snprintf(ret->topic, sizeof(ret->topic), "%s", m->response_topic);
		ret->correlation = m->correlation;
		return 0;
	}
	f = fmemopen(ret->topic, sizeof(ret->topic), "w");
	if (!f)
		return -ENOMEM;
	put_answer_topic(e, f, true);
	return fclose(f) == 0 ? 0
			      : fg_error_set(err, -EINVAL, "the topic of the answer is too long");
}

/* The name that @path selects, with its quotes, to @out of @size bytes; false: it lies deeper. */
static bool path_name(const char *path, char *out, size_t size)
{
	struct fg_json_path *compiled = NULL;
	struct fg_json_fault fault;
	struct fg_span name = {0};
	size_t n = 0;

	if (fg_json_path_new(fg_span_str(path), &compiled, &fault) == 0) {
		name = fg_json_path_only_member(compiled);
		if (name.data)
			n = fg_json_quote(name, out, size - 1);
	}
	fg_json_path_free(compiled);
	if (!name.data || n >= size)
		return false;
	out[n] = '\0';
	return true;
}

static int answer_payload(const struct fg_expected *e, const char *result,
			  struct fg_expected_answer *ret, struct fg_error *err)
{
	const struct fg_command_config *config = e->config;
	bool has_id = config->correlate == FG_CORRELATE_PAYLOAD;
	char id_name[512], result_name[512];
	int n;

	if ((has_id && !path_name(config->correlate_path, id_name, sizeof(id_name))) ||
	    (config->result_path &&
	     !path_name(config->result_path, result_name, sizeof(result_name))))
		return fg_error_set(err, -EINVAL,
				    "the answer's members lie deep inside (response.correlate, "
				    "response.result): only the device itself can make it");
	if (has_id && config->result_path)
		n = snprintf(ret->payload, sizeof(ret->payload), "{%s:\"%s\",%s:%s}", id_name,
			     e->id, result_name, result);
	else if (has_id)
		n = snprintf(ret->payload, sizeof(ret->payload), "{%s:\"%s\",%s", id_name, e->id,
			     result + 1);
	else if (config->result_path)
		n = snprintf(ret->payload, sizeof(ret->payload), "{%s:%s}", result_name, result);
	else
		n = snprintf(ret->payload, sizeof(ret->payload), "%s", result);
	return n >= 0 && (size_t)n < sizeof(ret->payload)
		       ? 0
		       : fg_error_set(err, -EINVAL, "the answer is too long");
}

int fg_expected_answer(const struct fg_expected *e, const struct fg_mqtt_message *m,
		       const char *result, struct fg_expected_answer *ret, struct fg_error *err)
{
	int r;

	if (e->rule->group < 0)
		return fg_error_set(err, -EINVAL,
				    "its rule has no response: the gateway answers itself once "
				    "the field broker has the command");
	memset(ret, 0, sizeof(*ret));
	r = answer_topic(e, m, ret, err);
	return r < 0 ? r : answer_payload(e, result, ret, err);
}
