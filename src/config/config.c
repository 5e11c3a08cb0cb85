#include "config/config.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_keys.h"
#include "config/read_file.h"

#define MAX_FILES 100 /* in conf.d; more is a mistake */

struct loading {
	struct fg_config *config;
	struct fg_reader reader;
	const char *path;   /* of the main file, kept */
	bool is_incomplete; /* a file could not be read, so what is missing may stand there */
};

struct fg_config *fg_config_free(struct fg_config *config)
{
	if (!config)
		return NULL;
	if (config->store) {
		fg_yaml_free(config->store->root);
		fg_kept_free(config->store->kept);
	}
	free(config->store);
	free(config);
	return NULL;
}

static int begin(struct loading *l, const char *path, struct fg_report *report)
{
	const char *slash = strrchr(path, '/');
	struct fg_config_store *store;

	l->config = calloc(1, sizeof(*l->config));
	if (!l->config)
		return -ENOMEM;
	store = l->config->store = calloc(1, sizeof(*store));
	if (!store)
		return -ENOMEM;
	l->reader = (struct fg_reader){.report = report, .kept = &store->kept};
	l->path = fg_keep(&l->reader, path, strlen(path));
	store->directory = fg_keep(&l->reader, path, slash ? (size_t)(slash - path) + 1 : 0);
	l->reader.directory = store->directory;
	return l->path && store->directory ? 0 : -ENOMEM;
}

/* Parse one file's text and join it to what is there. Mistakes are in the report afterwards. */
static int take_text(struct loading *l, const char *file, struct fg_span text)
{
	struct fg_config_store *store = l->config->store;
	struct fg_yaml_node *root = NULL;
	int r;

	r = fg_yaml_parse(text, file, l->reader.report, &root);
	if (r == -ENOMEM)
		return r;
	if (r < 0 && !root)
		l->is_incomplete = true;
	if (root && root->type != FG_YAML_MAPPING) {
		fg_key_unexpected(
			&l->reader, root, NULL,
			"a mapping of sections: gateway, local, mappings, commands, configs, "
			"images, clouds and journal");
		root = fg_yaml_free(root);
		l->is_incomplete = true;
	}
	if (!store->root)
		store->root = root;
	else if (root)
		fg_yaml_merge(store->root, root, l->reader.report);
	return 0;
}

static int take_file(struct loading *l, const char *file)
{
	struct fg_place place = {.file = file};
	char *text = NULL;
	size_t size = 0;
	int r;

	r = fg_read_file(file, FG_YAML_MAX_BYTES, &text, &size);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		fg_report_add(l->reader.report, &place, "cannot read: %s",
			      r == -EFBIG ? "larger than 1MiB" : fg_read_file_error(r));
		l->is_incomplete = true;
		return 0;
	}
	r = take_text(l, file, fg_span_of(text, size));
	explicit_bzero(text, size);
	free(text);
	return r;
}

static bool is_yaml_name(const char *name)
{
	size_t size = strlen(name);

	return *name != '.' && size > 5 && strcmp(name + size - 5, ".yaml") == 0;
}

static int compare_names(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

static int list_directory(struct loading *l, DIR *stream, const char *directory, char **ret_files,
			  size_t *ret_n)
{
	struct fg_place place = {.file = directory};
	struct dirent *entry;
	char path[PATH_MAX];

	while ((entry = readdir(stream))) {
		int n = snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);

		if (!is_yaml_name(entry->d_name) || n < 0 || (size_t)n >= sizeof(path))
			continue;
		if (*ret_n == MAX_FILES) {
			fg_report_add(l->reader.report, &place, "more than %d files", MAX_FILES);
			l->is_incomplete = true;
			break;
		}
		ret_files[*ret_n] = fg_keep(&l->reader, path, (size_t)n);
		if (!ret_files[(*ret_n)++])
			return -ENOMEM;
	}
	qsort(ret_files, *ret_n, sizeof(*ret_files), compare_names);
	return 0;
}

static int take_directory(struct loading *l)
{
	char directory[PATH_MAX], *files[MAX_FILES];
	struct fg_place place = {.file = directory};
	size_t n_files = 0;
	DIR *stream;
	int r, n = snprintf(directory, sizeof(directory), "%sconf.d", l->reader.directory);

	if (n < 0 || (size_t)n >= sizeof(directory))
		return 0; /* such a path cannot have been opened */
	stream = opendir(directory);
	if (!stream && errno == ENOMEM)
		return -ENOMEM;
	if (!stream && errno != ENOENT && errno != ENOTDIR) {
		fg_report_add(l->reader.report, &place, "cannot read: %s", strerror(errno));
		l->is_incomplete = true;
	}
	if (!stream)
		return 0;
	r = list_directory(l, stream, directory, files, &n_files);
	closedir(stream);
	for (size_t i = 0; r == 0 && i < n_files; i++)
		r = take_file(l, files[i]);
	return r;
}

/* The place where @section is, or where it should be. */
static struct fg_place section_place(const struct loading *l, const char *section)
{
	const struct fg_yaml_node *node = fg_yaml_member(l->config->store->root, section);

	return node ? node->key_place : (struct fg_place){l->path, 1, 1};
}

static bool is_empty(const struct fg_yaml_node *list)
{
	return !list || list->is_null || (list->type == FG_YAML_LIST && !list->first);
}

static void check_not_empty(const struct loading *l)
{
	const struct fg_yaml_node *root = l->config->store->root;
	const struct fg_yaml_node *local = fg_yaml_member(root, "local");
	struct fg_place place;

	place = section_place(l, "local");
	if ((!local || local->is_null || local->type == FG_YAML_MAPPING) &&
	    is_empty(fg_yaml_member(local, "brokers")))
		fg_report_add(l->reader.report, &place,
			      "local.brokers: add at least one broker, with name and url");
	place = section_place(l, "mappings");
	if (is_empty(fg_yaml_member(root, "mappings")))
		fg_report_add(l->reader.report, &place,
			      "mappings: add at least one rule, with topic");
	place = section_place(l, "clouds");
	if (is_empty(fg_yaml_member(root, "clouds")))
		fg_report_add(l->reader.report, &place,
			      "clouds: add at least one cloud, with name, plugin and url");
}

/* All texts are taken: from nodes to values. */
static int interpret(struct loading *l)
{
	struct fg_config_store *store = l->config->store;
	struct fg_place place = {.file = l->path};
	int r;

	if (!store->root) {
		if (!l->is_incomplete)
			fg_report_add(l->reader.report, &place,
				      "empty: add the sections local, mappings and clouds");
		return -EINVAL;
	}
	r = fg_key_section(&l->reader, &fg_config_section, store->root, NULL, l->config);
	if (r == -ENOMEM)
		return r;
	if (l->is_incomplete)
		return 0;
	check_not_empty(l);
	fg_config_check_references(&l->reader, store->root);
	return 0;
}

static int load(const char *path, const struct fg_span *text, struct fg_report *report,
		struct fg_config **ret)
{
	size_t n_before = fg_report_count(report);
	struct loading l = {0};
	int r;

	*ret = NULL;
	r = begin(&l, path, report);
	if (r == 0)
		r = text ? take_text(&l, l.path, *text) : take_file(&l, l.path);
	if (r == 0 && !text)
		r = take_directory(&l);
	if (r == 0)
		r = interpret(&l);
	if (r < 0) {
		fg_config_free(l.config);
		return r;
	}
	*ret = l.config;
	return fg_report_count(report) > n_before ? -EINVAL : 0;
}

int fg_config_load(const char *path, struct fg_report *report, struct fg_config **ret)
{
	return load(path, NULL, report, ret);
}

int fg_config_load_text(const char *path, struct fg_span text, struct fg_report *report,
			struct fg_config **ret)
{
	return load(path, &text, report, ret);
}
