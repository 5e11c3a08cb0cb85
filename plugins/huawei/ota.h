#pragma once

/*
 * Firmware and software that IoTDA orders for the gateway, a sub-device or the only device. The host
 * fetches an image and hands it over; here an order is read, and IoTDA is told how far it is. Whoever
 * is asked for its versions is told of in the same way.
 *
 * A *job* is what is to be told of one device: its versions, or how far its image of one kind is.
 *
 * state \ event | asked, ordered | the host: further | … ended | published | acknowledged      | refused       | 1 s       | session ends
 * --------------+----------------+-------------------+---------+-----------+-------------------+---------------+-----------+-------------
 * none          | UNTOLD (1)     | UNTOLD            | UNTOLD  |     -     |         -         |       -       |     -     |      -
 * WAITING       | WAITING        |         -         |    -    |     -     |         -         |       -       | UNTOLD,   | WAITING
 *               |                |                   |         |           |                   |               | none (2)  |
 * UNTOLD        | UNTOLD         | UNTOLD            | UNTOLD  | SENT      |         -         |       -       |     -     | UNTOLD
 * SENT          | SENT (3)       | SENT (3)          | SENT (3)|     -     | TOLD; (3) UNTOLD; | UNTOLD; at    |     -     | UNTOLD
 *               |                |                   |         |           | at the end none   | last as acked |           |
 * TOLD          | UNTOLD         | UNTOLD            | UNTOLD  |     -     |         -         |       -       | UNTOLD,   | UNTOLD
 *               |                |                   |         |           |                   |               | (4), (5)  |
 *
 * In each state: IoTDA has the device no more, or what is to be told fits into no packet: none.
 *
 * (1) WAITING: for its versions, which nobody has told yet.
 * (2) UNTOLD once they are known. IoTDA gives up 3 min after it has asked last, and so do we.
 * (3) To be told once more: reports of one image never overtake each other, and the last one counts.
 * (4) After 5 min: what is silent for 30 min has failed to IoTDA.
 * (5) When nothing has moved for HW_OTA_PATIENCE_S, or, since the device has it, for
 *     HW_OTA_DEVICE_PATIENCE_S: the host gives it up, and so it has ended. Else we would speak for a
 *     device that says nothing for ever, and IoTDA would never call it failed.
 */
#include "events.h"

/* As many images as the host has. */
#define HW_MAX_OTA_JOBS 1000

#define HW_OTA_TEXT_SIZE 256

/* For the download, and for a device that is away: as long as a token is good. */
#define HW_OTA_PATIENCE_S (24 * 3600u)

/* For the device that has it, since it said something last. */
#define HW_OTA_DEVICE_PATIENCE_S 3600u

enum hw_ota_subject {
	HW_OTA_FIRMWARE = FG_IMAGE_FIRMWARE,
	HW_OTA_SOFTWARE = FG_IMAGE_SOFTWARE,
	HW_OTA_VERSIONS,
};

enum hw_ota_state { HW_OTA_WAITING, HW_OTA_UNTOLD, HW_OTA_SENT, HW_OTA_TOLD };

struct hw_ota_job {
	struct hw_ota_job *next;
	enum hw_ota_subject subject;
	enum hw_ota_state state;
	bool has_more;     /* SENT: to be told once more */
	bool has_ended;    /* of an image: nothing follows */
	uint8_t n_refused; /* in a row */
	uint8_t code;      /* result_code */
	uint8_t percent;
	uint32_t since_s;  /* WAITING, TOLD: in uptime_s */
	uint32_t moved_s;  /* of an image: when there was something new of it last */
	uint32_t looked_s; /* WAITING: whether they are known */
	uint32_t serial;   /* SENT: in the tag */
	char version[HW_OTA_TEXT_SIZE], words[HW_OTA_TEXT_SIZE];
	uint8_t device_size; /* 0: the connected device itself */
	char device[];       /* its name here */
};

struct hw_ota {
	struct hw_ota_job *jobs; /* the oldest first */
	unsigned n_jobs, n_untold;
	uint32_t last_serial;
	bool has_warned_full;
};

/* ------------------------------------------------------------------ ota.c */

/** An event of the service "ota". Returns 0 or -EPROTO. */
int hw_ota_event(struct hw *hw, const struct hw_event *event);

/** It has been told for 5 min what it is told of: see (4) and (5). */
void hw_ota_repeat(struct hw *hw, struct hw_ota_job *job);

/** See struct fg_plugin.image_progress. */
void hw_image_progress(void *ctx, const struct fg_image_progress *progress);

/* ------------------------------------------------------------------ ota_jobs.c */

/** The job of @device and @subject, a new one if need be. NULL: there are too many, no memory, or IoTDA
 * cannot be told of a device of this name. */
struct hw_ota_job *hw_ota_job(struct hw *hw, struct fg_span device, enum hw_ota_subject subject);

/** @text to @out, cut if need be. */
void hw_ota_put(char out[HW_OTA_TEXT_SIZE], struct fg_span text);

/** There is something new in @job: tell it. */
void hw_ota_say(struct hw *hw, struct hw_ota_job *job);

/** It is asked for its versions, and they are not known: perhaps soon. */
void hw_ota_wait(struct hw *hw, struct hw_ota_job *job);

/** Does the host know any version of @device, or are we told what to say of one that is unknown? */
bool hw_ota_has_versions(struct hw *hw, struct fg_span device);

/** IoTDA has @device no more: nothing is told of it. */
void hw_ota_forget(struct hw *hw, struct fg_span device);

/** A session is up: take up what was not told before a restart. */
void hw_ota_connected(struct hw *hw);

/** A session is gone: all is to be told anew. */
void hw_ota_disconnected(struct hw *hw);

/** A second has passed. */
void hw_ota_tick(struct hw *hw);

/** Publish what is untold. Returns 1, 0 or -EINVAL. */
int hw_publish_ota(struct hw_call *call);

/** A publish with HW_TAG_OTA in its tag has ended. */
enum fg_verdict hw_ota_settled(struct hw *hw, const struct fg_settlement *how);

void hw_ota_close(struct hw_ota *ota);
