/*
 * Links as they might behave, on a disk that forgets, against a model of one flag for each record:
 * records are sent, acknowledged in any order, rewound; the newest are taken first; sessions fall
 * behind and come back; the limit takes what is old; and now and then the power goes, the process is
 * killed, or all is shut down as it should be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/cursor.h"
#include "simdisk.h"
#include "util/bytes.h"
#include "util/span.h"

#define N_LINKS 2
#define N_KEYS 5
#define SEQ_MAX 20000
#define SEEDS 40
#define RUNS_PER_SEED 12
#define STEPS_PER_RUN 250
#define SEGMENT_BYTES 49152 /* tables have room for all ranges */
#define HOLES_MAX 16        /* when there are so many ranges, nobody jumps ahead */

struct model_record {
	bool is_there;
	bool is_acked; /* its ticket was committed: a promise */
	uint8_t key;
	uint8_t only_link; /* 0: for all, else the link's number plus 1 */
	bool is_note;
	uint64_t ticket;
	bool is_in_flight[N_LINKS];
	bool is_done[N_LINKS];  /* the cloud has it, and nobody had to start over since */
	bool was_done[N_LINKS]; /* the cloud has had it at some time */
	bool is_told[N_LINKS];  /* that it was lost */
};

struct model_link {
	const char *name;
	uint64_t max_unsaved;
	struct fg_cursor *cursor;
	struct fg_pass *live, *behind;
	uint64_t first; /* records below are none of its business; 0: never opened */
	uint64_t n_in_flight;
};

struct world {
	uint64_t random;
	struct sim_disk *disk;
	struct fg_journal_options options;
	struct fg_journal *j;
	int64_t now_ms;
	struct model_link links[N_LINKS];
	struct model_record records[SEQ_MAX];
	uint64_t next_seq;
	uint64_t n_lost, n_told, n_duplicates, n_delivered, n_rejoined, n_fallen, n_jumps;
};

static uint64_t chance(struct world *w, uint64_t n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (w->random >> 33) % n;
}

static void committed(void *arg, uint64_t ticket)
{
	struct world *w = arg;

	for (uint64_t seq = 1; seq < w->next_seq; seq++)
		if (w->records[seq].is_there && w->records[seq].ticket <= ticket)
			w->records[seq].is_acked = true;
}

/* ---- the model's view of the cursor */

static bool is_for(const struct world *w, int i, uint64_t seq)
{
	const struct model_record *r = &w->records[seq];

	return r->is_there && !r->is_note && (r->only_link == 0 || r->only_link == i + 1) &&
	       w->links[i].first > 0 && seq >= w->links[i].first;
}

static void lost(void *arg, const char *name, uint64_t records, uint64_t seq, const char *why)
{
	struct world *w = arg;
	int i = strcmp(name, w->links[0].name) == 0 ? 0 : 1;
	bool is_limit = strcmp(why, "journal limit") == 0;

	/*
	 * There is no damage: only the limit may take anything. After a cut it may be told of again,
	 * when the file was gone and the table that says so was not there yet.
	 */
	assert_true(w->options.max_bytes != UINT64_MAX);
	assert_true(records > 0);
	for (uint64_t s = 1; s <= seq; s++) {
		struct model_record *r = &w->records[s];

		assert_true(is_limit || r->is_told[i] || r->was_done[i] || !r->is_acked ||
			    !is_for(w, i, s));
		r->is_told[i] = true;
	}
	w->n_lost += records;
}

static bool is_open(const struct world *w, int i, uint64_t seq)
{
	const struct fg_cursor *c = w->links[i].cursor;
	uint64_t from = fg_cursor_left_behind(c, w->records[seq].key);

	return fg_cursor_settled_to(c, seq) == 0 || (from != 0 && from <= seq);
}

/* ---- what a link does */

static void start_over(struct world *w, int i, uint64_t seq)
{
	struct model_record *r = &w->records[seq];

	w->links[i].n_in_flight -= r->is_in_flight[i];
	r->is_in_flight[i] = false;
	r->is_done[i] = false;
}

static void ack(struct world *w, int i, uint64_t seq)
{
	struct model_record *r = &w->records[seq];
	uint64_t first = seq;

	w->links[i].n_in_flight -= r->is_in_flight[i];
	r->is_in_flight[i] = false;
	r->is_done[i] = r->was_done[i] = true;
	/* With what is no record for it in front, at times. */
	while (chance(w, 2) && first > 1 && !is_for(w, i, first - 1))
		first--;
	fg_cursor_settle(w->links[i].cursor, first, seq);
}

static void send_live(struct world *w, int i)
{
	struct model_link *l = &w->links[i];
	struct fg_message m[32];
	int n = fg_pass_read(l->live, m, 1 + chance(w, 32), NULL, NULL);

	assert_true(n >= 0 || n == -EAGAIN || sim_disk_is_off(w->disk));
	for (int k = 0; k < n; k++) {
		struct model_record *r = &w->records[m[k].seq];

		assert_true(is_for(w, i, m[k].seq));
		if (r->is_in_flight[i])
			continue;
		if (fg_cursor_left_behind(l->cursor, r->key) != 0) {
			fg_cursor_settle(l->cursor, m[k].seq, m[k].seq);
			continue;
		}
		if (!fg_cursor_may_send(l->cursor, l->n_in_flight)) {
			fg_pass_seek(l->live, m[k].seq);
			return;
		}
		r->is_in_flight[i] = true;
		l->n_in_flight++;
	}
}

static void ack_some(struct world *w, int i)
{
	for (uint64_t seq = 1; seq < w->next_seq; seq++)
		if (w->records[seq].is_in_flight[i] && chance(w, 2))
			ack(w, i, seq);
}

static void end_session(struct world *w, int i)
{
	for (uint64_t seq = 1; seq < w->next_seq; seq++)
		if (w->records[seq].is_in_flight[i])
			start_over(w, i, seq);
	fg_pass_seek(w->links[i].live, fg_cursor_watermark(w->links[i].cursor) + 1);
}

static void jump_ahead(struct world *w, int i)
{
	struct model_link *l = &w->links[i];

	if (l->cursor->settled.n >= HOLES_MAX)
		return;
	fg_pass_seek(l->live, fg_cursor_end(l->cursor));
	w->n_jumps++;
}

static void fall_behind(struct world *w, int i)
{
	struct model_link *l = &w->links[i];
	uint64_t from = fg_cursor_end(l->cursor);
	uint8_t key = (uint8_t)chance(w, N_KEYS);

	if (fg_cursor_left_behind(l->cursor, key) != 0)
		return;
	for (uint64_t seq = 1; seq < from; seq++)
		if (is_for(w, i, seq) && w->records[seq].key == key && is_open(w, i, seq))
			from = seq;
	if (fg_cursor_leave_behind(l->cursor, key, from) < 0)
		return;
	w->n_fallen++;
	for (uint64_t seq = from; seq < w->next_seq; seq++) {
		if (!is_for(w, i, seq) || w->records[seq].key != key)
			continue;
		if (w->records[seq].is_in_flight[i])
			fg_cursor_settle(l->cursor, seq, seq);
		start_over(w, i, seq);
	}
}

struct wanted {
	struct world *w;
	int link;
	uint8_t key;
	uint64_t from;
};

static bool is_wanted(void *arg, const struct fg_message *m)
{
	const struct wanted *wanted = arg;

	assert_true(is_for(wanted->w, wanted->link, m->seq));
	return wanted->w->records[m->seq].key == wanted->key && m->seq >= wanted->from;
}

/* One that fell behind is back, and gets some of what it missed, in order. */
static void catch_up(struct world *w, int i)
{
	struct model_link *l = &w->links[i];
	struct wanted wanted = {.w = w, .link = i, .key = (uint8_t)chance(w, N_KEYS)};
	struct fg_message m[8];
	int n, n_left = 1 + (int)chance(w, 30);

	wanted.from = fg_cursor_left_behind(l->cursor, wanted.key);
	if (wanted.from == 0)
		return;
	fg_pass_seek(l->behind, wanted.from);
	while ((n = fg_pass_read(l->behind, m, 8, is_wanted, &wanted)) > 0 || n == -EAGAIN) {
		for (int k = 0; k < n; k++) {
			if (w->records[m[k].seq].key != wanted.key)
				continue;
			if (n_left-- == 0 || !fg_cursor_may_send(l->cursor, l->n_in_flight))
				return;
			ack(w, i, m[k].seq);
			fg_cursor_leave_behind(l->cursor, wanted.key, m[k].seq + 1);
			w->n_delivered++;
		}
	}
	if (n < 0)
		return;
	fg_cursor_rejoin(l->cursor, wanted.key);
	w->n_rejoined++;
	if (chance(w, 2))
		fg_pass_rest(l->behind);
}

/* ---- what must hold */

static bool wants_those_behind(void *arg, const struct fg_message *m)
{
	const struct wanted *wanted = arg;

	return is_open(wanted->w, wanted->link, m->seq);
}

/* Reading finds what is open, all of it and nothing else. */
static void check_reading(struct world *w, int i)
{
	struct wanted wanted = {.w = w, .link = i};
	struct fg_message m[8];
	struct fg_pass *p;
	uint64_t next = 1;
	int n;

	assert_int_equal(fg_pass_open(w->links[i].cursor, &p), 0);
	while ((n = fg_pass_read(p, m, 8, wants_those_behind, &wanted)) > 0 || n == -EAGAIN)
		for (int k = 0; k < n; k++) {
			assert_true(is_for(w, i, m[k].seq));
			assert_true(is_open(w, i, m[k].seq));
			assert_int_equal(fg_get_le64(m[k].body.data), m[k].seq);
			for (; next < m[k].seq; next++)
				assert_false(is_for(w, i, next) && w->records[next].is_acked &&
					     !w->records[next].is_told[i] && is_open(w, i, next));
			next = m[k].seq + 1;
		}
	fg_pass_close(p);
	assert_int_equal(n, 0);
	for (; next < fg_cursor_end(w->links[i].cursor); next++)
		assert_false(is_for(w, i, next) && w->records[next].is_acked &&
			     !w->records[next].is_told[i] && is_open(w, i, next));
}

static void check(struct world *w, int i)
{
	const struct fg_cursor *c = w->links[i].cursor;

	for (uint64_t seq = 1; seq < w->next_seq; seq++) {
		const struct model_record *r = &w->records[seq];

		if (!is_for(w, i, seq))
			continue;
		/* None is skipped. */
		if (r->is_acked && !r->was_done[i] && !r->is_told[i])
			assert_true(is_open(w, i, seq));
		/* None that is settled is offered. */
		if (r->is_done[i])
			assert_false(is_open(w, i, seq));
	}
	assert_true(fg_cursor_saved(c) <= fg_cursor_watermark(c));
	assert_true(fg_cursor_watermark(c) < fg_cursor_end(c));
}

/* After a start: what is sent again, and was there before. */
static void check_start(struct world *w, int i, bool is_clean)
{
	uint64_t duplicates = 0;

	for (uint64_t seq = 1; seq < w->next_seq; seq++) {
		struct model_record *r = &w->records[seq];

		if (!is_for(w, i, seq))
			continue;
		if (is_open(w, i, seq)) {
			assert_false(is_clean && r->is_done[i]);
			duplicates += r->is_done[i] || r->is_in_flight[i];
			r->is_done[i] = false;
		}
		r->is_in_flight[i] = false;
	}
	if (!is_clean)
		assert_true(duplicates <= w->links[i].max_unsaved);
	w->n_duplicates += duplicates;
	w->links[i].n_in_flight = 0;
}

/* ---- starts and ends */

static void start(struct world *w, bool is_clean)
{
	struct fg_journal_stats stats;

	assert_int_equal(fg_journal_open(&w->options, &w->j, NULL), 0);
	for (uint64_t seq = 1; seq < w->next_seq; seq++)
		if (!w->records[seq].is_acked)
			w->records[seq].ticket = UINT64_MAX;
	fg_journal_get_stats(w->j, &stats);
	for (uint64_t seq = stats.next_seq; seq < w->next_seq; seq++) {
		assert_false(w->records[seq].is_acked);
		w->records[seq] = (struct model_record){.is_there = false};
	}
	w->next_seq = stats.next_seq;
	for (int i = 0; i < N_LINKS; i++) {
		struct model_link *l = &w->links[i];

		assert_int_equal(
			fg_cursor_open(w->j, FG_LANE_MAIN, l->name, l->max_unsaved, &l->cursor), 0);
		if (l->first == 0)
			l->first = fg_cursor_watermark(l->cursor) + 1;
		assert_int_equal(fg_pass_open(l->cursor, &l->live), 0);
		assert_int_equal(fg_pass_open(l->cursor, &l->behind), 0);
		check_start(w, i, is_clean);
		check(w, i);
		check_reading(w, i);
	}
}

static void end(struct world *w, bool *ret_is_clean)
{
	uint64_t how = chance(w, 5);

	for (int i = 0; i < N_LINKS; i++) {
		/* A link that shuts down knows what it did not get an answer for. */
		for (uint64_t seq = 1; seq < w->next_seq && how == 0; seq++)
			if (w->records[seq].is_in_flight[i])
				start_over(w, i, seq);
		fg_pass_close(w->links[i].live);
		fg_pass_close(w->links[i].behind);
	}
	*ret_is_clean = how == 0 && !sim_disk_is_off(w->disk);
	if (!*ret_is_clean)
		sim_disk_cut(w->disk);
	w->j = fg_journal_free(w->j);
	if (how <= 1)
		sim_disk_restart(w->disk);
	else
		sim_disk_power_on(w->disk);
}

static void append(struct world *w)
{
	uint8_t body[200];
	struct fg_message msg = {.kind = FG_TELEMETRY,
				 .device = fg_span_str("dev"),
				 .body = fg_span_of(body, 8 + chance(w, sizeof(body) - 8))};
	struct fg_journal_stats stats;
	struct model_record r = {.is_there = true, .key = (uint8_t)chance(w, N_KEYS)};
	uint64_t seq;

	fg_journal_get_stats(w->j, &stats);
	memset(body, (int)stats.next_seq, sizeof(body));
	fg_put_le64(body, stats.next_seq);
	if (chance(w, 6) == 0) {
		r.only_link = (uint8_t)(1 + chance(w, N_LINKS + 1));
		msg.link = fg_span_str(r.only_link > N_LINKS ? "nobody"
							     : w->links[r.only_link - 1].name);
	}
	if (chance(w, 20) == 0) {
		msg.kind = (enum fg_kind)FG_NOTE_FIRST;
		r.is_note = true;
	}
	if (fg_journal_append(w->j, FG_LANE_MAIN, &msg, &seq) < 0)
		return;
	assert_int_equal(seq, stats.next_seq);
	assert_true(seq < SEQ_MAX);
	r.ticket = fg_journal_ticket(w->j);
	w->records[seq] = r;
	w->next_seq = seq + 1;
}

static void step(struct world *w)
{
	int i = (int)chance(w, N_LINKS);

	w->now_ms += (int64_t)chance(w, 40);
	switch (chance(w, 16)) {
	case 0:
	case 1:
	case 2:
	case 3:
		for (uint64_t n = chance(w, 6); n > 0; n--)
			append(w);
		break;
	case 4:
	case 5:
	case 6:
		fg_journal_flush(w->j, w->now_ms);
		break;
	case 7:
		w->now_ms += chance(w, 8) == 0 ? 6000 : 0;
		fg_journal_tick(w->j, w->now_ms);
		break;
	case 8:
	case 9:
	case 10:
		send_live(w, i);
		break;
	case 11:
	case 12:
		ack_some(w, i);
		break;
	case 13:
		if (chance(w, 2) == 0)
			end_session(w, i);
		break;
	case 14:
		if (chance(w, 3) == 0)
			jump_ahead(w, i);
		else
			fall_behind(w, i);
		break;
	default:
		catch_up(w, i);
		break;
	}
}

static void live_a_while(struct world *w)
{
	if (chance(w, 2))
		sim_disk_cut_in(w->disk, 1 + chance(w, 60));
	for (int n = 0; n < STEPS_PER_RUN && !sim_disk_is_off(w->disk); n++) {
		step(w);
		if (n % 16 != 0 || sim_disk_is_off(w->disk))
			continue;
		for (int i = 0; i < N_LINKS; i++) {
			check(w, i);
			check_reading(w, i);
		}
	}
	sim_disk_cut_in(w->disk, 0);
}

static void run(struct world *w, uint64_t seed, bool has_limit)
{
	bool is_clean = false;

	*w = (struct world){.random = seed, .now_ms = 1000, .next_seq = 1};
	w->disk = sim_disk_new(seed, SIM_HONEST);
	w->options = (struct fg_journal_options){
		.fs = sim_disk_fs(w->disk),
		.segment_bytes = SEGMENT_BYTES,
		.batch_bytes = 4096,
		.max_bytes = has_limit ? 5 * SEGMENT_BYTES : UINT64_MAX,
		.max_quarantine_bytes = UINT64_MAX,
		.max_left_behind = 6,
		.committed = committed,
		.lost = lost,
		.arg = w,
	};
	for (int i = 0; i < N_LINKS; i++) {
		w->links[i].name = i == 0 ? "first" : "second";
		w->links[i].max_unsaved = 1 + chance(w, 40);
	}
	start(w, false);
	for (int n = 0; n < RUNS_PER_SEED; n++) {
		live_a_while(w);
		end(w, &is_clean);
		start(w, is_clean);
	}
	for (int i = 0; i < N_LINKS; i++) {
		fg_pass_close(w->links[i].live);
		fg_pass_close(w->links[i].behind);
	}
	fg_journal_free(w->j);
	sim_disk_free(w->disk);
}

static void many(bool has_limit)
{
	struct world *w = malloc(sizeof(*w));
	uint64_t n_lost = 0, n_duplicates = 0, n_rejoined = 0, n_jumps = 0, n_delivered = 0;

	assert_non_null(w);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		print_message("seed %u\n", (unsigned)seed);
		run(w, seed, has_limit);
		n_lost += w->n_lost;
		n_duplicates += w->n_duplicates;
		n_rejoined += w->n_rejoined;
		n_jumps += w->n_jumps;
		n_delivered += w->n_delivered;
	}
	free(w);
	/* All of it did happen. */
	assert_true(n_duplicates > SEEDS);
	assert_true(n_rejoined > SEEDS);
	assert_true(n_delivered > SEEDS);
	assert_true(n_jumps > SEEDS);
	assert_true(has_limit == (n_lost > 0));
}

static void nothing_is_skipped_and_little_is_sent_twice(void **state)
{
	(void)state;
	many(false);
}

static void limit_takes_only_what_it_tells_of(void **state)
{
	(void)state;
	many(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_skipped_and_little_is_sent_twice),
		cmocka_unit_test(limit_takes_only_what_it_tells_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
