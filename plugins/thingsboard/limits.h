#pragma once

/*
 * ThingsBoard's own limits, as getSessionLimits tells them after each connect. How the server counts:
 *
 *	regular messages   everything but telemetry and attributes; a connect counts twice
 *	telemetry messages telemetry and attributes; in the gateway API each device in a publish is one
 *	data points        the values in them
 *
 * The host counts publishes, and data points as the plugin says. So what a publish costs in the gateway
 * API is said as data points: each device in it for `weight` of them, or the values, whichever is more.
 * Both limits are then kept, and little is given away. That a connect counts twice is kept here.
 *
 * `rateLimits` are those of the connected device, `gatewayRateLimits` those of all its sub-devices
 * together: no sub-device limits, no gateway.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tb_limits {
	bool is_wanted;     /* to be asked for in this session */
	bool is_never_told; /* the server knows nothing of it */
	uint32_t hold_until_s;
	uint32_t shut_s;         /* since when the gate is shut */
	size_t max_packet_bytes; /* 0: not told */

	size_t weight;             /* 0: telemetry messages are not limited */
	bool counts_points;        /* data points are */
	size_t max_message_points; /* SIZE_MAX: no limit */

	/* Connects, in thousandths: what there is, what comes in a second, and at most. 0: no limit. */
	uint64_t connects, connects_a_second, max_connects;
};

/** What a publish with @n_points of @n_groups devices (0 in the device API) costs in data points. */
static inline size_t tb_limits_cost(const struct tb_limits *limits, size_t n_groups,
				    size_t n_points)
{
	size_t messages = n_groups * limits->weight;

	if (limits->weight > 0 && !limits->counts_points)
		return messages;
	return n_points > messages ? n_points : messages;
}
