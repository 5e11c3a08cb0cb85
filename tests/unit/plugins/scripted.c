#include "scripted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ allocations */

unsigned n_allocations;
long fail_at = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strndup(const char *text, size_t n);

static bool may_allocate(void)
{
	n_allocations++;
	return fail_at < 0 || fail_at-- > 0;
}

void *__wrap_malloc(size_t size)
{
	return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *memory, size_t size)
{
	return may_allocate() ? __real_realloc(memory, size) : NULL;
}

char *__wrap_strndup(const char *text, size_t n)
{
	return may_allocate() ? __real_strndup(text, n) : NULL;
}

/* ------------------------------------------------------------------ a ctx */

unsigned n_responses;

static void respond(void *host_ctx, struct fg_span ref, struct fg_span body)
{
	(void)host_ctx;
	assert_true(ref.size > 0 && body.size > 0);
	n_responses++;
}

static int rename_device(void *host_ctx, struct fg_span from, struct fg_span to)
{
	(void)host_ctx;
	assert_true(from.size > 0 && to.size > 0);
	return 0;
}

struct fg_host scripted_host;

int open_with(const struct setting *settings, void **ret_ctx)
{
	struct fg_value values[32] = {0};
	struct fg_open with = {
		.values = values, .host = &scripted_host, .link_name = "x", .gateway_name = "y"};
	const struct fg_option *option = fg_plugin.options;
	char error[256];

	scripted_host = quiet_host;
	scripted_host.respond = respond;
	scripted_host.rename = rename_device;
	for (size_t i = 0; option[i].name; i++) {
		values[i].is_set = option[i].fallback;
		if (option[i].type == FG_OPTION_STRING)
			values[i].string = option[i].fallback;
		else if (option[i].type == FG_OPTION_INTEGER)
			values[i].number = atoll(option[i].fallback);
		for (const struct setting *s = settings; s->name; s++)
			if (strcmp(s->name, option[i].name) == 0)
				values[i] = (struct fg_value){
					.is_set = true, .string = s->text, .number = s->number};
	}
	return fg_plugin.open(&with, ret_ctx, error, sizeof(error));
}

void begin_session(void *ctx, size_t max_packet_bytes)
{
	struct fg_connect_request request = {.session = "", .mqtt_version = 5};
	struct fg_connack connack = {.mqtt_version = 5, .max_packet_bytes = max_packet_bytes};
	struct fg_connect connect;

	assert_int_equal(fg_plugin.connect(ctx, &request, &connect), 0);
	fg_plugin.connected(ctx, "", &connack);
}

struct fg_message message(uint64_t seq, enum fg_kind kind, const char *device, const char *body)
{
	return (struct fg_message){
		.seq = seq,
		.time_us = (int64_t)seq * 1000,
		.kind = kind,
		.device = fg_span_str(device),
		.body = fg_span_str(body),
	};
}

int64_t now_us = 1000000000;
size_t max_points = SIZE_MAX;
char device_names[MAX_DEVICES][32];

struct wire wire;

int encode(void *ctx, const struct fg_message *messages, uint8_t *states, size_t count)
{
	wire.batch = (struct fg_batch){.messages = messages,
				       .states = states,
				       .count = count,
				       .max_take = count,
				       .max_points = {max_points, max_points},
				       .now_us = now_us};
	wire.out = (struct fg_publish){.topic = wire.topic,
				       .topic_size = sizeof(wire.topic),
				       .payload = wire.payload,
				       .payload_size = sizeof(wire.payload),
				       .qos = 1};
	return fg_plugin.encode(ctx, "", &wire.batch, &wire.out);
}

enum fg_verdict settle(void *ctx, uint64_t tag, unsigned code, size_t n_messages)
{
	struct fg_settlement how = {.tag = tag, .reason_code = code, .n_messages = n_messages};

	return fg_plugin.settled(ctx, "", &how);
}

void announce(void *ctx, const char *device)
{
	struct fg_message m = message(1, FG_PRESENCE, device, "{\"state\":\"up\"}");
	uint8_t state = FG_OFFERED;

	assert_int_equal(encode(ctx, &m, &state, 1), 1);
	assert_int_equal(state, FG_TAKEN);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 1), FG_ACCEPTED);
}

bool published_to(const char *topic)
{
	return strcmp(wire.topic, topic) == 0;
}

const struct setting token_only[] = {{"access_token", "A1", 0}, {0}};

void end_session(void *ctx)
{
	fg_plugin.disconnected(ctx, "");
}

int deliver(void *ctx, const char *topic, const char *payload)
{
	struct fg_delivery delivery = {
		.topic = topic, .payload = fg_span_str(payload), .qos = 1, .now_us = now_us};

	return fg_plugin.receive(ctx, "", &delivery);
}

void pass_second(void *ctx)
{
	now_us += 1000000;
	fg_plugin.woken(ctx, now_us);
}
