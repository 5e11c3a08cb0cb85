#pragma once

/*
 * The commands that the desk knows, and the ways to find one: by identity (link, device and what
 * tells it from all others), by its cloud's id, by number, by device, and by what is due next. Values
 * and links, no rules: those are the desk's.
 *
 * A command is one allocation, name and parameters another one, which goes first.
 */
#include <sys/queue.h>

#include "local/command_answer.h"
#include "local/command_desk.h"

TAILQ_HEAD(fg_desk_queue, fg_desk_command);

/** A device that has commands. */
struct fg_desk_device {
	struct fg_desk_device *next;   /* in its bucket */
	struct fg_desk_queue waiting;  /* NEW and WAITING, by number */
	struct fg_desk_queue busy;     /* at the device: GOING_OUT to OWED, and SILENT */
	unsigned n_waiting, n_running; /* n_running: of `busy`, without those that rest */
	bool is_held;                  /* is not released while somebody looks at it */
	uint64_t hash;
	uint8_t name_size;
	char name[];
};

struct fg_desk_command {
	struct fg_desk_command *next_same, *next_id, *next_number; /* in their buckets */
	uint64_t same_hash, id_hash;
	TAILQ_ENTRY(fg_desk_command) by_note;   /* all, by note_seq */
	TAILQ_ENTRY(fg_desk_command) at_device; /* waiting or busy */
	TAILQ_ENTRY(fg_desk_command) in_turn;   /* `turn` */
	struct fg_desk_queue *turn;    /* of the desk's: commits, owed, unsent, sent; or NULL */
	struct fg_desk_queue *place;   /* of its device: waiting, busy; or NULL */
	struct fg_desk_device *device; /* while it has a place */
	bool is_running;               /* counted in n_running */
	size_t heap_index;             /* + 1; 0: nothing is due */
	int64_t due_ms;

	uint64_t number;     /* the sequence number of its first note */
	uint64_t note_seq;   /* and of the newest one that tells all */
	uint64_t answer_seq; /* of its final record; 0: there is none, or nothing to tell */
	uint64_t ticket;     /* of what was appended last for it */
	enum fg_command_state state;
	int rule; /* of the map, or -1 */
	uint32_t tag;
	bool is_one_way;
	bool is_superseded;  /* its cloud has given its id to another one */
	bool is_marked;      /* "going out" is noted, and not taken back */
	bool may_have_run;   /* it was marked before a restart */
	bool is_unreachable; /* was tried, and nobody was there */
	bool is_undated;     /* of another boot, and it is not known yet what time it is */
	bool is_unanswered;  /* OWED, ENDED: the device may still answer */

	int64_t received_ms, deadline_ms, noted_ms;
	int64_t retry_ms;              /* WAITING: not before this */
	int64_t pause_ms;              /* how long the last such pause was */
	int64_t forget_ms;             /* `turn` is sent: not before this */
	int64_t deadline_us;           /* UTC, as noted; 0: not known */
	enum fg_command_error verdict; /* OWED */
	const char *why;               /* OWED: static text; NULL: there is no response */

	char *payload; /* name, then parameters; NULL once it has ended */
	size_t name_size, params_size;
	uint8_t link_size, device_size, id_size, key_size;
	char text[]; /* link, device, id, key */
};

struct fg_command_table {
	uint64_t seed;
	size_t n_buckets; /* a power of two */
	struct fg_desk_command **same, **ids, **numbers;
	struct fg_desk_device **devices;
	struct fg_desk_queue by_note;
	struct fg_desk_command **heap;
	size_t heap_size, heap_room;
	size_t n_commands;
};

/** Sized for about @n commands; more go, slower. Returns 0 or -ENOMEM. */
int fg_command_table_init(struct fg_command_table *t, unsigned n, uint64_t seed);
void fg_command_table_release(struct fg_command_table *t);

/** What identifies a command; an empty @key: the id does. */
struct fg_desk_identity {
	struct fg_span link, device, id, key;
};

/** A new one at the end of `by_note`, to be found by identity and id; NULL: no memory. */
struct fg_desk_command *fg_command_table_add(struct fg_command_table *t,
					     const struct fg_desk_identity *identity);

/** Now it can be found by its number, too. */
void fg_command_table_number(struct fg_command_table *t, struct fg_desk_command *c,
			     uint64_t number);

/** Keep its name and parameters. Returns 0 or -ENOMEM. */
int fg_desk_command_keep(struct fg_desk_command *c, struct fg_span name, struct fg_span params);
void fg_desk_command_drop_payload(struct fg_desk_command *c);

/** Take it out of everything, and release it. */
void fg_command_table_remove(struct fg_command_table *t, struct fg_desk_command *c);

/** The newest with this identity, or NULL. */
struct fg_desk_command *fg_command_table_find(const struct fg_command_table *t,
					      const struct fg_desk_identity *identity);
/** The one after @after (NULL: the newest) of those with this link, device and id, or NULL. */
struct fg_desk_command *fg_command_table_find_id(const struct fg_command_table *t,
						 const struct fg_desk_identity *identity,
						 const struct fg_desk_command *after);
struct fg_desk_command *fg_command_table_find_number(const struct fg_command_table *t,
						     uint64_t number);
struct fg_desk_device *fg_command_table_find_device(const struct fg_command_table *t,
						    struct fg_span name);
/** The device after @after (NULL: the first), in no order, or NULL. */
struct fg_desk_device *fg_command_table_next_device(const struct fg_command_table *t,
						    const struct fg_desk_device *after);

/** Have @c wait at its device, behind those with lower numbers. Returns 0 or -ENOMEM (never when it
 * has a device). */
int fg_command_table_wait(struct fg_command_table *t, struct fg_desk_command *c);
/** It waits no more, it is at work there. */
void fg_command_table_start(struct fg_desk_command *c);
/** It stays busy, but keeps no other from starting. */
void fg_command_table_rest(struct fg_desk_command *c);
/** Its device is rid of it, and released when it was the last; else returned. */
struct fg_desk_device *fg_command_table_leave(struct fg_command_table *t,
					      struct fg_desk_command *c);
/** Nobody looks at @d any more. */
void fg_command_table_let_go(struct fg_command_table *t, struct fg_desk_device *d);

/** Put it at the end of @turn (NULL: none) and out of the one it was in. */
void fg_desk_command_queue(struct fg_desk_command *c, struct fg_desk_queue *turn);

/** Something is due for it at @due_ms; INT64_MAX: nothing is. */
void fg_command_table_due(struct fg_command_table *t, struct fg_desk_command *c, int64_t due_ms);
/** What is due first, or NULL. */
struct fg_desk_command *fg_command_table_first_due(const struct fg_command_table *t);

static inline struct fg_span fg_desk_command_link(const struct fg_desk_command *c)
{
	return (struct fg_span){c->text, c->link_size};
}

static inline struct fg_span fg_desk_command_device(const struct fg_desk_command *c)
{
	return (struct fg_span){c->text + c->link_size, c->device_size};
}

static inline struct fg_span fg_desk_command_id(const struct fg_desk_command *c)
{
	return (struct fg_span){c->text + c->link_size + c->device_size, c->id_size};
}

static inline struct fg_span fg_desk_command_key(const struct fg_desk_command *c)
{
	return (struct fg_span){c->text + c->link_size + c->device_size + c->id_size, c->key_size};
}

static inline struct fg_span fg_desk_command_name(const struct fg_desk_command *c)
{
	return (struct fg_span){c->payload, c->payload ? c->name_size : 0};
}

static inline struct fg_span fg_desk_command_params(const struct fg_desk_command *c)
{
	return (struct fg_span){c->payload ? c->payload + c->name_size : NULL,
				c->payload ? c->params_size : 0};
}

static inline struct fg_desk_identity fg_desk_command_identity(const struct fg_desk_command *c)
{
	return (struct fg_desk_identity){fg_desk_command_link(c), fg_desk_command_device(c),
					 fg_desk_command_id(c), fg_desk_command_key(c)};
}
