#include "local/command_table.h"

#include <errno.h>
#include <stdlib.h>

#include "util/hash.h"

static uint64_t hash_id(const struct fg_command_table *t, const struct fg_desk_identity *identity)
{
	uint64_t hash = fg_hash(t->seed, identity->link);

	return fg_hash(fg_hash(hash, identity->device), identity->id);
}

/* What tells it from the others of its link and device. */
static struct fg_span same_of(const struct fg_desk_identity *identity)
{
	return identity->key.size > 0 ? identity->key : identity->id;
}

static uint64_t hash_same(const struct fg_command_table *t, const struct fg_desk_identity *identity)
{
	uint64_t hash = fg_hash(t->seed, identity->link);

	return fg_hash(fg_hash(hash, identity->device), same_of(identity));
}

static size_t bucket(const struct fg_command_table *t, uint64_t hash)
{
	return (size_t)hash & (t->n_buckets - 1);
}

int fg_command_table_init(struct fg_command_table *t, unsigned n, uint64_t seed)
{
	*t = (struct fg_command_table){.seed = seed, .n_buckets = 64};
	while (t->n_buckets < n)
		t->n_buckets *= 2;
	TAILQ_INIT(&t->by_note);
	t->same = calloc(t->n_buckets, sizeof(struct fg_desk_command *));
	t->ids = calloc(t->n_buckets, sizeof(struct fg_desk_command *));
	t->numbers = calloc(t->n_buckets, sizeof(struct fg_desk_command *));
	t->devices = calloc(t->n_buckets, sizeof(struct fg_desk_device *));
	return t->same && t->ids && t->numbers && t->devices ? 0 : -ENOMEM;
}

void fg_command_table_release(struct fg_command_table *t)
{
	struct fg_desk_command *c;

	if (t->n_buckets == 0)
		return;
	while ((c = TAILQ_FIRST(&t->by_note)))
		fg_command_table_remove(t, c);
	free(t->same);
	free(t->ids);
	free(t->numbers);
	free(t->devices);
	free(t->heap);
}

/* ------------------------------------------------------------------ commands */

/* So that nothing that becomes due later needs memory. */
static int make_heap_room(struct fg_command_table *t)
{
	size_t room = t->heap_room > 0 ? 2 * t->heap_room : 64;
	struct fg_desk_command **heap;

	if (t->n_commands < t->heap_room)
		return 0;
	heap = realloc(t->heap, room * sizeof(struct fg_desk_command *));
	if (!heap)
		return -ENOMEM;
	t->heap = heap;
	t->heap_room = room;
	return 0;
}

static char *put(char *at, struct fg_span span)
{
	if (span.size > 0)
		memcpy(at, span.data, span.size);
	return at + span.size;
}

struct fg_desk_command *fg_command_table_add(struct fg_command_table *t,
					     const struct fg_desk_identity *identity)
{
	struct fg_desk_command *c, **at;

	if (make_heap_room(t) < 0)
		return NULL;
	c = calloc(1, sizeof(*c) + identity->link.size + identity->device.size + identity->id.size +
			      identity->key.size);
	if (!c)
		return NULL;
	c->link_size = (uint8_t)identity->link.size;
	c->device_size = (uint8_t)identity->device.size;
	c->id_size = (uint8_t)identity->id.size;
	c->key_size = (uint8_t)identity->key.size;
	put(put(put(put(c->text, identity->link), identity->device), identity->id), identity->key);
	c->rule = -1;
	c->same_hash = hash_same(t, identity);
	c->id_hash = hash_id(t, identity);
	at = &t->same[bucket(t, c->same_hash)];
	c->next_same = *at;
	*at = c;
	at = &t->ids[bucket(t, c->id_hash)];
	c->next_id = *at;
	*at = c;
	TAILQ_INSERT_TAIL(&t->by_note, c, by_note);
	t->n_commands++;
	return c;
}

void fg_command_table_number(struct fg_command_table *t, struct fg_desk_command *c, uint64_t number)
{
	struct fg_desk_command **at = &t->numbers[bucket(t, number)];

	c->number = number;
	c->next_number = *at;
	*at = c;
}

int fg_desk_command_keep(struct fg_desk_command *c, struct fg_span name, struct fg_span params)
{
	c->payload = malloc(name.size + params.size + 1);
	if (!c->payload)
		return -ENOMEM;
	put(put(c->payload, name), params);
	c->name_size = name.size;
	c->params_size = params.size;
	return 0;
}

void fg_desk_command_drop_payload(struct fg_desk_command *c)
{
	free(c->payload);
	c->payload = NULL;
}

void fg_command_table_remove(struct fg_command_table *t, struct fg_desk_command *c)
{
	struct fg_desk_command **at;

	fg_command_table_due(t, c, INT64_MAX);
	fg_desk_command_queue(c, NULL);
	fg_command_table_leave(t, c);
	for (at = &t->same[bucket(t, c->same_hash)]; *at != c; at = &(*at)->next_same)
		;
	*at = c->next_same;
	for (at = &t->ids[bucket(t, c->id_hash)]; *at != c; at = &(*at)->next_id)
		;
	*at = c->next_id;
	if (c->number > 0) {
		for (at = &t->numbers[bucket(t, c->number)]; *at != c; at = &(*at)->next_number)
			;
		*at = c->next_number;
	}
	TAILQ_REMOVE(&t->by_note, c, by_note);
	t->n_commands--;
	fg_desk_command_drop_payload(c);
	free(c);
}

static bool is_of(const struct fg_desk_command *c, const struct fg_desk_identity *identity)
{
	return fg_span_equal(fg_desk_command_link(c), identity->link) &&
	       fg_span_equal(fg_desk_command_device(c), identity->device);
}

struct fg_desk_command *fg_command_table_find(const struct fg_command_table *t,
					      const struct fg_desk_identity *identity)
{
	uint64_t hash = hash_same(t, identity);
	struct fg_desk_command *c;

	for (c = t->same[bucket(t, hash)]; c; c = c->next_same) {
		struct fg_desk_identity other = fg_desk_command_identity(c);

		/* A key is no id, even with the same text. */
		if (c->same_hash == hash && is_of(c, identity) &&
		    (other.key.size > 0) == (identity->key.size > 0) &&
		    fg_span_equal(same_of(&other), same_of(identity)))
			return c;
	}
	return NULL;
}

struct fg_desk_command *fg_command_table_find_id(const struct fg_command_table *t,
						 const struct fg_desk_identity *identity,
						 const struct fg_desk_command *after)
{
	uint64_t hash = hash_id(t, identity);
	struct fg_desk_command *c;

	for (c = after ? after->next_id : t->ids[bucket(t, hash)]; c; c = c->next_id)
		if (c->id_hash == hash && is_of(c, identity) &&
		    fg_span_equal(fg_desk_command_id(c), identity->id))
			return c;
	return NULL;
}

struct fg_desk_command *fg_command_table_find_number(const struct fg_command_table *t,
						     uint64_t number)
{
	struct fg_desk_command *c = t->numbers[bucket(t, number)];

	while (c && c->number != number)
		c = c->next_number;
	return c;
}

/* ------------------------------------------------------------------ devices */

struct fg_desk_device *fg_command_table_find_device(const struct fg_command_table *t,
						    struct fg_span name)
{
	uint64_t hash = fg_hash(t->seed, name);
	struct fg_desk_device *d = t->devices[bucket(t, hash)];

	while (d && !(d->hash == hash && fg_span_equal(fg_span_of(d->name, d->name_size), name)))
		d = d->next;
	return d;
}

struct fg_desk_device *fg_command_table_next_device(const struct fg_command_table *t,
						    const struct fg_desk_device *after)
{
	if (after && after->next)
		return after->next;
	for (size_t i = after ? bucket(t, after->hash) + 1 : 0; i < t->n_buckets; i++)
		if (t->devices[i])
			return t->devices[i];
	return NULL;
}

static struct fg_desk_device *make_device(struct fg_command_table *t, struct fg_span name)
{
	struct fg_desk_device *d = calloc(1, sizeof(*d) + name.size);
	struct fg_desk_device **at;

	if (!d)
		return NULL;
	put(d->name, name);
	d->name_size = (uint8_t)name.size;
	d->hash = fg_hash(t->seed, name);
	TAILQ_INIT(&d->waiting);
	TAILQ_INIT(&d->busy);
	at = &t->devices[bucket(t, d->hash)];
	d->next = *at;
	*at = d;
	return d;
}

int fg_command_table_wait(struct fg_command_table *t, struct fg_desk_command *c)
{
	struct fg_desk_device *d = c->device;
	struct fg_desk_command *behind;

	if (!d)
		d = fg_command_table_find_device(t, fg_desk_command_device(c));
	if (!d)
		d = make_device(t, fg_desk_command_device(c));
	if (!d)
		return -ENOMEM;
	if (c->place == &d->busy) {
		fg_command_table_rest(c);
		TAILQ_REMOVE(&d->busy, c, at_device);
	}
	/* What has no number yet is the newest. Only what comes back from being busy, or from
	 * disk, is older than another. */
	behind = TAILQ_LAST(&d->waiting, fg_desk_queue);
	while (behind && c->number > 0 && behind->number > c->number)
		behind = TAILQ_PREV(behind, fg_desk_queue, at_device);
	if (behind)
		TAILQ_INSERT_AFTER(&d->waiting, behind, c, at_device);
	else
		TAILQ_INSERT_HEAD(&d->waiting, c, at_device);
	d->n_waiting++;
	c->device = d;
	c->place = &d->waiting;
	return 0;
}

void fg_command_table_start(struct fg_desk_command *c)
{
	struct fg_desk_device *d = c->device;

	TAILQ_REMOVE(&d->waiting, c, at_device);
	d->n_waiting--;
	TAILQ_INSERT_TAIL(&d->busy, c, at_device);
	d->n_running++;
	c->is_running = true;
	c->place = &d->busy;
}

void fg_command_table_rest(struct fg_desk_command *c)
{
	if (c->is_running)
		c->device->n_running--;
	c->is_running = false;
}

void fg_command_table_let_go(struct fg_command_table *t, struct fg_desk_device *d)
{
	struct fg_desk_device **at;

	d->is_held = false;
	if (!TAILQ_EMPTY(&d->waiting) || !TAILQ_EMPTY(&d->busy))
		return;
	for (at = &t->devices[bucket(t, d->hash)]; *at != d; at = &(*at)->next)
		;
	*at = d->next;
	free(d);
}

struct fg_desk_device *fg_command_table_leave(struct fg_command_table *t, struct fg_desk_command *c)
{
	struct fg_desk_device *d = c->device;
	bool is_last;

	if (!d)
		return NULL;
	fg_command_table_rest(c);
	TAILQ_REMOVE(c->place, c, at_device);
	if (c->place == &d->waiting)
		d->n_waiting--;
	c->place = NULL;
	c->device = NULL;
	is_last = TAILQ_EMPTY(&d->waiting) && TAILQ_EMPTY(&d->busy);
	if (is_last && !d->is_held)
		fg_command_table_let_go(t, d);
	return is_last ? NULL : d;
}

void fg_desk_command_queue(struct fg_desk_command *c, struct fg_desk_queue *turn)
{
	if (c->turn)
		TAILQ_REMOVE(c->turn, c, in_turn);
	c->turn = turn;
	if (turn)
		TAILQ_INSERT_TAIL(turn, c, in_turn);
}

/* ------------------------------------------------------------------ what is due: a binary heap */

static void heap_put(struct fg_command_table *t, size_t i, struct fg_desk_command *c)
{
	t->heap[i] = c;
	c->heap_index = i + 1;
}

/* Where @c belongs when place @i is free: further up, or further down. */
static void heap_settle(struct fg_command_table *t, size_t i, struct fg_desk_command *c)
{
	while (i > 0 && t->heap[(i - 1) / 2]->due_ms > c->due_ms) {
		heap_put(t, i, t->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < t->heap_size && t->heap[child + 1]->due_ms < t->heap[child]->due_ms)
			child++;
		if (child >= t->heap_size || t->heap[child]->due_ms >= c->due_ms)
			break;
		heap_put(t, i, t->heap[child]);
		i = child;
	}
	heap_put(t, i, c);
}

void fg_command_table_due(struct fg_command_table *t, struct fg_desk_command *c, int64_t due_ms)
{
	struct fg_desk_command *last;
	size_t i;

	c->due_ms = due_ms;
	if (due_ms != INT64_MAX) {
		heap_settle(t, c->heap_index > 0 ? c->heap_index - 1 : t->heap_size++, c);
		return;
	}
	if (c->heap_index == 0)
		return;
	i = c->heap_index - 1;
	c->heap_index = 0;
	last = t->heap[--t->heap_size];
	if (last != c)
		heap_settle(t, i, last);
}

struct fg_desk_command *fg_command_table_first_due(const struct fg_command_table *t)
{
	return t->heap_size > 0 ? t->heap[0] : NULL;
}
