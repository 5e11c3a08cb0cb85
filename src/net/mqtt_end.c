#include "net/mqtt_end.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <mosquitto.h>

__attribute__((format(printf, 3, 4))) static void
end_as(struct fg_mqtt_end *end, enum fg_mqtt_end_kind kind, const char *format, ...)
{
	va_list args;

	end->kind = kind;
	va_start(args, format);
	vsnprintf(end->text, sizeof(end->text), format, args);
	va_end(args);
}

/* The end of TLS before CONNACK, of which OpenSSL has complained, or in silence. */
static void end_of_tls(const struct fg_mqtt_failure *f, struct fg_mqtt_end *end)
{
	/* As in "OpenSSL Error[0]: error:0A00045C:SSL routines::tlsv13 alert certificate required". */
	const char *alert = strstr(f->library_says, " alert ");

	if (!f->library_says[0])
		end_as(end, FG_MQTT_END_TLS, "TLS handshake: cut off; does it speak TLS?");
	else if (strstr(f->library_says, "wrong version number"))
		end_as(end, FG_MQTT_END_TLS,
		       "TLS handshake: the answer is not TLS; is the port right?");
	else if (alert)
		end_as(end, FG_MQTT_END_TLS, "refused by the peer's TLS: %s",
		       alert + strlen(" alert "));
	else
		end_as(end, FG_MQTT_END_TLS, "TLS: %s", f->library_says);
}

static void end_of_connection(const struct fg_mqtt_failure *f, struct fg_mqtt_end *end)
{
	if (f->was_connected)
		end_as(end, FG_MQTT_END_LOST, "closed by the peer");
	else if (f->is_tls && f->library_says[0])
		end_of_tls(f, end);
	else
		end_as(end, FG_MQTT_END_SILENT, "closed before CONNACK%s",
		       f->is_tls ? "" : "; does it expect TLS (mqtts://)?");
}

void fg_mqtt_end_of(const struct fg_mqtt_failure *f, struct fg_mqtt_end *ret)
{
	*ret = (struct fg_mqtt_end){.was_connected = f->was_connected};
	if (f->verify_error)
		end_as(ret, FG_MQTT_END_TLS, "certificate of %s: %s", f->host, f->verify_error);
	else if (f->rc == MOSQ_ERR_TLS)
		end_of_tls(f, ret);
	else if (f->rc == MOSQ_ERR_EAI)
		end_as(ret, FG_MQTT_END_UNREACHABLE, "name lookup of %s: %s", f->host,
		       gai_strerror(f->saved_errno));
	else if (f->rc == MOSQ_ERR_CONN_LOST)
		end_of_connection(f, ret);
	else if (f->rc == MOSQ_ERR_ERRNO && f->saved_errno == EPROTO && f->is_tls)
		/* What libmosquitto makes of all that OpenSSL says, the end of the stream included. */
		end_of_connection(f, ret);
	else if (f->rc == MOSQ_ERR_ERRNO)
		end_as(ret, f->was_connected ? FG_MQTT_END_LOST : FG_MQTT_END_UNREACHABLE,
		       "%s:%u: %s", f->host, f->port,
		       f->saved_errno ? strerror(f->saved_errno) : "connection failed");
	else if (f->rc == MOSQ_ERR_KEEPALIVE)
		end_as(ret, FG_MQTT_END_LOST, "no PINGRESP");
	else if (f->rc == MOSQ_ERR_PROTOCOL && !f->was_connected)
		end_as(ret, FG_MQTT_END_PROTOCOL,
		       "the answer is no sound MQTT; is the port right?");
	else
		end_as(ret, FG_MQTT_END_PROTOCOL, "%s", mosquitto_strerror(f->rc));
}

const char *fg_mqtt_connack_text(unsigned mqtt_version, unsigned code)
{
	static const char *const v311[] = {
		"accepted",           "unacceptable protocol version", "client id rejected",
		"server unavailable", "bad user name or password",     "not authorised",
	};

	if (mqtt_version != 5 || code < 0x80)
		return code < sizeof(v311) / sizeof(v311[0]) ? v311[code] : "unknown code";
	return fg_mqtt_reason_text(code);
}

const char *fg_mqtt_reason_text(unsigned reason_code)
{
	static const struct {
		unsigned code;
		const char *text;
	} names[] = {
		{0x80, "unspecified error"},
		{0x81, "malformed packet"},
		{0x82, "protocol error"},
		{0x83, "implementation specific error"},
		{0x84, "unsupported protocol version"},
		{0x85, "client identifier not valid"},
		{0x86, "bad user name or password"},
		{0x87, "not authorised"},
		{0x88, "server unavailable"},
		{0x89, "server busy"},
		{0x8a, "banned"},
		{0x8b, "server shutting down"},
		{0x8c, "bad authentication method"},
		{0x8d, "keep alive timeout"},
		{0x8e, "session taken over"},
		{0x8f, "topic filter invalid"},
		{0x90, "topic name invalid"},
		{0x91, "packet identifier in use"},
		{0x92, "packet identifier not found"},
		{0x93, "receive maximum exceeded"},
		{0x94, "topic alias invalid"},
		{0x95, "packet too large"},
		{0x96, "message rate too high"},
		{0x97, "quota exceeded"},
		{0x98, "administrative action"},
		{0x99, "payload format invalid"},
		{0x9a, "retain not supported"},
		{0x9b, "QoS not supported"},
		{0x9c, "use another server"},
		{0x9d, "server moved"},
		{0x9e, "shared subscriptions not supported"},
		{0x9f, "connection rate exceeded"},
		{0xa0, "maximum connect time"},
		{0xa1, "subscription identifiers not supported"},
		{0xa2, "wildcard subscriptions not supported"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].code == reason_code)
			return names[i].text;
	return reason_code < 0x80 ? "success" : "unknown reason code";
}
