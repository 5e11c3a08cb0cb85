#include "bootstrap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "huawei.h"
#include "util/url.h"

#define STORE_KEY "bootstrap"

#define ANSWER_WAIT_S 10u
#define PAUSE_MIN_S 10u
#define PAUSE_MAX_S 600u

/* In which a trigger is one that has been delivered again: IoTDA repeats what was not acknowledged. */
#define OLD_TRIGGER_S 60u

/* Attempts at the address, about ten minutes when it cannot be reached. */
#define MAX_FAILED 10u

#define STORE_SIZE (HW_RAW(HW_ADDRESS_SIZE + HW_SECRET_SIZE + HW_HMAC_SIZE) + 64)

/* ------------------------------------------------------------------ addresses */

/* Whatever getaddrinfo() takes for a number is one here: 127.1, too. */
static bool is_this_machine(const char *host)
{
	static const char suffix[] = ".localhost";
	size_t size = strlen(host), n = sizeof(suffix) - 1;
	struct in6_addr v6;
	struct in_addr v4;
	uint8_t first;

	if (inet_pton(AF_INET6, host, &v6) == 1) {
		if (IN6_IS_ADDR_LOOPBACK(&v6) || IN6_IS_ADDR_UNSPECIFIED(&v6))
			return true;
		first = v6.s6_addr[12];
		return IN6_IS_ADDR_V4MAPPED(&v6) && (first == 127 || first == 0);
	}
	if (inet_aton(host, &v4)) {
		first = (uint8_t)(ntohl(v4.s_addr) >> 24);
		return first == 127 || first == 0;
	}
	return strcasecmp(host, "localhost") == 0 ||
	       (size > n && strcasecmp(host + size - n, suffix) == 0);
}

/* Returns NULL, or what is wrong with @address: what a server says is not what this gateway is told to
 * connect to. */
static const char *address_fault(const struct hw_bootstrap *b, const char *address)
{
	struct fg_url_parts parts;

	if (fg_url_parse_address(address, &parts) < 0)
		return "names no address of the form HOST:PORT";
	if (is_this_machine(parts.host) && !b->is_near)
		return "names an address of this machine itself";
	return NULL;
}

/* ------------------------------------------------------------------ what is remembered */

/* The text member @name to @out. Returns its size, 0 when it is absent, null or empty, -EINVAL when it is
 * no text or a longer one. */
static int read_text(struct fg_json_value object, const char *name, char *out, size_t out_size)
{
	char raw[HW_RAW(HW_ADDRESS_SIZE)];
	struct fg_json_value value;
	struct fg_span text;
	int r = -EINVAL;

	*out = 0;
	if (!fg_json_member(object, fg_span_str(name), &value) || value.type == FG_JSON_NULL ||
	    fg_span_is(value.text, "\"\""))
		return 0;
	if (hw_string_read(value, raw, sizeof(raw), &text) && text.size < out_size) {
		memcpy(out, text.data, text.size);
		out[text.size] = 0;
		r = (int)text.size;
	}
	OPENSSL_cleanse(raw, sizeof(raw));
	return r;
}

/* Returns 1 when that is on disk already, of which the host does not tell; 0 when it will; or a negative
 * errno. */
static int save(struct hw *hw, const char *address, const char *secret, bool is_wanted_again)
{
	char buffer[STORE_SIZE];
	struct fg_text text = fg_text_begin(buffer, sizeof(buffer));
	struct fg_span on_disk;
	int r = -EMSGSIZE;

	fg_put(&text, "{\"for\":");
	fg_put_quoted(&text, fg_span_str(hw->bootstrap.fingerprint));
	fg_put(&text, ",\"address\":");
	fg_put_quoted(&text, fg_span_str(address));
	fg_put(&text, ",\"secret\":");
	fg_put_quoted(&text, fg_span_str(secret));
	fg_put(&text, is_wanted_again ? ",\"again\":true}" : "}");
	if (!text.is_full)
		r = hw->host->remember(hw->host_ctx, STORE_KEY, fg_text_span(&text));
	if (r == 0 && hw->host->recall(hw->host_ctx, STORE_KEY, &on_disk) == 0)
		r = fg_span_equal(on_disk, fg_text_span(&text));
	OPENSSL_cleanse(buffer, sizeof(buffer));
	return r;
}

/* Take over what is on disk, if it was got with this configuration. */
static void load(struct hw *hw)
{
	struct hw_bootstrap *b = &hw->bootstrap;
	char fingerprint[HW_HMAC_SIZE];
	struct fg_json_value root, again;
	struct fg_json_fault fault;
	struct fg_span stored;

	b->state = HW_BOOTSTRAP_WANTED;
	b->is_triggered = false;
	b->address[0] = b->secret[0] = 0;
	if (hw->host->recall(hw->host_ctx, STORE_KEY, &stored) < 0 ||
	    fg_json_check(stored, &root, &fault) < 0 || root.type != FG_JSON_OBJECT ||
	    read_text(root, "for", fingerprint, sizeof(fingerprint)) <= 0 ||
	    strcmp(fingerprint, b->fingerprint) != 0 ||
	    read_text(root, "secret", b->secret, sizeof(b->secret)) < 0 ||
	    read_text(root, "address", b->address, sizeof(b->address)) <= 0 ||
	    address_fault(b, b->address)) {
		b->address[0] = b->secret[0] = 0;
		return;
	}
	b->is_triggered = fg_json_member(root, fg_span_str("again"), &again);
	if (!b->is_triggered)
		b->state = HW_BOOTSTRAP_DONE;
}

/* ------------------------------------------------------------------ opening */

/* Of all that makes an answer good for another gateway, or another time. */
static int make_fingerprint(struct hw *hw, const char *url_host)
{
	const struct hw_options *o = &hw->with;
	const char *key = o->secret ? o->secret : o->group_secret ? o->group_secret : "certificate";
	char message[2 * HW_DEVICE_ID_MAX + HW_ADDRESS_SIZE + 3];
	int n = snprintf(message, sizeof(message), "%.*s\n%s\n%s", HW_ADDRESS_SIZE, url_host,
			 o->device_id, o->scope_id ? o->scope_id : "");

	return hw_hmac("SHA256", fg_span_str(key), fg_span_of(message, (size_t)n),
		       hw->bootstrap.fingerprint);
}

const char *hw_bootstrap_open(struct hw *hw, const struct fg_open *with)
{
	struct hw_bootstrap *b = &hw->bootstrap;
	const struct hw_options *o = &hw->with;
	int r = 0;

	if (!o->bootstraps)
		return NULL;
	if (o->group_secret)
		r = hw_group_derive(o->device_id, o->group_secret, b->derived);
	if (r == -EINVAL)
		return "group_secret: expected Base64 of at most 256 bytes, as the console shows "
		       "it, with its '=' at the end and without blanks";
	if (r < 0 || make_fingerprint(hw, with->host_name) < 0)
		return "OpenSSL has no HMAC-SHA256";
	b->is_near = is_this_machine(with->host_name);
	load(hw);
	return NULL;
}

void hw_bootstrap_close(struct hw *hw)
{
	OPENSSL_cleanse(&hw->bootstrap, sizeof(hw->bootstrap));
}

/* ------------------------------------------------------------------ the session */

static void reconnect(struct hw *hw, const char *why)
{
	hw->host->reconnect(hw->host_ctx, "", why);
}

static bool is_paused(const struct hw *hw)
{
	return hw->uptime_s < hw->bootstrap.until_s;
}

static void begin_pause(struct hw *hw)
{
	struct hw_bootstrap *b = &hw->bootstrap;

	b->pause_s = b->pause_s > 0 ? 2 * b->pause_s : PAUSE_MIN_S;
	if (b->pause_s > PAUSE_MAX_S)
		b->pause_s = PAUSE_MAX_S;
	b->until_s = hw->uptime_s + b->pause_s;
	b->state = HW_BOOTSTRAP_WANTED;
}

static void want(struct hw_bootstrap *b)
{
	b->state = HW_BOOTSTRAP_WANTED;
	b->n_failed = 0;
	b->pause_s = b->until_s = 0;
}

int hw_bootstrap_connect(struct hw *hw, struct hw_account *account, struct fg_connect *out)
{
	struct hw_bootstrap *b = &hw->bootstrap;
	bool has_address = b->address[0];

	if (b->state == HW_BOOTSTRAP_OFF)
		return 0;
	if (b->state == HW_BOOTSTRAP_KEEPING && !has_address)
		return -EINVAL;
	if (b->state == HW_BOOTSTRAP_DONE && b->n_failed++ == MAX_FAILED) {
		hw->host->warn(hw->host_ctx,
			       "%u attempts in a row to connect to %s, the address got by "
			       "bootstrap, have failed: the address is asked for again",
			       MAX_FAILED, b->address);
		want(b);
		b->is_setup = false;
	}
	b->is_setup = b->state == HW_BOOTSTRAP_WANTED &&
		      (!has_address || (!b->is_setup && !is_paused(hw)));
	b->has_asked = b->is_outdated = false;
	out->is_setup = b->is_setup;
	if (b->is_setup) {
		account->scope_id = hw->with.scope_id;
		if (b->derived[0])
			account->secret = b->derived;
		return 0;
	}
	out->address = b->address;
	if (b->secret[0])
		account->secret = b->secret;
	return 0;
}

const char *hw_bootstrap_secret(const struct hw *hw)
{
	return hw->bootstrap.secret[0] ? hw->bootstrap.secret : hw->with.secret;
}

bool hw_bootstrap_connected(struct hw *hw)
{
	struct hw_bootstrap *b = &hw->bootstrap;

	if (b->state == HW_BOOTSTRAP_OFF)
		return false;
	b->is_up = true;
	b->n_failed = 0;
	if (b->is_outdated)
		reconnect(hw, "bootstrapped");
	if (b->is_setup)
		hw_subscribe(hw, "bootstrap/down");
	else if (b->state == HW_BOOTSTRAP_WANTED && b->is_triggered)
		b->until_s = hw->uptime_s + PAUSE_MAX_S;
	else if (b->state == HW_BOOTSTRAP_WANTED)
		b->state = HW_BOOTSTRAP_DONE;
	return b->is_setup;
}

void hw_bootstrap_disconnected(struct hw *hw)
{
	struct hw_bootstrap *b = &hw->bootstrap;

	b->is_up = false;
	if (b->state != HW_BOOTSTRAP_ASKED)
		return;
	b->state = HW_BOOTSTRAP_WANTED; /* the host pauses before the next attempt */
	b->until_s = 0;
}

void hw_bootstrap_tick(struct hw *hw)
{
	struct hw_bootstrap *b = &hw->bootstrap;

	if (is_paused(hw))
		return;
	if (b->state == HW_BOOTSTRAP_ASKED) {
		begin_pause(hw);
		hw->host->warn(hw->host_ctx,
			       "the bootstrap service does not answer, or not to the point; it is "
			       "asked again in %u s",
			       b->pause_s);
		if (b->address[0])
			reconnect(hw, "meanwhile to the address of the last bootstrap");
	} else if (b->state == HW_BOOTSTRAP_WANTED && b->is_up && !b->is_setup) {
		reconnect(hw, "IoTDA wants a bootstrap");
	}
}

/* ------------------------------------------------------------------ asking */

int hw_publish_bootstrap(struct hw_call *call)
{
	struct hw *hw = call->hw;
	struct hw_bootstrap *b = &hw->bootstrap;
	const char *keyword = hw->with.strategy_keyword;
	struct fg_text text;
	int r;

	if (b->state != HW_BOOTSTRAP_WANTED || is_paused(hw))
		return 0;
	r = hw_publish_begin(hw, call->out, "bootstrap/up", HW_MAX_REPORT, &text);
	if (r < 0)
		return r;
	if (keyword) {
		fg_put(&text, "{\"baseStrategyKeyword\":");
		fg_put_quoted(&text, fg_span_str(keyword));
		fg_put(&text, "}");
	}
	if (text.is_full)
		return 0;
	call->out->payload_len = fg_text_size(&text);
	call->out->tag = HW_TAG_BOOTSTRAP;
	b->state = HW_BOOTSTRAP_ASKED;
	b->has_asked = true;
	b->until_s = hw->uptime_s + ANSWER_WAIT_S;
	return 1;
}

/* ------------------------------------------------------------------ the answer */

static int take_answer(struct hw *hw, struct fg_json_value answer)
{
	struct hw_bootstrap *b = &hw->bootstrap;
	char address[HW_ADDRESS_SIZE], secret[HW_SECRET_SIZE];
	const char *fault = NULL;
	int r;

	if (read_text(answer, "deviceSecret", secret, sizeof(secret)) < 0)
		fault = "gives a secret that is none";
	else if (read_text(answer, "address", address, sizeof(address)) <= 0)
		fault = "names no address of the form HOST:PORT";
	else
		fault = address_fault(b, address);
	if (fault) {
		hw->host->warn(hw->host_ctx,
			       "the answer of the bootstrap service %s: it is not used", fault);
		OPENSSL_cleanse(secret, sizeof(secret));
		return 0;
	}
	b->state = HW_BOOTSTRAP_KEEPING;
	r = save(hw, address, secret[0] ? secret : b->derived, false);
	OPENSSL_cleanse(secret, sizeof(secret));
	if (r > 0) {
		hw_bootstrap_remembered(hw, STORE_KEY, 0);
	} else if (r < 0) {
		begin_pause(hw);
		hw->host->warn(hw->host_ctx,
			       "what the bootstrap service has answered cannot be kept (%s): it is "
			       "asked again in %u s",
			       strerror(-r), b->pause_s);
	}
	return 0;
}

int hw_bootstrap_answered(struct hw *hw, struct fg_span payload)
{
	struct hw_bootstrap *b = &hw->bootstrap;
	struct fg_json_value answer;
	struct fg_json_fault fault;

	if (!b->has_asked)
		return -EPROTO;
	if (b->state == HW_BOOTSTRAP_KEEPING || b->state == HW_BOOTSTRAP_DONE)
		return 0; /* answered twice */
	if (fg_json_check(payload, &answer, &fault) < 0 || answer.type != FG_JSON_OBJECT)
		return -EPROTO;
	return take_answer(hw, answer);
}

void hw_bootstrap_remembered(struct hw *hw, const char *key, int error)
{
	struct hw_bootstrap *b = &hw->bootstrap;

	if (strcmp(key, STORE_KEY) != 0)
		return;
	if (b->state == HW_BOOTSTRAP_KEEPING && error == 0) {
		load(hw);
		if (b->state != HW_BOOTSTRAP_DONE) {
			b->state = HW_BOOTSTRAP_KEEPING; /* it was the wish for this bootstrap */
			return;
		}
		b->n_failed = 0;
		b->pause_s = b->until_s = 0;
		b->has_ended = true;
		b->ended_s = hw->uptime_s;
		b->is_outdated = true;
		reconnect(hw, "bootstrapped");
	} else if (b->state == HW_BOOTSTRAP_KEEPING && b->is_setup && b->address[0]) {
		/* The host has said why, and tries again. */
		reconnect(hw, "meanwhile to the address of the last bootstrap");
	} else if (b->state == HW_BOOTSTRAP_WANTED && b->is_up && !b->is_setup) {
		reconnect(hw, "IoTDA wants a bootstrap");
	}
}

/* ------------------------------------------------------------------ once more */

void hw_bootstrap_again(struct hw *hw)
{
	struct hw_bootstrap *b = &hw->bootstrap;

	if (b->state == HW_BOOTSTRAP_OFF)
		hw->host->warn(hw->host_ctx, "IoTDA wants the gateway to bootstrap, which is not "
					     "configured: set bootstrap, and url to the address of "
					     "the bootstrap service");
	if (b->state != HW_BOOTSTRAP_DONE ||
	    (b->has_ended && hw->uptime_s - b->ended_s < OLD_TRIGGER_S))
		return;
	want(b);
	b->is_triggered = true;
	if (save(hw, b->address, b->secret, true) != 0)
		reconnect(hw, "IoTDA wants a bootstrap");
}
