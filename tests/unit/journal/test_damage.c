/*
 * One byte of a journal changed, wherever it may be: in a header, a cursor table, a record of a message,
 * a note, a quarantined message or the mark that settles it. The journal starts, hands out nothing
 * that was not appended, and misses nothing but what the byte belongs to. The same for whole files
 * that are gone, empty, of a later version or of another journal.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/record.h"
#include "journal/segment.h"
#include "simdisk.h"
#include "util/bytes.h"
#include "util/crc32c.h"
#include "util/span.h"

#define FILES_MAX 24
#define SEQS_MAX 512
#define N_MESSAGES 60
#define BODY_BYTES 500
#define KEY 7
#define STRIDE 11 /* from one byte that is changed to the next, behind a header's fields */

static const char *const lane_names[FG_N_LANES] = {"main", "alarm", "quarantine"};

struct file {
	char path[FG_SEGMENT_PATH_MAX];
	enum fg_lane lane;
	uint64_t first_seq, end_seq; /* of the records in it */
	bool is_newest;
	uint8_t *bytes;
	uint64_t size;
};

/* What stands in a lane under a number. */
struct entry {
	bool is_message; /* or a note, or quarantined */
	bool is_open;    /* for the link of that lane; or not settled in quarantine */
	char body[BODY_BYTES];
};

/* A journal with a bit of everything in it, as it lies on the disk after a clean end. */
struct sample {
	struct file files[FILES_MAX];
	unsigned n_files;
	struct entry entries[FG_N_LANES][SEQS_MAX];
	uint64_t left_from; /* of session KEY in main */
};

static struct sample sample;

struct world {
	struct sim_disk *disk;
	struct fg_journal_options options;
	struct fg_journal *j;
	struct fg_error err;
	struct fg_cursor *cursors[FG_N_CURSOR_LANES];
	bool is_seen[FG_N_LANES][SEQS_MAX];
	uint64_t last_seen[FG_N_LANES];
	uint64_t lost;
};

static void note_lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	(void)link;
	(void)seq;
	(void)why;
	((struct world *)arg)->lost += records;
}

static int64_t utc_us(void *arg)
{
	(void)arg;
	return INT64_C(1700000000000000);
}

static void world_init(struct world *w)
{
	*w = (struct world){.disk = sim_disk_new(3, SIM_HONEST)};
	w->options = (struct fg_journal_options){
		.fs = sim_disk_fs(w->disk),
		.segment_bytes = 16384,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_left_behind = 10,
		.max_quarantine_bytes = 1 << 20,
		.lost = note_lost,
		.utc_us = utc_us,
		.arg = w,
	};
}

static int open_journal(struct world *w)
{
	int r = fg_journal_open(&w->options, &w->j, &w->err);

	for (int i = 0; i < FG_N_CURSOR_LANES && r == 0; i++)
		assert_int_equal(
			fg_cursor_open(w->j, (enum fg_lane)i, "link", 1000, &w->cursors[i]), 0);
	return r;
}

static void world_free(struct world *w)
{
	w->j = fg_journal_free(w->j);
	w->disk = sim_disk_free(w->disk);
}

/* ---- the sample */

static uint64_t append(struct world *w, enum fg_lane lane, unsigned kind, char letter)
{
	struct fg_message msg = {.kind = (enum fg_kind)kind, .device = fg_span_str("dev")};
	struct fg_quarantined q = {.reason = fg_span_str("refused"), .lane = FG_LANE_ALARM};
	struct fg_journal_stats stats;
	char body[BODY_BYTES];
	uint64_t seq = 0;

	memset(body, letter, sizeof(body));
	msg.body = q.body = fg_span_of(body, sizeof(body));
	if (lane == FG_LANE_QUARANTINE) {
		assert_int_equal(fg_journal_quarantine(w->j, &q), 0);
		fg_journal_flush(w->j, 1000);
		fg_journal_get_stats(w->j, &stats);
		return stats.quarantine_records;
	}
	assert_int_equal(fg_journal_append(w->j, lane, &msg, &seq), 0);
	return seq;
}

static void append_entry(struct world *w, enum fg_lane lane, unsigned kind, unsigned i)
{
	char letter = (char)('a' + i % 26);
	uint64_t seq = append(w, lane, kind, letter);

	assert_true(seq > 0 && seq < SEQS_MAX);
	sample.entries[lane][seq] = (struct entry){.is_message = true, .is_open = true};
	memset(sample.entries[lane][seq].body, letter, BODY_BYTES);
}

static void settle(struct world *w, enum fg_lane lane, uint64_t first, uint64_t last)
{
	fg_cursor_settle(w->cursors[lane], first, last);
	for (uint64_t seq = first; seq <= last; seq++)
		if (lane != FG_LANE_MAIN || seq < sample.left_from)
			sample.entries[lane][seq].is_open = false;
}

static void fill(struct world *w)
{
	for (unsigned i = 0; i < N_MESSAGES; i++) {
		append_entry(w, FG_LANE_MAIN, i % 10 == 9 ? FG_NOTE_FIRST : FG_TELEMETRY, i);
		if (i % 3 == 0)
			append_entry(w, FG_LANE_ALARM, FG_EVENT, i);
		if (i % 4 == 0)
			append_entry(w, FG_LANE_QUARANTINE, 0, i);
		if (i % 5 == 4)
			fg_journal_flush(w->j, (int64_t)i * 400);
		if (i == 30) {
			sample.left_from = fg_cursor_end(w->cursors[0]);
			assert_int_equal(
				fg_cursor_leave_behind(w->cursors[0], KEY, sample.left_from), 0);
		}
	}
	fg_journal_flush(w->j, 30000);
	settle(w, FG_LANE_MAIN, 1, 10);
	settle(w, FG_LANE_MAIN, 14, 20);
	settle(w, FG_LANE_MAIN, 40, 50);
	settle(w, FG_LANE_ALARM, 1, 4);
	assert_int_equal(fg_journal_quarantine_settle(w->j, 3), 0);
	sample.entries[FG_LANE_QUARANTINE][3].is_open = false;
}

static enum fg_lane adding_lane;

static int add_file(void *arg, const char *name)
{
	struct world *w = arg;
	struct file *f = &sample.files[sample.n_files++];
	const uint8_t *bytes;

	assert_true(sample.n_files < FILES_MAX);
	f->lane = adding_lane;
	snprintf(f->path, sizeof(f->path), "%s/%s", lane_names[adding_lane], name);
	bytes = sim_disk_bytes(w->disk, f->path, &f->size);
	f->bytes = malloc(f->size);
	assert_non_null(f->bytes);
	memcpy(f->bytes, bytes, f->size);
	f->first_seq = fg_get_le64(f->bytes + 24);
	f->end_seq = f->first_seq;
	for (uint64_t at = FG_SEGMENT_HEADER_BYTES; at < f->size;
	     at += fg_record_align(fg_record_claimed_size(f->bytes + at)))
		f->end_seq++;
	return 0;
}

static int make_sample(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(open_journal(&w), 0);
	fill(&w);
	w.j = fg_journal_free(w.j);
	for (int i = 0; i < FG_N_LANES; i++) {
		adding_lane = (enum fg_lane)i;
		w.options.fs->list(w.options.fs->ctx, lane_names[i], add_file, &w);
	}
	for (unsigned i = 0; i < sample.n_files; i++) {
		struct file *f = &sample.files[i];

		f->is_newest = true;
		for (unsigned k = 0; k < sample.n_files; k++)
			if (sample.files[k].lane == f->lane &&
			    sample.files[k].first_seq > f->first_seq)
				f->is_newest = false;
	}
	/* Two of each lane at least, or the test does not see what it should. */
	assert_true(sample.n_files >= 7);
	world_free(&w);
	return 0;
}

static int free_sample(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sample.n_files; i++)
		free(sample.files[i].bytes);
	return 0;
}

/* On a new disk, but for file @without (NULL: all). */
static void put_sample(struct world *w, const struct file *without)
{
	world_init(w);
	for (int i = 0; i < FG_N_LANES; i++) {
		w->options.fs->mkdir(w->options.fs->ctx, lane_names[i]);
		w->options.fs->sync_dir(w->options.fs->ctx, "");
	}
	for (unsigned i = 0; i < sample.n_files; i++) {
		const struct file *f = &sample.files[i];

		if (f != without)
			sim_disk_put(w->disk, f->path, 0, f->bytes, f->size);
	}
}

/* ---- what may be missing */

/* Where the record starts that byte @at of @f belongs to; its number in *@ret_seq. */
static uint64_t record_around(const struct file *f, uint64_t at, uint64_t *ret_seq)
{
	uint64_t offset = FG_SEGMENT_HEADER_BYTES;
	uint64_t size;

	*ret_seq = f->first_seq;
	while (at >= offset + (size = fg_record_align(fg_record_claimed_size(f->bytes + offset)))) {
		offset += size;
		++*ret_seq;
	}
	return offset;
}

/* Is there a record in @f that proves that @seq, in the same file, was synced? */
static bool is_proven(const struct file *f, uint64_t seq)
{
	uint64_t offset = FG_SEGMENT_HEADER_BYTES;

	for (uint64_t s = f->first_seq; s < f->end_seq; s++) {
		const uint8_t *at = f->bytes + offset;

		if (s > seq && s - fg_get_le32(at + 24) - 1 >= seq)
			return true;
		offset += fg_record_align(fg_record_claimed_size(at));
	}
	return false;
}

/* With byte @at of @f changed, may what is @seq in @lane be missing? */
static bool may_be_missing(const struct file *f, uint64_t at, int lane, uint64_t seq)
{
	uint64_t damaged, start;

	if ((int)f->lane != lane || seq < f->first_seq || seq >= f->end_seq)
		return false;
	if (at < FG_SEGMENT_HEADER_BYTES)
		return true;
	start = record_around(f, at, &damaged);
	if (at >= start + fg_record_claimed_size(f->bytes + start))
		return false; /* padding */
	if (seq == damaged)
		return true;
	/* Else it looks like the end of a commit that was torn. */
	return f->is_newest && seq > damaged && !is_proven(f, damaged);
}

/* ---- what is found */

static void see(struct world *w, int lane, uint64_t seq, struct fg_span body)
{
	const struct entry *e = &sample.entries[lane][seq];

	if (seq >= SEQS_MAX)
		return; /* appended since */
	if (!e->is_message || body.size != BODY_BYTES ||
	    memcmp(body.data, e->body, BODY_BYTES) != 0)
		fail_msg("record %" PRIu64 " of %s is not what was appended", seq,
			 lane_names[lane]);
	w->is_seen[lane][seq] = true;
	w->last_seen[lane] = seq;
}

static int see_quarantined(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	see(arg, FG_LANE_QUARANTINE, number, q->body);
	assert_int_equal(q->lane, FG_LANE_ALARM);
	return 0;
}

static bool wants(void *arg, const struct fg_message *m)
{
	(void)arg;
	return m->seq > 0;
}

static void look_at_all(struct world *w)
{
	struct fg_message messages[8];
	struct fg_pass *p;
	int n;

	memset(w->is_seen, 0, sizeof(w->is_seen));
	for (int i = 0; i < FG_N_CURSOR_LANES; i++) {
		assert_int_equal(fg_pass_open(w->cursors[i], &p), 0);
		fg_pass_want_notes(p);
		while ((n = fg_pass_read(p, messages, 8, wants, NULL)) != 0) {
			assert_true(n > 0 || n == -EAGAIN);
			for (int k = 0; k < n; k++)
				see(w, i, messages[k].seq, messages[k].body);
		}
		fg_pass_close(p);
	}
	assert_int_equal(fg_journal_each_quarantined(w->options.fs, 0, see_quarantined, w, NULL),
			 0);
}

/* All that must be there is; and new records get numbers above all that are. */
static void check(struct world *w, const struct file *f, uint64_t at)
{
	int r = open_journal(w);

	if (r < 0)
		fail_msg("byte %" PRIu64 " of %s: %d %s", at, f->path, r, w->err.text);
	look_at_all(w);
	for (int lane = 0; lane < FG_N_LANES; lane++)
		for (uint64_t seq = 1; seq < SEQS_MAX; seq++) {
			const struct entry *e = &sample.entries[lane][seq];

			if (e->is_message && e->is_open && !w->is_seen[lane][seq] &&
			    !may_be_missing(f, at, lane, seq))
				fail_msg("byte %" PRIu64 " of %s: record %" PRIu64
					 " of %s is missing",
					 at, f->path, seq, lane_names[lane]);
		}
	for (int i = 0; i < FG_N_CURSOR_LANES; i++)
		assert_true(append(w, (enum fg_lane)i, FG_TELEMETRY, 'x') > w->last_seen[i]);
	fg_journal_flush(w->j, 1000);
	assert_true(fg_journal_ticket(w->j) <= fg_journal_committed(w->j));
}

static void without_damage_all_is_there(void **state)
{
	struct world w;

	(void)state;
	put_sample(&w, NULL);
	assert_int_equal(open_journal(&w), 0);
	assert_int_equal(fg_cursor_left_behind(w.cursors[0], KEY), sample.left_from);
	look_at_all(&w);
	for (int lane = 0; lane < FG_N_LANES; lane++)
		for (uint64_t seq = 1; seq < SEQS_MAX; seq++) {
			const struct entry *e = &sample.entries[lane][seq];

			if (e->is_open)
				assert_true(w.is_seen[lane][seq]);
			if (!e->is_open && seq < sample.left_from)
				assert_false(w.is_seen[lane][seq]);
		}
	assert_int_equal(w.lost, 0);
	world_free(&w);
}

static void changed_byte_costs_what_it_belongs_to(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sample.n_files; i++) {
		const struct file *f = &sample.files[i];

		for (uint64_t at = 0; at < f->size; at += at < FG_SEGMENT_TABLE_AT ? 1 : STRIDE) {
			uint8_t byte = f->bytes[at] ^ (uint8_t)(1 << at % 8);
			struct world w;

			put_sample(&w, NULL);
			sim_disk_put(w.disk, f->path, at, &byte, 1);
			check(&w, f, at);
			world_free(&w);
		}
	}
}

static void file_that_is_gone_costs_what_was_in_it(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sample.n_files; i++) {
		const struct file *f = &sample.files[i];
		struct world w;

		put_sample(&w, f);
		check(&w, f, 0);
		world_free(&w);
	}
}

static void file_of_zeros_costs_what_was_in_it_and_is_kept(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sample.n_files; i++) {
		const struct file *f = &sample.files[i];
		uint8_t *zeros = calloc(1, f->size);
		char aside[FG_SEGMENT_PATH_MAX + 16];
		struct world w;
		uint64_t size;

		assert_non_null(zeros);
		put_sample(&w, f);
		sim_disk_put(w.disk, f->path, 0, zeros, f->size);
		check(&w, f, 0);
		snprintf(aside, sizeof(aside), "%s%s", f->path, FG_SEGMENT_DAMAGED_SUFFIX);
		assert_non_null(sim_disk_bytes(w.disk, aside, &size));
		assert_int_equal(size, f->size);
		world_free(&w);
		free(zeros);
	}
}

static void file_that_was_cut_costs_what_was_behind(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sample.n_files; i++)
		for (uint64_t size = 0; size < sample.files[i].size; size += 700) {
			struct file *f = &sample.files[i];
			struct world w;

			put_sample(&w, f);
			sim_disk_put(w.disk, f->path, 0, f->bytes, size);
			assert_int_equal(open_journal(&w), 0);
			look_at_all(&w);
			for (int lane = 0; lane < FG_N_LANES; lane++)
				for (uint64_t seq = 1; seq < SEQS_MAX; seq++)
					if (sample.entries[lane][seq].is_open &&
					    ((int)f->lane != lane || seq < f->first_seq ||
					     seq >= f->end_seq))
						assert_true(w.is_seen[lane][seq]);
			world_free(&w);
		}
}

/* ---- other versions */

static void mend_crc(uint8_t *bytes)
{
	fg_put_le32(bytes + 8, fg_crc32c(0, bytes + 12, FG_SEGMENT_HEADER_BYTES - 12));
}

/* Of all lanes together, by name and content. */
static uint32_t fingerprint_of;

static int add_to_fingerprint(void *arg, const char *name)
{
	struct world *w = arg;
	char path[FG_SEGMENT_PATH_MAX + 32];
	const uint8_t *bytes;
	uint64_t size = 0;

	snprintf(path, sizeof(path), "%s/%s", lane_names[adding_lane], name);
	bytes = sim_disk_bytes(w->disk, path, &size);
	/* In whatever order they are listed. */
	fingerprint_of += fg_crc32c(fg_crc32c(0, path, strlen(path)), bytes, size);
	return 0;
}

static uint32_t fingerprint(struct world *w)
{
	fingerprint_of = 0;
	for (int i = 0; i < FG_N_LANES; i++) {
		adding_lane = (enum fg_lane)i;
		w->options.fs->list(w->options.fs->ctx, lane_names[i], add_to_fingerprint, w);
	}
	return fingerprint_of;
}

static void later_version_in_any_lane_is_refused_and_nothing_is_touched(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sample.n_files; i++)
		for (int is_feature = 0; is_feature < 2; is_feature++) {
			const struct file *f = &sample.files[i];
			uint8_t header[FG_SEGMENT_HEADER_BYTES], zeros[8] = {0};
			const struct file *torn = &sample.files[i == 0 ? 1 : 0];
			struct world w;
			uint64_t calls;
			uint32_t before;

			put_sample(&w, NULL);
			memcpy(header, f->bytes, sizeof(header));
			if (is_feature)
				fg_put_le32(header + 20, 4);
			else
				fg_put_le16(header + 12, FG_SEGMENT_VERSION + 1);
			mend_crc(header);
			sim_disk_put(w.disk, f->path, 0, header, sizeof(header));
			/* There would be something to mend elsewhere. */
			sim_disk_put(w.disk, torn->path, 0, zeros, sizeof(zeros));
			before = fingerprint(&w);
			calls = sim_disk_calls(w.disk);
			assert_int_equal(open_journal(&w), -EPROTONOSUPPORT);
			assert_non_null(strstr(w.err.text, f->path));
			assert_non_null(strstr(w.err.text, "later version"));
			assert_int_equal(fingerprint(&w), before);
			assert_int_equal(sim_disk_calls(w.disk), calls);
			world_free(&w);
		}
}

static void unknown_compatible_features_are_no_hindrance(void **state)
{
	const struct file *f = &sample.files[0];
	uint8_t header[FG_SEGMENT_HEADER_BYTES];
	struct world w;

	(void)state;
	put_sample(&w, NULL);
	memcpy(header, f->bytes, sizeof(header));
	fg_put_le32(header + 16, 0x80000001);
	mend_crc(header);
	sim_disk_put(w.disk, f->path, 0, header, sizeof(header));
	/* As if nothing had been changed: nothing may be missing. */
	check(&w, f, f->size - 1);
	assert_int_equal(w.lost, 0);
	world_free(&w);
}

/* ---- other journals */

/* A whole segment of one, with one record, made to start at @first_seq. */
static void put_foreign(struct world *w, enum fg_lane lane, uint64_t first_seq)
{
	uint8_t bytes[FG_SEGMENT_HEADER_BYTES + 128] = {0};
	struct fg_segment_header header = {.first_seq = first_seq, .made_us = 1};
	struct fg_record r = {.seq = first_seq,
			      .kind = FG_TELEMETRY,
			      .device = fg_span_str("stranger"),
			      .body = fg_span_str("{}")};
	char path[FG_SEGMENT_PATH_MAX];

	memset(header.id, 0x77, sizeof(header.id));
	fg_segment_header_encode(&header, bytes);
	fg_record_encode(&r, fg_record_seed(header.id), bytes + FG_SEGMENT_HEADER_BYTES);
	fg_segment_path(lane_names[lane], first_seq, "", path);
	sim_disk_put(w->disk, path, 0, bytes, sizeof(bytes));
}

static void files_of_another_journal_are_left_alone(void **state)
{
	const struct file *f = &sample.files[0];
	struct world w;
	uint64_t size;

	(void)state;
	put_sample(&w, NULL);
	for (int i = 0; i < FG_N_LANES; i++)
		put_foreign(&w, (enum fg_lane)i, 2);
	check(&w, f, f->size - 1);
	assert_int_equal(w.lost, 0);
	for (int i = 0; i < FG_N_LANES; i++) {
		char path[FG_SEGMENT_PATH_MAX];

		fg_segment_path(lane_names[i], 2, "", path);
		assert_non_null(sim_disk_bytes(w.disk, path, &size));
	}
	world_free(&w);
}

static void file_of_another_journal_where_ours_will_go_is_set_aside(void **state)
{
	const struct file *f = &sample.files[0];
	struct world w;
	uint64_t size;

	(void)state;
	put_sample(&w, NULL);
	put_foreign(&w, FG_LANE_MAIN, 400);
	check(&w, f, f->size - 1);
	assert_int_equal(w.lost, 0);
	assert_null(sim_disk_bytes(w.disk, "main/0000000000000190.seg", &size));
	assert_non_null(sim_disk_bytes(w.disk, "main/0000000000000190.seg.damaged", &size));
	world_free(&w);
}

static void what_is_set_aside_takes_no_name_that_is_taken(void **state)
{
	const struct file *f = &sample.files[0];
	struct world w;
	uint64_t size;

	(void)state;
	put_sample(&w, NULL);
	sim_disk_put(w.disk, "main/0000000000000190.seg", 0, "new", 3);
	sim_disk_put(w.disk, "main/0000000000000190.seg.damaged", 0, "old", 3);
	sim_disk_put(w.disk, "main/0000000000000190.seg.damaged1", 0, "older", 5);
	check(&w, f, f->size - 1);
	assert_null(sim_disk_bytes(w.disk, "main/0000000000000190.seg", &size));
	assert_memory_equal(sim_disk_bytes(w.disk, "main/0000000000000190.seg.damaged", &size),
			    "old", 3);
	assert_memory_equal(sim_disk_bytes(w.disk, "main/0000000000000190.seg.damaged1", &size),
			    "older", 5);
	assert_memory_equal(sim_disk_bytes(w.disk, "main/0000000000000190.seg.damaged2", &size),
			    "new", 3);
	world_free(&w);
}

static void of_two_journals_with_as_many_files_the_newest_counts(void **state)
{
	struct fg_journal_stats stats;
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(open_journal(&w), 0);
	append(&w, FG_LANE_MAIN, FG_TELEMETRY, 'a');
	fg_journal_flush(w.j, 0);
	w.j = fg_journal_free(w.j);
	put_foreign(&w, FG_LANE_MAIN, 300);
	assert_int_equal(open_journal(&w), 0);
	fg_journal_get_stats(w.j, &stats);
	assert_int_equal(stats.first_seq, 300);
	assert_true(append(&w, FG_LANE_MAIN, FG_TELEMETRY, 'a') > 300);
	world_free(&w);
}

/* ---- cursors from the future */

/* A lane of one file that says that link "link" has settled all up to @watermark, and @ranges of numbers
 * above; with one record, number 1. */
static void put_cursor(struct world *w, enum fg_lane lane, uint64_t watermark, uint64_t range_last,
		       uint64_t left_from)
{
	uint8_t bytes[FG_SEGMENT_HEADER_BYTES + 128] = {0};
	uint8_t *table = bytes + FG_SEGMENT_TABLE_AT;
	struct fg_segment_header header = {.first_seq = 1, .made_us = 1};
	struct fg_record r = {.seq = 1,
			      .kind = FG_TELEMETRY,
			      .device = fg_span_str("dev"),
			      .body = fg_span_str("{}")};
	char path[FG_SEGMENT_PATH_MAX];

	fg_put_le16(table, 1);
	table[2] = 4;
	memcpy(table + 3, "link", 4);
	fg_put_le64(table + 7, watermark);
	fg_put_le16(table + 15, range_last > 0);
	fg_put_le16(table + 17, left_from > 0);
	header.table = table;
	header.table_size = 19;
	if (range_last > 0) {
		fg_put_le64(bytes + FG_SEGMENT_TABLE_AT + header.table_size, range_last - 1);
		fg_put_le64(bytes + FG_SEGMENT_TABLE_AT + header.table_size + 8, range_last);
		header.table_size += 16;
	}
	if (left_from > 0) {
		fg_put_le64(bytes + FG_SEGMENT_TABLE_AT + header.table_size, KEY);
		fg_put_le64(bytes + FG_SEGMENT_TABLE_AT + header.table_size + 8, left_from);
		header.table_size += 16;
	}
	memset(header.id, 0x11, sizeof(header.id));
	fg_segment_header_encode(&header, bytes);
	fg_record_encode(&r, fg_record_seed(header.id), bytes + FG_SEGMENT_HEADER_BYTES);
	w->options.fs->mkdir(w->options.fs->ctx, lane_names[lane]);
	fg_segment_path(lane_names[lane], 1, "", path);
	sim_disk_put(w->disk, path, 0, bytes, sizeof(bytes));
}

static void cursor_from_the_future_skips_nothing_that_comes(void **state)
{
	/* Watermark, end of a range, session left behind; 0: not there. */
	static const uint64_t futures[][3] = {
		{1000, 0, 0},       {0, 1000, 0},
		{5, 2000, 0},       {5, 0, 3000},
		{UINT64_MAX, 0, 0}, {UINT64_C(1) << 60, UINT64_MAX, UINT64_MAX},
		{0, UINT64_MAX, 0}, {(UINT64_C(1) << 40) + 2, 0, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(futures) / sizeof(futures[0]); i++)
		for (int lane = 0; lane < FG_N_CURSOR_LANES; lane++) {
			struct fg_message message = {0};
			struct fg_pass *p;
			uint64_t seq;
			struct world w;
			int n;

			world_init(&w);
			put_cursor(&w, (enum fg_lane)lane, futures[i][0], futures[i][1],
				   futures[i][2]);
			for (int again = 0; again < 2; again++) {
				assert_int_equal(open_journal(&w), 0);
				seq = append(&w, (enum fg_lane)lane, FG_TELEMETRY, 'n');
				fg_journal_flush(w.j, 1000);
				assert_int_equal(fg_pass_open(w.cursors[lane], &p), 0);
				do
					n = fg_pass_read(p, &message, 1, NULL, NULL);
				while (n == -EAGAIN || (n == 1 && message.seq < seq));
				assert_int_equal(n, 1);
				assert_int_equal(message.seq, seq);
				fg_pass_close(p);
				fg_cursor_settle(w.cursors[lane], seq, seq);
				w.j = fg_journal_free(w.j);
			}
			world_free(&w);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_damage_all_is_there),
		cmocka_unit_test(changed_byte_costs_what_it_belongs_to),
		cmocka_unit_test(file_that_is_gone_costs_what_was_in_it),
		cmocka_unit_test(file_of_zeros_costs_what_was_in_it_and_is_kept),
		cmocka_unit_test(file_that_was_cut_costs_what_was_behind),
		cmocka_unit_test(later_version_in_any_lane_is_refused_and_nothing_is_touched),
		cmocka_unit_test(unknown_compatible_features_are_no_hindrance),
		cmocka_unit_test(files_of_another_journal_are_left_alone),
		cmocka_unit_test(file_of_another_journal_where_ours_will_go_is_set_aside),
		cmocka_unit_test(what_is_set_aside_takes_no_name_that_is_taken),
		cmocka_unit_test(of_two_journals_with_as_many_files_the_newest_counts),
		cmocka_unit_test(cursor_from_the_future_skips_nothing_that_comes),
	};

	return cmocka_run_group_tests(tests, make_sample, free_sample);
}
