#pragma once

/*
 * Bootstrap: IoTDA's provisioning service, at the link's URL, says at which address the platform is, and
 * may give the device another secret. A session of its own, one request on bootstrap/up, one answer on
 * bootstrap/down; what that says is on disk before it is used.
 *
 * state \ event | connect               | session is up     | answer       | none for 10 s | on disk        | trigger
 * --------------+-----------------------+-------------------+--------------+---------------+----------------+--------
 * OFF           | to the URL, as usual  |         -         |      -       |       -       |       -        |    -
 * WANTED        | to the URL; in turn   | asks: ASKED (2)   | KEEPING, if  |       -       |       -        |    -
 *               | to the address (1)    |                   | late         |               |                |
 * ASKED         | WANTED, as there      |         -         | KEEPING      | WANTED (3)    |       -        |    -
 * KEEPING       | fails (4)             |         -         |      -       |       -       | DONE, connects |    -
 * DONE          | to the address; after |         -         |      -       |       -       |       -        | WANTED (5)
 *               | 10 failures WANTED    |                   |              |               |                |
 *
 * (1) With an address from earlier every other attempt goes there: it may be the service that cannot be
 *     reached.
 * (2) The session is one at the address: DONE; when IoTDA wants a bootstrap, the service is tried again in
 *     ten minutes.
 * (3) Asks again after a pause, from 10 s doubling to 10 min; with an address from earlier it goes there
 *     meanwhile.
 * (4) Goes to the address from earlier, if there is one.
 * (5) Remembered, so that a restart does not forget it. Within a minute after a bootstrap it is the old
 *     trigger, come again.
 *
 * An answer that cannot be made use of counts as none. What is remembered holds for the configuration it
 * was got with: with another URL, device, scope or secret the bootstrap begins anew.
 */
#include <stdbool.h>
#include <stdint.h>

#include "group.h"
#include "sign_in.h"

struct hw;
struct hw_call;
struct fg_connect;
struct fg_open;

/* HOST:PORT, NUL included. */
#define HW_ADDRESS_SIZE 264

/* Of a device's secret, NUL included; IoTDA's have 8 to 32 characters. */
#define HW_SECRET_SIZE 257

enum hw_bootstrap_state {
	HW_BOOTSTRAP_OFF,
	HW_BOOTSTRAP_WANTED,
	HW_BOOTSTRAP_ASKED,
	HW_BOOTSTRAP_KEEPING,
	HW_BOOTSTRAP_DONE,
};

struct hw_bootstrap {
	enum hw_bootstrap_state state;
	bool is_setup;     /* the newest attempt goes to the URL */
	bool is_up;        /* it has become a session */
	bool has_asked;    /* in that session */
	bool is_outdated;  /* it began before the address was on disk */
	bool is_triggered; /* WANTED: because IoTDA has said so */
	bool has_ended;    /* there was a bootstrap, at ended_s */
	unsigned n_failed; /* DONE: attempts in a row */
	uint32_t pause_s;  /* the last one; 0: none yet */
	uint32_t
		until_s; /* WANTED: end of the pause; ASKED: of waiting for the answer; in uptime_s */
	uint32_t ended_s;

	/* what is on disk */
	char address[HW_ADDRESS_SIZE]; /* "": nothing is */
	char secret[HW_SECRET_SIZE];   /* "": that of the configuration */

	/* what is configured */
	char derived[HW_HMAC_SIZE]; /* of the group's secret; "": there is none */
	char fingerprint[HW_HMAC_SIZE];
	bool is_near; /* the service is on this machine: so may be what it names */
};

/**
 * Make ready what is configured, and take up what is remembered. Returns NULL, or a sentence that says
 * what is wrong with the configuration.
 */
const char *hw_bootstrap_open(struct hw *hw, const struct fg_open *with);

/** Overwrite the secrets. */
void hw_bootstrap_close(struct hw *hw);

/** Say in @out where the next attempt goes, and in @account as whom. Returns 0; -EINVAL: nowhere, what
 * is to be used is not on disk. */
int hw_bootstrap_connect(struct hw *hw, struct hw_account *account, struct fg_connect *out);

/** The secret that counts at IoTDA itself; NULL: there is none, or none yet. */
const char *hw_bootstrap_secret(const struct hw *hw);

/** The session is up. Returns whether it is only there for the bootstrap. */
bool hw_bootstrap_connected(struct hw *hw);
void hw_bootstrap_disconnected(struct hw *hw);

/** Publish the request when it is time. Returns 1, 0 or -EINVAL. */
int hw_publish_bootstrap(struct hw_call *call);

/** Something on bootstrap/down. Returns 0 or -EPROTO. */
int hw_bootstrap_answered(struct hw *hw, struct fg_span payload);

/** IoTDA has sent BootstrapRequestTrigger on messages/down. */
void hw_bootstrap_again(struct hw *hw);

/** See struct fg_plugin.remembered. */
void hw_bootstrap_remembered(struct hw *hw, const char *key, int error);

/** A second has passed. */
void hw_bootstrap_tick(struct hw *hw);
