#pragma once

/*
 * The log: one line per fact, "who: what happened, what we do now, numbers". Goes to stderr when
 * the daemon is run by hand and to syslog(3) when it runs as a service. The only global of the
 * program. Never payloads, tokens or keys. Safe to call from any thread.
 */
#include <stdbool.h>
#include <syslog.h>

enum fg_log_sink {
	FG_LOG_STDERR, /* time, level in words, text */
	FG_LOG_SYSLOG, /* syslog(3), facility daemon */
};

/** Choose where lines go, and drop those less urgent than @level (LOG_ERR … LOG_DEBUG). */
void fg_log_open(enum fg_log_sink sink, int level);

/** error: someone must act. */
#define fg_error_log(...) fg_log(LOG_ERR, __VA_ARGS__)
/** warning: handled, and the line says how. */
#define fg_warning(...) fg_log(LOG_WARNING, __VA_ARGS__)
/** notice: a state changed. */
#define fg_notice(...) fg_log(LOG_NOTICE, __VA_ARGS__)
#define fg_info(...) fg_log(LOG_INFO, __VA_ARGS__)
#define fg_debug(...) fg_log(LOG_DEBUG, __VA_ARGS__)

/** Write one line (cut at 1023 bytes; control characters become '?', so that no one forges a line).
 */
void fg_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** True when a line of @level would be written. */
bool fg_log_wants(int level);
