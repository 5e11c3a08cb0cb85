#include "journal/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/segment.h"
#include "util/clock.h"

#define SET_ASIDE_MAX 8 /* damaged segments kept for each lane */
#define WRITE_CHUNK_BYTES ((size_t)1 << 20)

/* The active segment of a lane. Belongs to the writer. */
struct active {
	const char *dir;
	uint64_t segment_bytes;
	uint8_t id[16];
	unsigned n_damaged;
	bool has_dir; /* and its name is durable */
	int file;     /* -1: none */
	uint64_t used;
	uint64_t on_disk;
	uint64_t passed_seq; /* of the mark that is there (format.h, section 1); 0: none */
};

struct fg_writer {
	struct fg_fs *fs;
	struct active lanes[FG_N_LANES];
	bool is_threaded;
	void (*notify)(void *arg);
	void *arg;

	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	/* Under the mutex. */
	struct fg_commit *todo;
	struct fg_commit *done;
	bool is_stopping;
};

static int fail(struct fg_commit *c, int error, const char *what)
{
	c->what = what;
	return error;
}

/*
 * Give back what was preallocated. A reader knows the end by the next segment; but after a power cut
 * the journal would have grown beyond its cap by what was not given back for good.
 */
static void seal(struct fg_writer *w, struct active *a)
{
	if (a->file < 0)
		return;
	if (w->fs->truncate(w->fs->ctx, a->file, a->used) == 0)
		w->fs->sync(w->fs->ctx, a->file);
	w->fs->close(w->fs->ctx, a->file);
	a->file = -1;
}

static int write_all(struct fg_writer *w, int file, const uint8_t *data, size_t size,
		     uint64_t offset)
{
	while (size > 0) {
		size_t chunk = size < WRITE_CHUNK_BYTES ? size : WRITE_CHUNK_BYTES;
		ssize_t n = w->fs->write(w->fs->ctx, file, data, chunk, offset);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		data += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int make_dir(struct fg_writer *w, struct active *a)
{
	int r;

	if (a->has_dir)
		return 0;
	r = w->fs->mkdir(w->fs->ctx, a->dir);
	if (r < 0)
		return r;
	r = w->fs->sync_dir(w->fs->ctx, "");
	if (r < 0)
		return r;
	a->has_dir = true;
	return 0;
}

/* It has done its duty, or another one does. */
static void forget_mark(struct fg_writer *w, struct active *a)
{
	char mark[FG_SEGMENT_PATH_MAX];

	if (a->passed_seq == 0)
		return;
	fg_passed_path(a->dir, a->passed_seq, mark);
	w->fs->unlink(w->fs->ctx, mark);
	a->passed_seq = 0;
}

/* A fresh file under the temporary name, in place of one that a crash or an error has left there.
 */
static int open_tmp(struct fg_writer *w, const char *path)
{
	int file = w->fs->open(w->fs->ctx, path, true);
	int r;

	if (file != -EEXIST)
		return file;
	r = w->fs->unlink(w->fs->ctx, path);
	if (r < 0)
		return r;
	return w->fs->open(w->fs->ctx, path, true);
}

static int fill_segment(struct fg_writer *w, struct active *a, struct fg_commit *c, int file,
			struct fg_commit_part *part)
{
	struct fg_segment_header header = {
		.first_seq = part->first_seq,
		.made_us = fg_clock_utc_us(),
		.table = part->header + FG_SEGMENT_TABLE_AT,
		.table_size = part->table_size,
	};
	int r;

	memcpy(header.id, a->id, sizeof(header.id));
	part->header_bytes = fg_segment_header_encode(&header, part->header);
	r = write_all(w, file, part->header, part->header_bytes, 0);
	if (r < 0)
		return r;
	c->bytes_written += part->header_bytes;

	/*
	 * Preallocation makes commits cheap and a full disk show early; without it all works too.
	 * So a file system that cannot, or has not that much left, gets a segment that grows.
	 */
	a->on_disk = a->segment_bytes;
	if (part->is_tight || w->fs->allocate(w->fs->ctx, file, a->segment_bytes) < 0) {
		a->on_disk = part->header_bytes;
		w->fs->truncate(w->fs->ctx, file, part->header_bytes);
	}
	return w->fs->sync(w->fs->ctx, file);
}

/*
 * What is left of segment @path is its name, changed into a mark. The name first: a segment without a
 * header would count as damaged. Errors are ignored as in retire(): then too much is told as lost after
 * a crash, and nothing is.
 */
static void leave_mark(struct fg_writer *w, struct active *a, const char *path, uint64_t passed_seq)
{
	char mark[FG_SEGMENT_PATH_MAX];
	int file;

	fg_passed_path(a->dir, passed_seq, mark);
	if (w->fs->rename(w->fs->ctx, path, mark) < 0)
		return;
	w->fs->sync_dir(w->fs->ctx, a->dir);
	file = w->fs->open(w->fs->ctx, mark, false);
	if (file >= 0) {
		w->fs->truncate(w->fs->ctx, file, 0);
		w->fs->close(w->fs->ctx, file);
	}
	forget_mark(w, a);
	a->passed_seq = passed_seq;
}

/* Make the lane's next segment: a name *.seg appears only once its header is durable. */
static int make_segment(struct fg_writer *w, struct active *a, struct fg_commit *c,
			struct fg_commit_part *part)
{
	char tmp[FG_SEGMENT_PATH_MAX], path[FG_SEGMENT_PATH_MAX];
	int file, r;

	r = make_dir(w, a);
	if (r < 0)
		return fail(c, r, "making the journal's directory");
	snprintf(tmp, sizeof(tmp), "%s/%s", a->dir, FG_SEGMENT_TMP);
	fg_segment_path(a->dir, part->first_seq, "", path);
	file = open_tmp(w, tmp);
	if (file < 0)
		return fail(c, file, "making a journal segment");
	r = fill_segment(w, a, c, file, part);
	if (r == 0)
		r = w->fs->rename(w->fs->ctx, tmp, path);
	if (r == 0)
		r = w->fs->sync_dir(w->fs->ctx, a->dir);
	if (r < 0) {
		w->fs->close(w->fs->ctx, file);
		return fail(c, r, "making a journal segment");
	}
	a->file = file;
	a->used = part->header_bytes;
	return 0;
}

static int write_part(struct fg_writer *w, struct active *a, struct fg_commit *c,
		      struct fg_commit_part *part)
{
	bool is_new;
	int r;

	if (a->file >= 0 && a->used + part->size > a->segment_bytes)
		seal(w, a);
	is_new = a->file < 0;
	if (is_new) {
		r = make_segment(w, a, c, part);
		if (r < 0)
			return r;
		part->made_segment = true;
	}
	r = write_all(w, a->file, part->data, part->size, a->used);
	if (r < 0)
		return fail(c, r, "writing to the journal");
	r = w->fs->sync(w->fs->ctx, a->file);
	if (r < 0)
		return fail(c, r, "syncing the journal");
	part->offset = a->used;
	a->used += part->size;
	if (a->on_disk < a->used)
		a->on_disk = a->used;
	part->segment_bytes = a->on_disk;
	part->is_written = true;
	c->bytes_written += part->size;
	if (is_new)
		forget_mark(w, a);
	return 0;
}

/*
 * A file whose write or sync has failed once is never trusted again: the kernel may have dropped
 * the data and report success the next time. It is sealed at the last good commit and the same
 * bytes go to a new one.
 */
static int write_part_twice(struct fg_writer *w, struct active *a, struct fg_commit *c,
			    struct fg_commit_part *part)
{
	int r;

	r = write_part(w, a, c, part);
	if (r == 0)
		return 0;
	seal(w, a);
	r = write_part(w, a, c, part);
	if (r < 0)
		seal(w, a);
	return r;
}

/* Errors are ignored: what stays is found and retired again at the next start. */
static void retire(struct fg_writer *w, struct active *a, struct fg_commit_part *part, bool is_late)
{
	char path[FG_SEGMENT_PATH_MAX], aside[FG_SEGMENT_PATH_MAX];
	unsigned n_kept = 0;

	for (unsigned i = 0; i < part->n_retired; i++) {
		const struct fg_retired *gone = &part->retired[i];

		if (gone->is_late && !is_late) {
			part->retired[n_kept++] = *gone;
			continue;
		}
		fg_segment_path(a->dir, gone->first_seq, "", path);
		if (gone->is_damaged && a->n_damaged < SET_ASIDE_MAX) {
			fg_segment_path(a->dir, gone->first_seq, FG_SEGMENT_DAMAGED_SUFFIX, aside);
			if (w->fs->rename(w->fs->ctx, path, aside) == 0)
				a->n_damaged++;
		} else if (gone->passed_seq > 0) {
			leave_mark(w, a, path, gone->passed_seq);
		} else {
			w->fs->unlink(w->fs->ctx, path);
		}
	}
	part->n_retired = n_kept;
}

static void run(struct fg_writer *w, struct fg_commit *c)
{
	c->error = 0;
	c->what = "";
	for (int i = 0; i < FG_N_LANES; i++)
		retire(w, &w->lanes[i], &c->parts[i], false);
	/*
	 * Quarantine first: a cursor table may say that a message is settled because it went there,
	 * and a segment that goes late may have held it.
	 */
	for (int i = FG_N_LANES - 1; i >= 0 && c->error == 0; i--) {
		retire(w, &w->lanes[i], &c->parts[i], true);
		if (c->parts[i].size > 0 && !c->parts[i].is_written)
			c->error = write_part_twice(w, &w->lanes[i], c, &c->parts[i]);
	}
}

static void *thread_main(void *arg)
{
	struct fg_writer *w = arg;
	struct fg_commit *c;
	bool is_stopping;

	pthread_mutex_lock(&w->mutex);
	for (;;) {
		while (!w->todo && !w->is_stopping)
			pthread_cond_wait(&w->changed, &w->mutex);
		if (!w->todo)
			break;
		c = w->todo;
		pthread_mutex_unlock(&w->mutex);
		run(w, c);
		pthread_mutex_lock(&w->mutex);
		w->todo = NULL;
		w->done = c;
		is_stopping = w->is_stopping;
		pthread_mutex_unlock(&w->mutex);
		/* Not while it is locked: who wakes up would only have to wait for it. */
		pthread_cond_signal(&w->changed);
		if (w->notify && !is_stopping)
			w->notify(w->arg);
		pthread_mutex_lock(&w->mutex);
	}
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

/* Signals are the loop's business. */
static int start_thread(struct fg_writer *w)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&w->thread, NULL, thread_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int fg_writer_new(const struct fg_writer_options *options, struct fg_writer **ret)
{
	struct fg_writer *w;
	int r;

	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->fs = options->fs;
	w->is_threaded = options->is_threaded;
	w->notify = options->notify;
	w->arg = options->arg;
	for (int i = 0; i < FG_N_LANES; i++) {
		w->lanes[i] = (struct active){
			.dir = options->dirs[i],
			.segment_bytes = options->segment_bytes[i],
			.n_damaged = options->n_damaged[i],
			.passed_seq = options->passed_seqs[i],
			.file = -1,
		};
		memcpy(w->lanes[i].id, options->ids[i], 16);
	}
	if (w->is_threaded) {
		pthread_mutex_init(&w->mutex, NULL);
		pthread_cond_init(&w->changed, NULL);
		r = start_thread(w);
		if (r < 0) {
			pthread_cond_destroy(&w->changed);
			pthread_mutex_destroy(&w->mutex);
			free(w);
			return r;
		}
	}
	*ret = w;
	return 0;
}

struct fg_writer *fg_writer_free(struct fg_writer *w)
{
	if (!w)
		return NULL;
	if (w->is_threaded) {
		pthread_mutex_lock(&w->mutex);
		w->is_stopping = true;
		pthread_mutex_unlock(&w->mutex);
		pthread_cond_signal(&w->changed);
		pthread_join(w->thread, NULL);
		pthread_cond_destroy(&w->changed);
		pthread_mutex_destroy(&w->mutex);
	}
	for (int i = 0; i < FG_N_LANES; i++)
		seal(w, &w->lanes[i]);
	free(w);
	return NULL;
}

void fg_writer_submit(struct fg_writer *w, struct fg_commit *c)
{
	if (!w->is_threaded) {
		run(w, c);
		w->done = c;
		return;
	}
	pthread_mutex_lock(&w->mutex);
	w->todo = c;
	pthread_mutex_unlock(&w->mutex);
	pthread_cond_signal(&w->changed);
}

struct fg_commit *fg_writer_take(struct fg_writer *w)
{
	struct fg_commit *c;

	if (w->is_threaded)
		pthread_mutex_lock(&w->mutex);
	c = w->done;
	w->done = NULL;
	if (w->is_threaded)
		pthread_mutex_unlock(&w->mutex);
	return c;
}

struct fg_commit *fg_writer_wait(struct fg_writer *w)
{
	if (w->is_threaded) {
		pthread_mutex_lock(&w->mutex);
		while (w->todo)
			pthread_cond_wait(&w->changed, &w->mutex);
		pthread_mutex_unlock(&w->mutex);
	}
	return fg_writer_take(w);
}
