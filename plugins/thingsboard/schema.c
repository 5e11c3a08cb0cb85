#include "schema.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A message from the cloud that is nested deeper than this is no message of ours. */
#define MAX_DEPTH 16

const struct tb_schema_field *tb_schema_find(const struct tb_schema *schema, struct fg_span name)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		if (fg_json_name_is(name, fg_span_str(schema->fields[i].name)))
			return &schema->fields[i];
	return NULL;
}

/* ------------------------------------------------------------------ from JSON */

static struct fg_span inside(struct fg_json_value string)
{
	return fg_span_of(string.text.data + 1, string.text.size - 2);
}

/* A whole number within 64 bits, as it would be stored: negative ones in two's complement. */
static bool read_whole(struct fg_span text, uint64_t *ret, bool *ret_is_negative)
{
	uint64_t n = 0;
	size_t i = 0;

	*ret_is_negative = text.size > 0 && text.data[0] == '-';
	i += *ret_is_negative;
	for (; i < text.size; i++) {
		unsigned digit = (unsigned)(text.data[i] - '0');

		if (digit > 9 || n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	if (*ret_is_negative && n > (uint64_t)INT64_MAX + 1)
		return false;
	*ret = *ret_is_negative ? -n : n;
	return true;
}

/* The number ends where its container goes on, so strtod() stays inside. */
static double real_of(struct fg_json_value value)
{
	return strtod(value.text.data, NULL);
}

/* Returns false when @value is none that 64 bits, signed or not, can hold. */
static bool integer_of(struct fg_json_value value, uint64_t *ret, bool *ret_is_negative)
{
	double real;

	if (value.type == FG_JSON_INTEGER)
		return read_whole(value.text, ret, ret_is_negative);
	if (value.type != FG_JSON_REAL)
		return false;
	real = real_of(value);
	if (!(fabs(real) < 9007199254740993.) || real != trunc(real))
		return false; /* fractions, and what a double cannot tell from its neighbour */
	*ret = (uint64_t)(int64_t)real;
	*ret_is_negative = real < 0;
	return true;
}

static bool fits(uint64_t bits, bool is_negative, bool is_signed, unsigned width)
{
	if (is_negative)
		return is_signed && (int64_t)bits >= (width == 32 ? INT32_MIN : INT64_MIN);
	if (width == 32)
		return bits <= (is_signed ? (uint64_t)INT32_MAX : UINT32_MAX);
	return bits <= (is_signed ? (uint64_t)INT64_MAX : UINT64_MAX);
}

static uint64_t zigzag(uint64_t bits)
{
	return bits << 1 ^ (bits >> 63 ? UINT64_MAX : 0);
}

static bool write_integer(const struct tb_schema_field *f, struct fg_json_value value,
			  struct tb_wire *wire)
{
	bool is_negative;
	uint64_t bits;

	if (!integer_of(value, &bits, &is_negative))
		return false;
	switch (f->type) {
	case TB_FIELD_INT32:
	case TB_FIELD_SINT32:
	case TB_FIELD_SFIXED32:
		if (!fits(bits, is_negative, true, 32))
			return false;
		break;
	case TB_FIELD_UINT32:
	case TB_FIELD_FIXED32:
		if (!fits(bits, is_negative, false, 32))
			return false;
		break;
	case TB_FIELD_UINT64:
	case TB_FIELD_FIXED64:
		if (!fits(bits, is_negative, false, 64))
			return false;
		break;
	default:
		if (!fits(bits, is_negative, true, 64))
			return false;
	}
	if (f->type == TB_FIELD_FIXED32 || f->type == TB_FIELD_SFIXED32)
		tb_wire_put_fixed32(wire, f->number, (uint32_t)bits);
	else if (f->type == TB_FIELD_FIXED64 || f->type == TB_FIELD_SFIXED64)
		tb_wire_put_fixed64(wire, f->number, bits);
	else if (f->type == TB_FIELD_SINT32 || f->type == TB_FIELD_SINT64)
		tb_wire_put_varint(wire, f->number, zigzag(bits));
	else
		tb_wire_put_varint(wire, f->number, bits);
	return true;
}

static bool write_real(const struct tb_schema_field *f, struct fg_json_value value,
		       struct tb_wire *wire)
{
	float narrow;
	double real;
	uint32_t bits;

	if (value.type != FG_JSON_INTEGER && value.type != FG_JSON_REAL)
		return false;
	real = real_of(value);
	if (f->type == TB_FIELD_DOUBLE) {
		tb_wire_put_double(wire, f->number, real);
		return isfinite(real);
	}
	narrow = (float)real;
	memcpy(&bits, &narrow, sizeof(bits));
	tb_wire_put_fixed32(wire, f->number, bits);
	return true;
}

static bool write_enum(const struct tb_schema_field *f, struct fg_json_value value,
		       struct tb_wire *wire)
{
	const struct tb_schema_field *found;

	if (value.type != FG_JSON_STRING)
		return write_integer(
			&(struct tb_schema_field){.type = TB_FIELD_INT32, .number = f->number},
			value, wire);
	found = tb_schema_find(f->message, inside(value));
	if (found)
		tb_wire_put_varint(wire, f->number, (uint64_t)(int64_t)(int32_t)found->number);
	return found;
}

/* Numbers and truths are their own text. */
static bool write_text(const struct tb_schema_field *f, struct fg_json_value value,
		       struct tb_wire *wire)
{
	if (value.type == FG_JSON_OBJECT || value.type == FG_JSON_ARRAY)
		return false;
	if (value.type == FG_JSON_STRING)
		tb_wire_put_unescaped(wire, f->number, inside(value));
	else
		tb_wire_put_bytes(wire, f->number, value.text);
	return true;
}

/* Returns how many values were written; none adds to *@ret_dropped. */
static unsigned write_value(const struct tb_schema_field *f, struct fg_json_value value,
			    struct tb_wire *wire, unsigned *ret_dropped)
{
	bool is_good = false;
	unsigned n;
	char *opened;

	switch (f->type) {
	case TB_FIELD_DOUBLE:
	case TB_FIELD_FLOAT:
		is_good = write_real(f, value, wire);
		break;
	case TB_FIELD_BOOL:
		is_good = value.type == FG_JSON_TRUE || value.type == FG_JSON_FALSE;
		if (is_good)
			tb_wire_put_varint(wire, f->number, value.type == FG_JSON_TRUE);
		break;
	case TB_FIELD_STRING:
		is_good = write_text(f, value, wire);
		break;
	case TB_FIELD_JSON:
		tb_wire_put_bytes(wire, f->number, value.text);
		is_good = true;
		break;
	case TB_FIELD_ENUM:
		is_good = write_enum(f, value, wire);
		break;
	case TB_FIELD_MESSAGE:
		if (value.type != FG_JSON_OBJECT)
			break;
		opened = tb_wire_open(wire, f->number);
		n = tb_schema_write(f->message, value, wire, ret_dropped);
		tb_wire_close(wire, opened);
		return n;
	default:
		is_good = write_integer(f, value, wire);
	}
	*ret_dropped += !is_good;
	return is_good;
}

static unsigned write_member(const struct tb_schema_field *f, struct fg_json_value value,
			     struct tb_wire *wire, unsigned *ret_dropped)
{
	struct fg_json_member element;
	struct fg_json_walk walk;
	unsigned n = 0;

	if (!f->is_repeated)
		return write_value(f, value, wire, ret_dropped);
	if (value.type != FG_JSON_ARRAY) {
		++*ret_dropped;
		return 0;
	}
	fg_json_walk_begin(&walk, value);
	while (fg_json_walk_next(&walk, &element))
		n += write_value(f, element.value, wire, ret_dropped);
	return n;
}

unsigned tb_schema_write(const struct tb_schema *schema, struct fg_json_value object,
			 struct tb_wire *wire, unsigned *ret_dropped)
{
	const struct tb_schema_field *field;
	struct fg_json_member member;
	struct fg_json_walk walk;
	unsigned n = 0;

	fg_json_walk_begin(&walk, object);
	while (fg_json_walk_next(&walk, &member)) {
		if (member.value.type == FG_JSON_NULL)
			continue;
		field = tb_schema_find(schema, member.name);
		if (field)
			n += write_member(field, member.value, wire, ret_dropped);
		else
			++*ret_dropped;
	}
	return n;
}

/* ------------------------------------------------------------------ to JSON */

void tb_put_json_or_text(struct fg_text *text, struct fg_span value)
{
	struct fg_json_value json;
	struct fg_json_fault fault;

	if (fg_json_check(value, &json, &fault) == 0)
		fg_put_span(text, json.text);
	else
		fg_put_quoted(text, value);
}

void tb_put_double(struct fg_text *text, double value)
{
	char digits[32];

	if (!isfinite(value)) {
		fg_put(text, "null");
		return;
	}
	for (int n = 15; n <= 17; n++) {
		snprintf(digits, sizeof(digits), "%.*g", n, value);
		if (strtod(digits, NULL) == value)
			break;
	}
	fg_put(text, digits);
	if (!strpbrk(digits, ".e"))
		fg_put(text, ".0");
}

static enum tb_wire_type wire_type_of(const struct tb_schema_field *f)
{
	switch (f->type) {
	case TB_FIELD_DOUBLE:
	case TB_FIELD_FIXED64:
	case TB_FIELD_SFIXED64:
		return TB_WIRE_FIXED64;
	case TB_FIELD_FLOAT:
	case TB_FIELD_FIXED32:
	case TB_FIELD_SFIXED32:
		return TB_WIRE_FIXED32;
	case TB_FIELD_STRING:
	case TB_FIELD_JSON:
	case TB_FIELD_MESSAGE:
		return TB_WIRE_BYTES;
	default:
		return TB_WIRE_VARINT;
	}
}

static void put_unsigned(struct fg_text *text, uint64_t n)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	fg_put(text, digits);
}

static void put_enum(struct fg_text *text, const struct tb_schema *values, uint64_t bits)
{
	for (size_t i = 0; i < values->n_fields; i++)
		if (values->fields[i].number == (uint32_t)bits) {
			fg_put_quoted(text, fg_span_str(values->fields[i].name));
			return;
		}
	fg_put_number(text, (int32_t)bits);
}

static double real_from(const struct tb_schema_field *f, uint64_t bits)
{
	uint32_t low = (uint32_t)bits;
	double real;
	float narrow;

	memcpy(&real, &bits, sizeof(real));
	memcpy(&narrow, &low, sizeof(narrow));
	return f->type == TB_FIELD_FLOAT ? (double)narrow : real;
}

static int read_message(const struct tb_schema *schema, struct fg_span message,
			struct fg_text *text, unsigned depth);

static int read_value(const struct tb_schema_field *f, const struct tb_wire_field *in,
		      struct fg_text *text, unsigned depth)
{
	switch (f->type) {
	case TB_FIELD_DOUBLE:
	case TB_FIELD_FLOAT:
		tb_put_double(text, real_from(f, in->bits));
		return 0;
	case TB_FIELD_BOOL:
		fg_put(text, in->bits ? "true" : "false");
		return 0;
	case TB_FIELD_STRING:
		fg_put_quoted(text, in->bytes);
		return 0;
	case TB_FIELD_JSON:
		tb_put_json_or_text(text, in->bytes);
		return 0;
	case TB_FIELD_MESSAGE:
		return read_message(f->message, in->bytes, text, depth + 1);
	case TB_FIELD_ENUM:
		put_enum(text, f->message, in->bits);
		return 0;
	case TB_FIELD_UINT64:
	case TB_FIELD_FIXED64:
	case TB_FIELD_UINT32:
	case TB_FIELD_FIXED32:
		put_unsigned(text, in->bits);
		return 0;
	case TB_FIELD_SINT32:
	case TB_FIELD_SINT64:
		fg_put_number(text, (int64_t)(in->bits >> 1 ^ (in->bits & 1 ? UINT64_MAX : 0)));
		return 0;
	case TB_FIELD_INT32:
	case TB_FIELD_SFIXED32:
		fg_put_number(text, (int32_t)in->bits);
		return 0;
	default:
		fg_put_number(text, (int64_t)in->bits);
		return 0;
	}
}

/* Several numbers in one field, as proto3 packs them: @in->bytes. */
static int read_packed(const struct tb_schema_field *f, const struct tb_wire_field *in,
		       struct fg_text *text, const char **comma)
{
	struct fg_span rest = in->bytes;
	struct tb_wire_field one;
	int r;

	while (rest.size > 0) {
		r = tb_wire_take(&rest, wire_type_of(f), &one);
		if (r < 0)
			return r;
		fg_put(text, *comma);
		*comma = ",";
		read_value(f, &one, text, 0);
	}
	return 0;
}

/* Write what @message has for @f, if anything, as a member. */
static int read_field(const struct tb_schema_field *f, struct fg_span message, struct fg_text *text,
		      const char **comma, unsigned depth)
{
	struct tb_wire_field in, last = {0};
	const char *inner = "";
	int r;

	while ((r = tb_wire_next(&message, &in)) > 0) {
		bool is_packed = f->is_repeated && in.type == TB_WIRE_BYTES &&
				 wire_type_of(f) != TB_WIRE_BYTES;

		if (in.number != f->number)
			continue;
		if (in.type != wire_type_of(f) && !is_packed)
			return -EPROTO;
		if (last.number == 0) {
			fg_put(text, *comma);
			fg_put_quoted(text, fg_span_str(f->name));
			fg_put(text, f->is_repeated ? ":[" : ":");
			*comma = ",";
		}
		last = in;
		if (is_packed) {
			r = read_packed(f, &in, text, &inner);
		} else if (f->is_repeated) {
			fg_put(text, inner);
			inner = ",";
			r = read_value(f, &in, text, depth);
		}
		if (r < 0)
			return r;
	}
	if (r == 0 && last.number > 0 && f->is_repeated)
		fg_put(text, "]");
	else if (r == 0 && last.number > 0)
		r = read_value(f, &last, text, depth);
	return r;
}

static int read_message(const struct tb_schema *schema, struct fg_span message,
			struct fg_text *text, unsigned depth)
{
	const char *comma = "";
	int r = depth > MAX_DEPTH ? -EPROTO : 0;

	fg_put(text, "{");
	for (size_t i = 0; i < schema->n_fields && r == 0; i++)
		r = read_field(&schema->fields[i], message, text, &comma, depth);
	fg_put(text, "}");
	return r;
}

int tb_schema_read(const struct tb_schema *schema, struct fg_span message, struct fg_text *text)
{
	return read_message(schema, message, text, 0);
}
