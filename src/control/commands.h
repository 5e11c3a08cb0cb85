#pragma once

/*
 * The commands of fieldgatectl, each with its words taken off: argv[0] is the last of them. They
 * print, and return the exit status.
 */
#include "control/locate.h"
#include "control/output.h"
#include "control/scan.h"
#include "journal/journal.h"

#define FG_EXIT_OK 0
#define FG_EXIT_PROBLEMS 1 /* found, or could not do it */
#define FG_EXIT_USAGE 2

int fg_ctl_journal_verify(int argc, char **argv);
int fg_ctl_journal_dump(int argc, char **argv);
int fg_ctl_quarantine_list(int argc, char **argv);
int fg_ctl_quarantine_show(int argc, char **argv);
int fg_ctl_quarantine_retry(int argc, char **argv);
int fg_ctl_quarantine_drop(int argc, char **argv);
int fg_ctl_status(int argc, char **argv);
int fg_ctl_roundtrip(int argc, char **argv);

/* ---- what they share */

/** Say on standard error what is wrong; returns FG_EXIT_PROBLEMS. */
int fg_ctl_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** The arguments are wrong: say so, and where help is; returns FG_EXIT_USAGE. */
int fg_ctl_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** A number in digits alone, up to UINT64_MAX. Returns false when @text is none. */
bool fg_ctl_number(const char *text, uint64_t *ret);

/* Where the daemon keeps its state unless it is told otherwise. */
#define FG_CTL_STATE "/var/lib/fieldgate"

/**
 * The journal's directory: @option (may be NULL), or the next operand, @argv[*@at], which is then
 * passed, unless only @n_after are left; or FG_CTL_STATE. Returns 0, or FG_EXIT_* when it was said
 * what is wrong.
 */
int fg_ctl_locate(const char *option, int argc, char **argv, int n_after, int *at,
		  struct fg_located *ret);

/** What the journal's own file @f is not, as a sentence without its name; NULL when it is fine or
 * set aside. To @out of 256. */
const char *fg_ctl_file_fault(const struct fg_scan_file *f, char *out);

/** Say so of each file of @lane that has such a fault. Returns whether one has. */
bool fg_ctl_tell_file_faults(const char *lane, const struct fg_scan *s);

/** What @q says, as members of @o. */
void fg_ctl_add_quarantined(struct fg_object *o, const struct fg_quarantined *q);

/** Standard output has arrived where it goes: @status, else FG_EXIT_PROBLEMS with a sentence. */
int fg_ctl_flush(int status);
