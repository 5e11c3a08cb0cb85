#pragma once

/*
 * The file system as the journal needs it: few calls, paths relative to one directory, errors as
 * negative errno. fg_fs_posix_new() makes the real one; tests/powercut puts a simulated disk in its place
 * that forgets, tears and reorders whatever is not synced, and fails any call it is told to.
 *
 * Once the journal is open the loop only opens, reads and closes; the writer thread makes all calls
 * that change something. Both may call at once, each with handles of its own.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fg_fs {
	void *ctx;

	/** Make directory @path (parents exist; existing is fine). Not durable before sync_dir of
	 * its parent. */
	int (*mkdir)(void *ctx, const char *path);

	/** Call @each for each name in directory @path, in any order; a non-zero return ends it. */
	int (*list)(void *ctx, const char *path, int (*each)(void *arg, const char *name),
		    void *arg);

	/** Open for reading and writing. @create: make it, fail with -EEXIST if it is there.
	 * Returns a handle >= 0. */
	int (*open)(void *ctx, const char *path, bool create);
	void (*close)(void *ctx, int file);

	/** As pread(2), but EINTR and short reads before the end of the file do not happen. */
	ssize_t (*read)(void *ctx, int file, void *data, size_t size, uint64_t offset);

	/** As pwrite(2): may be short, may fail with -EINTR, -ENOSPC, -EIO. */
	ssize_t (*write)(void *ctx, int file, const void *data, size_t size, uint64_t offset);

	/** Give the file @size bytes of zeros that take real space. -ENOSPC, -EOPNOTSUPP. */
	int (*allocate)(void *ctx, int file, uint64_t size);
	int (*truncate)(void *ctx, int file, uint64_t size);

	/** Data and size are durable when this returns 0. After a failure nothing unsynced may be
	 * relied on. */
	int (*sync)(void *ctx, int file);

	int64_t (*size)(void *ctx, int file);
	int (*rename)(void *ctx, const char *from, const char *to);
	int (*unlink)(void *ctx, const char *path);

	/** Names in directory @path ("" the journal's own) are durable when this returns 0. */
	int (*sync_dir)(void *ctx, const char *path);
};

/**
 * The real file system below @directory, which must exist. The caller owns *@ret and releases it
 * with fg_fs_posix_free(). Returns 0 or a negative errno.
 */
int fg_fs_posix_new(const char *directory, struct fg_fs **ret);
struct fg_fs *fg_fs_posix_free(struct fg_fs *fs);
