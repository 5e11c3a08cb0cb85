#include "common/packet.h"

#include <string.h>

/* PUBLISH at QoS 1: length of the topic, packet id (MQTT 3.1.1, 3.3.2). */
#define PUBLISH_OVERHEAD 4u

/* MQTT 5, 3.3.2.3.1: the Property Length of no properties. */
#define PROPERTIES_OVERHEAD 1u

size_t fg_remaining_length(size_t packet_bytes)
{
	size_t n_length_bytes = 1, largest = 127;

	if (packet_bytes == 0)
		return 0;
	while (n_length_bytes < 4 && packet_bytes > 1 + n_length_bytes + largest) {
		n_length_bytes++;
		largest = largest << 7 | 127;
	}
	return packet_bytes > 1 + n_length_bytes ? packet_bytes - 1 - n_length_bytes : 1;
}

size_t fg_least_limit(size_t a, size_t b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

size_t fg_payload_limit(const struct fg_publish *out, const char *topic, unsigned mqtt_version,
			size_t remaining_length)
{
	size_t overhead = PUBLISH_OVERHEAD + strlen(topic);
	size_t limit = fg_least_limit(remaining_length, out->max_packet_bytes);

	if (mqtt_version >= 5)
		overhead += PROPERTIES_OVERHEAD;
	if (limit == 0 || limit >= overhead + out->payload_size)
		return out->payload_size;
	return limit > overhead ? limit - overhead : 0;
}
