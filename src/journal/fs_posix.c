#include "journal/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"

struct posix {
	struct fg_fs fs;
	int dir_fd;
};

/* "" is the directory itself, which openat() wants to be called ".". */
static const char *or_dot(const char *path)
{
	return path[0] ? path : ".";
}

static int posix_mkdir(void *ctx, const char *path)
{
	const struct posix *p = ctx;

	if (mkdirat(p->dir_fd, path, 0750) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static int posix_list(void *ctx, const char *path, int (*each)(void *arg, const char *name),
		      void *arg)
{
	const struct posix *p = ctx;
	struct dirent *entry;
	DIR *dir;
	int fd, r = 0;

	fd = openat(p->dir_fd, or_dot(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	while (r == 0) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			r = -errno;
			break;
		}
		if (entry->d_name[0] != '.')
			r = each(arg, entry->d_name);
	}
	closedir(dir);
	return r;
}

static int posix_open(void *ctx, const char *path, bool create)
{
	const struct posix *p = ctx;
	int fd;

	fd = openat(p->dir_fd, path,
		    O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0), 0640);
	return fd < 0 ? -errno : fd;
}

static void posix_close(void *ctx, int file)
{
	(void)ctx;
	close(file);
}

static ssize_t posix_read(void *ctx, int file, void *data, size_t size, uint64_t offset)
{
	size_t done = 0;

	(void)ctx;
	while (done < size) {
		ssize_t n = pread(file, (char *)data + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t posix_write(void *ctx, int file, const void *data, size_t size, uint64_t offset)
{
	ssize_t n;

	(void)ctx;
	n = pwrite(file, data, size, (off_t)offset);
	return n < 0 ? -errno : n;
}

static int posix_allocate(void *ctx, int file, uint64_t size)
{
	(void)ctx;
	/* Not posix_fallocate(): where the file system cannot, it would write all the zeros itself.
	 */
	return fallocate(file, 0, 0, (off_t)size) < 0 ? -errno : 0;
}

static int posix_truncate(void *ctx, int file, uint64_t size)
{
	(void)ctx;
	return ftruncate(file, (off_t)size) < 0 ? -errno : 0;
}

static int posix_sync(void *ctx, int file)
{
	(void)ctx;
	return fdatasync(file) < 0 ? -errno : 0;
}

static int64_t posix_size(void *ctx, int file)
{
	struct stat st;

	(void)ctx;
	return fstat(file, &st) < 0 ? -errno : st.st_size;
}

static int posix_rename(void *ctx, const char *from, const char *to)
{
	const struct posix *p = ctx;

	return renameat(p->dir_fd, from, p->dir_fd, to) < 0 ? -errno : 0;
}

static int posix_unlink(void *ctx, const char *path)
{
	const struct posix *p = ctx;

	return unlinkat(p->dir_fd, path, 0) < 0 ? -errno : 0;
}

static int posix_sync_dir(void *ctx, const char *path)
{
	FG_CLEANUP(fg_close_p) int fd = -1;
	const struct posix *p = ctx;

	fd = openat(p->dir_fd, or_dot(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int fg_fs_posix_new(const char *directory, struct fg_fs **ret)
{
	struct posix *p;
	int r;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir_fd < 0) {
		r = -errno;
		free(p);
		return r;
	}
	p->fs = (struct fg_fs){
		.ctx = p,
		.mkdir = posix_mkdir,
		.list = posix_list,
		.open = posix_open,
		.close = posix_close,
		.read = posix_read,
		.write = posix_write,
		.allocate = posix_allocate,
		.truncate = posix_truncate,
		.sync = posix_sync,
		.size = posix_size,
		.rename = posix_rename,
		.unlink = posix_unlink,
		.sync_dir = posix_sync_dir,
	};
	*ret = &p->fs;
	return 0;
}

struct fg_fs *fg_fs_posix_free(struct fg_fs *fs)
{
	struct posix *p;

	if (!fs)
		return NULL;
	p = fs->ctx;
	close(p->dir_fd);
	free(p);
	return NULL;
}
