/*
 * Writes a journal with a bit of everything into the directory given, and prints what a reader
 * should find in it, one line for each record, as journal_reader.py --json prints it without what
 * depends on the clock: lane, seq, kind, device, stream, content type, ref, link, body, separated by
 * tabs; and a line for each cursor: lane, name, watermark, ranges, sessions left behind.
 *
 * With "left" behind the directory it prints of the journal that is there what each link may still have
 * to send, and what is in quarantine: "open", link, lane, seq, and "in quarantine", seq.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/journal.h"
#include "util/span.h"

#define N_LINKS 2

static const char *const kinds[] = {
	"", "telemetry", "attributes", "presence", "command response", "event", "request"};
static const char *const links[N_LINKS] = {"hall", "yard"};
static const char *const lanes[FG_N_CURSOR_LANES] = {"main", "alarm"};

static void sample(struct fg_message *msg, char *body, size_t size, unsigned i)
{
	static const char *const devices[] = {"pump-01", "s\xc3\xa4ge", "x"};
	static const char *const streams[] = {"", "alerts"};
	static const char *const types[] = {"", "", "", "application/octet-stream"};

	*msg = (struct fg_message){
		.time_us = 1700000000000000 + (int64_t)i,
		.kind = (enum fg_kind)(1 + i % 6),
		.device = fg_span_str(devices[i % 3]),
		.stream = fg_span_str(streams[i % 2]),
		.content_type = fg_span_str(types[i % 4]),
	};
	if (msg->kind == FG_COMMAND_RESPONSE)
		msg->ref = fg_span_str("cmd-1");
	if (i % 11 == 3)
		msg->link = fg_span_str(links[i % N_LINKS]);
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
	printf("%s\t%llu\t%s\t%.*s\t%.*s\t%.*s\t%.*s\t%.*s\t%.*s\n", lanes[lane],
	       (unsigned long long)*ret_seq, kind, FG_SPAN_ARGS(msg->device),
	       FG_SPAN_ARGS(msg->stream), FG_SPAN_ARGS(msg->content_type), FG_SPAN_ARGS(msg->ref),
	       FG_SPAN_ARGS(msg->link), FG_SPAN_ARGS(msg->body));
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
	for (int i = 0; i < 5; i++)
		if (fg_journal_quarantine(j, &q) < 0)
			return -1;
	fg_journal_flush(j, 1000);
	if (fg_journal_quarantine_settle(j, 1) < 0 || fg_journal_quarantine_settle(j, 4) < 0)
		return -1;
	for (int i = 1; i <= 5; i++)
		printf("quarantine\t%d\tquarantined\tpump-01\t\t\tcmd-2\t\t[1]\n", i);
	printf("quarantine\t6\tquarantined message settled\t\t\t\t\t\t1\n"
	       "quarantine\t7\tquarantined message settled\t\t\t\t\t\t4\n");
	return 0;
}

static int write_journal(const struct fg_journal_options *options)
{
	struct fg_cursor *hall, *yard, *alarms;
	struct fg_journal *j;
	uint64_t seq = 0;

	if (fg_journal_open(options, &j, NULL) < 0 ||
	    fg_cursor_open(j, FG_LANE_MAIN, "hall", 10, &hall) < 0 ||
	    fg_cursor_open(j, FG_LANE_MAIN, "yard", 10, &yard) < 0 ||
	    fg_cursor_open(j, FG_LANE_ALARM, "hall", 10, &alarms) < 0)
		return -1;
	for (uint64_t key = 1; key <= 250; key++)
		if (fg_cursor_leave_behind(hall, key, 300 + key) < 0)
			return -1;
	if (write_lanes(j, &seq) < 0)
		return -1;
	fg_cursor_settle(hall, 1, seq - 20);
	fg_cursor_settle(hall, seq - 10, seq - 5);
	fg_cursor_settle(yard, 1, 30);
	fg_cursor_settle(yard, 100, 150);
	fg_cursor_settle(yard, 200, 400);
	fg_cursor_settle(alarms, 1, 7);
	printf("cursor\tmain\thall\t%llu\t[[%llu, %llu]]\t250\n", (unsigned long long)seq - 20,
	       (unsigned long long)seq - 10, (unsigned long long)seq - 5);
	printf("cursor\tmain\tyard\t%llu\t[[100, 150], [200, 400]]\t0\n",
	       (unsigned long long)fg_cursor_watermark(yard));
	printf("cursor\talarm\thall\t7\t[]\t0\n");
	fg_journal_free(j);
	return 0;
}

static bool wants(void *arg, const struct fg_message *m)
{
	(void)arg;
	return m->seq > 0;
}

static int print_open(struct fg_journal *j, enum fg_lane lane, const char *link)
{
	struct fg_message messages[16];
	struct fg_cursor *c;
	struct fg_pass *p;
	int n;

	if (fg_cursor_open(j, lane, link, 10, &c) < 0 || fg_pass_open(c, &p) < 0)
		return -1;
	while ((n = fg_pass_read(p, messages, 16, wants, NULL)) != 0) {
		if (n < 0 && n != -EAGAIN)
			return -1;
		for (int i = 0; i < n; i++)
			printf("open\t%s\t%s\t%llu\n", link, lanes[lane],
			       (unsigned long long)messages[i].seq);
	}
	fg_pass_close(p);
	return 0;
}

static int print_quarantined(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	(void)arg;
	(void)q;
	printf("in quarantine\t%llu\n", (unsigned long long)number);
	return 0;
}

static int print_what_is_left(const struct fg_journal_options *options)
{
	struct fg_journal *j;

	if (fg_journal_open(options, &j, NULL) < 0)
		return -1;
	if (print_open(j, FG_LANE_MAIN, "hall") < 0 || print_open(j, FG_LANE_ALARM, "hall") < 0 ||
	    print_open(j, FG_LANE_MAIN, "yard") < 0)
		return -1;
	if (fg_journal_each_quarantined(options->fs, 0, print_quarantined, NULL, NULL) < 0)
		return -1;
	fg_journal_free(j);
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

	bool is_left = argc == 3 && strcmp(argv[2], "left") == 0;

	if ((argc != 2 && !is_left) || fg_fs_posix_new(argv[1], &options.fs) < 0)
		return 2;
	if ((is_left ? print_what_is_left(&options) : write_journal(&options)) < 0)
		return 1;
	fg_fs_posix_free(options.fs);
	return 0;
}
