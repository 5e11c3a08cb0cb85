#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/server.h"
#include "gateway_internal.h"
#include "util/cleanup.h"
#include "util/clock.h"

/* ---- status */

static void add_gateway(struct fg_control_call *call, const struct fg_gateway *g)
{
	struct fg_object *o = fg_control_line(call);

	fg_object_add_string(o, "what", "gateway");
	fg_object_add_string(o, "name", g->config->name);
	fg_object_add_string(o, "version", FG_VERSION);
	fg_object_add_uint(o, "uptime_s",
			   (uint64_t)(fg_clock_monotonic_ms() - g->started_ms) / 1000);
	fg_object_add_bool(o, "is_without_clock", !fg_timekeeper_is_known(g->timekeeper));
	fg_control_line_end(call);
}

static void add_journal(struct fg_control_call *call, const struct fg_gateway *g)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_journal_stats s;

	fg_journal_get_stats(g->journal, &s);
	fg_object_add_string(o, "what", "journal");
	if (g->is_stuck) {
		fg_object_add_string(o, "state", "stuck");
		fg_object_add_string(o, "why", g->stuck_why);
	}
	fg_object_add_uint(o, "first_seq", s.first_seq);
	fg_object_add_uint(o, "next_seq", s.next_seq);
	fg_object_add_uint(o, "synced_seq", s.synced_seq);
	fg_object_add_uint(o, "alarm_next_seq", s.alarm_next_seq);
	fg_object_add_uint(o, "alarm_synced_seq", s.alarm_synced_seq);
	fg_object_add_uint(o, "bytes_on_disk", s.bytes_on_disk);
	fg_object_add_uint(o, "commits", s.commits);
	fg_object_add_uint(o, "bytes_written", s.bytes_written);
	fg_object_add_uint(o, "quarantine_records", s.quarantine_records);
	fg_object_add_uint(o, "damaged_records", s.damaged_records);
	fg_object_add_uint(o, "refused_records", s.refused_records);
	fg_object_add_bool(o, "is_full", s.is_full);
	fg_control_line_end(call);
}

/* What an operator asks first of something that is not there. */
static void add_why(struct fg_object *o, const char *why, int64_t retry_ms)
{
	if (why)
		fg_object_add_string(o, "why", why);
	if (retry_ms > 0)
		fg_object_add_uint(o, "retry_ms", (uint64_t)retry_ms);
}

static void add_broker(struct fg_control_call *call, const struct fg_broker_client *b)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_broker_client_stats s;

	fg_broker_client_get_stats(b, &s);
	fg_object_add_string(o, "what", "broker");
	fg_object_add_string(o, "name", fg_broker_client_name(b));
	fg_object_add_string(o, "state", s.is_online ? "online" : "offline");
	add_why(o, s.why, s.retry_ms);
	fg_object_add_uint(o, "received", s.received);
	fg_object_add_uint(o, "appended", s.messages);
	fg_object_add_uint(o, "answers", s.answers);
	fg_object_add_uint(o, "quarantined", s.quarantined);
	fg_object_add_uint(o, "unmapped", s.unmapped);
	fg_object_add_uint(o, "published", s.published);
	fg_control_line_end(call);
}

static const char *const loss_names[FG_N_LOSSES] = {
	[FG_LOSS_LIMIT] = "lost_limit",         [FG_LOSS_AGE] = "lost_age",
	[FG_LOSS_OWN_LIMIT] = "lost_own_limit", [FG_LOSS_FULL] = "lost_full",
	[FG_LOSS_DAMAGED] = "lost_damaged",
};

/* Where it connects to now, which the cloud may have named. */
static void add_address(struct fg_object *o, const struct fg_address *address)
{
	char text[FG_HOST_MAX_BYTES + sizeof("[]:65535")];
	bool is_v6;

	if (!address)
		return;
	is_v6 = strchr(address->host, ':');
	snprintf(text, sizeof(text), "%s%s%s:%u", is_v6 ? "[" : "", address->host, is_v6 ? "]" : "",
		 address->port);
	fg_object_add_string(o, "address", text);
}

static void add_link(struct fg_control_call *call, const struct fg_link *link)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_link_stats s;

	fg_link_get_stats(link, &s);
	fg_object_add_string(o, "what", "link");
	fg_object_add_string(o, "name", fg_link_name(link));
	fg_object_add_string(o, "state", fg_link_state_name(s.state));
	add_why(o, s.why, s.retry_ms);
	add_address(o, s.address);
	fg_object_add_uint(o, "sessions_open", s.n_sessions_open);
	fg_object_add_uint(o, "sessions_online", s.n_sessions_online);
	fg_object_add_uint(o, "sessions_by_http", s.n_sessions_by_http);
	fg_object_add_uint(o, "behind", s.behind);
	fg_object_add_uint(o, "backlog", s.backlog);
	fg_object_add_uint(o, "alarm_backlog", s.alarm_backlog);
	fg_object_add_uint(o, "published", s.published);
	fg_object_add_uint(o, "records_acked", s.records_acked);
	fg_object_add_uint(o, "quarantined", s.quarantined);
	fg_object_add_uint(o, "values_dropped", s.values_dropped);
	fg_object_add_uint(o, "commands", s.commands);
	fg_object_add_uint(o, "deleted", s.deleted);
	fg_object_add_uint(o, "lost", s.lost);
	for (int i = 0; i < FG_N_LOSSES; i++)
		fg_object_add_uint(o, loss_names[i], s.losses[i]);
	fg_control_line_end(call);
}

static void add_devices(struct fg_control_call *call, const struct fg_presence *presence)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_presence_stats s;

	fg_presence_get_stats(presence, &s);
	fg_object_add_string(o, "what", "devices");
	fg_object_add_uint(o, "known", s.known);
	fg_object_add_uint(o, "up", s.up);
	fg_object_add_uint(o, "down", s.down);
	fg_control_line_end(call);
}

static void add_commands(struct fg_control_call *call, const struct fg_command_desk *desk)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_command_stats s;

	fg_command_desk_get_stats(desk, &s);
	fg_object_add_string(o, "what", "commands");
	fg_object_add_uint(o, "open", s.open);
	for (int i = 0; i < FG_N_COMMAND_STATES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s", fg_command_state_word((enum fg_command_state)i));
		for (char *at = name; *at; at++)
			*at = *at == ' ' ? '_' : *at;
		fg_object_add_uint(o, name, s.states[i]);
	}
	fg_object_add_uint(o, "received", s.received);
	fg_object_add_uint(o, "answered", s.answered);
	fg_object_add_uint(o, "without_answer", s.done);
	fg_object_add_uint(o, "duplicates", s.duplicates);
	fg_object_add_uint(o, "late", s.late);
	fg_control_line_end(call);
}

static void add_images(struct fg_control_call *call, const struct fg_images *images)
{
	struct fg_object *o = fg_control_line(call);
	struct fg_images_stats s;

	fg_images_get_stats(images, &s);
	fg_object_add_string(o, "what", "images");
	fg_object_add_uint(o, "known", s.known);
	fg_object_add_uint(o, "queued", s.queued);
	fg_object_add_uint(o, "fetching", s.fetching);
	fg_object_add_uint(o, "ready", s.ready);
	fg_object_add_uint(o, "handed", s.handed);
	fg_object_add_uint(o, "updated", s.updated);
	fg_object_add_uint(o, "failed", s.failed);
	fg_control_line_end(call);
}

static void status(void *arg, struct fg_control_call *call, struct fg_json_value request)
{
	struct fg_gateway *g = arg;

	(void)request;
	add_gateway(call, g);
	add_journal(call, g);
	for (size_t i = 0; i < g->config->n_brokers; i++)
		if (g->brokers[i])
			add_broker(call, g->brokers[i]);
	add_devices(call, g->presence);
	add_commands(call, g->desk);
	add_images(call, g->images);
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link)
			add_link(call, g->clouds[i].link);
	fg_control_end(call, NULL);
}

static const struct fg_control_command commands[] = {
	{"status", status},
	{"quarantine_retry", fg_gateway_quarantine_retry},
	{"quarantine_drop", fg_gateway_quarantine_drop},
	{0},
};

/* ---- life */

static void client_gone(void *arg, struct fg_control_call *call)
{
	fg_gateway_quarantine_gone(arg, call);
}

int fg_gateway_open_control(struct fg_gateway *g, struct fg_error *err)
{
	struct fg_control_options options = {
		.loop = g->loop,
		.commands = commands,
		.gone = client_gone,
		.arg = g,
	};
	FG_CLEANUP(fg_free_p) char *path = NULL;

	if (fg_gateway_open_quarantine(g) < 0 ||
	    asprintf(&path, "%s/control", g->config->state_directory) < 0)
		return -ENOMEM;
	options.path = path;
	return fg_control_open(&options, &g->control, err);
}

void fg_gateway_close_control(struct fg_gateway *g)
{
	g->control = fg_control_free(g->control);
	fg_gateway_close_quarantine(g);
}
