#include "cloud/outbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/devices.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/span.h"

/* Records offered to the plugin at once: enough to fill a 64 KiB packet with short readings. */
#define WINDOW_RECORDS 512
/* Most payload bytes in flight while more than one publish is: libmosquitto holds a copy of each.
 */
#define MAX_IN_FLIGHT_BYTES (512 * 1024)
/* The largest publish a plugin can make; pages that are never touched cost nothing. */
#define PAYLOAD_BYTES (1024 * 1024 + 64 * 1024)
#define TOPIC_BYTES 65536
/* In front of what the Remaining Length counts: one byte, and up to four for the length itself. */
#define FIXED_HEADER_BYTES 5
/*
 * Packet ids have 16 bits and libmosquitto hands them out in turn, without a look at which are in
 * use. So many publishes after one that is still in flight we wait for it; the rest is for
 * SUBSCRIBE.
 */
#define MAX_PACKET_IDS 60000

/* After so many tries with the same record it is the record's fault. */
#define MAX_DROPS 3
#define MAX_BLAMED 5 /* doubles MAX_DROPS so often at most */
#define MAX_RETRIES 3
#define PAUSE_FIRST_MS 1000
#define PAUSE_MAX_MS 60000

/* Records in quarantine while older ones are on their way; when there are more, quarantine waits.
 */
#define MAX_ASIDE 256

/* Beyond enum fg_offer, ours: sent, no longer the plugin's business. */
#define STATE_SENT 4

struct fg_outbox {
	struct fg_outbox_options with;
	struct fg_inflight *inflight;
	unsigned limit; /* publishes in flight, in this session */
	size_t max_packet_bytes;
	bool has_acks; /* in this session: the cloud does acknowledge things */

	/* the window: records read and not all dealt with */
	struct fg_message messages[WINDOW_RECORDS];
	struct fg_span devices[WINDOW_RECORDS]; /* as the field calls them; messages have the
						   cloud's names */
	uint8_t states[WINDOW_RECORDS];
	size_t n, first_open; /* no state before first_open is FG_OFFERED */
	size_t max_read;
	uint64_t last_read;  /* the highest record ever read in this pass */
	bool waits_for_time; /* the next one does */

	/* the publish just made */
	bool is_made; /* handed out, and neither sent nor given up with its session */
	struct fg_publish publish;
	struct fg_inflight_entry entry;

	/* in quarantine, but its commit is still under way: the lowest, and the commit that has
	 * them all */
	uint64_t held_seq, held_ticket;
	/* in quarantine and above the watermark: not to be sent again when a session breaks */
	uint64_t aside[MAX_ASIDE];
	size_t n_aside;

	/* trouble */
	uint64_t retreat_seq; /* 0, or: read again from here once nothing is in flight */
	int64_t paused_until_ms;
	unsigned n_pauses;      /* in a row */
	uint64_t isolate_until; /* one record a publish, one publish at a time, up to here */
	uint64_t suspect_seq;   /* the record in flight when the session last broke */
	unsigned suspect_drops;
	unsigned
		n_blamed; /* records put aside for broken sessions since the last acknowledgement */
	uint64_t retried_seq;
	unsigned retries;
	uint64_t poison_seq; /* to be put into quarantine when it is read again */

	struct fg_complaint quarantine_complaint;
	struct fg_complaint nack_complaint;
	struct fg_outbox_stats stats;
};

static void outbox_freep(struct fg_outbox **o)
{
	fg_outbox_free(*o);
}

int fg_outbox_new(const struct fg_outbox_options *options, struct fg_outbox **ret)
{
	FG_CLEANUP(outbox_freep) struct fg_outbox *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return -ENOMEM;
	o->with = *options;
	/* Several windows must fit what a crash may re-send, or the link would wait for cursor
	 * saves. */
	o->max_read = options->max_unsaved / 4;
	if (o->max_read > WINDOW_RECORDS)
		o->max_read = WINDOW_RECORDS;
	if (o->max_read < 1)
		o->max_read = 1;
	r = fg_inflight_new(options->max_in_flight, &o->inflight);
	if (r < 0)
		return r;
	o->publish.topic = malloc(TOPIC_BYTES);
	o->publish.payload = malloc(PAYLOAD_BYTES);
	if (!o->publish.topic || !o->publish.payload)
		return -ENOMEM;
	o->last_read = fg_cursor_watermark(options->cursor);

	*ret = o; /* the caller owns it now */
	o = NULL;
	return 0;
}

struct fg_outbox *fg_outbox_free(struct fg_outbox *o)
{
	if (!o)
		return NULL;
	fg_inflight_free(o->inflight);
	free(o->publish.topic);
	free(o->publish.payload);
	free(o);
	return NULL;
}

/* ---- the window */

static void window_clear(struct fg_outbox *o)
{
	o->n = 0;
	o->first_open = 0;
}

static bool window_has_open(struct fg_outbox *o)
{
	while (o->first_open < o->n && o->states[o->first_open] != FG_OFFERED)
		o->first_open++;
	return o->first_open < o->n;
}

static void lower(uint64_t *lowest, uint64_t seq)
{
	if (seq && seq < *lowest)
		*lowest = seq;
}

/* Everything below the lowest record that is not settled, is. */
static void advance_watermark(struct fg_outbox *o)
{
	uint64_t lowest = o->last_read + 1;

	lower(&lowest, fg_inflight_lowest(o->inflight));
	lower(&lowest, o->held_seq);
	lower(&lowest, o->retreat_seq);
	if (o->is_made)
		lower(&lowest, o->entry.first_seq);
	if (window_has_open(o))
		lower(&lowest, o->messages[o->first_open].seq);
	fg_cursor_ack(o->with.cursor, lowest - 1);
	for (size_t i = 0; i < o->n_aside;) {
		if (o->aside[i] < lowest)
			o->aside[i] = o->aside[--o->n_aside];
		else
			i++;
	}
}

static bool is_aside(const struct fg_outbox *o, uint64_t seq)
{
	for (size_t i = 0; i < o->n_aside; i++)
		if (o->aside[i] == seq)
			return true;
	return false;
}

static void rewind_to(struct fg_outbox *o, uint64_t seq)
{
	window_clear(o);
	o->waits_for_time = false;
	fg_cursor_seek(o->with.cursor, seq);
	o->last_read = seq - 1;
	o->retreat_seq = 0;
}

/* How many of the @n records just read can go out: up to the first that waits for its time. */
static size_t count_with_time(const struct fg_outbox *o, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (o->messages[i].time_quality == FG_TIME_UNSYNCHRONISED)
			return fg_timekeeper_is_waiting(o->with.timekeeper) ? i : n;
	return n;
}

/* Read the next records and set those aside that this cloud does not get. Returns how many, or
 * -EIO. */
static int window_refill(struct fg_outbox *o)
{
	int n;

	window_clear(o);
	if (o->waits_for_time && fg_timekeeper_is_waiting(o->with.timekeeper))
		return 0;
	fg_cursor_seek(o->with.cursor, o->last_read + 1);
	n = fg_cursor_read(o->with.cursor, o->messages, o->max_read);
	if (n <= 0)
		return n;
	o->n = count_with_time(o, (size_t)n);
	o->waits_for_time = o->n == 0;
	if (o->waits_for_time)
		return 0;
	o->last_read = o->messages[o->n - 1].seq;
	for (size_t i = 0; i < o->n; i++) {
		struct fg_message *m = &o->messages[i];

		o->devices[i] = m->device;
		o->states[i] = FG_NOTHING;
		if (!is_aside(o, m->seq) && fg_devices_map(o->with.devices, m->device, &m->device))
			o->states[i] = FG_OFFERED;
	}
	return (int)o->n;
}

/* ---- quarantine */

/*
 * The record is settled once its copy in quarantine is on disk: it holds the watermark until then.
 * Returns 0, or -EAGAIN when the journal takes nothing now; the record then stays FG_OFFERED.
 */
static int quarantine(struct fg_outbox *o, size_t i, const char *reason, unsigned attempts,
		      int64_t now_ms)
{
	const struct fg_message *m = &o->messages[i];
	struct fg_quarantined q = {
		.link = fg_span_str(o->with.link_name),
		.reason = fg_span_str(reason),
		.device = o->devices[i],
		.stream = m->stream,
		.kind = (uint8_t)m->kind,
		.time_quality = (uint8_t)m->time_quality,
		.time_us = m->time_us,
		.attempts = attempts,
		.whole_size = m->body.size,
		.body = m->body,
	};
	int r = o->n_aside < MAX_ASIDE ? fg_journal_quarantine(o->with.journal, &q) : -EAGAIN;

	if (r < 0) {
		o->states[i] = FG_OFFERED;
		if (i < o->first_open)
			o->first_open = i;
		return r;
	}
	o->states[i] = FG_NOTHING;
	if (!o->held_seq || m->seq < o->held_seq)
		o->held_seq = m->seq;
	o->held_ticket = fg_journal_ticket(o->with.journal);
	o->aside[o->n_aside++] = m->seq;
	o->stats.quarantined++;
	fg_complain(&o->quarantine_complaint, now_ms, LOG_WARNING,
		    "link %s: record %llu of device %.*s cannot be sent: %s; put into quarantine",
		    o->with.link_name, (unsigned long long)m->seq, FG_SPAN_ARGS(o->devices[i]),
		    reason);
	return 0;
}

void fg_outbox_committed(struct fg_outbox *o, uint64_t ticket)
{
	if (!o->held_seq || ticket < o->held_ticket)
		return;
	o->held_seq = 0;
	advance_watermark(o);
}

/* ---- sessions */

void fg_outbox_session_begin(struct fg_outbox *o, unsigned receive_maximum, size_t max_packet_bytes)
{
	o->limit =
		receive_maximum < o->with.max_in_flight ? receive_maximum : o->with.max_in_flight;
	o->max_packet_bytes = max_packet_bytes;
	if (max_packet_bytes > FIXED_HEADER_BYTES)
		o->max_packet_bytes -= FIXED_HEADER_BYTES;
	o->has_acks = false;
	o->paused_until_ms = 0;
}

/*
 * The same record unacknowledged each time a session breaks: first isolate it, then put it aside.
 * When the next one fares no better and nothing is acknowledged in between, it may well be the
 * cloud: each takes twice as long as the one before, so that a cloud that throws us out all night
 * does not empty the journal.
 */
static void suspect(struct fg_outbox *o, const struct fg_inflight_entry *oldest)
{
	if (oldest->first_seq != o->suspect_seq) {
		o->suspect_seq = oldest->first_seq;
		o->suspect_drops = 0;
	}
	o->suspect_drops++;
	if (o->suspect_drops < 2)
		return;
	if (oldest->n_records == 1 && o->suspect_drops >= (unsigned)MAX_DROPS << o->n_blamed)
		o->poison_seq = oldest->first_seq;
	else if (oldest->last_seq > o->isolate_until)
		o->isolate_until = oldest->last_seq;
}

void fg_outbox_session_end(struct fg_outbox *o, bool is_suspicious)
{
	const struct fg_inflight_entry *oldest = fg_inflight_oldest_data(o->inflight);

	if (is_suspicious && oldest)
		suspect(o, oldest);
	fg_inflight_clear(o->inflight);
	o->is_made = false;
	rewind_to(o, fg_cursor_watermark(o->with.cursor) + 1);
	o->limit = 0;
}

/* ---- sending */

/* Put aside what sessions kept breaking on. Returns 0 or -EAGAIN. */
static int remove_poison(struct fg_outbox *o, int64_t now_ms)
{
	char reason[128];

	if (!o->poison_seq)
		return 0;
	for (size_t i = 0; i < o->n; i++) {
		int r;

		if (o->messages[i].seq != o->poison_seq || o->states[i] != FG_OFFERED)
			continue;
		snprintf(reason, sizeof(reason),
			 "the session broke %u times while this record was unacknowledged",
			 o->suspect_drops);
		r = quarantine(o, i, reason, o->suspect_drops, now_ms);
		if (r < 0)
			return r;
		o->poison_seq = 0;
		o->suspect_drops = 0;
		if (o->n_blamed < MAX_BLAMED)
			o->n_blamed++;
	}
	return 0;
}

/*
 * Has encode() kept the contract? A message marked in a way that leads nowhere would count as
 * settled, and be lost.
 */
static bool is_encoded_well(const struct fg_outbox *o, const struct fg_batch *batch, int r)
{
	const struct fg_publish *p = &o->publish;
	size_t n_taken = 0;

	for (size_t i = 0; i < batch->count; i++) {
		if (batch->states[i] > FG_REFUSED && batch->states[i] != STATE_SENT)
			return false;
		n_taken += batch->states[i] == FG_TAKEN;
	}
	if (r == 0)
		return n_taken == 0;
	return r == 1 && n_taken <= batch->max_take && p->qos <= 1 &&
	       p->payload_len <= p->payload_size && memchr(p->topic, '\0', p->topic_size);
}

/* Look at what encode() has done to the states. Returns 0 or -EAGAIN. */
static int take_states(struct fg_outbox *o, const struct fg_batch *batch, int64_t now_ms)
{
	int r = 0;

	o->entry =
		(struct fg_inflight_entry){.tag = o->publish.tag, .bytes = o->publish.payload_len};
	for (size_t i = o->first_open; i < o->n; i++) {
		if (o->states[i] == FG_TAKEN) {
			uint64_t seq = o->messages[i].seq;

			o->states[i] = STATE_SENT;
			if (!o->entry.first_seq)
				o->entry.first_seq = seq;
			o->entry.last_seq = seq;
			o->entry.n_records++;
		} else if (o->states[i] == FG_REFUSED) {
			int q = quarantine(o, i, batch->reason, 0, now_ms);

			if (q < 0)
				r = q;
		}
	}
	return r;
}

/*
 * How many of the records from first_open on may be sent, as far as a crash is concerned. Sequence
 * numbers have gaps, and behind a wide one nothing may be sent before what is in front of it is
 * settled.
 */
static size_t count_sendable(struct fg_outbox *o)
{
	size_t n = o->first_open;

	if (o->n == 0 || fg_cursor_may_send(o->with.cursor, o->last_read))
		return o->n - o->first_open;
	while (n < o->n && fg_cursor_may_send(o->with.cursor, o->messages[n].seq))
		n++;
	return n - o->first_open;
}

static bool is_isolating(const struct fg_outbox *o)
{
	return o->isolate_until && o->isolate_until > fg_cursor_watermark(o->with.cursor);
}

static bool is_full(const struct fg_outbox *o)
{
	const struct fg_inflight_entry *oldest = fg_inflight_oldest(o->inflight);

	return fg_inflight_count(o->inflight) >= o->limit ||
	       fg_inflight_bytes(o->inflight) >= MAX_IN_FLIGHT_BYTES ||
	       (oldest && o->stats.published - oldest->number >= MAX_PACKET_IDS);
}

int fg_outbox_next(struct fg_outbox *o, int64_t now_ms, const struct fg_publish **ret)
{
	if (o->is_made || now_ms < o->paused_until_ms)
		return 0;
	o->paused_until_ms = 0;
	if (o->retreat_seq) {
		uint64_t seq = o->retreat_seq;

		if (fg_inflight_count(o->inflight) > 0)
			return 0;
		/* What the plugin has held back so far is forgotten with the window. */
		if (window_has_open(o))
			lower(&seq, o->messages[o->first_open].seq);
		rewind_to(o, seq);
	}
	if (is_full(o))
		return 0;
	if (is_isolating(o) && fg_inflight_lowest(o->inflight))
		return 0;

	for (;;) {
		struct fg_batch batch = {.max_take = is_isolating(o) ? 1 : WINDOW_RECORDS};
		bool is_dry = false;
		int r;

		if (!window_has_open(o)) {
			r = window_refill(o);
			if (r < 0)
				return 0; /* the journal has told; try again with the next commit */
			is_dry = r == 0;
		}
		r = remove_poison(o, now_ms);
		if (r < 0)
			return 0;
		batch.count = count_sendable(o);
		if (batch.count == 0 && o->n > 0) {
			advance_watermark(o); /* right in front of a gap it lets us step over it */
			batch.count = count_sendable(o);
		}
		if (batch.count == 0 && o->n > 0)
			return 0; /* a commit saves the cursor, and we are asked again */
		batch.messages = o->messages + o->first_open;
		batch.states = o->states + o->first_open;
		o->publish.topic_size = TOPIC_BYTES;
		o->publish.payload_size = PAYLOAD_BYTES;
		o->publish.payload_len = 0;
		o->publish.max_packet_bytes = o->max_packet_bytes;
		o->publish.qos = 1;
		o->publish.content_type = NULL;
		o->publish.tag = 0;
		r = o->with.plugin->encode(o->with.ctx, "", &batch, &o->publish);
		if (r < 0)
			return r == -ENOMEM ? r : -EINVAL;
		if (!is_encoded_well(o, &batch, r))
			return -EINVAL;
		o->stats.values_dropped += batch.values_dropped;
		if (take_states(o, &batch, now_ms) < 0 && r == 0)
			return 0;
		if (r == 1) {
			o->is_made = true;
			*ret = &o->publish;
			return 1;
		}
		advance_watermark(o);
		if (is_dry || window_has_open(o))
			return 0;
	}
}

void fg_outbox_sent(struct fg_outbox *o, int packet_id, int64_t now_ms)
{
	o->is_made = false;
	o->entry.packet_id = packet_id;
	o->entry.sent_ms = now_ms;
	o->entry.number = o->stats.published;
	fg_inflight_add(o->inflight, &o->entry);
	o->stats.published++;
}

/* ---- settling */

static void retreat(struct fg_outbox *o, uint64_t seq)
{
	if (!o->retreat_seq || seq < o->retreat_seq)
		o->retreat_seq = seq;
}

static void pause_sending(struct fg_outbox *o, int64_t now_ms)
{
	int64_t ms = PAUSE_FIRST_MS;

	if (now_ms < o->paused_until_ms)
		return; /* all that was in flight is refused together: that is one pause, not many
			 */
	for (unsigned i = 0; i < o->n_pauses && ms < PAUSE_MAX_MS; i++)
		ms *= 2;
	o->n_pauses++;
	o->paused_until_ms = now_ms + (ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS);
}

static void settle_poison(struct fg_outbox *o, const struct fg_inflight_entry *entry,
			  unsigned reason_code, int64_t now_ms)
{
	char reason[96];

	if (entry->n_records == 0)
		return; /* the plugin's own: it knows */
	snprintf(reason, sizeof(reason), "the cloud refused it with reason code 0x%02x",
		 reason_code);
	if (entry->n_records == 1)
		for (size_t i = 0; i < o->n; i++)
			if (o->messages[i].seq == entry->first_seq &&
			    quarantine(o, i, reason, 1, now_ms) == 0)
				return;
	/* Not alone, or no longer at hand: read it again, one record a publish. */
	if (entry->last_seq > o->isolate_until)
		o->isolate_until = entry->last_seq;
	retreat(o, entry->first_seq);
}

static void settle_retry(struct fg_outbox *o, const struct fg_inflight_entry *entry,
			 unsigned reason_code, int64_t now_ms)
{
	if (entry->n_records == 0) {
		pause_sending(o, now_ms);
		return;
	}
	/* The lowest is counted, or several that fail in turn would start each other's count again.
	 */
	if (o->retried_seq <= fg_cursor_watermark(o->with.cursor) ||
	    entry->first_seq < o->retried_seq) {
		o->retried_seq = entry->first_seq;
		o->retries = 0;
	}
	if (entry->first_seq == o->retried_seq && ++o->retries > MAX_RETRIES) {
		o->retried_seq = 0;
		settle_poison(o, entry, reason_code, now_ms);
		return;
	}
	retreat(o, entry->first_seq);
	pause_sending(o, now_ms);
}

void fg_outbox_settled(struct fg_outbox *o, int packet_id, unsigned reason_code, int64_t now_ms)
{
	enum fg_verdict verdict = reason_code < 0x80 ? FG_ACCEPTED : FG_POISON;
	struct fg_inflight_entry entry;

	if (fg_inflight_ack(o->inflight, packet_id, &entry) < 0)
		return;
	if (o->with.plugin->settled) {
		struct fg_settlement how = {.tag = entry.tag,
					    .reason_code = reason_code,
					    .n_messages = entry.n_records};

		verdict = o->with.plugin->settled(o->with.ctx, "", &how);
	}
	if (verdict != FG_ACCEPTED)
		fg_complain(&o->nack_complaint, now_ms, LOG_WARNING,
			    "link %s: publish of %zu records refused with reason code 0x%02x, %s",
			    o->with.link_name, entry.n_records, reason_code,
			    verdict == FG_POISON ? "looking for the one at fault"
						 : "sending again after a pause");
	switch (verdict) {
	case FG_ACCEPTED:
		o->has_acks = true;
		o->n_pauses = 0;
		if (entry.n_records > 0)
			o->n_blamed = 0;
		o->stats.records_acked += entry.n_records;
		break;
	case FG_LATER:
		if (entry.n_records > 0)
			retreat(o, entry.first_seq);
		pause_sending(o, now_ms);
		break;
	case FG_RETRY:
		settle_retry(o, &entry, reason_code, now_ms);
		break;
	case FG_POISON:
		settle_poison(o, &entry, reason_code, now_ms);
		break;
	}
	advance_watermark(o);
}

/* ---- asking */

int64_t fg_outbox_paused_until(const struct fg_outbox *o)
{
	return o->paused_until_ms;
}

int64_t fg_outbox_oldest_sent(const struct fg_outbox *o)
{
	const struct fg_inflight_entry *oldest = fg_inflight_oldest(o->inflight);

	return oldest ? oldest->sent_ms : 0;
}

unsigned fg_outbox_in_flight(const struct fg_outbox *o)
{
	return fg_inflight_count(o->inflight);
}

bool fg_outbox_may_blame(const struct fg_outbox *o)
{
	const struct fg_inflight_entry *oldest = fg_inflight_oldest_data(o->inflight);

	return o->has_acks ||
	       (oldest && oldest->first_seq == o->suspect_seq && o->suspect_drops >= MAX_DROPS - 1);
}

void fg_outbox_get_stats(const struct fg_outbox *o, struct fg_outbox_stats *ret)
{
	*ret = o->stats;
}
