#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>

#include "util/timekeeper.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define YEARS(n) ((n)*365 * 24 * HOUR)
/* Some day after the floor. */
#define NOON (FG_TIME_FLOOR_US + YEARS(2))

static struct {
	char dir[64], path[96];
	uint8_t boot_id[16];
	int64_t start_us; /* what the wall clock said when the machine started */
	int64_t up_us;
	struct fg_clock_evidence evidence;
	struct fg_timekeeper *t;
} fake;

static void fake_read(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	(void)arg;
	*ret_utc_us = fake.start_us + fake.up_us;
	*ret_boottime_us = fake.up_us;
}

static void fake_look(void *arg, int64_t utc_us, struct fg_clock_evidence *ret)
{
	(void)arg;
	(void)utc_us;
	*ret = fake.evidence;
}

static void start(void)
{
	struct fg_timekeeper_options options = {
		.path = fake.path,
		.boot_id = fake.boot_id,
		.wait_us = 10 * MINUTE,
		.read = fake_read,
		.look = fake_look,
	};

	assert_int_equal(fg_timekeeper_new(&options, &fake.t), 0);
}

static void stop(void)
{
	fake.t = fg_timekeeper_free(fake.t);
}

/* The power goes: nothing more is written. The object itself is released without its last word. */
static void power_cut(void)
{
	char kept[128];

	snprintf(kept, sizeof(kept), "%s.kept", fake.path);
	assert_int_equal(rename(fake.path, kept), 0);
	stop();
	assert_int_equal(rename(kept, fake.path), 0);
}

static void boot(uint8_t number, int64_t wall_us)
{
	memset(fake.boot_id, number, sizeof(fake.boot_id));
	fake.start_us = wall_us;
	fake.up_us = 20 * SECOND;
	memset(&fake.evidence, 0, sizeof(fake.evidence));
	fake.evidence.is_service_working = true;
	start();
}

static struct fg_clock_news tick(int64_t after_us)
{
	struct fg_clock_news news;

	fake.up_us += after_us;
	fg_timekeeper_tick(fake.t, &news);
	return news;
}

static void clock_is_set(int64_t utc_us)
{
	fake.start_us = utc_us - fake.up_us;
}

struct made {
	uint8_t moment[FG_MOMENT_BYTES];
	int64_t time_us;
};

static struct made make(enum fg_time_quality expected)
{
	struct made m;

	assert_int_equal(fg_timekeeper_now(fake.t, &m.time_us), expected);
	fg_timekeeper_moment(fake.t, m.moment);
	return m;
}

static int64_t repaired(const struct made *m, enum fg_time_quality expected)
{
	int64_t us = m->time_us;

	assert_int_equal(fg_timekeeper_repair(fake.t, m->moment, &us), expected);
	return us;
}

static int setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	snprintf(fake.dir, sizeof(fake.dir), "/tmp/fieldgate-time-XXXXXX");
	assert_non_null(mkdtemp(fake.dir));
	snprintf(fake.path, sizeof(fake.path), "%s/clock", fake.dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stop();
	unlink(fake.path);
	rmdir(fake.dir);
	return 0;
}

/* ---- what is believed */

static void a_clock_before_the_floor_is_never_believed(void **state)
{
	(void)state;
	boot(1, 0);
	fake.evidence = (struct fg_clock_evidence){true, true, true, false};
	tick(SECOND);
	assert_false(fg_timekeeper_is_known(fake.t));
}

static void a_plausible_clock_is_believed_unless_a_time_service_is_still_at_work(void **state)
{
	static const struct {
		struct fg_clock_evidence evidence;
		bool is_known;
	} cases[] = {
		{{false, false, false, false}, true}, {{false, false, false, true}, false},
		{{true, false, false, true}, true},   {{false, true, false, true}, true},
		{{false, false, true, true}, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		boot((uint8_t)(i + 1), NOON);
		assert_false(fg_timekeeper_is_known(fake.t));
		fake.evidence = cases[i].evidence;
		assert_int_equal(tick(SECOND).is_learnt, cases[i].is_known);
		assert_int_equal(fg_timekeeper_is_known(fake.t), cases[i].is_known);
		stop();
	}
}

static void a_clock_that_is_set_while_we_run_is_believed_at_the_next_message(void **state)
{
	(void)state;
	boot(1, 0);
	tick(SECOND);
	clock_is_set(NOON);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON);
	assert_true(tick(0).is_learnt);
	assert_false(tick(SECOND).is_learnt);
}

static void what_was_known_in_this_boot_is_known_after_a_restart_of_the_process(void **state)
{
	(void)state;
	boot(1, 0);
	clock_is_set(NOON);
	tick(SECOND);
	power_cut();
	start();
	assert_true(fg_timekeeper_is_known(fake.t));
	stop();
	/* Even when the clock has been broken meanwhile. */
	fake.start_us = 0;
	start();
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + SECOND);
}

static void waiting_ends_when_the_time_is_known_or_the_patience_over(void **state)
{
	(void)state;
	boot(1, 0);
	assert_true(fg_timekeeper_is_waiting(fake.t));
	fake.up_us += 10 * MINUTE - 1;
	assert_true(fg_timekeeper_is_waiting(fake.t));
	fake.up_us += 1;
	assert_false(fg_timekeeper_is_waiting(fake.t));
	stop();
	start();
	assert_true(fg_timekeeper_is_waiting(fake.t));
	clock_is_set(NOON);
	tick(SECOND);
	assert_false(fg_timekeeper_is_waiting(fake.t));
	assert_false(fg_timekeeper_is_waiting(NULL));
}

/* ---- steps */

static void a_known_clock_that_falls_before_the_floor_is_not_followed(void **state)
{
	struct fg_clock_news news;

	(void)state;
	boot(1, NOON);
	fake.evidence.is_marked = true;
	tick(SECOND);
	fake.start_us -= YEARS(20);
	news = tick(SECOND);
	assert_true(news.is_stepped);
	assert_true(news.is_distrusted);
	assert_true(news.step_us == -YEARS(20));
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 22 * SECOND);
	fake.start_us += YEARS(20);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 22 * SECOND);
}

static void a_step_forward_is_followed_and_one_back_again_too(void **state)
{
	struct made before;

	(void)state;
	boot(1, 0);
	before = make(FG_TIME_UNSYNCHRONISED);
	fake.start_us = NOON;
	tick(SECOND);
	fake.start_us += YEARS(20);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + YEARS(20) + 21 * SECOND);
	fake.start_us -= YEARS(20);
	assert_false(tick(SECOND).is_distrusted);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 22 * SECOND);
	assert_true(repaired(&before, FG_TIME_GATEWAY) == NOON + 20 * SECOND);
}

static void slewing_is_followed_and_is_no_news(void **state)
{
	(void)state;
	boot(1, NOON);
	fake.evidence.is_marked = true;
	tick(SECOND);
	for (int i = 0; i < 10000; i++) {
		fake.start_us += 500;
		assert_false(tick(SECOND).is_stepped);
	}
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 10021 * SECOND + 10000 * 500);
}

static void steps_are_not_written_to_flash_each_second(void **state)
{
	char moved[128];
	unsigned writes = 0;

	(void)state;
	boot(1, NOON);
	fake.evidence.is_marked = true;
	tick(SECOND);
	snprintf(moved, sizeof(moved), "%s.moved", fake.path);
	for (int i = 0; i < 600; i++) {
		fake.start_us += 2 * SECOND;
		tick(SECOND);
		writes += rename(fake.path, moved) == 0;
	}
	unlink(moved);
	assert_in_range(writes, 9, 11);
}

/* ---- being told */

static void a_clock_nobody_has_set_goes_by_what_it_is_told(void **state)
{
	struct made before;
	struct fg_clock_news news;

	(void)state;
	boot(1, 0);
	before = make(FG_TIME_UNSYNCHRONISED);
	assert_true(fg_timekeeper_wants_telling(fake.t));
	assert_int_equal(fg_timekeeper_tell(fake.t, NOON), 0);
	news = tick(0);
	assert_true(news.is_learnt);
	assert_false(news.is_stepped);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 20 * SECOND);
	assert_true(repaired(&before, FG_TIME_GATEWAY) == NOON + 20 * SECOND);
	assert_false(fg_timekeeper_is_waiting(fake.t));
	tick(HOUR);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 20 * SECOND + HOUR);
}

static void a_clock_from_yesterday_is_corrected_until_it_is_set(void **state)
{
	(void)state;
	boot(1, NOON);
	assert_int_equal(fg_timekeeper_tell(fake.t, HOUR), 0);
	tick(SECOND);
	fake.start_us += 500; /* slewing */
	assert_false(tick(SECOND).is_stepped);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + HOUR + 22 * SECOND + 500);
	assert_true(fg_timekeeper_wants_telling(fake.t));
	fake.start_us += 2 * HOUR;
	assert_true(tick(SECOND).is_stepped);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 2 * HOUR + 23 * SECOND + 500);
	/* Who can set it once can do so again: it is not for clouds to say any more. */
	assert_false(fg_timekeeper_wants_telling(fake.t));
	assert_int_equal(fg_timekeeper_tell(fake.t, HOUR), -EALREADY);
}

static void a_time_service_that_keeps_the_clock_ends_what_was_told(void **state)
{
	struct fg_clock_news news;

	(void)state;
	boot(1, NOON);
	assert_int_equal(fg_timekeeper_tell(fake.t, HOUR), 0);
	assert_false(tick(SECOND).is_stepped);
	fake.evidence.is_marked = true;
	news = tick(SECOND);
	assert_true(news.is_stepped);
	assert_true(news.step_us == -HOUR);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + 22 * SECOND);
	assert_false(fg_timekeeper_wants_telling(fake.t));
}

static void what_was_told_holds_over_a_restart_of_the_process_and_a_power_cut(void **state)
{
	struct made m;

	(void)state;
	boot(1, NOON);
	assert_int_equal(fg_timekeeper_tell(fake.t, HOUR), 0);
	m = make(FG_TIME_GATEWAY);
	tick(MINUTE);
	power_cut();
	start();
	assert_true(fg_timekeeper_is_known(fake.t));
	assert_true(fg_timekeeper_wants_telling(fake.t));
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + HOUR + MINUTE + 20 * SECOND);
	power_cut();
	boot(2, 0);
	assert_false(fg_timekeeper_is_known(fake.t));
	assert_true(repaired(&m, FG_TIME_GATEWAY) == NOON + HOUR + 20 * SECOND);
}

static void what_was_told_may_be_told_better(void **state)
{
	(void)state;
	boot(1, 0);
	assert_int_equal(fg_timekeeper_tell(fake.t, NOON), 0);
	tick(HOUR);
	assert_int_equal(fg_timekeeper_tell(fake.t, -SECOND / 2), 0);
	assert_false(tick(SECOND).is_stepped);
	assert_true(make(FG_TIME_GATEWAY).time_us == NOON + HOUR + 21 * SECOND - SECOND / 2);
	assert_int_equal(fg_timekeeper_tell(fake.t, MINUTE), 0);
	assert_true(tick(SECOND).step_us == MINUTE);
	fake.start_us -= YEARS(1); /* before any possible time: goes on as told */
	tick(SECOND);
	assert_true(make(FG_TIME_GATEWAY).time_us ==
		    NOON + HOUR + MINUTE + 23 * SECOND - SECOND / 2);
}

static void what_cannot_be_is_not_believed_whoever_says_so(void **state)
{
	static const int64_t offsets[] = {
		0,         HOUR,     -NOON, FG_TIME_FLOOR_US - 21 * SECOND, NOON + YEARS(60),
		INT64_MAX, INT64_MIN};

	(void)state;
	boot(1, 0);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		assert_int_equal(fg_timekeeper_tell(fake.t, offsets[i]), -ERANGE);
		assert_false(fg_timekeeper_is_known(fake.t));
	}
	assert_int_equal(fg_timekeeper_tell(NULL, 0), -EALREADY);
	assert_false(fg_timekeeper_wants_telling(NULL));
	clock_is_set(NOON);
	tick(SECOND);
	assert_int_equal(fg_timekeeper_tell(fake.t, HOUR), -EALREADY);
}

/* ---- repairing */

static void a_message_gets_its_right_time_once_that_is_known(void **state)
{
	struct made a, b;

	(void)state;
	boot(1, 0);
	a = make(FG_TIME_UNSYNCHRONISED);
	fake.up_us += 90 * SECOND;
	b = make(FG_TIME_UNSYNCHRONISED);
	fake.up_us += 10 * SECOND;
	clock_is_set(NOON);
	tick(0);
	assert_true(repaired(&a, FG_TIME_GATEWAY) == NOON - 100 * SECOND);
	assert_true(repaired(&b, FG_TIME_GATEWAY) == NOON - 10 * SECOND);
}

static void a_power_cut_right_after_learning_and_a_reboot_do_not_lose_it(void **state)
{
	struct made m;

	(void)state;
	boot(1, 0);
	m = make(FG_TIME_UNSYNCHRONISED);
	fake.up_us += MINUTE;
	clock_is_set(NOON);
	make(FG_TIME_GATEWAY); /* that alone makes it known */
	power_cut();
	boot(2, 0);
	assert_true(repaired(&m, FG_TIME_GATEWAY) == NOON - MINUTE);
}

static void a_boot_that_never_knew_ends_before_the_next_one_and_keeps_its_order(void **state)
{
	struct made a, b, c;
	int64_t ta, tb, tc;

	(void)state;
	boot(1, 0);
	a = make(FG_TIME_UNSYNCHRONISED);
	for (int i = 0; i < 3600; i++)
		tick(SECOND);
	b = make(FG_TIME_UNSYNCHRONISED);
	power_cut();
	boot(2, 0);
	c = make(FG_TIME_UNSYNCHRONISED);
	stop(); /* in good order: how long it lasted is known exactly */
	boot(3, NOON);
	fake.evidence.is_marked = true;
	tick(SECOND);
	ta = repaired(&a, FG_TIME_UNSYNCHRONISED);
	tb = repaired(&b, FG_TIME_UNSYNCHRONISED);
	tc = repaired(&c, FG_TIME_UNSYNCHRONISED);
	assert_true(tb - ta == HOUR);
	assert_true(tb < tc);
	assert_true(tc == NOON);
	assert_true(ta > NOON - 3 * HOUR - 20 * MINUTE);
}

static void without_any_known_time_the_best_guess_begins_where_the_past_ended(void **state)
{
	struct made known, a, b;

	(void)state;
	boot(1, NOON);
	fake.evidence.is_marked = true;
	tick(HOUR);
	known = make(FG_TIME_GATEWAY);
	stop();
	boot(2, 0);
	a = make(FG_TIME_UNSYNCHRONISED);
	stop();
	boot(3, 0);
	b = make(FG_TIME_UNSYNCHRONISED);
	assert_true(repaired(&a, FG_TIME_UNSYNCHRONISED) == known.time_us + 20 * SECOND);
	assert_true(repaired(&b, FG_TIME_UNSYNCHRONISED) == known.time_us + 40 * SECOND);
	stop();
	/* And nothing known at all: not in 1970, where clouds refuse it. */
	unlink(fake.path);
	boot(4, 0);
	a = make(FG_TIME_UNSYNCHRONISED);
	assert_true(repaired(&a, FG_TIME_UNSYNCHRONISED) == FG_TIME_FLOOR_US + 20 * SECOND);
}

static void a_plausible_clock_is_the_best_guess_while_it_is_doubted(void **state)
{
	struct made m;

	(void)state;
	boot(1, NOON);
	m = make(FG_TIME_UNSYNCHRONISED);
	assert_true(repaired(&m, FG_TIME_UNSYNCHRONISED) == NOON + 20 * SECOND);
}

static void only_so_many_boots_are_remembered_and_older_ones_come_before(void **state)
{
	struct made first, other;
	int64_t last;

	(void)state;
	boot(1, 0);
	first = make(FG_TIME_UNSYNCHRONISED);
	stop();
	boot(2, 0);
	other = make(FG_TIME_UNSYNCHRONISED);
	for (uint8_t i = 3; i < 100; i++) {
		stop();
		boot(i, NOON);
		fake.evidence.is_marked = true;
		tick(SECOND);
	}
	last = repaired(&first, FG_TIME_UNSYNCHRONISED);
	assert_true(last > FG_TIME_FLOOR_US && last < NOON);
	assert_true(repaired(&other, FG_TIME_UNSYNCHRONISED) <= NOON);
}

static void wild_moments_and_a_damaged_file_do_no_harm(void **state)
{
	struct made m;

	(void)state;
	boot(1, NOON);
	m = make(FG_TIME_UNSYNCHRONISED);
	memset(m.moment + 16, 0xff, 8);
	repaired(&m, FG_TIME_UNSYNCHRONISED);
	memset(m.moment, 0xff, 16);
	repaired(&m, FG_TIME_UNSYNCHRONISED);
	stop();
	for (long at = 0; at < 56; at++) {
		FILE *f = fopen(fake.path, "r+");
		int byte;

		fseek(f, at, SEEK_SET);
		byte = fgetc(f);
		fseek(f, at, SEEK_SET);
		fputc(byte ^ 0x55, f);
		fclose(f);
		boot(1, NOON);
		assert_false(fg_timekeeper_is_known(fake.t));
		stop();
	}
	assert_int_equal(truncate(fake.path, 7), 0);
	boot(1, NOON);
}

static void a_file_that_cannot_be_written_is_told_and_tried_again(void **state)
{
	(void)state;
	boot(1, 0);
	stop();
	unlink(fake.path);
	rmdir(fake.dir);
	boot(1, 0);
	assert_true(tick(SECOND).save_error < 0);
	assert_true(tick(SECOND).save_error == 0);
	assert_true(tick(MINUTE).save_error < 0);
}

static void the_boot_id_may_be_handed_in(void **state)
{
	static const uint8_t expected[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
					     0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	uint8_t id[16], again[16];

	(void)state;
	setenv("FIELDGATE_BOOT_ID", "0123456789abcdef0123456789abcdef", 1);
	fg_timekeeper_boot_id(id);
	assert_memory_equal(id, expected, 16);
	setenv("FIELDGATE_BOOT_ID", "%b", 1);
	fg_timekeeper_boot_id(id);
	assert_memory_not_equal(id, expected, 16);
	unsetenv("FIELDGATE_BOOT_ID");
	fg_timekeeper_boot_id(again);
	assert_memory_not_equal(again, expected, 16);
}

static void the_clocks_of_this_machine_can_be_asked(void **state)
{
	struct fg_timekeeper_options options = {.boot_id = fake.boot_id};
	struct fg_clock_news news;
	int64_t a, b;

	(void)state;
	assert_int_equal(fg_timekeeper_new(&options, &fake.t), 0);
	fg_timekeeper_tick(fake.t, &news);
	fg_timekeeper_now(fake.t, &a);
	fg_timekeeper_now(NULL, &b);
	assert_in_range(b - a, 0, MINUTE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_clock_before_the_floor_is_never_believed),
		T(a_plausible_clock_is_believed_unless_a_time_service_is_still_at_work),
		T(a_clock_that_is_set_while_we_run_is_believed_at_the_next_message),
		T(what_was_known_in_this_boot_is_known_after_a_restart_of_the_process),
		T(waiting_ends_when_the_time_is_known_or_the_patience_over),
		T(a_known_clock_that_falls_before_the_floor_is_not_followed),
		T(a_step_forward_is_followed_and_one_back_again_too),
		T(slewing_is_followed_and_is_no_news),
		T(a_clock_nobody_has_set_goes_by_what_it_is_told),
		T(a_clock_from_yesterday_is_corrected_until_it_is_set),
		T(a_time_service_that_keeps_the_clock_ends_what_was_told),
		T(what_was_told_holds_over_a_restart_of_the_process_and_a_power_cut),
		T(what_was_told_may_be_told_better),
		T(what_cannot_be_is_not_believed_whoever_says_so),
		T(steps_are_not_written_to_flash_each_second),
		T(a_message_gets_its_right_time_once_that_is_known),
		T(a_power_cut_right_after_learning_and_a_reboot_do_not_lose_it),
		T(a_boot_that_never_knew_ends_before_the_next_one_and_keeps_its_order),
		T(without_any_known_time_the_best_guess_begins_where_the_past_ended),
		T(a_plausible_clock_is_the_best_guess_while_it_is_doubted),
		T(only_so_many_boots_are_remembered_and_older_ones_come_before),
		T(wild_moments_and_a_damaged_file_do_no_harm),
		T(a_file_that_cannot_be_written_is_told_and_tried_again),
		T(the_boot_id_may_be_handed_in),
		T(the_clocks_of_this_machine_can_be_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
