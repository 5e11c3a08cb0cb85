#pragma once

/*
 * Protobuf messages whose fields a schema names, from JSON and to JSON. ThingsBoard reads such a
 * message as the JSON object with these names (proto3's JSON mapping), and so does this.
 *
 * A schema is one of the tables below, or comes from a file that protoc has compiled
 * (--descriptor_set_out). Integers keep their 64 bits, an enum is its name.
 */
#include "common/text.h"
#include "model/json.h"
#include "wire.h"

/** As in google/protobuf/descriptor.proto, FieldDescriptorProto.Type; and one of our own. */
enum tb_field_type {
	TB_FIELD_DOUBLE = 1,
	TB_FIELD_FLOAT = 2,
	TB_FIELD_INT64 = 3,
	TB_FIELD_UINT64 = 4,
	TB_FIELD_INT32 = 5,
	TB_FIELD_FIXED64 = 6,
	TB_FIELD_FIXED32 = 7,
	TB_FIELD_BOOL = 8,
	TB_FIELD_STRING = 9,
	TB_FIELD_MESSAGE = 11,
	TB_FIELD_UINT32 = 13,
	TB_FIELD_ENUM = 14,
	TB_FIELD_SFIXED32 = 15,
	TB_FIELD_SFIXED64 = 16,
	TB_FIELD_SINT32 = 17,
	TB_FIELD_SINT64 = 18,
	TB_FIELD_JSON = 64, /* a string that holds any JSON value */
};

struct tb_schema;

struct tb_schema_field {
	const char *name;
	uint32_t number;
	uint8_t type; /* enum tb_field_type */
	bool is_repeated;
	const struct tb_schema
		*message; /* TB_FIELD_MESSAGE; TB_FIELD_ENUM: its fields are the values */
};

struct tb_schema {
	const char *name;
	const struct tb_schema_field *fields;
	size_t n_fields;
};

/** The field called @name, whose escapes are as they stand in JSON; or NULL. */
const struct tb_schema_field *tb_schema_find(const struct tb_schema *schema, struct fg_span name);

/**
 * Write the members of @object that @schema has fields for. Returns how many values these are; adds
 * those it has no field for, or that their field cannot hold, to *@ret_dropped.
 */
unsigned tb_schema_write(const struct tb_schema *schema, struct fg_json_value object,
			 struct tb_wire *wire, unsigned *ret_dropped);

/**
 * Write @message as a JSON object; text that is not UTF-8 stays so. What the schema does not know is
 * passed over. Returns 0, or -EPROTO: it is no such message, or nested too deep. See text->is_full.
 */
int tb_schema_read(const struct tb_schema *schema, struct fg_span message, struct fg_text *text);

/** @value as a JSON value of its own if it is one, else as a string. */
void tb_put_json_or_text(struct fg_text *text, struct fg_span value);

/** The shortest text that says the same double, with a point; null for NaN and infinities. */
void tb_put_double(struct fg_text *text, double value);
