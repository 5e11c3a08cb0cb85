/*
 * Entries of images, and what a restart needs of them. In the store, under the 24 hexadecimal digits
 * that also begin the names of the image's files, numbers little-endian:
 *   offset size
 *        0    1  format version: 1
 *        1    1  kind (enum fg_image_kind)
 *        2    1  state (enum fg_images_state, up to UPDATED)
 *        3    1  1: the device has reported
 *        4    1  checksum algorithm (enum fg_checksum_algorithm)
 *        5    8  size in bytes, 0: not told
 *       13    …  link, device, title, version, checksum, url, authorization: each two bytes size,
 *                then its bytes
 */
#include <errno.h>
#include <stdlib.h>

#include "local/images_internal.h"
#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/log.h"

#define VERSION 1
#define HEADER_BYTES 13
#define N_TEXTS 7

#define MAX_DEVICE_BYTES 255
#define MAX_LINK_BYTES 255
#define MAX_AUTHORIZATION_BYTES 4096

#define KEY_BYTES (FG_IMAGE_OWNER_SIZE - 1)

/* What an entry is made of. */
struct source {
	enum fg_image_kind kind;
	uint64_t size;
	enum fg_checksum_algorithm algorithm;
	struct fg_span texts[N_TEXTS]; /* in the order of the file */
};

static const struct {
	const char *name;
	size_t max;
} text_rules[N_TEXTS] = {
	{"cloud", MAX_LINK_BYTES},
	{"device", MAX_DEVICE_BYTES},
	{"title", FG_IMAGE_MAX_TEXT_BYTES},
	{"version", FG_IMAGE_MAX_TEXT_BYTES},
	{"checksum", FG_CHECKSUM_TEXT_SIZE - 1},
	{"url", FG_HTTP_MAX_URL_BYTES},
	{"authorization", MAX_AUTHORIZATION_BYTES},
};

static int check_texts(const struct source *from, struct fg_error *err)
{
	for (size_t i = 0; i < N_TEXTS; i++) {
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
			  image->checksum, image->url, image->authorization},
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

bool fg_images_entry_is(const struct fg_images_entry *e, const char *link,
			const struct fg_image *image)
{
	return strcmp(e->link, link) == 0 && fg_span_is(image->title, e->title) &&
	       fg_span_is(image->version, e->version) && image->size == e->size &&
	       fg_span_is(image->checksum, e->checksum) && fg_span_is(image->url, e->url) &&
	       (image->checksum.size == 0 ||
		fg_span_is(image->algorithm, fg_checksum_name(e->algorithm)));
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
	const char *texts[N_TEXTS] = {e->link,     e->device, e->title,        e->version,
				      e->checksum, e->url,    e->authorization};
	char name[FG_IMAGE_NAME_SIZE];
	FG_CLEANUP(fg_free_p) char *value = malloc(FG_STORE_VALUE_MAX);
	char *at = value;
	int r = -ENOMEM;

	if (value && key_of(e, name) == 0) {
		*at++ = VERSION;
		*at++ = (char)e->kind;
		*at++ = (char)state_to_remember(e);
		*at++ = (char)e->has_reported;
		*at++ = (char)e->algorithm;
		fg_put_le64(at, e->size);
		at += 8;
		for (size_t i = 0; i < N_TEXTS; i++)
			at = put_text(at, texts[i]);
		r = fg_store_set(e->images->store, fg_span_of(name, KEY_BYTES),
				 fg_span_of(value, (size_t)(at - value)));
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

/* Returns 0 or -EBADMSG. */
static int read_source(struct fg_span value, struct source *ret)
{
	const char *at = value.data + HEADER_BYTES, *end = value.data + value.size;

	if (value.size < HEADER_BYTES || value.data[0] != VERSION ||
	    (value.data[1] != FG_IMAGE_FIRMWARE && value.data[1] != FG_IMAGE_SOFTWARE) ||
	    value.data[2] < FG_IMAGES_QUEUED || value.data[2] > FG_IMAGES_UPDATED ||
	    value.data[4] < 0 || value.data[4] >= FG_CHECKSUM_ALGORITHMS)
		return -EBADMSG;
	ret->kind = (enum fg_image_kind)value.data[1];
	ret->algorithm = (enum fg_checksum_algorithm)value.data[4];
	ret->size = fg_get_le64(value.data + 5);
	for (size_t i = 0; i < N_TEXTS; i++) {
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
	e->has_reported = value.data[3];
	if ((e->state == FG_IMAGES_READY && !fg_images_passes_url(e)) ||
	    (e->state == FG_IMAGES_HANDED && fg_images_keeps_file(e)))
		find_file(e);
	fg_images_entry_add(e);
	return 0;
}

int fg_images_entry_recall(struct fg_images *images)
{
	return fg_store_each(images->store, recall, images);
}
