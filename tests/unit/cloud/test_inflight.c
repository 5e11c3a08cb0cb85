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

static void add(struct fg_inflight *w, int packet_id, unsigned n)
{
	struct fg_inflight_entry entry = {
		.packet_id = packet_id, .n_records = n, .bytes = (size_t)packet_id * 10};

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

static void acks_come_in_any_order_and_the_others_keep_theirs(void **state)
{
	FG_CLEANUP(inflight_freep) struct fg_inflight *w = NULL;
	struct fg_inflight_entry entry;

	(void)state;
	assert_int_equal(fg_inflight_new(5, &w), 0);
	for (int round = 0; round < 7; round++) {
		for (int id = 1; id <= 5; id++)
			add(w, id, 1);
		assert_int_equal(fg_inflight_bytes(w), 150);
		assert_int_equal(fg_inflight_ack(w, 3, &entry), 0);
		assert_int_equal(entry.packet_id, 3);
		assert_int_equal(fg_inflight_ack(w, 3, &entry), -ENOENT);
		assert_int_equal(fg_inflight_oldest(w)->packet_id, 1);
		assert_int_equal(fg_inflight_ack(w, 1, &entry), 0);
		assert_int_equal(fg_inflight_oldest(w)->packet_id, 2);
		assert_int_equal(fg_inflight_ack(w, 5, &entry), 0);
		assert_int_equal(fg_inflight_bytes(w), 60);
		assert_int_equal(fg_inflight_ack(w, 2, &entry), 0);
		assert_int_equal(fg_inflight_oldest(w)->packet_id, 4);
		assert_int_equal(fg_inflight_ack(w, 4, &entry), 0);
		assert_null(fg_inflight_oldest(w));
		assert_int_equal(fg_inflight_bytes(w), 0);
		/* Begin elsewhere in the ring next time. */
		add(w, 9, 0);
		assert_int_equal(fg_inflight_ack(w, 9, &entry), 0);
	}
}

static void a_full_window_takes_nothing_until_an_ack_makes_room(void **state)
{
	FG_CLEANUP(inflight_freep) struct fg_inflight *w = NULL;
	struct fg_inflight_entry entry = {.packet_id = 4, .n_records = 1};
	struct fg_inflight_entry acked;

	(void)state;
	assert_int_equal(fg_inflight_new(3, &w), 0);
	add(w, 1, 1);
	add(w, 2, 1);
	add(w, 3, 1);
	assert_int_equal(fg_inflight_add(w, &entry), -EAGAIN);
	assert_int_equal(fg_inflight_count(w), 3);
	assert_int_equal(fg_inflight_ack(w, 4, &acked), -ENOENT);
	assert_int_equal(fg_inflight_ack(w, 1, &acked), 0);
	assert_int_equal(fg_inflight_add(w, &entry), 0);
	assert_int_equal(fg_inflight_add(w, &entry), -EAGAIN);
}

static void the_oldest_with_records_is_not_the_plugins_own(void **state)
{
	FG_CLEANUP(inflight_freep) struct fg_inflight *w = NULL;
	struct fg_inflight_entry entry;

	(void)state;
	assert_int_equal(fg_inflight_new(3, &w), 0);
	assert_null(fg_inflight_oldest_data(w));
	add(w, 1, 0);
	assert_null(fg_inflight_oldest_data(w));
	add(w, 2, 1);
	assert_int_equal(fg_inflight_oldest(w)->packet_id, 1);
	assert_int_equal(fg_inflight_oldest_data(w)->packet_id, 2);
	assert_int_equal(fg_inflight_ack(w, 2, &entry), 0);
	assert_null(fg_inflight_oldest_data(w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_has_one_to_65535_places),
		cmocka_unit_test(acks_come_in_any_order_and_the_others_keep_theirs),
		cmocka_unit_test(a_full_window_takes_nothing_until_an_ack_makes_room),
		cmocka_unit_test(the_oldest_with_records_is_not_the_plugins_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
