#pragma once

/*
 * Rules to compile, arrivals to apply them to, and what was emitted.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "local/mapping.h"
#include "util/cleanup.h"
#include "util/span.h"

#define NOW_US 1690000000000001
#define MAX_MESSAGE_BYTES 1024
#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

static inline void mapping_freep(struct fg_mapping **m)
{
	fg_mapping_free(*m);
}

static inline void report_freep(struct fg_report **report)
{
	fg_report_free(*report);
}

/* A rule as configuration would make it, with `all` as telemetry. */
#define RULE(pattern)                                                                              \
	{                                                                                          \
		.topic = pattern, .telemetry = {.is_all = true}, .place = { "a.yaml", 7, 3 }       \
	}

static inline struct fg_mapping *compile(struct fg_mapping_config *rules, size_t n)
{
	FG_CLEANUP(report_freep) struct fg_report *report = fg_report_new();
	struct fg_config config = {
		.mappings = rules, .n_mappings = n, .max_message_bytes = MAX_MESSAGE_BYTES};
	struct fg_mapping *m = NULL;

	if (fg_mapping_new(&config, report, &m) < 0)
		fail_msg("%s", fg_report_line(report, 0));
	assert_int_equal(fg_report_count(report), 0);
	return m;
}

/* What was emitted, copied. */
struct taken {
	int n;
	struct fg_message msg[3];
	struct fg_mapped mapped[3]; /* without its msg */
	char text[3][8][4096];
	int result;
};

static inline struct fg_span keep(char *room, struct fg_span span)
{
	assert_true(span.size <= 4096);
	if (span.size > 0)
		memcpy(room, span.data, span.size);
	return fg_span_of(room, span.size);
}

static inline int take(void *arg, const struct fg_mapped *mapped)
{
	const struct fg_message *msg = &mapped->msg;
	struct taken *t = arg;
	int i = t->n++;

	assert_true(i < 3);
	t->msg[i] = *msg;
	t->mapped[i] = *mapped;
	t->msg[i].device = keep(t->text[i][0], msg->device);
	t->msg[i].stream = keep(t->text[i][1], msg->stream);
	t->msg[i].body = keep(t->text[i][2], msg->body);
	t->msg[i].link = keep(t->text[i][3], msg->link);
	t->mapped[i].response_topic = keep(t->text[i][4], mapped->response_topic);
	t->mapped[i].correlation = keep(t->text[i][5], mapped->correlation);
	t->msg[i].content_type = keep(t->text[i][6], msg->content_type);
	t->msg[i].ref = keep(t->text[i][7], msg->ref);
	assert_int_equal(msg->ref.size > 0, msg->kind == FG_EVENT);
	return t->result;
}

static inline int apply(struct fg_mapping *m, struct fg_span topic, struct fg_span payload,
			struct taken *taken, struct fg_error *reason)
{
	/* of exactly its size, so that a sanitizer sees every byte read beyond the end */
	char *exact = malloc(payload.size > 0 ? payload.size : 1);
	struct fg_arrival arrival = {
		.topic = topic, .payload = fg_span_of(exact, payload.size), .now_us = NOW_US};
	int r;

	assert_non_null(exact);
	if (payload.size > 0)
		memcpy(exact, payload.data, payload.size);
	memset(taken, 0, sizeof(*taken));
	memset(reason, '#', sizeof(*reason));
	r = fg_mapping_apply(m, &arrival, take, taken, reason);
	if (r > 0)
		assert_int_equal(r, taken->n);
	else
		assert_int_equal(0, taken->n);
	free(exact);
	return r;
}

static inline int apply_text(struct fg_mapping *m, const char *topic, const char *payload,
			     struct taken *taken, struct fg_error *reason)
{
	return apply(m, fg_span_str(topic), fg_span_str(payload), taken, reason);
}
