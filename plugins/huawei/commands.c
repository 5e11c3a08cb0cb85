/*
 * Requests from IoTDA: commands, properties to be set, properties asked for. Each is handed to the
 * host as a command at once, and its final answer, which comes as a message, is published. IoTDA waits
 * 20 s for it. The id of a command carries what the answer needs:
 *
 *	c/7f3a-01/START   a command; its name makes "response_name"
 *	s/7f3a-02/        properties to be set
 *	g/7f3a-03/env     properties asked for; of this service
 *
 * A request id is given once: what IoTDA delivers again is known to the host by it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "huawei.h"

/* What a command without a name is called, and the other two. */
#define NAME_CUSTOM "command"
#define NAME_SET "set"
#define NAME_GET "get"

#define LEAST_TIMEOUT_MS 1000 /* as of answer_within */

#define MAX_NAME 255  /* of fg_command.name */
#define MAX_EXTRA 128 /* of what stands behind the request id */

/* result_code is 1 and the place in this table; 0 is success. */
static const char *const codes[] = {
	"refused", "unknown_device", "unknown_command", "bad_params", "offline",
	"busy",    "timeout",        "unknown_outcome", "no_room",    "bad_result",
};

#define N_CODES (sizeof(codes) / sizeof(codes[0]))

static unsigned number_of(struct fg_span code)
{
	for (unsigned i = 0; i < N_CODES; i++)
		if (fg_span_is(code, codes[i]))
			return i + 1;
	return N_CODES + 1;
}

/* ------------------------------------------------------------------ answers of our own */

/* Once there are too many the oldest gives way: its caller gets a timeout from IoTDA. */
static void note(struct hw *hw, enum hw_request request, struct fg_span id, const char *code,
		 const char *text)
{
	struct hw_note *n;

	if (hw->n_notes == HW_MAX_NOTES) {
		hw->first_note = (hw->first_note + 1) % HW_MAX_NOTES;
		hw->n_notes--;
	}
	n = &hw->notes[(hw->first_note + hw->n_notes++) % HW_MAX_NOTES];
	*n = (struct hw_note){.request = request, .code = code, .text = text};
	memcpy(n->id, id.data, id.size);
}

/* ------------------------------------------------------------------ down */

bool hw_is_plain(struct fg_span text)
{
	for (size_t i = 0; i < text.size; i++) {
		char c = text.data[i];

		if (!hw_is_id(&c, 1) && c != '.' && c != ':' && c != '$')
			return false;
	}
	return text.size <= MAX_EXTRA;
}

bool hw_read_device(const struct hw *hw, struct fg_json_value object, char *out,
		    struct fg_span *ret)
{
	char raw[HW_RAW(HW_DEVICE_ID_MAX)];
	struct fg_json_value value;
	struct fg_span id = {0};

	if (hw_member(object, "object_device_id", &value) &&
	    (!hw_string_read(value, raw, sizeof(raw), &id) || !hw_is_id(id.data, id.size)))
		return false;
	if (!hw_device_called(hw, id, ret))
		return false;
	if (ret->size > 0 && ret->data != hw->with.device) {
		memcpy(out, ret->data, ret->size);
		ret->data = out;
	}
	return true;
}

/* Of a request that was kept (early.c) some of the time is over. */
static int64_t answer_within_ms(const struct hw *hw)
{
	int64_t left_ms = hw->with.answer_within_ms - (int64_t)hw->early.kept_s * 1000;

	return left_ms > LEAST_TIMEOUT_MS ? left_ms : LEAST_TIMEOUT_MS;
}

static void hand_over(struct hw *hw, enum hw_request request, struct fg_span id,
		      struct fg_span extra, struct fg_command *command)
{
	char own_id[FG_COMMAND_ID_MAX], key[HW_REQUEST_ID_MAX + 3];

	if (!hw_is_plain(extra))
		extra.size = 0;
	snprintf(key, sizeof(key), "%c/%.*s", request, FG_SPAN_ARGS(id));
	snprintf(own_id, sizeof(own_id), "%s/%.*s", key, FG_SPAN_ARGS(extra));
	command->id = fg_span_str(own_id);
	command->key = fg_span_str(key);
	command->timeout_ms = answer_within_ms(hw);
	command->is_device_time = true;
	hw->host->command(hw->host_ctx, command);
}

/* {"service_id":"pump","command_name":"START","paras":{"speed":40}} Returns NULL or what is wrong. */
static const char *take_command(struct hw *hw, struct fg_span id, struct fg_json_value object,
				struct fg_command *command)
{
	char name_text[HW_RAW(MAX_NAME)], service_text[HW_RAW(MAX_NAME)], whole[2 * MAX_NAME + 2];
	struct fg_json_value value;
	struct fg_span name = fg_span_str(NAME_CUSTOM), service, plain;
	bool has_name = hw_member(object, "command_name", &value);

	if (has_name && !hw_string_read(value, name_text, sizeof(name_text), &name))
		return "command_name: a text of 1 to 255 bytes is needed";
	plain = has_name ? name : fg_span_str("COMMAND");
	if (hw->with.has_service_names && hw_member(object, "service_id", &value)) {
		if (!hw_string_read(value, service_text, sizeof(service_text), &service) ||
		    service.size > MAX_NAME || name.size > MAX_NAME)
			return "service_id: a text is needed, of 255 bytes with the command's name";
		snprintf(whole, sizeof(whole), "%.*s.%.*s", FG_SPAN_ARGS(service),
			 FG_SPAN_ARGS(name));
		name = fg_span_str(whole);
	}
	if (name.size > MAX_NAME)
		return "command_name: at most 255 bytes are taken";
	if (fg_json_member(object, fg_span_str("paras"), &value))
		command->params = value.text;
	command->name = name;
	hand_over(hw, HW_COMMAND, id, plain, command);
	return NULL;
}

/* {"services":[{"service_id":"cfg","properties":{"limit":5}}]} */
static const char *take_set(struct hw *hw, struct fg_span id, struct fg_json_value object,
			    struct fg_command *command)
{
	struct fg_json_value services;

	if (!fg_json_member(object, fg_span_str("services"), &services) ||
	    services.type != FG_JSON_ARRAY)
		return "services: an array is needed";
	command->name = fg_span_str(NAME_SET);
	command->params = services.text;
	hand_over(hw, HW_PROPERTIES_SET, id, fg_span_str(NULL), command);
	return NULL;
}

/* {"service_id":"env"}, or nothing: all services */
static const char *take_get(struct hw *hw, struct fg_span id, struct fg_json_value object,
			    struct fg_command *command)
{
	char raw[HW_RAW(MAX_EXTRA)], params[HW_RAW(MAX_EXTRA) + 32];
	struct fg_text text = fg_text_begin(params, sizeof(params));
	struct fg_span service = {0};
	struct fg_json_value value;

	if (hw_member(object, "service_id", &value) &&
	    !hw_string_read(value, raw, sizeof(raw), &service))
		return "service_id: a text of 1 to 128 bytes is needed";
	fg_put(&text, "{");
	if (service.size > 0) {
		fg_put(&text, "\"service_id\":");
		fg_put_quoted(&text, service);
	}
	fg_put(&text, "}");
	command->name = fg_span_str(NAME_GET);
	command->params = fg_span_of(params, fg_text_size(&text));
	hand_over(hw, HW_PROPERTIES_GET, id, service, command);
	return NULL;
}

int hw_request_received(struct hw *hw, enum hw_request request, struct fg_span id,
			struct fg_span payload)
{
	struct fg_command command = {0};
	struct fg_json_value object;
	struct fg_json_fault fault;
	char device[HW_DEVICE_ID_MAX];
	const char *wrong = NULL;

	if (id.size == 0 || id.size > HW_REQUEST_ID_MAX || !hw_is_plain(id))
		return -EPROTO;
	if (fg_json_check(payload, &object, &fault) < 0 || object.type != FG_JSON_OBJECT) {
		note(hw, request, id, "bad_params", "the request is no JSON object");
		return 0;
	}
	if (!hw_read_device(hw, object, device, &command.device)) {
		note(hw, request, id, "unknown_device", "there is no such device here");
		return 0;
	}
	switch (request) {
	case HW_COMMAND:
		wrong = take_command(hw, id, object, &command);
		break;
	case HW_PROPERTIES_SET:
		wrong = take_set(hw, id, object, &command);
		break;
	case HW_PROPERTIES_GET:
		wrong = take_get(hw, id, object, &command);
		break;
	}
	if (wrong)
		note(hw, request, id, "bad_params", wrong);
	return 0;
}

/* ------------------------------------------------------------------ up */

/* What is answered, and whom. */
struct answer {
	enum hw_request request;
	struct fg_span id, extra;
	struct fg_span device;       /* as in hw_said_by() */
	struct fg_span code;         /* empty: success */
	int32_t number;              /* of the error, as the device says; 0: it does not */
	struct fg_span text;         /* of the error, as a JSON value; or empty */
	struct fg_json_value result; /* success; no text: none */
	int64_t time_us;             /* when the device answered */
};

static void put_error_text(struct fg_text *out, const struct answer *answer)
{
	if (answer->text.size > 0)
		fg_put_json(out, answer->text);
	else
		fg_put_quoted(out, answer->code);
}

static void put_result_code(struct fg_text *out, const struct answer *answer)
{
	fg_put(out, "\"result_code\":");
	if (answer->code.size > 0 && answer->number != 0)
		fg_put_number(out, answer->number);
	else
		fg_put_number(out, answer->code.size > 0 ? number_of(answer->code) : 0);
}

/* {"result_code":0,"response_name":"START_RESPONSE","paras":{"state":"running"}} */
static void put_command_answer(struct fg_text *out, const struct answer *answer)
{
	fg_put(out, "{");
	put_result_code(out, answer);
	if (answer->extra.size > 0) {
		fg_put(out, ",\"response_name\":\"");
		fg_put_span(out, answer->extra);
		fg_put(out, "_RESPONSE\"");
	}
	fg_put(out, ",\"paras\":");
	if (answer->code.size > 0) {
		fg_put(out, "{\"error\":");
		fg_put_quoted(out, answer->code);
		fg_put(out, ",\"text\":");
		put_error_text(out, answer);
		fg_put(out, "}");
	} else if (answer->result.text.size == 0 || answer->result.type == FG_JSON_NULL) {
		fg_put(out, "{}");
	} else if (answer->result.type == FG_JSON_OBJECT) {
		fg_put_json(out, answer->result.text);
	} else {
		fg_put(out, "{\"result\":");
		fg_put_json(out, answer->result.text);
		fg_put(out, "}");
	}
	fg_put(out, "}");
}

/* {"result_code":0,"result_desc":"success"} */
static void put_set_answer(struct fg_text *out, const struct answer *answer)
{
	fg_put(out, "{");
	put_result_code(out, answer);
	fg_put(out, ",\"result_desc\":");
	if (answer->code.size > 0)
		put_error_text(out, answer);
	else
		fg_put(out, "\"success\"");
	fg_put(out, "}");
}

/* Properties that the device has answered. */
static void put_service(struct fg_text *out, const struct hw *hw, const struct answer *answer)
{
	struct fg_text before;

	fg_put(out, "{\"service_id\":");
	fg_put_quoted(out,
		      answer->extra.size > 0 ? answer->extra : fg_span_str(hw->with.service_id));
	fg_put(out, ",\"properties\":");
	fg_put_json(out, answer->result.text);
	before = *out;
	fg_put(out, ",\"event_time\":\"");
	if (hw_put_time(out, answer->time_us, hw->with.has_milliseconds))
		fg_put(out, "\"");
	else
		*out = before;
	fg_put(out, "}");
}

/*
 * {"services":[{"service_id":"env","properties":{"t":21.5},"event_time":"…"}]}: what the device answers
 * may be this itself, or the properties alone. When it has not answered, what it said last stands for it:
 * IoTDA has no form for an error here, and no services for what is not known.
 */
static void put_get_answer(struct fg_text *out, const struct hw *hw, const struct answer *answer)
{
	static const char tail[] = "]}";
	struct fg_json_value services;
	bool is_object = answer->code.size == 0 && answer->result.text.size > 0 &&
			 answer->result.type == FG_JSON_OBJECT;

	fg_put(out, "{\"services\":");
	if (is_object && fg_json_member(answer->result, fg_span_str("services"), &services) &&
	    services.type == FG_JSON_ARRAY) {
		fg_put_json(out, services.text);
		fg_put(out, "}");
		return;
	}
	fg_put(out, "[");
	if (is_object) {
		put_service(out, hw, answer);
	} else if ((size_t)(out->end - out->at) >= strlen(tail)) {
		out->end -= strlen(tail);
		hw_known_put(hw->known, answer->device, answer->extra, hw->with.has_milliseconds,
			     out);
		out->end += strlen(tail);
	}
	fg_put(out, tail);
}

/* Returns 1; 0 when it does not fit into a packet; or -EINVAL. */
static int publish_answer(const struct hw_call *call, const struct answer *answer)
{
	char suffix[64 + HW_REQUEST_ID_MAX];
	struct fg_text text;
	int r;

	snprintf(suffix, sizeof(suffix), "%s/response/request_id=%.*s",
		 answer->request == HW_COMMAND          ? "commands"
		 : answer->request == HW_PROPERTIES_SET ? "properties/set"
							: "properties/get",
		 FG_SPAN_ARGS(answer->id));
	r = hw_publish_begin(call->hw, call->out, suffix, HW_MAX_CONTENT, &text);
	if (r < 0)
		return r;
	if (answer->request == HW_COMMAND)
		put_command_answer(&text, answer);
	else if (answer->request == HW_PROPERTIES_SET)
		put_set_answer(&text, answer);
	else
		put_get_answer(&text, call->hw, answer);
	call->out->payload_len = fg_text_size(&text);
	return !text.is_full;
}

int hw_publish_note(struct hw_call *call)
{
	struct hw *hw = call->hw;
	const struct hw_note *n = &hw->notes[hw->first_note];
	char quoted[256];
	struct fg_text text = fg_text_begin(quoted, sizeof(quoted));
	struct answer answer;

	if (hw->n_notes == 0)
		return 0;
	fg_put_quoted(&text, fg_span_str(n->text));
	answer = (struct answer){
		.request = n->request,
		.id = fg_span_str(n->id),
		.code = fg_span_str(n->code),
		.text = fg_span_of(quoted, fg_text_size(&text)),
	};
	hw->first_note = (hw->first_note + 1) % HW_MAX_NOTES;
	hw->n_notes--;
	return publish_answer(call, &answer);
}

/* Reads "c/7f3a-01/START". */
static bool read_ref(struct fg_span ref, struct answer *ret)
{
	const char *slash;

	if (ref.size < 4 || !ref.data[0] || !strchr("csg", ref.data[0]) || ref.data[1] != '/')
		return false;
	slash = memchr(ref.data + 2, '/', ref.size - 2);
	if (!slash)
		return false;
	*ret = (struct answer){.request = (enum hw_request)ref.data[0]};
	ret->id = fg_span_of(ref.data + 2, (size_t)(slash - ref.data) - 2);
	ret->extra = fg_span_of(slash + 1, ref.size - (size_t)(slash + 1 - ref.data));
	return ret->id.size > 0 && ret->id.size <= HW_REQUEST_ID_MAX && hw_is_plain(ret->id) &&
	       hw_is_plain(ret->extra);
}

/* IoTDA has 0 for success; what is no integer of 32 bits is none it could keep. */
static int32_t read_number(struct fg_json_value value)
{
	long long number;

	if (value.type != FG_JSON_INTEGER || value.text.size > 11)
		return 0;
	number = strtoll(value.text.data, NULL, 10);
	return number >= INT32_MIN && number <= INT32_MAX ? (int32_t)number : 0;
}

/* {"result":…} or {"error":{"code":"…","text":"…","number":3}}, as the host writes it. */
static bool read_body(struct fg_span body, char *code, size_t code_size, struct answer *ret)
{
	struct fg_json_value object, error, value;
	struct fg_json_fault fault;

	if (fg_json_check(body, &object, &fault) < 0 || object.type != FG_JSON_OBJECT)
		return false;
	if (!fg_json_member(object, fg_span_str("error"), &error)) {
		if (!fg_json_member(object, fg_span_str("result"), &ret->result))
			return false;
		if (!fg_is_finite(ret->result)) {
			ret->code = fg_span_str("bad_result");
			ret->text = fg_span_str("\"the answer has a NaN or Infinity\"");
		}
		return true;
	}
	ret->code = fg_span_str("refused");
	if (error.type != FG_JSON_OBJECT)
		return true;
	if (fg_json_member(error, fg_span_str("code"), &value))
		hw_string_read(value, code, code_size, &ret->code);
	if (fg_json_member(error, fg_span_str("text"), &value) && value.type == FG_JSON_STRING)
		ret->text = value.text;
	if (fg_json_member(error, fg_span_str("number"), &value))
		ret->number = read_number(value);
	return true;
}

enum hw_step hw_take_response(struct hw_call *call, size_t i, int *ret)
{
	const struct fg_message *m = &call->batch->messages[i];
	struct answer answer;
	char code[64];

	if (!read_ref(m->ref, &answer)) {
		hw_refuse(call, i, "it does not answer a request of IoTDA");
		return HW_STEP_ON;
	}
	answer.time_us = m->time_us;
	answer.device = hw_said_by(call->hw, m);
	if (!read_body(m->body, code, sizeof(code), &answer)) {
		hw_refuse(call, i, "an answer wants a result or an error");
		return HW_STEP_ON;
	}
	if (call->hw->n_items > 0 || call->batch->max_take == 0)
		return HW_STEP_ON;
	*ret = publish_answer(call, &answer);
	if (*ret == 0) {
		answer.code = fg_span_str("no_room");
		answer.text = fg_span_str("\"the answer is too large for IoTDA\"");
		*ret = publish_answer(call, &answer);
	}
	if (*ret == 0) {
		hw_refuse(call, i, "not even an error fits into one packet");
		return HW_STEP_ON;
	}
	if (*ret == 1)
		call->batch->states[i] = FG_TAKEN;
	return HW_STEP_PUBLISHED;
}
