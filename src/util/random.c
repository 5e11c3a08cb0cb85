#include "util/random.h"

#include <sys/random.h>

#include "util/clock.h"

uint64_t fg_random(void)
{
	static uint64_t n;
	uint64_t random;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		random = (uint64_t)fg_clock_utc_us() + n++;
	return random;
}
