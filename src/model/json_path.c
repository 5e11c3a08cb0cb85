#include <errno.h>
#include <stdlib.h>

#include "model/json_lex.h"
#include "model/utf8.h"

/* RFC 9535, 2.1: indexes stay within the exact integers of I-JSON. */
#define MAX_INDEX 9007199254740991u

struct step {
	bool is_index;
	uint64_t index;
	struct fg_span name; /* into the path's `names` */
};

struct fg_json_path {
	struct step steps[FG_JSON_PATH_MAX_STEPS];
	size_t n_steps;
	char names[]; /* unescaped, never longer than the text */
};

/* A name after a dot: RFC 9535, 2.5.1.1, member-name-shorthand. */
static bool is_name_first(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (unsigned char)c >= 0x80;
}

static const char many_values[] =
	"this selects more than one value, a path here must name just one";

static const char *parse_dot_name(const char *p, const char *end, struct step *step, char **names,
				  struct fg_json_scan_fault *fault)
{
	const char *start = p;

	if (p < end && (*p == '.' || *p == '*'))
		return fg_json_refuse(fault, p, many_values);
	while (p < end && (is_name_first(*p) || (p > start && is_digit(*p))))
		p++;
	if (p < end && *p != '.' && *p != '[' && !is_space(*p))
		return fg_json_refuse(
			fault, p,
			"this character cannot stand in a name after a dot, write ['name']");
	if (p == start)
		return fg_json_refuse(fault, p, "a member name was expected after the dot");
	step->name = fg_span_of(*names, (size_t)(p - start));
	memcpy(*names, start, step->name.size);
	*names += step->name.size;
	return p;
}

static const char *parse_quoted_name(const char *p, const char *end, struct step *step,
				     char **names, struct fg_json_scan_fault *fault)
{
	const char *start = p;
	char quote = *p++;
	char *out = *names;

	for (;;) {
		const char *next;

		if (p == end)
			return fg_json_refuse(fault, start, "the closing quote is missing");
		if (*p == quote)
			break;
		if ((unsigned char)*p < 0x20)
			return fg_json_refuse(fault, p, "control character in a name");
		if (*p != '\\') {
			*out++ = *p++;
			continue;
		}
		if (end - p >= 2 && p[1] == quote && quote == '\'') {
			*out++ = quote;
			p += 2;
			continue;
		}
		if (end - p >= 2 && p[1] == '"' && quote == '\'')
			return fg_json_refuse(fault, p, "unknown escape in a name");
		next = fg_json_scan_escape(p, end, fault);
		if (!next)
			return NULL;
		out += fg_json_unescape_one(&p, end, out);
		p = next;
	}
	step->name = fg_span_of(*names, (size_t)(out - *names));
	*names = out;
	return p + 1;
}

static const char *parse_index(const char *p, const char *end, struct step *step,
			       struct fg_json_scan_fault *fault)
{
	const char *start = p;

	step->is_index = true;
	step->index = 0;
	for (; p < end && is_digit(*p); p++) {
		step->index = step->index * 10 + (uint64_t)(*p - '0');
		if (step->index > MAX_INDEX)
			return fg_json_refuse(fault, start, "the index is too large");
	}
	if (p - start > 1 && *start == '0')
		return fg_json_refuse(fault, start, "an index with a leading zero");
	return p;
}

static const char *parse_brackets(const char *p, const char *end, struct step *step, char **names,
				  struct fg_json_scan_fault *fault)
{
	p = skip_space(p, end);
	if (p == end)
		return fg_json_refuse(fault, p, "the closing bracket is missing");
	if (*p == '\'' || *p == '"')
		p = parse_quoted_name(p, end, step, names, fault);
	else if (is_digit(*p))
		p = parse_index(p, end, step, fault);
	else if (*p == '-')
		return fg_json_refuse(fault, p, "negative indexes are not offered");
	else if (*p == '*' || *p == '?' || *p == ':')
		return fg_json_refuse(fault, p, many_values);
	else
		return fg_json_refuse(fault, p, "an index or a name in quotes was expected here");
	if (!p)
		return NULL;
	p = skip_space(p, end);
	if (p < end && (*p == ',' || *p == ':'))
		return fg_json_refuse(fault, p, many_values);
	if (p == end || *p != ']')
		return fg_json_refuse(fault, p, "the closing bracket is missing");
	return p + 1;
}

static const char *parse_path(const char *p, const char *end, struct fg_json_path *path,
			      struct fg_json_scan_fault *fault)
{
	char *names = path->names;

	if (p == end || *p != '$')
		return fg_json_refuse(fault, p, "a path starts with $");
	for (p++; p < end;) {
		struct step *step = &path->steps[path->n_steps];

		p = skip_space(p, end);
		if (p == end)
			return fg_json_refuse(fault, p, "white space at the end of the path");
		if (*p != '.' && *p != '[')
			return fg_json_refuse(fault, p, ". or [ was expected here");
		if (path->n_steps == FG_JSON_PATH_MAX_STEPS)
			return fg_json_refuse(fault, p, "more than 16 steps");
		if (*p == '.')
			p = parse_dot_name(p + 1, end, step, &names, fault);
		else
			p = parse_brackets(p + 1, end, step, &names, fault);
		if (!p)
			return NULL;
		path->n_steps++;
	}
	return p;
}

static int path_fault(struct fg_json_fault *ret_fault, size_t offset, const char *reason)
{
	ret_fault->offset = offset;
	ret_fault->reason = reason;
	return -EINVAL;
}

int fg_json_path_new(struct fg_span text, struct fg_json_path **ret,
		     struct fg_json_fault *ret_fault)
{
	struct fg_json_scan_fault fault = {0};
	struct fg_json_path *path;

	if (text.size == 0)
		return path_fault(ret_fault, 0, "a path starts with $");
	if (!fg_utf8_ok(text))
		return path_fault(ret_fault, 0, "ill-formed UTF-8");
	/* 4 more: an escape at the very end is written as one whole character before it is counted
	 */
	path = calloc(1, sizeof(*path) + text.size + 4);
	if (!path)
		return -ENOMEM;
	if (!parse_path(text.data, text.data + text.size, path, &fault)) {
		free(path);
		return path_fault(ret_fault, (size_t)(fault.at - text.data), fault.reason);
	}
	*ret = path;
	return 0;
}

struct fg_json_path *fg_json_path_free(struct fg_json_path *path)
{
	free(path);
	return NULL;
}

static bool element_at(struct fg_json_value array, uint64_t index, struct fg_json_value *ret)
{
	struct fg_json_walk walk;
	struct fg_json_member element;

	if (array.type != FG_JSON_ARRAY)
		return false;
	fg_json_walk_begin(&walk, array);
	while (fg_json_walk_next(&walk, &element)) {
		if (index-- > 0)
			continue;
		*ret = element.value;
		return true;
	}
	return false;
}

/* Follow the steps from the @i-th on. */
static bool follow(const struct fg_json_path *path, size_t i, struct fg_json_value value,
		   struct fg_json_value *ret)
{
	for (; i < path->n_steps; i++) {
		const struct step *step = &path->steps[i];
		bool is_found = step->is_index ? element_at(value, step->index, &value)
					       : fg_json_member(value, step->name, &value);

		if (!is_found)
			return false;
	}
	*ret = value;
	return true;
}

bool fg_json_path_find(const struct fg_json_path *path, struct fg_json_value root,
		       struct fg_json_value *ret)
{
	return follow(path, 0, root, ret);
}

static bool starts_with_member(const struct fg_json_path *path)
{
	return path->n_steps > 0 && !path->steps[0].is_index;
}

void fg_json_path_find_all(struct fg_json_path *const *paths, size_t n, struct fg_json_value root,
			   struct fg_json_value *ret_values)
{
	struct fg_json_walk walk;
	struct fg_json_member member;

	memset(ret_values, 0, n * sizeof(*ret_values));
	fg_json_walk_begin(&walk, root);
	while (root.type == FG_JSON_OBJECT && fg_json_walk_next(&walk, &member))
		for (size_t i = 0; i < n; i++)
			if (starts_with_member(paths[i]) &&
			    fg_json_name_is(member.name, paths[i]->steps[0].name))
				ret_values[i] = member.value;
	for (size_t i = 0; i < n; i++) {
		bool is_member = starts_with_member(paths[i]);

		if (is_member && !ret_values[i].text.data)
			continue;
		if (!follow(paths[i], is_member, is_member ? ret_values[i] : root, &ret_values[i]))
			ret_values[i].text = (struct fg_span){0};
	}
}

struct fg_span fg_json_path_only_member(const struct fg_json_path *path)
{
	if (path->n_steps != 1 || path->steps[0].is_index)
		return (struct fg_span){0};
	return path->steps[0].name;
}
