#include <errno.h>

#include "model/json_lex.h"
#include "model/utf8.h"

/* @p stands at a backslash. */
const char *fg_json_scan_escape(const char *p, const char *end, struct fg_json_scan_fault *fault)
{
	const char *backslash = p;
	uint32_t code;

	if (end - p < 2)
		return fg_json_refuse(fault, end, "text ends inside a string");
	p += 2;
	switch (p[-1]) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return p;
	case 'u':
		switch (fg_json_unicode_escape(&p, end, &code)) {
		case FG_JSON_ESCAPE_OK:
			return p;
		case FG_JSON_ESCAPE_BAD_DIGITS:
			return fg_json_refuse(fault, backslash,
					      "\\u wants four hexadecimal digits");
		case FG_JSON_ESCAPE_LONE_SURROGATE:
			break;
		}
		return fg_json_refuse(fault, backslash, "lone surrogate");
	default:
		return fg_json_refuse(fault, backslash, "unknown escape in a string");
	}
}

/* @p stands behind the opening quote; returns the byte behind the closing one. */
static const char *scan_string(const char *p, const char *end, struct fg_json_scan_fault *fault)
{
	for (;;) {
		size_t n;

		p = skip_plain(p, end);
		if (p == end)
			return fg_json_refuse(fault, p, "text ends inside a string");
		if (*p == '"')
			return p + 1;
		if (*p == '\\') {
			p = fg_json_scan_escape(p, end, fault);
			if (!p)
				return NULL;
			continue;
		}
		if ((unsigned char)*p < 0x20)
			return fg_json_refuse(fault, p, "control character in a string");
		n = fg_utf8_character(p, end);
		if (n == 0)
			return fg_json_refuse(fault, p, "ill-formed UTF-8");
		p += n;
	}
}

/* @p stands at a digit or '-'. (RFC 8259, section 6) */
static const char *scan_number(const char *p, const char *end, struct fg_json_scan_fault *fault,
			       enum fg_json_type *ret_type)
{
	const char *start = p;
	const char *digits;

	if (*p == '-')
		p++;
	if (p < end && *p == 'I' && STARTS_WITH(p, end, "Infinity")) {
		*ret_type = FG_JSON_NONFINITE;
		return p + 8;
	}
	if (p == end || !is_digit(*p))
		return fg_json_refuse(fault, p, "a number wants a digit here");
	if (*p == '0' && end - p > 1 && is_digit(p[1]))
		return fg_json_refuse(fault, start, "a number with a leading zero");
	p = skip_digits(p, end);
	*ret_type = FG_JSON_INTEGER;
	if (p < end && *p == '.') {
		digits = ++p;
		p = skip_digits(p, end);
		if (p == digits)
			return fg_json_refuse(fault, p, "a number wants a digit here");
		*ret_type = FG_JSON_REAL;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		digits = p;
		p = skip_digits(p, end);
		if (p == digits)
			return fg_json_refuse(fault, p, "a number wants a digit here");
		*ret_type = FG_JSON_REAL;
	}
	return p;
}

const char *fg_json_scan_word(const char *p, const char *end, struct fg_json_scan_fault *fault,
			      enum fg_json_type *ret_type)
{
	static const struct {
		const char *text;
		size_t size;
		enum fg_json_type type;
	} words[] = {
		{"true", 4, FG_JSON_TRUE},          {"false", 5, FG_JSON_FALSE},
		{"null", 4, FG_JSON_NULL},          {"NaN", 3, FG_JSON_NONFINITE},
		{"Infinity", 8, FG_JSON_NONFINITE},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (starts_with(p, end, words[i].text, words[i].size)) {
			*ret_type = words[i].type;
			return p + words[i].size;
		}
	return fg_json_refuse(fault, p, "a value was expected here");
}

static const char *scan_scalar(const char *p, const char *end, struct fg_json_scan_fault *fault,
			       enum fg_json_type *ret_type)
{
	if (*p == '"') {
		*ret_type = FG_JSON_STRING;
		return scan_string(p + 1, end, fault);
	}
	if (is_digit(*p) || *p == '-')
		return scan_number(p, end, fault, ret_type);
	return fg_json_scan_word(p, end, fault, ret_type);
}

/* A member's name and its colon, with white space in front. */
static const char *scan_name(const char *p, const char *end, struct fg_json_scan_fault *fault)
{
	p = skip_space(p, end);
	if (p == end)
		return fg_json_refuse(fault, p, "text ends inside an object");
	if (*p != '"')
		return fg_json_refuse(fault, p, "a member name in double quotes was expected here");
	p = scan_string(p + 1, end, fault);
	if (!p)
		return NULL;
	p = skip_space(p, end);
	if (p == end)
		return fg_json_refuse(fault, p, "text ends inside an object");
	if (*p != ':')
		return fg_json_refuse(fault, p, "a colon was expected here");
	return p + 1;
}

/*
 * The containers around the place that is read: bit 0 for the innermost, 1 for an object. That
 * FG_JSON_MAX_DEPTH of them fit one word is why there is no recursion and no allocation.
 */
struct containers {
	uint64_t is_object;
	unsigned depth;
};

_Static_assert(FG_JSON_MAX_DEPTH <= 64, "one bit for each level");

/*
 * A value has ended before @p: closes containers and passes one comma, up to where the next value
 * starts; or up to the end of the outermost value.
 */
static const char *scan_after_value(const char *p, const char *end, struct containers *in,
				    struct fg_json_scan_fault *fault)
{
	while (in->depth > 0) {
		bool is_object = in->is_object & 1;

		p = skip_space(p, end);
		if (p == end)
			return fg_json_refuse(fault, p,
					      is_object ? "text ends inside an object"
							: "text ends inside an array");
		if (*p == ',')
			return is_object ? scan_name(p + 1, end, fault) : p + 1;
		if (*p != (is_object ? '}' : ']'))
			return fg_json_refuse(fault, p,
					      is_object ? "a comma or } was expected here"
							: "a comma or ] was expected here");
		p++;
		in->is_object >>= 1;
		in->depth--;
	}
	return p;
}

/* One value and all that is inside it; @p stands at its first byte. */
static const char *scan_value(const char *p, const char *end, struct fg_json_scan_fault *fault,
			      enum fg_json_type *ret_type)
{
	struct containers in = {0};
	enum fg_json_type type;

	*ret_type = *p == '{' ? FG_JSON_OBJECT : FG_JSON_ARRAY;
	do {
		p = skip_space(p, end);
		if (p == end)
			return fg_json_refuse(fault, p, "text ends where a value was expected");
		if (*p == '{' || *p == '[') {
			bool is_object = *p == '{';

			if (in.depth == FG_JSON_MAX_DEPTH)
				return fg_json_refuse(fault, p, "nested deeper than 64 levels");
			in.is_object = in.is_object << 1 | is_object;
			in.depth++;
			p = skip_space(p + 1, end);
			if (p < end && *p == (is_object ? '}' : ']')) {
				p = scan_after_value(p, end, &in, fault);
			} else if (is_object) {
				p = scan_name(p, end, fault);
			}
		} else {
			p = scan_scalar(p, end, fault, &type);
			if (!p)
				return NULL;
			if (in.depth == 0)
				*ret_type = type;
			p = scan_after_value(p, end, &in, fault);
		}
		if (!p)
			return NULL;
	} while (in.depth > 0);
	return p;
}

int fg_json_check(struct fg_span text, struct fg_json_value *ret, struct fg_json_fault *ret_fault)
{
	struct fg_json_scan_fault fault = {0};
	enum fg_json_type type;
	const char *start, *stop = NULL, *end;

	if (text.size == 0) {
		ret_fault->offset = 0;
		ret_fault->reason = "text is empty";
		return -EBADMSG;
	}
	end = text.data + text.size;
	start = skip_space(text.data, end);
	if (start < end)
		stop = scan_value(start, end, &fault, &type);
	else
		fg_json_refuse(&fault, end, "text is empty");
	if (stop && skip_space(stop, end) != end)
		stop = fg_json_refuse(&fault, skip_space(stop, end),
				      "text goes on after the value");
	if (!stop) {
		ret_fault->offset = (size_t)(fault.at - text.data);
		ret_fault->reason = fault.reason;
		return -EBADMSG;
	}
	ret->type = type;
	ret->text = fg_span_of(start, (size_t)(stop - start));
	return 0;
}
