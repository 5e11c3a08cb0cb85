/*
 * Batches: how one gathers, when it goes to the writer, what else goes along (cursor tables,
 * segments that retire), and what follows when it is on disk or cannot get there.
 */
#include "journal/journal_internal.h"

#include <errno.h>
#include <sys/mman.h>

#include "util/clock.h"
#include "util/span.h"

#define SAVE_INTERVAL_MS 1000 /* with data that is written anyway */
#define IDLE_SAVE_MS 5000     /* without */
#define RETRY_MAX_MS 10000
#define SWOLLEN_BYTES ((size_t)128 << 10)
#define PAGE_BYTES 4096u
/* A commit of so much or more ends where a page does: an eighth of it at most, for less to write. */
#define WHOLE_PAGES_BYTES (8 * PAGE_BYTES)

int64_t fg_journal_utc_us(const struct fg_journal *j)
{
	return j->options.utc_us ? j->options.utc_us(j->options.arg) : fg_clock_utc_us();
}

/* ---- the memory of a batch */

/* Of a lane's share: records, on top a cursor table, and behind them the header of a segment that
 * they may begin. */
static size_t records_bytes(const struct fg_lane_state *s)
{
	return s->capacity + fg_table_record_max(s);
}

static size_t buffer_bytes(const struct fg_lane_state *s)
{
	return records_bytes(s) + s->header_max;
}

static void batch_reset(struct fg_journal *j, struct fg_journal_batch *b, uint64_t ticket)
{
	struct fg_commit *c = &b->commit;

	b->has_data = false;
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		b->tables[i].save.is_any = false;
		b->tables[i].seq = 0;
	}
	c->ticket = ticket;
	c->bytes_written = 0;
	for (int i = 0; i < FG_N_LANES; i++) {
		struct fg_commit_part *p = &c->parts[i];

		p->size = 0;
		p->n_records = 0;
		p->table_size = 0;
		p->first_seq = j->lanes[i].next_seq;
		p->n_retired = 0;
		p->is_tight = false;
		p->is_written = false;
		p->made_segment = false;
	}
}

int fg_batches_new(struct fg_journal *j)
{
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < FG_N_LANES; i++) {
			const struct fg_lane_state *s = &j->lanes[i];
			struct fg_commit_part *p = &j->batches[b].commit.parts[i];
			/* Not malloc(): pages count once they are written to, and can be given
			 * back. */
			uint8_t *data = mmap(NULL, buffer_bytes(s), PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (data == MAP_FAILED)
				return -ENOMEM;
			p->data = data;
			p->header = data + records_bytes(s);
		}
	j->gather = &j->batches[0];
	j->gather_since_ms = INT64_MIN;
	batch_reset(j, j->gather, 1);
	return 0;
}

void fg_batches_free(struct fg_journal *j)
{
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < FG_N_LANES; i++)
			if (j->batches[b].commit.parts[i].data)
				munmap(j->batches[b].commit.parts[i].data,
				       buffer_bytes(&j->lanes[i]));
}

/* A burst has filled the batches; once it is over their pages are the system's again. */
static void give_back_memory(struct fg_journal *j, int64_t now_ms)
{
	if (!j->is_swollen || j->in_flight || j->gather->has_data)
		return;
	for (int i = 0; i < FG_N_LANES; i++)
		if (now_ms - j->lanes[i].last_data_ms < IDLE_SAVE_MS)
			return;
	for (int b = 0; b < 2; b++)
		for (int i = 0; i < FG_N_LANES; i++)
			madvise(j->batches[b].commit.parts[i].data, buffer_bytes(&j->lanes[i]),
				MADV_DONTNEED);
	j->is_swollen = false;
}

/* ---- what goes along */

void fg_batch_take_settles(struct fg_journal *j)
{
	struct fg_commit_part *p = &j->gather->commit.parts[FG_LANE_QUARANTINE];
	struct fg_lane_state *s = &j->lanes[FG_LANE_QUARANTINE];

	for (int i = 0; i < FG_N_CURSOR_LANES; i++)
		if (j->gather->commit.parts[i].size > 0)
			return;
	while (j->n_settles > 0 && p->size + FG_SETTLED_BYTES <= s->capacity) {
		fg_settled_encode(j->settles[--j->n_settles], s->next_seq++, fg_journal_utc_us(j),
				  p->n_records++, s->segments.seed, p->data + p->size);
		p->size += FG_SETTLED_BYTES;
		j->gather->has_data = true;
	}
}

/* Where in its segment a batch with @size bytes begins, as the writer decides it; 0: in a new one,
 * behind a header of whole pages. */
static uint64_t place_of(const struct fg_lane_state *s, size_t size)
{
	return s->active_used + size <= s->segments.segment_bytes ? s->active_used : 0;
}

/* Bytes from the end of lane @s's batch, if that is at @size, to the end of the page. */
static size_t left_in_page(const struct fg_lane_state *s, size_t size)
{
	return -(place_of(s, size) + size) % PAGE_BYTES;
}

/*
 * The page in which a commit ends is written again by the next one, unless it is full. So a large
 * commit fills it: with zeros behind its cursor table, which a reader ignores (format.h, section 3).
 */
static size_t pad_table(const struct fg_lane_state *s, size_t offset, uint8_t *table, size_t size)
{
	size_t end = offset + FG_RECORD_HEADER_BYTES + size;
	size_t more = left_in_page(s, end);

	if (offset < WHOLE_PAGES_BYTES || end + more > records_bytes(s))
		return size;
	memset(table + size, 0, more);
	return size + more;
}

/* May a table go along for nothing, in what is left of the page? */
static bool is_room_in_page(const struct fg_journal *j, int lane)
{
	const struct fg_lane_state *s = &j->lanes[lane];
	size_t size = j->gather->commit.parts[lane].size;
	size_t left = left_in_page(s, size);

	return size >= WHOLE_PAGES_BYTES && place_of(s, size + left) == place_of(s, size) &&
	       FG_RECORD_HEADER_BYTES + fg_cursors_table_size(&j->cursors[lane]) <= left;
}

/* Put the cursors of now into the table that is the last record of @b, or becomes it. */
static void write_table(struct fg_journal *j, int lane, struct fg_journal_batch *b)
{
	struct fg_commit_part *p = &b->commit.parts[lane];
	struct fg_journal_batch_table *t = &b->tables[lane];
	struct fg_lane_state *s = &j->lanes[lane];
	struct fg_cursors *set = &j->cursors[lane];
	struct fg_record r = {
		.seq = t->seq,
		.time_us = set->utc_us,
		.batch_index = p->n_records - 1,
		.kind = FG_RECORD_KIND_CURSORS,
		.time_quality = FG_TIME_GATEWAY,
	};
	/* Made where it will stand. */
	uint8_t *table = p->data + t->offset + FG_RECORD_HEADER_BYTES;
	size_t size = fg_cursors_encode(set, r.seq - 1, s->table_room, table, &t->save);

	r.body = fg_span_of(table, pad_table(s, t->offset, table, size));
	p->size = t->offset + fg_record_encode(&r, s->segments.seed, p->data + t->offset);
	fg_cursors_saving(set, &t->save);
}

static void append_table(struct fg_journal *j, int lane)
{
	struct fg_commit_part *p = &j->gather->commit.parts[lane];
	struct fg_journal_batch_table *t = &j->gather->tables[lane];

	t->seq = j->lanes[lane].next_seq++;
	t->offset = p->size;
	p->n_records++;
	write_table(j, lane, j->gather);
}

/* The table for the header of a segment that this batch may begin: as far as is on disk by then. */
static void fill_header_table(struct fg_journal *j, int lane, struct fg_journal_batch *b)
{
	struct fg_commit_part *p = &b->commit.parts[lane];
	struct fg_cursors *set = &j->cursors[lane];

	set->newest_ms = b->tables[lane].before_ms;
	p->table_size = fg_cursors_encode(set, p->first_seq - 1,
					  j->lanes[lane].header_max - FG_SEGMENT_TABLE_AT,
					  p->header + FG_SEGMENT_TABLE_AT, NULL);
	set->newest_ms = b->tables[lane].newest_ms;
}

/* Records that come a while after their lane's newest table bring one along, for the clock in it. */
static bool is_clock_due(const struct fg_journal *j, int lane, bool is_last)
{
	int64_t since_ms = j->clock_ms - j->lanes[lane].clock_saved_ms;

	if (j->lanes[lane].active_used == 0)
		return false; /* a header is written, or nothing */
	if (!is_last)
		return since_ms >= FG_CLOCK_SAVE_MS && j->gather->commit.parts[lane].size > 0;
	/* One lane is enough to know the time from. */
	return since_ms >= SAVE_INTERVAL_MS &&
	       (lane == FG_LANE_MAIN || j->lanes[FG_LANE_MAIN].active_used == 0);
}

static bool is_save_due(const struct fg_journal *j, int lane, int64_t now_ms, bool is_last)
{
	int64_t idle_ms = j->is_full ? SAVE_INTERVAL_MS : IDLE_SAVE_MS;
	const struct fg_cursors *set = &j->cursors[lane];
	const struct fg_lane_state *s = &j->lanes[lane];

	if (is_clock_due(j, lane, is_last))
		return true;
	if (!fg_cursors_are_dirty(set))
		return false;
	/* Of a lane that has never been used nothing needs to be known. */
	if (lane != FG_LANE_MAIN && s->next_seq == 1)
		return false;
	if (is_last || set->must_save)
		return true;
	if (j->gather->commit.parts[lane].size > 0)
		return fg_cursors_want_save(set, now_ms - s->last_save_ms >= SAVE_INTERVAL_MS);
	return now_ms - s->last_data_ms >= idle_ms && now_ms - s->last_save_ms >= idle_ms;
}

/* ---- handing over */

static void advance_clock(struct fg_journal *j, int64_t now_ms)
{
	if (j->last_now_ms != INT64_MIN && now_ms > j->last_now_ms)
		j->clock_ms += now_ms - j->last_now_ms;
	if (now_ms > j->last_now_ms)
		j->last_now_ms = now_ms;
	/* Both or neither: a table tells how the two go together. */
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		j->cursors[i].clock_ms = j->clock_ms;
		j->cursors[i].utc_us = fg_journal_utc_us(j);
	}
}

static bool is_gathering(struct fg_journal *j, int64_t now_ms)
{
	if (j->gather_since_ms == INT64_MIN)
		j->gather_since_ms = now_ms;
	if (now_ms - j->gather_since_ms >= j->options.commit_interval_ms)
		return false;
	for (int i = 0; i < FG_N_LANES; i++)
		if (j->gather->commit.parts[i].size >= j->lanes[i].capacity / 2)
			return false;
	return true;
}

/* Cursor tables and what retires: @is_save tells of which lanes a table is due for certain. */
static void complete(struct fg_journal *j, int64_t now_ms, bool is_last, const bool *is_save)
{
	struct fg_journal_batch *b = j->gather;

	for (int i = 0; i < FG_N_LANES; i++) {
		size_t more = 0;

		if (fg_lane_has_cursors(i)) {
			fg_retention_retire_passed(j, b, i);
			more = is_save[i] ? fg_table_record_max(&j->lanes[i]) : 0;
		}
		fg_retention_retire_beyond_cap(j, i, more);
	}
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		struct fg_journal_batch_table *t = &b->tables[i];

		t->before_ms = j->cursors[i].newest_ms;
		if (b->commit.parts[i].size > 0)
			j->cursors[i].newest_ms = j->clock_ms;
		t->newest_ms = j->cursors[i].newest_ms;
		/* What retires may have made another one due. */
		if (!is_save[i] && !is_save_due(j, i, now_ms, is_last) && !is_room_in_page(j, i))
			continue;
		append_table(j, i);
		j->lanes[i].last_save_ms = now_ms;
	}
}

static bool is_anything_in(const struct fg_journal_batch *b)
{
	for (int i = 0; i < FG_N_LANES; i++)
		if (b->commit.parts[i].size > 0 || b->commit.parts[i].n_retired > 0)
			return true;
	return false;
}

static void submit(struct fg_journal *j, struct fg_journal_batch *b, int64_t now_ms)
{
	size_t size = 0;

	b->clock_ms = j->clock_ms;
	for (int i = 0; i < FG_N_LANES; i++) {
		struct fg_commit_part *p = &b->commit.parts[i];

		if (p->size == 0)
			continue;
		size += p->size;
		if (fg_lane_has_cursors(i))
			fill_header_table(j, i, b);
		p->is_tight = fg_lane_has_cursors(i) && fg_retention_is_tight(j, i);
		if (b->has_data)
			j->lanes[i].last_data_ms = now_ms;
	}
	if (size > SWOLLEN_BYTES)
		j->is_swollen = true;
	j->in_flight = b;
	j->gather = b == &j->batches[0] ? &j->batches[1] : &j->batches[0];
	j->gather_since_ms = INT64_MIN;
	batch_reset(j, j->gather, b->commit.ticket + 1);
	fg_batch_take_settles(j);
	fg_writer_submit(j->writer, &b->commit);
}

/* Give the gathered batch to the writer. Returns whether there was something to give. */
static bool hand_over(struct fg_journal *j, int64_t now_ms, bool is_last)
{
	bool is_save[FG_N_CURSOR_LANES], is_urgent = is_last;

	if (j->in_flight)
		return false;
	fg_retention_trim(j);
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		is_save[i] = is_save_due(j, i, now_ms, is_last);
		is_urgent = is_urgent || is_save[i];
	}
	if (j->gather->has_data && is_gathering(j, now_ms) && !is_urgent)
		return false;
	for (int i = 0; i < FG_N_LANES; i++)
		if (fg_segments_reserve(&j->lanes[i].segments) < 0)
			return false;
	complete(j, now_ms, is_last, is_save);
	if (!is_anything_in(j->gather))
		return false;
	submit(j, j->gather, now_ms);
	return true;
}

/* ---- when it is done */

static void apply_part(struct fg_journal *j, int lane, const struct fg_journal_batch *b)
{
	const struct fg_commit_part *p = &b->commit.parts[lane];
	struct fg_lane_state *state = &j->lanes[lane];
	struct fg_segments *l = &state->segments;
	struct fg_segment *s;

	if (p->size == 0)
		return;
	if (p->made_segment) {
		/* What the segment before gave back when it was sealed. */
		if (l->n > 0)
			l->items[l->n - 1]->on_disk = l->items[l->n - 1]->used;
		fg_segments_add(l, p->first_seq, p->header_bytes, p->header_bytes, 0);
	}
	s = l->items[l->n - 1];
	fg_segment_mark_set(l, s, p->offset, p->first_seq);
	s->used = p->offset + p->size;
	s->on_disk = p->segment_bytes;
	state->active_used = s->used;
	l->end_seq = p->first_seq + p->n_records;
	if (!fg_lane_has_cursors(lane))
		return;
	/* A table alone makes nothing younger. */
	s->newest_ms = b->tables[lane].newest_ms;
	if (b->tables[lane].save.is_any || p->made_segment)
		state->clock_saved_ms = b->clock_ms;
}

static void apply(struct fg_journal *j, struct fg_journal_batch *b)
{
	for (int i = 0; i < FG_N_LANES; i++)
		apply_part(j, i, b);
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		if (!b->tables[i].save.is_any)
			continue;
		j->cursor_saves++;
		fg_cursors_saved(&j->cursors[i], &b->tables[i].save);
		fg_cursors_add_table(&j->cursors[i], b->tables[i].seq);
	}
	j->commits++;
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
	struct fg_journal_batch *b = j->in_flight;

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
	j->retry_ms = FG_RETRY_MIN_MS;
	report_trouble(j, 0, "the journal can be written again");
	fg_retention_update_full(j);
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
	fg_retention_update_full(j);
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

/*
 * Links have gone on while the disk refused, which may make room on it; but not when something was
 * settled by going into quarantine, which waits for the next batch. Both tables of a lane tell the
 * same then: one of the past behind one of today would have cursors go back.
 */
static void refresh_in_flight(struct fg_journal *j)
{
	struct fg_journal_batch *b = j->in_flight;

	if (j->gather->commit.parts[FG_LANE_QUARANTINE].size > 0)
		return;
	b->clock_ms = j->clock_ms;
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		fg_retention_retire_passed(j, b, i);
		if (b->commit.parts[i].is_written || b->commit.parts[i].size == 0)
			continue;
		if (b->tables[i].save.is_any)
			write_table(j, i, b);
		fill_header_table(j, i, b);
	}
}

void fg_journal_tick(struct fg_journal *j, int64_t now_ms)
{
	if (j->is_waiting && now_ms >= j->retry_at_ms) {
		j->is_waiting = false;
		advance_clock(j, now_ms);
		refresh_in_flight(j);
		fg_writer_submit(j->writer, &j->in_flight->commit);
	}
	advance(j, now_ms);
	give_back_memory(j, now_ms);
}

void fg_commit_last(struct fg_journal *j)
{
	int64_t now_ms = j->last_now_ms == INT64_MIN ? 0 : j->last_now_ms;

	j->is_calling_back = true;
	if (j->in_flight) {
		/* One more try for what the disk has refused so far. */
		if (j->is_waiting)
			fg_writer_submit(j->writer, &j->in_flight->commit);
		if (!take_done(j, fg_writer_wait(j->writer), now_ms))
			return;
	}
	/* Once more when settled quarantined messages had to wait for it. */
	while (hand_over(j, now_ms, true))
		if (!take_done(j, fg_writer_wait(j->writer), now_ms) || !j->gather->has_data)
			return;
}
