#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "journal/left_behind.h"

static void keys_are_put_moved_and_removed(void **state)
{
	struct fg_left_behinds l;

	(void)state;
	fg_left_behinds_init(&l);
	assert_int_equal(l.lowest, UINT64_MAX);
	assert_int_equal(fg_left_behinds_get(&l, 7), 0);
	assert_int_equal(fg_left_behinds_put(&l, 7, 100), 0);
	assert_int_equal(fg_left_behinds_put(&l, 0, 50), 0);
	assert_int_equal(fg_left_behinds_put(&l, UINT64_MAX, 70), 0);
	assert_int_equal(l.n, 3);
	assert_int_equal(l.lowest, 50);
	assert_int_equal(fg_left_behinds_get(&l, 0), 50);
	/* Moved in either direction. */
	assert_int_equal(fg_left_behinds_put(&l, 0, 90), 0);
	assert_int_equal(l.lowest, 70);
	assert_int_equal(fg_left_behinds_put(&l, 7, 20), 0);
	assert_int_equal(l.lowest, 20);
	assert_int_equal(l.n, 3);
	assert_true(fg_left_behinds_remove(&l, 7));
	assert_false(fg_left_behinds_remove(&l, 7));
	assert_int_equal(l.lowest, 70);
	assert_true(fg_left_behinds_remove(&l, UINT64_MAX));
	assert_true(fg_left_behinds_remove(&l, 0));
	assert_int_equal(l.lowest, UINT64_MAX);
	assert_int_equal(l.n, 0);
	fg_left_behinds_free(&l);
}

static void many_keys_stay_sorted_and_found(void **state)
{
	struct fg_left_behinds l;

	(void)state;
	fg_left_behinds_init(&l);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(fg_left_behinds_put(&l, i * 0x9e3779b97f4a7c15u, i), 0);
	assert_int_equal(l.n, 1000);
	for (size_t i = 1; i < l.n; i++)
		assert_true(l.items[i].key > l.items[i - 1].key);
	for (uint64_t i = 1; i <= 1000; i++) {
		assert_int_equal(l.lowest, i);
		assert_int_equal(fg_left_behinds_get(&l, i * 0x9e3779b97f4a7c15u), i);
		assert_true(fg_left_behinds_remove(&l, i * 0x9e3779b97f4a7c15u));
	}
	fg_left_behinds_free(&l);
}

static void cut_moves_those_below_and_no_others(void **state)
{
	struct fg_left_behinds l;

	(void)state;
	fg_left_behinds_init(&l);
	fg_left_behinds_cut(&l, 10);
	assert_int_equal(l.lowest, UINT64_MAX);
	fg_left_behinds_put(&l, 1, 10);
	fg_left_behinds_put(&l, 2, 11);
	fg_left_behinds_put(&l, 3, 20);
	fg_left_behinds_cut(&l, 9);
	assert_int_equal(l.lowest, 10);
	fg_left_behinds_cut(&l, 12);
	assert_int_equal(fg_left_behinds_get(&l, 1), 13);
	assert_int_equal(fg_left_behinds_get(&l, 2), 13);
	assert_int_equal(fg_left_behinds_get(&l, 3), 20);
	assert_int_equal(l.lowest, 13);
	fg_left_behinds_free(&l);
}

static void a_record_that_was_left_alone_is_gone_when_it_is_cut(void **state)
{
	struct fg_left_behinds l;

	(void)state;
	fg_left_behinds_init(&l);
	fg_left_behinds_put(&l, 1, 10);
	fg_left_behinds_put(&l, FG_LEFT_BEHIND_RECORD | 5, 5);
	fg_left_behinds_put(&l, FG_LEFT_BEHIND_RECORD | 20, 20);
	fg_left_behinds_cut(&l, 12);
	assert_int_equal(l.n, 2);
	assert_int_equal(fg_left_behinds_get(&l, 1), 13);
	assert_int_equal(fg_left_behinds_get(&l, FG_LEFT_BEHIND_RECORD | 5), 0);
	assert_int_equal(fg_left_behinds_get(&l, FG_LEFT_BEHIND_RECORD | 20), 20);
	assert_int_equal(l.lowest, 13);
	fg_left_behinds_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_put_moved_and_removed),
		cmocka_unit_test(many_keys_stay_sorted_and_found),
		cmocka_unit_test(cut_moves_those_below_and_no_others),
		cmocka_unit_test(a_record_that_was_left_alone_is_gone_when_it_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
