#include "control/locate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "journal/segment.h"
#include "util/cleanup.h"

static const char *const lane_names[FG_LOCATED_MAX] = {"main", "alarm", "quarantine"};

static int open_dir(int at, const char *path)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Takes @fd. */
static int add_lane(struct fg_located *l, const char *name, int fd)
{
	char *copy = strdup(name);

	if (!copy) {
		close(fd);
		return -ENOMEM;
	}
	l->lanes[l->n++] = (struct fg_located_lane){.name = copy, .fd = fd};
	return 0;
}

/* The lanes that are in journal directory @fd. */
static int add_lanes(struct fg_located *l, int fd)
{
	for (unsigned i = 0; i < FG_LOCATED_MAX; i++) {
		int lane = open_dir(fd, lane_names[i]);
		int r;

		if (lane == -ENOENT || lane == -ENOTDIR)
			continue;
		r = lane < 0 ? lane : add_lane(l, lane_names[i], lane);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Does directory @fd hold segments? Returns 1, 0 or a negative errno. */
static int has_segments(int fd)
{
	int again = open_dir(fd, "."), found = 0;
	struct dirent *entry;
	uint64_t seq;
	DIR *dir;

	if (again < 0)
		return again;
	dir = fdopendir(again);
	if (!dir) {
		close(again);
		return -ENOMEM;
	}
	while (!found && (entry = readdir(dir)))
		found = strlen(entry->d_name) >= 20 &&
			fg_segment_name_parse(entry->d_name, &seq) != FG_SEGMENT_NAME_OTHER;
	closedir(dir);
	return found;
}

/* The last part of @path once links and dots are resolved; to be freed. */
static char *base_name(const char *path)
{
	FG_CLEANUP(fg_free_p) char *real = realpath(path, NULL);
	const char *slash;

	if (!real)
		return NULL;
	slash = strrchr(real, '/');
	return strdup(slash && slash[1] ? slash + 1 : real);
}

static bool is_lane_name(const char *name)
{
	for (unsigned i = 0; i < FG_LOCATED_MAX; i++)
		if (strcmp(name, lane_names[i]) == 0)
			return true;
	return false;
}

/* Returns 1 when @fd is a journal of some kind, 0 when not, or a negative errno. */
static int look(const char *path, int fd, struct fg_located *l)
{
	FG_CLEANUP(fg_free_p) char *name = NULL;
	int journal, r;

	journal = open_dir(fd, "journal");
	if (journal >= 0) {
		r = add_lanes(l, journal);
		close(journal);
		return r < 0 ? r : 1;
	}
	if (journal != -ENOENT && journal != -ENOTDIR)
		return journal;
	r = add_lanes(l, fd);
	if (r < 0 || l->n > 0)
		return r < 0 ? r : 1;
	r = has_segments(fd);
	if (r < 0)
		return r;
	name = base_name(path);
	if (!name)
		return -ENOMEM;
	/* Nothing in it yet, but it can be nothing else. */
	if (r == 0 && strcmp(name, "journal") == 0)
		return 1;
	if (r == 0 && !is_lane_name(name))
		return 0;
	fd = open_dir(fd, ".");
	if (fd < 0)
		return fd;
	r = add_lane(l, name, fd);
	return r < 0 ? r : 1;
}

int fg_locate(const char *path, struct fg_located *ret, struct fg_error *err)
{
	struct fg_located l = {0};
	int fd, r;

	fd = open_dir(AT_FDCWD, path);
	if (fd < 0)
		return fg_error_set(err, fd, "%s: %s", path, strerror(-fd));
	r = look(path, fd, &l);
	close(fd);
	if (r > 0) {
		*ret = l;
		return 0;
	}
	fg_located_free(&l);
	if (r < 0)
		return fg_error_set(err, r, "%s: %s", path, strerror(-r));
	return fg_error_set(err, -ENOENT,
			    "%s: no journal: expected a state directory (with journal/main in it), "
			    "a journal directory (with main, alarm or quarantine in it) or a "
			    "lane's directory (with *.seg files in it)",
			    path);
}

void fg_located_free(struct fg_located *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		free(l->lanes[i].name);
		close(l->lanes[i].fd);
	}
	l->n = 0;
}

const struct fg_located_lane *fg_located_lane(const struct fg_located *l, const char *name)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->lanes[i].name, name) == 0)
			return &l->lanes[i];
	return NULL;
}
