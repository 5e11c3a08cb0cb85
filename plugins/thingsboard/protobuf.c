#include "protobuf_internal.h"

#include <errno.h>
#include <stdlib.h>

/* JSON takes more room than protobuf: names, escapes, digits. What is beyond this is not taken. */
#define JSON_TIMES 4

#define FIELDS(list) list, sizeof(list) / sizeof(list[0])

/* ------------------------------------------------------------------ messages of a new profile */

static const struct tb_schema_field inner_fields[] = {
	{"key1", 1, TB_FIELD_STRING, false, NULL}, {"key2", 2, TB_FIELD_BOOL, false, NULL},
	{"key3", 3, TB_FIELD_DOUBLE, false, NULL}, {"key4", 4, TB_FIELD_INT32, false, NULL},
	{"key5", 5, TB_FIELD_STRING, false, NULL},
};
static const struct tb_schema inner = {"InnerObject", FIELDS(inner_fields)};

static const struct tb_schema_field telemetry_fields[] = {
	{"temperature", 1, TB_FIELD_DOUBLE, false, NULL},
	{"humidity", 2, TB_FIELD_DOUBLE, false, NULL},
	{"innerObject", 3, TB_FIELD_MESSAGE, false, &inner},
};
static const struct tb_schema telemetry = {"SensorDataReading", FIELDS(telemetry_fields)};

static const struct tb_schema_field attributes_fields[] = {
	{"firmwareVersion", 1, TB_FIELD_STRING, false, NULL},
	{"serialNumber", 2, TB_FIELD_STRING, false, NULL},
};
static const struct tb_schema attributes = {"SensorConfiguration", FIELDS(attributes_fields)};

static const struct tb_schema_field rpc_request_fields[] = {
	{"method", 1, TB_FIELD_STRING, false, NULL},
	{"requestId", 2, TB_FIELD_INT32, false, NULL},
	{"params", 3, TB_FIELD_JSON, false, NULL},
};
static const struct tb_schema rpc_request = {"RpcRequestMsg", FIELDS(rpc_request_fields)};

static const struct tb_schema_field rpc_response_fields[] = {
	{"payload", 1, TB_FIELD_JSON, false, NULL},
};
static const struct tb_schema rpc_response = {"RpcResponseMsg", FIELDS(rpc_response_fields)};

/* ------------------------------------------------------------------ fixed messages going up */

static const struct tb_schema_field connect_fields[] = {
	{"device", 1, TB_FIELD_STRING, false, NULL},
	{"type", 2, TB_FIELD_STRING, false, NULL},
};
static const struct tb_schema connect_message = {"ConnectMsg", FIELDS(connect_fields)};

/* One name is asked for as "key", several as "keys". */
static const struct tb_schema_field gateway_request_fields[] = {
	{"id", 1, TB_FIELD_INT32, false, NULL},    {"device", 2, TB_FIELD_STRING, false, NULL},
	{"client", 3, TB_FIELD_BOOL, false, NULL}, {"keys", 4, TB_FIELD_STRING, true, NULL},
	{"key", 4, TB_FIELD_STRING, false, NULL},
};
static const struct tb_schema gateway_request = {"GatewayAttributesRequestMsg",
						 FIELDS(gateway_request_fields)};

static const struct tb_schema_field gateway_response_fields[] = {
	{"device", 1, TB_FIELD_STRING, false, NULL},
	{"id", 2, TB_FIELD_INT32, false, NULL},
	{"data", 3, TB_FIELD_JSON, false, NULL},
};
static const struct tb_schema gateway_response = {"GatewayRpcResponseMsg",
						  FIELDS(gateway_response_fields)};

static const struct tb_schema_field request_fields[] = {
	{"clientKeys", 1, TB_FIELD_STRING, false, NULL},
	{"sharedKeys", 2, TB_FIELD_STRING, false, NULL},
};
static const struct tb_schema attributes_request = {"AttributesRequest", FIELDS(request_fields)};

static const struct tb_schema_field call_fields[] = {
	{"method", 1, TB_FIELD_STRING, false, NULL},
	{"params", 2, TB_FIELD_JSON, false, NULL},
};
static const struct tb_schema call = {"RpcRequest", FIELDS(call_fields)};

static const struct tb_schema_field claim_fields[] = {
	{"secretKey", 1, TB_FIELD_STRING, false, NULL},
	{"durationMs", 2, TB_FIELD_INT64, false, NULL},
};
static const struct tb_schema claim = {"ClaimDevice", FIELDS(claim_fields)};

/* ------------------------------------------------------------------ KeyValueProto and lists of it */

static enum kind kind_of(struct fg_json_value value, int64_t *ret_number)
{
	switch (value.type) {
	case FG_JSON_TRUE:
	case FG_JSON_FALSE:
		return KIND_BOOLEAN;
	case FG_JSON_INTEGER:
		errno = 0;
		*ret_number = strtoll(value.text.data, NULL, 10);
		/* As with JSON: beyond 64 bits the digits are kept as text. */
		return errno == 0 ? KIND_LONG : KIND_STRING;
	case FG_JSON_REAL:
		return KIND_DOUBLE;
	case FG_JSON_STRING:
		/* The server takes no empty string; "" as JSON it does. */
		return value.text.size > 2 ? KIND_STRING : KIND_JSON;
	default:
		return KIND_JSON;
	}
}

static void put_key_value(struct tb_wire *wire, uint32_t field, const struct fg_json_member *m)
{
	struct fg_span text = m->value.text;
	char *opened = tb_wire_open(wire, field);
	int64_t number = 0;
	enum kind kind = kind_of(m->value, &number);

	tb_wire_put_unescaped(wire, KV_KEY, m->name);
	if (kind != KIND_BOOLEAN)
		tb_wire_put_varint(wire, KV_TYPE, kind);
	switch (kind) {
	case KIND_BOOLEAN:
		tb_wire_put_varint(wire, KV_BOOLEAN, m->value.type == FG_JSON_TRUE);
		break;
	case KIND_LONG:
		tb_wire_put_varint(wire, KV_LONG, (uint64_t)number);
		break;
	case KIND_DOUBLE:
		tb_wire_put_double(wire, KV_DOUBLE, strtod(text.data, NULL));
		break;
	case KIND_STRING:
		if (m->value.type == FG_JSON_STRING)
			text = fg_span_of(text.data + 1, text.size - 2);
		tb_wire_put_unescaped(wire, KV_STRING, text);
		break;
	case KIND_JSON:
		tb_wire_put_bytes(wire, KV_JSON, text);
		break;
	}
	tb_wire_close(wire, opened);
}

static void put_key_values(struct tb_wire *wire, uint32_t field, struct fg_json_value object)
{
	struct fg_json_member member;
	struct fg_json_walk walk;

	fg_json_walk_begin(&walk, object);
	while (fg_json_walk_next(&walk, &member))
		put_key_value(wire, field, &member);
}

/* Is @sample {"ts":…,"values":{…}}? */
static bool is_stamped(struct fg_json_value sample, struct fg_json_value *ret_ts,
		       struct fg_json_value *ret_values)
{
	return fg_json_member(sample, fg_span_str("ts"), ret_ts) &&
	       ret_ts->type == FG_JSON_INTEGER &&
	       fg_json_member(sample, fg_span_str("values"), ret_values) &&
	       ret_values->type == FG_JSON_OBJECT;
}

/* PostTelemetryMsg: {1: [TsKvListProto {1: ts, 2: [KeyValueProto]}]} */
static void put_samples(struct tb_wire *wire, struct fg_json_value samples)
{
	struct fg_json_value ts, values;
	struct fg_json_member sample;
	struct fg_json_walk walk;

	fg_json_walk_begin(&walk, samples);
	while (fg_json_walk_next(&walk, &sample)) {
		char *opened = tb_wire_open(wire, 1);

		if (is_stamped(sample.value, &ts, &values))
			tb_wire_put_varint(wire, 1, (uint64_t)strtoll(ts.text.data, NULL, 10));
		else
			values = sample.value;
		put_key_values(wire, 2, values);
		tb_wire_close(wire, opened);
	}
}

/* {"pump 4":…}: a list of messages {1: name, @field: what it says}. */
static void put_devices(struct tb_wire *wire, enum tb_topic topic, struct fg_json_value root)
{
	uint32_t field = topic == TB_GATEWAY_TELEMETRY ? 3 : 2;
	unsigned ignored = 0;
	struct fg_json_member device;
	struct fg_json_walk walk;

	fg_json_walk_begin(&walk, root);
	while (fg_json_walk_next(&walk, &device)) {
		char *opened = tb_wire_open(wire, 1), *message;

		tb_wire_put_unescaped(wire, 1, device.name);
		message = tb_wire_open(wire, field);
		if (topic == TB_GATEWAY_TELEMETRY)
			put_samples(wire, device.value);
		else if (topic == TB_GATEWAY_ATTRIBUTES)
			put_key_values(wire, 1, device.value);
		else
			tb_schema_write(&claim, device.value, wire, &ignored);
		tb_wire_close(wire, message);
		tb_wire_close(wire, opened);
	}
}

/* ------------------------------------------------------------------ up */

/* A profile's telemetry has a time when its message has fields for that; else the values alone are
 * sent, and the server stamps them. */
static unsigned put_reading(const struct tb_protobuf *p, struct tb_wire *wire,
			    struct fg_json_value root, unsigned *ret_dropped)
{
	struct fg_json_value ts, values;

	if (is_stamped(root, &ts, &values) &&
	    !tb_schema_find(p->schemas[TB_MESSAGE_TELEMETRY], fg_span_str("values")))
		root = values;
	return tb_schema_write(p->schemas[TB_MESSAGE_TELEMETRY], root, wire, ret_dropped);
}

/* A reply is what the message says, or all of it is the message's only text. */
static void put_reply(const struct tb_protobuf *p, struct tb_wire *wire, struct fg_json_value root)
{
	const struct tb_schema *s = p->schemas[TB_MESSAGE_RPC_REPLY];
	unsigned ignored = 0;

	if (s->n_fields == 1 &&
	    (s->fields[0].type == TB_FIELD_JSON || s->fields[0].type == TB_FIELD_STRING))
		tb_wire_put_bytes(wire, s->fields[0].number, root.text);
	else if (root.type == FG_JSON_OBJECT)
		tb_schema_write(s, root, wire, &ignored);
}

static unsigned put_message(const struct tb_protobuf *p, enum tb_topic topic, struct tb_wire *wire,
			    struct fg_json_value root, unsigned *ret_dropped)
{
	switch (topic) {
	case TB_TELEMETRY:
		return put_reading(p, wire, root, ret_dropped);
	case TB_ATTRIBUTES:
		return tb_schema_write(p->schemas[TB_MESSAGE_ATTRIBUTES], root, wire, ret_dropped);
	case TB_ATTRIBUTES_REQUEST:
		tb_schema_write(&attributes_request, root, wire, ret_dropped);
		return 1;
	case TB_RPC_REQUEST:
		return tb_schema_write(&call, root, wire, ret_dropped);
	case TB_RPC_RESPONSE:
		put_reply(p, wire, root);
		return 1;
	case TB_CLAIM:
		tb_schema_write(&claim, root, wire, ret_dropped);
		return 1;
	case TB_GATEWAY_CONNECT:
	case TB_GATEWAY_DISCONNECT:
		return tb_schema_write(&connect_message, root, wire, ret_dropped);
	case TB_GATEWAY_ATTRIBUTES_REQUEST:
		return tb_schema_write(&gateway_request, root, wire, ret_dropped);
	case TB_GATEWAY_RPC:
		return tb_schema_write(&gateway_response, root, wire, ret_dropped);
	default:
		put_devices(wire, topic, root);
		return 1;
	}
}

bool tb_protobuf_carries(enum tb_topic topic)
{
	switch (topic) {
	case TB_TELEMETRY:
	case TB_ATTRIBUTES:
	case TB_ATTRIBUTES_REQUEST:
	case TB_ATTRIBUTES_RESPONSE:
	case TB_RPC_REQUEST:
	case TB_RPC_RESPONSE:
	case TB_CLAIM:
	case TB_GATEWAY_TELEMETRY:
	case TB_GATEWAY_ATTRIBUTES:
	case TB_GATEWAY_ATTRIBUTES_REQUEST:
	case TB_GATEWAY_ATTRIBUTES_RESPONSE:
	case TB_GATEWAY_RPC:
	case TB_GATEWAY_CLAIM:
	case TB_GATEWAY_CONNECT:
	case TB_GATEWAY_DISCONNECT:
		return true;
	default:
		return false;
	}
}

int tb_protobuf_up(struct tb_protobuf *p, enum tb_topic topic, char *payload, size_t *size,
		   size_t max, unsigned *ret_dropped)
{
	struct tb_wire wire = tb_wire_begin(payload, max);
	struct fg_json_value root;
	struct fg_json_fault fault;
	unsigned n;

	if (!tb_protobuf_carries(topic))
		return 0;
	if (*size >= p->json_size)
		return -EMSGSIZE;
	memcpy(p->json, payload, *size);
	p->json[*size] = '\0'; /* so that no number runs on */
	if (fg_json_check(fg_span_of(p->json, *size), &root, &fault) < 0)
		return -ENODATA;
	n = put_message(p, topic, &wire, root, ret_dropped);
	if (wire.is_full)
		return -EMSGSIZE;
	*size = (size_t)(wire.at - wire.start);
	return n > 0 ? 0 : -ENODATA;
}

/* ------------------------------------------------------------------ life */

int tb_protobuf_open(struct tb_protobuf *p, size_t max_packet_bytes)
{
	*p = (struct tb_protobuf){
		.schemas = {&telemetry, &attributes, &rpc_request, &rpc_response},
		.json_size = max_packet_bytes * JSON_TIMES,
	};
	p->json = malloc(p->json_size);
	return p->json ? 0 : -ENOMEM;
}

const char *tb_protobuf_use(struct tb_protobuf *p, struct fg_span file, const char *const names[4])
{
	const char *fault = "out of memory";

	if (tb_descriptors_new(file, &p->descriptors, &fault) < 0)
		return fault;
	for (unsigned i = 0; i < 4; i++) {
		const char *name = names[i] ? names[i] : p->schemas[i]->name;
		const struct tb_schema *found = tb_descriptors_find(p->descriptors, name);

		if (!found && names[i])
			return "the schema has no message of the name that telemetry_message, "
			       "attributes_message, rpc_request_message or rpc_response_message "
			       "says";
		if (found)
			p->schemas[i] = found;
	}
	/* Their texts are JSON, as in a new profile. */
	tb_descriptors_hold_json(p->descriptors, p->schemas[TB_MESSAGE_RPC], "params");
	return NULL;
}

void tb_protobuf_close(struct tb_protobuf *p)
{
	tb_descriptors_free(p->descriptors);
	free(p->json);
}
