#include "http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024

struct connection {
	struct http_server *server;
	pthread_t thread;
	int fd; /* guarded by the server's mutex: -1 when closed */
};

struct http_server {
	struct http_server_options with;
	int listener;
	uint16_t port;
	pthread_t thread;
	sem_t go;
	SSL_CTX *context;
	pthread_mutex_t mutex;
	bool is_stopping;
	unsigned n_connections;
	struct connection connections[MAX_CONNECTIONS];
};

static void must(bool is_ok, const char *what)
{
	if (is_ok)
		return;
	fprintf(stderr, "http server of the test: %s failed\n", what);
	abort();
}

static ssize_t read_some(struct exchange *x, void *out, size_t n)
{
	return x->ssl ? SSL_read(x->ssl, out, (int)n) : recv(x->fd, out, n, 0);
}

/* The head of a request, up to the empty line. */
static bool read_head(struct exchange *x)
{
	size_t n = 0;

	while (n + 1 < sizeof(x->head)) {
		if (read_some(x, x->head + n, 1) <= 0)
			return false;
		x->head[++n] = '\0';
		if (n >= 4 && memcmp(x->head + n - 4, "\r\n\r\n", 4) == 0)
			return sscanf(x->head, "%15s %4095s", x->method, x->path) == 2;
	}
	return false;
}

static bool read_body(struct exchange *x)
{
	const char *length = exchange_header(x, "Content-Length");
	size_t n = length ? strtoul(length, NULL, 10) : 0;

	for (x->body_size = 0; x->body_size < n;) {
		char sink[4096], *to = sink;
		size_t room = sizeof(sink);
		ssize_t got;

		if (x->body_size < sizeof(x->body)) {
			to = x->body + x->body_size;
			room = sizeof(x->body) - x->body_size;
		}
		got = read_some(x, to, n - x->body_size < room ? n - x->body_size : room);
		if (got <= 0)
			return false;
		x->body_size += (size_t)got;
	}
	return true;
}

static void *serve(void *arg)
{
	struct connection *c = arg;
	struct http_server *s = c->server;
	struct timeval patience = {.tv_sec = HTTP_SERVER_PATIENCE_MS / 1000};
	struct exchange *x = calloc(1, sizeof(*x));

	must(x != NULL, "calloc");
	x->server = s;
	x->arg = s->with.arg;
	x->fd = c->fd;
	setsockopt(x->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(x->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (s->context) {
		x->ssl = SSL_new(s->context);
		SSL_set_fd(x->ssl, x->fd);
	}
	if (!x->ssl || SSL_accept(x->ssl) == 1) {
		while (!x->closes && read_head(x) && read_body(x))
			s->with.handler(x);
		if (x->ssl)
			SSL_shutdown(x->ssl);
	}
	SSL_free(x->ssl);
	pthread_mutex_lock(&s->mutex);
	close(c->fd);
	c->fd = -1;
	pthread_mutex_unlock(&s->mutex);
	free(x);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct http_server *s = arg;

	for (;;) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		struct connection *c;

		pthread_mutex_lock(&s->mutex);
		if (fd < 0 || s->is_stopping) {
			if (fd >= 0)
				close(fd);
			pthread_mutex_unlock(&s->mutex);
			return NULL;
		}
		must(s->n_connections < MAX_CONNECTIONS, "so many connections");
		c = &s->connections[s->n_connections++];
		*c = (struct connection){.server = s, .fd = fd};
		must(pthread_create(&c->thread, NULL, serve, c) == 0, "pthread_create");
		pthread_mutex_unlock(&s->mutex);
	}
}

static void make_context(struct http_server *s)
{
	const struct http_server_options *with = &s->with;

	s->context = SSL_CTX_new(TLS_server_method());
	must(s->context != NULL, "SSL_CTX_new");
	must(SSL_CTX_use_certificate_file(s->context, with->certificate, SSL_FILETYPE_PEM) == 1,
	     with->certificate);
	must(SSL_CTX_use_PrivateKey_file(s->context, with->key, SSL_FILETYPE_PEM) == 1, with->key);
	if (with->client_ca) {
		must(SSL_CTX_load_verify_file(s->context, with->client_ca) == 1, with->client_ca);
		SSL_CTX_set_verify(s->context, SSL_VERIFY_PEER, NULL);
	}
	if (with->highest_tls) {
		SSL_CTX_set_security_level(s->context, 0);
		SSL_CTX_set_min_proto_version(s->context, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(s->context, with->highest_tls);
	}
}

struct http_server *http_server_start(const struct http_server_options *options)
{
	struct http_server *s = calloc(1, sizeof(*s));
	struct sockaddr_in here = {.sin_family = AF_INET};
	socklen_t size = sizeof(here);

	must(s != NULL, "calloc");
	s->with = *options;
	sem_init(&s->go, 0, 0);
	pthread_mutex_init(&s->mutex, NULL);
	if (options->certificate)
		make_context(s);
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(s->listener >= 0 && bind(s->listener, (struct sockaddr *)&here, size) == 0 &&
		     listen(s->listener, 128) == 0 &&
		     getsockname(s->listener, (struct sockaddr *)&here, &size) == 0,
	     "listening");
	s->port = ntohs(here.sin_port);
	must(pthread_create(&s->thread, NULL, accept_all, s) == 0, "pthread_create");
	return s;
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

unsigned http_server_connections(struct http_server *s)
{
	unsigned n;

	pthread_mutex_lock(&s->mutex);
	n = s->n_connections;
	pthread_mutex_unlock(&s->mutex);
	return n;
}

void http_server_stop(struct http_server *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->mutex);
	s->is_stopping = true;
	for (unsigned i = 0; i < s->n_connections; i++) {
		if (s->connections[i].fd >= 0)
			shutdown(s->connections[i].fd, SHUT_RDWR);
		sem_post(&s->go);
	}
	pthread_mutex_unlock(&s->mutex);
	shutdown(s->listener, SHUT_RDWR); /* accept() returns */
	pthread_join(s->thread, NULL);
	for (unsigned i = 0; i < s->n_connections; i++)
		pthread_join(s->connections[i].thread, NULL);
	close(s->listener);
	SSL_CTX_free(s->context);
	pthread_mutex_destroy(&s->mutex);
	sem_destroy(&s->go);
	free(s);
}

const char *exchange_header(const struct exchange *x, const char *name)
{
	static _Thread_local char value[8192];
	size_t size = strlen(name);

	for (const char *line = strstr(x->head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
			line += size + 1;
			line += strspn(line, " ");
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(line, "\r"), line);
			return value;
		}
	}
	return NULL;
}

void exchange_write(struct exchange *x, const void *bytes, size_t n)
{
	const char *at = bytes;

	/* The client may be gone: that is up to the test. */
	while (n > 0) {
		ssize_t done =
			x->ssl ? SSL_write(x->ssl, at, (int)n) : send(x->fd, at, n, MSG_NOSIGNAL);

		if (done <= 0) {
			x->closes = true;
			return;
		}
		at += done;
		n -= (size_t)done;
	}
}

void exchange_say(struct exchange *x, const char *format, ...)
{
	char text[8192];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	must(n >= 0 && (size_t)n < sizeof(text), "a short text");
	exchange_write(x, text, (size_t)n);
}

void exchange_answer(struct exchange *x, unsigned status, const char *more, const char *body)
{
	exchange_say(x, "HTTP/1.1 %u Whatever\r\n%sContent-Length: %zu\r\n\r\n%s", status, more,
		     strlen(body), strcmp(x->method, "HEAD") == 0 ? "" : body);
}

bool exchange_wait_for_end(struct exchange *x)
{
	char byte;

	x->closes = true;
	return read_some(x, &byte, 1) <= 0 && errno != EAGAIN;
}

void exchange_wait(struct exchange *x)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HTTP_SERVER_PATIENCE_MS / 1000;
	while (sem_timedwait(&x->server->go, &until) < 0 && errno == EINTR)
		;
}

void http_server_go(struct http_server *s)
{
	sem_post(&s->go);
}
