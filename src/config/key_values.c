/*
 * Single values: texts, names, files, numbers, choices, urls.
 */
#include "config/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config/read_file.h"
#include "config/secret.h"
#include "config/units.h"
#include "util/cleanup.h"
#include "util/url.h"

#define FORM_BYTES 400 /* of what was expected, in words */

/* ---- single values */

bool fg_name_ok(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t size = strlen(text);

	/* It becomes part of file names and of command lines: no ".", no "-" at the start. */
	return size > 0 && size <= FG_NAME_MAX_BYTES && strspn(text, allowed) == size &&
	       !strchr("_.-", *text);
}

static int resolve_file(const struct fg_reader *r, const struct fg_key *key,
			const struct fg_yaml_node *node, const struct fg_trail *trail, char **ret)
{
	FG_CLEANUP(fg_close_p) int fd = -1;
	char path[PATH_MAX];
	struct stat st;
	int n = snprintf(path, sizeof(path), "%s%s", *node->text == '/' ? "" : r->directory,
			 node->text);

	if (n < 0 || (size_t)n >= sizeof(path))
		return fg_key_mistake(r, &node->place, trail, "the path is too long");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", path,
				      fg_read_file_error(-errno));
	if (S_ISDIR(st.st_mode) && key->type != FG_KEY_FILES)
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", path,
				      fg_read_file_error(-EISDIR));
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", path,
				      fg_read_file_error(-EINVAL));
	*ret = fg_keep(r, path, (size_t)n);
	return *ret ? 0 : -ENOMEM;
}

static int check_length(const struct fg_reader *r, const struct fg_key *key,
			const struct fg_yaml_node *node, const struct fg_trail *trail)
{
	size_t size = strlen(node->text);
	char what[64];

	if (size == 0 && key->min > 0)
		return fg_key_mistake(r, &node->place, trail, "expected a text, got an empty one");
	if (key->max == 0 || (size >= (size_t)key->min && size <= (size_t)key->max))
		return 0;
	snprintf(what, sizeof(what), "a text of %lld to %lld bytes", (long long)key->min,
		 (long long)key->max);
	return fg_key_unexpected(r, node, trail, what);
}

int fg_key_text(const struct fg_reader *r, const struct fg_key *key,
		const struct fg_yaml_node *node, const struct fg_trail *trail, char **ret)
{
	int e;

	if (key->type == FG_KEY_SECRET)
		return fg_secret_read(r, node, trail, ret);
	if (node->type != FG_YAML_TEXT || node->is_null)
		return fg_key_unexpected(r, node, trail, "a text");
	switch (key->type) {
	case FG_KEY_FILE:
	case FG_KEY_FILES:
		if (!*node->text)
			return fg_key_unexpected(r, node, trail, "the path of a file");
		return resolve_file(r, key, node, trail, ret);
	case FG_KEY_NAME:
		if (!fg_name_ok(node->text))
			return fg_key_unexpected(r, node, trail,
						 "a name (1 to 63 of A-Z a-z 0-9 _ . -, starting "
						 "with a letter or digit)");
		break;
	case FG_KEY_DIRECTORY:
		if (*node->text != '/')
			return fg_key_unexpected(r, node, trail, "an absolute path");
		break;
	default:
		e = check_length(r, key, node, trail);
		if (e < 0)
			return e;
	}
	*ret = node->text;
	return 0;
}

/* Returns 0, -EINVAL, or -ERANGE when it is a number but larger than any. */
static int parse_integer(const char *text, int64_t *ret)
{
	bool is_negative = *text == '-';
	const char *digits = text + is_negative;
	int64_t number = 0;

	if (!*digits || strspn(digits, "0123456789") != strlen(digits))
		return -EINVAL;
	/* 010 is eight to some readers of YAML and ten to others. */
	if (digits[0] == '0' && digits[1])
		return -EINVAL;
	for (; *digits; digits++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_sub_overflow(number, *digits - '0', &number))
			return -ERANGE;
	if (!is_negative && number == INT64_MIN)
		return -ERANGE;
	*ret = is_negative ? number : -number;
	return 0;
}

static int choose(const struct fg_reader *r, const struct fg_key *key,
		  const struct fg_yaml_node *node, const struct fg_trail *trail, int64_t *ret)
{
	char what[FORM_BYTES];

	if (node->type == FG_YAML_TEXT && !node->is_null)
		for (unsigned i = 0; key->choices[i]; i++)
			if (strcmp(node->text, key->choices[i]) == 0) {
				*ret = key->choice_values ? key->choice_values[i] : i;
				return 0;
			}
	fg_key_choices(key, what, sizeof(what));
	return fg_key_unexpected(r, node, trail, what);
}

static int decide(const struct fg_reader *r, const struct fg_yaml_node *node,
		  const struct fg_trail *trail, int64_t *ret)
{
	if (node->type == FG_YAML_TEXT && strcmp(node->text, "true") == 0)
		*ret = 1;
	else if (node->type == FG_YAML_TEXT && strcmp(node->text, "false") == 0)
		*ret = 0;
	else
		return fg_key_unexpected(r, node, trail, "true or false");
	return 0;
}

int fg_key_number(const struct fg_reader *r, const struct fg_key *key,
		  const struct fg_yaml_node *node, const struct fg_trail *trail, int64_t *ret)
{
	const char *form;
	char range[96];
	int64_t number = 0;
	int e;

	if (key->type == FG_KEY_CHOICE)
		return choose(r, key, node, trail, ret);
	if (key->type == FG_KEY_BOOLEAN)
		return decide(r, node, trail, ret);
	fg_key_range(key, range, sizeof(range));
	form = key->type == FG_KEY_INTEGER ? range
	       : key->type == FG_KEY_SIZE  ? "a size such as \"64MiB\""
					   : "a duration such as \"30s\"";
	if (node->type != FG_YAML_TEXT || node->is_null)
		return fg_key_unexpected(r, node, trail, form);
	e = key->type == FG_KEY_INTEGER ? parse_integer(node->text, &number)
	    : key->type == FG_KEY_SIZE  ? fg_size_parse(node->text, &number)
					: fg_duration_parse(node->text, &number);
	if (e == -EINVAL)
		return fg_key_unexpected(r, node, trail, form);
	if (e < 0 || number < key->min || number > key->max)
		return fg_key_unexpected(r, node, trail, range);
	if (key->type == FG_KEY_SECONDS && number % 1000 != 0)
		return fg_key_unexpected(r, node, trail, "whole seconds");
	*ret = number;
	return 0;
}

int fg_key_url(const struct fg_reader *r, const struct fg_yaml_node *node,
	       const struct fg_trail *trail, struct fg_url *ret)
{
	static const char form[] = "mqtt://HOST[:PORT] or mqtts://HOST[:PORT]";
	struct fg_url_parts parts;
	int e;

	if (node->type != FG_YAML_TEXT || node->is_null)
		return fg_key_unexpected(r, node, trail, form);
	e = fg_url_parse(node->text, &parts);
	if (e == -EPERM)
		return fg_key_mistake(r, &node->place, trail,
				      "a user name and password do not belong into the url");
	if (e < 0)
		return fg_key_unexpected(r, node, trail, form);
	ret->host = fg_keep(r, parts.host, strlen(parts.host));
	if (!ret->host)
		return -ENOMEM;
	ret->is_tls = parts.is_tls;
	ret->port = parts.port;
	return 0;
}
