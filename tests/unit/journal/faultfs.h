#pragma once

/*
 * A file system that passes all calls on to another one, and has those fail that it is told to:
 * the ones that only look as well as the ones that change something. It knows which handles are
 * open, so that a test can tell whether a failure has left one behind.
 */
#include "journal/fs.h"

enum fault_call {
	FAULT_MKDIR,
	FAULT_LIST,
	FAULT_OPEN,   /* of a file that is there */
	FAULT_CREATE, /* of one that is not */
	FAULT_READ,
	FAULT_WRITE,
	FAULT_ALLOCATE,
	FAULT_TRUNCATE,
	FAULT_SYNC,
	FAULT_SIZE,
	FAULT_RENAME,
	FAULT_UNLINK,
	FAULT_SYNC_DIR,
	FAULT_N_CALLS,
};

struct fault {
	enum fault_call call;
	uint64_t nth;  /* of these calls from now on, 1: the next one; 0: none fails */
	uint64_t more; /* and so many behind it */
	int error;     /* negative errno; 0, for a write: half of it is done */
	bool is_done;  /* it does its work, and then fails */
};

struct fault_fs {
	struct fg_fs fs;
	struct fg_fs *below; /* borrowed */
	struct fault fault;
	uint64_t calls[FAULT_N_CALLS];
	uint64_t n_failed;
	unsigned n_open;
};

void fault_fs_init(struct fault_fs *f, struct fg_fs *below);

/** From now on, instead of what was told before. */
void fault_fs_set(struct fault_fs *f, const struct fault *fault);

const char *fault_call_name(enum fault_call call);
