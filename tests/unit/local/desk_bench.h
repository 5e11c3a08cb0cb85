#pragma once

/*
 * What the tests of the command desk share: a desk with rules of every sort over a lane in memory, with
 * clocks that the test sets, and a note of all it publishes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "fake_lane.h"
#include "local/command_desk.h"

#define DESK_PUBLISHES 512

struct desk_publish {
	char device[64], topic[128], payload[1100], id[FG_WIRE_ID_MAX + 1];
	char response_topic[128];
	unsigned qos;
	uint32_t expiry_s;
	uint64_t tag;
	int64_t at_ms;
};

struct desk_bench {
	struct fg_journal *lane;
	struct fg_command_map *map;
	struct fg_timekeeper *timekeeper;
	struct fg_command_desk_options options;
	struct fg_command_desk *desk;
	int64_t now_ms, boot_started_ms; /* now_ms is since the start of the first boot */
	int64_t utc_offset_us;           /* what the wall clock says more than now_ms */
	bool is_clock_known;
	enum fg_command_reach reach; /* of every device */
	bool is_cloud_away;
	int publish_error;
	uint64_t sent_seq; /* what the cloud has of the lane */
	struct desk_publish published[DESK_PUBLISHES];
	size_t n_published;
	uint64_t ticket;      /* of the last submit */
	char last_states[64]; /* letters of the states entered since the bench was made */
};

int desk_bench_setup(void **state);
int desk_bench_teardown(void **state);

/** Monotonic time of the present boot. */
int64_t bench_now(const struct desk_bench *b);

/** Time passes, without a tick; or with. */
void bench_pass(struct desk_bench *b, int64_t ms);
void bench_tick(struct desk_bench *b, int64_t ms);

/** A two-way command "go" with params {"x":1} and 10 s from link "cloud". */
int bench_submit(struct desk_bench *b, const char *device, const char *id);
int bench_submit_command(struct desk_bench *b, const char *device, const char *id,
			 const struct fg_command *rest);
void bench_commit(struct desk_bench *b);
/** Submit, commit. The i-th publish must have come of it. */
void bench_send(struct desk_bench *b, const char *device, const char *id);
void bench_ack(struct desk_bench *b, size_t i, unsigned reason_code);

/** The answer to publish @i, with this payload ("%s" becomes its id). */
int bench_answer(struct desk_bench *b, size_t i, const char *payload);
/** A message on @topic. */
int bench_arrive(struct desk_bench *b, const char *topic, const char *payload);

/** The process dies after @n_kept more records have reached the disk, and starts again. */
void bench_crash(struct desk_bench *b, uint64_t n_kept);
/** The machine was restarted in between, and was off for @off_ms. */
void bench_reboot(struct desk_bench *b, uint64_t n_kept, int64_t off_ms);

/** The newest response is that to @id of @device, with this body. */
void assert_answered(struct desk_bench *b, const char *device, const char *id, const char *body);
/** … an error with this code. */
void assert_refused(struct desk_bench *b, const char *device, const char *id, const char *code);
/** … and this text. */
void assert_refused_with(struct desk_bench *b, const char *device, const char *id, const char *code,
			 const char *text);
/** How many responses there are for @id of @device. */
unsigned bench_responses(const struct desk_bench *b, const char *device, const char *id);
/** State of the only open or silent command of @device and @id; FG_COMMAND_ENDED when there is none. */
enum fg_command_state bench_state(const struct desk_bench *b, const char *device, const char *id);
struct fg_command_stats bench_stats(const struct desk_bench *b);
