#pragma once

/*
 * What the files of the ThingsBoard plugin share: the ctx, and the functions that fill the plugin
 * table. Topics and payloads follow ThingsBoard's device API and gateway API (JSON, v1 topics).
 */
#include "devices.h"
#include "values.h"

#define TB_TOPIC_TELEMETRY "v1/devices/me/telemetry"
#define TB_TOPIC_ATTRIBUTES "v1/devices/me/attributes"
#define TB_TOPIC_GATEWAY_TELEMETRY "v1/gateway/telemetry"
#define TB_TOPIC_GATEWAY_ATTRIBUTES "v1/gateway/attributes"
#define TB_TOPIC_GATEWAY_CONNECT "v1/gateway/connect"
#define TB_TOPIC_GATEWAY_DISCONNECT "v1/gateway/disconnect"

/* At most so many messages in one publish. More stay where they are for the next one. */
#define TB_MAX_ITEMS 2048

/* At most so many attributes in one publish; what follows waits for the next one. */
#define TB_MAX_ATTRIBUTES 4096
#define TB_ATTRIBUTE_SLOTS 8192 /* of the hash table over them */

/* Data publishes whose end is remembered. Beyond it, a disconnect no longer waits for the oldest.
 */
#define TB_MAX_FLIGHTS 256

/* A connect that was refused so often, without a word about a quota, is given up for this session.
 */
#define TB_MAX_REFUSALS 3

/* A connect of a new device that was refused so often for a quota is given up for this session. */
#define TB_MAX_QUOTA_REFUSALS 5

enum tb_mode { TB_MODE_GATEWAY, TB_MODE_DEVICE };

enum tb_timestamp { TB_TIMESTAMP_SAMPLE, TB_TIMESTAMP_SERVER };

/* What a tag stands for. */
enum tb_tag { TB_TAG_DATA = 0, TB_TAG_CONNECT = 1, TB_TAG_DISCONNECT = 2 };

/** One message in the publish being made; its text lies in the scratch buffer. */
struct tb_item {
	int64_t time_us;
	size_t offset;
	size_t size;
	uint32_t next; /* in its group; TB_NO_ITEM ends it */
};

/** One attribute in the publish being made, as it lies in the scratch buffer: "name":value. */
struct tb_attribute {
	const char *text; /* NULL: a later one has taken its place */
	size_t size;
};

struct tb {
	const struct fg_host *host;
	void *host_ctx;

	/* as configured; the strings are the host's and live as long as the ctx */
	enum tb_mode mode;
	enum tb_timestamp timestamp;
	const char *client_id, *username, *password;
	const char *device;
	const char *device_type;
	size_t max_packet_bytes;

	/* the session */
	unsigned mqtt_version;
	size_t session_max_packet_bytes; /* bound for the Remaining Length, 0: none announced */
	uint64_t serial;                 /* of the last publish, never reused */

	uint64_t flights[TB_MAX_FLIGHTS]; /* serial of the unsettled data publish, else 0 */
	uint32_t announce_at;             /* next slot to look at for a device to announce again */
	bool has_accepted;                /* ever */
	bool has_just_announced;
	bool has_warned_authorization;
	bool has_device_quota; /* a device was given up for it in this session */

	struct tb_devices *devices; /* NULL in device mode */
	struct tb_values values;

	/* the encode() call under way */
	uint64_t call;
	struct tb_item *items; /* TB_MAX_ITEMS */
	uint32_t n_items;
	char *scratch; /* max_packet_bytes */
	size_t scratch_used;
	struct tb_group group; /* device mode: the only one */
	struct tb_device *first_group, *last_group;
	struct tb_attribute *attributes; /* TB_MAX_ATTRIBUTES */
	uint64_t *attribute_index;       /* hash table of attributes: stamp and place */
	uint32_t attribute_stamp;
};

/** See struct fg_plugin.encode. */
int tb_encode(void *ctx, const char *session, struct fg_batch *batch, struct fg_publish *out);

uint64_t tb_tag_make(enum tb_tag what, uint64_t serial, uint32_t slot);

/** True when no data publish that carries @device waits for its end. */
bool tb_device_is_quiet(const struct tb *tb, const struct tb_device *device);
