#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include "cloud/link_internal.h"
#include "cloud/session_key.h"
#include "net/tls_config.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/span.h"

/* Of a plugin that wants a session for each device. */
#define MAX_SESSIONS 10000
/* Credentials and such: a few values of a plugin. */
#define STORE_BYTES (16 * 1024)
/* Of a session's name in a client id; a longer one is cut, and told apart by its key. */
#define CLIENT_ID_NAME_MAX 100

static void link_pump(struct fg_link *link);
static void one_has_retired(void *arg);

/* ---- sessions */

struct fg_cloud_session *fg_link_session(const struct fg_link *link, const char *name)
{
	for (size_t i = 0; i < link->n_sessions; i++)
		if (strcmp(fg_cloud_session_name(link->sessions[i]), name) == 0)
			return link->sessions[i];
	return NULL;
}

/* A client id for a plugin that does not care: stable, and another one for each session. */
static void make_client_id(const struct fg_link *link, const char *name, char *out, size_t size)
{
	size_t name_size = strlen(name);
	int n = snprintf(out, size, "fieldgate-%.50s-%.50s", link->with.gateway_name,
			 link->with.config->name);

	if (name_size == 0)
		return;
	if (name_size <= CLIENT_ID_NAME_MAX)
		snprintf(out + n, size - (size_t)n, "-%s", name);
	else
		snprintf(out + n, size - (size_t)n, "-%.40s-%016llx", name,
			 (unsigned long long)fg_session_key(name, name_size));
}

/* Of field device @device, which the cloud calls @name; or the only one. */
static int link_add_session(struct fg_link *link, struct fg_span device, const char *name)
{
	struct fg_cloud_session **more;
	char client_id[256];
	int r;

	if (link->n_sessions == MAX_SESSIONS)
		return -ENOSPC;
	more = realloc(link->sessions, (link->n_sessions + 1) * sizeof(struct fg_cloud_session *));
	if (!more)
		return -ENOMEM;
	link->sessions = more;
	make_client_id(link, name, client_id, sizeof(client_id));
	r = fg_cloud_session_new(&link->common, device, client_id,
				 link->with.seed + link->n_sessions * 0x9e3779b97f4a7c15,
				 &link->sessions[link->n_sessions]);
	if (r == 0)
		link->n_sessions++;
	return r;
}

/* The outbox has something for a device, and nobody has opened its session. */
static void session_wanted(void *arg, struct fg_span device)
{
	struct fg_link *link = arg;
	struct fg_span called;
	char name[256];
	int r;

	if (link->is_stopping || link->is_broken ||
	    !fg_names_to_cloud(link->names, device, &called))
		return;
	snprintf(name, sizeof(name), "%.*s", FG_SPAN_ARGS(called));
	/* Of a device that is called otherwise now: when it has ended, this one has its turn. */
	if (fg_link_session(link, name))
		return;
	r = link_add_session(link, device, name);
	if (r == -EINVAL)
		return; /* the cloud calls another device so: quarantine tells */
	if (r == 0)
		fg_cloud_session_start(link->sessions[link->n_sessions - 1]);
	else
		fg_complain(&link->downlink_complaint, fg_clock_monotonic_ms(), LOG_ERR,
			    "link %s: no session for %.100s: %s", link->with.config->name, name,
			    strerror(-r));
}

/* A session that is outdated ends in good order. */
static void retire_sessions(struct fg_link *link)
{
	for (size_t i = 0; i < link->n_sessions; i++)
		if (fg_cloud_session_is_outdated(link->sessions[i]) &&
		    !fg_cloud_session_has_stopped(link->sessions[i]))
			fg_cloud_session_stop(link->sessions[i], one_has_retired, link);
}

/* Those that have ended go, and their devices get others, under the names they have now. */
static bool replace_sessions(struct fg_link *link)
{
	bool has_changed = false;

	for (size_t i = link->n_sessions; i-- > 0;) {
		struct fg_cloud_session *s = link->sessions[i];
		struct fg_span device = fg_cloud_session_device(s);
		char copy[256];

		if (!fg_cloud_session_has_stopped(s))
			continue;
		device.size = (size_t)snprintf(copy, sizeof(copy), "%.*s", FG_SPAN_ARGS(device));
		device.data = copy;
		fg_cloud_session_free(s);
		link->sessions[i] = link->sessions[--link->n_sessions];
		session_wanted(link, device);
		has_changed = true;
	}
	return has_changed;
}

/* From the loop: nothing of a session or of the plugin is on the stack. */
static void follow_names(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_link *link = w->data;

	(void)loop;
	(void)events;
	retire_sessions(link);
	ev_timer_stop(link->with.loop, &link->follow);
	if (replace_sessions(link))
		fg_outbox_names_changed(link->outbox);
	link_pump(link);
}

static void follow_soon(struct fg_link *link)
{
	if (link->is_stopping || link->is_broken)
		return;
	ev_timer_stop(link->with.loop, &link->follow);
	ev_timer_set(&link->follow, 0., 0.);
	ev_timer_start(link->with.loop, &link->follow);
}

static void one_has_retired(void *arg)
{
	follow_soon(arg);
}

void fg_link_names_changed(struct fg_link *link)
{
	fg_outbox_names_changed(link->outbox);
	if (link->has_device_sessions)
		follow_soon(link);
}

/* ---- sending */

static void link_broken(struct fg_link *link, int r)
{
	fg_error_log(
		"link %s: plugin %s failed (%s), the link stops; its records stay in the journal",
		link->with.config->name, link->with.plugin->name, strerror(-r));
	link->is_broken = true;
	for (size_t i = 0; i < link->n_sessions; i++)
		fg_cloud_session_halt(link->sessions[i]);
	ev_timer_stop(link->with.loop, &link->resume);
	ev_timer_stop(link->with.loop, &link->wake);
	ev_timer_stop(link->with.loop, &link->follow);
}

/* With a session for each device only the outbox knows which are wanted. */
static bool may_send(const struct fg_link *link)
{
	return link->common.n_online > 0 || link->common.n_by_http > 0 || link->has_device_sessions;
}

static void set_resume(struct fg_link *link)
{
	int64_t until_ms = fg_outbox_paused_until(link->outbox);
	int64_t ms;

	ev_timer_stop(link->with.loop, &link->resume);
	if (until_ms == 0 || !may_send(link))
		return;
	ms = until_ms - fg_clock_monotonic_ms();
	ev_timer_set(&link->resume, ms > 0 ? (double)ms / 1000. : 0., 0.);
	ev_timer_start(link->with.loop, &link->resume);
}

/* What is called from in here may find that there is more to send: the loop that runs does it. */
static void link_pump(struct fg_link *link)
{
	struct fg_outbox_session *out;
	const struct fg_publish *publish;
	int r = 0;

	if (link->is_pumping || link->is_broken || !link->is_started)
		return;
	link->is_pumping = true;
	while (!link->is_stopping && may_send(link)) {
		int64_t now_ms = fg_clock_monotonic_ms();

		r = fg_outbox_next(link->outbox, now_ms, &out, &publish);
		if (r <= 0)
			break;
		if (!fg_cloud_session_send(fg_outbox_session_owner(out), publish, now_ms))
			break;
	}
	link->is_pumping = false;
	if (r < 0)
		link_broken(link, r);
	else
		set_resume(link);
}

static void common_pump(void *arg)
{
	link_pump(arg);
}

void fg_link_poke(struct fg_link *link)
{
	fg_outbox_poke(link->outbox, NULL);
	link_pump(link);
}

static void link_resumed(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	link_pump(w->data);
}

/* ---- life */

static int link_open_plugin(struct fg_link *link, struct fg_error *err)
{
	struct fg_open with = {
		.values = link->with.values,
		.host = &fg_link_host,
		.host_ctx = link,
		.link_name = link->with.config->name,
		.gateway_name = link->with.gateway_name,
		.has_client_certificate = link->with.config->tls.certificate != NULL,
		.host_name = link->with.config->url.host,
		.keep_alive_s = link->with.config->keep_alive_s,
		.has_fallback = link->with.config->fallback.url != NULL,
	};
	char sentence[256] = "";
	int r;

	if (with.has_fallback && !link->with.plugin->http)
		return fg_error_set(err, -EINVAL,
				    "plugin %s cannot send by HTTP: take `fallback` away",
				    link->with.plugin->name);
	r = link->with.plugin->open(&with, &link->ctx, sentence, sizeof(sentence));
	if (r < 0)
		return fg_error_set(err, r, "plugin %s: %s", link->with.plugin->name,
				    sentence[0] ? sentence : strerror(-r));
	if (link->with.plugin->has_device_sessions)
		link->has_device_sessions = link->with.plugin->has_device_sessions(link->ctx);
	return 0;
}

/* What the plugin remembers, and what the cloud has renamed: two files below "links". */
static int link_open_memory(struct fg_link *link, struct fg_error *err)
{
	const char *name = link->with.config->name;
	struct fg_names_options names = {
		.config = &link->with.config->devices,
		.connector = link->with.connector,
	};
	struct fg_store_options store = {
		.connector = link->with.connector,
		.max_bytes = STORE_BYTES,
		.stored = fg_link_stored,
		.arg = link,
	};
	FG_CLEANUP(fg_free_p) char *directory = NULL;
	FG_CLEANUP(fg_free_p) char *names_path = NULL;
	FG_CLEANUP(fg_free_p) char *store_path = NULL;
	int r;

	if (!link->with.state_directory)
		return fg_names_open(&names, &link->names, err);
	if (asprintf(&directory, "%s/links", link->with.state_directory) < 0 ||
	    asprintf(&names_path, "%s/%s.names", directory, name) < 0 ||
	    asprintf(&store_path, "%s/%s", directory, name) < 0)
		return -ENOMEM;
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return fg_error_set(err, -errno, "%s: %s", directory, strerror(errno));
	names.path = names_path;
	store.path = store_path;
	r = fg_names_open(&names, &link->names, err);
	return r < 0 ? r : fg_store_open(&store, &link->store, err);
}

static bool request_is_awaited(void *arg, struct fg_span ref)
{
	const struct fg_link_downlink *to = &((struct fg_link *)arg)->with.downlink;

	return to->is_awaited(to->arg, ref);
}

static int link_open_outbox(struct fg_link *link, struct fg_error *err)
{
	const struct fg_cloud_config *config = link->with.config;
	struct fg_outbox_options options = {
		.config = config,
		.journal = link->with.journal,
		.names = link->names,
		.timekeeper = link->with.timekeeper,
		.plugin = link->with.plugin,
		.ctx = link->ctx,
		.has_device_sessions = link->has_device_sessions,
		.wanted = session_wanted,
		.is_awaited = link->with.downlink.is_awaited ? request_is_awaited : NULL,
		.arg = link,
	};

	for (int lane = 0; lane < FG_N_CURSOR_LANES; lane++) {
		int r = fg_cursor_open(link->with.journal, (enum fg_lane)lane, config->name,
				       config->max_in_flight_records, &link->cursors[lane]);

		if (r < 0)
			return fg_error_set(err, r, "cannot open its cursor: %s", strerror(-r));
		options.cursors[lane] = link->cursors[lane];
	}
	fg_cursor_set_caps(link->cursors[FG_LANE_MAIN], config->max_backlog_bytes,
			   config->max_age_ms);
	fg_cursor_set_caps(link->cursors[FG_LANE_ALARM], 0, config->max_age_ms);
	return fg_outbox_new(&options, &link->outbox);
}

static void link_share(struct fg_link *link)
{
	struct fg_session_common *c = &link->common;

	c->loop = link->with.loop;
	c->connector = link->with.connector;
	c->journal = link->with.journal;
	c->timekeeper = link->with.timekeeper;
	c->config = link->with.config;
	c->plugin = link->with.plugin;
	c->ctx = link->ctx;
	c->http = link->with.config->fallback.url ? link->with.http : NULL;
	c->outbox = link->outbox;
	c->stores[0] = link->store;
	c->stores[1] = fg_names_store(link->names);
	for (size_t i = 0; i < FG_LINK_STORES; i++)
		c->stores[2 + i] = link->with.stores[i];
	c->cursor = link->cursors[FG_LANE_MAIN];
	c->mqtt_version = link->with.config->mqtt_version == FG_MQTT_311 ? 4 : 5;
	c->pump = common_pump;
	c->arg = link;
}

static void warn_about_tls(const struct fg_link *link)
{
	const struct fg_cloud_config *config = link->with.config;

	if (link->common.tls && fg_tls_has_expired(link->common.tls))
		fg_warning("link %s: %s has expired, by the clock of this machine", config->name,
			   config->tls.certificate);
	if (config->tls.is_insecure)
		fg_warning("link %s: `insecure: true`: the server's certificate is not verified",
			   config->name);
}

static void link_freep(struct fg_link **link)
{
	fg_link_free(*link);
}

int fg_link_new(const struct fg_link_options *options, struct fg_link **ret, struct fg_error *err)
{
	FG_CLEANUP(link_freep) struct fg_link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return -ENOMEM;
	link->with = *options;
	ev_timer_init(&link->resume, link_resumed, 0., 0.);
	ev_timer_init(&link->wake, fg_link_woken, 0., 0.);
	ev_timer_init(&link->follow, follow_names, 0., 0.);
	link->resume.data = link->wake.data = link->follow.data = link;

	r = fg_tls_for_url(&link->with.config->tls, &link->with.config->url, &link->common.tls,
			   err);
	if (r == 0)
		r = link_open_memory(link, err);
	if (r == 0)
		r = link_open_plugin(link, err);
	if (r == 0)
		r = link_open_outbox(link, err);
	if (r < 0)
		return r;
	link_share(link);
	if (!link->has_device_sessions) {
		r = link_add_session(link, (struct fg_span){.size = 0}, "");
		if (r < 0)
			return r;
	}
	warn_about_tls(link);

	*ret = link; /* the caller owns it now */
	link = NULL;
	return 0;
}

int fg_link_check(const struct fg_link_options *options, struct fg_error *err)
{
	FG_CLEANUP(link_freep) struct fg_link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return -ENOMEM;
	link->with = *options;
	ev_init(&link->resume, link_resumed);
	ev_init(&link->wake, fg_link_woken);
	ev_init(&link->follow, follow_names);
	r = fg_tls_for_url(&link->with.config->tls, &link->with.config->url, &link->common.tls,
			   err);
	return r < 0 ? r : link_open_plugin(link, err);
}

struct fg_link *fg_link_free(struct fg_link *link)
{
	if (!link)
		return NULL;
	if (link->with.loop) {
		ev_timer_stop(link->with.loop, &link->resume);
		ev_timer_stop(link->with.loop, &link->wake);
		ev_timer_stop(link->with.loop, &link->follow);
	}
	fg_link_drop_calls(link);
	for (size_t i = 0; i < link->n_sessions; i++)
		fg_cloud_session_free(link->sessions[i]);
	free(link->sessions);
	fg_outbox_free(link->outbox);
	for (int lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_cursor_close(link->cursors[lane]);
	if (link->ctx)
		link->with.plugin->close(link->ctx);
	fg_store_free(link->store);
	fg_names_free(link->names);
	fg_tls_free(link->common.tls);
	free(link);
	return NULL;
}

void fg_link_start(struct fg_link *link)
{
	link->is_started = true;
	for (size_t i = 0; i < link->n_sessions; i++)
		fg_cloud_session_start(link->sessions[i]);
	/* With a session for each device: the outbox finds out which are wanted. */
	link_pump(link);
}

/* Whoever is told may free the link: nothing may touch it afterwards. */
static void one_has_stopped(void *arg)
{
	struct fg_link *link = arg;
	void (*stopped)(void *arg) = link->stopped;

	if (--link->n_stopping > 0)
		return;
	link->stopped = NULL;
	if (stopped)
		stopped(link->stopped_arg);
}

void fg_link_stop(struct fg_link *link, void (*stopped)(void *arg), void *arg)
{
	size_t n = link->n_sessions;

	link->stopped = stopped;
	link->stopped_arg = arg;
	if (link->is_stopping)
		return;
	link->is_stopping = true;
	ev_timer_stop(link->with.loop, &link->wake);
	ev_timer_stop(link->with.loop, &link->resume);
	ev_timer_stop(link->with.loop, &link->follow);
	/* One more than there are, so that none of them is the last before all were asked. */
	link->n_stopping = n + 1;
	for (size_t i = 0; i < n; i++)
		fg_cloud_session_stop(link->sessions[i], one_has_stopped, link);
	one_has_stopped(link);
}

void fg_link_committed(struct fg_link *link, uint64_t ticket)
{
	for (size_t i = 0; i < link->n_sessions; i++)
		fg_cloud_session_committed(link->sessions[i], ticket);
	fg_outbox_committed(link->outbox, ticket);
	link_pump(link);
}

void fg_link_tick(struct fg_link *link, int64_t now_ms)
{
	fg_names_tick(link->names, now_ms);
	if (link->store)
		fg_store_tick(link->store, now_ms);
}

void fg_link_clock_set(struct fg_link *link, bool is_learnt)
{
	for (size_t i = 0; i < link->n_sessions; i++)
		fg_cloud_session_clock_set(link->sessions[i], is_learnt);
	link_pump(link);
}

void fg_link_lost(struct fg_link *link, uint64_t records, uint64_t seq, const char *why)
{
	fg_complain(&link->lost_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
		    "link %s: lost %llu records up to %llu: %s", link->with.config->name,
		    (unsigned long long)records, (unsigned long long)seq, why);
}

/* ---- asking */

bool fg_link_has_sent(const struct fg_link *link, uint64_t seq)
{
	return fg_cursor_watermark(link->cursors[FG_LANE_ALARM]) >= seq;
}

const char *fg_link_name(const struct fg_link *link)
{
	return link->with.config->name;
}

const char *fg_link_state_name(enum fg_link_state state)
{
	static const char *const names[] = {"stopped", "connecting", "online", "draining",
					    "backing off"};

	return names[state];
}

/* The one that is best off, or NULL. */
static const struct fg_cloud_session *best_session(const struct fg_link *link)
{
	/* The best comes last. */
	static const int rank[] = {
		[FG_LINK_STOPPED] = 0,  [FG_LINK_BACKOFF] = 1, [FG_LINK_CONNECTING] = 2,
		[FG_LINK_DRAINING] = 3, [FG_LINK_ONLINE] = 4,
	};
	const struct fg_cloud_session *best = NULL;

	for (size_t i = 0; i < link->n_sessions; i++) {
		const struct fg_cloud_session *s = link->sessions[i];

		if (!best || rank[fg_cloud_session_state(s)] > rank[fg_cloud_session_state(best)])
			best = s;
	}
	return best;
}

void fg_link_get_stats(const struct fg_link *link, struct fg_link_stats *ret)
{
	const struct fg_cloud_session *best = best_session(link);
	struct fg_outbox_stats outbox;
	uint64_t alarm_losses[FG_N_LOSSES];

	fg_outbox_get_stats(link->outbox, &outbox);
	*ret = (struct fg_link_stats){
		.state = best ? fg_cloud_session_state(best) : FG_LINK_STOPPED,
		.n_sessions_open = (unsigned)link->n_sessions,
		.n_sessions_online = link->common.n_online,
		.n_sessions_by_http = link->common.n_by_http,
		.backlog = fg_cursor_backlog(link->cursors[FG_LANE_MAIN]),
		.alarm_backlog = fg_cursor_backlog(link->cursors[FG_LANE_ALARM]),
		.behind = outbox.behind,
		.published = outbox.published,
		.records_acked = outbox.records_acked,
		.quarantined = outbox.quarantined,
		.values_dropped = outbox.values_dropped,
		.stale_requests = outbox.stale_requests,
		.sessions = link->common.n_sessions,
		.commands = link->commands,
		.deleted = fg_names_count_muted(link->names),
	};
	if (best)
		ret->why = fg_cloud_session_why(best, &ret->retry_ms);
	if (best && fg_cloud_session_address(best)->host[0])
		ret->address = fg_cloud_session_address(best);
	fg_cursor_get_losses(link->cursors[FG_LANE_MAIN], ret->losses);
	fg_cursor_get_losses(link->cursors[FG_LANE_ALARM], alarm_losses);
	for (size_t i = 0; i < FG_N_LOSSES; i++) {
		ret->losses[i] += alarm_losses[i];
		ret->lost += ret->losses[i];
	}
}
