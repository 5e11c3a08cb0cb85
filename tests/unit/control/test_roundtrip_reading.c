#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "control/roundtrip_reading.h"
#include "util/cleanup.h"
#include "util/span.h"

#define NOW_US INT64_C(1718000000123456)
#define MARKER INT64_C(1718000000123999)

struct rules {
	struct fg_report *report;
	struct fg_config *config;
	struct fg_mapping *mapping;
};

static void rules_free_p(struct rules *r)
{
	fg_mapping_free(r->mapping);
	fg_config_free(r->config);
	fg_report_free(r->report);
}

static void load(struct rules *r, const char *mappings)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "local: {brokers: [{name: b, url: mqtt://h}]}\n"
		 "mappings:\n%s"
		 "clouds: [{name: c, plugin: acme, url: mqtt://h}]\n",
		 mappings);
	r->report = fg_report_new();
	if (fg_config_load_text("f", fg_span_str(text), r->report, &r->config) < 0 ||
	    fg_mapping_new(r->config, r->report, &r->mapping) < 0)
		fail_msg("%s: %s", text, fg_report_line(r->report, 0));
}

static void readings_come_from_the_rules(void **state)
{
	static const struct {
		const char *mappings;
		const char *device, *value;
		const char *topic, *payload, *key, *kept;
		bool is_marked, has_time, is_alarm;
		int64_t time_us;
	} cases[] = {
		{"- topic: a/{device}/x\n", "d", NULL, "a/d/x",
		 "{\"fieldgate_roundtrip\":1718000000123999}", "fieldgate_roundtrip",
		 "1718000000123999", true, false, false, 0},
		{"- {topic: 'a/{device}/+/{site}/#'}\n", "d", NULL,
		 "a/d/roundtrip/roundtrip/roundtrip", "{\"fieldgate_roundtrip\":1718000000123999}",
		 "fieldgate_roundtrip", "1718000000123999", true, false, false, 0},
		{"- {topic: 'a/{device...}'}\n", "hall/d", NULL, "a/hall/d",
		 "{\"fieldgate_roundtrip\":1718000000123999}", "fieldgate_roundtrip",
		 "1718000000123999", true, false, false, 0},
		{"- {topic: 'a/{device}', time: $.ts}\n", "d", NULL, "a/d",
		 "{\"ts\":1718000000123,\"fieldgate_roundtrip\":1718000000123999}",
		 "fieldgate_roundtrip", "1718000000123999", true, true, false, 1718000000123000},
		{"- {topic: 'a/{device}', time: {from: $.ts, unit: s}}\n", "d", NULL, "a/d",
		 "{\"ts\":1718000000,\"fieldgate_roundtrip\":1718000000123999}",
		 "fieldgate_roundtrip", "1718000000123999", true, true, false, 1718000000000000},
		{"- {topic: 'a/{device}', time: {from: $.ts, unit: iso8601}}\n", "d", NULL, "a/d",
		 "{\"ts\":\"2024-06-10T06:13:20.123456Z\",\"fieldgate_roundtrip\":"
		 "1718000000123999}",
		 "fieldgate_roundtrip", "1718000000123999", true, true, false, NOW_US},
		{"- {topic: 'a/{device}', time: {from: $.ts, unit: us}}\n", "d", NULL, "a/d",
		 "{\"ts\":1718000000123456,\"fieldgate_roundtrip\":1718000000123999}",
		 "fieldgate_roundtrip", "1718000000123999", true, true, false, NOW_US},
		{"- {topic: 'a/{device}', telemetry: {temperature: \"$['t 1']\", h: $.h}}\n", "d",
		 "21.50", "a/d", "{\"t 1\":21.50}", "temperature", "21.50", false, false, false, 0},
		{"- {topic: 'a/{device}/{key}', payload: text}\n", "d", NULL,
		 "a/d/fieldgate_roundtrip", "1718000000123999", "fieldgate_roundtrip",
		 "1718000000123999", true, false, false, 0},
		/* Rules that others come before, that are of another device, and what is no telemetry. */
		{"- {topic: 'p/{device}', presence: {}}\n"
		 "- {topic: 'o/{device}', payload: opaque}\n"
		 "- {topic: 'one/temp', device: other}\n"
		 "- {topic: 'z/{device}', lane: alarm}\n"
		 "- {topic: 'a/{device}/v', telemetry: {v: $.v}}\n"
		 "- {topic: 'b/{device}', attributes: {serial: $.s}}\n"
		 "- {topic: 'c/{device}/v'}\n",
		 "d", NULL, "c/d/v", "{\"fieldgate_roundtrip\":1718000000123999}",
		 "fieldgate_roundtrip", "1718000000123999", true, false, false, 0},
		{"- {topic: 'one/temp', device: other}\n- {topic: 'z/{device}', lane: alarm}\n",
		 "d", NULL, "z/d", "{\"fieldgate_roundtrip\":1718000000123999}",
		 "fieldgate_roundtrip", "1718000000123999", true, false, true, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(rules_free_p) struct rules r = {0};
		const struct fg_reading_wish wish = {.device = cases[i].device,
						     .value = cases[i].value,
						     .marker = MARKER,
						     .now_us = NOW_US};
		struct fg_error err = {0};
		struct fg_reading found;

		load(&r, cases[i].mappings);
		if (fg_reading_find(r.config, r.mapping, &wish, &found, &err) < 0)
			fail_msg("%s: %s", cases[i].mappings, err.text);
		assert_string_equal(found.topic, cases[i].topic);
		assert_string_equal(found.payload, cases[i].payload);
		assert_string_equal(found.key, cases[i].key);
		assert_string_equal(found.value, cases[i].kept);
		assert_int_equal(found.is_marked, cases[i].is_marked);
		assert_int_equal(found.is_alarm, cases[i].is_alarm);
		assert_int_equal(found.has_time, cases[i].has_time);
		if (found.has_time)
			assert_int_equal(found.time_us, cases[i].time_us);
		fg_reading_release(&found);
	}
}

static void a_payload_that_is_given_is_published_as_it_is(void **state)
{
	FG_CLEANUP(rules_free_p) struct rules r = {0};
	struct fg_reading_wish wish = {.device = "d",
				       .payload = "{\"b\": 1, \"v\": {marker}, \"w\":{marker}}",
				       .marker = MARKER,
				       .now_us = NOW_US};
	struct fg_error err = {0};
	struct fg_reading found;

	(void)state;
	load(&r, "- {topic: 'a/{device}', telemetry: {x: $.b, value: $.v}}\n");
	assert_int_equal(fg_reading_find(r.config, r.mapping, &wish, &found, &err), 0);
	assert_string_equal(found.topic, "a/d");
	assert_string_equal(found.payload,
			    "{\"b\": 1, \"v\": 1718000000123999, \"w\":1718000000123999}");
	assert_string_equal(found.key, "value"); /* the one with the marker, not the first */
	assert_true(found.is_marked);
	fg_reading_release(&found);

	wish.topic = "a/d";
	wish.payload = "{\"b\":true}";
	assert_int_equal(fg_reading_find(r.config, r.mapping, &wish, &found, &err), 0);
	assert_string_equal(found.key, "x");
	assert_string_equal(found.value, "true");
	assert_false(found.is_marked);
	fg_reading_release(&found);
}

static void what_cannot_be_published_says_what_to_do(void **state)
{
	static const struct {
		const char *mappings;
		struct fg_reading_wish wish;
		int r;
		const char *text;
	} cases[] = {
		{"- {topic: 'a/{device}', telemetry: {temperature: $.t}}\n",
		 {.device = "d"},
		 -EINVAL,
		 "the rule for a/{device} takes only members of the plant's own: say which value "
		 "\"temperature\" shall show with --value, or what the device publishes with "
		 "--payload"},
		{"- {topic: 'a/{device}', telemetry: {t: $.a.b}}\n",
		 {.device = "d", .value = "1"},
		 -ENOENT,
		 "what the rule for a/{device} selects lies deep inside: say with --payload what "
		 "the "
		 "device publishes, {marker} for the value"},
		{"- {topic: 'a/x', device: other}\n",
		 {.device = "d"},
		 -ENOENT,
		 "the rule for the topic a/x makes no telemetry of device \"d\" of it"},
		{"- {topic: 'a/{device}', presence: {}}\n",
		 {.device = "d"},
		 -ENOENT,
		 "no rule of mappings takes telemetry"},
		{"- {topic: 'a/{device}'}\n",
		 {.device = "d", .topic = "a/d"},
		 -EINVAL,
		 "--topic wants --payload with it"},
		{"- {topic: 'a/{device}'}\n",
		 {.device = "d", .topic = "b/d", .payload = "{}"},
		 -EINVAL,
		 "no rule of mappings takes the topic b/d"},
		{"- {topic: 'a/{device}'}\n",
		 {.device = "d", .topic = "a/e", .payload = "{\"t\":1}"},
		 -EINVAL,
		 "the rule for the topic a/e makes no telemetry of device \"d\" of it"},
		{"- {topic: 'a/{device}'}\n",
		 {.device = "d", .value = "1", .payload = "{}"},
		 -EINVAL,
		 "--value and --payload exclude each other"},
		{"- {topic: 'a/{device}'}\n",
		 {.device = "d", .value = "21,5"},
		 -EINVAL,
		 "--value: expected JSON: text goes on after the value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(rules_free_p) struct rules r = {0};
		struct fg_reading_wish wish = cases[i].wish;
		struct fg_error err = {0};
		struct fg_reading found;

		load(&r, cases[i].mappings);
		wish.marker = MARKER;
		wish.now_us = NOW_US;
		if (fg_reading_find(r.config, r.mapping, &wish, &found, &err) != cases[i].r ||
		    strcmp(err.text, cases[i].text) != 0)
			fail_msg("%zu: %s", i, err.text);
	}
}

static void a_payload_that_the_mapping_refuses_is_told(void **state)
{
	FG_CLEANUP(rules_free_p) struct rules r = {0};
	const struct fg_reading_wish wish = {
		.device = "d", .payload = "[1]", .marker = MARKER, .now_us = NOW_US};
	struct fg_error err = {0};
	struct fg_reading found;

	(void)state;
	load(&r, "- {topic: 'a/{device}'}\n");
	assert_int_equal(fg_reading_find(r.config, r.mapping, &wish, &found, &err), -ENOENT);
	assert_non_null(strstr(err.text, "object"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readings_come_from_the_rules),
		cmocka_unit_test(a_payload_that_is_given_is_published_as_it_is),
		cmocka_unit_test(what_cannot_be_published_says_what_to_do),
		cmocka_unit_test(a_payload_that_the_mapping_refuses_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
