/*
 * docs/configuration.md against the tables, both ways, and every file in conf/ against the parser.
 */
#include "sections.h"

#include <dirent.h>
#include <stdlib.h>

#include "config/config_keys.h"
#include "config/read_file.h"

#define MAX_KEYS 200

static const char *reference_path, *conf_directory;

struct keys {
	char names[MAX_KEYS][160];
	char types[MAX_KEYS][400];
	size_t n;
};

static void add(struct keys *keys, const char *name, size_t name_size, const char *type,
		size_t type_size)
{
	assert_true(keys->n < MAX_KEYS);
	snprintf(keys->names[keys->n], sizeof(keys->names[0]), "%.*s", (int)name_size, name);
	snprintf(keys->types[keys->n], sizeof(keys->types[0]), "%.*s", (int)type_size, type);
	keys->n++;
}

static const char *find(const struct keys *keys, const char *name)
{
	for (size_t i = 0; i < keys->n; i++)
		if (strcmp(keys->names[i], name) == 0)
			return keys->types[i];
	return NULL;
}

static void add_known(void *arg, const char *path, const struct fg_key *key)
{
	char type[400];

	fg_key_describe(key, type, sizeof(type));
	add(arg, path, strlen(path), type, strlen(type));
}

/* "### `a`, `b`", then the type between asterisks in a line of its own. */
static void add_documented(struct keys *keys, const char *text)
{
	for (const char *heading = text; (heading = strstr(heading, "\n### ")); heading++) {
		const char *end = strchr(heading + 1, '\n'), *c = heading;
		const char *type = end ? end + 2 : NULL;
		const char *type_end = type ? strchr(type, '*') : NULL;

		if (!type_end || type[-1] != '*')
			fail_msg("no type after: %.60s", heading + 1);
		while ((c = memchr(c, '`', (size_t)(end - c)))) {
			const char *close = memchr(c + 1, '`', (size_t)(end - c - 1));

			assert_non_null(close);
			add(keys, c + 1, (size_t)(close - c - 1), type, (size_t)(type_end - type));
			c = close + 1;
		}
	}
}

/* Not inlined: gcc 12 then takes what the text points to for `text` itself. */
__attribute__((noinline)) static char *read_text(const char *path)
{
	char *text = NULL;
	size_t size = 0;

	if (fg_read_file(path, 1 << 20, &text, &size) < 0)
		fail_msg("cannot read %s", path);
	return text;
}

static void every_key_is_documented_and_every_documented_key_is_known(void **state)
{
	static struct keys known, documented;
	FG_CLEANUP(fg_free_p) char *text = read_text(reference_path);
	size_t n_wrong = 0;

	(void)state;
	fg_config_each_key(add_known, &known);
	add_documented(&documented, text);
	assert_true(known.n > 50);
	for (size_t i = 0; i < known.n; i++) {
		const char *type = find(&documented, known.names[i]);

		if (type && strcmp(type, known.types[i]) == 0)
			continue;
		print_error("%s: the parser says \"%s\", the reference says \"%s\"\n",
			    known.names[i], known.types[i], type ? type : "nothing");
		n_wrong++;
	}
	for (size_t i = 0; i < documented.n; i++)
		if (!find(&known, documented.names[i])) {
			print_error("%s: documented, but unknown\n", documented.names[i]);
			n_wrong++;
		}
	assert_int_equal(n_wrong, 0);
	assert_int_equal(documented.n, known.n);
}

static void every_example_in_the_reference_is_yaml(void **state)
{
	FG_CLEANUP(fg_free_p) char *text = read_text(reference_path);
	size_t n = 0;

	(void)state;
	for (char *c = text; (c = strstr(c, "```yaml\n")); n++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
		FG_CLEANUP(fg_yaml_free_p) struct fg_yaml_node *root = NULL;
		char *end = strstr(c += 8, "```");

		assert_non_null(end);
		*end = '\0';
		assert_int_equal(fg_yaml_parse(fg_span_str(c), "example", report, &root), 0);
		assert_non_null(root);
		if (n == 0) { /* the complete file */
			FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;

			assert_int_equal(fg_config_load_text("f", fg_span_str(c), report, &config),
					 0);
		}
		expect_report(report, c, "");
		c = end + 1;
	}
	assert_true(n > 30);
}

/* An example that begins with one of these is a whole section. */
static void every_section_among_the_examples_is_in_order(void **state)
{
	static const char *const sections[] = {"mappings:\n", "commands:\n", "configs:\n",
					       "images:\n"};
	FG_CLEANUP(fg_free_p) char *text = read_text(reference_path);
	size_t n = 0;

	(void)state;
	for (char *c = text; (c = strstr(c, "```yaml\n")); c++) {
		char *end = strstr(c += 8, "```");

		*end = '\0';
		for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
			FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
			FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
			char whole[4096];

			if (strncmp(c, sections[i], strlen(sections[i])) != 0)
				continue;
			snprintf(whole, sizeof(whole),
				 "%slocal: {brokers: [{name: hall2, url: mqtt://h}]}\n"
				 "clouds: [{name: customer-tb, plugin: p, url: mqtt://h}]\n%s%s",
				 GATEWAY, i > 0 ? MAPPINGS : "", c);
			fg_config_load_text("f", fg_span_str(whole), report, &config);
			expect_report(report, c, "");
			n++;
		}
		c = end;
	}
	assert_true(n >= 8);
}

static void every_file_in_conf_is_in_order(void **state)
{
	DIR *directory = opendir(conf_directory);
	const struct dirent *entry;
	size_t n = 0;

	(void)state;
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
		FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
		char path[4096];

		if (!strstr(entry->d_name, ".yaml"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", conf_directory, entry->d_name);
		assert_int_equal(fg_config_load(path, report, &config), 0);
		expect_report(report, path, "");
		n++;
	}
	closedir(directory);
	assert_true(n > 0);
}

static void blank(char *text, const char *what)
{
	char *at = strstr(text, what);

	assert_non_null(at);
	memset(at, 'x', strlen(what));
}

/* What stands in a comment is an example too: with "# " taken away in front of a key it must be
 * known. */
static void what_conf_shows_in_comments_is_in_order_too(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();
	FG_CLEANUP(fg_config_free_p) struct fg_config *config = NULL;
	char path[4096], *text, *line, *next;
	bool is_section = false; /* one that is a comment as a whole, up to a blank line */

	(void)state;
	snprintf(path, sizeof(path), "%s/fieldgate.yaml", conf_directory);
	text = read_text(path);
	for (line = text; line; line = next) {
		char *comment = line + strspn(line, " ");

		next = strchr(line, '\n');
		next = next ? next + 1 : NULL;
		/* A key in a comment is indented like the keys around it; a sentence has no colon
		 * there. */
		is_section = strncmp(line, "# images:\n", 10) == 0 || (is_section && *line == '#');
		if (is_section ||
		    (comment[0] == '#' && comment[1] == ' ' &&
		     comment[2 + strspn(comment + 2, " abcdefghijklmnopqrstuvwxyz_")] == ':' &&
		     comment > line))
			memmove(comment, comment + 2, strlen(comment + 2) + 1);
		next = strchr(line, '\n');
		next = next ? next + 1 : NULL;
	}
	blank(text, "{credential: hall2-password}");
	fg_config_load_text("conf.yaml", fg_span_str(text), report, &config);
	expect_report(report, path,
		      "conf.yaml:76:11: clouds.customer-tb.tls.ca: cannot read customer-ca.pem: "
		      "No such file or directory");
	assert_non_null(config);
	assert_string_equal(config->brokers[0].share, "fieldgate");
	assert_int_equal(config->clouds[0].devices.n_rename, 1);
	assert_int_equal(config->commands[0].offline, FG_OFFLINE_WAIT);
	assert_int_equal(config->clouds[0].order, FG_DRAIN_LIVE_FIRST);
	assert_int_equal(config->n_images, 1);
	assert_int_equal(config->images[0].deliver, FG_DELIVER_CHUNKS);
	assert_int_equal(config->clouds[0].n_rates[FG_LIMIT_MESSAGES], 1);
	assert_int_equal(config->journal.commit_interval_ms, 1000);
	free(text);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_is_documented_and_every_documented_key_is_known),
		cmocka_unit_test(every_example_in_the_reference_is_yaml),
		cmocka_unit_test(every_section_among_the_examples_is_in_order),
		cmocka_unit_test(every_file_in_conf_is_in_order),
		cmocka_unit_test(what_conf_shows_in_comments_is_in_order_too),
	};

	if (argc != 3)
		return 2;
	reference_path = argv[1];
	conf_directory = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
