#pragma once

/*
 * Configuration that clouds set for field devices (shared attributes, device shadow): the sum of
 * what was set and not deleted, for each device one JSON object, published whole whenever it
 * changes, on the topics that `configs:` names. Kept in a store, so that what a cloud says only once
 * is there after a restart too; published again when a broker is back that may not have it.
 */
#include "config/config.h"
#include "net/mqtt_client.h"
#include "net/store.h"
#include "util/complaint.h"

struct fg_configs;

struct fg_configs_options {
	const struct fg_config *config; /* its `configs`; borrowed */
	struct fg_connector *connector;
	const char *path; /* of the store */
	/* Publish on @broker, or, when it is NULL, where @device was heard last or the only one is.
	 * Returns 0 or a negative errno: it will be tried again when a broker, or the device, comes. */
	int (*publish)(void *arg, const char *broker, struct fg_span device,
		       const struct fg_mqtt_publish *publish);
	void *arg;
};

/** On success the caller owns *@ret. Returns 0, -ENOMEM, or a negative errno with a sentence. */
int fg_configs_open(const struct fg_configs_options *options, struct fg_configs **ret,
		    struct fg_error *err);
struct fg_configs *fg_configs_free(struct fg_configs *c);

/**
 * @link has set or deleted configuration of field device @device: a JSON object, and a JSON array of
 * names; either may be empty. What is not JSON, or makes more than FG_STORE_VALUE_MAX bytes of one
 * device, is complained about and changes nothing.
 */
void fg_configs_change(struct fg_configs *c, const char *link, struct fg_span device,
		       struct fg_span set, struct fg_span unset, int64_t now_ms);

/** The broker called @broker is back: publish what may not be there. */
void fg_configs_broker_up(struct fg_configs *c, const char *broker);

/** @device is at another broker than it was, or is heard of for the first time: publish what goes to
 * where it is. */
void fg_configs_device_moved(struct fg_configs *c, struct fg_span device);

/** Where it is kept: what fg_configs_change() changes is on disk when that is. */
struct fg_store *fg_configs_store(const struct fg_configs *c);

/** Now and then: see fg_store_tick(). */
void fg_configs_tick(struct fg_configs *c, int64_t now_ms);
