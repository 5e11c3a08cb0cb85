#include "local/broker_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/mqtt_client.h"
#include "net/tls_config.h"
#include "util/backoff.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/complaint.h"
#include "util/log.h"
#include "util/span.h"

#define CONNACK_TIMEOUT_S 30
/* Gathered in one turn before the commit is waited for; bounds memory, costs no throughput. */
#define MAX_GATHERED_BYTES (256 * 1024)
/* Maximum Packet Size announced to an MQTT 5 broker: far above any message we keep whole, and a
 * bound for what a broker gone mad can make libmosquitto allocate. */
#define MAX_PACKET_BYTES (16 * 1024 * 1024)

enum state {
	STOPPED,
	CONNECTING,
	ONLINE,
	STOPPING,
	BACKOFF,
};

static const char *const state_names[] = {"stopped", "connecting", "online", "stopping",
					  "backing off"};

/* Published, and whoever asked for it wants to know of the PUBACK. */
struct outgoing {
	int packet_id;
	uint64_t tag;
};

struct fg_broker_client {
	struct fg_broker_client_options with;
	enum state state;
	struct fg_tls *tls;
	struct fg_mqtt_client *client;
	struct fg_backoff backoff;
	unsigned mqtt_version;
	bool is_version_proven;
	ev_timer wait;
	char why[sizeof((struct fg_mqtt_end){0}.text)]; /* not ONLINE: how it ended; or empty */
	int64_t retry_at_ms;                            /* BACKOFF: monotonic */
	char **filters; /* of the mapping, as subscribed: with the share's prefix */
	size_t n_filters;
	char **own_filters; /* of answers to commands: never shared */
	size_t n_own_filters;
	uint64_t pending_ticket;   /* PUBACKs wait for this commit; 0: none wait */
	size_t gathered_bytes;     /* in the batch of pending_ticket */
	bool is_taking;            /* a message: what its PUBACK waits for is not known yet */
	struct outgoing *outgoing; /* FG_BROKER_PUBLISHES_MAX */
	size_t n_outgoing;
	uint64_t n_published;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct fg_source source;
	struct fg_complaint attempt_complaint;
};

static void broker_connect(struct fg_broker_client *b);
static void session_ended(void *owner, const struct fg_mqtt_end *end);

static void broker_enter(struct fg_broker_client *b, enum state state)
{
	if (fg_log_wants(LOG_DEBUG) && b->state != state)
		fg_debug("broker %s: %s -> %s", b->with.config->name, state_names[b->state],
			 state_names[state]);
	b->state = state;
	ev_timer_stop(b->with.loop, &b->wait);
}

/* Whoever is told may free the client: nothing may touch it afterwards. */
static void broker_stopped(struct fg_broker_client *b)
{
	void (*stopped)(void *arg) = b->stopped;

	broker_enter(b, STOPPED);
	b->client = fg_mqtt_client_free(b->client);
	b->stopped = NULL;
	if (stopped)
		stopped(b->stopped_arg);
}

/* ---- messages */

/*
 * A message came that the journal cannot take now, although there was room for one: inside TLS
 * libmosquitto reads all packets that were encrypted together. Its PUBACK waits in the library, and
 * only the end of the session takes it back; the broker then sends the message again.
 */
static void broker_give_back(struct fg_broker_client *b)
{
	struct fg_mqtt_end end = {.kind = FG_MQTT_END_OWN, .was_connected = true};

	snprintf(end.text, sizeof(end.text), "more came than the journal has room for");
	session_ended(b, &end);
}

static void session_message(void *owner, const struct fg_mqtt_message *message)
{
	struct fg_broker_client *b = owner;
	uint64_t ticket;

	int r;

	b->is_taking = true;
	r = fg_intake_take(b->with.intake, &b->source, message);
	b->is_taking = false;
	if (r < 0) {
		broker_give_back(b);
		return;
	}
	ticket = fg_journal_ticket(b->with.journal);
	if (ticket <= fg_journal_committed(b->with.journal))
		return; /* nothing of this message is to be waited for, and nothing before it */
	if (ticket != b->pending_ticket) {
		b->pending_ticket = ticket;
		b->gathered_bytes = 0;
	}
	b->gathered_bytes += strlen(message->topic) + message->payload.size;
}

/*
 * Only with room for the largest message may a packet be read, since libmosquitto cannot give one
 * back; and not while a commit runs that earlier PUBACKs wait for.
 */
static bool session_may_read(void *owner)
{
	struct fg_broker_client *b = owner;

	if (b->state != ONLINE)
		return false;
	if (b->pending_ticket && (!fg_journal_gathers(b->with.journal, b->pending_ticket) ||
				  b->gathered_bytes >= MAX_GATHERED_BYTES))
		return false;
	return fg_intake_has_room(b->with.intake);
}

static void broker_settle(struct fg_broker_client *b)
{
	if (b->pending_ticket && fg_journal_committed(b->with.journal) >= b->pending_ticket)
		b->pending_ticket = 0;
	if (b->pending_ticket || !b->client)
		return;
	fg_mqtt_client_flush(b->client);
	if (b->state == STOPPING)
		fg_mqtt_client_disconnect(b->client); /* ended() follows */
	else if (session_may_read(b)) /* or we would be asked again and again until it may */
		fg_mqtt_client_resume(b->client);
}

static void session_after_read(void *owner)
{
	struct fg_broker_client *b = owner;

	fg_journal_flush(b->with.journal, fg_clock_monotonic_ms());
	broker_settle(b);
}

void fg_broker_client_committed(struct fg_broker_client *b, uint64_t ticket)
{
	(void)ticket; /* the journal's own count is the truth */
	broker_settle(b);
	/* Room may have come back although nothing of ours was waiting. */
	if (b->client && session_may_read(b))
		fg_mqtt_client_resume(b->client);
}

/* ---- the other way */

int fg_broker_client_publish(struct fg_broker_client *b, const struct fg_mqtt_publish *publish,
			     uint64_t tag)
{
	int packet_id, r;

	if (b->state != ONLINE)
		return -ENOTCONN;
	if (tag && b->n_outgoing == FG_BROKER_PUBLISHES_MAX)
		return -EAGAIN;
	r = fg_mqtt_client_publish(b->client, publish, &packet_id);
	if (r < 0)
		return r;
	if (tag && publish->qos > 0)
		b->outgoing[b->n_outgoing++] =
			(struct outgoing){.packet_id = packet_id, .tag = tag};
	b->n_published++;
	/* A command that leaves because of the message that is being taken: its PUBACK must not go
	 * along, so both wait for the end of the read. */
	if (!b->is_taking)
		broker_settle(b);
	return 0;
}

/* They mostly come in the order of the packets. */
static void session_published(void *owner, int packet_id, unsigned reason_code)
{
	struct fg_broker_client *b = owner;
	uint64_t tag;
	size_t i = 0;

	while (i < b->n_outgoing && b->outgoing[i].packet_id != packet_id)
		i++;
	if (i == b->n_outgoing)
		return;
	tag = b->outgoing[i].tag;
	b->n_outgoing--;
	memmove(&b->outgoing[i], &b->outgoing[i + 1], (b->n_outgoing - i) * sizeof(b->outgoing[0]));
	if (b->with.published)
		b->with.published(b->with.arg, tag, reason_code);
}

bool fg_broker_client_is_online(const struct fg_broker_client *b)
{
	return b->state == ONLINE;
}

/* ---- the session */

static int broker_subscribe(struct fg_broker_client *b)
{
	int packet_id, r = 0;

	if (b->n_filters > 0)
		r = fg_mqtt_client_subscribe(b->client, (const char *const *)b->filters,
					     b->n_filters, b->with.config->qos, &packet_id);
	/* Answers to commands: QoS 1 whatever the telemetry has. */
	if (r == 0 && b->n_own_filters > 0)
		r = fg_mqtt_client_subscribe(b->client, (const char *const *)b->own_filters,
					     b->n_own_filters, 1, &packet_id);
	return r;
}

static void session_connected(void *owner, const struct fg_mqtt_connack *connack)
{
	struct fg_broker_client *b = owner;
	int r;

	if (b->state != CONNECTING)
		return;
	broker_enter(b, ONLINE);
	b->why[0] = 0;
	b->is_version_proven = true;
	fg_backoff_connected(&b->backoff, fg_clock_monotonic_ms());
	b->attempt_complaint.step = 0; /* a new outage is a new fact */
	fg_notice("broker %s: connected to %s:%u, MQTT %s, %s", b->with.config->name,
		  b->with.config->url.host, b->with.config->url.port,
		  b->mqtt_version == 5 ? "5" : "3.1.1",
		  connack->session_present ? "session present" : "new session");
	r = broker_subscribe(b);
	if (r < 0) {
		fg_error_log("broker %s: cannot subscribe: %s", b->with.config->name, strerror(-r));
		fg_mqtt_client_disconnect(b->client); /* or it would stay and deliver nothing */
		return;
	}
	broker_settle(b);
	if (b->with.changed)
		b->with.changed(b->with.arg, b, true);
}

static void session_subscribed(void *owner, int packet_id, unsigned reason_code)
{
	struct fg_broker_client *b = owner;

	(void)packet_id;
	if (reason_code >= 0x80)
		fg_error_log(
			"broker %s: it refused a subscription (0x%02x): check its access rules; "
			"messages under that filter do not arrive",
			b->with.config->name, reason_code);
}

static bool is_credential_fault(unsigned mqtt_version, const struct fg_mqtt_end *end)
{
	if (end->kind != FG_MQTT_END_REFUSED)
		return false;
	if (mqtt_version == 5)
		return end->reason_code >= 0x85 && end->reason_code <= 0x87;
	return end->reason_code == 2 || end->reason_code == 4 || end->reason_code == 5;
}

static void session_ended(void *owner, const struct fg_mqtt_end *end)
{
	struct fg_broker_client *b = owner;
	int64_t now_ms = fg_clock_monotonic_ms();
	bool is_refused_version = end->kind == FG_MQTT_END_REFUSED &&
				  (end->reason_code == 0x84 || end->reason_code == 1);
	bool is_fault = is_credential_fault(b->mqtt_version, end);
	bool was_online = b->state == ONLINE;
	int64_t delay_ms;

	b->client = fg_mqtt_client_free(b->client);
	b->n_outgoing = 0;
	/* Its PUBACKs went with the session; the broker sends those messages again. */
	b->pending_ticket = 0;
	if (b->state == STOPPING) {
		broker_stopped(b);
		return;
	}
	broker_enter(b, BACKOFF);
	if (was_online && b->with.changed)
		b->with.changed(b->with.arg, b, false);
	if (b->with.config->mqtt_version == FG_MQTT_AUTO) {
		if (is_refused_version && b->mqtt_version == 5) {
			fg_notice("broker %s: it does not speak MQTT 5, using 3.1.1",
				  b->with.config->name);
			b->mqtt_version = 4;
			broker_connect(b);
			return;
		}
		if (!b->is_version_proven &&
		    (end->kind == FG_MQTT_END_SILENT || end->kind == FG_MQTT_END_PROTOCOL))
			b->mqtt_version = b->mqtt_version == 5 ? 4 : 5;
	}
	delay_ms = fg_backoff_next(
		&b->backoff, is_fault ? FG_BACKOFF_CREDENTIALS : FG_BACKOFF_TRANSIENT, now_ms);
	fg_complain(
		&b->attempt_complaint, now_ms, is_fault ? LOG_ERR : LOG_WARNING,
		is_fault
			? "broker %s: %s; check its user name and password, trying again in %lld ms"
			: "broker %s: %s; reconnecting in %lld ms",
		b->with.config->name, end->text, (long long)delay_ms);
	memcpy(b->why, end->text, sizeof(b->why));
	b->retry_at_ms = now_ms + delay_ms;
	ev_timer_set(&b->wait, (double)delay_ms / 1000., 0.);
	ev_timer_start(b->with.loop, &b->wait);
}

static const struct fg_mqtt_ops session_ops = {
	.connected = session_connected,
	.message = session_message,
	.published = session_published,
	.subscribed = session_subscribed,
	.may_read = session_may_read,
	.after_read = session_after_read,
	.ended = session_ended,
};

static void broker_connect(struct fg_broker_client *b)
{
	const struct fg_broker_config *config = b->with.config;
	struct fg_mqtt_params params = {
		.host = config->url.host,
		.port = config->url.port,
		.tls = b->tls,
		.mqtt_version = b->mqtt_version,
		.client_id = config->client_id,
		.username = config->username,
		.password = config->password,
		.clean_start = false,
		.keep_alive_s = config->keep_alive_s,
		.session_expiry_s = config->session_expiry_s,
		.receive_maximum = config->receive_maximum,
		.max_packet_bytes = MAX_PACKET_BYTES,
		.holds_writes = true,
		.is_deaf_to_itself = true, /* or a command could come back as a message */
		.connack_timeout_s = CONNACK_TIMEOUT_S,
	};
	int r;

	broker_enter(b, CONNECTING);
	r = fg_mqtt_client_new(b->with.loop, b->with.connector, &params, &session_ops, b,
			       &b->client);
	if (r < 0) {
		struct fg_mqtt_end end = {.kind = FG_MQTT_END_UNREACHABLE};

		snprintf(end.text, sizeof(end.text), "%s", strerror(-r));
		session_ended(b, &end);
	}
}

static void broker_waited(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	broker_connect(w->data);
}

/* ---- life */

/* Shared subscriptions (MQTT 5, 4.8.2): several gateways divide the messages. */
static int add_filter(char ***filters, size_t *n, const char *share, const char *filter)
{
	char **more = realloc(*filters, (*n + 1) * sizeof(char *));
	int r;

	if (!more)
		return -ENOMEM;
	*filters = more;
	r = share ? asprintf(&more[*n], "$share/%s/%s", share, filter)
		  : asprintf(&more[*n], "%s", filter);
	if (r < 0)
		return -ENOMEM;
	++*n;
	return 0;
}

static int make_filters(struct fg_broker_client *b)
{
	const struct fg_command_filter *answers;
	const struct fg_images_filter *reports;
	const char *const *filters;
	size_t n = fg_mapping_filters(b->with.mapping, &filters);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_filter(&b->filters, &b->n_filters, b->with.config->share, filters[i]);
	n = b->with.command_map ? fg_command_map_filters(b->with.command_map, &answers) : 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!answers[i].broker || strcmp(answers[i].broker, b->with.config->name) == 0)
			r = add_filter(&b->own_filters, &b->n_own_filters, NULL, answers[i].filter);
	n = b->with.images ? fg_images_filters(b->with.images, &reports) : 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!reports[i].broker || strcmp(reports[i].broker, b->with.config->name) == 0)
			r = add_filter(&b->own_filters, &b->n_own_filters, NULL, reports[i].filter);
	return r;
}

static void free_filters(char **filters, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(filters[i]);
	free(filters);
}

int fg_broker_client_check(const struct fg_broker_config *config, struct fg_error *err)
{
	struct fg_tls *tls = NULL;
	int r = fg_tls_for_url(&config->tls, &config->url, &tls, err);

	fg_tls_free(tls);
	return r;
}

static void broker_freep(struct fg_broker_client **b)
{
	fg_broker_client_free(*b);
}

int fg_broker_client_new(const struct fg_broker_client_options *options,
			 struct fg_broker_client **ret, struct fg_error *err)
{
	FG_CLEANUP(broker_freep) struct fg_broker_client *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->with = *options;
	b->source.name = options->config->name;
	b->mqtt_version = options->config->mqtt_version == FG_MQTT_311 ? 4 : 5;
	fg_backoff_init(&b->backoff, options->seed, options->config->max_reconnect_delay_ms);
	ev_timer_init(&b->wait, broker_waited, 0., 0.);
	b->wait.data = b;
	r = fg_tls_for_url(&options->config->tls, &options->config->url, &b->tls, err);
	if (r < 0)
		return r;
	r = make_filters(b);
	if (r < 0)
		return r;
	b->outgoing = calloc(FG_BROKER_PUBLISHES_MAX, sizeof(b->outgoing[0]));
	if (!b->outgoing)
		return -ENOMEM;
	if (b->tls && fg_tls_has_expired(b->tls))
		fg_warning("broker %s: %s has expired, by the clock of this machine",
			   options->config->name, options->config->tls.certificate);
	if (options->config->tls.is_insecure)
		fg_warning("broker %s: `insecure: true`: the broker's certificate is not verified",
			   options->config->name);

	*ret = b; /* the caller owns it now */
	b = NULL;
	return 0;
}

struct fg_broker_client *fg_broker_client_free(struct fg_broker_client *b)
{
	if (!b)
		return NULL;
	ev_timer_stop(b->with.loop, &b->wait);
	fg_mqtt_client_free(b->client);
	free_filters(b->filters, b->n_filters);
	free_filters(b->own_filters, b->n_own_filters);
	free(b->outgoing);
	fg_tls_free(b->tls);
	free(b);
	return NULL;
}

void fg_broker_client_start(struct fg_broker_client *b)
{
	if (b->state == STOPPED)
		broker_connect(b);
}

void fg_broker_client_stop(struct fg_broker_client *b, void (*stopped)(void *arg), void *arg)
{
	b->stopped = stopped;
	b->stopped_arg = arg;
	if (b->state == STOPPING)
		return;
	if (b->state != ONLINE) {
		broker_stopped(b);
		return;
	}
	broker_enter(b, STOPPING);
	broker_settle(b);
}

const char *fg_broker_client_name(const struct fg_broker_client *b)
{
	return b->with.config->name;
}

void fg_broker_client_get_stats(const struct fg_broker_client *b,
				struct fg_broker_client_stats *ret)
{
	int64_t now_ms = fg_clock_monotonic_ms();
	bool is_waiting = b->state == BACKOFF && b->retry_at_ms > now_ms;

	*ret = (struct fg_broker_client_stats){
		.is_online = b->state == ONLINE,
		.why = b->why[0] ? b->why : NULL,
		.retry_ms = is_waiting ? b->retry_at_ms - now_ms : 0,
		.received = b->source.received,
		.messages = b->source.messages,
		.answers = b->source.answers,
		.quarantined = b->source.quarantined,
		.unmapped = b->source.unmapped,
		.published = b->n_published,
	};
}
