#pragma once

/*
 * Text into a buffer of fixed size. Once something did not fit nothing more is written, so that one
 * look at the end is enough.
 */
#include "util/span.h"

struct tb_text {
	char *start, *at, *end;
	bool is_full;
};

struct tb_text tb_text_begin(char *buffer, size_t size);

void tb_put(struct tb_text *text, const char *literal);
void tb_put_span(struct tb_text *text, struct fg_span bytes);
void tb_put_number(struct tb_text *text, int64_t number);

/** @bytes as a JSON string. */
void tb_put_quoted(struct tb_text *text, struct fg_span bytes);

/**
 * The checked JSON value @json without insignificant white space; NaN and Infinity become the
 * strings "NaN" and "Infinity", as ThingsBoard reads them in any case.
 */
void tb_put_json(struct tb_text *text, struct fg_span json);

/** What has been written. */
struct fg_span tb_text_span(const struct tb_text *text);
