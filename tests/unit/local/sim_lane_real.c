#include "sim_lane.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "simdisk.h"

struct sim_lane {
	struct sim_disk *disk;
	struct fg_journal *journal;
};

struct sim_lane *sim_lane_new(uint64_t seed)
{
	struct sim_lane *l = calloc(1, sizeof(*l));

	assert(l);
	l->disk = sim_disk_new(seed, SIM_HONEST);
	assert(l->disk);
	return l;
}

/* The disk is off by then, or what gathers does not matter any more. */
static void close_journal(struct sim_lane *l)
{
	l->journal = fg_journal_free(l->journal);
}

struct sim_lane *sim_lane_free(struct sim_lane *l)
{
	close_journal(l);
	sim_disk_free(l->disk);
	free(l);
	return NULL;
}

struct fg_journal *sim_lane_open(struct sim_lane *l, int64_t now_ms)
{
	struct fg_journal_options options = {
		.fs = sim_disk_fs(l->disk),
		.segment_bytes = 65536,
		.batch_bytes = 16384,
		.max_bytes = 1 << 20,
		.max_alarm_bytes = 1 << 20,
		.max_quarantine_bytes = 1 << 20,
	};
	struct fg_error err = {0};

	if (fg_journal_open(&options, &l->journal, &err) < 0) {
		fprintf(stderr, "the journal does not open: %s\n", err.text);
		abort();
	}
	fg_journal_tick(l->journal, now_ms);
	return l->journal;
}

uint64_t sim_lane_commit(struct sim_lane *l, int64_t now_ms)
{
	fg_journal_flush(l->journal, now_ms);
	fg_journal_collect(l->journal, now_ms);
	return fg_journal_committed(l->journal);
}

void sim_lane_cut(struct sim_lane *l, bool is_committing, int64_t now_ms)
{
	if (is_committing) {
		sim_disk_cut_in(l->disk, 1 + sim_disk_random(l->disk, 3));
		fg_journal_flush(l->journal, now_ms);
	}
	sim_disk_cut(l->disk);
	close_journal(l);
	sim_disk_power_on(l->disk);
}
