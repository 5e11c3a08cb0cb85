#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

struct hw_text hw_text_begin(char *buffer, size_t size)
{
	return (struct hw_text){.start = buffer, .at = buffer, .end = buffer + size};
}

void hw_put_span(struct hw_text *text, struct fg_span bytes)
{
	if (bytes.size > (size_t)(text->end - text->at))
		text->is_full = true;
	if (text->is_full || bytes.size == 0)
		return;
	memcpy(text->at, bytes.data, bytes.size);
	text->at += bytes.size;
}

void hw_put(struct hw_text *text, const char *literal)
{
	hw_put_span(text, fg_span_str(literal));
}

void hw_put_number(struct hw_text *text, uint64_t number)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, number);

	hw_put_span(text, fg_span_of(digits, (size_t)n));
}

void hw_put_quoted(struct hw_text *text, struct fg_span bytes)
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

/* The end of the string that begins at @at, its quote included. */
static const char *string_end(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\')
			at++;
	return at < end ? at + 1 : end;
}

void hw_put_json(struct hw_text *text, struct fg_span json)
{
	const char *at = json.data, *end = at + json.size, *stop;

	for (; at < end; at = stop) {
		stop = *at == '"' ? string_end(at, end) : at + 1;
		if (!is_space(*at))
			hw_put_span(text, fg_span_of(at, (size_t)(stop - at)));
	}
}

bool hw_is_finite(struct fg_span json)
{
	const char *at = json.data, *end = at + json.size;

	/* In checked JSON only NaN and the Infinities have these capitals outside strings. */
	for (; at < end; at = *at == '"' ? string_end(at, end) : at + 1)
		if (*at == 'N' || *at == 'I')
			return false;
	return true;
}

bool hw_put_time(struct hw_text *text, int64_t time_us, bool has_milliseconds)
{
	int64_t in_second = time_us % 1000000;
	time_t seconds;
	char out[64];
	struct tm tm;
	int n;

	if (in_second < 0)
		in_second += 1000000; /* before 1970, too, a time is cut to the earlier one */
	seconds = (time_us - in_second) / 1000000;
	if (!gmtime_r(&seconds, &tm) || tm.tm_year + 1900 < 1000 || tm.tm_year + 1900 > 9999)
		return false;
	if (has_milliseconds)
		n = snprintf(out, sizeof(out), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
			     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			     tm.tm_sec, (int)(in_second / 1000));
	else
		n = snprintf(out, sizeof(out), "%04d%02d%02dT%02d%02d%02dZ", tm.tm_year + 1900,
			     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	hw_put_span(text, fg_span_of(out, (size_t)n));
	return true;
}

size_t hw_text_size(const struct hw_text *text)
{
	return (size_t)(text->at - text->start);
}

bool hw_string_read(struct fg_json_value value, char *out, size_t out_size, struct fg_span *ret)
{
	struct fg_span raw;

	if (value.type != FG_JSON_STRING || value.text.size <= 2 || value.text.size - 2 > out_size)
		return false;
	raw = fg_span_of(value.text.data + 1, value.text.size - 2);
	*ret = fg_span_of(out, fg_json_unescape(raw, out));
	return !memchr(out, 0, ret->size);
}
