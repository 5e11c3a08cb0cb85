#pragma once

/*
 * TLS as a broker or cloud is configured: the one place where config.h and tls.h meet. Neither needs
 * the other otherwise.
 */
#include "config/config.h"
#include "net/tls.h"

/** As fg_tls_new(), for @host. */
static inline int fg_tls_for_host(const struct fg_tls_config *config, const char *host,
				  struct fg_tls **ret, struct fg_error *err)
{
	const struct fg_tls_params params = {
		.host = host,
		.ca = config->ca,
		.certificate = config->certificate,
		.key = config->key,
		.key_password = config->key_password,
		.is_insecure = config->is_insecure,
	};

	return fg_tls_new(&params, ret, err);
}

/** For the host that @url, or else `server_name`, names; without TLS *@ret stays as it is. */
static inline int fg_tls_for_url(const struct fg_tls_config *config, const struct fg_url *url,
				 struct fg_tls **ret, struct fg_error *err)
{
	if (!url->is_tls)
		return 0;
	return fg_tls_for_host(config, config->server_name ? config->server_name : url->host, ret,
			       err);
}
