#include "net/http_spec.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/crypto.h>

#include "util/cleanup.h"

#define CA_CACHE_S 60

static void spec_freep(struct fg_http_spec **spec)
{
	fg_http_spec_free(*spec);
}

/* A line break would let whoever wrote the text add headers or requests of his own. */
static bool is_clean(const char *text, unsigned char lowest)
{
	for (; *text; text++)
		if ((unsigned char)*text < lowest || *text == 0x7f)
			return false;
	return true;
}

/* RFC 9110, 5.6.2 */
static bool is_token(const char *text, size_t size)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < size; i++) {
		char c = text[i];
		bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool is_digit = c >= '0' && c <= '9';

		if (c == '\0' || (!is_letter && !is_digit && !strchr(others, c)))
			return false;
	}
	return size > 0;
}

static int check_headers(const struct fg_http_params *p, struct fg_error *err)
{
	size_t bytes = 0;

	if (p->n_headers > FG_HTTP_MAX_HEADERS)
		return fg_error_set(err, -EINVAL, "%zu headers, at most %d can be sent",
				    p->n_headers, FG_HTTP_MAX_HEADERS);
	for (size_t i = 0; i < p->n_headers; i++) {
		const char *colon = strchr(p->headers[i], ':');

		if (!colon || !is_token(p->headers[i], (size_t)(colon - p->headers[i])) ||
		    !is_clean(colon, ' '))
			return fg_error_set(err, -EINVAL,
					    "header %zu is not of the form \"Name: value\"", i + 1);
		bytes += strlen(p->headers[i]);
	}
	if (bytes > FG_HTTP_MAX_HEADER_BYTES)
		return fg_error_set(err, -EINVAL, "headers of %zu bytes, at most %d can be sent",
				    bytes, FG_HTTP_MAX_HEADER_BYTES);
	return 0;
}

static int check(const struct fg_http_params *p, bool is_collected, struct fg_error *err)
{
	bool has_body = p->body.size > 0;

	if (strncasecmp(p->url, "http://", 7) != 0 && strncasecmp(p->url, "https://", 8) != 0)
		return fg_error_set(err, -EINVAL,
				    "the URL does not begin with http:// or https://");
	if (strlen(p->url) > FG_HTTP_MAX_URL_BYTES)
		return fg_error_set(err, -EINVAL, "an URL of %zu bytes, at most %d can be used",
				    strlen(p->url), FG_HTTP_MAX_URL_BYTES);
	if (!is_clean(p->url, '!'))
		return fg_error_set(err, -EINVAL, "the URL contains a blank or control character");
	if (has_body && (p->method == FG_HTTP_GET || p->method == FG_HTTP_HEAD))
		return fg_error_set(err, -EINVAL, "GET and HEAD have no body");
	if (p->body.size > FG_HTTP_MAX_BODY_BYTES)
		return fg_error_set(err, -EINVAL, "a body of %zu bytes, at most %d can be sent",
				    p->body.size, FG_HTTP_MAX_BODY_BYTES);
	if (is_collected && p->max_bytes > FG_HTTP_MAX_MEMORY_BYTES)
		return fg_error_set(err, -EINVAL, "at most %d bytes of an answer fit into memory",
				    FG_HTTP_MAX_MEMORY_BYTES);
	if (p->tls.key && !p->tls.certificate)
		return fg_error_set(err, -EINVAL, "a key without a certificate");
	return check_headers(p, err);
}

/* NULL stays NULL. */
static bool copy(const char **text, char **ret)
{
	if (!*text)
		return true;
	*ret = strdup(*text);
	*text = *ret;
	return *ret != NULL;
}

static bool copy_all(struct fg_http_spec *s)
{
	struct fg_http_params *is = &s->is;
	const char *const *headers = is->headers;

	is->headers = NULL;
	for (size_t i = 0; i < is->n_headers; i++) {
		s->headers[i] = strdup(headers[i]);
		if (!s->headers[i])
			return false;
	}
	is->headers = (const char *const *)s->headers;
	if (is->body.size > 0) {
		s->body = malloc(is->body.size);
		if (!s->body)
			return false;
		memcpy(s->body, is->body.data, is->body.size);
		is->body.data = s->body;
	}
	return copy(&is->url, &s->url) && copy(&is->proxy, &s->proxy) &&
	       copy(&is->tls.ca, &s->ca) && copy(&is->tls.certificate, &s->certificate) &&
	       copy(&is->tls.key, &s->key) && copy(&is->tls.key_password, &s->key_password) &&
	       copy(&is->wanted_header, &s->wanted_header);
}

static void set_defaults(struct fg_http_params *p)
{
	if (p->connect_timeout_ms == 0)
		p->connect_timeout_ms = 15000;
	if (p->stall_s == 0) {
		p->stall_bytes_per_s = 1;
		p->stall_s = 60;
	}
	if (p->max_bytes == 0)
		p->max_bytes = FG_HTTP_MAX_MEMORY_BYTES;
}

/*
 * Reading a file of many CAs takes a while, so libcurl keeps what it has made of one; but one that was
 * replaced since has to count at once. A clock that leaps, or a link that leads to another file now, hides
 * that for a minute at most.
 */
static long cache_s(const struct stat *st)
{
	time_t age_s = time(NULL) - st->st_ctime - 1;

	return age_s < 0 ? 0 : age_s < CA_CACHE_S ? (long)age_s : CA_CACHE_S;
}

int fg_http_spec_new(const struct fg_http_params *params, bool is_collected,
		     struct fg_http_spec **ret, struct fg_error *err)
{
	FG_CLEANUP(spec_freep) struct fg_http_spec *s = NULL;
	struct stat st;
	int r;

	r = check(params, is_collected, err);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->is = *params;
	set_defaults(&s->is);
	if (!copy_all(s))
		return -ENOMEM;
	if (s->ca) {
		if (stat(s->ca, &st) < 0)
			return fg_error_set(err, -EINVAL, "%s: %s", s->ca, strerror(errno));
		s->is_ca_directory = S_ISDIR(st.st_mode);
		s->ca_cache_s = cache_s(&st);
	}

	*ret = s; /* the caller owns it now */
	s = NULL;
	return 0;
}

static void wipe(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

struct fg_http_spec *fg_http_spec_free(struct fg_http_spec *s)
{
	if (!s)
		return NULL;
	if (s->body)
		OPENSSL_cleanse(s->body, s->is.body.size);
	free(s->body);
	for (size_t i = 0; i < FG_HTTP_MAX_HEADERS; i++)
		wipe(s->headers[i]);
	wipe(s->url);
	wipe(s->proxy);
	wipe(s->key_password);
	free(s->ca);
	free(s->certificate);
	free(s->key);
	free(s->wanted_header);
	free(s);
	return NULL;
}

bool fg_http_spec_has_header(const struct fg_http_spec *s, const char *name)
{
	size_t size = strlen(name);

	for (size_t i = 0; i < s->is.n_headers; i++)
		if (strncasecmp(s->headers[i], name, size) == 0 && s->headers[i][size] == ':')
			return true;
	return false;
}
