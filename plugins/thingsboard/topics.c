#include "topics.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name, *short_name;
	bool has_number;
} topics[TB_N_TOPICS] = {
	[TB_TELEMETRY] = {"v1/devices/me/telemetry", "v2/t", false},
	[TB_ATTRIBUTES] = {"v1/devices/me/attributes", "v2/a", false},
	[TB_ATTRIBUTES_REQUEST] = {"v1/devices/me/attributes/request", "v2/a/req", true},
	[TB_ATTRIBUTES_RESPONSE] = {"v1/devices/me/attributes/response", "v2/a/res", true},
	[TB_RPC_REQUEST] = {"v1/devices/me/rpc/request", "v2/r/req", true},
	[TB_RPC_RESPONSE] = {"v1/devices/me/rpc/response", "v2/r/res", true},
	[TB_CLAIM] = {"v1/devices/me/claim", NULL, false},
	[TB_GATEWAY_TELEMETRY] = {"v1/gateway/telemetry", NULL, false},
	[TB_GATEWAY_ATTRIBUTES] = {"v1/gateway/attributes", NULL, false},
	[TB_GATEWAY_ATTRIBUTES_REQUEST] = {"v1/gateway/attributes/request", NULL, false},
	[TB_GATEWAY_ATTRIBUTES_RESPONSE] = {"v1/gateway/attributes/response", NULL, false},
	[TB_GATEWAY_RPC] = {"v1/gateway/rpc", NULL, false},
	[TB_GATEWAY_CLAIM] = {"v1/gateway/claim", NULL, false},
	[TB_GATEWAY_CONNECT] = {"v1/gateway/connect", NULL, false},
	[TB_GATEWAY_DISCONNECT] = {"v1/gateway/disconnect", NULL, false},
	[TB_PROVISION_REQUEST] = {"/provision/request", NULL, false},
	[TB_PROVISION_RESPONSE] = {"/provision/response", NULL, false},
};

const char *tb_topic_name(enum tb_topic topic, bool is_short)
{
	return is_short && topics[topic].short_name ? topics[topic].short_name : topics[topic].name;
}

void tb_topic_filter(enum tb_topic topic, bool is_short, char *out)
{
	snprintf(out, TB_TOPIC_SIZE, "%s%s", tb_topic_name(topic, is_short),
		 topics[topic].has_number ? "/+" : "");
}

/* "/12" behind a name. Leading zeros are not the server's. */
static bool read_number(const char *at, uint32_t *ret)
{
	uint64_t n = 0;

	if (*at++ != '/' || *at < '0' || *at > '9' || (*at == '0' && at[1]))
		return false;
	for (; *at >= '0' && *at <= '9' && n <= INT32_MAX; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	*ret = (uint32_t)n;
	return !*at && n <= INT32_MAX;
}

static bool is_topic(const char *name, const char *topic, bool has_number, uint32_t *ret_number)
{
	size_t n = topic ? strlen(topic) : 0;

	if (n == 0 || strncmp(name, topic, n) != 0)
		return false;
	return has_number ? read_number(name + n, ret_number) : !name[n];
}

bool tb_topic_parse(const char *name, enum tb_topic *ret, uint32_t *ret_number)
{
	*ret_number = 0;
	for (enum tb_topic t = 0; t < TB_N_TOPICS; t++) {
		if (is_topic(name, topics[t].name, topics[t].has_number, ret_number) ||
		    is_topic(name, topics[t].short_name, topics[t].has_number, ret_number)) {
			*ret = t;
			return true;
		}
	}
	return false;
}
