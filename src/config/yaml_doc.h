#pragma once

/*
 * YAML text as a tree of nodes that remember where they stand. Of YAML only what a configuration
 * needs: one document, texts, lists and mappings with texts as keys. Anchors, aliases and tags
 * other than !!str,
 * !!map and !!seq are mistakes, as are duplicate keys; text size and depth are bounded.
 * No message quotes the text: what is wrong may be a secret.
 */
#include "config/config.h"
#include "util/span.h"

#define FG_YAML_MAX_BYTES (1u << 20)
#define FG_YAML_MAX_DEPTH 32

enum fg_yaml_type {
	FG_YAML_TEXT,
	FG_YAML_LIST,
	FG_YAML_MAPPING,
	FG_YAML_BROKEN, /* reported already: readers pass over it */
};

struct fg_yaml_node {
	enum fg_yaml_type type;
	bool is_null; /* FG_YAML_TEXT without quotes: nothing, ~ or null */
	bool is_flow; /* written with [] or {} */
	struct fg_place place;
	struct fg_place key_place;
	char *key;      /* when inside a mapping; else NULL */
	char *text;     /* FG_YAML_TEXT: UTF-8, NUL-terminated, no NUL inside; else NULL */
	unsigned index; /* among its siblings, as the file has them */
	unsigned n_children;
	struct fg_yaml_node *first, *last; /* children, by `next` */
	struct fg_yaml_node *next;
};

/**
 * Parse @text. @file is borrowed by the nodes for their places. On success and on -EINVAL the
 * caller owns
 * *@ret_root, which is NULL when the text is empty or its grammar is broken.
 * Returns 0, -EINVAL (reported) or -ENOMEM.
 */
int fg_yaml_parse(struct fg_span text, const char *file, struct fg_report *report,
		  struct fg_yaml_node **ret_root);

/** Release a node and all below it; texts are overwritten first. Takes NULL. */
struct fg_yaml_node *fg_yaml_free(struct fg_yaml_node *node);

/** The entry called @key, or NULL. NULL too when @mapping is NULL or no mapping. */
struct fg_yaml_node *fg_yaml_member(const struct fg_yaml_node *mapping, const char *key);

/**
 * Move what is in the mapping @from into the mapping @into: lists are appended, mappings are
 * merged, and anything else that stands in both is reported. Consumes @from. Returns 0 or -EINVAL
 * (reported).
 */
int fg_yaml_merge(struct fg_yaml_node *into, struct fg_yaml_node *from, struct fg_report *report);

static inline void fg_yaml_free_p(struct fg_yaml_node **node)
{
	fg_yaml_free(*node);
}
