#include <fnmatch.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"
#include "control/output.h"
#include "journal/record.h"
#include "util/span.h"

struct dump {
	bool is_json, is_full;
	const char *lane;    /* NULL: all */
	const char *pattern; /* of the device; NULL: any */
	int kind;            /* -1: any */
	uint64_t from, to, limit;
	uint64_t n_printed;
	bool is_incomplete;
};

/* ---- one record */

static bool does_device_match(const struct dump *d, struct fg_span device)
{
	char name[UINT8_MAX + 1];

	if (!d->pattern)
		return true;
	if (device.size > 0)
		memcpy(name, device.data, device.size);
	name[device.size] = '\0';
	return strlen(name) == device.size && fnmatch(d->pattern, name, 0) == 0;
}

/* Watermark, and how many ranges are settled above it and sessions left behind. */
static void line_of_cursors(struct fg_line *l, const struct fg_cursor_table *table)
{
	for (unsigned i = 0; i < table->n; i++) {
		if (i > 0)
			fg_line_add(l, " ");
		fg_line_add_text(l, fg_span_str(table->entries[i].name));
		fg_line_add(l, "=%" PRIu64, table->entries[i].watermark);
		if (table->entries[i].n_ranges > 0)
			fg_line_add(l, "+%u", table->entries[i].n_ranges);
		if (table->entries[i].n_left_behind > 0)
			fg_line_add(l, "-%u", table->entries[i].n_left_behind);
	}
}

static void line_of_quarantined(struct fg_line *l, const struct fg_quarantined *q)
{
	fg_line_add(l, "link=");
	fg_line_add_text(l, q->link.size > 0 ? q->link : fg_span_str("gateway"));
	fg_line_add(l, " attempts=%" PRIu32 " reason=\"", q->attempts);
	fg_line_add_text(l, q->reason);
	fg_line_add(l, "\" topic=\"");
	fg_line_add_text(l, q->topic);
	fg_line_add(l, "\" ");
	fg_line_add_text(l, q->body);
}

static void print_line(const struct dump *d, const struct fg_record *r)
{
	char time[FG_TIME_TEXT_MAX], kind[16];
	struct fg_cursor_table table;
	struct fg_quarantined q;
	struct fg_line l;

	fg_line_begin(&l, stdout, d->is_full);
	fg_line_add(&l, "%" PRIu64 " %s %s %s ", r->seq, fg_time_text(r->time_us, time),
		    fg_time_quality_text(r->time_quality), fg_kind_text(r->kind, kind));
	if (r->device.size > 0)
		fg_line_add_text(&l, r->device);
	else
		fg_line_add(&l, "-");
	fg_line_add(&l, " ");
	if (r->stream.size > 0)
		fg_line_add_text(&l, r->stream);
	else
		fg_line_add(&l, "-");
	fg_line_add(&l, " ");
	if (r->content_type.size > 0) {
		fg_line_add(&l, "(");
		fg_line_add_text(&l, r->content_type);
		fg_line_add(&l, ") ");
	}
	if (r->ref.size > 0) {
		fg_line_add(&l, "(ref ");
		fg_line_add_text(&l, r->ref);
		fg_line_add(&l, ") ");
	}
	if (r->link.size > 0) {
		fg_line_add(&l, "(for ");
		fg_line_add_text(&l, r->link);
		fg_line_add(&l, ") ");
	}
	if (r->kind == FG_RECORD_KIND_CURSORS &&
	    fg_cursor_table_decode((const uint8_t *)r->body.data, r->body.size, &table) == 0)
		line_of_cursors(&l, &table);
	else if (fg_quarantine_decode(r, &q) == 0)
		line_of_quarantined(&l, &q);
	else if (fg_settled_decode(r) > 0)
		fg_line_add(&l, "message=%" PRIu64, fg_settled_decode(r));
	else
		fg_line_add_text(&l, r->body);
	fg_line_end(&l);
}

/* Of a table that reads. */
static void add_cursors(struct fg_object *o, const uint8_t *data,
			const struct fg_cursor_table *table)
{
	struct fg_range range;

	fg_object_open(o, "cursors");
	for (unsigned i = 0; i < table->n; i++) {
		const struct fg_cursor_entry *e = &table->entries[i];
		unsigned n_ranges = 0;

		for (unsigned k = 0; k < e->n_ranges; k++)
			n_ranges += fg_cursor_entry_range(data, e, k, &range);
		fg_object_open(o, e->name);
		fg_object_add_uint(o, "watermark", e->watermark);
		fg_object_add_uint(o, "ranges", n_ranges);
		fg_object_add_uint(o, "left_behind", e->n_left_behind);
		fg_object_close(o);
	}
	fg_object_close(o);
}

static void print_object(const char *lane, const struct fg_record *r)
{
	const uint8_t *body = (const uint8_t *)r->body.data;
	struct fg_cursor_table table;
	struct fg_quarantined q;
	struct fg_object o;
	char kind[16];

	fg_object_begin(&o, stdout);
	fg_object_add_string(&o, "lane", lane);
	fg_object_add_uint(&o, "seq", r->seq);
	fg_object_add_time(&o, "time", r->time_us);
	fg_object_add_int(&o, "time_us", r->time_us);
	fg_object_add_string(&o, "time_quality", fg_time_quality_text(r->time_quality));
	fg_object_add_string(&o, "kind", fg_kind_text(r->kind, kind));
	fg_object_add_uint(&o, "batch_index", r->batch_index);
	if (r->kind == FG_RECORD_KIND_CURSORS &&
	    fg_cursor_table_decode(body, r->body.size, &table) == 0) {
		add_cursors(&o, body, &table);
		fg_object_end(&o);
		return;
	}
	if (fg_settled_decode(r) > 0) {
		fg_object_add_uint(&o, "settled", fg_settled_decode(r));
		fg_object_end(&o);
		return;
	}
	fg_object_add_text(&o, "device", r->device);
	if (r->stream.size > 0)
		fg_object_add_text(&o, "stream", r->stream);
	if (r->content_type.size > 0)
		fg_object_add_text(&o, "content_type", r->content_type);
	if (r->ref.size > 0)
		fg_object_add_text(&o, "ref", r->ref);
	if (r->link.size > 0)
		fg_object_add_text(&o, "link", r->link);
	if (fg_quarantine_decode(r, &q) == 0) {
		fg_object_open(&o, "quarantined");
		fg_ctl_add_quarantined(&o, &q);
		fg_object_close(&o);
	} else {
		fg_object_add_body(&o, r->body, r->content_type.size > 0);
	}
	fg_object_end(&o);
}

static void take_record(struct dump *d, const char *lane, const struct fg_scan_event *e)
{
	struct fg_record record;

	if (fg_record_decode(e->data, (size_t)e->size_bytes, &record) < 0) {
		fg_ctl_fail("%s: record %" PRIu64 " in %s: its parts do not add up", lane,
			    e->first_seq, e->file->name);
		d->is_incomplete = true;
		return;
	}
	if ((d->kind >= 0 && record.kind != d->kind) || !does_device_match(d, record.device))
		return;
	d->n_printed++;
	if (d->is_json)
		print_object(lane, &record);
	else
		print_line(d, &record);
}

/* ---- a lane */

static void take_lost(struct dump *d, const char *lane, const struct fg_scan_event *e)
{
	if (e->last_seq < d->from || e->first_seq > d->to)
		return;
	d->is_incomplete = true;
	fg_ctl_fail("%s: records %" PRIu64 "..%" PRIu64 " are %s, %s %s", lane, e->first_seq,
		    e->last_seq, e->type == FG_SCAN_DAMAGED ? "damaged" : "missing",
		    e->type == FG_SCAN_DAMAGED ? "in" : "behind", e->file->name);
}

static int walk_lane(struct dump *d, const char *lane, struct fg_scan *s)
{
	struct fg_scan_event e;
	int r = 0;

	while (d->n_printed < d->limit && !ferror(stdout) && (r = fg_scan_next(s, &e)) > 0) {
		if (e.type == FG_SCAN_GONE && e.read_error < 0) {
			d->is_incomplete = true;
			fg_ctl_fail("%s: %s: %s", lane, e.file->name, strerror(-e.read_error));
		}
		if (e.type == FG_SCAN_DAMAGED || e.type == FG_SCAN_MISSING)
			take_lost(d, lane, &e);
		if (e.type == FG_SCAN_SEGMENT && e.first_seq > d->to)
			break;
		if (e.type != FG_SCAN_RECORD || e.first_seq < d->from)
			continue;
		if (e.first_seq > d->to)
			break;
		take_record(d, lane, &e);
	}
	return r < 0 ? r : 0;
}

static int dump_lane(struct dump *d, const struct fg_located_lane *lane)
{
	struct fg_error err = {0};
	struct fg_scan *s;
	int r;

	if (fg_scan_open(lane->fd, &s, &err) < 0)
		return fg_ctl_fail("%s: %s", lane->name, err.text);
	d->is_incomplete |= fg_ctl_tell_file_faults(lane->name, s);
	fg_scan_skip_to(s, d->from);
	r = walk_lane(d, lane->name, s);
	fg_scan_free(s);
	return r < 0 ? fg_ctl_fail("%s: %s", lane->name, strerror(-r)) : 0;
}

static int dump_all(struct dump *d, const struct fg_located *located)
{
	int status = FG_EXIT_OK;

	if (d->lane && !fg_located_lane(located, d->lane)) {
		/* A lane comes into being with the first record in it. */
		if ((strcmp(d->lane, "quarantine") == 0 || strcmp(d->lane, "alarm") == 0) &&
		    fg_located_lane(located, "main"))
			return FG_EXIT_OK;
		return fg_ctl_fail("journal dump: no lane \"%s\" here", d->lane);
	}
	for (unsigned i = 0; i < located->n; i++) {
		if (d->lane && strcmp(located->lanes[i].name, d->lane) != 0)
			continue;
		if (dump_lane(d, &located->lanes[i]) != 0)
			status = FG_EXIT_PROBLEMS;
	}
	return fg_ctl_flush(d->is_incomplete ? FG_EXIT_PROBLEMS : status);
}

/* Returns 0 or FG_EXIT_USAGE. */
static int number(const char *option, const char *text, uint64_t *ret)
{
	if (fg_ctl_number(text, ret))
		return 0;
	return fg_ctl_usage("journal dump: --%s: expected a number, got \"%s\"", option, text);
}

static int parse_option(struct dump *d, int c, const char *name)
{
	switch (c) {
	case 'l':
		d->lane = optarg;
		return 0;
	case 'f':
		return number(name, optarg, &d->from);
	case 't':
		return number(name, optarg, &d->to);
	case 'd':
		d->pattern = optarg;
		return 0;
	case 'n':
		return number(name, optarg, &d->limit);
	case 'k':
		d->kind = fg_kind_parse(optarg);
		if (d->kind >= 0)
			return 0;
		return fg_ctl_usage(
			"journal dump: --kind: expected telemetry, attributes, presence, "
			"command-response, event, cursors, quarantined, settled, command, "
			"command-state or a number, got \"%s\"",
			optarg);
	case 'j':
		d->is_json = true;
		return 0;
	case 'F':
		d->is_full = true;
		return 0;
	default:
		return fg_ctl_usage("journal dump: wrong arguments");
	}
}

int fg_ctl_journal_dump(int argc, char **argv)
{
	static const struct option options[] = {
		{"lane", required_argument, NULL, 'l'},  {"from", required_argument, NULL, 'f'},
		{"to", required_argument, NULL, 't'},    {"device", required_argument, NULL, 'd'},
		{"kind", required_argument, NULL, 'k'},  {"limit", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},        {"full", no_argument, NULL, 'F'},
		{"state", required_argument, NULL, 's'}, {0}};
	struct dump d = {.kind = -1, .to = UINT64_MAX, .limit = UINT64_MAX};
	struct fg_located located = {0};
	const char *state = NULL;
	int c, index = 0, r;

	while ((c = getopt_long(argc, argv, "", options, &index)) != -1) {
		if (c == 's') {
			state = optarg;
			continue;
		}
		r = parse_option(&d, c, options[index].name);
		if (r != 0)
			return r;
	}
	r = fg_ctl_locate(state, argc, argv, 0, &optind, &located);
	if (r != 0)
		return r;
	if (optind < argc)
		r = fg_ctl_usage("journal dump: unexpected argument \"%s\"", argv[optind]);
	else
		r = dump_all(&d, &located);
	fg_located_free(&located);
	return r;
}
