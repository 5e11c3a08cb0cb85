#include "ota/image_info.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "util/bytes.h"
#include "util/crc32c.h"

#define VERSION 1
#define HEADER_BYTES 42
#define NO_CHECKSUM 255
#define HASH_DIGITS 24

static const uint8_t magic[8] = {'F', 'G', 'I', 'M', 'A', 'G', 'E', '\n'};

static int check_text(const char *what, const char *text, struct fg_error *err)
{
	size_t size = strlen(text);

	if (size <= FG_IMAGE_MAX_TEXT_BYTES)
		return 0;
	return fg_error_set(err, -EINVAL,
			    "the %s of the image has %zu bytes, at most %d can be kept", what, size,
			    FG_IMAGE_MAX_TEXT_BYTES);
}

int fg_image_info_check(const struct fg_image_description *d, struct fg_error *err)
{
	int r = check_text("owner", d->owner, err);

	if (r == 0)
		r = check_text("title", d->title, err);
	if (r == 0)
		r = check_text("version", d->version, err);
	if (r == 0 && d->checksum && !fg_checksum_is_valid(d->algorithm, d->checksum))
		r = fg_error_set(err, -EINVAL,
				 "the checksum of the image is not a %s in hexadecimal",
				 fg_checksum_name(d->algorithm));
	return r;
}

static bool copy_text(const char *text, const char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return *ret || !text;
}

int fg_image_info_copy(const struct fg_image_description *d, struct fg_image_description *ret)
{
	struct fg_image_description copy = {.size = d->size, .algorithm = d->algorithm};

	if (copy_text(d->owner, &copy.owner) && copy_text(d->title, &copy.title) &&
	    copy_text(d->version, &copy.version) && copy_text(d->checksum, &copy.checksum)) {
		*ret = copy;
		return 0;
	}
	fg_image_info_clear(&copy);
	return -ENOMEM;
}

void fg_image_info_clear(struct fg_image_description *d)
{
	/* They are const for who reads the description. */
	free((void *)(uintptr_t)d->owner);
	free((void *)(uintptr_t)d->title);
	free((void *)(uintptr_t)d->version);
	free((void *)(uintptr_t)d->checksum);
	*d = (struct fg_image_description){0};
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
	size_t size = text ? strlen(text) : 0;

	fg_put_le16(at, (uint16_t)size);
	if (size > 0)
		memcpy(at + 2, text, size);
	return at + 2 + size;
}

size_t fg_image_info_encode(const struct fg_image_description *d, uint64_t synced_bytes,
			    uint8_t out[FG_IMAGE_INFO_MAX_BYTES])
{
	uint8_t *end;

	memcpy(out, magic, sizeof(magic));
	fg_put_le16(out + 12, VERSION);
	fg_put_le32(out + 16, 0);
	fg_put_le32(out + 20, 0);
	fg_put_le64(out + 24, synced_bytes);
	fg_put_le64(out + 32, d->size);
	out[40] = d->checksum ? (uint8_t)d->algorithm : NO_CHECKSUM;
	out[41] = 0;
	end = put_text(out + HEADER_BYTES, d->owner);
	end = put_text(end, d->title);
	end = put_text(end, d->version);
	end = put_text(end, d->checksum);
	fg_put_le16(out + 14, (uint16_t)(end - out));
	fg_put_le32(out + 8, fg_crc32c(0, out + 12, (size_t)(end - out) - 12));
	return (size_t)(end - out);
}

int fg_image_info_decode(const uint8_t *data, size_t size, const struct fg_image_description *d,
			 uint64_t *ret_synced_bytes)
{
	uint8_t expected[FG_IMAGE_INFO_MAX_BYTES];
	size_t body;

	if (size < HEADER_BYTES || size > FG_IMAGE_INFO_MAX_BYTES ||
	    memcmp(data, magic, sizeof(magic)) != 0 ||
	    fg_get_le32(data + 8) != fg_crc32c(0, data + 12, size - 12))
		return -EBADMSG;
	if (fg_get_le16(data + 12) != VERSION || fg_get_le16(data + 14) != size ||
	    fg_get_le32(data + 20) != 0)
		return -EBADMSG;
	/* Whether it is this image: what it says of it would be written in the same way. */
	body = fg_image_info_encode(d, 0, expected);
	if (body != size || memcmp(data + 32, expected + 32, size - 32) != 0)
		return -EBADMSG;
	*ret_synced_bytes = fg_get_le64(data + 24);
	return 0;
}

/* The first half of the SHA-256 of @data. */
static int hash_text(const void *data, size_t size, char ret[HASH_DIGITS + 1])
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	for (size_t i = 0; i < HASH_DIGITS / 2; i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

int fg_image_info_name(const struct fg_image_description *d, char ret[FG_IMAGE_NAME_SIZE])
{
	uint8_t bytes[FG_IMAGE_INFO_MAX_BYTES];
	char owner[HASH_DIGITS + 1], what[HASH_DIGITS + 1];
	size_t skip = HEADER_BYTES + 2 + strlen(d->owner), size;
	int r;

	size = fg_image_info_encode(d, 0, bytes);
	/* Size, algorithm, then all texts behind the owner: no two descriptions give the same bytes. */
	memmove(bytes + HEADER_BYTES, bytes + skip, size - skip);
	r = hash_text(d->owner, strlen(d->owner), owner);
	if (r == 0)
		r = hash_text(bytes + 32, size - skip + HEADER_BYTES - 32, what);
	if (r == 0)
		snprintf(ret, FG_IMAGE_NAME_SIZE, "%s-%s", owner, what);
	return r;
}

bool fg_image_info_is_name(const char *name, const char **ret_ending)
{
	static const char *const endings[] = {".part", ".image", ".info", ".tmp"};
	size_t first = strspn(name, "0123456789abcdef");

	if (first != HASH_DIGITS || name[first] != '-')
		return false;
	name += first + 1;
	if (strspn(name, "0123456789abcdef") != HASH_DIGITS)
		return false;
	name += HASH_DIGITS;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		if (strcmp(name, endings[i]) == 0) {
			*ret_ending = name;
			return true;
		}
	}
	return false;
}
