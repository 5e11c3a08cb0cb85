#pragma once

/*
 * What the parts of config/ share: the tables of fieldgate.yaml and what a loaded configuration
 * keeps.
 */
#include "config/keys.h"

struct fg_config_store {
	struct fg_yaml_node *root; /* all files, merged */
	struct fg_kept *kept;
	const char *directory; /* of the main file, "" or with a final slash */
};

/** All sections, read into a struct fg_config. */
extern const struct fg_section fg_config_section;

/** The keys every cloud has, whatever its plugin. */
extern const struct fg_key fg_cloud_keys[];

/**
 * Call @each for every key there is, in the order of the tables. @path is as the reference writes
 * it: "clouds[].tls.ca".
 */
void fg_config_each_key(void (*each)(void *arg, const char *path, const struct fg_key *key),
			void *arg);
