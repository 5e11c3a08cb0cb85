#pragma once

/*
 * Which field devices a cloud gets, and what it calls them: the `devices:` section of a cloud, and
 * on top of it what the cloud itself has renamed or deleted since, which is kept in a store.
 */
#include "config/config.h"
#include "net/store.h"

struct fg_names;

struct fg_names_options {
	const struct fg_devices_config *config; /* borrowed */
	/* A file for what the cloud changes, or NULL: it changes nothing. */
	const char *path;
	struct fg_connector *connector; /* with @path */
};

/** On success the caller owns *@ret. Returns 0, -ENOMEM, or another negative errno with a sentence. */
int fg_names_open(const struct fg_names_options *options, struct fg_names **ret,
		  struct fg_error *err);
struct fg_names *fg_names_free(struct fg_names *n);

/**
 * The cloud's name for field device @device. Returns false when the cloud does not get this device.
 * The span is @device's or ours, valid until the next rename or mute. Allocates nothing.
 */
bool fg_names_to_cloud(const struct fg_names *n, struct fg_span device, struct fg_span *ret_name);

/**
 * The field device the cloud calls @name. Returns false when no device that this cloud gets may be
 * called so: it has another name there, or is excluded or muted.
 */
bool fg_names_to_field(const struct fg_names *n, struct fg_span name, struct fg_span *ret_device);

/** The cloud calls now @to what it called @from. Returns 0, -EINVAL (no name of 1..255 bytes, or
 * another device has it), -EMSGSIZE (too many), -ENOMEM. */
int fg_names_rename(struct fg_names *n, struct fg_span from, struct fg_span to);

/** Does the cloud get nothing of what it called @name, because of fg_names_mute()? */
bool fg_names_is_muted(const struct fg_names *n, struct fg_span name);

/** Of how many devices it gets nothing because of that. */
size_t fg_names_count_muted(const struct fg_names *n);

/** The cloud gets nothing any more of what it calls @name; or does again. Returns as above. */
int fg_names_mute(struct fg_names *n, struct fg_span name, bool is_muted);

/** Where what the cloud changes is kept, or NULL. */
struct fg_store *fg_names_store(const struct fg_names *n);

/** Now and then: see fg_store_tick(). */
void fg_names_tick(struct fg_names *n, int64_t now_ms);
