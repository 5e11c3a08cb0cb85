/*
 * What a reading costs between the journal and the socket: a plugin makes publishes of what 100 devices say,
 * four values each. The plugin is linked in; nothing is sent.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "stopwatch.h"
#include "util/span.h"

#define N_DEVICES 100
#define N_MESSAGES 500 /* of one encode() call; several of each device */
#define PACKET_SIZE 65536

extern const struct fg_plugin fg_plugin;

/* ------------------------------------------------------------------ a host that does nothing */

static void warn(void *host_ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(void *host_ctx, const char *format, ...)
{
	va_list args;

	(void)host_ctx;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static int subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	(void)host_ctx;
	(void)session;
	(void)filter;
	(void)qos;
	return 0;
}

static void refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
{
	(void)host_ctx;
	(void)batch;
	(void)i;
	fprintf(stderr, "refused: %s\n", format);
	exit(1);
}

static void wake(void *host_ctx, int64_t in_ms)
{
	(void)host_ctx;
	(void)in_ms;
}

static void limit(void *host_ctx, unsigned scope, enum fg_limit what, const struct fg_rate *rates,
		  size_t n)
{
	(void)host_ctx;
	(void)scope;
	(void)what;
	(void)rates;
	(void)n;
}

static int recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	(void)host_ctx;
	(void)key;
	(void)ret;
	return -1;
}

static bool wants_time(void *host_ctx)
{
	(void)host_ctx;
	return false;
}

static void image_tell(void *host_ctx)
{
	(void)host_ctx;
}

static const struct fg_host host = {
	.size = sizeof(host),
	.warn = warn,
	.subscribe = subscribe,
	.refuse = refuse,
	.wake = wake,
	.limit = limit,
	.recall = recall,
	.wants_time = wants_time,
	.image_tell = image_tell,
};

/* ------------------------------------------------------------------ options */

/* What the plugins need, and what would have them speak of something else than readings. */
static const struct {
	const char *name, *text;
} given[] = {
	{"device_id", "gateway"}, {"secret", "secret"}, {"product_id", "p1"},
	{"max_rate", "0"},        {"sync", "false"},    {"access_token", "token"},
	{"use_limits", "false"},
};

static const char *text_of(const struct fg_option *option)
{
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		if (strcmp(given[i].name, option->name) == 0)
			return given[i].text;
	return option->fallback;
}

static struct fg_value value_of(const struct fg_option *option)
{
	const char *text = text_of(option);
	struct fg_value value = {.is_set = text, .string = text};

	if (!text)
		return value;
	value.size = strlen(text);
	value.number = strtoll(text, NULL, 10);
	if (option->type == FG_OPTION_BOOLEAN)
		value.number = strcmp(text, "true") == 0;
	else if (option->type == FG_OPTION_DURATION)
		value.number = strstr(text, "min")  ? value.number * 60000
			       : strstr(text, "ms") ? value.number
						    : value.number * 1000;
	for (size_t i = 0; option->type == FG_OPTION_CHOICE && option->choices[i]; i++)
		if (strcmp(option->choices[i], text) == 0)
			value.number = (int64_t)i;
	return value;
}

static void *open_plugin(void)
{
	static struct fg_value values[128];
	struct fg_open with = {.values = values,
			       .host = &host,
			       .link_name = "bench",
			       .gateway_name = "bench",
			       .host_name = "localhost"};
	char error[256] = "";
	void *ctx;

	for (size_t i = 0; fg_plugin.options[i].name; i++)
		values[i] = value_of(&fg_plugin.options[i]);
	if (fg_plugin.open(&with, &ctx, error, sizeof(error)) < 0) {
		fprintf(stderr, "%s: %s\n", fg_plugin.name, error);
		exit(1);
	}
	return ctx;
}

/* ------------------------------------------------------------------ the measurement */

static struct {
	void *ctx;
	struct fg_message messages[N_MESSAGES];
	char names[N_DEVICES][32];
	char bodies[N_MESSAGES][128];
	uint64_t seq;
	uint64_t n_publishes, n_bytes;
} bench;

static struct fg_publish publish(char *topic, char *payload)
{
	return (struct fg_publish){.topic = topic,
				   .topic_size = 1024,
				   .payload = payload,
				   .payload_size = PACKET_SIZE,
				   .max_packet_bytes = PACKET_SIZE,
				   .qos = 1};
}

static void settle(uint64_t tag, size_t n_messages)
{
	struct fg_settlement how = {.tag = tag, .n_messages = n_messages};

	if (fg_plugin.settled)
		fg_plugin.settled(bench.ctx, "", &how);
}

/* All messages once, in as many publishes as it takes. */
static void round_of_messages(void *arg)
{
	static char topic[1024], payload[PACKET_SIZE];
	static uint8_t states[N_MESSAGES];
	size_t n_open = N_MESSAGES, before;

	(void)arg;
	memset(states, 0, sizeof(states));
	for (size_t i = 0; i < N_MESSAGES; i++)
		bench.messages[i].seq = ++bench.seq;
	while (n_open > 0) {
		struct fg_publish out = publish(topic, payload);
		struct fg_batch batch = {.messages = bench.messages,
					 .states = states,
					 .count = N_MESSAGES,
					 .max_take = SIZE_MAX,
					 .max_points = {SIZE_MAX, SIZE_MAX},
					 .now_us = 1718000000000000};

		if (fg_plugin.encode(bench.ctx, "", &batch, &out) != 1) {
			fprintf(stderr, "%s has nothing to say of %zu messages\n", fg_plugin.name,
				n_open);
			exit(1);
		}
		before = n_open;
		n_open = 0;
		for (size_t i = 0; i < N_MESSAGES; i++)
			n_open += states[i] == FG_OFFERED;
		bench.n_publishes++;
		bench.n_bytes += out.payload_len;
		settle(out.tag, before - n_open);
	}
}

int main(void)
{
	const struct fg_connack connack = {.mqtt_version = 4};

	for (size_t i = 0; i < N_DEVICES; i++)
		snprintf(bench.names[i], sizeof(bench.names[i]), "pump-%03zu", i);
	for (size_t i = 0; i < N_MESSAGES; i++) {
		int n = snprintf(bench.bodies[i], sizeof(bench.bodies[i]),
				 "{\"temperature\":%zu.50,\"humidity\":48.2,\"pressure\":1013.25,"
				 "\"running\":true}",
				 10 + i % 90);

		bench.messages[i] = (struct fg_message){
			.time_us = 1718000000000000 + (int64_t)i * 1000,
			.kind = FG_TELEMETRY,
			.device = fg_span_str(bench.names[i % N_DEVICES]),
			.stream = fg_span_str("climate"),
			.body = fg_span_of(bench.bodies[i], (size_t)n),
		};
	}
	bench.ctx = open_plugin();
	if (fg_plugin.connected)
		fg_plugin.connected(bench.ctx, "", &connack);
	round_of_messages(NULL);
	stopwatch_measure(fg_plugin.name, 200, round_of_messages, NULL);
	printf("%-52s %9d messages, %.1f publishes of %.0f bytes on average\n",
	       "  of each such round:", N_MESSAGES,
	       (double)bench.n_publishes / ((double)bench.seq / N_MESSAGES),
	       (double)bench.n_bytes / (double)bench.n_publishes);
	fg_plugin.close(bench.ctx);
	return 0;
}
