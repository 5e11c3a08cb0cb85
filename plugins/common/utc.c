#include "common/utc.h"

#define US_PER_S 1000000
#define S_PER_DAY 86400

/* Rounded down, for negative numbers, too. */
static int64_t divide(int64_t number, int64_t by, int64_t *ret_rest)
{
	int64_t result = number / by;

	*ret_rest = number % by;
	if (*ret_rest < 0) {
		*ret_rest += by;
		result--;
	}
	return result;
}

static unsigned days_of(unsigned month, bool is_leap)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap ? 29 : days[month - 1];
}

static bool is_leap_year(unsigned year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days from 0001-01-01 to the first of January of @year. */
static unsigned days_before(unsigned year)
{
	unsigned full = year - 1;

	return full * 365 + full / 4 - full / 100 + full / 400;
}

bool fg_utc_of(int64_t time_us, struct fg_utc *ret)
{
	int64_t microsecond, second, days;
	unsigned year, month = 1, day;

	days = divide(divide(time_us, US_PER_S, &microsecond), S_PER_DAY, &second) +
	       days_before(1970);
	if (days < days_before(1000) || days >= days_before(10000))
		return false;
	day = (unsigned)days;
	/* 400 years have 146097 days: a guess that is at most one year off. */
	year = (unsigned)(days * 400 / 146097) + 1;
	while (days_before(year) > day)
		year--;
	while (days_before(year + 1) <= day)
		year++;
	day -= days_before(year);
	for (; day >= days_of(month, is_leap_year(year)); month++)
		day -= days_of(month, is_leap_year(year));
	*ret = (struct fg_utc){
		.year = year,
		.month = month,
		.day = day + 1,
		.hour = (unsigned)second / 3600,
		.minute = (unsigned)second / 60 % 60,
		.second = (unsigned)second % 60,
		.microsecond = (unsigned)microsecond,
	};
	return true;
}

bool fg_utc_to(const struct fg_utc *utc, int64_t *ret_us)
{
	bool is_leap_second = utc->hour == 23 && utc->minute == 59 && utc->second == 60;
	bool is_leap = is_leap_year(utc->year);
	unsigned days = utc->day - 1;

	if (utc->year < 1000 || utc->year > 9999 || utc->month < 1 || utc->month > 12 ||
	    utc->day < 1 || utc->day > days_of(utc->month, is_leap) || utc->hour > 23 ||
	    utc->minute > 59 || (utc->second > 59 && !is_leap_second) ||
	    utc->microsecond >= US_PER_S)
		return false;
	for (unsigned month = 1; month < utc->month; month++)
		days += days_of(month, is_leap);
	*ret_us = ((((int64_t)days_before(utc->year) + days - days_before(1970)) * 24 + utc->hour) *
			   3600 +
		   utc->minute * 60 + utc->second) *
			  US_PER_S +
		  utc->microsecond;
	return true;
}
