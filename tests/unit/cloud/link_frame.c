#include "link_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct fg_journal journal;
struct script script;
struct fg_plugin plugin;
struct fg_cloud_config config;
struct fg_link_options options;
struct fg_link *link_;
unsigned n_stopped;
bool frees_in_stopped;

void link_frame_begin(void)
{
	fake_journal_init(&journal);
	fake_mqtt_reset();
	memset(&script, 0, sizeof(script));
	script_next = &script;
	plugin = script_plugin;
	config = (struct fg_cloud_config){
		.name = (char *)"cloud",
		.plugin = (char *)"script",
		.url = {.host = (char *)"cloud.example", .port = 1883},
		.keep_alive_s = 60,
		.max_reconnect_delay_ms = 60000,
		.max_in_flight = 16,
		.max_in_flight_records = 10000,
		.ack_timeout_ms = 30000,
		.command_timeout_ms = 10000,
	};
	options = (struct fg_link_options){
		.journal = &journal,
		.config = &config,
		.plugin = &plugin,
		.gateway_name = "plant7",
		.seed = 42,
	};
	n_stopped = 0;
	frees_in_stopped = false;
}

void link_frame_end(void)
{
	link_ = fg_link_free(link_);
	assert_null(fake_mqtt.client);
	assert_int_equal(fake_timers(), 0);
	assert_false(journal.cursor.is_open);
	assert_int_equal(script.n_opened, script.n_closed);
	fake_journal_done(&journal);
}

void make(void)
{
	struct fg_error err = {0};

	if (fg_link_new(&options, &link_, &err) < 0)
		fail_msg("%s", err.text);
}

static void has_stopped(void *arg)
{
	assert_ptr_equal(arg, &journal);
	n_stopped++;
	if (frees_in_stopped)
		link_ = fg_link_free(link_);
}

void stop(void)
{
	fg_link_stop(link_, has_stopped, &journal);
}

struct fg_link_stats stats(void)
{
	struct fg_link_stats s;

	fg_link_get_stats(link_, &s);
	return s;
}

void add(const char *device, unsigned n)
{
	while (n--)
		fake_journal_add(&journal, device);
}

void new_data(const char *device, unsigned n)
{
	add(device, n);
	fg_link_committed(link_, fake_journal_commit(&journal));
}
