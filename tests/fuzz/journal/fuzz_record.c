/*
 * Bytes as a record, as the body of a quarantined message, as a cursor table and as a segment's
 * header: they are taken apart or refused, and nothing beyond them is read. What can be taken apart
 * can be put together again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "journal/cursor_table.h"
#include "journal/record.h"
#include "journal/segment.h"
#include "util/span.h"

static unsigned sum;

/* Each byte of a span is read, so that a sanitizer sees one that points elsewhere. */
static void look(struct fg_span s)
{
	for (size_t i = 0; i < s.size; i++)
		sum += (uint8_t)s.data[i];
}

static void put_together(const struct fg_record *r)
{
	struct fg_record again;
	int64_t size = fg_record_size(r);
	uint8_t *bytes;

	if (size < 0)
		abort();
	bytes = malloc((size_t)size);
	if (!bytes)
		return;
	if (fg_record_encode(r, 1, bytes) != (size_t)size ||
	    !fg_record_check(bytes, (size_t)size, r->seq, 1) ||
	    fg_record_decode(bytes, fg_record_claimed_size(bytes), &again) < 0 ||
	    !fg_span_equal(again.device, r->device) || !fg_span_equal(again.stream, r->stream) ||
	    !fg_span_equal(again.content_type, r->content_type) ||
	    !fg_span_equal(again.ref, r->ref) || !fg_span_equal(again.link, r->link) ||
	    !fg_span_equal(again.lane, r->lane) ||
	    !fg_span_equal(again.unsynchronised, r->unsynchronised) ||
	    !fg_span_equal(again.body, r->body))
		abort();
	free(bytes);
}

static void take_table(const uint8_t *data, size_t size)
{
	struct fg_cursor_table table;
	struct fg_range range;

	if (fg_cursor_table_decode(data, size, &table) < 0)
		return;
	for (unsigned i = 0; i < table.n; i++) {
		const struct fg_cursor_entry *e = &table.entries[i];

		look(fg_span_str(e->name));
		for (unsigned k = 0; k < e->n_ranges; k++)
			if (fg_cursor_entry_range(data, e, k, &range) &&
			    (range.first > range.last || range.last <= e->watermark))
				abort();
		for (unsigned k = 0; k < e->n_left_behind; k++)
			sum += (unsigned)fg_cursor_entry_left_behind(data, e, k).key;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_segment_header header;
	struct fg_quarantined q;
	struct fg_record r;
	size_t claimed;

	if (size >= FG_RECORD_HEADER_BYTES)
		fg_record_check(data, size, fg_record_claimed_seq(data), 0);
	if (fg_record_decode(data, size, &r) == 0) {
		look(r.device);
		look(r.stream);
		look(r.content_type);
		look(r.ref);
		look(r.link);
		look(r.lane);
		look(r.unsynchronised);
		look(r.body);
		fg_settled_decode(&r);
		put_together(&r);
	}
	r.kind = FG_RECORD_KIND_QUARANTINE;
	r.body = fg_span_of(data, size);
	if (fg_quarantine_decode(&r, &q) == 0) {
		look(q.link);
		look(q.reason);
		look(q.topic);
		look(q.body);
	}
	take_table(data, size);
	claimed = size >= FG_SEGMENT_HEADER_BYTES ? fg_segment_header_claimed_size(data) : 0;
	if (claimed > 0 && claimed <= size && fg_segment_header_decode(data, claimed, &header) == 0)
		look(fg_span_of(header.table, header.table_size));
	return 0;
}
