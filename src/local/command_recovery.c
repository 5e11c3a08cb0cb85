#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "journal/format.h"
#include "local/command_desk_internal.h"
#include "local/command_note.h"
#include "util/log.h"
#include "util/span.h"
#include "util/timekeeper.h"

#define READ_AT_ONCE 64

/* ------------------------------------------------------------------ reading: what has happened */

static bool is_this_boot(const struct fg_command_desk *d, const struct fg_command_note *note)
{
	return memcmp(note->boot_id, d->with.boot_id, sizeof(note->boot_id)) == 0;
}

/* A deadline as a note has it: a moment of this boot, or to be judged by UTC. */
static void take_deadline(struct fg_command_desk *d, struct fg_desk_command *c,
			  const struct fg_command_note *note, const struct fg_message *m)
{
	bool was_undated = c->is_undated;

	c->deadline_us = note->deadline_us;
	c->is_undated = !is_this_boot(d, note);
	if (!c->is_undated)
		c->deadline_ms = note->deadline_ms;
	else if (m->time_quality == FG_TIME_GATEWAY && m->time_us > d->newest_foreign_us)
		d->newest_foreign_us = m->time_us;
	d->n_undated += c->is_undated;
	d->n_undated -= was_undated;
}

static bool find_error(struct fg_span word, enum fg_command_error *ret)
{
	for (int i = 0; i < FG_N_COMMAND_ERRORS; i++)
		if (fg_span_is(word, fg_command_error_word((enum fg_command_error)i))) {
			*ret = (enum fg_command_error)i;
			return true;
		}
	return false;
}

/* It has ended; what is left of it does not wait for anything. */
static void read_end(struct fg_command_desk *d, struct fg_desk_command *c, bool is_unanswered)
{
	c->is_unanswered = is_unanswered;
	fg_desk_dated(d, c);
	if (!fg_desk_is_open(c))
		return;
	d->stats.states[c->state]--;
	d->stats.states[FG_COMMAND_ENDED]++;
	c->state = FG_COMMAND_ENDED;
	d->stats.open--;
	d->open_bytes -= c->name_size + c->params_size;
	/* the payload is dropped later: its name tells which rule it was for */
}

/* A cloud that has given an id to another command; see command_desk.h. */
static void read_superseding(struct fg_command_desk *d, struct fg_desk_command *by)
{
	const struct fg_desk_identity identity = fg_desk_command_identity(by);
	struct fg_desk_command *c = by;

	while ((c = fg_command_table_find_id(&d->table, &identity, c)))
		if (fg_desk_is_open(c) && !c->is_one_way)
			c->is_superseded = true;
}

static struct fg_desk_command *read_new(struct fg_command_desk *d, const struct fg_message *m,
					const struct fg_command_note *note)
{
	const struct fg_desk_identity identity = {m->link, m->device, m->ref, note->key};
	struct fg_desk_command *c;

	if (m->link.size > UINT8_MAX || m->device.size == 0 || m->ref.size == 0)
		return NULL;
	c = fg_command_table_add(&d->table, &identity);
	if (!c)
		return NULL;
	if (fg_desk_command_keep(c, note->name, note->params) < 0) {
		fg_command_table_remove(&d->table, c);
		return NULL;
	}
	fg_command_table_number(&d->table, c, note->number > 0 ? note->number : m->seq);
	c->tag = note->tag;
	c->is_one_way = note->is_one_way;
	c->is_superseded = note->is_superseded;
	d->stats.states[FG_COMMAND_NEW]++;
	d->stats.open++;
	d->open_bytes += c->name_size + c->params_size;
	if (note->number == 0) /* copies come in another order, and know it */
		read_superseding(d, c);
	return c;
}

static int read_command(struct fg_command_desk *d, const struct fg_message *m)
{
	struct fg_command_note_room room;
	struct fg_command_note note;
	struct fg_desk_command *c;

	if (fg_command_note_read(m->body, &note, &room) < 0)
		return -EBADMSG;
	c = note.number > 0 ? fg_command_table_find_number(&d->table, note.number) : NULL;
	if (!c)
		c = read_new(d, m, &note);
	if (!c)
		return -ENOMEM;
	c->note_seq = m->seq;
	TAILQ_REMOVE(&d->table.by_note, c, by_note);
	TAILQ_INSERT_TAIL(&d->table.by_note, c, by_note);
	if (note.state == FG_NOTE_ENDED || note.state == FG_NOTE_UNANSWERED) {
		c->answer_seq = note.answer;
		read_end(d, c, note.state == FG_NOTE_UNANSWERED);
		return 0;
	}
	c->is_marked = note.state == FG_NOTE_GOING_OUT;
	if (note.error.size > 0 && find_error(note.error, &c->verdict))
		c->why = "refused when it came";
	take_deadline(d, c, &note, m);
	return 0;
}

static int read_state(struct fg_command_desk *d, const struct fg_message *m)
{
	struct fg_command_note note;
	struct fg_desk_command *c;

	if (fg_command_state_note_read(m->body, &note) < 0)
		return -EBADMSG;
	c = fg_command_table_find_number(&d->table, note.number);
	if (!c || !fg_desk_is_open(c))
		return 0;
	switch (note.state) {
	case FG_NOTE_GOING_OUT:
		c->is_marked = true;
		break;
	case FG_NOTE_NOT_SENT:
		c->is_marked = false;
		break;
	case FG_NOTE_ENDED:
	case FG_NOTE_UNANSWERED:
		read_end(d, c, note.state == FG_NOTE_UNANSWERED);
		return 0;
	default:
		break;
	}
	take_deadline(d, c, &note, m);
	return 0;
}

static bool says_unknown(struct fg_span body)
{
	struct fg_span start = fg_span_str("{\"error\":{\"code\":\"unknown_outcome\"");

	return body.size > start.size && memcmp(body.data, start.data, start.size) == 0;
}

/* The response to the open command with this id or, once more, to the last that has ended. */
static void read_response(struct fg_command_desk *d, const struct fg_message *m)
{
	const struct fg_desk_identity identity = {
		.link = m->link, .device = m->device, .id = m->ref};
	struct fg_desk_command *c = NULL, *ended = NULL;

	while ((c = fg_command_table_find_id(&d->table, &identity, c))) {
		if (c->is_one_way || c->is_superseded)
			continue;
		if (fg_desk_is_open(c)) {
			read_end(d, c, c->is_marked && says_unknown(m->body));
			c->answer_seq = m->seq;
			return;
		}
		if (!ended)
			ended = c;
	}
	if (ended && ended->answer_seq > 0)
		ended->answer_seq = m->seq;
}

static int read_record(struct fg_command_desk *d, const struct fg_message *m)
{
	switch ((unsigned)m->kind) {
	case FG_RECORD_KIND_COMMAND:
		return read_command(d, m);
	case FG_RECORD_KIND_COMMAND_STATE:
		return read_state(d, m);
	case FG_COMMAND_RESPONSE:
		read_response(d, m);
		return 0;
	default:
		return 0;
	}
}

static int read_all(struct fg_command_desk *d)
{
	struct fg_message messages[READ_AT_ONCE];
	int n;

	while ((n = fg_pass_read(d->pass, messages, READ_AT_ONCE, NULL, NULL)) != 0) {
		if (n < 0 && n != -EAGAIN)
			return n;
		for (int i = 0; i < n; i++) {
			int r = read_record(d, &messages[i]);

			if (r == -ENOMEM)
				return r;
			if (r < 0)
				fg_warning("commands: record %" PRIu64
					   " of the alarm lane is not a note of ours, passed over",
					   messages[i].seq);
		}
	}
	fg_pass_rest(d->pass);
	return 0;
}

/* ------------------------------------------------------------------ what is to be done about it */

/* How long something of another boot still has; negative: the time for that has passed, or nobody
 * knows. */
static int64_t time_left_ms(const struct fg_command_desk *d, const struct fg_desk_command *c,
			    int64_t now_ms)
{
	int64_t utc_us;

	if (c->deadline_us == 0 ||
	    fg_timekeeper_now(d->with.timekeeper, &utc_us) == FG_TIME_UNSYNCHRONISED)
		return -1;
	/* The machine was started after all that another boot has written. */
	if (utc_us - now_ms * 1000 < d->newest_foreign_us)
		return -1;
	return (c->deadline_us - utc_us) / 1000;
}

static void owe(struct fg_command_desk *d, struct fg_desk_command *c, enum fg_command_error verdict,
		const char *why, int64_t now_ms)
{
	c->verdict = c->may_have_run ? FG_COMMAND_UNKNOWN_OUTCOME : verdict;
	c->why = why;
	fg_desk_dated(d, c);
	fg_desk_command_queue(c, &d->owed);
	fg_desk_enter(d, c, FG_COMMAND_OWED, now_ms);
	d->is_stalled = true;
}

/* Its deadline is known: it goes on from where it was. */
static int resume(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	const struct fg_command_rule *rule = fg_desk_rule(d, c);
	int r;

	r = fg_command_table_wait(&d->table, c);
	if (r < 0)
		return r;
	fg_command_table_due(&d->table, c, c->deadline_ms);
	if (c->state != FG_COMMAND_WAITING)
		fg_desk_enter(d, c, FG_COMMAND_WAITING, now_ms);
	if (!c->is_marked || rule->may_repeat)
		return 0;
	fg_command_table_start(c);
	fg_desk_enter(d, c, FG_COMMAND_DELIVERED, now_ms);
	/* Only an answer could tell more. */
	if (rule->group < 0 || (c->is_one_way && rule->correlate != FG_CORRELATE_NONE))
		fg_command_table_due(&d->table, c, now_ms);
	return 0;
}

static int decide_open(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	c->may_have_run = c->is_marked;
	if (c->why) {
		owe(d, c, c->verdict, c->why, now_ms);
		return 0;
	}
	if (c->rule < 0) {
		owe(d, c, FG_COMMAND_UNKNOWN_COMMAND,
		    "the gateway was restarted without a rule for this command", now_ms);
		return 0;
	}
	if (c->is_undated) { /* fg_desk_date() */
		fg_desk_enter(d, c, FG_COMMAND_WAITING, now_ms);
		return 0;
	}
	return resume(d, c, now_ms);
}

/* A device that has been asked may still say something that would be taken for the next answer. */
static int decide_ended(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	const struct fg_command_rule *rule = fg_desk_rule(d, c);
	int r;

	if (c->is_unanswered && fg_desk_is_mute(rule)) {
		r = fg_command_table_wait(&d->table, c);
		if (r < 0)
			return r;
		fg_command_table_start(c);
		fg_command_table_rest(c);
		fg_command_table_due(&d->table, c, now_ms + rule->timeout_ms);
		fg_desk_enter(d, c, FG_COMMAND_SILENT, now_ms);
	}
	fg_desk_command_drop_payload(c);
	c->name_size = c->params_size = 0;
	if (c->answer_seq > 0)
		fg_desk_await_sending(d, c, now_ms);
	else
		fg_desk_remember(d, c, now_ms);
	return 0;
}

void fg_desk_date(struct fg_command_desk *d, struct fg_desk_command *c, int64_t now_ms)
{
	int64_t left_ms;

	if (!c->is_marked && c->deadline_us > 0 && fg_timekeeper_is_waiting(d->with.timekeeper))
		return;
	left_ms = time_left_ms(d, c, now_ms);
	fg_desk_dated(d, c);
	c->deadline_ms = left_ms > 0 ? now_ms + left_ms : now_ms;
	if (resume(d, c, now_ms) < 0) {
		owe(d, c, FG_COMMAND_NO_ROOM, "no memory for the command", now_ms);
		return;
	}
	/* For the next start in this boot. When there is no room, that has to judge once more. */
	fg_desk_write_command(d, c, NULL, now_ms);
}

int fg_desk_recover(struct fg_command_desk *d, int64_t now_ms)
{
	struct fg_desk_command *c, *next;
	int r;

	d->newest_foreign_us = INT64_MIN;
	r = read_all(d);
	if (r < 0)
		return r;
	for (c = TAILQ_FIRST(&d->table.by_note); c; c = next) {
		next = TAILQ_NEXT(c, by_note);
		c->received_ms = now_ms;
		c->noted_ms = now_ms - d->with.max_age_ms / 2;
		c->rule = fg_command_map_find(d->with.map, fg_desk_command_device(c),
					      fg_desk_command_name(c));
		c->rule = c->rule < 0 ? -1 : c->rule;
		r = fg_desk_is_open(c) ? decide_open(d, c, now_ms) : decide_ended(d, c, now_ms);
		if (r < 0)
			return r;
	}
	if (d->stats.open > 0)
		fg_notice("commands: %u open from before the restart", d->stats.open);
	return 0;
}
