#pragma once

/*
 * What the files of the Huawei Cloud IoTDA plugin share: the ctx, the encode() call under way, and
 * what each file offers to the others.
 *
 *	options.c  the keys in the configuration     sign_in.c   client id and password
 *	huawei.c   the plugin's table: sessions      text.c      spelling
 *	encode.c   whose turn it is                  report.c    properties and texts going up
 *	commands.c commands, properties set and asked for; their answers
 *	messages.c messages coming down           shadow.c    devices that ask for their shadow
 *	status.c   which sub-devices are there       devices.c   the table of them
 *	events.c   what goes up and comes down that is neither data nor a command
 *	https.c    the way up while MQTT is blocked
 *	ota.c      firmware and software: orders     ota_jobs.c  what IoTDA is told of them
 *	rest.c     the application's side, for fieldgatectl
 *	topology.c which sub-devices IoTDA has       adding.c    those it shall have
 *	ids.c      what they are called there        time_sync.c the time, for who does not know it
 *	deleting.c those that ask to go              early.c     what comes down before they are named
 *
 * There is one session, that of the device that connects: the gateway, or the only device. The
 * topics name it, never a sub-device.
 */
#include "bootstrap.h"
#include "devices.h"
#include "early.h"
#include "events.h"
#include "gzip.h"
#include "https.h"
#include "known.h"
#include "options.h"
#include "ota.h"
#include "sign_in.h"
#include "text.h"

/* At most so many messages in one publish. More stay where they are for the next one. */
#define HW_MAX_ITEMS 2048

/* IoTDA: sub-devices in a report; bytes in a report, in a text's content, in any message. */
#define HW_MAX_GROUPS 100
#define HW_MAX_REPORT 65536
#define HW_MAX_CONTENT 262144
#define HW_MAX_MESSAGE 1048576

/* Of the hash table over the sub-devices of a report; a power of two. */
#define HW_GROUP_SLOTS 256

/* Answers of the plugin's own that wait to be sent; beyond it, the oldest is forgotten. */
#define HW_MAX_NOTES 32

/* Shadows asked for at a time. */
#define HW_MAX_QUESTIONS 32

/* Of a request: IoTDA's have 36 characters. */
#define HW_REQUEST_ID_MAX 62

/* So long the answer to an event is waited for, from its acknowledgement on, where others have to wait
 * for it, too. */
#define HW_ANSWER_S 5u

/* Sub-devices that are being deleted at the same time. */
#define HW_MAX_DELETIONS 16

/* Where a packet is larger than this, the status of one sub-device fits. */
#define HW_MIN_PACKET 1024

/** fg_publish.tag: whom settled() concerns; 0 for data and answers. Above HW_TAG_BITS stands a number
 * of his own. */
enum hw_tag {
	HW_TAG_NONE,
	HW_TAG_STATUS,
	HW_TAG_SYNC,
	HW_TAG_CHANGES,
	HW_TAG_ADD,
	HW_TAG_OTA,
	HW_TAG_BOOTSTRAP,
	HW_TAG_DEVICE, /* by HTTPS: a report of one sub-device; its place in the table */
};

#define HW_TAG_BITS 8

static inline enum hw_tag hw_tag_of(const struct fg_settlement *how)
{
	return (enum hw_tag)(how->tag & ((1u << HW_TAG_BITS) - 1));
}

/* "$oc/devices/{id}/sys/" and what follows, NUL included. */
#define HW_TOPIC_SIZE 320

/** What a command came as, and what its id begins with. */
enum hw_request {
	HW_COMMAND = 'c',
	HW_PROPERTIES_SET = 's',
	HW_PROPERTIES_GET = 'g',
};

/** One entry of a "services" array; its text lies in the scratch buffer. */
struct hw_item {
	size_t offset, size;
	uint32_t next; /* of the same sub-device; HW_NO_ITEM ends it */
};

#define HW_NO_ITEM UINT32_MAX

/** What one device says in the report being made. */
struct hw_group {
	struct fg_span device; /* its name here */
	uint32_t first, last;
};

/** An answer of the plugin itself to a request that does not reach the host. */
struct hw_note {
	enum hw_request request;
	const char *code, *text; /* static */
	char id[HW_REQUEST_ID_MAX + 1];
};

/** A device waits for its shadow. */
struct hw_question {
	uint64_t number; /* its request id; 0: free */
	uint64_t deadline_s;
	size_t ref_size, body_size;
	char ref[64], body[512]; /* of the message that asks */
};

/** Who asks for a sub-device to be deleted waits for the answer. */
struct hw_deletion {
	uint32_t deadline_s;
	size_t name_size, ref_size; /* ref_size 0: free */
	char name[HW_DEVICE_ID_MAX], ref[64];
};

/* IoTDA: sub-devices in one request to add some. */
#define HW_MAX_ADDED 50

/** What gateway and IoTDA are at about sub-devices: topology.c, adding.c. Times are of uptime_s. */
struct hw_topology {
	bool is_on;       /* in this session: there is room for it in a packet */
	bool is_sync_due; /* IoTDA is to be asked for its list, and what version that has here */
	bool is_synced;   /* it has spoken of it in this session */
	uint64_t version; /* 0: there is no list yet */
	bool is_waiting;  /* what those say that are not on it waits for the answer, … */
	bool has_deadline;
	uint32_t deadline_s;  /* … and after this not any more */
	bool has_begun;       /* some of the answer has come: it may have more parts, … */
	uint32_t latest_s;    /* … until then */
	bool has_asked_again; /* in this session, for a version */

	uint64_t kept_version; /* on disk, or on its way there; 0: none */
	bool is_kept_old;      /* it is of the last run, … */
	bool is_changes_due;   /* … and what has changed since is to be asked for, … */
	bool awaits_changes;   /* … or was, in this session */

	bool has_shown;         /* there are sub-devices that is_shown, … */
	uint32_t shown_until_s; /* … which may be silent until then */

	bool has_request; /* to add sub-devices, unanswered */
	bool has_answer_deadline;
	uint32_t answer_deadline_s;
	char request_id[48];
	uint32_t asked[HW_MAX_ADDED]; /* for whom: places in the table */
	unsigned n_asked;
	uint64_t n_requests;
	unsigned n_silent; /* requests in a row without an answer */
	uint32_t retry_s;  /* of those that were not added, the first is tried again */

	uint64_t n_unknown_events;
};

/** The question for the time; see time_sync.c. */
struct hw_time_sync {
	bool is_on, is_asked;
	unsigned n_attempts; /* since the last answer */
	uint64_t due_s;
	int64_t asked_ms; /* UTC, as our clock had it */
};

struct hw {
	const struct fg_host *host;
	void *host_ctx;
	struct hw_options with;
	struct hw_sign_in sign_in;
	struct hw_bootstrap bootstrap;
	struct hw_https https;

	uint32_t uptime_s; /* since the first session began; nobody sets this clock */

	/* the session */
	unsigned mqtt_version;
	size_t session_max_packet_bytes; /* of the Remaining Length; 0: none announced */

	bool tells_status; /* in this session */
	bool has_left;     /* messages that wait for hw_offer_left() */
	bool has_warned_full, has_warned_status, has_warned_unkept;
	uint64_t n_unknown_events;

	struct hw_known *known;
	struct hw_early early;
	struct hw_ota ota;
	struct hw_time_sync time_sync;
	struct hw_question questions[HW_MAX_QUESTIONS];
	uint64_t last_question;
	uint32_t n_unnamed_messages; /* that came down without an id */

	struct hw_devices devices; /* mode gateway, when anything needs it; else empty */
	struct hw_topology topology;
	struct hw_deletion deletions[HW_MAX_DELETIONS];
	struct hw_note notes[HW_MAX_NOTES]; /* a ring */
	unsigned first_note, n_notes;

	/* the encode() call under way */
	uint64_t call; /* its number, from 1 */
	enum fg_carrier carrier;
	struct hw_item *items; /* HW_MAX_ITEMS */
	uint32_t n_items;
	struct hw_group groups[HW_MAX_GROUPS];
	unsigned n_groups;
	uint8_t group_slots[HW_GROUP_SLOTS]; /* number of the group from 1; 0: none */
	char *scratch;                       /* HW_MAX_REPORT */
	struct hw_gzip *gzip;                /* NULL: reports go as they are */
	size_t scratch_used;
};

/** One encode() call. */
struct hw_call {
	struct hw *hw;
	struct fg_batch *batch;
	struct fg_publish *out;
	bool is_own;          /* the report is the connected device's own; once there are items */
	size_t payload_limit; /* for that report */
	size_t payload_size;  /* of what was taken, brackets included */
	size_t n_statuses;    /* presence messages taken */
	size_t n_left;
};

/** What to do with the next message. */
enum hw_step { HW_STEP_ON, HW_STEP_ENOUGH, HW_STEP_PUBLISHED };

/* ------------------------------------------------------------------ encode.c */

/** See struct fg_plugin.encode. */
int hw_encode(void *ctx, const char *session, struct fg_batch *batch, struct fg_publish *out);

/** Message @i can never be sent, for the reason given. */
void hw_refuse(struct hw_call *call, size_t i, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** Message @i waits until hw_offer_left(), and what follows does not wait for it. Returns false, and does
 * nothing, when as many wait as the host can bear: then what is behind it waits, too. */
bool hw_leave(struct hw_call *call, size_t i);

/** What has waited may go now, or never. */
void hw_offer_left(struct hw *hw);

/** "$oc/devices/{id}/sys/" and @suffix to @out of HW_TOPIC_SIZE bytes. */
void hw_topic(const struct hw *hw, const char *suffix, char *out);

/**
 * Begin to write a publish whose topic ends in @suffix, at most @limit bytes of payload; *@ret has
 * no room at all when not even the topic fits into a packet. Returns 0, or -EINVAL when the host's
 * buffer is too small for the topic.
 */
int hw_publish_begin(const struct hw *hw, struct fg_publish *out, const char *suffix, size_t limit,
		     struct fg_text *ret);

/* ------------------------------------------------------------------ huawei.c */

/** Keep to IoTDA's limits. */
void hw_set_limits(struct hw *hw);

/** Something has come down, on "…/sys/" and @suffix; not packed. Returns 0, -EPROTO, or -EAGAIN: a
 * message that the disk has no room for. */
int hw_take_delivery(struct hw *hw, const char *suffix, const struct fg_delivery *delivery);

/** SUBSCRIBE to the topic, or the filter, that ends in @suffix. */
void hw_subscribe(struct hw *hw, const char *suffix);

/* ------------------------------------------------------------------ ids.c */

/** Is @m what the connected device itself says? */
bool hw_is_own(const struct hw *hw, const struct fg_message *m);

/** Whose service it is that @m is of: the sub-device's name here, or the connected device's id. What
 * several devices say becomes one's there, and stays in its order. */
struct fg_span hw_said_by(const struct hw *hw, const struct fg_message *m);

/** The id IoTDA has for the sub-device called @name here, and how many bytes that has. */
void hw_put_device_id(const struct hw *hw, struct fg_text *text, struct fg_span name);
size_t hw_device_id_size(const struct hw *hw, struct fg_span name);

/** Returns NULL, or what is wrong with @name. */
const char *hw_device_name_fault(const struct hw *hw, struct fg_span name);

/** Is @id what @name has by the rule? */
bool hw_is_by_rule(const struct hw *hw, struct fg_span id, struct fg_span name);

/**
 * The name here of the device IoTDA calls @id; an empty one, or that of the connected device, gives the
 * only device of `device`, or none: the connected device itself. Points into @id, the options or the
 * table. Returns false when it is none of ours.
 */
bool hw_device_called(const struct hw *hw, struct fg_span id, struct fg_span *ret);

/* ------------------------------------------------------------------ report.c */

/** Take message @i into the report if there is room. Returns what is next; *@ret with
 * HW_STEP_PUBLISHED. */
enum hw_step hw_take_properties(struct hw_call *call, size_t i, int *ret);

/** Publish what was taken. Returns 1 or -EINVAL. */
int hw_publish_report(struct hw_call *call);

/** An event travels alone. */
enum hw_step hw_take_event(struct hw_call *call, size_t i, int *ret);

/** A message that is no JSON object travels as a text, alone. */
enum hw_step hw_take_text(struct hw_call *call, size_t i, int *ret);

/* ------------------------------------------------------------------ commands.c */

/** May @text stand in the id of a command: harmless bytes wherever the host shows it, not too many? */
bool hw_is_plain(struct fg_span text);

/**
 * Whom @object is for, by its object_device_id: *@ret is the name of the device here, in @out of
 * HW_DEVICE_ID_MAX bytes, or empty for the connected device itself. Returns false when that is none of
 * ours.
 */
bool hw_read_device(const struct hw *hw, struct fg_json_value object, char *out,
		    struct fg_span *ret);

/** A request with @id has come down. Returns 0 or -EPROTO. */
int hw_request_received(struct hw *hw, enum hw_request request, struct fg_span id,
			struct fg_span payload);

/** The final answer to a command. */
enum hw_step hw_take_response(struct hw_call *call, size_t i, int *ret);

/** Publish the next answer of the plugin's own. Returns 1, 0 or -EINVAL. */
int hw_publish_note(struct hw_call *call);

/* ------------------------------------------------------------------ messages.c */

/** Something on messages/down. Returns 0 or -EAGAIN: the disk has no room for it. */
int hw_message_received(struct hw *hw, const struct fg_delivery *delivery);

/* ------------------------------------------------------------------ shadow.c */

/** A field device asks for something: message @i. */
enum hw_step hw_take_request(struct hw_call *call, size_t i, int *ret);

/** It is not asked: the device is told @what is wrong, and message @i is done with. */
enum hw_step hw_decline(struct hw_call *call, size_t i, const char *code, const char *what);

/** Answer request @ref with an error; @code and @what are plain texts. */
void hw_respond_error(struct hw *hw, struct fg_span ref, const char *code, const char *what);

/** The answer to question @request_id. Returns 0 or -EPROTO. */
int hw_shadow_received(struct hw *hw, const char *request_id, struct fg_span payload);

/** The session has ended: nothing is waited for. */
void hw_shadow_forget(struct hw *hw);

/* ------------------------------------------------------------------ time_sync.c */

/** A session is up; it has ended. */
void hw_time_sync_begin(struct hw *hw);
void hw_time_sync_end(struct hw *hw);

/** Publish the question for the time, when it is due. Returns 1, 0 or -EINVAL. */
int hw_publish_time_sync(struct hw_call *call);

/** See events.c. */
int hw_time_sync_event(struct hw *hw, const struct hw_event *event);

/* ------------------------------------------------------------------ status.c */

/** Publish the status of sub-devices that are untold. Returns 1, 0 or -EINVAL. */
int hw_publish_untold(struct hw_call *call);

/**
 * May message @i go out? If IoTDA does not have its device yet, or its status goes first, it waits, and
 * so does what follows of it; when there is no use in waiting, it is refused.
 */
bool hw_is_announced(struct hw_call *call, size_t i);

/** A device comes or goes: publish that, with those that follow. */
enum hw_step hw_take_presence(struct hw_call *call, size_t i, int *ret);

/** By HTTPS that is not told. */
void hw_leave_presence(struct hw_call *call, size_t i);

/** IoTDA shows @device online: it was, when nobody has been heard of it in this run. */
void hw_shown_online(struct hw *hw, struct hw_device *device);

/** Those have been silent for long enough: they are not there. */
void hw_tell_silent(struct hw *hw);

/** IoTDA has answered an event with statuses. */
void hw_status_response(struct hw *hw, struct fg_json_value paras);

/** There is no room in the table: say so, once. */
void hw_warn_full(struct hw *hw);

/* ------------------------------------------------------------------ topology.c */

/** What the last run has kept is known. */
void hw_topology_open(struct hw *hw);

/** A session begins; events fit into its packets when it @is_roomy. Or it ends. */
void hw_topology_begin(struct hw *hw, bool is_roomy);
void hw_topology_end(struct hw *hw);

/** Each second of a session. */
void hw_topology_tick(struct hw *hw);

/** Ask IoTDA for its list when that is due. Returns 1, 0 or -EINVAL. */
int hw_publish_sync(struct hw_call *call);
void hw_sync_settled(struct hw *hw, bool is_accepted);

/** IoTDA has added sub-devices for this gateway, which its list has now. */
void hw_topology_has_grown(struct hw *hw);

/** An event about sub-devices. Returns 0 or -EPROTO. */
int hw_manager_event(struct hw *hw, const struct hw_event *event);

/** Has IoTDA not named the sub-device called @name yet, and may do so any moment? */
bool hw_is_awaited(const struct hw *hw, struct fg_span name);

/** May what a sub-device says go out now, is it to wait, to wait as long as no other one has to wait for
 * that, or to be refused? @device NULL: it is not in the table. One that is not known in IoTDA is going to
 * be added there. */
enum hw_gate { HW_GATE_OPEN, HW_GATE_WAIT, HW_GATE_ASIDE, HW_GATE_SHUT };
enum hw_gate hw_gate(struct hw *hw, struct hw_device *device);

/** Refuse message @i of @device, for which the gate is shut. */
void hw_refuse_shut(struct hw_call *call, size_t i, const struct hw_device *device);

/** IoTDA has named a sub-device: {"device_id":"…","node_id":"…"}. Returns 0 or -EPROTO. */
int hw_device_named(struct hw *hw, struct fg_json_value entry);

/** A sub-device was deleted in IoTDA. Returns 0 or -EPROTO. */
int hw_device_deleted(struct hw *hw, struct fg_json_value entry);

/** The device id or node id called @name in @object, to @out of HW_DEVICE_ID_MAX bytes. */
bool hw_read_id(struct fg_json_value object, const char *name, char *out, struct fg_span *ret);

/** The device id of a list's entry, which has it as "device_id" or is it itself. */
bool hw_read_entry(struct fg_json_value entry, char *out, struct fg_span *ret);

/** @take each entry of the list @name, if there is one. Returns 0, or -EPROTO when something in it makes
 * no sense. */
int hw_each(struct hw *hw, struct fg_json_value paras, const char *name,
	    int (*take)(struct hw *hw, struct fg_json_value entry));

/* ------------------------------------------------------------------ adding.c */

/** A session begins, or ends. */
void hw_adding_begin(struct hw *hw);
void hw_adding_tick(struct hw *hw);

/** The gate of a device that is to be added: HW_WANTED or HW_ASKED. */
enum hw_gate hw_adding_gate(const struct hw *hw, const struct hw_device *device);

/** Ask IoTDA to add sub-devices that are wanted. Returns 1, 0 or -EINVAL. */
int hw_publish_add(struct hw_call *call);

/** That request has arrived, or was refused. */
void hw_add_settled(struct hw *hw, bool is_accepted);

/** IoTDA has answered it. Returns 0 or -EPROTO. */
int hw_add_response(struct hw *hw, const struct hw_event *event);

/** The "error_code" of @entry: letters, digits, '_', '-' and '.', as in IOTDA.014000. Anything else is
 * not for a log, and counts as none. */
bool hw_read_error_code(struct fg_json_value entry, char *out, size_t size, struct fg_span *ret);

/* ------------------------------------------------------------------ deleting.c */

/** A device asks to be deleted. */
enum hw_step hw_take_delete(struct hw_call *call, size_t i, int *ret);

/** IoTDA has answered that. Returns 0 or -EPROTO. */
int hw_delete_response(struct hw *hw, const struct hw_event *event);

/** The session has ended. */
void hw_deletions_forget(struct hw *hw);
