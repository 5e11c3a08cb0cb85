#include "cloud/inflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fg_inflight {
	unsigned limit;
	unsigned count;
	size_t bytes;
	struct fg_inflight_entry
		entries[]; /* in the order sent; PUBACKs mostly come in that order too */
};

int fg_inflight_new(unsigned limit, struct fg_inflight **ret_inflight)
{
	struct fg_inflight *w;

	if (limit < 1 || limit > 65535)
		return -EINVAL;
	w = calloc(1, sizeof(*w) + limit * sizeof(w->entries[0]));
	if (!w)
		return -ENOMEM;
	w->limit = limit;
	*ret_inflight = w;
	return 0;
}

struct fg_inflight *fg_inflight_free(struct fg_inflight *w)
{
	free(w);
	return NULL;
}

int fg_inflight_add(struct fg_inflight *w, const struct fg_inflight_entry *entry)
{
	if (w->count == w->limit)
		return -EAGAIN;
	w->entries[w->count++] = *entry;
	w->bytes += entry->bytes;
	return 0;
}

int fg_inflight_ack(struct fg_inflight *w, int packet_id, struct fg_inflight_entry *ret_entry)
{
	for (unsigned i = 0; i < w->count; i++) {
		if (w->entries[i].packet_id != packet_id)
			continue;
		*ret_entry = w->entries[i];
		w->count--;
		w->bytes -= ret_entry->bytes;
		memmove(&w->entries[i], &w->entries[i + 1], (w->count - i) * sizeof(w->entries[0]));
		return 0;
	}
	return -ENOENT;
}

void fg_inflight_clear(struct fg_inflight *w)
{
	w->count = 0;
	w->bytes = 0;
}

unsigned fg_inflight_count(const struct fg_inflight *w)
{
	return w->count;
}

size_t fg_inflight_bytes(const struct fg_inflight *w)
{
	return w->bytes;
}

uint64_t fg_inflight_lowest(const struct fg_inflight *w)
{
	uint64_t lowest = 0;

	for (unsigned i = 0; i < w->count; i++)
		if (w->entries[i].first_seq && (!lowest || w->entries[i].first_seq < lowest))
			lowest = w->entries[i].first_seq;
	return lowest;
}

const struct fg_inflight_entry *fg_inflight_oldest(const struct fg_inflight *w)
{
	return w->count ? &w->entries[0] : NULL;
}

const struct fg_inflight_entry *fg_inflight_oldest_data(const struct fg_inflight *w)
{
	for (unsigned i = 0; i < w->count; i++)
		if (w->entries[i].n_records)
			return &w->entries[i];
	return NULL;
}
