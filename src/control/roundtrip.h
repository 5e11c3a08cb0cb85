#pragma once

/*
 * fieldgatectl roundtrip: one reading up and one command down, watched hop by hop.
 *
 *	roundtrip.c          arguments, and all that can be checked before anything is sent
 *	roundtrip_run.c      the hops, one after the other, and what to do about each
 *	roundtrip_reading.c  what a device would publish          roundtrip_field.c  the field broker
 *	roundtrip_command.c  what a device would get and answer   roundtrip_cloud.c  the cloud's REST
 *	roundtrip_hops.c     what is printed                      roundtrip_disk.c   the daemon's journal
 */
#include "cloud/plugin_host.h"
#include "config/account.h"
#include "control/roundtrip_command.h"
#include "control/roundtrip_reading.h"
#include "net/connector.h"

/** As the operator gave it; what is not given is NULL or the default. */
struct fg_roundtrip_options {
	const char *config, *plugin_directory, *state, *account;
	const char *link, *device, *cloud_device, *broker;
	const char *topic, *payload, *value;
	const char *method, *params;
	int64_t timeout_ms; /* of each hop */
	bool is_answering;  /* in place of the device */
	bool is_json;
};

/** Everything that is known before the first hop. */
struct fg_roundtrip {
	struct fg_roundtrip_options with;
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_config *config;
	const struct fg_cloud_config *link;
	const struct fg_broker_config *broker;
	struct fg_plugin_handle *plugin;
	const struct fg_rest *rest;
	struct fg_value *link_values; /* of the link's own options */
	struct fg_account *account;
	struct fg_mapping *mapping;
	struct fg_command_map *commands;
	struct fg_reading reading;
	struct fg_expected *expected; /* NULL: no command */
	char cloud_device[256];       /* the cloud's name of the device */
	int64_t marker;
};

/** Take the hops and print them. Returns true when none failed. */
bool fg_roundtrip_run(struct fg_roundtrip *rt);
