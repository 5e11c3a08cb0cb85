#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/backoff.h"

#define N_SEEDS 2000

/* The lowest and highest delay of the @nth attempt in a row, over many seeds. */
static void range(enum fg_backoff_class class, unsigned nth, int64_t *ret_low, int64_t *ret_high)
{
	*ret_low = INT64_MAX;
	*ret_high = INT64_MIN;
	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		struct fg_backoff b;
		int64_t delay = 0;

		fg_backoff_init(&b, seed * 0x9e3779b97f4a7c15ull, FG_BACKOFF_MAX_MS);
		for (unsigned i = 0; i < nth; i++)
			delay = fg_backoff_next(&b, class, 1000000);
		if (delay < *ret_low)
			*ret_low = delay;
		if (delay > *ret_high)
			*ret_high = delay;
	}
}

static void a_delay_is_anything_up_to_a_bound_that_doubles_to_a_minute(void **state)
{
	static const int64_t bounds[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000};

	(void)state;
	for (unsigned i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		int64_t low, high;

		range(FG_BACKOFF_TRANSIENT, i + 1, &low, &high);
		assert_true(low >= 100);
		assert_true(high <= bounds[i]);
		/* full jitter: the whole range is used */
		assert_true(low < 100 + bounds[i] / 50);
		assert_true(high > bounds[i] - bounds[i] / 50);
	}
}

static void the_delay_never_exceeds_a_minute_however_often_it_fails(void **state)
{
	struct fg_backoff b;

	(void)state;
	fg_backoff_init(&b, 0, FG_BACKOFF_MAX_MS);
	for (int i = 0; i < 100000; i++) {
		int64_t delay = fg_backoff_next(&b, FG_BACKOFF_TRANSIENT, i);

		assert_in_range(delay, 100, 60000);
	}
}

static void a_delay_stays_below_the_one_that_was_asked_for_but_with_wrong_credentials(void **state)
{
	struct fg_backoff b;
	int64_t longest = 0;

	(void)state;
	fg_backoff_init(&b, 42, 2000);
	for (int i = 0; i < 10000; i++) {
		int64_t delay = fg_backoff_next(&b, FG_BACKOFF_TRANSIENT, i);

		assert_in_range(delay, 100, 2000);
		longest = delay > longest ? delay : longest;
	}
	assert_true(longest > 1900);
	assert_true(fg_backoff_next(&b, FG_BACKOFF_CREDENTIALS, 0) >= 60000);
}

static void wrong_credentials_are_tried_again_after_one_to_ten_minutes(void **state)
{
	(void)state;
	for (unsigned nth = 1; nth <= 12; nth++) {
		int64_t low, high;

		range(FG_BACKOFF_CREDENTIALS, nth, &low, &high);
		assert_true(low >= 60000);
		assert_true(high <= 600000);
		assert_true(high - low > 20000); /* not all gateways at once */
		if (nth >= 5)
			assert_true(high > 500000);
	}
}

static void only_a_stable_minute_makes_failures_forgotten(void **state)
{
	struct fg_backoff b;

	(void)state;
	fg_backoff_init(&b, 42, FG_BACKOFF_MAX_MS);
	for (int i = 0; i < 10; i++)
		fg_backoff_next(&b, FG_BACKOFF_TRANSIENT, 0);
	assert_int_equal(b.failures, 10);

	fg_backoff_connected(&b, 5000);
	fg_backoff_next(&b, FG_BACKOFF_TRANSIENT, 5000 + FG_BACKOFF_STABLE_MS - 1);
	assert_int_equal(b.failures, 11);

	fg_backoff_connected(&b, 100000);
	assert_in_range(fg_backoff_next(&b, FG_BACKOFF_TRANSIENT, 100000 + FG_BACKOFF_STABLE_MS),
			100, 1000);
	assert_int_equal(b.failures, 1);

	/* The time of a session that is over does not count a second time. */
	fg_backoff_next(&b, FG_BACKOFF_TRANSIENT, 100000 + 10 * FG_BACKOFF_STABLE_MS);
	assert_int_equal(b.failures, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delay_is_anything_up_to_a_bound_that_doubles_to_a_minute),
		cmocka_unit_test(the_delay_never_exceeds_a_minute_however_often_it_fails),
		cmocka_unit_test(
			a_delay_stays_below_the_one_that_was_asked_for_but_with_wrong_credentials),
		cmocka_unit_test(wrong_credentials_are_tried_again_after_one_to_ten_minutes),
		cmocka_unit_test(only_a_stable_minute_makes_failures_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
