#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct {
	enum fg_log_sink sink;
	int level;
} sink = {FG_LOG_STDERR, LOG_INFO};

static const char *const level_names[] = {"emergency", "alert",  "critical", "error",
					  "warning",   "notice", "info",     "debug"};

void fg_log_open(enum fg_log_sink to, int level)
{
	sink.sink = to;
	sink.level = level;
	if (to == FG_LOG_SYSLOG)
		openlog("fieldgate", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

bool fg_log_wants(int level)
{
	return level <= sink.level;
}

static void write_stderr(int level, const char *text)
{
	struct timeval now;
	struct tm utc;
	char line[1100];
	int n;

	gettimeofday(&now, NULL);
	gmtime_r(&now.tv_sec, &utc);
	n = snprintf(line, sizeof(line), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %s\n",
		     utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
		     utc.tm_sec, (int)(now.tv_usec / 1000), level_names[level & 7], text);
	/* One write(), so that lines of two threads do not mix. Nobody to tell when it fails. */
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void fg_log(int level, const char *format, ...)
{
	char text[1024];
	va_list args;

	if (!fg_log_wants(level))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	if (sink.sink == FG_LOG_SYSLOG)
		syslog(level, "%s", text);
	else
		write_stderr(level, text);
}
