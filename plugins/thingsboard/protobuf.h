#pragma once

/*
 * For `payload: protobuf`: what the plugin has to say is made as JSON, and becomes protobuf here, as
 * the last thing; what comes down becomes JSON first. So there is one set of rules for both. Gateway
 * API, questions and claims have fixed messages; telemetry, attributes and commands of a device with
 * its own token have those of its device profile.
 */
#include "descriptor.h"
#include "schema.h"
#include "topics.h"

/** The messages that a device profile says the schema of. */
enum tb_message {
	TB_MESSAGE_TELEMETRY,
	TB_MESSAGE_ATTRIBUTES,
	TB_MESSAGE_RPC,
	TB_MESSAGE_RPC_REPLY
};

struct tb_protobuf {
	const struct tb_schema *schemas[4]; /* enum tb_message */
	struct tb_descriptors *descriptors; /* NULL: the schemas are those of a new profile */
	char *json;                         /* of json_size bytes */
	size_t json_size;
	bool has_warned; /* of values no schema has a field for */
};

/** How much of a packet JSON may fill so that the same in protobuf surely fits, in eighths. The worst
 * is {"a":-1,…}: seven bytes a value, and eighteen as KeyValueProto. */
#define TB_PROTOBUF_EIGHTHS 3

/** The same for what is no telemetry and no attributes: at most so much is added. */
#define TB_PROTOBUF_OVERHEAD 16

/**
 * Have the device profile use the messages of @file, a compiled schema, with these @names (NULL: as in
 * a new profile; what it does not have under that name is as there). Returns NULL or what is wrong.
 */
const char *tb_protobuf_use(struct tb_protobuf *p, struct fg_span file, const char *const names[4]);

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
