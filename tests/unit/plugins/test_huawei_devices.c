/*
 * The table of sub-devices of the Huawei plugin: what vectors cannot show, since it takes many devices,
 * or no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "huawei/devices.h"

#define MANY 10000

static bool has_memory = true;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return has_memory ? __real_malloc(size) : NULL;
}

static struct fg_span numbered(const char *prefix, unsigned i, char *out, size_t size)
{
	return fg_span_of(out, (size_t)snprintf(out, size, "%s%u", prefix, i));
}

static void each_of_many_is_found_by_its_name_and_by_its_id(void **state)
{
	struct hw_devices devices;
	struct hw_device *device;
	char text[32];

	(void)state;
	assert_int_equal(hw_devices_open(&devices, MANY, false), 0);
	for (unsigned i = 0; i < MANY; i++) {
		device = hw_devices_get(&devices, numbered("node-", i, text, sizeof(text)));
		assert_non_null(device);
		assert_int_equal(
			hw_device_set_id(&devices, device, numbered("id-", i, text, sizeof(text))),
			0);
	}
	for (unsigned i = 0; i < MANY; i++) {
		device = hw_devices_find(&devices, numbered("node-", i, text, sizeof(text)));
		assert_ptr_equal(device, &devices.all[i]);
		assert_ptr_equal(
			hw_devices_find_id(&devices, numbered("id-", i, text, sizeof(text))),
			device);
	}
	assert_null(hw_devices_get(&devices, fg_span_str("one-more")));
	assert_null(hw_devices_find(&devices, fg_span_str("id-1")));
	assert_null(hw_devices_find_id(&devices, fg_span_str("node-1")));
	hw_devices_close(&devices);
}

static void an_id_that_changes_or_goes_is_not_found_any_more(void **state)
{
	struct hw_devices devices;
	char text[32];

	(void)state;
	assert_int_equal(hw_devices_open(&devices, 4, false), 0); /* 16 lists: many in each */
	for (unsigned i = 0; i < 4; i++)
		hw_devices_get(&devices, numbered("n", i, text, sizeof(text)));
	for (unsigned round = 0; round < 200; round++)
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(hw_device_set_id(&devices, &devices.all[i],
							  numbered("id-", 4 * round + i, text,
								   sizeof(text))),
					 0);
	for (unsigned i = 0; i < 800; i++)
		assert_ptr_equal(
			hw_devices_find_id(&devices, numbered("id-", i, text, sizeof(text))),
			i < 796 ? NULL : &devices.all[i % 4]);
	assert_int_equal(devices.n_ids, 4);
	assert_int_equal(hw_device_set_id(&devices, &devices.all[1], (struct fg_span){0}), 0);
	assert_int_equal(devices.n_ids, 3);
	assert_null(hw_devices_find_id(&devices, fg_span_str("id-797")));
	assert_ptr_equal(hw_devices_find_id(&devices, fg_span_str("id-798")), &devices.all[2]);
	hw_devices_close(&devices);
}

static void without_memory_for_another_id_the_old_one_stays(void **state)
{
	struct hw_devices devices;
	struct hw_device *device;

	(void)state;
	assert_int_equal(hw_devices_open(&devices, 4, false), 0);
	device = hw_devices_get(&devices, fg_span_str("pump-01"));
	assert_int_equal(hw_device_set_id(&devices, device, fg_span_str("a")), 0);
	has_memory = false;
	assert_int_equal(hw_device_set_id(&devices, device, fg_span_str("b")), -ENOMEM);
	assert_int_equal(hw_device_set_id(&devices, device, fg_span_str("a")), 0);
	has_memory = true;
	assert_ptr_equal(hw_devices_find_id(&devices, fg_span_str("a")), device);
	assert_null(hw_devices_find_id(&devices, fg_span_str("b")));
	hw_devices_close(&devices);
}

/* ------------------------------------------------------------------ counters */

static bool is_untold(const struct hw_devices *devices, const struct hw_device *device)
{
	bool may_be_told =
		device->standing == HW_KNOWN || (device->standing == HW_UNHEARD && !devices->adds);

	return may_be_told && device->is != device->told;
}

static void assert_counters(struct hw_devices *devices)
{
	unsigned n_untold = 0, n_standing[HW_N_STANDINGS] = {0};
	struct hw_device *untold = hw_devices_untold(devices);
	struct hw_device *wanted = hw_devices_wanted(devices);

	for (uint32_t i = 0; i < devices->n; i++) {
		n_untold += is_untold(devices, &devices->all[i]);
		n_standing[devices->all[i].standing]++;
	}
	assert_int_equal(devices->queues[HW_QUEUE_UNTOLD].n, n_untold);
	assert_int_equal(devices->queues[HW_QUEUE_WANTED].n, n_standing[HW_WANTED]);
	for (unsigned i = 0; i < HW_N_STANDINGS; i++)
		assert_int_equal(devices->n_standing[i], n_standing[i]);
	assert_int_equal(untold != NULL, n_untold > 0);
	assert_int_equal(wanted != NULL, n_standing[HW_WANTED] > 0);
	assert_true(!untold || is_untold(devices, untold));
	assert_true(!wanted || wanted->standing == HW_WANTED);
}

static void counters_agree_with_the_table_whatever_happens(void **state)
{
	struct hw_devices devices;
	struct hw_device *device;
	uint32_t random = 1;
	char text[32];

	(void)state;
	for (unsigned adds = 0; adds < 2; adds++) {
		assert_int_equal(hw_devices_open(&devices, 20, adds), 0);
		for (unsigned step = 0; step < 5000; step++) {
			random = random * 1664525u + 1013904223u;
			device = hw_devices_get(
				&devices, numbered("n", random >> 8 & 15, text, sizeof(text)));
			switch (random >> 16 & 7) {
			case 0:
				hw_devices_forget_session(&devices);
				break;
			case 1:
			case 2:
				hw_device_told(&devices, device);
				break;
			case 3:
			case 4:
				hw_device_is(&devices, device,
					     random & 1 << 20 ? HW_ONLINE : HW_OFFLINE,
					     random >> 28);
				break;
			case 5:
				hw_device_set_id(&devices, device,
						 random & 1 << 20 ? (struct fg_span){0}
								  : hw_device_name(device));
				break;
			default:
				hw_device_enter(&devices, device, (random >> 20) % HW_N_STANDINGS);
				break;
			}
			assert_counters(&devices);
		}
		hw_devices_close(&devices);
	}
}

static void what_is_added_anew_is_told_anew(void **state)
{
	struct hw_devices devices;
	struct hw_device *device;

	(void)state;
	assert_int_equal(hw_devices_open(&devices, 4, true), 0);
	device = hw_devices_get(&devices, fg_span_str("pump-01"));
	hw_device_is(&devices, device, HW_ONLINE, 1);
	assert_null(hw_devices_untold(&devices));
	hw_device_enter(&devices, device, HW_KNOWN);
	assert_ptr_equal(hw_devices_untold(&devices), device);
	hw_device_told(&devices, device);
	hw_device_enter(&devices, device, HW_KNOWN);
	assert_null(hw_devices_untold(&devices));
	hw_device_enter(&devices, device, HW_DELETED);
	assert_null(hw_devices_untold(&devices));
	hw_device_enter(&devices, device, HW_KNOWN);
	assert_ptr_equal(hw_devices_untold(&devices), device);
	hw_devices_close(&devices);
}

static void who_has_waited_longest_is_told_of_first(void **state)
{
	struct hw_devices devices;
	char text[32];

	(void)state;
	assert_int_equal(hw_devices_open(&devices, MANY, false), 0);
	for (unsigned i = 0; i < MANY; i++)
		hw_devices_get(&devices, numbered("n", i, text, sizeof(text)));
	for (unsigned i = MANY; i-- > 0;)
		hw_device_is(&devices, &devices.all[i], HW_ONLINE, 1);
	hw_device_told(&devices, &devices.all[MANY / 2]);
	hw_device_is(&devices, &devices.all[MANY / 2], HW_OFFLINE, 2);
	hw_device_is(&devices, &devices.all[7], HW_OFFLINE, 2);
	for (unsigned i = MANY; i-- > 0;) {
		if (i == MANY / 2)
			continue;
		assert_ptr_equal(hw_devices_untold(&devices), &devices.all[i]);
		hw_device_told(&devices, &devices.all[i]);
	}
	assert_ptr_equal(hw_devices_untold(&devices), &devices.all[MANY / 2]);
	hw_device_told(&devices, &devices.all[MANY / 2]);
	assert_null(hw_devices_untold(&devices));
	hw_devices_close(&devices);
}

static void
who_was_not_answered_to_is_wanted_by_the_next_session_and_who_was_refused_is_not(void **state)
{
	struct hw_devices devices;
	struct hw_device *device[3];
	const char *const names[] = {"asked", "silent", "refused"};

	(void)state;
	assert_int_equal(hw_devices_open(&devices, 4, true), 0);
	for (unsigned i = 0; i < 3; i++) {
		device[i] = hw_devices_get(&devices, fg_span_str(names[i]));
		hw_device_enter(&devices, device[i], i == 0 ? HW_ASKED : HW_FAILED);
		device[i]->n_failures = i > 0 ? 2 : 0;
	}
	snprintf(device[2]->error_code, sizeof(device[2]->error_code), "IOTDA.014000");
	hw_devices_forget_session(&devices);
	assert_int_equal(device[0]->standing, HW_WANTED);
	assert_int_equal(device[1]->standing, HW_WANTED);
	assert_int_equal(device[1]->n_failures, 0);
	assert_int_equal(device[2]->standing, HW_FAILED);
	assert_int_equal(device[2]->n_failures, 2);
	hw_devices_close(&devices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_of_many_is_found_by_its_name_and_by_its_id),
		cmocka_unit_test(an_id_that_changes_or_goes_is_not_found_any_more),
		cmocka_unit_test(without_memory_for_another_id_the_old_one_stays),
		cmocka_unit_test(counters_agree_with_the_table_whatever_happens),
		cmocka_unit_test(what_is_added_anew_is_told_anew),
		cmocka_unit_test(who_has_waited_longest_is_told_of_first),
		cmocka_unit_test(
			who_was_not_answered_to_is_wanted_by_the_next_session_and_who_was_refused_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
