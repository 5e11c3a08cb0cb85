#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct server {
	struct server_options with;
	int listener;
	uint16_t port;
	pthread_t thread;
	sem_t go;
	SSL_CTX *context;
	char failure[200];
};

void peer_fail(struct peer *p, const char *format, ...)
{
	va_list args;

	if (p->failure[0])
		return;
	va_start(args, format);
	vsnprintf(p->failure, sizeof(p->failure), format, args);
	va_end(args);
}

static bool is_readable(struct peer *p, int ms)
{
	struct pollfd fd = {.fd = p->fd, .events = POLLIN};

	return (p->ssl && SSL_pending(p->ssl) > 0) || poll(&fd, 1, ms) == 1;
}

static ssize_t read_some(struct peer *p, void *out, size_t n)
{
	if (p->ssl)
		return SSL_read(p->ssl, out, (int)n);
	return read(p->fd, out, n);
}

bool peer_read(struct peer *p, void *out, size_t n)
{
	uint8_t *at = out;

	while (n > 0) {
		ssize_t got;

		if (!is_readable(p, SERVER_PATIENCE_MS)) {
			peer_fail(p, "nothing came");
			return false;
		}
		got = read_some(p, at, n);
		if (got <= 0) {
			peer_fail(p, "the client closed too early");
			return false;
		}
		at += got;
		n -= (size_t)got;
	}
	return true;
}

size_t peer_read_packet(struct peer *p, uint8_t *out, size_t size)
{
	size_t at = 0, length = 0;
	unsigned shift = 0;

	if (!peer_read(p, out, 1))
		return 0;
	at = 1;
	do {
		if (!peer_read(p, out + at, 1))
			return 0;
		length |= (size_t)(out[at] & 127) << shift;
		shift += 7;
	} while (out[at++] & 128);
	if (at + length > size) {
		peer_fail(p, "a packet of %zu bytes", length);
		return 0;
	}
	if (!peer_read(p, out + at, length))
		return 0;
	return at + length;
}

size_t peer_expect(struct peer *p, uint8_t type, uint8_t *out, size_t size)
{
	uint8_t own[4096];
	size_t n;

	if (!out) {
		out = own;
		size = sizeof(own);
	}
	n = peer_read_packet(p, out, size);
	if (n > 0 && out[0] != type) {
		peer_fail(p, "packet 0x%02x instead of 0x%02x", out[0], type);
		return 0;
	}
	return n;
}

void peer_expect_silence(struct peer *p, int ms)
{
	uint8_t byte = 0;

	if (!is_readable(p, ms))
		return;
	if (read_some(p, &byte, 1) == 1)
		peer_fail(p, "byte 0x%02x came, nothing was due", byte);
	else
		peer_fail(p, "closed by the client");
}

void peer_expect_end(struct peer *p)
{
	uint8_t byte = 0;

	if (!is_readable(p, SERVER_PATIENCE_MS))
		peer_fail(p, "the client did not close");
	else if (read_some(p, &byte, 1) > 0)
		peer_fail(p, "byte 0x%02x came instead of the end", byte);
}

void peer_write(struct peer *p, const void *bytes, size_t n)
{
	if (p->ssl)
		SSL_write(p->ssl, bytes, (int)n);
	else if (send(p->fd, bytes, n, MSG_NOSIGNAL) < 0)
		return; /* the client may be gone: that is up to the test */
}

bool peer_accept_connect(struct peer *p, bool is_v5)
{
	if (peer_expect(p, 0x10, NULL, 0) == 0)
		return false;
	if (is_v5)
		PEER_SAYS(p, 0x20, 3, 0, 0, 0);
	else
		PEER_SAYS(p, 0x20, 2, 0, 0);
	return true;
}

void peer_wait(struct peer *p)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SERVER_PATIENCE_MS / 1000;
	if (sem_timedwait(&p->server->go, &until) < 0)
		peer_fail(p, "the test did not go on");
}

void server_go(struct server *s)
{
	sem_post(&s->go);
}

bool peer_handshake(struct peer *p)
{
	return SSL_accept(p->ssl) == 1;
}

static void serve(struct server *s, int fd, unsigned nth)
{
	struct peer peer = {.fd = fd, .nth = nth, .arg = s->with.arg, .server = s};
	struct timeval patience = {.tv_sec = SERVER_PATIENCE_MS / 1000};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (s->context) {
		peer.ssl = SSL_new(s->context);
		SSL_set_fd(peer.ssl, fd);
	}
	if (!peer.ssl || s->with.leaves_handshake_to_script || peer_handshake(&peer))
		s->with.script(&peer);
	if (peer.ssl && SSL_is_init_finished(peer.ssl))
		SSL_shutdown(peer.ssl);
	SSL_free(peer.ssl);
	if (peer.fd >= 0)
		close(peer.fd);
	if (!s->failure[0])
		memcpy(s->failure, peer.failure, sizeof(s->failure));
}

static void *server_thread(void *arg)
{
	struct server *s = arg;

	for (unsigned i = 0; i < s->with.n_connections; i++) {
		struct pollfd listener = {.fd = s->listener, .events = POLLIN};
		int fd;

		if (poll(&listener, 1, SERVER_PATIENCE_MS) != 1) {
			snprintf(s->failure, sizeof(s->failure), "connection %u never came", i);
			break;
		}
		fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			serve(s, fd, i);
	}
	return NULL;
}

static void load_tls(struct server *s)
{
	if (!s->with.certificate)
		return;
	s->context = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(s->context, s->with.certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(s->context, s->with.key, SSL_FILETYPE_PEM) != 1)
		abort();
	if (s->with.client_ca) {
		SSL_CTX_load_verify_file(s->context, s->with.client_ca);
		SSL_CTX_set_verify(s->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	}
}

struct server *server_start(const struct server_options *options)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	struct server *s = calloc(1, sizeof(*s));

	s->with = *options;
	if (s->with.n_connections == 0)
		s->with.n_connections = 1;
	load_tls(s);
	sem_init(&s->go, 0, 0);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(s->listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(s->listener, 8) < 0 ||
	    getsockname(s->listener, (struct sockaddr *)&address, &size) < 0)
		abort();
	s->port = ntohs(address.sin_port);
	pthread_create(&s->thread, NULL, server_thread, s);
	return s;
}

uint16_t server_port(const struct server *s)
{
	return s->port;
}

const char *server_join(struct server *s)
{
	static char failure[200];

	/* Who has not come by now does not come any more. */
	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	memcpy(failure, s->failure, sizeof(failure));
	close(s->listener);
	sem_destroy(&s->go);
	SSL_CTX_free(s->context);
	free(s);
	return failure[0] ? failure : NULL;
}
