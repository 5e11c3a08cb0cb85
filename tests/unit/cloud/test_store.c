#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cloud/names.h"
#include "net/store.h"

static struct ev_loop *loop;
static struct fg_connector *connector;
static struct fg_store *store;
static char directory[] = "/tmp/fieldgate-store-XXXXXX";
static char path[64], damaged[80];
static unsigned n_stored;
static int last_error;
static char last_key[32];

static void stored(void *arg, struct fg_span key, int error)
{
	(void)arg;
	n_stored++;
	last_error = error;
	snprintf(last_key, sizeof(last_key), "%.*s", FG_SPAN_ARGS(key));
	ev_break(loop, EVBREAK_ALL);
}

static void given_up(struct ev_loop *l, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	ev_break(l, EVBREAK_ALL);
}

/* Until something was stored. */
static void run(void)
{
	ev_timer patience;

	ev_timer_init(&patience, given_up, 5., 0.);
	ev_timer_start(loop, &patience);
	ev_run(loop, 0);
	ev_timer_stop(loop, &patience);
}

static void open_store(size_t max_bytes)
{
	struct fg_store_options options = {
		.connector = connector,
		.path = path,
		.max_bytes = max_bytes,
		.stored = stored,
	};
	struct fg_error err = {0};

	assert_int_equal(fg_store_open(&options, &store, &err), 0);
}

static void reopen(void)
{
	store = fg_store_free(store);
	open_store(4096);
}

static int set(const char *key, const char *value)
{
	return fg_store_set(store, fg_span_str(key), fg_span_str(value));
}

static const char *get(const char *key)
{
	static char text[64];
	struct fg_span value;

	if (fg_store_get(store, fg_span_str(key), &value) < 0)
		return NULL;
	snprintf(text, sizeof(text), "%.*s", FG_SPAN_ARGS(value));
	return text;
}

static int setup(void **state)
{
	(void)state;
	loop = ev_loop_new(EVFLAG_AUTO);
	n_stored = 0;
	snprintf(path, sizeof(path), "%s/links", directory);
	snprintf(damaged, sizeof(damaged), "%s.damaged", path);
	unlink(path);
	unlink(damaged);
	return fg_connector_new(loop, &connector);
}

static int teardown(void **state)
{
	(void)state;
	store = fg_store_free(store);
	connector = fg_connector_free(connector);
	ev_loop_destroy(loop);
	return 0;
}

static void what_was_set_is_there_once_it_is_told(void **state)
{
	struct fg_span newest;

	(void)state;
	open_store(4096);
	assert_int_equal(set("token", "s3cret"), 0);
	assert_null(get("token")); /* not on disk yet */
	assert_int_equal(fg_store_get_newest(store, fg_span_str("token"), &newest), 0);
	assert_true(fg_span_is(newest, "s3cret"));
	run();
	assert_int_equal(n_stored, 1);
	assert_int_equal(last_error, 0);
	assert_string_equal(last_key, "token");
	assert_string_equal(get("token"), "s3cret");
	reopen();
	assert_string_equal(get("token"), "s3cret");
}

static void the_file_is_for_its_owner_alone(void **state)
{
	struct stat st;

	(void)state;
	open_store(4096);
	set("token", "s3cret");
	run();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void values_are_replaced_and_removed(void **state)
{
	(void)state;
	open_store(4096);
	set("a", "1");
	run();
	set("b", "2");
	run();
	set("a", "another");
	run();
	assert_string_equal(get("a"), "another");
	assert_string_equal(get("b"), "2");
	set("a", "");
	run();
	assert_string_equal(last_key, "a");
	assert_null(get("a"));
	reopen();
	assert_null(get("a"));
	assert_string_equal(get("b"), "2");
}

static void what_is_set_while_it_writes_follows(void **state)
{
	(void)state;
	open_store(4096);
	set("a", "1");
	set("a", "2");
	set("b", "3");
	while (n_stored < 3) /* a, then a again and b */
		run();
	assert_string_equal(get("a"), "2");
	assert_string_equal(get("b"), "3");
}

static void what_was_set_last_is_on_disk_when_the_connector_has_gone(void **state)
{
	(void)state;
	open_store(4096);
	set("a", "1");
	set("a", "2"); /* while the first is being written */
	store = fg_store_free(store);
	connector = fg_connector_free(connector); /* as at the end of the process */
	assert_int_equal(fg_connector_new(loop, &connector), 0);
	open_store(4096);
	assert_string_equal(get("a"), "2");
}

static void bounds_are_kept(void **state)
{
	char big[5000];

	(void)state;
	memset(big, 'x', sizeof(big));
	open_store(4096);
	assert_int_equal(set("", "1"), -EINVAL);
	assert_int_equal(fg_store_set(store, fg_span_of(big, 256), fg_span_str("1")), -EINVAL);
	assert_int_equal(fg_store_set(store, fg_span_str("a"), fg_span_of(big, 5000)), -EMSGSIZE);
	assert_int_equal(fg_store_set(store, fg_span_str("a"), fg_span_of(big, 4000)), 0);
	run();
	assert_int_equal(fg_store_set(store, fg_span_str("b"), fg_span_of(big, 100)), -EMSGSIZE);
	assert_int_equal(fg_store_set(store, fg_span_str("a"), fg_span_of(big, 4001)), 0);
	run();
}

static void a_disk_that_refuses_is_told_and_tried_again(void **state)
{
	char directory_in_the_way[80];

	(void)state;
	snprintf(directory_in_the_way, sizeof(directory_in_the_way), "%s.tmp", path);
	open_store(4096);
	assert_int_equal(mkdir(directory_in_the_way, 0700), 0);
	set("a", "1");
	run();
	assert_int_equal(last_error, -EISDIR);
	assert_null(get("a"));
	assert_int_equal(rmdir(directory_in_the_way), 0);
	fg_store_tick(store, 59999);
	assert_int_equal(n_stored, 1);
	fg_store_tick(store, 60000);
	run();
	assert_int_equal(last_error, 0);
	assert_string_equal(get("a"), "1");
}

/* ---- waiting */

static struct {
	struct fg_store_wait wait;
	unsigned n_ended;
	int error;
} first, second;

static void wait_ended(struct fg_store_wait *w, int error)
{
	struct fg_span value;

	if (w == &first.wait) {
		first.n_ended++;
		first.error = error;
	} else {
		second.n_ended++;
		second.error = error;
	}
	if (error == 0)
		assert_int_equal(fg_store_get(w->owner, fg_span_str("a"), &value), 0);
	ev_break(loop, EVBREAK_ALL);
}

static void make_waits(void)
{
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	first.wait = (struct fg_store_wait){.ended = wait_ended, .owner = store};
	second.wait = first.wait;
}

static void each_waits_for_what_was_set_before(void **state)
{
	(void)state;
	open_store(4096);
	make_waits();
	assert_false(fg_store_wait(store, &first.wait)); /* there is nothing to wait for */
	set("a", "1");
	assert_true(fg_store_wait(store, &first.wait));
	assert_true(fg_store_wait_gathers(&first.wait));
	set("b", "2"); /* while that is being written */
	fg_store_wait(store, &second.wait);
	while (!first.n_ended)
		run();
	assert_int_equal(second.n_ended, 0);
	assert_false(fg_store_wait_gathers(&second.wait));
	while (!second.n_ended)
		run();
	assert_int_equal(first.n_ended, 1);
	assert_int_equal(second.n_ended, 1);
	assert_string_equal(get("b"), "2");
}

static void a_wait_that_is_cancelled_is_told_nothing(void **state)
{
	(void)state;
	open_store(4096);
	make_waits();
	set("a", "1");
	fg_store_wait(store, &first.wait);
	fg_store_wait(store, &second.wait);
	fg_store_wait_cancel(&first.wait);
	fg_store_wait_cancel(&first.wait);
	while (!second.n_ended)
		run();
	assert_int_equal(first.n_ended, 0);
	/* Nor is one whose store is released. */
	set("a", "2");
	fg_store_wait(store, &first.wait);
	store = fg_store_free(store);
	assert_null(first.wait.store);
	/* The thread that is at it must not meet the next test. */
	open_store(4096);
	for (int i = 0; i < 2000 && strcmp(get("a"), "2") != 0; i++) {
		ev_timer turn;

		ev_timer_init(&turn, given_up, 0.01, 0.);
		ev_timer_start(loop, &turn);
		ev_run(loop, 0);
		reopen();
	}
	assert_string_equal(get("a"), "2");
}

static void all_who_wait_are_told_when_the_disk_refuses(void **state)
{
	char directory_in_the_way[80];
	uint64_t version;

	(void)state;
	snprintf(directory_in_the_way, sizeof(directory_in_the_way), "%s.tmp", path);
	assert_int_equal(mkdir(directory_in_the_way, 0700), 0);
	open_store(4096);
	make_waits();
	set("a", "1");
	fg_store_wait(store, &first.wait);
	set("b", "2");
	fg_store_wait(store, &second.wait);
	while (!second.n_ended)
		run();
	assert_int_equal(first.error, -EISDIR);
	assert_int_equal(second.error, -EISDIR);
	assert_int_equal(rmdir(directory_in_the_way), 0);
	/* The same again is news as long as it is not on disk, and only so long. */
	version = fg_store_version(store);
	set("b", "2");
	assert_true(fg_store_version(store) > version);
	fg_store_wait(store, &second.wait);
	while (second.n_ended < 2)
		run();
	assert_int_equal(second.error, 0);
	version = fg_store_version(store);
	set("b", "2");
	set("c", ""); /* which is not there */
	assert_int_equal(fg_store_version(store), version);
}

static void flip_a_bit(long offset)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	close(fd);
}

static void a_damaged_file_is_set_aside(void **state)
{
	struct stat st;

	(void)state;
	for (long offset = 0; offset < 12 + 4 + 1 + 6; offset++) {
		open_store(4096);
		set("a", "secret");
		run();
		store = fg_store_free(store);
		flip_a_bit(offset);
		open_store(4096);
		assert_null(get("a"));
		assert_int_equal(stat(damaged, &st), 0);
		store = fg_store_free(store);
		unlink(damaged);
	}
}

static void a_file_that_is_too_large_or_short_is_set_aside(void **state)
{
	struct stat st;

	(void)state;
	open_store(4096);
	set("a", "secret");
	run();
	store = fg_store_free(store);
	open_store(16); /* a bound below what is there */
	assert_int_equal(stat(damaged, &st), 0);
	store = fg_store_free(store);
	assert_int_equal(rename(damaged, path), 0);
	assert_int_equal(truncate(path, 5), 0);
	open_store(4096);
	assert_int_equal(stat(damaged, &st), 0);
}

/* ---- names */

static struct fg_names *names;
static struct fg_rename renames[] = {{"pump-01", "Pump 1"}};
static char *excluded[] = {"test-*"};
static const struct fg_devices_config devices = {
	.exclude = excluded, .n_exclude = 1, .rename = renames, .n_rename = 1};

static void open_names(void)
{
	struct fg_names_options options = {
		.config = &devices, .path = path, .connector = connector};
	struct fg_error err = {0};

	assert_int_equal(fg_names_open(&options, &names, &err), 0);
}

static const char *to_cloud(const char *device)
{
	static char text[256];
	struct fg_span name;

	if (!fg_names_to_cloud(names, fg_span_str(device), &name))
		return "(none)";
	snprintf(text, sizeof(text), "%.*s", FG_SPAN_ARGS(name));
	return text;
}

static const char *to_field(const char *name)
{
	static char text[256];
	struct fg_span device;

	if (!fg_names_to_field(names, fg_span_str(name), &device))
		return "(none)";
	snprintf(text, sizeof(text), "%.*s", FG_SPAN_ARGS(device));
	return text;
}

static int rename_device(const char *from, const char *to)
{
	return fg_names_rename(names, fg_span_str(from), fg_span_str(to));
}

static void names_go_both_ways_as_configured(void **state)
{
	(void)state;
	open_names();
	assert_string_equal(to_cloud("pump-01"), "Pump 1");
	assert_string_equal(to_field("Pump 1"), "pump-01");
	assert_string_equal(to_field("pump-01"), "(none)"); /* it is not called so there */
	assert_string_equal(to_cloud("pump-02"), "pump-02");
	assert_string_equal(to_field("pump-02"), "pump-02");
	assert_string_equal(to_cloud("test-1"), "(none)");
	assert_string_equal(to_field("test-1"), "(none)");
	names = fg_names_free(names);
}

static void names_are_written(struct fg_store_wait *w, int error)
{
	(void)w;
	assert_int_equal(error, 0);
	ev_break(loop, EVBREAK_ALL);
}

/* Once all is on disk: a thread that is still at it would meet the next test. */
static void close_names(void)
{
	first.wait = (struct fg_store_wait){.ended = names_are_written};
	while (fg_store_wait(fg_names_store(names), &first.wait))
		run();
	names = fg_names_free(names);
}

static void a_name_the_cloud_gives_is_remembered(void **state)
{
	(void)state;
	open_names();
	assert_int_equal(rename_device("pump-02", "South"), 0);
	assert_int_equal(rename_device("South", "South 2"), 0);
	assert_int_equal(rename_device("Pump 1", "North"), 0);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(to_cloud("pump-01"), "North");
		assert_string_equal(to_field("North"), "pump-01");
		assert_string_equal(to_field("Pump 1"), "(none)");
		assert_string_equal(to_cloud("pump-02"), "South 2");
		assert_string_equal(to_field("South"), "South"); /* a name like any other again */
		assert_string_equal(to_field("South 2"), "pump-02");
		assert_string_equal(to_field("pump-02"), "(none)");
		close_names();
		open_names();
	}
	names = fg_names_free(names);
}

static void names_that_cannot_be_are_refused(void **state)
{
	char big[256];

	(void)state;
	memset(big, 'x', sizeof(big));
	open_names();
	assert_int_equal(rename_device("Pump 1", ""), -EINVAL);
	assert_int_equal(rename_device("", "x"), -EINVAL);
	assert_int_equal(rename_device("test-1", "x"), -EINVAL);
	assert_int_equal(fg_names_rename(names, fg_span_str("a"), fg_span_of(big, 256)), -EINVAL);
	assert_int_equal(rename_device("pump-02", "North"), 0);
	assert_int_equal(rename_device("pump-03", "North"), -EINVAL); /* that is another one */
	assert_string_equal(to_cloud("pump-03"), "pump-03");
	close_names();
}

static void a_rename_that_is_told_twice_is_followed_once(void **state)
{
	(void)state;
	open_names();
	assert_int_equal(rename_device("pump-02", "South"), 0);
	assert_int_equal(rename_device("pump-02", "South"), 0);
	assert_string_equal(to_cloud("pump-02"), "South");
	assert_int_equal(rename_device("South", "South 2"), 0);
	assert_int_equal(rename_device("South", "South 2"), 0);
	assert_string_equal(to_cloud("pump-02"), "South 2");
	assert_string_equal(to_cloud("South"), "South");
	assert_int_equal(rename_device("pump-03", "South 2"), -EINVAL);
	close_names();
}

static void a_muted_device_is_neither_sent_nor_found(void **state)
{
	(void)state;
	open_names();
	assert_false(fg_names_is_muted(names, fg_span_str("Pump 1")));
	assert_int_equal(fg_names_mute(names, fg_span_str("Pump 1"), true), 0);
	assert_true(fg_names_is_muted(names, fg_span_str("Pump 1")));
	assert_string_equal(to_cloud("pump-01"), "(none)");
	assert_string_equal(to_field("Pump 1"), "(none)");
	assert_int_equal(fg_names_mute(names, fg_span_str("Pump 1"), false), 0);
	assert_false(fg_names_is_muted(names, fg_span_str("Pump 1")));
	assert_string_equal(to_cloud("pump-01"), "Pump 1");
	assert_string_equal(to_field("Pump 1"), "pump-01");
	assert_int_equal(fg_names_mute(names, fg_span_str("test-1"), true), -EINVAL);
	close_names();
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	unlink(damaged);
	return rmdir(directory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_set_is_there_once_it_is_told),
		TEST(the_file_is_for_its_owner_alone),
		TEST(values_are_replaced_and_removed),
		TEST(what_is_set_while_it_writes_follows),
		TEST(what_was_set_last_is_on_disk_when_the_connector_has_gone),
		TEST(bounds_are_kept),
		TEST(a_disk_that_refuses_is_told_and_tried_again),
		TEST(each_waits_for_what_was_set_before),
		TEST(a_wait_that_is_cancelled_is_told_nothing),
		TEST(all_who_wait_are_told_when_the_disk_refuses),
		TEST(a_damaged_file_is_set_aside),
		TEST(a_file_that_is_too_large_or_short_is_set_aside),
		TEST(names_go_both_ways_as_configured),
		TEST(a_name_the_cloud_gives_is_remembered),
		TEST(names_that_cannot_be_are_refused),
		TEST(a_rename_that_is_told_twice_is_followed_once),
		TEST(a_muted_device_is_neither_sent_nor_found),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
