/*
 * Writes a journal with a bit of everything into the directory given, and prints what a reader
 * should find in it, one line for each record, as journal_reader.py --json prints it without what
 * depends on the clock: lane, seq, kind, device, stream, content type, ref, link, body, separated by
 * tabs; and a line for each cursor: lane, name, watermark, ranges, sessions left behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/journal.h"
#include "util/span.h"

static const char *const kinds[] = {"",         "telemetry",        "attributes",
				    "presence", "command response", "event"};

static void sample(struct fg_message *msg, char *body, size_t size, unsigned i)
{
	static const char *const devices[] = {"pump-01", "s\xc3\xa4ge", "x"};
	static const char *const streams[] = {"", "alerts"};
	static const char *const types[] = {"", "", "", "application/octet-stream"};

	*msg = (struct fg_message){
		.time_us = 1700000000000000 + (int64_t)i,
		.kind = (enum fg_kind)(1 + i % 5),
		.device = fg_span_str(devices[i % 3]),
		.stream = fg_span_str(streams[i % 2]),
		.content_type = fg_span_str(types[i % 4]),
	};
	if (msg->kind == FG_COMMAND_RESPONSE)
		msg->ref = fg_span_str("cmd-1");
	if (i % 11 == 3)
		msg->link = fg_span_str("hall");
	snprintf(body, size, "{\"n\":%u,\"pad\":\"%.*s\"}", i, (int)(i % 100),
		 "..........................................................................."
		 ".........................");
	msg->body = fg_span_str(body);
}

static bool append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
		   const char *kind, uint64_t *ret_seq)
{
	if (fg_journal_append(j, lane, msg, ret_seq) < 0)
		return false;
	printf("%s\t%llu\t%s\t%.*s\t%.*s\t%.*s\t%.*s\t%.*s\t%.*s\n",
	       lane == FG_LANE_MAIN ? "main" : "alarm", (unsigned long long)*ret_seq, kind,
	       FG_SPAN_ARGS(msg->device), FG_SPAN_ARGS(msg->stream),
	       FG_SPAN_ARGS(msg->content_type), FG_SPAN_ARGS(msg->ref), FG_SPAN_ARGS(msg->link),
	       FG_SPAN_ARGS(msg->body));
	return true;
}

/* Main lane, alarm lane, quarantine: in the order in which a reader goes through them. */
static int write_lanes(struct fg_journal *j, uint64_t *ret_seq)
{
	struct fg_quarantined q = {
		.link = fg_span_str("hall"),
		.lane = FG_LANE_ALARM,
		.reason = fg_span_str("refused"),
		.topic = fg_span_str("a/b"),
		.device = fg_span_str("pump-01"),
		.ref = fg_span_str("cmd-2"),
		.body = fg_span_str("[1]"),
	};
	struct fg_message msg, note = {.kind = (enum fg_kind)192, .body = fg_span_str("{}")};
	char body[256];
	uint64_t seq;

	for (unsigned i = 0; i < 500; i++) {
		sample(&msg, body, sizeof(body), i);
		if (!append(j, FG_LANE_MAIN, &msg, kinds[msg.kind], ret_seq))
			return -1;
		if (i % 7 == 0)
			fg_journal_flush(j, i);
	}
	for (unsigned i = 0; i < 20; i++) {
		sample(&msg, body, sizeof(body), i);
		if (!append(j, FG_LANE_ALARM, &msg, kinds[msg.kind], &seq))
			return -1;
	}
	if (!append(j, FG_LANE_ALARM, &note, "command", &seq))
		return -1;
	for (int i = 0; i < 2; i++)
		if (fg_journal_quarantine(j, &q) < 0)
			return -1;
	fg_journal_flush(j, 1000);
	if (fg_journal_quarantine_settle(j, 1) < 0)
		return -1;
	printf("quarantine\t1\tquarantined\tpump-01\t\t\tcmd-2\t\t[1]\n"
	       "quarantine\t2\tquarantined\tpump-01\t\t\tcmd-2\t\t[1]\n"
	       "quarantine\t3\tquarantined message settled\t\t\t\t\t\t1\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct fg_journal_options options = {
		.segment_bytes = 20480,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_left_behind = 300, /* so that a header takes more than 4096 bytes */
		.max_quarantine_bytes = 1 << 20,
	};
	struct fg_cursor *c, *alarms;
	struct fg_journal *j;
	struct fg_error err;
	uint64_t seq = 0;

	if (argc != 2 || fg_fs_posix_new(argv[1], &options.fs) < 0)
		return 2;
	if (fg_journal_open(&options, &j, &err) < 0 ||
	    fg_cursor_open(j, FG_LANE_MAIN, "hall", 10, &c) < 0 ||
	    fg_cursor_open(j, FG_LANE_ALARM, "hall", 10, &alarms) < 0)
		return 1;
	for (uint64_t key = 1; key <= 250; key++)
		if (fg_cursor_leave_behind(c, key, key) < 0)
			return 1;
	if (write_lanes(j, &seq) < 0)
		return 1;
	fg_cursor_settle(c, 1, seq - 20);
	fg_cursor_settle(c, seq - 10, seq - 5);
	fg_cursor_settle(alarms, 1, 7);
	printf("cursor\tmain\thall\t%llu\t[[%llu, %llu]]\t250\n", (unsigned long long)seq - 20,
	       (unsigned long long)seq - 10, (unsigned long long)seq - 5);
	printf("cursor\talarm\thall\t7\t[]\t0\n");
	fg_journal_free(j);
	fg_fs_posix_free(options.fs);
	return 0;
}
