/*
 * Two cursor tables made of any bytes, loaded one after the other as a start does: what is settled
 * then is what they say, record by record, and nothing else; and what is saved and loaded again is the
 * same. The first two bytes say where the first table ends.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "journal/cursor.h"
#include "util/bytes.h"

#define NEWEST 400u
#define ROOM 65536u
#define INPUT_MAX 40000u

static void require(bool is_so)
{
	if (!is_so)
		abort();
}

/* Straight from the bytes. */
static bool says_settled(const uint8_t *data, const struct fg_cursor_entry *e, uint64_t seq)
{
	const uint8_t *at = data + e->at;

	if (seq <= e->watermark)
		return true;
	for (unsigned i = 0; i < e->n_ranges; i++)
		if (fg_get_le64(at + 16 * i) <= seq && seq <= fg_get_le64(at + 16 * i + 8))
			return true;
	return false;
}

/* Of names that come twice, the last counts. */
static const struct fg_cursor_entry *entry_of(const struct fg_cursor_table *t, const char *name)
{
	for (unsigned i = t->n; i-- > 0;)
		if (strcmp(t->entries[i].name, name) == 0)
			return &t->entries[i];
	return NULL;
}

static void check_left_behind(const struct fg_cursor *c, const uint8_t *data,
			      const struct fg_cursor_entry *e)
{
	for (unsigned i = 0; i < e->n_left_behind; i++) {
		struct fg_left_behind b = fg_cursor_entry_left_behind(data, e, i);
		uint64_t from = fg_cursor_left_behind(c, b.key);

		/* Of a single record, which is said in two places: else it says nothing. */
		if (b.key & FG_KEY_RECORD &&
		    (b.from != (b.key & ~FG_KEY_RECORD) || b.from > NEWEST))
			continue;
		require(from != 0 && (from <= b.from || (b.from == 0 && from == 1)));
		require(from <= NEWEST + 1);
	}
}

static void check_loaded(const struct fg_cursors *set, const uint8_t *data,
			 const struct fg_cursor_table *t)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *c = &set->slots[i];
		const struct fg_cursor_entry *e;

		if (!c->set)
			continue;
		e = entry_of(t, c->name);
		require(e != NULL && c->watermark <= NEWEST);
		for (uint64_t seq = 1; seq <= NEWEST; seq++)
			require((fg_cursor_settled_to(c, seq) != 0) == says_settled(data, e, seq));
		require(fg_cursor_settled_to(c, NEWEST + 1) == 0);
		check_left_behind(c, data, e);
	}
}

static void check_same(const struct fg_cursors *set, const struct fg_cursors *again)
{
	for (unsigned i = 0, k = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *a = &set->slots[i], *b = &again->slots[k];

		if (!a->set)
			continue;
		k++;
		require(b->set && strcmp(a->name, b->name) == 0 && a->watermark == b->watermark);
		require(a->settled.n == b->settled.n && a->left_behind.n == b->left_behind.n);
		for (size_t n = 0; n < a->settled.n; n++)
			require(a->settled.items[n].first == b->settled.items[n].first &&
				a->settled.items[n].last == b->settled.items[n].last);
		for (size_t n = 0; n < a->left_behind.n; n++)
			require(a->left_behind.items[n].key == b->left_behind.items[n].key &&
				a->left_behind.items[n].from == b->left_behind.items[n].from);
	}
}

static void check_saved(const struct fg_cursors *set)
{
	static uint8_t bytes[ROOM];
	static struct fg_cursors again;
	struct fg_segments lane = {.end_seq = NEWEST + 1};
	size_t size = fg_cursors_encode(set, NEWEST, ROOM, bytes, NULL);

	require(size <= ROOM);
	again = (struct fg_cursors){.lane = &lane};
	require(fg_cursors_load(&again, bytes, size, NEWEST) == 0);
	check_same(set, &again);
	fg_cursors_free(&again);
	/* With little room: less is settled, never more. */
	size = fg_cursors_encode(set, NEWEST, fg_cursor_table_min(0), bytes, NULL);
	require(size <= fg_cursor_table_min(0));
	again = (struct fg_cursors){.lane = &lane};
	require(fg_cursors_load(&again, bytes, size, NEWEST) == 0);
	for (unsigned i = 0, k = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *a = &set->slots[i];

		if (!a->set)
			continue;
		for (uint64_t seq = 1; seq <= NEWEST; seq++)
			require(fg_cursor_settled_to(&again.slots[k], seq) == 0 ||
				fg_cursor_settled_to(a, seq) != 0);
		require(fg_cursor_low(&again.slots[k]) <= fg_cursor_low(a));
		k++;
	}
	fg_cursors_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fg_cursors set;
	struct fg_segments lane = {.end_seq = NEWEST + 1};
	struct fg_cursor_table first_table;
	size_t first;

	if (size < 2 || size > INPUT_MAX)
		return 0;
	first = fg_get_le16(data);
	data += 2;
	size -= 2;
	first = first < size ? first : size;
	set = (struct fg_cursors){.lane = &lane};
	if (fg_cursors_load(&set, data, first, NEWEST) == 0 && first > 0) {
		require(fg_cursor_table_decode(data, first, &first_table) == 0);
		check_loaded(&set, data, &first_table);
		check_saved(&set);
	}
	if (fg_cursors_load_unsynced(&set, data + first, size - first, NEWEST) == 0)
		check_saved(&set);
	fg_cursors_free(&set);
	return 0;
}
