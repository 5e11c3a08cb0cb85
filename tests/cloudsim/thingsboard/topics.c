#include "cloud.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REQUEST_NUMBER 2147483647

#define GATEWAY_PREFIX "v1/gateway/"

/* A topic that ends in "/" is followed by a request number. */
static const struct {
	const char *topic;
	enum tb_topic_kind kind;
} device_topics[] = {
	{"v1/devices/me/telemetry", TB_TOPIC_TELEMETRY},
	{"v2/t", TB_TOPIC_TELEMETRY},
	{"v2/t/j", TB_TOPIC_TELEMETRY},
	{"v2/t/p", TB_TOPIC_TELEMETRY},
	{"v1/devices/me/attributes", TB_TOPIC_ATTRIBUTES},
	{"v2/a", TB_TOPIC_ATTRIBUTES},
	{"v2/a/j", TB_TOPIC_ATTRIBUTES},
	{"v2/a/p", TB_TOPIC_ATTRIBUTES},
	{"v1/devices/me/attributes/request/", TB_TOPIC_ATTRIBUTES_REQUEST},
	{"v2/a/req/j/", TB_TOPIC_ATTRIBUTES_REQUEST},
	{"v2/a/req/p/", TB_TOPIC_ATTRIBUTES_REQUEST},
	{"v2/a/req/", TB_TOPIC_ATTRIBUTES_REQUEST},
	{"v1/devices/me/rpc/response/", TB_TOPIC_RPC_RESPONSE},
	{"v2/r/res/j/", TB_TOPIC_RPC_RESPONSE},
	{"v2/r/res/p/", TB_TOPIC_RPC_RESPONSE},
	{"v2/r/res/", TB_TOPIC_RPC_RESPONSE},
	{"v1/devices/me/rpc/request/", TB_TOPIC_CLIENT_RPC},
	{"v2/r/req/j/", TB_TOPIC_CLIENT_RPC},
	{"v2/r/req/p/", TB_TOPIC_CLIENT_RPC},
	{"v2/r/req/", TB_TOPIC_CLIENT_RPC},
	{"v1/devices/me/claim", TB_TOPIC_CLAIM},
	{"/provision/request", TB_TOPIC_PROVISION},
};

static const char *const filters[] = {
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

bool tb_topics_has_filter(const struct tb_session *s, const char *filter)
{
	size_t i;

	if (s->is_provisioning)
		return strcmp(filter, "/provision/response") == 0;
	for (i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
		if (strcmp(filter, filters[i]) == 0)
			return true;
	return false;
}

/* A request number at @text, ended by @end. */
static bool is_number(const char *text, const char *end)
{
	char *stop;
	long long n;

	if (*text < '0' || *text > '9')
		return false;
	n = strtoll(text, &stop, 10);
	return stop == end && n >= 0 && n <= MAX_REQUEST_NUMBER;
}

/* TB_SERVER_ERROR: a known topic whose number is none. */
static enum tb_outcome classify(const char *topic, enum tb_topic_kind *ret_kind)
{
	const char *rest, *chunk, *end = topic + strlen(topic);
	size_t i, length;

	*ret_kind = TB_TOPIC_UNKNOWN;
	for (i = 0; i < sizeof(device_topics) / sizeof(device_topics[0]); i++) {
		length = strlen(device_topics[i].topic);
		if (device_topics[i].topic[length - 1] != '/') {
			if (strcmp(topic, device_topics[i].topic) != 0)
				continue;
		} else if (strncmp(topic, device_topics[i].topic, length) != 0) {
			continue;
		} else if (!is_number(topic + length, end)) {
			return TB_SERVER_ERROR;
		}
		*ret_kind = device_topics[i].kind;
		return TB_TAKEN;
	}

	if (strncmp(topic, "v2/fw/request/", 14) != 0 && strncmp(topic, "v2/sw/request/", 14) != 0)
		return TB_UNKNOWN_TOPIC;
	rest = topic + 14;
	chunk = strstr(rest, "/chunk/");
	if (!chunk)
		return TB_UNKNOWN_TOPIC;
	if (!is_number(rest, chunk) || !is_number(chunk + 7, end))
		return TB_SERVER_ERROR;
	*ret_kind = TB_TOPIC_OTA_REQUEST;
	return TB_TAKEN;
}

/* ---- the gateway API */

static enum tb_outcome gateway_telemetry(struct tb_cloud *cloud, struct tb_session *s,
					 struct json_object *root)
{
	size_t n_usable = 0, i;
	enum tb_outcome outcome;

	json_object_object_foreach(root, name, entries)
	{
		int64_t n_points = 0;

		if (!json_object_is_type(entries, json_type_array)) {
			tb_suspect(cloud, "a device whose value is not an array: skipped silently");
			continue;
		}
		n_usable++;
		outcome = tb_subdevice_touch(cloud, s, name, "default", false);
		if (outcome != TB_TAKEN)
			return outcome;
		if (json_object_array_length(entries) == 0)
			return TB_NEVER_ACKED;
		for (i = 0; i < json_object_array_length(entries); i++) {
			struct json_object *sample = json_object_array_get_idx(entries, i), *values;

			outcome = tb_payload_check_sample(cloud, sample);
			if (outcome != TB_TAKEN)
				return outcome;
			values = json_object_object_get(sample, "values");
			n_points += json_object_object_length(values ? values : sample);
		}
		if (!tb_limits_take(cloud->limits, s, true, n_points))
			return TB_LIMITED;
	}
	return n_usable > 0 ? TB_TAKEN : TB_UNUSABLE;
}

static enum tb_outcome gateway_attributes(struct tb_cloud *cloud, struct tb_session *s,
					  struct json_object *root)
{
	size_t n_usable = 0;
	enum tb_outcome outcome;

	json_object_object_foreach(root, name, values)
	{
		if (!json_object_is_type(values, json_type_object)) {
			tb_suspect(cloud,
				   "a device whose value is not an object: skipped silently");
			continue;
		}
		n_usable++;
		outcome = tb_subdevice_touch(cloud, s, name, "default", false);
		if (outcome != TB_TAKEN)
			return outcome;
		tb_payload_check_values(cloud, values);
		if (!tb_limits_take(cloud->limits, s, true, json_object_object_length(values)))
			return TB_LIMITED;
	}
	return n_usable > 0 ? TB_TAKEN : TB_UNUSABLE;
}

static enum tb_outcome gateway_connect(struct tb_cloud *cloud, struct tb_session *s,
				       struct json_object *root)
{
	const char *name = tb_member(root, "device"), *type = tb_member(root, "type");

	if (!name)
		return TB_UNUSABLE;
	if (!tb_limits_take(cloud->limits, s, true, 0))
		return TB_LIMITED;
	return tb_subdevice_touch(cloud, s, name, type ? type : "default", true);
}

static enum tb_outcome gateway_disconnect(struct tb_cloud *cloud, struct tb_session *s,
					  struct json_object *root)
{
	const char *name = tb_member(root, "device");

	if (!name)
		return TB_UNUSABLE;
	tb_subdevice_close(cloud, s, name, "disconnect");
	return TB_TAKEN;
}

static enum tb_outcome gateway_attributes_request(struct tb_cloud *cloud, struct tb_session *s,
						  struct json_object *root)
{
	struct json_object *id, *client, *keys;
	const char *name = tb_member(root, "device");

	if (!name || !json_object_object_get_ex(root, "id", &id) ||
	    !json_object_object_get_ex(root, "client", &client) ||
	    !json_object_is_type(id, json_type_int) ||
	    !json_object_is_type(client, json_type_boolean))
		return TB_UNUSABLE;
	if (!tb_member(root, "key") && (!json_object_object_get_ex(root, "keys", &keys) ||
					!json_object_is_type(keys, json_type_array)))
		return TB_UNUSABLE;
	if (!tb_limits_take(cloud->limits, s, true, 0))
		return TB_LIMITED;
	return tb_subdevice_touch(cloud, s, name, "default", false);
}

static enum tb_outcome gateway_rpc_response(struct tb_cloud *cloud, struct tb_session *s,
					    struct json_object *root)
{
	struct json_object *id;
	const char *name = tb_member(root, "device");

	if (!name || !json_object_object_get_ex(root, "id", &id) ||
	    !json_object_object_get_ex(root, "data", NULL))
		return TB_UNUSABLE;
	if (!json_object_is_type(id, json_type_int))
		return TB_SERVER_ERROR;
	if (!tb_limits_take(cloud->limits, s, true, 0))
		return TB_LIMITED;
	return tb_subdevice_touch(cloud, s, name, "default", false);
}

static enum tb_outcome claim_body(struct json_object *body)
{
	struct json_object *duration;

	if (!json_object_is_type(body, json_type_object))
		return TB_MALFORMED;
	if (json_object_object_get_ex(body, "durationMs", &duration) &&
	    !json_object_is_type(duration, json_type_int))
		return TB_SERVER_ERROR;
	return TB_TAKEN;
}

static enum tb_outcome gateway_claim(struct tb_cloud *cloud, struct tb_session *s,
				     struct json_object *root)
{
	enum tb_outcome outcome;

	json_object_object_foreach(root, name, body)
	{
		outcome = claim_body(body);
		if (outcome == TB_TAKEN)
			outcome = tb_subdevice_touch(cloud, s, name, "default", false);
		if (outcome != TB_TAKEN)
			return outcome;
		if (!tb_limits_take(cloud->limits, s, true, 0))
			return TB_LIMITED;
	}
	return json_object_object_length(root) > 0 ? TB_TAKEN : TB_UNUSABLE;
}

static enum tb_outcome gateway_message(struct tb_cloud *cloud, struct tb_session *s,
				       const char *what, struct json_object *root,
				       bool *ret_is_forwarded)
{
	static const struct {
		const char *topic;
		enum tb_outcome (*judge)(struct tb_cloud *, struct tb_session *,
					 struct json_object *);
		bool is_forwarded;
	} topics[] = {
		{"telemetry", gateway_telemetry, false},
		{"attributes", gateway_attributes, true},
		{"connect", gateway_connect, false},
		{"disconnect", gateway_disconnect, false},
		{"attributes/request", gateway_attributes_request, true},
		{"rpc", gateway_rpc_response, true},
		{"claim", gateway_claim, true},
	};
	size_t i;

	if (!json_object_is_type(root, json_type_object))
		return TB_UNUSABLE;
	for (i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
		if (strcmp(what, topics[i].topic) == 0) {
			*ret_is_forwarded = topics[i].is_forwarded;
			return topics[i].judge(cloud, s, root);
		}
	}
	return TB_UNKNOWN_TOPIC;
}

/* ---- the device API */

static enum tb_outcome telemetry(struct tb_cloud *cloud, struct json_object *root,
				 int64_t *ret_n_points)
{
	struct json_object *sample, *values;
	size_t n = 1, i;
	bool is_array = json_object_is_type(root, json_type_array);
	enum tb_outcome outcome;

	if (is_array)
		n = json_object_array_length(root);
	for (i = 0; i < n; i++) {
		sample = is_array ? json_object_array_get_idx(root, i) : root;
		outcome = tb_payload_check_sample(cloud, sample);
		if (outcome != TB_TAKEN)
			return outcome;
		values = json_object_object_get(sample, "values");
		*ret_n_points += json_object_object_length(values ? values : sample);
	}
	return n > 0 ? TB_TAKEN : TB_NEVER_ACKED;
}

static enum tb_outcome device_message(struct tb_cloud *cloud, enum tb_topic_kind kind,
				      struct json_object *root, int64_t *ret_n_points)
{
	bool is_object = json_object_is_type(root, json_type_object);

	switch (kind) {
	case TB_TOPIC_TELEMETRY:
		return telemetry(cloud, root, ret_n_points);
	case TB_TOPIC_ATTRIBUTES:
		if (!is_object)
			return TB_MALFORMED;
		*ret_n_points = json_object_object_length(root);
		tb_payload_check_values(cloud, root);
		return TB_TAKEN;
	case TB_TOPIC_CLIENT_RPC:
		return is_object && tb_member(root, "method") &&
				       json_object_object_get_ex(root, "params", NULL)
			       ? TB_TAKEN
			       : TB_MALFORMED;
	case TB_TOPIC_CLAIM:
		return claim_body(root);
	case TB_TOPIC_ATTRIBUTES_REQUEST:
		return is_object ? TB_TAKEN : TB_MALFORMED;
	case TB_TOPIC_PROVISION:
		return tb_member(root, "provisionDeviceKey") &&
				       tb_member(root, "provisionDeviceSecret")
			       ? TB_TAKEN
			       : TB_SERVER_ERROR;
	case TB_TOPIC_RPC_RESPONSE:
	case TB_TOPIC_OTA_REQUEST:
	case TB_TOPIC_UNKNOWN:
	default:
		return TB_TAKEN;
	}
}

/* What is judged: the payload as it came, or what it has been translated to. */
struct payload {
	const char *data;
	size_t size;
};

/* Decimal digits, or nothing. */
static bool is_chunk_size(const struct payload *payload)
{
	size_t i;

	if (payload->size > 10)
		return false;
	for (i = 0; i < payload->size; i++)
		if (payload->data[i] < '0' || payload->data[i] > '9')
			return false;
	return true;
}

static enum tb_outcome device_topic(struct tb_cloud *cloud, struct tb_session *s,
				    enum tb_topic_kind kind, const struct payload *payload)
{
	struct json_object *root;
	enum tb_outcome outcome;
	int64_t n_points = 0;

	if (kind == TB_TOPIC_OTA_REQUEST) {
		if (!is_chunk_size(payload))
			return TB_SERVER_ERROR;
	} else if (kind != TB_TOPIC_RPC_RESPONSE) { /* whose text is the caller's affair */
		root = tb_payload_parse(payload->data, payload->size);
		if (!root)
			return TB_MALFORMED;
		outcome = device_message(cloud, kind, root, &n_points);
		json_object_put(root);
		if (outcome != TB_TAKEN)
			return outcome;
	}
	if (!tb_limits_take(cloud->limits, s, false, n_points))
		return TB_DEVICE_LIMITED;
	return TB_TAKEN;
}

/* A profile decides for the topics that do not say it themselves. */
static bool is_protobuf(const struct tb_session *s, const char *topic, enum tb_topic_kind kind)
{
	size_t length = strlen(topic);

	if (kind == TB_TOPIC_OTA_REQUEST || kind == TB_TOPIC_PROVISION)
		return false;
	if (strncmp(topic, "v2/", 3) == 0) {
		if (strstr(topic, "/p/") || strcmp(topic + length - 2, "/p") == 0)
			return true;
		if (strstr(topic, "/j/") || strcmp(topic + length - 2, "/j") == 0)
			return false;
	}
	return s->is_protobuf;
}

static bool is_poison(const struct tb_cloud *cloud, const struct mosquitto_evt_message *ed)
{
	const char *text = cloud->faults.poison;

	return text[0] && ed->payloadlen > 0 &&
	       memmem(ed->payload, ed->payloadlen, text, strlen(text));
}

static enum tb_outcome judge_payload(struct tb_cloud *cloud, struct tb_session *s,
				     const struct mosquitto_evt_message *ed, bool *ret_is_forwarded,
				     char **ret_translated)
{
	const char *gateway_topic = NULL;
	enum tb_topic_kind kind = TB_TOPIC_UNKNOWN;
	struct payload payload = {ed->payload ? ed->payload : "", ed->payloadlen};
	struct json_object *root;
	enum tb_outcome outcome;

	if (strncmp(ed->topic, GATEWAY_PREFIX, strlen(GATEWAY_PREFIX)) == 0) {
		gateway_topic = ed->topic + strlen(GATEWAY_PREFIX);
	} else {
		outcome = classify(ed->topic, &kind);
		if (s->is_provisioning != (kind == TB_TOPIC_PROVISION))
			outcome = TB_UNKNOWN_TOPIC;
		if (outcome != TB_TAKEN)
			return outcome;
		*ret_is_forwarded = kind != TB_TOPIC_TELEMETRY;
	}
	if (is_protobuf(s, ed->topic, kind)) {
		*ret_translated =
			tb_protobuf_to_json(payload.data, payload.size, gateway_topic, kind);
		if (!*ret_translated)
			return TB_MALFORMED;
		payload.data = *ret_translated;
		payload.size = strlen(*ret_translated);
	}
	if (!gateway_topic)
		return device_topic(cloud, s, kind, &payload);
	root = tb_payload_parse(payload.data, payload.size);
	if (!root)
		return TB_MALFORMED;
	outcome = gateway_message(cloud, s, gateway_topic, root, ret_is_forwarded);
	json_object_put(root);
	return outcome;
}

enum tb_outcome tb_topics_judge(struct tb_cloud *cloud, struct tb_session *s,
				const struct mosquitto_evt_message *ed, bool *ret_is_forwarded,
				char **ret_translated)
{
	bool is_gateway_topic = strncmp(ed->topic, GATEWAY_PREFIX, strlen(GATEWAY_PREFIX)) == 0;
	enum tb_outcome outcome;
	size_t size;

	*ret_is_forwarded = false;
	*ret_translated = NULL;
	/* What follows the fixed header (MQTT 3.1.1, 2.2.3). */
	size = 2 + strlen(ed->topic) + (ed->qos ? 2 : 0) + (s->version == 5 ? 1 : 0) +
	       ed->payloadlen;
	if (size > tb_limits_max_packet(cloud->limits))
		return TB_TOO_LARGE;
	if (cloud->faults.drop_at > 0 && --cloud->faults.drop_at == 0)
		return TB_DROPPED;
	if (is_gateway_topic && (ed->qos != 1 || !s->is_gateway))
		return TB_NEVER_ACKED;
	if (ed->qos == 2)
		return TB_SERVER_ERROR;
	if (is_gateway_topic && !tb_limits_take_simple(cloud))
		return TB_LIMITED;
	if (is_poison(cloud, ed))
		return TB_MALFORMED;
	outcome = judge_payload(cloud, s, ed, ret_is_forwarded, ret_translated);
	if (outcome == TB_TAKEN && ed->retain)
		tb_suspect(cloud, "retain is set");
	return outcome;
}
