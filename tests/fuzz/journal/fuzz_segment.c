/*
 * A journal of two files with any bytes in them, opened, read from both ends and written on. The
 * first byte says what is put right first, since nothing gets far with a wrong CRC: bit 0 the
 * headers, bit 1 the records that follow each other; the next two say where the first file ends.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "journal/journal.h"
#include "journal/record.h"
#include "journal/segment.h"
#include "simdisk.h"
#include "util/bytes.h"
#include "util/crc32c.h"
#include "util/span.h"

#define FILE_MAX 60000u
#define RECORDS_MAX 100000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Make the header say what its name will, and have a right CRC. */
static uint64_t mend_header(uint8_t *file, size_t size)
{
	if (size < FG_SEGMENT_HEADER_BYTES)
		return 1;
	memcpy(file, FG_SEGMENT_MAGIC, 8);
	fg_put_le16(file + 14, FG_SEGMENT_HEADER_BYTES);
	fg_put_le64(file + 24, fg_get_le16(file + 24) + 1u);
	fg_put_le32(file + 56, fg_get_le16(file + 56) % 4033u);
	fg_put_le32(file + 8, fg_crc32c(0, file + 12, FG_SEGMENT_HEADER_BYTES - 12));
	return fg_get_le64(file + 24);
}

static void mend_records(uint8_t *file, size_t size)
{
	uint32_t seed;

	if (size < FG_SEGMENT_HEADER_BYTES)
		return;
	seed = fg_record_seed(file + 40);
	for (size_t at = FG_SEGMENT_HEADER_BYTES; at + FG_RECORD_HEADER_BYTES <= size;) {
		size_t record = fg_record_claimed_size(file + at);

		if (record < FG_RECORD_HEADER_BYTES || record > size - at)
			break;
		fg_put_le32(file + at, fg_crc32c(seed, file + at + 4, record - 4));
		at += fg_record_align(record);
	}
}

static void put_file(struct sim_disk *disk, const uint8_t *data, size_t size, unsigned mend)
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
	fg_segment_path("main", first_seq, "", path);
	sim_disk_put(disk, path, 0, file, size);
	free(file);
}

static void use(struct fg_journal *j)
{
	struct fg_message messages[32];
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("d")};
	struct fg_cursor *c;
	uint64_t last = 0, seq, total = 0;
	int n;

	if (fg_cursor_open(j, "fuzz", 5, &c) < 0)
		return;
	fg_cursor_seek(c, 1);
	while ((n = fg_cursor_read(c, messages, 32)) > 0 && total < RECORDS_MAX) {
		for (int i = 0; i < n; i++) {
			if (messages[i].seq <= last || messages[i].device.size > 255)
				abort();
			last = messages[i].seq;
		}
		total += (uint64_t)n;
		fg_cursor_seek(c, last + 1);
		fg_cursor_ack(c, last);
	}
	if (fg_journal_append(j, &msg, &seq) < 0 || seq <= last)
		abort();
	fg_journal_flush(j, 1000);
	fg_cursor_seek(c, seq);
	if (fg_cursor_read(c, messages, 1) != 1 || messages[0].seq != seq)
		abort();
	fg_cursor_backlog(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_journal_options options = {
		.segment_bytes = 65536,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_quarantine_bytes = 1 << 20,
	};
	struct sim_disk *disk;
	struct fg_journal *j;
	size_t first;

	if (size < 3 || size > 2 * FILE_MAX)
		return 0;
	first = fg_get_le16(data + 1);
	if (first > size - 3)
		first = size - 3;
	disk = sim_disk_new(1, SIM_HONEST);
	options.fs = sim_disk_fs(disk);
	options.fs->mkdir(options.fs->ctx, "main");
	put_file(disk, data + 3, first, data[0]);
	if (size - 3 > first)
		put_file(disk, data + 3 + first, size - 3 - first, data[0]);
	/* Twice: the second start finds what the first one has mended. */
	for (int i = 0; i < 2; i++)
		if (fg_journal_open(&options, &j, NULL) == 0) {
			use(j);
			fg_journal_free(j);
		}
	sim_disk_free(disk);
	return 0;
}
