#pragma once

/*
 * The command desk owns each command from arrival to final answer. A command is never lost silently,
 * never run late, never run twice; it ends in exactly one final answer, restart or not.
 *
 * All that must outlive a restart is in the journal's alarm lane (format.h, section 5):
 *   a note "command"         as it came, before its cloud gets the PUBACK;
 *   a note "command state"   before it is published ("going out"), and how it ended when there is no
 *                            answer to tell;
 *   the command response     answer and end in one record, so that no crash can separate them.
 * A command is published only once "going out" is on disk: whoever finds that note without an end
 * knows that it may have run, and does not publish it again, unless its rule says `repeat`.
 *
 * NEW       the note is appended, not on disk          DELIVERED  the broker has it
 * WAITING   for its device, or for its turn there      OWED       ended, the journal had no room yet
 * GOING_OUT that note is appended, not on disk         SILENT     ended without the device; see below
 * SENT      published, the broker has not acked        ENDED      remembered, to know it again
 *
 * state \ event | committed | its turn  | PUBACK    | no PUBACK | answer | deadline | device is down
 * --------------+-----------+-----------+-----------+-----------+--------+----------+---------------
 * NEW           | WAITING   |     -     |     -     |     -     |   -    | end (1)  | (5)
 * WAITING       |     -     | GOING_OUT |     -     |     -     |   -    | end (1)  | end (2), wait
 * GOING_OUT     | SENT (3)  |     -     |     -     |     -     |   -    | end (1)  |     -
 * SENT          |     -     |     -     | DELIVERED | as (3)    | end    | end (4)  |     -
 * DELIVERED     |     -     |     -     |     -     |     -     | end    | end (4)  |     -
 * OWED          |     -     |     -     |     -     |     -     |  late  |    -     |     -
 * SILENT        |     -     |     -     |     -     |     -     |  late  | ENDED    |     -
 * ENDED         |     -     |     -     |     -     |     -     |  late  | forgotten|     -
 *
 * "end" appends the final record and goes to ENDED; to OWED when the journal has no room; to SILENT
 * from (4) when the rule correlates nothing. "-": nothing happens. "Its turn" is when nothing is in
 * front of it and there is a way to its device (enum fg_command_reach): while the gateway has no
 * session with the field broker, or does not know which one the device is at, every command waits,
 * whatever `offline` says. So nothing is refused only because a cloud was quicker after a start.
 * (1) It has not run. The answer tells what it has waited for: offline (the device; or its broker),
 *     unknown_device (the device has never been heard), timeout (its turn, or the disk).
 * (2) `offline: refuse`: offline. `offline: wait`: stays.
 * (3) with QoS 0 DELIVERED at once. When the connection does not take it, it has not run: WAITING.
 *     When the broker acknowledges it with "no matching subscribers" (MQTT 5, 3.4.2.1), neither:
 *     WAITING, or offline as in (2).
 *     A broker that refuses it for good (0x80 and above) ends it: offline.
 *     A command without answers ends with the PUBACK.
 * (4) unknown_outcome: it may have run.
 * (5) waits for the commit, then (2).
 *
 * So each final answer says whether the command ran: `result` and refused: yes. unknown_outcome: it
 * may have. All others: no.
 *
 * Deadline: what the cloud allows less a quarter of it (at least 500 ms but never more than half, at
 * most 5 s), so that our answer is there before the cloud gives up; or the rule's timeout, whichever
 * is shorter. It is a moment of the monotonic clock. After a restart in the same boot that holds. In
 * another boot it is UTC, if that was known then and is now, and if nothing speaks against it: a
 * machine that was started, by its clock, before a record was written that it finds on its disk has a
 * clock that stepped. If in doubt the deadline has passed.
 *
 * Without correlation (FG_CORRELATE_NONE) the next message of the device on the response topic is
 * the answer. So a rule like this has one command at its device at a time, and when none was
 * answered (SILENT) the next one waits until a late answer has come, or for the rule's timeout once
 * more. An answer that comes still later, or a second answer, is taken for the next command's; so is
 * one that the broker brings again because our PUBACK was lost (libmosquitto does not show DUP): who
 * cannot accept that needs an id in the answer.
 *
 * Duplicates: a command is the same when link, device and key (or id) are. While it is open nothing
 * happens; when it has ended and its answer is still on its way to the cloud neither; later the same
 * answer is journalled again. It is remembered until the cloud has its answer and
 * FG_COMMAND_REMEMBERED_MS more, over restarts too; of those with an answer that has arrived, the
 * last FG_COMMANDS_REMEMBERED. A cloud that gets no answer to a command proves with nothing that it
 * has had our PUBACK: that is remembered as long as the cloud cannot be reached.
 * A cloud that gives the id of an open command to another one (ThingsBoard's counters start at 0
 * again) cannot be told the answer of the first any more: that runs on, and ends without a response.
 *
 * All functions belong to the loop's thread; @now_ms is monotonic. Memory: one allocation for each
 * command, freed when it is forgotten; its parameters go when it ends.
 */
#include "config/config.h"
#include "journal/journal.h"
#include "local/command_map.h"

struct fg_command_desk;

/* The desk's cursor in the alarm lane: a name no cloud can have. */
#define FG_COMMAND_CURSOR "-commands"

#define FG_COMMANDS_REMEMBERED 2000
#define FG_COMMAND_REMEMBERED_MS (5 * 60 * 1000)
/* Open at one device, those that wait included: beyond it `busy`, so that one device leaves room for
 * the others. */
#define FG_COMMANDS_OF_DEVICE 100

enum fg_command_state {
	FG_COMMAND_NEW,
	FG_COMMAND_WAITING,
	FG_COMMAND_GOING_OUT,
	FG_COMMAND_SENT,
	FG_COMMAND_DELIVERED,
	FG_COMMAND_OWED,
	FG_COMMAND_SILENT,
	FG_COMMAND_ENDED,
	FG_N_COMMAND_STATES,
};

const char *fg_command_state_word(enum fg_command_state state);

/** A PUBLISH to a field broker; valid during the call. */
struct fg_command_publish {
	struct fg_span device;
	const char *broker; /* NULL: where the device was last heard of, or the only one */
	const char *topic;
	struct fg_span payload;
	unsigned qos;
	const char *response_topic; /* MQTT 5, or NULL */
	struct fg_span correlation; /* MQTT 5, or empty */
	/* Message Expiry Interval (MQTT 5, 3.3.2.3.3), from 1: a broker that keeps it for a device
	 * that is away must not hand it over after that. */
	uint32_t expiry_s;
	uint64_t tag; /* for fg_command_desk_published(); never 0 */
};

/** A command as others may see it; spans are valid during the call. */
struct fg_command_view {
	struct fg_span link, device, id, name; /* name: empty once it has ended */
	char wire_id[FG_WIRE_ID_MAX + 1];
	enum fg_command_state state;
	int64_t received_ms; /* monotonic; of one from before a restart: when that was read */
	int64_t deadline_ms; /* monotonic */
};

/** Is there a way to a device? Of what holds, the first. */
enum fg_command_reach {
	FG_REACH_DOWN,      /* no: the device is known to have gone */
	FG_REACH_NO_BROKER, /* no: the gateway has no session with the broker it is at */
	FG_REACH_UNHEARD,   /* nobody knows at which of several brokers it is */
	FG_REACH_UP,        /* yes, for all that is known */
};

struct fg_command_ops {
	/**
	 * Returns 0; -ENOTCONN or -EAGAIN (not now: it was not sent); any other negative errno: it
	 * never can be sent. With QoS 1 and 0 returned, fg_command_desk_published() follows, unless
	 * the connection ends before. Never from within the call.
	 */
	int (*publish)(void *arg, const struct fg_command_publish *publish);
	/** How to reach @device at @broker; NULL: at the one it is at. NULL: always FG_REACH_UP. */
	enum fg_command_reach (*reach)(void *arg, const char *broker, struct fg_span device);
	/** Has @link nothing to send any more up to record @seq of the alarm lane? NULL: always. */
	bool (*has_sent)(void *arg, struct fg_span link, uint64_t seq);
	/** Is @link connected to its cloud? NULL: always. */
	bool (*is_connected)(void *arg, struct fg_span link);
	/** @view has just left state @from. NULL: nobody looks. Must not call the desk. */
	void (*trace)(void *arg, const struct fg_command_view *view, enum fg_command_state from,
		      int64_t now_ms);
	void *arg;
};

struct fg_command_desk_options {
	struct fg_journal *journal;
	struct fg_timekeeper *timekeeper; /* or NULL: the wall clock is believed */
	uint8_t boot_id[16];              /* fg_timekeeper_boot_id() */
	struct fg_command_map *map;
	unsigned max_commands;    /* open at once, beyond it `busy` */
	size_t max_command_bytes; /* of all open ones: names and parameters; beyond it `busy` */
	uint64_t max_alarm_bytes; /* as the journal's */
	int64_t max_age_ms; /* as the journal's: notes are written again before they fall to it */
	uint64_t seed;      /* for the part of wire ids that is random */
	struct fg_command_ops ops;
};

struct fg_command_stats {
	unsigned open; /* neither ENDED nor SILENT */
	unsigned states[FG_N_COMMAND_STATES];
	uint64_t received;   /* new ones */
	uint64_t duplicates; /* of those that were known */
	uint64_t answered;   /* by their device, refused by it included */
	uint64_t done; /* without answer to tell: one-way, or their cloud has reused their id */
	uint64_t errors[FG_N_COMMAND_ERRORS]; /* answered by us */
	uint64_t late;      /* answers that came after the final one, or a second time */
	uint64_t unmatched; /* messages on a topic of answers that no command waits for */
	uint64_t repeated;  /* final answers journalled again */
	uint64_t dropped;   /* commands that cannot even be answered: the plugin's fault */
};

/**
 * Open the cursor and read what the journal knows of commands; publishes nothing yet. On success the
 * caller owns *@ret. Returns 0, -ENOMEM, or what fg_cursor_open() returns, with a sentence.
 */
int fg_command_desk_open(const struct fg_command_desk_options *options, int64_t now_ms,
			 struct fg_command_desk **ret, struct fg_error *err);

/** Takes NULL. The journal must still be open. */
struct fg_command_desk *fg_command_desk_free(struct fg_command_desk *d);

/**
 * A command for a field device (command->device is the field's name for it) has come from @link. It
 * is copied. Returns 0 and the ticket of the commit to wait for before its cloud gets the PUBACK
 * (0: nothing to wait for); -EAGAIN: nothing was taken and nothing may be acknowledged, the cloud has
 * to send it again; -EINVAL: it cannot even be answered (no device, no id; counted), acknowledge
 * and complain.
 */
int fg_command_desk_submit(struct fg_command_desk *d, struct fg_span link,
			   const struct fg_command *command, int64_t now_ms, uint64_t *ret_ticket);

/** The journal has committed up to @ticket. */
void fg_command_desk_committed(struct fg_command_desk *d, uint64_t ticket, int64_t now_ms);

/** The field broker has acknowledged the PUBLISH with @tag; @reason_code: MQTT 5, 3.4.2.1, else 0. */
void fg_command_desk_published(struct fg_command_desk *d, uint64_t tag, unsigned reason_code,
			       int64_t now_ms);

/**
 * Offer what arrived from a field broker. Returns 1: it was an answer (appended, or late and
 * dropped), acknowledge it as what was appended last; 0: it is none; -EAGAIN: it is one, and the
 * journal has no room (nothing was taken).
 */
int fg_command_desk_arrived(struct fg_command_desk *d, const struct fg_command_arrival *arrival,
			    int64_t now_ms);

/** A device has come, or is heard at a broker for the first time (empty: any of them may have, a broker
 * is back), or gone. */
void fg_command_desk_device_up(struct fg_command_desk *d, struct fg_span device, int64_t now_ms);
void fg_command_desk_device_down(struct fg_command_desk *d, struct fg_span device, int64_t now_ms);

/** The desk's cursor has lost records up to @seq (from the journal's `lost`). */
void fg_command_desk_lost(struct fg_command_desk *d, uint64_t seq);

/** Do what is due. Call each second, and at fg_command_desk_next(). */
void fg_command_desk_tick(struct fg_command_desk *d, int64_t now_ms);

/** When something is due next, monotonic; INT64_MAX: nothing. */
int64_t fg_command_desk_next(const struct fg_command_desk *d);

/** Publish nothing more, take no command; answers are still taken. */
void fg_command_desk_stop(struct fg_command_desk *d);

void fg_command_desk_get_stats(const struct fg_command_desk *d, struct fg_command_stats *ret);

/** Call @each for every command that has not ENDED, in no order; it must not call the desk. A
 * non-zero return ends the walk and is returned. */
int fg_command_desk_each(const struct fg_command_desk *d,
			 int (*each)(void *arg, const struct fg_command_view *view), void *arg);
