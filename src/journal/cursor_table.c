#include "journal/cursor_table.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"

/* Ten thousand years: what claims more is not a clock, and nothing may overflow by it. */
#define CLOCK_MAX_MS ((uint64_t)10000 * 366 * 86400000)

size_t fg_cursor_table_encode(const struct fg_cursor_table *table, uint8_t *out)
{
	uint8_t *at = out;

	fg_put_le16(at, (uint16_t)table->n);
	at += 2;
	for (unsigned i = 0; i < table->n; i++) {
		const struct fg_cursor_entry *e = &table->entries[i];
		size_t size = strlen(e->name);

		*at++ = (uint8_t)size;
		memcpy(at, e->name, size);
		at += size;
		fg_put_le64(at, e->watermark);
		fg_put_le16(at + 8, 0);
		at += 10;
	}
	fg_put_le64(at, (uint64_t)table->clock_ms);
	fg_put_le64(at + 8, (uint64_t)table->utc_us);
	fg_put_le64(at + 16, (uint64_t)table->newest_ms);
	at += FG_CURSOR_TABLE_CLOCK_BYTES;
	return (size_t)(at - out);
}

int fg_cursor_table_decode(const uint8_t *data, size_t size, struct fg_cursor_table *ret)
{
	const uint8_t *end = data + size;
	unsigned n;

	*ret = (struct fg_cursor_table){.n = 0};
	if (size < 2)
		return -EBADMSG;
	n = fg_get_le16(data);
	data += 2;
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *name = data + 1;
		size_t name_size, n_ranges;
		uint64_t watermark;

		if (end - data < 1 || end - data < 1 + data[0] + 10)
			return -EBADMSG;
		name_size = data[0];
		data = name + name_size;
		watermark = fg_get_le64(data);
		n_ranges = fg_get_le16(data + 8);
		data += 10;
		if ((size_t)(end - data) < n_ranges * 16)
			return -EBADMSG;
		for (; n_ranges > 0; n_ranges--, data += 16)
			if (fg_get_le64(data) <= watermark + 1 && fg_get_le64(data + 8) > watermark)
				watermark = fg_get_le64(data + 8);
		if (name_size == 0 || name_size > FG_CURSOR_NAME_MAX || ret->n == FG_CURSORS_MAX ||
		    memchr(name, 0, name_size))
			continue;
		memcpy(ret->entries[ret->n].name, name, name_size);
		ret->entries[ret->n].name[name_size] = '\0';
		ret->entries[ret->n++].watermark = watermark;
	}
	if (data == end)
		return 0;
	if (end - data < FG_CURSOR_TABLE_CLOCK_BYTES)
		return -EBADMSG;
	if (fg_get_le64(data) > CLOCK_MAX_MS || fg_get_le64(data + 16) > fg_get_le64(data))
		return 0;
	ret->clock_ms = (int64_t)fg_get_le64(data);
	ret->utc_us = (int64_t)fg_get_le64(data + 8);
	ret->newest_ms = (int64_t)fg_get_le64(data + 16);
	return 0;
}
