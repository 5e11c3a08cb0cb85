#include <arpa/inet.h>
#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "certs.h"
#include "net/mqtt_client.h"
#include "server.h"

#define PATIENCE_S 8.

/* Where the owner lets go of its client. */
enum moment {
	NEVER,
	IN_CONNECTED,
	IN_MESSAGE,
	IN_PUBLISHED,
	IN_SUBSCRIBED,
	IN_MAY_READ,
	IN_AFTER_READ,
	IN_ENDED,
};

static int publish(struct fg_mqtt_client *c, const char *topic, struct fg_span payload,
		   unsigned qos, int *ret_packet_id)
{
	struct fg_mqtt_publish p = {.topic = topic, .payload = payload, .qos = qos};

	return fg_mqtt_client_publish(c, &p, ret_packet_id);
}

struct owner {
	struct fg_mqtt_client *client;
	enum moment frees;
	bool disconnects_in_published, publishes_in_published, flushes_in_message;
	bool subscribes, reads_nothing, holds;
	unsigned publishes; /* in connected() */
	unsigned publish_qos;
	unsigned n_connected, n_messages, n_published, n_subscribed, n_after_read, n_ended;
	unsigned last_code;
	int last_packet_id;
	struct fg_mqtt_connack connack;
	struct fg_mqtt_end end;
	char topic[64], response_topic[64], correlation[64];
	bool (*is_enough)(const struct owner *o); /* the loop stops then; NULL: at the end */
	bool gave_up;
};

static struct ev_loop *loop;
static struct fg_connector *connector;
static struct certs certs;
static struct owner owner;
static struct fg_mqtt_params params;
static unsigned n_turns;

#define PATH(name) certs_path(&certs, name)

/* ---- the owner */

static void let_go(struct owner *o, enum moment now)
{
	if (o->frees == now)
		o->client = fg_mqtt_client_free(o->client);
	if (!o->client || (o->is_enough && o->is_enough(o)))
		ev_break(loop, EVBREAK_ALL);
}

static void owner_connected(void *arg, const struct fg_mqtt_connack *connack)
{
	static const char *const filters[] = {"a/+", "b/#"};
	struct owner *o = arg;
	int id;

	o->n_connected++;
	o->connack = *connack;
	if (o->subscribes)
		assert_int_equal(fg_mqtt_client_subscribe(o->client, filters, 2, 1, &id), 0);
	for (unsigned i = 0; i < o->publishes; i++)
		assert_int_equal(
			publish(o->client, "t/1", fg_span_str("hello"), o->publish_qos, &id), 0);
	let_go(o, IN_CONNECTED);
}

static void owner_message(void *arg, const struct fg_mqtt_message *message)
{
	struct owner *o = arg;

	o->n_messages++;
	snprintf(o->topic, sizeof(o->topic), "%s", message->topic);
	snprintf(o->response_topic, sizeof(o->response_topic), "%s",
		 message->response_topic ? message->response_topic : "none");
	snprintf(o->correlation, sizeof(o->correlation), "%.*s", (int)message->correlation.size,
		 message->correlation.data);
	if (o->flushes_in_message)
		fg_mqtt_client_flush(o->client);
	if (o->holds)
		fg_mqtt_client_hold(o->client);
	let_go(o, IN_MESSAGE);
}

static void owner_published(void *arg, int packet_id, unsigned code)
{
	struct owner *o = arg;
	int id;

	o->n_published++;
	o->last_packet_id = packet_id;
	o->last_code = code;
	if (o->publishes_in_published)
		publish(o->client, "t/again", fg_span_str("x"), o->publish_qos, &id);
	if (o->disconnects_in_published)
		fg_mqtt_client_disconnect(o->client);
	let_go(o, IN_PUBLISHED);
}

static void owner_subscribed(void *arg, int packet_id, unsigned code)
{
	struct owner *o = arg;

	o->n_subscribed++;
	o->last_packet_id = packet_id;
	o->last_code = code;
	let_go(o, IN_SUBSCRIBED);
}

static bool owner_may_read(void *arg)
{
	struct owner *o = arg;

	if (o->frees == IN_MAY_READ)
		let_go(o, IN_MAY_READ);
	return !o->reads_nothing;
}

static void owner_after_read(void *arg)
{
	struct owner *o = arg;

	o->n_after_read++;
	if (o->n_connected)
		let_go(o, IN_AFTER_READ);
}

static void owner_ended(void *arg, const struct fg_mqtt_end *end)
{
	struct owner *o = arg;

	o->n_ended++;
	o->end = *end;
	let_go(o, IN_ENDED);
	ev_break(loop, EVBREAK_ALL);
}

static const struct fg_mqtt_ops ops = {
	.connected = owner_connected,
	.message = owner_message,
	.published = owner_published,
	.subscribed = owner_subscribed,
	.may_read = owner_may_read,
	.after_read = owner_after_read,
	.ended = owner_ended,
};

/* ---- the frame */

static int setup(void **state)
{
	(void)state;
	loop = ev_loop_new(EVFLAG_AUTO);
	assert_int_equal(fg_connector_new(loop, &connector), 0);
	memset(&owner, 0, sizeof(owner));
	params = (struct fg_mqtt_params){
		.host = "127.0.0.1",
		.mqtt_version = 4,
		.client_id = "gw",
		.clean_start = true,
		.keep_alive_s = 60,
		.connack_timeout_s = 30,
	};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fg_mqtt_client_free(owner.client);
	/* A job may still be at work; its client is released when it is done. */
	for (int i = 0; i < 200 && owner.gave_up; i++) {
		ev_run(loop, EVRUN_NOWAIT);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	fg_connector_free(connector);
	ev_loop_destroy(loop);
	return 0;
}

static void ran_out(struct ev_loop *l, ev_timer *w, int events)
{
	(void)w;
	(void)events;
	owner.gave_up = true;
	ev_break(l, EVBREAK_ALL);
}

static void count_turn(struct ev_loop *l, ev_prepare *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	n_turns++;
}

static void run(double limit_s)
{
	ev_prepare prepare;
	ev_timer timer;

	n_turns = 0;
	ev_prepare_init(&prepare, count_turn);
	ev_prepare_start(loop, &prepare);
	ev_timer_init(&timer, ran_out, limit_s, 0.);
	ev_now_update(loop);
	ev_timer_start(loop, &timer);
	ev_run(loop, 0);
	ev_timer_stop(loop, &timer);
	ev_prepare_stop(loop, &prepare);
}

static void start(struct server *s)
{
	if (s)
		params.port = server_port(s);
	assert_int_equal(fg_mqtt_client_new(loop, connector, &params, &ops, &owner, &owner.client),
			 0);
}

/* Against @script until the session ends (or is_enough). */
static void against(server_script script, void *arg)
{
	struct server *s = server_start(&(struct server_options){.script = script, .arg = arg});
	const char *failure;

	start(s);
	run(PATIENCE_S);
	if (owner.is_enough)
		owner.client = fg_mqtt_client_free(owner.client);
	failure = server_join(s);
	if (failure)
		fail_msg("server: %s", failure);
	if (owner.gave_up)
		fail_msg("nothing happened for %g s", PATIENCE_S);
}

static void ended_as(enum fg_mqtt_end_kind kind, bool was_connected, const char *text)
{
	assert_int_equal(owner.n_ended, 1);
	if (owner.end.kind != kind || owner.end.was_connected != was_connected ||
	    !strstr(owner.end.text, text))
		fail_msg("ended with kind %d, connected %d: \"%s\"; expected %d, %d, \"%s\"",
			 owner.end.kind, owner.end.was_connected, owner.end.text, kind,
			 was_connected, text);
}

/* ---- CONNECT */

static void compare(struct peer *p, const uint8_t *got, size_t n, const void *want, size_t size)
{
	if (n != size || memcmp(got, want, size) != 0) {
		char hex[160] = "";

		for (size_t i = 0; i < n && i < 50; i++)
			snprintf(hex + 3 * i, sizeof(hex) - 3 * i, "%02x ", got[i]);
		peer_fail(p, "the packet is %s", hex);
	}
}

static void says_connect_4(struct peer *p)
{
	static const uint8_t want[] = {0x10, 30, 0,   4,   'M', 'Q', 'T', 'T', 4,   0xc2, 0,
				       60,   0,  2,   'g', 'w', 0,   4,   'u', 's', 'e',  'r',
				       0,    8,  'p', 'a', 's', 's', 'w', 'o', 'r', 'd'};
	uint8_t got[256];
	size_t n = peer_expect(p, 0x10, got, sizeof(got));

	compare(p, got, n, want, sizeof(want));
	PEER_SAYS(p, 0x20, 2, 0, 5);
	peer_expect_end(p);
}

static void connect_of_3_1_1_carries_what_was_given(void **state)
{
	(void)state;
	params.username = "user";
	params.password = "password";
	against(says_connect_4, NULL);
	ended_as(FG_MQTT_END_REFUSED, false, "not authorised");
	assert_int_equal(owner.end.reason_code, 5);
}

static void says_connect_5(struct peer *p)
{
	static const uint8_t want[] = {
		0x10, 28,   0,   4,  'M',  'Q', 'T', 'T', 5,    0x00, 0, 60, /* no clean start */
		13,   0x21, 0,   7,  0x11, 0,   0,   1,   0x00, 0x27, 0, 1,
		0,    0, /* Receive Maximum 7, Session Expiry 256, Maximum Packet Size 65536 */
		0,    2,    'g', 'w'};
	uint8_t got[256];
	size_t n = peer_expect(p, 0x10, got, sizeof(got));

	compare(p, got, n, want, sizeof(want));
	PEER_SAYS(p, 0x20, 3, 0, 0x86, 0);
	peer_expect_end(p);
}

static void connect_of_5_carries_its_properties(void **state)
{
	(void)state;
	params.mqtt_version = 5;
	params.clean_start = false;
	params.receive_maximum = 7;
	params.session_expiry_s = 256;
	params.max_packet_bytes = 65536;
	against(says_connect_5, NULL);
	ended_as(FG_MQTT_END_REFUSED, false, "bad user name or password");
	assert_int_equal(owner.end.reason_code, 0x86);
}

static void accepts_5_with_limits(struct peer *p)
{
	peer_expect(p, 0x10, NULL, 0);
	PEER_SAYS(p, 0x20, 11, 1, 0, 8, 0x21, 0, 9, 0x27, 0, 0, 4, 0);
	peer_expect(p, 0xe0, NULL, 0);
	peer_expect_end(p);
}

static bool is_connected(const struct owner *o)
{
	return o->n_connected > 0;
}

static void connacks_limits_are_told_and_disconnect_is_sent(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = accepts_5_with_limits});
	char big[2000];
	int id;

	(void)state;
	memset(big, 'x', sizeof(big));
	params.mqtt_version = 5;
	start(s);
	owner.is_enough = is_connected;
	run(PATIENCE_S);
	assert_true(owner.connack.session_present);
	assert_int_equal(owner.connack.receive_maximum, 9);
	assert_int_equal(owner.connack.max_packet_bytes, 1024);
	assert_int_equal(publish(owner.client, "t", fg_span_of(big, sizeof(big)), 1, &id),
			 -EMSGSIZE);
	assert_int_equal(publish(owner.client, "t/#", fg_span_str("x"), 1, &id), -EINVAL);
	assert_int_equal(publish(owner.client, "", fg_span_str("x"), 1, &id), -EINVAL);
	owner.is_enough = NULL;
	fg_mqtt_client_disconnect(owner.client);
	run(PATIENCE_S);
	ended_as(FG_MQTT_END_OWN, true, "");
	assert_null(server_join(s));
}

static void accepts_with_receive_maximum_0(struct peer *p)
{
	peer_expect(p, 0x10, NULL, 0);
	PEER_SAYS(p, 0x20, 6, 0, 0, 3, 0x21, 0, 0);
	peer_expect_end(p);
}

static void a_receive_maximum_of_zero_breaks_the_protocol(void **state)
{
	(void)state;
	params.mqtt_version = 5;
	against(accepts_with_receive_maximum_0, NULL);
	assert_int_equal(owner.n_connected, 0);
	ended_as(FG_MQTT_END_PROTOCOL, false, "");
}

static void closes_after_connect(struct peer *p)
{
	peer_expect(p, 0x10, NULL, 0);
}

static void an_end_before_connack_is_silence(void **state)
{
	(void)state;
	against(closes_after_connect, NULL);
	ended_as(FG_MQTT_END_SILENT, false,
		 "closed before CONNACK; does it expect TLS (mqtts://)?");
}

static void refuses_as_old_server(struct peer *p)
{
	peer_expect(p, 0x10, NULL, 0);
	PEER_SAYS(p, 0x20, 2, 0, 1);
	peer_expect_end(p);
}

static void an_old_server_refuses_version_5_with_code_1(void **state)
{
	(void)state;
	params.mqtt_version = 5;
	against(refuses_as_old_server, NULL);
	assert_int_equal(owner.end.kind, FG_MQTT_END_REFUSED);
	assert_true(owner.end.reason_code == 0x84 || owner.end.reason_code == 1);
}

static void says_nothing(struct peer *p)
{
	peer_expect(p, 0x10, NULL, 0);
	peer_expect_end(p);
}

static void connack_is_not_waited_for_longer_than_allowed(void **state)
{
	(void)state;
	params.connack_timeout_s = 1;
	owner.frees = IN_ENDED;
	against(says_nothing, NULL);
	ended_as(FG_MQTT_END_SILENT, false, "no CONNACK for 1 s");
	assert_true(n_turns < 100);
}

/* ---- bytes that make no sense */

struct bytes {
	const void *data;
	size_t size;
	bool is_in_session;
};

static void says_bytes(struct peer *p)
{
	const struct bytes *bytes = p->arg;

	peer_expect(p, 0x10, NULL, 0);
	if (bytes->is_in_session)
		PEER_SAYS(p, 0x20, 2, 0, 0);
	peer_write(p, bytes->data, bytes->size);
	shutdown(p->fd, SHUT_WR);
}

static void garbage_ends_the_session_and_nothing_else(void **state)
{
	static const struct bytes all[] = {
		{"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 47, false},
		{"\0\0\0\0\0\0\0\0", 8, false},
		{"\xff\xff\xff\xff\xff\xff", 6, false},
		{"\x30\x80\x80\x80\x80\x80", 6, true},
		{"\x20\x01", 2, false},                 /* CONNACK without an end */
		{"\x20\x00", 2, false},                 /* empty */
		{"\x30\x05\x00\x01t123", 8, false},     /* PUBLISH before CONNACK */
		{"\x40\x02\x00\x01", 4, false},         /* PUBACK before CONNACK */
		{"\x90\x03\x00\x01\x00", 5, false},     /* SUBACK before CONNACK */
		{"\x32\x05\x00\x01t\x00\x00", 7, true}, /* packet id 0 */
		{"\x32\x03\x00\x01t", 5, true},         /* no packet id */
		{"\x30\x04\x00\x02t\x00", 6, true},     /* NUL in a topic name */
		{"\x30\x04\x00\x02\xff\xfe", 6, true},  /* not UTF-8 */
		{"\x36\x05\x00\x01t\x00\x01", 7, true}, /* QoS 3 */
		{"\x40\x01\x00", 3, true},              /* half a packet id */
		{"\x90\x02\x00\x01", 4, true},          /* SUBACK without a code */
		{"\xe0\x00", 2, true},                  /* DISCONNECT, from a server, in 3.1.1 */
		{"\xf0\x00", 2, true},
		{"\x10\x00", 2, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct bytes copy = all[i];

		memset(&owner, 0, sizeof(owner));
		against(says_bytes, &copy);
		assert_int_equal(owner.n_ended, 1);
		assert_int_equal(owner.n_messages, 0);
		assert_true(n_turns < 1000);
		owner.client = fg_mqtt_client_free(owner.client);
	}
}

static void a_server_of_another_protocol_is_called_that(void **state)
{
	static const char page[] =
		"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 0\r\n"
		"Connection: close\r\nContent-Type: text/html\r\n\r\n";
	struct bytes http = {page, sizeof(page) - 1, false};

	(void)state;
	against(says_bytes, &http);
	ended_as(FG_MQTT_END_PROTOCOL, false, "the answer is no sound MQTT; is the port right?");
}

static void says_one_byte_at_a_time(struct peer *p)
{
	static const uint8_t bytes[] = {0x20, 2,   0,    0, 0x32, 9, 0,   3,   'a',  '/', 'b', 0, 5,
					'h',  'i', 0x30, 4, 0,    2, 'q', '0', 0x40, 2,   0,   1};

	peer_expect(p, 0x10, NULL, 0);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		peer_write(p, bytes + i, 1);
		nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
	}
	peer_expect(p, 0x40, NULL, 0);
}

static void half_packets_are_put_together(void **state)
{
	(void)state;
	against(says_one_byte_at_a_time, NULL);
	assert_int_equal(owner.n_connected, 1);
	assert_int_equal(owner.n_messages, 2);
	ended_as(FG_MQTT_END_LOST, true, "");
	assert_true(n_turns < 300);
}

/* ---- publishing */

static void acks_two(struct peer *p)
{
	uint8_t packet[256];

	if (!peer_accept_connect(p, true))
		return;
	peer_expect(p, 0x32, packet, sizeof(packet));
	if (memcmp(packet + 2, "\0\3t/1", 5) != 0)
		peer_fail(p, "not the topic that was published");
	peer_expect(p, 0x32, packet, sizeof(packet));
	PEER_SAYS(p, 0x40, 3, 0, 1, 0x97, 0x40, 2, 0, 2, 0x40, 2, 0, 2, 0x40, 2, 0x12, 0x34);
	peer_wait(p);
}

static bool are_two_acked(const struct owner *o)
{
	return o->n_published >= 2;
}

static void pubacks_are_told_with_their_reason(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = acks_two});

	(void)state;
	params.mqtt_version = 5;
	owner.publishes = 2;
	owner.publish_qos = 1;
	owner.is_enough = are_two_acked;
	start(s);
	run(PATIENCE_S);
	assert_int_equal(owner.last_packet_id, 2);
	owner.is_enough = NULL;
	server_go(s);
	run(PATIENCE_S);
	assert_int_equal(owner.n_published, 2); /* the surplus ones were nobody's */
	ended_as(FG_MQTT_END_LOST, true, "");
	assert_null(server_join(s));
}

static void disconnects_5(struct peer *p)
{
	peer_accept_connect(p, true);
	PEER_SAYS(p, 0xe0, 1, *(const uint8_t *)p->arg);
	peer_expect_end(p);
}

static void disconnects_5_without_a_code(struct peer *p)
{
	peer_accept_connect(p, true);
	PEER_SAYS(p, 0xe0, 2, 0, 0);
	peer_expect_end(p);
}

static void disconnect_of_5_is_told_with_its_reason(void **state)
{
	static uint8_t codes[] = {0x8e, 0x81, 0x97};

	(void)state;
	params.mqtt_version = 5;
	for (size_t i = 0; i < sizeof(codes); i++) {
		memset(&owner, 0, sizeof(owner));
		against(disconnects_5, &codes[i]);
		ended_as(FG_MQTT_END_DISCONNECT, true, fg_mqtt_reason_text(codes[i]));
		assert_int_equal(owner.end.reason_code, codes[i]);
		owner.client = fg_mqtt_client_free(owner.client);
	}
}

static void a_normal_disconnect_by_the_peer_is_one_too(void **state)
{
	(void)state;
	params.mqtt_version = 5;
	against(disconnects_5_without_a_code, NULL);
	ended_as(FG_MQTT_END_DISCONNECT, true, "");
	assert_int_equal(owner.end.reason_code, 0);
}

static void resets_while_publishing(struct peer *p)
{
	struct linger now = {.l_onoff = 1};

	peer_accept_connect(p, false);
	peer_expect(p, 0x32, NULL, 0);
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void a_reset_while_publishing_ends_the_session_once(void **state)
{
	int id;

	(void)state;
	owner.publishes = 100;
	owner.publish_qos = 1;
	against(resets_while_publishing, NULL);
	ended_as(FG_MQTT_END_LOST, true, "");
	assert_int_equal(publish(owner.client, "t", fg_span_str("x"), 1, &id), -ENOTCONN);
	fg_mqtt_client_flush(owner.client);
	fg_mqtt_client_resume(owner.client);
	fg_mqtt_client_disconnect(owner.client);
}

static void reads_slowly(struct peer *p)
{
	static uint8_t buffer[300 * 1024];

	peer_accept_connect(p, false);
	peer_wait(p);
	for (int i = 0; i < 40; i++)
		if (peer_read_packet(p, buffer, sizeof(buffer)) == 0)
			return;
	peer_expect(p, 0xe0, NULL, 0);
	peer_expect_end(p);
}

static void what_the_socket_does_not_take_is_written_later(void **state)
{
	static char big[256 * 1024];
	struct server *s = server_start(&(struct server_options){.script = reads_slowly});
	int id;

	(void)state;
	owner.is_enough = is_connected;
	start(s);
	run(PATIENCE_S);
	owner.is_enough = NULL;
	for (int i = 0; i < 40; i++)
		assert_int_equal(publish(owner.client, "t", fg_span_of(big, sizeof(big)), 1, &id),
				 0);
	fg_mqtt_client_disconnect(owner.client);
	run(0.2); /* it waits for the socket and does not spin */
	assert_true(n_turns < 50);
	owner.gave_up = false;
	server_go(s);
	run(PATIENCE_S);
	ended_as(FG_MQTT_END_OWN, true, "");
	assert_null(server_join(s));
}

static void acks_then_expects_disconnect(struct peer *p)
{
	bool is_qos_0 = p->arg != NULL;

	peer_accept_connect(p, false);
	peer_expect(p, is_qos_0 ? 0x30 : 0x32, NULL, 0);
	if (!is_qos_0)
		PEER_SAYS(p, 0x40, 2, 0, 1);
	peer_expect(p, 0xe0, NULL, 0);
	peer_expect_end(p);
}

static void an_owner_may_disconnect_when_the_last_puback_comes(void **state)
{
	(void)state;
	owner.publishes = 1;
	owner.publish_qos = 1;
	owner.disconnects_in_published = true;
	against(acks_then_expects_disconnect, NULL);
	ended_as(FG_MQTT_END_OWN, true, "");
}

static void an_owner_may_disconnect_when_a_qos_0_publish_is_written(void **state)
{
	(void)state;
	owner.publishes = 1;
	owner.disconnects_in_published = true;
	against(acks_then_expects_disconnect, "QoS 0");
	ended_as(FG_MQTT_END_OWN, true, "");
}

static void accepts_and_drains(struct peer *p)
{
	uint8_t packet[256];

	peer_accept_connect(p, false);
	while (recv(p->fd, packet, sizeof(packet), 0) > 0)
		;
}

static void an_owner_may_free_while_its_own_publish_is_written(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = accepts_and_drains});
	int id = 0;

	(void)state;
	owner.is_enough = is_connected;
	start(s);
	run(PATIENCE_S);
	owner.frees = IN_PUBLISHED;
	/* At QoS 0 libmosquitto calls back while it writes, inside of our call. */
	publish(owner.client, "t", fg_span_str("x"), 0, &id);
	assert_int_equal(owner.n_published, 1);
	assert_null(owner.client);
	assert_null(server_join(s));
}

static void an_owner_may_disconnect_while_its_own_publish_is_written(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = accepts_and_drains});
	int id = 0;

	(void)state;
	owner.is_enough = is_connected;
	start(s);
	run(PATIENCE_S);
	owner.is_enough = NULL;
	owner.disconnects_in_published = true;
	publish(owner.client, "t", fg_span_str("x"), 0, &id);
	assert_int_equal(owner.n_ended, 0); /* told from the loop, not from inside the call */
	run(PATIENCE_S);
	ended_as(FG_MQTT_END_OWN, true, "");
	assert_null(server_join(s));
}

/* ---- freeing */

static void says_a_bit_of_everything(struct peer *p)
{
	uint8_t packet[256];

	peer_accept_connect(p, false);
	PEER_SAYS(p, 0x32, 9, 0, 3, 'a', '/', 'b', 0, 5, 'h', 'i', 0x40, 2, 0, 2, 0x90, 4, 0, 1, 1,
		  0x80, 0x30, 4, 0, 2, 'a', 'b');
	while (recv(p->fd, packet, sizeof(packet), 0) > 0)
		;
}

static void an_owner_may_free_in_every_callback(void **state)
{
	static const enum moment moments[] = {IN_CONNECTED,  IN_MESSAGE,    IN_PUBLISHED,
					      IN_SUBSCRIBED, IN_AFTER_READ, IN_MAY_READ};

	(void)state;
	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
		memset(&owner, 0, sizeof(owner));
		owner.frees = moments[i];
		owner.subscribes = true;
		owner.publishes = 1;
		owner.publish_qos = 1;
		against(says_a_bit_of_everything, NULL);
		assert_null(owner.client);
		assert_int_equal(owner.n_ended, 0);
	}
	memset(&owner, 0, sizeof(owner));
	owner.frees = IN_ENDED;
	against(closes_after_connect, NULL);
	assert_null(owner.client);
}

static void an_owner_may_free_while_the_connection_is_made(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = accepts_and_drains});

	(void)state;
	start(s);
	owner.client = fg_mqtt_client_free(owner.client);
	owner.gave_up = true; /* the job ends in teardown */
	server_join(s);
	assert_int_equal(owner.n_ended, 0);
}

static void disconnecting_before_connack_ends_at_once(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = accepts_and_drains});

	(void)state;
	start(s);
	fg_mqtt_client_disconnect(owner.client);
	run(PATIENCE_S);
	ended_as(FG_MQTT_END_OWN, false, "");
	owner.client = fg_mqtt_client_free(owner.client);
	owner.gave_up = true;
	server_join(s);
}

/* ---- nobody there */

static void a_refused_connection_is_told(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char told[64];

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0); /* bound, not listening */
	getsockname(fd, (struct sockaddr *)&address, &size);
	params.port = ntohs(address.sin_port);
	snprintf(told, sizeof(told), "127.0.0.1:%u: Connection refused", params.port);
	start(NULL);
	run(PATIENCE_S);
	close(fd);
	ended_as(FG_MQTT_END_UNREACHABLE, false, told);
}

static void a_name_that_does_not_resolve_is_told(void **state)
{
	(void)state;
	params.host = "no-such-host.invalid";
	params.port = 1883;
	start(NULL);
	run(PATIENCE_S);
	ended_as(FG_MQTT_END_UNREACHABLE, false, "no-such-host.invalid");
}

static void parameters_libmosquitto_does_not_take_are_refused(void **state)
{
	struct fg_mqtt_client *client = NULL;

	(void)state;
	params.client_id = "\xff\xfe";
	assert_int_equal(fg_mqtt_client_new(loop, connector, &params, &ops, &owner, &client),
			 -EINVAL);
	assert_null(client);
	assert_null(fg_mqtt_client_free(NULL));
}

/* ---- subscribing */

static void expects_subscribe(struct peer *p)
{
	static const uint8_t with_5[] = {0x82, 15,   0, 1, 0,   0,   3,   'a', '/',
					 '+',  0x11, 0, 3, 'b', '/', '#', 0x11};
	static const uint8_t with_4[] = {0x82, 14, 0, 1, 0,   3,   'a', '/',
					 '+',  1,  0, 3, 'b', '/', '#', 1};
	bool is_v5 = p->arg != NULL;
	uint8_t packet[64];
	size_t n;

	peer_accept_connect(p, is_v5);
	n = peer_expect(p, 0x82, packet, sizeof(packet));
	if (is_v5)
		compare(p, packet, n, with_5, sizeof(with_5));
	else
		compare(p, packet, n, with_4, sizeof(with_4));
}

/* A broker sends its retained messages for each SUBSCRIBE, unless asked (MQTT 5, 3.8.3.1) not to.
 */
static void subscribing_again_brings_no_old_news(void **state)
{
	(void)state;
	owner.subscribes = true;
	against(expects_subscribe, NULL);
	owner.client = fg_mqtt_client_free(owner.client);
	memset(&owner, 0, sizeof(owner));
	owner.subscribes = true;
	params.mqtt_version = 5;
	against(expects_subscribe, "5");
}

static void expects_no_local(struct peer *p)
{
	static const uint8_t expected[] = {0x82, 15,   0, 1, 0,   0,   3,   'a', '/',
					   '+',  0x15, 0, 3, 'b', '/', '#', 0x15};
	uint8_t packet[64];
	size_t n;

	peer_accept_connect(p, true);
	n = peer_expect(p, 0x82, packet, sizeof(packet));
	compare(p, packet, n, expected, sizeof(expected));
}

static void who_does_not_want_to_hear_itself_says_so(void **state)
{
	(void)state;
	owner.subscribes = true;
	params.is_deaf_to_itself = true;
	params.mqtt_version = 5;
	against(expects_no_local, NULL);
	owner.client = fg_mqtt_client_free(owner.client);
	memset(&owner, 0, sizeof(owner));
	owner.subscribes = true;
	params.mqtt_version = 4; /* which has no such option */
	against(expects_subscribe, NULL);
}

/* ---- holding writes back */

static void sends_and_watches(struct peer *p)
{
	peer_accept_connect(p, false);
	for (uint8_t i = 1; i <= 5; i++)
		PEER_SAYS(p, 0x32, 7, 0, 3, 'a', '/', 'b', 0, i);
	peer_expect_silence(p, 200);
	peer_wait(p);
	/* flushed */
	for (uint8_t i = 1; i <= 5; i++) {
		uint8_t packet[16];

		if (peer_expect(p, 0x40, packet, sizeof(packet)) && packet[3] != i)
			peer_fail(p, "PUBACK of %u instead of %u", packet[3], i);
	}
}

static bool are_five_there(const struct owner *o)
{
	return o->n_messages >= 5;
}

static void no_puback_leaves_before_the_flush(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = sends_and_watches});

	(void)state;
	params.holds_writes = true;
	params.clean_start = false;
	owner.is_enough = are_five_there;
	start(s);
	run(PATIENCE_S);
	assert_int_equal(owner.n_messages, 5);
	owner.is_enough = NULL;
	run(1.5); /* a tick and other turns of the loop change nothing */
	owner.gave_up = false;
	server_go(s);
	fg_mqtt_client_flush(owner.client);
	run(PATIENCE_S);
	ended_as(FG_MQTT_END_LOST, true, "");
	assert_null(server_join(s));
}

static void a_flush_inside_a_callback_is_done_after_it(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = sends_and_watches});

	(void)state;
	/* The server sees PUBACKs at once and complains: that is what is tested here. */
	params.holds_writes = true;
	owner.flushes_in_message = true;
	start(s);
	server_go(s);
	run(PATIENCE_S);
	assert_int_equal(owner.n_messages, 5);
	assert_string_equal(server_join(s), "byte 0x40 came, nothing was due");
}

static void sends_three(struct peer *p)
{
	peer_accept_connect(p, false);
	for (uint8_t i = 1; i <= 3; i++)
		PEER_SAYS(p, 0x30, 5, 0, 3, 'a', '/', 'b');
	peer_wait(p);
}

static void nothing_is_read_while_the_owner_says_no(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = sends_three});

	(void)state;
	owner.reads_nothing = true;
	start(s);
	run(0.5);
	assert_int_equal(owner.n_connected, 1);
	assert_int_equal(owner.n_messages, 0);
	assert_true(n_turns < 50); /* and the loop sleeps meanwhile */
	owner.reads_nothing = false;
	owner.gave_up = false;
	fg_mqtt_client_resume(owner.client);
	server_go(s);
	run(PATIENCE_S);
	assert_int_equal(owner.n_messages, 3);
	ended_as(FG_MQTT_END_LOST, true, "");
	assert_null(server_join(s));
}

static void sends_until_stuck(struct peer *p)
{
	static const uint8_t message[1000] = {0x32, 0xe5, 0x07, 0, 3, 'a', '/', 'b', 0, 1};
	uint8_t puback[4];

	peer_accept_connect(p, false);
	for (int i = 0; i < 2000; i++)
		peer_write(p, message, sizeof(message));
	for (int i = 0; i < 2000; i++)
		if (!peer_read(p, puback, 4))
			return;
	peer_expect(p, 0xe0, NULL, 0);
	peer_expect_end(p);
}

static bool are_2000_there(const struct owner *o)
{
	return o->n_messages >= 2000;
}

static void disconnecting_lets_out_what_was_held_back(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = sends_until_stuck});
	const char *failure;

	(void)state;
	params.holds_writes = true;
	owner.is_enough = are_2000_there;
	start(s);
	run(PATIENCE_S);
	assert_int_equal(owner.n_messages, 2000);
	owner.is_enough = NULL;
	fg_mqtt_client_disconnect(owner.client);
	run(PATIENCE_S);
	ended_as(FG_MQTT_END_OWN, true, "");
	failure = server_join(s);
	if (failure)
		fail_msg("server: %s", failure);
}

static void sends_one_that_is_held(struct peer *p)
{
	uint8_t packet[64];

	peer_accept_connect(p, false);
	PEER_SAYS(p, 0x32, 7, 0, 3, 'a', '/', 'b', 0, 1);
	peer_expect_silence(p, 200);
	peer_wait(p);
	if (peer_expect(p, 0x40, packet, sizeof(packet)) && packet[3] != 1)
		peer_fail(p, "PUBACK of %u", packet[3]);
	peer_expect(p, 0x32, packet, sizeof(packet)); /* what was published meanwhile, behind it */
	PEER_SAYS(p, 0x32, 7, 0, 3, 'a', '/', 'b', 0, 2);
	if (peer_expect(p, 0x40, packet, sizeof(packet)) && packet[3] != 2)
		peer_fail(p, "PUBACK of %u", packet[3]);
}

static bool is_one_there(const struct owner *o)
{
	return o->n_messages >= 1;
}

static void a_held_message_keeps_its_puback_until_it_is_let_go(void **state)
{
	struct server *s = server_start(&(struct server_options){.script = sends_one_that_is_held});
	int id;

	(void)state;
	owner.holds = true;
	owner.is_enough = is_one_there;
	start(s);
	run(PATIENCE_S);
	assert_int_equal(owner.n_messages, 1);
	owner.is_enough = NULL;
	owner.holds = false;
	assert_int_equal(publish(owner.client, "t", fg_span_str("x"), 1, &id), 0);
	run(1.5); /* a tick and other turns of the loop change nothing */
	owner.gave_up = false;
	server_go(s);
	fg_mqtt_client_let_go(owner.client);
	run(PATIENCE_S);
	assert_int_equal(owner.n_messages, 2);
	ended_as(FG_MQTT_END_LOST, true, "");
	assert_null(server_join(s));
}

/* ---- request and response (MQTT 5, 4.10) */

static void asks_and_reads_an_answer(struct peer *p)
{
	static const uint8_t answer[] = {0x30, 19,   0, 1, 'r', 11,  0x08, 0,   3,   'b', '/',
					 'c',  0x09, 0, 2, 'o', 'k', '{',  '}', '!', '!'};
	uint8_t packet[64];
	size_t n;

	peer_accept_connect(p, true);
	PEER_SAYS(p, 0x30, 18, 0, 3, 'a', '/', 'b', 11, 0x08, 0, 3, 'r', '/', '1', 0x09, 0, 2, 'i',
		  'd', 'x');
	n = peer_expect(p, 0x30, packet, sizeof(packet));
	if (n != sizeof(answer) || memcmp(packet, answer, n) != 0)
		peer_fail(p, "%zu bytes came, not the answer", n);
}

static void response_topic_and_correlation_data_go_both_ways(void **state)
{
	struct server *s =
		server_start(&(struct server_options){.script = asks_and_reads_an_answer});
	struct fg_mqtt_publish answer = {
		.topic = "r",
		.payload = fg_span_str("{}!!"),
		.response_topic = "b/c",
		.correlation = fg_span_str("ok"),
	};
	int id;

	(void)state;
	params.mqtt_version = 5;
	owner.is_enough = is_one_there;
	start(s);
	run(PATIENCE_S);
	assert_string_equal(owner.response_topic, "r/1");
	assert_string_equal(owner.correlation, "id");
	owner.is_enough = NULL;
	assert_int_equal(fg_mqtt_client_publish(owner.client, &answer, &id), 0);
	run(PATIENCE_S);
	assert_null(server_join(s));
}

static void version_3_1_1_has_no_properties_to_send(void **state)
{
	struct fg_mqtt_publish p = {.topic = "t",
				    .content_type = "application/json",
				    .response_topic = "b/c",
				    .correlation = fg_span_str("ok")};
	struct server *s = server_start(&(struct server_options){.script = sends_three});
	int id;

	(void)state;
	start(s);
	run(0.5);
	assert_int_equal(fg_mqtt_client_publish(owner.client, &p, &id), 0);
	owner.gave_up = false;
	server_go(s);
	run(PATIENCE_S);
	assert_null(server_join(s));
}

/* ---- TLS */

static struct fg_tls *tls_for(const char *ca, const char *certificate, const char *key)
{
	struct fg_tls_params p = {
		.host = "localhost",
		.ca = ca ? PATH(ca) : NULL,
		.certificate = certificate ? PATH(certificate) : NULL,
		.key = key ? PATH(key) : NULL,
	};
	struct fg_error err = {0};
	struct fg_tls *tls;

	if (fg_tls_new(&p, &tls, &err) < 0)
		fail_msg("%s", err.text);
	return tls;
}

/* One TLS session against a server with @certificate; true when the handshake is left to the
 * script. */
static void tls_against(server_script script, const char *certificate, bool wants_client,
			bool is_left, struct fg_tls *tls)
{
	struct server_options options = {
		.script = script,
		.certificate = PATH(certificate),
		.key = PATH("server.key"),
		.client_ca = wants_client ? PATH("ca.pem") : NULL,
		.leaves_handshake_to_script = is_left,
	};
	struct server *s = server_start(&options);
	const char *failure;

	params.host = "localhost";
	params.tls = tls;
	start(s);
	run(PATIENCE_S);
	owner.client = fg_mqtt_client_free(owner.client);
	failure = server_join(s);
	fg_tls_free(tls);
	params.tls = NULL;
	if (failure)
		fail_msg("server: %s", failure);
	if (owner.gave_up)
		fail_msg("nothing happened for %g s", PATIENCE_S);
}

static void acks_over_tls(struct peer *p)
{
	peer_accept_connect(p, false);
	peer_expect(p, 0x32, NULL, 0);
	PEER_SAYS(p, 0x40, 2, 0, 1);
	peer_expect(p, 0xe0, NULL, 0);
}

static void publishing_works_inside_tls(void **state)
{
	(void)state;
	owner.publishes = 1;
	owner.publish_qos = 1;
	owner.disconnects_in_published = true;
	tls_against(acks_over_tls, "server.pem", false, false, tls_for("ca.pem", NULL, NULL));
	ended_as(FG_MQTT_END_OWN, true, "");
	assert_int_equal(owner.n_published, 1);
}

/* As libcurl does after a handshake that failed. */
static void leave_an_error(struct ev_loop *l, ev_prepare *w, int events)
{
	(void)l;
	(void)w;
	(void)events;
	ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR);
}

/* Behind a message the library looks for the next one, and there is none. */
static void says_something_over_tls(struct peer *p)
{
	peer_accept_connect(p, false);
	peer_expect(p, 0x32, NULL, 0);
	PEER_SAYS(p, 0x30, 4, 0, 1, 't', 'x');
	PEER_SAYS(p, 0x40, 2, 0, 1);
	peer_expect(p, 0xe0, NULL, 0);
}

static void what_others_leave_in_openssls_queue_does_not_end_a_session(void **state)
{
	ev_prepare prepare;

	(void)state;
	ev_prepare_init(&prepare, leave_an_error);
	ev_prepare_start(loop, &prepare);
	owner.publishes = 1;
	owner.publish_qos = 1;
	owner.disconnects_in_published = true;
	tls_against(says_something_over_tls, "server.pem", false, false,
		    tls_for("ca.pem", NULL, NULL));
	ev_prepare_stop(loop, &prepare);
	ERR_clear_error();
	ended_as(FG_MQTT_END_OWN, true, "");
	assert_int_equal(owner.n_published, 1);
}

static void a_client_certificate_is_shown(void **state)
{
	(void)state;
	owner.publishes = 1;
	owner.publish_qos = 1;
	owner.disconnects_in_published = true;
	tls_against(acks_over_tls, "server.pem", true, false,
		    tls_for("ca-dir", "client.pem", "client.key"));
	ended_as(FG_MQTT_END_OWN, true, "");
}

static void never_gets_here(struct peer *p)
{
	peer_fail(p, "the handshake went through");
}

static void a_server_certificate_that_does_not_fit_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *certificate, *why;
	} table[] = {
		{"wrong-name.pem", "mismatch; is it the right host?"},
		{"expired.pem", "expired; is this machine's clock right?"},
		{"future.pem", "not yet valid; is this machine's clock right?"},
		{"self-signed.pem",
		 "self-signed certificate; does tls.ca have the authority it is from?"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		memset(&owner, 0, sizeof(owner));
		tls_against(never_gets_here, table[i].certificate, false, false,
			    tls_for("ca.pem", NULL, NULL));
		ended_as(FG_MQTT_END_TLS, false, table[i].why);
		assert_true(n_turns < 100);
	}
}

static void wants_a_certificate(struct peer *p)
{
	uint8_t bytes[64];

	if (peer_handshake(p))
		peer_fail(p, "the handshake went through");
	/* Closing with bytes unread would reset the connection, and the alert with it. */
	shutdown(p->fd, SHUT_WR);
	while (recv(p->fd, bytes, sizeof(bytes), 0) > 0)
		;
}

static void a_missing_client_certificate_is_the_tls_layers_refusal(void **state)
{
	(void)state;
	tls_against(wants_a_certificate, "server.pem", true, true, tls_for("ca.pem", NULL, NULL));
	/* In TLS 1.3 the client is through before the server looks: the alert comes afterwards. */
	ended_as(FG_MQTT_END_TLS, false, "refused by the peer's TLS: certificate required");
	assert_true(n_turns < 100);
}

static sem_t peer_is_gone;
static void (*modules_callback)(const SSL *ssl, int where, int ret);

static void refuses_and_resets(struct peer *p)
{
	struct linger no_time = {.l_onoff = 1};

	if (peer_handshake(p))
		peer_fail(p, "the handshake went through");
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &no_time, sizeof(no_time));
	close(p->fd);
	p->fd = -1;
	sem_post(&peer_is_gone);
}

/* For the client the handshake is over, and CONNECT is what comes next. */
static void wait_until_the_peer_is_gone(const SSL *ssl, int where, int ret)
{
	struct timespec until;

	modules_callback(ssl, where, ret);
	if (where != SSL_CB_CONNECT_EXIT || ret != 1)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)PATIENCE_S;
	sem_timedwait(&peer_is_gone, &until);
}

static void a_refusal_that_comes_before_connect_is_written_is_told(void **state)
{
	struct fg_tls *tls = tls_for("ca.pem", NULL, NULL);

	(void)state;
	sem_init(&peer_is_gone, 0, 0);
	modules_callback = SSL_CTX_get_info_callback(fg_tls_context(tls));
	SSL_CTX_set_info_callback(fg_tls_context(tls), wait_until_the_peer_is_gone);
	tls_against(refuses_and_resets, "server.pem", true, true, tls);
	sem_destroy(&peer_is_gone);
	ended_as(FG_MQTT_END_TLS, false, "refused by the peer's TLS: certificate required");
}

static void closes_in_mid_handshake(struct peer *p)
{
	uint8_t hello[64];

	recv(p->fd, hello, sizeof(hello), 0);
	PEER_SAYS(&((struct peer){.fd = p->fd}), 0x16, 0x03, 0x03, 0x00, 0x7a, 0x02, 0x00);
	shutdown(p->fd, SHUT_WR);
	nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
}

static void a_server_that_goes_away_in_mid_handshake_makes_no_busy_loop(void **state)
{
	(void)state;
	tls_against(closes_in_mid_handshake, "server.pem", false, true,
		    tls_for("ca.pem", NULL, NULL));
	assert_int_equal(owner.n_ended, 1);
	assert_int_equal(owner.end.kind, FG_MQTT_END_TLS);
	assert_true(n_turns < 50);
}

static void stalls_in_mid_handshake(struct peer *p)
{
	uint8_t hello[4096];

	recv(p->fd, hello, sizeof(hello), 0);
	PEER_SAYS(&((struct peer){.fd = p->fd}), 0x16, 0x03);
	while (recv(p->fd, hello, sizeof(hello), 0) > 0)
		;
}

static void a_handshake_that_stalls_ends_in_time(void **state)
{
	(void)state;
	params.connack_timeout_s = 1;
	tls_against(stalls_in_mid_handshake, "server.pem", false, true,
		    tls_for("ca.pem", NULL, NULL));
	ended_as(FG_MQTT_END_SILENT, false, "");
	assert_true(n_turns < 50);
}

static void speaks_no_tls(struct peer *p)
{
	uint8_t hello[4096];

	recv(p->fd, hello, sizeof(hello), 0);
	send(p->fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, MSG_NOSIGNAL);
	while (recv(p->fd, hello, sizeof(hello), 0) > 0)
		;
}

static void a_server_without_tls_is_recognised(void **state)
{
	(void)state;
	tls_against(speaks_no_tls, "server.pem", false, true, tls_for("ca.pem", NULL, NULL));
	ended_as(FG_MQTT_END_TLS, false,
		 "TLS handshake: the answer is not TLS; is the port right?");
}

static void hangs_up(struct peer *p)
{
	uint8_t hello[4096];

	recv(p->fd, hello, sizeof(hello), 0);
}

static void a_server_that_hangs_up_on_tls_may_have_none(void **state)
{
	(void)state;
	tls_against(hangs_up, "server.pem", false, true, tls_for("ca.pem", NULL, NULL));
	/* Who is first told decides who says so: we, or the library. */
	ended_as(FG_MQTT_END_TLS, false, "; does it speak TLS?");
}

static void closes_tls_after_connect(struct peer *p)
{
	peer_expect(p, 0x10, NULL, 0);
	SSL_free(p->ssl);
	p->ssl = NULL;
	shutdown(p->fd, SHUT_RDWR);
}

static void silence_after_the_handshake_is_not_the_handshakes_fault(void **state)
{
	(void)state;
	/* `mqtt_version: auto` goes by this: a server that does not understand MQTT 5 hangs up. */
	tls_against(closes_tls_after_connect, "server.pem", false, false,
		    tls_for("ca.pem", NULL, NULL));
	ended_as(FG_MQTT_END_SILENT, false, "");
}

static void closes_tls_politely_after_connect(struct peer *p)
{
	peer_expect(p, 0x10, NULL, 0);
	SSL_shutdown(p->ssl);
}

static void a_polite_end_after_the_handshake_is_silence_too(void **state)
{
	(void)state;
	tls_against(closes_tls_politely_after_connect, "server.pem", false, false,
		    tls_for("ca.pem", NULL, NULL));
	ended_as(FG_MQTT_END_SILENT, false, "");
}

static void closes_tls_in_session(struct peer *p)
{
	peer_accept_connect(p, false);
	peer_expect(p, 0x32, NULL, 0);
}

static void the_end_of_a_tls_session_is_a_loss(void **state)
{
	(void)state;
	owner.publishes = 1;
	owner.publish_qos = 1;
	tls_against(closes_tls_in_session, "server.pem", false, false,
		    tls_for("ca.pem", NULL, NULL));
	ended_as(FG_MQTT_END_LOST, true, "closed by the peer");
}

static void sends_one_record_of_many_packets(struct peer *p)
{
	uint8_t bytes[7 * 500 + 4];

	peer_expect(p, 0x10, NULL, 0);
	memcpy(bytes, (const uint8_t[]){0x20, 2, 0, 0}, 4);
	for (int i = 0; i < 500; i++)
		memcpy(bytes + 4 + 7 * i, (const uint8_t[]){0x30, 5, 0, 3, 'a', '/', 'b'}, 7);
	peer_write(p, bytes, sizeof(bytes));
	peer_expect(p, 0xe0, NULL, 0);
}

static bool are_500_there(const struct owner *o)
{
	if (o->n_messages == 500)
		fg_mqtt_client_disconnect(o->client);
	return false;
}

static void all_packets_of_one_tls_record_are_read(void **state)
{
	(void)state;
	owner.is_enough = are_500_there;
	tls_against(sends_one_record_of_many_packets, "server.pem", false, false,
		    tls_for("ca.pem", NULL, NULL));
	assert_int_equal(owner.n_messages, 500);
}

static char asked_for[64];

static void notes_server_name(struct peer *p)
{
	const char *name = SSL_get_servername(p->ssl, TLSEXT_NAMETYPE_host_name);

	snprintf(asked_for, sizeof(asked_for), "%s", name ? name : "nobody");
	peer_expect(p, 0x10, NULL, 0);
}

static void the_server_is_asked_for_by_the_name_that_is_verified(void **state)
{
	static const struct {
		const char *name, *asked_for;
	} table[] = {
		{"elsewhere.example", "elsewhere.example"},
		{"127.0.0.1", "nobody"}, /* an address is no name (RFC 6066, 3) */
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fg_tls_params p = {.host = table[i].name, .is_insecure = true};
		struct fg_tls *tls;

		memset(&owner, 0, sizeof(owner));
		assert_int_equal(fg_tls_new(&p, &tls, NULL), 0);
		tls_against(notes_server_name, "server.pem", false, false, tls); /* at localhost */
		assert_string_equal(asked_for, table[i].asked_for);
	}
}

/* ---- the words */

static void every_reason_has_words(void **state)
{
	(void)state;
	assert_string_equal(fg_mqtt_connack_text(4, 5), "not authorised");
	assert_string_equal(fg_mqtt_connack_text(4, 99), "unknown code");
	assert_string_equal(fg_mqtt_connack_text(5, 0x8a), "banned");
	assert_string_equal(fg_mqtt_connack_text(5, 1), "unacceptable protocol version");
	assert_string_equal(fg_mqtt_reason_text(0), "success");
	assert_string_equal(fg_mqtt_reason_text(0xff), "unknown reason code");
}

static int setup_all(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	mosquitto_lib_init();
	certs_make(&certs);
	return 0;
}

static int teardown_all(void **state)
{
	(void)state;
	certs_remove(&certs);
	mosquitto_lib_cleanup();
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(connect_of_3_1_1_carries_what_was_given),
		TEST(connect_of_5_carries_its_properties),
		TEST(connacks_limits_are_told_and_disconnect_is_sent),
		TEST(a_receive_maximum_of_zero_breaks_the_protocol),
		TEST(an_end_before_connack_is_silence),
		TEST(an_old_server_refuses_version_5_with_code_1),
		TEST(connack_is_not_waited_for_longer_than_allowed),
		TEST(garbage_ends_the_session_and_nothing_else),
		TEST(a_server_of_another_protocol_is_called_that),
		TEST(half_packets_are_put_together),
		TEST(pubacks_are_told_with_their_reason),
		TEST(disconnect_of_5_is_told_with_its_reason),
		TEST(a_normal_disconnect_by_the_peer_is_one_too),
		TEST(a_reset_while_publishing_ends_the_session_once),
		TEST(what_the_socket_does_not_take_is_written_later),
		TEST(an_owner_may_disconnect_when_the_last_puback_comes),
		TEST(an_owner_may_disconnect_when_a_qos_0_publish_is_written),
		TEST(an_owner_may_free_while_its_own_publish_is_written),
		TEST(an_owner_may_disconnect_while_its_own_publish_is_written),
		TEST(an_owner_may_free_in_every_callback),
		TEST(an_owner_may_free_while_the_connection_is_made),
		TEST(disconnecting_before_connack_ends_at_once),
		TEST(a_refused_connection_is_told),
		TEST(a_name_that_does_not_resolve_is_told),
		TEST(parameters_libmosquitto_does_not_take_are_refused),
		TEST(no_puback_leaves_before_the_flush),
		TEST(a_held_message_keeps_its_puback_until_it_is_let_go),
		TEST(response_topic_and_correlation_data_go_both_ways),
		TEST(version_3_1_1_has_no_properties_to_send),
		TEST(a_flush_inside_a_callback_is_done_after_it),
		TEST(nothing_is_read_while_the_owner_says_no),
		TEST(disconnecting_lets_out_what_was_held_back),
		TEST(publishing_works_inside_tls),
		TEST(what_others_leave_in_openssls_queue_does_not_end_a_session),
		TEST(a_client_certificate_is_shown),
		TEST(a_server_certificate_that_does_not_fit_is_refused_with_the_reason),
		TEST(a_missing_client_certificate_is_the_tls_layers_refusal),
		TEST(a_refusal_that_comes_before_connect_is_written_is_told),
		TEST(a_server_that_goes_away_in_mid_handshake_makes_no_busy_loop),
		TEST(a_handshake_that_stalls_ends_in_time),
		TEST(a_server_without_tls_is_recognised),
		TEST(a_server_that_hangs_up_on_tls_may_have_none),
		TEST(silence_after_the_handshake_is_not_the_handshakes_fault),
		TEST(a_polite_end_after_the_handshake_is_silence_too),
		TEST(the_end_of_a_tls_session_is_a_loss),
		TEST(all_packets_of_one_tls_record_are_read),
		TEST(the_server_is_asked_for_by_the_name_that_is_verified),
		TEST(subscribing_again_brings_no_old_news),
		TEST(who_does_not_want_to_hear_itself_says_so),
		TEST(every_reason_has_words),
	};

	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
