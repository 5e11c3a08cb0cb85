#include "common/text.h"

struct fg_text fg_text_begin(char *buffer, size_t size)
{
	return (struct fg_text){.start = buffer, .at = buffer, .end = buffer + size};
}

void fg_put_span(struct fg_text *text, struct fg_span bytes)
{
	if (bytes.size > (size_t)(text->end - text->at))
		text->is_full = true;
	if (text->is_full || bytes.size == 0)
		return;
	memcpy(text->at, bytes.data, bytes.size);
	text->at += bytes.size;
}

void fg_put_number(struct fg_text *text, int64_t number)
{
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
	char digits[21], *at = digits + sizeof(digits);

	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (number < 0)
		*--at = '-';
	fg_put_span(text, fg_span_of(at, (size_t)(digits + sizeof(digits) - at)));
}

void fg_put_digits(struct fg_text *text, unsigned number, unsigned n)
{
	char digits[10];

	for (unsigned i = n; i > 0; i--, number /= 10)
		digits[i - 1] = (char)('0' + number % 10);
	fg_put_span(text, fg_span_of(digits, n));
}

void fg_put_quoted(struct fg_text *text, struct fg_span bytes)
{
	size_t room = (size_t)(text->end - text->at), n;

	if (text->is_full)
		return;
	n = fg_json_quote(bytes, text->at, room);
	if (n > room)
		text->is_full = true;
	else
		text->at += n;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_mark(char c)
{
	return c == ',' || c == ':' || c == '[' || c == ']' || c == '{' || c == '}';
}

/* The end of the string, word, number or punctuation mark that begins at @at. */
static const char *token_end(const char *at, const char *end)
{
	bool is_string = *at == '"';

	if (is_mark(*at))
		return at + 1;
	for (at++; at < end; at++) {
		if (is_string && *at == '"')
			return at + 1;
		if (is_string && *at == '\\')
			at++;
		else if (!is_string && (is_space(*at) || is_mark(*at) || *at == '"'))
			break;
	}
	return at < end ? at : end;
}

/* In checked JSON only NaN and the Infinities have these capitals outside strings. */
static bool is_number_without_form(struct fg_span token)
{
	const char *at = token.data;

	return *at == 'N' || *at == 'I' || (*at == '-' && token.size > 1 && at[1] == 'I');
}

/* Take the next token off the front of @json; false at the end. */
static bool next_token(struct fg_span *json, struct fg_span *ret)
{
	const char *at = json->data, *end = at + json->size, *stop;

	while (at < end && is_space(*at))
		at++;
	if (at == end)
		return false;
	stop = token_end(at, end);
	*ret = fg_span_of(at, (size_t)(stop - at));
	*json = fg_span_of(stop, (size_t)(end - stop));
	return true;
}

void fg_put_json(struct fg_text *text, struct fg_span json)
{
	struct fg_span token;

	while (next_token(&json, &token)) {
		if (is_number_without_form(token))
			fg_put_quoted(text, token);
		else
			fg_put_span(text, token);
	}
}

static bool is_container(struct fg_json_value value)
{
	return value.type == FG_JSON_OBJECT || value.type == FG_JSON_ARRAY;
}

bool fg_is_finite(struct fg_json_value value)
{
	struct fg_span token;

	if (!is_container(value))
		return value.type != FG_JSON_NONFINITE;
	while (next_token(&value.text, &token))
		if (is_number_without_form(token))
			return false;
	return true;
}

void fg_put_finite(struct fg_text *text, struct fg_json_value value)
{
	if (is_container(value))
		fg_put_json(text, value.text);
	else
		fg_put_span(text, value.text);
}

struct fg_span fg_text_span(const struct fg_text *text)
{
	return fg_span_of(text->start, fg_text_size(text));
}

size_t fg_text_size(const struct fg_text *text)
{
	return (size_t)(text->at - text->start);
}
