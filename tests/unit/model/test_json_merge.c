#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/json_merge.h"

static struct fg_json_value checked(const char *text)
{
	struct fg_json_value value = {.text = {.size = 0}};
	struct fg_json_fault fault;

	if (text)
		assert_int_equal(fg_json_check(fg_span_str(text), &value, &fault), 0);
	return value;
}

static void merges_to(const char *object, const char *set, const char *unset, const char *expected)
{
	char out[256];
	size_t n = fg_json_merge(checked(object), checked(set), checked(unset), out, sizeof(out));

	assert_true(n < sizeof(out));
	out[n] = '\0';
	assert_string_equal(out, expected);
	/* It says what it needs, and writes no more than it may. */
	for (size_t room = 0; room < n; room++) {
		char small[256];

		memset(small, '#', sizeof(small));
		assert_true(fg_json_merge(checked(object), checked(set), checked(unset), small,
					  room) >= n);
		for (size_t i = room; i < sizeof(small); i++)
			assert_int_equal(small[i], '#');
	}
}

static void members_are_set_and_unset(void **state)
{
	(void)state;
	merges_to(NULL, NULL, NULL, "{}");
	merges_to(NULL, "{\"a\":1}", NULL, "{\"a\":1}");
	merges_to("{\"a\":1}", "{\"b\":2}", NULL, "{\"a\":1,\"b\":2}");
	merges_to("{\"a\":1,\"b\":2}", "{\"a\":3}", NULL, "{\"b\":2,\"a\":3}");
	merges_to("{\"a\":1,\"b\":2}", NULL, "[\"a\"]", "{\"b\":2}");
	merges_to("{\"a\":1,\"b\":2}", NULL, "[\"a\",\"b\",\"c\",7]", "{}");
	merges_to("{\"a\":1}", "{\"a\":2}", "[\"a\"]", "{\"a\":2}");
}

static void values_keep_their_text(void **state)
{
	(void)state;
	merges_to("{\"a\": 21.50 }", "{\"b\": [1, 9007199254740993, {\"c\" : null}]}", NULL,
		  "{\"a\":21.50,\"b\":[1,9007199254740993,{\"c\":null}]}");
}

static void names_are_compared_by_what_they_mean(void **state)
{
	(void)state;
	merges_to("{\"\\u0061\":1}", "{\"a\":2}", NULL, "{\"a\":2}");
	merges_to("{\"a\":1,\"q\\\"\":3}", NULL, "[\"\\u0061\",\"q\\u0022\"]", "{}");
	merges_to("{\"a\":1,\"a\":2}", NULL, NULL, "{\"a\":2}");
	merges_to(NULL, "{\"a\":1,\"a\":2}", NULL, "{\"a\":2}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_are_set_and_unset),
		cmocka_unit_test(values_keep_their_text),
		cmocka_unit_test(names_are_compared_by_what_they_mean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
