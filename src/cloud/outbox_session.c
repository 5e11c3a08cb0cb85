#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/devices.h"
#include "cloud/names.h"
#include "cloud/outbox_internal.h"
#include "cloud/session_key.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/span.h"

/* In front of what the Remaining Length counts: one byte, and up to four for the length itself. */
#define FIXED_HEADER_BYTES 5
/*
 * Packet ids have 16 bits and libmosquitto hands them out in turn, without a look at which are in
 * use. So many publishes after one that is still in flight we wait for it; the rest is for
 * SUBSCRIBE.
 */
#define MAX_PACKET_IDS 60000

#define FIRST_TABLE_SIZE 8

/* ---- the table */

static struct fg_outbox_session **place_of(const struct fg_outbox *o, uint64_t key)
{
	size_t i = key & (o->table_size - 1);

	while (o->table[i] && o->table[i]->key != key)
		i = (i + 1) & (o->table_size - 1);
	return &o->table[i];
}

static struct fg_outbox_session *find(const struct fg_outbox *o, uint64_t key)
{
	return o->table_size ? *place_of(o, key) : NULL;
}

static void fill_table(struct fg_outbox *o)
{
	memset(o->table, 0, o->table_size * sizeof(o->table[0]));
	for (size_t i = 0; i < o->n_sessions; i++)
		*place_of(o, o->sessions[i]->key) = o->sessions[i];
}

/* Room for one more. */
static int grow(struct fg_outbox *o)
{
	size_t size = o->table_size ? o->table_size * 2 : FIRST_TABLE_SIZE;
	struct fg_outbox_session **sessions, **table;

	if (o->n_sessions < o->table_size / 2)
		return 0;
	sessions = realloc(o->sessions, size / 2 * sizeof(sessions[0]));
	if (!sessions)
		return -ENOMEM;
	o->sessions = sessions;
	table = malloc(size * sizeof(table[0]));
	if (!table)
		return -ENOMEM;
	free(o->table);
	o->table = table;
	o->table_size = size;
	fill_table(o);
	return 0;
}

static int add(struct fg_outbox *o, uint64_t key, struct fg_outbox_session **ret)
{
	struct fg_outbox_session *s;

	if (grow(o) < 0)
		return -ENOMEM;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->outbox = o;
	s->key = key;
	s->news = 1;
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++) {
		fg_track_init(&s->tracks[lane], &o->feeds[lane].ledger, key, s);
		s->tracks[lane].may_fall_out = o->has_sessions;
		fg_track_init(&s->left[lane], &o->feeds[lane].ledger, FG_KEY_RECORD, s);
	}
	o->sessions[o->n_sessions++] = s;
	*place_of(o, key) = s;
	*ret = s;
	return 0;
}

void fg_outbox_session_poke(struct fg_outbox_session *s)
{
	struct fg_outbox *o = s->outbox;

	if (s->is_poked || !s->inflight)
		return;
	s->is_poked = true;
	s->next_poked = NULL;
	*(o->first_poked ? &o->last_poked->next_poked : &o->first_poked) = s;
	o->last_poked = s;
}

struct fg_outbox_session *fg_outbox_next_poked(struct fg_outbox *o)
{
	struct fg_outbox_session *s = o->first_poked;

	if (!s)
		return NULL;
	s->is_poked = false;
	o->first_poked = s->next_poked;
	return s;
}

/* Those who were in front of it come behind it: nobody minds. */
static void unpoke(struct fg_outbox_session *s)
{
	while (s->is_poked) {
		struct fg_outbox_session *first = fg_outbox_next_poked(s->outbox);

		if (first != s)
			fg_outbox_session_poke(first);
	}
}

static void free_session(struct fg_outbox_session *s)
{
	fg_inflight_free(s->inflight);
	free(s->device);
	free(s->name);
	free(s);
}

static void remove_session(struct fg_outbox_session *s)
{
	struct fg_outbox *o = s->outbox;
	size_t i = 0;

	while (o->sessions[i] != s)
		i++;
	o->sessions[i] = o->sessions[--o->n_sessions];
	fill_table(o);
	free_session(s);
}

struct fg_outbox_session *fg_outbox_session_of(const struct fg_outbox *o, struct fg_span device,
					       uint64_t *ret_key)
{
	*ret_key = fg_session_key(device.data, device.size);
	return find(o, *ret_key);
}

int fg_outbox_expect_sessions(struct fg_outbox *o)
{
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++) {
		uint64_t key, from;

		for (size_t i = 0;
		     fg_cursor_each_left_behind(o->feeds[lane].cursor, i, &key, &from); i++) {
			struct fg_outbox_session *s;

			if (key & FG_KEY_RECORD)
				continue;
			if (!find(o, key) && add(o, key, &s) < 0)
				return -ENOMEM;
			o->feeds[lane].is_behind = true;
		}
		fg_feed_look_for_strays(&o->feeds[lane]);
	}
	return 0;
}

void fg_outbox_session_met(struct fg_outbox_session *s, struct fg_span device)
{
	s->device = strndup(device.data, device.size);
}

struct fg_outbox_session *fg_outbox_session_place(struct fg_outbox *o, struct fg_span device)
{
	uint64_t key;
	struct fg_outbox_session *s = fg_outbox_session_of(o, device, &key);

	if (!s && add(o, key, &s) < 0)
		return NULL;
	if (!s->device)
		fg_outbox_session_met(s, device);
	return s->device ? s : NULL;
}

void fg_outbox_unexpect(struct fg_outbox_session *s)
{
	remove_session(s);
}

void fg_outbox_free_sessions(struct fg_outbox *o)
{
	for (size_t i = 0; i < o->n_sessions; i++)
		free_session(o->sessions[i]);
	free(o->sessions);
	free(o->table);
}

/* ---- names */

bool fg_outbox_name_of(const struct fg_outbox *o, struct fg_span device, struct fg_span *ret_name)
{
	return o->with.names ? fg_names_to_cloud(o->with.names, device, ret_name)
			     : fg_devices_map(&o->with.config->devices, device, ret_name);
}

bool fg_outbox_owns_name(const struct fg_outbox *o, struct fg_span device, struct fg_span name)
{
	struct fg_span owner;

	return !o->with.names ||
	       (fg_names_to_field(o->with.names, name, &owner) && fg_span_equal(owner, device));
}

bool fg_outbox_session_is_outdated(const struct fg_outbox_session *s)
{
	return s->is_outdated;
}

static bool is_called_otherwise(const struct fg_outbox_session *s)
{
	struct fg_span device = fg_span_str(s->device), name;

	return !fg_outbox_name_of(s->outbox, device, &name) || !fg_span_is(name, s->name) ||
	       !fg_outbox_owns_name(s->outbox, device, name);
}

void fg_outbox_review_sessions(struct fg_outbox *o)
{
	for (size_t i = 0; i < o->n_sessions; i++) {
		struct fg_outbox_session *s = o->sessions[i];

		s->is_outdated = s->name && is_called_otherwise(s);
		s->news++;
		/* Somebody may want it now. */
		if (!s->name) {
			for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
				fg_track_forget(&s->left[lane], &o->feeds[lane].ledger,
						&o->feeds[lane].orphans);
			free(s->device);
			s->device = NULL;
		}
	}
	if (fg_outbox_expect_sessions(o) < 0)
		fg_error_log(
			"link %s: out of memory, devices that were renamed may wait until they "
			"have more to send",
			o->with.config->name);
}

/* ---- open and closed */

int fg_outbox_session_open(struct fg_outbox *o, struct fg_span device,
			   struct fg_outbox_session **ret)
{
	FG_CLEANUP(fg_free_p) char *own_device = NULL;
	FG_CLEANUP(fg_free_p) char *own_name = NULL;
	struct fg_span name = device;
	struct fg_outbox_session *s;
	uint64_t key;

	if (o->has_sessions != (device.size > 0) ||
	    (o->has_sessions &&
	     (!fg_outbox_name_of(o, device, &name) || !fg_outbox_owns_name(o, device, name))))
		return -EINVAL;
	s = fg_outbox_session_of(o, device, &key);
	if (s && s->name)
		return -EEXIST;
	own_device = strndup(device.size > 0 ? device.data : "", device.size);
	own_name = strndup(name.size > 0 ? name.data : "", name.size);
	if (!own_device || !own_name || (!s && add(o, key, &s) < 0))
		return -ENOMEM;
	free(s->device);
	s->device = own_device;
	s->name = own_name;
	own_device = own_name = NULL;
	*ret = s;
	return 0;
}

struct fg_outbox_session *fg_outbox_session_close(struct fg_outbox_session *s)
{
	struct fg_span name;
	bool is_wanted;

	if (!s)
		return NULL;
	fg_outbox_session_end(s, false);
	is_wanted = !s->outbox->has_sessions ||
		    fg_outbox_name_of(s->outbox, fg_span_str(s->device), &name);
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_feed_session_closed(&s->outbox->feeds[lane], s, is_wanted);
	remove_session(s);
	return NULL;
}

const char *fg_outbox_session_name(const struct fg_outbox_session *s)
{
	return s->name;
}

struct fg_span fg_outbox_session_device(const struct fg_outbox_session *s)
{
	return fg_span_str(s->device);
}

void fg_outbox_session_set_owner(struct fg_outbox_session *s, void *owner)
{
	s->owner = owner;
}

void *fg_outbox_session_owner(const struct fg_outbox_session *s)
{
	return s->owner;
}

/* ---- up and down */

static void begin(struct fg_outbox_session *s, enum fg_carrier carrier, unsigned receive_maximum,
		  size_t max_packet_bytes, bool is_setup)
{
	unsigned limit = s->outbox->with.config->max_in_flight;

	fg_outbox_session_end(s, false);
	if (receive_maximum < limit)
		limit = receive_maximum;
	if (fg_inflight_new(limit > 0 ? limit : 1, &s->inflight) < 0) {
		fg_error_log("link %s: out of memory, a session stays idle",
			     s->outbox->with.config->name);
		return;
	}
	s->outbox->n_up++;
	s->limit = limit > 0 ? limit : 1;
	s->carrier = carrier;
	s->max_packet_bytes = max_packet_bytes;
	s->is_setup = is_setup;
	s->is_draining = false;
	s->offers_left = false;
	s->has_acks = false;
	s->paused_until_ms = 0;
	s->news++;
	fg_outbox_session_poke(s);
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_feed_session_up(&s->outbox->feeds[lane], s);
}

void fg_outbox_session_begin(struct fg_outbox_session *s, unsigned receive_maximum,
			     size_t max_packet_bytes, bool is_setup)
{
	if (max_packet_bytes > FIXED_HEADER_BYTES)
		max_packet_bytes -= FIXED_HEADER_BYTES;
	begin(s, FG_CARRIER_MQTT, receive_maximum, max_packet_bytes, is_setup);
}

void fg_outbox_session_begin_http(struct fg_outbox_session *s, size_t max_body_bytes)
{
	begin(s, FG_CARRIER_HTTP, 1, max_body_bytes, false);
}

void fg_outbox_session_drain(struct fg_outbox_session *s)
{
	s->is_draining = true;
}

void fg_outbox_session_end(struct fg_outbox_session *s, bool is_suspicious)
{
	if (!s->inflight)
		return;
	fg_outbox_take_back(s, is_suspicious);
	unpoke(s);
	s->inflight = fg_inflight_free(s->inflight);
	s->outbox->n_up--;
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_feed_session_down(&s->outbox->feeds[lane], s);
}

static void has_news(struct fg_outbox_session *s)
{
	fg_outbox_session_poke(s);
	s->news++;
}

void fg_outbox_poke(struct fg_outbox *o, struct fg_outbox_session *s)
{
	if (s)
		has_news(s);
	for (size_t i = 0; !s && i < o->n_sessions; i++)
		has_news(o->sessions[i]);
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		fg_feed_look_again(&o->feeds[lane]);
}

static struct fg_outbox_session *find_name(const struct fg_outbox *o, const char *name)
{
	for (size_t i = 0; i < o->n_sessions; i++)
		if (o->sessions[i]->name && strcmp(o->sessions[i]->name, name) == 0)
			return o->sessions[i];
	return NULL;
}

void fg_outbox_offer_left(struct fg_outbox *o, const char *name)
{
	struct fg_outbox_session *s = find_name(o, name);

	if (!s || !s->inflight)
		return;
	s->offers_left = true;
	o->offers_left = true;
	has_news(s);
}

/* ---- what it can take */

uint64_t fg_outbox_session_news(const struct fg_outbox_session *s, enum fg_lane lane)
{
	return s->news + s->outbox->feeds[lane].ledger.order_news;
}

bool fg_outbox_session_isolates(const struct fg_outbox_session *s)
{
	for (unsigned lane = 0; lane < FG_N_CURSOR_LANES; lane++)
		if (s->tracks[lane].n_alone > 0 || s->left[lane].n_alone > 0 ||
		    (!s->outbox->has_sessions && s->outbox->feeds[lane].ordered.n_alone > 0))
			return true;
	return false;
}

bool fg_outbox_session_has_room(const struct fg_outbox_session *s)
{
	const struct fg_inflight_entry *oldest;

	if (!s->inflight || s->is_draining || s->is_outdated ||
	    s->outbox->now_ms < s->paused_until_ms)
		return false;
	oldest = fg_inflight_oldest(s->inflight);
	return fg_inflight_count(s->inflight) < s->limit &&
	       fg_inflight_bytes(s->inflight) < FG_OUTBOX_IN_FLIGHT_BYTES &&
	       (!oldest || s->n_published - oldest->number < MAX_PACKET_IDS);
}

bool fg_outbox_session_can_take(const struct fg_outbox_session *s)
{
	return fg_outbox_session_has_room(s) && !s->is_setup &&
	       (fg_inflight_oldest_data(s->inflight) == NULL || !fg_outbox_session_isolates(s));
}

/* ---- asking */

int64_t fg_outbox_oldest_sent(const struct fg_outbox_session *s)
{
	const struct fg_inflight_entry *oldest =
		s->inflight ? fg_inflight_oldest(s->inflight) : NULL;

	return oldest ? oldest->sent_ms : 0;
}

unsigned fg_outbox_in_flight(const struct fg_outbox_session *s)
{
	return s->inflight ? fg_inflight_count(s->inflight) : 0;
}
