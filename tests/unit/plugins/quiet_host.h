#pragma once

/*
 * A host that does nothing, for tests of plugins to build theirs on: `host = quiet_host`, then what matters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "fieldgate/plugin.h"

/** warn, subscribe, limit, wake, refuse and wants_time. */
extern const struct fg_host quiet_host;

extern unsigned n_warnings;
extern const char *quiet_secret; /* what no warning may have in it; NULL: there is none */
extern char last_reason[256];    /* of refuse() */
