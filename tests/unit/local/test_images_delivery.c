/*
 * Images on their last way: handed over, and what devices report.
 */
#include <errno.h>
#include <stdio.h>

#include "images_states.h"
#include "model/utf8.h"

/* ---- from announcement to report */

static void an_image_in_chunks_arrives_and_the_device_reports(void **state)
{
	(void)state;
	assert_int_equal(begin("pump-1", "2"), 0);
	assert_string_equal(told, "tb:DOWNLOADING");
	assert_int_equal(write_at("pump-1", 0, 4096), 0);
	assert_int_equal(write_at("pump-1", 4096, SIZE - 4096), 0);
	wait_for_state("pump-1", FG_IMAGES_HANDING);
	assert_string_equal(told, "tb:DOWNLOADING tb:DOWNLOADED tb:VERIFIED");
	assert_string_equal(topic, "fw/pump-1");
	assert_non_null(strstr(payload, "{\"kind\":\"firmware\",\"title\":\"A\",\"version\":\"2\","
					"\"size\":10000,\"algorithm\":\"SHA256\",\"checksum\":\""));
	assert_non_null(strstr(payload, "\",\"chunk_size\":4096}"));

	acknowledge(0);
	assert_string_equal(topic, "fw/pump-1/0");
	assert_int_equal(payload_size, 4096);
	assert_memory_equal(payload, image_bytes, 4096);
	acknowledge(0);
	assert_string_equal(topic, "fw/pump-1/1");
	acknowledge(0);
	assert_string_equal(topic, "fw/pump-1/2");
	assert_int_equal(payload_size, SIZE - 2 * 4096);
	assert_memory_equal(payload, image_bytes + 8192, SIZE - 8192);
	acknowledge(0);
	assert_string_equal(told, "tb:DOWNLOADING tb:DOWNLOADED tb:VERIFIED tb:UPDATING");
	assert_int_equal(n_published, 4);
	report("fw/pump-1/state", "{\"state\":\"UPDATING\"}");
	report("fw/pump-1/state", "{\"state\":\"updated\"}");
	assert_string_equal(told,
			    "tb:DOWNLOADING tb:DOWNLOADED tb:VERIFIED tb:UPDATING tb:UPDATED");
}

static void a_file_is_announced_by_its_path(void **state)
{
	FILE *file;
	char name[256] = "", bytes[SIZE];
	char *at;

	(void)state;
	begin("fan-1", "2");
	assert_int_equal(write_at("fan-1", 0, SIZE), 0);
	wait_for_state("fan-1", FG_IMAGES_HANDING);
	assert_string_equal(topic, "fan/fan-1");
	at = strstr(payload, "\"file\":\"");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "\"file\":\"%255[^\"]\"}", name), 1);
	file = fopen(name, "r");
	assert_non_null(file);
	assert_int_equal(fread(bytes, 1, SIZE, file), SIZE);
	fclose(file);
	assert_memory_equal(bytes, image_bytes, SIZE);
	acknowledge(0);
	assert_int_equal(state_of("fan-1"), FG_IMAGES_HANDED);
}

static void an_url_is_announced_by_the_files_name(void **state)
{
	(void)state;
	begin("valve-1", "2");
	assert_int_equal(write_at("valve-1", 0, SIZE), 0);
	wait_for_state("valve-1", FG_IMAGES_HANDING);
	assert_non_null(strstr(payload, "\"url\":\"http://gw/images/"));
	assert_non_null(strstr(payload, ".image\"}"));
}

static void a_device_that_fetches_by_itself_is_told_the_clouds_url(void **state)
{
	struct fg_image image = image_of("horn-1", "2");
	uint64_t have;

	(void)state;
	assert_int_equal(begin_image(&image, &have), -EINVAL);
	assert_non_null(strstr(failure, "this one has no URL"));
	told[0] = '\0';
	image.url = fg_span_str("https://example.com/a?b=c");
	assert_int_equal(begin_image(&image, &have), 0);
	assert_string_equal(topic, "horn/horn-1");
	assert_non_null(strstr(payload, "\"size\":10000,"));
	assert_non_null(strstr(payload, ",\"url\":\"https://example.com/a?b=c\"}"));
	restart();
	assert_int_equal(state_of("horn-1"), FG_IMAGES_READY);
	fg_images_tick(images, ++now_ms);
	acknowledge(0);
	restart();
	assert_int_equal(state_of("horn-1"), FG_IMAGES_HANDED);
	n_published = 0;
	fg_images_device_up(images, fg_span_str("horn-1"));
	assert_int_equal(n_published, 1);
	acknowledge(0);
	report("horn/horn-1/state", "{\"state\":\"UPDATED\"}");
	assert_string_equal(told, "tb:UPDATING tb:UPDATED");
}

static void texts_of_a_cloud_stay_texts(void **state)
{
	struct fg_image image = image_of("fan-1", "2\"},{\n");
	uint64_t have;

	(void)state;
	assert_int_equal(begin_image(&image, &have), 0);
	assert_int_equal(write_at("fan-1", 0, SIZE), 0);
	wait_for_state("fan-1", FG_IMAGES_HANDING);
	assert_non_null(strstr(payload, "\"version\":\"2\\\"},{\\n\""));
}

/* ---- handing over */

static void what_the_broker_did_not_acknowledge_is_published_again(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_HANDING);
	acknowledge(0);
	acknowledge(0);
	assert_string_equal(topic, "fw/pump-1/1");
	tag = 0;
	n_published = 0;
	fg_images_tick(images, ++now_ms);
	assert_int_equal(n_published, 0); /* it may still come */
	fg_images_broker_up(images);
	assert_int_equal(n_published, 1);
	assert_string_equal(topic, "fw/pump-1/1");
}

static void an_acknowledgement_of_old_is_not_taken_for_a_new_one(void **state)
{
	uint64_t old;

	(void)state;
	bring_to(FG_IMAGES_HANDING);
	old = tag;
	fg_images_broker_up(images);
	n_published = 0;
	fg_images_published(images, old, 0);
	assert_int_equal(n_published, 0);
	acknowledge(0);
	assert_string_equal(topic, "fw/pump-1/0");
}

static void without_a_broker_it_waits(void **state)
{
	(void)state;
	publish_result = -ENOTCONN;
	bring_to(FG_IMAGES_HANDING);
	assert_int_equal(n_published, 0);
	publish_result = 0;
	fg_images_tick(images, ++now_ms);
	assert_int_equal(n_published, 1);
}

static void a_device_that_is_away_is_waited_for(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_READY);
	fg_images_tick(images, ++now_ms);
	assert_int_equal(n_published, 0);
	is_device_up = true;
	fg_images_device_up(images, fg_span_str("pump-2"));
	assert_int_equal(n_published, 0);
	fg_images_device_up(images, fg_span_str("pump-1"));
	assert_int_equal(n_published, 1);
}

static void a_device_that_was_away_hears_of_it_again_unless_it_has_reported(void **state)
{
	(void)state;
	afresh(FG_IMAGES_HANDED);
	fg_images_device_up(images, fg_span_str("pump-1"));
	assert_int_equal(n_published, 1);
	assert_string_equal(topic, "fw/pump-1");

	afresh(FG_IMAGES_HANDED);
	report("fw/pump-1/state", "{\"state\":\"UPDATING\"}");
	fg_images_device_up(images, fg_span_str("pump-1"));
	assert_int_equal(n_published, 0);
}

static void where_nobody_listens_it_is_tried_again_later(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_HANDING);
	acknowledge(0x10);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_READY);
	n_published = 0;
	fg_images_tick(images, FG_IMAGES_RETRY_MS - 1);
	assert_int_equal(n_published, 0);
	fg_images_tick(images, FG_IMAGES_RETRY_MS);
	assert_int_equal(n_published, 1);
	assert_string_equal(topic, "fw/pump-1");
}

static void a_broker_that_refuses_ends_it(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_HANDING);
	acknowledge(0x87);
	assert_string_equal(failure, "the field's broker refuses it (reason code 0x87)");
	afresh(FG_IMAGES_READY);
	publish_result = -EMSGSIZE;
	is_device_up = true;
	fg_images_tick(images, ++now_ms);
	assert_string_equal(failure, "the announcement is larger than the field's broker takes");
}

static void of_two_kinds_one_is_handed_over_after_the_other(void **state)
{
	struct fg_image software = image_of("pump-1", "5");
	uint64_t have;

	(void)state;
	bring_to(FG_IMAGES_HANDED);
	n_published = 0;
	software.kind = FG_IMAGE_SOFTWARE;
	assert_int_equal(begin_image(&software, &have), 0);
	assert_int_equal(fg_images_write(images, "tb", software.device, FG_IMAGE_SOFTWARE, 0,
					 fg_span_of(image_bytes, SIZE)),
			 0);
	for (double waited = 0;
	     fg_images_find(images, software.device, FG_IMAGE_SOFTWARE)->state != FG_IMAGES_READY;
	     waited += 0.005) {
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
	fg_images_tick(images, ++now_ms);
	assert_int_equal(n_published, 0);
	report("fw/pump-1/state", "{\"state\":\"UPDATED\"}");
	assert_int_equal(n_published, 1);
	assert_non_null(strstr(payload, "\"kind\":\"software\""));
}

/* ---- each cell: reports */

static void a_report_counts_while_the_image_is_at_the_device(void **state)
{
	static const struct {
		const char *text, *told;
		int handing, handed; /* the state afterwards */
	} reports[] = {
		{"{\"state\":\"UPDATING\"}", "", FG_IMAGES_HANDING, FG_IMAGES_HANDED},
		{"{\"state\":\"UPDATED\"}", "tb:UPDATED", FG_IMAGES_UPDATED, FG_IMAGES_UPDATED},
		{"{\"state\":\"FAILED\"}", "tb:FAILED/6", FG_IMAGES_FAILED, FG_IMAGES_FAILED},
		{"{\"chunk\":1}", "", FG_IMAGES_HANDING, FG_IMAGES_HANDING},
		{"{\"chunk\":3}", "", FG_IMAGES_HANDING, FG_IMAGES_HANDED},
		{"{\"chunk\":-1}", "", FG_IMAGES_HANDING, FG_IMAGES_HANDED},
		{"{\"state\":\"dancing\"}", "", FG_IMAGES_HANDING, FG_IMAGES_HANDED},
		{"{\"state\":7}", "", FG_IMAGES_HANDING, FG_IMAGES_HANDED},
		{"UPDATED", "", FG_IMAGES_HANDING, FG_IMAGES_HANDED},
		{"{\"state\":\"UPDATED\",\"version\":\"1\"}", "", FG_IMAGES_HANDING,
		 FG_IMAGES_HANDED},
		{"{\"state\":\"UPDATED\",\"version\":\"2\"}", "tb:UPDATED", FG_IMAGES_UPDATED,
		 FG_IMAGES_UPDATED},
	};

	(void)state;
	for (size_t i = 0; i < N_STATES; i++)
		for (size_t k = 0; k < sizeof(reports) / sizeof(reports[0]); k++) {
			enum fg_images_state at = all_states[i];
			bool counts = at == FG_IMAGES_HANDING || at == FG_IMAGES_HANDED;

			if (!counts && k > 3)
				continue;
			afresh(at);
			report("fw/pump-1/state", reports[k].text);
			assert_string_equal(told, counts ? reports[k].told : "");
			assert_int_equal(state_of("pump-1"),
					 at == FG_IMAGES_HANDING  ? reports[k].handing
					 : at == FG_IMAGES_HANDED ? reports[k].handed
								  : (int)at);
		}
}

static void a_report_that_changes_nothing_says_that_the_device_is_at_it(void **state)
{
	static const char *const reports[] = {"{\"state\":\"UPDATING\"}", "{\"chunk\":1}",
					      "{\"state\":\"dancing\"}"};

	(void)state;
	for (size_t k = 0; k < sizeof(reports) / sizeof(reports[0]); k++) {
		afresh(FG_IMAGES_HANDED);
		fg_images_tick(images, now_ms += FG_IMAGES_PROGRESS_MS);
		report("fw/pump-1/state", reports[k]);
		assert_string_equal(told, "tb:GROWN");
		/* A device that chatters is not told of each time. */
		fg_images_tick(images, now_ms += FG_IMAGES_PROGRESS_MS - 1);
		report("fw/pump-1/state", reports[k]);
		assert_string_equal(told, "tb:GROWN");
		fg_images_tick(images, ++now_ms);
		report("fw/pump-1/state", reports[k]);
		assert_string_equal(told, "tb:GROWN tb:GROWN");
	}
}

static void the_other_image_goes_on_when_one_is_given_up(void **state)
{
	struct fg_image software = image_of("pump-1", "5");
	uint64_t have;

	(void)state;
	bring_to(FG_IMAGES_HANDED);
	software.kind = FG_IMAGE_SOFTWARE;
	assert_int_equal(begin_image(&software, &have), 0);
	assert_int_equal(fg_images_write(images, "tb", software.device, FG_IMAGE_SOFTWARE, 0,
					 fg_span_of(image_bytes, SIZE)),
			 0);
	for (double waited = 0;
	     fg_images_find(images, software.device, FG_IMAGE_SOFTWARE)->state != FG_IMAGES_READY;
	     waited += 0.005) {
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
	n_published = 0;
	fg_images_abandon(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, "silent");
	assert_int_equal(n_published, 1);
	assert_non_null(strstr(payload, "\"kind\":\"software\""));
}

static void a_device_may_ask_for_a_chunk_again(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_HANDED);
	told[0] = '\0';
	report("fw/pump-1/state", "{\"chunk\":2}");
	assert_string_equal(topic, "fw/pump-1/2");
	acknowledge(0);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_HANDED);
}

/* However often it asks: what the gateway has to keep until the broker acknowledges is one chunk. */
static void a_device_that_asks_while_a_chunk_is_under_way_waits_for_it(void **state)
{
	unsigned before;

	(void)state;
	bring_to(FG_IMAGES_HANDING);
	acknowledge(0);
	assert_string_equal(topic, "fw/pump-1/0");
	before = n_published;
	for (int i = 0; i < 100; i++) {
		report("fw/pump-1/state", "{\"chunk\":2}");
		report("fw/pump-1/state", "{\"chunk\":1}");
	}
	assert_int_equal(n_published, before);
	acknowledge(0);
	assert_int_equal(n_published, before + 1);
	assert_string_equal(topic, "fw/pump-1/1");
	acknowledge(0);
	assert_string_equal(topic, "fw/pump-1/2");
	acknowledge(0);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_HANDED);
}

static void a_reason_that_is_too_long_ends_with_a_whole_character(void **state)
{
	char text[400] = "{\"state\":\"FAILED\",\"error\":\"";

	(void)state;
	for (int shift = 0; shift < 2; shift++) {
		char *at = text + strlen("{\"state\":\"FAILED\",\"error\":\"");

		bring_to(FG_IMAGES_HANDED);
		if (shift)
			*at++ = 'x';
		for (int i = 0; i < 127; i++)
			at = stpcpy(at, "\xc3\xa4");
		strcpy(at, "\"}");
		report("fw/pump-1/state", text);
		assert_true(strlen(failure) > 250);
		assert_true(fg_utf8_ok(fg_span_str(failure)));
		fg_images_abandon(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, NULL);
		turn(0.05);
	}
}

static void a_device_says_why_it_failed(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_HANDED);
	report("fw/pump-1/state", "{\"state\":\"FAILED\",\"error\":\"flash is \\\"worn\\\"\"}");
	assert_string_equal(failure, "the device says that it failed: flash is \"worn\"");
}

static void a_report_from_the_brokers_store_is_of_the_past(void **state)
{
	struct fg_mqtt_message message = {
		.topic = "fw/pump-1/state",
		.payload = fg_span_str("{\"state\":\"UPDATED\"}"),
		.is_retained = true,
	};

	(void)state;
	bring_to(FG_IMAGES_HANDED);
	assert_true(fg_images_arrived(images, "field", &message));
	assert_int_equal(state_of("pump-1"), FG_IMAGES_HANDED);
}

static void what_is_no_report_is_left_to_others(void **state)
{
	struct fg_mqtt_message message = {.payload = fg_span_str("{\"state\":\"UPDATED\"}")};
	static const char *const topics[] = {
		"fw/pump-1/other",
		"fw/fan-1/state",
		"fw/state",
		"valve/pump-1/state",
	};
	const struct fg_images_filter *filters;

	(void)state;
	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
		message.topic = topics[i];
		assert_false(fg_images_arrived(images, "field", &message));
	}
	assert_int_equal(fg_images_filters(images, &filters), 3);
	assert_string_equal(filters[0].filter, "fw/+/state");
	assert_string_equal(filters[1].filter, "valve/+/state");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, images_states_setup, images_teardown)
		TEST(an_image_in_chunks_arrives_and_the_device_reports),
		TEST(a_file_is_announced_by_its_path),
		TEST(an_url_is_announced_by_the_files_name),
		TEST(a_device_that_fetches_by_itself_is_told_the_clouds_url),
		TEST(texts_of_a_cloud_stay_texts),
		TEST(what_the_broker_did_not_acknowledge_is_published_again),
		TEST(an_acknowledgement_of_old_is_not_taken_for_a_new_one),
		TEST(without_a_broker_it_waits),
		TEST(a_device_that_is_away_is_waited_for),
		TEST(a_device_that_was_away_hears_of_it_again_unless_it_has_reported),
		TEST(where_nobody_listens_it_is_tried_again_later),
		TEST(a_broker_that_refuses_ends_it),
		TEST(of_two_kinds_one_is_handed_over_after_the_other),
		TEST(a_report_counts_while_the_image_is_at_the_device),
		TEST(a_report_that_changes_nothing_says_that_the_device_is_at_it),
		TEST(the_other_image_goes_on_when_one_is_given_up),
		TEST(a_device_may_ask_for_a_chunk_again),
		TEST(a_device_that_asks_while_a_chunk_is_under_way_waits_for_it),
		TEST(a_device_says_why_it_failed),
		TEST(a_reason_that_is_too_long_ends_with_a_whole_character),
		TEST(a_report_from_the_brokers_store_is_of_the_past),
		TEST(what_is_no_report_is_left_to_others),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
