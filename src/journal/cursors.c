#include "journal/cursor.h"

#include <errno.h>
#include <string.h>

#define UNKNOWN_RECORDS ((uint64_t)1 << 40)

/* ---- sequence numbers of tables */

static uint64_t tables_kept(const struct fg_cursors *set)
{
	return set->n_tables < FG_CURSOR_TABLES_KNOWN ? set->n_tables : FG_CURSOR_TABLES_KNOWN;
}

/* How many of the known tables have a sequence number below @seq. */
static uint64_t tables_below(const struct fg_cursors *set, uint64_t seq)
{
	uint64_t start = set->n_tables - tables_kept(set);
	uint64_t low = start, high = set->n_tables;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (set->tables[middle % FG_CURSOR_TABLES_KNOWN] < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low - start;
}

uint64_t fg_cursors_tables_within(const struct fg_cursors *set, uint64_t first, uint64_t last)
{
	return first > last ? 0 : tables_below(set, last + 1) - tables_below(set, first);
}

static void join_table(struct fg_cursors *set, uint64_t seq)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set)
			fg_cursor_join_table(&set->slots[i], seq);
}

void fg_cursors_add_table(struct fg_cursors *set, uint64_t seq)
{
	set->tables[set->n_tables++ % FG_CURSOR_TABLES_KNOWN] = seq;
	join_table(set, seq);
}

/* ---- the slots */

static struct fg_cursor *find(struct fg_cursors *set, const char *name)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && strcmp(set->slots[i].name, name) == 0)
			return &set->slots[i];
	return NULL;
}

/* A free slot, or one whose name is in the table but that nobody opened: the one furthest behind.
 */
static struct fg_cursor *make_slot(struct fg_cursors *set)
{
	struct fg_cursor *found = NULL;

	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		struct fg_cursor *c = &set->slots[i];

		if (!c->set)
			return c;
		if (!c->is_open && (!found || c->watermark < found->watermark))
			found = c;
	}
	if (found)
		fg_cursor_done(found);
	return found;
}

void fg_cursors_free(struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set)
			fg_cursor_done(&set->slots[i]);
}

int fg_cursors_open(struct fg_cursors *set, const char *name, uint64_t max_unsaved, uint64_t newest,
		    struct fg_cursor **ret)
{
	size_t size = strlen(name);
	struct fg_cursor *c;

	if (size == 0 || size > FG_CURSOR_NAME_MAX)
		return -EINVAL;
	c = find(set, name);
	if (c && c->is_open)
		return -EEXIST;
	if (!c) {
		c = make_slot(set);
		if (!c)
			return -ENOSPC;
		fg_cursor_init(c, set, name, newest);
		/*
		 * Until the name is on disk, a crash would make the cursor anew, above all that has
		 * come since: so the next commit takes it along, whatever it carries.
		 */
		c->is_unsaved = true;
		fg_cursor_lose_unknown(c, set->lost_records, newest);
	}
	c->is_open = true;
	c->max_unsaved = max_unsaved > 0 ? max_unsaved : 1;
	*ret = c;
	return 0;
}

/* ---- what was found on disk */

/* The newest sequence number that is on disk, where a table claims one beyond. */
static uint64_t at_most(uint64_t seq, uint64_t newest)
{
	return seq < newest ? seq : newest;
}

static void load_settled(struct fg_cursor *c, const uint8_t *data, const struct fg_cursor_entry *e,
			 uint64_t newest, bool may_be_sent)
{
	struct fg_range range;

	fg_cursor_mark_settled(c, 1, at_most(e->watermark, newest), may_be_sent);
	for (unsigned i = 0; i < e->n_ranges; i++)
		if (fg_cursor_entry_range(data, e, i, &range))
			fg_cursor_mark_settled(c, range.first, at_most(range.last, newest),
					       may_be_sent);
}

static int load_left_behind(struct fg_left_behinds *l, const uint8_t *data,
			    const struct fg_cursor_entry *e, uint64_t newest)
{
	for (unsigned i = 0; i < e->n_left_behind; i++) {
		struct fg_left_behind b = fg_cursor_entry_left_behind(data, e, i);
		uint64_t known = fg_left_behinds_get(l, b.key);

		if (b.key & FG_KEY_RECORD && (b.key & ~FG_KEY_RECORD) != b.from)
			continue;
		if (b.key & FG_KEY_RECORD && b.from > newest)
			continue;
		b.from = at_most(b.from > 0 ? b.from : 1, newest + 1);
		if (known != 0 && known <= b.from)
			continue;
		if (fg_left_behinds_put(l, b.key, b.from) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int load_new(struct fg_cursors *set, const uint8_t *data, const struct fg_cursor_entry *e,
		    uint64_t newest, struct fg_cursor **ret)
{
	struct fg_cursor *c = find(set, e->name);

	if (c)
		fg_cursor_done(c);
	else
		c = make_slot(set);
	*ret = c;
	if (!c)
		return 0;
	fg_cursor_init(c, set, e->name, at_most(e->watermark, newest));
	load_settled(c, data, e, newest, false);
	if (load_left_behind(&c->left_behind, data, e, newest) < 0)
		return -ENOMEM;
	c->saved_from = c->saving_from = c->left_behind.lowest;
	c->changes_saving = c->n_changes;
	return 0;
}

int fg_cursors_load(struct fg_cursors *set, const uint8_t *data, size_t size, uint64_t newest)
{
	struct fg_cursor_table table;
	struct fg_cursor *c;
	int r;

	if (size == 0)
		return 0;
	if (fg_cursor_table_decode(data, size, &table) < 0)
		return -EBADMSG;
	for (unsigned i = 0; i < table.n; i++) {
		r = load_new(set, data, &table.entries[i], newest, &c);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Who was left behind is as the newer table says. How many records were settled by what has moved
 * nobody knows: more than may be, so that it is saved before anything is sent.
 */
static int load_moved(struct fg_cursor *c, const uint8_t *data, const struct fg_cursor_entry *e,
		      uint64_t newest)
{
	struct fg_left_behinds before = c->left_behind;
	bool is_moved = false;
	int r;

	fg_left_behinds_init(&c->left_behind);
	r = load_left_behind(&c->left_behind, data, e, newest);
	for (size_t i = 0; i < before.n && !is_moved; i++)
		is_moved = fg_left_behinds_get(&c->left_behind, before.items[i].key) !=
			   before.items[i].from;
	if (is_moved)
		c->n_unsaved += UNKNOWN_RECORDS;
	if (is_moved || c->left_behind.n != before.n)
		c->n_changes++;
	fg_left_behinds_free(&before);
	return r;
}

int fg_cursors_load_unsynced(struct fg_cursors *set, const uint8_t *data, size_t size,
			     uint64_t newest)
{
	struct fg_cursor_table table;
	int r;

	if (size == 0)
		return 0;
	if (fg_cursor_table_decode(data, size, &table) < 0)
		return -EBADMSG;
	for (unsigned i = 0; i < table.n; i++) {
		const struct fg_cursor_entry *e = &table.entries[i];
		struct fg_cursor *c = find(set, e->name);

		if (c) {
			load_settled(c, data, e, newest, true);
			r = load_moved(c, data, e, newest);
		} else {
			r = load_new(set, data, e, newest, &c);
			if (c)
				c->is_unsaved = true;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

void fg_cursors_loaded(struct fg_cursors *set, uint64_t passed_seq)
{
	uint64_t n =
		set->n_tables < FG_CURSOR_TABLES_KNOWN ? set->n_tables : FG_CURSOR_TABLES_KNOWN;

	for (unsigned i = 0; i < FG_CURSORS_MAX && passed_seq > 0; i++)
		if (set->slots[i].set)
			fg_cursor_passed(&set->slots[i], passed_seq - 1);
	for (uint64_t k = set->n_tables - n; k < set->n_tables; k++)
		join_table(set, set->tables[k % FG_CURSOR_TABLES_KNOWN]);
}

/* ---- saving */

static bool is_dirty(const struct fg_cursor *c)
{
	return c->set && (c->is_unsaved || c->n_changes != c->changes_saving);
}

bool fg_cursors_are_dirty(const struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (is_dirty(&set->slots[i]))
			return true;
	return false;
}

bool fg_cursors_want_save(const struct fg_cursors *set, bool is_due)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *c = &set->slots[i];

		if (!is_dirty(c))
			continue;
		if (is_due || c->is_unsaved)
			return true;
		if (c->is_open && c->n_unsaved - c->n_saving >= (c->max_unsaved + 1) / 2)
			return true;
	}
	return false;
}

static struct fg_cursor_table_source table_source(const struct fg_cursors *set, uint64_t newest)
{
	struct fg_cursor_table_source source = {
		.clock_ms = set->clock_ms,
		.utc_us = set->utc_us,
		.newest_ms = set->newest_ms,
	};

	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *c = &set->slots[i];

		if (!c->set)
			continue;
		source.cursors[source.n++] = (struct fg_cursor_source){
			.name = c->name,
			.watermark = at_most(c->watermark, newest),
			.ranges = &c->settled,
			.left_behind = &c->left_behind,
		};
	}
	return source;
}

size_t fg_cursors_table_size(const struct fg_cursors *set)
{
	struct fg_cursor_table_source source = table_source(set, UINT64_MAX);

	return fg_cursor_table_size(&source);
}

size_t fg_cursors_encode(const struct fg_cursors *set, uint64_t newest, size_t room, uint8_t *out,
			 struct fg_cursor_save *ret_save)
{
	struct fg_cursor_table_source source = table_source(set, newest);
	struct fg_cursor_save save = {.is_any = true};
	size_t size;
	unsigned n = 0;

	size = fg_cursor_table_encode(&source, room, out);
	for (unsigned i = 0; i < FG_CURSORS_MAX && ret_save; i++) {
		const struct fg_cursor *c = &set->slots[i];

		if (!c->set)
			continue;
		save.cursors[i].id = c->id;
		save.cursors[i].watermark = source.cursors[n].watermark;
		save.cursors[i].from = source.cursors[n].left_behind->lowest;
		save.cursors[i].n_left_out = source.cursors[n].n_left_out;
		n++;
	}
	if (ret_save)
		*ret_save = save;
	return size;
}

void fg_cursors_saving(struct fg_cursors *set, const struct fg_cursor_save *save)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		struct fg_cursor *c = &set->slots[i];

		if (!c->set || c->id != save->cursors[i].id)
			continue;
		c->n_saving = c->n_unsaved;
		c->changes_saving = c->n_changes;
		c->saving_from = save->cursors[i].from;
		c->is_unsaved = false;
	}
	set->must_save = false;
}

void fg_cursors_saved(struct fg_cursors *set, const struct fg_cursor_save *save)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		struct fg_cursor *c = &set->slots[i];
		uint64_t n_left_out = save->cursors[i].n_left_out;

		if (!c->set || c->id != save->cursors[i].id)
			continue;
		/* Never so many that nothing could be sent that would make room. */
		if (n_left_out > c->max_unsaved / 2)
			n_left_out = c->max_unsaved / 2;
		c->n_unsaved = c->n_unsaved - c->n_saving + n_left_out;
		c->n_saving = 0;
		if (c->saved < save->cursors[i].watermark)
			c->saved = save->cursors[i].watermark;
		c->saved_from = save->cursors[i].from;
	}
}

/* ---- retention */

/* What a crash now would go back to, or the commit that runs. */
static uint64_t saved_low(const struct fg_cursor *c)
{
	uint64_t low = c->saved < fg_cursor_low(c) ? c->saved : fg_cursor_low(c);

	if (c->saved_from <= low)
		low = c->saved_from - 1;
	return c->saving_from <= low ? c->saving_from - 1 : low;
}

uint64_t fg_cursors_low(const struct fg_cursors *set, bool is_saved)
{
	uint64_t low = UINT64_MAX;

	for (unsigned i = 0; i < FG_CURSORS_MAX; i++) {
		const struct fg_cursor *c = &set->slots[i];
		uint64_t own;

		if (!c->set || !c->is_open)
			continue;
		own = is_saved ? saved_low(c) : fg_cursor_low(c);
		if (own < low)
			low = own;
	}
	return low;
}

bool fg_cursors_any_open(const struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && set->slots[i].is_open)
			return true;
	return false;
}

void fg_cursors_dropped(struct fg_cursors *set, uint64_t last)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && set->slots[i].is_open)
			fg_cursor_cut(&set->slots[i], last, FG_LOSS_LIMIT, "journal limit");
}

void fg_cursors_refused(struct fg_cursors *set)
{
	for (unsigned i = 0; i < FG_CURSORS_MAX; i++)
		if (set->slots[i].set && set->slots[i].is_open)
			set->slots[i].losses[FG_LOSS_FULL]++;
}
