#include "control/roundtrip_field.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/tls_config.h"
#include "util/cleanup.h"

#define KEEP_ALIVE_S 60
#define GOODBYE_MS 1000
/* Reason codes of MQTT 5, and SUBACK's failure of 3.1.1, start here. */
#define REASON_FAILURE 0x80u

struct fg_field {
	struct ev_loop *loop;
	struct fg_connector *connector;
	const struct fg_broker_config *broker;
	struct fg_tls *tls;
	struct fg_mqtt_client *client;
	unsigned mqtt_version;
	char client_id[48];
	fg_field_arrived arrived;
	void *arg;
	bool is_settled; /* what is waited for has happened: CONNACK, SUBACK, PUBACK, or the end */
	bool is_connected;
	int awaited; /* the packet id of what is waited for */
	unsigned reason_code;
	struct fg_mqtt_end end; /* when there is no session (any more) */
};

/* ---- waiting */

int64_t fg_patience_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	*(bool *)w->data = true;
}

int fg_patience_wait(struct ev_loop *loop, const bool *done, int64_t ms)
{
	bool is_over = false;
	ev_timer timer;

	ev_now_update(loop);
	ev_timer_init(&timer, on_timer, (double)ms / 1000, 0);
	timer.data = &is_over;
	ev_timer_start(loop, &timer);
	while (!*done && !is_over)
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &timer);
	return *done ? 0 : -ETIMEDOUT;
}

/* ---- the session */

static void session_connected(void *owner, const struct fg_mqtt_connack *connack)
{
	struct fg_field *f = owner;

	(void)connack;
	f->is_connected = f->is_settled = true;
}

static void session_message(void *owner, const struct fg_mqtt_message *message)
{
	struct fg_field *f = owner;

	f->arrived(f->arg, message);
}

static void session_settled(void *owner, int packet_id, unsigned reason_code)
{
	struct fg_field *f = owner;

	if (packet_id != f->awaited)
		return;
	f->reason_code = reason_code;
	f->is_settled = true;
}

static void session_ended(void *owner, const struct fg_mqtt_end *end)
{
	struct fg_field *f = owner;

	f->is_connected = false;
	f->end = *end;
	f->is_settled = true;
}

static const struct fg_mqtt_ops session_ops = {
	.connected = session_connected,
	.message = session_message,
	.published = session_settled,
	.subscribed = session_settled,
	.ended = session_ended,
};

static int attempt(struct fg_field *f, int64_t timeout_ms, struct fg_error *err)
{
	const struct fg_broker_config *broker = f->broker;
	const struct fg_mqtt_params params = {
		.host = broker->url.host,
		.port = broker->url.port,
		.tls = f->tls,
		.mqtt_version = f->mqtt_version,
		.client_id = f->client_id,
		.username = broker->username,
		.password = broker->password,
		.clean_start = true,
		.keep_alive_s = KEEP_ALIVE_S,
		.connack_timeout_s = (int)(timeout_ms / 1000) + 1,
	};
	int r;

	f->client = fg_mqtt_client_free(f->client);
	f->is_settled = false;
	r = fg_mqtt_client_new(f->loop, f->connector, &params, &session_ops, f, &f->client);
	if (r < 0)
		return fg_error_set(err, r, "%s", strerror(-r));
	if (fg_patience_wait(f->loop, &f->is_settled, timeout_ms) < 0)
		return fg_error_set(err, -ETIMEDOUT, "no answer within %lld ms",
				    (long long)timeout_ms);
	if (!f->is_connected)
		return fg_error_set(err, f->end.kind == FG_MQTT_END_REFUSED ? -EACCES : -ENOTCONN,
				    "%s", f->end.text);
	return 0;
}

static void field_freep(struct fg_field **f)
{
	fg_field_free(*f);
}

int fg_field_open(struct ev_loop *loop, struct fg_connector *connector,
		  const struct fg_broker_config *broker, int64_t timeout_ms,
		  fg_field_arrived arrived, void *arg, struct fg_field **ret, struct fg_error *err)
{
	FG_CLEANUP(field_freep) struct fg_field *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->loop = loop;
	f->connector = connector;
	f->broker = broker;
	f->arrived = arrived;
	f->arg = arg;
	f->mqtt_version = broker->mqtt_version ? broker->mqtt_version : FG_MQTT_5;
	snprintf(f->client_id, sizeof(f->client_id), "fieldgate-roundtrip-%ld", (long)getpid());
	r = fg_tls_for_url(&broker->tls, &broker->url, &f->tls, err);
	if (r < 0)
		return r;
	r = attempt(f, timeout_ms, err);
	if (r == -EACCES && broker->mqtt_version == FG_MQTT_AUTO) {
		f->mqtt_version = FG_MQTT_311;
		r = attempt(f, timeout_ms, err);
	}
	if (r < 0)
		return r;

	*ret = f; /* the caller owns it now */
	f = NULL;
	return 0;
}

struct fg_field *fg_field_free(struct fg_field *f)
{
	if (!f)
		return NULL;
	if (f->is_connected) {
		f->is_settled = false;
		f->awaited = 0;
		fg_mqtt_client_disconnect(f->client);
		fg_patience_wait(f->loop, &f->is_settled, GOODBYE_MS);
	}
	fg_mqtt_client_free(f->client);
	fg_tls_free(f->tls);
	free(f);
	return NULL;
}

/* ---- what is done in it */

/* Until @packet_id is acknowledged. */
static int await(struct fg_field *f, int r, int packet_id, int64_t timeout_ms, struct fg_error *err)
{
	if (r < 0)
		return fg_error_set(err, r, "%s", f->is_connected ? strerror(-r) : f->end.text);
	f->awaited = packet_id;
	f->is_settled = false;
	if (fg_patience_wait(f->loop, &f->is_settled, timeout_ms) < 0)
		return fg_error_set(err, -ETIMEDOUT, "not acknowledged within %lld ms",
				    (long long)timeout_ms);
	if (!f->is_connected)
		return fg_error_set(err, -ENOTCONN, "%s", f->end.text);
	if (f->reason_code >= REASON_FAILURE)
		return fg_error_set(err, -EACCES, "refused: %s",
				    fg_mqtt_reason_text(f->reason_code));
	return 0;
}

int fg_field_subscribe(struct fg_field *f, const char *filter, int64_t timeout_ms,
		       struct fg_error *err)
{
	int packet_id = 0;
	int r = fg_mqtt_client_subscribe(f->client, &filter, 1, 1, &packet_id);

	return await(f, r, packet_id, timeout_ms, err);
}

int fg_field_publish(struct fg_field *f, const char *topic, struct fg_span payload,
		     int64_t timeout_ms, struct fg_error *err)
{
	const struct fg_mqtt_publish publish = {.topic = topic, .payload = payload, .qos = 1};
	int packet_id = 0;
	int r = fg_mqtt_client_publish(f->client, &publish, &packet_id);

	return await(f, r, packet_id, timeout_ms, err);
}

int fg_field_post(struct fg_field *f, const struct fg_mqtt_publish *publish)
{
	int packet_id;

	return fg_mqtt_client_publish(f->client, publish, &packet_id);
}
