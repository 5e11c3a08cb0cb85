#include "journal/pass.h"

#include <errno.h>
#include <stdlib.h>

#include "util/span.h"
#include "util/timekeeper.h"

/* Of one fg_pass_read(): the loop has other things to do. */
#define RECORDS_MAX 4096
#define WORK_BYTES ((uint64_t)1 << 20)

int fg_pass_open(struct fg_cursor *c, struct fg_pass **ret)
{
	struct fg_pass *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->cursor = c;
	p->next = fg_cursor_low(c) + 1;
	fg_reader_init(&p->reader, c->set->lane);
	*ret = p;
	return 0;
}

struct fg_pass *fg_pass_close(struct fg_pass *p)
{
	if (!p)
		return NULL;
	fg_reader_free(&p->reader);
	free(p);
	return NULL;
}

void fg_pass_rest(struct fg_pass *p)
{
	fg_reader_free(&p->reader);
}

void fg_pass_seek(struct fg_pass *p, uint64_t seq)
{
	p->next = seq > 0 ? seq : 1;
}

uint64_t fg_pass_position(const struct fg_pass *p)
{
	return p->next;
}

void fg_pass_want_notes(struct fg_pass *p)
{
	p->wants_notes = true;
}

/* On to the next record that is open, or that @has_wants may be asked about. */
static void skip_settled(struct fg_pass *p, bool has_wants)
{
	const struct fg_cursor *c = p->cursor;
	uint64_t lowest = has_wants ? c->left_behind.lowest : UINT64_MAX;
	uint64_t last;

	if (p->next <= c->floor)
		p->next = c->floor + 1;
	while (p->next < lowest && (last = fg_cursor_settled_to(c, p->next)) != 0)
		p->next = last < lowest ? last + 1 : lowest;
}

static void lose(struct fg_pass *p, const struct fg_read_result *found)
{
	struct fg_cursor *c = p->cursor;

	c->set->damaged_records += found->damaged;
	fg_cursor_lose(c, found->lost_first, found->lost_last,
		       found->is_missing ? "not in the journal any more" : "damaged on disk");
}

/* Is it a message for this link? Who wants notes wants all links' notes and messages. */
static bool is_for_us(const struct fg_pass *p, const struct fg_record *r)
{
	bool is_message = fg_record_is_message(r->kind);

	if (p->wants_notes)
		return is_message || r->kind >= FG_NOTE_FIRST;
	return is_message && (r->link.size == 0 || fg_span_is(r->link, p->cursor->name));
}

/* Make a message of what was found, if there is one that shall be returned. */
static bool take(struct fg_pass *p, const struct fg_read_result *found, struct fg_message *ret,
		 bool (*wants)(void *arg, const struct fg_message *m), void *arg)
{
	struct fg_cursor *c = p->cursor;
	struct fg_record r;

	if (fg_record_decode(found->data, found->size, &r) < 0 || !is_for_us(p, &r)) {
		fg_cursor_mark_settled(c, found->seq, found->seq, false);
		return false;
	}
	fg_record_to_message(&r, ret);
	if (fg_cursor_settled_to(c, found->seq) != 0 && !wants(arg, ret))
		return false;
	if (r.unsynchronised.size > 0 && c->set->timekeeper)
		ret->time_quality = fg_timekeeper_repair(
			c->set->timekeeper, (const uint8_t *)r.unsynchronised.data, &ret->time_us);
	return true;
}

int fg_pass_read(struct fg_pass *p, struct fg_message *ret_messages, size_t max,
		 bool (*wants)(void *arg, const struct fg_message *m), void *arg)
{
	struct fg_read_result found;
	int r = FG_READ_MORE;
	size_t n = 0;

	p->reader.work_left = WORK_BYTES;
	for (unsigned i = 0; i < RECORDS_MAX && n < max; i++) {
		skip_settled(p, wants != NULL);
		fg_reader_seek(&p->reader, p->next);
		/* Only while nothing points into the buffer may it be read anew. */
		r = fg_reader_next(&p->reader, n == 0, &found);
		if (r != FG_READ_RECORD && r != FG_READ_LOST)
			break;
		p->next = p->reader.seq;
		if (r == FG_READ_LOST)
			lose(p, &found);
		else if (take(p, &found, &ret_messages[n], wants, arg))
			n++;
	}
	if (n > 0)
		return (int)n;
	if (r == FG_READ_END)
		return 0;
	return r < 0 ? -EIO : -EAGAIN;
}
