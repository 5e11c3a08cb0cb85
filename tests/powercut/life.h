#pragma once

/*
 * One gateway's life on a simulated disk, and the model of what was promised to whom in it. life.c
 * starts, ends and cuts it; work.c is what the gateway does meanwhile; check.c listens to what the
 * journal tells, and looks after each start at what is left.
 */
#include "journal/journal.h"
#include "simdisk.h"

#define N_LINKS 3
#define N_KEYS 4 /* sessions of each link: a device belongs to one of them */
#define BATCH_BYTES 4096
#define SEGMENT_BYTES 16384
#define LARGE 16 /* times all that in some lives: their commits fill pages */
#define READ_MAX 16
#define IN_FLIGHT_MAX 64

/** What the rig does wrong on purpose, to show that it would notice. */
enum sabotage {
	SABOTAGE_NONE,
	SABOTAGE_SKIP_SYNC,         /* the disk only says that it has synced */
	SABOTAGE_SKIP_DIR_SYNC,     /* likewise names */
	SABOTAGE_SKIP_ALARM_SYNC,   /* likewise files of the alarm lane */
	SABOTAGE_SETTLE_MORE,       /* a link settles a record more than its cloud has */
	SABOTAGE_FORGET_BEHIND,     /* a session falls out and nobody says so */
	SABOTAGE_REJOIN_EARLY,      /* a session rejoins that has not caught up */
	SABOTAGE_SETTLE_QUARANTINE, /* a quarantined message is settled, but never sent again */
	SABOTAGE_SEND_ON,           /* a link sends though it may not */
};

/** What became of one sequence number for one link. */
struct model_state {
	bool is_sent : 1;      /* in this session, or before and settled since */
	bool is_in_flight : 1; /* live: between sending and its cloud's answer */
	bool is_covered : 1;   /* the cursor was told that all up to here are settled */
	bool is_settled : 1;   /* and its cloud has it, or the quarantine */
	bool was_settled : 1;  /* the same at any time, before a cut too */
	bool is_quarantined : 1;
	bool is_open : 1;  /* read after the last start */
	bool is_asked : 1; /* likewise, for a session that was left behind */
};

struct model_record {
	uint64_t stamp; /* its body starts with it; 0: none */
	uint64_t ticket;
	int64_t aged_ms; /* the life's true time when it was appended */
	uint32_t size;
	uint8_t key;
	uint8_t only; /* for this link, from 1 on; 0: for all */
	bool is_note;
	bool is_acked; /* its ticket was committed: a promise */
	bool is_found; /* by the check that runs */
	struct model_state of[N_LINKS];
};

/** A link's cursor in one lane. */
struct model_cursor {
	char name[8]; /* differs from lane to lane, so that callbacks can tell */
	uint64_t max_unsaved;
	uint64_t max_bytes; /* caps of its own, or 0 */
	int64_t max_age_ms;
	struct fg_cursor *cursor;
	struct fg_pass *live, *behind;
	bool was_opened;
	uint64_t first;    /* records below are none of its business */
	uint64_t verified; /* all up to here was found to be settled, after some start */

	uint64_t in_flight[IN_FLIGHT_MAX]; /* live: by rising number */
	unsigned n_in_flight;
	uint64_t behind_from[N_KEYS]; /* sessions left behind; 0: not */
	uint64_t behind_sent[N_KEYS]; /* in flight for one of them */

	uint64_t dropped;     /* a cap has taken all up to here, and the link was told */
	uint64_t dropped_now; /* the same since the journal was opened */
	bool is_blurred;      /* what is lost cannot be counted exactly any more */
	uint64_t told;        /* of so many records since the journal was opened */
};

struct model_lane {
	struct model_record *records; /* by sequence number */
	uint64_t capacity;
	uint64_t next_seq; /* one above the newest that was appended */
	struct model_cursor cursors[N_LINKS];
	bool has_many_ranges; /* more than a table holds for certain, now or at the last start */
	bool had_many_ranges;
};

/** A message in quarantine. */
struct model_quarantined {
	enum fg_lane lane;
	uint64_t of; /* the record it was */
	int link;
	uint64_t stamp;  /* of that */
	uint64_t number; /* once it was found after a start: then it is on disk for good; else 0 */
	uint64_t ticket; /* it is covered by */
	bool is_acked;
	bool is_found; /* by the check that runs */
	/* It was settled: what was appended in its place, and a ticket that covers the settling. */
	bool is_settled, is_settling_acked;
	uint64_t seq, seq_stamp;
	uint64_t settle_ticket;
};

struct totals {
	uint64_t cuts, kills, clean, lives, appended, acked, recovered, dropped, refused;
	uint64_t duplicates, jumps, left_behind, rejoined, requeued, many_ranges;
	/* What must not be. */
	uint64_t lost, skipped, excess_duplicates, start_failures, quarantine_lost, false_alarms,
		policy;
};

struct life {
	struct sim_disk *disk;
	struct fg_journal *j;
	struct fg_journal_options options;
	struct model_lane lanes[FG_N_CURSOR_LANES];
	struct model_quarantined *quarantined;
	size_t n_quarantined, quarantined_capacity;
	uint64_t next_stamp;
	int64_t now_ms;
	int64_t life_ms;      /* true time, on and off */
	int64_t utc_us;       /* what the gateway takes for it */
	uint64_t room_misses; /* appends that found no room, since the start */
	bool has_committed;   /* since the start */
	uint64_t n_starts;    /* since there was room */
	uint64_t n_saves;     /* likewise, of cursors, by those who ran before */
	uint64_t n_saves_now; /* and by this one */
	bool has_faults, has_limit;
	unsigned scale; /* 1, or LARGE */
	bool is_wrong;
	enum sabotage sabotage;
	uint64_t number;
	struct totals *totals;
	bool is_verbose;
};

/** Live until @until cuts are counted in @totals, or something is wrong. Returns whether all was well. */
bool life_run(uint64_t number, uint64_t seed, enum sabotage sabotage, uint64_t until,
	      bool is_verbose, struct totals *totals);

/** What must not be has happened. */
void life_wrong(struct life *l, uint64_t *counter, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** A random number below @n. */
static inline uint64_t chance(struct life *l, uint64_t n)
{
	return sim_disk_random(l->disk, n);
}

/** What is known of record @seq. */
struct model_record *model_record(struct model_lane *m, uint64_t seq);

/** Is it a message for link @i? */
static inline bool model_is_for(const struct model_record *m, int i)
{
	return m->stamp != 0 && !m->is_note && (m->only == 0 || m->only == i + 1);
}

void model_body(char *body, uint64_t stamp, size_t size);

/* ---- work.c */

/** One step of the gateway's work, whatever it is. */
void work(struct life *l);

/** Time passes for all clocks. */
void work_pass(struct life *l, int64_t ms);

/* ---- check.c */

/** Callbacks of the journal; @arg is the life. */
void check_committed(void *arg, uint64_t ticket);
void check_lost(void *arg, const char *name, uint64_t records, uint64_t seq, const char *why);

/** What holds at any moment: the limits, and that losses are counted as they are told. */
void check_policy(struct life *l);

/** A record that was read: is it what was written? */
void check_read(struct life *l, int lane, int i, const struct fg_message *msg);

/** The journal is open again: what is left is what was promised. @is_clean: it was shut down. */
void check_all(struct life *l, bool is_clean);

/** The model forgets the session that has ended. */
void check_forget_session(struct life *l);
