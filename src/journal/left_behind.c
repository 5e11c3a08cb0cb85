#include "journal/left_behind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 16

void fg_left_behinds_init(struct fg_left_behinds *l)
{
	*l = (struct fg_left_behinds){.lowest = UINT64_MAX};
}

void fg_left_behinds_free(struct fg_left_behinds *l)
{
	free(l->items);
	fg_left_behinds_init(l);
}

static size_t find(const struct fg_left_behinds *l, uint64_t key)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (l->items[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct fg_left_behinds *l, size_t i, uint64_t key)
{
	return i < l->n && l->items[i].key == key;
}

static void find_lowest(struct fg_left_behinds *l)
{
	l->lowest = UINT64_MAX;
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].from < l->lowest)
			l->lowest = l->items[i].from;
}

static int reserve(struct fg_left_behinds *l)
{
	size_t capacity = l->capacity > 0 ? 2 * l->capacity : CAPACITY_MIN;
	struct fg_left_behind *items;

	if (l->n < l->capacity)
		return 0;
	items = realloc(l->items, capacity * sizeof(*items));
	if (!items)
		return -ENOMEM;
	l->items = items;
	l->capacity = capacity;
	return 0;
}

int fg_left_behinds_put(struct fg_left_behinds *l, uint64_t key, uint64_t from)
{
	size_t i = find(l, key);
	bool was_lowest = false;

	if (is_at(l, i, key)) {
		was_lowest = l->items[i].from == l->lowest;
	} else {
		if (reserve(l) < 0)
			return -ENOMEM;
		memmove(l->items + i + 1, l->items + i, (l->n - i) * sizeof(l->items[0]));
		l->items[i].key = key;
		l->n++;
	}
	l->items[i].from = from;
	if (was_lowest)
		find_lowest(l);
	else if (from < l->lowest)
		l->lowest = from;
	return 0;
}

bool fg_left_behinds_remove(struct fg_left_behinds *l, uint64_t key)
{
	size_t i = find(l, key);

	if (!is_at(l, i, key))
		return false;
	l->n--;
	memmove(l->items + i, l->items + i + 1, (l->n - i) * sizeof(l->items[0]));
	find_lowest(l);
	return true;
}

uint64_t fg_left_behinds_get(const struct fg_left_behinds *l, uint64_t key)
{
	size_t i = find(l, key);

	return is_at(l, i, key) ? l->items[i].from : 0;
}

void fg_left_behinds_cut(struct fg_left_behinds *l, uint64_t last)
{
	size_t kept = 0;

	if (l->lowest > last)
		return;
	for (size_t i = 0; i < l->n; i++) {
		struct fg_left_behind item = l->items[i];

		if (item.from <= last && item.key & FG_LEFT_BEHIND_RECORD)
			continue;
		if (item.from <= last)
			item.from = last + 1;
		l->items[kept++] = item;
	}
	l->n = kept;
	find_lowest(l);
}
