#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim_world.h"
#include "util/span.h"

#define IN_FLIGHT 8

/* ---- commands */

static void submit(struct sim_world *w, struct sim_command *c)
{
	char id[24], params[24];
	struct fg_command command = {
		.device = fg_span_str(sim_device_name(c->device)),
		.name = fg_span_str("go"),
		.is_one_way = c->is_one_way,
		.timeout_ms = c->timeout_ms,
	};
	int64_t allowed_ms =
		c->device == SIM_VALVE || c->device == SIM_MOTOR ? 24 * 3600 * 1000 : 30 * 1000;
	uint64_t ticket;
	int r;

	snprintf(id, sizeof(id), "c%td", c - w->commands);
	snprintf(params, sizeof(params), "%td", c - w->commands);
	command.id = command.key = fg_span_str(id);
	command.params = fg_span_str(params);
	if (c->timeout_ms > 0 && c->timeout_ms < allowed_ms)
		allowed_ms = c->timeout_ms;
	/* Message Expiry Interval has whole seconds, from one on. */
	if (!c->is_acked)
		c->until_ms = w->now_ms + (c->timeout_ms > 0 ? allowed_ms : allowed_ms + 1000);
	r = fg_command_desk_submit(w->desk, fg_span_str("cloud"), &command, sim_desk_now(w),
				   &ticket);
	sim_say(w, "the cloud sends %s to %s: %d", id, sim_device_name(c->device), r);
	assert(r == 0 || r == -EAGAIN);
	if (r < 0)
		return;
	if (w->fault == SIM_EARLY_PUBACK || ticket <= fg_journal_committed(w->journal))
		c->is_acked = true;
	else
		c->ticket = ticket;
}

void sim_cloud_command(struct sim_world *w)
{
	static const int64_t timeouts_ms[] = {0, 2000, 10000, 60000, 3600000};
	struct sim_command *c = &w->commands[w->n_commands];

	if (!w->is_cloud_up || w->n_commands == SIM_COMMANDS)
		return;
	*c = (struct sim_command){.device = (enum sim_device)sim_random(w, SIM_DEVICES)};
	c->is_one_way = sim_chance(w, 5);
	c->timeout_ms = timeouts_ms[sim_random(w, 5)];
	w->n_commands++;
	w->totals->commands++;
	w->totals->one_way += c->is_one_way;
	submit(w, c);
}

/* Until it has an answer, and in the time in which that is remembered. */
static bool may_come_again(const struct sim_world *w, const struct sim_command *c)
{
	if (!c->is_acked)
		return true;
	return !c->is_one_way &&
	       (c->n_answers == 0 || w->now_ms - c->answered_ms < FG_COMMAND_REMEMBERED_MS / 2);
}

void sim_cloud_again(struct sim_world *w)
{
	struct sim_command *c;

	if (!w->is_cloud_up || w->n_commands == 0)
		return;
	c = &w->commands[sim_random(w, w->n_commands)];
	if (!may_come_again(w, c))
		return;
	w->totals->again++;
	submit(w, c);
}

void sim_cloud_insist(struct sim_world *w)
{
	if (!w->is_cloud_up)
		return;
	for (unsigned i = 0; i < w->n_commands; i++)
		if (!w->commands[i].is_acked && w->commands[i].ticket == 0)
			submit(w, &w->commands[i]);
}

void sim_cloud_committed(struct sim_world *w)
{
	for (unsigned i = 0; i < w->n_commands; i++) {
		struct sim_command *c = &w->commands[i];

		if (c->ticket > 0 && c->ticket <= fg_journal_committed(w->journal)) {
			c->is_acked = true;
			c->ticket = 0;
		}
	}
}

/* ---- answers */

void sim_cloud_open(struct sim_world *w)
{
	if (fg_cursor_open(w->journal, FG_LANE_ALARM, "cloud", IN_FLIGHT, &w->cursor) < 0 ||
	    fg_pass_open(w->cursor, &w->pass) < 0)
		abort();
}

void sim_cloud_send(struct sim_world *w)
{
	struct sim_response *response = &w->sent[w->n_sent];
	struct fg_message m;

	if (!w->is_cloud_up || w->n_sent == IN_FLIGHT ||
	    !fg_cursor_may_send(w->cursor, w->n_sent) ||
	    fg_pass_read(w->pass, &m, 1, NULL, NULL) != 1)
		return;
	assert(m.kind == FG_COMMAND_RESPONSE && fg_span_is(m.link, "cloud") && m.ref.size > 1);
	response->seq = m.seq;
	response->command = (unsigned)atoi(m.ref.data + 1);
	snprintf(response->body, sizeof(response->body), "%.*s", FG_SPAN_ARGS(m.body));
	w->n_sent++;
}

static void take_response(struct sim_world *w, const struct sim_response *response)
{
	struct sim_command *c = &w->commands[response->command];

	sim_say(w, "the cloud gets of c%u: %s", response->command, response->body);
	w->totals->answers++;
	if (c->n_answers++ > 0) {
		c->is_contradicted |= strcmp(c->answer, response->body) != 0;
		return;
	}
	c->answered_ms = w->now_ms;
	snprintf(c->answer, sizeof(c->answer), "%s", response->body);
}

void sim_cloud_take(struct sim_world *w)
{
	struct sim_response response = w->sent[0];
	uint64_t watermark = fg_cursor_watermark(w->cursor);

	if (w->n_sent == 0)
		return;
	take_response(w, &response);
	if (sim_chance(w, 8)) { /* its PUBACK is lost */
		sim_cloud_cut(w);
		return;
	}
	memmove(w->sent, w->sent + 1, --w->n_sent * sizeof(w->sent[0]));
	if (response.seq > watermark)
		fg_cursor_settle(w->cursor, watermark + 1, response.seq);
}

void sim_cloud_cut(struct sim_world *w)
{
	unsigned n_through = (unsigned)sim_random(w, w->n_sent + 1);

	for (unsigned i = 0; i < n_through; i++)
		take_response(w, &w->sent[i]);
	w->n_sent = 0;
	w->is_cloud_up = false;
	for (unsigned i = 0; i < w->n_commands; i++)
		w->commands[i].ticket = 0;
	if (w->pass)
		fg_pass_seek(w->pass, 0);
}

bool sim_cloud_has(const struct sim_world *w, uint64_t seq)
{
	return fg_cursor_watermark(w->cursor) >= seq;
}
