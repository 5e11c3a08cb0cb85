/*
 * A payload to bodies, by its rule. Trusts no byte, allocates nothing.
 */
#include <errno.h>

#include "local/mapping_rules.h"
#include "local/timestamp.h"
#include "model/utf8.h"
#include "util/span.h"

/* ------------------------------------------------------------------ JSON */

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

/* Leaves the time of arrival where there is no other. */
static int json_read_time(const struct fg_mapping_rule *rule, struct fg_json_value root,
			  struct fg_mapping_reading *ret, struct fg_error *ret_reason)
{
	char text[TIME_TEXT_MAX_BYTES];
	struct fg_json_value value;
	bool is_known = false;

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
static struct fg_span json_all(const struct fg_mapping_rule *rule, struct fg_json_value root,
			       char *out)
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
static int json_selected(struct fg_mapping *m, const struct fg_mapping_members *members,
			 struct fg_json_value root, char *out, struct fg_span *ret)
{
	size_t values_bytes = 0;
	char *at = out;

	fg_json_path_find_all(members->paths, members->n_select, root, m->found);
	for (size_t i = 0; i < members->n_select; i++) {
		const struct fg_mapping_select *select = &members->select[i];

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

static int json_body(struct fg_mapping *m, const struct fg_mapping_rule *rule,
		     const struct fg_mapping_members *members, struct fg_json_value root, char *out,
		     struct fg_span *ret, struct fg_error *ret_reason)
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

static int parse(const struct fg_arrival *arrival, struct fg_json_value *ret,
		 struct fg_error *ret_reason)
{
	struct fg_json_fault fault;

	if (fg_json_check(arrival->payload, ret, &fault) < 0)
		return fg_error_set(ret_reason, -EPROTO, "payload is not JSON: %s, at byte %zu",
				    fault.reason, fault.offset);
	return 0;
}

static void put_message(struct fg_mapping_reading *reading, enum fg_kind kind, struct fg_span body)
{
	if (body.size == 0)
		return;
	reading->messages[reading->n].kind = kind;
	reading->messages[reading->n].body = body;
	reading->n++;
}

int fg_mapping_read_json(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			 const struct fg_arrival *arrival, struct fg_span key,
			 struct fg_mapping_reading *ret, struct fg_error *ret_reason)
{
	bool wants_all = rule->telemetry.is_all || rule->attributes.is_all;
	struct fg_span telemetry, attributes;
	struct fg_json_value root;
	int r;

	(void)key;
	r = parse(arrival, &root, ret_reason);
	if (r < 0)
		return r;
	if (wants_all && root.type != FG_JSON_OBJECT)
		return fg_error_set(ret_reason, -EPROTO, "payload is %s, expected an object",
				    type_word(root.type));
	r = json_read_time(rule, root, ret, ret_reason);
	if (r < 0)
		return r;
	r = json_body(m, rule, &rule->telemetry, root, m->scratch, &telemetry, ret_reason);
	if (r < 0)
		return r;
	r = json_body(m, rule, &rule->attributes, root, m->scratch + m->scratch_bytes, &attributes,
		      ret_reason);
	if (r < 0)
		return r;
	put_message(ret, FG_TELEMETRY, telemetry);
	put_message(ret, FG_ATTRIBUTES, attributes);
	if (!wants_all && ret->n == 0 && !is_empty_object(root))
		return fg_error_set(ret_reason, -EPROTO,
				    "payload has none of the selected members");
	return 0;
}

/* ------------------------------------------------------------------ event */

int fg_mapping_read_event(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			  const struct fg_arrival *arrival, struct fg_span key,
			  struct fg_mapping_reading *ret, struct fg_error *ret_reason)
{
	int r = fg_mapping_read_json(m, rule, arrival, key, ret, ret_reason);

	if (r < 0)
		return r;
	if (ret->n == 0) /* nothing to add: that it has happened is news enough */
		put_message(ret, FG_EVENT, fg_span_str("{}"));
	ret->messages[0].kind = FG_EVENT;
	return 0;
}

/* ------------------------------------------------------------------ text */

/* Is it a number, true, false or null? Those stay what they are; everything else is a text. */
static bool is_plain_value(struct fg_span payload, struct fg_json_value *ret)
{
	struct fg_json_fault fault;

	return fg_json_check(payload, ret, &fault) == 0 && ret->type != FG_JSON_OBJECT &&
	       ret->type != FG_JSON_ARRAY && ret->type != FG_JSON_STRING;
}

int fg_mapping_read_text(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			 const struct fg_arrival *arrival, struct fg_span key,
			 struct fg_mapping_reading *ret, struct fg_error *ret_reason)
{
	struct fg_json_value value;
	struct fg_span body;
	char *at = m->scratch;
	size_t size;

	*at++ = '{';
	at += fg_json_quote(key, at, FG_MAPPING_KEY_QUOTED_MAX);
	*at++ = ':';
	if (is_plain_value(arrival->payload, &value)) {
		memcpy(at, value.text.data, value.text.size);
		size = value.text.size;
	} else if (fg_utf8_ok(arrival->payload)) {
		size = fg_json_quote(arrival->payload, at, m->max_message_bytes);
		if (size > m->max_message_bytes)
			return fg_error_set(ret_reason, -EPROTO,
					    "payload makes a JSON string of %zu bytes, at most %zu "
					    "are allowed",
					    size, m->max_message_bytes);
	} else {
		return fg_error_set(ret_reason, -EPROTO, "payload is not UTF-8");
	}
	at += size;
	*at++ = '}';
	body = fg_span_of(m->scratch, (size_t)(at - m->scratch));
	if (rule->telemetry.is_all)
		put_message(ret, FG_TELEMETRY, body);
	if (rule->attributes.is_all)
		put_message(ret, FG_ATTRIBUTES, body);
	return 0;
}

/* ------------------------------------------------------------------ opaque */

int fg_mapping_read_opaque(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			   const struct fg_arrival *arrival, struct fg_span key,
			   struct fg_mapping_reading *ret, struct fg_error *ret_reason)
{
	(void)m;
	(void)rule;
	(void)key;
	(void)ret_reason;
	ret->content_type = fg_span_str(FG_MAPPING_OPAQUE_TYPE);
	put_message(ret, FG_TELEMETRY, arrival->payload);
	return 0;
}

/* ------------------------------------------------------------------ presence */

static bool is_among(const struct fg_mapping_texts *texts, struct fg_span text)
{
	for (size_t i = 0; i < texts->n; i++)
		if (fg_span_is(text, texts->texts[i]))
			return true;
	return false;
}

/* The text to compare of the member that says it. */
static int read_state(struct fg_mapping *m, const struct fg_mapping_rule *rule,
		      struct fg_json_value root, struct fg_span *ret, struct fg_error *ret_reason)
{
	struct fg_json_value value;

	if (!fg_json_path_find(rule->state, root, &value))
		return fg_error_set(ret_reason, -EPROTO, "payload has nothing at %s",
				    rule->state_text);
	switch (value.type) {
	case FG_JSON_STRING:
		*ret = fg_span_of(m->scratch, fg_json_unescape(fg_span_of(value.text.data + 1,
									  value.text.size - 2),
							       m->scratch));
		return 0;
	case FG_JSON_INTEGER:
	case FG_JSON_REAL:
	case FG_JSON_TRUE:
	case FG_JSON_FALSE:
		*ret = value.text;
		return 0;
	default:
		return fg_error_set(ret_reason, -EPROTO,
				    "what stands at %s is %s, expected a text of `up` or `down`",
				    rule->state_text, type_word(value.type));
	}
}

int fg_mapping_read_presence(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			     const struct fg_arrival *arrival, struct fg_span key,
			     struct fg_mapping_reading *ret, struct fg_error *ret_reason)
{
	static const char up[] = "{\"state\":\"up\"}", down[] = "{\"state\":\"down\"}";
	struct fg_span state = arrival->payload;
	struct fg_json_value root;
	int r = 0;

	(void)key;
	if (rule->state) {
		r = parse(arrival, &root, ret_reason);
		if (r == 0)
			r = json_read_time(rule, root, ret, ret_reason);
		if (r == 0)
			r = read_state(m, rule, root, &state, ret_reason);
	}
	if (r < 0)
		return r;
	ret->is_up = is_among(&rule->up, state);
	if (!ret->is_up && !is_among(&rule->down, state))
		return fg_error_set(ret_reason, -EPROTO,
				    "what it says is among neither the texts of `up` nor those of "
				    "`down`");
	put_message(ret, FG_PRESENCE, fg_span_str(ret->is_up ? up : down));
	return 0;
}

/* ------------------------------------------------------------------ requests */

/* A body that is being built of some of the payload's members. */
struct body {
	char *start, *at;
};

static void put_member(struct body *b, const char *name, struct fg_json_value value)
{
	*b->at = b->at == b->start ? '{' : ',';
	b->at++;
	b->at += fg_json_quote(fg_span_str(name), b->at, strlen(name) + 2);
	*b->at++ = ':';
	b->at += fg_json_compact(value, b->at);
}

static struct fg_span end_body(struct body *b)
{
	if (b->at == b->start)
		*b->at++ = '{';
	*b->at++ = '}';
	return fg_span_of(b->start, (size_t)(b->at - b->start));
}

static bool is_text(struct fg_json_value value)
{
	return value.type == FG_JSON_STRING && value.text.size > 2;
}

/* A list of names; how many is added to *n. */
static int take_names(struct body *b, struct fg_json_value root, const char *name, size_t *n,
		      struct fg_error *ret_reason)
{
	struct fg_json_value list;
	struct fg_json_walk walk;
	struct fg_json_member element;

	if (!fg_json_member(root, fg_span_str(name), &list))
		return 0;
	if (list.type != FG_JSON_ARRAY)
		return fg_error_set(ret_reason, -EPROTO, "%s is %s, expected an array of names",
				    name, type_word(list.type));
	fg_json_walk_begin(&walk, list);
	for (; fg_json_walk_next(&walk, &element); ++*n)
		if (!is_text(element.value))
			return fg_error_set(ret_reason, -EPROTO,
					    "%s has something that is not the name of an "
					    "attribute",
					    name);
	put_member(b, name, list);
	return 0;
}

static int take_attributes(struct body *b, struct fg_json_value root, struct fg_error *ret_reason)
{
	size_t n = 0;
	int r = take_names(b, root, "client", &n, ret_reason);

	if (r == 0)
		r = take_names(b, root, "shared", &n, ret_reason);
	if (r == 0 && n == 0)
		return fg_error_set(ret_reason, -EPROTO,
				    "it asks for no attribute, in client or shared");
	return r;
}

static int take_rpc(struct body *b, struct fg_json_value root, struct fg_error *ret_reason)
{
	struct fg_json_value value;

	if (!fg_json_member(root, fg_span_str("method"), &value) || !is_text(value))
		return fg_error_set(ret_reason, -EPROTO, "method is missing, or not a text");
	put_member(b, "method", value);
	if (fg_json_member(root, fg_span_str("params"), &value))
		put_member(b, "params", value);
	return 0;
}

static int take_claim(struct body *b, struct fg_json_value root, struct fg_error *ret_reason)
{
	struct fg_json_value value;

	if (fg_json_member(root, fg_span_str("secretKey"), &value)) {
		if (value.type != FG_JSON_STRING)
			return fg_error_set(ret_reason, -EPROTO, "secretKey is %s, expected a text",
					    type_word(value.type));
		put_member(b, "secretKey", value);
	}
	if (fg_json_member(root, fg_span_str("durationMs"), &value)) {
		if (value.type != FG_JSON_INTEGER || *value.text.data == '-')
			return fg_error_set(ret_reason, -EPROTO,
					    "durationMs is not a whole number of milliseconds");
		put_member(b, "durationMs", value);
	}
	return 0;
}

/* Nothing is to be said but that. */
static int take_delete(struct body *b, struct fg_json_value root, struct fg_error *ret_reason)
{
	(void)b;
	(void)root;
	(void)ret_reason;
	return 0;
}

/* The members that the kind of request knows, and no others; of a name that stands twice the last. */
int fg_mapping_read_request(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			    const struct fg_arrival *arrival, struct fg_span key,
			    struct fg_mapping_reading *ret, struct fg_error *ret_reason)
{
	static int (*const take[])(struct body * b, struct fg_json_value root,
				   struct fg_error * ret_reason) = {
		[FG_REQUEST_ATTRIBUTES] = take_attributes,
		[FG_REQUEST_RPC] = take_rpc,
		[FG_REQUEST_CLAIM] = take_claim,
		[FG_REQUEST_DELETE] = take_delete,
	};
	struct body b = {m->scratch, m->scratch};
	struct fg_json_value root;
	int r;

	(void)key;
	r = parse(arrival, &root, ret_reason);
	if (r < 0)
		return r;
	if (root.type != FG_JSON_OBJECT)
		return fg_error_set(ret_reason, -EPROTO, "payload is %s, expected an object",
				    type_word(root.type));
	r = take[rule->request](&b, root, ret_reason);
	if (r == 0)
		put_message(ret, FG_REQUEST, end_body(&b));
	return r;
}
