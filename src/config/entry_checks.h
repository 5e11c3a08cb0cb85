#pragma once

/*
 * What entries of commands, configs and images have to be checked for: topics to publish to, patterns
 * to listen on, paths. All is checked to the end, so that who uses them meets none that is wrong.
 */
#include "config/config_keys.h"
#include "model/template.h"
#include "model/topic.h"

/** The entry that is being checked. */
struct fg_entry {
	struct fg_reader *r;
	const struct fg_yaml_node *node;
	const struct fg_trail *trail;
	int worst; /* 0, -EINVAL or -ENOMEM: what has come of it so far */
};

/** Report @sentence about @section.@key, or about @key when @section is NULL. */
void fg_entry_mistake(struct fg_entry *e, const struct fg_place *place, const char *section,
		      const char *key, const char *sentence);

/**
 * Compile @text, whose names are those of @known (NULL-terminated). Returns whether *@ret is one; the
 * caller then owns it.
 */
bool fg_entry_template(struct fg_entry *e, const struct fg_place *place, const char *key,
		       const char *text, enum fg_template_form form, const char *const *known,
		       struct fg_template **ret);

/** @t with @values, kept with the configuration; NULL when there is no memory. */
char *fg_entry_sample(struct fg_entry *e, const struct fg_template *t, const struct fg_span *values,
		      size_t *ret_size);

/** Compile the template of a topic to publish to. *@ret is left alone when @text is wrong or NULL. */
void fg_entry_topic(struct fg_entry *e, const struct fg_place *place, const char *section,
		    const char *key, const char *text, const char *const *known,
		    struct fg_template **ret);

/** Compile a pattern whose names are among @known. *@ret is left alone when it is wrong or NULL. */
void fg_entry_pattern(struct fg_entry *e, const struct fg_place *place, const char *section,
		      const char *text, const char *const *known, struct fg_topic_pattern **ret);

/** Check the path that the entry has as @section.@key, if it has one. */
void fg_entry_path(struct fg_entry *e, const char *section, const char *key);

/** Do these patterns of devices or commands name just one? */
bool fg_entry_is_one(char *const *patterns, size_t n);

/** Report when @pattern hears what is published to @topic. Either may be NULL: then it does not. */
void fg_entry_not_heard(struct fg_entry *e, const struct fg_place *place, const char *section,
			const struct fg_topic_pattern *pattern, const struct fg_template *topic,
			const char *sentence);

static inline void fg_topic_pattern_free_p(struct fg_topic_pattern **pattern)
{
	fg_topic_pattern_free(*pattern);
}
