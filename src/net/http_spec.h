#pragma once

/*
 * A request of http_client.h as its own copy, checked. Secrets are wiped when it is released.
 */
#include "net/http_client.h"

struct fg_http_spec {
	struct fg_http_params is; /* as it was given, but pointers lead to the members below */
	char *url, *proxy, *ca, *certificate, *key, *key_password, *wanted_header;
	char *body;
	char *headers[FG_HTTP_MAX_HEADERS];
	bool is_ca_directory;
	long ca_cache_s; /* what was read of `ca` so long ago still holds */
};

/**
 * @is_collected: the answer will be held in memory. The caller owns *@ret.
 * Returns 0, -ENOMEM or -EINVAL with a sentence.
 */
int fg_http_spec_new(const struct fg_http_params *params, bool is_collected,
		     struct fg_http_spec **ret, struct fg_error *err);
struct fg_http_spec *fg_http_spec_free(struct fg_http_spec *spec);

/** Is there a header of this name (without ':')? */
bool fg_http_spec_has_header(const struct fg_http_spec *spec, const char *name);
