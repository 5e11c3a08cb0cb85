/*
 * A whole plugin, to begin with: a cloud that is a plain MQTT broker. Readings go to gw/GATEWAY/up/DEVICE
 * as they came from the field; a command comes in on gw/GATEWAY/down/DEVICE/COMMAND/ID with its parameters
 * as the payload, and is answered on gw/GATEWAY/answer/DEVICE/ID.
 *
 *	cc -std=c17 -Wall -Wextra -fPIC -shared -o example.so example_plugin.c
 *
 * The file belongs into the directory of the other plugins, and `plugin: example` uses it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fieldgate/plugin.h>

/* The order of the table is that of fg_open.values. */
enum {
	USER,
	PASSWORD,
};

static const struct fg_option options[] = {
	{.name = "user", .type = FG_OPTION_STRING, .help = "name to sign in with"},
	{.name = "password", .type = FG_OPTION_SECRET, .help = "and its password"},
	{0},
};

struct example {
	const struct fg_host *host;
	void *host_ctx;
	const char *gateway, *user, *password; /* live as long as we do */
};

/* Can @text stand between two slashes of a topic name? (MQTT 3.1.1, 4.7.1) */
static bool is_level(struct fg_span text)
{
	for (size_t i = 0; i < text.size; i++)
		if (strchr("/+#", text.data[i]))
			return false;
	return text.size > 0;
}

static int example_open(const struct fg_open *with, void **ret_ctx, char *error, size_t error_size)
{
	struct example *e;

	if (with->values[USER].is_set != with->values[PASSWORD].is_set) {
		snprintf(error, error_size, "user and password go together");
		return -EINVAL;
	}
	if (!is_level((struct fg_span){with->gateway_name, strlen(with->gateway_name)})) {
		snprintf(error, error_size, "gateway.name \"%s\" does not fit into a topic",
			 with->gateway_name);
		return -EINVAL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->host = with->host;
	e->host_ctx = with->host_ctx;
	e->gateway = with->gateway_name;
	e->user = with->values[USER].string;
	e->password = with->values[PASSWORD].string;
	*ret_ctx = e;
	return 0;
}

static void example_close(void *ctx)
{
	free(ctx);
}

static int example_connect(void *ctx, const struct fg_connect_request *request,
			   struct fg_connect *out)
{
	const struct example *e = ctx;

	(void)request;
	out->username = e->user;
	out->password = e->password;
	return 0;
}

static void example_connected(void *ctx, const char *session, const struct fg_connack *connack)
{
	const struct example *e = ctx;
	char filter[300];
	int n = snprintf(filter, sizeof(filter), "gw/%s/down/+/+/+", e->gateway);

	(void)connack;
	if ((size_t)n >= sizeof(filter) || e->host->subscribe(e->host_ctx, session, filter, 1) < 0)
		e->host->warn(e->host_ctx, "commands cannot be subscribed to");
}

static bool make_topic(const struct example *e, const struct fg_message *m, struct fg_publish *out)
{
	bool is_answer = m->kind == FG_COMMAND_RESPONSE;
	int n = snprintf(out->topic, out->topic_size, "gw/%s/%s/%.*s%s%.*s", e->gateway,
			 is_answer ? "answer" : "up", (int)m->device.size, m->device.data,
			 is_answer ? "/" : "", is_answer ? (int)m->ref.size : 0, m->ref.data);

	return is_level(m->device) && (size_t)n < out->topic_size;
}

/* A PUBLISH at QoS 1: length of the topic, topic, packet id, MQTT 5: no properties (3.3.2). */
static bool has_room(const struct fg_publish *out, size_t size)
{
	size_t packet_bytes = 2 + strlen(out->topic) + 2 + 1 + size;

	return size <= out->payload_size &&
	       (out->max_packet_bytes == 0 || packet_bytes <= out->max_packet_bytes);
}

/* One message, one publish. */
static int example_encode(void *ctx, const char *session, struct fg_batch *batch,
			  struct fg_publish *out)
{
	const struct example *e = ctx;

	(void)session;
	for (size_t i = 0; i < batch->count; i++) {
		const struct fg_message *m = &batch->messages[i];

		if (batch->states[i] != FG_OFFERED)
			continue;
		if (m->kind != FG_TELEMETRY && m->kind != FG_COMMAND_RESPONSE) {
			batch->states[i] = FG_NOTHING;
		} else if (!make_topic(e, m, out)) {
			e->host->refuse(e->host_ctx, batch, i,
					"its name does not fit into a topic");
		} else if (!has_room(out, m->body.size)) {
			e->host->refuse(e->host_ctx, batch, i, "%zu bytes are too many",
					m->body.size);
		} else {
			memcpy(out->payload, m->body.data, m->body.size);
			out->payload_len = m->body.size;
			out->n_points = 1;
			batch->states[i] = FG_TAKEN;
			return 1;
		}
	}
	return 0;
}

/* The level of a topic that begins at *@at, which then goes behind its slash. */
static struct fg_span next_level(const char **at)
{
	struct fg_span level = {*at, strcspn(*at, "/")};

	*at += level.size;
	if (**at)
		*at += 1;
	return level;
}

static int example_receive(void *ctx, const char *session, const struct fg_delivery *delivery)
{
	const struct example *e = ctx;
	struct fg_command command = {.params = delivery->payload};
	const char *at = delivery->topic;

	(void)session;
	for (unsigned i = 0; i < 3; i++)
		next_level(&at); /* gw/GATEWAY/down, as it was subscribed to */
	command.device = next_level(&at);
	command.name = next_level(&at);
	command.id = next_level(&at);
	if (command.device.size == 0 || command.name.size == 0 || command.name.size > 255 ||
	    command.id.size == 0 || command.id.size > FG_COMMAND_ID_MAX || *at)
		return -EPROTO;
	e->host->command(e->host_ctx, &command);
	return 0;
}

FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin = {
	.abi = FG_PLUGIN_ABI,
	.size = sizeof(struct fg_plugin),
	.name = "example",
	.summary = "a plain MQTT broker",
	.options = options,
	.open = example_open,
	.close = example_close,
	.connect = example_connect,
	.connected = example_connected,
	.encode = example_encode,
	.receive = example_receive,
};
