#pragma once

/*
 * The alarm lane of a journal in memory, for tests of the command desk: records, commits that the
 * test decides about, cursors. A crash keeps what was committed and as much of the rest as the test
 * says. Records with a `link` are for the cursor of that name, and for who wants notes.
 */
#include "journal/journal.h"

#define LANE_RECORDS 65536

struct lane_record {
	struct fg_message message; /* its spans are one allocation, at device.data */
	uint64_t ticket;
};

struct fg_cursor {
	struct fg_journal *journal;
	char name[64]; /* empty: it is not in use */
	uint64_t watermark, saved;
	bool is_open;
};

#define LANE_CURSORS 2

struct fg_journal {
	struct lane_record records[LANE_RECORDS]; /* records[i] has seq i + 1 */
	uint64_t n_records;
	uint64_t n_synced;
	uint64_t first_seq; /* what is before that is gone */
	uint64_t ticket;    /* of the batch that gathers */
	bool has_data;
	uint64_t committed;
	struct fg_cursor cursors[LANE_CURSORS];
	uint64_t bytes; /* what fg_journal_get_stats() says of the lane */
	int append_error;
	unsigned fail_after; /* so many appends work before append_error is returned */
	bool drops;          /* FG_ON_FULL_DROP_NEWEST, and it is full */
	size_t max_record;   /* 0: no limit */
};

struct fg_journal *lane_new(void);
struct fg_journal *lane_free(struct fg_journal *j);

/** Everything that has been appended is on disk. Returns the ticket to report. */
uint64_t lane_commit(struct fg_journal *j);

/** The process is gone. What was not on disk is lost, but for the first @n_kept records of it. */
void lane_crash(struct fg_journal *j, uint64_t n_kept);

/** The oldest records, up to @seq, have been dropped. */
void lane_cut(struct fg_journal *j, uint64_t seq);

/** Append something that is none of the desk's. */
void lane_add_alarm(struct fg_journal *j);

/** The @i-th record from the newest one on (0), or NULL. */
const struct fg_message *lane_last(const struct fg_journal *j, uint64_t i);

/** Up to where the desk's cursor has settled everything. */
uint64_t lane_watermark(const struct fg_journal *j);

/** How many of @kind there are. */
unsigned lane_count(const struct fg_journal *j, unsigned kind);
