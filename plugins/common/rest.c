#include "common/rest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void fg_put_escaped(struct fg_text *text, struct fg_span value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";

	for (size_t i = 0; i < value.size; i++) {
		char hex[4];

		if (value.data[i] && strchr(plain, value.data[i])) {
			fg_put_span(text, fg_span_of(value.data + i, 1));
			continue;
		}
		snprintf(hex, sizeof(hex), "%%%02X", (unsigned char)value.data[i]);
		fg_put(text, hex);
	}
}

enum fg_rest_verdict fg_rest_say(struct fg_rest_result *out, enum fg_rest_verdict verdict,
				 enum fg_rest_fault fault, const char *format, ...)
{
	va_list args;

	out->fault = fault;
	va_start(args, format);
	vsnprintf(out->text, sizeof(out->text), format, args);
	va_end(args);
	return verdict;
}

bool fg_is_plain(struct fg_span text)
{
	for (size_t i = 0; i < text.size; i++)
		if (text.data[i] <= ' ' || text.data[i] > '~' || strchr("\"\\/?#%", text.data[i]))
			return false;
	return text.size > 0;
}

bool fg_plain_member(struct fg_json_value object, const char *name, struct fg_span *ret)
{
	struct fg_json_value value;
	struct fg_span raw;

	if (object.type != FG_JSON_OBJECT || !fg_json_member(object, fg_span_str(name), &value) ||
	    value.type != FG_JSON_STRING)
		return false;
	raw = fg_span_of(value.text.data + 1, value.text.size - 2);
	if (!fg_is_plain(raw))
		return false;
	*ret = raw;
	return true;
}

bool fg_is_number(struct fg_json_value value)
{
	return value.type == FG_JSON_INTEGER || value.type == FG_JSON_REAL;
}

double fg_number(struct fg_span text)
{
	char digits[64];

	snprintf(digits, sizeof(digits), "%.*s", FG_SPAN_ARGS(text));
	return strtod(digits, NULL);
}

bool fg_is_same_value(struct fg_json_value sent, struct fg_json_value kept)
{
	return fg_span_equal(sent.text, kept.text) ||
	       (fg_is_number(sent) && fg_is_number(kept) &&
		fg_number(sent.text) == fg_number(kept.text));
}
