#pragma once

/*
 * What an image is, the name its files have, and the small file beside it that tells how much of it
 * is safely on disk. The name is made of hashes, so no text of a cloud reaches the file system.
 *
 * Files of an image in the store's directory; OWNER and WHAT are 24 lower-case hexadecimal digits,
 * the first half of a SHA-256 (of the owner, and of everything else in the description):
 *	OWNER-WHAT.part   what has arrived so far
 *	OWNER-WHAT.image  all of it, checked
 *	OWNER-WHAT.info   the description; replaced by way of OWNER-WHAT.tmp
 *
 * The .info file, numbers little-endian:
 *   offset size
 *        0    8  magic "FGIMAGE\n"
 *        8    4  CRC32C of all bytes from 12 on
 *       12    2  format version: 1
 *       14    2  size of this file
 *       16    4  compatible feature bits: a reader may ignore those it does not know
 *       20    4  incompatible feature bits: who knows not all of them does not use the file
 *       24    8  bytes of the image that were on disk before this file was written
 *       32    8  size of the image, 0 when it was not announced
 *       40    1  checksum algorithm (enum fg_checksum_algorithm), 255: no checksum was announced
 *       41    1  zero
 *       42    …  owner, title, version, checksum: each two bytes size, then its bytes
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ota/checksum.h"
#include "util/error.h"

#define FG_IMAGE_MAX_TEXT_BYTES 1023 /* of owner, title, version */
#define FG_IMAGE_INFO_MAX_BYTES 4096
#define FG_IMAGE_OWNER_SIZE 25 /* "OWNER" with its NUL */
#define FG_IMAGE_NAME_SIZE 50  /* "OWNER-WHAT" with its NUL */

struct fg_image_description {
	const char *owner; /* whose it is: link, device and purpose; any text. It has one image */
	const char *title, *version; /* any text */
	uint64_t size;               /* bytes; 0: not announced */
	const char *checksum;        /* hexadecimal; NULL: none announced */
	enum fg_checksum_algorithm algorithm;
};

/** Returns 0, or -EINVAL with a sentence: a text too long, or a checksum that is none. */
int fg_image_info_check(const struct fg_image_description *d, struct fg_error *err);

/** A copy whose strings are its own; released with fg_image_info_clear(). Returns 0 or -ENOMEM. */
int fg_image_info_copy(const struct fg_image_description *d, struct fg_image_description *ret);
void fg_image_info_clear(struct fg_image_description *d);

/** "OWNER-WHAT". Returns 0 or -ENOMEM. */
int fg_image_info_name(const struct fg_image_description *d, char ret[FG_IMAGE_NAME_SIZE]);

/** Is @name "OWNER-WHAT" and one of our endings? *@ret_ending then points to its dot. */
bool fg_image_info_is_name(const char *name, const char **ret_ending);

/** Write the .info file of a checked description into @out. Returns its size. */
size_t fg_image_info_encode(const struct fg_image_description *d, uint64_t synced_bytes,
			    uint8_t out[FG_IMAGE_INFO_MAX_BYTES]);

/**
 * How much of image @d was safely on disk, as its .info file tells. Returns 0, or -EBADMSG when it
 * is damaged, of a later version, or of another image.
 */
int fg_image_info_decode(const uint8_t *data, size_t size, const struct fg_image_description *d,
			 uint64_t *ret_synced_bytes);
