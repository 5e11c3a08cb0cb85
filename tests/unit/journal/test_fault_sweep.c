/*
 * Two lives of a journal, with everything in them: both lanes and the quarantine, segments that fill
 * and go, cursors that save, a session left behind, a restart. Then the same again with the first
 * call of one kind failing, with the second, and so on until the lives have no more of them. Each
 * time:
 *   - no handle stays open;
 *   - once the trouble is over everything appended gets committed, and reading goes on;
 *   - after a clean end, and after a power cut, what was committed is there for each link that has
 *     not settled it;
 *   - only where reading failed may records be lost, and links are told then. What a link was not
 *     told of is still on the disk, in a file that was set aside.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faultfs.h"
#include "simdisk.h"
#include "util/span.h"

#define ITEMS_MAX 256
#define N_LINKS 3
#define BODY_BYTES 900
#define KEY 7 /* of device "k7", a session of link "a" */

static const char *const lane_names[FG_N_LANES] = {"main", "alarm", "quarantine"};
static const char *const links[N_LINKS] = {"a", "b", "c"};
static const enum fg_lane link_lanes[N_LINKS] = {FG_LANE_MAIN, FG_LANE_MAIN, FG_LANE_ALARM};

/* One message that was appended; its body begins with its number. */
struct item {
	enum fg_lane lane;
	bool is_k7;
	unsigned life;
	uint64_t seq, ticket;
	bool is_committed;
	bool is_settled[N_LINKS]; /* [0] of one in quarantine */
	bool is_seen[N_LINKS];
};

struct world {
	struct sim_disk *disk;
	struct fault_fs faults;
	struct fg_journal_options options;
	struct fg_journal *j;
	struct fg_error err;
	int64_t now_ms;
	int trouble;
	unsigned life;

	struct fg_cursor *cursors[N_LINKS];
	struct fg_pass *passes[N_LINKS];
	uint64_t held[N_LINKS]; /* read and not settled yet */
	uint64_t k7_from;
	uint64_t lost[N_LINKS];

	struct item items[ITEMS_MAX];
	unsigned n_items;
	char where[128]; /* what fails, for messages */
};

static void note_committed(void *arg, uint64_t committed)
{
	struct world *w = arg;

	for (unsigned i = 0; i < w->n_items; i++)
		if (w->items[i].life == w->life && w->items[i].ticket <= committed)
			w->items[i].is_committed = true;
}

static void note_lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	struct world *w = arg;

	(void)seq;
	(void)why;
	for (int i = 0; i < N_LINKS; i++)
		if (strcmp(links[i], link) == 0)
			w->lost[i] += records;
}

static void note_trouble(void *arg, int error, const char *what)
{
	assert_non_null(what);
	((struct world *)arg)->trouble = error;
}

static struct world *world_new(const struct fault *fault)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->disk = sim_disk_new(7, SIM_HONEST);
	fault_fs_init(&w->faults, sim_disk_fs(w->disk));
	fault_fs_set(&w->faults, fault);
	w->now_ms = 1000000;
	w->options = (struct fg_journal_options){
		.fs = &w->faults.fs,
		.segment_bytes = 16384,
		.batch_bytes = 4096,
		.max_bytes = 1 << 20,
		.max_left_behind = 10,
		.max_quarantine_bytes = 1 << 20,
		.committed = note_committed,
		.lost = note_lost,
		.trouble = note_trouble,
		.arg = w,
	};
	snprintf(w->where, sizeof(w->where),
		 "%s number %" PRIu64 " and %" PRIu64 " more, error %d%s",
		 fault_call_name(fault->call), fault->nth, fault->more, fault->error,
		 fault->is_done ? ", but done" : "");
	return w;
}

static void world_free(struct world *w)
{
	sim_disk_free(w->disk);
	free(w);
}

static void close_journal(struct world *w)
{
	for (int i = 0; i < N_LINKS; i++)
		w->passes[i] = fg_pass_close(w->passes[i]);
	w->j = fg_journal_free(w->j);
	if (w->faults.n_open != 0)
		fail_msg("%s: %u handles stay open", w->where, w->faults.n_open);
}

static void mend(struct world *w)
{
	w->faults.fault.nth = 0;
}

/* What makes it impossible to open is over when it is tried again. */
static void open_journal(struct world *w)
{
	int r = fg_journal_open(&w->options, &w->j, &w->err);

	if (r < 0) {
		if (w->faults.n_failed == 0 || w->faults.n_open != 0 || w->err.text[0] == '\0')
			fail_msg("%s: fg_journal_open: %d %s, %u handles", w->where, r, w->err.text,
				 w->faults.n_open);
		mend(w);
		r = fg_journal_open(&w->options, &w->j, &w->err);
	}
	if (r < 0)
		fail_msg("%s: fg_journal_open, again: %d %s", w->where, r, w->err.text);
	w->life++;
	w->trouble = 0;
	for (int i = 0; i < N_LINKS; i++) {
		assert_int_equal(
			fg_cursor_open(w->j, link_lanes[i], links[i], 1000, &w->cursors[i]), 0);
		assert_int_equal(fg_pass_open(w->cursors[i], &w->passes[i]), 0);
		w->held[i] = 0;
	}
}

/* ---- what is done to it */

static struct fg_span body_of(unsigned item, char *body)
{
	memset(body, 'a' + (int)(item % 26), BODY_BYTES);
	snprintf(body, BODY_BYTES, "[%08u]", item);
	return fg_span_of(body, BODY_BYTES);
}

static void append(struct world *w, enum fg_lane lane)
{
	struct item *item = &w->items[w->n_items];
	struct fg_message msg = {.kind = FG_TELEMETRY};
	struct fg_quarantined q = {.link = fg_span_str("a"), .reason = fg_span_str("refused")};
	char body[BODY_BYTES];
	int r;

	assert_true(w->n_items < ITEMS_MAX);
	*item = (struct item){.lane = lane, .life = w->life, .is_k7 = w->n_items % 3 == 1};
	msg.device = fg_span_str(item->is_k7 ? "k7" : "dev");
	msg.body = q.body = body_of(w->n_items, body);
	r = lane == FG_LANE_QUARANTINE ? fg_journal_quarantine(w->j, &q)
				       : fg_journal_append(w->j, lane, &msg, &item->seq);
	if (r == -EAGAIN)
		return;
	assert_int_equal(r, 0);
	item->ticket = fg_journal_ticket(w->j);
	w->n_items++;
}

static struct item *item_of(struct world *w, struct fg_span body)
{
	char expected[BODY_BYTES];
	unsigned number = 0;

	if (body.size != BODY_BYTES || sscanf(body.data, "[%8u]", &number) != 1 ||
	    number >= w->n_items ||
	    memcmp(body.data, body_of(number, expected).data, BODY_BYTES) != 0)
		fail_msg("%s: bytes that nobody has appended", w->where);
	return &w->items[number];
}

static bool is_behind(const struct world *w, int link, const struct item *item)
{
	return link == 0 && item->is_k7 && w->k7_from != 0 && item->seq >= w->k7_from;
}

static bool wants_k7(void *arg, const struct fg_message *m)
{
	const struct world *w = arg;

	return fg_span_is(m->device, "k7") && w->k7_from != 0 && m->seq >= w->k7_from;
}

static void settle(struct world *w, int link, uint64_t first, uint64_t last)
{
	fg_cursor_settle(w->cursors[link], first, last);
	for (unsigned i = 0; i < w->n_items; i++) {
		struct item *item = &w->items[i];

		if (item->lane == link_lanes[link] && item->is_committed && item->seq >= first &&
		    item->seq <= last && !is_behind(w, link, item))
			item->is_settled[link] = true;
	}
}

/* Each link settles what it reads, but for the newest, which it settles the next time. */
static void read_and_settle(struct world *w, int link)
{
	struct fg_message messages[4];
	int n, n_tries = 0;

	for (;;) {
		n = fg_pass_read(w->passes[link], messages, 4, NULL, NULL);
		if (n == -EAGAIN || (n < 0 && ++n_tries < 3))
			continue;
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			if (item_of(w, messages[i].body)->seq != messages[i].seq)
				fail_msg("%s: a record with another's number", w->where);
		if (w->held[link] != 0)
			settle(w, link, w->held[link], w->held[link]);
		for (int i = 0; i + 1 < n; i++)
			settle(w, link, messages[i].seq, messages[i].seq);
		w->held[link] = messages[n - 1].seq;
	}
	if (n < 0 && (n != -EIO || w->faults.n_failed == 0))
		fail_msg("%s: reading says %d", w->where, n);
}

struct found {
	struct world *w;
	uint64_t oldest;
};

static int see_quarantined(void *arg, uint64_t number, const struct fg_quarantined *q)
{
	struct found *found = arg;
	struct item *item = item_of(found->w, q->body);

	item->seq = number;
	item->is_seen[0] = true;
	if (found->oldest == 0)
		found->oldest = number;
	return 0;
}

static void settle_oldest_quarantined(struct world *w)
{
	struct found found = {.w = w};
	struct fg_error err = {0};
	int r = fg_journal_each_quarantined(w->options.fs, 0, see_quarantined, &found, &err);

	if (r < 0 && (w->faults.n_failed == 0 || err.text[0] == '\0'))
		fail_msg("%s: quarantine: %d %s", w->where, r, err.text);
	if (found.oldest == 0 || fg_journal_quarantine_settle(w->j, found.oldest) < 0)
		return;
	for (unsigned i = 0; i < w->n_items; i++)
		if (w->items[i].lane == FG_LANE_QUARANTINE && w->items[i].seq == found.oldest)
			w->items[i].is_settled[0] = true;
}

static void pass_time(struct world *w)
{
	w->now_ms += 2000;
	fg_journal_tick(w->j, w->now_ms);
	fg_journal_flush(w->j, w->now_ms);
}

/* Who was left behind just before the end is known only if the last commit came through. */
static void recall_k7(struct world *w)
{
	uint64_t from = fg_cursor_left_behind(w->cursors[0], KEY);

	if (from != w->k7_from && w->faults.n_failed == 0)
		fail_msg("%s: left behind from %" PRIu64 " on instead of %" PRIu64, w->where, from,
			 w->k7_from);
	w->k7_from = from;
}

static void live(struct world *w)
{
	open_journal(w);
	recall_k7(w);
	for (int i = 0; i < 18; i++) {
		append(w, FG_LANE_MAIN);
		append(w, FG_LANE_MAIN);
		if (i % 3 == 0)
			append(w, FG_LANE_ALARM);
		if (i % 6 == 0)
			append(w, FG_LANE_QUARANTINE);
		pass_time(w);
		for (int k = 0; k < N_LINKS && i % 2 == 0; k++)
			read_and_settle(w, k);
		if (i == 8)
			settle_oldest_quarantined(w);
	}
	if (w->life == 1 &&
	    fg_cursor_leave_behind(w->cursors[0], KEY, fg_cursor_end(w->cursors[0])) == 0)
		w->k7_from = fg_cursor_left_behind(w->cursors[0], KEY);
}

/* ---- what is promised */

static void all_is_committed_once_the_trouble_is_over(struct world *w)
{
	mend(w);
	for (int i = 0; i < 10; i++)
		pass_time(w);
	for (int i = 0; i < FG_N_LANES; i++)
		append(w, (enum fg_lane)i);
	pass_time(w);
	if (w->trouble != 0 || fg_journal_ticket(w->j) > fg_journal_committed(w->j))
		fail_msg("%s: the journal does not work again, %d", w->where, w->trouble);
	for (int i = 0; i < N_LINKS; i++)
		read_and_settle(w, i);
}

struct search {
	struct world *w;
	char body[BODY_BYTES];
	enum fg_lane lane;
	bool is_damaged; /* some file of the lane is set aside */
	bool is_found;
};

static int look_into(void *arg, const char *name)
{
	struct search *s = arg;
	const uint8_t *bytes;
	uint64_t size = 0;
	char path[80];

	snprintf(path, sizeof(path), "%s/%s", lane_names[s->lane], name);
	bytes = sim_disk_bytes(s->w->disk, path, &size);
	s->is_damaged = s->is_damaged || strstr(name, ".damaged");
	s->is_found = s->is_found || (bytes && memmem(bytes, size, s->body, BODY_BYTES));
	return 0;
}

static bool is_on_disk(struct world *w, unsigned number, enum fg_lane lane)
{
	struct search s = {.w = w, .lane = lane};
	struct fg_fs *fs = sim_disk_fs(w->disk);

	body_of(number, s.body);
	fs->list(fs->ctx, lane_names[lane], look_into, &s);
	return s.is_found;
}

static bool is_any_set_aside(struct world *w, enum fg_lane lane)
{
	struct search s = {.w = w, .lane = lane};
	struct fg_fs *fs = sim_disk_fs(w->disk);

	fs->list(fs->ctx, lane_names[lane], look_into, &s);
	return s.is_damaged;
}

static void read_again(struct world *w, int link)
{
	struct fg_message messages[8];
	struct fg_pass *p;
	int n;

	assert_int_equal(fg_pass_open(w->cursors[link], &p), 0);
	while ((n = fg_pass_read(p, messages, 8, wants_k7, w)) != 0) {
		assert_true(n > 0 || n == -EAGAIN);
		for (int i = 0; i < n; i++)
			item_of(w, messages[i].body)->is_seen[link] = true;
	}
	fg_pass_close(p);
}

static void check_link(struct world *w, int link, bool may_lose)
{
	uint64_t n_missing = 0, n_gone = 0;

	read_again(w, link);
	for (unsigned i = 0; i < w->n_items; i++) {
		const struct item *item = &w->items[i];

		if (item->lane != link_lanes[link] || !item->is_committed ||
		    item->is_settled[link] || item->is_seen[link])
			continue;
		n_missing++;
		n_gone += !is_on_disk(w, i, item->lane);
	}
	if (n_gone > w->lost[link])
		fail_msg("%s: %" PRIu64 " are not on the disk any more, only %" PRIu64 " told",
			 w->where, n_gone, w->lost[link]);
	if (!may_lose && (n_missing > 0 || w->lost[link] > 0))
		fail_msg("%s: %" PRIu64 " lost, %" PRIu64 " told", w->where, n_missing,
			 w->lost[link]);
	/* Of a link that stood in a file that could not be read nothing is known. */
	if (n_missing > w->lost[link] && !is_any_set_aside(w, link_lanes[link]))
		fail_msg("%s: %" PRIu64 " lost, only %" PRIu64 " told", w->where, n_missing,
			 w->lost[link]);
}

static void check_quarantine(struct world *w)
{
	struct found found = {.w = w};

	for (unsigned i = 0; i < w->n_items; i++)
		if (w->items[i].lane == FG_LANE_QUARANTINE)
			w->items[i].is_seen[0] = false;
	assert_int_equal(
		fg_journal_each_quarantined(w->options.fs, 0, see_quarantined, &found, NULL), 0);
	for (unsigned i = 0; i < w->n_items; i++) {
		const struct item *item = &w->items[i];

		if (item->lane != FG_LANE_QUARANTINE || !item->is_committed ||
		    item->is_settled[0] || item->is_seen[0])
			continue;
		if (!is_any_set_aside(w, FG_LANE_QUARANTINE) ||
		    !is_on_disk(w, i, FG_LANE_QUARANTINE))
			fail_msg("%s: item %u is not in quarantine any more", w->where, i);
	}
}

/* Returns how many calls of that kind there were, and in *@ret_failed how many have failed. */
static uint64_t run(const struct fault *fault, bool is_cut)
{
	bool may_lose =
		fault->error == -EIO && (fault->call == FAULT_READ || fault->call == FAULT_OPEN ||
					 fault->call == FAULT_SIZE);
	struct world *w = world_new(fault);
	uint64_t calls;

	live(w);
	close_journal(w);
	live(w);
	calls = w->faults.calls[fault->call];
	all_is_committed_once_the_trouble_is_over(w);
	if (is_cut)
		sim_disk_cut(w->disk);
	close_journal(w);
	if (is_cut)
		sim_disk_power_on(w->disk);
	open_journal(w);
	for (int i = 0; i < N_LINKS; i++)
		check_link(w, i, may_lose);
	check_quarantine(w);
	close_journal(w);
	world_free(w);
	return calls;
}

/* With the 1st, the 2nd, … of these calls failing, as long as there are any. */
static void sweep(struct fault fault)
{
	uint64_t calls = 1;

	for (fault.nth = 1; fault.nth <= calls; fault.nth++) {
		calls = run(&fault, fault.nth % 2 == 0);
		assert_true(calls > 0);
	}
}

static const int errors[] = {-EIO, -ENOSPC, -EROFS, -EINTR};

static void without_faults_nothing_is_lost(void **state)
{
	struct fault none = {.call = FAULT_SYNC};

	(void)state;
	run(&none, false);
	run(&none, true);
}

static void changing_call_that_fails_costs_nothing(void **state)
{
	static const enum fault_call calls[] = {FAULT_MKDIR,    FAULT_CREATE, FAULT_WRITE,
						FAULT_ALLOCATE, FAULT_SYNC,   FAULT_TRUNCATE,
						FAULT_RENAME,   FAULT_UNLINK, FAULT_SYNC_DIR};

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
			for (int is_done = 0; is_done < 2; is_done++)
				sweep((struct fault){
					.call = calls[i], .error = errors[e], .is_done = is_done});
}

static void changing_calls_that_fail_for_a_while_cost_nothing(void **state)
{
	static const enum fault_call calls[] = {FAULT_CREATE, FAULT_WRITE,  FAULT_SYNC,
						FAULT_RENAME, FAULT_UNLINK, FAULT_SYNC_DIR};

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		for (uint64_t more = 1; more < 8; more += 3)
			sweep((struct fault){.call = calls[i], .more = more, .error = -EIO});
}

static void short_write_is_gone_on_with(void **state)
{
	(void)state;
	sweep((struct fault){.call = FAULT_WRITE});
	sweep((struct fault){.call = FAULT_WRITE, .more = 3});
}

static void looking_call_that_fails_loses_nothing_unsaid(void **state)
{
	static const enum fault_call calls[] = {FAULT_LIST, FAULT_OPEN, FAULT_READ, FAULT_SIZE};

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		for (uint64_t more = 0; more < 7; more += 2)
			sweep((struct fault){.call = calls[i], .more = more, .error = -EIO});
}

static void file_that_is_only_out_of_reach_is_not_taken_for_damaged(void **state)
{
	static const int out_of_reach[] = {-EACCES, -EPERM,  -EROFS, -EMFILE,
					   -ENFILE, -ENOMEM, -EINTR};

	(void)state;
	for (size_t e = 0; e < sizeof(out_of_reach) / sizeof(out_of_reach[0]); e++)
		sweep((struct fault){.call = FAULT_OPEN, .error = out_of_reach[e]});
}

/* ---- a long search */

struct tally {
	unsigned n_read, n_failed;
	uint64_t sum, lost;
};

static void count_lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	(void)link;
	(void)seq;
	(void)why;
	((struct tally *)arg)->lost += records;
}

/* A file with records larger than any buffer, and damage whose end has to be looked for among bytes that
 * claim to be records; the @nth read and all that follow fail until somebody is told. */
static struct tally search(uint64_t nth)
{
	static char body[300000];
	struct tally t = {0};
	struct sim_disk *disk = sim_disk_new(7, SIM_HONEST);
	struct fg_message msg = {.kind = FG_TELEMETRY, .device = fg_span_str("dev")}, found;
	struct fg_journal_options options = {
		.segment_bytes = 4 << 20,
		.batch_bytes = 1 << 20,
		.max_bytes = 64 << 20,
		.max_quarantine_bytes = 1 << 20,
		.lost = count_lost,
		.arg = &t,
	};
	struct fault_fs faults;
	struct fg_cursor *c;
	struct fg_journal *j;
	struct fg_pass *p;
	uint64_t seq;
	int n;

	/* Claims: of a size that fits, and the number of a record that may well come here. */
	for (size_t at = 0; at + 32 <= sizeof(body); at += 32) {
		uint32_t claim = 200000;

		memcpy(body + at + 4, &claim, sizeof(claim));
		body[at + 8] = 4;
	}
	fault_fs_init(&faults, sim_disk_fs(disk));
	options.fs = &faults.fs;
	assert_int_equal(fg_journal_open(&options, &j, NULL), 0);
	assert_int_equal(fg_cursor_open(j, FG_LANE_MAIN, "a", 1000, &c), 0);
	for (int i = 0; i < 8; i++) {
		msg.body = fg_span_of(body, i % 2 == 0 ? sizeof(body) : 3000);
		assert_int_equal(fg_journal_append(j, FG_LANE_MAIN, &msg, &seq), 0);
		fg_journal_flush(j, i);
	}
	/* The header of the third record: 4096, a large one and a small one, and the table of the
	 * first commit, are in front of it. */
	for (uint64_t at = 4096 + 300040 + 3040; at < 4096 + 300040 + 3040 + 400; at += 8)
		sim_disk_put(disk, "main/0000000000000001.seg", at, "\xee\xee\xee\xee", 4);
	fault_fs_set(
		&faults,
		&(struct fault){.call = FAULT_READ, .nth = nth, .more = UINT32_MAX, .error = -EIO});
	assert_int_equal(fg_pass_open(c, &p), 0);
	while ((n = fg_pass_read(p, &found, 1, NULL, NULL)) != 0) {
		if (n == -EIO) {
			assert_true(faults.n_failed > 0 && faults.fault.nth != 0);
			faults.fault.nth = 0;
			t.n_failed++;
		}
		if (n <= 0)
			continue;
		t.n_read++;
		t.sum = t.sum * 31 + found.seq + found.body.size;
	}
	fg_pass_close(p);
	fg_journal_free(j);
	assert_int_equal(faults.n_open, 0);
	sim_disk_free(disk);
	return t;
}

static void search_that_is_broken_off_finds_the_same_later(void **state)
{
	struct tally whole = search(0), t;

	(void)state;
	assert_int_equal(whole.lost, 1);
	assert_int_equal(whole.n_read, 7);
	for (uint64_t nth = 1;; nth++) {
		t = search(nth);
		assert_int_equal(t.n_read, whole.n_read);
		assert_int_equal(t.sum, whole.sum);
		assert_int_equal(t.lost, whole.lost);
		if (t.n_failed == 0)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_faults_nothing_is_lost),
		cmocka_unit_test(changing_call_that_fails_costs_nothing),
		cmocka_unit_test(changing_calls_that_fail_for_a_while_cost_nothing),
		cmocka_unit_test(short_write_is_gone_on_with),
		cmocka_unit_test(looking_call_that_fails_loses_nothing_unsaid),
		cmocka_unit_test(file_that_is_only_out_of_reach_is_not_taken_for_damaged),
		cmocka_unit_test(search_that_is_broken_off_finds_the_same_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
