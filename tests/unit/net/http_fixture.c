#include "http_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "util/clock.h"

static sem_t lookups, loads;
static atomic_uint n_lookups;
static _Atomic enum fixture_loading loading_does;

static void wait_a_while(sem_t *s)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HTTP_SERVER_PATIENCE_MS / 1000;
	while (sem_timedwait(s, &until) < 0 && errno == EINTR)
		;
}

/* Stand in front of the C library's: libcurl and we call these. */
__attribute__((visibility("default"))) int getaddrinfo(const char *restrict name,
						       const char *restrict service,
						       const struct addrinfo *restrict hints,
						       struct addrinfo **restrict ret)
{
	static __typeof__(getaddrinfo) *real;
	size_t size = name ? strlen(name) : 0;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (name && strcmp(name, "nowhere.test") == 0)
		return EAI_NONAME;
	if (name && strcmp(name, "slow.test") == 0) {
		n_lookups++;
		wait_a_while(&lookups);
	}
	if (size > 5 && strcmp(name + size - 5, ".test") == 0)
		name = "127.0.0.1";
	return real(name, service, hints, ret);
}

__attribute__((visibility("default"))) void *dlopen(const char *name, int flags)
{
	static __typeof__(dlopen) *real;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "dlopen");
	if (name && strcmp(name, "libcurl.so.4") == 0) {
		if (loading_does == LOADING_WAITS)
			wait_a_while(&loads);
		if (loading_does == LOADING_FAILS)
			name = "libcurl-that-is-not-there.so.4";
	}
	return real(name, flags);
}

void fixture_release_lookups(unsigned n)
{
	while (n-- > 0)
		sem_post(&lookups);
}

unsigned fixture_lookups(void)
{
	return n_lookups;
}

void fixture_set_loading(enum fixture_loading loading)
{
	loading_does = loading;
}

void fixture_release_loading(void)
{
	sem_post(&loads);
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	sem_init(&lookups, 0, 0);
	sem_init(&loads, 0, 0);
	n_lookups = 0;
	loading_does = LOADING_WORKS;
	f->loop = ev_loop_new(EVFLAG_AUTO);
	*state = f;
	if (fg_connector_new(f->loop, &f->connector) < 0)
		return -1;
	return fg_http_new(f->loop, f->connector, &f->http);
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	fg_http_free(f->http);
	fg_connector_free(f->connector);
	http_server_stop(f->server);
	ev_loop_destroy(f->loop);
	free(f);
	return 0;
}

void fixture_serve(struct fixture *f, const struct http_server_options *options)
{
	assert_null(f->server);
	f->server = http_server_start(options);
}

const char *fixture_url(const struct fixture *f, const char *scheme, const char *path)
{
	static char url[4096];

	snprintf(url, sizeof(url), "%s://localhost:%u%s", scheme, http_server_port(f->server),
		 path);
	return url;
}

static void copy_response(struct fg_http_response *to, const struct fg_http_response *from)
{
	*to = *from;
	to->text = NULL;
	to->content_type = NULL;
	to->wanted_header = NULL;
	to->body = (struct fg_span){0};
}

static int asked_head(void *owner, const struct fg_http_response *response)
{
	struct asked *a = owner;

	assert_int_equal(a->n_done, 0);
	assert_int_equal(a->n_data, 0);
	assert_int_equal(response->error, 0);
	a->n_heads++;
	copy_response(&a->head, response);
	snprintf(a->content_type, sizeof(a->content_type), "%s", response->content_type);
	snprintf(a->wanted_header, sizeof(a->wanted_header), "%s",
		 response->wanted_header ? response->wanted_header : "(none)");
	if (a->in_head)
		a->in_head(a);
	return a->head_returns;
}

static void add_body(struct asked *a, struct fg_span bytes)
{
	if (bytes.size == 0)
		return;
	a->body = realloc(a->body, a->body_size + bytes.size + 1);
	assert_non_null(a->body);
	memcpy(a->body + a->body_size, bytes.data, bytes.size);
	a->body_size += bytes.size;
	a->body[a->body_size] = '\0';
}

static int asked_data(void *owner, struct fg_span bytes)
{
	struct asked *a = owner;

	assert_int_equal(a->n_done, 0);
	assert_int_equal(a->n_heads, 1);
	a->n_data++;
	if (a->in_data)
		a->in_data(a);
	if (a->data_returns == FG_HTTP_PAUSE && a->n_data % 2 == 1) {
		a->n_pauses++;
		return FG_HTTP_PAUSE;
	}
	if (a->data_returns < 0)
		return a->data_returns;
	add_body(a, bytes);
	return 0;
}

static void asked_done(void *owner, const struct fg_http_response *response)
{
	struct asked *a = owner;

	a->n_done++;
	copy_response(&a->end, response);
	snprintf(a->text, sizeof(a->text), "%s", response->text);
	snprintf(a->content_type, sizeof(a->content_type), "%s", response->content_type);
	snprintf(a->wanted_header, sizeof(a->wanted_header), "%s",
		 response->wanted_header ? response->wanted_header : "(none)");
	add_body(a, response->body);
	if (a->in_done)
		a->in_done(a);
}

void asked_start(struct asked *a, struct fixture *f, const struct fg_http_params *params,
		 bool is_streamed)
{
	static const struct fg_http_ops collected = {.done = asked_done};
	static const struct fg_http_ops streamed = {
		.head = asked_head,
		.data = asked_data,
		.done = asked_done,
	};
	struct fg_error err = {""};

	a->fixture = f;
	if (fg_http_request_new(f->http, params, is_streamed ? &streamed : &collected, a,
				&a->request, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(a->n_done, 0);
}

static void time_is_up(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	ev_break(loop, EVBREAK_ALL);
}

void fixture_wait_for(struct fixture *f, const unsigned *value, unsigned n)
{
	ev_timer limit;

	ev_now_update(f->loop);
	ev_timer_init(&limit, time_is_up, HTTP_SERVER_PATIENCE_MS / 1e3, 0.);
	ev_timer_start(f->loop, &limit);
	while (*value < n && ev_is_active(&limit))
		ev_run(f->loop, EVRUN_ONCE);
	ev_timer_stop(f->loop, &limit);
	assert_true(*value >= n);
}

void asked_wait(struct asked *a)
{
	fixture_wait_for(a->fixture, &a->n_done, 1);
	assert_int_equal(a->n_done, 1);
}

void asked_get(struct asked *a, struct fixture *f, const char *url)
{
	asked_start(a, f, &(struct fg_http_params){.url = url}, false);
	asked_wait(a);
}

void asked_release(struct asked *a)
{
	a->request = fg_http_request_free(a->request);
	free(a->body);
	a->body = NULL;
	a->body_size = 0;
}

struct turning {
	ev_timer tick;
	int64_t last_ms, longest_ms;
};

static void turned(struct ev_loop *loop, ev_timer *w, int events)
{
	struct turning *t = w->data;
	int64_t now_ms = fg_clock_monotonic_ms();

	(void)loop;
	(void)events;
	if (now_ms - t->last_ms > t->longest_ms)
		t->longest_ms = now_ms - t->last_ms;
	t->last_ms = now_ms;
}

int64_t fixture_turn(struct fixture *f, int ms)
{
	struct turning t = {.last_ms = fg_clock_monotonic_ms()};
	ev_timer limit;

	ev_now_update(f->loop);
	ev_timer_init(&t.tick, turned, 0.005, 0.005);
	t.tick.data = &t;
	ev_timer_start(f->loop, &t.tick);
	ev_timer_init(&limit, time_is_up, ms / 1e3, 0.);
	ev_timer_start(f->loop, &limit);
	while (ev_is_active(&limit))
		ev_run(f->loop, EVRUN_ONCE);
	ev_timer_stop(f->loop, &t.tick);
	turned(f->loop, &t.tick, 0);
	return t.longest_ms;
}
