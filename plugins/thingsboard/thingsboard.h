#pragma once

/*
 * What the files of the ThingsBoard plugin share: the ctx, the encode() call under way, and what
 * each file offers to the others. Topics and payloads follow ThingsBoard's device API and gateway
 * API (JSON).
 *
 *	options.c    the keys in the configuration      topics.c, values.c  spelling
 *	thingsboard.c  the plugin's table: sessions, what becomes of a publish, what comes down
 *	encode.c     whose turn it is                   data.c       telemetry and attributes going up
 *	announce.c   coming and going of sub-devices    devices.c    the table of them
 *	commands.c   RPC from ThingsBoard, and answers  questions.c  what is asked of ThingsBoard
 *	attributes.c shared attributes coming down      limits.c     ThingsBoard's own limits
 *	provision.c  credentials got from ThingsBoard   rest.c       ThingsBoard's REST interface
 *	images.c     firmware and software              images_chunks.c  their chunks
 *	protobuf.c, schema.c, wire.c  payloads that are not JSON
 *
 * A session (one at a time):
 *
 *	connected ─▶ HELD ─▶ OPEN        the limits are known, or are not told, or nobody wants them
 *	                └──▶ SHUT        mode gateway, and ThingsBoard says this is none: only what
 *	                                 concerns the gateway itself goes out, until the next session
 *
 * Time: a timer of a second, from wake(), counts `uptime_s`; the UTC clock may jump and is used for
 * stamps only.
 */
#include "common/text.h"
#include "devices.h"
#include "images.h"
#include "limits.h"
#include "options.h"
#include "protobuf.h"
#include "provision.h"
#include "questions.h"
#include "topics.h"
#include "values.h"

/* At most so many messages in one publish. More stay where they are for the next one. */
#define TB_MAX_ITEMS 2048

/* At most so many attributes in one publish; what follows waits for the next one. */
#define TB_MAX_ATTRIBUTES 4096
#define TB_ATTRIBUTE_SLOTS 8192 /* of the hash table over them */

/* Data publishes whose end is remembered. Beyond it, a disconnect no longer waits for the oldest.
 */
#define TB_MAX_FLIGHTS 256

/* Answers of the plugin's own that wait to be sent; beyond it, the oldest is forgotten. */
#define TB_MAX_NOTES 32

/* Of fg_publish.scope: two sets of limits, as ThingsBoard counts. */
#define TB_SCOPE_DEVICES 0u /* the sum of all sub-devices */
#define TB_SCOPE_OWN 1u     /* what goes out as the gateway's, or the one device's, own */

/* What a tag stands for. */
enum tb_tag {
	TB_TAG_DATA = 0,
	TB_TAG_CONNECT = 1,
	TB_TAG_DISCONNECT = 2,
	TB_TAG_QUESTION = 3,
	TB_TAG_IMAGE = 4, /* slot 0: what is told of one; 1 + kind: a chunk is asked for */
};
#define TB_TAG_SHIFT 61
#define TB_TAG_SERIAL 0x1fffffffu /* of its serial */

enum tb_gate { TB_GATE_HELD, TB_GATE_OPEN, TB_GATE_SHUT };

/** One message in the publish being made; its text lies in the scratch buffer. */
struct tb_item {
	int64_t time_us;
	size_t offset;
	size_t size;
	uint32_t index; /* in the batch */
	uint32_t next;  /* in its group; TB_NO_ITEM ends it */
};

/** One attribute in the publish being made, as it lies in the scratch buffer: "name":value. */
struct tb_attribute {
	const char *text; /* NULL: a later one has taken its place */
	size_t size;
};

/** An answer of the plugin itself to a command, as far as it is not the host's to give. */
struct tb_note {
	bool is_own;       /* to the gateway's own command, else to a sub-device's */
	uint32_t number;   /* of the command */
	const char *error; /* static; NULL: it was done */
	uint8_t device_size;
	char device[255];
};

struct tb {
	const struct fg_host *host;
	void *host_ctx;
	struct tb_options with;

	/* the session */
	bool is_up;
	bool is_setup; /* a session for provisioning, or the attempt at one */
	unsigned mqtt_version;
	size_t session_max_packet_bytes; /* bound for the Remaining Length, 0: none announced */
	enum tb_gate gate;
	uint32_t uptime_s; /* seconds with a session, in all */
	uint64_t serial;   /* of the last publish, never reused */

	uint64_t flights[TB_MAX_FLIGHTS]; /* serial of the unsettled data publish, else 0 */
	bool has_accepted;                /* ever */
	bool has_run_errand;              /* in the last encode() call */
	bool has_warned_authorization;
	bool has_device_quota; /* a device was given up for it in this session */

	struct tb_devices *devices; /* NULL in device mode */
	struct tb_values values;
	struct tb_note notes[TB_MAX_NOTES]; /* a ring */
	unsigned first_note, n_notes;
	struct tb_provision provision;
	struct tb_questions questions;
	struct tb_limits limits;
	struct tb_images images;
	struct tb_protobuf protobuf; /* payload: protobuf */

	/* shared attributes to fetch: a JSON array of names; "": none; NULL: as the API has it */
	char *shared_keys;
	bool wants_own_fetch;
	uint8_t n_own_unanswered; /* in this session */

	/* the encode() call under way */
	uint64_t call;
	struct tb_item *items; /* TB_MAX_ITEMS */
	uint32_t n_items;
	char *scratch; /* max_packet_bytes */
	char *event;   /* max_packet_bytes: the body of the one that is written */
	size_t scratch_used;
	struct tb_group group; /* device mode: the only one */
	struct tb_device *first_group, *last_group;
	struct tb_attribute *attributes; /* TB_MAX_ATTRIBUTES */
	uint64_t *attribute_index;       /* hash table of attributes: stamp and place */
	uint32_t attribute_stamp;
};

/** One encode() call. */
struct tb_call {
	struct tb *tb;
	struct fg_batch *batch;
	struct fg_publish *out;
	enum fg_kind kind;    /* of the messages taken; 0: none yet */
	size_t payload_limit; /* for `kind` */
	size_t payload_size;  /* of what was taken, brackets included */
	unsigned n_attributes;
	size_t n_points, n_groups; /* of what was taken */
	bool is_table_full;        /* of devices that have something under way */
	struct tb_device *parked;  /* refused for a quota before: only when there is nothing else
				      to do */
};

/** What to do with the next message. */
enum tb_step { TB_STEP_ON, TB_STEP_ENOUGH, TB_STEP_PUBLISHED };

/* ------------------------------------------------------------------ thingsboard.c */

uint64_t tb_tag_make(enum tb_tag what, uint64_t serial, uint32_t slot);

/** True when no data publish that carries @device waits for its end. */
bool tb_device_is_quiet(const struct tb *tb, const struct tb_device *device);

/* ------------------------------------------------------------------ encode.c */

/** See struct fg_plugin.encode. */
int tb_encode(void *ctx, const char *session, struct fg_batch *batch, struct fg_publish *out);

/** Message @i can never be sent, for the reason given. */
void tb_refuse(struct tb_call *call, size_t i, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** Bytes a payload on @topic may have; 0 when not even the topic fits. */
size_t tb_payload_limit(const struct tb *tb, const struct fg_publish *out, const char *topic);

/** Name the topic of @out. Returns 0, or -EINVAL when the host's buffer is too small for it. */
int tb_set_topic(struct fg_publish *out, const char *topic);

/**
 * Begin to write a publish on @topic, with @number behind its name unless that is negative.
 * Returns 0 or -EINVAL.
 */
int tb_publish_begin(const struct tb *tb, struct fg_publish *out, enum tb_topic topic,
		     int64_t number, struct fg_text *ret);

/** Returns 1, or 0 when it does not fit into a packet. */
int tb_publish_end(struct fg_publish *out, const struct fg_text *text, unsigned scope);

/**
 * For a message that travels alone. Returns true and the device message @i is of when that is
 * announced; else the connect goes first, or it waits, or is refused: *@ret_step and *@ret say so.
 */
bool tb_call_announced(struct tb_call *call, size_t i, struct tb_device **ret_device,
		       enum tb_step *ret_step, int *ret);

/** May @device make room? Not while something of it is under way, here or in ThingsBoard. */
bool tb_is_spare(const void *tb, const struct tb_device *device);

/* ------------------------------------------------------------------ data.c */

/** Take message @i if there is room. @device is NULL in device mode. */
enum tb_step tb_take_data(struct tb_call *call, size_t i, struct tb_device *device);

/** Does message @i make something to send? If not, it is refused or done with. */
bool tb_has_data(struct tb_call *call, size_t i);

/** Publish what was taken. Returns 1 or -EINVAL. */
int tb_publish_data(struct tb_call *call);

/* ------------------------------------------------------------------ announce.c */

/** A message of @device, which ThingsBoard has not been told of: the connect goes first. */
enum tb_step tb_connect_first(struct tb_call *call, size_t i, struct tb_device *device, int *ret);
enum tb_step tb_take_presence(struct tb_call *call, size_t i, struct tb_device *device, int *ret);

/** Announce @device for its own sake. Returns 1, 0 when it cannot be, or -EINVAL. */
int tb_announce(struct tb_call *call, struct tb_device *device);

/** The next coming or going that no message asks for. Returns 1, 0 or -EINVAL. */
int tb_announce_next(struct tb_call *call);

/** Note that what is published now is @device's own: its session on the server lives on. */
void tb_device_spoke(struct tb *tb, struct tb_device *device);

/** Note that @m of @device has been taken. */
void tb_device_heard(struct tb_device *device, const struct fg_message *m, int64_t now_us);

/** A connect or disconnect has been settled; returns what the link shall do. */
enum fg_verdict tb_announce_settled(struct tb *tb, uint64_t tag, unsigned code,
				    enum fg_verdict verdict);

/** Every announcement is void: the session has ended. */
void tb_announce_forget(struct tb *tb);

/**
 * The server closed one device's session on its side and tells so without being asked (MQTT 5
 * only): {"device":"pump 4","reason":150}. Returns 0 or -EPROTO.
 */
int tb_disconnect_notice(struct tb *tb, struct fg_span payload);

/** ThingsBoard calls @from @to from now on: it is announced under that name. Returns 0 or -ENOMEM. */
int tb_device_renamed(struct tb *tb, struct fg_span from, struct fg_span to);

/** ThingsBoard knows @name no more. What becomes of it is the operator's choice. */
void tb_device_deleted(struct tb *tb, struct fg_span name);

/** A second has passed. */
void tb_announce_tick(struct tb *tb);

/* ------------------------------------------------------------------ commands.c */

/** A command for a sub-device, or for the connected device itself. Returns 0 or -EPROTO. */
int tb_command_for_device(struct tb *tb, struct fg_span payload);
int tb_command_for_self(struct tb *tb, uint32_t number, struct fg_span payload);

/** The final answer to a command. */
enum tb_step tb_take_response(struct tb_call *call, size_t i, int *ret);

/** Publish the next answer of the plugin's own. Returns 1, 0 or -EINVAL. */
int tb_publish_note(struct tb_call *call);

/* ------------------------------------------------------------------ questions.c */

/** Is there room for a question, or for a fetch of the plugin's own? */
bool tb_questions_have_room(const struct tb *tb, bool is_fetch);
uint32_t tb_questions_next_id(struct tb *tb);

/** A new question as @like says, with a number of its own; texts are copied. NULL: no room. */
struct tb_question *tb_question_new(struct tb *tb, const struct tb_question *like);
void tb_question_free(struct tb *tb, struct tb_question *q);
struct tb_question *tb_question_find(const struct tb *tb, uint32_t id);

/** One in TB_QUESTION_NEXT, or NULL. */
struct tb_question *tb_question_next(const struct tb *tb);
void tb_question_set_state(struct tb *tb, struct tb_question *q, enum tb_question_state state);

/** A field device asks. */
enum tb_step tb_take_request(struct tb_call *call, size_t i, int *ret);

/** The publish with @tag has been settled; returns what the link shall do. */
enum fg_verdict tb_question_settled(struct tb *tb, uint64_t tag, enum fg_verdict verdict);

/** An answer on the topic of calls. Returns 0 or -EPROTO. */
int tb_rpc_answered(struct tb *tb, uint32_t number, struct fg_span payload);

/** A second has passed; the session has ended. */
void tb_questions_tick(struct tb *tb);
void tb_questions_forget(struct tb *tb);

/* ------------------------------------------------------------------ attributes.c */

/** Fill tb->shared_keys. Returns 0 or -ENOMEM. */
int tb_attributes_read_option(struct tb *tb);

/** A session begins, or has announced @device: what is to be fetched? */
void tb_attributes_begin(struct tb *tb);
void tb_attributes_device_connected(struct tb *tb, struct tb_device *device);

/** What a field device asks for, to *@q. Returns NULL, or what is wrong with it. */
const char *tb_attributes_read_request(const struct tb *tb, struct fg_json_value body,
				       struct tb_question *q);

/** Publish @q. Returns 1, 0 when it does not fit, or -EINVAL. */
int tb_attributes_publish(struct tb_call *call, const struct tb_question *q);

/** The next question of the plugin's own. Returns 1, 0, -EINVAL or -ENOMEM. */
int tb_attributes_ask_next(struct tb_call *call);

/** Nobody answers the fetch @q. */
void tb_fetch_failed(struct tb *tb, const struct tb_question *q);

/* What comes down. Return 0 or -EPROTO. */
int tb_attributes_of_self(struct tb *tb, struct fg_span payload);
int tb_attributes_of_device(struct tb *tb, struct fg_span payload);
int tb_attributes_answered(struct tb *tb, uint32_t number, struct fg_span payload);
int tb_gateway_attributes_answered(struct tb *tb, struct fg_span payload);

/** Ask which images are assigned to the connected device. Returns 1, 0, -EINVAL or -ENOMEM. */
int tb_attributes_fetch_images(struct tb_call *call);

/* ------------------------------------------------------------------ images.c */

/** "fw" or "sw" */
const char *tb_image_prefix(enum fg_image_kind kind);

/** Shared attributes of @device were set (a JSON object) or deleted (an array of names); either may be
 * empty. */
void tb_images_changed(struct tb *tb, struct fg_span device, struct fg_span set,
		       struct fg_span unset);

/** See struct fg_plugin.image_progress. */
void tb_image_progress(void *ctx, const struct fg_image_progress *progress);

/** Note that ThingsBoard is to be told. */
void tb_image_tell(struct tb *tb, const struct fg_image_progress *progress);

/** What is to be told of @from is told of @to from now on; of nobody when that is empty. */
void tb_images_device_called(struct tb *tb, struct fg_span from, struct fg_span to);

/** Publish the next thing that is to be told or asked. Returns 1, 0, -EINVAL or -ENOMEM. */
int tb_images_publish(struct tb_call *call);
enum fg_verdict tb_images_settled(struct tb *tb, uint64_t tag, enum fg_verdict verdict);

/** A session begins; it has ended; the ctx is closed. */
void tb_images_begin(struct tb *tb);
void tb_images_forget(struct tb *tb);
void tb_images_close(struct tb *tb);

/* ------------------------------------------------------------------ images_chunks.c */

void tb_image_assigned(struct tb *tb, const struct fg_image *image);
void tb_image_withdrawn(struct tb *tb, struct fg_span device, enum fg_image_kind kind);

/** The host says where the connected device's image stands. */
void tb_image_moved(struct tb *tb, const struct fg_image_progress *progress);

int tb_chunks_publish(struct tb_call *call);
enum fg_verdict tb_chunk_settled(struct tb *tb, uint32_t slot, enum fg_verdict verdict);

/** Returns true when it was a chunk, or says that there is none. */
bool tb_chunks_received(struct tb *tb, const struct fg_delivery *delivery);

/** A session begins; has ended; a second has passed. */
void tb_chunks_begin(struct tb *tb);
void tb_chunks_forget(struct tb *tb);
void tb_chunks_tick(struct tb *tb);

/* ------------------------------------------------------------------ limits.c */

/** A session begins: the limits are asked for. */
void tb_limits_begin(struct tb *tb);
int tb_limits_ask(struct tb_call *call);

/** The answer; or there is none. */
void tb_limits_told(struct tb *tb, struct fg_json_value answer);
void tb_limits_failed(struct tb *tb);

/** May a sub-device be connected now? One is. */
bool tb_limits_may_connect(const struct tb *tb);
void tb_limits_connects(struct tb *tb);

/** A second has passed. */
void tb_limits_tick(struct tb *tb);

/* ------------------------------------------------------------------ provision.c */

/** What is remembered, if credentials are to be got from ThingsBoard. */
void tb_provision_open(struct tb *tb);

/** What to connect with. Returns 0, or -EINVAL: not now. */
int tb_provision_connect(struct tb *tb, int64_t now_us, struct fg_connect *out);

/** A session as usual is up. */
void tb_provision_connected(struct tb *tb);

/* In a session for provisioning. As struct fg_plugin's. */
int tb_provision_encode(struct tb *tb, struct fg_publish *out);
enum fg_verdict tb_provision_settled(struct tb *tb, enum fg_verdict verdict, int64_t now_us);
int tb_provision_answered(struct tb *tb, struct fg_span payload, int64_t now_us);

void tb_provision_remembered(struct tb *tb, const char *key, int error);

/** A second has passed. */
void tb_provision_tick(struct tb *tb, int64_t now_us);
