/* Where a request may go, and with what: redirects, TLS, ranges, proxies. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "certs.h"
#include "http_fixture.h"

static struct certs certs;

/* -- redirects -- */

/* A second server, and what a test has it redirect to. */
static struct http_server *other;

/* "/to?URL" redirects to URL, "/loop" to itself, anything else tells what came. */
static void answer_redirect(struct exchange *x)
{
	const char *key = exchange_header(x, "X-Key"), *range;
	char text[512], location[1024];
	int n;

	if (strncmp(x->path, "/to?", 4) == 0 || strcmp(x->path, "/loop") == 0) {
		snprintf(location, sizeof(location), "Location: %s\r\n",
			 x->path[1] == 'l' ? "/loop" : x->path + 4);
		exchange_answer(x, 302, location, "<html>moved</html>");
		return;
	}
	n = snprintf(text, sizeof(text), "%s %s key=%s", x->method, x->path, key ? key : "none");
	range = exchange_header(x, "Range");
	snprintf(text + n, sizeof(text) - (size_t)n, " range=%s", range ? range : "none");
	exchange_answer(x, 200, "", text);
}

static void serve_redirects(struct fixture *f)
{
	fixture_serve(f, &(struct http_server_options){.handler = answer_redirect});
	other = http_server_start(&(struct http_server_options){.handler = answer_redirect});
}

static int rules_teardown(void **state)
{
	http_server_stop(other);
	other = NULL;
	return fixture_teardown(state);
}

static void ask_redirected(struct asked *a, struct fixture *f, const char *url, unsigned limit)
{
	static const char *const headers[] = {"X-Key: s3cret", "Authorization: Bearer s3cret"};

	asked_start(a, f,
		    &(struct fg_http_params){
			    .url = url,
			    .headers = headers,
			    .n_headers = 2,
			    .max_redirects = limit,
			    .range_start = 7,
		    },
		    false);
	asked_wait(a);
}

static void redirects_on_the_same_server_are_followed_with_all_headers(void **state)
{
	static const char *const paths[] = {"/to?/end", "/to?end", "/to?//localhost:PORT/end",
					    "/to?/to?/end"};
	struct fixture *f = *state;

	serve_redirects(f);
	for (size_t i = 0; i < 4; i++) {
		struct asked a = {0};
		char path[128];

		snprintf(path, sizeof(path), "%s", paths[i]);
		if (strstr(path, "PORT"))
			snprintf(path, sizeof(path), "/to?//LOCALHOST:%u/end",
				 http_server_port(f->server));
		ask_redirected(&a, f, fixture_url(f, "http", path), 2);
		assert_int_equal(a.end.error, 0);
		assert_int_equal(a.end.status, 200);
		assert_string_equal(a.body, "GET /end key=s3cret range=bytes=7-");
		asked_release(&a);
	}
}

static void headers_do_not_go_along_to_another_server(void **state)
{
	struct fixture *f = *state;

	serve_redirects(f);
	for (int i = 0; i < 3; i++) {
		struct asked a = {0};
		char path[256];

		if (i == 0) /* another port */
			snprintf(path, sizeof(path), "/to?http://localhost:%u/end",
				 http_server_port(other));
		else if (i == 1) /* another name for the same server */
			snprintf(path, sizeof(path), "/to?http://other.test:%u/end",
				 http_server_port(f->server));
		else /* there and back again */
			snprintf(path, sizeof(path),
				 "/to?http://localhost:%u/to?http://localhost:%u/end",
				 http_server_port(other), http_server_port(f->server));
		ask_redirected(&a, f, fixture_url(f, "http", path), 5);
		assert_int_equal(a.end.error, 0);
		assert_string_equal(a.body, "GET /end key=none range=bytes=7-");
		asked_release(&a);
	}
}

static void redirects_that_lead_nowhere_good_end_with_a_sentence(void **state)
{
	static const struct {
		const char *path;
		int error;
		const char *says;
	} cases[] = {
		{"/loop", -ELOOP, "more than 5 redirects"},
		{"/to?ftp://localhost/x", -EPERM, "not http or https"},
		{"/to?file:///etc/passwd", -EPERM, "not http or https"},
		{"/to?gopher://localhost/s3cret", -EPERM, "not http or https"},
		{"/to?javascript:alert(1)", -EPERM, "not http or https"},
		{"/to?http://user:s3cret@localhost/", -EPERM, "user name"},
		{"/to?http://[::1/", -EPROTO, "not an URL"},
		{"/to?http://nowhere.test/s3cret", -EHOSTUNREACH, "nowhere.test"},
	};
	struct fixture *f = *state;

	serve_redirects(f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a = {0};

		ask_redirected(&a, f, fixture_url(f, "http", cases[i].path), 5);
		if (a.end.error != cases[i].error || !strstr(a.text, cases[i].says))
			fail_msg("%s: %d, %s", cases[i].path, a.end.error, a.text);
		assert_null(strstr(a.text, "s3cret"));
		asked_release(&a);
	}
}

static void a_redirect_is_an_answer_for_who_does_not_follow(void **state)
{
	struct fixture *f = *state;
	struct asked get = {0}, post = {0};

	serve_redirects(f);
	ask_redirected(&get, f, fixture_url(f, "http", "/to?/end"), 0);
	assert_int_equal(get.end.status, 302);
	assert_string_equal(get.body, "<html>moved</html>");
	asked_release(&get);

	asked_start(&post, f,
		    &(struct fg_http_params){
			    .method = FG_HTTP_POST,
			    .url = fixture_url(f, "http", "/to?/end"),
			    .max_redirects = 5,
		    },
		    false);
	asked_wait(&post);
	assert_int_equal(post.end.status, 302);
	asked_release(&post);
}

static void a_stream_sees_only_where_a_redirect_ends(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	serve_redirects(f);
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "http", "/to?/end"),
			    .max_redirects = 5,
		    },
		    true);
	asked_wait(&a);
	assert_int_equal(a.n_heads, 1);
	assert_int_equal(a.head.status, 200);
	assert_string_equal(a.body, "GET /end key=none range=none");
	asked_release(&a);
}

static void answer_long_redirect(struct exchange *x)
{
	exchange_say(x, "HTTP/1.1 302 Moved\r\nLocation: /\r\nContent-Length: 999999\r\n\r\n");
	while (!x->closes)
		exchange_say(x, "%4000s", "x");
}

static void the_body_of_a_redirect_is_not_read_for_ever(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	fixture_serve(f, &(struct http_server_options){.handler = answer_long_redirect});
	ask_redirected(&a, f, fixture_url(f, "http", "/"), 5);
	assert_int_equal(a.end.error, -EMSGSIZE);
	asked_release(&a);
}

/* -- TLS -- */

/* Tells whether a client certificate came; "/to?URL" redirects. */
static void answer_secure(struct exchange *x)
{
	char location[1024];
	X509 *peer = x->ssl ? SSL_get1_peer_certificate(x->ssl) : NULL;

	if (strncmp(x->path, "/to?", 4) == 0) {
		snprintf(location, sizeof(location), "Location: %s\r\n", x->path + 4);
		exchange_answer(x, 302, location, "");
	} else {
		exchange_answer(x, 200, "", peer ? "known" : "anonymous");
	}
	X509_free(peer);
}

static const char *path(const char *name)
{
	return name ? certs_path(&certs, name) : NULL;
}

static void serve_tls(struct fixture *f, const char *certificate, const char *key)
{
	http_server_stop(f->server);
	f->server = NULL;
	fixture_serve(f, &(struct http_server_options){
				 .handler = answer_secure,
				 .certificate = path(certificate),
				 .key = path(key),
				 .client_ca = path("ca.pem"),
			 });
}

static void the_server_must_prove_who_it_is(void **state)
{
	static const struct {
		const char *server, *ca;
		bool is_insecure;
		int error;
		const char *says;
	} cases[] = {
		{"server.pem", "ca.pem", false, 0, ""},
		{"server.pem", "ca-dir", false, 0, ""},
		{"server.pem", NULL, false, -EKEYREJECTED, "certificate"},
		{"server.pem", NULL, true, 0, ""},
		{"wrong-name.pem", "ca.pem", false, -EKEYREJECTED, "localhost"},
		{"wrong-name.pem", "ca.pem", true, 0, ""},
		{"expired.pem", "ca.pem", false, -EKEYREJECTED, "expired"},
		{"self-signed.pem", "ca.pem", false, -EKEYREJECTED, "self-signed"},
		{"server.pem", "garbage.pem", false, -EINVAL, "garbage.pem"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a = {0};

		serve_tls(f, cases[i].server, "server.key");
		asked_start(&a, f,
			    &(struct fg_http_params){
				    .url = fixture_url(f, "https", "/"),
				    .tls = {.ca = path(cases[i].ca),
					    .is_insecure = cases[i].is_insecure},
			    },
			    false);
		asked_wait(&a);
		if (a.end.error != cases[i].error || !strstr(a.text, cases[i].says))
			fail_msg("case %zu: %d, %s", i, a.end.error, a.text);
		if (cases[i].error == 0)
			assert_string_equal(a.body, "anonymous");
		asked_release(&a);
	}
}

static void copy_certificate(const char *from, const char *to)
{
	char text[8192];
	FILE *in = fopen(path(from), "r"), *out = fopen(path(to), "w");
	size_t n;

	assert_non_null(in);
	assert_non_null(out);
	n = fread(text, 1, sizeof(text), in);
	assert_true(n > 0 && n < sizeof(text));
	assert_int_equal(fwrite(text, 1, n, out), n);
	assert_int_equal(fclose(in) + fclose(out), 0);
}

/* libcurl keeps what it has read of one for a day. */
static void a_ca_that_is_replaced_counts_at_once(void **state)
{
	static const struct {
		const char *ca, *server;
		int error;
	} days[] = {
		{"ca.pem", "server.pem", 0},
		{"self-signed.pem", "self-signed.pem", 0},
		{"self-signed.pem", "server.pem", -EKEYREJECTED},
		{"ca.pem", "server.pem", 0},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		struct asked a = {0};

		copy_certificate(days[i].ca, "trusted.pem");
		serve_tls(f, days[i].server, "server.key");
		asked_start(&a, f,
			    &(struct fg_http_params){
				    .url = fixture_url(f, "https", "/"),
				    .tls = {.ca = path("trusted.pem")},
			    },
			    false);
		asked_wait(&a);
		if (a.end.error != days[i].error)
			fail_msg("day %zu: %d, %s", i, a.end.error, a.text);
		asked_release(&a);
	}
}

static void a_connection_that_was_not_verified_is_not_used_by_who_verifies(void **state)
{
	struct fixture *f = *state;
	struct asked insecure = {0}, secure = {0};

	serve_tls(f, "self-signed.pem", "server.key");
	asked_start(&insecure, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "https", "/"),
			    .tls = {.is_insecure = true},
		    },
		    false);
	asked_wait(&insecure);
	assert_int_equal(insecure.end.error, 0);
	asked_get(&secure, f, fixture_url(f, "https", "/"));
	assert_int_equal(secure.end.error, -EKEYREJECTED);
	asked_release(&insecure);
	asked_release(&secure);
}

static void a_client_certificate_is_shown_only_by_who_has_it(void **state)
{
	static const struct {
		const char *certificate, *key, *password;
		int error;
		const char *answer;
	} cases[] = {
		{"client.pem", "client.key", NULL, 0, "known"},
		{"client-both.pem", NULL, NULL, 0, "known"},
		{"client.pem", "client-encrypted.key", CERTS_PASSPHRASE, 0, "known"},
		{NULL, NULL, NULL, 0, "anonymous"},
		{"client.pem", "client-encrypted.key", "s3cret", -EINVAL, NULL},
		{"client.pem", "client-encrypted.key", NULL, -EINVAL, NULL}, /* nobody is asked */
		{"client.pem", "other.key", NULL, -EINVAL, NULL},
		{"garbage.pem", "client.key", NULL, -EINVAL, NULL},
		{"not-there.pem", "client.key", NULL, -EINVAL, NULL},
	};
	struct fixture *f = *state;

	serve_tls(f, "server.pem", "server.key");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a = {0};

		asked_start(&a, f,
			    &(struct fg_http_params){
				    .url = fixture_url(f, "https", "/"),
				    .tls = {.ca = path("ca.pem"),
					    .certificate = path(cases[i].certificate),
					    .key = path(cases[i].key),
					    .key_password = cases[i].password},
			    },
			    false);
		asked_wait(&a);
		if (a.end.error != cases[i].error)
			fail_msg("case %zu: %d, %s", i, a.end.error, a.text);
		if (cases[i].answer)
			assert_string_equal(a.body, cases[i].answer);
		assert_null(strstr(a.text, "s3cret"));
		asked_release(&a);
		/* Who knows the certificate may use a connection it has opened, whatever the key. */
		f->http = fg_http_free(f->http);
		assert_int_equal(fg_http_new(f->loop, f->connector, &f->http), 0);
	}
}

static void a_redirect_takes_neither_certificate_nor_encryption_away(void **state)
{
	struct fixture *f = *state;
	struct asked elsewhere = {0}, downgraded = {0}, upgraded = {0};
	char url[512];

	serve_tls(f, "server.pem", "server.key");
	other = http_server_start(&(struct http_server_options){.handler = answer_secure});

	/* To another name of the same server: it must not see who we are. */
	snprintf(url, sizeof(url), "/to?https://127.0.0.1:%u/", http_server_port(f->server));
	asked_start(&elsewhere, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "https", url),
			    .tls = {.ca = path("ca.pem"),
				    .certificate = path("client.pem"),
				    .key = path("client.key")},
			    .max_redirects = 3,
		    },
		    false);
	asked_wait(&elsewhere);
	assert_int_equal(elsewhere.end.error, 0);
	assert_string_equal(elsewhere.body, "anonymous");
	asked_release(&elsewhere);

	snprintf(url, sizeof(url), "/to?http://localhost:%u/", http_server_port(other));
	asked_start(&downgraded, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "https", url),
			    .tls = {.ca = path("ca.pem")},
			    .max_redirects = 3,
		    },
		    false);
	asked_wait(&downgraded);
	assert_int_equal(downgraded.end.error, -EPERM);
	assert_non_null(strstr(downgraded.text, "from https to http"));
	asked_release(&downgraded);

	/* From http to https is fine, but not back. */
	snprintf(url, sizeof(url), "http://localhost:%u/to?https://localhost:%u/to?http://h/",
		 http_server_port(other), http_server_port(f->server));
	asked_start(&upgraded, f,
		    &(struct fg_http_params){
			    .url = url,
			    .tls = {.ca = path("ca.pem")},
			    .max_redirects = 3,
		    },
		    false);
	asked_wait(&upgraded);
	assert_int_equal(upgraded.end.error, -EPERM);
	assert_non_null(strstr(upgraded.text, "from https to http"));
	asked_release(&upgraded);
}

static void old_tls_is_refused(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	fixture_serve(f, &(struct http_server_options){
				 .handler = answer_secure,
				 .certificate = path("server.pem"),
				 .key = path("server.key"),
				 .highest_tls = TLS1_1_VERSION,
			 });
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "https", "/"),
			    .tls = {.ca = path("ca.pem")},
		    },
		    false);
	asked_wait(&a);
	assert_int_equal(a.end.error, -EKEYREJECTED);
	asked_release(&a);
}

static void a_handshake_has_the_time_of_the_connection(void **state)
{
	struct fixture *f = *state;
	struct asked a = {0};

	/* It waits for the end of a request that never comes. */
	fixture_serve(f, &(struct http_server_options){.handler = answer_secure});
	asked_start(&a, f,
		    &(struct fg_http_params){
			    .url = fixture_url(f, "https", "/"),
			    .connect_timeout_ms = 300,
		    },
		    false);
	asked_wait(&a);
	assert_int_equal(a.end.error, -ETIMEDOUT);
	asked_release(&a);
}

/* -- ranges -- */

static void answer_range(struct exchange *x)
{
	const char *range = exchange_header(x, "Range");

	if (strcmp(x->path, "/ignores") == 0)
		exchange_answer(x, 200, "", "0123456789");
	else if (strcmp(x->path, "/nonsense") == 0)
		exchange_answer(x, 206, "Content-Range: bytes 9-4/2\r\n", "456789");
	else if (range && strcmp(range, "bytes=4-") == 0)
		exchange_answer(x, 206, "Content-Range: bytes 4-9/10\r\n", "456789");
	else
		exchange_answer(x, 416, "Content-Range: bytes */10\r\n", "");
}

static void a_part_can_be_asked_for(void **state)
{
	static const struct {
		const char *path;
		uint64_t start;
		unsigned status;
		struct fg_content_range range;
		const char *body;
	} cases[] = {
		{"/", 4, 206, {4, 9, 10}, "456789"},
		{"/ignores", 4, 200, {-1, -1, -1}, "0123456789"},
		{"/nonsense", 4, 206, {-1, -1, -1}, "456789"},
		{"/", 10, 416, {-1, -1, 10}, NULL},
		{"/", 0, 416, {-1, -1, 10}, NULL}, /* nothing is asked for: the server says so */
	};
	struct fixture *f = *state;

	fixture_serve(f, &(struct http_server_options){.handler = answer_range});
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a = {0};

		asked_start(&a, f,
			    &(struct fg_http_params){
				    .url = fixture_url(f, "http", cases[i].path),
				    .range_start = cases[i].start,
			    },
			    true);
		asked_wait(&a);
		assert_int_equal(a.end.error, 0);
		assert_int_equal(a.head.status, cases[i].status);
		assert_int_equal(a.head.range.first, cases[i].range.first);
		assert_int_equal(a.head.range.last, cases[i].range.last);
		assert_int_equal(a.head.range.total, cases[i].range.total);
		if (cases[i].body)
			assert_string_equal(a.body, cases[i].body);
		asked_release(&a);
	}
}

static void content_ranges_are_read_strictly(void **state)
{
	static const struct {
		const char *text;
		int result;
		struct fg_content_range range;
	} cases[] = {
		{"bytes 0-0/1", 0, {0, 0, 1}},
		{"Bytes 1-2/*", 0, {1, 2, -1}},
		{"bytes */0", 0, {-1, -1, 0}},
		{"bytes  5-6/7", 0, {5, 6, 7}},
		{"bytes 0-922337203685477580/922337203685477581",
		 0,
		 {0, 922337203685477580, 922337203685477581}},
		{"", -EPROTO, {0}},
		{"bytes", -EPROTO, {0}},
		{"bytes ", -EPROTO, {0}},
		{"bytes */*", -EPROTO, {0}},
		{"bytes 1/2", -EPROTO, {0}},
		{"bytes -1-2/3", -EPROTO, {0}},
		{"bytes 1-/3", -EPROTO, {0}},
		{"bytes 2-1/3", -EPROTO, {0}},
		{"bytes 0-3/3", -EPROTO, {0}},
		{"bytes 0-1/2 ", -EPROTO, {0}},
		{"bytes 0-1/2x", -EPROTO, {0}},
		{"bytes 0-99999999999999999999/*", -EPROTO, {0}},
		{"items 0-1/2", -EPROTO, {0}},
		{"bytes=0-1/2", -EPROTO, {0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_content_range range = {7, 7, 7};

		if (fg_content_range_parse(cases[i].text, &range) != cases[i].result)
			fail_msg("\"%s\"", cases[i].text);
		if (cases[i].result < 0) {
			assert_int_equal(range.first, 7); /* written only on success */
			continue;
		}
		assert_int_equal(range.first, cases[i].range.first);
		assert_int_equal(range.last, cases[i].range.last);
		assert_int_equal(range.total, cases[i].range.total);
	}
}

/* -- proxies -- */

static void answer_path(struct exchange *x)
{
	exchange_answer(x, 200, "", x->path);
}

static void a_proxy_is_used_only_when_told(void **state)
{
	struct fixture *f = *state;
	struct asked direct = {0}, through = {0};
	char proxy[64];

	fixture_serve(f, &(struct http_server_options){.handler = answer_path});
	snprintf(proxy, sizeof(proxy), "http://localhost:%u", http_server_port(f->server));
	setenv("http_proxy", "http://localhost:1", 1);
	setenv("no_proxy", "*", 1);
	asked_get(&direct, f, fixture_url(f, "http", "/direct"));
	assert_string_equal(direct.body, "/direct");
	asked_start(&through, f,
		    &(struct fg_http_params){.url = "http://nowhere.test/far", .proxy = proxy},
		    false);
	asked_wait(&through);
	assert_int_equal(through.end.error, 0);
	assert_string_equal(through.body, "http://nowhere.test/far");
	unsetenv("http_proxy");
	unsetenv("no_proxy");
	asked_release(&direct);
	asked_release(&through);
}

static int make_certs(void **state)
{
	(void)state;
	certs_make(&certs);
	return 0;
}

static int remove_certs(void **state)
{
	(void)state;
	certs_remove(&certs);
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, rules_teardown)
	const struct CMUnitTest tests[] = {
		TEST(redirects_on_the_same_server_are_followed_with_all_headers),
		TEST(headers_do_not_go_along_to_another_server),
		TEST(redirects_that_lead_nowhere_good_end_with_a_sentence),
		TEST(a_redirect_is_an_answer_for_who_does_not_follow),
		TEST(a_stream_sees_only_where_a_redirect_ends),
		TEST(the_body_of_a_redirect_is_not_read_for_ever),
		TEST(the_server_must_prove_who_it_is),
		TEST(a_ca_that_is_replaced_counts_at_once),
		TEST(a_connection_that_was_not_verified_is_not_used_by_who_verifies),
		TEST(a_client_certificate_is_shown_only_by_who_has_it),
		TEST(a_redirect_takes_neither_certificate_nor_encryption_away),
		TEST(old_tls_is_refused),
		TEST(a_handshake_has_the_time_of_the_connection),
		TEST(a_part_can_be_asked_for),
		TEST(content_ranges_are_read_strictly),
		TEST(a_proxy_is_used_only_when_told),
	};

	return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
