#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "control/roundtrip_hops.h"
#include "model/json.h"
#include "util/span.h"

static char *text;
static size_t size;

static void begin(struct fg_hops *h, bool is_json, bool has_command)
{
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	fg_hops_begin(h, f, is_json, has_command);
}

/* What was printed has to be @expected. */
static void finish(struct fg_hops *h, const char *expected)
{
	fclose(h->file);
	assert_string_equal(text, expected);
	free(text);
}

static void go_up(struct fg_hops *h)
{
	fg_hops_ok(h, FG_HOP_GATEWAY, 123, "runs");
	fg_hops_ok(h, FG_HOP_LOGIN, 4567, "in");
	fg_hops_ok(h, FG_HOP_BROKER, 999, "in, too");
	fg_hops_say(h, "reading x = %d", 1);
	fg_hops_ok(h, FG_HOP_PUBLISH, 1000, "p");
	fg_hops_ok(h, FG_HOP_ON_DISK, 20000, "d");
	fg_hops_ok(h, FG_HOP_IN_CLOUD, 300000, "c");
}

static void a_round_trip_in_order_prints_every_hop_and_the_sums(void **state)
{
	struct fg_hops h;

	(void)state;
	begin(&h, false, true);
	go_up(&h);
	fg_hops_ok(&h, FG_HOP_COMMAND, 1000, "q");
	fg_hops_unseen(&h, FG_HOP_ANSWER, "not from here");
	fg_hops_ok(&h, FG_HOP_REST_ANSWER, 2000, "{\"a\":\"\x1b[31m\"}");
	assert_true(fg_hops_end(&h));
	finish(&h, "  ok           0.12 ms  gateway            runs\n"
		   "  ok           4.56 ms  cloud login        in\n"
		   "  ok           0.99 ms  field broker       in, too\n"
		   "reading x = 1\n"
		   "  ok           1.00 ms  published          p\n"
		   "  ok          20.00 ms  on disk            d\n"
		   "  ok         300.00 ms  in the cloud       c\n"
		   "  ok           1.00 ms  at the device      q\n"
		   "  unseen                device's answer    not from here\n"
		   "  ok           2.00 ms  back in the cloud  {\"a\":\"\\x1b[31m\"}\n"
		   "in order: up in 321 ms, down and back in 3 ms\n");
}

static void without_a_command_the_way_down_is_not_printed(void **state)
{
	struct fg_hops h;

	(void)state;
	begin(&h, true, false);
	go_up(&h);
	assert_true(fg_hops_end(&h));
	fclose(h.file);
	assert_null(strstr(text, "\"down\""));
	assert_null(strstr(text, "reading")); /* that is for people */
	assert_non_null(strstr(text, "{\"type\":\"result\",\"is_ok\":true,\"up_us\":321000}\n"));
	free(text);
}

static void a_failure_says_what_to_do_and_ends_the_way(void **state)
{
	struct fg_hops h;

	(void)state;
	begin(&h, false, true);
	fg_hops_ok(&h, FG_HOP_GATEWAY, 123, "runs");
	fg_hops_failed(&h, FG_HOP_LOGIN, 5, "knock louder", "nobody is in");
	assert_false(fg_hops_end(&h));
	finish(&h, "  ok           0.12 ms  gateway            runs\n"
		   "  FAILED       0.00 ms  cloud login        nobody is in\n"
		   "                          -> knock louder\n"
		   "  -                     field broker       not tried\n"
		   "  -                     published          not tried\n"
		   "  -                     on disk            not tried\n"
		   "  -                     in the cloud       not tried\n"
		   "  -                     at the device      not tried\n"
		   "  -                     device's answer    not tried\n"
		   "  -                     back in the cloud  not tried\n"
		   "FAILED at: cloud login\n");
}

static void for_programs_each_line_is_an_object(void **state)
{
	struct fg_json_fault fault;
	struct fg_json_value object;
	struct fg_hops h;
	char *line, *rest;
	unsigned n = 0;

	(void)state;
	begin(&h, true, true);
	fg_hops_ok(&h, FG_HOP_GATEWAY, 123, "a \"quote\", a \x1b and \xff");
	fg_hops_failed(&h, FG_HOP_LOGIN, 5, "knock", "nobody");
	assert_false(fg_hops_end(&h));
	fclose(h.file);
	assert_non_null(strstr(text, "{\"type\":\"hop\",\"leg\":\"start\",\"hop\":\"login\","
				     "\"state\":\"failed\",\"took_us\":5,\"text\":\"nobody\","
				     "\"advice\":\"knock\"}\n"));
	assert_non_null(
		strstr(text, "{\"type\":\"result\",\"is_ok\":false,\"failed\":\"login\"}\n"));
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++)
		if (fg_json_check(fg_span_str(line), &object, &fault) < 0)
			fail_msg("%s: %s", line, fault.reason);
	assert_int_equal(n, FG_N_HOPS + 1);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_round_trip_in_order_prints_every_hop_and_the_sums),
		cmocka_unit_test(without_a_command_the_way_down_is_not_printed),
		cmocka_unit_test(a_failure_says_what_to_do_and_ends_the_way),
		cmocka_unit_test(for_programs_each_line_is_an_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
