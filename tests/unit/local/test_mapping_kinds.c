/*
 * Rules for other things than JSON telemetry: text, presence, requests, alarms.
 */
#include "mapping_fixture.h"

static char *up[] = {"online", "1", "true"}, *down[] = {"offline", "0", "caf\xc3\xa9 \"down\""};
#define TEXTS .is_set = true, .up = up, .n_up = 3, .down = down, .n_down = 3

static void expect_reason(struct fg_mapping *m, const char *topic, struct fg_span payload,
			  const char *expected)
{
	struct fg_error reason;
	struct taken t;
	int r = apply(m, fg_span_str(topic), payload, &t, &reason);

	if (r != -EPROTO || strcmp(reason.text, expected) != 0)
		fail_msg("%s, %.*s: %d, %s", topic, (int)payload.size, payload.data, r,
			 reason.text);
}

/* ------------------------------------------------------------------ lanes */

static void alarms_are_emitted_for_their_lane(void **state)
{
	struct fg_mapping_config rules[] = {RULE("alarms/{device}"), RULE("{device}")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;
	struct fg_error reason;
	struct taken t;

	(void)state;
	rules[0].is_alarm = true;
	m = compile(rules, 2);
	assert_int_equal(apply_text(m, "alarms/d", "{\"a\":1}", &t, &reason), 1);
	assert_int_equal(t.mapped[0].lane, FG_LANE_ALARM);
	assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
	assert_int_equal(apply_text(m, "d", "{\"a\":1}", &t, &reason), 1);
	assert_int_equal(t.mapped[0].lane, FG_LANE_MAIN);
	assert_int_equal(t.msg[0].link.size, 0);
}

/* ------------------------------------------------------------------ text */

static void a_text_becomes_one_value_under_its_key(void **state)
{
	static const struct {
		struct fg_span payload;
		const char *body;
	} cases[] = {
		{TEXT("21.50"), "{\"t\":21.50}"},
		{TEXT("18446744073709551615"), "{\"t\":18446744073709551615}"},
		{TEXT("-0"), "{\"t\":-0}"},
		{TEXT("1E+02"), "{\"t\":1E+02}"},
		{TEXT(" 21.5\r\n"), "{\"t\":21.5}"},
		{TEXT("true"), "{\"t\":true}"},
		{TEXT("false"), "{\"t\":false}"},
		{TEXT("null"), "{\"t\":null}"},
		{TEXT("NaN"), "{\"t\":NaN}"},
		{TEXT("on"), "{\"t\":\"on\"}"},
		{TEXT("True"), "{\"t\":\"True\"}"},
		{TEXT("007"), "{\"t\":\"007\"}"},
		{TEXT("+5"), "{\"t\":\"+5\"}"},
		{TEXT("21,5"), "{\"t\":\"21,5\"}"},
		{TEXT("21.5 C"), "{\"t\":\"21.5 C\"}"},
		{TEXT(" on\n"), "{\"t\":\" on\\n\"}"},
		{TEXT("\"on\""), "{\"t\":\"\\\"on\\\"\"}"},
		{TEXT("{\"a\":1}"), "{\"t\":\"{\\\"a\\\":1}\"}"},
		{TEXT("[1]"), "{\"t\":\"[1]\"}"},
		{TEXT("caf\xc3\xa9"), "{\"t\":\"caf\xc3\xa9\"}"},
		{TEXT("a\0b"), "{\"t\":\"a\\u0000b\"}"},
		{TEXT(" "), "{\"t\":\" \"}"},
	};
	struct fg_mapping_config rules[] = {
		{.topic = "legacy/{device}/{key}", .payload = FG_PAYLOAD_TEXT, .key = "{key}"}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (apply(m, fg_span_str("legacy/d/t"), cases[i].payload, &t, &reason) != 1)
			fail_msg("%s: %s", cases[i].payload.data, reason.text);
		if (!fg_span_is(t.msg[0].body, cases[i].body))
			fail_msg("%s: %.*s", cases[i].payload.data, FG_SPAN_ARGS(t.msg[0].body));
		assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
		assert_true(fg_span_is(t.msg[0].device, "d"));
		assert_int_equal(t.msg[0].time_us, NOW_US);
		assert_int_equal(t.msg[0].time_quality, FG_TIME_GATEWAY);
	}
	expect_reason(m, "legacy/d/t", (struct fg_span)TEXT("caf\xe9"), "payload is not UTF-8");
	expect_reason(m, "legacy/d/t", (struct fg_span)TEXT(""), "empty payload");
}

static void an_opaque_payload_stays_what_it_is(void **state)
{
	static const struct fg_span payloads[] = {
		TEXT("{\"a\": 1}"),
		TEXT("a\0b\xff"),
		TEXT(" "),
		TEXT("say \"hi\""),
	};
	struct fg_mapping_config rules[] = {
		{.topic = "log/{device}/{stream}", .payload = FG_PAYLOAD_OPAQUE}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		assert_int_equal(apply(m, fg_span_str("log/d/boot"), payloads[i], &t, &reason), 1);
		assert_true(fg_span_equal(t.msg[0].body, payloads[i]));
		assert_true(fg_span_is(t.msg[0].content_type, "application/octet-stream"));
		assert_true(fg_span_is(t.msg[0].device, "d"));
		assert_true(fg_span_is(t.msg[0].stream, "boot"));
		assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
		assert_int_equal(t.msg[0].time_us, NOW_US);
	}
	expect_reason(m, "log/d/boot", (struct fg_span)TEXT(""), "empty payload");
}

/* ------------------------------------------------------------------ events */

static void an_event_has_the_type_that_the_rule_makes(void **state)
{
	struct fg_mapping_config rules[] = {{.topic = "events/{device}/{what}",
					     .event = "pump {what}",
					     .stream = "pump",
					     .is_alarm = true,
					     .time = "$.ts"}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	assert_int_equal(
		apply_text(m, "events/d/hot", "{\"ts\":1718000000000, \"t\": 90.50}", &t, &reason),
		1);
	assert_int_equal(t.msg[0].kind, FG_EVENT);
	assert_true(fg_span_is(t.msg[0].ref, "pump hot"));
	assert_true(fg_span_is(t.msg[0].stream, "pump"));
	assert_true(fg_span_is(t.msg[0].body, "{\"t\":90.50}"));
	assert_int_equal(t.msg[0].time_us, INT64_C(1718000000000000));
	assert_int_equal(t.mapped[0].lane, FG_LANE_ALARM);
	assert_int_equal(apply_text(m, "events/d/hot", " {} ", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].body, "{}"));
	assert_int_equal(t.msg[0].time_us, NOW_US);
	expect_reason(m, "events/d/hot", (struct fg_span)TEXT("[1]"),
		      "payload is an array, expected an object");
	expect_reason(m, "events/d/", (struct fg_span)TEXT("{}"),
		      "the topic's level for {what}, which names the event, is empty");
}

static void a_key_is_made_from_the_topic(void **state)
{
	struct fg_mapping_config rules[] = {
		{.topic = "m/{device}/{phase}/{what}",
		 .payload = FG_PAYLOAD_TEXT,
		 .key = "{what}_{phase} \"x\"",
		 .telemetry = {.is_all = true},
		 .attributes = {.is_all = true}},
		{.topic = "a/{device}",
		 .payload = FG_PAYLOAD_TEXT,
		 .key = "fixed",
		 .attributes = {.is_all = true}},
		{.topic = "k/{device}/{key}/{stream}", .payload = FG_PAYLOAD_TEXT},
	};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 3);
	struct fg_error reason;
	struct taken t;
	char topic[400];

	(void)state;
	assert_int_equal(apply_text(m, "m/d/l1/power", "5", &t, &reason), 2);
	assert_true(fg_span_is(t.msg[0].body, "{\"power_l1 \\\"x\\\"\":5}"));
	assert_int_equal(t.msg[0].kind, FG_TELEMETRY);
	assert_true(fg_span_is(t.msg[1].body, "{\"power_l1 \\\"x\\\"\":5}"));
	assert_int_equal(t.msg[1].kind, FG_ATTRIBUTES);
	assert_int_equal(apply_text(m, "a/d", "x", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].body, "{\"fixed\":\"x\"}"));
	assert_int_equal(t.msg[0].kind, FG_ATTRIBUTES);
	/* {key} when nothing is said */
	assert_int_equal(apply_text(m, "k/d/t/s", "1", &t, &reason), 1);
	assert_true(fg_span_is(t.msg[0].body, "{\"t\":1}"));
	assert_true(fg_span_is(t.msg[0].stream, "s"));
	expect_reason(m, "k/d//s", fg_span_str("1"),
		      "the topic's level for {key}, which names the value, is empty");
	expect_reason(m, "k/d/a\x01/s", fg_span_str("1"),
		      "the key made from the topic has a control character");
	expect_reason(m, "k/d/\xff/s", fg_span_str("1"),
		      "the key made from the topic is not UTF-8");
	snprintf(topic, sizeof(topic), "k/d/%0256d/s", 0);
	expect_reason(m, topic, fg_span_str("1"),
		      "the key made from the topic is longer than 255 bytes");
}

static void a_text_is_as_long_as_the_largest_message_once_it_is_quoted(void **state)
{
	struct fg_mapping_config rules[] = {
		{.topic = "{device}/{key}", .payload = FG_PAYLOAD_TEXT}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	char payload[MAX_MESSAGE_BYTES] = "", topic[300];
	struct fg_error reason;
	struct taken t;

	(void)state;
	/* a key that is doubled by its quotes beside the longest of texts */
	memset(topic, '"', sizeof(topic));
	memcpy(topic, "d/", 2);
	memset(payload, 'x', sizeof(payload));
	assert_int_equal(apply(m, fg_span_of(topic, 257),
			       fg_span_of(payload, MAX_MESSAGE_BYTES - 2), &t, &reason),
			 1);
	assert_int_equal(t.msg[0].body.size, 1 + 512 + 1 + MAX_MESSAGE_BYTES + 1);
	expect_reason(m, "d/k", fg_span_of(payload, MAX_MESSAGE_BYTES - 1),
		      "payload makes a JSON string of 1025 bytes, at most 1024 are allowed");
	memset(payload, '\x01', sizeof(payload));
	assert_int_equal(apply(m, fg_span_of(topic, 257), fg_span_of(payload, 170), &t, &reason),
			 1);
	assert_int_equal(t.msg[0].body.size, 1 + 512 + 1 + 2 + 6 * 170 + 1);
	expect_reason(m, "d/k", fg_span_of(payload, 171),
		      "payload makes a JSON string of 1028 bytes, at most 1024 are allowed");
	memset(payload, '7', sizeof(payload));
	assert_int_equal(apply(m, fg_span_of(topic, 257), fg_span_of(payload, MAX_MESSAGE_BYTES),
			       &t, &reason),
			 1);
}

/* ------------------------------------------------------------------ presence */

static void a_status_is_compared_as_text(void **state)
{
	static const struct {
		const char *topic, *payload;
		int says; /* 1: up, 0: down, -1: refused */
		const char *reason;
	} cases[] = {
		{"raw/d", "online", 1, NULL},
		{"raw/d", "1", 1, NULL},
		{"raw/d", "offline", 0, NULL},
		{"raw/d", "caf\xc3\xa9 \"down\"", 0, NULL},
		{"raw/d", "Online", -1,
		 "what it says is among neither the texts of `up` nor those of `down`"},
		{"raw/d", "online\n", -1,
		 "what it says is among neither the texts of `up` nor those of `down`"},
		{"raw/d", "\"online\"", -1,
		 "what it says is among neither the texts of `up` nor those of `down`"},
		{"raw/d", "", -1, "empty payload"},
		{"json/d", "{\"state\":\"online\"}", 1, NULL},
		{"json/d", " { \"x\":[], \"state\" : \"offline\" }", 0, NULL},
		{"json/d", "{\"state\":\"\\u006fnline\"}", 1, NULL},
		{"json/d", "{\"state\":\"caf\\u00e9 \\\"down\\\"\"}", 0, NULL},
		{"json/d", "{\"state\":1}", 1, NULL},
		{"json/d", "{\"state\":0}", 0, NULL},
		{"json/d", "{\"state\":true}", 1, NULL},
		{"json/d", "{\"state\":false}", -1,
		 "what it says is among neither the texts of `up` nor those of `down`"},
		{"json/d", "{\"state\":1.0}", -1,
		 "what it says is among neither the texts of `up` nor those of `down`"},
		{"json/d", "{\"state\":null}", -1,
		 "what stands at $.state is null, expected a text of `up` or `down`"},
		{"json/d", "{\"state\":{\"a\":1}}", -1,
		 "what stands at $.state is an object, expected a text of `up` or `down`"},
		{"json/d", "{\"states\":1}", -1, "payload has nothing at $.state"},
		{"json/d", "online", -1,
		 "payload is not JSON: a value was expected here, at byte 0"},
	};
	struct fg_mapping_config rules[] = {
		{.topic = "raw/{device}", .presence = {TEXTS}},
		{.topic = "json/{device}", .presence = {TEXTS, .from = "$.state"}},
	};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 2);
	struct fg_error reason;
	struct taken t;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = apply_text(m, cases[i].topic, cases[i].payload, &t, &reason);

		if (cases[i].says < 0) {
			if (r != -EPROTO || strcmp(reason.text, cases[i].reason) != 0)
				fail_msg("%s: %d, %s", cases[i].payload, r, reason.text);
			continue;
		}
		if (r != 1 || t.mapped[0].is_up != (cases[i].says == 1))
			fail_msg("%s: %d, %s", cases[i].payload, r, reason.text);
		assert_int_equal(t.msg[0].kind, FG_PRESENCE);
		assert_true(fg_span_is(t.msg[0].device, "d"));
		assert_int_equal(t.msg[0].stream.size, 0);
		assert_true(fg_span_is(t.msg[0].body, cases[i].says ? "{\"state\":\"up\"}"
								    : "{\"state\":\"down\"}"));
		assert_int_equal(t.mapped[0].lane, FG_LANE_MAIN);
	}
}

static void a_status_may_have_a_time(void **state)
{
	struct fg_mapping_config rules[] = {
		{.topic = "{device}", .presence = {TEXTS, .from = "$.s"}, .time = "$.ts"}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	struct fg_error reason;
	struct taken t;

	(void)state;
	assert_int_equal(apply_text(m, "d", "{\"s\":1,\"ts\":1700000000}", &t, &reason), 1);
	assert_int_equal(t.msg[0].time_us, 1700000000000000);
	assert_int_equal(t.msg[0].time_quality, FG_TIME_DEVICE);
	assert_int_equal(apply_text(m, "d", "{\"s\":1}", &t, &reason), 1);
	assert_int_equal(t.msg[0].time_us, NOW_US);
	expect_reason(m, "d", fg_span_str("{\"s\":1,\"ts\":true}"),
		      "time at $.ts is true or false, expected a number or ISO 8601 text");
}

/* ------------------------------------------------------------------ requests */

/* Rules for each kind of request, on a topic of that name. */
#define REQUEST(which, word)                                                                       \
	{                                                                                          \
		.topic = word "/{device}/{stream}", .is_alarm = true, .stream = "", .request = {   \
			.is_set = true,                                                            \
			.kind = which,                                                             \
			.link = "tb",                                                              \
			.response = "answer/{device}/{stream}",                                    \
			.timeout_ms = 7000                                                         \
		}                                                                                  \
	}

static void a_request_has_the_members_of_its_kind_and_no_others(void **state)
{
	static const struct {
		const char *kind, *payload, *body;
	} cases[] = {
		{"attributes", "{\"client\":[\"a\"],\"shared\":[\"b\",\"c\"]}",
		 "{\"client\":[\"a\"],\"shared\":[\"b\",\"c\"]}"},
		{"attributes", " {\"shared\" : [ \"b\" ] , \"id\":7}", "{\"shared\":[\"b\"]}"},
		{"attributes", "{\"client\":[],\"shared\":[\"b\"]}",
		 "{\"client\":[],\"shared\":[\"b\"]}"},
		{"attributes", "{\"\\u0063lient\":[\"a\"]}", "{\"client\":[\"a\"]}"},
		{"attributes", "{\"client\":1,\"client\":[\"a\"]}", "{\"client\":[\"a\"]}"},
		{"rpc", "{\"params\":{\"a\":[1,NaN]},\"method\":\"getTime\",\"x\":1}",
		 "{\"method\":\"getTime\",\"params\":{\"a\":[1,NaN]}}"},
		{"rpc", "{\"method\":\"m\"}", "{\"method\":\"m\"}"},
		{"rpc", "{\"method\":\"m\",\"params\":null}", "{\"method\":\"m\",\"params\":null}"},
		{"claim", "{}", "{}"},
		{"claim", "{\"x\":1}", "{}"},
		{"claim", "{\"secretKey\":\"\",\"durationMs\":60000}",
		 "{\"secretKey\":\"\",\"durationMs\":60000}"},
		{"delete", "{\"x\":1}", "{}"},
	};
	struct fg_mapping_config rules[] = {
		REQUEST(FG_REQUEST_ATTRIBUTES, "attributes"), REQUEST(FG_REQUEST_RPC, "rpc"),
		REQUEST(FG_REQUEST_CLAIM, "claim"), REQUEST(FG_REQUEST_DELETE, "delete")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 4);
	struct fg_error reason;
	struct taken t;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char topic[64];

		snprintf(topic, sizeof(topic), "%s/d/s", cases[i].kind);
		if (apply_text(m, topic, cases[i].payload, &t, &reason) != 1)
			fail_msg("%s: %s", cases[i].payload, reason.text);
		if (!fg_span_is(t.msg[0].body, cases[i].body))
			fail_msg("%s: %.*s", cases[i].payload, FG_SPAN_ARGS(t.msg[0].body));
		assert_int_equal(t.msg[0].kind, FG_REQUEST);
		assert_true(fg_span_is(t.msg[0].stream, cases[i].kind));
		assert_true(fg_span_is(t.msg[0].device, "d"));
		assert_true(fg_span_is(t.msg[0].link, "tb"));
		assert_int_equal(t.mapped[0].lane, FG_LANE_ALARM);
		assert_true(fg_span_is(t.mapped[0].response_topic, "answer/d/s"));
		assert_int_equal(t.mapped[0].correlation.size, 0);
		assert_int_equal(t.mapped[0].timeout_ms, 7000);
	}
}

static void a_request_of_another_shape_is_refused(void **state)
{
	static const struct {
		const char *topic, *payload, *reason;
	} cases[] = {
		{"attributes/d/s", "{}", "it asks for no attribute, in client or shared"},
		{"attributes/d/s", "{\"client\":[]}",
		 "it asks for no attribute, in client or shared"},
		{"attributes/d/s", "{\"clients\":[\"a\"]}",
		 "it asks for no attribute, in client or shared"},
		{"attributes/d/s", "{\"client\":\"a,b\"}",
		 "client is a string, expected an array of names"},
		{"attributes/d/s", "{\"client\":[\"a\"],\"shared\":{}}",
		 "shared is an object, expected an array of names"},
		{"attributes/d/s", "{\"shared\":[\"a\",1]}",
		 "shared has something that is not the name of an attribute"},
		{"attributes/d/s", "{\"shared\":[\"\"]}",
		 "shared has something that is not the name of an attribute"},
		{"attributes/d/s", "[\"a\"]", "payload is an array, expected an object"},
		{"attributes/d/s", "a",
		 "payload is not JSON: a value was expected here, at byte 0"},
		{"attributes/d/s", "", "empty payload"},
		{"rpc/d/s", "{\"params\":1}", "method is missing, or not a text"},
		{"rpc/d/s", "{\"method\":\"\"}", "method is missing, or not a text"},
		{"rpc/d/s", "{\"method\":7}", "method is missing, or not a text"},
		{"claim/d/s", "{\"secretKey\":1}", "secretKey is a number, expected a text"},
		{"claim/d/s", "{\"durationMs\":\"1\"}",
		 "durationMs is not a whole number of milliseconds"},
		{"claim/d/s", "{\"durationMs\":-1}",
		 "durationMs is not a whole number of milliseconds"},
		{"claim/d/s", "{\"durationMs\":1.5}",
		 "durationMs is not a whole number of milliseconds"},
	};
	struct fg_mapping_config rules[] = {REQUEST(FG_REQUEST_ATTRIBUTES, "attributes"),
					    REQUEST(FG_REQUEST_RPC, "rpc"),
					    REQUEST(FG_REQUEST_CLAIM, "claim")};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 3);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_reason(m, cases[i].topic, fg_span_str(cases[i].payload), cases[i].reason);
}

static void the_answer_goes_where_the_device_or_the_rule_says(void **state)
{
	static const struct {
		const char *topic, *response_topic, *correlation;
		const char *expected, *reason;
	} cases[] = {
		{"asked/d", "answers/7", "abc", "answers/7", NULL},
		{"asked/d", "answers/7", "", "answers/7", NULL},
		{"asked/d", "", "", NULL,
		 "it asks for something without a Response Topic (MQTT 5)"},
		{"asked/d", "a/+", "", NULL, "the topic of the answer is not the name of a topic"},
		{"asked/d", "asked/e", "", NULL,
		 "the topic of the answer is one that requests come on"},
		/* What the rule says counts, whatever the device would like; its data goes with it. */
		{"fixed/d", "elsewhere", "abc", "to/d", NULL},
		{"fixed/d", "", "", "to/d", NULL},
	};
	struct fg_cloud_config clouds[] = {{.name = "only"}};
	struct fg_mapping_config rules[] = {
		{.topic = "asked/{device}", .request = {.is_set = true, .kind = FG_REQUEST_CLAIM}},
		{.topic = "fixed/{device}",
		 .request = {.is_set = true, .kind = FG_REQUEST_CLAIM, .response = "to/{device}"}},
	};
	struct fg_config config = {.mappings = rules,
				   .n_mappings = 2,
				   .clouds = clouds,
				   .n_clouds = 1,
				   .max_message_bytes = MAX_MESSAGE_BYTES};
	FG_CLEANUP(report_freep) struct fg_report *report = fg_report_new();
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = NULL;

	(void)state;
	assert_int_equal(fg_mapping_new(&config, report, &m), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_arrival arrival = {
			.topic = fg_span_str(cases[i].topic),
			.payload = fg_span_str("{}"),
			.now_us = NOW_US,
			.response_topic = fg_span_str(cases[i].response_topic),
			.correlation = fg_span_str(cases[i].correlation),
		};
		struct taken t = {0};
		struct fg_error reason;
		int r = fg_mapping_apply(m, &arrival, take, &t, &reason);

		if (!cases[i].expected) {
			assert_int_equal(r, -EPROTO);
			assert_string_equal(reason.text, cases[i].reason);
			continue;
		}
		assert_int_equal(r, 1);
		assert_true(fg_span_is(t.mapped[0].response_topic, cases[i].expected));
		assert_true(fg_span_is(t.mapped[0].correlation, cases[i].correlation));
		assert_true(fg_span_is(t.msg[0].link, "only"));
	}
}

static void a_topic_that_makes_too_long_an_answer_topic_is_refused(void **state)
{
	struct fg_mapping_config rules[] = {{.topic = "r/{device}/{rest...}",
					     .request = {.is_set = true,
							 .kind = FG_REQUEST_CLAIM,
							 .response = "to/{device}/{rest}"}}};
	FG_CLEANUP(mapping_freep) struct fg_mapping *m = compile(rules, 1);
	char topic[1200];
	struct fg_error reason;
	struct taken t;

	(void)state;
	snprintf(topic, sizeof(topic), "r/d/%01019d", 0);
	assert_int_equal(apply_text(m, topic, "{}", &t, &reason), 1);
	assert_int_equal(t.mapped[0].response_topic.size, 1024);
	snprintf(topic, sizeof(topic), "r/d/%01020d", 0);
	expect_reason(m, topic, fg_span_str("{}"),
		      "the topic of the answer made from the topic is longer than 1024 bytes");
}

/* ------------------------------------------------------------------ mistakes in rules */

static void mistakes_in_such_rules_are_reported(void **state)
{
	struct fg_mapping_config rules[] = {
		{.topic = "a/{device}", .place = {"f", 1, 1}, .payload = FG_PAYLOAD_TEXT},
		{.topic = "b/{device}",
		 .place = {"f", 2, 1},
		 .payload = FG_PAYLOAD_TEXT,
		 .key = "{k}\x01",
		 .key_place = {"f", 2, 9}},
		{.topic = "c/{device}",
		 .place = {"f", 3, 1},
		 .presence = {TEXTS, .from = "state", .from_place = {"f", 3, 9}}},
		{.topic = "d/{device}",
		 .place = {"f", 4, 1},
		 .request = {.is_set = true, .response = "x/{dev}", .response_place = {"f", 4, 9}}},
		{.topic = "e/{device}",
		 .place = {"f", 5, 1},
		 .request = {.is_set = true, .response = "x/+/y", .response_place = {"f", 5, 9}}},
		{.topic = "g/{device}/{x...}",
		 .place = {"f", 6, 1},
		 .request = {.is_set = true,
			     .response = "g/{device}/answer",
			     .response_place = {"f", 6, 9}}},
	};
	static const char *const expected[] = {
		"f:1:1: mappings[0].key: \"{key}\": {key} is not a level of the topic",
		"f:2:9: mappings[1].key: \"{k}?\": expected UTF-8 without control characters",
		"f:3:9: mappings[2].presence.from: \"state\": a path starts with $ (character 1 of "
		"the path)",
		"f:4:9: mappings[3].request.response: \"x/{dev}\": {dev} is not a level of the "
		"topic",
		"f:5:9: mappings[4].request.response: \"x/+/y\": expected the name of a topic, "
		"without wildcards",
		"f:6:9: mappings[5].request.response: \"g/{device}/answer\": the answer would be "
		"taken for a request: the rule's own topic matches it",
	};
	FG_CLEANUP(report_freep) struct fg_report *report = fg_report_new();
	struct fg_config config = {.mappings = rules,
				   .n_mappings = sizeof(rules) / sizeof(rules[0]),
				   .max_message_bytes = MAX_MESSAGE_BYTES};
	struct fg_mapping *m = NULL;

	(void)state;
	assert_int_equal(fg_mapping_new(&config, report, &m), -EINVAL);
	assert_null(m);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_string_equal(i < fg_report_count(report) ? fg_report_line(report, i) : "",
				    expected[i]);
	assert_int_equal(fg_report_count(report), sizeof(expected) / sizeof(expected[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alarms_are_emitted_for_their_lane),
		cmocka_unit_test(a_text_becomes_one_value_under_its_key),
		cmocka_unit_test(an_opaque_payload_stays_what_it_is),
		cmocka_unit_test(an_event_has_the_type_that_the_rule_makes),
		cmocka_unit_test(a_key_is_made_from_the_topic),
		cmocka_unit_test(a_text_is_as_long_as_the_largest_message_once_it_is_quoted),
		cmocka_unit_test(a_status_is_compared_as_text),
		cmocka_unit_test(a_status_may_have_a_time),
		cmocka_unit_test(a_request_has_the_members_of_its_kind_and_no_others),
		cmocka_unit_test(a_request_of_another_shape_is_refused),
		cmocka_unit_test(the_answer_goes_where_the_device_or_the_rule_says),
		cmocka_unit_test(a_topic_that_makes_too_long_an_answer_topic_is_refused),
		cmocka_unit_test(mistakes_in_such_rules_are_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
