#pragma once

/*
 * Stands between the program and the kernel in all that changes a file: lets the n-th call fail,
 * makes the disk slow, or cuts the power. What had not been synced is then zeros, and a rename whose
 * directory had not been synced may not have happened.
 */
#include <stdbool.h>

enum disk_call {
	DISK_PWRITE,
	DISK_WRITE,
	DISK_FDATASYNC,
	DISK_FSYNC,
	DISK_RENAME,
	DISK_FALLOCATE,
	DISK_FTRUNCATE,
	DISK_UNLINK,
	DISK_CALLS,
};

#define DISK_CUT_STATUS 42

/** All works again, and nothing has been called. */
void disk_reset(void);
/** The next @n calls of this kind fail with @error. */
void disk_fail(enum disk_call call, unsigned n, int error);
/** The one after the next @skip calls fails. */
void disk_fail_after(enum disk_call call, unsigned skip, int error);
unsigned disk_count(enum disk_call call);

/** Each fdatasync() waits for a disk_release(). */
void disk_hold(void);
void disk_release(unsigned n);
/** Calls of fdatasync() that wait, or did. */
unsigned disk_held(void);

/** _exit() with @status; but when the power is being cut by another thread, that is how it ends. */
_Noreturn void disk_exit(int status);

/** Cut the power in place of call number @n of any kind from now on: the process ends. */
void disk_cut_power_at(unsigned n, const char *directory);
