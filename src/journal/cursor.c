#include "journal/cursor.h"

#include <errno.h>
#include <string.h>

/* In memory. What is out of order is what is in flight, and holes that a live_first link left. */
#define RANGES_MAX 16384
#define DAMAGE_RANGES 32

void fg_cursor_init(struct fg_cursor *c, struct fg_cursors *set, const char *name,
		    uint64_t watermark)
{
	*c = (struct fg_cursor){
		.set = set,
		.id = ++set->next_id,
		.max_unsaved = 1,
		.watermark = watermark,
		.saved = watermark,
		.saved_from = UINT64_MAX,
		.saving_from = UINT64_MAX,
	};
	strncpy(c->name, name, FG_CURSOR_NAME_MAX);
	fg_ranges_init(&c->settled, RANGES_MAX);
	fg_ranges_init(&c->damage, DAMAGE_RANGES);
	fg_left_behinds_init(&c->left_behind);
}

void fg_cursor_done(struct fg_cursor *c)
{
	fg_ranges_free(&c->settled);
	fg_ranges_free(&c->damage);
	fg_left_behinds_free(&c->left_behind);
	*c = (struct fg_cursor){.set = NULL};
}

/* ---- what is settled */

static bool is_table(const struct fg_cursor *c, uint64_t seq)
{
	return fg_cursors_tables_within(c->set, seq, seq) > 0;
}

static uint64_t step_over_tables(const struct fg_cursor *c, uint64_t seq)
{
	while (is_table(c, seq + 1))
		seq++;
	return seq;
}

/* The highest watermark that means the same as @seq: past all that follows it and is settled. */
static uint64_t step_over(const struct fg_cursor *c, uint64_t seq)
{
	const struct fg_range *range;

	seq = step_over_tables(c, seq);
	while ((range = fg_ranges_find(&c->settled, seq + 1)))
		seq = step_over_tables(c, range->last);
	return seq;
}

/* What is saved steps over tables only: what else is settled by now, the disk does not know. */
static void move_watermark(struct fg_cursor *c, uint64_t watermark)
{
	if (watermark > c->watermark)
		c->watermark = watermark;
	c->watermark = step_over(c, c->watermark);
	c->saved = step_over_tables(c, c->saved);
	fg_ranges_cut(&c->settled, c->watermark);
}

void fg_cursor_join_table(struct fg_cursor *c, uint64_t seq)
{
	if (fg_ranges_find(&c->settled, seq - 1))
		fg_ranges_add(&c->settled, seq, seq);
	move_watermark(c, 0);
}

/* How many of @first..@last are open, as far as is known. */
static uint64_t count_open(const struct fg_cursor *c, uint64_t first, uint64_t last)
{
	const struct fg_ranges *s = &c->settled;
	uint64_t n;

	if (first <= c->watermark)
		first = c->watermark + 1;
	if (first > last)
		return 0;
	n = last - first + 1 - fg_cursors_tables_within(c->set, first, last);
	for (size_t i = fg_ranges_from(s, first); i < s->n && s->items[i].first <= last; i++) {
		uint64_t from = s->items[i].first > first ? s->items[i].first : first;
		uint64_t to = s->items[i].last < last ? s->items[i].last : last;

		n -= to - from + 1 - fg_cursors_tables_within(c->set, from, to);
	}
	return n;
}

void fg_cursor_mark_settled(struct fg_cursor *c, uint64_t first, uint64_t last, bool may_be_sent)
{
	uint64_t n = count_open(c, first, last);

	if (first <= c->watermark)
		first = c->watermark + 1;
	if (n == 0)
		return;
	if (may_be_sent)
		c->n_unsaved += n;
	c->n_changes++;
	/* With the tables around, or each of them would make one range into two. */
	while (first > c->watermark + 1 && is_table(c, first - 1))
		first--;
	last = step_over_tables(c, last);
	if (first == c->watermark + 1) {
		move_watermark(c, last);
		return;
	}
	fg_ranges_add(&c->settled, first, last);
}

void fg_cursor_settle(struct fg_cursor *c, uint64_t first, uint64_t last)
{
	/* What is not on disk cannot have been read, and must not be settled ahead. */
	if (last >= c->set->lane->end_seq)
		last = c->set->lane->end_seq - 1;
	fg_cursor_mark_settled(c, first, last, true);
}

uint64_t fg_cursor_settled_to(const struct fg_cursor *c, uint64_t seq)
{
	const struct fg_range *range;

	if (seq <= c->watermark)
		return c->watermark;
	range = fg_ranges_find(&c->settled, seq);
	return range ? range->last : 0;
}

uint64_t fg_cursor_low(const struct fg_cursor *c)
{
	uint64_t below;

	if (c->left_behind.lowest > c->watermark)
		return c->watermark;
	/* Else each table that is written would be one more to give up, and that be saved again. */
	below = step_over_tables(c, c->left_behind.lowest - 1);
	return below < c->watermark ? below : c->watermark;
}

uint64_t fg_cursor_watermark(const struct fg_cursor *c)
{
	return c->watermark;
}

uint64_t fg_cursor_saved(const struct fg_cursor *c)
{
	return c->saved;
}

uint64_t fg_cursor_end(const struct fg_cursor *c)
{
	return c->set->lane->end_seq;
}

uint64_t fg_cursor_backlog(const struct fg_cursor *c)
{
	return count_open(c, c->watermark + 1, c->set->lane->end_seq - 1);
}

bool fg_cursor_may_send(struct fg_cursor *c, uint64_t n_in_flight)
{
	if (n_in_flight < c->max_unsaved && c->n_unsaved < c->max_unsaved - n_in_flight)
		return true;
	/* Once for each step that is made: a save that is on its way is waited for. */
	if (c->n_unsaved > 0 && c->n_changes != c->changes_saving)
		c->set->must_save = true;
	return false;
}

/* ---- sessions that were left behind */

static size_t count_left_behind(const struct fg_cursors *set)
{
	size_t n = 0;

	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set)
			n += set->slots[i].left_behind.n;
	return n;
}

int fg_cursor_leave_behind(struct fg_cursor *c, uint64_t key, uint64_t from)
{
	uint64_t before = fg_left_behinds_get(&c->left_behind, key);

	if (from <= c->floor)
		from = c->floor + 1;
	if (from == before)
		return 0;
	if (before == 0 && count_left_behind(c->set) >= c->set->max_left_behind)
		return -ENOSPC;
	if (fg_left_behinds_put(&c->left_behind, key, from) < 0)
		return -ENOSPC;
	/* Moved on: a record of this session was settled. */
	if (before != 0 && from > before)
		c->n_unsaved++;
	c->n_changes++;
	return 0;
}

void fg_cursor_may_repeat(struct fg_cursor *c, uint64_t n)
{
	if (n == 0)
		return;
	c->n_unsaved += n;
	c->n_changes++;
}

void fg_cursor_rejoin(struct fg_cursor *c, uint64_t key)
{
	if (!fg_left_behinds_remove(&c->left_behind, key))
		return;
	c->n_unsaved++;
	c->n_changes++;
}

uint64_t fg_cursor_left_behind(const struct fg_cursor *c, uint64_t key)
{
	return fg_left_behinds_get(&c->left_behind, key);
}

bool fg_cursor_each_left_behind(const struct fg_cursor *c, size_t i, uint64_t *ret_key,
				uint64_t *ret_from)
{
	if (i >= c->left_behind.n)
		return false;
	*ret_key = c->left_behind.items[i].key;
	*ret_from = c->left_behind.items[i].from;
	return true;
}

/* ---- losses */

static void report(struct fg_cursor *c, uint64_t records, uint64_t seq, enum fg_loss loss,
		   const char *why)
{
	c->losses[loss] += records;
	if (records > 0 && c->set->lost)
		c->set->lost(c->set->arg, c->name, records, seq, why);
}

/* How many of those left behind want records up to @last that the others have settled. */
static uint64_t count_left_up_to(const struct fg_cursor *c, uint64_t last)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->left_behind.n; i++) {
		uint64_t from = c->left_behind.items[i].from;

		n += from <= last && fg_cursor_settled_to(c, from) != 0;
	}
	return n;
}

/* Numbers of first..last that are settled, may be of a session left behind all the same, and were not
 * reported. */
static uint64_t count_damage_behind(const struct fg_cursor *c, uint64_t first, uint64_t last)
{
	const struct fg_ranges *told = &c->damage;
	uint64_t n = 0;

	if (first < c->left_behind.lowest)
		first = c->left_behind.lowest;
	for (size_t i = fg_ranges_from(told, first); first <= last; i++) {
		uint64_t to = i < told->n && told->items[i].first <= last ? told->items[i].first - 1
									  : last;

		if (to >= first)
			n += to - first + 1 - fg_cursors_tables_within(c->set, first, to) -
			     count_open(c, first, to);
		if (to == last)
			break;
		first = told->items[i].last + 1;
	}
	return n;
}

void fg_cursor_lose(struct fg_cursor *c, uint64_t first, uint64_t last, const char *why)
{
	uint64_t n_behind = count_damage_behind(c, first, last);
	uint64_t n_sessions = n_behind > 0 ? count_left_up_to(c, last) : 0;
	uint64_t records = count_open(c, first, last);

	records += n_behind < n_sessions ? n_behind : n_sessions;
	if (records > 0)
		fg_ranges_add(&c->damage, first, last);
	fg_cursor_mark_settled(c, first, last, true);
	report(c, records, last, FG_LOSS_DAMAGED, why);
}

void fg_cursor_lose_unknown(struct fg_cursor *c, uint64_t records, uint64_t seq)
{
	report(c, records, seq, FG_LOSS_DAMAGED, "damaged on disk, and what was settled of it");
}

void fg_cursor_cut(struct fg_cursor *c, uint64_t last, enum fg_loss loss, const char *why)
{
	uint64_t records;

	if (fg_cursor_low(c) >= last)
		return;
	records = count_open(c, c->watermark + 1, last) + count_left_up_to(c, last);
	if (last > c->floor)
		c->floor = last;
	fg_left_behinds_cut(&c->left_behind, last);
	fg_cursor_mark_settled(c, c->watermark + 1, last, true);
	c->n_changes++;
	c->set->must_save = true;
	report(c, records, last, loss, why);
}

void fg_cursor_passed(struct fg_cursor *c, uint64_t last)
{
	if (c->left_behind.lowest <= last) {
		fg_left_behinds_cut(&c->left_behind, last);
		c->n_changes++;
	}
	fg_cursor_mark_settled(c, 1, last, false);
}

static void trim_old(struct fg_cursor *c, int64_t max_age_ms)
{
	const struct fg_segments *l = c->set->lane;
	uint64_t last = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (c->set->clock_ms - l->items[i]->newest_ms <= max_age_ms)
			break;
		last = fg_segments_end_seq(l, i) - 1;
	}
	fg_cursor_cut(c, last, FG_LOSS_AGE, "older than max_age");
}

/* Bytes of segment @i that wait for this cursor, or may: nobody knows which records are of a session
 * that was left behind. */
static uint64_t waiting_bytes(const struct fg_cursor *c, size_t i)
{
	const struct fg_segment *s = c->set->lane->items[i];
	uint64_t last = fg_segments_end_seq(c->set->lane, i) - 1;
	uint64_t low = fg_cursor_low(c);
	uint64_t from = s->header_bytes, seq;

	if (fg_cursor_settled_to(c, s->first_seq) >= last && c->left_behind.lowest > last)
		return 0;
	if (s->first_seq <= low)
		fg_segment_mark_find(s, low + 1, &from, &seq);
	return s->used > from ? s->used - from : 0;
}

/* From the newest segment down until the cap is full; the newest is kept even if it is alone beyond
 * the cap. */
static void trim_heavy(struct fg_cursor *c)
{
	const struct fg_segments *l = c->set->lane;
	uint64_t bytes = 0;

	for (size_t i = l->n; i-- > 0;) {
		if (fg_segments_end_seq(l, i) - 1 <= fg_cursor_low(c))
			return;
		bytes += waiting_bytes(c, i);
		if (bytes > c->max_bytes && i + 1 < l->n) {
			fg_cursor_cut(c, fg_segments_end_seq(l, i) - 1, FG_LOSS_OWN_LIMIT,
				      "beyond its max_backlog");
			return;
		}
	}
}

void fg_cursor_trim(struct fg_cursor *c, int64_t max_age_ms)
{
	if (c->max_age_ms > 0 && (max_age_ms == 0 || c->max_age_ms < max_age_ms))
		max_age_ms = c->max_age_ms;
	if (max_age_ms > 0)
		trim_old(c, max_age_ms);
	if (c->max_bytes > 0)
		trim_heavy(c);
}

/* ---- the rest */

void fg_cursor_set_caps(struct fg_cursor *c, uint64_t max_bytes, int64_t max_age_ms)
{
	c->max_bytes = max_bytes;
	c->max_age_ms = max_age_ms;
}

void fg_cursor_get_losses(const struct fg_cursor *c, uint64_t ret[FG_N_LOSSES])
{
	memcpy(ret, c->losses, sizeof(c->losses));
}

void fg_cursor_close(struct fg_cursor *c)
{
	if (c)
		c->is_open = false;
}
