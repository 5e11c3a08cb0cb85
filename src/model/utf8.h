#pragma once

#include "util/span.h"

/**
 * True when @text is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above
 * U+10FFFF. NUL is a character like any other here; callers that must refuse it look for it.
 */
bool fg_utf8_ok(struct fg_span text);

/**
 * The size (1..4) of the well-formed character at @at, or 0 when there is none. Reads nothing at or
 * beyond @end.
 */
size_t fg_utf8_character(const char *at, const char *end);

/** Write @code (a Unicode scalar value) to @out, which holds 4 bytes; returns the bytes written. */
size_t fg_utf8_put(char *out, uint32_t code);
