#pragma once

/*
 * Small files that are there whole, old or new, after a crash or a power cut at any moment: written
 * under another name, synced, renamed. They block: for threads, or before the loop runs.
 */
#include <stddef.h>
#include <sys/types.h>

#include "util/span.h"

/**
 * Write @parts, one behind the other, to @temporary, sync them and call that @name; both in the
 * directory @dir_fd (or AT_FDCWD). Which name it has is durable only when the directory is synced.
 * Returns 0 or a negative errno; @name is then what it was before.
 */
int fg_durable_put(int dir_fd, const char *temporary, const char *name, mode_t mode,
		   const struct fg_span *parts, size_t n_parts);

/**
 * The same for the file @path by way of "@path.tmp", and the directory is synced: with 0 the new
 * content is there for good. Returns 0 or a negative errno; whether old or new content is there
 * then, a power cut may decide.
 */
int fg_durable_replace(const char *path, mode_t mode, const struct fg_span *parts, size_t n_parts);
