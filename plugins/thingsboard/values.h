#pragma once

/*
 * From a canonical body to what ThingsBoard shall read. Its server types each value by its
 * spelling: 1e5 becomes an integer, a number with more than 16 decimals a string, a string of
 * digits a number. What would change its class is spelled anew here; everything else goes on byte
 * for byte.
 */
#include "model/json.h"
#include "util/span.h"

/* Keys named in warnings are remembered by their hash, at most so many. */
#define TB_MAX_WARNED_KEYS 64

/* ThingsBoard stores keys, device names and profile names of up to 255 UTF-16 units. */
#define TB_MAX_NAME_UNITS 255

struct tb_values {
	const struct fg_host *host;
	void *host_ctx;
	bool is_typed; /* the form that goes out tells types: nothing is spelled anew */
	bool protect_text_numbers;
	bool has_warned_key; /* about a key ThingsBoard would not store */
	unsigned n_warned;
	uint64_t warned[TB_MAX_WARNED_KEYS];
};

/** What came of one body. */
struct tb_outcome {
	size_t size; /* of the object written, braces included */
	unsigned n_members;
	unsigned n_dropped;
	bool looks_stamped; /* has members "ts" and "values": ThingsBoard would take them for its
			       own */
};

/**
 * Write the object @body with the members ThingsBoard can take, as one object, to @out.
 * Returns 0, -EMSGSIZE when it needs more than @out_size bytes, or -EBADMSG when @body is no
 * object.
 */
int tb_values_write(struct tb_values *values, struct fg_span body, char *out, size_t out_size,
		    struct tb_outcome *ret);

/**
 * May @text be a key, a device name or a profile name? 1..255 UTF-16 units, not blank, no NUL,
 * nothing the server takes for HTML or for a template. Returns NULL, or what is wrong with it.
 */
const char *tb_name_fault(struct fg_span text);

/** The same for the inside of a JSON string. */
const char *tb_raw_name_fault(struct fg_span raw);

/* Of a name that is read: what a field device can be called, with all escapes. */
#define TB_NAME_SIZE (255 * 6)

/**
 * What @raw, the inside of a JSON string, calls: a name of 1..255 bytes, unescaped to @out of
 * TB_NAME_SIZE bytes. Returns false when it is none.
 */
bool tb_name_read(struct fg_span raw, char *out, struct fg_span *ret);

/** The inside of the JSON string @value; empty when it is none. */
struct fg_span tb_raw_string(struct fg_json_value value);

/** A number ThingsBoard counts with: 0..2147483647. Returns false when @value is none. */
bool tb_id_read(struct fg_json_value value, uint32_t *ret);
