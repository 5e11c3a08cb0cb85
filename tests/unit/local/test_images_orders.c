/*
 * Images as a cloud orders them: the same image by a new order or from another place, what the cloud has
 * been told of, and what runs where.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "http_server.h"
#include "images_fixture.h"
#include "util/bytes.h"

#define SIZE MAX_IMAGE_SIZE

#define NOBODY "http://127.0.0.1:1/fw" /* listens there */

/* A record of before there were orders has the key of no image of today. */
#define OLD_KEY "0123456789abcdef01234567"

static char *pumps[] = {"pump-*"};
static char *horns[] = {"horn-*"};
static struct fg_image_config rules[2];

static int setup_images(void **state)
{
	(void)state;
	rules[0] = (struct fg_image_config){
		.devices = pumps,
		.deliver = FG_DELIVER_FILE,
		.topic = (char *)"fw/{device}",
		.status = (char *)"fw/{device}/state",
		.max_bytes = 1 << 20,
	};
	rules[1] = (struct fg_image_config){
		.devices = horns,
		.deliver = FG_DELIVER_URL,
		.topic = (char *)"horn/{device}",
		.max_bytes = 1 << 20,
	};
	return images_setup(rules, 2, SIZE);
}

/* ---- a server of images */

static struct {
	unsigned status;         /* instead of 200 or 206 */
	unsigned n;              /* requests */
	bool holds;              /* after the first quarter, until http_server_go() */
	char authorization[100]; /* of the last request */
} shelf;

static void serve(struct exchange *x)
{
	const char *given = exchange_header(x, "Authorization");
	const char *range = exchange_header(x, "Range");
	size_t from = range ? (size_t)strtoul(range + strlen("bytes="), NULL, 10) : 0;

	shelf.n++;
	snprintf(shelf.authorization, sizeof(shelf.authorization), "%s", given ? given : "");
	if (shelf.status) {
		exchange_answer(x, shelf.status, "", "no");
		return;
	}
	exchange_say(x, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n", range ? "206 Part" : "200 OK",
		     SIZE - from);
	if (range)
		exchange_say(x, "Content-Range: bytes %zu-%u/%u\r\n", from, SIZE - 1, SIZE);
	exchange_say(x, "\r\n");
	if (shelf.holds) {
		exchange_write(x, image_bytes + from, SIZE / 4);
		exchange_wait(x);
		from += SIZE / 4;
	}
	exchange_write(x, image_bytes + from, SIZE - from);
}

static struct http_server *server;
static char url[64];

static int setup(void **state)
{
	memset(&shelf, 0, sizeof(shelf));
	server = http_server_start(&(struct http_server_options){.handler = serve});
	snprintf(url, sizeof(url), "http://localhost:%u/fw?Signature=a", http_server_port(server));
	return setup_images(state);
}

static int teardown(void **state)
{
	int r = images_teardown(state);

	http_server_stop(server);
	return r;
}

/* ---- orders */

static struct fg_image order_of(const char *device, const char *version, const char *place,
				const char *order)
{
	return (struct fg_image){
		.device = fg_span_str(device),
		.kind = FG_IMAGE_FIRMWARE,
		.version = fg_span_str(version),
		.size = SIZE,
		.algorithm = fg_span_str("SHA256"),
		.checksum = fg_span_str(checksum),
		.url = fg_span_str(place),
		.order = fg_span_str(order),
	};
}

static int begin(const char *link, const struct fg_image *image)
{
	uint64_t have;

	return fg_images_begin(images, link, image, &have);
}

static void pump_reports(const char *text)
{
	report("fw/pump-1/state", text);
}

/* Until @device is at it. */
static void hand_over(const struct fg_image *image)
{
	assert_int_equal(begin("hw", image), 0);
	wait_for_state("pump-1", FG_IMAGES_HANDING);
	acknowledge(0);
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_HANDED);
}

static void what_has_failed_is_tried_again_by_a_new_order_only(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	shelf.status = 404;
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	assert_string_equal(told, "hw:DOWNLOADING hw:FAILED/4");
	assert_int_equal(begin("hw", &image), 0);
	assert_string_equal(told, "hw:DOWNLOADING hw:FAILED/4 hw:FAILED/4");
	assert_int_equal(shelf.n, 1);
	shelf.status = 0;
	image.order = fg_span_str("2");
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_HANDING);
}

static void a_new_token_takes_the_place_of_the_old_one(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	image.authorization = fg_span_str("Bearer t0k3n-1");
	shelf.holds = true;
	assert_int_equal(begin("hw", &image), 0);
	for (double waited = 0; !entry("pump-1")->download || entry("pump-1")->have < SIZE / 8;
	     waited += 0.05) {
		assert_true(waited < PATIENCE_S);
		turn(0.05);
	}
	shelf.holds = false;
	image.authorization = fg_span_str("Bearer t0k3n-2");
	image.order = fg_span_str("2");
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_HANDING);
	assert_string_equal(shelf.authorization, "Bearer t0k3n-2");
	assert_int_equal(images->n, 1);
	http_server_go(server);
}

static void occupy_downloads(void)
{
	char device[16];

	for (int i = 0; i < FG_IMAGES_MAX_DOWNLOADS; i++) {
		struct fg_image other;

		snprintf(device, sizeof(device), "pump-%d", 10 + i);
		other = order_of(device, "2", NOBODY, "1");
		assert_int_equal(begin("hw", &other), 0);
	}
}

/* Have firmware 2 of pump-1 there by way of the shelf, with nothing told since. */
static void bring_to(enum fg_images_state state)
{
	bool is_fetched = state != FG_IMAGES_QUEUED && state != FG_IMAGES_FETCHING;
	struct fg_image image = order_of("pump-1", "2", is_fetched ? url : NOBODY, "1");

	images_teardown(NULL);
	assert_int_equal(setup_images(NULL), 0);
	if (state == FG_IMAGES_QUEUED)
		occupy_downloads();
	is_device_up = state != FG_IMAGES_READY;
	shelf.status = state == FG_IMAGES_FAILED ? 404 : 0;
	if (state == FG_IMAGES_HANDED || state == FG_IMAGES_UPDATED)
		hand_over(&image);
	else
		assert_int_equal(begin("hw", &image), 0);
	if (state == FG_IMAGES_UPDATED)
		pump_reports("{\"state\":\"UPDATED\"}");
	wait_for_state("pump-1", state);
	shelf.status = 0;
	told[0] = '\0';
}

static void another_token_counts_while_the_image_is_not_here(void **state)
{
	static const struct {
		enum fg_images_state before, after;
		bool is_taken;
		const char *told;
	} rows[] = {
		{FG_IMAGES_QUEUED, FG_IMAGES_QUEUED, true, ""},
		{FG_IMAGES_FETCHING, FG_IMAGES_FETCHING, true, "hw:DOWNLOADING"},
		{FG_IMAGES_READY, FG_IMAGES_READY, false, "hw:VERIFIED"},
		{FG_IMAGES_HANDING, FG_IMAGES_HANDING, false, "hw:VERIFIED"},
		{FG_IMAGES_HANDED, FG_IMAGES_HANDED, false, "hw:UPDATING"},
		{FG_IMAGES_UPDATED, FG_IMAGES_UPDATED, false, "hw:UPDATED"},
		{FG_IMAGES_FAILED, FG_IMAGES_FETCHING, true, "hw:DOWNLOADING"},
	};
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	image.authorization = fg_span_str("Bearer t0k3n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bring_to(rows[i].before);
		assert_int_equal(begin("hw", &image), 0);
		assert_int_equal(entry("pump-1")->state, rows[i].after);
		assert_string_equal(entry("pump-1")->authorization,
				    rows[i].is_taken ? "Bearer t0k3n" : "");
		assert_string_equal(told, rows[i].told);
	}
}

static void an_url_that_is_signed_anew_is_that_of_the_same_image(void **state)
{
	char signed_anew[64];
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	snprintf(signed_anew, sizeof(signed_anew), "%s", url);
	signed_anew[strlen(signed_anew) - 1] = 'b';
	image.checksum.size = 0; /* nothing else tells it from another */
	hand_over(&image);
	assert_int_equal(n_published, 1);
	image.url = fg_span_str(signed_anew);
	image.order = fg_span_str("2");
	assert_int_equal(begin("hw", &image), 0);
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_HANDED);
	assert_int_equal(shelf.n, 1);
}

static void a_token_is_not_passed_on_to_a_device_that_fetches_itself(void **state)
{
	struct fg_image image = order_of("horn-1", "2", "https://x/fw", "1");

	(void)state;
	image.authorization = fg_span_str("Bearer t0k3n");
	assert_int_equal(begin("hw", &image), -EINVAL);
	assert_string_equal(told, "hw:FAILED/2");
	assert_int_equal(images->n, 0);
}

static void what_has_failed_is_looked_at_anew_when_it_is_ordered_again(void **state)
{
	struct fg_image image = order_of("horn-1", "2", "https://shelf/fw", "1");
	static const char nul[] = "https://shelf/\0fw";

	(void)state;
	assert_int_equal(begin("hw", &image), 0);
	fg_images_published(images, tag, 0x87);
	assert_int_equal(entry("horn-1")->state, FG_IMAGES_FAILED);
	told[0] = '\0';
	image.order = fg_span_str("2");
	image.authorization = fg_span_str("Bearer t0k3n");
	assert_int_equal(begin("hw", &image), -EINVAL);
	assert_string_equal(told, "hw:FAILED/2");
	assert_int_equal(n_published, 1);
	assert_null(entry("horn-1"));

	image.authorization.size = 0;
	assert_int_equal(begin("hw", &image), 0);
	fg_images_published(images, tag, 0x87);
	told[0] = '\0';
	image.order = fg_span_str("3");
	image.url = fg_span_of(nul, sizeof(nul) - 1);
	assert_int_equal(begin("hw", &image), -EINVAL);
	assert_string_equal(told, "hw:FAILED/0");
	assert_int_equal(n_published, 2);
	assert_null(entry("horn-1"));
}

static void an_image_of_one_cloud_that_cannot_be_leaves_that_of_another_alone(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");
	struct fg_image large = order_of("pump-1", "3", url, "1");

	(void)state;
	hand_over(&image);
	told[0] = '\0';
	large.size = 2 << 20;
	assert_int_equal(begin("tb", &large), -EINVAL);
	assert_string_equal(told, "tb:FAILED/3");
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_HANDED);
	large.size = SIZE;
	assert_int_equal(begin("tb", &large), 0);
	assert_string_equal(told, "tb:FAILED/3 hw:FAILED/1 tb:DOWNLOADING");
}

static void each_fault_is_told_apart(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	image.size = SIZE + 1;
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	assert_int_equal(entry("pump-1")->fault, FG_IMAGE_FAULT_WRONG);
	image = order_of("pump-1", "2", url, "1");
	image.checksum =
		fg_span_str("595124473f866b033dfa1f7e831c8c99a12f6143f392dfa996a819010842c99d");
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	assert_int_equal(entry("pump-1")->fault, FG_IMAGE_FAULT_WRONG);
	shelf.status = 401;
	image.order = fg_span_str("2");
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	assert_int_equal(entry("pump-1")->fault, FG_IMAGE_FAULT_DOWNLOAD);
	shelf.status = 0;
	rules[0].max_bytes = SIZE - 1;
	image = order_of("pump-1", "2", url, "1");
	image.size = 0;
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	assert_int_equal(entry("pump-1")->fault, FG_IMAGE_FAULT_NO_ROOM);
	rules[0].max_bytes = 1 << 20;
	image.order = fg_span_str("3");
	hand_over(&image);
	pump_reports("{\"state\":\"FAILED\"}");
	assert_int_equal(entry("pump-1")->fault, FG_IMAGE_FAULT_REFUSED);
	assert_int_equal(begin("hw", &(struct fg_image){.device = fg_span_str("boiler"),
							.url = fg_span_str(url)}),
			 -EINVAL);
	assert_non_null(strstr(told, "FAILED/2"));
}

static void a_long_download_is_told_of_now_and_then(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	shelf.holds = true;
	assert_int_equal(begin("hw", &image), 0);
	for (double waited = 0; !strstr(told, "GROWN"); waited += 0.05) {
		assert_true(waited < PATIENCE_S);
		fg_images_tick(images, now_ms += 1000);
		turn(0.05);
	}
	fg_images_tell_download(entry("pump-1"), FG_IMAGE_DOWNLOADING, SIZE / 2, SIZE);
	assert_string_equal(told, "hw:DOWNLOADING hw:GROWN");
	http_server_go(server);
}

/* ---- what the cloud has been told */

static void the_end_of_an_order_is_told_until_it_has_been_heard(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");
	struct fg_span device = fg_span_str("pump-1");

	(void)state;
	hand_over(&image);
	pump_reports("{\"state\":\"UPDATED\"}");
	restart();
	fg_images_tell_all(images, "tb");
	assert_string_equal(told, "");
	fg_images_tell_all(images, "hw");
	assert_string_equal(told, "hw:UPDATED");
	fg_images_told(images, "tb", device, FG_IMAGE_FIRMWARE);
	fg_images_told(images, "hw", device, FG_IMAGE_SOFTWARE);
	fg_images_told(images, "hw", device, FG_IMAGE_FIRMWARE);
	restart();
	fg_images_tell_all(images, "hw");
	assert_string_equal(told, "");
	/* Ordered anew, there is an end to be told again. */
	image.order = fg_span_str("2");
	assert_int_equal(begin("hw", &image), 0);
	restart();
	fg_images_tell_all(images, "hw");
	assert_string_equal(told, "hw:UPDATED");
}

static void a_failure_outlives_a_restart_until_it_has_been_heard(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	shelf.status = 404;
	assert_int_equal(begin("hw", &image), 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	restart();
	fg_images_tell_all(images, "hw");
	assert_string_equal(told, "hw:FAILED/4");
	assert_string_equal(entry("pump-1")->failure, "the server answers with status 404");
	fg_images_told(images, "hw", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE);
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_FAILED);
	restart();
	assert_null(entry("pump-1"));
}

/* As it was written before there were orders. */
static void what_an_earlier_version_remembered_is_read(void **state)
{
	static const char *const texts[] = {"hw", "pump-1", "A", "2", "", "http://localhost/", ""};
	char value[200] = {1, FG_IMAGE_FIRMWARE, FG_IMAGES_UPDATED, 1, 0}, *at = value + 13;

	(void)state;
	for (size_t i = 0; i < 7; i++) {
		fg_put_le16(at, (uint16_t)strlen(texts[i]));
		at = stpcpy(at + 2, texts[i]);
	}
	assert_int_equal(fg_store_set(images->store, fg_span_str(OLD_KEY),
				      fg_span_of(value, (size_t)(at - value))),
			 0);
	restart();
	assert_non_null(entry("pump-1"));
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_UPDATED);
	assert_true(entry("pump-1")->has_reported);
	assert_string_equal(entry("pump-1")->order, "");
}

static bool is_in_store(const char *text)
{
	char file[4096];
	FILE *in = fopen(path, "r");
	size_t size = in ? fread(file, 1, sizeof(file), in) : 0;

	if (in)
		fclose(in);
	return memmem(file, size, text, strlen(text)) != NULL;
}

static void a_token_is_kept_until_the_image_is_installed(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	image.authorization = fg_span_str("Bearer t0k3n");
	hand_over(&image);
	restart();
	assert_true(is_in_store("t0k3n"));
	pump_reports("{\"state\":\"UPDATED\"}");
	restart();
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_UPDATED);
	assert_false(is_in_store("t0k3n"));
}

/* ---- what runs where */

static void hear(const char *device, const char *attributes, bool is_retained)
{
	fg_images_heard(images, fg_span_str(device), fg_span_str(attributes), is_retained);
}

static void runs(const char *device, enum fg_image_kind kind, const char *version)
{
	struct fg_span found;

	if (fg_images_version(images, fg_span_str(device), kind, &found) < 0)
		found = fg_span_str("nobody knows");
	if (!fg_span_is(found, version))
		fail_msg("%.*s, not %s", FG_SPAN_ARGS(found), version);
}

static void what_a_device_tells_last_is_what_it_runs(void **state)
{
	(void)state;
	runs("pump-1", FG_IMAGE_FIRMWARE, "nobody knows");
	hear("pump-1", "{\"fw_version\":\"1.9\",\"t\":1}", false);
	hear("pump-1", "{\"sw_version\":3.10}", false);
	hear("pump-2", "{\"fw_version\":7}", true);
	hear("boiler", "{\"fw_version\":7}", false);
	runs("pump-1", FG_IMAGE_FIRMWARE, "1.9");
	runs("pump-1", FG_IMAGE_SOFTWARE, "3.10");
	runs("pump-2", FG_IMAGE_FIRMWARE, "7");
	runs("pump-2", FG_IMAGE_SOFTWARE, "nobody knows");
	runs("boiler", FG_IMAGE_FIRMWARE, "nobody knows");
	hear("pump-1", "{\"fw_version\":\"1.10\"}", false);
	restart();
	runs("pump-1", FG_IMAGE_FIRMWARE, "1.10");
	runs("pump-1", FG_IMAGE_SOFTWARE, "3.10");
	runs("pump-2", FG_IMAGE_FIRMWARE, "7");
}

static void what_is_no_version_changes_nothing(void **state)
{
	static const char *const bodies[] = {
		"{\"fw_version\":\"\"}",      "{\"fw_version\":null}",
		"{\"fw_version\":{\"a\":1}}", "{\"fw_version\":[\"2\"]}",
		"{\"fw_version\":NaN}",       "{\"fw_version\":\"2\\u0000\"}",
		"{\"FW_VERSION\":\"2\"}",     "{}",
	};
	char longest[300];

	(void)state;
	hear("pump-1", "{\"fw_version\":\"1\"}", false);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		hear("pump-1", bodies[i], false);
	snprintf(longest, sizeof(longest), "{\"fw_version\":\"%0256d\"}", 0);
	hear("pump-1", longest, false);
	runs("pump-1", FG_IMAGE_FIRMWARE, "1");
	snprintf(longest, sizeof(longest), "{\"fw_version\":\"%0255d\"}", 0);
	hear("pump-1", longest, false);
	assert_non_null(strstr(longest, "0000"));
	runs("pump-1", FG_IMAGE_SOFTWARE, "nobody knows");
}

static void what_a_broker_has_kept_is_believed_only_where_nothing_is_known(void **state)
{
	(void)state;
	hear("pump-1", "{\"fw_version\":\"1\"}", true);
	runs("pump-1", FG_IMAGE_FIRMWARE, "1");
	hear("pump-1", "{\"fw_version\":\"2\"}", false);
	hear("pump-1", "{\"fw_version\":\"1\"}", true);
	runs("pump-1", FG_IMAGE_FIRMWARE, "2");
}

static void an_image_that_was_confirmed_is_what_runs(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	hear("pump-1", "{\"fw_version\":\"1\"}", false);
	hand_over(&image);
	runs("pump-1", FG_IMAGE_FIRMWARE, "1");
	pump_reports("{\"state\":\"UPDATED\"}");
	runs("pump-1", FG_IMAGE_FIRMWARE, "2");
	restart();
	runs("pump-1", FG_IMAGE_FIRMWARE, "2");
}

static void a_device_that_tells_the_version_it_was_handed_has_installed_it(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	rules[0].status = NULL;
	restart();
	hear("pump-1", "{\"fw_version\":\"1\"}", false);
	hand_over(&image);
	hear("pump-1", "{\"fw_version\":\"1\",\"sw_version\":\"2\"}", false);
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_HANDED);
	hear("pump-1", "{\"fw_version\":\"2\"}", false);
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_UPDATED);
	assert_non_null(strstr(told, "hw:UPDATING hw:UPDATED"));
}

static void what_is_installed_is_heard_although_no_more_versions_can_be_remembered(void **state)
{
	char attributes[300], device[16];
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	hand_over(&image);
	/* Long ones until no more fits, then short ones into what is left. */
	for (unsigned i = 0; i < FG_IMAGES_VERSIONS_MAX_BYTES / 255 + 100; i++) {
		int width = i < FG_IMAGES_VERSIONS_MAX_BYTES / 255 ? 255 : 1;

		snprintf(device, sizeof(device), "pump-%u", i + 2);
		snprintf(attributes, sizeof(attributes), "{\"fw_version\":\"%0*d\"}", width, 7);
		hear(device, attributes, false);
	}
	hear("pump-1", "{\"fw_version\":\"2\"}", false);
	runs("pump-1", FG_IMAGE_FIRMWARE, "nobody knows");
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_UPDATED);
}

static void what_runs_already_is_not_fetched_where_the_cloud_says_so(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	hear("pump-1", "{\"fw_version\":\"2\"}", false);
	image.unless_there = true;
	assert_int_equal(begin("hw", &image), -EEXIST);
	assert_string_equal(told, "");
	assert_null(entry("pump-1"));
	image.unless_there = false;
	hand_over(&image);
	pump_reports("{\"state\":\"UPDATED\"}");
	/* Its own image is told of as what it is: installed. */
	image.unless_there = true;
	told[0] = '\0';
	assert_int_equal(begin("hw", &image), 0);
	assert_string_equal(told, "hw:UPDATED");
}

static void
what_was_installed_is_brought_again_when_the_device_has_told_another_version(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");

	(void)state;
	image.unless_there = true;
	hand_over(&image);
	pump_reports("{\"state\":\"UPDATED\"}");
	for (double waited = 0; entry("pump-1")->file;
	     waited += 0.005) { /* until that is on disk */
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
	hear("pump-1", "{\"fw_version\":\"1\"}", false);
	told[0] = '\0';
	assert_int_equal(begin("hw", &image), 0); /* the order of before, once more */
	assert_string_equal(told, "hw:UPDATED");
	image.order = fg_span_str("2");
	hand_over(&image);
	assert_int_equal(shelf.n, 2);
	hear("pump-1", "{\"fw_version\":\"2\"}", false);
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_UPDATED);
	image.order = fg_span_str("3");
	told[0] = '\0';
	assert_int_equal(begin("hw", &image), 0);
	assert_string_equal(told, "hw:UPDATED");
}

/* ---- a device that says nothing */

static void a_device_that_never_reports_gets_its_other_image_in_the_end(void **state)
{
	struct fg_image image = order_of("pump-1", "2", url, "1");
	struct fg_images_entry *other;

	(void)state;
	hand_over(&image);
	image.kind = FG_IMAGE_SOFTWARE;
	image.version = fg_span_str("5");
	assert_int_equal(begin("hw", &image), 0);
	other = fg_images_find(images, fg_span_str("pump-1"), FG_IMAGE_SOFTWARE);
	for (double waited = 0; other->state != FG_IMAGES_READY; waited += 0.005) {
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
	fg_images_tick(images, now_ms += FG_IMAGES_PATIENCE_MS - 2000);
	assert_int_equal(other->state, FG_IMAGES_READY);
	pump_reports("{\"state\":\"UPDATING\"}");
	fg_images_tick(images, now_ms += FG_IMAGES_PATIENCE_MS - 2000);
	assert_int_equal(other->state, FG_IMAGES_READY);
	fg_images_tick(images, now_ms += 3000);
	assert_int_equal(other->state, FG_IMAGES_HANDING);
	acknowledge(0);
	/* What it says now is of the one that came last, unless it says otherwise. */
	pump_reports("{\"state\":\"UPDATED\"}");
	assert_int_equal(other->state, FG_IMAGES_UPDATED);
	pump_reports("{\"state\":\"FAILED\",\"version\":\"2\"}");
	assert_int_equal(entry("pump-1")->state, FG_IMAGES_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(what_has_failed_is_tried_again_by_a_new_order_only),
		TEST(a_new_token_takes_the_place_of_the_old_one),
		TEST(another_token_counts_while_the_image_is_not_here),
		TEST(an_url_that_is_signed_anew_is_that_of_the_same_image),
		TEST(a_token_is_not_passed_on_to_a_device_that_fetches_itself),
		TEST(what_has_failed_is_looked_at_anew_when_it_is_ordered_again),
		TEST(an_image_of_one_cloud_that_cannot_be_leaves_that_of_another_alone),
		TEST(each_fault_is_told_apart),
		TEST(a_long_download_is_told_of_now_and_then),
		TEST(the_end_of_an_order_is_told_until_it_has_been_heard),
		TEST(a_failure_outlives_a_restart_until_it_has_been_heard),
		TEST(what_an_earlier_version_remembered_is_read),
		TEST(a_token_is_kept_until_the_image_is_installed),
		TEST(what_a_device_tells_last_is_what_it_runs),
		TEST(what_is_no_version_changes_nothing),
		TEST(what_a_broker_has_kept_is_believed_only_where_nothing_is_known),
		TEST(an_image_that_was_confirmed_is_what_runs),
		TEST(a_device_that_tells_the_version_it_was_handed_has_installed_it),
		TEST(what_is_installed_is_heard_although_no_more_versions_can_be_remembered),
		TEST(what_runs_already_is_not_fetched_where_the_cloud_says_so),
		TEST(what_was_installed_is_brought_again_when_the_device_has_told_another_version),
		TEST(a_device_that_never_reports_gets_its_other_image_in_the_end),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
