/*
 * What fieldgatectl has done to quarantined messages. What was settled is not seen by the next walk
 * before it is on disk, so requests take turns: one is at work until all it did is on disk, and the
 * others wait for it. Otherwise two who ask at once would both send a message again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/server.h"
#include "gateway_internal.h"
#include "util/log.h"
#include "util/span.h"

/* Messages that are looked at before others get a turn. */
#define MAX_WALKED 100000

/* ---- one turn */

/* Of a walk: all that was asked for is done. 1: there is more. */
#define STOP 2

enum what {
	RETRY,
	DROP,
};

struct job {
	struct fg_gateway *g;
	struct fg_control_call *call;
	enum what what;
	const uint64_t *numbers; /* rising; NULL: all */
	size_t n_numbers, i;     /* how many there are, and are done with */
	char link[64];           /* of this link; "": of any */
	uint64_t last;           /* no number above this one */
	uint64_t walked;         /* the last number looked at */
	size_t n_looked, n_done;
	bool has_no_room;
};

/* Returns 0, or a negative errno, but for -EAGAIN and -ENOSPC (no room now) with a sentence. */
static int append_again(struct fg_gateway *g, const struct fg_quarantined *q, struct fg_error *err)
{
	struct fg_message msg = {
		.time_us = q->time_us,
		.kind = q->kind,
		.time_quality = q->time_quality,
		.device = q->device,
		.stream = q->stream,
		.content_type = q->content_type,
		.ref = q->ref,
		.link = q->link,
		.body = q->body,
	};
	char link[64] = "";
	uint64_t seq;

	if (q->whole_size > q->body.size)
		return fg_error_set(err, -EMSGSIZE, "it was cut when it was put aside");
	if (q->kind == 0)
		return fg_intake_again(g->intake, q, err);
	if (q->device.size == 0)
		return fg_error_set(err, -EINVAL, "it has no device");
	if (q->link.size > 0 && q->link.size < sizeof(link))
		memcpy(link, q->link.data, q->link.size);
	if (q->link.size > 0 && !fg_gateway_link(g, link))
		return fg_error_set(err, -ENOENT, "no cloud \"%s\" is configured any more", link);
	return fg_journal_append(g->journal, q->lane, &msg, &seq);
}

static uint64_t n_refused(const struct fg_journal *j)
{
	struct fg_journal_stats s;

	fg_journal_get_stats(j, &s);
	return s.refused_records;
}

/* A full journal that drops what comes takes all, and forgets it: it then stays where it is. */
static int send_again(struct fg_gateway *g, const struct fg_quarantined *q, struct fg_error *err)
{
	uint64_t before = n_refused(g->journal);
	int r = append_again(g, q, err);

	return r == 0 && n_refused(g->journal) != before ? -EAGAIN : r;
}

static void report(struct job *job, uint64_t number, const char *error)
{
	struct fg_object *o = fg_control_line(job->call);

	fg_object_add_uint(o, "number", number);
	fg_object_add_string(o, "result",
			     error                ? "kept"
			     : job->what == RETRY ? "sent again"
						  : "dropped");
	if (error)
		fg_object_add_string(o, "error", error);
	fg_control_line_end(job->call);
}

/* Those asked for, below @number (0: all that are left), are not there. */
static void report_missing(struct job *job, uint64_t number)
{
	while (job->i < job->n_numbers && (number == 0 || job->numbers[job->i] < number))
		report(job, job->numbers[job->i++], "there is no such message");
}

static int take_one(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct job *job = arg;
	struct fg_error err = {0};
	int r = 0;

	if (number > job->last)
		return STOP;
	if (job->numbers) {
		report_missing(job, number);
		if (job->i == job->n_numbers)
			return STOP;
		if (job->numbers[job->i] != number)
			return 0;
	} else if (++job->n_looked > MAX_WALKED) {
		return 1;
	}
	job->walked = number;
	if (job->link[0] && !fg_span_is(q->link, job->link))
		return 0;
	if (job->what == RETRY)
		r = send_again(job->g, q, &err);
	if (r == 0)
		r = fg_journal_quarantine_settle(job->g->journal, number);
	if (r == -EAGAIN || r == -ENOSPC) {
		job->has_no_room = true;
		return 1;
	}
	report(job, number, r == 0 ? NULL : err.text[0] ? err.text : strerror(-r));
	job->n_done++;
	if (job->numbers && ++job->i == job->n_numbers)
		return STOP;
	return job->n_done == FG_SETTLES_MAX ? 1 : 0;
}

/* Returns 0, STOP, 1 or a negative errno (logged). */
static int walk(struct job *job, uint64_t from,
		int (*each)(void *arg, uint64_t number, const struct fg_quarantined *q))
{
	struct fg_error err = {0};
	int r = fg_journal_each_quarantined(job->g->fs, from, each, job, &err);

	if (r < 0)
		fg_warning("control: quarantine: %s", err.text);
	return r;
}

static int note_last(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct job *job = arg;

	(void)q;
	job->last = number;
	return 0;
}

/*
 * There may be more than one turn can do: whoever asks goes on from "next", up to "last", so that what
 * is refused again meanwhile is not met again. Returns whether the answer is to wait for the disk.
 */
static bool job_run(struct job *job, uint64_t from)
{
	struct fg_object *o;
	int r = 0;

	if (!job->numbers && job->last == UINT64_MAX) {
		job->last = 0;
		r = walk(job, from, note_last);
	}
	if (r == 0)
		r = walk(job, from, take_one);
	if (r < 0 || (job->has_no_room && job->n_done == 0)) {
		fg_control_end(job->call, r < 0 ? "the quarantine cannot be read"
						: "the journal has no room now: try again later");
		return false;
	}
	if (r == 0)
		report_missing(job, 0);
	o = fg_control_line(job->call);
	fg_object_add_uint(o, "next", r == 1 ? job->walked + (job->has_no_room ? 0 : 1) : 0);
	fg_object_add_uint(o, "last", job->last);
	fg_control_line_end(job->call);
	return true;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

/* Sorted, each once. Returns how many, or -EINVAL: no array, or too long, or not of numbers. */
static int take_numbers(struct fg_json_value array, uint64_t *ret)
{
	struct fg_json_member m;
	struct fg_json_walk walk;
	int n = 0, n_different = 0;

	if (array.type != FG_JSON_ARRAY)
		return -EINVAL;
	fg_json_walk_begin(&walk, array);
	while (fg_json_walk_next(&walk, &m))
		if (n == FG_SETTLES_MAX || !fg_control_number(m.value, &ret[n++]))
			return -EINVAL;
	qsort(ret, (size_t)n, sizeof(*ret), by_size);
	for (int i = 0; i < n; i++)
		if (i == 0 || ret[i] != ret[i - 1])
			ret[n_different++] = ret[i];
	return n > 0 ? n_different : -EINVAL;
}

/* Returns whether the answer is to wait for the disk. */
static bool begin(struct fg_gateway *g, struct fg_control_call *call, struct fg_json_value request,
		  enum what what)
{
	struct job job = {.g = g, .call = call, .what = what, .last = UINT64_MAX};
	uint64_t numbers[FG_SETTLES_MAX], from = 0;
	struct fg_json_value value;
	const char *error = NULL;
	int n;

	if (fg_json_member(request, fg_span_str("link"), &value) &&
	    !fg_control_text(request, "link", job.link, sizeof(job.link)))
		error = "\"link\" is not the name of a cloud";
	if ((fg_json_member(request, fg_span_str("from"), &value) &&
	     !fg_control_number(value, &from)) ||
	    (fg_json_member(request, fg_span_str("last"), &value) &&
	     !fg_control_number(value, &job.last)))
		error = "\"from\" and \"last\" are numbers";
	if (fg_json_member(request, fg_span_str("numbers"), &value)) {
		n = take_numbers(value, numbers);
		if (n < 0)
			error = "\"numbers\" is not an array of up to 1000 numbers";
		else
			from = numbers[0];
		job.numbers = numbers;
		job.n_numbers = n < 0 ? 0 : (size_t)n;
	}
	if (!error)
		return job_run(&job, from);
	fg_control_end(call, error);
	return false;
}

/* ---- taking turns */

struct turn {
	struct fg_control_call *call; /* NULL, but at work: the client has gone meanwhile */
	struct fg_json_value request; /* the call's */
	enum what what;
	uint64_t ticket; /* at work until this is on disk; 0: waits */
};

struct fg_gateway_quarantine {
	struct turn turns[FG_CONTROL_CLIENTS_MAX + 1]; /* the first is at work */
	size_t n;
};

/* The first turn is over. */
static void shift(struct fg_gateway_quarantine *q)
{
	q->n--;
	memmove(q->turns, q->turns + 1, q->n * sizeof(q->turns[0]));
}

void fg_gateway_quarantine_committed(struct fg_gateway *g, uint64_t ticket)
{
	struct fg_gateway_quarantine *q = g->quarantine;
	struct turn *t;

	while (q && q->n > 0) {
		t = &q->turns[0];
		if (t->ticket == 0 && begin(g, t->call, t->request, t->what))
			t->ticket = fg_journal_settled_ticket(g->journal);
		else if (t->ticket == 0)
			t->call = NULL; /* it was answered with an error */
		if (t->ticket > ticket)
			return;
		if (t->call)
			fg_control_end(t->call, NULL);
		shift(q);
	}
}

void fg_gateway_quarantine_gone(struct fg_gateway *g, const struct fg_control_call *call)
{
	struct fg_gateway_quarantine *q = g->quarantine;

	for (size_t i = 0; i < q->n; i++) {
		if (q->turns[i].call != call)
			continue;
		q->turns[i].call = NULL;
		if (i == 0)
			return;
		q->n--;
		memmove(q->turns + i, q->turns + i + 1, (q->n - i) * sizeof(q->turns[0]));
		return;
	}
}

static void take_turn(struct fg_gateway *g, struct fg_control_call *call,
		      struct fg_json_value request, enum what what)
{
	struct fg_gateway_quarantine *q = g->quarantine;

	q->turns[q->n++] = (struct turn){.call = call, .request = request, .what = what};
	if (q->n == 1)
		fg_gateway_quarantine_committed(g, fg_journal_committed(g->journal));
}

void fg_gateway_quarantine_retry(void *arg, struct fg_control_call *call,
				 struct fg_json_value request)
{
	take_turn(arg, call, request, RETRY);
}

void fg_gateway_quarantine_drop(void *arg, struct fg_control_call *call,
				struct fg_json_value request)
{
	take_turn(arg, call, request, DROP);
}

/* ---- life */

int fg_gateway_open_quarantine(struct fg_gateway *g)
{
	g->quarantine = calloc(1, sizeof(*g->quarantine));
	return g->quarantine ? 0 : -ENOMEM;
}

void fg_gateway_close_quarantine(struct fg_gateway *g)
{
	free(g->quarantine);
	g->quarantine = NULL;
}
