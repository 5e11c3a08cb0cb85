#include "journal/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096u

void fg_reader_init(struct fg_reader *r, struct fg_segments *lane)
{
	*r = (struct fg_reader){.lane = lane, .seq = 1};
}

void fg_reader_free(struct fg_reader *r)
{
	free(r->data);
	r->data = NULL;
	r->size = r->capacity = 0;
	r->segment = NULL;
}

static void forget_place(struct fg_reader *r, uint64_t seq)
{
	r->segment = NULL;
	r->seq = seq;
}

static bool is_place_known(const struct fg_reader *r)
{
	return r->segment && r->generation == r->lane->generation;
}

/* Ahead in what has been verified: hop there. */
static bool hop(struct fg_reader *r, uint64_t seq)
{
	while (r->seq < seq && r->offset < r->checked_offset) {
		const uint8_t *at = r->data + (r->offset - r->data_offset);

		r->offset += fg_record_align(fg_record_claimed_size(at));
		r->seq++;
	}
	return r->seq == seq;
}

void fg_reader_seek(struct fg_reader *r, uint64_t seq)
{
	bool is_buffered = is_place_known(r) && r->size > 0 &&
			   r->data_segment == r->segment->first_seq && r->offset >= r->data_offset;

	if (is_place_known(r) && r->seq == seq) {
		r->anchor_offset = is_buffered ? r->offset : 0;
		r->anchor_seq = seq;
		return;
	}
	if (is_buffered && seq < r->seq && seq >= r->data_seq) {
		bool is_near = r->anchor_offset >= r->data_offset && r->anchor_seq <= seq &&
			       r->anchor_offset < r->checked_offset;

		r->seq = is_near ? r->anchor_seq : r->data_seq;
		r->offset = is_near ? r->anchor_offset : r->data_offset;
	}
	if (is_buffered && seq >= r->seq && hop(r, seq)) {
		r->anchor_offset = r->offset;
		r->anchor_seq = seq;
		return;
	}
	forget_place(r, seq);
	r->anchor_offset = 0;
}

/* Make room for @size bytes, and give back what a big record had needed once a small buffer does.
 */
static int resize(struct fg_reader *r, size_t size)
{
	size_t capacity = size > FG_READER_BUFFER_BYTES ? size : FG_READER_BUFFER_BYTES;
	uint8_t *data;

	if (capacity == r->capacity || (capacity < r->capacity && size > FG_READER_BUFFER_BYTES))
		return 0;
	r->size = 0;
	data = malloc(capacity);
	if (!data)
		return -ENOMEM;
	free(r->data);
	r->data = data;
	r->capacity = capacity;
	return 0;
}

/*
 * One unreadable sector must not hide the rest: read page by page and leave zeros for what the disk
 * does not give, which then counts as damaged records. Only when nothing can be read is the disk
 * itself gone.
 */
static ssize_t read_around(struct fg_reader *r, int file, size_t size, uint64_t offset)
{
	struct fg_fs *fs = r->lane->fs;
	bool is_any = false;
	uint8_t probe[8];
	size_t done = 0;

	while (done < size) {
		size_t piece = PAGE_BYTES - (size_t)((offset + done) % PAGE_BYTES);
		ssize_t n;

		if (piece > size - done)
			piece = size - done;
		memset(r->data + done, 0, piece);
		n = fs->read(fs->ctx, file, r->data + done, piece, offset + done);
		if (n < 0)
			memset(r->data + done, 0, piece);
		else
			is_any = true;
		done += piece;
	}
	if (!is_any && fs->read(fs->ctx, file, probe, sizeof(probe), 0) != sizeof(probe))
		return -EIO;
	return (ssize_t)size;
}

/* Have the buffer start at @offset with at least @need bytes, or all up to the segment's end. */
static int fill(struct fg_reader *r, uint64_t offset, size_t need)
{
	struct fg_segment *s = r->segment;
	struct fg_fs *fs = r->lane->fs;
	size_t size;
	ssize_t n;
	int file, err;

	if (need > s->used - offset)
		need = (size_t)(s->used - offset);
	err = resize(r, need);
	if (err < 0)
		return err;
	size = r->capacity < s->used - offset ? r->capacity : (size_t)(s->used - offset);
	r->size = 0;
	file = fg_segments_file(r->lane, s);
	if (file == -ENOMEM || file == -EMFILE || file == -ENFILE)
		return file;
	if (file < 0)
		return -EIO;
	n = fs->read(fs->ctx, file, r->data, size, offset);
	if (n < 0)
		n = read_around(r, file, size, offset);
	if (n < 0)
		return (int)n;
	memset(r->data + n, 0, size - (size_t)n);
	r->size = size;
	r->data_segment = s->first_seq;
	r->data_offset = offset;
	r->data_seq = r->seq;
	r->checked_offset = offset;
	r->anchor_offset = 0;
	return 0;
}

/* How many bytes of the buffer there are at @offset of the current segment. */
static size_t buffered(const struct fg_reader *r, uint64_t offset)
{
	if (r->data_segment != r->segment->first_seq || offset < r->data_offset ||
	    offset >= r->data_offset + r->size)
		return 0;
	return (size_t)(r->data_offset + r->size - offset);
}

/* Is there a record at @offset? Returns its size, 0 if not, or an error. Reads what it needs. */
static int64_t probe(struct fg_reader *r, uint64_t offset, uint64_t min_seq, uint64_t max_seq)
{
	uint64_t left = r->segment->used - offset;
	uint64_t seq;
	size_t size;
	int err;

	if (left < FG_RECORD_HEADER_BYTES)
		return 0;
	if (buffered(r, offset) < FG_RECORD_HEADER_BYTES) {
		err = fill(r, offset, FG_RECORD_HEADER_BYTES);
		if (err < 0)
			return err;
	}
	size = fg_record_claimed_size(r->data + (offset - r->data_offset));
	seq = fg_record_claimed_seq(r->data + (offset - r->data_offset));
	if (size < FG_RECORD_HEADER_BYTES || size > left || seq < min_seq || seq > max_seq)
		return 0;
	if (buffered(r, offset) < size) {
		err = fill(r, offset, size);
		if (err < 0)
			return err;
	}
	if (!fg_record_check(r->data + (offset - r->data_offset), size, seq, r->lane->seed))
		return 0;
	return (int64_t)size;
}

static void report_lost(struct fg_reader *r, uint64_t next, bool is_missing,
			struct fg_read_result *ret)
{
	struct fg_segment *s = r->segment;

	*ret = (struct fg_read_result){
		.lost_first = r->seq, .lost_last = next - 1, .is_missing = is_missing};
	if (s && s->damaged_to < ret->lost_last) {
		uint64_t from = s->damaged_to >= r->seq ? s->damaged_to + 1 : r->seq;

		ret->damaged = ret->lost_last - from + 1;
		s->damaged_to = ret->lost_last;
		s->is_damaged = s->is_damaged || !is_missing;
	}
	r->seq = next;
}

/* At (seq, offset) there is no record though there should be: find the next one in this segment. */
static int resync(struct fg_reader *r, uint64_t end_seq, struct fg_read_result *ret)
{
	struct fg_segment *s = r->segment;
	bool is_blank = true;
	uint64_t offset = r->offset;
	uint64_t room;

	/* No further than records fit, so that a wild sequence number is not believed. */
	room = r->seq + (s->used - offset) / FG_RECORD_MIN_BYTES;
	if (room < end_seq - 1)
		end_seq = room + 1;
	while (offset + FG_RECORD_HEADER_BYTES <= s->used) {
		int64_t size = offset == r->offset ? 0 : probe(r, offset, r->seq + 1, end_seq - 1);

		if (size < 0) {
			r->size = 0;
			return (int)size;
		}
		if (size > 0) {
			uint64_t seq = fg_record_claimed_seq(r->data + (offset - r->data_offset));

			report_lost(r, seq, false, ret);
			r->offset = offset;
			/* What was buffered is not a chain of records from data_seq on any more. */
			r->size = 0;
			return FG_READ_LOST;
		}
		if (is_blank && buffered(r, offset) >= 8) {
			static const uint8_t zeros[8];

			is_blank = memcmp(r->data + (offset - r->data_offset), zeros, 8) == 0;
		}
		offset += FG_RECORD_ALIGN;
	}
	r->offset = s->used;
	r->size = 0;
	/* Nothing but zeros up to the end: the records never were in this file. */
	return is_blank ? FG_READ_END : FG_READ_LOST;
}

static void enter(struct fg_reader *r, size_t index, uint64_t seq, uint64_t offset)
{
	r->segment = r->lane->items[index];
	r->index = index;
	r->generation = r->lane->generation;
	r->seq = seq;
	r->offset = offset;
}

/* Returns FG_READ_LOST when what is looked for is older than all there is, else 0. */
static int find_place(struct fg_reader *r, struct fg_read_result *ret)
{
	int64_t i = fg_segments_find(r->lane, r->seq);
	uint64_t offset, seq;

	if (i < 0) {
		r->segment = NULL;
		report_lost(r, r->lane->items[0]->first_seq, true, ret);
		return FG_READ_LOST;
	}
	fg_segment_mark_find(r->lane->items[i], r->seq, &offset, &seq);
	enter(r, (size_t)i, seq, offset);
	return 0;
}

/* As fg_reader_next(), for the place the reader is at. */
static int step(struct fg_reader *r, bool may_refill, struct fg_read_result *ret)
{
	for (;;) {
		struct fg_segment *s = r->segment;
		uint64_t end_seq = fg_segments_end_seq(r->lane, r->index);
		const uint8_t *at;
		size_t have, size;
		int err;

		if (r->seq >= end_seq) {
			if (r->index + 1 >= r->lane->n)
				return FG_READ_END;
			enter(r, r->index + 1, r->seq, FG_SEGMENT_HEADER_BYTES);
			continue;
		}

		have = buffered(r, r->offset);
		if (have >= FG_RECORD_HEADER_BYTES) {
			at = r->data + (r->offset - r->data_offset);
			size = fg_record_claimed_size(at);
			if (have >= size && (r->offset < r->checked_offset ||
					     fg_record_check(at, have, r->seq, r->lane->seed))) {
				fg_segment_mark_set(r->lane, s, r->offset, r->seq);
				*ret = (struct fg_read_result){
					.data = at, .size = size, .seq = r->seq};
				r->seq++;
				r->offset += fg_record_align(size);
				if (r->offset > r->checked_offset)
					r->checked_offset = r->offset;
				return FG_READ_RECORD;
			}
		}
		if (!may_refill)
			return -EAGAIN;
		if (r->offset + FG_RECORD_HEADER_BYTES <= s->used) {
			int64_t found;

			/* Twice at most: a fresh buffer first, then one as large as the record. */
			found = probe(r, r->offset, r->seq, r->seq);
			if (found < 0)
				return (int)found;
			if (found > 0)
				continue;
			err = resync(r, end_seq, ret);
			if (err != FG_READ_END && r->offset < s->used)
				return err;
			if (err < 0)
				return err;
			report_lost(r, end_seq, err == FG_READ_END, ret);
			return FG_READ_LOST;
		}
		report_lost(r, end_seq, true, ret);
		return FG_READ_LOST;
	}
}

int fg_reader_next(struct fg_reader *r, bool may_refill, struct fg_read_result *ret)
{
	uint64_t target = r->seq;
	int e;

	if (r->seq >= r->lane->end_seq || r->lane->n == 0)
		return FG_READ_END;
	if (is_place_known(r))
		return step(r, may_refill, ret);
	if (!may_refill)
		return -EAGAIN;
	e = find_place(r, ret);
	if (e != 0)
		return e;
	/* From the nearest known place up to the one that is looked for. */
	do {
		if (r->seq == target)
			return step(r, true, ret);
		e = step(r, true, ret);
		if (e < 0) {
			forget_place(r, target);
			return e;
		}
	} while (e == FG_READ_RECORD || (e == FG_READ_LOST && ret->lost_last < target));
	if (e == FG_READ_LOST && ret->lost_first < target)
		ret->lost_first = target;
	return e;
}
