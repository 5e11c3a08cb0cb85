/*
 * Input: a device template, a path for the time and a path for a member, a line each, then the
 * topic, a line too, then the payload. The path for a member also stands as the Response Topic of
 * requests. What is checked: that every message keeps the promises of plugin.h, that every refusal has
 * a reason, and that the room asked for was enough.
 */
#include <errno.h>
#include <stdlib.h>

#include "../fuzz.h"
#include "local/mapping.h"
#include "model/json.h"
#include "model/topic.h"
#include "model/utf8.h"
#include "util/span.h"

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

static char *text_of(struct fg_span span)
{
	char *text = strndup(span.size > 0 ? span.data : "", span.size);

	REQUIRE(text);
	return text;
}

static int take(void *arg, const struct fg_mapped *mapped)
{
	const struct fg_message *msg = &mapped->msg;
	size_t *used = arg;
	struct fg_json_value body;
	struct fg_json_fault fault;

	REQUIRE(msg->device.size >= 1 && msg->device.size <= 255 && fg_utf8_ok(msg->device));
	REQUIRE(msg->stream.size <= 255 && fg_utf8_ok(msg->stream));
	for (size_t i = 0; i < msg->device.size; i++)
		REQUIRE((unsigned char)msg->device.data[i] >= 0x20);
	REQUIRE(msg->kind == FG_TELEMETRY || msg->kind == FG_ATTRIBUTES ||
		msg->kind == FG_PRESENCE || msg->kind == FG_REQUEST);
	REQUIRE((msg->kind == FG_REQUEST) == fg_topic_name_ok(mapped->response_topic));
	REQUIRE((msg->kind == FG_REQUEST) == (mapped->lane == FG_LANE_ALARM));
	REQUIRE(msg->time_quality == FG_TIME_DEVICE || msg->time_quality == FG_TIME_GATEWAY);
	if (msg->content_type.size > 0) {
		REQUIRE(msg->kind == FG_TELEMETRY && msg->body.size > 0);
	} else {
		REQUIRE(fg_json_check(msg->body, &body, &fault) == 0);
		REQUIRE(body.type == FG_JSON_OBJECT && body.text.size == msg->body.size &&
			body.text.size > (msg->kind == FG_REQUEST ? 1 : 2));
	}
	*used += 32 + msg->device.size + msg->stream.size + msg->link.size +
		 msg->content_type.size + msg->body.size + 7;
	return 0;
}

static char *up[] = {"online", "1"}, *down[] = {"offline", "0"};
#define WORDS .is_set = true, .up = up, .n_up = 2, .down = down, .n_down = 2
#define REQUEST(which) .is_alarm = true, .request = {.is_set = true, .kind = which, .link = "cloud"}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fg_span rest = fg_span_of(data, size);
	char *device = text_of(cut_line(&rest));
	char *time = text_of(cut_line(&rest));
	char *from = text_of(cut_line(&rest));
	struct fg_span topic = cut_line(&rest);
	struct fg_select_config select[] = {{.name = "a \"b\"", .from = from},
					    {.name = "all", .from = "$"}};
	struct fg_mapping_config rules[] = {
		{.topic = "a/{device}/{stream}",
		 .telemetry = {.is_all = true},
		 .time = time,
		 .device = device},
		{.topic = "b/{device}/{stream...}",
		 .telemetry = {.select = select, .n_select = 2},
		 .attributes = {.select = select, .n_select = 1},
		 .device = device},
		{.topic = "c/{device}/{stream}", .telemetry = {.is_all = true}},
		{.topic = "d/{device}/{key}", .payload = FG_PAYLOAD_TEXT},
		{.topic = "k/{device}", .payload = FG_PAYLOAD_OPAQUE},
		{.topic = "e/{device}/{what}", .event = "{what}", .time = "$.ts"},
		{.topic = "e/{device}", .presence = {WORDS}},
		{.topic = "f/{device}", .presence = {WORDS, .from = from}, .time = time},
		{.topic = "g/{device}", REQUEST(FG_REQUEST_ATTRIBUTES)},
		{.topic = "h/{device}", REQUEST(FG_REQUEST_RPC)},
		{.topic = "i/{device}", REQUEST(FG_REQUEST_CLAIM)},
		{.topic = "j/{device...}",
		 .is_alarm = true,
		 .request = {.is_set = true,
			     .kind = FG_REQUEST_CLAIM,
			     .link = "cloud",
			     .response = "answer/{device}"}},
	};
	struct fg_config config = {.mappings = rules,
				   .n_mappings = sizeof(rules) / sizeof(rules[0]),
				   .max_message_bytes = 4096};
	struct fg_report *report = fg_report_new();
	struct fg_arrival arrival = {.topic = topic,
				     .payload = rest,
				     .now_us = 1700000000000000,
				     .response_topic = fg_span_str(from)};
	struct fg_mapping *m = NULL;
	struct fg_error reason;
	size_t used = 0;
	int r;

	REQUIRE(report);
	r = fg_mapping_new(&config, report, &m);
	REQUIRE((r == 0) == (fg_report_count(report) == 0));
	if (r == 0) {
		r = fg_mapping_apply(m, &arrival, take, &used, &reason);
		REQUIRE(r >= 0 || r == -ENOENT || r == -EPROTO);
		REQUIRE((r == -EPROTO) == (reason.text[0] != '\0'));
		REQUIRE(r > 0 || used == 0);
		REQUIRE(used <= fg_mapping_room(m, topic.size, rest.size));
	}
	fg_mapping_free(m);
	fg_report_free(report);
	free(device);
	free(time);
	free(from);
	return 0;
}
