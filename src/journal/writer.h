#pragma once

/*
 * The writer: takes one commit (what has gathered in each lane), puts it into the active segments,
 * syncs those it has written to, and reports. The lanes' order is quarantine, alarm, main (format.h).
 * The only place that changes anything on disk once the journal is open. Runs in a thread of its own,
 * or inline.
 */
#include <stdbool.h>

#include "journal/fs.h"
#include "journal/journal.h"

#define FG_RETIRED_MAX 16

/** A segment that is not needed any more. */
struct fg_retired {
	uint64_t first_seq;
	bool is_damaged; /* set aside instead of deleted */
	/* All have passed it, and the disk has no room to say so: the number of the first record behind
	 * it; else 0. */
	uint64_t passed_seq;
	bool is_late; /* only once the lanes written before are on disk: see the cap in retention.c */
};

/** One lane's share of a commit. */
struct fg_commit_part {
	uint8_t *data; /* whole records, as they will stand in the segment */
	size_t size;
	/* Should a segment be made: room for its header, with a cursor table where it belongs. */
	uint8_t *header;
	size_t table_size;
	uint64_t first_seq;
	uint32_t n_records;
	struct fg_retired retired[FG_RETIRED_MAX];
	unsigned n_retired;

	bool is_tight; /* no room to preallocate a segment, should one be made */

	/* set by the writer */
	bool is_written;        /* and synced; kept over a retry of another lane */
	bool made_segment;      /* called first_seq */
	uint64_t header_bytes;  /* of that */
	uint64_t offset;        /* of the first record in its segment */
	uint64_t segment_bytes; /* the segment takes on disk */
};

struct fg_commit {
	uint64_t ticket;
	struct fg_commit_part parts[FG_N_LANES];

	/* set by the writer */
	int error;        /* 0, or why not all is on disk */
	const char *what; /* that failed; static text */
	uint64_t bytes_written;
};

struct fg_writer_options {
	struct fg_fs *fs;
	const char *dirs[FG_N_LANES];
	uint64_t segment_bytes[FG_N_LANES];
	uint8_t ids[FG_N_LANES][16];
	unsigned n_damaged[FG_N_LANES];   /* files set aside so far */
	uint64_t passed_seqs[FG_N_LANES]; /* of the mark that is there; 0: none */
	bool is_threaded;
	void (*notify)(void *arg); /* from the thread: fg_writer_take() has something */
	void *arg;
};

struct fg_writer;

/** Returns 0, -ENOMEM, or what pthread_create() says. The caller owns *@ret. */
int fg_writer_new(const struct fg_writer_options *options, struct fg_writer **ret);

/** Waits for the commit that runs. Takes NULL. */
struct fg_writer *fg_writer_free(struct fg_writer *w);

/** Hand @c over until fg_writer_take() or fg_writer_wait() gives it back. One at a time. */
void fg_writer_submit(struct fg_writer *w, struct fg_commit *c);

/** The commit that is done, or NULL. */
struct fg_commit *fg_writer_take(struct fg_writer *w);

/** Wait for the commit that was handed over. */
struct fg_commit *fg_writer_wait(struct fg_writer *w);
