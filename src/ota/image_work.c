#include "ota/image_work.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "util/durable.h"

static int write_info(const struct fg_image_work *w)
{
	char temporary[FG_IMAGE_NAME_SIZE + 8], name[FG_IMAGE_NAME_SIZE + 8];
	struct fg_span info = fg_span_of(w->info, w->info_size);

	snprintf(temporary, sizeof(temporary), "%s.tmp", w->name);
	snprintf(name, sizeof(name), "%s.info", w->name);
	return fg_durable_put(w->dir_fd, temporary, name, 0640, &info, 1);
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
