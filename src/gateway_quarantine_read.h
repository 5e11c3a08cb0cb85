#pragma once

/*
 * Quarantined messages that an operator asked for, read on a thread: the lane may be large and its disk
 * slow. What is found is copied, up to a bound; whoever asked goes on from there.
 */
#include "journal/journal.h"
#include "net/connector.h"

/* Of one reading: messages, and bytes of them (one that is larger comes alone). */
#define FG_QUARANTINE_READ_MAX FG_SETTLES_MAX
#define FG_QUARANTINE_READ_BYTES ((size_t)1 << 20)

struct fg_quarantine_read;

struct fg_quarantine_read_options {
	struct fg_connector *connector;
	const char *directory;   /* of the journal; copied */
	uint64_t from;           /* no number below this one; */
	uint64_t last;           /* nor above. UINT64_MAX: the last that is there now */
	const char *link;        /* of this link; "": of any. Copied */
	const uint64_t *numbers; /* only these, up to FG_QUARANTINE_READ_MAX, rising; copied */
	size_t n_numbers;        /* 0: all */
	void (*done)(void *arg, const struct fg_quarantine_read *read); /* on the loop, once */
	void *arg;
};

struct fg_quarantine_copy {
	uint64_t number;
	struct fg_quarantined message;
	char memory[]; /* of its texts and body */
};

/** Begin. On success the caller owns *@ret. Returns 0, -ENOMEM, or -EAGAIN: too much is under way. */
int fg_quarantine_read_new(const struct fg_quarantine_read_options *options,
			   struct fg_quarantine_read **ret);

/** Release, with all that was read; before done() nothing is told any more. Takes NULL. */
struct fg_quarantine_read *fg_quarantine_read_free(struct fg_quarantine_read *read);

/* ---- within done() and after it */

/** 0, or why it could not be read: a negative errno with a sentence in *@ret_text. */
int fg_quarantine_read_error(const struct fg_quarantine_read *read, const char **ret_text);

/** The @i-th message, by rising number, or NULL. */
const struct fg_quarantine_copy *fg_quarantine_read_at(const struct fg_quarantine_read *read,
						       size_t i);

/** Where to go on, or 0: that was all. */
uint64_t fg_quarantine_read_next(const struct fg_quarantine_read *read);

/** options.last, or what it stood for. */
uint64_t fg_quarantine_read_last(const struct fg_quarantine_read *read);
