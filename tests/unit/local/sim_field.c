#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_world.h"
#include "util/span.h"

/* MQTT 5, 3.4.2.1: no matching subscribers */
#define REASON_NO_SUBSCRIBERS 0x10

static enum sim_device find_device(struct fg_span name)
{
	unsigned i = 0;

	while (!fg_span_is(name, sim_device_name((enum sim_device)i)))
		i++;
	return (enum sim_device)i;
}

/* As the rules of desk_rules.c have them. */
static void read_publish(const struct fg_command_publish *p, struct sim_packet *ret)
{
	char payload[SIM_TEXT];

	snprintf(payload, sizeof(payload), "%.*s", FG_SPAN_ARGS(p->payload));
	switch (ret->device) {
	case SIM_PUMP:
		if (sscanf(payload, "{\"id\":\"%24[0-9a-f]\",\"p\":%u}", ret->id, &ret->command) !=
		    2)
			abort();
		snprintf(ret->answer_topic, SIM_TEXT, "pump/pump1/done");
		return;
	case SIM_LAMP:
		snprintf(ret->answer_topic, SIM_TEXT, "lamp/lamp1/state");
		break;
	case SIM_MOTOR:
		snprintf(ret->id, sizeof(ret->id), "%.*s", FG_SPAN_ARGS(p->correlation));
		snprintf(ret->answer_topic, SIM_TEXT, "%s", p->response_topic);
		ret->has_correlation = true;
		break;
	case SIM_VALVE:
	case SIM_BELL:
		snprintf(ret->id, sizeof(ret->id), "%s", strrchr(p->topic, '/') + 1);
		snprintf(ret->answer_topic, SIM_TEXT, "%.100s/done", p->topic);
		break;
	default:
		break;
	}
	ret->command = (unsigned)atoi(payload);
}

int sim_field_publish(struct sim_world *w, const struct fg_command_publish *p)
{
	struct sim_packet *packet = &w->wire[w->n_wire];

	if (!w->is_field_up)
		return -ENOTCONN;
	if (w->n_wire == SIM_PACKETS || sim_chance(w, 20))
		return -EAGAIN;
	*packet = (struct sim_packet){
		.device = find_device(p->device),
		.qos = p->qos,
		.tag = p->tag,
		.expires_ms = w->now_ms + (int64_t)p->expiry_s * 1000,
	};
	read_publish(p, packet);
	sim_say(w, "published: c%u, for %" PRIu32 " s", packet->command, p->expiry_s);
	w->n_wire++;
	return 0;
}

/* ---- devices */

static void say(struct sim_world *w, const struct sim_packet *p, int64_t delay_ms)
{
	struct sim_answer *a = &w->answers[w->n_answers];

	if (w->n_answers == SIM_PACKETS)
		return;
	*a = (struct sim_answer){.due_ms = w->now_ms + delay_ms};
	snprintf(a->topic, SIM_TEXT, "%s", p->answer_topic);
	if (p->has_correlation)
		snprintf(a->correlation, sizeof(a->correlation), "%s", p->id);
	if (p->device == SIM_PUMP && sim_chance(w, 10))
		snprintf(a->payload, SIM_TEXT, "{\"id\":\"%s\",\"e\":\"no\"}", p->id);
	else if (p->device == SIM_PUMP)
		snprintf(a->payload, SIM_TEXT, "{\"id\":\"%s\",\"v\":%u}", p->id, p->command);
	else if (sim_chance(w, 10))
		snprintf(a->payload, SIM_TEXT, "\xff%u", p->command);
	else
		snprintf(a->payload, SIM_TEXT, "%u", p->command);
	w->n_answers++;
}

static void run_command(struct sim_world *w, const struct sim_packet *p)
{
	static const int64_t delays_ms[] = {1, 30, 300, 2000, 9000, 40000};
	struct sim_command *c = &w->commands[p->command];

	assert(p->command < w->n_commands && c->device == p->device);
	sim_say(w, "%s runs c%u, id %s", sim_device_name(p->device), p->command, p->id);
	c->n_runs++;
	c->has_run_late |= w->now_ms > c->until_ms;
	w->totals->executions++;
	if (p->device == SIM_HORN || sim_chance(w, 8))
		return;
	say(w, p, delays_ms[sim_random(w, 6)]);
	if (sim_chance(w, 10))
		say(w, p, delays_ms[sim_random(w, 6)]);
}

/* ---- the broker */

/* Those of the rules with `offline: wait` have a persistent session; a broker that knows of no expiry
 * would hand them what is too old, so it has none for them. */
static bool has_session(const struct sim_world *w, enum sim_device device)
{
	return w->has_mqtt5 && (device == SIM_VALVE || device == SIM_MOTOR);
}

/* Returns the reason code of its PUBACK. */
static unsigned take_packet(struct sim_world *w, const struct sim_packet *p)
{
	if (!w->is_away[p->device]) {
		run_command(w, p);
		return 0;
	}
	if (!has_session(w, p->device))
		return w->has_mqtt5 ? REASON_NO_SUBSCRIBERS : 0;
	if (w->n_shelf < SIM_PACKETS)
		w->shelf[w->n_shelf++] = *p;
	return 0;
}

void sim_field_take(struct sim_world *w)
{
	struct sim_packet p = w->wire[0];
	unsigned reason_code;

	if (w->n_wire == 0)
		return;
	memmove(w->wire, w->wire + 1, --w->n_wire * sizeof(w->wire[0]));
	reason_code = take_packet(w, &p);
	if (p.qos == 0 || !w->is_field_up || w->n_acks == SIM_PACKETS)
		return;
	w->acks[w->n_acks].tag = p.tag;
	w->acks[w->n_acks++].reason_code = reason_code;
}

void sim_field_ack(struct sim_world *w)
{
	uint64_t tag = w->acks[0].tag;
	unsigned reason_code = w->acks[0].reason_code;

	if (w->n_acks == 0)
		return;
	memmove(w->acks, w->acks + 1, --w->n_acks * sizeof(w->acks[0]));
	fg_command_desk_published(w->desk, tag, reason_code, sim_desk_now(w));
}

void sim_field_return(struct sim_world *w, enum sim_device device)
{
	unsigned n = 0;

	w->is_away[device] = false;
	for (unsigned i = 0; i < w->n_shelf; i++) {
		struct sim_packet p = w->shelf[i];

		if (p.device != device)
			w->shelf[n++] = p;
		else if (w->now_ms < p.expires_ms)
			run_command(w, &p);
	}
	w->n_shelf = n;
}

void sim_field_answer(struct sim_world *w)
{
	struct fg_command_arrival arrival = {0};
	struct sim_answer *a = w->answers;
	int r;

	while (a < w->answers + w->n_answers && (a->is_taken || a->due_ms > w->now_ms))
		a++;
	if (!w->is_field_up || a == w->answers + w->n_answers)
		return;
	arrival.topic = fg_span_str(a->topic);
	arrival.payload = fg_span_str(a->payload);
	arrival.correlation = fg_span_str(a->correlation);
	r = fg_command_desk_arrived(w->desk, &arrival, sim_desk_now(w));
	sim_say(w, "answer on %s: %d", a->topic, r);
	assert(r >= 0 || r == -EAGAIN);
	if (r < 0)
		return;
	a->is_taken = true;
	a->ticket = fg_journal_ticket(w->journal);
	sim_field_committed(w);
}

void sim_field_committed(struct sim_world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->n_answers; i++) {
		const struct sim_answer *a = &w->answers[i];

		if (!a->is_taken || a->ticket > fg_journal_committed(w->journal))
			w->answers[n++] = *a;
	}
	w->n_answers = n;
}

void sim_field_cut(struct sim_world *w)
{
	unsigned n_through = (unsigned)sim_random(w, w->n_wire + 1);

	w->is_field_up = false;
	while (n_through-- > 0)
		sim_field_take(w);
	w->n_wire = w->n_acks = 0;
	for (unsigned i = 0; i < w->n_answers; i++)
		w->answers[i].is_taken = false;
}
