#include "config/account.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config_keys.h"
#include "config/read_file.h"
#include "util/cleanup.h"

struct keys {
	char *url, *ca;
	bool is_insecure;
};

struct fg_account {
	struct fg_account_host host;
	struct fg_value *values; /* kept */
	struct fg_yaml_node *root;
	struct fg_kept *kept;
};

static const struct fg_key account_keys[] = {
	{"url", FG_KEY_TEXT, FG_KEY_REQUIRED, FG_KEY_AT(struct keys, url), .min = 1,
	 .max = FG_TEXT_MAX_BYTES},
	{"ca", FG_KEY_FILES, FG_KEY_AT(struct keys, ca)},
	{"insecure", FG_KEY_BOOLEAN, FG_KEY_AT(struct keys, is_insecure), .fallback = "false"},
	{0},
};
static const struct fg_section account_section = {.keys = account_keys, .is_open = true};

struct fg_account *fg_account_free(struct fg_account *a)
{
	if (!a)
		return NULL;
	fg_yaml_free(a->root);
	fg_kept_free(a->kept);
	free(a);
	return NULL;
}

const struct fg_account_host *fg_account_host(const struct fg_account *account)
{
	return &account->host;
}

const struct fg_value *fg_account_values(const struct fg_account *account)
{
	return account->values;
}

static int parse_file(struct fg_account *a, const char *path, struct fg_report *report)
{
	struct fg_place place = {.file = path};
	char *text = NULL;
	size_t size = 0;
	int r;

	r = fg_read_file(path, FG_YAML_MAX_BYTES, &text, &size);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		fg_report_add(report, &place, "cannot read: %s",
			      r == -EFBIG ? "larger than 1MiB" : fg_read_file_error(r));
		return -EINVAL;
	}
	r = fg_yaml_parse(fg_span_of(text, size), path, report, &a->root);
	explicit_bzero(text, size);
	free(text);
	if (r == 0 && (!a->root || a->root->type != FG_YAML_MAPPING)) {
		fg_report_add(report, &place,
			      "expected the keys of an account: url, and what the "
			      "cloud wants to see");
		return -EINVAL;
	}
	return r;
}

static int take_url(struct fg_account *a, const struct fg_reader *r, struct keys *keys)
{
	const struct fg_yaml_node *node = fg_yaml_member(a->root, "url");
	const struct fg_trail trail = {.name = "url"};
	size_t size = strlen(keys->url);
	char *url;

	if (strncasecmp(keys->url, "https://", 8) != 0 && strncasecmp(keys->url, "http://", 7) != 0)
		return fg_key_unexpected(r, node, &trail, "https://HOST[:PORT]");
	if (strchr(keys->url, '@')) /* what stands before it may be a password: not quoted */
		return fg_key_mistake(r, &node->place, &trail, "an URL here has no user name");
	while (size > 0 && keys->url[size - 1] == '/')
		size--;
	url = fg_keep(r, keys->url, size);
	if (!url)
		return -ENOMEM;
	a->host = (struct fg_account_host){
		.url = url, .ca = keys->ca, .is_insecure = keys->is_insecure};
	return 0;
}

static int read_keys(struct fg_account *a, const char *plugin, const struct fg_option *table,
		     struct fg_reader *r)
{
	const struct fg_options_at at = {.node = a->root,
					 .place = &a->root->place,
					 .others = account_keys,
					 .plugin = plugin,
					 .plugin_place = &a->root->place};
	struct keys keys = {0};
	size_t n = 0;
	int e, worst;

	while (table[n].name)
		n++;
	a->values = fg_keep_room(r, (n + 1) * sizeof(*a->values));
	if (!a->values)
		return -ENOMEM;
	worst = fg_key_section(r, &account_section, a->root, NULL, &keys);
	if (worst != -ENOMEM && keys.url) {
		e = take_url(a, r, &keys);
		worst = e < 0 ? e : worst;
	}
	if (worst == -ENOMEM)
		return worst;
	e = fg_options_read(r, &at, table, a->values);
	return e < 0 ? e : worst;
}

int fg_account_load(const char *path, const char *plugin, const struct fg_option *table,
		    struct fg_report *report, struct fg_account **ret)
{
	FG_CLEANUP(fg_account_free_p) struct fg_account *a = calloc(1, sizeof(*a));
	const char *slash = strrchr(path, '/');
	struct fg_reader reader = {.report = report};
	const char *kept_path;
	int r;

	if (!a)
		return -ENOMEM;
	reader.kept = &a->kept;
	kept_path = fg_keep(&reader, path, strlen(path));
	reader.directory = fg_keep(&reader, path, slash ? (size_t)(slash - path) + 1 : 0);
	if (!kept_path || !reader.directory)
		return -ENOMEM;
	r = parse_file(a, kept_path, report);
	if (r == 0)
		r = read_keys(a, plugin, table, &reader);
	if (r < 0)
		return r;

	*ret = a; /* the caller owns it now */
	a = NULL;
	return 0;
}
