#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http_fixture.h"
#include "util/clock.h"

/* Above what a loaded machine takes for a turn of the loop, below any wait for a name server. */
#define LOOP_MAY_REST_MS 1500

#define LARGE_BYTES 1000000

static char large_byte(size_t at)
{
	return (char)('a' + (at / 7 + at / 1001) % 26);
}

static void assert_large(const char *body, size_t size, size_t expected)
{
	assert_int_equal(size, expected);
	for (size_t i = 0; i < size; i++)
		if (body[i] != large_byte(i))
			fail_msg("byte %zu is wrong", i);
}

static void write_large(struct exchange *x, size_t from, size_t to)
{
	char block[4096];

	while (from < to) {
		size_t n = to - from < sizeof(block) ? to - from : sizeof(block);

		for (size_t i = 0; i < n; i++)
			block[i] = large_byte(from + i);
		exchange_write(x, block, n);
		from += n;
	}
}

static void serve(struct fixture *f, void (*handler)(struct exchange *x), void *arg)
{
	fixture_serve(f, &(struct http_server_options){.handler = handler, .arg = arg});
}

/* -- answers -- */

static void answer_hello(struct exchange *x)
{
	exchange_answer(x, 200, "Content-Type: text/plain\r\n", "hello");
}

static void an_answer_is_collected_with_its_headers(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	serve(f, answer_hello, NULL);
	asked_get(&a, f, fixture_url(f, "http", "/"));
	assert_int_equal(a.end.error, 0);
	assert_int_equal(a.end.status, 200);
	assert_int_equal(a.end.content_length, 5);
	assert_int_equal(a.end.retry_after_s, -1);
	assert_int_equal(a.end.range.first, -1);
	assert_string_equal(a.content_type, "text/plain");
	assert_string_equal(a.body, "hello");
	asked_release(&a);
}

static void answer_chunked(struct exchange *x)
{
	exchange_say(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	exchange_say(x, "5\r\nhello\r\n");
	exchange_say(x, "1\r\n,\r\n6\r\n world\r\n0\r\n\r\n");
}

static void a_chunked_answer_is_joined(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	serve(f, answer_chunked, NULL);
	asked_get(&a, f, fixture_url(f, "http", "/"));
	assert_int_equal(a.end.error, 0);
	assert_int_equal(a.end.content_length, -1);
	assert_string_equal(a.body, "hello, world");
	asked_release(&a);
}

static void answer_until_close(struct exchange *x)
{
	exchange_say(x, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
	x->closes = true;
}

static void an_answer_may_end_with_the_connection(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	serve(f, answer_until_close, NULL);
	asked_get(&a, f, fixture_url(f, "http", "/"));
	assert_int_equal(a.end.error, 0);
	assert_string_equal(a.body, "all of it");
	asked_release(&a);
}

static void answer_error(struct exchange *x)
{
	exchange_answer(x, 503, "Retry-After: 120\r\nContent-Type: application/json\r\n",
			"{\"why\":\"tired\"}");
}

static void an_error_status_is_an_answer_too(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0}, streamed = {0};

	serve(f, answer_error, NULL);
	asked_get(&a, f, fixture_url(f, "http", "/"));
	assert_int_equal(a.end.error, 0);
	assert_int_equal(a.end.status, 503);
	assert_int_equal(a.end.retry_after_s, 120);
	assert_string_equal(a.body, "{\"why\":\"tired\"}");
	asked_release(&a);

	asked_start(&streamed, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
		    true);
	asked_wait(&streamed);
	assert_int_equal(streamed.end.status, 503);
	assert_int_equal(streamed.n_heads, 1);
	assert_int_equal(streamed.n_data, 0); /* an error page is no firmware */
	asked_release(&streamed);
}

static void answer_head_only(struct exchange *x)
{
	exchange_answer(x, 204, "Retry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\n", "");
}

static void an_answer_without_body_has_a_head(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	serve(f, answer_head_only, NULL);
	asked_start(&a, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")}, true);
	asked_wait(&a);
	assert_int_equal(a.end.error, 0);
	assert_int_equal(a.n_heads, 1);
	assert_int_equal(a.head.status, 204);
	assert_true(a.head.retry_after_s > 365L * 86400);
	asked_release(&a);
}

static void answer_token(struct exchange *x)
{
	exchange_answer(x, 201, "x-subject-token: abc\r\nX-Other: 1\r\n", "{}");
}

static void one_header_of_the_answer_can_be_asked_for(void **state)
{
	struct fixture *f = *state;
	const char *const names[] = {"X-Subject-Token", "X-Missing", NULL};
	const char *const values[] = {"abc", "(none)", "(none)"};

	serve(f, answer_token, NULL);
	for (size_t i = 0; i < 3; i++) {
		struct asked a = {0};

		asked_start(&a, f,
			    &(struct fg_http_params){.method = FG_HTTP_POST,
						     .url = fixture_url(f, "http", "/"),
						     .wanted_header = names[i]},
			    false);
		asked_wait(&a);
		assert_int_equal(a.end.status, 201);
		assert_string_equal(a.wanted_header, values[i]);
		asked_release(&a);
	}
}

/* -- requests -- */

static void answer_what_was_asked(struct exchange *x)
{
	const char *type = exchange_header(x, "Content-Type");
	char text[2048];
	int n;

	n = snprintf(text, sizeof(text), "%s %s type=%s", x->method, x->path, type ? type : "none");
	n += snprintf(text + n, sizeof(text) - (size_t)n, " key=%s",
		      exchange_header(x, "X-Key") ? exchange_header(x, "X-Key") : "none");
	snprintf(text + n, sizeof(text) - (size_t)n, " expect=%s body=%.*s",
		 exchange_header(x, "Expect") ? "yes" : "no", (int)x->body_size, x->body);
	exchange_answer(x, 200, "", text);
}

static void each_method_arrives_as_it_was_asked(void **state)
{
	static const char *const with_type[] = {"X-Key: s3cret", "Content-Type: text/json"};
	static const struct {
		enum fg_http_method method;
		const char *body;
		size_t n_headers;
		const char *arrives;
	} cases[] = {
		{FG_HTTP_GET, NULL, 1, "GET /p?q=1 type=none key=s3cret expect=no body="},
		{FG_HTTP_HEAD, NULL, 0, NULL},
		{FG_HTTP_POST, "{}", 2, "POST /p?q=1 type=text/json key=s3cret expect=no body={}"},
		{FG_HTTP_POST, "{}", 0, "POST /p?q=1 type=none key=none expect=no body={}"},
		{FG_HTTP_POST, NULL, 0, "POST /p?q=1 type=none key=none expect=no body="},
		{FG_HTTP_PUT, "x", 2, "PUT /p?q=1 type=text/json key=s3cret expect=no body=x"},
		{FG_HTTP_PATCH, "x", 0, "PATCH /p?q=1 type=none key=none expect=no body=x"},
		{FG_HTTP_DELETE, NULL, 1, "DELETE /p?q=1 type=none key=s3cret expect=no body="},
		{FG_HTTP_DELETE, "x", 0, "DELETE /p?q=1 type=none key=none expect=no body=x"},
	};
	struct fixture *f = *state;

	serve(f, answer_what_was_asked, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a = {0};

		asked_start(&a, f,
			    &(struct fg_http_params){
				    .method = cases[i].method,
				    .url = fixture_url(f, "http", "/p?q=1"),
				    .headers = with_type,
				    .n_headers = cases[i].n_headers,
				    .body = fg_span_str(cases[i].body),
			    },
			    false);
		asked_wait(&a);
		assert_int_equal(a.end.error, 0);
		assert_int_equal(a.end.status, 200);
		if (cases[i].arrives)
			assert_string_equal(a.body, cases[i].arrives);
		else
			assert_null(a.body);
		asked_release(&a);
	}
	assert_int_equal(http_server_connections(f->server), 1); /* it was used again */
}

static void answer_size(struct exchange *x)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", x->body_size);
	exchange_answer(x, 200, "", text);
}

static void a_body_of_the_largest_size_is_sent_without_delay(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};
	char *body = calloc(1, FG_HTTP_MAX_BODY_BYTES);

	assert_non_null(body);
	serve(f, answer_size, NULL);
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .method = FG_HTTP_POST,
			    .url = fixture_url(f, "http", "/"),
			    .body = fg_span_of(body, FG_HTTP_MAX_BODY_BYTES),
		    },
		    false);
	memset(body, 'x', FG_HTTP_MAX_BODY_BYTES);
	free(body); /* it was copied */
	asked_wait(&a);
	assert_string_equal(a.body, "1048576");
	asked_release(&a);
}

static void what_cannot_be_asked_is_refused_at_once(void **state)
{
	static char long_url[FG_HTTP_MAX_URL_BYTES + 100];
	static const char *const forged[] = {"X: a\r\nInjected: yes"};
	static const char *const nameless[] = {": x"};
	static const char *const no_colon[] = {"Something"};
	static const char *const blank[] = {"A b: x"};
	static const char *many[FG_HTTP_MAX_HEADERS + 1];
	static const struct fg_http_ops ops = {0};
	struct {
		struct fg_http_params params;
		const char *says;
	} cases[] = {
		{{.url = "ftp://localhost/"}, "does not begin with http"},
		{{.url = ""}, "does not begin with http"},
		{{.url = "file:///etc/passwd"}, "does not begin with http"},
		{{.url = "http://localhost/a b"}, "blank or control"},
		{{.url = "http://localhost/\r\nX: y"}, "blank or control"},
		{{.url = long_url}, "at most 8192"},
		{{.url = "http://h/", .headers = forged, .n_headers = 1}, "header 1"},
		{{.url = "http://h/", .headers = nameless, .n_headers = 1}, "header 1"},
		{{.url = "http://h/", .headers = no_colon, .n_headers = 1}, "header 1"},
		{{.url = "http://h/", .headers = blank, .n_headers = 1}, "header 1"},
		{{.url = "http://h/", .headers = many, .n_headers = FG_HTTP_MAX_HEADERS + 1},
		 "at most 32"},
		{{.url = "http://h/", .body = fg_span_str("x")}, "no body"},
		{{.url = "http://h/", .max_bytes = FG_HTTP_MAX_MEMORY_BYTES + 1}, "into memory"},
		{{.url = "http://h/", .tls = {.key = "/k"}}, "without a certificate"},
		{{.url = "http://h/", .tls = {.ca = "/not/there.pem"}}, "/not/there.pem"},
	};
	struct fixture *f = *state;

	memset(long_url, 'x', sizeof(long_url) - 1);
	memcpy(long_url, "http://h/", 9);
	for (size_t i = 0; i < FG_HTTP_MAX_HEADERS + 1; i++)
		many[i] = "A: b";
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_http_request *r = NULL;
		struct fg_error err = {""};

		assert_int_equal(
			fg_http_request_new(f->http, &cases[i].params, &ops, NULL, &r, &err),
			-EINVAL);
		assert_null(r);
		if (!strstr(err.text, cases[i].says))
			fail_msg("case %zu says: %s", i, err.text);
	}
}

static void an_url_nobody_can_use_ends_with_a_sentence(void **state)
{
	static const struct {
		const char *url;
		int error;
		const char *says;
	} cases[] = {
		{"http://user:s3cret@localhost/", -EINVAL, "user name"},
		{"http://localhost:99999999/", -EINVAL, "not a valid URL"},
		{"http://", -EINVAL, "not a valid URL"},
		{"http://nowhere.test/s3cret", -EHOSTUNREACH, "nowhere.test"},
		{"http://localhost:1/s3cret", -ECONNREFUSED, "port 1"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a = {0};

		asked_get(&a, f, cases[i].url);
		assert_int_equal(a.end.error, cases[i].error);
		assert_int_equal(a.end.status, 0);
		assert_non_null(strstr(a.text, cases[i].says));
		assert_null(strstr(a.text, "s3cret"));
		asked_release(&a);
	}
}

/* -- what goes wrong -- */

static void answer_with_many_headers(struct exchange *x)
{
	exchange_say(x, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < 20000 && !x->closes; i++)
		exchange_say(x, "H%d: x\r\n", i);
}

static void answer_badly(struct exchange *x)
{
	const char *path = x->path;

	if (strcmp(path, "/cut") == 0)
		exchange_say(x, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
	else if (strcmp(path, "/cut-chunk") == 0)
		exchange_say(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly");
	else if (strcmp(path, "/no-last-chunk") == 0)
		exchange_say(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
	else if (strcmp(path, "/bad-chunk") == 0)
		exchange_say(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n");
	else if (strcmp(path, "/garbage") == 0)
		exchange_say(x, "SSH-2.0-OpenSSH_9.2p1\r\n\r\n");
	else if (strcmp(path, "/negative-length") == 0)
		exchange_say(x, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n");
	else if (strcmp(path, "/many-headers") == 0)
		answer_with_many_headers(x);
	x->closes = true;
}

static void a_broken_answer_ends_with_a_sentence(void **state)
{
	static const struct {
		const char *path;
		int error;
	} cases[] = {
		{"/cut", -ENOTCONN},           {"/cut-chunk", -ENOTCONN},
		{"/no-last-chunk", -ENOTCONN}, {"/bad-chunk", -ENOTCONN},
		{"/garbage", -EPROTO},         {"/negative-length", -EPROTO},
		{"/silent", -ENOTCONN},        {"/many-headers", -EMSGSIZE},
	};
	struct fixture *f = *state;

	serve(f, answer_badly, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a = {0};

		asked_get(&a, f, fixture_url(f, "http", cases[i].path));
		if (a.end.error != cases[i].error)
			fail_msg("%s: %d, %s", cases[i].path, a.end.error, a.text);
		assert_true(a.text[0] != '\0');
		asked_release(&a);
	}
}

static void answer_more_and_more(struct exchange *x)
{
	bool is_told = strcmp(x->path, "/told") == 0;

	if (is_told)
		exchange_say(x, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE_BYTES);
	else
		exchange_say(x, "HTTP/1.1 200 OK\r\n\r\n");
	write_large(x, 0, LARGE_BYTES);
	x->closes = true;
}

static void an_answer_longer_than_allowed_ends_it(void **state)
{
	static const char *const paths[] = {"/told", "/untold"};
	struct fixture *f = *state;

	serve(f, answer_more_and_more, NULL);
	for (size_t i = 0; i < 4; i++) {
		struct asked a = {0};

		asked_start(&a, f,
			    &(struct fg_http_params){
				    .url = fixture_url(f, "http", paths[i % 2]),
				    .max_bytes = LARGE_BYTES - 1,
			    },
			    i >= 2);
		asked_wait(&a);
		assert_int_equal(a.end.error, -EMSGSIZE);
		assert_non_null(strstr(a.text, "999999"));
		if (i % 2 == 0)
			assert_int_equal(a.n_data, 0); /* known before the first byte */
		asked_release(&a);
	}
	for (size_t i = 0; i < 2; i++) {
		struct asked a = {0};

		asked_start(&a, f,
			    &(struct fg_http_params){
				    .url = fixture_url(f, "http", paths[i]),
				    .max_bytes = LARGE_BYTES,
			    },
			    false);
		asked_wait(&a);
		assert_int_equal(a.end.error, 0);
		assert_large(a.body, a.body_size, LARGE_BYTES);
		asked_release(&a);
	}
}

static void answer_nothing(struct exchange *x)
{
	exchange_wait_for_end(x);
}

static void answer_half(struct exchange *x)
{
	exchange_say(x, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	exchange_wait_for_end(x);
}

static void an_answer_that_stalls_is_given_up(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	serve(f, answer_half, NULL);
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/"),
			    .stall_bytes_per_s = 1000,
			    .stall_s = 1,
		    },
		    true);
	asked_wait(&a);
	assert_int_equal(a.end.error, -ETIMEDOUT);
	assert_int_equal(a.body_size, 4);
	asked_release(&a);
}

static void a_request_has_a_total_time(void **state)
{
	struct fixture *f = *state;
	int64_t began_ms = fg_clock_monotonic_ms(), took_ms;
	struct asked a = {0};

	serve(f, answer_nothing, NULL);
	usleep(60000); /* the loop's idea of now is old by that much */
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/"),
			    .total_timeout_ms = 150,
		    },
		    false);
	asked_wait(&a);
	took_ms = fg_clock_monotonic_ms() - began_ms;
	assert_int_equal(a.end.error, -ETIMEDOUT);
	assert_non_null(strstr(a.text, "150 ms"));
	assert_true(took_ms >= 200);
	asked_release(&a);
}

/* -- the loop is never blocked -- */

static void a_slow_name_server_delays_only_who_asked(void **state)
{
	struct fixture *f = *state;
	struct asked slow = {0}, fast = {0}, given_up = {0};
	int64_t began_ms;

	serve(f, answer_hello, NULL);
	asked_get(&fast, f, fixture_url(f, "http", "/")); /* libcurl is loaded now */
	asked_release(&fast);
	fast = (struct asked){0};

	began_ms = fg_clock_monotonic_ms();
	asked_start(&slow, f,
		    &(struct fg_http_params){.url = "http://slow.test/", .total_timeout_ms = 400},
		    false);
	asked_start(&given_up, f, &(struct fg_http_params){.url = "http://slow.test/"}, false);
	asked_get(&fast, f, fixture_url(f, "http", "/"));
	assert_int_equal(fast.end.error, 0);
	assert_int_equal(slow.n_done, 0);
	assert_true(fixture_turn(f, 200) < LOOP_MAY_REST_MS);
	asked_release(&given_up); /* in the middle of its lookup */
	asked_wait(&slow);
	assert_int_equal(slow.end.error, -ETIMEDOUT);
	assert_true(fg_clock_monotonic_ms() - began_ms < HTTP_SERVER_PATIENCE_MS / 2);
	assert_true(fixture_lookups() >= 1);
	asked_release(&slow);
	asked_release(&fast);
	fixture_release_lookups(10);
}

static void a_name_lookup_has_the_time_of_the_connection(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};
	int64_t began_ms = fg_clock_monotonic_ms();

	asked_start(&a, f,
		    &(struct fg_http_params){.url = "http://slow.test/", .connect_timeout_ms = 300},
		    false);
	asked_wait(&a);
	assert_int_equal(a.end.error, -ETIMEDOUT);
	assert_true(fg_clock_monotonic_ms() - began_ms < HTTP_SERVER_PATIENCE_MS / 2);
	asked_release(&a);
	fixture_release_lookups(10);
}

static void loading_libcurl_does_not_hold_the_loop(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0}, late = {0}, given_up = {0};

	serve(f, answer_hello, NULL);
	fixture_set_loading(LOADING_WAITS);
	asked_start(&a, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")}, false);
	asked_start(&given_up, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
		    false);
	asked_start(&late, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/"),
			    .total_timeout_ms = 50,
		    },
		    false);
	assert_true(fixture_turn(f, 200) < LOOP_MAY_REST_MS);
	assert_int_equal(a.n_done, 0);
	assert_int_equal(late.n_done, 1);
	assert_int_equal(late.end.error, -ETIMEDOUT);
	fg_http_request_resume(a.request); /* means nothing here */
	asked_release(&given_up);
	fixture_release_loading();
	asked_wait(&a);
	assert_string_equal(a.body, "hello");
	asked_release(&a);
	asked_release(&late);
}

static void without_libcurl_requests_end_with_a_sentence(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0}, b = {0}, c = {0};

	serve(f, answer_hello, NULL);
	fixture_set_loading(LOADING_FAILS);
	asked_start(&a, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")}, false);
	asked_start(&b, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")}, false);
	asked_wait(&a);
	asked_wait(&b);
	assert_int_equal(a.end.error, -ELIBACC);
	assert_int_equal(b.end.error, -ELIBACC);
	assert_non_null(strstr(a.text, "libcurl"));
	asked_release(&a);
	asked_release(&b);
	fixture_set_loading(LOADING_WORKS); /* somebody installed it */
	asked_get(&c, f, fixture_url(f, "http", "/"));
	assert_int_equal(c.end.error, 0);
	asked_release(&c);
}

/* -- streams -- */

static void answer_large(struct exchange *x)
{
	exchange_say(x, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE_BYTES);
	write_large(x, 0, LARGE_BYTES);
}

static void resume_soon(struct ev_loop *loop, ev_timer *w, int events)
{
	struct asked *a = w->data;

	(void)loop;
	(void)events;
	fg_http_request_resume(a->request);
	fg_http_request_resume(a->request); /* twice is as good */
}

static void a_paused_stream_goes_on_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.data_returns = FG_HTTP_PAUSE};
	ev_timer soon;

	serve(f, answer_large, NULL);
	ev_timer_init(&soon, resume_soon, 0.001, 0.001);
	soon.data = &a;
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/"),
			    .max_bytes = LARGE_BYTES, /* what comes twice counts once */
		    },
		    true);
	ev_timer_start(f->loop, &soon);
	asked_wait(&a);
	ev_timer_stop(f->loop, &soon);
	assert_int_equal(a.end.error, 0);
	assert_true(a.n_pauses > 10);
	assert_large(a.body, a.body_size, LARGE_BYTES);
	asked_release(&a);
}

static void a_paused_stream_is_not_too_slow_and_takes_no_data(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.data_returns = FG_HTTP_PAUSE};

	serve(f, answer_large, NULL);
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/"),
			    .max_bytes = LARGE_BYTES,
			    .stall_bytes_per_s = 1000,
			    .stall_s = 1,
		    },
		    true);
	fixture_wait_for(f, &a.n_pauses, 1);
	fixture_turn(f, 2500);
	assert_int_equal(a.n_data, 1);
	assert_int_equal(a.n_done, 0);
	a.data_returns = 0;
	fg_http_request_resume(a.request);
	assert_int_equal(a.n_data, 1); /* not inside resume() */
	asked_wait(&a);
	assert_int_equal(a.end.error, 0);
	assert_large(a.body, a.body_size, LARGE_BYTES);
	asked_release(&a);
}

static void a_paused_stream_ends_by_its_total_time(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.data_returns = FG_HTTP_PAUSE};

	serve(f, answer_large, NULL);
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/"),
			    .total_timeout_ms = 1000,
		    },
		    true);
	asked_wait(&a);
	assert_int_equal(a.n_pauses, 1);
	assert_int_equal(a.end.error, -ETIMEDOUT);
	fg_http_request_resume(a.request); /* means nothing any more */
	asked_release(&a);
}

static void answer_part_and_close(struct exchange *x)
{
	exchange_say(x, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE_BYTES);
	write_large(x, 0, 3000);
	x->closes = true;
}

static void a_stream_cut_while_paused_ends_with_a_sentence(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.data_returns = FG_HTTP_PAUSE};

	serve(f, answer_part_and_close, NULL);
	asked_start(&a, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")}, true);
	fixture_wait_for(f, &a.n_pauses, 1);
	fixture_turn(f, 50);
	a.data_returns = 0;
	fg_http_request_resume(a.request);
	asked_wait(&a);
	assert_int_equal(a.end.error, -ENOTCONN);
	assert_large(a.body, a.body_size, 3000); /* what came was handed out */
	asked_release(&a);
}

static void who_gives_up_in_a_callback_hears_his_own_reason(void **state)
{
	struct fixture *f = *state;
	struct asked in_head = {.head_returns = -EDOM}, in_data = {.data_returns = -EXDEV};
	struct asked after_pause = {.data_returns = FG_HTTP_PAUSE};
	struct asked without_body = {.head_returns = -EDOM};

	serve(f, answer_large, NULL);
	asked_start(&in_head, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
		    true);
	asked_start(&in_data, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
		    true);
	asked_start(&after_pause, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
		    true);
	asked_start(&without_body, f,
		    &(struct fg_http_params){
			    .method = FG_HTTP_HEAD,
			    .url = fixture_url(f, "http", "/"),
		    },
		    true);
	asked_wait(&in_head);
	assert_int_equal(in_head.end.error, -EDOM);
	assert_int_equal(in_head.n_data, 0);
	asked_wait(&in_data);
	assert_int_equal(in_data.end.error, -EXDEV);
	assert_int_equal(in_data.n_data, 1);
	asked_wait(&without_body);
	assert_int_equal(without_body.end.error, -EDOM);
	fixture_wait_for(f, &after_pause.n_pauses, 1);
	after_pause.data_returns = -EXDEV;
	fg_http_request_resume(after_pause.request);
	asked_wait(&after_pause);
	assert_int_equal(after_pause.end.error, -EXDEV);
	asked_release(&in_head);
	asked_release(&in_data);
	asked_release(&after_pause);
	asked_release(&without_body);
}

/* -- giving up -- */

static void release_self(struct asked *a)
{
	a->request = fg_http_request_free(a->request);
}

static void release_other(struct asked *a)
{
	struct asked *other = a->arg;

	other->request = fg_http_request_free(other->request);
}

static void release_both(struct asked *a)
{
	release_other(a);
	release_self(a);
}

static void no_callback_comes_after_a_release_in_any_callback(void **state)
{
	static void (*const deeds[])(struct asked *) = {release_self, release_other, release_both};
	struct fixture *f = *state;

	serve(f, answer_large, NULL);
	for (size_t where = 0; where < 3; where++) {
		for (size_t deed = 0; deed < 3; deed++) {
			struct asked a = {0}, b = {0}, after = {0};
			unsigned n_heads, n_data, n_done;

			a.arg = &b;
			a.in_head = where == 0 ? deeds[deed] : NULL;
			a.in_data = where == 1 ? deeds[deed] : NULL;
			a.in_done = where == 2 ? deeds[deed] : NULL;
			b.data_returns = FG_HTTP_PAUSE; /* it cannot end on its own */
			asked_start(&b, f,
				    &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
				    true);
			fixture_wait_for(f, &b.n_pauses, 1);
			asked_start(&a, f,
				    &(struct fg_http_params){
					    .url = fixture_url(f, "http", "/"),
					    .max_bytes = LARGE_BYTES,
				    },
				    true);
			fixture_wait_for(f,
					 where == 0   ? &a.n_heads
					 : where == 1 ? &a.n_data
						      : &a.n_done,
					 1);
			n_heads = a.n_heads;
			n_data = a.n_data;
			n_done = a.n_done;
			/* The client still works, and nothing more comes for those released. */
			asked_get(&after, f, fixture_url(f, "http", "/"));
			assert_large(after.body, after.body_size, LARGE_BYTES);
			asked_release(&after);
			if (deeds[deed] != release_other) {
				assert_null(a.request);
				assert_int_equal(a.n_heads, n_heads);
				assert_int_equal(a.n_data, n_data);
				assert_int_equal(a.n_done, n_done);
			} else if (where != 2) {
				asked_wait(&a);
				assert_int_equal(a.end.error, 0);
			}
			assert_int_equal(b.n_done, 0);
			asked_release(&a);
			asked_release(&b);
		}
	}
}

static void a_request_can_be_released_in_each_state(void **state)
{
	struct fixture *f = *state;
	struct asked queued = {0}, running = {0}, paused = {.data_returns = FG_HTTP_PAUSE},
		     ended = {0};

	serve(f, answer_large, NULL);
	asked_get(&ended, f, fixture_url(f, "http", "/"));
	asked_release(&ended);
	asked_start(&paused, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")}, true);
	fixture_wait_for(f, &paused.n_pauses, 1);
	asked_start(&running, f, &(struct fg_http_params){.url = "http://slow.test/"}, false);
	fixture_turn(f, 50);
	asked_start(&queued, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
		    false);
	asked_release(&queued);
	asked_release(&running);
	fg_http_request_resume(paused.request);
	asked_release(&paused);
	fixture_turn(f, 50);
	assert_int_equal(queued.n_done + running.n_done + paused.n_done, 0);
	assert_int_equal(paused.n_data, 1);
	assert_null(fg_http_request_free(NULL));
	fixture_release_lookups(10);
}

static void without_its_client_a_request_hears_nothing_more(void **state)
{
	struct fixture *f = *state;
	struct asked queued = {0}, running = {0}, paused = {.data_returns = FG_HTTP_PAUSE};
	struct asked loading = {0};

	serve(f, answer_large, NULL);
	asked_start(&paused, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")}, true);
	fixture_wait_for(f, &paused.n_pauses, 1);
	asked_start(&running, f, &(struct fg_http_params){.url = "http://slow.test/"}, false);
	fixture_turn(f, 50);
	asked_start(&queued, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/"),
			    .total_timeout_ms = 1,
		    },
		    false);
	f->http = fg_http_free(f->http);
	assert_null(f->http);
	fg_http_request_resume(paused.request);
	fixture_turn(f, 50);
	assert_int_equal(queued.n_done + running.n_done + paused.n_done, 0);
	asked_release(&queued);
	asked_release(&running);
	asked_release(&paused);
	fixture_release_lookups(10);

	assert_int_equal(fg_http_new(f->loop, f->connector, &f->http), 0);
	fixture_set_loading(LOADING_WAITS);
	asked_start(&loading, f, &(struct fg_http_params){.url = "http://slow.test/"}, false);
	f->http = fg_http_free(f->http);
	fixture_release_loading();
	fixture_turn(f, 50);
	assert_int_equal(loading.n_done, 0);
	asked_release(&loading);
}

static void ask_again(struct asked *a)
{
	struct asked *next = a->arg;

	asked_start(next, a->fixture,
		    &(struct fg_http_params){.url = fixture_url(a->fixture, "http", "/")}, false);
}

static void a_request_can_be_started_in_any_callback(void **state)
{
	struct fixture *f = *state;

	serve(f, answer_hello, NULL);
	for (int where = 0; where < 3; where++) {
		struct asked next = {0}, a = {.arg = &next};

		a.in_head = where == 0 ? ask_again : NULL;
		a.in_data = where == 1 ? ask_again : NULL;
		a.in_done = where == 2 ? ask_again : NULL;
		asked_start(&a, f, &(struct fg_http_params){.url = fixture_url(f, "http", "/")},
			    true);
		asked_wait(&a);
		asked_wait(&next);
		assert_string_equal(a.body, "hello");
		assert_string_equal(next.body, "hello");
		asked_release(&a);
		asked_release(&next);
	}
}

/* -- many -- */

static atomic_uint n_at_once, most_at_once;

static void answer_slowly(struct exchange *x)
{
	unsigned now = ++n_at_once;

	if (now > most_at_once)
		most_at_once = now;
	usleep(20000);
	n_at_once--;
	exchange_answer(x, 200, "", x->path);
}

static void many_requests_share_few_connections(void **state)
{
	struct asked asked[FG_HTTP_MAX_REQUESTS] = {0};
	struct fixture *f = *state;
	struct fg_http_request *r = NULL;
	static const struct fg_http_ops ops = {0};
	struct asked more = {0};

	n_at_once = most_at_once = 0;
	serve(f, answer_slowly, NULL);
	for (int i = 0; i < FG_HTTP_MAX_REQUESTS; i++) {
		char path[16];

		snprintf(path, sizeof(path), "/%d", i);
		asked_start(&asked[i], f,
			    &(struct fg_http_params){.url = fixture_url(f, "http", path)}, i % 2);
	}
	assert_int_equal(fg_http_request_new(f->http,
					     &(struct fg_http_params){.url = "http://localhost/"},
					     &ops, NULL, &r, NULL),
			 -EAGAIN);
	for (int i = 0; i < FG_HTTP_MAX_REQUESTS; i++) {
		char path[16];

		asked_wait(&asked[i]);
		snprintf(path, sizeof(path), "/%d", i);
		assert_int_equal(asked[i].end.error, 0);
		assert_string_equal(asked[i].body, path);
		asked_release(&asked[i]);
	}
	assert_true(most_at_once > 1);
	assert_true(most_at_once <= FG_HTTP_MAX_CONNECTIONS);
	asked_get(&more, f, fixture_url(f, "http", "/more"));
	assert_string_equal(more.body, "/more");
	asked_release(&more);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_answer_is_collected_with_its_headers),
		TEST(a_chunked_answer_is_joined),
		TEST(an_answer_may_end_with_the_connection),
		TEST(an_error_status_is_an_answer_too),
		TEST(an_answer_without_body_has_a_head),
		TEST(one_header_of_the_answer_can_be_asked_for),
		TEST(each_method_arrives_as_it_was_asked),
		TEST(a_body_of_the_largest_size_is_sent_without_delay),
		TEST(what_cannot_be_asked_is_refused_at_once),
		TEST(an_url_nobody_can_use_ends_with_a_sentence),
		TEST(a_broken_answer_ends_with_a_sentence),
		TEST(an_answer_longer_than_allowed_ends_it),
		TEST(an_answer_that_stalls_is_given_up),
		TEST(a_request_has_a_total_time),
		TEST(a_slow_name_server_delays_only_who_asked),
		TEST(a_name_lookup_has_the_time_of_the_connection),
		TEST(loading_libcurl_does_not_hold_the_loop),
		TEST(without_libcurl_requests_end_with_a_sentence),
		TEST(a_paused_stream_goes_on_where_it_was),
		TEST(a_paused_stream_is_not_too_slow_and_takes_no_data),
		TEST(a_paused_stream_ends_by_its_total_time),
		TEST(a_stream_cut_while_paused_ends_with_a_sentence),
		TEST(who_gives_up_in_a_callback_hears_his_own_reason),
		TEST(no_callback_comes_after_a_release_in_any_callback),
		TEST(a_request_can_be_released_in_each_state),
		TEST(without_its_client_a_request_hears_nothing_more),
		TEST(a_request_can_be_started_in_any_callback),
		TEST(many_requests_share_few_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
