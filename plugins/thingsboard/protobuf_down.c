#include "protobuf_internal.h"

#include <errno.h>

/* The last field @number of @message, of @type. Returns false when there is none. */
static bool find(struct fg_span message, uint32_t number, enum tb_wire_type type,
		 struct tb_wire_field *ret)
{
	struct tb_wire_field field;
	bool is_found = false;

	while (tb_wire_next(&message, &field) > 0)
		if (field.number == number && field.type == type) {
			*ret = field;
			is_found = true;
		}
	return is_found;
}

static bool find_bytes(struct fg_span message, uint32_t number, struct fg_span *ret)
{
	struct tb_wire_field field = {0};

	if (!find(message, number, TB_WIRE_BYTES, &field))
		return false;
	*ret = field.bytes;
	return true;
}

/* What proto3 leaves out is zero. */
static uint64_t find_bits(struct fg_span message, uint32_t number, enum tb_wire_type type)
{
	struct tb_wire_field field = {0};

	return find(message, number, type, &field) ? field.bits : 0;
}

/* KeyValueProto as the member of an object. */
static void read_key_value(struct fg_span kv, struct fg_text *text, const char **comma)
{
	struct fg_span key, value = {0};
	uint64_t bits;
	double real;

	if (!find_bytes(kv, KV_KEY, &key))
		return;
	fg_put(text, *comma);
	*comma = ",";
	fg_put_quoted(text, key);
	fg_put(text, ":");
	switch (find_bits(kv, KV_TYPE, TB_WIRE_VARINT)) {
	case KIND_BOOLEAN:
		fg_put(text, find_bits(kv, KV_BOOLEAN, TB_WIRE_VARINT) ? "true" : "false");
		return;
	case KIND_LONG:
		fg_put_number(text, (int64_t)find_bits(kv, KV_LONG, TB_WIRE_VARINT));
		return;
	case KIND_DOUBLE:
		bits = find_bits(kv, KV_DOUBLE, TB_WIRE_FIXED64);
		memcpy(&real, &bits, sizeof(real));
		tb_put_double(text, real);
		return;
	case KIND_JSON:
		find_bytes(kv, KV_JSON, &value);
		tb_put_json_or_text(text, value);
		return;
	default:
		find_bytes(kv, KV_STRING, &value);
		fg_put_quoted(text, value);
	}
}

/* The members that the TsKvProto {1: ts, 2: KeyValueProto} in field @number of @message make. */
static void read_key_values(struct fg_span message, uint32_t number, struct fg_text *text,
			    const char **comma)
{
	struct tb_wire_field field;
	struct fg_span kv;

	while (tb_wire_next(&message, &field) > 0)
		if (field.number == number && field.type == TB_WIRE_BYTES &&
		    find_bytes(field.bytes, 2, &kv))
			read_key_value(kv, text, comma);
}

/* ["a","b"]; returns how many. */
static unsigned read_names(struct fg_span message, uint32_t number, struct fg_text *text)
{
	struct tb_wire_field field;
	unsigned n = 0;

	fg_put(text, "[");
	while (tb_wire_next(&message, &field) > 0)
		if (field.number == number && field.type == TB_WIRE_BYTES) {
			fg_put(text, n++ > 0 ? "," : "");
			fg_put_quoted(text, field.bytes);
		}
	fg_put(text, "]");
	return n;
}

static bool is_sound(struct fg_span message)
{
	struct tb_wire_field field;
	int r;

	while ((r = tb_wire_next(&message, &field)) > 0)
		;
	return r == 0;
}

/* One call of deliver(): what stands around the JSON, and where it goes. */
struct telling {
	struct tb_protobuf *p;
	int (*deliver)(void *arg, struct fg_span json);
	void *arg;
	struct fg_text text;
};

static void begin(struct telling *t)
{
	t->text = fg_text_begin(t->p->json, t->p->json_size);
}

static int end(struct telling *t)
{
	return t->text.is_full ? -EPROTO : t->deliver(t->arg, fg_text_span(&t->text));
}

/* What an update says of @device, or of the connected one when that has no data. */
static void begin_update(struct telling *t, struct fg_span device)
{
	begin(t);
	if (!device.data)
		return;
	fg_put(&t->text, "{\"device\":");
	fg_put_quoted(&t->text, device);
	fg_put(&t->text, ",\"data\":");
}

static int end_update(struct telling *t, struct fg_span device)
{
	fg_put(&t->text, device.data ? "}" : "");
	return end(t);
}

/* AttributeUpdateNotificationMsg {1: [TsKvProto], 2: [deleted name]} */
static int tell_update(struct telling *t, struct fg_span device, struct fg_span message)
{
	const char *comma = "";
	int r = 0, deleted;

	if (!is_sound(message))
		return -EPROTO;
	begin_update(t, device);
	fg_put(&t->text, "{");
	read_key_values(message, 1, &t->text, &comma);
	fg_put(&t->text, "}");
	if (*comma)
		r = end_update(t, device);
	begin_update(t, device);
	fg_put(&t->text, "{\"deleted\":");
	if (read_names(message, 2, &t->text) == 0)
		return r;
	fg_put(&t->text, "}");
	deleted = end_update(t, device);
	return r < 0 ? r : deleted;
}

/* GetAttributeResponseMsg {1: id, 2: [client], 3: [shared]}; @device: for the gateway API. */
static int tell_answer(struct telling *t, struct fg_span device, struct fg_span message)
{
	const char *comma = "";

	if (!is_sound(message))
		return -EPROTO;
	begin(t);
	if (!device.data) {
		fg_put(&t->text, "{\"client\":{");
		read_key_values(message, 2, &t->text, &comma);
		fg_put(&t->text, "},\"shared\":{");
		comma = "";
		read_key_values(message, 3, &t->text, &comma);
		fg_put(&t->text, "}}");
		return end(t);
	}
	fg_put(&t->text, "{\"id\":");
	fg_put_number(&t->text, (int32_t)find_bits(message, 1, TB_WIRE_VARINT));
	fg_put(&t->text, ",\"device\":");
	fg_put_quoted(&t->text, device);
	fg_put(&t->text, ",\"values\":{");
	read_key_values(message, 2, &t->text, &comma);
	read_key_values(message, 3, &t->text, &comma);
	fg_put(&t->text, "}}");
	return end(t);
}

/* {1: id, 2: method, 3: params, 7: one-way} for @device. */
static int tell_command(struct telling *t, struct fg_span device, struct fg_span message)
{
	struct fg_span method = {0}, params = fg_span_str("null");

	if (!is_sound(message))
		return -EPROTO;
	find_bytes(message, 2, &method);
	find_bytes(message, 3, &params);
	begin_update(t, device);
	fg_put(&t->text, "{\"id\":");
	fg_put_number(&t->text, (int32_t)find_bits(message, 1, TB_WIRE_VARINT));
	fg_put(&t->text, ",\"method\":");
	fg_put_quoted(&t->text, method);
	fg_put(&t->text, ",\"params\":");
	tb_put_json_or_text(&t->text, params);
	fg_put(&t->text, find_bits(message, 7, TB_WIRE_VARINT) ? ",\"oneway\":true}" : "}");
	return end_update(t, device);
}

/* ToServerRpcResponseMsg {1: id, 2: payload, 3: error} */
static int tell_call_answer(struct telling *t, struct fg_span message)
{
	struct fg_span payload = fg_span_str("null"), error;

	if (!is_sound(message))
		return -EPROTO;
	begin(t);
	if (find_bytes(message, 3, &error) && error.size > 0) {
		fg_put(&t->text, "{\"error\":");
		fg_put_quoted(&t->text, error);
		fg_put(&t->text, "}");
		return end(t);
	}
	find_bytes(message, 2, &payload);
	tb_put_json_or_text(&t->text, payload);
	return end(t);
}

/* {1: device, 2: message} */
static int tell_of_device(struct telling *t, struct fg_span outer,
			  int (*tell)(struct telling *t, struct fg_span device,
				      struct fg_span message))
{
	struct fg_span device, message;

	if (!is_sound(outer) || !find_bytes(outer, 1, &device) || !find_bytes(outer, 2, &message))
		return -EPROTO;
	return tell(t, device, message);
}

int tb_protobuf_down(struct tb_protobuf *p, enum tb_topic topic, struct fg_span message,
		     int (*deliver)(void *arg, struct fg_span json), void *arg)
{
	const struct fg_span self = {0};
	struct telling t = {.p = p, .deliver = deliver, .arg = arg};
	int r;

	/* A profile may say that what comes down is JSON all the same. No message begins so: it would
	 * be a group. */
	if (!tb_protobuf_carries(topic) || (message.size > 0 && message.data[0] == '{'))
		return deliver(arg, message);
	switch (topic) {
	case TB_ATTRIBUTES:
		return tell_update(&t, self, message);
	case TB_ATTRIBUTES_RESPONSE:
		return tell_answer(&t, self, message);
	case TB_RPC_REQUEST:
		begin(&t);
		r = tb_schema_read(p->schemas[TB_MESSAGE_RPC], message, &t.text);
		return r < 0 ? r : end(&t);
	case TB_RPC_RESPONSE:
		return tell_call_answer(&t, message);
	case TB_GATEWAY_ATTRIBUTES:
		return tell_of_device(&t, message, tell_update);
	case TB_GATEWAY_ATTRIBUTES_RESPONSE:
		return tell_of_device(&t, message, tell_answer);
	case TB_GATEWAY_RPC:
		return tell_of_device(&t, message, tell_command);
	default:
		return -EPROTO;
	}
}
