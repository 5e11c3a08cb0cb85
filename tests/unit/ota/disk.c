#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60

static atomic_uint n_calls[DISK_CALLS], n_all, n_to_fail[DISK_CALLS], n_to_skip[DISK_CALLS], n_held;
static atomic_int fails_with[DISK_CALLS];
static atomic_bool is_held;
static sem_t go;

/* The power. */
static unsigned cut_at;
static char cut_directory[256];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
	ino_t inode;
	off_t synced;
} files[16];
static unsigned n_files;
static char renamed_from[256], renamed_to[256]; /* and the directory is not synced yet */

void disk_reset(void)
{
	for (int i = 0; i < DISK_CALLS; i++)
		n_calls[i] = n_to_fail[i] = n_to_skip[i] = 0;
	n_all = n_held = 0;
	is_held = false;
	cut_at = 0;
	sem_init(&go, 0, 0);
}

void disk_fail(enum disk_call call, unsigned n, int error)
{
	fails_with[call] = error;
	n_to_fail[call] = n;
}

void disk_fail_after(enum disk_call call, unsigned skip, int error)
{
	n_to_skip[call] = skip;
	disk_fail(call, 1, error);
}

unsigned disk_count(enum disk_call call)
{
	return n_calls[call];
}

void disk_hold(void)
{
	is_held = true;
}

void disk_release(unsigned n)
{
	while (n-- > 0)
		sem_post(&go);
}

unsigned disk_held(void)
{
	return n_held;
}

/* @grows: up to this size it is on disk; else not beyond this size. */
static void note_synced(ino_t inode, off_t size, bool grows)
{
	unsigned i = 0;

	pthread_mutex_lock(&mutex);
	while (i < n_files && files[i].inode != inode)
		i++;
	if (i < sizeof(files) / sizeof(files[0]) && (grows || i < n_files)) {
		if (i == n_files || grows || files[i].synced > size)
			files[i].synced = size;
		files[i].inode = inode;
		n_files = i == n_files ? i + 1 : n_files;
	}
	pthread_mutex_unlock(&mutex);
}

void disk_cut_power_at(unsigned n, const char *directory)
{
	DIR *dir = opendir(directory);
	struct dirent *found;
	struct stat st;

	/* What is there now is on disk. */
	n_files = 0;
	while (dir && (found = readdir(dir)))
		if (fstatat(dirfd(dir), found->d_name, &st, 0) == 0)
			note_synced(st.st_ino, st.st_size, true);
	if (dir)
		closedir(dir);
	snprintf(cut_directory, sizeof(cut_directory), "%s", directory);
	n_all = 0;
	cut_at = n;
}

static off_t synced_bytes(ino_t inode)
{
	for (unsigned i = 0; i < n_files; i++)
		if (files[i].inode == inode)
			return files[i].synced;
	return 0;
}

/* What the disk did not get is zeros. */
static void forget_unsynced(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_WRONLY);
	char zeros[4096] = {0};
	struct stat st;

	if (fstat(fd, &st) == 0)
		for (off_t at = synced_bytes(st.st_ino); at < st.st_size;
		     at += (off_t)sizeof(zeros))
			syscall(SYS_pwrite64, fd, zeros,
				st.st_size - at < (off_t)sizeof(zeros) ? st.st_size - at
								       : (off_t)sizeof(zeros),
				at);
	close(fd);
}

static void cut_power(void)
{
	DIR *dir = opendir(cut_directory);
	struct dirent *found;

	while (dir && (found = readdir(dir)))
		if (strstr(found->d_name, ".part") || strstr(found->d_name, ".image"))
			forget_unsynced(dirfd(dir), found->d_name);
	if (dir && renamed_to[0] && cut_at % 2 == 0)
		syscall(SYS_renameat2, dirfd(dir), renamed_to, dirfd(dir), renamed_from, 0);
	_exit(DISK_CUT_STATUS);
}

void disk_exit(int status)
{
	/* Who cuts the power never lets go of it. What was read meanwhile may be zeros already. */
	pthread_mutex_lock(&mutex);
	_exit(status);
}

/* Returns 0, or the errno this call fails with. */
static int called(enum disk_call call)
{
	unsigned left = n_to_fail[call];

	n_calls[call]++;
	if (++n_all == cut_at) {
		pthread_mutex_lock(&mutex);
		cut_power();
	}
	if (left == 0)
		return 0;
	if (n_to_skip[call] > 0) {
		n_to_skip[call]--;
		return 0;
	}
	n_to_fail[call] = left - 1;
	return fails_with[call];
}

#define CALLED(call)                                                                               \
	do {                                                                                       \
		errno = called(call);                                                              \
		if (errno)                                                                         \
			return -1;                                                                 \
	} while (0)

/* The kernel's functions, as the C library would call them. */

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	CALLED(DISK_PWRITE);
	return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
	struct stat st;

	/* Not the loop's pipes. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		CALLED(DISK_WRITE);
	return syscall(SYS_write, fd, data, size);
}

int fdatasync(int fd)
{
	struct timespec until;
	struct stat st;

	fstat(fd, &st);
	if (is_held) {
		n_held++;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += PATIENCE_S;
		while (sem_timedwait(&go, &until) < 0 && errno == EINTR)
			;
	}
	CALLED(DISK_FDATASYNC);
	note_synced(st.st_ino, st.st_size, true);
	return 0;
}

int fsync(int fd)
{
	struct stat st;

	CALLED(DISK_FSYNC);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		renamed_to[0] = '\0';
	return 0;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	CALLED(DISK_RENAME);
	if (strstr(to, ".image")) {
		snprintf(renamed_from, sizeof(renamed_from), "%s", from);
		snprintf(renamed_to, sizeof(renamed_to), "%s", to);
	}
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
	CALLED(DISK_FALLOCATE);
	return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

int ftruncate(int fd, off_t size)
{
	struct stat st;

	CALLED(DISK_FTRUNCATE);
	if (fstat(fd, &st) == 0)
		note_synced(st.st_ino, size, false);
	return (int)syscall(SYS_ftruncate, fd, size);
}

int unlinkat(int dir_fd, const char *name, int flags)
{
	CALLED(DISK_UNLINK);
	return (int)syscall(SYS_unlinkat, dir_fd, name, flags);
}
