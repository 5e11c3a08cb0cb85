#pragma once

/*
 * Which quarantined messages are settled (format.h, section 4): a bit for each number of a window,
 * filled by going through the lane up to its end, since what settles a message comes behind it. So
 * memory does not grow with the lane, however many windows it takes.
 */
#include "journal/record.h"

#define FG_SETTLED_WINDOW ((uint64_t)1 << 20)

struct fg_settled {
	uint64_t first; /* of the window */
	uint64_t next;  /* the first number behind it that was seen; UINT64_MAX: none */
	uint8_t *bits;
};

/** A window from number @first on. Returns 0 or -ENOMEM. */
int fg_settled_new(struct fg_settled *s, uint64_t first);
void fg_settled_free(struct fg_settled *s);

/** Take the @size bytes of record @seq into account, whatever it is. */
void fg_settled_take(struct fg_settled *s, uint64_t seq, const uint8_t *data, size_t size);

/** Is @number in the window, and not settled? */
bool fg_settled_is_open(const struct fg_settled *s, uint64_t number);

/** Go on to the window with the first number behind this one. Returns false when there is none. */
bool fg_settled_go_on(struct fg_settled *s);
