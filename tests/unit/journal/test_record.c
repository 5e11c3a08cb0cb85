#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/record.h"
#include "util/bytes.h"
#include "util/span.h"

#define SEED 0x12345678u

static struct fg_record full_record(void)
{
	return (struct fg_record){
		.seq = 77,
		.time_us = -5,
		.batch_index = 3,
		.kind = FG_COMMAND_RESPONSE,
		.time_quality = FG_TIME_UNSYNCHRONISED,
		.device = fg_span_str("pump-01"),
		.stream = fg_span_str("alerts"),
		.content_type = fg_span_str("text/plain"),
		.ref = fg_span_str("cmd-9"),
		.unsynchronised = fg_span_str("0123456789abcdefMONOTONI"),
		.body = fg_span_str("all is well"),
	};
}

static void record_comes_back_as_it_was(void **state)
{
	struct fg_record in = full_record(), out;
	uint8_t bytes[512];
	size_t size;

	(void)state;
	assert_int_equal(fg_record_size(&in), (int64_t)fg_record_encode(&in, SEED, bytes));
	size = fg_record_claimed_size(bytes);
	assert_true(fg_record_check(bytes, size, 77, SEED));
	assert_int_equal(fg_record_decode(bytes, size, &out), 0);
	assert_int_equal(out.seq, 77);
	assert_int_equal(out.time_us, -5);
	assert_int_equal(out.batch_index, 3);
	assert_int_equal(out.kind, FG_COMMAND_RESPONSE);
	assert_int_equal(out.time_quality, FG_TIME_UNSYNCHRONISED);
	assert_true(fg_span_equal(out.device, in.device));
	assert_true(fg_span_equal(out.stream, in.stream));
	assert_true(fg_span_equal(out.content_type, in.content_type));
	assert_true(fg_span_equal(out.ref, in.ref));
	assert_true(fg_span_equal(out.unsynchronised, in.unsynchronised));
	assert_true(fg_span_equal(out.body, in.body));
}

static void size_is_a_multiple_of_eight_for_every_body(void **state)
{
	struct fg_record r = {.seq = 1, .kind = 1, .device = fg_span_str("d")};
	uint8_t bytes[256];
	char body[64] = {1};

	(void)state;
	for (size_t size = 0; size < sizeof(body); size++) {
		r.body = fg_span_of(body, size);
		memset(bytes, 0xff, sizeof(bytes));
		assert_int_equal(fg_record_encode(&r, SEED, bytes) % 8, 0);
		assert_int_equal(fg_record_claimed_size(bytes), 33 + size);
		for (size_t i = 33 + size; i < fg_record_align(33 + size); i++)
			assert_int_equal(bytes[i], 0);
	}
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct fg_record in = full_record();
	uint8_t bytes[512];
	size_t size;

	(void)state;
	fg_record_encode(&in, SEED, bytes);
	size = fg_record_claimed_size(bytes);
	for (size_t i = 0; i < size * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_false(fg_record_check(bytes, sizeof(bytes), 77, SEED));
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_true(fg_record_check(bytes, size, 77, SEED));
	assert_false(fg_record_check(bytes, size, 78, SEED));
	assert_false(fg_record_check(bytes, size, 77, SEED + 1));
	assert_false(fg_record_check(bytes, size - 1, 77, SEED));
	assert_false(fg_record_check(bytes, 31, 77, SEED));
}

static void decoding_stops_at_the_end_of_what_is_there(void **state)
{
	struct fg_record in = full_record(), out;
	uint8_t bytes[512];
	size_t size;

	(void)state;
	fg_record_encode(&in, SEED, bytes);
	size = fg_record_claimed_size(bytes);
	for (size_t i = 0; i < size; i++) {
		/* An exact copy, so that a sanitizer sees a byte read too many. */
		uint8_t *copy = malloc(i + 1);

		assert_non_null(copy);
		memcpy(copy, bytes, i);
		if (i < size - in.body.size)
			assert_int_equal(fg_record_decode(copy, i, &out), -EBADMSG);
		else
			assert_int_equal(fg_record_decode(copy, i, &out), 0);
		free(copy);
	}
}

static void unknown_extensions_are_skipped(void **state)
{
	/* One extension of type 9 with 2 bytes, then a ref. */
	static const uint8_t parts[] = {'d', 2, 9, 2, 0xaa, 0xbb, 1, 3, 'r', 'e', 'f', '{', '}'};
	uint8_t bytes[64] = {0};
	struct fg_record out;

	(void)state;
	bytes[28] = FG_TELEMETRY;
	bytes[29] = FG_RECORD_FLAG_EXTENSIONS;
	bytes[30] = 1;
	memcpy(bytes + 32, parts, sizeof(parts));
	assert_int_equal(fg_record_decode(bytes, 32 + sizeof(parts), &out), 0);
	assert_true(fg_span_is(out.ref, "ref"));
	assert_true(fg_span_is(out.body, "{}"));
}

static void names_that_are_too_long_are_refused(void **state)
{
	static const char name[256] = {'n'};
	struct fg_record r = {.kind = 1};

	(void)state;
	r.device = fg_span_of(name, 255);
	assert_true(fg_record_size(&r) > 0);
	r.device = fg_span_of(name, 256);
	assert_int_equal(fg_record_size(&r), -EMSGSIZE);
	r.device = fg_span_str("d");
	r.ref = fg_span_of(name, 256);
	assert_int_equal(fg_record_size(&r), -EMSGSIZE);
	r.ref = fg_span_str("");
	r.body = fg_span_of(name, (size_t)1 << 30);
	assert_int_equal(fg_record_size(&r), -EMSGSIZE);
}

static void quarantined_message_comes_back_as_it_was(void **state)
{
	struct fg_quarantined in = {
		.link = fg_span_str("azure"),
		.reason = fg_span_str("value out of range"),
		.topic = fg_span_str("sensors/7/climate"),
		.device = fg_span_str("sensor-7"),
		.stream = fg_span_str("s"),
		.kind = FG_TELEMETRY,
		.time_quality = FG_TIME_GATEWAY,
		.time_us = 123456789,
		.attempts = 4,
		.lane = FG_LANE_ALARM,
		.content_type = fg_span_str("application/cbor"),
		.ref = fg_span_str("cmd-7"),
		.moment = fg_span_of("0123456789abcdef\0\1\2\3\4\5\6\7", FG_UNSYNCHRONISED_BYTES),
		.body = fg_span_str("{\"t\":1e999}"),
	};
	struct fg_quarantined out;
	struct fg_record r;
	uint8_t bytes[512];
	size_t size;

	(void)state;
	size = fg_quarantine_encode(&in, 5, 0, SEED, bytes, sizeof(bytes));
	assert_int_equal(size, fg_quarantine_size(&in));
	size = fg_record_claimed_size(bytes);
	assert_true(fg_record_check(bytes, size, 5, SEED));
	assert_int_equal(fg_record_decode(bytes, size, &r), 0);
	assert_int_equal(fg_quarantine_decode(&r, &out), 0);
	assert_true(fg_span_equal(out.link, in.link));
	assert_true(fg_span_equal(out.reason, in.reason));
	assert_true(fg_span_equal(out.topic, in.topic));
	assert_true(fg_span_equal(out.device, in.device));
	assert_true(fg_span_equal(out.stream, in.stream));
	assert_true(fg_span_equal(out.body, in.body));
	assert_int_equal(out.kind, FG_TELEMETRY);
	assert_int_equal(out.time_quality, FG_TIME_GATEWAY);
	assert_int_equal(out.time_us, 123456789);
	assert_int_equal(out.attempts, 4);
	assert_int_equal(out.whole_size, in.body.size);
	assert_int_equal(out.lane, FG_LANE_ALARM);
	assert_true(fg_span_equal(out.content_type, in.content_type));
	assert_true(fg_span_equal(out.ref, in.ref));
	assert_true(fg_span_equal(out.moment, in.moment));
	for (size_t i = 0; i < r.body.size - in.body.size; i++) {
		struct fg_record cut = r;

		cut.body.size = i;
		assert_int_equal(fg_quarantine_decode(&cut, &out), -EBADMSG);
	}
}

static void quarantined_texts_are_cut_between_characters(void **state)
{
	static char reason[2000];
	struct fg_quarantined in = {.body = fg_span_str("body")}, out;
	struct fg_record r;
	uint8_t bytes[2048];

	(void)state;
	/* Two-byte characters behind one single byte: the limit falls into the middle of one. */
	reason[0] = 'x';
	for (size_t i = 1; i + 1 < sizeof(reason); i += 2)
		memcpy(reason + i, "\xc3\xa9", 2);
	in.reason = fg_span_of(reason, sizeof(reason));
	assert_true(fg_quarantine_encode(&in, 1, 0, SEED, bytes, sizeof(bytes)) > 0);
	assert_int_equal(fg_record_decode(bytes, fg_record_claimed_size(bytes), &r), 0);
	assert_int_equal(fg_quarantine_decode(&r, &out), 0);
	assert_int_equal(out.reason.size, FG_QUARANTINE_REASON_MAX - 1);
	assert_int_equal(out.whole_size, 4);
	/* Too little room: first the body is cut, and when not even the texts fit, nothing is
	 * written. */
	in.reason = fg_span_str("because");
	in.body = fg_span_str("a body of 23 characters");
	assert_int_equal(fg_quarantine_encode(&in, 1, 0, SEED, bytes, 70), 64);
	assert_int_equal(fg_record_decode(bytes, fg_record_claimed_size(bytes), &r), 0);
	assert_int_equal(fg_quarantine_decode(&r, &out), 0);
	assert_true(fg_span_is(out.body, "a body"));
	assert_int_equal(out.whole_size, 23);
	assert_int_equal(fg_quarantine_encode(&in, 1, 0, SEED, bytes, 56), 0);
}

static void settled_number_comes_back_as_it_was(void **state)
{
	uint8_t bytes[FG_SETTLED_BYTES];
	struct fg_record r;

	(void)state;
	fg_settled_encode(UINT64_MAX - 1, 9, 77, 2, SEED, bytes);
	assert_true(fg_record_check(bytes, sizeof(bytes), 9, SEED));
	assert_int_equal(fg_record_decode(bytes, fg_record_claimed_size(bytes), &r), 0);
	assert_int_equal(r.kind, FG_RECORD_KIND_SETTLED);
	assert_int_equal(r.time_us, 77);
	assert_int_equal(r.batch_index, 2);
	assert_int_equal(fg_settled_decode(&r), UINT64_MAX - 1);
	r.body.size = 7;
	assert_int_equal(fg_settled_decode(&r), 0);
	r.body.size = 8;
	r.kind = FG_RECORD_KIND_QUARANTINE;
	assert_int_equal(fg_settled_decode(&r), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_comes_back_as_it_was),
		cmocka_unit_test(size_is_a_multiple_of_eight_for_every_body),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(decoding_stops_at_the_end_of_what_is_there),
		cmocka_unit_test(unknown_extensions_are_skipped),
		cmocka_unit_test(names_that_are_too_long_are_refused),
		cmocka_unit_test(quarantined_message_comes_back_as_it_was),
		cmocka_unit_test(quarantined_texts_are_cut_between_characters),
		cmocka_unit_test(settled_number_comes_back_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
