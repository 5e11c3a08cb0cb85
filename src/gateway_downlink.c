#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway_internal.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/random.h"
#include "util/span.h"

/* Names and parameters of all open commands. */
#define MAX_COMMAND_BYTES ((size_t)16 << 20)

/* ---- to a broker */

static struct fg_broker_client *find_broker(const struct fg_gateway *g, const char *name)
{
	for (size_t i = 0; i < g->config->n_brokers; i++)
		if (g->brokers[i] && strcmp(fg_broker_client_name(g->brokers[i]), name) == 0)
			return g->brokers[i];
	return NULL;
}

/* The broker @device is at: the one named, or where it was heard last, or the only one. */
static struct fg_broker_client *broker_of(const struct fg_gateway *g, const char *name,
					  struct fg_span device)
{
	if (!name)
		name = fg_presence_source(g->presence, device);
	if (name)
		return find_broker(g, name);
	return g->config->n_brokers == 1 ? g->brokers[0] : NULL;
}

static int publish_command(void *arg, const struct fg_command_publish *c)
{
	struct fg_gateway *g = arg;
	struct fg_broker_client *b = broker_of(g, c->broker, c->device);
	struct fg_mqtt_publish p = {
		.topic = c->topic,
		.payload = c->payload,
		.qos = c->qos,
		.response_topic = c->response_topic,
		.correlation = c->correlation,
		.expiry_s = c->expiry_s,
	};

	return b ? fg_broker_client_publish(b, &p, c->tag) : -ENODEV;
}

static int publish_config(void *arg, const char *broker, struct fg_span device,
			  const struct fg_mqtt_publish *p)
{
	struct fg_gateway *g = arg;
	struct fg_broker_client *b = broker_of(g, broker, device);

	return b ? fg_broker_client_publish(b, p, 0) : -ENODEV;
}

static int publish_image(void *arg, const char *broker, struct fg_span device,
			 const struct fg_mqtt_publish *p, uint64_t tag)
{
	struct fg_gateway *g = arg;
	struct fg_broker_client *b = broker_of(g, broker, device);

	return b ? fg_broker_client_publish(b, p, tag) : -ENODEV;
}

static int publish_answer(void *arg, const char *broker, const struct fg_mqtt_publish *p)
{
	struct fg_gateway *g = arg;
	struct fg_broker_client *b = find_broker(g, broker);

	return b ? fg_broker_client_publish(b, p, 0) : -ENODEV;
}

/* ---- from a broker */

void fg_gateway_broker_changed(void *arg, struct fg_broker_client *b, bool is_online)
{
	struct fg_gateway *g = arg;

	if (!is_online || g->is_stopping)
		return;
	fg_configs_broker_up(g->configs, fg_broker_client_name(b));
	fg_images_broker_up(g->images);
	fg_command_desk_device_up(g->desk, fg_span_str(NULL), fg_clock_monotonic_ms());
}

void fg_gateway_published(void *arg, uint64_t tag, unsigned reason_code)
{
	struct fg_gateway *g = arg;

	if (tag & FG_IMAGES_TAG)
		fg_images_published(g->images, tag, reason_code);
	else
		fg_command_desk_published(g->desk, tag, reason_code, fg_clock_monotonic_ms());
}

/* A device has come or gone: the journal knows first. */
static int presence_changed(void *arg, struct fg_span device, bool is_up)
{
	struct fg_gateway *g = arg;
	struct fg_message msg = {
		.kind = FG_PRESENCE,
		.device = device,
		.body = fg_span_str(is_up ? "{\"state\":\"up\"}" : "{\"state\":\"down\"}"),
	};
	int64_t now_ms = fg_clock_monotonic_ms();
	uint64_t seq;
	int r;

	msg.time_quality = fg_timekeeper_now(g->timekeeper, &msg.time_us);
	r = fg_journal_append(g->journal, FG_LANE_MAIN, &msg, &seq);
	if (r < 0)
		return -EAGAIN;
	if (!is_up) {
		fg_command_desk_device_down(g->desk, device, now_ms);
		return 0;
	}
	fg_command_desk_device_up(g->desk, device, now_ms);
	fg_images_device_up(g->images, device);
	return 0;
}

static void device_moved(void *arg, struct fg_span device)
{
	struct fg_gateway *g = arg;

	if (g->is_stopping)
		return;
	fg_configs_device_moved(g->configs, device);
	fg_command_desk_device_up(g->desk, device, fg_clock_monotonic_ms());
}

/* ---- what the command desk and images ask */

static bool is_there(void *arg, struct fg_span device)
{
	const struct fg_gateway *g = arg;

	return fg_presence_is_up(g->presence, device);
}

static void image_progress(void *arg, const char *link, const struct fg_image_progress *progress)
{
	const struct fg_gateway *g = arg;
	struct fg_link *to = fg_gateway_link(g, link);

	if (to)
		fg_link_image_progress(to, progress);
}

static enum fg_command_reach reach_device(void *arg, const char *broker, struct fg_span device)
{
	const struct fg_gateway *g = arg;
	const struct fg_broker_client *b = broker_of(g, broker, device);

	if (!fg_presence_is_up(g->presence, device))
		return FG_REACH_DOWN;
	if (b)
		return fg_broker_client_is_online(b) ? FG_REACH_UP : FG_REACH_NO_BROKER;
	for (size_t i = 0; i < g->config->n_brokers; i++)
		if (g->brokers[i] && fg_broker_client_is_online(g->brokers[i]))
			return FG_REACH_UNHEARD;
	return FG_REACH_NO_BROKER;
}

static bool has_sent(void *arg, struct fg_span name, uint64_t seq)
{
	const struct fg_gateway *g = arg;

	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link && fg_span_is(name, fg_link_name(g->clouds[i].link)))
			return fg_link_has_sent(g->clouds[i].link, seq);
	return true; /* it is not configured any more */
}

/* Of a link with a session for each device: are all of them? */
static bool is_connected(void *arg, struct fg_span name)
{
	const struct fg_gateway *g = arg;

	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link && fg_span_is(name, fg_link_name(g->clouds[i].link))) {
			struct fg_link_stats stats;

			fg_link_get_stats(g->clouds[i].link, &stats);
			return stats.n_sessions_online > 0 &&
			       stats.n_sessions_online == stats.n_sessions_open;
		}
	return true; /* it is not configured any more */
}

static void desk_is_due(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_gateway *g = w->data;

	(void)loop;
	(void)events;
	g->desk_due_ms = INT64_MAX;
	fg_command_desk_tick(g->desk, fg_clock_monotonic_ms());
}

void fg_gateway_arm_desk(struct fg_gateway *g, int64_t now_ms)
{
	int64_t due_ms = fg_command_desk_next(g->desk);

	if (due_ms == g->desk_due_ms)
		return;
	g->desk_due_ms = due_ms;
	ev_timer_stop(g->loop, &g->desk_due);
	if (due_ms == INT64_MAX)
		return;
	ev_timer_set(&g->desk_due, due_ms > now_ms ? (double)(due_ms - now_ms) / 1000. : 0., 0.);
	ev_timer_start(g->loop, &g->desk_due);
}

/* ---- what links ask */

static int link_command(void *arg, const char *link, const struct fg_command *command,
			uint64_t *ret_ticket)
{
	struct fg_gateway *g = arg;

	return fg_command_desk_submit(g->desk, fg_span_str(link), command, fg_clock_monotonic_ms(),
				      ret_ticket);
}

static void link_config(void *arg, const char *link, struct fg_span device, struct fg_span set,
			struct fg_span unset)
{
	struct fg_gateway *g = arg;

	fg_configs_change(g->configs, link, device, set, unset, fg_clock_monotonic_ms());
}

static void link_respond(void *arg, struct fg_span ref, struct fg_span body)
{
	struct fg_gateway *g = arg;

	fg_requests_answer(g->requests, ref, body);
}

static bool link_is_awaited(void *arg, struct fg_span ref)
{
	const struct fg_gateway *g = arg;

	return fg_requests_is_open(g->requests, ref);
}

static int link_image_begin(void *arg, const char *link, const struct fg_image *image,
			    uint64_t *ret_have)
{
	struct fg_gateway *g = arg;

	return fg_images_begin(g->images, link, image, ret_have);
}

static int link_image_write(void *arg, const char *link, struct fg_span device,
			    enum fg_image_kind kind, uint64_t offset, struct fg_span data)
{
	struct fg_gateway *g = arg;

	return fg_images_write(g->images, link, device, kind, offset, data);
}

static bool link_image_lacks(void *arg, const char *link, struct fg_span device,
			     enum fg_image_kind kind)
{
	const struct fg_gateway *g = arg;

	return fg_images_lacks(g->images, link, device, kind);
}

static void link_image_abandon(void *arg, const char *link, struct fg_span device,
			       enum fg_image_kind kind, const char *why)
{
	struct fg_gateway *g = arg;

	fg_images_abandon(g->images, link, device, kind, why);
}

static void link_image_tell(void *arg, const char *link)
{
	struct fg_gateway *g = arg;

	fg_images_tell_all(g->images, link);
}

static void link_image_told(void *arg, const char *link, struct fg_span device,
			    enum fg_image_kind kind)
{
	struct fg_gateway *g = arg;

	fg_images_told(g->images, link, device, kind);
}

static int link_image_version(void *arg, struct fg_span device, enum fg_image_kind kind,
			      struct fg_span *ret)
{
	const struct fg_gateway *g = arg;

	return fg_images_version(g->images, device, kind, ret);
}

struct fg_link_downlink fg_gateway_downlink(struct fg_gateway *g)
{
	return (struct fg_link_downlink){
		.command = link_command,
		.config = link_config,
		.respond = link_respond,
		.is_awaited = link_is_awaited,
		.image_begin = link_image_begin,
		.image_write = link_image_write,
		.image_lacks = link_image_lacks,
		.image_abandon = link_image_abandon,
		.image_tell = link_image_tell,
		.image_told = link_image_told,
		.image_version = link_image_version,
		.arg = g,
	};
}

struct fg_link *fg_gateway_link(const struct fg_gateway *g, const char *name)
{
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link && strcmp(fg_link_name(g->clouds[i].link), name) == 0)
			return g->clouds[i].link;
	return NULL;
}

/* ---- life */

static int open_desk(struct fg_gateway *g, struct fg_error *err)
{
	struct fg_command_desk_options options = {
		.journal = g->journal,
		.timekeeper = g->timekeeper,
		.map = g->command_map,
		.max_commands = g->config->max_commands,
		.max_command_bytes = MAX_COMMAND_BYTES,
		.max_alarm_bytes = g->config->journal.max_alarm_bytes,
		.max_age_ms = g->config->journal.max_age_ms,
		.seed = fg_random(),
		.ops = {.publish = publish_command,
			.reach = reach_device,
			.has_sent = has_sent,
			.is_connected = is_connected,
			.arg = g},
	};

	fg_timekeeper_boot_id(options.boot_id);
	return fg_command_desk_open(&options, fg_clock_monotonic_ms(), &g->desk, err);
}

static int open_configs(struct fg_gateway *g, struct fg_error *err)
{
	struct fg_configs_options options = {
		.config = g->config,
		.connector = g->connector,
		.publish = publish_config,
		.arg = g,
	};
	FG_CLEANUP(fg_free_p) char *path = NULL;

	if (asprintf(&path, "%s/configs", g->config->state_directory) < 0)
		return -ENOMEM;
	options.path = path;
	return fg_configs_open(&options, &g->configs, err);
}

static int open_images(struct fg_gateway *g, struct fg_error *err)
{
	struct fg_images_options options = {
		.loop = g->loop,
		.connector = g->connector,
		.http = g->http,
		.config = g->config,
		.seed = fg_random(),
		.publish = publish_image,
		.is_up = is_there,
		.progress = image_progress,
		.arg = g,
	};
	FG_CLEANUP(fg_free_p) char *path = NULL;
	FG_CLEANUP(fg_free_p) char *versions_path = NULL;

	if (asprintf(&path, "%s/image-states", g->config->state_directory) < 0 ||
	    asprintf(&versions_path, "%s/versions", g->config->state_directory) < 0)
		return -ENOMEM;
	options.path = path;
	options.versions_path = versions_path;
	return fg_images_open(&options, &g->images, err);
}

int fg_gateway_open_downlink(struct fg_gateway *g, struct fg_error *err)
{
	struct fg_presence_options presence = {
		.inactivity_ms = g->config->inactivity_ms,
		.changed = presence_changed,
		/* With one broker nobody has to know which one a device is at. */
		.moved = g->config->n_brokers > 1 ? device_moved : NULL,
		.arg = g,
	};
	struct fg_requests_options requests = {.publish = publish_answer, .arg = g};
	struct fg_intake_options intake = {
		.journal = g->journal,
		.timekeeper = g->timekeeper,
		.mapping = g->mapping,
		.max_message_bytes = g->config->max_message_bytes,
	};
	int r = fg_presence_new(&presence, &g->presence);

	if (r == 0)
		r = fg_requests_new(&requests, &g->requests);
	if (r == 0)
		r = open_configs(g, err);
	if (r == 0)
		r = open_images(g, err);
	if (r == 0)
		r = open_desk(g, err);
	if (r < 0)
		return r;
	intake.presence = g->presence;
	intake.requests = g->requests;
	intake.desk = g->desk;
	intake.images = g->images;
	ev_timer_init(&g->desk_due, desk_is_due, 0., 0.);
	g->desk_due.data = g;
	g->desk_due_ms = INT64_MAX;
	return fg_intake_new(&intake, &g->intake);
}

void fg_gateway_tick_downlink(struct fg_gateway *g, int64_t now_ms)
{
	fg_presence_tick(g->presence, now_ms);
	fg_requests_tick(g->requests, now_ms);
	fg_configs_tick(g->configs, now_ms);
	fg_images_tick(g->images, now_ms);
	fg_command_desk_tick(g->desk, now_ms);
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link)
			fg_link_tick(g->clouds[i].link, now_ms);
}

void fg_gateway_close_downlink(struct fg_gateway *g)
{
	if (g->is_started)
		ev_timer_stop(g->loop, &g->desk_due);
	g->intake = fg_intake_free(g->intake);
	g->desk = fg_command_desk_free(g->desk);
	g->images = fg_images_free(g->images);
	g->configs = fg_configs_free(g->configs);
	g->requests = fg_requests_free(g->requests);
	g->presence = fg_presence_free(g->presence);
	g->command_map = fg_command_map_free(g->command_map);
}
