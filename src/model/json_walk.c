#include "model/json_lex.h"

/* The byte behind the container that starts at @p, or NULL. */
static const char *container_end(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		switch (*p) {
		case '"':
			p = string_end(p + 1, end);
			if (!p)
				return NULL;
			break;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (--depth == 0)
				return p + 1;
			break;
		default:
			break;
		}
		p++;
	}
	return NULL;
}

static const char *number_end(const char *p, const char *end, enum fg_json_type *ret_type)
{
	*ret_type = FG_JSON_INTEGER;
	p++;
	if (p < end && *p == 'I') {
		*ret_type = FG_JSON_NONFINITE;
		return STARTS_WITH(p, end, "Infinity") ? p + 8 : NULL;
	}
	for (; p < end; p++) {
		if (is_digit(*p))
			continue;
		if (*p != '.' && *p != 'e' && *p != 'E' && *p != '+' && *p != '-')
			break;
		*ret_type = FG_JSON_REAL;
	}
	return p;
}

/* The value that starts at @p; returns the byte behind it, or NULL when there is none. */
static const char *value_at(const char *p, const char *end, struct fg_json_value *ret)
{
	struct fg_json_scan_fault ignored;
	const char *stop;

	if (p == end)
		return NULL;
	if (*p == '"') {
		ret->type = FG_JSON_STRING;
		stop = string_end(p + 1, end);
		if (stop)
			stop++;
	} else if (*p == '{' || *p == '[') {
		ret->type = *p == '{' ? FG_JSON_OBJECT : FG_JSON_ARRAY;
		stop = container_end(p, end);
	} else if (is_digit(*p) || *p == '-') {
		stop = number_end(p, end, &ret->type);
	} else {
		stop = fg_json_scan_word(p, end, &ignored, &ret->type);
	}
	if (stop)
		ret->text = fg_span_of(p, (size_t)(stop - p));
	return stop;
}

void fg_json_walk_begin(struct fg_json_walk *walk, struct fg_json_value container)
{
	walk->at = NULL;
	walk->end = NULL;
	walk->in_object = container.type == FG_JSON_OBJECT;
	if ((container.type != FG_JSON_OBJECT && container.type != FG_JSON_ARRAY) ||
	    container.text.size < 2)
		return;
	walk->at = container.text.data + 1;
	walk->end = container.text.data + container.text.size - 1;
}

bool fg_json_walk_next(struct fg_json_walk *walk, struct fg_json_member *ret)
{
	const char *end = walk->end;
	const char *p, *stop;

	p = skip_space(walk->at, end);
	walk->at = end; /* where a walk stays that ends early */
	if (p == end)
		return false;
	ret->name = (struct fg_span){0};
	if (walk->in_object) {
		if (*p != '"')
			return false;
		stop = string_end(++p, end);
		if (!stop)
			return false;
		ret->name = fg_span_of(p, (size_t)(stop - p));
		p = skip_space(stop + 1, end);
		if (p == end || *p != ':')
			return false;
		p = skip_space(p + 1, end);
	}
	p = value_at(p, end, &ret->value);
	if (!p)
		return false;
	p = skip_space(p, end);
	if (p < end && *p == ',')
		p++;
	else if (p < end)
		return false;
	walk->at = p;
	return true;
}

bool fg_json_member(struct fg_json_value object, struct fg_span name, struct fg_json_value *ret)
{
	struct fg_json_walk walk;
	struct fg_json_member member;
	bool is_found = false;

	if (object.type != FG_JSON_OBJECT)
		return false;
	fg_json_walk_begin(&walk, object);
	while (fg_json_walk_next(&walk, &member)) {
		if (!fg_json_name_is(member.name, name))
			continue;
		*ret = member.value;
		is_found = true;
	}
	return is_found;
}
