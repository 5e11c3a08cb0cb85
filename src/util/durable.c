#include "util/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/io.h"

int fg_durable_put(int dir_fd, const char *temporary, const char *name, mode_t mode,
		   const struct fg_span *parts, size_t n_parts)
{
	FG_CLEANUP(fg_close_p) int fd = -1;
	int r;

	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < n_parts; i++) {
		r = fg_write_all(fd, parts[i].data, parts[i].size);
		if (r < 0)
			return r;
	}
	if (fsync(fd) < 0 || renameat(dir_fd, temporary, dir_fd, name) < 0)
		return -errno;
	return 0;
}

int fg_durable_replace(const char *path, mode_t mode, const struct fg_span *parts, size_t n_parts)
{
	FG_CLEANUP(fg_close_p) int dir_fd = -1;
	char temporary[PATH_MAX], directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	/* "/file" stands in "/" */
	size_t size = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
	int r;

	if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	snprintf(directory, sizeof(directory), "%.*s", slash ? (int)size : 1, slash ? path : ".");
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return -errno;
	r = fg_durable_put(AT_FDCWD, temporary, path, mode, parts, n_parts);
	if (r < 0)
		return r;
	return fsync(dir_fd) < 0 ? -errno : 0;
}
