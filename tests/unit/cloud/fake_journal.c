#include "fake_journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/span.h"

static void cursor_init(struct fg_cursor *c, struct fg_journal *j, enum fg_lane lane)
{
	c->journal = j;
	c->lane = lane;
	c->max_unsaved = 1000000;
	c->is_saving_by_itself = true;
}

void fake_journal_init(struct fg_journal *j)
{
	memset(j, 0, sizeof(*j));
	j->gathering = 1;
	j->room = SIZE_MAX;
	j->max_left_behind = FAKE_LEFT_BEHIND;
	cursor_init(&j->cursor, j, FG_LANE_MAIN);
	cursor_init(&j->alarm_cursor, j, FG_LANE_ALARM);
}

/* Whoever forgets to close a pass leaks it. */
void fake_journal_done(struct fg_journal *j)
{
	(void)j;
}

static uint64_t add(struct fake_record *records, uint64_t *n, const char *device)
{
	struct fake_record *r = &records[(*n)++];

	*r = (struct fake_record){.kind = FG_TELEMETRY};
	snprintf(r->device, sizeof(r->device), "%s", device);
	snprintf(r->body, sizeof(r->body), "%" PRIu64, *n);
	return *n;
}

uint64_t fake_journal_add(struct fg_journal *j, const char *device)
{
	return add(j->records, &j->n_records, device);
}

uint64_t fake_journal_add_alarm(struct fg_journal *j, const char *device)
{
	return add(j->alarms, &j->n_alarms, device);
}

void fake_cursor_save(struct fg_cursor *c)
{
	if (!c->must_save && !c->is_saving_by_itself)
		return;
	c->saved = c->now;
	c->n_unsaved = 0;
	c->must_save = false;
}

uint64_t fake_journal_commit(struct fg_journal *j)
{
	if (!j->is_busy)
		fg_journal_flush(j, 0);
	j->is_busy = false;
	j->committed = j->gathering - 1;
	fake_cursor_save(&j->cursor);
	fake_cursor_save(&j->alarm_cursor);
	return j->committed;
}

void fake_cursor_move_watermark(struct fg_cursor *c)
{
	while (c->now.settled[c->watermark + 1])
		c->watermark++;
}

static void crash(struct fg_cursor *c)
{
	c->now = c->saved;
	c->n_unsaved = 0;
	c->must_save = false;
	c->is_open = false;
	c->watermark = 0;
	fake_cursor_move_watermark(c);
}

void fake_journal_crash(struct fg_journal *j)
{
	size_t n = 0;

	crash(&j->cursor);
	crash(&j->alarm_cursor);
	for (size_t i = 0; i < j->n_quarantined; i++)
		if (j->quarantined[i].ticket <= j->committed)
			j->quarantined[n++] = j->quarantined[i];
	j->n_quarantined = n;
	j->has_data = false;
	j->is_busy = false;
	j->gathering = j->committed + 1;
}

bool fake_journal_has_quarantined(const struct fg_journal *j, uint64_t seq, bool is_on_disk)
{
	for (size_t i = 0; i < j->n_quarantined; i++)
		if (j->quarantined[i].seq == seq && j->quarantined[i].lane == FG_LANE_MAIN &&
		    (!is_on_disk || j->quarantined[i].ticket <= j->committed))
			return true;
	return false;
}

bool fake_cursor_has_settled(const struct fg_cursor *c, uint64_t seq)
{
	return c->now.settled[seq];
}

/* ---- appending */

bool fg_journal_has_room(const struct fg_journal *j, size_t bytes)
{
	return bytes <= j->room;
}

static void copy(char *out, size_t size, struct fg_span span)
{
	snprintf(out, size, "%.*s", (int)span.size, span.data ? span.data : "");
}

int fg_journal_append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
		      uint64_t *ret_seq)
{
	struct fake_appended *a = &j->appended;

	if (j->append_error)
		return j->append_error;
	j->has_data = true;
	a->lane = lane;
	a->kind = msg->kind;
	copy(a->device, sizeof(a->device), msg->device);
	copy(a->ref, sizeof(a->ref), msg->ref);
	copy(a->link, sizeof(a->link), msg->link);
	copy(a->body, sizeof(a->body), msg->body);
	*ret_seq = ++j->n_appended;
	return 0;
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
	kept->lane = q->lane;
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
	if (j->is_busy || (!j->has_data && !j->cursor.must_save && !j->alarm_cursor.must_save))
		return;
	j->is_busy = true;
	j->has_data = false;
	j->gathering++;
}
