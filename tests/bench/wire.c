#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t wire_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int wire_write_all(int fd, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

size_t wire_put_length(uint8_t *at, size_t length)
{
	size_t n = 0;

	do {
		at[n] = (uint8_t)(length & 0x7f);
		length >>= 7;
		if (length > 0)
			at[n] |= 0x80;
		n++;
	} while (length > 0);
	return n;
}

int64_t wire_frame(const uint8_t *data, size_t size, size_t *ret_body)
{
	size_t length = 0;

	for (size_t i = 1; i <= 4; i++) {
		if (i >= size)
			return 0;
		length |= (size_t)(data[i] & 0x7f) << (7 * (i - 1));
		if (data[i] & 0x80)
			continue;
		if (i + 1 + length > size)
			return 0;
		*ret_body = i + 1;
		return (int64_t)(i + 1 + length);
	}
	return -EPROTO;
}

static int open_socket(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;
	int fd;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int greet(int fd, const char *client_id)
{
	/* Protocol name and level (3.1.2.1, 3.1.2.2), clean session, keep alive 0: never. */
	static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0};
	size_t id_size = strlen(client_id);
	uint8_t packet[128];
	uint8_t answer[4];
	size_t n = 2;
	int r;

	if (id_size > 64)
		return -EINVAL;
	packet[0] = 0x10;
	packet[1] = (uint8_t)(sizeof(head) + 2 + id_size);
	memcpy(packet + n, head, sizeof(head));
	n += sizeof(head);
	packet[n++] = 0;
	packet[n++] = (uint8_t)id_size;
	memcpy(packet + n, client_id, id_size);
	r = wire_write_all(fd, packet, n + id_size);
	if (r < 0)
		return r;
	if (recv(fd, answer, sizeof(answer), MSG_WAITALL) != sizeof(answer))
		return -ECONNRESET;
	return answer[0] == WIRE_CONNACK && answer[3] == 0 ? 0 : -ECONNREFUSED;
}

int wire_connect(uint16_t port, const char *client_id, uint64_t patience_ns)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	uint64_t give_up = wire_now_ns() + patience_ns;
	int fd, r;

	while ((fd = open_socket(port)) < 0) {
		if (wire_now_ns() >= give_up)
			return fd;
		nanosleep(&pause, NULL);
	}
	r = greet(fd, client_id);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}
