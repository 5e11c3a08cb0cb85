#include "cloud.h"

#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tb_session *tb_session_find(struct tb_cloud *cloud, const struct mosquitto *client)
{
	struct tb_session *s;

	for (s = cloud->sessions; s; s = s->next)
		if (s->client == client)
			return s;
	return NULL;
}

struct tb_session *tb_session_by_number(struct tb_cloud *cloud, int64_t number)
{
	struct tb_session *s;

	for (s = cloud->sessions; s; s = s->next)
		if (s->number == number)
			return s;
	return NULL;
}

void tb_session_drop(struct tb_cloud *cloud, const struct mosquitto *client)
{
	struct tb_session **at, *s;

	for (at = &cloud->sessions; *at; at = &(*at)->next) {
		s = *at;
		if (s->client == client) {
			*at = s->next;
			json_object_put(s->device);
			json_object_put(s->subs);
			free(s->client_id);
			free(s);
			return;
		}
	}
}

/* Lower-case hex of the SHA-256 of the client's certificate; false: it has shown none. */
static bool certificate_sha256(const struct mosquitto *client, char *ret_hex)
{
	unsigned char digest[SHA256_DIGEST_LENGTH], *der = NULL;
	X509 *certificate = mosquitto_client_certificate(client);
	int size, i;

	if (!certificate)
		return false;
	size = i2d_X509(certificate, &der);
	X509_free(certificate);
	if (size <= 0)
		return false;
	SHA256(der, (size_t)size, digest);
	OPENSSL_free(der);
	for (i = 0; i < SHA256_DIGEST_LENGTH; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
	return true;
}

static bool device_matches(struct json_object *device, const struct mosquitto_evt_basic_auth *ed,
			   const char *client_id, const char *certificate)
{
	struct json_object *basic = json_object_object_get(device, "basic");
	const char *text;

	/* Whoever shows a certificate is known by it alone: a token beside it is not looked at. */
	text = tb_member(device, "certificate_sha256");
	if (certificate || text)
		return certificate && text && strcmp(certificate, text) == 0;

	text = tb_member(device, "token");
	if (text)
		return tb_same(text, ed->username); /* a password beside a token is ignored */

	if (!basic)
		return false;
	text = tb_member(basic, "client_id");
	if (text && !tb_same(text, client_id))
		return false;
	text = tb_member(basic, "username");
	if (text && !tb_same(text, ed->username))
		return false;
	text = tb_member(basic, "password");
	if (text && !tb_same(text, ed->password))
		return false;
	return true;
}

static int refuse(struct tb_cloud *cloud, const char *client_id, const char *why, int code)
{
	struct json_object *line = tb_event("refused", NULL);

	json_object_object_add(line, "client", json_object_new_string(client_id));
	json_object_object_add(line, "why", json_object_new_string(why));
	json_object_object_add(line, "ms", json_object_new_int64(tb_now_ms()));
	tb_record(cloud, line);
	return code;
}

/* The entry of whoever logs in; the caller owns a reference. NULL: nobody's. */
static struct json_object *find_device(struct tb_cloud *cloud,
				       const struct mosquitto_evt_basic_auth *ed,
				       const char *client_id, bool *ret_is_provisioning)
{
	char hex[2 * SHA256_DIGEST_LENGTH + 1];
	bool has_certificate = certificate_sha256(ed->client, hex);
	struct json_object *device;
	size_t i;

	*ret_is_provisioning =
		tb_same(ed->username, "provision") || strcmp(client_id, "provision") == 0;
	if (*ret_is_provisioning) {
		device = json_object_new_object();
		json_object_object_add(device, "name", json_object_new_string("provision"));
		return device;
	}
	for (i = 0; i < json_object_array_length(cloud->devices); i++) {
		device = json_object_array_get_idx(cloud->devices, i);
		if (device_matches(device, ed, client_id, has_certificate ? hex : NULL))
			return json_object_get(device);
	}
	return NULL;
}

static bool flag(struct json_object *object, const char *name)
{
	return json_object_get_boolean(json_object_object_get(object, name));
}

static void tell(struct tb_cloud *cloud, const char *what, const struct tb_session *s)
{
	struct json_object *header = tb_event(what, s);

	json_object_object_add(header, "session", json_object_new_int64(s->number));
	json_object_object_add(header, "version", json_object_new_int(s->version));
	json_object_object_add(header, "gateway", json_object_new_boolean(s->is_gateway));
	json_object_object_add(header, "protobuf", json_object_new_boolean(s->is_protobuf));
	json_object_object_add(header, "mosquitto_id",
			       json_object_new_string(mosquitto_client_id(s->client)));
	tb_core_tell(cloud, header, NULL, 0);
}

int tb_session_on_login(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_basic_auth *ed = event_data;
	struct tb_cloud *cloud = userdata;
	const char *client_id = mosquitto_client_id(ed->client);
	struct json_object *device, *line;
	struct tb_session *s, *other;
	bool is_provisioning;

	(void)event_id;
	if (!client_id)
		client_id = "";
	if (strcmp(client_id, cloud->core_id) == 0) {
		tb_core_attach(cloud, ed->client);
		return MOSQ_ERR_SUCCESS;
	}
	if (strcmp(cloud->faults.refuse, "credentials") == 0)
		return refuse(cloud, client_id, "told to", MOSQ_ERR_AUTH);
	if (strcmp(cloud->faults.refuse, "silent") == 0)
		return refuse(cloud, client_id, "told to", MOSQ_ERR_UNKNOWN);

	device = find_device(cloud, ed, client_id, &is_provisioning);
	if (!device)
		return refuse(cloud, client_id, "unknown credentials", MOSQ_ERR_AUTH);

	/*
	 * One live session per device, the newest wins. Where the login is a username, the broker's
	 * own take-over does it (use_username_as_clientid); the rest is asked to leave at the next
	 * tick.
	 */
	for (other = cloud->sessions; other; other = other->next)
		if (!is_provisioning && other->client != ed->client &&
		    tb_same(tb_member(other->device, "name"), tb_member(device, "name")) &&
		    !tb_same(mosquitto_client_id(other->client), ed->username))
			other->kick_in = 1;

	tb_session_drop(cloud, ed->client);
	s = calloc(1, sizeof(*s));
	if (!s) {
		json_object_put(device);
		return MOSQ_ERR_NOMEM;
	}
	s->client = ed->client;
	s->client_id = strdup(client_id);
	s->device = device;
	s->subs = json_object_new_object();
	s->number = ++cloud->n_sessions;
	s->version = mosquitto_client_protocol_version(ed->client);
	s->is_gateway = flag(device, "gateway");
	s->is_protobuf = flag(device, "protobuf");
	s->is_provisioning = is_provisioning;
	s->next = cloud->sessions;
	cloud->sessions = s;
	cloud->n_connects++;

	line = tb_event("connect", s);
	json_object_object_add(line, "ms", json_object_new_int64(tb_now_ms()));
	json_object_object_add(line, "version", json_object_new_int(s->version));
	json_object_object_add(line, "clean",
			       json_object_new_boolean(mosquitto_client_clean_session(ed->client)));
	json_object_object_add(line, "keep_alive",
			       json_object_new_int(mosquitto_client_keepalive(ed->client)));
	tb_record(cloud, line);
	tell(cloud, "open", s);
	return MOSQ_ERR_SUCCESS;
}

int tb_session_on_disconnect(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_disconnect *ed = event_data;
	struct tb_cloud *cloud = userdata;
	struct tb_session *s = tb_session_find(cloud, ed->client);
	struct json_object *line;

	(void)event_id;
	if (ed->client == cloud->core)
		cloud->core = NULL;
	if (!s)
		return MOSQ_ERR_SUCCESS;
	line = tb_event("disconnect", s);
	json_object_object_add(line, "ms", json_object_new_int64(tb_now_ms()));
	json_object_object_add(line, "reason", json_object_new_int(ed->reason));
	tb_record(cloud, line);
	tell(cloud, "close", s);
	tb_session_drop(cloud, ed->client);
	return MOSQ_ERR_SUCCESS;
}

int tb_session_on_access(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_acl_check *ed = event_data;
	struct tb_cloud *cloud = userdata;
	struct tb_session *s;
	struct json_object *line;
	bool is_granted;

	(void)event_id;
	if (ed->access != MOSQ_ACL_SUBSCRIBE && ed->access != MOSQ_ACL_UNSUBSCRIBE)
		return MOSQ_ERR_SUCCESS; /* plugin.c decides about publishes */
	s = tb_session_find(cloud, ed->client);
	if (!s)
		return MOSQ_ERR_ACL_DENIED;

	is_granted = ed->access == MOSQ_ACL_UNSUBSCRIBE || tb_topics_has_filter(s, ed->topic);
	line = tb_event(ed->access == MOSQ_ACL_SUBSCRIBE ? "subscribe" : "unsubscribe", s);
	json_object_object_add(line, "topic", json_object_new_string(ed->topic));
	if (ed->access == MOSQ_ACL_SUBSCRIBE)
		json_object_object_add(line, "granted", json_object_new_boolean(is_granted));
	if (is_granted) {
		struct json_object *header = NULL;

		json_object_deep_copy(line, &header, NULL);
		json_object_object_add(header, "session", json_object_new_int64(s->number));
		json_object_object_add(header, "qos", json_object_new_int(ed->qos));
		/* Over the limit it is granted all the same, and nothing ever comes. */
		if (tb_limits_take(cloud->limits, s, false, 0))
			tb_core_tell(cloud, header, NULL, 0);
		else
			json_object_put(header);
	}
	tb_record(cloud, line);
	return is_granted ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

void tb_session_set_devices(struct tb_cloud *cloud, struct json_object *devices)
{
	struct json_object *device;
	struct tb_session *s;
	size_t i;

	json_object_put(cloud->devices);
	cloud->devices = devices;
	for (s = cloud->sessions; s; s = s->next) {
		if (s->is_provisioning)
			continue;
		for (i = 0; i < json_object_array_length(devices); i++) {
			device = json_object_array_get_idx(devices, i);
			if (json_object_equal(device, s->device))
				break;
		}
		if (i == json_object_array_length(devices))
			s->kick_in = 1;
	}
}

void tb_session_kick_due(struct tb_cloud *cloud)
{
	struct tb_session *s;

	for (s = cloud->sessions; s; s = s->next)
		if (s->kick_in > 1)
			s->kick_in--;
		else if (s->kick_in == 1)
			s->kick_in = -1;

	/* Kicking changes the list, so start over after each. */
	s = cloud->sessions;
	while (s) {
		if (s->kick_in != -1) {
			s = s->next;
			continue;
		}
		s->kick_in = 0;
		mosquitto_kick_client_by_clientid(mosquitto_client_id(s->client), false);
		s = cloud->sessions;
	}
}
