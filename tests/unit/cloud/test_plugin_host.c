#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cloud/plugin_host.h"

/* argv[1]: the folder with the variants */
static const char *directory;

static void refused(const char *name, int r, const char *part)
{
	struct fg_plugin_handle *handle = NULL;
	struct fg_error err = {0};

	assert_int_equal(fg_plugin_load(directory, name, &handle, &err), r);
	assert_null(handle);
	if (!strstr(err.text, part))
		fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

static void a_plugin_is_loaded_with_all_its_members(void **state)
{
	struct fg_plugin_handle *handle = NULL;
	struct fg_error err = {0};
	const struct fg_plugin *plugin;

	(void)state;
	assert_int_equal(fg_plugin_load(directory, "good", &handle, &err), 0);
	plugin = fg_plugin_get(handle);
	assert_string_equal(plugin->name, "good");
	assert_non_null(plugin->encode);
	assert_non_null(plugin->receive);
	assert_null(plugin->settled);
	assert_int_equal(fg_plugin_option_count(plugin->options), 2);
	assert_null(fg_plugin_unload(handle));
	assert_null(fg_plugin_unload(NULL));
}

static void members_an_old_plugin_did_not_know_are_null(void **state)
{
	struct fg_plugin_handle *handle = NULL;

	(void)state;
	assert_int_equal(fg_plugin_load(directory, "old", &handle, NULL), 0);
	assert_non_null(fg_plugin_get(handle)->encode);
	assert_null(fg_plugin_get(handle)->settled);
	assert_null(fg_plugin_get(handle)->receive); /* set in the file, but beyond its size */
	fg_plugin_unload(handle);
}

static void members_a_newer_plugin_has_on_top_are_not_looked_at(void **state)
{
	struct fg_plugin_handle *handle = NULL;

	(void)state;
	assert_int_equal(fg_plugin_load(directory, "newer", &handle, NULL), 0);
	assert_non_null(fg_plugin_get(handle)->receive);
	fg_plugin_unload(handle);
}

static void what_is_no_plugin_of_ours_is_refused_with_the_reason(void **state)
{
	(void)state;
	refused("missing", -ENOENT, "no plugin \"missing\" in ");
	refused("no-plugin", -EPROTO, "not a fieldgate plugin");
	refused("other-abi", -EPROTO, "ABI 99");
	refused("tiny", -EPROTO, "lacks");
	refused("no-encode", -EPROTO, "lacks");
	refused("misnamed", -EPROTO, "calls itself \"somebody\"");
}

static void who_names_a_plugin_that_is_not_there_is_told_which_ones_are(void **state)
{
	char scratch[] = "/tmp/fieldgate-plugin-XXXXXX";
	struct fg_plugin_handle *handle = NULL;
	struct fg_error err = {0};

	(void)state;
	refused("missing", -ENOENT, "it has good, misnamed, newer, no-encode, no-plugin, old,");
	assert_non_null(mkdtemp(scratch));
	assert_int_equal(fg_plugin_load(scratch, "good", &handle, &err), -ENOENT);
	if (!strstr(err.text, "none is there); see gateway.plugin_directory"))
		fail_msg("%s", err.text);
	rmdir(scratch);
	assert_int_equal(fg_plugin_load(scratch, "good", &handle, &err), -ENOENT);
	if (!strstr(err.text, "No such file or directory); see gateway.plugin_directory"))
		fail_msg("%s", err.text);
}

static void a_name_cannot_lead_out_of_the_folder(void **state)
{
	(void)state;
	refused("../plugins/good", -ENOENT, "not a plugin's name");
	refused("./good", -ENOENT, "not a plugin's name");
	refused("/etc/passwd", -ENOENT, "not a plugin's name");
	refused("", -ENOENT, "not a plugin's name");
	refused("good.so", -ENOENT, "not a plugin's name");
	refused("GOOD", -ENOENT, "not a plugin's name");
	refused("..", -ENOENT, "not a plugin's name");
}

static void a_file_that_is_no_shared_object_is_refused(void **state)
{
	char scratch[] = "/tmp/fieldgate-plugin-XXXXXX";
	char path[128];
	struct fg_plugin_handle *handle = NULL;
	struct fg_error err = {0};
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(scratch));
	snprintf(path, sizeof(path), "%s/text.so", scratch);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("this is not an ELF file\n", f);
	fclose(f);
	assert_int_equal(fg_plugin_load(scratch, "text", &handle, &err), -EPROTO);
	assert_non_null(strstr(err.text, "text.so"));
	unlink(path);
	snprintf(path, sizeof(path), "%s/folder.so", scratch);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(fg_plugin_load(scratch, "folder", &handle, &err), -EPROTO);
	assert_null(handle);
	rmdir(path);
	rmdir(scratch);
}

static void a_folder_with_too_long_a_name_is_refused(void **state)
{
	struct fg_plugin_handle *handle = NULL;
	struct fg_error err = {0};
	char longest[5000];

	(void)state;
	memset(longest, 'd', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(fg_plugin_load(longest, "good", &handle, &err), -ENOENT);
	assert_null(handle);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plugin_is_loaded_with_all_its_members),
		cmocka_unit_test(members_an_old_plugin_did_not_know_are_null),
		cmocka_unit_test(members_a_newer_plugin_has_on_top_are_not_looked_at),
		cmocka_unit_test(what_is_no_plugin_of_ours_is_refused_with_the_reason),
		cmocka_unit_test(who_names_a_plugin_that_is_not_there_is_told_which_ones_are),
		cmocka_unit_test(a_name_cannot_lead_out_of_the_folder),
		cmocka_unit_test(a_file_that_is_no_shared_object_is_refused),
		cmocka_unit_test(a_folder_with_too_long_a_name_is_refused),
	};

	if (argc < 2)
		return 77;
	directory = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
