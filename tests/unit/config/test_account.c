#include "expect.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/account.h"

static const struct fg_option acme[] = {
	{"user", FG_OPTION_STRING, FG_OPTION_REQUIRED, "who", NULL, NULL, 0, 0},
	{"key", FG_OPTION_SECRET, 0, "secret", NULL, NULL, 0, 0},
	{0},
};
enum { USER, KEY };

struct given {
	struct fg_report *report;
	struct fg_account *account;
};

static void given_free_p(struct given *g)
{
	fg_account_free(g->account);
	fg_report_free(g->report);
}

static char directory[] = "/tmp/fieldgate-test-XXXXXX";

static int setup(void **state)
{
	(void)state;
	return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	unlink("account.yaml");
	unlink("key");
	unlink("ca.pem");
	return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int load(struct given *g, const char *text)
{
	put("account.yaml", text);
	g->report = fg_report_new();
	return fg_account_load("account.yaml", "acme", acme, g->report, &g->account);
}

static void an_account_has_what_every_cloud_and_what_this_one_wants(void **state)
{
	FG_CLEANUP(given_free_p) struct given g = {0};

	(void)state;
	put("key", "s3cret\n");
	put("ca.pem", "");
	assert_int_equal(load(&g, "url: HTTPS://h:8443/base//\nca: ca.pem\nuser: me\n"
				  "key: {file: key}\n"),
			 0);
	assert_string_equal(fg_account_host(g.account)->url, "HTTPS://h:8443/base");
	assert_string_equal(fg_account_host(g.account)->ca, "ca.pem");
	assert_false(fg_account_host(g.account)->is_insecure);
	assert_string_equal(fg_account_values(g.account)[USER].string, "me");
	assert_string_equal(fg_account_values(g.account)[KEY].string, "s3cret");
}

static void a_certificate_goes_unverified_only_when_that_is_said(void **state)
{
	FG_CLEANUP(given_free_p) struct given g = {0};

	(void)state;
	assert_int_equal(load(&g, "url: http://h\ninsecure: true\nuser: me\n"), 0);
	assert_true(fg_account_host(g.account)->is_insecure);
	assert_null(fg_account_host(g.account)->ca);
	assert_false(fg_account_values(g.account)[KEY].is_set);
}

static void mistakes_in_an_account_are_all_reported_and_secrets_are_not(void **state)
{
	static const struct {
		const char *text, *report;
	} cases[] = {
		{"",
		 "account.yaml: expected the keys of an account: url, and what the cloud wants to "
		 "see"},
		{"- a\n", "account.yaml: expected the keys of an account: url, and what the cloud "
			  "wants to see"},
		{"usr: x\nkey: [hunter2]\n",
		 "account.yaml:1:1: url: required, but not given\n"
		 "account.yaml:1:1: user: required by plugin acme\n"
		 "account.yaml:1:1: usr: unknown key (did you mean \"user\"?)\n"
		 "account.yaml:2:6: key: expected {file: PATH}, {credential: NAME}, {env: NAME} or "
		 "a "
		 "text, got a list"},
		{"url: ftp://h\nuser: x\n",
		 "account.yaml:1:6: url: expected https://HOST[:PORT], got \"ftp://h\""},
		{"url: https://me:hunter2@h\nuser: x\n",
		 "account.yaml:1:6: url: an URL here has no user name"},
		{"url: https://h\nuser: x\nca: none.pem\n",
		 "account.yaml:3:5: ca: cannot read none.pem: No such file or directory"},
		{"url: https://h\nuser: x\ninsecure: maybe\n",
		 "account.yaml:3:11: insecure: expected true or false, got \"maybe\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		FG_CLEANUP(given_free_p) struct given g = {0};

		assert_int_equal(load(&g, cases[i].text), -EINVAL);
		expect_report(g.report, cases[i].text, cases[i].report);
	}
}

static void a_file_that_is_not_there_is_told(void **state)
{
	FG_CLEANUP(given_free_p) struct given g = {.report = fg_report_new()};

	(void)state;
	assert_int_equal(fg_account_load("none.yaml", "acme", acme, g.report, &g.account), -EINVAL);
	expect_report(g.report, "none.yaml", "none.yaml: cannot read: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_account_has_what_every_cloud_and_what_this_one_wants),
		cmocka_unit_test(a_certificate_goes_unverified_only_when_that_is_said),
		cmocka_unit_test(mistakes_in_an_account_are_all_reported_and_secrets_are_not),
		cmocka_unit_test(a_file_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
