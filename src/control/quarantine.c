#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/commands.h"
#include "journal/record.h"
#include "journal/settled.h"
#include "util/span.h"

struct quarantine {
	bool is_json, is_raw;
	const char *state;
	uint64_t number; /* show */
	uint64_t n_seen;
	bool is_found, is_incomplete;
	void (*each)(struct quarantine *q, uint64_t number, const struct fg_quarantined *message);
};

void fg_ctl_add_quarantined(struct fg_object *o, const struct fg_quarantined *q)
{
	char kind[16];

	fg_object_add_text(o, "link", q->link.size > 0 ? q->link : fg_span_str("gateway"));
	fg_object_add_text(o, "reason", q->reason);
	fg_object_add_text(o, "topic", q->topic);
	fg_object_add_uint(o, "attempts", q->attempts);
	fg_object_add_string(o, "message_lane", q->lane == FG_LANE_ALARM ? "alarm" : "main");
	fg_object_add_string(o, "message_kind", fg_kind_text(q->kind, kind));
	fg_object_add_string(o, "message_time_quality", fg_time_quality_text(q->time_quality));
	fg_object_add_uint(o, "size", q->whole_size);
	fg_object_add_bool(o, "is_cut", q->whole_size > q->body.size);
	fg_object_add_body(o, q->body, false);
}

static void print_object(uint64_t number, const struct fg_quarantined *m)
{
	struct fg_object o;

	fg_object_begin(&o, stdout);
	fg_object_add_uint(&o, "number", number);
	fg_object_add_time(&o, "time", m->time_us);
	fg_object_add_int(&o, "time_us", m->time_us);
	fg_object_add_text(&o, "device", m->device);
	fg_object_add_text(&o, "stream", m->stream);
	if (m->content_type.size > 0)
		fg_object_add_text(&o, "content_type", m->content_type);
	if (m->ref.size > 0)
		fg_object_add_text(&o, "ref", m->ref);
	fg_ctl_add_quarantined(&o, m);
	fg_object_end(&o);
}

static void list_one(struct quarantine *q, uint64_t number, const struct fg_quarantined *m)
{
	char time[FG_TIME_TEXT_MAX], size[FG_BYTES_TEXT_MAX];
	struct fg_line l;

	if (q->is_json) {
		print_object(number, m);
		return;
	}
	fg_line_begin(&l, stdout, false);
	fg_line_add(&l, "%" PRIu64 " %s ", number, fg_time_text(m->time_us, time));
	fg_line_add_text(&l, m->link.size > 0 ? m->link : fg_span_str("gateway"));
	fg_line_add(&l, " ");
	fg_line_add_text(&l, m->device.size > 0 ? m->device : m->topic);
	fg_line_add(&l, " attempts=%" PRIu32 " %s: ", m->attempts,
		    fg_bytes_text(m->whole_size, size));
	fg_line_add_text(&l, m->reason);
	fg_line_end(&l);
}

static void show_field(const char *name, struct fg_span value)
{
	struct fg_line l;

	if (value.size == 0)
		return;
	fg_line_begin(&l, stdout, true);
	fg_line_add(&l, "%-9s ", name);
	fg_line_add_text(&l, value);
	fg_line_end(&l);
}

static void show_one(struct quarantine *q, uint64_t number, const struct fg_quarantined *m)
{
	char time[FG_TIME_TEXT_MAX], kind[16];
	struct fg_line l;

	if (q->is_raw) {
		fwrite(m->body.data, 1, m->body.size, stdout);
		return;
	}
	if (q->is_json) {
		print_object(number, m);
		return;
	}
	printf("number    %" PRIu64 "\n", number);
	printf("time      %s (%s)\n", fg_time_text(m->time_us, time),
	       fg_time_quality_text(m->time_quality));
	show_field("link", m->link.size > 0 ? m->link : fg_span_str("gateway"));
	show_field("reason", m->reason);
	printf("attempts  %" PRIu32 "\n", m->attempts);
	show_field("topic", m->topic);
	show_field("device", m->device);
	show_field("stream", m->stream);
	show_field("type", m->content_type);
	show_field("ref", m->ref);
	printf("lane      %s\n", m->lane == FG_LANE_ALARM ? "alarm" : "main");
	printf("kind      %s\n",
	       m->kind != 0 ? fg_kind_text(m->kind, kind) : "none: it never became a message");
	printf("size      %" PRIu64 " bytes", m->whole_size);
	if (m->whole_size > m->body.size)
		printf(", cut to the first %zu when it was set aside", m->body.size);
	printf("\n\n");
	fg_line_begin(&l, stdout, true);
	fg_line_add_text(&l, m->body);
	fg_line_end(&l);
}

/* ---- walking */

static void take_record(struct quarantine *q, const char *lane, const struct fg_settled *settled,
			const struct fg_scan_event *e)
{
	struct fg_quarantined message;
	struct fg_record record;

	if (fg_record_decode(e->data, (size_t)e->size_bytes, &record) < 0 ||
	    (record.kind == FG_RECORD_KIND_QUARANTINE &&
	     fg_quarantine_decode(&record, &message) < 0)) {
		fg_ctl_fail("%s: record %" PRIu64 ": its parts do not add up", lane, e->first_seq);
		q->is_incomplete = true;
		return;
	}
	if (record.kind != FG_RECORD_KIND_QUARANTINE || !fg_settled_is_open(settled, e->first_seq))
		return;
	q->n_seen++;
	if (q->number != 0 && e->first_seq != q->number)
		return;
	q->is_found = true;
	q->each(q, e->first_seq, &message);
}

static void tell_lost(struct quarantine *q, const char *lane, const struct fg_scan_event *e)
{
	if (q->number != 0 && (q->number < e->first_seq || e->last_seq < q->number))
		return;
	q->is_incomplete = true;
	fg_ctl_fail("%s: records %" PRIu64 "..%" PRIu64 " are %s", lane, e->first_seq, e->last_seq,
		    e->type == FG_SCAN_DAMAGED ? "damaged" : "missing");
}

/* What is settled of the window: told by records anywhere behind. */
static int find_settled(struct fg_scan *s, struct fg_settled *settled)
{
	struct fg_scan_event e;
	int r;

	fg_scan_skip_to(s, settled->first);
	while ((r = fg_scan_next(s, &e)) > 0)
		if (e.type == FG_SCAN_RECORD)
			fg_settled_take(settled, e.first_seq, e.data, (size_t)e.size_bytes);
	return r;
}

static int walk_window(struct quarantine *q, const char *lane, struct fg_scan *s,
		       const struct fg_settled *settled)
{
	struct fg_scan_event e;
	int r;

	fg_scan_skip_to(s, settled->first);
	while ((r = fg_scan_next(s, &e)) > 0) {
		if (q->number != 0 && (q->is_found || e.first_seq > q->number))
			return 0;
		if (e.first_seq >= settled->next)
			return 0;
		if (e.type == FG_SCAN_RECORD && e.first_seq >= settled->first)
			take_record(q, lane, settled, &e);
		else if (e.type == FG_SCAN_DAMAGED || e.type == FG_SCAN_MISSING)
			tell_lost(q, lane, &e);
	}
	return r;
}

/* Goes over the lane twice for each window. Returns FG_EXIT_*. */
static int walk_lane(struct quarantine *q, const struct fg_located_lane *lane)
{
	struct fg_error err = {0};
	struct fg_settled settled;
	struct fg_scan *s;
	bool is_first = true;
	int r;

	r = fg_settled_new(&settled, q->number);
	if (r < 0)
		return fg_ctl_fail("%s: %s", lane->name, strerror(-r));
	do {
		for (int turn = 0; turn < 2 && r == 0; turn++) {
			r = fg_scan_open(lane->fd, &s, &err);
			if (r < 0)
				break;
			if (is_first)
				q->is_incomplete |= fg_ctl_tell_file_faults(lane->name, s);
			is_first = false;
			r = turn == 0 ? find_settled(s, &settled)
				      : walk_window(q, lane->name, s, &settled);
			if (r < 0)
				fg_error_set(&err, r, "%s", strerror(-r));
			fg_scan_free(s);
		}
	} while (r == 0 && q->number == 0 && fg_settled_go_on(&settled));
	fg_settled_free(&settled);
	return r < 0 ? fg_ctl_fail("%s: %s", lane->name, err.text) : FG_EXIT_OK;
}

/* Walks the quarantine of the journal that was named. Returns FG_EXIT_*. */
static int walk_located(struct quarantine *q, const struct fg_located *located)
{
	const struct fg_located_lane *lane = fg_located_lane(located, "quarantine");

	/* Of a copy under another name: the lane that was named itself. */
	if (!lane && located->n == 1 && strcmp(located->lanes[0].name, "main") != 0 &&
	    strcmp(located->lanes[0].name, "alarm") != 0)
		lane = &located->lanes[0];
	return lane ? walk_lane(q, lane) : FG_EXIT_OK;
}

/* Options and the directory; operands remain from *@at on. */
static int begin(struct quarantine *q, int argc, char **argv, bool is_show, int *at,
		 struct fg_located *ret)
{
	enum { JSON = 256, STATE, RAW };
	static const struct option options[] = {{"json", no_argument, NULL, JSON},
						{"state", required_argument, NULL, STATE},
						{"raw", no_argument, NULL, RAW},
						{0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == JSON)
			q->is_json = true;
		else if (c == STATE)
			q->state = optarg;
		else if (c == RAW && is_show)
			q->is_raw = true;
		else
			return fg_ctl_usage("quarantine %s: wrong arguments", argv[0]);
	}
	if (q->is_raw && q->is_json)
		return fg_ctl_usage("quarantine show: --raw and --json exclude each other");
	*at = optind;
	if (is_show &&
	    (*at == argc || !fg_ctl_number(argv[argc - 1], &q->number) || q->number == 0))
		return fg_ctl_usage("quarantine show: expected the number of one message");
	return fg_ctl_locate(q->state, argc, argv, is_show ? 1 : 0, at, ret);
}

int fg_ctl_quarantine_list(int argc, char **argv)
{
	struct quarantine q = {.each = list_one};
	struct fg_located located = {0};
	int at, r;

	r = begin(&q, argc, argv, false, &at, &located);
	if (r != 0)
		return r;
	if (at < argc) {
		r = fg_ctl_usage("quarantine list: unexpected argument \"%s\"", argv[at]);
	} else {
		r = walk_located(&q, &located);
		if (r == FG_EXIT_OK && q.n_seen == 0 && !q.is_incomplete && !q.is_json)
			fputs("The quarantine is empty.\n", stderr);
		r = fg_ctl_flush(q.is_incomplete ? FG_EXIT_PROBLEMS : r);
	}
	fg_located_free(&located);
	return r;
}

int fg_ctl_quarantine_show(int argc, char **argv)
{
	struct quarantine q = {.each = show_one};
	struct fg_located located = {0};
	int at, r;

	r = begin(&q, argc, argv, true, &at, &located);
	if (r != 0)
		return r;
	if (at + 1 != argc) {
		r = fg_ctl_usage("quarantine show: expected the number of one message");
	} else {
		r = walk_located(&q, &located);
		if (r == FG_EXIT_OK && !q.is_found)
			r = fg_ctl_fail("quarantine: no message %" PRIu64, q.number);
		r = fg_ctl_flush(r);
	}
	fg_located_free(&located);
	return r;
}
