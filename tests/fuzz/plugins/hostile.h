#pragma once

/*
 * What the fuzzers of plugins share: calls of a host that looks at all it is handed, and the reading of
 * their input, which is lines of fields with tabs between them.
 */
#include "../fuzz.h"
#include "fieldgate/plugin.h"
#include "util/span.h"

/** Touch each byte, so that a sanitizer sees which is not there. */
void fuzz_read_all(struct fg_span span);

bool fuzz_is_json(struct fg_span text);

/** What stands before the first tab of @line, which moves behind it. */
struct fg_span fuzz_first_field(struct fg_span *line);

/** Calls @act with each line of @data that is not empty, without its end. */
void fuzz_each_line(const uint8_t *data, size_t size, void (*act)(void *arg, struct fg_span line),
		    void *arg);

/* Of struct fg_host: they hold what the plugin hands over against the contract. */
void fuzz_warn(void *host_ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));
int fuzz_subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos);
void fuzz_refuse(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void fuzz_limit(void *host_ctx, unsigned scope, enum fg_limit what, const struct fg_rate *rates,
		size_t n);
void fuzz_respond(void *host_ctx, struct fg_span ref, struct fg_span body);
void fuzz_image_told(void *host_ctx, struct fg_span device, enum fg_image_kind kind);
