#include "cloud/session_key.h"

#include "journal/journal.h"
#include "util/hash.h"

uint64_t fg_session_key(const char *device, size_t size)
{
	static const uint8_t key[17] = "fieldgatesession";
	uint64_t hash = fg_siphash_24(key, device, size) & ~FG_KEY_RECORD;

	return hash ? hash : 1;
}
