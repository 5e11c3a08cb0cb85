#include "fake_journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/span.h"

static void take_back(struct fg_cursor *c)
{
	for (size_t i = 0; i < c->n_lent; i++)
		free(c->lent_text[i]);
	c->n_lent = 0;
}

void fake_journal_init(struct fg_journal *j)
{
	memset(j, 0, sizeof(*j));
	j->gathering = 1;
	j->room = SIZE_MAX;
	j->cursor.journal = j;
	j->cursor.max_unsaved = 1000000;
	j->cursor.is_saving_by_itself = true;
}

void fake_journal_done(struct fg_journal *j)
{
	take_back(&j->cursor);
}

uint64_t fake_journal_add(struct fg_journal *j, const char *device)
{
	struct fake_record *r = &j->records[j->n_records++];

	snprintf(r->device, sizeof(r->device), "%s", device);
	snprintf(r->body, sizeof(r->body), "%" PRIu64, j->n_records);
	r->kind = FG_TELEMETRY;
	return j->n_records;
}

uint64_t fake_journal_commit(struct fg_journal *j)
{
	if (!j->is_busy)
		fg_journal_flush(j, 0);
	j->is_busy = false;
	j->committed = j->gathering - 1;
	if (j->cursor.must_save || j->cursor.is_saving_by_itself)
		j->cursor.saved = j->cursor.watermark;
	j->cursor.must_save = false;
	return j->committed;
}

bool fake_journal_has_quarantined(const struct fg_journal *j, uint64_t seq, bool is_on_disk)
{
	for (size_t i = 0; i < j->n_quarantined; i++)
		if (j->quarantined[i].seq == seq &&
		    (!is_on_disk || j->quarantined[i].ticket <= j->committed))
			return true;
	return false;
}

/* ---- the interface */

bool fg_journal_has_room(const struct fg_journal *j, size_t bytes)
{
	return bytes <= j->room;
}

int fg_journal_append(struct fg_journal *j, const struct fg_message *msg, uint64_t *ret_seq)
{
	(void)msg;
	if (j->append_error)
		return j->append_error;
	j->has_data = true;
	*ret_seq = ++j->n_appended;
	return 0;
}

static void copy(char *out, size_t size, struct fg_span span)
{
	snprintf(out, size, "%.*s", (int)span.size, span.data ? span.data : "");
}

int fg_journal_quarantine(struct fg_journal *j, const struct fg_quarantined *q)
{
	struct fake_quarantined *kept = &j->quarantined[j->n_quarantined];

	if (j->quarantine_error)
		return j->quarantine_error;
	if (j->n_quarantined == FAKE_RECORDS)
		return -EAGAIN;
	j->n_quarantined++;
	j->has_data = true;
	kept->seq = q->link.size ? (uint64_t)q->time_us : 0;
	kept->ticket = j->gathering;
	kept->attempts = q->attempts;
	kept->whole_size = q->whole_size;
	kept->body_size = q->body.size;
	copy(kept->reason, sizeof(kept->reason), q->reason);
	copy(kept->device, sizeof(kept->device), q->device);
	copy(kept->link, sizeof(kept->link), q->link);
	copy(kept->topic, sizeof(kept->topic), q->topic);
	return 0;
}

uint64_t fg_journal_ticket(const struct fg_journal *j)
{
	return j->has_data ? j->gathering : j->gathering - 1;
}

bool fg_journal_gathers(const struct fg_journal *j, uint64_t ticket)
{
	return ticket == j->gathering;
}

uint64_t fg_journal_committed(const struct fg_journal *j)
{
	return j->committed;
}

void fg_journal_flush(struct fg_journal *j, int64_t now_ms)
{
	(void)now_ms;
	j->n_flushes++;
	if (j->is_busy || (!j->has_data && !j->cursor.must_save))
		return;
	j->is_busy = true;
	j->has_data = false;
	j->gathering++;
}

void fg_cursor_set_caps(struct fg_cursor *c, uint64_t max_bytes, int64_t max_age_ms)
{
	(void)c;
	(void)max_bytes;
	(void)max_age_ms;
}

void fg_cursor_get_losses(const struct fg_cursor *c, uint64_t ret[FG_N_LOSSES])
{
	(void)c;
	for (int i = 0; i < FG_N_LOSSES; i++)
		ret[i] = 0;
}

int fg_cursor_open(struct fg_journal *j, const char *name, uint64_t max_unsaved,
		   struct fg_cursor **ret)
{
	if (j->cursor.is_open)
		return -EEXIST;
	j->cursor.is_open = true;
	j->cursor.max_unsaved = max_unsaved;
	snprintf(j->cursor.name, sizeof(j->cursor.name), "%s", name);
	*ret = &j->cursor;
	return 0;
}

void fg_cursor_close(struct fg_cursor *c)
{
	take_back(c);
	c->is_open = false;
}

int fg_cursor_read(struct fg_cursor *c, struct fg_message *ret_messages, size_t max)
{
	struct fg_journal *j = c->journal;
	size_t n = 0;

	take_back(c);
	if (c->read_error)
		return c->read_error;
	for (uint64_t seq = c->position ? c->position : 1; seq <= j->n_records && n < max; seq++) {
		const struct fake_record *r = &j->records[seq - 1];
		char *text;

		if (r->is_gone)
			continue;
		/* A buffer of its own for each, so that a look at it afterwards is found. */
		text = malloc(sizeof(*r));
		memcpy(text, r, sizeof(*r));
		c->lent_text[c->n_lent++] = text;
		ret_messages[n++] = (struct fg_message){
			.seq = seq,
			.time_us = (int64_t)seq,
			.kind = r->kind,
			.device = fg_span_str(((struct fake_record *)(void *)text)->device),
			.body = fg_span_str(((struct fake_record *)(void *)text)->body),
		};
	}
	return (int)n;
}

void fg_cursor_seek(struct fg_cursor *c, uint64_t seq)
{
	take_back(c);
	c->position = seq;
}

uint64_t fg_cursor_position(const struct fg_cursor *c)
{
	return c->position;
}

void fg_cursor_ack(struct fg_cursor *c, uint64_t watermark)
{
	if (watermark > c->watermark)
		c->watermark = watermark;
	while (c->watermark < c->journal->n_records && c->journal->records[c->watermark].is_gone)
		c->watermark++;
	if (c->is_saving_by_itself)
		c->saved = c->watermark;
}

uint64_t fg_cursor_watermark(const struct fg_cursor *c)
{
	return c->watermark;
}

uint64_t fg_cursor_saved(const struct fg_cursor *c)
{
	return c->saved;
}

bool fg_cursor_may_send(struct fg_cursor *c, uint64_t seq)
{
	if (c->is_held)
		return false;
	if (seq <= c->saved || seq - c->saved <= c->max_unsaved)
		return true;
	if (c->watermark > c->saved)
		c->must_save = true;
	return false;
}

uint64_t fg_cursor_backlog(const struct fg_cursor *c)
{
	return c->journal->n_records - c->watermark;
}
