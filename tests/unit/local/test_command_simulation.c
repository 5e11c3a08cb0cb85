/*
 * Whatever happens in whatever order: each command has one final answer, is run at most once, and not
 * after its time. `test_command_simulation SEED RUN` tells all that happens in one run.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "desk_rules.h"
#include "sim_world.h"
#include "util/log.h"

#define SEED 1
#define RUNS 10000
#define RUNS_TO_NOTICE 2000

static struct fg_command_map *map;

static int make_map(void **state)
{
	(void)state;
	map = desk_rules_map();
	return 0;
}

static int free_map(void **state)
{
	(void)state;
	map = fg_command_map_free(map);
	return 0;
}

static void each_command_has_one_final_answer_and_is_run_at_most_once_and_in_time(void **state)
{
	struct sim_totals t = {0};

	(void)state;
	for (uint64_t run = 0; run < RUNS; run++)
		if (!sim_run(SEED, run, SIM_RIGHT, false, map, &t))
			fail_msg("what happens: test_command_simulation %d %" PRIu64, SEED, run);
	print_message("seed %d, %" PRIu64 " runs: %" PRIu64 " commands, %" PRIu64
		      " executions, %" PRIu64 " answers, %" PRIu64 " sent again, %" PRIu64
		      " kills, %" PRIu64 " power cuts, %" PRIu64 " late answers\n",
		      SEED, t.runs, t.commands, t.executions, t.answers, t.again, t.kills, t.cuts,
		      t.late);
	/* What is to be survived must have happened. */
	assert_true(t.kills > RUNS && t.cuts > RUNS && t.again > RUNS);
	assert_true(t.executions > RUNS && t.answers > RUNS && t.one_way > RUNS / 10);
	assert_true(t.late > RUNS / 100 && t.duplicates > RUNS / 100);
	assert_true(t.errors[FG_COMMAND_OFFLINE] > RUNS / 100);
	assert_true(t.errors[FG_COMMAND_REFUSED] > RUNS / 100);
	assert_true(t.errors[FG_COMMAND_TIMEOUT] > RUNS / 100);
	assert_true(t.errors[FG_COMMAND_UNKNOWN_OUTCOME] > RUNS / 100);
}

static void notices(enum sim_fault fault)
{
	struct sim_totals t = {0};

	for (uint64_t run = 0; run < RUNS_TO_NOTICE; run++)
		if (!sim_run(SEED, run, fault, false, map, &t))
			return;
	fail_msg("nothing was found in %d runs", RUNS_TO_NOTICE);
}

static void it_is_noticed_when_going_out_is_not_noted(void **state)
{
	(void)state;
	notices(SIM_WITHOUT_MARK);
}

static void it_is_noticed_when_commands_are_delivered_after_their_deadline(void **state)
{
	(void)state;
	notices(SIM_SLOW_CLOCK);
}

static void it_is_noticed_when_the_cloud_gets_its_puback_too_early(void **state)
{
	(void)state;
	notices(SIM_EARLY_PUBACK);
}

static void it_is_noticed_when_the_disk_does_not_sync(void **state)
{
	(void)state;
	notices(SIM_WITHOUT_SYNC);
}

/* ./test_command_simulation SEED RUN */
static int tell(const char *seed, const char *run)
{
	struct sim_totals t = {0};
	bool is_right;

	map = desk_rules_map();
	is_right =
		sim_run(strtoull(seed, NULL, 0), strtoull(run, NULL, 0), SIM_RIGHT, true, map, &t);
	map = fg_command_map_free(map);
	return is_right ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			each_command_has_one_final_answer_and_is_run_at_most_once_and_in_time),
		cmocka_unit_test(it_is_noticed_when_going_out_is_not_noted),
		cmocka_unit_test(it_is_noticed_when_commands_are_delivered_after_their_deadline),
		cmocka_unit_test(it_is_noticed_when_the_cloud_gets_its_puback_too_early),
		cmocka_unit_test(it_is_noticed_when_the_disk_does_not_sync),
	};

	fg_log_open(FG_LOG_STDERR, LOG_CRIT);
	if (argc == 3)
		return tell(argv[1], argv[2]);
	return cmocka_run_group_tests(tests, make_map, free_map);
}
