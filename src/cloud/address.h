#pragma once

/*
 * Where a session connects to: the link's URL, or the address its plugin gives for an attempt, because
 * the cloud has said so. Whether TLS is spoken the URL alone says: an address cannot talk it away, and
 * a certificate has to be for the host in it.
 */
#include "config/config.h"
#include "net/tls.h"
#include "util/url.h"

struct fg_address {
	char host[FG_HOST_MAX_BYTES + 1];
	uint16_t port;
	struct fg_tls *tls;  /* NULL: plain; of the link, or the next */
	struct fg_tls *made; /* for another host than the URL's; kept for the next attempt */
	char made_for[FG_HOST_MAX_BYTES + 1];
};

/**
 * Set @a to @given (HOST:PORT), or to the URL of @config when that is NULL. @tls: the link's, NULL
 * without TLS; it outlives @a. Returns 1 when that is another server than before, 0 when it is the
 * same, -ENOMEM, or -EINVAL with a sentence; then @a is what it was.
 */
int fg_address_set(struct fg_address *a, const struct fg_cloud_config *config, struct fg_tls *tls,
		   const char *given, struct fg_error *err);

/** Release what it holds. */
void fg_address_clear(struct fg_address *a);
