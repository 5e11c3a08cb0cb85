/*
 * Writes a journal with a bit of everything into the directory given, and prints what a reader
 * should find in it, one line for each record, as journal_reader.py --json prints it without what
 * depends on the clock: lane, seq, kind, device, stream, content type, ref, body, separated by
 * tabs.
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
	snprintf(body, size, "{\"n\":%u,\"pad\":\"%.*s\"}", i, (int)(i % 100),
		 "..........................................................................."
		 ".........................");
	msg->body = fg_span_str(body);
}

int main(int argc, char **argv)
{
	struct fg_journal_options options = {
		.segment_bytes = 16384,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_quarantine_bytes = 1 << 20,
	};
	struct fg_quarantined q = {
		.link = fg_span_str("hall"),
		.reason = fg_span_str("refused"),
		.topic = fg_span_str("a/b"),
		.device = fg_span_str("pump-01"),
		.body = fg_span_str("[1]"),
	};
	struct fg_journal *j;
	struct fg_cursor *c;
	struct fg_error err;
	struct fg_message msg;
	char body[256];
	uint64_t seq = 0;

	if (argc != 2 || fg_fs_posix_new(argv[1], &options.fs) < 0)
		return 2;
	if (fg_journal_open(&options, &j, &err) < 0 || fg_cursor_open(j, "hall", 10, &c) < 0)
		return 1;
	for (unsigned i = 0; i < 500; i++) {
		sample(&msg, body, sizeof(body), i);
		if (fg_journal_append(j, &msg, &seq) < 0)
			return 1;
		printf("main\t%llu\t%s\t%.*s\t%.*s\t%.*s\t%.*s\t%.*s\n", (unsigned long long)seq,
		       kinds[msg.kind], FG_SPAN_ARGS(msg.device), FG_SPAN_ARGS(msg.stream),
		       FG_SPAN_ARGS(msg.content_type), FG_SPAN_ARGS(msg.ref),
		       FG_SPAN_ARGS(msg.body));
		if (i % 7 == 0)
			fg_journal_flush(j, i);
	}
	if (fg_journal_quarantine(j, &q) < 0)
		return 1;
	printf("quarantine\t1\tquarantined\tpump-01\t\t\t\t[1]\n");
	fg_journal_flush(j, 1000);
	fg_cursor_ack(c, seq - 5);
	printf("cursor\thall\t%llu\n", (unsigned long long)(seq - 5));
	fg_journal_free(j);
	fg_fs_posix_free(options.fs);
	return 0;
}
