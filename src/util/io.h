#pragma once

/*
 * read() and write() to the end, where signals interrupt and the kernel takes a part at a time: for
 * configuration and state, which are read and written whole. The journal has fs.h.
 */
#include <stddef.h>
#include <sys/types.h>

/** Read up to the end of the file, @max bytes at most. Returns how many, or a negative errno. */
ssize_t fg_read_all(int fd, void *data, size_t max);

/** Returns 0 when all of it is written, or a negative errno. */
int fg_write_all(int fd, const void *data, size_t size);
