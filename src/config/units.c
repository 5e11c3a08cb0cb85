#include "config/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	int64_t worth;
};

/* Each table from the largest to the smallest, which is worth 1. */
static const struct unit duration_units[] = {
	{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}, {0},
};
static const struct unit size_units[] = {
	{"TiB", INT64_C(1) << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20},
	{"KiB", 1 << 10},          {"B", 1},         {0},
};

static int parse(const char *text, const struct unit *units, int64_t *ret)
{
	int64_t number = 0;
	const char *c = text;

	for (; *c >= '0' && *c <= '9'; c++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, *c - '0', &number))
			return -ERANGE;
	}
	if (c == text)
		return -EINVAL;
	for (; units->name; units++) {
		if (strcmp(units->name, c) != 0)
			continue;
		if (__builtin_mul_overflow(number, units->worth, &number))
			return -ERANGE;
		*ret = number;
		return 0;
	}
	return -EINVAL;
}

static const char *print(int64_t number, const struct unit *units, const struct unit *of_zero,
			 char *out)
{
	while (number % units->worth != 0)
		units++;
	if (number == 0)
		units = of_zero;
	snprintf(out, FG_UNITS_TEXT_BYTES, "%lld%s", (long long)(number / units->worth),
		 units->name);
	return out;
}

int fg_duration_parse(const char *text, int64_t *ret_ms)
{
	return parse(text, duration_units, ret_ms);
}

int fg_size_parse(const char *text, int64_t *ret_bytes)
{
	return parse(text, size_units, ret_bytes);
}

const char *fg_duration_text(int64_t ms, char *out)
{
	return print(ms, duration_units, &duration_units[3], out);
}

const char *fg_size_text(int64_t bytes, char *out)
{
	return print(bytes, size_units, &size_units[4], out);
}
