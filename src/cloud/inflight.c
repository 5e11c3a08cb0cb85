#include "cloud/inflight.h"

#include <errno.h>
#include <stdlib.h>

struct fg_inflight {
	unsigned limit;
	unsigned first; /* the oldest */
	unsigned count;
	unsigned mask;
	size_t bytes;
	struct fg_inflight_entry entries[]; /* a ring of mask + 1 */
};

int fg_inflight_new(unsigned limit, struct fg_inflight **ret_inflight)
{
	struct fg_inflight *w;
	unsigned size = 1;

	if (limit < 1 || limit > 65535)
		return -EINVAL;
	while (size < limit)
		size *= 2;
	w = calloc(1, sizeof(*w) + size * sizeof(w->entries[0]));
	if (!w)
		return -ENOMEM;
	w->limit = limit;
	w->mask = size - 1;
	*ret_inflight = w;
	return 0;
}

struct fg_inflight *fg_inflight_free(struct fg_inflight *w)
{
	free(w);
	return NULL;
}

/* The @i-th oldest. */
static struct fg_inflight_entry *at(struct fg_inflight *w, unsigned i)
{
	return &w->entries[(w->first + i) & w->mask];
}

int fg_inflight_add(struct fg_inflight *w, const struct fg_inflight_entry *entry)
{
	if (w->count == w->limit)
		return -EAGAIN;
	*at(w, w->count++) = *entry;
	w->bytes += entry->bytes;
	return 0;
}

/* Those that are older move up by one: there are few of them. */
static void take_out(struct fg_inflight *w, unsigned i, struct fg_inflight_entry *ret_entry)
{
	*ret_entry = *at(w, i);
	w->bytes -= ret_entry->bytes;
	for (; i > 0; i--)
		*at(w, i) = *at(w, i - 1);
	w->first = (w->first + 1) & w->mask;
	w->count--;
}

int fg_inflight_ack(struct fg_inflight *w, int packet_id, struct fg_inflight_entry *ret_entry)
{
	for (unsigned i = 0; i < w->count; i++)
		if (at(w, i)->packet_id == packet_id) {
			take_out(w, i, ret_entry);
			return 0;
		}
	return -ENOENT;
}

unsigned fg_inflight_count(const struct fg_inflight *w)
{
	return w->count;
}

size_t fg_inflight_bytes(const struct fg_inflight *w)
{
	return w->bytes;
}

const struct fg_inflight_entry *fg_inflight_oldest(const struct fg_inflight *w)
{
	return w->count ? &w->entries[w->first] : NULL;
}

const struct fg_inflight_entry *fg_inflight_oldest_data(const struct fg_inflight *w)
{
	for (unsigned i = 0; i < w->count; i++)
		if (w->entries[(w->first + i) & w->mask].n_records)
			return &w->entries[(w->first + i) & w->mask];
	return NULL;
}
