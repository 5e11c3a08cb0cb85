/*
 * Five hundred sessions, one after the other, ended in all the ways there are: for valgrind, which
 * looks for what they leave behind. Exits with 0 when each went as it should.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs.h"
#include "net/mqtt_client.h"
#include "server.h"

#define N_CYCLES 500
#define N_TLS 25

enum way {
	ENDS_ITSELF,
	ENDED_BY_PEER,
	REFUSED,
	FREED_IN_CONNECTED,
	FREED_WHILE_CONNECTING,
	FREED_WITH_PUBLISHES,
	N_WAYS,
};

static struct ev_loop *loop;
static struct fg_mqtt_client *client;
static _Atomic enum way way; /* read by the server too */
static unsigned n_ended;

static int publish(struct fg_mqtt_client *c, const char *topic, struct fg_span payload,
		   unsigned qos, int *ret_packet_id)
{
	struct fg_mqtt_publish p = {.topic = topic, .payload = payload, .qos = qos};

	return fg_mqtt_client_publish(c, &p, ret_packet_id);
}

static void cycle_connected(void *owner, const struct fg_mqtt_connack *connack)
{
	int id;

	(void)owner;
	(void)connack;
	for (int i = 0; i < 3; i++)
		publish(client, "t/1", fg_span_str("payload"), 1, &id);
	if (way == ENDS_ITSELF)
		fg_mqtt_client_disconnect(client);
	if (way == FREED_IN_CONNECTED || way == FREED_WITH_PUBLISHES) {
		client = fg_mqtt_client_free(client);
		ev_break(loop, EVBREAK_ALL);
	}
}

static void cycle_ended(void *owner, const struct fg_mqtt_end *end)
{
	(void)owner;
	(void)end;
	n_ended++;
	client = fg_mqtt_client_free(client);
	ev_break(loop, EVBREAK_ALL);
}

static const struct fg_mqtt_ops ops = {.connected = cycle_connected, .ended = cycle_ended};

static void serves_one(struct peer *p)
{
	uint8_t packet[256];
	bool is_v5 = p->nth % 2;

	if (way == FREED_WHILE_CONNECTING || peer_read_packet(p, packet, sizeof(packet)) == 0)
		return;
	if (way == REFUSED && is_v5)
		PEER_SAYS(p, 0x20, 3, 0, 0x87, 0);
	else if (way == REFUSED)
		PEER_SAYS(p, 0x20, 2, 0, 5);
	else if (is_v5)
		PEER_SAYS(p, 0x20, 6, 0, 0, 3, 0x21, 0, 10);
	else
		PEER_SAYS(p, 0x20, 2, 0, 0);
	if (way == ENDED_BY_PEER)
		PEER_SAYS(p, 0x30, 5, 0, 3, 'a', '/', 'b');
	else if (way != REFUSED)
		while (peer_read_packet(p, packet, sizeof(packet)) > 0)
			;
}

/* Run until @n jobs of the connector and all that follows from them are done. */
static int run_cycles(struct fg_connector *connector, const struct server_options *options,
		      struct fg_tls *tls, unsigned n)
{
	struct server *s = server_start(options);

	for (unsigned i = 0; i < n; i++) {
		struct fg_mqtt_params params = {
			.host = tls ? "localhost" : "127.0.0.1",
			.port = server_port(s),
			.tls = tls,
			.mqtt_version = i % 2 ? 5 : 4,
			.client_id = "gateway",
			.username = "user",
			.password = "password",
			.keep_alive_s = 60,
			.connack_timeout_s = 30,
			.session_expiry_s = 60,
			.receive_maximum = 100,
			.holds_writes = way != ENDS_ITSELF && i % 3 == 0,
		};

		way = (enum way)(i / 2 % N_WAYS);
		if (fg_mqtt_client_new(loop, connector, &params, &ops, NULL, &client) < 0)
			return 1;
		if (way == FREED_WHILE_CONNECTING) {
			client = fg_mqtt_client_free(client);
			ev_run(loop, EVRUN_ONCE); /* until the thread has reported */
		} else {
			ev_run(loop, 0);
		}
	}
	server_join(s);
	return 0;
}

/* Nothing keeps the loop alive while a thread is at work for a client that was freed. */
static void keep_awake(struct ev_loop *l, ev_timer *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
}

int main(void)
{
	struct certs certs;
	struct fg_connector *connector;
	struct fg_tls_params params = {.host = "localhost"};
	struct server_options plain = {.script = serves_one, .n_connections = N_CYCLES};
	struct server_options secure = {.script = serves_one, .n_connections = N_TLS};
	struct fg_tls *tls;
	ev_timer timer;
	int r;

	signal(SIGPIPE, SIG_IGN);
	mosquitto_lib_init();
	certs_make(&certs);
	params.ca = certs_path(&certs, "ca.pem");
	params.certificate = certs_path(&certs, "client.pem");
	params.key = certs_path(&certs, "client.key");
	secure.certificate = certs_path(&certs, "server.pem");
	secure.key = certs_path(&certs, "server.key");
	loop = ev_loop_new(EVFLAG_AUTO);
	ev_timer_init(&timer, keep_awake, 0.05, 0.05);
	ev_timer_start(loop, &timer);
	if (fg_connector_new(loop, &connector) < 0 || fg_tls_new(&params, &tls, NULL) < 0)
		return 1;
	r = run_cycles(connector, &plain, NULL, N_CYCLES);
	if (r == 0)
		r = run_cycles(connector, &secure, tls, N_TLS);
	for (int i = 0; i < 10; i++)
		ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &timer);
	fg_connector_free(connector);
	fg_tls_free(tls);
	ev_loop_destroy(loop);
	certs_remove(&certs);
	mosquitto_lib_cleanup();
	printf("%u sessions ended\n", n_ended);
	return r;
}
