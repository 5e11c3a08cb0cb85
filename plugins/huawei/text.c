#include "text.h"

#include "common/utc.h"

/* @a, @b, @c with @n digits, two and two, and @mark in between. */
static void put_three(struct fg_text *text, unsigned a, unsigned n, unsigned b, unsigned c,
		      const char *mark)
{
	fg_put_digits(text, a, n);
	fg_put(text, mark);
	fg_put_digits(text, b, 2);
	fg_put(text, mark);
	fg_put_digits(text, c, 2);
}

bool hw_put_time(struct fg_text *text, int64_t time_us, bool has_milliseconds)
{
	struct fg_utc utc;

	if (!fg_utc_of(time_us, &utc))
		return false;
	put_three(text, utc.year, 4, utc.month, utc.day, has_milliseconds ? "-" : "");
	fg_put(text, "T");
	put_three(text, utc.hour, 2, utc.minute, utc.second, has_milliseconds ? ":" : "");
	if (has_milliseconds) {
		fg_put(text, ".");
		fg_put_digits(text, utc.microsecond / 1000, 3);
	}
	fg_put(text, "Z");
	return true;
}

/* Does @text look like @form, whose zeros stand for digits? They go to @digits. */
static bool take_digits(struct fg_span text, const char *form, char *digits)
{
	if (text.size != strlen(form))
		return false;
	for (size_t i = 0; i < text.size; i++) {
		char c = text.data[i];

		if (form[i] != '0' ? c != form[i] : c < '0' || c > '9')
			return false;
		if (form[i] == '0')
			*digits++ = c;
	}
	return true;
}

/* The next @n of @digits. */
static unsigned number(const char **digits, unsigned n)
{
	unsigned result = 0;

	for (; n > 0; n--)
		result = result * 10 + (unsigned)(*(*digits)++ - '0');
	return result;
}

bool hw_time_read(struct fg_json_value value, int64_t *ret_us, int64_t *ret_unit_us)
{
	char all[] = "00000000000000000";
	const char *digits = all;
	struct fg_utc utc;
	bool is_fine;

	if (value.type != FG_JSON_STRING)
		return false;
	is_fine = take_digits(value.text, "\"0000-00-00T00:00:00.000Z\"", all);
	if (!is_fine && !take_digits(value.text, "\"00000000T000000Z\"", all))
		return false;
	utc.year = number(&digits, 4);
	utc.month = number(&digits, 2);
	utc.day = number(&digits, 2);
	utc.hour = number(&digits, 2);
	utc.minute = number(&digits, 2);
	utc.second = number(&digits, 2);
	utc.microsecond = number(&digits, 3) * 1000;
	if (!fg_utc_to(&utc, ret_us))
		return false;
	*ret_unit_us = is_fine ? 1000 : 1000000;
	return true;
}

bool hw_member(struct fg_json_value object, const char *name, struct fg_json_value *ret)
{
	return fg_json_member(object, fg_span_str(name), ret) && ret->type != FG_JSON_NULL &&
	       !fg_span_is(ret->text, "\"\"");
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
