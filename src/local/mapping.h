#pragma once

/*
 * Mapping rules: what arrives on a topic becomes canonical messages. Rules are tried in the order
 * of the configuration and the first whose pattern matches decides. A payload that does not fit its
 * rule is refused with a reason, and the caller puts it into quarantine. Reasons are for an
 * operator and never hold anything of the payload but the type of a value.
 *
 * Payload `json`: `all` is the whole object, without the member that holds the time; selected members
 * are copied as the text they are, those that are missing are left out. Where `time` selects nothing
 * the time of arrival stands in; what it selects must be a time (timestamp.h), else the payload is
 * refused. The body is compact JSON. Payload `text`: {"<key>": value}; what is a JSON number (or NaN,
 * Infinity), true, false or null stays that, with no white space around it; any other UTF-8 becomes
 * a string. Payload `opaque`: telemetry whose body is the payload, of the type
 * application/octet-stream.
 *
 * `event`: the whole object as with `all`, {} when nothing is in it; msg.ref is the type.
 *
 * `presence`: body {"state":"up"} or {"state":"down"}. `request`: the stream is "attributes", "rpc" or
 * "claim", the body has the members of that kind (enum fg_request_kind) and no others. Its answer
 * goes to a topic that no request of the same rule comes on.
 *
 * The name of a device or key is 1..255 bytes of UTF-8 without control characters, no capture in it
 * is empty; that of a stream 0..255.
 */
#include "config/config.h"
#include "journal/journal.h"
#include "util/error.h"

struct fg_mapping;

/** What arrived, from whatever kind of source. */
struct fg_arrival {
	struct fg_span topic;
	struct fg_span payload;
	int64_t now_us;                             /* UTC at arrival */
	struct fg_span response_topic, correlation; /* MQTT 5, 3.3.2.3.5 and .6, or empty */
};

/** What a rule makes of an arrival. */
struct fg_mapped {
	struct fg_message msg; /* of a FG_REQUEST without its ref, of at most FG_REQUEST_REF_MAX */
	enum fg_lane lane;
	bool is_up; /* FG_PRESENCE: what the status topic says */
	/* FG_REQUEST: where the answer goes (the name of a topic), and how long the device waits for
	 * it; msg.link says whom it asks. */
	struct fg_span response_topic, correlation;
	int64_t timeout_ms;
};

/** Takes one, borrowed for the call. A negative errno ends the arrival. */
typedef int (*fg_mapping_emit)(void *arg, const struct fg_mapped *mapped);

/**
 * Compile the rules; config->max_message_bytes bounds a payload. On success the caller owns *@ret,
 * which keeps nothing of @config.
 * Returns 0, -ENOMEM, or -EINVAL: mistakes that only show here, all of them, are added to @report
 * with their place. A rule that comes too late to be ever reached is one.
 */
int fg_mapping_new(const struct fg_config *config, struct fg_report *report,
		   struct fg_mapping **ret);
struct fg_mapping *fg_mapping_free(struct fg_mapping *m);

/** The topic filters to subscribe, each once, in the order of the rules; they live as long as @m.
 */
size_t fg_mapping_filters(const struct fg_mapping *m, const char *const **ret_filters);

/**
 * An upper bound for the bytes that the messages made from a payload of @payload_bytes on a topic
 * of @topic_bytes take in the journal, or its quarantine, with their records' headers; the caller
 * asks the journal for that much room before it reads a packet.
 */
size_t fg_mapping_room(const struct fg_mapping *m, size_t topic_bytes, size_t payload_bytes);

/**
 * Apply the first rule that matches. Allocates nothing. At most one telemetry message is emitted,
 * and after it at most one with attributes; or one about presence; or one request.
 * Returns the number of messages emitted; 0 with ret_reason->text empty when the rule finds nothing
 * to report (an object without any of the selected members is refused, an empty object is nothing);
 * -ENOENT when no rule matches; -EPROTO and a sentence when the payload does not fit its rule
 * (nothing was emitted); or what @emit returned.
 */
int fg_mapping_apply(struct fg_mapping *m, const struct fg_arrival *arrival, fg_mapping_emit emit,
		     void *arg, struct fg_error *ret_reason);
