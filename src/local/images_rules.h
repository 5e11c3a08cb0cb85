#pragma once

/*
 * `images:` compiled: which entry a device falls under, the topics it names, where devices report
 * and what a report says.
 */
#include "local/images.h"
#include "ota/image_store.h"

struct fg_json_path;

struct fg_images_rule {
	const struct fg_image_config *config;
	struct fg_template *topic, *chunk_topic; /* chunk_topic: NULL unless it delivers chunks */
	struct fg_topic_pattern *status;         /* or NULL */
	struct fg_json_path *state;
	const char *directory;
	struct fg_image_store *store; /* of `directory`; rules may share it */
};

struct fg_images_rules {
	struct fg_images_rule *rules;
	size_t n;
	struct fg_images_filter *filters;
	size_t n_filters;
	char *directory; /* where no rule names one */
	size_t max_chunk_bytes;
};

/** Compile, and open the stores. fg_images_rules_clear() is needed also after a failure. */
int fg_images_rules_open(struct fg_images_rules *rules, const struct fg_images_options *with,
			 struct fg_error *err);
void fg_images_rules_clear(struct fg_images_rules *rules);

/** The first rule for @device, or NULL. */
const struct fg_images_rule *fg_images_rules_find(const struct fg_images_rules *rules,
						  const char *device);

enum fg_images_topic { FG_IMAGES_ANNOUNCEMENT, FG_IMAGES_CHUNK };

/** The topic, NUL-terminated; @index: of the chunk. The caller releases it. NULL: no memory, or the
 * device's name makes no topic name. */
char *fg_images_rule_topic(const struct fg_images_rule *rule, enum fg_images_topic what,
			   const char *device, uint64_t index);

enum fg_images_word {
	FG_REPORT_OTHER,
	FG_REPORT_UPDATING,
	FG_REPORT_UPDATED,
	FG_REPORT_FAILED,
};

/** What a device says of its image. */
struct fg_images_report {
	char device[256];
	enum fg_images_word state;
	char version[256]; /* `version`: of the image it talks of; "": not told */
	char error[256];   /* `error`: why it failed; "": not told */
	bool wants_chunk;
	uint64_t chunk; /* `chunk`: the number of the one it wants next */
};

/**
 * Whose report @message is. Returns 0; -ENOENT: none; -EBADMSG: one that makes no sense, with
 * @ret->device.
 */
int fg_images_rules_read(const struct fg_images_rules *rules, const char *broker,
			 const struct fg_mqtt_message *message, struct fg_images_report *ret);
