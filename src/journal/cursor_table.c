#include "journal/cursor_table.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"

/* Ten thousand years: what claims more is not a clock, and nothing may overflow by it. */
#define CLOCK_MAX_MS ((uint64_t)10000 * 366 * 86400000)
#define ENTRY_BYTES (1 + 8 + 2 + 2) /* without name, ranges and sessions */
#define PAIR_BYTES 16               /* a range, or a session left behind */

size_t fg_cursor_table_min(unsigned max_left_behind)
{
	return 2 + FG_CURSORS_MAX * (ENTRY_BYTES + FG_CURSOR_NAME_MAX) +
	       FG_CURSOR_TABLE_CLOCK_BYTES + (size_t)max_left_behind * PAIR_BYTES;
}

size_t fg_cursor_table_max(unsigned max_left_behind)
{
	return fg_cursor_table_min(max_left_behind) + FG_CURSOR_TABLE_RANGES * PAIR_BYTES;
}

/* ---- encoding */

static uint64_t range_size(const struct fg_range *r)
{
	return r->last - r->first + 1;
}

/* How many ranges have @least numbers or more. */
static size_t count_ranges(const struct fg_cursor_table_source *s, uint64_t least)
{
	size_t n = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const struct fg_ranges *ranges = s->cursors[i].ranges;

		for (size_t k = 0; k < ranges->n; k++)
			n += range_size(&ranges->items[k]) >= least;
	}
	return n;
}

/* Which ranges are written: all that are larger than `least`, and `n_least` of just that size. */
struct choice {
	uint64_t least;
	size_t n_least;
};

static struct choice choose_ranges(const struct fg_cursor_table_source *s, size_t n_room)
{
	uint64_t low = 0, high = UINT64_MAX; /* more than fit have `low`, no more have `high` */

	if (count_ranges(s, 0) <= n_room)
		return (struct choice){.least = 0};
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (count_ranges(s, middle) > n_room)
			low = middle;
		else
			high = middle;
	}
	return (struct choice){.least = low, .n_least = n_room - count_ranges(s, high)};
}

static bool is_chosen(struct choice *c, const struct fg_range *r)
{
	uint64_t size = range_size(r);

	if (size != c->least)
		return size > c->least;
	if (c->n_least == 0)
		return false;
	c->n_least--;
	return true;
}

static uint8_t *put_pair(uint8_t *at, uint64_t a, uint64_t b)
{
	fg_put_le64(at, a);
	fg_put_le64(at + 8, b);
	return at + PAIR_BYTES;
}

static uint8_t *put_cursor(struct fg_cursor_source *c, struct choice *choice, uint8_t *at)
{
	size_t size = strlen(c->name);
	unsigned n_ranges = 0;
	uint8_t *head;

	*at++ = (uint8_t)size;
	memcpy(at, c->name, size);
	head = at + size;
	at = head + ENTRY_BYTES - 1;
	for (size_t i = 0; i < c->ranges->n; i++) {
		const struct fg_range *r = &c->ranges->items[i];

		if (is_chosen(choice, r)) {
			at = put_pair(at, r->first, r->last);
			n_ranges++;
		} else {
			c->n_left_out += range_size(r);
		}
	}
	for (size_t i = 0; i < c->left_behind->n; i++)
		at = put_pair(at, c->left_behind->items[i].key, c->left_behind->items[i].from);
	fg_put_le64(head, c->watermark);
	fg_put_le16(head + 8, (uint16_t)n_ranges);
	fg_put_le16(head + 10, (uint16_t)c->left_behind->n);
	return at;
}

/* Bytes of the table without ranges. */
static size_t least_size(const struct fg_cursor_table_source *s)
{
	size_t size = 2 + FG_CURSOR_TABLE_CLOCK_BYTES;

	for (unsigned i = 0; i < s->n; i++)
		size += ENTRY_BYTES + strlen(s->cursors[i].name) +
			s->cursors[i].left_behind->n * PAIR_BYTES;
	return size;
}

size_t fg_cursor_table_size(const struct fg_cursor_table_source *source)
{
	return least_size(source) + count_ranges(source, 0) * PAIR_BYTES;
}

static struct fg_cursor_source *with_most_left_behind(struct fg_cursor_table_source *s)
{
	struct fg_cursor_source *most = &s->cursors[0];

	for (unsigned i = 1; i < s->n; i++)
		if (s->cursors[i].left_behind->n > most->left_behind->n)
			most = &s->cursors[i];
	return most;
}

/* As if all that was done since the first session was left behind had not been. */
static void take_back(struct fg_cursor_source *c)
{
	static const struct fg_left_behinds nobody = {.lowest = UINT64_MAX};
	static const struct fg_ranges nothing;

	if (c->left_behind->lowest <= c->watermark)
		c->watermark = c->left_behind->lowest - 1;
	c->left_behind = &nobody;
	c->ranges = &nothing;
}

size_t fg_cursor_table_encode(struct fg_cursor_table_source *source, size_t room, uint8_t *out)
{
	struct choice choice;
	uint8_t *at = out;
	size_t least, n_room;

	while ((least = least_size(source)) > room && source->n > 0)
		take_back(with_most_left_behind(source));
	n_room = room > least ? (room - least) / PAIR_BYTES : 0;
	if (n_room > FG_CURSOR_TABLE_RANGES)
		n_room = FG_CURSOR_TABLE_RANGES;
	choice = choose_ranges(source, n_room);
	fg_put_le16(at, (uint16_t)source->n);
	at += 2;
	for (unsigned i = 0; i < source->n; i++) {
		source->cursors[i].n_left_out = 0;
		at = put_cursor(&source->cursors[i], &choice, at);
	}
	at = put_pair(at, (uint64_t)source->clock_ms, (uint64_t)source->utc_us);
	fg_put_le64(at, (uint64_t)source->newest_ms);
	return (size_t)(at + 8 - out);
}

/* ---- decoding */

int fg_cursor_table_decode(const uint8_t *data, size_t size, struct fg_cursor_table *ret)
{
	size_t at = 2;
	unsigned n;

	*ret = (struct fg_cursor_table){.n = 0};
	if (size < at)
		return -EBADMSG;
	n = fg_get_le16(data);
	for (unsigned i = 0; i < n; i++) {
		struct fg_cursor_entry *e;
		const uint8_t *name, *head;
		size_t name_size, n_pairs;

		if (size - at < 1 || size - at < ENTRY_BYTES + (size_t)data[at])
			return -EBADMSG;
		name_size = data[at];
		name = data + at + 1;
		head = name + name_size;
		at += ENTRY_BYTES + name_size;
		n_pairs = (size_t)fg_get_le16(head + 8) + fg_get_le16(head + 10);
		if (size - at < n_pairs * PAIR_BYTES)
			return -EBADMSG;
		at += n_pairs * PAIR_BYTES;
		if (name_size == 0 || name_size > FG_CURSOR_NAME_MAX || ret->n == FG_CURSORS_MAX ||
		    memchr(name, 0, name_size))
			continue;
		e = &ret->entries[ret->n++];
		memcpy(e->name, name, name_size);
		e->watermark = fg_get_le64(head);
		e->n_ranges = fg_get_le16(head + 8);
		e->n_left_behind = fg_get_le16(head + 10);
		e->at = at - n_pairs * PAIR_BYTES;
	}
	if (at == size)
		return 0;
	if (size - at < FG_CURSOR_TABLE_CLOCK_BYTES)
		return -EBADMSG;
	data += at;
	if (fg_get_le64(data) > CLOCK_MAX_MS || fg_get_le64(data + 16) > fg_get_le64(data))
		return 0;
	ret->clock_ms = (int64_t)fg_get_le64(data);
	ret->utc_us = (int64_t)fg_get_le64(data + 8);
	ret->newest_ms = (int64_t)fg_get_le64(data + 16);
	return 0;
}

bool fg_cursor_entry_range(const uint8_t *data, const struct fg_cursor_entry *e, unsigned i,
			   struct fg_range *ret)
{
	const uint8_t *at = data + e->at + (size_t)i * PAIR_BYTES;
	uint64_t first = fg_get_le64(at), last = fg_get_le64(at + 8);

	if (first > last || last <= e->watermark)
		return false;
	*ret = (struct fg_range){first > e->watermark ? first : e->watermark + 1, last};
	return true;
}

struct fg_left_behind fg_cursor_entry_left_behind(const uint8_t *data,
						  const struct fg_cursor_entry *e, unsigned i)
{
	const uint8_t *at = data + e->at + ((size_t)e->n_ranges + i) * PAIR_BYTES;

	return (struct fg_left_behind){.key = fg_get_le64(at), .from = fg_get_le64(at + 8)};
}
