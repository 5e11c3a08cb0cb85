/*
 * Memory that runs out at every possible moment, and secrets that do not stay behind.
 */
#include "expect.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#define SECRET "hunter2hunter2"

static const char form[] =
	"gateway: {name: g}\n"
	"local:\n"
	"  brokers:\n"
	"    - name: b\n"
	"      url: mqtts://h\n"
	"      password: {env: FG_TEST_SECRET}\n"
	"      tls: {ca: %s, certificate: %s, key: %s, key_pasword: x,\n"
	"            key_password: {file: %s}}\n"
	"mappings:\n"
	"  - {topic: a, telemetry: {a: $.a}, attributes: {b: {from: $.b}}, time: $.t}\n"
	"  - {topic: b, presence: {up: [a], down: [b]}}\n"
	"  - {topic: c, request: {kind: rpc, response: r}}\n"
	"  - {topic: \"d/{key}\", payload: text}\n"
	"commands:\n"
	"  - topic: c/{device}\n"
	"    payload: '{{id}: {params}}'\n"
	"    response: {topic: \"r/{id}\", correlate: topic, result: $.r, error: $.e}\n"
	"  - {topic: \"d/{device}\", response: {topic: \"r/{device}\", correlate: mqtt5}}\n"
	"configs: [{topic: \"config/{device}\"}]\n"
	"images:\n"
	"  - {deliver: chunks, topic: \"i/{device}\", chunk_topic: \"j/{device}/{index}\",\n"
	"     status: {topic: \"s/{device}\"}}\n"
	"  - {deliver: url, topic: \"k/{device}\", url: http://h/}\n"
	"clouds:\n"
	"  - name: c\n"
	"    plugin: p\n"
	"    url: mqtts://h\n"
	"    keep_alive: 1s\n"
	"    limits: {messages: 20/s}\n"
	"    token: " SECRET "\n"
	"    devices: {include: [a, b], rename: {a: b, c: d}}\n";

static char text[4096]; /* `form` with the path of a file that holds the secret */

static const struct fg_option options[] = {
	{"token", FG_OPTION_SECRET, 0, "token", NULL, NULL, 0, 0},
	{"mode", FG_OPTION_STRING, 0, "mode", "x", NULL, 0, 0},
	{"other", FG_OPTION_SECRET, FG_OPTION_REQUIRED, "other", NULL, NULL, 0, 0},
	{0},
};

static size_t n_allocations, fail_at; /* 0: never */
static size_t n_leftovers;            /* blocks that were released with the secret in them */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

static bool fails(void)
{
	return ++n_allocations == fail_at;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

void __wrap_free(void *p)
{
	if (p && memmem(p, malloc_usable_size(p), SECRET, strlen(SECRET)))
		n_leftovers++;
	__real_free(p);
}

/* libyaml calls these through its own names, which an executable may stand in for. */
YAML_DECLARE(void *) yaml_malloc(size_t size);
YAML_DECLARE(void *) yaml_realloc(void *p, size_t size);
YAML_DECLARE(void) yaml_free(void *p);

__attribute__((visibility("default"))) void *yaml_malloc(size_t size)
{
	return malloc(size ? size : 1);
}

__attribute__((visibility("default"))) void *yaml_realloc(void *p, size_t size)
{
	return p ? realloc(p, size ? size : 1) : malloc(size ? size : 1);
}

__attribute__((visibility("default"))) void yaml_free(void *p)
{
	free(p);
}

static int load(struct fg_report *report)
{
	struct fg_value values[3];
	struct fg_config *config = NULL;
	int r = fg_config_load_text("f", fg_span_str(text), report, &config);

	assert_true(r == 0 || r == -EINVAL || r == -ENOMEM);
	if (r == -ENOMEM)
		assert_null(config);
	if (config &&
	    fg_config_options(config, &config->clouds[0], options, report, values) == -ENOMEM)
		r = -ENOMEM;
	fg_config_free(config);
	return r;
}

static void every_allocation_may_fail(void **state)
{
	size_t n_all;

	(void)state;
	setenv("FG_TEST_SECRET", SECRET, 1);
	n_allocations = fail_at = 0;
	{
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();

		assert_int_equal(load(report), -EINVAL);
		assert_int_equal(fg_report_count(report), 3);
		assert_non_null(strstr(fg_report_line(report, 0), "key_pasword: unknown key"));
		assert_non_null(strstr(fg_report_line(report, 1), "required by plugin p"));
		assert_non_null(strstr(fg_report_line(report, 2), "keep_alive: expected"));
	}
	n_all = n_allocations;
	assert_true(n_all > 100);
	for (size_t i = 2; i <= n_all; i++) {
		FG_CLEANUP(fg_report_free_p) struct fg_report *report = NULL;
		int r;

		n_allocations = 0;
		fail_at = i;
		report = fg_report_new();
		r = load(report);
		fail_at = 0;
		/* Where only a line of the report was lost, the mistake still counts. */
		if (r != -ENOMEM) {
			size_t n = fg_report_count(report);

			assert_int_equal(r, -EINVAL);
			assert_true(n >= 1);
			assert_non_null(strstr(fg_report_line(report, n - 1), "out of memory"));
		}
	}
}

static void a_secret_does_not_stay_in_memory_that_is_released(void **state)
{
	FG_CLEANUP(fg_report_free_p) struct fg_report *report = fg_report_new();

	(void)state;
	n_leftovers = 0;
	assert_int_equal(load(report), -EINVAL);
	assert_int_equal(n_leftovers, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(a_secret_does_not_stay_in_memory_that_is_released),
	};

	char path[] = "/tmp/fieldgate-test-XXXXXX";
	int fd = mkstemp(path), r;

	if (fd < 0 || write(fd, SECRET "\n", strlen(SECRET "\n")) < 0)
		return 2;
	close(fd);
	snprintf(text, sizeof(text), form, path, path, path, path);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return r;
}
