#pragma once

/*
 * A disk in memory behind struct fg_fs that is as unkind as a real one may be. It keeps what has
 * been synced apart from what has not. When the power goes, of the unsynced writes any subset of
 * sectors survives, in any order, and of the unsynced creations, renames, removals, sizes and
 * preallocations each survives or not, whatever became of the others. Any changing call can be made
 * to fail. All that is random comes from one seed.
 */
#include "journal/fs.h"

struct sim_disk;

enum sim_sabotage {
	SIM_HONEST,
	SIM_SKIP_SYNC,       /* sync() says yes and does nothing */
	SIM_SKIP_DIR_SYNC,   /* sync_dir() likewise */
	SIM_SKIP_ALARM_SYNC, /* sync() likewise, of files in directory "alarm" */
};

struct sim_disk *sim_disk_new(uint64_t seed, enum sim_sabotage sabotage);
struct sim_disk *sim_disk_free(struct sim_disk *d);

/** The file system on it. Belongs to the disk. */
struct fg_fs *sim_disk_fs(struct sim_disk *d);

/** A random number below @n. */
uint64_t sim_disk_random(struct sim_disk *d, uint64_t n);

/** The power goes in the middle of the @calls-th changing call from now on (1: the next one). */
void sim_disk_cut_in(struct sim_disk *d, uint64_t calls);
bool sim_disk_is_off(const struct sim_disk *d);

/** Pull the plug now, if it is not out. From now on each call fails with -EIO. */
void sim_disk_cut(struct sim_disk *d);

/** Power is back, and it shows what has survived. All handles are gone. */
void sim_disk_power_on(struct sim_disk *d);

/** The process was killed but the power stayed: all handles are gone, nothing else. */
void sim_disk_restart(struct sim_disk *d);

/**
 * Of each @one_in changing calls about one fails, with EIO, ENOSPC, EINTR, half a write or whatever
 * the call can. 0: none.
 */
void sim_disk_fail_one_in(struct sim_disk *d, unsigned one_in);

/** The @calls-th changing call from now on (1: the next one) and @more after it fail with @error.
 */
void sim_disk_fail_at(struct sim_disk *d, uint64_t calls, uint64_t more, int error);

/** How many changing calls there have been. */
uint64_t sim_disk_calls(const struct sim_disk *d);

/** Bytes of the file at @path as they read now; NULL if there is none. */
const uint8_t *sim_disk_bytes(struct sim_disk *d, const char *path, uint64_t *ret_size);

/**
 * Put @size bytes at @offset of the file at @path, synced, past everything; the file is made if
 * need be, and grows if it must. Its directory must exist.
 */
void sim_disk_put(struct sim_disk *d, const char *path, uint64_t offset, const void *data,
		  size_t size);

/** Reads that touch @size bytes from @offset of @path fail with -EIO from now on; one such range at
 * a time. */
void sim_disk_bad_sector(struct sim_disk *d, const char *path, uint64_t offset, uint64_t size);
