/*
 * Single properties that cases as data (tests/vectors/) cannot show: no allocation per message, every
 * allocation failing in turn, waits that end, long runs.
 */
#include "scripted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_WINDOW 512

/* ------------------------------------------------------------------ single properties */

static void a_known_device_costs_no_allocation(void **state)
{
	struct fg_message messages[MAX_WINDOW];
	uint8_t states[MAX_WINDOW];
	void *ctx = NULL;
	unsigned before;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	for (unsigned i = 0; i < MAX_DEVICES; i++)
		announce(ctx, device_names[i]);
	before = n_allocations;
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < MAX_WINDOW; i++) {
			messages[i] = message(2 + round * MAX_WINDOW + i,
					      i % 7 ? FG_TELEMETRY : FG_ATTRIBUTES,
					      device_names[(i * 31) % MAX_DEVICES],
					      "{\"t\":19.5,\"serial\":\"0001\",\"x\":1e5}");
			messages[i].time_us -= (i % 5) * 3000;
			states[i] = FG_OFFERED;
		}
		while (encode(ctx, messages, states, MAX_WINDOW) == 1)
			settle(ctx, wire.out.tag, 0, 1);
		for (unsigned i = 0; i < MAX_WINDOW; i++)
			assert_int_equal(states[i], FG_TAKEN);
	}
	assert_int_equal(n_allocations, before);
	fg_plugin.close(ctx);
}

static void every_failing_allocation_is_reported_and_leaves_nothing_behind(void **state)
{
	struct fg_message m =
		message(1, FG_PRESENCE, "pump 4", "{\"state\":\"up\",\"type\":\"p\"}");
	uint8_t offer;
	int r = -ENOMEM;

	(void)state;
	for (long n = 0; r != 1; n++) {
		void *ctx = NULL;

		assert_true(n < 20);
		offer = FG_OFFERED;
		fail_at = n;
		r = open_with(token_only, &ctx);
		if (r == 0) {
			begin_session(ctx, 0);
			r = encode(ctx, &m, &offer, 1);
			if (r < 0)
				assert_int_equal(offer, FG_OFFERED);
		}
		fail_at = -1;
		assert_true(r == 1 || r == -ENOMEM);
		fg_plugin.close(ctx);
	}
}

/* Asks for attributes and gives up nothing when memory is short. Returns what encode() returned. */
static int ask_with_failing_allocations(void *ctx, long n)
{
	static const char half[] = "{\"id\":1,\"device\":\"pump 4\",\"value\":[1]}";
	static const char other[] = "{\"id\":2,\"device\":\"pump 4\",\"values\":{}}";
	struct fg_message m =
		message(2, FG_REQUEST, "pump 4", "{\"client\":[\"a\"],\"shared\":[\"b\",\"c\"]}");
	uint8_t offer = FG_OFFERED;
	int r;

	m.stream = fg_span_str("attributes");
	m.ref = fg_span_str("r1");
	fail_at = n;
	r = encode(ctx, &m, &offer, 1);
	assert_true(r == 1 || (r == -ENOMEM && offer == FG_OFFERED));
	if (r == 1)
		settle(ctx, wire.out.tag, 0, 1);
	deliver(ctx, "v1/gateway/attributes/response", half);
	if (encode(ctx, NULL, NULL, 0) == 1)
		settle(ctx, wire.out.tag, 0, 0);
	deliver(ctx, "v1/gateway/attributes/response", other);
	fail_at = -1;
	return r;
}

static void a_question_without_memory_is_answered_all_the_same(void **state)
{
	unsigned before;

	(void)state;
	for (long n = 0; n < 8; n++) { /* more than it takes */
		void *ctx = NULL;

		assert_int_equal(open_with(token_only, &ctx), 0);
		begin_session(ctx, 0);
		announce(ctx, "pump 4");
		before = n_responses;
		if (ask_with_failing_allocations(ctx, n) == 1) {
			for (unsigned s = 0; s < 31; s++)
				pass_second(ctx);
			assert_int_equal(n_responses, before + 1);
		}
		fg_plugin.close(ctx);
	}
}

/* What becomes of a `down` behind a sample: (number, time) of both, and what the clock says. */
static uint8_t down_after_sample(uint64_t sample_seq, int64_t sample_us, uint64_t down_seq,
				 int64_t down_us, int64_t clock_us)
{
	struct fg_message m[] = {
		message(sample_seq, FG_TELEMETRY, "pump 4", "{\"p\":1}"),
		message(down_seq, FG_PRESENCE, "pump 4", "{\"state\":\"down\"}"),
	};
	int64_t before_us = now_us;
	uint8_t states[2] = {0};
	void *ctx = NULL;

	m[0].time_us = sample_us;
	m[1].time_us = down_us;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	announce(ctx, "pump 4");
	assert_int_equal(encode(ctx, m, states, 1), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 1), FG_ACCEPTED);
	now_us = clock_us;
	encode(ctx, m, states, 2);
	now_us = before_us;
	fg_plugin.close(ctx);
	return states[1];
}

static void an_older_presence_message_is_out_of_date(void **state)
{
	(void)state;
	assert_int_equal(down_after_sample(10, 1000, 9, 900, now_us), FG_NOTHING);
	assert_int_equal(down_after_sample(10, 1000, 11, 1100, now_us), FG_TAKEN);
}

static void neither_its_number_nor_its_time_alone_makes_a_presence_message_old(void **state)
{
	(void)state;
	/* The sample came in the other lane, which has numbers of its own. */
	assert_int_equal(down_after_sample(1000, 1000, 9, 1100, now_us), FG_TAKEN);
	/* The device's clock is ahead. */
	assert_int_equal(down_after_sample(10, now_us * 2, 11, 900, now_us), FG_TAKEN);
	/* The gateway's clock was ahead, and has been set back. */
	assert_int_equal(down_after_sample(10, now_us, 9, now_us / 2, now_us / 2), FG_TAKEN);
}

/* Offers one sample of @device until it is refused; returns how often the link had to wait. */
static unsigned pauses_until_given_up(void *ctx, const char *device)
{
	struct fg_message m = message(50, FG_TELEMETRY, device, "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	unsigned n = 0;

	while (encode(ctx, &m, &offer, 1) == 1) {
		assert_true(published_to("v1/gateway/connect"));
		assert_int_equal(offer, FG_OFFERED);
		assert_true(n < 100);
		if (settle(ctx, wire.out.tag, 0x97, 0) == FG_LATER)
			n++;
	}
	assert_int_equal(offer, FG_REFUSED);
	assert_non_null(strstr(last_reason, "0x97"));
	return n;
}

static void a_quota_of_devices_does_not_hold_the_link_for_ever(void **state)
{
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	announce(ctx, "pump 4");
	assert_int_equal(pauses_until_given_up(ctx, "new 1"), 4);
	assert_int_equal(pauses_until_given_up(ctx, "new 2"), 0);
	/* A new session is a new chance, but no new wait. */
	end_session(ctx);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1); /* pump 4 again */
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	assert_int_equal(pauses_until_given_up(ctx, "new 1"), 0);
	end_session(ctx);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	announce(ctx, "new 1");
	fg_plugin.close(ctx);
}

/* The server closes the connection after it has refused something for the rate. */
static void a_rate_limit_is_waited_for_as_long_as_it_takes(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "pump 4", "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	for (unsigned i = 0; i < 1000; i++) {
		begin_session(ctx, 0);
		assert_int_equal(encode(ctx, &m, &offer, 1), 1);
		assert_int_equal(settle(ctx, wire.out.tag, 0x97, 0), FG_LATER);
		end_session(ctx);
	}
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	/* What the server knows already is not a matter of how many it may know. */
	for (unsigned i = 0; i < 100; i++) {
		end_session(ctx);
		begin_session(ctx, 0);
		for (unsigned n = 0; n < 10; n++) {
			assert_int_equal(encode(ctx, &m, &offer, 1), 1);
			assert_int_equal(settle(ctx, wire.out.tag, 0x97, 0), FG_LATER);
		}
	}
	assert_int_equal(offer, FG_OFFERED);
	fg_plugin.close(ctx);
}

static void a_token_that_is_no_gateways_is_pointed_out(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "pump 4", "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	unsigned before = n_warnings;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	end_session(ctx);
	assert_int_equal(n_warnings, before + 1);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 0), FG_ACCEPTED);
	end_session(ctx);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	end_session(ctx);
	assert_int_equal(n_warnings, before + 1);
	fg_plugin.close(ctx);
}

static void a_late_acknowledgement_of_an_old_session_announces_nobody(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "pump 4", "{\"p\":1}");
	uint8_t offer = FG_OFFERED;
	void *ctx = NULL;
	uint64_t tag;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	tag = wire.out.tag;
	end_session(ctx);
	begin_session(ctx, 0);
	settle(ctx, tag, 0, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	assert_true(published_to("v1/gateway/connect"));
	settle(ctx, tag, 0, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 0);
	fg_plugin.close(ctx);
}

static void a_renamed_device_takes_its_own_place_in_a_full_table(void **state)
{
	const struct setting settings[] = {
		{"access_token", "A1", 0}, {"max_devices", NULL, 1}, {0}};
	struct fg_message m =
		message(1, FG_PRESENCE, "pump 4", "{\"state\":\"up\",\"type\":\"pump\"}");
	uint8_t offer = FG_OFFERED;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(settings, &ctx), 0);
	begin_session(ctx, 0);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	assert_int_equal(settle(ctx, wire.out.tag, 0, 1), FG_ACCEPTED);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 0);
	assert_int_equal(deliver(ctx, "v1/devices/me/rpc/request/7",
				 "{\"method\":\"gateway_device_renamed\","
				 "\"params\":{\"pump 4\":\"north pump\"}}"),
			 0);
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	assert_true(published_to("v1/devices/me/rpc/response/7"));
	assert_int_equal(encode(ctx, NULL, NULL, 0), 1);
	assert_true(published_to("v1/gateway/connect"));
	wire.payload[wire.out.payload_len] = '\0';
	assert_string_equal(wire.payload, "{\"device\":\"north pump\",\"type\":\"pump\"}");
	fg_plugin.close(ctx);
}

static void announcements_and_data_take_turns_after_a_new_session(void **state)
{
	struct fg_message messages[8];
	uint8_t states[8];
	unsigned n_connects = 0, n_data = 0;
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(token_only, &ctx), 0);
	begin_session(ctx, 0);
	for (unsigned i = 0; i < 20; i++)
		announce(ctx, device_names[i]);
	end_session(ctx);
	begin_session(ctx, 0);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 8; i++) {
			messages[i] =
				message(100 + round, FG_TELEMETRY, device_names[0], "{\"p\":1}");
			states[i] = FG_OFFERED;
		}
		assert_int_equal(encode(ctx, messages, states, 8), 1);
		if (published_to("v1/gateway/connect"))
			n_connects++;
		else
			n_data++;
		settle(ctx, wire.out.tag, 0, 0);
	}
	assert_int_equal(n_connects, 20);
	assert_int_equal(n_data, 20);
	fg_plugin.close(ctx);
}

static void a_host_with_too_small_a_buffer_is_told_so(void **state)
{
	struct fg_message m = message(1, FG_TELEMETRY, "me", "{\"p\":1}");
	const struct setting settings[] = {
		{"access_token", "A1", 0}, {"mode", NULL, 1}, {"shared_attributes", "", 0}, {0}};
	char small[8];
	uint8_t offer = FG_OFFERED;
	struct fg_batch batch = {.messages = &m,
				 .states = &offer,
				 .count = 1,
				 .max_take = 1,
				 .max_points = {SIZE_MAX, SIZE_MAX}};
	struct fg_publish out = {
		.topic = small, .topic_size = 8, .payload = small, .payload_size = 8};
	void *ctx = NULL;

	(void)state;
	assert_int_equal(open_with(settings, &ctx), 0);
	begin_session(ctx, 0);
	assert_int_equal(fg_plugin.encode(ctx, "", &batch, &out), 0);
	assert_int_equal(offer, FG_REFUSED);
	offer = FG_OFFERED;
	out.payload = wire.payload;
	out.payload_size = sizeof(wire.payload);
	assert_int_equal(fg_plugin.encode(ctx, "", &batch, &out), -EINVAL);
	fg_plugin.close(ctx);
}

/* ------------------------------------------------------------------ cost */

/* Not a test: prints what one sample costs, in batches of 400 over 40 devices. */
static int measure(void)
{
	static const char body[] = "{\"temperature\":21.53,\"humidity\":48,\"pressure\":1013.25,"
				   "\"running\":true,\"state\":\"idle\",\"n\":123456789}";
	const unsigned n_rounds = 2000, n = 400;
	struct fg_message messages[400];
	uint8_t states[400];
	struct timespec start, end;
	void *ctx = NULL;
	double ns;

	if (open_with(token_only, &ctx) < 0)
		return 1;
	begin_session(ctx, 0);
	for (unsigned i = 0; i < 40; i++)
		announce(ctx, device_names[i]);
	for (unsigned i = 0; i < n; i++)
		messages[i] = message(2 + i, FG_TELEMETRY, device_names[i * 7 % 40], body);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned round = 0; round < n_rounds; round++) {
		memset(states, FG_OFFERED, sizeof(states));
		if (encode(ctx, messages, states, n) != 1)
			return 1;
		settle(ctx, wire.out.tag, 0, n);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	ns = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
	printf("%zu-byte bodies, %u samples a publish: %.0f ns a sample\n", sizeof(body) - 1, n,
	       ns / n_rounds / n);
	fg_plugin.close(ctx);
	return 0;
}

/* ------------------------------------------------------------------ images */

static unsigned n_told;

static void image_told(void *host_ctx, struct fg_span device, enum fg_image_kind kind)
{
	(void)host_ctx;
	assert_true(device.size > 0 && kind == FG_IMAGE_FIRMWARE);
	n_told++;
}

/* What the plugin has to say of its own, as text. */
static int encode_own(void *ctx)
{
	int r = encode(ctx, NULL, NULL, 0);

	wire.payload[r > 0 ? wire.out.payload_len : 0] = '\0';
	return r;
}

static void *recalling;

static void image_tell(void *host_ctx)
{
	struct fg_image_progress p = {.title = fg_span_str("A"), .version = fg_span_str("2")};

	(void)host_ctx;
	for (p.state = FG_IMAGE_DOWNLOADING; p.state <= FG_IMAGE_UPDATED; p.state++) {
		p.device = fg_span_str(device_names[p.state]);
		fg_plugin.image_progress(recalling, &p);
	}
}

/* What goes on is told when it goes on: to tell of a device is to say that it is there. */
static void of_images_from_before_a_restart_only_the_end_is_told(void **state)
{
	(void)state;
	assert_int_equal(open_with(token_only, &recalling), 0);
	scripted_host.image_tell = image_tell;
	begin_session(recalling, 0);
	assert_int_equal(encode_own(recalling), 1);
	assert_true(published_to("v1/gateway/connect"));
	assert_non_null(strstr(wire.payload, "\\\"4\\\"")); /* FG_IMAGE_UPDATED, in quotes */
	settle(recalling, wire.out.tag, 0, 0);
	assert_int_equal(encode_own(recalling), 1);
	assert_non_null(strstr(wire.payload, "\"UPDATED\""));
	settle(recalling, wire.out.tag, 0, 0);
	assert_int_equal(encode_own(recalling), 0);
	end_session(recalling);
	begin_session(recalling, 0);
	while (encode_own(recalling) == 1) {
		assert_true(published_to("v1/gateway/connect"));
		settle(recalling, wire.out.tag, 0, 0);
	}
	fg_plugin.close(recalling);
}

static void where_each_image_stands_is_told_however_many_there_are(void **state)
{
	struct fg_image_progress p = {.title = fg_span_str("A"), .version = fg_span_str("2")};
	unsigned n_updated = 0, n_published = 0;
	void *ctx = NULL;

	(void)state;
	n_warnings = n_told = 0;
	assert_int_equal(open_with(token_only, &ctx), 0);
	scripted_host.image_told = image_told;
	begin_session(ctx, 0);
	for (unsigned i = 0; i < MAX_DEVICES; i++)
		announce(ctx, device_names[i]);
	for (p.state = FG_IMAGE_DOWNLOADING; p.state <= FG_IMAGE_UPDATED; p.state++)
		for (unsigned i = 0; i < MAX_DEVICES; i++) {
			p.device = fg_span_str(device_names[i]);
			fg_plugin.image_progress(ctx, &p);
		}
	while (encode_own(ctx) == 1) {
		assert_true(published_to("v1/gateway/telemetry"));
		n_updated += strstr(wire.payload, "\"UPDATED\"") != NULL;
		n_published++;
		settle(ctx, wire.out.tag, 0, 0);
	}
	assert_int_equal(n_updated, MAX_DEVICES);
	assert_int_equal(n_told, MAX_DEVICES);
	assert_int_equal(n_published, MAX_DEVICES); /* they were many from the start */
	assert_int_equal(n_warnings, 0);
	fg_plugin.close(ctx);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_known_device_costs_no_allocation),
		cmocka_unit_test(every_failing_allocation_is_reported_and_leaves_nothing_behind),
		cmocka_unit_test(a_question_without_memory_is_answered_all_the_same),
		cmocka_unit_test(an_older_presence_message_is_out_of_date),
		cmocka_unit_test(
			neither_its_number_nor_its_time_alone_makes_a_presence_message_old),
		cmocka_unit_test(a_quota_of_devices_does_not_hold_the_link_for_ever),
		cmocka_unit_test(a_rate_limit_is_waited_for_as_long_as_it_takes),
		cmocka_unit_test(a_token_that_is_no_gateways_is_pointed_out),
		cmocka_unit_test(a_late_acknowledgement_of_an_old_session_announces_nobody),
		cmocka_unit_test(a_renamed_device_takes_its_own_place_in_a_full_table),
		cmocka_unit_test(announcements_and_data_take_turns_after_a_new_session),
		cmocka_unit_test(of_images_from_before_a_restart_only_the_end_is_told),
		cmocka_unit_test(where_each_image_stands_is_told_however_many_there_are),
		cmocka_unit_test(a_host_with_too_small_a_buffer_is_told_so),
	};

	for (unsigned i = 0; i < MAX_DEVICES; i++)
		snprintf(device_names[i], sizeof(device_names[i]), "%s \"%u\"",
			 i % 2 ? "pump" : "fan in a hall", i);
	if (argc > 1 && strcmp(argv[1], "measure") == 0)
		return measure();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
