/*
 * Requests to ThingsBoard's REST interface, byte for byte, and what its answers mean.
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

#define ID "784f394c-42b6-435a-983c-b7beff2784f9"
#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

extern const struct fg_plugin fg_plugin;

static int open_as(const char *username, const char *password, void **ret)
{
	const struct fg_value values[] = {{.is_set = true, .string = username},
					  {.is_set = true, .string = password}};
	const struct fg_rest_open with = {.values = values, .url = "https://tb"};
	char error[256];

	return fg_plugin.rest->open(&with, ret, error, sizeof(error));
}

static enum fg_rest_verdict answer(void *ctx, const struct fg_rest_question *q, unsigned status,
				   const char *body, struct fg_rest_result *ret)
{
	/* An exact allocation, so that a sanitizer sees every byte read beyond the end. */
	size_t size = strlen(body);
	char *copy = malloc(size ? size : 1);
	const struct fg_rest_response response = {.status = status, .body = {copy, size}};
	enum fg_rest_verdict verdict;

	assert_non_null(copy);
	memcpy(copy, body, size);
	*ret = (struct fg_rest_result){0};
	verdict = fg_plugin.rest->answer(ctx, q, &response, ret);
	free(copy);
	return verdict;
}

static void *log_in(void)
{
	const struct fg_rest_question q = {.step = FG_REST_LOGIN};
	struct fg_rest_result result;
	void *ctx = NULL;

	assert_int_equal(open_as("a\"b@c", "p\\w", &ctx), 0);
	assert_int_equal(
		answer(ctx, &q, 200, "{\"token\":\"t-1\",\"refreshToken\":\"r\"}", &result),
		FG_REST_DONE);
	return ctx;
}

static void *find_device(void)
{
	const struct fg_rest_question q = {.step = FG_REST_DEVICE, .device = TEXT("d")};
	struct fg_rest_result result;
	void *ctx = log_in();

	assert_int_equal(answer(ctx, &q, 200,
				"{\"id\":{\"entityType\":\"DEVICE\",\"id\":\"" ID
				"\"},\"name\":\"d\"}",
				&result),
			 FG_REST_DONE);
	return ctx;
}

static bool has_header(const struct fg_rest_request *r, const char *header)
{
	for (const char *const *h = r->headers; *h; h++)
		if (strcmp(*h, header) == 0)
			return true;
	return false;
}

static void each_step_makes_its_request(void **state)
{
	static const struct {
		struct fg_rest_question question;
		const char *method, *url, *body;
	} cases[] = {
		{{.step = FG_REST_LOGIN},
		 "POST",
		 "https://tb/api/auth/login",
		 "{\"username\":\"a\\\"b@c\",\"password\":\"p\\\\w\"}"},
		{{.step = FG_REST_DEVICE, .device = TEXT("pump 4/\xc3\xa4&x=1")},
		 "GET",
		 "https://tb/api/tenant/devices?deviceName=pump%204%2F%C3%A4%26x%3D1",
		 ""},
		{{.step = FG_REST_READING,
		  .key = TEXT("t,1"),
		  .value = TEXT("1"),
		  .from_us = 1718000000123456,
		  .to_us = 1718000001000000},
		 "GET",
		 "https://tb/api/plugins/telemetry/DEVICE/" ID "/values/"
		 "timeseries?keys=t%2C1&startTs=1718000000123&endTs=1718000001001&limit=1000"
		 "&useStrictDataTypes=true",
		 ""},
		{{.step = FG_REST_COMMAND,
		  .command = TEXT("st\"art"),
		  .params = TEXT("{ \"a\" : 1 }"),
		  .timeout_ms = 9000},
		 "POST",
		 "https://tb/api/rpc/twoway/" ID,
		 "{\"method\":\"st\\\"art\",\"params\":{\"a\":1},\"timeout\":9000}"},
		{{.step = FG_REST_COMMAND, .command = TEXT("stop"), .timeout_ms = 1},
		 "POST",
		 "https://tb/api/rpc/twoway/" ID,
		 "{\"method\":\"stop\",\"params\":null,\"timeout\":1}"},
	};
	void *ctx = find_device();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_rest_request r = {0};
		bool has_body = *cases[i].body;

		assert_int_equal(fg_plugin.rest->request(ctx, &cases[i].question, &r), 1);
		assert_string_equal(r.method, cases[i].method);
		assert_string_equal(r.url, cases[i].url);
		assert_int_equal(r.body.size, strlen(cases[i].body));
		assert_true(fg_span_is(r.body, cases[i].body));
		assert_int_equal(has_header(&r, "Content-Type: application/json"), has_body);
		assert_int_equal(has_header(&r, "X-Authorization: Bearer t-1"),
				 cases[i].question.step != FG_REST_LOGIN);
	}
	fg_plugin.rest->close(ctx);
}

static void what_is_too_long_is_refused(void **state)
{
	static char text[70000];
	struct fg_rest_question q = {.step = FG_REST_COMMAND, .command = TEXT("m")};
	struct fg_rest_request r;
	void *ctx = find_device();

	(void)state;
	memset(text, '1', sizeof(text));
	q.params = fg_span_of(text, sizeof(text));
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), -EINVAL);
	q = (struct fg_rest_question){.step = FG_REST_READING, .key = {text, 5000}};
	assert_int_equal(fg_plugin.rest->request(ctx, &q, &r), -EINVAL);
	fg_plugin.rest->close(ctx);
}

static void answers_mean_what_thingsboard_means(void **state)
{
	static const struct {
		enum fg_rest_step step;
		unsigned status;
		const char *body;
		enum fg_rest_verdict verdict;
		enum fg_rest_fault fault;
		const char *said;
	} cases[] = {
		{FG_REST_LOGIN, 401,
		 "{\"status\":401,\"message\":\"Invalid username or password\"}", FG_REST_FAILED,
		 FG_REST_FAULT_ACCOUNT, "does not accept"},
		{FG_REST_LOGIN, 200, "<html>", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not ThingsBoard"},
		{FG_REST_LOGIN, 200, "{\"token\":\"a b\"}", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not ThingsBoard"},
		{FG_REST_LOGIN, 200, "{\"token\":\"\"}", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not ThingsBoard"},
		{FG_REST_LOGIN, 200, "{\"token\":7}", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not ThingsBoard"},
		{FG_REST_LOGIN, 502, "", FG_REST_FAILED, FG_REST_FAULT_OTHER, "HTTP status 502"},
		{FG_REST_DEVICE, 404, "{}", FG_REST_AGAIN, FG_REST_FAULT_UNKNOWN, "no device"},
		{FG_REST_DEVICE, 403, "{}", FG_REST_FAILED, FG_REST_FAULT_FORBIDDEN, "this user"},
		{FG_REST_DEVICE, 429, "{}", FG_REST_AGAIN, FG_REST_FAULT_LIMIT, "limits"},
		{FG_REST_DEVICE, 200, "{\"id\":\"x\"}", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not ThingsBoard"},
		{FG_REST_DEVICE, 200, "{\"id\":{\"id\":\"../x\"}}", FG_REST_FAILED,
		 FG_REST_FAULT_OTHER, "not ThingsBoard"},
		{FG_REST_READING, 200, "{}", FG_REST_AGAIN, FG_REST_FAULT_MISSING, "no such value"},
		{FG_REST_READING, 200, "{\"k\":[{\"ts\":1718000000123,\"value\":21.4}]}",
		 FG_REST_AGAIN, FG_REST_FAULT_MISSING, "other values"},
		{FG_REST_READING, 200,
		 "{\"k\":[{\"ts\":5,\"value\":1},"
		 "{\"ts\":1718000000123,\"value\":21.5}]}",
		 FG_REST_DONE, 0, ""},
		{FG_REST_READING, 200, "{\"k\":[{\"ts\":\"x\",\"value\":21.5}]}", FG_REST_FAILED,
		 FG_REST_FAULT_OTHER, "not ThingsBoard"},
		{FG_REST_READING, 200, "{\"k\":[{\"ts\":99999999999999999999,\"value\":21.5}]}",
		 FG_REST_FAILED, FG_REST_FAULT_OTHER, "not ThingsBoard"},
		{FG_REST_READING, 200, "{\"k\":[1]}", FG_REST_FAILED, FG_REST_FAULT_OTHER,
		 "not ThingsBoard"},
		{FG_REST_COMMAND, 200, "", FG_REST_DONE, 0, ""},
		{FG_REST_COMMAND, 200, "{\"ok\":true}", FG_REST_DONE, 0, ""},
		{FG_REST_COMMAND, 504, "", FG_REST_FAILED, FG_REST_FAULT_SILENT,
		 "no answer in time"},
		{FG_REST_COMMAND, 408, "", FG_REST_FAILED, FG_REST_FAULT_SILENT,
		 "no answer in time"},
		{FG_REST_COMMAND, 409, "", FG_REST_FAILED, FG_REST_FAULT_OFFLINE, "no session"},
		{FG_REST_COMMAND, 401, "", FG_REST_FAILED, FG_REST_FAULT_ACCOUNT,
		 "does not accept"},
		{FG_REST_COMMAND, 200, "{\"error\":\"device offline\",\"code\":\"offline\"}",
		 FG_REST_FAILED, FG_REST_FAULT_REFUSED, "device offline"},
		{FG_REST_COMMAND, 200, "{\"error\":\"late\",\"code\":\"timeout\"}", FG_REST_FAILED,
		 FG_REST_FAULT_SILENT, "late"},
	};
	void *ctx = find_device();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct fg_rest_question q = {
			.step = cases[i].step, .key = TEXT("k"), .value = TEXT("21.50")};
		struct fg_rest_result result;

		if (answer(ctx, &q, cases[i].status, cases[i].body, &result) != cases[i].verdict ||
		    result.fault != cases[i].fault || !strstr(result.text, cases[i].said))
			fail_msg("%zu: %s: %s", i, cases[i].body, result.text);
		if (q.step == FG_REST_READING && cases[i].verdict == FG_REST_DONE)
			assert_int_equal(result.time_us, 1718000000123000);
	}
	fg_plugin.rest->close(ctx);
}

static void a_value_is_found_as_thingsboard_keeps_it(void **state)
{
	static const struct {
		struct fg_span sent;
		const char *kept;
		bool is_same;
	} cases[] = {
		{TEXT("21.50"), "21.5", true},
		{TEXT("1e2"), "100", true},
		{TEXT("\"0012\""), "\"0012\"", true},
		{TEXT("\"12\""), "12", true},
		{TEXT("true"), "true", true},
		{TEXT("true"), "\"true\"", false},
		{TEXT("12"), "\"12\"", false},
		{TEXT("1718000000123999"), "1718000000123998", false},
		{TEXT("\"a\""), "\"b\"", false},
	};
	void *ctx = find_device();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct fg_rest_question q = {
			.step = FG_REST_READING, .key = TEXT("k"), .value = cases[i].sent};
		struct fg_rest_result result;
		char body[128];

		snprintf(body, sizeof(body), "{\"k\":[{\"value\":%s,\"ts\":1}]}", cases[i].kept);
		if ((answer(ctx, &q, 200, body, &result) == FG_REST_DONE) != cases[i].is_same)
			fail_msg("%zu: %s", i, body);
	}
	fg_plugin.rest->close(ctx);
}

static void a_long_error_of_the_device_is_cut(void **state)
{
	const struct fg_rest_question q = {.step = FG_REST_COMMAND};
	struct fg_rest_result result;
	void *ctx = find_device();
	char body[2000];

	(void)state;
	snprintf(body, sizeof(body), "{\"error\":\"%01500d\"}", 7);
	assert_int_equal(answer(ctx, &q, 200, body, &result), FG_REST_FAILED);
	assert_in_range(strlen(result.text), 100, sizeof(result.text) - 1);
	fg_plugin.rest->close(ctx);
}

static void an_account_needs_a_name_and_a_password(void **state)
{
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_as("", "p", &ctx), -EINVAL);
	assert_int_equal(open_as("u", "", &ctx), -EINVAL);
	assert_null(ctx);
	fg_plugin.rest->close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_step_makes_its_request),
		cmocka_unit_test(what_is_too_long_is_refused),
		cmocka_unit_test(answers_mean_what_thingsboard_means),
		cmocka_unit_test(a_value_is_found_as_thingsboard_keeps_it),
		cmocka_unit_test(a_long_error_of_the_device_is_cut),
		cmocka_unit_test(an_account_needs_a_name_and_a_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
