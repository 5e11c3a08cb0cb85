/*
 * What fieldgatectl has done to quarantined messages. They are read on a thread
 * (gateway_quarantine_read.h). What was settled is not seen by the next reading before it is on disk, so
 * requests take turns: one is at work until all it did is on disk, and the others wait for it. Otherwise
 * two who ask at once would both send a message again. A client that goes before its messages were read
 * has asked for nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/server.h"
#include "gateway_internal.h"
#include "gateway_quarantine_read.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/span.h"

enum what {
	RETRY,
	DROP,
};

/* ---- one message */

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

/* Returns 0, -EAGAIN or -ENOSPC (no room now), or another negative errno, perhaps with a sentence. */
static int settle(struct fg_gateway *g, const struct fg_quarantine_copy *m, enum what what,
		  struct fg_error *err)
{
	int r = what == RETRY ? send_again(g, &m->message, err) : 0;

	return r < 0 ? r : fg_journal_quarantine_settle(g->journal, m->number);
}

/* ---- one request */

struct turn {
	struct fg_control_call *call; /* NULL, but at work: the client has gone meanwhile */
	struct fg_json_value request; /* the call's */
	enum what what;
	struct fg_quarantine_read *read;  /* NULL: waits for its turn, or it is done */
	uint64_t numbers[FG_SETTLES_MAX]; /* rising */
	size_t n_numbers;                 /* 0: all were asked for */
	bool is_answered;                 /* and at work until … */
	uint64_t ticket;                  /* … this is on disk */
};

static void report(const struct turn *t, uint64_t number, const char *error)
{
	struct fg_object *o = fg_control_line(t->call);

	fg_object_add_uint(o, "number", number);
	fg_object_add_string(o, "result",
			     error              ? "kept"
			     : t->what == RETRY ? "sent again"
						: "dropped");
	if (error)
		fg_object_add_string(o, "error", error);
	fg_control_line_end(t->call);
}

/* Those asked for from the @i-th on and below @number (0: all that are left) are not there. Returns how
 * many have been dealt with. */
static size_t report_missing(const struct turn *t, size_t i, uint64_t number)
{
	while (i < t->n_numbers && (number == 0 || t->numbers[i] < number))
		report(t, t->numbers[i++], "there is no such message");
	return i;
}

/*
 * There may be more than one turn can do: whoever asks goes on from "next", up to "last", so that what
 * is refused again meanwhile is not met again. Returns whether the answer is to wait for the disk.
 */
static bool answer(struct fg_gateway *g, const struct turn *t)
{
	const struct fg_quarantine_read *read = t->read;
	uint64_t next = fg_quarantine_read_next(read);
	const struct fg_quarantine_copy *m;
	bool has_no_room = false;
	struct fg_object *o;
	size_t i = 0, n = 0;

	for (; (m = fg_quarantine_read_at(read, n)); n++) {
		struct fg_error err = {0};
		int r;

		i = report_missing(t, i, m->number);
		r = settle(g, m, t->what, &err);
		has_no_room = r == -EAGAIN || r == -ENOSPC;
		if (has_no_room)
			break;
		report(t, m->number, r == 0 ? NULL : err.text[0] ? err.text : strerror(-r));
		i++;
	}
	if (has_no_room && n == 0) {
		fg_control_end(t->call, "the journal has no room now: try again later");
		return false;
	}
	if (has_no_room)
		next = m->number;
	report_missing(t, i, next);
	o = fg_control_line(t->call);
	fg_object_add_uint(o, "next", next);
	fg_object_add_uint(o, "last", fg_quarantine_read_last(read));
	fg_control_line_end(t->call);
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

static void has_read(void *arg, const struct fg_quarantine_read *read);

/* Have a thread look for what is asked for. Returns false when it was answered with an error. */
static bool begin(struct fg_gateway *g, struct turn *t)
{
	FG_CLEANUP(fg_free_p) char *directory = NULL;
	char link[64] = "";
	struct fg_quarantine_read_options options = {
		.connector = g->connector,
		.link = link,
		.last = UINT64_MAX,
		.numbers = t->numbers,
		.done = has_read,
		.arg = g,
	};
	struct fg_json_value value;
	const char *error = NULL;
	int n = 0;

	if (fg_json_member(t->request, fg_span_str("link"), &value) &&
	    !fg_control_text(t->request, "link", link, sizeof(link)))
		error = "\"link\" is not the name of a cloud";
	if ((fg_json_member(t->request, fg_span_str("from"), &value) &&
	     !fg_control_number(value, &options.from)) ||
	    (fg_json_member(t->request, fg_span_str("last"), &value) &&
	     !fg_control_number(value, &options.last)))
		error = "\"from\" and \"last\" are numbers";
	if (fg_json_member(t->request, fg_span_str("numbers"), &value)) {
		n = take_numbers(value, t->numbers);
		if (n < 0)
			error = "\"numbers\" is not an array of up to 1000 numbers";
		else
			options.from = t->numbers[0];
	}
	options.n_numbers = t->n_numbers = n < 0 ? 0 : (size_t)n;
	if (!error && asprintf(&directory, "%s/journal", g->config->state_directory) < 0) {
		directory = NULL;
		error = "out of memory";
	}
	options.directory = directory;
	if (!error && fg_quarantine_read_new(&options, &t->read) < 0)
		error = "fieldgate is busy with others: try again";
	if (error)
		fg_control_end(t->call, error);
	return !error;
}

/* ---- taking turns */

struct fg_gateway_quarantine {
	struct turn turns[FG_CONTROL_CLIENTS_MAX + 1]; /* the first is at work */
	size_t n;
};

/* The first turn is over. */
static void shift(struct fg_gateway_quarantine *q)
{
	fg_quarantine_read_free(q->turns[0].read);
	q->n--;
	memmove(q->turns, q->turns + 1, q->n * sizeof(q->turns[0]));
}

/* What the first turn has asked for is there. */
static void has_read(void *arg, const struct fg_quarantine_read *read)
{
	struct fg_gateway *g = arg;
	struct turn *t = &g->quarantine->turns[0];
	const char *text;

	if (!t->call) {
		shift(g->quarantine);
	} else if (fg_quarantine_read_error(read, &text) < 0) {
		fg_warning("control: quarantine: %s", text);
		fg_control_end(t->call, "the quarantine cannot be read");
		shift(g->quarantine);
	} else if (answer(g, t)) {
		t->read = fg_quarantine_read_free(t->read);
		t->is_answered = true;
		t->ticket = fg_journal_settled_ticket(g->journal);
	} else {
		shift(g->quarantine);
	}
	fg_gateway_quarantine_committed(g, fg_journal_committed(g->journal));
}

void fg_gateway_quarantine_committed(struct fg_gateway *g, uint64_t ticket)
{
	struct fg_gateway_quarantine *q = g->quarantine;

	while (q && q->n > 0) {
		struct turn *t = &q->turns[0];

		if (t->read || (t->is_answered && t->ticket > ticket))
			return;
		if (!t->is_answered && begin(g, t))
			return;
		if (t->is_answered && t->call)
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
	for (size_t i = 0; g->quarantine && i < g->quarantine->n; i++)
		fg_quarantine_read_free(g->quarantine->turns[i].read);
	free(g->quarantine);
	g->quarantine = NULL;
}
