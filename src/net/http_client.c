#include "net/http_client.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "net/http_easy.h"
#include "util/cleanup.h"

/* A connection has two while it tries IPv4 and IPv6, and one to its name lookup before. */
#define MAX_SOCKETS (2 * FG_HTTP_MAX_REQUESTS)

/* Kept open for the next request. */
#define MAX_IDLE_CONNECTIONS 4

enum request_state {
	REQUEST_QUEUED,  /* libcurl is not here yet, or busy calling us */
	REQUEST_RUNNING, /* at libcurl */
	REQUEST_PAUSED,  /* at libcurl, which waits for resume() */
	REQUEST_ENDED,
};

struct fg_http_request {
	struct fg_http *http; /* NULL: it has gone */
	struct fg_http_request *next;
	struct fg_http_spec *spec;
	const struct fg_http_ops *ops;
	void *owner;
	enum request_state state;
	bool is_in_callback; /* free() waits until it is over */
	bool is_abandoned;   /* free() was called */
	bool is_to_resume;
	bool is_head_given;
	ev_timer total;

	/* The exchange that is going on. */
	struct fg_http_target target;
	CURL *easy;
	struct curl_slist *headers;
	unsigned n_redirects;
	size_t header_bytes;
	uint64_t body_bytes;

	int error; /* why it ends, when we know better than libcurl; 0: no */
	char text[CURL_ERROR_SIZE];
	char curl_text[CURL_ERROR_SIZE];
	char *body; /* the answer, collected */
	size_t body_size, body_room;
};

struct http_socket {
	ev_io io;
	bool is_used;
};

struct fg_http {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_libcurl_load *load; /* while it goes on */
	struct fg_libcurl *curl;      /* NULL: not loaded yet */
	CURLM *multi;
	ev_timer timer;      /* libcurl's */
	ev_timer kick;       /* something is to be done, outside of whatever goes on now */
	bool is_in_curl;     /* in a call that calls us back: not to be called again */
	unsigned n_requests; /* that are not released */
	struct fg_http_request *requests;
	struct http_socket sockets[MAX_SOCKETS];
};

static void http_settle(struct fg_http *http);

static void http_freep(struct fg_http **http)
{
	fg_http_free(*http);
}

static void http_kick(struct fg_http *http)
{
	if (!ev_is_active(&http->kick)) {
		ev_timer_set(&http->kick, 0., 0.);
		ev_timer_start(http->loop, &http->kick);
	}
}

/* -- one request -- */

/* Why it is about to end; the first reason stays. */
static int request_fail(struct fg_http_request *r, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int request_fail(struct fg_http_request *r, int error, const char *format, ...)
{
	va_list args;

	if (r->error == 0) {
		r->error = error;
		va_start(args, format);
		vsnprintf(r->text, sizeof(r->text), format, args);
		va_end(args);
	}
	return error;
}

/* Give up what is at libcurl. */
static void request_drop_exchange(struct fg_http_request *r)
{
	const struct fg_libcurl *curl = r->http->curl;

	if (r->easy) {
		curl->multi_remove_handle(r->http->multi, r->easy);
		curl->easy_cleanup(r->easy);
		r->easy = NULL;
	}
	if (r->headers) {
		curl->slist_free_all(r->headers);
		r->headers = NULL;
	}
}

/* All but the memory that the owner points to. */
static void request_leave(struct fg_http_request *r)
{
	struct fg_http *http = r->http;
	struct fg_http_request **at = &http->requests;

	request_drop_exchange(r);
	if (r->target.url)
		http->curl->free(r->target.url);
	r->target.url = NULL;
	ev_timer_stop(http->loop, &r->total);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	http->n_requests--;
	r->http = NULL;
	r->state = REQUEST_ENDED;
}

static void request_release(struct fg_http_request *r)
{
	if (r->http)
		request_leave(r);
	fg_http_spec_free(r->spec);
	if (r->body)
		explicit_bzero(r->body, r->body_size); /* it may have been a token */
	free(r->body);
	free(r);
}

/* head(), if it is still due. Returns 0, a negative errno, or -ECANCELED: gone, or to be. */
static int request_give_head(struct fg_http_request *r, const struct fg_http_response *response)
{
	int result;

	if (r->is_head_given || !r->ops->head)
		return 0;
	r->is_head_given = true;
	r->is_in_callback = true;
	result = r->ops->head(r->owner, response);
	r->is_in_callback = false;
	return r->is_abandoned ? -ECANCELED : result;
}

/* The end: done(), after which @r may be gone. */
static void request_end(struct fg_http_request *r, struct fg_http_response *response)
{
	if (r->error == 0 && response->status > 0) {
		int error = request_give_head(r, response);

		if (error < 0)
			request_fail(r, error, "given up");
	}
	response->error = r->error;
	response->text = r->error ? r->text : "";
	if (r->error == 0 && r->body)
		response->body = fg_span_of(r->body, r->body_size);
	r->is_in_callback = true;
	if (!r->is_abandoned)
		r->ops->done(r->owner, response);
	r->is_in_callback = false;
	/* Only now: content_type lies in libcurl's handle. */
	if (r->http)
		request_leave(r);
	if (r->is_abandoned)
		request_release(r);
}

/* The end without an answer. */
static void request_end_failed(struct fg_http_request *r)
{
	struct fg_http_response response = {
		.content_length = -1,
		.range = FG_CONTENT_RANGE_NONE,
		.retry_after_s = -1,
		.content_type = "",
	};

	request_drop_exchange(r);
	request_end(r, &response);
}

static int request_collect(struct fg_http_request *r, struct fg_span bytes)
{
	size_t need = r->body_size + bytes.size, room = r->body_room ? r->body_room : 4096;
	char *larger;

	while (room < need)
		room *= 2;
	if (room > r->body_room) {
		larger = realloc(r->body, room);
		if (!larger)
			return request_fail(r, -ENOMEM, "out of memory");
		r->body = larger;
		r->body_room = room;
	}
	memcpy(r->body + r->body_size, bytes.data, bytes.size);
	r->body_size = need;
	return 0;
}

static int request_give_data(struct fg_http_request *r, struct fg_span bytes)
{
	int result;

	r->is_in_callback = true;
	result = r->ops->data(r->owner, bytes);
	r->is_in_callback = false;
	if (r->is_abandoned)
		return -ECANCELED;
	if (result < 0)
		return request_fail(r, result, "given up");
	return result;
}

/* Bytes of the body came: 0, FG_HTTP_PAUSE, or a negative errno that ends the request. */
static int request_take(struct fg_http_request *r, struct fg_span bytes)
{
	const struct fg_libcurl *curl = r->http->curl;
	struct fg_http_response head;
	uint64_t limit = r->spec->is.max_bytes;
	int result;

	if (r->spec->is.max_redirects > 0 &&
	    fg_http_easy_location(curl, r->easy, r->spec->is.method)) {
		r->body_bytes += bytes.size;
		if (r->body_bytes > FG_HTTP_MAX_REDIRECT_BYTES)
			return request_fail(r, -EMSGSIZE, "a redirect of more than %d bytes",
					    FG_HTTP_MAX_REDIRECT_BYTES);
		return 0;
	}
	fg_http_easy_response(curl, r->easy, r->spec, &head);
	result = request_give_head(r, &head);
	if (result < 0)
		return request_fail(r, result, "given up");
	if (r->body_bytes + bytes.size > limit ||
	    (head.content_length >= 0 && (uint64_t)head.content_length > limit))
		return request_fail(r, -EMSGSIZE, "the answer is longer than %llu bytes",
				    (unsigned long long)limit);
	if (!r->ops->data)
		result = request_collect(r, bytes);
	else if (head.status / 100 == 2)
		result = request_give_data(r, bytes);
	if (result == 0)
		r->body_bytes += bytes.size;
	return result;
}

static size_t body_came(char *data, size_t size, size_t n, void *arg)
{
	struct fg_http_request *r = arg;
	int result;

	if (r->is_abandoned)
		return CURL_WRITEFUNC_ERROR;
	result = request_take(r, fg_span_of(data, size * n));
	if (result < 0)
		return CURL_WRITEFUNC_ERROR;
	if (result == FG_HTTP_PAUSE) {
		r->state = REQUEST_PAUSED;
		return CURL_WRITEFUNC_PAUSE;
	}
	return size * n;
}

/* libcurl keeps every header for later; so it has to be us who says when it is too much. */
static size_t header_came(char *data, size_t size, size_t n, void *arg)
{
	struct fg_http_request *r = arg;

	(void)data;
	r->header_bytes += size * n;
	if (r->header_bytes <= FG_HTTP_MAX_HEADER_BYTES)
		return size * n;
	request_fail(r, -EMSGSIZE, "headers of more than %d bytes", FG_HTTP_MAX_HEADER_BYTES);
	return 0;
}

static void request_start(struct fg_http_request *r)
{
	struct fg_http *http = r->http;
	const struct fg_http_easy_callbacks callbacks = {
		.body = body_came,
		.header = header_came,
		.arg = r,
		.error_text = r->curl_text,
	};
	struct fg_error why = {"out of memory"};
	int result = 0;

	if (!r->target.url)
		result = fg_http_target_first(http->curl, r->spec, &r->target, &why);
	if (result == 0) {
		result = fg_http_easy_new(http->curl, r->spec, &r->target, &callbacks, &r->easy,
					  &r->headers);
		if (result == -EINVAL)
			fg_error_set(&why, result, "libcurl refuses an option");
	}
	if (result == 0 && http->curl->multi_add_handle(http->multi, r->easy) != CURLM_OK)
		result = -ENOMEM;
	if (result < 0) {
		request_fail(r, result, "%s", why.text);
		request_end_failed(r);
		return;
	}
	r->state = REQUEST_RUNNING;
}

/* The answer was a redirect. Queued again, or ended. */
static void request_redirect(struct fg_http_request *r, const char *location)
{
	const struct fg_libcurl *curl = r->http->curl;
	struct fg_http_target next;
	struct fg_error why = {"out of memory"};
	int result;

	if (r->n_redirects++ >= r->spec->is.max_redirects)
		result = fg_error_set(&why, -ELOOP, "more than %u redirects",
				      r->spec->is.max_redirects);
	else
		result = fg_http_target_next(curl, &r->target, location, &next, &why);
	if (result < 0) {
		request_fail(r, result, "%s", why.text);
		request_end_failed(r);
		return;
	}
	request_drop_exchange(r);
	curl->free(r->target.url);
	r->target = next;
	r->header_bytes = 0;
	r->body_bytes = 0;
	r->curl_text[0] = '\0';
	r->state = REQUEST_QUEUED;
}

/* libcurl is through with it. */
static void request_finished(struct fg_http_request *r, CURLcode code)
{
	const struct fg_libcurl *curl = r->http->curl;
	struct fg_http_response response;
	const char *location = NULL;

	if (r->is_abandoned) {
		request_release(r);
		return;
	}
	r->state = REQUEST_RUNNING;
	if (code != CURLE_OK)
		request_fail(r, fg_http_easy_error(code), "%s",
			     r->curl_text[0] ? r->curl_text : curl->easy_strerror(code));
	if (r->error == 0 && r->spec->is.max_redirects > 0)
		location = fg_http_easy_location(curl, r->easy, r->spec->is.method);
	if (location) {
		request_redirect(r, location);
		return;
	}
	fg_http_easy_response(curl, r->easy, r->spec, &response);
	request_end(r, &response);
}

static void request_resume(struct fg_http_request *r)
{
	struct fg_http *http = r->http;
	CURLcode code;

	r->is_to_resume = false;
	r->state = REQUEST_RUNNING;
	http->is_in_curl = true;
	code = http->curl->easy_pause(r->easy, CURLPAUSE_CONT); /* calls body_came() */
	http->is_in_curl = false;
	if (code != CURLE_OK)
		request_finished(r, code);
}

static void total_over(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_http_request *r = w->data;

	(void)loop;
	(void)events;
	request_fail(r, -ETIMEDOUT, "not done within %u ms", r->spec->is.total_timeout_ms);
	request_end_failed(r);
}

/* -- libcurl on the loop -- */

static void http_act(struct fg_http *http, curl_socket_t fd, int what)
{
	int n_running;

	http->is_in_curl = true;
	http->curl->multi_socket_action(http->multi, fd, what, &n_running);
	http->is_in_curl = false;
	http_settle(http);
}

static void socket_ready(struct ev_loop *loop, ev_io *w, int events)
{
	(void)loop;
	http_act(w->data, w->fd,
		 ((events & EV_READ) ? CURL_CSELECT_IN : 0) |
			 ((events & EV_WRITE) ? CURL_CSELECT_OUT : 0) |
			 ((events & EV_ERROR) ? CURL_CSELECT_ERR : 0));
}

static void timer_over(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	http_act(w->data, CURL_SOCKET_TIMEOUT, 0);
}

static void kicked(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	http_settle(w->data);
}

/* CURLMOPT_SOCKETFUNCTION */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct fg_http *http = arg;
	struct http_socket *free_one = NULL, *s = NULL;

	(void)easy;
	(void)socket_arg;
	for (size_t i = 0; i < MAX_SOCKETS && !s; i++) {
		if (http->sockets[i].is_used && http->sockets[i].io.fd == fd)
			s = &http->sockets[i];
		else if (!http->sockets[i].is_used && !free_one)
			free_one = &http->sockets[i];
	}
	if (s)
		ev_io_stop(http->loop, &s->io);
	if (what == CURL_POLL_REMOVE) {
		if (s)
			s->is_used = false;
		return 0;
	}
	s = s ? s : free_one;
	assert(s); /* MAX_SOCKETS is more than libcurl may open */
	s->is_used = true;
	ev_io_init(&s->io, socket_ready, fd,
		   ((what & CURL_POLL_IN) ? EV_READ : 0) | ((what & CURL_POLL_OUT) ? EV_WRITE : 0));
	s->io.data = http;
	ev_io_start(http->loop, &s->io);
	return 0;
}

/* CURLMOPT_TIMERFUNCTION */
static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct fg_http *http = arg;

	(void)multi;
	ev_timer_stop(http->loop, &http->timer);
	if (timeout_ms >= 0) {
		ev_timer_set(&http->timer, (double)timeout_ms / 1e3, 0.);
		ev_timer_start(http->loop, &http->timer);
	}
	return 0;
}

static int http_make_multi(struct fg_http *http)
{
	const struct fg_libcurl *curl = http->curl;

	http->multi = curl->multi_init();
	if (!http->multi)
		return -ENOMEM;
	curl->multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl->multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl->multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl->multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl->multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
			   (long)FG_HTTP_MAX_CONNECTIONS);
	curl->multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)MAX_IDLE_CONNECTIONS);
	return 0;
}

/* One thing that is to be done. False: nothing left. */
static bool http_settle_one(struct fg_http *http)
{
	struct fg_http_request *r;

	for (r = http->requests; r; r = r->next) {
		if (r->is_in_callback)
			continue;
		if (r->is_abandoned)
			request_release(r);
		else if (r->state == REQUEST_QUEUED && r->error)
			request_end_failed(r);
		else if (r->state == REQUEST_QUEUED && http->multi)
			request_start(r);
		else if (r->state == REQUEST_PAUSED && r->is_to_resume)
			request_resume(r);
		else
			continue;
		return true;
	}
	return false;
}

/* Do what could not be done inside libcurl's callbacks or the caller's. */
static void http_settle(struct fg_http *http)
{
	CURLMsg *message;
	int n;

	do {
		while (http->multi && (message = http->curl->multi_info_read(http->multi, &n))) {
			struct fg_http_request *r;
			CURLcode code = message->data.result;

			http->curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &r);
			http->curl->multi_remove_handle(http->multi, r->easy);
			request_finished(r, code);
		}
	} while (http_settle_one(http));
}

static void loaded(void *arg, struct fg_libcurl *curl, int error, const char *text)
{
	struct fg_http *http = arg;

	http->load = NULL;
	http->curl = curl;
	if (error == 0)
		error = http_make_multi(http);
	if (error < 0) {
		http->curl = fg_libcurl_free(http->curl);
		for (struct fg_http_request *r = http->requests; r; r = r->next)
			request_fail(r, error, "%s", text[0] ? text : "out of memory");
	}
	http_settle(http);
}

/* -- what the header offers -- */

int fg_http_new(struct ev_loop *loop, struct fg_connector *connector, struct fg_http **ret)
{
	FG_CLEANUP(http_freep) struct fg_http *http = calloc(1, sizeof(*http));

	if (!http)
		return -ENOMEM;
	http->loop = loop;
	http->connector = connector;
	ev_init(&http->timer, timer_over);
	http->timer.data = http;
	ev_init(&http->kick, kicked);
	http->kick.data = http;

	*ret = http; /* the caller owns it now */
	http = NULL;
	return 0;
}

struct fg_http *fg_http_free(struct fg_http *http)
{
	if (!http)
		return NULL;
	assert(!http->is_in_curl);
	if (http->load)
		fg_libcurl_load_cancel(http->load);
	while (http->requests)
		request_leave(http->requests);
	if (http->multi)
		http->curl->multi_cleanup(http->multi);
	ev_timer_stop(http->loop, &http->timer);
	ev_timer_stop(http->loop, &http->kick);
	fg_libcurl_free(http->curl);
	free(http);
	return NULL;
}

int fg_http_request_new(struct fg_http *http, const struct fg_http_params *params,
			const struct fg_http_ops *ops, void *owner, struct fg_http_request **ret,
			struct fg_error *err)
{
	struct fg_http_request *r;
	struct fg_http_spec *spec;
	int result;

	if (http->n_requests >= FG_HTTP_MAX_REQUESTS)
		return fg_error_set(err, -EAGAIN, "%d requests are already under way",
				    FG_HTTP_MAX_REQUESTS);
	result = fg_http_spec_new(params, !ops->data, &spec, err);
	if (result < 0)
		return result;
	r = calloc(1, sizeof(*r));
	result = r ? 0 : -ENOMEM;
	if (r && !http->curl && !http->load)
		result = fg_libcurl_load(http->connector, loaded, http, &http->load);
	if (result < 0) {
		free(r);
		fg_http_spec_free(spec);
		return fg_error_set(err, result, "%s",
				    result == -EAGAIN ? "too many threads are at work"
						      : "cannot start to load libcurl");
	}
	r->http = http;
	r->spec = spec;
	r->ops = ops;
	r->owner = owner;
	r->next = http->requests;
	http->requests = r;
	http->n_requests++;
	ev_init(&r->total, total_over);
	r->total.data = r;
	if (params->total_timeout_ms > 0) {
		ev_now_update(http->loop); /* the loop may have been busy for long */
		ev_timer_set(&r->total, params->total_timeout_ms / 1e3, 0.);
		ev_timer_start(http->loop, &r->total);
	}
	http_kick(http);

	*ret = r; /* the caller owns it now */
	return 0;
}

struct fg_http_request *fg_http_request_free(struct fg_http_request *r)
{
	if (!r)
		return NULL;
	if (r->is_in_callback || (r->http && r->http->is_in_curl)) {
		r->is_abandoned = true;
		return NULL;
	}
	request_release(r);
	return NULL;
}

void fg_http_request_resume(struct fg_http_request *r)
{
	if (r->state != REQUEST_PAUSED)
		return;
	r->is_to_resume = true;
	http_kick(r->http);
}
