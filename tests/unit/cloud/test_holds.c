/* What comes down is acknowledged when all that it has brought about is on disk. Network, clock, threads
 * and journal are made up; the files are real. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "link_frame.h"
#include "util/cleanup.h"

#define N_FILES 4

static const char *const files[N_FILES] = {"links/cloud", "links/cloud.names", "configs", "images"};

static struct fg_store *stores[FG_LINK_STORES];
static char directory[] = "/tmp/fieldgate-holds-XXXXXX";

/* ---- a connector whose threads work when the test says so */

static struct fg_connector_job *jobs; /* that nobody has begun yet */

int fg_connector_run(struct fg_connector *c, struct fg_connector_job *job)
{
	(void)c;
	job->next = jobs;
	jobs = job;
	return 0;
}

/* All that are due now; returns how many. */
static unsigned disk_works(void)
{
	struct fg_connector_job *job = jobs;
	unsigned n = 0;

	jobs = NULL;
	while (job) {
		struct fg_connector_job *next = job->next;

		job->work(job);
		job->done(job);
		job = next;
		n++;
	}
	return n;
}

/* A directory in its way. */
static void file_cannot_be_written(const char *name, bool it_cannot)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s.tmp", directory, name);
	if (it_cannot)
		assert_int_equal(mkdir(path, 0700), 0);
	else
		assert_int_equal(rmdir(path), 0);
}

/* ---- what a message brings about, by its payload: a letter for each file, then a value */

static void change(struct fg_store *store, const char *value)
{
	assert_int_equal(fg_store_set(store, fg_span_str("key"), fg_span_str(value)), 0);
}

static void to_configs(void *arg, const char *link, struct fg_span device, struct fg_span set,
		       struct fg_span unset)
{
	char value[16];

	(void)arg;
	(void)link;
	(void)device;
	(void)unset;
	snprintf(value, sizeof(value), "%.*s", FG_SPAN_ARGS(set));
	change(stores[0], value);
}

static int to_images(void *arg, const char *link, const struct fg_image *image, uint64_t *ret_have)
{
	char value[16];

	(void)arg;
	(void)link;
	snprintf(value, sizeof(value), "%.*s", FG_SPAN_ARGS(image->title));
	change(stores[1], value);
	*ret_have = 0;
	return 0;
}

static int to_desk(void *arg, const char *link, const struct fg_command *command,
		   uint64_t *ret_ticket)
{
	struct fg_message note = {.kind = FG_NOTE_FIRST, .device = command->device};
	uint64_t seq;

	(void)arg;
	(void)link;
	assert_int_equal(fg_journal_append(&journal, FG_LANE_ALARM, &note, &seq), 0);
	*ret_ticket = fg_journal_ticket(&journal);
	return 0;
}

static void receive(const struct fg_host *host, void *host_ctx, struct fg_span payload)
{
	struct fg_span value = fg_span_of(payload.data + 1, payload.size - 1);
	struct fg_command command = {
		.device = fg_span_str("z"), .id = fg_span_str("7"), .name = fg_span_str("open")};
	struct fg_image image = {.device = fg_span_str("z"), .title = value};
	uint64_t have;

	switch (payload.data[0]) {
	case 'm':
		assert_int_equal(host->remember(host_ctx, "token", value), 0);
		break;
	case 'r':
		assert_int_equal(host->rename(host_ctx, fg_span_str("a"), value), 0);
		break;
	case 'd':
		assert_int_equal(host->mute(host_ctx, value), 0);
		break;
	case 'c':
		host->config(host_ctx, fg_span_str("z"), value, (struct fg_span){.size = 0});
		break;
	case 'i':
		assert_int_equal(host->image_begin(host_ctx, &image, &have), 0);
		break;
	case 'x':
		host->command(host_ctx, &command);
		break;
	default:
		break;
	}
}

static const struct {
	const char *message;
	size_t file;
} changes[] = {{"mtoken", 0}, {"rAnton", 1}, {"db", 1}, {"c{}", 2}, {"ifw", 3}};

#define N_CHANGES (sizeof(changes) / sizeof(changes[0]))

/* ---- the link */

static void online(void)
{
	make();
	fg_link_start(link_);
	fake_mqtt_connect(65535, 0);
}

static bool deliver(const char *message)
{
	return fake_mqtt_deliver("down", message);
}

static void connects_again(void)
{
	assert_state(FG_LINK_BACKOFF);
	assert_null(fake_mqtt.client);
	fake_time_pass(60000);
	fake_mqtt_connect(65535, 0);
	assert_state(FG_LINK_ONLINE);
}

static void remove_files(void)
{
	char path[128];

	for (size_t i = 0; i < N_FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
		unlink(path);
	}
}

static int setup(void **state)
{
	char path[128];

	(void)state;
	link_frame_begin();
	remove_files();
	script.receive = receive;
	frees_in_stopped = true;
	config.max_reconnect_delay_ms = 300000;
	options.state_directory = directory;
	options.downlink = (struct fg_link_downlink){
		.command = to_desk, .config = to_configs, .image_begin = to_images};
	for (size_t i = 0; i < FG_LINK_STORES; i++) {
		struct fg_store_options of_store = {.path = path, .max_bytes = 4096};

		snprintf(path, sizeof(path), "%s/%s", directory, files[2 + i]);
		assert_int_equal(fg_store_open(&of_store, &stores[i], NULL), 0);
		options.stores[i] = stores[i];
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	link_frame_end();
	for (size_t i = 0; i < FG_LINK_STORES; i++)
		stores[i] = fg_store_free(stores[i]);
	disk_works();
	return 0;
}

static void start_over(void)
{
	teardown(NULL);
	setup(NULL);
}

/* ---- tests */

static void nothing_is_acknowledged_before_the_file_it_has_changed_is_on_disk(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_CHANGES; i++) {
		online();
		assert_true(deliver(changes[i].message));
		assert_true(fake_mqtt.is_held);
		assert_int_equal(disk_works(), 1);
		assert_false(fake_mqtt.is_held);
		assert_int_equal(fake_mqtt.n_let_go, 1);
		assert_state(FG_LINK_ONLINE);
		start_over();
	}
}

static void what_changes_nothing_is_acknowledged_at_once(void **state)
{
	(void)state;
	online();
	assert_true(deliver("?"));
	assert_int_equal(fake_mqtt.n_held, 0);
	for (size_t i = 0; i < N_CHANGES; i++) {
		deliver(changes[i].message);
		disk_works();
		assert_int_equal(fake_mqtt.n_held, i + 1);
		/* It comes again: its acknowledgement was lost. */
		deliver(changes[i].message);
		assert_int_equal(fake_mqtt.n_held, i + 1);
		assert_int_equal(disk_works(), 0);
	}
}

static void what_keeps_coming_waits_for_two_writings_at_most(void **state)
{
	(void)state;
	online();
	assert_true(deliver("c1")); /* begins to be written */
	assert_true(deliver("c2"));
	assert_true(deliver("c3"));
	disk_works();
	assert_true(fake_mqtt.is_held);
	/* The second writing is under way, a third would follow. */
	assert_false(deliver("c4"));
	disk_works();
	assert_false(fake_mqtt.is_held);
	assert_int_equal(fake_mqtt.n_resumes, 1);
	assert_true(deliver("c4"));
	disk_works();
	assert_false(fake_mqtt.is_held);
}

static void all_that_a_message_has_changed_is_waited_for(void **state)
{
	(void)state;
	online();
	deliver("x");
	deliver("rAnton");
	disk_works();
	assert_true(fake_mqtt.is_held);
	fg_link_committed(link_, fake_journal_commit(&journal));
	assert_false(fake_mqtt.is_held);

	deliver("x");
	deliver("db");
	fg_link_committed(link_, fake_journal_commit(&journal));
	assert_true(fake_mqtt.is_held);
	disk_works();
	assert_false(fake_mqtt.is_held);
}

static void what_cannot_be_written_is_not_acknowledged(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_CHANGES; i++) {
		const char *file = files[changes[i].file];

		online();
		file_cannot_be_written(file, true);
		deliver(changes[i].message);
		disk_works();
		assert_int_equal(fake_mqtt.n_let_go, 0);
		connects_again();
		/* The cloud sends it again, and it is no news; but on disk it is not yet. */
		deliver(changes[i].message);
		assert_true(fake_mqtt.is_held);
		disk_works();
		assert_int_equal(fake_mqtt.n_let_go, 0);
		connects_again();
		file_cannot_be_written(file, false);
		deliver(changes[i].message);
		disk_works();
		assert_int_equal(fake_mqtt.n_let_go, 1);
		assert_state(FG_LINK_ONLINE);
		start_over();
	}
}

static void a_disk_that_hangs_ends_the_session(void **state)
{
	(void)state;
	online();
	deliver("rAnton");
	fake_time_pass(30000);
	assert_state(FG_LINK_ONLINE);
	fake_time_pass(1000);
	assert_int_equal(fake_mqtt.n_let_go, 0);
	connects_again();
	/* That writing is nothing to the next session. */
	assert_int_equal(disk_works(), 1);
	assert_int_equal(fake_mqtt.n_let_go, 0);
}

static void a_session_that_is_to_end_waits_for_the_disk(void **state)
{
	(void)state;
	online();
	deliver("rAnton");
	stop();
	assert_false(fake_mqtt.is_disconnecting);
	disk_works();
	assert_false(fake_mqtt.is_held);
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
}

static void a_link_may_be_freed_when_its_disk_fails(void **state)
{
	(void)state;
	online();
	file_cannot_be_written(files[1], true);
	deliver("rAnton");
	stop();
	disk_works(); /* within which the link is freed, and the file's owner with it */
	assert_int_equal(n_stopped, 1);
	assert_null(link_);
	file_cannot_be_written(files[1], false);
}

int main(void)
{
#define held(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		held(nothing_is_acknowledged_before_the_file_it_has_changed_is_on_disk),
		held(what_changes_nothing_is_acknowledged_at_once),
		held(what_keeps_coming_waits_for_two_writings_at_most),
		held(all_that_a_message_has_changed_is_waited_for),
		held(what_cannot_be_written_is_not_acknowledged),
		held(a_disk_that_hangs_ends_the_session),
		held(a_session_that_is_to_end_waits_for_the_disk),
		held(a_link_may_be_freed_when_its_disk_fails),
	};
	char links[64];
	int r;

	if (!mkdtemp(directory))
		return 1;
	snprintf(links, sizeof(links), "%s/links", directory);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	remove_files();
	rmdir(links);
	return rmdir(directory) < 0 && r == 0 ? 1 : r;
}
