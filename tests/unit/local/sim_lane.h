#pragma once

/*
 * The journal of the simulation: a real one on a simulated disk, or a lane in memory. Both lose at
 * a power cut what was not committed, but for some of a commit that was under way.
 */
#include "journal/journal.h"

struct sim_lane;

struct sim_lane *sim_lane_new(uint64_t seed);
struct sim_lane *sim_lane_free(struct sim_lane *l);

/** Start, or start again after a cut. */
struct fg_journal *sim_lane_open(struct sim_lane *l, int64_t now_ms);

/** All that has gathered is on disk; the ticket that covers it. */
uint64_t sim_lane_commit(struct sim_lane *l, int64_t now_ms);

/** The power goes; @is_committing: in the middle of a commit. */
void sim_lane_cut(struct sim_lane *l, bool is_committing, int64_t now_ms);
