#pragma once

/*
 * What a round trip has found: a line for each hop as soon as it is known, for people or as JSON,
 * and a summary. A hop that failed says what to do; those behind it were not tried.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* In the order in which they are taken. */
enum fg_hop {
	FG_HOP_GATEWAY, /* the daemon runs and its link is online */
	FG_HOP_LOGIN,   /* the account is let in at the cloud */
	FG_HOP_BROKER,  /* so are we at the field broker */
	/* up */
	FG_HOP_PUBLISH,  /* PUBACK of the field broker for the reading */
	FG_HOP_ON_DISK,  /* synced in the gateway's journal */
	FG_HOP_IN_CLOUD, /* the cloud has it */
	/* down */
	FG_HOP_COMMAND,     /* sent by the cloud's interface, seen at the field broker */
	FG_HOP_ANSWER,      /* of the device, seen there */
	FG_HOP_REST_ANSWER, /* the cloud hands it out */
	FG_N_HOPS,
};

enum fg_hop_state {
	FG_HOP_NOT_TRIED,
	FG_HOP_OK,
	FG_HOP_FAILED,
	FG_HOP_UNSEEN, /* cannot be watched from here: what comes behind it tells */
};

struct fg_hops {
	FILE *file;
	bool is_json;
	bool has_command; /* the way down is asked for */
	enum fg_hop_state states[FG_N_HOPS];
	int64_t took_us[FG_N_HOPS];
};

void fg_hops_begin(struct fg_hops *h, FILE *file, bool is_json, bool has_command);

/** Someone says in between what happens next. For people only. */
void fg_hops_say(struct fg_hops *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** @hop went well and took so long since the one before it; -1: that has no meaning. */
void fg_hops_ok(struct fg_hops *h, enum fg_hop hop, int64_t took_us, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/** @hop failed after so long; @advice: what to do about it, a sentence. */
void fg_hops_failed(struct fg_hops *h, enum fg_hop hop, int64_t took_us, const char *advice,
		    const char *format, ...) __attribute__((format(printf, 5, 6)));
void fg_hops_unseen(struct fg_hops *h, enum fg_hop hop, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** Print what was not tried, and the summary. Returns true when nothing failed. */
bool fg_hops_end(struct fg_hops *h);
