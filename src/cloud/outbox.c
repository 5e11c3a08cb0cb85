#include "cloud/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/outbox_internal.h"
#include "util/cleanup.h"
#include "util/log.h"

/* The largest publish a plugin can make; pages that are never touched cost nothing. */
#define PAYLOAD_BYTES (1024 * 1024 + 64 * 1024)
#define TOPIC_BYTES 65536
/* One fg_outbox_next() reads so often at most; the loop has other things to do. */
#define READS_MAX 16
/* Of a lane, that the plugin may leave: each makes two of a range in the cursor, and a table on disk has
 * room for FG_CURSOR_TABLE_RANGES. */
#define LEFT_MAX 256u

static void outbox_freep(struct fg_outbox **o)
{
	fg_outbox_free(*o);
}

/* What was left behind by sessions of another kind than the plugin has now cannot be told from the
 * rest any more. */
static void give_up_strangers(struct fg_outbox *o, struct fg_cursor *c)
{
	uint64_t key, from;
	size_t n = 0;

	for (size_t i = 0; fg_cursor_each_left_behind(c, i, &key, &from);) {
		if ((key == FG_KEY_ORDERED) != o->has_sessions) {
			i++;
			continue;
		}
		fg_cursor_rejoin(c, key);
		n++;
	}
	if (n > 0)
		fg_warning("link %s: another plugin left the records of %zu sessions behind, which "
			   "this one cannot tell from others; they are not sent",
			   o->with.config->name, n);
}

int fg_outbox_new(const struct fg_outbox_options *options, struct fg_outbox **ret)
{
	FG_CLEANUP(outbox_freep) struct fg_outbox *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->with = *options;
	o->has_sessions = options->has_device_sessions;
	fg_pacing_init(&o->pacing, options->config);
	o->publish.topic = malloc(TOPIC_BYTES);
	o->publish.payload = malloc(PAYLOAD_BYTES);
	if (!o->publish.topic || !o->publish.payload)
		return -ENOMEM;
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++) {
		give_up_strangers(o, options->cursors[lane]);
		fg_feed_init(&o->feeds[lane], o, lane, options->cursors[lane]);
	}
	if (o->has_sessions && fg_outbox_expect_sessions(o) < 0)
		return -ENOMEM;

	*ret = o; /* the caller owns it now */
	o = NULL;
	return 0;
}

struct fg_outbox *fg_outbox_free(struct fg_outbox *o)
{
	if (!o)
		return NULL;
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_feed_done(&o->feeds[lane]);
	fg_outbox_free_sessions(o);
	free(o->publish.topic);
	free(o->publish.payload);
	free(o);
	return NULL;
}

/* ---- what the plugin has done */

/* Has encode() kept the contract? A message marked in a way that leads nowhere would count as
 * settled, and be lost. */
static bool is_encoded_well(const struct fg_outbox *o, const struct fg_batch *batch,
			    const uint16_t *entries, int r)
{
	const struct fg_publish *p = &o->publish;
	size_t n_taken = 0, n_left = 0;

	for (size_t i = 0; i < batch->count; i++) {
		if (batch->states[i] > FG_OFFER_NO_ROOM)
			return false;
		/* Only fg_outbox_refuse() says so, and takes the entry away. */
		if (batch->states[i] == FG_REFUSED && entries[i])
			return false;
		n_taken += batch->states[i] == FG_TAKEN;
		n_left += batch->states[i] == FG_LEFT;
	}
	if (n_left > batch->max_left)
		return false;
	if (r == 0)
		return n_taken == 0;
	if (batch->carrier == FG_CARRIER_HTTP && p->topic[0] != '/')
		return false;
	return r == 1 && n_taken <= batch->max_take && p->qos <= 1 && p->scope < FG_SCOPES &&
	       p->payload_len <= p->payload_size && memchr(p->topic, '\0', p->topic_size);
}

/* Have the plugin make a publish. Returns 1, 0, -EINVAL or -ENOMEM. */
static int encode(struct fg_outbox *o, struct fg_outbox_session *s, struct fg_batch *batch,
		  const uint16_t *entries)
{
	struct fg_publish *p = &o->publish;
	int r;

	p->topic_size = TOPIC_BYTES;
	p->payload_size = PAYLOAD_BYTES;
	p->payload_len = 0;
	p->max_packet_bytes = s->max_packet_bytes;
	p->qos = 1;
	p->content_type = NULL;
	p->headers = NULL;
	p->tag = 0;
	p->scope = 0;
	p->n_points = 0;
	for (unsigned scope = 0; scope < FG_SCOPES; scope++)
		batch->max_points[scope] = fg_pacing_max_points(&o->pacing, scope);
	batch->carrier = s->carrier;
	fg_timekeeper_now(o->with.timekeeper, &batch->now_us);
	o->batch = batch;
	r = o->with.plugin->encode(o->with.ctx, s->name, batch, p);
	o->batch = NULL;
	if (r < 0)
		return r == -ENOMEM ? r : -EINVAL;
	if (!is_encoded_well(o, batch, entries, r))
		return -EINVAL;
	o->stats.values_dropped += batch->values_dropped;
	if (r == 0)
		return 0;
	o->made = (struct fg_made){
		.session = s,
		.entry = {.tag = p->tag, .bytes = p->payload_len},
		.amounts = {[FG_LIMIT_MESSAGES] = 1,
			    [FG_LIMIT_POINTS] = p->n_points,
			    [FG_LIMIT_BYTES] = p->payload_len},
	};
	return 1;
}

void fg_outbox_refuse(struct fg_outbox *o, struct fg_batch *batch, size_t i, const char *reason)
{
	struct fg_window *w = o->window;
	size_t at;

	if (!batch || batch != o->batch || i >= batch->count || batch->states[i] != FG_OFFERED)
		return;
	at = (size_t)(batch->states - w->states) + i;
	if (fg_outbox_quarantine(o->offering, w->entries[at], &w->messages[at], w->devices[at],
				 reason, 0) < 0) {
		w->states[at] = FG_OFFER_NO_ROOM;
		return;
	}
	w->states[at] = FG_REFUSED;
	w->entries[at] = 0;
}

void fg_outbox_names_changed(struct fg_outbox *o)
{
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_feed_names_changed(&o->feeds[lane]);
	if (o->has_sessions)
		fg_outbox_review_sessions(o);
}

/* ---- offering records */

/* How many more records may be sent, as far as a crash is concerned; at most @most. One less than the
 * cursor allows, for may_send_oldest(). */
static size_t count_sendable(struct fg_feed *f, size_t most)
{
	uint64_t at_risk = fg_ledger_at_risk(&f->ledger) + 1;
	size_t low = 0, high = most;

	if (fg_cursor_may_send(f->cursor, at_risk + most - 1))
		return most;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (fg_cursor_may_send(f->cursor, at_risk + middle - 1))
			low = middle;
		else
			high = middle;
	}
	return low;
}

/*
 * Attributes and presence wait for an older one of their device that is on its way: should that fail,
 * it would be sent again behind them, and count as the newer one.
 */
static void withhold(struct fg_feed *f, struct fg_window *w, const struct fg_row *row)
{
	uint64_t lowest[256];
	bool is_known[256] = {false};

	if (f->ledger.n_ordered == 0)
		return;
	for (unsigned i = row->first; i < row->end; i++) {
		const struct fg_entry *e = fg_ledger_at(&f->ledger, w->entries[i]);

		if (!fg_offer_is_open(w->states[i]) || !e->is_ordered)
			continue;
		if (!is_known[e->order_hash])
			lowest[e->order_hash] = fg_ledger_holding_up(&f->ledger, w->entries[i]);
		is_known[e->order_hash] = true;
		w->states[i] = lowest[e->order_hash] && lowest[e->order_hash] < e->seq
				       ? FG_OFFER_WITHHELD
				       : FG_OFFERED;
	}
}

/* Take over what encode() has said of the records of @row. */
static void take_states(struct fg_outbox *o, struct fg_feed *f, struct fg_window *w,
			const struct fg_row *row)
{
	uint16_t last_nothing = 0, nothing = 0, *chain = &o->made.entry.records;
	struct fg_track *left = o->has_sessions ? &row->session->left[f->lane] : NULL;

	for (unsigned i = row->first; i < row->end; i++) {
		uint16_t entry = w->entries[i];

		if (w->states[i] == FG_TAKEN) {
			w->states[i] = FG_OFFER_SENT;
			fg_ledger_set(&f->ledger, entry, FG_ENTRY_SENT);
			*chain = entry;
			chain = &fg_ledger_at(&f->ledger, entry)->chain;
			*chain = 0;
			o->made.entry.n_records++;
		} else if (w->states[i] == FG_NOTHING && entry) {
			w->entries[i] = 0;
			if (last_nothing)
				fg_ledger_at(&f->ledger, last_nothing)->chain = entry;
			else
				nothing = entry;
			last_nothing = entry;
			fg_ledger_at(&f->ledger, entry)->chain = 0;
		} else if (w->states[i] == FG_LEFT) {
			w->states[i] = FG_NOTHING;
			w->entries[i] = 0;
			if (fg_ledger_leave(&f->ledger, entry, left) < 0)
				fg_feed_complain_of_too_many(o);
		} else if (w->states[i] == FG_OFFER_NO_ROOM) {
			w->states[i] = FG_OFFERED;
			o->had_no_room = true;
		}
	}
	fg_ledger_settle(&f->ledger, nothing);
}

/* Is what @t settles out of order at risk? */
static bool is_remembered(const struct fg_track *t)
{
	return t->may_fall_out || t->state != FG_TRACK_WITH;
}

/*
 * What was acknowledged counts as long as its track has an older record that was not. Should all that
 * is at risk be of that kind, only those older ones can make room: they go one at a time.
 */
static bool may_send_oldest(struct fg_feed *f, const struct fg_window *w, const struct fg_row *row)
{
	const struct fg_entry *e = fg_ledger_at(&f->ledger, w->entries[row->first]);

	return f->ledger.n[FG_ENTRY_SENT] == 0 && f->ledger.n_done_sent > 0 &&
	       (!is_remembered(e->track) || e->before == 0) &&
	       fg_cursor_may_send(f->cursor, fg_ledger_at_risk(&f->ledger));
}

/* How many records of @row to offer, and how many of those may be taken: 0, none now. */
static void limit(struct fg_feed *f, const struct fg_window *w, const struct fg_row *row,
		  struct fg_batch *batch)
{
	unsigned n_left = f->ledger.n_left > f->ledger.n[FG_ENTRY_LEFT]
				  ? f->ledger.n_left
				  : f->ledger.n[FG_ENTRY_LEFT];

	batch->count = row->end - row->first;
	/* Those that were left before have their place. */
	for (unsigned i = row->first; i < row->end; i++)
		n_left -= w->entries[i] && fg_ledger_at(&f->ledger, w->entries[i])->is_left;
	batch->max_left = n_left < LEFT_MAX ? LEFT_MAX - n_left : 0;
	batch->max_take = count_sendable(f, batch->count);
	if (batch->max_take == 0 && may_send_oldest(f, w, row))
		batch->max_take = batch->count = 1;
	if (batch->max_take > 0 && fg_outbox_session_isolates(row->session))
		batch->max_take = 1;
}

static int offer_row(struct fg_outbox *o, struct fg_feed *f, struct fg_window *w,
		     struct fg_row *row)
{
	struct fg_outbox_session *s = row->session;
	int64_t until_full;
	bool goes_on;

	do {
		struct fg_batch batch = {
			.messages = w->messages + row->first,
			.states = w->states + row->first,
			.is_alarm = f->lane == FG_LANE_ALARM,
		};
		int r;

		limit(f, w, row, &batch);
		if (batch.max_take == 0) {
			f->is_at_bound = true;
			/* A commit saves the cursor, and we are asked again. */
			if (2 * f->ledger.n[FG_ENTRY_DONE] > o->with.config->max_in_flight_records)
				fg_feed_make_room(f);
			return 0;
		}
		withhold(f, w, row);
		o->offering = f;
		o->window = w;
		r = encode(o, s, &batch, w->entries + row->first);
		if (r < 0)
			return r;
		o->made.feed = f;
		o->made.entry.lane = (uint8_t)f->lane;
		goes_on = row->first + batch.count < row->end;
		take_states(o, f, w, row);
		/* What there was no room for is open again. */
		goes_on = goes_on && !fg_offer_is_open(batch.states[0]);
		if (r == 1 || !fg_row_is_open(w, row))
			return r;
	} while (goes_on);
	/* Perhaps the next record has more data points than may go yet. */
	until_full = fg_pacing_wait_for_points(&o->pacing);
	if (until_full > 0) {
		fg_outbox_ask_again(o, o->now_ms + until_full);
		return 0;
	}
	row->asleep = fg_outbox_session_news(s, f->lane);
	s->tracks[f->lane].asleep = row->asleep;
	return 0;
}

/* Only the oldest of a track that is too far ahead of it may go. */
static bool is_ahead(const struct fg_feed *f, const struct fg_window *w, const struct fg_row *row)
{
	const struct fg_entry *e = fg_ledger_at(&f->ledger, w->entries[row->first]);

	return e->before != 0 && fg_feed_is_ahead(f, e->track);
}

/* A session sends what it has missed before what is new. */
static bool has_older(struct fg_feed *f, const struct fg_window *w, const struct fg_row *row)
{
	const struct fg_track *t = &row->session->tracks[f->lane];
	struct fg_window *behind = f->readings[FG_PASS_BEHIND].window;

	if (!f->outbox->has_sessions || w == behind)
		return false;
	if (row->session->left[f->lane].n_again > 0)
		return true;
	if (t->state != FG_TRACK_WITH && t->n_again > 0)
		return true;
	for (unsigned i = 0; behind && i < behind->n_rows; i++)
		if (behind->rows[i].session == row->session)
			return fg_row_is_open(behind, &behind->rows[i]);
	return false;
}

/* The rows take turns. */
static int offer_window(struct fg_outbox *o, struct fg_feed *f, struct fg_window *w)
{
	for (unsigned i = 0; w && i < w->n_rows; i++) {
		struct fg_row *row = &w->rows[w->row];
		int r = 0;

		w->row = w->row + 1 < w->n_rows ? w->row + 1 : 0;
		if (fg_row_is_open(w, row) &&
		    row->asleep != fg_outbox_session_news(row->session, f->lane) &&
		    fg_outbox_session_can_take(row->session) && !is_ahead(f, w, row) &&
		    !has_older(f, w, row))
			r = offer_row(o, f, w, row);
		if (r != 0)
			return r;
	}
	return 0;
}

static bool is_open(const struct fg_reading *r)
{
	return r->window && fg_window_is_open(r->window);
}

/* Make a publish of one of the passes of @f. Returns 1, 0 (*@ret_go_on: something has happened, try
 * once more), -EINVAL or -ENOMEM. */
static int try_passes(struct fg_outbox *o, struct fg_feed *f, bool *ret_go_on)
{
	enum fg_pass_kind first = fg_feed_first(f);
	bool was_open[FG_N_PASSES];

	*ret_go_on = false;
	f->is_at_bound = false;
	for (unsigned i = 0; i < FG_N_PASSES; i++) {
		struct fg_reading *r = &f->readings[i];

		if (!is_open(r) && fg_feed_refill(f, r) == -EAGAIN)
			*ret_go_on = true;
		was_open[i] = is_open(r);
	}
	for (unsigned i = 0; i < FG_N_PASSES; i++) {
		enum fg_pass_kind kind = i == 0 ? first : FG_N_PASSES - 1 - first;
		int r = offer_window(o, f, f->readings[kind].window);

		if (r == 1 && was_open[FG_PASS_LIVE] && was_open[FG_PASS_BEHIND])
			fg_feed_count(f, kind);
		if (r != 0)
			return r;
	}
	for (unsigned i = 0; i < FG_N_PASSES; i++)
		if (was_open[i] &&
		    (!is_open(&f->readings[i]) || fg_feed_is_unstuck(f, &f->readings[i])))
			*ret_go_on = true;
	return 0;
}

static int try_feed(struct fg_outbox *o, struct fg_feed *f)
{
	bool goes_on = true;

	for (unsigned i = 0; goes_on; i++) {
		int r;

		if (i == READS_MAX) {
			fg_outbox_ask_again(o, o->now_ms);
			return 0;
		}
		r = try_passes(o, f, &goes_on);
		if (r != 0)
			return r;
	}
	return 0;
}

/* ---- what the plugin has to say itself */

static int try_own(struct fg_outbox *o)
{
	struct fg_outbox_session *s;

	while ((s = fg_outbox_next_poked(o))) {
		struct fg_batch nothing = {.max_take = 0};
		int r;

		/* When it has room again, something was settled, and it is in the row again. */
		if (!fg_outbox_session_has_room(s))
			continue;
		o->made.feed = NULL;
		r = encode(o, s, &nothing, NULL);
		if (r > 0)
			fg_outbox_session_poke(s); /* there may be more */
		if (r != 0)
			return r;
	}
	return 0;
}

/* ---- the next one */

/* The publish that was made goes when the pace allows. */
static int hand_out(struct fg_outbox *o, struct fg_outbox_session **ret_session,
		    const struct fg_publish **ret)
{
	struct fg_made *made = &o->made;
	int64_t ms = fg_pacing_wait(&o->pacing, o->publish.scope, made->amounts);

	if (ms > 0) {
		fg_outbox_ask_again(o, o->now_ms + ms);
		return 0;
	}
	fg_pacing_take(&o->pacing, o->publish.scope, made->amounts);
	made->is_handed_out = true;
	*ret_session = made->session;
	*ret = &o->publish;
	return 1;
}

/* A pause that is over may wake a session; the next one is found again. */
static void end_pauses(struct fg_outbox *o)
{
	if (o->pause_ms == 0)
		return;
	if (o->now_ms >= o->pause_ms) {
		o->pause_ms = 0;
		for (size_t i = 0; i < o->n_sessions; i++) {
			int64_t until = o->sessions[i]->paused_until_ms;

			if (until > o->now_ms && (o->pause_ms == 0 || until < o->pause_ms))
				o->pause_ms = until;
			else if (until)
				fg_outbox_session_poke(o->sessions[i]);
		}
		for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
			fg_feed_look_again(&o->feeds[lane]);
	}
	if (o->pause_ms)
		fg_outbox_ask_again(o, o->pause_ms);
}

static void offer_left(struct fg_outbox *o)
{
	for (size_t i = 0; i < o->n_sessions && o->offers_left; i++) {
		struct fg_outbox_session *s = o->sessions[i];

		for (unsigned lane = 0; lane < FG_N_CURSOR_LANES && s->offers_left; lane++)
			fg_feed_offer_left(&o->feeds[lane], s);
		s->offers_left = false;
	}
	o->offers_left = false;
}

/* Returns 1: one was made; else 0, -EINVAL or -ENOMEM. */
static int make(struct fg_outbox *o)
{
	int64_t ms = fg_pacing_wait_for_any(&o->pacing);
	int r;

	if (ms > 0) {
		fg_outbox_ask_again(o, o->now_ms + ms);
		return 0;
	}
	if (o->has_sessions) {
		r = try_own(o);
		if (r != 0)
			return r;
	} else if (o->n_sessions > 0) {
		/* Asked each time: the plugin may have changed its mind on its own. Its records come
		 * first, since it looks at what is its own with each. */
		o->sessions[0]->news++;
		fg_outbox_session_poke(o->sessions[0]);
	}
	for (unsigned lane = FG_N_CURSOR_LANES; lane-- > 0;) {
		r = try_feed(o, &o->feeds[lane]);
		if (r != 0)
			return r;
	}
	return o->has_sessions ? 0 : try_own(o);
}

int fg_outbox_next(struct fg_outbox *o, int64_t now_ms, struct fg_outbox_session **ret_session,
		   const struct fg_publish **ret)
{
	int r;

	o->now_ms = now_ms;
	o->again_ms = 0;
	fg_pacing_advance(&o->pacing, now_ms);
	if (!o->made.session) {
		end_pauses(o);
		offer_left(o);
		r = make(o);
		if (o->offers_left)
			fg_outbox_ask_again(o, now_ms);
		for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
			fg_feed_rest(&o->feeds[lane]);
		if (r <= 0)
			return r;
	}
	return o->made.is_handed_out ? 0 : hand_out(o, ret_session, ret);
}

void fg_outbox_sent(struct fg_outbox *o, int packet_id, int64_t now_ms)
{
	struct fg_outbox_session *s = o->made.session;

	if (!s || !o->made.is_handed_out)
		return;
	o->made.session = NULL;
	o->made.entry.packet_id = packet_id;
	o->made.entry.sent_ms = now_ms;
	o->made.entry.number = s->n_published++;
	fg_inflight_add(s->inflight, &o->made.entry);
	o->stats.published++;
}

void fg_outbox_limit(struct fg_outbox *o, unsigned scope, enum fg_limit what,
		     const struct fg_rate *rates, size_t n)
{
	fg_pacing_limit(&o->pacing, scope, what, rates, n);
}

int64_t fg_outbox_paused_until(const struct fg_outbox *o)
{
	return o->again_ms;
}

void fg_outbox_get_stats(const struct fg_outbox *o, struct fg_outbox_stats *ret)
{
	uint64_t key, from;

	*ret = o->stats;
	for (unsigned lane = 0; o->has_sessions && lane < FG_N_CURSOR_LANES; lane++)
		for (size_t i = 0;
		     fg_cursor_each_left_behind(o->with.cursors[lane], i, &key, &from); i++)
			/* Those behind in both lanes count once. */
			if (key & FG_KEY_RECORD)
				continue;
			else if (lane == 0 || !fg_cursor_left_behind(o->with.cursors[0], key))
				ret->behind++;
}
