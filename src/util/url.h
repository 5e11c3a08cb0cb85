#pragma once

/*
 * URLs and HOST:PORT taken apart in place, with nothing assumed of where they come from: the
 * configuration writes them, and so do clouds.
 */
#include <stdbool.h>
#include <stdint.h>

#define FG_HOST_MAX_BYTES 253

/** Parts of an url as struct fg_url has them, in place. */
struct fg_url_parts {
	bool is_tls;
	char host[FG_HOST_MAX_BYTES + 1]; /* IPv6 without its brackets */
	uint16_t port;
};

/**
 * Take mqtt://HOST[:PORT] or mqtts://HOST[:PORT] apart; one final slash is allowed.
 * Returns 0, -EINVAL, or -EPERM when it contains an '@': a user name and password do not belong
 * here, and no message may show them.
 */
int fg_url_parse(const char *text, struct fg_url_parts *ret);

/** Take HOST:PORT apart, an IPv6 address in brackets; `is_tls` is false. Returns 0 or -EINVAL. */
int fg_url_parse_address(const char *text, struct fg_url_parts *ret);

/**
 * Is it http://HOST… or https://HOST…, of characters that an URL may have, without query or fragment?
 * Returns 0, -EINVAL, or -EPERM as above.
 */
int fg_http_url_check(const char *text);
