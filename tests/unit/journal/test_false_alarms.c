/*
 * What is said to be lost was lost. Dice throw kills, restarts and a disk that fails or is full for a
 * while, without a power cut, damage or a cap: no link loses anything, so none must hear that it has.
 * FIELDGATE_SEED=n plays one game.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faultfs.h"
#include "simdisk.h"
#include "util/span.h"

#define N_LINKS 2
#define N_GAMES 400
#define N_STEPS 100

struct game {
	int seed;
	unsigned step;
	struct sim_disk *disk;
	struct fault_fs fs;
	struct fg_journal_options options;
	struct fg_journal *j;
	struct fg_cursor *cursors[FG_N_CURSOR_LANES][N_LINKS];
	struct fg_pass *passes[FG_N_CURSOR_LANES][N_LINKS];
	int64_t now_ms;
};

static unsigned dice(struct game *g, unsigned n)
{
	return (unsigned)sim_disk_random(g->disk, n);
}

static void note_lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	const struct game *g = arg;

	fail_msg("seed %d, step %u: link %s hears that %d records up to %d are lost: %s", g->seed,
		 g->step, link, (int)records, (int)seq, why);
}

/* ------------------------------------------------------------------ what may happen */

static void start(struct game *g)
{
	static const char *const names[N_LINKS] = {"a", "b"};
	struct fg_error err;

	assert_int_equal(fg_journal_open(&g->options, &g->j, &err), 0);
	for (int lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		for (unsigned i = 0; i < N_LINKS; i++) {
			assert_int_equal(fg_cursor_open(g->j, (enum fg_lane)lane, names[i], 20,
							&g->cursors[lane][i]),
					 0);
			assert_int_equal(fg_pass_open(g->cursors[lane][i], &g->passes[lane][i]), 0);
		}
}

static void stop(struct game *g)
{
	for (int lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		for (unsigned i = 0; i < N_LINKS; i++)
			fg_pass_close(g->passes[lane][i]);
	g->j = fg_journal_free(g->j);
}

/* The process goes in the middle of things: nothing of its last words reaches the disk. */
static void be_killed(struct game *g)
{
	sim_disk_fail_at(g->disk, 1, UINT64_MAX, -EIO);
	stop(g);
	sim_disk_fail_at(g->disk, 0, 0, 0);
	sim_disk_restart(g->disk);
}

static void say(struct game *g, enum fg_lane lane, unsigned n)
{
	static const char body[400];
	struct fg_message msg = {.kind = FG_TELEMETRY,
				 .device = fg_span_str("dev"),
				 .body = fg_span_of(body, 200 + dice(g, 200))};
	uint64_t seq;

	while (n-- > 0)
		if (fg_journal_append(g->j, lane, &msg, &seq) < 0)
			fg_journal_flush(g->j, g->now_ms);
	fg_journal_flush(g->j, g->now_ms);
}

/* The link takes what there is, as far as it may, and the cloud acknowledges it. */
static void drain(struct game *g, int lane, unsigned i)
{
	struct fg_message messages[8];
	struct fg_cursor *c = g->cursors[lane][i];
	int n;

	fg_pass_seek(g->passes[lane][i], fg_cursor_watermark(c) + 1);
	for (unsigned calls = 0; calls < 50; calls++) {
		n = fg_pass_read(g->passes[lane][i], messages, 8, NULL, NULL);
		if (n == -EAGAIN)
			continue;
		assert_true(n >= 0);
		if (n == 0)
			return;
		for (int k = 0; k < n && fg_cursor_may_send(c, 0); k++)
			fg_cursor_settle(c, messages[k].seq, messages[k].seq);
	}
}

static void pass_time(struct game *g, unsigned s)
{
	for (unsigned i = 0; i < s; i++) {
		g->now_ms += 1000;
		fg_journal_tick(g->j, g->now_ms);
	}
}

static void change_disk(struct game *g)
{
	static const struct fault states[] = {
		{.call = FAULT_SYNC},
		{.call = FAULT_SYNC},
		{.call = FAULT_SYNC, .nth = 1, .more = UINT64_MAX, .error = -EIO},
		{.call = FAULT_WRITE, .nth = 1, .more = UINT64_MAX, .error = -ENOSPC},
		{.call = FAULT_CREATE, .nth = 1, .more = UINT64_MAX, .error = -ENOSPC},
	};

	fault_fs_set(&g->fs, &states[dice(g, sizeof(states) / sizeof(states[0]))]);
}

static void take_step(struct game *g)
{
	switch (dice(g, 9)) {
	case 0:
		say(g, FG_LANE_MAIN, 1 + dice(g, 30));
		break;
	case 1:
	case 2:
		say(g, FG_LANE_ALARM, 1 + dice(g, 30));
		break;
	case 3:
	case 4:
	case 5:
		drain(g, (int)dice(g, FG_N_CURSOR_LANES), dice(g, N_LINKS));
		break;
	case 6:
		change_disk(g);
		pass_time(g, dice(g, 30));
		break;
	case 7:
		stop(g);
		start(g);
		break;
	case 8:
		be_killed(g);
		start(g);
		break;
	}
	fg_journal_flush(g->j, g->now_ms);
}

static void play(int seed)
{
	struct game g = {.seed = seed, .now_ms = 1000000};

	g.disk = sim_disk_new((uint64_t)seed, SIM_HONEST);
	fault_fs_init(&g.fs, sim_disk_fs(g.disk));
	g.options = (struct fg_journal_options){
		.fs = &g.fs.fs,
		.segment_bytes = 16384,
		.batch_bytes = 4096,
		.max_bytes = 64 << 20,
		.max_quarantine_bytes = 1 << 20,
		.lost = note_lost,
		.arg = &g,
	};
	start(&g);
	for (g.step = 0; g.step < N_STEPS; g.step++)
		take_step(&g);
	stop(&g);
	sim_disk_free(g.disk);
}

static void no_link_hears_of_a_loss_that_there_was_not(void **state)
{
	const char *seed = getenv("FIELDGATE_SEED");

	(void)state;
	if (seed)
		play(atoi(seed));
	for (int i = 1; !seed && i <= N_GAMES; i++)
		play(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_link_hears_of_a_loss_that_there_was_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
