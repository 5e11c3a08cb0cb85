#include "sim_lane.h"

#include <assert.h>
#include <stdlib.h>

#include "fake_lane.h"

struct sim_lane {
	struct fg_journal *journal;
	uint64_t random;
};

struct sim_lane *sim_lane_new(uint64_t seed)
{
	struct sim_lane *l = calloc(1, sizeof(*l));

	assert(l);
	l->random = seed * 2 + 1;
	l->journal = lane_new();
	return l;
}

struct sim_lane *sim_lane_free(struct sim_lane *l)
{
	lane_free(l->journal);
	free(l);
	return NULL;
}

struct fg_journal *sim_lane_open(struct sim_lane *l, int64_t now_ms)
{
	(void)now_ms;
	return l->journal;
}

uint64_t sim_lane_commit(struct sim_lane *l, int64_t now_ms)
{
	(void)now_ms;
	return lane_commit(l->journal);
}

void sim_lane_cut(struct sim_lane *l, bool is_committing, int64_t now_ms)
{
	(void)now_ms;
	l->random = l->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	lane_crash(l->journal, is_committing ? (l->random >> 33) % 4 : 0);
}
