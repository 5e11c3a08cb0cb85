/* clang-format off */
/*
 * Power cuts, thousands of them: a gateway's life on a simulated disk, with a model of what was
 * promised to whom, and after each cut a check that it was kept.
 *
 *	powercut [--cuts N] [--seed S] [--life L] [--json] [--verbose] [--sabotage HOW]
 *
 * A run is a row of lives, each with a disk of its own and a seed made from S and the life's
 * number; a life ends after a few dozen cuts. Some lives also have a disk that fails now and then,
 * or a limit so small that segments are dropped, or that says no to new records, or records that
 * get too old, or links with caps of their own; clocks step by years. Links read both lanes, settle
 * in any order, turn to the newest and back, leave sessions behind and have them catch up. Messages
 * go into quarantine, and are sent again from there. What must hold after each cut:
 *
 *   loss         a record whose ticket was committed is there with its bytes, for each link that
 *                had not settled it, unless the link was told that it was lost to a cap
 *   skip         the same, of what the cursor counts as settled
 *   policy       a link is told of such a loss only when that cap is set, and of as many records as
 *                there are; nothing younger than its age; and the journal never passes its limits
 *   quarantine   what is settled because it went into quarantine is there; what was committed to it
 *                stays there until what was appended in its place is in the journal, and then is gone
 *   duplicates   of what a link had sent, no more than max_unsaved records are open again; after a
 *                clean shutdown none that was settled
 *   alarm        no link is told of damage where there is none, nor of a loss after the cut that
 *                was none
 *   start        the journal opens
 *
 * --sabotage has the disk or a link do something wrong, which must be noticed: skip-sync,
 * skip-dir-sync, skip-alarm-sync, settle-more, forget-behind, rejoin-early, settle-quarantine,
 * send-on (life.h).
 *
 * Exit status 1 and the life's number when any does not hold; --seed and --life with that replay it.
 */
/* clang-format on */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "life.h"

#define CUTS_PER_LIFE 40

static const char *const sabotages[] = {
	[SABOTAGE_SKIP_SYNC] = "skip-sync",
	[SABOTAGE_SKIP_DIR_SYNC] = "skip-dir-sync",
	[SABOTAGE_SKIP_ALARM_SYNC] = "skip-alarm-sync",
	[SABOTAGE_SETTLE_MORE] = "settle-more",
	[SABOTAGE_FORGET_BEHIND] = "forget-behind",
	[SABOTAGE_REJOIN_EARLY] = "rejoin-early",
	[SABOTAGE_SETTLE_QUARANTINE] = "settle-quarantine",
	[SABOTAGE_SEND_ON] = "send-on",
};

struct arguments {
	uint64_t cuts, seed, life;
	bool is_one_life, is_json, is_verbose;
	enum sabotage sabotage;
};

static int usage(const char *self)
{
	fprintf(stderr,
		"usage: %s [--cuts N] [--seed S] [--life L] [--json] [--verbose] [--sabotage HOW]\n"
		"HOW:",
		self);
	for (size_t i = 1; i < sizeof(sabotages) / sizeof(sabotages[0]); i++)
		fprintf(stderr, " %s", sabotages[i]);
	fputc('\n', stderr);
	return 2;
}

static bool parse_sabotage(const char *text, enum sabotage *ret)
{
	for (size_t i = 1; i < sizeof(sabotages) / sizeof(sabotages[0]); i++)
		if (strcmp(text, sabotages[i]) == 0) {
			*ret = (enum sabotage)i;
			return true;
		}
	return false;
}

static bool parse(int argc, char **argv, struct arguments *a)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--json") == 0) {
			a->is_json = true;
			continue;
		}
		if (strcmp(argv[i], "--verbose") == 0) {
			a->is_verbose = true;
			continue;
		}
		if (strcmp(argv[i], "--cuts") == 0) {
			a->cuts = strtoull(value, NULL, 10);
		} else if (strcmp(argv[i], "--seed") == 0) {
			a->seed = strtoull(value, NULL, 10);
		} else if (strcmp(argv[i], "--life") == 0) {
			a->life = strtoull(value, NULL, 10);
			a->is_one_life = true;
		} else if (strcmp(argv[i], "--sabotage") != 0 ||
			   !parse_sabotage(value, &a->sabotage)) {
			return false;
		}
		i++;
	}
	return true;
}

static void print_totals(const struct totals *t, uint64_t seed, bool is_json)
{
	const struct {
		const char *name;
		uint64_t value;
	} fields[] = {
		{"seed", seed},
		{"cuts", t->cuts},
		{"kills", t->kills},
		{"clean_shutdowns", t->clean},
		{"lives", t->lives},
		{"appended", t->appended},
		{"acked", t->acked},
		{"recovered", t->recovered},
		{"dropped_by_caps", t->dropped},
		{"refused", t->refused},
		{"jumps", t->jumps},
		{"left_behind", t->left_behind},
		{"rejoined", t->rejoined},
		{"sent_again_from_quarantine", t->requeued},
		{"lanes_with_many_ranges", t->many_ranges},
		{"duplicated", t->duplicates},
		{"lost", t->lost},
		{"skipped", t->skipped},
		{"quarantine_lost", t->quarantine_lost},
		{"excess_duplicates", t->excess_duplicates},
		{"false_alarms", t->false_alarms},
		{"policy_broken", t->policy},
		{"start_failures", t->start_failures},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		printf(is_json ? "%s\"%s\": %" PRIu64 : "%s%-26s %" PRIu64 "\n",
		       !is_json ? ""
		       : i == 0 ? "{"
				: ", ",
		       fields[i].name, fields[i].value);
	if (is_json)
		puts("}");
}

int main(int argc, char **argv)
{
	struct arguments a = {.cuts = 1000, .seed = 1};
	struct totals totals = {0};
	bool is_good = true;

	if (!parse(argc, argv, &a))
		return usage(argv[0]);
	for (; is_good && totals.cuts < a.cuts; a.life++) {
		uint64_t left = a.cuts - totals.cuts;

		is_good = life_run(a.life, a.seed, a.sabotage,
				   totals.cuts + (left < CUTS_PER_LIFE ? left : CUTS_PER_LIFE),
				   a.is_verbose, &totals);
		if (!is_good)
			fprintf(stderr, "replay with: --seed %" PRIu64 " --life %" PRIu64 "\n",
				a.seed, a.life);
		if (a.is_one_life)
			break;
	}
	print_totals(&totals, a.seed, a.is_json);
	return is_good ? 0 : 1;
}
