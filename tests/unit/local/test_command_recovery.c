/* What becomes of commands when the process or the machine is restarted. */
#include "desk_bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "journal/format.h"
#include "util/span.h"

#define HOUR_MS (3600 * 1000)
#define ALL UINT64_MAX

static const struct fg_command patient = {.params = {"1", 1}, .timeout_ms = 24 * HOUR_MS};
static const struct fg_command one_way = {
	.params = {"1", 1}, .timeout_ms = 10000, .is_one_way = true};

/* ------------------------------------------------------------------ at each step of the way */

static void a_command_that_was_not_on_disk_comes_again_from_its_cloud(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_crash(b, 0);
	assert_int_equal(bench_stats(b).open, 0);
	bench_send(b, "pump1", "7");
}

static void a_command_that_was_on_disk_is_delivered(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	bench_crash(b, ALL);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_string_equal(b->published[0].payload, "1");
	assert_int_equal(bench_answer(b, 0, "2"), 1);
	assert_answered(b, "valve1", "7", "{\"result\":2}");
}

/* Nobody can tell whether it was published before the crash. */
static void a_command_that_was_going_out_is_not_published_again(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	bench_tick(b, 6499);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_DELIVERED);
	bench_tick(b, 1);
	assert_refused(b, "pump1", "7", "unknown_outcome");
}

static void a_command_that_is_read_before_there_is_a_session_waits_for_it(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_NO_BROKER;
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_submit(b, "pump2", "7"), 0);
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_WAITING);
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str("pump1"), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	/* The same once more, with one that is at its device and one that still waits. */
	b->reach = FG_REACH_NO_BROKER;
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	b->reach = FG_REACH_UP;
	fg_command_desk_device_up(b->desk, fg_span_str(NULL), bench_now(b));
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_string_equal(b->published[1].device, "pump2");
}

static void a_command_that_finds_no_session_in_time_after_a_restart_has_not_run(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_NO_BROKER;
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_crash(b, ALL);
	bench_tick(b, 7499);
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_WAITING);
	bench_tick(b, 1);
	assert_refused_with(b, "pump1", "7", "offline",
			    "the gateway had no session with the device's broker in time");
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
}

static void an_answer_may_come_after_the_restart(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":5}"), 1);
	assert_answered(b, "pump1", "7", "{\"result\":5}");
	assert_int_equal(b->n_published, 1);
}

static void an_answer_that_was_not_on_disk_comes_again_from_its_broker(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":5}"), 1);
	bench_crash(b, 0);
	assert_int_equal(bench_responses(b, "pump1", "7"), 0);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":5}"), 1);
	assert_answered(b, "pump1", "7", "{\"result\":5}");
}

static void an_answer_that_was_on_disk_is_the_end(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_answer(b, 0, "{\"id\":\"%s\",\"v\":5}");
	bench_crash(b, ALL);
	assert_int_equal(bench_stats(b).open, 0);
	/* the broker brings it again, and so does the cloud */
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":5}"), 1);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_tick(b, 30000);
	bench_commit(b);
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
	assert_int_equal(b->n_published, 1);
}

static void a_command_that_may_be_repeated_is_published_again(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "motor1", "7", &patient), 0);
	bench_commit(b);
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	assert_int_equal(b->n_published, 2);
	assert_string_equal(b->published[0].id, b->published[1].id);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_int_equal(bench_answer(b, 1, "1"), 1);
	assert_int_equal(bench_responses(b, "motor1", "7"), 1);
}

/* Its device has had it before the crash: there is no need to publish it again. */
static void an_answer_is_in_time_before_it_is_repeated(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "motor1", "7", &patient), 0);
	bench_commit(b);
	b->reach = FG_REACH_DOWN;
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_responses(b, "motor1", "7"), 1);
}

static void what_was_taken_back_is_delivered(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	b->publish_error = -ENOTCONN;
	bench_commit(b);
	bench_crash(b, ALL);
	b->publish_error = 0;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
}

/* The note that takes it back was lost: to be safe, it counts as published. */
static void what_may_have_been_published_counts_as_published(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	b->publish_error = -ENOTCONN;
	bench_commit(b);
	bench_crash(b, 0);
	b->publish_error = 0;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_DELIVERED);
}

static void what_may_have_run_before_it_was_repeated_is_never_taken_back(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit(b, "motor1", "7"), 0);
	bench_commit(b);
	bench_crash(b, ALL);
	b->publish_error = -ENOTCONN;
	bench_tick(b, 1000);
	bench_commit(b);
	bench_crash(b, ALL);
	bench_tick(b, 6500);
	assert_refused(b, "motor1", "7", "unknown_outcome");
}

static void what_waits_keeps_its_order(void **state)
{
	struct desk_bench *b = *state;
	static const char *const ids[] = {"a", "b", "c"};

	b->reach = FG_REACH_DOWN;
	for (int i = 0; i < 3; i++)
		assert_int_equal(bench_submit_command(b, "valve1", ids[i], &patient), 0);
	bench_crash(b, ALL);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	for (unsigned i = 0; i < 3; i++) {
		bench_commit(b);
		assert_int_equal(b->n_published, i + 1);
		assert_int_equal(bench_answer(b, i, "1"), 1);
		assert_answered(b, "valve1", ids[i], "{\"result\":1}");
	}
}

static void a_broker_cannot_acknowledge_what_it_got_before_the_restart(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "horn1", "7");
	bench_crash(b, ALL);
	bench_tick(b, 0);
	assert_refused(b, "horn1", "7", "unknown_outcome");
}

static void a_one_way_command_that_was_going_out_is_over(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "pump1", "7", &one_way), 0);
	bench_crash(b, ALL);
	bench_tick(b, 0);
	bench_commit(b);
	assert_int_equal(bench_stats(b).open, 0);
	assert_int_equal(b->n_published, 0);
	bench_crash(b, ALL);
	assert_int_equal(bench_stats(b).open, 0);
	assert_int_equal(bench_submit_command(b, "pump1", "7", &one_way), 0);
	assert_int_equal(bench_stats(b).duplicates, 1);
}

static void a_refusal_that_was_not_on_disk_is_made_again(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_crash(b, 1); /* its note */
	b->reach = FG_REACH_UP;
	assert_int_equal(bench_state(b, "pump1", "7"), FG_COMMAND_OWED);
	bench_tick(b, 0);
	assert_refused(b, "pump1", "7", "offline");
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
}

static void a_restart_reads_the_same_again_and_again(void **state)
{
	struct desk_bench *b = *state;
	uint64_t n;

	bench_send(b, "pump1", "1");
	bench_send(b, "lamp1", "2");
	assert_int_equal(bench_submit(b, "lamp1", "3"), 0);
	bench_commit(b);
	n = b->lane->n_records;
	for (int i = 0; i < 5; i++) {
		bench_crash(b, ALL);
		assert_int_equal(bench_stats(b).open, 3);
		bench_tick(b, 100);
		bench_commit(b);
	}
	assert_int_equal(b->lane->n_records, n);
}

/* ------------------------------------------------------------------ a device that stays silent */

static void a_silence_outlives_the_restart(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "lamp1", "1");
	bench_tick(b, 7500);
	bench_commit(b);
	bench_crash(b, ALL);
	assert_int_equal(bench_state(b, "lamp1", "1"), FG_COMMAND_SILENT);
	assert_int_equal(bench_submit(b, "lamp1", "2"), 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_arrive(b, "lamp/lamp1/state", "late"), 1);
	bench_commit(b);
	assert_int_equal(b->n_published, 2);
	assert_int_equal(bench_responses(b, "lamp1", "2"), 0);
}

static void so_does_that_of_a_one_way_command(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "lamp1", "1", &one_way), 0);
	bench_commit(b);
	bench_ack(b, 0, 0);
	bench_tick(b, 7500);
	bench_commit(b);
	bench_crash(b, ALL);
	assert_int_equal(bench_state(b, "lamp1", "1"), FG_COMMAND_SILENT);
}

/* ------------------------------------------------------------------ another boot of the machine */

/* A command that is on disk, and whose field broker is not there. */
static void comes_while_down(struct desk_bench *b)
{
	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	bench_commit(b);
}

static void a_command_waits_on_over_a_reboot(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	bench_reboot(b, ALL, HOUR_MS);
	bench_tick(b, 1000);
	bench_commit(b);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	/* 24 h less the margin of 5 s, less an hour and 2 s */
	assert_int_equal(b->published[0].expiry_s, 23 * 3600 - 5 - 2);
}

static void a_command_whose_time_passes_during_a_reboot_has_not_run(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	assert_int_equal(bench_submit_command(b, "motor1", "7", &patient), 0);
	bench_commit(b);
	b->reach = FG_REACH_UP;
	bench_reboot(b, ALL, 24 * HOUR_MS);
	bench_tick(b, 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_int_equal(bench_stats(b).errors[FG_COMMAND_TIMEOUT], 2);
}

static void what_was_going_out_before_a_reboot_may_have_run(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	assert_int_equal(bench_submit_command(b, "motor1", "7", &patient), 0);
	bench_reboot(b, ALL, 24 * HOUR_MS);
	bench_tick(b, 0);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_int_equal(bench_stats(b).errors[FG_COMMAND_UNKNOWN_OUTCOME], 2);
}

static void what_was_at_its_device_before_a_reboot_may_still_be_answered(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	bench_commit(b);
	bench_reboot(b, ALL, HOUR_MS);
	bench_tick(b, 0);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_answered(b, "valve1", "7", "{\"result\":1}");
}

static void a_second_reboot_counts_from_what_the_first_one_noted(void **state)
{
	struct desk_bench *b = *state;

	comes_while_down(b);
	for (int i = 0; i < 23; i++) {
		bench_reboot(b, ALL, HOUR_MS - 1000);
		bench_tick(b, 1000);
		bench_commit(b);
		bench_crash(b, ALL);
		assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	}
	bench_reboot(b, ALL, HOUR_MS);
	bench_tick(b, 0);
	assert_refused(b, "valve1", "7", "offline");
}

static void a_clock_that_fell_back_during_a_reboot_cannot_make_it_late(void **state)
{
	struct desk_bench *b = *state;

	comes_while_down(b);
	b->utc_offset_us -= INT64_C(3) * HOUR_MS * 1000;
	bench_reboot(b, ALL, HOUR_MS);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_refused(b, "valve1", "7", "timeout");
}

static void a_clock_that_leapt_during_a_reboot_ends_it(void **state)
{
	struct desk_bench *b = *state;

	comes_while_down(b);
	b->utc_offset_us += INT64_C(10) * 365 * 24 * HOUR_MS * 1000;
	bench_reboot(b, ALL, HOUR_MS);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_refused(b, "valve1", "7", "timeout");
}

/* The clock was three hours fast when the command came, and was set right before the power went. */
static void a_clock_that_was_set_before_a_reboot_is_noted(void **state)
{
	struct desk_bench *b = *state;

	comes_while_down(b);
	b->utc_offset_us -= INT64_C(3) * HOUR_MS * 1000;
	bench_tick(b, 1000);
	assert_int_equal((int)lane_last(b->lane, 0)->kind, FG_RECORD_KIND_COMMAND_STATE);
	bench_commit(b);
	bench_tick(b, 1000); /* once is enough */
	assert_int_equal(b->lane->n_records, 2);
	bench_reboot(b, ALL, 23 * HOUR_MS);
	bench_tick(b, 1000);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	bench_commit(b);
	bench_tick(b, HOUR_MS - 5000 - 3000 - 1);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	bench_tick(b, 1);
	assert_refused(b, "valve1", "7", "offline");
}

static void a_clock_that_was_not_known_when_it_came_ends_it(void **state)
{
	struct desk_bench *b = *state;

	b->is_clock_known = false;
	bench_reboot(b, 0, 1000);
	comes_while_down(b);
	b->is_clock_known = true;
	bench_reboot(b, ALL, 1000);
	bench_tick(b, 0);
	assert_refused(b, "valve1", "7", "offline");
}

static void a_clock_that_becomes_known_later_is_waited_for(void **state)
{
	struct desk_bench *b = *state;

	comes_while_down(b);
	b->is_clock_known = false;
	bench_reboot(b, ALL, HOUR_MS);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
	b->is_clock_known = true;
	bench_tick(b, 30000);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
}

/* Nobody needs to know what time it is any more. */
static void an_answer_before_the_clock_is_known_is_the_end(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "motor1", "7", &patient), 0);
	bench_commit(b);
	bench_reboot(b, ALL, HOUR_MS);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(bench_stats(b).open, 0);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_responses(b, "motor1", "7"), 1);
}

/* Its note came through, our answer did not; what time it is does not matter for that. */
static void a_refusal_is_made_again_in_another_boot(void **state)
{
	struct desk_bench *b = *state;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	bench_reboot(b, 1, HOUR_MS);
	bench_tick(b, 1000);
	assert_refused(b, "pump1", "7", "offline");
	bench_tick(b, 1000);
	assert_int_equal(bench_stats(b).open, 0);
	assert_int_equal(bench_responses(b, "pump1", "7"), 1);
}

static void a_clock_that_does_not_become_known_ends_it(void **state)
{
	struct desk_bench *b = *state;

	comes_while_down(b);
	b->is_clock_known = false;
	bench_reboot(b, ALL, HOUR_MS);
	b->reach = FG_REACH_UP;
	bench_tick(b, 61000);
	bench_commit(b);
	assert_int_equal(b->n_published, 0);
	assert_refused(b, "valve1", "7", "timeout");
}

static void a_clock_that_becomes_known_is_noted_for_the_next_boot(void **state)
{
	struct desk_bench *b = *state;

	b->is_clock_known = false;
	bench_reboot(b, 0, 1000);
	comes_while_down(b);
	b->is_clock_known = true;
	bench_tick(b, 1000);
	bench_commit(b);
	bench_reboot(b, ALL, HOUR_MS);
	bench_tick(b, 0);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
}

/* ------------------------------------------------------------------ duplicates over a restart */

static void the_same_answer_is_given_after_a_restart(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_answer(b, 0, "{\"id\":\"%s\",\"v\":5}");
	bench_commit(b);
	b->sent_seq = b->lane->n_records;
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_responses(b, "pump1", "7"), 2);
	assert_answered(b, "pump1", "7", "{\"result\":5}");
	/* and after another one, the repeated one counts */
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_responses(b, "pump1", "7"), 2);
	assert_int_equal(b->n_published, 1);
}

static void an_id_used_anew_is_not_mixed_up_by_a_restart(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command one = {.key = fg_span_str("k1"), .timeout_ms = 10000};
	struct fg_command two = {.key = fg_span_str("k2"), .timeout_ms = 10000};

	assert_int_equal(bench_submit_command(b, "pump1", "0", &one), 0);
	bench_commit(b);
	assert_int_equal(bench_submit_command(b, "pump1", "0", &two), 0);
	bench_commit(b);
	bench_crash(b, ALL);
	assert_int_equal(bench_answer(b, 1, "{\"id\":\"%s\",\"v\":\"new\"}"), 1);
	assert_answered(b, "pump1", "0", "{\"result\":\"new\"}");
	bench_crash(b, ALL);
	assert_int_equal(bench_stats(b).open, 1);
	assert_int_equal(bench_answer(b, 0, "{\"id\":\"%s\",\"v\":\"old\"}"), 1);
	assert_int_equal(bench_responses(b, "pump1", "0"), 1);
	bench_crash(b, ALL);
	assert_int_equal(bench_stats(b).open, 0);
}

static void what_follows_a_command_of_the_same_id_is_its_own(void **state)
{
	struct desk_bench *b = *state;
	struct fg_command one = {.key = fg_span_str("k1"), .timeout_ms = 10000};
	struct fg_command two = {.key = fg_span_str("k2"), .timeout_ms = 10000};

	assert_int_equal(bench_submit_command(b, "pump1", "0", &one), 0);
	bench_commit(b);
	bench_answer(b, 0, "{\"id\":\"%s\",\"v\":1}");
	assert_int_equal(bench_submit_command(b, "pump1", "0", &two), 0);
	bench_commit(b);
	bench_crash(b, ALL);
	assert_int_equal(bench_stats(b).open, 1);
	assert_int_equal(bench_answer(b, 1, "{\"id\":\"%s\",\"v\":2}"), 1);
	assert_int_equal(bench_responses(b, "pump1", "0"), 2);
}

/* ------------------------------------------------------------------ what the lane keeps */

static void the_cursor_stays_below_what_is_open(void **state)
{
	struct desk_bench *b = *state;

	lane_add_alarm(b->lane);
	bench_commit(b);
	assert_int_equal(lane_watermark(b->lane), 1);
	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	lane_add_alarm(b->lane);
	bench_commit(b);
	bench_tick(b, 1000);
	assert_int_equal(lane_watermark(b->lane), 1);
}

static void a_note_that_is_about_to_go_is_written_again(void **state)
{
	struct desk_bench *b = *state;
	uint64_t copy;

	b->reach = FG_REACH_DOWN;
	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	for (int i = 0; i < 10; i++)
		lane_add_alarm(b->lane);
	bench_commit(b);
	bench_tick(b, 1000);
	assert_int_equal(b->lane->n_records, 11); /* there is room enough */
	b->lane->bytes = b->options.max_alarm_bytes / 2;
	bench_tick(b, 1000);
	/* A cursor may be saved before the copy is. */
	assert_int_equal(lane_watermark(b->lane), 0);
	bench_commit(b);
	copy = b->lane->n_records;
	assert_int_equal(copy, 12);
	assert_int_equal((int)lane_last(b->lane, 0)->kind, FG_RECORD_KIND_COMMAND);
	assert_int_equal(lane_watermark(b->lane), copy - 1);
	bench_tick(b, 1000);
	assert_int_equal(b->lane->n_records, copy); /* it is in the newer half now */
	lane_cut(b->lane, copy - 1);
	bench_crash(b, ALL);
	b->reach = FG_REACH_UP;
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_answered(b, "valve1", "7", "{\"result\":1}");
}

static void a_copy_knows_that_the_command_was_going_out(void **state)
{
	struct desk_bench *b = *state;

	assert_int_equal(bench_submit_command(b, "valve1", "7", &patient), 0);
	bench_commit(b);
	for (int i = 0; i < 10; i++)
		lane_add_alarm(b->lane);
	b->lane->bytes = b->options.max_alarm_bytes / 2;
	bench_tick(b, 1000);
	bench_commit(b);
	lane_cut(b->lane, b->lane->n_records - 1);
	bench_crash(b, ALL);
	bench_tick(b, 1000);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
	assert_int_equal(bench_answer(b, 0, "1"), 1);
	assert_answered(b, "valve1", "7", "{\"result\":1}");
}

static void an_answer_that_waits_for_its_cloud_is_remembered_by_a_copy(void **state)
{
	struct desk_bench *b = *state;

	bench_send(b, "pump1", "7");
	bench_answer(b, 0, "{\"id\":\"%s\",\"v\":5}");
	for (int i = 0; i < 10; i++)
		lane_add_alarm(b->lane);
	bench_commit(b);
	b->lane->bytes = b->options.max_alarm_bytes / 2;
	bench_tick(b, 1000);
	bench_commit(b);
	lane_cut(b->lane, b->lane->n_records - 1);
	bench_crash(b, ALL);
	assert_int_equal(bench_submit(b, "pump1", "7"), 0);
	assert_int_equal(bench_stats(b).duplicates, 1);
	bench_commit(b);
	assert_int_equal(b->n_published, 1);
}

static void what_the_lane_has_lost_is_written_again(void **state)
{
	struct desk_bench *b = *state;

	comes_while_down(b);
	lane_add_alarm(b->lane);
	bench_commit(b);
	lane_cut(b->lane, 1);
	fg_command_desk_lost(b->desk, 1);
	bench_tick(b, 0);
	bench_commit(b);
	bench_crash(b, ALL);
	assert_int_equal(bench_state(b, "valve1", "7"), FG_COMMAND_WAITING);
}

static void a_note_is_written_again_before_it_is_too_old(void **state)
{
	struct desk_bench *b = *state;

	b->options.max_age_ms = HOUR_MS;
	bench_crash(b, 0);
	comes_while_down(b);
	bench_tick(b, HOUR_MS / 2 - 1);
	assert_int_equal(b->lane->n_records, 1);
	bench_tick(b, 1);
	bench_commit(b);
	assert_int_equal(b->lane->n_records, 2);
	assert_int_equal(lane_watermark(b->lane), 1);
}

static void copies_that_find_no_room_are_made_later(void **state)
{
	struct desk_bench *b = *state;
	char id[8];

	b->reach = FG_REACH_DOWN;
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "%d", i);
		assert_int_equal(bench_submit_command(b, "valve1", id, &patient), 0);
	}
	bench_commit(b);
	fg_command_desk_lost(b->desk, 10);
	b->lane->append_error = -EAGAIN;
	b->lane->fail_after = 4;
	bench_tick(b, 0);
	assert_int_equal(b->lane->n_records, 14);
	b->lane->append_error = 0;
	bench_commit(b);
	assert_int_equal(b->lane->n_records, 20);
	bench_commit(b);
	bench_crash(b, ALL);
	assert_int_equal(bench_stats(b).open, 10);
}

/* ------------------------------------------------------------------ notes that make no sense */

static void what_is_no_note_of_ours_is_passed_over(void **state)
{
	static const char *const bodies[] = {"", "{}", "[1]", "nonsense",
					     "{\"number\":1,\"state\":\"new\",\"boot\":\"00\"}"};
	struct desk_bench *b = *state;
	uint64_t seq;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		for (unsigned kind = FG_RECORD_KIND_COMMAND;
		     kind <= FG_RECORD_KIND_COMMAND_STATE + 1; kind++) {
			struct fg_message m = {.kind = (enum fg_kind)kind,
					       .device = fg_span_str("pump1"),
					       .ref = fg_span_str("1"),
					       .link = fg_span_str("cloud"),
					       .body = fg_span_str(bodies[i])};

			assert_int_equal(fg_journal_append(b->lane, FG_LANE_ALARM, &m, &seq), 0);
		}
	bench_send(b, "pump1", "7");
	bench_crash(b, ALL);
	assert_int_equal(bench_stats(b).open, 1);
}

#define DESK_TEST(name) cmocka_unit_test_setup_teardown(name, desk_bench_setup, desk_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DESK_TEST(a_command_that_was_not_on_disk_comes_again_from_its_cloud),
		DESK_TEST(a_command_that_was_on_disk_is_delivered),
		DESK_TEST(a_command_that_was_going_out_is_not_published_again),
		DESK_TEST(a_command_that_is_read_before_there_is_a_session_waits_for_it),
		DESK_TEST(a_command_that_finds_no_session_in_time_after_a_restart_has_not_run),
		DESK_TEST(an_answer_may_come_after_the_restart),
		DESK_TEST(an_answer_that_was_not_on_disk_comes_again_from_its_broker),
		DESK_TEST(an_answer_that_was_on_disk_is_the_end),
		DESK_TEST(a_command_that_may_be_repeated_is_published_again),
		DESK_TEST(an_answer_is_in_time_before_it_is_repeated),
		DESK_TEST(what_was_taken_back_is_delivered),
		DESK_TEST(what_may_have_been_published_counts_as_published),
		DESK_TEST(what_may_have_run_before_it_was_repeated_is_never_taken_back),
		DESK_TEST(what_waits_keeps_its_order),
		DESK_TEST(a_broker_cannot_acknowledge_what_it_got_before_the_restart),
		DESK_TEST(a_one_way_command_that_was_going_out_is_over),
		DESK_TEST(a_refusal_that_was_not_on_disk_is_made_again),
		DESK_TEST(a_restart_reads_the_same_again_and_again),
		DESK_TEST(a_silence_outlives_the_restart),
		DESK_TEST(so_does_that_of_a_one_way_command),
		DESK_TEST(a_command_waits_on_over_a_reboot),
		DESK_TEST(a_command_whose_time_passes_during_a_reboot_has_not_run),
		DESK_TEST(what_was_going_out_before_a_reboot_may_have_run),
		DESK_TEST(what_was_at_its_device_before_a_reboot_may_still_be_answered),
		DESK_TEST(a_second_reboot_counts_from_what_the_first_one_noted),
		DESK_TEST(a_clock_that_fell_back_during_a_reboot_cannot_make_it_late),
		DESK_TEST(a_clock_that_leapt_during_a_reboot_ends_it),
		DESK_TEST(a_clock_that_was_set_before_a_reboot_is_noted),
		DESK_TEST(a_clock_that_was_not_known_when_it_came_ends_it),
		DESK_TEST(a_clock_that_becomes_known_later_is_waited_for),
		DESK_TEST(an_answer_before_the_clock_is_known_is_the_end),
		DESK_TEST(a_refusal_is_made_again_in_another_boot),
		DESK_TEST(a_clock_that_does_not_become_known_ends_it),
		DESK_TEST(a_clock_that_becomes_known_is_noted_for_the_next_boot),
		DESK_TEST(the_same_answer_is_given_after_a_restart),
		DESK_TEST(an_id_used_anew_is_not_mixed_up_by_a_restart),
		DESK_TEST(what_follows_a_command_of_the_same_id_is_its_own),
		DESK_TEST(the_cursor_stays_below_what_is_open),
		DESK_TEST(a_note_that_is_about_to_go_is_written_again),
		DESK_TEST(a_copy_knows_that_the_command_was_going_out),
		DESK_TEST(an_answer_that_waits_for_its_cloud_is_remembered_by_a_copy),
		DESK_TEST(what_the_lane_has_lost_is_written_again),
		DESK_TEST(a_note_is_written_again_before_it_is_too_old),
		DESK_TEST(copies_that_find_no_room_are_made_later),
		DESK_TEST(what_is_no_note_of_ours_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
