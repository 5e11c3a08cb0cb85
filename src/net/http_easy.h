#pragma once

/*
 * One exchange of a request (http_client.h) as a handle of libcurl: what is asked, what is allowed,
 * what the headers of its answer say, and where a redirect leads.
 */
#include "net/http_spec.h"
#include "net/libcurl.h"

/* The body of a redirect is dropped; one that is longer than this is no redirect we know. */
#define FG_HTTP_MAX_REDIRECT_BYTES 65536

struct fg_http_easy_callbacks {
	/* As CURLOPT_WRITEFUNCTION and CURLOPT_HEADERFUNCTION. */
	size_t (*body)(char *data, size_t size, size_t n, void *arg);
	size_t (*header)(char *data, size_t size, size_t n, void *arg);
	void *arg;
	char *error_text; /* CURL_ERROR_SIZE bytes */
};

/** Where the next exchange goes. */
struct fg_http_target {
	char *url;         /* libcurl's: freed with curl->free() */
	bool is_secure;    /* https */
	bool is_elsewhere; /* not the scheme, host and port the caller named */
};

/**
 * The caller's URL, in normal form. The caller of this owns ret->url.
 * Returns 0, -ENOMEM or -EINVAL with a sentence.
 */
int fg_http_target_first(const struct fg_libcurl *curl, const struct fg_http_spec *spec,
			 struct fg_http_target *ret, struct fg_error *err);

/**
 * Where @location leads from @from. Returns 0 (the caller owns ret->url), -ENOMEM, -EPROTO (not an
 * URL) or -EPERM (where we do not go), with a sentence.
 */
int fg_http_target_next(const struct fg_libcurl *curl, const struct fg_http_target *from,
			const char *location, struct fg_http_target *ret, struct fg_error *err);

/**
 * Make the handle for one exchange; *@ret_headers must live as long. The caller owns both, also
 * after a failure. Returns 0, -ENOMEM, or -EINVAL when libcurl refuses an option.
 */
int fg_http_easy_new(const struct fg_libcurl *curl, const struct fg_http_spec *spec,
		     const struct fg_http_target *target,
		     const struct fg_http_easy_callbacks *callbacks, CURL **ret_easy,
		     struct curl_slist **ret_headers);

/** Where the answer redirects to, if it is a redirect that we follow for this method. Borrowed. */
const char *fg_http_easy_location(const struct fg_libcurl *curl, CURL *easy,
				  enum fg_http_method method);

/** Status and headers of the last answer to @spec; the texts in *@ret are libcurl's. */
void fg_http_easy_response(const struct fg_libcurl *curl, CURL *easy,
			   const struct fg_http_spec *spec, struct fg_http_response *ret);

/** The negative errno for a result of libcurl. */
int fg_http_easy_error(CURLcode code);
