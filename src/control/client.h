#pragma once

/*
 * Asks a running daemon, over its control socket (server.h). Blocks: for fieldgatectl.
 */
#include <stdbool.h>

#include "model/json.h"
#include "util/error.h"

/* How long the daemon may say nothing. What takes longer says something in between. */
#define FG_CLIENT_PATIENCE_S 60

/**
 * Send @request (one JSON object) to the daemon whose state directory is @state, and call @each for
 * every object of the answer; the last one, "done" or "error", is not among them. A non-zero return
 * of @each ends it and is returned.
 * Returns 0, or a negative errno with a sentence: -ENOTCONN (no daemon there), -EACCES, -EPROTO (the
 * daemon said why not, or ended in the middle), -ETIMEDOUT (it said nothing for so long).
 */
int fg_client_ask(const char *state, struct fg_span request,
		  int (*each)(void *arg, struct fg_json_value object), void *arg,
		  struct fg_error *err);

/** A member as text without quotes, to @out; "" when there is none. Returns @out. */
const char *fg_client_text(struct fg_json_value object, const char *name, char *out,
			   size_t out_size);

/** A member that is a number, or 0. */
uint64_t fg_client_number(struct fg_json_value object, const char *name);
