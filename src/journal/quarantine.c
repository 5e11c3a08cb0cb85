#include "journal/journal.h"

#include <errno.h>

#include "journal/reader.h"
#include "journal/recovery.h"

#define ASSUMED_SEGMENT_BYTES                                                                      \
	((uint64_t)16                                                                              \
	 << 20) /* only a hint for how finely places are noted                        \
			      */

static void ignore_table(void *arg, uint64_t seq)
{
	(void)arg;
	(void)seq;
}

static int walk(struct fg_reader *reader,
		int (*each)(void *arg, uint64_t number, const struct fg_quarantined *q), void *arg)
{
	struct fg_read_result found;
	struct fg_quarantined q;
	struct fg_record record;
	int r;

	while ((r = fg_reader_next(reader, true, &found)) > FG_READ_END) {
		if (r != FG_READ_RECORD || fg_record_decode(found.data, found.size, &record) < 0 ||
		    fg_quarantine_decode(&record, &q) < 0)
			continue;
		r = each(arg, found.seq, &q);
		if (r != 0)
			return r;
	}
	return r;
}

int fg_journal_each_quarantined(struct fg_fs *fs, uint64_t from,
				int (*each)(void *arg, uint64_t number,
					    const struct fg_quarantined *q),
				void *arg, struct fg_error *err)
{
	struct fg_recovery *recovery = NULL;
	struct fg_recovered found;
	struct fg_segments lane;
	struct fg_reader reader;
	int r;

	fg_segments_init(&lane, fs, "quarantine", ASSUMED_SEGMENT_BYTES);
	r = fg_recovery_look(&lane, ignore_table, NULL, &recovery, &found, err);
	if (r == 0) {
		uint64_t first = lane.n > 0 ? lane.items[0]->first_seq : lane.end_seq;

		fg_reader_init(&reader, &lane);
		fg_reader_seek(&reader, from > first ? from : first);
		r = walk(&reader, each, arg);
		if (r == -EIO)
			fg_error_set(err, r, "journal: cannot read the quarantine");
		fg_reader_free(&reader);
	}
	fg_recovery_free(recovery);
	fg_segments_free(&lane);
	return r;
}
