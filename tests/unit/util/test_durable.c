/*
 * A file that is replaced is there, old or new, whatever moment the power goes: what the system is
 * asked, in which order, and what becomes of the file when it says no.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/durable.h"

/* The linker leads the library's calls here (--wrap). */
ssize_t __real_write(int fd, const void *data, size_t size);
int __real_fsync(int fd);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_fsync(int fd);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);

static struct {
	char calls[256]; /* what was asked, a word each */
	const char *fails;
	int error; /* of the call of that name */
	unsigned n_interrupted;
	bool is_short;
} system_says;

static int call(const char *name)
{
	strcat(strcat(system_says.calls, system_says.calls[0] ? " " : ""), name);
	if (!system_says.fails || strcmp(system_says.fails, name) != 0)
		return 0;
	errno = system_says.error;
	return -1;
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	if (system_says.n_interrupted > 0) {
		system_says.n_interrupted--;
		errno = EINTR;
		return -1;
	}
	if (call("write") < 0)
		return -1;
	return __real_write(fd, data, system_says.is_short && size > 1 ? 1 : size);
}

int __wrap_fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return call(S_ISDIR(st.st_mode) ? "sync_directory" : "sync") < 0 ? -1 : __real_fsync(fd);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return call("rename") < 0 ? -1 : __real_renameat(from_fd, from, to_fd, to);
}

static char directory[] = "/tmp/fieldgate-durable-XXXXXX";
static char path[PATH_MAX];

static int group_setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/file", directory);
	return 0;
}

static int group_teardown(void **state)
{
	char temporary[PATH_MAX + 4];

	(void)state;
	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	unlink(temporary);
	unlink(path);
	return rmdir(directory);
}

static int setup(void **state)
{
	(void)state;
	memset(&system_says, 0, sizeof(system_says));
	return 0;
}

static int replace(const char *one, const char *two)
{
	const struct fg_span parts[] = {fg_span_str(one), fg_span_str(two)};

	return fg_durable_replace(path, 0600, parts, 2);
}

static void assert_content(const char *expected)
{
	char data[64] = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, data, sizeof(data) - 1) >= 0);
	close(fd);
	assert_string_equal(data, expected);
}

static void content_is_synced_before_it_gets_its_name_and_the_name_after(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(replace("head ", "body"), 0);
	assert_string_equal(system_says.calls, "write write sync rename sync_directory");
	assert_content("head body");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_short_or_interrupted_write_goes_on(void **state)
{
	(void)state;
	system_says.n_interrupted = 3;
	system_says.is_short = true;
	assert_int_equal(replace("ab", "c"), 0);
	assert_string_equal(system_says.calls, "write write write sync rename sync_directory");
	assert_content("abc");
}

static void what_fails_leaves_the_old_content_until_the_name_is_given(void **state)
{
	static const struct {
		const char *call;
		int error;
		const char *content;
	} cases[] = {
		{"write", ENOSPC, "old"},
		{"sync", EIO, "old"},
		{"rename", EROFS, "old"},
		{"sync_directory", EIO, "new"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(NULL);
		assert_int_equal(replace("old", ""), 0);
		system_says.fails = cases[i].call;
		system_says.error = cases[i].error;
		assert_int_equal(replace("new", ""), -cases[i].error);
		assert_content(cases[i].content);
	}
}

static void a_path_too_long_and_a_directory_that_is_not_there_are_errors(void **state)
{
	struct fg_span part = fg_span_str("x");
	char longest[PATH_MAX + 1];

	(void)state;
	memset(longest, 'a', PATH_MAX);
	longest[PATH_MAX] = 0;
	assert_int_equal(fg_durable_replace(longest, 0600, &part, 1), -ENAMETOOLONG);
	assert_int_equal(fg_durable_replace("/nowhere/at/all", 0600, &part, 1), -ENOENT);
	assert_string_equal(system_says.calls, "");
}

static void a_path_without_a_directory_is_in_the_one_we_are_in(void **state)
{
	struct fg_span part = fg_span_str("here");
	char before[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(directory), 0);
	assert_int_equal(fg_durable_replace("file", 0600, &part, 1), 0);
	assert_int_equal(chdir(before), 0);
	assert_string_equal(system_says.calls, "write sync rename sync_directory");
	assert_content("here");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(content_is_synced_before_it_gets_its_name_and_the_name_after,
				       setup),
		cmocka_unit_test_setup(a_short_or_interrupted_write_goes_on, setup),
		cmocka_unit_test_setup(what_fails_leaves_the_old_content_until_the_name_is_given,
				       setup),
		cmocka_unit_test_setup(a_path_too_long_and_a_directory_that_is_not_there_are_errors,
				       setup),
		cmocka_unit_test_setup(a_path_without_a_directory_is_in_the_one_we_are_in, setup),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
