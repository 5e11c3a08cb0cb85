/*
 * Images as clouds announce them and plugins fetch them, over restarts.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "http_server.h"
#include "images_states.h"

static void images_are_counted_by_how_far_they_are(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_STATES; i++) {
		struct fg_images_stats s;

		afresh(all_states[i]);
		fg_images_get_stats(images, &s);
		assert_int_equal(s.known, 1);
		assert_int_equal(s.queued, all_states[i] == FG_IMAGES_QUEUED);
		assert_int_equal(s.fetching, all_states[i] == FG_IMAGES_FETCHING ||
						     all_states[i] == FG_IMAGES_SEALING);
		assert_int_equal(s.ready, all_states[i] == FG_IMAGES_READY);
		assert_int_equal(s.handed, all_states[i] == FG_IMAGES_HANDING ||
						   all_states[i] == FG_IMAGES_HANDED);
		assert_int_equal(s.updated, all_states[i] == FG_IMAGES_UPDATED);
		assert_int_equal(s.failed, all_states[i] == FG_IMAGES_FAILED);
	}
}

/* ---- each cell: announcements */

static void the_same_image_again_is_told_again(void **state)
{
	static const char *const words[] = {
		[FG_IMAGES_QUEUED] = "tb:DOWNLOADING", [FG_IMAGES_FETCHING] = "tb:DOWNLOADING",
		[FG_IMAGES_SEALING] = "tb:DOWNLOADED", [FG_IMAGES_READY] = "tb:VERIFIED",
		[FG_IMAGES_HANDING] = "tb:VERIFIED",   [FG_IMAGES_HANDED] = "tb:UPDATING",
		[FG_IMAGES_UPDATED] = "tb:UPDATED",    [FG_IMAGES_FAILED] = "tb:FAILED/4",
	};

	(void)state;
	for (size_t i = 0; i < N_STATES; i++) {
		bool is_fetched =
			all_states[i] != FG_IMAGES_QUEUED && all_states[i] != FG_IMAGES_FETCHING;

		afresh(all_states[i]);
		assert_int_equal(begin("pump-1", "2"), is_fetched ? SIZE : 0);
		assert_string_equal(told, words[all_states[i]]);
		assert_int_equal(state_of("pump-1"), all_states[i] == FG_IMAGES_QUEUED
							     ? FG_IMAGES_FETCHING
							     : all_states[i]);
		assert_int_equal(n_published, 0);
	}
}

static void the_same_image_by_a_new_order_is_told_again_unless_it_has_failed(void **state)
{
	struct fg_image image = image_of("pump-1", "2");
	uint64_t have;

	(void)state;
	image.order = fg_span_str("another");
	for (size_t i = 0; i < N_STATES; i++) {
		bool begins =
			all_states[i] == FG_IMAGES_QUEUED || all_states[i] == FG_IMAGES_FAILED;

		afresh(all_states[i]);
		assert_int_equal(begin_image(&image, &have), 0);
		assert_int_equal(state_of("pump-1"), begins ? FG_IMAGES_FETCHING : all_states[i]);
		assert_string_not_equal(told, "");
		/* The same order, once more. */
		assert_int_equal(begin_image(&image, &have), 0);
		assert_int_equal(state_of("pump-1"), begins ? FG_IMAGES_FETCHING : all_states[i]);
		assert_int_equal(images->n, 1);
		restart();
		assert_string_equal(entry("pump-1")->order, "another");
	}
}

static void another_image_takes_the_place_of_any(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_STATES; i++) {
		afresh(all_states[i]);
		assert_int_equal(begin("pump-1", "3"), 0);
		assert_string_equal(told, "tb:DOWNLOADING");
		assert_int_equal(state_of("pump-1"), FG_IMAGES_FETCHING);
		assert_int_equal(images->n, 1);
	}
}

static void what_is_withdrawn_is_gone(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_STATES; i++) {
		afresh(all_states[i]);
		fg_images_abandon(images, "other", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, NULL);
		assert_non_null(entry("pump-1"));
		fg_images_abandon(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, NULL);
		assert_null(entry("pump-1"));
		assert_string_equal(told, "");
		restart();
		assert_null(entry("pump-1"));
	}
}

/* How many files of images there are. */
static unsigned n_files(void)
{
	DIR *dir = opendir(images->rules.rules[0].directory);
	const struct dirent *found;
	unsigned n = 0;

	assert_non_null(dir);
	while ((found = readdir(dir)))
		n += found->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void of_what_is_withdrawn_no_file_stays(void **state)
{
	struct fg_image image = image_of("pump-1", "2");
	uint64_t have;

	(void)state;
	/* in the middle of a download */
	image.url = fg_span_str("http://127.0.0.1:1/");
	assert_int_equal(begin_image(&image, &have), 0);
	for (double waited = 0; n_files() == 0; waited += 0.005) {
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
	fg_images_abandon(images, "tb", image.device, FG_IMAGE_FIRMWARE, NULL);
	turn(0.05);
	assert_int_equal(n_files(), 0);

	/* handed over before a restart, and found again: nobody has its file open now */
	bring_to(FG_IMAGES_HANDED);
	assert_int_not_equal(n_files(), 0);
	report("fw/pump-1/state", "{\"state\":\"UPDATING\"}");
	config.images[0].status = NULL;
	restart();
	assert_int_not_equal(n_files(), 0);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_HANDED);
	fg_images_abandon(images, "tb", image.device, FG_IMAGE_FIRMWARE, NULL);
	turn(0.05);
	assert_int_equal(n_files(), 0);
}

static void a_plugin_that_gives_up_says_why(void **state)
{
	static const enum fg_images_state kept[] = {FG_IMAGES_SEALING, FG_IMAGES_UPDATED,
						    FG_IMAGES_FAILED};

	(void)state;
	for (size_t i = 0; i < N_STATES; i++) {
		enum fg_images_state at = all_states[i];
		bool is_fetched = at == FG_IMAGES_QUEUED || at == FG_IMAGES_FETCHING;
		bool is_kept = at == kept[0] || at == kept[1] || at == kept[2];

		afresh(at);
		fg_images_abandon(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE,
				  "no luck");
		assert_string_equal(told, is_kept      ? ""
					  : is_fetched ? "tb:FAILED/4"
						       : "tb:FAILED/0");
		if (!is_kept)
			assert_string_equal(failure, "no luck");
		assert_int_equal(state_of("pump-1"), is_kept ? at : FG_IMAGES_FAILED);
	}
}

/* What was given up while it was at the device is not told of any more once its cloud knows. */
static void what_was_given_up_is_gone_after_a_restart_when_its_cloud_was_told(void **state)
{
	(void)state;
	for (int is_told = 0; is_told < 2; is_told++) {
		afresh(FG_IMAGES_HANDED);
		fg_images_abandon(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, "silent");
		if (is_told)
			fg_images_told(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE);
		restart();
		fg_images_tell_all(images, "tb");
		assert_string_equal(told, is_told ? "" : "tb:FAILED/0");
	}
}

static void bytes_are_taken_only_while_they_are_fetched(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_STATES; i++) {
		afresh(all_states[i]);
		assert_int_equal(write_at("pump-1", 0, 100),
				 all_states[i] == FG_IMAGES_FETCHING ? 0 : -ENOENT);
	}
	afresh(FG_IMAGES_FETCHING);
	assert_int_equal(write_at("pump-1", 1, 100), -ERANGE);
	assert_int_equal(fg_images_write(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, 0,
					 fg_span_of(image_bytes, SIZE + 1)),
			 -ERANGE);
	assert_int_equal(fg_images_write(images, "other", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE,
					 0, fg_span_of(image_bytes, 10)),
			 -ENOENT);
	assert_int_equal(write_at("pump-9", 0, 100), -ENOENT);
}

static void two_clouds_do_not_share_a_device_in_silence(void **state)
{
	struct fg_image image = image_of("pump-1", "7");
	uint64_t have;
	int r;

	(void)state;
	begin("pump-1", "2");
	while ((r = fg_images_begin(images, "hw", &image, &have)) == -EAGAIN)
		turn(0.01);
	assert_int_equal(r, 0);
	assert_string_equal(told, "tb:DOWNLOADING tb:FAILED/1 hw:DOWNLOADING");
	assert_string_equal(failure, "another cloud, hw, has another image for the device");
}

/* ---- refusals */

static void refuse(const struct fg_image *image, int error, const char *why)
{
	uint64_t have;

	told[0] = '\0';
	assert_int_equal(begin_image(image, &have), error);
	assert_int_equal(strncmp(told, "tb:FAILED/", 10), 0);
	if (!strstr(failure, why))
		fail_msg("\"%s\" is not \"%s\"", failure, why);
}

static void what_cannot_be_an_image_is_refused_with_a_reason(void **state)
{
	struct fg_image image = image_of("boiler", "2");
	char title[2000];

	(void)state;
	refuse(&image, -EINVAL, "no entry of `images`");
	image = image_of("pump-1", "2");
	image.size = 65537;
	refuse(&image, -EINVAL, "65537 bytes, at most 65536 are allowed here (images[].max_size)");
	image = image_of("pump-1", "2");
	image.size = 0;
	refuse(&image, -EINVAL, "neither a size nor a URL");
	image = image_of("pump-1", "2");
	image.algorithm = fg_span_str("ROT13");
	refuse(&image, -EINVAL, "algorithm \"ROT13\" is not known");
	image = image_of("pump-1", "2");
	image.checksum = fg_span_str("xyz");
	refuse(&image, -EINVAL, "not a SHA256");
	image = image_of("pump-1", "2");
	memset(title, 'a', sizeof(title));
	image.title = fg_span_of(title, sizeof(title));
	refuse(&image, -EINVAL, "title");
	image = image_of("pump-1", "2");
	image.version = fg_span_of("2\0x", 3);
	refuse(&image, -EINVAL, "NUL");
	assert_int_equal(images->n, 0);
}

static void a_device_whose_name_makes_no_topic_is_told_of(void **state)
{
	(void)state;
	begin("pump-#", "2");
	assert_int_equal(write_at("pump-#", 0, SIZE), 0);
	wait_for_state("pump-#", FG_IMAGES_FAILED);
	assert_string_equal(failure, "the device's name makes no topic name");
}

static void wrong_bytes_are_found_before_a_device_gets_them(void **state)
{
	char wrong[SIZE];

	(void)state;
	memcpy(wrong, image_bytes, SIZE);
	wrong[SIZE / 2] ^= 1;
	begin("pump-1", "2");
	assert_int_equal(fg_images_write(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, 0,
					 fg_span_of(wrong, SIZE)),
			 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	assert_string_equal(told, "tb:DOWNLOADING tb:DOWNLOADED tb:FAILED/5");
	assert_string_equal(failure, "what was fetched does not have the announced checksum");
	assert_int_equal(n_published, 0);
}

static void no_more_are_remembered_than_there_is_room_for(void **state)
{
	struct fg_image image;
	uint64_t have;
	char device[32];

	(void)state;
	bring_to(FG_IMAGES_UPDATED);
	for (int i = 1; i < FG_IMAGES_MAX; i++) {
		snprintf(device, sizeof(device), "fan-%d", i);
		image = image_of(device, "2");
		image.url = fg_span_str("http://127.0.0.1:1/");
		assert_int_equal(begin_image(&image, &have), 0);
	}
	assert_non_null(entry("pump-1"));
	image = image_of("fan-a", "2");
	image.url = fg_span_str("http://127.0.0.1:1/");
	assert_int_equal(begin_image(&image, &have), 0);
	assert_null(entry("pump-1")); /* that one had ended */
	image = image_of("fan-b", "2");
	refuse(&image, -ENOSPC, "1000 images are under way already");
}

/* ---- restarts */

#define NO_STATE ((enum fg_images_state)0)

/* A crash but for what the disk is at, which is waited for: @device is in @state then. */
static void restart_at_once(const char *device, enum fg_images_state state)
{
	for (double waited = 0;; waited += 0.05) {
		images = fg_images_free(images);
		turn(0.05);
		open_images();
		if ((entry(device) ? state_of(device) : NO_STATE) == state)
			return;
		assert_true(waited < PATIENCE_S);
	}
}

static void a_restart_goes_on_where_it_was(void **state)
{
	static const enum fg_images_state after[] = {
		[FG_IMAGES_QUEUED] = FG_IMAGES_QUEUED,   [FG_IMAGES_FETCHING] = FG_IMAGES_QUEUED,
		[FG_IMAGES_SEALING] = FG_IMAGES_QUEUED,  [FG_IMAGES_READY] = FG_IMAGES_READY,
		[FG_IMAGES_HANDING] = FG_IMAGES_READY,   [FG_IMAGES_HANDED] = FG_IMAGES_HANDED,
		[FG_IMAGES_UPDATED] = FG_IMAGES_UPDATED, [FG_IMAGES_FAILED] = FG_IMAGES_FAILED,
	};

	(void)state;
	for (size_t i = 0; i < N_STATES; i++) {
		afresh(all_states[i]);
		is_device_up = false;
		restart_at_once("pump-1", after[all_states[i]]);
		assert_string_equal(told, "");
	}
	/* This one is FAILED; its cloud hears of it, and nothing is left. */
	fg_images_told(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE);
	restart_at_once("pump-1", NO_STATE);
}

static bool lacks(const char *link)
{
	return fg_images_lacks(images, link, fg_span_str("pump-1"), FG_IMAGE_FIRMWARE);
}

static void of_what_a_plugin_fetches_it_may_ask_whether_bytes_are_missing(void **state)
{
	struct fg_image image = image_of("fan-1", "2");
	uint64_t have;

	(void)state;
	assert_false(lacks("tb"));
	for (size_t i = 0; i < N_STATES; i++) {
		afresh(all_states[i]);
		assert_int_equal(lacks("tb"), all_states[i] == FG_IMAGES_QUEUED ||
						      all_states[i] == FG_IMAGES_FETCHING);
		assert_false(lacks("hw"));
	}
	image.url = fg_span_str("http://127.0.0.1:1/");
	assert_int_equal(begin_image(&image, &have), 0);
	assert_false(fg_images_lacks(images, "tb", fg_span_str("fan-1"), FG_IMAGE_FIRMWARE));
}

static void what_the_disk_was_too_busy_for_outlives_a_restart(void **state)
{
	static const struct fg_image_file_ops nobody = {0};
	struct fg_image_description before = {
		.owner = "firmware/pump-1", .title = "A", .version = "1", .size = SIZE};
	struct fg_image image = image_of("pump-1", "2");
	struct fg_image_file *file = NULL;
	struct fg_error err = {""};
	uint64_t have;

	(void)state;
	assert_int_equal(fg_image_file_begin(images->rules.rules[0].store, &before, &nobody, NULL,
					     &file, &err),
			 0);
	assert_int_equal(begin_image(&image, &have), -EAGAIN);
	fg_image_file_free(file);
	restart();
	assert_int_equal(state_of("pump-1"), FG_IMAGES_QUEUED);
	assert_true(lacks("tb"));
	assert_int_equal(begin_image(&image, &have), 0);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_FETCHING);
}

static void what_was_fetched_before_a_restart_is_not_fetched_again(void **state)
{
	(void)state;
	begin("pump-1", "2");
	assert_int_equal(write_at("pump-1", 0, SIZE), 0);
	wait_for_state("pump-1", FG_IMAGES_HANDING);
	restart();
	assert_int_equal(begin("pump-1", "2"), SIZE);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_READY);
}

static void a_file_that_has_gone_meanwhile_is_fetched_again(void **state)
{
	char images_directory[100];

	(void)state;
	bring_to(FG_IMAGES_HANDED);
	restart();
	images = fg_images_free(images);
	snprintf(images_directory, sizeof(images_directory), "%s/images", directory);
	remove_all(images_directory);
	open_images();
	assert_int_equal(state_of("pump-1"), FG_IMAGES_QUEUED);
}

static void a_file_goes_once_it_is_on_disk_that_it_was_installed(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_HANDED);
	report("fw/pump-1/state", "{\"state\":\"UPDATED\"}");
	assert_int_equal(state_of("pump-1"), FG_IMAGES_UPDATED);
	assert_int_not_equal(n_files(), 0);
	for (double waited = 0; n_files() > 0; waited += 0.005) {
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
	restart();
	assert_int_equal(state_of("pump-1"), FG_IMAGES_UPDATED);
}

static void what_is_not_configured_any_more_is_left_alone(void **state)
{
	(void)state;
	bring_to(FG_IMAGES_HANDED);
	config.n_clouds = 0;
	restart();
	assert_int_equal(images->n, 0);
	config.n_clouds = 2;
	config.n_images = 0;
	restart();
	assert_int_equal(images->n, 0);
	config.n_images = 4;
	restart();
	assert_int_equal(state_of("pump-1"), FG_IMAGES_HANDED);
}

static void what_is_remembered_badly_is_forgotten(void **state)
{
	static const char *const bad[] = {"", "x", "\1\0\1\0\0", "\2\0\1\0\0\0\0\0\0\0\0\0\0"};

	(void)state;
	for (size_t i = 1; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(fg_store_set(images->store, fg_span_str(bad[i]),
					      fg_span_of(bad[i], i == 3   ? 13
								 : i == 2 ? 5
									  : 1)),
				 0);
	restart();
	assert_int_equal(images->n, 0);
}

/* ---- from a URL */

static unsigned n_requests, fails_first;

static void serve(struct exchange *x)
{
	(void)x->arg;
	if (n_requests++ < fails_first) {
		exchange_answer(x, 404, "", "no");
		return;
	}
	exchange_say(x, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", SIZE);
	exchange_write(x, image_bytes, SIZE);
}

static struct http_server *serve_image(struct fg_image *image, char *url, size_t size)
{
	struct http_server *server =
		http_server_start(&(struct http_server_options){.handler = serve});

	n_requests = fails_first = 0;
	snprintf(url, size, "http://localhost:%u/fw", http_server_port(server));
	image->url = fg_span_str(url);
	return server;
}

static void an_image_is_downloaded_from_its_url(void **state)
{
	struct fg_image image = image_of("pump-1", "2");
	char url[64];
	struct http_server *server = serve_image(&image, url, sizeof(url));
	uint64_t have;

	(void)state;
	assert_int_equal(begin_image(&image, &have), 0);
	wait_for_state("pump-1", FG_IMAGES_HANDING);
	assert_string_equal(told, "tb:DOWNLOADING tb:DOWNLOADED tb:VERIFIED");
	assert_int_equal(images->n_downloads, 0);
	http_server_stop(server);
}

static void a_download_that_cannot_be_is_told_of(void **state)
{
	struct fg_image image = image_of("pump-1", "2");
	char url[64];
	struct http_server *server = serve_image(&image, url, sizeof(url));
	uint64_t have;

	(void)state;
	fails_first = 1;
	assert_int_equal(begin_image(&image, &have), 0);
	wait_for_state("pump-1", FG_IMAGES_FAILED);
	assert_string_equal(failure, "the server answers with status 404");
	image.url = fg_span_str("ftp://localhost/fw");
	assert_int_equal(begin_image(&image, &have), 0);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_FAILED);
	assert_int_equal(images->n_downloads, 0);
	http_server_stop(server);
}

static void a_download_goes_on_by_itself_after_a_restart(void **state)
{
	struct fg_image image = image_of("pump-1", "2");
	char url[64];
	struct http_server *server = serve_image(&image, url, sizeof(url));
	uint64_t have;

	(void)state;
	assert_int_equal(begin_image(&image, &have), 0);
	restart_at_once("pump-1", FG_IMAGES_QUEUED);
	fg_images_tick(images, ++now_ms);
	wait_for_state("pump-1", FG_IMAGES_HANDING);
	http_server_stop(server);
}

static void only_so_many_are_downloaded_at_once(void **state)
{
	char device[16];
	struct fg_image image;
	uint64_t have;

	(void)state;
	for (int i = 0; i < FG_IMAGES_MAX_DOWNLOADS + 2; i++) {
		snprintf(device, sizeof(device), "fan-%d", i);
		image = image_of(device, "2");
		image.url = fg_span_str("http://127.0.0.1:1/");
		assert_int_equal(begin_image(&image, &have), 0);
	}
	assert_int_equal(images->n_downloads, FG_IMAGES_MAX_DOWNLOADS);
	assert_int_equal(state_of("fan-4"), FG_IMAGES_QUEUED);
	fg_images_abandon(images, "tb", fg_span_str("fan-0"), FG_IMAGE_FIRMWARE, NULL);
	assert_int_equal(state_of("fan-4"), FG_IMAGES_FETCHING);
	assert_int_equal(state_of("fan-5"), FG_IMAGES_QUEUED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, images_states_setup, images_teardown)
		TEST(images_are_counted_by_how_far_they_are),
		TEST(the_same_image_again_is_told_again),
		TEST(the_same_image_by_a_new_order_is_told_again_unless_it_has_failed),
		TEST(another_image_takes_the_place_of_any),
		TEST(what_is_withdrawn_is_gone),
		TEST(of_what_is_withdrawn_no_file_stays),
		TEST(a_plugin_that_gives_up_says_why),
		TEST(what_was_given_up_is_gone_after_a_restart_when_its_cloud_was_told),
		TEST(bytes_are_taken_only_while_they_are_fetched),
		TEST(two_clouds_do_not_share_a_device_in_silence),
		TEST(what_cannot_be_an_image_is_refused_with_a_reason),
		TEST(a_device_whose_name_makes_no_topic_is_told_of),
		TEST(wrong_bytes_are_found_before_a_device_gets_them),
		TEST(no_more_are_remembered_than_there_is_room_for),
		TEST(a_restart_goes_on_where_it_was),
		TEST(of_what_a_plugin_fetches_it_may_ask_whether_bytes_are_missing),
		TEST(what_the_disk_was_too_busy_for_outlives_a_restart),
		TEST(what_was_fetched_before_a_restart_is_not_fetched_again),
		TEST(a_file_that_has_gone_meanwhile_is_fetched_again),
		TEST(a_file_goes_once_it_is_on_disk_that_it_was_installed),
		TEST(what_is_not_configured_any_more_is_left_alone),
		TEST(what_is_remembered_badly_is_forgotten),
		TEST(an_image_is_downloaded_from_its_url),
		TEST(a_download_that_cannot_be_is_told_of),
		TEST(a_download_goes_on_by_itself_after_a_restart),
		TEST(only_so_many_are_downloaded_at_once),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
