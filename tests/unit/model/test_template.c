#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/template.h"
#include "util/cleanup.h"

static const char *const known[] = {"device", "command", "id", "params", NULL};
static const struct fg_template_names names = {fg_template_find_in, known, "is not known here"};

static const struct fg_span values[] = {
	{"pump-1", 6}, {"reboot", 6}, {"\"7\"", 3}, {"{\"a\":1}", 7}};

static int compile(const char *text, enum fg_template_form form, struct fg_template **ret,
		   struct fg_error *err)
{
	return fg_template_new(fg_span_str(text), form, &names, ret, err);
}

static void names_are_replaced_by_their_values(void **state)
{
	static const struct {
		enum fg_template_form form;
		const char *text, *filled;
	} cases[] = {
		{FG_TEMPLATE_TEXT, "", ""},
		{FG_TEMPLATE_TEXT, "cmd/all", "cmd/all"},
		{FG_TEMPLATE_TEXT, "{device}", "pump-1"},
		{FG_TEMPLATE_TEXT, "cmd/{device}/{command}", "cmd/pump-1/reboot"},
		{FG_TEMPLATE_TEXT, "{device}{device}-x", "pump-1pump-1-x"},
		{FG_TEMPLATE_TEXT, "\"{device}\"", "\"pump-1\""},
		{FG_TEMPLATE_JSON, "{params}", "{\"a\":1}"},
		{FG_TEMPLATE_JSON, "{\"id\":{id},\"p\":{params}}",
		 "{\"id\":\"7\",\"p\":{\"a\":1}}"},
		{FG_TEMPLATE_JSON, "{{id}: [ {params} ]}", "{\"7\": [ {\"a\":1} ]}"},
		{FG_TEMPLATE_JSON, "{}", "{}"},
		{FG_TEMPLATE_JSON, "{ }}{", "{ }}{"},
		{FG_TEMPLATE_JSON, "{\"a\\\"\":{id}}", "{\"a\\\"\":\"7\"}"},
		{FG_TEMPLATE_JSON, "{\"{ID}\":1}", "{\"{ID}\":1}"},
		{FG_TEMPLATE_JSON, "\"\\{id}\"", "\"\\{id}\""},
		{FG_TEMPLATE_JSON, "x\\", "x\\"},
		{FG_TEMPLATE_JSON, "{id", "{id"},
	};
	char out[100];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(fg_template_free_p) struct fg_template *t = NULL;
		struct fg_error err;
		size_t size;

		if (compile(cases[i].text, cases[i].form, &t, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		size = fg_template_fill(t, values, out, sizeof(out));
		if (!fg_span_is(fg_span_of(out, size), cases[i].filled))
			fail_msg("%s: %.*s", cases[i].text, (int)size, out);
	}
}

static void mistakes_are_told(void **state)
{
	static const struct {
		enum fg_template_form form;
		const char *text, *sentence;
	} cases[] = {
		{FG_TEMPLATE_TEXT, "{nam}", "{nam} is not known here"},
		{FG_TEMPLATE_TEXT, "a{}", "{} is not known here"},
		{FG_TEMPLATE_TEXT, "{device", "a brace without its partner"},
		{FG_TEMPLATE_TEXT, "device}", "a brace without its partner"},
		{FG_TEMPLATE_TEXT, "{{device}}", "a brace without its partner"},
		{FG_TEMPLATE_TEXT, "{device}}", "a brace without its partner"},
		{FG_TEMPLATE_JSON, "{\"a\":{parms}}", "{parms} is not known here"},
		{FG_TEMPLATE_JSON, "{\"a\":\"{id}\"}",
		 "{id} inside quotes: what stands for it is a whole JSON value, with quotes of its "
		 "own"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fg_template *t = NULL;
		struct fg_error err = {0};

		assert_int_equal(compile(cases[i].text, cases[i].form, &t, &err), -EINVAL);
		assert_string_equal(err.text, cases[i].sentence);
		assert_null(t);
	}
	assert_int_equal(fg_template_new(fg_span_of("a\0b", 3), FG_TEMPLATE_TEXT, &names,
					 &(struct fg_template *){NULL}, NULL),
			 -EINVAL);
	assert_null(fg_template_free(NULL));
}

static void a_template_tells_what_it_uses(void **state)
{
	FG_CLEANUP(fg_template_free_p) struct fg_template *t = NULL;

	(void)state;
	assert_int_equal(compile("a/{device}/b/{id}", FG_TEMPLATE_TEXT, &t, NULL), 0);
	assert_true(fg_template_uses(t, 0));
	assert_false(fg_template_uses(t, 1));
	assert_true(fg_template_uses(t, 2));
	assert_true(fg_span_is(fg_template_name(t, 2), "id"));
	assert_int_equal(fg_template_name(t, 1).size, 0);
	assert_int_equal(fg_template_fixed_bytes(t), strlen("a//b/"));
}

static void what_does_not_fit_is_measured_and_not_written(void **state)
{
	static const char whole[] = "a/pump-1/b";
	FG_CLEANUP(fg_template_free_p) struct fg_template *t = NULL;

	(void)state;
	assert_int_equal(compile("a/{device}/b", FG_TEMPLATE_TEXT, &t, NULL), 0);
	for (size_t room = 0; room <= sizeof(whole); room++) {
		char *out = malloc(room > 0 ? room : 1); /* exact, for the sanitizer */

		assert_non_null(out);
		assert_int_equal(fg_template_fill(t, values, out, room), strlen(whole));
		if (room >= strlen(whole))
			assert_memory_equal(out, whole, strlen(whole));
		free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_replaced_by_their_values),
		cmocka_unit_test(mistakes_are_told),
		cmocka_unit_test(a_template_tells_what_it_uses),
		cmocka_unit_test(what_does_not_fit_is_measured_and_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
