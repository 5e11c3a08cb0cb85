#include "local/mapping.h"

#include <errno.h>
#include <stdlib.h>

#include "journal/format.h"
#include "local/timestamp.h"
#include "model/json.h"
#include "model/topic.h"
#include "model/utf8.h"
#include "util/cleanup.h"
#include "util/span.h"

#define DEVICE_MAX_BYTES 255
#define STREAM_MAX_BYTES 255
#define REASON_MAX_BYTES sizeof(((struct fg_error *)NULL)->text)

/* A part of a template: text, or a capture of the topic. */
struct piece {
	int capture;         /* index, or -1: text */
	struct fg_span text; /* or the name of the capture */
};

/* How a device or stream is named: a template such as "{site}-{device}". */
struct naming {
	char *text; /* as it stands in the configuration; the pieces point into it */
	struct piece *pieces;
	size_t n_pieces;
};

/* One selected member. */
struct select {
	char *name; /* quoted, with its colon: "\"temperature\":" */
	size_t name_size;
};

/* What goes into one kind of message. */
struct members {
	bool is_all;
	struct select *select;
	struct fg_json_path *
		*paths; /* one for each `select`, side by side for fg_json_path_find_all() */
	size_t n_select;
	size_t names_bytes; /* of all names, with colons and commas */
};

struct rule {
	struct fg_topic_pattern *pattern;
	const struct payload_format *format;
	struct naming device, stream;
	struct members telemetry, attributes;
	struct fg_json_path *time; /* or NULL: time of arrival */
	char *time_text;
	enum fg_time_unit time_unit;
};

struct fg_mapping {
	struct rule *rules;
	size_t n_rules;
	const char **filters;
	size_t n_filters;
	size_t max_message_bytes;

	/* what room() counts with: the most that any rule does */
	size_t max_messages;    /* from one arrival */
	size_t max_values;      /* that can each be the whole payload, in one message */
	size_t max_names_bytes; /* in one message */

	/* where bodies are built: one for telemetry, then one for attributes, scratch_bytes each */
	char *scratch;
	size_t scratch_bytes;
	struct fg_json_value *found; /* max_values of them: what the paths of one kind select */
};

/* What a payload format makes of a payload. */
struct reading {
	struct fg_span telemetry, attributes; /* bodies; empty: none */
	int64_t time_us;
	enum fg_time_quality time_quality;
};

/* The forms a payload can have. @read returns 0, or -EPROTO with the reason. */
struct payload_format {
	int (*read)(struct fg_mapping *m, const struct rule *rule, const struct fg_arrival *arrival,
		    struct reading *ret, struct fg_error *ret_reason);
};

/* ------------------------------------------------------------------ JSON payloads */

static const char *type_word(enum fg_json_type type)
{
	switch (type) {
	case FG_JSON_OBJECT:
		return "an object";
	case FG_JSON_ARRAY:
		return "an array";
	case FG_JSON_STRING:
		return "a string";
	case FG_JSON_INTEGER:
	case FG_JSON_REAL:
		return "a number";
	case FG_JSON_NONFINITE:
		return "NaN or Infinity";
	case FG_JSON_TRUE:
	case FG_JSON_FALSE:
		return "true or false";
	case FG_JSON_NULL:
		break;
	}
	return "null";
}

/* Longer than any time as text, even when every character of it is escaped. */
#define TIME_TEXT_MAX_BYTES 256

static int json_read_time(const struct rule *rule, struct fg_json_value root,
			  const struct fg_arrival *arrival, struct reading *ret,
			  struct fg_error *ret_reason)
{
	char text[TIME_TEXT_MAX_BYTES];
	struct fg_json_value value;
	bool is_known = false;

	ret->time_us = arrival->now_us;
	ret->time_quality = FG_TIME_GATEWAY;
	if (!rule->time || !fg_json_path_find(rule->time, root, &value))
		return 0;
	switch (value.type) {
	case FG_JSON_INTEGER:
	case FG_JSON_REAL:
		if (rule->time_unit == FG_TIME_UNIT_ISO8601)
			return fg_error_set(ret_reason, -EPROTO,
					    "time at %s is a number, expected ISO 8601 text",
					    rule->time_text);
		is_known = fg_timestamp_from_number(value.text, rule->time_unit, &ret->time_us);
		break;
	case FG_JSON_STRING:
		if (rule->time_unit != FG_TIME_UNIT_AUTO && rule->time_unit != FG_TIME_UNIT_ISO8601)
			return fg_error_set(ret_reason, -EPROTO,
					    "time at %s is a string, expected a number",
					    rule->time_text);
		if (value.text.size <= sizeof(text)) {
			size_t n = fg_json_unescape(
				fg_span_of(value.text.data + 1, value.text.size - 2), text);

			is_known = fg_timestamp_from_text(fg_span_of(text, n), &ret->time_us);
		}
		if (!is_known)
			return fg_error_set(
				ret_reason, -EPROTO,
				"time at %s is not ISO 8601 with an offset or Z, or outside "
				"the years 1990 to 2199",
				rule->time_text);
		break;
	default:
		return fg_error_set(ret_reason, -EPROTO, "time at %s is %s, expected %s",
				    rule->time_text, type_word(value.type),
				    rule->time_unit == FG_TIME_UNIT_AUTO
					    ? "a number or ISO 8601 text"
				    : rule->time_unit == FG_TIME_UNIT_ISO8601 ? "ISO 8601 text"
									      : "a number");
	}
	if (!is_known)
		return fg_error_set(ret_reason, -EPROTO,
				    "time at %s is outside the years 1990 to 2199",
				    rule->time_text);
	ret->time_quality = FG_TIME_DEVICE;
	return 0;
}

/* The whole object, without the member that holds the time. @out holds the payload's size. */
static struct fg_span json_all(const struct rule *rule, struct fg_json_value root, char *out)
{
	struct fg_span time_name = {0};
	struct fg_json_walk walk;
	struct fg_json_member member;
	char *at = out;

	if (rule->time)
		time_name = fg_json_path_only_member(rule->time);
	if (!time_name.data)
		at += fg_json_compact(root, out);
	else {
		fg_json_walk_begin(&walk, root);
		while (fg_json_walk_next(&walk, &member)) {
			if (fg_json_name_is(member.name, time_name))
				continue;
			*at = at == out ? '{' : ',';
			at++;
			/* the name with the quotes around it */
			memcpy(at, member.name.data - 1, member.name.size + 2);
			at += member.name.size + 2;
			*at++ = ':';
			at += fg_json_compact(member.value, at);
		}
		if (at > out)
			*at++ = '}';
	}
	if (at - out <= 2) /* "{}" has nothing to report */
		return (struct fg_span){0};
	return fg_span_of(out, (size_t)(at - out));
}

/* The selected members. Returns -EMSGSIZE when the values exceed what a message may have. */
static int json_selected(struct fg_mapping *m, const struct members *members,
			 struct fg_json_value root, char *out, struct fg_span *ret)
{
	size_t values_bytes = 0;
	char *at = out;

	fg_json_path_find_all(members->paths, members->n_select, root, m->found);
	for (size_t i = 0; i < members->n_select; i++) {
		const struct select *select = &members->select[i];

		if (!m->found[i].text.data)
			continue;
		values_bytes += m->found[i].text.size;
		if (values_bytes > m->max_message_bytes)
			return -EMSGSIZE;
		*at = at == out ? '{' : ',';
		at++;
		memcpy(at, select->name, select->name_size);
		at += select->name_size;
		at += fg_json_compact(m->found[i], at);
	}
	if (at > out)
		*at++ = '}';
	*ret = fg_span_of(out, (size_t)(at - out));
	return 0;
}

static int json_body(struct fg_mapping *m, const struct rule *rule, const struct members *members,
		     struct fg_json_value root, char *out, struct fg_span *ret,
		     struct fg_error *ret_reason)
{
	*ret = (struct fg_span){0};
	if (members->is_all) {
		*ret = json_all(rule, root, out);
		return 0;
	}
	if (json_selected(m, members, root, out, ret) < 0)
		return fg_error_set(ret_reason, -EPROTO,
				    "the selected members make more than the %zu bytes allowed",
				    m->max_message_bytes);
	return 0;
}

static bool is_empty_object(struct fg_json_value value)
{
	struct fg_json_walk walk;
	struct fg_json_member member;

	fg_json_walk_begin(&walk, value);
	return value.type == FG_JSON_OBJECT && !fg_json_walk_next(&walk, &member);
}

static int json_read(struct fg_mapping *m, const struct rule *rule,
		     const struct fg_arrival *arrival, struct reading *ret,
		     struct fg_error *ret_reason)
{
	bool wants_all = rule->telemetry.is_all || rule->attributes.is_all;
	struct fg_json_value root;
	struct fg_json_fault fault;
	int r;

	if (fg_json_check(arrival->payload, &root, &fault) < 0)
		return fg_error_set(ret_reason, -EPROTO, "payload is not JSON: %s, at byte %zu",
				    fault.reason, fault.offset);
	if (wants_all && root.type != FG_JSON_OBJECT)
		return fg_error_set(ret_reason, -EPROTO, "payload is %s, expected an object",
				    type_word(root.type));
	r = json_read_time(rule, root, arrival, ret, ret_reason);
	if (r < 0)
		return r;
	r = json_body(m, rule, &rule->telemetry, root, m->scratch, &ret->telemetry, ret_reason);
	if (r < 0)
		return r;
	r = json_body(m, rule, &rule->attributes, root, m->scratch + m->scratch_bytes,
		      &ret->attributes, ret_reason);
	if (r < 0)
		return r;
	if (!wants_all && ret->telemetry.size == 0 && ret->attributes.size == 0 &&
	    !is_empty_object(root))
		return fg_error_set(ret_reason, -EPROTO,
				    "payload has none of the selected members");
	return 0;
}

static const struct payload_format formats[] = {
	[FG_PAYLOAD_JSON] = {.read = json_read},
};

/* ------------------------------------------------------------------ names */

/* U+0000..U+001F and U+007F..U+009F. @text is well-formed. */
static bool has_control_character(struct fg_span text)
{
	for (size_t i = 0; i < text.size; i++) {
		unsigned char c = (unsigned char)text.data[i];

		if (c < 0x20 || c == 0x7f)
			return true;
		if (c == 0xc2 && (unsigned char)text.data[i + 1] < 0xa0)
			return true;
	}
	return false;
}

/* Fill @naming into @out (@max bytes). @what names the result in a reason. */
static int naming_fill(const struct naming *naming, const struct fg_topic_captures *captures,
		       const char *what, char *out, size_t max, struct fg_span *ret,
		       struct fg_error *ret_reason)
{
	size_t size = 0;

	for (size_t i = 0; i < naming->n_pieces; i++) {
		const struct piece *piece = &naming->pieces[i];
		struct fg_span text =
			piece->capture < 0 ? piece->text : captures->values[piece->capture];

		if (text.size > max - size)
			return fg_error_set(ret_reason, -EPROTO,
					    "%s made from the topic is longer than %zu bytes", what,
					    max);
		if (text.size > 0)
			memcpy(out + size, text.data, text.size);
		size += text.size;
	}
	*ret = fg_span_of(out, size);
	if (!fg_utf8_ok(*ret))
		return fg_error_set(ret_reason, -EPROTO, "%s made from the topic is not UTF-8",
				    what);
	if (has_control_character(*ret))
		return fg_error_set(ret_reason, -EPROTO,
				    "%s made from the topic has a control character", what);
	return 0;
}

/* A device that is named by nothing would be the same for all whose level is empty. */
static int refuse_empty_captures(const struct naming *naming,
				 const struct fg_topic_captures *captures,
				 struct fg_error *ret_reason)
{
	for (size_t i = 0; i < naming->n_pieces; i++) {
		const struct piece *piece = &naming->pieces[i];

		if (piece->capture >= 0 && captures->values[piece->capture].size == 0)
			return fg_error_set(
				ret_reason, -EPROTO,
				"the topic's level for {%.*s}, which names the device, is empty",
				FG_SPAN_ARGS(piece->text));
	}
	return 0;
}

/* ------------------------------------------------------------------ applying */

static int emit_body(const struct reading *reading, enum fg_kind kind, struct fg_span device,
		     struct fg_span stream, fg_mapping_emit emit, void *arg)
{
	struct fg_message msg = {
		.time_us = reading->time_us,
		.time_quality = reading->time_quality,
		.kind = kind,
		.device = device,
		.stream = stream,
		.body = kind == FG_TELEMETRY ? reading->telemetry : reading->attributes,
	};

	return emit(arg, &msg);
}

static int rule_apply(struct fg_mapping *m, const struct rule *rule,
		      const struct fg_topic_captures *captures, const struct fg_arrival *arrival,
		      fg_mapping_emit emit, void *arg, struct fg_error *ret_reason)
{
	char device_name[DEVICE_MAX_BYTES], stream_name[STREAM_MAX_BYTES];
	struct fg_span device, stream;
	struct reading reading;
	int n = 0;
	int r;

	if (arrival->payload.size == 0)
		return fg_error_set(ret_reason, -EPROTO, "empty payload");
	if (arrival->payload.size > m->max_message_bytes)
		return fg_error_set(ret_reason, -EPROTO,
				    "payload of %zu bytes, at most %zu are allowed",
				    arrival->payload.size, m->max_message_bytes);
	r = refuse_empty_captures(&rule->device, captures, ret_reason);
	if (r < 0)
		return r;
	r = naming_fill(&rule->device, captures, "the device name", device_name,
			sizeof(device_name), &device, ret_reason);
	if (r < 0)
		return r;
	r = naming_fill(&rule->stream, captures, "the stream name", stream_name,
			sizeof(stream_name), &stream, ret_reason);
	if (r < 0)
		return r;
	r = rule->format->read(m, rule, arrival, &reading, ret_reason);
	if (r < 0)
		return r;

	if (reading.telemetry.size > 0) {
		r = emit_body(&reading, FG_TELEMETRY, device, stream, emit, arg);
		if (r < 0)
			return r;
		n++;
	}
	if (reading.attributes.size > 0) {
		r = emit_body(&reading, FG_ATTRIBUTES, device, stream, emit, arg);
		if (r < 0)
			return r;
		n++;
	}
	return n;
}

int fg_mapping_apply(struct fg_mapping *m, const struct fg_arrival *arrival, fg_mapping_emit emit,
		     void *arg, struct fg_error *ret_reason)
{
	if (ret_reason)
		ret_reason->text[0] = '\0';
	for (size_t i = 0; i < m->n_rules; i++) {
		struct fg_topic_captures captures;

		if (fg_topic_pattern_match(m->rules[i].pattern, arrival->topic, &captures))
			return rule_apply(m, &m->rules[i], &captures, arrival, emit, arg,
					  ret_reason);
	}
	return -ENOENT;
}

size_t fg_mapping_filters(const struct fg_mapping *m, const char *const **ret_filters)
{
	*ret_filters = m->filters;
	return m->n_filters;
}

size_t fg_mapping_room(const struct fg_mapping *m, size_t topic_bytes, size_t payload_bytes)
{
	/* format.h, sections 2 and 4; a reason is never longer than a struct fg_error */
	const size_t record =
		FG_RECORD_HEADER_BYTES + FG_RECORD_ALIGN + DEVICE_MAX_BYTES + STREAM_MAX_BYTES;
	const size_t quarantine_head = 1 + 2 + 2 + 1 + 1 + 4 + 8;
	size_t values, messages, quarantined;

	values = payload_bytes > m->max_message_bytes / m->max_values
			 ? m->max_message_bytes
			 : payload_bytes * m->max_values;
	messages = m->max_messages * (record + 2 + m->max_names_bytes + values);
	quarantined = record + quarantine_head + REASON_MAX_BYTES + topic_bytes + payload_bytes;
	return messages > quarantined ? messages : quarantined;
}

/* ------------------------------------------------------------------ compiling */

/* What compiling one rule needs: where mistakes go, and how the rule is called in them. */
struct compiler {
	struct fg_report *report;
	const struct fg_mapping_config *config;
	unsigned index; /* in its own file */
};

static int naming_parse(struct naming *naming, const struct fg_topic_pattern *pattern,
			struct fg_error *err)
{
	const char *p = naming->text;

	while (*p) {
		struct piece *piece = &naming->pieces[naming->n_pieces++];
		const char *stop = strpbrk(p, "{}");

		if (stop != p) {
			piece->capture = -1;
			piece->text = fg_span_of(p, stop ? (size_t)(stop - p) : strlen(p));
			p += piece->text.size;
			continue;
		}
		stop = strpbrk(p + 1, "{}");
		if (*p == '}' || !stop || *stop == '{')
			return fg_error_set(err, -EINVAL, "a brace without its partner");
		piece->text = fg_span_of(p + 1, (size_t)(stop - p - 1));
		piece->capture = fg_topic_pattern_capture(pattern, piece->text);
		if (piece->capture < 0)
			return fg_error_set(err, -EINVAL, "{%.*s} is not a level of the topic",
					    FG_SPAN_ARGS(piece->text));
		p = stop + 1;
	}
	return 0;
}

/* The bytes that are the same whatever the topic. */
static size_t naming_fixed_bytes(const struct naming *naming)
{
	size_t size = 0;

	for (size_t i = 0; i < naming->n_pieces; i++)
		if (naming->pieces[i].capture < 0)
			size += naming->pieces[i].text.size;
	return size;
}

static int mistake(const struct compiler *c, const struct fg_place *place, const char *key,
		   const char *value, const char *sentence)
{
	fg_report_add(c->report, place && place->line > 0 ? place : &c->config->place,
		      "mappings[%u].%s: \"%s\": %s", c->index, key, value, sentence);
	return -EINVAL;
}

static int compile_naming(const struct compiler *c, struct naming *naming, const char *text,
			  const struct fg_place *place, const char *key,
			  const struct fg_topic_pattern *pattern, size_t max)
{
	struct fg_error err = {0};

	naming->text = strdup(text);
	naming->pieces = calloc(strlen(text) + 1, sizeof(*naming->pieces));
	if (!naming->text || !naming->pieces)
		return -ENOMEM;
	if (!fg_utf8_ok(fg_span_str(text)) || has_control_character(fg_span_str(text)))
		return mistake(c, place, key, text, "expected UTF-8 without control characters");
	if (naming_parse(naming, pattern, &err) < 0)
		return mistake(c, place, key, text, err.text);
	if (naming_fixed_bytes(naming) > max)
		return mistake(c, place, key, text, "longer than 255 bytes");
	return 0;
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
			  const struct fg_select_config *config, struct select *select,
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
			   const struct fg_members_config *config, struct members *members)
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
		struct select *select = &members->select[members->n_select++];
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

static int compile_time(const struct compiler *c, struct rule *rule)
{
	rule->time_unit = c->config->time_unit;
	if (!c->config->time)
		return 0;
	rule->time_text = strdup(c->config->time);
	if (!rule->time_text)
		return -ENOMEM;
	return compile_path(c, &c->config->time_place, "time", c->config->time, &rule->time);
}

static int compile_names(const struct compiler *c, struct rule *rule)
{
	const char *device = c->config->device ? c->config->device : "{device}";
	const char *stream = c->config->stream;
	int worst, r;

	if (!stream)
		stream = fg_topic_pattern_capture(rule->pattern, fg_span_str("stream")) >= 0
				 ? "{stream}"
				 : "";
	worst = compile_naming(c, &rule->device, device, &c->config->device_place, "device",
			       rule->pattern, DEVICE_MAX_BYTES);
	if (worst == -ENOMEM)
		return worst;
	if (!*device)
		worst = mistake(c, &c->config->device_place, "device", device,
				"the device needs a name");
	r = compile_naming(c, &rule->stream, stream, &c->config->stream_place, "stream",
			   rule->pattern, STREAM_MAX_BYTES);
	return r < 0 && worst != -ENOMEM ? r : worst;
}

/*
 * Compile all of a rule, so that all its mistakes are reported. Templates are left out when the
 * pattern, whose names they use, is itself wrong.
 */
static int rule_compile(const struct compiler *c, struct rule *rule)
{
	struct fg_error err = {0};
	int results[5] = {0};
	int worst = 0;

	rule->format = &formats[c->config->payload];
	results[0] = fg_topic_pattern_new(fg_span_str(c->config->topic), &rule->pattern, &err);
	if (results[0] == -EINVAL)
		mistake(c, &c->config->place, "topic", c->config->topic, err.text);
	if (results[0] == 0)
		results[1] = compile_names(c, rule);
	results[2] = compile_members(c, "telemetry", &c->config->telemetry, &rule->telemetry);
	results[3] = compile_members(c, "attributes", &c->config->attributes, &rule->attributes);
	results[4] = compile_time(c, rule);
	/* neither kind is asked for: all is telemetry */
	if (!c->config->telemetry.is_all && c->config->telemetry.n_select == 0 &&
	    !c->config->attributes.is_all && c->config->attributes.n_select == 0)
		rule->telemetry.is_all = true;
	for (size_t i = 0; i < 5; i++) {
		if (results[i] == -ENOMEM)
			return -ENOMEM;
		if (results[i] < 0)
			worst = results[i];
	}
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

static void count_room(struct fg_mapping *m, const struct rule *rule)
{
	const struct members *kinds[] = {&rule->telemetry, &rule->attributes};
	size_t n_messages = 0;

	for (size_t i = 0; i < 2; i++) {
		n_messages += kinds[i]->is_all || kinds[i]->n_select > 0;
		m->max_values = max_of(m->max_values, kinds[i]->n_select);
		m->max_names_bytes = max_of(m->max_names_bytes, kinds[i]->names_bytes);
	}
	m->max_messages = max_of(m->max_messages, n_messages);
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
		};
		struct rule *rule = &m->rules[m->n_rules++];
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

static void naming_release(struct naming *naming)
{
	free(naming->text);
	free(naming->pieces);
}

static void members_release(struct members *members)
{
	for (size_t i = 0; i < members->n_select; i++) {
		free(members->select[i].name);
		fg_json_path_free(members->paths[i]);
	}
	free(members->select);
	free(members->paths);
}

struct fg_mapping *fg_mapping_free(struct fg_mapping *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->n_rules; i++) {
		struct rule *rule = &m->rules[i];

		fg_topic_pattern_free(rule->pattern);
		naming_release(&rule->device);
		naming_release(&rule->stream);
		members_release(&rule->telemetry);
		members_release(&rule->attributes);
		fg_json_path_free(rule->time);
		free(rule->time_text);
	}
	free(m->rules);
	free(m->filters);
	free(m->scratch);
	free(m->found);
	free(m);
	return NULL;
}
