/*
 * What goes down, and what goes up beside telemetry: commands, configs, images, presence, requests,
 * lanes and limits.
 */
#include "sections.h"

#include <errno.h>
#include <stdlib.h>

#define ALL GATEWAY LOCAL MAPPINGS CLOUDS /* four lines: what is added starts in line 5 */

/* An entry that starts in column 13, 12 and 11 of line 5. */
#define COMMAND(what) ALL "commands: [{topic: \"c/{device}\", " what "}]\n" /* column 34 */
#define SETTING(what) ALL "configs: [{" what "}]\n"                         /* column 12 */
#define IMAGE(what) ALL "images: [{topic: \"i/{device}\", " what "}]\n"     /* column 32 */
/* A mapping for {device}: column 34 of line 1. */
#define RULE(what) "mappings: [{topic: \"a/{device}\", " what "}]\n" NO_MAPPINGS

static void every_value_of_a_command_arrives_where_it_belongs(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	const struct fg_command_config *command;

	(void)state;
	config = load(ALL "commands:\n"
			  "  - devices: [pump-*, valve]\n"
			  "    commands: [reboot]\n"
			  "    broker: b\n"
			  "    topic: cmd/{device}/{command}\n"
			  "    payload: '{\"id\": {id}, \"params\": {params}}'\n"
			  "    qos: 0\n"
			  "    response: {topic: \"cmd/{device}/{command}/response\",\n"
			  "               correlate: $.id, result: $.result, error: $.error}\n"
			  "    offline: wait\n"
			  "    timeout: 7d\n"
			  "    max_open: 100\n"
			  "    repeat: true\n",
		      report, 0);
	expect_report(report, "command", "");
	assert_int_equal(config->n_commands, 1);
	command = &config->commands[0];
	assert_int_equal(command->place.line, 6);
	assert_int_equal(command->n_devices, 2);
	assert_string_equal(command->devices[0], "pump-*");
	assert_int_equal(command->n_names, 1);
	assert_string_equal(command->names[0], "reboot");
	assert_string_equal(command->broker, "b");
	assert_string_equal(command->topic, "cmd/{device}/{command}");
	assert_int_equal(command->topic_place.line, 9);
	assert_string_equal(command->payload, "{\"id\": {id}, \"params\": {params}}");
	assert_int_equal(command->payload_place.line, 10);
	assert_int_equal(command->qos, 0);
	assert_string_equal(command->response, "cmd/{device}/{command}/response");
	assert_int_equal(command->response_place.line, 12);
	assert_int_equal(command->correlate, FG_CORRELATE_PAYLOAD);
	assert_string_equal(command->correlate_path, "$.id");
	assert_string_equal(command->result_path, "$.result");
	assert_string_equal(command->error_path, "$.error");
	assert_int_equal(command->offline, FG_OFFLINE_WAIT);
	assert_int_equal(command->timeout_ms, 7 * 86400000);
	assert_int_equal(command->max_open, 100);
	assert_true(command->may_repeat);
}

static void a_command_has_its_defaults(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	const struct fg_command_config *command;

	(void)state;
	config = load(ALL "commands: [{topic: \"cmd/{device}\"}]\n", report, 0);
	expect_report(report, "command", "");
	command = &config->commands[0];
	assert_int_equal(command->n_devices, 0);
	assert_int_equal(command->n_names, 0);
	assert_null(command->broker);
	assert_string_equal(command->payload, "{params}");
	assert_int_equal(command->qos, 1);
	assert_null(command->response);
	assert_int_equal(command->correlate, FG_CORRELATE_NONE);
	assert_null(command->correlate_path);
	assert_null(command->result_path);
	assert_null(command->error_path);
	assert_int_equal(command->offline, FG_OFFLINE_REFUSE);
	assert_int_equal(command->timeout_ms, 30000);
	assert_int_equal(command->max_open, 1);
	assert_false(command->may_repeat);
}

static void each_kind_of_correlation_is_accepted_with_what_it_needs(void **state)
{
	static const struct {
		const char *text;
		enum fg_correlate correlate;
		const char *response;
	} cases[] = {
		{COMMAND("response: {topic: \"r/{device}\"}"), FG_CORRELATE_NONE, "r/{device}"},
		{COMMAND("response: {topic: \"r/{device}/{command}\", correlate: none}"),
		 FG_CORRELATE_NONE, "r/{device}/{command}"},
		{COMMAND("devices: [plc], response: {topic: r}"), FG_CORRELATE_NONE, "r"},
		{COMMAND("devices: [plc], response: {topic: r/+/x}"), FG_CORRELATE_NONE, "r/+/x"},
		{COMMAND("payload: '[{id}]', response: {topic: \"r/{id}\", correlate: topic}"),
		 FG_CORRELATE_TOPIC, "r/{id}"},
		{COMMAND("payload: '{id}', max_open: 9, response: {topic: r/#, correlate: $.id}"),
		 FG_CORRELATE_PAYLOAD, "r/#"},
		{COMMAND("response: {topic: \"r/{device}/{id}\", correlate: mqtt5}"),
		 FG_CORRELATE_MQTT5, "r/{device}/{id}"},
		{COMMAND("response: {correlate: mqtt5}, max_open: 2"), FG_CORRELATE_MQTT5, NULL},
		{ALL "commands: [{topic: \"c/{device}/{id}\",\n"
		     "  response: {topic: \"r/{device...}\", correlate: $.id}}]\n",
		 FG_CORRELATE_PAYLOAD, "r/{device...}"},
		/* The device is told in the payload. */
		{ALL "commands: [{topic: c, payload: '{{device}: {params}}'}]\n", FG_CORRELATE_NONE,
		 NULL},
		{ALL "commands: [{topic: c, devices: [plc]}]\n", FG_CORRELATE_NONE, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
		FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;

		config = load(cases[i].text, report, 0);
		expect_report(report, cases[i].text, "");
		assert_int_equal(config->commands[0].correlate, cases[i].correlate);
		if (cases[i].response)
			assert_string_equal(config->commands[0].response, cases[i].response);
		else
			assert_null(config->commands[0].response);
	}
}

static void configs_and_images_arrive_where_they_belong(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	const struct fg_image_config *image;

	(void)state;
	config = load("gateway: {name: gw, state_directory: /data, inactivity: 10min,\n"
		      "          max_commands: 100000}\n" LOCAL MAPPINGS CLOUDS
		      "journal: {max_alarm_size: 32MiB}\n"
		      "configs:\n"
		      "  - {topic: \"config/{device}\"}\n"
		      "  - {devices: [plc], topic: config, broker: b, retain: false, qos: 0}\n"
		      "images:\n"
		      "  - {deliver: file, topic: \"fw/{device}\"}\n"
		      "  - {deliver: file, topic: \"fw/{device}\", directory: /srv/images}\n"
		      "  - deliver: url\n"
		      "    topic: fw/{device}\n"
		      "    url: http://10.0.0.1:8080/images/\n"
		      "  - devices: [pump-*]\n"
		      "    deliver: chunks\n"
		      "    topic: fw/{device}\n"
		      "    chunk_topic: fw/{device}/chunk/{index}\n"
		      "    chunk_size: 256KiB\n"
		      "    status: {topic: \"fw/{device}/state\", state: $.fw.state}\n"
		      "    broker: b\n"
		      "    max_size: 4GiB\n",
		      report, 0);
	expect_report(report, "configs and images", "");
	assert_int_equal(config->inactivity_ms, 600000);
	assert_int_equal(config->max_commands, 100000);
	assert_int_equal(config->journal.max_alarm_bytes, 32 << 20);
	assert_int_equal(config->n_configs, 2);
	assert_string_equal(config->configs[0].topic, "config/{device}");
	assert_true(config->configs[0].is_retained);
	assert_int_equal(config->configs[0].qos, 1);
	assert_null(config->configs[0].broker);
	assert_int_equal(config->configs[1].place.line, 9);
	assert_int_equal(config->configs[1].n_devices, 1);
	assert_string_equal(config->configs[1].broker, "b");
	assert_false(config->configs[1].is_retained);
	assert_int_equal(config->configs[1].qos, 0);

	assert_int_equal(config->n_images, 4);
	image = &config->images[0];
	assert_int_equal(image->deliver, FG_DELIVER_FILE);
	assert_string_equal(image->directory, "/data/images");
	assert_int_equal(image->max_bytes, 64 << 20);
	assert_null(image->url);
	assert_null(image->chunk_topic);
	assert_null(image->status);
	assert_string_equal(image->status_path, "$.state");
	assert_string_equal(config->images[1].directory, "/srv/images");
	image = &config->images[2];
	assert_int_equal(image->deliver, FG_DELIVER_URL);
	assert_string_equal(image->url, "http://10.0.0.1:8080/images/");
	assert_string_equal(image->directory, "/data/images");
	image = &config->images[3];
	assert_int_equal(image->place.line, 16);
	assert_int_equal(image->n_devices, 1);
	assert_int_equal(image->deliver, FG_DELIVER_CHUNKS);
	assert_null(image->directory);
	assert_string_equal(image->topic, "fw/{device}");
	assert_string_equal(image->chunk_topic, "fw/{device}/chunk/{index}");
	assert_int_equal(image->chunk_bytes, 256 << 10);
	assert_string_equal(image->status, "fw/{device}/state");
	assert_string_equal(image->status_path, "$.fw.state");
	assert_int_equal(image->status_place.line, 21);
	assert_string_equal(image->broker, "b");
	assert_true(image->max_bytes == UINT64_C(4) << 30);
}

static void what_is_not_set_beside_has_its_default(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;

	(void)state;
	config = load(ALL, report, 0);
	assert_int_equal(config->inactivity_ms, 0);
	assert_int_equal(config->max_commands, 10000);
	assert_int_equal(config->journal.max_alarm_bytes, 64 << 20);
	assert_int_equal(config->n_commands, 0);
	assert_int_equal(config->n_configs, 0);
	assert_int_equal(config->n_images, 0);
	assert_int_equal(config->clouds[0].order, FG_DRAIN_FIFO);
	assert_int_equal(config->clouds[0].backlog_share, 20);
	assert_int_equal(config->clouds[0].command_timeout_ms, 10000);
	for (int i = 0; i < FG_N_LIMITS; i++)
		assert_int_equal(config->clouds[0].n_rates[i], 0);
	assert_false(config->mappings[0].presence.is_set);
	assert_false(config->mappings[0].request.is_set);
	assert_false(config->mappings[0].is_alarm);
	assert_null(config->mappings[0].key);
}

static void rules_may_be_about_presence_requests_alarms_and_text(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	const struct fg_mapping_config *m;

	(void)state;
	config = load(
		NO_MAPPINGS
		"mappings:\n"
		"  - {topic: \"1/{device}\", presence: {up: [ready], down: [gone, lost]}}\n"
		"  - {topic: \"2/{device}\", presence: {from: $.state}, time: $.ts}\n"
		"  - {topic: \"3/{device}/{stream}\", presence: , lane: alarm}\n"
		"  - {topic: \"4/{device}\", payload: json, lane: alarm, telemetry: all}\n"
		"  - {topic: \"5/{device}/{stream}\",\n"
		"     request: {kind: attributes, cloud: c, response: \"r/{device}\",\n"
		"               timeout: 1min}}\n"
		"  - {topic: \"6/{device}\", request: {kind: rpc}}\n"
		"  - {topic: \"7/{device}\", request: {kind: claim}}\n"
		"  - {topic: \"8/{device}/{key}\", payload: text}\n"
		"  - {topic: \"9/{device}/{x}\", payload: text, key: \"v_{x}\", attributes: all}\n"
		"  - {topic: \"10/{device}\", payload: text, presence: {}}\n"
		"  - {topic: \"11/{device}/{stream}\", payload: opaque, lane: alarm}\n"
		"  - {topic: \"12/{device}/{stream}/{x}\", event: \"{x}\", lane: alarm, time: "
		"$.t}\n",
		report, 0);
	expect_report(report, "rules", "");
	m = config->mappings;
	assert_true(m[0].presence.is_set);
	assert_null(m[0].presence.from);
	assert_int_equal(m[0].presence.n_up, 1);
	assert_string_equal(m[0].presence.up[0], "ready");
	assert_int_equal(m[0].presence.n_down, 2);
	assert_string_equal(m[0].presence.down[1], "lost");
	assert_false(m[0].telemetry.is_all);
	assert_false(m[0].is_alarm);

	assert_string_equal(m[1].presence.from, "$.state");
	assert_int_equal(m[1].presence.from_place.line, 6);
	assert_int_equal(m[1].presence.n_up, 4);
	assert_string_equal(m[1].presence.up[0], "online");
	assert_string_equal(m[1].presence.up[3], "true");
	assert_int_equal(m[1].presence.n_down, 4);
	assert_string_equal(m[1].presence.down[0], "offline");
	assert_string_equal(m[1].presence.down[2], "0");
	assert_string_equal(m[1].time, "$.ts");

	assert_true(m[2].presence.is_set);
	assert_int_equal(m[2].presence.n_up, 4);
	assert_true(m[2].is_alarm);
	assert_string_equal(m[2].stream, "");

	assert_true(m[3].is_alarm);
	assert_true(m[3].telemetry.is_all);

	assert_true(m[4].request.is_set);
	assert_int_equal(m[4].request.kind, FG_REQUEST_ATTRIBUTES);
	assert_string_equal(m[4].request.link, "c");
	assert_string_equal(m[4].request.response, "r/{device}");
	assert_int_equal(m[4].request.response_place.line, 10);
	assert_int_equal(m[4].request.timeout_ms, 60000);
	assert_true(m[4].is_alarm);
	assert_false(m[4].telemetry.is_all);
	assert_string_equal(m[4].stream, "");
	assert_int_equal(m[5].request.kind, FG_REQUEST_RPC);
	assert_string_equal(m[5].request.link, "c"); /* the only one */
	assert_null(m[5].request.response);
	assert_int_equal(m[5].request.timeout_ms, 10000);
	assert_int_equal(m[6].request.kind, FG_REQUEST_CLAIM);

	assert_int_equal(m[7].payload, FG_PAYLOAD_TEXT);
	assert_string_equal(m[7].key, "{key}");
	assert_true(m[7].telemetry.is_all);
	assert_string_equal(m[8].key, "v_{x}");
	assert_int_equal(m[8].key_place.line, 15);
	assert_false(m[8].telemetry.is_all);
	assert_true(m[8].attributes.is_all);
	assert_true(m[9].presence.is_set);
	assert_null(m[9].key);
	assert_int_equal(m[10].payload, FG_PAYLOAD_OPAQUE);
	assert_string_equal(m[10].stream, "{stream}");
	assert_true(m[10].is_alarm);
	assert_null(m[10].key);
	assert_null(m[10].event);
	assert_string_equal(m[11].event, "{x}");
	assert_string_equal(m[11].stream, "{stream}");
	assert_string_equal(m[11].time, "$.t");
}

static void a_cloud_has_an_order_and_limits(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	const struct fg_cloud_config *cloud;

	(void)state;
	config = load(
		CLOUD("order: live_first, backlog_share: 99, command_timeout: 1min, limits: "
		      "{messages: 20/s, points: \"200:1, 6000:60\", bytes: [1/s, \"2/h,3/d\"]}"),
		report, 0);
	expect_report(report, "limits", "");
	cloud = &config->clouds[0];
	assert_int_equal(cloud->order, FG_DRAIN_LIVE_FIRST);
	assert_int_equal(cloud->backlog_share, 99);
	assert_int_equal(cloud->command_timeout_ms, 60000);
	assert_int_equal(cloud->n_rates[FG_LIMIT_MESSAGES], 1);
	assert_int_equal(cloud->rates[FG_LIMIT_MESSAGES][0].capacity, 20);
	assert_int_equal(cloud->rates[FG_LIMIT_MESSAGES][0].period_ms, 1000);
	assert_int_equal(cloud->n_rates[FG_LIMIT_POINTS], 2);
	assert_int_equal(cloud->rates[FG_LIMIT_POINTS][1].capacity, 6000);
	assert_int_equal(cloud->rates[FG_LIMIT_POINTS][1].period_ms, 60000);
	assert_int_equal(cloud->n_rates[FG_LIMIT_BYTES], 3);
	assert_int_equal(cloud->rates[FG_LIMIT_BYTES][2].capacity, 3);
	assert_int_equal(cloud->rates[FG_LIMIT_BYTES][2].period_ms, 86400000);
}

static const struct {
	const char *text;
	const char *report;
} mistakes[] = {
	/* commands: topic and payload */
	{ALL "commands: [{}]\n", "f:5:12: commands[0].topic: required, but not given"},
	{ALL "commands: [x]\n", "f:5:12: commands[0]: expected a mapping, got \"x\""},
	{COMMAND("topics: x"), "f:5:34: commands[0].topics: unknown key (did you mean \"topic\"?)"},
	{COMMAND("Response: {}"),
	 "f:5:34: commands[0].Response: unknown key (did you mean \"response\"?)"},
	{ALL "commands: [{topic: c}]\n",
	 "f:5:20: commands[0].topic: {device} is missing, in the payload too: nothing tells which "
	 "device it is for"},
	{ALL "commands: [{topic: c, devices: [\"pump-?\"]}]\n",
	 "f:5:20: commands[0].topic: {device} is missing, in the payload too: nothing tells which "
	 "device it is for"},
	{ALL "commands: [{topic: c, devices: [a, b]}]\n",
	 "f:5:20: commands[0].topic: {device} is missing, in the payload too: nothing tells which "
	 "device it is for"},
	{COMMAND("qos: 2, timeout: 500ms, max_open: 101, repeat: 1, offline: drop, commands: x"),
	 "f:5:39: commands[0].qos: expected 0 or 1, got \"2\"\n"
	 "f:5:51: commands[0].timeout: expected a duration from 1s to 7d, got \"500ms\"\n"
	 "f:5:68: commands[0].max_open: expected a number from 1 to 100, got \"101\"\n"
	 "f:5:81: commands[0].repeat: expected true or false, got \"1\"\n"
	 "f:5:93: commands[0].offline: expected refuse or wait, got \"drop\"\n"
	 "f:5:109: commands[0].commands: expected a list, got \"x\""},

	/* commands: response */
	{COMMAND("response: "), "f:5:44: commands[0].response: expected a mapping, got nothing"},
	{COMMAND("response: r"), "f:5:44: commands[0].response: expected a mapping, got \"r\""},
	{COMMAND("response: {}"), "f:5:44: commands[0].response.topic: required, but not given "
				  "(unless with correlate: mqtt5)"},
	{COMMAND("response: {topic: \"r/{device}\"}, max_open: 2"),
	 "f:5:77: commands[0].max_open: only 1 with correlate: none, where nothing tells which "
	 "command an answer is for"},
	{COMMAND("response: {topic: \"r/{device}/{id}\"}"),
	 "f:5:52: commands[0].response.topic: {id} needs correlate: topic"},
	{COMMAND("payload: '{id}', response: {topic: \"r/{id}\", correlate: $.id}"),
	 "f:5:69: commands[0].response.topic: {id} needs correlate: topic"},
	{COMMAND("response: {topic: r, correlate: id}"),
	 "f:5:66: commands[0].response.correlate: expected none, topic, mqtt5 or a path such as "
	 "$.id, got \"id\""},
	{COMMAND("response: {correlate: }"),
	 "f:5:56: commands[0].response.correlate: expected none, topic, mqtt5 or a path such as "
	 "$.id, got nothing"},
	/* Nothing follows from what is wrong. */
	{COMMAND("response: {topic: \"r/{id}\", correlate: Topic}, max_open: 2"),
	 "f:5:73: commands[0].response.correlate: expected none, topic, mqtt5 or a path such as "
	 "$.id, got \"Topic\""},
	{COMMAND("response: {correlate: mqtt}"),
	 "f:5:56: commands[0].response.correlate: expected none, topic, mqtt5 or a path such as "
	 "$.id, got \"mqtt\""},

	/* names of brokers */
	{COMMAND("broker: hall"), "f:5:42: commands[0].broker: no broker is called \"hall\""},
	{"local: {brokers: [{name: hall2, url: mqtt://h}]}\n" GATEWAY MAPPINGS CLOUDS
	 "configs: [{topic: \"x/{device}\", broker: hall}]\n"
	 "images: [{topic: \"x/{device}\", deliver: file, broker: other}]\n",
	 "f:5:41: configs[0].broker: no broker is called \"hall\" (did you mean \"hall2\"?)\n"
	 "f:6:55: images[0].broker: no broker is called \"other\""},
	/* configs */
	{SETTING(""), "f:5:11: configs[0].topic: required, but not given"},
	{SETTING("topic: \"x/{command}\""),
	 "f:5:19: configs[0].topic: {command} is not known here, only {device}"},
	{SETTING("topic: \"x/{device\""), "f:5:19: configs[0].topic: a brace without its partner"},
	{SETTING("topic: \"+/{device}\""),
	 "f:5:19: configs[0].topic: messages cannot be published to a topic with + or #"},
	{SETTING("topic: x, retained: false"),
	 "f:5:19: configs[0].topic: {device} is missing: all devices would take what is for one\n"
	 "f:5:22: configs[0].retained: unknown key (did you mean \"retain\"?)"},

	/* images */
	{ALL "images: [{}]\n", "f:5:10: images[0].deliver: required, but not given\n"
			       "f:5:10: images[0].topic: required, but not given"},
	{IMAGE("deliver: chunks"),
	 "f:5:10: images[0].chunk_topic: required with deliver: chunks, but not given"},
	{IMAGE("deliver: chunks, chunk_topic: \"k/{device}\""),
	 "f:5:62: images[0].chunk_topic: {index} is missing: a device could not tell one chunk "
	 "from another"},
	{IMAGE("deliver: chunks, chunk_topic: \"k/{index}\""),
	 "f:5:62: images[0].chunk_topic: {device} is missing: all devices would take what is for "
	 "one"},
	{IMAGE("deliver: file, url: http://h/, chunk_topic: \"k/{device}/{index}\", chunk_size: "
	       "4KiB"),
	 "f:5:47: images[0].url: only with deliver: url\n"
	 "f:5:63: images[0].chunk_topic: only with deliver: chunks\n"
	 "f:5:98: images[0].chunk_size: only with deliver: chunks"},
	{IMAGE("deliver: chunks, chunk_topic: \"k/{device}/{index}\", directory: /x"),
	 "f:5:84: images[0].directory: not with deliver: chunks"},
	{IMAGE("deliver: post, chunk_size: 100B, max_size: 5GiB"),
	 "f:5:41: images[0].deliver: expected file, url or chunks, got \"post\"\n"
	 "f:5:59: images[0].chunk_size: expected a size from 128B to 256KiB, got \"100B\"\n"
	 "f:5:75: images[0].max_size: expected a size from 1KiB to 4GiB, got \"5GiB\""},
	{IMAGE("deliver: url, url: http://h/x"),
	 "f:5:51: images[0].url: expected http://HOST/… or https://HOST/… with a slash at its end, "
	 "got \"http://h/x\""},
	{IMAGE("deliver: url, url: ftp://h/"),
	 "f:5:51: images[0].url: expected http://HOST/… or https://HOST/… with a slash at its end, "
	 "got \"ftp://h/\""},
	{IMAGE("deliver: url, url: http:///"),
	 "f:5:51: images[0].url: expected http://HOST/… or https://HOST/… with a slash at its end, "
	 "got \"http:///\""},
	{IMAGE("deliver: url, url: \"http://h/?x=/\""),
	 "f:5:51: images[0].url: expected http://HOST/… or https://HOST/… with a slash at its end, "
	 "got \"http://h/?x=/\""},
	{IMAGE("deliver: file, status: "),
	 "f:5:55: images[0].status: expected a mapping, got nothing"},
	{IMAGE("deliver: file, status: {state: $.x}"),
	 "f:5:55: images[0].status.topic: required, but not given"},
	{IMAGE("deliver: file, status: {topic: s, state: x}"),
	 "f:5:63: images[0].status.topic: {device} is missing: nothing else tells which device "
	 "reports\n"
	 "f:5:73: images[0].status.state: \"x\": a path starts with $ (character 1 of the path)"},
	{IMAGE("deliver: file, status: {topic: \"s/{device\"}"),
	 "f:5:63: images[0].status.topic: \"{device\": a {name} must be alone between its "
	 "slashes"},
	{IMAGE("deliver: file, status: {topic: \"s/{device}/{x}\"}"),
	 "f:5:63: images[0].status.topic: only {device} can stand in it"},
	{IMAGE("deliver: file, status: {topic: \"i/{device}\"}"),
	 "f:5:63: images[0].status.topic: a topic of the image matches this too: the gateway would "
	 "take what it sends for the report"},

	/* presence */
	{RULE("presence: x"), "f:1:44: mappings[0].presence: expected a mapping, got \"x\""},
	{RULE("presence: {up: online, downs: []}"),
	 "f:1:49: mappings[0].presence.up: expected a list, got \"online\"\n"
	 "f:1:57: mappings[0].presence.downs: unknown key (did you mean \"down\"?)"},
	{RULE("presence: {up: [], down: [a, '']}"),
	 "f:1:49: mappings[0].presence.up: expected at least one text\n"
	 "f:1:63: mappings[0].presence.down[1]: expected a text, got an empty one"},
	{RULE("presence: {up: [a, b, c], down: [c, a]}"),
	 "f:1:66: mappings[0].presence.down: \"a\" cannot mean up and down\n"
	 "f:1:66: mappings[0].presence.down: \"c\" cannot mean up and down"},
	{RULE("presence: {up: [down]}"),
	 "f:1:49: mappings[0].presence.up: \"down\" cannot mean up and down (as it does by "
	 "default)"},
	{RULE("presence: {down: [\"1\"]}"),
	 "f:1:51: mappings[0].presence.down: \"1\" cannot mean up and down (as it does by "
	 "default)"},
	{RULE("presence: {}, telemetry: all, attributes: all, stream: x, time: $.t, key: k"),
	 "f:1:48: mappings[0].telemetry: not beside presence\n"
	 "f:1:64: mappings[0].attributes: not beside presence\n"
	 "f:1:81: mappings[0].stream: not beside presence\n"
	 "f:1:92: mappings[0].time: not beside presence without from\n"
	 "f:1:103: mappings[0].key: not beside presence"},
	{RULE("payload: text, presence: {from: $.a}"),
	 "f:1:60: mappings[0].presence.from: not beside payload: text"},

	/* requests */
	{RULE("request: "), "f:1:43: mappings[0].request: expected a mapping, got nothing"},
	{RULE("request: {}"), "f:1:43: mappings[0].request.kind: required, but not given"},
	{RULE("request: {kind: attribute, timeout: 11min, response: '', clouds: c}"),
	 "f:1:50: mappings[0].request.kind: expected attributes, rpc, claim or delete, got "
	 "\"attribute\"\n"
	 "f:1:70: mappings[0].request.timeout: expected a duration from 1s to 10min, got "
	 "\"11min\"\n"
	 "f:1:87: mappings[0].request.response: expected a text, got an empty one\n"
	 "f:1:91: mappings[0].request.clouds: unknown key (did you mean \"cloud\"?)"},
	{RULE("request: {kind: rpc}, presence: {}, lane: main, time: $.t"),
	 "f:1:34: mappings[0].request: not beside presence\n"
	 "f:1:70: mappings[0].lane: not beside request\n"
	 "f:1:82: mappings[0].time: not beside request"},
	{RULE("request: {kind: rpc}, payload: text"),
	 "f:1:34: mappings[0].request: not beside payload: text"},
	{RULE("request: {kind: rpc, cloud: d}"),
	 "f:1:62: mappings[0].request.cloud: no cloud is called \"d\""},
	{GATEWAY LOCAL "mappings: [{topic: \"a/{device}\", request: {kind: rpc}}]\n"
		       "clouds: [{name: c, plugin: p, url: mqtt://h},\n"
		       "         {name: d, plugin: p, url: mqtt://h}]\n",
	 "f:3:43: mappings[0].request.cloud: required, since there is more than one cloud"},
	{GATEWAY "local: {brokers: [{name: b, url: mqtt://h, mqtt_version: 3.1.1}]}\n"
		 "mappings: [{topic: \"a/{device}\", request: {kind: rpc}}]\n" CLOUDS,
	 "f:3:43: mappings[0].request.response: required, since no broker speaks MQTT 5, which has "
	 "a Response Topic"},

	/* text and lanes */
	{RULE("payload: text, telemetry: {a: $.a}, time: $.t"),
	 "f:1:60: mappings[0].telemetry: only `all` with payload: text, whose value has the name "
	 "that `key` tells\n"
	 "f:1:70: mappings[0].time: not beside payload: text"},
	{RULE("key: x"), "f:1:34: mappings[0].key: not beside payload: json"},
	{RULE("payload: txt, key: x"),
	 "f:1:43: mappings[0].payload: expected json, text or opaque, got \"txt\""},
	{RULE("payload: opaque, telemetry: all, time: $.t"),
	 "f:1:51: mappings[0].telemetry: not beside payload: opaque\n"
	 "f:1:67: mappings[0].time: not beside payload: opaque"},
	{RULE("payload: opaque, key: x"), "f:1:51: mappings[0].key: not beside payload: opaque"},
	{RULE("payload: opaque, presence: {}"),
	 "f:1:51: mappings[0].presence: not beside payload: opaque"},
	{RULE("event: hot, telemetry: all, key: x"),
	 "f:1:46: mappings[0].telemetry: not beside event\n"
	 "f:1:62: mappings[0].key: not beside event"},
	{RULE("event: hot, payload: text"), "f:1:34: mappings[0].event: not beside payload: text"},
	{RULE("event: hot, payload: opaque"),
	 "f:1:34: mappings[0].event: not beside payload: opaque"},
	{RULE("event: hot, presence: {}"), "f:1:34: mappings[0].event: not beside presence"},
	{RULE("request: {kind: rpc}, event: hot"), "f:1:56: mappings[0].event: not beside request"},
	{RULE("event: \"\""), "f:1:41: mappings[0].event: expected a text, got an empty one"},
	{RULE("lane: fast"), "f:1:40: mappings[0].lane: expected main or alarm, got \"fast\""},

	/* clouds, gateway, journal */
	{CLOUD("order: lifo, backlog_share: 100, command_timeout: 8d"),
	 "f:4:54: clouds.c.order: expected fifo or live_first, got \"lifo\"\n"
	 "f:4:75: clouds.c.backlog_share: expected a number from 1 to 99, got \"100\"\n"
	 "f:4:97: clouds.c.command_timeout: expected a duration from 1s to 7d, got \"8d\""},
	{CLOUD("limits: {messages: 20, points: [1/s, 0/s, {}], bites: 1/s}"),
	 "f:4:66: clouds.c.limits.messages: expected a rate such as \"20/s\" or \"20:1,600:60\", "
	 "got "
	 "\"20\"\n"
	 "f:4:84: clouds.c.limits.points[1]: expected 1 to 1000000000 within 1 to 86400 seconds, "
	 "got \"0/s\"\n"
	 "f:4:89: clouds.c.limits.points[2]: expected a rate such as \"20/s\" or \"20:1,600:60\", "
	 "got a mapping (a text with { needs quotes)\n"
	 "f:4:94: clouds.c.limits.bites: unknown key (did you mean \"bytes\"?)"},
	{CLOUD("limits: {bytes: \"1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1\"}"),
	 "f:4:63: clouds.c.limits.bytes: more than 8 rates"},
	{NO_GATEWAY "gateway: {inactivity: 9s, max_commands: 0}\n",
	 "f:4:23: gateway.inactivity: expected a duration from 10s to 365d, got \"9s\"\n"
	 "f:4:41: gateway.max_commands: expected a number from 1 to 100000, got \"0\""},
	{ALL "journal: {max_alarm_size: 16MiB}\n",
	 "f:5:27: journal.max_alarm_size: 16MiB is less than 2 segments (segment_size is 16MiB)"},
};

static void every_mistake_is_reported_at_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();

		fg_config_free(load(mistakes[i].text, report, -EINVAL));
		expect_report(report, mistakes[i].text, mistakes[i].report);
	}
}

/* What may stand in a file that is broken is not said to be missing. */
static void a_name_is_not_looked_for_where_not_all_could_be_read(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();

	(void)state;
	/* A list of brokers that is too long, and one of the wrong type, are mistakes of their own. */
	fg_config_free(load(GATEWAY MAPPINGS CLOUDS
			    "local: {brokers: x}\n"
			    "commands: [{topic: \"c/{device}\", broker: other}]\n",
			    report, -EINVAL));
	expect_report(report, "brokers", "f:4:18: local.brokers: expected a list, got \"x\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_of_a_command_arrives_where_it_belongs),
		cmocka_unit_test(a_command_has_its_defaults),
		cmocka_unit_test(each_kind_of_correlation_is_accepted_with_what_it_needs),
		cmocka_unit_test(configs_and_images_arrive_where_they_belong),
		cmocka_unit_test(what_is_not_set_beside_has_its_default),
		cmocka_unit_test(rules_may_be_about_presence_requests_alarms_and_text),
		cmocka_unit_test(a_cloud_has_an_order_and_limits),
		cmocka_unit_test(every_mistake_is_reported_at_its_place),
		cmocka_unit_test(a_name_is_not_looked_for_where_not_all_could_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
