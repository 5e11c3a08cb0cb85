/*
 * A thousand sessions of one link over the real journal, three of them down while a million records go
 * through: nobody else is delayed, the three cost nothing but a few bytes each, and they catch up alone,
 * in order, with nothing lost. The clock is made up, so nothing here hangs on how fast the machine is.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cloud/outbox.h"
#include "journal/fs.h"
#include "journal/journal.h"
#include "util/log.h"
#include "util/span.h"

#define N_DEVICES 1000u
#define N_DOWN 3u
#define N_RECORDS 1000000u
#define N_UP (N_DEVICES - N_DOWN)
/* In each round a device has one reading; those that are down have so many: they are what may cost. */
#define READINGS_DOWN 100u
#define IN_A_ROUND (N_UP + N_DOWN * READINGS_DOWN)
#define RECORDS_UNSAVED 4000u
#define MOST_IN_FLIGHT 4096u
/* Of each device that catches up, in one publish. */
#define BATCH 20u
/* The journal keeps a few numbers for each segment; a session's would be some for each record. */
#define SLACK_BYTES (32 * 1024)

static const unsigned down[N_DOWN] = {0, 499, 999};

struct device {
	struct fg_outbox_session *session;
	unsigned long made, sent, acked; /* readings, numbered from 0 */
};

static struct {
	char directory[64];
	struct fg_fs *fs;
	struct fg_journal *journal;
	struct fg_cursor *cursors[FG_N_CURSOR_LANES];
	struct fg_outbox *outbox;
	int64_t now_ms;
	struct device devices[N_DEVICES];
	/* The publish that encode() has made; those that are in flight. */
	unsigned encoded_device;
	unsigned long n_encoded;
	struct flight {
		unsigned device;
		unsigned long n;
		int packet_id;
	} flights[MOST_IN_FLIGHT];
	size_t n_flights;
	int packet_id;
	unsigned long n_sent; /* records */
} t;

/* ---- the plugin */

static unsigned device_of(struct fg_span name)
{
	char digits[8];

	assert_in_range(name.size, 2, sizeof(digits));
	snprintf(digits, sizeof(digits), "%.*s", (int)name.size - 1, name.data + 1);
	return (unsigned)strtoul(digits, NULL, 10);
}

static int encode(void *ctx, const char *session, struct fg_batch *batch, struct fg_publish *out)
{
	(void)ctx;
	t.n_encoded = 0;
	for (size_t i = 0; i < batch->count && t.n_encoded < batch->max_take; i++) {
		const struct fg_message *m = &batch->messages[i];

		if (batch->states[i] != FG_OFFERED)
			continue;
		assert_true(fg_span_is(m->device, session));
		t.encoded_device = device_of(m->device);
		/* In order, without a gap and without one twice. */
		assert_int_equal(strtoul(m->body.data + strlen("{\"n\":"), NULL, 10),
				 t.devices[t.encoded_device].sent + t.n_encoded);
		batch->states[i] = FG_TAKEN;
		if (++t.n_encoded == BATCH)
			break;
	}
	out->topic[0] = 't';
	out->topic[1] = '\0';
	return t.n_encoded > 0;
}

static const struct fg_plugin plugin = {
	.abi = FG_PLUGIN_ABI,
	.size = sizeof(plugin),
	.name = "many",
	.encode = encode,
};

/* ---- the world */

static int setup(void **state)
{
	struct fg_journal_options options = {
		.segment_bytes = 4 << 20,
		.batch_bytes = 1 << 20,
		.max_bytes = UINT64_C(1) << 30,
		.max_alarm_bytes = 16 << 20,
		.max_quarantine_bytes = 16 << 20,
		.max_left_behind = FG_LEFT_BEHIND_MAX,
	};
	static const struct fg_cloud_config config = {
		.name = (char *)"cloud",
		.max_in_flight = 16,
		.max_in_flight_records = RECORDS_UNSAVED,
		.backlog_share = 20,
	};
	struct fg_outbox_options out = {
		.config = &config, .plugin = &plugin, .has_device_sessions = true};
	struct fg_error err = {0};

	(void)state;
	memset(&t, 0, sizeof(t));
	snprintf(t.directory, sizeof(t.directory), "/tmp/fieldgate-many-XXXXXX");
	assert_non_null(mkdtemp(t.directory));
	assert_int_equal(fg_fs_posix_new(t.directory, &t.fs), 0);
	options.fs = t.fs;
	assert_int_equal(fg_journal_open(&options, &t.journal, &err), 0);
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++) {
		assert_int_equal(
			fg_cursor_open(t.journal, lane, "cloud", RECORDS_UNSAVED, &t.cursors[lane]),
			0);
		out.cursors[lane] = t.cursors[lane];
	}
	out.journal = t.journal;
	assert_int_equal(fg_outbox_new(&out, &t.outbox), 0);
	for (unsigned i = 0; i < N_DEVICES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(
			fg_outbox_session_open(t.outbox, fg_span_str(name), &t.devices[i].session),
			0);
		fg_outbox_session_set_owner(t.devices[i].session, &t.devices[i]);
		fg_outbox_session_begin(t.devices[i].session, 16, 0, false);
	}
	return 0;
}

static int teardown(void **state)
{
	char command[96];

	(void)state;
	fg_outbox_free(t.outbox);
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_cursor_close(t.cursors[lane]);
	fg_journal_free(t.journal);
	fg_fs_posix_free(t.fs);
	snprintf(command, sizeof(command), "rm -rf %s", t.directory);
	return system(command);
}

static bool is_down(unsigned device)
{
	for (unsigned i = 0; i < N_DOWN; i++)
		if (down[i] == device)
			return true;
	return false;
}

static void append(unsigned device)
{
	char name[16], body[32];
	struct fg_message m = {.kind = FG_TELEMETRY, .time_us = 1, .time_quality = FG_TIME_GATEWAY};
	uint64_t seq;

	snprintf(name, sizeof(name), "d%u", device);
	snprintf(body, sizeof(body), "{\"n\":%lu}", t.devices[device].made++);
	m.device = fg_span_str(name);
	m.body = fg_span_str(body);
	assert_int_equal(fg_journal_append(t.journal, FG_LANE_MAIN, &m, &seq), 0);
}

static void commit(void)
{
	fg_journal_flush(t.journal, t.now_ms);
	fg_outbox_committed(t.outbox, fg_journal_committed(t.journal));
}

/* Up to @most publishes go out. Returns how many did. */
static size_t send(size_t most)
{
	struct fg_outbox_session *session;
	const struct fg_publish *publish;
	size_t n = 0;
	int r = 1;

	while (n < most && t.n_flights < MOST_IN_FLIGHT) {
		struct flight *f = &t.flights[t.n_flights];

		r = fg_outbox_next(t.outbox, t.now_ms, &session, &publish);
		if (r <= 0)
			break;
		assert_ptr_equal(fg_outbox_session_owner(session), &t.devices[t.encoded_device]);
		*f = (struct flight){t.encoded_device, t.n_encoded,
				     t.packet_id = t.packet_id % 65535 + 1};
		t.devices[f->device].sent += f->n;
		t.n_sent += f->n;
		t.n_flights++;
		n++;
		fg_outbox_sent(t.outbox, f->packet_id, t.now_ms);
	}
	assert_true(r >= 0);
	return n;
}

/* All that is in flight is acknowledged, and the disk knows. */
static void acknowledge(void)
{
	for (size_t i = 0; i < t.n_flights; i++) {
		const struct flight *f = &t.flights[i];

		t.devices[f->device].acked += f->n;
		fg_outbox_settled(t.devices[f->device].session, f->packet_id, 0, t.now_ms);
	}
	t.n_flights = 0;
	commit();
}

static void send_all(void)
{
	while (send(SIZE_MAX) > 0)
		acknowledge();
}

static void make_round(void)
{
	for (unsigned i = 0; i < N_DEVICES; i++)
		for (unsigned k = is_down(i) ? READINGS_DOWN : 1; k > 0; k--)
			append(i);
	t.now_ms += 100;
	commit();
}

/* Has each device that was never down all it has, by now? */
static void nobody_else_waits(void)
{
	for (unsigned i = 0; i < N_DEVICES; i++)
		if (!is_down(i))
			assert_int_equal(t.devices[i].acked, t.devices[i].made);
}

/* With one publish of theirs in flight: that one is sent again. */
static void three_fall(void)
{
	for (unsigned i = 0; i < N_DOWN; i++)
		append(down[i]);
	commit();
	assert_int_equal(send(SIZE_MAX), N_DOWN);
	t.n_flights = 0;
	for (unsigned i = 0; i < N_DOWN; i++) {
		struct device *d = &t.devices[down[i]];

		fg_outbox_session_end(d->session, false);
		assert_int_equal(d->sent, d->acked + 1);
		d->sent = d->acked;
	}
}

static uint64_t behind(void)
{
	struct fg_outbox_stats stats;

	fg_outbox_get_stats(t.outbox, &stats);
	return stats.behind;
}

/* ---- the test */

static void three_of_a_thousand_are_down_and_cost_nobody_anything(void **state)
{
	unsigned long rounds = N_RECORDS / IN_A_ROUND, n_sent;
	size_t bytes = 0;

	(void)state;
	make_round();
	send_all();
	nobody_else_waits();
	assert_int_equal(behind(), 0);
	three_fall();

	for (unsigned long i = 0; i < rounds; i++) {
		make_round();
		n_sent = t.n_sent;
		send_all();
		assert_int_equal(t.n_sent - n_sent, N_UP);
		nobody_else_waits();
		assert_int_equal(behind(), N_DOWN);
		if (i == 2)
			bytes = mallinfo2().uordblks;
	}
	assert_in_range(mallinfo2().uordblks, 0, bytes + SLACK_BYTES);

	/* They are back: the others still have what is new in the same round. */
	for (unsigned i = 0; i < N_DOWN; i++)
		fg_outbox_session_begin(t.devices[down[i]].session, 16, 0, false);
	for (unsigned i = 0; i < 5; i++) {
		make_round();
		for (unsigned k = 0; k < 2 * N_UP; k++)
			if (send(1) > 0)
				acknowledge();
		nobody_else_waits();
	}
	n_sent = t.n_sent;
	for (unsigned i = 0; i < N_DOWN; i++)
		n_sent += t.devices[down[i]].made - t.devices[down[i]].sent;
	send_all();
	assert_int_equal(t.n_sent, n_sent); /* nothing of anybody else */
	for (unsigned i = 0; i < N_DEVICES; i++)
		assert_int_equal(t.devices[i].acked, t.devices[i].made);
	assert_int_equal(behind(), 0);
	assert_int_equal(fg_cursor_backlog(t.cursors[FG_LANE_MAIN]), 0);
	assert_in_range(mallinfo2().uordblks, 0, bytes + SLACK_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			three_of_a_thousand_are_down_and_cost_nobody_anything, setup, teardown),
	};

	fg_log_open(FG_LOG_STDERR, LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
