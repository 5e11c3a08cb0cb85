#include "sim_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/format.h"
#include "local/command_note.h"
#include "util/span.h"

#define BASE_US INT64_C(1800000000000000)
#define STEP_US (INT64_C(20) * 365 * 86400 * 1000000)
#define HOUR_MS (3600 * 1000)

static const char *const device_names[] = {"pump1", "lamp1", "valve1", "horn1", "motor1", "bell1"};

const char *sim_device_name(enum sim_device device)
{
	return device_names[device];
}

/* splitmix64 */
uint64_t sim_random(struct sim_world *w, uint64_t n)
{
	uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

bool sim_chance(struct sim_world *w, uint64_t n)
{
	return sim_random(w, n) == 0;
}

void sim_say(struct sim_world *w, const char *format, ...)
{
	va_list args;

	if (!w->is_verbose)
		return;
	fprintf(stderr, "%10" PRId64 " ms  ", w->now_ms);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int64_t sim_desk_now(const struct sim_world *w)
{
	int64_t up_ms = w->now_ms - w->boot_started_ms;

	return w->fault == SIM_SLOW_CLOCK ? up_ms / 3 : up_ms;
}

/* ---- SIM_WITHOUT_MARK: what the linker puts in front of fg_journal_append(), which knows of no world */

static bool leaves_out_marks;

int __real_fg_journal_append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
			     uint64_t *ret_seq);
int __wrap_fg_journal_append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
			     uint64_t *ret_seq);

int __wrap_fg_journal_append(struct fg_journal *j, enum fg_lane lane, const struct fg_message *msg,
			     uint64_t *ret_seq)
{
	struct fg_message without = *msg;
	struct fg_command_note_room room;
	struct fg_command_note note;
	char body[1024 + FG_COMMAND_NOTE_EXTRA];

	if (leaves_out_marks && (unsigned)msg->kind == FG_RECORD_KIND_COMMAND &&
	    fg_command_note_read(msg->body, &note, &room) == 0 && note.state == FG_NOTE_GOING_OUT) {
		note.state = FG_NOTE_NEW;
		without.body = fg_span_of(body, fg_command_note_write(&note, body));
	}
	if (leaves_out_marks && (unsigned)msg->kind == FG_RECORD_KIND_COMMAND_STATE &&
	    fg_command_state_note_read(msg->body, &note) == 0 && note.state == FG_NOTE_GOING_OUT) {
		note.state = FG_NOTE_CLOCK;
		without.body = fg_span_of(body, fg_command_state_note_write(&note, body));
	}
	return __real_fg_journal_append(j, lane, &without, ret_seq);
}

/* ---- what the daemon is asked, and asks */

static void read_clocks(void *arg, int64_t *ret_utc_us, int64_t *ret_boottime_us)
{
	const struct sim_world *w = arg;

	*ret_utc_us = BASE_US + w->now_ms * 1000 + w->clock_error_us;
	*ret_boottime_us = (w->now_ms - w->boot_started_ms) * 1000;
}

static void look_at_clock(void *arg, int64_t utc_us, struct fg_clock_evidence *ret)
{
	const struct sim_world *w = arg;

	(void)utc_us;
	*ret = (struct fg_clock_evidence){
		.is_kernel_synchronised = w->is_clock_known,
		.is_service_working = true,
	};
}

static int publish(void *arg, const struct fg_command_publish *p)
{
	return sim_field_publish(arg, p);
}

static enum fg_command_reach reach(void *arg, const char *broker, struct fg_span device)
{
	const struct sim_world *w = arg;

	(void)broker; /* there is one */
	for (unsigned i = 0; i < SIM_DEVICES; i++)
		if (fg_span_is(device, device_names[i]))
			return w->seems_away[i] ? FG_REACH_DOWN
			       : w->is_field_up ? FG_REACH_UP
						: FG_REACH_NO_BROKER;
	abort();
}

static bool has_sent(void *arg, struct fg_span link, uint64_t seq)
{
	(void)link;
	return sim_cloud_has(arg, seq);
}

static bool is_connected(void *arg, struct fg_span link)
{
	const struct sim_world *w = arg;

	(void)link;
	return w->is_cloud_up;
}

static void lost(void *arg, const char *link, uint64_t records, uint64_t seq, const char *why)
{
	struct sim_world *w = arg;

	sim_say(w, "%s has lost %" PRIu64 " records: %s", link, records, why);
	if (w->desk && strcmp(link, FG_COMMAND_CURSOR) == 0)
		fg_command_desk_lost(w->desk, seq);
}

static void trace(void *arg, const struct fg_command_view *view, enum fg_command_state from,
		  int64_t now_ms)
{
	(void)now_ms;
	sim_say(arg, "%.*s, id %s: %s -> %s", FG_SPAN_ARGS(view->id), view->wire_id,
		fg_command_state_word(from), fg_command_state_word(view->state));
}

/* ---- the daemon */

static void say_start(struct sim_world *w)
{
	struct fg_command_stats stats;
	struct fg_journal_stats journal;

	fg_command_desk_get_stats(w->desk, &stats);
	fg_journal_get_stats(w->journal, &journal);
	sim_say(w,
		"started: records %" PRIu64 "..%" PRIu64 ", the cloud has all to %" PRIu64
		", %u commands open",
		journal.alarm_first_seq, journal.alarm_next_seq, fg_cursor_watermark(w->cursor),
		stats.open);
}

static void start(struct sim_world *w)
{
	struct fg_timekeeper_options clock = {
		.boot_id = w->boot_id,
		.wait_us = 60 * 1000000,
		.read = read_clocks,
		.look = look_at_clock,
		.arg = w,
	};
	struct fg_journal_options journal = {
		.fs = sim_disk_fs(w->disk),
		.segment_bytes = 65536,
		.batch_bytes = 8192,
		.max_bytes = 1 << 20,
		.max_alarm_bytes = 1 << 20,
		.max_quarantine_bytes = 1 << 20,
		.lost = lost,
		.arg = w,
	};
	struct fg_command_desk_options desk = {
		.map = w->map,
		.max_commands = SIM_COMMANDS,
		.max_command_bytes = 65536,
		.max_alarm_bytes = 1 << 20,
		.seed = sim_random(w, UINT64_MAX),
		.ops = {.publish = publish,
			.reach = reach,
			.has_sent = has_sent,
			.is_connected = is_connected,
			.trace = trace,
			.arg = w},
	};
	struct fg_clock_news news;
	struct fg_error err = {0};

	if (fg_timekeeper_new(&clock, &w->timekeeper) < 0)
		abort();
	fg_timekeeper_tick(w->timekeeper, &news);
	journal.timekeeper = desk.timekeeper = w->timekeeper;
	sim_disk_fail_one_in(w->disk, 0);
	if (fg_journal_open(&journal, &w->journal, &err) < 0) {
		fprintf(stderr, "the journal does not open: %s\n", err.text);
		abort();
	}
	fg_journal_tick(w->journal, sim_desk_now(w));
	sim_cloud_open(w);
	desk.journal = w->journal;
	memcpy(desk.boot_id, w->boot_id, sizeof(desk.boot_id));
	if (fg_command_desk_open(&desk, sim_desk_now(w), &w->desk, &err) < 0) {
		fprintf(stderr, "the command desk does not open: %s\n", err.text);
		abort();
	}
	sim_disk_fail_one_in(w->disk, w->has_disk_faults ? 10 : 0);
	say_start(w);
}

/* Everything in memory is gone. By then the disk is off, so that nothing can be written any more. */
static void end(struct sim_world *w)
{
	sim_field_cut(w);
	sim_cloud_cut(w);
	w->desk = fg_command_desk_free(w->desk);
	w->pass = fg_pass_close(w->pass);
	w->journal = fg_journal_free(w->journal);
	w->timekeeper = fg_timekeeper_free(w->timekeeper);
}

static void kill_daemon(struct sim_world *w)
{
	sim_say(w, "killed");
	sim_disk_cut(w->disk);
	end(w);
	sim_disk_restart(w->disk);
	w->now_ms += (int64_t)sim_random(w, 5000);
	start(w);
	w->totals->kills++;
}

static void cut_power(struct sim_world *w)
{
	static const int64_t off_ms[] = {1000, 20 * 1000, 300 * 1000, 2 * HOUR_MS, 30 * HOUR_MS};

	sim_say(w, "the power is cut");
	sim_disk_fail_one_in(w->disk, 0);
	if (sim_chance(w, 2)) {
		sim_disk_cut_in(w->disk, 1 + sim_random(w, 3));
		fg_journal_flush(w->journal, sim_desk_now(w));
	}
	sim_disk_cut(w->disk);
	end(w);
	sim_disk_power_on(w->disk);
	w->now_ms += off_ms[sim_random(w, 5)];
	w->boot_started_ms = w->now_ms - 5000; /* so long the start of the machine has taken */
	w->boot_id[0]++;
	w->is_clock_known = !sim_chance(w, 3);
	w->clock_error_us = sim_chance(w, 4) ? (sim_chance(w, 2) ? STEP_US : -STEP_US) : 0;
	start(w);
	w->totals->cuts++;
}

/* ---- time */

/* The wire is short: nothing is on it for long. */
static void pass_time(struct sim_world *w, int64_t ms)
{
	if (ms >= 200)
		while (w->n_wire > 0)
			sim_field_take(w);
	w->now_ms += ms;
}

static void pass_some_time(struct sim_world *w)
{
	static const int64_t longer_ms[] = {100, 500, 1000, 3000, 8000, 30000, 400000, HOUR_MS};

	pass_time(w, sim_chance(w, 6) ? longer_ms[sim_random(w, 8)] : (int64_t)sim_random(w, 10));
}

static void tick(struct sim_world *w)
{
	struct fg_clock_news news;

	fg_timekeeper_tick(w->timekeeper, &news);
	fg_journal_tick(w->journal, sim_desk_now(w));
	fg_command_desk_tick(w->desk, sim_desk_now(w));
}

static void commit(struct sim_world *w)
{
	fg_journal_flush(w->journal, sim_desk_now(w));
	fg_journal_collect(w->journal, sim_desk_now(w));
	sim_cloud_committed(w);
	sim_field_committed(w);
	fg_command_desk_committed(w->desk, fg_journal_committed(w->journal), sim_desk_now(w));
}

static void set_clock(struct sim_world *w)
{
	static const int64_t errors_us[] = {0, STEP_US, -STEP_US};

	w->clock_error_us = errors_us[sim_random(w, 3)];
	w->is_clock_known = true;
	sim_say(w, "the clock is set, and wrong by %" PRId64 " days",
		w->clock_error_us / 1000000 / 86400);
}

/* ---- events */

static void connect_field(struct sim_world *w)
{
	if (w->is_field_up)
		return;
	w->is_field_up = true;
	fg_command_desk_device_up(w->desk, (struct fg_span){0}, sim_desk_now(w));
}

static void connect_cloud(struct sim_world *w)
{
	if (w->is_cloud_up)
		return;
	w->is_cloud_up = true;
	sim_cloud_insist(w);
}

static void move_device(struct sim_world *w, enum sim_device device, bool is_away)
{
	struct fg_span name = fg_span_str(device_names[device]);

	if (is_away)
		w->is_away[device] = true;
	else if (w->is_away[device])
		sim_field_return(w, device);
	if (w->seems_away[device] == is_away || sim_chance(w, 3))
		return; /* the gateway does not notice */
	w->seems_away[device] = is_away;
	if (is_away)
		fg_command_desk_device_down(w->desk, name, sim_desk_now(w));
	else
		fg_command_desk_device_up(w->desk, name, sim_desk_now(w));
}

static void rare_event(struct sim_world *w)
{
	enum sim_device device;

	switch (sim_random(w, 7)) {
	case 0:
		kill_daemon(w);
		return;
	case 1:
		cut_power(w);
		return;
	case 2:
		sim_field_cut(w);
		return;
	case 3:
		sim_cloud_cut(w);
		return;
	case 4:
		set_clock(w);
		return;
	default:
		device = (enum sim_device)sim_random(w, SIM_DEVICES);
		move_device(w, device, sim_chance(w, 2));
	}
}

static void event(struct sim_world *w)
{
	pass_some_time(w);
	switch (sim_random(w, 12)) {
	case 0:
		sim_cloud_command(w);
		return;
	case 1:
		sim_cloud_again(w);
		return;
	case 2:
		tick(w);
		return;
	case 3:
		sim_field_take(w);
		return;
	case 4:
		sim_field_ack(w);
		return;
	case 5:
		sim_field_answer(w);
		return;
	case 6:
		sim_cloud_send(w);
		return;
	case 7:
		sim_cloud_take(w);
		return;
	case 8:
		connect_field(w);
		connect_cloud(w);
		return;
	case 9:
		rare_event(w);
		return;
	default:
		commit(w);
	}
}

/* Everything works again, for longer than anybody waits for anything. */
static void come_to_rest(struct sim_world *w)
{
	sim_say(w, "from here on everything works");
	w->has_disk_faults = false;
	sim_disk_fail_one_in(w->disk, 0);
	w->clock_error_us = 0;
	w->is_clock_known = true;
	for (unsigned i = 0; i < 150; i++) {
		pass_time(w, i < 60 ? 1000 : HOUR_MS);
		connect_field(w);
		for (unsigned d = 0; d < SIM_DEVICES; d++)
			move_device(w, (enum sim_device)d, false);
		connect_cloud(w);
		tick(w);
		commit(w);
		while (w->n_wire > 0)
			sim_field_take(w);
		while (w->n_acks > 0)
			sim_field_ack(w);
		for (unsigned n = w->n_answers; n > 0; n--)
			sim_field_answer(w);
		commit(w);
		for (unsigned n = 0; n < 2 * SIM_COMMANDS; n++)
			sim_cloud_send(w);
		while (w->n_sent > 0)
			sim_cloud_take(w);
	}
}

/* ---- what was promised */

static void wrong(struct sim_world *w, const struct sim_command *c, const char *what)
{
	sim_say(w, "WRONG: c%td %s", c - w->commands, what);
	w->totals->wrong++;
}

/* Each answer says whether the command ran; command_desk.h. */
static void check_answer(struct sim_world *w, const struct sim_command *c)
{
	char code[40] = "", own[40];

	snprintf(own, sizeof(own), "{\"result\":%td}", c - w->commands);
	if (sscanf(c->answer, "{\"error\":{\"code\":\"%39[a-z_]\"", code) == 1) {
		for (int i = 0; i < FG_N_COMMAND_ERRORS; i++)
			w->totals->errors[i] +=
				strcmp(code, fg_command_error_word((enum fg_command_error)i)) == 0;
		if (strcmp(code, "refused") == 0 && c->n_runs == 0)
			wrong(w, c, "was refused by a device that has never had it");
		if (strcmp(code, "refused") != 0 && strcmp(code, "unknown_outcome") != 0 &&
		    c->n_runs > 0)
			wrong(w, c, "has run, and the cloud was told that it has not");
		return;
	}
	if (c->device == SIM_HORN || c->device == SIM_LAMP)
		return; /* nobody can tell */
	if (strcmp(c->answer, own) != 0)
		wrong(w, c, "was answered with something else");
	if (c->n_runs == 0)
		wrong(w, c, "was answered and has not run");
}

static void check_command(struct sim_world *w, const struct sim_command *c)
{
	if (c->n_runs > 1 && c->device != SIM_MOTOR)
		wrong(w, c, "has run twice");
	if (c->has_run_late)
		wrong(w, c, "has run late");
	if (!c->is_acked)
		wrong(w, c, "was never acknowledged");
	if (c->is_contradicted)
		wrong(w, c, "has two answers");
	if (c->is_one_way)
		return;
	if (c->n_answers == 0)
		wrong(w, c, "has no answer");
	else
		check_answer(w, c);
}

static void check_all(struct sim_world *w)
{
	struct fg_command_stats stats;

	for (unsigned i = 0; i < w->n_commands; i++)
		check_command(w, &w->commands[i]);
	fg_command_desk_get_stats(w->desk, &stats);
	w->totals->duplicates += stats.duplicates;
	w->totals->late += stats.late;
	if (stats.open > 0 || stats.states[FG_COMMAND_SILENT] > 0)
		wrong(w, w->commands, "or another one has not ended");
}

/* ---- the whole */

bool sim_run(uint64_t seed, uint64_t run, enum sim_fault fault, bool is_verbose,
	     struct fg_command_map *map, struct sim_totals *totals)
{
	struct sim_world *w = calloc(1, sizeof(*w));
	uint64_t wrong_before = totals->wrong;

	if (!w)
		abort();
	w->random = seed * 1000003 + run;
	w->fault = fault;
	w->is_verbose = is_verbose;
	w->totals = totals;
	w->map = map;
	w->disk = sim_disk_new(sim_random(w, UINT64_MAX),
			       fault == SIM_WITHOUT_SYNC ? SIM_SKIP_SYNC : SIM_HONEST);
	if (!w->disk)
		abort();
	leaves_out_marks = fault == SIM_WITHOUT_MARK;
	w->now_ms = 1000000;
	w->is_clock_known = true;
	w->has_mqtt5 = !sim_chance(w, 3);
	w->has_disk_faults = sim_chance(w, 4);
	start(w);
	for (uint64_t n = 30 + sim_random(w, 200); n > 0; n--)
		event(w);
	come_to_rest(w);
	check_all(w);
	sim_disk_cut(w->disk);
	end(w);
	sim_disk_free(w->disk);
	free(w);
	totals->runs++;
	return totals->wrong == wrong_before;
}
