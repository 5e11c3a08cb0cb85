#pragma once

/*
 * How IoTDA spells a time, and how the texts it sends are read.
 */
#include "common/text.h"
#include "model/json.h"

/* The inside of a JSON string that says @size bytes, at most. */
#define HW_RAW(size) ((size)*6)

/**
 * @time_us (UTC) as IoTDA reads it: 20260315T092653Z, or 2026-03-15T09:26:53.589Z; cut, never
 * rounded. Returns false, and writes nothing, for a year that has not four digits.
 */
bool hw_put_time(struct fg_text *text, int64_t time_us, bool has_milliseconds);

/**
 * The time in the JSON string @value, in either form: *@ret_us (UTC), and in *@ret_unit_us how finely
 * it is told. Returns false when it is none.
 */
bool hw_time_read(struct fg_json_value value, int64_t *ret_us, int64_t *ret_unit_us);

/** Has @object a member @name that says something? Null and an empty text say nothing. */
bool hw_member(struct fg_json_value object, const char *name, struct fg_json_value *ret);

/**
 * What the JSON string @value says, unescaped to @out of @out_size bytes. Returns false when it is no
 * string, an empty one, a longer one, or one with a NUL in it.
 */
bool hw_string_read(struct fg_json_value value, char *out, size_t out_size, struct fg_span *ret);
