#include "journal/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "journal/journal_internal.h"
#include "util/cleanup.h"
#include "util/span.h"

/* Away for longer than this: rather a clock that was set. */
#define AWAY_MAX_MS (INT64_C(30) * 86400000)
#define SEGMENT_MAX ((size_t)1 << 30)
/* Of a cap, what a segment of a lane that rarely has anything takes; and of other segments. */
#define SMALL_SEGMENT_PART 8
/* Of a segment, what a cursor table may take. */
#define TABLE_PART 4

static const char *const lane_dirs[FG_N_LANES] = {"main", "alarm", "quarantine"};

/* ---- opening */

static size_t header_max(const struct fg_journal_options *o)
{
	return fg_segment_header_size(fg_cursor_table_min(o->max_left_behind));
}

/* So many ranges as are worth it, and always what may not be left out. */
static size_t table_room(const struct fg_journal_options *o, uint64_t segment_bytes)
{
	size_t most = fg_cursor_table_max(o->max_left_behind);
	size_t least = fg_cursor_table_min(o->max_left_behind);
	/* A whole batch goes into the same segment. */
	size_t left =
		(size_t)segment_bytes - header_max(o) - o->batch_bytes - FG_RECORD_OVERHEAD_MAX;
	size_t room = (size_t)segment_bytes / TABLE_PART;

	if (room > left)
		room = left;
	if (room < least)
		return least;
	return room < most ? room : most;
}

/* What one segment of a lane with cursors must be able to hold. */
static size_t segment_least(const struct fg_journal_options *o)
{
	return header_max(o) + o->batch_bytes + FG_RECORD_OVERHEAD_MAX +
	       fg_cursor_table_min(o->max_left_behind);
}

static int check_options(const struct fg_journal_options *o, struct fg_error *err)
{
	if (o->max_left_behind > FG_LEFT_BEHIND_MAX)
		return fg_error_set(err, -EINVAL,
				    "journal: %u sessions left behind, %d are possible",
				    o->max_left_behind, FG_LEFT_BEHIND_MAX);
	if (o->batch_bytes < 1024 || o->segment_bytes > SEGMENT_MAX ||
	    o->segment_bytes < 2 * o->batch_bytes || o->segment_bytes < segment_least(o))
		return fg_error_set(err, -EINVAL,
				    "journal: segments of %zu bytes do not go with batches of %zu",
				    o->segment_bytes, o->batch_bytes);
	return 0;
}

/* A lane that rarely has anything needs no large segments, but a whole batch must fit. */
static uint64_t small_segment_bytes(const struct fg_journal_options *o, uint64_t max_bytes)
{
	uint64_t bytes = max_bytes / SMALL_SEGMENT_PART;
	uint64_t least = segment_least(o);

	if (bytes > o->segment_bytes / SMALL_SEGMENT_PART)
		bytes = o->segment_bytes / SMALL_SEGMENT_PART;
	return bytes > least ? bytes : least;
}

static void init_lanes(struct fg_journal *j)
{
	const struct fg_journal_options *o = &j->options;
	const uint64_t max_bytes[FG_N_LANES] = {
		[FG_LANE_MAIN] = o->max_bytes,
		[FG_LANE_ALARM] = o->max_alarm_bytes > 0 ? o->max_alarm_bytes : o->max_bytes,
		[FG_LANE_QUARANTINE] = o->max_quarantine_bytes,
	};

	for (int i = 0; i < FG_N_LANES; i++) {
		struct fg_lane_state *s = &j->lanes[i];
		uint64_t segment_bytes =
			i == FG_LANE_MAIN ? o->segment_bytes : small_segment_bytes(o, max_bytes[i]);

		fg_segments_init(&s->segments, o->fs, lane_dirs[i], segment_bytes);
		s->capacity = o->batch_bytes;
		s->max_bytes = max_bytes[i];
		s->header_max = FG_SEGMENT_HEADER_BYTES;
		if (!fg_lane_has_cursors(i))
			continue;
		s->header_max = header_max(o);
		s->table_room = table_room(o, segment_bytes);
		j->cursors[i].lane = &s->segments;
		j->cursors[i].max_left_behind = o->max_left_behind;
		j->cursors[i].lost = o->lost;
		j->cursors[i].timekeeper = o->timekeeper;
		j->cursors[i].arg = o->arg;
	}
}

static void add_table(void *arg, uint64_t seq)
{
	fg_cursors_add_table(arg, seq);
}

static int start_writer(struct fg_journal *j, const struct fg_recovered *found)
{
	struct fg_writer_options o = {
		.fs = j->options.fs,
		.is_threaded = j->options.is_threaded,
		.notify = j->options.notify,
		.arg = j->options.arg,
	};

	for (int i = 0; i < FG_N_LANES; i++) {
		o.dirs[i] = lane_dirs[i];
		o.segment_bytes[i] = j->lanes[i].segments.segment_bytes;
		o.n_damaged[i] = found[i].n_damaged_files;
		o.passed_seqs[i] = found[i].passed_seq;
		memcpy(o.ids[i], j->lanes[i].segments.id, sizeof(o.ids[i]));
	}
	return fg_writer_new(&o, &j->writer);
}

/* All lanes are looked at before anything is changed in one of them. */
static int recover(struct fg_journal *j, struct fg_recovered *found, struct fg_error *err)
{
	struct fg_recovery *recoveries[FG_N_LANES] = {NULL};
	int r = 0;

	for (int i = 0; i < FG_N_LANES && r == 0; i++)
		r = fg_recovery_look(&j->lanes[i].segments,
				     fg_lane_has_cursors(i) ? add_table : NULL,
				     fg_lane_has_cursors(i) ? &j->cursors[i] : NULL, &recoveries[i],
				     &found[i], err);
	for (int i = 0; i < FG_N_LANES; i++) {
		if (r == 0) {
			fg_recovery_mend(recoveries[i]);
			j->lanes[i].next_seq = found[i].next_seq;
			j->unusable_files += found[i].n_unusable_files;
		}
		fg_recovery_free(recoveries[i]);
	}
	return r;
}

static int load_cursors(struct fg_journal *j, const struct fg_recovered *found)
{
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		struct fg_cursors *set = &j->cursors[i];
		uint64_t newest = found[i].next_seq - 1;
		int r;

		set->damaged_records = found[i].damaged_records + found[i].lost_records;
		set->lost_records = found[i].lost_records;
		r = fg_cursors_load(set, found[i].synced_table.data, found[i].synced_table.size,
				    newest);
		if (r == 0)
			r = fg_cursors_load_unsynced(set, found[i].table.data, found[i].table.size,
						     newest);
		if (r < 0)
			return r;
		fg_cursors_loaded(set, found[i].passed_seq);
	}
	return 0;
}

/* How long the daemon was away, by what one lane knew last; 0 when UTC does not tell. */
static int64_t away_ms(const struct fg_journal *j, const struct fg_recovered *found)
{
	int64_t away_us;

	if (found->utc_us <= 0 ||
	    __builtin_sub_overflow(fg_journal_utc_us(j), found->utc_us, &away_us) || away_us < 0 ||
	    away_us / 1000 > AWAY_MAX_MS)
		return 0;
	return away_us / 1000;
}

/*
 * Take the journal's clock up where the last daemon left it: the newest of all lanes tells. When
 * lanes agree on the clock but not on UTC, that has stepped in between, and which of them was
 * written before nobody knows: then what makes records younger is right.
 */
static void resume_clock(struct fg_journal *j, const struct fg_recovered *found)
{
	int64_t newest_ms = found[FG_LANE_MAIN].clock_ms;
	int64_t away = AWAY_MAX_MS;

	for (int i = 0; i < FG_N_CURSOR_LANES; i++)
		if (found[i].clock_ms > newest_ms)
			newest_ms = found[i].clock_ms;
	for (int i = 0; i < FG_N_CURSOR_LANES; i++)
		if (found[i].clock_ms == newest_ms && away_ms(j, &found[i]) < away)
			away = away_ms(j, &found[i]);
	j->last_now_ms = INT64_MIN;
	j->clock_ms = newest_ms + away;
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		struct fg_segments *l = &j->lanes[i].segments;

		j->lanes[i].clock_saved_ms = j->clock_ms;
		j->cursors[i].clock_ms = j->clock_ms;
		if (l->n == 0)
			continue;
		if (l->items[l->n - 1]->newest_ms > j->clock_ms)
			l->items[l->n - 1]->newest_ms = j->clock_ms;
		j->cursors[i].newest_ms = l->items[l->n - 1]->newest_ms;
	}
}

static int start(struct fg_journal *j, const struct fg_recovered *found)
{
	int r;

	r = load_cursors(j, found);
	if (r < 0)
		return r;
	resume_clock(j, found);
	r = fg_batches_new(j);
	if (r < 0)
		return r;
	return start_writer(j, found);
}

static void journal_freep(struct fg_journal **j)
{
	fg_journal_free(*j);
}

int fg_journal_open(const struct fg_journal_options *options, struct fg_journal **ret_journal,
		    struct fg_error *err)
{
	FG_CLEANUP(journal_freep) struct fg_journal *j = NULL;
	struct fg_recovered found[FG_N_LANES] = {{0}};
	int r;

	r = check_options(options, err);
	if (r < 0)
		return r;
	j = calloc(1, sizeof(*j));
	if (!j)
		return fg_error_set(err, -ENOMEM, "journal: out of memory");
	j->options = *options;
	j->retry_ms = FG_RETRY_MIN_MS;
	init_lanes(j);

	r = recover(j, found, err);
	if (r == 0) {
		r = start(j, found);
		if (r < 0)
			fg_error_set(err, r, "journal: cannot start: %s", strerror(-r));
	}
	for (int i = 0; i < FG_N_LANES; i++)
		fg_recovered_free(&found[i]);
	if (r < 0)
		return r;
	*ret_journal = j;
	j = NULL;
	return 0;
}

struct fg_journal *fg_journal_free(struct fg_journal *j)
{
	if (!j)
		return NULL;
	if (j->writer)
		fg_commit_last(j);
	fg_writer_free(j->writer);
	for (int i = 0; i < FG_N_CURSOR_LANES; i++)
		fg_cursors_free(&j->cursors[i]);
	for (int i = 0; i < FG_N_LANES; i++)
		fg_segments_free(&j->lanes[i].segments);
	fg_batches_free(j);
	free(j);
	return NULL;
}

/* ---- appending */

bool fg_journal_has_room(const struct fg_journal *j, size_t bytes)
{
	/* Nobody knows yet which lane it will be: a message that no rule fits goes to quarantine. */
	for (int i = 0; i < FG_N_LANES; i++)
		if (bytes + FG_RECORD_OVERHEAD_MAX >
		    j->lanes[i].capacity - j->gather->commit.parts[i].size)
			return false;
	if (j->options.on_full != FG_ON_FULL_STOP_ACK)
		return true;
	if (j->is_full)
		return false;
	for (int i = 0; i < FG_N_CURSOR_LANES; i++)
		if (fg_retention_would_pass_cap(j, i, bytes + FG_RECORD_OVERHEAD_MAX))
			return false;
	return true;
}

static bool is_message(const struct fg_message *m)
{
	return fg_record_is_message((unsigned)m->kind) && m->device.size > 0;
}

static bool is_note(const struct fg_message *m)
{
	/* One that says nothing would be smaller than any record may be. */
	return (unsigned)m->kind >= FG_NOTE_FIRST && (unsigned)m->kind <= UINT8_MAX &&
	       m->device.size + m->body.size > 0;
}

/* Of FG_MOMENT_BYTES at @moment, which this fills. */
static struct fg_span moment_now(const struct fg_journal *j, uint8_t *moment)
{
	fg_timekeeper_moment(j->options.timekeeper, moment);
	return fg_span_of(moment, FG_MOMENT_BYTES);
}

int fg_journal_append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
		      uint64_t *ret_seq)
{
	struct fg_lane_state *s = &j->lanes[lane];
	struct fg_commit_part *p = &j->gather->commit.parts[lane];
	struct fg_record r = {
		.seq = s->next_seq,
		.time_us = msg->time_us,
		.batch_index = p->n_records,
		.kind = (uint8_t)msg->kind,
		.time_quality = (uint8_t)msg->time_quality,
		.device = msg->device,
		.stream = msg->stream,
		.content_type = msg->content_type,
		.ref = msg->ref,
		.link = msg->link,
		.body = msg->body,
	};
	uint8_t moment[FG_MOMENT_BYTES];
	int64_t size;

	if (!fg_lane_has_cursors((int)lane) || (!is_message(msg) && !is_note(msg)))
		return -EINVAL;
	if (j->options.timekeeper && msg->time_quality == FG_TIME_UNSYNCHRONISED)
		r.unsynchronised = moment_now(j, moment);
	size = fg_record_size(&r);
	if (size < 0 || (uint64_t)size > s->capacity)
		return -EMSGSIZE;
	if ((uint64_t)size > s->capacity - p->size)
		return -EAGAIN;
	if (fg_retention_would_pass_cap(j, (int)lane, (size_t)size)) {
		if (j->options.on_full == FG_ON_FULL_STOP_ACK)
			return -ENOSPC;
		fg_cursors_refused(&j->cursors[lane]);
		j->refused_records++;
		fg_retention_tell_full(j, true);
		*ret_seq = 0;
		return 0;
	}
	p->size += fg_record_encode(&r, s->segments.seed, p->data + p->size);
	p->n_records++;
	j->gather->has_data = true;
	*ret_seq = s->next_seq++;
	return 0;
}

int fg_journal_quarantine(struct fg_journal *j, const struct fg_quarantined *q)
{
	struct fg_commit_part *p = &j->gather->commit.parts[FG_LANE_QUARANTINE];
	struct fg_lane_state *s = &j->lanes[FG_LANE_QUARANTINE];
	struct fg_quarantined stamped = *q;
	uint8_t moment[FG_MOMENT_BYTES];
	size_t size;

	if (j->options.timekeeper && q->kind == 0 && q->moment.size == 0 &&
	    q->time_quality == FG_TIME_UNSYNCHRONISED)
		stamped.moment = moment_now(j, moment);
	size = fg_quarantine_size(&stamped);
	/* What is too large even for an empty batch goes in cut: the reason matters most. */
	if (size > s->capacity)
		size = s->capacity;
	if (size > s->capacity - p->size)
		return -EAGAIN;
	size = fg_quarantine_encode(&stamped, s->next_seq, p->n_records, s->segments.seed,
				    p->data + p->size, s->capacity - p->size);
	if (size == 0)
		return -EMSGSIZE;
	p->size += size;
	p->n_records++;
	j->gather->has_data = true;
	s->next_seq++;
	return 0;
}

static uint64_t lane_first_seq(const struct fg_journal *j, int lane)
{
	const struct fg_segments *l = &j->lanes[lane].segments;

	return l->n > 0 ? l->items[0]->first_seq : l->end_seq;
}

int fg_journal_quarantine_settle(struct fg_journal *j, uint64_t number)
{
	if (number < lane_first_seq(j, FG_LANE_QUARANTINE) ||
	    number >= j->lanes[FG_LANE_QUARANTINE].next_seq)
		return -ENOENT;
	if (j->n_settles == FG_SETTLES_MAX)
		return -EAGAIN;
	j->settles[j->n_settles++] = number;
	fg_batch_take_settles(j);
	return 0;
}

uint64_t fg_journal_ticket(const struct fg_journal *j)
{
	return j->gather->has_data ? j->gather->commit.ticket : j->gather->commit.ticket - 1;
}

uint64_t fg_journal_settled_ticket(const struct fg_journal *j)
{
	return fg_journal_ticket(j) + (j->n_settles > 0 ? 1 : 0);
}

bool fg_journal_gathers(const struct fg_journal *j, uint64_t ticket)
{
	return ticket == j->gather->commit.ticket;
}

uint64_t fg_journal_committed(const struct fg_journal *j)
{
	return j->committed;
}

/* ---- the rest */

void fg_journal_get_stats(const struct fg_journal *j, struct fg_journal_stats *ret)
{
	const struct fg_lane_state *m = &j->lanes[FG_LANE_MAIN];
	const struct fg_lane_state *a = &j->lanes[FG_LANE_ALARM];
	const struct fg_segments *q = &j->lanes[FG_LANE_QUARANTINE].segments;

	*ret = (struct fg_journal_stats){
		.first_seq = lane_first_seq(j, FG_LANE_MAIN),
		.next_seq = m->next_seq,
		.synced_seq = m->segments.end_seq - 1,
		.bytes_on_disk = fg_segments_bytes(&m->segments),
		.alarm_first_seq = lane_first_seq(j, FG_LANE_ALARM),
		.alarm_next_seq = a->next_seq,
		.alarm_synced_seq = a->segments.end_seq - 1,
		.alarm_bytes = fg_segments_bytes(&a->segments),
		.quarantine_records = q->end_seq - lane_first_seq(j, FG_LANE_QUARANTINE),
		.quarantine_bytes = fg_segments_bytes(q),
		.commits = j->commits,
		.bytes_written = j->bytes_written,
		.cursor_saves = j->cursor_saves,
		.refused_records = j->refused_records,
		.unusable_files = j->unusable_files,
		.is_full = j->is_full,
	};
	for (int i = 0; i < FG_N_CURSOR_LANES; i++)
		ret->damaged_records += j->cursors[i].damaged_records;
}

int fg_cursor_open(struct fg_journal *j, enum fg_lane lane, const char *name, uint64_t max_unsaved,
		   struct fg_cursor **ret)
{
	if (!fg_lane_has_cursors((int)lane))
		return -EINVAL;
	return fg_cursors_open(&j->cursors[lane], name, max_unsaved, j->lanes[lane].next_seq - 1,
			       ret);
}
