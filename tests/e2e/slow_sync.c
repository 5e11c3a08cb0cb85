/*
 * Preloaded into the daemon: makes its disk slow or broken, and keeps a diary of it, so that a test
 * can hold the order of write, sync and acknowledgement against promise P1.
 *
 * $SLOW_SYNC is a directory:
 *   diary   written here, times in nanoseconds of CLOCK_MONOTONIC:
 *             "write FD TIME TOKEN"  a token @@…@@ was in what was given to pwrite()
 *             "sync FD BEGIN END RESULT"
 *   delay   if it is there: the milliseconds each fdatasync() takes longer
 *   fail    if it is there: the errno that fdatasync() fails with
 *   full    if it is there: pwrite(), fallocate() and making a file fail with the errno in it
 *   unreadable  if it is there: pread() fails with the errno in it
 */
/* Both names of each call are wrapped here, so neither may be an alias of the other. */
#undef _FILE_OFFSET_BITS
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

int fdatasync(int fd);
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset);
ssize_t pread(int fd, void *data, size_t size, off_t offset);
ssize_t pread64(int fd, void *data, size_t size, off64_t offset);
int openat(int fd, const char *path, int flags, ...);
int openat64(int fd, const char *path, int flags, ...);
int fallocate(int fd, int mode, off_t offset, off_t size);
int fallocate64(int fd, int mode, off64_t offset, off64_t size);

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int open_in_directory(const char *name, int flags)
{
	const char *directory = getenv("SLOW_SYNC");
	char path[4096];

	if (!directory)
		return -1;
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return open(path, flags | O_CLOEXEC, 0666);
}

static void diary(const char *line)
{
	static int fd = -1;

	if (fd < 0)
		fd = open_in_directory("diary", O_WRONLY | O_CREAT | O_APPEND);
	if (fd >= 0 && write(fd, line, strlen(line)) < 0)
		fd = -1;
}

/* The number in file @name; -1 when there is no such file. */
static int setting(const char *name)
{
	char text[32] = "";
	int fd = open_in_directory(name, O_RDONLY);

	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atoi(text);
}

/* Does a call fail because of file @name? It is looked at once: it may go at any moment. */
static bool has_fault(const char *name)
{
	int error = setting(name);

	if (error > 0)
		errno = error;
	return error > 0;
}

/* Of what stands around a token, a checksum say, anything may look like its marks. */
static void note_tokens(int fd, const char *data, size_t size)
{
	const char *end = data + size, *at = data;
	char line[128];

	while ((at = memmem(at, (size_t)(end - at), "@@", 2))) {
		const char *token = at + 2, *stop = token;

		while (stop < end && isalnum((unsigned char)*stop))
			stop++;
		at++;
		if (stop == token || end - stop < 2 || memcmp(stop, "@@", 2) != 0)
			continue;
		snprintf(line, sizeof(line), "write %d %lld %.*s\n", fd, now_ns(),
			 (int)(stop - token), token);
		diary(line);
		at = stop + 2;
	}
}

EXPORT int fdatasync(int fd)
{
	static int (*real)(int fd);
	long long begin = now_ns();
	int delay_ms = setting("delay"), error = setting("fail"), r;
	char line[128];

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
	if (delay_ms > 0)
		usleep((useconds_t)delay_ms * 1000);
	r = error > 0 ? -1 : real(fd);
	snprintf(line, sizeof(line), "sync %d %lld %lld %d\n", fd, begin, now_ns(), r);
	diary(line);
	if (error > 0)
		errno = error;
	return r;
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	static ssize_t (*real)(int fd, const void *data, size_t size, off64_t offset);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
	if (has_fault("full"))
		return -1;
	note_tokens(fd, data, size);
	return real(fd, data, size, offset);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	return pwrite64(fd, data, size, offset);
}

EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
	static int (*real)(int fd, int mode, off64_t offset, off64_t size);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fallocate64");
	if (has_fault("full"))
		return -1;
	return real(fd, mode, offset, size);
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t size)
{
	return fallocate64(fd, mode, offset, size);
}

EXPORT ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
	static ssize_t (*real)(int fd, void *data, size_t size, off64_t offset);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pread64");
	if (has_fault("unreadable"))
		return -1;
	return real(fd, data, size, offset);
}

EXPORT ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
	return pread64(fd, data, size, offset);
}

static int open_real(int fd, const char *path, int flags, mode_t mode)
{
	static int (*real)(int fd, const char *path, int flags, ...);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "openat64");
	if ((flags & O_CREAT) && has_fault("full"))
		return -1;
	return real(fd, path, flags, mode);
}

EXPORT int openat64(int fd, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return open_real(fd, path, flags, mode);
}

EXPORT int openat(int fd, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return open_real(fd, path, flags, mode);
}
