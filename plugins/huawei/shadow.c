/*
 * A field device asks for its shadow: what an application wants of it, and what IoTDA has of it. It
 * asks as devices ask ThingsBoard for attributes (`request: {kind: attributes}`), with the names of
 * services; `client` is what it has reported, `shared` is what is desired:
 *
 *	{"client":["env"],"shared":["cfg"]}  from the device
 *	{"object_device_id":"p1_pump-01"}    to shadow/get/request_id=7, with "service_id" if there is one
 *	{"shadow":[{"service_id":"cfg","desired":{"properties":{"limit":5}},"reported":{…}}]}  back
 *	{"result":{"client":{},"shared":{"cfg":{"limit":5}}}}  to the device
 *
 * A question that gets no answer in time is forgotten, and so are all when the session ends: the host
 * tells the device when it has waited for too long, and offers again what was not acknowledged.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "huawei.h"

#define ANSWER_WITHIN_S 30u

#define MAX_SERVICE 128 /* of a service's id; IoTDA's have 64 characters at most */

static const char *const lists[] = {"client", "shared"};
static const char *const sides[] = {"reported", "desired"}; /* of the shadow */

#define N_LISTS (sizeof(lists) / sizeof(lists[0]))

void hw_respond_error(struct hw *hw, struct fg_span ref, const char *code, const char *what)
{
	char body[256];

	snprintf(body, sizeof(body), "{\"error\":{\"code\":\"%s\",\"text\":\"%s\"}}", code, what);
	hw->host->respond(hw->host_ctx, ref, fg_span_str(body));
}

/* ------------------------------------------------------------------ asking */

enum hw_step hw_decline(struct hw_call *call, size_t i, const char *code, const char *what)
{
	hw_respond_error(call->hw, call->batch->messages[i].ref, code, what);
	call->batch->states[i] = FG_NOTHING;
	return HW_STEP_ON;
}

/* A free place, or NULL. */
static struct hw_question *free_question(struct hw *hw)
{
	for (unsigned i = 0; i < HW_MAX_QUESTIONS; i++)
		if (hw->questions[i].number == 0 || hw->questions[i].deadline_s <= hw->uptime_s)
			return &hw->questions[i];
	return NULL;
}

static bool is_service(struct fg_json_value name)
{
	return name.type == FG_JSON_STRING && !fg_span_is(name.text, "\"\"");
}

/* The only service that @body names, as a JSON string; empty: there are several, or none. */
static struct fg_span only_service(struct fg_json_value body)
{
	struct fg_span only = {0};
	struct fg_json_value names;
	struct fg_json_member name;
	struct fg_json_walk walk;

	for (size_t i = 0; i < N_LISTS; i++) {
		if (!fg_json_member(body, fg_span_str(lists[i]), &names) ||
		    names.type != FG_JSON_ARRAY)
			continue;
		fg_json_walk_begin(&walk, names);
		while (fg_json_walk_next(&walk, &name)) {
			if (!is_service(name.value) ||
			    (only.size > 0 && !fg_span_equal(only, name.value.text)))
				return (struct fg_span){0};
			only = name.value.text;
		}
	}
	return only;
}

/* Returns 1; 0 when it does not fit into a packet; or -EINVAL. */
static int publish_question(struct hw_call *call, const struct fg_message *m, uint64_t number,
			    struct fg_json_value body)
{
	struct hw *hw = call->hw;
	struct fg_span service = only_service(body);
	const char *comma = "";
	struct fg_text text;
	char suffix[64];
	int r;

	snprintf(suffix, sizeof(suffix), "shadow/get/request_id=%" PRIu64, number);
	r = hw_publish_begin(hw, call->out, suffix, HW_MAX_CONTENT, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{");
	if (!hw_is_own(hw, m)) {
		fg_put(&text, "\"object_device_id\":\"");
		hw_put_device_id(hw, &text, m->device);
		fg_put(&text, "\"");
		comma = ",";
	}
	if (service.size > 0) {
		fg_put(&text, comma);
		fg_put(&text, "\"service_id\":");
		fg_put_span(&text, service);
	}
	fg_put(&text, "}");
	call->out->payload_len = fg_text_size(&text);
	return !text.is_full;
}

enum hw_step hw_take_request(struct hw_call *call, size_t i, int *ret)
{
	struct hw *hw = call->hw;
	const struct fg_message *m = &call->batch->messages[i];
	struct hw_question *question;
	struct fg_json_value body;
	struct fg_json_fault fault;

	if (!fg_span_is(m->stream, "attributes"))
		return hw_decline(call, i, "unknown_command",
				  "IoTDA can be asked for attributes, and to delete a device");
	if (fg_json_check(m->body, &body, &fault) < 0 || body.type != FG_JSON_OBJECT)
		return hw_decline(call, i, "bad_params", "a JSON object is needed");
	if (m->ref.size > sizeof(question->ref) || m->body.size > sizeof(question->body))
		return hw_decline(call, i, "no_room", "it names too many services");
	if (hw->n_items > 0 || call->batch->max_take == 0)
		return HW_STEP_ON;
	question = free_question(hw);
	if (!question)
		return hw_decline(call, i, "busy", "too many devices ask for their shadow");
	/* Other numbers than before a restart: an answer to those may still come. */
	if (hw->last_question == 0)
		hw->last_question = (uint64_t)llabs(call->batch->now_us);
	*ret = publish_question(call, m, hw->last_question + 1, body);
	if (*ret == 0)
		return hw_decline(call, i, "no_room", "the question is too large for a packet");
	if (*ret < 0)
		return HW_STEP_PUBLISHED;
	*question = (struct hw_question){
		.number = ++hw->last_question,
		.deadline_s = hw->uptime_s + ANSWER_WITHIN_S,
		.ref_size = m->ref.size,
		.body_size = m->body.size,
	};
	memcpy(question->ref, m->ref.data, m->ref.size);
	memcpy(question->body, m->body.data, m->body.size);
	call->batch->states[i] = FG_TAKEN;
	return HW_STEP_PUBLISHED;
}

/* ------------------------------------------------------------------ the answer */

static bool is_named(struct fg_json_value names, struct fg_span service)
{
	struct fg_json_member name;
	struct fg_json_walk walk;
	struct fg_span raw;

	fg_json_walk_begin(&walk, names);
	while (fg_json_walk_next(&walk, &name)) {
		raw = name.value.text;
		if (name.value.type == FG_JSON_STRING && raw.size >= 2 &&
		    fg_json_name_is(fg_span_of(raw.data + 1, raw.size - 2), service))
			return true;
	}
	return false;
}

/* "cfg":{"limit":5}, … of all services of @shadow that are among @names */
static void put_side(struct fg_text *out, struct fg_json_value shadow, struct fg_json_value names,
		     const char *side)
{
	struct fg_json_value id, part, properties;
	struct fg_json_member entry;
	struct fg_json_walk walk;
	char raw[HW_RAW(MAX_SERVICE)];
	struct fg_span service;
	const char *comma = "";

	fg_json_walk_begin(&walk, shadow);
	while (fg_json_walk_next(&walk, &entry)) {
		if (entry.value.type != FG_JSON_OBJECT ||
		    !fg_json_member(entry.value, fg_span_str("service_id"), &id) ||
		    !hw_string_read(id, raw, sizeof(raw), &service) || !is_named(names, service) ||
		    !fg_json_member(entry.value, fg_span_str(side), &part) ||
		    part.type != FG_JSON_OBJECT ||
		    !fg_json_member(part, fg_span_str("properties"), &properties) ||
		    properties.type != FG_JSON_OBJECT)
			continue;
		fg_put(out, comma);
		fg_put_quoted(out, service);
		fg_put(out, ":");
		fg_put_json(out, properties.text);
		comma = ",";
	}
}

static void respond(struct hw *hw, const struct hw_question *question, struct fg_json_value shadow)
{
	struct fg_text text = fg_text_begin(hw->scratch, HW_MAX_REPORT);
	struct fg_span ref = fg_span_of(question->ref, question->ref_size);
	struct fg_json_value body, names;
	struct fg_json_fault fault;
	const char *comma = "";

	fg_json_check(fg_span_of(question->body, question->body_size), &body, &fault);
	fg_put(&text, "{\"result\":{");
	for (size_t i = 0; i < N_LISTS; i++) {
		if (!fg_json_member(body, fg_span_str(lists[i]), &names) ||
		    names.type != FG_JSON_ARRAY)
			continue;
		fg_put(&text, comma);
		fg_put_quoted(&text, fg_span_str(lists[i]));
		fg_put(&text, ":{");
		put_side(&text, shadow, names, sides[i]);
		fg_put(&text, "}");
		comma = ",";
	}
	fg_put(&text, "}}");
	if (text.is_full)
		hw_respond_error(hw, ref, "no_room", "the shadow is too large");
	else
		hw->host->respond(hw->host_ctx, ref, fg_text_span(&text));
}

int hw_shadow_received(struct hw *hw, const char *request_id, struct fg_span payload)
{
	struct fg_json_value object, shadow;
	struct hw_question *question = NULL;
	struct fg_json_fault fault;
	char number[24];

	for (unsigned i = 0; i < HW_MAX_QUESTIONS; i++) {
		snprintf(number, sizeof(number), "%" PRIu64, hw->questions[i].number);
		if (hw->questions[i].number > 0 && strcmp(number, request_id) == 0)
			question = &hw->questions[i];
	}
	if (!question)
		return 0; /* too late, or a second time */
	question->number = 0;
	if (fg_json_check(payload, &object, &fault) < 0 || object.type != FG_JSON_OBJECT ||
	    !fg_json_member(object, fg_span_str("shadow"), &shadow) ||
	    shadow.type != FG_JSON_ARRAY) {
		hw_respond_error(hw, fg_span_of(question->ref, question->ref_size), "refused",
				 "IoTDA has no shadow of this device");
		return -EPROTO;
	}
	respond(hw, question, shadow);
	return 0;
}

void hw_shadow_forget(struct hw *hw)
{
	for (unsigned i = 0; i < HW_MAX_QUESTIONS; i++)
		hw->questions[i].number = 0;
}
