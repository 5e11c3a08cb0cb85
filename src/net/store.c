#include "net/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/cleanup.h"
#include "util/crc32c.h"
#include "util/durable.h"
#include "util/io.h"
#include "util/log.h"

#define MAGIC "FGSTORE1"
#define MAGIC_BYTES 8
#define HEADER_BYTES 12
#define RETRY_MS 60000

/* The entries, as they stand in the file behind its header. */
struct table {
	uint8_t *data;
	size_t size;
};

struct fg_store {
	struct fg_store_options with;
	char *path;
	struct table wanted;  /* as set */
	struct table on_disk; /* as read, or written last */
	struct table writing; /* the thread's while is_writing */
	struct fg_connector_job job;
	struct fg_store_wait *waits;
	uint64_t version;         /* of `wanted` */
	uint64_t writing_version; /* … and of `writing`, the last one of all */
	uint64_t n_begun;         /* writes */
	int result;               /* the thread's word */
	bool is_writing;          /* the job is at work */
	bool is_dirty;            /* `wanted` is newer than `writing` */
	bool is_waiting;          /* for fg_store_tick(), after a failure */
	bool is_telling;          /* those who wait */
	bool is_freed;            /* release when the job is done, and all have been told */
	int64_t now_ms, retry_at_ms;
};

/* ---- tables */

struct entry {
	struct fg_span key, value;
	size_t offset, size; /* of the whole entry */
};

/* The entry at @offset. Returns false at the end, or where the bytes do not add up. */
static bool entry_at(const struct table *t, size_t offset, struct entry *ret)
{
	size_t left = t->size - offset, key_size, value_size;
	const uint8_t *at;

	if (offset >= t->size || left < 4)
		return false;
	at = t->data + offset;
	key_size = fg_get_le16(at);
	if (key_size == 0 || key_size > FG_STORE_KEY_MAX || left < 4 + key_size)
		return false;
	value_size = fg_get_le16(at + 2 + key_size);
	if (value_size > FG_STORE_VALUE_MAX || left < 4 + key_size + value_size)
		return false;
	ret->key = fg_span_of(at + 2, key_size);
	ret->value = fg_span_of(at + 4 + key_size, value_size);
	ret->offset = offset;
	ret->size = 4 + key_size + value_size;
	return true;
}

static bool find(const struct table *t, struct fg_span key, struct entry *ret)
{
	for (size_t offset = 0; entry_at(t, offset, ret); offset += ret->size)
		if (fg_span_equal(ret->key, key))
			return true;
	return false;
}

static void table_free(struct table *t)
{
	if (t->data)
		explicit_bzero(t->data, t->size);
	free(t->data);
	*t = (struct table){.data = NULL};
}

static int table_copy(const struct table *from, struct table *ret)
{
	struct table copy = {.size = from->size, .data = malloc(from->size + 1)};

	if (!copy.data)
		return -ENOMEM;
	if (from->size > 0)
		memcpy(copy.data, from->data, from->size);
	table_free(ret);
	*ret = copy;
	return 0;
}

/* ---- the file */

/* Touches the path and `writing` only: it runs on a thread. */
static int write_file(const struct fg_store *s)
{
	uint8_t header[HEADER_BYTES];
	const struct fg_span parts[] = {
		fg_span_of(header, sizeof(header)),
		fg_span_of(s->writing.data, s->writing.size),
	};

	memcpy(header, MAGIC, MAGIC_BYTES);
	fg_put_le32(header + MAGIC_BYTES, fg_crc32c(0, s->writing.data, s->writing.size));
	return fg_durable_replace(s->path, 0600, parts, 2);
}

static bool is_sound(const uint8_t *data, size_t size)
{
	struct table t = {.data = (uint8_t *)data + HEADER_BYTES, .size = size - HEADER_BYTES};
	size_t offset = 0;
	struct entry e;

	if (size < HEADER_BYTES || memcmp(data, MAGIC, MAGIC_BYTES) != 0 ||
	    fg_get_le32(data + MAGIC_BYTES) != fg_crc32c(0, t.data, t.size))
		return false;
	while (entry_at(&t, offset, &e))
		offset += e.size;
	return offset == t.size;
}

static int set_aside(struct fg_store *s)
{
	FG_CLEANUP(fg_free_p) char *path = NULL;

	if (asprintf(&path, "%s.damaged", s->path) < 0)
		return -ENOMEM;
	if (rename(s->path, path) < 0)
		return -errno;
	fg_error_log("%s is damaged: it is now called %s, and what it knew is forgotten", s->path,
		     path);
	return 0;
}

static int read_file(struct fg_store *s)
{
	FG_CLEANUP(fg_free_p) uint8_t *data = malloc(s->with.max_bytes + 1);
	struct table read = {.data = NULL};
	ssize_t size;
	int fd, r;

	if (!data)
		return -ENOMEM;
	fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	size = fg_read_all(fd, data, s->with.max_bytes + 1);
	close(fd);
	if (size < 0)
		return (int)size;
	if ((size_t)size > s->with.max_bytes || !is_sound(data, (size_t)size))
		return set_aside(s);
	read = (struct table){.data = data + HEADER_BYTES, .size = (size_t)size - HEADER_BYTES};
	r = table_copy(&read, &s->wanted);
	if (r == 0)
		r = table_copy(&read, &s->on_disk);
	explicit_bzero(data, (size_t)size);
	return r;
}

/* ---- writing */

static void start_writing(struct fg_store *s);

/* Tell of each key whose value in @now is not that in @before. */
static void tell_changes(struct fg_store *s, const struct table *before, const struct table *now,
			 int error)
{
	struct entry e, other;

	if (!s->with.stored)
		return;
	for (size_t offset = 0; entry_at(now, offset, &e); offset += e.size)
		if (!find(before, e.key, &other) || !fg_span_equal(e.value, other.value))
			s->with.stored(s->with.arg, e.key, error);
	for (size_t offset = 0; entry_at(before, offset, &e); offset += e.size)
		if (!find(now, e.key, &other))
			s->with.stored(s->with.arg, e.key, error);
}

static void store_release(struct fg_store *s)
{
	table_free(&s->wanted);
	table_free(&s->on_disk);
	table_free(&s->writing);
	free(s->path);
	free(s);
}

/* Nobody comes back for it: write what was set last, by this thread, and release. */
static void store_end(struct fg_store *s)
{
	int r = 0;

	if (s->is_dirty)
		r = table_copy(&s->wanted, &s->writing);
	if (s->is_dirty && r == 0)
		r = write_file(s);
	if (r < 0)
		fg_error_log("%s: cannot be written: %s", s->path, strerror(-r));
	store_release(s);
}

static struct fg_store_wait *first_wait_up_to(const struct fg_store *s, uint64_t version)
{
	struct fg_store_wait *w = s->waits;

	while (w && w->version > version)
		w = w->next;
	return w;
}

/* Whoever waits for @version or less need not any more. Each may release whom it likes, us too. */
static void end_waits(struct fg_store *s, uint64_t version, int error)
{
	struct fg_store_wait *w;

	s->is_telling = true;
	while (!s->is_freed && (w = first_wait_up_to(s, version))) {
		fg_store_wait_cancel(w);
		w->ended(w, error);
	}
	s->is_telling = false;
	if (s->is_freed && !s->is_writing)
		store_end(s);
}

static struct fg_store *store_of(struct fg_connector_job *job)
{
	return (struct fg_store *)((char *)job - offsetof(struct fg_store, job));
}

static void job_work(struct fg_connector_job *job) /* on the thread */
{
	struct fg_store *s = store_of(job);

	s->result = write_file(s);
}

static void job_done(struct fg_connector_job *job)
{
	struct fg_store *s = store_of(job);
	struct table before = s->on_disk;
	struct table written = s->writing;
	uint64_t version = s->writing_version;

	s->is_writing = false;
	if (s->is_freed) {
		s->is_dirty = s->is_dirty || s->result < 0;
		store_end(s);
		return;
	}
	s->writing = (struct table){.data = NULL};
	if (s->result < 0) {
		s->is_dirty = s->is_waiting = true;
		s->retry_at_ms = s->now_ms + RETRY_MS;
		tell_changes(s, &before, &written, s->result);
		table_free(&written);
		/* Nor is what was set meanwhile written soon. */
		end_waits(s, s->version, s->result);
		return;
	}
	s->on_disk = written;
	if (s->is_dirty)
		start_writing(s);
	tell_changes(s, &before, &s->on_disk, 0);
	table_free(&before);
	end_waits(s, version, 0);
}

static void job_orphaned(struct fg_connector_job *job)
{
	struct fg_store *s = store_of(job);

	s->is_writing = false;
	if (s->is_freed)
		store_end(s);
}

static void start_writing(struct fg_store *s)
{
	s->is_waiting = false;
	s->is_dirty = true;
	if (s->is_writing)
		return;
	if (table_copy(&s->wanted, &s->writing) == 0 &&
	    fg_connector_run(s->with.connector, &s->job) == 0) {
		s->is_writing = true;
		s->is_dirty = false;
		s->writing_version = s->version;
		s->n_begun++;
		return;
	}
	s->is_waiting = true; /* too many jobs, or no memory: soon again */
	s->retry_at_ms = s->now_ms;
}

void fg_store_tick(struct fg_store *s, int64_t now_ms)
{
	s->now_ms = now_ms;
	if (s->is_waiting && now_ms >= s->retry_at_ms)
		start_writing(s);
}

/* ---- life */

static void store_freep(struct fg_store **s)
{
	if (*s)
		store_release(*s);
}

int fg_store_open(const struct fg_store_options *options, struct fg_store **ret,
		  struct fg_error *err)
{
	FG_CLEANUP(store_freep) struct fg_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->with = *options;
	s->job.work = job_work;
	s->job.done = job_done;
	s->job.orphaned = job_orphaned;
	s->job.is_awaited = true;
	s->path = strdup(options->path);
	if (!s->path)
		return -ENOMEM;
	r = read_file(s);
	if (r < 0)
		return fg_error_set(err, r, "%s: %s", options->path, strerror(-r));

	*ret = s; /* the caller owns it now */
	s = NULL;
	return 0;
}

struct fg_store *fg_store_free(struct fg_store *s)
{
	if (!s)
		return NULL;
	s->is_freed = true;
	while (s->waits)
		fg_store_wait_cancel(s->waits);
	if (!s->is_writing && !s->is_telling) /* else the job, or who tells, does it */
		store_end(s);
	return NULL;
}

int fg_store_set(struct fg_store *s, struct fg_span key, struct fg_span value)
{
	size_t added = value.size > 0 ? 4 + key.size + value.size : 0;
	struct table next;
	struct entry old;
	uint8_t *at;

	if (key.size == 0 || key.size > FG_STORE_KEY_MAX)
		return -EINVAL;
	if (value.size > FG_STORE_VALUE_MAX)
		return -EMSGSIZE;
	if (!find(&s->wanted, key, &old))
		old = (struct entry){.offset = s->wanted.size};
	if (fg_span_equal(old.value, value) && !s->is_dirty && !s->is_writing)
		return 0;
	next.size = s->wanted.size - old.size + added;
	if (HEADER_BYTES + next.size > s->with.max_bytes)
		return -EMSGSIZE;
	next.data = malloc(next.size + 1);
	if (!next.data)
		return -ENOMEM;
	at = next.data;
	if (old.offset > 0)
		memcpy(at, s->wanted.data, old.offset);
	at += old.offset;
	if (s->wanted.size > old.offset + old.size)
		memcpy(at, s->wanted.data + old.offset + old.size,
		       s->wanted.size - old.offset - old.size);
	at += s->wanted.size - old.offset - old.size;
	if (added > 0) {
		fg_put_le16(at, (uint16_t)key.size);
		memcpy(at + 2, key.data, key.size);
		fg_put_le16(at + 2 + key.size, (uint16_t)value.size);
		memcpy(at + 4 + key.size, value.data, value.size);
	}
	table_free(&s->wanted);
	s->wanted = next;
	s->version++;
	start_writing(s);
	return 0;
}

int fg_store_get(const struct fg_store *s, struct fg_span key, struct fg_span *ret_value)
{
	struct entry e;

	if (!find(&s->on_disk, key, &e))
		return -ENOENT;
	*ret_value = e.value;
	return 0;
}

int fg_store_get_newest(const struct fg_store *s, struct fg_span key, struct fg_span *ret_value)
{
	struct entry e;

	if (!find(&s->wanted, key, &e))
		return -ENOENT;
	*ret_value = e.value;
	return 0;
}

int fg_store_each(const struct fg_store *s,
		  int (*each)(void *arg, struct fg_span key, struct fg_span value), void *arg)
{
	struct entry e;
	int r = 0;

	for (size_t offset = 0; r == 0 && entry_at(&s->on_disk, offset, &e); offset += e.size)
		r = each(arg, e.key, e.value);
	return r;
}

/* ---- waiting */

uint64_t fg_store_version(const struct fg_store *s)
{
	return s->version;
}

bool fg_store_wait(struct fg_store *s, struct fg_store_wait *w)
{
	if (!s->is_dirty && !s->is_writing)
		return false;
	if (!w->store) {
		w->store = s;
		w->n_begun = s->n_begun;
		w->next = s->waits;
		s->waits = w;
	}
	w->version = s->version;
	return true;
}

void fg_store_wait_cancel(struct fg_store_wait *w)
{
	struct fg_store_wait **at;

	if (!w->store)
		return;
	at = &w->store->waits;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->store = NULL;
}

bool fg_store_wait_gathers(const struct fg_store_wait *w)
{
	return w->store->n_begun == w->n_begun;
}
