/*
 * Sink: subscribes at the far broker and looks for samples ("n":…) in whatever arrives, single or
 * many in one payload. Knows which of 0..expect-1 it has seen, how often, when, and how long each
 * took ("t":…). Prints "ready" once subscribed, and one JSON object at the end: when all expected
 * samples are there, when the last one (the marker) is there with --until-last, or at the time-out.
 */
#include "tool.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IN_SIZE (4u << 20) /* the largest packet it can take */
#define MAX_TOPICS 8

static struct {
	unsigned port, expect, timeout_s;
	bool until_last, has_latency;
	unsigned long long sys_received;
	const char *topics[MAX_TOPICS];
	unsigned n_topics;
	unsigned connect_s;
} options = {.timeout_s = 120, .connect_s = 5};

static struct {
	uint8_t *seen;        /* one bit for each n */
	uint32_t *latency_us; /* one for each distinct sample, in order of arrival */
	uint32_t n_distinct, n_duplicates, n_foreign;
	uint64_t n_publishes, payload_bytes;
	uint64_t first_ns, last_ns;
	unsigned long long sys_received;
	bool is_last_seen;
} state;

static uint64_t digits(const char *at, const char *end)
{
	uint64_t value = 0;

	while (at < end && *at >= '0' && *at <= '9')
		value = value * 10 + (uint64_t)(*at++ - '0');
	return value;
}

static void take_sample(const char *at, const char *end, uint64_t now_ns)
{
	uint64_t n = digits(at, end) - WIRE_N_BASE;

	if (n >= options.expect) {
		state.n_foreign++;
		return;
	}
	if (state.seen[n / 8] & (1u << (n % 8))) {
		state.n_duplicates++;
		return;
	}
	state.seen[n / 8] |= (uint8_t)(1u << (n % 8));
	if (state.first_ns == 0)
		state.first_ns = now_ns;
	state.last_ns = now_ns;
	if (n == options.expect - 1)
		state.is_last_seen = true;
	if (options.has_latency) {
		const char *t = memmem(at, (size_t)(end - at), "\"t\":", 4);
		uint64_t sent_ns = t ? digits(t + 4, end) - WIRE_T_BASE : 0;

		if (!t || sent_ns > now_ns)
			tool_fail("a sample without its time", -EPROTO);
		state.latency_us[state.n_distinct] = (uint32_t)((now_ns - sent_ns) / 1000u);
	}
	state.n_distinct++;
}

static void take_publish(const uint8_t *packet, size_t size, size_t body)
{
	size_t topic_size = (size_t)packet[body] << 8 | packet[body + 1];
	const char *at = (const char *)packet + body + 2 + topic_size;
	const char *end = (const char *)packet + size;
	uint64_t now_ns = wire_now_ns();

	if (body + 2 + topic_size > size)
		tool_fail("PUBLISH", -EPROTO);
	if (topic_size > 0 && packet[body + 2] == '$') {
		state.sys_received = digits(at, end);
		return;
	}
	state.n_publishes++;
	state.payload_bytes += (uint64_t)(end - at);
	while ((at = memmem(at, (size_t)(end - at), "\"n\":", 4))) {
		at += 4;
		take_sample(at, end, now_ns);
	}
}

static bool is_done(void)
{
	return options.until_last ? state.is_last_seen : state.n_distinct >= options.expect;
}

static void subscribe(int fd, const char *filter, uint8_t packet_id)
{
	size_t size = strlen(filter);
	uint8_t packet[256] = {0x82, (uint8_t)(2 + 2 + size + 1), 0, packet_id, 0, (uint8_t)size};
	int r;

	if (size > 100)
		tool_fail("filter", -EINVAL);
	memcpy(packet + 6, filter, size); /* the QoS that follows is 0 */
	r = wire_write_all(fd, packet, 7 + size);
	if (r < 0)
		tool_fail("subscribe", r);
}

/** Read once, take all whole packets. Returns how many SUBACKs were among them. */
static unsigned receive(int fd, uint8_t *in, size_t *in_used)
{
	unsigned n_subacks = 0;
	size_t at = 0, body = 0;
	int64_t size;
	ssize_t n = read(fd, in + *in_used, IN_SIZE - *in_used);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		tool_fail("read", n < 0 ? -errno : -ECONNRESET);
	*in_used += (size_t)n;
	while ((size = wire_frame(in + at, *in_used - at, &body)) > 0) {
		uint8_t type = in[at] & 0xf0;

		if (type == WIRE_PUBLISH)
			take_publish(in + at, (size_t)size, body);
		else if (type == WIRE_SUBACK)
			n_subacks++;
		at += (size_t)size;
	}
	if (size < 0 || (at == 0 && *in_used == IN_SIZE))
		tool_fail("packet", -EPROTO);
	memmove(in, in + at, *in_used - at);
	*in_used -= at;
	return n_subacks;
}

/** Wait for input until @until_ns. Returns false when the time is over. */
static bool wait_input(int fd, uint64_t until_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now_ns = wire_now_ns();

	if (now_ns >= until_ns)
		return false;
	poll(&p, 1, (int)((until_ns - now_ns) / 1000000u) + 1);
	return true;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print_latency(void)
{
	static const struct {
		const char *name;
		double rank;
	} ranks[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}};

	qsort(state.latency_us, state.n_distinct, sizeof(uint32_t), compare_u32);
	printf(", \"latency_us\": {");
	for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
		size_t at = (size_t)(ranks[i].rank * (double)(state.n_distinct - 1) + 0.5);

		printf("%s\"%s\": %u", i ? ", " : "", ranks[i].name, state.latency_us[at]);
	}
	printf("}");
}

static void usage(FILE *to)
{
	fputs("usage: sink --port PORT --topic FILTER... --expect N [--until-last] [--latency]\n"
	      "            [--sys-received N] [--connect-timeout S] [--timeout S]\n",
	      to);
}

static void read_options(int argc, char **argv)
{
	static const struct option table[] = {
		{"port", required_argument, NULL, 'p'},
		{"topic", required_argument, NULL, 't'},
		{"expect", required_argument, NULL, 'e'},
		{"until-last", no_argument, NULL, 'u'},
		{"latency", no_argument, NULL, 'l'},
		{"sys-received", required_argument, NULL, 's'},
		{"connect-timeout", required_argument, NULL, 'c'},
		{"timeout", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (c) {
		case 'p':
			options.port = tool_number(optarg, 65535);
			break;
		case 't':
			if (options.n_topics == MAX_TOPICS)
				tool_fail("topics", -E2BIG);
			options.topics[options.n_topics++] = optarg;
			break;
		case 'e':
			options.expect = tool_number(optarg, WIRE_N_MAX);
			break;
		case 'u':
			options.until_last = true;
			break;
		case 'l':
			options.has_latency = true;
			break;
		case 's':
			options.sys_received = tool_number(optarg, 4000000000u);
			break;
		case 'c':
			options.connect_s = tool_number(optarg, 3600);
			break;
		case 'o':
			options.timeout_s = tool_number(optarg, 3600);
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (options.port == 0 || options.n_topics == 0 || options.expect == 0) {
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	unsigned n_subacks = 0;
	size_t in_used = 0;
	uint64_t until_ns;
	char id[32];
	uint8_t *in;
	int fd;

	read_options(argc, argv);
	in = malloc(IN_SIZE);
	state.seen = calloc(1, options.expect / 8 + 1);
	state.latency_us = calloc(options.has_latency ? options.expect : 1, sizeof(uint32_t));
	if (!in || !state.seen || !state.latency_us)
		tool_fail("memory", -ENOMEM);
	snprintf(id, sizeof(id), "bench-sink-%d", (int)getpid());
	fd = wire_connect((uint16_t)options.port, id, options.connect_s * 1000000000ull);
	if (fd < 0)
		tool_fail("connect", fd);
	until_ns = wire_now_ns() + options.timeout_s * 1000000000ull;

	for (unsigned i = 0; i < options.n_topics; i++)
		subscribe(fd, options.topics[i], (uint8_t)(i + 1));
	while (n_subacks < options.n_topics && wait_input(fd, until_ns))
		n_subacks += receive(fd, in, &in_used);
	puts("ready");
	fflush(stdout);

	while (!is_done() && wait_input(fd, until_ns))
		receive(fd, in, &in_used);

	/* The broker's own count of what it received, for runs in which this sink sees the marker
	 * only. */
	if (options.sys_received > 0) {
		subscribe(fd, "$SYS/broker/publish/messages/received", 100);
		while (state.sys_received < options.sys_received && wait_input(fd, until_ns))
			receive(fd, in, &in_used);
	}

	printf("{\"done\": %s, \"distinct\": %u, \"duplicates\": %u, \"foreign\": %u, "
	       "\"publishes\": %llu, \"payload_bytes\": %llu, \"first_ns\": %llu, \"last_ns\": "
	       "%llu, "
	       "\"sys_received\": %llu",
	       is_done() ? "true" : "false", state.n_distinct, state.n_duplicates, state.n_foreign,
	       (unsigned long long)state.n_publishes, (unsigned long long)state.payload_bytes,
	       (unsigned long long)state.first_ns, (unsigned long long)state.last_ns,
	       state.sys_received);
	if (options.has_latency && state.n_distinct > 0)
		print_latency();
	puts("}");
	free(in);
	free(state.seen);
	free(state.latency_us);
	close(fd);
	return is_done() ? 0 : 1;
}
