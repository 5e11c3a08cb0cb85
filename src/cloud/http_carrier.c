#include "cloud/http_carrier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "cloud/cloud_session.h"
#include "cloud/http_call.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/span.h"

#define MAX_ANSWER_BYTES (64 * 1024)
#define MAX_RETRY_AFTER_S 3600
/* What the cloud would have said to a request that cannot even be made. */
#define STATUS_BAD_REQUEST 400

enum carrier_state {
	CARRIER_IDLE,
	CARRIER_WAITING,
	CARRIER_SIGNING_IN,
	CARRIER_UP,
	CARRIER_RENEWING,
	CARRIER_BACKOFF,
	CARRIER_DRAINING,
};

struct fg_http_carrier {
	struct fg_session_common *common;
	struct fg_outbox_session *out;
	const char *label;
	enum carrier_state state;
	struct fg_http_request *request; /* under way, or NULL */
	int packet_id;                   /* of the publish it carries; they are counted here */
	struct fg_backoff backoff;
	int64_t missing_since_ms; /* MQTT is missing, if it is */
	ev_timer wait;            /* WAITING, BACKOFF: to sign in; DRAINING: to give up */
	ev_timer renew;           /* UP: the sign-in is about to lose its worth */
	bool was_sent_back;       /* to sign in, and nothing was accepted since */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

static void sign_in(struct fg_http_carrier *c);

/* ---- states */

static bool has_session(enum carrier_state state)
{
	return state == CARRIER_UP || state == CARRIER_RENEWING || state == CARRIER_DRAINING;
}

static void carrier_enter(struct fg_http_carrier *c, enum carrier_state state)
{
	static const char *const names[] = {"idle",     "waiting",     "signing in", "up",
					    "renewing", "backing off", "draining"};
	struct ev_loop *loop = c->common->loop;

	if (fg_log_wants(LOG_DEBUG) && state != c->state)
		fg_debug("link %s: HTTP: %s -> %s", c->label, names[c->state], names[state]);
	if (has_session(state) && !has_session(c->state))
		c->common->n_by_http++;
	if (has_session(c->state) && !has_session(state))
		c->common->n_by_http--;
	c->state = state;
	ev_timer_stop(loop, &c->wait);
	if (state != CARRIER_UP)
		ev_timer_stop(loop, &c->renew);
}

static void start_timer(struct fg_http_carrier *c, ev_timer *timer, int64_t ms)
{
	ev_timer_set(timer, ms > 0 ? (double)ms / 1000. : 0., 0.);
	ev_timer_start(c->common->loop, timer);
}

/* Nothing is under way any more, and the outbox's session is nobody's. */
static void let_go(struct fg_http_carrier *c, bool is_suspicious)
{
	const struct fg_plugin *plugin = c->common->plugin;

	c->request = fg_http_request_free(c->request);
	if (!has_session(c->state))
		return;
	fg_outbox_session_end(c->out, is_suspicious);
	if (plugin->disconnected)
		plugin->disconnected(c->common->ctx, fg_outbox_session_name(c->out));
}

/* Whoever is told may free the carrier: nothing may touch it afterwards. */
static void end(struct fg_http_carrier *c)
{
	void (*stopped)(void *arg) = c->stopped;

	let_go(c, false);
	carrier_enter(c, CARRIER_IDLE);
	c->stopped = NULL;
	if (stopped)
		stopped(c->stopped_arg);
}

static void back_off(struct fg_http_carrier *c, enum fg_backoff_class class, int64_t least_ms,
		     bool is_suspicious, const char *why)
{
	int64_t now_ms = fg_clock_monotonic_ms();
	int64_t ms = fg_backoff_next(&c->backoff, class, now_ms);
	/* Someone must act: an outage before it does not hide that. */
	struct fg_complaint *complaint = class == FG_BACKOFF_CREDENTIALS
						 ? &c->common->refusal_complaint
						 : &c->common->http_complaint;

	if (ms < least_ms)
		ms = least_ms;
	fg_complain(complaint, now_ms, class == FG_BACKOFF_CREDENTIALS ? LOG_ERR : LOG_WARNING,
		    "link %s: by HTTP: %s%s, trying again in %lld ms", c->label, why,
		    class == FG_BACKOFF_CREDENTIALS ? "; check its credentials" : "",
		    (long long)ms);
	let_go(c, is_suspicious);
	c->was_sent_back = false;
	carrier_enter(c, CARRIER_BACKOFF);
	start_timer(c, &c->wait, ms);
	/* Others may have to go on without it. */
	c->common->pump(c->common->arg);
}

/* ---- signing in */

static void up(struct fg_http_carrier *c, const struct fg_http_sign_in *as)
{
	size_t max_body_bytes = as->max_body_bytes;

	if (max_body_bytes == 0 || max_body_bytes > FG_HTTP_MAX_BODY_BYTES)
		max_body_bytes = FG_HTTP_MAX_BODY_BYTES;
	fg_backoff_connected(&c->backoff, fg_clock_monotonic_ms());
	fg_complain_over(&c->common->http_complaint, "link %s: signed in by HTTP", c->label);
	fg_notice("link %s: MQTT is blocked, sending by HTTP, backlog=%llu", c->label,
		  (unsigned long long)fg_cursor_backlog(c->common->cursor));
	carrier_enter(c, CARRIER_UP);
	if (as->renew_ms > 0)
		start_timer(c, &c->renew, as->renew_ms);
	fg_outbox_session_begin_http(c->out, max_body_bytes);
	c->common->pump(c->common->arg);
}

static int64_t retry_after_ms(const struct fg_http_response *response)
{
	return response->retry_after_s >= 0 && response->retry_after_s <= MAX_RETRY_AFTER_S
		       ? response->retry_after_s * 1000
		       : -1;
}

static void signed_in(struct fg_http_carrier *c, const struct fg_http_response *response)
{
	struct fg_session_common *common = c->common;
	struct fg_http_result answer = {.status = response->status, .body = response->body};
	struct fg_http_sign_in as = {0};
	char why[64];
	int r = -EPROTO;

	if (response->error < 0) {
		back_off(c, FG_BACKOFF_TRANSIENT, 0, false, response->text);
		return;
	}
	if (common->plugin->http->signed_in)
		r = common->plugin->http->signed_in(common->ctx, fg_outbox_session_name(c->out),
						    &answer, &as);
	if (r == 0) {
		up(c, &as);
		return;
	}
	snprintf(why, sizeof(why), "the cloud %s the sign-in (HTTP status %u)",
		 r == -EPROTO ? "has no sensible answer to" : "refuses", response->status);
	back_off(c, r == -EACCES ? FG_BACKOFF_CREDENTIALS : FG_BACKOFF_TRANSIENT,
		 retry_after_ms(response), false, why);
}

/* It was sent, perhaps, and may be why. That the cloud is there the sign-in has proved. */
static bool may_be_the_records(int error)
{
	return error == -ENOTCONN || error == -EPROTO || error == -EMSGSIZE || error == -ETIMEDOUT;
}

/* A publish was answered, or was not. */
static void answered(struct fg_http_carrier *c, const struct fg_http_response *response)
{
	enum fg_verdict verdict;

	if (response->error < 0) {
		if (c->state == CARRIER_DRAINING)
			end(c);
		else
			back_off(c, FG_BACKOFF_TRANSIENT, 0, may_be_the_records(response->error),
				 response->text);
		return;
	}
	verdict = fg_outbox_answered(c->out, c->packet_id, response->status, response->body,
				     retry_after_ms(response), fg_clock_monotonic_ms());
	if (c->state == CARRIER_DRAINING) {
		end(c);
	} else if (verdict == FG_SIGN_IN && c->was_sent_back) {
		back_off(c, FG_BACKOFF_CREDENTIALS, 0, true,
			 "signed in, but the cloud does not accept it");
	} else if (verdict == FG_SIGN_IN || c->state == CARRIER_RENEWING) {
		c->was_sent_back = verdict == FG_SIGN_IN;
		sign_in(c);
	} else {
		if (verdict == FG_ACCEPTED)
			c->was_sent_back = false;
		c->common->pump(c->common->arg);
	}
}

static void request_done(void *owner, const struct fg_http_response *response)
{
	struct fg_http_carrier *c = owner;
	struct fg_http_request *request = c->request;

	c->request = NULL; /* the next one may be made right here */
	if (c->state == CARRIER_SIGNING_IN)
		signed_in(c, response);
	else
		answered(c, response);
	fg_http_request_free(request);
}

static const struct fg_http_ops ops = {.done = request_done};

static int start_request(struct fg_http_carrier *c, const struct fg_http_call *call,
			 struct fg_error *err)
{
	const struct fg_cloud_config *config = c->common->config;

	return fg_http_call_start(c->common->http, &config->tls, config->fallback.url, call,
				  MAX_ANSWER_BYTES, &ops, c, &c->request, err);
}

static void sign_in(struct fg_http_carrier *c)
{
	struct fg_session_common *common = c->common;
	struct fg_connect_request request = {
		.session = fg_outbox_session_name(c->out),
		.attempt = c->backoff.failures,
	};
	struct fg_http_call call = {.method = "POST"};
	struct fg_http_sign_in as_it_is = {0};
	struct fg_error err = {"out of memory"};
	int r = 0;

	let_go(c, false);
	carrier_enter(c, CARRIER_SIGNING_IN);
	fg_timekeeper_now(common->timekeeper, &request.now_us);
	if (common->plugin->http->sign_in)
		r = common->plugin->http->sign_in(common->ctx, &request, &call);
	if (r == 0) {
		up(c, &as_it_is);
		return;
	}
	if (r < 0)
		fg_error_set(&err, r, "the plugin has no credentials to sign in with");
	else
		r = start_request(c, &call, &err);
	if (r < 0)
		back_off(c, FG_BACKOFF_TRANSIENT, 0, false,
			 r == -EAGAIN ? "too many requests at once" : err.text);
}

/* ---- sending */

bool fg_http_carrier_send(struct fg_http_carrier *c, const struct fg_publish *publish,
			  int64_t now_ms)
{
	struct fg_http_call call = {
		.method = "POST",
		.url = publish->topic,
		.headers = publish->headers,
		.body = {.data = publish->payload, .size = publish->payload_len},
		.timeout_ms = c->common->config->ack_timeout_ms,
	};
	struct fg_error err = {"out of memory"};
	int r;

	r = start_request(c, &call, &err);
	if (r < 0 && r != -EINVAL) {
		back_off(c, FG_BACKOFF_TRANSIENT, 0, false,
			 r == -EAGAIN ? "too many requests at once" : err.text);
		return false;
	}
	c->packet_id = c->packet_id % INT32_MAX + 1;
	fg_outbox_sent(c->common->outbox, c->packet_id, now_ms);
	if (r == -EINVAL && fg_outbox_answered(c->out, c->packet_id, STATUS_BAD_REQUEST,
					       fg_span_str(err.text), -1, now_ms) == FG_SIGN_IN) {
		back_off(c, FG_BACKOFF_TRANSIENT, 0, true, err.text);
		return false;
	}
	return true;
}

bool fg_http_carrier_is_up(const struct fg_http_carrier *c)
{
	return c && has_session(c->state);
}

/* ---- begin and end */

void fg_http_carrier_mqtt_lost(struct fg_http_carrier *c)
{
	if (c)
		c->missing_since_ms = fg_clock_monotonic_ms();
}

void fg_http_carrier_need(struct fg_http_carrier *c)
{
	int64_t ms;

	if (!c || c->state != CARRIER_IDLE)
		return;
	ms = c->missing_since_ms + c->common->config->fallback.after_ms - fg_clock_monotonic_ms();
	if (ms <= 0) {
		sign_in(c);
		return;
	}
	carrier_enter(c, CARRIER_WAITING);
	start_timer(c, &c->wait, ms);
}

void fg_http_carrier_hold_off(struct fg_http_carrier *c)
{
	if (!c)
		return;
	fg_http_carrier_mqtt_lost(c); /* only from now on */
	if (c->state == CARRIER_WAITING)
		carrier_enter(c, CARRIER_IDLE);
}

bool fg_http_carrier_stop(struct fg_http_carrier *c, void (*stopped)(void *arg), void *arg)
{
	if (!c)
		return true;
	if (!has_session(c->state) || !c->request) {
		end(c);
		return true;
	}
	c->stopped = stopped;
	c->stopped_arg = arg;
	if (c->state == CARRIER_DRAINING)
		return false;
	fg_outbox_session_drain(c->out);
	carrier_enter(c, CARRIER_DRAINING);
	start_timer(c, &c->wait, FG_LINK_DRAIN_MS);
	return false;
}

void fg_http_carrier_halt(struct fg_http_carrier *c)
{
	if (!c)
		return;
	c->stopped = NULL;
	end(c);
}

void fg_http_carrier_clock_set(struct fg_http_carrier *c)
{
	if (c && c->state == CARRIER_BACKOFF)
		sign_in(c);
}

static void waited(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_http_carrier *c = w->data;

	(void)loop;
	(void)events;
	if (c->state == CARRIER_DRAINING)
		end(c);
	else
		sign_in(c);
}

static void renew(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_http_carrier *c = w->data;

	(void)loop;
	(void)events;
	if (!c->request) {
		sign_in(c);
		return;
	}
	fg_outbox_session_drain(c->out);
	carrier_enter(c, CARRIER_RENEWING);
}

int fg_http_carrier_new(struct fg_session_common *common, struct fg_outbox_session *out,
			const char *label, uint64_t seed, struct fg_http_carrier **ret)
{
	struct fg_http_carrier *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->common = common;
	c->out = out;
	c->label = label;
	fg_backoff_init(&c->backoff, seed, common->config->max_reconnect_delay_ms);
	ev_timer_init(&c->wait, waited, 0., 0.);
	ev_timer_init(&c->renew, renew, 0., 0.);
	c->wait.data = c->renew.data = c;
	*ret = c;
	return 0;
}

struct fg_http_carrier *fg_http_carrier_free(struct fg_http_carrier *c)
{
	if (!c)
		return NULL;
	fg_http_carrier_halt(c);
	free(c);
	return NULL;
}
