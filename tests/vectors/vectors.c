/*
 * Conformance cases as data, one folder for each cloud, played against the plugin as it is
 * installed: the shared object is loaded, fed with messages, acknowledgements and deliveries, and
 * what it wants to publish is compared with the case. Payloads are compared byte for byte after
 * white space outside strings is taken away, so that 42.0 is not 42.
 *
 *	vectors [-p PLUGIN-DIRECTORY] [-d DATA-DIRECTORY] [CLOUD...]
 *
 * README.md beside this file tells what a case may say.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "play.h"
#include "util/cleanup.h"
#include "util/span.h"

struct play play;

/* ------------------------------------------------------------------ small things */

bool fail(const char *format, ...)
{
	size_t used = strlen(play.failure);
	va_list args;

	va_start(args, format);
	vsnprintf(play.failure + used, sizeof(play.failure) - used, format, args);
	va_end(args);
	return false;
}

void *keep(void *memory)
{
	if (!memory || play.n_garbage == sizeof(play.garbage) / sizeof(play.garbage[0])) {
		fputs("out of memory\n", stderr);
		exit(2);
	}
	play.garbage[play.n_garbage++] = memory;
	return memory;
}

bool get(struct fg_json_value object, const char *name, struct fg_json_value *ret)
{
	return fg_json_member(object, fg_span_str(name), ret);
}

char *text_of(struct fg_json_value value)
{
	char *text;
	size_t n;

	if (value.type != FG_JSON_STRING)
		return NULL;
	text = keep(malloc(value.text.size));
	n = fg_json_unescape(fg_span_of(value.text.data + 1, value.text.size - 2), text);
	text[n] = 0;
	return text;
}

char *get_text(struct fg_json_value object, const char *name)
{
	struct fg_json_value value;

	return get(object, name, &value) ? text_of(value) : NULL;
}

long long number_of(struct fg_json_value value)
{
	return strtoll(value.text.data, NULL, 10);
}

long long get_number(struct fg_json_value object, const char *name, long long fallback)
{
	struct fg_json_value value;

	return get(object, name, &value) && value.type == FG_JSON_INTEGER ? number_of(value)
									  : fallback;
}

struct fg_span compact(struct fg_span text)
{
	char *out = keep(malloc(text.size + 1));
	size_t n = 0;
	bool in_string = false;

	for (size_t i = 0; i < text.size; i++) {
		char c = text.data[i];

		if (!in_string && strchr(" \t\r\n", c))
			continue;
		out[n++] = c;
		if (c == '"')
			in_string = !in_string;
		else if (c == '\\' && in_string && i + 1 < text.size)
			out[n++] = text.data[++i];
	}
	return fg_span_of(out, n);
}

/* What $1 to $9 stand for in this case. */
static struct fg_span unknowns[10];

static bool same_text_from(const char *is, const char *is_end, const char *should,
			   const char *should_end)
{
	struct fg_span *unknown;
	const char *stop;

	while (should < should_end) {
		if (*should == '$' && should + 1 < should_end && should[1] >= '1' &&
		    should[1] <= '9') {
			unknown = &unknowns[should[1] - '0'];
			if (!unknown->data) {
				for (stop = is; stop < is_end && *stop != '"' && *stop != '\\';)
					stop++;
				*unknown = fg_span_of(is, (size_t)(stop - is));
				unknown->data = keep(strndup(is, unknown->size));
			}
			if (unknown->size == 0 || unknown->size > (size_t)(is_end - is) ||
			    memcmp(is, unknown->data, unknown->size) != 0)
				return false;
			is += unknown->size;
			should += 2;
		} else if (is == is_end || *is++ != *should++) {
			return false;
		}
	}
	return is == is_end;
}

bool same_json(const char *what, struct fg_span is, struct fg_span should)
{
	return same_text_from(is.data, is.data + is.size, should.data, should.data + should.size) ||
	       fail("%s is\n\t%.*s\n\tand should be\n\t%.*s\n\t", what, FG_SPAN_ARGS(is),
		    FG_SPAN_ARGS(should));
}

/* ------------------------------------------------------------------ options and sessions */

/* Milliseconds of the unit at *@at, which moves behind it. */
static long long unit_of(char **at)
{
	static const struct {
		const char *name;
		long long ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(*at, units[i].name) == 0) {
			*at += strlen(*at);
			return units[i].ms;
		}
	}
	return 1;
}

static bool option_value(const struct fg_option *option, const char *text, struct fg_value *ret)
{
	char *end = NULL;

	ret->is_set = true;
	switch (option->type) {
	case FG_OPTION_STRING:
	case FG_OPTION_SECRET:
		ret->string = text;
		return true;
	case FG_OPTION_FILE:
		return fail("%s is a file; ", option->name);
	case FG_OPTION_CHOICE:
		for (ret->number = 0; option->choices[ret->number]; ret->number++)
			if (strcmp(option->choices[ret->number], text) == 0)
				return true;
		return fail("%s has no choice \"%s\"; ", option->name, text);
	case FG_OPTION_BOOLEAN:
		ret->number = strcmp(text, "true") == 0;
		return true;
	case FG_OPTION_INTEGER:
	case FG_OPTION_DURATION:
		ret->number = strtoll(text, &end, 10);
		if (option->type == FG_OPTION_DURATION)
			ret->number *= unit_of(&end);
		if (*end || ret->number < option->min || ret->number > option->max)
			return fail("%s cannot be %s; ", option->name, text);
		return true;
	}
	return false;
}

/* Options of the cases that follow in their file, unless they say otherwise. */
static struct fg_json_value defaults;

static bool read_options(struct fg_json_value of_case, struct fg_value *values)
{
	const struct fg_option *option = play.plugin->options;
	struct fg_json_value given, value;
	size_t n_given = 0, n_used = 0;
	struct fg_json_member member;
	struct fg_json_walk walk;
	const char *text;

	if (!get(of_case, "options", &given))
		given = (struct fg_json_value){.type = FG_JSON_OBJECT, .text = fg_span_str("{}")};
	fg_json_walk_begin(&walk, given);
	while (fg_json_walk_next(&walk, &member))
		n_given++;
	for (size_t i = 0; option[i].name; i++) {
		bool is_given = get(given, option[i].name, &value);

		text = option[i].fallback;
		n_used += is_given;
		if (is_given || get(defaults, option[i].name, &value)) {
			text = text_of(value);
			if (!text)
				text = keep(strndup(value.text.data, value.text.size));
		}
		if (text && !option_value(&option[i], text, &values[i]))
			return false;
	}
	return n_given == n_used || fail("an option the plugin does not know; ");
}

static bool open_plugin(struct fg_json_value of_case)
{
	struct fg_value *values = keep(calloc(MAX_OPTIONS, sizeof(*values)));
	const char *expected = get_text(of_case, "open_fails");
	struct fg_json_value certificate, fallback;
	char error[512] = "";
	struct fg_open with = {
		.values = values,
		.host = &scripted_host,
		.link_name = "customer",
		.gateway_name = "plant7",
		.host_name = "tb.example.com",
		.has_client_certificate = get(of_case, "certificate", &certificate) &&
					  certificate.type == FG_JSON_TRUE,
		.keep_alive_s = (unsigned)get_number(of_case, "keep_alive", 0),
		.has_fallback =
			get(of_case, "fallback", &fallback) && fallback.type == FG_JSON_TRUE,
	};
	int r;

	if (!read_options(of_case, values))
		return false;
	r = play.plugin->open(&with, &play.ctx, error, sizeof(error));
	if (!expected)
		return r == 0 || fail("open: %d, \"%s\"; ", r, error);
	if (r == 0)
		return fail("open should have failed; ");
	if (r != -EINVAL || !strstr(error, expected))
		return fail("open: %d, \"%s\" does not say \"%s\"; ", r, error, expected);
	return true;
}

bool same_text(const char *what, const char *is, struct fg_json_value wanted, const char *name)
{
	const char *text = get_text(wanted, name);

	if (!is && !text)
		return true;
	if (is && text)
		return same_json(what, fg_span_str(is), fg_span_str(text));
	return fail("%s %s is %s, not %s; ", what, name, is ? is : "absent",
		    text ? text : "absent");
}

static bool connect_plugin(struct fg_json_value *wanted, bool is_to_fail)
{
	struct fg_connect_request request = {
		.session = "", .now_us = play.now_us, .mqtt_version = play.mqtt_version};
	struct fg_connect connect = {0};
	struct fg_json_value value;
	int r = play.plugin->connect(play.ctx, &request, &connect);

	if (is_to_fail)
		return r == -EINVAL || fail("connect: %d; ", r);
	if (r < 0)
		return fail("connect: %d; ", r);
	if (!wanted)
		return true;
	if (get(*wanted, "clean_start", &value) &&
	    connect.clean_start != (value.type == FG_JSON_TRUE))
		return fail("clean start is %d; ", connect.clean_start);
	if (get(*wanted, "setup", &value) && connect.is_setup != (value.type == FG_JSON_TRUE))
		return fail("is_setup is %d; ", connect.is_setup);
	if (connect.keep_alive_s !=
	    (unsigned)get_number(*wanted, "keep_alive", connect.keep_alive_s))
		return fail("keep alive is %u; ", connect.keep_alive_s);
	if (get(*wanted, "timed", &value) && connect.is_timed != (value.type == FG_JSON_TRUE))
		return fail("is_timed is %d; ", connect.is_timed);
	return same_text("CONNECT", connect.client_id, *wanted, "client_id") &&
	       same_text("CONNECT", connect.username, *wanted, "username") &&
	       same_text("CONNECT", connect.password, *wanted, "password") &&
	       same_text("CONNECT", connect.address, *wanted, "address");
}

static void connected(struct fg_json_value how)
{
	struct fg_json_value present;
	struct fg_connack connack = {
		.session_present =
			get(how, "session_present", &present) && present.type == FG_JSON_TRUE,
		.mqtt_version = play.mqtt_version,
		.max_packet_bytes = (size_t)get_number(how, "max_packet", 0),
	};

	play.carrier = FG_CARRIER_MQTT;
	play.wake_ms = -1;
	if (play.plugin->connected)
		play.plugin->connected(play.ctx, "", &connack);
}

/* What was not settled is offered again, as the link does. */
static void disconnected(void)
{
	if (play.plugin->disconnected)
		play.plugin->disconnected(play.ctx, "");
	play.carrier = FG_CARRIER_MQTT;
	for (size_t i = 0; i < play.n_sent; i++) {
		struct sent *sent = &play.sent[i];

		for (size_t k = 0; !sent->is_settled && k < sent->n_taken; k++)
			play.states[sent->taken[k]] = FG_OFFERED;
		sent->is_settled = true;
	}
	for (size_t i = 0; i < play.n_messages; i++)
		if (play.states[i] == FG_LEFT)
			play.states[i] = FG_OFFERED;
}

/* ------------------------------------------------------------------ messages */

static const char *const kinds[] = {
	[FG_TELEMETRY] = "telemetry", [FG_ATTRIBUTES] = "attributes",
	[FG_PRESENCE] = "presence",   [FG_COMMAND_RESPONSE] = "command_response",
	[FG_EVENT] = "event",         [FG_REQUEST] = "request",
};

bool is_text(const char *a, const char *b)
{
	return a && strcmp(a, b) == 0;
}

/* A body of a given size: {"text":"xxxxxxxx"}. */
static struct fg_span padded_body(size_t size)
{
	char *body = keep(malloc(size + 16));

	memset(body, 'x', size);
	memcpy(body, "{\"text\":\"", 9);
	memcpy(body + size - 2, "\"}", 2);
	return fg_span_of(body, size);
}

/* The @number-th of several devices that share a message: pump-1, pump-2. */
static const char *numbered(const char *name, long long number)
{
	char *text = keep(malloc(strlen(name) + 24));

	sprintf(text, "%s-%lld", name, number);
	return text;
}

static bool offer_message(struct fg_json_value from)
{
	const char *kind = get_text(from, "kind"), *quality = get_text(from, "time_from");
	const char *device = get_text(from, "device");
	long long n_devices = get_number(from, "devices", 0);
	long long copies = get_number(from, "copies", 1), ms = get_number(from, "time", 0);
	long long pad = get_number(from, "body_size", 0);
	struct fg_json_value body;
	struct fg_message m = {
		.time_us = get_number(from, "time_us", ms * 1000),
		.device = fg_span_str(host_name_of(device)),
		.stream = fg_span_str(get_text(from, "stream")),
		.content_type = fg_span_str(get_text(from, "content_type")),
		.ref = fg_span_str(get_text(from, "ref")),
	};

	for (unsigned k = FG_TELEMETRY; k <= FG_REQUEST; k++)
		if (is_text(kind, kinds[k]))
			m.kind = k;
	if (is_text(quality, "gateway"))
		m.time_quality = FG_TIME_GATEWAY;
	else if (is_text(quality, "unsynchronised"))
		m.time_quality = FG_TIME_UNSYNCHRONISED;
	if (pad > 0)
		m.body = padded_body((size_t)pad);
	else if (get(from, "body", &body))
		m.body = body.text;
	if (!m.kind || !device)
		return fail("a message without kind or device; ");
	if (m.device.size == 0)
		return true; /* muted: the host offers nothing of it */
	for (long long i = 0; i < copies; i++) {
		if (play.n_messages == MAX_MESSAGES)
			return fail("too many messages; ");
		if (n_devices > 0)
			m.device = fg_span_str(numbered(device, i % n_devices + 1));
		m.seq = play.n_messages + 1;
		play.states[play.n_messages] = FG_OFFERED;
		play.messages[play.n_messages++] = m;
		m.time_us += 1000;
	}
	return true;
}

static bool offer(struct fg_json_value list)
{
	struct fg_json_member member;
	struct fg_json_walk walk;

	fg_json_walk_begin(&walk, list);
	while (fg_json_walk_next(&walk, &member))
		if (!offer_message(member.value))
			return false;
	return true;
}

/* ------------------------------------------------------------------ publishes */

static struct fg_publish out;

/* As many as a link lets wait. */
#define MAX_LEFT 256u

static size_t n_left(void)
{
	size_t n = 0;

	for (size_t i = 0; i < play.n_messages; i++)
		n += play.states[i] == FG_LEFT;
	return n;
}

/* Ask the plugin once. Returns what encode() returned; the publish is in `out`. */
static int encode(size_t max_take, size_t max_points)
{
	static char topic[512];
	static char payload[BUFFER_SIZE];
	uint8_t before[MAX_MESSAGES];
	struct fg_batch batch = {
		.messages = play.messages,
		.states = play.states,
		.count = play.n_messages,
		.max_take = max_take,
		.max_left = MAX_LEFT - n_left(),
		.max_points = {max_points, max_points},
		.carrier = play.carrier,
		.now_us = play.now_us,
	};
	struct sent *sent;
	int r;

	memcpy(before, play.states, play.n_messages);
	out = (struct fg_publish){
		.topic = topic,
		.topic_size = sizeof(topic),
		.payload = payload,
		.payload_size = sizeof(payload),
		.qos = 1,
	};
	r = play.plugin->encode(play.ctx, "", &batch, &out);
	play.n_dropped += batch.values_dropped;
	if (play.n_sent == MAX_PUBLISHES) {
		fail("too many publishes; ");
		return -E2BIG;
	}
	if (n_left() > MAX_LEFT)
		fail("more messages left than may be; ");
	sent = &play.sent[play.n_sent];
	*sent = (struct sent){.tag = out.tag, .taken = keep(calloc(play.n_messages + 1, 4))};
	for (uint32_t i = 0; i < play.n_messages; i++) {
		if (play.states[i] == before[i])
			continue;
		if (before[i] != FG_OFFERED)
			fail("message %u changed from state %d to %d; ", i, before[i],
			     play.states[i]);
		if (play.states[i] == FG_TAKEN)
			sent->taken[sent->n_taken++] = i;
	}
	if (r == 1)
		play.n_sent++;
	else if (sent->n_taken > 0)
		fail("messages taken without a publish; ");
	return r;
}

static bool right_messages(struct fg_json_value wanted, const struct sent *sent)
{
	struct fg_json_member member;
	struct fg_json_value takes;
	struct fg_json_walk walk;
	size_t n = 0;

	if (!get(wanted, "takes", &takes))
		return true;
	if (takes.type == FG_JSON_INTEGER)
		return sent->n_taken == (size_t)number_of(takes) ||
		       fail("it takes %zu messages; ", sent->n_taken);
	fg_json_walk_begin(&walk, takes);
	for (; fg_json_walk_next(&walk, &member); n++)
		if (n >= sent->n_taken ||
		    sent->taken[n] + 1 - play.n_hidden != (size_t)number_of(member.value))
			return fail("it does not take message %lld; ", number_of(member.value));
	return n == sent->n_taken || fail("it takes %zu messages; ", sent->n_taken);
}

/* The Remaining Length of @out as an MQTT packet. */
static size_t remaining_length(void)
{
	return 2 + strlen(out.topic) + 2 + (play.mqtt_version >= 5) + out.payload_len;
}

static bool well_formed(void)
{
	struct json_tokener *tokener = json_tokener_new_ex(128);
	struct json_object *object;
	bool is_ok;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	object = json_tokener_parse_ex(tokener, out.payload, (int)out.payload_len);
	if (json_tokener_get_error(tokener) == json_tokener_continue)
		object = json_tokener_parse_ex(tokener, "", 1); /* a bare number ends here */
	is_ok = object && json_tokener_get_error(tokener) == json_tokener_success;
	json_object_put(object);
	json_tokener_free(tokener);
	return is_ok || fail("json-c does not read the payload; ");
}

static int digit(char c)
{
	const char *all = "0123456789abcdef", *at = c ? strchr(all, c) : NULL;

	return at ? (int)(at - all) : 0;
}

/* The bytes that a text such as "0a06'pump 4'" stands for. */
static struct fg_span bytes_of(const char *text)
{
	static char bytes[BUFFER_SIZE];
	size_t n = 0;

	while (*text) {
		if (*text == '\'')
			for (text++; *text && *text++ != '\'';)
				bytes[n++] = text[-1];
		else if (*text == ' ')
			text++;
		else if (text[1])
			bytes[n++] = (char)(digit(text[0]) << 4 | digit(text[1])), text += 2;
		else
			text++;
	}
	return fg_span_of(bytes, n);
}

static bool same_bytes(struct fg_span is, struct fg_span should_be)
{
	char text[512];

	for (size_t i = 0; i < is.size && i < sizeof(text) / 2; i++)
		snprintf(text + 2 * i, 3, "%02x", (unsigned char)is.data[i]);
	return fg_span_equal(is, should_be) ||
	       fail("the %zu bytes are %s; ", is.size, is.size > 0 ? text : "");
}

/* From here on `out` has what was packed. */
static bool unpack_out(void)
{
	struct fg_span plain;

	if (!strstr(out.topic, "?encoding=gzip"))
		return true;
	if (!unpacked(fg_span_of(out.payload, out.payload_len), &plain))
		return fail("the payload is no gzip; ");
	memcpy(out.payload, plain.data, plain.size);
	out.payload_len = plain.size;
	return true;
}

static bool publish(struct fg_json_value step, struct fg_json_value wanted)
{
	int r = encode((size_t)get_number(step, "max_take", MAX_MESSAGES),
		       (size_t)get_number(step, "max_points", LLONG_MAX));
	const char *bytes = get_text(wanted, "bytes");
	struct fg_json_value payload;

	if (r != 1)
		return fail("nothing is published (%d); ", r);
	if (!same_text("PUBLISH", out.topic, wanted, "topic"))
		return false;
	if (remaining_length() > (size_t)get_number(wanted, "remaining_length_at_most", 65536) ||
	    remaining_length() < (size_t)get_number(wanted, "remaining_length_at_least", 0))
		return fail("Remaining Length %zu; ", remaining_length());
	if (!unpack_out())
		return false;
	if (out.qos != 1 || (!bytes && !well_formed()))
		return fail("QoS %u; ", out.qos);
	if (bytes && !same_bytes(fg_span_of(out.payload, out.payload_len), bytes_of(bytes)))
		return false;
	if (out.scope != (unsigned)get_number(wanted, "scope", out.scope) ||
	    out.n_points != (size_t)get_number(wanted, "points", (long long)out.n_points))
		return fail("scope %u, %zu points; ", out.scope, out.n_points);
	if (get(wanted, "payload", &payload) &&
	    !same_json("payload", compact(fg_span_of(out.payload, out.payload_len)),
		       compact(payload.text)))
		return false;
	return same_headers(out.headers, wanted) &&
	       right_messages(wanted, &play.sent[play.n_sent - 1]);
}

static const char *const verdicts[] = {
	[FG_ACCEPTED] = "accepted", [FG_RETRY] = "retry",     [FG_LATER] = "later",
	[FG_POISON] = "poison",     [FG_SIGN_IN] = "sign_in",
};

/* @body: of the answer, where HTTP has carried it. */
static enum fg_verdict settle_one(struct sent *sent, unsigned code, struct fg_span body)
{
	bool is_by_mqtt = play.carrier == FG_CARRIER_MQTT;
	struct fg_settlement how = {.tag = sent->tag,
				    .reason_code = is_by_mqtt ? code : 0,
				    .http_status = is_by_mqtt ? 0 : code,
				    .http_body = body,
				    .n_messages = sent->n_taken,
				    .now_us = play.now_us};
	enum fg_verdict verdict = play.plugin->settled(play.ctx, "", &how);

	sent->is_settled = true;
	for (size_t i = 0; i < sent->n_taken; i++) {
		if (verdict == FG_RETRY || verdict == FG_LATER || verdict == FG_SIGN_IN ||
		    (verdict == FG_POISON && sent->n_taken > 1))
			play.states[sent->taken[i]] = FG_OFFERED;
	}
	return verdict;
}

static bool settle(struct fg_json_value step, struct fg_json_value code)
{
	size_t at = (size_t)get_number(step, "publish", 0);
	const char *wanted = get_text(step, "verdict");
	struct fg_json_value body = {0};
	enum fg_verdict verdict;

	get(step, "body", &body);
	if (get_text(step, "text"))
		body.text = fg_span_str(get_text(step, "text"));
	if (at == 0)
		while (at < play.n_sent && play.sent[at].is_settled)
			at++;
	else
		at--;
	if (at >= play.n_sent)
		return fail("there is no publish to settle; ");
	verdict = settle_one(&play.sent[at], (unsigned)number_of(code), body.text);
	if (wanted && strcmp(verdicts[verdict], wanted) != 0)
		return fail("the verdict is %s; ", verdicts[verdict]);
	return true;
}

/* Announce devices the short way, for cases that are about something else. */
static bool announced(struct fg_json_value list)
{
	struct fg_json_member member;
	struct fg_json_walk walk;

	fg_json_walk_begin(&walk, list);
	while (fg_json_walk_next(&walk, &member)) {
		struct fg_message *m = &play.messages[play.n_messages];

		*m = (struct fg_message){
			.seq = play.n_messages + 1,
			.kind = FG_PRESENCE,
			.time_quality = FG_TIME_GATEWAY,
			.device = fg_span_str(text_of(member.value)),
			.body = fg_span_str("{\"state\":\"up\"}"),
		};
		play.states[play.n_messages++] = FG_OFFERED;
		play.n_hidden++;
		if (encode(1, SIZE_MAX) != 1)
			return fail("no announcement; ");
		if (settle_one(&play.sent[play.n_sent - 1], 0, (struct fg_span){0}) != FG_ACCEPTED)
			return fail("announcement not accepted; ");
	}
	return true;
}

/* ------------------------------------------------------------------ other checks */

static bool check_message(struct fg_json_value step, struct fg_json_value number)
{
	static const char *const states[] = {"offered", "taken", "nothing", "refused", "waiting"};
	size_t at = (size_t)number_of(number) - 1 + play.n_hidden;
	const char *wanted = get_text(step, "is"), *reason = get_text(step, "reason");

	if (at >= play.n_messages)
		return fail("there is no such message; ");
	if (!is_text(wanted, states[play.states[at]]))
		return fail("message %zu is %s; ", at + 1 - play.n_hidden, states[play.states[at]]);
	if (reason && !strstr(play.reasons[at], reason))
		return fail("the reason is \"%s\"; ", play.reasons[at]);
	return true;
}

static bool check_warnings(struct fg_json_value wanted)
{
	const char *text = text_of(wanted);

	if (text)
		return strstr(play.warnings, text) ||
		       fail("the warnings are \"%s\"; ", play.warnings);
	return play.n_warnings == (unsigned)number_of(wanted) ||
	       fail("%u warnings; ", play.n_warnings);
}

static bool deliver(struct fg_json_value step, struct fg_json_value what)
{
	struct fg_json_value payload = {0};
	const char *wanted = get_text(step, "result");
	struct fg_delivery delivery = {
		.topic = get_text(what, "topic"), .qos = 1, .now_us = play.now_us};
	int r;

	if (get(what, "payload", &payload))
		delivery.payload = payload.text;
	else if (get_text(what, "bytes"))
		delivery.payload = bytes_of(get_text(what, "bytes"));
	if (get(what, "gzip", &payload) && payload.type == FG_JSON_TRUE)
		delivery.payload = packed(delivery.payload);
	r = play.plugin->receive ? play.plugin->receive(play.ctx, "", &delivery) : -EPROTO;
	if (is_text(wanted, "nonsense"))
		return r == -EPROTO || fail("receive: %d; ", r);
	return r == 0 || fail("receive: %d; ", r);
}

static bool deliver_chunk(struct fg_json_value what)
{
	size_t size = (size_t)get_number(what, "size", 0);
	char *bytes = keep(calloc(1, size + 1));
	struct fg_delivery delivery = {
		.topic = get_text(what, "topic"),
		.payload = fg_span_of(bytes, size),
		.qos = 1,
		.now_us = play.now_us,
	};
	int r = play.plugin->receive(play.ctx, "", &delivery);

	return r == 0 || fail("receive: %d; ", r);
}

static bool progress(struct fg_json_value what)
{
	static const char *const states[] = {
		[FG_IMAGE_DOWNLOADING] = "DOWNLOADING", [FG_IMAGE_DOWNLOADED] = "DOWNLOADED",
		[FG_IMAGE_VERIFIED] = "VERIFIED",       [FG_IMAGE_UPDATING] = "UPDATING",
		[FG_IMAGE_UPDATED] = "UPDATED",         [FG_IMAGE_FAILED] = "FAILED",
	};
	struct fg_image_progress p = {
		.device = fg_span_str(get_text(what, "device")),
		.kind = is_text(get_text(what, "kind"), "software") ? FG_IMAGE_SOFTWARE
								    : FG_IMAGE_FIRMWARE,
		.title = fg_span_str(get_text(what, "title")),
		.version = fg_span_str(get_text(what, "version")),
		.error = get_text(what, "error"),
		.have = (uint64_t)get_number(what, "have", 0),
		.size = (uint64_t)get_number(what, "size", 0),
		.fault = (enum fg_image_fault)get_number(what, "fault", FG_IMAGE_FAULT_OTHER),
	};
	const char *state = get_text(what, "state");

	while (p.state < FG_IMAGE_FAILED && !is_text(state, states[p.state]))
		p.state++;
	play.plugin->image_progress(play.ctx, &p);
	return true;
}

/* Time passes, and the plugin is woken as it asks to be. */
static bool wait_for(long long seconds)
{
	long long left_ms = seconds * 1000, step;

	while (left_ms > 0) {
		step = play.wake_ms >= 0 && play.wake_ms < left_ms ? play.wake_ms : left_ms;
		play.now_us += step * 1000;
		left_ms -= step;
		if (play.wake_ms < 0)
			continue;
		play.wake_ms -= step;
		if (play.wake_ms > 0)
			continue;
		play.wake_ms = -1;
		play.plugin->woken(play.ctx, play.now_us);
		if (play.wake_ms == 0)
			return fail("it wants to be woken without end; ");
	}
	return true;
}

/* The program has ended, and starts anew: only what is on disk is left. */
static bool restart(struct fg_json_value of_case)
{
	play.plugin->close(play.ctx);
	play.ctx = NULL;
	play.wake_ms = -1;
	return open_plugin(of_case);
}

static bool silence(void)
{
	int r = encode(MAX_MESSAGES, SIZE_MAX);

	return r == 0 || fail("%s is published; ", r == 1 ? out.topic : "nothing, but an error");
}

static bool play_step(struct fg_json_value of_case, struct fg_json_value step)
{
	struct fg_json_value v;
	bool is_ok;

	if (host_step(step, &is_ok) || http_step(step, &is_ok))
		return is_ok;
	if (get(step, "wait", &v))
		return wait_for(number_of(v));
	if (get(step, "restart", &v))
		return restart(of_case);
	if (get(step, "connect", &v))
		return connect_plugin(&v, false);
	if (get(step, "connect_fails", &v))
		return connect_plugin(NULL, true);
	if (get(step, "connected", &v))
		return connected(v), true;
	if (get(step, "disconnected", &v))
		return disconnected(), true;
	if (get(step, "announced", &v))
		return announced(v);
	if (get(step, "offer", &v))
		return offer(v);
	if (get(step, "settle", &v))
		return settle(step, v);
	if (get(step, "publish", &v))
		return publish(step, v);
	if (get(step, "silence", &v))
		return silence();
	if (get(step, "message", &v))
		return check_message(step, v);
	if (get(step, "warned", &v))
		return check_warnings(v);
	if (get(step, "dropped", &v))
		return play.n_dropped == (uint64_t)number_of(v) ||
		       fail("%llu values dropped; ", (unsigned long long)play.n_dropped);
	if (get(step, "deliver", &v))
		return deliver(step, v);
	if (get(step, "chunk", &v))
		return deliver_chunk(v);
	if (get(step, "image_progress", &v))
		return progress(v);
	return fail("a step the runner does not know; ");
}

/* ------------------------------------------------------------------ cases */

static void begin_play(const struct fg_plugin *plugin)
{
	while (play.n_garbage > 0)
		free(play.garbage[--play.n_garbage]);
	memset(&play, 0, offsetof(struct play, messages));
	play.n_messages = play.n_hidden = play.n_sent = 0;
	play.n_dropped = 0;
	play.n_warnings = 0;
	play.warnings[0] = play.failure[0] = 0;
	play.plugin = plugin;
	play.now_us = 1718000000000000;
	play.wake_ms = -1;
	memset(unknowns, 0, sizeof(unknowns));
	host_begin();
}

static bool play_case(struct fg_json_value of_case)
{
	struct fg_json_value steps, connecting;
	struct fg_json_member member;
	struct fg_json_walk walk;
	unsigned n = 0;

	play.mqtt_version = (unsigned)get_number(of_case, "mqtt", 5);
	play.now_us = get_number(of_case, "clock", play.now_us / 1000000) * 1000000;
	play.has_no_time = get(of_case, "has_time", &steps) && steps.type == FG_JSON_FALSE;
	if (!open_plugin(of_case))
		return false;
	if (!play.ctx)
		return true;
	if (!get(of_case, "by_hand", &connecting)) {
		if (!connect_plugin(NULL, false))
			return false;
		connected(
			(struct fg_json_value){.type = FG_JSON_OBJECT, .text = fg_span_str("{}")});
	}
	if (!get(of_case, "steps", &steps) || steps.type != FG_JSON_ARRAY)
		return fail("the case has no steps; ");
	fg_json_walk_begin(&walk, steps);
	while (fg_json_walk_next(&walk, &member)) {
		n++;
		if (!play_step(of_case, member.value) || play.failure[0])
			return fail("at step %u", n);
	}
	if (host_unread_call())
		return fail("%s was called, and no step says so", host_unread_call());
	return true;
}

struct tally {
	unsigned n_passed, n_failed, n_not_yet;
};

static void run_case(const struct fg_plugin *plugin, struct fg_json_value of_case,
		     struct tally *tally)
{
	const char *id, *says, *needs, *host_part;

	begin_play(plugin);
	id = get_text(of_case, "id");
	says = get_text(of_case, "says");
	needs = get_text(of_case, "needs");
	host_part = get_text(of_case, "host");
	if (!id || !says) {
		tally->n_failed++;
		puts("FAILED  a case without id or says");
	} else if (needs) {
		tally->n_not_yet++;
		printf("not yet %-8s %s (needs %s)\n", id, says, needs);
	} else if (play_case(of_case)) {
		tally->n_passed++;
		printf("passed  %-8s %s", id, says);
		printf(host_part ? " (the plugin's part; the link's: %s)\n" : "\n", host_part);
	} else {
		tally->n_failed++;
		printf("FAILED  %-8s %s: %s\n", id, says, play.failure);
	}
	if (play.ctx)
		plugin->close(play.ctx);
	play.ctx = NULL;
}

static void free_p(char **text)
{
	free(*text);
}

static int read_whole(const char *path, char **ret, size_t *ret_size)
{
	FG_CLEANUP(fg_fclose_p) FILE *f = fopen(path, "rb");
	FG_CLEANUP(free_p) char *text = malloc(BUFFER_SIZE);

	if (!f)
		return -errno;
	if (!text)
		return -ENOMEM;
	*ret_size = fread(text, 1, BUFFER_SIZE, f);
	if (ferror(f) || *ret_size == BUFFER_SIZE)
		return -EFBIG;
	*ret = text;
	text = NULL;
	return 0;
}

static bool run_file(const struct fg_plugin *plugin, const char *path, struct tally *tally)
{
	FG_CLEANUP(free_p) char *text = NULL;
	struct fg_json_fault fault;
	struct fg_json_value list;
	struct fg_json_member member;
	struct fg_json_walk walk;
	size_t size = 0;
	int r;

	r = read_whole(path, &text, &size);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
		return false;
	}
	if (fg_json_check(fg_span_of(text, size), &list, &fault) < 0) {
		fprintf(stderr, "%s: byte %zu: %s\n", path, fault.offset, fault.reason);
		return false;
	}
	defaults = (struct fg_json_value){.type = FG_JSON_OBJECT, .text = fg_span_str("{}")};
	fg_json_walk_begin(&walk, list);
	while (fg_json_walk_next(&walk, &member))
		if (!get(member.value, "defaults", &defaults))
			run_case(plugin, member.value, tally);
	begin_play(plugin);
	return true;
}

static int is_data(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && strcmp(dot, ".json") == 0;
}

static bool run_cloud(const char *plugin_dir, const char *data_dir, const char *cloud)
{
	const struct fg_plugin *plugin;
	struct tally tally = {0};
	struct dirent **entries;
	char path[4096];
	bool is_ok = true;
	void *library;
	int n;

	snprintf(path, sizeof(path), "%s/%s.so", plugin_dir, cloud);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return false;
	}
	plugin = dlsym(library, "fg_plugin");
	if (!plugin || plugin->abi != FG_PLUGIN_ABI) {
		fprintf(stderr, "%s: not a plugin of ABI %u\n", path, FG_PLUGIN_ABI);
		return false;
	}
	snprintf(path, sizeof(path), "%s/%s", data_dir, cloud);
	n = scandir(path, &entries, is_data, alphasort);
	if (n <= 0) {
		fprintf(stderr, "%s: no cases\n", path);
		return false;
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", data_dir, cloud, entries[i]->d_name);
		is_ok = run_file(plugin, path, &tally) && is_ok;
		free(entries[i]);
	}
	free(entries);
	printf("%s: %u passed, %u failed, %u not yet\n", cloud, tally.n_passed, tally.n_failed,
	       tally.n_not_yet);
	dlclose(library);
	return is_ok && tally.n_failed == 0 && tally.n_passed > 0;
}

static int is_cloud(const struct dirent *entry)
{
	return !strchr(entry->d_name, '.');
}

/* Each folder of cases names a cloud. */
static bool run_all(const char *plugin_dir, const char *data_dir)
{
	struct dirent **entries;
	bool is_ok = true;
	int n = scandir(data_dir, &entries, is_cloud, alphasort);

	if (n <= 0) {
		fprintf(stderr, "%s: no clouds\n", data_dir);
		return false;
	}
	for (int i = 0; i < n; i++) {
		is_ok = run_cloud(plugin_dir, data_dir, entries[i]->d_name) && is_ok;
		free(entries[i]);
	}
	free(entries);
	return is_ok;
}

int main(int argc, char **argv)
{
	const char *plugin_dir = FG_BUILT_PLUGINS, *data_dir = FG_VECTORS;
	bool is_ok = true;
	int c;

	while ((c = getopt(argc, argv, "p:d:")) != -1) {
		if (c == 'p')
			plugin_dir = optarg;
		else if (c == 'd')
			data_dir = optarg;
		else
			return 2;
	}
	if (optind == argc)
		is_ok = run_all(plugin_dir, data_dir);
	for (int i = optind; i < argc; i++)
		is_ok = run_cloud(plugin_dir, data_dir, argv[i]) && is_ok;
	return is_ok ? 0 : 1;
}
