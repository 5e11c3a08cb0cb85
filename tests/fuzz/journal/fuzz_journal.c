/*
 * A whole journal, valid at first, to which the input does something: eight bytes tell of each thing.
 * Bytes change, move and vanish, files are cut, emptied, removed and renamed, headers get a right CRC
 * again after all that. It then opens, twice, and what it hands out is what was appended, byte for byte;
 * and it goes on, with numbers above all that it has handed out. Only a later version may be refused.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "journal/journal.h"
#include "journal/segment.h"
#include "simdisk.h"
#include "util/bytes.h"
#include "util/crc32c.h"
#include "util/span.h"

#define COMMAND_BYTES 8
#define COMMANDS_MAX 32
#define FILES_MAX 24
#define SEQS_MAX 300
#define KEY 7

static const char *const lanes[FG_N_LANES] = {"main", "alarm", "quarantine"};

struct file {
	enum fg_lane lane;
	char path[FG_SEGMENT_PATH_MAX];
	uint8_t *bytes;
	uint64_t size;
};

/* What was appended, by number; and the files that hold it. */
static struct {
	struct file files[FILES_MAX];
	unsigned n_files;
	char *bodies[FG_N_LANES][SEQS_MAX];
} sample;

static void require(bool is_so)
{
	if (!is_so)
		abort();
}

static struct sim_disk *new_disk(struct fg_journal_options *ret)
{
	struct sim_disk *disk = sim_disk_new(1, SIM_HONEST);

	*ret = (struct fg_journal_options){
		.fs = sim_disk_fs(disk),
		.segment_bytes = 16384,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_left_behind = 10,
		.max_quarantine_bytes = 1 << 20,
	};
	for (int i = 0; i < FG_N_LANES; i++)
		require(ret->fs->mkdir(ret->fs->ctx, lanes[i]) == 0);
	return disk;
}

/* ---- the journal to begin with */

static void append(struct fg_journal *j, enum fg_lane lane, unsigned i)
{
	struct fg_message msg = {.kind = i % 9 == 8 ? (enum fg_kind)FG_NOTE_FIRST : FG_TELEMETRY,
				 .device = fg_span_str("dev")};
	struct fg_quarantined q = {.reason = fg_span_str("refused"), .lane = FG_LANE_ALARM};
	char body[1024];
	uint64_t seq = 1;

	memset(body, 'a' + (int)(i % 26), sizeof(body) - 1);
	body[300 + i % 7 * 100] = '\0';
	msg.body = q.body = fg_span_str(body);
	if (lane == FG_LANE_QUARANTINE)
		require(fg_journal_quarantine(j, &q) == 0);
	else
		require(fg_journal_append(j, lane, &msg, &seq) == 0);
	while (lane == FG_LANE_QUARANTINE && sample.bodies[lane][seq])
		seq++;
	require(seq < SEQS_MAX);
	sample.bodies[lane][seq] = strdup(body);
	fg_journal_flush(j, (int64_t)i * 700);
}

static enum fg_lane listed_lane;

static int add_file(void *arg, const char *name)
{
	struct file *f = &sample.files[sample.n_files++];
	const uint8_t *bytes;

	require(sample.n_files <= FILES_MAX);
	f->lane = listed_lane;
	snprintf(f->path, sizeof(f->path), "%s/%s", lanes[listed_lane], name);
	bytes = sim_disk_bytes(arg, f->path, &f->size);
	f->bytes = malloc(f->size);
	require(f->bytes != NULL);
	memcpy(f->bytes, bytes, f->size);
	return 0;
}

static void make_sample(void)
{
	struct fg_journal_options options;
	struct sim_disk *disk = new_disk(&options);
	struct fg_cursor *c;
	struct fg_journal *j;

	require(fg_journal_open(&options, &j, NULL) == 0);
	require(fg_cursor_open(j, FG_LANE_MAIN, "link", 100, &c) == 0);
	for (unsigned i = 0; i < 60; i++) {
		append(j, FG_LANE_MAIN, i);
		if (i % 3 == 0)
			append(j, FG_LANE_ALARM, i);
		if (i % 4 == 0)
			append(j, FG_LANE_QUARANTINE, i);
	}
	require(fg_cursor_leave_behind(c, KEY, 30) == 0);
	fg_cursor_settle(c, 1, 10);
	fg_cursor_settle(c, 20, 40);
	require(fg_journal_quarantine_settle(j, 3) == 0);
	fg_journal_free(j);
	for (int i = 0; i < FG_N_LANES; i++) {
		listed_lane = (enum fg_lane)i;
		options.fs->list(options.fs->ctx, lanes[i], add_file, disk);
	}
	sim_disk_free(disk);
}

/* ---- what happens to it */

struct work {
	struct file files[FILES_MAX];
	bool is_gone[FILES_MAX];
};

static void mend_header(struct file *f)
{
	size_t header =
		f->size >= FG_SEGMENT_HEADER_BYTES ? fg_segment_header_claimed_size(f->bytes) : 0;

	if (header > 0 && header <= f->size)
		fg_put_le32(f->bytes + 8, fg_crc32c(0, f->bytes + 12, header - 12));
}

static void do_command(struct work *w, const uint8_t *command)
{
	unsigned which = command[1] % sample.n_files;
	struct file *f = &w->files[which];
	uint64_t at = fg_get_le16(command + 2), other = fg_get_le16(command + 4);
	uint64_t n = command[6];

	if (f->size == 0)
		return;
	at %= f->size;
	other %= f->size;
	switch (command[0] % 9) {
	case 0:
		f->bytes[at] ^= command[7];
		break;
	case 1:
		f->bytes[at] = command[7];
		break;
	case 2: /* a piece of the same file, somewhere else */
		n = n * 8 < f->size - (at > other ? at : other) ? n * 8 : 0;
		memmove(f->bytes + at, f->bytes + other, n);
		break;
	case 3:
		n = n * 16 < f->size - at ? n * 16 : f->size - at;
		memset(f->bytes + at, command[7] & 1 ? 0 : command[7], n);
		break;
	case 4:
		f->size = at;
		break;
	case 5:
		w->is_gone[which] = true;
		break;
	case 6: /* in one of the header's fields, or its table */
		f->bytes[at % (FG_SEGMENT_TABLE_AT + 128) % f->size] = command[7];
		mend_header(f);
		break;
	case 7: /* under another name, which its header tells, too */
		if (f->size < FG_SEGMENT_HEADER_BYTES)
			break;
		fg_segment_path(lanes[f->lane], other + 1, command[7] & 1 ? ".damaged" : "",
				f->path);
		fg_put_le64(f->bytes + 24, other + 1);
		mend_header(f);
		break;
	case 8: /* the name only */
		fg_segment_path(lanes[f->lane], other, "", f->path);
		break;
	}
}

static void put_files(struct sim_disk *disk, const uint8_t *data, size_t size)
{
	struct work w = {0};

	for (unsigned i = 0; i < sample.n_files; i++) {
		w.files[i] = sample.files[i];
		w.files[i].bytes = malloc(w.files[i].size);
		require(w.files[i].bytes != NULL);
		memcpy(w.files[i].bytes, sample.files[i].bytes, w.files[i].size);
	}
	for (size_t i = 0; i + COMMAND_BYTES <= size; i += COMMAND_BYTES)
		do_command(&w, data + i);
	for (unsigned i = 0; i < sample.n_files; i++) {
		uint64_t taken;

		/* Of two files with one name the first counts. */
		if (!w.is_gone[i] && !sim_disk_bytes(disk, w.files[i].path, &taken))
			sim_disk_put(disk, w.files[i].path, 0, w.files[i].bytes, w.files[i].size);
		free(w.files[i].bytes);
	}
}

/* ---- what is handed out */

static void see(enum fg_lane lane, uint64_t seq, struct fg_span body, uint64_t *last)
{
	require(seq > *last);
	*last = seq;
	if (fg_span_is(body, "new"))
		return;
	require(seq < SEQS_MAX && sample.bodies[lane][seq] != NULL &&
		fg_span_is(body, sample.bodies[lane][seq]));
}

static bool wants(void *arg, const struct fg_message *m)
{
	(void)arg;
	return m->seq > 0;
}

static void use_lane(struct fg_journal *j, enum fg_lane lane)
{
	struct fg_message msg = {
		.kind = FG_TELEMETRY, .device = fg_span_str("dev"), .body = fg_span_str("new")};
	struct fg_message messages[8];
	uint64_t last = 0, seq;
	struct fg_cursor *c;
	struct fg_pass *p;
	int n;

	if (fg_cursor_open(j, lane, "link", 100, &c) < 0 || fg_pass_open(c, &p) < 0)
		abort();
	fg_pass_want_notes(p);
	fg_cursor_leave_behind(c, KEY + 1, 1);
	fg_pass_seek(p, 1);
	while ((n = fg_pass_read(p, messages, 8, wants, NULL)) != 0) {
		require(n > 0 || n == -EAGAIN);
		for (int i = 0; i < n; i++)
			see(lane, messages[i].seq, messages[i].body, &last);
	}
	require(fg_journal_append(j, lane, &msg, &seq) == 0 && seq > last);
	fg_journal_flush(j, 100000);
	require(fg_journal_ticket(j) <= fg_journal_committed(j));
	while ((n = fg_pass_read(p, messages, 8, wants, NULL)) == -EAGAIN)
		;
	require(n == 1 && messages[0].seq == seq && fg_span_is(messages[0].body, "new"));
	fg_pass_close(p);
}

static int see_quarantined(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	see(FG_LANE_QUARANTINE, number, q->body, arg);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_journal_options options;
	struct sim_disk *disk;
	struct fg_journal *j;
	uint64_t last;
	int r = 0;

	if (size > COMMANDS_MAX * COMMAND_BYTES)
		return 0;
	if (sample.n_files == 0)
		make_sample();
	disk = new_disk(&options);
	put_files(disk, data, size);
	for (int again = 0; again < 2 && r == 0; again++) {
		r = fg_journal_open(&options, &j, NULL);
		require(r == 0 || (r == -EPROTONOSUPPORT && again == 0));
		if (r < 0)
			break;
		use_lane(j, FG_LANE_MAIN);
		use_lane(j, FG_LANE_ALARM);
		last = 0;
		require(fg_journal_each_quarantined(options.fs, 0, see_quarantined, &last, NULL) ==
			0);
		fg_journal_free(j);
	}
	sim_disk_free(disk);
	return 0;
}
