#include "net/mqtt_params.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <mqtt_protocol.h>

int fg_mqtt_params_copy(const struct fg_mqtt_params *params, struct fg_mqtt_params *ret)
{
	*ret = *params;
	ret->host = strdup(params->host);
	ret->client_id = strdup(params->client_id);
	ret->username = params->username ? strdup(params->username) : NULL;
	ret->password = params->password ? strdup(params->password) : NULL;
	if (!ret->host || !ret->client_id || (params->username && !ret->username) ||
	    (params->password && !ret->password))
		return -ENOMEM;
	return 0;
}

void fg_mqtt_params_release(struct fg_mqtt_params *params)
{
	free((char *)params->host);
	free((char *)params->client_id);
	free((char *)params->username);
	if (params->password)
		explicit_bzero((char *)params->password, strlen(params->password));
	free((char *)params->password);
}

static int set_options(struct mosquitto *mosq, const struct fg_mqtt_params *p)
{
	int rc = mosquitto_int_option(mosq, MOSQ_OPT_PROTOCOL_VERSION,
				      p->mqtt_version == 5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);

	/* PUBACKs are four bytes; Nagle would hold them for the peer's delayed acknowledgement. */
	rc |= mosquitto_int_option(mosq, MOSQ_OPT_TCP_NODELAY, 1);
	/* The owner keeps the window; the library must not queue behind it. */
	rc |= mosquitto_int_option(mosq, MOSQ_OPT_SEND_MAXIMUM, 65535);
	rc |= mosquitto_int_option(mosq, MOSQ_OPT_RECEIVE_MAXIMUM,
				   p->receive_maximum ? (int)p->receive_maximum : 65535);
	if (p->tls) {
		rc |= mosquitto_void_option(mosq, MOSQ_OPT_SSL_CTX, fg_tls_context(p->tls));
		/* The material is in there; by default the library wants to add some of its own. */
		rc |= mosquitto_int_option(mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0);
	}
	if (p->username)
		rc |= mosquitto_username_pw_set(mosq, p->username, p->password);
	/* So that CONNECT is queued, and not written on the thread that connects. */
	rc |= mosquitto_threaded_set(mosq, true);
	return rc == MOSQ_ERR_SUCCESS ? 0 : -EINVAL;
}

int fg_mqtt_params_make(const struct fg_mqtt_params *params, void *arg, struct mosquitto **ret)
{
	struct mosquitto *mosq = mosquitto_new(params->client_id, params->clean_start, arg);
	int r;

	if (!mosq)
		return errno == ENOMEM ? -ENOMEM : -EINVAL;
	r = set_options(mosq, params);
	if (r < 0) {
		mosquitto_destroy(mosq);
		return r;
	}
	*ret = mosq; /* the caller owns it now */
	return 0;
}

int fg_mqtt_params_connect(const struct fg_mqtt_params *params, struct mosquitto *mosq)
{
	mosquitto_property *properties = NULL;
	int rc, saved_errno;

	if (params->mqtt_version == 5) {
		if (params->receive_maximum)
			mosquitto_property_add_int16(&properties, MQTT_PROP_RECEIVE_MAXIMUM,
						     (uint16_t)params->receive_maximum);
		if (params->session_expiry_s)
			mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
						     params->session_expiry_s);
		if (params->max_packet_bytes)
			mosquitto_property_add_int32(&properties, MQTT_PROP_MAXIMUM_PACKET_SIZE,
						     (uint32_t)params->max_packet_bytes);
	}
	errno = 0;
	/* Blocking, since only that tries all addresses of a name in turn. */
	rc = mosquitto_connect_bind_v5(mosq, params->host, params->port, (int)params->keep_alive_s,
				       NULL, properties);
	saved_errno = errno;
	mosquitto_property_free_all(&properties);
	errno = saved_errno;
	return rc;
}
