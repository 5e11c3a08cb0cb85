#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/server.h"
#include "gateway_internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/span.h"

/* Messages that one request may name; and how many are looked at before others get a turn. */
#define MAX_NUMBERS 1000
#define MAX_WALKED 100000
#define NO_ROOM "the journal has no room now: try again later"

/* ---- calls whose answer waits for a commit */

struct pending {
	struct fg_control_call *call; /* NULL: free */
	uint64_t ticket;
};

struct fg_gateway_control {
	struct fg_gateway *gateway;
	struct fg_control *server;
	struct pending pending[FG_CONTROL_CLIENTS_MAX];
};

static void end_when_committed(struct fg_gateway *g, struct fg_control_call *call)
{
	uint64_t ticket = fg_journal_ticket(g->journal);

	for (size_t i = 0; i < FG_CONTROL_CLIENTS_MAX; i++) {
		struct pending *p = &g->control->pending[i];

		if (p->call)
			continue;
		*p = (struct pending){.call = call, .ticket = ticket};
		fg_gateway_control_committed(g, fg_journal_committed(g->journal));
		return;
	}
}

void fg_gateway_control_committed(struct fg_gateway *g, uint64_t ticket)
{
	if (!g->control)
		return;
	for (size_t i = 0; i < FG_CONTROL_CLIENTS_MAX; i++) {
		struct pending *p = &g->control->pending[i];
		struct fg_control_call *call = p->call;

		if (!call || ticket < p->ticket)
			continue;
		p->call = NULL;
		fg_control_end(call, NULL);
	}
}

static void client_gone(void *arg, struct fg_control_call *call)
{
	struct fg_gateway *g = arg;

	for (size_t i = 0; i < FG_CONTROL_CLIENTS_MAX; i++)
		if (g->control->pending[i].call == call)
			g->control->pending[i].call = NULL;
}

/* ---- quarantine */

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

/* Those asked for, below @number, are not there. */
static void report_missing(struct job *job, uint64_t number)
{
	while (job->i < job->n_numbers && job->numbers[job->i] < number)
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
	job->i++;
	job->n_done++;
	return !job->numbers && job->n_done == MAX_NUMBERS ? 1 : 0;
}

/* Returns 0, STOP, 1 or a negative errno (logged). */
static int walk(struct job *job, uint64_t from)
{
	struct fg_error err = {0};
	int r = fg_journal_each_quarantined(job->g->fs, from, take_one, job, &err);

	if (r < 0)
		fg_warning("control: quarantine: %s", err.text);
	return r;
}

static void job_end(struct job *job, int r)
{
	if (r < 0)
		fg_control_end(job->call, "the quarantine cannot be read");
	else
		end_when_committed(job->g, job->call);
}

static int note_last(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct job *job = arg;

	(void)q;
	job->last = number;
	return 0;
}

/*
 * There may be more than one request can do: whoever asks goes on from "next", up to "last", so that
 * what is refused again meanwhile is not met again.
 */
static void do_all(struct job *job, uint64_t from)
{
	struct fg_object *o;
	int r = 0;

	if (job->last == UINT64_MAX) {
		job->last = 0;
		r = fg_journal_each_quarantined(job->g->fs, from, note_last, job,
						&(struct fg_error){0});
	}
	if (r == 0)
		r = walk(job, from);
	if (job->has_no_room && job->n_done == 0) {
		fg_control_end(job->call, NO_ROOM);
		return;
	}
	o = fg_control_line(job->call);
	fg_object_add_uint(o, "next", r == 1 ? job->walked + (job->has_no_room ? 0 : 1) : 0);
	fg_object_add_uint(o, "last", job->last);
	fg_control_line_end(job->call);
	job_end(job, r);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

static void do_numbers(struct job *job, uint64_t *numbers, size_t n)
{
	int r;

	qsort(numbers, n, sizeof(*numbers), by_size);
	job->numbers = numbers;
	for (size_t i = 0; i < n; i++)
		if (i == 0 || numbers[i] != numbers[i - 1])
			numbers[job->n_numbers++] = numbers[i];
	r = walk(job, numbers[0]);
	if (r == 0)
		report_missing(job, UINT64_MAX);
	while (job->has_no_room && job->i < job->n_numbers)
		report(job, job->numbers[job->i++], NO_ROOM);
	job_end(job, r);
}

/* Returns how many, or -EINVAL: no array, or too long, or not of numbers. */
static int take_numbers(struct fg_json_value array, uint64_t *ret)
{
	struct fg_json_member m;
	struct fg_json_walk walk;
	int n = 0;

	if (array.type != FG_JSON_ARRAY)
		return -EINVAL;
	fg_json_walk_begin(&walk, array);
	while (fg_json_walk_next(&walk, &m))
		if (n == MAX_NUMBERS || !fg_control_number(m.value, &ret[n++]))
			return -EINVAL;
	return n > 0 ? n : -EINVAL;
}

static void quarantine(struct fg_gateway *g, struct fg_control_call *call,
		       struct fg_json_value request, enum what what)
{
	struct job job = {.g = g, .call = call, .what = what, .last = UINT64_MAX};
	struct fg_json_value value;
	uint64_t numbers[MAX_NUMBERS], from = 0;
	int n;

	if (fg_json_member(request, fg_span_str("link"), &value) &&
	    !fg_control_text(request, "link", job.link, sizeof(job.link))) {
		fg_control_end(call, "\"link\" is not the name of a cloud");
	} else if (fg_json_member(request, fg_span_str("numbers"), &value)) {
		n = take_numbers(value, numbers);
		if (n < 0)
			fg_control_end(call, "\"numbers\" is not an array of up to 1000 numbers");
		else
			do_numbers(&job, numbers, (size_t)n);
	} else if ((fg_json_member(request, fg_span_str("from"), &value) &&
		    !fg_control_number(value, &from)) ||
		   (fg_json_member(request, fg_span_str("last"), &value) &&
		    !fg_control_number(value, &job.last))) {
		fg_control_end(call, "\"from\" and \"last\" are numbers");
	} else {
		do_all(&job, from);
	}
}

static void quarantine_retry(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	quarantine(arg, call, request, RETRY);
}

static void quarantine_drop(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	quarantine(arg, call, request, DROP);
}

/* ---- status */

static void add_journal(struct fg_control_call *call, const struct fg_journal *j)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_journal_stats s;

	fg_journal_get_stats(j, &s);
	fg_object_add_string(o, "what", "journal");
	fg_object_add_uint(o, "first_seq", s.first_seq);
	fg_object_add_uint(o, "next_seq", s.next_seq);
	fg_object_add_uint(o, "synced_seq", s.synced_seq);
	fg_object_add_uint(o, "alarm_next_seq", s.alarm_next_seq);
	fg_object_add_uint(o, "alarm_synced_seq", s.alarm_synced_seq);
	fg_object_add_uint(o, "bytes_on_disk", s.bytes_on_disk);
	fg_object_add_uint(o, "commits", s.commits);
	fg_object_add_uint(o, "bytes_written", s.bytes_written);
	fg_object_add_uint(o, "quarantine_records", s.quarantine_records);
	fg_object_add_uint(o, "damaged_records", s.damaged_records);
	fg_object_add_uint(o, "refused_records", s.refused_records);
	fg_object_add_bool(o, "is_full", s.is_full);
	fg_control_line_end(call);
}

static void add_broker(struct fg_control_call *call, const struct fg_broker_client *b)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_broker_client_stats s;

	fg_broker_client_get_stats(b, &s);
	fg_object_add_string(o, "what", "broker");
	fg_object_add_string(o, "name", fg_broker_client_name(b));
	fg_object_add_bool(o, "is_online", s.is_online);
	fg_object_add_uint(o, "received", s.received);
	fg_object_add_uint(o, "appended", s.messages);
	fg_object_add_uint(o, "answers", s.answers);
	fg_object_add_uint(o, "quarantined", s.quarantined);
	fg_object_add_uint(o, "unmapped", s.unmapped);
	fg_object_add_uint(o, "published", s.published);
	fg_control_line_end(call);
}

static const char *const loss_names[FG_N_LOSSES] = {
	[FG_LOSS_LIMIT] = "lost_limit",         [FG_LOSS_AGE] = "lost_age",
	[FG_LOSS_OWN_LIMIT] = "lost_own_limit", [FG_LOSS_FULL] = "lost_full",
	[FG_LOSS_DAMAGED] = "lost_damaged",
};

static void add_link(struct fg_control_call *call, const struct fg_link *link)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_link_stats s;

	fg_link_get_stats(link, &s);
	fg_object_add_string(o, "what", "link");
	fg_object_add_string(o, "name", fg_link_name(link));
	fg_object_add_string(o, "state", fg_link_state_name(s.state));
	fg_object_add_uint(o, "sessions_open", s.n_sessions_open);
	fg_object_add_uint(o, "sessions_online", s.n_sessions_online);
	fg_object_add_uint(o, "behind", s.behind);
	fg_object_add_uint(o, "backlog", s.backlog);
	fg_object_add_uint(o, "alarm_backlog", s.alarm_backlog);
	fg_object_add_uint(o, "published", s.published);
	fg_object_add_uint(o, "records_acked", s.records_acked);
	fg_object_add_uint(o, "quarantined", s.quarantined);
	fg_object_add_uint(o, "values_dropped", s.values_dropped);
	fg_object_add_uint(o, "commands", s.commands);
	fg_object_add_uint(o, "lost", s.lost);
	for (int i = 0; i < FG_N_LOSSES; i++)
		fg_object_add_uint(o, loss_names[i], s.losses[i]);
	fg_control_line_end(call);
}

static void add_devices(struct fg_control_call *call, const struct fg_presence *presence)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_presence_stats s;

	fg_presence_get_stats(presence, &s);
	fg_object_add_string(o, "what", "devices");
	fg_object_add_uint(o, "known", s.known);
	fg_object_add_uint(o, "up", s.up);
	fg_object_add_uint(o, "down", s.down);
	fg_control_line_end(call);
}

static void add_commands(struct fg_control_call *call, const struct fg_command_desk *desk)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_command_stats s;

	fg_command_desk_get_stats(desk, &s);
	fg_object_add_string(o, "what", "commands");
	fg_object_add_uint(o, "open", s.open);
	for (int i = 0; i < FG_N_COMMAND_STATES; i++)
		fg_object_add_uint(o, fg_command_state_word((enum fg_command_state)i), s.states[i]);
	fg_object_add_uint(o, "received", s.received);
	fg_object_add_uint(o, "answered", s.answered);
	fg_object_add_uint(o, "without_answer", s.done);
	fg_object_add_uint(o, "duplicates", s.duplicates);
	fg_object_add_uint(o, "late", s.late);
	fg_control_line_end(call);
}

static void status(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	struct fg_gateway *g = arg;

	(void)request;
	add_journal(call, g->journal);
	for (size_t i = 0; i < g->config->n_brokers; i++)
		if (g->brokers[i])
			add_broker(call, g->brokers[i]);
	add_devices(call, g->presence);
	add_commands(call, g->desk);
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link)
			add_link(call, g->clouds[i].link);
	fg_control_end(call, NULL);
}

static const struct fg_control_command commands[] = {
	{"status", status},
	{"quarantine_retry", quarantine_retry},
	{"quarantine_drop", quarantine_drop},
	{0},
};

/* ---- life */

int fg_gateway_open_control(struct fg_gateway *g, struct fg_error *err)
{
	struct fg_control_options options = {
		.loop = g->loop,
		.commands = commands,
		.gone = client_gone,
		.arg = g,
	};
	FG_CLEANUP(fg_free_p) char *path = NULL;

	g->control = calloc(1, sizeof(*g->control));
	if (!g->control || asprintf(&path, "%s/control", g->config->state_directory) < 0)
		return -ENOMEM;
	options.path = path;
	return fg_control_open(&options, &g->control->server, err);
}

void fg_gateway_close_control(struct fg_gateway *g)
{
	if (!g->control)
		return;
	fg_control_free(g->control->server);
	free(g->control);
	g->control = NULL;
}
