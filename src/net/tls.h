#pragma once

/*
 * TLS material of one peer as our own SSL_CTX, handed to libmosquitto (MOSQ_OPT_SSL_CTX) and later
 * to libcurl. Verifies chain and host name by default, speaks TLS 1.2 and newer, never prompts for
 * a passphrase.
 */
#include <stdbool.h>

#include <openssl/ssl.h>

#include "util/error.h"

struct fg_tls_params {
	const char *host; /* name or address to ask for, and that the certificate must carry */
	const char *ca;   /* PEM file or directory of hashed files; NULL: the system's store */
	const char *certificate;  /* PEM, leaf first; or NULL */
	const char *key;          /* PEM; NULL: in the certificate's file */
	const char *key_password; /* or NULL */
	bool is_insecure;         /* do not verify */
};

struct fg_tls;

/**
 * Load and check the material (a key that does not fit its certificate and a wrong passphrase are
 * found here, before any connection). The caller owns *@ret. Returns 0, -ENOMEM, or -EINVAL with a
 * sentence that names the file.
 */
int fg_tls_new(const struct fg_tls_params *params, struct fg_tls **ret, struct fg_error *err);

/** Let go of it; who has taken a reference of the context keeps it as it is. Takes NULL. */
struct fg_tls *fg_tls_free(struct fg_tls *tls);

/** Borrowed; whoever keeps it takes a reference of its own. */
SSL_CTX *fg_tls_context(const struct fg_tls *tls);

/**
 * Is our own certificate past its end, by the system's clock? Worth a warning, not a refusal: the
 * clock may be wrong, and the peer decides by its own.
 */
bool fg_tls_has_expired(const struct fg_tls *tls);

/**
 * Why the last handshake's certificate check failed ("hostname mismatch", "certificate has
 * expired", …), or NULL. Static text. Forgotten by the call.
 */
const char *fg_tls_take_verify_error(struct fg_tls *tls);
