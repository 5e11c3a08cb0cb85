#include "hostile.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/json.h"

void fuzz_read_all(struct fg_span span)
{
	volatile char sum = 0;

	for (size_t i = 0; i < span.size; i++)
		sum = (char)(sum + span.data[i]);
}

bool fuzz_is_json(struct fg_span text)
{
	struct fg_json_value value;
	struct fg_json_fault fault;

	return fg_json_check(text, &value, &fault) == 0;
}

struct fg_span fuzz_first_field(struct fg_span *line)
{
	const char *tab = line->size > 0 ? memchr(line->data, '\t', line->size) : NULL;
	struct fg_span field = *line;

	if (!tab) {
		*line = (struct fg_span){0};
		return field;
	}
	field.size = (size_t)(tab - line->data);
	line->data = tab + 1;
	line->size -= field.size + 1;
	return field;
}

void fuzz_each_line(const uint8_t *data, size_t size, void (*act)(void *arg, struct fg_span line),
		    void *arg)
{
	const char *end = (const char *)data + size, *stop;

	for (const char *at = (const char *)data; at < end; at = stop + 1) {
		stop = memchr(at, '\n', (size_t)(end - at));
		stop = stop ? stop : end;
		if (stop > at)
			act(arg, fg_span_of(at, (size_t)(stop - at)));
	}
}

void fuzz_warn(void *host_ctx, const char *format, ...)
{
	char text[1024];
	va_list args;

	(void)host_ctx;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
}

int fuzz_subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	(void)host_ctx;
	REQUIRE(!*session && *filter && qos <= 1);
	return 0;
}

void fuzz_refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
{
	(void)host_ctx;
	(void)format;
	REQUIRE(i < batch->count && batch->states[i] == FG_OFFERED);
	batch->states[i] = FG_REFUSED;
}

void fuzz_limit(void *host_ctx, unsigned scope, enum fg_limit what, const struct fg_rate *rates,
		size_t n)
{
	(void)host_ctx;
	REQUIRE(scope < FG_SCOPES && what < FG_N_LIMITS);
	for (size_t i = 0; i < n; i++)
		REQUIRE(rates[i].capacity > 0 && rates[i].period_ms > 0);
}

void fuzz_respond(void *host_ctx, struct fg_span ref, struct fg_span body)
{
	(void)host_ctx;
	fuzz_read_all(ref);
	REQUIRE(fuzz_is_json(body));
}

void fuzz_image_told(void *host_ctx, struct fg_span device, enum fg_image_kind kind)
{
	(void)host_ctx;
	REQUIRE(kind == FG_IMAGE_FIRMWARE || kind == FG_IMAGE_SOFTWARE);
	fuzz_read_all(device);
}
