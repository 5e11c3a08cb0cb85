#include "ota/image_work.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "util/cleanup.h"

static int write_all(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

static int write_info(const struct fg_image_work *w)
{
	char temporary[FG_IMAGE_NAME_SIZE + 8], name[FG_IMAGE_NAME_SIZE + 8];
	FG_CLEANUP(fg_close_p) int fd = -1;
	int r;

	snprintf(temporary, sizeof(temporary), "%s.tmp", w->name);
	snprintf(name, sizeof(name), "%s.info", w->name);
	fd = openat(w->dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    0640);
	if (fd < 0)
		return -errno;
	r = write_all(fd, w->info, w->info_size);
	if (r < 0)
		return r;
	if (fsync(fd) < 0 || renameat(w->dir_fd, temporary, w->dir_fd, name) < 0)
		return -errno;
	return 0;
}

/* The image first, then what says that it is there. */
static int make_durable(const struct fg_image_work *w)
{
	char part[FG_IMAGE_NAME_SIZE + 8], whole[FG_IMAGE_NAME_SIZE + 8];
	int r;

	if (fdatasync(w->fd) < 0)
		return -errno;
	r = write_info(w);
	if (r < 0)
		return r;
	if (w->is_last) {
		snprintf(part, sizeof(part), "%s.part", w->name);
		snprintf(whole, sizeof(whole), "%s.image", w->name);
		if (renameat(w->dir_fd, part, w->dir_fd, whole) < 0)
			return -errno;
	}
	if (fsync(w->dir_fd) < 0) {
		r = -errno;
		/* It goes on as a partial one; should that fail as well, it is the next start that
		 * finds it whole. */
		if (w->is_last)
			renameat(w->dir_fd, whole, w->dir_fd, part);
		return r;
	}
	return 0;
}

void fg_image_work(struct fg_connector_job *job)
{
	struct fg_image_work *w =
		(struct fg_image_work *)((char *)job - offsetof(struct fg_image_work, job));

	w->result = make_durable(w);
}
