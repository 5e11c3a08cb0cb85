#include "cloud/http_call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/cleanup.h"

#define TIMEOUT_MS 30000

static int method_of(const char *name)
{
	static const char *const names[] = {
		[FG_HTTP_GET] = "GET", [FG_HTTP_HEAD] = "HEAD",   [FG_HTTP_POST] = "POST",
		[FG_HTTP_PUT] = "PUT", [FG_HTTP_PATCH] = "PATCH", [FG_HTTP_DELETE] = "DELETE",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -EINVAL;
}

int fg_http_call_start(struct fg_http *http, const struct fg_tls_config *tls, const char *base_url,
		       const struct fg_http_call *call, size_t max_bytes,
		       const struct fg_http_ops *ops, void *owner, struct fg_http_request **ret,
		       struct fg_error *err)
{
	FG_CLEANUP(fg_free_p) char *url = NULL;
	int method = method_of(call->method);
	struct fg_http_params params = {
		.method = (enum fg_http_method)method,
		.url = call->url,
		.headers = call->headers,
		.body = call->body,
		.tls = {.ca = tls->ca,
			.certificate = tls->certificate,
			.key = tls->key,
			.key_password = tls->key_password,
			.is_insecure = tls->is_insecure},
		.total_timeout_ms = call->timeout_ms > 0 ? (unsigned)call->timeout_ms : TIMEOUT_MS,
		.max_bytes = max_bytes,
	};

	if (method < 0)
		return fg_error_set(err, -EINVAL, "there is no method %.20s", call->method);
	if (base_url && asprintf(&url, "%s%s", base_url, call->url) < 0)
		return -ENOMEM;
	if (url)
		params.url = url;
	while (call->headers && call->headers[params.n_headers])
		params.n_headers++;
	return fg_http_request_new(http, &params, ops, owner, ret, err);
}
