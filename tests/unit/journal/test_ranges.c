#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <string.h>

#include "journal/ranges.h"

static void expect(const struct fg_ranges *r, const uint64_t *pairs, size_t n)
{
	assert_int_equal(r->n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(r->items[i].first, pairs[2 * i]);
		assert_int_equal(r->items[i].last, pairs[2 * i + 1]);
	}
}

#define EXPECT(r, ...)                                                                             \
	expect(r, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / 16)

static void ranges_that_touch_become_one(void **state)
{
	struct fg_ranges r;

	(void)state;
	fg_ranges_init(&r, 8);
	assert_true(fg_ranges_add(&r, 10, 12));
	assert_true(fg_ranges_add(&r, 20, 20));
	EXPECT(&r, 10, 12, 20, 20);
	assert_true(fg_ranges_add(&r, 13, 14));
	EXPECT(&r, 10, 14, 20, 20);
	assert_true(fg_ranges_add(&r, 9, 9));
	EXPECT(&r, 9, 14, 20, 20);
	assert_true(fg_ranges_add(&r, 16, 18));
	EXPECT(&r, 9, 14, 16, 18, 20, 20);
	assert_true(fg_ranges_add(&r, 11, 19));
	EXPECT(&r, 9, 20);
	assert_true(fg_ranges_add(&r, 12, 13));
	EXPECT(&r, 9, 20);
	assert_true(fg_ranges_add(&r, 1, 30));
	EXPECT(&r, 1, 30);
	fg_ranges_free(&r);
}

static void ends_of_the_numbers_are_no_trap(void **state)
{
	struct fg_ranges r;

	(void)state;
	fg_ranges_init(&r, 8);
	assert_true(fg_ranges_add(&r, 0, 0));
	assert_true(fg_ranges_add(&r, UINT64_MAX, UINT64_MAX));
	assert_true(fg_ranges_add(&r, 1, 1));
	assert_true(fg_ranges_add(&r, UINT64_MAX - 1, UINT64_MAX));
	EXPECT(&r, 0, 1, UINT64_MAX - 1, UINT64_MAX);
	assert_true(fg_ranges_add(&r, 5, UINT64_MAX));
	EXPECT(&r, 0, 1, 5, UINT64_MAX);
	assert_non_null(fg_ranges_find(&r, UINT64_MAX));
	fg_ranges_cut(&r, UINT64_MAX);
	assert_int_equal(r.n, 0);
	fg_ranges_free(&r);
}

static void numbers_are_found_in_their_range(void **state)
{
	struct fg_ranges r;

	(void)state;
	fg_ranges_init(&r, 8);
	assert_null(fg_ranges_find(&r, 5));
	assert_int_equal(fg_ranges_from(&r, 5), 0);
	fg_ranges_add(&r, 10, 12);
	fg_ranges_add(&r, 20, 29);
	assert_null(fg_ranges_find(&r, 9));
	assert_ptr_equal(fg_ranges_find(&r, 10), &r.items[0]);
	assert_ptr_equal(fg_ranges_find(&r, 12), &r.items[0]);
	assert_null(fg_ranges_find(&r, 13));
	assert_ptr_equal(fg_ranges_find(&r, 29), &r.items[1]);
	assert_null(fg_ranges_find(&r, 30));
	assert_int_equal(fg_ranges_from(&r, 12), 0);
	assert_int_equal(fg_ranges_from(&r, 13), 1);
	assert_int_equal(fg_ranges_from(&r, 30), 2);
	fg_ranges_free(&r);
}

static void cut_takes_the_lower_numbers_out(void **state)
{
	struct fg_ranges r;

	(void)state;
	fg_ranges_init(&r, 8);
	fg_ranges_add(&r, 10, 12);
	fg_ranges_add(&r, 20, 29);
	fg_ranges_add(&r, 40, 40);
	fg_ranges_cut(&r, 9);
	EXPECT(&r, 10, 12, 20, 29, 40, 40);
	fg_ranges_cut(&r, 12);
	EXPECT(&r, 20, 29, 40, 40);
	fg_ranges_cut(&r, 24);
	EXPECT(&r, 25, 29, 40, 40);
	fg_ranges_cut(&r, 39);
	EXPECT(&r, 40, 40);
	fg_ranges_cut(&r, 40);
	assert_int_equal(r.n, 0);
	fg_ranges_free(&r);
}

static void full_set_forgets_the_smallest(void **state)
{
	struct fg_ranges r;

	(void)state;
	fg_ranges_init(&r, 3);
	assert_true(fg_ranges_add(&r, 10, 19));
	assert_true(fg_ranges_add(&r, 30, 32));
	assert_true(fg_ranges_add(&r, 50, 59));
	/* No larger than any there is: not taken. */
	assert_false(fg_ranges_add(&r, 40, 42));
	EXPECT(&r, 10, 19, 30, 32, 50, 59);
	assert_false(fg_ranges_add(&r, 40, 44));
	EXPECT(&r, 10, 19, 40, 44, 50, 59);
	assert_false(fg_ranges_add(&r, 1, 8));
	EXPECT(&r, 1, 8, 10, 19, 50, 59);
	/* What merges needs no room. */
	assert_true(fg_ranges_add(&r, 9, 9));
	EXPECT(&r, 1, 19, 50, 59);
	fg_ranges_free(&r);

	fg_ranges_init(&r, 0);
	assert_false(fg_ranges_add(&r, 1, 100));
	assert_int_equal(r.n, 0);
	fg_ranges_free(&r);
}

/* Against one flag for each number; small enough a set that it forgets, too. */
static void set_never_holds_what_was_not_added(void **state)
{
	static bool model[512];
	uint64_t random = 1;

	(void)state;
	for (int round = 0; round < 60; round++) {
		struct fg_ranges r;
		bool is_all = true;

		fg_ranges_init(&r, round % 2 ? 5 : 600);
		memset(model, 0, sizeof(model));
		for (int step = 0; step < 200; step++) {
			uint64_t first, last;

			random = random * 6364136223846793005u + 1442695040888963407u;
			first = random >> 33 & 511;
			last = first + (random >> 50 & 15);
			last = last > 511 ? 511 : last;
			if ((random >> 60) == 0) {
				fg_ranges_cut(&r, first / 4);
				for (uint64_t i = 0; i <= first / 4; i++)
					model[i] = false;
			} else {
				is_all = fg_ranges_add(&r, first, last) && is_all;
				for (uint64_t i = first; i <= last; i++)
					model[i] = true;
			}
			for (uint64_t i = 0; i < 512; i++) {
				bool has = fg_ranges_find(&r, i) != NULL;

				assert_true(model[i] || !has);
				assert_true(has == model[i] || !is_all);
			}
			for (size_t i = 1; i < r.n; i++)
				assert_true(r.items[i].first > r.items[i - 1].last + 1);
			assert_true(r.n <= r.max);
		}
		assert_true(is_all || round % 2);
		fg_ranges_free(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_that_touch_become_one),
		cmocka_unit_test(ends_of_the_numbers_are_no_trap),
		cmocka_unit_test(numbers_are_found_in_their_range),
		cmocka_unit_test(cut_takes_the_lower_numbers_out),
		cmocka_unit_test(full_set_forgets_the_smallest),
		cmocka_unit_test(set_never_holds_what_was_not_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
