#include "config/entry_checks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "model/json.h"
#include "util/cleanup.h"

/* Stand for any names in a topic: one level each, and a number where one is meant. */
static const struct fg_span short_values[] = {{"1", 1}, {"1", 1}, {"1", 1}};

void fg_entry_mistake(struct fg_entry *e, const struct fg_place *place, const char *section,
		      const char *key, const char *sentence)
{
	struct fg_trail above = {.parent = e->trail, .name = section};
	struct fg_trail below = {.parent = section ? &above : e->trail, .name = key};

	fg_key_mistake(e->r, place, &below, "%s", sentence);
	if (e->worst == 0)
		e->worst = -EINVAL;
}

/* True when there is something to go on with. */
static bool went_well(struct fg_entry *e, int r)
{
	if (r == -ENOMEM)
		e->worst = r;
	return r == 0;
}

/* "is not known here, only {device}, {command} and {id}" */
static const char *verdict(const char *const *known, char *out, size_t out_size)
{
	size_t used = (size_t)snprintf(out, out_size, "is not known here, only ");

	for (size_t i = 0; known[i] && used < out_size; i++)
		used += (size_t)snprintf(out + used, out_size - used, "%s{%s}",
					 i == 0         ? ""
					 : known[i + 1] ? ", "
							: " and ",
					 known[i]);
	return out;
}

bool fg_entry_template(struct fg_entry *e, const struct fg_place *place, const char *key,
		       const char *text, enum fg_template_form form, const char *const *known,
		       struct fg_template **ret)
{
	char words[100];
	struct fg_template_names names = {fg_template_find_in, known,
					  verdict(known, words, sizeof(words))};
	struct fg_error err = {0};
	int r = fg_template_new(fg_span_str(text), form, &names, ret, &err);

	if (r == -EINVAL)
		fg_entry_mistake(e, place, NULL, key, err.text);
	return went_well(e, r);
}

char *fg_entry_sample(struct fg_entry *e, const struct fg_template *t, const struct fg_span *values,
		      size_t *ret_size)
{
	char *out;

	*ret_size = fg_template_fill(t, values, NULL, 0);
	out = fg_keep_room(e->r, *ret_size + 1);
	if (!went_well(e, out ? 0 : -ENOMEM))
		return NULL;
	fg_template_fill(t, values, out, *ret_size);
	return out;
}

void fg_entry_topic(struct fg_entry *e, const struct fg_place *place, const char *section,
		    const char *key, const char *text, const char *const *known,
		    struct fg_template **ret)
{
	struct fg_trail above = {.parent = e->trail, .name = section};
	struct fg_entry inner = *e;
	FG_CLEANUP(fg_template_free_p) struct fg_template *t = NULL;
	char *topic = NULL;
	size_t size;

	if (!text)
		return;
	inner.trail = section ? &above : e->trail;
	if (fg_entry_template(&inner, place, key, text, FG_TEMPLATE_TEXT, known, &t))
		topic = fg_entry_sample(&inner, t, short_values, &size);
	if (topic && fg_topic_name_ok(fg_span_of(topic, size))) {
		*ret = t; /* the caller owns it now */
		t = NULL;
	} else if (topic) {
		fg_entry_mistake(&inner, place, NULL, key,
				 "messages cannot be published to a topic with + or #");
	}
	e->worst = inner.worst;
}

void fg_entry_pattern(struct fg_entry *e, const struct fg_place *place, const char *section,
		      const char *text, const char *const *known, struct fg_topic_pattern **ret)
{
	FG_CLEANUP(fg_topic_pattern_free_p) struct fg_topic_pattern *pattern = NULL;
	struct fg_error err = {0};
	char words[100];
	int r;

	if (!text)
		return;
	r = fg_topic_pattern_new(fg_span_str(text), &pattern, &err);
	if (r == -EINVAL)
		fg_entry_mistake(e, place, section, "topic", err.text);
	if (!went_well(e, r))
		return;
	/* In a pattern that is right each brace opens a name, perhaps with three dots behind. */
	for (const char *at = text; (at = strchr(at, '{')); at++) {
		struct fg_span name = fg_span_of(at + 1, strcspn(at + 1, ".}"));

		if (fg_template_find_in(known, name) >= 0)
			continue;
		fg_error_set(&err, 0, "{%.*s} %s", (int)(name.size < 100 ? name.size : 100),
			     name.data, verdict(known, words, sizeof(words)));
		fg_entry_mistake(e, place, section, "topic", err.text);
		return;
	}
	*ret = pattern; /* the caller owns it now */
	pattern = NULL;
}

void fg_entry_path(struct fg_entry *e, const char *section, const char *key)
{
	const struct fg_yaml_node *node = fg_yaml_member(fg_yaml_member(e->node, section), key);
	struct fg_json_path *path = NULL;
	struct fg_json_fault fault = {0};
	struct fg_error err;
	int r;

	if (!node || node->type != FG_YAML_TEXT || node->is_null || !*node->text)
		return;
	r = fg_json_path_new(fg_span_str(node->text), &path, &fault);
	fg_json_path_free(path);
	if (went_well(e, r) || r == -ENOMEM)
		return;
	fg_error_set(&err, 0, "\"%.200s\": %s (character %zu of the path)", node->text,
		     fault.reason, fault.offset + 1);
	fg_entry_mistake(e, &node->place, section, key, err.text);
}

bool fg_entry_is_one(char *const *patterns, size_t n)
{
	return n == 1 && !strpbrk(patterns[0], "*?[\\");
}

void fg_entry_not_heard(struct fg_entry *e, const struct fg_place *place, const char *section,
			const struct fg_topic_pattern *pattern, const struct fg_template *topic,
			const char *sentence)
{
	struct fg_topic_captures captures;
	size_t size;
	char *text;

	if (!pattern || !topic)
		return;
	text = fg_entry_sample(e, topic, short_values, &size);
	if (text && fg_topic_pattern_match(pattern, fg_span_of(text, size), &captures))
		fg_entry_mistake(e, place, section, "topic", sentence);
}
