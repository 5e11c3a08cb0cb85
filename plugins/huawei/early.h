#pragma once

/*
 * What comes down for a sub-device before IoTDA has said what it calls it, as it may right after a
 * gateway is back: kept as it came until IoTDA has, or is not waited for any more, and taken then.
 *
 * event                             a request    a message, an event
 * its sub-device is named           taken        taken (3)
 * the list is not waited for (1)    taken        taken (3)
 * HW_EARLY_S have passed (2)        taken        -
 * the session ends                  -            -
 *
 * (1) Who is not on it then is called by the rule, or is not here.
 * (2) IoTDA waits 20 s for the answer.
 * (3) When the host has room for it on the disk; else again in a second, and those behind it too.
 *
 * Messages and events are on disk before they are acknowledged, up to HW_EARLY_STORED_MAX bytes; what
 * there is no room for, and requests, are in memory alone: whoever is killed meanwhile has lost them. Of a
 * request IoTDA says so to the application, after its 20 s.
 *
 * When a message has been taken, the host brings it to disk in another place, and does not say when it is
 * there. It could, by a ticket over its journal and its stores, which every plugin and host would have to
 * know for this one use. A minute does as well: it is forgotten here so long after it was taken, and
 * only a disk that takes longer for one commit, with a kill amid it, could lose it. Who is killed before
 * takes it twice, and the host knows that it is the same: a message by its id or, without one, by when it
 * came and what it says, an upgrade by its order.
 */
#include <stdbool.h>
#include <stdint.h>

struct fg_delivery;
struct hw;

/* A request waits no longer than this. */
#define HW_EARLY_S 5u

/* What does not fit is taken at once. A message has 256 KiB at most. */
#define HW_MAX_EARLY_BYTES (512 * 1024)

/* Of what is on disk. The host has 16 KiB for all a plugin wants to remember. */
#define HW_EARLY_STORED_MAX (8 * 1024)

/* So long after it was taken it stays there: less than the host remembers a command that has ended. */
#define HW_EARLY_FORGET_S 60u

struct hw_early_entry;

struct hw_early {
	struct hw_early_entry *first; /* the oldest */
	uint32_t kept_s; /* how long what is being taken was kept, begun seconds; 0: it was not */
};

/** What the last run has kept is kept on. */
void hw_early_open(struct hw *hw);

/** Keep @delivery, on "…/sys/" and @suffix, if it is for a sub-device IoTDA has yet to name. */
bool hw_early_keep(struct hw *hw, const char *suffix, const struct fg_delivery *delivery);

/** Take what is not to be kept any longer. */
void hw_early_take(struct hw *hw);

/** Each second. */
void hw_early_tick(struct hw *hw);

void hw_early_close(struct hw *hw);
