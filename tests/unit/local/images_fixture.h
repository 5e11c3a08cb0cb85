#pragma once

/*
 * What the tests of images share: images in a temporary directory, a field and clouds that note what they
 * are told, and the bytes of an image. There is one at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "local/images_internal.h"

#define PATIENCE_S 20.
#define MAX_IMAGE_SIZE 200000u

extern struct ev_loop *loop;
extern struct fg_images *images;
extern struct fg_config config; /* the clouds "tb", "hw", and the rules */
extern int64_t now_ms;
extern char directory[64], path[80]; /* of all files; of what is remembered */

/* What clouds were told: "tb:DOWNLOADING hw:FAILED/4 …", with the fault, or GROWN; and why it failed. */
extern char told[1024], failure[256];

/* What was published last, and how often. */
extern char topic[256], payload[8192];
extern size_t payload_size;
extern uint64_t tag;
extern unsigned n_published;

extern int publish_result;
extern bool is_device_up;

extern char image_bytes[MAX_IMAGE_SIZE];
extern char checksum[FG_CHECKSUM_TEXT_SIZE]; /* SHA256 of as many of them as were asked for */

/** Open images with these rules, each for its one pattern of devices; what they all have in common is filled
 * in. Returns 0 or -1. */
int images_setup(struct fg_image_config *rules, size_t n_rules, size_t image_size);
int images_teardown(void **state);

void open_images(void);
/** Wait until all is on disk, close, and open again. What was told is forgotten. */
void restart(void);

/** The loop turns for @s seconds. */
void turn(double s);
/** Remove a directory with all that is in it. */
void remove_all(const char *where);

/** The firmware for @device; NULL: there is none. */
struct fg_images_entry *entry(const char *device);
void wait_for_state(const char *device, enum fg_images_state state);

/** A device reports. */
void report(const char *its_topic, const char *text);
/** The broker acknowledges what was published last. */
void acknowledge(unsigned reason);
