/*
 * Input: one byte of options, then lines. The first byte of a line says what happens: t, a, p, e, r
 * a message (up to a tab its device, then its body), E encode, S a settlement (code in the next
 * byte), X a broken session, anything else a delivery (up to a tab its topic, then its payload).
 * What is checked: nothing is read or written outside its buffer, each publish is JSON within the
 * limit as long as the bodies are JSON, and no message stays behind that waits for nothing.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/json.h"
#include "model/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const struct fg_plugin fg_plugin;

#define REQUIRE(claim)                                                                             \
	do {                                                                                       \
		if (!(claim))                                                                      \
			abort();                                                                   \
	} while (0)

#define MAX_MESSAGES 64
#define MAX_FLIGHTS 64
#define PACKET_SIZE 1024

struct ground {
	void *ctx;
	struct fg_message messages[MAX_MESSAGES];
	uint8_t states[MAX_MESSAGES];
	size_t n_messages;
	uint64_t tags[MAX_FLIGHTS];
	size_t n_flights;
	bool has_broken_body; /* then a payload need not be JSON */
	char *payload;
	uint64_t seq;
};

static void warn(void *host_ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(void *host_ctx, const char *format, ...)
{
	char text[512];
	va_list args;

	(void)host_ctx;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
}

static const struct fg_host host = {.size = sizeof(struct fg_host), .warn = warn};

static void *open_plugin(uint8_t flags)
{
	struct fg_value values[32] = {0};
	struct fg_open with = {
		.values = values, .host = &host, .link_name = "x", .gateway_name = "y"};
	const struct fg_option *option = fg_plugin.options;
	char error[256];
	void *ctx = NULL;

	for (size_t i = 0; option[i].name; i++) {
		values[i].is_set = option[i].fallback;
		if (option[i].type == FG_OPTION_CHOICE) {
			values[i].number = flags & 1;
			flags >>= 1;
		} else if (option[i].type == FG_OPTION_INTEGER) {
			values[i].number = strcmp(option[i].name, "max_devices") ? PACKET_SIZE : 3;
		} else if (option[i].type == FG_OPTION_STRING) {
			values[i].string = option[i].fallback;
		} else if (strcmp(option[i].name, "access_token") == 0) {
			values[i].is_set = true;
			values[i].string = "A1";
		}
	}
	REQUIRE(fg_plugin.open(&with, &ctx, error, sizeof(error)) == 0);
	return ctx;
}

static void begin_session(struct ground *g)
{
	struct fg_connack connack = {.mqtt_version = 5};

	fg_plugin.connected(g->ctx, "", &connack);
}

static void encode(struct ground *g, size_t max_take)
{
	char topic[64];
	struct fg_batch batch = {.messages = g->messages,
				 .states = g->states,
				 .count = g->n_messages,
				 .max_take = max_take};
	struct fg_publish out = {.topic = topic,
				 .topic_size = sizeof(topic),
				 .payload = g->payload,
				 .payload_size = PACKET_SIZE};
	struct fg_json_value value;
	struct fg_json_fault fault;
	int r = fg_plugin.encode(g->ctx, "", &batch, &out);

	REQUIRE(r == 0 || r == 1);
	if (r == 0) {
		for (size_t i = 0; g->n_flights == 0 && i < g->n_messages; i++)
			REQUIRE(g->states[i] != FG_OFFERED || max_take == 0);
		return;
	}
	REQUIRE(2 + strlen(topic) + 2 + 1 + out.payload_len <= PACKET_SIZE);
	REQUIRE(g->has_broken_body ||
		fg_json_check(fg_span_of(g->payload, out.payload_len), &value, &fault) == 0);
	if (g->n_flights < MAX_FLIGHTS)
		g->tags[g->n_flights++] = out.tag;
}

static void settle(struct ground *g, unsigned code)
{
	struct fg_settlement how = {.reason_code = code, .n_messages = 1};

	if (g->n_flights == 0)
		return;
	how.tag = g->tags[--g->n_flights];
	fg_plugin.settled(g->ctx, "", &how);
}

/* What stands before the first tab of @line, which moves behind it. */
static struct fg_span first_field(struct fg_span *line)
{
	const char *tab = line->size > 0 ? memchr(line->data, '\t', line->size) : NULL;
	struct fg_span field = *line;

	if (!tab) {
		*line = (struct fg_span){0};
		return field;
	}
	field.size = (size_t)(tab - line->data);
	line->data = tab + 1;
	line->size -= field.size + 1;
	return field;
}

static void offer(struct ground *g, enum fg_kind kind, struct fg_span line)
{
	struct fg_span device = first_field(&line);
	struct fg_json_value value;
	struct fg_json_fault fault;

	if (g->n_messages == MAX_MESSAGES || device.size == 0 || device.size > 255 ||
	    !fg_utf8_ok(device))
		return;
	if (fg_json_check(line, &value, &fault) < 0)
		g->has_broken_body = true;
	g->states[g->n_messages] = FG_OFFERED;
	g->messages[g->n_messages++] = (struct fg_message){
		.seq = ++g->seq,
		.time_us = (int64_t)(g->seq * 7919 % 13) * 1000,
		.kind = kind,
		.time_quality = g->seq % 2 ? FG_TIME_DEVICE : FG_TIME_GATEWAY,
		.device = device,
		.body = line,
	};
}

static void deliver(struct ground *g, struct fg_span line)
{
	char topic[64];
	struct fg_span field = first_field(&line);
	struct fg_delivery delivery = {.topic = topic, .payload = line};
	int r;

	snprintf(topic, sizeof(topic), "%.*s", field.size < 63 ? (int)field.size : 63,
		 field.size > 0 ? field.data : "");
	r = fg_plugin.receive(g->ctx, "", &delivery);
	REQUIRE(r == 0 || r == -EPROTO);
}

static void act(struct ground *g, struct fg_span line)
{
	static const char letters[] = "tapre";
	const char *letter = *line.data ? strchr(letters, *line.data) : NULL;
	struct fg_span rest = fg_span_of(line.data + 1, line.size - 1);

	if (letter) {
		offer(g, (enum fg_kind)(letter - letters + 1), rest);
	} else if (*line.data == 'E') {
		encode(g, rest.size > 0 ? (unsigned char)*rest.data % MAX_MESSAGES : MAX_MESSAGES);
	} else if (*line.data == 'S') {
		settle(g, rest.size > 0 ? (unsigned char)*rest.data : 0);
	} else if (*line.data == 'X') {
		fg_plugin.disconnected(g->ctx, "");
		g->n_flights = 0;
		begin_session(g);
	} else {
		deliver(g, line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ground g = {0};
	const char *at = (const char *)data, *end = at + size, *stop;

	if (size == 0)
		return 0;
	g.ctx = open_plugin(*data);
	g.payload = malloc(PACKET_SIZE); /* exact, so that a sanitizer sees every byte beyond it */
	REQUIRE(g.payload);
	begin_session(&g);
	for (at++; at < end; at = stop + 1) {
		stop = memchr(at, '\n', (size_t)(end - at));
		stop = stop ? stop : end;
		if (stop > at)
			act(&g, fg_span_of(at, (size_t)(stop - at)));
	}
	encode(&g, MAX_MESSAGES);
	fg_plugin.close(g.ctx);
	free(g.payload);
	return 0;
}
