#pragma once

/*
 * What was asked of ThingsBoard and is not answered yet: attributes, a call of a rule chain, a claim;
 * on behalf of a field device, or for the plugin itself. A bounded table; each question has a number
 * (which ThingsBoard gives back) and a deadline.
 *
 * state \ event  acknowledged   answered        refused          time is up      session ends
 * ASKED          SENT           done            done: the link   done: "timeout" done: the link
 *                (a claim: done)                offers it again,                 offers it again
 *                                               or "refused"
 * SENT           -              done            -                done: "timeout" done: "timeout"
 * NEXT           -              -               -                done: "timeout" done: "timeout"
 *
 * Done means that whoever asked gets the answer, or the error in quotes; a fetch of the plugin's own
 * is made again a few times. NEXT: one half of the answer is there, the other is to be asked for (the
 * gateway API gives either client or shared attributes).
 */
#include <stdbool.h>
#include <stdint.h>

#include "util/span.h"

/* More wait until some are answered. */
#define TB_MAX_QUESTIONS 64

/* Of these, fetches of the plugin's own. */
#define TB_MAX_FETCHES 16

enum tb_question_kind {
	TB_ASK_FETCH,      /* shared attributes, for the host */
	TB_ASK_ATTRIBUTES, /* for a field device */
	TB_ASK_RPC,        /* for a field device */
	TB_ASK_CLAIM,      /* for a field device */
	TB_ASK_LIMITS,     /* for limits.c */
};

enum tb_question_state { TB_QUESTION_ASKED, TB_QUESTION_SENT, TB_QUESTION_NEXT };

struct tb_question {
	enum tb_question_kind kind;
	enum tb_question_state state;
	uint32_t id; /* 1..2147483647 */
	uint32_t deadline_s;
	bool is_second;      /* of the two halves */
	bool asks_client;    /* gateway API: client attributes now, not shared ones */
	char *client_answer; /* gateway API: what the first half said; malloc'd, or NULL */

	/* in `memory` */
	struct fg_span device;
	struct fg_span ref;
	struct fg_span client_keys, shared_keys; /* JSON arrays of strings, or empty */
	char memory[];
};

struct tb_questions {
	struct tb_question *slots[TB_MAX_QUESTIONS];
	unsigned n, n_fetches, n_next;
	uint32_t last_id;
};
