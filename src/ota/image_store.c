#include "ota/image_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "util/cleanup.h"

struct fg_image_store {
	struct ev_loop *loop;
	struct fg_connector *connector;
	struct fg_image_store_options options;
	char *directory;
	int fd;
	struct fg_image_use *uses;
};

/* One file of an image in the directory. */
struct entry {
	char name[FG_IMAGE_NAME_SIZE]; /* "OWNER-WHAT" */
	const char *ending;            /* ".part" … */
	struct stat st;
};

/* What lies in the directory. */
struct census {
	uint64_t bytes; /* of images not in use; those in use count as reserved */
	unsigned n_files;
	bool has_victim;
	struct entry victim; /* who would be missed least */
	char victim_ending[8];
};

static void store_freep(struct fg_image_store **s)
{
	fg_image_store_free(*s);
}

static const struct fg_image_use *find_use(const struct fg_image_store *s, const char *name,
					   size_t length)
{
	const struct fg_image_use *use;

	for (use = s->uses; use && strncmp(use->name, name, length) != 0; use = use->next)
		;
	return use;
}

/* Call @each for each file of ours. */
static int for_each(struct fg_image_store *s,
		    void (*each)(struct fg_image_store *s, const struct entry *entry, void *arg),
		    void *arg)
{
	struct dirent *found;
	int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((found = readdir(dir))) {
		struct entry entry;

		if (!fg_image_info_is_name(found->d_name, &entry.ending) ||
		    fstatat(s->fd, found->d_name, &entry.st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		memcpy(entry.name, found->d_name, FG_IMAGE_NAME_SIZE - 1);
		entry.name[FG_IMAGE_NAME_SIZE - 1] = '\0';
		each(s, &entry, arg);
	}
	closedir(dir);
	return 0;
}

static bool remove_file(struct fg_image_store *s, const char *name, const char *ending)
{
	char file[FG_IMAGE_NAME_SIZE + 8];

	snprintf(file, sizeof(file), "%s%s", name, ending);
	return unlinkat(s->fd, file, 0) == 0;
}

static bool has_file(struct fg_image_store *s, const char *name, const char *ending)
{
	char file[FG_IMAGE_NAME_SIZE + 8];

	snprintf(file, sizeof(file), "%s%s", name, ending);
	return faccessat(s->fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A half-written .info, an .info of nothing, a .part nobody knows how much of is safe. */
static void remove_litter(struct fg_image_store *s, const struct entry *e, void *arg)
{
	bool is_litter = strcmp(e->ending, ".tmp") == 0;

	(void)arg;
	if (strcmp(e->ending, ".info") == 0)
		is_litter = !has_file(s, e->name, ".part") && !has_file(s, e->name, ".image");
	else if (strcmp(e->ending, ".part") == 0)
		is_litter = !has_file(s, e->name, ".info");
	if (is_litter)
		remove_file(s, e->name, e->ending);
}

int fg_image_store_open(struct ev_loop *loop, struct fg_connector *connector,
			const struct fg_image_store_options *options, struct fg_image_store **ret,
			struct fg_error *err)
{
	FG_CLEANUP(store_freep) struct fg_image_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->fd = -1;
	s->loop = loop;
	s->connector = connector;
	s->options = *options;
	s->directory = strdup(options->directory);
	if (!s->directory)
		return -ENOMEM;
	if (mkdir(s->directory, 0750) < 0 && errno != EEXIST)
		return fg_error_set(err, -errno, "%s: %s", s->directory, strerror(errno));
	s->fd = open(s->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0)
		return fg_error_set(err, -errno, "%s: %s", s->directory, strerror(errno));
	r = for_each(s, remove_litter, NULL);
	if (r < 0)
		return fg_error_set(err, r, "%s: %s", s->directory, strerror(-r));

	*ret = s; /* the caller owns it now */
	s = NULL;
	return 0;
}

struct fg_image_store *fg_image_store_free(struct fg_image_store *s)
{
	if (!s)
		return NULL;
	while (s->uses)
		fg_image_store_leave(s->uses);
	if (s->fd >= 0)
		close(s->fd);
	free(s->directory);
	free(s);
	return NULL;
}

uint64_t fg_image_store_max_image_bytes(const struct fg_image_store *s)
{
	return s->options.max_image_bytes;
}

struct ev_loop *fg_image_store_loop(const struct fg_image_store *s)
{
	return s->loop;
}

struct fg_connector *fg_image_store_connector(const struct fg_image_store *s)
{
	return s->connector;
}

int fg_image_store_fd(const struct fg_image_store *s)
{
	return s->fd;
}

const char *fg_image_store_directory(const struct fg_image_store *s)
{
	return s->directory;
}

int fg_image_store_enter(struct fg_image_store *s, struct fg_image_use *use)
{
	if (find_use(s, use->name, FG_IMAGE_OWNER_SIZE - 1))
		return -EBUSY;
	use->store = s;
	use->next = s->uses;
	s->uses = use;
	return 0;
}

void fg_image_store_leave(struct fg_image_use *use)
{
	struct fg_image_use **at = &use->store->uses;

	while (*at != use)
		at = &(*at)->next;
	*at = use->next;
	use->store = NULL;
}

/* Finished ones go before partial ones, the older before the younger. */
static bool is_missed_less(const struct entry *a, const struct entry *b)
{
	bool is_a_finished = strcmp(a->ending, ".image") == 0;
	bool is_b_finished = strcmp(b->ending, ".image") == 0;

	if (is_a_finished != is_b_finished)
		return is_a_finished;
	if (a->st.st_mtim.tv_sec != b->st.st_mtim.tv_sec)
		return a->st.st_mtim.tv_sec < b->st.st_mtim.tv_sec;
	return a->st.st_mtim.tv_nsec < b->st.st_mtim.tv_nsec;
}

static void count(struct fg_image_store *s, const struct entry *e, void *arg)
{
	struct census *census = arg;

	if (strcmp(e->ending, ".part") != 0 && strcmp(e->ending, ".image") != 0)
		return;
	census->n_files++;
	if (find_use(s, e->name, FG_IMAGE_NAME_SIZE))
		return;
	census->bytes += (uint64_t)e->st.st_size;
	if (census->has_victim && !is_missed_less(e, &census->victim))
		return;
	census->has_victim = true;
	census->victim = *e;
	snprintf(census->victim_ending, sizeof(census->victim_ending), "%s", e->ending);
	census->victim.ending = census->victim_ending;
}

/*
 * Is there room for @use to grow to @bytes? Returns 0, -EDQUOT or -ENOSPC; *@ret_helps: removing
 * what nobody uses may change that.
 */
static int check_room(struct fg_image_store *s, const struct fg_image_use *use, int fd,
		      uint64_t bytes, const struct census *census, bool *ret_helps)
{
	uint64_t total = bytes, needed, available;
	struct statvfs fs;
	struct stat st;

	for (const struct fg_image_use *each = s->uses; each; each = each->next)
		if (each != use)
			total += each->reserved_bytes;
	*ret_helps = census->has_victim && total <= s->options.max_total_bytes;
	if (total + census->bytes > s->options.max_total_bytes ||
	    census->n_files > FG_IMAGE_MAX_FILES)
		return -EDQUOT;

	if (fstat(fd, &st) < 0 || fstatvfs(s->fd, &fs) < 0)
		return -errno;
	needed = (uint64_t)st.st_blocks * 512;
	needed = bytes > needed ? bytes - needed : 0;
	available = (uint64_t)fs.f_bavail * fs.f_frsize;
	*ret_helps = census->has_victim &&
		     needed + s->options.keep_free_bytes <= available + census->bytes;
	return needed > 0 && needed + s->options.keep_free_bytes > available ? -ENOSPC : 0;
}

static int take_room(int fd, uint64_t bytes)
{
	while (bytes > 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) < 0) {
		if (errno == EINTR)
			continue;
		return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
	}
	return 0;
}

int fg_image_store_reserve(struct fg_image_store *s, struct fg_image_use *use, int fd,
			   uint64_t bytes)
{
	bool is_worth_it;
	int r;

	if (bytes > s->options.max_image_bytes)
		return -EFBIG;
	do {
		struct census census = {0};

		r = for_each(s, count, &census);
		if (r < 0)
			return r;
		r = check_room(s, use, fd, bytes, &census, &is_worth_it);
		if (r == 0)
			r = take_room(fd, bytes);
		if (r != -EDQUOT && r != -ENOSPC)
			break;
		if (is_worth_it)
			is_worth_it = remove_file(s, census.victim.name, census.victim.ending);
		if (is_worth_it)
			fg_image_store_remove(s, census.victim.name, NULL);
	} while (is_worth_it);
	if (r == 0)
		use->reserved_bytes = bytes;
	return r;
}

void fg_image_store_remove(struct fg_image_store *s, const char *name, const char *but)
{
	/* The description last: a .part without it is found and removed at the next start. */
	static const char *const endings[] = {".part", ".image", ".tmp", ".info"};

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		if (!but || strcmp(but, endings[i]) != 0)
			remove_file(s, name, endings[i]);
}

static void remove_if_of_same_owner(struct fg_image_store *s, const struct entry *e, void *arg)
{
	const char *name = arg;

	if (strncmp(e->name, name, FG_IMAGE_OWNER_SIZE - 1) == 0 && strcmp(e->name, name) != 0)
		remove_file(s, e->name, e->ending);
}

void fg_image_store_remove_others(struct fg_image_store *s, const char *name)
{
	for_each(s, remove_if_of_same_owner, (void *)(uintptr_t)name);
}
