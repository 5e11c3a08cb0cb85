#pragma once

/*
 * Which sessions of a link were left behind, and from which record on: by rising key, so that each
 * record's can be looked up. Allocates as it grows; bounded by whoever adds.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A key with this bit is that of one record: FG_KEY_RECORD. */
#define FG_LEFT_BEHIND_RECORD (UINT64_C(1) << 63)

struct fg_left_behind {
	uint64_t key;
	uint64_t from; /* the first record it has not had */
};

struct fg_left_behinds {
	struct fg_left_behind *items;
	size_t n, capacity;
	uint64_t lowest; /* of all `from`; UINT64_MAX: there are none */
};

void fg_left_behinds_init(struct fg_left_behinds *l);
void fg_left_behinds_free(struct fg_left_behinds *l);

/** @key is left behind from @from on; what was said of it before is forgotten. Returns 0 or -ENOMEM. */
int fg_left_behinds_put(struct fg_left_behinds *l, uint64_t key, uint64_t from);

/** @key is not left behind any more. Returns whether it was. */
bool fg_left_behinds_remove(struct fg_left_behinds *l, uint64_t key);

/** From where on @key is left behind, or 0. */
uint64_t fg_left_behinds_get(const struct fg_left_behinds *l, uint64_t key);

/** Nothing up to @last can be had any more: who was left behind there goes on behind it, but for records
 * that were left alone: those are gone. */
void fg_left_behinds_cut(struct fg_left_behinds *l, uint64_t last);
