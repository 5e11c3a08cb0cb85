#include "local/intake.h"

#include <errno.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/log.h"

#define MAX_TOPIC_BYTES 65535
/* A coming or going that is told in front of what was to be taken. */
#define PRESENCE_BYTES 512

struct fg_intake {
	struct fg_intake_options with;
	size_t room; /* that one packet may need */
};

/* One message on its way in. */
struct arriving {
	struct fg_intake *in;
	struct fg_source *source;
	bool is_retained;
	enum fg_time_quality quality; /* of the time of arrival */
	int64_t now_ms;
};

int fg_intake_new(const struct fg_intake_options *options, struct fg_intake **ret)
{
	struct fg_intake *in = calloc(1, sizeof(*in));

	if (!in)
		return -ENOMEM;
	in->with = *options;
	in->room = fg_mapping_room(options->mapping, MAX_TOPIC_BYTES, options->max_message_bytes);
	if (options->presence)
		in->room += PRESENCE_BYTES;
	*ret = in;
	return 0;
}

struct fg_intake *fg_intake_free(struct fg_intake *in)
{
	free(in);
	return NULL;
}

bool fg_intake_has_room(const struct fg_intake *in)
{
	return fg_journal_has_room(in->with.journal, in->room);
}

/* ---- what a rule makes of it */

static int append(struct arriving *a, enum fg_lane lane, const struct fg_message *msg)
{
	uint64_t seq;
	int r = fg_journal_append(a->in->with.journal, lane, msg, &seq);

	if (r == 0 && seq > 0) /* 0: FG_ON_FULL_DROP_NEWEST */
		a->source->messages++;
	return r;
}

/* Whoever sends is there. That we cannot remember it is no reason to lose what was sent. */
static int hear(struct arriving *a, struct fg_span device)
{
	struct fg_presence *presence = a->in->with.presence;
	int r;

	if (!presence || !a->source->name)
		return 0; /* nobody wants to know; or it came long ago */
	r = fg_presence_heard(presence, device, a->source->name, a->now_ms);
	return r == -ENOMEM ? 0 : r;
}

static int ask(struct arriving *a, const struct fg_mapped *mapped, struct fg_message *msg)
{
	struct fg_requests *requests = a->in->with.requests;
	struct fg_request request = {
		.device = msg->device,
		.broker = a->source->name,
		.response_topic = mapped->response_topic,
		.correlation = mapped->correlation,
		.timeout_ms = mapped->timeout_ms,
	};
	char ref[FG_REQUEST_REF_MAX];
	int r = fg_requests_open(requests, &request, a->now_ms, ref);

	if (r < 0)
		return r;
	msg->ref = fg_span_str(ref);
	r = append(a, mapped->lane, msg);
	if (r < 0)
		fg_requests_cancel(requests, ref);
	return r;
}

static int take_mapped(void *arg, const struct fg_mapped *mapped)
{
	struct arriving *a = arg;
	struct fg_message msg = mapped->msg;
	int r;

	if (msg.time_quality == FG_TIME_GATEWAY)
		msg.time_quality = a->quality;
	/* From quarantine: nobody waits for the answer any more, and the device is elsewhere by now. */
	if (!a->source->name && (msg.kind == FG_REQUEST || msg.kind == FG_PRESENCE))
		return -ESTALE;
	if (msg.kind == FG_PRESENCE && a->in->with.presence)
		return fg_presence_said(a->in->with.presence, msg.device, a->source->name,
					mapped->is_up, a->now_ms);
	r = hear(a, msg.device);
	if (r < 0)
		return r;
	if (msg.kind == FG_REQUEST)
		return ask(a, mapped, &msg);
	r = append(a, mapped->lane, &msg);
	/* From quarantine: it was said long ago. */
	if (r == 0 && a->in->with.images && a->source->name && msg.kind == FG_ATTRIBUTES &&
	    msg.content_type.size == 0)
		fg_images_heard(a->in->with.images, msg.device, msg.body, a->is_retained);
	return r;
}

/* ---- what no rule takes */

/* Returns 0, or -EAGAIN when there is no room now; what can never be taken is dropped, with a
 * complaint. */
static int put_into_quarantine(struct arriving *a, const struct fg_arrival *arrival,
			       const char *reason)
{
	size_t max = a->in->with.max_message_bytes;
	struct fg_quarantined q = {
		.reason = fg_span_str(reason),
		.topic = arrival->topic,
		.time_quality = (uint8_t)a->quality,
		.time_us = arrival->now_us,
		.whole_size = arrival->payload.size,
		.body = fg_span_of(arrival->payload.data,
				   arrival->payload.size < max ? arrival->payload.size : max),
	};
	int r = fg_journal_quarantine(a->in->with.journal, &q);

	if (r == -EAGAIN)
		return r;
	a->source->quarantined++;
	fg_complain(&a->source->quarantine_complaint, a->now_ms, LOG_WARNING,
		    "broker %s: message on \"%.200s\" refused: %s; %s", a->source->name,
		    arrival->topic.data, reason,
		    r < 0 ? "quarantine cannot take it, dropped" : "put into quarantine");
	return 0;
}

static const char *reason_of(int r, const struct fg_error *err)
{
	if (err->text[0])
		return err->text;
	if (r == -EBUSY)
		return "too many requests wait for their answers";
	if (r == -EINVAL)
		return "it asks for something, and there is no topic to answer on";
	if (r == -ESTALE)
		return "it is out of date: it asks for something, or says that a device came or "
		       "went";
	return strerror(-r);
}

/* ---- the way in */

static int offer_to_desk(const struct arriving *a, const struct fg_mqtt_message *message)
{
	struct fg_command_arrival arrival = {
		.topic = fg_span_str(message->topic),
		.payload = message->payload,
		.correlation = message->correlation,
		.is_retained = message->is_retained,
	};

	if (!a->in->with.desk)
		return 0;
	return fg_command_desk_arrived(a->in->with.desk, &arrival, a->now_ms);
}

static bool offer_to_images(const struct arriving *a, const struct fg_mqtt_message *message)
{
	return a->in->with.images &&
	       fg_images_arrived(a->in->with.images, a->source->name, message);
}

int fg_intake_again(struct fg_intake *in, const struct fg_quarantined *q, struct fg_error *err)
{
	struct fg_source nobody = {.name = NULL};
	struct arriving a = {
		.in = in,
		.source = &nobody,
		.quality = (enum fg_time_quality)q->time_quality,
		.now_ms = fg_clock_monotonic_ms(),
	};
	struct fg_arrival arrival = {.topic = q->topic, .payload = q->body, .now_us = q->time_us};
	int r;

	err->text[0] = '\0';
	if (q->topic.size == 0)
		return fg_error_set(err, -EPROTO, "it has no topic");
	r = fg_mapping_apply(in->with.mapping, &arrival, take_mapped, &a, err);
	if (r >= 0)
		return 0;
	if (r == -EAGAIN || r == -ENOSPC)
		return fg_error_set(err, -EAGAIN, "the journal has no room");
	if (r == -ENOENT)
		return fg_error_set(err, -EPROTO, "no mapping rule matches its topic");
	return err->text[0] ? -EPROTO : fg_error_set(err, -EPROTO, "%s", reason_of(r, err));
}

int fg_intake_take(struct fg_intake *in, struct fg_source *source,
		   const struct fg_mqtt_message *message)
{
	struct arriving a = {.in = in,
			     .source = source,
			     .is_retained = message->is_retained,
			     .now_ms = fg_clock_monotonic_ms()};
	struct fg_arrival arrival = {
		.topic = fg_span_str(message->topic),
		.payload = message->payload,
		.response_topic = fg_span_str(message->response_topic),
		.correlation = message->correlation,
	};
	struct fg_error err = {0};
	int r;

	source->received++;
	r = offer_to_desk(&a, message);
	if (r > 0)
		source->answers++;
	if (r != 0)
		return r < 0 ? r : 0;
	if (offer_to_images(&a, message))
		return 0;
	a.quality = fg_timekeeper_now(in->with.timekeeper, &arrival.now_us);
	r = fg_mapping_apply(in->with.mapping, &arrival, take_mapped, &a, &err);
	if (r == -ENOENT) {
		source->unmapped++;
		fg_complain(&source->unmapped_complaint, a.now_ms, LOG_WARNING,
			    "broker %s: no mapping rule matches \"%.200s\", message dropped",
			    source->name, message->topic);
		return 0;
	}
	if (r < 0 && r != -EAGAIN && r != -ENOSPC)
		r = put_into_quarantine(&a, &arrival, reason_of(r, &err));
	return r == -EAGAIN || r == -ENOSPC ? -EAGAIN : 0;
}
