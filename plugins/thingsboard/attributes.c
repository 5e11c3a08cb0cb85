/*
 * Attributes on their way down: what ThingsBoard sets and deletes, what is fetched after each connect
 * because the server keeps nothing for those who are away, and what field devices ask for.
 *
 * The gateway API gives one scope a question, and the value of a single key without its name:
 *	{"id":7,"device":"pump 4","client":false,"key":"interval"} → {"id":7,"device":"pump 4","value":30}
 *	… "keys":["a","b"]} → … "values":{"a":1}}
 * The device API gives both at once:
 *	{"clientKeys":"a,b","sharedKeys":"c"} → {"client":{…},"shared":{…}}, each if there is something
 */
#include <errno.h>
#include <stdlib.h>

#include "model/json.h"
#include "thingsboard.h"
#include "util/cleanup.h"

/* A device that does not answer to its fetch is asked so often in a session. */
#define MAX_FETCH_ATTEMPTS 3

/* Of an answer, around the values. */
#define WRAPPING 64

/* ------------------------------------------------------------------ lists of names */

/* All that tells an image. */
#define IMAGE_KEYS(prefix)                                                                         \
	"\"" prefix "_title\",\"" prefix "_version\",\"" prefix "_tag\",\"" prefix                 \
	"_size\",\"" prefix "_checksum_algorithm\",\"" prefix "_checksum\",\"" prefix "_url\""
static const char image_list[] = "[" IMAGE_KEYS("fw") "," IMAGE_KEYS("sw") "]";

static struct fg_json_value array_of(struct fg_span text)
{
	return (struct fg_json_value){.type = FG_JSON_ARRAY, .text = text};
}

static struct fg_json_value object_of(struct fg_span text)
{
	return (struct fg_json_value){.type = FG_JSON_OBJECT, .text = text};
}

static size_t count(struct fg_span array)
{
	struct fg_json_member member;
	struct fg_json_walk walk;
	size_t n = 0;

	if (array.size == 0)
		return 0;
	fg_json_walk_begin(&walk, array_of(array));
	while (fg_json_walk_next(&walk, &member))
		n++;
	return n;
}

/* Returns NULL, or what is wrong with the list of names at @name of @body, which goes to *@ret. */
static const char *read_names(struct fg_json_value body, const char *name, bool is_joined,
			      struct fg_span *ret)
{
	char text[TB_NAME_SIZE];
	struct fg_json_member member;
	struct fg_json_value list;
	struct fg_json_walk walk;
	struct fg_span key;

	if (!fg_json_member(body, fg_span_str(name), &list))
		return NULL;
	if (list.type != FG_JSON_ARRAY)
		return "client and shared must be lists of names";
	fg_json_walk_begin(&walk, list);
	while (fg_json_walk_next(&walk, &member)) {
		if (!tb_name_read(tb_raw_string(member.value), text, &key))
			return "client and shared must be lists of names";
		if (is_joined && memchr(key.data, ',', key.size))
			return "ThingsBoard cannot be asked for a name with a comma in it";
	}
	if (count(list.text) > 0)
		*ret = list.text;
	return NULL;
}

const char *tb_attributes_read_request(const struct tb *tb, struct fg_json_value body,
				       struct tb_question *q)
{
	bool is_gateway = tb->with.mode == TB_MODE_GATEWAY;
	const char *fault = read_names(body, "client", !is_gateway, &q->client_keys);

	if (!fault)
		fault = read_names(body, "shared", !is_gateway, &q->shared_keys);
	if (fault)
		return fault;
	if (is_gateway && q->client_keys.size == 0 && q->shared_keys.size == 0)
		return "client or shared must name attributes";
	q->asks_client = q->client_keys.size > 0;
	return NULL;
}

int tb_attributes_read_option(struct tb *tb)
{
	const char *at = tb->with.shared_attributes, *end, *last, *comma = "";
	/* Without names the device API tells all there are. */
	bool adds_images = tb->with.fetches_images && (at || tb->with.mode == TB_MODE_GATEWAY);
	struct fg_text text;
	size_t size;

	if (!at && !adds_images)
		return 0;
	at = at ? at : "";
	size = 8 * strlen(at) + 8 + sizeof(image_list); /* each name in quotes, escaped */
	tb->shared_keys = malloc(size);
	if (!tb->shared_keys)
		return -ENOMEM;
	text = fg_text_begin(tb->shared_keys, size - 1);
	fg_put(&text, "[");
	for (; *at; at = *end ? end + 1 : end) {
		end = at + strcspn(at, ",");
		at += strspn(at, " ");
		for (last = end; last > at && last[-1] == ' ';)
			last--;
		if (last <= at)
			continue;
		fg_put(&text, comma);
		fg_put_quoted(&text, fg_span_of(at, (size_t)(last - at)));
		comma = ",";
	}
	if (adds_images) {
		fg_put(&text, comma);
		fg_put_span(&text, fg_span_of(image_list + 1, sizeof(image_list) - 3));
		comma = ",";
	}
	fg_put(&text, "]");
	*text.at = 0;
	if (!*comma)
		tb->shared_keys[0] = 0;
	return 0;
}

/* ------------------------------------------------------------------ asking */

static int publish_to_gateway_api(struct tb_call *call, const struct tb_question *q)
{
	struct fg_span keys = q->asks_client ? q->client_keys : q->shared_keys;
	struct fg_json_member member;
	struct fg_json_walk walk;
	struct fg_text text;
	int r;

	r = tb_publish_begin(call->tb, call->out, TB_GATEWAY_ATTRIBUTES_REQUEST, -1, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"id\":");
	fg_put_number(&text, q->id);
	fg_put(&text, ",\"device\":");
	fg_put_quoted(&text, q->device);
	fg_put(&text, q->asks_client ? ",\"client\":true," : ",\"client\":false,");
	fg_json_walk_begin(&walk, array_of(keys));
	if (count(keys) == 1 && fg_json_walk_next(&walk, &member)) {
		fg_put(&text, "\"key\":");
		fg_put_json(&text, member.value.text);
	} else {
		fg_put(&text, "\"keys\":");
		fg_put_json(&text, keys);
	}
	fg_put(&text, "}");
	return tb_publish_end(call->out, &text, TB_SCOPE_DEVICES);
}

/* "a,b" */
static void put_joined(struct fg_text *text, const char *name, struct fg_span keys)
{
	struct fg_json_member member;
	struct fg_json_walk walk;
	const char *comma = "";

	fg_put(text, name);
	fg_put(text, ":\"");
	fg_json_walk_begin(&walk, array_of(keys));
	for (; fg_json_walk_next(&walk, &member); comma = ",") {
		fg_put(text, comma);
		fg_put_span(text, tb_raw_string(member.value));
	}
	fg_put(text, "\"");
}

static int publish_to_device_api(struct tb_call *call, const struct tb_question *q)
{
	struct fg_text text;
	int r;

	r = tb_publish_begin(call->tb, call->out, TB_ATTRIBUTES_REQUEST, q->id, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{");
	if (q->client_keys.size > 0)
		put_joined(&text, "\"clientKeys\"", q->client_keys);
	if (q->shared_keys.size > 0) {
		fg_put(&text, q->client_keys.size > 0 ? "," : "");
		put_joined(&text, "\"sharedKeys\"", q->shared_keys);
	}
	fg_put(&text, "}");
	return tb_publish_end(call->out, &text, TB_SCOPE_OWN);
}

int tb_attributes_publish(struct tb_call *call, const struct tb_question *q)
{
	if (q->device.size > 0 && call->tb->with.mode == TB_MODE_GATEWAY)
		return publish_to_gateway_api(call, q);
	return publish_to_device_api(call, q);
}

/* Fetch the shared attributes @shared_keys of @device, or of the connected device itself when that is empty.
 * Returns 1, 0 when it cannot be, or -EINVAL or -ENOMEM. */
static int fetch(struct tb_call *call, struct fg_span device, struct fg_span shared_keys)
{
	struct tb *tb = call->tb;
	struct tb_question like = {
		.kind = TB_ASK_FETCH,
		.device = device,
		.shared_keys = shared_keys,
	};
	struct tb_question *q = tb_question_new(tb, &like);
	int r;

	if (!q)
		return -ENOMEM;
	r = tb_attributes_publish(call, q);
	if (r > 0)
		call->out->tag = tb_tag_make(TB_TAG_QUESTION, 0, q->id);
	else
		tb_question_free(tb, q);
	return r;
}

int tb_attributes_fetch_images(struct tb_call *call)
{
	if (!tb_questions_have_room(call->tb, true))
		return 0;
	return fetch(call, (struct fg_span){0}, fg_span_str(image_list));
}

/* A question nobody waits for the answer to: it counts as a sign of life. */
static int keep_alive(struct tb_call *call, struct tb_device *device)
{
	struct tb *tb = call->tb;
	struct tb_question q = {
		.id = tb_questions_next_id(tb),
		.device = tb_device_name(device),
		.shared_keys = fg_span_str("[\"keep_alive\"]"),
	};

	call->out->tag = tb_tag_make(TB_TAG_DATA, ++tb->serial, 0);
	return publish_to_gateway_api(call, &q);
}

static int ask_for_next_device(struct tb_call *call)
{
	struct tb *tb = call->tb;
	struct tb_device *device = tb_line_first(tb->devices, TB_LINE_ASK);
	int r;

	if (!device || (device->wants_fetch && !tb_questions_have_room(tb, true)))
		return 0;
	r = device->wants_fetch ? fetch(call, tb_device_name(device), fg_span_str(tb->shared_keys))
				: keep_alive(call, device);
	device->wants_fetch = false;
	tb_line_leave(tb->devices, TB_LINE_ASK, device);
	tb_device_spoke(tb, device);
	return r;
}

int tb_attributes_ask_next(struct tb_call *call)
{
	struct tb *tb = call->tb;
	struct tb_question *q = tb_question_next(tb);
	int r = 0;

	if (tb->gate != TB_GATE_OPEN)
		return 0;
	if (q) {
		tb_question_set_state(tb, q, TB_QUESTION_ASKED);
		r = tb_attributes_publish(call, q);
		call->out->tag = tb_tag_make(TB_TAG_QUESTION, 0, q->id);
	}
	if (r == 0 && tb->wants_own_fetch && tb_questions_have_room(tb, true)) {
		tb->wants_own_fetch = false;
		r = fetch(call, (struct fg_span){0}, fg_span_str(tb->shared_keys));
	}
	if (r == 0 && tb->devices)
		r = ask_for_next_device(call);
	return r;
}

void tb_attributes_begin(struct tb *tb)
{
	bool is_asked = tb->shared_keys && *tb->shared_keys;

	/* Without names the device API tells all there are; the gateway API tells none. */
	tb->wants_own_fetch =
		is_asked || (tb->with.mode == TB_MODE_DEVICE && !tb->with.shared_attributes);
	tb->n_own_unanswered = 0;
}

void tb_attributes_device_connected(struct tb *tb, struct tb_device *device)
{
	if (!tb->shared_keys || !*tb->shared_keys || device->is_away)
		return;
	device->wants_fetch = true;
	tb_line_enter(tb->devices, TB_LINE_ASK, device);
}

void tb_fetch_failed(struct tb *tb, const struct tb_question *q)
{
	struct tb_device *device = NULL;
	uint8_t *n = &tb->n_own_unanswered;

	if (q->device.size > 0) {
		device = tb_devices_find(tb->devices, q->device);
		if (!device || device->state != TB_ANNOUNCED)
			return;
		n = &device->n_unanswered;
	}
	if (++*n >= MAX_FETCH_ATTEMPTS)
		tb->host->warn(tb->host_ctx,
			       "ThingsBoard does not tell the shared attributes of \"%.*s\"; only "
			       "what changes from now on will arrive",
			       FG_SPAN_ARGS(q->device));
	else if (device)
		tb_attributes_device_connected(tb, device);
	else
		tb->wants_own_fetch = true;
}

/* ------------------------------------------------------------------ what ThingsBoard says */

/* Whose attributes these are, to the host; @device is empty for the connected device itself. */
static struct fg_span whose(const struct tb *tb, struct fg_span device)
{
	return device.size > 0 ? device : fg_span_str(tb->with.device);
}

static void tell_config(struct tb *tb, struct fg_span device, struct fg_span set,
			struct fg_span unset)
{
	if (set.size > 2 || unset.size > 2)
		tb->host->config(tb->host_ctx, whose(tb, device), set, unset);
}

/* What is set or deleted. */
static void shared_changed(struct tb *tb, struct fg_span device, struct fg_span set,
			   struct fg_span unset)
{
	tb_images_changed(tb, whose(tb, device), set, unset);
	tell_config(tb, device, set, unset);
}

/* {"interval":15} or {"deleted":["interval"]} Returns 0 or -EPROTO. */
static int take_update(struct tb *tb, struct fg_span device, struct fg_json_value data)
{
	struct fg_json_member member;
	struct fg_json_walk walk;

	if (data.type != FG_JSON_OBJECT)
		return -EPROTO;
	fg_json_walk_begin(&walk, data);
	if (fg_json_walk_next(&walk, &member) &&
	    fg_json_name_is(member.name, fg_span_str("deleted")) &&
	    member.value.type == FG_JSON_ARRAY)
		shared_changed(tb, device, (struct fg_span){0}, member.value.text);
	else
		shared_changed(tb, device, data.text, (struct fg_span){0});
	return 0;
}

int tb_attributes_of_self(struct tb *tb, struct fg_span payload)
{
	struct fg_json_value data;
	struct fg_json_fault fault;

	if (fg_json_check(payload, &data, &fault) < 0)
		return -EPROTO;
	return take_update(tb, (struct fg_span){0}, data);
}

int tb_attributes_of_device(struct tb *tb, struct fg_span payload)
{
	struct fg_json_value notice, device, data;
	struct fg_json_fault fault;
	char text[TB_NAME_SIZE];
	struct fg_span name;

	if (fg_json_check(payload, &notice, &fault) < 0 || notice.type != FG_JSON_OBJECT ||
	    !fg_json_member(notice, fg_span_str("device"), &device) ||
	    !tb_name_read(tb_raw_string(device), text, &name) ||
	    !fg_json_member(notice, fg_span_str("data"), &data))
		return -EPROTO;
	return take_update(tb, name, data);
}

/* ------------------------------------------------------------------ answers */

static bool is_image_key(struct fg_json_value key)
{
	struct fg_json_member each;
	struct fg_json_walk walk;

	fg_json_walk_begin(&walk, array_of(fg_span_str(image_list)));
	while (fg_json_walk_next(&walk, &each))
		if (fg_span_equal(each.value.text, key.text))
			return true;
	return false;
}

/* The names of @keys that @values does not have, as a list: those of images, or the others. */
static void put_absent(struct fg_text *text, struct fg_span keys, struct fg_span values,
		       bool of_images)
{
	struct fg_json_value value;
	struct fg_json_member member;
	struct fg_json_walk walk;
	char unescaped[TB_NAME_SIZE];
	const char *comma = "";
	struct fg_span name;

	fg_put(text, "[");
	fg_json_walk_begin(&walk, array_of(keys));
	while (keys.size > 0 && fg_json_walk_next(&walk, &member)) {
		if (is_image_key(member.value) != of_images ||
		    !tb_name_read(tb_raw_string(member.value), unescaped, &name) ||
		    fg_json_member(object_of(values), name, &value))
			continue;
		fg_put(text, comma);
		fg_put_span(text, member.value.text);
		comma = ",";
	}
	fg_put(text, "]");
}

/* Both halves are there, or one was not asked for: {"client":{…},"shared":{…}} */
static int answer(struct tb *tb, const struct tb_question *q, struct fg_span client,
		  struct fg_span shared)
{
	size_t size = client.size + shared.size + q->shared_keys.size + WRAPPING;
	FG_CLEANUP(fg_free_p) char *buffer = malloc(size);
	struct fg_text text;

	if (!buffer)
		return -ENOMEM;
	text = fg_text_begin(buffer, size);
	if (q->kind == TB_ASK_FETCH) {
		put_absent(&text, q->shared_keys, shared, true);
		tb_images_changed(tb, whose(tb, q->device), shared, fg_text_span(&text));
		text = fg_text_begin(buffer, size);
		put_absent(&text, q->shared_keys, shared, false);
		tell_config(tb, q->device, shared, fg_text_span(&text));
		return 0;
	}
	fg_put(&text, "{\"result\":{\"client\":");
	fg_put_span(&text, client);
	fg_put(&text, ",\"shared\":");
	fg_put_span(&text, shared);
	fg_put(&text, "}}");
	tb->host->respond(tb->host_ctx, q->ref, fg_text_span(&text));
	return 0;
}

static struct fg_span object_member(struct fg_json_value from, const char *name)
{
	struct fg_json_value value;

	if (fg_json_member(from, fg_span_str(name), &value) && value.type == FG_JSON_OBJECT)
		return value.text;
	return fg_span_str("{}");
}

int tb_attributes_answered(struct tb *tb, uint32_t number, struct fg_span payload)
{
	struct tb_question *q = tb_question_find(tb, number);
	struct fg_json_value root;
	struct fg_json_fault fault;
	int r;

	if (!q || (q->kind != TB_ASK_FETCH && q->kind != TB_ASK_ATTRIBUTES))
		return 0; /* too late */
	if (fg_json_check(payload, &root, &fault) < 0 || root.type != FG_JSON_OBJECT)
		return -EPROTO;
	r = answer(tb, q, object_member(root, "client"), object_member(root, "shared"));
	if (r == 0)
		tb_question_free(tb, q);
	return r < 0 ? -EPROTO : 0;
}

/* The values in an answer of the gateway API as an object; *@ret_memory keeps them. */
static int values_of(const struct tb_question *q, struct fg_json_value root, char **ret_memory,
		     struct fg_span *ret)
{
	struct fg_span keys = q->asks_client ? q->client_keys : q->shared_keys;
	struct fg_json_value value;
	struct fg_json_member key;
	struct fg_json_walk walk;
	struct fg_text text;
	size_t size;

	*ret = object_member(root, "values");
	fg_json_walk_begin(&walk, array_of(keys));
	if (!fg_json_member(root, fg_span_str("value"), &value) || count(keys) != 1 ||
	    !fg_json_walk_next(&walk, &key))
		return 0;
	size = keys.size + value.text.size + WRAPPING;
	*ret_memory = malloc(size);
	if (!*ret_memory)
		return -ENOMEM;
	text = fg_text_begin(*ret_memory, size);
	fg_put(&text, "{");
	fg_put_span(&text, key.value.text);
	fg_put(&text, ":");
	fg_put_span(&text, value.text);
	fg_put(&text, "}");
	*ret = fg_text_span(&text);
	return 0;
}

/* The first half: keep it, and ask for the other. */
static int keep_half(struct tb *tb, struct tb_question *q, struct fg_span values)
{
	q->client_answer = strndup(values.data, values.size);
	if (!q->client_answer)
		return -ENOMEM;
	q->asks_client = false;
	q->is_second = true;
	q->id = tb_questions_next_id(tb);
	tb_question_set_state(tb, q, TB_QUESTION_NEXT);
	return 0;
}

int tb_gateway_attributes_answered(struct tb *tb, struct fg_span payload)
{
	FG_CLEANUP(fg_free_p) char *memory = NULL;
	struct fg_json_value root, id;
	struct fg_json_fault fault;
	struct fg_span values;
	struct tb_question *q;
	uint32_t number;
	int r;

	if (fg_json_check(payload, &root, &fault) < 0 || root.type != FG_JSON_OBJECT ||
	    !fg_json_member(root, fg_span_str("id"), &id) || !tb_id_read(id, &number))
		return -EPROTO;
	q = tb_question_find(tb, number);
	if (!q || q->device.size == 0 || (q->kind != TB_ASK_FETCH && q->kind != TB_ASK_ATTRIBUTES))
		return 0; /* too late */
	r = values_of(q, root, &memory, &values);
	if (r == 0 && q->asks_client && q->shared_keys.size > 0) {
		r = keep_half(tb, q, values);
		return r < 0 ? -EPROTO : 0;
	}
	if (r == 0 && q->asks_client)
		r = answer(tb, q, values, fg_span_str("{}"));
	else if (r == 0)
		r = answer(tb, q, fg_span_str(q->client_answer ? q->client_answer : "{}"), values);
	if (r == 0)
		tb_question_free(tb, q);
	return r < 0 ? -EPROTO : 0;
}
