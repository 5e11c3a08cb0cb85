#include "cloud.h"

int tb_outcome_answer(struct tb_cloud *cloud, struct tb_session *s, enum tb_outcome outcome,
		      const char **ret_words)
{
	bool is_5 = s->version == 5, is_acked = cloud->faults.ack_limited;

	switch (outcome) {
	case TB_TAKEN:
		*ret_words = "PUBACK";
		return MOSQ_ERR_SUCCESS;
	case TB_MALFORMED:
		*ret_words = is_5 ? "PUBACK 0x87" : "close";
		return is_5 ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_UNKNOWN;
	case TB_UNUSABLE:
		s->kick_in = 1;
		*ret_words = is_5 ? "PUBACK 0x87, close" : "PUBACK, close";
		return MOSQ_ERR_ACL_DENIED;
	case TB_UNKNOWN_TOPIC:
		if (s->is_provisioning)
			s->kick_in = 1;
		*ret_words = is_5 ? "PUBACK 0x87" : "PUBACK";
		return MOSQ_ERR_ACL_DENIED;
	case TB_DEVICE_REFUSED:
		*ret_words = is_5 ? "PUBACK 0x87" : "PUBACK";
		return MOSQ_ERR_ACL_DENIED;
	case TB_LIMITED:
		s->kick_in = is_acked;
		*ret_words = !is_acked ? "close" : is_5 ? "PUBACK 0x87, close" : "PUBACK, close";
		return is_acked ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_UNKNOWN;
	case TB_TOO_LARGE:
		*ret_words = "close";
		return MOSQ_ERR_OVERSIZE_PACKET;
	case TB_SERVER_ERROR:
	case TB_NEVER_ACKED:
	case TB_DEVICE_LIMITED:
	case TB_DROPPED:
	default:
		*ret_words = "close";
		return MOSQ_ERR_UNKNOWN;
	}
}

const char *tb_outcome_words(enum tb_outcome outcome)
{
	static const char *const words[] = {
		[TB_TAKEN] = "taken",
		[TB_MALFORMED] = "malformed",
		[TB_UNUSABLE] = "nothing usable",
		[TB_SERVER_ERROR] = "the server trips over it",
		[TB_NEVER_ACKED] = "never acknowledged",
		[TB_UNKNOWN_TOPIC] = "unknown topic",
		[TB_TOO_LARGE] = "too large",
		[TB_DEVICE_REFUSED] = "device refused",
		[TB_LIMITED] = "rate limit",
		[TB_DEVICE_LIMITED] = "rate limit of the device API",
		[TB_DROPPED] = "dropped",
	};

	return words[outcome];
}
