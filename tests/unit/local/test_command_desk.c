/* The ways of a command through the table of states in command_desk.h. */
#include "desk_bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/span.h"

#define ONE_WAY                                                                                    \
	(&(const struct fg_command){.params = {"1", 1}, .timeout_ms = 10000, .is_one_way = true})

/* ------------------------------------------------------------------ the straight way */

static void a_command_goes_down_and_its_answer_comes_back(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command_stats stats;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(b->ticket, fg_journal_ticket(b->lane));
	/* nothing is published before it is on disk */
	assert_int_equal(b->n_published, 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_string_equal(b->published[0].topic, "pump/pump1/go");
	assert_int_equal(b->published[0].qos, 1);
	assert_int_equal(b->published[0].expiry_s, 7); /* 10 s less a margin of 2.5 s */
	assert_non_null(strstr(b->published[0].payload, ",\"p\":{\"x\":1}}"));
	bench_ack(b, 0, 0);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":[1.50]}"), 1);
	assert_answered(b, "pump1", "7", "{\"result\":[1.50]}");
	assert_string_equal(b->last_states, "GSDE");
	stats = bench_stats(b);
	assert_int_equal(stats.received, 1);
	assert_int_equal(stats.answered, 1);
	assert_int_equal(stats.open, 0);
}

/* One commit, not two: going out is part of the note of its arrival. */
static void a_device_that_is_free_gets_its_command_after_one_commit(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	assert_int_equal(b->lane->n_records, 1);
}

static void an_answer_may_come_before_the_broker_acknowledges(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\"}"), 1);
	assert_answered(b, "pump1", "7", "{\"result\":null}");
	bench_ack(b, 0, 0);
	assert_string_equal(b->last_states, "GSE");
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
}

static void a_device_may_say_no(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"e\":\"dry\"}"), 1);
	assert_refused(b, "pump1", "7", "refused");
}

static void with_qos_0_nothing_is_waited_for_but_the_answer(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "bell1", "7");
	assert_int_equal(bench_state(b, "bell1", "7"), FG_COMMAND_DELIVERED);
	assert_int_equal(bench_answer(b, 0, "\"rung\""), 1);
	assert_answered(b, "bell1", "7", "{\"result\":\"rung\"}");
}

static void mqtt5_asks_for_the_answer(void **state)
{
	struct desk_bench *b = *state;
	char topic[100];

	bench_send(b, "motor1", "7");
	snprintf(topic, sizeof(topic), "fieldgate/gw/response/%s", b->published[0].id);
	assert_string_equal(b->published[0].response_topic, topic);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_answered(b, "motor1", "7", "{\"result\":1}");
}

static void without_answers_the_brokers_word_is_the_answer(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "horn1", "7");
	assert_int_equal(bench_responses(b, "horn1", "7"), 0);
	bench_ack(b, 0, 0);
	assert_answered(b, "horn1", "7", "{\"result\":null}");
}

static void a_one_way_command_ends_without_a_response(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "pump1", "7", ONE_WAY), 0);
	bench_commit(b);
	bench_ack(b, 0, 0);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_ENDED);
	assert_int_equal(lane_count(b->lane, FG_COMMAND_RESPONSE), 0);
	assert_int_equal(bench_stats(b).done, 1);
	/* its answer is nobody's */
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\"}"), 1);
	assert_int_equal(bench_stats(b).late, 1);
}

static void a_one_way_command_that_is_refused_ends_without_a_response(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit_command(b, "pump1", "7", ONE_WAY), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_int_equal(lane_count(b->lane, FG_COMMAND_RESPONSE), 0);
	assert_int_equal(bench_stats(b).open, 0);
}

/* ------------------------------------------------------------------ refused as it comes */

struct refusal {
	const char *device, *name, *params, *code;
};

static const struct refusal refusals[] = {
	{"fridge", "go", "1", "unknown_device"},   {"pump/1", "go", "1", "unknown_device"},
	{"pump#", "go", "1", "unknown_device"},    {"pump1", "a/b", "1", "unknown_command"},
	{"pump1", "\xff", "1", "unknown_command"}, {"pump1", "go", "{", "bad_params"},
	{"pump1", "go", "1 2", "bad_params"},
};

static void what_cannot_go_down_is_refused_at_once(void **state)
{
	struct desk_bench *b = *state;

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *bad = &refusals[i];
		struct fg_command command = {.name = fg_span_str(bad->name),
					     .params = fg_span_str(bad->params)};
		char id[16];

		snprintf(id, sizeof(id), "%zu", i);
		assert_int_equal(bench_submit_command(b, bad->device, id, &command), 0);
		assert_int_equal(b->ticket, fg_journal_ticket(b->lane));
		assert_refused(b, bad->device, id, bad->code);
		bench_commit(b);
	}
	assert_int_equal(b->n_published, 0);
	assert_int_equal(bench_stats(b).errors[FG_COMMAND_BAD_PARAMS], 2);
}

static void parameters_above_the_largest_message_are_refused(void **state)
{
	struct desk_bench *b = *state;
	char params[1026];
	struct fg_command command = {.params = {params, 1025}};

	memset(params, '1', sizeof(params));
	assert_int_equal(bench_submit_command(b, "pump1", "7", &command), 0);
	assert_refused(b, "pump1", "7", "bad_params");
	command.params.size = 1020; /* with what stands around them */
	assert_int_equal(bench_submit_command(b, "pump1", "8", &command), 0);
	assert_refused(b, "pump1", "8", "bad_params");
	command.params.size = 900;
	assert_int_equal(bench_submit_command(b, "pump1", "9", &command), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
}

static void a_device_that_is_not_there_is_refused(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_refused(b, "pump1", "7", "offline");
}

static void more_than_the_desk_holds_is_busy(void **state)
{
	struct desk_bench *b = *state;
	char device[16];

	for (int i = 0; i < 120; i++) {
		snprintf(device, sizeof(device), "pump%d", i);
		assert_int_equal(bench_submit(b, device, "7"), 0);
	}
	bench_commit(b);
	assert_int_equal(b->n_published, 120);
	assert_int_equal(bench_submit(b, "pump200", "7"), 0);
	assert_refused(b, "pump200", "7", "busy");
	/* one ends, one can come */
	assert_int_equal(bench_answer(b, 5, "{\"id\":\"%s\"}"), 1);
	bench_send(b, "pump200", "8");
}

static void more_than_a_device_may_have_is_busy_and_leaves_room_for_others(void **state)
{
	struct desk_bench *b = *state;
	char id[16];

	for (int i = 0; i < FG_COMMANDS_OF_DEVICE; i++) {
		snprintf(id, sizeof(id), "%d", i);
		assert_int_equal(bench_submit(b, "pump1", id), 0);
	}
	assert_int_equal(bench_submit(b, "pump1", "x"), 0);
	assert_refused(b, "pump1", "x", "busy");
	bench_commit(b);
	bench_send(b, "pump2", "7");
}

static void more_bytes_than_the_desk_holds_is_busy(void **state)
{
	struct desk_bench *b = *state;
	char params[900], device[16];
	struct fg_command command = {.params = {params, sizeof(params)}};
	int i;

	memset(params, '1', sizeof(params));
	for (i = 0; i < 120 && bench_stats(b).errors[FG_COMMAND_BUSY] == 0; i++) {
		snprintf(device, sizeof(device), "pump%d", i);
		assert_int_equal(bench_submit_command(b, device, "7", &command), 0);
	}
	assert_int_equal(i, 65536 / 902 + 1);
}

static void what_cannot_even_be_answered_is_dropped_and_counted(void **state)
{
	struct desk_bench *b = *state;
	char device[300] = {0}, id[FG_COMMAND_ID_MAX + 2] = {0};

	memset(device, 'd', sizeof(device) - 1);
	memset(id, 'i', sizeof(id) - 1);
	assert_int_equal(bench_submit(b, "", "7"), -EINVAL);
	assert_int_equal(bench_submit(b, device, "7"), -EINVAL);
	assert_int_equal(bench_submit(b, "pump1", ""), -EINVAL);
	assert_int_equal(bench_submit(b, "pump1", id), -EINVAL);
	assert_int_equal(bench_stats(b).dropped, 4);
	assert_int_equal(b->lane->n_records, 0);
}

/* ------------------------------------------------------------------ deadlines */

static void our_answer_is_there_before_the_cloud_gives_up(void **state)
{
	static const struct {
		int64_t cloud_ms, ours_ms;
	} times[] = {{20000, 15000}, {10000, 7500}, {100000, 30000}, {32000, 27000}, {1000, 500},
		     {1600, 1100},   {600, 300},    {0, 30000},      {1, 1}};
	struct desk_bench *b = *state;
	int64_t start = bench_now(b);
	char id[16];

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct fg_command command = {.timeout_ms = times[i].cloud_ms};

		snprintf(id, sizeof(id), "pump%zu", i);
		assert_int_equal(bench_submit_command(b, id, id, &command), 0);
		assert_int_equal(fg_command_desk_next(b->desk), start + times[i].ours_ms);
		bench_commit(b);
		bench_ack(b, i, 0);
		bench_answer(b, i, "{\"id\":\"%s\"}");
	}
	assert_int_equal(fg_command_desk_next(b->desk), INT64_MAX);
}

static void a_time_that_is_the_devices_is_its_whole(void **state)
{
	static const struct {
		int64_t device_ms, ours_ms;
	} times[] = {{15000, 15000}, {1000, 1000}, {19000, 19000}, {100000, 30000}};
	struct desk_bench *b = *state;
	int64_t start = bench_now(b);
	char id[16];

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct fg_command command = {.timeout_ms = times[i].device_ms,
					     .is_device_time = true};

		snprintf(id, sizeof(id), "pump%zu", i);
		assert_int_equal(bench_submit_command(b, id, id, &command), 0);
		assert_int_equal(fg_command_desk_next(b->desk), start + times[i].ours_ms);
		bench_commit(b);
		bench_ack(b, i, 0);
		bench_answer(b, i, "{\"id\":\"%s\"}");
	}
}

static void a_device_that_does_not_answer_may_have_done_it(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_ack(b, 0, 0);
	bench_tick(b, 7499);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_DELIVERED);
	bench_tick(b, 1);
	assert_refused(b, "pump1", "7", "unknown_outcome");
	assert_string_equal(b->last_states, "GSDE");
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\"}"), 1);
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
	assert_int_equal(bench_stats(b).late, 1);
}

static void a_broker_that_does_not_acknowledge_may_have_it(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "horn1", "7");
	bench_tick(b, 7500);
	assert_refused(b, "horn1", "7", "unknown_outcome");
	bench_ack(b, 0, 0);
	assert_int_equal(bench_responses(b, "horn1", "7"), 1);
}

static void a_commit_that_takes_too_long_is_a_timeout_and_nothing_is_published(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_submit(b, "lamp1", "8"), 0);
	assert_int_equal(bench_submit(b, "lamp1", "9"), 0); /* NEW, behind the other */
	bench_tick(b, 7500);
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
	assert_int_equal(bench_responses(b, "lamp1", "8"), 1);
	assert_int_equal(bench_responses(b, "lamp1", "9"), 1);
	assert_int_equal(bench_stats(b).errors[FG_COMMAND_TIMEOUT], 3);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
}

/* The tick is late, the commit is not: the clock decides, not who comes first. */
static void nothing_is_published_at_its_deadline(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_pass(b, 7500);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_refused(b, "pump1", "7", "timeout");
}

static void the_last_moment_is_good_enough(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_pass(b, 7499);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(b->published[0].expiry_s, 1);
}

/* ------------------------------------------------------------------ one device, many commands */

static void a_device_works_on_as_many_as_it_may_and_the_others_wait_in_order(void **state)
{
	struct desk_bench *b = *state;
	static const char *const ids[] = {"a", "b", "c", "d"};

	for (int i = 0; i < 4; i++)
		assert_int_equal(bench_submit(b, "pump1", ids[i]), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_int_equal(bench_state(b, "pump1", "c"), FG_COMMAND_WAITING);
	assert_int_equal(bench_answer(b, 1, "{\"id\":\"%s\"}"), 1);
	/* its turn has to be on disk first */
	assert_int_equal(bench_state(b, "pump1", "c"), FG_COMMAND_GOING_OUT);
	assert_int_equal(b->n_published, 2);
	bench_commit(b);
	assert_int_equal(b->n_published, 3);
	bench_answer(b, 0, "{\"id\":\"%s\"}");
	bench_commit(b);
	bench_answer(b, 2, "{\"id\":\"%s\",\"v\":\"c\"}");
	assert_answered(b, "pump1", "c", "{\"result\":\"c\"}");
	bench_answer(b, 3, "{\"id\":\"%s\",\"v\":\"d\"}");
	assert_answered(b, "pump1", "d", "{\"result\":\"d\"}");
}

static void a_slow_device_holds_no_other(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	bench_send(b, "lamp2", "1");
}

static void what_waits_for_its_turn_too_long_has_not_run(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	bench_pass(b, 1000);
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	bench_tick(b, 6500);
	assert_refused(b, "lamp1", "1", "unknown_outcome");
	bench_tick(b, 1000);
	assert_refused(b, "lamp1", "2", "timeout");
	assert_int_equal(b->n_published, 1);
}

static void an_older_command_that_comes_back_goes_first(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "valve1", "1");
	assert_int_equal(bench_submit(b, "valve1", "2"), 0);
	bench_commit(b);
	bench_ack(b, 0, 0x10);
	assert_int_equal(bench_state(b, "valve1", "1"), FG_COMMAND_WAITING);
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_string_equal(b->published[1].id, b->published[0].id);
}

/* ------------------------------------------------------------------ devices that are not there */

static void a_command_that_may_wait_goes_when_its_device_comes(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit(b, "valve1", "7"), 0);
	bench_commit(b);
	bench_tick(b, 1000);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str("valve1"), bench_now(b));
	assert_int_equal(b->n_published, 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_answered(b, "valve1", "7", "{\"result\":1}");
	assert_string_equal(b->last_states, "WGSE");
}

static void a_broker_that_is_back_may_bring_any_device(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	bench_submit(b, "valve1", "7");
	bench_submit(b, "valve2", "7");
	bench_submit(b, "motor1", "7");
	bench_commit(b);
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str(NULL), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 3);
}

static void a_device_that_does_not_come_in_time_is_offline(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit(b, "valve1", "7"), 0);
	bench_commit(b);
	bench_tick(b, 7500);
	assert_refused(b, "valve1", "7", "offline");
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str("valve1"), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
}

static void a_device_that_goes_takes_those_along_that_will_not_wait(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	b->reach = FG_REACH_DOWN;
	fg_command_desk_device_down(b->desk, fg_span_str("lamp1"), bench_now(b));
	assert_refused(b, "lamp1", "2", "offline");
	/* what it has already it may still answer */
	assert_int_equal(bench_state(b, "lamp1", "1"), FG_COMMAND_SENT);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_answered(b, "lamp1", "1", "{\"result\":1}");
}

static void a_device_that_goes_while_its_command_is_written_is_asked_all_the_same(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	b->reach = FG_REACH_DOWN;
	fg_command_desk_device_down(b->desk, fg_span_str("pump1"), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
}

/* ------------------------------------------------------------------ no way to the device yet */

/* One of a rule that refuses for a device that has gone, one of a rule that waits. */
static void submit_both(struct desk_bench *b)
{
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_submit(b, "valve1", "7"), 0);
}

static void assert_both_wait(struct desk_bench *b)
{
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_WAITING);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	assert_int_equal(b->n_published, 0);
}

/* The way is there, and each is published, once. */
static void both_go(struct desk_bench *b, const char *who)
{
	b->reach = FG_REACH_UP;
	b->publish_error = 0;
	for (int i = 0; i < 2; i++) {
		fg_command_desk_device_up(b->desk, fg_span_str(who), bench_now(b));
		if (!who)
			break;
		who = "valve1";
	}
	assert_int_equal(b->n_published, 0); /* that they are going out is not on disk */
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	bench_tick(b, 1000);
	bench_commit(b);
	fg_command_desk_device_up(b->desk, fg_span_str(NULL), bench_now(b));
	assert_int_equal(b->n_published, 2);
}

static void a_command_waits_for_the_session_with_its_broker(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_NO_BROKER;
	submit_both(b);
	bench_commit(b);
	assert_both_wait(b);
	bench_tick(b, 5000);
	assert_both_wait(b);
	/* Its cloud has lost patience; that is the same command. */
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_commit(b);
	both_go(b, NULL);
	assert_string_equal(b->last_states, "WWGGSS");
	assert_int_equal(bench_stats(b).duplicates, 1);
	assert_int_equal(b->published[0].expiry_s, 2); /* its time ran all the while */
}

static void a_session_that_comes_before_the_commit_is_not_waited_for(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_NO_BROKER;
	submit_both(b);
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str(NULL), bench_now(b));
	bench_commit(b);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_GOING_OUT);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
}

static void a_command_whose_session_ends_as_it_goes_out_waits_for_the_next(void **state)
{
	struct desk_bench *b = *state;

	submit_both(b);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_GOING_OUT);
	b->reach = FG_REACH_NO_BROKER;
	b->publish_error = -ENOTCONN;
	bench_commit(b);
	assert_both_wait(b);
	bench_commit(b);
	bench_tick(b, 5000);
	assert_both_wait(b);
	both_go(b, NULL);
}

static void a_connection_that_is_full_is_tried_again(void **state)
{
	struct desk_bench *b = *state;

	submit_both(b);
	b->publish_error = -EAGAIN;
	bench_commit(b);
	assert_both_wait(b);
	b->publish_error = 0;
	bench_tick(b, 999);
	bench_commit(b);
	assert_both_wait(b);
	bench_tick(b, 1);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
}

static void what_waits_for_its_turn_waits_on_when_the_session_ends(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	b->reach = FG_REACH_NO_BROKER;
	bench_tick(b, 1000);
	assert_int_equal(bench_state(b, "lamp1", "1"), FG_COMMAND_SENT);
	/* The answer of the first came with the next session. */
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_int_equal(bench_state(b, "lamp1", "2"), FG_COMMAND_WAITING);
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str(NULL), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
}

static void a_command_waits_until_its_device_is_heard_at_one_of_several_brokers(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_UNHEARD;
	submit_both(b);
	bench_commit(b);
	assert_both_wait(b);
	fg_command_desk_device_up(b->desk, fg_span_str(NULL), bench_now(b)); /* another broker */
	bench_tick(b, 5000);
	assert_both_wait(b);
	both_go(b, "pump1");
}

static void the_answer_says_what_was_waited_for(void **state)
{
	static const struct {
		enum fg_command_reach reach;
		const char *code, *text;
	} cells[] = {
		{FG_REACH_DOWN, "offline", "the device was not there in time"},
		{FG_REACH_NO_BROKER, "offline",
		 "the gateway had no session with the device's broker in time"},
		{FG_REACH_UNHEARD, "unknown_device",
		 "nothing was heard of the device in time to know which broker it is at"},
		{FG_REACH_UP, "timeout",
		 "there was no time left to hand the command to the device"},
	};
	struct desk_bench *b = *state;

	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		char id[8];

		snprintf(id, sizeof(id), "%zu", i);
		b->reach = FG_REACH_NO_BROKER;
		assert_int_equal(bench_submit(b, "valve1", id), 0);
		bench_commit(b);
		bench_tick(b, 7499);
		assert_int_equal(bench_state(b, "valve1", id), FG_COMMAND_WAITING);
		b->reach = cells[i].reach;
		bench_tick(b, 1);
		assert_refused_with(b, "valve1", id, cells[i].code, cells[i].text);
	}
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str(NULL), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
}

static void who_waits_for_a_session_hears_when_the_device_has_gone(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_NO_BROKER;
	submit_both(b);
	bench_commit(b);
	b->reach = FG_REACH_DOWN;
	fg_command_desk_device_down(b->desk, fg_span_str("pump1"), bench_now(b));
	assert_refused_with(b, "pump1", "7", "offline", "the device is not there");
	fg_command_desk_device_down(b->desk, fg_span_str("valve1"), bench_now(b));
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
}

static void a_one_way_command_waits_for_the_session_too(void **state)
{
	struct fg_command command = {.is_one_way = true};
	struct desk_bench *b = *state;

	b->reach = FG_REACH_NO_BROKER;
	assert_int_equal(bench_submit_command(b, "horn1", "7", &command), 0);
	assert_int_equal(bench_submit_command(b, "horn2", "7", &command), 0);
	bench_commit(b);
	bench_tick(b, 20000);
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str("horn1"), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	b->reach = FG_REACH_NO_BROKER;
	bench_tick(b, 10000);
	assert_int_equal(bench_state(b, "horn2", "7"), FG_COMMAND_ENDED);
	assert_int_equal(bench_responses(b, "horn2", "7"), 0);
}

static void commands_that_wait_for_a_session_leave_no_room_for_more_than_there_may_be(void **state)
{
	struct desk_bench *b = *state;
	char device[16];

	b->reach = FG_REACH_NO_BROKER;
	for (int i = 0; i < 120; i++) {
		snprintf(device, sizeof(device), "pump%d", i);
		assert_int_equal(bench_submit(b, device, "7"), 0);
	}
	assert_int_equal(bench_submit(b, "pump200", "7"), 0);
	assert_refused(b, "pump200", "7", "busy");
}

/* ------------------------------------------------------------------ what the broker says */

static void nobody_there_is_as_good_as_a_device_that_is_down(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_ack(b, 0, 0x10);
	assert_refused(b, "pump1", "7", "offline");
	bench_send(b, "valve1", "7");
	bench_ack(b, 1, 0x10);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	bench_tick(b, 7500);
	assert_refused(b, "valve1", "7", "offline");
}

/* Each attempt costs two notes. */
static void attempts_at_a_device_that_is_not_there_become_rare(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command command = {.timeout_ms = 0};

	assert_int_equal(bench_submit_command(b, "valve1", "7", &command), 0);
	for (int s = 0; s < 3600; s++) {
		size_t before = b->n_published;

		bench_commit(b);
		if (b->n_published > before)
			bench_ack(b, before, 0x10);
		bench_tick(b, 1000);
	}
	assert_in_range(b->n_published, 60, 70);
}

static void a_broker_that_refuses_for_good_ends_it(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "valve1", "7");
	bench_ack(b, 0, 0x87);
	assert_refused(b, "valve1", "7", "offline");
}

static void what_publish_says_decides(void **state)
{
	static const struct {
		int error;
		const char *code;
	} errors[] = {{-EMSGSIZE, "bad_params"}, {-EINVAL, "offline"}};
	struct desk_bench *b = *state;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		char device[16];

		snprintf(device, sizeof(device), "valve%zu", i);
		assert_int_equal(bench_submit(b, device, "7"), 0);
		b->publish_error = errors[i].error;
		bench_commit(b);
		assert_refused(b, device, "7", errors[i].code);
	}
}

/* ------------------------------------------------------------------ answers of all sorts */

static void a_second_answer_is_late(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}"), 1);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":2}"), 1);
	assert_answered(b, "pump1", "7", "{\"result\":1}");
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
	assert_int_equal(bench_stats(b).late, 1);
}

static void what_answers_no_command_is_left_to_the_mappings(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_arrive(b, "pump/pump1/done", "{\"id\":\"1f00000000\"}"), 0);
	bench_send(b, "pump1", "7");
	assert_int_equal(bench_arrive(b, "pump/pump1/done", "{\"id\":\"1f00000000\"}"), 0);
	assert_int_equal(bench_arrive(b, "pump/pump1/done", "{\"id\":\"7\"}"), 0);
	assert_int_equal(bench_arrive(b, "pump/pump1/done", "{\"id\":\"zzzzzzzzzz\"}"), 0);
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "on"), 0);
	assert_int_equal(bench_arrive(b, "pump/pump1/telemetry", "{\"id\":\"1\"}"), 0);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_SENT);
	assert_int_equal(bench_stats(b).unmatched, 4);
}

static void nothing_else_comes_below_the_gateways_own_prefix(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_arrive(b, "fieldgate/gw/response/1f00000000", "1"), 1);
	assert_int_equal(bench_arrive(b, "fieldgate/other/response/1f00000000", "1"), 0);
}

static void the_id_of_another_device_does_not_answer(void **state)
{
	struct desk_bench *b = *state;
	char payload[64];

	bench_send(b, "pump1", "7");
	snprintf(payload, sizeof(payload), "{\"id\":\"%s\"}", b->published[0].id);
	assert_int_equal(bench_arrive(b, "pump/pump2/done", payload), 0);
	assert_int_equal(bench_arrive(b, "pump/pump1/done", payload), 1);
}

/* The number alone is easy to guess for a device that counts; the rest of the id is not. */
static void a_number_alone_does_not_answer(void **state)
{
	struct desk_bench *b = *state;
	char id[FG_WIRE_ID_MAX + 1], payload[64];
	size_t n;

	bench_send(b, "pump1", "7");
	snprintf(id, sizeof(id), "%s", b->published[0].id);
	n = strlen(id);
	assert_int_equal(n, 9);
	id[n - 1] = id[n - 1] == '0' ? '1' : '0';
	snprintf(payload, sizeof(payload), "{\"id\":\"%s\"}", id);
	assert_int_equal(bench_arrive(b, "pump/pump1/done", payload), 0);
	assert_int_equal(bench_arrive(b, "pump/pump1/done", "{\"id\":\"1\"}"), 0);
}

static void what_the_broker_kept_is_no_answer(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command_arrival arrival = {.topic = fg_span_str("lamp/lamp1/state"),
					     .payload = fg_span_str("on"),
					     .is_retained = true};

	bench_send(b, "lamp1", "7");
	assert_int_equal(fg_command_desk_arrived(b->desk, &arrival, bench_now(b)), 0);
	arrival.is_retained = false;
	assert_int_equal(fg_command_desk_arrived(b->desk, &arrival, bench_now(b)), 1);
}

static void an_answer_nobody_can_read_ends_it_too(void **state)
{
	struct desk_bench *b = *state;
	char large[1200];

	bench_send(b, "lamp1", "1");
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "\xff\xfe"), 1);
	assert_refused(b, "lamp1", "1", "unknown_outcome");
	/* it has answered: the next one needs not wait */
	memset(large, '1', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	bench_send(b, "lamp1", "2");
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", large), 1);
	assert_refused(b, "lamp1", "2", "unknown_outcome");
	bench_send(b, "lamp1", "3");
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "on"), 1);
	assert_answered(b, "lamp1", "3", "{\"result\":\"on\"}");
}

/* ------------------------------------------------------------------ without correlation */

static void a_late_answer_does_not_answer_the_next_command(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	bench_tick(b, 7500);
	assert_refused(b, "lamp1", "1", "unknown_outcome");
	assert_int_equal(bench_state(b, "lamp1", "1"), FG_COMMAND_SILENT);
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "late"), 1);
	assert_int_equal(bench_stats(b).late, 1);
	/* now it is quiet, and the next one may go */
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "on"), 1);
	assert_answered(b, "lamp1", "2", "{\"result\":\"on\"}");
	assert_int_equal(bench_responses(b, "lamp1", "1"), 1);
}

static void a_silent_device_gets_the_next_command_after_a_while(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command patient = {.timeout_ms = 0}; /* the rule's 30 s */

	bench_send(b, "lamp1", "1");
	bench_tick(b, 7500);
	bench_pass(b, 10000);
	assert_int_equal(bench_submit_command(b, "lamp1", "2", &patient), 0);
	bench_commit(b);
	bench_tick(b, 19999);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	bench_tick(b, 1);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
}

static void one_that_stays_silent_keeps_no_others_from_being_forgotten(void **state)
{
	struct desk_bench *b = *state;
	char id[16];

	b->sent_seq = UINT64_MAX;
	bench_send(b, "lamp1", "1");
	bench_tick(b, 7500);
	for (int i = 0; i < FG_COMMANDS_REMEMBERED + 500; i++) {
		snprintf(id, sizeof(id), "%d", i);
		assert_int_equal(bench_submit(b, "unheard-of", id), 0);
		bench_commit(b);
		bench_tick(b, 0);
	}
	assert_int_equal(bench_state(b, "lamp1", "1"), FG_COMMAND_SILENT);
	assert_in_range(bench_stats(b).states[FG_COMMAND_ENDED], FG_COMMANDS_REMEMBERED - 1,
			FG_COMMANDS_REMEMBERED);
}

static void the_silence_of_one_device_is_nothing_to_another(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	bench_tick(b, 7500);
	bench_send(b, "lamp2", "1");
}

static void a_one_way_command_still_keeps_its_answer_from_the_next(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "lamp1", "1", ONE_WAY), 0);
	bench_commit(b);
	bench_ack(b, 0, 0);
	assert_int_equal(bench_state(b, "lamp1", "1"), FG_COMMAND_DELIVERED);
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "on"), 1);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_int_equal(lane_count(b->lane, FG_COMMAND_RESPONSE), 0);
}

/* ------------------------------------------------------------------ duplicates */

static void a_command_that_comes_again_while_it_is_open_is_ignored(void **state)
{
	struct desk_bench *b = *state;
	uint64_t first;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	first = b->ticket;
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(b->ticket, first); /* it may be acknowledged no earlier */
	bench_commit(b);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(b->ticket, 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_stats(b).duplicates, 2);
	assert_int_equal(bench_stats(b).received, 1);
	bench_answer(b, 0, "{\"id\":\"%s\"}");
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
}

static void a_command_that_comes_again_later_gets_the_same_answer(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}");
	bench_commit(b);
	/* while the answer is on its way to the cloud, that will do */
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
	b->sent_seq = b->lane->n_records;
	/* before the next tick */
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(b->ticket, fg_journal_ticket(b->lane));
	assert_int_equal(bench_responses(b, "pump1", "7"), 2);
	assert_answered(b, "pump1", "7", "{\"result\":1}");
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_stats(b).repeated, 1);
}

static void a_refused_command_that_comes_again_is_refused_again(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_commit(b);
	b->sent_seq = b->lane->n_records;
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_refused(b, "pump1", "7", "offline");
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
}

static void a_one_way_command_that_comes_again_is_not_sent_again(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "horn1", "7", ONE_WAY), 0);
	bench_commit(b);
	bench_ack(b, 0, 0);
	bench_commit(b);
	assert_int_equal(bench_submit_command(b, "horn1", "7", ONE_WAY), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
}

static void a_command_is_remembered_until_its_cloud_has_the_answer_and_then_some(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}");
	bench_commit(b);
	bench_tick(b, 24 * 3600 * 1000);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_stats(b).duplicates, 1);
	b->sent_seq = b->lane->n_records;
	bench_tick(b, 1000);
	bench_tick(b, FG_COMMAND_REMEMBERED_MS - 1);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_stats(b).duplicates, 2);
	bench_commit(b);
	b->sent_seq = b->lane->n_records;
	bench_tick(b, 1000);
	bench_tick(b, FG_COMMAND_REMEMBERED_MS);
	/* and nothing of it is kept on disk any more */
	assert_int_equal(lane_watermark(b->lane), b->lane->n_records);
	bench_send(b, "pump1", "7");
}

/* Nothing comes back that proves that the cloud has had the PUBACK. */
static void a_one_way_command_is_remembered_while_its_cloud_is_away(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "horn1", "7", ONE_WAY), 0);
	bench_commit(b);
	bench_ack(b, 0, 0);
	bench_commit(b);
	b->is_cloud_away = true;
	for (int i = 0; i < 24; i++)
		bench_tick(b, 3600 * 1000);
	b->is_cloud_away = false;
	assert_int_equal(bench_submit_command(b, "horn1", "7", ONE_WAY), 0);
	assert_int_equal(bench_stats(b).duplicates, 1);
	bench_tick(b, FG_COMMAND_REMEMBERED_MS);
	assert_int_equal(lane_watermark(b->lane), b->lane->n_records);
}

static void the_key_tells_one_command_from_another(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command one = {.key = fg_span_str("k1"), .timeout_ms = 10000};
	struct fg_command two = {.key = fg_span_str("k2"), .timeout_ms = 10000};

	assert_int_equal(bench_submit_command(b, "pump1", "0", &one), 0);
	assert_int_equal(bench_submit_command(b, "pump1", "1", &one), 0); /* the same */
	assert_int_equal(bench_submit_command(b, "pump1", "2", &two), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_int_equal(bench_stats(b).duplicates, 1);
}

static void two_clouds_may_use_the_same_ids(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command command = {
		.device = fg_span_str("pump1"), .id = fg_span_str("0"), .name = fg_span_str("go")};
	const struct fg_message *last;
	uint64_t ticket;

	assert_int_equal(bench_submit(b, "pump1", "0"), 0);
	assert_int_equal(fg_command_desk_submit(b->desk, fg_span_str("other"), &command,
						bench_now(b), &ticket),
			 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	bench_answer(b, 1, "{\"id\":\"%s\",\"v\":2}");
	last = lane_last(b->lane, 0);
	assert_true(fg_span_is(last->link, "other"));
	bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}");
	assert_answered(b, "pump1", "0", "{\"result\":1}");
}

static void a_cloud_that_uses_an_id_anew_gets_only_the_answer_of_the_new_one(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command one = {.key = fg_span_str("k1"), .timeout_ms = 10000};
	struct fg_command two = {.key = fg_span_str("k2"), .timeout_ms = 10000};

	assert_int_equal(bench_submit_command(b, "pump1", "0", &one), 0);
	bench_commit(b);
	assert_int_equal(bench_submit_command(b, "pump1", "0", &two), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":\"old\"}"), 1);
	assert_int_equal(bench_responses(b, "pump1", "0"), 0);
	assert_int_equal(bench_answer(b, 1, "{\"id\":\"%s\",\"v\":\"new\"}"), 1);
	assert_answered(b, "pump1", "0", "{\"result\":\"new\"}");
	assert_int_equal(bench_responses(b, "pump1", "0"), 1);
	assert_int_equal(bench_stats(b).done, 1);
}

static void the_last_ones_are_remembered_and_no_more(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command command = {.is_one_way = true};
	char id[16];

	for (int i = 0; i < FG_COMMANDS_REMEMBERED + 10; i++) {
		snprintf(id, sizeof(id), "%d", i);
		assert_int_equal(bench_submit_command(b, "nobody", id, &command), 0);
	}
	bench_commit(b);
	assert_int_equal(bench_stats(b).states[FG_COMMAND_ENDED], FG_COMMANDS_REMEMBERED);
	assert_int_equal(bench_submit_command(b, "nobody", "10", &command), 0);
	assert_int_equal(bench_stats(b).duplicates, 1);
	assert_int_equal(bench_submit_command(b, "nobody", "9", &command), 0);
	assert_int_equal(bench_stats(b).duplicates, 1);
}

/* ------------------------------------------------------------------ a journal without room */

static void without_room_nothing_is_taken(void **state)
{
	struct desk_bench *b = *state;
	static const int errors[] = {-EAGAIN, -ENOSPC};

	for (int i = 0; i < 2; i++) {
		b->lane->append_error = errors[i];
		assert_int_equal(bench_submit(b, "pump1", "7"), -EAGAIN);
	}
	b->lane->append_error = 0;
	b->lane->drops = true;
	assert_int_equal(bench_submit(b, "pump1", "7"), -EAGAIN);
	assert_int_equal(bench_stats(b).open, 0);
	b->lane->drops = false;
	bench_send(b, "pump1", "7"); /* as it comes again */
}

static void a_command_too_large_for_the_journal_is_refused(void **state)
{
	struct desk_bench *b = *state;
	char params[900];
	struct fg_command command = {.params = {params, sizeof(params)}};

	memset(params, '1', sizeof(params));
	b->lane->max_record = 800;
	assert_int_equal(bench_submit_command(b, "pump1", "7", &command), 0);
	assert_refused(b, "pump1", "7", "no_room");
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_int_equal(bench_stats(b).open, 0);
	bench_send(b, "pump1", "8");
}

static void a_refusal_without_room_is_owed(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	b->lane->append_error = -EAGAIN;
	b->lane->fail_after = 1; /* its note is taken */
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(b->ticket, fg_journal_ticket(b->lane));
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_OWED);
	bench_commit(b);
	assert_int_equal(bench_responses(b, "pump1", "7"), 0);
	b->lane->append_error = 0;
	b->reach = FG_REACH_UP;
	bench_commit(b);
	assert_refused(b, "pump1", "7", "offline");
	assert_int_equal(b->n_published, 0);
}

static void an_answer_without_room_is_left_with_its_broker(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	b->lane->append_error = -ENOSPC;
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}"), -EAGAIN);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_SENT);
	b->lane->append_error = 0;
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}"), 1);
	assert_answered(b, "pump1", "7", "{\"result\":1}");
}

/* What is configured to be dropped is dropped, and the cloud learns that much. */
static void an_answer_that_is_dropped_for_want_of_room_has_an_unknown_outcome(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	b->lane->drops = true;
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}"), 1);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_OWED);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}"), 1);
	assert_int_equal(bench_stats(b).late, 1);
	b->lane->drops = false;
	bench_tick(b, 1000);
	assert_refused(b, "pump1", "7", "unknown_outcome");
}

static void a_turn_without_room_comes_when_there_is_some(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	b->lane->append_error = -EAGAIN;
	b->lane->fail_after = 1; /* the answer is taken, the turn is not */
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "on"), 1);
	bench_commit(b);
	assert_int_equal(bench_state(b, "lamp1", "2"), FG_COMMAND_WAITING);
	b->lane->append_error = 0;
	bench_commit(b);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
}

static void the_end_of_a_command_without_answers_can_be_owed_too(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "horn1", "7");
	b->lane->append_error = -EAGAIN;
	bench_ack(b, 0, 0);
	assert_int_equal(bench_state(b, "horn1", "7"), FG_COMMAND_OWED);
	bench_tick(b, 60000);
	b->lane->append_error = 0;
	bench_commit(b);
	assert_answered(b, "horn1", "7", "{\"result\":null}");
}

/* ------------------------------------------------------------------ the end, and looking on */

static void after_stop_nothing_goes_out_but_answers_come_in(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "1");
	assert_int_equal(bench_submit(b, "pump1", "2"), 0);
	fg_command_desk_stop(b->desk);
	assert_int_equal(bench_submit(b, "pump1", "3"), -EAGAIN);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_state(b, "pump1", "2"), FG_COMMAND_WAITING);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\"}"), 1);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
}

static int stop_at_first(void *arg, const struct fg_command_view *view)
{
	unsigned *n = arg;

	assert_true(fg_span_is(view->device, "pump1"));
	assert_true(fg_span_is(view->name, "go"));
	assert_true(fg_span_is(view->link, "cloud"));
	assert_int_equal(view->state, FG_COMMAND_SENT);
	assert_int_equal(view->deadline_ms - view->received_ms, 7500);
	assert_int_equal(strlen(view->wire_id), 9);
	(*n)++;
	return 17;
}

static void open_commands_can_be_looked_at(void **state)
{
	struct desk_bench *b = *state;
	unsigned n = 0;

	bench_send(b, "pump1", "1");
	bench_send(b, "pump1", "2");
	assert_int_equal(fg_command_desk_each(b->desk, stop_at_first, &n), 17);
	assert_int_equal(n, 1);
	for (int i = 0; i < FG_N_COMMAND_STATES; i++)
		assert_non_null(fg_command_state_word((enum fg_command_state)i));
}

#define DESK_TEST(name) cmocka_unit_test_setup_teardown(name, desk_bench_setup, desk_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DESK_TEST(a_command_goes_down_and_its_answer_comes_back),
		DESK_TEST(a_device_that_is_free_gets_its_command_after_one_commit),
		DESK_TEST(an_answer_may_come_before_the_broker_acknowledges),
		DESK_TEST(a_device_may_say_no),
		DESK_TEST(with_qos_0_nothing_is_waited_for_but_the_answer),
		DESK_TEST(mqtt5_asks_for_the_answer),
		DESK_TEST(without_answers_the_brokers_word_is_the_answer),
		DESK_TEST(a_one_way_command_ends_without_a_response),
		DESK_TEST(a_one_way_command_that_is_refused_ends_without_a_response),
		DESK_TEST(what_cannot_go_down_is_refused_at_once),
		DESK_TEST(parameters_above_the_largest_message_are_refused),
		DESK_TEST(a_device_that_is_not_there_is_refused),
		DESK_TEST(more_than_the_desk_holds_is_busy),
		DESK_TEST(more_than_a_device_may_have_is_busy_and_leaves_room_for_others),
		DESK_TEST(more_bytes_than_the_desk_holds_is_busy),
		DESK_TEST(what_cannot_even_be_answered_is_dropped_and_counted),
		DESK_TEST(our_answer_is_there_before_the_cloud_gives_up),
		DESK_TEST(a_time_that_is_the_devices_is_its_whole),
		DESK_TEST(a_device_that_does_not_answer_may_have_done_it),
		DESK_TEST(a_broker_that_does_not_acknowledge_may_have_it),
		DESK_TEST(a_commit_that_takes_too_long_is_a_timeout_and_nothing_is_published),
		DESK_TEST(nothing_is_published_at_its_deadline),
		DESK_TEST(the_last_moment_is_good_enough),
		DESK_TEST(a_device_works_on_as_many_as_it_may_and_the_others_wait_in_order),
		DESK_TEST(a_slow_device_holds_no_other),
		DESK_TEST(what_waits_for_its_turn_too_long_has_not_run),
		DESK_TEST(an_older_command_that_comes_back_goes_first),
		DESK_TEST(a_command_that_may_wait_goes_when_its_device_comes),
		DESK_TEST(a_broker_that_is_back_may_bring_any_device),
		DESK_TEST(a_device_that_does_not_come_in_time_is_offline),
		DESK_TEST(a_device_that_goes_takes_those_along_that_will_not_wait),
		DESK_TEST(a_device_that_goes_while_its_command_is_written_is_asked_all_the_same),
		DESK_TEST(a_command_waits_for_the_session_with_its_broker),
		DESK_TEST(a_session_that_comes_before_the_commit_is_not_waited_for),
		DESK_TEST(a_command_whose_session_ends_as_it_goes_out_waits_for_the_next),
		DESK_TEST(a_connection_that_is_full_is_tried_again),
		DESK_TEST(what_waits_for_its_turn_waits_on_when_the_session_ends),
		DESK_TEST(a_command_waits_until_its_device_is_heard_at_one_of_several_brokers),
		DESK_TEST(the_answer_says_what_was_waited_for),
		DESK_TEST(who_waits_for_a_session_hears_when_the_device_has_gone),
		DESK_TEST(a_one_way_command_waits_for_the_session_too),
		DESK_TEST(
			commands_that_wait_for_a_session_leave_no_room_for_more_than_there_may_be),
		DESK_TEST(nobody_there_is_as_good_as_a_device_that_is_down),
		DESK_TEST(attempts_at_a_device_that_is_not_there_become_rare),
		DESK_TEST(a_broker_that_refuses_for_good_ends_it),
		DESK_TEST(what_publish_says_decides),
		DESK_TEST(a_second_answer_is_late),
		DESK_TEST(what_answers_no_command_is_left_to_the_mappings),
		DESK_TEST(nothing_else_comes_below_the_gateways_own_prefix),
		DESK_TEST(the_id_of_another_device_does_not_answer),
		DESK_TEST(a_number_alone_does_not_answer),
		DESK_TEST(what_the_broker_kept_is_no_answer),
		DESK_TEST(an_answer_nobody_can_read_ends_it_too),
		DESK_TEST(a_late_answer_does_not_answer_the_next_command),
		DESK_TEST(a_silent_device_gets_the_next_command_after_a_while),
		DESK_TEST(one_that_stays_silent_keeps_no_others_from_being_forgotten),
		DESK_TEST(the_silence_of_one_device_is_nothing_to_another),
		DESK_TEST(a_one_way_command_still_keeps_its_answer_from_the_next),
		DESK_TEST(a_command_that_comes_again_while_it_is_open_is_ignored),
		DESK_TEST(a_command_that_comes_again_later_gets_the_same_answer),
		DESK_TEST(a_refused_command_that_comes_again_is_refused_again),
		DESK_TEST(a_one_way_command_that_comes_again_is_not_sent_again),
		DESK_TEST(a_command_is_remembered_until_its_cloud_has_the_answer_and_then_some),
		DESK_TEST(a_one_way_command_is_remembered_while_its_cloud_is_away),
		DESK_TEST(the_key_tells_one_command_from_another),
		DESK_TEST(two_clouds_may_use_the_same_ids),
		DESK_TEST(a_cloud_that_uses_an_id_anew_gets_only_the_answer_of_the_new_one),
		DESK_TEST(the_last_ones_are_remembered_and_no_more),
		DESK_TEST(without_room_nothing_is_taken),
		DESK_TEST(a_command_too_large_for_the_journal_is_refused),
		DESK_TEST(a_refusal_without_room_is_owed),
		DESK_TEST(an_answer_without_room_is_left_with_its_broker),
		DESK_TEST(an_answer_that_is_dropped_for_want_of_room_has_an_unknown_outcome),
		DESK_TEST(a_turn_without_room_comes_when_there_is_some),
		DESK_TEST(the_end_of_a_command_without_answers_can_be_owed_too),
		DESK_TEST(after_stop_nothing_goes_out_but_answers_come_in),
		DESK_TEST(open_commands_can_be_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
