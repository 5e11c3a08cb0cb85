/*
 * What may go from the disk, and what must: segments that all cursors have passed, caps by bytes and
 * by age, and what happens to new records at the cap.
 */
#include "journal/journal_internal.h"

#include <errno.h>

/*
 * Kept free below the cap where new records have to stay out, of a segment: cursors are saved all
 * the same, and each start makes a file for that.
 */
#define RESERVE_PART 4

/* ---- at the cap */

/* How the active segment and the whole lane grow by what goes in. */
struct growth {
	uint64_t segment_bytes, header_bytes;
	uint64_t used, on_disk; /* of the active segment; used 0: none */
	uint64_t bytes;         /* of the lane */
};

static void grow(struct growth *g, uint64_t size)
{
	if (size == 0)
		return;
	if (g->used == 0 || g->used + size > g->segment_bytes) {
		/* The one before gives back what it does not use. */
		g->bytes -= g->used > 0 ? g->on_disk - g->used : 0;
		g->used = g->header_bytes + size;
		g->on_disk = g->segment_bytes;
		g->bytes += g->segment_bytes;
		return;
	}
	g->used += size;
	if (g->used > g->on_disk) {
		g->bytes += g->used - g->on_disk;
		g->on_disk = g->used;
	}
}

static uint64_t table_reserve(const struct fg_lane_state *s)
{
	uint64_t bytes = s->segments.segment_bytes / RESERVE_PART;
	uint64_t least = 2 * (s->header_max + fg_table_record_max(s));

	return bytes > least ? bytes : least;
}

bool fg_retention_would_pass_cap(const struct fg_journal *j, int lane, size_t more)
{
	const struct fg_lane_state *s = &j->lanes[lane];
	const struct fg_segments *l = &s->segments;
	uint64_t waiting = j->in_flight ? j->in_flight->commit.parts[lane].size : 0;
	uint64_t gathered = j->gather->commit.parts[lane].size + more + fg_table_record_max(s);
	struct growth g = {
		.segment_bytes = l->segment_bytes,
		.header_bytes = s->header_max,
		.used = s->active_used,
		.on_disk = l->n > 0 ? l->items[l->n - 1]->on_disk : 0,
	};

	if (j->options.on_full == FG_ON_FULL_DROP_OLDEST)
		return false;
	/* Nearly always: the segment has room that is there already. */
	if (g.used > 0 && g.used + waiting + gathered <= g.on_disk)
		return false;
	g.bytes = fg_segments_bytes(l) + table_reserve(s);
	grow(&g, waiting);
	grow(&g, gathered);
	return g.bytes > s->max_bytes;
}

void fg_retention_tell_full(struct fg_journal *j, bool is_full)
{
	j->is_full = is_full;
	if (j->options.full)
		j->options.full(j->options.arg, is_full);
}

void fg_retention_update_full(struct fg_journal *j)
{
	bool is_full = false;

	/* With FG_ON_FULL_DROP_NEWEST it begins when a record has to be dropped. */
	if (j->options.on_full == FG_ON_FULL_DROP_OLDEST ||
	    (j->options.on_full == FG_ON_FULL_DROP_NEWEST && !j->is_full))
		return;
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		size_t left = j->lanes[i].capacity - j->gather->commit.parts[i].size;

		is_full = is_full || fg_retention_would_pass_cap(j, i, left);
	}
	if (is_full != j->is_full)
		fg_retention_tell_full(j, is_full);
}

bool fg_retention_is_tight(const struct fg_journal *j, int lane)
{
	const struct fg_segments *l = &j->lanes[lane].segments;

	return fg_segments_bytes(l) + l->segment_bytes > j->lanes[lane].max_bytes;
}

/* ---- giving up */

/*
 * The next commit may need a new segment, for which the oldest has to go. Whoever still wanted that
 * gives it up now, so that this is on disk before the file goes: after a crash nobody shall look
 * for records that are gone, and report what a cloud has had as lost.
 */
static void give_up_oldest(struct fg_journal *j, int lane)
{
	const struct fg_commit_part *p = &j->gather->commit.parts[lane];
	const struct fg_lane_state *s = &j->lanes[lane];
	const struct fg_segments *l = &s->segments;
	uint64_t bytes;

	if (j->options.on_full != FG_ON_FULL_DROP_OLDEST || s->active_used == 0 ||
	    s->active_used + p->size + fg_table_record_max(s) + s->capacity <= l->segment_bytes)
		return;
	bytes = fg_segments_bytes(l) + l->segment_bytes;
	for (size_t i = 0; i + 1 < l->n && bytes > s->max_bytes; i++) {
		bytes -= l->items[i]->on_disk;
		fg_cursors_dropped(&j->cursors[lane], fg_segments_end_seq(l, i) - 1);
	}
}

void fg_retention_trim(struct fg_journal *j)
{
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		for (unsigned k = 0; k < FG_CURSORS_MAX; k++) {
			struct fg_cursor *c = &j->cursors[i].slots[k];

			if (c->set && c->is_open)
				fg_cursor_trim(c, j->options.max_age_ms);
		}
		give_up_oldest(j, i);
	}
}

/* ---- retiring */

/* Will this lane need a new segment for @more bytes on top? As the writer decides it. */
static bool will_rotate(const struct fg_journal *j, int lane, size_t more)
{
	const struct fg_lane_state *s = &j->lanes[lane];
	size_t size = j->gather->commit.parts[lane].size + more;

	return size > 0 &&
	       (s->active_used == 0 || s->active_used + size > s->segments.segment_bytes);
}

static void retire_oldest(struct fg_journal *j, struct fg_journal_batch *b, int lane, bool is_late)
{
	struct fg_commit_part *p = &b->commit.parts[lane];
	struct fg_segments *l = &j->lanes[lane].segments;

	p->retired[p->n_retired++] = (struct fg_retired){
		.first_seq = l->items[0]->first_seq,
		.is_damaged = l->items[0]->is_damaged,
		.is_late = is_late,
	};
	fg_segments_drop_oldest(l);
}

/*
 * Segments that every cursor is past, as far as the disk knows: after a crash nobody shall look for
 * records that are gone. On a full disk that knowledge may be stuck in a commit that does not fit;
 * then what is in memory must do, and the segment leaves its name behind to say so.
 */
void fg_retention_retire_passed(struct fg_journal *j, struct fg_journal_batch *b, int lane)
{
	struct fg_commit_part *p = &b->commit.parts[lane];
	struct fg_segments *l = &j->lanes[lane].segments;
	uint64_t low, saved;

	if (!fg_cursors_any_open(&j->cursors[lane])) {
		while (j->options.max_age_ms > 0 && l->n > 1 && p->n_retired < FG_RETIRED_MAX &&
		       j->clock_ms - l->items[0]->newest_ms > j->options.max_age_ms)
			retire_oldest(j, b, lane, false);
		return;
	}
	saved = fg_cursors_low(&j->cursors[lane], true);
	low = j->trouble == -ENOSPC ? fg_cursors_low(&j->cursors[lane], false) : saved;
	while (l->n > 1 && p->n_retired < FG_RETIRED_MAX && low >= l->items[1]->first_seq - 1) {
		uint64_t end = l->items[1]->first_seq;

		retire_oldest(j, b, lane, false);
		if (saved < end - 1)
			p->retired[p->n_retired - 1].passed_seq = end;
	}
}

/*
 * Segments beyond the lane's cap, counting one that @more bytes may need. In a lane with cursors
 * this is for what give_up_oldest() could not foresee: a journal that was opened with a smaller cap,
 * or a disk that refused. They go late: a message in one may be settled by what this very commit
 * brings into quarantine.
 */
void fg_retention_retire_beyond_cap(struct fg_journal *j, int lane, size_t more)
{
	bool has_cursors = fg_lane_has_cursors(lane);
	struct fg_commit_part *p = &j->gather->commit.parts[lane];
	struct fg_segments *l = &j->lanes[lane].segments;
	uint64_t bytes;

	if (has_cursors && j->options.on_full != FG_ON_FULL_DROP_OLDEST)
		return;
	bytes = fg_segments_bytes(l) + (will_rotate(j, lane, more) ? l->segment_bytes : 0);
	while (l->n > 1 && p->n_retired < FG_RETIRED_MAX && bytes > j->lanes[lane].max_bytes) {
		uint64_t end = fg_segments_end_seq(l, 0);

		bytes -= l->items[0]->on_disk;
		retire_oldest(j, j->gather, lane, has_cursors);
		if (!has_cursors)
			continue;
		fg_cursors_dropped(&j->cursors[lane], end - 1);
		/* Who had settled those, but not on disk, must not miss them after a crash. */
		j->cursors[lane].must_save = true;
	}
}
