#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>

#include "common/rest.h"
#include "huawei.h"

#define HOUR_DIGITS 10

/* A sub-device in the report does not exist, or is another gateway's. */
#define STRANGER "IOTDA.021104"

/* A token is renewed when a tenth of its life is left, or five minutes. */
#define MARGIN_PARTS 10
#define MARGIN_MAX_MS 300000
#define LIFE_MAX_S (30LL * 86400)

/* ------------------------------------------------------------------ answers */

/* IoTDA answers 403 when a token is not accepted, and also: */
static const struct {
	const char *code;
	enum fg_verdict verdict;
} codes[] = {
	{"IOTDA.021101", FG_LATER},  /* more requests than it allows the device, … */
	{"IOTDA.021102", FG_LATER},  /* … or all devices of its owner */
	{"IOTDA.021105", FG_POISON}, /* more than a megabyte */
};

/* IoTDA's own code in an answer; an empty one when there is none. */
static struct fg_span code_of(struct fg_span body)
{
	struct fg_json_value answer;
	struct fg_json_fault fault;
	struct fg_span code = {0};

	if (fg_json_check(body, &answer, &fault) == 0)
		fg_plain_member(answer, "error_code", &code);
	return code;
}

static enum fg_verdict judge_refusal(struct fg_span body)
{
	struct fg_span code = code_of(body);

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (fg_span_is(code, codes[i].code))
			return codes[i].verdict;
	return FG_SIGN_IN;
}

/* A page for people, as a proxy or a portal makes it. */
static bool is_page(struct fg_span body)
{
	size_t i = 0;

	while (i < body.size && memchr(" \t\r\n", body.data[i], 4))
		i++;
	return i < body.size && body.data[i] == '<';
}

static enum fg_verdict verdict_of(unsigned status, struct fg_span body)
{
	/* Something in between, which takes no message, or not this one. */
	if (status / 100 == 3 || is_page(body))
		return FG_RETRY;
	if (status / 100 == 2)
		return FG_ACCEPTED;
	switch (status) {
	case 400:
	case 413:
	case 422:
		return FG_POISON;
	case 401:
	case 403:
		return judge_refusal(body);
	case 404: /* about the device, or the path */
	case 405:
	case 407:
	case 408:
	case 429:
	case 502:
	case 503:
	case 504:
		return FG_LATER;
	default:
		return FG_RETRY;
	}
}

/* ------------------------------------------------------------------ signing in */

void hw_https_end(struct hw *hw)
{
	OPENSSL_cleanse(&hw->https, sizeof(hw->https));
}

/*
 * The interface has no SM3: whoever signs with it by MQTT signs with SHA-256 here, and has the hour
 * checked as there.
 */
static int hw_https_sign_in(void *ctx, const struct fg_connect_request *request,
			    struct fg_http_call *out)
{
	static const char *const headers[] = {"Content-Type: application/json", NULL};
	struct hw *hw = ctx;
	struct hw_https *https = &hw->https;
	struct hw_account account = {
		.id = hw->with.device_id,
		.secret = hw_bootstrap_secret(hw),
		.sign_type = hw->with.sign_type == HW_SIGN_SHA256_UNCHECKED
				     ? HW_SIGN_SHA256_UNCHECKED
				     : HW_SIGN_SHA256,
	};
	struct hw_sign_in sign_in;
	const char *hour;

	hw_https_end(hw);
	if (!account.secret || hw_sign_in_make(&account, request->now_us, &sign_in) < 0)
		return -EINVAL;
	hour = sign_in.client_id + strlen(sign_in.client_id) - HOUR_DIGITS;
	snprintf(https->body, sizeof(https->body),
		 "{\"device_id\":\"%s\",\"sign_type\":%d,\"timestamp\":\"%s\",\"password\":\"%s\"}",
		 account.id, account.sign_type, hour, sign_in.password);
	hw_sign_in_wipe(&sign_in);
	out->url = "/v5/device-auth";
	out->headers = headers;
	out->body = fg_span_str(https->body);
	return 1;
}

/* Printable ASCII without blanks: it becomes a header. */
static bool is_token(struct fg_span text)
{
	for (size_t i = 0; i < text.size; i++)
		if (text.data[i] <= ' ' || text.data[i] > '~')
			return false;
	return text.size > 0;
}

/* Digits only, at most LIFE_MAX_S; 0: it is none. */
static int64_t seconds_of(struct fg_json_value value)
{
	int64_t seconds = 0;

	if (value.type != FG_JSON_INTEGER)
		return 0;
	for (size_t i = 0; i < value.text.size && seconds < LIFE_MAX_S; i++) {
		if (value.text.data[i] < '0' || value.text.data[i] > '9')
			return 0;
		seconds = seconds * 10 + value.text.data[i] - '0';
	}
	return seconds < LIFE_MAX_S ? seconds : LIFE_MAX_S;
}

static int take_token(struct hw *hw, struct fg_span body, struct fg_http_sign_in *out)
{
	static const char name[] = "access_token: ";
	struct hw_https *https = &hw->https;
	struct fg_json_value object, token, life = {0};
	struct fg_json_fault fault;
	struct fg_span text;
	int64_t margin_ms;
	char *at = https->token + sizeof(name) - 1;

	if (fg_json_check(body, &object, &fault) < 0 || object.type != FG_JSON_OBJECT ||
	    !fg_json_member(object, fg_span_str("access_token"), &token) ||
	    !hw_string_read(token, at, HW_TOKEN_MAX, &text) || !is_token(text))
		return -EPROTO;
	memcpy(https->token, name, sizeof(name) - 1);
	at[text.size] = '\0';
	https->headers[0] = https->token;
	https->headers[1] = "Content-Type: application/json";
	if (fg_json_member(object, fg_span_str("expires_in"), &life))
		out->renew_ms = seconds_of(life) * 1000;
	margin_ms = out->renew_ms / MARGIN_PARTS;
	out->renew_ms -= margin_ms < MARGIN_MAX_MS ? margin_ms : MARGIN_MAX_MS;
	return 0;
}

static int hw_https_signed_in(void *ctx, const char *session, const struct fg_http_result *answer,
			      struct fg_http_sign_in *out)
{
	struct hw *hw = ctx;
	int r;

	(void)session;
	OPENSSL_cleanse(hw->https.body, sizeof(hw->https.body));
	switch (verdict_of(answer->status, answer->body)) {
	case FG_ACCEPTED:
		break;
	case FG_SIGN_IN:
		return -EACCES;
	case FG_POISON:
		return -EPROTO;
	case FG_LATER:
	case FG_RETRY:
		return answer->status < 400 ? -EPROTO : -EAGAIN;
	}
	r = take_token(hw, answer->body, out);
	if (r < 0)
		hw_https_end(hw);
	else
		hw_set_limits(hw);
	return r;
}

const struct fg_http_uplink hw_http_uplink = {
	.size = sizeof(struct fg_http_uplink),
	.sign_in = hw_https_sign_in,
	.signed_in = hw_https_signed_in,
};

/* ------------------------------------------------------------------ requests */

int hw_https_begin(const struct hw *hw, const char *suffix, struct fg_publish *out)
{
	int n = snprintf(out->topic, out->topic_size, "/v5/devices/%s/sys/", hw->with.device_id);
	size_t size = strlen(suffix);

	if (n < 0 || (size_t)n + size >= out->topic_size)
		return -EINVAL;
	for (size_t i = 0; i <= size; i++)
		out->topic[(size_t)n + i] = suffix[i] == '_' ? '-' : suffix[i];
	out->headers = hw->https.headers;
	return 0;
}

uint64_t hw_https_tag(const struct hw *hw, struct fg_span device)
{
	const struct hw_device *known = hw_devices_find(&hw->devices, device);

	if (!known)
		return HW_TAG_NONE;
	return (uint64_t)(known - hw->devices.all) << HW_TAG_BITS | HW_TAG_DEVICE;
}

/*
 * IoTDA refuses a report as a whole for one sub-device that it does not have, and does not say for which:
 * the host looks for it, with a request for each message. Not for each report anew, though.
 */
enum fg_verdict hw_https_settled(struct hw *hw, const struct fg_settlement *how)
{
	if (hw_tag_of(how) == HW_TAG_DEVICE && fg_span_is(code_of(how->http_body), STRANGER))
		hw->devices.all[how->tag >> HW_TAG_BITS].is_stranger = true;
	return verdict_of(how->http_status, how->http_body);
}
