#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "control/roundtrip_command.h"
#include "util/cleanup.h"
#include "util/span.h"

#define ID "1f9c3e21ab"
#define RESULT "{\"done\":1}"
#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

struct rules {
	struct fg_report *report;
	struct fg_config *config;
	struct fg_command_map *map;
	struct fg_expected *expected;
};

static void rules_free_p(struct rules *r)
{
	fg_expected_free(r->expected);
	fg_command_map_free(r->map);
	fg_config_free(r->config);
	fg_report_free(r->report);
}

static int expect(struct rules *r, const char *commands, const char *device, const char *method,
		  struct fg_error *err)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "gateway: {name: plant7}\n"
		 "local: {brokers: [{name: b, url: mqtt://h}]}\n"
		 "mappings: [{topic: 'x/{device}'}]\n"
		 "commands:\n%s"
		 "clouds: [{name: c, plugin: acme, url: mqtt://h}]\n",
		 commands);
	r->report = fg_report_new();
	if (fg_config_load_text("f", fg_span_str(text), r->report, &r->config) < 0 ||
	    fg_command_map_new(r->config, r->report, &r->map) < 0)
		fail_msg("%s: %s", text, fg_report_line(r->report, 0));
	return fg_expected_new(r->config, r->map, device, method, &r->expected, err);
}

static struct fg_mqtt_message message(const char *topic, const char *payload)
{
	return (struct fg_mqtt_message){.topic = topic, .payload = fg_span_str(payload), .qos = 1};
}

static void a_command_is_recognised_and_answered_as_its_rule_says(void **state)
{
	static const struct {
		const char *commands;
		const char *filter, *answer_filter;
		struct fg_mqtt_message command;
		const char *topic, *payload;
	} cases[] = {
		{"- {topic: 'c/{device}/{command}/{id}', response: {topic: "
		 "'c/{device}/{command}/{id}/r', "
		 "correlate: topic}}\n",
		 "c/d/start/+",
		 "c/d/start/+/r",
		 {.topic = "c/d/start/" ID, .payload = {"{}", 2}},
		 "c/d/start/" ID "/r",
		 RESULT},
		/* An id in the middle of a level. */
		{"- {topic: 'c/{device}/n-{id}.x/y', response: {topic: 'r/{id}', correlate: "
		 "topic}}\n",
		 "c/d/+/y",
		 "r/+",
		 {.topic = "c/d/n-" ID ".x/y", .payload = {"{}", 2}},
		 "r/" ID,
		 RESULT},
		{"- {topic: 'c/{device}', payload: '{\"a\": [{\"id\": {id}}], \"do\": {command}}', "
		 "response: {topic: 'c/{device}/r', correlate: $.nr}}\n",
		 "c/d",
		 "c/d/r",
		 {.topic = "c/d",
		  .payload = TEXT("{\"a\":[{\"id\":\"" ID "\"}],\"do\":\"start\"}")},
		 "c/d/r",
		 "{\"nr\":\"" ID "\",\"done\":1}"},
		{"- {topic: 'c/{device}/{id}', "
		 "response: {topic: 'c/{device}/r', correlate: $.nr, result: $.out}}\n",
		 "c/d/+",
		 "c/d/r",
		 {.topic = "c/d/" ID, .payload = {"{}", 2}},
		 "c/d/r",
		 "{\"nr\":\"" ID "\",\"out\":" RESULT "}"},
		{"- {topic: 'c/{device}', response: {correlate: mqtt5, result: $.out}}\n",
		 "c/d",
		 "fieldgate/plant7/response/+",
		 {.topic = "c/d",
		  .payload = {"{}", 2},
		  .response_topic = "fieldgate/plant7/response/" ID,
		  .correlation = {ID, sizeof(ID) - 1}},
		 "fieldgate/plant7/response/" ID,
		 "{\"out\":" RESULT "}"},
		{"- {topic: 'c/{device}/{command}', response: {topic: 'c/{device}/+/r/#'}}\n",
		 "c/d/start",
		 "c/d/+/r/#",
		 {.topic = "c/d/start", .payload = {"{}", 2}},
		 "c/d/roundtrip/r/roundtrip",
		 RESULT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(rules_free_p) struct rules r = {0};
		struct fg_mqtt_message answer = {0}, retained = cases[i].command;
		struct fg_expected_answer given;
		struct fg_error err = {0};

		if (expect(&r, cases[i].commands, "d", "start", &err) < 0)
			fail_msg("%zu: %s", i, err.text);
		assert_string_equal(fg_expected_command_filter(r.expected), cases[i].filter);
		assert_string_equal(fg_expected_answer_filter(r.expected), cases[i].answer_filter);
		answer = message(cases[i].topic, cases[i].payload);
		answer.correlation = cases[i].command.correlation;
		assert_false(fg_expected_is_answer(r.expected, &answer)); /* to what? */
		retained.is_retained = true;
		assert_false(fg_expected_is_command(r.expected, &retained));
		if (!fg_expected_is_command(r.expected, &cases[i].command))
			fail_msg("%zu: not recognised", i);
		if (fg_expected_answer(r.expected, &cases[i].command, RESULT, &given, &err) < 0)
			fail_msg("%zu: %s", i, err.text);
		assert_string_equal(given.topic, cases[i].topic);
		assert_string_equal(given.payload, cases[i].payload);
		assert_int_equal(given.correlation.size, cases[i].command.correlation.size);
		if (!fg_expected_is_answer(r.expected, &answer))
			fail_msg("%zu: the answer is not recognised", i);
	}
}

static void the_commands_of_others_are_left_alone(void **state)
{
	FG_CLEANUP(rules_free_p) struct rules r = {0};
	struct fg_mqtt_message m;
	struct fg_error err = {0};

	(void)state;
	assert_int_equal(
		expect(&r,
		       "- {topic: 'c/{device}', payload: '{\"id\": {id}, \"do\": {command}}', "
		       "response: {topic: 'r/{device}', correlate: $.id}}\n",
		       "d", "start", &err),
		0);
	m = message("c/d", "{\"do\":\"start\"}");
	assert_false(fg_expected_is_command(r.expected, &m));
	m = message("c/e", "{\"id\":\"" ID "\",\"do\":\"start\"}");
	assert_false(fg_expected_is_command(r.expected, &m));
	m = message("c/d", "{\"id\":\"" ID "\",\"do\":\"stop\"}");
	assert_false(fg_expected_is_command(r.expected, &m));
	m = message("c/d", "{\"id\":\"0123456789abcdef0123456789abcdef\",\"do\":\"start\"}");
	assert_false(fg_expected_is_command(r.expected, &m));
	m = message("c/d", "{\"id\":\"" ID "\",\"do\":\"start\"}");
	assert_true(fg_expected_is_command(r.expected, &m));
	m = message("r/d", "{\"id\":\"ffffffffff\"}");
	assert_false(fg_expected_is_answer(r.expected, &m));
	m = message("r/e", "{\"id\":\"" ID "\"}");
	assert_false(fg_expected_is_answer(r.expected, &m));
	m = message("r/d", "{\"id\":\"" ID "\"}");
	assert_true(fg_expected_is_answer(r.expected, &m));
}

static void what_only_the_device_can_answer_is_told(void **state)
{
	static const struct {
		const char *commands, *text;
	} cases[] = {
		{"- {topic: 'c/{device}/{id}', response: {topic: 'r/{device}', correlate: "
		 "$.a.id}}\n",
		 "the answer's members lie deep inside"},
		{"- {topic: 'c/{device}/{id}', response: {topic: 'r/{device}', correlate: $.id, "
		 "result: '$.a[0]'}}\n",
		 "the answer's members lie deep inside"},
		{"- {topic: 'c/{device}/{id}', response: {correlate: mqtt5}}\n",
		 "the command came without a Response Topic"},
		{"- {topic: 'c/{device}/{id}'}\n", "its rule has no response"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(rules_free_p) struct rules r = {0};
		struct fg_mqtt_message m = message("c/d/" ID, "{}");
		struct fg_expected_answer given;
		struct fg_error err = {0};

		assert_int_equal(expect(&r, cases[i].commands, "d", "start", &err), 0);
		assert_true(fg_expected_is_command(r.expected, &m));
		assert_int_equal(fg_expected_answer(r.expected, &m, RESULT, &given, &err), -EINVAL);
		if (strncmp(err.text, cases[i].text, strlen(cases[i].text)) != 0)
			fail_msg("%zu: %s", i, err.text);
	}
}

static void a_command_without_a_rule_is_told(void **state)
{
	static const struct {
		const char *device, *method, *text;
	} cases[] = {
		{"e", "start", "no rule of commands is for the device \"e\""},
		{"d", "stop", "no rule of commands takes the command \"stop\" of the device \"d\""},
		{"d", "st/x", "the command's name does not fit into its topic"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(rules_free_p) struct rules r = {0};
		struct fg_error err = {0};

		assert_int_equal(expect(&r,
					"- {devices: [d], commands: [start, 'st/*'], "
					"topic: 'c/{device}/{command}'}\n",
					cases[i].device, cases[i].method, &err),
				 -ENOENT);
		assert_string_equal(err.text, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_is_recognised_and_answered_as_its_rule_says),
		cmocka_unit_test(the_commands_of_others_are_left_alone),
		cmocka_unit_test(what_only_the_device_can_answer_is_told),
		cmocka_unit_test(a_command_without_a_rule_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
