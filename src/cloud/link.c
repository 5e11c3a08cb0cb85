#include "cloud/link.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/outbox.h"
#include "net/mqtt_client.h"
#include "util/backoff.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/complaint.h"
#include "util/log.h"
#include "util/span.h"

/* From the start of an attempt: name lookup, TCP, TLS and CONNACK. */
#define CONNACK_TIMEOUT_S 30
/* Sessions this short, so many in a row, look like two clients that throw each other out. */
#define TAKEOVER_MS 5000
#define TAKEOVER_COUNT 3
#define N_WARNINGS 8
/* MQTT 5, 2.4: what the server would have said. */
#define TOPIC_NAME_INVALID 0x90
#define PACKET_TOO_LARGE 0x95

struct fg_link {
	struct fg_link_options with;
	enum fg_link_state state;
	void *ctx; /* the plugin's */
	struct fg_tls *tls;
	struct fg_cursor *cursor;
	struct fg_outbox *outbox;
	struct fg_mqtt_client *client;
	struct fg_backoff backoff;
	unsigned mqtt_version;  /* of this attempt */
	bool is_version_proven; /* a session with it has been up */
	char client_id[128];    /* for plugins that do not care */
	ev_timer wait;       /* BACKOFF: until the next attempt; DRAINING: until we stop waiting */
	ev_timer tick;       /* ONLINE, each second: ack timeout, renewal */
	ev_timer resume;     /* ONLINE: a pause of the outbox ends */
	int64_t renew_at_ms; /* monotonic; 0: never */
	int64_t renew_us;    /* UTC, as the plugin said */
	int64_t online_since_ms;
	unsigned short_sessions; /* in a row */
	bool is_renewing;        /* DRAINING: connect again at once */
	bool is_stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	uint64_t sessions, lost;
	struct fg_complaint attempt_complaint, lost_complaint, takeover_complaint;
	struct {
		const char *format; /* literal of the plugin: the pointer identifies it */
		struct fg_complaint complaint;
	} warnings[N_WARNINGS];
};

static const char *const state_names[] = {"stopped", "connecting", "online", "draining",
					  "backing off"};

static void link_connect(struct fg_link *link);
static void link_pump(struct fg_link *link);

/* ---- what the plugin may call */

__attribute__((format(printf, 2, 3))) static void host_warn(void *host_ctx, const char *format, ...)
{
	struct fg_link *link = host_ctx;
	char text[512];
	va_list args;
	size_t i = 0;

	while (i < N_WARNINGS - 1 && link->warnings[i].format && link->warnings[i].format != format)
		i++;
	link->warnings[i].format = format;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fg_complain(&link->warnings[i].complaint, fg_clock_monotonic_ms(), LOG_WARNING,
		    "link %s: %s", link->with.config->name, text);
}

static int host_subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	struct fg_link *link = host_ctx;
	int packet_id;

	(void)session;
	if (!link->client)
		return -ENOTCONN;
	return fg_mqtt_client_subscribe(link->client, &filter, 1, qos, &packet_id);
}

static const struct fg_host host = {
	.size = sizeof(struct fg_host),
	.warn = host_warn,
	.subscribe = host_subscribe,
};

/* ---- states */

static void link_enter(struct fg_link *link, enum fg_link_state state)
{
	struct ev_loop *loop = link->with.loop;

	if (fg_log_wants(LOG_DEBUG) && state != link->state)
		fg_debug("link %s: %s -> %s", link->with.config->name, state_names[link->state],
			 state_names[state]);
	link->state = state;
	ev_timer_stop(loop, &link->wait);
	ev_timer_stop(loop, &link->resume);
	if (state == FG_LINK_ONLINE)
		ev_timer_again(loop, &link->tick);
	else if (state != FG_LINK_DRAINING)
		ev_timer_stop(loop, &link->tick);
}

static void link_wait(struct fg_link *link, int64_t ms)
{
	ev_timer_set(&link->wait, (double)ms / 1000., 0.);
	ev_timer_start(link->with.loop, &link->wait);
}

/* Whoever is told may free the link: nothing may touch it afterwards. */
static void link_stopped(struct fg_link *link)
{
	void (*stopped)(void *arg) = link->stopped;

	link_enter(link, FG_LINK_STOPPED);
	link->client = fg_mqtt_client_free(link->client);
	link->stopped = NULL;
	if (stopped)
		stopped(link->stopped_arg);
}

static enum fg_backoff_class refusal_class(unsigned mqtt_version, unsigned code)
{
	if (mqtt_version == 5)
		return code == 0x85 || code == 0x86 || code == 0x87 || code == 0x8a || code == 0x8c
			       ? FG_BACKOFF_CREDENTIALS
			       : FG_BACKOFF_TRANSIENT;
	return code == 2 || code == 4 || code == 5 ? FG_BACKOFF_CREDENTIALS : FG_BACKOFF_TRANSIENT;
}

/* `mqtt_version: auto`: the server does not speak 5, or gave no sign of understanding it. */
static bool fall_back_to_311(struct fg_link *link, const struct fg_mqtt_end *end)
{
	bool is_refused = end->kind == FG_MQTT_END_REFUSED &&
			  (end->reason_code == 0x84 || end->reason_code == 1);

	if (link->with.config->mqtt_version != FG_MQTT_AUTO)
		return false;
	if (link->mqtt_version == 5 && is_refused) {
		fg_notice("link %s: the server does not speak MQTT 5, using 3.1.1",
			  link->with.config->name);
		link->mqtt_version = 4;
		return true;
	}
	/* Silence proves nothing: try the other version next time, without hurry. */
	if (link->is_version_proven)
		return false;
	if (end->kind == FG_MQTT_END_SILENT || end->kind == FG_MQTT_END_PROTOCOL)
		link->mqtt_version = link->mqtt_version == 5 ? 4 : 5;
	return false;
}

/* Did the peer end it in a way that a record in flight may have caused? */
static bool is_suspicious(const struct fg_mqtt_end *end)
{
	if (!end->was_connected)
		return false;
	if (end->kind == FG_MQTT_END_LOST)
		return true;
	/* Not: server going down, keep alive, taken over, rate limits, administrative, moved. */
	return end->kind == FG_MQTT_END_DISCONNECT &&
	       (end->reason_code <= 0x83 || end->reason_code == 0x90 || end->reason_code == 0x95 ||
		end->reason_code == 0x99);
}

static void note_short_session(struct fg_link *link, const struct fg_mqtt_end *end, int64_t now_ms)
{
	bool is_takeover = end->kind == FG_MQTT_END_DISCONNECT && end->reason_code == 0x8e;

	if (!end->was_connected)
		return;
	/* A reason code that names something else is believed. */
	if (is_takeover ||
	    (now_ms - link->online_since_ms < TAKEOVER_MS && end->kind == FG_MQTT_END_LOST))
		link->short_sessions++;
	else
		link->short_sessions = 0;
	if (is_takeover || link->short_sessions >= TAKEOVER_COUNT)
		fg_complain(&link->takeover_complaint, now_ms, LOG_ERR,
			    "link %s: accepted, then %s, %u times in a row: does another client "
			    "use the "
			    "same credentials or client id?",
			    link->with.config->name,
			    is_takeover ? "thrown out by a new session" : "closed within seconds",
			    link->short_sessions);
}

static void link_forget_session(struct fg_link *link, bool suspicious)
{
	fg_outbox_session_end(link->outbox, suspicious);
	if (link->with.plugin->disconnected)
		link->with.plugin->disconnected(link->ctx, "");
}

/* The session is over, or the attempt failed: wait, then try again. */
static void link_ended(struct fg_link *link, const struct fg_mqtt_end *end, bool suspicious)
{
	const char *name = link->with.config->name;
	int64_t now_ms = fg_clock_monotonic_ms();
	enum fg_backoff_class class = FG_BACKOFF_TRANSIENT;
	bool was_online = link->state == FG_LINK_ONLINE || link->state == FG_LINK_DRAINING;
	unsigned in_flight = fg_outbox_in_flight(link->outbox);
	int64_t delay_ms;

	link->client = fg_mqtt_client_free(link->client);
	if (was_online)
		link_forget_session(link, suspicious);
	if (link->is_stopping) {
		link_stopped(link);
		return;
	}
	if (link->is_renewing) {
		link->is_renewing = false;
		link_connect(link);
		return;
	}
	note_short_session(link, end, now_ms);
	if (fall_back_to_311(link, end)) {
		link_connect(link);
		return;
	}
	if (end->kind == FG_MQTT_END_REFUSED)
		class = refusal_class(link->mqtt_version, end->reason_code);
	delay_ms = fg_backoff_next(&link->backoff, class, now_ms);
	if (class == FG_BACKOFF_CREDENTIALS)
		fg_complain(&link->attempt_complaint, now_ms, LOG_ERR,
			    "link %s: %s; check its credentials, trying again in %lld ms", name,
			    end->text, (long long)delay_ms);
	else
		fg_complain(&link->attempt_complaint, now_ms, LOG_WARNING,
			    "link %s: %s, reconnecting in %lld ms, in_flight=%u attempt=%u", name,
			    end->text, (long long)delay_ms, in_flight, link->backoff.failures);
	link_enter(link, FG_LINK_BACKOFF);
	link_wait(link, delay_ms);
}

/* ---- the client's callbacks */

static void session_connected(void *owner, const struct fg_mqtt_connack *connack)
{
	struct fg_link *link = owner;
	struct fg_connack told = {
		.session_present = connack->session_present,
		.mqtt_version = link->mqtt_version,
		.max_packet_bytes = connack->max_packet_bytes,
	};
	int64_t now_ms = fg_clock_monotonic_ms();

	if (link->is_stopping)
		return;
	link->sessions++;
	link->is_version_proven = true;
	link->online_since_ms = now_ms;
	fg_backoff_connected(&link->backoff, now_ms);
	link->attempt_complaint.step = 0; /* a new outage is a new fact */
	fg_notice("link %s: connected to %s:%u, MQTT %s, %s, backlog=%llu", link->with.config->name,
		  link->with.config->url.host, link->with.config->url.port,
		  link->mqtt_version == 5 ? "5" : "3.1.1",
		  connack->session_present ? "session present" : "new session",
		  (unsigned long long)fg_cursor_backlog(link->cursor));
	link_enter(link, FG_LINK_ONLINE);
	fg_outbox_session_begin(link->outbox, connack->receive_maximum, connack->max_packet_bytes);
	if (link->with.plugin->connected)
		link->with.plugin->connected(link->ctx, "", &told);
	link_pump(link);
}

static void session_message(void *owner, const struct fg_mqtt_message *message)
{
	struct fg_link *link = owner;
	struct fg_delivery delivery = {
		.topic = message->topic,
		.payload = message->payload,
		.qos = message->qos,
	};
	int r = -EPROTO;

	if (link->with.plugin->receive)
		r = link->with.plugin->receive(link->ctx, "", &delivery);
	if (r < 0)
		host_warn(link,
			  "the cloud sent something this plugin does not understand, ignored");
	link_pump(link);
}

static void link_finish_draining(struct fg_link *link)
{
	if (link->client)
		fg_mqtt_client_disconnect(link->client); /* ended() follows */
}

static void session_published(void *owner, int packet_id, unsigned reason_code)
{
	struct fg_link *link = owner;

	fg_outbox_settled(link->outbox, packet_id, reason_code, fg_clock_monotonic_ms());
	if (link->state == FG_LINK_DRAINING && fg_outbox_in_flight(link->outbox) == 0)
		link_finish_draining(link);
}

static void session_subscribed(void *owner, int packet_id, unsigned reason_code)
{
	struct fg_link *link = owner;

	(void)packet_id;
	if (reason_code >= 0x80)
		host_warn(
			link,
			"the cloud refused a subscription (0x%02x); what it covers will not arrive",
			reason_code);
}

/* All PUBACKs that were there have been taken: now there may be room for more. */
static void session_after_read(void *owner)
{
	link_pump(owner);
}

static void session_ended(void *owner, const struct fg_mqtt_end *end)
{
	link_ended(owner, end, is_suspicious(end));
}

static const struct fg_mqtt_ops session_ops = {
	.connected = session_connected,
	.message = session_message,
	.published = session_published,
	.subscribed = session_subscribed,
	.after_read = session_after_read,
	.ended = session_ended,
};

/* ---- connecting */

static void link_attempt_failed(struct fg_link *link, const char *why)
{
	struct fg_mqtt_end end = {.kind = FG_MQTT_END_UNREACHABLE};

	snprintf(end.text, sizeof(end.text), "%s", why);
	link_ended(link, &end, false);
}

static void link_connect(struct fg_link *link)
{
	const struct fg_cloud_config *config = link->with.config;
	struct fg_connect_request request = {
		.session = "",
		.attempt = link->backoff.failures,
		.mqtt_version = link->mqtt_version,
	};
	struct fg_connect connect = {.clean_start = true};
	struct fg_mqtt_params params;
	int r;

	link_enter(link, FG_LINK_CONNECTING);
	fg_timekeeper_now(link->with.timekeeper, &request.now_us);
	r = link->with.plugin->connect(link->ctx, &request, &connect);
	if (r < 0) {
		link_attempt_failed(link, "the plugin has no credentials to connect with");
		return;
	}
	/* Against the time the plugin was given: the clock may be set while we connect. */
	link->renew_us = connect.renew_us;
	link->renew_at_ms = 0;
	if (connect.renew_us)
		link->renew_at_ms =
			fg_clock_monotonic_ms() + (connect.renew_us - request.now_us) / 1000;
	params = (struct fg_mqtt_params){
		.host = config->url.host,
		.port = config->url.port,
		.tls = link->tls,
		.mqtt_version = link->mqtt_version,
		.client_id = connect.client_id ? connect.client_id : link->client_id,
		.username = connect.username,
		.password = connect.password,
		.clean_start = connect.clean_start,
		.keep_alive_s = connect.keep_alive_s ? connect.keep_alive_s : config->keep_alive_s,
		.connack_timeout_s = CONNACK_TIMEOUT_S,
	};
	r = fg_mqtt_client_new(link->with.loop, link->with.connector, &params, &session_ops, link,
			       &link->client);
	if (r < 0)
		link_attempt_failed(link, strerror(-r));
}

/* ---- sending */

static void link_broken(struct fg_link *link, int r)
{
	fg_error_log(
		"link %s: plugin %s failed (%s), the link stops; its records stay in the journal",
		link->with.config->name, link->with.plugin->name, strerror(-r));
	link_forget_session(link, false);
	link->client = fg_mqtt_client_free(link->client);
	link_enter(link, FG_LINK_STOPPED);
}

static void link_pump(struct fg_link *link)
{
	const struct fg_publish *publish;
	int r = 0;

	while (link->state == FG_LINK_ONLINE) {
		int64_t now_ms = fg_clock_monotonic_ms();
		unsigned code;
		int packet_id;
		bool is_sent;

		r = fg_outbox_next(link->outbox, now_ms, &publish);
		if (r <= 0)
			break;
		r = fg_mqtt_client_publish(link->client, publish->topic,
					   fg_span_of(publish->payload, publish->payload_len),
					   publish->qos, publish->content_type, &packet_id);
		if (r == -ENOTCONN)
			return; /* the client tells soon how the session ended, and the outbox
				   rewinds */
		if (r == -ENOMEM) {
			link_attempt_failed(link, "out of memory");
			return;
		}
		is_sent = r == 0;
		code = is_sent ? 0 : r == -EMSGSIZE ? PACKET_TOO_LARGE : TOPIC_NAME_INVALID;
		if (!is_sent)
			packet_id = 0; /* no PUBLISH has that */
		fg_outbox_sent(link->outbox, packet_id, now_ms);
		if (!is_sent || publish->qos == 0)
			fg_outbox_settled(link->outbox, packet_id, code, now_ms);
	}
	if (r < 0) {
		link_broken(link, r);
		return;
	}
	if (link->state == FG_LINK_ONLINE && fg_outbox_paused_until(link->outbox) &&
	    !ev_is_active(&link->resume)) {
		int64_t ms = fg_outbox_paused_until(link->outbox) - fg_clock_monotonic_ms();

		ev_timer_set(&link->resume, ms > 0 ? (double)ms / 1000. : 0., 0.);
		ev_timer_start(link->with.loop, &link->resume);
	}
}

/* ---- timers */

static void link_drain(struct fg_link *link)
{
	link_enter(link, FG_LINK_DRAINING);
	link_wait(link, FG_LINK_DRAIN_MS);
	if (fg_outbox_in_flight(link->outbox) == 0)
		link_finish_draining(link);
}

static void link_waited(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_link *link = w->data;

	(void)loop;
	(void)events;
	if (link->state == FG_LINK_BACKOFF) {
		link_connect(link);
	} else if (link->state == FG_LINK_DRAINING) {
		struct fg_mqtt_end end = {.kind = FG_MQTT_END_OWN, .was_connected = true};

		snprintf(end.text, sizeof(end.text), "not all PUBACKs came in time");
		link_ended(link, &end, false);
	}
}

static void link_ticked(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_link *link = w->data;
	int64_t now_ms = fg_clock_monotonic_ms();
	int64_t oldest_ms = fg_outbox_oldest_sent(link->outbox);

	(void)loop;
	(void)events;
	if (oldest_ms && now_ms - oldest_ms > link->with.config->ack_timeout_ms) {
		struct fg_mqtt_end end = {.kind = FG_MQTT_END_LOST, .was_connected = true};

		snprintf(end.text, sizeof(end.text), "no PUBACK for %lld ms",
			 (long long)(now_ms - oldest_ms));
		link_ended(link, &end, fg_outbox_may_blame(link->outbox));
		return;
	}
	if (link->state == FG_LINK_ONLINE && link->renew_at_ms && now_ms >= link->renew_at_ms) {
		fg_info("link %s: renewing the session before its credentials expire",
			link->with.config->name);
		link->is_renewing = true;
		link_drain(link);
		return;
	}
	if (link->short_sessions && now_ms - link->online_since_ms > FG_BACKOFF_STABLE_MS) {
		link->short_sessions = 0;
		fg_complain_over(&link->takeover_complaint, "link %s: the session is stable again",
				 link->with.config->name);
	}
	link_pump(link);
}

static void link_resumed(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	link_pump(w->data);
}

/* ---- life */

static int link_load_tls(struct fg_link *link, struct fg_error *err)
{
	const struct fg_cloud_config *config = link->with.config;
	struct fg_tls_params params = {
		.host = config->tls.server_name ? config->tls.server_name : config->url.host,
		.ca = config->tls.ca,
		.certificate = config->tls.certificate,
		.key = config->tls.key,
		.key_password = config->tls.key_password,
		.is_insecure = config->tls.is_insecure,
	};

	if (!config->url.is_tls)
		return 0;
	return fg_tls_new(&params, &link->tls, err);
}

static int link_open_plugin(struct fg_link *link, struct fg_error *err)
{
	struct fg_open with = {
		.values = link->with.values,
		.host = &host,
		.host_ctx = link,
		.link_name = link->with.config->name,
		.gateway_name = link->with.gateway_name,
		.has_client_certificate = link->with.config->tls.certificate != NULL,
	};
	char sentence[256] = "";
	int r;

	r = link->with.plugin->open(&with, &link->ctx, sentence, sizeof(sentence));
	if (r < 0)
		return fg_error_set(err, r, "plugin %s: %s", link->with.plugin->name,
				    sentence[0] ? sentence : strerror(-r));
	return 0;
}

static int link_open_outbox(struct fg_link *link, struct fg_error *err)
{
	const struct fg_cloud_config *config = link->with.config;
	struct fg_outbox_options options = {
		.link_name = config->name,
		.journal = link->with.journal,
		.timekeeper = link->with.timekeeper,
		.plugin = link->with.plugin,
		.ctx = link->ctx,
		.devices = &config->devices,
		.max_in_flight = config->max_in_flight,
		.max_unsaved = config->max_in_flight_records,
	};
	int r;

	r = fg_cursor_open(link->with.journal, config->name, config->max_in_flight_records,
			   &link->cursor);
	if (r < 0)
		return fg_error_set(err, r, "cannot open its cursor: %s", strerror(-r));
	fg_cursor_set_caps(link->cursor, config->max_backlog_bytes, config->max_age_ms);
	options.cursor = link->cursor;
	return fg_outbox_new(&options, &link->outbox);
}

static void link_freep(struct fg_link **link)
{
	fg_link_free(*link);
}

int fg_link_new(const struct fg_link_options *options, struct fg_link **ret, struct fg_error *err)
{
	FG_CLEANUP(link_freep) struct fg_link *link = calloc(1, sizeof(*link));
	const struct fg_cloud_config *config = options->config;
	int r;

	if (!link)
		return -ENOMEM;
	link->with = *options;
	link->mqtt_version = config->mqtt_version == FG_MQTT_311 ? 4 : 5;
	snprintf(link->client_id, sizeof(link->client_id), "fieldgate-%.50s-%.50s",
		 options->gateway_name, config->name);
	fg_backoff_init(&link->backoff, options->seed);
	ev_timer_init(&link->wait, link_waited, 0., 0.);
	ev_timer_init(&link->tick, link_ticked, 1., 1.);
	ev_timer_init(&link->resume, link_resumed, 0., 0.);
	link->wait.data = link->tick.data = link->resume.data = link;

	r = link_load_tls(link, err);
	if (r < 0)
		return r;
	r = link_open_plugin(link, err);
	if (r < 0)
		return r;
	r = link_open_outbox(link, err);
	if (r < 0)
		return r;
	if (link->tls && fg_tls_has_expired(link->tls))
		fg_warning("link %s: %s has expired, by the clock of this machine", config->name,
			   config->tls.certificate);
	if (config->tls.is_insecure)
		fg_warning("link %s: `insecure: true`: the server's certificate is not verified",
			   config->name);

	*ret = link; /* the caller owns it now */
	link = NULL;
	return 0;
}

int fg_link_check(const struct fg_link_options *options, struct fg_error *err)
{
	struct fg_link link = {.with = *options};
	int r = link_load_tls(&link, err);

	if (r == 0)
		r = link_open_plugin(&link, err);
	if (link.ctx)
		options->plugin->close(link.ctx);
	fg_tls_free(link.tls);
	return r;
}

struct fg_link *fg_link_free(struct fg_link *link)
{
	if (!link)
		return NULL;
	ev_timer_stop(link->with.loop, &link->wait);
	ev_timer_stop(link->with.loop, &link->tick);
	ev_timer_stop(link->with.loop, &link->resume);
	fg_mqtt_client_free(link->client);
	fg_outbox_free(link->outbox);
	if (link->cursor)
		fg_cursor_close(link->cursor);
	if (link->ctx)
		link->with.plugin->close(link->ctx);
	fg_tls_free(link->tls);
	free(link);
	return NULL;
}

void fg_link_start(struct fg_link *link)
{
	if (link->state == FG_LINK_STOPPED)
		link_connect(link);
}

void fg_link_stop(struct fg_link *link, void (*stopped)(void *arg), void *arg)
{
	link->is_stopping = true;
	link->stopped = stopped;
	link->stopped_arg = arg;
	if (link->state == FG_LINK_ONLINE)
		link_drain(link);
	else if (link->state != FG_LINK_DRAINING)
		link_stopped(link);
}

void fg_link_committed(struct fg_link *link, uint64_t ticket)
{
	fg_outbox_committed(link->outbox, ticket);
	link_pump(link);
}

void fg_link_clock_set(struct fg_link *link, bool is_learnt)
{
	int64_t now_us, renew_at_ms;

	if (is_learnt && link->state == FG_LINK_BACKOFF) {
		link_connect(link);
		return;
	}
	fg_timekeeper_now(link->with.timekeeper, &now_us);
	renew_at_ms = fg_clock_monotonic_ms() + (link->renew_us - now_us) / 1000;
	/* What has expired by the new clock was accepted by the cloud all the same: it knew better.
	 */
	if (link->renew_at_ms && link->renew_us > now_us && renew_at_ms < link->renew_at_ms)
		link->renew_at_ms = renew_at_ms;
	link_pump(link);
}

void fg_link_lost(struct fg_link *link, uint64_t records, uint64_t seq, const char *why)
{
	link->lost += records;
	fg_complain(&link->lost_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
		    "link %s: lost %llu records up to %llu: %s", link->with.config->name,
		    (unsigned long long)records, (unsigned long long)seq, why);
}

const char *fg_link_name(const struct fg_link *link)
{
	return link->with.config->name;
}

const char *fg_link_state_name(enum fg_link_state state)
{
	return state_names[state];
}

void fg_link_get_stats(const struct fg_link *link, struct fg_link_stats *ret)
{
	struct fg_outbox_stats outbox;

	fg_outbox_get_stats(link->outbox, &outbox);
	*ret = (struct fg_link_stats){
		.state = link->state,
		.backlog = fg_cursor_backlog(link->cursor),
		.published = outbox.published,
		.records_acked = outbox.records_acked,
		.quarantined = outbox.quarantined,
		.values_dropped = outbox.values_dropped,
		.sessions = link->sessions,
		.lost = link->lost,
	};
	fg_cursor_get_losses(link->cursor, ret->losses);
}
