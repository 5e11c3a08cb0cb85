#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	bench_new(b);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	bench_free(*state);
	free(*state);
	return 0;
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(missing_directory_is_an_error),
		TEST(file_is_made_once),
		TEST(what_is_written_is_read),
		TEST(directory_lists_its_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
