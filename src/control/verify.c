#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/commands.h"
#include "control/output.h"
#include "journal/record.h"
#include "util/span.h"

struct verify {
	bool is_json, is_verbose;
	uint64_t n_problems;
	struct fg_progress progress;

	/* of the lane at hand */
	const char *lane;
	struct fg_cursor_table cursors;
	const uint8_t *table; /* their bytes */
	uint64_t backlog[FG_CURSORS_MAX];
	uint64_t segments, files_not_read, set_aside, gone;
	uint64_t records, messages, settled, notes, unknown, misfits, bytes;
	uint64_t first_seq, last_seq; /* of the records that read; 0: none */
	uint64_t damaged, damaged_ranges, missing, missing_ranges, torn_bytes;

	/* of the segment at hand */
	uint64_t segment_records, segment_first, segment_last;
};

static void begin_json(struct verify *v, struct fg_object *o, const char *type)
{
	fg_object_begin(o, stdout);
	fg_object_add_string(o, "type", type);
	fg_object_add_string(o, "lane", v->lane);
}

/* ---- single findings */

static void tell_file(struct verify *v, const struct fg_scan_file *f)
{
	char text[256];
	const char *fault = fg_ctl_file_fault(f, text);

	if (f->state == FG_SCAN_FILE_SET_ASIDE)
		v->set_aside++;
	if (!fault && (f->state != FG_SCAN_FILE_SET_ASIDE || !v->is_verbose))
		return;
	fg_progress_clear(&v->progress);
	if (fault) {
		v->n_problems++;
		v->files_not_read++;
	} else {
		fault = "set aside by the daemon, not part of the journal any more";
	}
	if (v->is_json) {
		struct fg_object o;

		begin_json(v, &o, "file");
		fg_object_add_string(&o, "file", f->name);
		fg_object_add_uint(&o, "bytes", f->size_bytes);
		fg_object_add_bool(&o, "is_problem", f->state != FG_SCAN_FILE_SET_ASIDE);
		fg_object_add_string(&o, "what", fault);
		fg_object_end(&o);
	} else {
		printf("%s: %s: %s\n", v->lane, f->name, fault);
	}
}

static void tell_lost(struct verify *v, const struct fg_scan_event *e)
{
	bool is_damage = e->type == FG_SCAN_DAMAGED;
	uint64_t n = e->last_seq - e->first_seq + 1;

	fg_progress_clear(&v->progress);
	v->n_problems++;
	if (is_damage) {
		v->damaged += n;
		v->damaged_ranges++;
	} else {
		v->missing += n;
		v->missing_ranges++;
	}
	if (v->is_json) {
		struct fg_object o;

		begin_json(v, &o, is_damage ? "damaged" : "missing");
		fg_object_add_string(&o, "segment", e->file->name);
		fg_object_add_uint(&o, "first_seq", e->first_seq);
		fg_object_add_uint(&o, "last_seq", e->last_seq);
		if (is_damage) {
			fg_object_add_uint(&o, "offset", e->offset);
			fg_object_add_uint(&o, "bytes", e->size_bytes);
		}
		fg_object_end(&o);
	} else if (is_damage) {
		printf("%s: %s: records %" PRIu64 "..%" PRIu64 " are damaged, %" PRIu64
		       " bytes at offset %" PRIu64 "\n",
		       v->lane, e->file->name, e->first_seq, e->last_seq, e->size_bytes, e->offset);
	} else {
		printf("%s: records %" PRIu64 "..%" PRIu64
		       " are missing: no file holds them (behind %s)\n",
		       v->lane, e->first_seq, e->last_seq, e->file->name);
	}
}

static void tell_torn(struct verify *v, const struct fg_scan_event *e)
{
	v->torn_bytes = e->size_bytes;
	fg_progress_clear(&v->progress);
	if (v->is_json) {
		struct fg_object o;

		begin_json(v, &o, "torn");
		fg_object_add_string(&o, "segment", e->file->name);
		fg_object_add_uint(&o, "after_seq", e->last_seq);
		fg_object_add_uint(&o, "offset", e->offset);
		fg_object_add_uint(&o, "bytes", e->size_bytes);
		fg_object_end(&o);
	} else {
		printf("%s: %s: torn tail of %" PRIu64 " bytes behind record %" PRIu64
		       ": a commit that was never acknowledged, or is being written now\n",
		       v->lane, e->file->name, e->size_bytes, e->last_seq);
	}
}

static void tell_segment(struct verify *v, const struct fg_scan_event *e, bool is_newest)
{
	char made[FG_TIME_TEXT_MAX];

	if (e->read_error < 0) {
		fg_progress_clear(&v->progress);
		v->n_problems++;
		if (v->is_json) {
			struct fg_object o;

			begin_json(v, &o, "disk");
			fg_object_add_string(&o, "segment", e->file->name);
			fg_object_add_string(&o, "what", strerror(-e->read_error));
			fg_object_end(&o);
		} else {
			printf("%s: %s: the disk does not give all of it: %s\n", v->lane,
			       e->file->name, strerror(-e->read_error));
		}
	}
	if (!v->is_verbose)
		return;
	fg_progress_clear(&v->progress);
	if (v->is_json) {
		struct fg_object o;

		begin_json(v, &o, "segment");
		fg_object_add_string(&o, "segment", e->file->name);
		fg_object_add_uint(&o, "records", v->segment_records);
		if (v->segment_records > 0) {
			fg_object_add_uint(&o, "first_seq", v->segment_first);
			fg_object_add_uint(&o, "last_seq", v->segment_last);
		}
		fg_object_add_uint(&o, "bytes", e->file->size_bytes);
		fg_object_add_time(&o, "made", e->file->made_us);
		fg_object_add_bool(&o, "is_newest", is_newest);
		fg_object_end(&o);
		return;
	}
	printf("%s: %s: ", v->lane, e->file->name);
	if (v->segment_records > 0)
		printf("records %" PRIu64 "..%" PRIu64, v->segment_first, v->segment_last);
	else
		printf("no records");
	printf(", records=%" PRIu64 " bytes=%" PRIu64 ", made %s%s\n", v->segment_records,
	       e->file->size_bytes, fg_time_text(e->file->made_us, made),
	       is_newest ? ", the newest: it may grow" : "");
}

static void tell_gone(struct verify *v, const struct fg_scan_event *e)
{
	fg_progress_clear(&v->progress);
	v->gone++;
	if (e->read_error < 0)
		v->n_problems++;
	if (v->is_json) {
		struct fg_object o;

		begin_json(v, &o, e->read_error < 0 ? "disk" : "gone");
		fg_object_add_string(&o, "segment", e->file->name);
		if (e->read_error < 0)
			fg_object_add_string(&o, "what", strerror(-e->read_error));
		fg_object_end(&o);
	} else if (e->read_error < 0) {
		printf("%s: %s: cannot be opened: %s\n", v->lane, e->file->name,
		       strerror(-e->read_error));
	} else if (v->is_verbose) {
		printf("%s: %s: removed while this ran\n", v->lane, e->file->name);
	}
}

/* ---- records */

/* Whether the parts of a record, whose CRC is right, are what its kind says. */
static bool is_sound(const struct fg_record *record)
{
	struct fg_quarantined q;
	struct fg_cursor_table table;

	if (record->kind == FG_RECORD_KIND_QUARANTINE)
		return fg_quarantine_decode(record, &q) == 0;
	if (record->kind == FG_RECORD_KIND_CURSORS)
		return fg_cursor_table_decode((const uint8_t *)record->body.data, record->body.size,
					      &table) == 0;
	return record->kind != FG_RECORD_KIND_SETTLED || fg_settled_decode(record) > 0;
}

/* Does this cursor still have to send the record, for all that is known without its link? */
static bool is_open(const struct verify *v, const struct fg_cursor_entry *c,
		    const struct fg_record *record)
{
	struct fg_range range;

	if (record->seq <= c->watermark || !fg_record_is_message(record->kind) ||
	    (record->link.size > 0 && !fg_span_is(record->link, c->name)))
		return false;
	for (unsigned i = 0; i < c->n_ranges; i++)
		if (fg_cursor_entry_range(v->table, c, i, &range) && range.first <= record->seq &&
		    record->seq <= range.last)
			return false;
	return true;
}

static void take_misfit(struct verify *v, const struct fg_scan_event *e)
{
	v->misfits++;
	v->n_problems++;
	fg_progress_clear(&v->progress);
	if (v->is_json) {
		struct fg_object o;

		begin_json(v, &o, "misfit");
		fg_object_add_string(&o, "segment", e->file->name);
		fg_object_add_uint(&o, "seq", e->first_seq);
		fg_object_end(&o);
	} else {
		printf("%s: %s: record %" PRIu64
		       " reads, but its parts do not add up: every reader "
		       "passes it over\n",
		       v->lane, e->file->name, e->first_seq);
	}
}

static void take_record(struct verify *v, const struct fg_scan_event *e)
{
	struct fg_record record;

	if (v->records++ == 0)
		v->first_seq = e->first_seq;
	if (v->segment_records++ == 0)
		v->segment_first = e->first_seq;
	v->last_seq = v->segment_last = e->first_seq;
	v->bytes += e->size_bytes;
	if (fg_record_decode(e->data, (size_t)e->size_bytes, &record) < 0 || !is_sound(&record)) {
		take_misfit(v, e);
		return;
	}
	if (record.kind == FG_RECORD_KIND_CURSORS)
		return;
	if (record.kind == FG_RECORD_KIND_SETTLED)
		v->settled++;
	else if (record.kind == FG_RECORD_KIND_COMMAND ||
		 record.kind == FG_RECORD_KIND_COMMAND_STATE)
		v->notes++;
	else if (fg_record_is_message(record.kind) || record.kind == FG_RECORD_KIND_QUARANTINE)
		v->messages++;
	else
		v->unknown++;
	for (unsigned i = 0; i < v->cursors.n; i++)
		v->backlog[i] += is_open(v, &v->cursors.entries[i], &record);
}

/* ---- a lane */

static void tell_cursors(struct verify *v)
{
	for (unsigned i = 0; i < v->cursors.n; i++) {
		const struct fg_cursor_entry *c = &v->cursors.entries[i];
		struct fg_range range;
		unsigned n_ranges = 0;

		for (unsigned k = 0; k < c->n_ranges; k++)
			n_ranges += fg_cursor_entry_range(v->table, c, k, &range);
		if (v->is_json) {
			struct fg_object o;

			begin_json(v, &o, "cursor");
			fg_object_add_string(&o, "link", c->name);
			fg_object_add_uint(&o, "watermark", c->watermark);
			fg_object_add_uint(&o, "backlog", v->backlog[i]);
			fg_object_add_uint(&o, "ranges", n_ranges);
			fg_object_add_uint(&o, "left_behind", c->n_left_behind);
			fg_object_end(&o);
		} else {
			struct fg_line line;

			fg_line_begin(&line, stdout, true);
			fg_line_add(&line, "%s: cursor of link ", v->lane);
			fg_line_add_text(&line, fg_span_str(c->name));
			fg_line_add(&line, ": watermark=%" PRIu64 " backlog=%" PRIu64, c->watermark,
				    v->backlog[i]);
			if (n_ranges > 0)
				fg_line_add(&line, " ranges=%u", n_ranges);
			if (c->n_left_behind > 0)
				fg_line_add(&line, " left_behind=%u", c->n_left_behind);
			fg_line_end(&line);
		}
	}
}

static void tell_lane_json(struct verify *v, const struct fg_scan_file *newest)
{
	struct fg_object o;

	begin_json(v, &o, "lane");
	fg_object_add_uint(&o, "segments", v->segments);
	fg_object_add_uint(&o, "records", v->records);
	fg_object_add_uint(&o, "messages", v->messages);
	fg_object_add_uint(&o, "settled", v->settled);
	fg_object_add_uint(&o, "notes", v->notes);
	if (v->records > 0) {
		fg_object_add_uint(&o, "first_seq", v->first_seq);
		fg_object_add_uint(&o, "last_seq", v->last_seq);
	}
	fg_object_add_uint(&o, "bytes", v->bytes);
	fg_object_add_uint(&o, "torn_bytes", v->torn_bytes);
	fg_object_add_uint(&o, "damaged", v->damaged);
	fg_object_add_uint(&o, "damaged_ranges", v->damaged_ranges);
	fg_object_add_uint(&o, "missing", v->missing);
	fg_object_add_uint(&o, "missing_ranges", v->missing_ranges);
	fg_object_add_uint(&o, "misfits", v->misfits);
	fg_object_add_uint(&o, "of_unknown_kind", v->unknown);
	fg_object_add_uint(&o, "files_not_read", v->files_not_read);
	fg_object_add_uint(&o, "files_set_aside", v->set_aside);
	fg_object_add_uint(&o, "files_gone_meanwhile", v->gone);
	if (newest)
		fg_object_add_string(&o, "newest", newest->name);
	fg_object_end(&o);
}

static void tell_count(const char *what, uint64_t n)
{
	if (n > 0)
		printf(" %s=%" PRIu64, what, n);
}

static void tell_lane(struct verify *v, const struct fg_scan_file *newest)
{
	if (v->is_json) {
		tell_lane_json(v, newest);
		return;
	}
	printf("%s: ", v->lane);
	if (v->records > 0)
		printf("records %" PRIu64 "..%" PRIu64, v->first_seq, v->last_seq);
	else
		printf("no records");
	printf(", segments=%" PRIu64 " records=%" PRIu64 " messages=%" PRIu64 " bytes=%" PRIu64,
	       v->segments, v->records, v->messages, v->bytes);
	tell_count("settled", v->settled);
	tell_count("notes", v->notes);
	tell_count("torn_bytes", v->torn_bytes);
	tell_count("damaged", v->damaged);
	tell_count("damaged_ranges", v->damaged_ranges);
	tell_count("missing", v->missing);
	tell_count("missing_ranges", v->missing_ranges);
	tell_count("misfits", v->misfits);
	tell_count("of_unknown_kind", v->unknown);
	tell_count("files_not_read", v->files_not_read);
	tell_count("files_set_aside", v->set_aside);
	tell_count("files_gone_meanwhile", v->gone);
	putchar('\n');
	if (newest)
		printf("%s: %s is the newest: while the daemon runs it may have grown since\n",
		       v->lane, newest->name);
}

static int walk_lane(struct verify *v, struct fg_scan *s)
{
	const struct fg_scan_file *newest = fg_scan_newest(s);
	struct fg_scan_event e;
	uint64_t done, all;
	int r;

	while ((r = fg_scan_next(s, &e)) > 0) {
		fg_scan_progress(s, &done, &all);
		fg_progress_tick(&v->progress, v->lane, done, all);
		switch (e.type) {
		case FG_SCAN_SEGMENT:
			v->segments++;
			v->segment_records = 0;
			break;
		case FG_SCAN_RECORD:
			take_record(v, &e);
			break;
		case FG_SCAN_DAMAGED:
		case FG_SCAN_MISSING:
			tell_lost(v, &e);
			break;
		case FG_SCAN_TORN:
			tell_torn(v, &e);
			break;
		case FG_SCAN_GONE:
			tell_gone(v, &e);
			break;
		case FG_SCAN_SEGMENT_END:
			tell_segment(v, &e, e.file == newest);
			break;
		case FG_SCAN_END:
			break;
		}
	}
	return r;
}

/* Returns 0, or FG_EXIT_PROBLEMS when it could not be read at all. */
static int verify_lane(struct verify *v, const struct fg_located_lane *lane)
{
	struct fg_error err = {0};
	const struct fg_scan_file *files;
	struct fg_scan *s;
	size_t n;
	int r;

	*v = (struct verify){
		.is_json = v->is_json,
		.is_verbose = v->is_verbose,
		.n_problems = v->n_problems,
		.progress = v->progress,
		.lane = lane->name,
	};
	if (fg_scan_open(lane->fd, &s, &err) < 0)
		return fg_ctl_fail("%s: %s", lane->name, err.text);
	if (!fg_scan_cursors(s, &v->cursors, &v->table))
		v->cursors.n = 0;
	files = fg_scan_files(s, &n);
	for (size_t i = 0; i < n; i++)
		tell_file(v, &files[i]);
	r = walk_lane(v, s);
	fg_progress_clear(&v->progress);
	if (r < 0) {
		fg_scan_free(s);
		return fg_ctl_fail("%s: %s", lane->name, strerror(-r));
	}
	tell_lane(v, fg_scan_newest(s));
	tell_cursors(v);
	fg_scan_free(s);
	return 0;
}

int fg_ctl_journal_verify(int argc, char **argv)
{
	enum { JSON = 256, STATE };
	static const struct option options[] = {{"verbose", no_argument, NULL, 'v'},
						{"json", no_argument, NULL, JSON},
						{"state", required_argument, NULL, STATE},
						{0}};
	struct fg_located located = {0};
	const char *state = NULL;
	struct verify v = {0};
	int c, r, status = FG_EXIT_OK;

	while ((c = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		if (c == 'v')
			v.is_verbose = true;
		else if (c == JSON)
			v.is_json = true;
		else if (c == STATE)
			state = optarg;
		else
			return fg_ctl_usage("journal verify: wrong arguments");
	}
	r = fg_ctl_locate(state, argc, argv, 0, &optind, &located);
	if (r != 0)
		return r;
	if (optind < argc) {
		fg_located_free(&located);
		return fg_ctl_usage("journal verify: unexpected argument \"%s\"", argv[optind]);
	}
	fg_progress_begin(&v.progress);
	for (unsigned i = 0; i < located.n; i++)
		if (verify_lane(&v, &located.lanes[i]) != 0)
			status = FG_EXIT_PROBLEMS;
	if (located.n == 0 && !v.is_json)
		puts("Empty: nothing has been written yet.");
	else if (!v.is_json && status == FG_EXIT_OK)
		puts(v.n_problems == 0 ? "All in order." : "Problems found, see above.");
	fg_located_free(&located);
	return fg_ctl_flush(v.n_problems > 0 ? FG_EXIT_PROBLEMS : status);
}
