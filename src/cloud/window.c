#include "cloud/window.h"

#include <errno.h>
#include <stdlib.h>

#include "cloud/outbox_internal.h"

int fg_window_new(unsigned size, unsigned max_rows, struct fg_window **ret)
{
	size_t each = sizeof(struct fg_message) + sizeof(struct fg_span) +
		      sizeof(struct fg_outbox_session *) + 2 * sizeof(uint16_t) + sizeof(uint8_t);
	struct fg_window *w = malloc(sizeof(*w) + max_rows * sizeof(struct fg_row) + size * each);

	if (!w)
		return -ENOMEM;
	*w = (struct fg_window){.size = size};
	/* By falling alignment. */
	w->rows = (struct fg_row *)(w + 1);
	w->messages = (struct fg_message *)(w->rows + max_rows);
	w->devices = (struct fg_span *)(w->messages + size);
	w->sessions = (struct fg_outbox_session **)(w->devices + size);
	w->entries = (uint16_t *)(w->sessions + size);
	w->places = w->entries + size;
	w->states = (uint8_t *)(w->places + size);
	*ret = w;
	return 0;
}

struct fg_window *fg_window_free(struct fg_window *w)
{
	free(w);
	return NULL;
}

void fg_window_clear(struct fg_window *w)
{
	w->n = 0;
	w->n_rows = 0;
	w->row = 0;
}

/* ---- rows */

/* The row of @s, made when it has none yet. What @s remembers of another window proves itself wrong. */
static unsigned row_of(struct fg_window *w, struct fg_outbox_session *s)
{
	unsigned row = s->row;

	if (row < w->n_rows && w->rows[row].session == s)
		return row;
	row = w->n_rows++;
	w->rows[row] = (struct fg_row){.session = s};
	s->row = (uint16_t)row;
	return row;
}

static void swap(struct fg_window *w, unsigned a, unsigned b)
{
	struct fg_message message = w->messages[a];
	struct fg_span device = w->devices[a];
	uint16_t entry = w->entries[a], place = w->places[a];

	w->messages[a] = w->messages[b];
	w->devices[a] = w->devices[b];
	w->entries[a] = w->entries[b];
	w->places[a] = w->places[b];
	w->messages[b] = message;
	w->devices[b] = device;
	w->entries[b] = entry;
	w->places[b] = place;
}

void fg_window_arrange(struct fg_window *w, unsigned n)
{
	unsigned first = 0;

	fg_window_clear(w);
	w->n = n;
	for (unsigned i = 0; i < n; i++) {
		w->states[i] = FG_OFFERED;
		w->rows[row_of(w, w->sessions[i])].end++;
	}
	for (unsigned row = 0; row < w->n_rows; row++) {
		struct fg_row *r = &w->rows[row];

		r->first = first;
		first += r->end;
		r->end = r->first;
	}
	for (unsigned i = 0; i < n; i++)
		w->places[i] = (uint16_t)w->rows[w->sessions[i]->row].end++;
	if (w->n_rows < 2)
		return;
	for (unsigned i = 0; i < n; i++)
		while (w->places[i] != i)
			swap(w, i, w->places[i]);
}

bool fg_row_is_open(const struct fg_window *w, struct fg_row *row)
{
	while (row->first < row->end && !fg_offer_is_open(w->states[row->first]))
		row->first++;
	return row->first < row->end;
}

bool fg_window_is_open(struct fg_window *w)
{
	for (unsigned i = 0; i < w->n_rows; i++) {
		if (fg_row_is_open(w, &w->rows[w->row]))
			return true;
		w->row = w->row + 1 < w->n_rows ? w->row + 1 : 0;
	}
	return false;
}
