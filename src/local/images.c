#include "local/images.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "local/images_internal.h"
#include "model/utf8.h"
#include "util/cleanup.h"
#include "util/log.h"

static const char *kind_name(enum fg_image_kind kind)
{
	return kind == FG_IMAGE_FIRMWARE ? "firmware" : "software";
}

struct fg_images_entry *fg_images_find(const struct fg_images *images, struct fg_span device,
				       enum fg_image_kind kind)
{
	struct fg_images_entry *e;

	for (e = images->first; e && (e->kind != kind || !fg_span_is(device, e->device));)
		e = e->next;
	return e;
}

/* ---- states */

void fg_images_enter(struct fg_images_entry *e, enum fg_images_state state)
{
	static const char *const words[] = {
		[FG_IMAGES_FETCHING] = "is being fetched",
		[FG_IMAGES_READY] = "is here and checked",
		[FG_IMAGES_HANDED] = "is handed over",
		[FG_IMAGES_UPDATED] = "is installed, the device says",
		[FG_IMAGES_HANDING] = NULL, /* the last one */
	};

	e->state = state;
	if (words[state] && !(state == FG_IMAGES_READY && fg_images_passes_url(e)))
		fg_notice("images: %s for device %s %s", kind_name(e->kind), e->device,
			  words[state]);
	switch (state) {
	case FG_IMAGES_READY:
	case FG_IMAGES_HANDED:
	case FG_IMAGES_UPDATED:
	case FG_IMAGES_FAILED:
		fg_images_entry_remember(e);
		break;
	default:
		break;
	}
	if (state != FG_IMAGES_HANDING)
		fg_images_tell(e);
}

/* Stop what is under way. */
static void drop_download(struct fg_images_entry *e)
{
	if (e->download)
		e->images->n_downloads--;
	e->download = fg_download_free(e->download);
}

void fg_images_fail(struct fg_images_entry *e, enum fg_image_fault fault, const char *format, ...)
{
	va_list args;

	e->fault = fault;
	va_start(args, format);
	vsnprintf(e->failure, sizeof(e->failure), format, args);
	va_end(args);
	/* What a device says may be cut, but not inside a character: a cloud wants UTF-8. */
	while (!fg_utf8_ok(fg_span_str(e->failure)))
		e->failure[strlen(e->failure) - 1] = '\0';
	fg_warning("images: %s for device %s failed: %s", kind_name(e->kind), e->device,
		   e->failure);
	drop_download(e);
	e->file = fg_image_file_remove(e->file);
	e->tag = 0;
	fg_images_enter(e, FG_IMAGES_FAILED);
}

/* It is not wanted any more; nothing of it stays. */
static void discard(struct fg_images_entry *e)
{
	if (!e->file && !e->download)
		fg_images_entry_remove_files(
			e); /* of before a restart, or of an attempt that failed */
	if (e->download)
		e->images->n_downloads--;
	e->download = fg_download_remove(e->download);
	e->file = fg_image_file_remove(e->file);
	fg_images_entry_forget(e);
	fg_images_entry_free(e);
}

/* ---- fetching from a URL */

/* fg_download_ops.progress */
static void download_progress(void *owner, enum fg_image_state state, uint64_t have, uint64_t total)
{
	fg_images_tell_download(owner, state, have, total);
}

static void start_downloads(struct fg_images *images);

static enum fg_image_fault download_fault(int error)
{
	switch (-error) {
	case EBADMSG:
	case EMSGSIZE:
		return FG_IMAGE_FAULT_WRONG;
	case EFBIG:
	case ENOSPC:
	case EDQUOT:
		return FG_IMAGE_FAULT_NO_ROOM;
	case EINVAL:
	case EIO:
	case ENOMEM:
		return FG_IMAGE_FAULT_OTHER;
	default:
		return FG_IMAGE_FAULT_DOWNLOAD;
	}
}

/* fg_download_ops.done */
static void download_done(void *owner, int error, const char *text, struct fg_image_file *image)
{
	struct fg_images_entry *e = owner;
	struct fg_images *images = e->images;

	drop_download(e);
	if (error < 0) {
		fg_images_fail(e, download_fault(error), "%s", text);
	} else {
		e->file = image;
		fg_images_enter(e, FG_IMAGES_READY);
		fg_images_deliver(e);
	}
	start_downloads(images);
}

static const struct fg_download_ops download_ops = {
	.progress = download_progress,
	.done = download_done,
};

/* The link's idea of whom to trust; what proves who we are stays with the cloud. */
static struct fg_http_tls tls_of(const struct fg_images *images, const char *link)
{
	const struct fg_config *config = images->with.config;

	for (size_t i = 0; i < config->n_clouds; i++)
		if (strcmp(config->clouds[i].name, link) == 0)
			return (struct fg_http_tls){.ca = config->clouds[i].tls.ca,
						    .is_insecure =
							    config->clouds[i].tls.is_insecure};
	return (struct fg_http_tls){.ca = NULL};
}

static void start_download(struct fg_images_entry *e)
{
	struct fg_images *images = e->images;
	FG_CLEANUP(fg_free_p) char *authorization = NULL;
	const char *headers[1];
	struct fg_download_params params = {
		.source = {.url = e->url,
			   .headers = headers,
			   .n_headers = *e->authorization ? 1 : 0,
			   .tls = tls_of(images, e->link)},
		.image = fg_images_entry_description(e),
		.max_bytes = e->rule->config->max_bytes,
		.gives_up_room = true,
		.seed = images->with.seed + ++images->last_tag,
	};
	struct fg_error err = {""};
	int r;

	if (asprintf(&authorization, "Authorization: %s", e->authorization) < 0) {
		authorization = NULL;
		return; /* the next tick comes here again */
	}
	headers[0] = authorization;
	r = fg_download_new(images->with.loop, images->with.http, e->rule->store, &params,
			    &download_ops, e, &e->download, &err);
	explicit_bzero(authorization, strlen(authorization));
	if (r == -ENOMEM)
		return;
	if (r < 0) {
		fg_images_fail(e, download_fault(r), "%s", err.text);
		return;
	}
	images->n_downloads++;
	e->have = e->total = 0;
	fg_images_enter(e, FG_IMAGES_FETCHING);
}

static void start_downloads(struct fg_images *images)
{
	struct fg_images_entry *e, *next;

	for (e = images->first; e && images->n_downloads < FG_IMAGES_MAX_DOWNLOADS; e = next) {
		next = e->next;
		if (e->state == FG_IMAGES_QUEUED && *e->url)
			start_download(e);
	}
}

/* ---- fetching by the plugin */

/* What a plugin is told, in the words of its header. */
static int disk_errno(int r)
{
	return r == -ENOSPC || r == -EDQUOT || r == -EFBIG ? -ENOSPC : -EIO;
}

static enum fg_image_fault disk_fault(int r)
{
	return disk_errno(r) == -ENOSPC ? FG_IMAGE_FAULT_NO_ROOM : FG_IMAGE_FAULT_OTHER;
}

/* fg_image_file_ops.finished */
static void sealed(void *owner, int result)
{
	struct fg_images_entry *e = owner;

	if (result == -EBADMSG) {
		fg_images_fail(e, FG_IMAGE_FAULT_WRONG,
			       "what was fetched does not have the announced checksum");
	} else if (result == -EMSGSIZE) {
		fg_images_fail(e, FG_IMAGE_FAULT_WRONG,
			       "what was fetched does not have the announced size");
	} else if (result < 0) {
		fg_images_fail(e, disk_fault(result), "%s", strerror(-result));
	} else {
		fg_images_enter(e, FG_IMAGES_READY);
		fg_images_deliver(e);
	}
}

static const struct fg_image_file_ops file_ops = {.finished = sealed};

static void seal(struct fg_images_entry *e)
{
	fg_images_enter(e, FG_IMAGES_SEALING);
	if (fg_image_file_seal(e->file) < 0)
		fg_images_fail(e, FG_IMAGE_FAULT_OTHER, "the image is not complete");
}

/* Returns 0; -EAGAIN: the disk is still busy with the one before; -ENOSPC or -EIO. */
static int start_writing(struct fg_images_entry *e, uint64_t *ret_have)
{
	struct fg_image_description description = fg_images_entry_description(e);
	struct fg_error err = {""};
	int r = fg_image_file_begin(e->rule->store, &description, &file_ops, e, &e->file, &err);

	if (r == -EBUSY)
		return -EAGAIN;
	if (r < 0) {
		fg_images_fail(e, disk_fault(r), "%s", err.text);
		return disk_errno(r);
	}
	*ret_have = fg_image_file_bytes(e->file);
	fg_images_enter(e, FG_IMAGES_FETCHING);
	if (fg_image_file_is_finished(e->file) || *ret_have == e->size)
		seal(e);
	return 0;
}

int fg_images_write(struct fg_images *images, const char *link, struct fg_span device,
		    enum fg_image_kind kind, uint64_t offset, struct fg_span data)
{
	struct fg_images_entry *e = fg_images_find(images, device, kind);

	if (!e || e->state != FG_IMAGES_FETCHING || !e->file || strcmp(e->link, link) != 0)
		return -ENOENT;
	if (offset != fg_image_file_bytes(e->file) || data.size > e->size - offset)
		return -ERANGE;
	while (data.size > 0) {
		size_t n = data.size < FG_IMAGE_PIECE_BYTES ? data.size : FG_IMAGE_PIECE_BYTES;
		int r = fg_image_file_write(e->file, offset, fg_span_of(data.data, n));

		if (r == -EAGAIN)
			return r;
		if (r < 0) {
			fg_images_fail(e, disk_fault(r), "%s", strerror(-r));
			return disk_errno(r);
		}
		offset += n;
		data = fg_span_of(data.data + n, data.size - n);
	}
	if (offset == e->size)
		seal(e);
	return 0;
}

/* ---- announcements */

/* The same image again. */
static int begin_again(struct fg_images_entry *e, uint64_t *ret_have)
{
	if (e->state == FG_IMAGES_QUEUED && !*e->url)
		return start_writing(e, ret_have);
	*ret_have =
		e->state == FG_IMAGES_FETCHING && e->file ? fg_image_file_bytes(e->file) : e->size;
	fg_images_tell(e);
	return 0;
}

/* Has the device told since that it runs another version? */
static bool is_overwritten(const struct fg_images_entry *e)
{
	struct fg_span version;

	return fg_images_version(e->images, fg_span_str(e->device), e->kind, &version) == 0 &&
	       !fg_span_is(version, e->version);
}

/*
 * Does @image, which it is, change how it is to be had? It is fetched from a place that is not the right
 * one any more, or with a token that has expired; or it has ended, and there is reason to try again.
 */
static bool is_out_of_date(const struct fg_images_entry *e, const struct fg_image *image)
{
	bool has_source = fg_images_entry_has_source(e, image);
	bool is_new_order = fg_images_entry_is_new_order(e, image);

	if (e->state == FG_IMAGES_FAILED)
		return !has_source || is_new_order;
	if (e->state == FG_IMAGES_UPDATED)
		return is_new_order && is_overwritten(e);
	return *e->url && !has_source &&
	       (e->state == FG_IMAGES_QUEUED || e->state == FG_IMAGES_FETCHING);
}

/* Another image takes its place. Another cloud that still waits for it is told. */
static void supersede(struct fg_images_entry *old, const char *link)
{
	if (strcmp(old->link, link) != 0 && old->state != FG_IMAGES_UPDATED &&
	    old->state != FG_IMAGES_FAILED)
		fg_images_fail(old, FG_IMAGE_FAULT_BUSY,
			       "another cloud, %s, has another image for the device", link);
	discard(old);
}

/* Returns 0, or -ENOSPC: all that are remembered are under way. */
static int make_room(struct fg_images *images)
{
	struct fg_images_entry *e = images->first;

	if (images->n < FG_IMAGES_MAX)
		return 0;
	while (e && e->state != FG_IMAGES_UPDATED && e->state != FG_IMAGES_FAILED)
		e = e->next;
	if (!e)
		return -ENOSPC;
	discard(e);
	return 0;
}

/* Returns 0, or -EINVAL with a sentence and a fault. */
static int check_image(const struct fg_images_entry *e, enum fg_image_fault *ret_fault,
		       struct fg_error *err)
{
	uint64_t limit;

	*ret_fault = FG_IMAGE_FAULT_UNSUPPORTED;
	if (!e->rule)
		return fg_error_set(err, -EINVAL,
				    "no entry of `images` in the gateway's configuration is for "
				    "this device");
	if (fg_images_passes_url(e) && !*e->url)
		return fg_error_set(err, -EINVAL,
				    "the device fetches images itself (images[].deliver: url, "
				    "without a `url`), and this one has no URL");
	if (fg_images_passes_url(e) && *e->authorization)
		return fg_error_set(err, -EINVAL,
				    "the device fetches images itself (images[].deliver: url, "
				    "without a `url`), and this one needs a token, which is not "
				    "passed on");
	limit = e->rule->config->max_bytes;
	*ret_fault = FG_IMAGE_FAULT_NO_ROOM;
	if (e->size > limit)
		return fg_error_set(err, -EINVAL,
				    "the image has %llu bytes, at most %llu are allowed here "
				    "(images[].max_size)",
				    (unsigned long long)e->size, (unsigned long long)limit);
	return 0;
}

/* Does the device run it already, without our doing? */
static bool is_there(const struct fg_images *images, const struct fg_image *image)
{
	struct fg_span version;

	return image->unless_there &&
	       fg_images_version(images, image->device, image->kind, &version) == 0 &&
	       fg_span_equal(version, image->version);
}

/*
 * A new entry for @image, checked, in place of @old; of the same image what has been fetched stays. What
 * cannot be brought to the device takes nothing away from another cloud, and leaves nothing of its own
 * behind.
 */
static int make_entry(struct fg_images *images, struct fg_images_entry *old, const char *link,
		      const struct fg_image *image, struct fg_images_entry **ret)
{
	enum fg_image_fault fault = FG_IMAGE_FAULT_OTHER;
	struct fg_images_entry *e = NULL;
	struct fg_error err = {""};
	int r = fg_images_entry_new(images, link, image, &e, &err);

	if (r == 0)
		r = check_image(e, &fault, &err);
	if (r == 0 && old && fg_images_entry_is(old, link, image))
		fg_images_entry_free(old);
	else if (old && (r == 0 || strcmp(old->link, link) == 0))
		supersede(old, link);
	if (r == 0) {
		r = make_room(images);
		fault = FG_IMAGE_FAULT_BUSY;
		if (r < 0)
			fg_error_set(&err, r, "%d images are under way already", FG_IMAGES_MAX);
	}
	if (r < 0) {
		fg_images_tell_refusal(images, link, image, fault,
				       err.text[0] ? err.text : strerror(-r));
		fg_images_entry_free(e);
		return r == -EINVAL || r == -ENOSPC ? r : -EIO;
	}
	fg_images_entry_add(e);
	fg_images_entry_remember(e);
	*ret = e;
	return 0;
}

/* Begin to get it to the device. */
static int start(struct fg_images_entry *e, uint64_t *ret_have)
{
	if (fg_images_passes_url(e)) {
		fg_images_enter(e, FG_IMAGES_READY);
		fg_images_deliver(e);
		return 0;
	}
	if (!*e->url)
		return start_writing(e, ret_have);
	start_downloads(e->images);
	return 0;
}

int fg_images_begin(struct fg_images *images, const char *link, const struct fg_image *image,
		    uint64_t *ret_have)
{
	struct fg_images_entry *old = fg_images_find(images, image->device, image->kind);
	struct fg_images_entry *e = NULL;
	int r;

	*ret_have = 0;
	if (old && fg_images_entry_is(old, link, image) && !is_out_of_date(old, image)) {
		if (fg_images_entry_is_new_order(old, image))
			fg_images_entry_take_order(old, image);
		return begin_again(old, ret_have);
	}
	if (is_there(images, image)) {
		if (old && strcmp(old->link, link) == 0)
			discard(old);
		return -EEXIST;
	}
	r = make_entry(images, old, link, image, &e);
	return r < 0 ? r : start(e, ret_have);
}

bool fg_images_lacks(const struct fg_images *images, const char *link, struct fg_span device,
		     enum fg_image_kind kind)
{
	const struct fg_images_entry *e = fg_images_find(images, device, kind);

	return e && strcmp(e->link, link) == 0 && !*e->url &&
	       (e->state == FG_IMAGES_QUEUED || e->state == FG_IMAGES_FETCHING);
}

void fg_images_abandon(struct fg_images *images, const char *link, struct fg_span device,
		       enum fg_image_kind kind, const char *why)
{
	struct fg_images_entry *e = fg_images_find(images, device, kind);

	if (!e || strcmp(e->link, link) != 0)
		return;
	if (!why) {
		fg_notice("images: link %s has withdrawn the %s for device %s", link,
			  kind_name(kind), e->device);
		discard(e);
		start_downloads(images);
	} else if (e->state == FG_IMAGES_QUEUED || e->state == FG_IMAGES_FETCHING) {
		fg_images_fail(e, FG_IMAGE_FAULT_DOWNLOAD, "%s", why);
		start_downloads(images);
	} else if (e->state == FG_IMAGES_READY || e->state == FG_IMAGES_HANDING ||
		   e->state == FG_IMAGES_HANDED) {
		fg_images_fail(e, FG_IMAGE_FAULT_OTHER, "%s", why);
		fg_images_deliver_other(e);
	}
}

/* ---- life */

struct fg_store *fg_images_store(const struct fg_images *images)
{
	return images->store;
}

void fg_images_tick(struct fg_images *images, int64_t now_ms)
{
	images->now_ms = now_ms;
	fg_store_tick(images->store, now_ms);
	if (images->versions)
		fg_store_tick(images->versions, now_ms);
	start_downloads(images);
	for (struct fg_images_entry *e = images->first; e; e = e->next)
		fg_images_deliver(e);
}

static void images_freep(struct fg_images **images)
{
	fg_images_free(*images);
}

int fg_images_open(const struct fg_images_options *options, struct fg_images **ret,
		   struct fg_error *err)
{
	FG_CLEANUP(images_freep) struct fg_images *images = calloc(1, sizeof(*images));
	struct fg_store_options store = {
		.connector = options->connector,
		.path = options->path,
		.max_bytes = (size_t)FG_IMAGES_MAX * FG_STORE_VALUE_MAX,
		.stored = fg_images_entry_stored,
		.arg = images,
	};
	int r;

	if (!images)
		return -ENOMEM;
	images->with = *options;
	images->last = &images->first;
	r = fg_images_rules_open(&images->rules, options, err);
	if (r < 0)
		return r;
	images->chunk = malloc(images->rules.max_chunk_bytes + 1);
	if (!images->chunk)
		return -ENOMEM;
	r = fg_store_open(&store, &images->store, err);
	if (r < 0)
		return r;
	r = fg_images_versions_open(images, err);
	if (r == 0)
		r = fg_images_entry_recall(images);
	if (r < 0)
		return r;

	*ret = images; /* the caller owns it now */
	images = NULL;
	return 0;
}

struct fg_images *fg_images_free(struct fg_images *images)
{
	if (!images)
		return NULL;
	while (images->first)
		fg_images_entry_free(images->first);
	fg_store_free(images->store);
	fg_store_free(images->versions);
	fg_images_rules_clear(&images->rules);
	free(images->chunk);
	free(images);
	return NULL;
}

void fg_images_get_stats(const struct fg_images *images, struct fg_images_stats *ret)
{
	unsigned *const counts[] = {
		[FG_IMAGES_QUEUED] = &ret->queued,    [FG_IMAGES_FETCHING] = &ret->fetching,
		[FG_IMAGES_SEALING] = &ret->fetching, [FG_IMAGES_READY] = &ret->ready,
		[FG_IMAGES_HANDING] = &ret->handed,   [FG_IMAGES_HANDED] = &ret->handed,
		[FG_IMAGES_UPDATED] = &ret->updated,  [FG_IMAGES_FAILED] = &ret->failed,
	};

	*ret = (struct fg_images_stats){.known = (unsigned)images->n};
	for (const struct fg_images_entry *e = images->first; e; e = e->next)
		++*counts[e->state];
}

size_t fg_images_filters(const struct fg_images *images, const struct fg_images_filter **ret)
{
	*ret = images->rules.filters;
	return images->rules.n_filters;
}
