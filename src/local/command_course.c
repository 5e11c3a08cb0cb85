#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "local/command_desk_internal.h"
#include "util/span.h"

/* Between two attempts at a device that was not there though nobody said so; doubled each time. */
#define PAUSE_MIN_MS 1000
#define PAUSE_MAX_MS 60000

/* A deadline in UTC is noted again when it is off by more. */
#define CLOCK_SLACK_US 500000

/* MQTT 5, 3.4.2.1 */
#define REASON_NO_SUBSCRIBERS 0x10
#define REASON_FAILED 0x80

void fg_desk_wire_id(const struct fg_desk_command *c, char out[FG_WIRE_ID_MAX + 1])
{
	snprintf(out, FG_WIRE_ID_MAX + 1, "%" PRIx64 "%08" PRIx32, c->number, c->tag);
}

void fg_desk_view(const struct fg_desk_command *c, struct fg_command_view *ret)
{
	*ret = (struct fg_command_view){
		.link = fg_desk_command_link(c),
		.device = fg_desk_command_device(c),
		.id = fg_desk_command_id(c),
		.name = fg_desk_command_name(c),
		.state = c->state,
		.received_ms = c->received_ms,
		.deadline_ms = c->deadline_ms,
	};
	fg_desk_wire_id(c, ret->wire_id);
}

void fg_desk_enter(struct fg_command_desk *d, struct fg_desk_command *c,
		   enum fg_command_state state, int64_t now_ms)
{
	enum fg_command_state from = c->state;
	struct fg_command_view view;

	d->stats.states[from]--;
	d->stats.states[state]++;
	c->state = state;
	if (!d->with.ops.trace)
		return;
	fg_desk_view(c, &view);
	d->with.ops.trace(d->with.ops.arg, &view, from, now_ms);
}

const struct fg_command_rule *fg_desk_rule(const struct fg_command_desk *d,
					   const struct fg_desk_command *c)
{
	return c->rule < 0 ? NULL : fg_command_map_rule(d->with.map, c->rule);
}

enum fg_command_reach fg_desk_reach(const struct fg_command_desk *d,
				    const struct fg_command_rule *rule, struct fg_span device)
{
	if (!d->with.ops.reach)
		return FG_REACH_UP;
	return d->with.ops.reach(d->with.ops.arg, rule ? rule->broker : NULL, device);
}

/* ------------------------------------------------------------------ the end */

void fg_desk_forget(struct fg_command_desk *d, struct fg_desk_command *c)
{
	if (c->turn == &d->sent)
		d->n_sent--;
	else if (c->turn == &d->unsent)
		d->n_unsent--;
	d->stats.states[c->state]--;
	fg_command_table_remove(&d->table, c);
}

/* It has ended, and its cloud knows all that it will ever know of it. */
void fg_desk_remember(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	struct fg_desk_command *oldest;

	if (c->turn == &d->unsent)
		d->n_unsent--;
	fg_desk_command_queue(c, &d->sent);
	d->n_sent++;
	c->forget_ms = now_ms + FG_COMMAND_REMEMBERED_MS;
	if (d->n_sent <= FG_COMMANDS_REMEMBERED)
		return;
	/* What is SILENT still has to do: it may stay so for days, and others go in its place. */
	oldest = TAILQ_FIRST(&d->sent);
	while (oldest != c && oldest->state != FG_COMMAND_ENDED)
		oldest = TAILQ_NEXT(oldest, in_turn);
	if (oldest != c)
		fg_desk_forget(d, oldest);
}

void fg_desk_await_sending(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	if (c->turn == &d->sent)
		d->n_sent--;
	if (c->turn != &d->unsent)
		d->n_unsent++;
	fg_desk_command_queue(c, &d->unsent);
	if (d->n_unsent > d->with.max_commands)
		fg_desk_remember(d, TAILQ_FIRST(&d->unsent), now_ms);
}

/* Its final record has been written: nothing more can happen to it. */
static void ended(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	const struct fg_command_rule *rule = fg_desk_rule(d, c);
	bool is_silent = c->is_unanswered && c->device && c->place == &c->device->busy &&
			 fg_desk_is_mute(rule);
	struct fg_desk_device *device;

	fg_desk_dated(d, c);
	d->stats.open--;
	d->open_bytes -= c->name_size + c->params_size;
	fg_desk_command_drop_payload(c);
	c->name_size = c->params_size = 0;
	if (is_silent) {
		fg_command_table_rest(c);
		device = c->device;
		fg_command_table_due(&d->table, c, now_ms + rule->timeout_ms);
	} else {
		device = fg_command_table_leave(&d->table, c);
		fg_command_table_due(&d->table, c, INT64_MAX);
	}
	fg_desk_enter(d, c, is_silent ? FG_COMMAND_SILENT : FG_COMMAND_ENDED, now_ms);
	if (c->answer_seq > 0)
		fg_desk_await_sending(d, c, now_ms);
	else
		fg_desk_remember(d, c, now_ms);
	if (device)
		fg_desk_pump(d, device, now_ms);
}

void fg_desk_silence_over(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	struct fg_desk_device *device = fg_command_table_leave(&d->table, c);

	fg_command_table_due(&d->table, c, INT64_MAX);
	fg_desk_enter(d, c, FG_COMMAND_ENDED, now_ms);
	if (device)
		fg_desk_pump(d, device, now_ms);
}

/* Its final record, and that it has ended. Returns 0 or why the journal has not taken it. */
static int finish(struct fg_command_desk *d, struct fg_desk_command *c, struct fg_span body,
		  uint64_t *counter, int64_t now_ms)
{
	int r;

	r = fg_desk_write_end(d, c, body);
	if (r < 0)
		return r;
	++*(c->answer_seq > 0 ? counter : &d->stats.done);
	ended(d, c, now_ms);
	return 0;
}

static int finish_refused(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	char body[FG_COMMAND_ERROR_BODY_MAX];
	size_t size = fg_command_error_body(c->verdict, c->why, body);

	return finish(d, c, fg_span_of(body, size), &d->stats.errors[c->verdict], now_ms);
}

void fg_desk_refuse(struct fg_command_desk *d, struct fg_desk_command *c,
		    enum fg_command_error verdict, const char *why, int64_t now_ms)
{
	if (c->may_have_run) {
		verdict = FG_COMMAND_UNKNOWN_OUTCOME;
		why = "the gateway was restarted while the command was at the device";
	}
	c->verdict = verdict;
	c->why = why;
	if (finish_refused(d, c, now_ms) == 0)
		return;
	d->is_stalled = true;
	fg_desk_dated(d, c);
	if (c->device && c->place == &c->device->waiting)
		fg_command_table_leave(&d->table, c);
	fg_command_table_due(&d->table, c, INT64_MAX);
	fg_desk_command_queue(c, &d->owed);
	fg_desk_enter(d, c, FG_COMMAND_OWED, now_ms);
}

int fg_desk_answer(struct fg_command_desk *d, struct fg_desk_command *c, struct fg_span payload,
		   int64_t now_ms)
{
	struct fg_span body;
	int r;

	r = fg_command_map_answer(d->with.map, c->rule, payload, &body, NULL);
	if (r == 0)
		r = finish(d, c, body, &d->stats.answered, now_ms);
	if (r == 0)
		return 0;
	if (r == -EAGAIN || r == -ENOSPC)
		return -EAGAIN;
	fg_desk_refuse(d, c, FG_COMMAND_UNKNOWN_OUTCOME,
		       r == -EBADMSG ? "the device has answered with neither JSON nor text"
		       : r == -EMSGSIZE
			       ? "the device's answer is larger than the gateway takes"
			       : "the device has answered, but the journal has no room for that",
		       now_ms);
	return 0;
}

/* ------------------------------------------------------------------ to the device */

/* When something has to happen to one that waits. */
static void plan_wait(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	int64_t due = c->deadline_ms;

	if (c->retry_ms > now_ms && c->retry_ms < due)
		due = c->retry_ms;
	fg_command_table_due(&d->table, c, due);
}

/* It has not run, and goes out another time. */
static void not_sent(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	/*
	 * When this note cannot be written, the mark stands: after a restart the command counts as
	 * one that may have run. Until then we know better, and it needs no other mark. One that is
	 * repeated may have run before: its mark stands for that.
	 */
	if (!c->may_have_run)
		fg_desk_write_mark(d, c, false);
	c->pause_ms = c->pause_ms == 0 ? PAUSE_MIN_MS : 2 * c->pause_ms;
	if (c->pause_ms > PAUSE_MAX_MS)
		c->pause_ms = PAUSE_MAX_MS;
	c->retry_ms = now_ms + c->pause_ms;
	fg_desk_command_queue(c, NULL);
	fg_command_table_wait(&d->table, c);
	fg_desk_enter(d, c, FG_COMMAND_WAITING, now_ms);
	plan_wait(d, c, now_ms);
}

/* As far as its broker knows nobody is there to take it. */
static void not_taken(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	c->is_unreachable = true;
	if (fg_desk_rule(d, c)->offline == FG_OFFLINE_REFUSE && !d->is_stopped)
		fg_desk_refuse(d, c, FG_COMMAND_OFFLINE, "the device is not there", now_ms);
	else
		not_sent(d, c, now_ms);
}

static void delivered(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	const struct fg_command_rule *rule = fg_desk_rule(d, c);

	fg_desk_enter(d, c, FG_COMMAND_DELIVERED, now_ms);
	/* Nobody waits for an answer; but one that cannot be told from the next one's must come. */
	if (rule->group >= 0 && (!c->is_one_way || fg_desk_is_mute(rule)))
		return;
	if (finish(d, c, fg_span_str("{\"result\":null}"), &d->stats.answered, now_ms) < 0) {
		c->why = NULL;
		d->is_stalled = true;
		fg_command_table_due(&d->table, c, INT64_MAX);
		fg_desk_command_queue(c, &d->owed);
		fg_desk_enter(d, c, FG_COMMAND_OWED, now_ms);
	}
}

void fg_desk_published(struct fg_command_desk *d, struct fg_desk_command *c, unsigned reason_code,
		       int64_t now_ms)
{
	if (reason_code == REASON_NO_SUBSCRIBERS)
		not_taken(d, c, now_ms);
	else if (reason_code >= REASON_FAILED)
		fg_desk_refuse(d, c, FG_COMMAND_OFFLINE,
			       "the device's broker has refused the message", now_ms);
	else
		delivered(d, c, now_ms);
}

static int publish(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	const struct fg_command_rule *rule = fg_desk_rule(d, c);
	char id[FG_WIRE_ID_MAX + 1];
	struct fg_command_words words = {
		.device = fg_desk_command_device(c),
		.name = fg_desk_command_name(c),
		.params = fg_desk_command_params(c),
	};
	struct fg_command_output output;
	struct fg_command_publish p;
	int64_t left_ms = c->deadline_ms - now_ms;
	int r;

	fg_desk_wire_id(c, id);
	words.id = fg_span_str(id);
	r = fg_command_map_fill(d->with.map, c->rule, &words, &output, NULL);
	if (r < 0)
		return r;
	p = (struct fg_command_publish){
		.device = words.device,
		.broker = rule->broker,
		.topic = output.topic,
		.payload = output.payload,
		.qos = rule->qos,
		.response_topic = output.response_topic,
		.correlation = output.correlation,
		.expiry_s = left_ms < 1000 ? 1 : (uint32_t)(left_ms / 1000),
		.tag = c->number,
	};
	return d->with.ops.publish(d->with.ops.arg, &p);
}

/* It has its turn, and that it is going out is on disk. */
static void send_out(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	int r;

	fg_desk_command_queue(c, NULL);
	if (d->is_stopped) {
		not_sent(d, c, now_ms);
		return;
	}
	r = publish(d, c, now_ms);
	switch (r) {
	case 0:
		fg_desk_enter(d, c, FG_COMMAND_SENT, now_ms);
		fg_command_table_due(&d->table, c, c->deadline_ms);
		if (fg_desk_rule(d, c)->qos == 0)
			delivered(d, c, now_ms);
		return;
	case -ENOTCONN:
	case -EAGAIN:
		not_sent(d, c, now_ms);
		return;
	case -EMSGSIZE:
		fg_desk_refuse(d, c, FG_COMMAND_BAD_PARAMS,
			       "the command is larger than the device's broker takes", now_ms);
		return;
	default:
		fg_desk_refuse(d, c, FG_COMMAND_OFFLINE,
			       "the device's broker cannot take the command", now_ms);
	}
}

bool fg_desk_has_turn(const struct fg_command_desk *d, const struct fg_desk_device *device,
		      const struct fg_command_rule *rule)
{
	const struct fg_desk_command *c;

	if (!device)
		return true;
	if (device->n_running >= rule->max_open)
		return false;
	if (!fg_desk_is_mute(rule))
		return true;
	for (c = TAILQ_FIRST(&device->busy); c; c = TAILQ_NEXT(c, at_device))
		if (c->state == FG_COMMAND_SILENT && fg_desk_rule(d, c)->group == rule->group)
			return false;
	return true;
}

/* Returns false when the first one of @device stays where it is. */
static bool start_first(struct fg_command_desk *d, struct fg_desk_device *device, int64_t now_ms)
{
	struct fg_desk_command *c = TAILQ_FIRST(&device->waiting);
	const struct fg_command_rule *rule;
	enum fg_command_reach reach;
	bool is_marked;

	if (!c || c->state == FG_COMMAND_NEW || d->is_stopped)
		return false;
	rule = fg_desk_rule(d, c);
	if (now_ms >= c->deadline_ms) {
		fg_desk_due(d, c, now_ms);
		return true;
	}
	reach = fg_desk_reach(d, rule, fg_desk_command_device(c));
	if (reach == FG_REACH_DOWN && rule->offline == FG_OFFLINE_REFUSE) {
		fg_desk_refuse(d, c, FG_COMMAND_OFFLINE, "the device is not there", now_ms);
		return true;
	}
	if (reach != FG_REACH_UP || now_ms < c->retry_ms || !fg_desk_has_turn(d, device, rule))
		return false;
	is_marked = c->is_marked;
	if (!is_marked && fg_desk_write_mark(d, c, true) < 0) {
		d->is_stalled = true;
		return false;
	}
	fg_command_table_start(c);
	fg_command_table_due(&d->table, c, c->deadline_ms);
	fg_desk_enter(d, c, FG_COMMAND_GOING_OUT, now_ms);
	if (is_marked)
		send_out(d, c, now_ms);
	else
		fg_desk_command_queue(c, &d->commits);
	return true;
}

void fg_desk_pump(struct fg_command_desk *d, struct fg_desk_device *device, int64_t now_ms)
{
	if (device->is_held) /* the loop below is at it */
		return;
	device->is_held = true;
	while (start_first(d, device, now_ms))
		;
	fg_command_table_let_go(&d->table, device);
}

void fg_desk_command_committed(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	if (c->state == FG_COMMAND_GOING_OUT) {
		if (now_ms < c->deadline_ms)
			send_out(d, c, now_ms);
		else
			fg_desk_due(d, c, now_ms);
		return;
	}
	fg_desk_command_queue(c, NULL);
	fg_desk_enter(d, c, FG_COMMAND_WAITING, now_ms);
	plan_wait(d, c, now_ms);
	fg_desk_pump(d, c->device, now_ms);
}

/* ------------------------------------------------------------------ time, and room */

/* Its deadline has come before it was published. */
static void refuse_late(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	enum fg_command_reach reach =
		fg_desk_reach(d, fg_desk_rule(d, c), fg_desk_command_device(c));

	if (reach == FG_REACH_NO_BROKER)
		fg_desk_refuse(d, c, FG_COMMAND_OFFLINE,
			       "the gateway had no session with the device's broker in time",
			       now_ms);
	else if (reach == FG_REACH_UNHEARD)
		fg_desk_refuse(d, c, FG_COMMAND_UNKNOWN_DEVICE,
			       "nothing was heard of the device in time to know which broker it "
			       "is at",
			       now_ms);
	else if (reach == FG_REACH_DOWN || c->is_unreachable)
		fg_desk_refuse(d, c, FG_COMMAND_OFFLINE, "the device was not there in time",
			       now_ms);
	else
		fg_desk_refuse(d, c, FG_COMMAND_TIMEOUT,
			       "there was no time left to hand the command to the device", now_ms);
}

void fg_desk_due(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	if (c->state == FG_COMMAND_SILENT) {
		fg_desk_silence_over(d, c, now_ms);
	} else if (fg_desk_is_out(c)) {
		c->is_unanswered = true;
		fg_desk_refuse(d, c, FG_COMMAND_UNKNOWN_OUTCOME,
			       "the device has the command and has not answered in time", now_ms);
	} else if (now_ms < c->deadline_ms) { /* another attempt */
		plan_wait(d, c, now_ms);
		fg_desk_pump(d, c->device, now_ms);
	} else {
		refuse_late(d, c, now_ms);
	}
}

static int write_owed(struct fg_command_desk *d, int64_t now_ms)
{
	struct fg_desk_command *c;

	while ((c = TAILQ_FIRST(&d->owed))) {
		int r = c->why ? finish_refused(d, c, now_ms)
			       : finish(d, c, fg_span_str("{\"result\":null}"), &d->stats.answered,
					now_ms);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The wall clock was set, or has become known: what it will say at each deadline is another time. */
static int write_clocks(struct fg_command_desk *d, int64_t now_ms)
{
	struct fg_desk_command *c;

	for (c = TAILQ_FIRST(&d->table.by_note); c; c = TAILQ_NEXT(c, by_note)) {
		int64_t deadline_us;
		int r;

		if (!fg_desk_is_open(c) || c->state == FG_COMMAND_OWED || c->is_undated)
			continue;
		deadline_us = fg_desk_deadline_us(d, c, now_ms);
		if (deadline_us == 0)
			return 0;
		if (llabs(deadline_us - c->deadline_us) < CLOCK_SLACK_US)
			continue;
		r = fg_desk_write_clock(d, c, deadline_us);
		if (r < 0)
			return r;
	}
	return 0;
}

void fg_desk_catch_up(struct fg_command_desk *d, int64_t now_ms)
{
	struct fg_desk_device *device, *next;

	d->is_stalled = false;
	if (write_owed(d, now_ms) < 0 || write_clocks(d, now_ms) < 0 ||
	    fg_desk_write_copies(d, now_ms) < 0) {
		d->is_stalled = true;
		return;
	}
	for (device = fg_command_table_next_device(&d->table, NULL); device; device = next) {
		next = fg_command_table_next_device(&d->table, device);
		fg_desk_pump(d, device, now_ms);
	}
}
