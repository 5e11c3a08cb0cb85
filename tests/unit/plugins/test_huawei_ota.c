/*
 * Upgrades of the Huawei plugin beyond what cases as data (tests/vectors/huawei/ota.json) can show: what is
 * bounded, what memory costs and what happens without, that a token is told to nobody but the host.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/packet.h"
#include "huawei/huawei.h"
#include "quiet_host.h"

#define DOWN "$oc/devices/gw1/sys/events/down"
#define PAYLOAD_SIZE 4096

extern const struct fg_plugin fg_plugin;

static bool has_no_memory;
static unsigned n_allocations;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	n_allocations++;
	return has_no_memory ? NULL : __real_calloc(n, size);
}

/* ------------------------------------------------------------------ a host */

static unsigned n_begun, n_told, n_abandoned;
static bool is_abandoned_unheard; /* the host has no such image, and says nothing */
static char authorization[8192], version[300];
static bool knows_versions;
static unsigned n_looks;

static int image_begin(void *host_ctx, const struct fg_image *image, uint64_t *ret_have)
{
	(void)host_ctx;
	assert_true(image->unless_there);
	n_begun++;
	snprintf(authorization, sizeof(authorization), "%.*s", FG_SPAN_ARGS(image->authorization));
	snprintf(version, sizeof(version), "%.*s", FG_SPAN_ARGS(image->version));
	*ret_have = 0;
	return 0;
}

static int mute(void *host_ctx, struct fg_span device)
{
	(void)host_ctx;
	(void)device;
	return 0;
}

static void image_told(void *host_ctx, struct fg_span device, enum fg_image_kind kind)
{
	(void)host_ctx;
	(void)device;
	(void)kind;
	n_told++;
}

static void image_abandon(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			  const char *why)
{
	struct fg_image_progress p = {
		.device = device,
		.kind = kind,
		.version = fg_span_str("2"),
		.state = FG_IMAGE_FAILED,
		.error = why,
	};

	n_abandoned++;
	if (!is_abandoned_unheard)
		fg_plugin.image_progress(*(void **)host_ctx, &p);
}

static unsigned n_commands;
static int command_result;
static char keys[4][65]; /* of the last ones */

static int command(void *host_ctx, const struct fg_command *c)
{
	(void)host_ctx;
	snprintf(keys[n_commands++ % 4], sizeof(keys[0]), "%.*s", FG_SPAN_ARGS(c->key));
	return command_result;
}

static int image_version(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			 struct fg_span *ret)
{
	(void)host_ctx;
	(void)device;
	(void)kind;
	*ret = fg_span_str("1");
	n_looks++;
	return knows_versions ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ a session */

static struct hw *hw;
static char topic[320], payload[PAYLOAD_SIZE];
static struct fg_publish published;

/* @device NULL: mode gateway. */
static int setup_for(const char *device)
{
	static struct fg_host host;
	struct fg_value values[32] = {0};
	struct fg_open with = {.values = values,
			       .host = &host,
			       .host_ctx = &hw,
			       .link_name = "x",
			       .gateway_name = "y"};
	struct fg_connack connack = {.mqtt_version = 4};
	const struct fg_option *option = fg_plugin.options;
	char error[256];
	void *ctx = NULL;

	host = quiet_host;
	host.mute = mute;
	host.unmute = mute;
	host.image_begin = image_begin;
	host.command = command;
	host.image_told = image_told;
	host.image_abandon = image_abandon;
	host.image_version = image_version;
	quiet_secret = "t0k3n";
	for (size_t i = 0; option[i].name; i++) {
		values[i].string = option[i].type == FG_OPTION_STRING ? option[i].fallback : NULL;
		if (strcmp(option[i].name, "device_id") == 0)
			values[i].string = "gw1";
		else if (strcmp(option[i].name, "device") == 0)
			values[i].string = device;
		else if (strcmp(option[i].name, "report_status") == 0)
			values[i].number = !device; /* what makes a table of sub-devices */
		else if (strcmp(option[i].name, "mode") == 0)
			values[i].number = device ? HW_MODE_DEVICE : HW_MODE_GATEWAY;
		else if (strcmp(option[i].name, "secret") == 0)
			values[i].string = "s";
		else if (option[i].type == FG_OPTION_DURATION)
			values[i].number = 15000;
		else if (strcmp(option[i].name, "max_devices") == 0)
			values[i].number = 10;
		values[i].is_set = values[i].string != NULL;
	}
	has_no_memory = false;
	n_warnings = n_begun = n_told = n_abandoned = 0;
	is_abandoned_unheard = false;
	n_commands = 0;
	command_result = 0;
	knows_versions = true;
	if (fg_plugin.open(&with, &ctx, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	hw = ctx;
	fg_plugin.connected(hw, "", &connack);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_for(NULL);
}

static int setup_device(void **state)
{
	(void)state;
	return setup_for("Press 9.1");
}

static int teardown(void **state)
{
	(void)state;
	has_no_memory = false;
	fg_plugin.close(hw);
	return 0;
}

static int deliver(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int deliver(const char *format, ...)
{
	static char body[65536];
	struct fg_delivery delivery = {.topic = DOWN, .qos = 1};
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(body, sizeof(body), format, args);
	va_end(args);
	assert_true(n > 0 && (size_t)n < sizeof(body));
	delivery.payload = fg_span_of(body, (size_t)n);
	return fg_plugin.receive(hw, "", &delivery);
}

/* Returns what encode() does; what it has made stands in `payload`. */
static int encode(void)
{
	struct fg_batch batch = {.max_take = 1, .max_points = {SIZE_MAX, SIZE_MAX}};
	int r;

	published = (struct fg_publish){.topic = topic,
					.topic_size = sizeof(topic),
					.payload = payload,
					.payload_size = sizeof(payload) - 1};
	r = fg_plugin.encode(hw, "", &batch, &published);
	payload[r > 0 ? published.payload_len : 0] = '\0';
	assert_null(strstr(payload, "t0k3n"));
	return r;
}

static void acknowledge(void)
{
	struct fg_settlement how = {.tag = published.tag};

	assert_int_equal(fg_plugin.settled(hw, "", &how), FG_ACCEPTED);
}

static void order(const char *device, const char *its_version)
{
	assert_int_equal(deliver("{\"object_device_id\":\"%s\",\"services\":[{\"service_id\":"
				 "\"$ota\",\"event_type\":\"firmware_upgrade\",\"paras\":{"
				 "\"version\":\"%s\",\"url\":\"https://h/\",\"access_token\":"
				 "\"t0k3n\"}}]}",
				 device, its_version),
			 0);
}

static void ask(const char *device)
{
	assert_int_equal(deliver("{\"object_device_id\":\"%s\",\"services\":[{\"service_id\":"
				 "\"$ota\",\"event_type\":\"version_query\"}]}",
				 device),
			 0);
}

/* ------------------------------------------------------------------ tests */

static void a_token_is_handed_to_the_host_and_told_to_nobody_else(void **state)
{
	char token[4001];

	(void)state;
	order("gw1", "2");
	assert_string_equal(authorization, "Bearer t0k3n");
	assert_int_equal(encode(), 1);
	memset(token, 'x', sizeof(token));
	for (int size = 4000; size <= 4001; size++) {
		assert_int_equal(
			deliver("{\"services\":[{\"service_id\":\"$ota\",\"event_type\":"
				"\"software_upgrade\",\"paras\":{\"version\":\"%d\",\"url\":"
				"\"https://h/\",\"access_token\":\"%.*s\"}}]}",
				size, size, token),
			0);
		assert_int_equal(n_begun, 2); /* the longer one is refused */
	}
	assert_int_equal(strlen(authorization), strlen("Bearer ") + 4000);
}

static void the_longest_version_fits_and_a_longer_one_makes_no_sense(void **state)
{
	char longest[257];

	(void)state;
	memset(longest, 'v', sizeof(longest));
	longest[255] = '\0';
	order("gw1", longest);
	assert_string_equal(version, longest);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, longest));
	longest[255] = 'v';
	longest[256] = '\0';
	assert_int_equal(deliver("{\"services\":[{\"service_id\":\"$ota\",\"event_type\":"
				 "\"firmware_upgrade\",\"paras\":{\"version\":\"%s\",\"url\":"
				 "\"https://h/\"}}]}",
				 longest),
			 -EPROTO);
	assert_int_equal(n_begun, 1);
}

static void of_too_many_orders_and_questions_the_rest_is_named_once_each_time(void **state)
{
	char device[16];

	(void)state;
	for (unsigned i = 0; i < HW_MAX_OTA_JOBS + 10; i++) {
		snprintf(device, sizeof(device), "pump-%u", i);
		if (i % 2)
			order(device, "2");
		else
			ask(device);
	}
	assert_int_equal(n_warnings, 1);
	assert_int_equal(hw->ota.n_jobs, HW_MAX_OTA_JOBS);
	assert_int_equal(n_begun, HW_MAX_OTA_JOBS / 2);
	for (unsigned i = 0; i < HW_MAX_OTA_JOBS; i++) {
		assert_int_equal(encode(), 1);
		acknowledge();
	}
	assert_int_equal(encode(), 0);
	/* Questions have been answered; orders go on. */
	assert_int_equal(hw->ota.n_jobs, HW_MAX_OTA_JOBS / 2);
	for (unsigned i = 0; i < HW_MAX_OTA_JOBS / 2 + 10; i++) {
		snprintf(device, sizeof(device), "fan-%u", i);
		ask(device);
	}
	assert_int_equal(n_warnings, 2);
}

static void what_comes_too_early_is_kept_within_bounds_and_taken_in_order(void **state)
{
	unsigned n = 0;
	char its_version[16];

	(void)state;
	hw->topology.is_on = hw->topology.is_waiting = true;
	for (; n_warnings == 0 && n < 10000; n++) {
		snprintf(its_version, sizeof(its_version), "%u", n);
		order("pump-1", its_version);
	}
	assert_in_range(n, 500, 5000);
	assert_int_equal(n_begun, 1); /* the one that there was no room for */
	fg_plugin.woken(hw, 0);
	assert_int_equal(n_begun, 1);
	hw->topology.is_waiting = false;
	fg_plugin.woken(hw, 0);
	assert_int_equal(n_begun, n);
	snprintf(its_version, sizeof(its_version), "%u", n - 2);
	assert_string_equal(version, its_version);
	assert_non_null(hw->early.first); /* until the host has had the time to bring it to disk */
	for (unsigned s = 0; s < HW_EARLY_FORGET_S; s++)
		fg_plugin.woken(hw, 0);
	assert_int_equal(n_begun, n);
	assert_null(hw->early.first);
}

static int deliver_message(const char *text)
{
	struct fg_delivery delivery = {
		.topic = "$oc/devices/gw1/sys/messages/down",
		.payload = fg_span_str(text),
		.qos = 1,
		.now_us = 1718000000000000,
	};

	return fg_plugin.receive(hw, "", &delivery);
}

static void what_the_disk_has_no_room_for_when_it_is_taken_is_taken_later(void **state)
{
	(void)state;
	hw->topology.is_on = hw->topology.is_waiting = true;
	for (int i = 0; i < 2; i++)
		assert_int_equal(deliver_message(i == 0 ? "{\"object_device_id\":\"pump-1\","
							  "\"id\":\"1\",\"content\":1}"
							: "{\"object_device_id\":\"pump-1\","
							  "\"id\":\"2\",\"content\":2}"),
				 0);
	assert_int_equal(n_commands, 0);
	hw->topology.is_waiting = false;
	command_result = -EAGAIN;
	for (unsigned s = 1; s <= 2 * HW_EARLY_FORGET_S; s++) {
		fg_plugin.woken(hw, 0);
		assert_int_equal(n_commands,
				 s); /* the first one each time: they keep their order */
	}
	assert_string_equal(keys[(n_commands - 1) % 4], "m/1");
	command_result = 0;
	n_commands = 0;
	fg_plugin.woken(hw, 0);
	assert_int_equal(n_commands, 2);
	assert_string_equal(keys[1], "m/2");
	assert_int_equal(n_warnings, 0);
	for (unsigned s = 0; s < HW_EARLY_FORGET_S; s++)
		fg_plugin.woken(hw, 0);
	assert_int_equal(n_commands, 2);
	assert_null(hw->early.first);
}

static void a_message_the_disk_has_no_room_for_as_it_comes_is_left_to_iotda(void **state)
{
	(void)state;
	command_result = -EAGAIN;
	assert_int_equal(deliver_message("{\"content\":1}"), 0);
	assert_int_equal(n_commands, 1);
	fg_plugin.woken(hw, 0);
	assert_int_equal(n_commands, 1);
}

/* Whoever is killed in the minute after it was taken takes it once more: the host has to know it. */
static void what_was_kept_without_an_id_has_the_same_key_when_it_is_taken_again(void **state)
{
	char before[65];

	(void)state;
	hw->topology.is_on = hw->topology.is_waiting = true;
	for (int run = 0; run < 2; run++) {
		assert_int_equal(deliver_message("{\"object_device_id\":\"gw1\",\"content\":0}"),
				 0);
		hw->n_unnamed_messages += (uint32_t)run; /* another run has had others */
		n_commands = 0;
		hw->topology.is_waiting = true;
		assert_int_equal(deliver_message("{\"object_device_id\":\"p\",\"content\":1}"), 0);
		assert_int_equal(deliver_message("{\"object_device_id\":\"p\",\"content\":2}"), 0);
		assert_int_equal(n_commands, 0);
		hw->topology.is_waiting = false;
		fg_plugin.woken(hw, 0);
		assert_int_equal(n_commands, 2);
		assert_string_not_equal(keys[0], keys[1]);
		if (run > 0)
			assert_string_equal(keys[0], before);
		snprintf(before, sizeof(before), "%s", keys[0]);
	}
}

static void what_comes_later_does_not_overtake_what_was_kept(void **state)
{
	(void)state;
	hw->topology.is_on = hw->topology.is_waiting = true;
	order("pump-1", "2");
	hw->topology.is_waiting = false;
	order("pump-1", "3");
	assert_int_equal(n_begun, 2);
	assert_string_equal(version, "3");
	fg_plugin.woken(hw, 0);
	assert_int_equal(n_begun, 2);
}

static void what_was_kept_is_taken_with_the_answer_it_has_waited_for(void **state)
{
	(void)state;
	hw->topology.is_on = hw->topology.is_waiting = true;
	order("pump-1", "2");
	assert_int_equal(n_begun, 0);
	assert_int_equal(deliver("{\"services\":[{\"service_id\":\"$sub_device_manager\","
				 "\"event_type\":\"add_sub_device_notify\",\"paras\":{\"devices\":"
				 "[{\"device_id\":\"pump-1\",\"node_id\":\"pump-1\"}],"
				 "\"version\":1}}]}"),
			 0);
	assert_int_equal(n_begun, 1);
}

static void of_a_sub_device_that_was_deleted_nothing_more_is_told(void **state)
{
	(void)state;
	hw->topology.is_on = true;
	order("pump-1", "2");
	assert_int_equal(encode(), 1);
	acknowledge();
	assert_int_equal(hw->ota.n_jobs, 1);
	assert_int_equal(deliver("{\"services\":[{\"service_id\":\"$sub_device_manager\","
				 "\"event_type\":\"delete_sub_device_notify\",\"paras\":{"
				 "\"devices\":[{\"device_id\":\"pump-1\"}],\"version\":2}}]}"),
			 0);
	for (unsigned second = 0; second < 301; second++)
		fg_plugin.woken(hw, 0);
	assert_int_equal(encode(), 0);
	assert_int_equal(hw->ota.n_jobs, 0);
}

static void what_is_kept_is_released_at_the_end(void **state)
{
	(void)state;
	hw->topology.is_on = hw->topology.is_waiting = true;
	order("pump-1", "2");
	assert_non_null(hw->early.first);
}

static void many_who_wait_are_looked_up_by_turns(void **state)
{
	char device[16];
	unsigned n_answers = 0;

	(void)state;
	knows_versions = false;
	for (unsigned i = 0; i < 500; i++) {
		snprintf(device, sizeof(device), "pump-%u", i);
		ask(device);
	}
	knows_versions = true;
	for (unsigned second = 0; second < 100; second++) {
		n_looks = 0;
		fg_plugin.woken(hw, 0);
		assert_in_range(n_looks, 0, 2 * 16);
		while (encode() == 1) {
			acknowledge();
			n_answers++;
		}
	}
	assert_int_equal(n_answers, 500);
	assert_int_equal(n_warnings, 0);
}

static void without_memory_an_order_is_lost_and_nothing_else(void **state)
{
	(void)state;
	has_no_memory = true;
	order("gw1", "2");
	ask("gw1");
	assert_int_equal(n_begun, 0);
	assert_int_equal(encode(), 0);
	has_no_memory = false;
	order("gw1", "2");
	assert_int_equal(n_begun, 1);
	assert_int_equal(encode(), 1);
}

static void telling_costs_no_allocation(void **state)
{
	struct fg_image_progress p = {.version = fg_span_str("2"), .size = 100};
	unsigned before;

	(void)state;
	order("gw1", "2");
	before = n_allocations;
	for (uint64_t have = 0; have <= 100; have += 5) {
		p.have = have;
		fg_plugin.image_progress(hw, &p);
		assert_int_equal(encode(), 1);
		acknowledge();
	}
	assert_int_equal(n_allocations, before);
}

static void what_has_only_grown_is_told_when_it_makes_a_percent(void **state)
{
	struct fg_image_progress p = {.version = fg_span_str("2"), .size = 1000, .have = 100};

	(void)state;
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\"progress\":8,"));
	acknowledge();
	p.only_grown = true;
	p.have = 110;
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 0);
	p.have = 120;
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\"progress\":9,"));
	acknowledge();
	/* It begins anew. */
	p.have = 10;
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 0);
	/* A server that sends more than it said. */
	p.have = 2000;
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\"progress\":80,"));
}

/* ---- what does not move */

/* So many seconds pass; all that is to be told is taken by IoTDA. Returns how often it was told. */
static unsigned live(unsigned seconds)
{
	unsigned n = 0;

	for (unsigned s = 0; s < seconds; s++) {
		fg_plugin.woken(hw, 0);
		for (; encode() == 1; n++)
			acknowledge();
	}
	return n;
}

static void begin_telling(enum fg_image_state state)
{
	struct fg_image_progress p = {.version = fg_span_str("2"), .state = state};

	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
	acknowledge();
}

static void a_device_that_has_it_and_says_nothing_has_failed_after_an_hour(void **state)
{
	(void)state;
	begin_telling(FG_IMAGE_UPDATING);
	assert_int_equal(live(3599), 11); /* each 5 min */
	assert_int_equal(n_abandoned, 0);
	fg_plugin.woken(hw, 0);
	assert_int_equal(n_abandoned, 1);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\"result_code\":255,\"progress\":90,\"version\":\"2\","
					"\"description\":\"the device has it, and has not said "
					"within an hour"));
	assert_int_equal(n_told, 0);
	acknowledge();
	assert_int_equal(n_told, 1);
	assert_int_equal(live(7200), 0);
	assert_int_equal(hw->ota.n_jobs, 0);
	/* Later is better than never. */
	begin_telling(FG_IMAGE_UPDATED);
	assert_non_null(strstr(payload, "\"result_code\":0,\"progress\":100,"));
	assert_int_equal(n_told, 2);
}

static void what_waits_for_its_device_has_failed_after_a_day(void **state)
{
	(void)state;
	is_abandoned_unheard = true;
	begin_telling(FG_IMAGE_VERIFIED);
	assert_int_equal(live(24 * 3600 - 1), 24 * 12 - 1);
	assert_int_equal(n_abandoned, 0);
	fg_plugin.woken(hw, 0);
	assert_int_equal(n_abandoned, 1);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\"result_code\":255,"));
	acknowledge();
	assert_int_equal(live(3600), 0);
}

static void whoever_is_at_it_has_time(void **state)
{
	struct fg_image_progress p = {
		.version = fg_span_str("2"), .state = FG_IMAGE_UPDATING, .only_grown = true};

	(void)state;
	begin_telling(FG_IMAGE_UPDATING);
	for (int i = 0; i < 5; i++) {
		live(3500);
		fg_plugin.image_progress(hw, &p); /* the device says something */
		assert_int_equal(encode(), 0);
	}
	assert_int_equal(n_abandoned, 0);
	live(3599);
	assert_int_equal(n_abandoned, 0);
	live(301);
	assert_int_equal(n_abandoned, 1);
}

/* After each connect the host tells of all there is; that is no sign of the device. */
static void being_told_the_same_once_more_is_no_progress(void **state)
{
	struct fg_image_progress p = {.version = fg_span_str("2"), .state = FG_IMAGE_UPDATING};

	(void)state;
	begin_telling(FG_IMAGE_UPDATING);
	for (int i = 0; i < 6; i++) {
		live(500);
		fg_plugin.image_progress(hw, &p);
	}
	assert_int_equal(n_abandoned, 0);
	live(901);
	assert_int_equal(n_abandoned, 1);
}

static void a_new_order_has_its_own_time(void **state)
{
	(void)state;
	begin_telling(FG_IMAGE_UPDATING);
	live(3000);
	order("gw1", "2");
	live(3000);
	assert_int_equal(n_abandoned, 0);
	live(900);
	assert_int_equal(n_abandoned, 1);
}

/* Who was not told of it before is told all of it. */
static void what_has_only_grown_is_told_of_an_image_nobody_has_told_of(void **state)
{
	struct fg_image_progress p = {
		.version = fg_span_str("2"), .size = 1000, .have = 1, .only_grown = true};

	(void)state;
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\"progress\":0,\"version\":\"2\","
					"\"description\":\"downloading\""));
}

static void of_what_cannot_be_a_sub_device_nothing_is_told(void **state)
{
	struct fg_image_progress p = {.version = fg_span_str("2")};
	static const char *const names[] = {"Press 9.1", "a\"b", "\xc3\xa4"};
	char longest[HW_DEVICE_ID_MAX + 2] = "";

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_null(hw_ota_job(hw, fg_span_str(names[i]), HW_OTA_VERSIONS));
	memset(longest, 'p', HW_DEVICE_ID_MAX + 1);
	p.device = fg_span_str(longest);
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 0);
	p.device = fg_span_of(longest, HW_DEVICE_ID_MAX);
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
}

static void the_only_device_may_have_any_name(void **state)
{
	struct fg_image_progress p = {.device = fg_span_str("Press 9.1"),
				      .version = fg_span_str("2"),
				      .state = FG_IMAGE_UPDATED};
	char longest[257] = "";

	(void)state;
	order("gw1", "2");
	assert_int_equal(encode(), 1);
	acknowledge();
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\"progress\":100,"));
	assert_null(strstr(payload, "Press"));
	acknowledge();
	assert_int_equal(hw->ota.n_jobs, 0);
	memset(longest, 'p', 256);
	assert_null(hw_ota_job(hw, fg_span_str(longest), HW_OTA_VERSIONS));
	assert_non_null(hw_ota_job(hw, fg_span_of(longest, 255), HW_OTA_VERSIONS));
}

static void a_reason_that_is_too_long_ends_with_a_whole_character(void **state)
{
	struct fg_image_progress p = {.version = fg_span_str("2"), .state = FG_IMAGE_FAILED};
	char reason[301];

	(void)state;
	for (size_t i = 0; i < 300; i += 3)
		memcpy(reason + i, "\xe2\x82\xac", 3);
	reason[300] = '\0';
	p.error = reason;
	fg_plugin.image_progress(hw, &p);
	assert_int_equal(encode(), 1);
	assert_non_null(strstr(payload, "\xe2\x82\xac\"}"));
}

static void the_host_is_told_once_that_the_cloud_knows(void **state)
{
	struct fg_image_progress p = {.version = fg_span_str("2"), .state = FG_IMAGE_UPDATED};

	(void)state;
	order("gw1", "2");
	assert_int_equal(encode(), 1);
	fg_plugin.image_progress(hw, &p);
	acknowledge(); /* of what came before */
	assert_int_equal(n_told, 0);
	assert_int_equal(encode(), 1);
	acknowledge();
	assert_int_equal(n_told, 1);
	acknowledge(); /* nobody sends such a thing twice; but */
	assert_int_equal(n_told, 1);
	assert_int_equal(hw->ota.n_jobs, 0);
}

/* ------------------------------------------------------------------ each cell of the table in ota.h */

#define NONE (-1)

enum event { ORDERED, FURTHER, ENDED, ACKNOWLEDGED, REFUSED, TIME_PASSES, SESSION_ENDS, N_EVENTS };

static int state_of_job(void)
{
	assert_true(hw->ota.n_jobs <= 1);
	assert_int_equal(hw->ota.n_untold, hw->ota.jobs && hw->ota.jobs->state == HW_OTA_UNTOLD);
	return hw->ota.jobs ? (int)hw->ota.jobs->state : NONE;
}

static void settle(unsigned reason)
{
	struct fg_settlement how = {.tag = published.tag, .reason_code = reason};

	fg_plugin.settled(hw, "", &how);
}

static void pass(unsigned seconds)
{
	while (seconds-- > 0)
		fg_plugin.woken(hw, 0);
}

static void happen(enum event event)
{
	struct fg_image_progress p = {.version = fg_span_str("2"), .size = 100, .have = 50};

	if (event == ENDED)
		p.state = FG_IMAGE_UPDATED;
	if (event == ORDERED)
		order("gw1", "2");
	else if (event == FURTHER || event == ENDED)
		fg_plugin.image_progress(hw, &p);
	else if (event == ACKNOWLEDGED || event == REFUSED)
		settle(event == REFUSED ? FG_REASON_UNSPECIFIED : 0);
	else if (event == TIME_PASSES)
		pass(300);
	else
		fg_plugin.disconnected(hw, "");
}

/* The job of an image; nothing is told of it since. */
static void bring_image_to(int state)
{
	teardown(NULL);
	setup(NULL);
	if (state == NONE)
		return;
	order("gw1", "2");
	if (state == HW_OTA_UNTOLD)
		return;
	assert_int_equal(encode(), 1);
	if (state == HW_OTA_TOLD)
		acknowledge();
	assert_int_equal(state_of_job(), state);
}

static void each_event_finds_the_job_of_an_image_in_each_state(void **state)
{
	static const struct {
		int before, after[N_EVENTS];
	} rows[] = {
		{NONE, {HW_OTA_UNTOLD, HW_OTA_UNTOLD, HW_OTA_UNTOLD, NONE, NONE, NONE, NONE}},
		{HW_OTA_UNTOLD,
		 {HW_OTA_UNTOLD, HW_OTA_UNTOLD, HW_OTA_UNTOLD, HW_OTA_UNTOLD, HW_OTA_UNTOLD,
		  HW_OTA_UNTOLD, HW_OTA_UNTOLD}},
		{HW_OTA_SENT,
		 {HW_OTA_SENT, HW_OTA_SENT, HW_OTA_SENT, HW_OTA_TOLD, HW_OTA_UNTOLD, HW_OTA_SENT,
		  HW_OTA_UNTOLD}},
		{HW_OTA_TOLD,
		 {HW_OTA_UNTOLD, HW_OTA_UNTOLD, HW_OTA_UNTOLD, HW_OTA_TOLD, HW_OTA_TOLD,
		  HW_OTA_UNTOLD, HW_OTA_UNTOLD}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (enum event event = ORDERED; event < N_EVENTS; event++) {
			bring_image_to(rows[i].before);
			happen(event);
			if (state_of_job() != rows[i].after[event])
				fail_msg("state %d, event %d: %d", rows[i].before, (int)event,
					 state_of_job());
		}
}

static void what_has_happened_meanwhile_is_told_when_the_one_before_has_arrived(void **state)
{
	(void)state;
	for (enum event event = ORDERED; event <= ENDED; event++) {
		bring_image_to(HW_OTA_SENT);
		happen(event);
		acknowledge();
		assert_int_equal(state_of_job(), HW_OTA_UNTOLD);
		assert_int_equal(encode(), 1);
		acknowledge();
		assert_int_equal(state_of_job(), event == ENDED ? NONE : HW_OTA_TOLD);
		assert_int_equal(n_told, event == ENDED);
	}
}

static void what_is_refused_again_and_again_is_taken_for_told(void **state)
{
	(void)state;
	for (unsigned has_ended = 0; has_ended < 2; has_ended++) {
		bring_image_to(HW_OTA_UNTOLD);
		if (has_ended)
			happen(ENDED);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(n_warnings, 0);
			assert_int_equal(encode(), 1);
			settle(FG_REASON_UNSPECIFIED);
		}
		assert_int_equal(n_warnings, 1);
		assert_int_equal(state_of_job(), has_ended ? NONE : HW_OTA_TOLD);
	}
	/* That there is too much of it is no refusal. */
	bring_image_to(HW_OTA_UNTOLD);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(encode(), 1);
		settle(FG_REASON_QUOTA_EXCEEDED);
		assert_int_equal(state_of_job(), HW_OTA_UNTOLD);
	}
}

static void a_question_is_open_until_it_is_answered_or_nobody_waits_any_more(void **state)
{
	(void)state;
	knows_versions = false;
	ask("gw1");
	ask("gw1");
	assert_int_equal(state_of_job(), HW_OTA_WAITING);
	fg_plugin.disconnected(hw, "");
	assert_int_equal(state_of_job(), HW_OTA_WAITING);
	pass(169);
	assert_int_equal(state_of_job(), HW_OTA_WAITING);
	ask("gw1"); /* IoTDA waits anew */
	pass(169);
	assert_int_equal(state_of_job(), HW_OTA_WAITING);
	pass(1);
	assert_int_equal(state_of_job(), NONE);
	assert_int_equal(n_warnings, 1);
	ask("gw1");
	knows_versions = true;
	pass(2);
	assert_int_equal(state_of_job(), HW_OTA_UNTOLD);
	assert_int_equal(encode(), 1);
	ask("gw1");
	assert_int_equal(state_of_job(), HW_OTA_SENT);
	acknowledge();
	assert_int_equal(state_of_job(), HW_OTA_UNTOLD);
	assert_int_equal(encode(), 1);
	acknowledge();
	assert_int_equal(state_of_job(), NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_token_is_handed_to_the_host_and_told_to_nobody_else),
		TEST(the_longest_version_fits_and_a_longer_one_makes_no_sense),
		TEST(of_too_many_orders_and_questions_the_rest_is_named_once_each_time),
		TEST(what_comes_too_early_is_kept_within_bounds_and_taken_in_order),
		TEST(what_the_disk_has_no_room_for_when_it_is_taken_is_taken_later),
		TEST(a_message_the_disk_has_no_room_for_as_it_comes_is_left_to_iotda),
		TEST(what_was_kept_without_an_id_has_the_same_key_when_it_is_taken_again),
		TEST(what_comes_later_does_not_overtake_what_was_kept),
		TEST(what_was_kept_is_taken_with_the_answer_it_has_waited_for),
		TEST(of_a_sub_device_that_was_deleted_nothing_more_is_told),
		TEST(what_is_kept_is_released_at_the_end),
		TEST(many_who_wait_are_looked_up_by_turns),
		TEST(without_memory_an_order_is_lost_and_nothing_else),
		TEST(telling_costs_no_allocation),
		TEST(what_has_only_grown_is_told_when_it_makes_a_percent),
		TEST(what_has_only_grown_is_told_of_an_image_nobody_has_told_of),
		TEST(a_device_that_has_it_and_says_nothing_has_failed_after_an_hour),
		TEST(what_waits_for_its_device_has_failed_after_a_day),
		TEST(whoever_is_at_it_has_time),
		TEST(being_told_the_same_once_more_is_no_progress),
		TEST(a_new_order_has_its_own_time),
		TEST(of_what_cannot_be_a_sub_device_nothing_is_told),
		cmocka_unit_test_setup_teardown(the_only_device_may_have_any_name, setup_device,
						teardown),
		TEST(a_reason_that_is_too_long_ends_with_a_whole_character),
		TEST(the_host_is_told_once_that_the_cloud_knows),
		TEST(each_event_finds_the_job_of_an_image_in_each_state),
		TEST(what_has_happened_meanwhile_is_told_when_the_one_before_has_arrived),
		TEST(what_is_refused_again_and_again_is_taken_for_told),
		TEST(a_question_is_open_until_it_is_answered_or_nobody_waits_any_more),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
