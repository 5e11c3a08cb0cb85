#include "journal/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/reader.h"
#include "journal/recovery.h"

/* Only a hint for how finely places are noted. */
#define ASSUMED_SEGMENT_BYTES ((uint64_t)16 << 20)
/* So many numbers are looked at at a time: a bit each tells which are settled. */
#define WINDOW_NUMBERS ((uint64_t)1 << 20)

/* The messages from number `first` on, WINDOW_NUMBERS of them. */
struct window {
	struct fg_reader *reader;
	uint64_t first;
	uint64_t next; /* the first number behind the window that there is; UINT64_MAX: none */
	uint8_t *settled;
};

static void ignore_table(void *arg, uint64_t seq)
{
	(void)arg;
	(void)seq;
}

/* A message is settled by a record behind it, which may be anywhere up to the lane's end. */
static int find_settled(struct window *w)
{
	struct fg_read_result found;
	struct fg_record record;
	uint64_t number, bit;
	int r;

	memset(w->settled, 0, WINDOW_NUMBERS / 8);
	w->next = UINT64_MAX;
	fg_reader_seek(w->reader, w->first);
	while ((r = fg_reader_next(w->reader, true, &found)) > FG_READ_END) {
		if (r != FG_READ_RECORD)
			continue;
		if (found.seq >= w->first + WINDOW_NUMBERS && found.seq < w->next)
			w->next = found.seq;
		if (fg_record_decode(found.data, found.size, &record) < 0)
			continue;
		number = fg_settled_decode(&record);
		if (number < w->first || number >= found.seq)
			continue;
		bit = number - w->first;
		if (bit < WINDOW_NUMBERS)
			w->settled[bit / 8] |= (uint8_t)(1 << bit % 8);
	}
	return r;
}

static bool is_settled(const struct window *w, uint64_t number)
{
	uint64_t bit = number - w->first;

	return w->settled[bit / 8] & 1 << bit % 8;
}

static int walk_window(struct window *w,
		       int (*each)(void *arg, uint64_t number, const struct fg_quarantined *q),
		       void *arg)
{
	struct fg_read_result found;
	struct fg_quarantined q;
	struct fg_record record;
	int r;

	fg_reader_seek(w->reader, w->first);
	while ((r = fg_reader_next(w->reader, true, &found)) > FG_READ_END) {
		if (r != FG_READ_RECORD)
			continue;
		if (found.seq - w->first >= WINDOW_NUMBERS)
			return 0;
		if (is_settled(w, found.seq) ||
		    fg_record_decode(found.data, found.size, &record) < 0 ||
		    fg_quarantine_decode(&record, &q) < 0)
			continue;
		r = each(arg, found.seq, &q);
		if (r != 0)
			return r;
	}
	return r;
}

static int walk(struct fg_reader *reader, uint64_t from,
		int (*each)(void *arg, uint64_t number, const struct fg_quarantined *q), void *arg)
{
	struct window w = {.reader = reader, .first = from};
	int r = 0;

	w.settled = malloc(WINDOW_NUMBERS / 8);
	if (!w.settled)
		return -ENOMEM;
	while (r == 0 && w.first != UINT64_MAX) {
		r = find_settled(&w);
		if (r == 0)
			r = walk_window(&w, each, arg);
		w.first = w.next;
	}
	free(w.settled);
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
	r = fg_recovery_look(&lane, ignore_table, NULL, &recovery, &found, err);
	if (r == 0) {
		uint64_t first = lane.n > 0 ? lane.items[0]->first_seq : lane.end_seq;

		fg_reader_init(&reader, &lane);
		r = walk(&reader, from > first ? from : first, each, arg);
		if (r == -EIO || r == -ENOMEM)
			fg_error_set(err, r, "journal: cannot read the quarantine: %s",
				     strerror(-r));
		fg_reader_free(&reader);
	}
	fg_recovery_free(recovery);
	fg_recovered_free(&found);
	fg_segments_free(&lane);
	return r;
}
