/*
 * Input: a pattern up to the first line feed, a second one up to the next, then a topic. What is
 * checked: that libmosquitto takes the filter of a pattern, and agrees with it about every topic, and that
 * captures lie inside it.
 */
#include <mosquitto.h>
#include <stdlib.h>

#include "../fuzz.h"
#include "model/topic.h"

static struct fg_span cut_line(struct fg_span *rest)
{
	const char *line_feed = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;
	struct fg_span line = {0};

	if (!line_feed)
		return line;
	line = fg_span_of(rest->data, (size_t)(line_feed - rest->data));
	rest->data += line.size + 1;
	rest->size -= line.size + 1;
	return line;
}

static bool is_asked_for(const char *filter, struct fg_span topic)
{
	char *name = strndup(topic.data, topic.size);
	bool is_match = false;

	REQUIRE(name && mosquitto_topic_matches_sub(filter, name, &is_match) == MOSQ_ERR_SUCCESS);
	free(name);
	return is_match;
}

static bool exercise(const struct fg_topic_pattern *pattern, struct fg_span topic)
{
	struct fg_span filter = fg_span_str(fg_topic_pattern_filter(pattern));
	struct fg_topic_captures captures;
	bool is_match = fg_topic_pattern_match(pattern, topic, &captures);

	REQUIRE(mosquitto_sub_topic_check2(filter.data, filter.size) == MOSQ_ERR_SUCCESS);
	REQUIRE(fg_topic_pattern_covers(pattern, pattern));
	if (!is_match)
		return false;
	/* the other way round does not hold: "a/{rest...}" leaves "a" alone */
	if (fg_topic_name_ok(topic))
		REQUIRE(is_asked_for(filter.data, topic));
	REQUIRE(captures.count <= FG_TOPIC_MAX_CAPTURES);
	for (size_t i = 0; i < captures.count; i++)
		REQUIRE(captures.values[i].data >= topic.data &&
			captures.values[i].data + captures.values[i].size <=
				topic.data + topic.size);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_span topic = fg_span_of(data, size);
	struct fg_span text = cut_line(&topic);
	struct fg_span other_text = cut_line(&topic);
	struct fg_topic_pattern *pattern = NULL, *other = NULL;
	struct fg_error err = {0};

	if (fg_topic_pattern_new(text, &pattern, &err) < 0)
		REQUIRE(err.text[0]);
	fg_topic_pattern_new(other_text, &other, NULL);
	if (pattern)
		exercise(pattern, topic);
	if (pattern && other && fg_topic_pattern_covers(pattern, other) && exercise(other, topic))
		REQUIRE(exercise(pattern, topic));
	fg_topic_pattern_free(pattern);
	fg_topic_pattern_free(other);
	return 0;
}
