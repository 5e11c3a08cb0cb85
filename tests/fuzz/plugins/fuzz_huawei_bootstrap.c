/*
 * A bootstrap between a hostile provisioning service, a hostile disk and a network that fails at any
 * moment. The first byte of the input sets the options, the first line is what is on disk; each further
 * line is a step:
 *
 *	C  a session, c an attempt that fails, X the session is gone, E encode, W ten seconds pass
 *	D  what was to be remembered is on disk, F it cannot be written
 *	T  IoTDA wants a bootstrap
 *	anything else  comes down on bootstrap/down
 *
 * Whatever comes: the gateway connects to its URL, or to an address that is one and that was on disk
 * before.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"
#include "model/json.h"
#include "util/span.h"
#include "util/url.h"

#define GATEWAY "gw1"
#define PREFIX "$oc/devices/" GATEWAY "/sys/"
#define PAYLOAD_SIZE 1024
#define STORE_MAX 16384

struct ground {
	void *ctx;
	bool is_up, is_setup;
	char wanted[STORE_MAX], on_disk[STORE_MAX];
	size_t wanted_size, on_disk_size;
	char payload[PAYLOAD_SIZE];
};

static int subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	const struct ground *g = host_ctx;

	(void)session;
	(void)qos;
	REQUIRE(!g->is_setup || strcmp(filter, PREFIX "bootstrap/down") == 0);
	return 0;
}

static void wake(void *host_ctx, int64_t in_ms)
{
	(void)host_ctx;
	(void)in_ms;
}

/* The host drains first; the input says when the session is gone. */
static void reconnect(void *host_ctx, const char *session, const char *why)
{
	(void)host_ctx;
	REQUIRE(*session == 0 && why);
}

static int command(void *host_ctx, const struct fg_command *c)
{
	(void)host_ctx;
	(void)c;
	return 0;
}

static int remember(void *host_ctx, const char *key, struct fg_span value)
{
	struct ground *g = host_ctx;
	struct fg_json_value root;
	struct fg_json_fault fault;

	if (strcmp(key, "bootstrap") != 0)
		return 0;
	REQUIRE(value.size <= STORE_MAX);
	REQUIRE(fg_json_check(value, &root, &fault) == 0 && root.type == FG_JSON_OBJECT);
	memcpy(g->wanted, value.data, value.size);
	g->wanted_size = value.size;
	return 0;
}

static int recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	const struct ground *g = host_ctx;

	if (strcmp(key, "bootstrap") != 0 || g->on_disk_size == 0)
		return -ENOENT;
	*ret = fg_span_of(g->on_disk, g->on_disk_size);
	return 0;
}

static const struct fg_host host = {
	.size = sizeof(struct fg_host),
	.warn = fuzz_warn,
	.subscribe = subscribe,
	.wake = wake,
	.limit = fuzz_limit,
	.reconnect = reconnect,
	.command = command,
	.remember = remember,
	.recall = recall,
};

static void *open_plugin(struct ground *g, uint8_t flags)
{
	struct fg_value values[64] = {0};
	struct fg_open with = {.values = values,
			       .host = &host,
			       .host_ctx = g,
			       .link_name = "x",
			       .gateway_name = "y",
			       .host_name = flags & 4 ? "127.0.0.1" : "boot.example"};
	const struct fg_option *option = fg_plugin.options;
	char error[256];
	void *ctx = NULL;

	for (size_t i = 0; option[i].name; i++) {
		const char *name = option[i].name;

		if (strcmp(name, "device_id") == 0)
			values[i].string = GATEWAY;
		else if (strcmp(name, "secret") == 0)
			values[i].string = flags & 1 ? NULL : "s";
		else if (strcmp(name, "scope_id") == 0)
			values[i].string = flags & 1 ? "scope" : NULL;
		else if (strcmp(name, "group_secret") == 0)
			values[i].string = flags & 1 ? "Zm9v" : NULL;
		else if (strcmp(name, "strategy_keyword") == 0)
			values[i].string = flags & 2 ? "\"\x01" : NULL;
		else if (option[i].type == FG_OPTION_STRING)
			values[i].string = option[i].fallback;
		else if (option[i].type == FG_OPTION_DURATION ||
			 option[i].type == FG_OPTION_INTEGER)
			values[i].number = 15000;
		else if (strcmp(name, "bootstrap") == 0)
			values[i].number = 1;
	}
	REQUIRE(fg_plugin.open(&with, &ctx, error, sizeof(error)) == 0);
	return ctx;
}

/* Is @address the one on disk? */
static bool is_on_disk(const struct ground *g, const char *address)
{
	char text[STORE_MAX];
	struct fg_json_value root, value;
	struct fg_json_fault fault;

	REQUIRE(fg_json_check(fg_span_of(g->on_disk, g->on_disk_size), &root, &fault) == 0);
	REQUIRE(fg_json_member(root, fg_span_str("address"), &value));
	REQUIRE(value.type == FG_JSON_STRING);
	value.text = fg_span_of(value.text.data + 1, value.text.size - 2);
	return fg_span_is(fg_span_of(text, fg_json_unescape(value.text, text)), address);
}

static void connect_plugin(struct ground *g, bool is_let_in)
{
	const struct fg_connect_request request = {.session = "", .mqtt_version = 4};
	const struct fg_connack connack = {.mqtt_version = 4};
	struct fg_connect connect = {0};
	struct fg_url_parts parts;
	int r;

	if (g->is_up)
		return;
	r = fg_plugin.connect(g->ctx, &request, &connect);
	REQUIRE(r == 0 || r == -EINVAL);
	if (r < 0)
		return;
	REQUIRE(connect.is_setup == !connect.address);
	if (connect.address) {
		REQUIRE(fg_url_parse_address(connect.address, &parts) == 0);
		REQUIRE(is_on_disk(g, connect.address));
	}
	g->is_setup = connect.is_setup;
	g->is_up = is_let_in;
	if (is_let_in)
		fg_plugin.connected(g->ctx, "", &connack);
}

static void encode(struct ground *g)
{
	char topic[256];
	struct fg_batch batch = {.max_take = 1, .max_points = {SIZE_MAX, SIZE_MAX}};
	struct fg_publish out = {.topic = topic,
				 .topic_size = sizeof(topic),
				 .payload = g->payload,
				 .payload_size = PAYLOAD_SIZE};
	struct fg_settlement how = {.n_messages = 0};
	struct fg_json_value root;
	struct fg_json_fault fault;

	if (!g->is_up || fg_plugin.encode(g->ctx, "", &batch, &out) != 1)
		return;
	REQUIRE(!g->is_setup || strcmp(topic, PREFIX "bootstrap/up") == 0);
	REQUIRE(out.payload_len <= PAYLOAD_SIZE);
	if (out.payload_len > 0)
		REQUIRE(fg_json_check(fg_span_of(out.payload, out.payload_len), &root, &fault) ==
			0);
	how.tag = out.tag;
	fg_plugin.settled(g->ctx, "", &how);
}

static void deliver(struct ground *g, const char *suffix, struct fg_span payload)
{
	char topic[256];
	const struct fg_delivery delivery = {.topic = topic, .payload = payload, .qos = 1};
	int r;

	if (!g->is_up)
		return;
	snprintf(topic, sizeof(topic), PREFIX "%s", suffix);
	r = fg_plugin.receive(g->ctx, "", &delivery);
	REQUIRE(r == 0 || r == -EPROTO);
}

static void stored(struct ground *g, int error)
{
	if (g->wanted_size == 0)
		return;
	if (error == 0) {
		memcpy(g->on_disk, g->wanted, g->wanted_size);
		g->on_disk_size = g->wanted_size;
		g->wanted_size = 0;
	}
	fg_plugin.remembered(g->ctx, "bootstrap", error);
}

static void act(void *arg, struct fg_span line)
{
	struct ground *g = arg;

	switch (*line.data) {
	case 'C':
	case 'c':
		connect_plugin(g, *line.data == 'C');
		break;
	case 'X':
		if (g->is_up)
			fg_plugin.disconnected(g->ctx, "");
		g->is_up = false;
		break;
	case 'E':
		encode(g);
		break;
	case 'W':
		for (int i = 0; i < 10; i++)
			fg_plugin.woken(g->ctx, 0);
		break;
	case 'D':
	case 'F':
		stored(g, *line.data == 'D' ? 0 : -ENOSPC);
		break;
	case 'T':
		deliver(g, "messages/down",
			fg_span_str("{\"content\":\"BootstrapRequestTrigger\"}"));
		break;
	default:
		deliver(g, "bootstrap/down", line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *stop;
	size_t stored_size;
	static struct ground g;

	if (size == 0)
		return 0;
	memset(&g, 0, sizeof(g));
	stop = memchr(data + 1, '\n', size - 1);
	stored_size = stop ? (size_t)(stop - data) - 1 : size - 1;
	if (stored_size <= STORE_MAX) {
		memcpy(g.on_disk, data + 1, stored_size);
		g.on_disk_size = stored_size;
	}
	g.ctx = open_plugin(&g, *data);
	if (stop)
		fuzz_each_line(stop, (size_t)(data + size - stop), act, &g);
	fg_plugin.close(g.ctx);
	return 0;
}
