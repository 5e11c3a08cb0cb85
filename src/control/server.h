#pragma once

/*
 * The control socket: what fieldgatectl asks a running daemon for. A Unix stream socket that only
 * root and the daemon's own user may use. A client sends one JSON object on one line,
 * {"command": "…", …}; it gets any number of JSON objects back, one a line, the last of which is
 * {"done": true} or {"error": "…"}; then the connection ends. Runs on the loop and never blocks it.
 * A client that does not send its request, or does not read the answer, is dropped, and so is one
 * that closes its end before it has the answer; what it asked for is done all the same.
 *
 *   place \ event  | a client comes | request whole | too long, slow | command ends | gone     | answer read
 *   free           | reading        |               |                |              |          |
 *   reading        |                | running       | free           |              | free     |
 *   running        |                |               | free, gone()   | answering    | free, gone() |
 *   answering      |                |               | free           |              | free     | free
 */
#include <ev.h>

#include "control/output.h"
#include "model/json.h"
#include "util/error.h"

#define FG_CONTROL_CLIENTS_MAX 8
#define FG_CONTROL_REQUEST_MAX 65536
/* Of a whole answer; a client whose answer is longer is dropped. */
#define FG_CONTROL_ANSWER_MAX ((size_t)4 << 20)
#define FG_CONTROL_PATH_MAX 107 /* of a Unix socket */

struct fg_control;

/** One request, from its arrival until it is answered. */
struct fg_control_call;

struct fg_control_command {
	const char *name;
	/**
	 * @request is a checked object, borrowed until the call is none any more. Answers with
	 * fg_control_end(), at once or later. When the client goes first, @gone is called.
	 */
	void (*run)(void *arg, struct fg_control_call *call, struct fg_json_value request);
};

struct fg_control_options {
	struct ev_loop *loop;
	const char *path;                          /* of the socket */
	const struct fg_control_command *commands; /* ends with {0} */
	/* The client of a call that was not ended has gone; the call is none any more. May be NULL. */
	void (*gone)(void *arg, struct fg_control_call *call);
	void *arg;
	double patience_s; /* with a client that is slow; 0: 10 s */
};

/**
 * Listen. A socket that nobody listens on any more is replaced. On success the caller owns *@ret.
 * Returns 0, or a negative errno with a sentence.
 */
int fg_control_open(const struct fg_control_options *options, struct fg_control **ret,
		    struct fg_error *err);

/** Drop all clients and remove the socket. Takes NULL. */
struct fg_control *fg_control_free(struct fg_control *c);

/** Begin one line of the answer: add members to what is returned, then fg_control_line_end(). */
struct fg_object *fg_control_line(struct fg_control_call *call);
void fg_control_line_end(struct fg_control_call *call);

/** The answer is complete: @error is a sentence, or NULL: done. The call is none any more. */
void fg_control_end(struct fg_control_call *call, const char *error);

/** @value as a number from 0 to UINT64_MAX. Returns false when it is none. */
bool fg_control_number(struct fg_json_value value, uint64_t *ret);

/** A member of a request, as text without its quotes, NUL-terminated, in @out. Returns false when
 * there is none, or it is no string or too long. */
bool fg_control_text(struct fg_json_value request, const char *name, char *out, size_t out_size);
