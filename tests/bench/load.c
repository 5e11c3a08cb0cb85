/*
 * Load generator: N publishers in one process, each with its own connection and device name,
 * sending JSON telemetry of 100 bytes at QoS 1 to sensors/<device>/climate. As fast as a window of
 * unacknowledged publishes per publisher allows, or at a constant rate that does not wait for
 * anybody. When all are acknowledged one more sample, the marker, goes to
 * sensors/bench-end/climate: whoever keeps the order sees it last. Prints one JSON object.
 */
#include "tool.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD_SIZE 100
#define OUT_SIZE 32768u /* what one write carries at most: some 240 publishes */
#define MAX_PUBLISHERS 1000u

static const char sample[] = "{\"ts\":0000000000000,\"n\":00000000,\"t\":0000000000000000,"
			     "\"temp\":21.50,\"hum\":48.25,\"note\":\"all is well\"}";
#define TS_AT 6
#define N_AT 24
#define T_AT 37
#define TEMP_AT 64 /* its fraction */

_Static_assert(sizeof(sample) - 1 == PAYLOAD_SIZE, "the sample has the size that is advertised");

struct publisher {
	int fd;
	unsigned index;
	uint32_t n_all, n_made, n_acked; /* messages */
	uint16_t packet_id;
	uint8_t shape[192]; /* one PUBLISH, to be copied and patched */
	size_t shape_size, id_at, payload_at;
	uint8_t *out; /* OUT_SIZE */
	size_t out_used, out_sent;
	uint8_t in[4];
	size_t in_used;
	bool wants_write;
};

static struct {
	unsigned port, n_publishers, n_messages, window, rate, first_n;
	unsigned timeout_s;
	bool no_marker;
	const char *prefix;
} options = {
	.n_publishers = 1, .n_messages = 1000, .window = 1000, .timeout_s = 120, .prefix = "dev"};

static struct publisher publishers[MAX_PUBLISHERS];
static int epoll_fd = -1;

static void put_digits(uint8_t *at, size_t width, uint64_t value)
{
	while (width-- > 0) {
		at[width] = (uint8_t)('0' + value % 10);
		value /= 10;
	}
}

static uint64_t utc_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static void publisher_shape(struct publisher *p, const char *device)
{
	char topic[64];
	size_t topic_size = (size_t)snprintf(topic, sizeof(topic), "sensors/%s/climate", device);
	uint8_t *at = p->shape;

	*at++ = WIRE_PUBLISH | 0x02; /* QoS 1 */
	at += wire_put_length(at, 2 + topic_size + 2 + PAYLOAD_SIZE);
	*at++ = 0;
	*at++ = (uint8_t)topic_size;
	memcpy(at, topic, topic_size);
	at += topic_size;
	p->id_at = (size_t)(at - p->shape);
	at += 2;
	p->payload_at = (size_t)(at - p->shape);
	memcpy(at, sample, PAYLOAD_SIZE);
	p->shape_size = p->payload_at + PAYLOAD_SIZE;
}

static void publisher_make(struct publisher *p, uint32_t n, uint64_t ms, uint64_t now_ns)
{
	uint8_t *at = p->out + p->out_used;
	uint8_t *payload = at + p->payload_at;

	memcpy(at, p->shape, p->shape_size);
	if (++p->packet_id == 0)
		p->packet_id = 1;
	at[p->id_at] = (uint8_t)(p->packet_id >> 8);
	at[p->id_at + 1] = (uint8_t)p->packet_id;
	put_digits(payload + TS_AT, 13, ms);
	put_digits(payload + N_AT, 8, WIRE_N_BASE + n);
	put_digits(payload + T_AT, 16, WIRE_T_BASE + now_ns);
	put_digits(payload + TEMP_AT, 2, n % 100);
	p->out_used += p->shape_size;
	p->n_made++;
}

static void publisher_watch_write(struct publisher *p, bool on)
{
	struct epoll_event event = {.events = EPOLLIN | (on ? (uint32_t)EPOLLOUT : 0u),
				    .data.ptr = p};

	if (p->wants_write == on)
		return;
	p->wants_write = on;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, p->fd, &event) < 0)
		tool_fail("epoll_ctl", -errno);
}

/** Write what lies in the buffer. Returns true when nothing is left. */
static bool publisher_flush(struct publisher *p)
{
	while (p->out_sent < p->out_used) {
		ssize_t n = write(p->fd, p->out + p->out_sent, p->out_used - p->out_sent);

		if (n < 0 && errno == EAGAIN) {
			publisher_watch_write(p, true);
			return false;
		}
		if (n < 0)
			tool_fail("write", -errno);
		p->out_sent += (size_t)n;
	}
	p->out_used = p->out_sent = 0;
	publisher_watch_write(p, false);
	return true;
}

/** Send whatever the window allows, many publishes in one write. */
static void publisher_pump(struct publisher *p)
{
	while (publisher_flush(p)) {
		uint64_t ms = utc_ms(), now_ns = wire_now_ns();
		uint32_t room = options.window - (p->n_made - p->n_acked);

		while (room > 0 && p->n_made < p->n_all &&
		       p->out_used + p->shape_size <= OUT_SIZE) {
			publisher_make(
				p, options.first_n + p->index + p->n_made * options.n_publishers,
				ms, now_ns);
			room--;
		}
		if (p->out_used == 0)
			return;
	}
}

/** Count the PUBACKs. Returns how many came. */
static uint32_t publisher_read(struct publisher *p)
{
	uint8_t data[16384];
	uint32_t n_acked = 0;
	ssize_t n = read(p->fd, data, sizeof(data));

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		tool_fail("read", n < 0 ? -errno : -ECONNRESET);
	for (ssize_t i = 0; i < n; i++) {
		p->in[p->in_used++] = data[i];
		if (p->in_used < 4)
			continue;
		if (p->in[0] != WIRE_PUBACK)
			tool_fail("expected PUBACK", -EPROTO);
		p->in_used = 0;
		n_acked++;
	}
	p->n_acked += n_acked;
	return n_acked;
}

static void publisher_open(struct publisher *p, unsigned index)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
	char id[64], device[32];

	p->index = index;
	p->n_all = options.n_messages / options.n_publishers +
		   (index < options.n_messages % options.n_publishers);
	snprintf(device, sizeof(device), "%.16s-%04u", options.prefix, index);
	snprintf(id, sizeof(id), "bench-load-%s", device);
	publisher_shape(p, device);
	p->out = malloc(OUT_SIZE);
	if (!p->out)
		tool_fail("memory", -ENOMEM);
	p->fd = wire_connect((uint16_t)options.port, id, 5000000000u);
	if (p->fd < 0)
		tool_fail("connect", p->fd);
	if (fcntl(p->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &event) < 0)
		tool_fail("epoll", -errno);
}

/** The marker, after everything else has been acknowledged. Returns when it has been, too. */
static uint64_t send_marker(void)
{
	struct publisher *p = &publishers[0];
	uint8_t answer[4];
	uint64_t now_ns = wire_now_ns();
	int r;

	if (fcntl(p->fd, F_SETFL, 0) < 0)
		tool_fail("fcntl", -errno);
	publisher_shape(p, "bench-end");
	publisher_make(p, options.first_n + options.n_messages, utc_ms(), now_ns);
	r = wire_write_all(p->fd, p->out, p->out_used);
	if (r < 0)
		tool_fail("write", r);
	for (size_t used = 0; used < sizeof(answer);) {
		ssize_t n = read(p->fd, answer + used, sizeof(answer) - used);

		if (n <= 0)
			tool_fail("read", n < 0 ? -errno : -ECONNRESET);
		used += (size_t)n;
	}
	return now_ns;
}

/*
 * Constant rate: message k is due at start + k / rate, whatever the answers do. What could not be
 * sent in time is sent at once; how late the worst one was is reported.
 */
static uint32_t pump_due(uint64_t start_ns, uint32_t n_sent, uint64_t *latest_ns)
{
	for (;;) {
		uint64_t due_ns = start_ns + (uint64_t)n_sent * 1000000000u / options.rate;
		uint64_t now_ns = wire_now_ns();
		struct publisher *p = &publishers[n_sent % options.n_publishers];

		if (n_sent == options.n_messages || due_ns > now_ns)
			return n_sent;
		if (p->out_used + p->shape_size > OUT_SIZE)
			tool_fail("the broker does not take the rate", -ENOBUFS);
		if (now_ns - due_ns > *latest_ns)
			*latest_ns = now_ns - due_ns;
		publisher_make(p, options.first_n + n_sent, utc_ms(), now_ns);
		publisher_flush(p);
		n_sent++;
	}
}

static int arm_timer(void)
{
	struct itimerspec every = {.it_interval.tv_nsec = 100000, .it_value.tv_nsec = 100000};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	/* No tick more often than messages are due, or the generator would burn what it measures.
	 */
	if (options.rate < 10000u)
		every.it_interval.tv_nsec = 1000000000l / (long)options.rate;
	if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		tool_fail("timerfd", -errno);
	return fd;
}

static void usage(FILE *to)
{
	fputs("usage: load --port PORT [--publishers N] [--messages N] [--window N] [--rate "
	      "PER_S]\n"
	      "            [--first-n N] [--prefix NAME] [--no-marker] [--timeout S]\n",
	      to);
}

static void read_options(int argc, char **argv)
{
	static const struct option table[] = {
		{"port", required_argument, NULL, 'p'},
		{"publishers", required_argument, NULL, 'c'},
		{"messages", required_argument, NULL, 'm'},
		{"window", required_argument, NULL, 'w'},
		{"rate", required_argument, NULL, 'r'},
		{"first-n", required_argument, NULL, 'f'},
		{"prefix", required_argument, NULL, 'x'},
		{"no-marker", no_argument, NULL, 'q'},
		{"timeout", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (c) {
		case 'p':
			options.port = tool_number(optarg, 65535);
			break;
		case 'c':
			options.n_publishers = tool_number(optarg, MAX_PUBLISHERS);
			break;
		case 'm':
			options.n_messages = tool_number(optarg, WIRE_N_MAX);
			break;
		case 'w':
			options.window = tool_number(optarg, 60000);
			break;
		case 'r':
			options.rate = tool_number(optarg, 1000000);
			break;
		case 'f':
			options.first_n = tool_number(optarg, WIRE_N_MAX);
			break;
		case 'x':
			options.prefix = optarg;
			break;
		case 'q':
			options.no_marker = true;
			break;
		case 't':
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
	if (options.port == 0 || options.n_publishers == 0 || options.window == 0) {
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	uint64_t start_ns, sent_ns = 0, acked_ns, marker_ns = 0, latest_ns = 0;
	uint32_t n_acked = 0, n_sent = 0;
	int timer_fd = -1;

	read_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	alarm(options.timeout_s); /* whatever goes wrong, this ends */

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		tool_fail("epoll_create1", -errno);
	for (unsigned i = 0; i < options.n_publishers; i++)
		publisher_open(&publishers[i], i);

	start_ns = wire_now_ns();
	if (options.rate > 0) {
		timer_fd = arm_timer();
	} else {
		for (unsigned i = 0; i < options.n_publishers; i++)
			publisher_pump(&publishers[i]);
	}

	while (n_acked < options.n_messages) {
		struct epoll_event events[64];
		int n = epoll_wait(epoll_fd, events, 64, -1);

		if (n < 0 && errno != EINTR)
			tool_fail("epoll_wait", -errno);
		for (int i = 0; i < n; i++) {
			struct publisher *p = events[i].data.ptr;
			uint64_t ticks;

			if (!p) {
				if (read(timer_fd, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
					tool_fail("timerfd", -errno);
				n_sent = pump_due(start_ns, n_sent, &latest_ns);
				continue;
			}
			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				n_acked += publisher_read(p);
			if (options.rate == 0)
				publisher_pump(p);
			else
				publisher_flush(p);
		}
		if (sent_ns == 0) {
			uint32_t made = 0;

			for (unsigned i = 0; i < options.n_publishers; i++)
				made += publishers[i].n_made;
			if (made == options.n_messages)
				sent_ns = wire_now_ns();
		}
	}
	acked_ns = wire_now_ns();
	if (!options.no_marker)
		marker_ns = send_marker();

	printf("{\"messages\": %u, \"acked\": %u, \"payload_bytes\": %d, \"packet_bytes\": %zu, "
	       "\"start_ns\": %llu, \"sent_ns\": %llu, \"acked_ns\": %llu, \"marker_ns\": %llu, "
	       "\"late_max_ns\": %llu}\n",
	       options.n_messages, n_acked, PAYLOAD_SIZE, publishers[0].shape_size,
	       (unsigned long long)start_ns, (unsigned long long)sent_ns,
	       (unsigned long long)acked_ns, (unsigned long long)marker_ns,
	       (unsigned long long)latest_ns);
	return 0;
}
