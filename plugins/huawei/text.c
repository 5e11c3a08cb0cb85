#include "text.h"

#include <stdio.h>

#include "common/utc.h"

bool hw_put_time(struct fg_text *text, int64_t time_us, bool has_milliseconds)
{
	struct fg_utc utc;
	char out[96];
	int n;

	if (!fg_utc_of(time_us, &utc))
		return false;
	if (has_milliseconds)
		n = snprintf(out, sizeof(out), "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", utc.year,
			     utc.month, utc.day, utc.hour, utc.minute, utc.second,
			     utc.microsecond / 1000);
	else
		n = snprintf(out, sizeof(out), "%04u%02u%02uT%02u%02u%02uZ", utc.year, utc.month,
			     utc.day, utc.hour, utc.minute, utc.second);
	fg_put_span(text, fg_span_of(out, (size_t)n));
	return true;
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
