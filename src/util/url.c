#include "util/url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

static int parse_port(const char *text, uint16_t *ret)
{
	unsigned port = 0;

	if (!*text)
		return -EINVAL;
	for (; *text >= '0' && *text <= '9' && port <= UINT16_MAX; text++)
		port = port * 10 + (unsigned)(*text - '0');
	if (strcmp(text, "/") == 0)
		text++;
	if (*text || port == 0 || port > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

static bool host_ok(const char *host)
{
	return *host && *host != '.' && *host != '-' &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
		       strlen(host);
}

/* Returns what follows the host, or NULL. */
static const char *parse_host(const char *text, char out[FG_HOST_MAX_BYTES + 1])
{
	bool is_bracketed = *text == '[';
	struct in6_addr address;
	size_t size;

	text += is_bracketed;
	size = strcspn(text, is_bracketed ? "]" : ":/");
	if (size > FG_HOST_MAX_BYTES)
		return NULL;
	memcpy(out, text, size);
	out[size] = 0;
	text += size;
	if (is_bracketed)
		return *text == ']' && inet_pton(AF_INET6, out, &address) == 1 ? text + 1 : NULL;
	return host_ok(out) ? text : NULL;
}

int fg_url_parse(const char *text, struct fg_url_parts *ret)
{
	struct fg_url_parts parts = {0};

	if (strchr(text, '@'))
		return -EPERM;
	if (strncmp(text, "mqtt://", 7) == 0)
		text += 7;
	else if (strncmp(text, "mqtts://", 8) == 0)
		parts.is_tls = true, text += 8;
	else
		return -EINVAL;
	parts.port = parts.is_tls ? 8883 : 1883;

	text = parse_host(text, parts.host);
	if (!text)
		return -EINVAL;
	if (*text == ':') {
		if (parse_port(text + 1, &parts.port) < 0)
			return -EINVAL;
	} else if (*text && strcmp(text, "/") != 0) {
		return -EINVAL;
	}
	*ret = parts;
	return 0;
}

int fg_url_parse_address(const char *text, struct fg_url_parts *ret)
{
	struct fg_url_parts parts = {0};
	const char *port = parse_host(text, parts.host);

	if (!port || *port != ':' || strchr(port, '/') || parse_port(port + 1, &parts.port) < 0)
		return -EINVAL;
	*ret = parts;
	return 0;
}

int fg_http_url_check(const char *text)
{
	static const char *const schemes[] = {"http://", "https://"};
	const char *host = NULL;

	if (strchr(text, '@'))
		return -EPERM;
	for (size_t i = 0; i < 2; i++)
		if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
			host = text + strlen(schemes[i]);
	if (!host || !*host || *host == '/')
		return -EINVAL;
	for (const char *c = host; *c; c++)
		if (*c <= ' ' || *c > '~' || strchr("?#\"<>\\^`{|}", *c))
			return -EINVAL;
	return 0;
}
