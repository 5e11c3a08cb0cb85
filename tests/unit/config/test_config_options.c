#include "expect.h"

#include <errno.h>

/* The key under test starts in column 49 of line 3, after a comma. */
#define CLOUD(what)                                                                                \
	"local: {brokers: [{name: b, url: mqtt://h}]}\n"                                           \
	"mappings: [{topic: a}]\n"                                                                 \
	"clouds: [{name: c, plugin: acme, url: mqtt://h" what "}]\n"

static const char *const modes[] = {"gateway", "device", "both", NULL};
static const struct fg_option acme[] = {
	{"gateway_id", FG_OPTION_STRING, FG_OPTION_REQUIRED, "identity", NULL, NULL, 0, 0},
	{"token", FG_OPTION_SECRET, 0, "token", NULL, NULL, 0, 0},
	{"window", FG_OPTION_INTEGER, 0, "window", "16", NULL, -5, 100},
	{"is_quiet", FG_OPTION_BOOLEAN, 0, "quiet", "true", NULL, 0, 0},
	{"mode", FG_OPTION_CHOICE, 0, "mode", "device", modes, 0, 0},
	{"lifetime", FG_OPTION_DURATION, 0, "lifetime", NULL, NULL, 1000, 86400000},
	{"suffix", FG_OPTION_STRING, 0, "suffix", "", NULL, 0, 0},
	{0},
};
enum { GATEWAY_ID, TOKEN, WINDOW, IS_QUIET, MODE, LIFETIME, SUFFIX, N_OPTIONS };

struct given {
	struct fg_report *report;
	struct fg_config *config;
	struct fg_value values[N_OPTIONS];
};

static void given_free_p(struct given *g)
{
	fg_config_free(g->config);
	fg_report_free(g->report);
}

static void read_options(struct given *g, const char *text, const struct fg_option *table,
			 int expected)
{
	int r;

	g->report = fg_report_new();
	assert_int_equal(fg_config_load_text("f", fg_span_str(text), g->report, &g->config), 0);
	r = fg_config_options(g->config, &g->config->clouds[0], table, g->report, g->values);
	if (r != expected)
		fail_msg("%s\nreturned %d", text, r);
}

static void options_have_the_values_given(void **state)
{
	FG_CLEANUP(given_free_p) struct given g = {0};

	(void)state;
	read_options(&g,
		     CLOUD(", gateway_id: g-1, token: t, window: -5, is_quiet: false, mode: both, "
			   "lifetime: 1h, suffix: x"),
		     acme, 0);
	expect_report(g.report, "options", "");
	assert_string_equal(g.values[GATEWAY_ID].string, "g-1");
	assert_string_equal(g.values[TOKEN].string, "t");
	assert_int_equal(g.values[WINDOW].number, -5);
	assert_null(g.values[WINDOW].string);
	assert_int_equal(g.values[IS_QUIET].number, 0);
	assert_int_equal(g.values[MODE].number, 2);
	assert_int_equal(g.values[LIFETIME].number, 3600000);
	assert_string_equal(g.values[SUFFIX].string, "x");
	for (size_t i = 0; i < N_OPTIONS; i++)
		assert_true(g.values[i].is_set);
}

static void options_not_given_have_their_fallback_or_none(void **state)
{
	FG_CLEANUP(given_free_p) struct given g = {0};

	(void)state;
	read_options(&g, CLOUD(", gateway_id: g"), acme, 0);
	expect_report(g.report, "options", "");
	assert_false(g.values[TOKEN].is_set);
	assert_null(g.values[TOKEN].string);
	assert_true(g.values[WINDOW].is_set);
	assert_int_equal(g.values[WINDOW].number, 16);
	assert_int_equal(g.values[IS_QUIET].number, 1);
	assert_int_equal(g.values[MODE].number, 1);
	assert_false(g.values[LIFETIME].is_set);
	assert_true(g.values[SUFFIX].is_set);
	assert_string_equal(g.values[SUFFIX].string, "");
}

static void mistakes_in_options_are_reported_at_their_place(void **state)
{
	static const struct {
		const char *text;
		const char *report;
	} cases[] = {
		{CLOUD(""), "f:3:10: clouds.c.gateway_id: required by plugin acme"},
		{CLOUD(", gateway_id: []"),
		 "f:3:61: clouds.c.gateway_id: expected a text, got a list "
		 "(a text with [ needs quotes)"},
		{CLOUD(", gateway_id: ''"),
		 "f:3:61: clouds.c.gateway_id: expected a text, got an empty one"},
		{CLOUD(", gateway_id: g, gatewayid: h"),
		 "f:3:64: clouds.c.gatewayid: unknown key (did you mean \"gateway_id\"?)"},
		{CLOUD(", gateway_id: g, keepalive: 60s"),
		 "f:3:64: clouds.c.keepalive: unknown key (did you mean \"keep_alive\"?)"},
		{CLOUD(", gateway_id: g, colour: red"), "f:3:64: clouds.c.colour: unknown key"},
		{CLOUD(", gateway_id: g, token: [hunter2]"),
		 "f:3:71: clouds.c.token: expected {file: PATH}, {credential: NAME}, {env: NAME} "
		 "or a "
		 "text, got a list"},
		{CLOUD(", gateway_id: g, window: 101"),
		 "f:3:72: clouds.c.window: expected a number from -5 to 100, got \"101\""},
		{CLOUD(", gateway_id: g, window: 1.5"),
		 "f:3:72: clouds.c.window: expected a number from -5 to 100, got \"1.5\""},
		{CLOUD(", gateway_id: g, is_quiet: 1"),
		 "f:3:74: clouds.c.is_quiet: expected true or false, got \"1\""},
		{CLOUD(", gateway_id: g, mode: none"),
		 "f:3:70: clouds.c.mode: expected gateway, device or both, got \"none\""},
		{CLOUD(", gateway_id: g, lifetime: 60"),
		 "f:3:74: clouds.c.lifetime: expected a duration such as \"30s\", got \"60\""},
		{CLOUD(", gateway_id: g, lifetime: 2d"),
		 "f:3:74: clouds.c.lifetime: expected a duration from 1s to 1d, got \"2d\""},
		{CLOUD(", window: x, mode: y, tokens: hunter2"),
		 "f:3:10: clouds.c.gateway_id: required by plugin acme\n"
		 "f:3:57: clouds.c.window: expected a number from -5 to 100, got \"x\"\n"
		 "f:3:66: clouds.c.mode: expected gateway, device or both, got \"y\"\n"
		 "f:3:69: clouds.c.tokens: unknown key (did you mean \"token\"?)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(given_free_p) struct given g = {0};

		read_options(&g, cases[i].text, acme, -EINVAL);
		expect_report(g.report, cases[i].text, cases[i].report);
	}
}

static void a_plugin_cannot_take_a_key_of_the_gateway(void **state)
{
	static const struct fg_option greedy[] = {
		{"url", FG_OPTION_STRING, 0, "url", NULL, NULL, 0, 0},
		{"number", FG_OPTION_INTEGER, 0, "number", "0", NULL, 1, 2},
		{0},
	};
	FG_CLEANUP(given_free_p) struct given g = {0};

	(void)state;
	read_options(&g, CLOUD(""), greedy, -EINVAL);
	expect_report(g.report, "greedy",
		      "f:3:10: clouds.c.number: expected 1 or 2, got \"0\"\n"
		      "f:3:28: clouds.c.url: plugin acme wants a key that belongs to the gateway");
}

static void a_plugin_may_have_no_options(void **state)
{
	static const struct fg_option none[] = {{0}};
	FG_CLEANUP(given_free_p) struct given g = {0};

	(void)state;
	read_options(&g, CLOUD(", token: x"), none, -EINVAL);
	expect_report(g.report, "none", "f:3:49: clouds.c.token: unknown key");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_have_the_values_given),
		cmocka_unit_test(options_not_given_have_their_fallback_or_none),
		cmocka_unit_test(mistakes_in_options_are_reported_at_their_place),
		cmocka_unit_test(a_plugin_cannot_take_a_key_of_the_gateway),
		cmocka_unit_test(a_plugin_may_have_no_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
