#include "cloud/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "net/tls_config.h"

/* The link's material for another host; `server_name` is what the URL's host is called. */
static int make_tls(struct fg_address *a, const struct fg_tls_config *config, const char *host,
		    struct fg_error *err)
{
	struct fg_tls *made;
	int r;

	if (a->made && strcasecmp(a->made_for, host) == 0)
		return 0;
	r = fg_tls_for_host(config, host, &made, err);
	if (r < 0)
		return r;
	fg_tls_free(a->made);
	a->made = made;
	snprintf(a->made_for, sizeof(a->made_for), "%s", host);
	return 0;
}

int fg_address_set(struct fg_address *a, const struct fg_cloud_config *config, struct fg_tls *tls,
		   const char *given, struct fg_error *err)
{
	struct fg_url_parts parts = {.port = config->url.port};
	bool is_other = false, is_same;
	const char *host;
	int r;

	if (given) {
		if (fg_url_parse_address(given, &parts) < 0)
			return fg_error_set(err, -EINVAL, "no address to connect to: \"%.100s\"",
					    given);
		is_other = strcasecmp(parts.host, config->url.host) != 0;
	}
	if (tls && is_other) {
		r = make_tls(a, &config->tls, parts.host, err);
		if (r < 0)
			return r;
		tls = a->made;
	}
	host = is_other ? parts.host : config->url.host;
	is_same = strcasecmp(a->host, host) == 0 && a->port == parts.port;
	snprintf(a->host, sizeof(a->host), "%s", host);
	a->port = parts.port;
	a->tls = tls;
	return !is_same;
}

void fg_address_clear(struct fg_address *a)
{
	fg_tls_free(a->made);
	*a = (struct fg_address){0};
}
