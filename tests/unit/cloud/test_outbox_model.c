/*
 * The outbox against a cloud made of dice: thousands of runs with acknowledgements in any order,
 * refusals, sessions that break, commits that come late and a quarantine without room. After each
 * step the watermark may only cover records that are acknowledged, in quarantine on disk, or not
 * for this cloud; at the end everything must be settled, and only what deserved it may be in
 * quarantine.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cloud/outbox.h"
#include "fake_journal.h"
#include "scripted_plugin.h"
#include "util/log.h"

#define N_SEEDS 10000
#define MAX_RECORDS 400
#define MAX_FLIGHT 64

enum fate {
	FATE_NORMAL,
	FATE_POISON,  /* the cloud refuses whatever it travels in */
	FATE_BREAKER, /* the cloud closes when it comes */
	FATE_REFUSED, /* the plugin refuses it */
	FATE_NOTHING,
	FATE_FILTERED,
	FATE_GONE, /* dropped by retention before it is read */
};

struct flight {
	int packet_id;
	size_t n;
	uint64_t seqs[MAX_RECORDS];
};

static struct model {
	uint64_t seed, random;
	struct fg_journal journal;
	struct script script;
	struct fg_outbox *outbox;
	unsigned limit; /* of this session */
	int64_t now_ms;
	int next_id;
	struct flight flights[MAX_FLIGHT];
	size_t n_flights;
	enum fate fates[MAX_RECORDS + 1];
	bool is_acked[MAX_RECORDS + 1];
	unsigned n_sent[MAX_RECORDS + 1];
	unsigned n_retries[MAX_RECORDS + 1];
	unsigned n_broken[MAX_RECORDS + 1]; /* suspicious ends while it was in flight */
	unsigned n_ends, n_retreats;
	bool is_calm;            /* no more trouble: now everything must come to its end */
	uint64_t pending_ticket; /* committed, but not told yet */
} m;

static uint64_t dice(uint64_t n)
{
	m.random ^= m.random << 13;
	m.random ^= m.random >> 7;
	m.random ^= m.random << 17;
	return m.random % n;
}

static bool chance(unsigned percent)
{
	return !m.is_calm && dice(100) < percent;
}

static void wrong(uint64_t seq, const char *what)
{
	fail_msg("seed %" PRIu64 ": record %" PRIu64
		 " (fate %d, sent %u, acked %d) %s; watermark %" PRIu64,
		 m.seed, seq, m.fates[seq], m.n_sent[seq], m.is_acked[seq], what,
		 m.journal.cursor.watermark);
}

/* ---- the world */

static void add_record(void)
{
	static const char *const devices[] = {"a", "b", "d", "s", "c1", "c2"};
	uint64_t roll = dice(100);
	enum fate fate = FATE_NORMAL;
	const char *device = devices[dice(6)];
	uint64_t seq;

	if (m.journal.n_records == MAX_RECORDS)
		return;
	if (roll < 4) {
		fate = FATE_POISON;
	} else if (roll < 5) {
		fate = FATE_BREAKER;
	} else if (roll < 9) {
		fate = FATE_REFUSED;
		device = "r";
	} else if (roll < 14) {
		fate = FATE_NOTHING;
		device = "n";
	} else if (roll < 20) {
		fate = FATE_FILTERED;
		device = "x";
	} else if (roll < 22) {
		fate = FATE_GONE;
	}
	seq = fake_journal_add(&m.journal, device);
	m.fates[seq] = fate;
	m.journal.records[seq - 1].is_gone = fate == FATE_GONE;
}

static bool is_settled(uint64_t seq)
{
	switch (m.fates[seq]) {
	case FATE_NOTHING:
	case FATE_FILTERED:
	case FATE_GONE:
		return true;
	default:
		return m.is_acked[seq] || fake_journal_has_quarantined(&m.journal, seq, true);
	}
}

static void check_watermark(void)
{
	static uint64_t checked;
	uint64_t watermark = m.journal.cursor.watermark;

	if (watermark < checked)
		checked = 0; /* another run */
	for (uint64_t seq = checked + 1; seq <= watermark; seq++)
		if (!is_settled(seq))
			wrong(seq, "is below the watermark and not settled");
	checked = watermark;
}

static void check_in_flight(void)
{
	assert_int_equal(fg_outbox_in_flight(m.outbox), m.n_flights);
	for (size_t i = 0; i < m.n_flights; i++)
		for (size_t k = 0; k < m.flights[i].n; k++)
			if (m.flights[i].seqs[k] <= m.journal.cursor.watermark)
				wrong(m.flights[i].seqs[k], "is in flight below the watermark");
}

static bool has_fate(const struct flight *f, enum fate fate)
{
	for (size_t k = 0; k < f->n; k++)
		if (m.fates[f->seqs[k]] == fate)
			return true;
	return false;
}

/* ---- what may happen */

static void begin_session(void)
{
	m.limit = 1 + (unsigned)dice(MAX_FLIGHT);
	fg_outbox_session_begin(m.outbox, m.limit, 0);
}

static void end_session(bool is_suspicious)
{
	for (size_t i = 0; i < m.n_flights && is_suspicious; i++)
		for (size_t k = 0; k < m.flights[i].n; k++)
			m.n_broken[m.flights[i].seqs[k]]++;
	m.n_flights = 0;
	m.n_ends++;
	fg_outbox_session_end(m.outbox, is_suspicious);
	script_plugin.disconnected(&m.script, "");
	if (chance(30))
		fg_outbox_committed(m.outbox, m.journal.committed);
	begin_session();
}

static void answer(void);
static void commit(void);

static void send(void)
{
	const struct fg_publish *publish;
	struct flight *f;
	int r = fg_outbox_next(m.outbox, m.now_ms, &publish);

	if (r == 0)
		return;
	if (r < 0)
		fail_msg("seed %" PRIu64 ": fg_outbox_next() gives %d", m.seed, r);
	assert_true(m.n_flights < m.limit);
	if (chance(2)) {
		unsigned n_ends = m.n_ends;

		/* The client could not send it; before it says so, other things still happen. */
		for (uint64_t i = dice(5); i > 0 && m.n_ends == n_ends; i--) {
			commit();
			assert_int_equal(fg_outbox_next(m.outbox, m.now_ms, &publish), 0);
			answer();
			check_watermark();
		}
		if (m.n_ends == n_ends)
			end_session(false);
		return;
	}
	f = &m.flights[m.n_flights++];
	f->packet_id = m.next_id = m.next_id % 65535 + 1;
	f->n = m.script.n_seqs;
	for (size_t k = 0; k < f->n; k++) {
		uint64_t seq = f->seqs[k] = m.script.seqs[k];

		m.n_sent[seq]++;
		if (m.fates[seq] > FATE_BREAKER)
			wrong(seq, "must not be sent");
		if (seq <= m.journal.cursor.watermark)
			wrong(seq, "is sent though it is settled");
		if (fake_journal_has_quarantined(&m.journal, seq, false))
			wrong(seq, "is sent though it is in quarantine");
	}
	fg_outbox_sent(m.outbox, f->packet_id, m.now_ms);
}

static unsigned answer_to(const struct flight *f)
{
	if (has_fate(f, FATE_POISON))
		return 0x99;
	if (chance(4))
		return 0x97;
	if (f->n > 0 && chance(3)) {
		/* A passing fault: never so often that it would be the record's own. */
		for (size_t k = 0; k < f->n; k++)
			if (m.n_retries[f->seqs[k]] >= 3)
				return 0;
		for (size_t k = 0; k < f->n; k++)
			m.n_retries[f->seqs[k]]++;
		return 0x80;
	}
	return 0;
}

static void answer(void)
{
	size_t i;
	struct flight f;
	unsigned code;

	if (m.n_flights == 0)
		return;
	i = dice(m.n_flights);
	f = m.flights[i];
	if (has_fate(&f, FATE_BREAKER)) {
		/* It closes on what came first, so that this is what the next session will begin
		 * with. */
		end_session(true);
		return;
	}
	code = answer_to(&f);
	memmove(&m.flights[i], &m.flights[i + 1], (--m.n_flights - i) * sizeof(f));
	m.n_retreats += code >= 0x80;
	for (size_t k = 0; k < f.n && code < 0x80; k++)
		m.is_acked[f.seqs[k]] = true;
	fg_outbox_settled(m.outbox, f.packet_id, code, m.now_ms);
	if (chance(10)) /* ThingsBoard says it twice */
		fg_outbox_settled(m.outbox, f.packet_id, code, m.now_ms);
}

static void commit(void)
{
	uint64_t ticket = fake_journal_commit(&m.journal);

	if (chance(50)) {
		m.pending_ticket = ticket; /* another commit before it is told */
		return;
	}
	fg_outbox_committed(m.outbox, ticket);
}

static void step(void)
{
	uint64_t roll = dice(100);

	m.journal.quarantine_error = chance(20) ? -EAGAIN : 0;
	m.journal.cursor.is_held = chance(5);
	m.journal.cursor.read_error = chance(2) ? -EIO : 0;
	if (chance(1))
		m.script.has_own = true;
	if (roll < 45) {
		send();
	} else if (roll < 75) {
		answer();
	} else if (roll < 85) {
		commit();
	} else if (roll < 95) {
		m.now_ms += (int64_t)dice(3000);
	} else if (roll < 98) {
		if (!m.is_calm)
			add_record();
	} else if (chance(40)) {
		end_session(false);
	}
	check_watermark();
	check_in_flight();
}

static void check_end(void)
{
	for (uint64_t seq = 1; seq <= m.journal.n_records; seq++) {
		bool is_aside = fake_journal_has_quarantined(&m.journal, seq, true);
		unsigned n_aside = 0;

		for (size_t i = 0; i < m.journal.n_quarantined; i++)
			n_aside += m.journal.quarantined[i].seq == seq;
		if (!is_settled(seq))
			wrong(seq, "was never settled");
		if (n_aside > 1)
			wrong(seq, "is in quarantine twice");
		if (m.fates[seq] == FATE_NORMAL && is_aside && m.n_broken[seq] < 3)
			wrong(seq, "is in quarantine and did nothing");
		if ((m.fates[seq] == FATE_POISON || m.fates[seq] == FATE_REFUSED) && !is_aside)
			wrong(seq, "is not in quarantine");
		/* Each end of a session and each refusal may have cost one more. */
		if (m.n_sent[seq] > 1 + m.n_ends + m.n_retreats)
			wrong(seq, "was sent too often");
	}
}

static void run(uint64_t seed)
{
	static char *exclude[] = {"x"};
	struct fg_devices_config devices = {.exclude = exclude, .n_exclude = 1};
	struct fg_outbox_options options = {
		.link_name = "cloud",
		.journal = &m.journal,
		.cursor = &m.journal.cursor,
		.plugin = &script_plugin,
		.ctx = &m.script,
		.devices = &devices,
		.max_in_flight = MAX_FLIGHT,
	};
	static const unsigned unsaved[] = {1, 4, 20, 100, 1000};
	unsigned long steps = 0;

	memset(&m, 0, sizeof(m));
	m.seed = seed;
	m.random = seed * 0x9e3779b97f4a7c15ull + 1;
	fake_journal_init(&m.journal);
	m.journal.cursor.is_saving_by_itself = false;
	options.max_unsaved = unsaved[dice(5)];
	m.journal.cursor.max_unsaved = options.max_unsaved;
	m.script.max_batch = (unsigned)dice(20);
	m.now_ms = 1000;
	for (uint64_t i = dice(60); i > 0; i--)
		add_record();
	assert_int_equal(fg_outbox_new(&options, &m.outbox), 0);
	begin_session();
	for (uint64_t n = 200 + dice(600); n > 0; n--)
		step();
	m.is_calm = true;
	while (m.journal.cursor.watermark < m.journal.n_records) {
		if (++steps > 200000)
			wrong(m.journal.cursor.watermark + 1, "does not get settled");
		step();
	}
	check_end();
	m.outbox = fg_outbox_free(m.outbox);
	fake_journal_done(&m.journal);
}

static void every_record_is_settled_once_whatever_the_cloud_does(void **state)
{
	const char *only = getenv("FIELDGATE_SEED");

	(void)state;
	if (only) {
		run(strtoull(only, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= N_SEEDS; seed++)
		run(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_record_is_settled_once_whatever_the_cloud_does),
	};

	fg_log_open(FG_LOG_STDERR, LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
