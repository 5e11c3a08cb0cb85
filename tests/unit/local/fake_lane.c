#include "fake_lane.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/span.h"

struct fg_pass {
	struct fg_cursor *cursor;
	uint64_t next;
	bool wants_notes;
};

struct fg_journal *lane_new(void)
{
	struct fg_journal *j = calloc(1, sizeof(*j));

	assert(j);
	j->first_seq = 1;
	j->ticket = 1;
	return j;
}

static void drop_from(struct fg_journal *j, uint64_t n)
{
	while (j->n_records > n)
		free((char *)j->records[--j->n_records].message.device.data);
}

struct fg_journal *lane_free(struct fg_journal *j)
{
	drop_from(j, 0);
	free(j);
	return NULL;
}

uint64_t lane_commit(struct fg_journal *j)
{
	j->n_synced = j->n_records;
	if (j->has_data)
		j->committed = j->ticket++;
	j->has_data = false;
	for (int i = 0; i < LANE_CURSORS; i++)
		j->cursors[i].saved = j->cursors[i].watermark;
	return j->committed;
}

void lane_crash(struct fg_journal *j, uint64_t n_kept)
{
	if (n_kept < j->n_records - j->n_synced)
		drop_from(j, j->n_synced + n_kept);
	j->n_synced = j->n_records;
	j->has_data = false;
	for (int i = 0; i < LANE_CURSORS; i++) {
		j->cursors[i].watermark = j->cursors[i].saved;
		j->cursors[i].is_open = false;
	}
	j->committed = 0;
	j->ticket = 1;
}

void lane_cut(struct fg_journal *j, uint64_t seq)
{
	j->first_seq = seq + 1;
	for (int i = 0; i < LANE_CURSORS; i++)
		if (j->cursors[i].watermark < seq)
			j->cursors[i].watermark = seq;
}

void lane_add_alarm(struct fg_journal *j)
{
	struct fg_message alarm = {.kind = FG_TELEMETRY,
				   .device = fg_span_str("other"),
				   .body = fg_span_str("{\"alarm\":true}")};
	uint64_t seq;

	assert(fg_journal_append(j, FG_LANE_ALARM, &alarm, &seq) == 0);
}

const struct fg_message *lane_last(const struct fg_journal *j, uint64_t i)
{
	return i < j->n_records ? &j->records[j->n_records - 1 - i].message : NULL;
}

unsigned lane_count(const struct fg_journal *j, unsigned kind)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < j->n_records; i++)
		n += (unsigned)j->records[i].message.kind == kind;
	return n;
}

/* ------------------------------------------------------------------ journal.h */

static struct fg_span keep(char **at, struct fg_span span)
{
	struct fg_span kept = {*at, span.size};

	if (span.size > 0)
		memcpy(*at, span.data, span.size);
	*at += span.size;
	return kept;
}

int fg_journal_append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
		      uint64_t *ret_seq)
{
	size_t size = msg->device.size + msg->stream.size + msg->ref.size + msg->link.size +
		      msg->body.size;
	struct fg_message *kept;
	char *at;

	assert(lane == FG_LANE_ALARM && msg->device.size > 0);
	if (j->max_record > 0 && size > j->max_record)
		return -EMSGSIZE;
	if (j->append_error < 0 && j->fail_after == 0)
		return j->append_error;
	if (j->append_error < 0)
		j->fail_after--;
	if (j->drops) {
		*ret_seq = 0;
		return 0;
	}
	assert(j->n_records < LANE_RECORDS);
	at = malloc(size + 1);
	assert(at);
	kept = &j->records[j->n_records].message;
	*kept = *msg;
	kept->device = keep(&at, msg->device);
	kept->stream = keep(&at, msg->stream);
	kept->ref = keep(&at, msg->ref);
	kept->link = keep(&at, msg->link);
	kept->body = keep(&at, msg->body);
	kept->seq = *ret_seq = ++j->n_records;
	j->records[kept->seq - 1].ticket = j->ticket;
	j->has_data = true;
	return 0;
}

uint64_t fg_journal_ticket(const struct fg_journal *j)
{
	return j->has_data ? j->ticket : j->ticket - 1;
}

uint64_t fg_journal_committed(const struct fg_journal *j)
{
	return j->committed;
}

void fg_journal_get_stats(const struct fg_journal *j, struct fg_journal_stats *ret)
{
	*ret = (struct fg_journal_stats){
		.alarm_first_seq = j->first_seq,
		.alarm_next_seq = j->n_records + 1,
		.alarm_synced_seq = j->n_synced,
		.alarm_bytes = j->bytes,
	};
}

int fg_cursor_open(struct fg_journal *j, enum fg_lane lane, const char *name, uint64_t max_unsaved,
		   struct fg_cursor **ret)
{
	struct fg_cursor *c = j->cursors;

	(void)max_unsaved;
	assert(lane == FG_LANE_ALARM && name[0]);
	while (c->name[0] && strcmp(c->name, name) != 0)
		c++;
	assert(c < j->cursors + LANE_CURSORS && !c->is_open);
	if (!c->name[0])
		*c = (struct fg_cursor){.watermark = j->n_synced, .saved = j->n_synced};
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->journal = j;
	c->is_open = true;
	*ret = c;
	return 0;
}

void fg_cursor_close(struct fg_cursor *c)
{
	c->is_open = false;
}

void fg_cursor_settle(struct fg_cursor *c, uint64_t first, uint64_t last)
{
	assert(first == c->watermark + 1 && last >= first && last <= c->journal->n_synced);
	c->watermark = last;
}

uint64_t fg_cursor_watermark(const struct fg_cursor *c)
{
	return c->watermark;
}

uint64_t lane_watermark(const struct fg_journal *j)
{
	return j->cursors[0].watermark;
}

uint64_t fg_cursor_end(const struct fg_cursor *c)
{
	return c->journal->n_synced + 1;
}

int fg_pass_open(struct fg_cursor *c, struct fg_pass **ret)
{
	*ret = calloc(1, sizeof(**ret));
	assert(*ret);
	(*ret)->cursor = c;
	(*ret)->next = 1;
	return 0;
}

struct fg_pass *fg_pass_close(struct fg_pass *p)
{
	free(p);
	return NULL;
}

void fg_pass_rest(struct fg_pass *p)
{
	(void)p;
}

void fg_pass_seek(struct fg_pass *p, uint64_t seq)
{
	p->next = seq;
}

void fg_pass_want_notes(struct fg_pass *p)
{
	p->wants_notes = true;
}

int fg_pass_read(struct fg_pass *p, struct fg_message *ret_messages, size_t max,
		 bool (*wants)(void *arg, const struct fg_message *m), void *arg)
{
	struct fg_journal *j = p->cursor->journal;
	int n = 0;

	(void)wants;
	(void)arg;
	if (p->next <= p->cursor->watermark)
		p->next = p->cursor->watermark + 1;
	if (p->next < j->first_seq)
		p->next = j->first_seq;
	while (p->next <= j->n_synced && (size_t)n < max) {
		const struct fg_message *m = &j->records[p->next++ - 1].message;

		if (p->wants_notes || ((unsigned)m->kind < FG_NOTE_FIRST &&
				       (m->link.size == 0 || fg_span_is(m->link, p->cursor->name))))
			ret_messages[n++] = *m;
	}
	return n;
}
