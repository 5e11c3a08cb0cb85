#include "config/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/cleanup.h"
#include "util/io.h"

int fg_read_file(const char *path, size_t max_bytes, char **ret_data, size_t *ret_size)
{
	FG_CLEANUP(fg_close_p) int fd = -1;
	struct stat st;
	ssize_t size;
	char *data;

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
	size = fg_read_all(fd, data, max_bytes + 1);
	if (size > (ssize_t)max_bytes)
		size = -EFBIG;
	if (size < 0) {
		explicit_bzero(data, max_bytes + 1);
		free(data);
		return (int)size;
	}
	data[size] = '\0';
	*ret_data = data;
	*ret_size = (size_t)size;
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
