#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The linker leads the library's calls here (--wrap). */
ssize_t __real_pread64(int file, void *data, size_t size, long offset);
DIR *__real_fdopendir(int file);
struct dirent *__real_readdir64(DIR *dir);
int __real_fdatasync(int file);
int __real_fsync(int file);
ssize_t __wrap_pread64(int file, void *data, size_t size, long offset);
DIR *__wrap_fdopendir(int file);
struct dirent *__wrap_readdir64(DIR *dir);
int __wrap_fdatasync(int file);
int __wrap_fsync(int file);

static struct {
	unsigned n_interrupted, n_short; /* reads to come that are */
	int read_error, fdopendir_error, readdir_error, sync_error;
	struct stat synced; /* what was last */
} system_says;

ssize_t __wrap_pread64(int file, void *data, size_t size, long offset)
{
	if (system_says.n_interrupted > 0) {
		system_says.n_interrupted--;
		errno = EINTR;
		return -1;
	}
	if (system_says.n_short > 0 && size > 1) {
		system_says.n_short--;
		size = 1;
	} else if (system_says.read_error != 0) {
		errno = system_says.read_error;
		return -1;
	}
	return __real_pread64(file, data, size, offset);
}

DIR *__wrap_fdopendir(int file)
{
	if (system_says.fdopendir_error == 0)
		return __real_fdopendir(file);
	errno = system_says.fdopendir_error;
	return NULL;
}

struct dirent *__wrap_readdir64(DIR *dir)
{
	if (system_says.readdir_error == 0)
		return __real_readdir64(dir);
	errno = system_says.readdir_error;
	return NULL;
}

static int sync_it(int file, int (*real)(int file))
{
	assert_int_equal(fstat(file, &system_says.synced), 0);
	if (system_says.sync_error == 0)
		return real(file);
	errno = system_says.sync_error;
	return -1;
}

int __wrap_fdatasync(int file)
{
	return sync_it(file, __real_fdatasync);
}

int __wrap_fsync(int file)
{
	return sync_it(file, __real_fsync);
}

static void missing_directory_is_an_error(void **state)
{
	struct fg_fs *fs;

	(void)state;
	assert_int_equal(fg_fs_posix_new("/nonexistent/journal", &fs), -ENOENT);
	assert_null(fg_fs_posix_free(NULL));
}

static void file_is_made_once(void **state)
{
	struct fg_fs *fs = ((struct bench *)*state)->fs;
	int file;

	assert_int_equal(fs->mkdir(fs->ctx, "main"), 0);
	assert_int_equal(fs->mkdir(fs->ctx, "main"), 0);
	assert_int_equal(fs->open(fs->ctx, "main/a", false), -ENOENT);
	file = fs->open(fs->ctx, "main/a", true);
	assert_true(file >= 0);
	assert_int_equal(fs->open(fs->ctx, "main/a", true), -EEXIST);
	fs->close(fs->ctx, file);
	assert_int_equal(fs->mkdir(fs->ctx, "no/such"), -ENOENT);
}

static void what_is_written_is_read(void **state)
{
	struct fg_fs *fs = ((struct bench *)*state)->fs;
	char bytes[16] = {0};
	int file = fs->open(fs->ctx, "a", true);

	assert_true(file >= 0);
	assert_int_equal(fs->write(fs->ctx, file, "journal", 7, 3), 7);
	assert_int_equal(fs->size(fs->ctx, file), 10);
	assert_int_equal(fs->read(fs->ctx, file, bytes, sizeof(bytes), 3), 7);
	assert_string_equal(bytes, "journal");
	assert_int_equal(fs->read(fs->ctx, file, bytes, sizeof(bytes), 10), 0);
	assert_int_equal(fs->truncate(fs->ctx, file, 5), 0);
	assert_int_equal(fs->read(fs->ctx, file, bytes, sizeof(bytes), 3), 2);
	assert_int_equal(fs->sync(fs->ctx, file), 0);
	assert_int_equal(fs->sync_dir(fs->ctx, ""), 0);
	fs->close(fs->ctx, file);
}

static int count(void *arg, const char *name)
{
	assert_true(name[0] != '.');
	++*(int *)arg;
	return strcmp(name, "stop") == 0 ? 5 : 0;
}

static void directory_lists_its_files(void **state)
{
	struct fg_fs *fs = ((struct bench *)*state)->fs;
	int n = 0;

	assert_int_equal(fs->list(fs->ctx, "main", count, &n), -ENOENT);
	assert_int_equal(fs->mkdir(fs->ctx, "main"), 0);
	fs->close(fs->ctx, fs->open(fs->ctx, "main/a", true));
	fs->close(fs->ctx, fs->open(fs->ctx, "main/b", true));
	assert_int_equal(fs->list(fs->ctx, "main", count, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(fs->rename(fs->ctx, "main/a", "main/b"), 0);
	assert_int_equal(fs->rename(fs->ctx, "main/a", "main/b"), -ENOENT);
	n = 0;
	assert_int_equal(fs->list(fs->ctx, "main", count, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(fs->rename(fs->ctx, "main/b", "main/stop"), 0);
	assert_int_equal(fs->list(fs->ctx, "main", count, &n), 5);
	assert_int_equal(fs->unlink(fs->ctx, "main/stop"), 0);
	assert_int_equal(fs->unlink(fs->ctx, "main/stop"), -ENOENT);
	assert_int_equal(fs->sync_dir(fs->ctx, "main"), 0);
	assert_int_equal(fs->sync_dir(fs->ctx, "gone"), -ENOENT);
}

static void interrupted_and_short_reads_go_on(void **state)
{
	struct fg_fs *fs = ((struct bench *)*state)->fs;
	char bytes[16] = {0};
	int file = fs->open(fs->ctx, "a", true);

	assert_true(file >= 0);
	assert_int_equal(fs->write(fs->ctx, file, "journal", 7, 0), 7);
	system_says.n_interrupted = 3;
	system_says.n_short = 2;
	assert_int_equal(fs->read(fs->ctx, file, bytes, sizeof(bytes), 0), 7);
	assert_string_equal(bytes, "journal");
	assert_int_equal(system_says.n_interrupted + system_says.n_short, 0);
	/* Half of it is nothing: who reads page by page finds out which half. */
	system_says.n_short = 1;
	system_says.read_error = EIO;
	assert_int_equal(fs->read(fs->ctx, file, bytes, sizeof(bytes), 0), -EIO);
	system_says.read_error = 0;
	fs->close(fs->ctx, file);
}

static unsigned count_handles(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (__real_readdir64(dir))
		n++;
	closedir(dir);
	return n;
}

static void directory_that_cannot_be_listed_is_an_error(void **state)
{
	struct fg_fs *fs = ((struct bench *)*state)->fs;
	unsigned before = count_handles();
	int n = 0;

	system_says.fdopendir_error = ENOMEM;
	assert_int_equal(fs->list(fs->ctx, "", count, &n), -ENOMEM);
	system_says.fdopendir_error = 0;
	system_says.readdir_error = EIO;
	assert_int_equal(fs->list(fs->ctx, "", count, &n), -EIO);
	system_says.readdir_error = 0;
	assert_int_equal(n, 0);
	assert_int_equal(count_handles(), before);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

static void assert_synced(const struct bench *b, const char *name)
{
	char path[512];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", b->dir, name);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(system_says.synced.st_ino, st.st_ino);
	assert_int_equal(system_says.synced.st_dev, st.st_dev);
	memset(&system_says, 0, sizeof(system_says));
}

static void a_sync_reaches_the_file_or_directory_it_is_for_and_its_error_comes_back(void **state)
{
	struct bench *b = *state;
	struct fg_fs *fs = b->fs;
	int file;

	assert_int_equal(fs->mkdir(fs->ctx, "main"), 0);
	file = fs->open(fs->ctx, "main/a", true);
	assert_true(file >= 0);
	memset(&system_says, 0, sizeof(system_says));
	assert_int_equal(fs->sync(fs->ctx, file), 0);
	assert_synced(b, "main/a");
	assert_int_equal(fs->sync_dir(fs->ctx, "main"), 0);
	assert_synced(b, "main");
	assert_int_equal(fs->sync_dir(fs->ctx, ""), 0);
	assert_synced(b, "");

	system_says.sync_error = EIO;
	assert_int_equal(fs->sync(fs->ctx, file), -EIO);
	assert_int_equal(fs->sync_dir(fs->ctx, "main"), -EIO);
	memset(&system_says, 0, sizeof(system_says));
	assert_int_equal(fs->sync_dir(fs->ctx, "nowhere"), -ENOENT);
	fs->close(fs->ctx, file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(missing_directory_is_an_error),
		TEST(file_is_made_once),
		TEST(what_is_written_is_read),
		TEST(a_sync_reaches_the_file_or_directory_it_is_for_and_its_error_comes_back),
		TEST(directory_lists_its_files),
		TEST(interrupted_and_short_reads_go_on),
		TEST(directory_that_cannot_be_listed_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
