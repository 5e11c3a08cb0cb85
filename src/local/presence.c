#include "local/presence.h"

#include <errno.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/hash.h"
#include "util/random.h"

#define FIRST_BUCKETS 64

enum state {
	UNKNOWN,
	UP,
	DOWN,
};

struct device {
	struct device *next;               /* in its bucket */
	struct device *quieter, *livelier; /* by when it was heard */
	const char *source;
	int64_t heard_ms;
	uint64_t hash;
	enum state state;
	uint8_t name_size;
	char name[];
};

struct fg_presence {
	struct fg_presence_options with;
	uint64_t seed; /* so that nobody can choose names that collide */
	struct device **buckets;
	size_t n_buckets, n_devices;
	size_t n_in[3];                      /* by state */
	struct device *quietest, *liveliest; /* heard longest ago, and last */
	struct device *watched;              /* none that is quieter is UP; NULL: none is */
};

static struct device *find_hashed(const struct fg_presence *p, struct fg_span name, uint64_t hash)
{
	struct device *d = p->buckets[hash & (p->n_buckets - 1)];

	while (d && (d->hash != hash || !fg_span_equal(fg_span_of(d->name, d->name_size), name)))
		d = d->next;
	return d;
}

static struct device *find(const struct fg_presence *p, struct fg_span name)
{
	return find_hashed(p, name, fg_hash(p->seed, name));
}

/* ---- the order of silence */

static void take_out(struct fg_presence *p, struct device *d)
{
	if (p->watched == d)
		p->watched = d->livelier;
	if (d->quieter)
		d->quieter->livelier = d->livelier;
	else
		p->quietest = d->livelier;
	if (d->livelier)
		d->livelier->quieter = d->quieter;
	else
		p->liveliest = d->quieter;
}

static void put_last(struct fg_presence *p, struct device *d)
{
	d->quieter = p->liveliest;
	d->livelier = NULL;
	if (p->liveliest)
		p->liveliest->livelier = d;
	else
		p->quietest = d;
	p->liveliest = d;
	if (!p->watched)
		p->watched = d;
}

/* ---- the table */

static void forget(struct fg_presence *p, struct device *d)
{
	struct device **at = &p->buckets[d->hash & (p->n_buckets - 1)];

	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	take_out(p, d);
	p->n_devices--;
	p->n_in[d->state]--;
	free(d);
}

static int grow(struct fg_presence *p)
{
	size_t n = p->n_buckets * 2;
	struct device **buckets = calloc(n, sizeof(struct device *));

	if (!buckets)
		return -ENOMEM;
	for (struct device *d = p->quietest; d; d = d->livelier) {
		d->next = buckets[d->hash & (n - 1)];
		buckets[d->hash & (n - 1)] = d;
	}
	free(p->buckets);
	p->buckets = buckets;
	p->n_buckets = n;
	return 0;
}

/* Returns it, or NULL without memory. */
static struct device *find_or_add(struct fg_presence *p, struct fg_span name)
{
	uint64_t hash = fg_hash(p->seed, name);
	struct device *d = find_hashed(p, name, hash);

	if (d)
		return d;
	if (p->n_devices >= p->n_buckets && grow(p) < 0)
		return NULL;
	d = calloc(1, sizeof(*d) + name.size);
	if (!d)
		return NULL;
	if (p->n_devices == FG_PRESENCE_MAX_DEVICES)
		forget(p, p->quietest);
	memcpy(d->name, name.data, name.size);
	d->name_size = (uint8_t)name.size;
	d->hash = hash;
	d->next = p->buckets[hash & (p->n_buckets - 1)];
	p->buckets[hash & (p->n_buckets - 1)] = d;
	put_last(p, d);
	p->n_devices++;
	p->n_in[UNKNOWN]++;
	return d;
}

/* ---- events */

static void set_state(struct fg_presence *p, struct device *d, enum state state)
{
	p->n_in[d->state]--;
	p->n_in[state]++;
	d->state = state;
}

static int enter(struct fg_presence *p, struct device *d, enum state state, bool is_told)
{
	enum state before = d->state;
	int r = 0;

	if (before == state)
		return 0;
	/* First, since who is told may ask: a command that waits for the device goes out at once. */
	set_state(p, d, state);
	if (is_told)
		r = p->with.changed(p->with.arg, fg_span_of(d->name, d->name_size), state == UP);
	if (r < 0)
		set_state(p, d, before);
	return r;
}

static int hear(struct fg_presence *p, struct fg_span name, const char *source, enum state state,
		bool is_said, int64_t now_ms)
{
	struct device *d = find_or_add(p, name);
	bool is_moved;
	int r;

	if (!d)
		return -ENOMEM;
	is_moved = d->source != source;
	d->source = source;
	d->heard_ms = now_ms;
	if (d != p->liveliest) {
		take_out(p, d);
		put_last(p, d);
	}
	r = enter(p, d, state, is_said || d->state != UNKNOWN || p->with.inactivity_ms > 0);
	/* Behind that: who is told may ask whether it is there. */
	if (is_moved && p->with.moved)
		p->with.moved(p->with.arg, name);
	return r;
}

int fg_presence_heard(struct fg_presence *p, struct fg_span device, const char *source,
		      int64_t now_ms)
{
	return hear(p, device, source, UP, false, now_ms);
}

int fg_presence_said(struct fg_presence *p, struct fg_span device, const char *source, bool is_up,
		     int64_t now_ms)
{
	return hear(p, device, source, is_up ? UP : DOWN, true, now_ms);
}

void fg_presence_tick(struct fg_presence *p, int64_t now_ms)
{
	if (p->with.inactivity_ms == 0)
		return;
	for (; p->watched; p->watched = p->watched->livelier) {
		if (now_ms - p->watched->heard_ms < p->with.inactivity_ms)
			return;
		if (p->watched->state == UP && enter(p, p->watched, DOWN, true) < 0)
			return; /* no room: again in a second */
	}
}

/* ---- asking */

bool fg_presence_is_up(const struct fg_presence *p, struct fg_span device)
{
	const struct device *d = find(p, device);

	return !d || d->state != DOWN;
}

const char *fg_presence_source(const struct fg_presence *p, struct fg_span device)
{
	const struct device *d = find(p, device);

	return d ? d->source : NULL;
}

void fg_presence_get_stats(const struct fg_presence *p, struct fg_presence_stats *ret)
{
	*ret = (struct fg_presence_stats){
		.known = p->n_devices, .up = p->n_in[UP], .down = p->n_in[DOWN]};
}

/* ---- life */

static void presence_freep(struct fg_presence **p)
{
	fg_presence_free(*p);
}

int fg_presence_new(const struct fg_presence_options *options, struct fg_presence **ret)
{
	FG_CLEANUP(presence_freep) struct fg_presence *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->with = *options;
	p->seed = fg_random();
	p->n_buckets = FIRST_BUCKETS;
	p->buckets = calloc(p->n_buckets, sizeof(struct device *));
	if (!p->buckets)
		return -ENOMEM;

	*ret = p; /* the caller owns it now */
	p = NULL;
	return 0;
}

struct fg_presence *fg_presence_free(struct fg_presence *p)
{
	if (!p)
		return NULL;
	for (struct device *d = p->quietest; d;) {
		struct device *next = d->livelier;

		free(d);
		d = next;
	}
	free(p->buckets);
	free(p);
	return NULL;
}
