#include "net/http_easy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/ssl.h>

/* Options of a handle, set one after the other; the first refusal stays. */
struct setter {
	const struct fg_libcurl *curl;
	CURL *easy;
	CURLcode code;
};

static void set_long(struct setter *s, CURLoption option, long value)
{
	if (s->code == CURLE_OK)
		s->code = s->curl->easy_setopt(s->easy, option, value);
}

static void set_text(struct setter *s, CURLoption option, const char *value)
{
	if (s->code == CURLE_OK)
		s->code = s->curl->easy_setopt(s->easy, option, value);
}

static void set_pointer(struct setter *s, CURLoption option, void *value)
{
	if (s->code == CURLE_OK)
		s->code = s->curl->easy_setopt(s->easy, option, value);
}

/* The same store as for the links: OpenSSL's default, which reads only what it needs. */
static CURLcode trust_system(CURL *easy, void *context, void *arg)
{
	(void)easy;
	(void)arg;
	return SSL_CTX_set_default_verify_paths(context) == 1 ? CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}

static void set_tls(struct setter *s, const struct fg_http_spec *spec, bool is_elsewhere)
{
	const struct fg_http_tls *tls = &spec->is.tls;
	const char *key = tls->key ? tls->key : tls->certificate;

	set_long(s, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	set_long(s, CURLOPT_SSL_VERIFYPEER, tls->is_insecure ? 0 : 1);
	set_long(s, CURLOPT_SSL_VERIFYHOST, tls->is_insecure ? 0 : 2);
	set_text(s, CURLOPT_CAINFO, spec->is_ca_directory ? NULL : tls->ca);
	set_text(s, CURLOPT_CAPATH, spec->is_ca_directory ? tls->ca : NULL);
	set_long(s, CURLOPT_CA_CACHE_TIMEOUT, spec->ca_cache_s);
	if (!tls->ca && !tls->is_insecure && s->code == CURLE_OK)
		s->code = s->curl->easy_setopt(s->easy, CURLOPT_SSL_CTX_FUNCTION, trust_system);
	if (!tls->certificate || is_elsewhere)
		return;
	set_text(s, CURLOPT_SSLCERT, tls->certificate);
	set_text(s, CURLOPT_SSLKEY, key);
	/* Without one OpenSSL would ask on the terminal. */
	set_text(s, CURLOPT_KEYPASSWD, tls->key_password ? tls->key_password : "");
}

static void set_method(struct setter *s, const struct fg_http_spec *spec)
{
	static const char *const names[] = {
		[FG_HTTP_PUT] = "PUT",
		[FG_HTTP_PATCH] = "PATCH",
		[FG_HTTP_DELETE] = "DELETE",
	};
	enum fg_http_method method = spec->is.method;
	bool has_body = spec->is.body.size > 0 || method != FG_HTTP_DELETE;

	if (method == FG_HTTP_GET) {
		set_long(s, CURLOPT_HTTPGET, 1);
		return;
	}
	if (method == FG_HTTP_HEAD) {
		set_long(s, CURLOPT_NOBODY, 1);
		return;
	}
	if (has_body) {
		set_long(s, CURLOPT_POST, 1);
		set_text(s, CURLOPT_POSTFIELDS, spec->body ? spec->body : ""); /* not copied */
		set_long(s, CURLOPT_POSTFIELDSIZE, (long)spec->is.body.size);
	}
	if (method != FG_HTTP_POST)
		set_text(s, CURLOPT_CUSTOMREQUEST, names[method]);
}

/* Nothing of the environment, of the user's home, or of an earlier exchange. */
static void set_limits(struct setter *s, const struct fg_http_params *p)
{
	set_text(s, CURLOPT_PROTOCOLS_STR, "http,https");
	set_long(s, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	set_long(s, CURLOPT_FOLLOWLOCATION, 0);
	set_text(s, CURLOPT_PROXY, p->proxy ? p->proxy : "");
	set_text(s, CURLOPT_NOPROXY, "");
	set_long(s, CURLOPT_NOSIGNAL, 1);
	/* Otherwise giving up while a name is looked up waits for the name server. */
	set_long(s, CURLOPT_QUICK_EXIT, 1);
	set_long(s, CURLOPT_CONNECTTIMEOUT_MS, (long)p->connect_timeout_ms);
	set_long(s, CURLOPT_LOW_SPEED_LIMIT, (long)p->stall_bytes_per_s);
	set_long(s, CURLOPT_LOW_SPEED_TIME, (long)p->stall_s);
}

static bool add_header(struct setter *s, struct curl_slist **headers, const char *text)
{
	struct curl_slist *longer = s->curl->slist_append(*headers, text);

	if (longer)
		*headers = longer;
	return longer != NULL;
}

static int set_headers(struct setter *s, const struct fg_http_spec *spec, bool is_elsewhere,
		       struct curl_slist **headers)
{
	char range[32];

	set_text(s, CURLOPT_USERAGENT, "fieldgate");
	if (spec->is.range_start > 0) {
		snprintf(range, sizeof(range), "%llu-", (unsigned long long)spec->is.range_start);
		set_text(s, CURLOPT_RANGE, range);
	}
	/* libcurl would wait a second for "100 Continue", and call any body a form. */
	if (!add_header(s, headers, "Expect:"))
		return -ENOMEM;
	if (!fg_http_spec_has_header(spec, "Content-Type") &&
	    !add_header(s, headers, "Content-Type:"))
		return -ENOMEM;
	for (size_t i = 0; i < spec->is.n_headers && !is_elsewhere; i++)
		if (!add_header(s, headers, spec->headers[i]))
			return -ENOMEM;
	set_pointer(s, CURLOPT_HTTPHEADER, *headers);
	return 0;
}

int fg_http_easy_new(const struct fg_libcurl *curl, const struct fg_http_spec *spec,
		     const struct fg_http_target *target,
		     const struct fg_http_easy_callbacks *callbacks, CURL **ret_easy,
		     struct curl_slist **ret_headers)
{
	struct setter s = {.curl = curl, .easy = curl->easy_init()};

	*ret_easy = s.easy;
	if (!s.easy || set_headers(&s, spec, target->is_elsewhere, ret_headers) < 0)
		return -ENOMEM;
	set_text(&s, CURLOPT_URL, target->url);
	set_limits(&s, &spec->is);
	set_method(&s, spec);
	set_tls(&s, spec, target->is_elsewhere);
	set_pointer(&s, CURLOPT_ERRORBUFFER, callbacks->error_text);
	set_pointer(&s, CURLOPT_PRIVATE, callbacks->arg);
	set_pointer(&s, CURLOPT_WRITEDATA, callbacks->arg);
	set_pointer(&s, CURLOPT_HEADERDATA, callbacks->arg);
	if (s.code == CURLE_OK)
		s.code = curl->easy_setopt(s.easy, CURLOPT_WRITEFUNCTION, callbacks->body);
	if (s.code == CURLE_OK)
		s.code = curl->easy_setopt(s.easy, CURLOPT_HEADERFUNCTION, callbacks->header);
	if (s.code == CURLE_OUT_OF_MEMORY)
		return -ENOMEM;
	return s.code == CURLE_OK ? 0 : -EINVAL;
}

/* Take over the URL of @u, if it is one that we go to. */
static int target_check(const struct fg_libcurl *curl, CURLU *u, struct fg_http_target *ret)
{
	char *scheme = NULL;
	bool is_http;

	if (curl->url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return -ENOMEM;
	ret->is_secure = strcmp(scheme, "https") == 0;
	is_http = ret->is_secure || strcmp(scheme, "http") == 0;
	curl->free(scheme);
	if (!is_http)
		return -EPERM;
	return curl->url_get(u, CURLUPART_URL, &ret->url, 0) == CURLUE_OK ? 0 : -ENOMEM;
}

static bool has_same(const struct fg_libcurl *curl, CURLU *a, CURLU *b, CURLUPart part)
{
	char *of_a = NULL, *of_b = NULL;
	bool is_same;

	is_same = curl->url_get(a, part, &of_a, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		  curl->url_get(b, part, &of_b, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		  strcasecmp(of_a, of_b) == 0;
	curl->free(of_a);
	curl->free(of_b);
	return is_same;
}

int fg_http_target_first(const struct fg_libcurl *curl, const struct fg_http_spec *spec,
			 struct fg_http_target *ret, struct fg_error *err)
{
	struct fg_http_target target = {0};
	CURLU *u = curl->url();
	CURLUcode code;
	int r = -ENOMEM;

	if (!u)
		return -ENOMEM;
	code = curl->url_set(u, CURLUPART_URL, spec->url, CURLU_DISALLOW_USER);
	if (code == CURLUE_USER_NOT_ALLOWED)
		r = fg_error_set(err, -EINVAL, "the URL contains a user name");
	else if (code != CURLUE_OK && code != CURLUE_OUT_OF_MEMORY)
		r = fg_error_set(err, -EINVAL, "not a valid URL");
	else if (code == CURLUE_OK)
		r = target_check(curl, u, &target);
	curl->url_cleanup(u);
	if (r == 0)
		*ret = target;
	return r;
}

int fg_http_target_next(const struct fg_libcurl *curl, const struct fg_http_target *from,
			const char *location, struct fg_http_target *ret, struct fg_error *err)
{
	struct fg_http_target target = {0};
	CURLU *before = curl->url(), *u = curl->url();
	CURLUcode code = CURLUE_OUT_OF_MEMORY;
	int r = -ENOMEM;

	if (before && u && curl->url_set(before, CURLUPART_URL, from->url, 0) == CURLUE_OK &&
	    curl->url_set(u, CURLUPART_URL, from->url, 0) == CURLUE_OK)
		code = curl->url_set(u, CURLUPART_URL, location,
				     CURLU_DISALLOW_USER | CURLU_URLENCODE);
	if (code == CURLUE_OK)
		r = target_check(curl, u, &target);
	if (code == CURLUE_USER_NOT_ALLOWED)
		r = fg_error_set(err, -EPERM, "redirected to an URL with a user name");
	else if (code == CURLUE_UNSUPPORTED_SCHEME || r == -EPERM)
		r = fg_error_set(err, -EPERM, "redirected to something that is not http or https");
	else if (code != CURLUE_OK && code != CURLUE_OUT_OF_MEMORY)
		r = fg_error_set(err, -EPROTO, "redirected to what is not an URL");
	else if (r == 0 && from->is_secure && !target.is_secure)
		r = fg_error_set(err, -EPERM, "redirected from https to http");
	if (r == 0) {
		target.is_elsewhere = from->is_elsewhere ||
				      !has_same(curl, before, u, CURLUPART_SCHEME) ||
				      !has_same(curl, before, u, CURLUPART_HOST) ||
				      !has_same(curl, before, u, CURLUPART_PORT);
		*ret = target;
	} else {
		curl->free(target.url);
	}
	curl->url_cleanup(before);
	curl->url_cleanup(u);
	return r;
}

/* The first header of the last answer with this @name, or NULL. Borrowed. */
static const char *find_header(const struct fg_libcurl *curl, CURL *easy, const char *name)
{
	struct curl_header *header;

	if (curl->easy_header(easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	return header->value;
}

const char *fg_http_easy_location(const struct fg_libcurl *curl, CURL *easy,
				  enum fg_http_method method)
{
	long status = 0;

	if (method != FG_HTTP_GET && method != FG_HTTP_HEAD)
		return NULL;
	curl->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
		return NULL;
	return find_header(curl, easy, "Location");
}

void fg_http_easy_response(const struct fg_libcurl *curl, CURL *easy,
			   const struct fg_http_spec *spec, struct fg_http_response *ret)
{
	const char *wanted = spec->is.wanted_header;
	const char *type = find_header(curl, easy, "Content-Type");
	const char *range = find_header(curl, easy, "Content-Range");
	bool is_later = find_header(curl, easy, "Retry-After") != NULL;
	curl_off_t length = -1, later = 0;
	long status = 0;

	curl->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl->easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	curl->easy_getinfo(easy, CURLINFO_RETRY_AFTER, &later);
	*ret = (struct fg_http_response){
		.status = (unsigned)status,
		.content_length = length,
		.range = FG_CONTENT_RANGE_NONE,
		.retry_after_s = is_later ? later : -1,
		.content_type = type ? type : "",
		.wanted_header = wanted ? find_header(curl, easy, wanted) : NULL,
	};
	if (range && fg_content_range_parse(range, &ret->range) < 0)
		ret->range = FG_CONTENT_RANGE_NONE;
}

int fg_http_easy_error(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
	case CURLE_INTERFACE_FAILED:
	case CURLE_PROXY:
		return -ECONNREFUSED;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CLIENTCERT:
		return -EKEYREJECTED;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_SEND_FAIL_REWIND:
		return -ENOTCONN;
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_BAD_FUNCTION_ARGUMENT:
		return -EINVAL;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -EPROTO;
	}
}
