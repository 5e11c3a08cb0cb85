#include "cloud/cloud_session_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "net/tick.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/span.h"

#define CONNACK_TIMEOUT_S 30
#define KEEP_ALIVE_S 60
/* MQTT 5, 2.4: what the server would have said. */
#define TOPIC_NAME_INVALID 0x90
#define PACKET_TOO_LARGE 0x95

static void session_connect(struct fg_cloud_session *s);

/* ---- states */

static const char *const state_names[] = {"stopped", "connecting", "online", "draining",
					  "backing off"};

static void session_enter(struct fg_cloud_session *s, enum fg_link_state state)
{
	struct ev_loop *loop = s->common->loop;
	bool was_up = s->state == FG_LINK_ONLINE || s->state == FG_LINK_DRAINING;
	bool is_up = state == FG_LINK_ONLINE || state == FG_LINK_DRAINING;

	if (fg_log_wants(LOG_DEBUG) && state != s->state)
		fg_debug("link %s: %s -> %s", s->label, state_names[s->state], state_names[state]);
	if (is_up && !was_up)
		s->common->n_online++;
	if (was_up && !is_up)
		s->common->n_online--;
	s->state = state;
	ev_timer_stop(loop, &s->wait);
	if (state == FG_LINK_ONLINE)
		fg_tick_start(loop, &s->tick);
	else if (state != FG_LINK_DRAINING)
		ev_timer_stop(loop, &s->tick);
}

static void session_wait(struct fg_cloud_session *s, int64_t ms)
{
	ev_timer_set(&s->wait, (double)ms / 1000., 0.);
	ev_timer_start(s->common->loop, &s->wait);
}

/* Whoever is told may free the session: nothing may touch it afterwards. */
static void session_stopped(struct fg_cloud_session *s)
{
	void (*stopped)(void *arg) = s->stopped;

	session_enter(s, FG_LINK_STOPPED);
	s->client = fg_mqtt_client_free(s->client);
	s->has_stopped = true;
	s->stopped = NULL;
	if (stopped)
		stopped(s->stopped_arg);
}

static void pump(struct fg_cloud_session *s)
{
	s->common->pump(s->common->arg);
}

/* ---- what came down is not on disk yet */

void fg_cloud_session_hold(struct fg_cloud_session *s, uint64_t ticket)
{
	if (s->client && fg_hold_for_commit(&s->hold, ticket))
		fg_mqtt_client_hold(s->client);
}

void fg_cloud_session_give_back(struct fg_cloud_session *s, const char *why)
{
	if (!s->client)
		return;
	fg_mqtt_client_hold(s->client);
	s->given_back = why;
}

/* The PUBACK of what is not on disk would go out in front of the DISCONNECT. */
static void finish_draining(struct fg_cloud_session *s)
{
	if (s->client && !fg_hold_is_on(&s->hold) && fg_outbox_in_flight(s->out) == 0)
		fg_mqtt_client_disconnect(s->client); /* ended() follows */
}

static void let_go(struct fg_cloud_session *s)
{
	if (s->client)
		fg_mqtt_client_let_go(s->client);
	if (s->client)
		fg_mqtt_client_resume(s->client);
	if (s->state == FG_LINK_DRAINING)
		finish_draining(s);
}

void fg_cloud_session_committed(struct fg_cloud_session *s, uint64_t ticket)
{
	if (fg_hold_committed(&s->hold, ticket))
		let_go(s);
}

/* ---- how it ends */

/* Tell outbox and plugin that the session is gone, unless HTTP carries it. */
static void forget(struct fg_cloud_session *s, bool was_online, bool suspicious)
{
	const struct fg_plugin *plugin = s->common->plugin;

	fg_hold_drop(&s->hold);
	s->given_back = NULL;
	s->is_taking_over = false;
	if (!was_online)
		return;
	fg_outbox_session_end(s->out, suspicious);
	if (plugin->disconnected)
		plugin->disconnected(s->common->ctx, fg_cloud_session_name(s));
}

/* The session is over, or the attempt failed: wait, then try again. */
static void session_ended(struct fg_cloud_session *s, const struct fg_mqtt_end *end,
			  bool suspicious)
{
	int64_t now_ms = fg_clock_monotonic_ms();
	enum fg_backoff_class class;
	bool was_online = s->state == FG_LINK_ONLINE || s->state == FG_LINK_DRAINING;
	unsigned in_flight = was_online ? fg_outbox_in_flight(s->out) : 0;
	int64_t delay_ms;

	s->client = fg_mqtt_client_free(s->client);
	forget(s, was_online, suspicious);
	if (was_online && fg_session_is_proven(s, now_ms))
		fg_http_carrier_mqtt_lost(s->http);
	if (s->is_stopping) {
		session_stopped(s);
		return;
	}
	if (s->is_renewing) {
		s->is_renewing = false;
		session_connect(s);
		return;
	}
	fg_session_note_short(s, end, now_ms);
	if (fg_session_may_go_on(s, end)) {
		session_connect(s);
		return;
	}
	class = fg_session_class(s, end);
	delay_ms = fg_backoff_next(&s->backoff, class, now_ms);
	fg_session_complain(s, end, class, delay_ms, in_flight, now_ms);
	memcpy(s->why, end->text, sizeof(s->why));
	s->retry_at_ms = now_ms + delay_ms;
	session_enter(s, FG_LINK_BACKOFF);
	session_wait(s, delay_ms);
	if (class == FG_BACKOFF_CREDENTIALS)
		fg_http_carrier_hold_off(s->http);
	else
		fg_http_carrier_need(s->http);
	/* The others may have to go on without it. */
	pump(s);
}

/* ---- the client's callbacks */

static void session_online(struct fg_cloud_session *s)
{
	struct fg_session_common *c = s->common;
	struct fg_connack told = {
		.session_present = s->connack.session_present,
		.mqtt_version = c->mqtt_version,
		.max_packet_bytes = s->connack.max_packet_bytes,
	};

	fg_notice("link %s: connected to %s:%u, MQTT %s, %s%s, backlog=%llu", s->label,
		  s->address.host, s->address.port, c->mqtt_version == 5 ? "5" : "3.1.1",
		  told.session_present ? "session present" : "new session",
		  s->is_setup ? ", to set itself up" : "",
		  (unsigned long long)fg_cursor_backlog(c->cursor));
	session_enter(s, FG_LINK_ONLINE);
	s->why[0] = 0;
	fg_outbox_session_begin(s->out, s->connack.receive_maximum, s->connack.max_packet_bytes,
				s->is_setup);
	if (c->plugin->connected)
		c->plugin->connected(c->ctx, fg_cloud_session_name(s), &told);
	pump(s);
}

/* MQTT is there, and HTTP does not carry the session any more; or MQTT has gone again meanwhile. */
static void taken_over(void *arg)
{
	struct fg_cloud_session *s = arg;

	if (!s->is_taking_over) {
		fg_http_carrier_need(s->http);
		return;
	}
	s->is_taking_over = false;
	session_online(s);
	fg_mqtt_client_resume(s->client);
}

static void on_connected(void *owner, const struct fg_mqtt_connack *connack)
{
	struct fg_cloud_session *s = owner;
	struct fg_session_common *c = s->common;
	int64_t now_ms = fg_clock_monotonic_ms();

	if (s->is_stopping)
		return;
	c->n_sessions++;
	c->is_version_proven = true;
	s->has_tried_anew = false;
	s->online_since_ms = now_ms;
	s->has_acks = false;
	s->connack = *connack;
	fg_backoff_connected(&s->backoff, now_ms);
	c->attempt_complaint.step = 0; /* a new outage is a new fact */
	c->refusal_complaint.step = 0;
	if (fg_http_carrier_stop(s->http, taken_over, s))
		session_online(s);
	else
		s->is_taking_over = true;
}

static void end_for(struct fg_cloud_session *s, enum fg_mqtt_end_kind kind, const char *text,
		    bool suspicious)
{
	struct fg_mqtt_end end = {.kind = kind, .was_connected = s->state != FG_LINK_CONNECTING};

	snprintf(end.text, sizeof(end.text), "%.*s", (int)sizeof(end.text) - 1, text);
	session_ended(s, &end, suspicious);
}

/* fg_hold_options.stored */
static void on_stored(void *arg, int error)
{
	struct fg_cloud_session *s = arg;

	if (error < 0)
		end_for(s, FG_MQTT_END_OWN, "what came down cannot be written to disk", false);
	else if (!fg_hold_is_on(&s->hold))
		let_go(s);
}

static void on_message(void *owner, const struct fg_mqtt_message *message)
{
	struct fg_cloud_session *s = owner;
	const struct fg_plugin *plugin = s->common->plugin;
	struct fg_delivery delivery = {
		.topic = message->topic,
		.payload = message->payload,
		.qos = message->qos,
	};
	int r = -EPROTO;

	fg_hold_note(&s->hold);
	fg_timekeeper_now(s->common->timekeeper, &delivery.now_us);
	s->common->receiving = s;
	if (plugin->receive)
		r = plugin->receive(s->common->ctx, fg_cloud_session_name(s), &delivery);
	s->common->receiving = NULL;
	if (s->client && fg_hold_for_changes(&s->hold))
		fg_mqtt_client_hold(s->client);
	if (r < 0)
		fg_complain(&s->common->nonsense_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
			    "link %s: the cloud sent something on \"%.200s\" that this plugin does "
			    "not understand, ignored",
			    s->label, message->topic);
	if (s->given_back) {
		end_for(s, FG_MQTT_END_OWN, s->given_back, false);
		return;
	}
	fg_outbox_poke(s->common->outbox, s->out);
	pump(s);
}

static void on_published(void *owner, int packet_id, unsigned reason_code)
{
	struct fg_cloud_session *s = owner;

	s->has_acks = true;
	fg_outbox_settled(s->out, packet_id, reason_code, fg_clock_monotonic_ms());
	if (s->state == FG_LINK_DRAINING)
		finish_draining(s);
}

static void on_subscribed(void *owner, int packet_id, unsigned reason_code)
{
	struct fg_cloud_session *s = owner;

	(void)packet_id;
	if (reason_code >= 0x80)
		fg_complain(&s->common->nonsense_complaint, fg_clock_monotonic_ms(), LOG_WARNING,
			    "link %s: the cloud refused a subscription (0x%02x); what it covers "
			    "will not arrive",
			    s->label, reason_code);
}

static bool on_may_read(void *owner)
{
	const struct fg_cloud_session *s = owner;

	return !s->is_taking_over && fg_hold_gathers(&s->hold);
}

/* All PUBACKs that were there have been taken: now there may be room for more. */
static void on_after_read(void *owner)
{
	pump(owner);
}

static void on_ended(void *owner, const struct fg_mqtt_end *end)
{
	session_ended(owner, end, fg_session_is_suspicious(end));
}

static const struct fg_mqtt_ops ops = {
	.connected = on_connected,
	.message = on_message,
	.published = on_published,
	.subscribed = on_subscribed,
	.may_read = on_may_read,
	.after_read = on_after_read,
	.ended = on_ended,
};

/* ---- connecting */

static void attempt_failed(struct fg_cloud_session *s, const char *why)
{
	end_for(s, FG_MQTT_END_UNREACHABLE, why, false);
}

static void session_connect(struct fg_cloud_session *s)
{
	struct fg_session_common *c = s->common;
	const struct fg_cloud_config *config = c->config;
	struct fg_connect_request request = {
		.session = fg_cloud_session_name(s),
		.attempt = s->backoff.failures,
		.mqtt_version = c->mqtt_version,
	};
	struct fg_connect connect = {.clean_start = true};
	struct fg_mqtt_params params;
	struct fg_error err = {0};
	int r;

	session_enter(s, FG_LINK_CONNECTING);
	fg_timekeeper_now(c->timekeeper, &request.now_us);
	r = c->plugin->connect(c->ctx, &request, &connect);
	if (r < 0) {
		attempt_failed(s, "the plugin has no credentials to connect with");
		return;
	}
	r = fg_address_set(&s->address, config, c->tls, connect.address, &err);
	if (r < 0) {
		attempt_failed(s, err.text[0] ? err.text : strerror(-r));
		return;
	}
	if (r > 0)
		c->is_version_proven = false;
	/* Against the time the plugin was given: the clock may be set while we connect. */
	s->is_setup = connect.is_setup;
	s->is_timed = connect.is_timed;
	s->renew_us = connect.renew_us;
	s->renew_at_ms = 0;
	if (connect.renew_us)
		s->renew_at_ms =
			fg_clock_monotonic_ms() + (connect.renew_us - request.now_us) / 1000;
	params = (struct fg_mqtt_params){
		.host = s->address.host,
		.port = s->address.port,
		.tls = s->address.tls,
		.mqtt_version = c->mqtt_version,
		.client_id = connect.client_id ? connect.client_id : s->client_id,
		.username = connect.username,
		.password = connect.password,
		.clean_start = connect.clean_start,
		.keep_alive_s = connect.keep_alive_s   ? connect.keep_alive_s
				: config->keep_alive_s ? config->keep_alive_s
						       : KEEP_ALIVE_S,
		.connack_timeout_s = CONNACK_TIMEOUT_S,
	};
	r = fg_mqtt_client_new(c->loop, c->connector, &params, &ops, s, &s->client);
	if (r < 0)
		attempt_failed(s, strerror(-r));
}

/* ---- sending */

bool fg_cloud_session_send(struct fg_cloud_session *s, const struct fg_publish *publish,
			   int64_t now_ms)
{
	struct fg_mqtt_publish p = {
		.topic = publish->topic,
		.payload = fg_span_of(publish->payload, publish->payload_len),
		.qos = publish->qos,
		.content_type = publish->content_type,
	};
	int packet_id = 0; /* no PUBLISH has that */
	unsigned code = 0;
	int r;

	if (fg_http_carrier_is_up(s->http))
		return fg_http_carrier_send(s->http, publish, now_ms);
	r = fg_mqtt_client_publish(s->client, &p, &packet_id);
	if (r == -ENOTCONN)
		return false; /* the client tells soon how the session ended */
	if (r == -ENOMEM) {
		attempt_failed(s, "out of memory");
		return false;
	}
	if (r < 0) {
		packet_id = 0;
		code = r == -EMSGSIZE ? PACKET_TOO_LARGE : TOPIC_NAME_INVALID;
	}
	fg_outbox_sent(s->common->outbox, packet_id, now_ms);
	if (r < 0 || publish->qos == 0)
		fg_outbox_settled(s->out, packet_id, code, now_ms);
	return true;
}

int fg_cloud_session_subscribe(struct fg_cloud_session *s, const char *filter, unsigned qos)
{
	int packet_id;

	if (!s->client)
		return -ENOTCONN;
	return fg_mqtt_client_subscribe(s->client, &filter, 1, qos, &packet_id);
}

/* ---- timers */

static void drain(struct fg_cloud_session *s)
{
	session_enter(s, FG_LINK_DRAINING);
	fg_outbox_session_drain(s->out);
	session_wait(s, FG_LINK_DRAIN_MS);
	finish_draining(s);
}

void fg_cloud_session_renew(struct fg_cloud_session *s, const char *why)
{
	if (s->state == FG_LINK_ONLINE) {
		fg_info("link %s: renewing the session: %s", s->label, why);
		s->is_renewing = true;
		drain(s);
	} else if (s->state == FG_LINK_BACKOFF) {
		session_connect(s);
	}
}

static void waited(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_cloud_session *s = w->data;

	(void)loop;
	(void)events;
	if (s->state == FG_LINK_BACKOFF)
		session_connect(s);
	else if (s->state == FG_LINK_DRAINING)
		end_for(s, FG_MQTT_END_OWN, "not all PUBACKs came in time", false);
}

/* Returns whether the session has ended for it. */
static bool look_at_silence(struct fg_cloud_session *s, int64_t now_ms)
{
	int64_t oldest_ms = fg_outbox_oldest_sent(s->out);
	int64_t timeout_ms = s->common->config->ack_timeout_ms;
	char text[64];

	if (fg_hold_is_on(&s->hold) && now_ms - s->hold.since_ms > timeout_ms) {
		end_for(s, FG_MQTT_END_OWN, "what came down waits for the disk for too long",
			false);
		return true;
	}
	if (!oldest_ms || now_ms - oldest_ms <= timeout_ms)
		return false;
	snprintf(text, sizeof(text), "no PUBACK for %lld ms", (long long)(now_ms - oldest_ms));
	end_for(s, FG_MQTT_END_LOST, text, fg_outbox_may_blame(s->out));
	return true;
}

static void ticked(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_cloud_session *s = w->data;
	int64_t now_ms = fg_clock_monotonic_ms();

	(void)loop;
	(void)events;
	if (look_at_silence(s, now_ms))
		return;
	if (s->state == FG_LINK_ONLINE && s->renew_at_ms && now_ms >= s->renew_at_ms) {
		fg_cloud_session_renew(s, "its credentials expire");
		return;
	}
	if (s->short_sessions && now_ms - s->online_since_ms > FG_BACKOFF_STABLE_MS) {
		s->short_sessions = 0;
		fg_complain_over(&s->common->takeover_complaint,
				 "link %s: the session is stable again", s->label);
	}
	pump(s);
}

void fg_cloud_session_clock_set(struct fg_cloud_session *s, bool is_learnt)
{
	int64_t now_us, renew_at_ms;

	if (is_learnt)
		fg_http_carrier_clock_set(s->http);
	/* The attempt before may have failed for the time. */
	if ((is_learnt || s->is_timed) && s->state == FG_LINK_BACKOFF) {
		session_connect(s);
		return;
	}
	fg_timekeeper_now(s->common->timekeeper, &now_us);
	renew_at_ms = fg_clock_monotonic_ms() + (s->renew_us - now_us) / 1000;
	/* What has expired by the new clock was accepted by the cloud all the same: it knew better.
	 */
	if (s->renew_at_ms && s->renew_us > now_us && renew_at_ms < s->renew_at_ms)
		s->renew_at_ms = renew_at_ms;
}

/* ---- life */

static void session_freep(struct fg_cloud_session **s)
{
	fg_cloud_session_free(*s);
}

int fg_cloud_session_new(struct fg_session_common *common, struct fg_span device,
			 const char *client_id, uint64_t seed, struct fg_cloud_session **ret)
{
	FG_CLEANUP(session_freep) struct fg_cloud_session *s = calloc(1, sizeof(*s));
	struct fg_hold_options hold = {
		.journal = common->journal,
		.stores = common->stores,
		.stored = on_stored,
		.arg = s,
	};
	int r;

	if (!s)
		return -ENOMEM;
	s->common = common;
	fg_hold_init(&s->hold, &hold);
	fg_backoff_init(&s->backoff, seed, common->config->max_reconnect_delay_ms);
	ev_timer_init(&s->wait, waited, 0., 0.);
	ev_init(&s->tick, ticked);
	s->wait.data = s->tick.data = s;
	r = fg_outbox_session_open(common->outbox, device, &s->out);
	if (r < 0)
		return r;
	fg_outbox_session_set_owner(s->out, s);
	s->client_id = strdup(client_id);
	if (!s->client_id ||
	    asprintf(&s->label, "%s%s%s", common->config->name, device.size > 0 ? " session " : "",
		     fg_cloud_session_name(s)) < 0)
		return -ENOMEM;
	if (common->http) {
		r = fg_http_carrier_new(common, s->out, s->label, ~seed, &s->http);
		if (r < 0)
			return r;
	}

	*ret = s; /* the caller owns it now */
	s = NULL;
	return 0;
}

struct fg_cloud_session *fg_cloud_session_free(struct fg_cloud_session *s)
{
	if (!s)
		return NULL;
	session_enter(s, FG_LINK_STOPPED);
	fg_hold_drop(&s->hold);
	fg_mqtt_client_free(s->client);
	fg_http_carrier_free(s->http);
	fg_outbox_session_close(s->out);
	fg_address_clear(&s->address);
	free(s->label);
	free(s->client_id);
	free(s);
	return NULL;
}

void fg_cloud_session_start(struct fg_cloud_session *s)
{
	if (s->state != FG_LINK_STOPPED)
		return;
	fg_http_carrier_mqtt_lost(s->http);
	fg_http_carrier_need(s->http);
	session_connect(s);
}

/* HTTP has let go of it. */
static void http_stopped(void *arg)
{
	session_stopped(arg);
}

void fg_cloud_session_stop(struct fg_cloud_session *s, void (*stopped)(void *arg), void *arg)
{
	s->is_stopping = true;
	s->stopped = stopped;
	s->stopped_arg = arg;
	if (s->state == FG_LINK_ONLINE)
		drain(s);
	if (s->state == FG_LINK_ONLINE || s->state == FG_LINK_DRAINING)
		return;
	s->client = fg_mqtt_client_free(s->client);
	session_enter(s, FG_LINK_STOPPED);
	if (fg_http_carrier_stop(s->http, http_stopped, s))
		session_stopped(s);
}

void fg_cloud_session_halt(struct fg_cloud_session *s)
{
	bool was_online = s->state == FG_LINK_ONLINE || s->state == FG_LINK_DRAINING;

	forget(s, was_online, false);
	fg_http_carrier_halt(s->http);
	s->client = fg_mqtt_client_free(s->client);
	session_enter(s, FG_LINK_STOPPED);
}

enum fg_link_state fg_cloud_session_state(const struct fg_cloud_session *s)
{
	return s->state;
}

const char *fg_cloud_session_name(const struct fg_cloud_session *s)
{
	return fg_outbox_session_name(s->out);
}

struct fg_span fg_cloud_session_device(const struct fg_cloud_session *s)
{
	return fg_outbox_session_device(s->out);
}

bool fg_cloud_session_is_outdated(const struct fg_cloud_session *s)
{
	return fg_outbox_session_is_outdated(s->out);
}

bool fg_cloud_session_has_stopped(const struct fg_cloud_session *s)
{
	return s->has_stopped;
}

const char *fg_cloud_session_why(const struct fg_cloud_session *s, int64_t *ret_retry_ms)
{
	int64_t now_ms = fg_clock_monotonic_ms();

	*ret_retry_ms = s->state == FG_LINK_BACKOFF && s->retry_at_ms > now_ms
				? s->retry_at_ms - now_ms
				: 0;
	return s->why[0] ? s->why : NULL;
}

const struct fg_address *fg_cloud_session_address(const struct fg_cloud_session *s)
{
	return &s->address;
}
