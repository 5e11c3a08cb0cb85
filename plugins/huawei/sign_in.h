#pragma once

/*
 * What a device shows IoTDA when it connects. Client id and password carry the hour of the attempt,
 * so they are made anew for each CONNECT:
 *
 *	client id  {id}_{0: a device, 3: a bridge}_{sign type}_{YYYYMMDDHH}
 *	password   hex(HMAC(key: YYYYMMDDHH, message: the secret))
 *
 * A device of a registration group, which asks where to go (bootstrap.h), has the scope of its group
 * between the first two numbers, {id}_0_{scope}_{sign type}_{YYYYMMDDHH}; with a certificate nothing
 * follows it.
 *
 * The sign type says with which hash that HMAC is made, and whether IoTDA compares the hour with its
 * own clock.
 */
#include <stdbool.h>
#include <stdint.h>

#include "hmac.h"

/* Of a device id (IoTDA: 1 to 128 letters, digits, '_', '-'). */
#define HW_DEVICE_ID_MAX 128

#define HW_SCOPE_ID_MAX 64

enum hw_sign_type {
	HW_SIGN_SHA256_UNCHECKED = 0, /* the hour may be any */
	HW_SIGN_SHA256 = 1,
	HW_SIGN_SM3 = 2,
};

/** Who signs in. */
struct hw_account {
	const char *id;     /* at most HW_DEVICE_ID_MAX bytes */
	const char *secret; /* NULL: no password, a certificate stands for it */
	enum hw_sign_type sign_type;
	bool is_bridge;
	const char *scope_id; /* of a registration group, at most HW_SCOPE_ID_MAX bytes; or NULL */
};

struct hw_sign_in {
	char client_id[HW_DEVICE_ID_MAX + HW_SCOPE_ID_MAX + sizeof("_0__1_2026031509")];
	char password[HW_HMAC_SIZE]; /* empty: a certificate stands for it */
};

/**
 * Make what @account shows at @now_us (UTC). Returns 0, -EINVAL when @now_us has no year of four digits
 * or the id is too long, or -EIO when OpenSSL refuses.
 */
int hw_sign_in_make(const struct hw_account *account, int64_t now_us, struct hw_sign_in *ret);

/** Has OpenSSL the hash of @sign_type? Some builds leave SM3 out. */
bool hw_sign_in_can(enum hw_sign_type sign_type);

/** Overwrite @sign_in: a password is worth an hour at least. */
void hw_sign_in_wipe(struct hw_sign_in *sign_in);
