#pragma once

/*
 * A ctx of the ThingsBoard plugin and a host for it, without a network: what the unit tests share.
 * Allocations are counted, and can be made to fail.
 */
#include "quiet_host.h"
#include "util/span.h"

#define MAX_DEVICES 200
#define PAYLOAD_SIZE (128 * 1024)

extern const struct fg_plugin fg_plugin;

extern unsigned n_allocations;
extern long fail_at; /* the allocation that many from now fails, and all behind it; -1: none */

extern unsigned n_responses;
extern int64_t now_us;    /* UTC */
extern size_t max_points; /* of a batch */
extern char device_names[MAX_DEVICES][32];

/** The host of the ctx that was opened last; a test may add to it. */
extern struct fg_host scripted_host;

/** What encode() was last called with, and has made. */
struct wire {
	char topic[128];
	char payload[PAYLOAD_SIZE];
	struct fg_publish out;
	struct fg_batch batch;
};

extern struct wire wire;

/** An option that is given; `number` for what is no text. A list ends with {0}. */
struct setting {
	const char *name;
	const char *text;
	int64_t number;
};

extern const struct setting token_only[];

/** Options that are not given have their fallback, but nothing is asked of the server. */
int open_with(const struct setting *settings, void **ret_ctx);
void begin_session(void *ctx, size_t max_packet_bytes);
void end_session(void *ctx);

struct fg_message message(uint64_t seq, enum fg_kind kind, const char *device, const char *body);
int encode(void *ctx, const struct fg_message *messages, uint8_t *states, size_t count);
enum fg_verdict settle(void *ctx, uint64_t tag, unsigned code, size_t n_messages);
bool published_to(const char *topic);

/** Tell the server of @device, and have it accepted. */
void announce(void *ctx, const char *device);

/** Something comes down. Returns what receive() returns. */
int deliver(void *ctx, const char *topic, const char *payload);

/** A second passes. */
void pass_second(void *ctx);
