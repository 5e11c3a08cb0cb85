#include "desk_bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "desk_rules.h"
#include "util/cleanup.h"
#include "util/span.h"
#include "util/timekeeper.h"

/* ------------------------------------------------------------------ clocks */

static void read_clocks(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	const struct desk_bench *b = arg;

	*ret_utc_us = b->utc_offset_us + b->now_ms * 1000;
	*ret_boottime_us = bench_now(b) * 1000;
}

/* A time service that has said it is done, or not. */
static void look_at_clock(void *arg, int64_t utc_us, struct fg_clock_evidence *ret)
{
	const struct desk_bench *b = arg;

	(void)utc_us;
	*ret = (struct fg_clock_evidence){
		.is_kernel_synchronised = b->is_clock_known,
		.is_service_working = true,
	};
}

int64_t bench_now(const struct desk_bench *b)
{
	return b->now_ms - b->boot_started_ms;
}

static void start_timekeeper(struct desk_bench *b)
{
	struct fg_timekeeper_options options = {
		.boot_id = b->options.boot_id,
		.wait_us = 60 * 1000000,
		.read = read_clocks,
		.look = look_at_clock,
		.arg = b,
	};
	struct fg_clock_news news;

	b->timekeeper = fg_timekeeper_free(b->timekeeper);
	assert_int_equal(fg_timekeeper_new(&options, &b->timekeeper), 0);
	fg_timekeeper_tick(b->timekeeper, &news);
	b->options.timekeeper = b->timekeeper;
}

void bench_pass(struct desk_bench *b, int64_t ms)
{
	b->now_ms += ms;
}

void bench_tick(struct desk_bench *b, int64_t ms)
{
	struct fg_clock_news news;

	bench_pass(b, ms);
	fg_timekeeper_tick(b->timekeeper, &news);
	fg_command_desk_tick(b->desk, bench_now(b));
}

/* ------------------------------------------------------------------ what the desk asks */

static void copy(char *out, size_t size, struct fg_span text)
{
	assert_true(text.size < size);
	if (text.size > 0)
		memcpy(out, text.data, text.size);
	out[text.size] = '\0';
}

/* The wire id, wherever it went. */
static void find_id(const struct fg_command_publish *p, struct desk_publish *ret)
{
	const char *at = strstr(ret->payload, "\"id\":\"");

	if (p->correlation.size > 0)
		copy(ret->id, sizeof(ret->id), p->correlation);
	else if (at)
		sscanf(at + 6, "%24[0-9a-f]", ret->id);
	else
		sscanf(strrchr(ret->topic, '/') + 1, "%24[0-9a-f]", ret->id);
}

static int note_publish(void *arg, const struct fg_command_publish *p)
{
	struct desk_bench *b = arg;
	struct desk_publish *note = &b->published[b->n_published];

	if (b->publish_error < 0)
		return b->publish_error;
	assert_true(b->n_published < DESK_PUBLISHES);
	*note = (struct desk_publish){
		.qos = p->qos, .expiry_s = p->expiry_s, .tag = p->tag, .at_ms = b->now_ms};
	copy(note->device, sizeof(note->device), p->device);
	copy(note->topic, sizeof(note->topic), fg_span_str(p->topic));
	copy(note->payload, sizeof(note->payload), p->payload);
	copy(note->response_topic, sizeof(note->response_topic), fg_span_str(p->response_topic));
	find_id(p, note);
	b->n_published++;
	return 0;
}

static enum fg_command_reach reach(void *arg, const char *broker, struct fg_span device)
{
	const struct desk_bench *b = arg;

	assert_null(broker); /* no rule names one */
	assert_true(device.size > 0);
	return b->reach;
}

static bool has_sent(void *arg, struct fg_span link, uint64_t seq)
{
	const struct desk_bench *b = arg;

	assert_true(fg_span_is(link, "cloud") || fg_span_is(link, "other"));
	return seq <= b->sent_seq;
}

static bool is_connected(void *arg, struct fg_span link)
{
	const struct desk_bench *b = arg;

	assert_true(fg_span_is(link, "cloud") || fg_span_is(link, "other"));
	return !b->is_cloud_away;
}

static void trace(void *arg, const struct fg_command_view *view, enum fg_command_state from,
		  int64_t now_ms)
{
	static const char letters[FG_N_COMMAND_STATES + 1] = "NWGSDOQE";
	struct desk_bench *b = arg;
	size_t n = strlen(b->last_states);

	assert_int_not_equal(view->state, from);
	assert_int_equal(now_ms, bench_now(b));
	if (n + 1 < sizeof(b->last_states))
		b->last_states[n] = letters[view->state];
}

/* ------------------------------------------------------------------ life */

static void open_desk(struct desk_bench *b)
{
	struct fg_error err = {0};

	assert_int_equal(fg_command_desk_open(&b->options, bench_now(b), &b->desk, &err), 0);
}

int desk_bench_setup(void **state)
{
	struct desk_bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->map = desk_rules_map();
	b->lane = lane_new();
	b->now_ms = 1000000;
	b->utc_offset_us = INT64_C(1800000000000000);
	b->is_clock_known = true;
	b->reach = FG_REACH_UP;
	b->options = (struct fg_command_desk_options){
		.journal = b->lane,
		.boot_id = "first boot",
		.map = b->map,
		.max_commands = 120,
		.max_command_bytes = 65536,
		.max_alarm_bytes = 1 << 20,
		.seed = 7,
		.ops = {.publish = note_publish,
			.reach = reach,
			.has_sent = has_sent,
			.is_connected = is_connected,
			.trace = trace,
			.arg = b},
	};
	start_timekeeper(b);
	open_desk(b);
	*state = b;
	return 0;
}

int desk_bench_teardown(void **state)
{
	struct desk_bench *b = *state;

	fg_command_desk_free(b->desk);
	fg_command_map_free(b->map);
	fg_timekeeper_free(b->timekeeper);
	lane_free(b->lane);
	free(b);
	return 0;
}

void bench_crash(struct desk_bench *b, uint64_t n_kept)
{
	b->desk = fg_command_desk_free(b->desk);
	lane_crash(b->lane, n_kept);
	start_timekeeper(b);
	open_desk(b);
}

void bench_reboot(struct desk_bench *b, uint64_t n_kept, int64_t off_ms)
{
	b->now_ms += off_ms;
	b->boot_started_ms = b->now_ms - 5000; /* so long the start of the machine has taken */
	b->options.boot_id[15]++;
	bench_crash(b, n_kept);
}

/* ------------------------------------------------------------------ commands */

int bench_submit_command(struct desk_bench *b, const char *device, const char *id,
			 const struct fg_command *rest)
{
	struct fg_command command = *rest;

	command.device = fg_span_str(device);
	command.id = fg_span_str(id);
	if (command.name.size == 0)
		command.name = fg_span_str("go");
	return fg_command_desk_submit(b->desk, fg_span_str("cloud"), &command, bench_now(b),
				      &b->ticket);
}

int bench_submit(struct desk_bench *b, const char *device, const char *id)
{
	struct fg_command command = {.params = fg_span_str("{\"x\":1}"), .timeout_ms = 10000};

	return bench_submit_command(b, device, id, &command);
}

void bench_commit(struct desk_bench *b)
{
	fg_command_desk_committed(b->desk, lane_commit(b->lane), bench_now(b));
}

void bench_send(struct desk_bench *b, const char *device, const char *id)
{
	size_t before = b->n_published;

	assert_int_equal(bench_submit(b, device, id), 0);
	assert_int_equal(b->n_published, before);
	bench_commit(b);
	assert_int_equal(b->n_published, before + 1);
	assert_string_equal(b->published[before].device, device);
}

void bench_ack(struct desk_bench *b, size_t i, unsigned reason_code)
{
	assert_true(i < b->n_published);
	fg_command_desk_published(b->desk, b->published[i].tag, reason_code, bench_now(b));
}

int bench_arrive(struct desk_bench *b, const char *topic, const char *payload)
{
	struct fg_command_arrival arrival = {.topic = fg_span_str(topic),
					     .payload = fg_span_str(payload)};

	return fg_command_desk_arrived(b->desk, &arrival, bench_now(b));
}

int bench_answer(struct desk_bench *b, size_t i, const char *payload)
{
	const struct desk_publish *p = &b->published[i];
	const char *mark = strstr(payload, "%s");
	char text[512], topic[200];
	int n = mark ? (int)(mark - payload) : (int)strlen(payload);
	struct fg_command_arrival arrival = {0};

	assert_true(i < b->n_published);
	snprintf(text, sizeof(text), "%.*s%s%s", n, payload, mark ? p->id : "",
		 mark ? mark + 2 : "");
	if (strncmp(p->device, "pump", 4) == 0)
		snprintf(topic, sizeof(topic), "pump/%s/done", p->device);
	else if (strncmp(p->device, "lamp", 4) == 0)
		snprintf(topic, sizeof(topic), "lamp/%s/state", p->device);
	else if (p->response_topic[0]) {
		snprintf(topic, sizeof(topic), "%s", p->response_topic);
		arrival.correlation = fg_span_str(p->id);
	} else
		snprintf(topic, sizeof(topic), "%s/done", p->topic);
	arrival.topic = fg_span_str(topic);
	arrival.payload = fg_span_str(text);
	return fg_command_desk_arrived(b->desk, &arrival, bench_now(b));
}

/* ------------------------------------------------------------------ looking */

static bool is_response(const struct fg_message *m, const char *device, const char *id)
{
	return m && m->kind == FG_COMMAND_RESPONSE && fg_span_is(m->device, device) &&
	       fg_span_is(m->ref, id);
}

static const struct fg_message *last_response(const struct desk_bench *b)
{
	const struct fg_message *m;
	uint64_t i = 0;

	do
		m = lane_last(b->lane, i++);
	while (m && m->kind != FG_COMMAND_RESPONSE);
	return m;
}

void assert_answered(struct desk_bench *b, const char *device, const char *id, const char *body)
{
	const struct fg_message *m = last_response(b);
	char text[2048];

	assert_true(is_response(m, device, id));
	assert_true(fg_span_is(m->link, "cloud"));
	copy(text, sizeof(text), m->body);
	assert_string_equal(text, body);
}

void assert_refused(struct desk_bench *b, const char *device, const char *id, const char *code)
{
	const struct fg_message *m = last_response(b);
	char text[2048], expected[100];

	assert_true(is_response(m, device, id));
	copy(text, sizeof(text), m->body);
	snprintf(expected, sizeof(expected), "{\"error\":{\"code\":\"%s\",\"text\":\"", code);
	if (strncmp(text, expected, strlen(expected)) != 0)
		fail_msg("expected %s, got %s", code, text);
}

void assert_refused_with(struct desk_bench *b, const char *device, const char *id, const char *code,
			 const char *text)
{
	char body[512];

	snprintf(body, sizeof(body), "{\"error\":{\"code\":\"%s\",\"text\":\"%s\"}}", code, text);
	assert_answered(b, device, id, body);
}

unsigned bench_responses(const struct desk_bench *b, const char *device, const char *id)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < b->lane->n_records; i++)
		n += is_response(lane_last(b->lane, i), device, id);
	return n;
}

struct search {
	const char *device, *id;
	enum fg_command_state state;
	unsigned n;
};

static int look_for(void *arg, const struct fg_command_view *view)
{
	struct search *s = arg;

	if (fg_span_is(view->device, s->device) && fg_span_is(view->id, s->id)) {
		s->state = view->state;
		s->n++;
	}
	return 0;
}

enum fg_command_state bench_state(const struct desk_bench *b, const char *device, const char *id)
{
	struct search s = {device, id, FG_COMMAND_ENDED, 0};

	assert_int_equal(fg_command_desk_each(b->desk, look_for, &s), 0);
	assert_true(s.n <= 1);
	return s.state;
}

struct fg_command_stats bench_stats(const struct desk_bench *b)
{
	struct fg_command_stats stats;
	unsigned open = 0;

	fg_command_desk_get_stats(b->desk, &stats);
	for (int i = 0; i < FG_COMMAND_SILENT; i++)
		open += stats.states[i];
	assert_int_equal(open, stats.open);
	return stats;
}
