#pragma once

/*
 * Timers that go off once a second, all at the same moment: a gateway with a thousand sessions wakes up
 * once a second, not a thousand times.
 */
#include <ev.h>
#include <math.h>

/** @in_s seconds from now, moved to the nearest of those moments when it is one or more. */
static inline double fg_tick_near(struct ev_loop *loop, double in_s)
{
	double now = ev_now(loop); /* the loop's own: timers count from it */

	return in_s >= 1. ? floor(now + in_s + .5) - now : in_s;
}

/** Start @w, unless it runs: its callback is called first in one to two seconds, then each second. */
static inline void fg_tick_start(struct ev_loop *loop, ev_timer *w)
{
	if (ev_is_active(w))
		return;
	ev_timer_set(w, fg_tick_near(loop, 1.5), 1.);
	ev_timer_start(loop, w);
}
