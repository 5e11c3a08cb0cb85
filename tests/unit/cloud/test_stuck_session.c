/* A link with a session for each device, and one of them whose oldest record is not acknowledged. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cloud/outbox.h"
#include "cloud/session_key.h"
#include "fake_journal.h"
#include "scripted_plugin.h"

#define N_RECORDS 300
#define MAX_AHEAD 10 /* a 64th of what a crash may repeat */
#define WINDOW 16

static struct fg_journal journal;
static struct script script;
static struct fg_cloud_config config;
static struct fg_outbox *outbox;
static struct fg_outbox_session *a, *b;
static int64_t now_ms;
static int last_id;

static void make(void)
{
	struct fg_outbox_options options = {
		.config = &config,
		.journal = &journal,
		.cursors = {&journal.cursor, &journal.alarm_cursor},
		.plugin = &script_sessions_plugin,
		.ctx = &script,
		.has_device_sessions = true,
	};

	memset(&script, 0, sizeof(script));
	script.max_batch = 1;
	assert_int_equal(fg_outbox_new(&options, &outbox), 0);
	assert_int_equal(fg_outbox_session_open(outbox, fg_span_str("a"), &a), 0);
	assert_int_equal(fg_outbox_session_open(outbox, fg_span_str("b"), &b), 0);
	fg_outbox_session_begin(a, WINDOW, 0, false);
	fg_outbox_session_begin(b, WINDOW, 0, false);
}

static int setup(void **state)
{
	(void)state;
	fake_journal_init(&journal);
	config = (struct fg_cloud_config){
		.name = (char *)"cloud",
		.backlog_share = 20,
		.max_in_flight = WINDOW,
		.max_in_flight_records = 64 * MAX_AHEAD,
	};
	for (unsigned i = 0; i < FG_N_CURSOR_LANES; i++) {
		struct fg_cursor *c = i == FG_LANE_ALARM ? &journal.alarm_cursor : &journal.cursor;

		c->max_unsaved = config.max_in_flight_records;
		c->is_saving_by_itself = true;
	}
	now_ms = 1000000;
	last_id = 0;
	for (unsigned i = 0; i < N_RECORDS; i++)
		fake_journal_add(&journal, "a");
	make();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	outbox = fg_outbox_free(outbox);
	fake_journal_done(&journal);
	return 0;
}

/* Sends what there is. Returns the packet id, 0: nothing; *@ret_seq: which record. */
static int sends(const struct fg_outbox_session *on, uint64_t *ret_seq)
{
	struct fg_outbox_session *session;
	const struct fg_publish *publish;
	int r;

	/* As the link does it: it is asked again at once when it says so. */
	do
		r = fg_outbox_next(outbox, now_ms, &session, &publish);
	while (r == 0 && fg_outbox_paused_until(outbox) == now_ms);
	if (r == 0)
		return 0;
	assert_int_equal(r, 1);
	assert_ptr_equal(session, on);
	assert_int_equal(script.n_seqs, 1);
	*ret_seq = script.seqs[0];
	fg_outbox_sent(outbox, ++last_id, now_ms);
	return last_id;
}

/* All but the first record is acknowledged, as long as there is one. Returns how many. */
static unsigned the_first_one_is_stuck(void)
{
	unsigned n_acked = 0;
	uint64_t seq;
	int id;

	assert_int_equal(sends(a, &seq), 1);
	assert_int_equal(seq, 1);
	while ((id = sends(a, &seq))) {
		fg_outbox_settled(a, id, 0, now_ms);
		n_acked++;
	}
	return n_acked;
}

/* How many of the first @n records would be sent after a crash. */
static unsigned count_open_on_disk(uint64_t n)
{
	const struct fake_cursor_state *disk = &journal.cursor.saved;
	uint64_t key = fg_session_key("a", 1);
	unsigned n_open = 0;

	for (uint64_t seq = 1; seq <= n; seq++) {
		bool is_open = !disk->settled[seq];

		for (size_t i = 0; i < disk->n_left_behind; i++)
			is_open = is_open || (disk->left_behind[i].key == key &&
					      disk->left_behind[i].from <= seq);
		n_open += is_open;
	}
	return n_open;
}

static void what_was_acknowledged_behind_it_is_bounded(void **state)
{
	unsigned n_acked = the_first_one_is_stuck();

	(void)state;
	assert_in_range(n_acked, MAX_AHEAD, MAX_AHEAD + WINDOW);
	fg_outbox_session_end(a, false);
	assert_in_range(count_open_on_disk(1 + n_acked), 1, 1 + MAX_AHEAD + WINDOW);
}

static void the_others_go_on(void **state)
{
	uint64_t seq;

	(void)state;
	the_first_one_is_stuck();
	for (unsigned i = 0; i < 100; i++) {
		fake_journal_add(&journal, "b");
		fg_outbox_poke(outbox, NULL);
		fg_outbox_settled(b, sends(b, &seq), 0, now_ms);
		assert_int_equal(seq, N_RECORDS + 1 + i);
	}
}

static void once_it_is_acknowledged_the_rest_follows(void **state)
{
	uint64_t last = 1 + the_first_one_is_stuck(), seq;

	(void)state;
	fg_outbox_settled(a, 1, 0, now_ms);
	while (last < N_RECORDS) {
		int id = sends(a, &seq);

		assert_int_equal(seq, ++last);
		fg_outbox_settled(a, id, 0, now_ms);
	}
	assert_int_equal(fg_cursor_watermark(&journal.cursor), N_RECORDS);
	assert_int_equal(journal.cursor.now.n_left_behind, 0);
}

static void when_it_is_refused_it_is_sent_again(void **state)
{
	uint64_t seq;
	int id;

	(void)state;
	the_first_one_is_stuck();
	fg_outbox_settled(a, 1, 0x97, now_ms); /* later */
	now_ms += 60000;
	id = sends(a, &seq);
	assert_int_equal(seq, 1);
	fg_outbox_settled(a, id, 0, now_ms);
	assert_true(sends(a, &seq) > 0);
	assert_true(seq > 1);
}

static void when_there_is_no_room_in_quarantine_it_goes_there_later(void **state)
{
	uint64_t seq;

	(void)state;
	the_first_one_is_stuck();
	journal.quarantine_error = -EAGAIN;
	fg_outbox_settled(a, 1, 0x99, now_ms); /* never again */
	assert_int_equal(sends(a, &seq), 0);
	assert_int_equal(journal.n_quarantined, 0);
	journal.quarantine_error = 0;
	fg_outbox_committed(outbox, fake_journal_commit(&journal));
	assert_int_equal(sends(a, &seq), 0);
	assert_true(fake_journal_has_quarantined(&journal, 1, false));
	fg_outbox_committed(outbox, fake_journal_commit(&journal));
	assert_true(sends(a, &seq) > 0);
}

static void after_a_crash_nothing_is_lost(void **state)
{
	uint64_t n = 1 + the_first_one_is_stuck(), seq;
	bool was_sent[N_RECORDS + 1] = {false};
	int id;

	(void)state;
	outbox = fg_outbox_free(outbox);
	fake_journal_crash(&journal);
	make();
	while ((id = sends(a, &seq))) {
		was_sent[seq] = true;
		fg_outbox_settled(a, id, 0, now_ms);
	}
	assert_true(was_sent[1]);
	for (seq = n + 1; seq <= N_RECORDS; seq++)
		assert_true(was_sent[seq]);
	assert_int_equal(fg_cursor_watermark(&journal.cursor), N_RECORDS);
}

/* Of each ten records one is left; nobody ever wants it. */
static void what_the_plugin_leaves_stops_nothing_that_follows(void **state)
{
	unsigned n = 0;
	uint64_t seq;
	int id;

	(void)state;
	script.leaves_tenth = true;
	while ((id = sends(a, &seq))) {
		assert_true(seq % 10 != 0);
		fg_outbox_settled(a, id, 0, now_ms);
		n++;
	}
	assert_int_equal(n, N_RECORDS - N_RECORDS / 10);
	assert_int_equal(journal.cursor.now.n_left_behind, N_RECORDS / 10);

	/* After a crash these are sent, and nothing else. */
	outbox = fg_outbox_free(outbox);
	fake_journal_crash(&journal);
	make();
	for (n = 0; (id = sends(a, &seq)); n++) {
		assert_int_equal(seq, 10 * (n + 1));
		fg_outbox_settled(a, id, 0, now_ms);
	}
	assert_int_equal(n, N_RECORDS / 10);
	assert_int_equal(journal.cursor.now.n_left_behind, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_acknowledged_behind_it_is_bounded),
		TEST(the_others_go_on),
		TEST(once_it_is_acknowledged_the_rest_follows),
		TEST(when_it_is_refused_it_is_sent_again),
		TEST(when_there_is_no_room_in_quarantine_it_goes_there_later),
		TEST(after_a_crash_nothing_is_lost),
		TEST(what_the_plugin_leaves_stops_nothing_that_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
