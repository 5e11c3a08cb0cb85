#pragma once

/*
 * Credentials got from ThingsBoard: a session of its own, one request, one answer. The server makes a
 * device only once: if the answer is lost, so is a credential the server has made up. So, unless the
 * operator wants it otherwise, it is made up here, and is on disk before the request goes out.
 *
 * state \ event  connect          on disk     answer: SUCCESS  FAILURE            no answer
 * NEW            made up: SAVING, -           -                -                  -
 *                else READY
 * SAVING         setup session    READY       -                -                  -
 * READY          setup session;   -           -                -                  -
 *                asks: ASKED
 * ASKED          (cut) READY      -           KEEPING          TRYING if an       READY, after
 *                                                              earlier request    a pause
 *                                                              may have been
 *                                                              taken; else READY,
 *                                                              after a pause
 * KEEPING        fails            DONE,       -                -                  -
 *                                 reconnects
 * TRYING         as usual; if     -           -                -                  -
 *                that fails READY
 * DONE           as usual         -           -                -                  -
 *
 * The server's NOT_FOUND (no such key, or a wrong secret) is like a FAILURE at the first request. A
 * session as usual that is up in TRYING is DONE. A pause takes ten minutes, in which connecting fails,
 * so that a refusal is never a loop.
 */
#include <stdbool.h>
#include <stdint.h>

#define TB_CREDENTIAL_SIZE 256

enum tb_provision_state {
	TB_PROVISION_OFF, /* credentials are configured */
	TB_PROVISION_NEW,
	TB_PROVISION_SAVING,
	TB_PROVISION_READY,
	TB_PROVISION_ASKED,
	TB_PROVISION_KEEPING,
	TB_PROVISION_TRYING,
	TB_PROVISION_DONE,
};

struct tb_provision {
	enum tb_provision_state state;
	bool may_be_taken; /* an earlier request with this credential was not answered */
	bool has_tried;    /* TRYING: a connect is under way */
	bool is_unsaved;   /* could not be written: to be tried again */
	int64_t paused_us; /* UTC; 0: no pause */
	uint32_t deadline_s;

	/* what to connect with, as far as it is known; "" is none. A token is a user name. */
	char client_id[TB_CREDENTIAL_SIZE];
	char username[TB_CREDENTIAL_SIZE];
	char password[TB_CREDENTIAL_SIZE];
};
