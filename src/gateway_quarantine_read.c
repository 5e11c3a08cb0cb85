#include "gateway_quarantine_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/span.h"

/* Messages that are looked at in one reading, whether they are wanted or not. */
#define MAX_WALKED 100000

enum {
	MORE = 1, /* the bound is reached */
	STOP = 2, /* all that was asked for is there */
};

struct fg_quarantine_read {
	struct fg_quarantine_read_options with;
	struct fg_connector_job job;
	bool is_freed; /* release when the job is done */
	char link[64];
	uint64_t numbers[FG_QUARANTINE_READ_MAX];
	/* The thread's, until the job is done. */
	char *directory;
	size_t i; /* numbers that are done with */
	size_t n_walked, n_bytes;
	int result;
	struct fg_error err;
	uint64_t next, last;
	struct fg_quarantine_copy *copies[FG_QUARANTINE_READ_MAX];
	size_t n_copies;
};

/* ---- on the thread */

#define N_SPANS 9

static void spans_of(struct fg_quarantined *q, struct fg_span *ret[N_SPANS])
{
	struct fg_span *spans[N_SPANS] = {&q->link,   &q->reason, &q->topic,
					  &q->device, &q->stream, &q->content_type,
					  &q->ref,    &q->moment, &q->body};

	memcpy(ret, spans, sizeof(spans));
}

static int copy(struct fg_quarantine_read *r, uint64_t number, const struct fg_quarantined *q)
{
	struct fg_quarantined message = *q;
	struct fg_quarantine_copy *c;
	struct fg_span *spans[N_SPANS];
	size_t size = 0;
	char *at;

	spans_of(&message, spans);
	for (size_t i = 0; i < N_SPANS; i++)
		size += spans[i]->size;
	if (r->n_copies > 0 && r->n_bytes + size > FG_QUARANTINE_READ_BYTES)
		return MORE;
	c = malloc(sizeof(*c) + size);
	if (!c)
		return -ENOMEM;
	at = c->memory;
	for (size_t i = 0; i < N_SPANS; i++) {
		if (spans[i]->size > 0)
			memcpy(at, spans[i]->data, spans[i]->size);
		spans[i]->data = at;
		at += spans[i]->size;
	}
	c->number = number;
	c->message = message;
	r->copies[r->n_copies++] = c;
	r->n_bytes += size;
	return 0;
}

/* Is @number asked for? Returns 0, 1, or STOP: none is any more. */
static int is_wanted(struct fg_quarantine_read *r, uint64_t number)
{
	while (r->i < r->with.n_numbers && r->numbers[r->i] < number)
		r->i++;
	if (r->i == r->with.n_numbers)
		return STOP;
	return r->numbers[r->i] == number;
}

static int take(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct fg_quarantine_read *r = arg;
	int wanted = r->with.n_numbers > 0 ? is_wanted(r, number) : 1;
	int result;

	if (number > r->last || wanted == STOP)
		return STOP;
	r->next = number;
	if (wanted && (!r->link[0] || fg_span_is(q->link, r->link))) {
		result = copy(r, number, q);
		if (result != 0)
			return result;
	}
	r->next = number + 1;
	return r->n_copies == FG_QUARANTINE_READ_MAX || ++r->n_walked == MAX_WALKED ? MORE : 0;
}

static int note_last(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct fg_quarantine_read *r = arg;

	(void)q;
	r->last = number;
	return 0;
}

static int read_all(struct fg_quarantine_read *r)
{
	struct fg_fs *fs;
	int result = fg_fs_posix_new(r->directory, &fs);

	if (result < 0)
		return fg_error_set(&r->err, result, "%s: %s", r->directory, strerror(-result));
	if (r->with.n_numbers == 0 && r->last == UINT64_MAX) {
		r->last = 0;
		result = fg_journal_each_quarantined(fs, r->with.from, note_last, r, &r->err);
	}
	if (result == 0)
		result = fg_journal_each_quarantined(fs, r->with.from, take, r, &r->err);
	if (result != MORE ||
	    (r->with.n_numbers > 0 && r->next > r->numbers[r->with.n_numbers - 1]))
		r->next = 0;
	fg_fs_posix_free(fs);
	return result < 0 ? result : 0;
}

static struct fg_quarantine_read *read_of(struct fg_connector_job *job)
{
	return (struct fg_quarantine_read *)((char *)job -
					     offsetof(struct fg_quarantine_read, job));
}

static void job_work(struct fg_connector_job *job)
{
	struct fg_quarantine_read *r = read_of(job);

	r->result = read_all(r);
}

/* ---- on the loop */

static void release(struct fg_quarantine_read *r)
{
	for (size_t i = 0; i < r->n_copies; i++)
		free(r->copies[i]);
	free(r->directory);
	free(r);
}

static void job_done(struct fg_connector_job *job)
{
	struct fg_quarantine_read *r = read_of(job);

	r->job.connector = NULL;
	if (r->is_freed)
		release(r);
	else
		r->with.done(r->with.arg, r);
}

static void job_orphaned(struct fg_connector_job *job)
{
	struct fg_quarantine_read *r = read_of(job);

	r->job.connector = NULL;
	if (r->is_freed)
		release(r);
}

static void read_freep(struct fg_quarantine_read **r)
{
	if (*r)
		release(*r);
}

int fg_quarantine_read_new(const struct fg_quarantine_read_options *options,
			   struct fg_quarantine_read **ret)
{
	FG_CLEANUP(read_freep) struct fg_quarantine_read *r = calloc(1, sizeof(*r));
	size_t size = strlen(options->link);
	int result;

	if (!r)
		return -ENOMEM;
	r->directory = strdup(options->directory);
	if (!r->directory)
		return -ENOMEM;
	r->with = *options;
	r->last = options->last;
	memcpy(r->link, options->link, size < sizeof(r->link) ? size : sizeof(r->link) - 1);
	if (options->n_numbers > 0)
		memcpy(r->numbers, options->numbers, options->n_numbers * sizeof(r->numbers[0]));
	r->job.work = job_work;
	r->job.done = job_done;
	r->job.orphaned = job_orphaned;
	result = fg_connector_run(options->connector, &r->job);
	if (result < 0)
		return -EAGAIN;

	*ret = r; /* the caller owns it now */
	r = NULL;
	return 0;
}

struct fg_quarantine_read *fg_quarantine_read_free(struct fg_quarantine_read *r)
{
	if (!r)
		return NULL;
	r->is_freed = true;
	if (!r->job.connector) /* else the job does it */
		release(r);
	return NULL;
}

int fg_quarantine_read_error(const struct fg_quarantine_read *r, const char **ret_text)
{
	*ret_text = r->err.text;
	return r->result;
}

const struct fg_quarantine_copy *fg_quarantine_read_at(const struct fg_quarantine_read *r, size_t i)
{
	return i < r->n_copies ? r->copies[i] : NULL;
}

uint64_t fg_quarantine_read_next(const struct fg_quarantine_read *r)
{
	return r->next;
}

uint64_t fg_quarantine_read_last(const struct fg_quarantine_read *r)
{
	return r->last;
}
