#include "control/roundtrip_cloud.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/roundtrip_field.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/span.h"

#define PAUSE_MS 100
/* So that the cloud's own "no answer in time" comes first. */
#define GRACE_MS 5000
#define ANSWER_BYTES ((uint64_t)1 << 20)

struct fg_rest_client {
	struct ev_loop *loop;
	struct fg_http *http;
	const struct fg_rest *rest;
	const struct fg_account_host *host;
	void *ctx;

	/* the question under way */
	const struct fg_rest_question *question;
	struct fg_rest_outcome *outcome;
	enum fg_rest_verdict verdict;
	bool is_answered;
};

int fg_rest_client_new(struct ev_loop *loop, struct fg_http *http, const struct fg_rest *rest,
		       const struct fg_account *account, const struct fg_value *link,
		       struct fg_rest_client **ret, struct fg_error *err)
{
	struct fg_rest_client *c = calloc(1, sizeof(*c));
	struct fg_rest_open with = {0};
	int r;

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->http = http;
	c->rest = rest;
	c->host = fg_account_host(account);
	with.values = fg_account_values(account);
	with.link = link;
	with.url = c->host->url;
	r = rest->open(&with, &c->ctx, err->text, sizeof(err->text));
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct fg_rest_client *fg_rest_client_free(struct fg_rest_client *c)
{
	if (!c)
		return NULL;
	c->rest->close(c->ctx);
	free(c);
	return NULL;
}

void fg_rest_outcome_release(struct fg_rest_outcome *o)
{
	free(o->answer);
	o->answer = NULL;
}

static bool fail(struct fg_rest_outcome *o, const char *text)
{
	snprintf(o->text, sizeof(o->text), "%s", text);
	return false;
}

/* ---- one request */

static void request_done(void *owner, const struct fg_http_response *response)
{
	struct fg_rest_client *c = owner;
	struct fg_rest_outcome *o = c->outcome;
	const struct fg_rest_response came = {
		.status = response->status,
		.body = response->body,
		.wanted_header = response->wanted_header,
	};
	struct fg_rest_result result = {0};

	c->is_answered = true;
	if (response->error) {
		c->verdict = FG_REST_FAILED;
		if (response->error == -ETIMEDOUT && o->text[0])
			return; /* it is there, and has said what is missing */
		o->is_unreachable = true;
		fail(o, response->text[0] ? response->text : strerror(-response->error));
		return;
	}
	c->verdict = c->rest->answer(c->ctx, c->question, &came, &result);
	o->fault = result.fault;
	snprintf(o->text, sizeof(o->text), "%.*s", (int)sizeof(result.text) - 1, result.text);
	if (c->verdict != FG_REST_DONE)
		return;
	o->time_us = result.time_us;
	if (result.answer.size > 0)
		o->answer = strndup(result.answer.data, result.answer.size);
}

static const struct fg_http_ops request_ops = {.done = request_done};

static bool parse_method(const char *method, enum fg_http_method *ret)
{
	static const char *const names[] = {
		[FG_HTTP_GET] = "GET", [FG_HTTP_HEAD] = "HEAD",   [FG_HTTP_POST] = "POST",
		[FG_HTTP_PUT] = "PUT", [FG_HTTP_PATCH] = "PATCH", [FG_HTTP_DELETE] = "DELETE",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], method) == 0) {
			*ret = (enum fg_http_method)i;
			return true;
		}
	return false;
}

/* Make it, and turn the loop until it is answered. Returns false when it could not be made. */
static bool make(struct fg_rest_client *c, const struct fg_rest_request *request,
		 int64_t timeout_ms)
{
	struct fg_http_params params = {
		.url = request->url,
		.headers = request->headers,
		.body = request->body,
		.wanted_header = request->wanted_header,
		.tls = {.ca = c->host->ca, .is_insecure = c->host->is_insecure},
		.total_timeout_ms = (unsigned)timeout_ms,
		.max_bytes = ANSWER_BYTES,
	};
	struct fg_http_request *r = NULL;
	struct fg_error err = {0};

	if (!parse_method(request->method, &params.method))
		return fail(c->outcome, "the plugin wants a method of HTTP that there is not");
	while (request->headers && request->headers[params.n_headers])
		params.n_headers++;
	c->is_answered = false;
	if (fg_http_request_new(c->http, &params, &request_ops, c, &r, &err) < 0)
		return fail(c->outcome, err.text[0] ? err.text : "out of memory");
	/* It ends by itself: its timeout is less. */
	fg_patience_wait(c->loop, &c->is_answered, timeout_ms + GRACE_MS);
	fg_http_request_free(r);
	return c->is_answered || fail(c->outcome, "no answer");
}

/* ---- a question */

/* One request after the other; returns true when it is answered. */
static bool ask(struct fg_rest_client *c, struct fg_rest_question *question, int64_t end_us)
{
	int64_t left_ms = (end_us - fg_patience_now_us()) / 1000;
	bool is_never = false;

	for (; left_ms > 0; left_ms = (end_us - fg_patience_now_us()) / 1000) {
		struct fg_rest_request request = {0};
		int r;

		question->now_us = fg_clock_utc_us();
		r = c->rest->request(c->ctx, question, &request);
		if (r == 0)
			return true;
		if (r < 0)
			return fail(c->outcome, "that is too long for this cloud, or cannot be "
						"asked there");
		if (question->step == FG_REST_COMMAND)
			left_ms += GRACE_MS;
		if (!make(c, &request, left_ms))
			return false;
		if (c->verdict != FG_REST_AGAIN)
			return c->verdict == FG_REST_DONE;
		fg_patience_wait(c->loop, &is_never, PAUSE_MS);
	}
	return c->outcome->text[0] ? false : fail(c->outcome, "no time is left");
}

void fg_rest_client_ask(struct fg_rest_client *c, struct fg_rest_question *question,
			int64_t timeout_ms, struct fg_rest_outcome *ret)
{
	int64_t begin_us = fg_patience_now_us();

	*ret = (struct fg_rest_outcome){0};
	c->question = question;
	c->outcome = ret;
	ret->is_done = ask(c, question, begin_us + timeout_ms * 1000);
	ret->took_us = fg_patience_now_us() - begin_us;
}
