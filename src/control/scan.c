#include "control/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/scan_place.h"
#include "journal/record.h"
#include "util/cleanup.h"

struct fg_scan {
	int dir_fd; /* borrowed */
	struct fg_scan_file *files;
	size_t n, capacity;
	uint32_t seed; /* of the records' CRC */
	const struct fg_scan_file *newest;

	/* What was found in the newest segment. */
	uint64_t end_seq; /* one above its last record */
	struct fg_cursor_table cursors;
	uint8_t *table; /* the bytes that were taken from, or NULL */
	size_t table_capacity;

	struct fg_scan_place at;
	size_t next; /* file to enter next */
	bool is_torn_told;
	uint64_t done_bytes;

	uint8_t header[FG_SEGMENT_HEADER_MAX]; /* of the file that is looked at */
};

/* ---- the list of files */

static int compare_files(const void *a, const void *b)
{
	const struct fg_scan_file *x = a, *y = b;

	if (x->first_seq != y->first_seq)
		return x->first_seq < y->first_seq ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int add_file(struct fg_scan *s, const char *name)
{
	uint64_t first_seq = 0;
	enum fg_segment_name kind;
	struct fg_scan_file *f;

	kind = strlen(name) < 20 || strlen(name) >= FG_SEGMENT_PATH_MAX
		       ? FG_SEGMENT_NAME_OTHER
		       : fg_segment_name_parse(name, &first_seq);
	if (kind == FG_SEGMENT_NAME_OTHER || kind == FG_SEGMENT_NAME_PASSED)
		return 0;
	if (s->n == s->capacity) {
		size_t capacity = s->capacity > 0 ? 2 * s->capacity : 64;
		struct fg_scan_file *files = realloc(s->files, capacity * sizeof(*files));

		if (!files)
			return -ENOMEM;
		s->files = files;
		s->capacity = capacity;
	}
	f = &s->files[s->n++];
	*f = (struct fg_scan_file){
		.first_seq = first_seq,
		.state = kind == FG_SEGMENT_NAME_DAMAGED ? FG_SCAN_FILE_SET_ASIDE
							 : FG_SCAN_FILE_GOOD,
	};
	strcpy(f->name, name); /* NOLINT: it fits, see above */
	return 0;
}

static int list(struct fg_scan *s)
{
	struct dirent *entry;
	DIR *dir;
	int fd, r = 0;

	fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	while (r == 0) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			r = -errno;
			break;
		}
		r = add_file(s, entry->d_name);
	}
	closedir(dir);
	if (r == 0 && s->n > 0)
		qsort(s->files, s->n, sizeof(*s->files), compare_files);
	return r;
}

static void unreadable(struct fg_scan_file *f, const char *why)
{
	f->state = FG_SCAN_FILE_UNREADABLE;
	snprintf(f->why, sizeof(f->why), "%s", why);
}

/*
 * Reads the header of file @f into s->header, as much of it as there is; header_bytes is its size as
 * it claims, 0 when it cannot be one. Returns -ENOENT when the file is gone.
 */
static int read_header(struct fg_scan *s, struct fg_scan_file *f)
{
	struct fg_scan_place p = {0};
	struct stat st;
	int r;

	r = fg_scan_place_open(&p, s->dir_fd, f, UINT64_MAX);
	if (r < 0)
		return r;
	if (fstat(p.fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	else
		f->size_bytes = (uint64_t)st.st_size;
	if (r == 0)
		fg_scan_place_read(&p, s->header, FG_SEGMENT_HEADER_BYTES, 0);
	f->header_bytes = r == 0 ? fg_segment_header_claimed_size(s->header) : 0;
	if (f->header_bytes > f->size_bytes)
		f->header_bytes = 0;
	if (f->header_bytes > 0)
		fg_scan_place_read(&p, s->header, (size_t)f->header_bytes, 0);
	if (r == 0)
		r = p.read_error;
	fg_scan_place_close(&p);
	return r;
}

/* Returns -ENOENT when the file has gone since it was listed. */
static int look_at_file(struct fg_scan *s, struct fg_scan_file *f)
{
	struct fg_segment_header header;
	int r;

	r = read_header(s, f);
	if (r == -ENOENT || f->state == FG_SCAN_FILE_SET_ASIDE)
		return r == -ENOENT ? r : 0;
	if (r == -EINVAL) {
		unreadable(f, "it is not a regular file");
		return 0;
	}
	if (r < 0) {
		unreadable(f, strerror(-r));
		return 0;
	}
	if (f->size_bytes < FG_SEGMENT_HEADER_BYTES) {
		unreadable(f, "it is shorter than a header");
		return 0;
	}
	r = fg_segment_header_decode(s->header, (size_t)f->header_bytes, &header);
	f->version = header.version;
	f->incompatible = header.incompatible;
	f->made_us = header.made_us;
	memcpy(f->id, header.id, sizeof(f->id));
	if (r == -EPROTONOSUPPORT)
		f->state = FG_SCAN_FILE_LATER;
	else if (r < 0)
		unreadable(f, memcmp(s->header, FG_SEGMENT_MAGIC, 8) == 0
				      ? "its header is damaged"
				      : "it does not start as a segment does");
	else if (header.first_seq != f->first_seq)
		unreadable(f, "its name and its header disagree about the first record");
	return 0;
}

static int look_at_files(struct fg_scan *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		/* Gone between listing and reading: the daemon no longer needed it. */
		if (look_at_file(s, &s->files[i]) == -ENOENT)
			continue;
		s->files[kept++] = s->files[i];
	}
	s->n = kept;
	return 0;
}

static bool is_same_journal(const struct fg_scan_file *a, const struct fg_scan_file *b)
{
	return memcmp(a->id, b->id, sizeof(a->id)) == 0;
}

/* The journal is the one more than half of the files belong to, else the newest's: as the daemon
 * has it. (The candidate is found as Boyer and Moore do.) */
static void choose_journal(struct fg_scan *s)
{
	const struct fg_scan_file *candidate = NULL, *newest = NULL;
	size_t votes = 0, ours = 0, all = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct fg_scan_file *f = &s->files[i];

		if (f->state != FG_SCAN_FILE_GOOD)
			continue;
		newest = f;
		all++;
		if (votes == 0)
			candidate = f;
		votes = is_same_journal(f, candidate) ? votes + 1 : votes - 1;
	}
	for (size_t i = 0; i < s->n; i++)
		ours += s->files[i].state == FG_SCAN_FILE_GOOD &&
			is_same_journal(&s->files[i], candidate);
	if (2 * ours <= all)
		candidate = newest;
	for (size_t i = 0; i < s->n; i++) {
		if (s->files[i].state != FG_SCAN_FILE_GOOD)
			continue;
		if (is_same_journal(&s->files[i], candidate))
			s->newest = &s->files[i];
		else
			s->files[i].state = FG_SCAN_FILE_FOREIGN;
	}
	if (s->newest)
		s->seed = fg_record_seed(s->newest->id);
}

/* ---- the newest segment */

/* A table that reads is the newest so far. Returns 0 or -ENOMEM. */
static int take_cursors(struct fg_scan *s, const uint8_t *data, size_t size)
{
	struct fg_cursor_table table;

	if (fg_cursor_table_decode(data, size, &table) < 0)
		return 0;
	if (size > s->table_capacity) {
		uint8_t *bigger = realloc(s->table, size);

		if (!bigger)
			return -ENOMEM;
		s->table = bigger;
		s->table_capacity = size;
	}
	memcpy(s->table, data, size);
	s->cursors = table;
	return 0;
}

static int header_cursors(struct fg_scan *s)
{
	struct fg_scan_file file = *s->newest;
	struct fg_segment_header header;

	if (read_header(s, &file) < 0 ||
	    fg_segment_header_decode(s->header, (size_t)file.header_bytes, &header) < 0)
		return 0;
	return take_cursors(s, header.table, header.table_size);
}

/* What the record at @event means for the whole. Returns 0 or -ENOMEM. */
static int take_record(struct fg_scan *s, const struct fg_scan_event *event, bool is_final,
		       uint64_t *proven)
{
	struct fg_record record;
	int r;

	/* Sequence, time, batch index and kind stand also when the parts do not add up. */
	r = fg_record_decode(event->data, (size_t)event->size_bytes, &record);
	if (is_final && r == 0 && record.kind == FG_RECORD_KIND_CURSORS)
		return take_cursors(s, (const uint8_t *)record.body.data, record.body.size);
	if (!is_final && record.batch_index < record.seq &&
	    record.seq - record.batch_index - 1 > *proven)
		*proven = record.seq - record.batch_index - 1;
	return 0;
}

/*
 * Walk the newest segment once. The first walk learns from all valid records what they prove to
 * have been synced (*@proven); the second ends in front of the first hole that nothing proves to be
 * damage. The second reads afresh: what a daemon was writing when the first one came by, and had
 * synced before it wrote what proves it, is whole by then.
 */
static int walk_newest(struct fg_scan *s, bool is_final, uint64_t *proven)
{
	struct fg_scan_event event = {0};
	int r;

	r = fg_scan_place_open(&s->at, s->dir_fd, s->newest, UINT64_MAX);
	if (r < 0)
		return r;
	s->end_seq = s->newest->first_seq;
	while ((r = fg_scan_place_next(&s->at, s->seed, &event)) > 0) {
		if (event.type != FG_SCAN_RECORD) {
			if (is_final && event.first_seq > *proven)
				break;
			continue;
		}
		s->end_seq = event.last_seq + 1;
		r = take_record(s, &event, is_final, proven);
		if (r < 0)
			break;
	}
	fg_scan_place_close(&s->at);
	return r < 0 ? r : 0;
}

static int look_at_newest(struct fg_scan *s)
{
	uint64_t proven = 0;
	int r;

	if (!s->newest)
		return 0;
	r = header_cursors(s);
	if (r == 0)
		r = walk_newest(s, false, &proven);
	if (r == 0)
		r = walk_newest(s, true, &proven);
	return r;
}

/* ---- the whole */

struct fg_scan *fg_scan_free(struct fg_scan *s)
{
	if (!s)
		return NULL;
	fg_scan_place_close(&s->at);
	free(s->at.data);
	free(s->table);
	free(s->files);
	free(s);
	return NULL;
}

static void scan_freep(struct fg_scan **s)
{
	fg_scan_free(*s);
}

int fg_scan_open(int dir_fd, struct fg_scan **ret, struct fg_error *err)
{
	FG_CLEANUP(scan_freep) struct fg_scan *s = NULL;
	int r;

	s = calloc(1, sizeof(*s));
	if (!s)
		return fg_error_set(err, -ENOMEM, "out of memory");
	s->dir_fd = dir_fd;
	r = list(s);
	if (r < 0)
		return fg_error_set(err, r, "cannot list the directory: %s", strerror(-r));
	look_at_files(s);
	choose_journal(s);
	r = look_at_newest(s);
	if (r < 0)
		return fg_error_set(err, r, "cannot read the newest segment %s: %s",
				    s->newest->name, strerror(-r));
	*ret = s;
	s = NULL;
	return 0;
}

const struct fg_scan_file *fg_scan_files(const struct fg_scan *s, size_t *ret_n)
{
	*ret_n = s->n;
	return s->files;
}

const struct fg_scan_file *fg_scan_newest(const struct fg_scan *s)
{
	return s->newest;
}

bool fg_scan_cursors(const struct fg_scan *s, struct fg_cursor_table *ret, const uint8_t **ret_data)
{
	if (!s->table)
		return false;
	*ret = s->cursors;
	*ret_data = s->table;
	return true;
}

/* The next readable segment from file @i on, or NULL. */
static const struct fg_scan_file *good_from(const struct fg_scan *s, size_t i)
{
	for (; i < s->n; i++)
		if (s->files[i].state == FG_SCAN_FILE_GOOD)
			return &s->files[i];
	return NULL;
}

void fg_scan_skip_to(struct fg_scan *s, uint64_t seq)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->files[i].state == FG_SCAN_FILE_GOOD && s->files[i].first_seq <= seq)
			s->next = i;
}

/* Behind the newest segment's last record: returns 1 with FG_SCAN_TORN if something is there. */
static int tell_torn(struct fg_scan *s, struct fg_scan_event *ret)
{
	struct fg_scan_place *p = &s->at;
	uint64_t end = 0;

	s->is_torn_told = true;
	if (p->offset > p->file->size_bytes)
		return 0;
	if (fg_scan_place_nonblank(p, &end) < 0)
		return -ENOMEM;
	if (end == 0)
		return 0;
	*ret = (struct fg_scan_event){
		.type = FG_SCAN_TORN,
		.file = p->file,
		.first_seq = s->end_seq,
		.last_seq = s->end_seq - 1,
		.offset = p->offset,
		.size_bytes = end - p->offset,
	};
	return 1;
}

static int enter_next(struct fg_scan *s, struct fg_scan_event *ret)
{
	const struct fg_scan_file *file = good_from(s, s->next), *after;
	int r;

	*ret = (struct fg_scan_event){.type = FG_SCAN_END};
	if (!file)
		return 0;
	s->next = (size_t)(file - s->files) + 1;
	after = good_from(s, s->next);
	r = fg_scan_place_open(&s->at, s->dir_fd, file, after ? after->first_seq : s->end_seq);
	if (r == -ENOMEM)
		return r;
	*ret = (struct fg_scan_event){
		.type = r == 0 ? FG_SCAN_SEGMENT : FG_SCAN_GONE,
		.file = file,
		.first_seq = file->first_seq,
		.read_error = r == -ENOENT ? 0 : r,
	};
	if (r < 0)
		s->done_bytes += file->size_bytes;
	return 1;
}

int fg_scan_next(struct fg_scan *s, struct fg_scan_event *ret)
{
	int r;

	if (!s->at.file)
		return enter_next(s, ret);
	r = fg_scan_place_next(&s->at, s->seed, ret);
	if (r != 0)
		return r;
	if (s->at.file == s->newest && !s->is_torn_told) {
		r = tell_torn(s, ret);
		if (r != 0)
			return r;
	}
	*ret = (struct fg_scan_event){
		.type = FG_SCAN_SEGMENT_END,
		.file = s->at.file,
		.last_seq = s->at.seq - 1,
		.read_error = s->at.read_error,
	};
	s->done_bytes += s->at.file->size_bytes;
	fg_scan_place_close(&s->at);
	return 1;
}

void fg_scan_progress(const struct fg_scan *s, uint64_t *ret_done, uint64_t *ret_all)
{
	*ret_done = s->done_bytes + (s->at.file ? s->at.offset : 0);
	*ret_all = 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->files[i].state == FG_SCAN_FILE_GOOD)
			*ret_all += s->files[i].size_bytes;
}
