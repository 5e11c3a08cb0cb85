#pragma once

/*
 * Tells the service manager how we are: the datagram protocol of sd_notify(3), which that page
 * declares stable and free to be spoken without libsystemd. The library would bring seven more and
 * cost 1 MiB of resident memory, a tenth of the budget.
 */
#include <stdint.h>

/**
 * Send @state ("READY=1", "STOPPING=1", "WATCHDOG=1") to $NOTIFY_SOCKET.
 * Returns 0, also when there is no service manager to tell, or a negative errno.
 */
int fg_notify(const char *state);

/** How often the service manager wants to hear "WATCHDOG=1", in microseconds; 0: never. */
uint64_t fg_notify_watchdog_us(void);
