#include "fake_http.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fg_http_request {
	bool is_in_callback, is_freed;
};

struct fake_http fake_http;

void fake_http_reset(void)
{
	memset(&fake_http, 0, sizeof(fake_http));
}

int fg_http_request_new(struct fg_http *http, const struct fg_http_params *params,
			const struct fg_http_ops *ops, void *owner, struct fg_http_request **ret,
			struct fg_error *err)
{
	size_t used = 0;

	(void)http;
	if (fake_http.new_result < 0)
		return fg_error_set(err, fake_http.new_result, "not like this");
	if (fake_http.request)
		abort();
	fake_http.n_made++;
	fake_http.method = params->method;
	fake_http.timeout_ms = params->total_timeout_ms;
	snprintf(fake_http.url, sizeof(fake_http.url), "%s", params->url);
	fake_http.headers[0] = '\0';
	for (size_t i = 0; i < params->n_headers; i++)
		used += (size_t)snprintf(fake_http.headers + used, sizeof(fake_http.headers) - used,
					 "%s\n", params->headers[i]);
	snprintf(fake_http.body, sizeof(fake_http.body), "%.*s", (int)params->body.size,
		 params->body.data);
	fake_http.body_size = params->body.size;
	fake_http.ops = ops;
	fake_http.owner = owner;
	fake_http.request = calloc(1, sizeof(*fake_http.request));
	if (!fake_http.request)
		abort();
	*ret = fake_http.request;
	return 0;
}

struct fg_http_request *fg_http_request_free(struct fg_http_request *r)
{
	if (!r)
		return NULL;
	if (fake_http.request == r)
		fake_http.request = NULL;
	if (r->is_in_callback)
		r->is_freed = true;
	else
		free(r);
	return NULL;
}

/* As the real one: it is over when done() is called, but the owner still has to release it. */
static void done(const struct fg_http_response *response)
{
	struct fg_http_request *r = fake_http.request;

	if (!r)
		abort();
	fake_http.request = NULL;
	r->is_in_callback = true;
	fake_http.ops->done(fake_http.owner, response);
	if (!r->is_freed)
		abort(); /* nobody can release it any more */
	free(r);
}

void fake_http_answer(unsigned status, const char *body, int64_t retry_after_s)
{
	struct fg_http_response response = {
		.status = status,
		.text = "",
		.body = fg_span_str(body),
		.retry_after_s = retry_after_s,
	};

	done(&response);
}

void fake_http_fail(int error)
{
	struct fg_http_response response = {
		.error = error, .text = "no answer", .retry_after_s = -1};

	done(&response);
}
