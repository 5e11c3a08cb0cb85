#include "journal/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/crc32c.h"

size_t fg_segment_header_size(size_t table_size)
{
	size_t size = FG_SEGMENT_TABLE_AT + table_size + FG_SEGMENT_HEADER_BYTES - 1;

	return size - size % FG_SEGMENT_HEADER_BYTES;
}

size_t fg_segment_header_encode(const struct fg_segment_header *h, uint8_t *out)
{
	size_t size = fg_segment_header_size(h->table_size);
	size_t end = FG_SEGMENT_TABLE_AT + h->table_size;

	if (h->table_size > 0)
		memmove(out + FG_SEGMENT_TABLE_AT, h->table, h->table_size);
	memset(out, 0, FG_SEGMENT_TABLE_AT);
	memset(out + end, 0, size - end);
	memcpy(out, FG_SEGMENT_MAGIC, 8);
	fg_put_le16(out + 12, FG_SEGMENT_VERSION);
	fg_put_le16(out + 14, (uint16_t)size);
	fg_put_le64(out + 24, h->first_seq);
	fg_put_le64(out + 32, (uint64_t)h->made_us);
	memcpy(out + 40, h->id, 16);
	fg_put_le32(out + 56, (uint32_t)h->table_size);
	fg_put_le32(out + 8, fg_crc32c(0, out + 12, size - 12));
	return size;
}

size_t fg_segment_header_claimed_size(const uint8_t *data)
{
	size_t size = fg_get_le16(data + 14);

	if (memcmp(data, FG_SEGMENT_MAGIC, 8) != 0 || size == 0 ||
	    size % FG_SEGMENT_HEADER_BYTES != 0)
		return 0;
	return size;
}

int fg_segment_header_decode(const uint8_t *data, size_t size, struct fg_segment_header *ret)
{
	*ret = (struct fg_segment_header){.size = size};
	if (size < FG_SEGMENT_HEADER_BYTES || fg_segment_header_claimed_size(data) != size ||
	    fg_crc32c(0, data + 12, size - 12) != fg_get_le32(data + 8))
		return -EBADMSG;
	ret->version = fg_get_le16(data + 12);
	ret->incompatible = fg_get_le32(data + 20);
	if (ret->version != FG_SEGMENT_VERSION || ret->incompatible != 0)
		return -EPROTONOSUPPORT;
	ret->first_seq = fg_get_le64(data + 24);
	ret->made_us = (int64_t)fg_get_le64(data + 32);
	memcpy(ret->id, data + 40, 16);
	ret->table_size = fg_get_le32(data + 56);
	ret->table = data + FG_SEGMENT_TABLE_AT;
	if (ret->table_size > size - FG_SEGMENT_TABLE_AT || ret->first_seq == 0)
		return -EBADMSG;
	return 0;
}

void fg_segment_path(const char *dir, uint64_t first_seq, const char *suffix, char *out)
{
	snprintf(out, FG_SEGMENT_PATH_MAX, "%s/%016" PRIx64 ".seg%s", dir, first_seq, suffix);
}

void fg_passed_path(const char *dir, uint64_t seq, char *out)
{
	snprintf(out, FG_SEGMENT_PATH_MAX, "%s/%016" PRIx64 FG_PASSED_SUFFIX, dir, seq);
}

enum fg_segment_name fg_segment_name_parse(const char *name, uint64_t *ret_first_seq)
{
	uint64_t seq = 0;

	for (int i = 0; i < 16; i++) {
		if (name[i] >= '0' && name[i] <= '9')
			seq = seq << 4 | (uint64_t)(name[i] - '0');
		else if (name[i] >= 'a' && name[i] <= 'f')
			seq = seq << 4 | (uint64_t)(name[i] - 'a' + 10);
		else
			return FG_SEGMENT_NAME_OTHER;
	}
	*ret_first_seq = seq;
	if (strcmp(name + 16, FG_PASSED_SUFFIX) == 0)
		return FG_SEGMENT_NAME_PASSED;
	if (strncmp(name + 16, ".seg", 4) != 0)
		return FG_SEGMENT_NAME_OTHER;
	if (name[20] == '\0')
		return FG_SEGMENT_NAME_SEGMENT;
	/* A second file set aside under the same name has a number behind it. */
	if (strncmp(name + 20, FG_SEGMENT_DAMAGED_SUFFIX, 8) == 0)
		return FG_SEGMENT_NAME_DAMAGED;
	return FG_SEGMENT_NAME_OTHER;
}

void fg_segments_init(struct fg_segments *l, struct fg_fs *fs, const char *dir,
		      uint64_t segment_bytes)
{
	*l = (struct fg_segments){.fs = fs, .segment_bytes = segment_bytes, .end_seq = 1};
	snprintf(l->dir, sizeof(l->dir), "%s", dir);
}

static void segment_close(struct fg_segments *l, struct fg_segment *s)
{
	if (s->file < 0)
		return;
	l->fs->close(l->fs->ctx, s->file);
	s->file = -1;
	l->n_open--;
}

void fg_segments_free(struct fg_segments *l)
{
	for (size_t i = 0; i < l->n; i++) {
		segment_close(l, l->items[i]);
		free(l->items[i]);
	}
	free(l->items);
	free(l->spare);
	l->items = NULL;
	l->spare = NULL;
	l->n = 0;
}

int fg_segments_reserve(struct fg_segments *l)
{
	if (l->n == l->capacity) {
		size_t capacity = l->capacity > 0 ? 2 * l->capacity : 16;
		struct fg_segment **items = realloc(l->items, capacity * sizeof(*items));

		if (!items)
			return -ENOMEM;
		l->items = items;
		l->capacity = capacity;
	}
	if (!l->spare)
		l->spare = malloc(sizeof(*l->spare));
	return l->spare ? 0 : -ENOMEM;
}

struct fg_segment *fg_segments_add(struct fg_segments *l, uint64_t first_seq, uint64_t header_bytes,
				   uint64_t used, uint64_t on_disk)
{
	struct fg_segment *s = l->spare;

	if (l->n > 0 && l->items[l->n - 1]->first_seq == first_seq) {
		s = l->items[l->n - 1];
		segment_close(l, s);
		l->generation++;
	} else {
		l->spare = NULL;
		l->items[l->n++] = s;
	}
	*s = (struct fg_segment){
		.first_seq = first_seq,
		.header_bytes = header_bytes,
		.used = used,
		.on_disk = on_disk,
		.file = -1,
	};
	return s;
}

void fg_segments_drop_oldest(struct fg_segments *l)
{
	segment_close(l, l->items[0]);
	free(l->items[0]);
	l->n--;
	memmove(l->items, l->items + 1, l->n * sizeof(struct fg_segment *));
	l->generation++;
}

int64_t fg_segments_find(const struct fg_segments *l, uint64_t seq)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (l->items[middle]->first_seq <= seq)
			low = middle + 1;
		else
			high = middle;
	}
	return (int64_t)low - 1;
}

uint64_t fg_segments_end_seq(const struct fg_segments *l, size_t i)
{
	return i + 1 < l->n ? l->items[i + 1]->first_seq : l->end_seq;
}

uint64_t fg_segments_bytes(const struct fg_segments *l)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < l->n; i++)
		bytes += l->items[i]->on_disk;
	return bytes;
}

static void close_least_used(struct fg_segments *l)
{
	struct fg_segment *least = NULL;

	for (size_t i = 0; i < l->n; i++)
		if (l->items[i]->file >= 0 && (!least || l->items[i]->last_use < least->last_use))
			least = l->items[i];
	if (least)
		segment_close(l, least);
}

int fg_segments_file(struct fg_segments *l, struct fg_segment *s)
{
	char path[FG_SEGMENT_PATH_MAX];
	int file;

	s->last_use = ++l->use_clock;
	if (s->file >= 0)
		return s->file;
	if (l->n_open >= FG_SEGMENTS_OPEN_MAX)
		close_least_used(l);
	fg_segment_path(l->dir, s->first_seq, "", path);
	file = l->fs->open(l->fs->ctx, path, false);
	if (file < 0)
		return file;
	l->n_open++;
	s->file = file;
	return file;
}

static uint64_t mark_stride(const struct fg_segments *l)
{
	uint64_t stride = l->segment_bytes / FG_SEGMENT_MARKS;

	return stride > 0 ? stride : 1;
}

void fg_segment_mark_set(const struct fg_segments *l, struct fg_segment *s, uint64_t offset,
			 uint64_t seq)
{
	uint64_t i = offset / mark_stride(l);

	if (i >= FG_SEGMENT_MARKS || s->marks[i].offset != 0 || offset > UINT32_MAX)
		return;
	s->marks[i].offset = (uint32_t)offset;
	s->marks[i].seq = (uint32_t)(seq - s->first_seq);
}

void fg_segment_mark_find(const struct fg_segment *s, uint64_t seq, uint64_t *ret_offset,
			  uint64_t *ret_seq)
{
	*ret_offset = s->header_bytes;
	*ret_seq = s->first_seq;
	for (unsigned i = FG_SEGMENT_MARKS; i-- > 0;)
		if (s->marks[i].offset != 0 && s->first_seq + s->marks[i].seq <= seq) {
			*ret_offset = s->marks[i].offset;
			*ret_seq = s->first_seq + s->marks[i].seq;
			return;
		}
}
