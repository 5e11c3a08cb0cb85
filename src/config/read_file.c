#include "config/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"

static int read_all(int fd, char *data, size_t room, size_t *ret_size)
{
	size_t size = 0;

	while (size < room) {
		ssize_t n = read(fd, data + size, room - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
	}
	*ret_size = size;
	return 0;
}

int fg_read_file(const char *path, size_t max_bytes, char **ret_data, size_t *ret_size)
{
	FG_CLEANUP(fg_close_p) int fd = -1;
	struct stat st;
	size_t size = 0;
	char *data;
	int r;

	/* O_NONBLOCK: opening a FIFO must not wait for somebody who writes to it. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	/* One more than allowed, to see that there is more. */
	data = malloc(max_bytes + 1);
	if (!data)
		return -ENOMEM;
	r = read_all(fd, data, max_bytes + 1, &size);
	if (r == 0 && size > max_bytes)
		r = -EFBIG;
	if (r < 0) {
		explicit_bzero(data, max_bytes + 1);
		free(data);
		return r;
	}
	data[size] = '\0';
	*ret_data = data;
	*ret_size = size;
	return 0;
}

const char *fg_read_file_error(int error)
{
	switch (error) {
	case -EFBIG:
		return "too large";
	case -EINVAL:
		return "not a regular file";
	default:
		return strerror(-error);
	}
}
