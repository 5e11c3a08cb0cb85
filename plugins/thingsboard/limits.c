#include "limits.h"

#include <errno.h>
#include <stdio.h>

#include "model/json.h"
#include "thingsboard.h"

/* Messages wait for the answer, for so long. */
#define HOLD_S 5u

/* Not a gateway: so long until a new session shows whether it is one by now. */
#define SHUT_S 300u

/* Rates of one kind; more are not looked at. */
#define MAX_RATES 8

struct rates {
	struct fg_rate list[MAX_RATES];
	size_t n;
};

/* ------------------------------------------------------------------ "20:1,600:60" */

static bool read_number(const char **at, const char *end, uint32_t max, uint32_t *ret)
{
	uint64_t n = 0;
	const char *start = *at;

	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
		n = n > max ? n : n * 10 + (uint64_t)(**at - '0');
	*ret = (uint32_t)(n > max ? max : n);
	return *at > start && n > 0;
}

/* Returns false when it is no such text. */
static bool read_rates(struct fg_span text, struct rates *ret)
{
	const char *at = text.data, *end = at + text.size;
	uint32_t capacity, seconds;

	ret->n = 0;
	while (at < end) {
		if (!read_number(&at, end, UINT32_MAX, &capacity) || at == end || *at++ != ':' ||
		    !read_number(&at, end, UINT32_MAX / 1000, &seconds) ||
		    (at < end && (*at++ != ',' || at == end)))
			return false;
		if (ret->n < MAX_RATES)
			ret->list[ret->n++] = (struct fg_rate){capacity, seconds * 1000};
	}
	return true;
}

/* Null, "" and nothing at all: no limit. */
static void rates_member(struct tb *tb, struct fg_json_value limits, const char *name,
			 struct rates *ret)
{
	struct fg_json_value value;

	ret->n = 0;
	if (limits.type != FG_JSON_OBJECT || !fg_json_member(limits, fg_span_str(name), &value) ||
	    value.type == FG_JSON_NULL)
		return;
	if (value.type != FG_JSON_STRING || !read_rates(tb_raw_string(value), ret))
		tb->host->warn(tb->host_ctx,
			       "ThingsBoard tells a limit (%s) that cannot be read: it is not kept",
			       name);
}

/* ------------------------------------------------------------------ arithmetic */

static uint32_t part_of(const struct tb *tb, uint32_t capacity)
{
	uint64_t part = (uint64_t)capacity * tb->with.limits_percent / 100;

	return part > 0 ? (uint32_t)part : 1;
}

static void scale(const struct tb *tb, struct rates *rates)
{
	for (size_t i = 0; i < rates->n; i++)
		rates->list[i].capacity = part_of(tb, rates->list[i].capacity);
}

static void add(struct rates *to, struct fg_rate rate)
{
	for (size_t i = 0; i < to->n; i++)
		if (to->list[i].capacity == rate.capacity &&
		    to->list[i].period_ms == rate.period_ms)
			return;
	if (to->n < MAX_RATES)
		to->list[to->n++] = rate;
}

/* So many data points stand for one message, so that both rates run out at about the same time. */
static uint64_t weight_of(const struct rates *messages, const struct rates *points)
{
	const struct fg_rate *m = &messages->list[0], *p = &points->list[0];
	double weight;

	if (messages->n == 0)
		return 0;
	if (points->n == 0)
		return 1;
	weight = (double)p->capacity * m->period_ms / ((double)m->capacity * p->period_ms);
	return weight < 1 ? 1 : weight > 1000000 ? 1000000 : (uint64_t)weight;
}

static size_t smallest(const struct rates *rates)
{
	size_t n = SIZE_MAX;

	for (size_t i = 0; i < rates->n; i++)
		n = rates->list[i].capacity < n ? rates->list[i].capacity : n;
	return n;
}

/* A connect is two messages, and may use up the half of what there is. */
static void limit_connects(struct tb_limits *limits, const struct rates *messages)
{
	bool was_limited = limits->max_connects > 0;
	uint64_t a_second, most;

	limits->connects_a_second = limits->max_connects = 0;
	for (size_t i = 0; i < messages->n; i++) {
		a_second = (uint64_t)messages->list[i].capacity * 1000000 /
			   messages->list[i].period_ms / 2;
		most = (uint64_t)messages->list[i].capacity * 1000 / 2;
		if (i == 0 || a_second < limits->connects_a_second)
			limits->connects_a_second = a_second;
		if (i == 0 || most < limits->max_connects)
			limits->max_connects = most;
	}
	if (messages->n > 0 && limits->connects_a_second == 0)
		limits->connects_a_second = 1;
	if (messages->n > 0 && limits->max_connects < 1000)
		limits->max_connects = 1000;
	/* The server's count goes on from session to session. */
	if (!was_limited || limits->connects > limits->max_connects)
		limits->connects = limits->max_connects;
}

bool tb_limits_may_connect(const struct tb *tb)
{
	return tb->limits.max_connects == 0 || tb->limits.connects >= 1000;
}

void tb_limits_connects(struct tb *tb)
{
	tb->limits.connects -= tb->limits.connects < 1000 ? tb->limits.connects : 1000;
}

/* ------------------------------------------------------------------ what is told */

static void tell(struct tb *tb, unsigned scope, enum fg_limit what, const struct rates *rates)
{
	tb->host->limit(tb->host_ctx, scope, what, rates->list, rates->n);
}

/* The limits of all sub-devices together. */
static void keep_gateway_limits(struct tb *tb, struct fg_json_value limits)
{
	struct rates messages, telemetry, points;

	rates_member(tb, limits, "messages", &messages);
	rates_member(tb, limits, "telemetryMessages", &telemetry);
	rates_member(tb, limits, "telemetryDataPoints", &points);
	tb->limits.max_message_points = smallest(&points);
	scale(tb, &messages);
	scale(tb, &telemetry);
	scale(tb, &points);
	tb->limits.weight = weight_of(&telemetry, &points);
	tb->limits.counts_points = points.n > 0;
	for (size_t i = 0; i < telemetry.n; i++) {
		uint64_t capacity = (uint64_t)telemetry.list[i].capacity * tb->limits.weight;

		add(&points,
		    (struct fg_rate){capacity < UINT32_MAX ? (uint32_t)capacity : UINT32_MAX,
				     telemetry.list[i].period_ms});
	}
	limit_connects(&tb->limits, &messages);
	tell(tb, TB_SCOPE_DEVICES, FG_LIMIT_MESSAGES, &messages);
	tell(tb, TB_SCOPE_DEVICES, FG_LIMIT_POINTS, &points);
}

/* Those of the connected device. Here each publish is one message, of either kind. */
static void keep_own_limits(struct tb *tb, struct fg_json_value limits)
{
	struct rates messages, telemetry, points;

	rates_member(tb, limits, "messages", &messages);
	rates_member(tb, limits, "telemetryMessages", &telemetry);
	rates_member(tb, limits, "telemetryDataPoints", &points);
	if (tb->with.mode == TB_MODE_DEVICE) {
		tb->limits.max_message_points = smallest(&points);
		for (size_t i = 0; i < telemetry.n; i++)
			add(&messages, telemetry.list[i]);
	}
	scale(tb, &messages);
	scale(tb, &points);
	tell(tb, TB_SCOPE_OWN, FG_LIMIT_MESSAGES, &messages);
	tell(tb, TB_SCOPE_OWN, FG_LIMIT_POINTS, &points);
}

static void warn_no_gateway(struct tb *tb)
{
	tb->host->warn(tb->host_ctx,
		       "these credentials are not a gateway's: set \"Is gateway\" in ThingsBoard. "
		       "Nothing of any device is sent; what comes waits in the journal");
}

static void shut(struct tb *tb)
{
	tb->gate = TB_GATE_SHUT;
	tb->limits.shut_s = tb->uptime_s;
	warn_no_gateway(tb);
}

void tb_limits_told(struct tb *tb, struct fg_json_value answer)
{
	struct fg_json_value own = {.type = FG_JSON_NULL}, gateway = {.type = FG_JSON_NULL}, size;
	uint32_t n;

	if (answer.type == FG_JSON_OBJECT) {
		fg_json_member(answer, fg_span_str("rateLimits"), &own);
		fg_json_member(answer, fg_span_str("gatewayRateLimits"), &gateway);
		if (fg_json_member(answer, fg_span_str("maxPayloadSize"), &size) &&
		    tb_id_read(size, &n) && n >= 256)
			tb->limits.max_packet_bytes = n;
	}
	if (own.type != FG_JSON_OBJECT && gateway.type != FG_JSON_OBJECT) {
		tb_limits_failed(tb);
		return;
	}
	tb->limits.is_never_told = false;
	keep_own_limits(tb, own);
	if (tb->with.mode == TB_MODE_GATEWAY && gateway.type != FG_JSON_OBJECT) {
		shut(tb);
		return;
	}
	if (tb->with.mode == TB_MODE_GATEWAY)
		keep_gateway_limits(tb, gateway);
	tb->gate = TB_GATE_OPEN;
}

void tb_limits_failed(struct tb *tb)
{
	tb->limits.is_never_told = true;
	tb->gate = TB_GATE_OPEN;
}

/* ------------------------------------------------------------------ asking, and time */

void tb_limits_begin(struct tb *tb)
{
	tb->limits.is_wanted = tb->with.use_limits;
	tb->limits.hold_until_s = tb->uptime_s + HOLD_S;
	tb->limits.max_packet_bytes = 0;
	tb->gate = tb->with.use_limits && !tb->limits.is_never_told ? TB_GATE_HELD : TB_GATE_OPEN;
}

int tb_limits_ask(struct tb_call *call)
{
	static const struct tb_question like = {.kind = TB_ASK_LIMITS};
	struct tb *tb = call->tb;
	struct tb_question *q;
	struct fg_text text;
	char topic[TB_TOPIC_SIZE];

	if (!tb->limits.is_wanted)
		return 0;
	tb->limits.is_wanted = false;
	q = tb_question_new(tb, &like);
	if (!q)
		return -ENOMEM;
	/* On the long topic only; ids are those of other calls. */
	snprintf(topic, sizeof(topic), "%s/%u", tb_topic_name(TB_RPC_REQUEST, false), q->id);
	if (tb_set_topic(call->out, topic) < 0)
		return -EINVAL;
	text = fg_text_begin(call->out->payload, tb_payload_limit(tb, call->out, topic));
	fg_put(&text, "{\"method\":\"getSessionLimits\",\"params\":{}}");
	call->out->tag = tb_tag_make(TB_TAG_QUESTION, 0, q->id);
	return tb_publish_end(call->out, &text, TB_SCOPE_OWN);
}

void tb_limits_tick(struct tb *tb)
{
	struct tb_limits *limits = &tb->limits;

	limits->connects += limits->connects_a_second;
	if (limits->connects > limits->max_connects)
		limits->connects = limits->max_connects;
	if (tb->gate == TB_GATE_HELD && tb->uptime_s >= limits->hold_until_s)
		tb->gate = TB_GATE_OPEN;
	if (tb->gate != TB_GATE_SHUT || tb->uptime_s - limits->shut_s < SHUT_S)
		return;
	limits->shut_s = tb->uptime_s;
	warn_no_gateway(tb);
	tb->host->reconnect(tb->host_ctx, "", "is it a gateway by now?");
}
