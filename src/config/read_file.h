#pragma once

#include <stddef.h>

/**
 * Read the whole of @path, which must be a regular file of at most @max_bytes. On success the
 * caller owns
 * *@ret_data (NUL-terminated) and frees it, overwriting it first if it is secret.
 * Returns 0, -EFBIG when there is more, -EINVAL when it is no regular file, -EISDIR, another
 * negative errno of open() or read(), or -ENOMEM.
 */
int fg_read_file(const char *path, size_t max_bytes, char **ret_data, size_t *ret_size);

/** What a negative errno of fg_read_file() means, for a message: "cannot read: " + this. */
const char *fg_read_file_error(int error);
