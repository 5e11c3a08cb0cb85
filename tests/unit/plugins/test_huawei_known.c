/*
 * What sub-devices said last: what vectors cannot show, since it takes many messages, or no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "huawei/known.h"

static bool has_memory = true;
static unsigned n_allocations;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
	n_allocations++;
	return has_memory ? __real_malloc(size) : NULL;
}

void *__wrap_realloc(void *old, size_t size)
{
	n_allocations++;
	return has_memory ? __real_realloc(old, size) : NULL;
}

#define KNOWN_MAX ((size_t)1 << 20)

/* 2024-06-10T06:13:20Z, and the seconds behind it. */
#define T0 1718000000
#define AT(s) ((int64_t)(T0 + (s)) * 1000000)

static struct hw_known *begin(void)
{
	struct hw_known *known;

	assert_int_equal(hw_known_open(KNOWN_MAX, &known), 0);
	return known;
}

static void note(struct hw_known *known, const char *device, const char *service, uint64_t seq,
		 int64_t time_us, const char *properties)
{
	struct fg_json_value object;
	struct fg_json_fault fault;

	assert_int_equal(fg_json_check(fg_span_str(properties), &object, &fault), 0);
	hw_known_note(known, fg_span_str(device), fg_span_str(service), seq, time_us, object);
}

static char said[65536];

static const char *known_of(const struct hw_known *known, const char *device, const char *service,
			    size_t room)
{
	struct fg_text text = fg_text_begin(said, room);

	hw_known_put(known, fg_span_str(device), fg_span_str(service), false, &text);
	assert_false(text.is_full);
	said[fg_text_size(&text)] = 0;
	return said;
}

static void assert_known(const struct hw_known *known, const char *device, const char *service,
			 const char *expected)
{
	assert_string_equal(known_of(known, device, service, sizeof(said) - 1), expected);
}

/* A service "s" of the latest second @s. */
#define SERVICE(s, properties)                                                                     \
	"{\"service_id\":\"s\",\"properties\":" properties ",\"event_time\":\"20240610T0613" s     \
	"Z\"}"

static void each_property_has_its_last_value(void **state)
{
	struct hw_known *known = begin();

	(void)state;
	assert_known(known, "d", "s", "");
	note(known, "d", "s", 1, AT(0), "{\"a\": 1, \"b\": [1, 2]}");
	note(known, "d", "s", 2, AT(1), "{\"c\":\"x\"}");
	note(known, "d", "s", 3, AT(2), "{\"b\":1.50}");
	assert_known(known, "d", "s", SERVICE("22", "{\"a\":1,\"b\":1.50,\"c\":\"x\"}"));
	note(known, "d", "s", 4, AT(3), "{\"c\":\"longer than before\",\"a\":22,\"a\":3}");
	assert_known(known, "d", "s",
		     SERVICE("23", "{\"a\":3,\"b\":1.50,\"c\":\"longer than before\"}"));
	hw_known_close(known);
}

/* Lanes count apart: what overtakes is the last so far, and hides nothing that comes behind it. */
static void what_has_no_number_is_later_than_what_is_known_and_earlier_than_what_comes(void **state)
{
	struct hw_known *known = begin();

	(void)state;
	note(known, "d", "s", 10, AT(0), "{\"a\":10}");
	note(known, "d", "s", 0, AT(1), "{\"a\":1,\"b\":1}");
	assert_known(known, "d", "s", SERVICE("21", "{\"a\":1,\"b\":1}"));
	note(known, "d", "s", 9, AT(2), "{\"a\":9,\"b\":9}");
	assert_known(known, "d", "s", SERVICE("21", "{\"a\":1,\"b\":9}"));
	note(known, "d", "s", 10, AT(3), "{\"a\":11}");
	assert_known(known, "d", "s", SERVICE("23", "{\"a\":11,\"b\":9}"));
	hw_known_close(known);
}

static void later_is_what_the_journal_numbered_higher(void **state)
{
	struct hw_known *known = begin();

	(void)state;
	note(known, "d", "s", 10, AT(0), "{\"a\":10}");
	note(known, "d", "s", 5, AT(9), "{\"a\":5,\"b\":5}"); /* of before an outage */
	assert_known(known, "d", "s", SERVICE("20", "{\"a\":10,\"b\":5}"));
	note(known, "d", "s", 4, AT(9), "{\"b\":4}");
	note(known, "d", "s", 11, AT(-10), "{\"b\":11}"); /* a clock that was set back */
	assert_known(known, "d", "s", SERVICE("10", "{\"a\":10,\"b\":11}"));
	note(known, "d", "s", 11, AT(-10), "{\"b\":11}"); /* sent again */
	assert_known(known, "d", "s", SERVICE("10", "{\"a\":10,\"b\":11}"));
	hw_known_close(known);
}

static void what_is_no_value_is_not_kept(void **state)
{
	struct hw_known *known = begin();

	(void)state;
	note(known, "d", "s", 1, AT(0), "{\"a\":NaN,\"b\":[-Infinity]}");
	note(known, "d", "t", 1, AT(0), "{}");
	assert_known(known, "d", "", "");
	note(known, "d", "s", 2, AT(0), "{\"a\":1}");
	note(known, "d", "s", 3, AT(1), "{\"a\":NaN}");
	assert_known(known, "d", "s", SERVICE("21", "{\"a\":1}"));
	hw_known_close(known);
}

static void devices_and_services_are_told_apart(void **state)
{
	struct hw_known *known = begin();
	const char *all;

	(void)state;
	note(known, "d", "s", 1, AT(0), "{\"a\":1}");
	note(known, "ds", "", 2, AT(0), "{\"a\":2}");
	note(known, "", "ds", 3, AT(0), "{\"a\":3}");
	note(known, "d", "t", 4, AT(0), "{\"a\":4}");
	assert_known(known, "d", "s", SERVICE("20", "{\"a\":1}"));
	all = known_of(known, "d", "", sizeof(said) - 1);
	assert_non_null(strstr(all, "\"a\":1"));
	assert_non_null(strstr(all, "},{"));
	assert_non_null(strstr(all, "\"a\":4"));
	assert_null(strstr(all, "\"a\":2"));
	assert_null(strstr(all, "\"a\":3"));
	hw_known_close(known);
}

static void services_that_do_not_fit_are_left_out_whole(void **state)
{
	struct hw_known *known = begin();
	size_t one, all;

	(void)state;
	note(known, "d", "s", 1, AT(0), "{\"a\":1}");
	one = strlen(known_of(known, "d", "", sizeof(said) - 1));
	note(known, "d", "t", 2, AT(0), "{\"a\":1}");
	all = strlen(known_of(known, "d", "", sizeof(said) - 1));
	assert_int_equal(all, 2 * one + 1);
	for (size_t room = 0; room <= all; room++)
		assert_int_equal(strlen(known_of(known, "d", "", room)), room < one   ? 0
									 : room < all ? one
										      : all);
	hw_known_close(known);
}

static void a_time_that_cannot_be_said_is_left_out(void **state)
{
	struct hw_known *known = begin();

	(void)state;
	note(known, "d", "s", 1, INT64_MAX, "{\"a\":1}");
	assert_known(known, "d", "s", "{\"service_id\":\"s\",\"properties\":{\"a\":1}}");
	hw_known_close(known);
}

static void a_value_that_there_is_no_room_for_is_not_known(void **state)
{
	static char large[HW_KNOWN_SERVICE_MAX + 16];
	struct hw_known *known = begin();

	(void)state;
	snprintf(large, sizeof(large), "{\"b\":\"%0*d\"}", (int)HW_KNOWN_SERVICE_MAX, 0);
	note(known, "d", "s", 1, AT(0), "{\"a\":1,\"b\":2,\"c\":3}");
	assert_false(hw_known_is_full(known));
	note(known, "d", "s", 2, AT(0), large);
	assert_true(hw_known_is_full(known));
	assert_known(known, "d", "s", SERVICE("20", "{\"a\":1,\"c\":3}"));
	note(known, "d", "t", 2, AT(0), large);
	assert_known(known, "d", "t", "");
	hw_known_close(known);
}

static void memory_has_a_bound(void **state)
{
	struct hw_known *known = begin();
	char service[64];
	unsigned n = 0;

	(void)state;
	snprintf(said, sizeof(said), "{\"b\":\"%0*d\"}", 8000, 0);
	while (!hw_known_is_full(known)) {
		snprintf(service, sizeof(service), "%u", n++);
		note(known, "d", service, n, AT(0), said);
		assert_in_range(n, 1, KNOWN_MAX / 8000);
	}
	assert_true(n > KNOWN_MAX / 8000 / 4);
	note(known, "d", "one more", n + 1, AT(0), "{\"a\":1}"); /* small ones still have room, … */
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(service, sizeof(service), "more %u", i);
		note(known, "d", service, n + 2, AT(0), "{\"a\":1}");
	}
	n_allocations = 0;
	note(known, "d", "too many", n + 3, AT(0), "{\"a\":1}"); /* … for a while */
	assert_int_equal(n_allocations, 0);
	assert_known(known, "d", "too many", "");
	hw_known_close(known);
}

static void no_memory_is_no_room(void **state)
{
	struct hw_known *known = begin();

	(void)state;
	has_memory = false;
	note(known, "d", "s", 1, AT(0), "{\"a\":1}");
	has_memory = true;
	assert_known(known, "d", "s", "");
	note(known, "d", "s", 1, AT(0), "{\"a\":1}");
	has_memory = false;
	note(known, "d", "s", 2, AT(0),
	     "{\"b\":\"0123456789012345678901234567890123456789012345678901234567890123\"}");
	has_memory = true;
	assert_known(known, "d", "s", SERVICE("20", "{\"a\":1}"));
	hw_known_close(known);
}

static void values_of_the_same_size_ask_for_no_memory(void **state)
{
	struct hw_known *known = begin();
	char text[64];

	(void)state;
	note(known, "d", "s", 1, AT(0), "{\"t\":10,\"h\":10}");
	n_allocations = 0;
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), i % 2 ? "{\"t\":%u,\"h\":%u}" : "{\"h\":%u,\"t\":%u}",
			 10 + i % 90, 10 + i % 90);
		note(known, "d", "s", 2 + i, AT(0), text);
	}
	assert_int_equal(n_allocations, 0);
	hw_known_close(known);
}

/* ------------------------------------------------------------------ against a plain table */

#define N_PROPERTIES 12

static void it_agrees_with_a_plain_table_whatever_comes(void **state)
{
	struct {
		uint64_t seq;
		unsigned value, order; /* order 0: there is none */
	} table[N_PROPERTIES] = {0};
	struct hw_known *known = begin();
	unsigned n_orders = 0, random = 1;
	char text[4096], part[600];

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		uint64_t seq = step < 20 ? 20 : step - random % 20;

		text[0] = 0;
		for (unsigned i = 0; i < 4; i++) {
			unsigned p, value;

			random = random * 1664525u + 1013904223u;
			p = (random >> 8) % N_PROPERTIES;
			value = random >> 12 & 255;
			snprintf(part, sizeof(part), "%s\"p%u\":\"%0*u\"", i ? "," : "{", p,
				 (int)(1 + value % 40), value);
			strcat(text, part);
			if (table[p].order && seq < table[p].seq)
				continue;
			table[p].seq = seq;
			table[p].value = value;
			if (!table[p].order)
				table[p].order = ++n_orders;
		}
		strcat(text, "}");
		note(known, "d", "s", seq, AT(0), text);
		text[0] = 0;
		for (unsigned order = 1; order <= n_orders; order++)
			for (unsigned p = 0; p < N_PROPERTIES; p++)
				if (table[p].order == order) {
					snprintf(part, sizeof(part), "%s\"p%u\":\"%0*u\"",
						 order > 1 ? "," : "", p,
						 (int)(1 + table[p].value % 40), table[p].value);
					strcat(text, part);
				}
		snprintf(part, sizeof(part), "{\"service_id\":\"s\",\"properties\":{");
		known_of(known, "d", "s", sizeof(said) - 1);
		assert_memory_equal(said, part, strlen(part));
		assert_memory_equal(said + strlen(part), text, strlen(text));
		assert_string_equal(said + strlen(part) + strlen(text),
				    "},\"event_time\":\"20240610T061320Z\"}");
	}
	assert_int_equal(n_orders, N_PROPERTIES);
	hw_known_close(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_property_has_its_last_value),
		cmocka_unit_test(later_is_what_the_journal_numbered_higher),
		cmocka_unit_test(
			what_has_no_number_is_later_than_what_is_known_and_earlier_than_what_comes),
		cmocka_unit_test(what_is_no_value_is_not_kept),
		cmocka_unit_test(devices_and_services_are_told_apart),
		cmocka_unit_test(services_that_do_not_fit_are_left_out_whole),
		cmocka_unit_test(a_time_that_cannot_be_said_is_left_out),
		cmocka_unit_test(a_value_that_there_is_no_room_for_is_not_known),
		cmocka_unit_test(memory_has_a_bound),
		cmocka_unit_test(no_memory_is_no_room),
		cmocka_unit_test(values_of_the_same_size_ask_for_no_memory),
		cmocka_unit_test(it_agrees_with_a_plain_table_whatever_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
