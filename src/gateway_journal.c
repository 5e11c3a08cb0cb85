#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "gateway_internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

/* ---- the journal's callbacks */

static void journal_notify(void *arg) /* on the writer thread */
{
	struct fg_gateway *g = arg;

	ev_async_send(g->loop, &g->committed);
}

void fg_gateway_journal_woke(struct ev_loop *loop, ev_async *w, int events)
{
	struct fg_gateway *g = w->data;

	(void)loop;
	(void)events;
	fg_journal_collect(g->journal, fg_clock_monotonic_ms());
}

static void journal_committed(void *arg, uint64_t ticket)
{
	struct fg_gateway *g = arg;

	for (size_t i = 0; i < g->config->n_brokers; i++)
		if (g->brokers[i])
			fg_broker_client_committed(g->brokers[i], ticket);
	fg_gateway_quarantine_committed(g, ticket);
	if (g->desk)
		fg_command_desk_committed(g->desk, ticket, fg_clock_monotonic_ms());
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link)
			fg_link_committed(g->clouds[i].link, ticket);
}

static void journal_lost(void *arg, const char *link, uint64_t records, uint64_t seq,
			 const char *why)
{
	struct fg_gateway *g = arg;
	struct fg_link *its = fg_gateway_link(g, link);

	if (its)
		fg_link_lost(its, records, seq, why);
	else if (g->desk && strcmp(link, FG_COMMAND_CURSOR) == 0)
		fg_command_desk_lost(g->desk, seq);
}

static void journal_trouble(void *arg, int error, const char *what)
{
	struct fg_gateway *g = arg;

	g->is_stuck = error < 0;
	snprintf(g->stuck_why, sizeof(g->stuck_why), "%s: %s", what, strerror(-error));
	if (error < 0)
		fg_complain(&g->trouble, fg_clock_monotonic_ms(), LOG_ERR,
			    "journal: %s; acknowledging nothing until it works again",
			    g->stuck_why);
	else
		fg_complain_over(&g->trouble, "journal: writing works again");
}

static void journal_full(void *arg, bool is_full)
{
	struct fg_gateway *g = arg;
	bool is_dropping = g->config->journal.on_full == FG_CONFIG_DROP_NEWEST;

	if (is_full)
		fg_complain(&g->full, fg_clock_monotonic_ms(), LOG_WARNING,
			    "journal: limit of %llu MiB reached, %s",
			    (unsigned long long)(g->config->journal.max_bytes >> 20),
			    is_dropping ? "dropping what comes"
					: "acknowledging nothing until clouds have made room");
	else
		fg_complain_over(&g->full, "journal: there is room again");
}

/* ---- the clock */

static void tell_clock(struct fg_gateway *g, const struct fg_clock_news *news)
{
	int64_t now_ms = fg_clock_monotonic_ms();

	if (news->is_learnt)
		fg_notice("clock: the time is known now, what was stamped before gets its right "
			  "time");
	else if (news->is_stepped)
		fg_complain(&g->clock_steps, now_ms, LOG_WARNING, "clock: stepped by %lld s, %s",
			    (long long)(news->step_us / 1000000),
			    news->is_distrusted ? "which is before any possible time: not followed"
			    : fg_timekeeper_is_known(g->timekeeper) ? "followed"
								    : "still not to be believed");
	if (news->save_error < 0)
		fg_complain(
			&g->clock_file, now_ms, LOG_WARNING,
			"clock: cannot write %s/clock: %s; after a restart stamps may be estimates",
			g->config->state_directory, strerror(-news->save_error));
}

void fg_gateway_look_at_clock(struct fg_gateway *g)
{
	struct fg_clock_news news;

	fg_timekeeper_tick(g->timekeeper, &news);
	tell_clock(g, &news);
	if (!news.is_learnt && !news.is_stepped)
		return;
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link && !g->is_stopping)
			fg_link_clock_set(g->clouds[i].link, news.is_learnt);
}

int fg_gateway_open_timekeeper(struct fg_gateway *g)
{
	struct fg_timekeeper_options options = {.wait_us = g->config->time_wait_ms * 1000};
	FG_CLEANUP(fg_free_p) char *path = NULL;
	struct fg_clock_news news;
	uint8_t boot_id[16];
	int r;

	if (asprintf(&path, "%s/clock", g->config->state_directory) < 0)
		return -ENOMEM;
	fg_timekeeper_boot_id(boot_id);
	options.path = path;
	options.boot_id = boot_id;
	r = fg_timekeeper_new(&options, &g->timekeeper);
	if (r < 0)
		return r;
	fg_timekeeper_tick(g->timekeeper, &news);
	news.is_learnt = news.is_stepped = false; /* that it was good from the start is no news */
	tell_clock(g, &news);
	if (!fg_timekeeper_is_known(g->timekeeper))
		fg_notice(
			"clock: not set yet; what arrives without a time of its own waits for it, "
			"%lld s at most",
			(long long)(g->config->time_wait_ms / 1000));
	return 0;
}

/* ---- opening */

/*
 * What gathers while a commit runs. Room for the largest message that one packet can become,
 * telemetry and attributes, and as much again to go on gathering; pages never touched cost nothing.
 */
#define BATCH_BYTES ((size_t)4 * 1024 * 1024)
_Static_assert(FG_SEGMENT_MIN_BYTES >= 2 * BATCH_BYTES, "a segment holds two batches");

/* How many sessions may fall behind, where a plugin has one for each device. */
static unsigned max_left_behind(const struct fg_gateway *g)
{
	/* One key is for the order of attributes (`order: live_first`). */
	unsigned n = FG_MAX_CLOUDS;

	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (fg_plugin_get(g->clouds[i].plugin)->has_device_sessions)
			n = FG_LEFT_BEHIND_MAX;
	return n;
}

static const enum fg_on_full on_full[] = {
	[FG_CONFIG_DROP_OLDEST] = FG_ON_FULL_DROP_OLDEST,
	[FG_CONFIG_DROP_NEWEST] = FG_ON_FULL_DROP_NEWEST,
	[FG_CONFIG_STOP_ACK] = FG_ON_FULL_STOP_ACK,
};

/* A disk that is full before the journal is stops acknowledgements, whatever on_full says. */
static void look_for_room(const struct fg_gateway *g, const char *path)
{
	const struct fg_journal_config *config = &g->config->journal;
	uint64_t allowed =
		config->max_bytes + config->max_alarm_bytes + config->max_quarantine_bytes;
	struct fg_journal_stats has;
	struct statvfs fs;
	uint64_t room;

	if (statvfs(path, &fs) < 0)
		return;
	fg_journal_get_stats(g->journal, &has);
	room = (uint64_t)fs.f_bavail * fs.f_frsize + has.bytes_on_disk + has.alarm_bytes +
	       has.quarantine_bytes;
	if (room < allowed)
		fg_warning("journal: its limits allow %llu MiB, and %s has room for %llu MiB: with "
			   "the "
			   "disk full nothing is acknowledged, whatever on_full says; lower "
			   "journal.max_size, or make room",
			   (unsigned long long)(allowed >> 20), path,
			   (unsigned long long)(room >> 20));
}

int fg_gateway_open_journal(struct fg_gateway *g, struct fg_error *err)
{
	const struct fg_journal_config *config = &g->config->journal;
	struct fg_journal_options options = {
		.timekeeper = g->timekeeper,
		.segment_bytes = config->segment_bytes,
		.batch_bytes = BATCH_BYTES,
		.max_bytes = config->max_bytes,
		.on_full = on_full[config->on_full],
		.max_alarm_bytes = config->max_alarm_bytes,
		.max_left_behind = max_left_behind(g),
		.max_age_ms = config->max_age_ms,
		.max_quarantine_bytes = config->max_quarantine_bytes,
		.commit_interval_ms = config->commit_interval_ms,
		.is_threaded = true,
		.notify = journal_notify,
		.committed = journal_committed,
		.lost = journal_lost,
		.full = journal_full,
		.trouble = journal_trouble,
		.arg = g,
	};
	FG_CLEANUP(fg_free_p) char *path = NULL;
	struct fg_error why = {0};
	int r;

	if (asprintf(&path, "%s/journal", g->config->state_directory) < 0)
		return -ENOMEM;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return fg_error_set(err, -errno, "%s: %s", path, strerror(errno));
	r = fg_fs_posix_new(path, &g->fs);
	if (r < 0)
		return fg_error_set(err, r, "%s: %s", path, strerror(-r));
	options.fs = g->fs;
	r = fg_journal_open(&options, &g->journal, &why);
	if (r < 0)
		return fg_error_set(err, r, "journal in %s: %s", path,
				    why.text[0] ? why.text : strerror(-r));
	look_for_room(g, path);
	return 0;
}
