#include "rest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/rest.h"

#define URL_BYTES 4096
#define BODY_BYTES 65536
#define TOKEN_BYTES 8192
#define ID_BYTES 64

/* The most points of one key that are looked through for a value. */
#define MAX_POINTS 1000

#define TIME_MAX_MS 253402300800000.0 /* the year 10000 */

/* Of HTTP */
enum {
	STATUS_OK = 200,
	STATUS_UNAUTHORIZED = 401,
	STATUS_FORBIDDEN = 403,
	STATUS_NOT_FOUND = 404,
	STATUS_REQUEST_TIMEOUT = 408, /* nobody answered: path /api/plugins/rpc of old servers */
	STATUS_CONFLICT = 409,        /* nobody listens: the same */
	STATUS_TOO_MANY = 429,
	STATUS_GATEWAY_TIMEOUT = 504, /* either, path /api/rpc */
};

enum option { OPTION_USERNAME, OPTION_PASSWORD, N_OPTIONS };

static const struct fg_option option_table[] = {
	[OPTION_USERNAME] = {.name = "username",
			     .type = FG_OPTION_STRING,
			     .flags = FG_OPTION_REQUIRED,
			     .help = "a tenant administrator's e-mail address"},
	[OPTION_PASSWORD] = {.name = "password",
			     .type = FG_OPTION_SECRET,
			     .flags = FG_OPTION_REQUIRED,
			     .help = "the password"},
	[N_OPTIONS] = {0},
};

struct tb_rest_ctx {
	const char *url, *username, *password; /* the host's */
	char authorization[TOKEN_BYTES];       /* a header */
	char device_id[ID_BYTES];

	/* what request() hands out */
	char request_url[URL_BYTES];
	char body[BODY_BYTES];
	const char *headers[4];
};

static int rest_open(const struct fg_rest_open *with, void **ret_ctx, char *error,
		     size_t error_size)
{
	struct tb_rest_ctx *c;

	if (!*with->values[OPTION_USERNAME].string || !*with->values[OPTION_PASSWORD].string) {
		snprintf(error, error_size, "username and password may not be empty");
		return -EINVAL;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->url = with->url;
	c->username = with->values[OPTION_USERNAME].string;
	c->password = with->values[OPTION_PASSWORD].string;
	*ret_ctx = c;
	return 0;
}

static void rest_close(void *ctx)
{
	if (ctx)
		explicit_bzero(ctx, sizeof(struct tb_rest_ctx));
	free(ctx);
}

/* ------------------------------------------------------------------ requests */

static struct fg_text begin_url(struct tb_rest_ctx *c)
{
	struct fg_text url = fg_text_begin(c->request_url, sizeof(c->request_url) - 1);

	fg_put(&url, c->url);
	return url;
}

static void put_login(struct tb_rest_ctx *c, struct fg_text *url, struct fg_text *body)
{
	fg_put(url, "/api/auth/login");
	fg_put(body, "{\"username\":");
	fg_put_quoted(body, fg_span_str(c->username));
	fg_put(body, ",\"password\":");
	fg_put_quoted(body, fg_span_str(c->password));
	fg_put(body, "}");
}

/* A time series from one moment up to, and without, another. */
static void put_reading(const struct tb_rest_ctx *c, const struct fg_rest_question *q,
			struct fg_text *url)
{
	fg_put(url, "/api/plugins/telemetry/DEVICE/");
	fg_put(url, c->device_id);
	fg_put(url, "/values/timeseries?keys=");
	fg_put_escaped(url, q->key);
	fg_put(url, "&startTs=");
	fg_put_number(url, q->from_us / 1000);
	fg_put(url, "&endTs=");
	fg_put_number(url, q->to_us / 1000 + 1);
	fg_put(url, "&limit=");
	fg_put_number(url, MAX_POINTS);
	fg_put(url, "&useStrictDataTypes=true");
}

static void put_command(const struct tb_rest_ctx *c, const struct fg_rest_question *q,
			struct fg_text *url, struct fg_text *body)
{
	fg_put(url, "/api/rpc/twoway/");
	fg_put(url, c->device_id);
	fg_put(body, "{\"method\":");
	fg_put_quoted(body, q->command);
	fg_put(body, ",\"params\":");
	fg_put_json(body, q->params.size > 0 ? q->params : fg_span_str("null"));
	fg_put(body, ",\"timeout\":");
	fg_put_number(body, q->timeout_ms);
	fg_put(body, "}");
}

static int rest_request(void *ctx, const struct fg_rest_question *q, struct fg_rest_request *out)
{
	struct tb_rest_ctx *c = ctx;
	struct fg_text url = begin_url(c), body = fg_text_begin(c->body, sizeof(c->body));
	size_t n = 0;

	switch (q->step) {
	case FG_REST_LOGIN:
		put_login(c, &url, &body);
		break;
	case FG_REST_DEVICE:
		fg_put(&url, "/api/tenant/devices?deviceName=");
		fg_put_escaped(&url, q->device);
		break;
	case FG_REST_READING:
		put_reading(c, q, &url);
		break;
	case FG_REST_COMMAND:
		put_command(c, q, &url, &body);
		break;
	default:
		return -EINVAL;
	}
	if (url.is_full || body.is_full)
		return -EINVAL;
	*url.at = '\0';
	if (q->step != FG_REST_LOGIN)
		c->headers[n++] = c->authorization;
	if (body.at > body.start)
		c->headers[n++] = "Content-Type: application/json";
	c->headers[n++] = "Accept: application/json";
	c->headers[n] = NULL;
	*out = (struct fg_rest_request){
		.method = body.at > body.start ? "POST" : "GET",
		.url = c->request_url,
		.headers = c->headers,
		.body = fg_text_span(&body),
	};
	return 1;
}

/* ------------------------------------------------------------------ answers */

static enum fg_rest_verdict not_understood(struct fg_rest_result *out)
{
	return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_OTHER,
			   "what answers is not ThingsBoard's REST interface");
}

/* What any request may be answered with. */
static enum fg_rest_verdict by_status(unsigned status, struct fg_rest_result *out)
{
	switch (status) {
	case STATUS_UNAUTHORIZED:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT,
				   "ThingsBoard does not accept the user name and password");
	case STATUS_FORBIDDEN:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_FORBIDDEN,
				   "ThingsBoard does not let this user do that");
	case STATUS_TOO_MANY:
		return fg_rest_say(
			out, FG_REST_AGAIN, FG_REST_FAULT_LIMIT,
			"ThingsBoard is asked more often than the tenant's limits allow");
	default:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_OTHER,
				   "ThingsBoard answers with HTTP status %u", status);
	}
}

static enum fg_rest_verdict answer_login(struct tb_rest_ctx *c, struct fg_json_value body,
					 struct fg_rest_result *out)
{
	struct fg_span token;
	int n;

	if (!fg_plain_member(body, "token", &token) || token.size > sizeof(c->authorization) - 64)
		return not_understood(out);
	n = snprintf(c->authorization, sizeof(c->authorization), "X-Authorization: Bearer %.*s",
		     FG_SPAN_ARGS(token));
	return n > 0 ? FG_REST_DONE : not_understood(out);
}

static enum fg_rest_verdict answer_device(struct tb_rest_ctx *c, struct fg_json_value body,
					  struct fg_rest_result *out)
{
	struct fg_json_value id;
	struct fg_span text;

	if (body.type != FG_JSON_OBJECT || !fg_json_member(body, fg_span_str("id"), &id) ||
	    !fg_plain_member(id, "id", &text) || text.size >= sizeof(c->device_id))
		return not_understood(out);
	snprintf(c->device_id, sizeof(c->device_id), "%.*s", FG_SPAN_ARGS(text));
	return FG_REST_DONE;
}

/* ThingsBoard makes a number of text that looks like one. */
static bool is_same_value(struct fg_json_value sent, struct fg_json_value kept)
{
	if (sent.type == FG_JSON_STRING && fg_is_number(kept))
		return fg_span_equal(fg_span_of(sent.text.data + 1, sent.text.size - 2), kept.text);
	return fg_is_same_value(sent, kept);
}

/* {"KEY":[{"ts":1718000000000,"value":21.5},…]}, newest first */
static enum fg_rest_verdict answer_reading(const struct fg_rest_question *q,
					   struct fg_json_value body, struct fg_rest_result *out)
{
	struct fg_json_value sent, points, value, ts;
	struct fg_json_fault fault;
	struct fg_json_member point;
	struct fg_json_walk walk;
	double ms;

	if (body.type != FG_JSON_OBJECT || fg_json_check(q->value, &sent, &fault) < 0)
		return not_understood(out);
	if (!fg_json_member(body, q->key, &points) || points.type != FG_JSON_ARRAY)
		return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_MISSING,
				   "ThingsBoard has no such value of the device");
	fg_json_walk_begin(&walk, points);
	while (fg_json_walk_next(&walk, &point)) {
		if (point.value.type != FG_JSON_OBJECT ||
		    !fg_json_member(point.value, fg_span_str("value"), &value) ||
		    !fg_json_member(point.value, fg_span_str("ts"), &ts) ||
		    ts.type != FG_JSON_INTEGER)
			return not_understood(out);
		if (!is_same_value(sent, value))
			continue;
		ms = fg_number(ts.text);
		if (!(ms >= 0 && ms < TIME_MAX_MS))
			return not_understood(out);
		out->time_us = (int64_t)(ms * 1000);
		return FG_REST_DONE;
	}
	return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_MISSING,
			   "ThingsBoard has other values of the device, not this one");
}

/* What the gateway answers when the device did not: {"error":"…","code":"offline"}. */
static enum fg_rest_verdict answer_error(struct fg_json_value body, struct fg_json_value error,
					 struct fg_rest_result *out)
{
	struct fg_json_value code;
	bool is_timeout = fg_json_member(body, fg_span_str("code"), &code) &&
			  (fg_span_is(code.text, "\"timeout\"") ||
			   fg_span_is(code.text, "\"unknown_outcome\""));
	int room = (int)sizeof(out->text) - 40;
	int size = error.text.size > (size_t)room ? room : (int)error.text.size;

	return fg_rest_say(out, FG_REST_FAILED,
			   is_timeout ? FG_REST_FAULT_SILENT : FG_REST_FAULT_REFUSED,
			   "the answer is an error: %.*s", size, error.text.data);
}

static enum fg_rest_verdict answer_command(const struct fg_rest_response *response,
					   struct fg_json_value body, bool has_body,
					   struct fg_rest_result *out)
{
	struct fg_json_value error;

	switch (response->status) {
	case STATUS_OK:
		break;
	case STATUS_REQUEST_TIMEOUT:
	case STATUS_GATEWAY_TIMEOUT:
		return fg_rest_say(
			out, FG_REST_FAILED, FG_REST_FAULT_SILENT,
			"ThingsBoard got no answer in time, or the device has no session "
			"there");
	case STATUS_CONFLICT:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_OFFLINE,
				   "the device has no session in ThingsBoard");
	default:
		return by_status(response->status, out);
	}
	if (has_body && body.type == FG_JSON_OBJECT &&
	    fg_json_member(body, fg_span_str("error"), &error))
		return answer_error(body, error, out);
	out->answer = has_body ? body.text : (struct fg_span){0};
	return FG_REST_DONE;
}

static enum fg_rest_verdict rest_answer(void *ctx, const struct fg_rest_question *q,
					const struct fg_rest_response *response,
					struct fg_rest_result *out)
{
	struct tb_rest_ctx *c = ctx;
	struct fg_json_value body = {.type = FG_JSON_NULL};
	struct fg_json_fault fault;
	bool has_body = fg_json_check(response->body, &body, &fault) == 0;

	if (q->step == FG_REST_COMMAND)
		return answer_command(response, body, has_body, out);
	if (q->step == FG_REST_DEVICE && response->status == STATUS_NOT_FOUND)
		return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_UNKNOWN,
				   "ThingsBoard knows no device of that name");
	if (response->status != STATUS_OK)
		return by_status(response->status, out);
	if (!has_body)
		return not_understood(out);
	switch (q->step) {
	case FG_REST_LOGIN:
		return answer_login(c, body, out);
	case FG_REST_DEVICE:
		return answer_device(c, body, out);
	default:
		return answer_reading(q, body, out);
	}
}

const struct fg_rest tb_rest = {
	.size = sizeof(struct fg_rest),
	.options = option_table,
	.open = rest_open,
	.close = rest_close,
	.request = rest_request,
	.answer = rest_answer,
};
