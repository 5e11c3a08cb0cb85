#include "mapping_fixture.h"

/* ------------------------------------------------------------------ counted, and failing,
 * allocations */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static unsigned n_allocations;
static unsigned failing; /* the n-th from now on fails; 0: none */

static bool allocation_fails(void)
{
	n_allocations++;
	return failing > 0 && --failing == 0;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(p, size);
}

/* ------------------------------------------------------------------ what becomes of a payload */

static void the_whole_object_travels_with_its_number_text_untouched(void **state)
{
	struct fg_mapping_config rules[] = {RULE("sensors/{device}/{stream}")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	assert_int_equal(
		apply_text(m, "sensors/p-1/climate",
			   " { \"t\" : 21.50, \"n\":18446744073709551615, \"e\": 1E+02,\n"
			   "\"x\": NaN, \"s\": \" a \\u00e9 \", \"o\": { \"k\" : [ 1 , -0.0 ] } } ",
			   &t, &reason),
		1);
	assert_string_equal(reason.text, "");
	assert_true(fg_span_is(t.msg[0].device, "p-1"));
	assert_true(fg_span_is(t.msg[0].stream, "climate"));
	assert_true(fg_span_is(t.msg[0].body,
			       "{\"t\":21.50,\"n\":18446744073709551615,\"e\":1E+02,\"x\":NaN,"
			       "\"s\":\" a \\u00e9 \",\"o\":{\"k\":[1,-0.0]}}"));
	assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
	assert_int_equal(t.msg[0].time_us, NOW_US);
	assert_int_equal(t.msg[0].time_quality, FG_TIME_GATEWAY);
	assert_int_equal(t.msg[0].seq, 0);
}

static void the_member_that_holds_the_time_is_left_out_of_the_whole(void **state)
{
	static const char *const cases[][2] = {
		{"{\"ts\":1700000000,\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2}"},
		{"{\"a\": 1, \"ts\": 1700000000, \"b\" : [ 2 ]}", "{\"a\":1,\"b\":[2]}"},
		{"{\"a\":1,\"ts\":1700000000}", "{\"a\":1}"},
		{"{\"a\\\"b\":1,\"\\u0074s\":1700000000}", "{\"a\\\"b\":1}"},
		{"{\"ts\":0,\"a\":1,\"ts\":1700000000}", "{\"a\":1}"}, /* the last one counts */
		{"{\"\":1,\"ts\":1700000000}", "{\"\":1}"},
		{"{\"ts\":1700000000}", NULL},
		{"{\"ts\":null}", "time at $.ts is null, expected a number or ISO 8601 text"},
	};
	struct fg_mapping_config rules[] = {RULE("{device}"), RULE("x/{device}")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	struct fg_error reason;
	struct taken t;

	(void)state;
	rules[0].time = "$.ts";
	rules[1].time = "$.meta.ts"; /* not at the top: stays */
	m = compile(rules, 2);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = apply_text(m, "d", cases[i][0], &t, &reason);

		if (!cases[i][1]) {
			assert_int_equal(r, 0);
			assert_string_equal(reason.text, "");
		} else if (cases[i][1][0] == '{') {
			assert_int_equal(r, 1);
			assert_true(fg_span_is(t.msg[0].body, cases[i][1]));
			assert_int_equal(t.msg[0].time_us, 1700000000000000);
			assert_int_equal(t.msg[0].time_quality, FG_TIME_DEVICE);
		} else {
			assert_int_equal(r, -EPROTO);
			assert_string_equal(reason.text, cases[i][1]);
		}
	}
	assert_int_equal(
		apply_text(m, "x/d", "{\"meta\":{\"ts\":1700000000},\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].body, "{\"meta\":{\"ts\":1700000000},\"a\":1}"));
	assert_int_equal(t.msg[0].time_us, 1700000000000000);
}

static void selected_members_are_renamed_and_missing_ones_left_out(void **state)
{
	struct fg_select_config telemetry[] = {
		{.name = "temperature", .from = "$.t"}, {.name = "say \"x\"", .from = "$.list[1]"},
		{.name = "deep", .from = "$.a['b c']"}, {.name = "none", .from = "$.missing"},
		{.name = "nothing", .from = "$.n"},
	};
	struct fg_mapping_config rules[] = {{
		.topic = "{device}",
		.telemetry = {.select = telemetry, .n_select = 5},
		.place = {"a.yaml", 1, 1},
	}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	assert_int_equal(
		apply_text(m, "d",
			   "{\"x\":0,\"n\":null,\"t\": 21.50 ,\"a\":{\"b c\": { \"k\" : 1 } },"
			   "\"list\":[1, \"two\" ]}",
			   &t, &reason),
		1);
	assert_true(
		fg_span_is(t.msg[0].body,
			   "{\"temperature\":21.50,\"say \\\"x\\\"\":\"two\",\"deep\":{\"k\":1},"
			   "\"nothing\":null}"));
	assert_int_equal(apply_text(m, "d", "{\"t\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].body, "{\"temperature\":1}"));
	assert_int_equal(apply_text(m, "d", "{\"x\":1}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text, "payload has none of the selected members");
	assert_int_equal(apply_text(m, "d", "[]", &t, &reason), -EPROTO);
	assert_string_equal(reason.text, "payload has none of the selected members");
	assert_int_equal(apply_text(m, "d", "{ }", &t, &reason), 0);
	assert_string_equal(reason.text, "");
}

static void a_dollar_selects_the_whole_payload_whatever_it_is(void **state)
{
	static const char *const payloads[] = {"21.50", "\"on\"", "true", "null", "[1,2]", "{}"};
	struct fg_select_config telemetry[] = {{.name = "value", .from = "$"}};
	struct fg_mapping_config rules[] = {{
		.topic = "{device}/{stream}",
		.telemetry = {.select = telemetry, .n_select = 1},
	}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		char expected[64];

		snprintf(expected, sizeof(expected), "{\"value\":%s}", payloads[i]);
		assert_int_equal(apply_text(m, "d/s", payloads[i], &t, &reason), 1);
		assert_true(fg_span_is(t.msg[0].body, expected));
	}
}

static void one_arrival_may_make_telemetry_and_attributes(void **state)
{
	struct fg_select_config telemetry[] = {{.name = "t", .from = "$.t"}};
	struct fg_select_config attributes[] = {{.name = "firmware", .from = "$.fw"}};
	struct fg_mapping_config rules[] = {{
		.topic = "{device}",
		.telemetry = {.select = telemetry, .n_select = 1},
		.attributes = {.select = attributes, .n_select = 1},
		.time = "$.ts",
	}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	assert_int_equal(
		apply_text(m, "d", "{\"t\":1,\"fw\":\"1.2\",\"ts\":1700000000123}", &t, &reason),
		2);
	assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
	assert_true(fg_span_is(t.msg[0].body, "{\"t\":1}"));
	assert_int_equal(t.msg[1].kind, FG_ATTRIBUTES);
	assert_true(fg_span_is(t.msg[1].body, "{\"firmware\":\"1.2\"}"));
	assert_int_equal(t.msg[1].time_us, 1700000000123000);
	assert_true(fg_span_is(t.msg[1].device, "d"));
	assert_int_equal(apply_text(m, "d", "{\"fw\":\"1.2\"}", &t, &reason), 1);
	assert_int_equal(t.msg[0].kind, FG_ATTRIBUTES);
	assert_int_equal(apply_text(m, "d", "{\"t\":2}", &t, &reason), 1);
	assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
	assert_int_equal(apply_text(m, "d", "{\"ts\":1700000000123}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text, "payload has none of the selected members");
}

/* The bodies of the two kinds are built side by side, also when one of them is never wanted. */
static void a_rule_may_make_attributes_only(void **state)
{
	struct fg_select_config attributes[] = {{.name = "firmware", .from = "$.fw"}};
	struct fg_mapping_config rules[] = {{
		.topic = "{device}",
		.attributes = {.select = attributes, .n_select = 1},
	}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	assert_int_equal(apply_text(m, "d", "{\"t\":1,\"fw\":\"1.2\"}", &t, &reason), 1);
	assert_int_equal(t.msg[0].kind, FG_ATTRIBUTES);
	assert_true(fg_span_is(t.msg[0].body, "{\"firmware\":\"1.2\"}"));
}

static void a_rule_that_names_neither_kind_makes_telemetry_of_all(void **state)
{
	struct fg_mapping_config rules[] = {{.topic = "{device}"}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	assert_int_equal(apply_text(m, "d", "{\"t\":1}", &t, &reason), 1);
	assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
}

static void payloads_that_do_not_fit_are_refused_with_a_reason(void **state)
{
	static const struct {
		struct fg_span payload;
		const char *reason;
	} cases[] = {
		{TEXT(""), "empty payload"},
		{TEXT(" "), "payload is not JSON: text is empty, at byte 1"},
		{TEXT("[{\"a\":1}]"), "payload is an array, expected an object"},
		{TEXT("\"a\""), "payload is a string, expected an object"},
		{TEXT("1"), "payload is a number, expected an object"},
		{TEXT("1.5"), "payload is a number, expected an object"},
		{TEXT("NaN"), "payload is NaN or Infinity, expected an object"},
		{TEXT("true"), "payload is true or false, expected an object"},
		{TEXT("null"), "payload is null, expected an object"},
		{TEXT("{\"a\":1"), "payload is not JSON: text ends inside an object, at byte 6"},
		{TEXT("{\"a\":secret}"),
		 "payload is not JSON: a value was expected here, at byte 5"},
		{TEXT("{\"a\":1}\0"),
		 "payload is not JSON: text goes on after the value, at byte 7"},
		{TEXT("\x08\x96\x01"), "payload is not JSON: a value was expected here, at byte 0"},
	};
	struct fg_mapping_config rules[] = {RULE("{device}")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(apply(m, fg_span_str("d"), cases[i].payload, &t, &reason),
				 -EPROTO);
		assert_string_equal(reason.text, cases[i].reason);
	}
	assert_int_equal(apply_text(m, "d", "{}", &t, &reason), 0);
	assert_string_equal(reason.text, "");
	assert_int_equal(apply_text(m, "d/e", "{}", &t, &reason), -ENOENT);
}

static void a_payload_may_be_as_large_as_the_limit_and_no_larger(void **state)
{
	struct fg_select_config twice[] = {{.name = "a", .from = "$"}, {.name = "b", .from = "$"}};
	struct fg_mapping_config rules[] = {
		RULE("all/{device}"),
		{.topic = "twice/{device}", .telemetry = {.select = twice, .n_select = 2}},
	};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 2);
	char payload[MAX_MESSAGE_BYTES + 1];
	struct fg_error reason;
	struct taken t;

	(void)state;
	memset(payload, 'x', sizeof(payload));
	memcpy(payload, "{\"a\":\"", 6);
	memcpy(payload + MAX_MESSAGE_BYTES - 2, "\"}", 2);
	assert_int_equal(
		apply(m, fg_span_str("all/d"), fg_span_of(payload, MAX_MESSAGE_BYTES), &t, &reason),
		1);
	assert_int_equal(t.msg[0].body.size, MAX_MESSAGE_BYTES);
	assert_int_equal(apply(m, fg_span_str("all/d"), fg_span_of(payload, MAX_MESSAGE_BYTES + 1),
			       &t, &reason),
			 -EPROTO);
	assert_string_equal(reason.text, "payload of 1025 bytes, at most 1024 are allowed");
	/* what is selected twice counts twice */
	memcpy(payload + 510, "\"}", 2);
	assert_int_equal(apply(m, fg_span_str("twice/d"), fg_span_of(payload, 512), &t, &reason),
			 1);
	assert_int_equal(t.msg[0].body.size, 2 * 512 + strlen("{\"a\":,\"b\":}"));
	memcpy(payload + 510, "x\"}", 3);
	assert_int_equal(apply(m, fg_span_str("twice/d"), fg_span_of(payload, 513), &t, &reason),
			 -EPROTO);
	assert_string_equal(reason.text,
			    "the selected members make more than the 1024 bytes allowed");
}

static void a_time_that_cannot_be_used_is_refused_and_named_by_its_path(void **state)
{
	static const struct {
		enum fg_time_unit unit;
		const char *time;
		int64_t us; /* 0: refused */
		const char *reason;
	} cases[] = {
		{FG_TIME_UNIT_AUTO, "1700000000", 1700000000000000, NULL},
		{FG_TIME_UNIT_AUTO, "1700000000.25", 1700000000250000, NULL},
		{FG_TIME_UNIT_AUTO, "1700000000000", 1700000000000000, NULL},
		{FG_TIME_UNIT_AUTO, "1700000000000000", 1700000000000000, NULL},
		{FG_TIME_UNIT_AUTO, "\"2023-11-14T22:13:20Z\"", 1700000000000000, NULL},
		{FG_TIME_UNIT_AUTO, "\"2023-11-14T23:13:20\\u002B01:00\"", 1700000000000000, NULL},
		{FG_TIME_UNIT_ISO8601, "\"2023-11-14T22:13:20Z\"", 1700000000000000, NULL},
		{FG_TIME_UNIT_S, "1700000000", 1700000000000000, NULL},
		{FG_TIME_UNIT_MS, "1700000000000", 1700000000000000, NULL},
		{FG_TIME_UNIT_US, "1700000000000000", 1700000000000000, NULL},
		{FG_TIME_UNIT_MS, "1700000000", 0,
		 "time at $.m.ts is outside the years 1990 to 2199"},
		{FG_TIME_UNIT_AUTO, "0", 0, "time at $.m.ts is outside the years 1990 to 2199"},
		{FG_TIME_UNIT_AUTO, "-1", 0, "time at $.m.ts is outside the years 1990 to 2199"},
		{FG_TIME_UNIT_AUTO, "1e400", 0, "time at $.m.ts is outside the years 1990 to 2199"},
		{FG_TIME_UNIT_AUTO, "null", 0,
		 "time at $.m.ts is null, expected a number or ISO 8601 text"},
		{FG_TIME_UNIT_AUTO, "{\"s\":1}", 0,
		 "time at $.m.ts is an object, expected a number or ISO 8601 text"},
		{FG_TIME_UNIT_AUTO, "[1]", 0,
		 "time at $.m.ts is an array, expected a number or ISO 8601 text"},
		{FG_TIME_UNIT_MS, "true", 0, "time at $.m.ts is true or false, expected a number"},
		{FG_TIME_UNIT_ISO8601, "NaN", 0,
		 "time at $.m.ts is NaN or Infinity, expected ISO 8601 text"},
		{FG_TIME_UNIT_ISO8601, "1700000000", 0,
		 "time at $.m.ts is a number, expected ISO 8601 text"},
		{FG_TIME_UNIT_S, "\"1700000000\"", 0,
		 "time at $.m.ts is a string, expected a number"},
		{FG_TIME_UNIT_AUTO, "\"soon\"", 0,
		 "time at $.m.ts is not ISO 8601 with an offset or Z, or outside the years 1990 to "
		 "2199"},
		{FG_TIME_UNIT_AUTO, "\"2023-11-14T22:13:20\"", 0,
		 "time at $.m.ts is not ISO 8601 with an offset or Z, or outside the years 1990 to "
		 "2199"},
		{FG_TIME_UNIT_AUTO, "\"\"", 0,
		 "time at $.m.ts is not ISO 8601 with an offset or Z, or outside the years 1990 to "
		 "2199"},
	};
	struct fg_error reason;
	struct taken t;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_mapping_config rules[] = {RULE("{device}")};
		FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
		char payload[200];
		int r;

		rules[0].time = "$.m.ts";
		rules[0].time_unit = cases[i].unit;
		m = compile(rules, 1);
		snprintf(payload, sizeof(payload), "{\"m\":{\"ts\": %s },\"a\":1}", cases[i].time);
		r = apply_text(m, "d", payload, &t, &reason);
		if (cases[i].us == 0) {
			assert_int_equal(r, -EPROTO);
			assert_string_equal(reason.text, cases[i].reason);
			continue;
		}
		if (r != 1)
			fail_msg("%s: %s", cases[i].time, reason.text);
		assert_int_equal(t.msg[0].time_us, cases[i].us);
		assert_int_equal(t.msg[0].time_quality, FG_TIME_DEVICE);
		/* absent: the time of arrival */
		assert_int_equal(apply_text(m, "d", "{\"a\":1}", &t, &reason), 1);
		assert_int_equal(t.msg[0].time_us, NOW_US);
		assert_int_equal(t.msg[0].time_quality, FG_TIME_GATEWAY);
	}
}

static void a_time_as_long_as_the_largest_payload_is_refused(void **state)
{
	struct fg_mapping_config rules[] = {RULE("{device}")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	char payload[MAX_MESSAGE_BYTES];
	struct fg_error reason;
	struct taken t;

	(void)state;
	rules[0].time = "$.ts";
	m = compile(rules, 1);
	memset(payload, '1', sizeof(payload));
	memcpy(payload, "{\"ts\":", 6);
	payload[sizeof(payload) - 1] = '}';
	assert_int_equal(
		apply(m, fg_span_str("d"), fg_span_of(payload, sizeof(payload)), &t, &reason),
		-EPROTO);
	payload[6] = '"';
	payload[sizeof(payload) - 2] = '"';
	assert_int_equal(
		apply(m, fg_span_str("d"), fg_span_of(payload, sizeof(payload)), &t, &reason),
		-EPROTO);
}

/* ------------------------------------------------------------------ names */

static void devices_and_streams_are_named_by_templates(void **state)
{
	struct fg_mapping_config rules[] = {
		RULE("a/{site}/{device}/{rest...}"),
		RULE("fixed"),
		RULE("b/{stream}"),
	};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	struct fg_error reason;
	struct taken t;

	(void)state;
	rules[0].device = "{site}-{device}";
	rules[0].stream = "x/{rest}";
	rules[1].device = "boiler";
	rules[2].device = "{stream}";
	rules[2].stream = "";
	m = compile(rules, 3);
	assert_int_equal(apply_text(m, "a/n\xc3\xb6rd/p/1/2", "{\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].device, "n\xc3\xb6rd-p"));
	assert_true(fg_span_is(t.msg[0].stream, "x/1/2"));
	assert_int_equal(apply_text(m, "a/n/p/", "{\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].stream, "x/"));
	assert_int_equal(apply_text(m, "fixed", "{\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].device, "boiler"));
	assert_true(fg_span_is(t.msg[0].stream, ""));
	assert_int_equal(apply_text(m, "b/c", "{\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].device, "c"));
	assert_true(fg_span_is(t.msg[0].stream, ""));
}

static void names_that_break_the_rules_are_refused_with_a_reason(void **state)
{
	struct fg_mapping_config rules[] = {RULE("a/{device}/{stream}"), RULE("b/{device}/{x}")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	char topic[600];
	struct fg_error reason;
	struct taken t;

	(void)state;
	rules[1].device = "{device}-{x}";
	m = compile(rules, 2);
	assert_int_equal(apply_text(m, "a//s", "{\"a\":1}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text,
			    "the topic's level for {device}, which names the device, is empty");
	assert_int_equal(apply_text(m, "b/d/", "{\"a\":1}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text,
			    "the topic's level for {x}, which names the device, is empty");
	assert_int_equal(apply_text(m, "a/d/", "{\"a\":1}", &t, &reason), 1);
	assert_int_equal(t.msg[0].stream.size, 0);
	assert_int_equal(apply_text(m, "a/d\x01/s", "{\"a\":1}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text,
			    "the device name made from the topic has a control character");
	assert_int_equal(apply_text(m, "a/d\xc2\x85/s", "{\"a\":1}", &t, &reason), -EPROTO);
	assert_int_equal(apply_text(m, "a/d\xc2\xa0/s", "{\"a\":1}", &t, &reason), 1);
	assert_int_equal(apply_text(m, "a/d/s\x7f", "{\"a\":1}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text,
			    "the stream name made from the topic has a control character");
	assert_int_equal(apply_text(m, "a/d\xc2/s", "{\"a\":1}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text, "the device name made from the topic is not UTF-8");
	for (int size = 255; size <= 256; size++) {
		snprintf(topic, sizeof(topic), "a/%0*d/%0*d", size, 0, 255, 0);
		assert_int_equal(apply_text(m, topic, "{\"a\":1}", &t, &reason),
				 size == 255 ? 1 : -EPROTO);
	}
	assert_string_equal(reason.text,
			    "the device name made from the topic is longer than 255 bytes");
	snprintf(topic, sizeof(topic), "a/d/%0*d", 256, 0);
	assert_int_equal(apply_text(m, topic, "{\"a\":1}", &t, &reason), -EPROTO);
	assert_string_equal(reason.text,
			    "the stream name made from the topic is longer than 255 bytes");
}

/* ------------------------------------------------------------------ rules */

static void the_first_rule_that_matches_decides(void **state)
{
	struct fg_mapping_config rules[] = {RULE("a/x/{r}"), RULE("a/{device}/{r}"), RULE("a/#"),
					    RULE("$SYS/#")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	const char *const *filters;
	struct fg_error reason;
	struct taken t;

	(void)state;
	rules[0].device = "first";
	rules[2].device = "rest";
	rules[3].device = "broker";
	m = compile(rules, 4);
	assert_int_equal(apply_text(m, "a/x/y", "{\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].device, "first"));
	assert_int_equal(apply_text(m, "a/z/y", "{\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].device, "z"));
	assert_int_equal(apply_text(m, "a", "{\"a\":1}", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].device, "rest"));
	assert_int_equal(apply_text(m, "b", "{\"a\":1}", &t, &reason), -ENOENT);
	assert_int_equal(fg_mapping_filters(m, &filters), 4);
	assert_string_equal(filters[0], "a/x/+");
	assert_string_equal(filters[1], "a/+/+");
	assert_string_equal(filters[2], "a/#");
	assert_string_equal(filters[3], "$SYS/#");
}

static void a_filter_that_two_rules_share_is_listed_once(void **state)
{
	/* the first leaves "a" to the second, and both need "a/#" */
	struct fg_mapping_config rules[] = {RULE("a/{device...}"), RULE("a/#")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	const char *const *filters;

	(void)state;
	rules[1].device = "a";
	m = compile(rules, 2);
	assert_int_equal(fg_mapping_filters(m, &filters), 1);
	assert_string_equal(filters[0], "a/#");
}

static void what_the_taker_returns_ends_the_arrival(void **state)
{
	struct fg_mapping_config rules[] = {RULE("{device}")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	struct fg_arrival arrival = {
		.topic = fg_span_str("d"), .payload = fg_span_str("{\"a\":1}"), .now_us = NOW_US};
	struct taken t = {.result = -EAGAIN};

	(void)state;
	rules[0].attributes.is_all = true;
	m = compile(rules, 1);
	assert_int_equal(fg_mapping_apply(m, &arrival, take, &t, NULL), -EAGAIN);
	assert_int_equal(t.n, 1);
}

static void every_mistake_in_the_rules_is_reported_in_one_run(void **state)
{
	struct fg_select_config select[] = {
		{.place = {"a.yaml", 20, 5}, .name = "x", .from = "$..x"},
		{.place = {"a.yaml", 21, 5}, .name = "ok", .from = "$.ok"},
		{.place = {"a.yaml", 22, 5}, .name = "x", .from = "x"},
	};
	struct fg_mapping_config rules[] = {
		{.topic = "a/{device}/b+", .place = {"a.yaml", 1, 3}},
		{.topic = "b/{name}", .place = {"a.yaml", 2, 3}}, /* the default names {device} */
		{.topic = "c/{name}",
		 .place = {"a.yaml", 3, 3},
		 .device = "{nam}",
		 .stream = "}",
		 .device_place = {"a.yaml", 3, 30},
		 .stream_place = {"a.yaml", 3, 40}},
		{.topic = "d/{device}",
		 .place = {"a.yaml", 4, 3},
		 .time = "ts",
		 .time_place = {"a.yaml", 4, 30},
		 .telemetry = {.select = select, .n_select = 3}},
		{.topic = "d/{device}", .place = {"a.yaml", 5, 3}, .attributes = {.is_all = true}},
		{.topic = "d/x", .place = {"b.yaml", 1, 3}, .device = ""},
		{.topic = "e/{device}", .place = {"b.yaml", 2, 3}, .device = "{device"},
		{.topic = "f/{device}", .place = {"b.yaml", 3, 3}, .stream = "a{}"},
		{.topic = "g/{device}", .place = {"b.yaml", 4, 3}, .device = "{{device}}"},
		{.topic = "h/{device}", .place = {"b.yaml", 5, 3}, .device = "a\x01"},
	};
	static const char *const expected[] = {
		"a.yaml:1:3: mappings[0].topic: \"a/{device}/b+\": \"b+\": a wildcard (+ or #) "
		"must be "
		"alone between its slashes",
		"a.yaml:2:3: mappings[1].device: \"{device}\": {device} is not a level of the "
		"topic",
		"a.yaml:3:30: mappings[2].device: \"{nam}\": {nam} is not a level of the topic",
		"a.yaml:3:40: mappings[2].stream: \"}\": a brace without its partner",
		"a.yaml:4:30: mappings[3].time: \"ts\": a path starts with $ (character 1 of the "
		"path)",
		"a.yaml:5:3: mappings[4].topic: \"d/{device}\": never reached: the rule for "
		"\"d/{device}\" in line 4 comes first",
		"a.yaml:20:5: mappings[3].telemetry.x: \"$..x\": this selects more than one value, "
		"a path "
		"here must name just one (character 3 of the path)",
		"a.yaml:22:5: mappings[3].telemetry: \"x\": selected twice",
		"a.yaml:22:5: mappings[3].telemetry.x: \"x\": a path starts with $ (character 1 of "
		"the path)",
		"b.yaml:1:3: mappings[0].device: \"\": the device needs a name",
		"b.yaml:1:3: mappings[0].topic: \"d/x\": never reached: the rule for "
		"\"d/{device}\" at "
		"a.yaml:4 comes first",
		"b.yaml:2:3: mappings[1].device: \"{device\": a brace without its partner",
		"b.yaml:3:3: mappings[2].stream: \"a{}\": {} is not a level of the topic",
		"b.yaml:4:3: mappings[3].device: \"{{device}}\": a brace without its partner",
		"b.yaml:5:3: mappings[4].device: \"a?\": expected UTF-8 without control "
		"characters",
	};
	FG_CLEANUP(report_freep) struct fg_report *report = fg_report_new();
	struct fg_config config = {.mappings = rules,
				   .n_mappings = sizeof(rules) / sizeof(rules[0]),
				   .max_message_bytes = MAX_MESSAGE_BYTES};
	struct fg_mapping *m = NULL;

	(void)state;
	assert_int_equal(fg_mapping_new(&config, report, &m), -EINVAL);
	assert_null(m);
	for (size_t i = 0;
	     i < sizeof(expected) / sizeof(expected[0]) && i < fg_report_count(report); i++)
		assert_string_equal(fg_report_line(report, i), expected[i]);
	assert_int_equal(fg_report_count(report), sizeof(expected) / sizeof(expected[0]));
	assert_null(fg_mapping_free(NULL));
}

static void a_name_longer_than_255_bytes_is_reported(void **state)
{
	struct fg_mapping_config rules[] = {RULE("{device}")};
	FG_CLEANUP(report_freep) struct fg_report *report = fg_report_new();
	struct fg_config config = {.mappings = rules, .n_mappings = 1, .max_message_bytes = 1024};
	struct fg_mapping *m = NULL;
	char name[300];

	(void)state;
	snprintf(name, sizeof(name), "%0256d", 0);
	rules[0].stream = name;
	assert_int_equal(fg_mapping_new(&config, report, &m), -EINVAL);
	assert_int_equal(fg_report_count(report), 1);
	assert_non_null(strstr(fg_report_line(report, 0), "longer than 255 bytes"));
}

/* ------------------------------------------------------------------ room and memory */

/* The bytes a message takes as a record: format.h, section 2. */
static size_t record_bytes(const struct fg_message *msg)
{
	/* with a reference of its longest, a link, and the moment of a clock that is not set */
	return (32 + msg->device.size + msg->stream.size + 1 + (2 + 24) +
		(msg->link.size > 0 ? 2 + 32 + 2 + msg->link.size : 0) + msg->body.size + 7) /
	       8 * 8;
}

static char *up[] = {"1", "on"}, *down[] = {"0", "off"};

/* One of each kind; the payloads below suit at least one. */
#define EVERY_KIND                                                                                 \
	RULE("all/{device}/{stream}"),                                                             \
		{.topic = "some/{device}/{stream}",                                                \
		 .telemetry = {.select = many, .n_select = 4},                                     \
		 .attributes = {.select = many, .n_select = 4},                                    \
		 .time = "$.ts"},                                                                  \
		{.topic = "text/{device}/{key}",                                                   \
		 .payload = FG_PAYLOAD_TEXT,                                                       \
		 .telemetry = {.is_all = true},                                                    \
		 .attributes = {.is_all = true}},                                                  \
		{.topic = "presence/{device}/{x}",                                                 \
		 .presence = {.is_set = true, .up = up, .n_up = 2, .down = down, .n_down = 2}},    \
		{.topic = "state/{device}/{x}",                                                    \
		 .presence = {.is_set = true,                                                      \
			      .from = "$.a",                                                       \
			      .up = up,                                                            \
			      .n_up = 2,                                                           \
			      .down = down,                                                        \
			      .n_down = 2}},                                                       \
		{.topic = "claim/{device}/{x}",                                                    \
		 .is_alarm = true,                                                                 \
		 .request = {.is_set = true,                                                       \
			     .kind = FG_REQUEST_CLAIM,                                             \
			     .link = "a-cloud",                                                    \
			     .response = "answer/{x}"}},                                           \
	{                                                                                          \
		.topic = "rpc/{device}/{x}", .request = {.is_set = true, .kind = FG_REQUEST_RPC }  \
	}

#define MANY                                                                                       \
	{.name = "a long name for a member", .from = "$"}, {.name = "b", .from = "$"},             \
		{.name = "c", .from = "$.a"},                                                      \
	{                                                                                          \
		.name = "d", .from = "$.a"                                                         \
	}

static const char *const topics[] = {"all", "some", "text", "presence", "state", "claim", "rpc"};
#define N_TOPICS (sizeof(topics) / sizeof(topics[0]))

static struct fg_cloud_config clouds[] = {{.name = "the-only-cloud"}};

/* The bytes of what was emitted as records, or of the quarantined message that came of it. */
static size_t used_by(const struct taken *t, const char *reason, size_t topic_bytes,
		      size_t payload_bytes)
{
	size_t used = 0;

	for (int i = 0; i < t->n; i++)
		used += record_bytes(&t->msg[i]);
	return t->n > 0 ? used
			: (32 + 255 + 255 + 19 + strlen(reason) + topic_bytes + payload_bytes + 7) /
				  8 * 8;
}

/* @size ones between @before and @after. */
static struct fg_span ones(const char *before, size_t size, const char *after, char *out)
{
	size_t before_size = strlen(before), after_size = strlen(after);

	memcpy(out, before, before_size);
	memset(out + before_size, '1', size);
	memcpy(out + before_size + size, after, after_size);
	return fg_span_of(out, before_size + size + after_size);
}

/* Returns the bytes used, which must not be more than were asked for. */
static size_t check_room(struct fg_mapping *m, const char *topic, struct fg_span payload)
{
	size_t room = fg_mapping_room(m, strlen(topic), payload.size), used;
	static struct taken t;
	struct fg_error reason;

	apply(m, fg_span_str(topic), payload, &t, &reason);
	used = used_by(&t, reason.text, strlen(topic), payload.size);
	if (used > room)
		fail_msg("%.5s, %zu bytes of payload: %zu > %zu", topic, payload.size, used, room);
	return used;
}

static void the_room_asked_for_holds_all_that_is_emitted(void **state)
{
	static const char *const forms[][2] = {
		{"{\"a\":", "}"}, {"\"\\", "\x01\x01\x01"}, {"", ""}, {"{\"secretKey\":\"", "\"}"}};
	struct fg_select_config many[] = {MANY};
	struct fg_mapping_config rules[] = {EVERY_KIND};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, N_TOPICS);
	char payload[2 * MAX_MESSAGE_BYTES], topic[600];
	size_t most = 0;

	(void)state;
	for (size_t rule = 0; rule < N_TOPICS; rule++) {
		snprintf(topic, sizeof(topic), "%s/%0255d/%0255d", topics[rule], 0, 0);
		for (size_t size = 1; size <= MAX_MESSAGE_BYTES; size += 3)
			for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
				size_t used = check_room(
					m, topic, ones(forms[i][0], size, forms[i][1], payload));

				most = used > most ? used : most;
			}
	}
	assert_true(most > 2 * MAX_MESSAGE_BYTES);
	/* a text that becomes six times as long, beside a key that becomes twice as long */
	snprintf(topic, sizeof(topic), "text/%0255d/%0255d", 0, 0);
	memset(topic + strlen("text/") + 256, '"', 255);
	memset(payload, '\x01', sizeof(payload));
	for (size_t size = 1; size <= 171; size++)
		most = check_room(m, topic, fg_span_of(payload, size));
	assert_true(most < 2 * MAX_MESSAGE_BYTES); /* 171 is one too many: quarantined */
	/* what is larger than allowed still has to fit the quarantine */
	assert_true(fg_mapping_room(m, 65535, 1 << 20) > 65535 + (1 << 20));
}

static void applying_allocates_nothing(void **state)
{
	static const char *const payloads[] = {
		"{\"a\":21.50,\"ts\":1700000000,\"fw\":\"1.2\"}",
		"{\"a\":21.50,\"ts\":\"2023-11-14T22:13:20Z\"}",
		"{\"a\":21.50,\"ts\":\"never\"}",
		"{\"a\":\"on\"}",
		"{\"method\":\"m\",\"params\":[1]}",
		"{}",
		"",
		"0",
		"nonsense",
		"[1]",
	};
	struct fg_select_config many[] = {MANY};
	struct fg_mapping_config rules[] = {EVERY_KIND};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, N_TOPICS);
	static struct taken t;

	(void)state;
	n_allocations = 0;
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		for (size_t rule = 0; rule <= N_TOPICS; rule++) {
			char topic[32];
			struct fg_arrival arrival = {.topic = fg_span_str(topic),
						     .payload = fg_span_str(payloads[i]),
						     .now_us = NOW_US,
						     .response_topic = fg_span_str("answer")};
			struct fg_error reason;

			snprintf(topic, sizeof(topic), "%s/d/x",
				 rule < N_TOPICS ? topics[rule] : "none");
			arrival.topic = fg_span_str(topic);
			t.n = 0;
			fg_mapping_apply(m, &arrival, take, &t, &reason);
			fg_mapping_room(m, arrival.topic.size, arrival.payload.size);
		}
	assert_int_equal(n_allocations, 0);
}

static void any_allocation_may_fail_while_rules_are_compiled(void **state)
{
	struct fg_select_config many[] = {MANY};
	struct fg_mapping_config rules[] = {EVERY_KIND};
	FG_CLEANUP(report_freep) struct fg_report *report = fg_report_new();
	struct fg_config config = {.mappings = rules,
				   .n_mappings = N_TOPICS,
				   .clouds = clouds,
				   .n_clouds = 1,
				   .max_message_bytes = 1024};
	struct fg_mapping *m = NULL;
	unsigned n;

	(void)state;
	n_allocations = 0;
	assert_int_equal(fg_mapping_new(&config, report, &m), 0);
	n = n_allocations;
	m = fg_mapping_free(m);
	assert_true(n > 40);
	for (unsigned i = 1; i <= n; i++) {
		failing = i;
		assert_int_equal(fg_mapping_new(&config, report, &m), -ENOMEM);
		assert_null(m);
	}
	failing = 0;
	assert_int_equal(fg_report_count(report), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_whole_object_travels_with_its_number_text_untouched),
		cmocka_unit_test(the_member_that_holds_the_time_is_left_out_of_the_whole),
		cmocka_unit_test(selected_members_are_renamed_and_missing_ones_left_out),
		cmocka_unit_test(a_dollar_selects_the_whole_payload_whatever_it_is),
		cmocka_unit_test(one_arrival_may_make_telemetry_and_attributes),
		cmocka_unit_test(a_rule_may_make_attributes_only),
		cmocka_unit_test(a_rule_that_names_neither_kind_makes_telemetry_of_all),
		cmocka_unit_test(payloads_that_do_not_fit_are_refused_with_a_reason),
		cmocka_unit_test(a_payload_may_be_as_large_as_the_limit_and_no_larger),
		cmocka_unit_test(a_time_that_cannot_be_used_is_refused_and_named_by_its_path),
		cmocka_unit_test(a_time_as_long_as_the_largest_payload_is_refused),
		cmocka_unit_test(devices_and_streams_are_named_by_templates),
		cmocka_unit_test(names_that_break_the_rules_are_refused_with_a_reason),
		cmocka_unit_test(the_first_rule_that_matches_decides),
		cmocka_unit_test(a_filter_that_two_rules_share_is_listed_once),
		cmocka_unit_test(what_the_taker_returns_ends_the_arrival),
		cmocka_unit_test(every_mistake_in_the_rules_is_reported_in_one_run),
		cmocka_unit_test(a_name_longer_than_255_bytes_is_reported),
		cmocka_unit_test(the_room_asked_for_holds_all_that_is_emitted),
		cmocka_unit_test(applying_allocates_nothing),
		cmocka_unit_test(any_allocation_may_fail_while_rules_are_compiled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
