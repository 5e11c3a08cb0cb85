#pragma once

/*
 * Finds the lanes of a journal from whatever directory somebody names: the state directory, the
 * journal's directory in it, or one lane's.
 */
#include "util/error.h"

#define FG_LOCATED_MAX 3

struct fg_located_lane {
	char *name; /* "main", "alarm", "quarantine"; of a copy that is called otherwise: its name */
	int fd;     /* the directory */
};

struct fg_located {
	struct fg_located_lane lanes[FG_LOCATED_MAX]; /* main first */
	unsigned n; /* 0: a journal that nothing was ever written to */
};

/**
 * Find the lanes at @path. On success fg_located_free() releases *@ret. Returns 0, or a negative
 * errno with a sentence in @err that says what a journal looks like.
 */
int fg_locate(const char *path, struct fg_located *ret, struct fg_error *err);
void fg_located_free(struct fg_located *l);

/** The lane called @name, or NULL. */
const struct fg_located_lane *fg_located_lane(const struct fg_located *l, const char *name);
