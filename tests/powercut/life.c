#include "life.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_US (INT64_C(20) * 365 * 86400 * 1000000)

void life_wrong(struct life *l, uint64_t *counter, const char *format, ...)
{
	va_list args;

	(*counter)++;
	if (!l->is_wrong || l->is_verbose) {
		va_start(args, format);
		fprintf(stderr, "life %" PRIu64 ": ", l->number);
		vfprintf(stderr, format, args);
		fputc('\n', stderr);
		va_end(args);
	}
	l->is_wrong = true;
}

struct model_record *model_record(struct model_lane *m, uint64_t seq)
{
	if (seq >= m->capacity) {
		uint64_t capacity = seq * 2 + 1024;

		m->records = realloc(m->records, capacity * sizeof(*m->records));
		if (!m->records)
			abort();
		memset(m->records + m->capacity, 0, (capacity - m->capacity) * sizeof(*m->records));
		m->capacity = capacity;
	}
	return &m->records[seq];
}

void model_body(char *body, uint64_t stamp, size_t size)
{
	memcpy(body, &stamp, sizeof(stamp));
	for (size_t i = sizeof(stamp); i < size; i++)
		body[i] = (char)(stamp * 31 + i * 7);
}

static int64_t life_utc_us(void *arg)
{
	struct life *l = arg;

	return l->utc_us;
}

/* ---- starting and ending */

static void close_journal(struct life *l)
{
	for (int k = 0; k < FG_N_CURSOR_LANES; k++)
		for (int i = 0; i < N_LINKS; i++) {
			struct model_cursor *c = &l->lanes[k].cursors[i];

			c->live = fg_pass_close(c->live);
			c->behind = fg_pass_close(c->behind);
		}
	l->j = fg_journal_free(l->j);
}

/* Open, with a cut in the middle of it now and then. */
static bool open_journal(struct life *l)
{
	struct fg_error err = {.text = ""};
	int r;

	check_forget_session(l);
	for (;;) {
		if (chance(l, 4) == 0)
			sim_disk_cut_in(l->disk, 1 + chance(l, 8));
		r = fg_journal_open(&l->options, &l->j, &err);
		if (sim_disk_is_off(l->disk)) {
			if (r == 0)
				close_journal(l);
			sim_disk_power_on(l->disk);
			l->totals->cuts++;
			continue;
		}
		sim_disk_cut_in(l->disk, 0);
		if (r == 0)
			return true;
		life_wrong(l, &l->totals->start_failures, "does not start: %d %s", r, err.text);
		return false;
	}
}

/* It was off for a while, and does not know how long when the clock was set meanwhile. */
static void be_off(struct life *l)
{
	l->now_ms += 1000;
	l->life_ms += 1000;
	if (chance(l, 2)) {
		int64_t away_ms = (int64_t)chance(l, 100000);

		l->life_ms += away_ms;
		l->utc_us += away_ms * 1000;
	}
	if (chance(l, 10) == 0)
		l->utc_us += (chance(l, 2) ? 1 : -1) * STEP_US;
}

/* From one start to the next: by a cut, a kill or a clean shutdown. */
static void run_once(struct life *l)
{
	uint64_t end = chance(l, 20);
	bool is_clean;

	sim_disk_fail_one_in(l->disk, l->has_faults ? 10 + (unsigned)chance(l, 200) : 0);
	if (end != 1)
		sim_disk_cut_in(l->disk, 1 + chance(l, chance(l, 2) ? 8 : 60));
	for (uint64_t n = 20 + chance(l, 400); n > 0 && !sim_disk_is_off(l->disk); n--)
		work(l);
	sim_disk_cut_in(l->disk, 0);
	sim_disk_fail_one_in(l->disk, 0);
	is_clean = end == 1 && !sim_disk_is_off(l->disk);
	if (!is_clean)
		sim_disk_cut(l->disk);
	close_journal(l);
	if (is_clean || end == 0)
		sim_disk_restart(l->disk);
	else
		sim_disk_power_on(l->disk);
	l->totals->clean += is_clean;
	l->totals->kills += !is_clean && end == 0;
	l->totals->cuts += !is_clean && end != 0;
	be_off(l);
	if (open_journal(l))
		check_all(l, is_clean);
}

/* ---- the whole */

static enum sim_sabotage disk_sabotage(enum sabotage s)
{
	switch (s) {
	case SABOTAGE_SKIP_SYNC:
		return SIM_SKIP_SYNC;
	case SABOTAGE_SKIP_DIR_SYNC:
		return SIM_SKIP_DIR_SYNC;
	case SABOTAGE_SKIP_ALARM_SYNC:
		return SIM_SKIP_ALARM_SYNC;
	default:
		return SIM_HONEST;
	}
}

static void make_links(struct life *l)
{
	bool has_own = chance(l, 4) == 0;

	for (int i = 0; i < N_LINKS; i++)
		for (int k = 0; k < FG_N_CURSOR_LANES; k++) {
			struct model_cursor *c = &l->lanes[k].cursors[i];

			snprintf(c->name, sizeof(c->name), "%s%d", k == 0 ? "link" : "alarm", i);
			c->max_unsaved = 1 + chance(l, IN_FLIGHT_MAX - 4);
			if (has_own && chance(l, 2))
				c->max_bytes = l->options.segment_bytes +
					       chance(l, 4 * l->options.segment_bytes);
			if (has_own && chance(l, 2))
				c->max_age_ms = 2000 + (int64_t)chance(l, 30000);
		}
}

static void make_options(struct life *l)
{
	bool has_age;

	l->has_faults = chance(l, 3) == 0;
	l->has_limit = chance(l, 4) == 0;
	has_age = chance(l, 4) == 0;
	l->scale = chance(l, 8) == 0 ? LARGE : 1;
	l->options = (struct fg_journal_options){
		.fs = sim_disk_fs(l->disk),
		.segment_bytes = SEGMENT_BYTES * l->scale,
		.batch_bytes = BATCH_BYTES * l->scale,
		.max_bytes = l->has_limit ? 5 * SEGMENT_BYTES * l->scale : UINT64_MAX,
		.max_left_behind = N_LINKS * N_KEYS,
		.on_full = l->has_limit ? (enum fg_on_full)chance(l, 3) : FG_ON_FULL_DROP_OLDEST,
		.max_age_ms = has_age ? 2000 + (int64_t)chance(l, 60000) : 0,
		.utc_us = life_utc_us,
		.max_quarantine_bytes = UINT64_MAX,
		.committed = check_committed,
		.lost = check_lost,
		.arg = l,
	};
}

bool life_run(uint64_t number, uint64_t seed, enum sabotage sabotage, uint64_t until,
	      bool is_verbose, struct totals *totals)
{
	struct life l = {
		.lanes = {{.next_seq = 1}, {.next_seq = 1}},
		.number = number,
		.next_stamp = 1,
		.now_ms = 1000,
		.utc_us = INT64_C(1700000000000000),
		.sabotage = sabotage,
		.totals = totals,
		.is_verbose = is_verbose,
	};

	l.disk = sim_disk_new(seed + number * 0x9e3779b97f4a7c15u, disk_sabotage(sabotage));
	make_options(&l);
	make_links(&l);
	if (open_journal(&l))
		check_all(&l, false);
	while (!l.is_wrong && totals->cuts < until)
		run_once(&l);
	close_journal(&l);
	sim_disk_free(l.disk);
	for (int k = 0; k < FG_N_CURSOR_LANES; k++)
		free(l.lanes[k].records);
	free(l.quarantined);
	totals->lives++;
	return !l.is_wrong;
}
