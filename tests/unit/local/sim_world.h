#pragma once

/*
 * A small world for the command desk: a real journal on a simulated disk, a cloud that sends commands
 * and wants answers, a field broker, devices that count how often they have run what, and a machine
 * that is killed, cut off and restarted with its clock set wrong. One run lasts for some hundred
 * events in random order and then until all that was promised must have been kept.
 *
 * A crash is possible between any two events: whatever the desk has appended in one call is in
 * memory until a commit, so a crash inside of a call is the same as one after it, with less of it on
 * disk. What it has published by then is on the wire, of which any first part may have got through.
 *
 * sim_world.c has the machine, sim_cloud.c and sim_field.c what is on either side of it.
 */
#include "local/command_desk.h"
#include "simdisk.h"
#include "util/timekeeper.h"

#define SIM_COMMANDS 12
#define SIM_PACKETS 128
#define SIM_TEXT 160

/** One device of each rule of desk_rules.h, in its order. */
enum sim_device { SIM_PUMP, SIM_LAMP, SIM_VALVE, SIM_HORN, SIM_MOTOR, SIM_BELL, SIM_DEVICES };

/** What is done wrong on purpose, to show that it would be noticed. */
enum sim_fault {
	SIM_RIGHT,
	SIM_WITHOUT_MARK, /* "going out" is not noted before a command is published */
	SIM_SLOW_CLOCK,   /* the desk's clock runs at a third of its speed */
	SIM_EARLY_PUBACK, /* the cloud gets its PUBACK before the commit */
	SIM_WITHOUT_SYNC, /* the disk only says that it has synced */
};

/** A command, and what its cloud and its device know of it. Its index is its parameter. */
struct sim_command {
	enum sim_device device;
	bool is_one_way;
	int64_t timeout_ms; /* the cloud's, or 0 */
	bool is_acked;      /* the cloud has the gateway's PUBACK */
	uint64_t ticket;    /* which waits for this one, or 0 */
	int64_t until_ms;   /* to run after that is too late */
	unsigned n_runs;
	bool has_run_late;
	unsigned n_answers;
	int64_t answered_ms;
	char answer[SIM_TEXT];
	bool is_contradicted; /* another answer came than before */
};

/** A command on its way to its device. */
struct sim_packet {
	enum sim_device device;
	unsigned command;
	unsigned qos;
	uint64_t tag;
	int64_t expires_ms;
	char id[FG_WIRE_ID_MAX + 1];
	char answer_topic[SIM_TEXT];
	bool has_correlation;
};

/** What a device says, until the gateway has acknowledged it. */
struct sim_answer {
	char topic[SIM_TEXT], payload[SIM_TEXT], correlation[FG_WIRE_ID_MAX + 1];
	int64_t due_ms;
	bool is_taken;
	uint64_t ticket; /* its PUBACK waits for this one */
};

/** An answer between link and cloud. */
struct sim_response {
	uint64_t seq;
	unsigned command;
	char body[SIM_TEXT];
};

struct sim_totals {
	uint64_t runs, kills, cuts, commands, executions, answers, again, duplicates, late, one_way,
		wrong;
	uint64_t errors[FG_N_COMMAND_ERRORS]; /* as the cloud has read them */
};

struct sim_world {
	uint64_t random;
	enum sim_fault fault;
	bool is_verbose;
	struct sim_totals *totals;

	struct sim_disk *disk;
	struct fg_journal *journal;
	struct fg_command_map *map; /* borrowed */
	struct fg_timekeeper *timekeeper;
	struct fg_command_desk *desk;
	uint8_t boot_id[16];
	int64_t now_ms, boot_started_ms; /* true time */
	int64_t clock_error_us;
	bool is_clock_known, has_disk_faults;

	struct sim_command commands[SIM_COMMANDS];
	unsigned n_commands;
	bool is_cloud_up;
	struct fg_cursor *cursor;
	struct fg_pass *pass;
	struct sim_response sent[SIM_PACKETS]; /* the cloud has not acknowledged */
	unsigned n_sent;

	bool is_field_up, has_mqtt5;
	bool is_away[SIM_DEVICES];    /* from the broker */
	bool seems_away[SIM_DEVICES]; /* in the gateway's eyes */
	struct sim_packet wire[SIM_PACKETS], shelf[SIM_PACKETS];
	unsigned n_wire, n_shelf;
	struct {
		uint64_t tag;
		unsigned reason_code;
	} acks[SIM_PACKETS];
	unsigned n_acks;
	struct sim_answer answers[SIM_PACKETS];
	unsigned n_answers;
};

/** A random number below @n. */
uint64_t sim_random(struct sim_world *w, uint64_t n);

/** One in @n times. */
bool sim_chance(struct sim_world *w, uint64_t n);

/** For whoever looks at one run. */
void sim_say(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- sim_world.c */

/** Run number @run of @seed. Returns whether all was as promised; else it is told on stderr. */
bool sim_run(uint64_t seed, uint64_t run, enum sim_fault fault, bool is_verbose,
	     struct fg_command_map *map, struct sim_totals *totals);

/** What the desk takes for the time. */
int64_t sim_desk_now(const struct sim_world *w);

const char *sim_device_name(enum sim_device device);

/* ---- sim_cloud.c */

void sim_cloud_command(struct sim_world *w);   /* a new one */
void sim_cloud_again(struct sim_world *w);     /* one that it has sent before, if it may */
void sim_cloud_insist(struct sim_world *w);    /* all it has no PUBACK for */
void sim_cloud_committed(struct sim_world *w); /* so PUBACKs go out */
void sim_cloud_open(struct sim_world *w);      /* the link reads its cursor */
void sim_cloud_send(struct sim_world *w);      /* the link sends an answer, if there is one */
void sim_cloud_take(struct sim_world *w);      /* the cloud gets it, and maybe the link learns so */
void sim_cloud_cut(struct sim_world *w);       /* the connection is over */

/** Whether @seq and all before is with the cloud. */
bool sim_cloud_has(const struct sim_world *w, uint64_t seq);

/* ---- sim_field.c */

int sim_field_publish(struct sim_world *w, const struct fg_command_publish *publish);
void sim_field_take(struct sim_world *w);      /* the broker takes one from the wire */
void sim_field_ack(struct sim_world *w);       /* and the gateway gets a PUBACK */
void sim_field_answer(struct sim_world *w);    /* an answer comes to the gateway, if one is due */
void sim_field_committed(struct sim_world *w); /* so PUBACKs go out */
void sim_field_cut(struct sim_world *w);       /* the connection is over */
void sim_field_return(struct sim_world *w, enum sim_device device); /* it is back */
