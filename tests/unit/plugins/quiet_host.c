#include "quiet_host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

unsigned n_warnings;
const char *quiet_secret;
char last_reason[256];

static void warn(void *host_ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(void *host_ctx, const char *format, ...)
{
	char text[1024];
	va_list args;

	(void)host_ctx;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (quiet_secret)
		assert_null(strstr(text, quiet_secret));
	n_warnings++;
}

static int subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	(void)host_ctx;
	(void)session;
	(void)filter;
	assert_int_equal(qos, 1);
	return 0;
}

static void limit(void *host_ctx, unsigned scope, enum fg_limit what, const struct fg_rate *rates,
		  size_t n)
{
	(void)host_ctx;
	(void)scope;
	(void)what;
	for (size_t i = 0; i < n; i++)
		assert_true(rates[i].capacity > 0 && rates[i].period_ms > 0);
}

static void offer_left(void *host_ctx, const char *session)
{
	(void)host_ctx;
	(void)session;
}

static void wake(void *host_ctx, int64_t in_ms)
{
	(void)host_ctx;
	(void)in_ms;
}

static void refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
{
	va_list args;

	(void)host_ctx;
	batch->states[i] = FG_REFUSED;
	va_start(args, format);
	vsnprintf(last_reason, sizeof(last_reason), format, args);
	va_end(args);
}

static bool wants_time(void *host_ctx)
{
	(void)host_ctx;
	return false;
}

static int remember(void *host_ctx, const char *key, struct fg_span value)
{
	(void)host_ctx;
	(void)key;
	return value.size <= 16384 ? 0 : -EMSGSIZE;
}

static int recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	(void)host_ctx;
	(void)key;
	(void)ret;
	return -ENOENT;
}

const struct fg_host quiet_host = {
	.size = sizeof(struct fg_host),
	.warn = warn,
	.subscribe = subscribe,
	.limit = limit,
	.wake = wake,
	.offer_left = offer_left,
	.refuse = refuse,
	.remember = remember,
	.recall = recall,
	.wants_time = wants_time,
};
