#pragma once

/*
 * For `payload: protobuf`: what the plugin has to say is made as JSON, and becomes protobuf here, as
 * the last thing; what comes down becomes JSON first. So there is one set of rules for both. Gateway
 * API, questions and claims have fixed messages; telemetry, attributes and commands of a device with
 * its own token have those of its device profile.
 */
#include "schema.h"
#include "topics.h"

struct tb_protobuf {
	const struct tb_schema *telemetry, *attributes, *rpc_request, *rpc_response;
	char *json; /* of json_size bytes */
	size_t json_size;
	bool has_warned; /* of values no schema has a field for */
};

/** How much of a packet JSON may fill so that the same in protobuf surely fits, in eighths. The worst
 * is {"a":-1,…}: seven bytes a value, and eighteen as KeyValueProto. */
#define TB_PROTOBUF_EIGHTHS 3

/** The same for what is no telemetry and no attributes: at most so much is added. */
#define TB_PROTOBUF_OVERHEAD 16

/** The messages of a new device profile. Returns 0 or -ENOMEM. */
int tb_protobuf_open(struct tb_protobuf *p, size_t max_packet_bytes);
void tb_protobuf_close(struct tb_protobuf *p);

/**
 * Turn the JSON in @payload, *@size of @max bytes, into the message that @topic carries. Adds what
 * has no place in that to *@ret_dropped. Returns 0; -ENODATA when nothing is left; -EMSGSIZE when it
 * does not fit.
 */
int tb_protobuf_up(struct tb_protobuf *p, enum tb_topic topic, char *payload, size_t *size,
		   size_t max, unsigned *ret_dropped);

/**
 * Tell @deliver what @message on @topic says, as JSON; twice when it sets and deletes attributes.
 * Returns what @deliver does, or -EPROTO.
 */
int tb_protobuf_down(struct tb_protobuf *p, enum tb_topic topic, struct fg_span message,
		     int (*deliver)(void *arg, struct fg_span json), void *arg);
