#include "local/command_answer.h"

#include <errno.h>

#include "model/utf8.h"

static const char *const error_words[FG_N_COMMAND_ERRORS] = {
	[FG_COMMAND_UNKNOWN_DEVICE] = "unknown_device",
	[FG_COMMAND_UNKNOWN_COMMAND] = "unknown_command",
	[FG_COMMAND_BAD_PARAMS] = "bad_params",
	[FG_COMMAND_OFFLINE] = "offline",
	[FG_COMMAND_BUSY] = "busy",
	[FG_COMMAND_REFUSED] = "refused",
	[FG_COMMAND_TIMEOUT] = "timeout",
	[FG_COMMAND_UNKNOWN_OUTCOME] = "unknown_outcome",
	[FG_COMMAND_NO_ROOM] = "no_room",
};

/* The body as far as it has been written; `size` goes on counting when there is no room left. */
struct body {
	char *out;
	size_t room, size;
};

static void put(struct body *b, struct fg_span text)
{
	if (b->size <= b->room && text.size <= b->room - b->size && text.size > 0)
		memcpy(b->out + b->size, text.data, text.size);
	b->size += text.size;
}

static void put_text(struct body *b, const char *text)
{
	put(b, fg_span_str(text));
}

static void put_quoted(struct body *b, struct fg_span text)
{
	size_t room = b->size < b->room ? b->room - b->size : 0;

	b->size += fg_json_quote(text, room > 0 ? b->out + b->size : NULL, room);
}

static void put_compact(struct body *b, struct fg_json_value value)
{
	if (b->size <= b->room && value.text.size <= b->room - b->size)
		b->size += fg_json_compact(value, b->out + b->size);
	else
		b->size += value.text.size;
}

const char *fg_command_error_word(enum fg_command_error error)
{
	return error_words[error];
}

/* The first part of @text, cut between characters. */
static struct fg_span cut_text(const char *text)
{
	struct fg_span all = fg_span_str(text);
	size_t size = 0;

	if (all.size <= FG_COMMAND_ERROR_TEXT_MAX)
		return all;
	for (;;) {
		size_t n = fg_utf8_character(text + size, text + all.size);

		if (n == 0 || size + n > FG_COMMAND_ERROR_TEXT_MAX)
			return fg_span_of(text, size);
		size += n;
	}
}

size_t fg_command_error_body(enum fg_command_error error, const char *text,
			     char out[FG_COMMAND_ERROR_BODY_MAX])
{
	struct body b = {.out = out, .room = FG_COMMAND_ERROR_BODY_MAX};

	put_text(&b, "{\"error\":{\"code\":");
	put_quoted(&b, fg_span_str(error_words[error]));
	put_text(&b, ",\"text\":");
	put_quoted(&b, cut_text(text));
	put_text(&b, "}}");
	return b.size;
}

static bool says_no(const struct fg_command_answer_paths *paths, struct fg_json_value root,
		    struct fg_json_value *ret)
{
	return paths->error && fg_json_path_find(paths->error, root, ret) &&
	       ret->type != FG_JSON_NULL && ret->type != FG_JSON_FALSE;
}

/* The number of an error that is one, or has one as its code (JSON-RPC 2.0, 5.1); or nothing. */
static struct fg_span number_of(struct fg_json_value why)
{
	struct fg_json_value code = why;

	if (why.type == FG_JSON_OBJECT && !fg_json_member(why, fg_span_str("code"), &code))
		return fg_span_of(NULL, 0);
	if (code.type != FG_JSON_INTEGER || code.text.size > FG_COMMAND_NUMBER_MAX)
		return fg_span_of(NULL, 0);
	return code.text;
}

static void put_refusal(struct body *b, struct fg_json_value why)
{
	struct fg_span number = number_of(why);

	put_text(b, "{\"error\":{\"code\":");
	put_quoted(b, fg_span_str(error_words[FG_COMMAND_REFUSED]));
	put_text(b, ",\"text\":");
	if (why.type == FG_JSON_STRING)
		put(b, why.text);
	else
		put_quoted(b, why.text);
	if (number.size > 0) {
		put_text(b, ",\"number\":");
		put(b, number);
	}
	put_text(b, "}");
}

static void put_json_answer(struct body *b, const struct fg_command_answer_paths *paths,
			    struct fg_json_value root)
{
	struct fg_json_value why, result = root;
	bool has_result = !paths->result || fg_json_path_find(paths->result, root, &result);

	if (says_no(paths, root, &why)) {
		put_refusal(b, why);
		if (has_result) {
			put_text(b, ",\"result\":");
			put_compact(b, result);
		}
	} else if (has_result) {
		put_text(b, "{\"result\":");
		put_compact(b, result);
	} else
		put_text(b, "{\"result\":null");
	put_text(b, "}");
}

int fg_command_answer_body(const struct fg_command_answer_paths *paths, struct fg_span payload,
			   char *out, size_t out_size, size_t *ret_size, struct fg_error *err)
{
	struct body b = {.out = out, .room = out_size};
	struct fg_json_value root;
	struct fg_json_fault fault;

	if (payload.size == 0)
		put_text(&b, "{\"result\":null}");
	else if (fg_json_check(payload, &root, &fault) == 0)
		put_json_answer(&b, paths, root);
	else if (fg_utf8_ok(payload)) {
		put_text(&b, "{\"result\":");
		put_quoted(&b, payload);
		put_text(&b, "}");
	} else
		return fg_error_set(err, -EBADMSG,
				    "the device has answered with neither JSON nor text");
	if (b.size > out_size)
		return fg_error_set(err, -EMSGSIZE,
				    "the device has answered with %zu bytes, more than is taken",
				    payload.size);
	*ret_size = b.size;
	return 0;
}
