#pragma once

/*
 * What comes down for a sub-device before IoTDA has said what it calls it, as it may right after a
 * gateway is back: kept as it came until IoTDA has, or is not waited for any more, and taken then.
 *
 * event                             a request    a message, an event
 * its sub-device is named           taken        taken
 * the list is not waited for (1)    taken        taken
 * HW_EARLY_S have passed (2)        taken        -
 * the session ends                  -            -
 *
 * (1) Who is not on it then is called by the rule, or is not here.
 * (2) IoTDA waits 20 s for the answer.
 *
 * What is kept has been acknowledged, and is nowhere but in memory: whoever is killed meanwhile has lost
 * it. Of a request IoTDA says so to the application, after its 20 s, and it calls an upgrade failed.
 */
#include <stdbool.h>
#include <stdint.h>

struct fg_delivery;
struct hw;

/* A request waits no longer than this. */
#define HW_EARLY_S 5u

/* What does not fit is taken at once. A message has 256 KiB at most. */
#define HW_MAX_EARLY_BYTES (512 * 1024)

struct hw_early_entry;

struct hw_early {
	struct hw_early_entry *first; /* the oldest */
	uint32_t kept_s; /* how long what is being taken was kept, begun seconds; 0: it was not */
};

/** Keep @delivery, on "…/sys/" and @suffix, if it is for a sub-device IoTDA has yet to name. */
bool hw_early_keep(struct hw *hw, const char *suffix, const struct fg_delivery *delivery);

/** Take what is not to be kept any longer. */
void hw_early_take(struct hw *hw);

void hw_early_close(struct hw *hw);
