/*
 * A lane of two files with any bytes in them, opened, read from both ends and written on. The first
 * byte says what is put right first, since nothing gets far with a wrong CRC: bit 0 the headers, bit
 * 1 the records that follow each other; bits 2 and 3 which lane it is; the next two bytes say where
 * the first file ends.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "journal/journal.h"
#include "journal/record.h"
#include "journal/segment.h"
#include "simdisk.h"
#include "util/bytes.h"
#include "util/crc32c.h"
#include "util/span.h"

#define FILE_MAX 60000u
#define RECORDS_MAX 100000u

/* As large as the file says, if it can be. */
static size_t header_size(const uint8_t *file, size_t size)
{
	size_t steps = fg_get_le16(file + 14) % 4;

	if ((steps + 1) * FG_SEGMENT_HEADER_BYTES > size)
		return FG_SEGMENT_HEADER_BYTES;
	return (steps + 1) * FG_SEGMENT_HEADER_BYTES;
}

/* Make the header say what its name will, and have a right CRC. */
static uint64_t mend_header(uint8_t *file, size_t size)
{
	size_t header;

	if (size < FG_SEGMENT_HEADER_BYTES)
		return 1;
	header = header_size(file, size);
	memcpy(file, FG_SEGMENT_MAGIC, 8);
	fg_put_le16(file + 14, (uint16_t)header);
	fg_put_le64(file + 24, fg_get_le16(file + 24) + 1u);
	fg_put_le32(file + 56,
		    fg_get_le16(file + 56) % (uint32_t)(header - FG_SEGMENT_TABLE_AT + 1));
	fg_put_le32(file + 8, fg_crc32c(0, file + 12, header - 12));
	return fg_get_le64(file + 24);
}

static void mend_records(uint8_t *file, size_t size)
{
	uint32_t seed;
	size_t header;

	if (size < FG_SEGMENT_HEADER_BYTES)
		return;
	seed = fg_record_seed(file + 40);
	header = fg_segment_header_claimed_size(file);
	for (size_t at = header > 0 ? header : FG_SEGMENT_HEADER_BYTES;
	     at < size && size - at >= FG_RECORD_HEADER_BYTES;) {
		size_t record = fg_record_claimed_size(file + at);

		if (record < FG_RECORD_HEADER_BYTES || record > size - at)
			break;
		fg_put_le32(file + at, fg_crc32c(seed, file + at + 4, record - 4));
		at += fg_record_align(record);
	}
}

static void put_file(struct sim_disk *disk, const char *lane, const uint8_t *data, size_t size,
		     unsigned mend)
{
	char path[FG_SEGMENT_PATH_MAX];
	uint64_t first_seq = 1;
	uint8_t *file = malloc(size + 1);

	if (!file)
		return;
	memcpy(file, data, size);
	if (mend & 1)
		first_seq = mend_header(file, size);
	else if (size >= 32)
		first_seq = fg_get_le64(file + 24);
	if (mend & 2)
		mend_records(file, size);
	fg_segment_path(lane, first_seq, "", path);
	sim_disk_put(disk, path, 0, file, size);
	free(file);
}

static bool wants(void *arg, const struct fg_message *m)
{
	(void)arg;
	return m->seq > 0;
}

/* Read all there is, in rising order. Returns the last sequence number. */
static uint64_t read_all(struct fg_cursor *c, bool is_settled)
{
	struct fg_message messages[32];
	uint64_t last = 0, total = 0;
	struct fg_pass *p;
	int n;

	if (fg_pass_open(c, &p) < 0)
		return 0;
	fg_pass_seek(p, 1);
	while ((n = fg_pass_read(p, messages, 32, wants, NULL)) != 0 && total < RECORDS_MAX) {
		if (n == -EAGAIN)
			continue;
		if (n < 0)
			abort(); /* the disk is fine */
		for (int i = 0; i < n; i++) {
			if (messages[i].seq <= last || messages[i].device.size > 255)
				abort();
			last = messages[i].seq;
		}
		total += (uint64_t)n;
		if (is_settled)
			fg_cursor_settle(c, messages[0].seq, last);
	}
	fg_pass_close(p);
	return last;
}

static void use(struct fg_journal *j, enum fg_lane lane)
{
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("d")};
	uint64_t last, seq;
	struct fg_cursor *c;

	if (fg_cursor_open(j, lane, "fuzz", 5, &c) < 0)
		return;
	/* A new cursor stands behind all there is: it is a session left behind that has it read. */
	fg_cursor_leave_behind(c, 7, 1);
	read_all(c, false);
	last = read_all(c, true);
	if (fg_journal_append(j, lane, &msg, &seq) < 0 || seq <= last || seq < fg_cursor_end(c))
		abort();
	fg_journal_flush(j, 1000);
	if (read_all(c, false) != seq)
		abort();
	fg_cursor_rejoin(c, 7);
	fg_cursor_backlog(c);
}

static int look(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	uint64_t *last = arg;

	if (number <= *last || q->link.size > 255 || q->lane > FG_LANE_ALARM)
		abort();
	*last = number;
	return 0;
}

static void use_quarantine(struct fg_fs *fs, struct fg_journal *j)
{
	struct fg_quarantined q = {.reason = fg_span_str("r")};
	struct fg_journal_stats stats;
	uint64_t last = 0;

	if (fg_journal_quarantine(j, &q) < 0)
		abort();
	fg_journal_flush(j, 1000);
	if (fg_journal_each_quarantined(fs, 0, look, &last, NULL) != 0 || last == 0)
		abort();
	fg_journal_get_stats(j, &stats);
	if (fg_journal_quarantine_settle(j, last) < 0)
		abort();
	fg_journal_flush(j, 2000);
	if (fg_journal_each_quarantined(fs, last, look, &(uint64_t){0}, NULL) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const lanes[] = {"main", "alarm", "quarantine", "main"};
	struct fg_journal_options options = {
		.segment_bytes = 65536,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_left_behind = 100,
		.max_quarantine_bytes = 1 << 20,
	};
	struct sim_disk *disk;
	struct fg_journal *j;
	unsigned lane;
	size_t first;

	if (size < 3 || size > 2 * FILE_MAX)
		return 0;
	lane = data[0] >> 2 & 3;
	first = fg_get_le16(data + 1);
	if (first > size - 3)
		first = size - 3;
	disk = sim_disk_new(1, SIM_HONEST);
	options.fs = sim_disk_fs(disk);
	options.fs->mkdir(options.fs->ctx, lanes[lane]);
	put_file(disk, lanes[lane], data + 3, first, data[0]);
	if (size - 3 > first)
		put_file(disk, lanes[lane], data + 3 + first, size - 3 - first, data[0]);
	/* Twice: the second start finds what the first one has mended. */
	for (int i = 0; i < 2; i++) {
		if (fg_journal_open(&options, &j, NULL) < 0)
			continue;
		if (lane == 2)
			use_quarantine(options.fs, j);
		else
			use(j, lane == 1 ? FG_LANE_ALARM : FG_LANE_MAIN);
		fg_journal_free(j);
	}
	sim_disk_free(disk);
	return 0;
}
