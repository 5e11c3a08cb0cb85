#include "local/mapping.h"

#include <errno.h>

#include "journal/record.h"
#include "local/mapping_rules.h"
#include "local/requests.h"
#include "model/utf8.h"
#include "util/span.h"

#define REASON_MAX_BYTES sizeof(((struct fg_error *)NULL)->text)

/* ------------------------------------------------------------------ names */

bool fg_mapping_has_control(struct fg_span text)
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

/* Fill @t with the levels of the topic. @what names the result in a reason. */
static int fill(const struct fg_template *t, const struct fg_topic_captures *captures,
		const char *what, char *out, size_t max, struct fg_span *ret,
		struct fg_error *ret_reason)
{
	size_t size = fg_template_fill(t, captures->values, out, max);

	if (size > max)
		return fg_error_set(ret_reason, -EPROTO,
				    "%s made from the topic is longer than %zu bytes", what, max);
	*ret = fg_span_of(out, size);
	if (!fg_utf8_ok(*ret))
		return fg_error_set(ret_reason, -EPROTO, "%s made from the topic is not UTF-8",
				    what);
	if (fg_mapping_has_control(*ret))
		return fg_error_set(ret_reason, -EPROTO,
				    "%s made from the topic has a control character", what);
	return 0;
}

/* What is named by nothing would be the same for all whose level is empty. */
static int refuse_empty_captures(const struct fg_template *t,
				 const struct fg_topic_captures *captures, const char *what,
				 struct fg_error *ret_reason)
{
	for (size_t i = 0; i < captures->count; i++)
		if (captures->values[i].size == 0 && fg_template_uses(t, (int)i))
			return fg_error_set(
				ret_reason, -EPROTO,
				"the topic's level for {%.*s}, which names the %s, is empty",
				FG_SPAN_ARGS(fg_template_name(t, (int)i)), what);
	return 0;
}

/* What the topic of an arrival says, by its rule. */
struct names {
	struct fg_span device, stream, key, event, response_topic;
	char device_room[FG_MAPPING_NAME_MAX], stream_room[FG_MAPPING_NAME_MAX];
	char key_room[FG_MAPPING_NAME_MAX], event_room[FG_MAPPING_NAME_MAX];
	char response_room[FG_MAPPING_RESPONSE_MAX];
};

static const char *const request_streams[] = {
	[FG_REQUEST_ATTRIBUTES] = "attributes",
	[FG_REQUEST_RPC] = "rpc",
	[FG_REQUEST_CLAIM] = "claim",
	[FG_REQUEST_DELETE] = "delete",
};

/* Where the answer goes: to a topic, and not to where it would be taken for a request again. */
static int find_response_topic(const struct fg_mapping_rule *rule,
			       const struct fg_topic_captures *captures,
			       const struct fg_arrival *arrival, struct names *names,
			       struct fg_error *ret_reason)
{
	struct fg_topic_captures ignored;
	int r;

	names->response_topic = arrival->response_topic;
	if (rule->response) {
		r = fill(rule->response, captures, "the topic of the answer", names->response_room,
			 sizeof(names->response_room), &names->response_topic, ret_reason);
		if (r < 0)
			return r;
	}
	if (names->response_topic.size == 0)
		return fg_error_set(ret_reason, -EPROTO,
				    "it asks for something without a Response Topic (MQTT 5)");
	if (!fg_topic_name_ok(names->response_topic))
		return fg_error_set(ret_reason, -EPROTO,
				    "the topic of the answer is not the name of a topic");
	if (fg_topic_pattern_match(rule->pattern, names->response_topic, &ignored))
		return fg_error_set(ret_reason, -EPROTO,
				    "the topic of the answer is one that requests come on");
	return 0;
}

static int find_names(const struct fg_mapping_rule *rule, const struct fg_topic_captures *captures,
		      const struct fg_arrival *arrival, struct names *names,
		      struct fg_error *ret_reason)
{
	int r;

	names->key = names->event = (struct fg_span){0};
	r = refuse_empty_captures(rule->device, captures, "device", ret_reason);
	if (r == 0)
		r = fill(rule->device, captures, "the device name", names->device_room,
			 sizeof(names->device_room), &names->device, ret_reason);
	if (r == 0)
		r = fill(rule->stream, captures, "the stream name", names->stream_room,
			 sizeof(names->stream_room), &names->stream, ret_reason);
	if (r == 0 && rule->key)
		r = refuse_empty_captures(rule->key, captures, "value", ret_reason);
	if (r == 0 && rule->key)
		r = fill(rule->key, captures, "the key", names->key_room, sizeof(names->key_room),
			 &names->key, ret_reason);
	if (r == 0 && rule->event)
		r = refuse_empty_captures(rule->event, captures, "event", ret_reason);
	if (r == 0 && rule->event)
		r = fill(rule->event, captures, "the type of the event", names->event_room,
			 sizeof(names->event_room), &names->event, ret_reason);
	if (r == 0 && rule->is_request) {
		names->stream = fg_span_str(request_streams[rule->request]);
		r = find_response_topic(rule, captures, arrival, names, ret_reason);
	}
	return r;
}

/* ------------------------------------------------------------------ applying */

static int rule_apply(struct fg_mapping *m, const struct fg_mapping_rule *rule,
		      const struct fg_topic_captures *captures, const struct fg_arrival *arrival,
		      fg_mapping_emit emit, void *arg, struct fg_error *ret_reason)
{
	struct fg_mapping_reading reading = {.time_us = arrival->now_us,
					     .time_quality = FG_TIME_GATEWAY};
	struct names names;
	int r;

	if (arrival->payload.size == 0)
		return fg_error_set(ret_reason, -EPROTO, "empty payload");
	if (arrival->payload.size > m->max_message_bytes)
		return fg_error_set(ret_reason, -EPROTO,
				    "payload of %zu bytes, at most %zu are allowed",
				    arrival->payload.size, m->max_message_bytes);
	r = find_names(rule, captures, arrival, &names, ret_reason);
	if (r < 0)
		return r;
	r = rule->read(m, rule, arrival, names.key, &reading, ret_reason);
	if (r < 0)
		return r;
	for (size_t i = 0; i < reading.n; i++) {
		struct fg_mapped mapped = {
			.msg = {.time_us = reading.time_us,
				.time_quality = reading.time_quality,
				.kind = reading.messages[i].kind,
				.device = names.device,
				.stream = names.stream,
				.ref = names.event,
				.link = fg_span_str(rule->link),
				.content_type = reading.content_type,
				.body = reading.messages[i].body},
			.lane = rule->lane,
			.is_up = reading.is_up,
		};

		if (rule->is_request) {
			mapped.response_topic = names.response_topic;
			mapped.correlation = arrival->correlation;
			mapped.timeout_ms = rule->timeout_ms;
		}
		r = emit(arg, &mapped);
		if (r < 0)
			return r;
	}
	return (int)reading.n;
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
	const size_t record = FG_RECORD_OVERHEAD_MAX + 2 * FG_MAPPING_NAME_MAX;
	const size_t quarantine_head = 1 + 2 + 2 + 1 + 1 + 4 + 8;
	const size_t ref =
		m->max_ref_bytes > FG_REQUEST_REF_MAX ? m->max_ref_bytes : FG_REQUEST_REF_MAX;
	size_t values, messages, quarantined;

	values = payload_bytes > m->max_message_bytes / m->max_values
			 ? m->max_message_bytes
			 : payload_bytes * m->max_values;
	messages = m->max_messages * (record + ref + m->max_link_bytes + 2 +
				      sizeof(FG_MAPPING_OPAQUE_TYPE) + m->max_names_bytes + values);
	quarantined = record + quarantine_head + REASON_MAX_BYTES + topic_bytes + payload_bytes;
	return messages > quarantined ? messages : quarantined;
}
