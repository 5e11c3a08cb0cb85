#pragma once

/*
 * A small durable table of keys and values, one file: what a link must not forget, such as a
 * credential got by provisioning or a device's new name. It is replaced as a whole (write, fsync,
 * rename, fsync of the directory) on a thread of the connector, so that the loop never waits for
 * the disk; what is read is what is on disk.
 *
 * The file: magic "FGSTORE1", 4 bytes CRC32C of what follows, then for each entry 2 bytes size of
 * the key, the key, 2 bytes size of the value, the value; little-endian. Mode 0600: values may be
 * secrets, and are overwritten in memory before it is released.
 *
 * state \ event | set                   | written, nothing set since | written, set since | failed
 * --------------+-----------------------+----------------------------+--------------------+----------------------
 * IDLE          | WRITING               |             -              |         -          |          -
 * WRITING       | WRITING (will follow) | IDLE                       | WRITING            | WAITING, tell
 * WAITING       | WAITING               |             -              |         -          |          -
 *
 * From WAITING it tries again when fg_store_tick() finds that a minute has passed.
 */
#include "net/connector.h"
#include "util/error.h"
#include "util/span.h"

#define FG_STORE_KEY_MAX 255
#define FG_STORE_VALUE_MAX 16384

struct fg_store;

/**
 * Waits until what has been set so far is on disk. Belongs to whoever waits, who sets `ended` and
 * `owner`; with zeroes else it waits for nothing.
 */
struct fg_store_wait {
	/* It is over: @error is 0, or says why it could not be written. It will be tried again, but
	 * not waited for. May release @w's owner, and the store. */
	void (*ended)(struct fg_store_wait *w, int error);
	void *owner;
	/* The rest is the store's. */
	struct fg_store *store; /* NULL: waits for nothing */
	struct fg_store_wait *next;
	uint64_t version;
	uint64_t n_begun;
};

struct fg_store_options {
	struct fg_connector *connector; /* borrowed */
	const char *path;               /* copied; its directory exists */
	size_t max_bytes;               /* of the file */
	/* What was set last under @key is on disk (@error 0), or could not be written yet. */
	void (*stored)(void *arg, struct fg_span key, int error);
	void *arg;
};

/**
 * Read the file, if there is one. One that is damaged is set aside as <path>.damaged, with a
 * warning, and the store starts empty. On success the caller owns *@ret. Returns 0, -ENOMEM, or
 * another negative errno with a sentence in @err.
 */
int fg_store_open(const struct fg_store_options *options, struct fg_store **ret,
		  struct fg_error *err);

/** Release. What was set is still written, and nobody is told: now, by the caller's thread, or, when
 * a thread is at it already, after that, before fg_connector_free() returns. Takes NULL. */
struct fg_store *fg_store_free(struct fg_store *s);

/**
 * Set @key (1..FG_STORE_KEY_MAX bytes) to @value, an empty one removes it; `stored` follows, unless
 * that is what is on disk. Returns 0, -EINVAL, -EMSGSIZE (the file would pass its
 * bound), -ENOMEM.
 */
int fg_store_set(struct fg_store *s, struct fg_span key, struct fg_span value);

/** What is on disk under @key; valid until `stored` is called next. Returns 0 or -ENOENT. */
int fg_store_get(const struct fg_store *s, struct fg_span key, struct fg_span *ret_value);

/** What was set last under @key, on disk or not; valid until the next fg_store_set(). Returns as
 * above. */
int fg_store_get_newest(const struct fg_store *s, struct fg_span key, struct fg_span *ret_value);

/** Walk what is on disk, in no order; a non-zero return of @each ends it and is returned. */
int fg_store_each(const struct fg_store *s,
		  int (*each)(void *arg, struct fg_span key, struct fg_span value), void *arg);

/** Rises with whatever is set that is not on disk. */
uint64_t fg_store_version(const struct fg_store *s);

/** Have @w wait until what has been set so far is on disk, whatever it has waited for until now. Returns
 * false when it is there already: nothing will be told. */
bool fg_store_wait(struct fg_store *s, struct fg_store_wait *w);

/** Have @w, if it waits, wait no longer. */
void fg_store_wait_cancel(struct fg_store_wait *w);

/**
 * May what is set now be waited for together with what @w waits for? No, once a second write has begun
 * since it began to wait: who goes on setting and waiting beyond that might wait for ever.
 */
bool fg_store_wait_gathers(const struct fg_store_wait *w);

/** Now and then: tries again what could not be written. */
void fg_store_tick(struct fg_store *s, int64_t now_ms);
