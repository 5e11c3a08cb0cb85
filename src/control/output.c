#include "control/output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "journal/format.h"
#include "model/json.h"
#include "model/utf8.h"
#include "util/clock.h"

#define PROGRESS_FIRST_MS 1000
#define PROGRESS_EVERY_MS 250

/* ---- lines for people */

void fg_line_begin(struct fg_line *l, FILE *file, bool is_full)
{
	struct winsize size;

	*l = (struct fg_line){.file = file, .room = SIZE_MAX};
	if (!is_full && isatty(fileno(file)) && ioctl(fileno(file), TIOCGWINSZ, &size) == 0 &&
	    size.ws_col > 1)
		l->room = size.ws_col - 1u; /* one for the mark that says it was cut */
}

/* @data takes @columns of the line, all of them or none. */
static void put(struct fg_line *l, const char *data, size_t size, size_t columns)
{
	if (l->is_cut)
		return;
	if (columns > l->room) {
		l->is_cut = true;
		fputs("\xe2\x80\xa6", l->file);
		return;
	}
	if (l->room != SIZE_MAX)
		l->room -= columns;
	fwrite(data, 1, size, l->file);
}

void fg_line_add(struct fg_line *l, const char *format, ...)
{
	char text[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (int i = 0; i < n && text[i] != '\0'; i++)
		put(l, &text[i], 1, 1);
}

/* U+0080..U+009F, and what turns the direction of writing around: the code, else 0. */
static unsigned hidden(const char *at, size_t size)
{
	unsigned code = 0;

	if (size == 2)
		code = ((uint8_t)at[0] & 0x1fu) << 6 | ((uint8_t)at[1] & 0x3fu);
	else if (size == 3)
		code = ((uint8_t)at[0] & 0xfu) << 12 | ((uint8_t)at[1] & 0x3fu) << 6 |
		       ((uint8_t)at[2] & 0x3fu);
	if ((code >= 0x80 && code < 0xa0) || code == 0x61c || code == 0x200e || code == 0x200f ||
	    (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
		return code;
	return 0;
}

void fg_line_add_text(struct fg_line *l, struct fg_span text)
{
	const char *at = text.data, *end = text.size > 0 ? at + text.size : at;

	while (at < end && !l->is_cut) {
		size_t size = fg_utf8_character(at, end);
		const char *word = NULL;
		char escape[16];
		unsigned code;

		if (size == 0) {
			fg_line_add(l, "\\x%02x", (unsigned)(uint8_t)*at);
			at++;
			continue;
		}
		code = hidden(at, size);
		if (code != 0) {
			snprintf(escape, sizeof(escape), "\\u{%04x}", code);
			word = escape;
		} else if (*at == '\\') {
			word = "\\\\";
		} else if (*at == '\n') {
			word = "\\n";
		} else if (*at == '\r') {
			word = "\\r";
		} else if (*at == '\t') {
			word = "\\t";
		} else if (size == 1 && ((uint8_t)*at < 0x20 || *at == 0x7f)) {
			snprintf(escape, sizeof(escape), "\\x%02x", (unsigned)(uint8_t)*at);
			word = escape;
		}
		if (word)
			put(l, word, strlen(word), strlen(word));
		else
			put(l, at, size, 1);
		at += size;
	}
}

void fg_line_end(struct fg_line *l)
{
	fputc('\n', l->file);
}

/* ---- JSON */

static void put_string(FILE *file, struct fg_span value)
{
	const char *at = value.data, *end = value.size > 0 ? at + value.size : at;

	fputc('"', file);
	while (at < end) {
		size_t size = fg_utf8_character(at, end);

		if (size == 0) {
			fputs("\xef\xbf\xbd", file);
			at++;
			continue;
		}
		if (*at == '"' || *at == '\\')
			fprintf(file, "\\%c", *at);
		else if (size == 1 && ((uint8_t)*at < 0x20 || *at == 0x7f))
			fprintf(file, "\\u%04x", (unsigned)(uint8_t)*at);
		else
			fwrite(at, 1, size, file);
		at += size;
	}
	fputc('"', file);
}

static void add_name(struct fg_object *o, const char *name)
{
	if (o->has_members)
		fputc(',', o->file);
	put_string(o->file, fg_span_str(name));
	fputc(':', o->file);
	o->has_members = true;
}

void fg_object_begin(struct fg_object *o, FILE *file)
{
	*o = (struct fg_object){.file = file};
	fputc('{', file);
}

void fg_object_add_uint(struct fg_object *o, const char *name, uint64_t value)
{
	add_name(o, name);
	fprintf(o->file, "%" PRIu64, value);
}

void fg_object_add_int(struct fg_object *o, const char *name, int64_t value)
{
	add_name(o, name);
	fprintf(o->file, "%" PRId64, value);
}

void fg_object_add_bool(struct fg_object *o, const char *name, bool value)
{
	add_name(o, name);
	fputs(value ? "true" : "false", o->file);
}

void fg_object_add_text(struct fg_object *o, const char *name, struct fg_span value)
{
	add_name(o, name);
	put_string(o->file, value);
}

void fg_object_add_string(struct fg_object *o, const char *name, const char *value)
{
	fg_object_add_text(o, name, fg_span_str(value));
}

static void add_base64(struct fg_object *o, const char *name, struct fg_span value)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *at = (const uint8_t *)value.data;

	add_name(o, name);
	fputc('"', o->file);
	for (size_t i = 0; i < value.size; i += 3) {
		size_t n = value.size - i < 3 ? value.size - i : 3;
		unsigned v = (unsigned)at[i] << 16;

		if (n > 1)
			v |= (unsigned)at[i + 1] << 8;
		if (n > 2)
			v |= at[i + 2];
		fputc(digits[v >> 18], o->file);
		fputc(digits[v >> 12 & 63], o->file);
		fputc(n > 1 ? digits[v >> 6 & 63] : '=', o->file);
		fputc(n > 2 ? digits[v & 63] : '=', o->file);
	}
	fputc('"', o->file);
}

void fg_object_add_time(struct fg_object *o, const char *name, int64_t utc_us)
{
	char text[FG_TIME_TEXT_MAX];

	fg_object_add_string(o, name, fg_time_text(utc_us, text));
}

/* NaN and Infinity, which messages may have but JSON does not know. @text has been checked. */
static bool has_nonfinite(struct fg_span text)
{
	bool in_string = false;

	for (size_t i = 0; i < text.size; i++) {
		if (text.data[i] == '"')
			in_string = !in_string;
		else if (in_string && text.data[i] == '\\')
			i++;
		else if (!in_string && (text.data[i] == 'N' || text.data[i] == 'I'))
			return true;
	}
	return false;
}

/* Bytes in front of the first line end. */
static size_t line_size(const char *text, size_t size)
{
	const char *lf = memchr(text, '\n', size);
	const char *cr = memchr(text, '\r', lf ? (size_t)(lf - text) : size);

	if (cr)
		return (size_t)(cr - text);
	return lf ? (size_t)(lf - text) : size;
}

/* Returns false, and adds nothing, when @value is not JSON. */
static bool add_json(struct fg_object *o, const char *name, struct fg_span value)
{
	struct fg_json_fault fault;
	struct fg_json_value json;

	if (fg_json_check(value, &json, &fault) < 0 || has_nonfinite(json.text))
		return false;
	add_name(o, name);
	/* One line, whatever stands between the tokens; within them there are no line ends. */
	for (size_t at = 0; at < json.text.size;) {
		size_t n = line_size(json.text.data + at, json.text.size - at);

		fwrite(json.text.data + at, 1, n, o->file);
		at += n;
		if (at < json.text.size) {
			fputc(' ', o->file);
			at++;
		}
	}
	return true;
}

void fg_object_add_body(struct fg_object *o, struct fg_span body, bool is_opaque)
{
	if (!is_opaque && add_json(o, "body", body))
		return;
	if (!is_opaque && fg_utf8_ok(body))
		fg_object_add_text(o, "body_text", body);
	else
		add_base64(o, "body_base64", body);
}

void fg_object_open(struct fg_object *o, const char *name)
{
	add_name(o, name);
	fputc('{', o->file);
	o->has_members = false;
}

void fg_object_close(struct fg_object *o)
{
	fputc('}', o->file);
	o->has_members = true;
}

void fg_object_end(struct fg_object *o)
{
	fputs("}\n", o->file);
}

/* ---- words */

const char *fg_time_text(int64_t utc_us, char *out)
{
	int64_t us = utc_us % 1000000;
	time_t seconds = (time_t)(utc_us / 1000000);
	struct tm tm;

	if (us < 0) {
		us += 1000000;
		seconds--;
	}
	if (!gmtime_r(&seconds, &tm)) {
		snprintf(out, FG_TIME_TEXT_MAX, "%" PRId64 "us", utc_us);
		return out;
	}
	snprintf(out, FG_TIME_TEXT_MAX, "%04ld-%02u-%02uT%02u:%02u:%02u.%06uZ",
		 (long)tm.tm_year + 1900, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday,
		 (unsigned)tm.tm_hour, (unsigned)tm.tm_min, (unsigned)tm.tm_sec, (unsigned)us);
	return out;
}

const char *fg_bytes_text(uint64_t bytes, char *out)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	unsigned i = 0;

	if (bytes < 1024) {
		snprintf(out, FG_BYTES_TEXT_MAX, "%u byte%s", (unsigned)bytes,
			 bytes == 1 ? "" : "s");
		return out;
	}
	for (; value >= 1024 && i < 3; i++)
		value /= 1024;
	snprintf(out, FG_BYTES_TEXT_MAX, "%.1f %s", value, units[i]);
	return out;
}

static const struct {
	uint8_t kind;
	const char *name;
} kinds[] = {{FG_TELEMETRY, "telemetry"},
	     {FG_ATTRIBUTES, "attributes"},
	     {FG_PRESENCE, "presence"},
	     {FG_COMMAND_RESPONSE, "command-response"},
	     {FG_EVENT, "event"},
	     {FG_REQUEST, "request"},
	     {FG_RECORD_KIND_CURSORS, "cursors"},
	     {FG_RECORD_KIND_QUARANTINE, "quarantined"},
	     {FG_RECORD_KIND_SETTLED, "settled"},
	     {FG_RECORD_KIND_COMMAND, "command"},
	     {FG_RECORD_KIND_COMMAND_STATE, "command-state"}};

const char *fg_kind_text(uint8_t kind, char *out)
{
	if (kind == 0)
		return "";
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].kind == kind)
			return kinds[i].name;
	snprintf(out, 16, "kind-%u", kind);
	return out;
}

int fg_kind_parse(const char *text)
{
	unsigned long number;
	char *end;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, text) == 0)
			return kinds[i].kind;
	if (text[0] < '0' || text[0] > '9')
		return -1;
	number = strtoul(text, &end, 10);
	return *end == '\0' && number <= UINT8_MAX ? (int)number : -1;
}

const char *fg_time_quality_text(uint8_t quality)
{
	switch (quality) {
	case FG_TIME_DEVICE:
		return "device";
	case FG_TIME_GATEWAY:
		return "gateway";
	case FG_TIME_UNSYNCHRONISED:
		return "unsynchronised";
	default:
		return "unknown";
	}
}

/* ---- how far it is */

void fg_progress_begin(struct fg_progress *p)
{
	int64_t now_ms = fg_clock_monotonic_ms();

	*p = (struct fg_progress){.is_wanted = isatty(STDERR_FILENO) != 0,
				  .begin_ms = now_ms,
				  .next_ms = now_ms + PROGRESS_FIRST_MS};
}

void fg_progress_tick(struct fg_progress *p, const char *what, uint64_t done, uint64_t all)
{
	char a[FG_BYTES_TEXT_MAX], b[FG_BYTES_TEXT_MAX];
	int64_t now_ms;

	if (!p->is_wanted || all == 0)
		return;
	now_ms = fg_clock_monotonic_ms();
	if (now_ms < p->next_ms)
		return;
	p->next_ms = now_ms + PROGRESS_EVERY_MS;
	p->is_shown = true;
	fprintf(stderr, "\r\033[K%s: %u %%, %s of %s", what,
		(unsigned)(100.0 * (double)done / (double)all), fg_bytes_text(done, a),
		fg_bytes_text(all, b));
	fflush(stderr);
}

void fg_progress_clear(struct fg_progress *p)
{
	if (!p->is_shown)
		return;
	fflush(stdout);
	fputs("\r\033[K", stderr);
	fflush(stderr);
	p->is_shown = false;
}
