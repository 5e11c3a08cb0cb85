#pragma once

/*
 * Builds the stages and joins them: field brokers -> mapping -> journal -> links. Owns every object
 * of the daemon, and takes them down in order: sources first, so that nothing new is acknowledged,
 * then links, then the journal.
 */
#include <ev.h>

#include "config/config.h"

struct fg_gateway;

/**
 * Check what the configuration's readers could not: plugins and their keys, mapping rules, TLS
 * material. Opens no connection and writes nothing. Adds every mistake to @report. On success the
 * caller owns *@ret, which borrows @config. Returns 0, -EINVAL or -ENOMEM.
 */
int fg_gateway_new(struct fg_config *config, const char *plugin_directory, struct fg_report *report,
		   struct fg_gateway **ret);

/** Release, whatever the state. Takes NULL. */
struct fg_gateway *fg_gateway_free(struct fg_gateway *g);

/**
 * Lock the state directory, open the journal, start links and brokers on @loop.
 * Returns 0 or a negative errno with a sentence.
 */
int fg_gateway_start(struct fg_gateway *g, struct ev_loop *loop, struct fg_error *err);

/** Go down in order; @loop's ev_break() is called when all is done, or after FG_GATEWAY_STOP_MS. */
void fg_gateway_stop(struct fg_gateway *g);
#define FG_GATEWAY_STOP_MS 10000

/** One log line for the journal and for each broker and link. */
void fg_gateway_log_status(struct fg_gateway *g);
