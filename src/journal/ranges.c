#include "journal/ranges.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 16

void fg_ranges_init(struct fg_ranges *r, size_t max)
{
	*r = (struct fg_ranges){.max = max};
}

void fg_ranges_free(struct fg_ranges *r)
{
	free(r->items);
	r->items = NULL;
	r->n = r->capacity = 0;
}

size_t fg_ranges_from(const struct fg_ranges *r, uint64_t number)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (r->items[middle].last < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct fg_range *fg_ranges_find(const struct fg_ranges *r, uint64_t number)
{
	size_t i = fg_ranges_from(r, number);

	return i < r->n && r->items[i].first <= number ? &r->items[i] : NULL;
}

/* Take items @from..@to-1 out. */
static void remove_items(struct fg_ranges *r, size_t from, size_t to)
{
	if (from == to)
		return;
	memmove(r->items + from, r->items + to, (r->n - to) * sizeof(r->items[0]));
	r->n -= to - from;
}

static bool grow(struct fg_ranges *r)
{
	size_t capacity = r->capacity > 0 ? 2 * r->capacity : CAPACITY_MIN;
	struct fg_range *items;

	if (capacity > r->max)
		capacity = r->max;
	if (capacity <= r->capacity)
		return false;
	items = realloc(r->items, capacity * sizeof(*items));
	if (!items)
		return false;
	r->items = items;
	r->capacity = capacity;
	return true;
}

static size_t smallest(const struct fg_ranges *r)
{
	size_t least = 0;

	for (size_t i = 1; i < r->n; i++)
		if (r->items[i].last - r->items[i].first <
		    r->items[least].last - r->items[least].first)
			least = i;
	return least;
}

bool fg_ranges_add(struct fg_ranges *r, uint64_t first, uint64_t last)
{
	/* Items from..to-1 overlap first..last or touch it. */
	size_t from = fg_ranges_from(r, first > 0 ? first - 1 : 0);
	size_t to = from;
	bool is_all = true;

	while (to < r->n && (last == UINT64_MAX || r->items[to].first <= last + 1))
		to++;
	if (to > from) {
		struct fg_range *item = &r->items[from];

		if (r->items[to - 1].last > last)
			last = r->items[to - 1].last;
		item->first = item->first < first ? item->first : first;
		item->last = last;
		remove_items(r, from + 1, to);
		return true;
	}
	if (r->n == r->capacity && !grow(r)) {
		size_t least;

		if (r->n == 0)
			return false;
		least = smallest(r);
		if (last - first <= r->items[least].last - r->items[least].first)
			return false;
		remove_items(r, least, least + 1);
		from -= least < from;
		is_all = false;
	}
	memmove(r->items + from + 1, r->items + from, (r->n - from) * sizeof(r->items[0]));
	r->items[from] = (struct fg_range){first, last};
	r->n++;
	return is_all;
}

void fg_ranges_cut(struct fg_ranges *r, uint64_t last)
{
	if (last == UINT64_MAX) {
		r->n = 0;
		return;
	}
	remove_items(r, 0, fg_ranges_from(r, last + 1));
	if (r->n > 0 && r->items[0].first <= last)
		r->items[0].first = last + 1;
}
