#include "gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloud/link.h"
#include "cloud/plugin_host.h"
#include "journal/journal.h"
#include "local/broker_client.h"
#include "local/mapping.h"
#include "net/connector.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/complaint.h"
#include "util/log.h"
#include "util/timekeeper.h"

/*
 * What gathers while a commit runs. Room for the largest message that one packet can become,
 * telemetry and attributes, and as much again to go on gathering; pages never touched cost nothing.
 */
#define BATCH_BYTES (4 * 1024 * 1024)

/* One configured cloud, before and after it has become a link. */
struct cloud {
	struct fg_plugin_handle *plugin;
	struct fg_value *values;
	struct fg_link *link;
};

struct fg_gateway {
	struct fg_config *config;
	struct ev_loop *loop;
	struct cloud *clouds;              /* config->n_clouds */
	struct fg_broker_client **brokers; /* config->n_brokers */
	struct fg_mapping *mapping;
	struct fg_connector *connector;
	struct fg_fs *fs;
	struct fg_journal *journal;
	struct fg_timekeeper *timekeeper;
	int lock_fd;
	ev_async committed;     /* from the journal's writer thread */
	ev_prepare before_wait; /* hands over what has gathered in this turn of the loop */
	ev_timer tick;          /* each second */
	ev_timer commit_interval;
	ev_timer stop_limit;
	size_t n_running; /* brokers or links that have not stopped yet */
	bool is_started, is_stopping, links_stopping;
	bool is_stuck; /* the disk refuses: what brokers wait for will not come */
	struct fg_complaint clock_steps, clock_file;
	struct fg_complaint trouble, full;
};

static void gateway_freep(struct fg_gateway **g)
{
	fg_gateway_free(*g);
}

/* ---- checking */

static int check_cloud(struct fg_gateway *g, size_t i, const char *plugin_directory,
		       struct fg_report *report)
{
	const struct fg_cloud_config *config = &g->config->clouds[i];
	struct cloud *cloud = &g->clouds[i];
	struct fg_link_options options = {.config = config, .gateway_name = g->config->name};
	struct fg_error err = {0};
	size_t n_options;
	int r;

	r = fg_plugin_load(plugin_directory, config->plugin, &cloud->plugin, &err);
	if (r < 0) {
		fg_report_add(report, &config->plugin_place, "clouds.%s.plugin: %s", config->name,
			      err.text);
		return -EINVAL;
	}
	options.plugin = fg_plugin_get(cloud->plugin);
	n_options = fg_plugin_option_count(options.plugin->options);
	cloud->values = calloc(n_options + 1, sizeof(*cloud->values));
	if (!cloud->values)
		return -ENOMEM;
	r = fg_config_options(g->config, config, options.plugin->options, report, cloud->values);
	if (r < 0)
		return r;
	options.values = cloud->values;
	r = fg_link_check(&options, &err);
	if (r < 0)
		fg_report_add(report, &config->place, "clouds.%s: %s", config->name, err.text);
	return r;
}

static int check_broker(struct fg_gateway *g, size_t i, struct fg_report *report)
{
	const struct fg_broker_config *config = &g->config->brokers[i];
	struct fg_error err = {0};
	int r = fg_broker_client_check(config, &err);

	if (r < 0)
		fg_report_add(report, &config->place, "local.brokers.%s: %s", config->name,
			      err.text);
	return r;
}

int fg_gateway_new(struct fg_config *config, const char *plugin_directory, struct fg_report *report,
		   struct fg_gateway **ret)
{
	FG_CLEANUP(gateway_freep) struct fg_gateway *g = calloc(1, sizeof(*g));
	bool is_bad = false;
	int r;

	if (!g)
		return -ENOMEM;
	g->config = config;
	g->lock_fd = -1;
	g->clouds = calloc(config->n_clouds + 1, sizeof(*g->clouds));
	g->brokers = calloc(config->n_brokers + 1, sizeof(struct fg_broker_client *));
	if (!g->clouds || !g->brokers)
		return -ENOMEM;
	if (!plugin_directory)
		plugin_directory = config->plugin_directory;

	r = fg_mapping_new(config, report, &g->mapping);
	is_bad = r < 0;
	for (size_t i = 0; i < config->n_brokers && r != -ENOMEM; i++) {
		r = check_broker(g, i, report);
		is_bad = is_bad || r < 0;
	}
	for (size_t i = 0; i < config->n_clouds && r != -ENOMEM; i++) {
		r = check_cloud(g, i, plugin_directory, report);
		is_bad = is_bad || r < 0;
	}
	if (r == -ENOMEM)
		return r;
	if (is_bad)
		return -EINVAL;

	*ret = g; /* the caller owns it now */
	g = NULL;
	return 0;
}

/* ---- the journal's callbacks */

static void journal_notify(void *arg) /* on the writer thread */
{
	struct fg_gateway *g = arg;

	ev_async_send(g->loop, &g->committed);
}

static void journal_woke(struct ev_loop *loop, ev_async *w, int events)
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
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link)
			fg_link_committed(g->clouds[i].link, ticket);
}

static void journal_lost(void *arg, const char *link, uint64_t records, uint64_t seq,
			 const char *why)
{
	struct fg_gateway *g = arg;

	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link && strcmp(fg_link_name(g->clouds[i].link), link) == 0)
			fg_link_lost(g->clouds[i].link, records, seq, why);
}

static void journal_trouble(void *arg, int error, const char *what)
{
	struct fg_gateway *g = arg;

	g->is_stuck = error < 0;
	if (error < 0)
		fg_complain(&g->trouble, fg_clock_monotonic_ms(), LOG_ERR,
			    "journal: %s: %s; acknowledging nothing until it works again", what,
			    strerror(-error));
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

static void before_wait(struct ev_loop *loop, ev_prepare *w, int events)
{
	struct fg_gateway *g = w->data;

	(void)loop;
	(void)events;
	fg_journal_flush(g->journal, fg_clock_monotonic_ms());
}

static void commit_interval_over(struct ev_loop *loop, ev_timer *w, int events)
{
	/* Nothing to do: the loop turns, and before_wait() hands over what is due. */
	(void)loop;
	(void)w;
	(void)events;
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

static void look_at_clock(struct fg_gateway *g)
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

static int open_timekeeper(struct fg_gateway *g)
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

static void ticked(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_gateway *g = w->data;

	(void)loop;
	(void)events;
	look_at_clock(g);
	fg_journal_tick(g->journal, fg_clock_monotonic_ms());
}

/* ---- starting */

static int lock_state_directory(struct fg_gateway *g, struct fg_error *err)
{
	const char *directory = g->config->state_directory;
	FG_CLEANUP(fg_free_p) char *path = NULL;

	if (asprintf(&path, "%s/lock", directory) < 0)
		return -ENOMEM;
	g->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (g->lock_fd < 0) {
		int r = -errno;

		if (access(directory, F_OK) < 0)
			return fg_error_set(
				err, r,
				"state directory %s: %s; create it, writable for the user "
				"fieldgate runs as, or set gateway.state_directory",
				directory, strerror(errno));
		return fg_error_set(err, r, "state directory %s is not writable: %s", directory,
				    strerror(-r));
	}
	if (flock(g->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return fg_error_set(err, -EBUSY, "state directory %s: another fieldgate uses it",
				    directory);
	return 0;
}

static const enum fg_on_full on_full[] = {
	[FG_CONFIG_DROP_OLDEST] = FG_ON_FULL_DROP_OLDEST,
	[FG_CONFIG_DROP_NEWEST] = FG_ON_FULL_DROP_NEWEST,
	[FG_CONFIG_STOP_ACK] = FG_ON_FULL_STOP_ACK,
};

static int open_journal(struct fg_gateway *g, struct fg_error *err)
{
	const struct fg_journal_config *config = &g->config->journal;
	struct fg_journal_options options = {
		.timekeeper = g->timekeeper,
		.segment_bytes = config->segment_bytes,
		.batch_bytes = BATCH_BYTES,
		.max_bytes = config->max_bytes,
		.on_full = on_full[config->on_full],
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

	if (options.segment_bytes < 2 * options.batch_bytes)
		options.segment_bytes = 2 * options.batch_bytes;
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
	return 0;
}

static int start_links(struct fg_gateway *g, struct fg_error *err)
{
	for (size_t i = 0; i < g->config->n_clouds; i++) {
		struct fg_link_options options = {
			.loop = g->loop,
			.connector = g->connector,
			.journal = g->journal,
			.timekeeper = g->timekeeper,
			.config = &g->config->clouds[i],
			.plugin = fg_plugin_get(g->clouds[i].plugin),
			.values = g->clouds[i].values,
			.gateway_name = g->config->name,
		};
		struct fg_error why = {0};
		int r;

		if (getrandom(&options.seed, sizeof(options.seed), GRND_NONBLOCK) < 0)
			options.seed = (uint64_t)fg_clock_utc_us() + i;
		r = fg_link_new(&options, &g->clouds[i].link, &why);
		if (r < 0)
			return fg_error_set(err, r, "clouds.%s: %s", options.config->name,
					    why.text[0] ? why.text : strerror(-r));
	}
	for (size_t i = 0; i < g->config->n_clouds; i++)
		fg_link_start(g->clouds[i].link);
	return 0;
}

static int start_brokers(struct fg_gateway *g, struct fg_error *err)
{
	for (size_t i = 0; i < g->config->n_brokers; i++) {
		struct fg_broker_client_options options = {
			.loop = g->loop,
			.connector = g->connector,
			.journal = g->journal,
			.timekeeper = g->timekeeper,
			.mapping = g->mapping,
			.config = &g->config->brokers[i],
			.max_message_bytes = g->config->max_message_bytes,
		};
		struct fg_error why = {0};
		int r;

		if (getrandom(&options.seed, sizeof(options.seed), GRND_NONBLOCK) < 0)
			options.seed = (uint64_t)fg_clock_utc_us() + i + 1000;
		r = fg_broker_client_new(&options, &g->brokers[i], &why);
		if (r < 0)
			return fg_error_set(err, r, "local.brokers.%s: %s", options.config->name,
					    why.text[0] ? why.text : strerror(-r));
	}
	for (size_t i = 0; i < g->config->n_brokers; i++)
		fg_broker_client_start(g->brokers[i]);
	return 0;
}

static void start_watchers(struct fg_gateway *g)
{
	double interval_s = (double)g->config->journal.commit_interval_ms / 1000.;

	ev_prepare_init(&g->before_wait, before_wait);
	g->before_wait.data = g;
	ev_prepare_start(g->loop, &g->before_wait);
	ev_timer_init(&g->tick, ticked, 1., 1.);
	g->tick.data = g;
	ev_timer_start(g->loop, &g->tick);
	ev_timer_init(&g->commit_interval, commit_interval_over, interval_s, interval_s);
	if (interval_s > 0)
		ev_timer_start(g->loop, &g->commit_interval);
}

int fg_gateway_start(struct fg_gateway *g, struct ev_loop *loop, struct fg_error *err)
{
	struct fg_journal_stats stats;
	int r;

	g->loop = loop;
	r = lock_state_directory(g, err);
	if (r < 0)
		return r;
	ev_async_init(&g->committed, journal_woke);
	g->committed.data = g;
	ev_async_start(loop, &g->committed);
	ev_init(&g->stop_limit, NULL);
	g->is_started = true;
	r = open_timekeeper(g);
	if (r < 0)
		return r;
	r = open_journal(g, err);
	if (r < 0)
		return r;
	fg_journal_get_stats(g->journal, &stats);
	fg_notice("journal: open in %s/journal, records %llu..%llu, %llu bytes, quarantined %llu",
		  g->config->state_directory, (unsigned long long)stats.first_seq,
		  (unsigned long long)stats.next_seq - 1, (unsigned long long)stats.bytes_on_disk,
		  (unsigned long long)stats.quarantine_records);
	start_watchers(g);
	r = fg_connector_new(loop, &g->connector);
	if (r < 0)
		return r;
	r = start_links(g, err);
	if (r < 0)
		return r;
	return start_brokers(g, err);
}

/* ---- stopping */

static void link_has_stopped(void *arg)
{
	struct fg_gateway *g = arg;

	if (--g->n_running == 0)
		ev_break(g->loop, EVBREAK_ALL);
}

static void stop_links(struct fg_gateway *g)
{
	g->links_stopping = true;
	g->n_running = g->config->n_clouds;
	for (size_t i = 0; i < g->config->n_clouds; i++)
		fg_link_stop(g->clouds[i].link, link_has_stopped, g);
}

static void broker_has_stopped(void *arg)
{
	struct fg_gateway *g = arg;

	if (--g->n_running == 0)
		stop_links(g);
}

static void stop_took_too_long(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_gateway *g = w->data;

	(void)events;
	fg_warning("gateway: %zu %s did not stop within %d ms, going down without", g->n_running,
		   g->links_stopping ? "links" : "brokers", FG_GATEWAY_STOP_MS);
	ev_break(loop, EVBREAK_ALL);
}

void fg_gateway_stop(struct fg_gateway *g)
{
	if (g->is_stopping)
		return;
	g->is_stopping = true;
	ev_timer_init(&g->stop_limit, stop_took_too_long, FG_GATEWAY_STOP_MS / 1000., 0.);
	g->stop_limit.data = g;
	ev_timer_start(g->loop, &g->stop_limit);
	g->n_running = g->config->n_brokers;
	for (size_t i = 0; i < g->config->n_brokers && g->is_stuck; i++) {
		g->brokers[i] = fg_broker_client_free(g->brokers[i]);
		broker_has_stopped(g);
	}
	for (size_t i = 0; i < g->config->n_brokers && !g->is_stuck; i++)
		fg_broker_client_stop(g->brokers[i], broker_has_stopped, g);
}

void fg_gateway_log_status(struct fg_gateway *g)
{
	struct fg_broker_client_stats broker;
	struct fg_journal_stats journal;
	struct fg_link_stats link;

	for (size_t i = 0; i < g->config->n_brokers; i++) {
		if (!g->brokers[i])
			continue;
		fg_broker_client_get_stats(g->brokers[i], &broker);
		fg_notice(
			"broker %s: %s, received=%llu appended=%llu quarantined=%llu unmapped=%llu",
			fg_broker_client_name(g->brokers[i]),
			broker.is_online ? "online" : "offline",
			(unsigned long long)broker.received, (unsigned long long)broker.messages,
			(unsigned long long)broker.quarantined,
			(unsigned long long)broker.unmapped);
	}
	fg_journal_get_stats(g->journal, &journal);
	fg_notice("journal: records %llu..%llu, synced=%llu bytes=%llu commits=%llu written=%llu "
		  "cursor_saves=%llu quarantined=%llu damaged=%llu refused=%llu",
		  (unsigned long long)journal.first_seq, (unsigned long long)journal.next_seq - 1,
		  (unsigned long long)journal.synced_seq, (unsigned long long)journal.bytes_on_disk,
		  (unsigned long long)journal.commits, (unsigned long long)journal.bytes_written,
		  (unsigned long long)journal.cursor_saves,
		  (unsigned long long)journal.quarantine_records,
		  (unsigned long long)journal.damaged_records,
		  (unsigned long long)journal.refused_records);
	for (size_t i = 0; i < g->config->n_clouds; i++) {
		fg_link_get_stats(g->clouds[i].link, &link);
		fg_notice("link %s: %s, backlog=%llu published=%llu acked=%llu quarantined=%llu "
			  "values_dropped=%llu lost=%llu lost_limit=%llu lost_age=%llu "
			  "lost_own_limit=%llu lost_full=%llu lost_damaged=%llu sessions=%llu",
			  fg_link_name(g->clouds[i].link), fg_link_state_name(link.state),
			  (unsigned long long)link.backlog, (unsigned long long)link.published,
			  (unsigned long long)link.records_acked,
			  (unsigned long long)link.quarantined,
			  (unsigned long long)link.values_dropped, (unsigned long long)link.lost,
			  (unsigned long long)link.losses[FG_LOSS_LIMIT],
			  (unsigned long long)link.losses[FG_LOSS_AGE],
			  (unsigned long long)link.losses[FG_LOSS_OWN_LIMIT],
			  (unsigned long long)link.losses[FG_LOSS_FULL],
			  (unsigned long long)link.losses[FG_LOSS_DAMAGED],
			  (unsigned long long)link.sessions);
	}
}

struct fg_gateway *fg_gateway_free(struct fg_gateway *g)
{
	if (!g)
		return NULL;
	for (size_t i = 0; i < g->config->n_brokers && g->brokers; i++)
		g->brokers[i] = fg_broker_client_free(g->brokers[i]);
	for (size_t i = 0; i < g->config->n_clouds && g->clouds; i++)
		g->clouds[i].link = fg_link_free(g->clouds[i].link);
	fg_journal_free(g->journal);
	fg_timekeeper_free(g->timekeeper);
	fg_fs_posix_free(g->fs);
	fg_connector_free(g->connector);
	if (g->is_started) {
		ev_async_stop(g->loop, &g->committed);
		ev_prepare_stop(g->loop, &g->before_wait);
		ev_timer_stop(g->loop, &g->tick);
		ev_timer_stop(g->loop, &g->commit_interval);
		ev_timer_stop(g->loop, &g->stop_limit);
	}
	for (size_t i = 0; i < g->config->n_clouds && g->clouds; i++) {
		fg_plugin_unload(g->clouds[i].plugin);
		free(g->clouds[i].values);
	}
	fg_mapping_free(g->mapping);
	if (g->lock_fd >= 0)
		close(g->lock_fd);
	free(g->clouds);
	free(g->brokers);
	free(g);
	return NULL;
}
