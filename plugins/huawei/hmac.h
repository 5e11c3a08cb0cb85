#pragma once

/*
 * The HMAC that all of IoTDA's passwords are made of, in lower-case hexadecimal digits.
 */
#include "util/span.h"

#define HW_HMAC_SIZE 65 /* NUL included */

/**
 * HMAC of @message with @key, which is not empty, and the hash OpenSSL calls @hash, of 32 bytes: "SHA256"
 * or "SM3". Either may have any bytes. Returns 0, or -EIO when OpenSSL refuses.
 */
int hw_hmac(const char *hash, struct fg_span key, struct fg_span message, char out[HW_HMAC_SIZE]);
