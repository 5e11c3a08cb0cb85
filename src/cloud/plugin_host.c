#include "cloud/plugin_host.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

struct fg_plugin_handle {
	void *object;
	struct fg_plugin plugin; /* a copy as long as ours, missing members NULL */
};

static bool name_is_ok(const char *name)
{
	return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(name);
}

static void handle_freep(struct fg_plugin_handle **h)
{
	fg_plugin_unload(*h);
}

static int is_plugin_file(const struct dirent *entry)
{
	size_t size = strlen(entry->d_name);

	return size > 3 && strcmp(entry->d_name + size - 3, ".so") == 0;
}

/* Mostly a slip of the pen: say which ones there are. */
static int no_such_plugin(const char *directory, const char *name, const char *path,
			  struct fg_error *err)
{
	char there[160] = "";
	struct dirent **entries = NULL;
	int why = errno, n = scandir(directory, &entries, is_plugin_file, alphasort);
	size_t used = 0;

	for (int i = 0; i < n; i++) {
		int size = (int)strlen(entries[i]->d_name) - 3;

		if (used + (size_t)size + 3 < sizeof(there))
			used += (size_t)sprintf(there + used, "%s%.*s", used > 0 ? ", " : "", size,
						entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	if (n > 0)
		return fg_error_set(err, -ENOENT, "no plugin \"%s\" in %s; it has %s", name,
				    directory, there);
	return fg_error_set(err, -ENOENT, "no plugin \"%s\" (%s: %s); see gateway.plugin_directory",
			    name, path, n == 0 ? "none is there" : strerror(why));
}

int fg_plugin_load(const char *directory, const char *name, struct fg_plugin_handle **ret,
		   struct fg_error *err)
{
	FG_CLEANUP(handle_freep) struct fg_plugin_handle *h = NULL;
	const struct fg_plugin *theirs;
	char path[4096];

	if (!name_is_ok(name))
		return fg_error_set(err, -ENOENT,
				    "\"%s\" is not a plugin's name (a-z, 0-9, '-' and '_')", name);
	if (snprintf(path, sizeof(path), "%s/%s.so", directory, name) >= (int)sizeof(path))
		return fg_error_set(err, -ENOENT, "the plugin directory's name is too long");
	if (access(path, F_OK) < 0)
		return no_such_plugin(directory, name, path, err);
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h->object)
		return fg_error_set(err, -EPROTO, "%s", dlerror());
	theirs = dlsym(h->object, "fg_plugin");
	if (!theirs)
		return fg_error_set(err, -EPROTO,
				    "%s is not a fieldgate plugin (no fg_plugin in it)", path);
	if (theirs->abi != FG_PLUGIN_ABI)
		return fg_error_set(
			err, -EPROTO,
			"%s was built for plugin ABI %u, this fieldgate has %u: rebuild it", path,
			theirs->abi, FG_PLUGIN_ABI);
	memcpy(&h->plugin, theirs,
	       theirs->size < sizeof(h->plugin) ? theirs->size : sizeof(h->plugin));
	if (!h->plugin.name || !h->plugin.options || !h->plugin.open || !h->plugin.close ||
	    !h->plugin.connect || !h->plugin.encode)
		return fg_error_set(err, -EPROTO,
				    "%s lacks one of name, options, open, close, connect, encode",
				    path);
	if (strcmp(h->plugin.name, name) != 0)
		return fg_error_set(err, -EPROTO, "%s calls itself \"%s\"", path, h->plugin.name);

	*ret = h; /* the caller owns it now */
	h = NULL;
	return 0;
}

struct fg_plugin_handle *fg_plugin_unload(struct fg_plugin_handle *h)
{
	if (!h)
		return NULL;
	if (h->object)
		dlclose(h->object);
	free(h);
	return NULL;
}

const struct fg_plugin *fg_plugin_get(const struct fg_plugin_handle *handle)
{
	return &handle->plugin;
}

size_t fg_plugin_option_count(const struct fg_option *table)
{
	size_t n = 0;

	while (table[n].name)
		n++;
	return n;
}
