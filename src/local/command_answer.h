#pragma once

/*
 * The body of a command response (plugin.h, struct fg_command), made from what a device answered or
 * from our own verdict. What stands in an answer is not trusted: whatever it is, the body is one
 * JSON object of bounded size.
 *
 *	answer of the device			body
 *	JSON, `error` selects nothing		{"result": what `result` selects, or all of it}
 *	JSON, `error` selects something		{"error":{"code":"refused","text":"…"},"result":…}
 *	  but null or false			  (a string as it is, anything else as its JSON text;
 *						  of an integer, or an object with an integer as its
 *						  `code`, also "number": that integer)
 *	`result` selects nothing		result is null; left out beside an error
 *	empty					{"result":null}
 *	other UTF-8 text			{"result":"the text"}
 *	anything else				-EBADMSG
 */
#include "model/json.h"
#include "util/error.h"
#include "util/span.h"

/** Why a command ended without the device's answer. */
enum fg_command_error {
	FG_COMMAND_UNKNOWN_DEVICE,
	FG_COMMAND_UNKNOWN_COMMAND,
	FG_COMMAND_BAD_PARAMS,
	FG_COMMAND_OFFLINE,
	FG_COMMAND_BUSY,
	FG_COMMAND_REFUSED, /* the device said no */
	FG_COMMAND_TIMEOUT,
	FG_COMMAND_UNKNOWN_OUTCOME,
	FG_COMMAND_NO_ROOM,
	FG_N_COMMAND_ERRORS,
};

/** Its word in a response: "unknown_device", … */
const char *fg_command_error_word(enum fg_command_error error);

/* The body of an error needs no more, whatever the text: that is cut after so many bytes. */
#define FG_COMMAND_ERROR_TEXT_MAX 200
#define FG_COMMAND_ERROR_BODY_MAX (64 + 6 * FG_COMMAND_ERROR_TEXT_MAX)

/* Digits of an error's number, sign included: it fits into 64 bits. */
#define FG_COMMAND_NUMBER_MAX 18

/** Write {"error":{"code":…,"text":…}}; @text is UTF-8. Returns its size. */
size_t fg_command_error_body(enum fg_command_error error, const char *text,
			     char out[FG_COMMAND_ERROR_BODY_MAX]);

/** Which parts of an answer count; both are borrowed and may be NULL. */
struct fg_command_answer_paths {
	const struct fg_json_path *result; /* NULL: all of it */
	const struct fg_json_path *error;  /* NULL: it never says no */
};

/**
 * Write the body for the answer @payload to @out. Allocates nothing.
 * Returns 0 and its size; -EMSGSIZE (it needs more than @out_size bytes) or -EBADMSG (neither JSON
 * nor UTF-8) with a sentence.
 */
int fg_command_answer_body(const struct fg_command_answer_paths *paths, struct fg_span payload,
			   char *out, size_t out_size, size_t *ret_size, struct fg_error *err);
