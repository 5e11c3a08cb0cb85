#include "local/timestamp.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool in_range(int64_t us)
{
	return us >= FG_TIMESTAMP_FIRST_US && us < FG_TIMESTAMP_END_US;
}

/* ------------------------------------------------------------------ numbers */

/* digits * 10^exponent; digits beyond the 18th are cut off, which no time of ours has. */
struct decimal {
	uint64_t digits;
	int exponent;
};

#define MAX_DIGITS 18
#define MAX_EXPONENT                                                                               \
	100000 /* exponents are clamped to this; the result is 0 or out of range anyway */

static const char *read_exponent(const char *p, const char *end, int *ret)
{
	bool is_negative = false;
	int exponent = 0;

	if (p < end && (*p == '+' || *p == '-'))
		is_negative = *p++ == '-';
	for (; p < end && is_digit(*p); p++)
		if (exponent < MAX_EXPONENT)
			exponent = exponent * 10 + (*p - '0');
	*ret = is_negative ? -exponent : exponent;
	return p;
}

/* @number is what the JSON grammar allows. Returns false when it is negative. */
static bool read_decimal(struct fg_span number, struct decimal *ret)
{
	const char *p = number.data;
	const char *end = p + number.size;
	bool is_fraction = false;
	int n_digits = 0;
	int64_t exponent = 0;
	int written = 0;

	*ret = (struct decimal){0};
	if (number.size == 0 || *p == '-')
		return false;
	for (; p < end && (is_digit(*p) || *p == '.'); p++) {
		if (*p == '.') {
			is_fraction = true;
			continue;
		}
		if (n_digits < MAX_DIGITS) {
			ret->digits = ret->digits * 10 + (uint64_t)(*p - '0');
			if (ret->digits > 0)
				n_digits++;
			if (is_fraction)
				exponent--;
		} else if (!is_fraction) {
			exponent++;
		}
	}
	if (p < end && (*p == 'e' || *p == 'E'))
		p = read_exponent(p + 1, end, &written);
	exponent += written;
	if (exponent > MAX_EXPONENT)
		exponent = MAX_EXPONENT;
	if (exponent < -MAX_EXPONENT)
		exponent = -MAX_EXPONENT;
	ret->exponent = (int)exponent;
	return p == end;
}

/* @d * 10^@shift without its fraction; UINT64_MAX when it is too large. */
static uint64_t scaled(struct decimal d, int shift)
{
	uint64_t v = d.digits;
	int exponent = d.exponent + shift;

	for (; exponent < 0 && v > 0; exponent++)
		v /= 10;
	for (; exponent > 0 && v > 0; exponent--) {
		if (v > UINT64_MAX / 10)
			return UINT64_MAX;
		v *= 10;
	}
	return v;
}

static int shift_to_us(struct decimal d, enum fg_time_unit unit)
{
	uint64_t whole;

	switch (unit) {
	case FG_TIME_UNIT_S:
		return 6;
	case FG_TIME_UNIT_MS:
		return 3;
	case FG_TIME_UNIT_US:
		return 0;
	case FG_TIME_UNIT_AUTO:
	case FG_TIME_UNIT_ISO8601:
		break;
	}
	whole = scaled(d, 0);
	if (whole < 100000000000)
		return 6;
	return whole < 100000000000000 ? 3 : 0;
}

bool fg_timestamp_from_number(struct fg_span number, enum fg_time_unit unit, int64_t *ret_us)
{
	struct decimal d;
	uint64_t us;

	if (!read_decimal(number, &d))
		return false;
	us = scaled(d, shift_to_us(d, unit));
	if (us >= FG_TIMESTAMP_END_US || !in_range((int64_t)us))
		return false;
	*ret_us = (int64_t)us;
	return true;
}

/* ------------------------------------------------------------------ text */

/* Reads text from left to right; once something is missing nothing more is found. */
struct reader {
	const char *at;
	const char *end;
	bool is_wrong;
};

static bool next_is(const struct reader *r, const char *any_of)
{
	if (r->is_wrong || r->at == r->end)
		return false;
	for (; *any_of; any_of++)
		if (*r->at == *any_of)
			return true;
	return false;
}

static bool take(struct reader *r, const char *any_of)
{
	if (!next_is(r, any_of))
		return false;
	r->at++;
	return true;
}

static void want(struct reader *r, const char *any_of)
{
	if (!take(r, any_of))
		r->is_wrong = true;
}

static int want_digits(struct reader *r, int n, int max)
{
	int v = 0;

	for (; n > 0; n--) {
		if (r->is_wrong || r->at == r->end || !is_digit(*r->at)) {
			r->is_wrong = true;
			return 0;
		}
		v = v * 10 + (*r->at++ - '0');
	}
	if (v > max)
		r->is_wrong = true;
	return v;
}

/* The decimals of a second, in µs. */
static int want_fraction(struct reader *r)
{
	int us = want_digits(r, 1, 9) * 100000;

	for (int unit = 10000; next_is(r, "0123456789"); unit /= 10)
		us += (*r->at++ - '0') * unit;
	return us;
}

/* The offset from UTC in minutes. */
static int want_offset(struct reader *r)
{
	bool is_west;
	int minutes;

	if (take(r, "Zz"))
		return 0;
	is_west = next_is(r, "-");
	want(r, "+-");
	minutes = want_digits(r, 2, 23) * 60;
	if (take(r, ":"))
		minutes += want_digits(r, 2, 59);
	else if (next_is(r, "0123456789"))
		minutes += want_digits(r, 2, 59);
	return is_west ? -minutes : minutes;
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && is_leap ? 29 : days[month - 1];
}

/* Days since 1970-01-01 in the Gregorian calendar. */
static int64_t days_since_1970(int year, int month, int day)
{
	int64_t days = 0;
	int y = year - 1;

	days = (int64_t)y * 365 + y / 4 - y / 100 + y / 400 - 719162;
	for (int m = 1; m < month; m++)
		days += days_in_month(year, m);
	return days + day - 1;
}

bool fg_timestamp_from_text(struct fg_span text, int64_t *ret_us)
{
	struct reader r = {.at = text.data,
			   .end = text.size > 0 ? text.data + text.size : text.data};
	int year, month, day, hour, minute, offset;
	int second = 0, fraction_us = 0;
	int64_t us;

	year = want_digits(&r, 4, 9999);
	want(&r, "-");
	month = want_digits(&r, 2, 12);
	want(&r, "-");
	day = want_digits(&r, 2, 31);
	want(&r, "Tt ");
	hour = want_digits(&r, 2, 23);
	want(&r, ":");
	minute = want_digits(&r, 2, 59);
	if (take(&r, ":")) {
		second = want_digits(&r, 2, 60);
		if (take(&r, ".,"))
			fraction_us = want_fraction(&r);
	}
	offset = want_offset(&r);
	if (r.is_wrong || r.at != r.end || month < 1 || day < 1 || year < 1 ||
	    day > days_in_month(year, month))
		return false;
	us = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 + second;
	us = us * 1000000 + fraction_us;
	if (!in_range(us))
		return false;
	*ret_us = us;
	return true;
}
