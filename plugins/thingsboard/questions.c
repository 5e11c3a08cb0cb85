#include "questions.h"

#include <errno.h>
#include <stdlib.h>

#include "model/json.h"
#include "thingsboard.h"
#include "util/cleanup.h"

#define ATTRIBUTES_WAIT_S 30u
#define RPC_WAIT_S 65u /* the server gives up after 60 */

/* No device waits for so long; what is older comes from the time before a restart or an outage. */
#define STALE_US (INT64_C(600) * 1000000)

/* ------------------------------------------------------------------ the table */

bool tb_questions_have_room(const struct tb *tb, bool is_fetch)
{
	if (is_fetch)
		return tb->questions.n_fetches < TB_MAX_FETCHES;
	return tb->questions.n - tb->questions.n_fetches < TB_MAX_QUESTIONS - TB_MAX_FETCHES;
}

uint32_t tb_questions_next_id(struct tb *tb)
{
	tb->questions.last_id = tb->questions.last_id < INT32_MAX ? tb->questions.last_id + 1 : 1;
	return tb->questions.last_id;
}

static struct fg_span copy(char **at, struct fg_span from)
{
	char *start = *at;

	if (from.size > 0)
		memcpy(start, from.data, from.size);
	*at += from.size;
	return fg_span_of(start, from.size);
}

struct tb_question *tb_question_new(struct tb *tb, const struct tb_question *like)
{
	struct tb_questions *all = &tb->questions;
	size_t size = like->device.size + like->ref.size + like->client_keys.size +
		      like->shared_keys.size;
	struct tb_question *q;
	unsigned slot = 0;
	char *at;

	while (slot < TB_MAX_QUESTIONS && all->slots[slot])
		slot++;
	q = slot < TB_MAX_QUESTIONS ? malloc(sizeof(*q) + size) : NULL;
	if (!q)
		return NULL;
	*q = *like;
	q->client_answer = NULL;
	q->id = tb_questions_next_id(tb);
	q->state = TB_QUESTION_ASKED;
	q->deadline_s = tb->uptime_s + (like->kind == TB_ASK_RPC || like->kind == TB_ASK_LIMITS
						? RPC_WAIT_S
						: ATTRIBUTES_WAIT_S);
	at = q->memory;
	q->device = copy(&at, like->device);
	q->ref = copy(&at, like->ref);
	q->client_keys = copy(&at, like->client_keys);
	q->shared_keys = copy(&at, like->shared_keys);
	all->slots[slot] = q;
	all->n++;
	all->n_fetches += q->kind == TB_ASK_FETCH;
	return q;
}

void tb_question_set_state(struct tb *tb, struct tb_question *q, enum tb_question_state state)
{
	tb->questions.n_next -= q->state == TB_QUESTION_NEXT;
	tb->questions.n_next += state == TB_QUESTION_NEXT;
	q->state = state;
}

void tb_question_free(struct tb *tb, struct tb_question *q)
{
	struct tb_questions *all = &tb->questions;

	for (unsigned i = 0; i < TB_MAX_QUESTIONS; i++)
		if (all->slots[i] == q)
			all->slots[i] = NULL;
	tb_question_set_state(tb, q, TB_QUESTION_ASKED);
	all->n--;
	all->n_fetches -= q->kind == TB_ASK_FETCH;
	free(q->client_answer);
	free(q);
}

struct tb_question *tb_question_find(const struct tb *tb, uint32_t id)
{
	for (unsigned i = 0; i < TB_MAX_QUESTIONS; i++)
		if (tb->questions.slots[i] && tb->questions.slots[i]->id == id)
			return tb->questions.slots[i];
	return NULL;
}

struct tb_question *tb_question_next(const struct tb *tb)
{
	for (unsigned i = 0; tb->questions.n_next > 0 && i < TB_MAX_QUESTIONS; i++)
		if (tb->questions.slots[i] && tb->questions.slots[i]->state == TB_QUESTION_NEXT)
			return tb->questions.slots[i];
	return NULL;
}

/* ------------------------------------------------------------------ answers to field devices */

static void respond_error(struct tb *tb, struct fg_span ref, const char *code, const char *error)
{
	char buffer[256];
	struct fg_text text = fg_text_begin(buffer, sizeof(buffer));

	fg_put(&text, "{\"error\":{\"code\":");
	fg_put_quoted(&text, fg_span_str(code));
	fg_put(&text, ",\"text\":");
	fg_put_quoted(&text, fg_span_str(error));
	fg_put(&text, "}}");
	tb->host->respond(tb->host_ctx, ref, fg_text_span(&text));
}

/* Nobody answers @q any more. */
static void fail(struct tb *tb, struct tb_question *q, const char *code, const char *error)
{
	switch (q->kind) {
	case TB_ASK_FETCH:
		tb_fetch_failed(tb, q);
		break;
	case TB_ASK_LIMITS:
		tb_limits_failed(tb);
		break;
	case TB_ASK_ATTRIBUTES:
	case TB_ASK_RPC:
	case TB_ASK_CLAIM:
		respond_error(tb, q->ref, code, error);
		break;
	}
	tb_question_free(tb, q);
}

/* ------------------------------------------------------------------ asking for a field device */

/* Message @i is done with, since it cannot be asked. */
static enum tb_step decline(struct tb_call *call, size_t i, const char *code, const char *error)
{
	respond_error(call->tb, call->batch->messages[i].ref, code, error);
	call->batch->states[i] = FG_NOTHING;
	return TB_STEP_ON;
}

/* {"method":"getTime","params":{}} */
static int publish_rpc(struct tb_call *call, const struct tb_question *q, struct fg_json_value body)
{
	struct fg_json_value method = {0}, params = {.text = fg_span_str("{}")};
	struct fg_text text;
	int r;

	fg_json_member(body, fg_span_str("method"), &method);
	fg_json_member(body, fg_span_str("params"), &params);
	r = tb_publish_begin(call->tb, call->out, TB_RPC_REQUEST, q->id, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{\"method\":");
	fg_put_json(&text, method.text);
	fg_put(&text, ",\"params\":");
	fg_put_json(&text, params.text);
	fg_put(&text, "}");
	return tb_publish_end(call->out, &text, TB_SCOPE_OWN);
}

/* {"secretKey":"s","durationMs":60000}, in the gateway API behind the device's name */
static int publish_claim(struct tb_call *call, const struct tb_question *q,
			 struct fg_json_value body)
{
	bool is_gateway = call->tb->with.mode == TB_MODE_GATEWAY;
	struct fg_json_value value;
	struct fg_text text;
	const char *comma = "";
	int r;

	r = tb_publish_begin(call->tb, call->out, is_gateway ? TB_GATEWAY_CLAIM : TB_CLAIM, -1,
			     &text);
	if (r < 0)
		return r;
	if (is_gateway) {
		fg_put(&text, "{");
		fg_put_quoted(&text, q->device);
		fg_put(&text, ":");
	}
	fg_put(&text, "{");
	if (fg_json_member(body, fg_span_str("secretKey"), &value)) {
		fg_put(&text, "\"secretKey\":");
		fg_put_json(&text, value.text);
		comma = ",";
	}
	if (fg_json_member(body, fg_span_str("durationMs"), &value)) {
		fg_put(&text, comma);
		fg_put(&text, "\"durationMs\":");
		fg_put_json(&text, value.text);
	}
	fg_put(&text, is_gateway ? "}}" : "}");
	return tb_publish_end(call->out, &text, is_gateway ? TB_SCOPE_DEVICES : TB_SCOPE_OWN);
}

/* Fills *@q. Returns NULL, or what is wrong with @body. */
static const char *read_request(const struct tb *tb, const struct fg_message *m,
				struct fg_json_value body, struct tb_question *q)
{
	struct fg_json_value value;

	if (fg_span_is(m->stream, "attributes")) {
		q->kind = TB_ASK_ATTRIBUTES;
		return tb_attributes_read_request(tb, body, q);
	}
	if (fg_span_is(m->stream, "claim")) {
		q->kind = TB_ASK_CLAIM;
		if (fg_json_member(body, fg_span_str("secretKey"), &value) &&
		    value.type != FG_JSON_STRING)
			return "secretKey must be a text";
		if (fg_json_member(body, fg_span_str("durationMs"), &value) &&
		    value.type != FG_JSON_INTEGER)
			return "durationMs must be a whole number";
		return NULL;
	}
	if (!fg_span_is(m->stream, "rpc"))
		return "ThingsBoard can be asked for attributes, rpc and claim";
	q->kind = TB_ASK_RPC;
	if (!fg_json_member(body, fg_span_str("method"), &value) || value.type != FG_JSON_STRING)
		return "a method is needed";
	return NULL;
}

static int publish_question(struct tb_call *call, struct tb_question *q, struct fg_json_value body)
{
	switch (q->kind) {
	case TB_ASK_RPC:
		return publish_rpc(call, q, body);
	case TB_ASK_CLAIM:
		return publish_claim(call, q, body);
	case TB_ASK_ATTRIBUTES:
	case TB_ASK_FETCH:
	case TB_ASK_LIMITS:
		break;
	}
	return tb_attributes_publish(call, q);
}

/* Ask what @like says, for message @i. */
static enum tb_step ask(struct tb_call *call, size_t i, const struct tb_question *like,
			struct fg_json_value body, int *ret)
{
	struct tb *tb = call->tb;
	struct tb_question *q;

	if (!tb_questions_have_room(tb, false))
		return TB_STEP_ON;
	q = tb_question_new(tb, like);
	if (!q) {
		*ret = -ENOMEM;
		return TB_STEP_PUBLISHED;
	}
	*ret = publish_question(call, q, body);
	if (*ret <= 0) {
		tb_question_free(tb, q);
		if (*ret == 0)
			return decline(call, i, "no_room", "the question is too large");
		return TB_STEP_PUBLISHED;
	}
	call->out->tag = tb_tag_make(TB_TAG_QUESTION, 0, q->id);
	call->batch->states[i] = FG_TAKEN;
	return TB_STEP_PUBLISHED;
}

enum tb_step tb_take_request(struct tb_call *call, size_t i, int *ret)
{
	struct tb *tb = call->tb;
	const struct fg_message *m = &call->batch->messages[i];
	struct tb_question like = {.device = m->device, .ref = m->ref};
	struct fg_json_value body;
	struct fg_json_fault json_fault;
	struct tb_device *device;
	const char *fault = "a JSON object is needed";
	enum tb_step step;

	if (m->time_quality == FG_TIME_GATEWAY && call->batch->now_us - m->time_us > STALE_US) {
		call->batch->states[i] = FG_NOTHING;
		return TB_STEP_ON;
	}
	if (fg_json_check(m->body, &body, &json_fault) == 0 && body.type == FG_JSON_OBJECT)
		fault = read_request(tb, m, body, &like);
	if (fault)
		return decline(call, i, "bad_params", fault);
	if (tb->with.mode == TB_MODE_GATEWAY && like.kind == TB_ASK_RPC)
		return decline(call, i, "unknown_command",
			       "ThingsBoard takes no calls from devices behind a gateway");
	if (tb->with.mode == TB_MODE_DEVICE && tb->with.device &&
	    !fg_span_is(m->device, tb->with.device))
		return decline(call, i, "unknown_device", "this cloud knows another device only");
	if (tb->gate != TB_GATE_OPEN || tb->n_items > 0 || call->batch->max_take == 0)
		return TB_STEP_ON;
	if (tb->with.mode == TB_MODE_DEVICE)
		return ask(call, i, &like, body, ret);
	if (!tb_call_announced(call, i, &device, &step, ret))
		return step;
	step = ask(call, i, &like, body, ret);
	if (*ret > 0)
		tb_device_spoke(tb, device);
	return step;
}

/* ------------------------------------------------------------------ what becomes of them */

enum fg_verdict tb_question_settled(struct tb *tb, uint64_t tag, enum fg_verdict verdict)
{
	struct tb_question *q = tb_question_find(tb, (uint32_t)tag);
	bool is_plugins_own;

	if (!q || q->state != TB_QUESTION_ASKED)
		return verdict;
	is_plugins_own = q->kind == TB_ASK_FETCH || q->kind == TB_ASK_LIMITS || q->is_second;
	if (verdict == FG_ACCEPTED && q->kind == TB_ASK_CLAIM) {
		tb->host->respond(tb->host_ctx, q->ref, fg_span_str("{\"result\":{}}"));
		tb_question_free(tb, q);
	} else if (verdict == FG_ACCEPTED) {
		tb_question_set_state(tb, q, TB_QUESTION_SENT);
	} else if (is_plugins_own || verdict == FG_POISON) {
		fail(tb, q, "refused", "ThingsBoard refused the question");
	} else {
		tb_question_free(tb, q); /* the message is offered again */
	}
	return verdict;
}

/* {"error":"timeout"}: no rule chain had an answer. */
static bool is_server_timeout(struct fg_json_value answer)
{
	struct fg_json_value error;

	return answer.type == FG_JSON_OBJECT &&
	       fg_json_member(answer, fg_span_str("error"), &error) &&
	       fg_span_is(error.text, "\"timeout\"");
}

static int answer_rpc(struct tb *tb, const struct tb_question *q, struct fg_json_value answer)
{
	FG_CLEANUP(fg_free_p) char *buffer = malloc(answer.text.size + 16);
	struct fg_text text;

	if (is_server_timeout(answer)) {
		respond_error(tb, q->ref, "timeout", "no rule of ThingsBoard answered");
		return 0;
	}
	if (!buffer)
		return -ENOMEM;
	text = fg_text_begin(buffer, answer.text.size + 16);
	fg_put(&text, "{\"result\":");
	fg_put_span(&text, answer.text);
	fg_put(&text, "}");
	tb->host->respond(tb->host_ctx, q->ref, fg_text_span(&text));
	return 0;
}

int tb_rpc_answered(struct tb *tb, uint32_t number, struct fg_span payload)
{
	struct tb_question *q = tb_question_find(tb, number);
	struct fg_json_value answer;
	struct fg_json_fault fault;

	if (!q || (q->kind != TB_ASK_RPC && q->kind != TB_ASK_LIMITS))
		return 0; /* too late */
	if (fg_json_check(payload, &answer, &fault) < 0) {
		fail(tb, q, "refused", "ThingsBoard's answer is no JSON");
		return -EPROTO;
	}
	if (q->kind == TB_ASK_LIMITS)
		tb_limits_told(tb, answer);
	else if (answer_rpc(tb, q, answer) < 0)
		respond_error(tb, q->ref, "no_room", "the answer is too large");
	tb_question_free(tb, q);
	return 0;
}

void tb_questions_tick(struct tb *tb)
{
	struct tb_question *q;

	for (unsigned i = 0; tb->questions.n > 0 && i < TB_MAX_QUESTIONS; i++) {
		q = tb->questions.slots[i];
		if (q && q->deadline_s <= tb->uptime_s)
			fail(tb, q, "timeout", "ThingsBoard did not answer");
	}
}

void tb_questions_forget(struct tb *tb)
{
	struct tb_question *q;

	for (unsigned i = 0; tb->questions.n > 0 && i < TB_MAX_QUESTIONS; i++) {
		q = tb->questions.slots[i];
		if (!q)
			continue;
		if (q->kind == TB_ASK_FETCH || q->kind == TB_ASK_LIMITS ||
		    (q->state == TB_QUESTION_ASKED && !q->is_second))
			tb_question_free(tb, q);
		else
			fail(tb, q, "timeout", "the connection to ThingsBoard was lost");
	}
}
