/*
 * Input: one byte for the step, two for the status, then the body of an answer of ThingsBoard's REST
 * interface. What is checked: texts end, and a token or an id that is taken makes requests without
 * line breaks or blanks.
 */
#include <stdlib.h>
#include <string.h>

#include "../fuzz.h"
#include "fieldgate/plugin.h"

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
	const struct fg_value values[] = {{.is_set = true, .string = "u"},
					  {.is_set = true, .string = "p"}};
	const struct fg_rest_open with = {.values = values, .url = "https://tb"};
	struct fg_rest_question q = {.key = {"k", 1}, .value = {"21.5", 4}};
	struct fg_rest_response response;
	struct fg_rest_result result = {0};
	char error[128];
	void *ctx;

	if (size < 3)
		return 0;
	REQUIRE(fg_plugin.rest->open(&with, &ctx, error, sizeof(error)) == 0);
	q.step = (enum fg_rest_step)(data[0] % (FG_REST_COMMAND + 1));
	response = (struct fg_rest_response){
		.status = (unsigned)(data[1] << 8 | data[2]),
		.body = {(const char *)data + 3, size - 3},
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
	return 0;
}
