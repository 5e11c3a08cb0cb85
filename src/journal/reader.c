#include "journal/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/crc32c.h"

#define PAGE_BYTES 4096u

/*
 * While the next record behind a damage is looked for: what claims to be one costs a look at all of
 * it, and a message may be full of such claims, on purpose. So once those that were wrong come to
 * this many times the segment, only those up to SMALL_BYTES are looked at. That is so where the
 * header of such a message is damaged, and what a disk does to it may then cost larger records behind
 * it, up to the next small one.
 */
#define FAILED_PART 4
#define SMALL_BYTES 16384u

void fg_reader_init(struct fg_reader *r, struct fg_segments *lane)
{
	*r = (struct fg_reader){.lane = lane, .target = 1, .seq = 1, .work_left = UINT64_MAX};
}

static void forget_place(struct fg_reader *r)
{
	r->segment = NULL;
	r->scan_offset = 0;
}

void fg_reader_free(struct fg_reader *r)
{
	free(r->data);
	r->data = NULL;
	r->size = r->capacity = 0;
	forget_place(r);
}

static void work(struct fg_reader *r, uint64_t bytes)
{
	r->work_left -= bytes < r->work_left ? bytes : r->work_left;
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

/* Is the place where the reader is as near in front of @seq as any that is known? */
static bool is_nearest(const struct fg_reader *r, uint64_t seq)
{
	uint64_t offset, marked;

	if (r->seq > seq || seq >= fg_segments_end_seq(r->lane, r->index))
		return false;
	fg_segment_mark_find(r->segment, seq, &offset, &marked);
	return marked <= r->seq;
}

void fg_reader_seek(struct fg_reader *r, uint64_t seq)
{
	bool is_known = is_place_known(r);
	bool is_buffered = is_known && r->size > 0 && r->scan_offset == 0 &&
			   r->data_segment == r->segment->first_seq && r->offset >= r->data_offset;

	r->target = seq;
	if (is_known && r->seq == seq) {
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
	r->anchor_offset = 0;
	if (!is_known || !is_nearest(r, seq))
		forget_place(r);
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
	uint64_t unread_before = r->unread_end;
	bool is_any = false;
	uint8_t probe[8];
	size_t done = 0;
	ssize_t whole;

	while (done < size) {
		size_t piece = PAGE_BYTES - (size_t)((offset + done) % PAGE_BYTES);
		ssize_t n;

		if (piece > size - done)
			piece = size - done;
		memset(r->data + done, 0, piece);
		n = fs->read(fs->ctx, file, r->data + done, piece, offset + done);
		if (n < 0) {
			memset(r->data + done, 0, piece);
			if (offset + done + piece > r->unread_end)
				r->unread_end = offset + done + piece;
		} else {
			is_any = true;
		}
		done += piece;
	}
	if (!is_any && fs->read(fs->ctx, file, probe, sizeof(probe), 0) != sizeof(probe))
		return -EIO;
	/* A disk that came back in the middle of this has lost nothing. */
	whole = fs->read(fs->ctx, file, r->data, size, offset);
	if (whole < 0)
		return (ssize_t)size;
	r->unread_end = unread_before;
	return whole;
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
	if (r->data_segment != s->first_seq)
		r->unread_end = 0;
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

/*
 * The same as fg_record_check() for what is larger than the buffer: that grows only for what is a
 * record. Leaves nothing in the buffer. Returns 1, 0 or an error.
 */
static int check_large(struct fg_reader *r, uint64_t offset, size_t size)
{
	uint32_t crc = r->lane->seed, expected = 0;

	for (size_t done = 0; done < size;) {
		size_t skip = done == 0 ? sizeof(expected) : 0;
		size_t piece = size - done;
		int err = fill(r, offset + done, FG_RECORD_HEADER_BYTES);

		if (err < 0)
			return err;
		if (piece > r->size)
			piece = r->size;
		if (done == 0)
			expected = fg_get_le32(r->data);
		crc = fg_crc32c(crc, r->data + skip, piece - skip);
		done += piece;
	}
	r->size = 0;
	return crc == expected;
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
	/* Who has it made look like so many records that are none is not believed any more. */
	if (size > SMALL_BYTES && r->failed_bytes > FAILED_PART * r->segment->used)
		return 0;
	work(r, size);
	if (size > FG_READER_BUFFER_BYTES && buffered(r, offset) < size) {
		err = check_large(r, offset, size);
		if (err < 0)
			return err;
		if (err == 0) {
			r->failed_bytes += size;
			return 0;
		}
	}
	if (buffered(r, offset) < size) {
		err = fill(r, offset, size);
		if (err < 0)
			return err;
	}
	if (fg_record_check(r->data + (offset - r->data_offset), size, seq, r->lane->seed))
		return (int64_t)size;
	r->failed_bytes += size;
	return 0;
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

/* The next record behind a damage is at @offset. */
static int resume(struct fg_reader *r, uint64_t offset, struct fg_read_result *ret)
{
	uint64_t seq = fg_record_claimed_seq(r->data + (offset - r->data_offset));

	report_lost(r, seq, false, ret);
	r->offset = offset;
	r->scan_offset = 0;
	/* What was buffered is not a chain of records from data_seq on any more. */
	r->size = 0;
	return FG_READ_LOST;
}

/* Where the next record is if the damaged one's size is right, or 0; or an error. */
static int64_t probe_behind(struct fg_reader *r)
{
	uint64_t left = r->segment->used - r->offset;
	uint64_t size;
	int64_t found;
	int err;

	if (buffered(r, r->offset) < FG_RECORD_HEADER_BYTES) {
		err = fill(r, r->offset, FG_RECORD_HEADER_BYTES);
		if (err < 0)
			return err;
	}
	size = fg_record_align(fg_record_claimed_size(r->data + (r->offset - r->data_offset)));
	if (size < FG_RECORD_HEADER_BYTES || size > left)
		return 0;
	found = probe(r, r->offset + size, r->seq + 1, r->seq + 1);
	return found > 0 ? (int64_t)(r->offset + size) : found;
}

/*
 * At (seq, offset) there is no record though there should be: find the next one in this segment. May
 * take several calls. Returns FG_READ_END when there are but zeros: the records never were in this
 * file.
 */
static int resync(struct fg_reader *r, uint64_t end_seq, struct fg_read_result *ret)
{
	static const uint8_t zeros[FG_RECORD_ALIGN];
	struct fg_segment *s = r->segment;
	uint64_t room;
	int64_t found;

	/* No further than records fit, so that a wild sequence number is not believed. */
	room = r->seq + (s->used - r->offset) / FG_RECORD_MIN_BYTES;
	if (room < end_seq - 1)
		end_seq = room + 1;
	if (r->scan_offset == 0) {
		found = r->seq + 1 < end_seq ? probe_behind(r) : 0;
		if (found > 0)
			return resume(r, (uint64_t)found, ret);
		if (found < 0)
			return (int)found;
		r->scan_offset = r->offset;
		r->is_blank = true;
	}
	for (; r->scan_offset + FG_RECORD_HEADER_BYTES <= s->used;
	     r->scan_offset += FG_RECORD_ALIGN) {
		uint64_t offset = r->scan_offset;

		if (r->work_left == 0)
			return FG_READ_MORE;
		work(r, FG_RECORD_ALIGN);
		found = offset == r->offset ? 0 : probe(r, offset, r->seq + 1, end_seq - 1);
		if (found < 0) {
			r->size = 0;
			return (int)found;
		}
		if (found > 0)
			return resume(r, offset, ret);
		/* What the disk did not give is zeros, too, but nobody knows what is there. */
		if (r->is_blank && buffered(r, offset) >= sizeof(zeros))
			r->is_blank = offset >= r->unread_end &&
				      memcmp(r->data + (offset - r->data_offset), zeros,
					     sizeof(zeros)) == 0;
	}
	r->offset = s->used;
	r->scan_offset = 0;
	r->size = 0;
	return r->is_blank ? FG_READ_END : FG_READ_LOST;
}

static void enter(struct fg_reader *r, size_t index, uint64_t seq, uint64_t offset)
{
	r->segment = r->lane->items[index];
	r->index = index;
	r->generation = r->lane->generation;
	r->seq = seq;
	r->offset = offset;
	r->scan_offset = 0;
}

/* Returns FG_READ_LOST when what is looked for is older than all there is, else 0. */
static int find_place(struct fg_reader *r, struct fg_read_result *ret)
{
	int64_t i = fg_segments_find(r->lane, r->target);
	uint64_t offset, seq;

	if (i < 0) {
		r->segment = NULL;
		r->seq = r->target;
		report_lost(r, r->lane->items[0]->first_seq, true, ret);
		r->target = r->seq;
		return FG_READ_LOST;
	}
	fg_segment_mark_find(r->lane->items[i], r->target, &offset, &seq);
	enter(r, (size_t)i, seq, offset);
	return 0;
}

/* The record at the reader's place, when it is in the buffer and good. */
static bool take_buffered(struct fg_reader *r, struct fg_read_result *ret)
{
	size_t have = buffered(r, r->offset);
	const uint8_t *at;
	size_t size;

	if (have < FG_RECORD_HEADER_BYTES)
		return false;
	at = r->data + (r->offset - r->data_offset);
	size = fg_record_claimed_size(at);
	if (have < size ||
	    (r->offset >= r->checked_offset && !fg_record_check(at, have, r->seq, r->lane->seed)))
		return false;
	fg_segment_mark_set(r->lane, r->segment, r->offset, r->seq);
	*ret = (struct fg_read_result){.data = at, .size = size, .seq = r->seq};
	r->seq++;
	r->offset += fg_record_align(size);
	if (r->offset > r->checked_offset)
		r->checked_offset = r->offset;
	work(r, size);
	return true;
}

/* As fg_reader_next(), for the place the reader is at. */
static int step(struct fg_reader *r, bool may_refill, struct fg_read_result *ret)
{
	for (;;) {
		struct fg_segment *s = r->segment;
		uint64_t end_seq = fg_segments_end_seq(r->lane, r->index);
		int64_t found;
		int e = FG_READ_END;

		if (r->seq >= end_seq) {
			if (r->index + 1 >= r->lane->n)
				return FG_READ_END;
			enter(r, r->index + 1, r->seq, r->lane->items[r->index + 1]->header_bytes);
			continue;
		}
		if (r->scan_offset == 0 && take_buffered(r, ret))
			return FG_READ_RECORD;
		if (!may_refill)
			return -EAGAIN;
		if (r->offset + FG_RECORD_HEADER_BYTES <= s->used) {
			found = 0;
			if (r->scan_offset == 0) {
				r->failed_bytes = 0;
				found = probe(r, r->offset, r->seq, r->seq);
			}
			if (found < 0)
				return (int)found;
			/* Once: it is in the buffer now. */
			if (found > 0)
				continue;
			e = resync(r, end_seq, ret);
			if (e < 0 || e == FG_READ_MORE || r->offset < s->used)
				return e;
		}
		report_lost(r, end_seq, e == FG_READ_END, ret);
		return FG_READ_LOST;
	}
}

int fg_reader_next(struct fg_reader *r, bool may_refill, struct fg_read_result *ret)
{
	int e;

	if (r->target >= r->lane->end_seq || r->lane->n == 0)
		return FG_READ_END;
	if (!is_place_known(r)) {
		if (!may_refill)
			return -EAGAIN;
		e = find_place(r, ret);
		if (e != 0)
			return e;
	}
	/* From the nearest known place up to the one that is looked for. */
	do {
		if (r->work_left == 0)
			return FG_READ_MORE;
		e = step(r, may_refill, ret);
		if (e < 0 && e != -EAGAIN)
			forget_place(r);
		if (e <= FG_READ_END || e == FG_READ_MORE)
			return e;
	} while (r->seq <= r->target);
	if (e == FG_READ_LOST && ret->lost_first < r->target)
		ret->lost_first = r->target;
	r->target = r->seq;
	return e;
}
