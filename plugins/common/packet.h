#pragma once

/*
 * What the size of an MQTT packet leaves for a payload, and the reason codes of a PUBACK: the part of
 * MQTT that a plugin has to know although it never sees a packet.
 */
#include "fieldgate/plugin.h"

/** MQTT 5, 2.4: how a server can answer a publish. From UNSPECIFIED on, it has not taken it. */
enum fg_reason {
	FG_REASON_UNSPECIFIED = 0x80,
	FG_REASON_NOT_AUTHORIZED = 0x87,
	FG_REASON_TOPIC_NAME_INVALID = 0x90,
	FG_REASON_PACKET_TOO_LARGE = 0x95,
	FG_REASON_QUOTA_EXCEEDED = 0x97,
	FG_REASON_PAYLOAD_FORMAT_INVALID = 0x99,
	FG_REASON_CONNECTION_RATE_EXCEEDED = 0x9f,
};

/**
 * The largest Remaining Length of a packet of @packet_bytes in all, which is what a Maximum Packet
 * Size counts (MQTT 5, 3.2.2.3.6); at least 1. With 0, no limit, it is 0.
 */
size_t fg_remaining_length(size_t packet_bytes);

/** The smaller of two limits, of which 0 means that there is none. */
size_t fg_least_limit(size_t a, size_t b);

/**
 * Bytes of payload that fit into @out in a PUBLISH at QoS 1 on @topic, with no properties, when its
 * Remaining Length is bound to @remaining_length (0: not bound) and to what @out says; 0 when not
 * even the topic fits.
 */
size_t fg_payload_limit(const struct fg_publish *out, const char *topic, unsigned mqtt_version,
			size_t remaining_length);
