#include "fake_mqtt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"

#define MAX_TIMERS 256

struct fg_mqtt_client {
	bool is_freed;
	bool has_ended;
	unsigned depth;
	char client_id[128];
	const struct fg_mqtt_ops *ops;
	void *owner;
	bool is_connected;
	int unacked[64]; /* packet ids */
	unsigned n_unacked;
};

static struct fg_mqtt_client *clients[FAKE_CLIENTS];

struct fake_mqtt fake_mqtt;
int64_t fake_now_ms;
int64_t fake_utc_us;

static ev_timer *timers[MAX_TIMERS];
static int64_t due_ms[MAX_TIMERS];

void fake_mqtt_reset(void)
{
	for (unsigned i = 0; i < FAKE_CLIENTS; i++)
		fg_mqtt_client_free(clients[i]);
	memset(&fake_mqtt, 0, sizeof(fake_mqtt));
	memset(timers, 0, sizeof(timers));
	fake_now_ms = 5000;
	fake_utc_us = INT64_C(1750000000000000);
}

/* ---- callbacks: the owner may free its client in each */

static struct fg_mqtt_client *enter(void)
{
	if (fake_mqtt.client)
		fake_mqtt.client->depth++;
	return fake_mqtt.client;
}

static void leave(struct fg_mqtt_client *c)
{
	if (--c->depth == 0 && c->is_freed)
		free(c);
}

void fake_mqtt_connect(unsigned receive_maximum, size_t max_packet_bytes)
{
	struct fg_mqtt_connack connack = {.receive_maximum = receive_maximum,
					  .max_packet_bytes = max_packet_bytes};
	struct fg_mqtt_client *c = enter();

	fake_mqtt.is_connected = c->is_connected = true;
	fake_mqtt.ops->connected(fake_mqtt.owner, &connack);
	leave(c);
}

void fake_mqtt_end(enum fg_mqtt_end_kind kind, unsigned reason_code)
{
	struct fg_mqtt_end end = {.kind = kind,
				  .reason_code = reason_code,
				  .was_connected = fake_mqtt.is_connected,
				  .text = "it ended"};
	struct fg_mqtt_client *c = enter();

	fake_mqtt.is_connected = c->is_connected = false;
	c->has_ended = true;
	fake_mqtt.ops->ended(fake_mqtt.owner, &end);
	leave(c);
}

void fake_mqtt_puback(int packet_id, unsigned reason_code)
{
	struct fg_mqtt_client *c = enter();

	if (!c)
		return;
	fake_mqtt.ops->published(fake_mqtt.owner, packet_id, reason_code);
	leave(c);
}

bool fake_mqtt_deliver(const char *topic, const char *payload)
{
	struct fg_mqtt_message message = {
		.topic = topic,
		.payload = fg_span_str(payload),
		.qos = 1,
	};
	struct fg_mqtt_client *c = enter();

	if (!c)
		return false;
	if (fake_mqtt.is_paused ||
	    (fake_mqtt.ops->may_read && !fake_mqtt.ops->may_read(fake_mqtt.owner))) {
		fake_mqtt.is_paused = true;
		leave(c);
		return false;
	}
	fake_mqtt.n_unflushed++;
	fake_mqtt.ops->message(fake_mqtt.owner, &message);
	leave(c);
	return true;
}

void fake_mqtt_after_read(void)
{
	struct fg_mqtt_client *c = enter();

	if (!c)
		return;
	if (fake_mqtt.ops->after_read)
		fake_mqtt.ops->after_read(fake_mqtt.owner);
	leave(c);
}

/* ---- one of many */

/* Where @c stands; of NULL, a free place. */
static struct fg_mqtt_client **place_of(const struct fg_mqtt_client *c)
{
	for (unsigned i = 0; i < FAKE_CLIENTS; i++)
		if (clients[i] == c)
			return &clients[i];
	abort();
}

unsigned fake_clients(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_CLIENTS; i++)
		n += clients[i] != NULL;
	return n;
}

struct fg_mqtt_client *fake_client(const char *client_id)
{
	for (unsigned i = 0; i < FAKE_CLIENTS; i++)
		if (clients[i] && strcmp(clients[i]->client_id, client_id) == 0)
			return clients[i];
	return NULL;
}

void fake_client_connect(struct fg_mqtt_client *c)
{
	struct fg_mqtt_connack connack = {.receive_maximum = 65535};

	c->depth++;
	c->is_connected = true;
	c->ops->connected(c->owner, &connack);
	leave(c);
}

void fake_client_end(struct fg_mqtt_client *c, enum fg_mqtt_end_kind kind, unsigned reason_code)
{
	struct fg_mqtt_end end = {.kind = kind,
				  .reason_code = reason_code,
				  .was_connected = c->is_connected,
				  .text = "it ended"};

	c->depth++;
	c->is_connected = false;
	c->has_ended = true;
	c->ops->ended(c->owner, &end);
	leave(c);
}

void fake_client_puback(struct fg_mqtt_client *c, int packet_id, unsigned reason_code)
{
	c->depth++;
	c->ops->published(c->owner, packet_id, reason_code);
	leave(c);
}

unsigned fake_client_puback_all(struct fg_mqtt_client *c)
{
	unsigned n = c->n_unacked;

	c->depth++;
	c->n_unacked = 0;
	for (unsigned i = 0; i < n && !c->is_freed; i++)
		c->ops->published(c->owner, c->unacked[i], 0);
	if (!c->is_freed)
		c->ops->after_read(c->owner);
	leave(c);
	return n;
}

/* ---- the interface */

int fg_mqtt_client_new(struct ev_loop *loop, struct fg_connector *connector,
		       const struct fg_mqtt_params *params, const struct fg_mqtt_ops *ops,
		       void *owner, struct fg_mqtt_client **ret)
{
	struct fg_mqtt_client *c;

	(void)loop;
	(void)connector;
	fake_mqtt.n_made++;
	if (fake_mqtt.new_result < 0)
		return fake_mqtt.new_result;
	if (fake_mqtt.client && !fake_mqtt.may_be_many)
		abort(); /* the owner forgot one */
	c = calloc(1, sizeof(*c));
	*place_of(NULL) = c;
	snprintf(c->client_id, sizeof(c->client_id), "%s", params->client_id);
	c->ops = ops;
	c->owner = owner;
	fake_mqtt.client = c;
	fake_mqtt.params = *params;
	snprintf(fake_mqtt.host, sizeof(fake_mqtt.host), "%s", params->host);
	snprintf(fake_mqtt.client_id, sizeof(fake_mqtt.client_id), "%s", params->client_id);
	snprintf(fake_mqtt.username, sizeof(fake_mqtt.username), "%s",
		 params->username ? params->username : "");
	fake_mqtt.ops = ops;
	fake_mqtt.owner = owner;
	fake_mqtt.is_connected = fake_mqtt.is_disconnecting = fake_mqtt.is_paused = false;
	fake_mqtt.n_publishes = 0;
	fake_mqtt.n_unflushed = 0;
	fake_mqtt.is_held = false;
	*ret = c;
	return 0;
}

struct fg_mqtt_client *fg_mqtt_client_free(struct fg_mqtt_client *c)
{
	if (!c)
		return NULL;
	fake_mqtt.n_freed++;
	*place_of(c) = NULL;
	if (fake_mqtt.client == c) {
		fake_mqtt.client = NULL;
		fake_mqtt.is_connected = false;
	}
	c->is_freed = true;
	if (c->depth == 0)
		free(c);
	return NULL;
}

int fg_mqtt_client_publish(struct fg_mqtt_client *c, const struct fg_mqtt_publish *publish,
			   int *ret_packet_id)
{
	struct fake_publish *p = &fake_mqtt.publishes[fake_mqtt.n_publishes];

	if (c->is_freed || c->has_ended || !c->is_connected)
		return -ENOTCONN;
	if (fake_mqtt.publish_result < 0)
		return fake_mqtt.publish_result;
	if (fake_mqtt.n_publishes == FAKE_PUBLISHES)
		abort();
	fake_mqtt.n_publishes++;
	fake_mqtt.last_packet_id = fake_mqtt.last_packet_id % 65535 + 1;
	*ret_packet_id = fake_mqtt.last_packet_id;
	p->packet_id = fake_mqtt.last_packet_id;
	if (publish->qos > 0 && c->n_unacked < 64)
		c->unacked[c->n_unacked++] = p->packet_id;
	p->qos = publish->qos;
	p->size = publish->payload.size;
	snprintf(p->topic, sizeof(p->topic), "%s", publish->topic);
	snprintf(p->payload, sizeof(p->payload), "%.*s", (int)publish->payload.size,
		 publish->payload.data);
	if (publish->qos == 0) /* written at once; the owner does not know the id yet */
		fake_mqtt.ops->published(fake_mqtt.owner, p->packet_id, 0);
	return 0;
}

int fg_mqtt_client_subscribe(struct fg_mqtt_client *c, const char *const *filters, size_t n,
			     unsigned qos, int *ret_packet_id)
{
	(void)c;
	(void)n;
	(void)qos;
	if (fake_mqtt.subscribe_result < 0)
		return fake_mqtt.subscribe_result;
	fake_mqtt.n_subscribes++;
	snprintf(fake_mqtt.filter, sizeof(fake_mqtt.filter), "%s", filters[0]);
	*ret_packet_id = fake_mqtt.last_packet_id = fake_mqtt.last_packet_id % 65535 + 1;
	return 0;
}

void fg_mqtt_client_flush(struct fg_mqtt_client *c)
{
	(void)c;
	fake_mqtt.n_flushes++;
	fake_mqtt.n_unflushed = 0;
}

void fg_mqtt_client_hold(struct fg_mqtt_client *c)
{
	(void)c;
	fake_mqtt.n_held++;
	fake_mqtt.is_held = true;
}

void fg_mqtt_client_let_go(struct fg_mqtt_client *c)
{
	(void)c;
	fake_mqtt.n_let_go++;
	fake_mqtt.is_held = false;
}

void fg_mqtt_client_resume(struct fg_mqtt_client *c)
{
	(void)c;
	fake_mqtt.n_resumes++;
	fake_mqtt.is_paused = false;
}

void fg_mqtt_client_disconnect(struct fg_mqtt_client *c)
{
	(void)c;
	fake_mqtt.is_disconnecting = true;
}

/* ---- time */

int64_t fg_clock_utc_us(void)
{
	return fake_utc_us;
}

int64_t fg_clock_monotonic_ms(void)
{
	return fake_now_ms;
}

static int slot_of(const ev_timer *w)
{
	for (int i = 0; i < MAX_TIMERS; i++)
		if (timers[i] == w)
			return i;
	return -1;
}

ev_tstamp ev_now(struct ev_loop *loop)
{
	(void)loop;
	return (double)fake_now_ms / 1000.;
}

void ev_timer_start(struct ev_loop *loop, ev_timer *w)
{
	int i;

	(void)loop;
	if (slot_of(w) >= 0)
		return;
	i = slot_of(NULL);
	if (i < 0)
		abort();
	timers[i] = w;
	due_ms[i] = fake_now_ms + (int64_t)(w->at * 1000. + .5);
	w->active = 1;
}

void ev_timer_stop(struct ev_loop *loop, ev_timer *w)
{
	int i = slot_of(w);

	(void)loop;
	if (i >= 0)
		timers[i] = NULL;
	w->active = 0;
}

void ev_timer_again(struct ev_loop *loop, ev_timer *w)
{
	ev_timer_stop(loop, w);
	if (w->repeat <= 0.)
		return;
	w->at = w->repeat;
	ev_timer_start(loop, w);
}

void fake_time_pass(int64_t ms)
{
	int64_t until = fake_now_ms + ms;

	for (;;) {
		ev_timer *w;
		int next = -1;

		for (int i = 0; i < MAX_TIMERS; i++)
			if (timers[i] && due_ms[i] <= until &&
			    (next < 0 || due_ms[i] < due_ms[next]))
				next = i;
		if (next < 0)
			break;
		w = timers[next];
		if (due_ms[next] > fake_now_ms) {
			fake_utc_us += (due_ms[next] - fake_now_ms) * 1000;
			fake_now_ms = due_ms[next];
		}
		ev_timer_stop(NULL, w);
		if (w->repeat > 0.)
			ev_timer_again(NULL, w);
		w->cb(NULL, w, EV_TIMER);
	}
	fake_utc_us += (until - fake_now_ms) * 1000;
	fake_now_ms = until;
}

unsigned fake_timers(void)
{
	unsigned n = 0;

	for (int i = 0; i < MAX_TIMERS; i++)
		n += timers[i] != NULL;
	return n;
}
