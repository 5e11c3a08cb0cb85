#include "cloud.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Uplinks of a protobuf profile, rewritten as the JSON that says the same: one set of rules then judges
 * both. The wire format is the one of protobuf.dev/programming-guides/encoding; field numbers are those
 * of the server's transport.proto and queue.proto, and of the schemas its user interface starts with.
 */
#define MAX_VARINT_SHIFT 63 /* ten bytes carry 64 bits */

enum wire_type {
	VARINT = 0,
	FIXED64 = 1,
	BYTES = 2,
	FIXED32 = 5,
};

struct span {
	const unsigned char *at, *end;
};

struct field {
	uint32_t number;
	enum wire_type type;
	uint64_t value;    /* VARINT, FIXED64, FIXED32 */
	struct span bytes; /* BYTES */
};

static bool read_varint(struct span *in, uint64_t *ret)
{
	uint64_t value = 0;
	int shift;

	for (shift = 0; shift <= MAX_VARINT_SHIFT && in->at < in->end; shift += 7) {
		value |= (uint64_t)(*in->at & 0x7f) << shift;
		if (!(*in->at++ & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

static bool read_fixed(struct span *in, int size, uint64_t *ret)
{
	int i;

	if (in->end - in->at < size)
		return false;
	*ret = 0;
	for (i = 0; i < size; i++)
		*ret |= (uint64_t)*in->at++ << (8 * i);
	return true;
}

/* 1: a field, 0: the end, -1: malformed. */
static int read_field(struct span *in, struct field *ret)
{
	uint64_t tag, size;

	if (in->at == in->end)
		return 0;
	if (!read_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
		return -1;
	ret->number = (uint32_t)(tag >> 3);
	ret->type = (enum wire_type)(tag & 7);
	switch (ret->type) {
	case VARINT:
		return read_varint(in, &ret->value) ? 1 : -1;
	case FIXED64:
		return read_fixed(in, 8, &ret->value) ? 1 : -1;
	case FIXED32:
		return read_fixed(in, 4, &ret->value) ? 1 : -1;
	case BYTES:
		if (!read_varint(in, &size) || size > (uint64_t)(in->end - in->at))
			return -1;
		ret->bytes.at = in->at;
		ret->bytes.end = in->at += size;
		return 1;
	default:
		return -1;
	}
}

/* ---- values */

static struct json_object *text_of(const struct span *bytes)
{
	return json_object_new_string_len((const char *)bytes->at, (int)(bytes->end - bytes->at));
}

static struct json_object *double_of(uint64_t bits)
{
	char text[40];
	double value;
	int digits;

	memcpy(&value, &bits, sizeof(value));
	for (digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	if (!strpbrk(text, ".eni"))
		strcat(text, ".0");
	return json_object_new_double_s(value, text);
}

/* Text that should be JSON; as text if it is not. */
static struct json_object *json_of(const struct span *bytes)
{
	size_t size = (size_t)(bytes->end - bytes->at);
	struct json_object *value = tb_payload_parse((const char *)bytes->at, size);

	if (value || (size == 4 && memcmp(bytes->at, "null", 4) == 0))
		return value;
	return text_of(bytes);
}

/* ---- messages that are flat: a table says what each field becomes */

enum becomes {
	TEXT,
	LONG,
	FLAG,
	DOUBLE,
	JSON,
	TEXTS, /* repeated */
	INNER, /* a message, described by the next table */
};

struct rule {
	uint32_t number;
	const char *name;
	enum becomes becomes;
};

static bool fits(const struct field *field, enum becomes becomes)
{
	switch (becomes) {
	case LONG:
	case FLAG:
		return field->type == VARINT;
	case DOUBLE:
		return field->type == FIXED64;
	case TEXT:
	case JSON:
	case TEXTS:
	case INNER:
	default:
		return field->type == BYTES;
	}
}

static struct json_object *flat(struct span in, const struct rule *rules, const struct rule *inner)
{
	struct json_object *object = json_object_new_object(), *value, *list;
	const struct rule *rule;
	struct field field;
	int r;

	while ((r = read_field(&in, &field)) > 0) {
		for (rule = rules; rule->name && rule->number != field.number; rule++)
			;
		if (!rule->name)
			continue;
		if (!fits(&field, rule->becomes))
			goto malformed;
		switch (rule->becomes) {
		case LONG:
			value = json_object_new_int64((int64_t)field.value);
			break;
		case FLAG:
			value = json_object_new_boolean(field.value != 0);
			break;
		case DOUBLE:
			value = double_of(field.value);
			break;
		case JSON:
			value = json_of(&field.bytes);
			break;
		case TEXTS:
			if (!json_object_object_get_ex(object, rule->name, &list)) {
				list = json_object_new_array();
				json_object_object_add(object, rule->name, list);
			}
			json_object_array_add(list, text_of(&field.bytes));
			continue;
		case INNER:
			value = flat(field.bytes, inner, NULL);
			if (!value)
				goto malformed;
			break;
		case TEXT:
		default:
			value = text_of(&field.bytes);
			break;
		}
		json_object_object_add(object, rule->name, value);
	}
	if (r == 0)
		return object;
malformed:
	json_object_put(object);
	return NULL;
}

/* What proto3 leaves out because it is zero. */
static void add_default(struct json_object *object, const char *name, struct json_object *value)
{
	if (!object || json_object_object_get_ex(object, name, NULL))
		json_object_put(value);
	else
		json_object_object_add(object, name, value);
}

/* ---- KeyValueProto {1 key, 2 type, 3 bool_v, 4 long_v, 5 double_v, 6 string_v, 7 json_v} */

static bool add_key_value(struct json_object *values, struct span in)
{
	static const struct rule rules[] = {
		{1, "key", TEXT}, {2, "type", LONG}, {3, "0", FLAG}, {4, "1", LONG},
		{5, "2", DOUBLE}, {6, "3", TEXT},    {7, "4", TEXT}, {0, NULL, TEXT},
	};
	struct json_object *kv = flat(in, rules, NULL), *value = NULL;
	const char *key = tb_member(kv, "key"), *text;
	int64_t type = json_object_get_int64(json_object_object_get(kv, "type"));
	bool is_good = key && key[0];

	switch (is_good ? type : -1) {
	case 0:
		value = json_object_new_boolean(
			json_object_get_boolean(json_object_object_get(kv, "0")));
		break;
	case 1:
		value = json_object_new_int64(
			json_object_get_int64(json_object_object_get(kv, "1")));
		break;
	case 2:
		value = json_object_get(json_object_object_get(kv, "2"));
		if (!value)
			value = double_of(0);
		break;
	case 3:
		text = tb_member(kv, "3");
		is_good = text && text[0];
		value = json_object_get(json_object_object_get(kv, "3"));
		break;
	case 4:
		text = tb_member(kv, "4");
		value = text ? tb_payload_parse(text, strlen(text)) : NULL;
		is_good = value;
		break;
	default:
		is_good = false;
	}
	if (is_good)
		json_object_object_add(values, key, value);
	json_object_put(kv);
	return is_good;
}

/* The repeated field @number of KeyValueProto; an empty list is an error. */
static struct json_object *key_values(struct span in, uint32_t number)
{
	struct json_object *values = json_object_new_object();
	struct field field;
	int r;

	while ((r = read_field(&in, &field)) > 0) {
		if (field.number == number &&
		    (field.type != BYTES || !add_key_value(values, field.bytes))) {
			r = -1;
			break;
		}
	}
	if (r == 0 && json_object_object_length(values) > 0)
		return values;
	json_object_put(values);
	return NULL;
}

/* TsKvListProto {1 int64 ts, repeated 2 KeyValueProto}; time 0 is the server's. */
static struct json_object *sample(struct span in)
{
	static const struct rule rules[] = {{1, "ts", LONG}, {0, NULL, TEXT}};
	struct json_object *values = key_values(in, 2), *stamped;

	if (!values)
		return NULL;
	stamped = flat(in, rules, NULL);
	if (stamped && json_object_get_int64(json_object_object_get(stamped, "ts")) == 0) {
		json_object_put(stamped);
		return values;
	}
	if (!stamped) {
		json_object_put(values);
		return NULL;
	}
	json_object_object_add(stamped, "values", values);
	return stamped;
}

/* PostTelemetryMsg {repeated 1 TsKvListProto}, appended to @samples. */
static bool add_samples(struct json_object *samples, struct span in)
{
	struct json_object *one;
	struct field field;
	int n = 0, r;

	while ((r = read_field(&in, &field)) > 0) {
		if (field.number != 1)
			continue;
		one = field.type == BYTES ? sample(field.bytes) : NULL;
		if (!one)
			return false;
		json_object_array_add(samples, one);
		n++;
	}
	return r == 0 && n > 0;
}

/* ---- messages of the gateway API that name several devices */

/* {1 deviceName, @number message}: adds what the message says under the device's name. */
static bool add_device(struct json_object *root, struct span in, uint32_t number,
		       bool (*add)(struct json_object *root, const char *name, struct span message))
{
	struct span message = {NULL, NULL};
	struct json_object *name = NULL;
	struct field field;
	bool is_good;
	int r;

	while ((r = read_field(&in, &field)) > 0) {
		if (field.number == 1 && field.type == BYTES) {
			json_object_put(name);
			name = text_of(&field.bytes);
		} else if (field.number == number && field.type == BYTES) {
			message = field.bytes;
		}
	}
	is_good = r == 0 && name && add(root, json_object_get_string(name), message);
	json_object_put(name);
	return is_good;
}

static struct json_object *by_device(struct span in, uint32_t number,
				     bool (*add)(struct json_object *root, const char *name,
						 struct span message))
{
	struct json_object *root = json_object_new_object();
	struct field field;
	int r;

	while ((r = read_field(&in, &field)) > 0) {
		if (field.number == 1 &&
		    (field.type != BYTES || !add_device(root, field.bytes, number, add))) {
			r = -1;
			break;
		}
	}
	if (r == 0 && json_object_object_length(root) > 0)
		return root;
	json_object_put(root);
	return NULL;
}

static bool add_telemetry(struct json_object *root, const char *name, struct span message)
{
	struct json_object *samples;

	if (!json_object_object_get_ex(root, name, &samples)) {
		samples = json_object_new_array();
		json_object_object_add(root, name, samples);
	}
	return add_samples(samples, message);
}

static bool add_attributes(struct json_object *root, const char *name, struct span message)
{
	struct json_object *values = key_values(message, 1);

	if (values)
		json_object_object_add(root, name, values);
	return values;
}

static const struct rule claim_rules[] = {
	{1, "secretKey", TEXT},
	{2, "durationMs", LONG},
	{0, NULL, TEXT},
};

static bool add_claim(struct json_object *root, const char *name, struct span message)
{
	struct json_object *claim = flat(message, claim_rules, NULL);

	if (claim)
		json_object_object_add(root, name, claim);
	return claim;
}

/* ---- what each topic carries */

static struct json_object *gateway_message(struct span in, const char *what)
{
	static const struct rule connect[] = {
		{1, "device", TEXT}, {2, "type", TEXT}, {0, NULL, TEXT}};
	static const struct rule request[] = {{1, "id", LONG},
					      {2, "device", TEXT},
					      {3, "client", FLAG},
					      {4, "keys", TEXTS},
					      {0, NULL, TEXT}};
	static const struct rule response[] = {
		{1, "device", TEXT}, {2, "id", LONG}, {3, "data", JSON}, {0, NULL, TEXT}};
	struct json_object *root;

	if (strcmp(what, "telemetry") == 0)
		return by_device(in, 3, add_telemetry);
	if (strcmp(what, "attributes") == 0)
		return by_device(in, 2, add_attributes);
	if (strcmp(what, "claim") == 0)
		return by_device(in, 2, add_claim);
	if (strcmp(what, "attributes/request") == 0) {
		root = flat(in, request, NULL);
		add_default(root, "id", json_object_new_int(0));
		add_default(root, "client", json_object_new_boolean(false));
		add_default(root, "keys", json_object_new_array());
		return root;
	}
	if (strcmp(what, "rpc") == 0) {
		root = flat(in, response, NULL);
		add_default(root, "id", json_object_new_int(0));
		return root;
	}
	return flat(in, connect, NULL); /* and disconnect; an unknown topic is judged as such */
}

static struct json_object *device_message(struct span in, enum tb_topic_kind kind)
{
	static const struct rule telemetry[] = {{1, "temperature", DOUBLE},
						{2, "humidity", DOUBLE},
						{3, "innerObject", INNER},
						{0, NULL, TEXT}};
	static const struct rule inner[] = {{1, "key1", TEXT},   {2, "key2", FLAG},
					    {3, "key3", DOUBLE}, {4, "key4", LONG},
					    {5, "key5", TEXT},   {0, NULL, TEXT}};
	static const struct rule attributes[] = {
		{1, "firmwareVersion", TEXT}, {2, "serialNumber", TEXT}, {0, NULL, TEXT}};
	static const struct rule request[] = {
		{1, "clientKeys", TEXT}, {2, "sharedKeys", TEXT}, {0, NULL, TEXT}};
	static const struct rule call[] = {
		{1, "method", TEXT}, {2, "params", JSON}, {0, NULL, TEXT}};
	static const struct rule response[] = {{1, "payload", TEXT}, {0, NULL, TEXT}};

	switch (kind) {
	case TB_TOPIC_TELEMETRY:
		return flat(in, telemetry, inner);
	case TB_TOPIC_ATTRIBUTES:
		return flat(in, attributes, NULL);
	case TB_TOPIC_ATTRIBUTES_REQUEST:
		return flat(in, request, NULL);
	case TB_TOPIC_CLIENT_RPC:
		return flat(in, call, NULL);
	case TB_TOPIC_CLAIM:
		return flat(in, claim_rules, NULL);
	case TB_TOPIC_RPC_RESPONSE:
		return flat(in, response, NULL);
	case TB_TOPIC_OTA_REQUEST:
	case TB_TOPIC_PROVISION:
	case TB_TOPIC_UNKNOWN:
	default:
		return NULL;
	}
}

char *tb_protobuf_to_json(const void *data, size_t size, const char *gateway_topic,
			  enum tb_topic_kind kind)
{
	struct span in = {data, (const unsigned char *)data + size};
	struct json_object *root;
	const char *text;
	char *copy;

	root = gateway_topic ? gateway_message(in, gateway_topic) : device_message(in, kind);
	if (!root)
		return NULL;
	if (!gateway_topic && kind == TB_TOPIC_RPC_RESPONSE)
		text = tb_member(root, "payload"); /* it is the reply itself */
	else
		text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN |
								    JSON_C_TO_STRING_NOSLASHESCAPE);
	copy = strdup(text ? text : "");
	json_object_put(root);
	return copy;
}
