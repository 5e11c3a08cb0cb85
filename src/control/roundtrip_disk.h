#pragma once

/*
 * Watches a reading become a record of the daemon's journal, and that record being synced: the
 * first by reading the journal's files, the second by asking the daemon. Blocks: for fieldgatectl.
 */
#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

/** Where the journal and the link stand, as the daemon tells. */
struct fg_daemon_view {
	uint64_t next_seq[2], synced_seq[2]; /* by enum fg_lane */
	uint64_t n_quarantined;
	bool has_link;
	char link_state[32]; /* "online", … */
	char link_why[256];  /* it is not online; or empty */
};

/** Ask the daemon of @state about itself and @link. Returns 0, or as fg_client_ask(). */
int fg_daemon_look(const char *state, const char *link, struct fg_daemon_view *ret,
		   struct fg_error *err);

/** What to look for: telemetry of @device that has @value under @key. */
struct fg_disk_search {
	const char *state, *device, *key, *value;
	bool is_alarm;
	uint64_t from_seq; /* not before this one; moves along */
};

/** Returns 1 and the record's number when it is there, 0 when not yet, or a negative errno with a
 * sentence. */
int fg_disk_find(struct fg_disk_search *s, uint64_t *ret_seq, struct fg_error *err);
