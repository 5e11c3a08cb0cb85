#pragma once

#include "util/span.h"

/**
 * True when @text is well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above
 * U+10FFFF. NUL is a character like any other here; callers that must refuse it look for it.
 */
bool fg_utf8_ok(struct fg_span text);
