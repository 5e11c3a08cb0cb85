#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_journal.h"
#include "util/span.h"

struct fg_pass {
	struct fg_cursor *cursor;
	uint64_t position;
	char *lent[FAKE_RECORDS];
	size_t n_lent;
};

void fg_cursor_set_caps(struct fg_cursor *c, uint64_t max_bytes, int64_t max_age_ms)
{
	(void)c;
	(void)max_bytes;
	(void)max_age_ms;
}

void fg_cursor_get_losses(const struct fg_cursor *c, uint64_t ret[FG_N_LOSSES])
{
	for (int i = 0; i < FG_N_LOSSES; i++)
		ret[i] = c->losses[i];
}

int fg_cursor_open(struct fg_journal *j, enum fg_lane lane, const char *name, uint64_t max_unsaved,
		   struct fg_cursor **ret)
{
	struct fg_cursor *c = lane == FG_LANE_ALARM ? &j->alarm_cursor : &j->cursor;

	if (c->is_open)
		return -EEXIST;
	c->is_open = true;
	c->max_unsaved = max_unsaved;
	snprintf(c->name, sizeof(c->name), "%s", name);
	*ret = c;
	return 0;
}

void fg_cursor_close(struct fg_cursor *c)
{
	if (c)
		c->is_open = false;
}

static uint64_t count(const struct fg_cursor *c)
{
	return c->lane == FG_LANE_ALARM ? c->journal->n_alarms : c->journal->n_records;
}

static const struct fake_record *record(const struct fg_cursor *c, uint64_t seq)
{
	return c->lane == FG_LANE_ALARM ? &c->journal->alarms[seq - 1]
					: &c->journal->records[seq - 1];
}

static void note(struct fg_cursor *c, uint64_t n)
{
	c->n_unsaved += n;
	if (c->is_saving_by_itself)
		fake_cursor_save(c);
}

static void mark_settled(struct fg_cursor *c, uint64_t first, uint64_t last, bool may_be_sent)
{
	uint64_t n = 0;

	for (uint64_t seq = first; seq <= last && seq <= count(c); seq++) {
		n += !c->now.settled[seq];
		c->now.settled[seq] = true;
	}
	fake_cursor_move_watermark(c);
	if (may_be_sent)
		note(c, n);
}

void fg_cursor_settle(struct fg_cursor *c, uint64_t first, uint64_t last)
{
	mark_settled(c, first, last, true);
}

uint64_t fg_cursor_watermark(const struct fg_cursor *c)
{
	return c->watermark;
}

uint64_t fg_cursor_saved(const struct fg_cursor *c)
{
	uint64_t watermark = 0;

	while (c->saved.settled[watermark + 1])
		watermark++;
	return watermark;
}

uint64_t fg_cursor_end(const struct fg_cursor *c)
{
	return count(c) + 1;
}

bool fg_cursor_may_send(struct fg_cursor *c, uint64_t n_in_flight)
{
	if (c->is_held)
		return false;
	if (n_in_flight < c->max_unsaved && c->n_unsaved < c->max_unsaved - n_in_flight)
		return true;
	if (c->n_unsaved > 0)
		c->must_save = true;
	return false;
}

uint64_t fg_cursor_backlog(const struct fg_cursor *c)
{
	uint64_t n = 0;

	for (uint64_t seq = 1; seq <= count(c); seq++)
		n += !c->now.settled[seq];
	return n;
}

/* ---- left behind */

static size_t find_key(const struct fg_cursor *c, uint64_t key)
{
	size_t i = 0;

	while (i < c->now.n_left_behind && c->now.left_behind[i].key != key)
		i++;
	return i;
}

int fg_cursor_leave_behind(struct fg_cursor *c, uint64_t key, uint64_t from)
{
	size_t i = find_key(c, key);
	bool moves_on = i < c->now.n_left_behind && from > c->now.left_behind[i].from;

	if (i == c->now.n_left_behind) {
		if (i == c->journal->max_left_behind || i == FAKE_LEFT_BEHIND)
			return -ENOSPC;
		c->now.left_behind[c->now.n_left_behind++].key = key;
	}
	c->now.left_behind[i].from = from;
	note(c, moves_on);
	return 0;
}

void fg_cursor_may_repeat(struct fg_cursor *c, uint64_t n)
{
	note(c, n);
}

void fg_cursor_rejoin(struct fg_cursor *c, uint64_t key)
{
	size_t i = find_key(c, key);

	if (i == c->now.n_left_behind)
		return;
	c->now.left_behind[i] = c->now.left_behind[--c->now.n_left_behind];
	note(c, 1);
}

uint64_t fg_cursor_left_behind(const struct fg_cursor *c, uint64_t key)
{
	size_t i = find_key(c, key);

	return i < c->now.n_left_behind ? c->now.left_behind[i].from : 0;
}

bool fg_cursor_each_left_behind(const struct fg_cursor *c, size_t i, uint64_t *ret_key,
				uint64_t *ret_from)
{
	if (i >= c->now.n_left_behind)
		return false;
	*ret_key = c->now.left_behind[i].key;
	*ret_from = c->now.left_behind[i].from;
	return true;
}

/* ---- passes */

static void take_back(struct fg_pass *p)
{
	for (size_t i = 0; i < p->n_lent; i++)
		free(p->lent[i]);
	p->n_lent = 0;
}

int fg_pass_open(struct fg_cursor *c, struct fg_pass **ret)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	(*ret)->cursor = c;
	(*ret)->position = c->watermark + 1;
	c->journal->n_passes++;
	return 0;
}

struct fg_pass *fg_pass_close(struct fg_pass *p)
{
	if (!p)
		return NULL;
	take_back(p);
	p->cursor->journal->n_passes--;
	free(p);
	return NULL;
}

void fg_pass_rest(struct fg_pass *p)
{
	take_back(p);
}

void fg_pass_seek(struct fg_pass *p, uint64_t seq)
{
	take_back(p);
	p->position = seq;
}

uint64_t fg_pass_position(const struct fg_pass *p)
{
	return p->position;
}

void fg_pass_want_notes(struct fg_pass *p)
{
	(void)p;
}

static uint64_t lowest_left_behind(const struct fg_cursor *c)
{
	uint64_t lowest = UINT64_MAX;

	for (size_t i = 0; i < c->now.n_left_behind; i++)
		if (c->now.left_behind[i].from < lowest)
			lowest = c->now.left_behind[i].from;
	return lowest;
}

static struct fg_message lend(struct fg_pass *p, uint64_t seq)
{
	struct fake_record *r = malloc(sizeof(*r));

	*r = *record(p->cursor, seq);
	p->lent[p->n_lent++] = (char *)r;
	return (struct fg_message){
		.seq = seq,
		.time_us = (int64_t)seq,
		.time_quality = r->is_untimed ? FG_TIME_UNSYNCHRONISED : FG_TIME_GATEWAY,
		.kind = r->kind,
		.device = fg_span_str(r->device),
		.stream = fg_span_str(p->cursor->lane == FG_LANE_ALARM ? "alarm" : ""),
		.body = fg_span_str(r->body),
		.link = fg_span_str(r->link),
	};
}

static bool is_for(const struct fg_cursor *c, const struct fake_record *r)
{
	return !r->is_gone && (!r->link[0] || strcmp(r->link, c->name) == 0);
}

int fg_pass_read(struct fg_pass *p, struct fg_message *ret_messages, size_t max,
		 bool (*wants)(void *arg, const struct fg_message *m), void *arg)
{
	struct fg_cursor *c = p->cursor;
	uint64_t lowest = wants ? lowest_left_behind(c) : UINT64_MAX;
	size_t n = 0, n_looked = 0;

	take_back(p);
	if (c->read_error)
		return c->read_error;
	for (; p->position <= count(c) && n < max; p->position++) {
		uint64_t seq = p->position;

		if (!is_for(c, record(c, seq))) {
			mark_settled(c, seq, seq, false);
			continue;
		}
		if (c->now.settled[seq] && seq < lowest)
			continue;
		if (c->journal->look_max && n_looked++ == c->journal->look_max)
			return n > 0 ? (int)n : -EAGAIN;
		ret_messages[n] = lend(p, seq);
		if (!c->now.settled[seq] || wants(arg, &ret_messages[n]))
			n++;
		else
			free(p->lent[--p->n_lent]);
	}
	return (int)n;
}
