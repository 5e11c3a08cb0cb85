#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "util/hash.h"

/* Of SipHash's authors: key 00 01 … 0f, message 00 01 … */
static void the_vectors_of_the_authors_come_out(void **state)
{
	static const struct {
		size_t size;
		uint64_t hash;
	} vectors[] = {
		{0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
		{8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5},
	};
	uint8_t bytes[16];

	(void)state;
	for (uint8_t i = 0; i < 16; i++)
		bytes[i] = i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_int_equal(fg_siphash_24(bytes, bytes, vectors[i].size), vectors[i].hash);
	assert_int_equal(fg_siphash_13(bytes, bytes, 0), 0xabac0158050fc4dc);
}

static void a_hash_depends_on_seed_and_on_what_came_before(void **state)
{
	struct fg_span a = fg_span_str("a"), b = fg_span_str("b"), ab = fg_span_str("ab");
	struct fg_span none = {0};

	(void)state;
	assert_int_equal(fg_hash(1, ab), fg_hash(1, fg_span_str("ab")));
	assert_int_not_equal(fg_hash(1, ab), fg_hash(2, ab));
	assert_int_not_equal(fg_hash(fg_hash(1, a), b), fg_hash(fg_hash(1, ab), none));
	assert_int_not_equal(fg_hash(fg_hash(1, ab), none), fg_hash(fg_hash(1, none), ab));
}

static void names_that_differ_in_any_place_spread_over_the_buckets(void **state)
{
	static const char *const around[][2] = {
		{"", ""}, {"pump-", ""}, {"", "-pump-hall-4"}, {"hall-", "/floor"}};
	unsigned n_in[256], longest = 0;
	char name[32];

	(void)state;
	for (size_t f = 0; f < sizeof(around) / sizeof(around[0]); f++) {
		memset(n_in, 0, sizeof(n_in));
		for (unsigned i = 0; i < 256; i++) {
			snprintf(name, sizeof(name), "%s%03u%s", around[f][0], i, around[f][1]);
			n_in[fg_hash(7, fg_span_str(name)) % 256]++;
		}
		for (unsigned i = 0; i < 256; i++)
			longest = n_in[i] > longest ? n_in[i] : longest;
	}
	assert_in_range(longest, 2, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_the_authors_come_out),
		cmocka_unit_test(a_hash_depends_on_seed_and_on_what_came_before),
		cmocka_unit_test(names_that_differ_in_any_place_spread_over_the_buckets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
