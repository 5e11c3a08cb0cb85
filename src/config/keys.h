#pragma once

/*
 * Sections of the configuration as tables: one entry for each key says its name, type, range,
 * default and where its value goes. Reading, messages about mistakes, "did you mean" and the check
 * of the reference (docs/configuration.md) all work from these tables.
 */
#include <stddef.h>

#include "config/yaml_doc.h"

enum fg_key_type {
	FG_KEY_TEXT,      /* char *; min..max bytes */
	FG_KEY_NAME,      /* char *; [A-Za-z0-9][A-Za-z0-9_.-]*, at most FG_NAME_MAX_BYTES */
	FG_KEY_DIRECTORY, /* char *; absolute, not looked at */
	FG_KEY_FILE,      /* char *; readable now; relative to the directory of the configuration */
	FG_KEY_FILES,     /* the same, or a directory */
	FG_KEY_SECRET,    /* char *; see secret.h */
	FG_KEY_URL,       /* struct fg_url */
	FG_KEY_INTEGER,   /* any integer; min..max */
	FG_KEY_BOOLEAN,   /* bool */
	FG_KEY_CHOICE,    /* any integer; index in `choices`, or that entry of `choice_values` */
	FG_KEY_SECONDS,   /* any integer; a duration, min..max in ms, whole seconds are stored */
	FG_KEY_MILLISECONDS, /* any integer; a duration, min..max in ms */
	FG_KEY_SIZE,         /* any integer; bytes, min..max */
	FG_KEY_TEXTS,        /* char **; a list of texts of min..max bytes; `fallback`: "a, b" */
	FG_KEY_SECTION,      /* the members of `section`, at `offset` */
	FG_KEY_SECTIONS,     /* an array of `section`; a list of at most `max` */
	FG_KEY_SPECIAL, /* `read` does it; `section` may say what it reads, `help` which form it has
			 */
};

#define FG_NAME_MAX_BYTES 63
#define FG_KEY_REQUIRED 1u
/* A FG_KEY_SECTION or FG_KEY_TEXTS that means something by being there: with nothing in it, it is a
 * mistake. */
#define FG_KEY_FILLED 2u

struct fg_reader;
struct fg_trail;

struct fg_key {
	const char *name;
	enum fg_key_type type;
	unsigned flags;
	size_t offset, width; /* of the member; width 0: checked, not stored */
	size_t count_offset;  /* of the size_t beside an array */
	size_t place_offset;  /* of a struct fg_place that shall hold the value's place; 0: none */
	int64_t min, max;
	const char *fallback; /* the value when absent, as it would be written; NULL: left alone */
	const char *const *choices; /* NULL-terminated */
	const unsigned *choice_values;
	const struct fg_section *section;
	const char *help; /* FG_KEY_SPECIAL: the form, in words */
	int (*read)(struct fg_reader *r, const struct fg_key *key, const struct fg_yaml_node *node,
		    const struct fg_trail *trail, void *item);
};

struct fg_section {
	const struct fg_key *keys; /* ends with {0} */
	size_t item_size;          /* FG_KEY_SECTIONS: of one entry */
	bool is_open;              /* unknown keys are somebody else's */
	bool has_names;            /* one for each name in a mapping; see FG_KEY_SPECIAL */
	/*
	 * When all keys are read: defaults and checks that need several. Called with mistakes too.
	 * Returns like a read function, or -ENODATA: leave the entry out, the mistake is reported.
	 */
	int (*finish)(struct fg_reader *r, const struct fg_yaml_node *node,
		      const struct fg_trail *trail, void *item);
};

/* Where a member is, for a table. */
#define FG_KEY_AT(type, member)                                                                    \
	.offset = offsetof(type, member), .width = sizeof(((type *)0)->member)

/** Texts and arrays that live as long as the configuration; overwritten when released. */
struct fg_kept {
	struct fg_kept *next;
	size_t size;
	_Alignas(max_align_t) char data[];
};

/** What a read is made of. All of it borrowed. */
struct fg_reader {
	struct fg_report *report;
	struct fg_kept **kept;
	const char *directory; /* relative paths start here; "" or with a final slash */
};

/** The keys above a value, for messages: clouds.azure.tls.ca. Lives on the stack. */
struct fg_trail {
	const struct fg_trail *parent;
	const char *name; /* NULL: an index */
	unsigned index;
};

/*
 * The functions below that read return 0, -EINVAL when a mistake was reported, or -ENOMEM. The
 * value of a node with a mistake is left alone.
 */

/** Report "FILE:LINE:COL: TRAIL: TEXT". Returns -EINVAL. */
int fg_key_mistake(const struct fg_reader *r, const struct fg_place *place,
		   const struct fg_trail *trail, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/** Report "expected @what, got …" with what stands at @node. Returns -EINVAL. */
int fg_key_unexpected(const struct fg_reader *r, const struct fg_yaml_node *node,
		      const struct fg_trail *trail, const char *what);

/** Report the entry @node of section @trail as unknown; @nearest is what it may mean, or NULL.
 * -EINVAL. */
int fg_key_unknown(const struct fg_reader *r, const struct fg_yaml_node *node,
		   const struct fg_trail *trail, const char *nearest);

/** The better of @best (may be NULL) and @known as what @found was meant to be, or NULL if neither
 * is near. */
const char *fg_key_nearest(const char *found, const char *best, const char *known);

/** Keep a copy of @size bytes, NUL-terminated. Returns NULL when there is no memory. */
char *fg_keep(const struct fg_reader *r, const char *text, size_t size);

/** Keep @size zero bytes, aligned for anything. Returns NULL when there is no memory. */
void *fg_keep_room(const struct fg_reader *r, size_t size);

/** Release what the above kept. Takes NULL. */
struct fg_kept *fg_kept_free(struct fg_kept *kept);

/** Read a text of any of the types that are stored as char *. */
int fg_key_text(const struct fg_reader *r, const struct fg_key *key,
		const struct fg_yaml_node *node, const struct fg_trail *trail, char **ret);

/** Read a value of any of the types that are stored as a number. */
int fg_key_number(const struct fg_reader *r, const struct fg_key *key,
		  const struct fg_yaml_node *node, const struct fg_trail *trail, int64_t *ret);

/** Read an url of MQTT. */
int fg_key_url(const struct fg_reader *r, const struct fg_yaml_node *node,
	       const struct fg_trail *trail, struct fg_url *ret);

/** Read the mapping @node (NULL: absent, all defaults) into @item. May return -ENODATA: see
 * `finish`. */
int fg_key_section(struct fg_reader *r, const struct fg_section *section,
		   const struct fg_yaml_node *node, const struct fg_trail *trail, void *item);

/** The key of @keys called @name, or NULL. */
const struct fg_key *fg_key_find(const struct fg_key *keys, const char *name);

/** The trail of entry @node of a list: its name if it has a usable one, else its index. */
struct fg_trail fg_key_entry_trail(const struct fg_yaml_node *node, const struct fg_trail *list);

/** True when @text can name a link, a broker or the gateway. */
bool fg_name_ok(const char *text);

/** The range of a number, as in "a number from 1 to 10". @out is NUL-terminated. */
void fg_key_range(const struct fg_key *key, char *out, size_t out_size);

/** The choices, as in "a, b or c". @out is NUL-terminated. */
void fg_key_choices(const struct fg_key *key, char *out, size_t out_size);

/** Join type, range and default of @key as the reference words them. @out is NUL-terminated. */
void fg_key_describe(const struct fg_key *key, char *out, size_t out_size);
