#include "provision.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "model/json.h"
#include "thingsboard.h"

#define STORE_KEY "credential"
#define STORE_SIZE (4 * TB_CREDENTIAL_SIZE * 6)

#define PAUSE_US (INT64_C(600) * 1000000)
#define ANSWER_WAIT_S 60u

static const char *const type_names[TB_N_CREDENTIALS] = {
	[TB_OWN_TOKEN] = "ACCESS_TOKEN",
	[TB_OWN_BASIC] = "MQTT_BASIC",
	[TB_SERVER_TOKEN] = "ACCESS_TOKEN",
	[TB_CERTIFICATE] = "X509_CERTIFICATE",
};

/* ------------------------------------------------------------------ what is remembered */

static void put_member(struct fg_text *text, const char *name, const char *value)
{
	if (text->at[-1] != '{')
		fg_put(text, ",");
	fg_put_quoted(text, fg_span_str(name));
	fg_put(text, ":");
	fg_put_quoted(text, fg_span_str(value));
}

/* `is_good`: ThingsBoard has taken it; else it may have. */
static void save(struct tb *tb, bool is_good)
{
	struct tb_provision *p = &tb->provision;
	char buffer[STORE_SIZE];
	struct fg_text text = fg_text_begin(buffer, sizeof(buffer));
	int r = -EINVAL;

	fg_put(&text, "{");
	put_member(&text, "server", tb->with.server);
	put_member(&text, "device", tb->with.provision_device);
	put_member(&text, "state", is_good ? "good" : "asked");
	put_member(&text, "client_id", p->client_id);
	put_member(&text, "username", p->username);
	put_member(&text, "password", p->password);
	fg_put(&text, "}");
	if (!text.is_full)
		r = tb->host->remember(tb->host_ctx, STORE_KEY, fg_text_span(&text));
	explicit_bzero(buffer, sizeof(buffer));
	if (r < 0)
		tb_provision_remembered(tb, STORE_KEY, r);
}

/* Returns false when there is none, or one that does not fit. */
static bool read_text(struct fg_json_value from, const char *name, char *out)
{
	char unescaped[TB_CREDENTIAL_SIZE * 6];
	struct fg_json_value value;
	struct fg_span raw;
	size_t n;

	*out = 0;
	if (!fg_json_member(from, fg_span_str(name), &value))
		return false;
	raw = tb_raw_string(value);
	if (raw.size == 0 || raw.size > sizeof(unescaped))
		return false;
	n = fg_json_unescape(raw, unescaped);
	if (n >= TB_CREDENTIAL_SIZE || memchr(unescaped, 0, n))
		return false;
	memcpy(out, unescaped, n);
	out[n] = 0;
	return true;
}

/* What was remembered for this device of this server. */
static bool load(struct tb *tb, bool *ret_is_good)
{
	struct tb_provision *p = &tb->provision;
	char server[TB_CREDENTIAL_SIZE], device[TB_CREDENTIAL_SIZE], state[TB_CREDENTIAL_SIZE];
	struct fg_json_value root;
	struct fg_json_fault fault;
	struct fg_span stored;

	if (tb->host->recall(tb->host_ctx, STORE_KEY, &stored) < 0 ||
	    fg_json_check(stored, &root, &fault) < 0 || root.type != FG_JSON_OBJECT)
		return false;
	read_text(root, "server", server);
	read_text(root, "device", device);
	if (strcmp(server, tb->with.server) != 0 ||
	    strcmp(device, tb->with.provision_device) != 0 || !read_text(root, "state", state))
		return false;
	read_text(root, "client_id", p->client_id);
	read_text(root, "username", p->username);
	read_text(root, "password", p->password);
	*ret_is_good = strcmp(state, "good") == 0;
	return tb->with.provision_credentials == TB_CERTIFICATE ? !*p->client_id && !*p->username
								: *p->client_id || *p->username;
}

void tb_provision_open(struct tb *tb)
{
	struct tb_provision *p = &tb->provision;
	bool is_good;

	if (!tb->with.provision_key)
		return;
	if (!load(tb, &is_good)) {
		*p = (struct tb_provision){.state = TB_PROVISION_NEW};
		return;
	}
	p->state = is_good ? TB_PROVISION_DONE : TB_PROVISION_READY;
	p->may_be_taken = !is_good;
}

/* ------------------------------------------------------------------ states */

static void begin_pause(struct tb *tb, int64_t now_us)
{
	tb->provision.state = TB_PROVISION_READY;
	tb->provision.paused_us = now_us;
}

/* The clock may have been set meanwhile: a pause that seems to lie in the future is over. */
static bool is_paused(struct tb *tb, int64_t now_us)
{
	struct tb_provision *p = &tb->provision;

	if (p->paused_us != 0 && (now_us < p->paused_us || now_us - p->paused_us >= PAUSE_US))
		p->paused_us = 0;
	return p->paused_us != 0;
}

/* Hexadecimal digits, as many as fit into @size with a NUL. */
static int make_up(char *out, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[TB_CREDENTIAL_SIZE];

	if (getrandom(bytes, size - 1, 0) != (ssize_t)(size - 1))
		return -EIO;
	for (size_t i = 0; i < size - 1; i++)
		out[i] = digits[bytes[i] % 16];
	out[size - 1] = 0;
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

/* Returns 0 or -EINVAL. */
static int choose_credential(struct tb *tb)
{
	struct tb_provision *p = &tb->provision;
	int r = 0;

	switch (tb->with.provision_credentials) {
	case TB_OWN_TOKEN:
		r = make_up(p->username, 33); /* as long as a token may be */
		break;
	case TB_OWN_BASIC:
		r = make_up(p->username, 21);
		if (r == 0)
			r = make_up(p->password, 33);
		break;
	case TB_CERTIFICATE:
		break;
	case TB_SERVER_TOKEN:
	case TB_N_CREDENTIALS:
		p->state = TB_PROVISION_READY;
		return 0;
	}
	if (r < 0) {
		tb->host->warn(tb->host_ctx, "no random numbers for a credential");
		return -EINVAL;
	}
	p->state = TB_PROVISION_SAVING;
	save(tb, false);
	return 0;
}

int tb_provision_connect(struct tb *tb, int64_t now_us, struct fg_connect *out)
{
	struct tb_provision *p = &tb->provision;

	if (p->state == TB_PROVISION_TRYING && p->has_tried) {
		tb->host->warn(tb->host_ctx,
			       "the credential of an earlier provisioning does not work, and "
			       "ThingsBoard will not provision the device again: if this goes on, "
			       "delete the device there, or its credential here");
		begin_pause(tb, now_us);
	}
	if (p->state == TB_PROVISION_KEEPING || is_paused(tb, now_us))
		return -EINVAL;
	if (p->state == TB_PROVISION_NEW && choose_credential(tb) < 0)
		return -EINVAL;
	if (p->state == TB_PROVISION_ASKED) {
		p->may_be_taken = true;
		p->state = TB_PROVISION_READY;
	}
	p->has_tried = p->state == TB_PROVISION_TRYING;
	tb->is_setup = p->state == TB_PROVISION_SAVING || p->state == TB_PROVISION_READY;
	out->is_setup = tb->is_setup;
	out->client_id = *p->client_id && !tb->is_setup ? p->client_id : NULL;
	out->username = tb->is_setup ? "provision" : *p->username ? p->username : NULL;
	out->password = *p->password && !tb->is_setup ? p->password : NULL;
	return 0;
}

void tb_provision_connected(struct tb *tb)
{
	struct tb_provision *p = &tb->provision;

	if (p->state != TB_PROVISION_TRYING)
		return;
	p->state = TB_PROVISION_DONE;
	save(tb, true);
}

void tb_provision_remembered(struct tb *tb, const char *key, int error)
{
	struct tb_provision *p = &tb->provision;

	if (strcmp(key, STORE_KEY) != 0)
		return;
	p->is_unsaved = error < 0;
	if (error < 0) {
		tb->host->warn(tb->host_ctx,
			       "the credential cannot be stored (%s): provisioning waits for that",
			       strerror(-error));
		tb->host->wake(tb->host_ctx, 1000);
		return;
	}
	if (p->state == TB_PROVISION_SAVING) {
		p->state = TB_PROVISION_READY;
		tb->host->wake(tb->host_ctx, 0); /* it can be asked for now */
	} else if (p->state == TB_PROVISION_KEEPING) {
		p->state = TB_PROVISION_DONE;
		tb->host->reconnect(tb->host_ctx, "", "provisioned");
	}
}

void tb_provision_tick(struct tb *tb, int64_t now_us)
{
	struct tb_provision *p = &tb->provision;

	if (p->is_unsaved) {
		p->is_unsaved = false;
		save(tb, p->state != TB_PROVISION_SAVING);
	}
	is_paused(tb, now_us); /* the end of the pause is noted: encode() comes next */
	if (p->state != TB_PROVISION_ASKED || !tb->is_setup || tb->uptime_s < p->deadline_s)
		return;
	tb->host->warn(tb->host_ctx, "ThingsBoard does not answer to the provisioning request; "
				     "it is asked again in ten minutes");
	p->may_be_taken = true;
	begin_pause(tb, now_us);
	tb->host->reconnect(tb->host_ctx, "", "provisioning is not answered");
}

/* ------------------------------------------------------------------ asking */

/* The Base64 text of the first certificate in @pem. */
static void put_certificate(struct fg_text *text, const char *pem)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	const char *at = strstr(pem, begin);

	at = at ? at + sizeof(begin) - 1 : pem;
	for (; *at && *at != '-'; at++)
		if (!strchr(" \t\r\n", *at))
			fg_put_span(text, fg_span_of(at, 1));
}

static void put_credential(struct tb *tb, struct fg_text *text)
{
	const struct tb_provision *p = &tb->provision;
	enum tb_credentials kind = tb->with.provision_credentials;

	if (kind == TB_SERVER_TOKEN)
		return;
	put_member(text, "credentialsType", type_names[kind]);
	if (kind == TB_OWN_TOKEN) {
		put_member(text, "token", p->username);
	} else if (kind == TB_OWN_BASIC) {
		put_member(text, "username", p->username);
		put_member(text, "password", p->password);
	} else {
		fg_put(text, ",\"hash\":\"");
		put_certificate(text, tb->with.provision_certificate);
		fg_put(text, "\"");
	}
}

int tb_provision_encode(struct tb *tb, struct fg_publish *out)
{
	struct tb_provision *p = &tb->provision;
	struct fg_text text;
	int r;

	if (p->state != TB_PROVISION_READY || p->paused_us != 0)
		return 0;
	r = tb_publish_begin(tb, out, TB_PROVISION_REQUEST, -1, &text);
	if (r < 0)
		return r;
	fg_put(&text, "{");
	put_member(&text, "deviceName", tb->with.provision_device);
	put_member(&text, "provisionDeviceKey", tb->with.provision_key);
	put_member(&text, "provisionDeviceSecret", tb->with.provision_secret);
	if (tb->with.mode == TB_MODE_GATEWAY)
		fg_put(&text, ",\"gateway\":true");
	put_credential(tb, &text);
	fg_put(&text, "}");
	r = tb_publish_end(out, &text, TB_SCOPE_OWN);
	if (r <= 0)
		return r;
	out->tag = tb_tag_make(TB_TAG_DATA, ++tb->serial, 0);
	p->state = TB_PROVISION_ASKED;
	p->deadline_s = tb->uptime_s + ANSWER_WAIT_S;
	return 1;
}

enum fg_verdict tb_provision_settled(struct tb *tb, enum fg_verdict verdict, int64_t now_us)
{
	struct tb_provision *p = &tb->provision;

	if (verdict == FG_ACCEPTED || p->state != TB_PROVISION_ASKED)
		return verdict;
	if (verdict == FG_LATER) {
		p->state = TB_PROVISION_READY;
	} else {
		tb->host->warn(tb->host_ctx, "ThingsBoard does not take the provisioning request; "
					     "it is asked again in ten minutes");
		begin_pause(tb, now_us);
	}
	return verdict;
}

/* ------------------------------------------------------------------ the answer */

/* What the server says the credential is; it may be another than was asked for. */
static bool take_credential(struct tb *tb, struct fg_json_value answer)
{
	struct tb_provision *p = &tb->provision;
	struct fg_json_value value;
	char client_id[TB_CREDENTIAL_SIZE] = "", username[TB_CREDENTIAL_SIZE] = "";
	char password[TB_CREDENTIAL_SIZE] = "", type[TB_CREDENTIAL_SIZE];

	if (tb->with.provision_credentials == TB_CERTIFICATE)
		return true;
	if (!read_text(answer, "credentialsType", type) ||
	    !fg_json_member(answer, fg_span_str("credentialsValue"), &value))
		return *p->username;
	if (strcmp(type, "ACCESS_TOKEN") == 0) {
		read_text(answer, "credentialsValue", username);
	} else if (strcmp(type, "MQTT_BASIC") == 0 && value.type == FG_JSON_OBJECT) {
		read_text(value, "clientId", client_id);
		read_text(value, "userName", username);
		read_text(value, "password", password);
	}
	if (!*client_id && !*username)
		return false; /* what was asked for stays what it is */
	memcpy(p->client_id, client_id, sizeof(client_id));
	memcpy(p->username, username, sizeof(username));
	memcpy(p->password, password, sizeof(password));
	return true;
}

/* The server's own words, unless they repeat what must not be in a log. */
static void warn_refused(struct tb *tb, struct fg_json_value answer)
{
	const struct tb_provision *p = &tb->provision;
	const char *const secrets[] = {tb->with.provision_key, tb->with.provision_secret,
				       p->username, p->password};
	char status[TB_CREDENTIAL_SIZE], words[TB_CREDENTIAL_SIZE];

	if (!read_text(answer, "errorMsg", words))
		strcpy(words, "no reason given");
	if (!read_text(answer, "status", status))
		strcpy(status, "unknown status");
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
		if (*secrets[i] && (strstr(words, secrets[i]) || strstr(status, secrets[i])))
			words[0] = status[0] = 0;
	tb->host->warn(tb->host_ctx,
		       "ThingsBoard refuses to provision device \"%s\" (%s: %s): look at the "
		       "provisioning of its device profile, and whether such a device is there "
		       "already; it is asked again in ten minutes",
		       tb->with.provision_device, status, words);
}

int tb_provision_answered(struct tb *tb, struct fg_span payload, int64_t now_us)
{
	struct tb_provision *p = &tb->provision;
	char status[TB_CREDENTIAL_SIZE];
	struct fg_json_value answer;
	struct fg_json_fault fault;

	if (p->state != TB_PROVISION_ASKED)
		return 0; /* answered twice */
	if (fg_json_check(payload, &answer, &fault) < 0 || answer.type != FG_JSON_OBJECT ||
	    !read_text(answer, "status", status))
		return -EPROTO;
	if (strcmp(status, "SUCCESS") == 0) {
		if (!take_credential(tb, answer))
			return -EPROTO;
		p->state = TB_PROVISION_KEEPING;
		save(tb, true);
	} else if (strcmp(status, "FAILURE") == 0 && p->may_be_taken &&
		   tb->with.provision_credentials != TB_SERVER_TOKEN) {
		p->state = TB_PROVISION_TRYING;
		p->has_tried = false;
		tb->host->reconnect(tb->host_ctx, "", "it may be provisioned already");
	} else {
		warn_refused(tb, answer);
		begin_pause(tb, now_us);
	}
	return 0;
}
