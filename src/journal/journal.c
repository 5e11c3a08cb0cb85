#include "journal/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "journal/cursor.h"
#include "journal/record.h"
#include "journal/recovery.h"
#include "journal/segment.h"
#include "journal/writer.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/span.h"

#define SAVE_INTERVAL_MS 1000 /* with data that is written anyway */
#define IDLE_SAVE_MS 5000     /* without */
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 10000
/* Room at the end of a batch for a cursor table. */
#define TABLE_RECORD_MAX (FG_RECORD_OVERHEAD_MAX + FG_CURSOR_TABLE_MAX)
/*
 * Kept free below the cap where new records have to stay out, of a segment: cursors are saved all
 * the same, and each start makes a file for that.
 */
#define RESERVE_PART 4
#define RESERVE_MIN_BYTES (2 * (FG_SEGMENT_HEADER_BYTES + TABLE_RECORD_MAX))
/* Away for longer than this: rather a clock that was set. */
#define AWAY_MAX_MS (INT64_C(30) * 86400000)
#define SEGMENT_MAX ((size_t)1 << 30)
#define SWOLLEN_BYTES ((size_t)128 << 10)

static const char *const lane_dirs[FG_N_LANES] = {"main", "quarantine"};

struct batch {
	struct fg_commit commit;
	struct fg_cursor_save save;
	int64_t clock_ms; /* the journal's, when it was handed over */
	/* When the newest message was appended: in front of this, and with this. */
	int64_t before_ms, newest_ms;
	uint64_t table_seq; /* of the cursor table in it, or 0 */
	bool has_data;
};

struct fg_journal {
	struct fg_journal_options options;
	struct fg_segments lanes[FG_N_LANES];
	size_t capacity[FG_N_LANES];      /* of a batch */
	uint64_t next_seq[FG_N_LANES];    /* of the next append */
	uint64_t active_used[FG_N_LANES]; /* bytes; 0: no active segment */
	struct fg_cursors cursors;
	struct fg_writer *writer;

	struct batch batches[2];
	struct batch *gather;
	struct batch *in_flight; /* with the writer, or waiting for a retry */
	uint64_t committed;
	int64_t last_now_ms; /* the clock has been advanced to; INT64_MIN: not yet */
	int64_t clock_saved_ms;
	bool is_full; /* was told so; see `full` */
	uint64_t refused_records;
	int64_t gather_since_ms; /* first flush that saw something in it; INT64_MIN: none yet */
	int64_t last_save_ms;
	int64_t last_data_ms;
	bool is_calling_back;
	bool is_swollen; /* a batch was large: give the memory back when it is quiet */

	int trouble;     /* the negative errno that was reported, or 0 */
	bool is_waiting; /* for the retry of in_flight */
	int64_t retry_ms, retry_at_ms;

	uint64_t commits, bytes_written, cursor_saves;
};

/* ---- opening */

static int check_options(const struct fg_journal_options *o, struct fg_error *err)
{
	if (o->batch_bytes < 1024 || o->segment_bytes > SEGMENT_MAX ||
	    o->segment_bytes < 2 * o->batch_bytes ||
	    o->segment_bytes < FG_SEGMENT_HEADER_BYTES + o->batch_bytes + TABLE_RECORD_MAX)
		return fg_error_set(err, -EINVAL,
				    "journal: segments of %zu bytes do not go with batches of %zu",
				    o->segment_bytes, o->batch_bytes);
	return 0;
}

/* A lane that rarely has anything needs no large segments, but one message must fit. */
static uint64_t quarantine_segment_bytes(const struct fg_journal *j)
{
	uint64_t least = FG_SEGMENT_HEADER_BYTES + j->capacity[FG_LANE_QUARANTINE];
	uint64_t bytes = j->options.max_quarantine_bytes / 8;

	if (bytes < least)
		bytes = least;
	return bytes < j->options.segment_bytes ? bytes : j->options.segment_bytes;
}

static void batch_reset(struct fg_journal *j, struct batch *b, uint64_t ticket)
{
	struct fg_commit *c = &b->commit;

	b->save.is_any = false;
	b->table_seq = 0;
	b->has_data = false;
	c->ticket = ticket;
	c->bytes_written = 0;
	for (int i = 0; i < FG_N_LANES; i++) {
		struct fg_commit_part *p = &c->parts[i];

		p->size = 0;
		p->n_records = 0;
		p->first_seq = j->next_seq[i];
		p->n_retired = 0;
		p->is_tight = false;
		p->is_written = false;
		p->made_segment = false;
	}
}

/* Of a lane's share of a batch; in the main lane a cursor table may come on top. */
static size_t buffer_bytes(const struct fg_journal *j, int lane)
{
	return j->capacity[lane] + (lane == FG_LANE_MAIN ? TABLE_RECORD_MAX : 0);
}

static int make_batches(struct fg_journal *j)
{
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < FG_N_LANES; i++) {
			/* Not malloc(): pages count once they are written to, and can be given
			 * back. */
			void *data = mmap(NULL, buffer_bytes(j, i), PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (data == MAP_FAILED)
				return -ENOMEM;
			j->batches[b].commit.parts[i].data = data;
		}
	j->gather = &j->batches[0];
	j->gather_since_ms = INT64_MIN;
	batch_reset(j, j->gather, 1);
	return 0;
}

static void add_table(void *arg, uint64_t seq)
{
	fg_cursors_add_table(arg, seq);
}

static void ignore_table(void *arg, uint64_t seq)
{
	(void)arg;
	(void)seq;
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
		o.segment_bytes[i] = j->lanes[i].segment_bytes;
		o.n_damaged[i] = found[i].n_damaged_files;
		memcpy(o.ids[i], j->lanes[i].id, sizeof(o.ids[i]));
	}
	return fg_writer_new(&o, &j->writer);
}

/* Both lanes are looked at before anything is changed in either. */
static int recover(struct fg_journal *j, struct fg_recovered *found, struct fg_error *err)
{
	struct fg_recovery *recoveries[FG_N_LANES] = {NULL};
	int r = 0;

	for (int i = 0; i < FG_N_LANES && r == 0; i++)
		r = fg_recovery_look(&j->lanes[i], i == FG_LANE_MAIN ? add_table : ignore_table,
				     &j->cursors, &recoveries[i], &found[i], err);
	for (int i = 0; i < FG_N_LANES; i++) {
		if (r == 0) {
			fg_recovery_mend(recoveries[i]);
			j->next_seq[i] = found[i].next_seq;
		}
		fg_recovery_free(recoveries[i]);
	}
	return r;
}

static int64_t utc_us(const struct fg_journal *j)
{
	return j->options.utc_us ? j->options.utc_us(j->options.arg) : fg_clock_utc_us();
}

/* Take the journal's clock up where the last daemon left it. */
static void resume_clock(struct fg_journal *j, const struct fg_recovered *found)
{
	struct fg_segments *l = &j->lanes[FG_LANE_MAIN];
	int64_t away_us;

	j->last_now_ms = INT64_MIN;
	j->cursors.clock_ms = found->clock_ms;
	if (found->utc_us > 0 && !__builtin_sub_overflow(utc_us(j), found->utc_us, &away_us) &&
	    away_us > 0 && away_us / 1000 <= AWAY_MAX_MS)
		j->cursors.clock_ms += away_us / 1000;
	j->clock_saved_ms = j->cursors.clock_ms;
	if (l->n > 0 && l->items[l->n - 1]->newest_ms > j->cursors.clock_ms)
		l->items[l->n - 1]->newest_ms = j->cursors.clock_ms;
	if (l->n > 0)
		j->cursors.newest_ms = l->items[l->n - 1]->newest_ms;
}

static void advance_clock(struct fg_journal *j, int64_t now_ms)
{
	if (j->last_now_ms != INT64_MIN && now_ms > j->last_now_ms)
		j->cursors.clock_ms += now_ms - j->last_now_ms;
	if (now_ms > j->last_now_ms)
		j->last_now_ms = now_ms;
}

static void journal_freep(struct fg_journal **j)
{
	fg_journal_free(*j);
}

int fg_journal_open(const struct fg_journal_options *options, struct fg_journal **ret_journal,
		    struct fg_error *err)
{
	FG_CLEANUP(journal_freep) struct fg_journal *j = NULL;
	struct fg_recovered found[FG_N_LANES];
	int r;

	r = check_options(options, err);
	if (r < 0)
		return r;
	j = calloc(1, sizeof(*j));
	if (!j)
		return fg_error_set(err, -ENOMEM, "journal: out of memory");
	j->options = *options;
	j->retry_ms = RETRY_MIN_MS;
	j->capacity[FG_LANE_MAIN] = options->batch_bytes;
	j->capacity[FG_LANE_QUARANTINE] = options->batch_bytes;
	for (int i = 0; i < FG_N_LANES; i++)
		fg_segments_init(&j->lanes[i], options->fs, lane_dirs[i],
				 i == FG_LANE_MAIN ? options->segment_bytes
						   : quarantine_segment_bytes(j));
	j->cursors.lane = &j->lanes[FG_LANE_MAIN];
	j->cursors.lost = options->lost;
	j->cursors.timekeeper = options->timekeeper;
	j->cursors.arg = options->arg;

	r = recover(j, found, err);
	if (r < 0)
		return r;
	j->cursors.damaged_records = found[FG_LANE_MAIN].damaged_records;
	fg_cursors_load(&j->cursors, &found[FG_LANE_MAIN].synced_table,
			found[FG_LANE_MAIN].next_seq - 1);
	fg_cursors_load_unsynced(&j->cursors, &found[FG_LANE_MAIN].table,
				 found[FG_LANE_MAIN].next_seq - 1);
	resume_clock(j, &found[FG_LANE_MAIN]);
	r = make_batches(j);
	if (r == 0)
		r = start_writer(j, found);
	if (r < 0)
		return fg_error_set(err, r, "journal: cannot start: %s", strerror(-r));

	*ret_journal = j;
	j = NULL;
	return 0;
}

/* ---- at the cap */

/* How the active segment and the whole lane grow by what goes in. */
struct growth {
	uint64_t segment_bytes;
	uint64_t used, on_disk; /* of the active segment; used 0: none */
	uint64_t bytes;         /* of the lane */
};

static void grow(struct growth *g, uint64_t size)
{
	if (size == 0)
		return;
	if (g->used == 0 || g->used + size > g->segment_bytes) {
		/* The one before gives back what it does not use. */
		g->bytes -= g->used > 0 ? g->on_disk - g->used : 0;
		g->used = FG_SEGMENT_HEADER_BYTES + size;
		g->on_disk = g->segment_bytes;
		g->bytes += g->segment_bytes;
		return;
	}
	g->used += size;
	if (g->used > g->on_disk) {
		g->bytes += g->used - g->on_disk;
		g->on_disk = g->used;
	}
}

static uint64_t table_reserve(const struct fg_segments *l)
{
	uint64_t bytes = l->segment_bytes / RESERVE_PART;

	return bytes > RESERVE_MIN_BYTES ? bytes : RESERVE_MIN_BYTES;
}

/* Would the main lane pass its cap with @more bytes in the batch that gathers? */
static bool would_pass_cap(const struct fg_journal *j, size_t more)
{
	const struct fg_segments *l = &j->lanes[FG_LANE_MAIN];
	uint64_t waiting = j->in_flight ? j->in_flight->commit.parts[FG_LANE_MAIN].size : 0;
	uint64_t gathered = j->gather->commit.parts[FG_LANE_MAIN].size + more + TABLE_RECORD_MAX;
	struct growth g = {
		.segment_bytes = l->segment_bytes,
		.used = j->active_used[FG_LANE_MAIN],
		.on_disk = l->n > 0 ? l->items[l->n - 1]->on_disk : 0,
	};

	if (j->options.on_full == FG_ON_FULL_DROP_OLDEST)
		return false;
	/* Nearly always: the segment has room that is there already. */
	if (g.used > 0 && g.used + waiting + gathered <= g.on_disk)
		return false;
	g.bytes = fg_segments_bytes(l) + table_reserve(l);
	grow(&g, waiting);
	grow(&g, gathered);
	return g.bytes > j->options.max_bytes;
}

static void tell_full(struct fg_journal *j, bool is_full)
{
	j->is_full = is_full;
	if (j->options.full)
		j->options.full(j->options.arg, is_full);
}

static void update_full(struct fg_journal *j)
{
	bool is_full;

	/* With FG_ON_FULL_DROP_NEWEST it begins when a record has to be dropped. */
	if (j->options.on_full == FG_ON_FULL_DROP_OLDEST ||
	    (j->options.on_full == FG_ON_FULL_DROP_NEWEST && !j->is_full))
		return;
	is_full = would_pass_cap(j, j->capacity[FG_LANE_MAIN] -
					    j->gather->commit.parts[FG_LANE_MAIN].size);
	if (is_full != j->is_full)
		tell_full(j, is_full);
}

/* ---- appending */

bool fg_journal_has_room(const struct fg_journal *j, size_t bytes)
{
	/* A message that no rule fits goes to quarantine: whoever asks cannot know yet which it
	 * will be. */
	if (j->options.on_full == FG_ON_FULL_STOP_ACK &&
	    (j->is_full || would_pass_cap(j, bytes + FG_RECORD_OVERHEAD_MAX)))
		return false;
	for (int i = 0; i < FG_N_LANES; i++)
		if (bytes + FG_RECORD_OVERHEAD_MAX >
		    j->capacity[i] - j->gather->commit.parts[i].size)
			return false;
	return true;
}

int fg_journal_append(struct fg_journal *j, const struct fg_message *msg, uint64_t *ret_seq)
{
	struct fg_commit_part *p = &j->gather->commit.parts[FG_LANE_MAIN];
	struct fg_record r = {
		.seq = j->next_seq[FG_LANE_MAIN],
		.time_us = msg->time_us,
		.batch_index = p->n_records,
		.kind = (uint8_t)msg->kind,
		.time_quality = (uint8_t)msg->time_quality,
		.device = msg->device,
		.stream = msg->stream,
		.content_type = msg->content_type,
		.ref = msg->ref,
		.body = msg->body,
	};
	uint8_t moment[FG_MOMENT_BYTES];
	int64_t size;

	if (j->options.timekeeper && msg->time_quality == FG_TIME_UNSYNCHRONISED) {
		fg_timekeeper_moment(j->options.timekeeper, moment);
		r.unsynchronised = fg_span_of(moment, sizeof(moment));
	}
	size = fg_record_size(&r);
	if (msg->device.size == 0 || msg->kind < FG_TELEMETRY || msg->kind > FG_EVENT)
		return -EINVAL;
	if (size < 0 || (uint64_t)size > j->capacity[FG_LANE_MAIN])
		return -EMSGSIZE;
	if ((uint64_t)size > j->capacity[FG_LANE_MAIN] - p->size)
		return -EAGAIN;
	if (would_pass_cap(j, (size_t)size)) {
		if (j->options.on_full == FG_ON_FULL_STOP_ACK)
			return -ENOSPC;
		fg_cursors_refused(&j->cursors);
		j->refused_records++;
		tell_full(j, true);
		*ret_seq = 0;
		return 0;
	}
	p->size += fg_record_encode(&r, j->lanes[FG_LANE_MAIN].seed, p->data + p->size);
	p->n_records++;
	j->gather->has_data = true;
	*ret_seq = j->next_seq[FG_LANE_MAIN]++;
	return 0;
}

int fg_journal_quarantine(struct fg_journal *j, const struct fg_quarantined *q)
{
	struct fg_commit_part *p = &j->gather->commit.parts[FG_LANE_QUARANTINE];
	size_t capacity = j->capacity[FG_LANE_QUARANTINE];
	size_t size = fg_quarantine_size(q);

	/* What is too large even for an empty batch goes in cut: the reason matters most. */
	if (size > capacity)
		size = capacity;
	if (size > capacity - p->size)
		return -EAGAIN;
	size = fg_quarantine_encode(q, j->next_seq[FG_LANE_QUARANTINE], p->n_records,
				    j->lanes[FG_LANE_QUARANTINE].seed, p->data + p->size,
				    capacity - p->size);
	if (size == 0)
		return -EMSGSIZE;
	p->size += size;
	p->n_records++;
	j->gather->has_data = true;
	j->next_seq[FG_LANE_QUARANTINE]++;
	return 0;
}

uint64_t fg_journal_ticket(const struct fg_journal *j)
{
	return j->gather->has_data ? j->gather->commit.ticket : j->gather->commit.ticket - 1;
}

bool fg_journal_gathers(const struct fg_journal *j, uint64_t ticket)
{
	return ticket == j->gather->commit.ticket;
}

uint64_t fg_journal_committed(const struct fg_journal *j)
{
	return j->committed;
}

/* ---- retention */

/* Will this lane need a new segment for @more bytes on top? As the writer decides it. */
static bool will_rotate(const struct fg_journal *j, int lane, size_t more)
{
	size_t size = j->gather->commit.parts[lane].size + more;

	return size > 0 && (j->active_used[lane] == 0 ||
			    j->active_used[lane] + size > j->lanes[lane].segment_bytes);
}

static void retire_oldest(struct fg_journal *j, struct batch *b, int lane, bool is_late)
{
	struct fg_commit_part *p = &b->commit.parts[lane];
	struct fg_segments *l = &j->lanes[lane];

	p->retired[p->n_retired++] = (struct fg_retired){
		.first_seq = l->items[0]->first_seq,
		.is_damaged = l->items[0]->is_damaged,
		.is_late = is_late,
	};
	fg_segments_drop_oldest(l);
}

/*
 * Segments that every cursor is past, as far as the disk knows: after a crash nobody shall look for
 * records that are gone. On a full disk that knowledge may be stuck in a commit that does not fit;
 * then what is in memory must do.
 */
static void retire_passed(struct fg_journal *j, struct batch *b)
{
	struct fg_commit_part *p = &b->commit.parts[FG_LANE_MAIN];
	struct fg_segments *l = &j->lanes[FG_LANE_MAIN];
	uint64_t low;

	if (!fg_cursors_any_open(&j->cursors)) {
		while (j->options.max_age_ms > 0 && l->n > 1 && p->n_retired < FG_RETIRED_MAX &&
		       j->cursors.clock_ms - l->items[0]->newest_ms > j->options.max_age_ms)
			retire_oldest(j, b, FG_LANE_MAIN, false);
		return;
	}
	low = fg_cursors_low(&j->cursors, j->trouble != -ENOSPC);
	while (l->n > 1 && p->n_retired < FG_RETIRED_MAX && low >= l->items[1]->first_seq - 1)
		retire_oldest(j, b, FG_LANE_MAIN, false);
}

/*
 * The next commit may need a new segment, for which the oldest has to go. Whoever still wanted that
 * gives it up now, so that this is on disk before the file goes: after a crash nobody shall look
 * for records that are gone, and report what a cloud has had as lost.
 */
static void give_up_oldest(struct fg_journal *j)
{
	const struct fg_commit_part *p = &j->gather->commit.parts[FG_LANE_MAIN];
	const struct fg_segments *l = &j->lanes[FG_LANE_MAIN];
	uint64_t used = j->active_used[FG_LANE_MAIN];
	uint64_t bytes;

	if (j->options.on_full != FG_ON_FULL_DROP_OLDEST || used == 0 ||
	    used + p->size + TABLE_RECORD_MAX + j->capacity[FG_LANE_MAIN] <= l->segment_bytes)
		return;
	bytes = fg_segments_bytes(l) + l->segment_bytes;
	for (size_t i = 0; i + 1 < l->n && bytes > j->options.max_bytes; i++) {
		bytes -= l->items[i]->on_disk;
		fg_cursors_dropped(&j->cursors, fg_segments_end_seq(l, i) - 1);
	}
}

static void trim_cursors(struct fg_journal *j)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (j->cursors.slots[i].set && j->cursors.slots[i].is_open)
			fg_cursor_trim(&j->cursors.slots[i], j->options.max_age_ms);
}

/*
 * Segments beyond the lane's cap, counting one that @more bytes may need. In the main lane this is
 * for what give_up_oldest() could not foresee: a journal that was opened with a smaller cap, or a
 * disk that refused. They go late: a message in one may be settled by what this very commit brings
 * into quarantine.
 */
static void retire_beyond_cap(struct fg_journal *j, int lane, size_t more)
{
	uint64_t cap =
		lane == FG_LANE_MAIN ? j->options.max_bytes : j->options.max_quarantine_bytes;
	struct fg_commit_part *p = &j->gather->commit.parts[lane];
	struct fg_segments *l = &j->lanes[lane];
	uint64_t bytes;

	if (lane == FG_LANE_MAIN && j->options.on_full != FG_ON_FULL_DROP_OLDEST)
		return;
	bytes = fg_segments_bytes(l) + (will_rotate(j, lane, more) ? l->segment_bytes : 0);
	while (l->n > 1 && p->n_retired < FG_RETIRED_MAX && bytes > cap) {
		uint64_t end = fg_segments_end_seq(l, 0);

		bytes -= l->items[0]->on_disk;
		retire_oldest(j, j->gather, lane, lane == FG_LANE_MAIN);
		if (lane != FG_LANE_MAIN)
			continue;
		fg_cursors_dropped(&j->cursors, end - 1);
		/* Who had settled those, but not on disk, must not miss them after a crash. */
		j->cursors.must_save = true;
	}
}

/* ---- committing */

static void append_table(struct fg_journal *j)
{
	struct fg_commit_part *p = &j->gather->commit.parts[FG_LANE_MAIN];
	uint64_t seq = j->next_seq[FG_LANE_MAIN]++;
	uint8_t table[FG_CURSOR_TABLE_MAX];
	struct fg_record r = {
		.seq = seq,
		.time_us = utc_us(j),
		.batch_index = p->n_records,
		.kind = FG_RECORD_KIND_CURSORS,
		.time_quality = FG_TIME_GATEWAY,
	};

	r.body = fg_span_of(table, fg_cursors_encode(&j->cursors, seq - 1, table));
	p->size += fg_record_encode(&r, j->lanes[FG_LANE_MAIN].seed, p->data + p->size);
	p->n_records++;
	j->gather->table_seq = seq;
	fg_cursors_saving(&j->cursors, &j->gather->save);
}

/* Records that come a while after the newest table bring one along, for the clock in it. */
static bool is_clock_due(const struct fg_journal *j, bool is_last)
{
	int64_t since_ms = j->cursors.clock_ms - j->clock_saved_ms;

	if (j->active_used[FG_LANE_MAIN] == 0)
		return false; /* a header is written, or nothing */
	return is_last ? since_ms >= SAVE_INTERVAL_MS
		       : since_ms >= FG_CLOCK_SAVE_MS &&
				 j->gather->commit.parts[FG_LANE_MAIN].size > 0;
}

static bool is_save_due(const struct fg_journal *j, int64_t now_ms, bool is_last)
{
	int64_t idle_ms = j->is_full ? SAVE_INTERVAL_MS : IDLE_SAVE_MS;

	if (is_clock_due(j, is_last))
		return true;
	if (!fg_cursors_are_dirty(&j->cursors))
		return false;
	if (is_last || j->cursors.must_save)
		return true;
	if (j->gather->has_data)
		return fg_cursors_want_save(&j->cursors,
					    now_ms - j->last_save_ms >= SAVE_INTERVAL_MS);
	return now_ms - j->last_data_ms >= idle_ms && now_ms - j->last_save_ms >= idle_ms;
}

static bool is_gathering(struct fg_journal *j, int64_t now_ms)
{
	const struct fg_commit_part *p = &j->gather->commit.parts[FG_LANE_MAIN];

	if (j->gather_since_ms == INT64_MIN)
		j->gather_since_ms = now_ms;
	return now_ms - j->gather_since_ms < j->options.commit_interval_ms &&
	       p->size < j->capacity[FG_LANE_MAIN] / 2;
}

/* The table for the header of a segment that this batch may begin: as far as is on disk by then. */
static void fill_header_table(struct fg_journal *j, struct batch *b)
{
	uint64_t newest = b->commit.parts[FG_LANE_MAIN].first_seq - 1;

	j->cursors.newest_ms = b->before_ms;
	b->commit.table_size = fg_cursors_encode(&j->cursors, newest, b->commit.table);
	j->cursors.newest_ms = b->newest_ms;
}

/* Give the gathered batch to the writer. Returns whether there was something to give. */
static bool hand_over(struct fg_journal *j, int64_t now_ms, bool is_last)
{
	struct batch *b = j->gather;
	bool is_save, is_any = false;

	if (j->in_flight)
		return false;
	j->cursors.utc_us = utc_us(j);
	trim_cursors(j);
	give_up_oldest(j);
	is_save = is_save_due(j, now_ms, is_last);
	if (b->has_data && is_gathering(j, now_ms) && !is_save && !is_last)
		return false;
	for (int i = 0; i < FG_N_LANES; i++)
		if (fg_segments_reserve(&j->lanes[i]) < 0)
			return false;
	retire_passed(j, b);
	retire_beyond_cap(j, FG_LANE_MAIN, is_save ? TABLE_RECORD_MAX : 0);
	retire_beyond_cap(j, FG_LANE_QUARANTINE, 0);
	b->before_ms = j->cursors.newest_ms;
	if (b->commit.parts[FG_LANE_MAIN].size > 0)
		j->cursors.newest_ms = j->cursors.clock_ms;
	if (is_save || is_save_due(j, now_ms, is_last)) {
		append_table(j);
		j->last_save_ms = now_ms;
	}
	for (int i = 0; i < FG_N_LANES; i++)
		is_any = is_any || b->commit.parts[i].size > 0 || b->commit.parts[i].n_retired > 0;
	if (!is_any)
		return false;
	if (b->has_data)
		j->last_data_ms = now_ms;
	b->newest_ms = j->cursors.newest_ms;
	b->clock_ms = j->cursors.clock_ms;
	fill_header_table(j, b);
	b->commit.parts[FG_LANE_MAIN].is_tight =
		fg_segments_bytes(&j->lanes[FG_LANE_MAIN]) + j->options.segment_bytes >
		j->options.max_bytes;
	if (b->commit.parts[FG_LANE_MAIN].size + b->commit.parts[FG_LANE_QUARANTINE].size >
	    SWOLLEN_BYTES)
		j->is_swollen = true;
	j->in_flight = b;
	j->gather = b == &j->batches[0] ? &j->batches[1] : &j->batches[0];
	j->gather_since_ms = INT64_MIN;
	batch_reset(j, j->gather, b->commit.ticket + 1);
	fg_writer_submit(j->writer, &b->commit);
	return true;
}

static void apply_part(struct fg_journal *j, int lane, const struct fg_commit_part *p)
{
	struct fg_segments *l = &j->lanes[lane];
	struct fg_segment *s;

	if (p->size == 0)
		return;
	if (p->made_segment) {
		/* What the segment before gave back when it was sealed. */
		if (l->n > 0)
			l->items[l->n - 1]->on_disk = l->items[l->n - 1]->used;
		fg_segments_add(l, p->first_seq, FG_SEGMENT_HEADER_BYTES, 0);
	}
	s = l->items[l->n - 1];
	fg_segment_mark_set(l, s, p->offset, p->first_seq);
	s->used = p->offset + p->size;
	s->on_disk = p->segment_bytes;
	j->active_used[lane] = s->used;
	l->end_seq = p->first_seq + p->n_records;
}

static void apply(struct fg_journal *j, struct batch *b)
{
	const struct fg_commit_part *main_part = &b->commit.parts[FG_LANE_MAIN];
	const struct fg_segments *l = &j->lanes[FG_LANE_MAIN];

	for (int i = 0; i < FG_N_LANES; i++)
		apply_part(j, i, &b->commit.parts[i]);
	j->commits++;
	if (b->save.is_any) {
		j->cursor_saves++;
		fg_cursors_saved(&j->cursors, &b->save);
		fg_cursors_add_table(&j->cursors, b->table_seq);
	}
	if (b->save.is_any || main_part->made_segment)
		j->clock_saved_ms = b->clock_ms;
	/* A table alone makes nothing younger. */
	if (main_part->size > 0)
		l->items[l->n - 1]->newest_ms = b->newest_ms;
	j->committed = b->commit.ticket;
}

static void report_trouble(struct fg_journal *j, int error, const char *what)
{
	if (j->trouble == error)
		return;
	j->trouble = error;
	if (j->options.trouble)
		j->options.trouble(j->options.arg, error, what);
}

static void wait_for_retry(struct fg_journal *j, int64_t now_ms)
{
	j->is_waiting = true;
	j->retry_at_ms = now_ms + j->retry_ms;
	j->retry_ms = j->retry_ms * 2 < RETRY_MAX_MS ? j->retry_ms * 2 : RETRY_MAX_MS;
}

/* Take what the writer has done, if anything. Returns whether a commit has succeeded. */
static bool take_done(struct fg_journal *j, struct fg_commit *c, int64_t now_ms)
{
	struct batch *b = j->in_flight;

	if (!c)
		return false;
	j->bytes_written += c->bytes_written;
	c->bytes_written = 0;
	if (c->error < 0) {
		wait_for_retry(j, now_ms);
		report_trouble(j, c->error, c->what);
		return false;
	}
	apply(j, b);
	j->in_flight = NULL;
	j->retry_ms = RETRY_MIN_MS;
	report_trouble(j, 0, "the journal can be written again");
	update_full(j);
	if (j->options.committed)
		j->options.committed(j->options.arg, j->committed);
	return true;
}

/* Callbacks may come back in here; what they ask for is done by the outermost call. */
static void advance(struct fg_journal *j, int64_t now_ms)
{
	if (j->is_calling_back)
		return;
	j->is_calling_back = true;
	advance_clock(j, now_ms);
	take_done(j, fg_writer_take(j->writer), now_ms);
	while (hand_over(j, now_ms, false) && !j->options.is_threaded)
		if (!take_done(j, fg_writer_take(j->writer), now_ms))
			break;
	update_full(j);
	j->is_calling_back = false;
}

void fg_journal_flush(struct fg_journal *j, int64_t now_ms)
{
	if (!j->in_flight)
		advance(j, now_ms);
}

void fg_journal_collect(struct fg_journal *j, int64_t now_ms)
{
	advance(j, now_ms);
}

/* A burst has filled the batches; once it is over their pages are the system's again. */
static void give_back_memory(struct fg_journal *j, int64_t now_ms)
{
	if (!j->is_swollen || j->in_flight || j->gather->has_data ||
	    now_ms - j->last_data_ms < IDLE_SAVE_MS)
		return;
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < FG_N_LANES; i++)
			madvise(j->batches[b].commit.parts[i].data, buffer_bytes(j, i),
				MADV_DONTNEED);
	j->is_swollen = false;
}

void fg_journal_tick(struct fg_journal *j, int64_t now_ms)
{
	if (j->is_waiting && now_ms >= j->retry_at_ms) {
		j->is_waiting = false;
		/*
		 * Links have gone on meanwhile, which may make room on the disk; but not when
		 * something was settled by going into quarantine, which waits for the next batch.
		 */
		if (j->gather->commit.parts[FG_LANE_QUARANTINE].size == 0) {
			retire_passed(j, j->in_flight);
			fill_header_table(j, j->in_flight);
		}
		fg_writer_submit(j->writer, &j->in_flight->commit);
	}
	advance(j, now_ms);
	give_back_memory(j, now_ms);
}

/* ---- the end */

static void commit_last(struct fg_journal *j)
{
	int64_t now_ms = j->last_save_ms;

	j->is_calling_back = true;
	if (j->in_flight) {
		/* One more try for what the disk has refused so far. */
		if (j->is_waiting)
			fg_writer_submit(j->writer, &j->in_flight->commit);
		if (!take_done(j, fg_writer_wait(j->writer), now_ms))
			return;
	}
	if (hand_over(j, now_ms, true))
		take_done(j, fg_writer_wait(j->writer), now_ms);
}

struct fg_journal *fg_journal_free(struct fg_journal *j)
{
	if (!j)
		return NULL;
	if (j->writer)
		commit_last(j);
	fg_writer_free(j->writer);
	fg_cursors_free(&j->cursors);
	for (int i = 0; i < FG_N_LANES; i++)
		fg_segments_free(&j->lanes[i]);
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < FG_N_LANES; i++)
			if (j->batches[b].commit.parts[i].data)
				munmap(j->batches[b].commit.parts[i].data, buffer_bytes(j, i));
	free(j);
	return NULL;
}

void fg_journal_get_stats(const struct fg_journal *j, struct fg_journal_stats *ret)
{
	const struct fg_segments *l = &j->lanes[FG_LANE_MAIN];
	const struct fg_segments *q = &j->lanes[FG_LANE_QUARANTINE];

	*ret = (struct fg_journal_stats){
		.first_seq = l->n > 0 ? l->items[0]->first_seq : l->end_seq,
		.next_seq = j->next_seq[FG_LANE_MAIN],
		.synced_seq = l->end_seq - 1,
		.bytes_on_disk = fg_segments_bytes(l),
		.quarantine_records = q->n > 0 ? q->end_seq - q->items[0]->first_seq : 0,
		.quarantine_bytes = fg_segments_bytes(q),
		.commits = j->commits,
		.bytes_written = j->bytes_written,
		.cursor_saves = j->cursor_saves,
		.damaged_records = j->cursors.damaged_records,
		.refused_records = j->refused_records,
		.is_full = j->is_full,
	};
}

int fg_cursor_open(struct fg_journal *j, const char *name, uint64_t max_unsaved,
		   struct fg_cursor **ret)
{
	return fg_cursors_open(&j->cursors, name, max_unsaved, j->next_seq[FG_LANE_MAIN] - 1, ret);
}
