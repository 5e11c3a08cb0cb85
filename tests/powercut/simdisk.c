#include "simdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64
#define MAX_HANDLES 256
#define MAX_DIRS 8

struct content {
	uint8_t *data;
	uint64_t size, capacity;
};

enum change_kind {
	CHANGE_WRITE,
	CHANGE_GROW,     /* the size, because something was written beyond it */
	CHANGE_TRUNCATE, /* to size */
	CHANGE_ALLOCATE, /* at least size */
};

/* Something done to a file and not synced. */
struct change {
	enum change_kind kind;
	uint64_t offset, size;
	uint8_t *data;
};

struct inode {
	struct content now;     /* what reads see */
	struct content durable; /* what was synced */
	struct change *changes;
	size_t n_changes, capacity;
	bool is_reachable;
	bool is_alarm; /* made in the directory of that name */
	struct inode *next;
};

struct entry {
	char name[NAME_MAX_BYTES];
	struct inode *inode;
};

struct names {
	struct entry *entries;
	size_t n, capacity;
};

/* One thing done to a directory and not synced: @from goes, @to comes; either may be empty. */
struct dir_change {
	char from[NAME_MAX_BYTES], to[NAME_MAX_BYTES];
	struct inode *inode;
};

struct dir {
	char name[NAME_MAX_BYTES];
	bool is_durable; /* its own name */
	struct names now, durable;
	struct dir_change *changes;
	size_t n_changes, capacity;
};

struct sim_disk {
	struct fg_fs fs;
	uint64_t random;
	enum sim_sabotage sabotage;
	unsigned sector;
	struct inode *inodes;
	struct dir dirs[MAX_DIRS]; /* of the root only subdirectories are known */
	unsigned n_dirs;
	struct inode *handles[MAX_HANDLES];
	bool is_off;
	uint64_t calls;
	uint64_t cut_at;                /* call; 0: never */
	uint64_t fail_first, fail_last; /* calls; 0: none */
	int fail_error;
	unsigned fail_one_in;
	struct inode *bad_inode;
	uint64_t bad_offset, bad_size;
};

static void *must(void *p)
{
	if (!p) {
		fputs("simdisk: out of memory\n", stderr);
		abort();
	}
	return p;
}

uint64_t sim_disk_random(struct sim_disk *d, uint64_t n)
{
	uint64_t z;

	/* splitmix64 */
	d->random += 0x9e3779b97f4a7c15u;
	z = d->random;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % n;
}

/* ---- contents */

static void content_resize(struct content *c, uint64_t size)
{
	if (size > c->capacity) {
		c->capacity = size + size / 2 + 4096;
		c->data = must(realloc(c->data, c->capacity));
	}
	if (size > c->size)
		memset(c->data + c->size, 0, size - c->size);
	c->size = size;
}

/* Bytes beyond the size are not there: growing it is a change of its own. */
static void content_write(struct content *c, const uint8_t *data, uint64_t size, uint64_t offset)
{
	if (offset >= c->size)
		return;
	if (size > c->size - offset)
		size = c->size - offset;
	if (size > 0)
		memcpy(c->data + offset, data, size);
}

static void content_change(struct content *c, const struct change *change)
{
	switch (change->kind) {
	case CHANGE_WRITE:
		content_write(c, change->data, change->size, change->offset);
		break;
	case CHANGE_TRUNCATE:
		content_resize(c, change->size);
		break;
	case CHANGE_GROW:
	case CHANGE_ALLOCATE:
		if (change->size > c->size)
			content_resize(c, change->size);
		break;
	}
}

static void add_change(struct inode *f, enum change_kind kind, const void *data, uint64_t size,
		       uint64_t offset)
{
	struct change change = {.kind = kind, .offset = offset, .size = size};

	if (f->n_changes == f->capacity) {
		f->capacity = f->capacity * 2 + 8;
		f->changes = must(realloc(f->changes, f->capacity * sizeof(*f->changes)));
	}
	if (kind == CHANGE_WRITE) {
		change.data = must(malloc(size + 1));
		memcpy(change.data, data, size);
	}
	content_change(&f->now, &change);
	f->changes[f->n_changes++] = change;
}

static void clear_changes(struct inode *f)
{
	for (size_t i = 0; i < f->n_changes; i++)
		free(f->changes[i].data);
	f->n_changes = 0;
}

static void make_durable(struct inode *f)
{
	for (size_t i = 0; i < f->n_changes; i++)
		content_change(&f->durable, &f->changes[i]);
	clear_changes(f);
}

/* Of a write each sector survives or not; of all pieces any may reach the disk last. */
static void survive_pieces(struct sim_disk *d, struct inode *f, unsigned percent)
{
	struct piece {
		const uint8_t *data;
		uint64_t offset, size;
	} *pieces = NULL;
	size_t n = 0, capacity = 0;

	for (size_t i = 0; i < f->n_changes; i++) {
		const struct change *c = &f->changes[i];
		uint64_t done = 0;

		if (c->kind != CHANGE_WRITE)
			continue;
		while (done < c->size) {
			uint64_t size = d->sector - (c->offset + done) % d->sector;

			if (size > c->size - done)
				size = c->size - done;
			if (n == capacity) {
				capacity = capacity * 2 + 64;
				pieces = must(realloc(pieces, capacity * sizeof(*pieces)));
			}
			if (sim_disk_random(d, 100) < percent)
				pieces[n++] =
					(struct piece){c->data + done, c->offset + done, size};
			done += size;
		}
	}
	while (n > 0) {
		size_t i = sim_disk_random(d, n);

		content_write(&f->durable, pieces[i].data, pieces[i].size, pieces[i].offset);
		pieces[i] = pieces[--n];
	}
	free(pieces);
}

/* What of the unsynced changes is on the disk by chance. */
static void survive(struct sim_disk *d, struct inode *f)
{
	static const unsigned percents[] = {0, 10, 50, 90, 99, 100};
	unsigned percent = percents[sim_disk_random(d, 6)];

	for (size_t i = 0; i < f->n_changes; i++)
		if (f->changes[i].kind != CHANGE_WRITE && sim_disk_random(d, 2))
			content_change(&f->durable, &f->changes[i]);
	survive_pieces(d, f, percent);
	clear_changes(f);
}

static void content_copy(struct content *to, const struct content *from)
{
	content_resize(to, 0);
	content_resize(to, from->size);
	if (from->size > 0)
		memcpy(to->data, from->data, from->size);
}

static struct inode *new_inode(struct sim_disk *d)
{
	struct inode *f = must(calloc(1, sizeof(*f)));

	f->next = d->inodes;
	d->inodes = f;
	return f;
}

static struct inode *free_inode(struct inode *f)
{
	struct inode *next = f->next;

	clear_changes(f);
	free(f->changes);
	free(f->now.data);
	free(f->durable.data);
	free(f);
	return next;
}

/* ---- directories */

static struct inode *names_find(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->n; i++)
		if (strcmp(n->entries[i].name, name) == 0)
			return n->entries[i].inode;
	return NULL;
}

static void names_remove(struct names *n, const char *name)
{
	for (size_t i = 0; i < n->n; i++)
		if (strcmp(n->entries[i].name, name) == 0) {
			n->entries[i] = n->entries[--n->n];
			return;
		}
}

static void names_set(struct names *n, const char *name, struct inode *inode)
{
	names_remove(n, name);
	if (n->n == n->capacity) {
		n->capacity = n->capacity * 2 + 16;
		n->entries = must(realloc(n->entries, n->capacity * sizeof(*n->entries)));
	}
	snprintf(n->entries[n->n].name, NAME_MAX_BYTES, "%s", name);
	n->entries[n->n++].inode = inode;
}

static void names_change(struct names *n, const struct dir_change *c)
{
	if (c->to[0])
		names_set(n, c->to, c->inode);
	/* A name that has meanwhile been given to another file stays. */
	if (c->from[0] && names_find(n, c->from) == c->inode)
		names_remove(n, c->from);
}

static void dir_change(struct dir *dir, const char *from, const char *to, struct inode *inode)
{
	struct dir_change *c;

	if (dir->n_changes == dir->capacity) {
		dir->capacity = dir->capacity * 2 + 16;
		dir->changes = must(realloc(dir->changes, dir->capacity * sizeof(*dir->changes)));
	}
	c = &dir->changes[dir->n_changes++];
	snprintf(c->from, sizeof(c->from), "%s", from);
	snprintf(c->to, sizeof(c->to), "%s", to);
	c->inode = inode;
	names_change(&dir->now, c);
}

/* Split "dir/name"; NULL when there is no such directory. */
static struct dir *find_dir(struct sim_disk *d, const char *path, const char **ret_name)
{
	const char *slash = strchr(path, '/');
	size_t size = slash ? (size_t)(slash - path) : strlen(path);

	if (ret_name)
		*ret_name = slash ? slash + 1 : "";
	for (unsigned i = 0; i < d->n_dirs; i++)
		if (strlen(d->dirs[i].name) == size && memcmp(d->dirs[i].name, path, size) == 0)
			return &d->dirs[i];
	return NULL;
}

static void copy_names(struct names *to, const struct names *from)
{
	to->n = 0;
	for (size_t i = 0; i < from->n; i++)
		names_set(to, from->entries[i].name, from->entries[i].inode);
}

static void free_dir(struct dir *dir)
{
	free(dir->now.entries);
	free(dir->durable.entries);
	free(dir->changes);
	*dir = (struct dir){0};
}

static void dir_survives(struct sim_disk *d, struct dir *dir)
{
	for (size_t i = 0; i < dir->n_changes; i++)
		if (sim_disk_random(d, 2))
			names_change(&dir->durable, &dir->changes[i]);
	dir->n_changes = 0;
}

/* ---- what may go wrong with a changing call */

enum fate {
	FATE_WORKS,
	FATE_FAILS, /* with an error, having done nothing or half of it */
	FATE_CUT,   /* the power goes in the middle */
};

static enum fate fate(struct sim_disk *d, int *ret_error)
{
	static const int errors[] = {-EIO, -ENOSPC, -EINTR, -EIO};

	if (d->is_off) {
		*ret_error = -EIO;
		return FATE_FAILS;
	}
	d->calls++;
	if (d->cut_at != 0 && d->calls >= d->cut_at) {
		d->is_off = true;
		*ret_error = -EIO;
		return FATE_CUT;
	}
	if (d->fail_first != 0 && d->calls >= d->fail_first && d->calls <= d->fail_last) {
		*ret_error = d->fail_error;
		return FATE_FAILS;
	}
	if (d->fail_one_in > 0 && sim_disk_random(d, d->fail_one_in) == 0) {
		*ret_error = errors[sim_disk_random(d, 4)];
		return FATE_FAILS;
	}
	return FATE_WORKS;
}

/* Done although it fails? A cut may come before or after; an error too, for names. */
static bool is_half_done(struct sim_disk *d, enum fate f)
{
	return f == FATE_WORKS || (!d->is_off && sim_disk_random(d, 2)) ||
	       (f == FATE_CUT && sim_disk_random(d, 2));
}

/* ---- struct fg_fs */

static int sim_mkdir(void *ctx, const char *path)
{
	struct sim_disk *d = ctx;
	int error = 0;
	enum fate f = fate(d, &error);

	if (is_half_done(d, f) && !find_dir(d, path, NULL) && d->n_dirs < MAX_DIRS)
		snprintf(d->dirs[d->n_dirs++].name, NAME_MAX_BYTES, "%s", path);
	return error;
}

static int sim_list(void *ctx, const char *path, int (*each)(void *arg, const char *name),
		    void *arg)
{
	struct sim_disk *d = ctx;
	struct dir *dir = find_dir(d, path, NULL);
	int r = 0;

	if (d->is_off)
		return -EIO;
	if (!dir)
		return -ENOENT;
	for (size_t i = 0; i < dir->now.n && r == 0; i++)
		r = each(arg, dir->now.entries[i].name);
	return r;
}

static int sim_open(void *ctx, const char *path, bool create)
{
	struct sim_disk *d = ctx;
	const char *name;
	struct dir *dir = find_dir(d, path, &name);
	struct inode *file;
	int error = 0;

	if (d->is_off)
		return -EIO;
	if (!dir)
		return -ENOENT;
	file = names_find(&dir->now, name);
	if (create && file)
		return -EEXIST;
	if (!create && !file)
		return -ENOENT;
	if (create) {
		enum fate f = fate(d, &error);

		if (is_half_done(d, f)) {
			file = new_inode(d);
			file->is_alarm = strcmp(dir->name, "alarm") == 0;
			dir_change(dir, "", name, file);
		}
		if (error < 0)
			return error;
	}
	for (int i = 0; i < MAX_HANDLES; i++)
		if (!d->handles[i]) {
			d->handles[i] = file;
			return i;
		}
	return -EMFILE;
}

static void sim_close(void *ctx, int file)
{
	struct sim_disk *d = ctx;

	d->handles[file] = NULL;
}

static ssize_t sim_read(void *ctx, int file, void *data, size_t size, uint64_t offset)
{
	struct sim_disk *d = ctx;
	const struct inode *f = d->handles[file];

	if (d->is_off || !f)
		return -EIO;
	if (f == d->bad_inode && offset < d->bad_offset + d->bad_size &&
	    offset + size > d->bad_offset)
		return -EIO;
	if (offset >= f->now.size)
		return 0;
	if (size > f->now.size - offset)
		size = f->now.size - offset;
	memcpy(data, f->now.data + offset, size);
	return (ssize_t)size;
}

static void do_write(struct inode *f, const void *data, size_t size, uint64_t offset)
{
	if (size == 0)
		return;
	if (offset + size > f->now.size)
		add_change(f, CHANGE_GROW, NULL, offset + size, 0);
	add_change(f, CHANGE_WRITE, data, size, offset);
}

static ssize_t sim_write(void *ctx, int file, const void *data, size_t size, uint64_t offset)
{
	struct sim_disk *d = ctx;
	struct inode *f = d->handles[file];
	bool was_off = d->is_off;
	int error = 0;

	if (fate(d, &error) == FATE_WORKS) {
		do_write(f, data, size, offset);
		return (ssize_t)size;
	}
	if (was_off)
		return error;
	/* Some of it got through; sometimes the call even says how much. */
	size = sim_disk_random(d, size + 1);
	if (error == -EINTR && size > 0)
		error = (int)size;
	else if (error == -EINTR)
		size = 0;
	do_write(f, data, size, offset);
	return error;
}

static int sim_allocate(void *ctx, int file, uint64_t size)
{
	struct sim_disk *d = ctx;
	int error = 0;

	if (is_half_done(d, fate(d, &error)))
		add_change(d->handles[file], CHANGE_ALLOCATE, NULL, size, 0);
	return error == -EINTR ? -EOPNOTSUPP : error;
}

static int sim_truncate(void *ctx, int file, uint64_t size)
{
	struct sim_disk *d = ctx;
	int error = 0;

	if (is_half_done(d, fate(d, &error)))
		add_change(d->handles[file], CHANGE_TRUNCATE, NULL, size, 0);
	return error;
}

static int sim_sync(void *ctx, int file)
{
	struct sim_disk *d = ctx;
	struct inode *f = d->handles[file];
	int error = 0;

	switch (fate(d, &error)) {
	case FATE_WORKS:
		if (d->sabotage != SIM_SKIP_SYNC &&
		    (d->sabotage != SIM_SKIP_ALARM_SYNC || !f->is_alarm))
			make_durable(f);
		return 0;
	case FATE_FAILS:
		/*
		 * As Linux does it: what could not be written is clean from now on, still reads as
		 * written, and a later sync knows nothing of it.
		 */
		if (!d->is_off)
			survive(d, f);
		return error;
	case FATE_CUT:
		break;
	}
	return error;
}

static int64_t sim_size(void *ctx, int file)
{
	struct sim_disk *d = ctx;

	return d->is_off ? -EIO : (int64_t)d->handles[file]->now.size;
}

static int sim_rename(void *ctx, const char *from, const char *to)
{
	struct sim_disk *d = ctx;
	const char *from_name, *to_name;
	struct dir *dir = find_dir(d, from, &from_name);
	struct inode *file;
	int error = 0;

	if (d->is_off || !dir || find_dir(d, to, &to_name) != dir)
		return -EIO;
	file = names_find(&dir->now, from_name);
	if (!file)
		return -ENOENT;
	if (is_half_done(d, fate(d, &error)))
		dir_change(dir, from_name, to_name, file);
	return error;
}

static int sim_unlink(void *ctx, const char *path)
{
	struct sim_disk *d = ctx;
	const char *name;
	struct dir *dir = find_dir(d, path, &name);
	struct inode *file;
	int error = 0;

	if (d->is_off || !dir)
		return -EIO;
	file = names_find(&dir->now, name);
	if (!file)
		return -ENOENT;
	if (is_half_done(d, fate(d, &error)))
		dir_change(dir, name, "", file);
	return error;
}

static int sim_sync_dir(void *ctx, const char *path)
{
	struct sim_disk *d = ctx;
	struct dir *dir = find_dir(d, path, NULL);
	int error = 0;

	switch (fate(d, &error)) {
	case FATE_WORKS:
		if (d->sabotage == SIM_SKIP_DIR_SYNC)
			return 0;
		if (!path[0])
			for (unsigned i = 0; i < d->n_dirs; i++)
				d->dirs[i].is_durable = true;
		if (!dir)
			return path[0] ? -ENOENT : 0;
		for (size_t i = 0; i < dir->n_changes; i++)
			names_change(&dir->durable, &dir->changes[i]);
		dir->n_changes = 0;
		return 0;
	case FATE_FAILS:
		if (!d->is_off && dir)
			dir_survives(d, dir);
		return error;
	case FATE_CUT:
		break;
	}
	return error;
}

/* ---- the disk as a whole */

struct sim_disk *sim_disk_new(uint64_t seed, enum sim_sabotage sabotage)
{
	struct sim_disk *d = must(calloc(1, sizeof(*d)));

	d->random = seed;
	d->sabotage = sabotage;
	d->sector = sim_disk_random(d, 2) ? 512 : 4096;
	d->fs = (struct fg_fs){
		.ctx = d,
		.mkdir = sim_mkdir,
		.list = sim_list,
		.open = sim_open,
		.close = sim_close,
		.read = sim_read,
		.write = sim_write,
		.allocate = sim_allocate,
		.truncate = sim_truncate,
		.sync = sim_sync,
		.size = sim_size,
		.rename = sim_rename,
		.unlink = sim_unlink,
		.sync_dir = sim_sync_dir,
	};
	return d;
}

struct sim_disk *sim_disk_free(struct sim_disk *d)
{
	if (!d)
		return NULL;
	while (d->inodes)
		d->inodes = free_inode(d->inodes);
	for (unsigned i = 0; i < d->n_dirs; i++)
		free_dir(&d->dirs[i]);
	free(d);
	return NULL;
}

struct fg_fs *sim_disk_fs(struct sim_disk *d)
{
	return &d->fs;
}

void sim_disk_cut_in(struct sim_disk *d, uint64_t calls)
{
	d->cut_at = calls > 0 ? d->calls + calls : 0;
}

bool sim_disk_is_off(const struct sim_disk *d)
{
	return d->is_off;
}

void sim_disk_cut(struct sim_disk *d)
{
	d->is_off = true;
}

void sim_disk_restart(struct sim_disk *d)
{
	memset(d->handles, 0, sizeof(d->handles));
	d->is_off = false;
	d->cut_at = 0;
}

/* Forget files that no name leads to. */
static void sweep(struct sim_disk *d)
{
	struct inode **at = &d->inodes;

	for (struct inode *f = d->inodes; f; f = f->next)
		f->is_reachable = false;
	for (unsigned i = 0; i < d->n_dirs; i++)
		for (size_t k = 0; k < d->dirs[i].now.n; k++)
			d->dirs[i].now.entries[k].inode->is_reachable = true;
	while (*at) {
		if ((*at)->is_reachable)
			at = &(*at)->next;
		else
			*at = free_inode(*at);
	}
}

void sim_disk_power_on(struct sim_disk *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->n_dirs; i++) {
		struct dir *dir = &d->dirs[i];

		dir_survives(d, dir);
		if (!dir->is_durable && sim_disk_random(d, 2)) {
			free_dir(dir);
			continue;
		}
		dir->is_durable = true;
		copy_names(&dir->now, &dir->durable);
		if (n != i) {
			d->dirs[n] = *dir;
			*dir = (struct dir){0};
		}
		n++;
	}
	d->n_dirs = n;
	for (struct inode *f = d->inodes; f; f = f->next) {
		survive(d, f);
		content_copy(&f->now, &f->durable);
	}
	d->bad_inode = NULL;
	sweep(d);
	sim_disk_restart(d);
}

void sim_disk_fail_one_in(struct sim_disk *d, unsigned one_in)
{
	d->fail_one_in = one_in;
}

void sim_disk_fail_at(struct sim_disk *d, uint64_t calls, uint64_t more, int error)
{
	d->fail_first = calls > 0 ? d->calls + calls : 0;
	d->fail_last = d->fail_first + more < d->fail_first ? UINT64_MAX : d->fail_first + more;
	d->fail_error = error;
}

uint64_t sim_disk_calls(const struct sim_disk *d)
{
	return d->calls;
}

const uint8_t *sim_disk_bytes(struct sim_disk *d, const char *path, uint64_t *ret_size)
{
	const char *name;
	struct dir *dir = find_dir(d, path, &name);
	struct inode *f = dir ? names_find(&dir->now, name) : NULL;

	if (!f)
		return NULL;
	*ret_size = f->now.size;
	return f->now.data;
}

static void put(struct content *c, const void *data, size_t size, uint64_t offset)
{
	if (offset + size > c->size)
		content_resize(c, offset + size);
	content_write(c, data, size, offset);
}

void sim_disk_put(struct sim_disk *d, const char *path, uint64_t offset, const void *data,
		  size_t size)
{
	const char *name;
	struct dir *dir = find_dir(d, path, &name);
	struct inode *f = dir ? names_find(&dir->now, name) : NULL;

	if (!dir)
		return;
	if (!f) {
		f = new_inode(d);
		names_set(&dir->now, name, f);
		names_set(&dir->durable, name, f);
	}
	put(&f->now, data, size, offset);
	put(&f->durable, data, size, offset);
}

void sim_disk_bad_sector(struct sim_disk *d, const char *path, uint64_t offset, uint64_t size)
{
	const char *name;
	struct dir *dir = find_dir(d, path, &name);

	d->bad_inode = dir ? names_find(&dir->now, name) : NULL;
	d->bad_offset = offset;
	d->bad_size = size;
}
