/*
 * Cloud and devices of the benchmark `command`: sends commands to the far broker as ThingsBoard would,
 * and is, at the near broker, all the devices they are for. Both ends are one process, so one clock
 * tells how long each way took. Prints one JSON object.
 *
 *	--rate N    send N a second, answer each at once
 *	--hold      send all, print "held" when all have arrived, read a line, then answer all
 *	--echo      no gateway: publish to the near broker what it sends back, for comparison
 */
#include "tool.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_SIZE (1u << 20)
#define PROBE_PAUSE_NS 100000000u
#define TIMEOUT_NS 60000000000u

struct peer {
	int fd;
	uint8_t *in;
	size_t used;
};

/* What is known of one command. */
struct sent {
	uint64_t sent_ns, arrived_ns, answered_ns, back_ns;
	char answer_topic[80];
};

static struct {
	unsigned far_port, near_port, commands, devices, rate;
	bool holds, is_echo;
} options = {.commands = 1000, .devices = 1, .rate = 200};

static struct peer far, near;
static struct sent *commands;
static unsigned n_arrived, n_back, n_twice;
static bool has_probed, is_answering;

static void connect_peer(struct peer *p, unsigned port, const char *client_id)
{
	p->fd = wire_connect((uint16_t)port, client_id, 5000000000u);
	p->in = malloc(IN_SIZE);
	if (p->fd < 0 || !p->in)
		tool_fail("connect", p->fd);
}

/* At QoS 0: what is measured is the way, not our own broker's bookkeeping. */
static void publish(struct peer *p, const char *topic, const char *payload)
{
	size_t topic_size = strlen(topic), payload_size = strlen(payload), at;
	uint8_t packet[600] = {WIRE_PUBLISH};
	int r;

	at = 1 + wire_put_length(packet + 1, 2 + topic_size + payload_size);
	packet[at++] = (uint8_t)(topic_size >> 8);
	packet[at++] = (uint8_t)topic_size;
	memcpy(packet + at, topic, topic_size);
	memcpy(packet + at + topic_size, payload, payload_size);
	r = wire_write_all(p->fd, packet, at + topic_size + payload_size);
	if (r < 0)
		tool_fail("publish", r);
}

static void subscribe(struct peer *p, const char *filter)
{
	size_t size = strlen(filter);
	uint8_t packet[100] = {0x82, (uint8_t)(2 + 2 + size + 1), 0, 1, 0, (uint8_t)size};
	int r;

	memcpy(packet + 6, filter, size);
	r = wire_write_all(p->fd, packet, 7 + size);
	if (r < 0)
		tool_fail("subscribe", r);
}

/* ---- what is sent, and what comes */

/* A number above those that are counted only asks whether the way is open. The same command of another
 * run is another one. */
static void send_command(unsigned n)
{
	char payload[200];

	if (n < options.commands)
		commands[n].sent_ns = wire_now_ns();
	if (options.is_echo) {
		snprintf(payload, sizeof(payload), "{\"n\":%u}", n);
		publish(&near, "cmd/d/go/echo", payload);
		return;
	}
	snprintf(payload, sizeof(payload),
		 "{\"device\":\"d%u\",\"data\":{\"id\":%u,\"method\":\"go\","
		 "\"params\":{\"n\":%u,\"run\":%d}}}",
		 n % options.devices, n, n, (int)getpid());
	publish(&far, "v1/gateway/rpc", payload);
}

static void answer(struct sent *c)
{
	c->answered_ns = wire_now_ns();
	publish(&near, c->answer_topic, "{\"done\":true}");
}

/* @topic: cmd/DEVICE/go/ID */
static void arrived(const char *topic, const char *payload)
{
	uint64_t now_ns = wire_now_ns();
	char device[20], id[40];
	struct sent probe, *c;
	unsigned n;

	if (sscanf(payload, "{\"n\":%u", &n) != 1 ||
	    sscanf(topic, "cmd/%19[^/]/go/%39s", device, id) != 2)
		tool_fail(topic, -EPROTO);
	has_probed = true;
	c = n < options.commands ? &commands[n] : &probe;
	snprintf(c->answer_topic, sizeof(c->answer_topic), "done/%s/%s", device, id);
	if (c != &probe) {
		n_twice += c->arrived_ns > 0;
		n_arrived += c->arrived_ns == 0;
		c->arrived_ns = now_ns;
	}
	if (!options.is_echo && (!options.holds || is_answering || c == &probe))
		answer(c);
}

/* {"device":"d7","id":7,"data":{"done":true}} */
static void came_back(const char *payload)
{
	unsigned n;

	if (sscanf(payload, "{\"device\":\"d%*u\",\"id\":%u", &n) != 1 || n >= options.commands)
		return; /* a command, as everybody there gets it; or a probe's answer */
	n_back += commands[n].back_ns == 0;
	commands[n].back_ns = wire_now_ns();
}

static void take_publish(const struct peer *p, const uint8_t *packet, size_t size, size_t body)
{
	size_t topic_size = (size_t)packet[body] << 8 | packet[body + 1];
	char topic[100], payload[400];

	if (body + 2 + topic_size > size || topic_size >= sizeof(topic) ||
	    size - body - 2 - topic_size >= sizeof(payload))
		tool_fail("PUBLISH", -EPROTO);
	snprintf(topic, sizeof(topic), "%.*s", (int)topic_size, (const char *)packet + body + 2);
	snprintf(payload, sizeof(payload), "%.*s", (int)(size - body - 2 - topic_size),
		 (const char *)packet + body + 2 + topic_size);
	if (p == &near)
		arrived(topic, payload);
	else
		came_back(payload);
}

static void receive(struct peer *p)
{
	size_t at = 0, body = 0;
	int64_t size;
	ssize_t n = read(p->fd, p->in + p->used, IN_SIZE - p->used);

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
		tool_fail("read", n < 0 ? -errno : -ECONNRESET);
	p->used += (size_t)n;
	while ((size = wire_frame(p->in + at, p->used - at, &body)) > 0) {
		if ((p->in[at] & 0xf0) == WIRE_PUBLISH)
			take_publish(p, p->in + at, (size_t)size, body);
		at += (size_t)size;
	}
	if (size < 0)
		tool_fail("packet", -EPROTO);
	memmove(p->in, p->in + at, p->used - at);
	p->used -= at;
}

/* Take what comes until @until_ns. */
static void wait_until(uint64_t until_ns)
{
	uint64_t now_ns = wire_now_ns();
	struct pollfd polled[] = {{.fd = far.fd, .events = POLLIN},
				  {.fd = near.fd, .events = POLLIN}};
	struct timespec wait;

	if (now_ns > until_ns)
		until_ns = now_ns;
	wait.tv_sec = (time_t)((until_ns - now_ns) / 1000000000u);
	wait.tv_nsec = (long)((until_ns - now_ns) % 1000000000u);
	if (ppoll(polled, 2, &wait, NULL) <= 0)
		return;
	if (polled[0].revents)
		receive(&far);
	if (polled[1].revents)
		receive(&near);
}

static void wait_count(const unsigned *n, const char *what)
{
	uint64_t give_up_ns = wire_now_ns() + TIMEOUT_NS;

	while (*n < options.commands) {
		if (wire_now_ns() > give_up_ns)
			tool_fail(what, -ETIMEDOUT);
		wait_until(give_up_ns);
	}
}

/* ---- the run */

static void open_up(void)
{
	for (unsigned i = 0; !has_probed; i++) {
		uint64_t until_ns = wire_now_ns() + PROBE_PAUSE_NS;

		if (i == 300)
			tool_fail("no command gets through", -ETIMEDOUT);
		send_command(options.commands + i);
		while (!has_probed && wire_now_ns() < until_ns)
			wait_until(until_ns);
	}
}

static void send_all(void)
{
	uint64_t start_ns = wire_now_ns();

	for (unsigned n = 0; n < options.commands; n++) {
		uint64_t due_ns = start_ns + (uint64_t)n * 1000000000u / options.rate;

		while (wire_now_ns() < due_ns)
			wait_until(due_ns);
		send_command(n);
	}
	wait_count(&n_arrived, "not all commands arrive");
}

static void answer_all(void)
{
	char line[10];

	puts("held");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		tool_fail("stdin", -EPIPE);
	is_answering = true;
	for (unsigned n = 0; n < options.commands; n++)
		answer(&commands[n]);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print_times(const char *name, bool is_back)
{
	uint64_t *ns = malloc(options.commands * sizeof(*ns));
	unsigned n = options.commands;

	if (!ns)
		tool_fail("memory", -ENOMEM);
	for (unsigned i = 0; i < n; i++)
		ns[i] = is_back ? commands[i].back_ns - commands[i].answered_ns
				: commands[i].arrived_ns - commands[i].sent_ns;
	qsort(ns, n, sizeof(*ns), compare_u64);
	printf("\"%s\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f},", name, (double)ns[n / 2] / 1e3,
	       (double)ns[n * 99 / 100] / 1e3, (double)ns[n - 1] / 1e3);
	free(ns);
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {{"far", required_argument, NULL, 'f'},
					      {"near", required_argument, NULL, 'n'},
					      {"commands", required_argument, NULL, 'c'},
					      {"devices", required_argument, NULL, 'd'},
					      {"rate", required_argument, NULL, 'r'},
					      {"hold", no_argument, NULL, 'h'},
					      {"echo", no_argument, NULL, 'e'},
					      {0}};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		unsigned value = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;

		switch (c) {
		case 'f':
			options.far_port = value;
			break;
		case 'n':
			options.near_port = value;
			break;
		case 'c':
			options.commands = value;
			break;
		case 'd':
			options.devices = value;
			break;
		case 'r':
			options.rate = value;
			break;
		case 'h':
			options.holds = true;
			break;
		case 'e':
			options.is_echo = true;
			break;
		default:
			exit(2);
		}
	}
	if (options.commands == 0 || options.devices == 0 || options.rate == 0)
		tool_fail("arguments", -EINVAL);
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	commands = calloc(options.commands, sizeof(*commands));
	if (!commands)
		tool_fail("memory", -ENOMEM);
	connect_peer(&far, options.far_port, "bench-cloud");
	connect_peer(&near, options.near_port, "bench-devices");
	subscribe(&far, "v1/gateway/rpc");
	subscribe(&near, "cmd/+/go/+");
	open_up();
	send_all();
	if (options.holds)
		answer_all();
	if (!options.is_echo)
		wait_count(&n_back, "not all answers come back");
	printf("{");
	print_times("down_us", false);
	if (!options.is_echo)
		print_times("up_us", true);
	printf("\"commands\":%u,\"twice\":%u}\n", options.commands, n_twice);
	return 0;
}
