#include "journal/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/headless.h"
#include "journal/reader.h"
#include "util/cleanup.h"

#define SEQ_LEAP_MAX ((uint64_t)1 << 40)

enum file_state {
	FILE_GOOD,
	FILE_UNREADABLE, /* the header; to be set aside */
	FILE_FOREIGN,    /* of another journal; ignored */
	FILE_SET_ASIDE,  /* earlier */
	FILE_MARK,       /* no segment: what was settled of those that have gone */
	FILE_IN_THE_WAY, /* of another journal, where ours will go; to be set aside */
};

struct file {
	uint64_t first_seq;
	uint64_t size;
	uint64_t header_bytes;
	uint8_t id[16];
	int64_t clock_ms, utc_us, newest_ms; /* in its header's table */
	enum file_state state;
	int error; /* of the disk, because of which its header could not be read; 0: none */
};

struct fg_recovery {
	struct fg_segments *lane; /* borrowed */
	struct file *files;
	size_t n, capacity;
	bool is_cut; /* the newest segment shall be cut at cut_offset */
	uint64_t cut_seq;
	uint64_t cut_offset;
	uint64_t unproven_offset;              /* from here on nothing shows that it was synced */
	uint8_t header[FG_SEGMENT_HEADER_MAX]; /* of the file that is looked at */
};

struct fg_recovery *fg_recovery_free(struct fg_recovery *r)
{
	if (!r)
		return NULL;
	free(r->files);
	free(r);
	return NULL;
}

static void recovery_freep(struct fg_recovery **r)
{
	fg_recovery_free(*r);
}

void fg_recovered_free(struct fg_recovered *r)
{
	free(r->table.data);
	free(r->synced_table.data);
	r->table = r->synced_table = (struct fg_table_bytes){0};
}

static int copy_table(struct fg_table_bytes *to, const uint8_t *data, size_t size)
{
	if (size > to->capacity) {
		uint8_t *bigger = realloc(to->data, size);

		if (!bigger)
			return -ENOMEM;
		to->data = bigger;
		to->capacity = size;
	}
	if (size > 0)
		memcpy(to->data, data, size);
	to->size = size;
	return 0;
}

static int add_file(void *arg, const char *name)
{
	struct fg_recovery *r = arg;
	uint64_t first_seq = 0;
	enum fg_segment_name kind;

	kind = strlen(name) < 20 ? FG_SEGMENT_NAME_OTHER : fg_segment_name_parse(name, &first_seq);
	if (kind == FG_SEGMENT_NAME_OTHER)
		return 0;
	if (r->n == r->capacity) {
		size_t capacity = r->capacity > 0 ? 2 * r->capacity : 64;
		struct file *files = realloc(r->files, capacity * sizeof(*files));

		if (!files)
			return -ENOMEM;
		r->files = files;
		r->capacity = capacity;
	}
	r->files[r->n++] = (struct file){
		.first_seq = first_seq,
		.size = r->lane->segment_bytes,
		.state = kind == FG_SEGMENT_NAME_DAMAGED  ? FILE_SET_ASIDE
			 : kind == FG_SEGMENT_NAME_PASSED ? FILE_MARK
							  : FILE_GOOD,
	};
	return 0;
}

static int compare_files(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return x->first_seq < y->first_seq ? -1 : x->first_seq > y->first_seq;
}

/* Read @size bytes. Returns 0, -EBADMSG when there are not as many, or what the disk says. */
static int read_whole(struct fg_fs *fs, int file, uint8_t *data, size_t size, uint64_t offset)
{
	ssize_t n = fs->read(fs->ctx, file, data, size, offset);

	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -EBADMSG;
}

/* Into r->header. Returns 0, -EBADMSG, -EPROTONOSUPPORT (version and features are told), or what the
 * disk says. */
static int read_header(struct fg_recovery *r, int file, struct fg_segment_header *ret)
{
	struct fg_fs *fs = r->lane->fs;
	const size_t least = FG_SEGMENT_HEADER_BYTES;
	size_t size;
	int e;

	e = read_whole(fs, file, r->header, least, 0);
	if (e < 0)
		return e;
	size = fg_segment_header_claimed_size(r->header);
	if (size < least)
		return -EBADMSG;
	e = read_whole(fs, file, r->header + least, size - least, least);
	if (e < 0)
		return e;
	return fg_segment_header_decode(r->header, size, ret);
}

static void note_header(struct file *f, const struct fg_segment_header *header)
{
	struct fg_cursor_table table;

	memcpy(f->id, header->id, sizeof(f->id));
	f->header_bytes = header->size;
	if (fg_cursor_table_decode(header->table, header->table_size, &table) < 0)
		return;
	f->clock_ms = table.clock_ms;
	f->utc_us = table.utc_us;
	f->newest_ms = table.newest_ms;
}

/* Is it not the file's fault that it could not be opened? To set it aside would lose what is in it. */
static bool is_out_of_reach(int error)
{
	return error == -EACCES || error == -EPERM || error == -EROFS || error == -EMFILE ||
	       error == -ENFILE || error == -ENOMEM || error == -EINTR;
}

/* Those set aside with a number behind the name cannot be asked: a full segment is assumed. */
static void look_at_set_aside(struct fg_recovery *r, struct file *f)
{
	struct fg_fs *fs = r->lane->fs;
	char path[FG_SEGMENT_PATH_MAX];
	int64_t size;
	int file;

	fg_segment_path(r->lane->dir, f->first_seq, FG_SEGMENT_DAMAGED_SUFFIX, path);
	file = fs->open(fs->ctx, path, false);
	if (file < 0)
		return;
	size = fs->size(fs->ctx, file);
	if (size >= 0)
		f->size = (uint64_t)size;
	fs->close(fs->ctx, file);
}

/* Its header, and its size. Returns 0, or an error as read_header(). */
static int read_file(struct fg_recovery *r, struct file *f, int file, struct fg_segment_header *ret)
{
	int64_t size = r->lane->fs->size(r->lane->fs->ctx, file);
	int e = read_header(r, file, ret);

	if (size < 0)
		return (int)size;
	f->size = (uint64_t)size;
	return e;
}

/* Returns 0, with the state found, or an error: the journal must be left alone. */
static int look_at_file(struct fg_recovery *r, struct file *f, struct fg_error *err)
{
	struct fg_fs *fs = r->lane->fs;
	char path[FG_SEGMENT_PATH_MAX];
	struct fg_segment_header header;
	int file, e;

	fg_segment_path(r->lane->dir, f->first_seq, "", path);
	file = fs->open(fs->ctx, path, false);
	if (is_out_of_reach(file))
		return fg_error_set(err, file,
				    "journal: cannot open %s for reading and writing: %s", path,
				    strerror(-file));
	e = file < 0 ? file : read_file(r, f, file, &header);
	if (file >= 0)
		fs->close(fs->ctx, file);
	if (e == -EPROTONOSUPPORT)
		return fg_error_set(err, e,
				    "journal file %s was written by a later version (format %u, "
				    "features 0x%x): run that version, or move the file away and "
				    "lose what is in it",
				    path, header.version, header.incompatible);
	if (e == 0 && header.first_seq == f->first_seq) {
		note_header(f, &header);
		return 0;
	}
	f->state = FILE_UNREADABLE;
	f->error = e == -EBADMSG ? 0 : e;
	return 0;
}

/*
 * What the disk does not give today may be whole. Of an older file the others tell who has settled what;
 * without the newest nobody knows, and the links would start anew behind all that waits for them.
 */
static int check_newest(const struct fg_recovery *r, struct fg_error *err)
{
	char path[FG_SEGMENT_PATH_MAX];
	const struct file *newest = NULL;

	for (size_t i = 0; i < r->n; i++)
		if (r->files[i].state == FILE_GOOD || r->files[i].state == FILE_UNREADABLE)
			newest = &r->files[i];
	if (!newest || newest->error == 0)
		return 0;
	fg_segment_path(r->lane->dir, newest->first_seq, "", path);
	return fg_error_set(err, newest->error,
			    "journal: cannot read %s: %s. Nothing is changed, since all may be "
			    "there when the disk works again; if it does not, move the file away "
			    "and lose what is in it",
			    path, strerror(-newest->error));
}

/* The journal is the one most files belong to; of equals, the one of the newest. */
static void choose_id(struct fg_recovery *r)
{
	struct fg_segments *l = r->lane;
	size_t votes = 0, ours = 0, theirs = 0;
	const struct file *newest = NULL;

	/* Boyer and Moore: who has the majority, if anyone, is left at the end. */
	for (size_t i = 0; i < r->n; i++) {
		const struct file *f = &r->files[i];

		if (f->state != FILE_GOOD)
			continue;
		newest = f;
		if (votes == 0)
			memcpy(l->id, f->id, sizeof(l->id));
		if (memcmp(l->id, f->id, sizeof(l->id)) == 0)
			votes++;
		else
			votes--;
	}
	for (size_t i = 0; i < r->n; i++)
		if (r->files[i].state == FILE_GOOD) {
			if (memcmp(l->id, r->files[i].id, sizeof(l->id)) == 0)
				ours++;
			else
				theirs++;
		}
	if (newest && ours <= theirs)
		memcpy(l->id, newest->id, sizeof(l->id));
	if (!newest && RAND_bytes(l->id, sizeof(l->id)) != 1)
		memset(l->id, 0x5a, sizeof(l->id));
	for (size_t i = 0; i < r->n; i++)
		if (r->files[i].state == FILE_GOOD &&
		    memcmp(l->id, r->files[i].id, sizeof(l->id)) != 0)
			r->files[i].state = FILE_FOREIGN;
	l->seed = fg_record_seed(l->id);
}

/* ---- the newest segment */

/* The table in its header, as the newest and as a synced one. Returns 0, or an error when it could be
 * read a moment ago and now cannot. */
static int header_table(struct fg_recovery *r, struct fg_segment *s, struct fg_recovered *ret)
{
	struct fg_segment_header header;
	struct fg_cursor_table table;
	int file = fg_segments_file(r->lane, s);
	int e;

	/* Without it all links would start anew, behind what waits for them. */
	if (file < 0)
		return file;
	if (read_header(r, file, &header) < 0)
		return -EIO;
	if (fg_cursor_table_decode(header.table, header.table_size, &table) < 0)
		return 0;
	e = copy_table(&ret->table, header.table, header.table_size);
	if (e == 0)
		e = copy_table(&ret->synced_table, header.table, header.table_size);
	return e;
}

struct walk {
	struct fg_segments *lane;
	uint64_t proven;          /* every record up to this one is known to have been synced */
	uint64_t unproven_offset; /* and here the next one begins */
	bool has_hole;
	uint64_t end_seq, end_offset; /* behind the last good record */
	uint64_t unread_end;          /* up to here the disk did not give all there is; or 0 */
	uint64_t damaged;
	uint64_t told;      /* tables up to this sequence number have been passed on */
	uint64_t table_seq; /* of found->table, 0: it stood in the header */
	struct fg_recovered *found;
	void (*each_table)(void *arg, uint64_t seq); /* or NULL */
	void *arg;
};

/* There is one in a commit at most, and this commit came after that of the one before. */
static int take_table(struct walk *w, const struct fg_record *record)
{
	struct fg_table_bytes older = w->found->synced_table;
	const uint8_t *data = (const uint8_t *)record->body.data;
	struct fg_cursor_table table;

	if (fg_cursor_table_decode(data, record->body.size, &table) < 0)
		return 0;
	w->found->synced_table = w->found->table;
	w->found->table = older;
	w->table_seq = record->seq;
	return copy_table(&w->found->table, data, record->body.size);
}

/* A record that ends in front of @end. */
static int walk_record(struct walk *w, const struct fg_read_result *found, uint64_t end,
		       bool is_final)
{
	struct fg_record record;
	bool is_whole = fg_record_decode(found->data, found->size, &record) == 0;

	if (record.batch_index < record.seq && record.seq - record.batch_index - 1 > w->proven) {
		w->proven = record.seq - record.batch_index - 1;
		w->unproven_offset = end - fg_record_align(found->size);
	}
	/* What is in front of the first hole stays, whatever comes behind it. */
	if ((!is_final && w->has_hole) || !is_whole || record.kind != FG_RECORD_KIND_CURSORS ||
	    record.seq <= w->told)
		return 0;
	w->told = record.seq;
	if (w->each_table)
		w->each_table(w->arg, record.seq);
	return take_table(w, &record);
}

/*
 * Walk the newest segment. The first time all valid records are looked at for what they prove; the
 * second time, the walk ends in front of the first hole that nothing proves to be damage.
 */
static int walk_newest(struct walk *w, bool is_final)
{
	struct fg_segments *l = w->lane;
	struct fg_segment *s = l->items[l->n - 1];
	struct fg_read_result found;
	struct fg_reader reader;
	int e;

	/* As if the file were full of records: the walk ends where no more come. */
	l->end_seq = s->first_seq + (s->used - s->header_bytes) / FG_RECORD_MIN_BYTES + 2;
	fg_reader_init(&reader, l);
	fg_reader_seek(&reader, s->first_seq);
	w->end_seq = s->first_seq;
	w->end_offset = s->header_bytes;
	w->damaged = 0;
	for (;;) {
		e = fg_reader_next(&reader, true, &found);
		if (e < 0 || e == FG_READ_END)
			break;
		if (e == FG_READ_LOST && found.lost_last + 1 >= l->end_seq)
			break;
		if (e == FG_READ_LOST) {
			w->has_hole = true;
			if (is_final && found.lost_first > w->proven)
				break;
			w->damaged += found.lost_last - found.lost_first + 1;
			continue;
		}
		e = walk_record(w, &found, reader.offset, is_final);
		if (e < 0)
			break;
		w->end_seq = found.seq + 1;
		w->end_offset = reader.offset;
	}
	if (reader.unread_end > w->unread_end)
		w->unread_end = reader.unread_end;
	fg_reader_free(&reader);
	return e < 0 ? e : 0;
}

/*
 * What the disk does not give today is no torn tail: it may be there tomorrow, and was acknowledged for
 * all we know. The segment stays as long as it is, and its numbers are not used again.
 */
static void keep_unread(struct fg_segments *l, const struct walk *w, uint64_t last_seen)
{
	uint64_t room = (w->unread_end - w->end_offset) / FG_RECORD_MIN_BYTES + 1;

	l->end_seq = w->end_seq + room;
	if (l->end_seq <= last_seen)
		l->end_seq = last_seen + 1;
}

static int look_at_newest(struct fg_recovery *r, struct walk *w)
{
	struct fg_segments *l = r->lane;
	struct fg_segment *s = l->items[l->n - 1];
	uint64_t size = s->used, last_seen;
	int e;

	w->unproven_offset = s->header_bytes;
	e = header_table(r, s, w->found);
	if (e == 0)
		e = walk_newest(w, false);
	last_seen = w->end_seq - 1;
	if (e == 0 && w->has_hole)
		e = walk_newest(w, true);
	if (e < 0)
		return e;
	if (w->proven >= w->table_seq) {
		e = copy_table(&w->found->synced_table, w->found->table.data, w->found->table.size);
		if (e < 0)
			return e;
	}
	/* What the walks have noted behind the new end does not hold. */
	s->damaged_to = w->damaged > 0 ? w->end_seq - 1 : 0;
	s->is_damaged = w->damaged > 0;
	r->cut_seq = s->first_seq;
	if (w->unread_end > w->end_offset) {
		keep_unread(l, w, last_seen);
		s->is_damaged = true;
		return 0;
	}
	for (unsigned i = 0; i < FG_SEGMENT_MARKS; i++)
		if (s->marks[i].offset >= w->end_offset)
			s->marks[i].offset = 0;
	s->used = w->end_offset;
	s->on_disk = w->end_offset;
	l->end_seq = w->end_seq;
	r->cut_offset = w->end_offset;
	r->unproven_offset = w->unproven_offset;
	r->is_cut = size > w->end_offset;
	return 0;
}

/* ---- the whole */

static int fill_lane(struct fg_recovery *r)
{
	struct fg_segments *l = r->lane;

	for (size_t i = 0; i < r->n; i++) {
		const struct file *f = &r->files[i];
		uint64_t used = f->size - f->size % FG_RECORD_ALIGN;

		if (f->state != FILE_GOOD)
			continue;
		if (fg_segments_reserve(l) < 0)
			return -ENOMEM;
		if (l->n > 0)
			l->items[l->n - 1]->newest_ms = f->newest_ms;
		fg_segments_add(l, f->first_seq, f->header_bytes, used, f->size);
	}
	return 0;
}

/*
 * The journal's clock as far as it is known to have got. Each header's counts, in case the newest
 * table is not readable: a clock that went back would keep what is old for longer than asked.
 */
static void find_clock(const struct fg_recovery *r, uint64_t table_seq,
		       const struct fg_cursor_table *table, struct fg_recovered *found)
{
	struct fg_segments *l = r->lane;

	found->clock_ms = table->clock_ms;
	found->utc_us = table->utc_us;
	for (size_t i = 0; i < r->n; i++) {
		const struct file *f = &r->files[i];

		if (f->state != FILE_GOOD || f->clock_ms < found->clock_ms ||
		    (f->clock_ms == table->clock_ms && table->clock_ms > 0))
			continue;
		found->clock_ms = f->clock_ms;
		found->utc_us = f->utc_us;
	}
	if (l->n > 0)
		l->items[l->n - 1]->newest_ms = table_seq > 0 && table_seq + 1 == l->end_seq
							? table->newest_ms
							: found->clock_ms + FG_CLOCK_SAVE_MS;
}

static uint64_t highest_settled(const uint8_t *data, const struct fg_cursor_table *table)
{
	uint64_t highest = 0;
	struct fg_range range;

	for (unsigned i = 0; i < table->n; i++) {
		const struct fg_cursor_entry *e = &table->entries[i];

		if (e->watermark > highest)
			highest = e->watermark;
		for (unsigned k = 0; k < e->n_ranges; k++)
			if (fg_cursor_entry_range(data, e, k, &range) && range.last > highest)
				highest = range.last;
	}
	return highest;
}

/*
 * A sequence number must never be used twice: a file that cannot be read may have held records
 * behind all that can, and a cursor that counts them as settled would skip what comes next.
 */
static uint64_t next_seq(const struct fg_recovery *r, uint64_t settled)
{
	const struct fg_segments *l = r->lane;
	uint64_t newest = l->n > 0 ? l->items[l->n - 1]->first_seq : 0;
	uint64_t next = l->end_seq;

	for (size_t i = 0; i < r->n; i++) {
		const struct file *f = &r->files[i];
		uint64_t end = f->first_seq + f->size / FG_RECORD_MIN_BYTES + 1;

		/* A name out of all proportion is not one of ours. */
		if ((f->state == FILE_UNREADABLE || f->state == FILE_SET_ASIDE) &&
		    f->first_seq > newest && end > next && end - next < SEQ_LEAP_MAX)
			next = end;
	}
	if (settled >= next && settled - next < SEQ_LEAP_MAX)
		next = settled + 1;
	return next;
}

/* Those that have gone were the oldest: a mark beyond what is there is none of ours. */
static uint64_t find_mark(const struct fg_recovery *r)
{
	uint64_t first = r->lane->n > 0 ? r->lane->items[0]->first_seq : 0;
	uint64_t passed_seq = 0;

	for (size_t i = 0; i < r->n; i++)
		if (r->files[i].state == FILE_MARK && r->files[i].first_seq <= first)
			passed_seq = r->files[i].first_seq;
	return passed_seq;
}

static uint64_t count_lost(const struct fg_recovery *r)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		if (r->files[i].state == FILE_UNREADABLE)
			n += fg_headless_count(r->lane, r->files[i].first_seq, r->files[i].size);
	return n;
}

int fg_recovery_look(struct fg_segments *l, void (*table)(void *arg, uint64_t seq), void *arg,
		     struct fg_recovery **ret, struct fg_recovered *ret_found, struct fg_error *err)
{
	FG_CLEANUP(recovery_freep) struct fg_recovery *r = NULL;
	FG_CLEANUP(fg_recovered_free) struct fg_recovered found = {0};
	struct walk walk = {.lane = l, .found = &found, .each_table = table, .arg = arg};
	struct fg_cursor_table newest = {0};
	int e;

	r = calloc(1, sizeof(*r));
	if (!r)
		return fg_error_set(err, -ENOMEM, "journal: out of memory");
	r->lane = l;
	e = l->fs->list(l->fs->ctx, l->dir, add_file, r);
	if (e < 0 && e != -ENOENT)
		return fg_error_set(err, e, "journal: cannot list directory %s: %s", l->dir,
				    strerror(-e));
	if (r->n > 0)
		qsort(r->files, r->n, sizeof(*r->files), compare_files);
	for (size_t i = 0; i < r->n; i++) {
		if (r->files[i].state == FILE_SET_ASIDE)
			look_at_set_aside(r, &r->files[i]);
		else if (r->files[i].state == FILE_GOOD)
			e = look_at_file(r, &r->files[i], err);
		if (e < 0)
			return e;
	}
	e = check_newest(r, err);
	if (e < 0)
		return e;
	choose_id(r);
	e = fill_lane(r);
	if (e == 0 && l->n > 0)
		e = look_at_newest(r, &walk);
	else if (e == 0)
		found.lost_records = count_lost(r);
	if (e < 0)
		return fg_error_set(err, e, "journal: cannot read the newest segment of %s: %s",
				    l->dir, strerror(-e));

	if (found.table.size > 0)
		fg_cursor_table_decode(found.table.data, found.table.size, &newest);
	find_clock(r, walk.told, &newest, &found);
	found.passed_seq = find_mark(r);
	found.damaged_records = walk.damaged;
	found.next_seq = next_seq(r, highest_settled(found.table.data, &newest));
	l->end_seq = found.next_seq;
	for (size_t i = 0; i < r->n; i++) {
		struct file *f = &r->files[i];

		if (f->state == FILE_FOREIGN && f->first_seq >= found.next_seq)
			f->state = FILE_IN_THE_WAY;
		found.n_damaged_files += f->state == FILE_UNREADABLE || f->state == FILE_SET_ASIDE;
		found.n_unusable_files += f->state != FILE_GOOD && f->state != FILE_SET_ASIDE &&
					  f->state != FILE_MARK;
	}
	*ret_found = found;
	found = (struct fg_recovered){0};
	*ret = r;
	r = NULL;
	return 0;
}

static void set_aside(struct fg_recovery *r, const struct file *f)
{
	struct fg_fs *fs = r->lane->fs;
	char path[FG_SEGMENT_PATH_MAX], aside[FG_SEGMENT_PATH_MAX], suffix[24];
	int file;

	fg_segment_path(r->lane->dir, f->first_seq, "", path);
	snprintf(suffix, sizeof(suffix), "%s", FG_SEGMENT_DAMAGED_SUFFIX);
	/* Under a name that nothing has: what was set aside before is kept. */
	for (unsigned i = 1; i < 100; i++) {
		fg_segment_path(r->lane->dir, f->first_seq, suffix, aside);
		file = fs->open(fs->ctx, aside, false);
		if (file < 0)
			break;
		fs->close(fs->ctx, file);
		snprintf(suffix, sizeof(suffix), "%s%u", FG_SEGMENT_DAMAGED_SUFFIX, i);
	}
	fs->rename(fs->ctx, path, aside);
}

/*
 * The daemon may have been killed when a sync had just failed: what that should have written still
 * reads as written, but the disk does not have it, and another sync knows nothing of it. So it is
 * written once more.
 */
static void write_again(struct fg_segments *l, int file, uint64_t from, uint64_t to)
{
	uint8_t data[4096];

	while (from < to) {
		size_t size = to - from < sizeof(data) ? (size_t)(to - from) : sizeof(data);
		ssize_t n = l->fs->read(l->fs->ctx, file, data, size, from);

		if (n > 0)
			n = l->fs->write(l->fs->ctx, file, data, (size_t)n, from);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return;
		from += (uint64_t)n;
	}
}

/* One that counts is empty; the others have done their duty. */
static void mend_mark(struct fg_recovery *r, const struct file *f)
{
	struct fg_fs *fs = r->lane->fs;
	char path[FG_SEGMENT_PATH_MAX];
	int file;

	fg_passed_path(r->lane->dir, f->first_seq, path);
	if (f->first_seq != find_mark(r)) {
		fs->unlink(fs->ctx, path);
		return;
	}
	file = fs->open(fs->ctx, path, false);
	if (file < 0)
		return;
	fs->truncate(fs->ctx, file, 0);
	fs->close(fs->ctx, file);
}

void fg_recovery_mend(struct fg_recovery *r)
{
	struct fg_segments *l = r->lane;
	char path[FG_SEGMENT_PATH_MAX];
	int file;

	for (size_t i = 0; i < r->n; i++) {
		const struct file *f = &r->files[i];

		if (f->state == FILE_MARK)
			mend_mark(r, f);
		/* What the disk does not give may be there with the next start. */
		if ((f->state == FILE_UNREADABLE && f->error == 0) || f->state == FILE_IN_THE_WAY)
			set_aside(r, f);
	}
	if (r->n == 0)
		return;
	/*
	 * What a daemon did that was killed, with no power cut, may be there only in memory: the
	 * last records, and the name of the newest segment. From now on both are relied on.
	 */
	l->fs->sync_dir(l->fs->ctx, "");
	l->fs->sync_dir(l->fs->ctx, l->dir);
	if (l->n == 0)
		return;
	fg_segment_path(l->dir, r->cut_seq, "", path);
	file = l->fs->open(l->fs->ctx, path, false);
	if (file < 0)
		return;
	if (r->is_cut)
		l->fs->truncate(l->fs->ctx, file, r->cut_offset);
	write_again(l, file, r->unproven_offset, r->cut_offset);
	l->fs->sync(l->fs->ctx, file);
	l->fs->close(l->fs->ctx, file);
}
