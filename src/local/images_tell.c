/*
 * What clouds are told of their images.
 */
#include "local/images_internal.h"
#include "util/log.h"

static bool has_ended(const struct fg_images_entry *e)
{
	return e->state == FG_IMAGES_UPDATED || e->state == FG_IMAGES_FAILED;
}

/* How much of it is here. */
static uint64_t bytes_of(const struct fg_images_entry *e)
{
	if (e->file)
		return fg_image_file_bytes(e->file);
	return e->download ? e->have : e->size;
}

static struct fg_image_progress progress_of(const struct fg_images_entry *e,
					    enum fg_image_state state)
{
	return (struct fg_image_progress){
		.device = fg_span_str(e->device),
		.kind = e->kind,
		.title = fg_span_str(e->title),
		.version = fg_span_str(e->version),
		.state = state,
		.have = bytes_of(e),
		.size = e->size > 0 ? e->size : e->total,
	};
}

/* Returns false when nothing is told of it as it is. */
static bool describe(const struct fg_images_entry *e, struct fg_image_progress *ret)
{
	*ret = progress_of(e, FG_IMAGE_DOWNLOADING);
	switch (e->state) {
	case FG_IMAGES_QUEUED:
		return false;
	case FG_IMAGES_FETCHING:
		break;
	case FG_IMAGES_SEALING:
		ret->state = FG_IMAGE_DOWNLOADED;
		break;
	case FG_IMAGES_READY:
	case FG_IMAGES_HANDING:
		if (fg_images_passes_url(e))
			return false; /* nobody has verified anything */
		ret->state = FG_IMAGE_VERIFIED;
		break;
	case FG_IMAGES_HANDED:
		ret->state = FG_IMAGE_UPDATING;
		break;
	case FG_IMAGES_UPDATED:
		ret->state = FG_IMAGE_UPDATED;
		break;
	case FG_IMAGES_FAILED:
		ret->state = FG_IMAGE_FAILED;
		ret->error = e->failure;
		ret->fault = e->fault;
		break;
	}
	return true;
}

void fg_images_tell(const struct fg_images_entry *e)
{
	struct fg_image_progress progress;

	if (describe(e, &progress))
		e->images->with.progress(e->images->with.arg, e->link, &progress);
}

/* What has been told is still so; not too often. */
static void tell_on(struct fg_images_entry *e, struct fg_image_progress *progress)
{
	struct fg_images *images = e->images;

	if (images->now_ms - e->told_ms < FG_IMAGES_PROGRESS_MS)
		return;
	e->told_ms = images->now_ms;
	progress->only_grown = true;
	images->with.progress(images->with.arg, e->link, progress);
}

void fg_images_tell_busy(struct fg_images_entry *e)
{
	struct fg_image_progress progress;

	if (describe(e, &progress))
		tell_on(e, &progress);
}

void fg_images_tell_download(struct fg_images_entry *e, enum fg_image_state state, uint64_t have,
			     uint64_t total)
{
	struct fg_images *images = e->images;
	struct fg_image_progress progress;

	e->have = have;
	e->total = total;
	progress = progress_of(e, state);
	if (state == FG_IMAGE_DOWNLOADING) { /* which has been told */
		tell_on(e, &progress);
		return;
	}
	e->told_ms = images->now_ms;
	images->with.progress(images->with.arg, e->link, &progress);
}

void fg_images_tell_refusal(struct fg_images *images, const char *link,
			    const struct fg_image *image, enum fg_image_fault fault,
			    const char *why)
{
	struct fg_image_progress progress = {
		.device = image->device,
		.kind = image->kind,
		.title = image->title,
		.version = image->version,
		.state = FG_IMAGE_FAILED,
		.size = image->size,
		.error = why,
		.fault = fault,
	};

	fg_warning("images: link %s: %s for device %.*s is refused: %s", link,
		   image->kind == FG_IMAGE_FIRMWARE ? "firmware" : "software",
		   FG_SPAN_ARGS(image->device), why);
	images->with.progress(images->with.arg, link, &progress);
}

void fg_images_tell_all(struct fg_images *images, const char *link)
{
	for (struct fg_images_entry *e = images->first; e; e = e->next)
		if (strcmp(e->link, link) == 0 && !(has_ended(e) && e->is_told))
			fg_images_tell(e);
}

void fg_images_told(struct fg_images *images, const char *link, struct fg_span device,
		    enum fg_image_kind kind)
{
	struct fg_images_entry *e = fg_images_find(images, device, kind);

	if (!e || strcmp(e->link, link) != 0 || !has_ended(e) || e->is_told)
		return;
	e->is_told = true;
	if (e->state == FG_IMAGES_UPDATED)
		fg_images_entry_remember(e);
	else
		fg_images_entry_forget(e);
}
