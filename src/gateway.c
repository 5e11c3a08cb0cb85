#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "gateway_internal.h"
#include "net/tick.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/random.h"

static void gateway_freep(struct fg_gateway **g)
{
	fg_gateway_free(*g);
}

/* ---- checking */

static int check_cloud(struct fg_gateway *g, size_t i, const char *plugin_directory,
		       struct fg_report *report)
{
	const struct fg_cloud_config *config = &g->config->clouds[i];
	struct fg_gateway_cloud *cloud = &g->clouds[i];
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
	g->started_ms = fg_clock_monotonic_ms();
	g->lock_fd = -1;
	g->clouds = calloc(config->n_clouds + 1, sizeof(*g->clouds));
	g->brokers = calloc(config->n_brokers + 1, sizeof(struct fg_broker_client *));
	if (!g->clouds || !g->brokers)
		return -ENOMEM;
	if (!plugin_directory)
		plugin_directory = config->plugin_directory;

	r = fg_mapping_new(config, report, &g->mapping);
	is_bad = r < 0;
	if (r != -ENOMEM) {
		r = fg_command_map_new(config, report, &g->command_map);
		is_bad = is_bad || r < 0;
	}
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

static void before_wait(struct ev_loop *loop, ev_prepare *w, int events)
{
	struct fg_gateway *g = w->data;

	(void)loop;
	(void)events;
	int64_t now_ms = fg_clock_monotonic_ms();

	fg_gateway_arm_desk(g, now_ms);
	fg_journal_flush(g->journal, now_ms);
}

static void commit_interval_over(struct ev_loop *loop, ev_timer *w, int events)
{
	/* Nothing to do: the loop turns, and before_wait() hands over what is due. */
	(void)loop;
	(void)w;
	(void)events;
}

static void ticked(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_gateway *g = w->data;

	int64_t now_ms = fg_clock_monotonic_ms();

	(void)loop;
	(void)events;
	fg_gateway_look_at_clock(g);
	fg_journal_tick(g->journal, now_ms);
	fg_gateway_tick_downlink(g, now_ms);
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

static int start_links(struct fg_gateway *g, struct fg_error *err)
{
	for (size_t i = 0; i < g->config->n_clouds; i++) {
		struct fg_link_options options = {
			.loop = g->loop,
			.connector = g->connector,
			.http = g->http,
			.journal = g->journal,
			.timekeeper = g->timekeeper,
			.config = &g->config->clouds[i],
			.plugin = fg_plugin_get(g->clouds[i].plugin),
			.values = g->clouds[i].values,
			.gateway_name = g->config->name,
			.state_directory = g->config->state_directory,
			.downlink = fg_gateway_downlink(g),
			.stores = {fg_configs_store(g->configs), fg_images_store(g->images)},
			.seed = fg_random(),
		};
		struct fg_error why = {0};
		int r;

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
			.intake = g->intake,
			.mapping = g->mapping,
			.command_map = g->command_map,
			.images = g->images,
			.config = &g->config->brokers[i],
			.seed = fg_random(),
			.changed = fg_gateway_broker_changed,
			.published = fg_gateway_published,
			.arg = g,
		};
		struct fg_error why = {0};
		int r;

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
	ev_init(&g->tick, ticked);
	g->tick.data = g;
	fg_tick_start(g->loop, &g->tick);
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
	ev_async_init(&g->committed, fg_gateway_journal_woke);
	g->committed.data = g;
	ev_async_start(loop, &g->committed);
	ev_init(&g->stop_limit, NULL);
	ev_init(&g->desk_due, NULL);
	g->is_started = true;
	r = fg_gateway_open_timekeeper(g);
	if (r < 0)
		return r;
	r = fg_gateway_open_journal(g, err);
	if (r < 0)
		return r;
	fg_journal_get_stats(g->journal, &stats);
	fg_notice("journal: open in %s/journal, records %llu..%llu, %llu bytes, quarantined %llu",
		  g->config->state_directory, (unsigned long long)stats.first_seq,
		  (unsigned long long)stats.next_seq - 1, (unsigned long long)stats.bytes_on_disk,
		  (unsigned long long)stats.quarantine_records);
	if (stats.unusable_files > 0)
		fg_warning("journal: %u of its files cannot be used (damaged header, or of another "
			   "journal) "
			   "and are left out: what clouds had not got of them is lost; "
			   "\"fieldgatectl journal verify -v\" names them",
			   stats.unusable_files);
	r = fg_connector_new(loop, &g->connector);
	if (r == 0)
		r = fg_http_new(loop, g->connector, &g->http);
	if (r == 0)
		r = fg_gateway_open_downlink(g, err);
	if (r == 0)
		r = fg_gateway_open_control(g, err);
	if (r < 0)
		return r;
	start_watchers(g);
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
	fg_command_desk_stop(g->desk);
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

struct fg_gateway *fg_gateway_free(struct fg_gateway *g)
{
	if (!g)
		return NULL;
	fg_gateway_close_control(g);
	for (size_t i = 0; i < g->config->n_brokers && g->brokers; i++)
		g->brokers[i] = fg_broker_client_free(g->brokers[i]);
	for (size_t i = 0; i < g->config->n_clouds && g->clouds; i++)
		g->clouds[i].link = fg_link_free(g->clouds[i].link);
	fg_gateway_close_downlink(g);
	fg_journal_free(g->journal);
	fg_timekeeper_free(g->timekeeper);
	fg_fs_posix_free(g->fs);
	fg_http_free(g->http);
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
