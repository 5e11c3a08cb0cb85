#pragma once

/*
 * Finds a plugin's shared object, and lets it in only when its ABI is ours.
 */
#include "fieldgate/plugin.h"
#include "util/error.h"

struct fg_plugin_handle;

/**
 * Load "@directory/@name.so". On success the caller owns *@ret and releases it with
 * fg_plugin_unload(), after the last ctx is closed. Returns 0, -ENOENT (no such file), -EPROTO (not
 * a plugin, or of another ABI), -ENOMEM; with a sentence.
 */
int fg_plugin_load(const char *directory, const char *name, struct fg_plugin_handle **ret,
		   struct fg_error *err);
struct fg_plugin_handle *fg_plugin_unload(struct fg_plugin_handle *handle);

/** The plugin; members that its build did not know yet are NULL. Lives as long as the handle. */
const struct fg_plugin *fg_plugin_get(const struct fg_plugin_handle *handle);

/** The number of entries of an option table. */
size_t fg_plugin_option_count(const struct fg_option *table);
