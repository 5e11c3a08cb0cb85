#include "images_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct ev_loop *loop;
struct fg_images *images;
struct fg_config config;
int64_t now_ms;
char directory[64], path[80];
char told[1024], failure[256];
char topic[256], payload[8192];
size_t payload_size;
uint64_t tag;
unsigned n_published;
int publish_result;
bool is_device_up;
char image_bytes[MAX_IMAGE_SIZE];
char checksum[FG_CHECKSUM_TEXT_SIZE];

static struct fg_connector *connector;
static struct fg_http *http;
static char versions_path[80];
static struct fg_cloud_config clouds[2];

/* ---- what images are told of, and tell */

static int publish(void *arg, const char *broker, struct fg_span device,
		   const struct fg_mqtt_publish *p, uint64_t its_tag)
{
	(void)arg;
	(void)broker;
	(void)device;
	assert_int_equal(p->qos, 1);
	assert_true(its_tag & FG_IMAGES_TAG);
	if (publish_result < 0)
		return publish_result;
	n_published++;
	snprintf(topic, sizeof(topic), "%s", p->topic);
	assert_true(p->payload.size < sizeof(payload));
	memcpy(payload, p->payload.data, p->payload.size);
	payload[p->payload.size] = '\0';
	payload_size = p->payload.size;
	tag = its_tag;
	return 0;
}

static bool is_up(void *arg, struct fg_span device)
{
	(void)arg;
	(void)device;
	return is_device_up;
}

static void progress(void *arg, const char *link, const struct fg_image_progress *p)
{
	static const char *const words[] = {
		[FG_IMAGE_DOWNLOADING] = "DOWNLOADING", [FG_IMAGE_DOWNLOADED] = "DOWNLOADED",
		[FG_IMAGE_VERIFIED] = "VERIFIED",       [FG_IMAGE_UPDATING] = "UPDATING",
		[FG_IMAGE_UPDATED] = "UPDATED",         [FG_IMAGE_FAILED] = "FAILED",
	};
	size_t used = strlen(told);

	(void)arg;
	assert_true((p->error != NULL) == (p->state == FG_IMAGE_FAILED));
	used += (size_t)snprintf(told + used, sizeof(told) - used, "%s%s:%s", used ? " " : "", link,
				 p->only_grown ? "GROWN" : words[p->state]);
	assert_true(used < sizeof(told) - 3);
	if (!p->error)
		return;
	snprintf(told + used, sizeof(told) - used, "/%d", (int)p->fault);
	snprintf(failure, sizeof(failure), "%s", p->error);
	assert_null(strstr(failure, "t0k3n"));
}

/* ---- life */

void open_images(void)
{
	struct fg_images_options options = {
		.loop = loop,
		.connector = connector,
		.http = http,
		.config = &config,
		.path = path,
		.versions_path = versions_path,
		.seed = 1,
		.publish = publish,
		.is_up = is_up,
		.progress = progress,
	};
	struct fg_error err = {""};

	if (fg_images_open(&options, &images, &err) < 0)
		fail_msg("%s", err.text);
}

static void make_config(struct fg_image_config *rules, size_t n_rules)
{
	for (size_t i = 0; i < n_rules; i++) {
		rules[i].n_devices = 1;
		rules[i].status_path = (char *)"$.state";
		rules[i].firmware_member = (char *)"fw_version";
		rules[i].software_member = (char *)"sw_version";
	}
	clouds[0].name = (char *)"tb";
	clouds[1].name = (char *)"hw";
	config = (struct fg_config){
		.images = rules,
		.n_images = n_rules,
		.clouds = clouds,
		.n_clouds = 2,
		.state_directory = directory,
	};
}

static void make_image(size_t size)
{
	struct fg_checksum *c = NULL;

	for (size_t i = 0; i < size; i++)
		image_bytes[i] = (char)(i * 7 + i / 256);
	assert_int_equal(fg_checksum_new(FG_CHECKSUM_SHA256, &c), 0);
	fg_checksum_update(c, image_bytes, size);
	fg_checksum_final(c, checksum);
	fg_checksum_free(c);
}

int images_setup(struct fg_image_config *rules, size_t n_rules, size_t image_size)
{
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	snprintf(directory, sizeof(directory), "/tmp/fieldgate-images-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/remembered", directory);
	snprintf(versions_path, sizeof(versions_path), "%s/versions", directory);
	make_config(rules, n_rules);
	make_image(image_size);
	told[0] = failure[0] = topic[0] = payload[0] = '\0';
	n_published = 0;
	publish_result = 0;
	is_device_up = true;
	tag = 0;
	now_ms = 0;
	loop = ev_loop_new(EVFLAG_AUTO);
	if (fg_connector_new(loop, &connector) < 0 || fg_http_new(loop, connector, &http) < 0)
		return -1;
	open_images();
	return 0;
}

int images_teardown(void **state)
{
	(void)state;
	images = fg_images_free(images);
	turn(0.02);
	http = fg_http_free(http);
	connector = fg_connector_free(connector);
	ev_loop_destroy(loop);
	remove_all(directory);
	return 0;
}

static void is_written(struct fg_store_wait *w, int error)
{
	(void)w;
	(void)error;
}

static bool is_on_disk(struct fg_store *store)
{
	struct fg_store_wait wait = {.ended = is_written};
	bool waits = store && fg_store_wait(store, &wait);

	fg_store_wait_cancel(&wait);
	return !waits;
}

void restart(void)
{
	for (double waited = 0; !is_on_disk(images->store) || !is_on_disk(images->versions);
	     waited += 0.005) {
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
	images = fg_images_free(images);
	turn(0.05);
	open_images();
	told[0] = '\0';
}

/* ---- what tests do */

static void a_turn(struct ev_loop *l, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	ev_break(l, EVBREAK_ALL);
}

void turn(double s)
{
	ev_timer timer;

	ev_timer_init(&timer, a_turn, s, 0.);
	ev_timer_start(loop, &timer);
	ev_run(loop, 0);
	ev_timer_stop(loop, &timer);
}

void remove_all(const char *where)
{
	DIR *dir = opendir(where);
	struct dirent *found;

	while (dir && (found = readdir(dir))) {
		char file[400];

		snprintf(file, sizeof(file), "%s/%s", where, found->d_name);
		if (found->d_name[0] != '.' && unlink(file) < 0)
			remove_all(file);
	}
	if (dir)
		closedir(dir);
	rmdir(where);
}

struct fg_images_entry *entry(const char *device)
{
	return fg_images_find(images, fg_span_str(device), FG_IMAGE_FIRMWARE);
}

void wait_for_state(const char *device, enum fg_images_state state)
{
	for (double waited = 0; !entry(device) || entry(device)->state != state; waited += 0.005) {
		assert_true(waited < PATIENCE_S);
		turn(0.005);
	}
}

void report(const char *its_topic, const char *text)
{
	struct fg_mqtt_message message = {.topic = its_topic, .payload = fg_span_str(text)};

	assert_true(fg_images_arrived(images, "field", &message));
}

void acknowledge(unsigned reason)
{
	uint64_t last = tag;

	tag = 0;
	fg_images_published(images, last, reason);
}
