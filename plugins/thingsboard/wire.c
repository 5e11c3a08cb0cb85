#include "wire.h"

#include <errno.h>

#include "model/json.h"

#define MAX_FIELD 536870911u /* 2^29 - 1 */

/* ------------------------------------------------------------------ writing */

struct tb_wire tb_wire_begin(char *buffer, size_t size)
{
	return (struct tb_wire){.start = buffer, .at = buffer, .end = buffer + size};
}

static size_t varint(char out[10], uint64_t value)
{
	size_t n = 0;

	for (; value > 0x7f; value >>= 7)
		out[n++] = (char)(value | 0x80);
	out[n++] = (char)value;
	return n;
}

static void put(struct tb_wire *wire, const void *bytes, size_t n)
{
	if (n > (size_t)(wire->end - wire->at))
		wire->is_full = true;
	if (wire->is_full || n == 0)
		return;
	memcpy(wire->at, bytes, n);
	wire->at += n;
}

static void put_number(struct tb_wire *wire, uint64_t value)
{
	char bytes[10];

	put(wire, bytes, varint(bytes, value));
}

static void put_tag(struct tb_wire *wire, uint32_t field, enum tb_wire_type type)
{
	put_number(wire, (uint64_t)field << 3 | type);
}

static void put_little_endian(struct tb_wire *wire, uint64_t bits, size_t n)
{
	char bytes[8];

	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(bits >> 8 * i);
	put(wire, bytes, n);
}

void tb_wire_put_varint(struct tb_wire *wire, uint32_t field, uint64_t value)
{
	put_tag(wire, field, TB_WIRE_VARINT);
	put_number(wire, value);
}

void tb_wire_put_fixed64(struct tb_wire *wire, uint32_t field, uint64_t bits)
{
	put_tag(wire, field, TB_WIRE_FIXED64);
	put_little_endian(wire, bits, 8);
}

void tb_wire_put_fixed32(struct tb_wire *wire, uint32_t field, uint32_t bits)
{
	put_tag(wire, field, TB_WIRE_FIXED32);
	put_little_endian(wire, bits, 4);
}

void tb_wire_put_double(struct tb_wire *wire, uint32_t field, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	tb_wire_put_fixed64(wire, field, bits);
}

void tb_wire_put_bytes(struct tb_wire *wire, uint32_t field, struct fg_span bytes)
{
	put_tag(wire, field, TB_WIRE_BYTES);
	put_number(wire, bytes.size);
	put(wire, bytes.data, bytes.size);
}

void tb_wire_put_unescaped(struct tb_wire *wire, uint32_t field, struct fg_span raw)
{
	char *opened;

	if (raw.size == 0 || !memchr(raw.data, '\\', raw.size)) {
		tb_wire_put_bytes(wire, field, raw);
		return;
	}
	opened = tb_wire_open(wire, field);
	if (raw.size > (size_t)(wire->end - wire->at))
		wire->is_full = true;
	if (!wire->is_full)
		wire->at += fg_json_unescape(raw, wire->at);
	tb_wire_close(wire, opened);
}

char *tb_wire_open(struct tb_wire *wire, uint32_t field)
{
	put_tag(wire, field, TB_WIRE_BYTES);
	put(wire, "", 1); /* room for the size, if it is below 128 */
	return wire->at;
}

void tb_wire_close(struct tb_wire *wire, char *opened)
{
	char size[10];
	size_t n, n_more;

	if (wire->is_full)
		return;
	n = (size_t)(wire->at - opened);
	n_more = varint(size, n) - 1;
	if (n_more > (size_t)(wire->end - wire->at)) {
		wire->is_full = true;
		return;
	}
	memmove(opened + n_more, opened, n);
	memcpy(opened - 1, size, 1 + n_more);
	wire->at += n_more;
}

/* ------------------------------------------------------------------ reading */

static bool take_varint(struct fg_span *in, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && in->size > 0; shift += 7) {
		unsigned char byte = (unsigned char)*in->data;

		in->data++;
		in->size--;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

static bool take_fixed(struct fg_span *in, size_t n, uint64_t *ret)
{
	if (in->size < n)
		return false;
	*ret = 0;
	for (size_t i = 0; i < n; i++)
		*ret |= (uint64_t)(unsigned char)in->data[i] << 8 * i;
	in->data += n;
	in->size -= n;
	return true;
}

static bool take_bytes(struct fg_span *in, struct fg_span *ret)
{
	uint64_t n;

	if (!take_varint(in, &n) || n > in->size)
		return false;
	*ret = fg_span_of(in->data, (size_t)n);
	in->data += n;
	in->size -= (size_t)n;
	return true;
}

int tb_wire_take(struct fg_span *in, enum tb_wire_type type, struct tb_wire_field *ret)
{
	bool is_good = false;

	*ret = (struct tb_wire_field){.type = type};
	switch (type) {
	case TB_WIRE_VARINT:
		is_good = take_varint(in, &ret->bits);
		break;
	case TB_WIRE_FIXED64:
		is_good = take_fixed(in, 8, &ret->bits);
		break;
	case TB_WIRE_FIXED32:
		is_good = take_fixed(in, 4, &ret->bits);
		break;
	case TB_WIRE_BYTES:
		is_good = take_bytes(in, &ret->bytes);
		break;
	}
	return is_good ? 0 : -EPROTO;
}

int tb_wire_next(struct fg_span *message, struct tb_wire_field *ret)
{
	uint64_t tag;

	if (message->size == 0)
		return 0;
	if (!take_varint(message, &tag) || tag >> 3 == 0 || tag >> 3 > MAX_FIELD)
		return -EPROTO;
	if (tb_wire_take(message, (enum tb_wire_type)(tag & 7), ret) < 0)
		return -EPROTO;
	ret->number = (uint32_t)(tag >> 3);
	return 1;
}
