/*
 * A stand-in for ThingsBoard: a plugin that makes Mosquitto behave as ThingsBoard's MQTT transport
 * does towards a gateway. It decides who may log in, which topics exist, which payloads are taken,
 * and what happens to the rest; and it writes down what it has taken, before the broker
 * acknowledges it. It shares no code with the gateway.
 *
 * Options (plugin_opt_… in the broker's configuration):
 *   devices   a JSON file: [{"name":…, "gateway":bool, "token":… | "basic":{"client_id","username",
 *             "password"} | "certificate_sha256":hex}, …]
 *   record    a file to append to, one JSON object a line:
 *               {"event":"connect","client","device","version","clean","keep_alive"}
 *               {"event":"refused","client","why"}            a login
 *               {"event":"disconnect","client","reason"}
 *               {"event":"subscribe","client","topic","granted"}
 *               {"event":"device","device","type","implicit"} a sub-device was created
 *               {"event":"publish","n","ms","client","topic","payload"}   taken
 *               {"event":"rejected","n","client","topic","why","answer","payload"}
 *               {"event":"suspect","n","why"}  taken, but the cloud would store something else
 *   control   path of a Unix datagram socket; takes {"set":{…}}, {"publish":{…}}, {"kick":true} and
 * answers each with the counters. The members of "set" are those of struct faults.
 *
 * What Mosquitto lets a plugin say is less than what ThingsBoard says: a PUBACK of 0x80, 0x83,
 * 0x90, 0x97 or 0x99 becomes 0x87 here, a missing PUBACK becomes a closed connection.
 * scripted_broker.py does those exactly.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <math.h>
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The server's limit, counted over what follows the fixed header (MQTT 3.1.1, 2.2.3). */
#define MAX_REMAINING_LENGTH 65536
#define MAX_NAME_BYTES 255
/* Older than this, a time in "milliseconds" was meant as seconds. */
#define YEAR_2001_MS 978307200000

/* How a message ends; what the client sees of it is in answer(). */
enum outcome {
	TAKEN,
	MALFORMED,    /* not JSON, or one device's part is wrong */
	UNUSABLE,     /* JSON, but nothing in it can be used */
	SERVER_ERROR, /* the server trips over it */
	NEVER_ACKED,  /* the server goes silent about it */
	UNKNOWN_TOPIC,
	TOO_LARGE,
	DEVICE_REFUSED, /* no more devices for this tenant */
	LIMITED,        /* a rate limit of the gateway API */
	DROPPED,        /* the connection breaks before the server has it */
};

struct session {
	struct session *next;
	struct mosquitto *client;
	char *client_id; /* as sent; the broker knows the client under its login */
	struct json_object *device;
	int version; /* 4 or 5 */
	bool is_gateway;
	bool kick;
};

/* What can be made to go wrong, by the control socket. */
struct faults {
	char refuse[32]; /* "credentials", "silent" (no CONNACK) or empty */
	bool refuse_new_devices;
	double messages_per_s; /* of the gateway API; 0: no limit */
	bool ack_limited; /* beyond it: acknowledge, then close (4.2.1 and later on MQTT 3.1.1) */
	int64_t drop_at;  /* break the connection at the n-th publish from now, before taking it; 0:
			     off */
	int64_t lose_ack_at; /* … after taking it, so that it will come again; 0: off */
	char poison[64];     /* what contains this text is malformed; empty: off */
	int64_t slow_ms;     /* hold the broker so long at each publish */
};

struct cloud {
	mosquitto_plugin_id_t *id;
	struct json_object *devices;
	struct json_object *known;  /* sub-devices that exist: name → type */
	struct json_object *shared; /* shared attributes: sub-device → {key: value} */
	struct json_object *limits; /* the answer to getSessionLimits */
	struct session *sessions;
	struct faults faults;
	double tokens;
	struct timespec refilled;
	int record_fd, control_fd;
	char *control_path;
	int64_t n_publishes, n_taken, n_rejected, n_suspect, n_connects;
};

static const char *const subscriptions[] = {
	"v1/devices/me/attributes",
	"v1/devices/me/attributes/response/+",
	"v1/devices/me/rpc/request/+",
	"v1/devices/me/rpc/response/+",
	"v1/gateway/attributes",
	"v1/gateway/attributes/response",
	"v1/gateway/rpc",
	"v2/a",
	"v2/a/j",
	"v2/a/p",
	"v2/a/res/+",
	"v2/a/res/j/+",
	"v2/a/res/p/+",
	"v2/r/req/+",
	"v2/r/req/j/+",
	"v2/r/req/p/+",
	"v2/r/res/+",
	"v2/r/res/j/+",
	"v2/r/res/p/+",
	"v2/fw/response/+/chunk/+",
	"v2/sw/response/+/chunk/+",
	"v2/fw/error",
	"/provision/response",
};

/* ---- the record */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* One write() a line, before the acknowledgement: the record survives a killed broker. Takes @line.
 */
static void record(struct cloud *cloud, struct json_object *line)
{
	const char *text;
	char *whole;
	size_t size;
	ssize_t n;

	text = json_object_to_json_string_length(
		line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &size);
	whole = malloc(size + 1);
	if (whole) {
		memcpy(whole, text, size);
		whole[size] = '\n';
		n = write(cloud->record_fd, whole, size + 1);
		if (n != (ssize_t)size + 1)
			mosquitto_log_printf(MOSQ_LOG_ERR,
					     "cloudsim: the record cannot be written: %s",
					     strerror(errno));
		free(whole);
	}
	json_object_put(line);
}

static struct json_object *event(const char *name, const struct session *s)
{
	struct json_object *line = json_object_new_object();

	json_object_object_add(line, "event", json_object_new_string(name));
	if (s) {
		const char *device =
			json_object_get_string(json_object_object_get(s->device, "name"));

		json_object_object_add(line, "client", json_object_new_string(s->client_id));
		json_object_object_add(line, "device", json_object_new_string(device));
	}
	return line;
}

/* Bytes that may be anything, as JSON text. */
static struct json_object *printable(const char *data, size_t size, size_t max)
{
	struct json_object *text;
	char *copy;
	size_t i;

	if (size > max)
		size = max;
	copy = malloc(size + 1);
	if (!copy)
		return NULL;
	for (i = 0; i < size; i++)
		copy[i] = (unsigned char)data[i] < 0x20 || (unsigned char)data[i] > 0x7e ? '?'
											 : data[i];
	text = json_object_new_string_len(copy, (int)size);
	free(copy);
	return text;
}

static void suspect(struct cloud *cloud, const char *why)
{
	struct json_object *line = event("suspect", NULL);

	cloud->n_suspect++;
	json_object_object_add(line, "n", json_object_new_int64(cloud->n_publishes));
	json_object_object_add(line, "why", json_object_new_string(why));
	record(cloud, line);
}

/* ---- sessions */

static struct session *session_find(struct cloud *cloud, const struct mosquitto *client)
{
	struct session *s;

	for (s = cloud->sessions; s; s = s->next)
		if (s->client == client)
			return s;
	return NULL;
}

static void session_drop(struct cloud *cloud, const struct mosquitto *client)
{
	struct session **at, *s;

	for (at = &cloud->sessions; *at; at = &(*at)->next) {
		s = *at;
		if (s->client == client) {
			*at = s->next;
			free(s->client_id);
			free(s);
			return;
		}
	}
}

static const char *member(struct json_object *object, const char *name)
{
	return json_object_get_string(json_object_object_get(object, name));
}

static bool same(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
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
	text = member(device, "certificate_sha256");
	if (certificate || text)
		return certificate && text && strcmp(certificate, text) == 0;

	text = member(device, "token");
	if (text)
		return same(text, ed->username); /* a password beside a token is ignored */

	if (!basic)
		return false;
	text = member(basic, "client_id");
	if (text && !same(text, client_id))
		return false;
	text = member(basic, "username");
	if (text && !same(text, ed->username))
		return false;
	text = member(basic, "password");
	if (text && !same(text, ed->password))
		return false;
	return true;
}

static int refuse(struct cloud *cloud, const char *client_id, const char *why, int code)
{
	struct json_object *line = event("refused", NULL);

	json_object_object_add(line, "client", json_object_new_string(client_id));
	json_object_object_add(line, "why", json_object_new_string(why));
	record(cloud, line);
	return code;
}

static int on_login(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_basic_auth *ed = event_data;
	struct cloud *cloud = userdata;
	const char *client_id = mosquitto_client_id(ed->client);
	char hex[2 * SHA256_DIGEST_LENGTH + 1];
	struct json_object *device = NULL, *line;
	struct session *s, *other;
	bool has_certificate;
	size_t i;

	(void)event_id;
	if (!client_id)
		client_id = "";
	if (strcmp(cloud->faults.refuse, "credentials") == 0)
		return refuse(cloud, client_id, "told to", MOSQ_ERR_AUTH);
	if (strcmp(cloud->faults.refuse, "silent") == 0)
		return refuse(cloud, client_id, "told to", MOSQ_ERR_UNKNOWN);

	has_certificate = certificate_sha256(ed->client, hex);
	for (i = 0; i < json_object_array_length(cloud->devices); i++) {
		device = json_object_array_get_idx(cloud->devices, i);
		if (device_matches(device, ed, client_id, has_certificate ? hex : NULL))
			break;
		device = NULL;
	}
	if (!device)
		return refuse(cloud, client_id, "unknown credentials", MOSQ_ERR_AUTH);

	/*
	 * One live session per device, the newest wins. Where the login is a username, the broker's
	 * own take-over does it (use_username_as_clientid); the rest is asked to leave at the next
	 * tick.
	 */
	for (other = cloud->sessions; other; other = other->next)
		if (other->device == device && other->client != ed->client && !ed->username)
			other->kick = true;

	session_drop(cloud, ed->client);
	s = calloc(1, sizeof(*s));
	if (!s)
		return MOSQ_ERR_NOMEM;
	s->client = ed->client;
	s->client_id = strdup(client_id);
	s->device = device;
	s->version = mosquitto_client_protocol_version(ed->client);
	s->is_gateway = json_object_get_boolean(json_object_object_get(device, "gateway"));
	s->next = cloud->sessions;
	cloud->sessions = s;
	cloud->n_connects++;

	line = event("connect", s);
	json_object_object_add(line, "ms", json_object_new_int64(now_ms()));
	json_object_object_add(line, "version", json_object_new_int(s->version));
	json_object_object_add(line, "clean",
			       json_object_new_boolean(mosquitto_client_clean_session(ed->client)));
	json_object_object_add(line, "keep_alive",
			       json_object_new_int(mosquitto_client_keepalive(ed->client)));
	record(cloud, line);
	return MOSQ_ERR_SUCCESS;
}

static int on_disconnect(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_disconnect *ed = event_data;
	struct cloud *cloud = userdata;
	struct session *s = session_find(cloud, ed->client);
	struct json_object *line;

	(void)event_id;
	if (!s)
		return MOSQ_ERR_SUCCESS;
	line = event("disconnect", s);
	json_object_object_add(line, "ms", json_object_new_int64(now_ms()));
	json_object_object_add(line, "reason", json_object_new_int(ed->reason));
	record(cloud, line);
	session_drop(cloud, ed->client);
	return MOSQ_ERR_SUCCESS;
}

static int on_access(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_acl_check *ed = event_data;
	struct cloud *cloud = userdata;
	struct session *s;
	struct json_object *line;
	bool granted = false;
	size_t i;

	(void)event_id;
	if (ed->access != MOSQ_ACL_SUBSCRIBE)
		return MOSQ_ERR_SUCCESS; /* on_publish() decides about publishes */

	/* Filters are compared as strings: "v1/gateway/#" is unknown, not wide. */
	for (i = 0; i < sizeof(subscriptions) / sizeof(subscriptions[0]); i++)
		if (strcmp(ed->topic, subscriptions[i]) == 0)
			granted = true;

	s = session_find(cloud, ed->client);
	line = event("subscribe", s);
	json_object_object_add(line, "topic", json_object_new_string(ed->topic));
	json_object_object_add(line, "granted", json_object_new_boolean(granted));
	record(cloud, line);
	return granted ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

/* ---- payloads */

static struct json_object *parse(const char *data, size_t size)
{
	struct json_tokener *tokener = json_tokener_new_ex(128);
	struct json_object *root;

	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tokener, data, (int)size);
	if (json_tokener_get_error(tokener) != json_tokener_success ||
	    json_tokener_get_parse_end(tokener) != size) {
		json_object_put(root);
		root = NULL;
	}
	json_tokener_free(tokener);
	return root;
}

/* Values that the server takes and then stores as something else, or not at all. */
static void check_value(struct cloud *cloud, const char *key, struct json_object *value)
{
	const char *text, *dot, *exponent;

	if (key[0] == '\0' || strlen(key) > MAX_NAME_BYTES)
		suspect(cloud, "a key that is empty or longer than 255 bytes");
	if (!value) {
		suspect(cloud, "null: the key is skipped");
		return;
	}
	if (!json_object_is_type(value, json_type_double))
		return;
	text = json_object_get_string(value);
	if (isnan(json_object_get_double(value)) || strchr(text, 'N') || strchr(text, 'I')) {
		suspect(cloud, "NaN or Infinity: stored as text");
		return;
	}
	dot = strchr(text, '.');
	exponent = strpbrk(text, "eE");
	if (exponent)
		suspect(cloud, "a number with an exponent: an integral one is stored as integer");
	else if (dot && strlen(dot + 1) > 16)
		suspect(cloud, "a number with more than 16 decimals: stored as text");
}

static void check_values(struct cloud *cloud, struct json_object *values)
{
	if (json_object_object_length(values) == 0)
		suspect(cloud, "no values: acknowledged and nothing stored");
	json_object_object_foreach(values, key, value) check_value(cloud, key, value);
}

/* One entry of telemetry (section 3.1): stamped, or flat. */
static enum outcome check_sample(struct cloud *cloud, struct json_object *sample)
{
	struct json_object *ts, *values;
	const char *text;
	char *end;
	double number;

	if (!json_object_is_type(sample, json_type_object))
		return MALFORMED;
	if (!json_object_object_get_ex(sample, "ts", &ts) ||
	    !json_object_object_get_ex(sample, "values", &values)) {
		if (json_object_object_get_ex(sample, "ts", NULL) ||
		    json_object_object_get_ex(sample, "values", NULL))
			suspect(cloud, "ts without values, or values without ts: stored as keys");
		check_values(cloud, sample);
		return TAKEN;
	}
	text = json_object_get_string(ts);
	if (!text || text[0] == '\0' || json_object_is_type(ts, json_type_object) ||
	    json_object_is_type(ts, json_type_boolean))
		return SERVER_ERROR;
	number = strtod(text, &end);
	if (*end != '\0')
		return SERVER_ERROR;
	if (number < (double)YEAR_2001_MS)
		suspect(cloud, "a time before 2001: seconds instead of milliseconds");
	if (!json_object_is_type(ts, json_type_int))
		suspect(cloud, "a time that is not an integer");
	if (!json_object_is_type(values, json_type_object))
		return MALFORMED;
	check_values(cloud, values);
	return TAKEN;
}

/* A sub-device is named: it exists, or comes into being (section 7.2). */
static enum outcome touch_device(struct cloud *cloud, const char *name, const char *type,
				 bool implicit)
{
	struct json_object *line;

	if (name[0] == '\0' || strlen(name) > MAX_NAME_BYTES || strstr(name, "{{") ||
	    strchr(name, '<'))
		return DEVICE_REFUSED;
	if (json_object_object_get_ex(cloud->known, name, NULL))
		return TAKEN;
	if (cloud->faults.refuse_new_devices)
		return DEVICE_REFUSED;
	json_object_object_add(cloud->known, name, json_object_new_string(type));
	line = event("device", NULL);
	json_object_object_add(line, "device", json_object_new_string(name));
	json_object_object_add(line, "type", json_object_new_string(type));
	json_object_object_add(line, "implicit", json_object_new_boolean(implicit));
	record(cloud, line);
	return TAKEN;
}

static enum outcome gateway_telemetry(struct cloud *cloud, struct json_object *root)
{
	size_t n_usable = 0, i;
	enum outcome outcome;

	json_object_object_foreach(root, name, entries)
	{
		if (!json_object_is_type(entries, json_type_array)) {
			suspect(cloud, "a device whose value is not an array: skipped silently");
			continue;
		}
		n_usable++;
		outcome = touch_device(cloud, name, "default", true);
		if (outcome != TAKEN)
			return outcome;
		if (json_object_array_length(entries) == 0)
			return NEVER_ACKED;
		for (i = 0; i < json_object_array_length(entries); i++) {
			outcome = check_sample(cloud, json_object_array_get_idx(entries, i));
			if (outcome != TAKEN)
				return outcome;
		}
	}
	return n_usable > 0 ? TAKEN : UNUSABLE;
}

static enum outcome gateway_attributes(struct cloud *cloud, struct json_object *root)
{
	size_t n_usable = 0;
	enum outcome outcome;

	json_object_object_foreach(root, name, values)
	{
		if (!json_object_is_type(values, json_type_object)) {
			suspect(cloud, "a device whose value is not an object: skipped silently");
			continue;
		}
		n_usable++;
		outcome = touch_device(cloud, name, "default", true);
		if (outcome != TAKEN)
			return outcome;
		check_values(cloud, values);
	}
	return n_usable > 0 ? TAKEN : UNUSABLE;
}

static enum outcome gateway_connect(struct cloud *cloud, struct json_object *root)
{
	const char *name = member(root, "device"), *type = member(root, "type");

	return name ? touch_device(cloud, name, type ? type : "default", false) : UNUSABLE;
}

static void send_down(const struct session *s, const char *topic, struct json_object *body)
{
	const char *text = json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN);

	mosquitto_broker_publish_copy(mosquitto_client_id(s->client), topic, (int)strlen(text),
				      text, 1, false, NULL);
	json_object_put(body);
}

static enum outcome gateway_attributes_request(struct cloud *cloud, const struct session *s,
					       struct json_object *root)
{
	struct json_object *id, *client, *keys, *key, *shared, *answer, *value, *values;
	const char *name = member(root, "device");
	size_t i;

	if (!name || !json_object_object_get_ex(root, "id", &id) ||
	    !json_object_object_get_ex(root, "client", &client) ||
	    !json_object_is_type(id, json_type_int) ||
	    !json_object_is_type(client, json_type_boolean))
		return UNUSABLE;

	answer = json_object_new_object();
	json_object_object_add(answer, "id", json_object_get(id));
	json_object_object_add(answer, "device", json_object_new_string(name));
	shared = json_object_get_boolean(client) ? NULL
						 : json_object_object_get(cloud->shared, name);
	if (json_object_object_get_ex(root, "key", &key)) {
		if (json_object_object_get_ex(shared, json_object_get_string(key), &value))
			json_object_object_add(answer, "value", json_object_get(value));
	} else if (json_object_object_get_ex(root, "keys", &keys) &&
		   json_object_is_type(keys, json_type_array)) {
		values = json_object_new_object();
		for (i = 0; i < json_object_array_length(keys); i++) {
			const char *wanted =
				json_object_get_string(json_object_array_get_idx(keys, i));

			if (wanted && json_object_object_get_ex(shared, wanted, &value))
				json_object_object_add(values, wanted, json_object_get(value));
		}
		json_object_object_add(answer, "values", values);
	} else {
		json_object_put(answer);
		return UNUSABLE;
	}
	send_down(s, "v1/gateway/attributes/response", answer);
	return touch_device(cloud, name, "default", true);
}

/* Returns the text after @prefix in @topic when it is a request number, else NULL. */
static const char *request_number(const char *topic, const char *prefix)
{
	const char *number = topic + strlen(prefix);

	if (strncmp(topic, prefix, strlen(prefix)) != 0 || number[0] == '\0')
		return NULL;
	return number[strspn(number, "0123456789")] == '\0' ? number : NULL;
}

static enum outcome device_topic(struct cloud *cloud, const struct session *s, const char *topic,
				 struct json_object *root)
{
	const char *number;
	char answer_topic[128];
	size_t i;

	if (strcmp(topic, "v1/devices/me/telemetry") == 0 || strcmp(topic, "v2/t") == 0 ||
	    strcmp(topic, "v2/t/j") == 0) {
		if (json_object_is_type(root, json_type_array)) {
			if (json_object_array_length(root) == 0)
				return NEVER_ACKED;
			for (i = 0; i < json_object_array_length(root); i++) {
				enum outcome outcome =
					check_sample(cloud, json_object_array_get_idx(root, i));

				if (outcome != TAKEN)
					return outcome;
			}
			return TAKEN;
		}
		return check_sample(cloud, root);
	}
	if (strcmp(topic, "v1/devices/me/attributes") == 0 || strcmp(topic, "v2/a") == 0 ||
	    strcmp(topic, "v2/a/j") == 0) {
		if (!json_object_is_type(root, json_type_object))
			return MALFORMED;
		check_values(cloud, root);
		return TAKEN;
	}
	number = request_number(topic, "v1/devices/me/attributes/request/");
	if (number) {
		snprintf(answer_topic, sizeof(answer_topic), "v1/devices/me/attributes/response/%s",
			 number);
		send_down(s, answer_topic, json_object_new_object());
		return TAKEN;
	}
	number = request_number(topic, "v1/devices/me/rpc/request/");
	if (number) {
		if (!json_object_is_type(root, json_type_object) || !member(root, "method") ||
		    !json_object_object_get_ex(root, "params", NULL))
			return MALFORMED;
		if (strcmp(member(root, "method"), "getSessionLimits") == 0) {
			struct json_object *limits = NULL;

			json_object_deep_copy(cloud->limits, &limits, NULL);
			if (!s->is_gateway)
				json_object_object_del(limits, "gatewayRateLimits");
			snprintf(answer_topic, sizeof(answer_topic),
				 "v1/devices/me/rpc/response/%s", number);
			send_down(s, answer_topic, limits);
		}
		return TAKEN;
	}
	if (request_number(topic, "v1/devices/me/rpc/response/"))
		return TAKEN;
	if (strcmp(topic, "v1/devices/me/claim") == 0)
		return TAKEN;
	return UNKNOWN_TOPIC;
}

static enum outcome gateway_topic(struct cloud *cloud, const struct session *s, const char *topic,
				  struct json_object *root)
{
	const char *what = topic + strlen("v1/gateway/");

	if (!json_object_is_type(root, json_type_object))
		return UNUSABLE;
	if (strcmp(what, "telemetry") == 0)
		return gateway_telemetry(cloud, root);
	if (strcmp(what, "attributes") == 0)
		return gateway_attributes(cloud, root);
	if (strcmp(what, "connect") == 0)
		return gateway_connect(cloud, root);
	if (strcmp(what, "disconnect") == 0)
		return member(root, "device") ? TAKEN : UNUSABLE;
	if (strcmp(what, "attributes/request") == 0)
		return gateway_attributes_request(cloud, s, root);
	if (strcmp(what, "rpc") == 0)
		return member(root, "device") && json_object_object_get_ex(root, "id", NULL) &&
				       json_object_object_get_ex(root, "data", NULL)
			       ? TAKEN
			       : UNUSABLE;
	if (strcmp(what, "claim") == 0)
		return TAKEN;
	return UNKNOWN_TOPIC;
}

static bool within_rate(struct cloud *cloud)
{
	struct timespec now;
	double passed;

	if (cloud->faults.messages_per_s <= 0)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	passed = (double)(now.tv_sec - cloud->refilled.tv_sec) +
		 (double)(now.tv_nsec - cloud->refilled.tv_nsec) / 1e9;
	cloud->refilled = now;
	cloud->tokens += passed * cloud->faults.messages_per_s;
	if (cloud->tokens > cloud->faults.messages_per_s)
		cloud->tokens = cloud->faults.messages_per_s; /* "N:1" is a bucket of N */
	if (cloud->tokens < 1)
		return false;
	cloud->tokens -= 1;
	return true;
}

static enum outcome judge(struct cloud *cloud, const struct session *s,
			  const struct mosquitto_evt_message *ed)
{
	bool is_gateway_topic = strncmp(ed->topic, "v1/gateway/", 11) == 0;
	struct json_object *root;
	enum outcome outcome;
	size_t size;

	size = 2 + strlen(ed->topic) + (ed->qos ? 2 : 0) + (s->version == 5 ? 1 : 0) +
	       ed->payloadlen;
	if (size > MAX_REMAINING_LENGTH)
		return TOO_LARGE;
	if (cloud->faults.drop_at > 0 && --cloud->faults.drop_at == 0)
		return DROPPED;
	if (is_gateway_topic && (ed->qos != 1 || !s->is_gateway))
		return NEVER_ACKED;
	if (ed->qos == 2)
		return SERVER_ERROR;
	if (is_gateway_topic && !within_rate(cloud))
		return LIMITED;
	if (cloud->faults.poison[0] && ed->payloadlen > 0 &&
	    memmem(ed->payload, ed->payloadlen, cloud->faults.poison, strlen(cloud->faults.poison)))
		return MALFORMED;
	root = parse(ed->payload ? ed->payload : "", ed->payloadlen);
	if (!root)
		return MALFORMED;
	if (is_gateway_topic)
		outcome = gateway_topic(cloud, s, ed->topic, root);
	else
		outcome = device_topic(cloud, s, ed->topic, root);
	json_object_put(root);
	if (outcome == TAKEN && ed->retain)
		suspect(cloud, "retain is set");
	return outcome;
}

/* What the client sees of an outcome (section 8 of ThingsBoard's behaviour, as far as a plugin
 * can). */
static int answer(struct session *s, enum outcome outcome, bool ack_limited, const char **ret_words)
{
	bool is_5 = s->version == 5;

	switch (outcome) {
	case TAKEN:
		*ret_words = "PUBACK";
		return MOSQ_ERR_SUCCESS;
	case MALFORMED:
		*ret_words = is_5 ? "PUBACK 0x87" : "close";
		return is_5 ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_UNKNOWN;
	case UNUSABLE:
		s->kick = true;
		*ret_words = is_5 ? "PUBACK 0x87, close" : "PUBACK, close";
		return MOSQ_ERR_ACL_DENIED;
	case UNKNOWN_TOPIC:
	case DEVICE_REFUSED:
		*ret_words = is_5 ? "PUBACK 0x87" : "PUBACK";
		return MOSQ_ERR_ACL_DENIED;
	case LIMITED:
		s->kick = ack_limited;
		*ret_words = !ack_limited ? "close" : is_5 ? "PUBACK 0x87, close" : "PUBACK, close";
		return ack_limited ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_UNKNOWN;
	case TOO_LARGE:
		*ret_words = "close";
		return MOSQ_ERR_OVERSIZE_PACKET;
	case SERVER_ERROR:
	case NEVER_ACKED:
	case DROPPED:
	default:
		*ret_words = "close";
		return MOSQ_ERR_UNKNOWN;
	}
}

static const char *outcome_words(enum outcome outcome)
{
	static const char *const words[] = {
		[TAKEN] = "taken",
		[MALFORMED] = "malformed",
		[UNUSABLE] = "nothing usable",
		[SERVER_ERROR] = "the server trips over it",
		[NEVER_ACKED] = "never acknowledged",
		[UNKNOWN_TOPIC] = "unknown topic",
		[TOO_LARGE] = "too large",
		[DEVICE_REFUSED] = "device refused",
		[LIMITED] = "rate limit",
		[DROPPED] = "dropped",
	};

	return words[outcome];
}

static int on_publish(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_message *ed = event_data;
	struct cloud *cloud = userdata;
	struct session *s = session_find(cloud, ed->client);
	struct json_object *line;
	enum outcome outcome;
	const char *words;
	int code;

	(void)event_id;
	if (!s)
		return MOSQ_ERR_ACL_DENIED;
	cloud->n_publishes++;
	if (cloud->faults.slow_ms > 0)
		usleep((useconds_t)cloud->faults.slow_ms * 1000);

	/* A client that is being thrown out is not listened to any more. */
	outcome = s->kick ? DROPPED : judge(cloud, s, ed);
	code = answer(s, outcome, cloud->faults.ack_limited, &words);

	line = event(outcome == TAKEN ? "publish" : "rejected", s);
	json_object_object_add(line, "n", json_object_new_int64(cloud->n_publishes));
	json_object_object_add(line, "ms", json_object_new_int64(now_ms()));
	json_object_object_add(line, "topic", json_object_new_string(ed->topic));
	if (outcome == TAKEN) {
		cloud->n_taken++;
		json_object_object_add(
			line, "payload",
			json_object_new_string_len(ed->payload, (int)ed->payloadlen));
	} else {
		cloud->n_rejected++;
		json_object_object_add(line, "why", json_object_new_string(outcome_words(outcome)));
		json_object_object_add(line, "answer", json_object_new_string(words));
		json_object_object_add(line, "size", json_object_new_int64(ed->payloadlen));
		json_object_object_add(line, "payload",
				       printable(ed->payload, ed->payloadlen, 200));
	}
	record(cloud, line);
	if (outcome != TAKEN)
		return code;

	if (cloud->faults.lose_ack_at > 0 && --cloud->faults.lose_ack_at == 0)
		return MOSQ_ERR_UNKNOWN;

	/*
	 * Uplinks go nowhere from here. Without another topic the broker would hand
	 * v1/gateway/attributes back to the gateway, which subscribes to it for the way down.
	 */
	ed->topic = mosquitto_strdup("taken");
	return ed->topic ? MOSQ_ERR_SUCCESS : MOSQ_ERR_NOMEM;
}

/* ---- control */

static void set_text(struct json_object *set, const char *name, char *out, size_t size)
{
	struct json_object *value;

	if (json_object_object_get_ex(set, name, &value))
		snprintf(out, size, "%s", value ? json_object_get_string(value) : "");
}

static void set_number(struct json_object *set, const char *name, int64_t *out)
{
	struct json_object *value;

	if (json_object_object_get_ex(set, name, &value))
		*out = json_object_get_int64(value);
}

static void set_object(struct json_object *set, const char *name, struct json_object **out)
{
	struct json_object *value;

	if (json_object_object_get_ex(set, name, &value)) {
		json_object_put(*out);
		*out = json_object_get(value);
	}
}

static void control_set(struct cloud *cloud, struct json_object *set)
{
	struct faults *f = &cloud->faults;
	struct json_object *value;

	set_text(set, "refuse", f->refuse, sizeof(f->refuse));
	set_text(set, "poison", f->poison, sizeof(f->poison));
	set_number(set, "drop_at", &f->drop_at);
	set_number(set, "lose_ack_at", &f->lose_ack_at);
	set_number(set, "slow_ms", &f->slow_ms);
	if (json_object_object_get_ex(set, "refuse_new_devices", &value))
		f->refuse_new_devices = json_object_get_boolean(value);
	if (json_object_object_get_ex(set, "ack_limited", &value))
		f->ack_limited = json_object_get_boolean(value);
	if (json_object_object_get_ex(set, "messages_per_s", &value)) {
		f->messages_per_s = json_object_get_double(value);
		cloud->tokens = f->messages_per_s;
		clock_gettime(CLOCK_MONOTONIC, &cloud->refilled);
	}
	set_object(set, "shared", &cloud->shared);
	set_object(set, "limits", &cloud->limits);
}

static void control_publish(struct cloud *cloud, struct json_object *what)
{
	const char *topic = member(what, "topic"), *payload = member(what, "payload");
	const char *device = member(what, "to");
	struct session *s;

	for (s = cloud->sessions; s && topic && payload; s = s->next)
		if (!device || same(member(s->device, "name"), device))
			mosquitto_broker_publish_copy(mosquitto_client_id(s->client), topic,
						      (int)strlen(payload), payload, 1, false,
						      NULL);
}

static struct json_object *counters(const struct cloud *cloud)
{
	struct json_object *answer = json_object_new_object();
	const struct session *s;
	int n = 0;

	for (s = cloud->sessions; s; s = s->next)
		n++;
	json_object_object_add(answer, "publishes", json_object_new_int64(cloud->n_publishes));
	json_object_object_add(answer, "taken", json_object_new_int64(cloud->n_taken));
	json_object_object_add(answer, "rejected", json_object_new_int64(cloud->n_rejected));
	json_object_object_add(answer, "suspect", json_object_new_int64(cloud->n_suspect));
	json_object_object_add(answer, "connects", json_object_new_int64(cloud->n_connects));
	json_object_object_add(answer, "sessions", json_object_new_int(n));
	return answer;
}

static void control_serve(struct cloud *cloud)
{
	char buffer[65536];
	struct sockaddr_un from;
	struct json_object *root, *part, *answer;
	struct session *s;
	const char *text;
	socklen_t from_size;
	ssize_t n;

	for (;;) {
		from_size = sizeof(from);
		n = recvfrom(cloud->control_fd, buffer, sizeof(buffer), MSG_DONTWAIT,
			     (struct sockaddr *)&from, &from_size);
		if (n < 0)
			return;
		root = parse(buffer, (size_t)n);
		if (json_object_object_get_ex(root, "set", &part))
			control_set(cloud, part);
		if (json_object_object_get_ex(root, "publish", &part))
			control_publish(cloud, part);
		if (json_object_object_get_ex(root, "kick", &part))
			for (s = cloud->sessions; s; s = s->next)
				s->kick = true;
		answer = root ? counters(cloud) : json_object_new_object();
		text = json_object_to_json_string(answer);
		(void)sendto(cloud->control_fd, text, strlen(text), MSG_DONTWAIT,
			     (struct sockaddr *)&from, from_size);
		json_object_put(answer);
		json_object_put(root);
	}
}

static int on_tick(int event_id, void *event_data, void *userdata)
{
	struct cloud *cloud = userdata;
	struct session *s;

	(void)event_id;
	(void)event_data;
	if (cloud->control_fd >= 0)
		control_serve(cloud);

	/* Kicking changes the list, so start over after each. */
	s = cloud->sessions;
	while (s) {
		if (!s->kick) {
			s = s->next;
			continue;
		}
		s->kick = false;
		mosquitto_kick_client_by_clientid(mosquitto_client_id(s->client), false);
		s = cloud->sessions;
	}
	return MOSQ_ERR_SUCCESS;
}

/* ---- start and end */

/* Sub-devices outlive the broker's process: they stand in the record. */
static void recall_devices(struct cloud *cloud, const char *path)
{
	FILE *f = fopen(path, "r");
	struct json_object *line;
	char *text = NULL;
	size_t size = 0;

	if (!f)
		return;
	while (getline(&text, &size, f) > 0) {
		if (strncmp(text, "{\"event\":\"device\"", 17) != 0)
			continue;
		line = json_tokener_parse(text);
		if (line && member(line, "device"))
			json_object_object_add(cloud->known, member(line, "device"),
					       json_object_new_string(member(line, "type")));
		json_object_put(line);
	}
	free(text);
	fclose(f);
}

static int control_open(struct cloud *cloud, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	(void)unlink(path);
	cloud->control_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (cloud->control_fd < 0 ||
	    bind(cloud->control_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	cloud->control_path = strdup(path);
	return 0;
}

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
	int i;

	for (i = 0; i < supported_version_count; i++)
		if (supported_versions[i] == 5)
			return 5;
	return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata,
			  struct mosquitto_opt *options, int option_count)
{
	const char *devices = NULL, *record_path = NULL, *control = NULL;
	struct cloud *cloud = calloc(1, sizeof(*cloud));
	int i, r = 0;

	if (!cloud)
		return MOSQ_ERR_NOMEM;
	for (i = 0; i < option_count; i++) {
		if (strcmp(options[i].key, "devices") == 0)
			devices = options[i].value;
		else if (strcmp(options[i].key, "record") == 0)
			record_path = options[i].value;
		else if (strcmp(options[i].key, "control") == 0)
			control = options[i].value;
	}
	cloud->id = identifier;
	cloud->control_fd = -1;
	cloud->known = json_object_new_object();
	cloud->shared = json_object_new_object();
	cloud->limits =
		json_tokener_parse("{\"maxPayloadSize\":65536,\"maxInflightMessages\":100,"
				   "\"rateLimits\":{\"messages\":null,"
				   "\"telemetryMessages\":null,\"telemetryDataPoints\":\"\"},"
				   "\"gatewayRateLimits\":{\"messages\":null,"
				   "\"telemetryMessages\":null,\"telemetryDataPoints\":\"\"}}");
	cloud->devices = devices ? json_object_from_file(devices) : NULL;
	if (!record_path || !json_object_is_type(cloud->devices, json_type_array)) {
		mosquitto_log_printf(MOSQ_LOG_ERR,
				     "cloudsim: plugin_opt_devices must name a JSON array, "
				     "plugin_opt_record a file");
		return MOSQ_ERR_INVAL;
	}
	recall_devices(cloud, record_path);
	cloud->record_fd = open(record_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (cloud->record_fd < 0)
		return MOSQ_ERR_ERRNO;
	if (control)
		r = control_open(cloud, control);
	if (r < 0) {
		mosquitto_log_printf(MOSQ_LOG_ERR, "cloudsim: %s: %s", control, strerror(-r));
		return MOSQ_ERR_ERRNO;
	}

	*userdata = cloud;
	mosquitto_callback_register(identifier, MOSQ_EVT_BASIC_AUTH, on_login, NULL, cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_ACL_CHECK, on_access, NULL, cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_MESSAGE, on_publish, NULL, cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_DISCONNECT, on_disconnect, NULL, cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_TICK, on_tick, NULL, cloud);
	return MOSQ_ERR_SUCCESS;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count)
{
	struct cloud *cloud = userdata;

	(void)options;
	(void)option_count;
	if (!cloud)
		return MOSQ_ERR_SUCCESS;
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_BASIC_AUTH, on_login, NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_ACL_CHECK, on_access, NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_MESSAGE, on_publish, NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_DISCONNECT, on_disconnect, NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_TICK, on_tick, NULL);
	while (cloud->sessions)
		session_drop(cloud, cloud->sessions->client);
	if (cloud->control_fd >= 0)
		close(cloud->control_fd);
	if (cloud->control_path)
		(void)unlink(cloud->control_path);
	close(cloud->record_fd);
	free(cloud->control_path);
	json_object_put(cloud->devices);
	json_object_put(cloud->known);
	json_object_put(cloud->shared);
	json_object_put(cloud->limits);
	free(cloud);
	return MOSQ_ERR_SUCCESS;
}
