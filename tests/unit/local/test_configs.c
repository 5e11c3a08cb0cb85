#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../util/captured.h"
#include "local/configs.h"

static struct ev_loop *loop;
static struct fg_connector *connector;
static struct fg_configs *configs;
static char directory[] = "/tmp/fieldgate-configs-XXXXXX";
static char path[64];
static char published[4096];
static unsigned n_published, n_tests;
static int publish_result;

static char *pumps[] = {"pump-*"};
static struct fg_config_down_config rules[2];
static struct fg_config config = {.configs = rules};

static int publish(void *arg, const char *broker, struct fg_span device,
		   const struct fg_mqtt_publish *p)
{
	(void)arg;
	(void)device;
	n_published++;
	snprintf(published, sizeof(published), "%s %s %.*s qos=%u%s", broker ? broker : "*",
		 p->topic, FG_SPAN_ARGS(p->payload), p->qos, p->is_retained ? " retained" : "");
	return publish_result;
}

static void open_configs(void)
{
	struct fg_configs_options options = {
		.config = &config, .connector = connector, .path = path, .publish = publish};
	struct fg_error err = {0};

	assert_int_equal(fg_configs_open(&options, &configs, &err), 0);
}

static int setup(void **state)
{
	(void)state;
	rules[0] = (struct fg_config_down_config){.topic = (char *)"config/{device}",
						  .devices = pumps,
						  .n_devices = 1,
						  .is_retained = true,
						  .qos = 1};
	config.n_configs = 1;
	n_published = 0;
	publish_result = 0;
	/* One for each test: what the one before has set may still be on its way to the disk. */
	snprintf(path, sizeof(path), "%s/configs-%u", directory, n_tests++);
	loop = ev_loop_new(EVFLAG_AUTO);
	if (fg_connector_new(loop, &connector) < 0)
		return -1;
	open_configs();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	configs = fg_configs_free(configs);
	connector = fg_connector_free(connector);
	ev_loop_destroy(loop);
	return 0;
}

static void change(const char *device, const char *set, const char *unset)
{
	fg_configs_change(configs, "tb", fg_span_str(device), fg_span_str(set), fg_span_str(unset),
			  0);
}

static void a_turn(struct ev_loop *l, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	ev_break(l, EVBREAK_ALL);
}

static void let_it_write(void)
{
	ev_timer turn;

	for (int i = 0; i < 500 && access(path, F_OK) < 0; i++) {
		ev_timer_init(&turn, a_turn, 0.01, 0.);
		ev_timer_start(loop, &turn);
		ev_run(loop, 0);
	}
	ev_timer_init(&turn, a_turn, 0.05, 0.);
	ev_timer_start(loop, &turn);
	ev_run(loop, 0);
}

static void what_is_set_is_published_whole(void **state)
{
	(void)state;
	change("pump-1", "{\"interval\":15}", "");
	assert_string_equal(published, "* config/pump-1 {\"interval\":15} qos=1 retained");
	change("pump-1", "{\"limit\":2.50}", "");
	assert_string_equal(published,
			    "* config/pump-1 {\"interval\":15,\"limit\":2.50} qos=1 retained");
	change("pump-1", "", "[\"interval\"]");
	assert_string_equal(published, "* config/pump-1 {\"limit\":2.50} qos=1 retained");
	change("pump-2", "{\"interval\":1}", "");
	assert_string_equal(published, "* config/pump-2 {\"interval\":1} qos=1 retained");
}

static void only_devices_with_a_rule_get_it(void **state)
{
	(void)state;
	change("fan-1", "{\"interval\":15}", "");
	assert_int_equal(n_published, 0);
}

static void it_is_published_again_after_a_restart_and_when_a_broker_is_back(void **state)
{
	(void)state;
	change("pump-1", "{\"interval\":15}", "");
	let_it_write();
	configs = fg_configs_free(configs);
	open_configs();
	n_published = 0;
	fg_configs_broker_up(configs, "hall");
	assert_int_equal(n_published, 1);
	assert_string_equal(published, "* config/pump-1 {\"interval\":15} qos=1 retained");
	change("pump-1", "{\"limit\":1}", "");
	assert_string_equal(published,
			    "* config/pump-1 {\"interval\":15,\"limit\":1} qos=1 retained");
}

static void a_broker_that_is_back_gets_only_what_is_its_own(void **state)
{
	(void)state;
	rules[0].broker = (char *)"yard";
	change("pump-1", "{\"interval\":15}", "");
	assert_string_equal(published, "yard config/pump-1 {\"interval\":15} qos=1 retained");
	let_it_write();
	n_published = 0;
	fg_configs_broker_up(configs, "hall");
	assert_int_equal(n_published, 0);
	fg_configs_broker_up(configs, "yard");
	assert_int_equal(n_published, 1);
}

static void where_a_device_is_gets_what_waited_for_it(void **state)
{
	(void)state;
	configs = fg_configs_free(configs);
	rules[1] = (struct fg_config_down_config){.topic = (char *)"named/{device}",
						  .broker = (char *)"hall"};
	config.n_configs = 2;
	open_configs();
	publish_result = -ENODEV; /* nobody knows where it is */
	change("pump-1", "{\"interval\":15}", "");
	n_published = 0;
	publish_result = 0;
	fg_configs_device_moved(configs, fg_span_str("pump-2"));
	fg_configs_device_moved(configs, fg_span_str("fan-1"));
	assert_int_equal(n_published, 0);
	fg_configs_device_moved(configs, fg_span_str("pump-1"));
	assert_int_equal(n_published, 1);
	assert_string_equal(published, "* config/pump-1 {\"interval\":15} qos=1 retained");
}

static void what_makes_no_sense_changes_nothing(void **state)
{
	char *big = malloc(FG_STORE_VALUE_MAX + 100);

	(void)state;
	change("pump-1", "{\"interval\":15}", "");
	n_published = 0;
	change("pump-1", "[1]", "");
	change("pump-1", "{\"a\":", "");
	change("pump-1", "", "{\"a\":1}");
	change("", "{\"a\":1}", "");
	memset(big, 'x', FG_STORE_VALUE_MAX + 100);
	memcpy(big, "{\"a\":\"", 6);
	memcpy(big + FG_STORE_VALUE_MAX + 90, "\"}", 3);
	change("pump-1", big, "");
	free(big);
	assert_int_equal(n_published, 0);
	change("pump-1", "{\"b\":1}", "");
	assert_string_equal(published, "* config/pump-1 {\"interval\":15,\"b\":1} qos=1 retained");
}

static void a_name_that_is_no_topic_is_not_published(void **state)
{
	(void)state;
	change("pump-#", "{\"a\":1}", "");
	change("pump-+/x", "{\"a\":1}", "");
	assert_int_equal(n_published, 0);
}

static void what_is_too_large_for_the_broker_is_told(void **state)
{
	struct captured c = {0};

	(void)state;
	publish_result = -EMSGSIZE;
	captured_begin(&c);
	change("pump-1", "{\"a\":1}", "");
	captured_end(&c);
	assert_int_equal(n_published, 1);
	assert_non_null(strstr(c.text, "configs: the broker takes no message of 7 bytes, which the "
				       "configuration of device pump-1 has"));
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	char command[80];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s 2>&1", directory);
	/* A thread may still be writing what a test has set. */
	for (int i = 0; i < 500 && access(directory, F_OK) == 0; i++) {
		if (system(command) != 0)
			usleep(10000);
	}
	return access(directory, F_OK) == 0 ? -1 : 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_set_is_published_whole),
		TEST(only_devices_with_a_rule_get_it),
		TEST(it_is_published_again_after_a_restart_and_when_a_broker_is_back),
		TEST(a_broker_that_is_back_gets_only_what_is_its_own),
		TEST(where_a_device_is_gets_what_waited_for_it),
		TEST(what_makes_no_sense_changes_nothing),
		TEST(a_name_that_is_no_topic_is_not_published),
		TEST(what_is_too_large_for_the_broker_is_told),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
