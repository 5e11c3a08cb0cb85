#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "local/command_map.h"
#include "util/cleanup.h"
#include "util/span.h"

#define ID "1f9c3e21ab"

static struct fg_span span(const char *text)
{
	return fg_span_str(text);
}

/* The first is the only one, unless a test says otherwise. */
static struct fg_broker_config brokers[] = {{.name = (char *)"hall"},
					    {.name = (char *)"old", .mqtt_version = FG_MQTT_311},
					    {.name = (char *)"sharing", .share = (char *)"s"}};
static struct fg_mapping_config mappings[] = {{.topic = (char *)"{broken"},
					      {.topic = (char *)"heard/#"}};

static struct fg_config config_of(struct fg_command_config *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		rules[i].place = (struct fg_place){"gw.yaml", 10 + (unsigned)i, 5};
		if (rules[i].max_open == 0)
			rules[i].max_open = 1;
		if (rules[i].timeout_ms == 0)
			rules[i].timeout_ms = 30000;
	}
	return (struct fg_config){
		.name = (char *)"plant7",
		.commands = rules,
		.n_commands = n,
		.brokers = brokers,
		.n_brokers = 1,
		.mappings = mappings,
		.n_mappings = 2,
		.max_message_bytes = 4096,
	};
}

static struct fg_command_map *map_of(struct fg_command_config *rules, size_t n)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	struct fg_config config = config_of(rules, n);
	struct fg_command_map *m = NULL;
	int r;

	r = fg_command_map_new(&config, report, &m);
	if (fg_report_count(report) > 0)
		print_message("%s\n", fg_report_line(report, 0));
	assert_int_equal(fg_report_count(report), 0);
	assert_int_equal(r, 0);
	return m;
}

static void the_first_rule_for_device_and_name_decides(void **state)
{
	char *pumps[] = {(char *)"pump-*"}, *start[] = {(char *)"start", (char *)"stop"};
	struct fg_command_config rules[] = {
		{.topic = (char *)"a/{device}",
		 .devices = pumps,
		 .n_devices = 1,
		 .names = start,
		 .n_names = 2},
		{.topic = (char *)"b/{device}",
		 .devices = pumps,
		 .n_devices = 1,
		 .names = start,
		 .n_names = 1,
		 .qos = 1},
		{.topic = (char *)"c/{device}/{command}", .names = start, .n_names = 2},
	};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = NULL;

	(void)state;
	rules[1].names = (char *[]){(char *)"reset"};
	m = map_of(rules, 3);
	assert_int_equal(fg_command_map_find(m, span("pump-1"), span("stop")), 0);
	assert_int_equal(fg_command_map_find(m, span("pump-1"), span("reset")), 1);
	assert_int_equal(fg_command_map_find(m, span("fan-1"), span("stop")), 2);
	assert_int_equal(fg_command_map_find(m, span("fan-1"), span("reset")), -ENOENT);
	assert_int_equal(fg_command_map_find(m, fg_span_of("pump-\0", 6), span("reset")), -ENOENT);
	assert_int_equal(fg_command_map_rule(m, 1)->qos, 1);
	assert_int_equal(fg_command_map_rule(m, 0)->group, -1);
}

static void a_device_that_no_rule_names_is_unknown(void **state)
{
	char *pumps[] = {(char *)"pump-*"};
	struct fg_command_config rules[] = {
		{.topic = (char *)"a/{device}", .devices = pumps, .n_devices = 1}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);

	(void)state;
	assert_int_equal(fg_command_map_find(m, span("fan"), span("stop")), -ENODEV);
	assert_int_equal(fg_command_map_find(m, span("pump-"), fg_span_of(NULL, 0)), 0);
}

static void words_stand_as_they_are_in_topics_and_as_json_in_payloads(void **state)
{
	struct fg_command_config rules[] = {{
		.topic = (char *)"cmd/{device}/{command}/{id}",
		.payload = (char *)"{\"m\":{command},\"d\":{device},\"id\":{id},\"p\":{params}}",
	}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	struct fg_command_words words = {span("Halle \"7\""), span("start\\"), span(ID),
					 span("[1.50,{\"a\":null}]")};
	struct fg_command_output out;
	struct fg_error err;

	(void)state;
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), 0);
	assert_string_equal(out.topic, "cmd/Halle \"7\"/start\\/" ID);
	assert_true(fg_span_is(out.payload,
			       "{\"m\":\"start\\\\\",\"d\":\"Halle \\\"7\\\"\",\"id\":\"" ID
			       "\",\"p\":[1.50,{\"a\":null}]}"));
	assert_null(out.response_topic);
	assert_int_equal(out.correlation.size, 0);
}

static void without_a_template_the_parameters_are_the_payload(void **state)
{
	struct fg_command_config rules[] = {{.topic = (char *)"cmd/{device}"}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	struct fg_command_words words = {span("d"), span("go"), span(ID), span("17")};
	struct fg_command_output out;
	struct fg_error err;

	(void)state;
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), 0);
	assert_true(fg_span_is(out.payload, "17"));
	words.params = (struct fg_span){0};
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), 0);
	assert_true(fg_span_is(out.payload, "null"));
}

struct bad_name {
	const char *topic, *response, *device, *name;
	int expected;
};

static const struct bad_name bad_names[] = {
	{"c/{device}/{command}", NULL, "d", "a/b", -ENOENT},
	{"c/{device}/{command}", NULL, "d", "+", -ENOENT},
	{"c/{device}/{command}", NULL, "d", "", -ENOENT},
	{"c/{device}/{command}", NULL, "d", "\xff", -ENOENT},
	{"c/{device}", NULL, "d", "a/b", 0},
	{"c/{device}", "r/{device}/{command}", "d", "a/b", -ENOENT},
	{"c/{device}", "r/{device}/{command...}", "d", "a/b", 0},
	{"c/{device}/x", NULL, "a/b", "n", 0},
	{"c/{device}/x", "r/{device}", "a/b", "n", -ENODEV},
	{"c/{device}/x", "r/{device...}", "a/b", "n", 0},
	{"c/{device}/x", NULL, "a#", "n", -ENODEV},
	{"c/{device}/x", NULL, "\xc3", "n", -ENODEV},
	{"{device}/x", NULL, "$SYS", "n", -ENODEV},
	{"$x/{device}", NULL, "d", "n", 0},
	{"{command}/{device}", NULL, "d", "$share", -ENODEV},
};

static void a_name_that_would_change_the_topic_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
		const struct bad_name *bad = &bad_names[i];
		struct fg_command_config rules[] = {
			{.topic = (char *)bad->topic, .response = (char *)bad->response}};
		FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
		struct fg_command_words words = {span(bad->device), span(bad->name), span(ID),
						 span("1")};
		struct fg_command_output out;
		struct fg_error err = {0};

		assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), bad->expected);
		assert_true((bad->expected == 0) == (err.text[0] == '\0'));
	}
}

static void a_name_with_a_nul_is_refused_as_what_it_is(void **state)
{
	struct fg_command_config rules[] = {{.topic = (char *)"c/{device}/{command}"}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	struct fg_command_words words = {span("d"), {"a\0b", 3}, span(ID), span("1")};
	struct fg_command_output out;
	struct fg_error err;

	(void)state;
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), -ENOENT);
	words.name = span("n");
	words.device = (struct fg_span){"a\0b", 3};
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), -ENODEV);
}

static void a_message_above_the_limit_is_refused(void **state)
{
	struct fg_command_config rules[] = {{.topic = (char *)"c/{device}"}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	char params[4098];
	struct fg_command_words words = {span("d"), span("n"), span(ID), {params, 4096}};
	struct fg_command_output out;
	struct fg_error err;

	(void)state;
	memset(params, '1', sizeof(params));
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), 0);
	assert_int_equal(out.payload.size, 4096);
	words.params.size = 4097;
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), -EMSGSIZE);
}

static void mqtt5_asks_for_the_answer_below_the_gateways_own_prefix(void **state)
{
	struct fg_command_config rules[] = {
		{.topic = (char *)"c/{device}", .correlate = FG_CORRELATE_MQTT5}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	struct fg_command_words words = {span("d"), span("n"), span(ID), span("1")};
	struct fg_command_arrival arrival = {0};
	const struct fg_command_filter *filters;
	struct fg_command_output out;
	struct fg_command_match match;
	struct fg_error err;
	size_t at = 0;

	(void)state;
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), 0);
	assert_string_equal(out.response_topic, "fieldgate/plant7/response/" ID);
	assert_true(fg_span_is(out.correlation, ID));
	assert_int_equal(fg_command_map_filters(m, &filters), 1);
	assert_string_equal(filters[0].filter, "fieldgate/plant7/response/+");
	assert_true(filters[0].is_own);
	assert_true(fg_command_map_owns(m, span(out.response_topic)));
	assert_false(fg_command_map_owns(m, span("fieldgate/plant77/response/x")));

	/* by the correlation data, or, of a device that lost them, by the topic */
	arrival.topic = span(out.response_topic);
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_true(fg_span_is(match.id, ID));
	arrival.correlation = span("other");
	at = 0;
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_true(fg_span_is(match.id, "other"));
	assert_false(fg_command_map_match(m, &arrival, &at, &match));
}

static void mqtt5_can_ask_for_the_answer_on_a_topic_of_ones_choice(void **state)
{
	struct fg_command_config rules[] = {{.topic = (char *)"c/{device}",
					     .response = (char *)"r/{device}",
					     .correlate = FG_CORRELATE_MQTT5}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	struct fg_command_words words = {span("d"), span("n"), span(ID), span("1")};
	struct fg_command_arrival arrival = {.topic = span("r/d")};
	const struct fg_command_filter *filters;
	struct fg_command_output out;
	struct fg_command_match match;
	struct fg_error err;
	size_t at = 0;

	(void)state;
	assert_int_equal(fg_command_map_fill(m, 0, &words, &out, &err), 0);
	assert_string_equal(out.response_topic, "r/d");
	assert_int_equal(fg_command_map_filters(m, &filters), 1);
	assert_false(filters[0].is_own);
	/* nothing tells whose answer it is */
	assert_false(fg_command_map_match(m, &arrival, &at, &match));
	arrival.correlation = span(ID);
	at = 0;
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_true(fg_span_is(match.device, "d") && fg_span_is(match.id, ID));
}

static void an_answer_is_found_by_what_its_topic_captures(void **state)
{
	struct fg_command_config rules[] = {{.topic = (char *)"c/{device}/{command}/{id}",
					     .response = (char *)"r/{device}/{command}/{id}",
					     .correlate = FG_CORRELATE_TOPIC}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	struct fg_command_arrival arrival = {.topic = span("r/pump/start/" ID)};
	struct fg_command_match match;
	size_t at = 0;

	(void)state;
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_int_equal(match.group, fg_command_map_rule(m, 0)->group);
	assert_true(fg_span_is(match.device, "pump") && fg_span_is(match.name, "start"));
	assert_true(fg_span_is(match.id, ID));
	at = 0;
	arrival.topic = span("r/pump/start");
	assert_false(fg_command_map_match(m, &arrival, &at, &match));
	at = 0;
	arrival.topic = span("r/pump/start/"); /* an empty id is none */
	assert_false(fg_command_map_match(m, &arrival, &at, &match));
}

static void an_answer_is_found_by_the_id_in_its_payload(void **state)
{
	static const char *const others[] = {"{\"id\":7}",   "{}", "[\"" ID "\"]",
					     "no JSON",      "",   "{\"id\":\"\"}",
					     "{\"id\":null}"};
	struct fg_command_config rules[] = {{.topic = (char *)"c/{device}",
					     .payload = (char *)"{\"id\":{id}}",
					     .response = (char *)"r/{device}",
					     .correlate = FG_CORRELATE_PAYLOAD,
					     .correlate_path = (char *)"$.id",
					     .result_path = (char *)"$.v",
					     .error_path = (char *)"$.e"}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	struct fg_command_arrival arrival = {.topic = span("r/pump"),
					     .payload = span("{\"id\":\"" ID "\",\"v\":[ 1 ]}")};
	struct fg_command_match match;
	struct fg_span body;
	struct fg_error err;
	size_t at = 0;

	(void)state;
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_true(fg_span_is(match.id, ID) && fg_span_is(match.device, "pump"));
	assert_int_equal(fg_command_map_answer(m, 0, arrival.payload, &body, &err), 0);
	assert_true(fg_span_is(body, "{\"result\":[1]}"));
	assert_int_equal(fg_command_map_answer(m, 0, span("{\"e\":\"no\"}"), &body, &err), 0);
	assert_true(fg_span_is(body, "{\"error\":{\"code\":\"refused\",\"text\":\"no\"}}"));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		at = 0;
		arrival.payload = span(others[i]);
		assert_false(fg_command_map_match(m, &arrival, &at, &match));
	}
}

static void an_answer_larger_than_a_message_is_refused(void **state)
{
	struct fg_command_config rules[] = {
		{.topic = (char *)"c/{device}", .response = (char *)"r/{device}"}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);
	char payload[6000];
	struct fg_span body;
	struct fg_error err;

	(void)state;
	memset(payload, '7', sizeof(payload));
	assert_int_equal(fg_command_map_answer(m, 0, fg_span_of(payload, 4096), &body, &err), 0);
	assert_int_equal(fg_command_map_answer(m, 0, fg_span_of(payload, 6000), &body, &err),
			 -EMSGSIZE);
	assert_int_equal(fg_command_map_answer(m, 0, fg_span_of("\xff", 1), &body, &err), -EBADMSG);
}

static void without_correlation_the_topic_tells_the_device(void **state)
{
	char *panel[] = {(char *)"panel"};
	struct fg_command_config rules[] = {
		{.topic = (char *)"lamp",
		 .response = (char *)"lamp/state",
		 .devices = panel,
		 .n_devices = 1},
		{.topic = (char *)"c/{device}", .response = (char *)"r/{device}"},
	};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 2);
	struct fg_command_arrival arrival = {.topic = span("lamp/state")};
	struct fg_command_match match;
	size_t at = 0;

	(void)state;
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_true(fg_span_is(match.device, "panel"));
	arrival.topic = span("r/fan");
	at = 0;
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_true(fg_span_is(match.device, "fan"));
	assert_int_equal(match.id.size, 0);
	assert_int_equal(match.group, fg_command_map_rule(m, 1)->group);
}

static void rules_with_the_same_answers_share_a_group_and_a_filter(void **state)
{
	char *one[] = {(char *)"one"}, *two[] = {(char *)"two"};
	struct fg_command_config rules[] = {
		{.topic = (char *)"a/{device}",
		 .response = (char *)"r/{device}",
		 .names = one,
		 .n_names = 1,
		 .broker = (char *)"hall"},
		{.topic = (char *)"b/{device}",
		 .response = (char *)"r/{device}",
		 .names = two,
		 .n_names = 1,
		 .broker = (char *)"hall"},
		{.topic = (char *)"c/{device}/{id}",
		 .response = (char *)"r/{id}",
		 .correlate = FG_CORRELATE_TOPIC},
	};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 3);
	const struct fg_command_filter *filters;
	struct fg_command_arrival arrival = {.topic = span("r/x")};
	struct fg_command_match match;
	size_t at = 0;

	(void)state;
	assert_int_equal(fg_command_map_rule(m, 0)->group, fg_command_map_rule(m, 1)->group);
	assert_int_not_equal(fg_command_map_rule(m, 0)->group, fg_command_map_rule(m, 2)->group);
	/* "r/+" both; the third is at any broker, and so the filter is */
	assert_int_equal(fg_command_map_filters(m, &filters), 1);
	assert_string_equal(filters[0].filter, "r/+");
	assert_null(filters[0].broker);
	/* and an arrival can be the answer of either group */
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_true(fg_command_map_match(m, &arrival, &at, &match));
	assert_false(fg_command_map_match(m, &arrival, &at, &match));
}

struct mistake {
	struct fg_command_config rule;
	const char *line;
};

static const struct mistake mistakes[] = {
	{{.topic = (char *)"c/{devise}"},
	 "commands[0].topic: \"c/{devise}\": {devise} is none of {device}, {command} and {id}"},
	{{.topic = (char *)"c/+/{device}"},
	 "commands[0].topic: \"c/+/{device}\": expected the name of a topic, without wildcards"},
	{{.topic = (char *)"c/{params}"},
	 "commands[0].topic: \"c/{params}\": {params} is none of {device}, {command} and {id}"},
	{{.topic = (char *)"c", .payload = (char *)"{\"a\":\"{command}\"}"},
	 "commands[0].payload: \"{\"a\":\"{command}\"}\": {command} inside quotes"},
	{{.topic = (char *)"c", .payload = (char *)"{\"a\":{params}"},
	 "commands[0].payload: \"{\"a\":{params}\": does not make JSON"},
	{{.topic = (char *)"c", .payload = (char *)"{parms}"},
	 "commands[0].payload: \"{parms}\": {parms} is none of"},
	{{.topic = (char *)"c", .response = (char *)"r/{device}x"},
	 "commands[0].response.topic: \"r/{device}x\": \"{device}x\": a {name} must be alone"},
	{{.topic = (char *)"c", .response = (char *)"r/{site}/{device}"},
	 "commands[0].response.topic: \"r/{site}/{device}\": only {device}, {command} and {id}"},
	{{.topic = (char *)"c", .response = (char *)"r"},
	 "commands[0].response.topic: \"r\": without {device}, and without `correlate`"},
	{{.topic = (char *)"c/{id}", .response = (char *)"r", .correlate = FG_CORRELATE_TOPIC},
	 "commands[0].response.topic: \"r\": expected {id} in it"},
	{{.topic = (char *)"c", .response = (char *)"r/{id}", .correlate = FG_CORRELATE_TOPIC},
	 "commands[0].response.topic: \"r/{id}\": {id} stands neither in `topic` nor in `payload`"},
	{{.topic = (char *)"c/{id}",
	  .response = (char *)"r",
	  .correlate = FG_CORRELATE_PAYLOAD,
	  .correlate_path = (char *)"id"},
	 "commands[0].response.correlate: \"id\": "},
	{{.topic = (char *)"c/{device}", .response = (char *)"c/{device}"},
	 "commands[0].response.topic: \"c/{device}\": matches the topic of the command itself"},
	{{.topic = (char *)"c", .correlate = FG_CORRELATE_MQTT5, .broker = (char *)"old"},
	 "commands[0].response.correlate: \"mqtt5\": broker \"old\" is configured to speak 3.1.1 "
	 "only"},
	{{.topic = (char *)"c", .correlate = FG_CORRELATE_MQTT5},
	 "commands[0].response.correlate: \"mqtt5\": broker \"old\" is configured to speak 3.1.1 "
	 "only: "
	 "name in `broker` the one that it is for"},
	{{.topic = (char *)"heard/{device}/set"},
	 "commands[0].topic: \"heard/{device}/set\": the mapping rule for \"heard/#\" matches it, "
	 "and "
	 "broker \"old\" is configured to speak 3.1.1 only: "},
	{{.topic = (char *)"heard/{device}/set", .broker = (char *)"sharing"},
	 "commands[0].topic: \"heard/{device}/set\": the mapping rule for \"heard/#\" matches it, "
	 "and "
	 "broker \"sharing\" shares its subscriptions: "},
	{{.topic = (char *)"c",
	  .broker = (char *)"hall",
	  .correlate = FG_CORRELATE_MQTT5,
	  .response = (char *)"r/+"},
	 "commands[0].response.topic: \"r/+\": expected the name of a topic"},
	{{.topic = (char *)"c", .result_path = (char *)"$["},
	 "commands[0].response.result: \"$[\": "},
	{{.topic = (char *)"c", .error_path = (char *)"$."},
	 "commands[0].response.error: \"$.\": "},
};

static void each_mistake_is_reported_with_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
		struct fg_command_config rule = mistakes[i].rule;
		struct fg_config config = config_of(&rule, 1);
		struct fg_command_map *m = NULL;
		char expected[300];

		config.n_brokers = 3;
		snprintf(expected, sizeof(expected), "gw.yaml:10:5: %s", mistakes[i].line);
		assert_int_equal(fg_command_map_new(&config, report, &m), -EINVAL);
		assert_null(m);
		assert_int_equal(fg_report_count(report), 1);
		if (strncmp(fg_report_line(report, 0), expected, strlen(expected)) != 0)
			fail_msg("expected \"%s\", got \"%s\"", expected,
				 fg_report_line(report, 0));
	}
}

/* MQTT 5 has No Local for that. */
static void a_topic_that_a_mapping_matches_is_fine_where_it_does_not_come_back(void **state)
{
	struct fg_command_config rules[] = {{.topic = (char *)"heard/{device}/set"}};
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = map_of(rules, 1);

	(void)state;
	assert_non_null(m);
}

static void all_mistakes_are_reported_in_one_run(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	struct fg_command_config rules[] = {
		{.topic = (char *)"{x}",
		 .payload = (char *)"{",
		 .response = (char *)"r/{y}/{device}",
		 .result_path = (char *)"?"},
		{.topic = (char *)"+"},
	};
	struct fg_config config = config_of(rules, 2);
	struct fg_command_map *m = NULL;

	(void)state;
	assert_int_equal(fg_command_map_new(&config, report, &m), -EINVAL);
	/* four of the first rule, two of the second, which is never reached either */
	assert_int_equal(fg_report_count(report), 6);
}

static void a_rule_that_is_never_reached_is_a_mistake(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	char *all[] = {(char *)"*"}, *a[] = {(char *)"a"}, *ab[] = {(char *)"b", (char *)"a"};
	struct fg_command_config rules[] = {
		{.topic = (char *)"1", .devices = ab, .n_devices = 2, .names = a, .n_names = 1},
		{.topic = (char *)"2", .devices = a, .n_devices = 1}, /* reached with other names */
		{.topic = (char *)"3", .devices = a, .n_devices = 1, .names = a, .n_names = 1},
		{.topic = (char *)"4", .devices = all, .n_devices = 1, .names = all, .n_names = 1},
		{.topic = (char *)"5"},
	};
	struct fg_config config = config_of(rules, 5);
	struct fg_command_map *m = NULL;

	(void)state;
	assert_int_equal(fg_command_map_new(&config, report, &m), -EINVAL);
	assert_int_equal(fg_report_count(report), 2);
	assert_string_equal(fg_report_line(report, 0),
			    "gw.yaml:12:5: commands[2].topic: \"3\": never reached: the rule for "
			    "\"1\" at gw.yaml:10 comes first");
	assert_string_equal(fg_report_line(report, 1),
			    "gw.yaml:14:5: commands[4].topic: \"5\": never reached: the rule for "
			    "\"4\" at gw.yaml:13 comes first");
}

static void answers_of_two_devices_on_one_topic_cannot_be_told_apart(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	char *a[] = {(char *)"a"}, *b[] = {(char *)"b"};
	struct fg_command_config rules[] = {
		{.topic = (char *)"1", .response = (char *)"r", .devices = a, .n_devices = 1},
		{.topic = (char *)"2", .response = (char *)"r", .devices = b, .n_devices = 1},
	};
	struct fg_config config = config_of(rules, 2);
	struct fg_command_map *m = NULL;

	(void)state;
	assert_int_equal(fg_command_map_new(&config, report, &m), -EINVAL);
	assert_int_equal(fg_report_count(report), 1);
	assert_non_null(strstr(fg_report_line(report, 0), "of another device"));
}

static void a_gateway_whose_name_fits_no_topic_is_a_mistake(void **state)
{
	static const char *const names[] = {"", "a/b", "a+", "#", "{id}", "\xff"};
	struct fg_command_config rules[] = {{.topic = (char *)"c"}};
	struct fg_config config = config_of(rules, 1);

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
		struct fg_command_map *m = NULL;

		config.name = (char *)names[i];
		assert_int_equal(fg_command_map_new(&config, report, &m), -EINVAL);
		assert_int_equal(fg_report_count(report), 1);
	}
}

static void no_rules_are_fine_whatever_the_gateway_is_called(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_command_map_free_p) struct fg_command_map *m = NULL;
	struct fg_config config = {.max_message_bytes = 1024};
	const struct fg_command_filter *filters;

	(void)state;
	assert_int_equal(fg_command_map_new(&config, report, &m), 0);
	assert_int_equal(fg_command_map_filters(m, &filters), 0);
	assert_int_equal(fg_command_map_find(m, span("d"), span("n")), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_rule_for_device_and_name_decides),
		cmocka_unit_test(a_device_that_no_rule_names_is_unknown),
		cmocka_unit_test(words_stand_as_they_are_in_topics_and_as_json_in_payloads),
		cmocka_unit_test(without_a_template_the_parameters_are_the_payload),
		cmocka_unit_test(a_name_that_would_change_the_topic_is_refused),
		cmocka_unit_test(a_name_with_a_nul_is_refused_as_what_it_is),
		cmocka_unit_test(a_message_above_the_limit_is_refused),
		cmocka_unit_test(mqtt5_asks_for_the_answer_below_the_gateways_own_prefix),
		cmocka_unit_test(mqtt5_can_ask_for_the_answer_on_a_topic_of_ones_choice),
		cmocka_unit_test(an_answer_is_found_by_what_its_topic_captures),
		cmocka_unit_test(an_answer_is_found_by_the_id_in_its_payload),
		cmocka_unit_test(an_answer_larger_than_a_message_is_refused),
		cmocka_unit_test(without_correlation_the_topic_tells_the_device),
		cmocka_unit_test(rules_with_the_same_answers_share_a_group_and_a_filter),
		cmocka_unit_test(each_mistake_is_reported_with_its_place),
		cmocka_unit_test(
			a_topic_that_a_mapping_matches_is_fine_where_it_does_not_come_back),
		cmocka_unit_test(all_mistakes_are_reported_in_one_run),
		cmocka_unit_test(a_rule_that_is_never_reached_is_a_mistake),
		cmocka_unit_test(answers_of_two_devices_on_one_topic_cannot_be_told_apart),
		cmocka_unit_test(a_gateway_whose_name_fits_no_topic_is_a_mistake),
		cmocka_unit_test(no_rules_are_fine_whatever_the_gateway_is_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
