#include "rest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/rest.h"
#include "options.h"
#include "sign_in.h"
#include "text.h"

#define URL_BYTES 4096
#define BODY_BYTES 65536
#define HEADER_BYTES 32768 /* a token of IAM has some thousand bytes */
#define INSTANCE_BYTES 128

#define TOKEN_HEADER "X-Auth-Token: "
#define INSTANCE_HEADER "Instance-Id: "

/* Of HTTP */
enum {
	STATUS_OK = 200,
	STATUS_CREATED = 201,
	STATUS_BAD_REQUEST = 400,
	STATUS_UNAUTHORIZED = 401,
	STATUS_FORBIDDEN = 403,
	STATUS_NOT_FOUND = 404,
	STATUS_TOO_MANY = 429,
};

enum {
	OPTION_PROJECT_ID,
	OPTION_INSTANCE_ID,
	OPTION_IAM_URL,
	OPTION_DOMAIN,
	OPTION_USERNAME,
	OPTION_PASSWORD,
	OPTION_TOKEN,
	N_OPTIONS,
};

static const struct fg_option option_table[] = {
	[OPTION_PROJECT_ID] = {.name = "project_id",
			       .type = FG_OPTION_STRING,
			       .flags = FG_OPTION_REQUIRED,
			       .help = "the id of the region's project (My Credentials)"},
	[OPTION_INSTANCE_ID] = {.name = "instance_id",
				.type = FG_OPTION_STRING,
				.help = "the id of the instance of IoTDA (Overview)"},
	[OPTION_IAM_URL] = {.name = "iam_url",
			    .type = FG_OPTION_STRING,
			    .help = "where IAM hands out tokens: https://HOST"},
	[OPTION_DOMAIN] = {.name = "domain",
			   .type = FG_OPTION_STRING,
			   .help = "the account the user belongs to"},
	[OPTION_USERNAME] = {.name = "username", .type = FG_OPTION_STRING, .help = "an IAM user"},
	[OPTION_PASSWORD] = {.name = "password", .type = FG_OPTION_SECRET, .help = "the password"},
	[OPTION_TOKEN] = {.name = "token",
			  .type = FG_OPTION_SECRET,
			  .help = "in place of the four above: a token of IAM, good for 24 hours"},
	[N_OPTIONS] = {0},
};

struct hw_rest_ctx {
	const char *url, *project_id, *iam_url, *domain, *username, *password; /* the host's */
	bool has_token;                                                        /* and no user */
	struct hw_options link;
	char token[HEADER_BYTES];                                /* a header */
	char instance[sizeof(INSTANCE_HEADER) + INSTANCE_BYTES]; /* the same, or empty */
	char device_id[HW_DEVICE_ID_MAX + 1];                    /* of the question */
	bool is_id; /* IoTDA goes by its name alone, not by the rule of product_id */

	/* what request() hands out */
	char request_url[URL_BYTES];
	char body[BODY_BYTES];
	const char *headers[5];
};

/* ------------------------------------------------------------------ opening */

/* May @text be the value of a header? */
static bool is_header_value(const char *text)
{
	for (const char *at = text; *at; at++)
		if (*at <= ' ' || *at > '~')
			return false;
	return *text;
}

static bool is_url(const char *text)
{
	return (strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0) &&
	       is_header_value(text) && !strpbrk(text, "@?#");
}

static const char *options_fault(const struct fg_value *values)
{
	const char *project_id = values[OPTION_PROJECT_ID].string;
	const char *instance_id = values[OPTION_INSTANCE_ID].string;
	const char *iam_url = values[OPTION_IAM_URL].string;
	const char *token = values[OPTION_TOKEN].string;
	bool has_user = iam_url && values[OPTION_DOMAIN].string && values[OPTION_USERNAME].string &&
			values[OPTION_PASSWORD].string;
	bool has_part = iam_url || values[OPTION_DOMAIN].string || values[OPTION_USERNAME].string ||
			values[OPTION_PASSWORD].string;

	if (!fg_is_plain(fg_span_str(project_id)))
		return "project_id: expected letters and digits";
	if (instance_id &&
	    (!fg_is_plain(fg_span_str(instance_id)) || strlen(instance_id) > INSTANCE_BYTES))
		return "instance_id: expected letters, digits and '-'";
	if (token && has_part)
		return "token stands for iam_url, domain, username and password: give one or the "
		       "other";
	if (!token && !has_user)
		return "whom shall IoTDA let in? Give iam_url, domain, username and password, or "
		       "token";
	if (iam_url && !is_url(iam_url))
		return "iam_url: expected https://HOST[:PORT]";
	if (token &&
	    (!is_header_value(token) || strlen(token) > HEADER_BYTES - sizeof(TOKEN_HEADER)))
		return "token: expected the value of X-Subject-Token, in one line";
	return NULL;
}

static int rest_open(const struct fg_rest_open *with, void **ret_ctx, char *error,
		     size_t error_size)
{
	const struct fg_value *values = with->values;
	const char *fault = options_fault(values);
	struct hw_rest_ctx *c;

	if (fault) {
		snprintf(error, error_size, "%s", fault);
		return -EINVAL;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->url = with->url;
	c->project_id = values[OPTION_PROJECT_ID].string;
	c->iam_url = values[OPTION_IAM_URL].string;
	c->domain = values[OPTION_DOMAIN].string;
	c->username = values[OPTION_USERNAME].string;
	c->password = values[OPTION_PASSWORD].string;
	c->has_token = values[OPTION_TOKEN].string;
	hw_options_take(with->link, &c->link);
	if (c->has_token)
		snprintf(c->token, sizeof(c->token), TOKEN_HEADER "%s",
			 values[OPTION_TOKEN].string);
	if (values[OPTION_INSTANCE_ID].string)
		snprintf(c->instance, sizeof(c->instance), INSTANCE_HEADER "%s",
			 values[OPTION_INSTANCE_ID].string);
	*ret_ctx = c;
	return 0;
}

static void rest_close(void *ctx)
{
	if (ctx)
		explicit_bzero(ctx, sizeof(struct hw_rest_ctx));
	free(ctx);
}

/* ------------------------------------------------------------------ requests */

/* The id of @name. Returns false when that can be none. */
static bool take_device(struct hw_rest_ctx *c, struct fg_span name)
{
	struct fg_text id = fg_text_begin(c->device_id, sizeof(c->device_id) - 1);

	if (c->link.mode == HW_MODE_DEVICE || fg_span_is(name, c->link.device_id)) {
		fg_put(&id, c->link.device_id);
	} else {
		if (c->link.product_id && !c->is_id) {
			fg_put(&id, c->link.product_id);
			fg_put(&id, "_");
		}
		fg_put_span(&id, name);
	}
	*id.at = '\0';
	return !id.is_full && hw_is_id(c->device_id, fg_text_size(&id));
}

static void put_login(const struct hw_rest_ctx *c, struct fg_text *url, struct fg_text *body)
{
	size_t size = strlen(c->iam_url);

	while (c->iam_url[size - 1] == '/')
		size--;
	fg_put_span(url, fg_span_of(c->iam_url, size));
	fg_put(url, "/v3/auth/tokens?nocatalog=true");
	fg_put(body, "{\"auth\":{\"identity\":{\"methods\":[\"password\"],\"password\":{\"user\":{"
		     "\"name\":");
	fg_put_quoted(body, fg_span_str(c->username));
	fg_put(body, ",\"password\":");
	fg_put_quoted(body, fg_span_str(c->password));
	fg_put(body, ",\"domain\":{\"name\":");
	fg_put_quoted(body, fg_span_str(c->domain));
	fg_put(body, "}}}},\"scope\":{\"project\":{\"id\":");
	fg_put_quoted(body, fg_span_str(c->project_id));
	fg_put(body, "}}}}");
}

static void put_device_url(const struct hw_rest_ctx *c, struct fg_text *url, const char *what)
{
	fg_put(url, c->url);
	fg_put(url, "/v5/iot/");
	fg_put(url, c->project_id);
	fg_put(url, "/devices/");
	fg_put(url, c->device_id);
	fg_put(url, what);
}

/* Returns false when IoTDA has no form for the parameters. */
static bool put_command(const struct hw_rest_ctx *c, const struct fg_rest_question *q,
			struct fg_text *body)
{
	struct fg_span params = q->params.size > 0 ? q->params : fg_span_str("{}");
	struct fg_span name = q->command;
	const char *dot = name.size > 0 ? memchr(name.data, '.', name.size) : NULL;
	struct fg_json_value value;
	struct fg_json_fault fault;

	if (fg_json_check(params, &value, &fault) < 0 || value.type != FG_JSON_OBJECT)
		return false;
	fg_put(body, "{");
	if (c->link.has_service_names && dot) {
		size_t service = (size_t)(dot - name.data);

		fg_put(body, "\"service_id\":");
		fg_put_quoted(body, fg_span_of(name.data, service));
		fg_put(body, ",");
		name = fg_span_of(dot + 1, name.size - service - 1);
	}
	fg_put(body, "\"command_name\":");
	fg_put_quoted(body, name);
	fg_put(body, ",\"paras\":");
	fg_put_json(body, params);
	fg_put(body, "}");
	return true;
}

static int rest_request(void *ctx, const struct fg_rest_question *q, struct fg_rest_request *out)
{
	struct hw_rest_ctx *c = ctx;
	struct fg_text url = fg_text_begin(c->request_url, sizeof(c->request_url) - 1);
	struct fg_text body = fg_text_begin(c->body, sizeof(c->body));
	bool is_login = q->step == FG_REST_LOGIN;
	size_t n = 0;

	if (is_login && c->has_token)
		return 0;
	if (!is_login && !take_device(c, q->device))
		return -EINVAL;
	switch (q->step) {
	case FG_REST_LOGIN:
		put_login(c, &url, &body);
		break;
	case FG_REST_DEVICE:
		put_device_url(c, &url, "");
		break;
	case FG_REST_READING:
		put_device_url(c, &url, "/shadow");
		break;
	case FG_REST_COMMAND:
		put_device_url(c, &url, "/commands");
		if (!put_command(c, q, &body))
			return -EINVAL;
		break;
	}
	if (url.is_full || body.is_full)
		return -EINVAL;
	*url.at = '\0';
	if (!is_login)
		c->headers[n++] = c->token;
	if (!is_login && *c->instance)
		c->headers[n++] = c->instance;
	if (body.at > body.start)
		c->headers[n++] = "Content-Type: application/json;charset=utf8";
	c->headers[n++] = "Accept: application/json";
	c->headers[n] = NULL;
	*out = (struct fg_rest_request){
		.method = body.at > body.start ? "POST" : "GET",
		.url = c->request_url,
		.headers = c->headers,
		.body = fg_text_span(&body),
		.wanted_header = is_login ? "X-Subject-Token" : NULL,
	};
	return 1;
}

/* ------------------------------------------------------------------ answers: the token */

static enum fg_rest_verdict answer_login(struct hw_rest_ctx *c,
					 const struct fg_rest_response *response,
					 struct fg_rest_result *out)
{
	const char *token = response->wanted_header;

	switch (response->status) {
	case STATUS_OK:
	case STATUS_CREATED:
		break;
	case STATUS_BAD_REQUEST:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT,
				   "IAM cannot make anything of the login: is project_id one of "
				   "this account?");
	case STATUS_UNAUTHORIZED:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT,
				   "IAM does not accept user name and password: does the user "
				   "belong to the account domain says, and to the project?");
	case STATUS_FORBIDDEN:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT,
				   "IAM does not let this user in: it has to have programmatic "
				   "access, and not to be locked");
	case STATUS_TOO_MANY:
		return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_LIMIT,
				   "IAM is asked for tokens more often than it allows");
	default:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_OTHER,
				   "what answers at iam_url has no token (HTTP status %u)",
				   response->status);
	}
	if (!token || !is_header_value(token) ||
	    strlen(token) > sizeof(c->token) - sizeof(TOKEN_HEADER))
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_OTHER,
				   "what answers at iam_url is not IAM");
	snprintf(c->token, sizeof(c->token), TOKEN_HEADER "%s", token);
	return FG_REST_DONE;
}

/* ------------------------------------------------------------------ answers: errors */

static enum fg_rest_verdict not_understood(struct fg_rest_result *out)
{
	return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_OTHER,
			   "what answers is not IoTDA's application API");
}

/* IoTDA's own codes, which say more than a status of HTTP. */
static bool by_code(const struct hw_rest_ctx *c, struct fg_span code, struct fg_rest_result *out,
		    enum fg_rest_verdict *ret)
{
	static const struct {
		const char *code;
		enum fg_rest_verdict verdict;
		enum fg_rest_fault fault;
		const char *text;
	} codes[] = {
		{"IOTDA.014000", FG_REST_AGAIN, FG_REST_FAULT_UNKNOWN,
		 "IoTDA knows no such device"},
		{"IOTDA.014016", FG_REST_FAILED, FG_REST_FAULT_OFFLINE,
		 "the device is not online in IoTDA"},
		{"IOTDA.014111", FG_REST_FAILED, FG_REST_FAULT_SILENT,
		 "IoTDA got no answer within its 20 s"},
		{"IOTDA.014112", FG_REST_FAILED, FG_REST_FAULT_OFFLINE,
		 "who speaks for the device has not subscribed to commands"},
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (!fg_span_is(code, codes[i].code))
			continue;
		*ret = fg_rest_say(out, codes[i].verdict, codes[i].fault, "%s (%s, device id %s)",
				   codes[i].text, codes[i].code, c->device_id);
		return true;
	}
	return false;
}

/* What any request may be answered with. */
static enum fg_rest_verdict by_status(const struct hw_rest_ctx *c, unsigned status,
				      struct fg_span code, struct fg_rest_result *out)
{
	bool is_iotda = code.size > 6 && memcmp(code.data, "IOTDA.", 6) == 0;
	char note[40] = "";

	if (code.size > 0 && code.size < sizeof(note) - 3)
		snprintf(note, sizeof(note), " (%.*s)", FG_SPAN_ARGS(code));
	switch (status) {
	case STATUS_UNAUTHORIZED:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_ACCOUNT,
				   "IoTDA does not accept the token%s: is it of this region's "
				   "project, and not older than 24 hours?",
				   note);
	case STATUS_FORBIDDEN:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_FORBIDDEN,
				   "IoTDA does not let this user do that%s: are project_id and "
				   "instance_id those of the console?",
				   note);
	case STATUS_NOT_FOUND:
		if (!is_iotda)
			return not_understood(out);
		return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_UNKNOWN,
				   "IoTDA does not know it%s, device id %s", note, c->device_id);
	case STATUS_TOO_MANY:
		return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_LIMIT,
				   "IoTDA is asked more often than it allows%s", note);
	default:
		return fg_rest_say(out, FG_REST_FAILED, FG_REST_FAULT_OTHER,
				   "IoTDA answers with HTTP status %u%s", status, note);
	}
}

/* ------------------------------------------------------------------ answers: the device */

/* Which id IoTDA gave a sub-device, its operator may have decided: both are tried in turn. */
static enum fg_rest_verdict answer_unknown(struct hw_rest_ctx *c, const struct fg_rest_question *q,
					   struct fg_rest_result *out)
{
	if (c->link.mode == HW_MODE_DEVICE || !c->link.product_id ||
	    fg_span_is(q->device, c->link.device_id))
		return FG_REST_AGAIN;
	c->is_id = !c->is_id;
	return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_UNKNOWN,
			   "IoTDA knows no such device, neither %s_%.*s nor %.*s",
			   c->link.product_id, FG_SPAN_ARGS(q->device), FG_SPAN_ARGS(q->device));
}

static enum fg_rest_verdict answer_device(struct fg_json_value body, struct fg_rest_result *out)
{
	struct fg_span id;

	return fg_plain_member(body, "device_id", &id) ? FG_REST_DONE : not_understood(out);
}

/* ------------------------------------------------------------------ answers: the shadow */

/* Does a service of the shadow show the value, of the time it was sent? */
static bool find_reading(const struct fg_rest_question *q, struct fg_json_value service,
			 struct fg_rest_result *out)
{
	struct fg_json_value sent, reported, properties, kept, time;
	struct fg_json_fault fault;
	int64_t time_us, unit_us;

	if (fg_json_check(q->value, &sent, &fault) < 0 || service.type != FG_JSON_OBJECT ||
	    !fg_json_member(service, fg_span_str("reported"), &reported) ||
	    reported.type != FG_JSON_OBJECT ||
	    !fg_json_member(reported, fg_span_str("properties"), &properties) ||
	    properties.type != FG_JSON_OBJECT || !fg_json_member(properties, q->key, &kept) ||
	    !fg_is_same_value(sent, kept) ||
	    !fg_json_member(reported, fg_span_str("event_time"), &time) ||
	    !hw_time_read(time, &time_us, &unit_us))
		return false;
	/* A time there is cut to seconds, or to milliseconds. */
	if (time_us + unit_us <= q->from_us || time_us > q->to_us)
		return false;
	out->time_us = time_us;
	return true;
}

/*
 * {"shadow":[{"service_id":"env","desired":{…},"reported":{"properties":{"t":21.5},"event_time":"…"}}]}
 * It shows what was reported last.
 */
static enum fg_rest_verdict answer_reading(const struct fg_rest_question *q,
					   struct fg_json_value body, struct fg_rest_result *out)
{
	struct fg_json_value shadow;
	struct fg_json_member service;
	struct fg_json_walk walk;

	if (body.type != FG_JSON_OBJECT || !fg_json_member(body, fg_span_str("shadow"), &shadow) ||
	    (shadow.type != FG_JSON_ARRAY && shadow.type != FG_JSON_NULL))
		return not_understood(out);
	if (shadow.type == FG_JSON_ARRAY) {
		fg_json_walk_begin(&walk, shadow);
		while (fg_json_walk_next(&walk, &service))
			if (find_reading(q, service.value, out))
				return FG_REST_DONE;
	}
	return fg_rest_say(out, FG_REST_AGAIN, FG_REST_FAULT_MISSING,
			   "the device's shadow in IoTDA does not show it: does a service of the "
			   "product have the property \"%.*s\"?",
			   q->key.size > 64 ? 64 : (int)q->key.size, q->key.data);
}

/* ------------------------------------------------------------------ answers: a command */

/* {"result_code":7,"paras":{"error":"timeout","text":"…"}}: an error of the device, or of the gateway. */
static enum fg_rest_verdict answer_error(struct fg_json_value code, struct fg_json_value paras,
					 struct fg_rest_result *out)
{
	struct fg_json_value error;
	bool is_silent = paras.type == FG_JSON_OBJECT &&
			 fg_json_member(paras, fg_span_str("error"), &error) &&
			 (fg_span_is(error.text, "\"timeout\"") ||
			  fg_span_is(error.text, "\"unknown_outcome\""));

	return fg_rest_say(out, FG_REST_FAILED,
			   is_silent ? FG_REST_FAULT_SILENT : FG_REST_FAULT_REFUSED,
			   "the answer is an error: result_code %.*s, %.*s",
			   code.text.size > 20 ? 20 : (int)code.text.size, code.text.data,
			   paras.text.size > 160 ? 160 : (int)paras.text.size, paras.text.data);
}

static enum fg_rest_verdict answer_command(struct fg_json_value body, struct fg_rest_result *out)
{
	struct fg_json_value response, code, paras;

	if (body.type != FG_JSON_OBJECT ||
	    !fg_json_member(body, fg_span_str("response"), &response) ||
	    response.type != FG_JSON_OBJECT)
		return not_understood(out);
	if (!fg_json_member(response, fg_span_str("paras"), &paras))
		paras = response;
	if (fg_json_member(response, fg_span_str("result_code"), &code) &&
	    !fg_span_is(code.text, "0"))
		return answer_error(code, paras, out);
	out->answer = paras.text;
	return FG_REST_DONE;
}

/* ------------------------------------------------------------------ answers */

static enum fg_rest_verdict answer(struct hw_rest_ctx *c, const struct fg_rest_question *q,
				   const struct fg_rest_response *response,
				   struct fg_rest_result *out)
{
	struct fg_json_value body = {.type = FG_JSON_NULL};
	struct fg_json_fault fault;
	enum fg_rest_verdict verdict;
	struct fg_span code = {0};

	if (fg_json_check(response->body, &body, &fault) < 0)
		body.type = FG_JSON_NULL;
	/* A command that ran into IoTDA's time-out is answered with 200 and a code. */
	if (fg_plain_member(body, "error_code", &code) && by_code(c, code, out, &verdict))
		return verdict;
	if (response->status != STATUS_OK)
		return by_status(c, response->status, code, out);
	switch (q->step) {
	case FG_REST_DEVICE:
		return answer_device(body, out);
	case FG_REST_READING:
		return answer_reading(q, body, out);
	default:
		return answer_command(body, out);
	}
}

static enum fg_rest_verdict rest_answer(void *ctx, const struct fg_rest_question *q,
					const struct fg_rest_response *response,
					struct fg_rest_result *out)
{
	enum fg_rest_verdict verdict;

	if (q->step == FG_REST_LOGIN)
		return answer_login(ctx, response, out);
	verdict = answer(ctx, q, response, out);
	if (q->step == FG_REST_DEVICE && out->fault == FG_REST_FAULT_UNKNOWN)
		return answer_unknown(ctx, q, out);
	return verdict;
}

const struct fg_rest hw_rest = {
	.size = sizeof(struct fg_rest),
	.options = option_table,
	.open = rest_open,
	.close = rest_close,
	.request = rest_request,
	.answer = rest_answer,
};
