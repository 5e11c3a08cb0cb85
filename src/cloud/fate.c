/*
 * What becomes of a record that a pass has read: whose it is, and whether it is taken now.
 */
#include "cloud/feed.h"
#include "cloud/outbox_internal.h"
#include "util/log.h"

/* So long the others wait when there is no place for another session that is behind. */
#define FULL_MS 60000

static struct fg_reading *live(struct fg_feed *f)
{
	return &f->readings[FG_PASS_LIVE];
}

static struct fg_reading *behind(struct fg_feed *f)
{
	return &f->readings[FG_PASS_BEHIND];
}

/* Of a link with one session. */
static struct fg_track *track_of(struct fg_feed *f, const struct fg_message *m,
				 struct fg_outbox_session *s)
{
	if (fg_kind_is_ordered(m->kind) && f->ordered.state != FG_TRACK_WITH &&
	    m->seq >= f->ordered.from)
		return &f->ordered;
	return &s->tracks[f->lane];
}

static enum fg_fate take(struct fg_feed *f, const struct fg_reading *r, struct fg_track *t,
			 const struct fg_message *m, struct fg_span device, uint16_t *ret_entry)
{
	if (fg_ledger_reserve(&f->ledger, 1) == 0)
		return FG_FATE_STOP;
	*ret_entry = fg_ledger_add(&f->ledger, t, m, device, r->kind);
	if (fg_feed_is_left(f, m->seq)) {
		fg_ledger_at(&f->ledger, *ret_entry)->is_left = true;
		f->ledger.n_left++;
	}
	return FG_FATE_TAKE;
}

static enum fg_fate take_from_one_session(struct fg_feed *f, struct fg_reading *r,
					  struct fg_outbox_session *s, const struct fg_message *m,
					  struct fg_span device, uint16_t *ret_entry)
{
	struct fg_track *t = track_of(f, m, s);

	if (t == &f->ordered) {
		if (r->kind == FG_PASS_LIVE && t->state == FG_TRACK_BEHIND)
			return FG_FATE_SETTLE;
		if (!fg_feed_has_place(f, t))
			return FG_FATE_STOP;
	}
	return take(f, r, t, m, device, ret_entry);
}

void fg_feed_complain_of_too_many(struct fg_outbox *o)
{
	fg_complain(&o->behind_complaint, o->now_ms, LOG_ERR,
		    "link %s: more sessions are behind than the journal remembers; the others wait "
		    "for a minute, then records go into quarantine",
		    o->with.config->name);
}

/* Into quarantine with @m, which has no entry. */
static enum fg_fate set_aside(struct fg_feed *f, const struct fg_reading *r, struct fg_track *t,
			      const struct fg_message *m, struct fg_span device, const char *reason)
{
	uint16_t entry;
	enum fg_fate fate = take(f, r, t, m, device, &entry);

	if (fate != FG_FATE_TAKE)
		return fate;
	if (fg_outbox_quarantine(f, entry, m, device, reason, 0) < 0) {
		fg_ledger_forget(&f->ledger, entry);
		return FG_FATE_STOP;
	}
	return FG_FATE_SKIP;
}

/*
 * The journal cannot remember another session that is behind, and the one of @m would be. As long as
 * nobody else is up, nobody minds waiting. Others wait, but no device may stop them for good by names
 * that the cloud does not know.
 */
static enum fg_fate no_place(struct fg_feed *f, const struct fg_message *m, struct fg_span device)
{
	struct fg_outbox *o = f->outbox;

	fg_feed_complain_of_too_many(o);
	if (o->n_up == 0) {
		f->full_since_ms = 0;
		return FG_FATE_STOP;
	}
	if (f->full_since_ms == 0)
		f->full_since_ms = o->now_ms;
	if (o->now_ms - f->full_since_ms < FULL_MS) {
		fg_outbox_ask_again(o, f->full_since_ms + FULL_MS);
		return FG_FATE_STOP;
	}
	return set_aside(f, live(f), &f->orphans, m, device,
			 "more sessions are behind than the journal remembers");
}

/* Nobody has opened the session of @m. It may be expected (@s), because of the other lane perhaps. */
static enum fg_fate leave_to_nobody(struct fg_feed *f, struct fg_outbox_session *s,
				    const struct fg_message *m, struct fg_span device, uint64_t key)
{
	struct fg_outbox *o = f->outbox;
	int r = 0;

	if (s)
		r = fg_track_fall_out(&s->tracks[f->lane], &f->ledger, m->seq);
	else if (fg_cursor_left_behind(f->cursor, key) == 0)
		r = fg_cursor_leave_behind(f->cursor, key, m->seq);
	if (r < 0)
		return no_place(f, m, device);
	f->full_since_ms = 0;
	if (o->with.wanted)
		o->with.wanted(o->with.arg, device);
	return FG_FATE_SETTLE;
}

static enum fg_fate take_live(struct fg_feed *f, struct fg_outbox_session *s,
			      const struct fg_message *m, struct fg_span device,
			      uint16_t *ret_entry)
{
	struct fg_track *t = &s->tracks[f->lane];

	if (t->state == FG_TRACK_BEHIND)
		return FG_FATE_SETTLE;
	if (s->inflight && !s->is_setup && fg_feed_has_place(f, t))
		return take(f, live(f), t, m, device, ret_entry);
	if (fg_track_fall_out(t, &f->ledger, m->seq) < 0)
		return no_place(f, m, device);
	f->full_since_ms = 0;
	f->is_behind = true;
	return FG_FATE_SETTLE;
}

/* Does the behind pass carry @t, which has missed record @seq? */
static bool is_aboard(const struct fg_track *t, uint64_t seq)
{
	return t->rides && t->state == FG_TRACK_BEHIND && seq >= t->from && seq >= t->read_to;
}

static enum fg_fate take_behind(struct fg_feed *f, struct fg_outbox_session *s,
				const struct fg_message *m, struct fg_span device,
				uint16_t *ret_entry)
{
	struct fg_track *t = &s->tracks[f->lane];

	if (!is_aboard(t, m->seq))
		return FG_FATE_SKIP;
	if (fg_feed_has_place(f, t))
		return take(f, behind(f), t, m, device, ret_entry);
	fg_sweep_get_off(t, m->seq);
	return FG_FATE_SKIP;
}

/* @m can have no session. That of another device may have its key (@s): then there is no telling them
 * apart on disk, and the behind pass takes @m for one of its. */
static enum fg_fate refuse(struct fg_feed *f, struct fg_reading *r, struct fg_outbox_session *s,
			   const struct fg_message *m, struct fg_span device, const char *reason)
{
	struct fg_track *t = s ? &s->tracks[f->lane] : &f->orphans;

	if (fg_feed_is_left(f, m->seq))
		return set_aside(f, r, &f->orphans, m, device, reason);
	if (r->kind == FG_PASS_LIVE && t->state == FG_TRACK_BEHIND)
		return FG_FATE_SETTLE;
	if (r->kind == FG_PASS_BEHIND && s && !is_aboard(t, m->seq))
		return FG_FATE_SKIP;
	return set_aside(f, r, r->kind == FG_PASS_LIVE ? &f->orphans : t, m, device, reason);
}

/* The behind pass has found out whose the expected session @s is. */
static enum fg_fate meet(struct fg_feed *f, struct fg_outbox_session *s, const struct fg_message *m,
			 struct fg_span device)
{
	struct fg_outbox *o = f->outbox;

	fg_sweep_get_off(&s->tracks[f->lane], m->seq);
	if (!s->device)
		fg_outbox_session_met(s, device);
	if (o->with.wanted)
		o->with.wanted(o->with.arg, device);
	return FG_FATE_SKIP;
}

/*
 * @m was left, and whoever knew of it is gone: now it is its session's again, which sends it when it is up
 * and the plugin does not leave it once more.
 */
static enum fg_fate take_stray(struct fg_feed *f, struct fg_reading *r, const struct fg_message *m,
			       struct fg_span device)
{
	struct fg_outbox *o = f->outbox;
	struct fg_outbox_session *s = fg_outbox_session_place(o, device);
	uint16_t entry;
	enum fg_fate fate;

	if (!s)
		return FG_FATE_STOP;
	fate = take(f, r, &s->left[f->lane], m, device, &entry);
	if (fate != FG_FATE_TAKE)
		return fate;
	fg_ledger_set(&f->ledger, entry, FG_ENTRY_AGAIN);
	fg_sweep_get_off(&s->tracks[f->lane], m->seq);
	f->is_behind = true;
	if (!s->name && o->with.wanted)
		o->with.wanted(o->with.arg, device);
	return FG_FATE_SKIP;
}

static enum fg_fate take_from_sessions(struct fg_feed *f, struct fg_reading *r,
				       struct fg_span device, const struct fg_message *m,
				       uint16_t *ret_entry, struct fg_outbox_session **ret_session)
{
	struct fg_outbox *o = f->outbox;
	uint64_t key;
	struct fg_outbox_session *s = fg_outbox_session_of(o, device, &key);

	*ret_session = s;
	if (s && s->device && !fg_span_is(device, s->device))
		return refuse(f, r, s, m, device,
			      "its session cannot be told from another one by its key");
	if ((!s || !s->name) && !fg_outbox_owns_name(o, device, m->device))
		return refuse(f, r, s, m, device, "the cloud calls another device by its name");
	if (fg_feed_is_left(f, m->seq))
		return take_stray(f, r, m, device);
	if (s && !s->name && r->kind == FG_PASS_BEHIND)
		return meet(f, s, m, device);
	if (!s || !s->name)
		return r->kind == FG_PASS_LIVE ? leave_to_nobody(f, s, m, device, key)
					       : FG_FATE_SKIP;
	return r->kind == FG_PASS_LIVE ? take_live(f, s, m, device, ret_entry)
				       : take_behind(f, s, m, device, ret_entry);
}

/* There is an entry: it was read before. */
static enum fg_fate take_again(struct fg_feed *f, struct fg_reading *r, uint16_t entry,
			       const struct fg_message *m, struct fg_span device)
{
	struct fg_entry *e = fg_ledger_at(&f->ledger, entry);
	struct fg_track *t = e->track;

	if (e->state != FG_ENTRY_AGAIN)
		return FG_FATE_SKIP;
	if (f->outbox->has_sessions) {
		struct fg_outbox_session *s = t->owner;

		t = &s->tracks[f->lane];
		if (r->kind == FG_PASS_BEHIND ? !t->rides : t->state == FG_TRACK_BEHIND)
			return FG_FATE_SKIP;
	}
	if (e->poison) {
		if (fg_outbox_remove_poison(f, entry, m, device) == 0)
			return FG_FATE_SKIP;
		f->outbox->had_no_room = true;
		if (!f->outbox->has_sessions || r->kind == FG_PASS_LIVE)
			return FG_FATE_STOP;
		fg_sweep_get_off(t, m->seq);
		t->asleep = fg_outbox_session_news(t->owner, f->lane);
		return FG_FATE_SKIP;
	}
	fg_ledger_set(&f->ledger, entry, FG_ENTRY_OFFERED);
	e->pass = (uint8_t)r->kind;
	return FG_FATE_TAKE;
}

bool fg_feed_map_device(const struct fg_outbox *o, const struct fg_message *m,
			struct fg_span device, struct fg_span *ret_name)
{
	bool is_mapped = fg_outbox_name_of(o, device, ret_name);

	/* Where devices have sessions, this one's is gone. */
	if (is_mapped || m->kind != FG_COMMAND_RESPONSE || o->has_sessions)
		return is_mapped;
	*ret_name = device;
	return true;
}

/* Has the device given up waiting for what it asks here? */
static bool is_stale(const struct fg_outbox *o, const struct fg_message *m)
{
	return m->kind == FG_REQUEST && o->with.is_awaited &&
	       !o->with.is_awaited(o->with.arg, m->ref);
}

bool fg_feed_is_left(const struct fg_feed *f, uint64_t seq)
{
	return f->outbox->has_sessions &&
	       fg_cursor_left_behind(f->cursor, FG_KEY_RECORD | seq) != 0;
}

/* Nothing of a record is to be sent, or to be sent again. */
static enum fg_fate drop(struct fg_feed *f, uint64_t seq, uint16_t entry)
{
	if (!entry) {
		fg_cursor_rejoin(f->cursor, FG_KEY_RECORD | seq);
		return FG_FATE_SETTLE;
	}
	if (fg_ledger_at(&f->ledger, entry)->state == FG_ENTRY_AGAIN) {
		fg_ledger_at(&f->ledger, entry)->chain = f->dropped;
		f->dropped = entry;
	}
	return FG_FATE_SKIP;
}

enum fg_fate fg_feed_decide(struct fg_feed *f, struct fg_reading *r, struct fg_message *m,
			    struct fg_span device, uint16_t *ret_entry,
			    struct fg_outbox_session **ret_session)
{
	struct fg_outbox *o = f->outbox;

	if (r->kind == FG_PASS_BEHIND && m->seq >= live(f)->position)
		return FG_FATE_STOP;
	*ret_entry = fg_ledger_find(&f->ledger, m->seq);
	if (!fg_feed_map_device(o, m, device, &m->device))
		return drop(f, m->seq, *ret_entry);
	if (is_stale(o, m)) {
		o->stats.stale_requests++;
		return drop(f, m->seq, *ret_entry);
	}
	if (*ret_entry) {
		void *owner = fg_ledger_at(&f->ledger, *ret_entry)->track->owner;

		*ret_session = owner ? owner : o->sessions[0];
		return take_again(f, r, *ret_entry, m, device);
	}
	if (o->has_sessions)
		return take_from_sessions(f, r, device, m, ret_entry, ret_session);
	*ret_session = o->sessions[0];
	return take_from_one_session(f, r, o->sessions[0], m, device, ret_entry);
}
