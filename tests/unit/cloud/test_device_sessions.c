/* A link with a session for each device: what the cloud calls them changes, one is refused, one is silent.
 * Network, clock, threads and journal are made up; the file of names is real. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "link_frame.h"
#include "util/cleanup.h"

#define N_DEVICES 50
#define N_OTHERS (N_DEVICES - 3)

static char directory[] = "/tmp/fieldgate-sessions-XXXXXX";

/* ---- a connector whose threads work when the test says so */

static struct fg_connector_job *jobs; /* that nobody has begun yet */

int fg_connector_run(struct fg_connector *c, struct fg_connector_job *job)
{
	(void)c;
	job->next = jobs;
	jobs = job;
	return 0;
}

static void disk_works(void)
{
	while (jobs) {
		struct fg_connector_job *job = jobs;

		jobs = job->next;
		job->work(job);
		job->done(job);
	}
}

/* ---- the link */

static struct fg_mqtt_client *client(const char *name)
{
	char id[128];

	snprintf(id, sizeof(id), "fieldgate-plant7-cloud-%s", name);
	return fake_client(id);
}

static void come_up(const char *name)
{
	assert_non_null(client(name));
	fake_client_connect(client(name));
}

/* What is published on it is acknowledged, until nothing more is. Returns how many publishes that were. */
static unsigned acknowledge(const char *name)
{
	unsigned n, sum = 0;

	assert_non_null(client(name));
	while ((n = fake_client_puback_all(client(name))))
		sum += n;
	return sum;
}

static void begin(void)
{
	make();
	fg_link_start(link_);
}

static void restart(void)
{
	link_ = fg_link_free(link_);
	begin();
}

static void rename_device(const char *from, const char *to)
{
	assert_int_equal(script.host->rename(script.host_ctx, fg_span_str(from), fg_span_str(to)),
			 0);
	disk_works();
	fake_time_pass(1);
}

static void mute_device(const char *name)
{
	assert_int_equal(script.host->mute(script.host_ctx, fg_span_str(name)), 0);
	disk_works();
	fake_time_pass(1);
}

static void remove_files(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/links/cloud.names", directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/links/cloud", directory);
	unlink(path);
}

static int setup(void **state)
{
	(void)state;
	link_frame_begin();
	remove_files();
	plugin = script_sessions_plugin;
	fake_mqtt.may_be_many = true;
	options.state_directory = directory;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	link_frame_end();
	return 0;
}

/* Two devices are up, and b falls, with 3 records that wait for it; a has all it has. */
static void b_is_behind(void)
{
	begin();
	new_data("a", 1);
	new_data("b", 1);
	come_up("a");
	come_up("b");
	acknowledge("a");
	acknowledge("b");
	fake_client_end(client("b"), FG_MQTT_END_LOST, 0);
	new_data("b", 3);
	new_data("a", 2);
	acknowledge("a");
	assert_int_equal(stats().records_acked, 4);
	assert_int_equal(stats().behind, 1);
	assert_watermark(7);
}

static void all_is_sent(uint64_t records_acked)
{
	assert_int_equal(stats().records_acked, records_acked);
	assert_int_equal(stats().behind, 0);
	assert_watermark(journal.n_records);
	assert_int_equal(journal.n_quarantined, 0);
}

/* ---- names */

static void a_device_that_the_cloud_renames_goes_on_in_a_session_of_its_new_name(void **state)
{
	(void)state;
	begin();
	new_data("a", 1);
	come_up("a");
	/* One is in flight, that is waited for; another one comes in between. */
	rename_device("a", "Anton");
	assert_null(client("Anton"));
	new_data("a", 1);
	assert_int_equal(stats().published, 1);
	acknowledge("a");
	fake_client_end(client("a"), FG_MQTT_END_OWN, 0);
	fake_time_pass(1);
	assert_null(client("a"));
	come_up("Anton");
	assert_int_equal(acknowledge("Anton"), 1);
	assert_int_equal(stats().published, 2);
	all_is_sent(2);
	assert_int_equal(fake_clients(), 1);
}

static void what_waited_for_a_device_goes_out_under_its_new_name(void **state)
{
	(void)state;
	b_is_behind();
	rename_device("b", "Berta");
	assert_null(client("b"));
	come_up("Berta");
	acknowledge("Berta");
	all_is_sent(7);
}

static void a_rename_in_the_configuration_loses_nothing_that_waited(void **state)
{
	static struct fg_rename renames[] = {{(char *)"b", (char *)"Berta"}};

	(void)state;
	b_is_behind();
	config.devices = (struct fg_devices_config){.rename = renames, .n_rename = 1};
	restart();
	assert_null(client("b"));
	come_up("Berta");
	acknowledge("Berta");
	assert_int_equal(stats().records_acked, 3); /* and nothing twice */
	assert_int_equal(stats().behind, 0);
	assert_watermark(7);
}

static void a_name_that_comes_back_before_its_session_has_ended_is_served_again(void **state)
{
	(void)state;
	begin();
	new_data("a", 1);
	come_up("a");
	rename_device("a", "Anton");
	rename_device("Anton", "a");
	new_data("a", 1);
	acknowledge("a");
	fake_client_end(client("a"), FG_MQTT_END_OWN, 0);
	fake_time_pass(1);
	come_up("a");
	acknowledge("a");
	all_is_sent(2);
}

static void two_devices_swap_their_names(void **state)
{
	(void)state;
	b_is_behind();
	rename_device("a", "x");
	rename_device("b", "a");
	rename_device("x", "b");
	/* While the session of the one lasts that was called so before, the other one waits. */
	fake_client_end(client("a"), FG_MQTT_END_OWN, 0);
	fake_time_pass(1);
	assert_int_equal(fake_clients(), 2);
	new_data("a", 2);
	new_data("b", 4);
	come_up("a");
	come_up("b");
	assert_int_equal(acknowledge("a"), 1); /* seven of field device b */
	assert_int_equal(acknowledge("b"), 1);
	all_is_sent(13);
}

static void a_device_of_anothers_name_is_put_aside_and_does_not_throw_that_out(void **state)
{
	(void)state;
	b_is_behind();
	rename_device("a", "b");
	fake_client_end(client("a"), FG_MQTT_END_OWN, 0);
	fake_time_pass(1);
	assert_int_equal(fake_clients(), 1);
	come_up("b");
	new_data("a", 2);
	new_data("b", 2);
	acknowledge("b");
	assert_int_equal(stats().records_acked, 6);
	fg_link_committed(link_, fake_journal_commit(&journal));
	assert_int_equal(stats().quarantined, 5); /* with the three that waited */
	assert_string_equal(journal.quarantined[0].device, "b");
	assert_non_null(strstr(journal.quarantined[0].reason, "calls another device by its name"));
	fg_link_committed(link_, fake_journal_commit(&journal));
	assert_int_equal(stats().behind, 0);
	assert_watermark(11);
}

/* ---- devices that the cloud does not get any more */

static void what_waited_for_a_device_that_the_cloud_has_deleted_holds_nothing(void **state)
{
	(void)state;
	b_is_behind();
	mute_device("b");
	assert_int_equal(stats().behind, 0);
	assert_int_equal(stats().n_sessions_open, 1);
	fake_time_pass(600000);
	assert_int_equal(fake_clients(), 1);
	new_data("b", 2);
	assert_watermark(9);

	/* It has it again: what it says from now on. */
	assert_int_equal(script.host->unmute(script.host_ctx, fg_span_str("b")), 0);
	disk_works();
	new_data("b", 1);
	come_up("b");
	acknowledge("b");
	all_is_sent(5);
}

static void what_waited_for_a_device_that_is_excluded_since_holds_nothing(void **state)
{
	static char *exclude[] = {(char *)"b"};

	(void)state;
	b_is_behind();
	config.devices = (struct fg_devices_config){.exclude = exclude, .n_exclude = 1};
	restart();
	fake_time_pass(1);
	assert_int_equal(fake_clients(), 0);
	assert_int_equal(stats().behind, 0);
	assert_watermark(7);
}

/* ---- fifty of them */

static const char *name_of(unsigned i)
{
	static char name[8];

	snprintf(name, sizeof(name), "e%02u", i);
	return name;
}

static void one_round(void)
{
	for (unsigned i = 0; i < N_DEVICES; i++)
		add(name_of(i), 1);
	fg_link_committed(link_, fake_journal_commit(&journal));
}

/* Of all but the first three; in one go, without a moment passing. */
static void the_others_have_all(unsigned long *acked)
{
	for (unsigned i = 3; i < N_DEVICES; i++)
		assert_int_equal(fake_client_puback_all(client(name_of(i))), 1);
	*acked += N_OTHERS;
	assert_int_equal(stats().records_acked, *acked);
}

static void one_refused_one_frozen_and_one_renamed_delay_nobody_else(void **state)
{
	unsigned long acked = 0;

	(void)state;
	begin();
	one_round();
	assert_int_equal(fake_clients(), N_DEVICES);
	for (unsigned i = 1; i < N_DEVICES; i++)
		come_up(name_of(i));
	the_others_have_all(&acked);
	for (unsigned round = 0; round < 20; round++) {
		one_round();
		the_others_have_all(&acked);
		if (client("e00"))
			fake_client_end(client("e00"), FG_MQTT_END_REFUSED, 0x87);
		if (round == 5)
			rename_device("e02", "Zwei");
		fake_time_pass(1000);
	}

	/* Each of the three gets back on its own. What e02 had in flight was waited for in vain. */
	assert_null(client("e02"));
	come_up("Zwei");
	assert_true(acknowledge("Zwei") > 0);
	fake_time_pass(30000);
	assert_int_equal(stats().n_sessions_online, N_OTHERS + 1); /* e01 was too silent */
	come_up("e01");
	assert_true(acknowledge("e01") > 0);
	fake_time_pass(600000);
	come_up("e00");
	assert_true(acknowledge("e00") > 0);
	all_is_sent(21 * N_DEVICES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_device_that_the_cloud_renames_goes_on_in_a_session_of_its_new_name),
		TEST(what_waited_for_a_device_goes_out_under_its_new_name),
		TEST(a_rename_in_the_configuration_loses_nothing_that_waited),
		TEST(a_name_that_comes_back_before_its_session_has_ended_is_served_again),
		TEST(two_devices_swap_their_names),
		TEST(a_device_of_anothers_name_is_put_aside_and_does_not_throw_that_out),
		TEST(what_waited_for_a_device_that_the_cloud_has_deleted_holds_nothing),
		TEST(what_waited_for_a_device_that_is_excluded_since_holds_nothing),
		TEST(one_refused_one_frozen_and_one_renamed_delay_nobody_else),
	};
	char links[64];
	int r;

	if (!mkdtemp(directory))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	remove_files();
	snprintf(links, sizeof(links), "%s/links", directory);
	rmdir(links);
	rmdir(directory);
	return r;
}
