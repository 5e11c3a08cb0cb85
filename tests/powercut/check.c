#include "life.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/span.h"

#define TABLE_FILE_BYTES 8192 /* a segment with nothing but a cursor table */
#define TABLE_BYTES 1024      /* one more in it */
#define RANGES_KEPT 64        /* of a cursor, by any table */
#define TABLES_UNKNOWN 8      /* of a former run, more than a cursor can remember */

/* ---- what the journal calls back */

void check_committed(void *arg, uint64_t ticket)
{
	struct life *l = arg;

	/* Tickets rise with sequence numbers: from the newest down to the first that was acked
	 * before. */
	for (int k = 0; k < FG_N_CURSOR_LANES; k++)
		for (uint64_t seq = l->lanes[k].next_seq; seq-- > 1;) {
			struct model_record *m = model_record(&l->lanes[k], seq);

			if (m->stamp == 0 || m->ticket > ticket)
				continue;
			if (m->is_acked)
				break;
			m->is_acked = true;
			l->totals->acked++;
		}
	for (size_t i = 0; i < l->n_quarantined; i++) {
		struct model_quarantined *q = &l->quarantined[i];

		q->is_acked = q->is_acked || q->ticket <= ticket;
		q->is_settling_acked =
			q->is_settling_acked || (q->is_settled && q->settle_ticket <= ticket);
	}
}

static bool is_policy(const char *why)
{
	return strcmp(why, "journal limit") == 0 || strcmp(why, "older than max_age") == 0 ||
	       strcmp(why, "beyond its max_backlog") == 0;
}

static int64_t age_cap(const struct life *l, const struct model_cursor *c)
{
	if (c->max_age_ms > 0 &&
	    (l->options.max_age_ms == 0 || c->max_age_ms < l->options.max_age_ms))
		return c->max_age_ms;
	return l->options.max_age_ms;
}

/* Numbers that the cursor may have counted as lost, and those of them that were messages for it. */
struct counts {
	uint64_t messages, others;
};

/* Of all up to @seq that it had not settled; what sessions left behind want is not among them. */
static struct counts count_lost(struct model_lane *m, int i, uint64_t seq)
{
	const struct model_cursor *c = &m->cursors[i];
	uint64_t low = c->dropped_now > c->verified ? c->dropped_now : c->verified;
	struct counts n = {0};

	for (; seq > low; seq--) {
		const struct model_record *r = model_record(m, seq);

		if (r->of[i].is_covered || r->stamp == 0)
			continue;
		if (model_is_for(r, i))
			n.messages++;
		else
			n.others++;
	}
	return n;
}

static void check_age(struct life *l, struct model_lane *m, int i, uint64_t seq)
{
	const struct model_cursor *c = &m->cursors[i];

	for (; seq > c->dropped && seq > c->verified; seq--) {
		const struct model_record *r = model_record(m, seq);

		if (model_is_for(r, i) && !r->of[i].is_settled &&
		    l->life_ms - r->aged_ms < age_cap(l, c))
			life_wrong(l, &l->totals->policy,
				   "%s told that record %" PRIu64 " is too old at %" PRId64 " ms",
				   c->name, seq, l->life_ms - r->aged_ms);
	}
}

/* What is in front of @seq is given up: by sessions left behind, too. */
static void drop_up_to(struct life *l, struct model_lane *m, int i, uint64_t seq)
{
	struct model_cursor *c = &m->cursors[i];

	for (uint64_t s = seq; s > c->verified && s > c->dropped_now; s--) {
		model_record(m, s)->of[i].is_covered = true;
		l->totals->dropped += model_is_for(model_record(m, s), i) &&
				      !model_record(m, s)->of[i].is_settled;
	}
	for (int key = 0; key < N_KEYS; key++) {
		if (c->behind_from[key] != 0 && c->behind_from[key] <= seq)
			c->behind_from[key] = seq + 1;
		if (c->behind_sent[key] <= seq)
			c->behind_sent[key] = 0;
	}
	c->dropped_now = seq;
	if (seq > c->dropped)
		c->dropped = seq;
}

static bool has_behind_up_to(const struct model_cursor *c, uint64_t seq)
{
	for (int key = 0; key < N_KEYS; key++)
		if (c->behind_from[key] != 0 && c->behind_from[key] <= seq)
			return true;
	return false;
}

/* A link lost @records up to @seq to a cap: is it set, are they as many, are they as old? */
static void told_of_policy(struct life *l, struct model_lane *m, int i, uint64_t records,
			   uint64_t seq, const char *why)
{
	bool is_age = strcmp(why, "older than max_age") == 0;
	bool is_own = strcmp(why, "beyond its max_backlog") == 0;
	struct model_cursor *c = &m->cursors[i];
	struct counts n = count_lost(m, i, seq);

	if ((is_age && age_cap(l, c) == 0) || (is_own && c->max_bytes == 0) ||
	    (!is_age && !is_own && (!l->has_limit || l->options.on_full != FG_ON_FULL_DROP_OLDEST)))
		life_wrong(l, &l->totals->policy, "%s told of a cap that is not set: %s", c->name,
			   why);
	if (is_age)
		check_age(l, m, i, seq);
	/* Numbers of tables may be among them that nobody has read over since the start. */
	if (!l->has_faults && !c->is_blurred && !has_behind_up_to(c, seq) &&
	    (records < n.messages || records > n.messages + n.others + TABLES_UNKNOWN))
		life_wrong(l, &l->totals->policy,
			   "%s told of %" PRIu64 " records up to %" PRIu64 ", %" PRIu64 "..%" PRIu64
			   " were lost",
			   c->name, records, seq, n.messages, n.messages + n.others);
	c->told += records;
	drop_up_to(l, m, i, seq);
}

/*
 * A link was told of damage, @records up to @seq, though nothing was damaged: after a cut, numbers
 * may be missing that were never promised to anybody, but no message may be among them.
 */
static void told_of_damage(struct life *l, struct model_lane *m, int i, uint64_t records,
			   uint64_t seq, const char *why)
{
	struct model_cursor *c = &m->cursors[i];

	c->is_blurred = true;
	/* With errors on top, records that were never acked may come and go. */
	for (uint64_t s = seq; records > 0 && s > c->verified && s > c->dropped; s--) {
		const struct model_record *r = model_record(m, s);

		if (r->of[i].is_covered)
			continue;
		records--;
		if (!l->has_faults && model_is_for(r, i) && !r->of[i].was_settled) {
			life_wrong(l, &l->totals->false_alarms,
				   "%s told of loss up to %" PRIu64 ": %s", c->name, seq, why);
			return;
		}
	}
}

void check_lost(void *arg, const char *name, uint64_t records, uint64_t seq, const char *why)
{
	struct life *l = arg;

	for (int k = 0; k < FG_N_CURSOR_LANES; k++)
		for (int i = 0; i < N_LINKS; i++) {
			if (strcmp(l->lanes[k].cursors[i].name, name) != 0)
				continue;
			if (is_policy(why))
				told_of_policy(l, &l->lanes[k], i, records, seq, why);
			else
				told_of_damage(l, &l->lanes[k], i, records, seq, why);
		}
}

/* ---- at any moment */

static void check_limit(struct life *l, const char *lane, uint64_t bytes, uint64_t limit)
{
	/* In a full journal links go on, and each start may need a file for their cursors, beyond
	 * what is reserved. */
	if (l->options.on_full != FG_ON_FULL_DROP_OLDEST)
		limit += l->n_starts * TABLE_FILE_BYTES +
			 (l->n_saves + l->n_saves_now) * TABLE_BYTES;
	/* A file whose removal was not on disk may be back after a cut; it goes with the first
	 * commit. */
	if (!l->has_faults && l->has_committed && bytes > limit)
		life_wrong(l, &l->totals->policy,
			   "%s: %" PRIu64 " bytes on disk, %" PRIu64 " allowed, on_full %d", lane,
			   bytes, limit, (int)l->options.on_full);
}

void check_policy(struct life *l)
{
	struct fg_journal_stats stats;

	fg_journal_get_stats(l->j, &stats);
	l->n_saves_now = stats.cursor_saves;
	l->has_committed = stats.commits > 0;
	if (l->has_limit) {
		if (stats.bytes_on_disk + 2 * l->options.segment_bytes < l->options.max_bytes &&
		    stats.alarm_bytes + 2 * l->options.segment_bytes < l->options.max_bytes)
			l->n_starts = l->n_saves = 0;
		check_limit(l, "main", stats.bytes_on_disk, l->options.max_bytes);
		check_limit(l, "alarm", stats.alarm_bytes, l->options.max_bytes);
	}
	if (stats.refused_records != l->room_misses)
		life_wrong(l, &l->totals->policy,
			   "%" PRIu64 " records refused, %" PRIu64 " counted", l->room_misses,
			   stats.refused_records);
	for (int k = 0; k < FG_N_CURSOR_LANES; k++)
		for (int i = 0; i < N_LINKS; i++) {
			const struct model_cursor *c = &l->lanes[k].cursors[i];
			uint64_t losses[FG_N_LOSSES];

			if (!c->was_opened)
				continue;
			fg_cursor_get_losses(c->cursor, losses);
			if (losses[FG_LOSS_LIMIT] + losses[FG_LOSS_AGE] +
				    losses[FG_LOSS_OWN_LIMIT] !=
			    c->told)
				life_wrong(l, &l->totals->policy,
					   "%s: losses are not counted as told", c->name);
		}
}

void check_read(struct life *l, int lane, int i, const struct fg_message *msg)
{
	struct model_record *m = model_record(&l->lanes[lane], msg->seq);
	char expected[BATCH_BYTES * LARGE];

	if (m->stamp != 0 && msg->body.size == m->size) {
		model_body(expected, m->stamp, m->size);
		if (memcmp(msg->body.data, expected, m->size) == 0 && model_is_for(m, i))
			return;
	}
	life_wrong(l, &l->totals->lost, "%s read what is not for it or was not written: %" PRIu64,
		   l->lanes[lane].cursors[i].name, msg->seq);
}

/* ---- after a start: cursors */

struct asker {
	struct model_lane *m;
	int i;
};

/* Only what is settled for the others is asked about. */
static bool wants(void *arg, const struct fg_message *msg)
{
	const struct asker *a = arg;
	const struct model_cursor *c = &a->m->cursors[a->i];
	struct model_record *r = model_record(a->m, msg->seq);

	if (c->behind_from[r->key] == 0 || msg->seq < c->behind_from[r->key])
		return false;
	r->of[a->i].is_asked = true;
	return true;
}

/* Read all that is open. Returns the lowest of it, or UINT64_MAX. */
static uint64_t read_open(struct life *l, int lane, int i)
{
	struct model_lane *m = &l->lanes[lane];
	struct model_cursor *c = &m->cursors[i];
	struct fg_message messages[READ_MAX];
	struct asker asker = {m, i};
	uint64_t lowest = UINT64_MAX;
	int n;

	while ((n = fg_pass_read(c->live, messages, READ_MAX, wants, &asker)) != 0) {
		if (n < 0 && n != -EAGAIN) {
			life_wrong(l, &l->totals->lost, "%s cannot read on", c->name);
			break;
		}
		for (int k = 0; k < n; k++) {
			check_read(l, lane, i, &messages[k]);
			model_record(m, messages[k].seq)->of[i].is_open = true;
			model_record(m, messages[k].seq)->is_found = true;
			l->totals->recovered++;
			if (messages[k].seq < lowest)
				lowest = messages[k].seq;
		}
	}
	return lowest;
}

/* What has become of one record. Returns whether it will be sent again though it was sent. */
static bool check_record(struct life *l, int lane, int i, uint64_t seq, bool is_clean)
{
	struct model_lane *m = &l->lanes[lane];
	const struct model_cursor *c = &m->cursors[i];
	struct model_record *r = model_record(m, seq);
	struct model_state *of = &r->of[i];
	bool is_again = of->is_open && of->is_sent;

	if (model_is_for(r, i) && seq >= c->first && r->is_acked && !of->is_open &&
	    !of->was_settled && seq > c->dropped) {
		bool is_skipped = seq <= fg_cursor_watermark(c->cursor);

		life_wrong(l, is_skipped ? &l->totals->skipped : &l->totals->lost,
			   "%s %s acked record %" PRIu64 ", watermark %" PRIu64, c->name,
			   is_skipped ? "skips" : "misses", seq, fg_cursor_watermark(c->cursor));
	}
	if (is_clean && of->is_open && of->is_settled && !m->has_many_ranges)
		life_wrong(l, &l->totals->excess_duplicates,
			   "%s sends settled record %" PRIu64 " again after a clean shutdown",
			   c->name, seq);
	of->is_in_flight = false;
	of->is_settled = !of->is_open;
	of->is_covered = !of->is_open || of->is_asked;
	if (of->is_open)
		of->is_sent = of->is_quarantined = false;
	of->is_open = of->is_asked = false;
	return is_again;
}

static void restore_behind(struct model_cursor *c)
{
	uint64_t key, from;

	memset(c->behind_from, 0, sizeof(c->behind_from));
	memset(c->behind_sent, 0, sizeof(c->behind_sent));
	for (size_t i = 0; fg_cursor_each_left_behind(c->cursor, i, &key, &from); i++)
		c->behind_from[key % N_KEYS] = from;
}

/* How many ranges a cursor has above its watermark: at most so many as there are holes. */
static unsigned count_ranges(struct model_lane *m, int i)
{
	unsigned n = 0;
	bool is_hole = false;

	for (uint64_t seq = m->cursors[i].verified + 1; seq < m->next_seq; seq++) {
		const struct model_record *r = model_record(m, seq);
		bool was_hole = is_hole;

		is_hole = model_is_for(r, i) && !r->of[i].is_covered;
		n += was_hole && !is_hole;
	}
	return n;
}

/*
 * More ranges than a table holds for certain: then some are forgotten, and it is no wonder that they
 * are sent again. One that was left out of the newest table may be so a little longer.
 */
static void look_at_ranges(struct life *l, struct model_lane *m)
{
	bool had_many = m->had_many_ranges;

	m->had_many_ranges = false;
	for (int i = 0; i < N_LINKS; i++)
		if (count_ranges(m, i) > RANGES_KEPT)
			m->had_many_ranges = true;
	m->has_many_ranges = m->had_many_ranges || had_many;
	l->totals->many_ranges += m->has_many_ranges;
}

static void check_cursor(struct life *l, int lane, int i, bool is_clean)
{
	struct model_lane *m = &l->lanes[lane];
	struct model_cursor *c = &m->cursors[i];
	uint64_t duplicates = 0, from, lowest;

	restore_behind(c);
	c->n_in_flight = 0;
	from = fg_pass_position(c->live);
	if (from > c->verified + 1)
		from = c->verified + 1;
	lowest = read_open(l, lane, i);
	for (uint64_t seq = from; seq < m->next_seq; seq++)
		duplicates += check_record(l, lane, i, seq, is_clean);
	l->totals->duplicates += duplicates;
	if (duplicates > c->max_unsaved && !m->has_many_ranges)
		life_wrong(l, &l->totals->excess_duplicates,
			   "%s sends %" PRIu64 " records again, %" PRIu64 " allowed", c->name,
			   duplicates, c->max_unsaved);
	c->verified = lowest != UINT64_MAX ? lowest - 1 : fg_cursor_end(c->cursor) - 1;
	/* Made anew, in front of where it first was: what came between was lost, and never acked. */
	if (c->first > c->verified + 1)
		c->first = c->verified + 1;
	fg_pass_seek(c->live, c->verified + 1);
}

static void check_link(struct life *l, int lane, int i, bool is_clean)
{
	struct model_cursor *c = &l->lanes[lane].cursors[i];
	int r;

	/* The last one comes later; see open_late(). */
	if (!c->was_opened && i + 1 == N_LINKS)
		return;
	r = fg_cursor_open(l->j, (enum fg_lane)lane, c->name, c->max_unsaved, &c->cursor);
	if (r < 0) {
		life_wrong(l, &l->totals->start_failures, "cursor %s: %d", c->name, r);
		return;
	}
	if (fg_pass_open(c->cursor, &c->live) < 0 || fg_pass_open(c->cursor, &c->behind) < 0)
		abort();
	fg_cursor_set_caps(c->cursor, c->max_bytes, c->max_age_ms);
	if (c->was_opened) {
		check_cursor(l, lane, i, is_clean);
		return;
	}
	c->was_opened = true;
	c->verified = fg_cursor_watermark(c->cursor);
	c->first = c->verified + 1;
}

/* ---- after a start: quarantine */

static int find_quarantined(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct life *l = arg;
	uint64_t stamp;

	if (q->body.size != sizeof(stamp))
		return 0;
	memcpy(&stamp, q->body.data, sizeof(stamp));
	for (size_t i = 0; i < l->n_quarantined; i++)
		if (l->quarantined[i].stamp == stamp &&
		    l->quarantined[i].link == q->link.data[q->link.size - 1] - '0' &&
		    (l->quarantined[i].number == 0 || l->quarantined[i].number == number)) {
			l->quarantined[i].number = number;
			l->quarantined[i].is_found = true;
			return 0;
		}
	return 0;
}

/* Is what was appended in its place there? */
static bool is_sent_again(struct life *l, const struct model_quarantined *q,
			  const uint64_t *next_seq)
{
	return q->is_settled && q->seq != 0 && q->seq < next_seq[q->lane] &&
	       model_record(&l->lanes[q->lane], q->seq)->stamp == q->seq_stamp;
}

/* Returns whether it is still in quarantine. */
static bool check_quarantined(struct life *l, struct model_quarantined *q, const uint64_t *next_seq)
{
	const struct model_record *r = model_record(&l->lanes[q->lane], q->of);
	const struct model_cursor *c = &l->lanes[q->lane].cursors[q->link];
	bool is_found = q->is_found;

	q->is_found = false;
	if (is_found) {
		if (q->is_settling_acked)
			life_wrong(l, &l->totals->quarantine_lost,
				   "message %" PRIu64 " was settled and is in quarantine",
				   q->number);
		q->is_acked = true;
		q->is_settled = false;
		return true;
	}
	if (is_sent_again(l, q, next_seq))
		return false;
	/* One that was given up to a cap may have come back from the cloud after that. */
	if (q->is_acked ||
	    (q->of > c->dropped && r->stamp == q->stamp && r->of[q->link].is_quarantined))
		life_wrong(l, &l->totals->quarantine_lost,
			   "record %" PRIu64 " of %s went into quarantine and is not there", q->of,
			   c->name);
	return false;
}

static void check_quarantine(struct life *l, const uint64_t *next_seq)
{
	struct fg_error err = {.text = ""};
	size_t n_kept = 0;

	if (fg_journal_each_quarantined(l->options.fs, 0, find_quarantined, l, &err) != 0)
		life_wrong(l, &l->totals->quarantine_lost, "quarantine: %s", err.text);
	for (size_t i = 0; i < l->n_quarantined; i++)
		if (check_quarantined(l, &l->quarantined[i], next_seq))
			l->quarantined[n_kept++] = l->quarantined[i];
	l->n_quarantined = n_kept;
}

/* ---- the whole */

void check_forget_session(struct life *l)
{
	l->room_misses = 0;
	l->has_committed = false;
	l->n_starts++;
	l->n_saves += l->n_saves_now;
	l->n_saves_now = 0;
	for (int k = 0; k < FG_N_CURSOR_LANES; k++) {
		struct model_lane *m = &l->lanes[k];

		for (int i = 0; i < N_LINKS; i++) {
			m->cursors[i].told = m->cursors[i].dropped_now = 0;
			m->cursors[i].is_blurred = false;
		}
		/* Tickets start anew; what was not acked before will not be. */
		for (uint64_t seq = m->next_seq; seq-- > 1;) {
			struct model_record *r = model_record(m, seq);

			if (r->is_acked)
				break;
			r->ticket = UINT64_MAX;
		}
	}
	for (size_t i = 0; i < l->n_quarantined; i++) {
		if (!l->quarantined[i].is_acked)
			l->quarantined[i].ticket = UINT64_MAX;
		if (!l->quarantined[i].is_settling_acked)
			l->quarantined[i].settle_ticket = UINT64_MAX;
	}
}

/* What is there after a start may be relied on, whether it was acked or not. */
static void rely_on_found(struct model_lane *m)
{
	for (uint64_t seq = 1; seq < m->next_seq; seq++) {
		struct model_record *r = model_record(m, seq);

		r->is_acked = r->is_acked || r->is_found;
		r->is_found = false;
	}
}

static void forget_unacked(struct model_lane *m, uint64_t next_seq)
{
	for (uint64_t seq = next_seq; seq < m->next_seq; seq++)
		*model_record(m, seq) = (struct model_record){0};
	m->next_seq = next_seq;
}

void check_all(struct life *l, bool is_clean)
{
	uint64_t next_seq[FG_N_CURSOR_LANES];
	struct fg_journal_stats stats;

	fg_journal_get_stats(l->j, &stats);
	next_seq[FG_LANE_MAIN] = stats.next_seq;
	next_seq[FG_LANE_ALARM] = stats.alarm_next_seq;
	for (int k = 0; k < FG_N_CURSOR_LANES; k++) {
		look_at_ranges(l, &l->lanes[k]);
		for (int i = 0; i < N_LINKS; i++)
			check_link(l, k, i, is_clean);
	}
	check_quarantine(l, next_seq);
	for (int k = 0; k < FG_N_CURSOR_LANES; k++) {
		rely_on_found(&l->lanes[k]);
		forget_unacked(&l->lanes[k], next_seq[k]);
	}
}
