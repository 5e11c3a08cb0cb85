/*
 * Input: one byte for the step, two for the status, then an answer of IoTDA's application API or, for
 * the login, the header with IAM's token. What is checked: texts end, an answer lies in what came,
 * and a token that is taken makes requests without line breaks or blanks.
 */
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "fieldgate/plugin.h"

#define MAX_OPTIONS 64

static void set(const struct fg_option *table, const char *name, const char *text,
		struct fg_value *values)
{
	size_t i = 0;

	while (strcmp(table[i].name, name) != 0)
		i++;
	REQUIRE(i < MAX_OPTIONS);
	values[i] = (struct fg_value){.is_set = true, .string = text};
}

static void *open_account(void)
{
	struct fg_value values[MAX_OPTIONS] = {0}, link[MAX_OPTIONS] = {0};
	const struct fg_rest_open with = {.values = values, .link = link, .url = "https://iotda"};
	const struct fg_option *table = fg_plugin.rest->options;
	char error[128];
	void *ctx;

	set(table, "project_id", "p-7", values);
	set(table, "iam_url", "https://iam", values);
	set(table, "domain", "d", values);
	set(table, "username", "u", values);
	set(table, "password", "p", values);
	set(fg_plugin.options, "device_id", "gw", link);
	REQUIRE(fg_plugin.rest->open(&with, &ctx, error, sizeof(error)) == 0);
	return ctx;
}

static void check_requests(void *ctx)
{
	struct fg_rest_question q = {.key = {"k", 1}, .device = {"d", 1}, .command = {"m", 1}};
	struct fg_rest_request r;

	for (q.step = FG_REST_LOGIN; q.step <= FG_REST_COMMAND; q.step++) {
		REQUIRE(fg_plugin.rest->request(ctx, &q, &r) == 1);
		REQUIRE(!strpbrk(r.url, " \r\n\t"));
		for (const char *const *h = r.headers; *h; h++)
			REQUIRE(!strpbrk(*h, "\r\n"));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_rest_question q = {
		.device = {"d", 1}, .key = {"k", 1}, .value = {"21.5", 4}, .to_us = INT64_MAX};
	struct fg_rest_response response;
	struct fg_rest_result result = {0};
	struct fg_rest_request r;
	char *text;
	void *ctx;

	if (size < 3)
		return 0;
	ctx = open_account();
	text = strndup((const char *)data + 3, size - 3);
	REQUIRE(text);
	q.step = (enum fg_rest_step)(data[0] % (FG_REST_COMMAND + 1));
	q.command = (struct fg_span){"m", 1};
	REQUIRE(fg_plugin.rest->request(ctx, &q, &r) == 1);
	response = (struct fg_rest_response){
		.status = (unsigned)(data[1] << 8 | data[2]),
		.body = {(const char *)data + 3, size - 3},
		.wanted_header = q.step == FG_REST_LOGIN ? text : NULL,
	};
	fg_plugin.rest->answer(ctx, &q, &response, &result);
	REQUIRE(memchr(result.text, '\0', sizeof(result.text)));
	if (result.answer.size > 0) {
		const char *begin = (const char *)data + 3, *end = (const char *)data + size;

		REQUIRE(result.answer.data >= begin);
		REQUIRE(result.answer.size <= (size_t)(end - result.answer.data));
	}
	check_requests(ctx);
	fg_plugin.rest->close(ctx);
	free(text);
	return 0;
}
