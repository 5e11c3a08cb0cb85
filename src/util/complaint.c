#include "util/complaint.h"

#include <stdarg.h>
#include <stdio.h>

#include "util/log.h"

static const int64_t intervals_ms[] = {10000, 60000, 600000, 3600000};
#define N_INTERVALS (sizeof(intervals_ms) / sizeof(intervals_ms[0]))

bool fg_complain(struct fg_complaint *c, int64_t now_ms, int level, const char *format, ...)
{
	char text[900];
	va_list args;

	c->total++;
	c->unreported++;
	if (c->step > 0 && now_ms < c->next_ms)
		return false;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (c->unreported > 1)
		fg_log(level, "%s (%llu times since the last such line)", text,
		       (unsigned long long)c->unreported);
	else
		fg_log(level, "%s", text);
	c->next_ms = now_ms + intervals_ms[c->step < N_INTERVALS ? c->step : N_INTERVALS - 1];
	if (c->step < N_INTERVALS)
		c->step++;
	c->unreported = 0;
	return true;
}

void fg_complain_over(struct fg_complaint *c, const char *format, ...)
{
	char text[900];
	va_list args;

	if (c->step == 0)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fg_notice("%s (%llu times in all)", text, (unsigned long long)c->total);
	c->step = 0;
	c->unreported = 0;
}
