#pragma once

/*
 * HTTP requests as plugins describe them, made with a link's TLS settings.
 */
#include "config/config.h"
#include "fieldgate/plugin.h"
#include "net/http_client.h"

/**
 * Start @call; its url is a whole one, or what follows @base_url, which may be NULL. @max_bytes: of the
 * answer. Otherwise as fg_http_request_new().
 */
int fg_http_call_start(struct fg_http *http, const struct fg_tls_config *tls, const char *base_url,
		       const struct fg_http_call *call, size_t max_bytes,
		       const struct fg_http_ops *ops, void *owner, struct fg_http_request **ret,
		       struct fg_error *err);
