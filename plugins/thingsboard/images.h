#pragma once

/*
 * Firmware and software: assigned by shared attributes, fetched by the host from `fw_url` or here in
 * chunks over MQTT, and told about as telemetry (`fw_state` …). ThingsBoard gives chunks to the
 * connected device only; a sub-device's image needs a URL.
 *
 * One chunk is asked for at a time. ThingsBoard binds the number in a request's topic to the package
 * assigned at that moment and to the size of a chunk: each download of each session has a new one.
 *
 * state \ event | announced | chunk came    | no answer      | publish refused | session ends
 * --------------+-----------+---------------+----------------+-----------------+--------------
 * IDLE          | NEXT (3)  | -             | -              | -               | -
 * NEXT          | NEXT (1)  | -             | -              | -               | LOST
 * ASKED         | NEXT (1)  | NEXT, or at   | NEXT; after    | LATER; after 5, | LOST
 *               |           | the end IDLE  | 5 of them IDLE | or for good:    |
 *               |           |               |                | IDLE            |
 * LATER         | NEXT (1)  | -             | NEXT (2)       | -               | LOST
 * LOST          | NEXT      | -             | -              | -               | LOST
 *
 * (1) From the start when it is another image; the same goes on where it is.
 * (2) The pause is over. The host may have to be asked to begin again first.
 * (3) What the host had begun before a restart is asked for, as in LOST: an announcement is acknowledged
 *     once the host has it on disk, and ThingsBoard does not repeat it.
 *
 * In every state but IDLE: the host has given up, or ThingsBoard says why it does not send it: IDLE.
 * LOST is over when the attributes have been fetched in the new session: another image may have been
 * assigned meanwhile, and its bytes must not be joined to those of the first.
 *
 * How an image has ended the host keeps until ThingsBoard has acknowledged it: after a restart it is told
 * in the first session.
 */
#include "fieldgate/plugin.h"

/* Progress that waits to be told: each step while there are few, then where each image stands. Of more than
 * that the oldest is forgotten. */
#define TB_FEW_IMAGE_NOTES 128
#define TB_MAX_IMAGE_NOTES 1000

#define TB_CHUNK_ATTEMPTS 5
#define TB_CHUNK_TIMEOUT_S 20
#define TB_CHUNK_PAUSE_S 1

enum tb_image_state {
	TB_IMAGE_IDLE,
	TB_IMAGE_NEXT,
	TB_IMAGE_ASKED,
	TB_IMAGE_LATER,
	TB_IMAGE_LOST,
};

/** An image for the connected device itself, fetched in chunks. */
struct tb_image {
	enum tb_image_state state;
	bool is_begun; /* by the host */
	struct fg_image is;
	char *memory; /* what `is` points into */
	uint64_t have;
	uint32_t request; /* 0: none in this session yet */
	uint64_t chunk;
	uint32_t deadline_s; /* ASKED, LATER: in uptime_s */
	unsigned n_attempts; /* without an answer, or refused, in a row */
};

/** What is to be told about one image. */
struct tb_image_note {
	enum fg_image_kind kind;
	bool has_ended; /* nothing follows */
	unsigned n_refusals;
	size_t device_size; /* 0: the connected device itself */
	size_t text_size;
	char text[]; /* the device's name, and a JSON object */
};

struct tb_images {
	struct tb_image own[2]; /* by enum fg_image_kind */
	uint32_t last_request;  /* in this session */
	bool is_subscribed;     /* in this session */
	bool wants_fetch;       /* in this session: is what was LOST still assigned? */
	bool has_recalled;      /* how images ended that was not told before a restart … */
	bool is_recalling;      /* … and is at it */
	struct tb_image_note *notes[TB_MAX_IMAGE_NOTES];
	unsigned n_notes;
	struct tb_image_note *in_flight; /* of `notes`, or NULL */
	uint64_t in_flight_serial;
};
