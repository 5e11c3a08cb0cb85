#pragma once

/*
 * A bounded set of numbers, kept as ranges: sorted, apart from each other by one number at least.
 * When there are more than it may hold, the smallest is forgotten. Allocates as it grows.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The numbers @first..@last, both included. */
struct fg_range {
	uint64_t first, last;
};

struct fg_ranges {
	struct fg_range *items;
	size_t n, capacity;
	size_t max;
};

/** An empty set of at most @max ranges. */
void fg_ranges_init(struct fg_ranges *r, size_t max);
void fg_ranges_free(struct fg_ranges *r);

/**
 * Add @first..@last (first <= last), merging with what it touches. Returns false when a range had to
 * be forgotten for it, perhaps this one: there are @max, or there is no memory for more.
 */
bool fg_ranges_add(struct fg_ranges *r, uint64_t first, uint64_t last);

/** Take all numbers up to and including @last out. */
void fg_ranges_cut(struct fg_ranges *r, uint64_t last);

/** The range that holds @number, or NULL. */
const struct fg_range *fg_ranges_find(const struct fg_ranges *r, uint64_t number);

/** Index of the first range that ends at @number or above; r->n when there is none. */
size_t fg_ranges_from(const struct fg_ranges *r, uint64_t number);
