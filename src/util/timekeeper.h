#pragma once

/*
 * What time it is, and whether that can be believed. A gateway without a clock battery starts in
 * 1970, or at the time it was switched off; what arrives before the clock is set is stamped with
 * the time since the start of the machine, and gets its right time when it is sent.
 *
 * The wall clock is believed ("known") when it stands behind FG_TIME_FLOOR_US, and
 *   - the kernel says that it is synchronised (adjtimex(2) without STA_UNSYNC: ntpd, chrony, PTP),
 * or
 *   - systemd-timesyncd has set it (/run/systemd/timesync/synchronized), or
 *   - a hardware clock that is itself behind the floor says the same within a day, or
 *   - no time service is there that could set it better (the usual container), or
 *   - it was set, by whatever means, while this process ran, or
 *   - it was known before in this boot of the machine.
 * While none of that is so, a cloud may tell the time (fg_timekeeper_tell()): then it is known, as the
 * wall clock with a correction, which is over as soon as the wall clock is set or a time service keeps it.
 * So a plausible clock is doubted only as long as somebody is at work who may still set it: one
 * that was carried over the night in a file (fake-hwclock, timesyncd) looks plausible too. Where
 * adjtimex(2) is forbidden, chrony and ntpd cannot tell us when they are done, and do not count as
 * being at work.
 *
 * Once known, time never gets lost again: a wall clock that falls before the floor is not followed,
 * the last good time goes on with the machine's running time. A step to behind the floor is
 * followed.
 *
 * Records of a boot whose clock was known at last get that clock's time. The time of a boot that
 * never knew is estimated, in this order: it ended when the next boot began, and lasted as long as
 * the file below says (at most twice its length and ten minutes, when it ended in a power cut); it
 * did not begin before the one in front of it ended; it did not begin before FG_TIME_FLOOR_US.
 * Order and distances are kept in either case. Such records stay FG_TIME_UNSYNCHRONISED.
 *
 * What is known of a boot (its id, who knew the time, the UTC of its start, how long it lasted) is kept
 * in a small file, replaced by write, fsync, rename. It is written once when the clock becomes known, a
 * few times (at doubling intervals) while it is not, and at the end.
 *
 * All functions belong to the loop's thread; those that save may block for one fsync().
 */
#include <stdbool.h>
#include <stdint.h>

#include "fieldgate/plugin.h"

struct fg_timekeeper;

/* 2025-01-01. No release is older than that, so a clock in front of it is wrong. */
#define FG_TIME_FLOOR_US INT64_C(1735689600000000)

/** Boot id, then 8 bytes microseconds since the start of the machine (format.h, extension 2). */
#define FG_MOMENT_BYTES 24

/** What speaks for and against the wall clock. */
struct fg_clock_evidence {
	bool is_kernel_synchronised; /* adjtimex(2) could be asked, and says so */
	bool is_marked;              /* by systemd-timesyncd */
	bool is_rtc_agreeing;
	bool is_service_working; /* a time service runs and has not said that it is done */
};

struct fg_timekeeper_options {
	const char *path;       /* of the file; NULL: nothing is kept. Copied */
	const uint8_t *boot_id; /* 16 bytes; copied */
	int64_t wait_us;        /* how long after the start fg_timekeeper_is_waiting() */
	/* The clocks, for tests; both NULL: those of the system. */
	void (*read)(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us);
	void (*look)(void *arg, int64_t utc_us, struct fg_clock_evidence *ret);
	void *arg;
};

/** What has happened since the last fg_timekeeper_tick(). */
struct fg_clock_news {
	bool is_learnt;     /* the time is known from now on */
	bool is_stepped;    /* the wall clock was set */
	bool is_distrusted; /* that was to before the floor: not followed */
	int64_t step_us;    /* by how much; of several the last */
	int save_error;     /* the file could not be written: negative errno, else 0 */
};

/**
 * The id of this boot: $FIELDGATE_BOOT_ID (32 hexadecimal digits; a unit that hides /proc/sys sets
 * it to %b), else the kernel's, else a random one: then each start of the process counts as a boot.
 */
void fg_timekeeper_boot_id(uint8_t ret[16]);

/**
 * On success the caller owns *@ret. A file that is not there or makes no sense counts as empty.
 * Returns 0 or -ENOMEM.
 */
int fg_timekeeper_new(const struct fg_timekeeper_options *options, struct fg_timekeeper **ret);

/** Save, and release. Takes NULL. */
struct fg_timekeeper *fg_timekeeper_free(struct fg_timekeeper *t);

/**
 * The best UTC there is now, in microseconds. Notices a clock that was set since.
 * Returns FG_TIME_GATEWAY, or FG_TIME_UNSYNCHRONISED. With @t NULL: the wall clock, believed.
 */
enum fg_time_quality fg_timekeeper_now(struct fg_timekeeper *t, int64_t *ret_utc_us);

/** Each second: look whether the clock is known by now, save what is due. */
void fg_timekeeper_tick(struct fg_timekeeper *t, struct fg_clock_news *ret);

/** Is there nobody but a cloud to tell the time? It may do so again: no clock runs quite right. */
bool fg_timekeeper_wants_telling(const struct fg_timekeeper *t);

/**
 * A cloud says that it is @offset_us later than fg_timekeeper_now() says. Returns 0: so it is from now on;
 * -EALREADY: that is known better here; -ERANGE: it cannot be so late, or so early.
 */
int fg_timekeeper_tell(struct fg_timekeeper *t, int64_t offset_us);

bool fg_timekeeper_is_known(const struct fg_timekeeper *t);

/**
 * Is it worth to hold messages back, since the time may soon be known? No longer than wait_us after
 * fg_timekeeper_new(). False when @t is NULL.
 */
bool fg_timekeeper_is_waiting(struct fg_timekeeper *t);

/** This moment, for a message that arrives now and whose time is not known: FG_MOMENT_BYTES. */
void fg_timekeeper_moment(const struct fg_timekeeper *t, uint8_t *out);

/**
 * The best time for a message that was made at @moment (FG_MOMENT_BYTES) and stamped *@time_us
 * then. Sets *@time_us. Returns FG_TIME_GATEWAY, or FG_TIME_UNSYNCHRONISED when that is an
 * estimate.
 */
enum fg_time_quality fg_timekeeper_repair(const struct fg_timekeeper *t, const uint8_t *moment,
					  int64_t *time_us);
