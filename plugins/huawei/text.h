#pragma once

/*
 * Text into a buffer of fixed size. Once something did not fit nothing more is written, so that one
 * look at the end is enough.
 */
#include "model/json.h"
#include "util/span.h"

struct hw_text {
	char *start, *at, *end;
	bool is_full;
};

struct hw_text hw_text_begin(char *buffer, size_t size);

void hw_put(struct hw_text *text, const char *literal);
void hw_put_span(struct hw_text *text, struct fg_span bytes);
void hw_put_number(struct hw_text *text, uint64_t number);

/** @bytes as a JSON string. */
void hw_put_quoted(struct hw_text *text, struct fg_span bytes);

/** The checked JSON value @json without insignificant white space. */
void hw_put_json(struct hw_text *text, struct fg_span json);

/** Is there no NaN or Infinity in the checked JSON value @json, which JSON has no form for? */
bool hw_is_finite(struct fg_span json);

/**
 * @time_us (UTC) as IoTDA reads it: 20260315T092653Z, or 2026-03-15T09:26:53.589Z; cut, never
 * rounded. Returns false, and writes nothing, for a year that has not four digits.
 */
bool hw_put_time(struct hw_text *text, int64_t time_us, bool has_milliseconds);

/** How many bytes have been written. */
size_t hw_text_size(const struct hw_text *text);

/**
 * What the JSON string @value says, unescaped to @out of @out_size bytes. Returns false when it is no
 * string, an empty one, a longer one, or one with a NUL in it.
 */
bool hw_string_read(struct fg_json_value value, char *out, size_t out_size, struct fg_span *ret);
