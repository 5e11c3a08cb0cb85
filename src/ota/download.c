#include "ota/download.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net/http_spec.h"
#include "util/backoff.h"
#include "util/cleanup.h"
#include "util/clock.h"

#define PROGRESS_S 1.

enum download_state {
	DOWNLOAD_WAITING, /* for the timer */
	DOWNLOAD_FETCHING,
	DOWNLOAD_SEALING,
	DOWNLOAD_ENDED,
};

struct fg_download {
	struct ev_loop *loop;
	struct fg_http *http;
	struct fg_image_store *store;
	const struct fg_download_ops *ops;
	void *owner;
	struct fg_http_spec *source;
	struct fg_image_description description; /* strings are ours */
	uint64_t max_bytes;
	unsigned max_attempts;
	bool gives_up_room;

	enum download_state state;
	bool is_in_callback;
	bool is_abandoned; /* free() was called inside one */
	bool is_removed;   /* what was fetched goes with it */
	ev_timer timer;    /* the next attempt */
	ev_timer progress;
	struct fg_backoff backoff;
	unsigned n_fruitless; /* attempts in a row */
	unsigned n_rewinds;   /* in all: bytes that came and had to be forgotten */

	struct fg_image_file *image; /* NULL before it is begun */
	bool is_pieced;              /* what is there was fetched at different times */
	bool is_restarted;           /* from byte 0, since the pieces did not fit */

	/* The attempt that goes on. */
	struct fg_http_request *request;
	uint64_t began_at; /* bytes that were there */
	uint64_t told_at;  /* by the last progress() */
	uint64_t total;    /* bytes of the image, 0: not known */
	int error;         /* what we found in head() or data(); 0: nothing */
	bool is_final;     /* … and trying again does not help */
	char text[300];
};

static void download_freep(struct fg_download **d)
{
	fg_download_free(*d);
}

static void download_destroy(struct fg_download *d)
{
	fg_http_request_free(d->request);
	if (d->is_removed)
		fg_image_file_remove(d->image);
	else
		fg_image_file_free(d->image);
	if (d->loop) {
		ev_timer_stop(d->loop, &d->timer);
		ev_timer_stop(d->loop, &d->progress);
	}
	fg_http_spec_free(d->source);
	fg_image_info_clear(&d->description);
	free(d);
}

static uint64_t have_bytes(const struct fg_download *d)
{
	return d->image ? fg_image_file_bytes(d->image) : 0;
}

/* False: it was released, and is gone. */
static bool download_tell(struct fg_download *d, enum fg_image_state state)
{
	if (!d->ops->progress)
		return true;
	d->told_at = have_bytes(d);
	d->is_in_callback = true;
	d->ops->progress(d->owner, state, d->told_at, d->total);
	d->is_in_callback = false;
	if (!d->is_abandoned)
		return true;
	download_destroy(d);
	return false;
}

/* The end; @d may be gone afterwards. */
static void download_end(struct fg_download *d, int error, const char *text)
{
	static const struct fg_image_file_ops nobody = {0};
	struct fg_image_file *image = d->image;
	bool is_wrong = error == -EBADMSG || error == -EMSGSIZE || error == -EFBIG;
	bool is_full = error == -ENOSPC || error == -EDQUOT;

	d->state = DOWNLOAD_ENDED;
	d->image = NULL;
	d->request = fg_http_request_free(d->request);
	ev_timer_stop(d->loop, &d->timer);
	ev_timer_stop(d->loop, &d->progress);
	if (is_wrong || (is_full && d->gives_up_room))
		image = fg_image_file_remove(image);
	else if (error < 0)
		image = fg_image_file_free(image);
	else
		fg_image_file_adopt(image, &nobody, NULL);
	d->is_in_callback = true;
	d->ops->done(d->owner, error, text, image);
	d->is_in_callback = false;
	if (d->is_abandoned)
		download_destroy(d);
}

static void download_wait(struct fg_download *d, int64_t delay_ms)
{
	d->state = DOWNLOAD_WAITING;
	ev_timer_stop(d->loop, &d->progress);
	ev_now_update(d->loop);
	ev_timer_set(&d->timer, (double)delay_ms / 1e3, 0.);
	ev_timer_start(d->loop, &d->timer);
}

/* An attempt failed, and another one may help. */
static void download_retry(struct fg_download *d, int error, const char *text, int64_t after_s)
{
	enum fg_backoff_class class =
		error == -EKEYREJECTED ? FG_BACKOFF_CREDENTIALS : FG_BACKOFF_TRANSIENT;
	uint64_t have = have_bytes(d);
	int64_t delay_ms;
	char sentence[400];

	if (have >= d->began_at + FG_DOWNLOAD_PROGRESS_BYTES)
		d->n_fruitless = 0;
	else
		d->n_fruitless++;
	if (d->n_fruitless >= d->max_attempts) {
		snprintf(sentence, sizeof(sentence), "given up after %u attempts: %s",
			 d->n_fruitless, text);
		download_end(d, error, sentence);
		return;
	}
	if (have > 0)
		d->is_pieced = true;
	delay_ms = fg_backoff_next(&d->backoff, class, fg_clock_monotonic_ms());
	if (after_s > FG_DOWNLOAD_MAX_RETRY_AFTER_S)
		after_s = FG_DOWNLOAD_MAX_RETRY_AFTER_S;
	if (after_s * 1000 > delay_ms)
		delay_ms = after_s * 1000;
	download_wait(d, delay_ms);
}

/* -- SEALING -- */

static void download_seal(struct fg_download *d)
{
	d->state = DOWNLOAD_SEALING;
	d->total = have_bytes(d);
	ev_timer_stop(d->loop, &d->progress);
	if (fg_image_file_seal(d->image) < 0) {
		download_end(d, -EINVAL, "the image is not complete");
		return;
	}
	download_tell(d, FG_IMAGE_DOWNLOADED); /* it may be gone now */
}

/* Pieces of different times may be of different files: once more, in one go. */
static void download_restart(struct fg_download *d)
{
	d->is_restarted = true;
	d->is_pieced = false;
	if (fg_image_file_is_finished(d->image))
		d->image = fg_image_file_remove(d->image);
	else if (fg_image_file_rewind(d->image) < 0)
		d->image = fg_image_file_remove(d->image);
	download_wait(d, 0);
}

/* fg_image_file_ops.finished */
static void image_finished(void *owner, int result)
{
	struct fg_download *d = owner;

	if (result == 0)
		download_end(d, 0, "");
	else if (result == -EBADMSG && d->is_pieced && !d->is_restarted)
		download_restart(d);
	else if (result == -EBADMSG)
		download_end(d, result, "what was fetched does not have the announced checksum");
	else if (result == -EMSGSIZE)
		download_end(d, result, "what was fetched does not have the announced size");
	else
		download_end(d, result, strerror(-result));
}

/* fg_image_file_ops.writable */
static void image_writable(void *owner)
{
	struct fg_download *d = owner;

	if (d->request)
		fg_http_request_resume(d->request);
}

/* -- FETCHING -- */

/* Note why this attempt ends. */
static int attempt_fail(struct fg_download *d, int error, bool is_final, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int attempt_fail(struct fg_download *d, int error, bool is_final, const char *format, ...)
{
	va_list args;

	d->error = error;
	d->is_final = is_final;
	va_start(args, format);
	vsnprintf(d->text, sizeof(d->text), format, args);
	va_end(args);
	return error;
}

/* The server says how large it is. */
static int check_total(struct fg_download *d, int64_t total)
{
	uint64_t limit = d->max_bytes;

	if (total < 0)
		return 0;
	if (d->description.size > 0 && (uint64_t)total != d->description.size)
		return attempt_fail(d, -EMSGSIZE, true,
				    "the server has %lld bytes, but %llu were announced",
				    (long long)total, (unsigned long long)d->description.size);
	if ((uint64_t)total > limit)
		return attempt_fail(d, -EFBIG, true,
				    "the image has %lld bytes, at most %llu are allowed",
				    (long long)total, (unsigned long long)limit);
	d->total = (uint64_t)total;
	return 0;
}

/*
 * Forget what is there, in the middle of an attempt or for the next one. A server that cannot go on
 * in the middle, and never comes to the end, would otherwise be asked for ever.
 */
static int forget_all(struct fg_download *d)
{
	int r;

	if (have_bytes(d) > 0 && d->n_rewinds++ >= d->max_attempts)
		return attempt_fail(
			d, -EPROTO, true,
			"given up after %u attempts that each began with the first byte",
			d->n_rewinds);
	r = fg_image_file_rewind(d->image);
	d->is_pieced = false;
	d->began_at = 0;
	if (r < 0)
		return attempt_fail(d, r, true, "%s", strerror(-r));
	return 0;
}

/* fg_http_ops.head */
static int attempt_head(void *owner, const struct fg_http_response *response)
{
	struct fg_download *d = owner;
	uint64_t have = have_bytes(d);
	int r;

	fg_backoff_connected(&d->backoff, fg_clock_monotonic_ms());
	if (response->status == 200) {
		r = check_total(d, response->content_length);
		return r == 0 && have > 0 ? forget_all(d) : r;
	}
	if (response->status != 206)
		return 0;
	if (response->range.first < 0 || (uint64_t)response->range.first != have) {
		r = forget_all(d);
		return r < 0 ? r
			     : attempt_fail(d, -EPROTO, false,
					    "the server sends another part than asked for");
	}
	return check_total(d, response->range.total);
}

static const char *write_sentence(int error)
{
	switch (-error) {
	case EMSGSIZE:
		return "the server sends more than was announced";
	case EFBIG:
		return "the image is larger than allowed";
	case EDQUOT:
		return "the images in use leave no room for it";
	default:
		return strerror(-error);
	}
}

/* fg_http_ops.data */
static int attempt_data(void *owner, struct fg_span bytes)
{
	struct fg_download *d = owner;

	while (bytes.size > 0) {
		size_t n = bytes.size < FG_IMAGE_PIECE_BYTES ? bytes.size : FG_IMAGE_PIECE_BYTES;
		int r = fg_image_file_write(d->image, fg_image_file_bytes(d->image),
					    fg_span_of(bytes.data, n));

		if (r == -EAGAIN)
			return FG_HTTP_PAUSE;
		if (r < 0)
			return attempt_fail(d, r, true, "%s", write_sentence(r));
		bytes = fg_span_of(bytes.data + n, bytes.size - n);
	}
	return 0;
}

/* An answer came, and it was not what we wanted. */
static void attempt_refused(struct fg_download *d, const struct fg_http_response *response)
{
	char text[80];
	unsigned status = response->status;

	snprintf(text, sizeof(text), "the server answers with status %u", status);
	if (status == 401 || status == 403)
		download_end(d, -EACCES, text);
	else if (status == 404 || status == 410)
		download_end(d, -ENOENT, text);
	else if (status == 416 && (check_total(d, response->range.total) < 0 || forget_all(d) < 0))
		download_end(d, d->error, d->text);
	else if (status == 408 || status == 416 || status == 425 || status == 429 || status >= 500)
		download_retry(d, -EPROTO, text, response->retry_after_s);
	else
		download_end(d, -EPROTO, text);
}

static bool is_worth_a_retry(int error)
{
	switch (-error) {
	case EHOSTUNREACH:
	case ECONNREFUSED:
	case EKEYREJECTED: /* a wrong clock of ours looks like this */
	case ETIMEDOUT:
	case ENOTCONN:
	case EPROTO:
	case ENOMEM:
		return true;
	default:
		return false;
	}
}

/* All is there, as far as the announced size and the server can tell. */
static bool is_complete(const struct fg_download *d, const struct fg_http_response *response)
{
	uint64_t have = have_bytes(d);

	if (d->description.size > 0)
		return have == d->description.size;
	/* A server that has nothing behind what we have. */
	if (response->status == 416)
		return have > 0 && response->range.total >= 0 &&
		       (uint64_t)response->range.total == have;
	if (response->status != 200 && response->status != 206)
		return false;
	return have > 0 && (d->total == 0 || have == d->total);
}

/* fg_http_ops.done */
static void attempt_done(void *owner, const struct fg_http_response *response)
{
	struct fg_download *d = owner;

	d->request = fg_http_request_free(d->request);
	ev_timer_stop(d->loop, &d->progress);
	if (d->error && d->is_final)
		download_end(d, d->error, d->text);
	else if (d->error)
		download_retry(d, d->error, d->text, 0);
	else if (response->error == 0 && is_complete(d, response))
		download_seal(d);
	else if (response->error && is_worth_a_retry(response->error))
		download_retry(d, response->error, response->text, 0);
	else if (response->error)
		download_end(d, response->error, response->text);
	else if (response->status == 200 || response->status == 206)
		download_retry(d, -ENOTCONN, "the answer ended too early", 0);
	else
		attempt_refused(d, response);
}

static const struct fg_http_ops attempt_ops = {
	.head = attempt_head,
	.data = attempt_data,
	.done = attempt_done,
};

static void download_fetch(struct fg_download *d)
{
	struct fg_http_params params = d->source->is;
	struct fg_error err = {""};
	int r = 0;

	d->error = 0;
	if (!d->description.checksum && have_bytes(d) > 0)
		r = forget_all(d);
	if (r < 0) {
		download_end(d, d->error, d->text);
		return;
	}
	d->began_at = have_bytes(d);
	params.range_start = d->began_at;
	/* The whole may come although a part was asked for. */
	params.max_bytes = d->description.size ? d->description.size : d->max_bytes;
	r = fg_http_request_new(d->http, &params, &attempt_ops, d, &d->request, &err);
	if (r == -EAGAIN || r == -ENOMEM) {
		download_retry(d, r, err.text, 0);
		return;
	}
	if (r < 0) {
		download_end(d, r, err.text);
		return;
	}
	d->state = DOWNLOAD_FETCHING;
	ev_timer_again(d->loop, &d->progress);
	download_tell(d, FG_IMAGE_DOWNLOADING); /* it may be gone now */
}

static void progress_due(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_download *d = w->data;

	(void)loop;
	(void)events;
	if (have_bytes(d) != d->told_at)
		download_tell(d, FG_IMAGE_DOWNLOADING); /* it may be gone now */
}

/* -- WAITING -- */

static const struct fg_image_file_ops image_ops = {
	.writable = image_writable,
	.finished = image_finished,
};

static void attempt_due(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_download *d = w->data;
	struct fg_error err = {""};
	int r = 0;

	(void)loop;
	(void)events;
	if (!d->image) {
		r = fg_image_file_begin(d->store, &d->description, &image_ops, d, &d->image, &err);
		if (r == 0)
			d->is_pieced = have_bytes(d) > 0;
	}
	if (r == -EBUSY || r == -ENOMEM)
		download_retry(d, r, err.text, 0);
	else if (r < 0)
		download_end(d, r, err.text);
	else if (fg_image_file_is_finished(d->image) ||
		 (d->description.size > 0 && have_bytes(d) == d->description.size))
		download_seal(d);
	else
		download_fetch(d);
}

/* -- what the header offers -- */

int fg_download_new(struct ev_loop *loop, struct fg_http *http, struct fg_image_store *store,
		    const struct fg_download_params *params, const struct fg_download_ops *ops,
		    void *owner, struct fg_download **ret, struct fg_error *err)
{
	FG_CLEANUP(download_freep) struct fg_download *d = NULL;
	struct fg_http_params source = params->source;
	int r;

	r = fg_image_info_check(&params->image, err);
	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	source.method = FG_HTTP_GET;
	source.body = (struct fg_span){0};
	if (source.max_redirects == 0)
		source.max_redirects = FG_DOWNLOAD_REDIRECTS;
	r = fg_http_spec_new(&source, false, &d->source, err);
	if (r == 0)
		r = fg_image_info_copy(&params->image, &d->description);
	if (r < 0)
		return r;
	d->loop = loop;
	d->http = http;
	d->store = store;
	d->ops = ops;
	d->owner = owner;
	d->max_bytes = fg_image_store_max_image_bytes(store);
	if (params->max_bytes > 0 && params->max_bytes < d->max_bytes)
		d->max_bytes = params->max_bytes;
	d->max_attempts = params->max_attempts ? params->max_attempts : FG_DOWNLOAD_ATTEMPTS;
	d->gives_up_room = params->gives_up_room;
	d->total = params->image.size;
	fg_backoff_init(&d->backoff, params->seed, FG_BACKOFF_MAX_MS);
	ev_init(&d->timer, attempt_due);
	d->timer.data = d;
	ev_init(&d->progress, progress_due);
	d->progress.repeat = PROGRESS_S;
	d->progress.data = d;
	download_wait(d, 0);

	*ret = d; /* the caller owns it now */
	d = NULL;
	return 0;
}

struct fg_download *fg_download_remove(struct fg_download *d)
{
	if (d)
		d->is_removed = true;
	return fg_download_free(d);
}

struct fg_download *fg_download_free(struct fg_download *d)
{
	if (!d)
		return NULL;
	if (d->is_in_callback)
		d->is_abandoned = true;
	else
		download_destroy(d);
	return NULL;
}
