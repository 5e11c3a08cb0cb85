#include "config/secret.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/read_file.h"

#define FORMS "{file: PATH}, {credential: NAME}, {env: NAME} or a text"

static int from_file(const struct fg_reader *r, const struct fg_yaml_node *node, const char *path,
		     const struct fg_trail *trail, char **ret)
{
	char *data = NULL, *kept = NULL;
	size_t size = 0;
	int e;

	e = fg_read_file(path, FG_SECRET_MAX_BYTES, &data, &size);
	if (e == -ENOMEM)
		return e;
	if (e < 0)
		return fg_key_mistake(r, &node->place, trail, "cannot read %s: %s", path,
				      e == -EFBIG ? "larger than 64KiB" : fg_read_file_error(e));
	if (size > 0 && data[size - 1] == '\n')
		size--;
	if (memchr(data, '\0', size))
		e = fg_key_mistake(r, &node->place, trail, "%s contains a NUL byte", path);
	else if (size == 0)
		e = fg_key_mistake(r, &node->place, trail, "%s is empty", path);
	else
		kept = fg_keep(r, data, size);
	explicit_bzero(data, size);
	free(data);
	if (e < 0)
		return e;
	if (!kept)
		return -ENOMEM;
	*ret = kept;
	return 0;
}

static int from_path(const struct fg_reader *r, const struct fg_yaml_node *node,
		     const struct fg_trail *trail, char **ret)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s%s", *node->text == '/' ? "" : r->directory,
			 node->text);

	if (n < 0 || (size_t)n >= sizeof(path))
		return fg_key_mistake(r, &node->place, trail, "the path is too long");
	return from_file(r, node, path, trail, ret);
}

static int from_credential(const struct fg_reader *r, const struct fg_yaml_node *node,
			   const struct fg_trail *trail, char **ret)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	char path[PATH_MAX];
	int n;

	if (strchr(node->text, '/') || *node->text == '.')
		return fg_key_mistake(r, &node->place, trail,
				      "the name of a credential has no / and no . at its start");
	if (!directory || !*directory)
		return fg_key_mistake(
			r, &node->place, trail,
			"$CREDENTIALS_DIRECTORY is not set: the unit of the service needs "
			"LoadCredential=%s:PATH; in a shell, set it to a directory that has this "
			"file",
			node->text);
	n = snprintf(path, sizeof(path), "%s/%s", directory, node->text);
	if (n < 0 || (size_t)n >= sizeof(path))
		return fg_key_mistake(r, &node->place, trail, "the path is too long");
	return from_file(r, node, path, trail, ret);
}

static int from_environment(const struct fg_reader *r, const struct fg_yaml_node *node,
			    const struct fg_trail *trail, char **ret)
{
	const char *value = getenv(node->text);

	if (!value)
		return fg_key_mistake(r, &node->place, trail, "environment variable %s is not set",
				      node->text);
	if (!*value)
		return fg_key_mistake(r, &node->place, trail, "environment variable %s is empty",
				      node->text);
	*ret = fg_keep(r, value, strlen(value));
	return *ret ? 0 : -ENOMEM;
}

static const struct {
	const char *key;
	int (*read)(const struct fg_reader *r, const struct fg_yaml_node *node,
		    const struct fg_trail *trail, char **ret);
} sources[] = {
	{"file", from_path},
	{"credential", from_credential},
	{"env", from_environment},
};
#define N_SOURCES (sizeof(sources) / sizeof(sources[0]))

static int from_source(const struct fg_reader *r, const struct fg_yaml_node *node,
		       const struct fg_trail *trail, char **ret)
{
	const struct fg_yaml_node *child = node->first;
	struct fg_trail below = {.parent = trail};
	const char *nearest = NULL;

	if (!child || child->next)
		return fg_key_mistake(r, &node->place, trail, "expected one of " FORMS);
	for (size_t i = 0; i < N_SOURCES; i++) {
		nearest = fg_key_nearest(child->key, nearest, sources[i].key);
		if (strcmp(child->key, sources[i].key) != 0)
			continue;
		if (child->type == FG_YAML_BROKEN)
			return -EINVAL;
		below.name = sources[i].key;
		if (child->type != FG_YAML_TEXT || !*child->text || child->is_null)
			return fg_key_mistake(r, &child->place, &below, "expected a text");
		return sources[i].read(r, child, &below, ret);
	}
	/* The key is not shown: an unquoted secret in braces would be one. */
	if (nearest)
		return fg_key_mistake(r, &child->key_place, trail,
				      "expected one of " FORMS " (did you mean \"%s\"?)", nearest);
	return fg_key_mistake(r, &child->key_place, trail, "expected one of " FORMS);
}

int fg_secret_read(const struct fg_reader *r, const struct fg_yaml_node *node,
		   const struct fg_trail *trail, char **ret)
{
	switch (node->type) {
	case FG_YAML_MAPPING:
		return from_source(r, node, trail, ret);
	case FG_YAML_LIST:
		return fg_key_mistake(r, &node->place, trail, "expected " FORMS ", got a list");
	case FG_YAML_BROKEN:
		return -EINVAL;
	case FG_YAML_TEXT:
		break;
	}
	if (node->is_null || !*node->text)
		return fg_key_mistake(r, &node->place, trail, "expected " FORMS ", got nothing");
	*ret = node->text; /* the document keeps it, and overwrites it in the end */
	return 0;
}
