#pragma once

/*
 * A TCP server for tests that says exactly what a script tells it: raw bytes, optionally inside
 * TLS. It runs on a thread of its own; every read gives up after SERVER_PATIENCE_MS, so that no
 * test hangs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#define SERVER_PATIENCE_MS 5000

struct server;

/** One accepted connection, as the script sees it. */
struct peer {
	int fd;
	SSL *ssl;     /* or NULL */
	unsigned nth; /* connection, from 0 */
	void *arg;    /* the test's */
	struct server *server;
	char failure[200]; /* what did not happen as expected; the first one stays */
};

typedef void (*server_script)(struct peer *peer);

struct server_options {
	server_script script;
	void *arg;
	unsigned n_connections;                    /* after so many the thread ends; 0: 1 */
	const char *certificate, *key, *client_ca; /* TLS when there is a certificate */
	bool leaves_handshake_to_script;
};

struct server *server_start(const struct server_options *options);
uint16_t server_port(const struct server *s);
/** Wait for the thread, release all. Returns the first failure, or NULL; static text. */
const char *server_join(struct server *s);

/** TLS handshake, for a script it is left to. */
bool peer_handshake(struct peer *p);

/** Exactly @n bytes. Returns false (and notes a failure) when they do not come. */
bool peer_read(struct peer *p, void *out, size_t n);
/** One packet: fixed header byte, Remaining Length, rest. Returns the whole size, or 0. */
size_t peer_read_packet(struct peer *p, uint8_t *out, size_t size);
/** A packet whose first byte is @type; its size, or 0 and a failure. */
size_t peer_expect(struct peer *p, uint8_t type, uint8_t *out, size_t size);
/** Nothing may come for @ms. */
void peer_expect_silence(struct peer *p, int ms);
/** The end of the stream must come. */
void peer_expect_end(struct peer *p);
void peer_write(struct peer *p, const void *bytes, size_t n);
#define PEER_SAYS(p, ...)                                                                          \
	peer_write(p, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
void peer_fail(struct peer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Read CONNECT and accept it. Returns false when none came. */
bool peer_accept_connect(struct peer *p, bool is_v5);
/** Wait until the test has called server_go() once more. */
void peer_wait(struct peer *p);
void server_go(struct server *s);
