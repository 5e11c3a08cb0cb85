#pragma once

/*
 * A journal in memory for tests of what reads and writes one: two lanes of records, what a cursor has
 * settled of them, now and on disk, and a quarantine whose commits the test decides about. Record seq N
 * has N as its time and "N" as its body; those of the alarm lane have the stream "alarm". A message a pass has handed out is freed once it is not valid
 * any more, so that a look at it is found.
 *
 * fake_journal.c is what writers need, fake_cursor.c what readers do.
 */
#include "journal/journal.h"

#define FAKE_RECORDS 4096
#define FAKE_LEFT_BEHIND 400

struct fake_record {
	char device[24];
	char body[24];
	char link[24];
	enum fg_kind kind;
	bool is_gone;    /* dropped by retention or damaged: passed over */
	bool is_untimed; /* FG_TIME_UNSYNCHRONISED */
};

struct fake_quarantined {
	uint64_t seq; /* 0: never was a record */
	enum fg_lane lane;
	uint64_t ticket;
	char reason[200];
	char device[32];
	char link[32];
	char topic[64];
	uint32_t attempts;
	uint64_t whole_size;
	size_t body_size;
};

/* What a cursor table tells. */
struct fake_cursor_state {
	bool settled[FAKE_RECORDS + 2]; /* by seq */
	struct {
		uint64_t key, from;
	} left_behind[FAKE_LEFT_BEHIND];
	size_t n_left_behind;
};

struct fg_cursor {
	struct fg_journal *journal;
	enum fg_lane lane;
	char name[64];
	uint64_t watermark, max_unsaved;
	struct fake_cursor_state now, saved;
	uint64_t n_unsaved;
	bool must_save;
	bool is_open;
	bool is_saving_by_itself; /* what is settled is on disk at once */
	bool is_held;             /* may_send says no, whatever else */
	int read_error;
	uint64_t losses[FG_N_LOSSES];
};

struct fg_journal {
	struct fake_record records[FAKE_RECORDS]; /* records[i] has seq i + 1 */
	uint64_t n_records;
	struct fake_record alarms[FAKE_RECORDS];
	uint64_t n_alarms;
	struct fg_cursor cursor, alarm_cursor;
	size_t max_left_behind; /* of each cursor */
	size_t look_max;        /* records one fg_pass_read() looks at; 0: all */
	unsigned n_passes;      /* that are open */
	uint64_t gathering;     /* ticket of the batch that gathers */
	bool has_data;
	bool is_busy; /* a commit runs: that of ticket `gathering` - 1 */
	uint64_t committed;
	size_t room;          /* bytes the batch still takes */
	int quarantine_error; /* fg_journal_quarantine() returns it */
	int append_error;
	struct fake_quarantined quarantined[FAKE_RECORDS];
	size_t n_quarantined;
	uint64_t n_appended;
	struct fake_appended { /* the newest */
		enum fg_lane lane;
		enum fg_kind kind;
		char device[64], ref[64], link[64], body[200];
	} appended;
	unsigned n_flushes;
};

void fake_journal_init(struct fg_journal *j);
void fake_journal_done(struct fg_journal *j);
/** Add a record that is on disk. Returns its seq. */
uint64_t fake_journal_add(struct fg_journal *j, const char *device);
uint64_t fake_journal_add_alarm(struct fg_journal *j, const char *device);
/** The commit that runs, or else what has gathered, is on disk. Returns the ticket to report. */
uint64_t fake_journal_commit(struct fg_journal *j);
/** The process dies: cursors are what is on disk of them, and so is quarantine. */
void fake_journal_crash(struct fg_journal *j);
/** Is record @seq of the main lane in quarantine (and on disk there)? */
bool fake_journal_has_quarantined(const struct fg_journal *j, uint64_t seq, bool is_on_disk);
/** What is settled is on disk now, if that was asked for. */
void fake_cursor_save(struct fg_cursor *c);
void fake_cursor_move_watermark(struct fg_cursor *c);
/** Is record @seq settled, but for sessions that were left behind? */
bool fake_cursor_has_settled(const struct fg_cursor *c, uint64_t seq);
