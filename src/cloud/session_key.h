#pragma once

/*
 * The key by which cursors remember devices whose sessions were left behind (journal.h). It is made of
 * what the field calls the device, as it stands in its records: what the cloud calls it, and with it the
 * session, may change while records wait. It stands in the cursor tables on disk, so it is part of the
 * format and never changes: SipHash-2-4 (Aumasson and Bernstein, 2012) of that name, its bytes alone,
 * under the 16 bytes "fieldgatesession" as key, without its highest bit (FG_KEY_RECORD); 1 instead of 0. A hash nobody can aim with, since names
 * come from field devices.
 */
#include <stddef.h>
#include <stdint.h>

/** Never FG_KEY_ORDERED. */
uint64_t fg_session_key(const char *device, size_t size);
