#include "local/command_desk.h"

#include <errno.h>
#include <stdlib.h>

#include "local/command_desk_internal.h"
#include "local/command_note.h"
#include "model/json.h"
#include "model/utf8.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/span.h"

#define LINK_MAX_BYTES 63
#define DEVICE_MAX_BYTES 255

/* How long before the cloud gives up our own answer has to be on its way. */
#define MARGIN_MIN_MS 500
#define MARGIN_MAX_MS 5000

static const char *const state_words[FG_N_COMMAND_STATES] = {
	[FG_COMMAND_NEW] = "new",
	[FG_COMMAND_WAITING] = "waiting",
	[FG_COMMAND_GOING_OUT] = "going out",
	[FG_COMMAND_SENT] = "sent",
	[FG_COMMAND_DELIVERED] = "delivered",
	[FG_COMMAND_OWED] = "owed",
	[FG_COMMAND_SILENT] = "silent",
	[FG_COMMAND_ENDED] = "ended",
};

const char *fg_command_state_word(enum fg_command_state state)
{
	return state_words[state];
}

static void desk_freep(struct fg_command_desk **d)
{
	fg_command_desk_free(*d);
}

int fg_command_desk_open(const struct fg_command_desk_options *options, int64_t now_ms,
			 struct fg_command_desk **ret, struct fg_error *err)
{
	FG_CLEANUP(desk_freep) struct fg_command_desk *d = NULL;
	int r;

	d = calloc(1, sizeof(*d));
	if (!d)
		return fg_error_set(err, -ENOMEM, "no memory for the command desk");
	d->with = *options;
	d->random = options->seed;
	TAILQ_INIT(&d->commits);
	TAILQ_INIT(&d->owed);
	TAILQ_INIT(&d->unsent);
	TAILQ_INIT(&d->sent);
	/* Touched only as far as the largest command ever needs it. */
	d->note = malloc(fg_command_map_max_bytes(options->map) + FG_COMMAND_NOTE_EXTRA);
	r = fg_command_table_init(&d->table, options->max_commands, options->seed);
	if (!d->note || r < 0)
		return fg_error_set(err, -ENOMEM, "no memory for the command desk");
	r = fg_cursor_open(options->journal, FG_LANE_ALARM, FG_COMMAND_CURSOR, UINT32_MAX,
			   &d->cursor);
	if (r == 0)
		r = fg_pass_open(d->cursor, &d->pass);
	if (r < 0)
		return fg_error_set(err, r, "cannot read commands from the journal");
	fg_pass_want_notes(d->pass);
	r = fg_desk_recover(d, now_ms);
	if (r < 0)
		return fg_error_set(err, r, "cannot read commands from the journal");
	*ret = d; /* the caller owns it now */
	d = NULL;
	return 0;
}

struct fg_command_desk *fg_command_desk_free(struct fg_command_desk *d)
{
	if (!d)
		return NULL;
	fg_command_table_release(&d->table);
	fg_pass_close(d->pass);
	if (d->cursor)
		fg_cursor_close(d->cursor);
	free(d->note);
	free(d);
	return NULL;
}

/* ------------------------------------------------------------------ a command comes */

/* splitmix64 */
static uint64_t next_random(struct fg_command_desk *d)
{
	uint64_t z = d->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Until our own answer has to be there. */
static int64_t time_for(const struct fg_command_rule *rule, const struct fg_command *command)
{
	int64_t cloud_ms = command->timeout_ms;
	int64_t margin_ms = cloud_ms / 4;

	if (cloud_ms <= 0)
		return rule->timeout_ms;
	if (margin_ms < MARGIN_MIN_MS)
		margin_ms = cloud_ms / 2 < MARGIN_MIN_MS ? cloud_ms / 2 : MARGIN_MIN_MS;
	if (margin_ms > MARGIN_MAX_MS)
		margin_ms = MARGIN_MAX_MS;
	cloud_ms -= command->is_device_time ? 0 : margin_ms;
	return cloud_ms < rule->timeout_ms ? cloud_ms : rule->timeout_ms;
}

/* Why a command is refused as it comes. */
struct verdict {
	enum fg_command_error error;
	const char *why; /* NULL: it is not */
};

/* Can a message be made of it at all? */
static struct verdict judge_words(struct fg_command_desk *d, int rule,
				  const struct fg_command *command)
{
	static const char longest_id[] = "ffffffffffffffffffffffff";
	struct fg_command_words words = {
		.device = command->device,
		.name = command->name,
		.id = {longest_id, FG_WIRE_ID_MAX},
		.params = command->params,
	};
	struct fg_command_output output;
	struct fg_json_value value;
	struct fg_json_fault fault;

	if (command->params.size > fg_command_map_max_bytes(d->with.map))
		return (struct verdict){FG_COMMAND_BAD_PARAMS,
					"the parameters are larger than a message may be"};
	if (command->params.size > 0 && fg_json_check(command->params, &value, &fault) < 0)
		return (struct verdict){FG_COMMAND_BAD_PARAMS, "the parameters are not JSON"};
	switch (fg_command_map_fill(d->with.map, rule, &words, &output, NULL)) {
	case 0:
		return (struct verdict){0};
	case -ENODEV:
		return (struct verdict){FG_COMMAND_UNKNOWN_DEVICE,
					"the device's name does not fit into its topic"};
	case -ENOENT:
		return (struct verdict){FG_COMMAND_UNKNOWN_COMMAND,
					"the command's name does not fit into its topic"};
	default:
		return (struct verdict){FG_COMMAND_BAD_PARAMS,
					"the command makes a message larger than it may be"};
	}
}

static struct verdict judge(struct fg_command_desk *d, int rule, const struct fg_command *command)
{
	const struct fg_desk_device *device =
		fg_command_table_find_device(&d->table, command->device);
	struct verdict verdict;

	if (rule == -ENODEV)
		return (struct verdict){FG_COMMAND_UNKNOWN_DEVICE, "no rule is for this device"};
	if (rule < 0 || command->name.size == 0 || command->name.size > FG_COMMAND_NAME_MAX)
		return (struct verdict){FG_COMMAND_UNKNOWN_COMMAND,
					"no rule is for this command of the device"};
	verdict = judge_words(d, rule, command);
	if (verdict.why)
		return verdict;
	if (d->stats.open >= d->with.max_commands ||
	    d->open_bytes + command->name.size + command->params.size > d->with.max_command_bytes)
		return (struct verdict){FG_COMMAND_BUSY, "too many commands are open"};
	if (device && device->n_waiting + device->n_running >= FG_COMMANDS_OF_DEVICE)
		return (struct verdict){FG_COMMAND_BUSY,
					"too many commands are open for this device"};
	if (fg_command_map_rule(d->with.map, rule)->offline == FG_OFFLINE_REFUSE &&
	    fg_desk_reach(d, fg_command_map_rule(d->with.map, rule), command->device) ==
		    FG_REACH_DOWN)
		return (struct verdict){FG_COMMAND_OFFLINE, "the device is not there"};
	return verdict;
}

/* Does its cloud have its answer? */
static bool has_sent(const struct fg_command_desk *d, const struct fg_desk_command *c)
{
	return !d->with.ops.has_sent ||
	       d->with.ops.has_sent(d->with.ops.arg, fg_desk_command_link(c), c->answer_seq);
}

/* It came again. */
static int take_again(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms,
		      uint64_t *ret_ticket)
{
	int r;

	if (c->turn == &d->unsent && has_sent(d, c))
		fg_desk_remember(d, c, now_ms);
	if (c->turn == &d->sent && c->answer_seq > 0) {
		r = fg_desk_write_again(d, c);
		if (r < 0 && r != -ENOENT)
			return -EAGAIN;
		if (r == 0) {
			d->stats.repeated++;
			fg_desk_await_sending(d, c, now_ms);
		}
	}
	d->stats.duplicates++;
	*ret_ticket = c->ticket > fg_journal_committed(d->with.journal) ? c->ticket : 0;
	return 0;
}

/* Its note and our answer; either both are taken, or the answer is owed, or nothing. */
static int take_refused(struct fg_command_desk *d, struct fg_desk_command *c,
			const struct verdict *verdict, int64_t now_ms)
{
	if (fg_desk_write_command(d, c, &verdict->error, now_ms) < 0)
		return -EAGAIN;
	d->stats.open++;
	fg_desk_refuse(d, c, verdict->error, verdict->why, now_ms);
	return 0;
}

/*
 * Its note. When the device is free "going out" is part of that: one commit instead of two. Returns
 * what fg_journal_append() does, or -ENOMEM.
 */
static int take_accepted(struct fg_command_desk *d, struct fg_desk_command *c,
			 const struct fg_command *command, int64_t now_ms)
{
	const struct fg_command_rule *rule = fg_desk_rule(d, c);
	const struct fg_desk_device *device =
		fg_command_table_find_device(&d->table, command->device);
	int r;

	if (fg_desk_command_keep(c, command->name, command->params) < 0 ||
	    fg_command_table_wait(&d->table, c) < 0)
		return -ENOMEM;
	c->is_marked = TAILQ_FIRST(&c->device->waiting) == c && fg_desk_has_turn(d, device, rule) &&
		       fg_desk_reach(d, rule, command->device) == FG_REACH_UP;
	c->deadline_ms = now_ms + time_for(rule, command);
	c->deadline_us = fg_desk_deadline_us(d, c, now_ms);
	r = fg_desk_write_command(d, c, NULL, now_ms);
	if (r < 0)
		return r;
	d->stats.open++;
	d->open_bytes += c->name_size + c->params_size;
	fg_desk_command_queue(c, &d->commits);
	fg_command_table_due(&d->table, c, c->deadline_ms);
	if (c->is_marked) {
		fg_command_table_start(c);
		fg_desk_enter(d, c, FG_COMMAND_GOING_OUT, now_ms);
	}
	return 0;
}

/* The one whose answer nobody can be told any more, since its cloud means another one by its id. */
static struct fg_desk_command *find_superseded(struct fg_command_desk *d,
					       struct fg_desk_command *by)
{
	const struct fg_desk_identity identity = fg_desk_command_identity(by);
	struct fg_desk_command *c = by;

	while ((c = fg_command_table_find_id(&d->table, &identity, c)))
		if (fg_desk_is_open(c) && !c->is_one_way && !c->is_superseded)
			return c;
	return NULL;
}

static int take(struct fg_command_desk *d, const struct fg_desk_identity *identity,
		const struct fg_command *command, int64_t now_ms, uint64_t *ret_ticket)
{
	int rule = fg_command_map_find(d->with.map, command->device, command->name);
	struct verdict verdict = judge(d, rule, command);
	struct fg_desk_command *c, *superseded;
	int r;

	c = fg_command_table_add(&d->table, identity);
	if (!c)
		return -EAGAIN;
	c->rule = rule < 0 ? -1 : rule;
	c->is_one_way = command->is_one_way;
	c->tag = (uint32_t)next_random(d);
	c->received_ms = now_ms;
	d->stats.states[FG_COMMAND_NEW]++;
	superseded = find_superseded(d, c);
	r = verdict.why ? take_refused(d, c, &verdict, now_ms)
			: take_accepted(d, c, command, now_ms);
	if (r == -EMSGSIZE || r == -ENOSPC || r == -ENOBUFS) {
		verdict = (struct verdict){FG_COMMAND_NO_ROOM,
					   "the journal has no room for the command"};
		c->is_marked = false;
		fg_command_table_leave(&d->table, c);
		fg_desk_command_drop_payload(c);
		c->name_size = c->params_size = 0;
		r = take_refused(d, c, &verdict, now_ms);
	}
	if (r < 0) {
		d->stats.states[FG_COMMAND_NEW]--;
		fg_command_table_remove(&d->table, c);
		return -EAGAIN;
	}
	if (superseded) {
		superseded->is_superseded = true;
		fg_complain(&d->reused_complaint, now_ms, LOG_WARNING,
			    "link %.*s: the id of an open command of device %.*s came again with "
			    "another command: the first one runs on, its answer is dropped",
			    FG_SPAN_ARGS(identity->link), FG_SPAN_ARGS(identity->device));
	}
	d->stats.received++;
	*ret_ticket = c->ticket;
	return 0;
}

int fg_command_desk_submit(struct fg_command_desk *d, struct fg_span link,
			   const struct fg_command *command, int64_t now_ms, uint64_t *ret_ticket)
{
	const struct fg_desk_identity identity = {link, command->device, command->id, command->key};
	struct fg_desk_command *same;

	if (d->is_stopped)
		return -EAGAIN;
	if (link.size == 0 || link.size > LINK_MAX_BYTES || command->device.size == 0 ||
	    command->device.size > DEVICE_MAX_BYTES || command->id.size == 0 ||
	    command->id.size > FG_COMMAND_ID_MAX || command->key.size > FG_COMMAND_KEY_MAX) {
		d->stats.dropped++;
		return -EINVAL;
	}
	same = fg_command_table_find(&d->table, &identity);
	return same ? take_again(d, same, now_ms, ret_ticket)
		    : take(d, &identity, command, now_ms, ret_ticket);
}

/* ------------------------------------------------------------------ the journal and the broker */

void fg_command_desk_committed(struct fg_command_desk *d, uint64_t ticket, int64_t now_ms)
{
	struct fg_desk_command *c;

	while ((c = TAILQ_FIRST(&d->commits)) && c->ticket <= ticket)
		fg_desk_command_committed(d, c, now_ms);
	if (d->is_stalled)
		fg_desk_catch_up(d, now_ms);
	fg_desk_settle(d);
}

void fg_command_desk_published(struct fg_command_desk *d, uint64_t tag, unsigned reason_code,
			       int64_t now_ms)
{
	struct fg_desk_command *c = fg_command_table_find_number(&d->table, tag);

	if (c && c->state == FG_COMMAND_SENT)
		fg_desk_published(d, c, reason_code, now_ms);
}

void fg_command_desk_lost(struct fg_command_desk *d, uint64_t seq)
{
	if (seq > d->lost_seq)
		d->lost_seq = seq;
	d->is_stalled = true;
}

/* ------------------------------------------------------------------ an answer comes */

static struct fg_desk_command *find_by_wire_id(const struct fg_command_desk *d, struct fg_span id)
{
	char text[FG_WIRE_ID_MAX + 1];
	struct fg_desk_command *c;
	uint64_t number;
	char *end;

	if (id.size < 9 || id.size > FG_WIRE_ID_MAX)
		return NULL;
	memcpy(text, id.data, id.size);
	text[id.size - 8] = '\0';
	number = strtoull(text, &end, 16);
	if (*end != '\0' || number == 0)
		return NULL;
	c = fg_command_table_find_number(&d->table, number);
	if (!c)
		return NULL;
	fg_desk_wire_id(c, text);
	return fg_span_is(id, text) ? c : NULL;
}

static bool fits_match(const struct fg_command_desk *d, const struct fg_desk_command *c,
		       const struct fg_command_match *match)
{
	const struct fg_command_rule *rule = fg_desk_rule(d, c);
	struct fg_span name = fg_desk_command_name(c);

	return rule && rule->group == match->group &&
	       (match->device.size == 0 ||
		fg_span_equal(match->device, fg_desk_command_device(c))) &&
	       (match->name.size == 0 || name.size == 0 || fg_span_equal(match->name, name));
}

/* Nothing tells whose answer it is but that there is only one at the device. */
static struct fg_desk_command *find_alone(const struct fg_command_desk *d,
					  const struct fg_command_match *match)
{
	const struct fg_desk_device *device =
		fg_command_table_find_device(&d->table, match->device);
	struct fg_desk_command *c, *silent = NULL;

	if (!device)
		return NULL;
	for (c = TAILQ_FIRST(&device->busy); c; c = TAILQ_NEXT(c, at_device)) {
		if (!fits_match(d, c, match))
			continue;
		if (fg_desk_is_out(c))
			return c;
		if (c->state == FG_COMMAND_SILENT || c->state == FG_COMMAND_OWED)
			silent = c;
	}
	return silent;
}

static int take_answer(struct fg_command_desk *d, struct fg_desk_command *c, struct fg_span payload,
		       int64_t now_ms)
{
	/* Who knows its id has had it: before a restart, when it waits to be sent again. */
	if (fg_desk_is_open(c) && c->state != FG_COMMAND_OWED)
		return fg_desk_answer(d, c, payload, now_ms) < 0 ? -EAGAIN : 1;
	d->stats.late++;
	if (c->state == FG_COMMAND_SILENT)
		fg_desk_silence_over(d, c, now_ms);
	return 1;
}

int fg_command_desk_arrived(struct fg_command_desk *d, const struct fg_command_arrival *arrival,
			    int64_t now_ms)
{
	bool is_own = fg_command_map_owns(d->with.map, arrival->topic);
	struct fg_command_match match;
	bool is_candidate = false;
	size_t at = 0;

	/* Nearly every message of a device comes by here: be quick when nothing is expected. */
	if (arrival->is_retained || (d->table.n_commands == 0 && !is_own))
		return is_own;
	while (fg_command_map_match(d->with.map, arrival, &at, &match)) {
		struct fg_desk_command *c;

		is_candidate = true;
		c = match.id.size == 0 ? find_alone(d, &match) : find_by_wire_id(d, match.id);
		if (c && fits_match(d, c, &match))
			return take_answer(d, c, arrival->payload, now_ms);
	}
	d->stats.unmatched += is_candidate;
	return is_own;
}

/* ------------------------------------------------------------------ devices and time */

static void device_is_up(struct fg_command_desk *d, struct fg_desk_device *device, int64_t now_ms)
{
	struct fg_desk_command *c;

	for (c = TAILQ_FIRST(&device->waiting); c; c = TAILQ_NEXT(c, at_device))
		c->retry_ms = c->pause_ms = 0;
	fg_desk_pump(d, device, now_ms);
}

void fg_command_desk_device_up(struct fg_command_desk *d, struct fg_span name, int64_t now_ms)
{
	struct fg_desk_device *device, *next;

	if (name.size > 0) {
		device = fg_command_table_find_device(&d->table, name);
		if (device)
			device_is_up(d, device, now_ms);
		return;
	}
	for (device = fg_command_table_next_device(&d->table, NULL); device; device = next) {
		next = fg_command_table_next_device(&d->table, device);
		device_is_up(d, device, now_ms);
	}
}

void fg_command_desk_device_down(struct fg_command_desk *d, struct fg_span name, int64_t now_ms)
{
	struct fg_desk_device *device = fg_command_table_find_device(&d->table, name);

	if (device)
		fg_desk_pump(d, device, now_ms); /* refuses what will not wait */
}

/* If not, its cloud may still send it again when it is back. */
static bool is_connected(const struct fg_command_desk *d, const struct fg_desk_command *c)
{
	return !d->with.ops.is_connected ||
	       d->with.ops.is_connected(d->with.ops.arg, fg_desk_command_link(c));
}

static void watch_sending(struct fg_command_desk *d, int64_t now_ms)
{
	struct fg_desk_command *c, *next;

	for (c = TAILQ_FIRST(&d->unsent); c; c = next) {
		next = TAILQ_NEXT(c, in_turn);
		if (has_sent(d, c))
			fg_desk_remember(d, c, now_ms);
	}
	while ((c = TAILQ_FIRST(&d->sent)) && c->forget_ms <= now_ms &&
	       c->state == FG_COMMAND_ENDED) {
		if (c->answer_seq > 0 || is_connected(d, c))
			fg_desk_forget(d, c);
		else {
			c->forget_ms = now_ms + FG_COMMAND_REMEMBERED_MS;
			fg_desk_command_queue(c, &d->sent);
		}
	}
}

void fg_command_desk_tick(struct fg_command_desk *d, int64_t now_ms)
{
	struct fg_desk_command *c, *next;

	for (c = TAILQ_FIRST(&d->table.by_note); c && d->n_undated > 0; c = next) {
		next = TAILQ_NEXT(c, by_note);
		if (c->is_undated)
			fg_desk_date(d, c, now_ms);
	}
	while ((c = fg_command_table_first_due(&d->table)) && c->due_ms <= now_ms)
		fg_desk_due(d, c, now_ms);
	watch_sending(d, now_ms);
	fg_desk_catch_up(d, now_ms);
	fg_desk_settle(d);
}

int64_t fg_command_desk_next(const struct fg_command_desk *d)
{
	const struct fg_desk_command *c = fg_command_table_first_due(&d->table);

	return c ? c->due_ms : INT64_MAX;
}

void fg_command_desk_stop(struct fg_command_desk *d)
{
	d->is_stopped = true;
}

void fg_command_desk_get_stats(const struct fg_command_desk *d, struct fg_command_stats *ret)
{
	*ret = d->stats;
}

int fg_command_desk_each(const struct fg_command_desk *d,
			 int (*each)(void *arg, const struct fg_command_view *view), void *arg)
{
	const struct fg_desk_command *c;

	for (c = TAILQ_FIRST(&d->table.by_note); c; c = TAILQ_NEXT(c, by_note)) {
		struct fg_command_view view;
		int r;

		if (c->state == FG_COMMAND_ENDED)
			continue;
		fg_desk_view(c, &view);
		r = each(arg, &view);
		if (r != 0)
			return r;
	}
	return 0;
}
