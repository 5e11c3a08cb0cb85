/* The set of a lane's cursors by itself: tables go from hand to hand, and no disk is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/cursor.h"
#include "util/bytes.h"

#define ROOM 65536
#define NEWEST 1000

struct bench {
	struct fg_cursors set;
	struct fg_segments lane;
	struct fg_cursor *c;
	uint8_t table[ROOM];
	size_t size;
	struct fg_cursor_save save;
};

/* A cursor that has settled nothing of a thousand records. */
static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->lane.end_seq = NEWEST + 1;
	b->set.lane = &b->lane;
	b->set.max_left_behind = 100;
	assert_int_equal(fg_cursors_open(&b->set, "a", 10, 0, &b->c), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	fg_cursors_free(&b->set);
	free(b);
	return 0;
}

static void begin_save(struct bench *b)
{
	b->size = fg_cursors_encode(&b->set, NEWEST, ROOM, b->table, &b->save);
	fg_cursors_saving(&b->set, &b->save);
}

static void save(struct bench *b)
{
	begin_save(b);
	fg_cursors_saved(&b->set, &b->save);
}

/* As another daemon finds what was saved last. */
static void reload(struct bench *b)
{
	fg_cursors_free(&b->set);
	b->set.n_tables = 0;
	b->set.must_save = false;
	assert_int_equal(fg_cursors_load(&b->set, b->table, b->size, NEWEST), 0);
	assert_int_equal(fg_cursors_open(&b->set, "a", 10, NEWEST, &b->c), 0);
}

/* ---- saving */

static void what_is_settled_while_a_save_runs_counts_on(void **state)
{
	struct bench *b = *state;

	fg_cursor_settle(b->c, 1, 4);
	assert_true(fg_cursors_are_dirty(&b->set));
	begin_save(b);
	assert_false(fg_cursors_are_dirty(&b->set));
	fg_cursor_settle(b->c, 5, 7);
	assert_true(fg_cursors_are_dirty(&b->set));
	assert_false(fg_cursor_may_send(b->c, 3));
	assert_int_equal(fg_cursor_saved(b->c), 0);
	fg_cursors_saved(&b->set, &b->save);
	assert_int_equal(fg_cursor_saved(b->c), 4);
	assert_true(fg_cursor_may_send(b->c, 6));
	assert_false(fg_cursor_may_send(b->c, 7));
	save(b);
	assert_true(fg_cursor_may_send(b->c, 9));
	assert_false(fg_cursors_are_dirty(&b->set));
}

static void half_of_what_may_be_unsaved_wants_a_save(void **state)
{
	struct bench *b = *state;

	/* Its name has never been on disk. */
	assert_true(fg_cursors_want_save(&b->set, false));
	save(b);
	assert_false(fg_cursors_want_save(&b->set, true));
	fg_cursor_settle(b->c, 101, 104);
	assert_false(fg_cursors_want_save(&b->set, false));
	assert_true(fg_cursors_want_save(&b->set, true));
	fg_cursor_settle(b->c, 201, 201);
	assert_true(fg_cursors_want_save(&b->set, false));
	/* One is on its way: what came since is not half. */
	begin_save(b);
	fg_cursor_settle(b->c, 1, 4);
	assert_false(fg_cursors_want_save(&b->set, false));
	assert_true(fg_cursors_want_save(&b->set, true));
	fg_cursor_settle(b->c, 5, 5);
	assert_true(fg_cursors_want_save(&b->set, false));
}

static void save_is_asked_for_once_and_only_when_it_helps(void **state)
{
	struct bench *b = *state;

	save(b);
	assert_false(fg_cursor_may_send(b->c, 10));
	assert_false(b->set.must_save);
	fg_cursor_settle(b->c, 1, 1);
	assert_false(fg_cursor_may_send(b->c, 9));
	assert_true(b->set.must_save);
	begin_save(b);
	assert_false(fg_cursor_may_send(b->c, 9));
	assert_false(b->set.must_save);
	fg_cursor_settle(b->c, 2, 2);
	assert_false(fg_cursor_may_send(b->c, 9));
	assert_true(b->set.must_save);
}

static void ranges_that_had_no_room_count_as_unsaved(void **state)
{
	struct bench *b = *state;
	size_t room;

	fg_cursor_settle(b->c, 10, 19);
	fg_cursor_settle(b->c, 30, 31);
	fg_cursor_settle(b->c, 40, 59);
	room = fg_cursors_encode(&b->set, NEWEST, ROOM, b->table, NULL) - 1;
	b->size = fg_cursors_encode(&b->set, NEWEST, room, b->table, &b->save);
	fg_cursors_saving(&b->set, &b->save);
	fg_cursors_saved(&b->set, &b->save);
	assert_true(fg_cursor_may_send(b->c, 7));
	assert_false(fg_cursor_may_send(b->c, 8));
	/* But never so many that nothing could go on. */
	b->size = fg_cursors_encode(&b->set, NEWEST, room - 2 * 16, b->table, &b->save);
	fg_cursors_saving(&b->set, &b->save);
	fg_cursors_saved(&b->set, &b->save);
	assert_true(fg_cursor_may_send(b->c, 4));
	assert_false(fg_cursor_may_send(b->c, 5));
}

static void save_of_one_is_not_taken_for_another_in_its_slot(void **state)
{
	struct bench *b = *state;
	struct fg_cursor *others[FG_CURSORS_MAX];
	char name[] = "link-?";

	fg_cursor_settle(b->c, 1, 500);
	begin_save(b);
	fg_cursor_close(b->c);
	for (int i = 0; i < FG_CURSORS_MAX; i++) {
		name[5] = (char)('@' + i);
		assert_int_equal(fg_cursors_open(&b->set, name, 10, 200, &others[i]), 0);
	}
	fg_cursors_saved(&b->set, &b->save);
	for (int i = 0; i < FG_CURSORS_MAX; i++)
		assert_int_equal(fg_cursor_saved(others[i]), 200);
}

/* ---- sequence numbers of tables */

static void tables_are_no_records(void **state)
{
	struct bench *b = *state;

	fg_cursors_add_table(&b->set, 5);
	fg_cursors_add_table(&b->set, 6);
	fg_cursors_add_table(&b->set, 20);
	assert_int_equal(fg_cursor_backlog(b->c), NEWEST - 3);
	fg_cursor_settle(b->c, 1, 4);
	assert_int_equal(fg_cursor_watermark(b->c), 6);
	/* A range and the tables around are one. */
	fg_cursor_settle(b->c, 15, 19);
	assert_int_equal(fg_cursor_settled_to(b->c, 15), 20);
	fg_cursor_settle(b->c, 21, 22);
	assert_int_equal(b->c->settled.n, 1);
	assert_int_equal(fg_cursor_settled_to(b->c, 15), 22);
	assert_int_equal(fg_cursor_backlog(b->c), NEWEST - 3 - 4 - 5 - 2);
	/* So it is when the table becomes known later. */
	fg_cursor_settle(b->c, 30, NEWEST);
	b->lane.end_seq++;
	fg_cursors_add_table(&b->set, NEWEST + 1);
	assert_int_equal(fg_cursor_settled_to(b->c, 30), NEWEST + 1);
	fg_cursor_settle(b->c, 23, 29);
	fg_cursor_settle(b->c, 7, 14);
	assert_int_equal(fg_cursor_watermark(b->c), NEWEST + 1);
	assert_int_equal(fg_cursor_backlog(b->c), 0);
}

static void table_in_front_of_a_range_joins_it(void **state)
{
	struct bench *b = *state;

	fg_cursors_add_table(&b->set, 20);
	fg_cursor_settle(b->c, 21, 25);
	assert_int_equal(fg_cursor_settled_to(b->c, 20), 25);
	fg_cursor_settle(b->c, 10, 18);
	assert_int_equal(b->c->settled.n, 2);
	fg_cursor_settle(b->c, 19, 19);
	assert_int_equal(b->c->settled.n, 1);
}

/* A segment that was dropped may be back after a power cut; a table's number is never a record. */
static void saved_watermark_steps_over_tables_only(void **state)
{
	struct bench *b = *state;

	fg_cursor_settle(b->c, 1, 4);
	save(b);
	fg_cursors_add_table(&b->set, 5);
	fg_cursor_settle(b->c, 7, 9);
	assert_int_equal(fg_cursor_saved(b->c), 5);
	fg_cursor_settle(b->c, 6, 6);
	assert_int_equal(fg_cursor_watermark(b->c), 9);
	fg_cursors_add_table(&b->set, 10);
	assert_int_equal(fg_cursor_saved(b->c), 5);
	assert_int_equal(fg_cursor_watermark(b->c), 10);
	fg_cursor_lose(b->c, 11, 20, "damaged on disk");
	assert_int_equal(fg_cursor_watermark(b->c), 20);
	assert_int_equal(fg_cursor_saved(b->c), 5);
}

/* ---- what holds segments back */

static void records_are_kept_for_what_a_crash_goes_back_to(void **state)
{
	struct bench *b = *state;

	assert_int_equal(fg_cursors_low(&b->set, true), 0);
	fg_cursor_settle(b->c, 1, 300);
	assert_int_equal(fg_cursors_low(&b->set, false), 300);
	assert_int_equal(fg_cursors_low(&b->set, true), 0);
	save(b);
	assert_int_equal(fg_cursors_low(&b->set, true), 300);
	/* Left behind, in memory only: that holds at once. */
	assert_int_equal(fg_cursor_leave_behind(b->c, 7, 200), 0);
	assert_int_equal(fg_cursors_low(&b->set, true), 199);
	assert_int_equal(fg_cursors_low(&b->set, false), 199);
	/* In a commit that runs, and it is back meanwhile: the table may get to the disk. */
	begin_save(b);
	fg_cursor_rejoin(b->c, 7);
	assert_int_equal(fg_cursors_low(&b->set, false), 300);
	assert_int_equal(fg_cursors_low(&b->set, true), 199);
	fg_cursors_saved(&b->set, &b->save);
	assert_int_equal(fg_cursors_low(&b->set, true), 199);
	/* On disk, and the next one runs, which says otherwise. */
	begin_save(b);
	assert_int_equal(fg_cursors_low(&b->set, true), 199);
	fg_cursors_saved(&b->set, &b->save);
	assert_int_equal(fg_cursors_low(&b->set, true), 300);
	fg_cursor_close(b->c);
	assert_int_equal(fg_cursors_low(&b->set, true), UINT64_MAX);
	assert_false(fg_cursors_any_open(&b->set));
}

/* ---- loading */

static void reloaded_cursor_is_the_same(void **state)
{
	struct bench *b = *state;

	fg_cursor_settle(b->c, 1, 10);
	fg_cursor_settle(b->c, 20, 29);
	fg_cursor_settle(b->c, 40, 40);
	fg_cursor_leave_behind(b->c, 3, 5);
	fg_cursor_leave_behind(b->c, UINT64_MAX >> 1, 1001);
	save(b);
	reload(b);
	assert_int_equal(fg_cursor_watermark(b->c), 10);
	assert_int_equal(fg_cursor_saved(b->c), 10);
	assert_int_equal(fg_cursor_settled_to(b->c, 11), 0);
	assert_int_equal(fg_cursor_settled_to(b->c, 20), 29);
	assert_int_equal(fg_cursor_settled_to(b->c, 40), 40);
	assert_int_equal(b->c->settled.n, 2);
	assert_int_equal(fg_cursor_left_behind(b->c, 3), 5);
	assert_int_equal(fg_cursor_left_behind(b->c, UINT64_MAX >> 1), 1001);
	assert_int_equal(fg_cursors_low(&b->set, true), 4);
	assert_false(fg_cursors_are_dirty(&b->set));
	assert_true(fg_cursor_may_send(b->c, 9));
}

static void table_that_may_not_be_on_disk_is_not_relied_on(void **state)
{
	struct bench *b = *state;
	uint8_t newer[ROOM];
	size_t size;

	fg_cursor_settle(b->c, 1, 10);
	save(b);
	fg_cursor_settle(b->c, 11, 12);
	fg_cursor_settle(b->c, 21, 23);
	size = fg_cursors_encode(&b->set, NEWEST, ROOM, newer, NULL);
	reload(b);
	assert_int_equal(fg_cursors_load_unsynced(&b->set, newer, size, NEWEST), 0);
	assert_int_equal(fg_cursor_watermark(b->c), 12);
	assert_int_equal(fg_cursor_saved(b->c), 10);
	assert_int_equal(fg_cursor_settled_to(b->c, 21), 23);
	assert_true(fg_cursor_may_send(b->c, 4));
	assert_false(fg_cursor_may_send(b->c, 5));
	assert_true(fg_cursors_are_dirty(&b->set));
	save(b);
	assert_true(fg_cursor_may_send(b->c, 9));
	/* The same one again is nothing new. */
	reload(b);
	assert_int_equal(fg_cursors_load_unsynced(&b->set, b->table, b->size, NEWEST), 0);
	assert_false(fg_cursors_are_dirty(&b->set));
	assert_true(fg_cursor_may_send(b->c, 9));
}

static void name_that_may_not_be_on_disk_is_saved_at_once(void **state)
{
	struct bench *b = *state;

	fg_cursor_settle(b->c, 1, 10);
	b->size = fg_cursors_encode(&b->set, NEWEST, ROOM, b->table, NULL);
	fg_cursors_free(&b->set);
	assert_int_equal(fg_cursors_load_unsynced(&b->set, b->table, b->size, NEWEST), 0);
	assert_true(fg_cursors_want_save(&b->set, false));
	assert_int_equal(fg_cursors_open(&b->set, "a", 10, NEWEST, &b->c), 0);
	assert_int_equal(fg_cursor_watermark(b->c), 10);
}

static void nothing_is_sent_before_it_is_saved_who_has_moved(void **state)
{
	struct bench *b = *state;
	uint8_t newer[ROOM];
	size_t size;

	fg_cursor_settle(b->c, 1, 500);
	fg_cursor_leave_behind(b->c, 3, 100);
	fg_cursor_leave_behind(b->c, 4, 100);
	save(b);
	fg_cursor_leave_behind(b->c, 3, 300);
	size = fg_cursors_encode(&b->set, NEWEST, ROOM, newer, NULL);
	reload(b);
	assert_int_equal(fg_cursors_load_unsynced(&b->set, newer, size, NEWEST), 0);
	assert_int_equal(fg_cursor_left_behind(b->c, 3), 300);
	assert_int_equal(fg_cursor_left_behind(b->c, 4), 100);
	assert_false(fg_cursor_may_send(b->c, 0));
	assert_true(b->set.must_save);
	save(b);
	assert_true(fg_cursor_may_send(b->c, 9));
}

static void table_from_the_future_settles_nothing_that_is_to_come(void **state)
{
	struct bench *b = *state;

	b->lane.end_seq = 5001;
	fg_cursor_settle(b->c, 1, 10);
	fg_cursor_settle(b->c, 900, 1500);
	fg_cursor_settle(b->c, 2000, 3000);
	fg_cursor_leave_behind(b->c, 3, 4000);
	b->size = fg_cursors_encode(&b->set, 5000, ROOM, b->table, NULL);
	b->lane.end_seq = NEWEST + 1;
	reload(b);
	assert_int_equal(fg_cursor_settled_to(b->c, 900), NEWEST);
	assert_int_equal(fg_cursor_settled_to(b->c, NEWEST + 1), 0);
	assert_int_equal(b->c->settled.n, 1);
	assert_int_equal(fg_cursor_left_behind(b->c, 3), NEWEST + 1);

	b->lane.end_seq = 5001;
	fg_cursor_settle(b->c, 1, 5000);
	b->size = fg_cursors_encode(&b->set, 5000, ROOM, b->table, NULL);
	b->lane.end_seq = NEWEST + 1;
	reload(b);
	assert_int_equal(fg_cursor_watermark(b->c), NEWEST);
	/* Nor is a watermark written that is ahead of the disk. */
	fg_cursors_encode(&b->set, 700, ROOM, b->table, &b->save);
	assert_int_equal(b->save.cursors[0].watermark, 700);
}

static uint8_t *put_pair(uint8_t *at, uint64_t a, uint64_t b)
{
	fg_put_le64(at, a);
	fg_put_le64(at + 8, b);
	return at + 16;
}

static void ranges_in_disorder_say_what_each_of_them_says(void **state)
{
	struct bench *b = *state;
	uint8_t *at = b->table;

	memcpy(at, "\1\0\1a", 4);
	fg_put_le64(at + 4, 10);
	fg_put_le16(at + 12, 7);
	fg_put_le16(at + 14, 4);
	at = put_pair(at + 16, 50, 60);
	at = put_pair(at, 40, 30); /* reversed */
	at = put_pair(at, 55, 70); /* overlaps */
	at = put_pair(at, 2, 5);   /* below the watermark */
	at = put_pair(at, 20, 25); /* out of order */
	at = put_pair(at, 8, 12);  /* across the watermark */
	at = put_pair(at, 71, 71); /* touches */
	at = put_pair(at, 3, 44);
	at = put_pair(at, 3, 22); /* twice: the lowest counts */
	at = put_pair(at, 3, 33);
	at = put_pair(at, 4, 0);
	b->size = (size_t)(at - b->table);
	reload(b);
	assert_int_equal(fg_cursor_watermark(b->c), 12);
	for (uint64_t seq = 13; seq <= NEWEST; seq++) {
		bool is_settled = (seq >= 20 && seq <= 25) || (seq >= 50 && seq <= 71);

		assert_int_equal(fg_cursor_settled_to(b->c, seq) != 0, is_settled);
	}
	assert_int_equal(fg_cursor_left_behind(b->c, 3), 22);
	assert_int_equal(fg_cursor_left_behind(b->c, 4), 1);
}

static void what_is_no_table_changes_nothing(void **state)
{
	struct bench *b = *state;

	assert_int_equal(fg_cursors_load(&b->set, NULL, 0, NEWEST), 0);
	assert_int_equal(fg_cursors_load(&b->set, (const uint8_t *)"\5", 1, NEWEST), -EBADMSG);
	assert_int_equal(fg_cursors_load_unsynced(&b->set, (const uint8_t *)"\1\0", 2, NEWEST),
			 -EBADMSG);
	assert_int_equal(fg_cursors_load_unsynced(&b->set, NULL, 0, NEWEST), 0);
	assert_int_equal(fg_cursor_watermark(b->c), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_settled_while_a_save_runs_counts_on),
		TEST(half_of_what_may_be_unsaved_wants_a_save),
		TEST(save_is_asked_for_once_and_only_when_it_helps),
		TEST(ranges_that_had_no_room_count_as_unsaved),
		TEST(save_of_one_is_not_taken_for_another_in_its_slot),
		TEST(tables_are_no_records),
		TEST(table_in_front_of_a_range_joins_it),
		TEST(saved_watermark_steps_over_tables_only),
		TEST(records_are_kept_for_what_a_crash_goes_back_to),
		TEST(reloaded_cursor_is_the_same),
		TEST(table_that_may_not_be_on_disk_is_not_relied_on),
		TEST(name_that_may_not_be_on_disk_is_saved_at_once),
		TEST(nothing_is_sent_before_it_is_saved_who_has_moved),
		TEST(table_from_the_future_settles_nothing_that_is_to_come),
		TEST(ranges_in_disorder_say_what_each_of_them_says),
		TEST(what_is_no_table_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
