/*
 * Requests to IAM and to IoTDA's application API, byte for byte, and what the answers mean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fieldgate/plugin.h"
#include "util/span.h"

#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}
#define GATEWAY "65f0c1d2e3b4a5968778695a_gw1"
#define DEVICES "https://iotda/v5/iot/p-7/devices/"

extern const struct fg_plugin fg_plugin;

/* ------------------------------------------------------------------ a ctx */

struct given {
	const char *name, *value;
};

#define MAX_OPTIONS 64

/* What the host would make of @given with @table: choices by their number, all else as text. */
static void read_values(const struct fg_option *table, const struct given *given,
			struct fg_value *ret)
{
	size_t n_taken = 0, n_given = 0;

	for (size_t i = 0; table[i].name; i++) {
		assert_true(i < MAX_OPTIONS);
		ret[i] = (struct fg_value){.string = table[i].fallback};
		for (const struct given *g = given; g->name; g++)
			if (strcmp(g->name, table[i].name) == 0) {
				ret[i] = (struct fg_value){.is_set = true, .string = g->value};
				n_taken++;
			}
		for (int64_t c = 0; table[i].choices && table[i].choices[c]; c++)
			if (ret[i].string && strcmp(ret[i].string, table[i].choices[c]) == 0)
				ret[i].number = c;
	}
	for (const struct given *g = given; g->name; g++)
		n_given++;
	assert_int_equal(n_taken, n_given);
}

static const struct given as_user[] = {
	{"project_id", "p-7"},
	{"instance_id", "i-9"},
	{"iam_url", "https://iam/"},
	{"domain", "Acme \"EU\""},
	{"username", "ops"},
	{"password", "p\\w"},
	{NULL, NULL},
};
static const struct given as_token[] = {{"project_id", "p-7"}, {"token", "t/1+="}, {NULL, NULL}};
static const struct given of_gateway[] = {
	{"device_id", GATEWAY}, {"product_id", "p1"}, {NULL, NULL}};

static int open_with(const struct given *account, const struct given *link, void **ret,
		     char error[256])
{
	/* The ctx keeps strings, which are static here, but not the tables. */
	struct fg_value values[MAX_OPTIONS], link_values[MAX_OPTIONS];
	const struct fg_rest_open with = {
		.values = values, .link = link_values, .url = "https://iotda"};

	read_values(fg_plugin.rest->options, account, values);
	read_values(fg_plugin.options, link, link_values);
	return fg_plugin.rest->open(&with, ret, error, 256);
}

static void *open_link(const struct given *account, const struct given *link)
{
	char error[256] = "";
	void *ctx = NULL;

	if (open_with(account, link, &ctx, error) < 0)
		fail_msg("%s", error);
	return ctx;
}

static enum fg_rest_verdict answer_with(void *ctx, const struct fg_rest_question *q,
					const struct fg_rest_response *response,
					struct fg_rest_result *ret)
{
	/* An exact allocation, so that a sanitizer sees every byte read beyond the end. */
	struct fg_rest_response copied = *response;
	char *copy = malloc(response->body.size ? response->body.size : 1);
	enum fg_rest_verdict verdict;

	assert_non_null(copy);
	memcpy(copy, response->body.data, response->body.size);
	copied.body.data = copy;
	*ret = (struct fg_rest_result){0};
	verdict = fg_plugin.rest->answer(ctx, q, &copied, ret);
	free(copy);
	return verdict;
}

static enum fg_rest_verdict answer(void *ctx, const struct fg_rest_question *q, unsigned status,
				   const char *body, struct fg_rest_result *ret)
{
	return answer_with(ctx, q,
			   &(struct fg_rest_response){.status = status, .body = fg_span_str(body)},
			   ret);
}

static enum fg_rest_verdict log_in(void *ctx, unsigned status, const char *token,
				   struct fg_rest_result *ret)
{
	const struct fg_rest_question q = {.step = FG_REST_LOGIN};

	return answer_with(ctx, &q,
			   &(struct fg_rest_response){.status = status,
						      .body = fg_span_str("{\"token\":{}}"),
						      .wanted_header = token},
			   ret);
}

static bool has_header(const struct fg_rest_request *r, const char *header)
{
	for (const char *const *h = r->headers; *h; h++)
		if (strcmp(*h, header) == 0)
			return true;
	return false;
}

/* ------------------------------------------------------------------ requests */

static void a_token_comes_from_iam_which_is_another_host(void **state)
{
	static const char body[] =
		"{\"auth\":{\"identity\":{\"methods\":[\"password\"],\"password\":{\"user\":{"
		"\"name\":\"ops\",\"password\":\"p\\\\w\",\"domain\":{\"name\":\"Acme \\\"EU\\\"\"}"
		"}}},\"scope\":{\"project\":{\"id\":\"p-7\"}}}}";
	const struct fg_rest_question login = {.step = FG_REST_LOGIN};
	const struct fg_rest_question device = {.step = FG_REST_DEVICE, .device = TEXT("pump-1")};
	void *ctx = open_link(as_user, of_gateway);
	struct fg_rest_request r = {0};
	struct fg_rest_result result;

	(void)state;
	assert_int_equal(fg_plugin.rest->request(ctx, &login, &r), 1);
	assert_string_equal(r.method, "POST");
	assert_string_equal(r.url, "https://iam/v3/auth/tokens?nocatalog=true");
	assert_string_equal(r.wanted_header, "X-Subject-Token");
	assert_true(fg_span_is(r.body, body));
	for (const char *const *h = r.headers; *h; h++)
		assert_true(strncmp(*h, "X-Auth", 6) != 0 && strncmp(*h, "Instance", 8) != 0);
	assert_int_equal(log_in(ctx, 201, "MIIP+a-b=", &result), FG_REST_DONE);
	assert_int_equal(fg_plugin.rest->request(ctx, &device, &r), 1);
	assert_true(has_header(&r, "X-Auth-Token: MIIP+a-b="));
	fg_plugin.rest->close(ctx);
}

static void a_given_token_needs_no_login(void **state)
{
	struct fg_rest_question q = {.step = FG_REST_LOGIN, .device = TEXT("pump-1")};
	void *ctx = open_link(as_token, of_gateway);
	struct fg_rest_request r = {0};

	(void)state;
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 0);
	q.step = FG_REST_READING;
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 1);
	assert_true(has_header(&r, "X-Auth-Token: t/1+="));
	for (const char *const *h = r.headers; *h; h++)
		assert_true(strncmp(*h, "Instance", 8) != 0);
	fg_plugin.rest->close(ctx);
}

static void each_step_makes_its_request(void **state)
{
	static const struct given services[] = {{"device_id", GATEWAY},
						{"product_id", "p1"},
						{"command_names", "service"},
						{NULL, NULL}};
	static const struct given plain_ids[] = {{"device_id", GATEWAY}, {NULL, NULL}};
	static const struct given one_device[] = {
		{"mode", "device"}, {"device_id", "p1_only"}, {"device", "pump-1"}, {NULL, NULL}};
	static const struct {
		const struct given *link;
		struct fg_rest_question question;
		const char *method, *url, *body;
	} cases[] = {
		{of_gateway,
		 {.step = FG_REST_DEVICE, .device = TEXT("pump-1")},
		 "GET",
		 DEVICES "p1_pump-1",
		 ""},
		{plain_ids,
		 {.step = FG_REST_DEVICE, .device = TEXT("pump-1")},
		 "GET",
		 DEVICES "pump-1",
		 ""},
		{of_gateway,
		 {.step = FG_REST_READING, .device = TEXT(GATEWAY)},
		 "GET",
		 DEVICES GATEWAY "/shadow",
		 ""},
		{one_device,
		 {.step = FG_REST_READING, .device = TEXT("pump-1")},
		 "GET",
		 DEVICES "p1_only/shadow",
		 ""},
		{of_gateway,
		 {.step = FG_REST_COMMAND,
		  .device = TEXT("pump-1"),
		  .command = TEXT("pump.ST\"ART"),
		  .params = TEXT("{ \"speed\" : 40 }")},
		 "POST",
		 DEVICES "p1_pump-1/commands",
		 "{\"command_name\":\"pump.ST\\\"ART\",\"paras\":{\"speed\":40}}"},
		{services,
		 {.step = FG_REST_COMMAND,
		  .device = TEXT("pump-1"),
		  .command = TEXT("pump.START"),
		  .params = TEXT("{}")},
		 "POST",
		 DEVICES "p1_pump-1/commands",
		 "{\"service_id\":\"pump\",\"command_name\":\"START\",\"paras\":{}}"},
		{services,
		 {.step = FG_REST_COMMAND, .device = TEXT("pump-1"), .command = TEXT("START")},
		 "POST",
		 DEVICES "p1_pump-1/commands",
		 "{\"command_name\":\"START\",\"paras\":{}}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		void *ctx = open_link(as_user, cases[i].link);
		struct fg_rest_request r = {0};
		struct fg_rest_result result;
		bool has_body = *cases[i].body;

		assert_int_equal(log_in(ctx, 201, "t-1", &result), FG_REST_DONE);
		assert_int_equal(fg_plugin.rest->request(ctx, &cases[i].question, &r), 1);
		assert_string_equal(r.method, cases[i].method);
		assert_string_equal(r.url, cases[i].url);
		assert_true(fg_span_is(r.body, cases[i].body));
		assert_int_equal(has_header(&r, "Content-Type: application/json;charset=utf8"),
				 has_body);
		assert_true(has_header(&r, "X-Auth-Token: t-1"));
		assert_true(has_header(&r, "Instance-Id: i-9"));
		assert_null(r.wanted_header);
		fg_plugin.rest->close(ctx);
	}
}

static void what_cannot_be_asked_of_iotda_is_refused(void **state)
{
	static char text[70000];
	struct fg_rest_question q = {.step = FG_REST_COMMAND, .device = TEXT("pump-1")};
	void *ctx = open_link(as_token, of_gateway);
	struct fg_rest_request r;

	(void)state;
	q.command = fg_span_str("START");
	q.params = fg_span_str("[1]");
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), -EINVAL);
	memset(text, 'x', sizeof(text));
	q.params = fg_span_str("{}");
	q.command = fg_span_of(text, sizeof(text));
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), -EINVAL);
	q.step = FG_REST_READING;
	q.device = fg_span_str("pump 1/..");
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), -EINVAL);
	q.device = fg_span_of(text, 126);
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), -EINVAL);
	q.device = fg_span_of(text, 125);
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 1);
	fg_plugin.rest->close(ctx);
}

/* ------------------------------------------------------------------ answers */

static void logins_fail_for_reasons_an_operator_understands(void **state)
{
	static const struct {
		unsigned status;
		const char *token;
		enum fg_rest_verdict verdict;
		enum fg_rest_fault fault;
		const char *said;
	} cases[] = {
		{401, NULL, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT, "user name and password"},
		{400, NULL, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT, "project_id"},
		{403, NULL, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT, "let this user in"},
		{429, NULL, FG_REST_AGAIN, FG_REST_FAULT_LIMIT, "more often"},
		{404, NULL, FG_REST_FAILED, FG_REST_FAULT_OTHER, "HTTP status 404"},
		{200, NULL, FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IAM"},
		{201, "", FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IAM"},
		{201, "two words", FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IAM"},
		{201, "t\xc3\xa4", FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IAM"},
	};
	static char token[40000];
	void *ctx = open_link(as_user, of_gateway);
	struct fg_rest_result result;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (log_in(ctx, cases[i].status, cases[i].token, &result) != cases[i].verdict ||
		    result.fault != cases[i].fault || !strstr(result.text, cases[i].said))
			fail_msg("%zu: %s", i, result.text);
	memset(token, 't', sizeof(token) - 1);
	assert_int_equal(log_in(ctx, 201, token, &result), FG_REST_FAILED);
	token[32000] = '\0';
	assert_int_equal(log_in(ctx, 201, token, &result), FG_REST_DONE);
	fg_plugin.rest->close(ctx);
}

#define SHADOW(reported)                                                                           \
	"{\"device_id\":\"p1_pump-1\",\"shadow\":[{\"service_id\":\"a\",\"desired\":"              \
	"{\"properties\":{\"k\":21.5},\"event_time\":\"20240610T061320Z\"},\"reported\":null},{"   \
	"\"service_id\":\"env\",\"reported\":" reported ",\"version\":1}]}"

static void answers_mean_what_iotda_means(void **state)
{
	static const struct {
		enum fg_rest_step step;
		unsigned status;
		const char *body;
		enum fg_rest_verdict verdict;
		enum fg_rest_fault fault;
		const char *said;
	} cases[] = {
		{FG_REST_DEVICE, 200, "{\"device_id\":\"p1_pump-1\",\"status\":\"ONLINE\"}",
		 FG_REST_DONE, 0, ""},
		{FG_REST_DEVICE, 200, "<html>", FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IoTDA"},
		{FG_REST_DEVICE, 200, "{}", FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IoTDA"},
		{FG_REST_DEVICE, 404, "{\"error_code\":\"IOTDA.014000\",\"error_msg\":\"…\"}",
		 FG_REST_AGAIN, FG_REST_FAULT_UNKNOWN,
		 "no such device, neither p1_pump-1 nor pump-1"},
		{FG_REST_DEVICE, 404, "{\"error_code\":\"IOTDA.000999\"}", FG_REST_AGAIN,
		 FG_REST_FAULT_UNKNOWN, "no such device, neither p1_pump-1 nor pump-1"},
		{FG_REST_DEVICE, 404, "{\"error_code\":\"APIGW.0101\"}", FG_REST_FAILED,
		 FG_REST_FAULT_OTHER, "not IoTDA"},
		{FG_REST_DEVICE, 404, "", FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IoTDA"},
		{FG_REST_DEVICE, 401, "{\"error_code\":\"APIGW.0301\"}", FG_REST_FAILED,
		 FG_REST_FAULT_ACCOUNT, "accept the token (APIGW.0301)"},
		{FG_REST_DEVICE, 401, "", FG_REST_FAILED, FG_REST_FAULT_ACCOUNT,
		 "accept the token:"},
		{FG_REST_DEVICE, 403, "{\"error_code\":\"IOTDA.000021\"}", FG_REST_FAILED,
		 FG_REST_FAULT_FORBIDDEN, "instance_id"},
		{FG_REST_DEVICE, 429, "{\"error_code\":\"APIGW.0308\"}", FG_REST_AGAIN,
		 FG_REST_FAULT_LIMIT, "more often than it allows (APIGW.0308)"},
		{FG_REST_COMMAND, 400, "{\"error_code\":\"IOTDA.000006\"}", FG_REST_FAILED,
		 FG_REST_FAULT_OTHER, "HTTP status 400 (IOTDA.000006)"},
		{FG_REST_COMMAND, 500, "{\"error_code\":\"a b\"}", FG_REST_FAILED,
		 FG_REST_FAULT_OTHER, "HTTP status 500"},
		{FG_REST_COMMAND, 500,
		 "{\"error_code\":\"x123456789012345678901234567890123456789012345678901234567\"}",
		 FG_REST_FAILED, FG_REST_FAULT_OTHER, "HTTP status 500"},
		{FG_REST_READING, 200,
		 SHADOW("{\"properties\":{\"k\":21.5},\"event_time\":"
			"\"20240610T061320Z\"}"),
		 FG_REST_DONE, 0, ""},
		{FG_REST_READING, 200,
		 SHADOW("{\"properties\":{\"k\":21.5},\"event_time\":"
			"\"2024-06-10T06:13:20.123Z\"}"),
		 FG_REST_DONE, 0, ""},
		{FG_REST_READING, 200,
		 SHADOW("{\"properties\":{\"k\":21.4},\"event_time\":"
			"\"20240610T061320Z\"}"),
		 FG_REST_AGAIN, FG_REST_FAULT_MISSING, "property \"k\""},
		{FG_REST_READING, 200,
		 SHADOW("{\"properties\":{\"j\":21.5},\"event_time\":"
			"\"20240610T061320Z\"}"),
		 FG_REST_AGAIN, FG_REST_FAULT_MISSING, "property \"k\""},
		{FG_REST_READING, 200, SHADOW("{\"properties\":{\"k\":21.5}}"), FG_REST_AGAIN,
		 FG_REST_FAULT_MISSING, ""},
		{FG_REST_READING, 200, SHADOW("{\"properties\":7}"), FG_REST_AGAIN,
		 FG_REST_FAULT_MISSING, ""},
		{FG_REST_READING, 200, "{\"device_id\":\"p1_pump-1\",\"shadow\":null}",
		 FG_REST_AGAIN, FG_REST_FAULT_MISSING, ""},
		{FG_REST_READING, 200, "{\"shadow\":[]}", FG_REST_AGAIN, FG_REST_FAULT_MISSING, ""},
		{FG_REST_READING, 200, "{\"shadow\":[1]}", FG_REST_AGAIN, FG_REST_FAULT_MISSING,
		 ""},
		{FG_REST_READING, 200, "{\"shadow\":{}}", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not IoTDA"},
		{FG_REST_COMMAND, 200,
		 "{\"command_id\":\"c\",\"response\":{\"result_code\":0,\"response_name\":"
		 "\"START_RESPONSE\",\"paras\":{\"rpm\":9}}}",
		 FG_REST_DONE, 0, ""},
		{FG_REST_COMMAND, 200, "{\"response\":{\"ok\":true}}", FG_REST_DONE, 0, ""},
		{FG_REST_COMMAND, 200,
		 "{\"response\":{\"result_code\":7,\"paras\":{\"error\":\"timeout\"}}}",
		 FG_REST_FAILED, FG_REST_FAULT_SILENT, "result_code 7, {\"error\":\"timeout\"}"},
		{FG_REST_COMMAND, 200,
		 "{\"response\":{\"result_code\":1,\"paras\":{\"error\":\"refused\"}}}",
		 FG_REST_FAILED, FG_REST_FAULT_REFUSED, "result_code 1"},
		{FG_REST_COMMAND, 200, "{\"response\":{\"result_code\":\"0\"}}", FG_REST_FAILED,
		 FG_REST_FAULT_REFUSED, "result_code \"0\""},
		{FG_REST_COMMAND, 200, "{\"response\":null}", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not IoTDA"},
		{FG_REST_COMMAND, 200, "", FG_REST_FAILED, FG_REST_FAULT_OTHER, "not IoTDA"},
		{FG_REST_COMMAND, 200,
		 "{\"command_id\":\"c\",\"error_code\":\"IOTDA.014111\",\"error_msg\":\"…\"}",
		 FG_REST_FAILED, FG_REST_FAULT_SILENT, "20 s (IOTDA.014111"},
		{FG_REST_COMMAND, 403, "{\"error_code\":\"IOTDA.014016\"}", FG_REST_FAILED,
		 FG_REST_FAULT_OFFLINE, "not online"},
		{FG_REST_COMMAND, 403, "{\"error_code\":\"IOTDA.014112\"}", FG_REST_FAILED,
		 FG_REST_FAULT_OFFLINE, "not subscribed"},
	};
	void *ctx = open_link(as_token, of_gateway);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct fg_rest_question q = {
			.step = cases[i].step,
			.device = TEXT("pump-1"),
			.key = TEXT("k"),
			.value = TEXT("21.50"),
			.from_us = 1718000000123456,
			.to_us = 1718000000123456,
		};
		struct fg_rest_request r;
		struct fg_rest_result result;

		assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 1);
		if (answer(ctx, &q, cases[i].status, cases[i].body, &result) != cases[i].verdict ||
		    result.fault != cases[i].fault)
			fail_msg("%zu: %s: %s", i, cases[i].body, result.text);
		if (cases[i].verdict != FG_REST_DONE && !strstr(result.text, cases[i].said))
			fail_msg("%zu: %s: %s", i, cases[i].body, result.text);
		if (cases[i].verdict == FG_REST_DONE && q.step == FG_REST_READING)
			assert_int_equal(result.time_us / 1000000, 1718000000);
	}
	fg_plugin.rest->close(ctx);
}

static void a_device_is_looked_for_by_the_rule_and_by_its_name(void **state)
{
	struct fg_rest_question q = {.step = FG_REST_DEVICE, .device = TEXT("odd-id")};
	void *ctx = open_link(as_token, of_gateway);
	struct fg_rest_request r;
	struct fg_rest_result result;

	(void)state;
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 1);
	assert_string_equal(r.url, DEVICES "p1_odd-id");
	assert_int_equal(answer(ctx, &q, 404, "{\"error_code\":\"IOTDA.014000\"}", &result),
			 FG_REST_AGAIN);
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 1);
	assert_string_equal(r.url, DEVICES "odd-id");
	assert_int_equal(answer(ctx, &q, 200, "{\"device_id\":\"odd-id\"}", &result), FG_REST_DONE);
	q.step = FG_REST_READING;
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 1);
	assert_string_equal(r.url, DEVICES "odd-id/shadow");
	fg_plugin.rest->close(ctx);
}

static void the_gateway_is_looked_for_by_its_id_only(void **state)
{
	const struct fg_rest_question q = {.step = FG_REST_DEVICE, .device = TEXT(GATEWAY)};
	void *ctx = open_link(as_token, of_gateway);
	struct fg_rest_request r;
	struct fg_rest_result result;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), 1);
		assert_string_equal(r.url, DEVICES GATEWAY);
		assert_int_equal(answer(ctx, &q, 404, "{\"error_code\":\"IOTDA.014000\"}", &result),
				 FG_REST_AGAIN);
		assert_non_null(strstr(result.text, "(IOTDA.014000, device id " GATEWAY ")"));
	}
	fg_plugin.rest->close(ctx);
}

static void the_answer_to_a_command_is_what_the_device_said(void **state)
{
	static const struct {
		const char *body, *answer;
	} cases[] = {
		{"{\"response\":{\"result_code\":0,\"paras\":{\"rpm\":9}}}", "{\"rpm\":9}"},
		{"{\"response\":{\"ok\":true}}", "{\"ok\":true}"},
	};
	const struct fg_rest_question q = {.step = FG_REST_COMMAND};
	void *ctx = open_link(as_token, of_gateway);
	struct fg_rest_result result;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct fg_rest_response response = {.status = 200,
							  .body = fg_span_str(cases[i].body)};

		result = (struct fg_rest_result){0};
		assert_int_equal(fg_plugin.rest->answer(ctx, &q, &response, &result), FG_REST_DONE);
		assert_true(fg_span_is(result.answer, cases[i].answer));
	}
	fg_plugin.rest->close(ctx);
}

/* What a device says is of 06:13:20.123456; IoTDA knows seconds or milliseconds of it. */
static void a_stamp_counts_as_finely_as_it_is_told(void **state)
{
	static const struct {
		const char *event_time;
		bool is_it;
	} cases[] = {
		{"20240610T061320Z", true},
		{"20240610T061319Z", false},
		{"20240610T061321Z", false},
		{"2024-06-10T06:13:20.123Z", true},
		{"2024-06-10T06:13:20.122Z", false},
		{"2024-06-10T06:13:20.124Z", false},
		{"2024-06-10 06:13:20.123Z", false},
		{"2024-06-10T06:13:20Z", false},
		{"20240610T061320", false},
		{"20241310T061320Z", false},
		{"20240600T061320Z", false},
		{"20240632T061320Z", false},
		{"20240610T241320Z", false},
		{"20240610T066020Z", false},
		{"20240610T061361Z", false},
		{"2024061xT061320Z", false},
		{"", false},
	};
	void *ctx = open_link(as_token, of_gateway);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct fg_rest_question q = {.step = FG_REST_READING,
						   .key = TEXT("k"),
						   .value = TEXT("1"),
						   .from_us = 1718000000123456,
						   .to_us = 1718000000123456};
		struct fg_rest_result result;
		char body[256];

		snprintf(body, sizeof(body),
			 "{\"shadow\":[{\"reported\":{\"properties\":{\"k\":1},\"event_time\":\"%"
			 "s\"}}]}",
			 cases[i].event_time);
		if ((answer(ctx, &q, 200, body, &result) == FG_REST_DONE) != cases[i].is_it)
			fail_msg("%s", cases[i].event_time);
	}
	fg_plugin.rest->close(ctx);
}

static void a_long_error_of_the_device_is_cut(void **state)
{
	const struct fg_rest_question q = {.step = FG_REST_COMMAND};
	void *ctx = open_link(as_token, of_gateway);
	struct fg_rest_result result;
	char body[2000];

	(void)state;
	snprintf(body, sizeof(body),
		 "{\"response\":{\"result_code\":3,\"paras\":{\"x\":\"%01500d\"}}}", 7);
	assert_int_equal(answer(ctx, &q, 200, body, &result), FG_REST_FAILED);
	assert_in_range(strlen(result.text), 100, sizeof(result.text) - 1);
	fg_plugin.rest->close(ctx);
}

/* ------------------------------------------------------------------ the account */

static void an_account_is_a_user_or_a_token(void **state)
{
	static const struct {
		struct given account[7];
		const char *said;
	} cases[] = {
		{{{"project_id", "p-7"}}, "whom shall IoTDA let in"},
		{{{"project_id", "p-7"}, {"iam_url", "https://iam"}, {"username", "ops"}},
		 "whom shall IoTDA let in"},
		{{{"project_id", "p-7"}, {"token", "t"}, {"username", "ops"}}, "one or the other"},
		{{{"project_id", "p 7"}, {"token", "t"}}, "project_id"},
		{{{"project_id", "p/7"}, {"token", "t"}}, "project_id"},
		{{{"project_id", ""}, {"token", "t"}}, "project_id"},
		{{{"project_id", "p-7"}, {"token", "t"}, {"instance_id", "a\r\nb: c"}},
		 "instance_id"},
		{{{"project_id", "p-7"}, {"token", "two\nlines"}}, "token:"},
		{{{"project_id", "p-7"}, {"token", ""}}, "token:"},
		{{{"project_id", "p-7"},
		  {"iam_url", "iam.eu-west-101.myhuaweicloud.com"},
		  {"domain", "d"},
		  {"username", "u"},
		  {"password", "p"}},
		 "iam_url: expected https://"},
		{{{"project_id", "p-7"},
		  {"iam_url", "https://u:p@iam"},
		  {"domain", "d"},
		  {"username", "u"},
		  {"password", "p"}},
		 "iam_url: expected https://"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char error[256] = "";
		void *ctx = NULL;

		assert_int_equal(open_with(cases[i].account, of_gateway, &ctx, error), -EINVAL);
		assert_null(ctx);
		if (!strstr(error, cases[i].said))
			fail_msg("%zu: %s", i, error);
	}
	fg_plugin.rest->close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_comes_from_iam_which_is_another_host),
		cmocka_unit_test(a_given_token_needs_no_login),
		cmocka_unit_test(each_step_makes_its_request),
		cmocka_unit_test(what_cannot_be_asked_of_iotda_is_refused),
		cmocka_unit_test(logins_fail_for_reasons_an_operator_understands),
		cmocka_unit_test(answers_mean_what_iotda_means),
		cmocka_unit_test(a_device_is_looked_for_by_the_rule_and_by_its_name),
		cmocka_unit_test(the_gateway_is_looked_for_by_its_id_only),
		cmocka_unit_test(the_answer_to_a_command_is_what_the_device_said),
		cmocka_unit_test(a_stamp_counts_as_finely_as_it_is_told),
		cmocka_unit_test(a_long_error_of_the_device_is_cut),
		cmocka_unit_test(an_account_is_a_user_or_a_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
