#pragma once

/*
 * The directory of images: what lies in it, who uses what, and how much room there is. Everything
 * in it can be fetched again, so what is damaged or in the way is removed. Files with names that
 * are not ours are left alone. Belongs to the loop's thread; never syncs.
 */
#include <ev.h>

#include "net/connector.h"
#include "ota/image_info.h"

#define FG_IMAGE_MAX_FILES 1024 /* images and partial ones together */

struct fg_image_store_options {
	const char *directory; /* made (0750) when it is not there; its parent is */
	uint64_t max_image_bytes;
	uint64_t max_total_bytes;
	uint64_t keep_free_bytes; /* of the file system, for others (the journal) */
};

struct fg_image_store;

/** Somebody uses the files of a name; by value in its user. */
struct fg_image_use {
	struct fg_image_store *store; /* NULL: not entered, or the store has gone */
	char name[FG_IMAGE_NAME_SIZE];
	uint64_t reserved_bytes; /* it may grow to this without asking again */
	struct fg_image_use *next;
};

/**
 * Open, and remove what a crash has left behind that is of no use. @connector outlives the store.
 * The caller owns *@ret. Returns 0, -ENOMEM, or another negative errno with a sentence.
 */
int fg_image_store_open(struct ev_loop *loop, struct fg_connector *connector,
			const struct fg_image_store_options *options, struct fg_image_store **ret,
			struct fg_error *err);

/** All images must be released before; the disk may still be at work for some. Takes NULL, returns
 * NULL. */
struct fg_image_store *fg_image_store_free(struct fg_image_store *s);

uint64_t fg_image_store_max_image_bytes(const struct fg_image_store *s);

/* -- for image_file.c -- */

struct ev_loop *fg_image_store_loop(const struct fg_image_store *s);
struct fg_connector *fg_image_store_connector(const struct fg_image_store *s);
int fg_image_store_fd(const struct fg_image_store *s);
const char *fg_image_store_directory(const struct fg_image_store *s);

/** Enter @use, whose name is set. Returns 0, or -EBUSY when an image of this owner is in use. */
int fg_image_store_enter(struct fg_image_store *s, struct fg_image_use *use);
void fg_image_store_leave(struct fg_image_use *use);

/**
 * Let the file @fd of @use grow to @bytes: removes finished images, then partial ones nobody uses,
 * the oldest first, until there is room; and takes the room, where the file system can.
 *
 * Returns 0, -EFBIG (above max_image_bytes), -EDQUOT (all the rest is in use), -ENOSPC (the file
 * system is full, or would be but for keep_free_bytes), or another negative errno.
 */
int fg_image_store_reserve(struct fg_image_store *s, struct fg_image_use *use, int fd,
			   uint64_t bytes);

/** Remove all files of @name but the one of this ending; NULL: all. */
void fg_image_store_remove(struct fg_image_store *s, const char *name, const char *but);

/** Remove all images of the owner of @name but @name itself. */
void fg_image_store_remove_others(struct fg_image_store *s, const char *name);
