#pragma once

/*
 * Text into a buffer of fixed size, which is how plugins make payloads: nothing is allocated, and once
 * something did not fit nothing more is written, so that one look at `is_full` at the end is enough.
 */
#include "model/json.h"

struct fg_text {
	char *start, *at, *end;
	bool is_full;
};

struct fg_text fg_text_begin(char *buffer, size_t size);

void fg_put_span(struct fg_text *text, struct fg_span bytes);

/* Inline, so that the size of a literal is known where it stands. */
static inline void fg_put(struct fg_text *text, const char *literal)
{
	fg_put_span(text, fg_span_str(literal));
}

void fg_put_number(struct fg_text *text, int64_t number);

/** The last @n digits of @number, zeros in front; @n is 1 to 10. */
void fg_put_digits(struct fg_text *text, unsigned number, unsigned n);

/** @bytes as a JSON string. */
void fg_put_quoted(struct fg_text *text, struct fg_span bytes);

/**
 * The checked JSON value @json without insignificant white space. NaN and the Infinities, which JSON
 * has no form for, become strings: "NaN", "Infinity", "-Infinity".
 */
void fg_put_json(struct fg_text *text, struct fg_span json);

/** Is there no NaN or Infinity in @value, which was checked? */
bool fg_is_finite(struct fg_json_value value);

/** @value, which is finite, without insignificant white space. */
void fg_put_finite(struct fg_text *text, struct fg_json_value value);

/** What has been written; how many bytes that is. */
struct fg_span fg_text_span(const struct fg_text *text);
size_t fg_text_size(const struct fg_text *text);
