#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "local/requests.h"

static struct fg_requests *requests;
static char published[1024];
static unsigned n_published;

static int publish(void *arg, const char *broker, const struct fg_mqtt_publish *p)
{
	(void)arg;
	n_published++;
	snprintf(published, sizeof(published), "%s %s [%.*s] %.*s qos=%u", broker, p->topic,
		 FG_SPAN_ARGS(p->correlation), FG_SPAN_ARGS(p->payload), p->qos);
	return 0;
}

static int setup(void **state)
{
	struct fg_requests_options options = {.publish = publish};

	(void)state;
	n_published = 0;
	published[0] = '\0';
	return fg_requests_new(&options, &requests);
}

static int teardown(void **state)
{
	(void)state;
	requests = fg_requests_free(requests);
	return 0;
}

static int ask_as(const char *device, const char *topic, const char *correlation, char *ref)
{
	struct fg_request r = {
		.broker = "hall",
		.device = fg_span_str(device),
		.response_topic = fg_span_str(topic),
		.correlation = fg_span_str(correlation),
		.timeout_ms = 1000,
	};

	return fg_requests_open(requests, &r, 0, ref);
}

static int ask(const char *topic, const char *correlation, char *ref)
{
	return ask_as("a", topic, correlation, ref);
}

static void an_answer_goes_where_it_was_asked_for(void **state)
{
	char ref[FG_REQUEST_REF_MAX];

	(void)state;
	assert_int_equal(ask("answer/a", "id-7", ref), 0);
	assert_true(fg_requests_is_open(requests, fg_span_str(ref)));
	fg_requests_answer(requests, fg_span_str(ref), fg_span_str("{\"result\":1}"));
	assert_string_equal(published, "hall answer/a [id-7] {\"result\":1} qos=1");
	assert_false(fg_requests_is_open(requests, fg_span_str(ref)));
	fg_requests_answer(requests, fg_span_str(ref), fg_span_str("{\"result\":2}"));
	assert_int_equal(n_published, 1);
}

static void what_nobody_answers_is_answered_in_time(void **state)
{
	char ref[FG_REQUEST_REF_MAX];

	(void)state;
	ask("answer/a", "", ref);
	fg_requests_tick(requests, 999);
	assert_int_equal(n_published, 0);
	fg_requests_tick(requests, 1000);
	assert_string_equal(published, "hall answer/a [] {\"error\":{\"code\":\"timeout\",\"text\":"
				       "\"the cloud has not answered in time\"}} qos=1");
	fg_requests_tick(requests, 2000);
	assert_int_equal(n_published, 1);
}

static void a_cancelled_request_is_never_answered(void **state)
{
	char ref[FG_REQUEST_REF_MAX];

	(void)state;
	ask("answer/a", "", ref);
	fg_requests_cancel(requests, ref);
	fg_requests_cancel(requests, ref);
	fg_requests_tick(requests, 2000);
	assert_int_equal(n_published, 0);
}

static void references_that_are_none_find_nothing(void **state)
{
	static const char *const bad[] = {
		"",
		"0",
		"-",
		"00000000-0",
		"zzz",
		"00000000-1",
		"00000000-99999999999999999999999",
		"12345678-1 ",
		"a reference that is longer than any that was ever given",
	};
	char ref[FG_REQUEST_REF_MAX], other[FG_REQUEST_REF_MAX + 2];

	(void)state;
	ask("answer/a", "", ref);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(fg_requests_is_open(requests, fg_span_str(bad[i])));
	snprintf(other, sizeof(other), "%sx", ref);
	assert_false(fg_requests_is_open(requests, fg_span_str(other)));
	/* of another run */
	snprintf(other, sizeof(other), "%s", ref);
	other[7] = other[7] == '0' ? '1' : '0';
	assert_false(fg_requests_is_open(requests, fg_span_str(other)));
	assert_true(fg_requests_is_open(requests, fg_span_str(ref)));
}

static void where_no_answer_can_go_nothing_is_asked(void **state)
{
	char ref[FG_REQUEST_REF_MAX], big[FG_REQUEST_TEXT_MAX + 2];

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(ask("", "", ref), -EINVAL);
	assert_int_equal(ask(big, "", ref), -EINVAL);
	assert_int_equal(ask(big + 1, "", ref), 0);
	assert_int_equal(ask(big + 1, "1", ref), -EINVAL);
}

static void a_flood_is_bounded_and_frees_its_places(void **state)
{
	char first[FG_REQUEST_REF_MAX], ref[FG_REQUEST_REF_MAX], device[16];

	(void)state;
	ask("first", "", first);
	for (int i = 1; i < FG_REQUESTS_MAX; i++) {
		snprintf(device, sizeof(device), "d%d", i);
		assert_int_equal(ask_as(device, "t", "", ref), 0);
	}
	assert_int_equal(ask("t", "", ref), -EBUSY);
	fg_requests_answer(requests, fg_span_str(ref), fg_span_str("{}")); /* the last */
	assert_int_equal(ask("again", "", ref), 0);
	assert_int_equal(ask("t", "", ref), -EBUSY);
	fg_requests_answer(requests, fg_span_str(first), fg_span_str("{}"));
	assert_string_equal(published, "hall first [] {} qos=1");
	fg_requests_tick(requests, 1000);
	assert_int_equal(n_published, FG_REQUESTS_MAX + 1);
	assert_int_equal(ask("again", "", ref), 0);
}

static void a_flood_of_one_device_leaves_room_for_the_others(void **state)
{
	char ref[FG_REQUEST_REF_MAX];

	(void)state;
	for (int i = 0; i < FG_REQUESTS_OF_DEVICE; i++)
		assert_int_equal(ask("t", "", ref), 0);
	assert_int_equal(ask("t", "", ref), -EBUSY);
	assert_int_equal(ask_as("b", "t", "", ref), 0);
	fg_requests_tick(requests, 1000);
	assert_int_equal(ask("t", "", ref), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_answer_goes_where_it_was_asked_for),
		TEST(what_nobody_answers_is_answered_in_time),
		TEST(a_cancelled_request_is_never_answered),
		TEST(references_that_are_none_find_nothing),
		TEST(where_no_answer_can_go_nothing_is_asked),
		TEST(a_flood_is_bounded_and_frees_its_places),
		TEST(a_flood_of_one_device_leaves_room_for_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
