/*
 * The Huawei plugin between a server and field devices that both mean harm. A line is a step; the first
 * byte of the input sets the options:
 *
 *	t, a, p, r, x, q, d  telemetry, attributes, presence, answer to the last command, a text, a device that
 *	               asks for attributes or to be deleted: device, tab, body
 *	E              encode, S settle with the code of the next byte, X a new session
 *	H              a sign-in by HTTPS: the status is 100 and its length in bytes up to a tab, then comes
 *	               the answer; if that will do, HTTPS carries the session until the next X
 *	W              as many seconds pass as bytes follow
 *	I              the host says how far an image is: a digit each for kind, state and fault, then device,
 *	               tab, version; what it says of an order follows from the last byte of its version
 *	anything else  comes down: rest of the topic, tab, payload
 *
 * Whatever comes, no byte beyond a buffer is touched, payloads are JSON without NaN and within the packet, each
 * device's order is kept, and everything offered is done with in the end.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "hostile.h"
#include "huawei/gzip.h"
#include "model/json.h"
#include "model/utf8.h"
#include "util/span.h"

#define PACKET_SIZE 4096
#define MAX_MESSAGES 64
#define GATEWAY "gw1"

/* So long the plugin waits for an answer, and a little more. */
#define ANSWER_S 8

struct ground {
	void *ctx;
	char *payload; /* PACKET_SIZE */
	uint64_t tag;
	enum fg_carrier carrier;
	struct fg_message messages[MAX_MESSAGES];
	uint8_t states[MAX_MESSAGES];
	char refs[MAX_MESSAGES][FG_COMMAND_ID_MAX];
	size_t n_messages;
	char command_id[FG_COMMAND_ID_MAX];
	size_t command_id_size;
	struct kept {
		char key[32];
		char value[16384];
		size_t size;
	} kept[2];
};

static void wake(void *host_ctx, int64_t in_ms)
{
	(void)host_ctx;
	(void)in_ms;
}

static int mute(void *host_ctx, struct fg_span device)
{
	(void)host_ctx;
	REQUIRE(device.size > 0 && device.size <= 255);
	fuzz_read_all(device);
	return 0;
}

static int command(void *host_ctx, const struct fg_command *c)
{
	struct ground *g = host_ctx;

	REQUIRE(c->id.size > 0 && c->id.size <= sizeof(g->command_id));
	REQUIRE(c->key.size > 0 && c->key.size <= 64);
	REQUIRE(c->name.size > 0 && c->name.size <= 255 && fg_utf8_ok(c->name));
	REQUIRE(c->device.size <= 255 && c->timeout_ms > 0);
	REQUIRE(c->params.size == 0 || fuzz_is_json(c->params));
	fuzz_read_all(c->device);
	memcpy(g->command_id, c->id.data, c->id.size);
	g->command_id_size = c->id.size;
	return 0;
}

static bool wants_time(void *host_ctx)
{
	(void)host_ctx;
	return true;
}

static int tell_time(void *host_ctx, int64_t offset_us)
{
	(void)host_ctx;
	return offset_us > 0 ? 0 : -ERANGE;
}

static void progress(struct ground *g, const struct fg_image_progress *p);

static int image_begin(void *host_ctx, const struct fg_image *image, uint64_t *ret_have)
{
	static const int results[] = {0, 0, 0, -EEXIST, -EAGAIN, -EINVAL};
	char last = image->version.size > 0 ? image->version.data[image->version.size - 1] : 0;
	struct fg_image_progress p = {.device = image->device,
				      .kind = image->kind,
				      .version = image->version,
				      .size = image->size};

	REQUIRE(image->device.size <= 255 && image->version.size > 0 && image->version.size <= 255);
	REQUIRE(fg_utf8_ok(image->version) && image->title.size <= 255);
	REQUIRE(image->url.size > 0 && image->url.size <= 8192);
	REQUIRE(image->checksum.size <= 128 && image->order.size <= FG_IMAGE_ORDER_MAX);
	REQUIRE(image->authorization.size == 0 ||
		(image->authorization.size > 7 && !memcmp(image->url.data + 4, "s", 1)));
	fuzz_read_all(image->url);
	fuzz_read_all(image->authorization);
	fuzz_read_all(image->order);
	*ret_have = 0;
	if (last & 8)
		progress(host_ctx, &p);
	return results[(unsigned char)last % 6];
}

static int image_version(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			 struct fg_span *ret)
{
	(void)host_ctx;
	*ret = device;
	return device.size > 0 && kind == FG_IMAGE_SOFTWARE ? 0 : -ENOENT;
}

/* What is kept under @key, or will be. */
static struct kept *kept_as(struct ground *g, const char *key)
{
	struct kept *k = g->kept;

	while (k->key[0] && strcmp(k->key, key) != 0)
		REQUIRE(++k < g->kept + sizeof(g->kept) / sizeof(g->kept[0]));
	snprintf(k->key, sizeof(k->key), "%s", key);
	return k;
}

static int remember(void *host_ctx, const char *key, struct fg_span value)
{
	struct kept *k = kept_as(host_ctx, key);

	REQUIRE(value.size <= sizeof(k->value));
	REQUIRE(value.size == 0 || strcmp(key, "list") == 0 || fuzz_is_json(value));
	if (value.size > 0)
		memcpy(k->value, value.data, value.size);
	k->size = value.size;
	return 0;
}

static int recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	const struct kept *k = kept_as(host_ctx, key);

	*ret = fg_span_of(k->value, k->size);
	return k->size > 0 ? 0 : -ENOENT;
}

static void offer_left(void *host_ctx, const char *session)
{
	struct ground *g = host_ctx;

	REQUIRE(!*session);
	for (size_t i = 0; i < g->n_messages; i++)
		if (g->states[i] == FG_LEFT)
			g->states[i] = FG_OFFERED;
}

static const struct fg_host host = {
	.size = sizeof(struct fg_host),
	.warn = fuzz_warn,
	.subscribe = fuzz_subscribe,
	.refuse = fuzz_refuse,
	.offer_left = offer_left,
	.wake = wake,
	.mute = mute,
	.unmute = mute,
	.limit = fuzz_limit,
	.command = command,
	.respond = fuzz_respond,
	.wants_time = wants_time,
	.tell_time = tell_time,
	.remember = remember,
	.recall = recall,
	.image_begin = image_begin,
	.image_told = fuzz_image_told,
	.image_version = image_version,
};

static void progress(struct ground *g, const struct fg_image_progress *p)
{
	fg_plugin.image_progress(g->ctx, p);
}

static void *open_plugin(struct ground *g, uint8_t flags)
{
	struct fg_value values[64] = {0};
	struct fg_open with = {.values = values,
			       .host = &host,
			       .host_ctx = g,
			       .link_name = "x",
			       .gateway_name = "y"};
	/* Bit 4 is product_id, without which nothing is added. */
	static const struct {
		const char *name;
		unsigned bit;
	} flag_names[] = {{"mode", 0},          {"event_time", 1}, {"encoding", 1},
			  {"command_names", 2}, {"time_sync", 2},  {"report_status", 3},
			  {"sync", 5},          {"auto_add", 6},   {"on_delete", 7}};
	const struct fg_option *option = fg_plugin.options;
	char error[256];
	void *ctx = NULL;

	if (flags & 1 || !(flags & 0x10))
		flags &= 0x3f;
	if (!(flags & 0x40))
		flags &= 0x7f;
	for (size_t i = 0; option[i].name; i++) {
		const char *name = option[i].name;

		if (strcmp(name, "device_id") == 0)
			values[i].string = GATEWAY;
		else if (strcmp(name, "secret") == 0)
			values[i].string = "s";
		else if (strcmp(name, "product_id") == 0 && flags & 0x10 && !(flags & 1))
			values[i].string = "p1";
		else if (option[i].type == FG_OPTION_STRING)
			values[i].string = option[i].fallback;
		else if (option[i].type == FG_OPTION_DURATION)
			values[i].number = 15000;
		else if (option[i].type == FG_OPTION_INTEGER)
			values[i].number = 3;
		for (size_t k = 0; k < sizeof(flag_names) / sizeof(flag_names[0]); k++)
			if (strcmp(name, flag_names[k].name) == 0)
				values[i].number = flags >> flag_names[k].bit & 1;
		values[i].is_set = true;
	}
	REQUIRE(fg_plugin.open(&with, &ctx, error, sizeof(error)) == 0);
	return ctx;
}

static void begin_session(struct ground *g)
{
	struct fg_connect_request request = {.session = "", .mqtt_version = 5};
	struct fg_connack connack = {.mqtt_version = 5};
	struct fg_connect connect;

	REQUIRE(fg_plugin.connect(g->ctx, &request, &connect) == 0);
	fg_plugin.connected(g->ctx, "", &connack);
}

/* It comes from the lane of alarms. */
static bool overtakes(const struct fg_message *m)
{
	return m->kind == FG_COMMAND_RESPONSE || m->kind == FG_REQUEST;
}

static bool waits(const struct ground *g, size_t i)
{
	return g->states[i] == FG_OFFERED ||
	       (g->states[i] == FG_LEFT && g->carrier == FG_CARRIER_MQTT);
}

/* No message is taken while an earlier one of its device waits. */
static void check_order(const struct ground *g, const uint8_t *before)
{
	for (size_t i = 0; i < g->n_messages; i++)
		for (size_t k = i + 1; waits(g, i) && k < g->n_messages; k++)
			REQUIRE(g->states[k] != FG_TAKEN || before[k] == FG_TAKEN ||
				overtakes(&g->messages[k]) || overtakes(&g->messages[i]) ||
				!fg_span_equal(g->messages[i].device, g->messages[k].device));
}

/* JSON, packed if the topic says so. */
static void check_payload(const char *topic, struct fg_span payload)
{
	static char plain[PACKET_SIZE];
	struct fg_json_value value;
	struct fg_json_fault fault;
	size_t size;

	if (strstr(topic, HW_GZIP_MARK)) {
		REQUIRE(hw_gzip_unpack(payload, plain, sizeof(plain), &size) == 0);
		REQUIRE(size > payload.size);
		payload = fg_span_of(plain, size);
	}
	REQUIRE(fg_json_check(payload, &value, &fault) == 0 && fg_is_finite(value));
}

/* Nothing in the token makes another header. */
static bool are_clean(const char *const *headers)
{
	for (; *headers; headers++)
		for (const char *at = *headers; *at; at++)
			if (*at < ' ' || *at > '~')
				return false;
	return true;
}

static bool encode(struct ground *g)
{
	char topic[256];
	uint8_t before[MAX_MESSAGES];
	struct fg_batch batch = {.messages = g->messages,
				 .states = g->states,
				 .count = g->n_messages,
				 .max_take = MAX_MESSAGES,
				 .max_left = MAX_MESSAGES / 2,
				 .max_points = {SIZE_MAX, SIZE_MAX},
				 .carrier = g->carrier};
	struct fg_publish out = {.topic = topic,
				 .topic_size = sizeof(topic),
				 .payload = g->payload,
				 .payload_size = PACKET_SIZE};
	int r;

	memcpy(before, g->states, sizeof(before));
	r = fg_plugin.encode(g->ctx, "", &batch, &out);
	REQUIRE(r == 0 || r == 1);
	check_order(g, before);
	if (r == 0)
		return false;
	REQUIRE(out.payload_len <= PACKET_SIZE && out.qos == 1);
	check_payload(topic, fg_span_of(g->payload, out.payload_len));
	REQUIRE(g->carrier == FG_CARRIER_MQTT || are_clean(out.headers));
	g->tag = out.tag;
	return true;
}

/* As the host hands it over: bodies are checked JSON, names are UTF-8. */
static void offer(struct ground *g, char letter, struct fg_span line)
{
	struct fg_span device = fuzz_first_field(&line);
	struct fg_message *m = &g->messages[g->n_messages];

	if (g->n_messages == MAX_MESSAGES || device.size == 0 || device.size > 255 ||
	    !fg_utf8_ok(device) || (letter != 'x' && !fuzz_is_json(line)))
		return;
	memcpy(g->refs[g->n_messages], g->command_id, g->command_id_size);
	*m = (struct fg_message){
		.seq = g->n_messages + 1,
		.time_us = (int64_t)((uint64_t)line.size << (line.size % 56)),
		.kind = letter == 't' || letter == 'x' ? FG_TELEMETRY
			: letter == 'a'                ? FG_ATTRIBUTES
			: letter == 'p'                ? FG_PRESENCE
			: strchr("qd", letter)         ? FG_REQUEST
						       : FG_COMMAND_RESPONSE,
		.device = device,
		.stream = fg_span_str(letter == 'q'   ? "attributes"
				      : letter == 'd' ? "delete"
				      : line.size % 3 ? "env"
						      : ""),
		.content_type = fg_span_str(letter == 'x' ? "text/plain" : NULL),
		.ref = fg_span_of(g->refs[g->n_messages], g->command_id_size),
		.body = line,
	};
	g->states[g->n_messages++] = FG_OFFERED;
}

static void deliver(struct ground *g, struct fg_span line)
{
	char topic[256];
	struct fg_span field = fuzz_first_field(&line);
	struct fg_delivery delivery = {.topic = topic, .payload = line, .qos = 1};
	int r;

	snprintf(topic, sizeof(topic), "$oc/devices/" GATEWAY "/sys/%.*s",
		 field.size < 200 ? (int)field.size : 200, field.size > 0 ? field.data : "");
	r = fg_plugin.receive(g->ctx, "", &delivery);
	REQUIRE(r == 0 || r == -EPROTO);
}

/* Digits from '0'; what is none counts as 0. */
static unsigned digit(struct fg_span line, size_t i, unsigned limit)
{
	return i < line.size && line.data[i] >= '0' && line.data[i] <= '9'
		       ? (unsigned)(line.data[i] - '0') % limit
		       : 0;
}

static void tell_image(struct ground *g, struct fg_span line)
{
	struct fg_image_progress p = {
		.kind = (enum fg_image_kind)digit(line, 0, 2),
		.state = (enum fg_image_state)digit(line, 1, FG_IMAGE_FAILED + 1),
		.fault = (enum fg_image_fault)digit(line, 2, FG_IMAGE_FAULT_REFUSED + 1),
		.have = line.size,
		.size = 2 * line.size + 1,
	};
	struct fg_span rest = line.size > 3 ? fg_span_of(line.data + 3, line.size - 3)
					    : (struct fg_span){.size = 0};

	p.device = fuzz_first_field(&rest);
	p.version = rest;
	p.only_grown = line.size % 2;
	p.error = p.state == FG_IMAGE_FAILED ? "it was \"not\" to be" : NULL;
	if (p.device.size <= 255 && fg_utf8_ok(p.device) && fg_utf8_ok(p.version))
		progress(g, &p);
}

static void sign_in(struct ground *g, struct fg_span line)
{
	struct fg_connect_request request = {.session = ""};
	struct fg_http_call call = {.method = "POST"};
	struct fg_http_sign_in as = {0};
	struct fg_http_result answer = {.status =
						100 + (unsigned)fuzz_first_field(&line).size % 500};
	int r;

	fg_plugin.disconnected(g->ctx, "");
	offer_left(g, "");
	g->carrier = FG_CARRIER_MQTT;
	REQUIRE(fg_plugin.http->sign_in(g->ctx, &request, &call) == 1 && fuzz_is_json(call.body));
	answer.body = line;
	r = fg_plugin.http->signed_in(g->ctx, "", &answer, &as);
	REQUIRE(r == 0 || r == -EACCES || r == -EAGAIN || r == -EPROTO);
	REQUIRE(as.renew_ms >= 0);
	if (r == 0)
		g->carrier = FG_CARRIER_HTTP;
	else
		begin_session(g);
}

static void act(void *arg, struct fg_span line)
{
	struct ground *g = arg;
	struct fg_span rest = fg_span_of(line.data + 1, line.size - 1);
	struct fg_settlement how = {.tag = g->tag, .n_messages = 1};

	if (*line.data && strchr("taprxqd", *line.data) && memchr(line.data, '\t', line.size) &&
	    line.data[1] == ' ') {
		offer(g, *line.data, fg_span_of(line.data + 2, line.size - 2));
	} else if (*line.data == 'E') {
		encode(g);
	} else if (*line.data == 'S') {
		how.reason_code = rest.size > 0 ? (unsigned char)*rest.data : 0;
		if (g->carrier == FG_CARRIER_HTTP)
			how.http_status = 200 + how.reason_code;
		fg_plugin.settled(g->ctx, "", &how);
	} else if (*line.data == 'W') {
		for (size_t i = 0; i < rest.size && i < 100; i++)
			fg_plugin.woken(g->ctx, (int64_t)i * 1000000);
	} else if (*line.data == 'I') {
		tell_image(g, rest);
	} else if (*line.data == 'H') {
		sign_in(g, rest);
	} else if (*line.data == 'X') {
		fg_plugin.disconnected(g->ctx, "");
		offer_left(g, "");
		g->carrier = FG_CARRIER_MQTT;
		begin_session(g);
	} else {
		deliver(g, line);
	}
}

/* A session in which all is acknowledged and nobody says a word: soon nothing waits any more. */
static void finish(struct ground *g)
{
	unsigned n = 0;

	fg_plugin.disconnected(g->ctx, "");
	offer_left(g, "");
	g->carrier = FG_CARRIER_MQTT;
	begin_session(g);
	for (unsigned second = 0; second < 2 * ANSWER_S; second++) {
		for (; encode(g); n++) {
			struct fg_settlement how = {.tag = g->tag, .n_messages = 1};

			REQUIRE(n < 5000);
			fg_plugin.settled(g->ctx, "", &how);
		}
		fg_plugin.woken(g->ctx, second * 1000000);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ground g = {0};

	if (size == 0)
		return 0;
	g.ctx = open_plugin(&g, *data);
	g.payload = malloc(PACKET_SIZE); /* exact, so that a sanitizer sees every byte beyond it */
	REQUIRE(g.payload);
	begin_session(&g);
	fuzz_each_line(data + 1, size - 1, act, &g);
	finish(&g);
	for (size_t i = 0; i < g.n_messages; i++)
		REQUIRE(g.states[i] != FG_OFFERED);
	fg_plugin.close(g.ctx);
	g.ctx = open_plugin(&g, *data); /* with what was remembered */
	fg_plugin.close(g.ctx);
	free(g.payload);
	return 0;
}
