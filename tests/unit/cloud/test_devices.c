#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cloud/devices.h"

static char *pumps[] = {"pump-*"};
static char *pumps_and_fans[] = {"pump-*", "fan-[0-9]"};
static char *spares[] = {"*-spare", "pump-13"};
static struct fg_rename renames[] = {{"pump-01", "Pump 1"}, {"boiler", "Kessel Süd"}};

static const struct fg_devices_config all = {0};
static const struct fg_devices_config only_pumps = {.include = pumps, .n_include = 1};
static const struct fg_devices_config two_kinds = {.include = pumps_and_fans, .n_include = 2};
static const struct fg_devices_config no_spares = {.exclude = spares, .n_exclude = 2};
static const struct fg_devices_config named = {.rename = renames, .n_rename = 2};
static const struct fg_devices_config everything = {
	.include = pumps,
	.n_include = 1,
	.exclude = spares,
	.n_exclude = 2,
	.rename = renames,
	.n_rename = 2,
};

static void a_cloud_gets_what_is_included_and_not_excluded_under_its_name(void **state)
{
	static const struct {
		const struct fg_devices_config *config;
		const char *device;
		const char *name; /* NULL: not for this cloud */
	} table[] = {
		{&all, "anything at all", "anything at all"},
		{&only_pumps, "pump-1", "pump-1"},
		{&only_pumps, "pump-", "pump-"},
		{&only_pumps, "pump", NULL},
		{&only_pumps, "a-pump-1", NULL},
		{&only_pumps, "pump-hall/2", "pump-hall/2"},
		{&only_pumps, "Pump-1", NULL},
		{&two_kinds, "fan-7", "fan-7"},
		{&two_kinds, "fan-17", NULL},
		{&no_spares, "pump-1", "pump-1"},
		{&no_spares, "pump-1-spare", NULL},
		{&no_spares, "pump-13", NULL},
		{&no_spares, "pump-131", "pump-131"},
		{&named, "pump-01", "Pump 1"},
		{&named, "boiler", "Kessel Süd"},
		{&named, "Pump 1", "Pump 1"},
		{&named, "pump-0", "pump-0"},
		{&everything, "pump-01", "Pump 1"},
		{&everything, "boiler", NULL},
		{&everything, "pump-13", NULL},
		{&everything, "pump-02", "pump-02"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct fg_span name = {0};
		bool is_wanted =
			fg_devices_map(table[i].config, fg_span_str(table[i].device), &name);

		assert_int_equal(is_wanted, table[i].name != NULL);
		if (table[i].name)
			assert_true(fg_span_is(name, table[i].name));
	}
}

static void a_name_need_not_end_with_a_nul(void **state)
{
	static const char bytes[] = {'p', 'u', 'm', 'p', '-', '0', '1', 'x'};
	struct fg_span name;

	(void)state;
	assert_true(fg_devices_map(&everything, fg_span_of(bytes, 7), &name));
	assert_true(fg_span_is(name, "Pump 1"));
	assert_true(fg_devices_map(&everything, fg_span_of(bytes, 8), &name));
	assert_ptr_equal(name.data, bytes);
}

static void a_name_of_255_bytes_is_matched_too(void **state)
{
	char bytes[256];
	struct fg_span name;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	memcpy(bytes, "pump-", 5);
	assert_true(fg_devices_map(&only_pumps, fg_span_of(bytes, 255), &name));
	assert_int_equal(name.size, 255);
}

/* Or it would pass for the device it begins with. */
static void a_name_with_a_nul_inside_matches_nothing(void **state)
{
	static const char bytes[] = "pump-01\0x";
	struct fg_span name;

	(void)state;
	assert_false(fg_devices_map(&everything, fg_span_of(bytes, sizeof(bytes) - 1), &name));
	assert_false(fg_devices_map(&only_pumps, fg_span_of(bytes, sizeof(bytes) - 1), &name));
	assert_false(fg_devices_map(&named, fg_span_of(bytes, sizeof(bytes) - 1), &name));
}

/* Whatever bytes a device calls itself: patterns are bytes, too. */
static void a_name_that_is_no_utf_8_is_a_name(void **state)
{
	static const char bytes[] = "pump-\xff\xfe";
	struct fg_span name;

	(void)state;
	assert_true(fg_devices_map(&only_pumps, fg_span_of(bytes, sizeof(bytes) - 1), &name));
	assert_true(fg_span_is(name, bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cloud_gets_what_is_included_and_not_excluded_under_its_name),
		cmocka_unit_test(a_name_need_not_end_with_a_nul),
		cmocka_unit_test(a_name_of_255_bytes_is_matched_too),
		cmocka_unit_test(a_name_with_a_nul_inside_matches_nothing),
		cmocka_unit_test(a_name_that_is_no_utf_8_is_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
