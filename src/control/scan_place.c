#include "control/scan_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal/record.h"
#include "util/crc32c.h"

#define BUFFER_BYTES ((size_t)256 << 10)
#define CRC_CHUNK_BYTES ((size_t)64 << 10)
#define PAGE_BYTES 4096u
/* Between records and behind the last one: eight zero bytes never start a record. */
static const uint8_t blank[FG_RECORD_ALIGN];

/* ---- reading */

/* One unreadable sector must not hide the rest: zeros stand for the pages the disk does not give.
 */
static void read_around(struct fg_scan_place *p, uint8_t *data, size_t size, uint64_t offset)
{
	for (size_t done = 0; done < size;) {
		size_t piece = PAGE_BYTES - (size_t)((offset + done) % PAGE_BYTES);
		ssize_t n;

		if (piece > size - done)
			piece = size - done;
		n = pread(p->fd, data + done, piece, (off_t)(offset + done));
		if (n < 0)
			p->read_error = -errno;
		if (n < (ssize_t)piece)
			memset(data + done + (n < 0 ? 0 : n), 0, piece - (size_t)(n < 0 ? 0 : n));
		done += piece;
	}
}

void fg_scan_place_read(struct fg_scan_place *p, uint8_t *data, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(p->fd, data + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			read_around(p, data + done, size - done, offset + done);
			return;
		}
		if (n == 0)
			break;
		done += (size_t)n;
	}
	memset(data + done, 0, size - done);
}

/* The @size bytes at @offset, which the file has. Returns NULL when there is no memory. */
static const uint8_t *bytes_at(struct fg_scan_place *p, uint64_t offset, size_t size)
{
	uint64_t left = p->file->size_bytes - offset;
	size_t capacity = size > BUFFER_BYTES ? size : BUFFER_BYTES;

	if (offset >= p->data_offset && offset - p->data_offset <= p->size &&
	    size <= p->size - (size_t)(offset - p->data_offset))
		return p->data + (offset - p->data_offset);
	if (capacity > p->capacity) {
		uint8_t *data = malloc(capacity);

		if (!data)
			return NULL;
		free(p->data);
		p->data = data;
		p->capacity = capacity;
	}
	p->size = left < p->capacity ? (size_t)left : p->capacity;
	p->data_offset = offset;
	fg_scan_place_read(p, p->data, p->size, offset);
	return p->data;
}

/* Of what is larger than the buffer, without believing the size before the CRC is right. */
static bool is_crc_right(struct fg_scan_place *p, uint64_t offset, size_t size, uint32_t seed)
{
	uint8_t chunk[CRC_CHUNK_BYTES];
	uint32_t crc = seed, expected = 0;

	for (size_t done = 0; done < size;) {
		size_t piece = size - done < sizeof(chunk) ? size - done : sizeof(chunk);
		size_t from = done == 0 ? 4 : 0;

		fg_scan_place_read(p, chunk, piece, offset + done);
		if (done == 0)
			memcpy(&expected, chunk, sizeof(expected));
		crc = fg_crc32c(crc, chunk + from, piece - from);
		done += piece;
	}
	return le32toh(expected) == crc;
}

/*
 * Is there a record at @offset with a sequence number from @min_seq to @max_seq? Returns its size,
 * 0 if not, or -ENOMEM.
 */
static int64_t probe(struct fg_scan_place *p, uint64_t offset, uint64_t min_seq, uint64_t max_seq,
		     uint32_t seed)
{
	uint64_t left = p->file->size_bytes - offset, seq;
	const uint8_t *data;
	size_t size;

	if (left < FG_RECORD_HEADER_BYTES)
		return 0;
	data = bytes_at(p, offset, FG_RECORD_HEADER_BYTES);
	if (!data)
		return -ENOMEM;
	size = fg_record_claimed_size(data);
	seq = fg_record_claimed_seq(data);
	if (size < FG_RECORD_HEADER_BYTES || size > left || seq < min_seq || seq > max_seq)
		return 0;
	if (size > p->capacity && !is_crc_right(p, offset, size, seed))
		return 0;
	data = bytes_at(p, offset, size);
	if (!data)
		return -ENOMEM;
	return fg_record_check(data, size, seq, seed) ? (int64_t)size : 0;
}

/* ---- one segment */

void fg_scan_place_close(struct fg_scan_place *p)
{
	if (p->file)
		close(p->fd);
	p->file = NULL;
}

int fg_scan_place_open(struct fg_scan_place *p, int dir_fd, const struct fg_scan_file *file,
		       uint64_t end_seq)
{
	int fd = openat(dir_fd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	fg_scan_place_close(p);
	p->file = file;
	p->fd = fd;
	p->offset = file->header_bytes;
	p->seq = file->first_seq;
	p->end_seq = end_seq;
	p->read_error = 0;
	p->size = 0;
	p->data_offset = 0;
	return 0;
}

int fg_scan_place_nonblank(struct fg_scan_place *p, uint64_t *ret_end)
{
	uint64_t size = p->file->size_bytes, at = p->offset;

	*ret_end = 0;
	while (at < size) {
		size_t piece = size - at < BUFFER_BYTES ? (size_t)(size - at) : BUFFER_BYTES;
		const uint8_t *data = bytes_at(p, at, piece);

		if (!data)
			return -ENOMEM;
		for (size_t i = piece; i-- > 0;)
			if (data[i] != 0) {
				*ret_end = at + i + 1;
				break;
			}
		at += piece;
	}
	return 0;
}

static bool is_blank(const uint8_t *data)
{
	return memcmp(data, blank, sizeof(blank)) == 0;
}

/*
 * There is no record at the place though there should be: go on to the next one in this file.
 * Returns 1 with a range of damaged records or, when nothing but zeros comes, of missing ones; 0
 * when the walk has no known end and no record comes any more; -ENOMEM.
 */
static int resync(struct fg_scan_place *p, uint32_t seed, struct fg_scan_event *ret)
{
	uint64_t size = p->file->size_bytes;
	uint64_t room = p->offset < size ? (size - p->offset) / FG_RECORD_MIN_BYTES + 1 : 1;
	/* No further than records fit, so that a wild sequence number is not believed. */
	uint64_t max_seq = p->end_seq - p->seq > room ? p->seq + room : p->end_seq - 1;
	uint64_t nonblank = 0;

	*ret = (struct fg_scan_event){
		.type = FG_SCAN_DAMAGED, .file = p->file, .first_seq = p->seq, .offset = p->offset};
	for (uint64_t at = p->offset; at + FG_RECORD_HEADER_BYTES <= size; at += FG_RECORD_ALIGN) {
		const uint8_t *data = bytes_at(p, at, FG_RECORD_ALIGN);
		int64_t found;

		if (!data)
			return -ENOMEM;
		if (is_blank(data))
			continue;
		found = probe(p, at, p->seq + 1, max_seq, seed);
		if (found < 0)
			return (int)found;
		if (found == 0)
			continue;
		data = bytes_at(p, at, FG_RECORD_HEADER_BYTES);
		if (!data)
			return -ENOMEM;
		ret->size_bytes = at - p->offset;
		ret->last_seq = fg_record_claimed_seq(data) - 1;
		p->seq = ret->last_seq + 1;
		p->offset = at;
		return 1;
	}
	if (p->end_seq == UINT64_MAX)
		return 0;
	if (fg_scan_place_nonblank(p, &nonblank) < 0)
		return -ENOMEM;
	/* Nothing but zeros up to the end: the records never were in this file. */
	if (nonblank == 0)
		ret->type = FG_SCAN_MISSING;
	ret->last_seq = p->end_seq - 1;
	ret->size_bytes = nonblank > p->offset ? nonblank - p->offset : 0;
	p->seq = p->end_seq;
	p->offset = size;
	return 1;
}

int fg_scan_place_next(struct fg_scan_place *p, uint32_t seed, struct fg_scan_event *ret)
{
	int64_t size = 0;

	if (p->seq >= p->end_seq)
		return 0;
	if (p->offset <= p->file->size_bytes)
		size = probe(p, p->offset, p->seq, p->seq, seed);
	else
		p->offset = p->file->size_bytes;
	if (size < 0)
		return (int)size;
	if (size == 0)
		return resync(p, seed, ret);
	*ret = (struct fg_scan_event){
		.type = FG_SCAN_RECORD,
		.file = p->file,
		.first_seq = p->seq,
		.last_seq = p->seq,
		.offset = p->offset,
		.size_bytes = (uint64_t)size,
		.data = bytes_at(p, p->offset, (size_t)size),
	};
	p->seq++;
	p->offset += fg_record_align((size_t)size);
	return 1;
}
