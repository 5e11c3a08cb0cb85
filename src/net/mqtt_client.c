#include "net/mqtt_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mqtt_protocol.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "net/tick.h"
#include "util/cleanup.h"

/* Packets read in one turn of the loop before other watchers get theirs. */
#define MAX_PACKETS_PER_TURN 2048
/* Up to so many PUBACKs two calls to cork and uncork cost more than they save. */
#define FEW_MESSAGES 4

struct fg_mqtt_client {
	struct ev_loop *loop;
	const struct fg_mqtt_ops *ops;
	void *owner;
	struct fg_mqtt_params params; /* the strings are copies */
	struct mosquitto *mosq;
	struct fg_connector_job job;
	int connect_rc, connect_errno; /* written on the connector's thread */
	ev_io io;
	ev_timer tick;      /* each second: keep alive, CONNACK deadline */
	int seconds_left;   /* until CONNACK must have come */
	bool is_connecting; /* the job is at work and owns `mosq` */
	bool is_connected;
	bool is_paused; /* may_read() said no */
	bool is_held;   /* nothing is written: fg_mqtt_client_hold() */
	bool is_disconnecting;
	bool has_ended;         /* `end` says how; ended() is due */
	bool has_told_end;      /* ended() was called */
	bool is_freed;          /* release as soon as nobody is inside */
	bool is_called_back;    /* by libmosquitto, which holds its locks meanwhile */
	bool wants_flush;       /* as soon as libmosquitto has let go of them */
	unsigned depth;         /* callbacks of libev or libmosquitto that are on the stack */
	uint64_t n_messages;    /* message callbacks so far */
	uint64_t n_flushed;     /* … when fg_mqtt_client_flush() last wrote */
	char library_says[160]; /* libmosquitto's last complaint */
	struct fg_mqtt_end end;
};

static void client_rearm(struct fg_mqtt_client *c);

/* The first reason wins: what follows a refusal is only its echo. */
static void client_end(struct fg_mqtt_client *c, enum fg_mqtt_end_kind kind, unsigned reason_code,
		       const char *text)
{
	if (c->has_ended)
		return;
	c->has_ended = true;
	c->end.kind = kind;
	c->end.reason_code = reason_code;
	c->end.was_connected = c->is_connected;
	snprintf(c->end.text, sizeof(c->end.text), "%s", text);
	c->is_connected = false;
}

/* What a libmosquitto return code means; called right after the call, while errno stands. */
static void client_end_rc(struct fg_mqtt_client *c, int rc)
{
	struct fg_mqtt_failure failure = {
		.rc = rc,
		.saved_errno = errno,
		.host = c->params.host,
		.port = c->params.port,
		.is_tls = c->params.tls,
		.was_connected = c->is_connected,
		.library_says = c->library_says,
	};
	struct fg_mqtt_end end;

	if (c->has_ended || rc == MOSQ_ERR_SUCCESS)
		return;
	if (c->is_disconnecting) {
		client_end(c, FG_MQTT_END_OWN, 0, "disconnected");
		return;
	}
	if (c->params.tls)
		failure.verify_error = fg_tls_take_verify_error(c->params.tls);
	fg_mqtt_end_of(&failure, &end);
	client_end(c, end.kind, 0, end.text);
}

/* ---- libmosquitto's callbacks */

static void on_connect(struct mosquitto *mosq, void *arg, int code, int flags,
		       const mosquitto_property *properties)
{
	struct fg_mqtt_client *c = arg;
	struct fg_mqtt_connack connack = {.receive_maximum = 65535};
	uint16_t receive_maximum;
	uint32_t max_packet;
	char text[200];

	(void)mosq;
	if (code != 0) {
		snprintf(text, sizeof(text), "refused: %s",
			 fg_mqtt_connack_text(c->params.mqtt_version, (unsigned)code));
		client_end(c, FG_MQTT_END_REFUSED, (unsigned)code, text);
		return;
	}
	if (c->is_connected || c->has_ended || c->is_freed)
		return;
	connack.session_present = flags & 1;
	if (mosquitto_property_read_int16(properties, MQTT_PROP_RECEIVE_MAXIMUM, &receive_maximum,
					  false))
		connack.receive_maximum = receive_maximum;
	if (mosquitto_property_read_int32(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE, &max_packet,
					  false))
		connack.max_packet_bytes = max_packet;
	c->is_connected = true;
	/* While a callback is set, libmosquitto formats a line for each packet: a tenth of our CPU
	 * time. */
	mosquitto_log_callback_set(c->mosq, NULL);
	c->is_called_back = true;
	c->ops->connected(c->owner, &connack);
	c->is_called_back = false;
}

static void on_disconnect(struct mosquitto *mosq, void *arg, int code,
			  const mosquitto_property *properties)
{
	struct fg_mqtt_client *c = arg;
	char text[200];

	(void)mosq;
	(void)properties;
	if (c->is_disconnecting) {
		client_end(c, FG_MQTT_END_OWN, 0, "disconnected");
	} else if (code >= 0x80) {
		/* Only a DISCONNECT packet has such a code; libmosquitto's own are below 32. */
		snprintf(text, sizeof(text), "disconnected by the peer: %s",
			 fg_mqtt_reason_text((unsigned)code));
		client_end(c, FG_MQTT_END_DISCONNECT, (unsigned)code, text);
	} else if (code == 0) {
		client_end(c, FG_MQTT_END_DISCONNECT, 0, "disconnected by the peer");
	}
}

static void read_reply_properties(const mosquitto_property *properties,
				  struct fg_mqtt_message *message, char **response_topic,
				  void **correlation)
{
	uint16_t size;

	if (mosquitto_property_read_string(properties, MQTT_PROP_RESPONSE_TOPIC, response_topic,
					   false))
		message->response_topic = *response_topic;
	if (mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA, correlation,
					   &size, false))
		message->correlation = fg_span_of(*correlation, size);
}

static void on_message(struct mosquitto *mosq, void *arg, const struct mosquitto_message *m,
		       const mosquitto_property *properties)
{
	struct fg_mqtt_client *c = arg;
	struct fg_mqtt_message message = {
		.topic = m->topic,
		.payload = fg_span_of(m->payload, (size_t)m->payloadlen),
		.qos = (unsigned)m->qos,
		.is_retained = m->retain,
	};
	char *response_topic = NULL;
	void *correlation = NULL;

	(void)mosq;
	c->n_messages++;
	if (!c->is_connected || c->is_freed || !c->ops->message)
		return;
	/* Copies: libmosquitto gives nothing else. Most messages have neither. */
	if (properties)
		read_reply_properties(properties, &message, &response_topic, &correlation);
	c->is_called_back = true;
	c->ops->message(c->owner, &message);
	c->is_called_back = false;
	free(response_topic);
	free(correlation);
}

static void on_publish(struct mosquitto *mosq, void *arg, int packet_id, int code,
		       const mosquitto_property *properties)
{
	struct fg_mqtt_client *c = arg;

	(void)mosq;
	(void)properties;
	if (c->is_freed || !c->ops->published)
		return;
	c->is_called_back = true;
	c->ops->published(c->owner, packet_id, (unsigned)code);
	c->is_called_back = false;
}

static void on_subscribe(struct mosquitto *mosq, void *arg, int packet_id, int n_granted,
			 const int *granted, const mosquitto_property *properties)
{
	struct fg_mqtt_client *c = arg;
	unsigned worst = 0;

	(void)mosq;
	(void)properties;
	for (int i = 0; i < n_granted; i++)
		if (granted[i] >= 0x80 && worst < 0x80)
			worst = (unsigned)granted[i];
	if (c->is_freed || !c->ops->subscribed)
		return;
	c->is_called_back = true;
	c->ops->subscribed(c->owner, packet_id, worst);
	c->is_called_back = false;
}

static void on_log(struct mosquitto *mosq, void *arg, int level, const char *text)
{
	struct fg_mqtt_client *c = arg;

	(void)mosq;
	if (level == MOSQ_LOG_ERR)
		snprintf(c->library_says, sizeof(c->library_says), "%s", text);
}

/* ---- life */

static void client_release(struct fg_mqtt_client *c)
{
	if (c->mosq)
		mosquitto_destroy(c->mosq);
	fg_mqtt_params_release(&c->params);
	free(c);
}

static void client_freep(struct fg_mqtt_client **c)
{
	if (*c)
		client_release(*c);
}

/*
 * OpenSSL's queue of errors is the thread's, and libmosquitto asks SSL_get_error(), which believes
 * what it finds there: a handshake of libcurl's that failed would end this session (SSL_get_error(3)).
 */
static void client_forget_errors(const struct fg_mqtt_client *c)
{
	if (c->params.tls)
		ERR_clear_error();
}

static void client_enter(struct fg_mqtt_client *c)
{
	client_forget_errors(c);
	c->depth++;
}

/*
 * The way out of every callback of libev: write what was asked for in a callback, watch the right
 * things, tell the end, release if asked to.
 */
static void client_leave(struct fg_mqtt_client *c)
{
	while (c->wants_flush && !c->is_freed) {
		c->wants_flush = false;
		fg_mqtt_client_flush(c);
	}
	if (!c->is_freed)
		client_rearm(c);
	if (c->has_ended && !c->has_told_end && !c->is_freed) {
		c->has_told_end = true;
		ev_io_stop(c->loop, &c->io);
		ev_timer_stop(c->loop, &c->tick);
		c->ops->ended(c->owner, &c->end);
	}
	c->depth--;
	if (c->is_freed && !c->is_connecting)
		client_release(c);
}

/* May the loop write whenever the socket takes something? Before CONNACK there is nothing to hold
 * back. */
static bool client_writes_by_itself(const struct fg_mqtt_client *c)
{
	if (!c->is_connected || c->is_disconnecting)
		return true;
	return !c->params.holds_writes && !c->is_held;
}

/*
 * The way out of a call of the owner. libmosquitto may have called back meanwhile, and the owner
 * may have let go of the client there: then it is gone now, and false is returned. What else there
 * is to do or to tell is left to the loop, when the owner does not expect it inside of its call.
 */
static bool client_leave_call(struct fg_mqtt_client *c)
{
	if (--c->depth > 0)
		return !c->is_freed;
	if (c->is_freed) {
		if (!c->is_connecting)
			client_release(c);
		return false;
	}
	if (c->wants_flush || (c->has_ended && !c->has_told_end) ||
	    (!c->is_connecting && client_writes_by_itself(c) && mosquitto_want_write(c->mosq)))
		ev_feed_event(c->loop, &c->tick, EV_CUSTOM);
	return true;
}

/*
 * libmosquitto closes its socket inside its own calls, and the number may be in use again by the
 * time we look; so the watcher is stopped, set and started whenever anything has changed.
 */
static void client_rearm(struct fg_mqtt_client *c)
{
	int fd = c->is_connecting || c->has_ended ? -1 : mosquitto_socket(c->mosq);
	int events = 0;

	if (fd < 0 && !c->is_connecting && !c->has_ended)
		client_end(c, c->is_connected ? FG_MQTT_END_LOST : FG_MQTT_END_SILENT, 0,
			   "connection closed");
	if (fd >= 0) {
		if (!c->is_paused)
			events |= EV_READ;
		if (client_writes_by_itself(c) && mosquitto_want_write(c->mosq))
			events |= EV_WRITE;
	}
	if (ev_is_active(&c->io) && c->io.fd == fd &&
	    (c->io.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(c->loop, &c->io);
	if (fd < 0 || events == 0)
		return;
	ev_io_set(&c->io, fd, events);
	ev_io_start(c->loop, &c->io);
}

static void client_write(struct fg_mqtt_client *c)
{
	client_forget_errors(c);
	client_end_rc(c, mosquitto_loop_write(c->mosq, 1));
}

static bool client_shakes_hands(struct fg_mqtt_client *c)
{
	const SSL *ssl = c->params.tls ? mosquitto_ssl_get(c->mosq) : NULL;

	return ssl && !SSL_is_init_finished(ssl);
}

/*
 * While a TLS handshake runs, libmosquitto takes a connection closed by the peer for "not yet", and
 * would be called for ever: look for the end of the stream ourselves.
 */
static bool client_is_cut_off(struct fg_mqtt_client *c)
{
	char byte;

	return client_shakes_hands(c) &&
	       recv(mosquitto_socket(c->mosq), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Bytes that OpenSSL has decrypted and nobody has read: the socket no longer shows them. */
static bool client_has_decrypted(struct fg_mqtt_client *c)
{
	const SSL *ssl = c->params.tls ? mosquitto_ssl_get(c->mosq) : NULL;

	return ssl && SSL_pending(ssl) > 0;
}

static void client_read_packets(struct fg_mqtt_client *c)
{
	uint64_t before;
	unsigned n = 0;

	/* mosquitto_loop_read() takes about one packet a call: on until no message comes any more.
	 */
	do {
		int rc;

		if (c->is_connected && c->ops->may_read && !c->ops->may_read(c->owner)) {
			/* Something was read: the watcher stays, mostly nothing comes before
			 * resume(). */
			c->is_paused = n == 0;
			break;
		}
		if (c->is_freed)
			return;
		before = c->n_messages;
		errno = 0;
		client_forget_errors(c);
		rc = mosquitto_loop_read(c->mosq, 1);
		client_end_rc(c, rc);
	} while (c->n_messages != before && ++n < MAX_PACKETS_PER_TURN && !c->has_ended &&
		 !c->is_freed);
	if (!c->is_paused && !c->has_ended && !c->is_freed && client_has_decrypted(c))
		ev_feed_event(c->loop, &c->io, EV_READ);
}

/*
 * Whether a message wants its PUBACK held is known only when it is called back with, and by then
 * the library would have written it: so while packets are read nothing is written.
 */
static void client_read(struct fg_mqtt_client *c)
{
	if (client_is_cut_off(c)) {
		client_end(c, FG_MQTT_END_TLS, 0,
			   "closed by the peer during the TLS handshake; does it speak TLS?");
		return;
	}
	mosquitto_threaded_set(c->mosq, true);
	client_read_packets(c);
	mosquitto_threaded_set(c->mosq, c->params.holds_writes || c->is_held);
}

static void client_io(struct ev_loop *loop, ev_io *w, int events)
{
	struct fg_mqtt_client *c = w->data;

	/* libmosquitto goes on with a handshake only when it is asked to read. */
	bool shakes_hands = client_shakes_hands(c);

	(void)loop;
	client_enter(c);
	if ((events & EV_READ) || shakes_hands)
		client_read(c);
	/*
	 * After a handshake CONNECT waits for a turn that reads first: with TLS 1.3 only then a peer
	 * says that it refuses our certificate, and a write that fails would take that along.
	 */
	if (!c->has_ended && !c->is_freed && !shakes_hands && client_writes_by_itself(c) &&
	    mosquitto_want_write(c->mosq))
		client_write(c);
	if ((events & EV_READ) && !c->is_freed && c->ops->after_read)
		c->ops->after_read(c->owner);
	client_leave(c);
}

static void client_tick(struct ev_loop *loop, ev_timer *w, int events)
{
	struct fg_mqtt_client *c = w->data;
	char text[200];

	(void)loop;
	client_enter(c);
	if (!c->has_ended && !c->is_connected && (events & EV_TIMER) && --c->seconds_left <= 0) {
		snprintf(text, sizeof(text), "%s for %d s",
			 c->is_connecting ? "no answer to name lookup or TCP connect"
					  : "no CONNACK",
			 c->params.connack_timeout_s);
		client_end(c, c->is_connecting ? FG_MQTT_END_UNREACHABLE : FG_MQTT_END_SILENT, 0,
			   text);
	}
	if (!c->has_ended && c->is_connected) {
		client_end_rc(c, mosquitto_loop_misc(c->mosq));
		if (c->params.holds_writes && c->ops->after_read && !c->has_ended)
			c->ops->after_read(c->owner); /* a PINGREQ may wait for the owner's flush */
	}
	client_leave(c);
}

static void client_connect_work(struct fg_connector_job *job)
{
	struct fg_mqtt_client *c =
		(struct fg_mqtt_client *)((char *)job - offsetof(struct fg_mqtt_client, job));

	c->connect_rc = fg_mqtt_params_connect(&c->params, c->mosq);
	c->connect_errno = errno;
}

static void client_connect_done(struct fg_connector_job *job)
{
	struct fg_mqtt_client *c =
		(struct fg_mqtt_client *)((char *)job - offsetof(struct fg_mqtt_client, job));

	c->is_connecting = false;
	client_enter(c);
	if (!c->is_freed && !c->has_ended) {
		errno = c->connect_errno;
		client_end_rc(c, c->connect_rc); /* else the loop writes CONNECT */
	}
	client_leave(c);
}

/* The gateway is on its way out. Owners go before the connector, so mostly nobody waits for this
 * any more. */
static void client_connect_orphaned(struct fg_connector_job *job)
{
	struct fg_mqtt_client *c =
		(struct fg_mqtt_client *)((char *)job - offsetof(struct fg_mqtt_client, job));

	c->is_connecting = false;
	if (c->is_freed)
		client_release(c);
}

static int client_make_mosq(struct fg_mqtt_client *c)
{
	int r = fg_mqtt_params_make(&c->params, c, &c->mosq);

	if (r < 0)
		return r;
	mosquitto_connect_v5_callback_set(c->mosq, on_connect);
	mosquitto_disconnect_v5_callback_set(c->mosq, on_disconnect);
	mosquitto_message_v5_callback_set(c->mosq, on_message);
	mosquitto_publish_v5_callback_set(c->mosq, on_publish);
	mosquitto_subscribe_v5_callback_set(c->mosq, on_subscribe);
	mosquitto_log_callback_set(c->mosq, on_log);
	return 0;
}

int fg_mqtt_client_new(struct ev_loop *loop, struct fg_connector *connector,
		       const struct fg_mqtt_params *params, const struct fg_mqtt_ops *ops,
		       void *owner, struct fg_mqtt_client **ret)
{
	FG_CLEANUP(client_freep) struct fg_mqtt_client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->ops = ops;
	c->owner = owner;
	r = fg_mqtt_params_copy(params, &c->params);
	if (r < 0)
		return r;
	r = client_make_mosq(c);
	if (r < 0)
		return r;

	ev_init(&c->io, client_io);
	c->io.data = c;
	ev_init(&c->tick, client_tick);
	c->tick.data = c;
	c->seconds_left = params->connack_timeout_s;
	c->job.work = client_connect_work;
	c->job.done = client_connect_done;
	c->job.orphaned = client_connect_orphaned;
	c->is_connecting = true;
	r = fg_connector_run(connector, &c->job);
	if (r < 0)
		return r;
	fg_tick_start(loop, &c->tick);

	*ret = c; /* the caller owns it now */
	c = NULL;
	return 0;
}

struct fg_mqtt_client *fg_mqtt_client_free(struct fg_mqtt_client *c)
{
	if (!c)
		return NULL;
	c->is_freed = true;
	ev_io_stop(c->loop, &c->io);
	ev_timer_stop(c->loop, &c->tick); /* also takes back an event that was fed to it */
	if (c->depth == 0 && !c->is_connecting)
		client_release(c);
	return NULL;
}

/* ---- the owner's calls */

static int client_call_result(struct fg_mqtt_client *c, int rc)
{
	switch (rc) {
	case MOSQ_ERR_SUCCESS:
		return 0;
	case MOSQ_ERR_NOMEM:
		return -ENOMEM;
	case MOSQ_ERR_INVAL:
	case MOSQ_ERR_MALFORMED_UTF8:
		return -EINVAL;
	case MOSQ_ERR_OVERSIZE_PACKET:
	case MOSQ_ERR_PAYLOAD_SIZE:
		return -EMSGSIZE;
	default:
		client_end_rc(c, rc);
		return -ENOTCONN;
	}
}

/* Returns 0 or -ENOMEM; *@properties is the caller's either way. */
static int make_properties(const struct fg_mqtt_publish *p, mosquitto_property **properties)
{
	int rc = MOSQ_ERR_SUCCESS;

	if (p->content_type)
		rc = mosquitto_property_add_string(properties, MQTT_PROP_CONTENT_TYPE,
						   p->content_type);
	if (rc == MOSQ_ERR_SUCCESS && p->response_topic)
		rc = mosquitto_property_add_string(properties, MQTT_PROP_RESPONSE_TOPIC,
						   p->response_topic);
	if (rc == MOSQ_ERR_SUCCESS && p->correlation.size > 0)
		rc = mosquitto_property_add_binary(properties, MQTT_PROP_CORRELATION_DATA,
						   p->correlation.data,
						   (uint16_t)p->correlation.size);
	if (rc == MOSQ_ERR_SUCCESS && p->expiry_s > 0)
		rc = mosquitto_property_add_int32(properties, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
						  p->expiry_s);
	return rc == MOSQ_ERR_SUCCESS ? 0 : rc == MOSQ_ERR_NOMEM ? -ENOMEM : -EINVAL;
}

int fg_mqtt_client_publish(struct fg_mqtt_client *c, const struct fg_mqtt_publish *p,
			   int *ret_packet_id)
{
	mosquitto_property *properties = NULL;
	int r = 0;

	if (!c->is_connected)
		return -ENOTCONN;
	if (p->correlation.size > UINT16_MAX)
		return -EINVAL;
	client_enter(c);
	if (c->params.mqtt_version == 5)
		r = make_properties(p, &properties);
	if (r == 0)
		r = client_call_result(c, mosquitto_publish_v5(c->mosq, ret_packet_id, p->topic,
							       (int)p->payload.size,
							       p->payload.data, (int)p->qos,
							       p->is_retained, properties));
	mosquitto_property_free_all(&properties);
	return client_leave_call(c) ? r : -ENOTCONN;
}

int fg_mqtt_client_subscribe(struct fg_mqtt_client *c, const char *const *filters, size_t n,
			     unsigned qos, int *ret_packet_id)
{
	/* A persistent session has seen the retained messages when it subscribed for the first
	 * time. */
	int options = c->params.mqtt_version == 5 ? MQTT_SUB_OPT_SEND_RETAIN_NEW : 0;
	int r;

	/* With a shared subscription it is a protocol error (3.8.3.1). */
	if (c->params.is_deaf_to_itself && c->params.mqtt_version == 5 &&
	    strncmp(filters[0], "$share/", 7) != 0)
		options |= MQTT_SUB_OPT_NO_LOCAL;

	if (!c->is_connected)
		return -ENOTCONN;
	client_enter(c);
	r = client_call_result(c, mosquitto_subscribe_multiple(c->mosq, ret_packet_id, (int)n,
							       (char *const *)filters, (int)qos,
							       options, NULL));
	return client_leave_call(c) ? r : -ENOTCONN;
}

void fg_mqtt_client_flush(struct fg_mqtt_client *c)
{
	int on = 1, off = 0;
	int fd = c->has_ended || c->is_connecting ? -1 : mosquitto_socket(c->mosq);
	bool is_corked;

	if (fd < 0 || !mosquitto_want_write(c->mosq))
		return;
	/* Writing calls back and takes locks, which libmosquitto holds inside of a callback. */
	if (c->is_called_back) {
		c->wants_flush = true;
		return;
	}
	client_enter(c);
	/*
	 * libmosquitto writes each PUBACK with a call of its own. Corked, they leave in full
	 * packets: one wake-up of the broker instead of hundreds.
	 */
	is_corked = !c->params.tls && c->n_messages - c->n_flushed > FEW_MESSAGES;
	c->n_flushed = c->n_messages;
	if (is_corked)
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
	client_write(c);
	if (is_corked && mosquitto_socket(c->mosq) == fd)
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
	client_leave_call(c);
}

void fg_mqtt_client_hold(struct fg_mqtt_client *c)
{
	c->is_held = true;
}

void fg_mqtt_client_let_go(struct fg_mqtt_client *c)
{
	if (!c->is_held)
		return;
	c->is_held = false;
	/* Inside of client_read() nothing is written yet, and behind it all is. */
	if (c->is_called_back)
		return;
	if (!c->params.holds_writes && !c->is_connecting)
		mosquitto_threaded_set(c->mosq, false);
	fg_mqtt_client_flush(c);
}

void fg_mqtt_client_resume(struct fg_mqtt_client *c)
{
	if (!c->is_paused || c->has_ended)
		return;
	c->is_paused = false;
	if (c->depth == 0)
		client_rearm(c);
	/* TLS may have bytes decrypted that the socket no longer shows. */
	if (c->params.tls && ev_is_active(&c->io))
		ev_feed_event(c->loop, &c->io, EV_READ);
}

void fg_mqtt_client_disconnect(struct fg_mqtt_client *c)
{
	if (c->has_ended)
		return;
	c->is_disconnecting = true;
	client_enter(c);
	if (c->is_connected)
		client_end_rc(c, mosquitto_disconnect_v5(c->mosq, 0, NULL));
	else
		client_end(c, FG_MQTT_END_OWN, 0, "disconnected");
	fg_mqtt_client_flush(c);
	client_leave_call(c);
}
