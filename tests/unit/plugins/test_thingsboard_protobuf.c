#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scripted.h"
#include "thingsboard/protobuf.h"

#define MAX_WINDOW 2048

static const struct setting protobuf_only[] = {
	{"access_token", "A1", 0}, {"payload", "protobuf", 1}, {0}};

/* ------------------------------------------------------------------ the wire format */

static void a_size_of_any_length_is_written_in_front_of_its_message(void **state)
{
	static const size_t sizes[] = {0, 1, 127, 128, 300, 16383, 16384, 70000};
	static char buffer[80000], filler[70000];

	(void)state;
	memset(filler, 'x', sizeof(filler));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tb_wire w = tb_wire_begin(buffer, sizeof(buffer));
		char *opened = tb_wire_open(&w, 3);
		struct tb_wire_field outer, inner;
		struct fg_span in;

		tb_wire_put_bytes(&w, 1, fg_span_of(filler, sizes[i]));
		tb_wire_close(&w, opened);
		assert_false(w.is_full);
		in = fg_span_of(buffer, (size_t)(w.at - w.start));
		assert_int_equal(tb_wire_next(&in, &outer), 1);
		assert_int_equal(outer.number, 3);
		assert_int_equal(in.size, 0);
		assert_int_equal(tb_wire_next(&outer.bytes, &inner), 1);
		assert_int_equal(inner.bytes.size, sizes[i]);
		assert_memory_equal(inner.bytes.data, filler, sizes[i]);
	}
}

static void a_full_buffer_is_said_to_be_and_never_passed(void **state)
{
	char whole[64], guarded[65];
	size_t size;

	(void)state;
	for (size_t room = sizeof(whole); room <= sizeof(whole); room--) {
		struct tb_wire w = tb_wire_begin(guarded, room);
		char *opened;

		guarded[room] = '#';
		opened = tb_wire_open(&w, 1);
		tb_wire_put_unescaped(&w, 2, fg_span_str("a\\nb"));
		tb_wire_put_double(&w, 3, 1.5);
		tb_wire_close(&w, opened);
		if (room == sizeof(whole)) {
			size = (size_t)(w.at - w.start);
			assert_false(w.is_full);
		}
		assert_int_equal(guarded[room], '#');
		if (w.is_full)
			assert_true(room < size + 2); /* unescaping needs the room of the escapes */
	}
}

static void what_is_cut_or_has_no_field_is_no_message(void **state)
{
	static const char *bad[] = {
		"\x08", "\x0a\x05x", "\x09\x01\x02", "\x0d\x01",     "\x07\x01",
		"\x0b", "\x80",      "\x06",         "\x0a\xff\xff", "\xff\xff\xff\xff\x7f"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fg_span in = fg_span_str(bad[i]);
		struct tb_wire_field field;

		assert_int_equal(tb_wire_next(&in, &field), -EPROTO);
	}
}

/* ------------------------------------------------------------------ schemas */

static const struct tb_schema_field values[] = {{"OFF", 0, TB_FIELD_INT32, false, NULL},
						{"ON", 1, TB_FIELD_INT32, false, NULL}};
static const struct tb_schema mode = {"Mode", values, 2};
static struct tb_schema_field all_fields[20];
static const struct tb_schema all = {"All", all_fields, 18};

static int make_fields(void **state)
{
	static const struct {
		const char *name;
		enum tb_field_type type;
	} each[] = {{"double", TB_FIELD_DOUBLE},     {"float", TB_FIELD_FLOAT},
		    {"int64", TB_FIELD_INT64},       {"uint64", TB_FIELD_UINT64},
		    {"int32", TB_FIELD_INT32},       {"fixed64", TB_FIELD_FIXED64},
		    {"fixed32", TB_FIELD_FIXED32},   {"bool", TB_FIELD_BOOL},
		    {"string", TB_FIELD_STRING},     {"message", TB_FIELD_MESSAGE},
		    {"uint32", TB_FIELD_UINT32},     {"enum", TB_FIELD_ENUM},
		    {"sfixed32", TB_FIELD_SFIXED32}, {"sfixed64", TB_FIELD_SFIXED64},
		    {"sint32", TB_FIELD_SINT32},     {"sint64", TB_FIELD_SINT64},
		    {"json", TB_FIELD_JSON},         {"list", TB_FIELD_SINT32}};

	(void)state;
	for (uint32_t i = 0; i < all.n_fields; i++)
		all_fields[i] = (struct tb_schema_field){
			.name = each[i].name,
			.number = i + 10,
			.type = (uint8_t)each[i].type,
			.is_repeated = strcmp(each[i].name, "list") == 0,
			.message = each[i].type == TB_FIELD_ENUM ? &mode : &all,
		};
	return 0;
}

/* @json through @all and back; *@ret_dropped of it had no place. */
static const char *there_and_back(const char *json, unsigned *ret_dropped)
{
	static char message[4096], text[8192];
	struct tb_wire w = tb_wire_begin(message, sizeof(message));
	struct fg_text out = fg_text_begin(text, sizeof(text) - 1);
	struct fg_json_value object;
	struct fg_json_fault fault;

	*ret_dropped = 0;
	assert_int_equal(fg_json_check(fg_span_str(json), &object, &fault), 0);
	tb_schema_write(&all, object, &w, ret_dropped);
	assert_false(w.is_full);
	assert_int_equal(tb_schema_read(&all, fg_span_of(message, (size_t)(w.at - message)), &out),
			 0);
	assert_false(out.is_full);
	*out.at = '\0';
	return text;
}

static void every_type_comes_back_as_it_went(void **state)
{
	static const char *same[] = {
		"{\"double\":-1.5}",
		"{\"double\":42.0}",
		"{\"float\":0.5}",
		"{\"int64\":-9223372036854775808}",
		"{\"uint64\":18446744073709551615}",
		"{\"int32\":-2147483648}",
		"{\"fixed64\":18446744073709551615}",
		"{\"fixed32\":4294967295}",
		"{\"bool\":true}",
		"{\"bool\":false}",
		"{\"string\":\"a \\\"b\\\" \xc3\xa9\"}",
		"{\"uint32\":4294967295}",
		"{\"enum\":\"ON\"}",
		"{\"enum\":7}",
		"{\"sfixed32\":-2147483648}",
		"{\"sfixed64\":-9223372036854775808}",
		"{\"sint32\":-2147483648}",
		"{\"sint64\":-9223372036854775808}",
		"{\"json\":{\"a\":[1,2.5,\"x\"]}}",
		"{\"list\":[1,-2,3]}",
		"{\"message\":{\"message\":{\"int32\":1}}}",
		"{\"double\":1.5,\"bool\":true,\"string\":\"x\"}",
	};
	unsigned dropped;

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		assert_string_equal(there_and_back(same[i], &dropped), same[i]);
		assert_int_equal(dropped, 0);
	}
}

static void what_a_field_cannot_hold_is_left_out_and_counted(void **state)
{
	static const char *none[] = {
		"{\"int32\":2147483648}",
		"{\"int32\":1.5}",
		"{\"uint32\":-1}",
		"{\"uint64\":-1}",
		"{\"int64\":1e30}",
		"{\"bool\":1}",
		"{\"string\":{}}",
		"{\"message\":1}",
		"{\"enum\":\"MAYBE\"}",
		"{\"list\":1}",
		"{\"stranger\":1}",
		"{\"double\":\"1\"}",
		"{\"fixed32\":4294967296}",
		"{\"int64\":NaN}",
		"{\"uint64\":18446744073709551616}",
	};
	unsigned dropped;

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		assert_string_equal(there_and_back(none[i], &dropped), "{}");
		assert_int_equal(dropped, 1);
	}
	assert_string_equal(there_and_back("{\"int32\":3.0,\"string\":12,\"bool\":null}", &dropped),
			    "{\"int32\":3,\"string\":\"12\"}");
	assert_int_equal(dropped, 0);
}

static void packed_lists_are_read_and_the_last_of_several_values_counts(void **state)
{
	static const char message[] = "\xda\x01\x03\x02\x03\x06" /* list, packed: 1, -2, 3 */
				      "\x70\x01\x70\x02";        /* int32: 1, then 2 */
	struct fg_text text;
	char out[256];

	(void)state;
	text = fg_text_begin(out, sizeof(out) - 1);
	assert_int_equal(tb_schema_read(&all, fg_span_of(message, sizeof(message) - 1), &text), 0);
	*text.at = '\0';
	assert_string_equal(out, "{\"int32\":2,\"list\":[1,-2,3]}");
}

static void a_message_nested_without_end_is_refused(void **state)
{
	static char message[4096], out[1 << 16];
	size_t size = 0;
	struct fg_text text = fg_text_begin(out, sizeof(out));

	(void)state;
	for (; size < 1000; size += 4) {
		/* the size in two bytes, so that each level takes as many */
		message[sizeof(message) - size - 4] = (char)0x9a;
		message[sizeof(message) - size - 3] = 0x01;
		message[sizeof(message) - size - 2] = (char)(size | 0x80);
		message[sizeof(message) - size - 1] = (char)(size >> 7);
	}
	assert_int_equal(
		tb_schema_read(&all, fg_span_of(message + sizeof(message) - size, size), &text),
		-EPROTO);
}

/* ------------------------------------------------------------------ compiled schemas */

/* A field as protoc writes it: {name, number, label, type, type name}. */
static void describe(struct tb_wire *w, const char *name, uint32_t number, bool is_repeated,
		     unsigned type, const char *type_name)
{
	char *opened = tb_wire_open(w, 2);

	tb_wire_put_bytes(w, 1, fg_span_str(name));
	tb_wire_put_varint(w, 3, number);
	tb_wire_put_varint(w, 4, is_repeated ? 3 : 1);
	tb_wire_put_varint(w, 5, type);
	if (type_name)
		tb_wire_put_bytes(w, 6, fg_span_str(type_name));
	tb_wire_close(w, opened);
}

/* package plant; message Reading { double t = 1; repeated Part parts = 2; message Part { Mode mode = 1; }
 * enum Mode { OFF = 0; ON = 1; } } with one more field of @type. */
static struct fg_span compiled(unsigned type, const char *type_name)
{
	static char file[1024];
	struct tb_wire w = tb_wire_begin(file, sizeof(file));
	char *one = tb_wire_open(&w, 1), *message, *inner, *value;

	tb_wire_put_bytes(&w, 2, fg_span_str("plant"));
	message = tb_wire_open(&w, 4);
	tb_wire_put_bytes(&w, 1, fg_span_str("Reading"));
	describe(&w, "t", 1, false, TB_FIELD_DOUBLE, NULL);
	describe(&w, "parts", 2, true, TB_FIELD_MESSAGE, ".plant.Reading.Part");
	describe(&w, "more", 3, false, type, type_name);
	inner = tb_wire_open(&w, 3);
	tb_wire_put_bytes(&w, 1, fg_span_str("Part"));
	describe(&w, "mode", 1, false, TB_FIELD_ENUM, ".plant.Reading.Mode");
	tb_wire_close(&w, inner);
	inner = tb_wire_open(&w, 4);
	tb_wire_put_bytes(&w, 1, fg_span_str("Mode"));
	for (unsigned i = 0; i < 2; i++) {
		value = tb_wire_open(&w, 2);
		tb_wire_put_bytes(&w, 1, fg_span_str(i ? "ON" : "OFF"));
		tb_wire_put_varint(&w, 2, i);
		tb_wire_close(&w, value);
	}
	tb_wire_close(&w, inner);
	tb_wire_close(&w, message);
	tb_wire_close(&w, one);
	assert_false(w.is_full);
	return fg_span_of(file, (size_t)(w.at - file));
}

static void a_compiled_schema_names_what_goes_up(void **state)
{
	static const char *const names[4] = {"Reading"};
	char payload[256] = "{\"ts\":1,\"values\":{\"t\":1.5,\"parts\":[{\"mode\":\"ON\"},{}],"
			    "\"more\":7,\"other\":1}}";
	static const char expected[] = "\x09\0\0\0\0\0\0\xf8\x3f\x12\x02\x08\x01\x12\x00\x18\x07";
	size_t size = strlen(payload);
	unsigned dropped = 0;
	struct tb_protobuf p;

	(void)state;
	assert_int_equal(tb_protobuf_open(&p, 65536), 0);
	assert_null(tb_protobuf_use(&p, compiled(TB_FIELD_INT32, NULL), names));
	assert_int_equal(
		tb_protobuf_up(&p, TB_TELEMETRY, payload, &size, sizeof(payload), &dropped), 0);
	assert_int_equal(size, sizeof(expected) - 1);
	assert_memory_equal(payload, expected, size);
	assert_int_equal(dropped, 1);
	assert_ptr_not_equal(p.schemas[TB_MESSAGE_TELEMETRY], p.schemas[TB_MESSAGE_ATTRIBUTES]);
	assert_string_equal(p.schemas[TB_MESSAGE_RPC]->name, "RpcRequestMsg");
	tb_protobuf_close(&p);
}

static void a_schema_that_cannot_be_used_is_told_why(void **state)
{
	static const struct {
		unsigned type;
		const char *type_name, *fault;
	} bad[] = {{10, NULL, "bytes, group"},
		   {12, NULL, "bytes, group"},
		   {99, NULL, "bytes, group"},
		   {TB_FIELD_MESSAGE, ".plant.Missing", "--include_imports"},
		   {TB_FIELD_MESSAGE, ".plant.Reading.Mode", "--include_imports"},
		   {TB_FIELD_ENUM, NULL, "--include_imports"}};
	static const char *const stranger[4] = {"Strange"}, *const usual[4] = {NULL};
	struct tb_protobuf p;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(tb_protobuf_open(&p, 1024), 0);
		assert_non_null(
			strstr(tb_protobuf_use(&p, compiled(bad[i].type, bad[i].type_name), usual),
			       bad[i].fault));
		tb_protobuf_close(&p);
	}
	assert_int_equal(tb_protobuf_open(&p, 1024), 0);
	assert_non_null(
		strstr(tb_protobuf_use(&p, compiled(TB_FIELD_BOOL, NULL), stranger), "no message"));
	tb_protobuf_close(&p);
	assert_int_equal(tb_protobuf_open(&p, 1024), 0);
	assert_non_null(
		strstr(tb_protobuf_use(&p, fg_span_str("syntax = \"proto3\";"), usual), "protoc"));
	tb_protobuf_close(&p);
}

static void a_schema_that_is_cut_is_refused(void **state)
{
	struct fg_span whole = compiled(TB_FIELD_STRING, NULL);
	static const char *const names[4] = {"Reading"};

	(void)state;
	for (size_t n = 1; n < whole.size; n++) {
		char *cut = test_malloc(n); /* a sanitizer sees its end */
		struct tb_protobuf p;

		memcpy(cut, whole.data, n);
		assert_int_equal(tb_protobuf_open(&p, 1024), 0);
		assert_non_null(tb_protobuf_use(&p, fg_span_of(cut, n), names));
		tb_protobuf_close(&p);
		test_free(cut);
	}
}

/* ------------------------------------------------------------------ the plugin */

static void a_batch_fits_whatever_its_values_are_and_allocates_nothing(void **state)
{
	static const char *bodies[] = {"{\"a\":-1}", "{\"a\":-1,\"b\":-9,\"c\":1.5}",
				       "{\"a\":\"\"}", "{\"a\":[]}",
				       "{\"temperature\":21.5,\"on\":true}"};
	static struct fg_message messages[MAX_WINDOW];
	static uint8_t states[MAX_WINDOW];
	unsigned before;
	void *ctx;

	(void)state;
	assert_int_equal(open_with(protobuf_only, &ctx), 0);
	begin_session(ctx, 0);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(device_names[i], sizeof(device_names[i]), "p%u", i);
		announce(ctx, device_names[i]);
	}
	before = n_allocations;
	for (size_t b = 0; b < sizeof(bodies) / sizeof(bodies[0]); b++) {
		for (unsigned i = 0; i < MAX_WINDOW; i++) {
			messages[i] = message(1 + i, FG_TELEMETRY, device_names[i % 5], bodies[b]);
			messages[i].time_us = 1000 * (i % 2);
			states[i] = FG_OFFERED;
		}
		for (size_t n = 0; n < MAX_WINDOW;) {
			size_t taken = 0;

			assert_int_equal(encode(ctx, messages, states, MAX_WINDOW), 1);
			assert_true(wire.out.payload_len > 0);
			for (unsigned i = 0; i < MAX_WINDOW; i++) {
				assert_true(states[i] == FG_OFFERED || states[i] == FG_TAKEN ||
					    states[i] == FG_NOTHING);
				taken += states[i] == FG_TAKEN;
				states[i] = states[i] == FG_TAKEN ? FG_NOTHING : states[i];
			}
			assert_true(taken > 0);
			n += taken;
			settle(ctx, wire.out.tag, 0, taken);
		}
	}
	assert_int_equal(n_allocations, before);
	fg_plugin.close(ctx);
}

static void a_sample_that_fits_as_protobuf_alone_is_sent_and_a_larger_one_refused(void **state)
{
	static char body[70000];
	struct fg_message m;
	uint8_t offer = FG_OFFERED;
	void *ctx;

	(void)state;
	assert_int_equal(open_with(protobuf_only, &ctx), 0);
	begin_session(ctx, 0);
	announce(ctx, "pump 4");
	snprintf(body, sizeof(body), "{\"a\":\"%0*d\"}", 65000, 0);
	m = message(1, FG_TELEMETRY, "pump 4", body);
	assert_int_equal(encode(ctx, &m, &offer, 1), 1);
	assert_int_equal(offer, FG_TAKEN);
	assert_true(wire.out.payload_len > 65000);
	settle(ctx, wire.out.tag, 0, 1);
	snprintf(body, sizeof(body), "{\"a\":\"%0*d\"}", 65600, 0);
	m = message(2, FG_TELEMETRY, "pump 4", body);
	offer = FG_OFFERED;
	assert_int_equal(encode(ctx, &m, &offer, 1), 0);
	assert_int_equal(offer, FG_REFUSED);
	assert_non_null(strstr(last_reason, "too large"));
	fg_plugin.close(ctx);
}

static int count(void *arg, struct fg_span json)
{
	(void)json;
	++*(unsigned *)arg;
	return 0;
}

static void a_message_whose_json_would_be_too_large_is_nonsense(void **state)
{
	static char message[40000];
	struct tb_wire w = tb_wire_begin(message, sizeof(message));
	static char text[30000];
	struct tb_protobuf p;
	unsigned n = 0;
	char *opened, *kv;

	(void)state;
	memset(text, '\1', sizeof(text)); /* six bytes each in JSON */
	opened = tb_wire_open(&w, 1);
	kv = tb_wire_open(&w, 2);
	tb_wire_put_bytes(&w, 1, fg_span_str("key"));
	tb_wire_put_varint(&w, 2, 3);
	tb_wire_put_bytes(&w, 6, fg_span_of(text, sizeof(text)));
	tb_wire_close(&w, kv);
	tb_wire_close(&w, opened);
	assert_int_equal(tb_protobuf_open(&p, 65536), 0);
	assert_int_equal(tb_protobuf_down(&p, TB_ATTRIBUTES,
					  fg_span_of(message, (size_t)(w.at - message)), count, &n),
			 0);
	tb_protobuf_close(&p);
	assert_int_equal(n, 1);
	assert_int_equal(tb_protobuf_open(&p, 30000), 0);
	assert_int_equal(tb_protobuf_down(&p, TB_ATTRIBUTES,
					  fg_span_of(message, (size_t)(w.at - message)), count, &n),
			 -EPROTO);
	tb_protobuf_close(&p);
	assert_int_equal(n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_size_of_any_length_is_written_in_front_of_its_message),
		cmocka_unit_test(a_full_buffer_is_said_to_be_and_never_passed),
		cmocka_unit_test(what_is_cut_or_has_no_field_is_no_message),
		cmocka_unit_test(every_type_comes_back_as_it_went),
		cmocka_unit_test(what_a_field_cannot_hold_is_left_out_and_counted),
		cmocka_unit_test(packed_lists_are_read_and_the_last_of_several_values_counts),
		cmocka_unit_test(a_message_nested_without_end_is_refused),
		cmocka_unit_test(a_compiled_schema_names_what_goes_up),
		cmocka_unit_test(a_schema_that_cannot_be_used_is_told_why),
		cmocka_unit_test(a_schema_that_is_cut_is_refused),
		cmocka_unit_test(a_batch_fits_whatever_its_values_are_and_allocates_nothing),
		cmocka_unit_test(
			a_sample_that_fits_as_protobuf_alone_is_sent_and_a_larger_one_refused),
		cmocka_unit_test(a_message_whose_json_would_be_too_large_is_nonsense),
	};

	return cmocka_run_group_tests(tests, make_fields, NULL);
}
