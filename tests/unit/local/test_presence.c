#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "local/presence.h"

static struct fg_presence *presence;
static char told[4096]; /* "+name " and "-name ", in order */
static int refusal;
static unsigned n_moved;
static bool was_up_when_moved;

static int changed(void *arg, struct fg_span device, bool is_up)
{
	size_t used = strlen(told);

	(void)arg;
	if (refusal < 0)
		return refusal;
	assert_int_equal(fg_presence_is_up(presence, device), is_up); /* who is told may ask */
	snprintf(told + used, sizeof(told) - used, "%c%.*s ", is_up ? '+' : '-',
		 FG_SPAN_ARGS(device));
	return 0;
}

static void moved(void *arg, struct fg_span device)
{
	(void)arg;
	assert_non_null(fg_presence_source(presence, device)); /* who is told may ask */
	was_up_when_moved = fg_presence_is_up(presence, device);
	n_moved++;
}

static void make(int64_t inactivity_ms)
{
	struct fg_presence_options options = {
		.inactivity_ms = inactivity_ms, .changed = changed, .moved = moved};

	assert_int_equal(fg_presence_new(&options, &presence), 0);
}

static int setup(void **state)
{
	(void)state;
	told[0] = '\0';
	refusal = 0;
	n_moved = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	presence = fg_presence_free(presence);
	return 0;
}

static int heard(const char *device, int64_t now_ms)
{
	return fg_presence_heard(presence, fg_span_str(device), "hall", now_ms);
}

static int said(const char *device, bool is_up)
{
	return fg_presence_said(presence, fg_span_str(device), "hall", is_up, 0);
}

static bool is_up(const char *device)
{
	return fg_presence_is_up(presence, fg_span_str(device));
}

static void told_are(const char *expected)
{
	assert_string_equal(told, expected);
	told[0] = '\0';
}

static void an_unknown_device_counts_as_there(void **state)
{
	(void)state;
	make(0);
	assert_true(is_up("a"));
	assert_null(fg_presence_source(presence, fg_span_str("a")));
}

static void the_first_message_is_told_only_where_silence_is_watched(void **state)
{
	(void)state;
	make(0);
	heard("a", 0);
	told_are("");
	presence = fg_presence_free(presence);
	make(1000);
	heard("a", 0);
	heard("a", 10);
	told_are("+a ");
	assert_string_equal(fg_presence_source(presence, fg_span_str("a")), "hall");
}

static void that_a_device_is_elsewhere_is_told(void **state)
{
	static const char other[] = "other hall";

	(void)state;
	make(0);
	heard("a", 0);
	assert_int_equal(n_moved, 1);
	heard("a", 10);
	said("a", false);
	assert_int_equal(n_moved, 1);
	fg_presence_said(presence, fg_span_str("a"), other, true, 20);
	assert_int_equal(n_moved, 2);
	assert_ptr_equal(fg_presence_source(presence, fg_span_str("a")), other);
	assert_true(was_up_when_moved);
}

static void a_device_that_is_first_heard_to_have_gone_is_told_so_wherever_it_is(void **state)
{
	(void)state;
	make(0);
	said("a", false);
	assert_int_equal(n_moved, 1);
	assert_false(was_up_when_moved);
	refusal = -EAGAIN; /* where it is holds all the same */
	said("b", false);
	assert_int_equal(n_moved, 2);
}

static void each_cell_of_what_is_said(void **state)
{
	(void)state;
	make(0);
	said("a", true); /* UNKNOWN */
	said("a", true); /* UP */
	told_are("+a ");
	said("a", false);
	told_are("-a ");
	assert_false(is_up("a"));
	said("a", false); /* DOWN */
	told_are("");
	heard("a", 0);
	told_are("+a ");
	assert_true(is_up("a"));
	heard("a", 0);
	told_are("");
	said("b", false); /* UNKNOWN */
	told_are("-b ");
	said("b", true);
	told_are("+b ");
}

static void who_is_silent_for_too_long_has_gone(void **state)
{
	(void)state;
	make(1000);
	heard("a", 0);
	heard("b", 0);
	heard("c", 500);
	heard("a", 600);
	told_are("+a +b +c ");
	fg_presence_tick(presence, 999);
	told_are("");
	fg_presence_tick(presence, 1000);
	told_are("-b ");
	fg_presence_tick(presence, 1500);
	told_are("-c ");
	fg_presence_tick(presence, 1599);
	told_are("");
	fg_presence_tick(presence, 5000);
	told_are("-a ");
	fg_presence_tick(presence, 9000);
	told_are("");
	heard("b", 9000);
	fg_presence_tick(presence, 9999);
	told_are("+b ");
	fg_presence_tick(presence, 10000);
	told_are("-b ");
}

static void silence_means_nothing_without_a_limit(void **state)
{
	(void)state;
	make(0);
	said("a", true);
	told_are("+a ");
	fg_presence_tick(presence, INT64_MAX);
	told_are("");
}

static void what_cannot_be_told_has_not_happened(void **state)
{
	(void)state;
	make(1000);
	refusal = -EAGAIN;
	assert_int_equal(heard("a", 0), -EAGAIN);
	assert_int_equal(said("b", false), -EAGAIN);
	assert_true(is_up("b"));
	refusal = 0;
	assert_int_equal(heard("a", 0), 0);
	told_are("+a ");
	refusal = -EAGAIN;
	fg_presence_tick(presence, 1000);
	assert_true(is_up("a"));
	refusal = 0;
	fg_presence_tick(presence, 2000);
	told_are("-a ");
}

static void of_too_many_the_quietest_is_forgotten(void **state)
{
	struct fg_presence_stats stats;
	char name[32];

	(void)state;
	make(0);
	said("gone", false);
	told_are("-gone ");
	for (int i = 0; i < FG_PRESENCE_MAX_DEVICES - 1; i++) {
		snprintf(name, sizeof(name), "device-%d", i);
		assert_int_equal(heard(name, 0), 0);
	}
	fg_presence_get_stats(presence, &stats);
	assert_int_equal(stats.known, FG_PRESENCE_MAX_DEVICES);
	assert_int_equal(stats.down, 1);
	assert_false(is_up("gone"));
	heard("one more", 0);
	assert_true(is_up("gone")); /* unknown again */
	fg_presence_get_stats(presence, &stats);
	assert_int_equal(stats.known, FG_PRESENCE_MAX_DEVICES);
	assert_int_equal(stats.up, FG_PRESENCE_MAX_DEVICES);
	assert_non_null(fg_presence_source(presence, fg_span_str("device-0")));
	assert_non_null(fg_presence_source(presence, fg_span_str("device-99998")));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_unknown_device_counts_as_there),
		TEST(the_first_message_is_told_only_where_silence_is_watched),
		TEST(that_a_device_is_elsewhere_is_told),
		TEST(a_device_that_is_first_heard_to_have_gone_is_told_so_wherever_it_is),
		TEST(each_cell_of_what_is_said),
		TEST(who_is_silent_for_too_long_has_gone),
		TEST(silence_means_nothing_without_a_limit),
		TEST(what_cannot_be_told_has_not_happened),
		TEST(of_too_many_the_quietest_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
