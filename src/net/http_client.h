#pragma once

/*
 * HTTP requests on the loop: libcurl's multi interface driven by libev. One struct fg_http for the
 * daemon keeps connections for reuse, one struct fg_http_request for each request. The answer is
 * collected in memory, or handed to a callback as it comes (downloads; it may pause).
 *
 * libcurl is loaded on a thread when the first request is made, and looks names up on threads of
 * its own: nothing here blocks the loop. Everything belongs to the loop's thread.
 *
 * http and https only, HTTP/1.1, TLS 1.2 or newer. Chain and host name are verified unless
 * is_insecure. No proxy, cookies, .netrc or environment variables unless told here. No user name in
 * an URL: say it in a header. GET and HEAD follow redirects, at most max_redirects, never from
 * https to http; to another scheme, host or port none of the caller's headers and no client
 * certificate go along. The answer to any other method is handed out as it is.
 * No log line is written here, and no error text quotes an URL, a header or a body.
 *
 *              | QUEUED       | RUNNING          | PAUSED           | ENDED
 * -------------+--------------+------------------+------------------+-------
 * libcurl here | RUNNING      | -                | -                | -
 * … not usable | done(),ENDED | -                | -                | -
 * bytes came   | -            | data()           | (wait)           | -
 *  … 0         |              | stay             |                  |
 *  … PAUSE     |              | PAUSED           |                  |
 *  … negative  |              | done(), ENDED    |                  |
 * redirect     | -            | QUEUED, or       | -                | -
 *              |              | done(), ENDED    |                  |
 * answer ended | -            | done(), ENDED    | -                | -
 * failure      | -            | done(), ENDED    | done(), ENDED    | -
 * total timer  | done(),ENDED | done(), ENDED    | done(), ENDED    | -
 * resume()     | nothing      | nothing          | RUNNING, data()  | nothing
 * free()       | gone         | gone             | gone             | gone
 * http_free()  | ENDED        | ENDED            | ENDED            | ENDED
 */
#include <ev.h>

#include "net/connector.h"
#include "net/content_range.h"
#include "util/error.h"
#include "util/span.h"

struct fg_http;
struct fg_http_request;

#define FG_HTTP_MAX_REQUESTS 64    /* at once; one more: -EAGAIN */
#define FG_HTTP_MAX_CONNECTIONS 16 /* at once; more requests wait inside libcurl */
#define FG_HTTP_MAX_URL_BYTES 8192
#define FG_HTTP_MAX_HEADERS 32                     /* of a request, … */
#define FG_HTTP_MAX_HEADER_BYTES 65536             /* … all together; of the answer as well */
#define FG_HTTP_MAX_BODY_BYTES (1024 * 1024)       /* of a request */
#define FG_HTTP_MAX_MEMORY_BYTES (4 * 1024 * 1024) /* of an answer that is collected in memory */
#define FG_HTTP_PAUSE 1

enum fg_http_method {
	FG_HTTP_GET,
	FG_HTTP_HEAD,
	FG_HTTP_POST,
	FG_HTTP_PUT,
	FG_HTTP_PATCH,
	FG_HTTP_DELETE,
};

/** As the links' TLS options. NULL members: the system's store, no client certificate. */
struct fg_http_tls {
	const char *ca;          /* PEM file or directory of hashed files */
	const char *certificate; /* PEM, leaf first */
	const char *key;         /* PEM; NULL: in the certificate's file */
	const char *key_password;
	bool is_insecure; /* do not verify */
};

struct fg_http_params {
	enum fg_http_method method;
	const char *url;
	const char *const *headers; /* "Name: value" */
	size_t n_headers;
	struct fg_span body; /* not with GET and HEAD */
	struct fg_http_tls tls;
	const char *proxy;           /* "http://[USER:PASSWORD@]HOST:PORT"; NULL: none */
	unsigned connect_timeout_ms; /* name lookup, TCP and TLS; 0: 15000 */
	unsigned total_timeout_ms;   /* from _new() to done(), redirects included; 0: none */
	unsigned stall_bytes_per_s;  /* slower than this … */
	unsigned stall_s;            /* … for so long is a failure; 0: 1 byte/s, 60 s */
	uint64_t max_bytes;          /* of the answer's body; 0: FG_HTTP_MAX_MEMORY_BYTES */
	unsigned max_redirects;      /* 0: a redirect is an answer */
	const char *wanted_header;   /* name of a header of the answer to hand out; or NULL */
	uint64_t range_start;        /* ask for what follows this many bytes; 0: everything */
};

/** What came back. Borrowed for the call. */
struct fg_http_response {
	int error;        /* 0: an answer came, whatever its status; else a negative errno, below */
	const char *text; /* a sentence when there is an error */
	unsigned status;  /* e.g. 206; 0: none came */
	int64_t content_length;        /* -1: not told */
	struct fg_content_range range; /* _NONE when there is none or it makes no sense */
	int64_t retry_after_s;         /* also when it was a date; -1: not told */
	const char *content_type;      /* "" when not told */
	const char *wanted_header;     /* the value of that header, or NULL */
	struct fg_span body;           /* without data() only; empty in head() */
};

/*
 * What response.error may be:
 *	-EHOSTUNREACH  the name is not known
 *	-ECONNREFUSED  no connection
 *	-EKEYREJECTED  TLS handshake or certificate check failed
 *	-ETIMEDOUT     one of the timeouts
 *	-ENOTCONN      the connection broke, or the answer was cut
 *	-EPROTO        not HTTP
 *	-EMSGSIZE      longer than max_bytes, or too many headers
 *	-ELOOP         too many redirects
 *	-EPERM         a redirect to where we do not follow
 *	-EINVAL        the URL, or a file of struct fg_http_tls
 *	-ELIBACC       libcurl is not installed
 *	-ENOMEM
 *	or what head() or data() returned
 */

/** All but done may be NULL. Inside them everything here may be called but fg_http_free(). */
struct fg_http_ops {
	/** Status and headers of the last answer, once, before data(). Negative errno: give up. */
	int (*head)(void *owner, const struct fg_http_response *response);

	/**
	 * The next bytes of the body of an answer with status 2xx; other bodies are dropped.
	 * Returns 0, FG_HTTP_PAUSE (not taken: they come again after fg_http_request_resume()), or
	 * a negative errno to give up. Without data() the body of any answer is collected in memory.
	 */
	int (*data)(void *owner, struct fg_span bytes);

	/** The end, exactly once, never inside fg_http_request_new(). */
	void (*done)(void *owner, const struct fg_http_response *response);
};

/**
 * Nothing is loaded or connected yet. The caller owns *@ret and releases it with fg_http_free();
 * @connector outlives it. Returns 0 or -ENOMEM.
 */
int fg_http_new(struct ev_loop *loop, struct fg_connector *connector, struct fg_http **ret);

/** Release; connections are dropped. Requests still there get no callback any more, and must still
 * be released. Takes NULL, returns NULL. */
struct fg_http *fg_http_free(struct fg_http *http);

/**
 * Start a request. Everything is copied but @ops and @owner. The caller owns *@ret.
 * Returns 0, -ENOMEM, -EAGAIN (too many at once), or -EINVAL with a sentence.
 */
int fg_http_request_new(struct fg_http *http, const struct fg_http_params *params,
			const struct fg_http_ops *ops, void *owner, struct fg_http_request **ret,
			struct fg_error *err);

/** Give up, if it is not over, and release: no callback comes after this. Takes NULL, returns NULL. */
struct fg_http_request *fg_http_request_free(struct fg_http_request *r);

/** Go on after FG_HTTP_PAUSE. data() is called later, not inside this. */
void fg_http_request_resume(struct fg_http_request *r);
