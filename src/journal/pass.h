#pragma once

/*
 * A read position of a cursor: journal.h, "reading". It walks the lane with a reader of its own,
 * past what the cursor has settled, and tells the cursor of what it passes over: kinds that are no
 * messages, records for other links, damage.
 */
#include "journal/cursor.h"
#include "journal/reader.h"

struct fg_pass {
	struct fg_cursor *cursor; /* borrowed */
	struct fg_reader reader;
	uint64_t next;
	bool wants_notes;
};
