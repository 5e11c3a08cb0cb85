#include "values.h"

#include <errno.h>

#include "model/json.h"
#include "util/hash.h"

/* The server stores a number with more decimals as text. */
#define MAX_DECIMALS 16

/* The largest double, 1.7976931348623157e308, has so many digits in front of the point. */
#define MAX_INTEGER_DIGITS 309
static const char largest_double[] = "17976931348623157";

/* An escaped name of 255 units is no longer than 255 times \uXXXX. */
#define MAX_RAW_NAME (TB_MAX_NAME_UNITS * 6)

/*
 * The object being written. Members that stay as they are and stand side by side in the body are
 * copied in one piece: `run` is what waits for that.
 */
struct output {
	char *at;
	char *end;
	const char *run, *run_end;
	bool has_member;
	bool is_full;
};

static void put(struct output *out, const char *bytes, size_t n)
{
	if (n > (size_t)(out->end - out->at)) {
		out->is_full = true;
		return;
	}
	memcpy(out->at, bytes, n);
	out->at += n;
}

static void end_run(struct output *out)
{
	if (out->run)
		put(out, out->run, (size_t)(out->run_end - out->run));
	out->run = NULL;
}

static void begin_member(struct output *out)
{
	end_run(out);
	if (out->has_member)
		put(out, ",", 1);
	out->has_member = true;
}

static void put_name(struct output *out, struct fg_span name)
{
	begin_member(out);
	put(out, "\"", 1);
	put(out, name.data, name.size);
	put(out, "\":", 2);
}

/* Name, colon and value, as they stand. */
static void put_member(struct output *out, const struct fg_json_member *member)
{
	const char *start = member->name.data - 1;
	const char *end = member->value.text.data + member->value.text.size;

	if (member->value.text.data != member->name.data + member->name.size + 2) {
		put_name(out, member->name);
		put(out, member->value.text.data, member->value.text.size);
	} else if (out->run && start == out->run_end + 1 && *out->run_end == ',') {
		out->run_end = end;
	} else {
		begin_member(out);
		out->run = start;
		out->run_end = end;
	}
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ------------------------------------------------------------------ names */

const char *tb_name_fault(struct fg_span text)
{
	bool is_blank = true;
	size_t n_units = 0;

	for (size_t i = 0; i < text.size; i++) {
		unsigned char c = (unsigned char)text.data[i];
		char next = i + 1 < text.size ? text.data[i + 1] : 0;

		if (c == 0)
			return "has a NUL";
		if (c == '{' && next == '{')
			return "looks like a template ({{)";
		if (c == '<' && ((next >= 'A' && next <= 'Z') || (next >= 'a' && next <= 'z') ||
				 next == '/' || next == '!' || next == '?'))
			return "looks like HTML";
		if (c > ' ')
			is_blank = false;
		if ((c & 0xc0) != 0x80)
			n_units += c >= 0xf0 ? 2 : 1;
	}
	if (is_blank)
		return "is blank";
	return n_units > TB_MAX_NAME_UNITS ? "is longer than 255 characters" : NULL;
}

const char *tb_raw_name_fault(struct fg_span raw)
{
	char text[MAX_RAW_NAME];

	if (raw.size == 0 || !memchr(raw.data, '\\', raw.size))
		return tb_name_fault(raw);
	if (raw.size > sizeof(text))
		return "is longer than 255 characters";
	return tb_name_fault(fg_span_of(text, fg_json_unescape(raw, text)));
}

bool tb_name_read(struct fg_span raw, char *out, struct fg_span *ret)
{
	if (raw.size == 0 || raw.size > TB_NAME_SIZE)
		return false;
	*ret = fg_span_of(out, fg_json_unescape(raw, out));
	return ret->size <= 255;
}

struct fg_span tb_raw_string(struct fg_json_value value)
{
	if (value.type != FG_JSON_STRING || value.text.size < 2)
		return (struct fg_span){0};
	return fg_span_of(value.text.data + 1, value.text.size - 2);
}

bool tb_id_read(struct fg_json_value value, uint32_t *ret)
{
	uint64_t n = 0;

	if (value.type != FG_JSON_INTEGER || value.text.size > 10)
		return false;
	for (size_t i = 0; i < value.text.size; i++) {
		if (!is_digit(value.text.data[i]))
			return false;
		n = n * 10 + (uint64_t)(value.text.data[i] - '0');
	}
	*ret = (uint32_t)n;
	return n <= INT32_MAX;
}

/* ------------------------------------------------------------------ numbers */

/* The digits of a number: `n` of them, the point behind the first `point` (which may lie outside).
 */
struct decimal {
	const char *whole, *fraction;
	long n_whole, n;
	long point;
	bool is_negative;
	bool has_exponent;
};

static char digit_at(const struct decimal *d, long i)
{
	if (i < 0 || i >= d->n)
		return '0';
	return i < d->n_whole ? d->whole[i] : d->fraction[i - d->n_whole];
}

static long digits(const char **at, const char *end)
{
	const char *start = *at;

	while (*at < end && is_digit(**at))
		(*at)++;
	return *at - start;
}

static struct decimal decimal_of(struct fg_span text)
{
	const char *at = text.data, *end = at + text.size;
	struct decimal d = {0};
	bool is_negative;
	long exponent = 0;

	d.is_negative = at < end && *at == '-';
	at += d.is_negative;
	d.whole = at;
	d.n_whole = d.n = digits(&at, end);
	if (at < end && *at == '.') {
		d.fraction = ++at;
		d.n += digits(&at, end);
	}
	if (at < end && (*at == 'e' || *at == 'E')) {
		d.has_exponent = true;
		at++;
		is_negative = at < end && *at == '-';
		at += at < end && (*at == '-' || *at == '+');
		/* Far beyond every double, and beyond every number of digits a body can hold. */
		for (; at < end && is_digit(*at); at++)
			if (exponent < 100000000)
				exponent = exponent * 10 + (*at - '0');
		exponent = is_negative ? -exponent : exponent;
	}
	d.point = d.n_whole + exponent;
	return d;
}

/* Does the integer part, from digit @first on, lie beyond the doubles? */
static bool is_beyond_doubles(const struct decimal *d, long first)
{
	if (d->point - first != MAX_INTEGER_DIGITS)
		return d->point - first > MAX_INTEGER_DIGITS;
	for (long i = 0; i < (long)sizeof(largest_double) - 1; i++)
		if (digit_at(d, first + i) != largest_double[i])
			return digit_at(d, first + i) > largest_double[i];
	return false;
}

/* Plain digits with a point, at most MAX_DECIMALS behind it: the one spelling of a double. */
static void put_plain(struct output *out, const struct decimal *d, long first, long last)
{
	char text[1 + MAX_INTEGER_DIGITS + 1 + MAX_DECIMALS];
	char *start = text + 1, *at = start, *c;
	long i;

	for (i = first; i < d->point; i++)
		*at++ = digit_at(d, i);
	if (at == start)
		*at++ = '0';
	*at++ = '.';
	for (i = d->point; i <= last && i < d->point + MAX_DECIMALS; i++)
		*at++ = digit_at(d, i);
	if (at[-1] == '.')
		*at++ = '0';
	if (digit_at(d, d->point + MAX_DECIMALS) >= '5') {
		for (c = at - 1; c >= start && (*c == '9' || *c == '.'); c--)
			if (*c == '9')
				*c = '0';
		if (c >= start)
			(*c)++;
		else
			*--start = '1';
	}
	while (at[-1] == '0' && at[-2] != '.')
		at--;
	if (d->is_negative)
		put(out, "-", 1);
	put(out, start, (size_t)(at - start));
}

/* Returns false when the number is none that a double can hold. */
static bool put_real(const struct tb_values *values, struct output *out,
		     const struct fg_json_member *member)
{
	struct fg_span text = member->value.text;
	struct decimal d = decimal_of(text);
	long first = 0, last = d.n - 1;

	/* The usual case: digits, a point, a few digits. */
	if (!d.has_exponent && d.n - d.point <= MAX_DECIMALS && d.n < MAX_INTEGER_DIGITS) {
		put_member(out, member);
		return true;
	}
	while (first < d.n && digit_at(&d, first) == '0')
		first++;
	while (last > first && digit_at(&d, last) == '0')
		last--;
	if (first >= d.n) {
		put_name(out, member->name);
		put(out, d.is_negative ? "-0.0" : "0.0", d.is_negative ? 4 : 3);
		return true;
	}
	if (is_beyond_doubles(&d, first))
		return false;
	if (values->is_typed)
		return put_member(out, member), true;
	/*
	 * With an exponent the server reads an integral value as an integer; what has decimals is a
	 * double to it, as long as they are not too many, and can keep its spelling.
	 */
	if (d.n - d.point <= MAX_DECIMALS && (!d.has_exponent || last >= d.point))
		return put_member(out, member), true;
	put_name(out, member->name);
	put_plain(out, &d, first < d.point ? first : d.point, last);
	return true;
}

/* ------------------------------------------------------------------ other values */

/* In checked JSON a capital N or I outside a string can only belong to NaN or Infinity. */
static bool has_nonfinite(struct fg_span text)
{
	const char *at = text.data, *end = at + text.size;

	for (; at < end; at++) {
		if (*at == 'N' || *at == 'I')
			return true;
		if (*at != '"')
			continue;
		for (at++; at < end && *at != '"'; at++)
			if (*at == '\\')
				at++;
	}
	return false;
}

/*
 * Would the server make a number of this string? Digits, with a sign and a point at most; a point
 * at the very end keeps it a string. (@raw is the inside of the quotes.)
 */
static bool is_text_number(struct fg_span raw)
{
	const char *at = raw.data, *end = at + raw.size;
	char text[64];
	long n;

	if (raw.size == 0 || !(is_digit(*at) || strchr("-.\\", *at)))
		return false;
	if (memchr(at, '\\', raw.size)) { /* "\u0031" is "1" to the server */
		if (raw.size > sizeof(text))
			return false;
		end = text + fg_json_unescape(raw, text);
		at = text;
	}
	if (at < end && *at == '-')
		at++;
	n = digits(&at, end);
	if (at < end && *at == '.') {
		at++;
		n = digits(&at, end);
	}
	return n > 0 && at == end;
}

static void warn_text_number(struct tb_values *values, struct fg_span key)
{
	uint64_t hash = fg_hash(0, key);

	if (values->n_warned > TB_MAX_WARNED_KEYS)
		return;
	for (unsigned i = 0; i < values->n_warned; i++)
		if (values->warned[i] == hash)
			return;
	if (values->n_warned == TB_MAX_WARNED_KEYS) {
		values->n_warned++;
		values->host->warn(
			values->host_ctx,
			"more than %d keys carry text that looks like a number; the rest are "
			"not named",
			TB_MAX_WARNED_KEYS);
		return;
	}
	values->warned[values->n_warned++] = hash;
	values->host->warn(
		values->host_ctx,
		"key \"%.*s\" carries text that looks like a number; ThingsBoard may store "
		"a number (text_numbers: protect keeps it text)",
		key.size < 64 ? (int)key.size : 64, key.data);
}

static void put_string(struct tb_values *values, struct output *out,
		       const struct fg_json_member *member)
{
	struct fg_span text = member->value.text;

	if (values->is_typed || text.size < 2 ||
	    !is_text_number(fg_span_of(text.data + 1, text.size - 2))) {
		put_member(out, member);
	} else if (values->protect_text_numbers) {
		/* Inside a JSON value the server leaves strings alone. */
		put_name(out, member->name);
		put(out, "{\"v\":", 5);
		put(out, text.data, text.size);
		put(out, "}", 1);
	} else {
		warn_text_number(values, member->name);
		put_member(out, member);
	}
}

/* Returns false when ThingsBoard has no form for the value. */
static bool put_value(struct tb_values *values, struct output *out,
		      const struct fg_json_member *member)
{
	switch (member->value.type) {
	case FG_JSON_OBJECT:
	case FG_JSON_ARRAY:
		if (has_nonfinite(member->value.text))
			return false;
		put_member(out, member);
		return true;
	case FG_JSON_STRING:
		put_string(values, out, member);
		return true;
	case FG_JSON_REAL:
		return put_real(values, out, member);
	case FG_JSON_NONFINITE:
		return false;
	case FG_JSON_NULL:
	case FG_JSON_INTEGER:
	case FG_JSON_TRUE:
	case FG_JSON_FALSE:
		break;
	}
	put_member(out, member);
	return true;
}

/* Letters, digits and the usual marks between them: nothing to look at twice. */
static bool is_plain_key(struct fg_span name)
{
	static const bool plain[256] = {
		['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1,
		['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1,
		['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1,
		['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1, ['A'] = 1, ['B'] = 1,
		['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1, ['I'] = 1,
		['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,
		['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1,
		['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1,
		['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1, ['_'] = 1,
		['-'] = 1, ['.'] = 1, ['/'] = 1, [':'] = 1,
	};

	for (size_t i = 0; i < name.size; i++)
		if (!plain[(unsigned char)name.data[i]])
			return false;
	return name.size > 0 && name.size <= TB_MAX_NAME_UNITS;
}

static bool key_ok(struct tb_values *values, struct fg_span name)
{
	const char *fault = is_plain_key(name) ? NULL : tb_raw_name_fault(name);

	if (!fault)
		return true;
	if (!values->has_warned_key) {
		values->has_warned_key = true;
		values->host->warn(
			values->host_ctx,
			"members whose name ThingsBoard would not store are left out; the "
			"first one's name %s",
			fault);
	}
	return false;
}

static struct fg_span trim(struct fg_span text)
{
	while (text.size > 0 && strchr(" \t\r\n", text.data[text.size - 1]) &&
	       text.data[text.size - 1])
		text.size--;
	while (text.size > 0 && strchr(" \t\r\n", *text.data) && *text.data) {
		text.data++;
		text.size--;
	}
	return text;
}

int tb_values_write(struct tb_values *values, struct fg_span body, char *out, size_t out_size,
		    struct tb_outcome *ret)
{
	struct output output = {.at = out, .end = out + out_size};
	struct fg_json_value object = {.type = FG_JSON_OBJECT, .text = trim(body)};
	struct fg_json_member member;
	struct fg_json_walk walk;
	bool has_ts = false, has_values = false;

	*ret = (struct tb_outcome){0};
	if (object.text.size < 2 || object.text.data[0] != '{' ||
	    object.text.data[object.text.size - 1] != '}')
		return -EBADMSG;
	put(&output, "{", 1);
	fg_json_walk_begin(&walk, object);
	while (fg_json_walk_next(&walk, &member)) {
		if (member.value.type == FG_JSON_NULL)
			continue;
		if (!key_ok(values, member.name)) {
			ret->n_dropped++;
			continue;
		}
		if (!put_value(values, &output, &member)) {
			ret->n_dropped++;
			continue;
		}
		ret->n_members++;
		if (*member.name.data == 't' || *member.name.data == 'v' ||
		    *member.name.data == '\\') {
			has_ts = has_ts || fg_json_name_is(member.name, fg_span_str("ts"));
			has_values =
				has_values || fg_json_name_is(member.name, fg_span_str("values"));
		}
	}
	end_run(&output);
	put(&output, "}", 1);
	if (output.is_full)
		return -EMSGSIZE;
	ret->size = (size_t)(output.at - out);
	ret->looks_stamped = has_ts && has_values;
	return 0;
}
