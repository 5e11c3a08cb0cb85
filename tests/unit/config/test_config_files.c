#include "expect.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BROKER "local: {brokers: [{name: b, url: mqtts://h, password: %s}]}\n"
#define REST "mappings: [{topic: a}]\nclouds: [{name: c, plugin: p, url: mqtt://h}]\n"

/* Each test has a directory of its own, and is in it. */
static int enter_directory(void **state)
{
	char *directory = malloc(64);

	assert_non_null(directory);
	strcpy(directory, "/tmp/fieldgate-test-XXXXXX");
	if (!mkdtemp(directory) || chdir(directory) < 0)
		return -1;
	*state = directory;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int leave_directory(void **state)
{
	int r = chdir("/");

	if (nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0)
		r = -1;
	free(*state);
	return r;
}

static void write_bytes(const char *path, const void *data, size_t size)
{
	FG_CLEANUP(fg_fclose_p) FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size, f), size);
}

static void write_text(const char *path, const char *text)
{
	write_bytes(path, text, strlen(text));
}

static void expect_load(const char *path, const char *expected)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	int r = fg_config_load(path, report, &config);

	expect_report(report, path, expected);
	assert_int_equal(r, *expected ? -EINVAL : 0);
}

/* The password of a broker that is written as @secret in the file, or the report's only line. */
static void expect_secret(const char *secret, const char *expected, bool is_value)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	char text[1024];
	int r;

	snprintf(text, sizeof(text), BROKER REST, secret);
	write_text("f.yaml", text);
	r = fg_config_load("f.yaml", report, &config);
	expect_report(report, secret, is_value ? "" : expected);
	assert_int_equal(r, is_value ? 0 : -EINVAL);
	if (is_value)
		assert_string_equal(config->brokers[0].password, expected);
}

static void a_file_that_cannot_be_read_is_one_mistake(void **state)
{
	static char large[(1 << 20) + 1];

	(void)state;
	memset(large, '#', sizeof(large));
	write_bytes("large.yaml", large, sizeof(large));
	assert_int_equal(mkdir("directory.yaml", 0700), 0);
	assert_int_equal(mkfifo("fifo.yaml", 0600), 0);
	expect_load("none.yaml", "none.yaml: cannot read: No such file or directory");
	expect_load("none/f.yaml", "none/f.yaml: cannot read: No such file or directory");
	expect_load("directory.yaml", "directory.yaml: cannot read: Is a directory");
	expect_load("fifo.yaml", "fifo.yaml: cannot read: not a regular file");
	expect_load("large.yaml", "large.yaml: cannot read: larger than 1MiB");
	if (geteuid() != 0) {
		write_text("closed.yaml", "");
		assert_int_equal(chmod("closed.yaml", 0), 0);
		expect_load("closed.yaml", "closed.yaml: cannot read: Permission denied");
	}
}

static void a_file_of_exactly_one_mebibyte_is_read(void **state)
{
	static char large[1 << 20];
	size_t used;

	(void)state;
	memset(large, '#', sizeof(large));
	used = (size_t)snprintf(large, sizeof(large), BROKER REST, "x");
	large[used] = '#';
	write_bytes("f.yaml", large, sizeof(large));
	expect_load("f.yaml", "");
}

static void files_in_conf_d_are_read_in_order_of_their_names(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	char path[256];

	assert_int_equal(mkdir("conf.d", 0700), 0);
	write_text("f.yaml", "gateway: {name: g}\n"
			     "local: {brokers: [{name: b0, url: mqtt://h}]}\n"
			     "journal: {max_size: 1GiB}\n");
	write_text("conf.d/20.yaml", "clouds: [{name: c2, plugin: p, url: mqtt://h}]\n"
				     "journal: {commit_interval: 1s}\n");
	write_text("conf.d/10.yaml",
		   "clouds: [{name: c1, plugin: p, url: mqtt://h}]\n"
		   "mappings: [{topic: a}]\n"
		   "local: {brokers: [{name: b1, url: mqtts://h, tls: {ca: ca.pem}}]}\n");
	write_text("conf.d/30.yaml", "# nothing\n");
	write_text("conf.d/40.yaml.old", "not: read\n");
	write_text("conf.d/.50.yaml", "not: read\n");
	write_text("ca.pem", "x");

	/* By a path with and without a directory. */
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s%sf.yaml", i ? (char *)*state : "", i ? "/" : "");
		assert_int_equal(fg_config_load(path, report, &config), 0);
		expect_report(report, path, "");
		assert_int_equal(config->n_brokers, 2);
		assert_string_equal(config->brokers[1].name, "b1");
		/* Relative paths start beside the main file. */
		assert_string_equal(config->brokers[1].tls.ca + strlen(config->brokers[1].tls.ca) -
					    6,
				    "ca.pem");
		assert_null(strstr(config->brokers[1].tls.ca, "conf.d"));
		assert_int_equal(config->n_mappings, 1);
		assert_int_equal(config->n_clouds, 2);
		assert_string_equal(config->clouds[0].name, "c1");
		assert_string_equal(config->clouds[1].name, "c2");
		assert_true(config->journal.max_bytes == 1 << 30);
		assert_int_equal(config->journal.commit_interval_ms, 1000);
		config = fg_config_free(config);
	}
}

static void mistakes_are_reported_across_all_files(void **state)
{
	(void)state;
	assert_int_equal(mkdir("conf.d", 0700), 0);
	write_text("f.yaml", "gateway: {name: g}\n"
			     "local: {brokers: [{name: b, url: mqtt://h}]}\n"
			     "mappings: [{topic: a}]\n"
			     "clouds: [{name: c, plugin: p, url: mqtt://h}]\n");
	write_text("conf.d/1.yaml", "gateway: {name: h}\nclouds: [{name: c, plugin: p, url: x}]\n");
	expect_load("f.yaml",
		    "conf.d/1.yaml:1:11: gateway.name: given already at f.yaml:1:11\n"
		    "conf.d/1.yaml:2:17: clouds.c.name: this name is taken already at f.yaml:4:17\n"
		    "conf.d/1.yaml:2:36: clouds.c.url: expected mqtt://HOST[:PORT] or "
		    "mqtts://HOST[:PORT], got \"x\"");

	/* What seems to be missing may stand in the file that is broken. */
	write_text("f.yaml", "gateway: {name: -}\n");
	write_text("conf.d/1.yaml", "clouds: [\n");
	write_text("conf.d/2.yaml", "- a\n");
	expect_load(
		"f.yaml",
		"conf.d/1.yaml:2:1: not YAML: did not find expected node content (while parsing a "
		"flow node that starts in line 2)\n"
		"conf.d/2.yaml:1:1: expected a mapping of sections: gateway, local, mappings, "
		"commands, configs, images, clouds and journal, got a list\n"
		"f.yaml:1:17: gateway.name: expected a name (1 to 63 of A-Z a-z 0-9 _ . -, "
		"starting with a letter or digit), got \"-\"");

	/* So may a broker or a cloud that is referred to. */
	write_text("f.yaml", "gateway: {name: g}\n"
			     "local: {brokers: [{name: b, url: mqtt://h}]}\n"
			     "commands: [{topic: \"c/{device}\", broker: other}]\n"
			     "mappings: [{topic: a, request: {kind: rpc, cloud: other}}]\n");
	assert_int_equal(unlink("conf.d/2.yaml"), 0);
	expect_load("f.yaml", "conf.d/1.yaml:2:1: not YAML: did not find expected node content "
			      "(while parsing a flow node that starts in line 2)");
	write_text("conf.d/1.yaml", "clouds: [{name: c, plugin: p, url: mqtt://h}]\n");
	expect_load("f.yaml",
		    "f.yaml:3:42: commands[0].broker: no broker is called \"other\"\n"
		    "f.yaml:4:51: mappings[0].request.cloud: no cloud is called \"other\"");

	/* A main file that cannot be read does not hide what is wrong elsewhere. */
	write_text("conf.d/1.yaml", "cloud: []\n");
	expect_load("none.yaml",
		    "conf.d/1.yaml:1:1: cloud: unknown key (did you mean \"clouds\"?)\n"
		    "none.yaml: cannot read: No such file or directory");
}

static void conf_d_ends_at_its_bound(void **state)
{
	char path[64];

	(void)state;
	assert_int_equal(mkdir("conf.d", 0700), 0);
	write_text("f.yaml", "gateway: {name: g}\n");
	for (int i = 0; i <= 100; i++) {
		snprintf(path, sizeof(path), "conf.d/%d.yaml", i);
		write_text(path, "");
	}
	expect_load("f.yaml", "conf.d: more than 100 files");
}

static void a_conf_d_that_is_no_directory_is_not_ours(void **state)
{
	char text[512];

	(void)state;
	snprintf(text, sizeof(text), BROKER REST, "x");
	write_text("f.yaml", text);
	write_text("conf.d", "x");
	expect_load("f.yaml", "");
}

static void secrets_come_from_files(void **state)
{
	static char large[65537];
	char text[256];

	write_text("word", "top secret");
	write_text("line", "top secret\n");
	write_text("lines", "top secret\n\n");
	write_text("empty", "");
	write_text("newline", "\n");
	write_bytes("nul", "top\0secret", 10);
	memset(large, 'x', sizeof(large));
	write_bytes("large", large, sizeof(large));
	write_bytes("largest", large, sizeof(large) - 1);
	snprintf(text, sizeof(text), "{file: %s/word}", (char *)*state);
	expect_secret(text, "top secret", true);
	expect_secret("{file: word}", "top secret", true);
	expect_secret("{file: line}", "top secret", true);
	expect_secret("{file: lines}", "top secret\n", true);
	large[sizeof(large) - 1] = '\0';
	expect_secret("{file: largest}", large, true);
	expect_secret("{file: none}",
		      "f.yaml:1:62: local.brokers.b.password.file: cannot read none: No such file "
		      "or directory",
		      false);
	expect_secret("{file: .}",
		      "f.yaml:1:62: local.brokers.b.password.file: cannot read .: Is a directory",
		      false);
	expect_secret("{file: large}",
		      "f.yaml:1:62: local.brokers.b.password.file: cannot read large: larger than "
		      "64KiB",
		      false);
	expect_secret("{file: nul}",
		      "f.yaml:1:62: local.brokers.b.password.file: nul contains a NUL byte", false);
	expect_secret("{file: empty}", "f.yaml:1:62: local.brokers.b.password.file: empty is empty",
		      false);
	expect_secret("{file: newline}",
		      "f.yaml:1:62: local.brokers.b.password.file: newline is empty", false);
}

static void secrets_come_from_credentials(void **state)
{
	char expected[512];

	unsetenv("CREDENTIALS_DIRECTORY");
	expect_secret("{credential: tb-token}",
		      "f.yaml:1:68: local.brokers.b.password.credential: $CREDENTIALS_DIRECTORY is "
		      "not set: the unit of the service needs LoadCredential=tb-token:PATH; in a "
		      "shell, set it to a directory that has this file",
		      false);
	setenv("CREDENTIALS_DIRECTORY", *state, 1);
	write_text("tb-token", "top secret\n");
	expect_secret("{credential: tb-token}", "top secret", true);
	snprintf(expected, sizeof(expected),
		 "f.yaml:1:68: local.brokers.b.password.credential: cannot read %s/other: No such "
		 "file or directory",
		 (char *)*state);
	expect_secret("{credential: other}", expected, false);
	unsetenv("CREDENTIALS_DIRECTORY");
}

static void secrets_come_from_the_environment_or_stand_in_the_file(void **state)
{
	(void)state;
	setenv("FG_TEST_SECRET", "top secret", 1);
	expect_secret("{env: FG_TEST_SECRET}", "top secret", true);
	setenv("FG_TEST_SECRET", "", 1);
	expect_secret("{env: FG_TEST_SECRET}",
		      "f.yaml:1:61: local.brokers.b.password.env: environment variable "
		      "FG_TEST_SECRET is empty",
		      false);
	unsetenv("FG_TEST_SECRET");
	expect_secret("top secret", "top secret", true);
	expect_secret("0123", "0123", true);
	expect_secret("\"null\"", "null", true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_that_cannot_be_read_is_one_mistake),
		TEST(a_file_of_exactly_one_mebibyte_is_read),
		TEST(files_in_conf_d_are_read_in_order_of_their_names),
		TEST(mistakes_are_reported_across_all_files),
		TEST(conf_d_ends_at_its_bound),
		TEST(a_conf_d_that_is_no_directory_is_not_ours),
		TEST(secrets_come_from_files),
		TEST(secrets_come_from_credentials),
		TEST(secrets_come_from_the_environment_or_stand_in_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
