#include "journal/cursor.h"

#include <errno.h>
#include <string.h>

#include "util/span.h"

/* ---- sequence numbers that are no messages */

static uint64_t tables_kept(const struct fg_cursors *set)
{
	return set->n_tables < FG_CURSOR_TABLES_KNOWN ? set->n_tables : FG_CURSOR_TABLES_KNOWN;
}

/* How many of the known tables have a sequence number below @seq. */
static uint64_t tables_below(const struct fg_cursors *set, uint64_t seq)
{
	uint64_t start = set->n_tables - tables_kept(set);
	uint64_t low = start, high = set->n_tables;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (set->tables[middle % FG_CURSOR_TABLES_KNOWN] < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low - start;
}

static uint64_t tables_within(const struct fg_cursors *set, uint64_t first, uint64_t last)
{
	return first > last ? 0 : tables_below(set, last + 1) - tables_below(set, first);
}

static const struct fg_gap *gap_at(const struct fg_cursor *c, uint64_t seq)
{
	for (unsigned i = 0; i < c->n_gaps; i++)
		if (c->gaps[i].first <= seq && seq <= c->gaps[i].last)
			return &c->gaps[i];
	return NULL;
}

/* Past all tables that follow @seq directly. They are found again by whoever reads the journal. */
static uint64_t step_over_tables(const struct fg_cursor *c, uint64_t seq)
{
	while (tables_within(c->set, seq + 1, seq + 1) > 0)
		seq++;
	return seq;
}

/* The highest watermark that means the same as @seq: past all that follows it and is no message. */
static uint64_t step_over(const struct fg_cursor *c, uint64_t seq)
{
	const struct fg_gap *gap;

	seq = step_over_tables(c, seq);
	while ((gap = gap_at(c, seq + 1)))
		seq = step_over_tables(c, gap->last);
	return seq;
}

/*
 * What is saved steps over tables only: a segment that was dropped may be back after a power cut,
 * and then the watermark on disk stands in front of records that can be sent again.
 */
static void set_watermark(struct fg_cursor *c, uint64_t watermark)
{
	unsigned n = 0;

	if (watermark > c->watermark)
		c->watermark = watermark;
	c->watermark = step_over(c, c->watermark);
	c->saved = step_over_tables(c, c->saved);
	while (n < c->n_gaps && c->gaps[n].last <= c->watermark)
		n++;
	if (n == 0)
		return;
	c->n_gaps -= n;
	memmove(c->gaps, c->gaps + n, c->n_gaps * sizeof(c->gaps[0]));
}

/*
 * Remember that first..last are no messages. When there are more gaps than can be remembered, the
 * smallest goes: it may be counted as backlog, and holds back fg_cursor_may_send() the least.
 */
static void add_gap(struct fg_cursor *c, uint64_t first, uint64_t last)
{
	unsigned i;

	if (c->n_gaps == FG_CURSOR_GAPS) {
		unsigned least = 0;

		for (i = 1; i < c->n_gaps; i++)
			if (c->gaps[i].last - c->gaps[i].first <
			    c->gaps[least].last - c->gaps[least].first)
				least = i;
		c->n_gaps--;
		memmove(&c->gaps[least], &c->gaps[least + 1],
			(c->n_gaps - least) * sizeof(c->gaps[0]));
	}
	for (i = c->n_gaps; i > 0 && c->gaps[i - 1].first > first; i--)
		c->gaps[i] = c->gaps[i - 1];
	c->gaps[i] = (struct fg_gap){first, last};
	c->n_gaps++;
	if (i > 0 && c->gaps[i - 1].last + 1 >= first) {
		if (c->gaps[i - 1].last < last)
			c->gaps[i - 1].last = last;
		c->n_gaps--;
		memmove(&c->gaps[i], &c->gaps[i + 1], (c->n_gaps - i) * sizeof(c->gaps[0]));
	}
	set_watermark(c, c->watermark);
}

/* ---- the set */

void fg_cursors_add_table(struct fg_cursors *set, uint64_t seq)
{
	set->tables[set->n_tables++ % FG_CURSOR_TABLES_KNOWN] = seq;
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set)
			set_watermark(&set->slots[i], 0);
}

static struct fg_cursor *find(struct fg_cursors *set, const char *name)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && strcmp(set->slots[i].name, name) == 0)
			return &set->slots[i];
	return NULL;
}

/* A free slot, or one whose name is in the table but that nobody opened: the one furthest behind.
 */
static struct fg_cursor *make_slot(struct fg_cursors *set)
{
	struct fg_cursor *found = NULL;

	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		struct fg_cursor *c = &set->slots[i];

		if (!c->set)
			return c;
		if (!c->is_open && (!found || c->watermark < found->watermark))
			found = c;
	}
	return found;
}

static void fill_slot(struct fg_cursors *set, struct fg_cursor *c, const char *name,
		      uint64_t watermark)
{
	*c = (struct fg_cursor){
		.set = set,
		.id = ++set->next_id,
		.watermark = watermark,
		.saved = watermark,
		.saving = watermark,
	};
	strncpy(c->name, name, FG_CURSOR_NAME_MAX);
	set_watermark(c, 0);
}

void fg_cursors_load(struct fg_cursors *set, const struct fg_cursor_table *table, uint64_t newest)
{
	for (unsigned i = 0; i < table->n; i++) {
		const struct fg_cursor_entry *e = &table->entries[i];
		struct fg_cursor *c = find(set, e->name);

		if (!c)
			c = make_slot(set);
		if (c)
			fill_slot(set, c, e->name, e->watermark < newest ? e->watermark : newest);
	}
}

void fg_cursors_load_unsynced(struct fg_cursors *set, const struct fg_cursor_table *table,
			      uint64_t newest)
{
	for (unsigned i = 0; i < table->n; i++) {
		const struct fg_cursor_entry *e = &table->entries[i];
		uint64_t watermark = e->watermark < newest ? e->watermark : newest;
		struct fg_cursor *c = find(set, e->name);

		if (c) {
			set_watermark(c, watermark);
			continue;
		}
		c = make_slot(set);
		if (!c)
			continue;
		fill_slot(set, c, e->name, watermark);
		c->is_unsaved = true;
	}
}

void fg_cursors_free(struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].is_open)
			fg_cursor_close(&set->slots[i]);
}

int fg_cursors_open(struct fg_cursors *set, const char *name, uint64_t max_unsaved, uint64_t newest,
		    struct fg_cursor **ret)
{
	size_t size = strlen(name);
	struct fg_cursor *c;

	if (size == 0 || size > FG_CURSOR_NAME_MAX)
		return -EINVAL;
	c = find(set, name);
	if (c && c->is_open)
		return -EEXIST;
	if (!c) {
		c = make_slot(set);
		if (!c)
			return -ENOSPC;
		fill_slot(set, c, name, newest);
		/*
		 * Until the name is on disk, a crash would make the cursor anew, above all that has
		 * come since: so the next commit takes it along, whatever it carries.
		 */
		c->is_unsaved = true;
	}
	c->is_open = true;
	c->max_unsaved = max_unsaved > 0 ? max_unsaved : 1;
	c->next = c->watermark + 1;
	fg_reader_init(&c->reader, set->lane);
	fg_reader_seek(&c->reader, c->next);
	*ret = c;
	return 0;
}

void fg_cursor_close(struct fg_cursor *c)
{
	if (!c)
		return;
	fg_reader_free(&c->reader);
	c->is_open = false;
}

static bool is_dirty(const struct fg_cursor *c)
{
	return c->set && (c->is_unsaved || (c->saved < c->watermark && c->saving < c->watermark));
}

bool fg_cursors_are_dirty(const struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (is_dirty(&set->slots[i]))
			return true;
	return false;
}

bool fg_cursors_want_save(const struct fg_cursors *set, bool is_due)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *c = &set->slots[i];
		uint64_t saved;

		if (!is_dirty(c))
			continue;
		if (is_due || c->is_unsaved)
			return true;
		saved = c->saved > c->saving ? c->saved : c->saving;
		if (c->is_open && c->watermark - saved >= (c->max_unsaved + 1) / 2)
			return true;
	}
	return false;
}

size_t fg_cursors_encode(const struct fg_cursors *set, uint64_t newest, uint8_t *out)
{
	struct fg_cursor_table table;

	table.n = 0;
	table.clock_ms = set->clock_ms;
	table.utc_us = set->utc_us;
	table.newest_ms = set->newest_ms;
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *c = &set->slots[i];
		struct fg_cursor_entry *e = &table.entries[table.n];

		if (!c->set)
			continue;
		memcpy(e->name, c->name, sizeof(e->name));
		e->watermark = c->watermark < newest ? c->watermark : newest;
		table.n++;
	}
	return fg_cursor_table_encode(&table, out);
}

void fg_cursors_saving(struct fg_cursors *set, struct fg_cursor_save *ret)
{
	ret->is_any = true;
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		struct fg_cursor *c = &set->slots[i];

		c->saving = c->watermark;
		c->is_unsaved = false;
		ret->ids[i] = c->id;
		ret->watermarks[i] = c->watermark;
	}
	set->must_save = false;
}

void fg_cursors_saved(struct fg_cursors *set, const struct fg_cursor_save *save)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		struct fg_cursor *c = &set->slots[i];

		if (!c->set || c->id != save->ids[i])
			continue;
		if (c->saved < save->watermarks[i])
			c->saved = save->watermarks[i];
		set_watermark(c, 0);
	}
}

uint64_t fg_cursors_low(const struct fg_cursors *set, bool is_saved)
{
	uint64_t low = UINT64_MAX;

	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *c = &set->slots[i];
		uint64_t watermark = is_saved ? c->saved : c->watermark;

		if (c->set && c->is_open && watermark < low)
			low = watermark;
	}
	return low;
}

bool fg_cursors_any_open(const struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && set->slots[i].is_open)
			return true;
	return false;
}

/* Report what of first..last this cursor still wanted and was not told about yet. */
static void report_lost(struct fg_cursor *c, uint64_t first, uint64_t last, enum fg_loss loss,
			const char *why)
{
	uint64_t records;

	if (first <= c->watermark)
		first = c->watermark + 1;
	if (first > last)
		return;
	records = last - first + 1 - tables_within(c->set, first, last);
	for (unsigned i = 0; i < c->n_gaps; i++) {
		uint64_t from = c->gaps[i].first > first ? c->gaps[i].first : first;
		uint64_t to = c->gaps[i].last < last ? c->gaps[i].last : last;

		if (from <= to)
			records -= to - from + 1 - tables_within(c->set, from, to);
	}
	add_gap(c, first, last);
	c->losses[loss] += records;
	if (records > 0 && c->set->lost)
		c->set->lost(c->set->arg, c->name, records, last, why);
}

/* Give up all up to @last. What was in flight of it is not sent again, should it come back. */
static void cut(struct fg_cursor *c, uint64_t last, enum fg_loss loss, const char *why)
{
	if (c->watermark >= last)
		return;
	c->floor = last;
	report_lost(c, c->watermark + 1, last, loss, why);
	set_watermark(c, last);
	c->set->must_save = true;
}

void fg_cursors_dropped(struct fg_cursors *set, uint64_t last)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && set->slots[i].is_open)
			cut(&set->slots[i], last, FG_LOSS_LIMIT, "journal limit");
}

static void trim_old(struct fg_cursor *c, int64_t max_age_ms)
{
	const struct fg_segments *l = c->set->lane;
	uint64_t last = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (c->set->clock_ms - l->items[i]->newest_ms <= max_age_ms)
			break;
		last = fg_segments_end_seq(l, i) - 1;
	}
	cut(c, last, FG_LOSS_AGE, "older than max_age");
}

/* From the newest segment down until the cap is full; the newest is kept even if it is alone beyond
 * the cap. */
static void trim_heavy(struct fg_cursor *c)
{
	const struct fg_segments *l = c->set->lane;
	uint64_t bytes = 0;

	for (size_t i = l->n; i-- > 0;) {
		const struct fg_segment *s = l->items[i];
		uint64_t from = FG_SEGMENT_HEADER_BYTES, seq;

		if (fg_segments_end_seq(l, i) - 1 <= c->watermark)
			return;
		if (s->first_seq <= c->watermark)
			fg_segment_mark_find(s, c->watermark + 1, &from, &seq);
		bytes += s->used > from ? s->used - from : 0;
		if (bytes > c->max_bytes && i + 1 < l->n) {
			cut(c, fg_segments_end_seq(l, i) - 1, FG_LOSS_OWN_LIMIT,
			    "beyond its max_backlog");
			return;
		}
	}
}

void fg_cursor_trim(struct fg_cursor *c, int64_t max_age_ms)
{
	if (c->max_age_ms > 0 && (max_age_ms == 0 || c->max_age_ms < max_age_ms))
		max_age_ms = c->max_age_ms;
	if (max_age_ms > 0)
		trim_old(c, max_age_ms);
	if (c->max_bytes > 0)
		trim_heavy(c);
}

void fg_cursors_refused(struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && set->slots[i].is_open)
			set->slots[i].losses[FG_LOSS_FULL]++;
}

/* ---- one cursor */

/* A record that is no message, found on the way. */
static void pass_over(struct fg_cursor *c, uint64_t seq)
{
	if (seq > c->watermark && tables_within(c->set, seq, seq) == 0 && !gap_at(c, seq))
		add_gap(c, seq, seq);
}

static enum fg_time_quality repair_time(const struct fg_timekeeper *t, const struct fg_record *r,
					int64_t *time_us)
{
	return fg_timekeeper_repair(t, (const uint8_t *)r->unsynchronised.data, time_us);
}

int fg_cursor_read(struct fg_cursor *c, struct fg_message *ret_messages, size_t max)
{
	struct fg_read_result found;
	struct fg_record record;
	size_t n = 0;
	int r = 0;

	if (c->next <= c->floor)
		c->next = c->floor + 1;
	fg_reader_seek(&c->reader, c->next);
	while (n < max) {
		/* Only while nothing points into the buffer may it be read anew. */
		r = fg_reader_next(&c->reader, n == 0, &found);
		if (r <= FG_READ_END)
			break;
		if (r == FG_READ_LOST) {
			c->set->damaged_records += found.damaged;
			if (found.lost_first < c->next)
				found.lost_first = c->next;
			report_lost(c, found.lost_first, found.lost_last, FG_LOSS_DAMAGED,
				    found.is_missing ? "not in the journal any more"
						     : "damaged on disk");
			continue;
		}
		if (found.seq < c->next)
			continue;
		if (fg_record_decode(found.data, found.size, &record) < 0 || record.kind == 0 ||
		    record.kind > FG_EVENT) {
			pass_over(c, found.seq);
			continue;
		}
		fg_record_to_message(&record, &ret_messages[n]);
		if (record.unsynchronised.size > 0 && c->set->timekeeper)
			ret_messages[n].time_quality =
				repair_time(c->set->timekeeper, &record, &ret_messages[n].time_us);
		n++;
	}
	if (r < 0 && n == 0)
		return -EIO;
	if (n == 0 && c->reader.seq > c->next)
		c->next = c->reader.seq;
	return (int)n;
}

void fg_cursor_seek(struct fg_cursor *c, uint64_t seq)
{
	c->next = seq > 0 ? seq : 1;
}

uint64_t fg_cursor_position(const struct fg_cursor *c)
{
	return c->next;
}

void fg_cursor_ack(struct fg_cursor *c, uint64_t watermark)
{
	/* What is not on disk cannot have been read, and must not be settled ahead. */
	if (watermark >= c->set->lane->end_seq)
		watermark = c->set->lane->end_seq - 1;
	if (watermark > c->watermark)
		set_watermark(c, watermark);
}

void fg_cursor_set_caps(struct fg_cursor *c, uint64_t max_bytes, int64_t max_age_ms)
{
	c->max_bytes = max_bytes;
	c->max_age_ms = max_age_ms;
}

void fg_cursor_get_losses(const struct fg_cursor *c, uint64_t ret[FG_N_LOSSES])
{
	memcpy(ret, c->losses, sizeof(c->losses));
}

uint64_t fg_cursor_watermark(const struct fg_cursor *c)
{
	return c->watermark;
}

uint64_t fg_cursor_saved(const struct fg_cursor *c)
{
	return c->saved;
}

bool fg_cursor_may_send(struct fg_cursor *c, uint64_t seq)
{
	if (seq <= c->saved || seq - c->saved <= c->max_unsaved)
		return true;
	/* Once for each step the watermark makes: a save that is on its way is waited for. */
	if (c->watermark > c->saved && c->saving < c->watermark)
		c->set->must_save = true;
	return false;
}

uint64_t fg_cursor_backlog(const struct fg_cursor *c)
{
	uint64_t newest = c->set->lane->end_seq - 1;
	uint64_t backlog;

	if (newest <= c->watermark)
		return 0;
	backlog = newest - c->watermark - tables_within(c->set, c->watermark + 1, newest);
	for (unsigned i = 0; i < c->n_gaps; i++)
		backlog -= c->gaps[i].last - c->gaps[i].first + 1 -
			   tables_within(c->set, c->gaps[i].first, c->gaps[i].last);
	return backlog;
}
