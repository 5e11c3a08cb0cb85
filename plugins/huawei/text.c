#include "text.h"

#include <stdio.h>
#include <time.h>

bool hw_put_time(struct fg_text *text, int64_t time_us, bool has_milliseconds)
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
