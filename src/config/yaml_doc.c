#include "config/yaml_doc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct builder {
	const char *file;
	struct fg_report *report;
	bool has_mistakes;
	struct fg_yaml_node *root;
	struct fg_yaml_node *open[FG_YAML_MAX_DEPTH]; /* from the root to where we are */
	size_t n_open;
	char *key; /* read, and its value comes next; NULL: none */
	struct fg_place key_place;
};

static struct fg_place place_of(const struct builder *b, const yaml_mark_t *mark)
{
	return (struct fg_place){b->file, (unsigned)mark->line + 1, (unsigned)mark->column + 1};
}

static void text_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

struct fg_yaml_node *fg_yaml_free(struct fg_yaml_node *node)
{
	if (!node)
		return NULL;
	/* No deeper than FG_YAML_MAX_DEPTH. */
	for (struct fg_yaml_node *child = node->first, *next; child; child = next) {
		next = child->next;
		fg_yaml_free(child);
	}
	text_free(node->key);
	text_free(node->text);
	free(node);
	return NULL;
}

struct fg_yaml_node *fg_yaml_member(const struct fg_yaml_node *mapping, const char *key)
{
	if (!mapping || mapping->type != FG_YAML_MAPPING)
		return NULL;
	for (struct fg_yaml_node *child = mapping->first; child; child = child->next)
		if (strcmp(child->key, key) == 0)
			return child;
	return NULL;
}

/* A mistake after which reading can go on. */
static void complain(struct builder *b, const struct fg_place *place, const char *what)
{
	fg_report_add(b->report, place, "%s", what);
	b->has_mistakes = true;
}

/* Returns 1 for a copy in *ret, 0 when the text is not one (reported), or -ENOMEM. */
static int text_copy(struct builder *b, const yaml_event_t *event, char **ret)
{
	size_t size = event->data.scalar.length;
	struct fg_place place = place_of(b, &event->start_mark);

	if (memchr(event->data.scalar.value, '\0', size)) {
		complain(b, &place, "a text must not contain a NUL character");
		return 0;
	}
	*ret = malloc(size + 1);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, event->data.scalar.value, size);
	(*ret)[size] = '\0';
	return 1;
}

static bool is_null_text(const char *text)
{
	return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
	       strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static void check_properties(struct builder *b, const yaml_event_t *event,
			     const yaml_char_t *anchor, const yaml_char_t *tag, const char *allowed)
{
	struct fg_place place = place_of(b, &event->start_mark);

	if (anchor)
		complain(b, &place,
			 "anchors (&) are not supported; a text that starts with & needs quotes");
	if (tag && strcmp((const char *)tag, allowed) != 0)
		complain(b, &place,
			 "tags (!) are not supported; a text that starts with ! needs quotes");
}

static void append_child(struct fg_yaml_node *parent, struct fg_yaml_node *child)
{
	child->next = NULL;
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->n_children++;
}

/* Hang @node where the document has it. The tree owns it from here on. */
static void attach(struct builder *b, struct fg_yaml_node *node)
{
	struct fg_yaml_node *parent = b->n_open > 0 ? b->open[b->n_open - 1] : NULL;

	if (!parent) {
		b->root = node;
		return;
	}
	node->index = parent->n_children;
	node->key = b->key;
	node->key_place = b->key ? b->key_place : node->place;
	b->key = NULL;
	append_child(parent, node);
}

static bool wants_key(const struct builder *b)
{
	return b->n_open > 0 && b->open[b->n_open - 1]->type == FG_YAML_MAPPING && !b->key;
}

static int on_text(struct builder *b, const yaml_event_t *event)
{
	struct fg_yaml_node *node;
	int r;

	check_properties(b, event, event->data.scalar.anchor, event->data.scalar.tag, YAML_STR_TAG);
	if (wants_key(b)) {
		b->key_place = place_of(b, &event->start_mark);
		r = text_copy(b, event, &b->key);
		return r == 0 ? -EINVAL : r < 0 ? r : 0;
	}
	node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->type = FG_YAML_TEXT;
	node->place = place_of(b, &event->start_mark);
	attach(b, node);
	r = text_copy(b, event, &node->text);
	if (r < 0)
		return r;
	if (r == 0)
		node->type = FG_YAML_BROKEN;
	else
		node->is_null = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
				!event->data.scalar.tag && is_null_text(node->text);
	return 0;
}

static int on_alias(struct builder *b, const yaml_event_t *event)
{
	struct fg_place place = place_of(b, &event->start_mark);
	struct fg_yaml_node *node;

	complain(b, &place,
		 "aliases (*) are not supported; a text that starts with * needs quotes");
	if (wants_key(b))
		return -EINVAL;
	node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->type = FG_YAML_BROKEN;
	node->place = place;
	attach(b, node);
	return 0;
}

static int on_start(struct builder *b, const yaml_event_t *event, enum fg_yaml_type type)
{
	struct fg_place place = place_of(b, &event->start_mark);
	struct fg_yaml_node *node;

	if (wants_key(b)) {
		complain(b, &place, "expected a text as key; a text with { or [ needs quotes");
		return -EINVAL;
	}
	if (b->n_open == FG_YAML_MAX_DEPTH) {
		fg_report_add(b->report, &place, "nested deeper than %d levels", FG_YAML_MAX_DEPTH);
		return -EINVAL;
	}
	if (type == FG_YAML_LIST)
		check_properties(b, event, event->data.sequence_start.anchor,
				 event->data.sequence_start.tag, YAML_SEQ_TAG);
	else
		check_properties(b, event, event->data.mapping_start.anchor,
				 event->data.mapping_start.tag, YAML_MAP_TAG);
	node = calloc(1, sizeof(*node));
	if (!node)
		return -ENOMEM;
	node->type = type;
	node->place = place;
	node->is_flow = type == FG_YAML_LIST
				? event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE
				: event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
	attach(b, node);
	b->open[b->n_open++] = node;
	return 0;
}

static int compare_keys(const void *left, const void *right)
{
	const struct fg_yaml_node *a = *(struct fg_yaml_node *const *)left;
	const struct fg_yaml_node *b = *(struct fg_yaml_node *const *)right;
	int r = strcmp(a->key, b->key);

	return r ? r : a->index < b->index ? -1 : 1;
}

/* By sorting: a mapping may have a hundred thousand keys. */
static int on_mapping_end(struct builder *b, struct fg_yaml_node *mapping)
{
	struct fg_yaml_node **sorted, *child = mapping->first;

	if (mapping->n_children < 2)
		return 0;
	sorted = calloc(mapping->n_children, sizeof(struct fg_yaml_node *));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; child; child = child->next)
		sorted[i++] = child;
	qsort(sorted, mapping->n_children, sizeof(struct fg_yaml_node *), compare_keys);
	for (size_t i = 1; i < mapping->n_children; i++) {
		if (strcmp(sorted[i]->key, sorted[i - 1]->key) != 0)
			continue;
		fg_report_add(b->report, &sorted[i]->key_place,
			      "this key is given already in line %u",
			      sorted[i - 1]->key_place.line);
		b->has_mistakes = true;
	}
	free(sorted);
	return 0;
}

/* Returns 1 at the end of the text, 0 to go on, -EINVAL (reported) or -ENOMEM. */
static int on_event(struct builder *b, const yaml_event_t *event)
{
	struct fg_place place = place_of(b, &event->start_mark);

	switch (event->type) {
	case YAML_STREAM_END_EVENT:
		return 1;
	case YAML_DOCUMENT_START_EVENT:
		if (!b->root)
			return 0;
		complain(b, &place, "a second document starts here; a file holds one");
		return -EINVAL;
	case YAML_ALIAS_EVENT:
		return on_alias(b, event);
	case YAML_SCALAR_EVENT:
		return on_text(b, event);
	case YAML_SEQUENCE_START_EVENT:
		return on_start(b, event, FG_YAML_LIST);
	case YAML_MAPPING_START_EVENT:
		return on_start(b, event, FG_YAML_MAPPING);
	case YAML_SEQUENCE_END_EVENT:
		b->n_open--;
		return 0;
	case YAML_MAPPING_END_EVENT:
		return on_mapping_end(b, b->open[--b->n_open]);
	default:
		return 0;
	}
}

/* Line and column of byte @offset; columns count characters, as libyaml's do. */
static struct fg_place place_of_byte(const struct builder *b, struct fg_span text, size_t offset)
{
	struct fg_place place = {b->file, 1, 1};

	for (size_t i = 0; i < offset && i < text.size; i++) {
		if (text.data[i] == '\n') {
			place.line++;
			place.column = 1;
		} else if (((unsigned char)text.data[i] & 0xc0) != 0x80) {
			place.column++;
		}
	}
	return place;
}

static bool is_tab_at(struct fg_span text, const yaml_mark_t *mark)
{
	const char *c = text.data, *end = text.data + text.size;

	for (size_t line = 0; line < mark->line && c; line++) {
		c = memchr(c, '\n', (size_t)(end - c));
		c = c ? c + 1 : NULL;
	}
	for (size_t column = 0; c && c < end && column < mark->column; column++) {
		c++;
		while (c < end && ((unsigned char)*c & 0xc0) == 0x80)
			c++;
	}
	return c && c < end && *c == '\t';
}

static int grammar_mistake(struct builder *b, const yaml_parser_t *parser, struct fg_span text)
{
	struct fg_place place = place_of(b, &parser->problem_mark);
	const char *problem = parser->problem ? parser->problem : "cannot be read";

	switch (parser->error) {
	case YAML_MEMORY_ERROR:
		return -ENOMEM;
	case YAML_READER_ERROR:
		place = place_of_byte(b, text, parser->problem_offset);
		if (parser->problem_value >= 0 && strstr(problem, "control"))
			fg_report_add(b->report, &place, "control characters are not allowed");
		else
			fg_report_add(b->report, &place, "not UTF-8 text");
		return -EINVAL;
	default:
		if (is_tab_at(text, &parser->problem_mark))
			fg_report_add(b->report, &place,
				      "a tab character cannot stand here; indent with spaces");
		else if (parser->context)
			fg_report_add(b->report, &place,
				      "not YAML: %s (%s that starts in line %zu)", problem,
				      parser->context, parser->context_mark.line + 1);
		else
			fg_report_add(b->report, &place, "not YAML: %s", problem);
		return -EINVAL;
	}
}

static int build(struct builder *b, yaml_parser_t *parser, struct fg_span text)
{
	int r = 0;

	while (r == 0) {
		yaml_event_t event;

		if (!yaml_parser_parse(parser, &event))
			return grammar_mistake(b, parser, text);
		r = on_event(b, &event);
		if (event.type == YAML_SCALAR_EVENT)
			explicit_bzero(event.data.scalar.value, event.data.scalar.length);
		yaml_event_delete(&event);
	}
	return r < 0 ? r : 0;
}

int fg_yaml_parse(struct fg_span text, const char *file, struct fg_report *report,
		  struct fg_yaml_node **ret_root)
{
	struct builder b = {.file = file, .report = report};
	yaml_parser_t parser;
	int r;

	*ret_root = NULL;
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	/* Else two bytes at the start could choose UTF-16, and every offset would mean something
	 * else. */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.size);
	r = build(&b, &parser, text);
	/* The library's buffers hold the file, and with it what is secret there. */
	explicit_bzero(parser.raw_buffer.start,
		       (size_t)(parser.raw_buffer.end - parser.raw_buffer.start));
	explicit_bzero(parser.buffer.start, (size_t)(parser.buffer.end - parser.buffer.start));
	yaml_parser_delete(&parser);
	text_free(b.key);
	if (r < 0) {
		fg_yaml_free(b.root);
		return r;
	}
	if (b.root && b.root->is_null)
		b.root = fg_yaml_free(b.root);
	*ret_root = b.root;
	return b.has_mistakes ? -EINVAL : 0;
}

/* The keys above the one that is merged; the names of sections, so short. */
static int merge(struct fg_yaml_node *into, struct fg_yaml_node *from, const char *path,
		 struct fg_report *report)
{
	struct fg_yaml_node *child = from->first, *next;
	int r = 0;

	from->first = from->last = NULL;
	for (; child; child = next) {
		struct fg_yaml_node *there =
			into->type == FG_YAML_MAPPING ? fg_yaml_member(into, child->key) : NULL;
		char below[256];

		next = child->next;
		if (!there) {
			append_child(into, child);
			continue;
		}
		snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "", child->key);
		if (there->is_null || child->is_null) {
			/* An empty section adds nothing; the other one counts. */
			if (there->is_null && !child->is_null) {
				struct fg_yaml_node swap = *there;

				*there = *child;
				there->next = swap.next;
				*child = swap;
			}
		} else if (there->type == child->type && there->type != FG_YAML_TEXT) {
			if (merge(there, child, below, report) < 0)
				r = -EINVAL;
		} else {
			fg_report_add(report, &child->key_place, "%s: given already at %s:%u:%u",
				      below, there->key_place.file, there->key_place.line,
				      there->key_place.column);
			r = -EINVAL;
		}
		fg_yaml_free(child);
	}
	return r;
}

int fg_yaml_merge(struct fg_yaml_node *into, struct fg_yaml_node *from, struct fg_report *report)
{
	int r = merge(into, from, "", report);

	fg_yaml_free(from);
	return r;
}
