/*
 * Entries of images, and what a restart needs of them. In the store, under the 24 hexadecimal digits
 * that also begin the names of the image's files, numbers little-endian:
 *   offset size
 *        0    1  format version: 2
 *        1    1  kind (enum fg_image_kind)
 *        2    1  state (enum fg_images_state, up to FAILED)
 *        3    1  1: the device has reported; 2: the cloud knows how it ended
 *        4    1  checksum algorithm (enum fg_checksum_algorithm)
 *        5    8  size in bytes, 0: not told
 *       13    1  why it failed (enum fg_image_fault)
 *       14    …  link, device, title, version, checksum, url, authorization, order, why it failed: each
 *                two bytes size, then its bytes
 * Version 1 ended with `authorization` and had neither byte 13 nor the 2 of byte 3 nor FAILED.
 */
#include <errno.h>
#include <stdlib.h>

#include "local/images_internal.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/log.h"

#define VERSION 2
#define HEADER_BYTES 14
#define N_TEXTS 7     /* that an image is made of; … */
#define N_ALL_TEXTS 9 /* … in the file */

#define FLAG_REPORTED 1
#define FLAG_TOLD 2

#define MAX_DEVICE_BYTES 255
#define MAX_LINK_BYTES 255
#define MAX_AUTHORIZATION_BYTES 4096

#define KEY_BYTES (FG_IMAGE_OWNER_SIZE - 1)

/* What an entry is made of. */
struct source {
	enum fg_image_kind kind;
	uint64_t size;
	enum fg_checksum_algorithm algorithm;
	struct fg_span texts[N_ALL_TEXTS]; /* in the order of the file */
};

enum { TEXT_ORDER = N_TEXTS, TEXT_FAILURE };

static const struct {
	const char *name;
	size_t max;
} text_rules[N_ALL_TEXTS] = {
	{"cloud", MAX_LINK_BYTES},
	{"device", MAX_DEVICE_BYTES},
	{"title", FG_IMAGE_MAX_TEXT_BYTES},
	{"version", FG_IMAGE_MAX_TEXT_BYTES},
	{"checksum", FG_CHECKSUM_TEXT_SIZE - 1},
	{"url", FG_HTTP_MAX_URL_BYTES},
	{"authorization", MAX_AUTHORIZATION_BYTES},
	{"order", FG_IMAGE_ORDER_MAX},
	{"failure", sizeof((struct fg_images_entry){0}.failure) - 1},
};

static int check_texts(const struct source *from, struct fg_error *err)
{
	for (size_t i = 0; i < N_ALL_TEXTS; i++) {
		struct fg_span text = from->texts[i];

		if (text.size > text_rules[i].max)
			return fg_error_set(err, -EINVAL,
					    "the %s of the image has %zu bytes, at most %zu are "
					    "allowed",
					    text_rules[i].name, text.size, text_rules[i].max);
		if (text.size > 0 && memchr(text.data, '\0', text.size))
			return fg_error_set(err, -EINVAL, "the %s of the image has a NUL in it",
					    text_rules[i].name);
	}
	return 0;
}

/* To @out, which has room for what check_texts() lets through. */
static void copy_text(char *out, struct fg_span text)
{
	if (text.size > 0)
		memcpy(out, text.data, text.size);
	out[text.size] = '\0';
}

/* Returns 0, -ENOMEM, or -EINVAL with a sentence. */
static int entry_make(struct fg_images *images, const struct source *from,
		      struct fg_images_entry **ret, struct fg_error *err)
{
	static const char *const kinds[] = {
		[FG_IMAGE_FIRMWARE] = "firmware/",
		[FG_IMAGE_SOFTWARE] = "software/",
	};
	size_t size = N_TEXTS + sizeof("firmware/") + MAX_DEVICE_BYTES;
	struct fg_images_entry *e;
	const char *texts[N_TEXTS];
	struct fg_image_description description;
	char *at;
	int r = check_texts(from, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < N_TEXTS; i++)
		size += from->texts[i].size;
	e = calloc(1, sizeof(*e) + size);
	if (!e)
		return -ENOMEM;
	at = e->memory;
	for (size_t i = 0; i < N_TEXTS; i++) {
		texts[i] = at;
		if (from->texts[i].size > 0)
			memcpy(at, from->texts[i].data, from->texts[i].size);
		at += from->texts[i].size + 1;
	}
	e->images = images;
	e->state = FG_IMAGES_QUEUED;
	e->kind = from->kind;
	e->size = from->size;
	e->algorithm = from->algorithm;
	e->link = texts[0];
	e->device = texts[1];
	e->title = texts[2];
	e->version = texts[3];
	e->checksum = texts[4];
	e->url = texts[5];
	e->authorization = texts[6];
	e->owner = at;
	strcpy(stpcpy(at, kinds[e->kind]), e->device);
	copy_text(e->order, from->texts[TEXT_ORDER]);
	copy_text(e->failure, from->texts[TEXT_FAILURE]);
	e->rule = fg_images_rules_find(&images->rules, e->device);
	description = fg_images_entry_description(e);
	r = fg_image_info_check(&description, err);
	if (r < 0) {
		free(e);
		return r;
	}
	*ret = e;
	return 0;
}

int fg_images_entry_new(struct fg_images *images, const char *link, const struct fg_image *image,
			struct fg_images_entry **ret, struct fg_error *err)
{
	struct source from = {
		.kind = image->kind,
		.size = image->size,
		.texts = {fg_span_str(link), image->device, image->title, image->version,
			  image->checksum, image->url, image->authorization, image->order},
	};
	char algorithm[16] = "";

	if (image->algorithm.size < sizeof(algorithm))
		memcpy(algorithm, image->algorithm.size ? image->algorithm.data : "",
		       image->algorithm.size);
	if (image->checksum.size > 0 && fg_checksum_parse(algorithm, &from.algorithm) < 0)
		return fg_error_set(err, -EINVAL,
				    "the image's checksum algorithm \"%.40s\" is not known",
				    algorithm);
	if (image->url.size == 0 && image->size == 0)
		return fg_error_set(err, -EINVAL, "the image has neither a size nor a URL");
	return entry_make(images, &from, ret, err);
}

void fg_images_entry_add(struct fg_images_entry *e)
{
	struct fg_images *images = e->images;

	e->next = NULL;
	*images->last = e;
	images->last = &e->next;
	images->n++;
}

struct fg_images_entry *fg_images_entry_free(struct fg_images_entry *e)
{
	struct fg_images_entry **at;

	if (!e)
		return NULL;
	at = &e->images->first;
	while (*at && *at != e)
		at = &(*at)->next;
	if (*at) {
		*at = e->next;
		if (e->images->last == &e->next)
			e->images->last = at;
		e->images->n--;
	}
	if (e->download)
		e->images->n_downloads--;
	fg_download_free(e->download);
	fg_image_file_free(e->file);
	explicit_bzero((void *)(uintptr_t)e->authorization, strlen(e->authorization));
	free(e);
	return NULL;
}

struct fg_image_description fg_images_entry_description(const struct fg_images_entry *e)
{
	return (struct fg_image_description){
		.owner = e->owner,
		.title = e->title,
		.version = e->version,
		.size = e->size,
		.checksum = *e->checksum ? e->checksum : NULL,
		.algorithm = e->algorithm,
	};
}

/* Up to the '?', or all of it. */
static size_t path_size(struct fg_span url)
{
	const char *query = url.size > 0 ? memchr(url.data, '?', url.size) : NULL;

	return query ? (size_t)(query - url.data) : url.size;
}

static bool is_same_place(struct fg_span a, struct fg_span b)
{
	a.size = path_size(a);
	b.size = path_size(b);
	return fg_span_equal(a, b);
}

bool fg_images_entry_is(const struct fg_images_entry *e, const char *link,
			const struct fg_image *image)
{
	struct fg_span url = fg_span_str(e->url);

	if (strcmp(e->link, link) != 0 || !fg_span_is(image->title, e->title) ||
	    !fg_span_is(image->version, e->version) || image->size != e->size ||
	    !fg_span_is(image->checksum, e->checksum))
		return false;
	if (image->checksum.size == 0)
		return is_same_place(image->url, url);
	return (image->url.size > 0) == (url.size > 0) &&
	       fg_span_is(image->algorithm, fg_checksum_name(e->algorithm));
}

bool fg_images_entry_has_source(const struct fg_images_entry *e, const struct fg_image *image)
{
	return fg_span_is(image->url, e->url) && fg_span_is(image->authorization, e->authorization);
}

bool fg_images_entry_is_new_order(const struct fg_images_entry *e, const struct fg_image *image)
{
	return image->order.size > 0 && image->order.size <= FG_IMAGE_ORDER_MAX &&
	       !fg_span_is(image->order, e->order);
}

void fg_images_entry_take_order(struct fg_images_entry *e, const struct fg_image *image)
{
	copy_text(e->order, image->order);
	e->is_told = false;
	fg_images_entry_remember(e);
}

/* ---- the store */

static int key_of(const struct fg_images_entry *e, char name[FG_IMAGE_NAME_SIZE])
{
	struct fg_image_description description = fg_images_entry_description(e);

	return fg_image_info_name(&description, name);
}

static enum fg_images_state state_to_remember(const struct fg_images_entry *e)
{
	switch (e->state) {
	case FG_IMAGES_QUEUED:
	case FG_IMAGES_FETCHING:
	case FG_IMAGES_SEALING:
		return FG_IMAGES_QUEUED;
	case FG_IMAGES_HANDING:
		return FG_IMAGES_READY;
	default:
		return e->state;
	}
}

static char *put_text(char *at, const char *text)
{
	size_t size = strlen(text);

	fg_put_le16(at, (uint16_t)size);
	memcpy(at + 2, text, size);
	return at + 2 + size;
}

void fg_images_entry_remember(const struct fg_images_entry *e)
{
	/* A token is kept no longer than there is something to fetch with it. */
	const char *authorization = e->state == FG_IMAGES_UPDATED ? "" : e->authorization;
	const char *texts[N_ALL_TEXTS] = {e->link, e->device,     e->title, e->version, e->checksum,
					  e->url,  authorization, e->order, e->failure};
	char name[FG_IMAGE_NAME_SIZE];
	FG_CLEANUP(fg_free_p) char *value = malloc(FG_STORE_VALUE_MAX);
	char *at = value;
	int r = -ENOMEM;

	if (value && key_of(e, name) == 0) {
		*at++ = VERSION;
		*at++ = (char)e->kind;
		*at++ = (char)state_to_remember(e);
		*at++ = (char)((e->has_reported ? FLAG_REPORTED : 0) |
			       (e->is_told ? FLAG_TOLD : 0));
		*at++ = (char)e->algorithm;
		fg_put_le64(at, e->size);
		at += 8;
		*at++ = (char)e->fault;
		for (size_t i = 0; i < N_ALL_TEXTS; i++)
			at = put_text(at, texts[i]);
		r = fg_store_set(e->images->store, fg_span_of(name, KEY_BYTES),
				 fg_span_of(value, (size_t)(at - value)));
		explicit_bzero(value, (size_t)(at - value));
	}
	if (r < 0)
		fg_warning("images: %s is not remembered, a restart forgets its image: %s",
			   e->device, strerror(-r));
}

void fg_images_entry_forget(const struct fg_images_entry *e)
{
	char name[FG_IMAGE_NAME_SIZE];

	if (key_of(e, name) == 0)
		fg_store_set(e->images->store, fg_span_of(name, KEY_BYTES),
			     (struct fg_span){.size = 0});
}

void fg_images_entry_remove_files(const struct fg_images_entry *e)
{
	char name[FG_IMAGE_NAME_SIZE];

	if (key_of(e, name) == 0)
		fg_image_store_remove(e->rule->store, name, NULL);
}

static bool is_done_with_file(const struct fg_images_entry *e)
{
	return e->state == FG_IMAGES_UPDATED || e->state == FG_IMAGES_FAILED ||
	       (e->state == FG_IMAGES_HANDED && !fg_images_keeps_file(e));
}

void fg_images_entry_stored(void *arg, struct fg_span key, int error)
{
	struct fg_images *images = arg;
	char name[FG_IMAGE_NAME_SIZE];
	struct fg_span value;

	for (struct fg_images_entry *e = images->first; e; e = e->next)
		if (e->file && is_done_with_file(e) && key_of(e, name) == 0 &&
		    fg_span_equal(key, fg_span_of(name, KEY_BYTES)) &&
		    (error || (fg_store_get(images->store, key, &value) == 0 &&
			       value.data[2] == (char)e->state)))
			e->file = fg_image_file_remove(e->file);
}

/* Returns 0 or -EBADMSG. */
static int read_source(struct fg_span value, struct source *ret)
{
	bool is_first = value.size > 0 && value.data[0] == 1;
	size_t header = is_first ? HEADER_BYTES - 1 : HEADER_BYTES;
	size_t n_texts = is_first ? N_TEXTS : N_ALL_TEXTS;
	const char *at = value.data + header, *end = value.data + value.size;

	if (value.size < header || (!is_first && value.data[0] != VERSION) ||
	    (value.data[1] != FG_IMAGE_FIRMWARE && value.data[1] != FG_IMAGE_SOFTWARE) ||
	    value.data[2] < FG_IMAGES_QUEUED || value.data[2] > FG_IMAGES_FAILED ||
	    value.data[4] < 0 || value.data[4] >= FG_CHECKSUM_ALGORITHMS)
		return -EBADMSG;
	*ret = (struct source){
		.kind = (enum fg_image_kind)value.data[1],
		.algorithm = (enum fg_checksum_algorithm)value.data[4],
		.size = fg_get_le64(value.data + 5),
	};
	for (size_t i = 0; i < n_texts; i++) {
		size_t size = end - at >= 2 ? fg_get_le16(at) : SIZE_MAX;

		if (size > (size_t)(end - at) || size + 2 > (size_t)(end - at))
			return -EBADMSG;
		ret->texts[i] = fg_span_of(at + 2, size);
		at += 2 + size;
	}
	return at == end ? 0 : -EBADMSG;
}

/* The file it is said to have; or it is fetched anew. */
static void find_file(struct fg_images_entry *e)
{
	static const struct fg_image_file_ops nobody = {0};
	struct fg_image_description description = fg_images_entry_description(e);
	struct fg_error err = {""};

	if (fg_image_file_begin(e->rule->store, &description, &nobody, NULL, &e->file, &err) < 0 ||
	    !fg_image_file_is_finished(e->file)) {
		e->file = fg_image_file_free(e->file);
		/* A device that is at it already does not need it any more. */
		if (!e->has_reported)
			e->state = FG_IMAGES_QUEUED;
	}
}

static bool has_cloud(const struct fg_images *images, const char *link)
{
	const struct fg_config *config = images->with.config;

	for (size_t i = 0; i < config->n_clouds; i++)
		if (strcmp(config->clouds[i].name, link) == 0)
			return true;
	return false;
}

static int recall(void *arg, struct fg_span key, struct fg_span value)
{
	struct fg_images *images = arg;
	struct fg_images_entry *e = NULL;
	struct source from;
	struct fg_error err = {""};
	int r = read_source(value, &from);

	if (r == 0)
		r = entry_make(images, &from, &e, &err);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		fg_warning("images: what was remembered as %.*s cannot be read, forgotten",
			   FG_SPAN_ARGS(key));
		return 0;
	}
	if (!e->rule || !has_cloud(images, e->link) || images->n >= FG_IMAGES_MAX) {
		fg_warning("images: %s is not configured for cloud %s any more, its image waits "
			   "until it is",
			   e->device, e->link);
		fg_images_entry_free(e);
		return 0;
	}
	e->state = (enum fg_images_state)value.data[2];
	e->has_reported = value.data[3] & FLAG_REPORTED;
	e->is_told = value.data[3] & FLAG_TOLD;
	if (value.data[0] == VERSION && value.data[13] >= 0 &&
	    value.data[13] <= FG_IMAGE_FAULT_REFUSED)
		e->fault = (enum fg_image_fault)value.data[13];
	if ((e->state == FG_IMAGES_READY && !fg_images_passes_url(e)) ||
	    (e->state == FG_IMAGES_HANDED && fg_images_keeps_file(e)))
		find_file(e);
	else if (e->state == FG_IMAGES_UPDATED)
		fg_images_entry_remove_files(e); /* the restart came in between */
	fg_images_entry_add(e);
	return 0;
}

int fg_images_entry_recall(struct fg_images *images)
{
	return fg_store_each(images->store, recall, images);
}
