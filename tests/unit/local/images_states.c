#include "images_states.h"

#include <errno.h>

const enum fg_images_state all_states[N_STATES] = {
	FG_IMAGES_QUEUED,  FG_IMAGES_FETCHING, FG_IMAGES_SEALING, FG_IMAGES_READY,
	FG_IMAGES_HANDING, FG_IMAGES_HANDED,   FG_IMAGES_UPDATED, FG_IMAGES_FAILED,
};

static char *pumps[] = {"pump-*"};
static char *fans[] = {"fan-*"};
static char *valves[] = {"valve-*"};
static char *horns[] = {"horn-*"};
static struct fg_image_config rules[4];

static void make_rules(void)
{
	rules[0] = (struct fg_image_config){
		.devices = pumps,
		.deliver = FG_DELIVER_CHUNKS,
		.topic = (char *)"fw/{device}",
		.chunk_topic = (char *)"fw/{device}/{index}",
		.chunk_bytes = 4096,
		.status = (char *)"fw/{device}/state",
		.max_bytes = 65536,
	};
	rules[1] = (struct fg_image_config){
		.devices = fans,
		.deliver = FG_DELIVER_FILE,
		.topic = (char *)"fan/{device}",
		.max_bytes = 65536,
	};
	rules[2] = (struct fg_image_config){
		.devices = valves,
		.deliver = FG_DELIVER_URL,
		.url = (char *)"http://gw/images/",
		.topic = (char *)"valve/{device}",
		.status = (char *)"valve/{device}/state",
		.max_bytes = 65536,
	};
	rules[3] = (struct fg_image_config){
		.devices = horns,
		.deliver = FG_DELIVER_URL,
		.topic = (char *)"horn/{device}",
		.status = (char *)"horn/{device}/state",
		.max_bytes = 65536,
	};
}

int images_states_setup(void **state)
{
	(void)state;
	make_rules();
	return images_setup(rules, 4, SIZE);
}

struct fg_image image_of(const char *device, const char *version)
{
	return (struct fg_image){
		.device = fg_span_str(device),
		.kind = FG_IMAGE_FIRMWARE,
		.title = fg_span_str("A"),
		.version = fg_span_str(version),
		.size = SIZE,
		.algorithm = fg_span_str("SHA256"),
		.checksum = fg_span_str(checksum),
	};
}

int begin_image(const struct fg_image *image, uint64_t *ret_have)
{
	return fg_images_begin(images, "tb", image, ret_have);
}

uint64_t begin(const char *device, const char *version)
{
	struct fg_image image = image_of(device, version);
	uint64_t have = 0;
	int r;

	while ((r = begin_image(&image, &have)) == -EAGAIN)
		turn(0.01);
	assert_int_equal(r, 0);
	return have;
}

int write_at(const char *device, uint64_t offset, size_t size)
{
	return fg_images_write(images, "tb", fg_span_str(device), FG_IMAGE_FIRMWARE, offset,
			       fg_span_of(image_bytes + offset, size));
}

enum fg_images_state state_of(const char *device)
{
	assert_non_null(entry(device));
	return entry(device)->state;
}

void bring_to(enum fg_images_state state)
{
	is_device_up = false;
	if (state == FG_IMAGES_QUEUED) {
		begin("pump-1", "2");
		restart();
		return;
	}
	assert_int_equal(begin("pump-1", "2"), 0);
	if (state == FG_IMAGES_FETCHING)
		return;
	if (state == FG_IMAGES_FAILED) {
		fg_images_abandon(images, "tb", fg_span_str("pump-1"), FG_IMAGE_FIRMWARE, "why");
		return;
	}
	assert_int_equal(write_at("pump-1", 0, SIZE), 0);
	if (state == FG_IMAGES_SEALING)
		return;
	wait_for_state("pump-1", FG_IMAGES_READY);
	if (state == FG_IMAGES_READY)
		return;
	is_device_up = true;
	fg_images_device_up(images, fg_span_str("pump-1"));
	if (state == FG_IMAGES_HANDING)
		return;
	while (tag)
		acknowledge(0);
	assert_int_equal(state_of("pump-1"), FG_IMAGES_HANDED);
	if (state == FG_IMAGES_UPDATED)
		report("fw/pump-1/state", "{\"state\":\"UPDATED\"}");
}

void afresh(enum fg_images_state state)
{
	images_teardown(NULL);
	assert_int_equal(images_states_setup(NULL), 0);
	bring_to(state);
	assert_int_equal(state_of("pump-1"), state);
	told[0] = '\0';
	n_published = 0;
}
