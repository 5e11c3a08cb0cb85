#include "net/content_range.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <strings.h>

/* Digits only: strtoll() would take signs and blanks. Returns what follows, or NULL. */
static const char *take_number(const char *at, int64_t *ret)
{
	int64_t n = 0;

	if (!isdigit((unsigned char)*at))
		return NULL;
	for (; isdigit((unsigned char)*at); at++) {
		if (n > (INT64_MAX - 9) / 10)
			return NULL;
		n = n * 10 + (*at - '0');
	}
	*ret = n;
	return at;
}

static const char *take_range(const char *at, struct fg_content_range *range)
{
	if (*at == '*')
		return at + 1;
	at = take_number(at, &range->first);
	if (!at || *at != '-')
		return NULL;
	return take_number(at + 1, &range->last);
}

int fg_content_range_parse(const char *text, struct fg_content_range *ret)
{
	struct fg_content_range range = FG_CONTENT_RANGE_NONE;
	const char *at = text;
	bool is_told;

	if (strncasecmp(at, "bytes", 5) != 0 || at[5] != ' ')
		return -EPROTO;
	for (at += 5; *at == ' '; at++)
		;
	at = take_range(at, &range);
	if (!at || *at++ != '/')
		return -EPROTO;
	is_told = *at != '*';
	at = is_told ? take_number(at, &range.total) : at + 1;
	if (!at || *at != '\0')
		return -EPROTO;
	/* "bytes * / *" tells nothing at all. */
	if (range.first < 0 && !is_told)
		return -EPROTO;
	if (range.first > range.last || (is_told && range.last >= range.total))
		return -EPROTO;
	*ret = range;
	return 0;
}
