#pragma once

/*
 * The key by which cursors remember sessions that were left behind (journal.h). It stands in the
 * cursor tables on disk, so it is part of the format and never changes: SipHash-2-4 (Aumasson and
 * Bernstein, 2012) of the session's name, its bytes alone, under the 16 bytes "fieldgatesession" as
 * key; 1 instead of 0. A hash nobody can aim with, since names come from field devices.
 */
#include <stddef.h>
#include <stdint.h>

/** Never FG_KEY_ORDERED. */
uint64_t fg_session_key(const char *name, size_t size);
