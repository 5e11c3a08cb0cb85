#pragma once

/*
 * A loop, an HTTP client, and requests that remember what happened to them. Names under ".test" are
 * 127.0.0.1; "slow.test" is not found before the test says so.
 */
#include <semaphore.h>
#include <stdbool.h>

#include "http_server.h"
#include "net/http_client.h"

struct fixture {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_http *http;
	struct http_server *server;
};

/** A request and what became of it; zero it, say what it is to do, start it. */
struct asked {
	struct fixture *fixture;
	struct fg_http_request *request;

	/* What head() and data() do. */
	int head_returns;
	int data_returns;                 /* FG_HTTP_PAUSE: every second time */
	void (*in_head)(struct asked *a); /* NULL: nothing */
	void (*in_data)(struct asked *a);
	void (*in_done)(struct asked *a);
	void *arg;

	unsigned n_heads, n_data, n_pauses, n_done;
	struct fg_http_response head, end; /* without borrowed members */
	char text[512];
	char content_type[128];
	char wanted_header[128];
	char *body;
	size_t body_size;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/** Start the fixture's server. */
void fixture_serve(struct fixture *f, const struct http_server_options *options);

/** "SCHEME://localhost:PORT/PATH"; static buffer. */
const char *fixture_url(const struct fixture *f, const char *scheme, const char *path);

/** Start @params; the answer is collected, or streamed through head() and data(). */
void asked_start(struct asked *a, struct fixture *f, const struct fg_http_params *params,
		 bool is_streamed);
/** Turn the loop until @a is done; fails after HTTP_SERVER_PATIENCE_MS. */
void asked_wait(struct asked *a);
/** Both, for a GET of @url that is collected. */
void asked_get(struct asked *a, struct fixture *f, const char *url);
void asked_release(struct asked *a);

/** Turn the loop until *@value is at least @n. */
void fixture_wait_for(struct fixture *f, const unsigned *value, unsigned n);
/** Turn the loop for @ms. Returns the longest time in ms it did not turn. */
int64_t fixture_turn(struct fixture *f, int ms);

/** Let name lookups of slow.test go on. */
void fixture_release_lookups(unsigned n);
/** How many lookups of slow.test have begun. */
unsigned fixture_lookups(void);

/** What loading libcurl does. */
enum fixture_loading { LOADING_WORKS, LOADING_FAILS, LOADING_WAITS };
void fixture_set_loading(enum fixture_loading loading);
/** Let one go on that waits. */
void fixture_release_loading(void);
