#include "cloud/feed.h"

#include <errno.h>

#include "cloud/outbox_internal.h"
#include "util/log.h"

/* Records offered to the plugin at once: enough to fill a 64 KiB packet with short readings. */
#define WINDOW_MAIN 512u
#define WINDOW_ALARM 64u
#define TRACK_MIN 16u
#define TRACK_MAX 1024u
#define AHEAD_MIN 8u
#define AHEAD_MAX 128u
#define REST_AFTER_MS 10000

static struct fg_reading *live(struct fg_feed *f)
{
	return &f->readings[FG_PASS_LIVE];
}

static struct fg_reading *behind(struct fg_feed *f)
{
	return &f->readings[FG_PASS_BEHIND];
}

void fg_feed_init(struct fg_feed *f, struct fg_outbox *o, enum fg_lane lane,
		  struct fg_cursor *cursor)
{
	*f = (struct fg_feed){.outbox = o, .lane = lane, .cursor = cursor};
	fg_ledger_init(&f->ledger, cursor);
	behind(f)->kind = FG_PASS_BEHIND;
	live(f)->position = fg_cursor_watermark(cursor) + 1;
	f->highest = fg_cursor_end(cursor);
	fg_track_init(&f->ordered, &f->ledger, FG_KEY_ORDERED, NULL);
}

static void free_window(struct fg_reading *r)
{
	r->window = fg_window_free(r->window);
	if (r->pass)
		fg_pass_rest(r->pass);
}

void fg_feed_done(struct fg_feed *f)
{
	for (unsigned i = 0; i < FG_N_PASSES; i++) {
		free_window(&f->readings[i]);
		f->readings[i].pass = fg_pass_close(f->readings[i].pass);
	}
	fg_ledger_done(&f->ledger);
}

static bool is_open(const struct fg_reading *r)
{
	return r->window && fg_window_is_open(r->window);
}

void fg_feed_rest(struct fg_feed *f)
{
	for (unsigned i = 0; i < FG_N_PASSES; i++) {
		struct fg_reading *r = &f->readings[i];
		bool is_over = r->kind == FG_PASS_BEHIND && !f->is_behind;

		if (r->window && (is_over || f->outbox->now_ms - r->used_ms > REST_AFTER_MS) &&
		    !is_open(r))
			free_window(r);
	}
	if (!live(f)->window)
		fg_ledger_rest(&f->ledger);
}

static unsigned share(const struct fg_feed *f, unsigned part, unsigned min, unsigned max)
{
	unsigned n = f->outbox->with.config->max_in_flight_records / part;

	if (n > max)
		return max;
	return n > min ? n : min;
}

bool fg_feed_is_ahead(const struct fg_feed *f, const struct fg_track *t)
{
	return t->may_fall_out && t->n_done >= share(f, 64, AHEAD_MIN, AHEAD_MAX);
}

bool fg_feed_has_place(const struct fg_feed *f, const struct fg_track *t)
{
	return t->n < share(f, 4, TRACK_MIN, TRACK_MAX) && !fg_feed_is_ahead(f, t);
}

/* ---- records that were read */

/*
 * Decide about the @n records just read, and keep those in the window that are taken. What is settled
 * at once is told the cursor in runs: between two records that follow each other there is none for us.
 * Returns the place of the record it stopped at, or @to.
 */
static uint64_t sort_out(struct fg_feed *f, struct fg_reading *r, unsigned n, uint64_t to)
{
	struct fg_window *w = r->window;
	uint64_t run = 0, run_last = 0;
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		struct fg_message *m = &w->messages[i];
		struct fg_span device = m->device;
		uint16_t entry = 0;
		struct fg_outbox_session *s = NULL;
		enum fg_fate fate = fg_feed_decide(f, r, m, device, &entry, &s);

		if (fate == FG_FATE_SETTLE) {
			run = run ? run : m->seq;
			run_last = m->seq;
			continue;
		}
		if (run)
			fg_cursor_settle(f->cursor, run, run_last);
		run = 0;
		if (fate == FG_FATE_STOP) {
			to = m->seq;
			break;
		}
		if (fate == FG_FATE_SKIP)
			continue;
		if (kept != i)
			w->messages[kept] = *m;
		w->devices[kept] = device;
		w->entries[kept] = entry;
		w->sessions[kept++] = s;
	}
	if (run)
		fg_cursor_settle(f->cursor, run, run_last);
	/* Only now: a track that catches up with it forgets what it has done, which may be in @w, too. */
	fg_ledger_settle(&f->ledger, f->dropped);
	f->dropped = 0;
	fg_window_arrange(w, kept);
	return to;
}

/* ---- reading */

/* May a settled record be for a track that is behind? */
static bool wants(void *arg, const struct fg_message *m)
{
	struct fg_feed *f = arg;
	struct fg_outbox *o = f->outbox;
	const struct fg_outbox_session *s;
	struct fg_span name;
	uint64_t key;

	if (!o->has_sessions)
		return fg_kind_is_ordered(m->kind) && f->ordered.state != FG_TRACK_WITH &&
		       m->seq >= f->ordered.from;
	if (fg_feed_is_left(f, m->seq))
		return true;
	s = fg_outbox_session_of(o, m->device, &key);
	return s && fg_feed_map_device(o, m, m->device, &name) &&
	       fg_sweep_carries(f, &s->tracks[f->lane], m->seq);
}

static int make_ready(struct fg_feed *f, struct fg_reading *r)
{
	unsigned size = f->lane == FG_LANE_ALARM ? WINDOW_ALARM : WINDOW_MAIN;

	if (!r->pass && fg_pass_open(f->cursor, &r->pass) < 0)
		return -ENOMEM;
	if (!r->window && fg_window_new(size, f->outbox->has_sessions ? size : 1, &r->window) < 0)
		return -ENOMEM;
	if (fg_ledger_reserve(&f->ledger, size) == 0)
		fg_feed_make_room(f);
	return 0;
}

/* Several windows must fit what a crash may re-send, or the link would wait for cursor saves. */
static size_t most_at_once(const struct fg_feed *f, const struct fg_window *w)
{
	size_t most = f->outbox->with.config->max_in_flight_records / 4;

	if (most > w->size)
		most = w->size;
	return most > 0 ? most : 1;
}

/* How many of the @n records just read can go out: up to the first that waits for its time. */
static unsigned count_with_time(const struct fg_feed *f, const struct fg_window *w, unsigned n)
{
	struct fg_timekeeper *timekeeper = f->outbox->with.timekeeper;

	for (unsigned i = 0; i < n; i++)
		if (w->messages[i].time_quality == FG_TIME_UNSYNCHRONISED)
			return fg_timekeeper_is_waiting(timekeeper) ? i : n;
	return n;
}

/* The behind pass of a link with one session is where the live one is. */
static void reached(struct fg_feed *f)
{
	fg_track_join(&f->ordered, &f->ledger, live(f)->position);
	f->is_behind = false;
	f->n_jumps = 0;
}

/* @r has read from @from up to @to. What was to be read again there and was not found is gone. */
static void give_up_missing(struct fg_feed *f, const struct fg_reading *r, uint64_t from,
			    uint64_t to)
{
	const struct fg_outbox *o = f->outbox;

	if (f->ledger.n[FG_ENTRY_AGAIN] == 0)
		return;
	if (!o->has_sessions)
		fg_track_give_up(&f->ordered, &f->ledger, from, to);
	for (size_t i = 0; i < o->n_sessions; i++) {
		struct fg_track *t = &o->sessions[i]->tracks[f->lane];

		if (o->has_sessions && r->kind == FG_PASS_BEHIND) {
			uint64_t rode_to = fg_sweep_rode_to(t, to);

			fg_track_give_up(t, &f->ledger, from, rode_to);
			fg_track_give_up(&o->sessions[i]->left[f->lane], &f->ledger, from, rode_to);
		} else if (!o->has_sessions || t->state == FG_TRACK_WITH)
			fg_track_give_up(t, &f->ledger, from, to);
	}
}

static bool is_stray(const struct fg_feed *f, uint64_t key)
{
	return key & FG_KEY_RECORD && fg_ledger_find(&f->ledger, key & ~FG_KEY_RECORD) == 0;
}

/* The behind pass has read from @from up to @to: those that were left there and have not been met are gone. */
static void give_up_strays(struct fg_feed *f, uint64_t from, uint64_t to)
{
	uint64_t key, at;

	for (size_t i = 0; fg_cursor_each_left_behind(f->cursor, i, &key, &at);)
		if (is_stray(f, key) && at >= from && at < to)
			fg_cursor_rejoin(f->cursor, key);
		else
			i++;
	fg_feed_look_for_strays(f);
}

static bool may_read(struct fg_feed *f, struct fg_reading *r)
{
	const struct fg_outbox *o = f->outbox;

	if (!o->has_sessions) {
		const struct fg_outbox_session *s = o->n_sessions ? o->sessions[0] : NULL;

		if (!s || !s->inflight || s->is_setup)
			return false;
	}
	if (r->waits_for_time && fg_timekeeper_is_waiting(o->with.timekeeper))
		return false;
	if (r->kind == FG_PASS_LIVE)
		return true;
	if (o->has_sessions && f->track_news != f->ledger.track_news) {
		f->track_news = f->ledger.track_news;
		f->is_behind = true;
	}
	return f->is_behind && (!o->has_sessions || fg_sweep_begin(f));
}

int fg_feed_refill(struct fg_feed *f, struct fg_reading *r)
{
	uint64_t from, to, read_to;
	unsigned n_timed;
	int n;

	if (!may_read(f, r))
		return 0;
	if (make_ready(f, r) < 0)
		return -ENOMEM;
	fg_outbox_release(f);
	fg_window_clear(r->window);
	from = r->position;
	fg_pass_seek(r->pass, from);
	n = fg_pass_read(r->pass, r->window->messages, most_at_once(f, r->window),
			 r->kind == FG_PASS_BEHIND ? wants : NULL, f);
	if (n < 0 && n != -EAGAIN) {
		fg_complain(&f->outbox->read_complaint, f->outbox->now_ms, LOG_ERR,
			    "link %s: the journal cannot be read: %s; trying again",
			    f->outbox->with.config->name, strerror(-n));
		return n;
	}
	if (n > 0)
		fg_complain_over(&f->outbox->read_complaint,
				 "link %s: the journal can be read again",
				 f->outbox->with.config->name);
	r->used_ms = f->outbox->now_ms;
	read_to = fg_pass_position(r->pass);
	/* There is nothing beyond: no need to look for the live pass. */
	if (n == 0 && r->kind == FG_PASS_BEHIND && read_to < live(f)->position)
		read_to = live(f)->position;
	n_timed = count_with_time(f, r->window, n > 0 ? (unsigned)n : 0);
	r->waits_for_time = n > 0 && n_timed == 0;
	if (n > (int)n_timed)
		read_to = r->window->messages[n_timed].seq;
	if (r->kind == FG_PASS_BEHIND && f->outbox->has_sessions)
		fg_sweep_read(f, read_to);
	to = sort_out(f, r, n_timed, read_to);
	r->position = to;
	if (r->kind == FG_PASS_BEHIND && f->strays >= from && f->strays < to)
		give_up_strays(f, from, to);
	if (r->kind == FG_PASS_LIVE && to > f->highest)
		f->highest = to;
	give_up_missing(f, r, from, to);
	if (r->kind == FG_PASS_BEHIND && to >= live(f)->position) {
		if (f->outbox->has_sessions)
			fg_sweep_reached(f);
		else
			reached(f);
	}
	if (is_open(r))
		return 1;
	return n == 0 || to == from ? 0 : -EAGAIN;
}

void fg_feed_make_room(struct fg_feed *f)
{
	struct fg_outbox *o = f->outbox;

	for (size_t i = 0; i < o->n_sessions; i++) {
		struct fg_track *t = &o->sessions[i]->tracks[f->lane];

		if (!o->sessions[i]->inflight && t->state == FG_TRACK_BEHIND)
			fg_track_forget(t, &f->ledger, &f->orphans);
	}
}

static void map_anew(struct fg_feed *f, struct fg_window *w)
{
	for (unsigned i = 0; w && i < w->n; i++) {
		uint16_t entry = w->entries[i];

		if (!fg_offer_is_open(w->states[i]) ||
		    fg_feed_map_device(f->outbox, &w->messages[i], w->devices[i],
				       &w->messages[i].device))
			continue;
		w->states[i] = FG_NOTHING;
		w->entries[i] = 0;
		fg_ledger_at(&f->ledger, entry)->chain = 0;
		fg_ledger_settle(&f->ledger, entry);
	}
}

void fg_feed_names_changed(struct fg_feed *f)
{
	for (unsigned i = 0; i < FG_N_PASSES; i++)
		map_anew(f, f->readings[i].window);
}

/* ---- who can take nothing now */

/* What is open of @row goes back to where it was read. */
static void recall_row(struct fg_feed *f, struct fg_window *w, struct fg_row *row)
{
	for (unsigned i = row->first; i < row->end; i++)
		if (fg_offer_is_open(w->states[i])) {
			w->states[i] = FG_NOTHING;
			fg_ledger_set(&f->ledger, w->entries[i], FG_ENTRY_AGAIN);
		}
}

static bool drop_row(struct fg_feed *f, struct fg_reading *r, struct fg_row *row)
{
	struct fg_track *t = &row->session->tracks[f->lane];

	if (fg_sweep_must_go_back(f, row->session, r->window->messages[row->first].seq))
		t->asleep = 0; /* the plugin has not been asked about what comes first */
	fg_sweep_get_off(t, behind(f)->position);
	if ((r->kind == FG_PASS_LIVE || t->state == FG_TRACK_JOINING) &&
	    fg_track_fall_out(t, &f->ledger, live(f)->position) < 0) {
		fg_feed_complain_of_too_many(f->outbox);
		return false;
	}
	recall_row(f, r->window, row);
	if (t->state == FG_TRACK_BEHIND) {
		uint64_t news = f->ledger.order_news;

		/* It is read again soon: no reason for others to look up, and drop this one again. */
		fg_track_trim(t, &f->ledger);
		f->ledger.order_news = news;
	}
	f->is_behind = true;
	return true;
}

/* Since the only row of the behind pass was read, something below it has to be read again, and may be
 * what the row waits for. */
static bool go_back(struct fg_feed *f)
{
	struct fg_window *w = behind(f)->window;

	if (!w || !fg_window_is_open(w) || behind(f)->position > w->messages[w->rows[0].first].seq)
		return false;
	recall_row(f, w, &w->rows[0]);
	return true;
}

bool fg_feed_is_unstuck(struct fg_feed *f, struct fg_reading *r)
{
	if (!f->outbox->has_sessions)
		return r->kind == FG_PASS_BEHIND && go_back(f);
	if (r->kind == FG_PASS_LIVE ? f->is_at_bound || fg_cursor_end(f->cursor) <= r->position
				    : !fg_sweep_is_wanted(f))
		return false;
	for (unsigned i = 0; i < r->window->n_rows; i++) {
		struct fg_row *row = &r->window->rows[i];

		if (fg_row_is_open(r->window, row) && !drop_row(f, r, row))
			return false;
	}
	return true;
}

/* ---- which pass */

enum fg_pass_kind fg_feed_first(const struct fg_feed *f)
{
	const struct fg_cloud_config *config = f->outbox->with.config;

	if (!f->outbox->has_sessions && config->order == FG_DRAIN_FIFO)
		return FG_PASS_BEHIND;
	return f->credit + (int)config->backlog_share >= 100 ? FG_PASS_BEHIND : FG_PASS_LIVE;
}

void fg_feed_count(struct fg_feed *f, enum fg_pass_kind kind)
{
	f->credit += (int)f->outbox->with.config->backlog_share;
	if (kind == FG_PASS_BEHIND)
		f->credit -= 100;
	if (f->credit > 100)
		f->credit = 100;
	if (f->credit < -100)
		f->credit = -100;
}

/* ---- sessions */

void fg_feed_again(struct fg_feed *f, struct fg_track *t, uint64_t seq)
{
	if (f->outbox->has_sessions) {
		struct fg_outbox_session *s = t->owner;

		fg_sweep_get_off(&s->tracks[f->lane], behind(f)->position);
	} else if (!f->is_behind || seq < behind(f)->position)
		behind(f)->position = seq;
	f->is_behind = true;
}

/* The only session is up: nothing is in flight, nor in a window. */
static void begin_reading(struct fg_feed *f)
{
	struct fg_reading *l = live(f);
	uint64_t low = fg_cursor_watermark(f->cursor) + 1, end = fg_cursor_end(f->cursor);
	bool is_fifo = f->outbox->with.config->order == FG_DRAIN_FIFO;

	if (f->ordered.state != FG_TRACK_WITH && f->ordered.from < low)
		low = f->ordered.from;
	if (l->position < low || (is_fifo && f->ordered.state == FG_TRACK_WITH))
		l->position = low;
	f->is_behind = false;
	if (is_fifo && f->ordered.state == FG_TRACK_WITH)
		return;
	if (low < end && l->position < end && f->n_jumps < FG_FEED_JUMPS &&
	    fg_track_fall_out(&f->ordered, &f->ledger, end) == 0) {
		l->position = end;
		f->n_jumps++;
	}
	/* There is no place to leave anything behind: the live pass reads all of it, in order. */
	if (f->ordered.state == FG_TRACK_WITH)
		l->position = low;
	if (low < l->position) {
		behind(f)->position = low;
		f->is_behind = true;
	} else {
		/* It ended, or the process did, before the behind pass was told that it is there. */
		reached(f);
	}
}

void fg_feed_session_up(struct fg_feed *f, struct fg_outbox_session *s)
{
	const struct fg_track *t = &s->tracks[f->lane];

	if (s->is_setup)
		return;
	if (!f->outbox->has_sessions)
		begin_reading(f);
	else if (t->state == FG_TRACK_BEHIND || t->n_again || s->left[f->lane].n_again)
		f->is_behind = true;
}

static void forget_windows(struct fg_feed *f, const struct fg_outbox_session *s)
{
	for (unsigned i = 0; i < FG_N_PASSES; i++) {
		struct fg_window *w = f->readings[i].window;

		/* The entries may be others' soon: nobody may take what is left here for open. */
		for (unsigned k = 0; w && k < w->n_rows; k++)
			while (w->rows[k].session == s && w->rows[k].first < w->rows[k].end)
				w->states[w->rows[k].first++] = FG_NOTHING;
		f->readings[i].waits_for_time = false;
	}
}

void fg_feed_look_again(struct fg_feed *f)
{
	if (f->outbox->has_sessions)
		f->is_behind = true;
}

/* Of a link with many sessions: what @t has to have read again is left to the behind pass. When it
 * cannot fall out, the live pass reads it again, once it can; true then. */
static bool leave_behind(struct fg_feed *f, struct fg_track *t)
{
	uint64_t lowest;

	if (t->state == FG_TRACK_BEHIND || t->n_again == 0 ||
	    fg_track_fall_out(t, &f->ledger, live(f)->position) == 0)
		return false;
	lowest = fg_track_resume(t, &f->ledger);
	if (lowest < live(f)->position)
		live(f)->position = lowest;
	return true;
}

void fg_feed_session_down(struct fg_feed *f, struct fg_outbox_session *s)
{
	struct fg_track *t = &s->tracks[f->lane];

	forget_windows(f, s);
	fg_track_recall(t, &f->ledger, true);
	if (f->outbox->has_sessions) {
		fg_track_recall(&s->left[f->lane], &f->ledger, true);
		fg_sweep_get_off(t, behind(f)->position);
		leave_behind(f, t);
	} else {
		fg_track_recall(&f->ordered, &f->ledger, true);
		/* What is trimmed may be read too late to keep its place before newer ones. */
		if (f->ordered.state == FG_TRACK_JOINING)
			fg_track_fall_out(&f->ordered, &f->ledger, live(f)->position);
		fg_track_trim(&f->ordered, &f->ledger);
		fg_track_dissolve(&f->ordered, &f->ledger, t);
	}
	fg_track_trim(t, &f->ledger);
	/* What it held up need not wait for it any more. */
	f->ledger.order_news++;
}

/* Of a link with one session. */
static void read_again(struct fg_feed *f, struct fg_track *t)
{
	uint64_t lowest = fg_track_resume(t, &f->ledger);
	uint64_t of_ordered;

	fg_track_recall(&f->ordered, &f->ledger, false);
	of_ordered = fg_track_resume(&f->ordered, &f->ledger);
	if (of_ordered && (!lowest || of_ordered < lowest))
		lowest = of_ordered;
	if (!lowest)
		return;
	/* While both passes are needed neither has all of a device, and there is no order to keep. */
	if (f->ordered.state != FG_TRACK_WITH) {
		fg_feed_again(f, t, lowest);
		return;
	}
	if (lowest < live(f)->position)
		live(f)->position = lowest;
	f->is_behind = false;
}

void fg_feed_offer_left(struct fg_feed *f, struct fg_outbox_session *s)
{
	struct fg_track *t = &s->tracks[f->lane];

	if (f->ledger.n[FG_ENTRY_LEFT] == 0)
		return;
	forget_windows(f, s);
	fg_track_recall(t, &f->ledger, false);
	if (!f->outbox->has_sessions) {
		read_again(f, t);
		return;
	}
	fg_track_recall(&s->left[f->lane], &f->ledger, false);
	fg_sweep_get_off(t, behind(f)->position);
	leave_behind(f, t);
	f->is_behind = true;
}

void fg_feed_session_closed(struct fg_feed *f, struct fg_outbox_session *s, bool is_wanted)
{
	struct fg_track *t = &s->tracks[f->lane], *left = &s->left[f->lane];

	if (!is_wanted) {
		fg_track_abandon(t, &f->ledger);
		fg_track_abandon(left, &f->ledger);
	} else if (f->outbox->has_sessions) {
		leave_behind(f, t);
	}
	fg_track_forget(t, &f->ledger, &f->orphans);
	if (left->n == 0)
		return;
	fg_track_forget(left, &f->ledger, &f->orphans);
	fg_feed_look_for_strays(f);
}

void fg_feed_look_for_strays(struct fg_feed *f)
{
	uint64_t key, at;

	f->strays = 0;
	for (size_t i = 0; fg_cursor_each_left_behind(f->cursor, i, &key, &at); i++)
		if (is_stray(f, key) && (f->strays == 0 || at < f->strays))
			f->strays = at;
	f->is_behind = f->is_behind || f->strays != 0;
}
