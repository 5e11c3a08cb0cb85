#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "local/command_answer.h"

/* The body for @payload with these paths (NULL: none), or "" and what went wrong. */
static const char *body_of(const char *result, const char *error, struct fg_span payload,
			   size_t room, int *ret_error)
{
	static char out[4096];
	struct fg_json_path *result_path = NULL, *error_path = NULL;
	struct fg_command_answer_paths paths;
	struct fg_json_fault fault;
	struct fg_error err = {0};
	size_t size = 0;

	if (result)
		assert_int_equal(fg_json_path_new(fg_span_str(result), &result_path, &fault), 0);
	if (error)
		assert_int_equal(fg_json_path_new(fg_span_str(error), &error_path, &fault), 0);
	paths = (struct fg_command_answer_paths){result_path, error_path};
	memset(out, 'x', sizeof(out));
	*ret_error = fg_command_answer_body(&paths, payload, out, room, &size, &err);
	assert_true((*ret_error == 0) == (err.text[0] == '\0'));
	assert_int_equal(out[room], 'x');
	out[size] = '\0';
	fg_json_path_free(result_path);
	fg_json_path_free(error_path);
	return out;
}

struct example {
	const char *result, *error, *payload, *body;
};

static const struct example examples[] = {
	{NULL, NULL, "{\"ok\": true}", "{\"result\":{\"ok\":true}}"},
	{NULL, NULL, " 21.50 ", "{\"result\":21.50}"},
	{NULL, NULL, "18446744073709551616", "{\"result\":18446744073709551616}"},
	{NULL, NULL, "", "{\"result\":null}"},
	{NULL, NULL, "null", "{\"result\":null}"},
	{NULL, NULL, "done", "{\"result\":\"done\"}"},
	{NULL, NULL, "say \"hi\"\n", "{\"result\":\"say \\\"hi\\\"\\n\"}"},
	{NULL, NULL, "{\"a\":", "{\"result\":\"{\\\"a\\\":\"}"},
	{NULL, NULL, "\"\\ud800\"", "{\"result\":\"\\\"\\\\ud800\\\"\"}"},
	{"$.value", NULL, "{\"value\": [1, 2], \"id\": 7}", "{\"result\":[1,2]}"},
	{"$.value", NULL, "{\"id\": 7}", "{\"result\":null}"},
	{"$.value", NULL, "text", "{\"result\":\"text\"}"},
	{NULL, "$.err", "{\"v\":1}", "{\"result\":{\"v\":1}}"},
	{NULL, "$.err", "{\"v\":1,\"err\":null}", "{\"result\":{\"v\":1,\"err\":null}}"},
	{NULL, "$.err", "{\"v\":1,\"err\":false}", "{\"result\":{\"v\":1,\"err\":false}}"},
	{NULL, "$.err", "{\"err\":\"too hot\"}",
	 "{\"error\":{\"code\":\"refused\",\"text\":\"too hot\"},\"result\":{\"err\":\"too "
	 "hot\"}}"},
	{"$.v", "$.err", "{\"err\":\"no \\u0041\"}",
	 "{\"error\":{\"code\":\"refused\",\"text\":\"no \\u0041\"}}"},
	{"$.v", "$.err", "{\"err\":3,\"v\":{}}",
	 "{\"error\":{\"code\":\"refused\",\"text\":\"3\",\"number\":3},\"result\":{}}"},
	{"$.v", "$.err", "{\"err\":3.5}", "{\"error\":{\"code\":\"refused\",\"text\":\"3.5\"}}"},
	{"$.v", "$.err", "{\"err\":1234567890123456789}",
	 "{\"error\":{\"code\":\"refused\",\"text\":\"1234567890123456789\"}}"},
	/* JSON-RPC 2.0, 5.1 */
	{"$.v", "$.err", "{\"err\":{\"code\":-32601,\"message\":\"no\"}}",
	 "{\"error\":{\"code\":\"refused\",\"text\":\"{\\\"code\\\":-32601,\\\"message\\\":"
	 "\\\"no\\\"}"
	 "\",\"number\":-32601}}"},
	{"$.v", "$.err", "{\"err\":{\"c\":\"x\"}}",
	 "{\"error\":{\"code\":\"refused\",\"text\":\"{\\\"c\\\":\\\"x\\\"}\"}}"},
	{"$.v", "$.err", "{\"err\":true}", "{\"error\":{\"code\":\"refused\",\"text\":\"true\"}}"},
};

static void an_answer_becomes_a_result_or_an_error(void **state)
{
	int r;

	(void)state;
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		const struct example *e = &examples[i];
		const char *body = body_of(e->result, e->error, fg_span_str(e->payload), 4000, &r);

		assert_int_equal(r, 0);
		assert_string_equal(body, e->body);
	}
}

static void an_answer_that_is_no_text_is_refused(void **state)
{
	int r;

	(void)state;
	body_of(NULL, NULL, fg_span_of("\xff\xfe", 2), 4000, &r);
	assert_int_equal(r, -EBADMSG);
}

static void a_nul_in_a_text_is_escaped(void **state)
{
	int r;

	(void)state;
	assert_string_equal(body_of(NULL, NULL, fg_span_of("a\0b", 3), 4000, &r),
			    "{\"result\":\"a\\u0000b\"}");
	assert_int_equal(r, 0);
}

/* Whatever the room, the body fits it to the byte or nothing is said. */
static void what_does_not_fit_is_refused_and_nothing_is_written_beyond(void **state)
{
	static const char *const payloads[] = {"{\"err\":\"e\",\"v\":[1,2,3]}", "{\"v\":\"\"}",
					       "plain \x01 text"};
	int r;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		size_t needed = strlen(body_of("$.v", "$.err", fg_span_str(payloads[i]), 4000, &r));

		for (size_t room = 0; room <= needed; room++) {
			body_of("$.v", "$.err", fg_span_str(payloads[i]), room, &r);
			assert_int_equal(r, room < needed ? -EMSGSIZE : 0);
		}
	}
}

static void our_own_verdict_is_a_body_too(void **state)
{
	char out[FG_COMMAND_ERROR_BODY_MAX + 1];
	size_t size;

	(void)state;
	size = fg_command_error_body(FG_COMMAND_OFFLINE, "the device is not there", out);
	out[size] = '\0';
	assert_string_equal(
		out, "{\"error\":{\"code\":\"offline\",\"text\":\"the device is not there\"}}");
	for (int i = 0; i < FG_N_COMMAND_ERRORS; i++)
		assert_non_null(fg_command_error_word((enum fg_command_error)i));
}

static void a_long_text_is_cut_between_characters(void **state)
{
	char text[4 * FG_COMMAND_ERROR_TEXT_MAX] = "x";
	char out[FG_COMMAND_ERROR_BODY_MAX];
	struct fg_json_value value;
	struct fg_json_fault fault;
	size_t size;

	(void)state;
	for (size_t i = 1; i + 3 < sizeof(text); i += 3)
		memcpy(text + i, "\u20ac", 3);
	size = fg_command_error_body(FG_COMMAND_BUSY, text, out);
	assert_in_range(size, FG_COMMAND_ERROR_TEXT_MAX, sizeof(out));
	assert_int_equal(fg_json_check(fg_span_of(out, size), &value, &fault), 0);
	memset(text, 1, sizeof(text) - 1); /* each needs six bytes */
	size = fg_command_error_body(FG_COMMAND_UNKNOWN_OUTCOME, text, out);
	assert_in_range(size, 6 * FG_COMMAND_ERROR_TEXT_MAX, sizeof(out));
	assert_int_equal(fg_json_check(fg_span_of(out, size), &value, &fault), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_becomes_a_result_or_an_error),
		cmocka_unit_test(an_answer_that_is_no_text_is_refused),
		cmocka_unit_test(a_nul_in_a_text_is_escaped),
		cmocka_unit_test(what_does_not_fit_is_refused_and_nothing_is_written_beyond),
		cmocka_unit_test(our_own_verdict_is_a_body_too),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
