#include "util/backoff.h"

#include <stdbool.h>

#define TRANSIENT_FIRST_MS 1000
#define CREDENTIALS_FIRST_MS 60000
#define CREDENTIALS_MAX_MS 600000
#define SHORTEST_MS 100

/* xorshift64*: jitter needs to differ between gateways, not to be secret. */
static uint64_t next_random(struct fg_backoff *b)
{
	b->random ^= b->random >> 12;
	b->random ^= b->random << 25;
	b->random ^= b->random >> 27;
	return b->random * 0x2545f4914f6cdd1dull;
}

void fg_backoff_init(struct fg_backoff *b, uint64_t seed, int64_t max_ms)
{
	*b = (struct fg_backoff){.random = seed ? seed : 1, .max_ms = max_ms};
}

void fg_backoff_connected(struct fg_backoff *b, int64_t now_ms)
{
	b->connected_at_ms = now_ms;
}

int64_t fg_backoff_next(struct fg_backoff *b, enum fg_backoff_class class, int64_t now_ms)
{
	bool is_credentials = class == FG_BACKOFF_CREDENTIALS;
	int64_t lowest = is_credentials ? CREDENTIALS_FIRST_MS : SHORTEST_MS;
	int64_t highest = is_credentials ? CREDENTIALS_FIRST_MS : TRANSIENT_FIRST_MS;
	int64_t limit = is_credentials ? CREDENTIALS_MAX_MS : b->max_ms;

	if (b->connected_at_ms && now_ms - b->connected_at_ms >= FG_BACKOFF_STABLE_MS)
		b->failures = 0;
	b->connected_at_ms = 0;
	for (unsigned i = 0; i < b->failures && highest < limit; i++)
		highest *= 2;
	if (is_credentials)
		highest += CREDENTIALS_FIRST_MS / 2; /* some jitter from the first on */
	if (highest > limit)
		highest = limit;
	if (b->failures < 1000)
		b->failures++;
	return lowest + (int64_t)(next_random(b) % (uint64_t)(highest - lowest + 1));
}
