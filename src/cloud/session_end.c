/*
 * What the end of a session by MQTT says, and what the log says of it.
 */
#include <syslog.h>

#include "cloud/cloud_session_internal.h"
#include "util/log.h"

/* Sessions this short, so many in a row, look like two clients that throw each other out. */
#define TAKEOVER_MS 5000
#define TAKEOVER_COUNT 3
/* MQTT 5, 2.4 */
#define BAD_USER_NAME_OR_PASSWORD 0x86

static enum fg_backoff_class refusal_class(unsigned mqtt_version, unsigned code)
{
	if (mqtt_version == 5)
		return code == 0x85 || code == 0x86 || code == 0x87 || code == 0x8a || code == 0x8c
			       ? FG_BACKOFF_CREDENTIALS
			       : FG_BACKOFF_TRANSIENT;
	return code == 2 || code == 4 || code == 5 ? FG_BACKOFF_CREDENTIALS : FG_BACKOFF_TRANSIENT;
}

enum fg_backoff_class fg_session_class(const struct fg_cloud_session *s,
				       const struct fg_mqtt_end *end)
{
	if (end->kind != FG_MQTT_END_REFUSED)
		return FG_BACKOFF_TRANSIENT;
	return refusal_class(s->common->mqtt_version, end->reason_code);
}

/* `mqtt_version: auto`: the server does not speak 5, or gave no sign of understanding it. */
static bool fall_back_to_311(struct fg_cloud_session *s, const struct fg_mqtt_end *end)
{
	struct fg_session_common *c = s->common;
	bool is_refused = end->kind == FG_MQTT_END_REFUSED &&
			  (end->reason_code == 0x84 || end->reason_code == 1);

	if (c->config->mqtt_version != FG_MQTT_AUTO)
		return false;
	if (c->mqtt_version == 5 && is_refused) {
		fg_notice("link %s: the server does not speak MQTT 5, using 3.1.1", s->label);
		c->mqtt_version = 4;
		return true;
	}
	/* Silence proves nothing: try the other version next time, without hurry. */
	if (c->is_version_proven)
		return false;
	if (end->kind == FG_MQTT_END_SILENT || end->kind == FG_MQTT_END_PROTOCOL)
		c->mqtt_version = c->mqtt_version == 5 ? 4 : 5;
	return false;
}

/*
 * Credentials that are made of the time may have been refused for it, and the clock may have been set
 * since: others are worth one attempt. More than one would be a loop.
 */
static bool may_try_anew(struct fg_cloud_session *s, const struct fg_mqtt_end *end)
{
	unsigned wrong = s->common->mqtt_version == 5 ? BAD_USER_NAME_OR_PASSWORD : 4;

	if (!s->is_timed || s->has_tried_anew || end->kind != FG_MQTT_END_REFUSED ||
	    end->reason_code != wrong)
		return false;
	s->has_tried_anew = true;
	fg_notice("link %s: %s; trying once more, with new ones", s->label, end->text);
	return true;
}

bool fg_session_may_go_on(struct fg_cloud_session *s, const struct fg_mqtt_end *end)
{
	return fall_back_to_311(s, end) || may_try_anew(s, end);
}

bool fg_session_is_suspicious(const struct fg_mqtt_end *end)
{
	if (!end->was_connected)
		return false;
	if (end->kind == FG_MQTT_END_LOST)
		return true;
	/* Not: server going down, keep alive, taken over, rate limits, administrative, moved. */
	return end->kind == FG_MQTT_END_DISCONNECT &&
	       (end->reason_code <= 0x83 || end->reason_code == 0x90 || end->reason_code == 0x95 ||
		end->reason_code == 0x99);
}

void fg_session_note_short(struct fg_cloud_session *s, const struct fg_mqtt_end *end,
			   int64_t now_ms)
{
	bool is_takeover = end->kind == FG_MQTT_END_DISCONNECT && end->reason_code == 0x8e;

	if (!end->was_connected)
		return;
	/* A reason code that names something else is believed. */
	if (is_takeover ||
	    (now_ms - s->online_since_ms < TAKEOVER_MS && end->kind == FG_MQTT_END_LOST))
		s->short_sessions++;
	else
		s->short_sessions = 0;
	if (is_takeover || s->short_sessions >= TAKEOVER_COUNT)
		fg_complain(&s->common->takeover_complaint, now_ms, LOG_ERR,
			    "link %s: accepted, then %s, %u times in a row: does another client "
			    "use the same credentials or client id?",
			    s->label,
			    is_takeover ? "thrown out by a new session" : "closed within seconds",
			    s->short_sessions);
}

void fg_session_complain(struct fg_cloud_session *s, const struct fg_mqtt_end *end,
			 enum fg_backoff_class class, int64_t delay_ms, unsigned in_flight,
			 int64_t now_ms)
{
	bool is_client_id = end->reason_code == (s->common->mqtt_version == 5 ? 0x85u : 2u);
	const char *what = is_client_id ? "configuration: the client id, or the keep alive, is not "
					  "accepted"
			   : s->is_timed ? "credentials, and the clock, by which they are made anew"
					 : "credentials";
	const char *when = s->is_setup ? ", setting itself up" : "";

	/* Someone must act: a complaint of its own, so that an outage before it does not hide it. */
	if (class == FG_BACKOFF_CREDENTIALS)
		fg_complain(&s->common->refusal_complaint, now_ms, LOG_ERR,
			    "link %s: %s%s; check its %s; trying again in %lld ms", s->label,
			    end->text, when, what, (long long)delay_ms);
	else
		fg_complain(&s->common->attempt_complaint, now_ms, LOG_WARNING,
			    "link %s: %s%s; reconnecting in %lld ms, in_flight=%u attempt=%u",
			    s->label, end->text, when, (long long)delay_ms, in_flight,
			    s->backoff.failures);
}

bool fg_session_is_proven(const struct fg_cloud_session *s, int64_t now_ms)
{
	if (s->is_setup)
		return false;
	return s->has_acks || now_ms - s->online_since_ms >= FG_BACKOFF_STABLE_MS;
}
