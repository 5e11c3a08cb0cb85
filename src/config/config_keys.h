#pragma once

/*
 * What the parts of config/ share: the tables of fieldgate.yaml, one file for each section, and what
 * a loaded configuration keeps.
 */
#include "config/keys.h"

#define FG_TEXT_MAX_BYTES 1024
#define FG_TOPIC_TEXT_MAX_BYTES 65535 /* no string in an MQTT packet is longer */
#define FG_DEVICE_MAX_BYTES 255
#define FG_AGE_MIN_MS 60000
#define FG_AGE_MAX_MS (INT64_C(3650) * 86400000)
#define FG_TIMEOUT_MAX_MS (INT64_C(7) * 86400000) /* of a command */

struct fg_config_store {
	struct fg_yaml_node *root; /* all files, merged */
	struct fg_kept *kept;
	const char *directory; /* of the main file, "" or with a final slash */
};

/** All sections, read into a struct fg_config. */
extern const struct fg_section fg_config_section;

/* Its parts. */
extern const struct fg_section fg_tls_section;     /* struct fg_tls_config */
extern const struct fg_section fg_local_section;   /* struct fg_config */
extern const struct fg_section fg_mapping_section; /* struct fg_mapping_config */
extern const struct fg_section fg_command_section; /* struct fg_command_config */
extern const struct fg_section fg_setting_section; /* struct fg_config_down_config */
extern const struct fg_section fg_image_section;   /* struct fg_image_config */
extern const struct fg_section fg_cloud_section;   /* struct fg_cloud_config */

/** The keys every cloud has, whatever its plugin. */
extern const struct fg_key fg_cloud_keys[];

/** The choices of `mqtt_version`, and their values. */
extern const char *const fg_mqtt_versions[];
extern const unsigned fg_mqtt_version_values[];

/** Where options of a plugin stand, among keys that are not its own. */
struct fg_options_at {
	const struct fg_yaml_node *node; /* a mapping */
	const struct fg_place *place;    /* of what lacks an option */
	const struct fg_trail *trail;    /* of @node */
	const struct fg_key *others;
	const char *plugin;
	const struct fg_place *plugin_place; /* where it is named */
};

/** Read the options of @table, one value for each; and report keys that nobody knows. Returns 0,
 * -EINVAL (reported) or -ENOMEM. */
int fg_options_read(const struct fg_reader *r, const struct fg_options_at *at,
		    const struct fg_option *table, struct fg_value *ret_values);

/** Check `tls` of @node against its url, which gets an empty host when it has none. @has_https: `tls`
 * is for more than that. */
int fg_config_check_tls(struct fg_reader *r, const struct fg_yaml_node *node,
			const struct fg_trail *trail, struct fg_url *url, bool has_https);

/** Do these shell patterns name just one? */
bool fg_config_is_one(char *const *patterns, size_t n);

/** Check what needs several entries or sections, but none that may stand in a file that could not be
 * read. */
int fg_config_check_entries(struct fg_reader *r, const struct fg_yaml_node *root,
			    const struct fg_config *config);

/** Report each name of a broker or cloud that is none, or cannot do what is asked of it. Only when all
 * files could be read. */
void fg_config_check_references(struct fg_reader *r, const struct fg_yaml_node *root);

/**
 * Call @each for every key there is, in the order of the tables. @path is as the reference writes
 * it: "clouds[].tls.ca".
 */
void fg_config_each_key(void (*each)(void *arg, const char *path, const struct fg_key *key),
			void *arg);
