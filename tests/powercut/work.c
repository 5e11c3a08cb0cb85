#include "life.h"

#include <stdlib.h>
#include <string.h>

#include "util/span.h"

#define STEP_US (INT64_C(20) * 365 * 86400 * 1000000)

static bool is_behind(const struct model_cursor *c, unsigned key, uint64_t seq)
{
	return c->behind_from[key] != 0 && seq >= c->behind_from[key];
}

static bool may_send(const struct life *l, struct model_cursor *c)
{
	uint64_t n = c->n_in_flight;

	for (int key = 0; key < N_KEYS; key++)
		n += c->behind_sent[key] != 0;
	if (n >= IN_FLIGHT_MAX)
		return false;
	return fg_cursor_may_send(c->cursor, n) || l->sabotage == SABOTAGE_SEND_ON;
}

/* ---- appending */

static const char *device(unsigned key)
{
	static const char *const names[N_KEYS] = {"pump-0", "pump-1", "pump-2", "pump-3"};

	return names[key];
}

/* Append @msg, which the model knows as @as but for its number. Returns that, or 0. */
static uint64_t append_as(struct life *l, enum fg_lane lane, const struct fg_message *msg,
			  const struct model_record *as)
{
	struct model_lane *m = &l->lanes[lane];
	uint64_t seq;

	if (fg_journal_append(l->j, lane, msg, &seq) < 0)
		return 0;
	if (seq == 0) {
		if (l->options.on_full != FG_ON_FULL_DROP_NEWEST)
			life_wrong(l, &l->totals->policy, "a record was dropped that need not be");
		l->room_misses++;
		l->totals->refused++;
		return 0;
	}
	/* Cursor tables take numbers too. */
	for (uint64_t s = m->next_seq; s < seq; s++)
		*model_record(m, s) = (struct model_record){0};
	*model_record(m, seq) = *as;
	model_record(m, seq)->stamp = l->next_stamp++;
	model_record(m, seq)->ticket = fg_journal_ticket(l->j);
	model_record(m, seq)->aged_ms = l->life_ms;
	m->next_seq = seq + 1;
	l->totals->appended++;
	return seq;
}

static void append(struct life *l)
{
	enum fg_lane lane = chance(l, 4) == 0 ? FG_LANE_ALARM : FG_LANE_MAIN;
	struct model_record as = {.key = (uint8_t)chance(l, N_KEYS)};
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str(device(as.key))};
	char body[BATCH_BYTES * LARGE];

	as.size = 8 + (uint32_t)chance(l, 180 * (uint64_t)l->scale * l->scale);
	if (chance(l, 40) == 0)
		as.size = 8 + (uint32_t)chance(l, BATCH_BYTES * l->scale - 120);
	if (chance(l, 16) == 0) {
		as.only = (uint8_t)(1 + chance(l, N_LINKS));
		msg.link = fg_span_str(l->lanes[lane].cursors[as.only - 1].name);
	}
	if (chance(l, 16) == 0) {
		as.is_note = true;
		msg.kind = (enum fg_kind)FG_NOTE_FIRST;
		msg.device.size = 0;
	}
	model_body(body, l->next_stamp, as.size);
	msg.body = fg_span_of(body, as.size);
	append_as(l, lane, &msg, &as);
}

/* ---- what links send: live */

static void put_in_flight(struct model_cursor *c, uint64_t seq)
{
	unsigned at = c->n_in_flight++;

	for (; at > 0 && c->in_flight[at - 1] > seq; at--)
		c->in_flight[at] = c->in_flight[at - 1];
	c->in_flight[at] = seq;
}

static void take_in_flight(struct model_cursor *c, unsigned at, unsigned n)
{
	c->n_in_flight -= n;
	memmove(c->in_flight + at, c->in_flight + at + n,
		(c->n_in_flight - at) * sizeof(c->in_flight[0]));
}

static void send_live(struct life *l, int lane, int i)
{
	struct model_cursor *c = &l->lanes[lane].cursors[i];
	struct fg_message messages[READ_MAX];
	int n;

	/* Now and then a link turns to the newest, or back to the oldest that is open. */
	if (chance(l, 20) == 0) {
		fg_pass_seek(c->live, fg_cursor_end(c->cursor));
		l->totals->jumps++;
	} else if (chance(l, 8) == 0) {
		fg_pass_seek(c->live, fg_cursor_watermark(c->cursor) + 1);
	}
	n = fg_pass_read(c->live, messages, 1 + chance(l, READ_MAX), NULL, NULL);
	for (int k = 0; k < n; k++) {
		struct model_record *m = model_record(&l->lanes[lane], messages[k].seq);

		check_read(l, lane, i, &messages[k]);
		if (m->of[i].is_in_flight || is_behind(c, m->key, messages[k].seq))
			continue;
		if (!may_send(l, c)) {
			fg_pass_seek(c->live, messages[k].seq);
			return;
		}
		m->of[i].is_sent = m->of[i].is_in_flight = true;
		put_in_flight(c, messages[k].seq);
	}
}

/* Its cloud refuses one message for good. */
static bool quarantine(struct life *l, int lane, int i, uint64_t seq)
{
	struct model_record *m = model_record(&l->lanes[lane], seq);
	struct fg_quarantined q = {
		.link = fg_span_str(l->lanes[lane].cursors[i].name),
		.lane = (enum fg_lane)lane,
		.reason = fg_span_str("refused"),
		.kind = FG_TELEMETRY,
		.body = fg_span_of(&m->stamp, sizeof(m->stamp)),
	};

	if (fg_journal_quarantine(l->j, &q) < 0)
		return false;
	m->of[i].is_quarantined = true;
	if (l->n_quarantined == l->quarantined_capacity) {
		l->quarantined_capacity = l->quarantined_capacity * 2 + 64;
		l->quarantined =
			realloc(l->quarantined, l->quarantined_capacity * sizeof(*l->quarantined));
		if (!l->quarantined)
			abort();
	}
	l->quarantined[l->n_quarantined++] = (struct model_quarantined){
		.lane = (enum fg_lane)lane,
		.of = seq,
		.link = i,
		.stamp = m->stamp,
		.ticket = fg_journal_ticket(l->j),
	};
	return true;
}

/*
 * How many of those in flight from the @at-th on can be settled as one range: nothing may be between
 * them that is still to be sent, but for what sessions left behind will want.
 */
static unsigned run_length(struct life *l, int lane, int i, unsigned at, unsigned max)
{
	struct model_cursor *c = &l->lanes[lane].cursors[i];
	unsigned n = 1;

	for (; at + n < c->n_in_flight && n < max; n++)
		for (uint64_t s = c->in_flight[at + n - 1] + 1; s < c->in_flight[at + n]; s++) {
			const struct model_record *m = model_record(&l->lanes[lane], s);

			if (model_is_for(m, i) && !m->of[i].is_settled && !is_behind(c, m->key, s))
				return n;
		}
	return n;
}

/* The cloud acknowledges some of what is in flight, in any order. */
static void settle_live(struct life *l, int lane, int i)
{
	struct model_lane *lane_model = &l->lanes[lane];
	struct model_cursor *c = &lane_model->cursors[i];
	uint64_t first, last;
	unsigned at, n;

	if (c->n_in_flight == 0)
		return;
	at = chance(l, 2) ? 0 : (unsigned)chance(l, c->n_in_flight);
	n = run_length(l, lane, i, at, 1 + (unsigned)chance(l, 12));
	first = c->in_flight[at];
	last = c->in_flight[at + n - 1];
	if (chance(l, 16) == 0 && !quarantine(l, lane, i, last))
		return;
	if (l->sabotage == SABOTAGE_SETTLE_MORE && chance(l, 8) == 0)
		last++;
	fg_cursor_settle(c->cursor, first, last);
	take_in_flight(c, at, n);
	for (uint64_t s = first; s <= last && s < lane_model->next_seq; s++) {
		struct model_state *of = &model_record(lane_model, s)->of[i];

		of->is_covered = true;
		if (of->is_in_flight)
			of->is_settled = of->was_settled = true;
		of->is_in_flight = false;
	}
}

/* ---- what links send: sessions that were left behind */

/* The lowest record from @from on that the session with @key should have and has not. */
static uint64_t lowest_missed(struct life *l, int lane, int i, unsigned key, uint64_t from)
{
	struct model_lane *m = &l->lanes[lane];
	uint64_t end = fg_cursor_end(m->cursors[i].cursor);

	for (; from < end; from++) {
		const struct model_record *r = model_record(m, from);

		if (r->key == key && model_is_for(r, i) && !r->of[i].is_settled)
			break;
	}
	return from;
}

/*
 * The session with @key goes down. From the first record on that it has not had, all of its will be
 * sent again, what was in flight and what it had out of order, whatever happens.
 */
static void leave_behind(struct life *l, int lane, int i, unsigned key)
{
	struct model_lane *m = &l->lanes[lane];
	struct model_cursor *c = &m->cursors[i];
	uint64_t low = c->verified + 1 > c->first ? c->verified + 1 : c->first;
	uint64_t from;

	if (low <= c->dropped_now)
		low = c->dropped_now + 1;
	from = lowest_missed(l, lane, i, key, low);
	if (l->sabotage != SABOTAGE_FORGET_BEHIND &&
	    fg_cursor_leave_behind(c->cursor, key, from) < 0) {
		life_wrong(l, &l->totals->policy, "%s cannot leave session %u behind", c->name,
			   key);
		return;
	}
	c->behind_from[key] = from;
	for (unsigned at = c->n_in_flight; at-- > 0;)
		if (model_record(m, c->in_flight[at])->key == key)
			take_in_flight(c, at, 1);
	for (uint64_t seq = from; seq < m->next_seq; seq++) {
		struct model_state *of = &model_record(m, seq)->of[i];

		if (model_record(m, seq)->key == key)
			of->is_in_flight = of->is_sent = of->is_settled = false;
	}
	l->totals->left_behind++;
}

struct asker {
	struct life *l;
	int lane, i;
};

static bool wants(void *arg, const struct fg_message *msg)
{
	const struct asker *a = arg;
	struct model_lane *m = &a->l->lanes[a->lane];

	return is_behind(&m->cursors[a->i], model_record(m, msg->seq)->key, msg->seq);
}

static void send_behind(struct life *l, int lane, int i)
{
	struct model_cursor *c = &l->lanes[lane].cursors[i];
	struct fg_message messages[READ_MAX];
	struct asker asker = {l, lane, i};
	int n;

	if (chance(l, 3) == 0)
		fg_pass_seek(c->behind, 1);
	n = fg_pass_read(c->behind, messages, 1 + chance(l, READ_MAX), wants, &asker);
	for (int k = 0; k < n; k++) {
		struct model_record *m = model_record(&l->lanes[lane], messages[k].seq);

		check_read(l, lane, i, &messages[k]);
		/* One at a time, in order. */
		if (!is_behind(c, m->key, messages[k].seq) || c->behind_sent[m->key] != 0 ||
		    lowest_missed(l, lane, i, m->key, c->behind_from[m->key]) != messages[k].seq)
			continue;
		if (!may_send(l, c))
			return;
		m->of[i].is_sent = true;
		c->behind_sent[m->key] = messages[k].seq;
	}
}

static void settle_behind(struct life *l, int lane, int i, unsigned key)
{
	struct model_lane *m = &l->lanes[lane];
	struct model_cursor *c = &m->cursors[i];
	uint64_t seq = c->behind_sent[key];
	struct model_state *of = &model_record(m, seq)->of[i];

	/* For the others too, in case they have not come so far; and for this one. */
	fg_cursor_settle(c->cursor, seq, seq);
	if (fg_cursor_leave_behind(c->cursor, key, seq + 1) < 0)
		life_wrong(l, &l->totals->policy, "%s cannot move session %u on", c->name, key);
	of->is_covered = of->is_settled = of->was_settled = true;
	c->behind_sent[key] = 0;
	c->behind_from[key] = seq + 1;
}

/* All that the others have settled it has, too: from here on it goes with them. */
static void rejoin(struct life *l, int lane, int i, unsigned key)
{
	struct model_lane *m = &l->lanes[lane];
	struct model_cursor *c = &m->cursors[i];

	for (uint64_t s = c->behind_from[key]; s < m->next_seq; s++) {
		const struct model_record *r = model_record(m, s);

		if (r->key == key && model_is_for(r, i) && r->of[i].is_covered &&
		    !r->of[i].is_settled && l->sabotage != SABOTAGE_REJOIN_EARLY)
			return;
	}
	fg_cursor_rejoin(c->cursor, key);
	c->behind_from[key] = 0;
	fg_pass_seek(c->live, fg_cursor_watermark(c->cursor) + 1);
	l->totals->rejoined++;
}

static void work_behind(struct life *l, int lane, int i)
{
	struct model_cursor *c = &l->lanes[lane].cursors[i];
	unsigned key = (unsigned)chance(l, N_KEYS);

	if (c->behind_from[key] == 0) {
		if (chance(l, 12) == 0)
			leave_behind(l, lane, i, key);
	} else if (c->behind_sent[key] != 0) {
		settle_behind(l, lane, i, key);
	} else if (chance(l, 4) == 0) {
		rejoin(l, lane, i, key);
	} else {
		send_behind(l, lane, i);
	}
}

/* ---- quarantine */

/* Somebody looks at a message in quarantine and has it sent again. */
static void send_again(struct life *l)
{
	struct model_record as = {.size = 8 + (uint32_t)chance(l, 100)};
	struct fg_message msg = {.kind = FG_EVENT, .device = fg_span_str(device(0))};
	struct model_quarantined *q;
	char body[128];

	if (l->n_quarantined == 0)
		return;
	q = &l->quarantined[chance(l, l->n_quarantined)];
	if (q->number == 0 || q->is_settled)
		return;
	model_body(body, l->next_stamp, as.size);
	msg.body = fg_span_of(body, as.size);
	if (l->sabotage != SABOTAGE_SETTLE_QUARANTINE) {
		q->seq_stamp = l->next_stamp;
		q->seq = append_as(l, q->lane, &msg, &as);
		if (q->seq == 0)
			return;
	}
	if (fg_journal_quarantine_settle(l->j, q->number) < 0)
		return;
	q->is_settled = true;
	/* At the latest with the batch after the one that gathers. */
	q->settle_ticket = fg_journal_ticket(l->j) + 2;
	l->totals->requeued++;
}

/* ---- a day in the life */

/* A link that is configured while the gateway runs: from then on nothing acked may pass it by. */
static void open_late(struct life *l, int lane, int i)
{
	struct model_cursor *c = &l->lanes[lane].cursors[i];

	if (fg_cursor_open(l->j, (enum fg_lane)lane, c->name, c->max_unsaved, &c->cursor) < 0)
		return;
	fg_cursor_set_caps(c->cursor, c->max_bytes, c->max_age_ms);
	if (fg_pass_open(c->cursor, &c->live) < 0 || fg_pass_open(c->cursor, &c->behind) < 0)
		abort();
	c->was_opened = true;
	c->verified = fg_cursor_watermark(c->cursor);
	c->first = c->verified + 1;
}

void work_pass(struct life *l, int64_t ms)
{
	l->now_ms += ms;
	l->life_ms += ms;
	l->utc_us += ms * 1000;
}

static void work_tick(struct life *l)
{
	if (chance(l, 10) == 0)
		work_pass(l, 6000);
	if (chance(l, 200) == 0)
		l->utc_us += (chance(l, 2) ? 1 : -1) * STEP_US;
	if (chance(l, 4) == 0)
		send_again(l);
	fg_journal_tick(l->j, l->now_ms);
}

void work(struct life *l)
{
	int lane = chance(l, 3) == 0 ? FG_LANE_ALARM : FG_LANE_MAIN;
	int i = (int)chance(l, N_LINKS);

	if (!l->lanes[lane].cursors[i].was_opened) {
		if (chance(l, 20) == 0)
			open_late(l, lane, i);
		return;
	}
	work_pass(l, (int64_t)chance(l, 30));
	switch (chance(l, 10)) {
	case 0:
	case 1:
	case 2:
		for (uint64_t n = chance(l, 12); n > 0; n--)
			append(l);
		break;
	case 3:
	case 4:
		fg_journal_flush(l->j, l->now_ms);
		break;
	case 5:
	case 6:
		send_live(l, lane, i);
		break;
	case 7:
		settle_live(l, lane, i);
		break;
	case 8:
		work_behind(l, lane, i);
		break;
	default:
		work_tick(l);
		break;
	}
	check_policy(l);
}
