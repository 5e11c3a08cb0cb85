#pragma once

/*
 * An HTTP/1.1 server for tests: one thread accepts, one thread serves each connection, and a
 * handler of the test says, byte for byte, what each request is answered with. Reads and waits give
 * up after HTTP_SERVER_PATIENCE_MS, so that no test hangs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#define HTTP_SERVER_PATIENCE_MS 20000

struct http_server;

/** One request, as the handler sees it. */
struct exchange {
	struct http_server *server;
	void *arg; /* the test's */
	char method[16];
	char path[4096];
	char head[32768]; /* request line and headers, as they came */
	char body[65536];
	size_t body_size;
	bool closes; /* set by the handler: the connection ends after this answer */
	int fd;
	SSL *ssl; /* or NULL */
};

struct http_server_options {
	void (*handler)(struct exchange *x); /* on the connection's thread */
	void *arg;
	const char *certificate, *key; /* TLS when there is a certificate */
	const char *client_ca;         /* ask for a certificate of this CA */
	int highest_tls;               /* e.g. TLS1_1_VERSION; 0: no limit */
};

struct http_server *http_server_start(const struct http_server_options *options);
uint16_t http_server_port(const struct http_server *s);
unsigned http_server_connections(struct http_server *s);
/** Break all connections, wait for the threads, release all. */
void http_server_stop(struct http_server *s);

/** A request's header, or NULL; static for each thread. */
const char *exchange_header(const struct exchange *x, const char *name);
void exchange_write(struct exchange *x, const void *bytes, size_t n);
void exchange_say(struct exchange *x, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/** A whole answer with Content-Length. @more: header lines with "\r\n", or "". */
void exchange_answer(struct exchange *x, unsigned status, const char *more, const char *body);
/** Wait until the client closes; false: it did not. */
bool exchange_wait_for_end(struct exchange *x);
/** Wait until the test has called http_server_go() once more. */
void exchange_wait(struct exchange *x);
void http_server_go(struct http_server *s);
