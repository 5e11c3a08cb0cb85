/*
 * The REST client with descriptions as a cloud's plugin would give them: here those of Huawei's IoTDA,
 * which hands its token out in a header of the answer and answers a command in the same request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/roundtrip_cloud.h"
#include "http_server.h"
#include "util/cleanup.h"
#include "util/span.h"

#define TIMEOUT_MS 10000

/* ---- the plugin's half */

enum { USERNAME, PASSWORD, PROJECT_ID, N_OPTIONS };

static const struct fg_option options[] = {
	[USERNAME] = {.name = "username", .type = FG_OPTION_STRING, .flags = FG_OPTION_REQUIRED},
	[PASSWORD] = {.name = "password", .type = FG_OPTION_SECRET, .flags = FG_OPTION_REQUIRED},
	[PROJECT_ID] = {.name = "project_id",
			.type = FG_OPTION_STRING,
			.flags = FG_OPTION_REQUIRED},
	[N_OPTIONS] = {0},
};

struct cloud {
	const char *url;
	const struct fg_value *values;
	char request_url[512], body[512], token[128];
	const char *headers[3];
};

static int cloud_open(const struct fg_rest_open *with, void **ret_ctx, char *error,
		      size_t error_size)
{
	struct cloud *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	if (strcmp(with->values[PROJECT_ID].string, "none") == 0) {
		free(c);
		snprintf(error, error_size, "project_id: there is none of that name");
		return -EINVAL;
	}
	c->url = with->url;
	c->values = with->values;
	*ret_ctx = c;
	return 0;
}

static int cloud_request(void *ctx, const struct fg_rest_question *q, struct fg_rest_request *out)
{
	struct cloud *c = ctx;

	c->headers[0] = "Content-Type: application/json";
	c->headers[1] = q->step == FG_REST_LOGIN ? NULL : c->token;
	*out = (struct fg_rest_request){
		.method = "POST", .url = c->request_url, .headers = c->headers};
	switch (q->step) {
	case FG_REST_LOGIN:
		snprintf(c->request_url, sizeof(c->request_url), "%s/v3/auth/tokens", c->url);
		snprintf(c->body, sizeof(c->body), "{\"user\":\"%s\",\"password\":\"%s\"}",
			 c->values[USERNAME].string, c->values[PASSWORD].string);
		out->wanted_header = "X-Subject-Token";
		break;
	case FG_REST_DEVICE:
		return 0; /* its name is its id */
	case FG_REST_COMMAND:
		snprintf(c->request_url, sizeof(c->request_url),
			 "%s/v5/iot/%s/devices/%.*s/commands", c->url, c->values[PROJECT_ID].string,
			 FG_SPAN_ARGS(q->device));
		snprintf(c->body, sizeof(c->body), "{\"command_name\":\"%.*s\",\"paras\":%.*s}",
			 FG_SPAN_ARGS(q->command), FG_SPAN_ARGS(q->params));
		break;
	case FG_REST_READING:
		snprintf(c->request_url, sizeof(c->request_url), "%s/v5/iot/%s/devices/%.*s/shadow",
			 c->url, c->values[PROJECT_ID].string, FG_SPAN_ARGS(q->device));
		out->method = "GET";
		out->headers = &c->headers[1];
		return 1;
	}
	out->body = fg_span_str(c->body);
	return 1;
}

static enum fg_rest_verdict cloud_answer(void *ctx, const struct fg_rest_question *q,
					 const struct fg_rest_response *response,
					 struct fg_rest_result *out)
{
	struct cloud *c = ctx;

	snprintf(out->text, sizeof(out->text), "status %u", response->status);
	if (response->status == 202) {
		out->fault = FG_REST_FAULT_MISSING;
		return FG_REST_AGAIN;
	}
	if (response->status >= 300) {
		out->fault = FG_REST_FAULT_ACCOUNT;
		return FG_REST_FAILED;
	}
	if (q->step == FG_REST_LOGIN)
		snprintf(c->token, sizeof(c->token), "X-Auth-Token: %s", response->wanted_header);
	out->time_us = 42;
	out->answer = response->body;
	return FG_REST_DONE;
}

static const struct fg_rest rest = {
	.size = sizeof(rest),
	.options = options,
	.open = cloud_open,
	.close = free,
	.request = cloud_request,
	.answer = cloud_answer,
};

/* ---- the cloud's half */

struct server {
	struct http_server *http;
	atomic_uint n_readings; /* asked for */
	unsigned n_missing;     /* so many answers are "not yet" */
	unsigned n_answered;    /* … and from then on there is none; 0: always */
};

static void serve(struct exchange *x)
{
	struct server *s = x->arg;
	const char *token = exchange_header(x, "X-Auth-Token");

	if (strcmp(x->path, "/v3/auth/tokens") == 0) {
		bool is_right = strstr(x->body, "\"password\":\"right\"");

		exchange_answer(x, is_right ? 201 : 401, "X-Subject-Token: t-1\r\n", "{}");
	} else if (!token || strcmp(token, "t-1") != 0) {
		exchange_answer(x, 401, "", "{}");
	} else if (strcmp(x->path, "/v5/iot/p-7/devices/pump-1/commands") == 0) {
		assert_string_equal(x->method, "POST");
		exchange_answer(x, 200, "", x->body);
	} else if (strcmp(x->path, "/v5/iot/p-7/devices/slow/commands") == 0) {
		exchange_wait_for_end(x);
	} else if (strcmp(x->path, "/v5/iot/p-7/devices/pump-1/shadow") == 0) {
		unsigned n = atomic_fetch_add(&s->n_readings, 1);

		if (s->n_answered > 0 && n >= s->n_answered)
			exchange_wait_for_end(x);
		else
			exchange_answer(x, n < s->n_missing ? 202 : 200, "", "");
	} else {
		exchange_answer(x, 404, "", "{}");
	}
}

/* ---- both together */

struct trip {
	struct server server;
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_http *http;
	struct fg_report *report;
	struct fg_account *account;
	struct fg_rest_client *client;
	char path[64];
};

static void begin(struct trip *t, const char *password, const char *project, const char *url)
{
	FILE *f;
	int fd;

	*t = (struct trip){.loop = ev_loop_new(0)};
	t->server.http = http_server_start(
		&(struct http_server_options){.handler = serve, .arg = &t->server});
	assert_int_equal(fg_connector_new(t->loop, &t->connector), 0);
	assert_int_equal(fg_http_new(t->loop, t->connector, &t->http), 0);
	t->report = fg_report_new();
	snprintf(t->path, sizeof(t->path), "/tmp/fieldgate-test-XXXXXX");
	fd = mkstemp(t->path);
	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	if (url)
		fprintf(f, "url: %s\n", url);
	else
		fprintf(f, "url: http://127.0.0.1:%u/\n", http_server_port(t->server.http));
	fprintf(f, "username: u\npassword: %s\nproject_id: %s\n", password, project);
	fclose(f);
	if (fg_account_load(t->path, "huawei", options, t->report, &t->account) < 0)
		fail_msg("%s", fg_report_line(t->report, 0));
}

static void end(struct trip *t)
{
	unlink(t->path);
	fg_rest_client_free(t->client);
	fg_account_free(t->account);
	fg_report_free(t->report);
	fg_http_free(t->http);
	fg_connector_free(t->connector);
	ev_loop_destroy(t->loop);
	http_server_stop(t->server.http);
}

static void open_client(struct trip *t)
{
	struct fg_error err = {0};

	if (fg_rest_client_new(t->loop, t->http, &rest, t->account, NULL, &t->client, &err) < 0)
		fail_msg("%s", err.text);
}

static void a_token_from_a_header_carries_a_command_and_its_answer(void **state)
{
	struct fg_rest_question q = {.step = FG_REST_LOGIN, .device = fg_span_str("pump-1")};
	struct fg_rest_outcome o;
	struct trip t;

	(void)state;
	begin(&t, "right", "p-7", NULL);
	open_client(&t);
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_true(o.is_done);
	assert_true(o.took_us > 0);
	assert_true(q.now_us > 0);
	fg_rest_outcome_release(&o);

	q.step = FG_REST_DEVICE; /* needs no request */
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_true(o.is_done);

	q.step = FG_REST_COMMAND;
	q.command = fg_span_str("ON_OFF");
	q.params = fg_span_str("{\"value\":\"ON\"}");
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_true(o.is_done);
	assert_string_equal(o.answer, "{\"command_name\":\"ON_OFF\",\"paras\":{\"value\":\"ON\"}}");
	fg_rest_outcome_release(&o);
	assert_null(o.answer);
	end(&t);
}

static void what_is_not_there_yet_is_asked_for_again(void **state)
{
	struct fg_rest_question q = {.step = FG_REST_LOGIN, .device = fg_span_str("pump-1")};
	struct fg_rest_outcome o;
	struct trip t;

	(void)state;
	begin(&t, "right", "p-7", NULL);
	open_client(&t);
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_true(o.is_done);
	fg_rest_outcome_release(&o);
	q.step = FG_REST_READING;
	t.server.n_missing = 2;
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_true(o.is_done);
	assert_int_equal(o.time_us, 42);
	assert_int_equal(atomic_load(&t.server.n_readings), 3);
	fg_rest_outcome_release(&o);

	t.server.n_missing = 1000000;
	fg_rest_client_ask(t.client, &q, 300, &o);
	assert_false(o.is_done);
	assert_false(o.is_unreachable);
	assert_int_equal(o.fault, FG_REST_FAULT_MISSING);
	assert_string_equal(o.text, "status 202");
	assert_true(o.took_us >= 300000);
	end(&t);
}

static void time_that_runs_out_does_not_hide_what_was_answered_before(void **state)
{
	struct fg_rest_question q = {.step = FG_REST_LOGIN, .device = fg_span_str("pump-1")};
	struct fg_rest_outcome o;
	struct trip t;

	(void)state;
	begin(&t, "right", "p-7", NULL);
	open_client(&t);
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_true(o.is_done);
	fg_rest_outcome_release(&o);
	q.step = FG_REST_READING;
	t.server.n_missing = t.server.n_answered = 1;
	fg_rest_client_ask(t.client, &q, 2000, &o);
	assert_false(o.is_done);
	assert_false(o.is_unreachable);
	assert_int_equal(o.fault, FG_REST_FAULT_MISSING);
	assert_string_equal(o.text, "status 202");
	assert_int_equal(atomic_load(&t.server.n_readings), 2);
	end(&t);
}

static void a_refusal_is_told_with_its_fault(void **state)
{
	struct fg_rest_question q = {.step = FG_REST_LOGIN};
	struct fg_rest_outcome o;
	struct trip t;

	(void)state;
	begin(&t, "wrong", "p-7", NULL);
	open_client(&t);
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_false(o.is_done);
	assert_int_equal(o.fault, FG_REST_FAULT_ACCOUNT);
	assert_string_equal(o.text, "status 401");
	end(&t);
}

static void silence_and_absence_are_told_apart_from_an_answer(void **state)
{
	struct fg_rest_question q = {
		.step = FG_REST_LOGIN, .device = fg_span_str("slow"), .params = fg_span_str("{}")};
	struct fg_rest_outcome o;
	struct trip t;

	(void)state;
	begin(&t, "right", "p-7", "http://127.0.0.1:1");
	open_client(&t);
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_false(o.is_done);
	assert_true(o.is_unreachable);
	assert_true(strlen(o.text) > 0);
	assert_null(strstr(o.text, "right"));
	end(&t);

	begin(&t, "right", "p-7", NULL);
	open_client(&t);
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_true(o.is_done);
	fg_rest_outcome_release(&o);
	q.step = FG_REST_READING; /* of a device whose path is not served */
	q.device = fg_span_str("a b");
	fg_rest_client_ask(t.client, &q, TIMEOUT_MS, &o);
	assert_false(o.is_done);
	assert_non_null(strstr(o.text, "blank")); /* the URL is not sent */
	end(&t);
}

static void an_account_the_plugin_does_not_take_is_told(void **state)
{
	struct fg_error err = {0};
	struct trip t;

	(void)state;
	begin(&t, "right", "none", NULL);
	assert_int_equal(
		fg_rest_client_new(t.loop, t.http, &rest, t.account, NULL, &t.client, &err),
		-EINVAL);
	assert_string_equal(err.text, "project_id: there is none of that name");
	end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_from_a_header_carries_a_command_and_its_answer),
		cmocka_unit_test(what_is_not_there_yet_is_asked_for_again),
		cmocka_unit_test(time_that_runs_out_does_not_hide_what_was_answered_before),
		cmocka_unit_test(a_refusal_is_told_with_its_fault),
		cmocka_unit_test(silence_and_absence_are_told_apart_from_an_answer),
		cmocka_unit_test(an_account_the_plugin_does_not_take_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
