#pragma once

/*
 * What plugins share that look at a cloud from its other side (struct fg_rest): texts into an URL, and
 * what an answer says.
 */
#include "common/text.h"
#include "model/json.h"

/** @value as one part of a path, or as one value in a query (RFC 3986, 2.1 and 2.3). */
void fg_put_escaped(struct fg_text *text, struct fg_span value);

/** Say in @out why it is not done, in the words of @format; cut when it is too long. Returns @verdict. */
enum fg_rest_verdict fg_rest_say(struct fg_rest_result *out, enum fg_rest_verdict verdict,
				 enum fg_rest_fault fault, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/** May @text go into a header or a path as it is: printable ASCII, no blanks, nothing of an URL's own? */
bool fg_is_plain(struct fg_span text);

/** The plain text in member @name of @object, as tokens and ids are. Returns false when it is none. */
bool fg_plain_member(struct fg_json_value object, const char *name, struct fg_span *ret);

bool fg_is_number(struct fg_json_value value);

/** What the JSON number @text is worth. */
double fg_number(struct fg_span text);

/** Is @kept the value @sent, as a cloud that keeps numbers as integers or doubles spells it? */
bool fg_is_same_value(struct fg_json_value sent, struct fg_json_value kept);
