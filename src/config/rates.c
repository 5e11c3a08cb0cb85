#include "config/rates.h"

#include <errno.h>
#include <string.h>

/* Returns what follows the number, or NULL when there is none; what is too large becomes UINT32_MAX,
 * which is beyond all bounds. */
static const char *parse_number(const char *text, uint32_t *ret)
{
	const char *c = text;
	uint64_t number = 0;

	for (; *c >= '0' && *c <= '9'; c++) {
		number = number * 10 + (uint64_t)(*c - '0');
		if (number > UINT32_MAX)
			number = UINT32_MAX;
	}
	*ret = (uint32_t)number;
	return c > text ? c : NULL;
}

/* Returns what follows the unit, or NULL when it is none. */
static const char *parse_unit(const char *text, uint32_t *ret_seconds)
{
	static const struct {
		const char *name;
		uint32_t seconds;
	} units[] = {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
	size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyz");

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strlen(units[i].name) == size && strncmp(text, units[i].name, size) == 0) {
			*ret_seconds = units[i].seconds;
			return text + size;
		}
	return NULL;
}

static int parse_rate(const char **text, struct fg_rate *ret)
{
	uint32_t capacity, seconds;
	const char *at = parse_number(*text, &capacity);

	if (at && *at == '/')
		at = parse_unit(at + 1, &seconds);
	else if (at && *at == ':')
		at = parse_number(at + 1, &seconds);
	else
		at = NULL;
	if (!at)
		return -EINVAL;
	if (capacity == 0 || capacity > FG_RATE_CAPACITY_MAX || seconds == 0 ||
	    seconds > FG_RATE_SECONDS_MAX)
		return -ERANGE;
	*ret = (struct fg_rate){.capacity = capacity, .period_ms = seconds * 1000};
	*text = at;
	return 0;
}

int fg_rates_parse(const char *text, struct fg_rate *rates, size_t *n)
{
	for (;;) {
		struct fg_rate rate;
		int r = parse_rate(&text, &rate);

		if (r < 0)
			return r;
		if (*n == FG_RATES_MAX)
			return -E2BIG;
		rates[(*n)++] = rate;
		if (!*text)
			return 0;
		if (*text++ != ',')
			return -EINVAL;
		text += strspn(text, " ");
	}
}
