#pragma once

/*
 * The rules of `mappings:` as compiled values: the inside of the mapping. For mapping*.c only;
 * everyone else uses mapping.h.
 *
 * mapping_rules.c    configuration to rules, and all its mistakes
 * mapping_payload.c  a payload to bodies, by its rule
 * mapping.c          an arrival to messages
 */
#include "local/mapping.h"
#include "model/json.h"
#include "model/template.h"
#include "model/topic.h"

#define FG_MAPPING_NAME_MAX 255      /* of a device, a stream, a key */
#define FG_MAPPING_RESPONSE_MAX 1024 /* of the topic of an answer */
#define FG_MAPPING_KINDS 2           /* of messages that one arrival can become */
/* A byte that JSON writes as \u0000. */
#define FG_MAPPING_QUOTED_MAX 6
/* A key has no control characters: quotes around it, and in front of each of its own. */
#define FG_MAPPING_KEY_QUOTED_MAX (2 * FG_MAPPING_NAME_MAX + 2)

/** One selected member. */
struct fg_mapping_select {
	char *name; /* quoted, with its colon: "\"temperature\":" */
	size_t name_size;
};

/** What is known of an opaque payload. */
#define FG_MAPPING_OPAQUE_TYPE "application/octet-stream"

/** What goes into one kind of message. */
struct fg_mapping_members {
	bool is_all;
	struct fg_mapping_select *select;
	struct fg_json_path *
		*paths; /* one for each `select`, side by side for fg_json_path_find_all() */
	size_t n_select;
	size_t names_bytes; /* of all names, with colons and commas */
};

/** Texts that mean one thing. */
struct fg_mapping_texts {
	char **texts;
	size_t n;
};

/** What is read from a payload. */
struct fg_mapping_reading {
	struct {
		enum fg_kind kind;
		struct fg_span body;
	} messages[FG_MAPPING_KINDS];
	size_t n;
	struct fg_span content_type; /* of a body that is no JSON object; else empty */
	bool is_up;                  /* FG_PRESENCE */
	int64_t time_us;
	enum fg_time_quality time_quality;
};

struct fg_mapping_rule;

/**
 * Read a payload of a rule; @key: of a text. Returns 0, or -EPROTO with the reason. Bodies are in
 * @m's scratch, good until the next call.
 */
typedef int (*fg_mapping_read)(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			       const struct fg_arrival *arrival, struct fg_span key,
			       struct fg_mapping_reading *ret, struct fg_error *ret_reason);

struct fg_mapping_rule {
	struct fg_topic_pattern *pattern;
	fg_mapping_read read;
	enum fg_lane lane;
	struct fg_template *device, *stream;
	struct fg_template *key;      /* of a text; else NULL */
	struct fg_template *event;    /* the type of an event; else NULL */
	struct fg_template *response; /* of a request; or NULL: the PUBLISH's Response Topic */
	struct fg_mapping_members telemetry, attributes;
	struct fg_json_path *time; /* or NULL: time of arrival */
	char *time_text;
	enum fg_time_unit time_unit;
	struct fg_json_path *state; /* of presence; or NULL: the whole payload */
	char *state_text;
	struct fg_mapping_texts up, down;
	bool is_request;
	enum fg_request_kind request;
	char *link; /* whom a request asks; else NULL */
	int64_t timeout_ms;
};

struct fg_mapping {
	struct fg_mapping_rule *rules;
	size_t n_rules;
	const char **filters;
	size_t n_filters;
	size_t max_message_bytes;

	/* what room() counts with: the most that any rule does */
	size_t max_messages;    /* from one arrival */
	size_t max_values;      /* that can each be as large as the payload, in one message */
	size_t max_names_bytes; /* in one message */
	size_t max_link_bytes;  /* with a reference beside it */
	size_t max_ref_bytes;

	/* where bodies are built: one for telemetry, then one for attributes, scratch_bytes each */
	char *scratch;
	size_t scratch_bytes;
	struct fg_json_value *found; /* max_values of them: what the paths of one kind select */
};

/** Characters U+0000..U+001F and U+007F..U+009F. @text is well-formed UTF-8. */
bool fg_mapping_has_control(struct fg_span text);

/* What a rule reads its payload with. */
int fg_mapping_read_json(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			 const struct fg_arrival *arrival, struct fg_span key,
			 struct fg_mapping_reading *ret, struct fg_error *ret_reason);
int fg_mapping_read_text(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			 const struct fg_arrival *arrival, struct fg_span key,
			 struct fg_mapping_reading *ret, struct fg_error *ret_reason);
int fg_mapping_read_opaque(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			   const struct fg_arrival *arrival, struct fg_span key,
			   struct fg_mapping_reading *ret, struct fg_error *ret_reason);
int fg_mapping_read_presence(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			     const struct fg_arrival *arrival, struct fg_span key,
			     struct fg_mapping_reading *ret, struct fg_error *ret_reason);
int fg_mapping_read_event(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			  const struct fg_arrival *arrival, struct fg_span key,
			  struct fg_mapping_reading *ret, struct fg_error *ret_reason);
int fg_mapping_read_request(struct fg_mapping *m, const struct fg_mapping_rule *rule,
			    const struct fg_arrival *arrival, struct fg_span key,
			    struct fg_mapping_reading *ret, struct fg_error *ret_reason);
