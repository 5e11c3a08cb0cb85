#pragma once

/*
 * What every fuzzer has: the function that takes an input, and a claim that must hold for all of them.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(claim)                                                                             \
	do {                                                                                       \
		if (!(claim))                                                                      \
			abort();                                                                   \
	} while (0)
