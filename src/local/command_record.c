#include <errno.h>
#include <stdio.h>

#include "journal/format.h"
#include "local/command_desk_internal.h"
#include "local/command_note.h"
#include "util/span.h"
#include "util/timekeeper.h"

/* A record that is being made; its seq, once it has one, is the newest of its command. */
static int append(struct fg_command_desk *d, struct fg_desk_command *c, struct fg_message *msg,
		  uint64_t *ret_seq)
{
	int r;

	msg->device = fg_desk_command_device(c);
	msg->ref = fg_desk_command_id(c);
	msg->link = fg_desk_command_link(c);
	r = fg_journal_append(d->with.journal, FG_LANE_ALARM, msg, ret_seq);
	if (r < 0)
		return r;
	if (*ret_seq == 0) /* FG_ON_FULL_DROP_NEWEST */
		return -ENOBUFS;
	c->ticket = fg_journal_ticket(d->with.journal);
	return 0;
}

static struct fg_message message(const struct fg_command_desk *d, unsigned kind,
				 struct fg_span body)
{
	struct fg_message msg = {.kind = (enum fg_kind)kind, .body = body};

	msg.time_quality = fg_timekeeper_now(d->with.timekeeper, &msg.time_us);
	return msg;
}

int64_t fg_desk_deadline_us(const struct fg_command_desk *d, const struct fg_desk_command *c,
			    int64_t now_ms)
{
	int64_t utc_us;

	if (fg_timekeeper_now(d->with.timekeeper, &utc_us) == FG_TIME_UNSYNCHRONISED)
		return 0;
	return utc_us + (c->deadline_ms - now_ms) * 1000;
}

/* What both kinds of note begin with. */
static struct fg_command_note note_of(const struct fg_command_desk *d,
				      const struct fg_desk_command *c, enum fg_note_state state)
{
	struct fg_command_note note = {
		.number = c->number,
		.state = state,
		.deadline_ms = c->deadline_ms,
		.deadline_us = c->deadline_us,
	};

	memcpy(note.boot_id, d->with.boot_id, sizeof(note.boot_id));
	return note;
}

static enum fg_note_state note_state(const struct fg_desk_command *c)
{
	if (!fg_desk_is_open(c))
		return c->is_unanswered ? FG_NOTE_UNANSWERED : FG_NOTE_ENDED;
	return c->is_marked ? FG_NOTE_GOING_OUT : FG_NOTE_NEW;
}

int fg_desk_write_command(struct fg_command_desk *d, struct fg_desk_command *c,
			  const enum fg_command_error *error, int64_t now_ms)
{
	struct fg_command_note note = note_of(d, c, note_state(c));
	struct fg_message msg;
	uint64_t seq;
	int r;

	note.tag = c->tag;
	note.is_one_way = c->is_one_way;
	note.is_superseded = c->is_superseded;
	note.answer = c->answer_seq;
	note.key = fg_desk_command_key(c);
	if (error)
		note.error = fg_span_str(fg_command_error_word(*error));
	else {
		note.name = fg_desk_command_name(c);
		note.params = fg_desk_command_params(c);
	}
	msg = message(d, FG_RECORD_KIND_COMMAND,
		      fg_span_of(d->note, fg_command_note_write(&note, d->note)));
	r = append(d, c, &msg, &seq);
	if (r < 0)
		return r;
	if (c->number == 0)
		fg_command_table_number(&d->table, c, seq);
	else
		d->copies_ticket = c->ticket;
	c->note_seq = seq;
	c->noted_ms = now_ms;
	TAILQ_REMOVE(&d->table.by_note, c, by_note);
	TAILQ_INSERT_TAIL(&d->table.by_note, c, by_note);
	return 0;
}

static int write_state(struct fg_command_desk *d, struct fg_desk_command *c,
		       const struct fg_command_note *note)
{
	struct fg_message msg =
		message(d, FG_RECORD_KIND_COMMAND_STATE,
			fg_span_of(d->note, fg_command_state_note_write(note, d->note)));
	uint64_t seq;

	return append(d, c, &msg, &seq);
}

int fg_desk_write_mark(struct fg_command_desk *d, struct fg_desk_command *c, bool is_going_out)
{
	struct fg_command_note note =
		note_of(d, c, is_going_out ? FG_NOTE_GOING_OUT : FG_NOTE_NOT_SENT);
	int r;

	r = write_state(d, c, &note);
	if (r < 0)
		return r;
	c->is_marked = is_going_out;
	return 0;
}

int fg_desk_write_clock(struct fg_command_desk *d, struct fg_desk_command *c, int64_t deadline_us)
{
	struct fg_command_note note = note_of(d, c, FG_NOTE_CLOCK);
	int r;

	note.deadline_us = deadline_us;
	r = write_state(d, c, &note);
	if (r < 0)
		return r;
	c->deadline_us = deadline_us;
	return 0;
}

int fg_desk_write_end(struct fg_command_desk *d, struct fg_desk_command *c, struct fg_span body)
{
	struct fg_command_note note;
	struct fg_message msg;
	uint64_t seq;
	int r;

	if (c->is_one_way || c->is_superseded) {
		note = note_of(d, c, c->is_unanswered ? FG_NOTE_UNANSWERED : FG_NOTE_ENDED);
		return write_state(d, c, &note);
	}
	msg = message(d, FG_COMMAND_RESPONSE, body);
	r = append(d, c, &msg, &seq);
	if (r < 0)
		return r;
	c->answer_seq = seq;
	return 0;
}

int fg_desk_write_again(struct fg_command_desk *d, struct fg_desk_command *c)
{
	struct fg_message msg;
	uint64_t seq;
	int r;

	fg_pass_seek(d->pass, c->answer_seq);
	r = fg_pass_read(d->pass, &msg, 1, NULL, NULL);
	if (r != 1 || msg.seq != c->answer_seq || msg.kind != FG_COMMAND_RESPONSE)
		r = -ENOENT;
	else {
		r = append(d, c, &msg, &seq);
		if (r == 0)
			c->answer_seq = seq;
	}
	fg_pass_rest(d->pass);
	return r;
}

/* ------------------------------------------------------------------ what the lane keeps */

void fg_desk_settle(struct fg_command_desk *d)
{
	const struct fg_desk_command *oldest = TAILQ_FIRST(&d->table.by_note);
	uint64_t needed = fg_cursor_end(d->cursor);
	uint64_t watermark = fg_cursor_watermark(d->cursor);

	/* What is settled may be known to the disk before what has been appended is. */
	if (d->copies_ticket > fg_journal_committed(d->with.journal))
		return;
	if (oldest && oldest->note_seq < needed)
		needed = oldest->note_seq;
	if (needed > watermark + 1)
		fg_cursor_settle(d->cursor, watermark + 1, needed - 1);
}

/*
 * Up to which record notes have to be written again: those that were lost, and when the lane is half
 * full, the older half of what is in it. The rest is far from the cap, whatever comes until the next
 * tick.
 */
static uint64_t endangered_seq(const struct fg_command_desk *d)
{
	struct fg_journal_stats stats;
	uint64_t seq = d->lost_seq;

	fg_journal_get_stats(d->with.journal, &stats);
	if (d->with.max_alarm_bytes > 0 && stats.alarm_bytes >= d->with.max_alarm_bytes / 2 &&
	    stats.alarm_next_seq > stats.alarm_first_seq) {
		uint64_t middle =
			stats.alarm_first_seq + (stats.alarm_next_seq - stats.alarm_first_seq) / 2;

		seq = middle > seq ? middle : seq;
	}
	return seq;
}

int fg_desk_write_copies(struct fg_command_desk *d, int64_t now_ms)
{
	uint64_t endangered = endangered_seq(d);
	struct fg_desk_command *c, *last = TAILQ_LAST(&d->table.by_note, fg_desk_queue);
	bool is_last = !last;

	while (!is_last) {
		bool is_refused;
		int r;

		c = TAILQ_FIRST(&d->table.by_note);
		is_last = c == last;
		if (c->note_seq > endangered &&
		    (d->with.max_age_ms == 0 || now_ms - c->noted_ms < d->with.max_age_ms / 2))
			break;
		if (c->turn == &d->sent && c->state == FG_COMMAND_ENDED) {
			/* is known only for a while anyway */
			fg_desk_forget(d, c);
			continue;
		}
		is_refused = c->state == FG_COMMAND_OWED && !c->payload;
		r = fg_desk_write_command(d, c, is_refused ? &c->verdict : NULL, now_ms);
		if (r < 0)
			return r;
	}
	return 0;
}
