#pragma once

/*
 * Firmware and software on its way from a cloud to a field device: fetched, checked, handed over as
 * `images:` says, and followed until the device reports how it ended. A device has one image of each
 * kind; of two kinds one is handed over after the other, since its report does not name the kind.
 *
 *	QUEUED    announced; waits for its turn to be downloaded, or for the plugin to go on with it
 *	FETCHING  bytes arrive, from a URL or from the plugin
 *	SEALING   all bytes of the plugin are there and are checked, slice by slice on the loop
 *	READY     checked and durable; waits for the device, its broker, or the device's other image
 *	HANDING   the announcement, or a chunk, is on its way to the broker
 *	HANDED    the broker has taken all of it; without `status` this is where it stays
 *	UPDATED   the device says so
 *	FAILED    for a reason that was told
 *
 *                     | QUEUED   | FETCHING | SEALING  | READY    | HANDING   | HANDED    | UPDATED | FAILED
 * --------------------+----------+----------+----------+----------+-----------+-----------+---------+--------
 * begin(), the same   | FETCHING | told     | told     | told     | told      | told      | told    | told
 *   image again       |          | again    | again    | again    | again     | again     | again   | again
 *   … by a new order  | FETCHING | told     | told     | told     | told      | told      | told    | FETCHING
 *                     |          | again    | again    | again    | again     | again     | again(4)|
 *   … from another    | FETCHING | FETCHING | -        | -        | -         | -         | -       | FETCHING
 *   URL, or with      |          |          |          |          |           |           |         |
 *   another token     |          |          |          |          |           |           |         |
 * begin(), another    | QUEUED or FETCHING with the new one; what there is of the old one is removed
 * there is a turn     | FETCHING | -        | -        | -        | -         | -         | -       | -
 * write()             | -ENOENT  | stay     | -ENOENT  | -ENOENT  | -ENOENT   | -ENOENT   | -ENOENT | -ENOENT
 *   … the last bytes  | -        | SEALING  | -        | -        | -         | -         | -       | -
 * downloaded, checked | -        | READY    | -        | -        | -         | -         | -       | -
 * sealed              | -        | -        | READY    | -        | -         | -         | -       | -
 * wrong or no room    | FAILED   | FAILED   | FAILED   | -        | -         | -         | -       | -
 * abandon(), a reason | FAILED   | FAILED   | -        | FAILED   | FAILED    | FAILED    | -       | -
 * abandon(), none     | gone     | gone     | gone     | gone     | gone      | gone      | gone    | gone
 * device, broker and  | -        | -        | -        | HANDING  | -         | -         | -       | -
 *   turn are there    |          |          |          |          |           |           |         |
 * broker has taken it | -        | -        | -        | -        | next      | -         | -       | -
 *                     |          |          |          |          | chunk, or |           |         |
 *                     |          |          |          |          | HANDED    |           |         |
 * broker took it for  | -        | -        | -        | -        | READY, in | -         | -       | -
 *   nobody (MQTT 5)   |          |          |          |          | a while   |           |         |
 * broker refuses it   | -        | -        | -        | -        | FAILED    | -         | -       | -
 * broker is back      | -        | -        | -        | HANDING  | once more | -         | -       | -
 * device is back      | -        | -        | -        | HANDING  | -         | READY (1) | -       | -
 * report: UPDATING    | -        | -        | -        | -        | told that | told that | -       | -
 *                     |          |          |          |          | it goes on| it goes on|         |
 * report: UPDATED, or | -        | -        | -        | -        | UPDATED   | UPDATED   | -       | -
 *   its version heard |          |          |          |          |           |           |         |
 * report: FAILED      | -        | -        | -        | -        | FAILED    | FAILED    | -       | -
 * report: a chunk is  | -        | -        | -        | -        | HANDING   | HANDING   | -       | -
 *   wanted            |          |          |          |          | from it   | from it   |         |
 * restart             | QUEUED   | QUEUED   | QUEUED   | READY    | READY     | HANDED    | UPDATED | gone (3)
 *   … file is gone    | -        | -        | -        | QUEUED   | QUEUED    | QUEUED (2)| -       | -
 *
 * (1) If it has reported nothing yet: it may have missed the announcement.
 *
 * (2) Unless it has reported: a device that is at it does not need the file any more.
 *
 * (3) Unless its cloud has not been told: then FAILED.
 *
 * (4) Unless the device has told another version since: then FETCHING.
 *
 * Where the device fetches by itself (`deliver: url` without a `url`) an image is READY at once: nothing
 * is fetched or checked here, and DOWNLOADING … VERIFIED are not told.
 *
 * FAILED is for good as long as the gateway runs: a wrong image is not fetched again each time the
 * cloud repeats its announcement. Another image, a new order, abandon() without a reason or a restart
 * ends it.
 *
 * Which versions run on a device is known from the last image it has confirmed, or from attributes it
 * has sent since, whatever came later. Of those from a broker's store nobody knows how old they are: they
 * count where nothing else is known.
 *
 * A report is acknowledged before it is on disk: a crash in the moment after it leaves the image
 * HANDED until the device reports again. Its file goes after that. All of this runs on the loop and waits for nothing.
 */
#include <ev.h>

#include "config/config.h"
#include "net/http_client.h"
#include "net/mqtt_client.h"

#define FG_IMAGES_MAX 1000            /* remembered; of more, the oldest that has ended is not */
#define FG_IMAGES_MAX_DOWNLOADS 4     /* at once; more wait */
#define FG_IMAGES_RETRY_MS 30000      /* where nobody listened */
#define FG_IMAGES_PROGRESS_MS 10000   /* how often a cloud is told that it goes on */
#define FG_IMAGES_PATIENCE_MS 3600000 /* who is silent for so long takes the other image, too */
#define FG_IMAGES_VERSIONS_MAX_BYTES (1 << 20) /* for those of all devices */
#define FG_IMAGES_KEEP_FREE_BYTES (32 << 20)   /* of the file system: the journal may be on it */
#define FG_IMAGES_MAX_TOTAL 8 /* a directory holds so many times the largest `max_size` */

struct fg_images;

struct fg_images_options {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_http *http;
	const struct fg_config
		*config;           /* its `images` and `clouds`, and state_directory; borrowed */
	const char *path;          /* of what is remembered */
	const char *versions_path; /* … and of what runs where */
	uint64_t seed;             /* of the back-off's jitter */

	/* Publish on @broker, or, when it is NULL, where @device was heard last or the only one is.
	 * fg_images_published() tells of its PUBACK. Returns 0, -EMSGSIZE (larger than the broker
	 * takes), or another negative errno: it will be tried again. */
	int (*publish)(void *arg, const char *broker, struct fg_span device,
		       const struct fg_mqtt_publish *publish, uint64_t tag);
	/* False only when @device is known to have gone. */
	bool (*is_up)(void *arg, struct fg_span device);
	/* For the cloud called @link. May be called inside of any function here. */
	void (*progress)(void *arg, const char *link, const struct fg_image_progress *progress);
	void *arg;
};

/** Tags of publish() have this bit; those of others do not. */
#define FG_IMAGES_TAG (UINT64_C(1) << 63)

/**
 * Go on with what is remembered; directories are made where an entry needs them. On success the
 * caller owns *@ret. Returns 0, -ENOMEM, or another negative errno with a sentence.
 */
int fg_images_open(const struct fg_images_options *options, struct fg_images **ret,
		   struct fg_error *err);
struct fg_images *fg_images_free(struct fg_images *images);

/* As the members of struct fg_host with these names. A reason of NULL withdraws an image. */
int fg_images_begin(struct fg_images *images, const char *link, const struct fg_image *image,
		    uint64_t *ret_have);
int fg_images_write(struct fg_images *images, const char *link, struct fg_span device,
		    enum fg_image_kind kind, uint64_t offset, struct fg_span data);
bool fg_images_lacks(const struct fg_images *images, const char *link, struct fg_span device,
		     enum fg_image_kind kind);
void fg_images_abandon(struct fg_images *images, const char *link, struct fg_span device,
		       enum fg_image_kind kind, const char *why);

/** As the members of struct fg_host with these names. */
void fg_images_tell_all(struct fg_images *images, const char *link);
void fg_images_told(struct fg_images *images, const char *link, struct fg_span device,
		    enum fg_image_kind kind);

/** The version that runs on field device @device. *@ret is valid until the next call of anything here.
 * Returns 0 or -ENOENT. */
int fg_images_version(const struct fg_images *images, struct fg_span device,
		      enum fg_image_kind kind, struct fg_span *ret);

/** @device has sent attributes, a JSON object; @is_retained: from the broker's store. */
void fg_images_heard(struct fg_images *images, struct fg_span device, struct fg_span attributes,
		     bool is_retained);

/** One topic where devices report, and the only broker it is subscribed at; NULL: at all. */
struct fg_images_filter {
	const char *broker, *filter;
};

/** The filters to subscribe (QoS 1), never through a shared subscription; they live as long as
 * @images. */
size_t fg_images_filters(const struct fg_images *images, const struct fg_images_filter **ret);

/** Something came from a field broker. Returns true when it is a report; nobody else wants it then. */
bool fg_images_arrived(struct fg_images *images, const char *broker,
		       const struct fg_mqtt_message *message);

/** The broker has acknowledged the PUBLISH with @tag. */
void fg_images_published(struct fg_images *images, uint64_t tag, unsigned reason_code);

/** A broker is back: what it had not acknowledged is published again. */
void fg_images_broker_up(struct fg_images *images);

/** @device has come back. */
void fg_images_device_up(struct fg_images *images, struct fg_span device);

/** Where it is kept: what fg_images_begin() or fg_images_abandon() changes is on disk when that is. */
struct fg_store *fg_images_store(const struct fg_images *images);

/** Each second. */
void fg_images_tick(struct fg_images *images, int64_t now_ms);

/** How many there are, and how far they are. */
struct fg_images_stats {
	unsigned known, queued;
	unsigned fetching; /* SEALING too */
	unsigned ready;
	unsigned handed; /* HANDING too */
	unsigned updated, failed;
};

void fg_images_get_stats(const struct fg_images *images, struct fg_images_stats *ret);
