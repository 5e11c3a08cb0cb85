#include <stdio.h>

#include "cloud/outbox_internal.h"
#include "util/log.h"
#include "util/span.h"

/* After so many tries with the same record it is the record's fault. */
#define MAX_DROPS 3
#define MAX_RETRIES 3
#define MAX_BLAMED 5 /* doubles both so often at most */
#define PAUSE_FIRST_MS 1000
#define PAUSE_MAX_MS 60000

/* The longest pause that an answer may ask for. */
#define RETRY_AFTER_MAX_MS 600000

/* An entry's `poison`, when it is no reason code of MQTT (those are 0x80 to 0xff). */
#define POISON_BREAKS 1    /* sessions broke on it */
#define POISON_REFUSED 2   /* the plugin says so of an answer without such a code */
#define POISON_HTTP 0x1000 /* and the status of HTTP */

void fg_outbox_ask_again(struct fg_outbox *o, int64_t ms)
{
	if (o->again_ms == 0 || ms < o->again_ms)
		o->again_ms = ms;
}

/* ---- quarantine */

static void release(struct fg_feed *f, unsigned parity, uint64_t ticket)
{
	uint16_t first = f->quarantined[parity].first;

	if (!first || f->quarantined[parity].ticket > ticket)
		return;
	f->quarantined[parity].first = 0;
	fg_ledger_settle(&f->ledger, first);
}

void fg_outbox_release(struct fg_feed *f)
{
	uint64_t committed = fg_journal_committed(f->outbox->with.journal);

	release(f, 0, committed);
	release(f, 1, committed);
}

int fg_outbox_quarantine(struct fg_feed *f, uint16_t entry, const struct fg_message *m,
			 struct fg_span device, const char *reason, unsigned attempts)
{
	struct fg_outbox *o = f->outbox;
	struct fg_quarantined q = {
		.link = fg_span_str(o->with.config->name),
		.lane = f->lane,
		.reason = fg_span_str(reason),
		.device = device,
		.stream = m->stream,
		.kind = (uint8_t)m->kind,
		.time_quality = (uint8_t)m->time_quality,
		.time_us = m->time_us,
		.attempts = attempts,
		.whole_size = m->body.size,
		.content_type = m->content_type,
		.ref = m->ref,
		.body = m->body,
	};
	uint64_t ticket;
	unsigned parity;
	int r = fg_journal_quarantine(o->with.journal, &q);

	if (r < 0)
		return r;
	ticket = fg_journal_ticket(o->with.journal);
	parity = ticket & 1;
	/* What still waits there had an older ticket, and before this one gathered that was on disk. */
	if (f->quarantined[parity].ticket != ticket)
		release(f, parity, ticket);
	fg_ledger_set(&f->ledger, entry, FG_ENTRY_QUARANTINED);
	fg_ledger_at(&f->ledger, entry)->chain = f->quarantined[parity].first;
	f->quarantined[parity].first = entry;
	f->quarantined[parity].ticket = ticket;
	o->stats.quarantined++;
	fg_complain(&o->quarantine_complaint, o->now_ms, LOG_WARNING,
		    "link %s: record %llu of device %.*s cannot be sent: %s; put into quarantine",
		    o->with.config->name, (unsigned long long)m->seq, FG_SPAN_ARGS(device), reason);
	return 0;
}

static struct fg_outbox_session *session_of(const struct fg_feed *f, const struct fg_entry *e)
{
	return e->track->owner ? e->track->owner : f->outbox->sessions[0];
}

static void blame(struct fg_outbox_session *s)
{
	if (s->n_blamed < MAX_BLAMED)
		s->n_blamed++;
	s->n_fruitless = 0;
}

int fg_outbox_remove_poison(struct fg_feed *f, uint16_t entry, const struct fg_message *m,
			    struct fg_span device)
{
	struct fg_entry *e = fg_ledger_at(&f->ledger, entry);
	struct fg_outbox_session *s = session_of(f, e);
	char reason[128];
	int r;

	if (e->poison == POISON_BREAKS)
		snprintf(reason, sizeof(reason),
			 "the session broke %u times while this record was unacknowledged",
			 e->n_tries);
	else if (e->poison == POISON_REFUSED)
		snprintf(reason, sizeof(reason), "the cloud refused it");
	else if (e->poison >= POISON_HTTP)
		snprintf(reason, sizeof(reason), "the cloud refused it with HTTP status %u",
			 e->poison - POISON_HTTP);
	else
		snprintf(reason, sizeof(reason), "the cloud refused it with reason code 0x%02x",
			 e->poison);
	r = fg_outbox_quarantine(f, entry, m, device, reason, e->n_tries);
	if (r < 0)
		return r;
	if (e->poison == POISON_BREAKS) {
		s->suspect.drops = 0;
		blame(s);
	}
	return 0;
}

void fg_outbox_committed(struct fg_outbox *o, uint64_t ticket)
{
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++) {
		release(&o->feeds[lane], 0, ticket);
		release(&o->feeds[lane], 1, ticket);
		if (o->had_no_room)
			fg_feed_look_again(&o->feeds[lane]);
	}
	for (size_t i = 0; i < o->n_sessions && o->had_no_room; i++)
		o->sessions[i]->news++;
	o->had_no_room = false;
}

/* ---- sessions that break */

static void isolate(struct fg_feed *f, uint16_t first)
{
	for (uint16_t e = first; e; e = fg_ledger_at(&f->ledger, e)->chain) {
		fg_ledger_isolate(&f->ledger, e);
		fg_ledger_at(&f->ledger, e)->n_tries = 0;
	}
}

/*
 * The same record unacknowledged each time a session breaks: first isolate it, then put it aside.
 * When the next one fares no better and nothing is acknowledged in between, it may well be the
 * cloud: each takes twice as long as the one before, so that a cloud that throws us out all night
 * does not empty the journal.
 */
static void suspect(struct fg_outbox_session *s, const struct fg_inflight_entry *oldest)
{
	struct fg_feed *f = &s->outbox->feeds[oldest->lane];
	struct fg_entry *e = fg_ledger_at(&f->ledger, oldest->records);

	if (e->seq != s->suspect.seq || f->lane != s->suspect.lane) {
		s->suspect.seq = e->seq;
		s->suspect.lane = f->lane;
		s->suspect.drops = 0;
	}
	s->suspect.drops++;
	if (s->suspect.drops < 2)
		return;
	if (oldest->n_records == 1 && s->suspect.drops >= (unsigned)MAX_DROPS << s->n_blamed) {
		e->poison = POISON_BREAKS;
		e->n_tries = (uint8_t)s->suspect.drops;
	} else {
		isolate(f, oldest->records);
	}
}

void fg_outbox_take_back(struct fg_outbox_session *s, bool is_suspicious)
{
	const struct fg_inflight_entry *oldest = fg_inflight_oldest_data(s->inflight);

	if (is_suspicious && oldest)
		suspect(s, oldest);
	if (s->outbox->made.session == s)
		s->outbox->made.session = NULL;
}

bool fg_outbox_may_blame(const struct fg_outbox_session *s)
{
	const struct fg_inflight_entry *oldest =
		s->inflight ? fg_inflight_oldest_data(s->inflight) : NULL;

	if (s->has_acks)
		return true;
	return oldest && oldest->lane == s->suspect.lane &&
	       fg_ledger_at(&s->outbox->feeds[oldest->lane].ledger, oldest->records)->seq ==
		       s->suspect.seq &&
	       s->suspect.drops >= MAX_DROPS - 1;
}

/* ---- acknowledgements */

/* @least_ms: as the cloud asks for, if it does. */
static void pause_sending(struct fg_outbox_session *s, int64_t least_ms)
{
	struct fg_outbox *o = s->outbox;
	int64_t ms = PAUSE_FIRST_MS;

	/* All that was in flight is refused together: that is one pause, not many. */
	if (o->now_ms < s->paused_until_ms)
		return;
	for (unsigned i = 0; i < s->n_pauses && ms < PAUSE_MAX_MS; i++)
		ms *= 2;
	s->n_pauses++;
	s->n_fruitless++;
	if (ms > PAUSE_MAX_MS)
		ms = PAUSE_MAX_MS;
	if (least_ms > RETRY_AFTER_MAX_MS)
		least_ms = RETRY_AFTER_MAX_MS;
	s->paused_until_ms = o->now_ms + (ms > least_ms ? ms : least_ms);
	if (o->pause_ms == 0 || s->paused_until_ms < o->pause_ms)
		o->pause_ms = s->paused_until_ms;
	fg_outbox_ask_again(o, s->paused_until_ms);
}

static void send_again(struct fg_feed *f, uint16_t first)
{
	for (uint16_t e = first; e; e = fg_ledger_at(&f->ledger, e)->chain) {
		struct fg_entry *entry = fg_ledger_at(&f->ledger, e);

		fg_ledger_set(&f->ledger, e, FG_ENTRY_AGAIN);
		fg_feed_again(f, entry->track, entry->seq);
	}
}

static uint16_t poison_of(const struct fg_settlement *how)
{
	if (how->http_status)
		return (uint16_t)(POISON_HTTP + how->http_status % POISON_HTTP);
	return how->reason_code >= 0x80 ? (uint8_t)how->reason_code : POISON_REFUSED;
}

/* Read it again: for its copy in quarantine, or one record a publish when it was not alone. */
static void settle_poison(struct fg_feed *f, const struct fg_inflight_entry *sent,
			  const struct fg_settlement *how)
{
	if (sent->n_records == 1) {
		struct fg_entry *e = fg_ledger_at(&f->ledger, sent->records);

		e->poison = poison_of(how);
	} else {
		isolate(f, sent->records);
	}
	send_again(f, sent->records);
}

/* One more that failed. Returns how many that are for the record that was tried most. */
static unsigned count_try(struct fg_feed *f, const struct fg_inflight_entry *sent)
{
	unsigned most = 0;

	for (uint16_t e = sent->records; e; e = fg_ledger_at(&f->ledger, e)->chain) {
		struct fg_entry *entry = fg_ledger_at(&f->ledger, e);

		if (entry->n_tries < UINT8_MAX)
			entry->n_tries++;
		if (entry->n_tries > most)
			most = entry->n_tries;
	}
	return most;
}

/*
 * Refused so often that it is the record's own fault? Not when nothing is accepted in between: then it
 * may well be the cloud, as with sessions that break.
 */
static bool is_to_blame(const struct fg_outbox_session *s, unsigned n_tries)
{
	return n_tries > MAX_RETRIES &&
	       (s->n_blamed == 0 || s->n_fruitless >= (unsigned)MAX_RETRIES << s->n_blamed);
}

static void settle_retry(struct fg_outbox_session *s, struct fg_feed *f,
			 const struct fg_inflight_entry *sent, const struct fg_settlement *how,
			 int64_t pause_ms)
{
	if (is_to_blame(s, count_try(f, sent))) {
		settle_poison(f, sent, how);
		if (sent->n_records == 1)
			blame(s);
		return;
	}
	send_again(f, sent->records);
	pause_sending(s, pause_ms);
}

static void has_room_again(struct fg_outbox_session *s)
{
	struct fg_outbox *o = s->outbox;

	fg_outbox_session_poke(s);
	s->news++;
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		if (s->tracks[lane].state == FG_TRACK_BEHIND || s->tracks[lane].n_again > 0 ||
		    s->left[lane].n_again > 0 || o->feeds[lane].ledger.n_ordered > 0)
			fg_feed_look_again(&o->feeds[lane]);
}

static enum fg_verdict judge(struct fg_outbox_session *s, const struct fg_settlement *how)
{
	const struct fg_outbox *o = s->outbox;

	if (o->with.plugin->settled)
		return o->with.plugin->settled(o->with.ctx, s->name, how);
	if (how->http_status)
		return how->http_status / 100 == 2 ? FG_ACCEPTED : FG_POISON;
	return how->reason_code < 0x80 ? FG_ACCEPTED : FG_POISON;
}

static void complain_of_refusal(struct fg_outbox *o, const struct fg_settlement *how,
				enum fg_verdict verdict)
{
	char what[40];

	if (how->http_status)
		snprintf(what, sizeof(what), "HTTP status %u", how->http_status);
	else
		snprintf(what, sizeof(what), "reason code 0x%02x", how->reason_code);
	fg_complain(&o->nack_complaint, o->now_ms, LOG_WARNING,
		    "link %s: publish of %zu records refused with %s, %s", o->with.config->name,
		    how->n_messages, what,
		    verdict == FG_POISON    ? "looking for the one at fault"
		    : verdict == FG_SIGN_IN ? "signing in anew"
					    : "sending again after a pause");
}

/* @how: what the cloud has said; the rest of it is filled in here. */
static enum fg_verdict settle(struct fg_outbox_session *s, int packet_id, struct fg_settlement *how,
			      int64_t pause_ms, int64_t now_ms)
{
	struct fg_outbox *o = s->outbox;
	struct fg_inflight_entry sent;
	enum fg_verdict verdict;
	struct fg_feed *f;

	if (!s->inflight || fg_inflight_ack(s->inflight, packet_id, &sent) < 0)
		return FG_ACCEPTED;
	o->now_ms = now_ms;
	f = &o->feeds[sent.lane];
	has_room_again(s);
	how->tag = sent.tag;
	how->n_messages = sent.n_records;
	fg_timekeeper_now(o->with.timekeeper, &how->now_us);
	verdict = judge(s, how);
	if (verdict != FG_ACCEPTED)
		complain_of_refusal(o, how, verdict);
	switch (verdict) {
	case FG_ACCEPTED:
		s->has_acks = true;
		s->n_pauses = 0;
		if (sent.n_records > 0)
			s->n_blamed = s->n_fruitless = 0;
		o->stats.records_acked += sent.n_records;
		fg_ledger_settle(&f->ledger, sent.records);
		break;
	case FG_LATER:
		send_again(f, sent.records);
		pause_sending(s, pause_ms);
		break;
	case FG_RETRY:
		settle_retry(s, f, &sent, how, pause_ms);
		break;
	case FG_POISON:
		if (sent.n_records == 0)
			break; /* the plugin's own: it knows */
		count_try(f, &sent);
		settle_poison(f, &sent, how);
		break;
	case FG_SIGN_IN:
		if (s->carrier == FG_CARRIER_HTTP) {
			/* As one that was not answered, until the session ends: it does so now. */
			fg_inflight_add(s->inflight, &sent);
			break;
		}
		send_again(f, sent.records); /* there is nothing to sign in to */
		pause_sending(s, pause_ms);
		break;
	}
	return verdict;
}

void fg_outbox_settled(struct fg_outbox_session *s, int packet_id, unsigned reason_code,
		       int64_t now_ms)
{
	struct fg_settlement how = {.reason_code = reason_code};

	settle(s, packet_id, &how, -1, now_ms);
}

enum fg_verdict fg_outbox_answered(struct fg_outbox_session *s, int packet_id, unsigned http_status,
				   struct fg_span http_body, int64_t retry_after_ms, int64_t now_ms)
{
	struct fg_settlement how = {.http_status = http_status, .http_body = http_body};

	return settle(s, packet_id, &how, retry_after_ms, now_ms);
}
