#include <inttypes.h>

#include "gateway_internal.h"
#include "util/log.h"

static void log_broker(const struct fg_broker_client *b)
{
	struct fg_broker_client_stats s;

	fg_broker_client_get_stats(b, &s);
	fg_notice("broker %s: %s, received=%" PRIu64 " appended=%" PRIu64 " answers=%" PRIu64
		  " quarantined=%" PRIu64 " unmapped=%" PRIu64 " published=%" PRIu64,
		  fg_broker_client_name(b), s.is_online ? "online" : "offline", s.received,
		  s.messages, s.answers, s.quarantined, s.unmapped, s.published);
}

static void log_journal(const struct fg_journal *j)
{
	struct fg_journal_stats s;

	fg_journal_get_stats(j, &s);
	fg_notice("journal: records %" PRIu64 "..%" PRIu64 ", synced=%" PRIu64 " bytes=%" PRIu64
		  " commits=%" PRIu64 " written=%" PRIu64 " cursor_saves=%" PRIu64
		  " quarantined=%" PRIu64 " damaged=%" PRIu64 " refused=%" PRIu64,
		  s.first_seq, s.next_seq - 1, s.synced_seq, s.bytes_on_disk, s.commits,
		  s.bytes_written, s.cursor_saves, s.quarantine_records, s.damaged_records,
		  s.refused_records);
}

static void log_devices(const struct fg_presence *presence)
{
	struct fg_presence_stats s;

	fg_presence_get_stats(presence, &s);
	fg_notice("devices: known=%zu up=%zu down=%zu", s.known, s.up, s.down);
}

static void log_commands(const struct fg_command_desk *desk)
{
	struct fg_command_stats s;
	uint64_t errors = 0;

	fg_command_desk_get_stats(desk, &s);
	for (size_t i = 0; i < FG_N_COMMAND_ERRORS; i++)
		errors += s.errors[i];
	fg_notice("commands: open=%u received=%" PRIu64 " answered=%" PRIu64 " done=%" PRIu64
		  " failed=%" PRIu64 " duplicates=%" PRIu64 " late=%" PRIu64,
		  s.open, s.received, s.answered, s.done, errors, s.duplicates, s.late);
}

static void log_images(const struct fg_images *images)
{
	struct fg_images_stats s;

	fg_images_get_stats(images, &s);
	if (s.known > 0)
		fg_notice("images: known=%u queued=%u fetching=%u ready=%u handed=%u updated=%u "
			  "failed=%u",
			  s.known, s.queued, s.fetching, s.ready, s.handed, s.updated, s.failed);
}

static void log_link(const struct fg_link *link)
{
	struct fg_link_stats s;

	fg_link_get_stats(link, &s);
	fg_notice("link %s: %s, backlog=%" PRIu64 " alarm_backlog=%" PRIu64 " published=%" PRIu64
		  " acked=%" PRIu64 " quarantined=%" PRIu64 " values_dropped=%" PRIu64
		  " commands=%" PRIu64 " deleted=%" PRIu64 " lost=%" PRIu64 " lost_limit=%" PRIu64
		  " lost_age=%" PRIu64 " lost_own_limit=%" PRIu64 " lost_full=%" PRIu64
		  " lost_damaged=%" PRIu64 " sessions=%" PRIu64,
		  fg_link_name(link), fg_link_state_name(s.state), s.backlog, s.alarm_backlog,
		  s.published, s.records_acked, s.quarantined, s.values_dropped, s.commands,
		  s.deleted, s.lost, s.losses[FG_LOSS_LIMIT], s.losses[FG_LOSS_AGE],
		  s.losses[FG_LOSS_OWN_LIMIT], s.losses[FG_LOSS_FULL], s.losses[FG_LOSS_DAMAGED],
		  s.sessions);
	if (s.n_sessions_by_http > 0)
		fg_notice("link %s: MQTT is blocked, %u of %u sessions send by HTTP",
			  fg_link_name(link), s.n_sessions_by_http, s.n_sessions_open);
	if (s.n_sessions_open > 1)
		fg_notice("link %s: of %u sessions %u are online, %" PRIu64 " behind the others",
			  fg_link_name(link), s.n_sessions_open, s.n_sessions_online, s.behind);
}

void fg_gateway_log_status(struct fg_gateway *g)
{
	for (size_t i = 0; i < g->config->n_brokers; i++)
		if (g->brokers[i])
			log_broker(g->brokers[i]);
	log_journal(g->journal);
	log_devices(g->presence);
	log_commands(g->desk);
	log_images(g->images);
	for (size_t i = 0; i < g->config->n_clouds; i++)
		if (g->clouds[i].link)
			log_link(g->clouds[i].link);
}
