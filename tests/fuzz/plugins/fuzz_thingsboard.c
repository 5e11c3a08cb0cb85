/*
 * Input: one byte of options, then lines. The first byte of a line says what happens: t, a, p, r, e,
 * q a message (up to a tab its device, then its body; r answers the last command, and q is a request
 * for what its body's first letter stands for), E encode, S a settlement (code in the next byte), X
 * a broken session, W a second passes, I the host says where an image stands (state in the next byte;
 * it also decides what the host makes of images from then on), anything else a delivery (up to a tab its topic, then its
 * payload). What is checked: nothing is read or written outside its buffer, each publish is JSON
 * within the limit as long as the bodies are JSON, what the host is called with is within the
 * contract, and no message stays behind that waits for nothing.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "hostile.h"
#include "model/json.h"
#include "model/utf8.h"

#define MAX_MESSAGES 64
#define MAX_FLIGHTS 64
#define PACKET_SIZE 1024

struct ground {
	void *ctx;
	struct fg_message messages[MAX_MESSAGES];
	uint8_t states[MAX_MESSAGES];
	size_t n_messages;
	uint64_t tags[MAX_FLIGHTS];
	size_t n_flights;
	bool has_broken_body; /* then a payload need not be JSON */
	char *payload;
	uint64_t seq;
	int64_t now_us;
	bool is_wake_wanted;
	bool wants_reconnect;
	bool is_up;
	char credential[8192]; /* what is remembered */
	size_t credential_size;
	bool is_unsaved;
	char command_id[FG_COMMAND_ID_MAX]; /* of the last command */
	size_t command_id_size;
	char refs[MAX_MESSAGES][FG_COMMAND_ID_MAX];
	uint8_t image_mood; /* what the host makes of images */
	bool is_image_begun[2];
	uint64_t image_have[2], image_size[2];
};

static void wake(void *host_ctx, int64_t in_ms)
{
	struct ground *g = host_ctx;

	g->is_wake_wanted = in_ms >= 0;
}

/* Its answer is offered later, to the command whose id this is. */
static int command(void *host_ctx, const struct fg_command *c)
{
	struct ground *g = host_ctx;

	REQUIRE(c->id.size > 0 && c->id.size <= sizeof(g->command_id));
	REQUIRE(c->key.size <= 64 && c->name.size > 0 && c->name.size <= 255);
	REQUIRE(c->device.size <= 255);
	REQUIRE(c->params.size == 0 || fuzz_is_json(c->params));
	fuzz_read_all(c->device);
	fuzz_read_all(c->name);
	memcpy(g->command_id, c->id.data, c->id.size);
	g->command_id_size = c->id.size;
	return 0;
}

static void config(void *host_ctx, struct fg_span device, struct fg_span set, struct fg_span unset)
{
	(void)host_ctx;
	fuzz_read_all(device);
	REQUIRE(device.size <= 255);
	REQUIRE(set.size == 0 || fuzz_is_json(set));
	REQUIRE(unset.size == 0 || fuzz_is_json(unset));
}

static int rename_device(void *host_ctx, struct fg_span from, struct fg_span to)
{
	(void)host_ctx;
	fuzz_read_all(from);
	fuzz_read_all(to);
	return from.size % 2 ? 0 : -EINVAL;
}

static int mute(void *host_ctx, struct fg_span device)
{
	(void)host_ctx;
	fuzz_read_all(device);
	return 0;
}

static void reconnect(void *host_ctx, const char *session, const char *why)
{
	struct ground *g = host_ctx;

	(void)session;
	(void)why;
	g->wants_reconnect = true;
}

static int remember(void *host_ctx, const char *key, struct fg_span value)
{
	struct ground *g = host_ctx;

	REQUIRE(strcmp(key, "credential") == 0);
	REQUIRE(fuzz_is_json(value));
	if (value.size > sizeof(g->credential))
		return -EMSGSIZE;
	memcpy(g->credential, value.data, value.size);
	g->credential_size = value.size;
	g->is_unsaved = true;
	return 0;
}

static int recall(void *host_ctx, const char *key, struct fg_span *ret)
{
	struct ground *g = host_ctx;

	(void)key;
	if (g->credential_size == 0)
		return -ENOENT;
	*ret = fg_span_of(g->credential, g->credential_size);
	return 0;
}

static void tell_progress(struct ground *g, const char *device, enum fg_image_kind kind,
			  enum fg_image_state state)
{
	struct fg_image_progress progress = {
		.device = fg_span_str(device),
		.kind = kind,
		.title = fg_span_str("A\""),
		.version = fg_span_str("2"),
		.state = state,
		.error = state == FG_IMAGE_FAILED ? "it \"failed\"" : NULL,
	};

	if (!*device && state != FG_IMAGE_DOWNLOADING)
		g->is_image_begun[kind] = false;
	fg_plugin.image_progress(g->ctx, &progress);
}

static int image_begin(void *host_ctx, const struct fg_image *image, uint64_t *ret_have)
{
	struct ground *g = host_ctx;

	REQUIRE(image->title.size > 0 && image->version.size > 0);
	fuzz_read_all(image->title);
	fuzz_read_all(image->version);
	fuzz_read_all(image->checksum);
	fuzz_read_all(image->url);
	*ret_have = 0;
	if (image->url.size > 0 || image->size == 0 || g->image_mood & 1) {
		tell_progress(g, "", image->kind, FG_IMAGE_FAILED);
		return g->image_mood & 1 ? -EIO : 0;
	}
	if (g->image_mood & 2)
		return -EAGAIN;
	g->is_image_begun[image->kind] = true;
	g->image_size[image->kind] = image->size;
	g->image_have[image->kind] = g->image_mood % image->size;
	*ret_have = g->image_have[image->kind];
	tell_progress(g, "", image->kind, FG_IMAGE_DOWNLOADING);
	return 0;
}

static int image_write(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
		       uint64_t offset, struct fg_span data)
{
	struct ground *g = host_ctx;

	fuzz_read_all(device);
	fuzz_read_all(data);
	REQUIRE(g->is_image_begun[kind] && offset == g->image_have[kind]);
	REQUIRE(data.size <= g->image_size[kind] - offset);
	if (g->image_mood & 4)
		return g->image_mood & 8 ? -EAGAIN : -ERANGE;
	g->image_have[kind] += data.size;
	if (g->image_have[kind] == g->image_size[kind])
		tell_progress(g, "", kind, FG_IMAGE_DOWNLOADED);
	return 0;
}

static void image_abandon(void *host_ctx, struct fg_span device, enum fg_image_kind kind,
			  const char *why)
{
	struct ground *g = host_ctx;

	fuzz_read_all(device);
	if (why && g->is_image_begun[kind])
		tell_progress(g, "", kind, FG_IMAGE_FAILED);
	g->is_image_begun[kind] = false;
}

static bool image_lacks(void *host_ctx, struct fg_span device, enum fg_image_kind kind)
{
	const struct ground *g = host_ctx;

	fuzz_read_all(device);
	return g->image_mood & 16 || g->is_image_begun[kind];
}

static void image_tell(void *host_ctx)
{
	tell_progress(host_ctx, "", FG_IMAGE_FIRMWARE, FG_IMAGE_UPDATED);
	tell_progress(host_ctx, "pump", FG_IMAGE_SOFTWARE, FG_IMAGE_UPDATING);
}

static const struct fg_host host = {
	.image_begin = image_begin,
	.image_write = image_write,
	.image_lacks = image_lacks,
	.image_abandon = image_abandon,
	.image_tell = image_tell,
	.image_told = fuzz_image_told,
	.reconnect = reconnect,
	.remember = remember,
	.recall = recall,
	.size = sizeof(struct fg_host),
	.warn = fuzz_warn,
	.subscribe = fuzz_subscribe,
	.refuse = fuzz_refuse,
	.wake = wake,
	.command = command,
	.config = config,
	.respond = fuzz_respond,
	.rename = rename_device,
	.mute = mute,
	.limit = fuzz_limit,
};

/* What each bit of the first byte sets. */
static const char *const flag_names[] = {"mode",      "timestamp", "text_numbers", "topics",
					 "on_delete", "latency",   "use_limits"};

static const struct {
	const char *name, *text;
	int64_t number;
} fixed[] = {
	{"shared_attributes", "a,b c", 0},
	{"inactivity_timeout", NULL, 20000},
};

/* The last bit: credentials are provisioned. */
static const char *credential_of(const char *option, uint8_t flags)
{
	bool is_provisioned = flags & 0x80;

	if (strcmp(option, "access_token") == 0)
		return is_provisioned ? NULL : "A1";
	if (strcmp(option, "provision_key") == 0 || strcmp(option, "provision_secret") == 0)
		return is_provisioned ? "K" : NULL;
	return NULL;
}

static void *open_plugin(struct ground *g, uint8_t flags)
{
	struct fg_value values[64] = {0};
	struct fg_open with = {.values = values,
			       .host = &host,
			       .host_ctx = g,
			       .link_name = "x",
			       .gateway_name = "y"};
	const struct fg_option *option = fg_plugin.options;
	char error[256];
	void *ctx = NULL;

	for (size_t i = 0; option[i].name; i++) {
		values[i].is_set = option[i].fallback;
		if (option[i].type == FG_OPTION_INTEGER)
			values[i].number = strcmp(option[i].name, "max_devices") == 0 ? 3
					   : strcmp(option[i].name, "limits_percent") == 0
						   ? 80
						   : PACKET_SIZE;
		else if (option[i].type == FG_OPTION_STRING)
			values[i].string = option[i].fallback;
		if (credential_of(option[i].name, flags))
			values[i].string = credential_of(option[i].name, flags);
		values[i].is_set = values[i].is_set || values[i].string;
		for (unsigned bit = 0; bit < sizeof(flag_names) / sizeof(flag_names[0]); bit++)
			if (strcmp(option[i].name, flag_names[bit]) == 0)
				values[i].number = flags >> bit & 1;
		for (size_t k = 0; k < sizeof(fixed) / sizeof(fixed[0]); k++)
			if (strcmp(option[i].name, fixed[k].name) == 0)
				values[i] = (struct fg_value){.is_set = true,
							      .string = fixed[k].text,
							      .number = fixed[k].number};
	}
	if (fg_plugin.open(&with, &ctx, error, sizeof(error)) < 0) {
		REQUIRE(strlen(error) > 0); /* options that contradict each other */
		return NULL;
	}
	return ctx;
}

static void end_session(struct ground *g)
{
	if (g->is_up)
		fg_plugin.disconnected(g->ctx, "");
	g->is_up = false;
	g->n_flights = 0;
}

static void begin_session(struct ground *g)
{
	struct fg_connect_request request = {.session = "", .now_us = g->now_us, .mqtt_version = 5};
	struct fg_connack connack = {.mqtt_version = 5};
	struct fg_connect connect;

	end_session(g);
	g->wants_reconnect = false;
	if (fg_plugin.connect(g->ctx, &request, &connect) < 0)
		return;
	g->is_up = true;
	fg_plugin.connected(g->ctx, "", &connack);
}

/* Returns whether there was something to publish. */
static bool encode(struct ground *g, size_t max_take)
{
	char topic[64];
	struct fg_batch batch = {.messages = g->messages,
				 .states = g->states,
				 .count = g->n_messages,
				 .max_take = max_take,
				 .max_points = {SIZE_MAX, SIZE_MAX},
				 .now_us = g->now_us};
	struct fg_publish out = {.topic = topic,
				 .topic_size = sizeof(topic),
				 .payload = g->payload,
				 .payload_size = PACKET_SIZE};
	int r = g->is_up ? fg_plugin.encode(g->ctx, "", &batch, &out) : 0;

	REQUIRE(r == 0 || r == 1);
	if (r == 0)
		return false;
	REQUIRE(2 + strlen(topic) + 2 + 1 + out.payload_len <= PACKET_SIZE);
	REQUIRE(g->has_broken_body || fuzz_is_json(fg_span_of(g->payload, out.payload_len)));
	REQUIRE(out.scope < FG_SCOPES);
	if (g->n_flights < MAX_FLIGHTS)
		g->tags[g->n_flights++] = out.tag;
	return true;
}

static void settle(struct ground *g, unsigned code)
{
	struct fg_settlement how = {.reason_code = code, .n_messages = 1};

	if (g->n_flights == 0)
		return;
	how.tag = g->tags[--g->n_flights];
	fg_plugin.settled(g->ctx, "", &how);
}

static void offer(struct ground *g, enum fg_kind kind, struct fg_span line)
{
	struct fg_span device = fuzz_first_field(&line);
	char *ref = g->refs[g->n_messages % MAX_MESSAGES];
	static const char *const streams[] = {"attributes", "rpc", "claim", "else"};
	size_t ref_size = kind == FG_REQUEST ? 4 : g->command_id_size;

	if (g->n_messages == MAX_MESSAGES || device.size == 0 || device.size > 255 ||
	    !fg_utf8_ok(device))
		return;
	if (!fuzz_is_json(line))
		g->has_broken_body = true;
	memcpy(ref, kind == FG_REQUEST ? "ask1" : g->command_id, ref_size);
	g->states[g->n_messages] = FG_OFFERED;
	g->messages[g->n_messages++] = (struct fg_message){
		.seq = ++g->seq,
		.time_us = (int64_t)(g->seq * 7919 % 13) * 1000,
		.kind = kind,
		.time_quality = g->seq % 2 ? FG_TIME_DEVICE : FG_TIME_GATEWAY,
		.device = device,
		.stream = fg_span_str(streams[line.size % 4]),
		.ref = fg_span_of(ref, ref_size),
		.body = line,
	};
}

static void deliver(struct ground *g, struct fg_span line)
{
	char topic[64];
	struct fg_span field = fuzz_first_field(&line);
	struct fg_delivery delivery = {.topic = topic, .payload = line};
	int r;

	snprintf(topic, sizeof(topic), "%.*s", field.size < 63 ? (int)field.size : 63,
		 field.size > 0 ? field.data : "");
	if (!g->is_up)
		return;
	r = fg_plugin.receive(g->ctx, "", &delivery);
	REQUIRE(r == 0 || r == -EPROTO);
}

static void pass_second(struct ground *g)
{
	g->now_us += 1000000;
	if (g->is_unsaved) {
		g->is_unsaved = false;
		fg_plugin.remembered(g->ctx, "credential", g->now_us % 7 ? 0 : -EIO);
	}
	if (g->is_wake_wanted)
		fg_plugin.woken(g->ctx, g->now_us);
	if (g->wants_reconnect)
		begin_session(g);
}

/* Whatever is offered must be done with once everything is settled and time has passed; unless it
 * is kept for credentials, or for a gateway, that there are none of. */
static void finish(struct ground *g, bool is_provisioned)
{
	bool had_to_reconnect = false;

	for (unsigned n = 0; n < 400; n++) {
		while (g->n_flights > 0)
			settle(g, 0);
		had_to_reconnect = had_to_reconnect || g->wants_reconnect;
		if (!encode(g, MAX_MESSAGES))
			pass_second(g);
	}
	for (size_t i = 0; i < g->n_messages && !had_to_reconnect && !is_provisioned; i++)
		REQUIRE(g->states[i] != FG_OFFERED);
}

static void act(void *arg, struct fg_span line)
{
	struct ground *g = arg;
	static const char letters[] = "tapreq";
	const char *letter = *line.data ? strchr(letters, *line.data) : NULL;
	struct fg_span rest = fg_span_of(line.data + 1, line.size - 1);

	if (letter) {
		offer(g, (enum fg_kind)(letter - letters + 1), rest);
	} else if (*line.data == 'E') {
		encode(g, rest.size > 0 ? (unsigned char)*rest.data % MAX_MESSAGES : MAX_MESSAGES);
	} else if (*line.data == 'S') {
		settle(g, rest.size > 0 ? (unsigned char)*rest.data : 0);
	} else if (*line.data == 'W') {
		pass_second(g);
	} else if (*line.data == 'X') {
		begin_session(g);
	} else if (*line.data == 'I') {
		g->image_mood = rest.size > 0 ? (uint8_t)*rest.data : 0;
		tell_progress(g, g->image_mood & 0x40 ? "pump" : "",
			      g->image_mood & 0x80 ? FG_IMAGE_SOFTWARE : FG_IMAGE_FIRMWARE,
			      (enum fg_image_state)(g->image_mood % (FG_IMAGE_FAILED + 1)));
	} else {
		deliver(g, line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ground g = {0};

	if (size == 0)
		return 0;
	g.ctx = open_plugin(&g, *data);
	if (!g.ctx)
		return 0;
	g.payload = malloc(PACKET_SIZE); /* exact, so that a sanitizer sees every byte beyond it */
	REQUIRE(g.payload);
	begin_session(&g);
	fuzz_each_line(data + 1, size - 1, act, &g);
	finish(&g, *data & 0x80);
	fg_plugin.close(g.ctx);
	free(g.payload);
	return 0;
}
