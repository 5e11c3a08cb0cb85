#include "text.h"

#include "model/json.h"

struct tb_text tb_text_begin(char *buffer, size_t size)
{
	return (struct tb_text){.start = buffer, .at = buffer, .end = buffer + size};
}

void tb_put_span(struct tb_text *text, struct fg_span bytes)
{
	if (bytes.size > (size_t)(text->end - text->at))
		text->is_full = true;
	if (text->is_full || bytes.size == 0)
		return;
	memcpy(text->at, bytes.data, bytes.size);
	text->at += bytes.size;
}

void tb_put(struct tb_text *text, const char *literal)
{
	tb_put_span(text, fg_span_str(literal));
}

void tb_put_number(struct tb_text *text, int64_t number)
{
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
	char digits[21], *at = digits + sizeof(digits);

	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (number < 0)
		*--at = '-';
	tb_put_span(text, fg_span_of(at, (size_t)(digits + sizeof(digits) - at)));
}

void tb_put_quoted(struct tb_text *text, struct fg_span bytes)
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

/* The end of the string, word or number that begins at @at. */
static const char *token_end(const char *at, const char *end)
{
	bool is_string = *at == '"';

	for (at++; at < end; at++) {
		if (is_string && *at == '"')
			return at + 1;
		if (is_string && *at == '\\')
			at++;
		else if (!is_string && (is_space(*at) || strchr(",:[]{}\"", *at)))
			break;
	}
	return at < end ? at : end;
}

void tb_put_json(struct tb_text *text, struct fg_span json)
{
	const char *at = json.data, *end = at + json.size, *stop;

	for (; at < end; at = stop) {
		stop = at + 1;
		if (is_space(*at))
			continue;
		if (!strchr(",:[]{}", *at))
			stop = token_end(at, end);
		/* In checked JSON only NaN and the Infinities have these capitals outside strings. */
		if (*at == 'N' || *at == 'I' || (*at == '-' && stop - at > 1 && at[1] == 'I'))
			tb_put_quoted(text, fg_span_of(at, (size_t)(stop - at)));
		else
			tb_put_span(text, fg_span_of(at, (size_t)(stop - at)));
	}
}

struct fg_span tb_text_span(const struct tb_text *text)
{
	return fg_span_of(text->start, (size_t)(text->at - text->start));
}
