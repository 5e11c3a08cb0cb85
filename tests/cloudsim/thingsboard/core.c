#include "cloud.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The core is a client of the broker. Both ways a message is a publish on CORE_TOPIC, its payload four
 * bytes, little-endian, with the size of a JSON object, that object, and bytes that belong to it.
 *
 * To the core: {"event": "open" | "close" | "subscribe" | "unsubscribe" | "sub_open" | "sub_close" |
 * "message" | "answer", …}. From the core: an object with any of the members in tb_core_obey().
 */
#define CORE_TOPIC "core"
#define SIZE_BYTES 4

struct tb_frame {
	struct tb_frame *next;
	void *data;
	size_t size;
};

static void *frame_new(struct json_object *header, const void *body, size_t size, size_t *ret_size)
{
	unsigned char *data;
	const char *text;
	size_t text_size;

	text = json_object_to_json_string_length(
		header, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &text_size);
	data = malloc(SIZE_BYTES + text_size + size);
	if (!data)
		return NULL;
	data[0] = (unsigned char)text_size;
	data[1] = (unsigned char)(text_size >> 8);
	data[2] = (unsigned char)(text_size >> 16);
	data[3] = (unsigned char)(text_size >> 24);
	memcpy(data + SIZE_BYTES, text, text_size);
	if (size > 0)
		memcpy(data + SIZE_BYTES + text_size, body, size);
	*ret_size = SIZE_BYTES + text_size + size;
	return data;
}

static void deliver(struct tb_cloud *cloud, const void *data, size_t size)
{
	mosquitto_broker_publish_copy(cloud->core_id, CORE_TOPIC, (int)size, data, 0, false, NULL);
}

void tb_core_tell(struct tb_cloud *cloud, struct json_object *header, const void *body, size_t size)
{
	struct tb_frame *frame;
	size_t whole;
	void *data = frame_new(header, body, size, &whole);

	json_object_put(header);
	if (!data)
		return;
	if (cloud->core) {
		deliver(cloud, data, whole);
		free(data);
		return;
	}
	/* Devices may be back before the core is. */
	frame = calloc(1, sizeof(*frame));
	if (!frame) {
		free(data);
		return;
	}
	frame->data = data;
	frame->size = whole;
	*cloud->backlog_end = frame;
	cloud->backlog_end = &frame->next;
}

static void backlog_empty(struct tb_cloud *cloud, bool is_delivered)
{
	struct tb_frame *frame;

	while ((frame = cloud->backlog)) {
		cloud->backlog = frame->next;
		if (is_delivered)
			deliver(cloud, frame->data, frame->size);
		free(frame->data);
		free(frame);
	}
	cloud->backlog_end = &cloud->backlog;
}

void tb_core_forget_backlog(struct tb_cloud *cloud)
{
	backlog_empty(cloud, false);
}

void tb_core_attach(struct tb_cloud *cloud, struct mosquitto *client)
{
	cloud->core = client;
	backlog_empty(cloud, true);
}

/* ---- what the core says */

static void set_text(struct json_object *set, const char *name, char *out, size_t size)
{
	struct json_object *value;

	if (json_object_object_get_ex(set, name, &value))
		snprintf(out, size, "%s", value ? json_object_get_string(value) : "");
}

static void set_number(struct json_object *set, const char *name, int64_t *out)
{
	struct json_object *value;

	if (json_object_object_get_ex(set, name, &value))
		*out = json_object_get_int64(value);
}

static void set_flag(struct json_object *set, const char *name, bool *out)
{
	struct json_object *value;

	if (json_object_object_get_ex(set, name, &value))
		*out = json_object_get_boolean(value);
}

static void obey_set(struct tb_cloud *cloud, struct json_object *set)
{
	struct tb_faults *f = &cloud->faults;
	struct json_object *value;

	set_text(set, "refuse", f->refuse, sizeof(f->refuse));
	set_text(set, "poison", f->poison, sizeof(f->poison));
	set_number(set, "drop_at", &f->drop_at);
	set_number(set, "lose_ack_at", &f->lose_ack_at);
	set_number(set, "slow_ms", &f->slow_ms);
	set_number(set, "inactivity_ms", &cloud->inactivity_ms);
	set_flag(set, "refuse_new_devices", &f->refuse_new_devices);
	set_flag(set, "ack_limited", &f->ack_limited);
	if (json_object_object_get_ex(set, "messages_per_s", &value))
		tb_limits_set_simple(cloud->limits, json_object_get_double(value));
	if (json_object_object_get_ex(set, "rate_limits", &value))
		tb_limits_set(cloud->limits, value);
}

/* @what: {"session": n | "to": device, neither: all; "topic", "qos"} */
static void obey_publish(struct tb_cloud *cloud, struct json_object *what, const void *body,
			 size_t size)
{
	struct json_object *number = json_object_object_get(what, "session");
	const char *topic = tb_member(what, "topic"), *to = tb_member(what, "to");
	int qos = json_object_get_int(json_object_object_get(what, "qos"));
	struct tb_session *s;

	for (s = cloud->sessions; s && topic; s = s->next) {
		if (number && s->number != json_object_get_int64(number))
			continue;
		if (to && !tb_same(tb_member(s->device, "name"), to))
			continue;
		mosquitto_broker_publish_copy(mosquitto_client_id(s->client), topic, (int)size,
					      body, qos, false, NULL);
	}
}

/* @what: {"session": n, absent: all; "in": ticks} */
static void obey_kick(struct tb_cloud *cloud, struct json_object *what)
{
	struct json_object *number = json_object_object_get(what, "session");
	struct tb_session *s;

	for (s = cloud->sessions; s; s = s->next)
		if (!number || s->number == json_object_get_int64(number))
			s->kick_in = json_object_get_int(json_object_object_get(what, "in"));
}

static void tell_counters(struct tb_cloud *cloud, struct json_object *call)
{
	struct json_object *answer = json_object_new_object();
	const struct tb_session *s;
	int n = 0;

	for (s = cloud->sessions; s; s = s->next)
		n++;
	json_object_object_add(answer, "event", json_object_new_string("answer"));
	json_object_object_add(answer, "call", json_object_get(call));
	json_object_object_add(answer, "publishes", json_object_new_int64(cloud->n_publishes));
	json_object_object_add(answer, "taken", json_object_new_int64(cloud->n_taken));
	json_object_object_add(answer, "rejected", json_object_new_int64(cloud->n_rejected));
	json_object_object_add(answer, "suspect", json_object_new_int64(cloud->n_suspect));
	json_object_object_add(answer, "connects", json_object_new_int64(cloud->n_connects));
	json_object_object_add(answer, "sessions", json_object_new_int(n));
	tb_core_tell(cloud, answer, NULL, 0);
}

void tb_core_obey(struct tb_cloud *cloud, const void *data, size_t size)
{
	const unsigned char *bytes = data;
	const char *text = (const char *)data + SIZE_BYTES, *body;
	struct json_object *root, *part;
	struct tb_session *s;
	size_t text_size;

	if (size < SIZE_BYTES)
		return;
	text_size = (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 |
		    (size_t)bytes[3] << 24;
	if (text_size > size - SIZE_BYTES)
		return;
	root = tb_payload_parse(text, text_size);
	body = text + text_size;
	size -= SIZE_BYTES + text_size;
	if (json_object_object_get_ex(root, "set", &part))
		obey_set(cloud, part);
	if (json_object_object_get_ex(root, "devices", &part))
		tb_session_set_devices(cloud, json_object_get(part));
	if (json_object_object_get_ex(root, "publish", &part))
		obey_publish(cloud, part, body, size);
	if (json_object_object_get_ex(root, "kick", &part))
		obey_kick(cloud, part);
	if (json_object_object_get_ex(root, "forget", &part))
		tb_subdevice_forget(cloud, json_object_get_string(part));
	if (json_object_object_get_ex(root, "rename", &part))
		tb_subdevice_rename(cloud, tb_member(part, "from"), tb_member(part, "to"));
	if (json_object_object_get_ex(root, "expire", &part))
		for (s = cloud->sessions; s; s = s->next)
			tb_subdevice_close(cloud, s, json_object_get_string(part), "expired");
	if (json_object_object_get_ex(root, "call", &part))
		tell_counters(cloud, part);
	json_object_put(root);
}
