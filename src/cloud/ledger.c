#include "cloud/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "util/hash.h"

#define FIRST_SIZE 64u

void fg_ledger_init(struct fg_ledger *l, struct fg_cursor *cursor)
{
	*l = (struct fg_ledger){.cursor = cursor};
}

void fg_ledger_done(struct fg_ledger *l)
{
	free(l->entries);
	free(l->hash);
	*l = (struct fg_ledger){.cursor = l->cursor};
}

/* Sequence numbers are mostly neighbours: their low bits spread them best. */
static uint16_t *hash_of(const struct fg_ledger *l, uint64_t seq)
{
	return &l->hash[seq & (l->size - 1)];
}

/* Entry 0 is none; the others keep their places. */
static bool grow(struct fg_ledger *l)
{
	unsigned size = l->size ? l->size * 2 : FIRST_SIZE;
	struct fg_entry *entries = realloc(l->entries, (size + 1) * sizeof(entries[0]));
	uint16_t *hash;

	if (!entries)
		return false;
	l->entries = entries;
	entries[0] = (struct fg_entry){.seq = 0};
	hash = calloc(size, sizeof(hash[0]));
	if (!hash)
		return false;
	free(l->hash);
	l->hash = hash;
	for (unsigned e = 1; e <= size; e++) {
		if (e > l->size) {
			entries[e] = (struct fg_entry){.same_hash = l->free};
			l->free = (uint16_t)e;
		} else if (entries[e].track) {
			uint16_t *head = &hash[entries[e].seq & (size - 1)];

			entries[e].same_hash = *head;
			*head = (uint16_t)e;
		}
	}
	l->size = size;
	return true;
}

unsigned fg_ledger_reserve(struct fg_ledger *l, unsigned n)
{
	while (l->size - l->n_used < n && l->size < FG_LEDGER_MAX && grow(l))
		;
	return l->size - l->n_used < n ? l->size - l->n_used : n;
}

void fg_ledger_rest(struct fg_ledger *l)
{
	if (l->n_used == 0)
		fg_ledger_done(l);
}

uint16_t fg_ledger_find(const struct fg_ledger *l, uint64_t seq)
{
	uint16_t e = l->size ? *hash_of(l, seq) : 0;

	while (e && l->entries[e].seq != seq)
		e = l->entries[e].same_hash;
	return e;
}

/* ---- entries come and go */

static uint8_t order_hash(struct fg_span device)
{
	return (uint8_t)fg_hash(0, device); /* whoever aims at it delays attributes */
}

/* Behind all others, but for what is read again when its track could not fall out. */
static void append(struct fg_track *t, struct fg_ledger *l, uint16_t e)
{
	uint16_t before = t->last, after = 0;

	while (t->may_fall_out && before && l->entries[before].seq > l->entries[e].seq) {
		after = before;
		before = l->entries[before].before;
	}
	l->entries[e].before = before;
	l->entries[e].after = after;
	*(before ? &l->entries[before].after : &t->first) = e;
	*(after ? &l->entries[after].before : &t->last) = e;
	t->n++;
}

static void take_off(struct fg_track *t, struct fg_ledger *l, uint16_t e)
{
	struct fg_entry *entry = &l->entries[e];

	*(entry->before ? &l->entries[entry->before].after : &t->first) = entry->after;
	*(entry->after ? &l->entries[entry->after].before : &t->last) = entry->before;
	t->n--;
}

uint16_t fg_ledger_add(struct fg_ledger *l, struct fg_track *track, const struct fg_message *m,
		       struct fg_span device, unsigned pass)
{
	uint16_t e = l->free;
	struct fg_entry *entry = &l->entries[e];
	uint16_t *head = hash_of(l, m->seq);

	l->free = entry->same_hash;
	*entry = (struct fg_entry){
		.seq = m->seq,
		.track = track,
		.same_hash = *head,
		.is_ordered = fg_kind_is_ordered(m->kind),
		.state = FG_ENTRY_OFFERED,
		.pass = (uint8_t)pass,
	};
	*head = e;
	if (entry->is_ordered) {
		entry->order_hash = order_hash(device);
		entry->same_order = l->ordered[entry->order_hash];
		l->ordered[entry->order_hash] = e;
		l->n_ordered++;
	}
	append(track, l, e);
	l->n[FG_ENTRY_OFFERED]++;
	l->n_used++;
	return e;
}

void fg_ledger_set(struct fg_ledger *l, uint16_t e, enum fg_entry_state state)
{
	struct fg_entry *entry = &l->entries[e];

	l->n[entry->state]--;
	/* Only then does it let others pass. */
	l->order_news +=
		entry->is_ordered && (state == FG_ENTRY_DONE || state == FG_ENTRY_QUARANTINED);
	entry->track->n_again -= entry->state == FG_ENTRY_AGAIN;
	entry->track->n_done -= entry->state == FG_ENTRY_DONE;
	entry->was_sent = state == FG_ENTRY_DONE && entry->state == FG_ENTRY_SENT;
	l->n_done_sent += entry->was_sent;
	entry->state = (uint8_t)state;
	l->n[state]++;
	entry->track->n_again += state == FG_ENTRY_AGAIN;
	entry->track->n_done += state == FG_ENTRY_DONE;
}

void fg_ledger_isolate(struct fg_ledger *l, uint16_t e)
{
	struct fg_entry *entry = &l->entries[e];

	entry->track->n_alone += !entry->is_alone;
	entry->is_alone = true;
}

static void unlink_from(uint16_t *at, uint16_t e, uint16_t next, struct fg_ledger *l, bool is_order)
{
	while (*at != e)
		at = is_order ? &l->entries[*at].same_order : &l->entries[*at].same_hash;
	*at = next;
}

static void not_alone(struct fg_entry *entry)
{
	entry->track->n_alone -= entry->is_alone;
	entry->is_alone = false;
}

void fg_ledger_forget(struct fg_ledger *l, uint16_t e)
{
	struct fg_entry *entry = &l->entries[e];
	struct fg_track *t = entry->track;

	not_alone(entry);
	t->n_again -= entry->state == FG_ENTRY_AGAIN;
	t->n_done -= entry->state == FG_ENTRY_DONE;
	l->n_done_sent -= entry->was_sent;
	l->n_left -= entry->is_left;
	l->n[entry->state]--;
	take_off(t, l, e);
	unlink_from(hash_of(l, entry->seq), e, entry->same_hash, l, false);
	if (entry->is_ordered) {
		unlink_from(&l->ordered[entry->order_hash], e, entry->same_order, l, true);
		l->n_ordered--;
		l->order_news++;
	}
	*entry = (struct fg_entry){.same_hash = l->free};
	l->free = e;
	l->n_used--;
}

/* ---- settling */

static void rejoin(struct fg_track *t, struct fg_ledger *l)
{
	t->state = FG_TRACK_WITH;
	fg_cursor_rejoin(l->cursor, t->key);
	if (t->may_fall_out)
		return;
	for (uint16_t e = t->first, after; e; e = after) {
		after = l->entries[e].after;
		if (l->entries[e].state == FG_ENTRY_DONE)
			fg_ledger_forget(l, e);
	}
}

/* Of a track that is behind: no entry is at @seq or below. What has none has been settled, or was left. */
static void move_on(struct fg_track *t, struct fg_ledger *l, uint64_t seq)
{
	uint64_t next = t->first ? l->entries[t->first].seq : UINT64_MAX;
	uint64_t from = seq + 1;

	if (t->left_to > seq)
		from = next < t->left_to ? next : t->left_to + 1;
	/* A device that is no more muted brings up what is below. */
	if (from > t->from)
		t->from = from;
	fg_cursor_leave_behind(l->cursor, t->key, t->from);
	l->track_news++;
}

/* What is settled at its beginning need not be remembered: one step for each record, as the cursor
 * counts what a crash would repeat. */
static void advance(struct fg_track *t, struct fg_ledger *l, uint16_t just_settled)
{
	uint64_t n_settled_before = 0;

	while (t->first && l->entries[t->first].state == FG_ENTRY_DONE) {
		uint64_t seq = l->entries[t->first].seq;

		/* A crash makes it fall out from what the disk does not know to be settled. */
		if (t->state == FG_TRACK_WITH)
			n_settled_before +=
				t->first != just_settled && l->entries[t->first].was_sent;
		fg_ledger_forget(l, t->first);
		if (t->state != FG_TRACK_WITH)
			move_on(t, l, seq);
	}
	fg_cursor_may_repeat(l->cursor, n_settled_before);
	if (t->state == FG_TRACK_JOINING && (!t->first || l->entries[t->first].seq >= t->joined))
		rejoin(t, l);
}

void fg_ledger_settle(struct fg_ledger *l, uint16_t e)
{
	while (e) {
		uint64_t first = l->entries[e].seq, last = first;
		uint16_t next;

		/* Tell the cursor of a run at once, before any track moves. */
		for (next = l->entries[e].chain; next && l->entries[next].seq == last + 1; last++)
			next = l->entries[next].chain;
		fg_cursor_settle(l->cursor, first, last);
		while (e != next) {
			struct fg_track *t = l->entries[e].track;
			uint16_t settled = e;

			e = l->entries[e].chain;
			if (l->entries[settled].is_left)
				fg_cursor_rejoin(l->cursor,
						 FG_KEY_RECORD | l->entries[settled].seq);
			if (t->state == FG_TRACK_WITH && !t->may_fall_out) {
				fg_ledger_forget(l, settled);
				continue;
			}
			not_alone(&l->entries[settled]);
			fg_ledger_set(l, settled, FG_ENTRY_DONE);
			advance(t, l, settled);
		}
	}
}

uint64_t fg_ledger_holding_up(const struct fg_ledger *l, uint16_t e)
{
	const struct fg_entry *mine = &l->entries[e];
	uint64_t lowest = 0;

	for (uint16_t o = l->ordered[mine->order_hash]; o; o = l->entries[o].same_order) {
		const struct fg_entry *other = &l->entries[o];

		if (other->state == FG_ENTRY_DONE || other->state == FG_ENTRY_QUARANTINED ||
		    other->state == FG_ENTRY_LEFT ||
		    (other->state == FG_ENTRY_OFFERED && other->pass == mine->pass))
			continue;
		if (lowest == 0 || other->seq < lowest)
			lowest = other->seq;
	}
	return lowest;
}

uint64_t fg_ledger_at_risk(const struct fg_ledger *l)
{
	return (uint64_t)l->n[FG_ENTRY_SENT] + l->n_done_sent;
}

/* ---- tracks */

void fg_track_init(struct fg_track *t, struct fg_ledger *l, uint64_t key, void *owner)
{
	*t = (struct fg_track){.key = key, .owner = owner};
	t->from = fg_cursor_left_behind(l->cursor, key);
	t->read_to = t->from;
	if (t->from)
		t->state = FG_TRACK_BEHIND;
}

int fg_track_fall_out(struct fg_track *t, struct fg_ledger *l, uint64_t seq)
{
	uint64_t from = t->first && l->entries[t->first].seq < seq ? l->entries[t->first].seq : seq;
	int r;

	if (t->state == FG_TRACK_BEHIND)
		return 0;
	if (t->state == FG_TRACK_WITH) {
		r = fg_cursor_leave_behind(l->cursor, t->key, from);
		if (r < 0)
			return r;
		t->from = from;
	}
	t->state = FG_TRACK_BEHIND;
	t->read_to = seq;
	for (uint16_t e = t->first; e; e = l->entries[e].after)
		fg_cursor_settle(l->cursor, l->entries[e].seq, l->entries[e].seq);
	return 0;
}

void fg_track_join(struct fg_track *t, struct fg_ledger *l, uint64_t live)
{
	if (t->state != FG_TRACK_BEHIND)
		return;
	t->state = FG_TRACK_JOINING;
	t->joined = live;
	advance(t, l, 0);
}

void fg_track_recall(struct fg_track *t, struct fg_ledger *l, bool sent)
{
	for (uint16_t e = t->first; e; e = l->entries[e].after)
		if (l->entries[e].state == FG_ENTRY_OFFERED ||
		    l->entries[e].state == FG_ENTRY_LEFT ||
		    (l->entries[e].state == FG_ENTRY_SENT && sent))
			fg_ledger_set(l, e, FG_ENTRY_AGAIN);
}

static bool is_unremarkable(const struct fg_entry *entry)
{
	return entry->state == FG_ENTRY_AGAIN && !entry->is_alone && !entry->poison &&
	       entry->n_tries == 0;
}

void fg_track_trim(struct fg_track *t, struct fg_ledger *l)
{
	uint16_t before;

	for (uint16_t e = t->last; e; e = before) {
		before = l->entries[e].before;
		if (is_unremarkable(&l->entries[e])) {
			if (l->entries[e].seq < t->read_to)
				t->read_to = l->entries[e].seq;
			t->left_to = 0;
			fg_ledger_forget(l, e);
		} else if (t->state != FG_TRACK_WITH) {
			break;
		}
	}
}

/* Entry @e is not DONE. */
static void hand_over(struct fg_track *t, struct fg_ledger *l, uint16_t e, struct fg_track *heir)
{
	struct fg_entry *entry = &l->entries[e];

	take_off(t, l, e);
	t->n_again -= entry->state == FG_ENTRY_AGAIN;
	heir->n_again += entry->state == FG_ENTRY_AGAIN;
	t->n_alone -= entry->is_alone;
	heir->n_alone += entry->is_alone;
	entry->track = heir;
	append(heir, l, e);
}

/* The record stays open by a key of its own, until it is settled. */
static int keep_alone(struct fg_ledger *l, struct fg_entry *entry)
{
	int r;

	if (entry->is_left)
		return 0;
	r = fg_cursor_leave_behind(l->cursor, FG_KEY_RECORD | entry->seq, entry->seq);
	if (r < 0)
		return r;
	fg_cursor_settle(l->cursor, entry->seq, entry->seq);
	entry->is_left = true;
	l->n_left++;
	return 0;
}

int fg_ledger_leave(struct fg_ledger *l, uint16_t e, struct fg_track *heir)
{
	struct fg_entry *entry = &l->entries[e];
	struct fg_track *t = entry->track;
	bool was_first;
	int r;

	fg_ledger_set(l, e, FG_ENTRY_LEFT);
	if (!heir || entry->is_left)
		return 0;
	r = keep_alone(l, entry);
	if (r < 0)
		return r;
	was_first = t->first == e;
	hand_over(t, l, e, heir);
	if (entry->seq > t->left_to)
		t->left_to = entry->seq;
	if (was_first && t->state != FG_TRACK_WITH)
		move_on(t, l, entry->seq);
	advance(t, l, 0);
	return 0;
}

void fg_track_dissolve(struct fg_track *t, struct fg_ledger *l, struct fg_track *heir)
{
	while (t->state == FG_TRACK_WITH && t->first)
		hand_over(t, l, t->first, heir);
}

void fg_track_abandon(struct fg_track *t, struct fg_ledger *l)
{
	for (uint16_t e = t->first; e; e = l->entries[e].after)
		if (l->entries[e].state != FG_ENTRY_QUARANTINED) {
			fg_cursor_settle(l->cursor, l->entries[e].seq, l->entries[e].seq);
			if (l->entries[e].is_left)
				fg_cursor_rejoin(l->cursor, FG_KEY_RECORD | l->entries[e].seq);
		}
	if (t->state == FG_TRACK_WITH)
		return;
	t->state = FG_TRACK_WITH;
	fg_cursor_rejoin(l->cursor, t->key);
}

void fg_track_forget(struct fg_track *t, struct fg_ledger *l, struct fg_track *heir)
{
	uint16_t after;

	for (uint16_t e = t->first; e; e = after) {
		after = l->entries[e].after;
		if (l->entries[e].state != FG_ENTRY_QUARANTINED) {
			fg_ledger_forget(l, e);
			continue;
		}
		/* Whoever goes on with this track does not know of it. */
		if (t->state != FG_TRACK_WITH)
			keep_alone(l, &l->entries[e]);
		hand_over(t, l, e, heir);
	}
	t->read_to = t->from;
	t->left_to = 0;
}

/* Settling may free what comes after it. */
static uint16_t find_again(const struct fg_track *t, const struct fg_ledger *l, uint64_t from,
			   uint64_t to)
{
	uint16_t e = t->n_again ? t->first : 0;

	while (e && (l->entries[e].state != FG_ENTRY_AGAIN || l->entries[e].seq < from ||
		     l->entries[e].seq >= to))
		e = l->entries[e].after;
	return e;
}

void fg_track_give_up(struct fg_track *t, struct fg_ledger *l, uint64_t from, uint64_t to)
{
	uint16_t e;

	while ((e = find_again(t, l, from, to))) {
		l->entries[e].chain = 0;
		fg_ledger_settle(l, e);
	}
}

bool fg_track_must_go_back(const struct fg_track *t, const struct fg_ledger *l, uint64_t seq)
{
	return find_again(t, l, 0, seq) != 0;
}

uint64_t fg_track_resume(const struct fg_track *t, const struct fg_ledger *l)
{
	uint64_t lowest = t->state == FG_TRACK_BEHIND ? t->read_to : 0;

	if (t->n_again == 0)
		return lowest;
	for (uint16_t e = t->first; e; e = l->entries[e].after)
		if (l->entries[e].state == FG_ENTRY_AGAIN &&
		    (lowest == 0 || l->entries[e].seq < lowest))
			lowest = l->entries[e].seq;
	return lowest;
}
