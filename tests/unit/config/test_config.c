#include "sections.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static void every_value_arrives_where_it_belongs(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	const struct fg_broker_config *broker;
	const struct fg_mapping_config *mapping;
	const struct fg_cloud_config *cloud;

	(void)state;
	config =
		load("gateway:\n"
		     "  name: plant7\n"
		     "  state_directory: /data\n"
		     "  plugin_directory: /plugins\n"
		     "  max_message_size: 64KiB\n"
		     "local:\n"
		     "  brokers:\n"
		     "    - name: hall2\n"
		     "      url: mqtts://[2001:db8::5]:8884\n"
		     "      tls: {ca: /etc, certificate: /etc/passwd, key: /etc/group,\n"
		     "            key_password: word, server_name: hall2.example, insecure: true}\n"
		     "      mqtt_version: 3.1.1\n"
		     "      client_id: me\n"
		     "      username: user\n"
		     "      password: '0123'\n"
		     "      share: group\n"
		     "      qos: 0\n"
		     "      keep_alive: 2min\n"
		     "      receive_maximum: 65535\n"
		     "      session_expiry: 1h\n"
		     "mappings:\n"
		     "  - topic: sensors/{device}/climate\n"
		     "    payload: json\n"
		     "    device: \"{device}-x\"\n"
		     "    stream: s\n"
		     "    telemetry: {temperature: $.t, humidity: {from: $.h}}\n"
		     "    attributes: all\n"
		     "    time: {from: $.ts, unit: ms}\n"
		     "clouds:\n"
		     "  - name: tb\n"
		     "    plugin: thingsboard\n"
		     "    url: mqtts://tb.example.com\n"
		     "    mqtt_version: 5\n"
		     "    keep_alive: 20min\n"
		     "    max_in_flight: 1000\n"
		     "    max_in_flight_records: 100\n"
		     "    ack_timeout: 1500ms\n"
		     "    max_backlog: 32MiB\n"
		     "    max_age: 1min\n"
		     "    devices:\n"
		     "      include: [pump-*, valve]\n"
		     "      exclude: [pump-9]\n"
		     "      rename: {pump-1: Pump 1, pump-2: \"Pump 2\"}\n"
		     "    fallback: {url: \"https://tb.example.com:444/up//\", after: 5min}\n"
		     "    own_key: whatever\n"
		     "journal: {max_size: 16TiB, max_quarantine_size: 1GiB, segment_size: 32MiB,\n"
		     "          commit_interval: 10s, max_age: 3650d, on_full: stop_ack}\n",
		     report, 0);
	expect_report(report, "all keys", "");

	assert_string_equal(config->name, "plant7");
	assert_string_equal(config->state_directory, "/data");
	assert_string_equal(config->plugin_directory, "/plugins");
	assert_int_equal(config->max_message_bytes, 65536);

	assert_int_equal(config->n_brokers, 1);
	broker = &config->brokers[0];
	assert_int_equal(broker->place.line, 8);
	assert_int_equal(broker->place.column, 7);
	assert_string_equal(broker->name, "hall2");
	assert_true(broker->url.is_tls);
	assert_string_equal(broker->url.host, "2001:db8::5");
	assert_int_equal(broker->url.port, 8884);
	assert_string_equal(broker->tls.ca, "/etc");
	assert_string_equal(broker->tls.certificate, "/etc/passwd");
	assert_string_equal(broker->tls.key, "/etc/group");
	assert_string_equal(broker->tls.key_password, "word");
	assert_string_equal(broker->tls.server_name, "hall2.example");
	assert_true(broker->tls.is_insecure);
	assert_int_equal(broker->mqtt_version, FG_MQTT_311);
	assert_string_equal(broker->client_id, "me");
	assert_string_equal(broker->username, "user");
	assert_string_equal(broker->password, "0123");
	assert_string_equal(broker->share, "group");
	assert_int_equal(broker->qos, 0);
	assert_int_equal(broker->keep_alive_s, 120);
	assert_int_equal(broker->receive_maximum, 65535);
	assert_int_equal(broker->session_expiry_s, 3600);

	assert_int_equal(config->n_mappings, 1);
	mapping = &config->mappings[0];
	assert_string_equal(mapping->topic, "sensors/{device}/climate");
	assert_int_equal(mapping->payload, FG_PAYLOAD_JSON);
	assert_string_equal(mapping->device, "{device}-x");
	assert_int_equal(mapping->device_place.line, 24);
	assert_int_equal(mapping->device_place.column, 13);
	assert_string_equal(mapping->stream, "s");
	assert_int_equal(mapping->stream_place.line, 25);
	assert_false(mapping->telemetry.is_all);
	assert_int_equal(mapping->telemetry.n_select, 2);
	assert_string_equal(mapping->telemetry.select[0].name, "temperature");
	assert_string_equal(mapping->telemetry.select[0].from, "$.t");
	assert_int_equal(mapping->telemetry.select[0].place.column, 30);
	assert_string_equal(mapping->telemetry.select[1].name, "humidity");
	assert_string_equal(mapping->telemetry.select[1].from, "$.h");
	assert_int_equal(mapping->telemetry.select[1].place.column, 52);
	assert_true(mapping->attributes.is_all);
	assert_string_equal(mapping->time, "$.ts");
	assert_int_equal(mapping->time_unit, FG_TIME_UNIT_MS);
	assert_int_equal(mapping->time_place.line, 28);
	assert_int_equal(mapping->time_place.column, 18);

	assert_int_equal(config->n_clouds, 1);
	cloud = &config->clouds[0];
	assert_string_equal(cloud->name, "tb");
	assert_string_equal(cloud->plugin, "thingsboard");
	assert_int_equal(cloud->plugin_place.line, 31);
	assert_string_equal(cloud->url.host, "tb.example.com");
	assert_int_equal(cloud->url.port, 8883);
	assert_int_equal(cloud->url_place.line, 32);
	assert_int_equal(cloud->mqtt_version, FG_MQTT_5);
	assert_int_equal(cloud->keep_alive_s, 1200);
	assert_int_equal(cloud->max_in_flight, 1000);
	assert_int_equal(cloud->max_in_flight_records, 100);
	assert_int_equal(cloud->ack_timeout_ms, 1500);
	assert_int_equal(cloud->max_backlog_bytes, 32 << 20);
	assert_int_equal(cloud->max_age_ms, 60000);
	assert_string_equal(cloud->fallback.url, "https://tb.example.com:444/up");
	assert_int_equal(cloud->fallback.after_ms, 300000);
	assert_int_equal(cloud->devices.n_include, 2);
	assert_string_equal(cloud->devices.include[1], "valve");
	assert_int_equal(cloud->devices.n_exclude, 1);
	assert_string_equal(cloud->devices.exclude[0], "pump-9");
	assert_int_equal(cloud->devices.n_rename, 2);
	assert_string_equal(cloud->devices.rename[1].from, "pump-2");
	assert_string_equal(cloud->devices.rename[1].to, "Pump 2");

	assert_true(config->journal.max_bytes == UINT64_C(16) << 40);
	assert_true(config->journal.max_quarantine_bytes == 1 << 30);
	assert_true(config->journal.segment_bytes == 32 << 20);
	assert_int_equal(config->journal.commit_interval_ms, 10000);
	assert_int_equal(config->journal.max_age_ms, INT64_C(3650) * 86400000);
	assert_int_equal(config->journal.on_full, FG_CONFIG_STOP_ACK);
}

static void what_is_not_given_has_its_default(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	const struct fg_broker_config *broker;
	const struct fg_mapping_config *mapping;
	const struct fg_cloud_config *cloud;
	char host[256] = "";

	(void)state;
	unsetenv("STATE_DIRECTORY");
	config = load(LOCAL MAPPINGS CLOUDS "journal:\n", report, 0);
	expect_report(report, "defaults", "");

	gethostname(host, sizeof(host) - 1);
	assert_string_equal(config->name, host);
	assert_string_equal(config->state_directory, "/var/lib/fieldgate");
	assert_int_equal(*config->plugin_directory, '/');
	assert_int_equal(config->max_message_bytes, 1 << 20);

	broker = &config->brokers[0];
	assert_string_equal(broker->url.host, "h");
	assert_int_equal(broker->url.port, 1883);
	assert_false(broker->url.is_tls);
	assert_int_equal(broker->mqtt_version, FG_MQTT_AUTO);
	assert_true(strncmp(broker->client_id, "fieldgate-", 10) == 0);
	assert_string_equal(broker->client_id + strlen(broker->client_id) - 2, "-b");
	assert_null(broker->username);
	assert_null(broker->password);
	assert_null(broker->share);
	assert_null(broker->tls.ca);
	assert_false(broker->tls.is_insecure);
	assert_int_equal(broker->qos, 1);
	assert_int_equal(broker->keep_alive_s, 60);
	assert_int_equal(broker->receive_maximum, 4096);
	assert_int_equal(broker->session_expiry_s, 7 * 86400);

	mapping = &config->mappings[0];
	assert_string_equal(mapping->device, "{device}");
	assert_int_equal(mapping->device_place.line, mapping->place.line);
	assert_int_equal(mapping->device_place.column, mapping->place.column);
	assert_string_equal(mapping->stream, "");
	assert_true(mapping->telemetry.is_all);
	assert_false(mapping->attributes.is_all);
	assert_null(mapping->time);
	assert_int_equal(mapping->time_unit, FG_TIME_UNIT_AUTO);

	cloud = &config->clouds[0];
	assert_int_equal(cloud->mqtt_version, FG_MQTT_AUTO);
	assert_int_equal(cloud->keep_alive_s, 0);
	assert_int_equal(cloud->max_in_flight, 16);
	assert_int_equal(cloud->max_in_flight_records, 10000);
	assert_int_equal(cloud->ack_timeout_ms, 30000);
	assert_int_equal(cloud->max_backlog_bytes, 0);
	assert_int_equal(cloud->max_age_ms, 0);
	assert_null(cloud->fallback.url);
	assert_int_equal(cloud->fallback.after_ms, 60000);
	assert_int_equal(cloud->devices.n_include, 0);
	assert_int_equal(cloud->devices.n_exclude, 0);
	assert_int_equal(cloud->devices.n_rename, 0);

	assert_true(config->journal.max_bytes == UINT64_C(2) << 30);
	assert_true(config->journal.max_quarantine_bytes == 64 << 20);
	assert_true(config->journal.segment_bytes == 16 << 20);
	assert_int_equal(config->journal.commit_interval_ms, 0);
	assert_int_equal(config->journal.max_age_ms, 0);
	assert_int_equal(config->journal.on_full, FG_CONFIG_DROP_OLDEST);
}

static void the_stream_defaults_to_the_capture_of_that_name(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	static const char *const expected[] = {"{stream}", "{stream}", "", "", "x"};

	(void)state;
	config = load(NO_MAPPINGS
		      "mappings:\n"
		      "  - topic: a/{device}/{stream}\n"
		      "  - topic: b/{device}/{stream...}\n"
		      "  - topic: c/{device}/{streams}\n"
		      "  - {topic: \"d/{device}/{stream}\", stream: \"\"}\n"
		      "  - {topic: \"e/{device}/{stream}\", stream: x, attributes: {a: $.b}}\n",
		      report, 0);
	assert_int_equal(config->n_mappings, 5);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(config->mappings[i].stream, expected[i]);
	assert_true(config->mappings[3].telemetry.is_all);
	assert_false(config->mappings[4].telemetry.is_all);
	assert_int_equal(config->mappings[4].telemetry.n_select, 0);
}

static void the_service_manager_says_where_the_state_is(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;

	(void)state;
	setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two", 1);
	config = load(NO_GATEWAY, report, 0);
	unsetenv("STATE_DIRECTORY");
	assert_string_equal(config->state_directory, "/var/lib/one");
}

static const struct {
	const char *text;
	const char *report;
} mistakes[] = {
	/* what a whole file needs */
	{"", "f: empty: add the sections local, mappings and clouds"},
	{"# nothing\n", "f: empty: add the sections local, mappings and clouds"},
	{"[1]\n", "f:1:1: expected a mapping of sections: gateway, local, mappings, commands, "
		  "configs, images, clouds and journal, got a "
		  "list (a text with [ needs quotes)"},
	{"hello\n",
	 "f:1:1: expected a mapping of sections: gateway, local, mappings, commands, configs, "
	 "images, clouds and journal, "
	 "got \"hello\""},
	{GATEWAY, "f:1:1: local.brokers: add at least one broker, with name and url\n"
		  "f:1:1: mappings: add at least one rule, with topic\n"
		  "f:1:1: clouds: add at least one cloud, with name, plugin and url"},
	{"gateway:\nlocal:\nmappings:\nclouds: []\njournal:\n",
	 "f:2:1: local.brokers: add at least one broker, with name and url\n"
	 "f:3:1: mappings: add at least one rule, with topic\n"
	 "f:4:1: clouds: add at least one cloud, with name, plugin and url"},
	{NO_LOCAL "local: {brokers: []}\n",
	 "f:4:1: local.brokers: add at least one broker, with name and url"},
	{NO_LOCAL "local: []\n",
	 "f:4:8: local: expected a mapping, got a list (a text with [ needs "
	 "quotes)"},
	{NO_CLOUDS "clouds: azure\n", "f:4:9: clouds: expected a list, got \"azure\""},
	{NO_CLOUDS "clouds: [azure, ~]\n", "f:4:10: clouds[0]: expected a mapping, got \"azure\"\n"
					   "f:4:17: clouds[1]: expected a mapping, got nothing"},
	{NO_GATEWAY "gatewey: {name: x}\n",
	 "f:4:1: gatewey: unknown key (did you mean \"gateway\"?)"},
	{NO_GATEWAY "<<: {name: x}\n", "f:4:1: <<: unknown key"},

	/* names */
	{NO_GATEWAY "gateway: {name: a/b}\n",
	 "f:4:17: gateway.name: expected a name (1 to 63 of A-Z a-z 0-9 _ . -, starting with a "
	 "letter or digit), got \"a/b\""},
	{NO_GATEWAY "gateway: {name: ..}\n",
	 "f:4:17: gateway.name: expected a name (1 to 63 of A-Z a-z 0-9 _ . -, starting with a "
	 "letter or digit), got \"..\""},
	{NO_GATEWAY "gateway: {name: }\n", "f:4:17: gateway.name: expected a text, got nothing"},
	{NO_GATEWAY "gateway: {name: "
		    "a123456789b123456789c123456789d123456789e123456789f123456789g123}\n",
	 "f:4:17: gateway.name: expected a name (1 to 63 of A-Z a-z 0-9 _ . -, starting with a "
	 "letter or digit), got \"a123456789b123456789c123456789d123456789e123456789f123456789…\""},
	{NO_GATEWAY "gateway: {name: ["
		    "a]}\n",
	 "f:4:17: gateway.name: expected a text, got a list (a text with [ needs quotes)"},
	{NO_CLOUDS "clouds:\n"
		   "  - {name: tb, plugin: p, url: mqtt://h}\n"
		   "  - {name: ok, plugin: p, url: mqtt://h}\n"
		   "  - {name: tb, plugin: p, url: mqtt://h}\n",
	 "f:7:12: clouds.tb.name: this name is taken already at f:5:12"},
	{NO_LOCAL "local:\n"
		  "  brokers:\n"
		  "    - {name: b, url: mqtt://h}\n"
		  "    - {name: b, url: mqtt://i}\n",
	 "f:7:14: local.brokers.b.name: this name is taken already at f:6:14"},

	/* single values of each type */
	{NO_GATEWAY "gateway: {state_directory: var}\n",
	 "f:4:28: gateway.state_directory: expected an absolute path, got \"var\""},
	{NO_GATEWAY "gateway: {max_message_size: 100}\n",
	 "f:4:29: gateway.max_message_size: expected a size such as \"64MiB\", got \"100\""},
	{NO_GATEWAY "gateway: {max_message_size: 100B}\n",
	 "f:4:29: gateway.max_message_size: expected a size from 1KiB to 1MiB, got \"100B\""},
	{NO_GATEWAY "gateway: {max_message_size: [1KiB]}\n",
	 "f:4:29: gateway.max_message_size: expected a size such as \"64MiB\", got a list (a text "
	 "with [ needs quotes)"},
	{BROKER("qos: 2"), "f:1:50: local.brokers.b.qos: expected 0 or 1, got \"2\""},
	{BROKER("qos: one"), "f:1:50: local.brokers.b.qos: expected 0 or 1, got \"one\""},
	{BROKER("qos: 01"), "f:1:50: local.brokers.b.qos: expected 0 or 1, got \"01\""},
	{BROKER("qos: ~"), "f:1:50: local.brokers.b.qos: expected 0 or 1, got nothing"},
	{BROKER("receive_maximum: -1"),
	 "f:1:62: local.brokers.b.receive_maximum: expected a number "
	 "from 1 to 65535, got \"-1\""},
	{BROKER("receive_maximum: 99999999999999999999"),
	 "f:1:62: local.brokers.b.receive_maximum: expected a number from 1 to 65535, got "
	 "\"99999999999999999999\""},
	{BROKER("keep_alive: 60"),
	 "f:1:57: local.brokers.b.keep_alive: expected a duration such as \"30s\", got \"60\""},
	{BROKER("keep_alive: 5500ms"),
	 "f:1:57: local.brokers.b.keep_alive: expected whole seconds, got \"5500ms\""},
	{BROKER("keep_alive: 1d"),
	 "f:1:57: local.brokers.b.keep_alive: expected a duration from 5s "
	 "to 65535s, got \"1d\""},
	{BROKER("session_expiry: 0s"),
	 "f:1:61: local.brokers.b.session_expiry: expected a duration "
	 "from 1s to 3650d, got \"0s\""},
	{BROKER("username: ''"),
	 "f:1:55: local.brokers.b.username: expected a text, got an empty one"},
	{BROKER("username: {a: b}"), "f:1:55: local.brokers.b.username: expected a text, got a "
				     "mapping (a text with { needs quotes)"},
	{BROKER("share: a/b"),
	 "f:1:52: local.brokers.b.share: expected a name (1 to 63 of A-Z a-z 0-9 _ . -, starting "
	 "with a letter or digit), got \"a/b\""},
	{BROKER("shared: a"),
	 "f:1:45: local.brokers.b.shared: unknown key (did you mean \"share\"?)"},
	{BROKER("clientId: a"),
	 "f:1:45: local.brokers.b.clientId: unknown key (did you mean \"client_id\"?)"},
	{BROKER("topics: a"), "f:1:45: local.brokers.b.topics: unknown key"},
	{CLOUD("mqtt_version: \"4\""),
	 "f:4:61: clouds.c.mqtt_version: expected auto, 5 or 3.1.1, got \"4\""},
	{CLOUD("mqtt_version: "), "f:4:61: clouds.c.mqtt_version: expected auto, 5 or 3.1.1, got "
				  "nothing"},
	{CLOUD("keep_alive: 5s"),
	 "f:4:59: clouds.c.keep_alive: expected a duration from 10s to 20min, got \"5s\""},
	{CLOUD("max_in_flight: 0"),
	 "f:4:62: clouds.c.max_in_flight: expected a number from 1 to 1000, got \"0\""},
	{CLOUD("ack_timeout: 11min"),
	 "f:4:60: clouds.c.ack_timeout: expected a duration from 1s to 10min, got \"11min\""},
	{NO_CLOUDS
	 "clouds: [{name: c, plugin: p, url: mqtt://h, fallback: {url: 'http://c'}, tls: {}}]\n",
	 "f:4:75: clouds.c.tls: only with an url that starts with mqtts://"},
	{CLOUD("fallback: "), "f:4:57: clouds.c.fallback: expected a mapping, got nothing"},
	{CLOUD("fallback: {after: 2min}"),
	 "f:4:57: clouds.c.fallback.url: required, but not given"},
	{CLOUD("fallback: {url: 'mqtts://c'}"),
	 "f:4:63: clouds.c.fallback.url: expected https://HOST[:PORT][/PATH], got \"mqtts://c\""},
	{CLOUD("fallback: {url: 'https:///x'}"),
	 "f:4:63: clouds.c.fallback.url: expected https://HOST[:PORT][/PATH], got "
	 "\"https:///x\""},
	{CLOUD("fallback: {url: 'https://c?d=1'}"),
	 "f:4:63: clouds.c.fallback.url: expected https://HOST[:PORT][/PATH], got "
	 "\"https://c?d=1\""},
	{CLOUD("fallback: {url: 'https://user:word@c'}"),
	 "f:4:63: clouds.c.fallback.url: an URL here has no user name"},
	{CLOUD("fallback: {url: 'https://c', after: 500ms}"),
	 "f:4:83: clouds.c.fallback.after: expected a duration from 1s to 1d, got \"500ms\""},

	/* urls */
	{NO_CLOUDS "clouds: [{name: c, plugin: p, url: 10.0.0.1}]\n",
	 "f:4:36: clouds.c.url: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT], got "
	 "\"10.0.0.1\""},
	{NO_CLOUDS "clouds: [{name: c, plugin: p, url: [a]}]\n",
	 "f:4:36: clouds.c.url: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT], got a list (a "
	 "text with [ needs quotes)"},
	{NO_CLOUDS "clouds: [{name: c, plugin: p, url: \"mqtt://user:hunter2@h\"}]\n",
	 "f:4:36: clouds.c.url: a user name and password do not belong into the url"},

	/* required keys, and entries without a name */
	{NO_CLOUDS "clouds:\n  - tls: {}\n", "f:5:5: clouds[0].name: required, but not given\n"
					     "f:5:5: clouds[0].plugin: required, but not given\n"
					     "f:5:5: clouds[0].url: required, but not given"},
	{NO_LOCAL "local: {brokers: [{}]}\n",
	 "f:4:19: local.brokers[0].name: required, but not given\n"
	 "f:4:19: local.brokers[0].url: required, but not given"},

	/* tls */
	{CLOUD("tls: []"), "f:4:52: clouds.c.tls: expected a mapping, got a list (a text with [ "
			   "needs quotes)"},
	{CLOUD("tls: {insecure: yes}"),
	 "f:4:63: clouds.c.tls.insecure: expected true or false, got \"yes\""},
	{CLOUD("tls: {certificate: /etc/passwd}"),
	 "f:4:66: clouds.c.tls.certificate: needs key beside it"},
	{CLOUD("tls: {key: /etc/passwd}"), "f:4:58: clouds.c.tls.key: needs certificate beside it"},
	{CLOUD("tls: {key_password: hunter2}"),
	 "f:4:67: clouds.c.tls.key_password: needs key beside it"},
	{CLOUD("tls: {ca: }"), "f:4:57: clouds.c.tls.ca: expected a text, got nothing"},
	{CLOUD("tls: {ca: ''}"), "f:4:57: clouds.c.tls.ca: expected the path of a file, got \"\""},
	{CLOUD("tls: {ca: /nonexistent/ca.pem}"),
	 "f:4:57: clouds.c.tls.ca: cannot read /nonexistent/ca.pem: No such file or directory"},
	{CLOUD("tls: {ca: /dev/null}"),
	 "f:4:57: clouds.c.tls.ca: cannot read /dev/null: not a regular file"},
	{CLOUD("tls: {key: /etc, certificate: /etc/passwd}"),
	 "f:4:58: clouds.c.tls.key: cannot read /etc: Is a directory"},
	{CLOUD("tls: {serverName: a}"),
	 "f:4:53: clouds.c.tls.serverName: unknown key (did you mean \"server_name\"?)"},
	{NO_CLOUDS "clouds: [{name: c, plugin: p, url: mqtt://h, tls: {}}]\n",
	 "f:4:46: clouds.c.tls: only with an url that starts with mqtts://"},
	{"local: {brokers: [{name: b, url: mqtt://h, tls: {}}]}\n" NO_LOCAL,
	 "f:1:44: local.brokers.b.tls: only with an url that starts with mqtts://"},

	/* secrets: never quoted */
	{BROKER("password: [hunter2]"),
	 "f:1:55: local.brokers.b.password: expected {file: PATH}, {credential: NAME}, {env: NAME} "
	 "or a text, got a list"},
	{BROKER("password: ~"), "f:1:55: local.brokers.b.password: expected {file: PATH}, "
				"{credential: NAME}, {env: NAME} or a text, got nothing"},
	{BROKER("password: ''"), "f:1:55: local.brokers.b.password: expected {file: PATH}, "
				 "{credential: NAME}, {env: NAME} or a text, got nothing"},
	{BROKER("password: {hunter2}"), "f:1:56: local.brokers.b.password: expected one of {file: "
					"PATH}, {credential: NAME}, {env: "
					"NAME} or a text"},
	{BROKER("password: {hunter2: 1, hunter3: 2}"),
	 "f:1:55: local.brokers.b.password: expected one of {file: PATH}, {credential: NAME}, "
	 "{env: "
	 "NAME} or a text"},
	{BROKER("password: {}"), "f:1:55: local.brokers.b.password: expected one of {file: PATH}, "
				 "{credential: NAME}, {env: "
				 "NAME} or a text"},
	{BROKER("password: {credentials: hall}"), "f:1:56: local.brokers.b.password: expected one "
						  "of {file: PATH}, {credential: NAME}, {env: "
						  "NAME} or a text (did you mean \"credential\"?)"},
	{BROKER("password: {file: [hunter2]}"),
	 "f:1:62: local.brokers.b.password.file: expected a text"},
	{BROKER("password: {env: FG_TEST_UNSET}"),
	 "f:1:61: local.brokers.b.password.env: environment variable FG_TEST_UNSET is not set"},
	{BROKER("password: {credential: ../x}"),
	 "f:1:68: local.brokers.b.password.credential: the name of a credential has no / and no . "
	 "at its start"},
	{BROKER("password: *hunter2"),
	 "f:1:55: aliases (*) are not supported; a text that starts with * needs quotes"},
	{BROKER("password: &hunter2 x"),
	 "f:1:55: anchors (&) are not supported; a text that starts with & needs quotes"},
	{BROKER("password: !hunter2 x"),
	 "f:1:55: tags (!) are not supported; a text that starts with ! needs quotes"},

	/* mappings */
	{NO_MAPPINGS "mappings: [{payload: json}]\n",
	 "f:4:12: mappings[0].topic: required, but not given"},
	{NO_MAPPINGS "mappings: [{topic: {device}}]\n",
	 "f:4:20: mappings[0].topic: expected a text, got a mapping (a text with { needs quotes)"},
	{MAPPING("payload: xml"),
	 "f:1:34: mappings[0].payload: expected json, text or opaque, got \"xml\""},
	{MAPPING("telemetry: some"), "f:1:36: mappings[0].telemetry: expected all, or at least one "
				     "NAME: PATH, got \"some\""},
	{MAPPING("telemetry: {}"), "f:1:36: mappings[0].telemetry: expected all, or at least one "
				   "NAME: PATH, got a mapping (a text with { needs quotes)"},
	{MAPPING("attributes: {a: {form: $.x}}"),
	 "f:1:41: mappings[0].attributes.a.from: required, but not given\n"
	 "f:1:42: mappings[0].attributes.a.form: unknown key (did you mean \"from\"?)"},
	{MAPPING("attributes: {a: [], b: , c: ''}"),
	 "f:1:41: mappings[0].attributes.a: expected a path such as $.t, or {from: PATH}, got a "
	 "list (a text with [ needs quotes)\n"
	 "f:1:48: mappings[0].attributes.b: expected a path such as $.t, or {from: PATH}, got "
	 "nothing\n"
	 "f:1:53: mappings[0].attributes.c: expected a text, got an empty one"},
	{MAPPING("time: []"), "f:1:31: mappings[0].time: expected a path such as $.ts, or {from: "
			      "PATH, unit: UNIT}, got a list (a text with [ needs quotes)"},
	{MAPPING("time: {unit: h}"),
	 "f:1:31: mappings[0].time.from: required, but not given\n"
	 "f:1:38: mappings[0].time.unit: expected auto, s, ms, us or iso8601, got \"h\""},

	/* devices */
	{CLOUD("devices: {include: pump-*}"),
	 "f:4:66: clouds.c.devices.include: expected a list, got \"pump-*\""},
	{CLOUD("devices: {include: [a, [b], '']}"),
	 "f:4:70: clouds.c.devices.include[1]: expected a text, got a list (a text with [ needs "
	 "quotes)\n"
	 "f:4:75: clouds.c.devices.include[2]: expected a text, got an empty one"},
	{CLOUD("devices: {rename: [a]}"),
	 "f:4:65: clouds.c.devices.rename: expected a mapping of "
	 "names to names, got a list (a text with [ needs quotes)"},
	{CLOUD("devices: {rename: {a: x, b: y, c: x, d: [x]}}"),
	 "f:4:81: clouds.c.devices.rename.c: this is already the new name of a in line 4\n"
	 "f:4:87: clouds.c.devices.rename.d: expected a text, got a list (a text with [ needs "
	 "quotes)"},
	{CLOUD("devices: {includes: []}"),
	 "f:4:57: clouds.c.devices.includes: unknown key (did you mean \"include\"?)"},

	/* journal */
	{NO_GATEWAY "journal: {max_size: 32MiB}\n",
	 "f:4:21: journal.max_size: 32MiB is less than 4 segments (segment_size is 16MiB)"},
	{NO_GATEWAY "journal: {segment_size: 1GiB}\n",
	 "f:4:25: journal.max_size: 2GiB is less than 4 segments (segment_size is 1GiB)\n"
	 "f:4:25: journal.max_alarm_size: 64MiB is less than 2 segments (segment_size is 1GiB)\n"
	 "f:4:25: journal.max_quarantine_size: 64MiB is less than 2 segments (segment_size is "
	 "1GiB)"},
	{NO_GATEWAY "journal: {segment_size: 4MiB}\n",
	 "f:4:25: journal.segment_size: expected a size from 8MiB to 1GiB, got \"4MiB\""},
	{NO_GATEWAY "journal: {on_full: stop}\n",
	 "f:4:20: journal.on_full: expected drop_oldest, drop_newest or stop_ack, got \"stop\""},
	{NO_GATEWAY "journal: {max_age: 59s}\n",
	 "f:4:20: journal.max_age: expected a duration from 1min to 3650d, got \"59s\""},
	{CLOUD("max_backlog: 8MiB"),
	 "f:4:60: clouds.c.max_backlog: 8MiB is less than one segment (journal.segment_size is "
	 "16MiB)"},
	{NO_GATEWAY "journal: {max_size: 1MiB, commit_interval: 1}\n",
	 "f:4:21: journal.max_size: expected a size from 32MiB to 16TiB, got \"1MiB\"\n"
	 "f:4:44: journal.commit_interval: expected a duration such as \"30s\", got \"1\""},
};

static void every_mistake_is_reported_at_its_place(void **state)
{
	(void)state;
	unsetenv("FG_TEST_UNSET");
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();

		fg_config_free(load(mistakes[i].text, report, -EINVAL));
		expect_report(report, mistakes[i].text, mistakes[i].report);
		assert_null(strstr(fg_report_line(report, 0), "hunter2"));
	}
}

static void one_run_reports_all_mistakes(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;

	(void)state;
	config = load("gateway: {name: plant 7}\n"
		      "local:\n"
		      "  brokers:\n"
		      "    - {name: b, url: \"mqtt://h:x\", qos: 3}\n"
		      "    - {url: mqtt://h}\n"
		      "mappings:\n"
		      "  - {topic: [], device: ''}\n"
		      "  - {topic: ok, telemetry: {a: $.a, b: []}}\n"
		      "clouds:\n"
		      "  - name: azure\n"
		      "    plugin: p\n"
		      "    url: mqtts://h\n"
		      "    mqtt_version: \"4\"\n"
		      "    tls: {insecure: 1, cb: x}\n"
		      "    keep_alive: 1s\n"
		      "  - {name: b, url: mqtt://h}\n"
		      "  - {name: c d, plugin: p, url: x}\n"
		      "journal: {max_size: 1, maxsize: 2}\n",
		      report, -EINVAL);
	expect_report(
		report, "all mistakes",
		"f:1:17: gateway.name: expected a name (1 to 63 of A-Z a-z 0-9 _ . -, starting "
		"with a "
		"letter or digit), got \"plant 7\"\n"
		"f:4:22: local.brokers.b.url: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT], "
		"got "
		"\"mqtt://h:x\"\n"
		"f:4:41: local.brokers.b.qos: expected 0 or 1, got \"3\"\n"
		"f:5:7: local.brokers[1].name: required, but not given\n"
		"f:7:13: mappings[0].topic: expected a text, got a list (a text with [ needs "
		"quotes)\n"
		"f:7:25: mappings[0].device: expected a text, got an empty one\n"
		"f:8:40: mappings[1].telemetry.b: expected a path such as $.t, or {from: PATH}, "
		"got a "
		"list (a text with [ needs quotes)\n"
		"f:13:19: clouds.azure.mqtt_version: expected auto, 5 or 3.1.1, got \"4\"\n"
		"f:14:21: clouds.azure.tls.insecure: expected true or false, got \"1\"\n"
		"f:14:24: clouds.azure.tls.cb: unknown key (did you mean \"ca\"?)\n"
		"f:15:17: clouds.azure.keep_alive: expected a duration from 10s to 20min, got "
		"\"1s\"\n"
		"f:16:5: clouds.b.plugin: required, but not given\n"
		"f:17:12: clouds[2].name: expected a name (1 to 63 of A-Z a-z 0-9 _ . -, starting "
		"with a letter or digit), got \"c d\"\n"
		"f:17:33: clouds[2].url: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT], got "
		"\"x\"\n"
		"f:18:21: journal.max_size: expected a size such as \"64MiB\", got \"1\"\n"
		"f:18:24: journal.maxsize: unknown key (did you mean \"max_size\"?)");

	/* What is left can be checked further: nothing that must be there is missing. */
	assert_int_equal(config->n_brokers, 1);
	assert_string_equal(config->brokers[0].url.host, "");
	assert_int_equal(config->brokers[0].qos, 1);
	assert_non_null(config->brokers[0].client_id);
	assert_int_equal(config->n_mappings, 1);
	assert_string_equal(config->mappings[0].topic, "ok");
	assert_int_equal(config->mappings[0].telemetry.n_select, 1);
	assert_int_equal(config->n_clouds, 2);
	assert_int_equal(config->clouds[0].keep_alive_s, 0);
	assert_int_equal(config->clouds[0].max_reconnect_delay_ms, 60000);
	assert_string_equal(config->clouds[1].name, "");
	assert_string_equal(config->clouds[1].url.host, "");
	assert_true(config->journal.max_bytes == UINT64_C(2) << 30);
	assert_non_null(config->name);
}

static void lists_end_at_their_bounds(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	char text[4096];
	size_t used = (size_t)snprintf(text, sizeof(text), "%sclouds:\n", NO_CLOUDS);

	(void)state;
	for (int i = 0; i <= FG_MAX_CLOUDS; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "- {name: c%d, plugin: p, url: mqtt://h}\n", i);
	fg_config_free(load(text, report, -EINVAL));
	expect_report(report, "clouds", "f:5:1: clouds: expected at most 32 entries, got 33");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_arrives_where_it_belongs),
		cmocka_unit_test(what_is_not_given_has_its_default),
		cmocka_unit_test(the_stream_defaults_to_the_capture_of_that_name),
		cmocka_unit_test(the_service_manager_says_where_the_state_is),
		cmocka_unit_test(every_mistake_is_reported_at_its_place),
		cmocka_unit_test(one_run_reports_all_mistakes),
		cmocka_unit_test(lists_end_at_their_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
