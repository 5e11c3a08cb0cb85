#include "cloud/hold.h"

#include "util/clock.h"

static void one_is_stored(struct fg_store_wait *w, int error)
{
	struct fg_hold *h = w->owner;

	h->with.stored(h->with.arg, error);
}

void fg_hold_init(struct fg_hold *h, const struct fg_hold_options *options)
{
	*h = (struct fg_hold){.with = *options};
	for (size_t i = 0; i < FG_HOLD_STORES; i++)
		h->waits[i] = (struct fg_store_wait){.ended = one_is_stored, .owner = h};
}

bool fg_hold_is_on(const struct fg_hold *h)
{
	bool is_on = h->ticket > 0;

	for (size_t i = 0; i < FG_HOLD_STORES; i++)
		is_on = is_on || h->waits[i].store;
	return is_on;
}

static void begin(struct fg_hold *h)
{
	if (!fg_hold_is_on(h))
		h->since_ms = fg_clock_monotonic_ms();
}

bool fg_hold_for_commit(struct fg_hold *h, uint64_t ticket)
{
	if (ticket <= fg_journal_committed(h->with.journal))
		return false;
	begin(h);
	if (ticket > h->ticket)
		h->ticket = ticket;
	return true;
}

bool fg_hold_committed(struct fg_hold *h, uint64_t ticket)
{
	if (h->ticket == 0 || ticket < h->ticket)
		return false;
	h->ticket = 0;
	return !fg_hold_is_on(h);
}

void fg_hold_note(struct fg_hold *h)
{
	for (size_t i = 0; i < FG_HOLD_STORES; i++)
		if (h->with.stores[i])
			h->versions[i] = fg_store_version(h->with.stores[i]);
}

bool fg_hold_for_changes(struct fg_hold *h)
{
	bool has_changed = false;

	for (size_t i = 0; i < FG_HOLD_STORES; i++) {
		struct fg_store *store = h->with.stores[i];

		if (!store || fg_store_version(store) == h->versions[i])
			continue;
		begin(h);
		has_changed = fg_store_wait(store, &h->waits[i]) || has_changed;
	}
	return has_changed;
}

bool fg_hold_gathers(const struct fg_hold *h)
{
	bool gathers = h->ticket == 0 || fg_journal_gathers(h->with.journal, h->ticket);

	for (size_t i = 0; i < FG_HOLD_STORES; i++)
		if (h->waits[i].store)
			gathers = gathers && fg_store_wait_gathers(&h->waits[i]);
	return gathers;
}

void fg_hold_drop(struct fg_hold *h)
{
	h->ticket = 0;
	for (size_t i = 0; i < FG_HOLD_STORES; i++)
		fg_store_wait_cancel(&h->waits[i]);
}
