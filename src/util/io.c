#include "util/io.h"

#include <errno.h>
#include <unistd.h>

ssize_t fg_read_all(int fd, void *data, size_t max)
{
	size_t size = 0;

	while (size < max) {
		ssize_t n = read(fd, (char *)data + size, max - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
	}
	return (ssize_t)size;
}

int fg_write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}
