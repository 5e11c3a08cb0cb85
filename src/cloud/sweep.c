/*
 * The behind pass of a link with many sessions. It goes upward through what sessions have missed, and
 * carries along all that can take records; then it begins again below. Nobody waits for a session that
 * is slow: it gets off, and gets on again where it got off with the next sweep.
 */
#include "cloud/feed.h"
#include "cloud/outbox_internal.h"

/* So many reads in one sweep, then those have their turn that wait further below. */
#define READS_MAX 64

static const uint64_t nowhere = UINT64_MAX;

static struct fg_reading *behind(struct fg_feed *f)
{
	return &f->readings[FG_PASS_BEHIND];
}

/* The lowest record of @s that the behind pass has to read; 0: none. */
static uint64_t resume_of(const struct fg_feed *f, const struct fg_outbox_session *s)
{
	uint64_t resume = fg_track_resume(&s->tracks[f->lane], &f->ledger);
	uint64_t left = fg_track_resume(&s->left[f->lane], &f->ledger);

	return resume == 0 || (left != 0 && left < resume) ? left : resume;
}

/* Is there something to be sent again that may go? */
static bool has_again(const struct fg_feed *f, const struct fg_outbox_session *s)
{
	const struct fg_track *t = &s->tracks[f->lane], *left = &s->left[f->lane];
	uint64_t missed = fg_track_resume(t, &f->ledger);

	/* Where it has no place for what it has missed it gets off, and what was left above is not met. */
	if (left->n_again > 0 && (missed == 0 || fg_track_resume(left, &f->ledger) < missed))
		return true;
	if (fg_feed_is_ahead(f, t))
		return fg_ledger_at(&f->ledger, t->first)->state == FG_ENTRY_AGAIN;
	return t->n_again > 0;
}

/*
 * Is it worth reading for? With half its window free at least, so that a pass does not come by for each
 * acknowledgement. One that has no place for more still takes what has to be sent again. One whose device
 * is not known takes everything: its first record tells.
 */
static bool can_ride(const struct fg_feed *f, const struct fg_outbox_session *s)
{
	const struct fg_track *t = &s->tracks[f->lane];

	if (!s->device)
		return true;
	return fg_outbox_session_can_take(s) && 2 * fg_inflight_count(s->inflight) <= s->limit &&
	       (fg_feed_has_place(f, t) || has_again(f, s)) &&
	       t->asleep != fg_outbox_session_news(s, f->lane);
}

void fg_sweep_get_off(struct fg_track *t, uint64_t seq)
{
	if (t->rides && t->state == FG_TRACK_BEHIND) {
		t->off_at = seq;
		if (seq > t->read_to)
			t->read_to = seq;
	}
	t->rides = false;
	t->resume = nowhere;
}

bool fg_sweep_carries(const struct fg_feed *f, const struct fg_track *t, uint64_t seq)
{
	return t->rides || (t->resume >= f->readings[FG_PASS_BEHIND].position && t->resume <= seq);
}

/* Where each session that does not ride would have to get on. */
struct outlook {
	bool has_riders;
	uint64_t lowest, ahead; /* of all, and at the position of the pass or above */
};

static void look(struct fg_feed *f, struct outlook *ret)
{
	uint64_t position = behind(f)->position;

	*ret = (struct outlook){.lowest = nowhere, .ahead = nowhere};
	if (f->strays != 0) {
		ret->lowest = f->strays;
		if (f->strays >= position)
			ret->ahead = f->strays;
	}
	for (size_t i = 0; i < f->outbox->n_sessions; i++) {
		struct fg_outbox_session *s = f->outbox->sessions[i];
		struct fg_track *t = &s->tracks[f->lane];
		uint64_t resume;

		if (!can_ride(f, s)) {
			fg_sweep_get_off(t, position);
			continue;
		}
		if (t->rides) {
			ret->has_riders = true;
			continue;
		}
		resume = resume_of(f, s);
		t->resume = resume ? resume : nowhere;
		if (t->resume < ret->lowest)
			ret->lowest = t->resume;
		if (t->resume >= position && t->resume < ret->ahead)
			ret->ahead = t->resume;
	}
}

static void all_get_off(struct fg_feed *f)
{
	for (size_t i = 0; i < f->outbox->n_sessions; i++)
		fg_sweep_get_off(&f->outbox->sessions[i]->tracks[f->lane], behind(f)->position);
}

bool fg_sweep_begin(struct fg_feed *f)
{
	struct fg_reading *r = behind(f);
	bool is_long = f->n_reads >= READS_MAX;
	struct outlook out;

	look(f, &out);
	if (out.has_riders && is_long && out.lowest < r->position) {
		all_get_off(f);
		look(f, &out);
	}
	f->n_reads++;
	if (out.has_riders)
		return true;
	f->is_behind = out.lowest != nowhere;
	if (out.ahead != nowhere && !is_long) {
		r->position = out.ahead;
	} else if (f->is_behind) {
		r->position = out.lowest;
		f->n_reads = 0;
	}
	return f->is_behind;
}

void fg_sweep_read(struct fg_feed *f, uint64_t to)
{
	for (size_t i = 0; i < f->outbox->n_sessions; i++) {
		struct fg_track *t = &f->outbox->sessions[i]->tracks[f->lane];

		if (t->resume >= behind(f)->position && t->resume <= to)
			t->rides = true;
		t->rode = t->rides;
	}
}

uint64_t fg_sweep_rode_to(const struct fg_track *t, uint64_t to)
{
	if (t->rides)
		return to;
	return t->rode && t->state == FG_TRACK_BEHIND && t->off_at < to ? t->off_at : 0;
}

static void caught_up(struct fg_feed *f, struct fg_outbox_session *s)
{
	struct fg_track *t = &s->tracks[f->lane];

	fg_sweep_get_off(t, behind(f)->position);
	fg_track_join(t, &f->ledger, f->readings[FG_PASS_LIVE].position);
	if (s->name)
		return;
	/* All of it has gone, or is not for this link any more. */
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		if (s->tracks[lane].state != FG_TRACK_WITH || s->tracks[lane].n > 0 ||
		    s->left[lane].n > 0)
			return;
	fg_outbox_unexpect(s);
}

void fg_sweep_reached(struct fg_feed *f)
{
	/*
	 * Where the live pass has been before, or a process before us, what sessions missed counts as
	 * settled: it passes that over when it comes by again, so nobody may join it there.
	 */
	if (f->readings[FG_PASS_LIVE].position < f->highest) {
		all_get_off(f);
		return;
	}
	/* From the end: one that goes is replaced by the last. */
	for (size_t i = f->outbox->n_sessions; i-- > 0;)
		if (f->outbox->sessions[i]->tracks[f->lane].rides)
			caught_up(f, f->outbox->sessions[i]);
}

bool fg_sweep_must_go_back(const struct fg_feed *f, const struct fg_outbox_session *s, uint64_t seq)
{
	return fg_track_must_go_back(&s->tracks[f->lane], &f->ledger, seq) ||
	       fg_track_must_go_back(&s->left[f->lane], &f->ledger, seq);
}

static bool could_ride(const struct fg_feed *f, const struct fg_outbox_session *s)
{
	const struct fg_track *t = &s->tracks[f->lane];

	return can_ride(f, s) && (t->rides || resume_of(f, s) != 0);
}

bool fg_sweep_is_wanted(struct fg_feed *f)
{
	struct fg_window *w = behind(f)->window;
	size_t n = 0;

	for (size_t i = 0; i < f->outbox->n_sessions; i++)
		n += could_ride(f, f->outbox->sessions[i]);
	for (unsigned i = 0; i < w->n_rows; i++) {
		struct fg_row *row = &w->rows[i];
		const struct fg_outbox_session *s = row->session;

		if (!fg_row_is_open(w, row))
			continue;
		if (fg_sweep_must_go_back(f, s, w->messages[row->first].seq))
			return true;
		n -= could_ride(f, s);
	}
	return n > 0 && !f->is_at_bound;
}
