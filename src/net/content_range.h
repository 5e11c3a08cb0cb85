#pragma once

#include <stdint.h>

/** What a Content-Range header says (RFC 9110, 14.4). -1: not told. */
struct fg_content_range {
	int64_t first, last; /* bytes, both included; -1 with status 416 ("bytes * / 1234") */
	int64_t total;       /* bytes of the whole */
};

/** Nothing is known. */
#define FG_CONTENT_RANGE_NONE ((struct fg_content_range){.first = -1, .last = -1, .total = -1})

/** Take the header's value apart. Returns 0, or -EPROTO when it is not of that form or makes no
 * sense. */
int fg_content_range_parse(const char *text, struct fg_content_range *ret);
