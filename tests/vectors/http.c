/*
 * Steps of a session that HTTP carries.
 */
#include <errno.h>
#include <string.h>

#include "play.h"

bool same_headers(const char *const *is, struct fg_json_value wanted)
{
	struct fg_json_member member;
	struct fg_json_value list;
	struct fg_json_walk walk;
	size_t n = 0;

	if (!get(wanted, "headers", &list))
		return true;
	fg_json_walk_begin(&walk, list);
	for (; fg_json_walk_next(&walk, &member); n++)
		if (!is || !is[n])
			return fail("%zu headers; ", n);
		else if (!same_json("header", fg_span_str(is[n]),
				    fg_span_str(text_of(member.value))))
			return false;
	return !is || !is[n] || fail("a header more: %s; ", is[n]);
}

static bool sign_in(struct fg_json_value wanted, bool is_to_fail)
{
	const struct fg_connect_request request = {.session = "", .now_us = play.now_us};
	struct fg_http_call call = {.method = "POST"};
	struct fg_json_value body;
	int r = play.plugin->http->sign_in(play.ctx, &request, &call);

	if (is_to_fail)
		return r == -EINVAL || fail("sign_in: %d; ", r);
	if (r != 1 || !call.url)
		return fail("sign_in: %d; ", r);
	if (strcmp(call.method, "POST") != 0)
		return fail("the method is %s; ", call.method);
	if (get(wanted, "body", &body) &&
	    !same_json("body", compact(call.body), compact(body.text)))
		return false;
	return same_text("sign-in", call.url, wanted, "path") && same_headers(call.headers, wanted);
}

static bool signed_in(struct fg_json_value step, struct fg_json_value answer)
{
	static const struct {
		const char *name;
		int r;
	} results[] = {{"refused", -EACCES}, {"later", -EAGAIN}, {"nonsense", -EPROTO}};
	const char *wanted = get_text(step, "result");
	struct fg_http_result result = {.status = (unsigned)get_number(answer, "status", 200)};
	struct fg_http_sign_in as = {0};
	struct fg_json_value body;
	int r, expected = 0;

	if (get(answer, "body", &body))
		result.body = body.text;
	for (size_t i = 0; wanted && i < sizeof(results) / sizeof(results[0]); i++)
		if (strcmp(results[i].name, wanted) == 0)
			expected = results[i].r;
	r = play.plugin->http->signed_in(play.ctx, "", &result, &as);
	if (r == 0)
		play.carrier = FG_CARRIER_HTTP;
	if (r != expected)
		return fail("signed_in: %d; ", r);
	return as.renew_ms == get_number(step, "renew", as.renew_ms / 1000) * 1000 ||
	       fail("it is renewed after %lld ms; ", (long long)as.renew_ms);
}

bool http_step(struct fg_json_value step, bool *ret)
{
	struct fg_json_value v;

	if (!play.plugin->http)
		return false;
	if (get(step, "sign_in", &v))
		*ret = sign_in(v, false);
	else if (get(step, "sign_in_fails", &v))
		*ret = sign_in(v, true);
	else if (get(step, "signed_in", &v))
		*ret = signed_in(step, v);
	else
		return false;
	return true;
}
