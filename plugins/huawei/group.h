#pragma once

/*
 * The secret of a registration group. All devices of a group share it, in Base64; each makes its own
 * of it:
 *
 *	derived  hex(HMAC-SHA256(key: device id, message: the group's secret, decoded))
 *
 * The 64 digits, not the bytes they stand for, are what a device signs in with.
 */
#include "hmac.h"

/* Of a group's secret, decoded. IoTDA's have some twenty bytes. */
#define HW_GROUP_SECRET_MAX 256

/**
 * Derive @device_id's secret from @group_secret: Base64 of 1 to HW_GROUP_SECRET_MAX bytes (RFC 4648, 4),
 * padded, with nothing else in it. Returns 0, -EINVAL when it is not that, or -EIO when OpenSSL refuses.
 */
int hw_group_derive(const char *device_id, const char *group_secret, char out[HW_HMAC_SIZE]);
