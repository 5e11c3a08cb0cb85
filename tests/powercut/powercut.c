/* clang-format off */
/*
 * Power cuts, thousands of them: a gateway's life on a simulated disk, with a model of what was
 * promised to whom, and after each cut a check that it was kept.
 *
 *	powercut [--cuts N] [--seed S] [--json] [--sabotage skip-sync|skip-dir-sync] [--verbose]
 *
 * A run is a row of lives, each with a disk of its own and a seed made from S and the life's
 * number; a life ends after a few dozen cuts. Some lives also have a disk that fails now and then,
 * or a limit so small that segments are dropped, or that says no to new records, or records that
 * get too old, or links with caps of their own; clocks step by years. What must hold after each cut:
 *
 *   loss         a record whose ticket was committed is there with its bytes, for each link that
 *                had not settled it, unless the link was told that it was lost to a cap
 *   policy       a link is told of such a loss only when that cap is set, and of as many records as
 *                there are; nothing younger than its age; and the journal never passes its limit
 *   skip         no watermark is above what the link had settled
 *   quarantine   what a saved watermark counts as settled because it went into quarantine is there
 *   duplicates   of what a link had sent, no more than max_unsaved records are above its watermark
 *   alarm        no link is told of damage where there is none, nor of a loss after the cut that
 *                was none
 *   start        the journal opens
 *
 * Exit status 1 and the life's seed when any does not; --seed with that number and --life replays
 * it.
 */
/* clang-format on */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/journal.h"
#include "simdisk.h"
#include "util/bytes.h"
#include "util/span.h"

#define N_LINKS 3
#define CUTS_PER_LIFE 40
#define BATCH_BYTES 4096
#define SEGMENT_BYTES 16384
#define READ_MAX 16
#define TABLE_FILE_BYTES (4096 + 512)
#define TABLES_UNKNOWN 8 /* of a former run, more than a cursor can remember */
#define STEP_US (INT64_C(20) * 365 * 86400 * 1000000)

/* What became of one sequence number. */
struct model_record {
	uint64_t stamp; /* its body starts with it; 0: none */
	uint64_t ticket;
	uint32_t size;
	int64_t aged_ms; /* the life's true time when it was appended */
	bool is_acked;   /* its ticket was committed: a promise */
	bool is_sent[N_LINKS];
	bool is_quarantined[N_LINKS];
};

struct model_link {
	char name[8];
	uint64_t max_unsaved;
	uint64_t max_bytes; /* caps of its own, or 0 */
	int64_t max_age_ms;
	struct fg_cursor *cursor;
	bool was_opened;
	uint64_t first;        /* records below are none of its business */
	uint64_t sent_to;      /* in this session: what was sent above is in flight */
	uint64_t settled;      /* all up to here were acked by the cloud, or quarantined */
	uint64_t ever_settled; /* before a cut, too */
	uint64_t dropped;      /* a cap has taken all up to here, and the link was told */
	uint64_t dropped_now;  /* the same since the journal was opened */
	bool is_blurred;       /* something was missing since then: told of it once */
	uint64_t told;         /* of so many records since the journal was opened */
};

struct totals {
	uint64_t cuts, kills, clean, lives, appended, acked, recovered, lost, skipped, duplicates,
		excess_duplicates, start_failures, quarantine_lost, false_alarms, dropped, refused,
		policy;
};

struct life {
	struct sim_disk *disk;
	struct fg_journal *j;
	struct fg_journal_options options;
	struct model_link links[N_LINKS];
	struct model_record *records; /* by sequence number */
	uint64_t capacity;
	uint64_t next_stamp;
	uint64_t next_seq; /* one above the newest that was appended */
	int64_t now_ms;
	int64_t life_ms;      /* true time, on and off */
	int64_t utc_us;       /* what the gateway takes for it */
	uint64_t room_misses; /* appends that found no room, since the start */
	bool has_flushed;     /* since the start */
	uint64_t n_starts;    /* since there was room */
	bool has_faults, has_limit;
	bool is_wrong;
	uint64_t number, seed;
	struct totals *totals;
	bool is_verbose;
};

static void wrong(struct life *l, uint64_t *counter, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void wrong(struct life *l, uint64_t *counter, const char *format, ...)
{
	va_list args;

	(*counter)++;
	if (!l->is_wrong || l->is_verbose) {
		va_start(args, format);
		fprintf(stderr, "life %" PRIu64 ": ", l->number);
		vfprintf(stderr, format, args);
		fputc('\n', stderr);
		va_end(args);
	}
	l->is_wrong = true;
}

static uint64_t chance(struct life *l, uint64_t n)
{
	return sim_disk_random(l->disk, n);
}

static struct model_record *record(struct life *l, uint64_t seq)
{
	if (seq >= l->capacity) {
		uint64_t capacity = seq * 2 + 1024;

		l->records = realloc(l->records, capacity * sizeof(*l->records));
		if (!l->records)
			abort();
		memset(l->records + l->capacity, 0, (capacity - l->capacity) * sizeof(*l->records));
		l->capacity = capacity;
	}
	return &l->records[seq];
}

/* ---- what the journal calls back */

static void committed(void *arg, uint64_t ticket)
{
	struct life *l = arg;

	/* Tickets rise with sequence numbers: from the newest down to the first that was acked
	 * before. */
	for (uint64_t seq = l->next_seq; seq-- > 1;) {
		struct model_record *m = record(l, seq);

		if (m->stamp == 0 || m->ticket > ticket)
			continue;
		if (m->is_acked)
			break;
		m->is_acked = true;
		l->totals->acked++;
	}
}

/* Is there a message up to @seq that the link neither had settled nor been told about? */
static bool has_messages(struct life *l, const struct model_link *link, uint64_t seq)
{
	for (; seq > link->dropped && seq > link->ever_settled; seq--)
		if (record(l, seq)->stamp != 0)
			return true;
	return false;
}

static bool is_policy(const char *why)
{
	return strcmp(why, "journal limit") == 0 || strcmp(why, "older than max_age") == 0 ||
	       strcmp(why, "beyond its max_backlog") == 0;
}

static int64_t age_cap(const struct life *l, const struct model_link *link)
{
	if (link->max_age_ms > 0 &&
	    (l->options.max_age_ms == 0 || link->max_age_ms < l->options.max_age_ms))
		return link->max_age_ms;
	return l->options.max_age_ms;
}

/* Messages up to @seq the link had neither settled nor been told about. */
static uint64_t unsettled(struct life *l, const struct model_link *link, uint64_t seq)
{
	uint64_t n = 0;

	for (; seq > link->dropped_now && seq > link->settled; seq--)
		n += record(l, seq)->stamp != 0;
	return n;
}

/* A link lost @records up to @seq to a cap: is it set, are they as many, are they as old? */
static void told_of_policy(struct life *l, struct model_link *link, uint64_t records, uint64_t seq,
			   const char *why)
{
	bool is_age = strcmp(why, "older than max_age") == 0;
	bool is_own = strcmp(why, "beyond its max_backlog") == 0;
	bool is_limit = !is_age && !is_own;
	uint64_t least = unsettled(l, link, seq);

	if ((is_age && age_cap(l, link) == 0) || (is_own && link->max_bytes == 0) ||
	    (is_limit && (!l->has_limit || l->options.on_full != FG_ON_FULL_DROP_OLDEST)))
		wrong(l, &l->totals->policy, "link %s told of a cap that is not set: %s",
		      link->name, why);
	for (uint64_t s = seq; is_age && s > link->dropped && s > link->settled; s--)
		if (record(l, s)->stamp != 0 &&
		    l->life_ms - record(l, s)->aged_ms < age_cap(l, link))
			wrong(l, &l->totals->policy,
			      "link %s told that record %" PRIu64 " is too old at %" PRId64 " ms",
			      link->name, s, l->life_ms - record(l, s)->aged_ms);
	/* Numbers of tables may be among them that nobody has read over since the start. */
	if (!l->has_faults && !link->is_blurred &&
	    (records < least || records > least + TABLES_UNKNOWN))
		wrong(l, &l->totals->policy,
		      "link %s told of %" PRIu64 " records up to %" PRIu64 ", %" PRIu64
		      " were lost",
		      link->name, records, seq, least);
	l->totals->dropped += least;
	link->told += records;
	link->dropped_now = seq;
	if (seq > link->dropped)
		link->dropped = seq;
}

static void lost(void *arg, const char *name, uint64_t records, uint64_t seq, const char *why)
{
	struct life *l = arg;

	for (int i = 0; i < N_LINKS; i++) {
		struct model_link *link = &l->links[i];

		if (strcmp(link->name, name) != 0)
			continue;
		if (is_policy(why)) {
			told_of_policy(l, link, records, seq, why);
			continue;
		}
		link->is_blurred = true;
		/* With errors on top, records that were never acked may come and go. */
		if (!l->has_faults && has_messages(l, link, seq))
			wrong(l, &l->totals->false_alarms,
			      "link %s told of loss up to %" PRIu64 ": %s", name, seq, why);
	}
}

/* ---- a day in the life */

static void make_body(char *body, uint64_t stamp, size_t size)
{
	fg_put_le64(body, stamp);
	for (size_t i = 8; i < size; i++)
		body[i] = (char)(stamp * 31 + i * 7);
}

static bool is_body(struct fg_span body, uint64_t stamp, size_t size)
{
	char expected[BATCH_BYTES];

	if (body.size != size)
		return false;
	make_body(expected, stamp, size);
	return memcmp(body.data, expected, size) == 0;
}

static void append(struct life *l)
{
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("pump")};
	struct model_record *m;
	char body[BATCH_BYTES];
	size_t size = 8 + chance(l, 180);
	uint64_t seq;

	if (chance(l, 40) == 0)
		size = 8 + chance(l, BATCH_BYTES - 100);
	make_body(body, l->next_stamp, size);
	msg.body = fg_span_of(body, size);
	if (fg_journal_append(l->j, &msg, &seq) < 0)
		return;
	if (seq == 0) {
		if (l->options.on_full != FG_ON_FULL_DROP_NEWEST)
			wrong(l, &l->totals->policy, "a record was dropped that need not be");
		l->room_misses++;
		l->totals->refused++;
		return;
	}
	m = record(l, seq);
	*m = (struct model_record){
		.stamp = l->next_stamp++,
		.size = (uint32_t)size,
		.ticket = fg_journal_ticket(l->j),
		.aged_ms = l->life_ms,
	};
	/* Cursor tables take numbers too. */
	for (uint64_t s = l->next_seq; s < seq; s++)
		*record(l, s) = (struct model_record){0};
	l->next_seq = seq + 1;
	l->totals->appended++;
}

static void check_read(struct life *l, int i, const struct fg_message *msg)
{
	struct model_record *m = record(l, msg->seq);

	if (m->stamp == 0 || !is_body(msg->body, m->stamp, m->size))
		wrong(l, &l->totals->lost, "link %s read wrong bytes in record %" PRIu64,
		      l->links[i].name, msg->seq);
}

static void send_some(struct life *l, int i)
{
	struct model_link *link = &l->links[i];
	struct fg_message messages[READ_MAX];
	int n;

	fg_cursor_seek(link->cursor, link->sent_to + 1);
	n = fg_cursor_read(link->cursor, messages, 1 + chance(l, READ_MAX));
	for (int k = 0; k < n; k++) {
		struct model_record *m = record(l, messages[k].seq);

		if (!fg_cursor_may_send(link->cursor, messages[k].seq))
			return;
		check_read(l, i, &messages[k]);
		m->is_sent[i] = true;
		link->sent_to = messages[k].seq;
	}
}

/* The cloud acknowledges some of what is in flight; now and then it refuses one message for good.
 */
static void settle_some(struct life *l, int i)
{
	struct model_link *link = &l->links[i];
	uint64_t from = fg_cursor_watermark(link->cursor);
	uint64_t to;

	if (link->sent_to <= from)
		return;
	to = from + 1 + chance(l, link->sent_to - from);
	if (chance(l, 8) == 0 && record(l, to)->stamp != 0) {
		struct fg_quarantined q = {.reason = fg_span_str("refused"),
					   .kind = FG_TELEMETRY,
					   .link = fg_span_str(link->name)};
		char stamp[8];

		fg_put_le64(stamp, record(l, to)->stamp);
		q.body = fg_span_of(stamp, sizeof(stamp));
		if (fg_journal_quarantine(l->j, &q) < 0)
			return;
		record(l, to)->is_quarantined[i] = true;
	}
	fg_cursor_ack(link->cursor, to);
	link->settled = to;
	if (to > link->ever_settled)
		link->ever_settled = to;
}

/* A link that is configured while the gateway runs: from then on nothing acked may pass it by. */
static void open_late(struct life *l, struct model_link *link)
{
	if (fg_cursor_open(l->j, link->name, link->max_unsaved, &link->cursor) < 0)
		return;
	fg_cursor_set_caps(link->cursor, link->max_bytes, link->max_age_ms);
	link->was_opened = true;
	link->settled = link->sent_to = fg_cursor_watermark(link->cursor);
	link->first = link->settled + 1;
}

static int64_t life_utc_us(void *arg)
{
	struct life *l = arg;

	return l->utc_us;
}

static void pass(struct life *l, int64_t ms)
{
	l->now_ms += ms;
	l->life_ms += ms;
	l->utc_us += ms * 1000;
}

/* What holds at any moment: the limit, and that losses are counted as they are told. */
static void check_policy(struct life *l)
{
	struct fg_journal_stats stats;
	uint64_t limit;

	fg_journal_get_stats(l->j, &stats);
	if (stats.bytes_on_disk + 2 * SEGMENT_BYTES < l->options.max_bytes)
		l->n_starts = 0;
	/* A start in a full journal may need a file for a cursor table, beyond what is reserved. */
	limit = l->options.max_bytes;
	if (l->options.on_full != FG_ON_FULL_DROP_OLDEST)
		limit += l->n_starts * TABLE_FILE_BYTES;
	/* A file whose removal was not on disk may be back after a cut; it goes with the first
	 * flush. */
	if (!l->has_faults && l->has_flushed && stats.bytes_on_disk > limit)
		wrong(l, &l->totals->policy,
		      "%" PRIu64 " bytes on disk, %" PRIu64 " allowed, on_full %d",
		      stats.bytes_on_disk, limit, (int)l->options.on_full);
	if (stats.refused_records != l->room_misses)
		wrong(l, &l->totals->policy, "%" PRIu64 " records refused, %" PRIu64 " counted",
		      l->room_misses, stats.refused_records);
	for (int i = 0; i < N_LINKS; i++) {
		uint64_t losses[FG_N_LOSSES];

		if (!l->links[i].was_opened)
			continue;
		fg_cursor_get_losses(l->links[i].cursor, losses);
		if (losses[FG_LOSS_LIMIT] + losses[FG_LOSS_AGE] + losses[FG_LOSS_OWN_LIMIT] !=
		    l->links[i].told)
			wrong(l, &l->totals->policy, "link %s: losses are not counted as told",
			      l->links[i].name);
	}
}

static void live(struct life *l)
{
	int i = (int)chance(l, N_LINKS);

	if (!l->links[i].was_opened) {
		if (chance(l, 20) == 0)
			open_late(l, &l->links[i]);
		return;
	}
	pass(l, (int64_t)chance(l, 30));
	switch (chance(l, 8)) {
	case 0:
	case 1:
	case 2:
		for (uint64_t n = chance(l, 12); n > 0; n--)
			append(l);
		break;
	case 3:
	case 4:
		fg_journal_flush(l->j, l->now_ms);
		l->has_flushed = true;
		break;
	case 5:
		send_some(l, i);
		break;
	case 6:
		settle_some(l, i);
		break;
	default:
		if (chance(l, 10) == 0)
			pass(l, 6000);
		if (chance(l, 200) == 0)
			l->utc_us += (chance(l, 2) ? 1 : -1) * STEP_US;
		fg_journal_tick(l->j, l->now_ms);
		break;
	}
	check_policy(l);
}

/* ---- after the cut */

static void check_watermark(struct life *l, int i, bool is_clean)
{
	struct model_link *link = &l->links[i];
	uint64_t watermark = fg_cursor_watermark(link->cursor);
	uint64_t known = link->ever_settled > link->dropped ? link->ever_settled : link->dropped;
	uint64_t duplicates = 0;

	for (uint64_t seq = known + 1; seq <= watermark && seq < l->next_seq; seq++)
		if (record(l, seq)->stamp != 0 && record(l, seq)->is_acked && seq >= link->first)
			wrong(l, &l->totals->skipped,
			      "link %s skips acked record %" PRIu64 ", settled %" PRIu64
			      " watermark %" PRIu64,
			      link->name, seq, link->settled, watermark);
	for (uint64_t seq = watermark + 1; seq < l->next_seq; seq++) {
		duplicates += record(l, seq)->is_sent[i];
		record(l, seq)->is_quarantined[i] = false;
	}
	if (is_clean)
		for (uint64_t seq = watermark + 1; seq <= link->settled; seq++)
			if (record(l, seq)->is_sent[i])
				wrong(l, &l->totals->excess_duplicates,
				      "link %s sends settled record %" PRIu64
				      " again after a clean shutdown",
				      link->name, seq);
	l->totals->duplicates += duplicates;
	if (duplicates > link->max_unsaved)
		wrong(l, &l->totals->excess_duplicates,
		      "link %s sends %" PRIu64 " records again, %" PRIu64 " allowed", link->name,
		      duplicates, link->max_unsaved);
	link->settled = watermark;
	link->sent_to = watermark;
}

/*
 * Is it a loss that @seq is not there? Not when the limit took it and the link was told, nor when
 * the cloud had it before the cut: a segment may go that only a watermark not yet on disk has
 * passed.
 */
static bool is_missed(struct life *l, const struct model_link *link, uint64_t seq)
{
	return record(l, seq)->is_acked && seq > link->dropped && seq > link->ever_settled;
}

static void check_records(struct life *l, int i)
{
	struct model_link *link = &l->links[i];
	uint64_t expected = fg_cursor_watermark(link->cursor) + 1;
	struct fg_message messages[READ_MAX];
	int n;

	fg_cursor_seek(link->cursor, expected);
	while ((n = fg_cursor_read(link->cursor, messages, READ_MAX)) > 0)
		for (int k = 0; k < n; k++) {
			for (; expected < messages[k].seq; expected++)
				if (is_missed(l, link, expected))
					wrong(l, &l->totals->lost,
					      "link %s misses acked record %" PRIu64, link->name,
					      expected);
			check_read(l, i, &messages[k]);
			l->totals->recovered++;
			expected++;
			fg_cursor_seek(link->cursor, expected);
		}
	if (n < 0)
		wrong(l, &l->totals->lost, "link %s cannot read on at %" PRIu64, link->name,
		      expected);
	for (; expected < l->next_seq; expected++)
		if (is_missed(l, link, expected))
			wrong(l, &l->totals->lost,
			      "link %s misses acked record %" PRIu64 " at the end", link->name,
			      expected);
	fg_cursor_seek(link->cursor, link->sent_to + 1);
}

struct stamps {
	uint64_t *stamps;
	uint64_t n, capacity;
};

static int add_stamp(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct stamps *s = arg;

	(void)number;
	if (q->body.size != 8)
		return 0;
	if (s->n == s->capacity) {
		s->capacity = s->capacity * 2 + 64;
		s->stamps = realloc(s->stamps, s->capacity * sizeof(*s->stamps));
		if (!s->stamps)
			abort();
	}
	s->stamps[s->n++] = fg_get_le64(q->body.data);
	return 0;
}

static void check_quarantine(struct life *l)
{
	struct stamps found = {0};
	struct fg_error err = {.text = ""};

	if (fg_journal_each_quarantined(l->options.fs, 0, add_stamp, &found, &err) != 0)
		wrong(l, &l->totals->quarantine_lost, "quarantine: %s", err.text);
	for (int i = 0; i < N_LINKS; i++)
		for (uint64_t seq = 1; seq <= l->links[i].settled && seq < l->next_seq; seq++) {
			const struct model_record *m = record(l, seq);
			bool is_found = false;

			if (!m->is_quarantined[i])
				continue;
			for (uint64_t k = 0; k < found.n && !is_found; k++)
				is_found = found.stamps[k] == m->stamp;
			if (!is_found)
				wrong(l, &l->totals->quarantine_lost,
				      "link %s settled record %" PRIu64
				      " but it is not in quarantine",
				      l->links[i].name, seq);
		}
	free(found.stamps);
}

/* Open, with a cut in the middle of it now and then. */
static bool open_journal(struct life *l)
{
	struct fg_error err = {.text = ""};
	int r;

	l->room_misses = 0;
	l->has_flushed = false;
	l->n_starts++;
	for (int i = 0; i < N_LINKS; i++) {
		l->links[i].told = l->links[i].dropped_now = 0;
		l->links[i].is_blurred = false;
	}

	/* Tickets start anew; what was not acked before will not be. */
	for (uint64_t seq = l->next_seq; seq-- > 1;)
		if (!record(l, seq)->is_acked)
			record(l, seq)->ticket = UINT64_MAX;
	for (;;) {
		bool may_cut = chance(l, 4) == 0;

		if (may_cut)
			sim_disk_cut_in(l->disk, 1 + chance(l, 8));
		r = fg_journal_open(&l->options, &l->j, &err);
		if (sim_disk_is_off(l->disk)) {
			if (r == 0)
				l->j = fg_journal_free(l->j);
			sim_disk_power_on(l->disk);
			l->totals->cuts++;
			continue;
		}
		sim_disk_cut_in(l->disk, 0);
		if (r == 0)
			return true;
		wrong(l, &l->totals->start_failures, "does not start: %d %s", r, err.text);
		return false;
	}
}

static void forget_unacked(struct life *l)
{
	struct fg_journal_stats stats;

	fg_journal_get_stats(l->j, &stats);
	for (uint64_t seq = stats.next_seq; seq < l->next_seq; seq++)
		*record(l, seq) = (struct model_record){0};
	l->next_seq = stats.next_seq;
}

static void check_all(struct life *l, bool is_clean)
{
	for (int i = 0; i < N_LINKS; i++) {
		struct model_link *link = &l->links[i];
		int r;

		/* The last one comes later; see open_late(). */
		if (!link->was_opened && i + 1 == N_LINKS)
			continue;
		r = fg_cursor_open(l->j, link->name, link->max_unsaved, &link->cursor);
		if (r < 0)
			wrong(l, &l->totals->start_failures, "cursor %s: %d", link->name, r);
		fg_cursor_set_caps(link->cursor, link->max_bytes, link->max_age_ms);
		if (!link->was_opened) {
			link->was_opened = true;
			link->settled = link->sent_to = fg_cursor_watermark(link->cursor);
			link->first = link->settled + 1;
			continue;
		}
		check_watermark(l, i, is_clean);
		check_records(l, i);
	}
	check_quarantine(l);
	forget_unacked(l);
}

/* From one start to the next: by a cut, a kill or a clean shutdown. */
static void run_once(struct life *l)
{
	uint64_t end = chance(l, 20);

	sim_disk_fail_one_in(l->disk, l->has_faults ? 10 + (unsigned)chance(l, 200) : 0);
	if (end != 1)
		sim_disk_cut_in(l->disk, 1 + chance(l, chance(l, 2) ? 8 : 60));
	for (uint64_t n = 20 + chance(l, 400); n > 0 && !sim_disk_is_off(l->disk); n--)
		live(l);
	sim_disk_cut_in(l->disk, 0);
	sim_disk_fail_one_in(l->disk, 0);
	if (end == 1 && !sim_disk_is_off(l->disk)) {
		l->j = fg_journal_free(l->j);
		sim_disk_restart(l->disk);
		l->totals->clean++;
	} else {
		bool is_killed = end == 0;

		sim_disk_cut(l->disk);
		l->j = fg_journal_free(l->j);
		if (is_killed)
			sim_disk_restart(l->disk);
		else
			sim_disk_power_on(l->disk);
		l->totals->kills += is_killed;
		l->totals->cuts += !is_killed;
	}
	/* It was off for a while, and does not know how long when the clock was set meanwhile. */
	l->now_ms += 1000;
	l->life_ms += 1000;
	if (chance(l, 2)) {
		int64_t away_ms = (int64_t)chance(l, 100000);

		l->life_ms += away_ms;
		l->utc_us += away_ms * 1000;
	}
	if (chance(l, 10) == 0)
		l->utc_us += (chance(l, 2) ? 1 : -1) * STEP_US;
	if (open_journal(l))
		check_all(l, end == 1);
}

static bool run_life(uint64_t number, uint64_t seed, enum sim_sabotage sabotage, uint64_t cuts,
		     bool is_verbose, struct totals *totals)
{
	struct life l = {
		.number = number,
		.next_stamp = 1,
		.next_seq = 1,
		.now_ms = 1000,
		.utc_us = INT64_C(1700000000000000),
		.totals = totals,
		.is_verbose = is_verbose,
	};
	bool has_age, has_own;
	uint64_t until = totals->cuts + (cuts < CUTS_PER_LIFE ? cuts : CUTS_PER_LIFE);

	l.disk = sim_disk_new(seed + number * 0x9e3779b97f4a7c15u, sabotage);
	l.has_faults = chance(&l, 3) == 0;
	l.has_limit = chance(&l, 4) == 0;
	has_age = chance(&l, 4) == 0;
	has_own = chance(&l, 4) == 0;
	l.options = (struct fg_journal_options){
		.fs = sim_disk_fs(l.disk),
		.segment_bytes = SEGMENT_BYTES,
		.batch_bytes = BATCH_BYTES,
		.max_bytes = l.has_limit ? 5 * SEGMENT_BYTES : UINT64_MAX,
		.on_full = l.has_limit ? (enum fg_on_full)chance(&l, 3) : FG_ON_FULL_DROP_OLDEST,
		.max_age_ms = has_age ? 2000 + (int64_t)chance(&l, 60000) : 0,
		.utc_us = life_utc_us,
		.max_quarantine_bytes = UINT64_MAX,
		.committed = committed,
		.lost = lost,
		.arg = &l,
	};
	for (int i = 0; i < N_LINKS; i++) {
		snprintf(l.links[i].name, sizeof(l.links[i].name), "link%d", i);
		l.links[i].max_unsaved = 1 + chance(&l, 60);
		if (has_own && chance(&l, 2))
			l.links[i].max_bytes = SEGMENT_BYTES + chance(&l, 4 * SEGMENT_BYTES);
		if (has_own && chance(&l, 2))
			l.links[i].max_age_ms = 2000 + (int64_t)chance(&l, 30000);
	}
	if (open_journal(&l))
		check_all(&l, false);
	while (!l.is_wrong && totals->cuts < until)
		run_once(&l);
	l.j = fg_journal_free(l.j);
	sim_disk_free(l.disk);
	free(l.records);
	totals->lives++;
	return !l.is_wrong;
}

static int usage(const char *self)
{
	fprintf(stderr,
		"usage: %s [--cuts N] [--seed S] [--life L] [--json] [--verbose]\n"
		"       [--sabotage skip-sync|skip-dir-sync]\n",
		self);
	return 2;
}

static void print_totals(const struct totals *t, uint64_t seed, bool is_json)
{
	printf(is_json ? "{\"seed\": %" PRIu64 ", \"cuts\": %" PRIu64 ", \"kills\": %" PRIu64
			 ", \"clean_shutdowns\": %" PRIu64 ", \"lives\": %" PRIu64
			 ", \"appended\": %" PRIu64 ", \"acked\": %" PRIu64
			 ", \"recovered\": %" PRIu64 ", \"lost\": %" PRIu64
			 ", \"skipped\": %" PRIu64 ", \"quarantine_lost\": %" PRIu64
			 ", \"duplicated\": %" PRIu64 ", \"excess_duplicates\": %" PRIu64
			 ", \"false_alarms\": %" PRIu64 ", \"dropped_by_caps\": %" PRIu64
			 ", \"refused\": %" PRIu64 ", \"policy_broken\": %" PRIu64
			 ", \"start_failures\": %" PRIu64 "}\n"
		       : "seed %" PRIu64 ": cuts %" PRIu64 ", kills %" PRIu64
			 ", clean shutdowns %" PRIu64 ", lives %" PRIu64 "\n"
			 "appended %" PRIu64 ", acked %" PRIu64 ", read after restarts %" PRIu64
			 "\nlost %" PRIu64 ", skipped %" PRIu64 ", lost from quarantine %" PRIu64
			 "\nsent twice %" PRIu64 ", beyond the bound %" PRIu64
			 ", false alarms %" PRIu64 "\n"
			 "dropped by caps %" PRIu64 ", refused %" PRIu64
			 ", against the policy %" PRIu64 ", start failures %" PRIu64 "\n",
	       seed, t->cuts, t->kills, t->clean, t->lives, t->appended, t->acked, t->recovered,
	       t->lost, t->skipped, t->quarantine_lost, t->duplicates, t->excess_duplicates,
	       t->false_alarms, t->dropped, t->refused, t->policy, t->start_failures);
}

int main(int argc, char **argv)
{
	enum sim_sabotage sabotage = SIM_HONEST;
	uint64_t cuts = 1000, seed = 1, life = 0;
	bool is_json = false, is_verbose = false, is_one_life = false;
	struct totals totals = {0};
	bool is_good = true;

	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--json") == 0) {
			is_json = true;
			continue;
		}
		if (strcmp(argv[i], "--verbose") == 0) {
			is_verbose = true;
			continue;
		}
		if (strcmp(argv[i], "--cuts") == 0)
			cuts = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--life") == 0) {
			life = strtoull(value, NULL, 10);
			is_one_life = true;
		} else if (strcmp(argv[i], "--sabotage") == 0 && strcmp(value, "skip-sync") == 0)
			sabotage = SIM_SKIP_SYNC;
		else if (strcmp(argv[i], "--sabotage") == 0 && strcmp(value, "skip-dir-sync") == 0)
			sabotage = SIM_SKIP_DIR_SYNC;
		else
			return usage(argv[0]);
		i++;
	}
	while (is_good && totals.cuts < cuts) {
		is_good = run_life(life, seed, sabotage, cuts - totals.cuts, is_verbose, &totals);
		if (!is_good)
			fprintf(stderr, "replay with: --seed %" PRIu64 " --life %" PRIu64 "\n",
				seed, life);
		if (is_one_life)
			break;
		life++;
	}
	print_totals(&totals, seed, is_json);
	return is_good ? 0 : 1;
}
