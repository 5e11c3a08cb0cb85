#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cloud/inflight.h"
#include "util/cleanup.h"

static void inflight_freep(struct fg_inflight **w)
{
	fg_inflight_free(*w);
}

static void add(struct fg_inflight *w, int packet_id, uint64_t first, uint64_t last, size_t n)
{
	struct fg_inflight_entry entry = {
		.packet_id = packet_id,
		.first_seq = first,
		.last_seq = last,
		.n_records = n,
		.bytes = 10 * n,
	};

	assert_int_equal(fg_inflight_add(w, &entry), 0);
}

static void a_window_has_one_to_65535_places(void **state)
{
	struct fg_inflight *w = NULL;

	(void)state;
	assert_int_equal(fg_inflight_new(0, &w), -EINVAL);
	assert_int_equal(fg_inflight_new(65536, &w), -EINVAL);
	assert_null(w);
	assert_int_equal(fg_inflight_new(65535, &w), 0);
	assert_null(fg_inflight_free(w));
	assert_null(fg_inflight_free(NULL));
}

static void the_lowest_record_on_its_way_is_found_whatever_order_acks_come_in(void **state)
{
	FG_CLEANUP(inflight_freep) struct fg_inflight *w = NULL;
	struct fg_inflight_entry entry;

	(void)state;
	assert_int_equal(fg_inflight_new(4, &w), 0);
	assert_int_equal(fg_inflight_lowest(w), 0);
	add(w, 1, 100, 100, 1);
	add(w, 2, 101, 101, 1);
	add(w, 3, 102, 102, 1);
	assert_int_equal(fg_inflight_lowest(w), 100);
	assert_int_equal(fg_inflight_ack(w, 2, &entry), 0);
	assert_int_equal(entry.first_seq, 101);
	assert_int_equal(fg_inflight_lowest(w), 100);
	assert_int_equal(fg_inflight_ack(w, 1, &entry), 0);
	assert_int_equal(fg_inflight_lowest(w), 102);
	assert_int_equal(fg_inflight_ack(w, 3, &entry), 0);
	assert_int_equal(fg_inflight_lowest(w), 0);
	assert_int_equal(fg_inflight_count(w), 0);
	assert_int_equal(fg_inflight_bytes(w), 0);
}

static void publishes_with_records_that_are_no_neighbours_hold_each_its_own(void **state)
{
	FG_CLEANUP(inflight_freep) struct fg_inflight *w = NULL;
	struct fg_inflight_entry entry;

	(void)state;
	assert_int_equal(fg_inflight_new(4, &w), 0);
	add(w, 7, 5, 20, 3); /* 5, 12, 20 */
	add(w, 8, 6, 19, 3); /* 6, 7, 19 */
	add(w, 9, 4, 30, 2); /* made last, begins first */
	assert_int_equal(fg_inflight_lowest(w), 4);
	assert_int_equal(fg_inflight_ack(w, 9, &entry), 0);
	assert_int_equal(fg_inflight_lowest(w), 5);
	assert_int_equal(fg_inflight_ack(w, 7, &entry), 0);
	assert_int_equal(fg_inflight_lowest(w), 6);
	assert_int_equal(fg_inflight_bytes(w), 30);
}

static void a_full_window_takes_nothing_until_an_ack_makes_room(void **state)
{
	FG_CLEANUP(inflight_freep) struct fg_inflight *w = NULL;
	struct fg_inflight_entry entry = {
		.packet_id = 3, .first_seq = 3, .last_seq = 3, .n_records = 1};
	struct fg_inflight_entry acked;

	(void)state;
	assert_int_equal(fg_inflight_new(2, &w), 0);
	add(w, 1, 1, 1, 1);
	add(w, 2, 2, 2, 1);
	assert_int_equal(fg_inflight_add(w, &entry), -EAGAIN);
	assert_int_equal(fg_inflight_count(w), 2);
	assert_int_equal(fg_inflight_ack(w, 3, &acked), -ENOENT);
	assert_int_equal(fg_inflight_ack(w, 1, &acked), 0);
	assert_int_equal(fg_inflight_add(w, &entry), 0);
	assert_int_equal(fg_inflight_lowest(w), 2);
	fg_inflight_clear(w);
	assert_int_equal(fg_inflight_count(w), 0);
	assert_int_equal(fg_inflight_bytes(w), 0);
	assert_int_equal(fg_inflight_lowest(w), 0);
	assert_null(fg_inflight_oldest(w));
}

static void the_oldest_with_records_is_not_the_plugins_own(void **state)
{
	FG_CLEANUP(inflight_freep) struct fg_inflight *w = NULL;
	struct fg_inflight_entry entry;

	(void)state;
	assert_int_equal(fg_inflight_new(3, &w), 0);
	assert_null(fg_inflight_oldest_data(w));
	add(w, 1, 0, 0, 0);
	assert_null(fg_inflight_oldest_data(w));
	assert_int_equal(fg_inflight_lowest(w), 0);
	add(w, 2, 9, 9, 1);
	assert_int_equal(fg_inflight_oldest(w)->packet_id, 1);
	assert_int_equal(fg_inflight_oldest_data(w)->packet_id, 2);
	assert_int_equal(fg_inflight_ack(w, 2, &entry), 0);
	assert_null(fg_inflight_oldest_data(w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_has_one_to_65535_places),
		cmocka_unit_test(the_lowest_record_on_its_way_is_found_whatever_order_acks_come_in),
		cmocka_unit_test(publishes_with_records_that_are_no_neighbours_hold_each_its_own),
		cmocka_unit_test(a_full_window_takes_nothing_until_an_ack_makes_room),
		cmocka_unit_test(the_oldest_with_records_is_not_the_plugins_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
