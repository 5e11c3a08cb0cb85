#pragma once

/* Where seeds of hash tables and of jitter come from. Keys and nonces are OpenSSL's business. */
#include <stdint.h>

/**
 * A number nobody outside knows, for seeds and jitter; no secret comes of it: so early after a boot that the
 * kernel has none yet, it is the time and a count.
 */
uint64_t fg_random(void);
