/*
 * RPC from ThingsBoard: a command is handed to the host at once, and its final answer, which comes
 * as a message, is published. The id of a command carries what the answer needs:
 *
 *	g/12/0123456789abcdef   to a sub-device, number 12     (v1/gateway/rpc)
 *	d/12/0123456789abcdef   to the connected device itself (v1/devices/me/rpc/response/12)
 *
 * The last part is fg_hash() of device, method and params. ThingsBoard counts the commands of each
 * device from 0, and again from 0 after its restart: with the hash a command that is delivered again
 * is told from a new one that only has the same number. (An unanswered persistent command that comes
 * back under another number after a restart of the server cannot be told from a new one.)
 *
 * Not the host's business are the two notices about sub-devices, and what makes no sense.
 */
#include <errno.h>
#include <stdio.h>

#include "model/json.h"
#include "thingsboard.h"
#include "util/hash.h"

#define MAX_METHOD 255

/* Where an answer goes. */
struct address {
	bool is_own;
	uint32_t number;
	struct fg_span device;
};

/* ------------------------------------------------------------------ answers of our own */

/* Once there are too many the oldest gives way: its caller gets a timeout from ThingsBoard. */
static void note(struct tb *tb, const struct address *to, const char *error)
{
	struct tb_note *n;

	if (tb->n_notes == TB_MAX_NOTES) {
		tb->first_note = (tb->first_note + 1) % TB_MAX_NOTES;
		tb->n_notes--;
	}
	n = &tb->notes[(tb->first_note + tb->n_notes++) % TB_MAX_NOTES];
	*n = (struct tb_note){.is_own = to->is_own, .number = to->number, .error = error};
	n->device_size = (uint8_t)to->device.size;
	if (to->device.size > 0)
		memcpy(n->device, to->device.data, to->device.size);
}

/* ------------------------------------------------------------------ down */

static void hand_over(struct tb *tb, const struct address *to, struct fg_span method,
		      struct fg_span params, bool is_one_way)
{
	char id[64];
	struct fg_command command = {
		.device = to->device,
		.name = method,
		.params = params,
		.timeout_ms = tb->with.rpc_timeout_ms,
		.is_one_way = is_one_way,
	};
	uint64_t hash = fg_hash(fg_hash(fg_hash(0, to->device), method), params);

	snprintf(id, sizeof(id), "%c/%u/%016llx", to->is_own ? 'd' : 'g', to->number,
		 (unsigned long long)hash);
	command.id = command.key = fg_span_str(id);
	tb->host->command(tb->host_ctx, &command);
}

/* {"pump 4":"north pump"} Returns NULL, or why it was not done. */
static const char *devices_renamed(struct tb *tb, struct fg_json_value params)
{
	char from_text[TB_NAME_SIZE], to_text[TB_NAME_SIZE];
	struct fg_json_member member;
	struct fg_json_walk walk;
	struct fg_span from, to;
	const char *error = NULL;

	if (params.type != FG_JSON_OBJECT)
		return "the names are missing";
	fg_json_walk_begin(&walk, params);
	while (fg_json_walk_next(&walk, &member)) {
		if (!tb_name_read(member.name, from_text, &from) ||
		    !tb_name_read(tb_raw_string(member.value), to_text, &to) ||
		    tb->host->rename(tb->host_ctx, from, to) < 0)
			error = "there is no such device, or it cannot have that name";
		else if (tb_device_renamed(tb, from, to) < 0)
			error = "out of memory";
	}
	return error;
}

/* "pump 4" Returns NULL, or why it was not done. */
static const char *device_deleted(struct tb *tb, struct fg_json_value params)
{
	char text[TB_NAME_SIZE];
	struct fg_span name;

	if (!tb_name_read(tb_raw_string(params), text, &name))
		return "the name is missing";
	if (tb->with.on_delete == TB_DELETE_MUTES && tb->host->mute(tb->host_ctx, name) < 0)
		return "there is no such device";
	tb_device_deleted(tb, name);
	return NULL;
}

static bool take_notice(struct tb *tb, const struct address *to, struct fg_span method,
			struct fg_json_value params)
{
	const char *error;

	if (tb->with.mode != TB_MODE_GATEWAY || !to->is_own)
		return false;
	if (fg_span_is(method, "gateway_device_renamed"))
		error = devices_renamed(tb, params);
	else if (fg_span_is(method, "gateway_device_deleted"))
		error = device_deleted(tb, params);
	else
		return false;
	if (error)
		tb->host->warn(tb->host_ctx,
			       "a device was renamed or deleted in ThingsBoard, but here it cannot "
			       "be: %s",
			       error);
	note(tb, to, error);
	return true;
}

/* @object: {"method":"start","params":{"rpm":900}} */
static void take_call(struct tb *tb, const struct address *to, struct fg_json_value object)
{
	struct fg_json_value method = {0}, params = {0}, one_way = {.type = FG_JSON_NULL};
	char name[MAX_METHOD * 6];
	struct fg_span raw;

	if (object.type == FG_JSON_OBJECT) {
		fg_json_member(object, fg_span_str("method"), &method);
		fg_json_member(object, fg_span_str("params"), &params);
		/* Told by the gateway API's protobuf only; in JSON it would be a member like any. */
		if (tb->with.is_protobuf)
			fg_json_member(object, fg_span_str("oneway"), &one_way);
	}
	if (!method.text.data || !tb_name_read(tb_raw_string(method), name, &raw)) {
		tb->host->warn(tb->host_ctx,
			       "ThingsBoard sent a command without a method, or with one of more "
			       "than %d bytes",
			       MAX_METHOD);
		note(tb, to, "a method of 1 to 255 bytes is needed");
		return;
	}
	if (!take_notice(tb, to, raw, params))
		hand_over(tb, to, raw, params.text, one_way.type == FG_JSON_TRUE);
}

int tb_command_for_device(struct tb *tb, struct fg_span payload)
{
	struct fg_json_value object, device, data, id;
	struct fg_json_fault fault;
	struct address to = {0};
	char name[TB_NAME_SIZE];

	if (fg_json_check(payload, &object, &fault) < 0 || object.type != FG_JSON_OBJECT ||
	    !fg_json_member(object, fg_span_str("device"), &device) ||
	    !tb_name_read(tb_raw_string(device), name, &to.device) ||
	    !fg_json_member(object, fg_span_str("data"), &data) || data.type != FG_JSON_OBJECT ||
	    !fg_json_member(data, fg_span_str("id"), &id) || !tb_id_read(id, &to.number))
		return -EPROTO;
	if (!tb_devices_find(tb->devices, to.device))
		tb->host->warn(tb->host_ctx,
			       "ThingsBoard has a command for device \"%.*s\", which was not "
			       "announced to it",
			       FG_SPAN_ARGS(to.device));
	take_call(tb, &to, data);
	return 0;
}

int tb_command_for_self(struct tb *tb, uint32_t number, struct fg_span payload)
{
	struct address to = {
		.is_own = true, .number = number, .device = fg_span_str(tb->with.device)};
	struct fg_json_value object = {0};
	struct fg_json_fault fault;

	if (fg_json_check(payload, &object, &fault) < 0)
		object = (struct fg_json_value){.type = FG_JSON_NULL};
	take_call(tb, &to, object);
	return 0;
}

/* ------------------------------------------------------------------ up */

/* Returns 0 or -EINVAL. */
static int begin_answer(const struct tb *tb, struct fg_publish *out, const struct address *to,
			struct fg_text *ret)
{
	int r;

	if (to->is_own)
		return tb_publish_begin(tb, out, TB_RPC_RESPONSE, to->number, ret);
	r = tb_publish_begin(tb, out, TB_GATEWAY_RPC, -1, ret);
	if (r < 0)
		return r;
	fg_put(ret, "{\"device\":");
	fg_put_quoted(ret, to->device);
	fg_put(ret, ",\"id\":");
	fg_put_number(ret, to->number);
	fg_put(ret, ",\"data\":");
	return 0;
}

/* Returns 1, or 0 when it does not fit. */
static int end_answer(struct fg_publish *out, const struct address *to, struct fg_text *text)
{
	if (!to->is_own)
		fg_put(text, "}");
	return tb_publish_end(out, text, to->is_own ? TB_SCOPE_OWN : TB_SCOPE_DEVICES);
}

static void put_error(struct fg_text *text, const char *error, const char *code)
{
	fg_put(text, "{\"error\":");
	fg_put_quoted(text, fg_span_str(error));
	fg_put(text, ",\"code\":");
	fg_put_quoted(text, fg_span_str(code));
	fg_put(text, "}");
}

int tb_publish_note(struct tb_call *call)
{
	struct tb *tb = call->tb;
	const struct tb_note *n = &tb->notes[tb->first_note];
	struct address to = {.is_own = n->is_own,
			     .number = n->number,
			     .device = fg_span_of(n->device, n->device_size)};
	struct fg_text text;
	int r;

	if (tb->n_notes == 0 || (!to.is_own && tb->gate != TB_GATE_OPEN))
		return 0;
	tb->first_note = (tb->first_note + 1) % TB_MAX_NOTES;
	tb->n_notes--;
	r = begin_answer(tb, call->out, &to, &text);
	if (r < 0)
		return r;
	if (n->error)
		put_error(&text, n->error, "bad_params");
	else
		fg_put(&text, "{\"success\":true}");
	call->out->tag = tb_tag_make(TB_TAG_DATA, ++tb->serial, 0);
	return end_answer(call->out, &to, &text);
}

/* What the host says of a command. */
struct answer {
	bool has_result, has_error;
	struct fg_json_value result, error;
	struct fg_span code; /* with its quotes, or empty */
};

static bool read_answer(struct fg_span body, struct answer *ret)
{
	struct fg_json_value object, code;
	struct fg_json_fault fault;

	*ret = (struct answer){0};
	if (fg_json_check(body, &object, &fault) < 0 || object.type != FG_JSON_OBJECT)
		return false;
	ret->has_result = fg_json_member(object, fg_span_str("result"), &ret->result);
	ret->has_error = fg_json_member(object, fg_span_str("error"), &ret->error);
	if (!ret->has_error || ret->error.type != FG_JSON_OBJECT)
		return ret->has_result || ret->has_error;
	object = ret->error;
	if (fg_json_member(object, fg_span_str("code"), &code))
		ret->code = code.text;
	return fg_json_member(object, fg_span_str("text"), &ret->error) || ret->code.size > 0;
}

/* {"error":"the device is not there","code":"offline"}, or the result as it is. */
static void put_answer(struct fg_text *text, const struct answer *answer)
{
	if (!answer->has_error) {
		fg_put_json(text, answer->result.text);
		return;
	}
	fg_put(text, "{\"error\":");
	fg_put_json(text, answer->error.text);
	if (answer->code.size > 0) {
		fg_put(text, ",\"code\":");
		fg_put_json(text, answer->code);
	}
	if (answer->has_result) {
		fg_put(text, ",\"result\":");
		fg_put_json(text, answer->result.text);
	}
	fg_put(text, "}");
}

/* Returns 1; 0 when message @i was refused; or -EINVAL. */
static int publish_answer(struct tb_call *call, size_t i, const struct address *to,
			  const struct answer *answer)
{
	struct tb *tb = call->tb;
	struct fg_publish *out = call->out;
	struct fg_text text;
	int r;

	r = begin_answer(tb, out, to, &text);
	if (r < 0)
		return r;
	put_answer(&text, answer);
	r = end_answer(out, to, &text);
	if (r == 0) {
		begin_answer(tb, out, to, &text);
		put_error(&text, "the answer is too large for ThingsBoard", "no_room");
		r = end_answer(out, to, &text);
	}
	if (r == 0) {
		tb_refuse(call, i, "not even an error fits into one packet");
		return 0;
	}
	call->batch->states[i] = FG_TAKEN;
	out->tag = tb_tag_make(TB_TAG_DATA, ++tb->serial, 0);
	tb->flights[tb->serial % TB_MAX_FLIGHTS] = tb->serial;
	return 1;
}

/*
 * ThingsBoard connects a sub-device by itself when an answer names it, with the profile "default":
 * it is announced first, unless it is none of ours.
 */
static enum tb_step answer_for_device(struct tb_call *call, size_t i, const struct address *to,
				      const struct answer *answer, int *ret)
{
	struct tb *tb = call->tb;
	struct tb_device *device;
	enum tb_step step;

	if (tb->gate != TB_GATE_OPEN)
		return TB_STEP_ON;
	if (fg_span_is(answer->code, "\"unknown_device\"")) {
		*ret = publish_answer(call, i, to, answer);
		return *ret == 0 ? TB_STEP_ON : TB_STEP_PUBLISHED;
	}
	if (!tb_call_announced(call, i, &device, &step, ret))
		return step;
	*ret = publish_answer(call, i, to, answer);
	if (*ret == 0)
		return TB_STEP_ON;
	if (*ret > 0) {
		device->last_flight = tb->serial;
		tb_device_spoke(tb, device);
		if (device->is_away)
			tb_line_enter(tb->devices, TB_LINE_ANNOUNCE, device);
	}
	return TB_STEP_PUBLISHED;
}

/* Reads "g/12/…". */
static bool read_ref(struct fg_span ref, struct address *ret)
{
	uint64_t n = 0;
	size_t i;

	if (ref.size < 4 || (ref.data[0] != 'd' && ref.data[0] != 'g') || ref.data[1] != '/')
		return false;
	for (i = 2; i < ref.size && ref.data[i] >= '0' && ref.data[i] <= '9' && n <= INT32_MAX; i++)
		n = n * 10 + (uint64_t)(ref.data[i] - '0');
	if (i == 2 || i == ref.size || ref.data[i] != '/' || n > INT32_MAX)
		return false;
	ret->is_own = ref.data[0] == 'd';
	ret->number = (uint32_t)n;
	return true;
}

enum tb_step tb_take_response(struct tb_call *call, size_t i, int *ret)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	struct address to = {.device = m->device};
	struct answer answer;

	if (!read_ref(m->ref, &to)) {
		tb_refuse(call, i, "it does not answer a command of ThingsBoard");
		return TB_STEP_ON;
	}
	if (!to.is_own && tb->with.mode == TB_MODE_DEVICE) {
		tb_refuse(call, i, "it answers a command that came in mode gateway");
		return TB_STEP_ON;
	}
	if (!read_answer(m->body, &answer)) {
		tb_refuse(call, i, "an answer wants a result or an error");
		return TB_STEP_ON;
	}
	if (tb->n_items > 0 || call->batch->max_take == 0)
		return TB_STEP_ON;
	if (!to.is_own)
		return answer_for_device(call, i, &to, &answer, ret);
	*ret = publish_answer(call, i, &to, &answer);
	return *ret == 0 ? TB_STEP_ON : TB_STEP_PUBLISHED;
}
