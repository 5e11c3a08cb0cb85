#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fieldgate/plugin.h"

/* What the example has asked the host for. */
static struct {
	char filter[64], device[64], command[64], id[64];
	unsigned n_refused;
} asked;

static void copy(char *out, struct fg_span text)
{
	assert_true(text.size < 64);
	memcpy(out, text.data, text.size);
	out[text.size] = '\0';
}

static struct fg_span span(const char *text)
{
	return (struct fg_span){text, strlen(text)};
}

static int take_subscribe(void *host_ctx, const char *session, const char *filter, unsigned qos)
{
	(void)host_ctx;
	assert_string_equal(session, "");
	assert_int_equal(qos, 1);
	copy(asked.filter, span(filter));
	return 0;
}

static int take_command(void *host_ctx, const struct fg_command *command)
{
	(void)host_ctx;
	copy(asked.device, command->device);
	copy(asked.command, command->name);
	copy(asked.id, command->id);
	return 0;
}

__attribute__((format(printf, 4, 5))) static void
take_refusal(void *host_ctx, struct fg_batch *batch, size_t i, const char *format, ...)
{
	(void)host_ctx;
	(void)format;
	batch->states[i] = FG_REFUSED;
	asked.n_refused++;
}

static const struct fg_host host = {
	.size = sizeof(host),
	.subscribe = take_subscribe,
	.command = take_command,
	.refuse = take_refusal,
};

static const struct fg_value values[] = {
	{.is_set = true, .string = "plant"},
	{.is_set = true, .string = "secret"},
};

static int open_example(const struct fg_value *with, const char *gateway, void **ret_ctx)
{
	struct fg_open open = {.values = with, .host = &host, .gateway_name = gateway};
	char error[256] = "";
	int r = fg_plugin.open(&open, ret_ctx, error, sizeof(error));

	assert_int_equal(r < 0, error[0] != '\0');
	return r;
}

static int setup(void **state)
{
	memset(&asked, 0, sizeof(asked));
	return open_example(values, "plant7", state);
}

static int teardown(void **state)
{
	fg_plugin.close(*state);
	return 0;
}

static void the_example_signs_in_and_subscribes(void **state)
{
	struct fg_connect_request request = {.session = "", .mqtt_version = 4};
	struct fg_connect connect = {.clean_start = true};
	struct fg_connack connack = {.mqtt_version = 4};

	assert_int_equal(fg_plugin.connect(*state, &request, &connect), 0);
	assert_string_equal(connect.username, "plant");
	assert_string_equal(connect.password, "secret");
	fg_plugin.connected(*state, "", &connack);
	assert_string_equal(asked.filter, "gw/plant7/down/+/+/+");
}

static void the_example_refuses_what_cannot_work(void **state)
{
	struct fg_value half[] = {values[0], {0}};
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_example(half, "plant7", &ctx), -EINVAL);
	assert_int_equal(open_example(values, "plant/7", &ctx), -EINVAL);
	assert_null(ctx);
}

static void the_example_sends_what_devices_say(void **state)
{
	static const struct fg_message messages[] = {
		{.seq = 1, .kind = FG_PRESENCE, .device = {"pump", 4}, .body = {"{}", 2}},
		{.seq = 2, .kind = FG_TELEMETRY, .device = {"a/b", 3}, .body = {"{}", 2}},
		{.seq = 3, .kind = FG_TELEMETRY, .device = {"pump", 4}, .body = {"{\"t\":1}", 7}},
		{.seq = 4,
		 .kind = FG_COMMAND_RESPONSE,
		 .device = {"pump", 4},
		 .ref = {"17", 2},
		 .body = {"{\"result\":1}", 12}},
		{.seq = 5,
		 .kind = FG_TELEMETRY,
		 .device = {"pump", 4},
		 .body = {"{\"text\":\"far too long\"}", 23}},
	};
	uint8_t states[5] = {0};
	struct fg_batch batch = {.messages = messages, .states = states, .count = 5};
	char topic[64], payload[64];
	struct fg_publish out = {.topic = topic,
				 .topic_size = sizeof(topic),
				 .payload = payload,
				 .payload_size = sizeof(payload),
				 .max_packet_bytes = 43};

	assert_int_equal(fg_plugin.encode(*state, "", &batch, &out), 1);
	assert_string_equal(topic, "gw/plant7/up/pump");
	assert_int_equal(out.payload_len, 7);
	assert_memory_equal(payload, "{\"t\":1}", 7);
	assert_memory_equal(states, ((uint8_t[]){FG_NOTHING, FG_REFUSED, FG_TAKEN, FG_OFFERED}), 4);
	assert_int_equal(fg_plugin.encode(*state, "", &batch, &out), 1);
	assert_string_equal(topic, "gw/plant7/answer/pump/17");
	assert_int_equal(states[3], FG_TAKEN);
	assert_int_equal(fg_plugin.encode(*state, "", &batch, &out), 0);
	assert_int_equal(states[4], FG_REFUSED);
	assert_int_equal(asked.n_refused, 2);
}

static void the_example_hands_commands_over(void **state)
{
	struct fg_delivery delivery = {.topic = "gw/plant7/down/pump/start/17",
				       .payload = {"{}", 2}};

	assert_int_equal(fg_plugin.receive(*state, "", &delivery), 0);
	assert_string_equal(asked.device, "pump");
	assert_string_equal(asked.command, "start");
	assert_string_equal(asked.id, "17");
	delivery.topic = "gw/plant7/down/pump/start";
	assert_int_equal(fg_plugin.receive(*state, "", &delivery), -EPROTO);
	delivery.topic = "gw/plant7/down/pump/start/17/18";
	assert_int_equal(fg_plugin.receive(*state, "", &delivery), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_example_signs_in_and_subscribes, setup,
						teardown),
		cmocka_unit_test(the_example_refuses_what_cannot_work),
		cmocka_unit_test_setup_teardown(the_example_sends_what_devices_say, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_example_hands_commands_over, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
