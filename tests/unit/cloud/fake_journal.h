#pragma once

/*
 * A journal in memory for tests of what reads and writes one: an array of records, a watermark, and
 * a quarantine whose commits the test decides about. Record seq N has N as its time and "N" as its
 * body.
 */
#include "journal/journal.h"

#define FAKE_RECORDS 4096

struct fake_record {
	char device[24];
	char body[24];
	enum fg_kind kind;
	bool is_gone; /* dropped by retention or damaged: passed over */
};

struct fake_quarantined {
	uint64_t seq; /* 0: never was a record */
	uint64_t ticket;
	char reason[200];
	char device[32];
	char link[32];
	char topic[64];
	uint32_t attempts;
	uint64_t whole_size;
	size_t body_size;
};

struct fg_cursor {
	struct fg_journal *journal;
	struct fg_message *lent; /* as handed out last: freed when it stops being valid */
	char *lent_text[FAKE_RECORDS];
	size_t n_lent;
	char name[64];
	uint64_t watermark, saved, position, max_unsaved;
	bool must_save;
	bool is_open;
	bool is_saving_by_itself; /* each ack is on disk at once */
	bool is_held;             /* may_send says no, whatever else */
	int read_error;
};

struct fg_journal {
	struct fake_record records[FAKE_RECORDS]; /* records[i] has seq i + 1 */
	uint64_t n_records;
	struct fg_cursor cursor;
	uint64_t gathering; /* ticket of the batch that gathers */
	bool has_data;
	bool is_busy; /* a commit runs: that of ticket `gathering` - 1 */
	uint64_t committed;
	size_t room;          /* bytes the batch still takes */
	int quarantine_error; /* fg_journal_quarantine() returns it */
	int append_error;
	struct fake_quarantined quarantined[FAKE_RECORDS];
	size_t n_quarantined;
	uint64_t n_appended;
	unsigned n_flushes;
};

void fake_journal_init(struct fg_journal *j);
void fake_journal_done(struct fg_journal *j);
/** Add a record that is on disk. Returns its seq. */
uint64_t fake_journal_add(struct fg_journal *j, const char *device);
/** The commit that runs, or else what has gathered, is on disk. Returns the ticket to report. */
uint64_t fake_journal_commit(struct fg_journal *j);
/** Is record @seq in quarantine (and on disk there)? */
bool fake_journal_has_quarantined(const struct fg_journal *j, uint64_t seq, bool is_on_disk);
