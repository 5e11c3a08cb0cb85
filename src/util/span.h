#pragma once

/*
 * Borrowed bytes. struct fg_span itself is part of the plugin ABI; these are the helpers.
 */
#include <string.h>

#include "fieldgate/plugin.h"

static inline struct fg_span fg_span_of(const void *data, size_t size)
{
	return (struct fg_span){.data = data, .size = size};
}

/** The bytes of a NUL-terminated string, without its NUL; NULL gives the empty span. */
static inline struct fg_span fg_span_str(const char *text)
{
	return (struct fg_span){.data = text, .size = text ? strlen(text) : 0};
}

static inline bool fg_span_equal(struct fg_span a, struct fg_span b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool fg_span_is(struct fg_span a, const char *text)
{
	return fg_span_equal(a, fg_span_str(text));
}

/* printf("%.*s", FG_SPAN_ARGS(span)) */
#define FG_SPAN_ARGS(span) (int)(span).size, (span).data
