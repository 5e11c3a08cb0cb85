#include "journal/journal.h"

#include <errno.h>
#include <string.h>

#include "journal/reader.h"
#include "journal/recovery.h"
#include "journal/settled.h"

/* Only a hint for how finely places are noted. */
#define ASSUMED_SEGMENT_BYTES ((uint64_t)16 << 20)

static int cannot_read(int error, struct fg_error *err)
{
	return fg_error_set(err, error, "journal: cannot read the quarantine: %s",
			    strerror(-error));
}

static int find_settled(struct fg_reader *reader, struct fg_settled *settled, struct fg_error *err)
{
	struct fg_read_result found;
	int r;

	fg_reader_seek(reader, settled->first);
	while ((r = fg_reader_next(reader, true, &found)) > FG_READ_END)
		if (r == FG_READ_RECORD)
			fg_settled_take(settled, found.seq, found.data, found.size);
	return r < 0 ? cannot_read(r, err) : 0;
}

/* Those of the window. */
static int walk_window(struct fg_reader *reader, const struct fg_settled *settled,
		       int (*each)(void *arg, uint64_t number, const struct fg_quarantined *q),
		       void *arg, struct fg_error *err)
{
	struct fg_read_result found;
	struct fg_quarantined q;
	struct fg_record record;
	int r;

	fg_reader_seek(reader, settled->first);
	while ((r = fg_reader_next(reader, true, &found)) > FG_READ_END) {
		if (r != FG_READ_RECORD)
			continue;
		if (found.seq >= settled->next)
			return 0;
		if (!fg_settled_is_open(settled, found.seq) ||
		    fg_record_decode(found.data, found.size, &record) < 0 ||
		    fg_quarantine_decode(&record, &q) < 0)
			continue;
		r = each(arg, found.seq, &q);
		if (r != 0)
			return r;
	}
	return r < 0 ? cannot_read(r, err) : 0;
}

static int walk(struct fg_reader *reader, uint64_t from,
		int (*each)(void *arg, uint64_t number, const struct fg_quarantined *q), void *arg,
		struct fg_error *err)
{
	struct fg_settled settled;
	int r;

	r = fg_settled_new(&settled, from);
	if (r < 0)
		return cannot_read(r, err);
	do {
		r = find_settled(reader, &settled, err);
		if (r == 0)
			r = walk_window(reader, &settled, each, arg, err);
	} while (r == 0 && fg_settled_go_on(&settled));
	fg_settled_free(&settled);
	return r;
}

int fg_journal_each_quarantined(struct fg_fs *fs, uint64_t from,
				int (*each)(void *arg, uint64_t number,
					    const struct fg_quarantined *q),
				void *arg, struct fg_error *err)
{
	struct fg_recovery *recovery = NULL;
	struct fg_recovered found = {0};
	struct fg_segments lane;
	struct fg_reader reader;
	int r;

	fg_segments_init(&lane, fs, "quarantine", ASSUMED_SEGMENT_BYTES);
	r = fg_recovery_look(&lane, NULL, NULL, &recovery, &found, err);
	if (r == 0) {
		uint64_t first = lane.n > 0 ? lane.items[0]->first_seq : lane.end_seq;

		fg_reader_init(&reader, &lane);
		r = walk(&reader, from > first ? from : first, each, arg, err);
		fg_reader_free(&reader);
	}
	fg_recovery_free(recovery);
	fg_recovered_free(&found);
	fg_segments_free(&lane);
	return r;
}
