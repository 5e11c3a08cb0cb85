#pragma once

/*
 * The wire format of protobuf (protobuf.dev/programming-guides/encoding), written into a buffer of
 * fixed size and read in place. Nothing is allocated. Once something did not fit nothing more is
 * written, so that one look at the end is enough.
 */
#include <stdbool.h>
#include <stdint.h>

#include "util/span.h"

enum tb_wire_type {
	TB_WIRE_VARINT = 0,
	TB_WIRE_FIXED64 = 1,
	TB_WIRE_BYTES = 2,
	TB_WIRE_FIXED32 = 5,
};

struct tb_wire {
	char *start, *at, *end;
	bool is_full;
};

struct tb_wire tb_wire_begin(char *buffer, size_t size);
void tb_wire_put_varint(struct tb_wire *wire, uint32_t field, uint64_t value);
void tb_wire_put_fixed64(struct tb_wire *wire, uint32_t field, uint64_t bits);
void tb_wire_put_fixed32(struct tb_wire *wire, uint32_t field, uint32_t bits);
void tb_wire_put_double(struct tb_wire *wire, uint32_t field, double value);
void tb_wire_put_bytes(struct tb_wire *wire, uint32_t field, struct fg_span bytes);

/** What the inside of a JSON string, @raw, says. */
void tb_wire_put_unescaped(struct tb_wire *wire, uint32_t field, struct fg_span raw);

/** A field with a message inside, which is what is written up to tb_wire_close(). */
char *tb_wire_open(struct tb_wire *wire, uint32_t field);
void tb_wire_close(struct tb_wire *wire, char *opened);

/** One field as it was read. */
struct tb_wire_field {
	uint32_t number;
	enum tb_wire_type type;
	uint64_t bits;        /* VARINT, FIXED64, FIXED32 */
	struct fg_span bytes; /* BYTES */
};

/**
 * Take the next field off the front of @message. Returns 1, 0 at the end, or -EPROTO when it is none
 * (groups, which nobody uses any more, are none either).
 */
int tb_wire_next(struct fg_span *message, struct tb_wire_field *ret);

/** The same for a value of @type without a tag in front of it. Returns 0 or -EPROTO. */
int tb_wire_take(struct fg_span *in, enum tb_wire_type type, struct tb_wire_field *ret);
