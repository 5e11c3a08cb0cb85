#pragma once

/*
 * What fieldgatectl prints: lines for people, in which no byte of a message can move the cursor or
 * pass for something else, and JSON objects for programs, one a line. Goes to stdio; whether it
 * arrived is asked once, at the end.
 */
#include <stdbool.h>
#include <stdio.h>

#include "fieldgate/plugin.h"

/* ---- lines for people */

struct fg_line {
	FILE *file;
	size_t room; /* characters that still fit; SIZE_MAX: no bound */
	bool is_cut;
};

/** A line that ends where the terminal does. When @is_full, or @file is none, it does not. */
void fg_line_begin(struct fg_line *l, FILE *file, bool is_full);

/** Printable ASCII only. */
void fg_line_add(struct fg_line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

/**
 * Text as it is; what is not: \n, \r, \t, \\, other control characters and bytes that are not UTF-8
 * as \xNN, what turns the direction of writing around as \u{NNNN}.
 */
void fg_line_add_text(struct fg_line *l, struct fg_span text);
void fg_line_end(struct fg_line *l);

/* ---- JSON */

struct fg_object {
	FILE *file;
	bool has_members;
};

void fg_object_begin(struct fg_object *o, FILE *file);
void fg_object_add_uint(struct fg_object *o, const char *name, uint64_t value);
void fg_object_add_int(struct fg_object *o, const char *name, int64_t value);
void fg_object_add_bool(struct fg_object *o, const char *name, bool value);

/** Bytes that are not UTF-8 become U+FFFD. */
void fg_object_add_text(struct fg_object *o, const char *name, struct fg_span value);
void fg_object_add_string(struct fg_object *o, const char *name, const char *value);
void fg_object_add_time(struct fg_object *o, const char *name, int64_t utc_us);

/**
 * A message's body: as "body" when it is JSON, as "body_text" when it is other text, and as
 * "body_base64" when it is neither or @is_opaque.
 */
void fg_object_add_body(struct fg_object *o, struct fg_span body, bool is_opaque);

/** What is added from here up to fg_object_close() are members of the member @name. */
void fg_object_open(struct fg_object *o, const char *name);
void fg_object_close(struct fg_object *o);
void fg_object_end(struct fg_object *o);

/* ---- words */

#define FG_TIME_TEXT_MAX 40
#define FG_BYTES_TEXT_MAX 32

/** ISO 8601 in UTC with microseconds, to @out of FG_TIME_TEXT_MAX. Returns @out. */
const char *fg_time_text(int64_t utc_us, char *out);

/** "312 bytes", "4.0 KiB", to @out of FG_BYTES_TEXT_MAX. Returns @out. */
const char *fg_bytes_text(uint64_t bytes, char *out);

/** Of a record, or of a quarantined message (0: ""). Unknown ones: "kind-77", in @out of 16. */
const char *fg_kind_text(uint8_t kind, char *out);

/** The kind called @text, in words ("command-response") or as a number; -1 when there is none. */
int fg_kind_parse(const char *text);
const char *fg_time_quality_text(uint8_t quality);

/* ---- how far it is */

struct fg_progress {
	bool is_wanted; /* standard error is a terminal */
	bool is_shown;
	int64_t begin_ms, next_ms;
};

void fg_progress_begin(struct fg_progress *p);

/** Now and then: @done of @all bytes of @what. Shows nothing in the first second. */
void fg_progress_tick(struct fg_progress *p, const char *what, uint64_t done, uint64_t all);

/** Take it away, before anything else is printed. */
void fg_progress_clear(struct fg_progress *p);
