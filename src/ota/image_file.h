#pragma once

/*
 * One firmware or software image on its way to a field device: it arrives piece by piece (by
 * download.h, or in chunks of an MQTT cloud), is checked, made durable, and handed out. A crash at
 * any point leaves something that fg_image_file_begin() goes on with.
 *
 * Everything belongs to the loop's thread. Reads and writes of up to FG_IMAGE_PIECE_BYTES go to the
 * page cache on the loop; what has to wait for the disk (fdatasync, rename, fsync of the directory)
 * is done on a thread of the connector, for every FG_IMAGE_SYNC_EVERY_BYTES and at the end.
 *
 *               | PARTIAL       | SEALING         | FINISHING        | FINISHED
 * --------------+---------------+-----------------+------------------+-----------------
 * write()       | stay          | -EINVAL         | -EINVAL          | -EINVAL
 * rewind()      | stay          | -EINVAL         | -EINVAL          | -EINVAL
 * seal()        | SEALING       | -EINVAL         | -EINVAL          | SEALING
 * a piece is    | -             | stay; when it   | -                | -
 *   verified    |               |  was the last   |                  |
 *               |               |  FINISHING      |                  |
 *   … wrong     | -             | finished() and  | -                | -
 *               |               |  PARTIAL        |                  |
 * thread is     | writable()    | writable()      | finished() and   | -
 *   done        | when asked    | when asked      | FINISHED, or     |
 *               | for           | for             | PARTIAL          |
 * read()        | -EINVAL       | -EINVAL         | -EINVAL          | stay
 * free()        | kept as it is | kept            | kept, may finish | kept
 * remove()      | removed       | removed         | removed          | removed
 *
 * A FINISHED image may be sealed again, to see whether it has kept: finished() tells, and it is FINISHED
 * as before.
 */
#include "ota/image_store.h"
#include "util/span.h"

#define FG_IMAGE_PIECE_BYTES 65536
#define FG_IMAGE_SYNC_EVERY_BYTES (1024 * 1024)       /* a crash costs about this much */
#define FG_IMAGE_MAX_UNSYNCED_BYTES (4 * 1024 * 1024) /* a disk slower than the source holds it */

struct fg_image_file;

/** Each may be NULL. */
struct fg_image_file_ops {
	/** There is room again after -EAGAIN of fg_image_file_write(). */
	void (*writable)(void *owner);
	/** What became of fg_image_file_seal(): 0, -EMSGSIZE (not the announced size), -EBADMSG (wrong
	 * checksum), or another negative errno, of the disk: then only fg_image_file_rewind() helps. */
	void (*finished)(void *owner, int result);
};

/**
 * Begin, or go on with what is there of exactly this @description. All else of the same owner is
 * removed. Without a checksum nothing is gone on with: the pieces might be of different images.
 * Takes room for the announced size (fg_image_store_reserve()). The strings of @description are
 * copied. Inside the callbacks of @ops the image may be released.
 *
 * On success the caller owns *@ret and releases it with fg_image_file_free() or fg_image_file_remove().
 * Returns 0, -EINVAL (description), -EBUSY (an image of this owner is in use, or was just released
 * and the disk is still at it), -EFBIG, -EDQUOT, -ENOSPC, or another negative errno; with a
 * sentence.
 */
int fg_image_file_begin(struct fg_image_store *store,
			const struct fg_image_description *description,
			const struct fg_image_file_ops *ops, void *owner,
			struct fg_image_file **ret, struct fg_error *err);

/** From now on @owner is called back by @ops; to hand an image on. */
void fg_image_file_adopt(struct fg_image_file *image, const struct fg_image_file_ops *ops,
			 void *owner);

/** Close; what is there stays. Takes NULL, returns NULL. */
struct fg_image_file *fg_image_file_free(struct fg_image_file *image);
/** Close and delete. Takes NULL, returns NULL. */
struct fg_image_file *fg_image_file_remove(struct fg_image_file *image);

/** Is all of it here, checked and durable? */
bool fg_image_file_is_finished(const struct fg_image_file *image);
/** How much is here; the next piece goes there. */
uint64_t fg_image_file_bytes(const struct fg_image_file *image);

/**
 * Add @piece (at most FG_IMAGE_PIECE_BYTES) at @offset, which must be fg_image_file_bytes().
 * Returns 0, -EAGAIN (the disk is behind: writable() tells when), -EMSGSIZE (beyond the announced
 * size), -EFBIG, -EDQUOT, -ENOSPC, -EIO; what was there before stays valid.
 */
int fg_image_file_write(struct fg_image_file *image, uint64_t offset, struct fg_span piece);

/** Forget all that is here. Returns 0 or a negative errno. */
int fg_image_file_rewind(struct fg_image_file *image);

/**
 * Read back and check all, a piece (FG_IMAGE_PIECE_BYTES) a turn of the loop, then make it durable.
 * finished() tells, later. Returns 0 or -EINVAL.
 */
int fg_image_file_seal(struct fg_image_file *image);

/** Read from a finished image. Returns how many bytes, 0 at its end, or a negative errno. */
ssize_t fg_image_file_read(const struct fg_image_file *image, uint64_t offset, void *data,
			   size_t size);

/** Where a finished image lies; for a human, or a program that installs it. */
const char *fg_image_file_path(const struct fg_image_file *image);
