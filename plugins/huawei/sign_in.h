#pragma once

/*
 * What a device shows IoTDA when it connects. Client id and password carry the hour of the attempt,
 * so they are made anew for each CONNECT:
 *
 *	client id  {device_id}_0_{sign type}_{YYYYMMDDHH}
 *	password   hex(HMAC-SHA256(key: YYYYMMDDHH, message: the device's secret))
 */
#include <stdbool.h>
#include <stdint.h>

/* Of a device id (IoTDA: 1 to 128 letters, digits, '_', '-'). */
#define HW_DEVICE_ID_MAX 128

struct hw_sign_in {
	char client_id[HW_DEVICE_ID_MAX + sizeof("_0_1_2026031509")];
	char password[65]; /* empty: a certificate stands for it */
};

/**
 * Make what is shown at @now_us (UTC). @secret NULL: no password. @is_time_checked: IoTDA compares
 * the hour with its clock (sign type 1), else it does not (0).
 *
 * Returns 0, -EINVAL when @now_us has no year of four digits or @device_id is too long, or -EIO when
 * OpenSSL refuses.
 */
int hw_sign_in_make(const char *device_id, const char *secret, bool is_time_checked, int64_t now_us,
		    struct hw_sign_in *ret);

/** Overwrite @sign_in: a password is worth an hour at least. */
void hw_sign_in_wipe(struct hw_sign_in *sign_in);
